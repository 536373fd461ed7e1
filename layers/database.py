"""The database: connections, transactions under a principal, and the one place where driver errors become ours."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import psycopg.errors as pge
import psycopg.rows
import sqlalchemy as sa
from sqlalchemy.engine import Connection, make_url

from gis.errors import (
    BackendError,
    BaigeError,
    Conflict,
    DatabaseTimeout,
    DatabaseUnavailable,
    Forbidden,
    InputError,
    LimitExceeded,
    QueryFailed,
)
from layers.access import DATABASE_ROLES, SYSTEM, Principal

__all__ = ["Database", "driver_errors", "principal_settings", "translate"]

log = logging.getLogger(__name__)

_SETTINGS_SQL = (
    "SELECT set_config('role', {role}, true), set_config('baige.role', {name}, true), set_config('baige.district', {district}, true),"
    " set_config('baige.key_id', {key}, true), set_config('baige.request_id', {request}, true),"
    " set_config('statement_timeout', {timeout}, true), set_config('baige.change_id', '', true)"
)


def principal_settings(principal: Principal, *, timeout_s: float | None = None) -> tuple[str, dict[str, str]]:
    """SQL (``%(name)s`` style) and values that put a running transaction under ``principal``, in one round trip."""
    sql = _SETTINGS_SQL.format(
        role="%(role)s",
        name="%(name)s",
        district="%(district)s",
        key="%(key)s",
        request="%(request)s",
        timeout="%(timeout)s",
    )
    values = {
        "role": DATABASE_ROLES.get(principal.role, "none"),
        "name": principal.role,
        "district": principal.district,
        "key": principal.key_id,
        "request": principal.request_id,
        "timeout": str(int((timeout_s or 0) * 1000)),
    }
    return sql, values


def translate(error: BaseException) -> BaigeError:
    """The error of ours that an SQLAlchemy or psycopg error stands for; its own text goes to the log only."""
    cause: BaseException = getattr(error, "orig", None) or error
    log.debug("database error", exc_info=error)
    if isinstance(cause, pge.LockNotAvailable):
        return DatabaseTimeout("Another change holds this up; try again.", zh="另一项修改正在进行，请稍后重试。")
    if isinstance(cause, pge.QueryCanceled):
        return DatabaseTimeout(
            "The database took longer than allowed; ask for less.", zh="数据库超时，请缩小请求范围。"
        )
    if isinstance(cause, (pge.UniqueViolation, pge.ExclusionViolation)):
        return Conflict("A feature with the same key already exists.", zh="已存在相同标识的要素。")
    if isinstance(cause, pge.ForeignKeyViolation):
        return Conflict(
            "Another feature refers to this one, or the one referred to does not exist.",
            zh="存在引用关系，或被引用的要素不存在。",
        )
    if isinstance(cause, (pge.SerializationFailure, pge.DeadlockDetected)):
        return Conflict("Another change came first; try again.", zh="另一项修改已先提交，请重试。")
    if isinstance(cause, pge.InsufficientPrivilege):
        return Forbidden("This role may not do that.", zh="当前角色无权执行此操作。")
    if isinstance(cause, (pge.DiskFull, pge.OutOfMemory, pge.ConfigurationLimitExceeded)):
        return BackendError("The database server has run out of disk or memory.", zh="数据库服务器磁盘或内存不足。")
    if isinstance(cause, (pge.ProgramLimitExceeded, pge.StatementTooComplex)):
        return LimitExceeded("The request is too complex for the database.", zh="请求过于复杂。")
    if isinstance(cause, (pge.NotNullViolation, pge.CheckViolation, pge.DataError)):
        return InputError("The database refused a value.", zh="数据库拒绝了某个值。")
    if isinstance(cause, (psycopg.OperationalError, psycopg.InterfaceError)) or isinstance(error, sa.exc.TimeoutError):
        return DatabaseUnavailable("The database cannot be reached.", zh="无法连接数据库。")
    if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
        return DatabaseUnavailable("The connection to the database was lost.", zh="数据库连接已中断。")
    return QueryFailed("The database could not answer the query.", zh="数据库查询失败。")


@contextmanager
def driver_errors() -> Iterator[None]:
    """Raise our errors where SQLAlchemy's or the driver's come up."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, psycopg.Error) as error:
        raise translate(error) from error


