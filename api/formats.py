"""Features as files: CSV written by PostgreSQL and passed on in pieces; FlatGeobuf, GeoParquet and GeoPackage by way of a temporary file.

All rows of an answer come from one snapshot. Memory stays the same however many there are. When the client leaves, the statement in the
database ends. A file of all rows without ``sortby`` has them in the order of storage, which costs least; a file of one page is in order.
"""

import asyncio
import importlib
import logging
import os
import tempfile
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import psycopg
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from api.asking import FORMATS, Asked
from api.replica import READS, Offer
from api.sheets import write_sheet
from api.state import State, while_connected
from gis.errors import BaigeError, Cancelled, InputError, QueryFailed
from layers.access import Principal
from layers.database import driver_errors, principal_settings
from layers.query.fragment import Fragment
from layers.query.items import geometry_sql
from layers.query.paging import WHOLE, Part
from layers.query.source import Column

if TYPE_CHECKING:
    import adbc_driver_postgresql.dbapi
    import pyarrow as pa

__all__ = ["Stopping", "preload", "stream", "write_file"]

log = logging.getLogger("baige.api")

_EXPORT_TIMEOUT_S = 600.0
_CHUNK = 1 << 16
#: Rows between two looks whether the file is still wanted: of most formats a tenth of a second's, of a workbook a second's.
_PIECE_ROWS = (50_000, 2_000)
#: Files made at the same time in one worker; more wait.
_SLOTS = asyncio.Semaphore(4)


