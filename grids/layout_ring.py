"""The ring and the zones as closures: which roads cross them, which crossings are watched, where they leak."""

from dataclasses import dataclass, replace
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from scipy.spatial import cKDTree
from shapely.geometry import MultiPoint, Point
from shapely.geometry.base import BaseGeometry

from gis.layoutcheck import check_ring
from gis.ring import Crossing, Leak, RingProof, prove_ring
from gis.roadgraph import RoadGraph
from grids.layout import LayoutData
from grids.layout_faults import LayoutFault

__all__ = ["Closure", "judge_closures", "watching_points"]

#: An arm of a crossing leads outside when within so many metres of it ...
_ARM_M = 15.0
#: ... it is so far beyond the ring; what runs along the ring does not.
_BEYOND_M = 3.0
#: Roads that end nearer than this beyond the ring lead nowhere.
_STUB_M = 10.0
#: A road this near to the ring runs on it.
_ON_RING_M = 0.5
#: How much of the course of a leak is shown.
_SHOWN_M = 150.0


@dataclass(frozen=True)
class Closure:
    """A ring or zone: crossings on some way in, those watched, whether it is closed, and the fewest more to watch."""

    code: str
    crossings: int
    watched: int
    closed: bool
    leaks: int
    fewest: int
    to_watch: tuple[tuple[float, float], ...]


def watching_points(data: LayoutData) -> gpd.GeoDataFrame:
    """What watches: cameras that are not removed, and points of the layout that stand for no camera."""
    cameras = data.cameras[data.cameras["device_state"].fillna("in_use") != "removed"]
    dark = (cameras["net_status"] == "off") | (cameras["device_state"] == "repair")
    own = data.points[data.points["site_layer"].fillna("") != "camera_site"]
    shapes = np.concatenate([cameras.geometry.to_numpy(), own.geometry.to_numpy()])
    there = np.array([shape is not None and not shape.is_empty for shape in shapes], dtype=bool)
    off = np.concatenate([dark.to_numpy(dtype=bool), np.zeros(len(own), dtype=bool)])
    return gpd.GeoDataFrame({"dark": off[there]}, geometry=shapes[there], crs=data.cameras.crs)


def judge_closures(
    data: LayoutData, graph: RoadGraph | None, *, reach_m: float
) -> tuple[list[LayoutFault], tuple[Closure, ...]]:
    """Prove ring and zones closed to whoever comes by road, or say where not.

    Parameters
    ----------
    graph : RoadGraph or None
        Of the roads of ``data``; None: nothing is proven.
    reach_m : float
        A crossing is watched when a camera is this near.
    """
    if graph is None:
        return [], ()
    watching = watching_points(data)
    xy = shapely.get_coordinates(watching.geometry.to_numpy())
    found: list[LayoutFault] = []
    closures = []
    for row in data.ring.itertuples():
        if row.geom is None or check_ring(row.geom):
            continue  # said by the check of its shape
        proof = _prove(graph, row.geom, xy, reach_m)
        closures.append(_closure(str(row.code), [proof]))
        found += _ring_faults(row, proof, data, watching, reach_m)
    for row in data.zones.itertuples():
        shapes = [part for part in shapely.get_parts(shapely.make_valid(row.geom)) if part.geom_type == "Polygon"]
        proofs = [_prove(graph, part, xy, reach_m) for part in shapes]
        closures.append(_closure(str(row.code), proofs))
        found += _zone_fault(row, closures[-1], reach_m)
    return found, tuple(closures)


def _prove(graph: RoadGraph, ring: BaseGeometry, xy: Any, reach_m: float) -> RingProof:
    return prove_ring(graph, ring, xy, reach_m=reach_m, depth_m=_STUB_M, tolerance_m=_ON_RING_M)


def _closure(code: str, proofs: list[RingProof]) -> Closure:
    used = [crossing for proof in proofs for crossing in proof.crossings if crossing.used]
    return Closure(
        code, len(used), sum(crossing.watched for crossing in used), all(proof.closed for proof in proofs),
        sum(len(proof.leaks) for proof in proofs), sum(proof.fewest for proof in proofs),
        tuple(crossing.xy for proof in proofs for crossing in proof.crossings if crossing.to_watch),
    )  # fmt: skip


