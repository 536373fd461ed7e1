"""What a server process knows of the database's state: the catalogue of layers and the layers' change counters.

Both are read from the database, never guessed. The catalogue is read again when the database announces a change of it (and every
second, should an announcement be lost). A change counter that goes into an answer was read after the request arrived; requests that
arrive while a reading is under way share the next one, so that many requests cost few readings.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg

from api.reader import Reader
from api.replica import PLACE
from api.tile_store import REGISTRY, version_of
from gis.errors import BackendError, DatabaseUnavailable, NotFound
from layers.catalogue import built_in
from layers.database import translate
from layers.declaration import LayerDeclaration
from layers.query.source import Source

__all__ = ["Counters", "LiveCatalogue", "no_collection"]

log = logging.getLogger("baige.api")

_POLL_S = 1.0
#: Stands for the counter of keys and sessions among the names of layers; no layer can have it.
_CREDENTIALS = ""
#: And for how far the log of the database reaches, in bytes.
_PLACE = "@"
_COUNTERS = "SELECT name, change_counter FROM baige_sys.layer WHERE name = ANY(%s)"
_COUNTERS_AND_CREDENTIALS = f"{_COUNTERS} UNION ALL SELECT '{_CREDENTIALS}', epoch FROM baige_sys.credential_epoch"
_AND_PLACE = f" UNION ALL SELECT '{_PLACE}', {PLACE}"


def no_collection(name: str) -> NotFound:
    """The error of a layer that does not exist, or not any more."""
    return NotFound(f"There is no collection {name[:60]!r}.", zh=f"没有图层 {name[:60]!r}。")


class LiveCatalogue:
    """The layers of the database, kept up to date.

    Attributes
    ----------
    layers : dict
        Declarations by name.
    version : str
        Changes whenever a layer is added, removed or declared anew, and where another database has taken this one's name (a backup restored):
        its counters say nothing about what was kept of the old one.
    """

    def __init__(self, reader: Reader, conninfo: str, storage_srid: int) -> None:
        self._reader = reader
        self._conninfo = conninfo
        self.storage_srid = storage_srid
        self.layers: dict[str, LayerDeclaration] = {}
        self.version = ""
        self._partitioned: frozenset[str] = frozenset()
        self._sources: dict[tuple[str, str], Source] = {}
        self._listeners: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None

    def on_change(self, call: Callable[[], None]) -> None:
        """Have ``call`` called after each change."""
        self._listeners.append(call)

    async def start(self) -> None:
        """Read the catalogue and keep reading it in the background, from when the database can be reached."""
        with contextlib.suppress(DatabaseUnavailable):
            await self.refresh()
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def refresh(self) -> None:
        """Read the catalogue now; calls at the same time share one reading."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._read())
        await asyncio.shield(self._refreshing)

    async def _read(self) -> None:
        rows = await self._reader.plain(REGISTRY)
        own = {name.decode(): None if is_built_in else declaration for name, is_built_in, declaration, *_ in rows}
        version = version_of(rows)
        if version == self.version:
            return
        known = built_in()
        layers = {name: layer for name, layer in known.items() if name in own}
        layers |= {name: LayerDeclaration.model_validate(d) for name, d in own.items() if d is not None}
        self.layers, self.version, self._sources = layers, version, {}
        self._partitioned = frozenset(name.decode() for name, _, _, partitioned, *_ in rows if partitioned)
        log.info("catalogue %s: %d layers", version, len(layers))
        for call in self._listeners:
            call()

    async def _follow(self) -> None:
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True, application_name="baige-listen")
                async with connection:
                    await connection.execute("LISTEN baige_registry")
                    while True:
                        await self.refresh()
                        async for _ in connection.notifies(timeout=_POLL_S, stop_after=1):
                            pass
            except (psycopg.Error, OSError, BackendError) as error:
                log.warning("catalogue not followed for now: %s", type(error).__name__)
                await asyncio.sleep(_POLL_S)

    def source(self, name: str, role: str) -> Source:
        """A layer as ``role`` sees it.

        Raises
        ------
        NotFound
            There is no such layer.
        """
        key = (name, role)
        found = self._sources.get(key)
        if found is None:
            declaration = self.layers.get(name)
            if declaration is None:
                raise no_collection(name)
            found = self._sources[key] = Source.of(declaration, self.storage_srid, role, partitioned=name in self._partitioned)
        return found

    async def find(self, name: str, role: str) -> Source:
        """As `source`, but a name not known is looked for in the database first: it may just have been added."""
        if name not in self.layers:
            await self.refresh()
        return self.source(name, role)


class Counters:
    """Change counters of the layers, read when asked for; who asks meanwhile shares the next reading.

    Attributes
    ----------
    on_connect : callable or None
        Called before the first counter is read over a new connection: it may lead to another database of the same name.
    """

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self.on_connect: Callable[[], Awaitable[None]] | None = None
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._waiting: list[tuple[str, asyncio.Future[int | None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def current(self, layer: str) -> int:
        """The layer's counter, as it is now or was after this call.

        Raises
        ------
        NotFound
            The layer does not exist any more.
        DatabaseUnavailable
            It cannot be read.
        """
        counter = await self._ask(layer)
        if counter is None:
            raise no_collection(layer)
        return counter

    async def credentials(self) -> int:
        """The counter of keys and sessions, as it is now or was after this call: what is known of a key holds while it stands still."""
        return await self._ask(_CREDENTIALS) or 0

    async def place(self) -> int:
        """How far the database's log reaches (bytes), now or after this call: a replica that has come so far knows all that was committed before."""
        return await self._ask(_PLACE) or 0

    def _ask(self, name: str) -> "asyncio.Future[int | None]":
        future: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((name, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve())
        return future

    async def _serve(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            names = list({name for name, _ in batch})
            try:
                try:
                    found = await self._read(names)
                except psycopg.OperationalError:
                    if self._connection is None or not self._connection.broken:
                        raise
                    found = await self._read(names)  # the connection had died unnoticed, the database may be well
            except (psycopg.Error, OSError, BackendError) as error:
                if self._connection is not None:
                    await self._connection.close()
                    self._connection = None
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error if isinstance(error, BackendError) else translate(error))
                continue
            for name, future in batch:
                if not future.done():
                    future.set_result(found.get(name))

    async def _read(self, names: list[str]) -> dict[str, int]:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._conninfo, autocommit=True, prepare_threshold=0, application_name="baige-counters", connect_timeout=5
            )
            if self.on_connect is not None:
                await self.on_connect()
        sql = _COUNTERS_AND_CREDENTIALS if _CREDENTIALS in names else _COUNTERS
        if _PLACE in names:
            sql += _AND_PLACE
        cursor = await self._connection.execute(sql, (names,))
        return dict(await cursor.fetchall())

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()
