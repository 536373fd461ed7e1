"""Drawing a layout: the river and its bridges, what is pinned, redraws, codes, points, the ring; on towns made by hand and at random."""

import itertools
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse import csgraph

from gis.errors import InputError, InvalidGeometry
from gis.partition_shape import best_balance
from gis.settings import CityConfig, LayoutConfig
from grids.layout import LEVELS, LayoutData
from grids.layout_check import judge_layout
from grids.layout_codes import renumbered
from grids.layout_plan import LayoutPlan, draw_layout
from grids.layout_points import _with_room
from tests.unit.grids.test_layout import area, course, data_of, frame, key, layout_town, put, small_city

NONE = np.zeros(0, object)


def drawn(data: LayoutData, city: CityConfig, **options: object) -> LayoutPlan:
    given = {"weight": "population", "along": NONE, "river": NONE, **options}
    return draw_layout(data, city, **given)  # type: ignore[arg-type]


def as_data(data: LayoutData, plan: LayoutPlan, **more: object) -> LayoutData:
    level = {
        name: plan.units[plan.units["level"] == name].sort_values("code").reset_index(drop=True) for name in LEVELS
    }
    return replace(data, ring=level["ring"], zones=level["zone"], grids=level["grid"], points=level["point"], **more)


def errors(data: LayoutData, plan: LayoutPlan, city: CityConfig) -> list[str]:
    faults = judge_layout(as_data(data, plan), city)[0]
    return [f.text_en for f in faults if f.severity == "error" and f.level is not None]


def river_town(bridge: bool = True) -> tuple[LayoutData, np.ndarray, np.ndarray]:
    """A river of 200 m cuts the town's columns 3 and 4 off: 5 columns of cells west, 1 east, so that two even zones cannot be had."""
    town = layout_town()
    cells = town["grid_cell"]
    west = cells.geometry.bounds["minx"] - cells.geometry.bounds["minx"].min()
    cells.loc[west.isin([500, 600]).to_numpy(), "population"] = 0
    cells.loc[(west == 700).to_numpy(), "population"] = 20
    water = area(500, -50, 700, 450)
    if bridge:
        row = {"id": key("bridge"), "name_zh": "大桥", "road_class": "primary", "bridge": True, "tunnel": False, "osm_layer": 1,
               "geom": course((495, 150), (705, 150))}  # fmt: skip
        town["road"] = gpd.GeoDataFrame([*town["road"].to_dict("records"), row], geometry="geom", crs=4546)
    axis = np.array([course((600, -100), (600, 500))], dtype=object)
    return data_of(town), axis, np.array([water], dtype=object)


def test_the_bound_of_the_walls_is_the_best_there_is() -> None:
    """Against all ways to share parts out over pieces."""
    rng = np.random.default_rng(4)
    for _ in range(200):
        pieces, number = int(rng.integers(1, 4)), int(rng.integers(4, 9))
        load = rng.uniform(0.2, 5.0, pieces)
        target = load.sum() / number
        ways = [n for n in itertools.product(range(1, number + 1), repeat=pieces) if sum(n) == number]
        best = min(float(np.abs(load / np.array(n) / target - 1).max()) for n in ways)
        bound, share = best_balance(load, number, target)
        assert bound == pytest.approx(best)
        assert share.sum() == number and np.abs(load / share / target - 1).max() == pytest.approx(best)


def test_what_the_river_forbids_is_proven_and_a_bridge_may_help(city: CityConfig) -> None:
    data, axis, water = river_town()
    wanted = small_city(city)
    apart = drawn(data, wanted, along=axis, river=axis, water=water)
    [note] = [n for n in apart.notes if n.kind == "walls_forbid"]
    # 20 cells of 10 people west, 4 of 20 east: at best one zone of 200 and one of 80, where 140 is wanted
    assert apart.figures["levels"][0]["bound"] == pytest.approx(60 / 140, abs=1e-3)
    assert apart.figures["levels"][0]["imbalance"] == pytest.approx(60 / 140, abs=1e-3)
    assert "42.9%" in note.text
    joined = drawn(data, wanted, along=axis, river=axis, water=water, across=True)
    assert joined.figures["levels"][0]["imbalance"] <= 0.03
    assert joined.figures["levels"][0]["contiguous"]
    assert len(joined.drawn.across) == 1
    assert errors(data, joined, wanted) == []
    no_bridge, axis, water = river_town(bridge=False)
    assert (
        drawn(no_bridge, wanted, along=axis, river=axis, water=water, across=True).figures["levels"][0]["imbalance"]
        > 0.4
    )