def _ring_faults(
    ring: Any, proof: RingProof, data: LayoutData, watching: gpd.GeoDataFrame, reach_m: float
) -> list[LayoutFault]:
    roads = data.roads.geometry.to_numpy()
    inside = shapely.Polygon(ring.geom) if ring.geom.geom_type in ("LineString", "LinearRing") else ring.geom
    thick = shapely.buffer(inside, _BEYOND_M)
    shapely.prepare(thick)
    tree = cKDTree(shapely.get_coordinates(watching.geometry.to_numpy())) if len(watching) else None
    dark = watching["dark"].to_numpy(dtype=bool)
    leaking = {number for leak in proof.leaks for number in leak.crossings}
    found = []
    for crossing in proof.crossings:
        if not crossing.used:
            continue
        spot = Point(crossing.xy)
        arms = shapely.intersection(roads[list(crossing.roads)], shapely.buffer(spot, _ARM_M))
        out = ~shapely.covers(thick, arms)
        leads_out = bool(out.any())
        crossing = replace(crossing, roads=tuple(np.array(crossing.roads)[np.argsort(~out, kind="stable")].tolist()))
        if crossing.watched and leads_out and tree is not None:
            near = tree.query_ball_point(crossing.xy, reach_m)
            if near and dark[near].all():
                found.append(_dark_crossing(ring, crossing, spot, data, len(near), reach_m))
        elif not crossing.watched and (leads_out or crossing.to_watch):
            away = float(tree.query(crossing.xy)[0]) if tree is not None else float("nan")
            found.append(
                _bare_crossing(ring, crossing, spot, data, away, reach_m, proof.fewest, crossing.number in leaking)
            )
    ways: dict[tuple[int, ...], list[Leak]] = {}
    for leak in proof.leaks:  # from one unwatched crossing many roads may lead further in
        ways.setdefault(leak.crossings[:1], []).append(leak)
    found += [_leak(ring, group, proof, data) for group in ways.values()]
    found += _along_ring(ring, inside, proof, data, reach_m)
    return found


def _units(ring: Any, roads: tuple[int, ...], data: LayoutData) -> tuple[tuple[str, str], ...]:
    ids, names = data.roads["id"].to_numpy(), data.roads["name_zh"].to_numpy()
    return (
        (str(ring.id), str(ring.code)),
        *((str(ids[k]), str(ids[k] if pd.isna(names[k]) or not names[k] else names[k])) for k in roads),
    )


def _names(units: tuple[tuple[str, str], ...]) -> str:
    return "、".join(dict.fromkeys(name for _, name in units[1:])) or "?"


def _bare_crossing(
    ring: Any, crossing: Crossing, spot: Point, data: LayoutData, away: float, reach_m: float, fewest: int, leaking: bool,
) -> LayoutFault:  # fmt: skip
    units = _units(ring, crossing.roads, data)
    near = (f"{away:,.0f} m", f"{away:,.0f} 米") if np.isfinite(away) else ("unknown", "未知")
    chosen = crossing.to_watch
    return LayoutFault(
        "crossing_unwatched", "error" if leaking else "warning", "ring", units, away, "m", reach_m, spot,
        f"Crossing of {_names(units)} with ring {ring.code} is not watched; nearest camera: {near[0]}."
        + (f" To watch {fewest} crossings, this among them, would close the ring." if chosen else ""),
        f"{_names(units)} 与环线 {ring.code} 的交叉口无视频守护，最近摄像机：{near[1]}。"
        + (f"属于使环线闭合所需的最少 {fewest} 处之一。" if chosen else ""),
    )  # fmt: skip


