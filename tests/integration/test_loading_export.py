"""Layers to files and back."""

import csv
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import openpyxl
import pyogrio
import pytest
import shapely
import sqlalchemy as sa

from gis.crs import wgs84_to_bd09, wgs84_to_gcj02
from gis.errors import InputError, UnknownField
from layers.access import Principal
from layers.database import Database
from layers.export import export_layer
from layers.loading.bulk import load_frame
from layers.loading.files import load_file
from layers.loading.options import LoadOptions

COUNT = 120


@pytest.fixture(scope="module", autouse=True)
def _filled(database: Database) -> None:
    rng = np.random.default_rng(2)
    frame = gpd.GeoDataFrame(
        {
            "device_code": [f"{i:020d}" for i in range(COUNT)],
            "name_zh": [f"点位{i}" for i in range(COUNT)],
            "common_name": ["=1+1", "+2", "-3", "@x", *["平常"] * (COUNT - 4)],
            "ptz_type": rng.integers(1, 8, COUNT),
            "net_status": rng.choice(["on", "off", "unknown"], COUNT),
            "azimuth_deg": rng.uniform(0, 360, COUNT),
            "filing_date": ["2024-03-01"] * COUNT,
            "sign_posted": rng.choice([True, False], COUNT),
            "admin_code": ["420502", "420503"] * (COUNT // 2),
            "classification": ["public"] * 10 + ["restricted"] * (COUNT - 10),
        },
        geometry=shapely.points(rng.uniform(111.2, 111.4, COUNT), rng.uniform(30.6, 30.8, COUNT)), crs=4490,
    )  # fmt: skip
    assert load_frame(database, "camera_site", frame, synthetic=True).inserted == COUNT
    areas = gpd.GeoDataFrame(
        {"admin_code": ["420502", "420503"], "level": ["county"] * 2, "name_zh": ["甲", "乙"]},
        geometry=[shapely.box(111.2, 30.6, 111.3, 30.7),
                  shapely.MultiPolygon([shapely.box(111.4, 30.6, 111.5, 30.7), shapely.box(111.6, 30.6, 111.7, 30.7)])],
        crs=4490,
    )  # fmt: skip
    assert load_frame(database, "admin_area", areas).inserted == 2


def everything(database: Database, layer: str = "camera_site") -> list[Any]:
    sql = f"SELECT to_jsonb(c) - 'changed_at' - 'change_id' - 'src_crs' FROM baige.\"{layer}\" c ORDER BY id"
    with database.begin() as connection:
        return list(connection.execute(sa.text(sql)).scalars())


@pytest.mark.parametrize("layer", ["camera_site", "admin_area"])
@pytest.mark.parametrize(
    ("suffix", "lang"),
    [(".gpkg", "en"), (".shp", "en"), (".geojson", "en"), (".geojsonl", "en"), (".fgb", "en"), (".parquet", "en"), (".csv", "zh"), (".csv", "en"),
     (".xlsx", "zh"), (".xlsx", "en")],
)  # fmt: skip
def test_what_goes_out_comes_back_unchanged(
    database: Database, tmp_path: Path, suffix: str, layer: str, lang: str
) -> None:
    path = tmp_path / f"a{suffix}"
    before = everything(database, layer)
    assert export_layer(database, layer, path, lang=lang) == len(before)
    crs = {".csv": "4490", ".xlsx": "4490", ".geojson": "4490", ".geojsonl": "4490"}.get(suffix)
    report = load_file(database, layer, path, options=LoadOptions(crs=crs))
    assert report.quarantined == 0, report.lines("en")
    assert report.inserted == 0
    assert {row["id"] for row in everything(database, layer)} == {row["id"] for row in before}
    digits = 6
    for old, new in zip(before, everything(database, layer), strict=True):
        assert {k: v for k, v in old.items() if k not in ("geom", "azimuth_deg")} == {
            k: v for k, v in new.items() if k not in ("geom", "azimuth_deg")
        }
        assert old.get("azimuth_deg") == pytest.approx(new.get("azimuth_deg"), abs=10**-digits)
        assert np.allclose(
            shapely.bounds(shapely.from_geojson(str(old["geom"]).replace("'", '"'))),
            shapely.bounds(shapely.from_geojson(str(new["geom"]).replace("'", '"'))),
            atol=1e-8,
        )


def test_tables_are_safe_to_open_and_speak_chinese(database: Database, tmp_path: Path) -> None:
    export_layer(database, "camera_site", tmp_path / "a.csv", lang="zh")
    raw = (tmp_path / "a.csv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(raw.decode("utf-8-sig").splitlines()))
    assert {"设备编码", "结构类型", "在线状态", "经度", "纬度"} <= rows[0].keys()
    assert {row["在线状态"] for row in rows} <= {"在线", "离线", "未知"}
    assert sorted(row["点位俗称"] for row in rows if row["点位俗称"] != "平常") == ["'+2", "'-3", "'=1+1", "'@x"]
    export_layer(database, "camera_site", tmp_path / "a.xlsx", lang="zh")
    sheet = openpyxl.load_workbook(tmp_path / "a.xlsx").active
    assert sheet is not None
    assert sheet.title == "摄像机点位"
    formulas = [cell.coordinate for row in sheet.iter_rows() for cell in row if cell.data_type == "f"]
    assert formulas == []
    assert sheet.max_row == COUNT + 1


@pytest.mark.parametrize(("system", "shift"), [("gcj02", wgs84_to_gcj02), ("bd09", wgs84_to_bd09)])
def test_offset_systems(database: Database, tmp_path: Path, system: str, shift: Any) -> None:
    export_layer(database, "camera_site", tmp_path / "plain.gpkg")
    export_layer(database, "camera_site", tmp_path / "a.gpkg", crs=system)
    plain, moved = gpd.read_file(tmp_path / "plain.gpkg"), pyogrio.read_dataframe(tmp_path / "a.gpkg")
    assert moved.crs is None or "Undefined" in str(moved.crs)
    x, y = shift(plain.geometry.x, plain.geometry.y)
    assert np.allclose(moved.geometry.x, x, atol=1e-12)
    assert np.allclose(moved.geometry.y, y, atol=1e-12)


def test_metres(database: Database, tmp_path: Path) -> None:
    export_layer(database, "camera_site", tmp_path / "a.fgb", crs="EPSG:4546")
    frame = gpd.read_file(tmp_path / "a.fgb")
    assert frame.crs.to_epsg() == 4546
    with database.begin() as connection:
        expected = dict(
            connection.execute(
                sa.text("SELECT device_code, ST_X(ST_Transform(geom, 4546)) FROM baige.camera_site")
            ).all()
        )
    assert np.allclose(frame.geometry.x, [expected[code] for code in frame["device_code"]], atol=1e-3)


def test_a_filter(database: Database, tmp_path: Path) -> None:
    with database.begin() as connection:
        expected = connection.execute(
            sa.text("SELECT count(*) FROM baige.camera_site WHERE net_status = 'on' AND azimuth_deg > 180")
        ).scalar_one()
    assert (
        export_layer(database, "camera_site", tmp_path / "a.csv", where="net_status = 'on' AND azimuth_deg > 180")
        == expected
    )
    with pytest.raises(UnknownField):
        export_layer(database, "camera_site", tmp_path / "b.csv", where="nothing = 1")
    assert not (tmp_path / "b.csv").exists()


def test_only_what_the_role_may_see(database: Database, tmp_path: Path) -> None:
    count = export_layer(database, "camera_site", tmp_path / "a.csv", principal=Principal("public"))
    assert count == 10
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text(encoding="utf-8-sig").splitlines()))
    assert "Device code" not in rows[0]
    assert "Name (Chinese)" not in rows[0]  # names of cameras say where they stand
    assert "Administrative code" in rows[0]
    district = export_layer(database, "camera_site", tmp_path / "b.csv", principal=Principal("officer", "420502"))
    assert district == COUNT // 2 + 5
    rows = list(csv.DictReader((tmp_path / "b.csv").read_text(encoding="utf-8-sig").splitlines()))
    assert {"Device code", "Name (Chinese)"} <= set(rows[0])


