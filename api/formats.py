"""Features as files: CSV and FlatGeobuf written by PostgreSQL and passed on in pieces; GeoParquet and GeoPackage by way of a temporary file.

All rows of an answer come from one snapshot. Memory stays the same however many there are.
"""

import asyncio
import os
import struct
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pyproj
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse

from api.asking import FORMATS, Asked
from api.state import State
from gis.errors import InputError
from layers.access import Principal
from layers.database import driver_errors, principal_settings
from layers.query.fragment import Fragment
from layers.query.items import geometry_sql
from layers.query.source import Column

__all__ = ["stream"]

_EXPORT_TIMEOUT_S = 600.0
_BATCH = 20_000
_CHUNK = 1 << 16
#: Files made at the same time in one worker; more wait.
_SLOTS = asyncio.Semaphore(4)

_ARROW = {
    "text": pa.string(), "int": pa.int64(), "num": pa.float64(), "bool": pa.bool_(), "date": pa.date32(),
    "datetime": pa.timestamp("us", tz="UTC"), "uuid": pa.string(), "text[]": pa.list_(pa.string()),
}  # fmt: skip


def _columns(asked: Asked) -> list[Column]:
    names = asked.question.properties
    return [c for c in asked.question.source.properties if names is None or c.name in names]


def _geometry(asked: Asked) -> str | None:
    question = asked.question
    if not (question.source.has_geometry and question.geometry):
        return None
    # files keep x, y order whatever the authority says: their formats have it so
    return geometry_sql(question.source, question.srid)


def _limit(asked: Asked) -> Fragment:
    return Fragment(" LIMIT %s::bigint", (asked.limit,)) if asked.limit is not None else Fragment("")


async def stream(request: Request, state: State, principal: Principal, asked: Asked, headers: dict[str, str]) -> Response:
    """All features asked for, in a file format.

    Raises
    ------
    InputError
        The format cannot do what is asked: pages, or an order.
    """
    source = asked.question.source
    if asked.cursor is not None:
        raise InputError(f"f={asked.format}: files have no pages; leave the cursor out.", zh=f"f={asked.format} 不分页，请去掉 cursor。")
    if asked.question.order.keys and asked.format == "fgb":
        raise InputError("f=fgb: no sortby in this format.", zh="f=fgb 不支持 sortby。")
    if asked.format == "fgb" and _geometry(asked) is None:
        raise InputError("f=fgb: this needs a geometry.", zh="f=fgb 需要几何。")
    extension = {"gpkg": "gpkg", "parquet": "parquet", "fgb": "fgb", "csv": "csv"}[asked.format]
    headers = {**headers, "Content-Disposition": f'attachment; filename="{source.name}.{extension}"'}
    if asked.format == "csv":
        bom = request.query_params.get("bom", "false").lower() == "true"
        return StreamingResponse(_csv(state, principal, asked, bom=bom), headers=headers, media_type="text/csv; charset=utf-8")
    if asked.format == "fgb" and source.declaration.geometry not in ("Geometry", "LineStringM"):
        pieces = _flatgeobuf(state, principal, asked)
        first = await anext(pieces, None)
        if first is not None:
            return StreamingResponse(_with_first(first, pieces), headers=headers, media_type=FORMATS["fgb"])
    async with _SLOTS:
        path = await asyncio.to_thread(_write_file, state, principal, asked)
    return FileResponse(path, headers=headers, media_type=FORMATS[asked.format], background=BackgroundTask(os.unlink, path))