def test_a_layout_that_holds_is_not_changed_by_a_redraw(city: CityConfig) -> None:
    data, wanted = data_of(layout_town()), small_city(city)
    first = drawn(data, wanted, keep=True)
    assert first.moved == ()
    assert first.retired == ()
    units = first.units.set_index("code")
    for frame_ in (data.zones, data.grids):
        for row in frame_.itertuples():
            assert units.loc[row.code].geom.symmetric_difference(row.geom).area < 1.0
    points = first.units[first.units["level"] == "point"]
    assert set(points["site_id"]) == set(data.points["site_id"])


def test_a_redraw_after_a_change_moves_little_and_says_what(city: CityConfig) -> None:
    town, wanted = layout_town(), small_city(city)
    put(town, "grid_cell", "420502001001001", "population", 30)  # 20 more people in the north-west
    data = data_of(town)
    plan = drawn(data, wanted, keep=True)
    assert plan.figures["levels"][0]["imbalance"] <= 0.03
    assert plan.figures["levels"][1]["imbalance"] <= 0.13
    moved = [row for row in plan.moved if row["level"] == "zone"]
    assert [(row["from"], row["to"]) for row in moved] == [("Z1", "Z2")]
    assert moved[0]["weight"] <= 20
    assert set(plan.units.loc[plan.units["level"] != "point", "code"]) == {
        "R1",
        "Z1",
        "Z2",
        "Z1-G1",
        "Z1-G2",
        "Z2-G1",
        "Z2-G2",
    }
    assert errors(data, plan, wanted) == []
    anew = drawn(data, wanted)
    assert len(anew.moved) == 0  # a fresh drawing continues nothing


def test_what_is_pinned_does_not_move(city: CityConfig) -> None:
    town, wanted = layout_town(), small_city(city)
    for cell in ("420502001001001", "420502001001002", "420502001001005"):
        put(town, "grid_cell", cell, "population", 60)
    town["layout_unit"]["pinned"] = False
    put(town, "layout_unit", "Z1-G2", "pinned", True)
    data = data_of(town)
    pinned = data.grids[data.grids["code"] == "Z1-G2"].geometry.iloc[0]
    for keep in (True, False):
        plan = drawn(data, wanted, keep=keep, pinned=["Z2-G1-P1"])
        [row] = plan.units[(plan.units["level"] == "grid") & plan.units["pinned"]].itertuples()
        assert row.geom.symmetric_difference(pinned).area < 1.0
        assert row.code == "Z1-G2"
        point = plan.units[plan.units["site_id"] == data.points.set_index("code").loc["Z2-G1-P1"].site_id].iloc[0]
        assert point.pinned
        assert keep is False or point.code == "Z2-G1-P1"
        assert errors(data, plan, wanted) == []
    zone = drawn(data, wanted, keep=True, pinned=["Z1"])
    before = data.zones[data.zones["code"] == "Z1"].geometry.iloc[0]
    assert zone.units[zone.units["code"] == "Z1"].geometry.iloc[0].symmetric_difference(before).area < 1.0
    with pytest.raises(InputError, match="Z9"):
        drawn(data, wanted, pinned=["Z9"])
    with pytest.raises(InputError, match="pinned"):
        drawn(data, wanted, pinned=["R1"], new_ring=True)


def test_what_watches_a_crossing_finds_room_and_a_redraw_keeps_it(city: CityConfig) -> None:
    """All crossings bare: points stand at them beyond the even quotas; drawn again with nothing changed no code is given up."""
    town, wanted = layout_town(), small_city(city)
    for x, y in ((0, 200), (800, 200), (400, 0), (400, 400)):
        put(town, "camera_site", f"crossing {x} {y}", "device_state", "removed")
    data = data_of(town)
    plan = drawn(data, wanted)
    assert errors(data, plan, wanted) == []
    points = plan.units[plan.units["level"] == "point"]
    assert points["site_id"].isna().sum() == 4
    assert len(points) == 12
    again = drawn(as_data(data, plan), wanted, keep=True)
    assert (again.moved, again.retired) == ((), ())
    assert sorted(again.units["code"]) == sorted(plan.units["code"])


def test_room_for_points_is_taken_where_there_is_most() -> None:
    quota = np.array([3, 3, 6], np.int64)
    assert _with_room(quota, np.array([5, 0, 0]), 3).tolist() == [5, 3, 4]
    assert _with_room(quota, np.array([9, 0, 0]), 3).tolist() == [
        9,
        3,
        3,
    ]  # more is needed than there is: the ring goes first
    assert _with_room(quota, np.array([1, 1, 1]), 3).tolist() == [3, 3, 6]