def test_what_cannot_be_written(database: Database, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="format is not known"):
        export_layer(database, "camera_site", tmp_path / "a.doc")
    with pytest.raises(InputError, match="folder"):
        export_layer(database, "camera_site", tmp_path / "none" / "a.csv")
    with pytest.raises(InputError, match="one type of geometry"):
        export_layer(database, "key_area", tmp_path / "a.shp")
    with pytest.raises(InputError, match="no places"):
        export_layer(database, "outfall_sample", tmp_path / "a.fgb")
    assert export_layer(database, "outfall_sample", tmp_path / "a.csv") == 0
    assert export_layer(database, "key_area", tmp_path / "a.gpkg") == 0
    assert list(tmp_path.iterdir()) != []


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".parquet"])
@pytest.mark.filterwarnings("ignore:Measured")
def test_measures_along_a_river_go_out_and_come_back(database: Database, tmp_path: Path, suffix: str) -> None:
    with database.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO baige.river_axis (name_zh, reach_code, axis_version, is_main_stem, geom) SELECT '长江', 'YZ', 1, true,"
            " ST_AddMeasure(ST_GeomFromText('LINESTRING(111.25 30.74, 111.30 30.70, 111.35 30.66)', 4490), 0, 20000)"
            " WHERE NOT EXISTS (SELECT 1 FROM baige.river_axis)"
        )
    path, before = tmp_path / f"axis{suffix}", everything(database, "river_axis")
    assert export_layer(database, "river_axis", path) == 1
    report = load_file(database, "river_axis", path, options=LoadOptions())
    assert (report.quarantined, report.inserted) == (0, 0), report.lines("en")
    with database.begin() as connection:
        ends = connection.exec_driver_sql("SELECT ST_M(ST_StartPoint(geom)), ST_M(ST_EndPoint(geom)) FROM baige.river_axis").one()
    assert tuple(ends) == (0, 20000) and everything(database, "river_axis")[0]["geom"]["coordinates"] == before[0]["geom"]["coordinates"]
