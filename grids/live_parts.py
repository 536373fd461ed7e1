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
from gis.coverage import CoverageResult
from gis.coverage_place import EDGE_SEARCH_M
from gis.coverage_zones import ZoneCoverage, ZoneGround
from gis.visibility_surface import Surface
from grids.coverage import add_causes, middles
from grids.coverage_bank import bank_segments
from grids.coverage_places import outfall_watch, school_coverage
from grids.coverage_units import owners, shares, sum_cells, totals
from grids.gaps import Surroundings, collect_gaps, complete_gaps, explain_gaps, rank_gaps

__all__ = ["Area", "Unit", "changed_causes", "changed_gaps", "changed_places", "changed_sums", "changed_units"]

Numbers = npt.NDArray[np.int64]
Shapes = npt.NDArray[Any]
_NOTHING = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Area:
    """What does not change with the cameras, with trees to find it.

    ``school_zones`` hold every cell that the zone of a school can count (`grids.coverage_places.zones_around`).
    """

    cells: gpd.GeoDataFrame
    cell_tree: shapely.STRtree
    ground: ZoneGround
    roads: gpd.GeoDataFrame
    road_tree: shapely.STRtree
    crossings: Shapes
    crossing_tree: shapely.STRtree
    crossing_of: Numbers
    units: "dict[str, Unit]"
    banks: gpd.GeoDataFrame
    outfalls: gpd.GeoDataFrame
    schools: gpd.GeoDataFrame
    school_zones: Shapes
    areas: gpd.GeoDataFrame
    railways: gpd.GeoDataFrame
    buildings: Shapes
    building_tree: shapely.STRtree
    near: Surroundings
    weights: Mapping[str, float]

    def roads_at(self, shapes: Shapes) -> gpd.GeoDataFrame:
        """Roads that meet shapes, in their order."""
        return self.roads.iloc[_found(self.road_tree, shapes)]

    def crossings_in(self, cells: Numbers) -> Shapes:
        """Crossings that belong to grid cells."""
        return self.crossings[np.isin(self.crossing_of, cells)]


def _found(tree: shapely.STRtree, shapes: Shapes) -> Numbers:
    """Numbers of what a tree holds that meets any shape, rising."""
    if len(shapes) == 0 or len(tree.geometries) == 0:
        return _NOTHING
    return np.unique(tree.query(shapes, predicate="intersects")[1]).astype(np.int64)


def _meeting(shapes: Shapes, ground: Iterable[Any]) -> Numbers:
    """Numbers of shapes that meet any piece of ground, rising; for few pieces of ground and any number of shapes."""
    found = np.zeros(len(shapes), dtype=np.bool_)
    if len(shapes):
        west, south, east, north = shapely.bounds(shapes).T
        for piece in ground:
            w, s, e, n = piece.bounds
            close = np.flatnonzero((west <= e) & (east >= w) & (south <= n) & (north >= s))
            found[close] |= shapely.intersects(shapes[close], piece)
    return np.flatnonzero(found).astype(np.int64)


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
    names = [f"m2_{product}_{k}" for product in _PRODUCTS for k in range(d)]
    unit = result.cell_m * result.cell_m
    cells = np.rint(sums[names].to_numpy()[touched] / unit)
    for here, more in counts:
        cells[np.searchsorted(touched, here[more.any(axis=1)])] += more[more.any(axis=1)]
    open_m2 = sums["public_m2"].to_numpy()[touched]
    zones = ZoneCoverage(open_m2, cells.reshape(-1, 4, d) * result.cell_m * result.cell_m)
    part = area.cells.iloc[touched]
    fresh = sum_cells(
        result,
        part,
        zones,
        roads=area.roads_at(part.geometry.to_numpy()),
        crossings=area.crossings_in(touched),
        cameras=now.iloc[:0],
    )
    for name, only_online in (("cameras", False), ("cameras_online", True)):
        count = sums[name].to_numpy()[touched]
        for frame, (which, home), sign in zip((was, now), homes, (-1.0, 1.0), strict=True):
            on = (frame["net_status"] == "on").to_numpy()[which] | (not only_online)
            np.add.at(count, np.searchsorted(touched, home), sign * on)
        fresh[name] = count
    values = sums.to_numpy(copy=True)
    values[touched] = fresh[list(sums.columns)].to_numpy()
    return pd.DataFrame(values, columns=sums.columns), touched


