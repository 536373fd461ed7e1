"""Viewsheds against a plain line-of-sight reference, against cases with known answers, and under changes that must not matter."""

import math

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gis.errors import InputError, LimitExceeded
from gis.visibility import Buildings, Observer, Surface, Terrain, viewshed, viewsheds
from tests.unit.gis import sight_reference as plain


def rough(seed, size=41, blocks=10, noise=(0.0, 0.3, 2.0)):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(size, size)).astype(np.float32) * rng.choice(noise)
    z += np.linspace(0, rng.normal() * 5, size, dtype=np.float32)[:, None]
    for _ in range(blocks):
        r, c = rng.integers(0, size - 6, 2)
        z[r : r + rng.integers(1, 7), c : c + rng.integers(1, 7)] += np.float32(rng.uniform(2, 20))
    return z


def see(z, row, col, *, eye=6.0, radius=15, target=0.0, cell=1.0, mode="exact", **more):
    surface = Surface.from_array(z, cell_m=cell)
    observer = Observer(
        x=(col + 0.5) * cell, y=(row + 0.5) * cell, eye_height_m=eye, radius_m=radius * cell, base="surface", **more
    )
    shed = viewshed(surface, observer, target_height_m=target, mode=mode)
    out = np.zeros(z.shape, dtype=np.uint8)
    r0, c0 = max(shed.row, 0), max(shed.col, 0)
    part = shed.seen[r0 - shed.row : z.shape[0] - shed.row, c0 - shed.col : z.shape[1] - shed.col]
    out[r0 : r0 + part.shape[0], c0 : c0 + part.shape[1]] = part
    return out


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("cell", [1.0, 5.0])
def test_exact_is_the_plain_reference_cell_by_cell(seed, cell):
    z = rough(seed)
    rng = np.random.default_rng(seed + 100)
    row, col = (int(v) for v in rng.integers(14, 27, 2))
    eye, target = float(rng.choice([1.5, 4.0, 12.0])), float(rng.choice([0.0, 1.7]))
    expected = plain.viewshed(z, row, col, float(z[row, col]) + eye, radius=13, target_m=target, cell_m=cell)
    assert 10 < expected.sum() < (13 * 2 + 1) ** 2
    np.testing.assert_array_equal(see(z, row, col, eye=eye, radius=13, target=target, cell=cell), expected)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6), st.floats(0.2, 30), st.sampled_from([0.0, 1.0]), st.floats(1, 9.9))
def test_exact_is_the_plain_reference_on_any_surface(seed, eye, target, radius):
    z = rough(seed, size=23, blocks=4)
    expected = plain.viewshed(z, 11, 11, float(z[11, 11]) + eye, radius=radius, target_m=target)
    np.testing.assert_array_equal(see(z, 11, 11, eye=eye, radius=radius, target=target), expected)


def test_fast_agrees_with_exact():
    common = either = 0
    for seed in range(12):
        z = rough(seed, size=161, blocks=60)
        exact = see(z, 80, 80, eye=8.0, radius=75, target=1.7)
        fast = see(z, 80, 80, eye=8.0, radius=75, target=1.7, mode="fast")
        common += int((exact & fast).sum())
        either += int((exact | fast).sum())
    assert common / either >= 0.97


@pytest.mark.parametrize("seed", range(6))
def test_the_fast_mode_over_distances_at_which_its_rays_multiply(seed):
    # far beyond its least number of rays, over terrain, in sectors and with threads
    rng = np.random.default_rng(seed)
    z = rough(seed, size=461, blocks=300, noise=(0.0, 0.1, 0.3))
    whole = see(z, 230, 230, eye=9.0, radius=225, target=1.7, mode="fast")
    azimuth, width = float(rng.uniform(0, 360)), float(rng.uniform(20, 340))
    part = see(z, 230, 230, eye=9.0, radius=225, target=1.7, mode="fast", azimuth_deg=azimuth, view_deg=width)
    rows, cols = np.indices(z.shape)
    away = np.abs((np.degrees(np.arctan2(cols - 230, rows - 230)) - azimuth + 180) % 360 - 180)
    inside = (away < width / 2) | ((rows == 230) & (cols == 230))
    unsure = np.abs(away - width / 2) < 1e-6
    differ = ((part > 0) != ((whole > 0) & inside)) & ~unsure
    assert differ.sum() <= 1e-3 * inside.sum()  # the last digit of a float32 may fall otherwise
    exact = see(z, 230, 230, eye=9.0, radius=225, target=1.7)
    assert (exact & whole).sum() / (exact | whole).sum() > 0.95
    surface = Surface.from_array(z, cell_m=1.0)
    observer = Observer(x=230.5, y=230.5, eye_height_m=9.0, radius_m=225, base="surface")
    one, three = (viewshed(surface, observer, target_height_m=1.7, mode="fast", workers=n) for n in (1, 3))
    np.testing.assert_array_equal(one.seen, three.seen)


