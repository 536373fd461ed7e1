"""Prepared rows into a layer, inside one transaction.

COPY into a staging table, then one UPDATE and one INSERT; or, for a large load into an empty layer, COPY straight into it, its indexes built
afterwards.
"""

import logging
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import psycopg.errors
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from layers.database import Database
from layers.declaration import LayerDeclaration
from layers.loading.chunks import ahead
from layers.loading.copying import HEADER, TRAILER, encode_rows
from layers.loading.rules import DEFAULTED
from layers.partitions import is_partitioned

__all__ = [
    "Merged",
    "Target",
    "claim_empty",
    "copy_direct",
    "copy_staged",
    "is_empty",
    "lacking_fields",
    "lock_layer",
    "merge",
    "open_target",
]

log = logging.getLogger(__name__)

#: First half of the advisory lock of loads; the second is a hash of the layer's name.
_LOCK = 0x62676C64  # "bgld"


@dataclass(frozen=True)
class Target:
    """The table of a layer: its name quoted, and the SQL type of each column."""

    declaration: LayerDeclaration
    table: str
    types: dict[str, str]


@dataclass
class Merged:
    """What a merge did; ``refused`` holds row numbers by reason code, ``detail`` words on some of them."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    refused: dict[int, str] = field(default_factory=dict)


def open_target(connection: Connection, declaration: LayerDeclaration) -> Target:
    """Look up the layer's table."""
    rows = connection.execute(
        sa.text(
            "SELECT a.attname, CASE WHEN t.typname IN ('varchar', 'bpchar') THEN 'text' ELSE t.typname END"
            " FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid"
            " WHERE a.attrelid = to_regclass(:name) AND a.attnum > 0 AND NOT a.attisdropped"
        ),
        {"name": f'baige."{declaration.name}"'},
    )
    return Target(declaration, f'baige."{declaration.name}"', {str(name): str(kind) for name, kind in rows})


def lock_layer(connection: Connection, layer: str) -> None:
    """Let loads of one layer follow each other; the second waits until the first has ended."""
    values = {"a": _LOCK, "layer": layer}
    free = connection.execute(sa.text("SELECT pg_try_advisory_xact_lock(:a, hashtext(:layer))"), values).scalar_one()
    if not free:
        log.info("layer %s is being loaded by another command; waiting for it to end", layer)
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:a, hashtext(:layer))"), values)


def is_empty(connection: Connection, target: Target) -> bool:
    """Whether the layer has no rows (that this role may see)."""
    return not connection.execute(sa.text(f"SELECT EXISTS (SELECT FROM {target.table})")).scalar_one()


def _quoted(names: Iterable[str], prefix: str = "") -> str:
    return ", ".join(f'{prefix}"{name}"' for name in names)


def _stream(
    connection: Connection,
    statement: str,
    batches: Iterator[dict[str, pa.Array]],
    names: Sequence[str],
    types: dict[str, str],
) -> int:
    """COPY batches of columns; encoded in a thread of its own while the database takes the last one."""
    count = 0

    def encoded() -> Iterator[tuple[int, pa.Buffer]]:
        for batch in batches:
            size = len(next(iter(batch.values())))
            if size:
                yield size, encode_rows([(batch[name], types[name]) for name in names])

    driver = Database.driver_connection(connection)
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(HEADER)
        for size, buffer in ahead(encoded):
            copy.write(memoryview(buffer))
            count += size
        copy.write(TRAILER)
    return count


def copy_staged(
    connection: Connection, target: Target, names: Sequence[str], batches: Iterator[dict[str, pa.Array]]
) -> tuple[str, int]:
    """COPY batches with the columns ``_row``, ``_id`` and ``names`` into a new temporary table; returns its name and the rows."""
    staging = f'"_load_{uuid.uuid4().hex[:12]}"'
    listed = "".join(f', "{name}"' for name in names)
    connection.exec_driver_sql(
        f"CREATE TEMP TABLE {staging} ON COMMIT DROP AS SELECT 0::bigint AS _row, NULL::uuid AS _id{listed} FROM {target.table} WITH NO DATA"
    )
    types = {**target.types, "_row": "int8", "_id": "uuid"}
    columns = ["_row", "_id", *names]
    count = _stream(
        connection, f"COPY {staging} ({_quoted(columns)}) FROM STDIN (FORMAT binary)", batches, columns, types
    )
    return staging, count


def _lock_writers(connection: Connection, target: Target) -> None:
    """Keep other writers (not readers) out until the transaction ends, so that what is matched stays true."""
    connection.exec_driver_sql(f"LOCK TABLE {target.table} IN SHARE ROW EXCLUSIVE MODE")