async def _with_first(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


async def _csv(state: State, principal: Principal, asked: Asked, *, bom: bool) -> AsyncIterator[bytes]:
    source, geometry = asked.question.source, _geometry(asked)
    listed = ["t.id", *(f'{c.sql} AS "{c.name}"' for c in _columns(asked))]
    if geometry is not None and source.declaration.geometry == "Point":
        listed += [f"ST_X({geometry}) AS x", f"ST_Y({geometry}) AS y"]
    elif geometry is not None:
        listed.append(f"ST_AsText({geometry}, 8) AS geometry_wkt")
    select = Fragment(f"SELECT {', '.join(listed)} FROM {source.table} AS t") + asked.question.where()
    select = select + f" ORDER BY {asked.question.order.order_by}" + _limit(asked)
    if bom:
        yield b"\xef\xbb\xbf"
    async with state.reader.snapshot(principal, timeout_s=_EXPORT_TIMEOUT_S) as connection:
        # COPY takes no bound values: psycopg writes them as literals, quoted by libpq
        cursor = psycopg.AsyncClientCursor(connection)
        text = cursor.mogrify(select.text, select.params)
        pending: list[bytes] = []
        size = 0
        async with cursor.copy(f"COPY ({text}) TO STDOUT WITH (FORMAT csv, HEADER true)".encode()) as copy:
            async for row in copy:
                pending.append(bytes(row))
                size += len(row)
                if size >= _CHUNK:
                    yield b"".join(pending)
                    pending, size = [], 0
        if pending:
            yield b"".join(pending)


async def _flatgeobuf(state: State, principal: Principal, asked: Asked) -> AsyncIterator[bytes]:
    """FlatGeobuf of PostGIS in batches: the first with its header, of the others the features only (the header holds no count)."""
    source, geometry = asked.question.source, _geometry(asked)
    forms = {"text[]": "array_to_json({})::text", "uuid": "{}::text", "date": "{}::text"}
    columns = [f'{forms.get(c.kind, "{}").format(c.sql)} AS "{c.name}"' for c in _columns(asked)]
    inner = f"SELECT {', '.join(['t.id::text AS id', *columns, f'{geometry} AS geom'])} FROM {source.table} AS t"
    left = asked.limit
    after: str | None = None
    async with state.reader.snapshot(principal, timeout_s=_EXPORT_TIMEOUT_S) as connection:
        while left is None or left > 0:
            size = _BATCH if left is None else min(_BATCH, left)
            where = asked.question.where(*([Fragment("t.id > %s::uuid", (after,))] if after else []))
            rows = Fragment(inner) + where + Fragment(" ORDER BY t.id LIMIT %s::bigint", (size,))
            sql = Fragment("SELECT ST_AsFlatGeobuf(q, false, 'geom'), max(q.id), count(*) FROM (") + rows + ") AS q"
            row = await (await connection.execute(sql.text, sql.params, binary=True)).fetchone()
            if row is None or not row[2]:
                return
            data = bytes(row[0])
            if after is not None:
                header_size = struct.unpack_from("<I", data, 8)[0]
                data = data[12 + header_size :]
            yield data
            after = row[1]
            if left is not None:
                left -= row[2]
            if row[2] < size:
                return


def _write_file(state: State, principal: Principal, asked: Asked) -> str:
    """Write GeoParquet, GeoPackage or FlatGeobuf into a temporary file; runs in a thread."""
    source, columns, geometry = asked.question.source, _columns(asked), _geometry(asked)
    listed = ["t.id", *(f'{c.sql} AS "{c.name}"' for c in columns)]
    if geometry is not None:
        listed.append(f"ST_AsBinary({geometry}) AS geometry")
    select = Fragment(f"SELECT {', '.join(listed)} FROM {source.table} AS t") + asked.question.where()
    select = select + f" ORDER BY {asked.question.order.order_by}" + _limit(asked)
    kinds = {**_ARROW, "text[]": _ARROW["text[]"] if asked.format == "parquet" else pa.string()}
    fields = [pa.field("id", pa.string()), *(pa.field(c.name, kinds[c.kind]) for c in columns)]
    if geometry is not None:
        fields.append(pa.field("geometry", pa.binary(), metadata={"ARROW:extension:name": "geoarrow.wkb"}))
    schema = pa.schema(fields)
    handle, name = tempfile.mkstemp(prefix="baige-", suffix=f".{asked.format}")
    os.close(handle)
    path = Path(name)
    try:
        with driver_errors(), psycopg.connect(state.database.conninfo, application_name="baige-export") as connection:
            connection.read_only = True
            settings, values = principal_settings(principal, timeout_s=_EXPORT_TIMEOUT_S)
            connection.execute(settings.encode(), values)
            batches = _batches(connection, select, schema, as_text=asked.format != "parquet")
            if asked.format == "parquet":
                _write_parquet(path, batches, schema, asked, geometry is not None)
            else:
                path.unlink()
                driver = {"gpkg": "GPKG", "fgb": "FlatGeobuf"}[asked.format]
                pyogrio.write_arrow(
                    pa.RecordBatchReader.from_batches(schema, batches), path, layer=source.name, driver=driver,
                    geometry_name="geometry" if geometry is not None else None, crs=f"EPSG:{asked.crs.srid}",
                    geometry_type=_ogr_type(source.declaration.geometry) if geometry is not None else None,
                )  # fmt: skip
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return name


def _ogr_type(kind: str) -> str:
    return {"Geometry": "Unknown", "LineStringM": "LineString M", "none": "None"}.get(kind, kind)


def _batches(connection: "psycopg.Connection[Any]", select: Fragment, schema: pa.Schema, *, as_text: bool) -> Iterator[pa.RecordBatch]:
    with connection.cursor("export") as cursor:
        cursor.itersize = 5000
        cursor.execute(select.text.encode(), select.params, binary=True)
        while rows := cursor.fetchmany(5000):
            arrays = []
            for values, field in zip(zip(*rows, strict=True), schema, strict=True):
                column: Any = values
                if field.name == "id" or (pa.types.is_string(field.type) and values and not isinstance(values[0], str)):
                    column = [None if v is None else ", ".join(v) if isinstance(v, list) and as_text else str(v) for v in values]
                arrays.append(pa.array(column, type=field.type))
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _write_parquet(path: Path, batches: Iterator[pa.RecordBatch], schema: pa.Schema, asked: Asked, has_geometry: bool) -> None:
    """GeoParquet 1.1: WKB column and the metadata ``geo``."""
    if has_geometry:
        crs = {"EPSG:4326": "OGC:CRS84"}.get(f"EPSG:{asked.crs.srid}", f"EPSG:{asked.crs.srid}")
        geo = {
            "version": "1.1.0", "primary_column": "geometry",
            "columns": {"geometry": {"encoding": "WKB", "geometry_types": [], "crs": pyproj.CRS.from_user_input(crs).to_json_dict()}},
        }  # fmt: skip
        schema = schema.with_metadata({"geo": orjson.dumps(geo)})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema), row_group_size=_BATCH)
