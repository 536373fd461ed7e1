"""The server that a database lives on, as far as a restore needs it: make a database aside, put it in the place of another, drop one."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from gis.errors import ConfigError, Conflict, DatabaseUnavailable
from layers.backup_checksums import SCHEMAS
from layers.cluster import EmbeddedCluster
from layers.cluster_external import libpq_url
from layers.database import driver_errors

__all__ = ["DatabaseServer"]

_LOCK = 0x6261_6962
_NAME_MAX = 40
_SWAP_ATTEMPTS = 6

Connection = psycopg.Connection[tuple[Any, ...]]


class DatabaseServer:
    """Where a database is, and how others are made beside it.

    Parameters
    ----------
    url : str
        Address of the database.
    cluster : EmbeddedCluster, optional
        The embedded cluster that it belongs to; without it the database is the operator's own, and what may be done there is what
        its user may do.
    """

    def __init__(self, url: str, *, cluster: EmbeddedCluster | None = None) -> None:
        self.url = url
        self.cluster = cluster
        self.name = str(make_url(url).database)

    def url_of(self, name: str) -> str:
        """Address of another database of the same server, for the same user."""
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def aside(self, purpose: str) -> str:
        """Name for a database made beside this one."""
        return f"{self.name[:_NAME_MAX]}_{purpose}"

    @contextmanager
    def connect(self, url: str | None = None, *, autocommit: bool = False) -> Iterator[Connection]:
        """A connection to this database, or another; the driver's errors become ours."""
        with (
            driver_errors(),
            psycopg.connect(
                libpq_url(url or self.url), autocommit=autocommit, connect_timeout=10, application_name="baige-backup",
                # "$user" would be the schema of the layers where the owner is called baige
                options="-c search_path=public",
            ) as connection,
        ):  # fmt: skip
            yield connection

    @contextmanager
    def _maintenance(self) -> Iterator[Connection]:
        """A connection from which databases are made and renamed."""
        if self.cluster is not None:
            with self.connect(self.cluster.admin_url(), autocommit=True) as connection:
                yield connection
            return
        for name in ("postgres", "template1"):
            try:
                psycopg.connect(libpq_url(self.url_of(name)), connect_timeout=10).close()
            except psycopg.OperationalError:
                continue
            with self.connect(self.url_of(name), autocommit=True) as connection:
                yield connection
            return
        raise ConfigError(
            "A restore makes a new database beside the old one, for which it must be able to connect to the database 'postgres';"
            " this user cannot.",
            zh="恢复时需在旧数据库旁新建数据库，须能连接名为 postgres 的数据库，而当前用户无法连接。",
        )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep any second restore or verification away from this server; the lock goes with the process.

        Raises
        ------
        Conflict
            Another one is under way.
        """
        with self._maintenance() as connection:
            row = connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone()
            if row is None or not row[0]:
                raise Conflict("Another restore or verification is under way.", zh="另一项恢复或校验正在进行。")
            yield

    def check_may_create(self) -> None:
        """See that this user may make databases.

        Raises
        ------
        ConfigError
            It may not; the message gives the statement that mends it.
        """
        if self.cluster is not None:
            return
        with self.connect() as connection:
            row = connection.execute(
                "SELECT current_user, rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
        if row is not None and not row[1]:
            raise ConfigError(
                f'User {row[0]} may not make databases, which this needs. As superuser: ALTER ROLE "{row[0]}" CREATEDB',
                zh=f'用户 {row[0]} 无权创建数据库，而此操作需要该权限。请由超级用户执行：ALTER ROLE "{row[0]}" CREATEDB',
            )

    def check_may_replace(self) -> None:
        """See that the database may be renamed and that nothing of others lies in it.

        Raises
        ------
        ConfigError
            This user does not own the database.
        Conflict
            It also holds tables that are not Baige's.
        """
        with self.connect() as connection:
            row = connection.execute(
                "SELECT current_user, pg_get_userbyid(datdba), pg_has_role(current_user, datdba, 'MEMBER')"
                " FROM pg_database WHERE datname = current_database()"
            ).fetchone()
            if self.cluster is None and row is not None and not row[2]:
                raise ConfigError(
                    f"Database {self.name} belongs to {row[1]}, so user {row[0]} may not rename it, and without that the restored one cannot"
                    f' take its place. As superuser: ALTER DATABASE "{self.name}" OWNER TO "{row[0]}"',
                    zh=f"数据库 {self.name} 属于 {row[1]}，用户 {row[0]} 无权为其改名，恢复的数据库因而无法替换它。"
                    f'请由超级用户执行：ALTER DATABASE "{self.name}" OWNER TO "{row[0]}"',
                )
            strange = connection.execute(
                "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                " WHERE c.relkind IN ('r', 'p', 'm', 'f', 'v') AND n.nspname <> ALL (%s) AND n.nspname !~ '^pg_'"
                " AND n.nspname <> 'information_schema' AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid"
                " AND d.classid = 'pg_class'::regclass AND d.deptype = 'e') ORDER BY 1 LIMIT 3",
                (list(SCHEMAS),),
            ).fetchall()
        if strange:
            names = ", ".join(str(name) for (name,) in strange)
            raise Conflict(
                f"This database also holds tables that are not Baige's ({names} …): replacing it would lose them."
                " Restore into a database of its own.",
                zh=f"该数据库中还有不属于百格的表（{names} …），替换会使其丢失。请恢复到单独的数据库。",
            )

    def create(self, name: str) -> str:
        """Make an empty database with PostGIS, over what an interrupted attempt left; returns its address.

        Raises
        ------
        ConfigError
            PostGIS cannot be enabled in it by this user.
        """
        self.drop(name)
        if self.cluster is not None:
            return make_url(self.cluster.create_database(name)).render_as_string(hide_password=False)
        with self._maintenance() as connection:
            owner = connection.execute(
                "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s AND pg_has_role(current_user, datdba, 'MEMBER')",
                (self.name,),
            ).fetchone()
            owned = sql.SQL(" OWNER {}").format(sql.Identifier(owner[0])) if owner is not None else sql.SQL("")
            connection.execute(sql.SQL("CREATE DATABASE {}{}").format(sql.Identifier(name), owned))
        url = self.url_of(name)
        try:
            with psycopg.connect(libpq_url(url), connect_timeout=10, autocommit=True) as inside:
                inside.execute("CREATE EXTENSION IF NOT EXISTS postgis")
        except psycopg.errors.InsufficientPrivilege:
            self.drop(name)
            raise ConfigError(
                "This user may not enable PostGIS in a new database. As superuser, once, in database template1: CREATE EXTENSION postgis"
                " (new databases then have it), or run this command as superuser.",
                zh="当前用户无权在新数据库中启用 PostGIS。请由超级用户在 template1 中执行一次 CREATE EXTENSION postgis，或以超级用户运行。",
            ) from None
        return url

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected to it; none of that name is no error."""
        with self._maintenance() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def swap(self, fresh: str) -> str:
        """Put database ``fresh`` in the place of this one, both renamed in one transaction; returns the old one's new name.

        Whoever is connected to the old one is disconnected and finds the new one on connecting again.

        Raises
        ------
        DatabaseUnavailable
            Others could not be disconnected; nothing was changed.
        """
        old = self.aside("before_" + datetime.now(UTC).strftime("%Y%m%d%H%M%S"))
        for attempt in range(_SWAP_ATTEMPTS):
            with self._maintenance() as connection:
                try:
                    connection.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY (%s) AND pid <> pg_backend_pid()",
                        ([self.name, fresh],),
                    )
                    with connection.transaction():
                        for before, after in ((self.name, old), (fresh, self.name)):
                            connection.execute(
                                sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                                    sql.Identifier(before), sql.Identifier(after)
                                )
                            )
                    return old
                except (psycopg.errors.ObjectInUse, psycopg.errors.InsufficientPrivilege):
                    time.sleep(0.2 * attempt)
        raise DatabaseUnavailable(
            "The database is in use by sessions that this user cannot end, so the restored one could not take its place;"
            " nothing was changed. Stop the server and the workers, then try again.",
            zh="数据库正被当前用户无法断开的会话使用，恢复的数据库未能替换它，原数据未变。请停止服务与工作进程后重试。",
        )
