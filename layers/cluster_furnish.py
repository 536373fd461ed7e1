"""What the superuser makes inside the embedded server: the owner's role, databases with PostGIS, marks that only a superuser may set."""

from typing import Any

import psycopg
from psycopg import sql

from layers.access import LEAKPROOF_FUNCTIONS

__all__ = ["begin_database", "finish_database", "furnish_database", "furnish_server", "update_extensions"]

_OPTIONAL_EXTENSIONS = ("unaccent", "pg_trgm", "btree_gist")

Connection = psycopg.Connection[tuple[Any, ...]]


def furnish_server(connection: Connection, owner: str) -> None:
    """Make the role that owns the databases: no superuser, but allowed to make databases and the roles of access rules."""
    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (owner,)).fetchone() is None:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEROLE CREATEDB").format(sql.Identifier(owner)))
    if connection.info.server_version >= 160000:
        # Until 15 who makes a role may also act as it; since 16 that has to be said.
        connection.execute(
            sql.SQL("ALTER ROLE {} SET createrole_self_grant = 'set, inherit'").format(sql.Identifier(owner))
        )


def begin_database(connection: Connection, name: str, *, half: str, owner: str) -> bool:
    """Make an empty database under the name ``half``, over what an interrupted attempt left; False if ``name`` exists already."""
    if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is not None:
        return False
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(half)))
    connection.execute(
        sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8'").format(
            sql.Identifier(half), sql.Identifier(owner)
        )
    )
    return True


def furnish_database(connection: Connection, owner: str) -> None:
    """Make the extensions in a new database; of the optional ones those that the machine has."""
    connection.execute("CREATE EXTENSION postgis")
    available = {row[0] for row in connection.execute("SELECT name FROM pg_available_extensions").fetchall()}
    for extension in _OPTIONAL_EXTENSIONS:
        if extension in available:
            connection.execute(sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(extension)))
    _mark_leakproof(connection)
    # Layers may bring a reference system of their own.
    connection.execute(sql.SQL("GRANT INSERT, UPDATE, DELETE ON spatial_ref_sys TO {}").format(sql.Identifier(owner)))


def finish_database(connection: Connection, name: str, *, half: str) -> None:
    """Give a complete database its name, by which others find it."""
    connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(half), sql.Identifier(name)))


def update_extensions(connection: Connection) -> None:
    """Bring PostGIS to the version that the machine has now, after an update of its packages."""
    outdated = connection.execute(
        "SELECT name FROM pg_available_extensions WHERE installed_version <> default_version AND name LIKE 'postgis%'"
    ).fetchall()
    for (name,) in outdated:
        connection.execute(sql.SQL("ALTER EXTENSION {} UPDATE").format(sql.Identifier(name)))
    if outdated:
        _mark_leakproof(connection)


def _mark_leakproof(connection: Connection) -> None:
    for function in LEAKPROOF_FUNCTIONS:
        connection.execute(sql.SQL("ALTER FUNCTION {} LEAKPROOF").format(sql.SQL(function)))