class Stopping:
    """Lets one thread end the question that another waits for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cursor: adbc_driver_postgresql.dbapi.Cursor | None = None
        self.asked = False

    def watch(self, cursor: "adbc_driver_postgresql.dbapi.Cursor | None") -> None:
        """The cursor to stop from now on; None for none.

        Raises
        ------
        Cancelled
            Stopping was asked for before.
        """
        with self._lock:
            self._cursor = cursor
            if self.asked and cursor is not None:
                raise Cancelled("The file is not wanted any more.", zh="已不再需要该文件。")

    def heeded(self, rows: "pa.RecordBatchReader", size: int) -> "pa.RecordBatchReader":
        """The same rows in pieces of ``size``, which end with Cancelled once stopping is asked for: writing takes longer than the question."""
        import pyarrow as pa

        def pieces() -> Iterator[pa.RecordBatch]:
            for batch in rows:
                for first in range(0, batch.num_rows, size):
                    if self.asked:
                        raise Cancelled("The file is not wanted any more.", zh="已不再需要该文件。")
                    yield batch.slice(first, size)

        return pa.RecordBatchReader.from_batches(rows.schema, pieces())

    def stop(self) -> None:
        """End the question, now or as soon as it begins."""
        with self._lock:
            self.asked = True
            if self._cursor is not None:
                self._cursor.adbc_cancel()


def preload() -> None:
    """Import what files need: it takes a second or two, which the first to ask for one should not wait for."""
    for name in ("adbc_driver_postgresql.dbapi", "pyarrow.csv", "pyarrow.parquet", "pyogrio", "pyproj"):
        importlib.import_module(name)


class _Passing(FileResponse):
    """A temporary file, deleted once it is sent or the client has left."""

    chunk_size = 1 << 20

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            os.unlink(self.path)


def _columns(asked: Asked) -> list[Column]:
    names = asked.question.properties
    return [c for c in asked.question.source.properties if names is None or c.name in names]


def _geometry(asked: Asked) -> str | None:
    question = asked.question
    if not (question.source.has_geometry and question.geometry):
        return None
    # files keep x, y order whatever the authority says: their formats have it so
    return geometry_sql(question.source, question.srid)


def _rows(asked: Asked, listed: list[str], part: Part) -> Fragment:
    order = asked.question.order
    select = Fragment(f"SELECT {', '.join(listed)} FROM {asked.question.source.table} AS t") + asked.question.where(*part.conditions)
    if order.keys or asked.limit is not None:
        select = select + f" ORDER BY {order.order_by}"
    if asked.limit is not None and not part.bounded:
        select = select + Fragment(" LIMIT %s::bigint", (asked.limit,))
    return select


async def stream(
    request: Request, state: State, principal: Principal, asked: Asked, headers: dict[str, str], *, part: Part = WHOLE
) -> Response:
    """All features asked for, in a file format.

    Parameters
    ----------
    part : Part
        The page wanted, where a limit was given.

    Raises
    ------
    InputError
        The format cannot do what is asked.
    """
    source = asked.question.source
    if asked.format == "fgb" and _geometry(asked) is None:  # the format is one of places
        raise InputError("f=fgb: this needs a geometry.", zh="f=fgb 需要几何。")
    state.reads.note(principal, source.name)
    headers = {**headers, "Content-Disposition": f'attachment; filename="{source.name}.{asked.format}"'}
    if asked.format == "csv":
        bom = request.query_params.get("bom", "false").lower() == "true"
        return _Streamed(_csv(state, principal, asked, part, bom=bom), headers=headers, media_type="text/csv; charset=utf-8")
    path = await while_connected(request, _file(state, principal, asked, part))
    return _Passing(path, headers=headers, media_type=FORMATS[asked.format])


async def _file(state: State, principal: Principal, asked: Asked, part: Part) -> str:
    stopping = Stopping()
    async with _SLOTS:
        offer = await state.reader.replica.offer() if state.reader.replica is not None else None
        making = asyncio.create_task(
            asyncio.to_thread(write_file, state.database.conninfo, principal, asked, part=part, stopping=stopping, replica=offer)
        )
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            await asyncio.to_thread(stopping.stop)
            with suppress(BaigeError):
                os.unlink(await making)
            raise


class _Streamed(StreamingResponse):
    """A streamed answer whose source is closed as soon as it ends, is broken off or the client leaves.

    Starlette's own leaves that to the garbage collector, and the source holds a database connection.
    """

    body_iterator: AsyncGenerator[bytes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def pump() -> None:
            try:
                await self.stream_response(send)
            finally:
                await self.body_iterator.aclose()

        async def left() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        pumping, leaving = asyncio.create_task(pump()), asyncio.create_task(left())
        try:
            await asyncio.wait({pumping, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not pumping.done():
                pumping.cancel()  # once: what it tidies up then is not cancelled again
            await asyncio.gather(pumping, leaving, return_exceptions=True)
        if not pumping.cancelled():
            pumping.result()


async def _csv(state: State, principal: Principal, asked: Asked, part: Part, *, bom: bool) -> AsyncGenerator[bytes]:
    source, geometry = asked.question.source, _geometry(asked)
    listed = ["t.id", *(f'{c.sql} AS "{c.name}"' for c in _columns(asked))]
    if geometry is not None and source.declaration.geometry == "Point":
        listed += [f"ST_X({geometry}) AS x", f"ST_Y({geometry}) AS y"]
    elif geometry is not None:
        listed.append(f"ST_AsText({geometry}, 8) AS geometry_wkt")
    select = _rows(asked, listed, part)
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


def write_file(
    conninfo: str, principal: Principal, asked: Asked, *, part: Part = WHOLE, stopping: Stopping | None = None, replica: Offer | None = None
) -> str:
    """Write CSV, GeoParquet, GeoPackage or FlatGeobuf into a temporary file, and return its path; blocks until done or stopped.

    Parameters
    ----------
    replica : Offer, optional
        Read from it; where it fails, from the start again from the primary at ``conninfo``.
    """
    stopping = stopping or Stopping()
    if replica is not None:
        try:
            return _write(replica.conninfo, principal, asked, part, stopping, place=replica.place)
        except Cancelled:
            raise
        except BaigeError as error:
            READS.labels("primary: replica gone").inc()
            log.warning("a file is read from the primary: %s", error.message)
    return _write(conninfo, principal, asked, part, stopping)


def _write(conninfo: str, principal: Principal, asked: Asked, part: Part, stopping: Stopping, *, place: int | None = None) -> str:
    """The file from one database; from a replica only where it has come to a place.

    The rows come by binary COPY straight into Arrow batches; no row is ever an object of Python. (PostGIS's own ST_AsFlatGeobuf, up to
    3.3 at least, writes wrong columns after a missing value.)
    """
    # a second to import, and needed by few requests
    import adbc_driver_manager
    import adbc_driver_postgresql.dbapi
    import pyarrow as pa
    import pyogrio

    columns, geometry = _columns(asked), _geometry(asked)
    forms = {"uuid": "{}::text", "int": "{}::bigint"}
    if asked.format != "parquet":
        forms["text[]"] = "array_to_string({}, ', ')"
    listed = ["t.id::text AS id", *(f'{forms.get(c.kind, "{}").format(c.sql)} AS "{c.name}"' for c in columns)]
    if geometry is not None:
        listed.append(f"ST_AsText({geometry}, 8) AS geometry_wkt" if asked.format == "csv" else f"ST_AsBinary({geometry}) AS geometry")
    select = _rows(asked, listed, part)
    settings, values = principal_settings(principal, timeout_s=_EXPORT_TIMEOUT_S)
    bound: dict[str, Any] = {**values, "place": place}
    if place is not None:
        settings += ", baige_sys.replayed(%(place)s)"
    handle, name = tempfile.mkstemp(prefix="baige-", suffix=f".{asked.format}")
    os.close(handle)
    path = Path(name)
    path.unlink()
    # when this process is killed its statement ends too
    conninfo = psycopg.conninfo.make_conninfo(conninfo, options="-c client_connection_check_interval=500 -c search_path=public")
    try:
        with driver_errors(), psycopg.connect(conninfo, application_name="baige-export") as quoting:
            query = _literal(quoting, select)
            prepare = psycopg.ClientCursor(quoting).mogrify(settings.encode(), bound)
        with adbc_driver_postgresql.dbapi.connect(conninfo) as connection, connection.cursor() as cursor:
            cursor.execute(prepare)
            cursor.fetchall()
            stopping.watch(cursor)
            try:
                cursor.execute(query)
                rows = stopping.heeded(cursor.fetch_record_batch(), _PIECE_ROWS[asked.format == "xlsx"])
                _write_batches(path, rows, asked, with_geometry=geometry is not None)
            finally:
                stopping.watch(None)
    except (adbc_driver_manager.Error, pa.ArrowException, pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        path.unlink(missing_ok=True)
        if stopping.asked:
            raise Cancelled("The file is not wanted any more.", zh="已不再需要该文件。") from error
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
    if asked.format == "xlsx":
        write_sheet(path, rows, source, asked.lang)
        return
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
    return {"Geometry": "Unknown", "LineStringM": "Measured LineString", "none": "None"}.get(kind, kind)
