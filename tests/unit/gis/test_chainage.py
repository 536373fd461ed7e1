"""Chainage against shapely's own linear referencing, plain geometry and the ellipsoid."""

import numpy as np
import pytest
import shapely
import shapely.ops
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod, Transformer
from shapely.geometry import LineString, MultiLineString, Point

from gis.chainage import (
    axis,
    format_station,
    geodesic_measures,
    locate,
    measure_sections,
    nearest_downstream,
    parse_station,
    points_at,
    sections,
    upstream_of,
)
from gis.errors import InputError, InvalidGeometry


def river(seed, vertices=60):
    """A meandering line as rivers are, 530–545 km east, running south-east."""
    rng = np.random.default_rng(seed)
    heading = np.cumsum(rng.normal(0, 0.25, vertices)) * 0.6 - 0.7
    step = rng.uniform(40, 400, vertices)
    path = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], 1) * step[:, None], axis=0)
    return LineString(path + np.array([530_000, 3_395_000]))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 9999), start=st.floats(-5000, 50_000))
def test_locate_agrees_with_shapely(seed, start):
    line = river(seed)
    made = axis(line, start_m=start)
    rng = np.random.default_rng(seed + 1)
    points = line.interpolate(rng.random(), normalized=True).coords[0] + rng.normal(0, 800, (200, 2))
    found = locate(made, points)
    shapes = shapely.points(points)
    assert found.offset_m == pytest.approx(shapely.distance(line, shapes), abs=1e-6)
    again = shapely.line_interpolate_point(line, found.chainage_m - start)
    assert shapely.distance(again, shapes) == pytest.approx(found.offset_m, abs=1e-6)
    assert np.hypot(*(found.foot_xy - shapely.get_coordinates(again)).T) == pytest.approx(0, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 9999), share=st.floats(0.02, 0.98), offset=st.floats(0.5, 8.0), left=st.booleans())
def test_a_point_set_out_to_a_side_is_found_there(seed, share, offset, left):
    made = axis(river(seed), start_m=1000)
    chainage = made.start_m + share * (made.end_m - made.start_m)
    point = points_at(made, [chainage], offset_m=offset if left else -offset)
    found = locate(made, point)
    assert found.side[0] == ("L" if left else "R")
    assert found.offset_m[0] <= offset + 1e-9
    assert found.chainage_m[0] == pytest.approx(chainage, abs=offset * 4)


def test_sides_facing_downstream():
    made = axis(LineString([(0, 0), (100, 0)]))
    found = locate(made, [(50, 5), (50, -5), (50, 0), (-10, 0), (110, 3)])
    assert found.side.tolist() == ["L", "R", "", "", "L"]
    assert found.beyond.tolist() == [False, False, False, True, True]
    assert found.chainage_m.tolist() == [50, 50, 50, 0, 100]


@pytest.mark.parametrize("bend", [(-60, 30), (-60, -30), (60, 40), (0, 40)])
def test_the_side_at_a_sharp_bend_is_that_of_the_offset_curve(bend):
    """Near a vertex the sign of a single segment is wrong on the outer side; a buffer of one side only is the judge."""
    line = LineString([(-100, 0), (0, 0), bend])
    made = axis(line)
    angles = np.linspace(0, 2 * np.pi, 73)[:-1] + 0.01
    points = np.stack([np.cos(angles), np.sin(angles)], 1) * 4.0
    side = locate(made, points).side
    ring = LineString([(-100, 0), (0, 0), bend]).buffer(6, cap_style="flat")
    halves = shapely.get_parts(shapely.ops.split(ring, line))
    assert len(halves) == 2
    left = next(half for half in halves if half.contains(Point(-50, 1)))
    for point, found in zip(points, side, strict=True):
        inside = left.buffer(1e-9).contains(Point(point))
        assert found == ("L" if inside else "R")


def test_measures_of_a_line_string_m_are_used():
    made = axis(shapely.from_wkt("LINESTRING M (0 0 1000, 10 0 1020, 10 10 1050)"))
    assert locate(made, [(5, 1), (11, 5)]).chainage_m.tolist() == [1010, 1035]
    assert points_at(made, [1035]).tolist() == [[10, 5]]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 9999), a=st.floats(0, 1), b=st.floats(0, 1), stretch=st.floats(0.9, 1.1))
