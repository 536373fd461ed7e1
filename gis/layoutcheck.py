"""Checks of a layout's shapes: tiling, rings, pieces, points, roads. What is found is named, measured and placed.

Nothing here is shared with the planner. Shapes are in a projected system, metres. A gap or overlap counts as a fault
where a circle of the tolerance's width fits into it; what is thinner is counted, not listed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import shapely
from scipy import sparse
from scipy.sparse import csgraph
from shapely.geometry import Point
from shapely.geometry.base import BaseGeometry

__all__ = ["Fault", "Tiling", "check_pieces", "check_points", "check_ring", "check_road_pieces", "check_tiling"]

type FloatArray = npt.NDArray[np.float64]
type IntArray = npt.NDArray[np.int64]
type Geometries = npt.NDArray[np.object_]


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes
    ----------
    kind : str
        ``gap``, ``overlap``, ``outside_container`` …
    severity : str
        ``error``, ``warning`` or ``info``.
    units : tuple of int
        Rows of the units concerned, the one at fault first.
    measure, measure_unit, tolerance
        How bad it is, and what would be let pass.
    place : geometry
        Where, in the system of the shapes.
    text, zh : str
        In words.
    """

    kind: str
    severity: Literal["error", "warning", "info"]
    units: tuple[int, ...]
    measure: float
    measure_unit: str
    tolerance: float
    place: BaseGeometry | None
    text: str
    zh: str


@dataclass(frozen=True)
class Tiling:
    """Faults of a tiling, and how many gaps and overlaps were thinner than the tolerance, with their area."""

    faults: tuple[Fault, ...]
    thin: int = 0
    thin_area_m2: float = 0.0


def check_ring(ring: BaseGeometry | None, *, tolerance_m: float = 0.001) -> list[Fault]:
    """Faults of a ring: none, open, crossing itself, several."""
    if ring is None or ring.is_empty:
        return [Fault("ring_missing", "error", (), 0.0, "", 0.0, None, "There is no ring.", "没有环线。")]
    if ring.geom_type in ("Polygon", "MultiPolygon"):
        parts = shapely.get_parts(ring)
        if len(parts) > 1:
            return [
                _fault(
                    "ring_in_pieces",
                    len(parts),
                    "",
                    1,
                    ring,
                    f"The ring is in {len(parts)} pieces.",
                    f"环由 {len(parts)} 块组成。",
                )
            ]
        if not ring.is_valid:
            place = _trouble(ring)
            return [
                _fault(
                    "ring_crosses_itself",
                    0,
                    "",
                    0,
                    place,
                    f"The ring crosses itself at {_at(place)}.",
                    f"环线在 {_at(place)} 处自相交。",
                )
            ]
        holes = shapely.get_num_interior_rings(parts[0])
        if holes:
            return [
                _fault(
                    "ring_with_holes", int(holes), "", 0, ring, f"The ring has {holes} holes.", f"环内有 {holes} 个洞。"
                )
            ]
        return []
    line = shapely.line_merge(ring) if ring.geom_type == "MultiLineString" else ring
    if line.geom_type not in ("LineString", "LinearRing"):
        count = len(shapely.get_parts(line))
        return [
            _fault("ring_in_pieces", count, "", 1, ring, f"The ring is in {count} pieces.", f"环线由 {count} 段组成。")
        ]
    found = []
    first, last = shapely.get_point(line, 0), shapely.get_point(line, -1)
    gap = float(shapely.distance(first, last))
    if gap > tolerance_m:
        place = shapely.shortest_line(first, last)
        found.append(
            _fault(
                "ring_open",
                gap,
                "m",
                tolerance_m,
                place,
                f"The ring is open by {gap:.3f} m at {_at(first)}.",
                f"环线在 {_at(first)} 处缺口 {gap:.3f} 米。",
            )
        )
    if not shapely.is_simple(line):
        place = _crossing(line)
        found.append(
            _fault(
                "ring_crosses_itself",
                0,
                "",
                0,
                place,
                f"The ring crosses itself at {_at(place)}.",
                f"环线在 {_at(place)} 处自相交。",
            )
        )
    return found


def _fault(
    kind: str, measure: float, unit: str, tolerance: float, place: BaseGeometry | None, text: str, zh: str, units: Iterable[Any] = (),
    severity: Literal["error", "warning", "info"] = "error",
) -> Fault:  # fmt: skip
    return Fault(kind, severity, tuple(int(u) for u in units), float(measure), unit, float(tolerance), place, text, zh)


def _at(place: BaseGeometry | None) -> str:
    if place is None or place.is_empty:
        return "?"
    spot = place if place.geom_type == "Point" else shapely.point_on_surface(place)
    return f"({shapely.get_x(spot):.2f}, {shapely.get_y(spot):.2f})"


