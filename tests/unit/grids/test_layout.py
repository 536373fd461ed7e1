"""A small town whose layout is perfect, worked out by hand; and the same town with one thing wrong at a time."""

import uuid
from collections.abc import Callable
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import shapely
import shapely.ops
from shapely.geometry import LineString, MultiLineString, Point, Polygon, box

from gis.settings import CityConfig, LayoutConfig
from grids.layout import LEVELS, LayoutData
from grids.layout_check import judge_layout
from grids.layout_faults import LayoutFault, fault_frame
from grids.layout_plan import draw_layout

X, Y = 530_000.0, 3_395_000.0
Town = dict[str, gpd.GeoDataFrame]


def key(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def at(x: float, y: float) -> Point:
    return Point(X + x, Y + y)


def area(west: float, south: float, east: float, north: float) -> Polygon:
    return box(X + west, Y + south, X + east, Y + north)


def course(*places: tuple[float, float]) -> LineString:
    return LineString([(X + x, Y + y) for x, y in places])


def frame(rows: list[dict[str, object]]) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(rows, geometry="geom", crs=4546)


def layout_town() -> Town:
    """800 × 400 m: two zones of two grids, 32 cells of 100 m, streets between all cells, four roads out, all watched."""
    ring, zones = key("R1"), {0: key("Z1"), 1: key("Z2")}
    unit = {"layout": "current", "version": 1, "site_layer": None, "site_id": None, "weight": None, "quota": None}
    units = [{**unit, "id": ring, "level": "ring", "code": "R1", "parent_id": None, "geom": area(0, 0, 800, 400)}]
    cameras, points = [], []

    def camera(name: str, x: float, y: float) -> str:
        code = f"4205020000132100{len(cameras):04d}"
        cameras.append({"id": key(name), "name_zh": name, "device_code": code, "net_status": "on",
                        "device_state": "in_use", "geom": at(x, y)})  # fmt: skip
        return key(name)

    for z in (0, 1):
        units.append({**unit, "id": zones[z], "level": "zone", "code": f"Z{z + 1}", "parent_id": ring,
                      "geom": area(400 * z, 0, 400 * z + 400, 400)})  # fmt: skip
        for g in (0, 1):
            code = f"Z{z + 1}-G{g + 1}"
            units.append({**unit, "id": key(code), "level": "grid", "code": code, "parent_id": zones[z], "quota": 3,
                          "geom": area(400 * z, 200 * g, 400 * z + 400, 200 * g + 200)})  # fmt: skip
            for p in range(3):
                x, y = 400 * z + 50 + 100 * p, 200 * g + 50
                site = camera(f"{code}-P{p + 1}", x, y)
                points.append({**unit, "id": key(f"point {code} {p}"), "level": "point", "code": f"{code}-P{p + 1}",
                               "parent_id": key(code), "site_layer": "camera_site", "site_id": site, "geom": at(x, y)})  # fmt: skip
    for x, y in ((0, 200), (800, 200), (400, 0), (400, 100), (400, 200), (400, 300), (400, 400)):
        camera(f"crossing {x} {y}", x, y)
    roads = [course((x, 0), (x, 400)) for x in range(0, 801, 100)] + [
        course((0, y), (800, y)) for y in range(0, 401, 100)
    ]
    roads += [course((-300, 200), (0, 200)), course((800, 200), (1100, 200)), course((400, -300), (400, 0)),
              course((400, 400), (400, 700))]  # fmt: skip
    cells = []
    for z in (0, 1):
        number = 0
        for row in (3, 2, 1, 0):  # north to south
            for column in range(4):
                number += 1
                code = f"42050200100{z + 1}{number:03d}"
                west = 400 * z + 100 * column
                cells.append({"id": key(code), "grid_code": code, "admin_code": code[:12], "household_count": 4,
                              "population": 10, "geom": area(west, 100 * row, west + 100, 100 * row + 100)})  # fmt: skip
    codes = ("420502001001", "420502001002")
    communities = [
        {"id": key(codes[z]), "admin_code": codes[z], "name_zh": codes[z], "geom": area(400 * z, 0, 400 * z + 400, 400)}
        for z in (0, 1)
    ]
    return {
        "layout_unit": frame([*units, *points]),
        "grid_cell": frame(cells),
        "community": frame(communities),
        "admin_area": frame([{"id": key("street"), "admin_code": "420502001000", "name_zh": "街道", "level": "street",
                              "geom": area(0, 0, 800, 400)}]),
        "road": frame([{"id": key(f"road {k}"), "name_zh": f"路{k}", "road_class": "residential", "bridge": False,
                        "tunnel": False, "osm_layer": 0, "geom": line} for k, line in enumerate(roads)]),
        "camera_site": frame(cameras),
    }  # fmt: skip


def data_of(town: Town, *, void: tuple[str, ...] = ()) -> LayoutData:
    """As `grids.layout.read_layout` gives it."""
    units = town["layout_unit"]
    level = {name: units[units["level"] == name].sort_values("code").reset_index(drop=True) for name in LEVELS}
    coverage = gpd.GeoDataFrame({"online_overview": [], "public_m2": []}, geometry=[], crs=4546)
    return LayoutData(
        "current", 1, level["ring"], level["zone"], level["grid"], level["point"], town["grid_cell"], void,
        town["community"], town["admin_area"], town["road"], town["camera_site"], town.get("coverage", coverage),
    )  # fmt: skip


def small_city(city: CityConfig) -> CityConfig:
    """The city file with the counts of the town."""
    counts = LayoutConfig(rings=1, zones=2, grids=4, points=12, points_per_grid_min=3)
    return city.model_copy(update={"layout": counts})


def judged(town: Town, city: CityConfig, *, void: tuple[str, ...] = ()) -> list[LayoutFault]:
    return judge_layout(data_of(town, void=void), small_city(city))[0]


def put(town: Town, layer: str, name: str, column: str, value: object) -> str:
    table = town[layer]
    row = int(np.flatnonzero(table["id"] == key(name))[0])
    values = table[column].to_numpy(dtype=object).copy()
    values[row] = value
    if column == "geom":
        table["geom"] = gpd.GeoSeries(values, index=table.index, crs=4546)
    else:
        table[column] = values
    return key(name)


def kinds(faults: list[LayoutFault]) -> set[str]:
    return {fault.kind for fault in faults}


def of_kind(faults: list[LayoutFault], kind: str) -> list[LayoutFault]:
    return [fault for fault in faults if fault.kind == kind]


def test_a_perfect_layout_has_no_fault(city: CityConfig) -> None:
    faults, closures, missed, figures = judge_layout(data_of(layout_town()), small_city(city))
    assert faults == []
    assert [(c.code, c.closed, c.fewest) for c in closures] == [("R1", True, 0), ("Z1", True, 0), ("Z2", True, 0)]
    assert [what for what, _, _ in missed] == ["coverage"]
    assert figures["imbalance_max"] == {"zone": 0.0, "grid": 0.0}


def test_a_crossing_whose_camera_is_gone_is_a_leak(city: CityConfig) -> None:
    town = layout_town()
    put(town, "camera_site", "crossing 0 200", "device_state", "removed")
    faults = judged(town, city)
    assert kinds(faults) == {"crossing_unwatched", "ring_leak", "zone_open"}
    [bare] = of_kind(faults, "crossing_unwatched")
    assert bare.ids[:2] == (key("R1"), key("road 14"))
    assert bare.place is not None
    assert bare.place.distance(at(0, 200)) < 0.01
    assert bare.measure == pytest.approx(np.hypot(50, 50))  # the camera of the point at (50, 250)
    [leak] = of_kind(faults, "ring_leak")
    assert leak.ids[:2] == (key("R1"), key("road 14"))
    assert leak.measure == 9  # the streets that leave the ring road between the watched crossings at its middle
    [zone] = of_kind(faults, "zone_open")
    assert (zone.units[0][1], zone.measure) == ("Z1", 1.0)


def test_a_crossing_watched_by_a_dark_camera_only(city: CityConfig) -> None:
    town = layout_town()
    put(town, "camera_site", "crossing 800 200", "net_status", "off")
    [fault] = judged(town, city)
    assert (fault.kind, fault.severity, fault.ids[:2]) == (
        "crossing_camera_offline",
        "warning",
        (key("R1"), key("road 15")),
    )


@pytest.mark.parametrize(
    ("ring", "kind"),
    [
        (course((0, 0), (800, 0), (800, 400), (0, 400), (0, 3)), "ring_open"),
        (course((0, 0), (800, 400), (800, 0), (0, 400), (0, 0)), "ring_crosses_itself"),
        (MultiLineString([course((0, 0), (800, 0)), course((0, 400), (800, 400))]), "ring_in_pieces"),
    ],
)
def test_a_ring_that_is_none(city: CityConfig, ring: object, kind: str) -> None:
    town = layout_town()
    unit = put(town, "layout_unit", "R1", "geom", ring)
    faults, closures, missed, _ = judge_layout(data_of(town), small_city(city))
    assert kinds(faults) == {kind}
    assert faults[0].ids == (unit,)
    assert [c.code for c in closures] == ["Z1", "Z2"]  # the rest is still done
    assert "zones in ring" in [what for what, _, _ in missed]


def test_a_closed_line_serves_as_ring(city: CityConfig) -> None:
    town = layout_town()
    put(town, "layout_unit", "R1", "geom", course((0, 0), (800, 0), (800, 400), (0, 400), (0, 0)))
    assert judged(town, city) == []


@pytest.mark.parametrize(("by", "found"), [(0.001, set()), (0.5, {"overlap_sliver", "outside_sliver"}), (60, {"overlap", "unbalanced"})])  # fmt: skip
def test_a_zone_that_overlaps_the_next(city: CityConfig, by: float, found: set[str]) -> None:
    town = layout_town()
    put(town, "layout_unit", "Z1", "geom", area(0, 0, 400 + by, 400))
    faults = [f for f in judged(town, city) if f.level == "zone" and f.kind != "zone_open"]
    assert kinds(faults) <= found | {"gap", "gap_sliver"}
    overlaps = [f for f in faults if f.kind.startswith("overlap")]
    assert len(overlaps) == (by > 0.01)
    for fault in overlaps:
        assert set(fault.ids) == {key("Z1"), key("Z2")}
        assert fault.measure == pytest.approx(by * 400)


def test_a_grid_in_the_wrong_zone_and_one_missing(city: CityConfig) -> None:
    town = layout_town()
    put(town, "layout_unit", "Z1-G1", "parent_id", key("Z2"))
    faults = judged(town, city)
    assert {f.ids[0] for f in of_kind(faults, "outside_container")} == {key("Z1-G1")}
    assert len(of_kind(faults, "gap")) == 1
    town = layout_town()
    town["layout_unit"] = town["layout_unit"][town["layout_unit"]["id"] != key("Z2-G2")]
    faults = judged(town, city)
    assert [(f.level, f.measure, f.tolerance) for f in of_kind(faults, "count")] == [("grid", 3.0, 4.0)]
    [gap] = of_kind(faults, "gap")
    assert gap.measure == pytest.approx(400 * 200)
    assert len(of_kind(faults, "no_container")) == 3  # its points
    assert len(of_kind(faults, "point_outside_all")) == 3


def test_cells_with_gap_overlap_and_foreign_code(city: CityConfig) -> None:
    town = layout_town()
    shrunk = put(town, "grid_cell", "420502001001006", "geom", area(105, 205, 195, 295))
    grown = put(town, "grid_cell", "420502001002010", "geom", area(495, 95, 605, 205))
    foreign = put(town, "grid_cell", "420502001002001", "grid_code", "420502001001099")
    faults = judged(town, city)
    assert kinds(faults) == {"cell_gap", "cell_overlap", "cell_code_prefix", "cell_sequence"} or kinds(faults) == {
        "cell_gap", "cell_overlap", "cell_code_prefix"
    }  # fmt: skip
    [gap] = of_kind(faults, "cell_gap")
    assert gap.ids[0] == shrunk
    assert gap.measure == pytest.approx(100 * 100 - 90 * 90)
    overlaps = of_kind(faults, "cell_overlap")
    assert {f.ids[0] for f in overlaps} == {grown}
    assert len(overlaps) == 8
    assert [f.ids[0] for f in of_kind(faults, "cell_code_prefix")] == [foreign]


def test_a_void_code_and_numbers_out_of_order(city: CityConfig) -> None:
    town = layout_town()
    faults = judged(town, city, void=("420502001001003",))
    assert [(f.kind, f.ids[0]) for f in faults] == [("cell_code_void", key("420502001001003"))]
    put(town, "grid_cell", "420502001001001", "grid_code", "420502001001016")
    put(town, "grid_cell", "420502001001016", "grid_code", "420502001001001")
    assert kinds(judged(town, city)) == {"cell_sequence"}


def test_codes_of_units(city: CityConfig) -> None:
    town = layout_town()
    put(town, "layout_unit", "Z2-G1", "code", "Z1-G9")
    put(town, "layout_unit", "Z1-G2", "code", "Z1-G1")
    put(town, "layout_unit", "Z2", "code", None)
    faults = judged(town, city)
    assert [f.ids[0] for f in of_kind(faults, "unit_code_missing")] == [key("Z2")]
    assert {key("Z1-G1"), key("Z1-G2")} == {i for f in of_kind(faults, "unit_code_twice") for i in f.ids}
    prefixes = {f.units[0][1] for f in of_kind(faults, "unit_code_prefix")}
    assert {"Z1-G2-P1", "Z1-G2-P2", "Z1-G2-P3", "Z2-G1-P1"} <= prefixes
    again = replace(data_of(layout_town()), retired_codes=("Z1-G2", "Z7"))
    faults = judge_layout(again, small_city(city))[0]
    assert [(f.kind, f.ids[0]) for f in faults] == [("unit_code_reused", key("Z1-G2"))]


def test_a_ring_through_the_river(city: CityConfig) -> None:
    """A river of 60 m crosses the ring in the north by a bridge and in the south without one."""
    data = data_of(layout_town())
    river = frame([{"id": key("river"), "geom": area(520, -100, 580, 500)}])
    roads = data.roads[data.roads.geometry.distance(at(550, 0)) > 35].reset_index(drop=True)
    faults = judge_layout(replace(data, water=river, roads=roads), small_city(city))[0]
    [fault] = of_kind(faults, "ring_in_water")
    assert fault.ids == (key("R1"),)
    assert fault.measure == pytest.approx(60, abs=25)
    assert fault.place.distance(at(550, 0)) < 1
    assert of_kind(judge_layout(replace(data, water=river), small_city(city))[0], "ring_in_water") == []


def test_zones_with_a_hole_over_each_other_and_a_grid_in_two(city: CityConfig) -> None:
    town = layout_town()
    hole = shapely.difference(area(0, 0, 400, 400), area(150, 150, 250, 250))
    put(town, "layout_unit", "Z1", "geom", hole)
    faults = judged(town, city)
    [gap] = [f for f in of_kind(faults, "gap") if f.level == "zone"]
    assert gap.measure == pytest.approx(100 * 100)
    assert gap.ids[0] == key("Z1")
    assert {f.ids[0] for f in of_kind(faults, "outside_container")} == {
        key("Z1-G1"),
        key("Z1-G2"),
    }  # their parts in the hole
    town = layout_town()
    put(town, "layout_unit", "Z1", "geom", area(0, 0, 1400, 400))  # a kilometre over the next and beyond the ring
    faults = judged(town, city)
    [overlap] = [f for f in of_kind(faults, "overlap") if f.level == "zone"]
    assert overlap.measure == pytest.approx(400 * 400)
    [beyond] = [f for f in of_kind(faults, "outside_container") if f.level == "zone"]
    assert beyond.measure == pytest.approx(600 * 400)
    assert [c.code for c in judge_layout(data_of(town), small_city(city))[1]] == [
        "R1",
        "Z1",
        "Z2",
    ]  # the rest is still done
    town = layout_town()
    put(town, "layout_unit", "Z1-G1", "geom", area(0, 0, 600, 200))  # a grid in two zones
    faults = judged(town, city)
    assert [(f.ids[0], f.measure) for f in of_kind(faults, "outside_container")] == [
        (key("Z1-G1"), pytest.approx(200 * 200))
    ]
    assert {frozenset(f.ids) for f in of_kind(faults, "overlap")} == {frozenset((key("Z1-G1"), key("Z2-G1")))}


def test_one_millimetre_is_found_where_it_is_asked_for(city: CityConfig) -> None:
    town = layout_town()
    put(town, "layout_unit", "Z1", "geom", area(0, 0, 400.001, 400))
    assert not [f for f in judged(town, city) if f.kind.startswith("overlap")]
    faults = judge_layout(data_of(town), small_city(city), tolerance_m=0.0005)[0]
    [overlap] = [f for f in faults if f.kind.startswith("overlap") and f.level == "zone"]
    assert overlap.kind == "overlap_sliver"
    assert overlap.measure == pytest.approx(0.001 * 400, rel=1e-3)


def test_roads_in_pieces(city: CityConfig) -> None:
    """Only roads from south to north: none meets another. Each unit is named, and the rest is still done."""
    town = layout_town()
    bounds = town["road"].geometry.bounds
    upright = town["road"][bounds["minx"] == bounds["maxx"]].to_dict("records")
    town["road"] = frame([{**row, "id": f"{row['id']}{k}", "geom": part} for row in upright for k, part in enumerate(
        shapely.get_parts(shapely.ops.split(row["geom"], course((-999, 200), (1999, 200)))))])  # fmt: skip
    faults, closures, missed, _ = judge_layout(data_of(town), small_city(city))
    apart = {f.units[0][1] for f in of_kind(faults, "not_connected_by_road")}
    assert apart == {"Z1", "Z2", "Z1-G1", "Z1-G2", "Z2-G1", "Z2-G2"}
    assert closures[0].closed  # both ways in by the middle road are watched
    assert [c.code for c in closures] == ["R1", "Z1", "Z2"]
    assert {what for what, _, _ in missed} == {"coverage"}


def test_points(city: CityConfig) -> None:
    town = layout_town()
    strayed = put(town, "layout_unit", "point Z1-G1 0", "geom", at(50, 250))
    put(town, "camera_site", "Z2-G2-P1", "device_state", "removed")
    faults = judged(town, city)
    [outside] = of_kind(faults, "point_outside_container")
    assert outside.ids == (strayed, key("Z1-G2"))
    assert outside.measure == pytest.approx(50)
    assert [(f.ids[0], f.measure) for f in of_kind(faults, "quota")] == [(key("Z1-G1"), 2.0)]
    assert [f.measure for f in of_kind(faults, "site_apart")] == [pytest.approx(200)]
    assert [f.ids for f in of_kind(faults, "site_removed")] == [(key("point Z2-G2 0"), key("Z2-G2-P1"))]


def test_balance_and_coverage(city: CityConfig) -> None:
    town = layout_town()
    put(town, "grid_cell", "420502001001001", "population", 30)
    faults = judged(town, city)
    assert {(f.kind, f.units[0][1]) for f in faults} == {
        ("unbalanced", "Z1"), ("unbalanced", "Z2"), ("unbalanced", "Z1-G2"),
    }  # fmt: skip
    [heavy] = [f for f in faults if f.units[0][1] == "Z1-G2"]
    assert heavy.measure == pytest.approx(100 / 85 - 1)
    town = layout_town()
    town["coverage"] = town["grid_cell"].assign(
        online_overview=np.where(town["grid_cell"].geometry.centroid.x < X + 400, 0.1, 0.5), public_m2=2000.0
    )
    assert {(f.kind, f.units[0][1]) for f in judged(town, city)} == {("coverage", "Z1-G1"), ("coverage", "Z1-G2")}


def test_a_grid_cut_by_a_river_is_not_connected_by_road(city: CityConfig) -> None:
    town = layout_town()
    river = area(230, -400, 270, 800)
    cut = shapely.difference(town["road"].geometry.to_numpy(), river)
    town["road"]["geom"] = gpd.GeoSeries(cut, crs=4546)
    faults = judged(town, city)
    assert {f.units[0][1] for f in of_kind(faults, "not_connected_by_road")} == {"Z1", "Z1-G1", "Z1-G2"}


def test_nothing_is_fine_where_nothing_was_looked_at(city: CityConfig) -> None:
    town = layout_town()
    for layer in ("road", "grid_cell"):
        town[layer] = town[layer].iloc[:0]
    faults, closures, missed, _ = judge_layout(data_of(town), small_city(city))
    assert closures == ()
    assert {what for what, _, _ in missed} == {"coverage", "grid cells", "closures and connection by road"}
    assert kinds(faults) <= {"weights_zero"}


def test_every_fault_has_both_languages_and_fits_its_layer(city: CityConfig) -> None:
    town = layout_town()
    put(town, "layout_unit", "Z1", "geom", area(0, 0, 460, 400))
    put(town, "camera_site", "crossing 0 200", "device_state", "removed")
    put(town, "layout_unit", "point Z1-G1 0", "geom", at(50, 250))
    faults = judged(town, city)
    change: Callable[[str], bool] = lambda text: any("一" <= letter <= "鿿" for letter in text)  # noqa: E731
    assert all(change(f.text_zh) and not change(f.text_en.replace("路", "")) for f in faults)
    table = fault_frame(faults, layout="current", version=1, srid=4546)
    assert len(table) == len(faults)
    assert table["note_en"].notna().all()
    assert len(fault_frame([], layout="current", version=1, srid=4546)) == 0


def test_a_plan_drawn_anew_holds(city: CityConfig) -> None:
    town = layout_town()
    put(
        town, "grid_cell", "420502001001006", "geom", area(105, 205, 195, 295)
    )  # a gap in the cells is none in the plan
    put(town, "camera_site", "crossing 0 200", "device_state", "removed")
    data = data_of(town)
    wanted = small_city(city)
    plan = draw_layout(data, wanted, weight="population", along=np.zeros(0, object), river=np.zeros(0, object))
    assert plan.notes == ()
    assert plan.units["level"].value_counts().to_dict() == {"point": 12, "grid": 4, "zone": 2, "ring": 1}
    level = {name: plan.units[plan.units["level"] == name].reset_index(drop=True) for name in LEVELS}
    drawn = replace(data, ring=level["ring"], zones=level["zone"], grids=level["grid"], points=level["point"])
    faults, closures, _, _ = judge_layout(drawn, wanted)
    assert {f.kind for f in faults} <= {"cell_gap", "zone_open"}
    assert closures[0].closed  # a point without a camera stands where the watch was lacking
    assert (level["point"]["site_id"].isna()).sum() == 1
    for name, count in (("zone", 2), ("grid", 4)):
        assert level[name]["weight"].tolist() == [320 / count] * count
        assert shapely.area(level[name].geometry.to_numpy()).sum() == pytest.approx(800 * 400)


def test_a_plan_does_not_reach_across_the_river(city: CityConfig) -> None:
    data = data_of(layout_town())
    river = np.array([course((300, -100), (300, 500))], dtype=object)
    plan = draw_layout(data, small_city(city), weight="population", along=river, river=river)
    zones = plan.units[plan.units["level"] == "zone"].geometry.to_numpy()
    assert sorted(round(shape.area) for shape in zones) == [300 * 400, 500 * 400]
    assert "unbalanced" in {note.kind for note in plan.notes}  # said, since the wall allows no better