_PRODUCTS = ("confirmed_installed", "possible_installed", "confirmed_online", "possible_online")


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
    places, parts = [touched], [sums.iloc[touched]]
    for unit in area.units.values():
        wanted = np.unique(unit.codes[touched])
        wanted = wanted[wanted >= 0]
        wanted = wanted[unit.rows[wanted] >= 0]
        mask = np.isin(unit.codes, wanted)
        if len(wanted) and mask.any():
            parts.append(totals(sums[mask], pd.Series(unit.codes[mask])))
            places.append(unit.rows[wanted])
    fresh = shares(pd.concat(parts), densities)
    at = np.concatenate(places)
    columns = {}
    for name in fresh.columns:
        if name in rows:
            values = rows[name].to_numpy(copy=True)
            values[at] = fresh[name].to_numpy()
            columns[name] = values
    return rows.assign(**columns)


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
        rows = _meeting(area.banks.geometry.to_numpy(), boxes)
        if len(rows):
            fresh = bank_segments(result, area.banks.iloc[rows])
            fresh.index = pd.Index(rows[fresh.index.to_numpy()])
            fresh["cause"] = _UNTOLD
            tables["bank_coverage"] = _spliced(tables["bank_coverage"], rows, fresh)
    if "outfall_watch" in tables:
        old = tables["outfall_watch"]
        shapes = area.outfalls.geometry.to_numpy()
        nearest = old["nearest_camera_m"].to_numpy() if "nearest_camera_m" in old else np.full(len(old), np.inf)
        moved = np.zeros(len(old), dtype=np.bool_)
        for point in np.concatenate([was.geometry.to_numpy(), now.geometry.to_numpy()]):
            moved |= ~(shapely.distance(shapes, point) > nearest + 0.1)
        # where one camera takes the place of another counts stay, but not who watches
        rows = np.union1d(_meeting(shapes, [*boxes, *reach]), np.flatnonzero(moved))
        if len(rows):
            fresh = outfall_watch(result, area.outfalls.iloc[rows], cameras(), _nearby(table, shapes[rows]), surface)
            fresh.index = pd.Index(rows)
            fresh["cause"] = _UNTOLD
            tables["outfall_watch"] = _spliced(old, rows, fresh)
    if "school_coverage" in tables:
        schools = area.schools
        entrances = schools["entrances"].to_numpy()
        close = np.union1d(_meeting(area.school_zones, boxes), _meeting(entrances, boxes))
        if len(close):
            zone = area.school_zones[close]
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
        fresh = np.flatnonzero((frame["cause"] == _UNTOLD).to_numpy())
        places = middles(frame)
        rows = np.union1d(fresh, _meeting(places, reach))
        if len(rows):
            tables[layer] = add_causes(frame.copy(), rows, _nearby(table, places[rows]), surface)


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
    gaps = tables["coverage_gap"]
    if len(boxes):
        banks = _meeting(area.banks.geometry.to_numpy(), boxes)
        entrances = area.schools["entrances"].to_numpy()
        chosen = (
            _found(area.cell_tree, boxes),
            banks,
            _meeting(area.outfalls.geometry.to_numpy(), boxes),
            _meeting(entrances, boxes),
            _meeting(area.areas.geometry.to_numpy(), boxes),
            _meeting(area.railways.geometry.to_numpy(), boxes),
        )
        cells = area.cells.iloc[chosen[0]]
        bank = tables.get("bank_coverage", area.banks.iloc[:0])
        made = collect_gaps(
            result,
            cells=cells,
            roads=area.roads_at(cells.geometry.to_numpy()),
            crossings=area.crossings[_found(area.crossing_tree, cells.geometry.to_numpy())],
            bank=bank[bank.index.isin(banks)],
            outfalls=area.outfalls.iloc[chosen[2]],
            schools=area.schools.iloc[chosen[3]],
            areas=area.areas.iloc[chosen[4]],
            railways=area.railways.iloc[chosen[5]],
            weights=area.weights,
        )
        source, owner = gaps["source"].to_numpy(), gaps["owner"].to_numpy()
        old = np.zeros(len(gaps), dtype=np.bool_)
        for kind, numbers in enumerate(chosen):
            old |= (source == kind) & np.isin(owner, numbers)
        if len(made):
            for kind, numbers in enumerate(chosen):
                if kind != 1:  # stretches of bank carry the number of their bank already
                    rows = (made["source"] == kind).to_numpy()
                    made.loc[rows, "owner"] = numbers[made.loc[rows, "owner"].to_numpy(dtype=np.int64)]
            complete_gaps(made, result, area.near)
            made["cause"], made["cause_share"] = _UNTOLD, np.nan
        kept = gaps[~old]
        parts = [part for part in (kept, made) if len(part)]
        joined = pd.concat(parts, ignore_index=True) if parts else gaps.iloc[:0]
        gaps = gpd.GeoDataFrame(joined, geometry="geom", crs=gaps.crs)
    if gaps.empty:
        return gaps
    shapes = gaps.geometry.to_numpy()
    rows = np.union1d(np.flatnonzero((gaps["cause"] == _UNTOLD).to_numpy()), _meeting(shapes, reach))
    if len(rows):
        gaps = explain_gaps(gaps.copy(deep=False), rows, _nearby(table, shapes[rows]), surface)
    return rank_gaps(gaps)