def test_events_return_within_a_centimetre(seed, a, b, stretch):
    line = river(seed)
    plain = axis(line)
    made = axis(line, measure_m=500 + plain.measure_m * stretch)
    start, end = (made.start_m + share * (made.end_m - made.start_m) for share in (a, b))
    if abs(start - end) < 0.1:
        return
    stretches = sections(made, [start], [end])
    again = measure_sections(made, stretches)
    assert again[0][0] == pytest.approx(start, abs=0.01) and again[1][0] == pytest.approx(end, abs=0.01)
    assert stretches[0].length == pytest.approx(abs(end - start) / stretch, abs=0.01)
    assert line.buffer(0.001).contains(stretches[0])


def test_a_section_equals_shapelys_substring():
    line = river(3)
    made = axis(line)
    ours = sections(made, [1234.5], [4321.0])[0]
    assert ours.equals_exact(shapely.ops.substring(line, 1234.5, 4321.0), 1e-6)
    assert sections(made, [4321.0], [1234.5])[0].equals_exact(ours.reverse(), 1e-9)


def test_lengths_on_the_ellipsoid():
    to_lonlat = Transformer.from_crs(4546, 4490, always_xy=True)
    line = river(5)
    lonlat = np.stack(to_lonlat.transform(*shapely.get_coordinates(line).T), 1)
    measures = geodesic_measures(lonlat, start_m=2000)
    assert measures[0] == 2000
    assert measures[-1] - 2000 == pytest.approx(Geod(ellps="GRS80").geometry_length(LineString(lonlat)), abs=1e-6)
    made = axis(line, measure_m=measures)
    assert made.end_m - made.start_m == pytest.approx(line.length, rel=2e-5)


def test_nearest_downstream_and_upstream_order():
    rng = np.random.default_rng(1)
    outfalls, intakes = rng.uniform(0, 10_000, 200), rng.uniform(0, 9_000, 9)
    which, away = nearest_downstream(outfalls, intakes)
    for chainage, found, distance in zip(outfalls, which, away, strict=True):
        below = [(place - chainage, number) for number, place in enumerate(intakes) if place >= chainage]
        if below:
            assert (distance, found) == min(below)
        else:
            assert found == -1 and np.isnan(distance)
    order = upstream_of(outfalls, 5000, within_m=1000)
    expected = sorted((5000 - c, n) for n, c in enumerate(outfalls) if 0 <= 5000 - c <= 1000)
    assert order.tolist() == [n for _, n in expected]


@given(st.floats(-1e6, 1e6), st.integers(0, 3))
def test_stations_round_trip(chainage, decimals):
    assert parse_station(format_station(chainage, decimals=decimals)) == pytest.approx(
        chainage, abs=0.5001 * 10**-decimals
    )


@pytest.mark.parametrize(
    ("chainage", "label"),
    [
        (12345.0, "K12+345"),
        (0, "K0+000"),
        (999.6, "K1+000"),
        (7, "K0+007"),
        (-0.2, "K0+000"),
        (-50, "K-0+050"),
        (123456, "K123+456"),
    ],
)
def test_station_labels(chainage, label):
    assert format_station(chainage) == label


@pytest.mark.parametrize("text", ["", "12+345", "K12", "K12+3456", "K1.5+000", "Kx+000", "K12+345m"])
def test_what_is_no_station(text):
    with pytest.raises(InputError):
        parse_station(text)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (shapely.from_wkt("LINESTRING M (0 0 5, 1 0 4, 2 0 3)"), "upstream"),
        (shapely.from_wkt("LINESTRING M (0 0 5, 1 0 5, 2 0 6)"), "rise"),
        (shapely.from_wkt("LINESTRING M (0 0 5, 1 0 nan)"), "without a measure"),
        (LineString([(1, 1), (1, 1)]), "no length"),
        (LineString(), "single"),
        (MultiLineString([[(0, 0), (1, 0)]]), "single"),
        (Point(0, 0), "single"),
    ],
)
def test_lines_that_are_no_axis(line, word):
    with pytest.raises(InvalidGeometry, match=word):
        axis(line)


def test_chainages_outside_the_axis_are_refused_by_name():
    made = axis(LineString([(0, 0), (2500, 0)]), start_m=1000)
    with pytest.raises(InputError, match=r"K3\+600.*K1\+000–K3\+500"):
        points_at(made, [3600])
    with pytest.raises(InputError):
        sections(made, [1200], [1200])
    with pytest.raises(InputError):
        points_at(made, [np.nan])


def test_points_without_position_stay_without():
    found = locate(axis(LineString([(0, 0), (9, 0)])), [(np.nan, 0), (3, 1)])
    assert np.isnan(found.chainage_m[0]) and found.chainage_m[1] == 3


def test_repeated_vertices_do_no_harm():
    made = axis(LineString([(0, 0), (5, 0), (5, 0), (9, 0)]))
    assert locate(made, [(7, 1)]).chainage_m.tolist() == [7]
