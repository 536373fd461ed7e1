"""The city's present layout: one ring, ten zones, a hundred grids, a thousand points."""

from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from data.city.admin import Division
from data.city.cells import Cells, merged
from data.city.division import apportion, divide
from data.city.frame import register, rng_for, uuids

__all__ = ["LAYOUT", "Layout", "draw_layout", "layout_layer"]

LAYOUT = "current"
ZONES, GRIDS, POINTS = 10, 100, 1000

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """Zone and grid of each cell; ``zone_of_grid`` is their nesting."""

    zone: Ints
    grid: Ints
    zone_of_grid: Ints
    grid_weight: NDArray[np.float64]


def draw_layout(cells: Cells, division: Division) -> Layout:
    """Zones keep to one bank; grids are balanced by people, ten to a zone as far as weights allow."""
    weight = division.population + np.where(cells.is_land, cells.area_m2 / 10_000.0, 0.0)
    side = (cells.bank == "R").astype(np.int64)
    # The side of water pieces is that of the quarter they were given to.
    seats = apportion(np.bincount(side, weights=weight), ZONES)
    whole = (cells.along_m, cells.away_m, cells.area_m2, cells.adjacency)
    zone = divide(cells.quarter, side, seats, weight, *whole)
    grid = divide(cells.quarter, zone, np.full(ZONES, GRIDS // ZONES), weight, *whole)
    zone_of_grid = np.zeros(GRIDS, dtype=np.int64)
    zone_of_grid[grid] = zone
    return Layout(zone, grid, zone_of_grid, np.bincount(grid, weights=division.population, minlength=GRIDS))


def layout_layer(
    cells: Cells, layout: Layout, point_xy: NDArray[np.float64], point_cell: Ints, point_site: NDArray[np.object_], *, seed: int
) -> gpd.GeoDataFrame:  # fmt: skip
    """Layer ``layout_unit``: the ring's polygon, zones, grids, and points at cameras.

    Parameters
    ----------
    point_xy : array (n, 2)
        Cameras that may serve, EPSG:4546; ten are taken a grid, the rest where most people are.
    point_cell, point_site : arrays
        Their cells and identifiers.
    """
    rng = rng_for(seed, "layout")
    grid_of = layout.grid[point_cell]
    order = rng.permutation(len(point_xy))
    rank = np.zeros(len(order), dtype=np.int64)
    by_grid = order[np.argsort(grid_of[order], kind="stable")]
    starts = np.searchsorted(grid_of[by_grid], np.arange(GRIDS))
    rank[by_grid] = np.arange(len(by_grid)) - starts[grid_of[by_grid]]
    chosen = np.argsort(rank, kind="stable")[:POINTS]
    chosen = chosen[np.lexsort([rank[chosen], grid_of[chosen]])]
    ids = uuids(seed, "layout_unit", 1 + ZONES + GRIDS + len(chosen))
    zone_code = [f"Z{z + 1:02d}" for z in range(ZONES)]
    number = dict.fromkeys(range(ZONES), 0)
    grid_code = []
    for z in layout.zone_of_grid.tolist():
        number[z] += 1
        grid_code.append(f"{zone_code[z]}-G{number[z]:02d}")
    within = dict.fromkeys(range(GRIDS), 0)
    point_code = []
    for g in grid_of[chosen].tolist():
        within[g] += 1
        point_code.append(f"{grid_code[g]}-P{within[g]:02d}")
    geometry = np.concatenate([[cells.ring], merged(cells.polygons, layout.zone), merged(cells.polygons, layout.grid),
                               shapely.points(point_xy[chosen])])  # fmt: skip
    parent = np.concatenate(
        [[None], np.repeat(ids[0], ZONES), ids[1 + layout.zone_of_grid], ids[1 + ZONES + grid_of[chosen]]]
    )
    zone_weight = np.bincount(layout.zone_of_grid, weights=layout.grid_weight, minlength=ZONES)
    code = ["R1", *zone_code, *grid_code, *point_code]
    quota = np.bincount(grid_of[chosen], minlength=GRIDS)
    none = [None] * len(chosen)
    return register(
        "layout_unit", geometry,
        {"name_zh": ["中心城区一圈", *(f"第{c[1:]}片区" for c in zone_code), *(f"{c}格" for c in grid_code), *(f"{c}点" for c in point_code)],
         "name_en": ["Ring", *(f"Zone {c}" for c in zone_code), *(f"Grid {c}" for c in grid_code), *(f"Point {c}" for c in point_code)],
         "admin_code": "420500000000", "level": ["ring", *["zone"] * ZONES, *["grid"] * GRIDS, *["point"] * len(chosen)],
         "parent_id": parent, "code": code, "layout": LAYOUT, "version": 1,
         "weight": [float(layout.grid_weight.sum()), *zone_weight.tolist(), *layout.grid_weight.tolist(), *none],
         "quota": [len(chosen), *np.bincount(layout.zone_of_grid, weights=quota, minlength=ZONES).astype(int).tolist(), *quota.tolist(), *none],
         "pinned": False, "site_layer": [*[None] * (1 + ZONES + GRIDS), *["camera_site"] * len(chosen)],
         "site_id": np.concatenate([np.full(1 + ZONES + GRIDS, None), point_site[chosen]])},
        seed=seed, ids=ids, classification="internal",
    )  # fmt: skip
