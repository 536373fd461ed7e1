"""The doors that bytes come in by, without a database, for coverage-guided input: each takes any bytes, and raises only errors of ours."""

import contextlib
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import shapely

from api.tiles import _number
from gis.errors import BaigeError
from layers.catalogue import built_in
from layers.loading.options import LoadOptions
from layers.loading.places import read_wkb
from layers.loading.readers import open_source
from layers.query.cql2_sql import compile_filter
from layers.query.filters import datetime_filter, ids_filter, read_bbox
from layers.query.source import Source
from layers.query.tilegrid import MATRIX_SETS, matrix_set

__all__ = ["DOORS", "SEEDS"]

_LAYER = built_in()["school"]
_SOURCE = Source.of(_LAYER, 4490, "planner")


def _bound(text: str, lang: str) -> None:
    found = compile_filter(text, _SOURCE, lang=lang)
    assert found.text.count("%s") == len(found.params)  # whatever was given is bound, never part of the statement


def _filter_text(data: bytes) -> None:
    _bound(data.decode("utf-8", "replace"), "cql2-text")


def _filter_json(data: bytes) -> None:
    _bound(data.decode("utf-8", "replace"), "cql2-json")


def _parameters(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for read in (read_bbox, lambda t: datetime_filter(_SOURCE, t), ids_filter):
        with contextlib.suppress(BaigeError):
            read(text)


def _tile(data: bytes) -> None:
    name, _, rest = data.decode("utf-8", "replace").partition("/")
    z, x, y = [*rest.split("/"), "", "", ""][:3]
    tile = matrix_set(name if name in MATRIX_SETS else "WebMercatorQuad").tile(_number(z, "z"), _number(x, "x"), _number(y, "y"))
    assert min(tile.z, tile.x, tile.y) >= 0


def _wkb(data: bytes) -> None:
    # several values, their lengths in the first bytes, and one that is missing
    cuts = [0, *sorted(min(b, len(data)) for b in data[:3]), len(data)]
    read_wkb(pa.array([*(data[a:b] for a, b in pairwise(cuts)), None], pa.binary()))


def _file(suffix: str) -> Callable[[bytes], None]:
    def read(data: bytes) -> None:
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
            path = Path(folder) / f"x.{suffix}"
            path.write_bytes(data)
            with open_source(path, options=LoadOptions(crs="4326"), declaration=_LAYER) as source:
                for _ in source.chunks():
                    pass

    return read


#: By name; each may raise `BaigeError` and nothing else.
DOORS: dict[str, Callable[[bytes], None]] = {
    "cql2-text": _filter_text, "cql2-json": _filter_json, "parameters": _parameters, "tile": _tile, "wkb": _wkb,
    "csv": _file("csv"), "geojson": _file("geojson"), "geojsonl": _file("geojsonl"),
}  # fmt: skip

#: What a guided search begins with.
SEEDS: dict[str, list[bytes]] = {
    "cql2-text": [
        b"name_zh LIKE '%a_' AND NOT (id IN ('x', 'y') OR valid_from IS NULL)",
        b"S_INTERSECTS(geometry, POLYGON((0 0,1 0,1 1,0 0))) AND S_DWITHIN(geometry, POINT(1 2), 5)",
        b"T_DURING(valid_from, INTERVAL('2020-01-01','..')) OR CASEI(name_zh) = CASEI('A') AND 2 * 3 BETWEEN 1e3 AND -7 ^ 2",
        b"valid_from > DATE('2020-02-29') AND valid_to < TIMESTAMP('2020-01-01T00:00:00Z')",
    ],
    "cql2-json": [
        b'{"op":"and","args":[{"op":"=","args":[{"property":"name_zh"},"x"]},{"op":"isNull","args":[{"property":"valid_from"}]}]}',
        b'{"op":"s_intersects","args":[{"property":"geometry"},{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,0]]]}]}',
        b'{"op":"t_during","args":[{"property":"valid_from"},{"interval":["2020-01-01",".."]}]}',
        b'{"op":"in","args":[{"op":"casei","args":[{"property":"name_zh"}]},["a",{"date":"2020-01-01"}]]}',
    ],
    "parameters": [b"111,30,112,31", b"1,2,3,4,5,6", b"2020-01-01/..", b"../2020-01-01T00:00:00Z", b"0b8a3a3e-9c5b-4a54-9f63-0d1d5d1c9c11"],
    "tile": [b"WebMercatorQuad/3/4/5", b"WorldCRS84Quad/18/1/0"],
    "wkb": [shapely.to_wkb(shapely.from_wkt(text)) for text in ("POINT(1 2)", "POLYGON((0 0,1 0,1 1,0 0))", "MULTILINESTRING((0 0,1 1))")],
    "csv": ["学校名称,lon,lat\n一中,111.3,30.7\n".encode("gb18030"), "﻿name_zh;x;y\n\"a\n\"\"b\";1,5;2\n".encode(), b"a\tb\n1\t2\n"],
    "geojson": [b'{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"a":1},"geometry":{"type":"Point","coordinates":[1,2]}}]}'],
    "geojsonl": [b'{"type":"Feature","properties":{"a":null},"geometry":null}\n{"type":"Feature","properties":{},"geometry":null}\n'],
}
