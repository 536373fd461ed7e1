"""What is not seen: stretches of road, crossings, bank, outfalls, school entrances, wharves and key areas, ranked by need.

A gap is a place that no online camera surely sees. Need is worked out with the weights of the city file: metres of road, crossings,
metres of bank, entrances and outfalls that lie in it. Nothing is estimated about persons.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
from geopandas.array import GeometryArray
from shapely.ops import substring

from gis.cameras import CameraTable
from gis.coverage import CoverageResult
from gis.visibility_surface import Surface
from grids.causes import main_cause, why
from grids.coverage_bank import station
from grids.watch import CONFIRMED, watch_points

__all__ = [
    "RoadPieces",
    "Rows",
    "Surroundings",
    "collect_gaps",
    "complete_gaps",
    "explain_gaps",
    "find_gaps",
    "gap_frame",
    "joined_rows",
    "placed_gaps",
    "rank_gaps",
]

Points = npt.NDArray[Any]
#: Columns of gaps by name, all of one length; ``geom`` holds shapes. Quicker for a few rows than a frame.
Rows = dict[str, npt.NDArray[Any]]

_STEP_M = 8.0
_ROAD_HALF_M = 5.0
_BANK_MIN_M = 10.0
#: A stretch of road unseen for less than this is no gap of its own.
_ROAD_MIN_M = 16.0
#: Longer stretches of bank and railway are told in parts, so that need ranks places and not lengths.
_STRETCH_M = 500.0
_MOUNT_MAX_M = 60.0
_KEY_AREA_KINDS = {"wharf": "wharf"}


def find_gaps(
    result: CoverageResult,
    cameras: CameraTable,
    surface: Surface,
    *,
    cells: gpd.GeoDataFrame,
    roads: gpd.GeoDataFrame,
    crossings: Points,
    bank: gpd.GeoDataFrame,
    outfalls: gpd.GeoDataFrame,
    schools: gpd.GeoDataFrame,
    areas: gpd.GeoDataFrame,
    railways: gpd.GeoDataFrame,
    poles: gpd.GeoDataFrame,
    buildings: gpd.GeoDataFrame,
    weights: Mapping[str, float],
    internal: bool = False,
) -> gpd.GeoDataFrame:
    """Rows of layer ``coverage_gap``, greatest need first.

    Parameters
    ----------
    result, cameras, surface
        A coverage and what it was computed from.
    cells : GeoDataFrame
        Grid cells (polygons) with ``grid_code``, ``admin_code``; road gaps are told by cell.
    roads : GeoDataFrame of lines
    railways : GeoDataFrame of lines
        Their fences, from `grids.fence.fence_lines`.
    crossings : array of points
    bank : GeoDataFrame
        Stretches from `grids.coverage_bank.bank_segments`.
    outfalls, schools, areas : GeoDataFrame
        With ``id``, ``name_zh``, ``admin_code``; schools with ``entrances``, areas with ``kind``.
    poles, buildings : GeoDataFrame
        What a camera could be mounted on; with ``id``.
    weights : mapping
        Need of an entrance, a crossing, an outfall, a metre of road or bank, a square metre of public space.
    internal : bool
        Keep the columns ``source`` and ``owner`` of `collect_gaps`.
    """
    gaps = collect_gaps(
        result,
        cells=cells,
        pieces=RoadPieces.of(cells, roads),
        crossings=crossings,
        bank=bank,
        outfalls=outfalls,
        schools=schools,
        areas=areas,
        railways=railways,
        weights=weights,
    )
    if len(gaps["geom"]):
        complete_gaps(gaps, result, Surroundings.of(outfalls, schools, poles, buildings))
        explain_gaps(gaps, np.arange(len(gaps["geom"])), cameras, surface)
        gaps = rank_gaps(gaps)
    frame = gap_frame(gaps, cells.crs)
    return frame if internal else frame.drop(columns=["source", "owner"])


@dataclass(frozen=True)
class RoadPieces:
    """Roads cut by the grid cells, longer than a metre: lines, and the cell of each; along each road and then in the order of the cells."""

    lines: Points
    cell: npt.NDArray[np.int64]

    @classmethod
    def of(cls, cells: gpd.GeoDataFrame, roads: gpd.GeoDataFrame) -> "RoadPieces":
        """From the frames that `find_gaps` takes."""
        shapes, lines = cells.geometry.to_numpy(), roads.geometry.to_numpy()
        if len(shapes) == 0 or len(lines) == 0:
            return cls(np.empty(0, dtype=object), np.empty(0, dtype=np.int64))
        road, cell = shapely.STRtree(shapes).query(lines, predicate="intersects")
        pieces = shapely.intersection(lines[road], shapes[cell])
        parts, of = shapely.get_parts(pieces, return_index=True)
        kept = (shapely.get_type_id(parts) == 1) & (shapely.length(parts) > 1.0)
        return cls(parts[kept], cell[of[kept]].astype(np.int64))

    def within(self, cells: npt.NDArray[np.int64]) -> "RoadPieces":
        """Pieces of some cells (numbers, rising), which are counted anew in that order."""
        at = np.flatnonzero(np.isin(self.cell, cells))
        return RoadPieces(self.lines[at], np.searchsorted(cells, self.cell[at]))


def collect_gaps(
    result: CoverageResult,
    *,
    cells: gpd.GeoDataFrame,
    pieces: RoadPieces,
    crossings: Points,
    bank: gpd.GeoDataFrame,
    outfalls: gpd.GeoDataFrame,
    schools: gpd.GeoDataFrame,
    areas: gpd.GeoDataFrame,
    railways: gpd.GeoDataFrame,
    weights: Mapping[str, float],
) -> Rows:
    """Places and need of gaps, without causes; parameters as for `find_gaps`, and ``pieces`` the roads in the cells.

    ``source`` is the number of the kind of place, ``owner`` the row (of ``bank``: the index) of the frame that the gap comes from.
    """
    kinds = [
        _road_gaps(result, cells, pieces, crossings, weights),
        _bank_gaps(bank, weights),
        _point_gaps(
            result,
            outfalls,
            outfalls.geometry.to_numpy(),
            np.arange(len(outfalls)),
            "outfall",
            weights.get("outfall", 1.0),
        ),
        _entrance_gaps(result, schools, weights),
        _area_gaps(result, areas, weights),
        _railway_gaps(result, railways, weights),
    ]
    told = [
        {**rows, "source": np.full(len(rows["geom"]), source)}
        for source, rows in enumerate(kinds)
        if rows is not None and len(rows["geom"])
    ]
    if not told:
        nothing = np.empty(0, dtype=object)
        return {"target_kind": nothing, "source": np.empty(0, dtype=np.int64), "owner": np.empty(0, dtype=np.int64), "geom": nothing}
    return joined_rows(told)


def joined_rows(parts: list[Rows]) -> Rows:
    """Rows one after the other; what a part does not tell is None, NaN among numbers."""
    out: Rows = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        numbers = all(part[name].dtype.kind in "if" for part in parts if name in part)
        out[name] = np.concatenate(
            [
                part[name] if name in part else np.full(len(part["geom"]), np.nan if numbers else None)
                for part in parts
            ]
        )
    return out


def gap_frame(rows: Rows, crs: Any) -> gpd.GeoDataFrame:
    """The same as a frame; text as Python strings."""
    index = pd.RangeIndex(len(rows["geom"]))
    columns: dict[str, Any] = {
        name: pd.Series(values, index=index, dtype=object, copy=False) if values.dtype == object else values
        for name, values in rows.items()
        if name != "geom"
    }
    columns["geom"] = GeometryArray(rows["geom"], crs=crs)
    # of columns, not of a frame: geopandas would copy that
    return gpd.GeoDataFrame(columns, index=index, copy=False, geometry="geom")


def complete_gaps(gaps: Rows, result: CoverageResult, near: "Surroundings") -> None:
    """Add what does not depend on cameras: density asked for, outfalls and entrances close by, what a camera could be mounted on."""
    gaps["density_px_m"] = np.full(len(gaps["geom"]), result.densities_px_m[0])
    near.count_inside(gaps)
    near.add_mounts(gaps)


def explain_gaps(gaps: Rows, rows: npt.NDArray[np.int64], cameras: CameraTable, surface: Surface) -> None:
    """Fill in ``cause`` and ``cause_share`` of some rows; the arrays of other rows' holders stay as they are."""
    places, owner = _samples(gaps["geom"][rows])
    reasons = main_cause(why(cameras, surface, places), owner, groups=len(rows))
    n = len(gaps["geom"])
    for name, values, unknown in (("cause", reasons.cause, None), ("cause_share", reasons.share, np.nan)):
        column = gaps[name].copy() if name in gaps else np.full(n, unknown)
        column[rows] = values
        gaps[name] = column


