"""Coverage of many cameras: against a plain count, and under changes that must not matter."""

import math

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gis.cameras import Assumed, prepare
from gis.coverage import PRODUCTS, compute
from gis.coverage_chunks import CHUNK
from gis.coverage_explain import Cause, explain
from gis.coverage_sensitivity import sensitivity
from gis.coverage_update import update
from gis.coverage_views import privacy, seen_only_by, views
from gis.errors import Cancelled, Conflict, DataError, InputError, LimitExceeded
from gis.visibility import Surface, Terrain
from gis.visibility_surface import Buildings
from tests.unit.gis import sight_reference as plain


def town(seed=1, *, buildings=25, side=200.0, cell_m=1.0, relief=3.0):
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, side, (buildings, 2))
    sizes = rng.uniform(6, 25, (buildings, 2))
    boxes = [shapely.box(x, y, x + w, y + h) for (x, y), (w, h) in zip(places, sizes, strict=True)]
    heights = rng.normal(size=(60, 60)).astype(np.float32) * relief
    terrain = Terrain(heights, -800.0, 1000.0, 30.0, 30.0)
    return Surface(
        cell_m=cell_m, terrain=terrain, buildings=Buildings.from_polygons(boxes, rng.uniform(3, 25, buildings))
    )


def register(seed=1, n=12, *, side=200.0):
    rng = np.random.default_rng(seed + 50)
    return {
        "id": [f"c{i:03d}" for i in range(n)],
        "x": rng.uniform(0, side, n),
        "y": rng.uniform(0, side, n),
        "azimuth_deg": np.where(rng.random(n) < 0.2, np.nan, rng.uniform(0, 360, n)),
        "hfov_deg": rng.uniform(40, 100, n),
        "vfov_deg": rng.uniform(20, 60, n),
        "tilt_deg": rng.uniform(0, 40, n),
        "mount_height_m": rng.uniform(3, 12, n),
        "view_dist_m": rng.uniform(20, 70, n),
        "res_w_px": rng.choice([1280, 1920, 2560], n),
        "ptz_type": rng.choice([1, 3, 3, 4, 6], n),
        "net_status": rng.choice(["on", "off", "unknown"], n),
    }


def test_counts_are_those_of_a_plain_program():
    """Two fixed cameras and one that turns, cell by cell: sight by the plain reference, picture by angles."""
    rng = np.random.default_rng(4)
    z = rng.normal(size=(81, 81)).astype(np.float32)
    z[30:40, 45:55] += 12
    surface = Surface.from_array(z, cell_m=1.0)
    optics = {"hfov_deg": 70.0, "vfov_deg": 40.0, "tilt_deg": 15.0, "res_w_px": 1000}
    places = [(20, 20, 45.0, "on", 3), (60, 30, 130.0, "off", 3), (40, 30, 200.0, "unknown", 1)]
    table = prepare(
        {
            "x": [c + 0.5 for _, c, *_ in places],
            "y": [r + 0.5 for r, *_ in places],
            "azimuth_deg": [p[2] for p in places],
            "net_status": [p[3] for p in places],
            "ptz_type": [p[4] for p in places],
            "mount_height_m": [5.0] * 3,
            "view_dist_m": [25.0] * 3,
            **{name: [value] * 3 for name, value in optics.items()},
        }
    )
    result = compute(table, surface, workers=1)
    got = result.window(0, 0, 81, 81)
    expected = np.zeros_like(got)
    for row, col, azimuth, status, kind in places:
        eye = float(z[row, col]) + 5.0
        seen = plain.viewshed(z, row, col, eye, radius=25)
        low = plain.lowered(z, row, col, 1.0, 0.13)
        for r, c in zip(*np.nonzero(seen), strict=True):
            distance = math.hypot(r - row, c - col)
            classes = sum(distance <= min(25.0, 1000 / (2 * d * math.tan(math.radians(35)))) for d in (20, 40, 80))
            confirmed = plain.in_view(
                r - row,
                c - col,
                1.0,
                low[r, c] - eye,
                azimuth=azimuth,
                hfov=70.0,
                low_deg=-35.0,
                high_deg=5.0,
                range_m=25.0,
            )
            products = {0} if confirmed else set()
            if confirmed or kind == 1:
                products |= {1}
            if status != "off":
                products |= {3} & {p + 2 for p in products}
            if status == "on":
                products |= {2} & {p + 2 for p in products}
            for product in products:
                expected[product * 3 : product * 3 + classes, r, c] += 1
    assert expected[0].sum() > 300
    np.testing.assert_array_equal(got, expected)


