"""Files and frames into layers of a real database."""

import csv
import datetime as dt
import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import openpyxl
import pytest
import shapely
import sqlalchemy as sa

from gis.crs import wgs84_to_bd09, wgs84_to_gcj02
from gis.errors import CRSMismatch, Forbidden, InputError, LimitExceeded, NotFound, UnknownField
from layers.access import Principal
from layers.database import Database
from layers.declaration import read_declaration
from layers.loading.bulk import load_frame
from layers.loading.files import load_file
from layers.loading.options import LoadOptions
from layers.loading.quarantine import export_quarantine, find_load, quarantined, resolve, summary
from layers.loading.report import LoadReport
from layers.registry import add_layer

HEAD = [
    "设备编码",
    "点位名称",
    "经度",
    "纬度",
    "结构类型",
    "方位角",
    "备案日期",
    "标识",
    "管理单位",
    "联系人",
    "联系电话",
    "IP地址",
    "备注",
]


def row(number: int, **changes: Any) -> list[Any]:
    values = {
        "设备编码": f"4205020000131{number:07d}", "点位名称": f"点位{number}", "经度": 111.2 + number * 1e-4, "纬度": 30.7, "结构类型": "球机",
        "方位角": 90, "备案日期": "2024年3月1日", "标识": "是", "管理单位": "宜昌市公安局", "联系人": "张三",
        "联系电话": "13800138000", "IP地址": "10.1.2.3", "备注": "",
    }  # fmt: skip
    return list((values | changes).values())


def table(path: Path, rows: list[list[Any]], head: list[str] = HEAD, encoding: str = "utf-8-sig") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return path


def counts(report: LoadReport) -> tuple[int, int, int, int]:
    assert report.inserted + report.updated + report.unchanged + report.quarantined == report.rows
    return report.inserted, report.updated, report.unchanged, report.quarantined


def query(database: Database, sql: str, **values: Any) -> list[Any]:
    with database.begin() as connection:
        return [tuple(found) for found in connection.execute(sa.text(sql), values)]


def reasons(database: Database, report: LoadReport) -> dict[int, list[str]]:
    with database.begin() as connection:
        assert report.load_id is not None
        return {q.row: [fault["reason"]["code"] for fault in q.faults] for q in quarantined(connection, report.load_id)}


@pytest.fixture(autouse=True)
def _empty_layers(database: Database) -> None:
    """Each test begins with empty layers."""
    with database.begin() as connection:
        for layer in (
            "camera_site",
            "school",
            "school_zone",
            "layout_unit",
            "outfall_sample",
            "outfall",
            "admin_area",
            "river_axis",
            "kitchen",
        ):
            connection.execute(sa.text(f'DELETE FROM baige."{layer}"'))
        connection.execute(sa.text("DELETE FROM baige_sys.load_run"))


def load(database: Database, path: Path, layer: str = "camera_site", **options: Any) -> LoadReport:
    return load_file(database, layer, path, options=LoadOptions(**({"crs": "4490"} | options)))


def test_a_table_is_loaded_with_its_types(database: Database, tmp_path: Path) -> None:
    report = load(
        database,
        table(tmp_path / "a.csv", [row(1), row(2, 结构类型="3", 标识="否", 备案日期="")], encoding="gb18030"),
        source_org="测试单位",
    )
    assert counts(report) == (2, 0, 0, 0)
    assert report.dropped == ["联系人", "联系电话", "IP地址"]
    assert report.ignored == ["备注"]
    found = query(
        database,
        "SELECT device_code, name_zh, ptz_type, azimuth_deg, filing_date, sign_posted, owner_org, source_org, src_crs, classification, synthetic,"
        " geom_repaired, ST_X(geom), ST_SRID(geom), change_id FROM baige.camera_site ORDER BY device_code",
    )
    assert found[0] == (
        "42050200001310000001", "点位1", 1, 90.0, dt.date(2024, 3, 1), True, "宜昌市公安局", "测试单位", "4490", "internal", False, False,
        pytest.approx(111.2001), 4490, report.change_id,
    )  # fmt: skip
    assert found[1][2:6] == (3, 90.0, None, False)
    assert "13800138000" not in json.dumps(report.as_json(), ensure_ascii=False)