def _trouble(shape: BaseGeometry) -> BaseGeometry | None:
    reason = str(shapely.is_valid_reason(shape))
    if "[" not in reason:
        return None
    x, y = reason[reason.index("[") + 1 : reason.rindex("]")].split()[:2]
    return Point(float(x), float(y))


def _crossing(line: BaseGeometry) -> BaseGeometry | None:
    """A point where a line crosses itself: an end of a noded piece that three or more pieces share."""
    pieces = shapely.get_parts(shapely.node(line))
    tips = shapely.get_coordinates(np.concatenate([shapely.get_point(pieces, 0), shapely.get_point(pieces, -1)]))
    spots, count = np.unique(tips, axis=0, return_counts=True)
    return Point(spots[int(np.argmax(count))]) if len(spots) else None


def _wide(shapes: Geometries, tolerance_m: float) -> npt.NDArray[np.bool_]:
    """Whether a circle of the tolerance's width fits in."""
    if tolerance_m <= 0:
        return ~shapely.is_empty(shapes)
    wide: npt.NDArray[np.bool_] = ~shapely.is_empty(
        shapely.buffer(shapes, -tolerance_m / 2, quad_segs=2, join_style="mitre")
    )
    return wide


def check_tiling(
    parts: Sequence[BaseGeometry] | Geometries,
    containers: Sequence[BaseGeometry] | Geometries,
    parent: npt.ArrayLike | None = None,
    *,
    tolerance_m: float = 0.001,
    sliver_m: float = 1.0,
) -> Tiling:
    """Check that parts tile their containers: no gap, no overlap, nothing outside.

    Parameters
    ----------
    parts : sequence of polygon, shape (n,)
    containers : sequence of polygon, shape (c,)
    parent : array of int, shape (n,), optional
        Container of each part (-1: none, which is a fault); all in the first where not given.
    tolerance_m : float
        Width above which a gap or overlap is a fault.
    sliver_m : float
        Faults narrower than this are slivers (``gap_sliver``, ``overlap_sliver``, ``outside_sliver``), often of
        careless drawing.

    Returns
    -------
    Tiling
        Units of a gap are the parts around it; of an overlap both parts; of a part outside its container that part.
    """
    shapes, homes = np.asarray(parts, object), np.asarray(containers, object)
    owner = np.zeros(len(shapes), np.int64) if parent is None else np.asarray(parent, np.int64)
    found: list[Fault] = []
    bad = np.flatnonzero(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    found += [_fault("empty", 0, "", 0, None, "The unit has no shape.", "单元没有图形。", [u]) for u in bad]
    broken = np.flatnonzero(~shapely.is_valid(shapes) & ~shapely.is_missing(shapes))
    for unit in broken:
        place = _trouble(shapes[unit])
        found.append(
            _fault(
                "invalid",
                0,
                "",
                0,
                place,
                f"The shape is invalid at {_at(place)}.",
                f"图形在 {_at(place)} 处无效。",
                [unit],
            )
        )
    if len(broken):
        shapes = shapes.copy()
        shapes[broken] = shapely.make_valid(shapes[broken])
    lost = np.flatnonzero((owner < 0) | (owner >= len(homes)))
    found += [
        _fault("no_container", 0, "", 0, shapes[u], "The unit has no container.", "单元没有上级。", [u]) for u in lost
    ]
    good = np.setdiff1d(np.arange(len(shapes)), np.union1d(bad, lost))
    tree = shapely.STRtree(shapes)
    thin = [0, 0.0]
    found += _overlaps(shapes, tree, tolerance_m, sliver_m, thin)
    found += _outside(shapes, homes, owner, good, tolerance_m, sliver_m, thin)
    found += _gaps(shapes, homes, owner, good, tree, tolerance_m, sliver_m, thin)
    return Tiling(tuple(found), int(thin[0]), float(thin[1]))


def _overlaps(
    shapes: Geometries, tree: shapely.STRtree, tolerance: float, sliver: float, thin: list[float]
) -> list[Fault]:
    a, b = tree.query(shapes, predicate="intersects")
    once = a < b
    a, b = a[once], b[once]
    deep = ~shapely.touches(shapes[a], shapes[b])
    a, b = a[deep], b[deep]
    common = shapely.intersection(shapes[a], shapes[b])
    area = shapely.area(common)
    real = area > 0
    a, b, common, area = a[real], b[real], common[real], area[real]
    wide = _wide(common, tolerance)
    thin[0] += int((~wide).sum())
    thin[1] += float(area[~wide].sum())
    narrow = ~_wide(common, sliver)
    return [
        _fault(
            "overlap_sliver" if narrow[i] else "overlap", area[i], "m²", tolerance, common[i],
            f"Units {a[i]} and {b[i]} overlap by {area[i]:.4g} m² at {_at(common[i])}.",
            f"单元 {a[i]} 与 {b[i]} 重叠 {area[i]:.4g} 平方米，位于 {_at(common[i])}。", [a[i], b[i]],
        )
        for i in np.flatnonzero(wide)
    ]  # fmt: skip


def _outside(
    shapes: Geometries,
    homes: Geometries,
    owner: IntArray,
    good: IntArray,
    tolerance: float,
    sliver: float,
    thin: list[float],
) -> list[Fault]:
    shapely.prepare(homes)
    inside = shapely.covers(homes[owner[good]], shapes[good])
    units = good[~inside]
    rest = shapely.difference(shapes[units], homes[owner[units]])
    area = shapely.area(rest)
    real = area > 0
    units, rest, area = units[real], rest[real], area[real]
    wide = _wide(rest, tolerance)
    thin[0] += int((~wide).sum())
    thin[1] += float(area[~wide].sum())
    narrow = ~_wide(rest, sliver)
    return [
        _fault(
            "outside_sliver" if narrow[i] else "outside_container", area[i], "m²", tolerance, rest[i],
            f"Unit {units[i]} reaches {area[i]:.4g} m² beyond its container at {_at(rest[i])}.",
            f"单元 {units[i]} 超出上级 {area[i]:.4g} 平方米，位于 {_at(rest[i])}。", [units[i]],
        )
        for i in np.flatnonzero(wide)
    ]  # fmt: skip


def _gaps(
    shapes: Geometries, homes: Geometries, owner: IntArray, good: IntArray, tree: shapely.STRtree, tolerance: float, sliver: float,
    thin: list[float],
) -> list[Fault]:  # fmt: skip
    found = []
    order = good[np.argsort(owner[good], kind="stable")]
    first = np.searchsorted(owner[order], np.arange(len(homes) + 1))
    for home in range(len(homes)):
        mine = shapes[order[first[home] : first[home + 1]]]
        filled = _union(mine)
        gaps = shapely.get_parts(shapely.difference(homes[home], filled))
        area = shapely.area(gaps)
        gaps, area = gaps[area > 0], area[area > 0]
        wide = _wide(gaps, tolerance)
        thin[0] += int((~wide).sum())
        thin[1] += float(area[~wide].sum())
        narrow = ~_wide(gaps, sliver)
        for i in np.flatnonzero(wide):
            around = np.sort(tree.query(gaps[i], predicate="dwithin", distance=max(tolerance, 1e-6)))
            found.append(
                _fault(
                    "gap_sliver" if narrow[i] else "gap", area[i], "m²", tolerance, gaps[i],
                    f"Container {home}: {area[i]:.4g} m² belong to no unit, at {_at(gaps[i])}.",
                    f"上级 {home}：{area[i]:.4g} 平方米无单元覆盖，位于 {_at(gaps[i])}。", around,
                )
            )  # fmt: skip
    return found


def _union(shapes: Geometries) -> BaseGeometry:
    """Union; by shared edges alone where the shapes are a clean coverage, which is many times faster."""
    if len(shapes) and bool(shapely.coverage_is_valid(shapes)):
        return shapely.coverage_union_all(shapes)
    return shapely.union_all(shapes)


def check_points(
    xy: npt.ArrayLike,
    containers: Sequence[BaseGeometry] | Geometries,
    parent: npt.ArrayLike,
    *,
    tolerance_m: float = 0.001,
) -> list[Fault]:
    """Check that each point lies in its container and in no other.

    A point on a border belongs to all it touches, and passes when its own is among them.
    """
    points = np.asarray(shapely.points(np.asarray(xy, float).reshape(-1, 2)), object)
    homes = np.asarray(containers, object)
    owner = np.asarray(parent, np.int64)
    unit, home = shapely.STRtree(homes).query(points, predicate="dwithin", distance=tolerance_m)
    inside: list[list[int]] = [[] for _ in points]
    for u, h in zip(unit.tolist(), home.tolist(), strict=True):
        inside[u].append(h)
    found = []
    for u, hits in enumerate(inside):
        mine = int(owner[u])
        if mine < 0 or mine >= len(homes):
            found.append(
                _fault("no_container", 0, "", 0, points[u], "The point has no container.", "点没有上级。", [u])
            )
        if not hits:
            away = float(shapely.distance(points[u], homes[mine])) if 0 <= mine < len(homes) else float("nan")
            found.append(
                _fault(
                    "point_outside_all",
                    away,
                    "m",
                    tolerance_m,
                    points[u],
                    f"Point {u} lies in no unit.",
                    f"点 {u} 不在任何单元内。",
                    [u],
                )
            )
        elif 0 <= mine < len(homes) and mine not in hits:
            away = float(shapely.distance(points[u], homes[mine]))
            found.append(
                _fault(
                    "point_outside_container", away, "m", tolerance_m, points[u],
                    f"Point {u} lies in unit {hits[0]}, {away:.2f} m from its own ({mine}).",
                    f"点 {u} 位于单元 {hits[0]}，距所属单元 {mine} {away:.2f} 米。", [u, hits[0]],
                )
            )  # fmt: skip
        elif len(hits) > 1 and sum(bool(shapely.contains_properly(homes[h], points[u])) for h in hits) > 1:
            found.append(
                _fault(
                    "point_in_several",
                    len(hits),
                    "",
                    1,
                    points[u],
                    f"Point {u} lies in units {hits}.",
                    f"点 {u} 同时位于单元 {hits}。",
                    [u],
                )
            )
    return found


def check_pieces(shapes: Sequence[BaseGeometry] | Geometries) -> list[Fault]:
    """Units that are in more than one piece; pieces that meet in a point only are apart."""
    parts, unit = shapely.get_parts(np.asarray(shapes, object), return_index=True)
    found = []
    count = np.bincount(unit, minlength=len(shapes))
    for u in np.flatnonzero(count > 1):
        mine = parts[unit == u]
        whole = shapely.get_parts(shapely.union_all(mine))
        if len(whole) > 1:
            area = np.sort(shapely.area(whole))[::-1]
            small = whole[int(np.argsort(-shapely.area(whole))[1])]
            found.append(
                _fault(
                    "in_pieces", len(whole), "", 1, small, f"Unit {u} is in {len(whole)} pieces; all but the largest are {area[1:].sum():.4g} m².",
                    f"单元 {u} 分成 {len(whole)} 块，除最大块外共 {area[1:].sum():.4g} 平方米。", [u],
                )
            )  # fmt: skip
    return found


def check_road_pieces(
    shapes: Sequence[BaseGeometry] | Geometries, xy: npt.ArrayLike, ends: npt.ArrayLike, length_m: npt.ArrayLike, *,
    border_m: float = 1.0, least_share: float = 0.05,
) -> list[Fault]:  # fmt: skip
    """Units whose roads do not hang together inside them, as one cut by a river without a bridge.

    Parameters
    ----------
    shapes : sequence of polygon
    xy, ends, length_m : arrays of shape (n, 2), (e, 2) and (e,)
        Road nodes, edges between them and their lengths.
    border_m : float
        Nodes this near to a unit belong to it (roads run along borders).
    least_share : float
        Pieces with less than this share of the unit's road length are passed over.
    """
    units = np.asarray(shapes, object)
    points = np.asarray(xy, float).reshape(-1, 2)
    edges = np.asarray(ends, np.int64).reshape(-1, 2)
    lengths = np.asarray(length_m, float).ravel()
    node, unit = shapely.STRtree(units).query(
        np.asarray(shapely.points(points), object), predicate="dwithin", distance=border_m
    )
    member = sparse.csr_array((np.ones(len(node), np.int8), (node, unit)), shape=(len(points), len(units)))
    both = sparse.csr_array(member[edges[:, 0]].multiply(member[edges[:, 1]])).tocoo()
    edge, owner = both.coords
    # each unit has its own copy of its nodes, so that one sweep finds the pieces of all
    keys, place = np.unique(
        np.concatenate([owner * len(points) + edges[edge, 0], owner * len(points) + edges[edge, 1]]),
        return_inverse=True,
    )
    size = len(edge)
    matrix = sparse.coo_array((np.ones(size), (place[:size], place[size:])), shape=(len(keys), len(keys)))
    piece = csgraph.connected_components(matrix, directed=False)[1][place[:size]] if size else np.zeros(0, np.int64)
    total = np.bincount(piece, weights=lengths[edge])
    of_piece = np.zeros(len(total), np.int64)
    of_piece[piece] = owner
    whole = np.bincount(owner, weights=lengths[edge], minlength=len(units))
    found = []
    for u in np.flatnonzero(whole > 0):
        mine = np.flatnonzero(of_piece == u)
        big = mine[total[mine] >= least_share * whole[u]]
        if len(big) > 1:
            second = big[np.argsort(-total[big], kind="stable")[1]]
            spot = Point(points[edges[edge[np.flatnonzero(piece == second)[0]], 0]])
            apart = 1 - total[big].max() / whole[u]
            found.append(
                _fault(
                    "not_connected_by_road", apart, "share", least_share, spot,
                    f"The roads of unit {u} are in {len(big)} pieces inside it; {apart:.0%} of their length is cut off, as at {_at(spot)}.",
                    f"单元 {u} 内的道路分成 {len(big)} 片，{apart:.0%} 的长度与主体不连通，如 {_at(spot)}。", [u], "warning",
                )
            )  # fmt: skip
    return found
