"""Bring a database's schema to the present one: alembic migrations, then functions, triggers and access rules."""

import hashlib
import logging
import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gis.errors import ConfigError, InputError
from gis.settings import CityConfig, load_city
from layers.access import DATABASE_ROLES, LEAKPROOF_FUNCTIONS
from layers.catalogue import built_in
from layers.database import Database
from layers.partitions import put_back, take_apart
from layers.registry import catalogue, install_layer, storage_srid
from layers.schema import schema_metadata

# Alembic takes a third of a second to import; a command that finds the schema current does without it.
if TYPE_CHECKING:
    import alembic.config

__all__ = ["differences", "downgrade", "make_roles", "schema_revisions", "upgrade"]

log = logging.getLogger(__name__)

#: Taken for the length of an upgrade, so that two processes do not upgrade at once.
_LOCK = 0x6261696765

_SCHEMAS = ("baige", "baige_history", "baige_sys")


def alembic_config(connection: Connection, srid: int) -> "alembic.config.Config":
    """Configuration of alembic over an open connection."""
    import alembic.config

    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["storage_srid"] = srid
    return config


def _prepare(connection: Connection, srid: int) -> None:
    for extension, needed in (("postgis", True), ("unaccent", False), ("pg_trgm", False)):
        present = connection.execute(
            sa.text("SELECT 1 FROM pg_extension WHERE extname = :e"), {"e": extension}
        ).scalar()
        available = connection.execute(
            sa.text("SELECT 1 FROM pg_available_extensions WHERE name = :e"), {"e": extension}
        ).scalar()
        if present:
            continue
        if available:
            connection.exec_driver_sql(f"CREATE EXTENSION {extension}")
        elif needed:
            raise ConfigError("PostGIS is not installed on the database server.", zh="数据库服务器未安装 PostGIS。")
    for schema in _SCHEMAS:
        connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS baige_sys.storage (srid integer NOT NULL, fingerprint text)")
    stored = connection.execute(sa.text("SELECT srid FROM baige_sys.storage")).scalar()
    if stored is None:
        connection.execute(sa.text("INSERT INTO baige_sys.storage (srid) VALUES (:srid)"), {"srid": srid})
    elif stored != srid:
        raise ConfigError(
            f"This database stores EPSG:{stored}, the city file says EPSG:{srid}; use another database or city file.",
            zh=f"该数据库的存储坐标系为 EPSG:{stored}，而城市文件为 EPSG:{srid}；请更换数据库或城市文件。",
        )
    make_roles(connection)


def make_roles(connection: Connection) -> None:
    """Make the database roles of the access rules where they are missing, and the running user a member of each."""
    # Roles belong to the whole server: another database may be making them at this moment.
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    for role in DATABASE_ROLES.values():
        exists = connection.execute(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}).scalar()
        if not exists:
            with connection.begin_nested() as nested:
                try:
                    connection.exec_driver_sql(f"CREATE ROLE {role} NOLOGIN")
                except sa.exc.ProgrammingError as error:
                    nested.rollback()
                    if "already exists" not in str(error.orig):
                        raise
                except sa.exc.IntegrityError:
                    nested.rollback()  # made by another database's upgrade in the same instant
        member = connection.execute(
            sa.text("SELECT pg_has_role(current_user, :role, 'MEMBER')"), {"role": role}
        ).scalar()
        if not member:
            connection.exec_driver_sql(f"GRANT {role} TO CURRENT_USER")


def schema_revisions() -> set[str]:
    """Names of all migrations that this version knows."""
    # Read, not run: a migration runs within alembic's environment only.
    texts = (p.read_text(encoding="utf-8") for p in (Path(__file__).parent / "migrations" / "versions").glob("*.py"))
    return {
        name for text in texts for name in re.findall(r"""^revision\b[^=\n]*=\s*["']([^"']+)["']""", text, re.MULTILINE)
    }


