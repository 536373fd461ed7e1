"""Reading from a streaming replica (``BAIGE_DATABASE_READ_URL``), never anything older than the request.

Before each question the primary is asked how far its log reaches; requests at the same time share one answer. The replica is asked together with
that place, in the same round trip: where it has not come so far, it answers nothing. Then it is asked again for a moment, and after that the
primary is. So whatever was committed before a request arrived, by whomever and through whichever process, is in its answer.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import psycopg_pool
from prometheus_client import Counter

from layers.database import translate

__all__ = ["PLACE", "READS", "Offer", "Replica", "offer_of"]

log = logging.getLogger("baige.api")

#: How long a replica that is a little behind is waited for, and how often it is asked meanwhile.
_CATCH_UP_S = 0.1
_AGAIN_S = 0.01
#: How long one that does not answer is left alone.
_LEFT_ALONE_S = 5.0
_BEHIND, _NO_REPLICA = "BG001", "BG002"
_IDENTITY = "SELECT system_identifier FROM pg_control_system()"
_CHECK = "SELECT baige_sys.replayed(%s)"
#: How far the primary's log reaches, and which server it is. What is acknowledged is on disk, unless that was given up for speed; what else
#: stands in the log but not on disk was nobody's change.
PLACE = (
    "pg_wal_lsn_diff(CASE current_setting('synchronous_commit') WHEN 'off' THEN pg_current_wal_insert_lsn()"
    " ELSE pg_current_wal_flush_lsn() END, '0/0')::bigint"
)

READS = Counter("baige_reads_total", "Questions of users where a replica is set, by who answered: replica, or primary and why.", ["where"])

Connection = psycopg.AsyncConnection[Any]


@dataclass(frozen=True)
class Offer:
    """A replica that had come to a place of the primary's log (bytes) when it was asked; who reads asks it again in the same transaction."""

    conninfo: str
    place: int


def offer_of(replica: str, primary: str, *, patience_s: float) -> Offer | None:
    """The same for who has no event loop: an offer of the replica at ``replica``, or None where it is not good within a time; blocks.

    Parameters
    ----------
    replica, primary : str
        Connection strings.
    """
    until = time.monotonic() + patience_s
    options: dict[str, Any] = {"autocommit": True, "connect_timeout": 5}
    try:
        with psycopg.connect(primary, **options) as own, psycopg.connect(replica, **options) as other:
            place, identity = own.execute(f"SELECT {PLACE}, (SELECT system_identifier FROM pg_control_system())").fetchone()  # type: ignore[misc]
            if other.execute(_IDENTITY).fetchone() != (identity,):
                return None
            while True:
                try:
                    other.execute(_CHECK, (place,))
                except psycopg.Error as error:
                    if error.sqlstate != _BEHIND or time.monotonic() > until:
                        raise
                    time.sleep(_AGAIN_S)
                else:
                    return Offer(replica, int(place))
    except psycopg.Error as error:
        log.info("the replica is not read: %s", type(error).__name__)
        return None


class Replica:
    """A pool of connections to a replica.

    Parameters
    ----------
    conninfo : str
    size : int
        Connections at most.
    configure : callable
        Prepares a new connection.
    place : callable
        How far the primary's log reaches, in bytes, read after the call.
    identity : callable
        The primary's own identifier, which its replicas share.
    """

    def __init__(
        self, conninfo: str, *, size: int, configure: Callable[[Connection], Awaitable[None]], place: Callable[[], Awaitable[int]],
        identity: Callable[[], Awaitable[int]],
    ) -> None:  # fmt: skip
        self._conninfo, self._place, self._identity = conninfo, place, identity
        self._pool = psycopg_pool.AsyncConnectionPool(
            conninfo, min_size=min(2, size), max_size=size, open=False, configure=configure, timeout=2.0, max_waiting=500, reconnect_timeout=1.0,
            kwargs={"application_name": "baige-api-read", "connect_timeout": 5},
        )  # fmt: skip
        self._alone_until = 0.0
        self._known = False

    async def open(self) -> None:
        """Start the pool in the background."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close(timeout=2.0)

    async def attempt[T](self, ask: Callable[[Connection, int], Awaitable[T]]) -> tuple[T] | None:
        """What the replica answers, or None where the primary is to be asked.

        Parameters
        ----------
        ask : callable
            Asks over a connection, and checks with ``baige_sys.replayed`` that the replica has come to a place.
        """
        if time.monotonic() < self._alone_until:
            READS.labels("primary: replica gone").inc()
            return None
        place = await self._place()
        until = time.monotonic() + _CATCH_UP_S
        while True:
            try:
                async with self._pool.connection() as connection:
                    await self._acquaint(connection)
                    answer = await ask(connection, place)
                READS.labels("replica").inc()
                return (answer,)
            except (psycopg.Error, psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests) as error:
                if (why := self._judged(error)) is None:
                    raise translate(error) from error
            if why != "behind" or time.monotonic() > until:
                READS.labels(f"primary: replica {why}").inc()
                return None
            await asyncio.sleep(_AGAIN_S)

    async def offer(self) -> Offer | None:
        """The replica for who reads it over a connection of his own, or None where the primary is to be asked."""

        async def ask(connection: Connection, place: int) -> int:
            await connection.execute(_CHECK, (place,), prepare=True)
            return place

        found = await self.attempt(ask)
        return None if found is None else Offer(self._conninfo, found[0])

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[Connection | None]:
        """A connection to a replica that has come far enough for one transaction to begin, or None."""
        async with AsyncExitStack() as stack:
            connection: Connection | None = None
            if time.monotonic() >= self._alone_until:
                try:
                    place = await self._place()
                    connection = await stack.enter_async_context(self._pool.connection())
                    await self._acquaint(connection)
                    await connection.execute(_CHECK, (place,), prepare=True)
                except (psycopg.Error, psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests) as error:
                    if (why := self._judged(error)) is None:
                        raise translate(error) from error
                    READS.labels(f"primary: replica {why}").inc()
                    await stack.aclose()
                    connection = None
                else:
                    READS.labels("replica").inc()
            yield connection

    async def _acquaint(self, connection: Connection) -> None:
        """Make sure, once, that this is a replica of our primary and of no other: places in two logs cannot be compared."""
        if self._known:
            return
        row = await (await connection.execute(_IDENTITY)).fetchone()
        if row is None or row[0] != await self._identity():
            raise psycopg.InterfaceError("a replica of another database")
        self._known = True

    def _judged(self, error: Exception) -> str | None:
        """Why the primary is to be asked instead; None where it would say the same."""
        state = getattr(error, "sqlstate", None)
        if state == _BEHIND:
            return "behind"
        if isinstance(error, psycopg.errors.SerializationFailure):  # what was read had to be cleared away, as the primary had done
            return "in conflict"
        if isinstance(error, psycopg.errors.QueryCanceled | psycopg.DataError):
            return None
        if isinstance(error, psycopg.ProgrammingError) and not isinstance(error, psycopg.errors.UndefinedFunction):
            return None
        log.warning("the replica is left alone for %.0f s: %s %s", _LEFT_ALONE_S, type(error).__name__, "no replica" if state == _NO_REPLICA else "")
        self._alone_until, self._known = time.monotonic() + _LEFT_ALONE_S, False
        self._check = asyncio.ensure_future(self._pool.check())  # idle connections may have died with it
        return "gone"