class Database:
    """A PostGIS database with Baige's schema.

    Parameters
    ----------
    url : str
        ``postgresql://…`` or ``postgresql+psycopg://…``.
    pool_size : int
        Connections kept open.

    Attributes
    ----------
    on_read : callable, optional
        Told of each statement of a read-only transaction of somebody with a key: who, its SQL, its rows (None where not counted).
    """

    on_read: Callable[[Principal, str, int | None], None] | None = None

    def __init__(self, url: str, *, pool_size: int = 5) -> None:
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        self.url = parsed
        self.engine = sa.create_engine(
            parsed,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
            pool_timeout=30,
            # "$user" would be the schema of the layers where the owner is called baige
            connect_args={
                "connect_timeout": 10,
                "application_name": "baige",
                "options": "-c search_path=public -c client_connection_check_interval=1000",
            },
        )
        sa.event.listen(self.engine, "after_cursor_execute", self._executed)

    def _executed(self, connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        reader = connection.get_execution_options().get("baige_reader")
        if reader is not None and self.on_read is not None:
            self.on_read(reader, statement, cursor.rowcount if cursor.rowcount >= 0 else None)

    @property
    def conninfo(self) -> str:
        """Connection string for psycopg itself (pools, COPY, LISTEN)."""
        return self.url.set(drivername="postgresql").render_as_string(hide_password=False)

    @contextmanager
    def begin(
        self,
        principal: Principal = SYSTEM,
        *,
        readonly: bool = False,
        timeout_s: float | None = None,
        snapshot: bool = False,
    ) -> Iterator[Connection]:
        """One transaction under ``principal``; committed at the end, rolled back on an error.

        Parameters
        ----------
        principal : Principal
            Whose rights apply.
        readonly : bool
            Refuse any write.
        timeout_s : float, optional
            Limit of each statement.
        snapshot : bool
            All statements see the same state (REPEATABLE READ).

        Raises
        ------
        DatabaseUnavailable, DatabaseTimeout, Forbidden, Conflict, InputError, QueryFailed
        """
        with driver_errors(), self.engine.connect() as connection:
            if snapshot or readonly:
                connection = connection.execution_options(
                    isolation_level="REPEATABLE READ" if snapshot else "READ COMMITTED", postgresql_readonly=readonly
                )
            if readonly and principal.key_id and self.on_read is not None:
                connection = connection.execution_options(baige_reader=principal)
            with connection.begin():
                sql, values = principal_settings(principal, timeout_s=timeout_s)
                connection.exec_driver_sql(sql, values)
                yield connection

    @staticmethod
    def driver_connection(connection: Connection) -> "psycopg.Connection[Any]":
        """The psycopg connection below an SQLAlchemy one, inside the same transaction; for COPY."""
        driver = connection.connection.driver_connection
        if not isinstance(driver, psycopg.Connection):
            raise QueryFailed("Not a psycopg connection.", zh="不是 psycopg 连接。")
        return driver

    @staticmethod
    def fetch(connection: Connection, sql: str, values: Sequence[Any], *, most: int) -> list[tuple[Any, ...]]:
        """Rows of a query with ``%s`` placeholders (as `layers.query` makes them), at most ``most``, in the same transaction."""
        driver = Database.driver_connection(connection)
        with driver_errors(), driver.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
            cursor.execute(sql.encode(), values)
            return cursor.fetchmany(most)

    @staticmethod
    def script(connection: Connection, sql: str) -> None:
        """Run SQL text as it stands: several statements, no parameters."""
        connection.exec_driver_sql(sql.replace("%", "%%"))

    def dispose(self) -> None:
        """Close all connections."""
        self.engine.dispose()
