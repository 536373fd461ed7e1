"""Planted faults are found, named and measured; a clean layout has none."""

import itertools

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.affinity import translate
from shapely.geometry import LineString, MultiPolygon, Point, Polygon, box

from gis.errors import Conflict, InputError
from gis.gridcodes import assign_codes, keepers, reading_order
from gis.layoutcheck import check_pieces, check_points, check_ring, check_road_pieces, check_tiling
from gis.layoutcheck_values import (
    check_balance,
    check_codes,
    check_compactness,
    check_least,
    check_sequence,
    polsby_popper,
)

EAST, NORTH = 530_000, 3_395_000


def cells(columns=6, rows=5, size=100.0):
    """Squares whose common borders wave, so that vertices are many and T-junctions occur."""
    lines = [LineString([(EAST + x * size, NORTH), (EAST + x * size, NORTH + rows * size)]) for x in range(columns + 1)]
    lines += [
        LineString(
            [
                (EAST + t, NORTH + y * size + (5 * np.sin(t / 30) if 0 < y < rows else 0))
                for t in np.linspace(0, columns * size, 61)
            ]
        )
        for y in range(rows + 1)
    ]
    area = box(EAST, NORTH, EAST + columns * size, NORTH + rows * size)
    made = shapely.get_parts(shapely.polygonize(shapely.get_parts(shapely.union_all(lines))))
    return np.array([cell for cell in made if area.buffer(1).contains(cell)], object), area


def kinds(faults):
    return sorted(fault.kind for fault in faults)


def test_a_clean_tiling_has_no_fault():
    shapes, area = cells()
    assert len(shapes) == 30
    result = check_tiling(shapes, [area], tolerance_m=0.0001)
    assert result.faults == ()


@pytest.mark.parametrize("shift", [0.001, 0.5, 20.0])
def test_a_shifted_cell_gaps_and_overlaps(shift):
    shapes, area = cells()
    middle = int(np.argmin(shapely.distance(shapes, area.centroid)))
    moved = shapes.copy()
    moved[middle] = translate(shapes[middle], shift, 0)
    found = check_tiling(moved, [area], tolerance_m=shift / 100).faults
    gaps = [fault for fault in found if fault.kind.startswith("gap")]
    overlaps = [fault for fault in found if fault.kind.startswith("overlap")]
    assert len(gaps) >= 1 and len(overlaps) >= 1
    assert all(middle in fault.units for fault in found)
    expected = shapes[middle].difference(moved[middle]).area
    assert sum(fault.measure for fault in gaps) == pytest.approx(expected, rel=0.02)
    slow = sum(moved[a].intersection(moved[b]).area for a, b in itertools.combinations(range(len(moved)), 2))
    assert sum(fault.measure for fault in overlaps) == pytest.approx(slow, rel=0.02)
    assert any(fault.kind.endswith("sliver") for fault in found) == (shift < 1)
    for fault in found:
        assert fault.place.distance(shapes[middle]) <= shift + 1e-6 and fault.tolerance == shift / 100


def test_below_the_tolerance_it_is_counted_not_listed():
    shapes, area = cells()
    shapes = shapes.copy()
    shapes[7] = translate(shapes[7], 0.004, 0)
    result = check_tiling(shapes, [area], tolerance_m=0.01)
    assert result.faults == () and result.thin >= 2 and result.thin_area_m2 > 0


def test_a_hole_of_a_kilometre_and_an_overlap_of_a_kilometre():
    zones = [box(0, 0, 3000, 4000), box(4000, 0, 8000, 4000), box(2000, 0, 3000, 4000)]
    found = check_tiling(zones, [box(0, 0, 8000, 4000)]).faults
    assert kinds(found) == ["gap", "overlap"]
    assert [fault.measure for fault in sorted(found, key=lambda f: f.kind)] == pytest.approx([4e6, 4e6])
    assert {fault.kind: set(fault.units) for fault in found} == {"gap": {0, 1, 2}, "overlap": {0, 2}}


def test_a_hole_inside_a_zone():
    ring = Polygon([(0, 0), (90, 0), (90, 90), (0, 90)], [[(30, 30), (60, 30), (60, 60), (30, 60)]])
    found = check_tiling([ring], [box(0, 0, 90, 90)]).faults
    assert kinds(found) == ["gap"] and found[0].measure == pytest.approx(900)


def test_a_grid_in_two_zones_is_outside_its_own():
    zones = [box(0, 0, 100, 100), box(100, 0, 200, 100)]
    grids = [box(0, 0, 60, 100), box(60, 0, 140, 100), box(140, 0, 200, 100)]
    found = check_tiling(grids, zones, [0, 0, 1]).faults
    assert kinds(found) == ["gap", "outside_container"]
    outside = next(fault for fault in found if fault.kind == "outside_container")
    assert outside.units == (1,) and outside.measure == pytest.approx(4000)