def test_codes_are_kept_counted_on_and_never_used_again() -> None:
    def units(shapes: dict[str, tuple[str, str | None, object]]) -> gpd.GeoDataFrame:
        return frame([{"id": key(name), "level": level, "parent_id": key(parent) if parent else None, "site_id": None, "code": name, "geom": shape}
                      for name, (level, parent, shape) in shapes.items()])  # fmt: skip

    old = units({"R1": ("ring", None, area(0, 0, 300, 100)), "Z01": ("zone", "R1", area(0, 0, 100, 100)),
                 "Z02": ("zone", "R1", area(100, 0, 300, 100))})  # fmt: skip
    new = units({"r": ("ring", None, area(0, 0, 300, 100)), "a": ("zone", "r", area(0, 0, 95, 100)), "b": ("zone", "r", area(95, 0, 200, 100)),
                 "c": ("zone", "r", area(200, 0, 300, 100))})  # fmt: skip
    codes, retired = renumbered(new, old, ever=["Z01", "Z02", "Z07"])
    # b and c are each half of the old Z02 or less: none continues it; Z07 was used long ago
    assert codes == ["R1", "Z01", "Z08", "Z09"]
    assert retired == ["Z02"]
    assert renumbered(new)[0] == ["R1", "Z01", "Z02", "Z03"]


def test_points_are_where_they_cover_most(city: CityConfig) -> None:
    """One camera of a grid sees two schools, others none: it is chosen."""
    town = layout_town()
    data, wanted = data_of(town), small_city(city)
    extra = frame([{"id": key("good"), "name_zh": "好点", "device_code": "42050200001321009999", "net_status": "on", "device_state": "in_use",
                    "geom": shapely.Point(530_000 + 280, 3_395_000 + 180)}])  # fmt: skip
    data = replace(
        data,
        cameras=gpd.GeoDataFrame(
            [*data.cameras.to_dict("records"), *extra.to_dict("records")], geometry="geom", crs=4546
        ),
    )
    schools = shapely.points(np.array([[530_290.0, 3_395_190.0], [530_270.0, 3_395_195.0]]))
    plan = drawn(data, wanted, places=schools)
    assert key("good") in set(plan.units["site_id"].dropna())
    assert plan.units[plan.units["level"] == "point"].groupby("parent_id").size().tolist() == [3, 3, 3, 3]