def test_tiles_workers_and_order_do_not_matter():
    surface, columns = town(side=700.0, buildings=80), register(n=40, side=700.0)
    table = prepare(columns)
    whole = compute(table, surface, workers=1, tile_size=2048)
    assert len(whole.chunks) > 4
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    for other in (
        compute(table, surface, workers=2, tile_size=256),
        compute(shuffled, surface, workers=2, tile_size=512),
    ):
        assert whole.same_as(other)
        assert whole.fingerprint == other.fingerprint
        assert whole.assumptions == other.assumptions
    assert not whole.same_as(compute(table.take(np.arange(39)), surface, workers=1))


def test_fast_coverage_agrees_with_exact():
    surface, table = town(side=400.0, buildings=60), prepare(register(n=60, side=400.0))
    exact, fast = compute(table, surface), compute(table, surface, mode="fast")
    weights = []
    for key, counts in exact.items():
        other = fast.chunk(*key)
        weights.append(
            (np.minimum(counts[3], other[3]).sum(dtype=np.int64), np.maximum(counts[3], other[3]).sum(dtype=np.int64))
        )
    common, either = np.array(weights).sum(axis=0)
    assert common / either >= 0.97


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6), st.integers(1, 8))
def test_more_cameras_never_cover_less(seed, n):
    surface, table = town(seed, buildings=10, side=80.0), prepare(register(seed, n=n, side=80.0))
    fewer = compute(table.take(np.arange(n - 1)), surface, workers=1)
    more = compute(table, surface, workers=1)
    for key, counts in fewer.items():
        assert (more.chunk(*key) >= counts).all()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6))
def test_confirmed_is_possible_online_is_installed_and_fine_is_coarse(seed):
    result = compute(prepare(register(seed, n=8, side=80.0)), town(seed, buildings=10, side=80.0), workers=1)
    for _, counts in result.items():
        by = dict(zip(PRODUCTS, counts.reshape(4, 3, CHUNK, CHUNK), strict=True))
        assert (by["confirmed_installed"] <= by["possible_installed"]).all()
        assert (by["confirmed_online"] <= by["confirmed_installed"]).all()
        assert (by["possible_online"] <= by["possible_installed"]).all()
        for counted in by.values():
            assert (np.diff(counted.astype(int), axis=0) <= 0).all()


def test_a_camera_that_is_off_sees_nothing_and_one_of_unknown_state_nothing_for_sure():
    columns = register(n=1) | {"azimuth_deg": [40.0], "ptz_type": [3], "x": [100.0], "y": [100.0]}
    areas = {}
    for status in ("on", "off", "unknown", None):
        result = compute(columns | {"net_status": [status]}, workers=1)
        areas[status] = [result.area_m2(product) for product in PRODUCTS]
    seen = areas["on"][0]
    assert seen > 100
    assert areas["on"] == [seen] * 4
    assert areas["off"] == [seen, seen, 0, 0]
    assert areas["unknown"] == areas[None] == [seen, seen, 0, seen]


