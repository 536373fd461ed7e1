"""The proof of a ring against all ways and all cuts of small road networks."""

import itertools

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import LinearRing, LineString, MultiLineString, Point, Polygon, box

from gis.errors import CRSMismatch, InputError, InvalidGeometry
from gis.ring import prove_ring, ring_polygon
from gis.roadgraph import road_graph

RING = box(0, 0, 1000, 1000)


def network(*lines, level=None):
    return road_graph(gpd.GeoSeries([LineString(line) for line in lines], crs=4546), level=level)


def slow_network(lines, ring):
    """Edges between rounded places, by GEOS noding of roads and ring together; places on the ring are crossings."""
    noded = shapely.get_parts(shapely.union_all([*lines, ring.boundary], grid_size=0.001))
    edges, sides = set(), {}
    for piece in noded:
        middle = piece.interpolate(0.5, normalized=True)
        if middle.distance(ring.boundary) < 0.01 and not any(middle.distance(line) < 0.01 for line in lines):
            continue
        tips = [tuple(np.round(piece.coords[end], 2)) for end in (0, -1)]
        for tip in tips:
            near = Point(tip).distance(ring.boundary) < 0.01
            sides[tip] = 0 if near else (1 if ring.contains(Point(tip)) else -1)
        if sides[tips[0]] == sides[tips[1]] == 0 and middle.distance(ring.boundary) > 0.01:
            spot = ("middle", *np.round(middle.coords[0], 2))
            sides[spot] = 1 if ring.contains(middle) else -1
            edges |= {(tips[0], spot), (spot, tips[1])}
        else:
            edges.add((tips[0], tips[1]))
    return edges, sides


def gets_in(edges, sides, blocked):
    near = {}
    for a, b in edges:
        near.setdefault(a, set()).add(b)
        near.setdefault(b, set()).add(a)
    queue = [spot for spot, side in sides.items() if side == -1]
    seen = set(queue)
    while queue:
        spot = queue.pop()
        if sides[spot] == 1:
            return True
        for other in near.get(spot, ()):
            if other not in seen and other not in blocked:
                seen.add(other)
                queue.append(other)
    return False


def slow_fewest(edges, sides, watched):
    crossings = [spot for spot, side in sides.items() if side == 0 and spot not in watched]
    for number in range(len(crossings) + 1):
        for chosen in itertools.combinations(crossings, number):
            if not gets_in(edges, sides, watched | set(chosen)):
                return number
    raise AssertionError("all crossings watched and still open")


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 100_000), roads=st.integers(1, 6), along=st.booleans(), cameras=st.integers(0, 3))
def test_equals_all_cuts_of_small_networks(seed, roads, along, cameras):
    rng = np.random.default_rng(seed)
    lines = [LineString(rng.uniform(-400, 1400, (2, 2))) for _ in range(roads)]
    if along:  # a road that runs on the ring for a while, and two that end on it
        lines += [
            LineString([(0, 300), (0, 700)]),
            LineString([(-300, 350), (0, 350)]),
            LineString([(0, 650), (300, 650)]),
        ]
    edges, sides = slow_network(lines, RING)
    spots = [spot for spot, side in sides.items() if side == 0]
    if len(spots) > 11:
        return
    watched = {spots[at] for at in rng.choice(len(spots), min(cameras, len(spots)), replace=False)} if spots else set()
    graph = road_graph(gpd.GeoSeries(lines, crs=4546))
    proof = prove_ring(graph, RING, list(watched), reach_m=0.1, tolerance_m=0.05)
    assert len(proof.crossings) == len(spots)
    assert proof.closed == (not gets_in(edges, sides, watched))
    assert proof.fewest == len(proof.to_watch) == slow_fewest(edges, sides, watched)
    again = [proof.crossings[number].xy for number in proof.to_watch]
    assert prove_ring(graph, RING, [*watched, *again], reach_m=0.1, tolerance_m=0.05).closed
    for leak in proof.leaks:
        tips = [Point(leak.path.coords[0]), Point(leak.path.coords[-1])]
        assert not RING.contains(tips[0]) and RING.buffer(0.1).contains(tips[1])
        assert leak.crossings and not any(proof.crossings[number].watched for number in leak.crossings)
        assert all(leak.path.distance(Point(proof.crossings[number].xy)) < 0.1 for number in leak.crossings)


def test_each_unwatched_crossing_is_a_leak():
    graph = network([(-100, 500), (1100, 500)], [(500, -100), (500, 1100)])
    proof = prove_ring(graph, RING, [(0, 510), (500, 0), (1000, 500)], reach_m=20)
    assert not proof.closed and len(proof.crossings) == 4
    assert [leak.roads for leak in proof.leaks] == [(1,)]
    assert proof.crossings[proof.to_watch[0]].xy == pytest.approx((500, 1000))
    assert prove_ring(graph, RING, [(0, 500), (500, 0), (1000, 500), (500, 1000)]).closed


def test_where_the_ring_runs_along_a_road_one_camera_can_stop_several_leaks():
    """One road reaches the ring road from outside; three leave it to the inside."""
    roads = [[(0, 100), (0, 900)], [(-300, 500), (0, 500)]] + [[(0, y), (300, y)] for y in (200, 600, 800)]
    proof = prove_ring(network(*roads), RING)
    assert len(proof.leaks) == 3
    assert proof.fewest == 1
    assert proof.crossings[proof.to_watch[0]].xy == pytest.approx((0, 500))


