"""Files as sources: formats, encodings, header rows, damage, limits."""

import csv
import datetime as dt
import json
import os
import stat
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import openpyxl
import pyogrio
import pytest
import shapely

from gis.errors import BaigeError, InputError, LimitExceeded, UnreadableFile
from layers.catalogue import built_in
from layers.loading.options import LoadOptions
from layers.loading.places import Points, read_wkb
from layers.loading.readers import archive, limits, open_source, sheet

CAMERA = built_in()["camera_site"]
COUNT = 300


def frame() -> gpd.GeoDataFrame:
    xy = np.column_stack([np.linspace(111.0, 111.5, COUNT), np.linspace(30.4, 30.9, COUNT)])
    columns = {
        "名称": [f"点位{i}" for i in range(COUNT)],
        "设备编码": [f"{i:020d}" for i in range(COUNT)],
        "方位角": np.arange(COUNT) % 360 * 1.0,
    }
    return gpd.GeoDataFrame(columns, geometry=shapely.points(xy), crs=4490)


def read(path: Path, **options: Any) -> dict[str, Any]:
    """All of a file: columns, rows, positions, faults, and what the source says of itself."""
    with open_source(path, options=LoadOptions(**options), declaration=CAMERA) as source:
        out: dict[str, Any] = {
            "columns": {h: [] for h in source.headers},
            "rows": [],
            "xy": [],
            "lost": [],
            "cells": {},
        }
        for chunk in source.chunks():
            out["rows"] += chunk.rows.tolist()
            out["lost"] += chunk.lost
            for header, column in chunk.columns.items():
                out["columns"][header] += column.to_pylist()
            for header, codes in chunk.cells.items():
                for code, mask in codes.items():
                    out["cells"].setdefault(header, {}).setdefault(code, []).extend(chunk.rows[mask].tolist())
            if chunk.wkb is not None:
                places = read_wkb(chunk.wkb)
                if isinstance(places, Points):
                    out["xy"] += np.column_stack([places.x, places.y]).tolist()
                else:
                    out["xy"] += [shapely.get_coordinates(s).tolist() for s in places.shapes]
        out |= {
            "crs": source.crs,
            "format": source.format,
            "notes": source.notes,
            "count": source.count,
            "headers": source.headers,
        }
        return out


def write(path: Path, rows: list[list[Any]], encoding: str = "utf-8", **options: Any) -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, **options).writerows(rows)
    return path


def book(path: Path, rows: list[list[Any]], **sheets: list[list[Any]]) -> Path:
    made = openpyxl.Workbook()
    active = made.active
    assert active is not None
    for row in rows:
        active.append(row)
    for name, others in sheets.items():
        more = made.create_sheet(name)
        for row in others:
            more.append(row)
    made.save(path)
    return path