def test_without_direction_everything_is_possible_and_nothing_confirmed():
    columns = {"x": [100.5], "y": [100.5], "view_dist_m": [40.0], "vfov_deg": [180.0], "res_w_px": [10_000]}
    result = compute(columns, workers=1)
    assert result.area_m2("confirmed_installed") == 0
    assert result.area_m2("possible_installed") == pytest.approx(math.pi * 40**2, rel=0.01)
    assert any("direction unknown" in line for line in result.assumptions)
    assert any("flat ground" in line for line in result.assumptions)


def test_sector_area_and_blind_zone_on_flat_ground():
    # 60 degrees out to 60 m, lower edge of the picture 45 degrees down from 10 m: blind up to 10 m
    columns = {
        "x": [0.5],
        "y": [0.5],
        "azimuth_deg": [200.0],
        "hfov_deg": [60.0],
        "vfov_deg": [60.0],
        "tilt_deg": [15.0],
    }
    result = compute(columns | {"mount_height_m": [10.0], "view_dist_m": [60.0], "res_w_px": [9000]}, workers=1)
    assert result.area_m2("confirmed_installed") == pytest.approx(math.pi * (60**2 - 10**2) / 6, rel=0.02)


@pytest.mark.parametrize("kind", ["move", "add", "remove", "switch"])
def test_a_change_equals_a_full_run_to_the_bit(kind):
    surface, table = town(side=500.0, buildings=50), prepare(register(n=30, side=500.0))
    every = np.arange(30)
    if kind == "move":
        columns = register(n=30, side=500.0)
        columns["x"] = columns["x"].copy()
        columns["x"][4] += 130.0
        after_all = prepare(columns)
        before, after = table.take([4]), after_all.take([4])
    elif kind == "add":
        before, after, after_all = None, table.take([4]), table
        table = table.take(every[every != 4])
    elif kind == "remove":
        before, after, after_all = table.take([4]), None, table.take(every[every != 4])
    else:
        state = 0 if table.online[4] else 1
        after_all = table.switched([4], state)
        before, after = table.take([4]), after_all.take([4])
    old = compute(table, surface)
    change = update(old, surface, before=before, after=after)
    full = compute(after_all, surface)
    assert change.result.same_as(full)
    assert change.result.fingerprint == full.fingerprint
    assert change.result.assumptions == full.assumptions
    assert not old.same_as(full)
    assert {k for k in set(old.chunks) | set(full.chunks) if old.chunks.get(k) != full.chunks.get(k)} == set(
        change.chunks
    )


def test_a_change_on_another_surface_or_of_a_camera_that_is_not_there_is_refused():
    surface, table = town(), prepare(register())
    result = compute(table, surface)
    with pytest.raises(Conflict):
        update(result, town(seed=2), before=table.take([0]))
    other = prepare(register(seed=9) | {"id": [f"d{i}" for i in range(12)]})
    with pytest.raises((DataError, InputError)):
        update(compute(table.take([0]), surface), surface, before=other)


def test_every_unseen_cell_has_a_cause_and_every_seen_one_has_none():
    surface, table = town(buildings=15, side=120.0), prepare(register(n=10, side=120.0))
    result = compute(table, surface)
    rows, cols = np.mgrid[-20:140, -20:140]
    seen = result.window(-20, -20, 160, 160)
    found = set()
    for product in PRODUCTS:
        for density in (20.0, 40.0):
            why = explain(table, surface, cols.ravel() + 0.5, rows.ravel() + 0.5, product=product, density_px_m=density)
            covered = seen[result.band(product, density)].ravel() > 0
            np.testing.assert_array_equal(why.cause == Cause.SEEN, covered)
            found |= set(why.cause.tolist())
            assert all(name is None for name in why.camera[why.cause == Cause.NO_CAMERA])
    assert {0, 1, 2, 4, 5, 6, 9} <= found


