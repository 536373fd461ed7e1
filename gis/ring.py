"""Is the ring closed to whoever comes by road? A proof, the leaks, and the fewest crossings to watch.

The roads are cut where they meet the ring. Every place where a road meets it is a crossing; a way from outside to
inside passes at least one. A crossing is watched or not. If some way passes none that is watched, the ring leaks. The
fewest more crossings to watch are a minimum vertex cut (Menger 1927), found by maximum flow (Ford and Fulkerson 1956);
where the ring runs along a road it can be fewer than the leaks.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from scipy import sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree
from shapely.geometry import LineString, Polygon
from shapely.geometry.base import BaseGeometry

from gis.errors import InvalidGeometry
from gis.roadgraph import RoadGraph, split_lines

__all__ = ["Crossing", "Leak", "RingProof", "prove_ring", "ring_polygon"]

type FloatArray = npt.NDArray[np.float64]
type IntArray = npt.NDArray[np.int64]
type Geometries = npt.NDArray[np.object_]

OUTSIDE, ON_RING, INSIDE = -1, 0, 1


@dataclass(frozen=True)
class Crossing:
    """A place where roads meet the ring.

    ``used``: some way from outside to inside passes it. ``to_watch``: one of the fewest that would close the ring.
    """

    number: int
    xy: tuple[float, float]
    roads: tuple[int, ...]
    watched: bool
    used: bool
    to_watch: bool


@dataclass(frozen=True)
class Leak:
    """A way past all watched crossings: the crossings it passes, its roads and its course, from outside to inside."""

    crossings: tuple[int, ...]
    roads: tuple[int, ...]
    path: LineString


@dataclass(frozen=True)
class RingProof:
    """Whether a ring is closed, and what is missing.

    Attributes
    ----------
    closed : bool
        Every way from outside to inside passes a watched crossing.
    crossings : tuple of Crossing
    leaks : tuple of Leak
        One for each place where unwatched traffic first gets inside; together they are all such places.
    to_watch : tuple of int
        Numbers of the fewest crossings to watch besides, so that the ring is closed.
    fewest : int
        Their number; no smaller number closes the ring (it equals the greatest flow).
    """

    closed: bool
    crossings: tuple[Crossing, ...]
    leaks: tuple[Leak, ...]
    to_watch: tuple[int, ...]
    fewest: int


def ring_polygon(ring: BaseGeometry) -> Polygon:
    """The inside of a ring.

    Parameters
    ----------
    ring : LineString, LinearRing or Polygon

    Raises
    ------
    InvalidGeometry
        The line is open (the gap is given), crosses itself (the place is given), or encloses nothing.

    Examples
    --------
    >>> ring_polygon(LineString([(0, 0), (4, 0), (4, 4), (0, 0)])).area
    8.0
    """
    if ring.is_empty:
        raise InvalidGeometry("The ring is empty.", zh="环线为空。")
    if ring.geom_type == "MultiLineString":
        ring = shapely.line_merge(ring)
    if isinstance(ring, Polygon):
        line = LineString(ring.exterior)
    elif isinstance(ring, LineString):
        line = LineString(ring)
    else:
        raise InvalidGeometry(f"A ring is one line, not a {ring.geom_type}.", zh="环线须为单一闭合线。")
    first, last = shapely.get_point(line, 0), shapely.get_point(line, -1)
    if not line.is_closed:
        gap = float(shapely.distance(first, last))
        raise InvalidGeometry(
            f"The ring is open: its ends are {gap:.2f} m apart, at ({first.x:.2f}, {first.y:.2f}).",
            zh=f"环线未闭合：两端相距 {gap:.2f} 米。",
        )
    if not line.is_simple:
        where = shapely.is_valid_reason(Polygon(line))
        raise InvalidGeometry(f"The ring crosses itself: {where}.", zh=f"环线自相交：{where}。")
    inside = Polygon(line)
    if inside.area <= 0:
        raise InvalidGeometry("The ring encloses nothing.", zh="环线未围成面。")
    return inside


@dataclass(frozen=True)
class _Cut:
    """The graph cut at the ring: ``side`` of each node."""

    xy: FloatArray
    ends: IntArray
    lines: Geometries
    road: IntArray
    side: npt.NDArray[np.int8]


def _cut_at_ring(graph: RoadGraph, inside: Polygon, tolerance_m: float) -> _Cut:
    edge = shapely.boundary(inside)
    shapely.prepare(edge)
    shapely.prepare(inside)
    meets = np.flatnonzero(shapely.dwithin(edge, graph.lines, tolerance_m))
    near = graph.lines[meets]
    parts, of = shapely.get_parts(shapely.intersection(near, edge), return_index=True)
    flat = shapely.get_dimensions(parts) == 0
    ends, end_of = shapely.get_parts(shapely.boundary(parts[~flat]), return_index=True)
    points, of = np.concatenate([parts[flat], ends]), np.concatenate([of[flat], of[~flat][end_of]])
    where = shapely.line_locate_point(near[of], points)
    pieces, owner = split_lines(near, of.astype(np.int64), where, tolerance_m=tolerance_m)
    # pieces keep the nodes of their edge at its ends and get new ones at cuts
    node, fresh = _renode(graph.ends[meets], owner, len(graph.xy))
    xy = np.concatenate([graph.xy, shapely.get_coordinates(shapely.get_point(pieces[fresh], 0))])
    side = np.where(shapely.contains_xy(inside, xy), INSIDE, OUTSIDE).astype(np.int8)
    tips = np.unique(node)
    side[tips[shapely.dwithin(edge, shapely.points(xy[tips]), tolerance_m)]] = ON_RING
    # a piece between two crossings, or one whose ends lie on different sides without a crossing, gets a node of its own
    both = (side[node] == ON_RING).all(axis=1)
    off = both.copy()
    off[both] = ~shapely.dwithin(edge, shapely.line_interpolate_point(pieces[both], 0.5, normalized=True), tolerance_m)
    torn = side[node[:, 0]] * side[node[:, 1]] == -1
    at = np.flatnonzero(off | torn)
    share = np.full(len(at), 0.5)
    if torn.any():
        nearest = shapely.get_point(shapely.shortest_line(pieces[at], edge), 0)
        share = np.where(torn[at], shapely.line_locate_point(pieces[at], nearest, normalized=True), share)
    halves, half_owner = split_lines(pieces, at.astype(np.int64), share * shapely.length(pieces[at]), tolerance_m=0.0)
    node, fresh = _renode(node, half_owner, len(xy))
    spots = shapely.get_coordinates(shapely.get_point(halves[fresh], 0))
    spot_side = np.where(shapely.contains_xy(inside, spots), INSIDE, OUTSIDE).astype(np.int8)
    spot_side[torn[half_owner[fresh]]] = ON_RING
    far = np.setdiff1d(np.arange(len(graph.ends)), meets)
    return _Cut(
        np.concatenate([xy, spots]),
        np.concatenate([graph.ends[far], node]),
        np.concatenate([graph.lines[far], halves]),
        np.concatenate([graph.road[far], graph.road[meets[owner[half_owner]]]]),
        np.concatenate([side, spot_side]),
    )


def _renode(ends: IntArray, owner: IntArray, first: int) -> tuple[IntArray, IntArray]:
    """Nodes of the pieces of edges: those of the edge at its ends, new ones from ``first`` on at cuts.

    Returns the nodes and the pieces that begin at a cut, in the order of the new nodes.
    """
    node = ends[owner].copy()
    begins_at_cut = np.flatnonzero(owner[1:] == owner[:-1]) + 1
    number = first + np.arange(len(begins_at_cut))
    node[begins_at_cut - 1, 1] = number
    node[begins_at_cut, 0] = number
    return node, begins_at_cut


def _counting(cut: _Cut, inside: Polygon, depth_m: float) -> npt.NDArray[np.int8]:
    """Side of nodes; bits of road that go less than ``depth_m`` beyond the ring count as neither side (2)."""
    side = cut.side.copy()
    if depth_m <= 0:
        return side
    edge = shapely.boundary(inside)
    away = shapely.distance(shapely.points(cut.xy), edge)
    for which in (OUTSIDE, INSIDE):
        mine = side == which
        kept = mine[cut.ends].all(axis=1)
        count = len(cut.xy)
        matrix = sparse.coo_array((np.ones(kept.sum()), tuple(cut.ends[kept].T)), shape=(count, count))
        piece = csgraph.connected_components(matrix, directed=False)[1]
        reach = np.zeros(piece.max(initial=0) + 1)
        np.maximum.at(reach, piece[mine], away[mine])
        side[mine & (reach[piece] < depth_m)] = 2
    return side


def prove_ring(
    graph: RoadGraph,
    ring: BaseGeometry,
    watched_xy: npt.ArrayLike = (),
    *,
    reach_m: float = 50.0,
    depth_m: float = 0.0,
    tolerance_m: float = 0.5,
) -> RingProof:
    """Prove that every way from outside to inside passes a watched crossing, or show the leaks.

    Parameters
    ----------
    graph : RoadGraph
    ring : LineString, LinearRing or Polygon
        Closed and simple, in the system of the graph. The boundary of a zone serves as well.
    watched_xy : array, shape (c, 2)
        Cameras (or the points they watch).
    reach_m : float
        A crossing is watched when a point of ``watched_xy`` is this near.
    depth_m : float
        Roads that end less than this beyond the ring lead neither outside nor inside (0: every bit of road counts).
    tolerance_m : float
        A road this near to the ring is on it.

    Raises
    ------
    InvalidGeometry
        The ring is open, crosses itself or is empty.
    """
    inside = ring_polygon(ring)
    if not len(graph.ends):
        return RingProof(True, (), (), (), 0)
    cut = _cut_at_ring(graph, inside, tolerance_m)
    side = _counting(cut, inside, depth_m)
    on = np.flatnonzero(cut.side == ON_RING)
    watched = np.zeros(len(cut.xy), np.bool_)
    points = np.asarray(watched_xy, float).reshape(-1, 2)
    if len(points) and len(on):
        watched[on] = cKDTree(points).query(cut.xy[on])[0] <= reach_m
    before, before_edge, entries = _walk(cut, side, ~watched)
    used = _used(cut, side)
    to_watch, fewest = _fewest(cut, side, watched)
    place = {int(node): number for number, node in enumerate(on)}
    leaks = tuple(_leak(cut, edge, into, before, before_edge, place) for edge, into in entries)
    roads: dict[int, set[int]] = {int(node): set() for node in on}
    for (a, b), road in zip(cut.ends.tolist(), cut.road.tolist(), strict=True) if len(on) else ():
        if a in roads:
            roads[a].add(road)
        if b in roads:
            roads[b].add(road)
    chosen = set(to_watch.tolist())
    crossings = tuple(
        Crossing(
            place[int(node)], (float(cut.xy[node, 0]), float(cut.xy[node, 1])), tuple(sorted(roads[int(node)])),
            bool(watched[node]), bool(used[node]), int(node) in chosen,
        )
        for node in on
    )  # fmt: skip
    return RingProof(not leaks, crossings, leaks, tuple(sorted(place[n] for n in chosen)), fewest)


def _neighbours(cut: _Cut) -> tuple[IntArray, IntArray, IntArray]:
    count = len(cut.xy)
    source = np.concatenate([cut.ends[:, 0], cut.ends[:, 1]])
    target = np.concatenate([cut.ends[:, 1], cut.ends[:, 0]])
    edge = np.tile(np.arange(len(cut.ends)), 2)
    order = np.argsort(source, kind="stable")
    ptr = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=count))]).astype(np.int64)
    return ptr, target[order], edge[order]


def _walk(
    cut: _Cut, side: npt.NDArray[np.int8], open_node: npt.NDArray[np.bool_]
) -> tuple[IntArray, IntArray, list[tuple[int, int]]]:
    """Breadth first from outside over open crossings; entries are the edges by which the inside is first reached."""
    ptr, target, edge = _neighbours(cut)
    before = np.full(len(cut.xy), -1, np.int64)
    before_edge = np.full(len(cut.xy), -1, np.int64)
    seen = side == OUTSIDE
    now = np.flatnonzero(seen)
    entries: list[tuple[int, int]] = []
    # only crossings and what lies around them are walked one by one; the outside as a whole is one start
    border = np.isin(cut.ends, np.flatnonzero((side == ON_RING) | (side == 2))).any(axis=1)
    now = np.intersect1d(now, cut.ends[border])
    queue = now.tolist()
    at = 0
    while at < len(queue):
        v = queue[at]
        at += 1
        for e in range(ptr[v], ptr[v + 1]):
            u = int(target[e])
            if side[u] == INSIDE:
                if side[v] != INSIDE:
                    entries.append((int(edge[e]), v))
                continue
            if seen[u] or not open_node[u]:
                continue
            seen[u] = True
            before[u], before_edge[u] = v, edge[e]
            queue.append(u)
    return before, before_edge, entries


def _leak(cut: _Cut, edge: int, into: int, before: IntArray, before_edge: IntArray, place: dict[int, int]) -> Leak:
    edges, nodes = [edge], [into]
    v = into
    while before[v] >= 0:
        edges.append(int(before_edge[v]))
        v = int(before[v])
        nodes.append(v)
    edges.reverse()
    nodes.reverse()
    coords: list[tuple[float, float]] = []
    for number, e in enumerate(edges):
        part = shapely.get_coordinates(cut.lines[e])
        if int(cut.ends[e, 0]) != nodes[number]:
            part = part[::-1]
        coords += [tuple(p) for p in (part if not coords else part[1:]).tolist()]
    roads = list(dict.fromkeys(int(cut.road[e]) for e in edges))
    return Leak(tuple(place[n] for n in nodes if n in place), tuple(roads), LineString(coords))


def _arcs(cut: _Cut, side: npt.NDArray[np.int8]) -> tuple[IntArray, IntArray]:
    """Edges of the network with all outside nodes drawn into one (0) and all inside nodes into another (1)."""
    number = np.full(len(cut.xy), -1, np.int64)
    number[side == OUTSIDE] = 0
    number[side == INSIDE] = 1
    rest = number < 0
    number[rest] = 2 + np.arange(rest.sum())
    pairs = np.unique(np.sort(number[cut.ends], axis=1), axis=0)
    return number, pairs[pairs[:, 0] != pairs[:, 1]]


def _used(cut: _Cut, side: npt.NDArray[np.int8]) -> npt.NDArray[np.bool_]:
    """Crossings on some way from outside to inside: reached from both over crossings alone."""
    number, pairs = _arcs(cut, side)
    count = int(number.max(initial=1)) + 1
    reach = []
    for end, other in ((0, 1), (1, 0)):
        kept = pairs[(pairs != other).all(axis=1)]
        matrix = sparse.coo_array((np.ones(len(kept)), (kept[:, 0], kept[:, 1])), shape=(count, count))
        label = csgraph.connected_components(matrix, directed=False)[1]
        reach.append(label == label[end])
    both: npt.NDArray[np.bool_] = (reach[0] & reach[1])[number] & (side == ON_RING)
    return both


def _fewest(cut: _Cut, side: npt.NDArray[np.int8], watched: npt.NDArray[np.bool_]) -> tuple[IntArray, int]:
    """Minimum vertex cut between outside and inside among unwatched crossings, by maximum flow on split vertices."""
    number, pairs = _arcs(cut, side)
    count = int(number.max(initial=1)) + 1
    nodes = np.full(count, -1, np.int64)
    nodes[number] = np.arange(len(number))
    on_ring = np.zeros(count, np.bool_)
    on_ring[2:] = side[nodes[2:]] == ON_RING
    blocked = np.zeros(count, np.bool_)
    blocked[2:] = watched[nodes[2:]]
    plenty = count + 1
    through = np.where(on_ring, np.where(blocked, 0, 1), plenty)
    into, out = np.arange(count), count + np.arange(count)
    source = np.concatenate([into, out[pairs[:, 0]], out[pairs[:, 1]]])
    target = np.concatenate([out, into[pairs[:, 1]], into[pairs[:, 0]]])
    capacity = np.concatenate([through, np.full(2 * len(pairs), plenty)]).astype(np.int32)
    matrix = sparse.csr_array((capacity, (source, target)), shape=(2 * count, 2 * count))
    answer = csgraph.maximum_flow(matrix, 0, count + 1)
    left = sparse.csr_array(matrix - answer.flow)
    left.data[left.data < 0] = 0
    left.eliminate_zeros()
    reached = np.zeros(2 * count, np.bool_)
    reached[csgraph.breadth_first_order(left, 0, directed=True, return_predecessors=False)] = True
    cut_here = np.flatnonzero(reached[:count] & ~reached[count:] & on_ring & ~blocked)
    return nodes[cut_here], int(answer.flow_value)