def test_the_fast_mode_sees_all_of_a_plain_and_nothing_behind_a_ring():
    z = np.zeros((301, 301), dtype=np.float32)
    rows, cols = np.indices(z.shape)
    distance = np.hypot(rows - 150, cols - 150)
    flat = see(z, 150, 150, eye=6.0, radius=145, mode="fast")
    np.testing.assert_array_equal(flat > 0, distance <= 145)
    z[(distance > 98) & (distance < 102)] = 30.0
    ring = see(z, 150, 150, eye=6.0, radius=145, mode="fast")
    assert (ring[distance < 97] == 1).all()
    assert not ring[(distance > 103) & (distance <= 145)].any()


def test_a_wall_hides_what_lies_in_its_shadow():
    # eye 6 m up, wall 3 m high and 10 m away: its shadow on the ground ends at 20 m
    z = np.zeros((7, 61), dtype=np.float32)
    z[:, 15] = 3.0
    seen = see(z, 3, 5, eye=6.0, radius=50)[3]
    assert seen[5:16].all()
    assert not seen[16:25].any()
    assert seen[26:55].all()  # at 25 it grazes, and curvature decides


def test_a_step_up_hides_its_plateau_only_from_below():
    z = np.zeros((5, 61), dtype=np.float32)
    z[:, 30:] = 10.0
    assert not see(z, 2, 5, eye=6.0, radius=50)[2, 31:].any()
    assert see(z, 2, 5, eye=10.5, radius=50)[2, 31:55].all()
    # from the edge of the plateau the ground below is open; one step back the edge cuts off a strip of known width
    assert see(z, 2, 30, eye=2.0, radius=28)[2, 2:30].all()
    back = see(z, 2, 34, eye=2.0, radius=32)[2]
    # the edge at column 30, 4 m off, is 2 m below the eye: the line falls 0.5 m per metre and meets the ground 20 m beyond the edge
    assert not back[11:30].any()
    assert back[3:10].all()


def test_the_far_side_of_a_cone_is_hidden():
    rows, cols = np.indices((81, 81))
    z = np.maximum(0, 20.0 - np.hypot(rows - 40, cols - 40)).astype(np.float32)
    seen = see(z, 40, 5, eye=2.0, radius=74)
    assert seen[40, 5:41].all()
    assert not seen[40, 42:].any()
    # lines that pass beside the foot of the cone stay open
    assert seen[5, 40]
    assert seen[75, 40]


def test_a_camera_above_a_roof_looks_over_the_edge():
    # roof 9 m, eye 3 m over it, 4 m behind the edge: the first ground in view is at 4 m + 4 m * 9 / 3 = 16 m
    z = np.zeros((3, 61), dtype=np.float32)
    z[:, :10] = 9.0
    seen = see(z, 1, 5, eye=3.0, radius=50)[1]
    assert seen[:10].all()
    assert not seen[10:21].any()
    assert seen[21:].any()
    assert seen[22:50].all()


def test_curvature_hides_the_far_bank():
    # eye 2 m over flat water: horizon at sqrt(2 R h / (1 - k)) = 5,411 m; a target 2 m high shows up to twice as far
    cell = 50.0
    z = np.zeros((3, 301), dtype=np.float32)
    surface = Surface.from_array(np.repeat(z, 101, axis=0), cell_m=cell)
    observer = Observer(x=25.0, y=151 * cell + 25, eye_height_m=2.0, radius_m=14_000)
    row = viewshed(surface, observer).seen[viewshed(surface, observer).seen.shape[0] // 2]
    middle = len(row) // 2
    horizon = math.sqrt(2 * 6_371_000 * 2.0 / (1 - 0.13))
    last = (np.flatnonzero(row[middle:]).max()) * cell
    assert abs(last - horizon) <= 2 * cell
    tall = viewshed(surface, observer, target_height_m=2.0).seen[len(row) // 2]
    assert abs(np.flatnonzero(tall[middle:]).max() * cell - 2 * horizon) <= 3 * cell


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3]), st.sampled_from(["exact", "fast"]))
def test_turning_the_world_turns_the_answer(seed, quarter, mode):
    z = rough(seed, size=41)
    still = see(z, 20, 20, radius=19, azimuth_deg=30.0, view_deg=100.0, mode=mode)
    # np.rot90 turns counter-clockwise as printed; with row 0 in the south that is clockwise on the map
    turned = see(
        np.ascontiguousarray(np.rot90(z, quarter)),
        20,
        20,
        radius=19,
        azimuth_deg=(30.0 + 90 * quarter) % 360,
        view_deg=100.0,
        mode=mode,
    )
    np.testing.assert_array_equal(np.rot90(still, quarter), turned)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 20), st.integers(0, 40), st.integers(0, 40))
def test_a_taller_wall_never_shows_more_behind_it(seed, extra, row, col):
    z = rough(seed, size=41, blocks=4)
    if (row, col) == (20, 20):
        return
    before = see(z, 20, 20, radius=19)
    taller = z.copy()
    taller[row, col] += np.float32(extra)
    after = see(taller, 20, 20, radius=19)
    after[row, col] = before[row, col]  # the top of the wall itself may come into view
    assert not (after & ~before & 1).any()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 360), st.floats(1, 359))
