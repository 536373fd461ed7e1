"""Random and damaged input at every door without a database: an answer, or an error of ours; never another exception."""

import json
import os
import random
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.tiles import _number
from data.osm.notes import Notes
from data.osm.reader import read_extract
from gis.errors import BaigeError
from layers.catalogue import built_in
from layers.loading.options import LoadOptions
from layers.loading.readers import open_source
from layers.query.cql2_sql import compile_filter, parse_json
from layers.query.filters import datetime_filter, ids_filter, read_bbox
from layers.query.source import Source
from layers.query.tilegrid import Tile, matrix_set

EXAMPLES = int(os.environ.get("FUZZ", "60"))
ROUNDS = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
SCHOOL = Source.of(built_in()["school"], 4490, "planner")
WORDS = st.sampled_from(
    ["name_zh", "geometry", "AND", "OR", "NOT", "(", ")", "=", "<>", "<", "LIKE", "BETWEEN", "IN", "IS NULL", "'a'", "'", '"', "1", "-1e308", "1e999",
     "POINT(1 2)", "POLYGON((0 0,1 0,1 1,0 0))", "S_INTERSECTS", "S_DWITHIN", "T_AFTER", "DATE('2024-02-30')", "TIMESTAMP('x')",
     "INTERVAL('..','..')", "CASEI", "A_CONTAINS", ",", "*", "/", "div", "%", "^", "\x00", "长", "\ud800", ";--", "$1", "%s"]
)  # fmt: skip
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from([{"property": "name_zh"}, {"property": "geometry"}, {"property": 1}, {"date": "2024-02-30"}, {"interval": ["..", 1]},
                       {"type": "Point", "coordinates": [1, "x"]}, {"type": "Polygon", "coordinates": []}, {"bbox": [1, 2, 3]}]),
    lambda inner: st.lists(inner, max_size=4)
    | st.fixed_dictionaries({"op": st.sampled_from(["and", "or", "not", "=", "<", "like", "in", "between", "isNull", "+", "s_intersects", "t_during",
                                                   "a_overlaps", "casei", "s_dwithin", "nosuch"]), "args": st.lists(inner, max_size=4)}),
    max_leaves=12,
)  # fmt: skip


def ours(call: Any, *values: Any, **named: Any) -> Any:
    """What a call gives, or None where it refuses with an error of ours."""
    try:
        return call(*values, **named)
    except BaigeError:
        return None


@ROUNDS
@given(st.lists(WORDS, max_size=25).map(" ".join) | st.text(max_size=200))
def test_filter_texts(text: str) -> None:
    found = ours(compile_filter, text, SCHOOL)
    if found is not None:  # whatever was given is bound, never part of the statement
        assert found.text.count("%s") == len(found.params)
        assert ";--" not in found.text


@ROUNDS
@given(TREES)
def test_filter_trees(tree: Any) -> None:
    data = json.dumps(tree)
    ours(parse_json, data)
    ours(compile_filter, data, SCHOOL, lang="cql2-json")


@ROUNDS
@given(st.text(max_size=60) | st.lists(st.floats().map(str) | st.sampled_from(["", "nan", "1e999", "-180", "90"]), max_size=7).map(",".join))
def test_boxes_days_and_ids(text: str) -> None:
    ours(read_bbox, text)
    ours(datetime_filter, SCHOOL, text)
    ours(ids_filter, text)


@ROUNDS
@given(st.tuples(*[st.text("0123456789-+ .e٣", max_size=12)] * 3))
def test_tile_addresses(parts: tuple[str, str, str]) -> None:
    def read(z: str, x: str, y: str) -> Tile:
        return matrix_set("WebMercatorQuad").tile(_number(z, "z"), _number(x, "x"), _number(y, "y"))

    tile = ours(read, *parts)
    assert tile is None or (0 <= tile.x < 2**tile.z and 0 <= tile.y < 2**tile.z)


def read_all(path: Path) -> None:
    """As a load does: open, and go through all chunks."""
    with open_source(path, options=LoadOptions(crs="4326"), declaration=built_in()["school"]) as source:
        for _ in source.chunks():
            pass


def sound(kind: str) -> bytes:
    """A small file of a kind as it should be."""
    if kind == "csv":
        return "学校名称,lon,lat\n一中,111.3,30.7\n二中,111.31,30.71\n".encode("gb18030")
    features = [{"type": "Feature", "id": i, "properties": {"name_zh": f"校{i}", "n": i}, "geometry": {"type": "Point", "coordinates": [111.3, 30.7]}}
                for i in range(3)]  # fmt: skip
    if kind == "geojson":
        return json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False).encode()
    if kind == "geojsonl":
        return "\n".join(json.dumps(f, ensure_ascii=False) for f in features).encode()
    sink = pa.BufferOutputStream()
    geometry = [shapely.to_wkb(shapely.Point(111.3, 30.7))] * 3
    columns = {"geometry": {"encoding": "WKB", "geometry_types": []}}
    meta = {b"geo": json.dumps({"version": "1.0.0", "primary_column": "geometry", "columns": columns})}
    table = pa.table({"name_zh": ["a", "b", "c"], "geometry": pa.array(geometry, pa.binary())}).replace_schema_metadata(meta)
    pa.parquet.write_table(table, sink)
    return bytes(sink.getvalue())


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Cut, overwritten, doubled or with bytes put in."""
    data = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(data) + 1)
        how = rng.randrange(4)
        if how == 0:
            del data[at : at + rng.randrange(1, 40)]
        elif how == 1:
            data[at:at] = rng.choice([b"\x00", b"\xff\xfe", b'"', b"\n", b"1e999", b"{", b"]", bytes(rng.randrange(256) for _ in range(8))])
        elif how == 2 and data:
            data[min(at, len(data) - 1)] = rng.randrange(256)
        else:
            data[at:at] = data[: rng.randrange(1, 60)]
    return bytes(data)


@pytest.mark.parametrize("kind", ["csv", "geojson", "geojsonl", "parquet"])
def test_damaged_files(kind: str, tmp_path: Path) -> None:
    whole = tmp_path / f"whole.{kind}"
    whole.write_bytes(sound(kind))
    read_all(whole)  # the sound one is read
    rng = random.Random(kind)
    for number in range(EXAMPLES):
        path = tmp_path / f"{number}.{kind}"
        path.write_bytes(damaged(sound(kind), rng))
        ours(read_all, path)
        path.unlink()


@ROUNDS
@given(st.binary(max_size=300))
def test_binary_in_every_form(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("csv", "geojson", "parquet", "gpkg", "fgb", "xlsx", "xls", "zip"):
            path = Path(folder) / f"x.{suffix}"
            path.write_bytes(data)
            ours(read_all, path)


PBF = b"\x00\x00\x00\x0d\x0a\x09OSMHeader\x18"


@ROUNDS
@given(st.binary(max_size=200), st.sampled_from([b"", PBF, PBF + b"\x7c", b"\xff\xff\xff\xff"]))
def test_headers_of_pbf(data: bytes, head: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.osm.pbf"
        path.write_bytes(head + data)
        ours(read_extract, path, Notes())
