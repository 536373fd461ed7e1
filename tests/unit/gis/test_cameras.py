"""Cameras: optics, what is assumed, what is refused."""

import geopandas as gpd
import numpy as np
import pytest
import shapely

from gis.cameras import Assumed, Optics, prepare
from gis.errors import CRSMismatch, InputError, LimitExceeded
from gis.settings import CameraDefaults

GOOD = {"x": [0.0], "y": [0.0], "azimuth_deg": [90.0], "hfov_deg": [60.0], "net_status": ["on"], "ptz_type": [3]}


def one(**columns):
    return prepare({**GOOD, **{name: [value] for name, value in columns.items()}})


def test_ranges_are_those_of_the_domain_reference():
    optics = Optics(hfov_deg=60, vfov_deg=35, res_w_px=1920, mount_height_m=6, tilt_deg=15)
    assert [round(optics.range_m(d)) for d in (20, 40, 80)] == [83, 42, 21]
    table = one(res_w_px=1920, view_dist_m=100)
    assert [round(float(r)) for r in table.radius_m[0]] == [83, 42, 21]
    assert [round(float(r)) for r in one(view_dist_m=30).radius_m[0]] == [30, 30, 21]


def test_a_lens_gives_the_field_of_view():
    # 6.4 mm wide sensor at 5.5426 mm: half the width over the focal length is tan 30
    optics = Optics.from_lens(
        sensor_w_mm=6.4, sensor_h_mm=3.6, focal_mm=5.5426, res_w_px=1920, mount_height_m=6, tilt_deg=15
    )
    assert optics.hfov_deg == pytest.approx(60, abs=0.01)
    table = one(hfov_deg=None, sensor_w_mm=6.4, focal_mm=5.5426)
    assert float(table.half_possible_deg[0]) == pytest.approx(30, abs=0.01)
    assert not table.assumed[0] & Assumed.HFOV


def test_blind_zone_and_upper_edge_of_the_picture():
    optics = Optics(hfov_deg=60, vfov_deg=30, res_w_px=1920, mount_height_m=10, tilt_deg=30)
    assert optics.blind_zone_m() == pytest.approx(10.0)  # 45 degrees down
    assert optics.farthest_m() == pytest.approx(10 / np.tan(np.radians(15)))
    assert optics.blind_zone_m(target_height_m=2) == pytest.approx(8.0)
    assert Optics(hfov_deg=60, vfov_deg=30, res_w_px=1920, mount_height_m=10, tilt_deg=15).farthest_m() == np.inf


@pytest.mark.parametrize(
    ("kind", "azimuth", "confirmed", "possible"),
    [
        (3, 90.0, 30, 30),
        (4, 90.0, 30, 30),
        (None, 90.0, 30, 30),
        (3, None, -1, 180),
        (1, 90.0, 30, 180),
        (1, None, -1, 180),
        (2, 90.0, 30, 180),
        (5, None, -1, 180),
        (7, 90.0, 30, 180),
    ],
)
def test_what_is_confirmed_and_what_is_possible(kind, azimuth, confirmed, possible):
    table = one(ptz_type=kind, azimuth_deg=azimuth)
    assert (table.half_confirmed_deg[0], table.half_possible_deg[0]) == (confirmed, possible)
    assert bool(table.assumed[0] & Assumed.DIRECTION_UNKNOWN) == (azimuth is None)


def test_a_panoramic_camera_sees_all_round_for_sure():
    table = one(ptz_type=6, azimuth_deg=None, hfov_deg=None)
    assert (table.half_confirmed_deg[0], table.half_possible_deg[0]) == (180, 180)
    assert float(table.radius_m[0, 0]) == pytest.approx(1920 / (20 * 2 * np.pi))
    assert table.slope_confirmed[0, 0] == -np.inf


@pytest.mark.parametrize(
    ("code", "azimuth"), [(1, 90), (2, 270), (3, 180), (4, 0), (5, 135), (6, 45), (7, 225), (8, 315)]
)
def test_a_direction_code_is_known_to_an_eighth(code, azimuth):
    table = one(azimuth_deg=None, direction=code)
    assert table.azimuth_deg[0] == azimuth
    assert (table.half_confirmed_deg[0], table.half_possible_deg[0]) == (7.5, 52.5)
    assert table.assumed[0] & Assumed.AZIMUTH_FROM_CODE
    narrow = one(azimuth_deg=None, direction=code, hfov_deg=40.0)
    assert narrow.half_confirmed_deg[0] == -1
    assert one(direction=code).azimuth_deg[0] == 90  # an azimuth goes before a code