def _dark_crossing(
    ring: Any, crossing: Crossing, spot: Point, data: LayoutData, count: int, reach_m: float
) -> LayoutFault:
    units = _units(ring, crossing.roads, data)
    return LayoutFault(
        "crossing_camera_offline", "warning", "ring", units, float(count), "cameras", reach_m, spot,
        f"Crossing of {_names(units)} with ring {ring.code}: all {count} cameras within {reach_m:g} m are offline or in repair.",
        f"{_names(units)} 与环线 {ring.code} 的交叉口：{reach_m:g} 米内 {count} 台摄像机均离线或维修。",
    )  # fmt: skip


def _leak(ring: Any, group: list[Leak], proof: RingProof, data: LayoutData) -> LayoutFault:
    """Ways past all watched crossings that begin at the same one; shown are their courses near the ring."""
    shortest = min(group, key=lambda leak: (len(leak.crossings), leak.path.length))
    units = _units(ring, shortest.roads, data)
    passed = sorted({number for leak in group for number in leak.crossings})
    shown = shapely.union_all([leak.path for leak in group])
    if passed:
        spots = MultiPoint([proof.crossings[number].xy for number in passed])
        shown = shapely.intersection(shown, shapely.buffer(spots, _SHOWN_M))
    count = len(group)
    return LayoutFault(
        "ring_leak", "error", "ring", units, float(count), "ways", 0.0, shown,
        f"Ways into ring {ring.code} past all watched crossings: {count}, the shortest by {_names(units)}.",
        f"有 {count} 条路径可绕过全部守护路口进入环线 {ring.code}，最短者经 {_names(units)}。",
    )  # fmt: skip


def _along_ring(
    ring: Any, inside: BaseGeometry, proof: RingProof, data: LayoutData, reach_m: float
) -> list[LayoutFault]:
    """Roads that run on the ring within tolerance and change its side there, unwatched: on the ring, not across it."""
    shapes = data.roads.geometry.to_numpy()
    rows = np.flatnonzero(shapely.crosses(shapes, inside))
    rows = rows[shapely.covers(shapely.buffer(shapely.boundary(inside), _ON_RING_M), shapes[rows])]
    watched = shapely.multipoints([crossing.xy for crossing in proof.crossings if crossing.watched] or np.zeros((0, 2)))
    found = []
    for row in rows:
        spots = shapely.get_parts(shapely.intersection(shapes[row], shapely.boundary(inside)))
        spots = spots[shapely.get_type_id(spots) == 0]
        bare = spots if shapely.is_empty(watched) else spots[shapely.distance(spots, watched) > _ON_RING_M]
        if len(bare):
            units = _units(ring, (int(row),), data)
            course = shapely.points(shapely.get_coordinates(shapely.segmentize(shapes[row], _ARM_M)))
            off = float(shapely.distance(course, shapely.boundary(inside)).max())
            found.append(
                LayoutFault(
                    "road_along_ring", "info", "ring", units, off, "m", _ON_RING_M, shapely.multipoints(bare),
                    f"{_names(units)} runs along ring {ring.code} within {off:.2f} m and changes its side where nothing watches;"
                    " it is taken to be on the ring, not to cross it.",
                    f"{_names(units)} 沿环线 {ring.code} 敷设（偏差 {off:.2f} 米），变换内外侧处无视频守护；按位于环线上处理，不算穿越。",
                )
            )  # fmt: skip
    return found


def _zone_fault(zone: Any, closure: Closure, reach_m: float) -> list[LayoutFault]:
    if closure.closed:
        return []
    place = MultiPoint(closure.to_watch) if closure.to_watch else zone.geom
    return [
        LayoutFault(
            "zone_open", "warning", "zone", ((str(zone.id), str(zone.code)),), float(closure.fewest), "crossings", 0.0, place,
            f"The second closure of zone {zone.code} leaks: {closure.watched} of {closure.crossings} crossings have a camera"
            f" within {reach_m:g} m; {closure.fewest} more would close it.",
            f"片 {zone.code} 的第二道闭环未闭合：{closure.crossings} 个路口中 {closure.watched} 个在 {reach_m:g} 米内有摄像机；"
            f"再守护 {closure.fewest} 处即可闭合。",
        )
    ]  # fmt: skip