@pytest.mark.parametrize(
    ("cause", "camera", "place"),
    [
        (Cause.NO_CAMERA, {}, (0.5, 300.5)),
        (Cause.WRONG_ANGLE, {}, (0.5, -20.5)),
        (Cause.BLIND_ZONE, {}, (0.5, 2.5)),
        (Cause.BUILDING, {}, (0.5, 45.5)),
        (Cause.TERRAIN, {"azimuth_deg": [90.0]}, (65.5, 0.5)),
        (Cause.DENSITY, {"res_w_px": [640]}, (0.5, 30.0)),
        (Cause.DIRECTION_UNKNOWN, {"azimuth_deg": [None]}, (0.5, 20.5)),
        (Cause.OFFLINE, {"net_status": ["off"]}, (0.5, 20.5)),
        (Cause.STATUS_UNKNOWN, {"net_status": ["unknown"]}, (0.5, 20.5)),
        (Cause.WRONG_ANGLE, {"ptz_type": [1]}, (0.5, -20.5)),
        (Cause.SEEN, {}, (0.5, 20.5)),
    ],
)
def test_causes_of_known_cases(cause, camera, place):
    # a camera that looks north, a building 35 m off across its view; to the east a ridge 50 m off
    ridge = np.zeros((300, 300), dtype=np.float32)
    ridge[:, 195:205] = 30.0
    surface = Surface(
        cell_m=1.0,
        terrain=Terrain(ridge, -150.0, 150.0, 1.0, 1.0),
        dem_missing_m=0.0,
        buildings=Buildings.from_polygons([shapely.box(-40, 35, 40, 40)], [20.0]),
    )
    usual = {
        "x": [0.5],
        "y": [0.5],
        "azimuth_deg": [0.0],
        "hfov_deg": [90.0],
        "res_w_px": [8000],
        "net_status": ["on"],
        "ptz_type": [3],
    }
    why = explain(prepare(usual | camera), surface, [place[0]], [place[1]])
    assert Cause(int(why.cause[0])) is cause
    assert why.camera[0] == (None if cause is Cause.NO_CAMERA else "0")
    assert Cause(int(why.cause[0])).zh


def test_views_add_up_to_the_counts():
    surface, table = town(), prepare(register())
    result = compute(table, surface)
    rows, cols = 512, 512
    total = np.zeros((2, rows, cols), dtype=np.int64)
    for view in views(table, surface):
        r, c = view.row + 150, view.col + 150
        total[0, r : r + view.confirmed.shape[0], c : c + view.confirmed.shape[1]] += view.confirmed > 0
        total[1, r : r + view.possible.shape[0], c : c + view.possible.shape[1]] += view.possible > 0
        assert view.polygon(confirmed=False).area == pytest.approx(view.area_m2(confirmed=False))
    np.testing.assert_array_equal(total[0], result.window(-150, -150, rows, cols)[result.band("confirmed_installed")])
    np.testing.assert_array_equal(total[1], result.window(-150, -150, rows, cols)[result.band("possible_installed")])


def test_what_only_one_camera_sees_is_what_goes_with_it():
    surface, table = town(), prepare(register())
    result = compute(table, surface)
    lost = seen_only_by(table, surface, result, product="confirmed_online")
    for i, name in enumerate(table.id):
        without = compute(table.take(np.arange(len(table)) != i), surface)
        assert lost[name] == result.area_m2("confirmed_online") - without.area_m2("confirmed_online")
    assert max(lost.values()) > 0


def test_privacy_is_the_share_of_the_view_on_plots():
    columns = {
        "x": [0.5],
        "y": [0.5],
        "azimuth_deg": [0.0],
        "hfov_deg": [60.0],
        "vfov_deg": [90.0],
        "tilt_deg": [0.0],
        "view_dist_m": [50.0],
        "res_w_px": [9000],
    }
    table = prepare(columns)
    east_half = shapely.box(1.0, -100, 100, 100)
    (found,) = privacy(table, Surface(cell_m=1.0), np.array([east_half]))
    assert found.share == pytest.approx(0.5, abs=0.02)
    assert found.mask.area == pytest.approx(found.on_m2)
    assert east_half.contains(found.mask)
    (none,) = privacy(table, Surface(cell_m=1.0), np.array([shapely.box(500, 500, 600, 600)]))
    assert none.share == 0
    assert none.mask.is_empty