def rank_gaps(gaps: Rows) -> Rows:
    """Greatest need first; equals in the order of their kind and place."""
    kind = pd.factorize(gaps["target_kind"], sort=True)[0]
    order = np.lexsort((gaps["owner"], gaps["source"], kind, -gaps["need"]))
    ranked = {name: values[order] for name, values in gaps.items()}
    ranked["rank"] = np.arange(1, len(order) + 1)
    return ranked


def placed_gaps(gaps: Rows, kept: npt.NDArray[np.int64], made: Rows) -> Rows:
    """Ranked gaps of which some are left out and new ones are put in where `rank_gaps` would.

    Parameters
    ----------
    gaps : Rows
        From `rank_gaps`.
    kept : array of int
        Rows of ``gaps`` that stay, rising.
    made : Rows
        From `collect_gaps`, none of a place of which a row stays.
    """
    n = len(gaps["geom"])
    if len(made["geom"]) == 0 and len(kept) == n:
        return dict(gaps)
    need, kind, source, owner = (gaps[name] for name in ("need", "target_kind", "source", "owner"))
    falling = -need[kept]
    new = sorted(
        range(len(made["geom"])),
        key=lambda k: (-made["need"][k], made["target_kind"][k], made["source"][k], made["owner"][k]),
    )
    before = np.empty(len(new), dtype=np.int64)  # how many that stay come before each new one
    for place, k in enumerate(new):
        low = int(np.searchsorted(falling, -made["need"][k], side="left"))
        high = int(np.searchsorted(falling, -made["need"][k], side="right"))
        told = (made["target_kind"][k], made["source"][k], made["owner"][k])
        before[place] = bisect_left(
            range(low, high), told, key=lambda at: (kind[kept[at]], source[kept[at]], owner[kept[at]])
        ) + low
    order = np.insert(kept, before, n + np.array(new, dtype=np.int64))
    if len(new) == 0:
        return {name: values[kept] for name, values in gaps.items()} | {"rank": np.arange(1, len(kept) + 1)}
    together = joined_rows([gaps, made])
    out = {name: values[order] for name, values in together.items() if name != "rank"}
    out["rank"] = np.arange(1, len(order) + 1)
    return out


