"""Upgrade from the schema of the release before and back, with data in it.

There is no release yet; the release before is the schema of revision 0002. It is made by migrating a database down to it: no dump is kept.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gis.errors import Conflict, InputError
from layers.catalogue import built_in
from layers.changes import change_set
from layers.database import Database
from layers.migrate import differences, downgrade, upgrade

PREVIOUS = "0002"
PLACES = {
    "Point": "POINT(111.3 30.7)", "LineString": "LINESTRING(111.3 30.7, 111.4 30.8)", "LineStringM": "LINESTRING M (111.3 30.7 0, 111.4 30.8 10)",
    "Polygon": "POLYGON((111.3 30.7, 111.4 30.7, 111.4 30.8, 111.3 30.7))",
    "MultiPolygon": "MULTIPOLYGON(((111.3 30.7, 111.4 30.7, 111.4 30.8, 111.3 30.7)))",
    "MultiLineString": "MULTILINESTRING((111.3 30.7, 111.4 30.8))",
}  # fmt: skip
VALUES = {"integer": "1", "bigint": "1", "smallint": "1", "double precision": "1.5", "boolean": "true", "date": "'2024-05-06'",
          "timestamp with time zone": "'2024-05-06T07:08:09Z'", "uuid": "gen_random_uuid()", "ARRAY": "'{a}'", "jsonb": "'{}'"}  # fmt: skip


def fill(database: Database) -> list[str]:
    """A row in every layer that takes one by itself, changed once, so that it has a history; names of those layers."""
    filled = []
    for name, layer in built_in().items():
        with database.begin() as connection:
            columns = connection.execute(
                sa.text(
                    "SELECT column_name, data_type, is_nullable, column_default FROM information_schema.columns"
                    " WHERE table_schema = 'baige' AND table_name = :n AND udt_name <> 'geometry'"
                ),
                {"n": name},
            ).all()
        values = {"name_zh": "'名称'", "classification": "'public'", "admin_code": "'420502001001'"}
        for column, kind, nullable, default in columns:
            if nullable == "NO" and default is None and column not in values:
                values[column] = VALUES.get(kind, "'x'")
        if layer.has_geometry:
            srid = layer.srid or 4490
            values["geom"] = f"ST_GeomFromText('{PLACES.get(layer.geometry, PLACES['Point'])}', {srid})"
        known = {row[0] for row in columns} | {"geom"}
        values = {k: v for k, v in values.items() if k in known}
        try:
            with database.begin() as connection, change_set(connection, layer=name, action="create") as change:
                connection.exec_driver_sql(f'INSERT INTO baige."{name}" ({", ".join(values)}) VALUES ({", ".join(values.values())})')
                change.count_inserted(1)
            with database.begin() as connection, change_set(connection, layer=name, action="update"):
                connection.exec_driver_sql(f"UPDATE baige.\"{name}\" SET name_en = 'Name'")
        except (Conflict, InputError):  # a row that needs another one first, or values of a kind
            continue
        filled.append(name)
    return filled


def contents(connection: Connection) -> dict[str, dict[str, dict[str, Any]]]:
    """Every row of every table of layers and history, by table and key."""
    tables = connection.execute(
        sa.text("SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema IN ('baige', 'baige_history')")
    ).all()
    found = {}
    for schema, name in tables:
        rows = connection.exec_driver_sql(f'SELECT to_jsonb(t) FROM {schema}."{name}" t').scalars()
        found[f"{schema}.{name}"] = {f"{row['id']} {row.get('replaced_at')}": row for row in rows}
    return found


def same(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What of ``old`` is missing or different in ``new``; tables and columns that only ``new`` has do not count."""
    wrong = []
    for table, rows in old.items():
        for key, row in rows.items():
            other = new.get(table, {}).get(key)
            if other is None:
                wrong.append(f"{table}: {key} is gone")
            else:
                wrong += [f"{table}: {key}: {c}" for c, value in row.items() if c not in other or other[c] != value]
    return wrong


def test_down_to_the_release_before_and_up_again(fresh_database: Database) -> None:
    filled = fill(fresh_database)
    assert len(filled) >= 30
    with fresh_database.begin() as connection:
        head = contents(connection)
        changes = connection.exec_driver_sql("SELECT count(*), sum(inserted), sum(updated) FROM baige_sys.change_set").one()
    assert sum(len(rows) for rows in head.values()) >= 60

    downgrade(fresh_database, PREVIOUS)
    with fresh_database.begin() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM baige_sys.alembic_version").scalar_one() == PREVIOUS
        before = contents(connection)
        # what the older schema has no place for goes; all else stays as it was
        assert same(before, head) == []
        kept = [name for name in filled if f"baige.{name}" in before]
        assert len(kept) >= 30
        assert all(before[f"baige.{name}"] and before[f"baige_history.{name}"] for name in kept)

    upgrade(fresh_database)
    with fresh_database.begin() as connection:
        assert differences(connection) == []
        assert same(before, contents(connection)) == []
        assert connection.exec_driver_sql("SELECT count(*), sum(inserted), sum(updated) FROM baige_sys.change_set").one() == changes
    # and it works: history, counter and rules are in force again
    name = kept[0]
    with fresh_database.begin() as connection, change_set(connection, layer=name, action="update"):
        connection.exec_driver_sql(f"UPDATE baige.\"{name}\" SET name_en = 'Again'")
    with fresh_database.begin() as connection:
        assert connection.exec_driver_sql(f'SELECT count(*) FROM baige_history."{name}"').scalar_one() == 2
