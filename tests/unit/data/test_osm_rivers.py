"""Axes joined downstream, and banks told apart."""

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from data.osm.reader import Extract, OsmObject
from data.osm.rivers import bank_lines, river_axes


def _way(number: int, *coords: tuple[float, float], **tags: str) -> OsmObject:
    return OsmObject("way", number, {"waterway": "river", **tags}, shapely.LineString(coords))


def test_ways_of_one_river_are_joined_downstream() -> None:
    ways = [
        _way(7, (1, 0), (2, 0), name="长江"),
        _way(9, (0, 0), (1, 0), name="长江"),
        _way(3, (5, 5), (6, 5)),
        _way(4, (6, 5), (7, 5)),
    ]
    axes = {axis.ref: axis for axis in river_axes(Extract(lines=ways))}
    assert set(axes) == {"osm:way/9", "osm:way/3", "osm:way/4"}  # unnamed ways stay apart
    assert list(axes["osm:way/9"].line.coords) == [(0, 0), (1, 0), (2, 0)]


def test_a_relation_gathers_its_main_stream() -> None:
    ways = [_way(1, (0, 0), (1, 0)), _way(2, (1, 0), (2, 0)), _way(3, (1, 1), (1, 0))]
    axes = river_axes(Extract(lines=ways, rivers={5: ({"name": "清江"}, (1, 2))}))
    assert {(axis.ref, axis.tags.get("name")) for axis in axes} == {("osm:way/1", "清江"), ("osm:way/3", None)}


def test_two_arms_are_two_axes() -> None:
    ways = [_way(1, (0, 0), (1, 0), name="a"), _way(2, (1, 0), (2, 1), name="a"), _way(3, (1, 0), (2, -1), name="a")]
    assert {axis.ref for axis in river_axes(Extract(lines=ways))} == {"osm:way/1", "osm:way/2", "osm:way/3"}


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 2 * math.pi), st.floats(30, 400), st.floats(0, 300), st.booleans())
def test_banks_of_a_meander(turn: float, half_width_m: float, swing_m: float, reverse: bool) -> None:
    """A river drawn by a known curve: every bank piece must lie on its side, and both banks must be whole."""
    along = np.linspace(0, 6000, 400)
    middle = np.column_stack([along, swing_m * np.sin(along / 900)])
    tangent = np.gradient(middle, axis=0)
    normal = np.column_stack([-tangent[:, 1], tangent[:, 0]]) / np.linalg.norm(tangent, axis=1)[:, None]
    left, right = middle + half_width_m * normal, middle - half_width_m * normal
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    middle, left, right = (part @ rotation.T for part in (middle, left, right))
    water = shapely.Polygon(np.vstack([left, right[::-1]]))
    axis = shapely.LineString(middle[::-1] if reverse else middle)
    sides = {"R": left, "L": right} if reverse else {"L": left, "R": right}
    banks = bank_lines(axis, water)
    assert {bank.side for bank in banks} == {"L", "R"}
    for bank in banks:
        own = shapely.LineString(sides[bank.side])
        other = shapely.LineString(sides["L" if bank.side == "R" else "R"])
        assert own.buffer(half_width_m * 0.5).contains(bank.line)
        assert bank.start_m <= bank.end_m
        ends = [axis.project(shapely.Point(bank.line.coords[i])) for i in (0, -1)]
        assert ends[0] <= ends[1] + 1e-6
        assert other.distance(bank.line) > half_width_m
    for side, line in sides.items():
        length_m = sum(bank.line.length for bank in banks if bank.side == side)
        assert length_m == pytest.approx(shapely.LineString(line).length, rel=0.05)


def test_water_off_the_axis_has_no_banks() -> None:
    axis = shapely.LineString([(0, 0), (1000, 0)])
    assert bank_lines(axis, shapely.box(0, 500, 1000, 600)) == []


def test_islands_and_several_surfaces() -> None:
    axis = shapely.LineString([(-100, 0), (2100, 0)])
    lower, upper = shapely.box(0, -100, 1000, 100), shapely.box(1000, -100, 2000, 100)
    pierced = lower.difference(shapely.box(400, 20, 600, 40))
    banks = bank_lines(axis, shapely.MultiPolygon([pierced, upper]))
    assert [(bank.side, round(bank.line.length)) for bank in banks] == [("L", 2000), ("R", 2000)]
