"""Features as files: CSV written by PostgreSQL and passed on in pieces; FlatGeobuf, GeoParquet and GeoPackage by way of a temporary file.

All rows of an answer come from one snapshot. Memory stays the same however many there are.
"""

import asyncio
import logging
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import psycopg
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse

from api.asking import FORMATS, Asked
from api.state import State
from gis.errors import InputError, QueryFailed
from layers.access import Principal
from layers.database import driver_errors, principal_settings
from layers.query.fragment import Fragment
from layers.query.items import geometry_sql
from layers.query.source import Column

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["stream", "write_file"]

log = logging.getLogger("baige.api")

_EXPORT_TIMEOUT_S = 600.0
_CHUNK = 1 << 16
#: Files made at the same time in one worker; more wait.
_SLOTS = asyncio.Semaphore(4)

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
        The format cannot do what is asked.
    """
    source = asked.question.source
    if asked.cursor is not None:
        raise InputError(f"f={asked.format}: files have no pages; leave the cursor out.", zh=f"f={asked.format} 不分页，请去掉 cursor。")
    if asked.format == "fgb" and _geometry(asked) is None:  # the format is one of places
        raise InputError("f=fgb: this needs a geometry.", zh="f=fgb 需要几何。")
    extension = {"gpkg": "gpkg", "parquet": "parquet", "fgb": "fgb", "csv": "csv"}[asked.format]
    headers = {**headers, "Content-Disposition": f'attachment; filename="{source.name}.{extension}"'}
    if asked.format == "csv":
        bom = request.query_params.get("bom", "false").lower() == "true"
        return StreamingResponse(_csv(state, principal, asked, bom=bom), headers=headers, media_type="text/csv; charset=utf-8")
    async with _SLOTS:
        path = await asyncio.to_thread(write_file, state.database.conninfo, principal, asked)
    return FileResponse(path, headers=headers, media_type=FORMATS[asked.format], background=BackgroundTask(os.unlink, path))


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


def _literal(connection: "psycopg.Connection[Any]", select: Fragment) -> str:
    return psycopg.ClientCursor(connection).mogrify(select.text.encode(), select.params)


def write_file(conninfo: str, principal: Principal, asked: Asked) -> str:
    """Write CSV, GeoParquet, GeoPackage or FlatGeobuf into a temporary file, and return its path; blocks.

    The rows come by binary COPY straight into Arrow batches; no row is ever an object of Python. (PostGIS's own ST_AsFlatGeobuf, up to
    3.3 at least, writes wrong columns after a missing value.)
    """
    # a second to import, and needed by few requests
    import adbc_driver_manager
    import adbc_driver_postgresql.dbapi

    source, columns, geometry = asked.question.source, _columns(asked), _geometry(asked)
    forms = {"uuid": "{}::text", "int": "{}::bigint"}
    if asked.format != "parquet":
        forms["text[]"] = "array_to_string({}, ', ')"
    listed = ["t.id::text AS id", *(f'{forms.get(c.kind, "{}").format(c.sql)} AS "{c.name}"' for c in columns)]
    if geometry is not None:
        listed.append(f"ST_AsText({geometry}, 8) AS geometry_wkt" if asked.format == "csv" else f"ST_AsBinary({geometry}) AS geometry")
    select = Fragment(f"SELECT {', '.join(listed)} FROM {source.table} AS t") + asked.question.where()
    select = select + f" ORDER BY {asked.question.order.order_by}" + _limit(asked)
    settings, values = principal_settings(principal, timeout_s=_EXPORT_TIMEOUT_S)
    handle, name = tempfile.mkstemp(prefix="baige-", suffix=f".{asked.format}")
    os.close(handle)
    path = Path(name)
    path.unlink()
    # when this process is killed its statement ends too
    conninfo = psycopg.conninfo.make_conninfo(conninfo, options="-c client_connection_check_interval=500 -c search_path=public")
    try:
        with driver_errors(), psycopg.connect(conninfo, application_name="baige-export") as quoting:
            query = _literal(quoting, select)
            prepare = psycopg.ClientCursor(quoting).mogrify(settings.encode(), values)
        with adbc_driver_postgresql.dbapi.connect(conninfo) as connection, connection.cursor() as cursor:
            cursor.execute(prepare)
            cursor.fetchall()
            cursor.execute(query)
            _write_batches(path, cursor.fetch_record_batch(), asked, with_geometry=geometry is not None)
    except adbc_driver_manager.Error as error:
        path.unlink(missing_ok=True)
        log.warning("export failed: %s", error)
        raise QueryFailed("The file could not be made.", zh="无法生成文件。") from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return name


def _write_batches(path: Path, rows: "pa.RecordBatchReader", asked: Asked, *, with_geometry: bool) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    import pyogrio
    import pyproj
    from pyarrow import csv

    source = asked.question.source
    mark = {"ARROW:extension:name": "geoarrow.wkb"}
    fields = [pa.field("geometry", pa.binary(), metadata=mark) if f.name == "geometry" else f.remove_metadata() for f in rows.schema]
    schema = pa.schema(fields)
    if asked.format == "parquet" and with_geometry:
        crs = "OGC:CRS84" if asked.crs.srid == 4326 else f"EPSG:{asked.crs.srid}"
        geo = {
            "version": "1.1.0", "primary_column": "geometry",
            "columns": {"geometry": {"encoding": "WKB", "geometry_types": [], "crs": pyproj.CRS.from_user_input(crs).to_json_dict()}},
        }  # fmt: skip
        schema = schema.with_metadata({"geo": orjson.dumps(geo)})
    batches = (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in rows)
    if asked.format == "csv":
        with csv.CSVWriter(path, schema) as table:
            for batch in batches:
                table.write_batch(batch)
        return
    if asked.format == "parquet":
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch)
        return
    pyogrio.write_arrow(
        pa.RecordBatchReader.from_batches(schema, batches), path, layer=source.name,
        driver={"gpkg": "GPKG", "fgb": "FlatGeobuf"}[asked.format], crs=f"EPSG:{asked.crs.srid}",
        geometry_name="geometry" if with_geometry else None,
        geometry_type=_ogr_type(source.declaration.geometry) if with_geometry else None,
        **({"SPATIAL_INDEX": "NO"} if asked.format == "fgb" else {}),
    )  # fmt: skip


def _ogr_type(kind: str) -> str:
    return {"Geometry": "Unknown", "LineStringM": "LineString M", "none": "None"}.get(kind, kind)