def _samples(shapes: npt.NDArray[Any]) -> tuple[Points, npt.NDArray[np.int64]]:
    """Places that stand for shapes of any kind: points themselves, lines and outlines at steps, at most 200 of each."""
    points, owners = [], []
    parts, owner = shapely.get_parts(shapes, return_index=True)
    kind = shapely.get_dimensions(parts)
    points.append(parts[kind == 0])
    owners.append(owner[kind == 0])
    lines = np.where(kind == 2, shapely.point_on_surface(parts), parts)
    points.append(lines[kind == 2])
    owners.append(owner[kind == 2])
    curves, of = parts[kind == 1], owner[kind == 1]
    steps = np.clip(np.ceil(shapely.length(curves) / _STEP_M).astype(np.int64), 1, 200)
    which = np.repeat(np.arange(len(curves)), steps)
    nth = np.arange(steps.sum()) - np.repeat(np.cumsum(steps) - steps, steps)
    points.append(shapely.line_interpolate_point(curves[which], (nth + 0.5) / steps[which], normalized=True))
    owners.append(of[which])
    return np.concatenate(points), np.concatenate(owners)


def _unseen_stretches(
    result: CoverageResult, lines: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Parts of lines that nobody surely sees, and the line of each."""
    lengths = shapely.length(lines)
    steps = np.maximum(1, np.ceil(lengths / _STEP_M).astype(np.int64))
    which = np.repeat(np.arange(len(lines)), steps)
    start = np.cumsum(steps) - steps
    nth = np.arange(steps.sum()) - np.repeat(start, steps)
    places = shapely.line_interpolate_point(lines[which], (nth + 0.5) / steps[which], normalized=True)
    unseen = watch_points(result, shapely.get_x(places), shapely.get_y(places)).state != CONFIRMED
    # runs of unseen steps within a line
    begin = unseen & ((nth == 0) | ~np.roll(unseen, 1))
    end = unseen & ((nth == steps[which] - 1) | ~np.roll(unseen, -1))
    first, last = np.flatnonzero(begin), np.flatnonzero(end)
    line = which[first]
    size = lengths[line] / steps[line]
    low, high = nth[first] * size, (nth[last] + 1) * size
    long_enough = high - low >= np.minimum(_ROAD_MIN_M, lengths[line])
    line, low, high = line[long_enough], low[long_enough], high[long_enough]
    whole = (low <= 0) & (high >= lengths[line] - 1e-9)
    out = lines[line].copy()
    for index in np.flatnonzero(~whole):
        out[index] = substring(out[index], low[index], high[index])
    return out, line


def _road_gaps(
    result: CoverageResult,
    cells: gpd.GeoDataFrame,
    pieces: RoadPieces,
    crossings: Points,
    weights: Mapping[str, float],
) -> Rows | None:
    """One gap for each grid cell with unseen road: the unseen stretches, widened to the street."""
    if len(cells) == 0 or len(pieces.lines) == 0:
        return None
    shapes = cells.geometry.to_numpy()
    stretches, line = _unseen_stretches(result, pieces.lines)
    owner = pieces.cell[line]
    if len(owner) == 0:
        return None
    order = np.argsort(owner, kind="stable")
    found, start = np.unique(owner[order], return_index=True)
    groups = np.split(stretches[order], start[1:])
    street = [
        shapely.buffer(shapely.multilinestrings(group), _ROAD_HALF_M, cap_style="flat", quad_segs=2) for group in groups
    ]
    geometry = shapely.intersection(np.array(street, dtype=object), shapes[found])
    metres = np.array([float(shapely.length(group).sum()) for group in groups])
    unseen = crossings[watch_points(result, shapely.get_x(crossings), shapely.get_y(crossings)).state != CONFIRMED]
    _, inside = shapely.STRtree(shapes).query(unseen, predicate="intersects")
    crossing = np.bincount(inside, minlength=len(cells))[found]
    need = metres * weights.get("road", 1.0) + crossing * weights.get("crossing", 0.0)
    return _rows(
        geometry,
        owner=found,
        target_kind="road",
        target_layer="grid_cell",
        target_id=cells["id"].to_numpy()[found],
        grid_code=cells["grid_code"].to_numpy()[found],
        admin_code=cells["admin_code"].to_numpy()[found],
        area_m2=np.round(shapely.area(geometry), 1),
        road_m=np.round(metres, 1),
        need=need,
    )


def _cut(lines: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Long lines in equal parts of at most ``_STRETCH_M``: parts, line of each, and from where to where along it (0 to 1)."""
    pieces = np.maximum(1, np.ceil(shapely.length(lines) / _STRETCH_M)).astype(np.int64)
    which = np.repeat(np.arange(len(lines)), pieces)
    nth = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    span = np.column_stack([nth / pieces[which], (nth + 1) / pieces[which]])
    out = lines[which].copy()
    for index in np.flatnonzero(pieces[which] > 1):
        out[index] = substring(out[index], span[index, 0], span[index, 1], normalized=True)
    return out, which, span


def _cut_bank(bank: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Stretches of bank no longer than a crew can be sent to, with their own chainage."""
    parts, which, span = _cut(bank.geometry.to_numpy())
    cut = bank.iloc[which].rename_axis("owner").reset_index()
    start, end = cut["start_m"].to_numpy(), cut["end_m"].to_numpy()
    cut["start_m"], cut["end_m"] = start + span[:, 0] * (end - start), start + span[:, 1] * (end - start)
    cut["length_m"] = shapely.length(parts)
    cut["stationing"] = [f"{station(a)}–{station(b)}" for a, b in zip(cut["start_m"], cut["end_m"], strict=True)]
    return cut.set_geometry(gpd.GeoSeries(parts, crs=bank.crs))


def _bank_gaps(bank: gpd.GeoDataFrame, weights: Mapping[str, float]) -> Rows | None:
    if len(bank) == 0:
        return None
    open_bank = _cut_bank(bank[(bank["state"] != CONFIRMED) & (bank["length_m"] >= _BANK_MIN_M)])
    return _rows(
        open_bank.geometry.to_numpy(),
        owner=open_bank["owner"].to_numpy(),
        target_kind="riverbank",
        target_layer="riverbank",
        reach_code=open_bank["reach_code"].to_numpy(),
        bank_side=open_bank["bank_side"].to_numpy(),
        chainage_start_m=open_bank["start_m"].to_numpy(),
        chainage_end_m=open_bank["end_m"].to_numpy(),
        stationing=open_bank["stationing"].to_numpy(),
        admin_code=open_bank["admin_code"].to_numpy(),
        name_zh=open_bank["name_zh"].to_numpy(),
        need=open_bank["length_m"].to_numpy() * weights.get("riverbank", 1.0),
    )


def _point_gaps(
    result: CoverageResult,
    owners: gpd.GeoDataFrame,
    points: Points,
    owner: npt.NDArray[np.int64],
    kind: str,
    weight: float,
) -> Rows | None:
    if len(points) == 0:
        return None
    unseen = watch_points(result, shapely.get_x(points), shapely.get_y(points)).state != CONFIRMED
    of = owner[unseen]
    return _rows(
        points[unseen],
        owner=of,
        target_kind=kind,
        target_layer="school" if kind == "school_entrance" else kind,
        target_id=owners["id"].to_numpy()[of],
        admin_code=owners["admin_code"].to_numpy()[of],
        name_zh=owners["name_zh"].to_numpy()[of],
        need=np.full(len(of), weight),
    )


def _entrance_gaps(result: CoverageResult, schools: gpd.GeoDataFrame, weights: Mapping[str, float]) -> Rows | None:
    points, owner = shapely.get_parts(schools["entrances"].to_numpy(), return_index=True)
    return _point_gaps(result, schools, points, owner, "school_entrance", weights.get("entrance", 1.0))


def _area_gaps(result: CoverageResult, areas: gpd.GeoDataFrame, weights: Mapping[str, float]) -> Rows | None:
    """Wharves and key areas of which less than half of the outline (of the point, of the line) is surely seen."""
    if len(areas) == 0:
        return None
    shapes = areas.geometry.to_numpy()
    outline = np.where(shapely.get_dimensions(shapes) == 2, shapely.boundary(shapes), shapes)
    places, owner = _samples(outline)
    unseen = watch_points(result, shapely.get_x(places), shapely.get_y(places)).state != CONFIRMED
    n = len(areas)
    share = np.bincount(owner[unseen], minlength=n) / np.maximum(1, np.bincount(owner, minlength=n))
    open_areas = areas[share > 0.5]
    size = shapely.area(open_areas.geometry.to_numpy())
    kind = open_areas["kind"].map(_KEY_AREA_KINDS).fillna("key_area").to_numpy()
    return _rows(
        open_areas.geometry.to_numpy(),
        owner=np.flatnonzero(share > 0.5),
        target_kind=kind,
        target_layer="key_area",
        target_id=open_areas["id"].to_numpy(),
        admin_code=open_areas["admin_code"].to_numpy(),
        name_zh=open_areas["name_zh"].to_numpy(),
        area_m2=np.round(size, 1),
        need=share[share > 0.5] * (weights.get("crossing", 1.0) + np.sqrt(size) * weights.get("public_space", 0.5)),
    )


def _railway_gaps(result: CoverageResult, railways: gpd.GeoDataFrame, weights: Mapping[str, float]) -> Rows | None:
    lines = shapely.get_parts(railways.geometry.to_numpy())
    lines = lines[shapely.length(lines) > 1.0]
    if len(lines) == 0:
        return None
    owner = np.repeat(np.arange(len(railways)), shapely.get_num_geometries(railways.geometry.to_numpy()))
    owner = owner[shapely.length(shapely.get_parts(railways.geometry.to_numpy())) > 1.0]
    stretches, line = _unseen_stretches(result, lines)
    stretches, part, _ = _cut(stretches)
    of = owner[line[part]]
    return _rows(
        stretches,
        owner=of,
        target_kind="railway",
        target_layer="railway",
        target_id=railways["id"].to_numpy()[of],
        admin_code=railways["admin_code"].to_numpy()[of],
        name_zh=railways["name_zh"].to_numpy()[of],
        need=shapely.length(stretches) * weights.get("railway", 0.5),
    )


def _rows(geometry: npt.NDArray[Any], **columns: Any) -> Rows:
    """Columns of gaps, without those of no extent; text as objects, a single text for all."""
    kept = ~shapely.is_empty(geometry)
    n = int(np.count_nonzero(kept))
    told: Rows = {}
    for name, value in columns.items():
        values = np.full(n, value, dtype=object) if isinstance(value, str) else np.asarray(value)[kept]
        told[name] = values if values.dtype.kind in "if" else values.astype(object)
    told["need"] = np.round(told["need"].astype(float), 2)
    told["geom"] = geometry[kept]
    return told


@dataclass(frozen=True)
class Surroundings:
    """What lies near gaps, with trees to find it: outfalls, school entrances, and what a camera could be mounted on."""

    outfalls: shapely.STRtree
    entrances: shapely.STRtree
    mounts: tuple[tuple[str, shapely.STRtree, npt.NDArray[Any]], ...]

    @classmethod
    def of(
        cls,
        outfalls: gpd.GeoDataFrame,
        schools: gpd.GeoDataFrame,
        poles: gpd.GeoDataFrame,
        buildings: gpd.GeoDataFrame,
    ) -> "Surroundings":
        """From the frames that `find_gaps` takes."""
        return cls(
            shapely.STRtree(outfalls.geometry.to_numpy()),
            shapely.STRtree(shapely.get_parts(schools["entrances"].to_numpy())),
            tuple(
                (layer, shapely.STRtree(frame.geometry.to_numpy()), frame["id"].to_numpy(dtype=object))
                for layer, frame in (("pole", poles), ("building", buildings))
                if len(frame)
            ),
        )

    def count_inside(self, gaps: Rows) -> None:
        """How many outfalls and school entrances lie within 20 m of each gap."""
        shapes = shapely.buffer(gaps["geom"], 20.0, quad_segs=2)
        for column, tree in (("outfalls", self.outfalls), ("entrances", self.entrances)):
            gap, _ = tree.query(shapes, predicate="intersects")
            gaps[column] = np.bincount(gap, minlength=len(shapes))

    def add_mounts(self, gaps: Rows) -> None:
        """The nearest pole, or where none is near the nearest building, that a camera could be mounted on."""
        shapes = gaps["geom"]
        anchor = shapely.point_on_surface(shapes)
        anchor = np.where(shapely.is_empty(anchor), shapely.centroid(shapes), anchor)
        layers = np.full(len(shapes), None, dtype=object)
        ids = np.full(len(shapes), None, dtype=object)
        metres = np.full(len(shapes), np.nan)
        for layer, tree, names in self.mounts:
            open_gaps = np.flatnonzero(np.isnan(metres))
            if len(open_gaps) == 0:
                break
            (gap, mount), distance = tree.query_nearest(
                anchor[open_gaps], max_distance=_MOUNT_MAX_M, all_matches=False, return_distance=True
            )
            rows = open_gaps[gap]
            layers[rows], ids[rows], metres[rows] = layer, names[mount], np.round(distance, 1)
        gaps["mount_layer"], gaps["mount_id"], gaps["mount_dist_m"] = layers, ids, metres