def test_what_is_missing_is_assumed_and_said_so():
    by_type = {
        1: CameraDefaults(
            mount_height_m=9.0, hfov_deg=50.0, vfov_deg=30.0, tilt_deg=10.0, view_dist_m=200.0, res_w_px=3840
        )
    }
    table = prepare({"x": [0.0, 1.0], "y": [0.0, 0.0], "ptz_type": [1, 3]}, defaults_by_type=by_type)
    assert table.height_m.tolist() == [9.0, 6.0]
    assert table.view_m.tolist() == [200.0, 100.0]
    bits = Assumed.HEIGHT | Assumed.HFOV | Assumed.VFOV | Assumed.TILT | Assumed.RANGE | Assumed.RESOLUTION
    assert all(int(value) & bits == bits for value in table.assumed)
    assert sum("by default" in line for line in table.assumptions) == 6
    full = one(mount_height_m=5, vfov_deg=30, tilt_deg=10, view_dist_m=50, res_w_px=1920)
    assert full.assumed[0] == 0
    assert full.assumptions == ()


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"hfov_deg": 0.0}, "hfov"),
        ({"hfov_deg": 400.0}, "hfov"),
        ({"hfov_deg": 179.0}, "hfov"),
        ({"vfov_deg": 0.0}, "vfov"),
        ({"azimuth_deg": 400.0}, "azimuth"),
        ({"azimuth_deg": float("inf")}, "azimuth"),
        ({"direction": 9}, "direction"),
        ({"tilt_deg": 120.0}, "tilt"),
        ({"mount_height_m": 500.0}, "mount_height"),
        ({"mount_height_m": -3.0}, "mount_height"),
        ({"mount_height_m": 0.0}, "mount_height"),
        ({"view_dist_m": 0.0}, "range"),
        ({"view_dist_m": 1e9}, "range"),
        ({"res_w_px": 3.0}, "resolution"),
        ({"ptz_type": 12}, "ptz_type"),
        ({"room_type": 2}, "indoor"),
        ({"device_state": "removed"}, "removed"),
        ({"x": float("nan")}, "no_position"),
    ],
)
def test_nonsense_is_rejected_with_its_reason(columns, reason):
    table = one(**columns)
    assert len(table) == 0
    assert [r.reason for r in table.rejected] == [reason]
    assert table.rejected[0].zh
    assert "1 cameras were rejected" in table.assumptions[-1]


def test_a_camera_in_another_country_and_one_that_stands_twice_are_rejected():
    table = prepare({"id": ["a", "b", "a"], "x": [0.0, 9e6, 5.0], "y": [0.0, 0.0, 5.0]}, bounds=(-10, -10, 10, 10))
    assert table.id == ("a",)
    assert {(r.id, r.reason) for r in table.rejected} == {("b", "outside"), ("a", "duplicate")}


@pytest.mark.parametrize(
    ("status", "state", "online"),
    [
        ("on", "in_use", 1),
        ("on", "repair", 0),
        ("off", "in_use", 0),
        ("unknown", "", 2),
        (None, None, 2),
        ("on", None, 1),
    ],
)
def test_online_states(status, state, online):
    assert one(net_status=status, device_state=state).online[0] == online


def test_reference_systems():
    points = gpd.GeoDataFrame(
        {"id": ["a"], "azimuth_deg": [10.0]}, geometry=[shapely.Point(111.29, 30.69)], crs="EPSG:4490"
    )
    table = prepare(points, crs=4546)
    assert table.crs == "EPSG:4546"
    assert 500_000 < table.x[0] < 560_000
    assert 3_390_000 < table.y[0] < 3_410_000
    with pytest.raises(CRSMismatch):
        prepare(points)
    with pytest.raises(CRSMismatch):
        prepare(points.set_crs(None, allow_override=True), crs=4546)


@pytest.mark.parametrize(
    ("columns", "options", "error"),
    [
        ({"x": [0.0]}, {}, InputError),
        ({**GOOD, "hfov_deg": ["wide"]}, {}, InputError),
        ({**GOOD, "hfov_deg": [1.0, 2.0]}, {}, InputError),
        (GOOD, {"densities_px_m": (20, 250)}, InputError),
        (GOOD, {"densities_px_m": ()}, InputError),
        (GOOD, {"range_max_m": -1}, InputError),
        ({"x": np.zeros(1001), "y": np.zeros(1001)}, {"cameras_max": 1000}, LimitExceeded),
        ({"x": np.zeros(1_000_000), "y": np.zeros(1_000_000)}, {}, LimitExceeded),
    ],
)
def test_unusable_input_is_refused(columns, options, error):
    with pytest.raises(error):
        prepare(columns, **options)


def test_tables_are_taken_joined_and_switched():
    table = prepare({"id": list("abc"), "x": [0.0, 1, 2], "y": [0.0, 0, 0], "net_status": ["on", "on", "off"]})
    back = table.take([2]).joined(table.take([True, True, False]))
    assert back.id == ("c", "a", "b")
    assert back.x.tolist() == [2, 0, 1]
    assert table.switched([0], 0).online.tolist() == [0, 1, 0]
    assert table.find("b") == 1
    with pytest.raises(InputError):
        table.find("z")
    with pytest.raises(InputError):
        table.joined(table.take([0]))