def merge(
    connection: Connection, target: Target, staging: str, names: Sequence[str], *, keys: Sequence[tuple[str, ...]]
) -> Merged:
    """Update the features that the staged rows mean, insert the others.

    Parameters
    ----------
    names : sequence of str
        Staged fields.
    keys : sequence of tuples of str
        Tried in order; ``("_id",)`` stands for the feature's own id.
    """
    out = Merged()
    _lock_writers(connection, target)
    matched = f'{staging[:-1]}_m"'
    if keys and not is_empty(connection, target):
        connection.exec_driver_sql(f"ANALYZE {staging}")
        _match(connection, target, staging, matched, keys, out)
    else:
        connection.exec_driver_sql(f"CREATE TEMP TABLE {matched} (_row bigint, id uuid) ON COMMIT DROP")
    _refuse_incomplete(connection, target, staging, matched, names, out)
    _delete(connection, (staging, matched), out.refused)
    _refuse_orphans(connection, target, staging, matched, names, out)
    for declared in target.declaration.fields:
        if declared.references == target.declaration.name and declared.name in names:
            connection.exec_driver_sql(
                f'UPDATE {staging} s SET "{declared.name}" = m.id FROM {staging} t JOIN {matched} m USING (_row)'
                f' WHERE s."{declared.name}" = t._id AND m.id <> t._id'
            )
    fields = list(names)
    if fields:
        sets = ", ".join(f'"{name}" = s."{name}"' for name in fields)
        result = connection.exec_driver_sql(
            f"UPDATE {target.table} l SET {sets} FROM {staging} s JOIN {matched} m USING (_row)"
            f" WHERE l.id = m.id AND {_differs(target, fields)}"
        )
        out.updated = result.rowcount
    found = int(connection.exec_driver_sql(f"SELECT count(*) FROM {matched}").scalar_one())
    out.unchanged = found - out.updated
    condition = f"WHERE NOT EXISTS (SELECT FROM {matched} m WHERE m._row = s._row)" if found else ""
    if int(connection.exec_driver_sql(f"SELECT count(*) FROM {staging}").scalar_one()) == found:
        return out  # not even an empty INSERT: it would raise the layer's change counter
    out.inserted = connection.exec_driver_sql(
        f"INSERT INTO {target.table} (id{''.join(f', {chr(34)}{n}{chr(34)}' for n in fields)})"
        f" SELECT s._id{''.join(f', s.{chr(34)}{n}{chr(34)}' for n in fields)} FROM {staging} s {condition}"
    ).rowcount
    return out


def _differs(target: Target, names: Sequence[str]) -> str:
    """A condition that a stored row ``l`` differs from a staged one ``s``; geometries byte by byte, since ``=`` looks at less than that."""

    def side(prefix: str) -> str:
        return ", ".join(
            f'ST_AsEWKB({prefix}."{n}")' if target.types[n] == "geometry" else f'{prefix}."{n}"' for n in names
        )

    return f"ROW({side('l')}) IS DISTINCT FROM ROW({side('s')})"


def _match(
    connection: Connection, target: Target, staging: str, matched: str, keys: Sequence[tuple[str, ...]], out: Merged
) -> None:
    """Fill the table ``matched`` (_row, id), and refuse rows whose keys mean two features, or that mean the same feature as another."""
    joins, found = [], []
    for number, key in enumerate(keys):
        alias = f"k{number}"
        pairs = [(part, part) for part in key] if key != ("_id",) else [("id", "_id")]
        condition = " AND ".join(f'{alias}."{own}" = s."{staged}"' for own, staged in pairs)
        joins.append(f"LEFT JOIN {target.table} {alias} ON {condition}")
        found.append(f"{alias}.id")
    chosen = f"coalesce({', '.join(found)})"
    conflict = " OR ".join(f"{name} <> {chosen}" for name in found) if len(found) > 1 else "false"
    connection.exec_driver_sql(
        f"CREATE TEMP TABLE {matched} ON COMMIT DROP AS SELECT s._row, {chosen} AS id, coalesce({conflict}, false) AS conflict"
        f" FROM {staging} s {' '.join(joins)} WHERE {chosen} IS NOT NULL"
    )
    connection.exec_driver_sql(f"ANALYZE {matched}")
    for (row,) in connection.exec_driver_sql(f"SELECT _row FROM {matched} WHERE conflict"):
        out.refused[int(row)] = "key_conflict"
    later = f"SELECT _row FROM (SELECT _row, row_number() OVER (PARTITION BY id ORDER BY _row) AS n FROM {matched} WHERE NOT conflict) d WHERE n > 1"
    for (row,) in connection.exec_driver_sql(later):
        out.refused[int(row)] = "duplicate_target"


def lacking_fields(target: Target, names: Sequence[str]) -> list[str]:
    """Required fields that are not among ``names`` and that the database does not fill."""
    return [
        declared.name
        for declared in target.declaration.all_fields
        if declared.required and declared.name not in names and declared.name not in DEFAULTED
    ]


