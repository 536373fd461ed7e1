"""Reading from the database without waiting: a pool of connections, one round trip for each question, under the asker's role."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg_pool
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.types.string import ByteaBinaryLoader

from api.telemetry import span
from gis.errors import DatabaseUnavailable
from layers.access import DATABASE_ROLES, Principal
from layers.database import translate
from layers.query.fragment import Fragment

if TYPE_CHECKING:
    from api.replica import Replica

__all__ = ["Reader", "as_text", "configure"]

#: How long a request waits for a connection.
_PATIENCE_S = 10.0
#: The same when the last attempt to connect has failed: nobody else has to wait long to hear it.
_PATIENCE_GONE_S = 2.0

Rows = list[tuple[Any, ...]]

_SETTINGS = (
    "SELECT set_config('role', %s, true), set_config('baige.role', %s, true), set_config('baige.district', %s, true),"
    " set_config('baige.key_id', %s, true), set_config('baige.request_id', %s, true), set_config('statement_timeout', %s, true)"
)
_COUNTER = ", (SELECT change_counter FROM baige_sys.layer WHERE name = %s)"
#: Of a replica: an error ends it all where it has not come so far.
_REPLAYED = ", baige_sys.replayed(%s)"


class _BytesLoader(Loader):
    """Text stays the bytes that the server sent: they go on to the client as they are."""

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


def as_text(value: Any) -> Any:
    """A value of a row as text where it came as bytes (the reader hands on what the server sent); else as it is."""
    return value.decode() if isinstance(value, bytes) else value


async def configure(connection: psycopg.AsyncConnection[Any]) -> None:
    """Make a new connection ready: statements by themselves, bytes instead of text."""
    await connection.set_autocommit(True)
    connection.adapters.register_loader("text", _BytesLoader)
    connection.adapters.register_loader("text", ByteaBinaryLoader)  # the same where rows come in binary form, in C: a third less time a row
    connection.prepare_threshold = None


def _settings(principal: Principal, timeout_s: float) -> tuple[str, ...]:
    return (
        DATABASE_ROLES.get(principal.role, "none"), principal.role, principal.district, principal.key_id, principal.request_id,
        str(int(timeout_s * 1000)),
    )  # fmt: skip


class Reader:
    """A pool of read connections.

    A question is two statements in one pipeline: the first puts the transaction under the principal, the second asks. Without an
    explicit BEGIN both run in one implicit transaction that ends with the pipeline, and with it role and settings.
    A question whose task is cancelled is cancelled in the database too.

    Attributes
    ----------
    replica : Replica or None
        Answers users' questions where it has come far enough; the primary does otherwise, and all that is not a user's question.
    """

    replica: "Replica | None" = None

    def __init__(self, conninfo: str, *, size: int) -> None:
        self._conninfo = conninfo
        #: Told of each question of a key's holder: who, its SQL, and how many rows came.
        self.on_read: Callable[[Principal, str, int], None] | None = None
        self._pool = psycopg_pool.AsyncConnectionPool(
            conninfo, min_size=min(2, size), max_size=size, open=False, configure=configure, timeout=_PATIENCE_S, max_waiting=500,
            # the pool's attempts come at ever longer intervals: a short end to them has each request after that make a new one
            reconnect_timeout=1.0, reconnect_failed=self._lost, kwargs={"application_name": "baige-api", "connect_timeout": 5}, check=None,
        )  # fmt: skip

        self._gone = False
        self._checking: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start the pool; connections that cannot be made yet are tried again in the background."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close(timeout=2.0)

    def waiting(self) -> int:
        """How many requests wait for a connection."""
        return int(self._pool.get_stats().get("requests_waiting", 0))

    def _lost(self, _pool: Any) -> None:
        self._gone = True

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        try:
            async with self._pool.connection(timeout=_PATIENCE_GONE_S if self._gone else _PATIENCE_S) as connection:
                self._gone = False
                yield connection
        except psycopg_pool.PoolTimeout as error:
            raise DatabaseUnavailable("No database connection became free in time.", zh="数据库连接繁忙，请稍后重试。") from error
        except psycopg_pool.TooManyRequests as error:
            raise DatabaseUnavailable("Too many requests wait for the database.", zh="等待数据库的请求过多，请稍后重试。") from error
        except psycopg.Error as error:
            raise translate(error) from error

    async def fetch(self, principal: Principal, question: Fragment, *, timeout_s: float = 30.0, prepare: bool = False) -> Rows:
        """All rows of a question; columns of type text come as bytes.

        Parameters
        ----------
        prepare : bool
            Keep the plan; for statements whose plan does not hang on the values.
        """
        return (await self.fetch_counted("", principal, question, timeout_s=timeout_s, prepare=prepare))[1]

    async def fetch_counted(
        self, layer: str, principal: Principal, question: Fragment, *, timeout_s: float = 30.0, prepare: bool = False
    ) -> tuple[int | None, Rows]:
        """As `fetch`, with the change counter of a layer as it was just before the rows were read; None where there is no such layer."""

        async def ask(connection: psycopg.AsyncConnection[Any], place: int | None = None) -> tuple[int | None, Rows]:
            settings, values = _SETTINGS, tuple[Any, ...](_settings(principal, timeout_s))
            if place is not None:
                settings, values = settings + _REPLAYED, (*values, place)
            if layer:
                settings, values = settings + _COUNTER, (*values, layer)
            async with connection.pipeline():
                first, cursor = connection.cursor(), connection.cursor(binary=True)
                await first.execute(settings, values, prepare=True)
                await cursor.execute(question.text, question.params, prepare=prepare)
            told = await first.fetchone() if layer else None
            return told[-1] if told else None, await cursor.fetchall()

        with span("database", attributes={"db.system.name": "postgresql"}):
            found = await self.replica.attempt(ask) if self.replica is not None else None
            counter, rows = found[0] if found is not None else await self._ask(ask)
        if principal.key_id and self.on_read is not None:
            self.on_read(principal, question.text, len(rows))
        return counter, rows

    async def plain(self, sql: str, params: tuple[Any, ...] | dict[str, Any] = ()) -> Rows:
        """A question of the server itself, without any user's role."""

        async def ask(connection: psycopg.AsyncConnection[Any]) -> Rows:
            cursor = await connection.execute(sql, params, prepare=True)
            return await cursor.fetchall()

        return await self._ask(ask)

    async def _ask[T](self, ask: Callable[[psycopg.AsyncConnection[Any]], Awaitable[T]]) -> T:
        """Ask; once more where the connection had died unnoticed, as all do when the database is started anew."""
        try:
            async with self._connection() as connection:
                return await ask(connection)
        except DatabaseUnavailable as error:
            if isinstance(error.__cause__, (psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests)):
                raise
        await self._drop_dead()
        async with self._connection() as connection:
            return await ask(connection)

    async def _drop_dead(self) -> None:
        """Replace the idle connections that have died; requests at the same time share one look."""
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._pool.check())
        await asyncio.shield(self._checking)

    @asynccontextmanager
    async def snapshot(self, principal: Principal, *, timeout_s: float) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """One read-only transaction whose statements all see the same state; for answers made of several questions."""
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(self.replica.fresh()) if self.replica is not None else None
            if connection is None:
                connection = await stack.enter_async_context(self._connection())
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                await connection.execute(_SETTINGS, _settings(principal, timeout_s), prepare=True)
                yield connection
            finally:
                if not connection.closed:
                    await asyncio.shield(connection.execute("ROLLBACK"))