def test_loading_again_changes_nothing(database: Database, tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", [row(i) for i in range(50)])
    load(database, path, crs="gcj02")
    before = query(database, "SELECT change_counter FROM baige_sys.layer WHERE name = 'camera_site'")
    rows = query(database, "SELECT * FROM baige.camera_site ORDER BY id")
    assert counts(load(database, path, crs="gcj02")) == (0, 0, 50, 0)
    assert query(database, "SELECT change_counter FROM baige_sys.layer WHERE name = 'camera_site'") == before
    assert query(database, "SELECT * FROM baige.camera_site ORDER BY id") == rows


def test_the_same_key_updates_and_keeps_the_id(database: Database, tmp_path: Path) -> None:
    load(database, table(tmp_path / "a.csv", [row(1), row(2)]))
    before = dict(query(database, "SELECT device_code, id FROM baige.camera_site"))
    report = load(database, table(tmp_path / "b.csv", [row(1, 点位名称="改名"), row(2), row(3)]))
    assert counts(report) == (1, 1, 1, 0)
    after = dict(query(database, "SELECT device_code, id FROM baige.camera_site"))
    assert {code: after[code] for code in before} == before
    history = query(
        database,
        "SELECT name_zh, replaced_op, replaced_by FROM baige_history.camera_site WHERE id = :id",
        id=after["42050200001310000001"],
    )
    assert (history[-1][0], history[-1][1]) == ("点位1", "U")
    assert query(
        database, "SELECT inserted, updated FROM baige_sys.change_set WHERE id = :id", id=report.change_id
    ) == [(1, 1)]


def test_a_moved_place_is_a_change(database: Database, tmp_path: Path) -> None:
    load(database, table(tmp_path / "a.csv", [row(1)]))
    assert counts(load(database, table(tmp_path / "b.csv", [row(1, 经度=111.2001000001)]))) == (0, 1, 0, 0)


def test_columns_that_a_file_lacks_stay(database: Database, tmp_path: Path) -> None:
    load(database, table(tmp_path / "a.csv", [row(1), row(2)]))
    path = table(
        tmp_path / "b.csv",
        [["42050200001310000001", "离线"], ["42050200001310000009", "在线"]],
        ["设备编码", "在线状态"],
    )
    report = load(database, path, crs=None)
    assert counts(report) == (0, 1, 0, 1)
    assert reasons(database, report) == {3: ["no_geometry"]}
    assert query(database, "SELECT name_zh, net_status FROM baige.camera_site ORDER BY 1") == [
        ("点位1", "off"),
        ("点位2", None),
    ]


def test_keys_are_tried_in_order_and_conflicts_are_named(database: Database, tmp_path: Path) -> None:
    head = ["国家编码", "地方编码", "来源标识", "经度", "纬度"]
    field = {f.name: f.title_zh for f in built("outfall").fields}
    head[0], head[1] = field["code_national"], field["code_local"]
    load(
        database,
        table(tmp_path / "a.csv", [["N-0001", "L1", "s1", 111.3, 30.7], ["", "L2", "s2", 111.3, 30.7]], head),
        "outfall",
    )
    second = [
        ["N-0001", "L1", "s1", 111.31, 30.7],
        ["N-0002", "L2", "s2", 111.3, 30.7],
        ["N-0001", "L9", "s2", 111.3, 30.7],
        ["N-0001", "", "", 111.3, 30.7],
    ]
    report = load(database, table(tmp_path / "b.csv", second, head), "outfall")
    assert counts(report) == (0, 2, 0, 2)
    assert reasons(database, report) == {4: ["duplicate_key"], 5: ["duplicate_key"]}
    third = [["N-0001", "L2", "", 111.3, 30.7]]
    report = load(database, table(tmp_path / "c.csv", third, head), "outfall")
    assert reasons(database, report) == {2: ["key_conflict"]}
    fourth = [["N-0002", "", "", 111.3, 30.7], ["", "L2", "", 111.3, 30.7]]
    report = load(database, table(tmp_path / "d.csv", fourth, head), "outfall")
    assert reasons(database, report) == {3: ["duplicate_target"]}


def built(layer: str) -> Any:
    from layers.catalogue import built_in

    return built_in()[layer]


def test_a_second_row_with_the_same_key_goes_to_quarantine(database: Database, tmp_path: Path) -> None:
    report = load(database, table(tmp_path / "a.csv", [row(1), row(2), row(1, 点位名称="另一个")]))
    assert counts(report) == (2, 0, 0, 1)
    fault = report.examples[0].faults[0]
    assert (fault.row, fault.column, fault.value, fault.detail) == (4, "设备编码", "42050200001310000001", "→ 2")


def test_every_fault_says_row_column_value_and_what_is_expected(database: Database, tmp_path: Path) -> None:
    path = table(
        tmp_path / "a.csv",
        [row(1), row(2, 方位角="361", 结构类型="飞艇", 备案日期="9999-12-31"), row(3, 设备编码="4205020000131000001")],
    )
    report = load(database, path)
    assert counts(report) == (1, 0, 0, 2)
    with database.begin() as connection:
        assert report.load_id is not None
        rows = {q.row: q for q in quarantined(connection, report.load_id)}
    second = {fault["column"]: (fault["value"], fault["reason"]["code"]) for fault in rows[3].faults}
    assert second == {
        "方位角": ("361", "too_large"),
        "结构类型": ("飞艇", "not_in_domain"),
        "备案日期": ("9999-12-31", "date_out_of_range"),
    }
    assert (
        rows[3].faults[0]["expected"]["en"]
        == "1=PTZ dome, 2=Dome, 3=Fixed, 4=Remote-controlled fixed, 5=Remote-controlled dome, 6=Panoramic, 7=Split"
    )
    fault = rows[4].faults[0]
    assert (fault["value"], fault["reason"]["code"], fault["expected"]) == (
        "4205020000131000001",
        "wrong_length",
        {"zh": "20 位", "en": "20 characters"},
    )
    assert {"联系人", "联系电话", "IP地址", "备注"}.isdisjoint(rows[3].raw)
    assert "第 4 行" in "\n".join(report.lines("zh"))
    assert "row 4" in "\n".join(report.lines("en"))


def test_abort_loads_nothing(database: Database, tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", [row(1), row(2, 方位角="x")])
    with pytest.raises(InputError, match="row 3"):
        load(database, path, on_error="abort")
    assert query(database, "SELECT count(*) FROM baige.camera_site") == [(0,)]
    assert query(database, "SELECT count(*) FROM baige_sys.load_run") == [(0,)]


def test_a_dry_run_says_what_would_happen_and_leaves_no_trace(database: Database, tmp_path: Path) -> None:
    load(database, table(tmp_path / "a.csv", [row(1), row(2)]))
    state = "SELECT (SELECT count(*) FROM baige.camera_site), (SELECT count(*) FROM baige_sys.load_run), (SELECT count(*) FROM baige_sys.quarantine)"
    before = query(database, state)
    path = table(tmp_path / "b.csv", [row(1, 点位名称="新"), row(2), row(3), row(4, 方位角="x")])
    dry = load(database, path, dry_run=True)
    assert query(database, state) == before
    assert counts(dry) == counts(load(database, path)) == (1, 1, 1, 1)
    assert "would be" in dry.lines("en")[1]


def test_personal_values_in_free_text_are_blanked(database: Database, tmp_path: Path) -> None:
    path = table(
        tmp_path / "a.csv",
        [row(1, 管理单位="西陵分局 13800138000"), row(2), row(3, 管理单位="张三 420502199001011234", 方位角="x")],
    )
    report = load(database, path)
    assert report.blanked == {"管理单位": [2, 4]}
    stored = json.dumps(
        query(database, "SELECT to_jsonb(c) FROM baige.camera_site c")
        + query(database, "SELECT row, faults FROM baige_sys.quarantine"),
        ensure_ascii=False,
    )
    assert "13800138000" not in stored
    assert "420502199001011234" not in stored
    assert query(database, "SELECT owner_org FROM baige.camera_site ORDER BY device_code") == [
        (None,),
        ("宜昌市公安局",),
    ]


@pytest.mark.parametrize(
    ("system", "shift"), [("4326", lambda x, y: (x, y)), ("gcj02", wgs84_to_gcj02), ("bd09", wgs84_to_bd09)]
)
def test_declared_systems(database: Database, tmp_path: Path, system: str, shift: Any) -> None:
    x, y = shift(111.286, 30.692)
    load(database, table(tmp_path / "a.csv", [row(1, 经度=float(x), 纬度=float(y))]), crs=system)
    distance = query(
        database,
        "SELECT ST_DistanceSphere(geom, ST_SetSRID(ST_MakePoint(111.286, 30.692), 4490)), src_crs FROM baige.camera_site",
    )
    assert distance[0][0] < 0.01
    assert distance[0][1] == system


def test_no_system_is_an_error_that_names_the_option(database: Database, tmp_path: Path) -> None:
    with pytest.raises(CRSMismatch, match="--crs"):
        load(database, table(tmp_path / "a.csv", [row(1)]), crs=None)
    frame = gpd.GeoDataFrame({"name_zh": ["甲"]}, geometry=shapely.points([[111.3, 30.7]]), crs=4490)
    frame.to_file(tmp_path / "a.shp", encoding="utf-8")
    (tmp_path / "a.prj").unlink()
    with pytest.raises(CRSMismatch, match="--crs"):
        load(database, tmp_path / "a.shp", crs=None)


def test_a_file_known_to_lie_is_read_as_declared(database: Database, tmp_path: Path) -> None:
    x, y = wgs84_to_gcj02(111.286, 30.692)
    gpd.GeoDataFrame({"name_zh": ["甲"]}, geometry=shapely.points([[float(x), float(y)]]), crs=4326).to_file(
        tmp_path / "a.geojson"
    )
    report = load(database, tmp_path / "a.geojson", crs="gcj02")
    assert any("gcj02" in en for _zh, en in report.notes)
    assert query(database, "SELECT ST_X(geom), ST_Y(geom) FROM baige.camera_site") == [
        (pytest.approx(111.286, abs=1e-7), pytest.approx(30.692, abs=1e-7))
    ]


def test_projected_coordinates_are_transformed(database: Database, tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame({"name_zh": ["甲"]}, geometry=shapely.points([[111.286, 30.692]]), crs=4490).to_crs(4546)
    frame.to_file(tmp_path / "a.gpkg")
    load(database, tmp_path / "a.gpkg", crs=None)
    expected = query(
        database,
        "SELECT ST_Distance(ST_Transform(geom, 4546), ST_GeomFromText(:wkt, 4546)), src_crs FROM baige.camera_site",
        wkt=frame.geometry[0].wkt,
    )
    assert expected[0][0] < 1e-3
    assert expected[0][1] == "4546"


def test_swapped_outside_projected_missing(database: Database, tmp_path: Path) -> None:
    rows = [
        row(1), row(2, 经度=30.7, 纬度=111.2), row(3, 经度=0, 纬度=0), row(4, 经度=528000, 纬度=3397000),
        row(5, 经度="", 纬度=""), row(6, 经度="NaN", 纬度=30.7),
        row(7, 经度="inf", 纬度=30.7), row(8, 经度="东经111度", 纬度=30.7),
    ]  # fmt: skip
    report = load(database, table(tmp_path / "a.csv", rows))
    assert counts(report) == (1, 0, 0, 7)
    assert reasons(database, report) == {
        3: ["swapped"], 4: ["outside"], 5: ["projected"], 6: ["no_geometry"],
        7: ["not_finite_position"], 8: ["not_finite_position"], 9: ["not_a_number"],
    }  # fmt: skip
    assert "swapped" in "\n".join(report.lines("en"))
    swapped = table(tmp_path / "b.csv", [row(2, 经度=30.7, 纬度=111.2)])
    assert counts(load(database, swapped, swap_xy=True)) == (1, 0, 0, 0)


def test_quarantine_can_be_mended_and_loaded_again(database: Database, tmp_path: Path) -> None:
    x, y = wgs84_to_gcj02(111.286, 30.692)
    path = table(tmp_path / "a.csv", [row(1), row(2, 方位角="北", 点位名称="=1+1", 经度=float(x), 纬度=float(y))])
    report = load(database, path, crs="gcj02")
    assert report.load_id is not None
    with database.begin() as connection:
        assert [entry["rows"] for entry in summary(connection, layer="camera_site")] == [1]
        load_id = find_load(connection, str(report.load_id)[:8])
        assert load_id == find_load(connection, "last") == report.load_id
        assert export_quarantine(connection, load_id, tmp_path / "q.csv", lang="zh") == 1
    text = (tmp_path / "q.csv").read_text(encoding="utf-8-sig")
    assert "问题" in text
    assert "'=1+1" in text
    (tmp_path / "mended.csv").write_text(text.replace(",北,", ",0,"), encoding="utf-8-sig")
    again = load(database, tmp_path / "mended.csv", crs="gcj02")
    assert counts(again) == (1, 0, 0, 0)
    assert query(
        database, "SELECT name_zh, azimuth_deg, ST_X(geom) FROM baige.camera_site WHERE device_code LIKE '%2'"
    ) == [("=1+1", 0.0, pytest.approx(111.286, abs=1e-7))]
    with database.begin() as connection:
        assert resolve(connection, load_id) == 1
        assert summary(connection) == []
        with pytest.raises(NotFound):
            find_load(connection, "00000000")
        with pytest.raises(InputError):
            find_load(connection, "0")


def test_quarantined_geometry_goes_out_as_wkt_and_comes_back(database: Database, tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame(
        {"name_zh": ["甲", "乙"], "azimuth_deg": [1.0, 999.0]},
        geometry=shapely.points([[111.3, 30.7], [111.4, 30.7]]),
        crs=4490,
    )
    frame.to_file(tmp_path / "a.gpkg")
    report = load(database, tmp_path / "a.gpkg", crs=None)
    assert counts(report) == (1, 0, 0, 1)
    with database.begin() as connection:
        export_quarantine(connection, find_load(connection, "last"), tmp_path / "q.csv", lang="en")
    text = (tmp_path / "q.csv").read_text(encoding="utf-8-sig").replace("999.0", "99")
    (tmp_path / "q.csv").write_text(text, encoding="utf-8-sig")
    assert counts(load(database, tmp_path / "q.csv")) == (1, 0, 0, 0)
    assert query(database, "SELECT ST_X(geom) FROM baige.camera_site WHERE name_zh = '乙'") == [(111.4,)]


def test_too_many_faults_end_the_load(database: Database, tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", [row(i, 经度=7.4, 纬度=43.7) for i in range(20)])
    with pytest.raises(LimitExceeded, match="Outside the city"):
        load(database, path, quarantine_max=10)
    assert query(database, "SELECT count(*) FROM baige_sys.quarantine") == [(0,)]


def test_references_by_id_key_and_name(database: Database, tmp_path: Path) -> None:
    schools = [
        ["S1", "实验小学", 111.3, 30.7],
        ["S2", "一中", 111.31, 30.7],
        ["S3", "同名", 111.32, 30.7],
        ["S4", "同名", 111.33, 30.7],
    ]
    load(database, table(tmp_path / "s.csv", schools, ["school_no", "名称", "经度", "纬度"]), "school")
    ids = dict(query(database, "SELECT school_no, id FROM baige.school"))
    words = ["S1", "一中", str(ids["S3"]), "同名", "没有", ""]
    kind = built("kitchen").field("kind").domain[0].zh
    kitchens = [[f"K{i}", 111.3, 30.7, word, kind] for i, word in enumerate(words)]
    report = load(
        database, table(tmp_path / "k.csv", kitchens, ["licence_no", "lon", "lat", "school_id", "kind"]), "kitchen"
    )
    assert reasons(database, report) == {5: ["ref_ambiguous"], 6: ["ref_unknown"]}
    assert dict(query(database, "SELECT licence_no, school_id FROM baige.kitchen")) == {
        "K0": ids["S1"],
        "K1": ids["S2"],
        "K2": ids["S3"],
        "K5": None,
    }


def test_rows_of_one_file_may_refer_to_each_other(database: Database) -> None:
    declared = built("layout_unit")
    level = [term.value for term in declared.field("level").domain]
    frame = gpd.GeoDataFrame(
        {
            "layout": "p", "version": "1", "level": [level[0], level[1], level[2], level[2]], "code": ["R", "Z1", "G1",
            "G2"], "parent_id": [None, "R", "Z1", "Z9"],
        },
        geometry=[shapely.box(111.2, 30.6, 111.3, 30.7)] * 4, crs=4490,
    )  # fmt: skip
    for name in ("layout", "version"):
        if declared.field(name).type == "int":
            frame[name] = 1
    report = load_frame(database, "layout_unit", frame)
    assert counts(report) == (3, 0, 0, 1)
    assert reasons(database, report) == {4: ["ref_unknown"]}
    links = (
        "SELECT c.code, p.code FROM baige.layout_unit c LEFT JOIN baige.layout_unit p ON p.id = c.parent_id ORDER BY 1"
    )
    assert query(database, links) == [("G1", "Z1"), ("R", None), ("Z1", "R")]
    frame.loc[3, "parent_id"] = "Z1"
    assert counts(load_frame(database, "layout_unit", frame)) == (1, 0, 3, 0)


def test_a_row_whose_parent_was_refused_is_refused(database: Database) -> None:
    declared = built("layout_unit")
    level = [term.value for term in declared.field("level").domain]
    frame = gpd.GeoDataFrame(
        {"layout": "p", "version": "1", "level": [level[0], "nonsense", level[2]], "code": ["R", "Z1", "G1"], "parent_id": [None, "R", "Z1"]},
        geometry=[shapely.box(111.2, 30.6, 111.3, 30.7)] * 3, crs=4490,
    )  # fmt: skip
    report = load_frame(database, "layout_unit", frame)
    assert reasons(database, report) == {2: ["not_in_domain"], 3: ["ref_unknown"]}
    assert report.inserted == 1


def test_geometry_is_repaired_marked_and_counted(database: Database) -> None:
    bow = shapely.Polygon([(111, 30.5), (111.02, 30.52), (111.02, 30.5), (111, 30.52)])
    frame = gpd.GeoDataFrame(
        {"name_zh": ["好", "坏", "点"], "admin_code": ["420502", "420503", "420504"], "level": ["county"] * 3},
        geometry=[shapely.box(111, 30.5, 111.1, 30.6), bow, shapely.Point(111, 30.5)], crs=4490,
    )  # fmt: skip
    report = load_frame(database, "admin_area", frame)
    assert (counts(report), report.repaired, report.repaired_rows) == ((2, 0, 0, 1), 1, [2])
    found = query(
        database,
        "SELECT name_zh, geom_repaired, ST_IsValid(geom), GeometryType(geom), admin_code FROM baige.admin_area ORDER BY admin_code",
    )
    assert found == [
        ("好", False, True, "MULTIPOLYGON", "420502000000"),
        ("坏", True, True, "MULTIPOLYGON", "420503000000"),
    ]


def test_measures_survive_and_their_change_is_seen(database: Database) -> None:
    frame = gpd.GeoDataFrame(
        {"reach_code": ["R"], "axis_version": ["1"]},
        geometry=[shapely.from_wkt("LINESTRING M (111 30.5 0, 111.1 30.5 9000)")],
        crs=4490,
    )
    if built("river_axis").field("axis_version").type == "int":
        frame["axis_version"] = 1
    assert counts(load_frame(database, "river_axis", frame)) == (1, 0, 0, 0)
    assert counts(load_frame(database, "river_axis", frame)) == (0, 0, 1, 0)
    assert query(database, "SELECT ST_M(ST_EndPoint(geom)) FROM baige.river_axis") == [(9000.0,)]
    frame.geometry = [shapely.from_wkt("LINESTRING M (111 30.5 0, 111.1 30.5 9600)")]
    assert counts(load_frame(database, "river_axis", frame)) == (0, 1, 0, 0)


def test_second_geometries(database: Database) -> None:
    frame = gpd.GeoDataFrame(
        {"school_no": ["S1", "S2"], "boundary": [shapely.box(111.3, 30.7, 111.301, 30.701), None], "entrances": [shapely.Point(111.3, 30.7), None]},
        geometry=shapely.points([[111.3, 30.7], [111.4, 30.7]]), crs=4490,
    )  # fmt: skip
    assert counts(load_frame(database, "school", frame)) == (2, 0, 0, 0)
    found = query(
        database,
        "SELECT GeometryType(boundary), GeometryType(entrances), ST_SRID(entrances) FROM baige.school ORDER BY school_no",
    )
    assert found == [("MULTIPOLYGON", "MULTIPOINT", 4490), (None, None, None)]


def test_identifiers_given_are_kept(database: Database) -> None:
    ids = [uuid.uuid4(), uuid.uuid4()]
    frame = gpd.GeoDataFrame(
        {"id": ids, "name_zh": ["甲", "乙"]}, geometry=shapely.points([[111.3, 30.7], [111.4, 30.7]]), crs=4490
    )
    assert counts(load_frame(database, "camera_site", frame)) == (2, 0, 0, 0)
    assert {found for (found,) in query(database, "SELECT id FROM baige.camera_site")} == set(ids)
    frame["id"] = [str(value) for value in ids]
    frame["name_zh"] = ["甲", "丙"]
    assert counts(load_frame(database, "camera_site", frame)) == (0, 1, 1, 0)


def test_a_running_number_called_id_is_not_an_identifier(database: Database, tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", [[1, "甲", 111.3, 30.7]], ["id", "名称", "经度", "纬度"])
    report = load(database, path)
    assert report.ignored == ["id"]
    assert report.inserted == 1


def test_a_large_load_into_an_empty_layer_equals_a_small_one(database: Database, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    count = 60_000
    frame = gpd.GeoDataFrame(
        {"device_code": [f"{i:020d}" for i in range(count)], "name_zh": [f"点{i}" for i in range(count)], "azimuth_deg": rng.uniform(0, 360, count)},
        geometry=shapely.points(rng.uniform(110.3, 112, count), rng.uniform(30, 31.5, count)), crs=4490,
    )  # fmt: skip
    frame.loc[7, "azimuth_deg"] = 999.0
    frame.loc[59_999, "device_code"] = f"{3:020d}"
    indexes = (
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'baige' AND tablename = 'camera_site' ORDER BY 1"
    )
    before = query(database, indexes)
    report = load_frame(database, "camera_site", frame)
    assert counts(report) == (count - 2, 0, 0, 2)
    assert reasons(database, report) == {8: ["too_large"], 60_000: ["duplicate_key"]}
    assert query(database, indexes) == before
    assert query(database, "SELECT inserted FROM baige_sys.change_set WHERE id = :id", id=report.change_id) == [
        (count - 2,)
    ]
    # The second time the layer is not empty, so that the same rows take the other way through.
    assert counts(load_frame(database, "camera_site", frame)) == (0, 0, count - 2, 2)
    total = query(database, "SELECT sum(ST_X(geom)), sum(ST_Y(geom)), sum(azimuth_deg) FROM baige.camera_site")[0]
    kept = frame.drop(index=[7, 59_999])
    assert total == pytest.approx((kept.geometry.x.sum(), kept.geometry.y.sum(), kept["azimuth_deg"].sum()))


def test_a_layer_of_its_own_system_and_type(database: Database, tmp_path: Path) -> None:
    declaration = read_declaration(
        'name = "own_line"\ntitle_zh = "自建"\ntitle_en = "Own"\ngeometry = "MultiLineString"\nsrid = 4546\n'
        '[[fields]]\nname = "kinds"\ntype = "text[]"\ntitle_zh = "种类"\ntitle_en = "Kinds"\n'
    )
    add_layer(database, declaration)
    path = table(
        tmp_path / "a.csv",
        [["a；b", "LINESTRING (111.2 30.6, 111.3 30.7)"], ["", "LINESTRING (7 43, 8 44)"], ["x", "LINESTRING (oops"]],
        ["种类", "WKT"],
    )
    report = load(database, path, "own_line")
    assert reasons(database, report) == {3: ["outside"], 4: ["bad_wkt"]}
    found = query(database, "SELECT kinds, ST_SRID(geom), ST_Length(geom) FROM baige.own_line")
    expected = query(
        database, "SELECT ST_Length(ST_Transform(ST_GeomFromText('LINESTRING (111.2 30.6, 111.3 30.7)', 4490), 4546))"
    )[0][0]
    assert found == [(["a", "b"], 4546, pytest.approx(expected, rel=1e-6))]


def test_a_workbook_of_officers(database: Database, tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for cells in (["摄像机点位一览表"], HEAD, row(1), row(2, 点位名称="=A1"), row(3, 设备编码=42050200001310000003)):
        sheet.append(cells)
    book.save(tmp_path / "a.xlsx")
    report = load(database, tmp_path / "a.xlsx")
    assert counts(report) == (1, 0, 0, 2)
    assert reasons(database, report) == {4: ["formula_not_computed"], 5: ["digits_lost"]}


def test_rights_of_the_caller_hold(database: Database, tmp_path: Path) -> None:
    head = [*HEAD, "行政区划代码"]
    path = table(tmp_path / "a.csv", [[*row(1), "420502001"]], head)
    options = LoadOptions(crs="4490")
    with pytest.raises(Forbidden):
        load_file(database, "camera_site", path, options=options, principal=Principal("viewer", "420502"))
    with pytest.raises(Forbidden):
        load_file(database, "camera_site", path, options=options, principal=Principal("officer", "420503"))
    assert query(database, "SELECT count(*) FROM baige.camera_site") == [(0,)]
    report = load_file(
        database, "camera_site", path, options=options, principal=Principal("officer", "420502", key_id="key-7")
    )
    assert counts(report) == (1, 0, 0, 0)
    assert query(database, "SELECT actor, file_name, src_crs, file_format FROM baige_sys.load_run") == [
        ("key-7", "a.csv", "4490", "CSV utf-8-sig")
    ]
    assert query(database, "SELECT actor, role FROM baige_sys.change_set WHERE id = :id", id=report.change_id) == [
        ("key-7", "officer")
    ]


def test_what_cannot_work_at_all(database: Database, tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", [["1", "2"]], ["甲", "乙"])
    with pytest.raises(InputError, match="No column of the file is known"):
        load(database, path)
    with pytest.raises(NotFound):
        load(database, path, "no_such_layer")
    with pytest.raises(UnknownField):
        load(database, path, maps={"丙": "name_zh"})
    with pytest.raises(CRSMismatch):
        load(database, table(tmp_path / "b.csv", [row(1)]), crs="EPSG:999999")
    with pytest.raises(InputError, match="persons or access"):
        load(database, table(tmp_path / "c.csv", [row(1)]), maps={"联系人": "owner_org"})


def test_a_table_without_places(database: Database, tmp_path: Path) -> None:
    load(database, table(tmp_path / "o.csv", [["N-0001", 111.3, 30.7]], ["code_national", "lon", "lat"]), "outfall")
    sample = built("outfall_sample")
    pollutant = sample.field("pollutant")
    value = pollutant.domain[0].zh if pollutant.domain else "NH3-N"
    rows = [
        ["N-0001", value, "0.35", "2024-03-01 08:00"],
        ["N-0009", value, "1", "2024-03-01"],
        ["N-0001", value, "", "2024-03-02"],
    ]
    head = ["outfall_id", "pollutant", "value", "sampled_at"]
    report = load(database, table(tmp_path / "a.csv", rows, head), "outfall_sample", crs=None)
    assert reasons(database, report)[3] == ["ref_unknown"]
    assert query(database, "SELECT value, sampled_at FROM baige.outfall_sample WHERE value IS NOT NULL") == [
        (0.35, dt.datetime(2024, 3, 1, tzinfo=dt.UTC))
    ]
    assert counts(load(database, tmp_path / "a.csv", "outfall_sample", crs=None))[0] == 0


def test_a_register_is_loaded_without_the_libraries_that_are_slow_to_import(database: Database, tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", [row(1), row(2, 方位角="x"), row(2)])
    script = (
        "import sys; from pathlib import Path; from layers.database import Database; from layers.loading.files import load_file; "
        "from layers.loading.options import LoadOptions; "
        "report = load_file(Database(sys.argv[1]), 'camera_site', Path(sys.argv[2]), options=LoadOptions(crs='gcj02')); "
        "print(report.inserted, report.quarantined, sorted({'pandas', 'geopandas', 'alembic', 'geoalchemy2'} & sys.modules.keys()))"
    )
    url = database.engine.url.render_as_string(hide_password=False)
    done = subprocess.run(
        [sys.executable, "-c", script, url, str(path)], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "2 1 []"
