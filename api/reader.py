"""Reading from the database without waiting: a pool of connections, one round trip for each question, under the asker's role."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import psycopg_pool
from psycopg.abc import Buffer
from psycopg.adapt import Loader

from gis.errors import DatabaseUnavailable
from layers.access import DATABASE_ROLES, Principal
from layers.database import translate
from layers.query.fragment import Fragment

__all__ = ["Reader"]

Rows = list[tuple[Any, ...]]

_SETTINGS = (
    "SELECT set_config('role', %s, true), set_config('baige.role', %s, true), set_config('baige.district', %s, true),"
    " set_config('baige.key_id', %s, true), set_config('baige.request_id', %s, true), set_config('statement_timeout', %s, true)"
)


class _BytesLoader(Loader):
    """Text stays the bytes that the server sent: they go on to the client as they are."""

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    await connection.set_autocommit(True)
    connection.adapters.register_loader("text", _BytesLoader)
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
    """

    def __init__(self, conninfo: str, *, size: int) -> None:
        self._conninfo = conninfo
        self._pool = psycopg_pool.AsyncConnectionPool(
            conninfo, min_size=min(2, size), max_size=size, open=False, configure=_configure, timeout=10.0, max_waiting=500,
            kwargs={"application_name": "baige-api", "connect_timeout": 5}, check=None,
        )  # fmt: skip

    async def open(self) -> None:
        """Start the pool; connections that cannot be made yet are tried again in the background."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close(timeout=2.0)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        try:
            async with self._pool.connection() as connection:
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
        async with self._connection() as connection:
            async with connection.pipeline():
                await connection.cursor().execute(_SETTINGS, _settings(principal, timeout_s), prepare=True)
                cursor = connection.cursor()
                await cursor.execute(question.text, question.params, prepare=prepare)
            return await cursor.fetchall()

    async def plain(self, sql: str, params: tuple[Any, ...] = ()) -> Rows:
        """A question of the server itself, without any user's role."""
        async with self._connection() as connection:
            cursor = await connection.execute(sql, params, prepare=True)
            return await cursor.fetchall()

    @asynccontextmanager
    async def snapshot(self, principal: Principal, *, timeout_s: float) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """One read-only transaction whose statements all see the same state; for answers made of several questions."""
        async with self._connection() as connection:
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                await connection.execute(_SETTINGS, _settings(principal, timeout_s), prepare=True)
                yield connection
            finally:
                if not connection.closed:
                    await asyncio.shield(connection.execute("ROLLBACK"))