def _machinery(connection: Connection) -> None:
    template = resources.files("layers").joinpath("sql", "machinery.sql").read_text(encoding="utf-8")
    Database.script(connection, template.replace("{roles}", ", ".join(DATABASE_ROLES.values())))
    for more in ("partitions.sql", "credentials.sql", "visibility.sql", "audit.sql", "replica.sql"):
        text = resources.files("layers").joinpath("sql", more).read_text(encoding="utf-8")
        Database.script(connection, text.replace("{roles}", ", ".join(DATABASE_ROLES.values())))
    superuser = connection.execute(sa.text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")).scalar()
    for function in LEAKPROOF_FUNCTIONS:
        if superuser:
            connection.exec_driver_sql(f"ALTER FUNCTION {function} LEAKPROOF")
        else:
            leakproof = connection.execute(
                sa.text("SELECT proleakproof FROM pg_proc WHERE oid = to_regprocedure(:f)"), {"f": function}
            ).scalar()
            if not leakproof:
                log.warning(
                    "not a superuser: run 'ALTER FUNCTION %s LEAKPROOF' once, or spatial queries under roles are slow",
                    function,
                )
    for name, declaration in catalogue(connection).items():
        install_layer(connection, declaration, own=name in built_in())


def _fingerprint() -> str:
    """A hash of all that decides the schema: migrations, SQL, declarations, access rules."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(
        [
            *root.glob("migrations/versions/*.py"),
            *root.glob("sql/*.sql"),
            root / "access.py",
            *root.glob("catalogue/*.toml"),
        ]
    ):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _is_current(connection: Connection, srid: int, fingerprint: str) -> bool:
    if not connection.execute(sa.text("SELECT to_regclass('baige_sys.storage')")).scalar():
        return False
    row = connection.execute(sa.text("SELECT srid, fingerprint FROM baige_sys.storage")).first()
    return row is not None and tuple(row) == (srid, fingerprint)


def upgrade(database: Database | str, *, city: CityConfig | None = None) -> None:
    """Make or upgrade the schema. Safe to run again and from several processes at once.

    Raises
    ------
    ConfigError
        PostGIS or a privilege is missing, or the database stores another reference system than the city's.
    """
    own = isinstance(database, str)
    base = Database(database) if isinstance(database, str) else database
    srid = (city or load_city()).storage_srid
    present = _fingerprint()
    try:
        with base.begin() as connection:
            if _is_current(connection, srid, present):
                return
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            _prepare(connection, srid)
            taken = _upgrade_tables(connection, srid)
            try:
                _machinery(connection)
                put_back(connection, taken)
            except sa.exc.ProgrammingError as error:
                raise ConfigError(
                    "The tables of this database are not those of this version: it was made by an unreleased one."
                    " Export what you need with that version, then make a new database ('baige db drop', 'baige db init').",
                    zh="该数据库的表结构与本版本不符（由未发布的版本建立）。请用原版本导出所需数据，再新建数据库（baige db drop、baige db init）。",
                ) from error
            connection.execute(sa.text("UPDATE baige_sys.storage SET fingerprint = :present"), {"present": present})
    finally:
        if own:
            base.dispose()


def _upgrade_tables(connection: Connection, srid: int) -> dict[str, int]:
    """Run the migrations that are due; the layers that were taken out of their partitions for that."""
    import alembic.command

    head, present = max(schema_revisions()), None  # they are numbered
    if connection.execute(sa.text("SELECT to_regclass('baige_sys.alembic_version')")).scalar():
        present = connection.execute(sa.text("SELECT version_num FROM baige_sys.alembic_version")).scalar()
    taken = take_apart(connection) if present not in (None, head) else {}
    alembic.command.upgrade(alembic_config(connection, srid), "head")
    return taken


def downgrade(database: Database, revision: str) -> None:
    """Bring the schema back to that of an older version, which is then to be installed; what it has no place for is dropped.

    Raises
    ------
    InputError
        There is no such revision.
    """
    if revision not in schema_revisions():
        known = ", ".join(sorted(schema_revisions()))
        raise InputError(f"There is no revision {revision!r}; there are {known}.", zh=f"没有修订版 {revision!r}，现有：{known}。")
    import alembic.command

    with database.begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        # rules of access may name tables that go; without its rules a table shows nothing to anybody but its owner
        policies = "SELECT policyname, schemaname, tablename FROM pg_policies WHERE schemaname = ANY(:schemas)"
        for policy, schema, table in connection.execute(sa.text(policies), {"schemas": list(_SCHEMAS)}).all():
            connection.exec_driver_sql(f'DROP POLICY "{policy}" ON {schema}."{table}"')
        take_apart(connection)
        alembic.command.downgrade(alembic_config(connection, storage_srid(connection)), revision)
        # the next start, of whichever version, sets functions, triggers and rules anew
        connection.execute(sa.text("UPDATE baige_sys.storage SET fingerprint = NULL"))


def _ours(item: Any, name: str | None, kind: str, reflected: bool, compare_to: Any) -> bool:
    if kind == "table":
        return not reflected or compare_to is not None or name in _system_only_names(item)
    return True


def _system_only_names(table: Any) -> set[str]:
    return (
        set()
        if table.schema in ("baige", "baige_history") or table.name in ("storage", "alembic_version")
        else {table.name}
    )


def differences(connection: Connection) -> list[Any]:
    """What differs between the declarations and this database (alembic's operations); empty when they agree.

    Tables of users' layers and of the job queue are left out.
    """
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    context = MigrationContext.configure(
        connection,
        opts={
            "include_schemas": True,
            "include_name": lambda name, kind, _parents: kind != "schema" or name in _SCHEMAS,
            "include_object": _ours,
            "compare_type": True,
            "compare_server_default": False,
        },
    )
    found: list[Any] = []
    for change in compare_metadata(context, schema_metadata(storage_srid(connection))):
        # titles are set as comments with triggers and rights, not by migrations
        parts = [part for part in change if part[0] != "modify_comment"] if isinstance(change, list) else [change]
        found += [part for part in parts if part[0] not in ("add_table_comment", "remove_table_comment")]
    return found
