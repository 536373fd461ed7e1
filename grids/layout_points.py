"""The points of a layout: quotas by weight, and for each grid the places that cover most of what matters there, by the siting engine."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from gis.ring import prove_ring
from gis.roadgraph import RoadGraph, road_graph
from gis.settings import CityConfig
from gis.siting import SitingProblem, cover_within, solve
from grids.layout import LayoutData, containers_of, road_levels

__all__ = ["REACH_M", "Placed", "place_points", "quotas"]

type Ints = NDArray[np.int64]

#: What a point covers lies this near to it.
REACH_M = 100.0
#: Crossings of the ring are watched from this near.
_WATCH_M = 30.0
_EFFORT = 0.05


@dataclass(frozen=True)
class Placed:
    """A point: its grid, number, place, camera (None where there is none yet), and whether it may not move."""

    grid: int
    spot: Any
    site: str | None
    pinned: bool
    code: str | None = None


def quotas(weight: Any, city: CityConfig) -> Ints:
    """Points of each grid: the least, and the rest by weight (largest remainders)."""
    least = np.full(len(weight), city.layout.points_per_grid_min, np.int64)
    rest = max(city.layout.points - int(least.sum()), 0)
    share = rest * (weight / weight.sum() if weight.sum() > 0 else np.full(len(weight), 1 / len(weight)))
    quota = least + np.floor(share).astype(np.int64)
    lacking = rest - int(np.floor(share).sum())
    quota[np.argsort(-(share % 1), kind="stable")[:lacking]] += 1
    return quota


def _with_room(quota: Ints, needed: Ints, least: int) -> Ints:
    """Quotas of the same sum with room for what must be placed: taken, one by one, where most is to spare."""
    out = np.maximum(quota, needed)
    floor = np.maximum(needed, least)
    for _ in range(int(out.sum() - quota.sum())):
        k = int(np.argmax(out - floor))
        if out[k] <= floor[k]:
            break
        out[k] -= 1
    return out


def place_points(
    data: LayoutData,
    ring: BaseGeometry,
    zones: Any,
    grids: Any,
    quota: Ints,
    *,
    weight: str,
    least: int = 0,
    places: Any = (),
    kept: Any = None,
) -> tuple[list[Placed], Ints, dict[str, float]]:
    """Choose the points of every grid.

    First what may not move, the crossings that must be watched for the ring and each zone to be closed, and points of the layout before
    (``kept``) while their camera is there; then, of the cameras that are there (and of road junctions, where these do not suffice), those
    that cover most: people (by cells), junctions and places that matter (``places``), each of the three a third of the worth, within `REACH_M`.

    Parameters
    ----------
    least : int
        Points that each grid has at least, whatever others need.
    places : array of Point
        Schools, outfalls and the like.
    kept : GeoDataFrame, optional
        Points of the layout before: ``geom``, ``site_id``, ``code``, ``pinned``.

    Returns
    -------
    list of Placed, array, dict
        The quotas, raised where more crossings must be watched and lowered elsewhere; which share of the worth is covered.
    """
    cameras = data.cameras[data.cameras["device_state"].fillna("in_use") != "removed"].reset_index(drop=True)
    sites, names = cameras.geometry.to_numpy(), cameras["id"].to_numpy(dtype=object)
    graph = road_graph(data.roads, level=road_levels(data.roads)) if len(data.roads) else None
    junctions = _junctions(graph)
    demand, worth = _demand(data, weight, junctions, np.asarray(places, dtype=object))
    sure = _pinned(kept, grids)
    before = _as_before(kept, grids, set(names.astype(str)), {p.site for p in sure})
    bare = [p for p in before if p.site is None]  # they may watch a crossing, and no camera does it for them
    sure += _crossings(graph, ring, zones, grids, shapely.get_coordinates(sites), sure + bare) + bare
    quota = _with_room(quota, np.bincount([p.grid for p in sure], minlength=len(grids)), least)
    sure += [p for p in before if p.site is not None]
    home = [containers_of(points, grids) for points in (sites, junctions, demand)]
    chosen: list[Placed] = []
    covered = 0.0
    for g in range(len(grids)):
        mine = [p for p in sure if p.grid == g][: int(quota[g])]
        taken = {p.site for p in mine}
        near = [k for k in np.flatnonzero(home[0] == g) if str(names[k]) not in taken]
        spots = [*(p.spot for p in mine), *sites[near]]
        ids: list[str | None] = [*(p.site for p in mine), *(str(names[k]) for k in near)]
        forced = list(range(len(mine)))
        if len(spots) < quota[g]:  # too few cameras: all of them, and junctions for the rest
            forced = list(range(len(spots)))
            more = junctions[home[1] == g]
            spots, ids = [*spots, *more], [*ids, *[None] * len(more)]
        wanted = np.flatnonzero(home[2] == g)
        picks, gained = _chosen(spots, forced, int(quota[g]), shapely.get_coordinates(demand[wanted]), worth[wanted])
        covered += gained
        for k in picks:
            found = mine[k] if k < len(mine) else Placed(g, spots[k], ids[k], False)
            chosen.append(found)
    return chosen, quota, {"worth_covered": round(covered, 4), "points_wanted": int(quota.sum())}


def _junctions(graph: RoadGraph | None) -> Any:
    """Nodes of three roads and more."""
    if graph is None or not len(graph.xy):
        return np.zeros(0, object)
    degree = np.bincount(graph.ends.ravel(), minlength=len(graph.xy))
    return shapely.points(graph.xy[degree >= 3]) if (degree >= 3).any() else shapely.points(graph.xy)


def _demand(data: LayoutData, weight: str, junctions: Any, places: Any) -> tuple[Any, NDArray[np.float64]]:
    people = pd.to_numeric(data.cells[weight], errors="coerce").fillna(0).to_numpy(float)
    cells = shapely.point_on_surface(data.cells.geometry.to_numpy())
    groups = [(cells, people), (junctions, np.ones(len(junctions))), (places, np.ones(len(places)))]
    shapes = np.concatenate([points for points, _ in groups])
    parts = [values / values.sum() / 3 if values.sum() > 0 else values for _, values in groups]
    return shapes, np.concatenate(parts)


def _pinned(kept: Any, grids: Any) -> list[Placed]:
    if kept is None or not len(kept):
        return []
    fixed = kept[kept["pinned"].fillna(False).to_numpy(dtype=bool)]
    home = containers_of(fixed.geometry.to_numpy(), grids)
    return [
        Placed(int(g), row.geom, None if pd.isna(row.site_id) else str(row.site_id), True, str(row.code))
        for g, row in zip(home, fixed.itertuples(), strict=True)
        if g >= 0
    ]


def _as_before(kept: Any, grids: Any, cameras: set[str], taken: set[str | None]) -> list[Placed]:
    """Points of the layout before that may move and need not: their camera is there still, or they stand for none."""
    if kept is None or not len(kept):
        return []
    rest = kept[~kept["pinned"].fillna(False).to_numpy(dtype=bool)]
    home = containers_of(rest.geometry.to_numpy(), grids)
    found = []
    for g, row in zip(home, rest.itertuples(), strict=True):
        site = None if pd.isna(row.site_id) else str(row.site_id)
        if g >= 0 and (site is None or (site in cameras and site not in taken)):
            found.append(Placed(int(g), row.geom, site, False))
    return found


def _crossings(
    graph: RoadGraph | None, ring: BaseGeometry, zones: Any, grids: Any, cameras_xy: Any, sure: list[Placed]
) -> list[Placed]:
    """Places at the fewest further crossings that close the ring, then each zone, drawn just inside it.

    A place on the border of two zones serves both: each zone is looked at with what was placed for those before it.
    """
    if graph is None:
        return []
    found: list[Placed] = []
    for outline in [ring, *(part for zone in zones for part in shapely.get_parts(zone))]:
        found += _closing(graph, outline, grids, cameras_xy, [*sure, *found])
    return found


def _closing(graph: RoadGraph, outline: BaseGeometry, grids: Any, cameras_xy: Any, sure: list[Placed]) -> list[Placed]:
    own = np.array([[p.spot.x, p.spot.y] for p in sure if p.site is None]).reshape(-1, 2)
    proof = prove_ring(graph, outline, np.concatenate([cameras_xy, own]), reach_m=_WATCH_M, depth_m=10.0)
    at = [crossing.xy for crossing in proof.crossings if crossing.to_watch]
    if not at:
        return []
    spots = np.atleast_1d(np.asarray(shapely.points(np.array(at)), dtype=object))
    inner = shapely.buffer(outline, -1.0)
    nearest = np.array([shapely.get_point(shapely.shortest_line(inner, spot), 0) for spot in spots], dtype=object)
    spots = np.where(shapely.covers(inner, spots), spots, nearest)
    return [
        Placed(int(g), spot, None, False) for g, spot in zip(containers_of(spots, grids), spots, strict=True) if g >= 0
    ]


def _chosen(
    spots: list[Any], forced: list[int], count: int, demand: Any, worth: NDArray[np.float64]
) -> tuple[list[int], float]:
    """Numbers of the spots chosen, at most ``count``, and the worth that they cover."""
    if not spots or count <= 0:
        return [], 0.0
    xy = shapely.get_coordinates(np.array(spots, dtype=object))
    if len(spots) <= count:
        picks = list(range(len(spots)))
    elif len(demand):
        cover = cover_within(xy, demand, radius_m=REACH_M)
        result = solve(
            SitingProblem(coverage=cover, weights=worth, count=count, forced=forced[:count]),
            effort=_EFFORT,
            exact=False,
        )
        picks = [int(k) for k in result.sites]
    else:
        picks = list(forced[:count])
    away = np.min([np.hypot(*(xy - xy[k]).T) for k in picks], axis=0) if picks else np.full(len(spots), np.inf)
    while len(picks) < min(count, len(spots)):  # nothing is left to cover: far from the others
        free = np.array([k not in picks for k in range(len(spots))])
        k = int(np.argmax(np.where(free, away, -1.0)))
        picks.append(k)
        away = np.minimum(away, np.hypot(*(xy - xy[k]).T))
    if not len(demand):
        return sorted(picks), 0.0
    seen = cover_within(xy[picks], demand, radius_m=REACH_M)
    return sorted(picks), float(worth[np.asarray(seen.sum(axis=0)).ravel() > 0].sum())