def test_a_sector_is_the_cut_of_the_circle(seed, azimuth, width):
    z = rough(seed, size=41)
    whole = see(z, 20, 20, radius=19)
    part = see(z, 20, 20, radius=19, azimuth_deg=azimuth, view_deg=width)
    rows, cols = np.indices(z.shape)
    bearing = np.degrees(np.arctan2(cols - 20, rows - 20))
    away = np.abs((bearing - azimuth + 180) % 360 - 180)
    away[20, 20] = 0
    sure = np.abs(away - width / 2) > 1e-6
    np.testing.assert_array_equal(part[sure], (whole * (away < width / 2))[sure])


def test_unknown_ground_is_never_seen_and_hides_what_is_behind():
    heights = np.zeros((41, 41), dtype=np.float32)
    heights[:, 25] = np.nan
    surface = Surface(cell_m=1.0, terrain=Terrain(heights, 0.0, 41.0, 1.0, 1.0))
    shed = viewshed(surface, Observer(x=20.5, y=20.5, eye_height_m=30, radius_m=15))
    row = shed.seen[shed.seen.shape[0] // 2]
    assert row[16 - 5 : 16 + 5].all()
    assert not row[16 + 5 :].any()
    with pytest.raises(InputError, match="not known"):
        viewshed(surface, Observer(x=25.5, y=20.5, eye_height_m=3, radius_m=5))
    declared = Surface(cell_m=1.0, terrain=surface.terrain, dem_missing_m=0.0)
    assert viewshed(declared, Observer(x=20.5, y=20.5, eye_height_m=30, radius_m=15)).seen[16, 16 + 5 : 31].all()
    assert "0 m assumed" in declared.assumptions[0]


def test_many_observers_give_what_each_gives_alone():
    surface = Surface.from_array(rough(5, size=81), cell_m=1.0)
    rng = np.random.default_rng(1)
    watchers = [
        Observer(x=float(x), y=float(y), eye_height_m=25.0, radius_m=20) for x, y in rng.uniform(25, 55, (9, 2))
    ]
    for one, alone in zip(
        viewsheds(surface, watchers, workers=2), [viewshed(surface, o) for o in watchers], strict=True
    ):
        assert (one.row, one.col) == (alone.row, alone.col)
        np.testing.assert_array_equal(one.seen, alone.seen)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"view_deg": 0.0}, InputError),
        ({"view_deg": 400.0}, InputError),
        ({"eye_height_m": -1.0}, InputError),
        ({"x": math.nan}, InputError),
        ({"radius_m": 0.0}, InputError),
        ({"radius_m": 50_000.0}, LimitExceeded),
        ({"base": "roof"}, InputError),
    ],
)
def test_nonsense_is_refused(change, error):
    usual = {"x": 0.5, "y": 0.5, "eye_height_m": 5.0, "radius_m": 10.0}
    with pytest.raises(error):
        viewshed(Surface(cell_m=1.0), Observer(**{**usual, **change}))


def test_heights_of_buildings_that_cannot_be_are_assumed_and_told_or_refused():
    shapes = [shapely.box(10 * i, 0, 10 * i + 5, 5) for i in range(4)]
    heights = [-3.0, np.nan, 12.0, 5000.0]
    found = Buildings.from_polygons(shapes, heights)
    assert list(found.height_m) == [9.0, 9.0, 12.0, 9.0]
    assert list(found.unknown) == [True, True, False, True]
    told = Surface(cell_m=1.0, buildings=found).assumptions
    assert any("1 buildings of unknown height: 9 m assumed" in line for line in told)
    assert any("2 buildings with an impossible height: 9 m assumed" in line for line in told)
    with pytest.raises(InputError):
        Buildings.from_polygons(shapes, heights, on_error="raise")
    with pytest.raises(InputError, match="none is assumed"):
        Buildings.from_polygons(shapes, heights, height_unknown_m=None)


def test_cells_of_a_millimetre_are_refused():
    with pytest.raises(LimitExceeded, match=r"0\.001 m"):
        Surface(cell_m=0.001)


def test_no_kernel_may_round_otherwise_where_it_is_compiled_otherwise():
    """A kernel has several compiled copies; read from disk another one may run than the one compiled in the process."""
    from numba.core.registry import CPUDispatcher

    import gis.coverage_kernel
    import gis.siting_kernels
    import gis.visibility_fan
    import gis.visibility_fast
    import gis.visibility_isovist_kernel

    modules = (gis.coverage_kernel, gis.siting_kernels, gis.visibility_fan, gis.visibility_fast, gis.visibility_isovist_kernel)
    kernels = [value for module in modules for value in vars(module).values() if isinstance(value, CPUDispatcher)]
    assert gis.visibility_fast.look_fast in kernels
    for kernel in kernels:
        assert kernel.targetoptions.get("fastmath", set()) in (False, set(), {"nnan", "ninf", "nsz"}), kernel
