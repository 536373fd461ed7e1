"""Working out again only what a change of cameras can bear on: grid cells, units, bank, outfalls, schools, gaps and causes.

Each part takes the rows as they were, finds those that may differ, has them made by the functions of a full run, and puts them in their
place; the order of rows is that of a full run.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from gis.cameras import CameraTable
from gis.coverage import PRODUCTS, CoverageResult
from gis.coverage_place import EDGE_SEARCH_M
from gis.coverage_sampling import at_points
from gis.coverage_zones import ZoneGround
from gis.visibility_surface import Surface
from grids.coverage import add_causes, middles_of
from grids.coverage_bank import bank_segments
from grids.coverage_places import outfall_watch, school_coverage
from grids.coverage_units import owners, road_cuts, road_sums, share_columns
from grids.gaps import (
    RoadPieces,
    Rows,
    Surroundings,
    collect_gaps,
    complete_gaps,
    explain_gaps,
    gap_frame,
    placed_gaps,
)

__all__ = [
    "Area",
    "Places",
    "RoadCuts",
    "Unit",
    "changed_causes",
    "changed_gaps",
    "changed_places",
    "changed_sums",
    "changed_units",
]

Floats = npt.NDArray[np.float64]

Numbers = npt.NDArray[np.int64]
Shapes = npt.NDArray[Any]
_NOTHING = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Places:
    """Shapes that do not change, with their bounds (west, south, east, north; each (n,))."""

    shapes: Shapes
    bounds: tuple[Floats, Floats, Floats, Floats]

    @classmethod
    def of(cls, shapes: Shapes) -> "Places":
        """Of any shapes."""
        west, south, east, north = shapely.bounds(shapes).reshape(-1, 4).T.copy()
        return cls(shapes, (west, south, east, north))

    def meeting(self, ground: Iterable[Any]) -> Numbers:
        """Numbers of those that meet any piece of ground, rising; for few pieces of ground and any number of shapes."""
        found = np.zeros(len(self.shapes), dtype=np.bool_)
        west, south, east, north = self.bounds
        for piece in ground:
            w, s, e, n = piece.bounds
            close = np.flatnonzero((west <= e) & (east >= w) & (south <= n) & (north >= s))
            if len(close):
                found[close] |= shapely.intersects(self.shapes[close], piece)
        return np.flatnonzero(found)


@dataclass(frozen=True)
class RoadCuts:
    """Roads cut by the grid cells as their sums read them, by cell: lines of cell ``k`` are those from ``start[k]`` to ``start[k + 1]``."""

    lines: Shapes
    start: Numbers

    @classmethod
    def of(cls, cells: Shapes, tree: shapely.STRtree, roads: Shapes) -> "RoadCuts":
        """From cells with their tree."""
        lines, cell = road_cuts(cells, tree, roads)
        order = np.argsort(cell, kind="stable")  # along the roads within a cell, as in a full run
        return cls(lines[order], np.searchsorted(cell[order], np.arange(len(cells) + 1)))

    def within(self, cells: Numbers) -> tuple[Shapes, Numbers]:
        """Lines of some cells, and the place in ``cells`` of each."""
        size = self.start[cells + 1] - self.start[cells]
        which = np.repeat(np.arange(len(cells)), size)
        nth = np.arange(len(which)) - np.repeat(np.cumsum(size) - size, size)
        return self.lines[self.start[cells][which] + nth], which


@dataclass(frozen=True)
class Area:
    """What does not change with the cameras, with trees and bounds to find it. Text stands in the frames as Python strings.

    ``school_zones`` hold every cell that the zone of a school can count (`grids.coverage_places.zones_around`). The places are those of the
    frames of the same rows.
    """

    cells: gpd.GeoDataFrame
    cell_tree: shapely.STRtree
    ground: ZoneGround
    roads: gpd.GeoDataFrame
    road_tree: shapely.STRtree
    cuts: RoadCuts
    pieces: RoadPieces
    crossings: Shapes
    crossing_tree: shapely.STRtree
    crossing_of: Numbers
    units: "dict[str, Unit]"
    banks: gpd.GeoDataFrame
    bank_places: Places
    outfalls: gpd.GeoDataFrame
    outfall_places: Places
    schools: gpd.GeoDataFrame
    entrances: Places
    school_zones: Places
    areas: gpd.GeoDataFrame
    area_places: Places
    railways: gpd.GeoDataFrame
    railway_places: Places
    buildings: Shapes
    building_tree: shapely.STRtree
    near: Surroundings
    weights: Mapping[str, float]

    def roads_at(self, shapes: Shapes) -> gpd.GeoDataFrame:
        """Roads that meet shapes, in their order."""
        return self.roads.iloc[_found(self.road_tree, shapes)]


def _found(tree: shapely.STRtree, shapes: Shapes) -> Numbers:
    """Numbers of what a tree holds that meets any shape, rising."""
    if len(shapes) == 0 or len(tree.geometries) == 0:
        return _NOTHING
    return np.unique(tree.query(shapes, predicate="intersects")[1]).astype(np.int64)


def _column(frame: pd.DataFrame, name: str) -> npt.NDArray[Any]:
    """Values of a column, to read only; without what a geographic frame does to hand out a column."""
    return np.asarray(pd.DataFrame.__getitem__(frame, name).to_numpy())


def _spliced(frame: gpd.GeoDataFrame, rows: Numbers, new: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """A frame in which the rows with an index of ``rows`` are exchanged for new ones, in the order of the index."""
    if len(rows) == 0:
        return frame
    kept = frame[~frame.index.isin(rows)]
    both = pd.concat([part for part in (kept, new) if len(part)]) if len(kept) or len(new) else frame.iloc[:0]
    return gpd.GeoDataFrame(both.sort_index(kind="stable"), geometry="geom", crs=frame.crs)


def changed_sums(
    area: Area,
    result: CoverageResult,
    sums: pd.DataFrame,
    boxes: Shapes,
    counts: list[tuple[Numbers, Numbers]],
    was: gpd.GeoDataFrame,
    now: gpd.GeoDataFrame,
) -> tuple[pd.DataFrame, Numbers]:
    """Sums of the grid cells, and the numbers of those that were looked at."""
    homes = [owners(area.cell_tree, frame.geometry.to_numpy()) for frame in (was, now)]
    touched = np.unique(np.concatenate([_found(area.cell_tree, boxes), *(home for _, home in homes)]))
    if len(touched) == 0:
        return sums, touched
    d = len(result.densities_px_m)
    names = [f"m2_{product}_{k}" for product in PRODUCTS for k in range(d)]
    unit = result.cell_m * result.cell_m
    cells = np.rint(sums[names].to_numpy()[touched] / unit)
    for here, more in counts:
        cells[np.searchsorted(touched, here[more.any(axis=1)])] += more[more.any(axis=1)]
    values = sums.to_numpy(copy=True)
    at = {name: k for k, name in enumerate(sums.columns)}
    for k, name in enumerate(names):
        values[touched, at[name]] = cells[:, k] * result.cell_m * result.cell_m
    lines, owner = area.cuts.within(touched)
    road_values = road_sums(result, lines, owner, len(touched))
    inside = np.flatnonzero(np.isin(area.crossing_of, touched))
    places = area.crossings[inside]
    seen = at_points(result, shapely.get_x(places), shapely.get_y(places)).counts[:, PRODUCTS.index("confirmed_online"), 0] > 0
    road_values["crossings_confirmed"] = np.bincount(
        np.searchsorted(touched, area.crossing_of[inside]), weights=seen.astype(float), minlength=len(touched)
    )
    for name, fresh in road_values.items():
        values[touched, at[name]] = fresh
    for name, only_online in (("cameras", False), ("cameras_online", True)):
        for frame, (which, home), sign in zip((was, now), homes, (-1.0, 1.0), strict=True):
            on = (_column(frame, "net_status") == "on")[which] | (not only_online)
            np.add.at(values[:, at[name]], home, sign * on)
    return pd.DataFrame(values, columns=sums.columns, copy=False), touched


@dataclass(frozen=True)
class Unit:
    """One kind of larger unit: number of the unit of each cell (-1: none), and the row of each in ``coverage_by_grid`` (-1: none)."""

    codes: Numbers
    rows: Numbers

    @classmethod
    def of(cls, kind: str, key: pd.Series, rows: gpd.GeoDataFrame, known: gpd.GeoDataFrame) -> "Unit":
        """From what `grids.coverage.units_of` gives and the rows of a full run."""
        codes, labels = pd.factorize(key.to_numpy(), sort=True)
        have = set(known["key"].to_numpy()[~pd.isna(known.geometry.to_numpy())])
        told = np.array([label in have for label in labels], dtype=np.bool_)
        at = np.full(len(labels), -1, dtype=np.int64)
        at[told] = np.flatnonzero((rows["unit_kind"] == kind).to_numpy())
        return cls(codes.astype(np.int64), at)


def changed_units(
    area: Area, rows: gpd.GeoDataFrame, sums: pd.DataFrame, touched: Numbers, densities: int
) -> gpd.GeoDataFrame:
    """Rows of ``coverage_by_grid``: the cells that were looked at and the units that they belong to."""
    if len(touched) == 0:
        return rows
    values = sums.to_numpy()
    places, parts = [touched], [values[touched]]
    for unit in area.units.values():
        wanted = np.unique(unit.codes[touched])
        wanted = wanted[wanted >= 0]
        wanted = wanted[unit.rows[wanted] >= 0]
        members = np.flatnonzero(np.isin(unit.codes, wanted))
        if len(wanted) and len(members):
            code, part = np.searchsorted(wanted, unit.codes[members]), values[members]
            # added up in the order of the cells, as `grids.coverage_units.totals` does
            columns = [np.bincount(code, weights=column, minlength=len(wanted)) for column in part.T]
            parts.append(np.column_stack(columns))
            places.append(unit.rows[wanted])
    together = np.concatenate(parts)
    fresh = share_columns({str(name): together[:, k] for k, name in enumerate(sums.columns)}, densities)
    at = np.concatenate(places)
    columns_of: dict[str, npt.NDArray[Any]] = {str(name): _column(rows, name) for name in rows.columns}
    for name, changed in fresh.items():
        if name in columns_of:
            old = columns_of[name]
            if not np.array_equal(old[at], changed, equal_nan=True):
                columns_of[name] = old.copy()
                columns_of[name][at] = changed
    return gap_frame(columns_of, rows.crs)


def changed_places(
    area: Area,
    result: CoverageResult,
    tables: dict[str, gpd.GeoDataFrame],
    boxes: Shapes,
    was: gpd.GeoDataFrame,
    now: gpd.GeoDataFrame,
    cameras: Callable[[], gpd.GeoDataFrame],
    reach: Shapes,
    table: CameraTable,
    surface: Surface,
) -> None:
    """Rows of bank, outfalls and schools in ``tables``, in place; causes are left empty where rows are new."""
    if "bank_coverage" in tables:
        rows = area.bank_places.meeting(boxes)
        if len(rows):
            fresh = bank_segments(result, area.banks.iloc[rows])
            fresh.index = pd.Index(rows[fresh.index.to_numpy()])
            fresh["cause"] = _UNTOLD
            tables["bank_coverage"] = _spliced(tables["bank_coverage"], rows, fresh)
    if "outfall_watch" in tables:
        old = tables["outfall_watch"]
        shapes = area.outfall_places.shapes
        nearest = _column(old, "nearest_camera_m") if "nearest_camera_m" in old else np.full(len(old), np.inf)
        moved = np.zeros(len(old), dtype=np.bool_)
        for point in np.concatenate([was.geometry.to_numpy(), now.geometry.to_numpy()]):
            moved |= ~(shapely.distance(shapes, point) > nearest + 0.1)
        # where one camera takes the place of another counts stay, but not who watches
        rows = np.union1d(area.outfall_places.meeting([*boxes, *reach]), np.flatnonzero(moved))
        if len(rows):
            fresh = outfall_watch(result, area.outfalls.iloc[rows], cameras(), _nearby(table, shapes[rows]), surface)
            fresh.index = pd.Index(rows)
            fresh["cause"] = _UNTOLD
            tables["outfall_watch"] = _spliced(old, rows, fresh)
    if "school_coverage" in tables:
        schools = area.schools
        close = np.union1d(area.school_zones.meeting(boxes), area.entrances.meeting(boxes))
        if len(close):
            zone = area.school_zones.shapes[close]
            fresh = school_coverage(
                result,
                schools.iloc[close],
                area.roads_at(zone),
                closed=area.buildings[_found(area.building_tree, zone)],
            )
            fresh.index = pd.Index(close)
            tables["school_coverage"] = _spliced(tables["school_coverage"], close, fresh)


#: Stands for a cause that has still to be told.
_UNTOLD = "?"


def changed_causes(
    tables: dict[str, gpd.GeoDataFrame], boxes: Shapes, reach: Shapes, table: CameraTable, surface: Surface
) -> None:
    """Causes of outfalls and stretches of bank that are new or lie where a changed camera can be the reason."""
    for layer in ("bank_coverage", "outfall_watch"):
        if layer not in tables:
            continue
        frame = tables[layer]
        shapes = frame.geometry.to_numpy()
        near = Places.of(shapes).meeting(reach)  # a middle within reach lies on a line within reach
        near = near[shapely.intersects(middles_of(shapes[near])[:, None], reach[None, :]).any(axis=1)]
        rows = np.union1d(np.flatnonzero(_column(frame, "cause") == _UNTOLD), near)
        if len(rows):
            tables[layer] = add_causes(frame.copy(deep=False), rows, _nearby(table, middles_of(shapes[rows])), surface)


def _nearby(table: CameraTable, places: Shapes) -> CameraTable:
    """Cameras that can be a reason at any of the places."""
    west, south, east, north = shapely.total_bounds(places)
    room = table.view_m + EDGE_SEARCH_M + 10.0
    return table.take(
        (table.x + room >= west) & (table.x - room <= east) & (table.y + room >= south) & (table.y - room <= north)
    )


def changed_gaps(
    area: Area,
    result: CoverageResult,
    tables: dict[str, gpd.GeoDataFrame],
    boxes: Shapes,
    reach: Shapes,
    table: CameraTable,
    surface: Surface,
) -> gpd.GeoDataFrame:
    """Rows of ``coverage_gap``: those of places that the boxes meet anew, causes within reach anew, all ranked anew."""
    frame = tables["coverage_gap"]
    gaps: Rows = {str(name): _column(frame, name) for name in frame.columns}
    if len(boxes):
        cells = _found(area.cell_tree, boxes)
        banks = area.bank_places.meeting(boxes)
        chosen = (
            cells,
            banks,
            area.outfall_places.meeting(boxes),
            area.entrances.meeting(boxes),
            area.area_places.meeting(boxes),
            area.railway_places.meeting(boxes),
        )
        bank = tables.get("bank_coverage", area.banks.iloc[:0])
        made = collect_gaps(
            result,
            cells=area.cells.iloc[cells],
            pieces=area.pieces.within(cells),
            crossings=area.crossings[_found(area.crossing_tree, area.cells.geometry.to_numpy()[cells])],
            bank=bank.iloc[np.flatnonzero(np.isin(bank.index.to_numpy(), banks))],
            outfalls=area.outfalls.iloc[chosen[2]],
            schools=area.schools.iloc[chosen[3]],
            areas=area.areas.iloc[chosen[4]],
            railways=area.railways.iloc[chosen[5]],
            weights=area.weights,
        )
        source, owner = gaps["source"], gaps["owner"]
        old = np.zeros(len(source), dtype=np.bool_)
        for kind, numbers in enumerate(chosen):
            if len(numbers):
                old |= (source == kind) & np.isin(owner, numbers)
        if len(made["geom"]):
            for kind, numbers in enumerate(chosen):
                if kind != 1:  # stretches of bank carry the number of their bank already
                    rows = made["source"] == kind
                    made["owner"][rows] = numbers[made["owner"][rows]]
            complete_gaps(made, result, area.near)
            n = len(made["geom"])
            made["cause"], made["cause_share"] = np.full(n, _UNTOLD, dtype=object), np.full(n, np.nan)
        gaps = placed_gaps(gaps, np.flatnonzero(~old), made)
    if len(gaps["geom"]) == 0:
        return gap_frame(gaps, frame.crs)
    shapes = gaps["geom"]
    rows = np.union1d(np.flatnonzero(gaps["cause"] == _UNTOLD), Places.of(shapes).meeting(reach))
    if len(rows):
        explain_gaps(gaps, rows, _nearby(table, shapes[rows]), surface)
    return gap_frame(gaps, frame.crs)