TABLE = [
    ["设备编码", "名称", "经度", "纬度"],
    ["42050200001310000001", "滨江路口", "111.286", "30.692"],
    ["42050200001310000002", "一马路", "111.290", "30.690"],
]


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".geojson", ".geojsonl", ".fgb", ".parquet"])
def test_vector_formats_give_the_same(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    given = frame()
    if suffix == ".parquet":
        given.to_parquet(path)
    elif suffix == ".geojsonl":
        given.to_crs(4326).to_file(path, driver="GeoJSONSeq")
    elif suffix == ".shp":
        given.to_file(path, encoding="gbk")
    else:
        given.to_file(path)
    found = read(path)
    names = found["columns"]["名称"]
    assert sorted(names) == sorted(given["名称"])
    assert found["rows"] == list(range(1, COUNT + 1))
    assert len(found["headers"]) == 3
    order = [int(name.removeprefix("点位")) for name in names]
    assert np.allclose(np.array(found["xy"]), shapely.get_coordinates(given.geometry.values)[order], atol=1e-7)
    assert "4490" in str(found["crs"]) or "2000" in str(found["crs"]) or "4326" in str(found["crs"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "gbk", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_text_tables_of_every_encoding(tmp_path: Path, encoding: str, delimiter: str) -> None:
    found = read(write(tmp_path / "a.csv", TABLE, encoding, delimiter=delimiter))
    assert found["headers"] == TABLE[0]
    assert found["columns"]["名称"] == ["滨江路口", "一马路"]
    assert found["rows"] == [2, 3]


def test_encoding_that_shows_late(tmp_path: Path) -> None:
    rows = [["name", "设备编码"[:0] + "code"], *[["x" * 120, str(i)] for i in range(40_000)], ["末尾", "9"]]
    assert read(write(tmp_path / "a.csv", rows, "gbk"))["columns"]["name"][-1] == "末尾"


def test_row_numbers_are_those_of_the_file(tmp_path: Path) -> None:
    text = '一览表,,\n设备编码,名称,备注\n1,甲,"两\n行"\n\n2,乙\n3,丙,,,\n4,丁,x\n'
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    found = read(path)
    assert found["headers"] == ["设备编码", "名称", "备注"]
    assert (found["rows"], found["columns"]["名称"]) == ([3, 7], ["甲", "丁"])
    assert [(fault.row, fault.reason.code, fault.detail) for fault in found["lost"]] == [
        (5, "wrong_columns", "2"),
        (6, "wrong_columns", "5"),
    ]
    assert found["notes"]


def test_row_numbers_hold_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from layers.loading.readers import text as module

    monkeypatch.setattr(module, "LINE_MAX_BYTES", 200)
    rows: list[list[Any]] = [["名称", "n"]]
    for i in range(2, 3000):
        rows.append([f"点{i}", i] if i % 97 else [f"坏{i}"])
    found = read(write(tmp_path / "a.csv", rows))
    assert found["columns"]["n"] == [str(number) for number in found["rows"]]
    assert [fault.row for fault in found["lost"]] == [i for i in range(2, 3000) if i % 97 == 0]


def test_bytes_that_are_no_text_are_marked(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("名称,编码\n".encode() + b"\xff\xfe\xfa\x80,1\n" + "好,2\n".encode())
    assert read(path, encoding="utf-8")["cells"] == {"名称": {"undecodable": [2]}}


def test_a_line_without_end_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("wb") as file:
        file.write("名称,lon,lat\n甲,111,30\n".encode())
        file.seek(2 * 1024**3)  # a hole: two gigabytes that take no disk
        file.write(b"x\n")
    tracemalloc.start()
    with pytest.raises(LimitExceeded, match="line of more than 4 MB"):
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 1024**2


def test_a_quote_that_is_never_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('名称,n\n甲,1\n"乙,2\n' + "丙,3\n" * 200_000, encoding="utf-8")
    with pytest.raises(BaigeError, match="quotation mark"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"   \n\n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("suffix", [".csv", ".geojson", ".gpkg", ".xlsx", ".shp", ".zip", ".parquet", ".fgb"])
def test_empty_files(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match="empty"):
        read(path)


def test_a_header_without_rows_gives_nothing(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.csv", TABLE[:1]))["rows"] == []
    assert read(book(tmp_path / "a.xlsx", TABLE[:1]))["rows"] == []


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".geojson", ".geojsonl", ".fgb", ".parquet", ".xlsx", ".zip"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.97])
def test_truncated_files_never_give_a_part(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".parquet":
        frame().to_parquet(path)
    elif suffix == ".xlsx":
        book(path, [TABLE[0], *[[f"{i:020d}", f"点{i}", 111.2, 30.6] for i in range(500)]])
    elif suffix == ".zip":
        frame().to_file(tmp_path / "b.gpkg")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
            made.write(tmp_path / "b.gpkg", "b.gpkg")
    else:
        more = {"encoding": "gbk"} if suffix == ".shp" else {}
        frame().to_file(path, driver="GeoJSONSeq" if suffix == ".geojsonl" else None, **more)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UnreadableFile):
        read(path)


def test_what_is_not_what_its_name_says(tmp_path: Path) -> None:
    for suffix in (".gpkg", ".shp", ".fgb", ".parquet", ".xlsx", ".zip", ".xls"):
        path = tmp_path / f"a{suffix}"
        path.write_text("名称,经度\n", encoding="utf-8")
        with pytest.raises(UnreadableFile):
            read(path)
    with pytest.raises(InputError, match="format is not known"):
        read(write(tmp_path / "a.doc", TABLE))
    with pytest.raises(UnreadableFile, match="no such file"):
        read(tmp_path / "missing.csv")


def test_a_workbook_named_csv_is_read_as_a_workbook(tmp_path: Path) -> None:
    made = book(tmp_path / "a.xlsx", TABLE)
    made.rename(tmp_path / "a.csv")
    assert read(tmp_path / "a.csv")["columns"]["名称"] == ["滨江路口", "一马路"]


def shapefile(folder: Path, *, without: tuple[str, ...] = (), encoding: str = "gbk") -> Path:
    folder.mkdir()
    frame().to_file(folder / "a.shp", encoding=encoding)
    for suffix in without:
        (folder / f"a{suffix}").unlink()
    return folder / "a.shp"


def test_shapefile_without_index_is_read_and_left_alone(tmp_path: Path) -> None:
    path = shapefile(tmp_path / "s", without=(".shx",))
    before = sorted(p.name for p in path.parent.iterdir())
    found = read(path)
    assert len(found["rows"]) == COUNT
    assert any(".shx" in en for _zh, en in found["notes"])
    assert sorted(p.name for p in path.parent.iterdir()) == before
    assert pyogrio.get_gdal_config_option("SHAPE_RESTORE_SHX") is None


def foreign_shapefile(folder: Path, encoding: str) -> Path:
    """A shapefile whose .dbf says nothing of its encoding, as other programs write it: names of fields cut at ten bytes."""
    folder.mkdir()
    plain = frame().rename(columns={"名称": "aaaaaaaaaa", "设备编码": "bbbbbbbbbb"})
    plain["aaaaaaaaaa"] = "yyyyyyyyyy"
    plain.to_file(folder / "a.shp", encoding="utf-8")
    (folder / "a.cpg").unlink()
    path = folder / "a.dbf"
    data = path.read_bytes()
    for placeholder, word in ((b"a" * 10, "摄像机名称"), (b"b" * 10, "设备编码"), (b"y" * 10, "滨江路")):
        cut = word.encode(encoding)[:10]
        data = data.replace(placeholder, cut.ljust(10, b" " if placeholder[:1] == b"y" else b"\x00"))
    path.write_bytes(data[:29] + b"\x00" + data[30:])
    return folder / "a.shp"


@pytest.mark.parametrize(
    ("encoding", "headers"), [("gbk", ["摄像机名称", "设备编码", "方位角"]), ("utf-8", ["摄像机", "设备编", "方位角"])]
)
def test_shapefile_encoding_without_cpg(tmp_path: Path, encoding: str, headers: list[str]) -> None:
    found = read(foreign_shapefile(tmp_path / "s", encoding))
    assert found["headers"][:2] == headers[:2]
    assert found["columns"][headers[0]][:2] == ["滨江路", "滨江路"]


def test_shapefile_with_a_lying_cpg(tmp_path: Path) -> None:
    path = shapefile(tmp_path / "s")
    path.with_suffix(".cpg").write_text("UTF-8")
    found = read(path)
    assert found["columns"]["名称"][:1] == ["点位0"]
    assert any(".cpg" in en for _zh, en in found["notes"])


def test_shapefile_without_prj_has_no_system(tmp_path: Path) -> None:
    assert read(shapefile(tmp_path / "s", without=(".prj",)))["crs"] is None


def test_shapefile_with_a_dbf_cut_off(tmp_path: Path) -> None:
    path = shapefile(tmp_path / "s")
    dbf = path.with_suffix(".dbf")
    dbf.write_bytes(dbf.read_bytes()[:-2000])
    with pytest.raises(UnreadableFile, match="cut off"):
        read(path)


def test_shapefile_in_a_zip_with_chinese_names(tmp_path: Path) -> None:
    path = shapefile(tmp_path / "s")
    made = tmp_path / "点位.zip"
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archived:
        for part in path.parent.iterdir():
            archived.write(part, f"数据/点位{part.suffix}")
        archived.writestr("数据/说明.pdf", b"x")
    assert len(read(made)["rows"]) == COUNT


@pytest.mark.parametrize(
    "name", ["../evil.csv", "a/../../evil.csv", "/etc/evil.csv", "..\\evil.csv", "C:\\evil.csv", "C:/evil.csv"]
)
def test_a_path_out_of_the_zip_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in" / "side"
    folder.mkdir(parents=True)
    made = folder / "a.zip"
    with zipfile.ZipFile(made, "w") as archived:
        archived.writestr("good.csv", "名称,经度,纬度\n")
        archived.writestr(name, "名称\n")
    with pytest.raises(UnreadableFile, match="out of the archive"):
        read(made)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["a.zip"]


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    made = tmp_path / "a.zip"
    with zipfile.ZipFile(made, "w") as archived:
        member = zipfile.ZipInfo("a.csv")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archived.writestr(member, "/etc/passwd")
    with pytest.raises(UnreadableFile, match="link"):
        read(made)


def test_zip_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dense = tmp_path / "dense.zip"
    with zipfile.ZipFile(dense, "w", zipfile.ZIP_DEFLATED) as archived, archived.open("a.csv", "w") as member:
        for _ in range(120):
            member.write(bytes(1024**2))
    with pytest.raises(LimitExceeded, match="unpack"):
        read(dense)
    many = tmp_path / "many.zip"
    with zipfile.ZipFile(many, "w") as archived:
        for i in range(limits.ARCHIVE_MAX_MEMBERS + 1):
            archived.writestr(f"{i}.txt", "")
    with pytest.raises(LimitExceeded, match="more than"):
        read(many)
    monkeypatch.setattr(archive, "ARCHIVE_MAX_BYTES", 10)
    plain = tmp_path / "plain.zip"
    with zipfile.ZipFile(plain, "w") as archived:
        archived.writestr("a.csv", "名称,经度,纬度\n甲,111,30\n")
    with pytest.raises(LimitExceeded):
        read(plain)


def test_an_encrypted_zip_and_several_files(tmp_path: Path) -> None:
    made = tmp_path / "a.zip"
    with zipfile.ZipFile(made, "w") as archived:
        archived.writestr("a.csv", "名称,经度,纬度\n甲,111,30\n")
        archived.writestr("b.csv", "名称,经度,纬度\n乙,111,30\n")
    with pytest.raises(InputError, match="--layer-in-file"):
        read(made)
    assert read(made, layer_in_file="b.csv")["columns"]["名称"] == ["乙"]
    data = bytearray(made.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = data.find(mark)
        while start >= 0:
            data[start + at] |= 1
            start = data.find(mark, start + 4)
    made.write_bytes(bytes(data))
    with pytest.raises(UnreadableFile, match="encrypted"):
        read(made, layer_in_file="b.csv")


def test_several_layers_in_a_geopackage(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    frame().to_file(path, layer="one")
    frame().head(5).to_file(path, layer="two")
    with pytest.raises(InputError, match="one, two"):
        read(path)
    assert len(read(path, layer_in_file="two")["rows"]) == 5
    with pytest.raises(InputError, match="no layer 'three'"):
        read(path, layer_in_file="three")


def test_workbook_types_titles_and_row_numbers(tmp_path: Path) -> None:
    rows = [["摄像机点位一览表"], [], ["设备编码", "名称", "经度", "纬度", "备案日期", "标识"],
            ["42050200001310000001", "甲", 111.286, 30.692, dt.date(2024, 3, 1), True], [], [42050200001310000001, 7,
            "111.3", 30.7, 45352, "是"]]  # fmt: skip
    found = read(book(tmp_path / "a.xlsx", rows))
    assert found["headers"] == rows[2]
    assert found["rows"] == [4, 6]
    assert found["columns"]["名称"] == ["甲", "7"]
    assert found["columns"]["设备编码"] == ["42050200001310000001", "4.205020e+19"]
    assert found["columns"]["备案日期"] == ["2024-03-01", "45352"]


def test_formulas_are_never_evaluated(tmp_path: Path) -> None:
    path = book(
        tmp_path / "a.xlsx",
        [
            TABLE[0],
            ["1", "=1+1", 111.2, 30.6],
            ["2", '=HYPERLINK("http://x","y")', "=111+0.3", 30.6],
            ["3", "丙", 111.2, 30.6],
        ],
    )
    found = read(path)
    assert found["cells"] == {"名称": {"formula_not_computed": [2, 3]}, "经度": {"formula_not_computed": [3]}}
    assert found["rows"] == [2, 3, 4]


def test_a_formula_shows_its_computed_value(tmp_path: Path) -> None:
    path = book(
        tmp_path / "a.xlsx",
        [TABLE[0], ["1", "甲", "=111+0.3", 30.6], ["2", "乙", "=1/0", 30.6], ["3", '="丙"', 111.2, 30.6]],
    )
    computed = tmp_path / "b.xlsx"
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(computed, "w") as after:
        for member in before.infolist():
            data = before.read(member)
            if member.filename.endswith("sheet1.xml"):
                data = data.replace(b"<f>111+0.3</f><v></v>", b"<f>111+0.3</f><v>111.3</v>").replace(
                    b"<f>111+0.3</f><v />", b"<f>111+0.3</f><v>111.3</v>"
                )
                data = data.replace(b'<c r="C3"><f>1/0</f><v></v></c>', b'<c r="C3" t="e"><f>1/0</f><v>#DIV/0!</v></c>')
                data = data.replace(b'<c r="C3"><f>1/0</f><v /></c>', b'<c r="C3" t="e"><f>1/0</f><v>#DIV/0!</v></c>')
                assert b"111.3" in data
                assert b"DIV" in data
            after.writestr(member, data)
    found = read(computed)
    assert found["columns"]["经度"][0] in (111.3, "111.3")
    assert found["cells"] == {"经度": {"cell_error": [3]}, "名称": {"formula_not_computed": [4]}}


def test_sheets(tmp_path: Path) -> None:
    path = book(tmp_path / "a.xlsx", [["说明"], ["一些文字"]], 点位=TABLE)
    assert read(path)["columns"]["名称"] == ["滨江路口", "一马路"]
    twice = book(tmp_path / "b.xlsx", TABLE, 另一=TABLE)
    with pytest.raises(InputError, match="--sheet"):
        read(twice)
    assert len(read(twice, sheet="另一")["rows"]) == 2
    with pytest.raises(InputError, match="no sheet"):
        read(twice, sheet="无")


def test_a_workbook_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet, "SHEET_MAX_BYTES", 1000)
    with pytest.raises(LimitExceeded, match="save it as CSV"):
        read(book(tmp_path / "a.xlsx", TABLE))


def feature(x: Any, y: Any, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": properties, "geometry": {"type": "Point", "coordinates": [x, y]}}


def test_geojson_oddities(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    features = [
        feature(111.2, 30.6, 名称="甲", d="2024-03-01", n=1),
        feature(111.2, 30.6, 名称=5, d="9999-12-31", n=None),
        {"type": "Feature", "properties": {}, "geometry": None},
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
    found = read(path)
    assert found["columns"]["d"] == ["2024-03-01", "9999-12-31", None]
    assert found["columns"]["名称"] == ["甲", "5", None]
    lines = tmp_path / "a.json"
    lines.write_text("\n".join(json.dumps(f) for f in features), encoding="utf-8")
    assert (read(lines)["format"], len(read(lines)["rows"])) == ("GeoJSONSeq", 3)
    high = tmp_path / "b.geojson"
    high.write_text(
        json.dumps(
            {
                "type": "FeatureCollection",
                "features": [{**features[0], "geometry": {"type": "Point", "coordinates": [111, 30, 5]}}],
            }
        )
    )
    assert read(high)["crs"] == "EPSG:4326"
    broken = tmp_path / "c.geojson"
    broken.write_text('{"type": "FeatureCollection", "features": [{"type"')
    with pytest.raises(UnreadableFile):
        read(broken)


def test_a_line_that_is_no_feature_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.geojsonl"
    path.write_text(
        "\n".join(
            [json.dumps(feature(111.2, 30.6, n=i)) for i in range(5)] + ["{oops", json.dumps(feature(111.2, 30.6, n=9))]
        )
    )
    with pytest.raises(UnreadableFile, match="Line 6"):
        read(path)


def test_parquet_systems(tmp_path: Path) -> None:
    frame().to_crs(4546).to_parquet(tmp_path / "a.parquet")
    with open_source(tmp_path / "a.parquet", options=LoadOptions(), declaration=CAMERA) as source:
        assert "Gauss-Kruger CM 111E" in str(source.crs)
    frame().set_crs(None, allow_override=True).to_parquet(tmp_path / "b.parquet")
    assert read(tmp_path / "b.parquet")["crs"] is None
    frame().drop(columns="geometry").to_parquet(tmp_path / "c.parquet")
    assert read(tmp_path / "c.parquet")["format"] == "Parquet"


def test_old_workbooks_cannot_be_made_here_but_their_mark_is_known(tmp_path: Path) -> None:
    path = tmp_path / "a.xls"
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + os.urandom(600))
    with pytest.raises(UnreadableFile, match="damaged"):
        read(path)