def test_units_without_container_shape_or_validity():
    bow = Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    found = check_tiling([bow, Polygon(), box(0, 0, 1, 1)], [box(0, 0, 10, 10)], [0, 0, -1]).faults
    assert {"invalid", "empty", "no_container"} <= set(kinds(found))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 9999))
def test_gaps_and_overlaps_add_up(seed):
    """Area of container = parts - double cover + gaps - what is outside, whatever the parts."""
    rng = np.random.default_rng(seed)
    parts = [box(x, y, x + w, y + h) for x, y, w, h in rng.uniform(0, 60, (2, 4))]
    area = box(10, 10, 90, 90)
    found = check_tiling(parts, [area], tolerance_m=0).faults
    total = {kind: sum(f.measure for f in found if f.kind.startswith(kind)) for kind in ("gap", "overlap", "outside")}
    union = shapely.union_all(parts)
    assert total["gap"] == pytest.approx(area.difference(union).area, abs=1e-6)
    assert total["overlap"] == pytest.approx(sum(p.area for p in parts) - union.area, abs=1e-6)
    assert total["outside"] == pytest.approx(sum(p.difference(area).area for p in parts), abs=1e-6)


@pytest.mark.parametrize(
    ("ring", "expected", "spot"),
    [
        (LineString([(0, 0), (9, 0), (9, 9), (0, 9), (0, 0)]), [], None),
        (box(0, 0, 9, 9), [], None),
        (LineString([(0, 0), (9, 0), (9, 9), (0, 9), (0, 0.2)]), ["ring_open"], (0, 0.1)),
        (LineString([(0, 0), (8, 8), (8, 0), (0, 8), (0, 0)]), ["ring_crosses_itself"], (4, 4)),
        (Polygon([(0, 0), (8, 8), (8, 0), (0, 8)]), ["ring_crosses_itself"], (4, 4)),
        (LineString(), ["ring_missing"], None),
        (None, ["ring_missing"], None),
        (MultiPolygon([box(0, 0, 1, 1), box(5, 5, 6, 6)]), ["ring_in_pieces"], None),
        (Polygon([(0, 0), (9, 0), (9, 9), (0, 9)], [[(3, 3), (6, 3), (6, 6)]]), ["ring_with_holes"], None),
    ],
)
def test_rings(ring, expected, spot):
    found = check_ring(ring)
    assert kinds(found) == expected
    if spot:
        assert found[0].place.distance(Point(spot)) < 0.2


def test_points_in_their_units():
    homes = [box(0, 0, 10, 10), box(10, 0, 20, 10), box(15, 5, 30, 10)]
    xy = [(5, 5), (10, 5), (12, 3), (-4, 3), (17, 7), (5, 5)]
    found = check_points(xy, homes, [0, 1, 0, 0, 1, -1])
    assert {(fault.units[0], fault.kind) for fault in found} == {
        (2, "point_outside_container"),
        (3, "point_outside_all"),
        (4, "point_in_several"),
        (5, "no_container"),
    }
    assert next(f for f in found if f.units[0] == 2).measure == pytest.approx(2)
    assert next(f for f in found if f.units[0] == 3).measure == pytest.approx(4)


def test_pieces():
    whole = MultiPolygon([box(0, 0, 1, 1), box(1, 0, 2, 1)])
    corner = MultiPolygon([box(0, 0, 1, 1), box(1, 1, 2, 2)])
    found = check_pieces([whole, corner, box(0, 0, 1, 1)])
    assert [(fault.units, fault.measure) for fault in found] == [((1,), 2)]


def test_a_unit_cut_by_a_river_without_a_bridge():
    xy = [(10, 10), (90, 10), (10, 90), (90, 90), (150, 10), (150, 90), (50, 10), (50, 90)]
    ends = [(0, 6), (6, 1), (2, 7), (7, 3), (1, 4), (4, 5), (5, 3)]
    length = [40, 40, 40, 40, 60, 80, 60]
    unit = [box(0, 0, 100, 100)]
    found = check_road_pieces(unit, xy, ends, length)
    assert [fault.kind for fault in found] == ["not_connected_by_road"] and found[0].measure == pytest.approx(0.5)
    assert check_road_pieces(unit, xy, [*ends, (6, 7)], [*length, 80]) == []
    assert check_road_pieces([box(0, 0, 200, 100)], xy, ends, length) == []