def test_progress_cancel_and_taking_up_again(tmp_path):
    surface, table = town(side=700.0, buildings=40), prepare(register(n=40, side=700.0))
    steps = []
    whole = compute(table, surface, tile_size=256, progress=lambda done, total: steps.append((done, total)))
    total = steps[-1][1]
    assert [done for done, _ in steps] == list(range(total + 1))
    asked = []

    def stop():
        asked.append(1)
        return len(asked) > 5

    with pytest.raises(Cancelled):
        compute(table, surface, tile_size=256, workers=1, store=tmp_path, cancel=stop)
    kept = len(list(tmp_path.rglob("*.tile")))
    assert 0 < kept < total
    steps.clear()
    again = compute(
        table, surface, tile_size=256, store=tmp_path, progress=lambda done, total: steps.append((done, total))
    )
    assert steps[0] == (kept, total)
    assert again.same_as(whole)
    # a tile that was cut short is not trusted
    broken = next(tmp_path.rglob("*.tile"))
    broken.write_bytes(broken.read_bytes()[:-7])
    assert compute(table, surface, tile_size=256, store=tmp_path).same_as(whole)
    # other cameras do not find these tiles
    steps.clear()
    compute(
        table.take([0, 1]),
        surface,
        tile_size=256,
        store=tmp_path,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert steps[0][0] == 0


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"cell_m": 0.001}, LimitExceeded),
        ({"cell_m": 0.0}, InputError),
        ({"mode": "guess"}, InputError),
        ({"target_height_m": -1.0}, InputError),
        ({"tile_size": 0}, InputError),
        ({"densities_px_m": (250.0,)}, InputError),
        ({"densities_px_m": ()}, InputError),
    ],
)
def test_nonsense_is_refused(more, error):
    with pytest.raises(error):
        compute(register(), **more)


def test_work_without_end_is_refused():
    n = 400_000
    with pytest.raises(LimitExceeded, match="cells"):
        compute(
            {
                "x": np.zeros(n),
                "y": np.zeros(n),
                "id": np.arange(n),
                "view_dist_m": np.full(n, 400.0),
                "res_w_px": np.full(n, 20_000),
            },
            cell_m=0.2,
        )
    with pytest.raises(LimitExceeded, match="one tile"):
        compute(
            {
                "x": np.zeros(70_000),
                "y": np.zeros(70_000),
                "id": np.arange(70_000),
                "view_dist_m": np.full(70_000, 3.0),
            },
            workers=1,
        )


def test_half_a_terrain_rejects_the_cameras_without_ground():
    heights = np.zeros((10, 10), dtype=np.float32)
    heights[:, 5:] = np.nan
    surface = Surface(cell_m=1.0, terrain=Terrain(heights, 0.0, 300.0, 30.0, 30.0))
    result = compute(
        {"id": ["ground", "void", "abroad"], "x": [50.0, 250.0, 9000.0], "y": [100.0] * 3, "azimuth_deg": [90.0] * 3},
        surface,
    )
    assert {r.id: r.reason for r in result.rejected} == {"void": "no_terrain", "abroad": "outside"}
    assert result.cameras == 1
    # it looks towards the void, and what has no ground is never counted as seen
    assert result.area_m2("confirmed_installed") > 0
    assert not result.window(0, 151, 300, 150).any()


