"""Values of OpenStreetMap tags: lengths, speeds, heights, directions."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.osm.values import (
    CARDINALS,
    building_height_m,
    count,
    direction,
    length_m,
    speed_km_h,
    tilt_below_horizon_deg,
)


def _turn(from_deg: float, to_deg: float) -> float:
    """Signed turn from one azimuth to another, −180 to 180."""
    return (to_deg - from_deg + 180.0) % 360.0 - 180.0


@given(st.floats(0, 359.999))
def test_degrees_come_back(azimuth_deg: float) -> None:
    for text in (f"{azimuth_deg:.4f}", f" {azimuth_deg:.4f}° ", f"{azimuth_deg:.4f} deg"):
        read = direction(text)
        assert read is not None and read.width_deg is None and read.azimuth_deg is not None
        assert abs(_turn(azimuth_deg, read.azimuth_deg)) < 1e-3


@given(st.sampled_from(sorted(CARDINALS)), st.sampled_from([str.upper, str.lower, str.title]))
def test_points_of_the_compass(name: str, case: object) -> None:
    # Independent reading: the mean of the unit vectors of the letters, halving towards the first letter for three of them.
    east = {"E": 1.0, "W": -1.0}
    north = {"N": 1.0, "S": -1.0}
    x, y = sum(east.get(c, 0) for c in name[-2:]), sum(north.get(c, 0) for c in name[-2:])
    expected = math.degrees(math.atan2(x, y)) % 360
    if len(name) == 3:
        first = math.degrees(math.atan2(east.get(name[0], 0), north.get(name[0], 0))) % 360
        expected = (expected + _turn(expected, first) / 2) % 360
    read = direction(case(name))  # type: ignore[operator]
    assert read is not None and read.azimuth_deg == pytest.approx(expected)


@given(
    st.integers(0, 359),
    st.integers(1, 359),
    st.sampled_from(["-", " - ", "–", "~", " to "]),
    st.floats(0, 359.9),
)
def test_a_range_is_what_lies_clockwise_between_its_ends(start: int, width: int, sign: str, probe: float) -> None:
    read = direction(f"{start}{sign}{(start + width) % 360}")
    assert read is not None and read.azimuth_deg is not None and read.width_deg is not None
    inside = (probe - start) % 360.0 <= width
    off_edge = min((probe - start) % 360.0, (start - probe) % 360.0, abs((probe - start) % 360.0 - width))
    if off_edge > 1e-6:
        assert (abs(_turn(read.azimuth_deg, probe)) <= read.width_deg / 2) == inside


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    read = direction(text)
    if read is not None:
        assert read.azimuth_deg is None or 0 <= read.azimuth_deg < 360
        assert read.width_deg is None or 0 < read.width_deg <= 360
    for reader in (length_m, count, speed_km_h):
        value = reader(text)
        assert value is None or math.isfinite(value)


@given(st.text(alphabet="0123456789.,-–~°NESWnesw to东北", max_size=20))
def test_near_misses_are_read_or_refused(text: str) -> None:
    read = direction(text)
    assert read is None or read.azimuth_deg is None or 0 <= read.azimuth_deg < 360


@pytest.mark.parametrize(
    ("text", "azimuth_deg", "width_deg"),
    [
        ("240", 240, None),
        ("0", 0, None),
        ("360", 0, None),
        ("-90", 270, None),
        ("90,5", 90.5, None),
        ("north-west", 315, None),
        ("North West", 315, None),
        ("southeast", 135, None),
        ("东北", 45, None),
        ("西南方", 225, None),
        ("NE-SE", 90, 90),
        ("E-W", 180, 180),
        ("W-E", 0, 180),
        ("E-SE", 112.5, 45),
        ("350-10", 0, 20),
        ("0-360", None, 360),
        ("10-10", 10, None),
    ],
)
def test_directions(text: str, azimuth_deg: float | None, width_deg: float | None) -> None:
    read = direction(text)
    assert read is not None
    assert read.azimuth_deg == (None if azimuth_deg is None else pytest.approx(azimuth_deg))
    assert read.width_deg == (None if width_deg is None else pytest.approx(width_deg))


@pytest.mark.parametrize(
    "text", [None, "", "forward", "backward", "both", "90;270", "400", "12-500", "up", "1e5", "N-", "-", "NaN"]
)
def test_no_directions(text: str | None) -> None:
    assert direction(text) is None


@pytest.mark.parametrize(
    ("text", "metres"),
    [
        ("12", 12.0), ("12 m", 12.0), ("3,5", 3.5), ("40 ft", 12.192), ("40'", 12.192), ("7'6\"", 2.286), ("6 ft 3 in", 1.905),
        ("~15", 15.0), ("-2", -2.0), ("0.1 km", 100.0), ("tall", None), ("12 storeys", None), ("", None), (None, None), ("1;2", None),
    ],
)  # fmt: skip
def test_lengths(text: str | None, metres: float | None) -> None:
    assert length_m(text) == (None if metres is None else pytest.approx(metres))


@pytest.mark.parametrize(
    ("tags", "height_m", "basis"),
    [
        ({"height": "39", "building:levels": "12"}, 39.0, "height"),
        ({"building:levels": "4"}, 12.0, "levels"),
        ({"building:levels": "4", "roof:levels": "1"}, 15.0, "levels"),
        ({"height": "tall", "building:levels": "2"}, 6.0, "levels"),
        ({}, None, "none"),
        ({"building:levels": "RDC"}, None, "unreadable"),
        ({"height": "0"}, None, "unreadable"),
        ({"height": "99999"}, None, "unreadable"),
    ],
)
def test_heights(tags: dict[str, str], height_m: float | None, basis: str) -> None:
    assert building_height_m(tags) == (height_m, basis)


def test_speeds_and_tilts() -> None:
    assert speed_km_h("30 mph") == pytest.approx(48.28)
    assert [speed_km_h(text) for text in ("none", "walk", "50;30", "CN:urban")] == [None] * 4
    assert tilt_below_horizon_deg({"camera:tilt": "-25", "camera:angle": "10"}) == 25.0
    assert tilt_below_horizon_deg({"camera:tilt": "5"}) == -5.0
    assert tilt_below_horizon_deg({"camera:angle": "120"}) is None
