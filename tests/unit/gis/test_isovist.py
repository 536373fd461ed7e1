"""Visible polygons against a plain construction with shapely, and cases with known answers."""

import math

import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gis.errors import InputError
from gis.visibility_isovist import Isovists


def blocks(seed, n=30, side=120.0):
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        x, y = rng.uniform(0, side, 2)
        kind = rng.integers(3)
        if kind == 0:
            shape = shapely.box(0, 0, *rng.uniform(3, 15, 2))
        elif kind == 1:
            shape = shapely.Point(0, 0).buffer(rng.uniform(2, 6), quad_segs=3)
        else:  # a court with a yard
            shape = shapely.box(-8, -8, 8, 8).difference(shapely.box(-4, -4, 4, 4))
        made.append(shapely.affinity.translate(shapely.affinity.rotate(shape, rng.uniform(0, 90)), x, y))
    return made


def plainly_visible(shapes, x, y, radius):
    """The circle less all footprints and less the shadow of every edge."""
    turn = np.radians(np.arange(0, 360, 0.1))
    circle = shapely.Polygon(np.column_stack([x + radius * np.cos(turn), y + radius * np.sin(turn)]))
    hidden = [*shapes]
    for shape in shapes:
        for ring in shapely.get_rings(shape):
            corners = shapely.get_coordinates(ring) - [x, y]
            far = corners / np.hypot(*corners.T)[:, None] * radius * 1000
            for k in range(len(corners) - 1):
                shadow = shapely.Polygon(np.array([corners[k], corners[k + 1], far[k + 1], far[k]]) + np.array([x, y]))
                if shadow.is_valid and shadow.area > 0:
                    hidden.append(shadow)
    return circle.difference(shapely.union_all(hidden))


def free_places(shapes, n, seed, side=120.0):
    rng = np.random.default_rng(seed)
    whole = shapely.union_all(shapes)
    places = [p for p in rng.uniform(0, side, (50 * n, 2)) if whole.distance(shapely.Point(p)) > 0.05]
    return np.array(places[:n])


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6), st.sampled_from([15.0, 60.0, 300.0]))
def test_polygon_is_the_plain_construction(seed, radius):
    shapes = blocks(seed)
    isovists = Isovists(shapes, np.full(len(shapes), 20.0), eye_m=6.0)
    places = free_places(shapes, 4, seed)
    found = isovists.polygons(places[:, 0], places[:, 1], radius_m=radius, arc_step_deg=0.1)
    for polygon, (x, y) in zip(found, places, strict=True):
        expected = plainly_visible(shapes, x, y, radius)
        assert polygon.is_valid
        assert polygon.symmetric_difference(expected).area <= 1e-5 * expected.area + 1e-6


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6), st.floats(0, 360), st.floats(5, 355))
def test_a_sector_is_the_cut_of_the_circle(seed, azimuth, view):
    shapes = blocks(seed)
    isovists = Isovists(shapes, np.full(len(shapes), 20.0), eye_m=6.0)
    ((x, y),) = free_places(shapes, 1, seed)
    part = isovists.polygons([x], [y], radius_m=50.0, azimuth_deg=azimuth, view_deg=view, arc_step_deg=0.1)[0]
    whole = isovists.polygons([x], [y], radius_m=50.0, arc_step_deg=0.1)[0]
    turn = np.radians(90 - azimuth + np.linspace(-view / 2, view / 2, 400))
    wedge = shapely.Polygon([(x, y), *np.column_stack([x + 80 * np.cos(turn), y + 80 * np.sin(turn)])])
    assert part.is_valid
    assert part.symmetric_difference(whole.intersection(wedge)).area <= 1e-4 * whole.area


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6))
def test_more_blocks_never_show_more(seed):
    shapes = blocks(seed)
    places = free_places(shapes, 5, seed)
    few = Isovists(shapes[:20], np.full(20, 20.0), eye_m=6.0).polygons(places[:, 0], places[:, 1], radius_m=80.0)
    many = Isovists(shapes, np.full(30, 20.0), eye_m=6.0).polygons(places[:, 0], places[:, 1], radius_m=80.0)
    for wide, narrow in zip(few, many, strict=True):
        assert narrow.difference(wide.buffer(1e-6)).area <= 0.01 * wide.area  # chords of the circle begin elsewhere


def test_the_shadow_of_a_wall_has_the_known_area():
    # a wall 10 m off that spans 45 degrees to either side hides, within 30 m, a quarter circle less the triangle before it
    wall = shapely.box(-10, 10, 10, 10.5)
    seen = Isovists([wall], [9.0], eye_m=6.0).polygons([0.0], [0.0], radius_m=30.0, arc_step_deg=0.1)[0]
    assert seen.area == pytest.approx(math.pi * 900 * 0.75 + 100, rel=1e-4)