def test_balance_compactness_and_quotas():
    assert [fault.units for fault in check_balance([10, 10, 10, 14], tolerance=0.1)] == [(3,)]
    assert kinds(check_balance([0, 0], tolerance=0.1)) == ["weights_zero"]
    assert check_balance([100, 103, 97], tolerance=0.03) == []
    assert polsby_popper([Point(0, 0).buffer(1, quad_segs=200)])[0] == pytest.approx(1, abs=1e-3)
    assert [fault.units for fault in check_compactness([box(0, 0, 1, 1), box(0, 0, 100, 1)])] == [(1,)]
    found = check_least("under_quota", [3, 2, np.nan], 3)
    assert [(fault.units, fault.kind) for fault in found] == [((1,), "under_quota"), ((2,), "under_quota_unknown")]


def test_codes():
    codes = [
        "420502001001001",
        "420502001002001",
        "42050200100100",
        "420502001001000",
        None,
        "420502001001001",
        "420502001001009",
    ]
    prefix = ["420502001001"] * 7
    found = check_codes(codes, prefix, void=["420502001001009"])
    assert {(fault.units[0], fault.kind) for fault in found} == {
        (1, "code_prefix"),
        (2, "code_form"),
        (3, "code_form"),
        (4, "code_missing"),
        (5, "code_twice"),
        (6, "code_void"),
    }
    assert check_codes(["420502001002"], ["420502001"], length=12) == []


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 9999), count=st.integers(1, 60), band=st.one_of(st.none(), st.floats(10, 800)))
def test_what_is_assigned_in_order_passes_the_check(seed, count, band):
    xy = np.random.default_rng(seed).uniform(0, 1000, (count, 2))
    plan = assign_codes(["420502001001"] * count, xy, band_m=band)
    assert sorted(int(code[-3:]) for code in plan.codes) == list(range(1, count + 1))
    assert check_sequence(plan.codes, xy) == []
    assert check_codes(plan.codes, ["420502001001"] * count) == []


def test_two_swapped_numbers_are_found():
    xy = [(x, -y) for y in range(5) for x in range(5)]
    codes = [f"420502001001{number + 1:03d}" for number in range(25)]
    codes[3], codes[21] = codes[21], codes[3]
    found = {fault.units[0] for fault in check_sequence(codes, xy)}
    assert found == {3, 21}


def test_a_regular_grid_reads_like_a_page():
    xy = [(x * 100 + (y % 2), -y * 100 + x % 3) for y in range(7) for x in range(9)]
    assert reading_order(xy).tolist() == list(range(63))


def test_codes_are_kept_added_and_retired():
    prefix = ["420502001001", "420502001001", "420502001002", "420502001001"]
    plan = assign_codes(
        prefix,
        [(0, 0), (10, 0), (20, 0), (-5, 0)],
        present=["420502001001001", None, "420502001001002", None],
        former=["420502001001001", "420502001001002", "420502001001003"],
        void=["420502001001007", "420502001002004"],
    )
    assert plan.codes == ("420502001001001", "420502001001009", "420502001002005", "420502001001008")
    assert plan.fresh == (1, 2, 3)
    assert plan.retired == ("420502001001002", "420502001001003")


def test_communities_have_twelve_digits_in_their_range():
    plan = assign_codes(["420502001"] * 3, [(0, 0), (5, 0), (9, 0)], first=200, last=399)
    assert plan.codes == ("420502001200", "420502001201", "420502001202")


def test_a_stray_high_number_does_not_exhaust_a_container():
    plan = assign_codes(["420502001001"] * 3, [(0, 0), (1, 0), (2, 0)], void=["420502001001998", "420502001001002"])
    assert plan.codes == ("420502001001001", "420502001001003", "420502001001004")


@pytest.mark.parametrize(
    ("error", "change"),
    [
        (Conflict, {"present": ["420502001001001", "420502001001001"]}),
        (Conflict, {"present": ["420502001001001", None], "void": ["420502001001001"]}),
        (Conflict, {"void": [f"420502001001{n:03d}" for n in range(1, 999)]}),
        (InputError, {"prefix": ["42050200100x", "420502001001"]}),
        (InputError, {"xy": [(0, 0)]}),
        (InputError, {"xy": [(0, 0), (np.nan, 0)]}),
    ],
)
def test_codes_that_cannot_be_given(error, change):
    good = {"prefix": ["420502001001"] * 2, "xy": [(0, 0), (1, 0)]}
    with pytest.raises(error):
        assign_codes(**{**good, **change})


def test_a_cell_past_999_is_an_error():
    count = 1000
    with pytest.raises(Conflict, match="999"):
        assign_codes(["420502001001"] * count, np.random.default_rng(0).random((count, 2)))


def test_which_cell_continues_which():
    old = [box(0, 0, 10, 10), box(10, 0, 20, 10), box(20, 0, 30, 10)]
    new = [box(0, 0, 11, 10), box(11, 0, 20, 10), box(20, 0, 25, 10), box(25, 0, 30, 10)]
    assert keepers(old, new).tolist() == [0, 1, -1, -1]
    with pytest.raises(InputError):
        keepers(old, new, share=0.3)