def city_of(columns: int, rows: int, population: list[int]) -> LayoutData:
    town = layout_town()
    corners = [(100 * (k % columns), 100 * (k // columns)) for k in range(columns * rows)]
    cells = [{"id": key(f"cell {k}"), "grid_code": f"420502001001{k + 1:03d}", "admin_code": "420502001001", "household_count": 1,
              "population": population[k], "geom": area(x, y, x + 100, y + 100)} for k, (x, y) in enumerate(corners)]  # fmt: skip
    whole = area(0, 0, 100 * columns, 100 * rows)
    town["grid_cell"] = frame(cells)
    town["community"] = frame([{"id": key("c"), "admin_code": "420502001001", "name_zh": "社区", "geom": whole}])
    town["admin_area"].loc[0, "geom"] = whole
    lines = [course((100 * x, 0), (100 * x, 100 * rows)) for x in range(columns + 1)]
    lines += [course((0, 100 * y), (100 * columns, 100 * y)) for y in range(rows + 1)]
    town["road"] = frame([{"id": key(f"road {k}"), "name_zh": f"路{k}", "road_class": "residential", "bridge": False, "tunnel": False,
                           "osm_layer": 0, "geom": line} for k, line in enumerate(lines)])  # fmt: skip
    units = town["layout_unit"]
    town["layout_unit"] = frame([{**row, "geom": whole} for row in units[units["level"] == "ring"].to_dict("records")])
    return data_of(town)


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_plan_of_any_city_passes_the_check(city: CityConfig, data: st.DataObject) -> None:
    columns, rows = data.draw(st.integers(4, 7)), data.draw(st.integers(4, 6))
    population = data.draw(st.lists(st.integers(0, 60), min_size=columns * rows, max_size=columns * rows))
    zones = data.draw(st.integers(1, 4))
    grids = data.draw(st.integers(zones, min(12, columns * rows)))
    counts = LayoutConfig(rings=1, zones=zones, grids=grids, points=3 * grids, points_per_grid_min=2)
    wanted = city.model_copy(update={"layout": counts})
    made = city_of(columns, rows, population)
    river = (
        np.array([course((200, -50), (200, 100 * rows + 50))], dtype=object)
        if data.draw(st.booleans()) and zones > 1
        else NONE
    )
    plan = drawn(made, wanted, along=river, river=river)
    assert errors(made, plan, wanted) == []
    assert plan.units["level"].value_counts()[["zone", "grid"]].tolist() == [zones, grids]
    over = [n for n in plan.notes if n.kind in ("unbalanced", "walls_forbid", "unit_too_heavy")]
    for level, tolerance in zip(plan.figures["levels"], (0.03, 0.10), strict=True):
        assert level["imbalance"] <= tolerance or over or not any(population)


def test_bad_input_is_named(city: CityConfig) -> None:
    data, wanted = data_of(layout_town()), small_city(city)

    def counts(**fields: int) -> CityConfig:
        return city.model_copy(update={"layout": wanted.layout.model_copy(update=fields)})

    for zones in (0, 10_000):
        with pytest.raises(InputError, match=f"{zones:d}"):
            drawn(data, counts(zones=zones, grids=max(zones, 4)))
    with pytest.raises(InputError, match="grid"):
        drawn(data, counts(zones=5, grids=4))
    for shape, word in (
        (course((0, 0), (800, 0), (800, 400)), "open"),
        (course((0, 0), (800, 400), (800, 0), (0, 400), (0, 0)), "cross"),
    ):
        broken = replace(data, ring=data.ring.assign(geom=gpd.GeoSeries([shape], crs=4546)).set_geometry("geom"))
        with pytest.raises(InvalidGeometry, match=word):
            drawn(broken, wanted)
    nobody = replace(data, cells=data.cells.assign(population=0))
    plan = drawn(nobody, wanted)
    assert "weights_zero" in {n.kind for n in plan.notes}
    assert errors(nobody, plan, wanted) == []
    heavy = data.cells["population"].to_numpy().copy()
    heavy[5] = 5000  # one block heavier than a grid, and than a zone
    plan = drawn(replace(data, cells=data.cells.assign(population=heavy)), wanted)
    assert "unit_too_heavy" in {n.kind for n in plan.notes}
    assert plan.units["level"].value_counts().to_dict() == {"point": 12, "grid": 4, "zone": 2, "ring": 1}
    with pytest.raises(InputError):
        drawn(replace(data, cells=data.cells.iloc[:0]), wanted)


def test_the_ring_goes_round_what_is_built_up(city: CityConfig) -> None:
    """A dense square of 1 km with an arm of one block and an empty block inside: the arm stays out, the hole comes in."""
    population = np.zeros((20, 20), int)
    population[5:15, 5:15] = 100
    population[9, 9] = 0
    population[10, 15:19] = 3
    made = city_of(20, 20, population.ravel().tolist())
    counts = LayoutConfig(rings=1, zones=2, grids=4, points=400, points_per_grid_min=3)  # enough to watch the crossings
    wanted = city.model_copy(update={"layout": counts})
    plan = drawn(made, wanted, new_ring=True)
    ring = plan.units[plan.units["level"] == "ring"].geometry.iloc[0]
    line = shapely.get_exterior_ring(ring)
    assert ring.is_valid and shapely.is_simple(line) and not list(ring.interiors)
    assert ring.contains(area(510, 510, 1490, 1490)) and ring.contains(area(910, 910, 990, 990))
    assert not ring.intersects(area(1850, 1010, 1890, 1090))
    assert plan.figures["ring_along_roads"] == 1.0
    assert errors(made, plan, wanted) == []
    with pytest.raises(InputError, match="km²"):
        drawn(replace(made, cells=made.cells.assign(population=0)), wanted, new_ring=True)


def test_all_partitions_of_a_small_block_grid(city: CityConfig) -> None:
    """12 blocks in 3 zones of 4: the plan's boundaries are the shortest of all balanced, connected divisions (brute force)."""
    made = city_of(4, 3, [10] * 12)
    counts = LayoutConfig(rings=1, zones=3, grids=3, points=9, points_per_grid_min=3)
    plan = drawn(made, city.model_copy(update={"layout": counts}))
    pairs = [(r * 4 + c, r * 4 + c + 1) for r in range(3) for c in range(3)] + [
        (r * 4 + c, r * 4 + c + 4) for r in range(2) for c in range(4)
    ]

    def whole(part: tuple[int, ...]) -> bool:
        own = [p for p in pairs if p[0] in part and p[1] in part]
        matrix = sparse.coo_array((np.ones(len(own)), tuple(np.array(own).T)), shape=(12, 12)) if own else None
        if matrix is None:
            return False
        label = csgraph.connected_components(matrix, directed=False)[1]
        return len({label[k] for k in part}) == 1

    best = None
    for first in itertools.combinations(range(1, 12), 3):
        one = (0, *first)
        rest = [k for k in range(12) if k not in one]
        if not whole(one):
            continue
        for second in itertools.combinations(rest[1:], 3):
            two = (rest[0], *second)
            three = tuple(k for k in rest if k not in two)
            if whole(two) and whole(three):
                owner = {**dict.fromkeys(one, 0), **dict.fromkeys(two, 1), **dict.fromkeys(three, 2)}
                cut = sum(owner[a] != owner[b] for a, b in pairs)
                best = cut if best is None else min(best, cut)
    assert plan.figures["levels"][0]["imbalance"] == 0
    assert plan.figures["levels"][0]["cut_m"] == best * 100