def test_low_blocks_hide_ground_in_and_behind_them():
    # eye 6 m, roof 3 m: the shadow of a roof point lies twice as far; the block from 10 to 14 m hides ground to 28 m
    low = shapely.box(10, -2, 14, 2)
    isovists = Isovists([low], [3.0], eye_m=6.0)
    seen = isovists.polygons([0.0], [0.0], radius_m=40.0)[0]
    for x, visible in ((9, True), (12, False), (20, False), (27.5, False), (28.5, True), (39, True)):
        assert seen.contains(shapely.Point(x, 0)) is visible, x
    assert isovists.polygons([0.0], [0.0], radius_m=40.0, holes=False)[0].contains(shapely.Point(12, 0))
    assert len(shapely.get_rings(seen)) == 2


def test_an_eye_in_a_building_is_moved_to_its_edge():
    block = shapely.box(0, 0, 20, 10)
    isovists = Isovists([block], [9.0], eye_m=6.0)
    north, south, nearest = isovists.polygons(
        [10.0] * 3, [4.0] * 3, radius_m=15.0, azimuth_deg=[0.0, 180.0, 0.0], view_deg=[90.0, 90.0, 360.0]
    )
    assert north.bounds[1] == pytest.approx(10.01)
    assert south.bounds[3] == pytest.approx(-0.01)
    assert nearest.bounds[3] <= 0.01
    on_wall = isovists.polygons([10.0], [10.0], radius_m=15.0)[0]
    assert not on_wall.intersects(shapely.box(1, 1, 19, 9))
    with pytest.raises(InputError, match="inside a footprint"):
        Isovists([shapely.box(0, 0, 500, 500)], [9.0], eye_m=6.0).polygons([250.0], [250.0], radius_m=10.0)


def test_blocks_that_overlap_or_touch_are_one():
    pair = [shapely.box(10, -5, 15, 5), shapely.box(13, -8, 20, 0), shapely.box(15, 0, 18, 4)]
    seen = Isovists(pair, [9.0] * 3, eye_m=6.0).polygons([0.0], [0.0], radius_m=40.0, arc_step_deg=0.1)[0]
    expected = plainly_visible([shapely.union_all(pair)], 0.0, 0.0, 40.0)
    assert seen.symmetric_difference(expected).area < 0.01


def test_no_blocks_give_the_circle():
    seen = Isovists([], [], eye_m=6.0).polygons([3.0, 8.0], [4.0, 5.0], radius_m=[10.0, 20.0], arc_step_deg=1.0)
    assert seen[0].area == pytest.approx(math.pi * 100, rel=1e-3)
    assert seen[1].area == pytest.approx(math.pi * 400, rel=1e-3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: Isovists([shapely.box(0, 0, 1, 1)], [math.nan], eye_m=6.0),
        lambda: Isovists([shapely.box(0, 0, 1, 1)], [1.0, 2.0], eye_m=6.0),
        lambda: Isovists([], [], eye_m=-1.0),
        lambda: Isovists([], [], eye_m=6.0).polygons([0.0], [0.0], radius_m=0.0),
        lambda: Isovists([], [], eye_m=6.0).polygons([math.nan], [0.0], radius_m=1.0),
        lambda: Isovists([], [], eye_m=6.0).polygons([0.0], [0.0], radius_m=1.0, view_deg=400.0),
    ],
)
def test_nonsense_is_refused(call):
    with pytest.raises(InputError):
        call()


def test_threads_share_the_queries_and_change_nothing():
    rng = np.random.default_rng(4)
    shapes = np.array([shapely.box(x, y, x + 8, y + 6) for x, y in rng.uniform(0, 400, (120, 2))])
    ready = Isovists(shapes, np.full(len(shapes), 20.0), eye_m=5.0)
    whole = shapely.union_all(shapes)
    places = rng.uniform(0, 400, (700, 2))
    places = places[shapely.distance(whole, shapely.points(places)) > 0.05][:400]
    alone = ready.rings(places[:, 0], places[:, 1], radius_m=np.linspace(20, 300, len(places)), workers=1)
    for workers in (2, 3, 50):
        shared = ready.rings(places[:, 0], places[:, 1], radius_m=np.linspace(20, 300, len(places)), workers=workers)
        assert np.array_equal(alone[0], shared[0]) and np.array_equal(alone[1], shared[1])
    assert len(alone[1]) == len(places) + 1