def test_a_bridge_over_a_watched_crossing_leaks():
    ground, bridge = [(-100, 500), (300, 500)], [(-100, 420), (100, 620), (300, 700)]
    proof = prove_ring(network(ground, bridge, level=[0, 1]), RING, [(0, 499)], reach_m=5)
    assert len(proof.crossings) == 2
    assert not proof.closed
    assert all(leak.roads == (1,) for leak in proof.leaks)


def test_levels_join_only_where_a_ramp_ends():
    over = network([(0, 0), (100, 0)], [(50, -50), (50, 50)], level=[0, 1])
    assert len(over.ends) == 2 and len(set(over.pieces())) == 2
    level = network([(0, 0), (100, 0)], [(50, -50), (50, 50)], level=[0, 0])
    assert len(level.ends) == 4 and len(set(level.pieces())) == 1
    ramp = network([(0, 0), (50, 0), (100, 0)], [(50, 0), (50, 50)], level=[0, 1])
    assert len(ramp.ends) == 3 and len(set(ramp.pieces())) == 1
    three = network(
        [(0, 0), (100, 0)], [(50, -50), (50, 50)], [(0, 50), (100, -50)], [(0, -50), (100, 50)], level=[0, 0, 1, 1]
    )
    assert len(set(three.pieces())) == 2


def test_near_ends_are_joined_and_far_ones_are_not():
    graph = network([(0, 0), (100, 0)], [(50, 0.03), (50, 40)], [(20, 0.2), (20, 40)])
    assert len(set(graph.pieces())) == 2
    assert graph.road.tolist().count(0) == 2


def test_edges_are_pieces_of_their_roads():
    rng = np.random.default_rng(2)
    lines = [LineString(rng.uniform(0, 1000, (4, 2))) for _ in range(15)]
    graph = road_graph(gpd.GeoSeries(lines, crs=4546))
    assert shapely.length(graph.lines).sum() == pytest.approx(sum(line.length for line in lines), abs=1e-3)
    for line, road, (a, b) in zip(graph.lines, graph.road, graph.ends, strict=True):
        assert lines[road].buffer(0.01).contains(line)
        assert Point(line.coords[0]).distance(Point(graph.xy[a])) < 0.06
        assert Point(line.coords[-1]).distance(Point(graph.xy[b])) < 0.06


def test_dead_ends_just_beyond_the_ring_may_be_left_out():
    graph = network([(-8, 500), (500, 500)], [(500, -100), (500, 500)])
    assert len(prove_ring(graph, RING).leaks) == 2
    proof = prove_ring(graph, RING, depth_m=20)
    assert [leak.roads for leak in proof.leaks] == [(1,)]
    assert sum(crossing.used for crossing in proof.crossings) == 1


def test_a_network_in_pieces():
    graph = network([(-100, 100), (100, 100)], [(200, 200), (300, 300)], [(-500, 0), (-400, 0)])
    proof = prove_ring(graph, RING)
    assert len(proof.leaks) == 1 and proof.fewest == 1


def test_no_roads_no_way():
    assert prove_ring(road_graph(gpd.GeoSeries([], crs=4546)), RING).closed


@pytest.mark.parametrize(
    ("ring", "word"),
    [
        (LineString([(0, 0), (9, 0), (9, 9), (0.5, 0)]), "open.*0.50 m"),
        (LineString([(0, 0), (9, 9), (9, 0), (0, 9), (0, 0)]), "crosses itself"),
        (LineString(), "empty"),
        (Point(0, 0), "one line"),
        (MultiLineString([[(0, 0), (1, 0)], [(5, 5), (6, 6)]]), "one line"),
        (LineString([(0, 0), (9, 0), (0, 0)]), "crosses itself|encloses nothing"),
    ],
)
def test_what_is_no_ring(ring, word):
    with pytest.raises(InvalidGeometry, match=word):
        ring_polygon(ring)


def test_rings_of_several_kinds():
    square = [(0, 0), (9, 0), (9, 9), (0, 9)]
    for ring in (
        Polygon(square),
        LinearRing(square),
        MultiLineString([[*square[:3]], [square[2], square[3], square[0]]]),
    ):
        assert ring_polygon(ring).area == 81


def test_roads_that_cannot_be_used():
    with pytest.raises(CRSMismatch):
        road_graph(gpd.GeoSeries([LineString([(0, 0), (1, 1)])], crs=4490))
    with pytest.raises(InputError):
        road_graph(gpd.GeoSeries([Point(0, 0).buffer(1)], crs=4546))
    with pytest.raises(InputError):
        road_graph(gpd.GeoSeries([LineString([(0, 0), (1, 1)])], crs=4546), level=[0, 1])
    frame = gpd.GeoDataFrame(
        {"layer": [np.nan, 1.0]}, geometry=[LineString([(0, 0), (9, 0)]), LineString([(5, -5), (5, 5)])], crs=4546
    )
    assert len(road_graph(frame).ends) == 2


def test_a_road_that_crosses_itself_is_noded():
    assert len(network([(0, 0), (100, 0), (100, 50), (50, 50), (50, -50)]).ends) == 3