def _refuse_incomplete(
    connection: Connection, target: Target, staging: str, matched: str, names: Sequence[str], out: Merged
) -> None:
    """A file without a required column or without places can update features, but not make new ones."""
    lacking = lacking_fields(target, names)
    no_place = target.declaration.has_geometry and "geom" not in names
    if not lacking and not no_place:
        return
    code = "no_geometry" if no_place else "missing"
    new = f"SELECT _row FROM {staging} s WHERE NOT EXISTS (SELECT FROM {matched} m WHERE m._row = s._row)"
    for (row,) in connection.exec_driver_sql(new):
        out.refused.setdefault(int(row), code)


def _delete(connection: Connection, tables: Sequence[str], rows: Iterable[int]) -> None:
    gone = sorted(rows)
    for table in tables if gone else ():
        connection.execute(sa.text(f"DELETE FROM {table} WHERE _row = ANY(:rows)"), {"rows": gone})


def _refuse_orphans(
    connection: Connection, target: Target, staging: str, matched: str, names: Sequence[str], out: Merged
) -> None:
    """Rows that refer to a row of the same file which was itself refused; and those that refer to these."""
    own = [f.name for f in target.declaration.fields if f.references == target.declaration.name and f.name in names]
    for name in own:
        while True:
            rows = connection.exec_driver_sql(
                f'SELECT s._row FROM {staging} s WHERE s."{name}" IS NOT NULL'
                f' AND NOT EXISTS (SELECT FROM {staging} t WHERE t._id = s."{name}")'
                f' AND NOT EXISTS (SELECT FROM {target.table} l WHERE l.id = s."{name}")'
            )
            lost = {int(row): "ref_unknown" for (row,) in rows}
            if not lost:
                break
            _delete(connection, (staging, matched), lost)
            out.refused.update(lost)


def _indexes(connection: Connection, target: Target) -> list[tuple[str, str]]:
    """Name and definition of the layer's indexes that belong to no constraint."""
    rows = connection.execute(
        sa.text(
            "SELECT c.relname, pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
            " WHERE i.indrelid = to_regclass(:name) AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)"
        ),
        {"name": target.table},
    )
    return [(str(name), str(definition)) for name, definition in rows]


def claim_empty(connection: Connection, target: Target) -> bool:
    """Lock a layer that has no rows for this transaction alone: readers wait, they would see an empty layer.

    False, and no lock, where it has rows, is in use for longer than a moment, or lies in partitions.
    """
    if not is_empty(connection, target) or is_partitioned(connection, target.declaration.name):
        return False
    nested = connection.begin_nested()
    try:
        connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
        connection.exec_driver_sql(f"LOCK TABLE {target.table} IN ACCESS EXCLUSIVE MODE")
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        empty = is_empty(connection, target)  # somebody may have written while we waited
    except sa.exc.OperationalError as error:
        nested.rollback()
        if isinstance(error.orig, psycopg.errors.LockNotAvailable):
            return False
        raise
    if empty:
        nested.commit()
    else:
        nested.rollback()
    return empty


def _renew(connection: Connection, target: Target) -> None:
    """Give the empty table new files: what a transaction writes into files of its own needs no log (with ``wal_level = minimal``).

    TRUNCATE is refused on layers since it leaves no history; of no rows there is none. A table that others refer to cannot be truncated.
    """
    referred = sa.text(
        "SELECT EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND confrelid = to_regclass(:name))"
    )
    if connection.execute(referred, {"name": target.table}).scalar_one():
        return
    connection.exec_driver_sql(f"ALTER TABLE {target.table} DISABLE TRIGGER d_refuse_truncate")
    connection.exec_driver_sql(f"TRUNCATE {target.table}")
    connection.exec_driver_sql(f"ALTER TABLE {target.table} ENABLE TRIGGER d_refuse_truncate")


def copy_direct(
    connection: Connection, target: Target, names: Sequence[str], batches: Iterator[dict[str, pa.Array]]
) -> int:
    """COPY into an empty layer itself; its indexes are dropped first and built at the end, all inside the transaction.

    Needs the owner of the table and `claim_empty` before it.
    """
    _renew(connection, target)
    indexes = _indexes(connection, target)
    for name, _definition in indexes:
        connection.exec_driver_sql(f'DROP INDEX baige."{name}"')

    def renamed() -> Iterator[dict[str, pa.Array]]:
        for batch in batches:
            yield {**batch, "id": batch["_id"]}

    columns = ["id", *names]
    statement = f"COPY {target.table} ({_quoted(columns)}) FROM STDIN (FORMAT binary)"
    count = _stream(connection, statement, renamed(), columns, target.types)
    connection.exec_driver_sql(
        "SELECT set_config('maintenance_work_mem', '256MB', true)"
        " WHERE pg_size_bytes(current_setting('maintenance_work_mem')) < pg_size_bytes('256MB')"
    )
    for _name, definition in indexes:
        connection.exec_driver_sql(definition)
    return count