def test_a_camera_inside_a_building_is_moved_to_its_edge():
    surface = Surface(cell_m=1.0, buildings=Buildings.from_polygons([shapely.box(0, 0, 40, 20)], [12.0]))
    usual = {"y": [10.5], "azimuth_deg": [0.0], "view_dist_m": [50.0]}
    on_wall = compute(usual | {"x": [20.5], "mount_height_m": [5.0]}, surface)
    free = compute(usual | {"x": [20.5], "y": [20.5], "mount_height_m": [5.0]}, surface)
    assert on_wall.same_as(free)
    assert on_wall.tally[Assumed.MOVED] == 1
    assert any("moved to its edge" in line for line in on_wall.assumptions)
    on_roof = compute(usual | {"x": [20.5], "mount_height_m": [15.0]}, surface)
    edge = compute(usual | {"x": [20.5], "y": [19.5], "mount_height_m": [15.0]}, surface)
    assert on_roof.same_as(edge)
    deep = Surface(cell_m=1.0, buildings=Buildings.from_polygons([shapely.box(-500, -500, 500, 500)], [12.0]))
    refused = compute({"x": [0.0], "y": [0.0], "azimuth_deg": [0.0], "mount_height_m": [5.0]}, deep)
    assert [r.reason for r in refused.rejected] == ["inside_building"]


def test_plain_frames_and_arrays_give_the_same_and_no_terrain_is_said():
    """A GeoDataFrame in degrees with buildings of one, arrays in metres with footprints: one result; neither has a terrain model."""
    columns = {**register(n=6), "net_status": ["on"] * 6}
    place = pyproj.Transformer.from_crs(4546, 4490, always_xy=True)
    x, y = np.asarray(columns.pop("x")) + 500_000, np.asarray(columns.pop("y")) + 3_400_000
    houses = [shapely.box(500_040 + 30 * k, 3_400_050, 500_055 + 30 * k, 3_400_120) for k in range(4)]
    heights = [9.0, 12.0, np.nan, -3.0]
    lon, lat = place.transform(x, y)
    cameras = gpd.GeoDataFrame(columns, geometry=gpd.points_from_xy(lon, lat), crs=4490)
    buildings = gpd.GeoDataFrame({"height_m": heights}, geometry=houses, crs=4546)
    framed = compute(cameras, buildings=buildings, crs=4546)
    arrays = compute({**columns, "x": x, "y": y}, buildings=Buildings.from_polygons(houses, heights), crs=4546)
    assert framed.area_m2("confirmed_installed") > 0
    assert framed.same_as(arrays)
    for result in (framed, arrays):
        assert any("no terrain model" in line for line in result.assumptions)
        assert any("2 buildings" in line or "2 of" in line for line in result.assumptions), result.assumptions


def test_no_cameras_give_an_empty_result():
    result = compute({"x": [], "y": []})
    assert result.chunks == {}
    assert result.area_m2("possible_installed") == 0


def test_sensitivity_moves_only_what_was_assumed():
    columns = {"x": [0.5, 300.5], "y": [0.5, 0.5], "azimuth_deg": [0.0, 0.0], "view_dist_m": [50.0, None]}
    columns |= {
        "vfov_deg": [90.0, 90.0],
        "tilt_deg": [30.0, 30.0],
        "mount_height_m": [6.0, 6.0],
        "res_w_px": [8000, 8000],
    }
    found = {s.assumption: s for s in sensitivity(columns, Surface(cell_m=1.0), change=0.2)}
    assert set(found) == {"hfov_deg", "view_dist_m"}
    reach = found["view_dist_m"]
    assert (reach.cameras, reach.assumed, reach.low, reach.high) == (1, 100.0, 80.0, 120.0)
    # the second camera's sector grows and shrinks with the square of its range
    assert reach.area_high_m2 - reach.area_m2 == pytest.approx(math.pi / 6 * (120**2 - 100**2), rel=0.02)
    assert reach.area_m2 - reach.area_low_m2 == pytest.approx(math.pi / 6 * (100**2 - 80**2), rel=0.02)
    assert found["hfov_deg"].cameras == 2
    assert found["hfov_deg"].swing == pytest.approx(0.2, abs=0.01)
    with pytest.raises(InputError):
        sensitivity(columns, Surface(cell_m=1.0), change=2.0)
