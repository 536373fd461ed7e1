"""Large layers in partitions by administrative code: queries of one district read the rows of that district only.

An operator asks for it; nothing else changes: the table of a partitioned layer has the same name, columns, triggers and rules of access, and a
feature whose code changes moves by itself. PostgreSQL keeps what is unique only together with the code that a layer is partitioned by, so ids and
natural keys stand once more in a narrow table of schema ``baige_parts`` (docs/decisions.md, 58).
"""

import re
import time
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gis.errors import Conflict, InputError
from layers.changes import change_set
from layers.database import Database
from layers.query.literals import after
from layers.registry import declaration_of, install_layer, is_built_in

__all__ = ["Partitioned", "is_partitioned", "merge_layer", "partition_layer", "partitioned_layers", "put_back", "take_apart"]

#: Districts have codes of 6 digits, cities of 4 (GB/T 2260).
DIGITS = (4, 6)
_PARTITIONS_MAX = 500
#: How long those are waited for who read an old state.
PATIENCE_S = 30.0
_INDEXES = (
    "SELECT c.relname, pg_get_indexdef(i.indexrelid), i.indisunique, i.indisprimary FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
    " WHERE i.indrelid = to_regclass(:table) ORDER BY c.relname"
)


@dataclass(frozen=True)
class Partitioned:
    """What became of a layer: its partitions (the beginnings of the codes in them), and how many features moved."""

    layer: str
    parts: tuple[str, ...]
    features: int


def partitioned_layers(connection: Connection) -> list[str]:
    """Names of the layers in partitions."""
    found = connection.execute(
        sa.text(
            "SELECT c.relname FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid"
            " WHERE c.relnamespace = to_regnamespace('baige') ORDER BY 1"
        )
    )
    return [str(name) for name in found.scalars()]


def is_partitioned(connection: Connection, layer: str) -> bool:
    """Whether a layer lies in partitions."""
    return layer in partitioned_layers(connection)


def digits_of(connection: Connection, layer: str) -> int:
    """How many digits its partitions have; 6 where there are none but the rest."""
    parts = _parts(connection, layer)
    return len(parts[0]) if parts else DIGITS[-1]


def _parts(connection: Connection, layer: str) -> tuple[str, ...]:
    found = connection.execute(
        sa.text("SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass(:table) ORDER BY 1"),
        {"table": f'baige."{layer}"'},
    )
    return tuple(str(name).removeprefix(f"{layer}__") for name in found.scalars() if not str(name).endswith("__rest"))


def partition_layer(database: Database, layer: str, *, digits: int = 6) -> Partitioned:
    """Put a layer into partitions by the first ``digits`` of the administrative code; one that is in partitions already gets them anew.

    There is a partition for each beginning that features or administrative areas have, and one for all other codes and for rows without one. All
    in one transaction, with servers stopped: who reads a state from before it would find the new table empty.

    Raises
    ------
    InputError
        Not 4 or 6 digits, or the layer is a result of analysis, which is made anew each time.
    Conflict
        A server runs, somebody reads an old state and does not end, another layer refers to it, or there would be more than 500 partitions.
    """
    if digits not in DIGITS:
        raise InputError("Partitions are by 4 or 6 digits.", zh="分区位数应为 4 或 6。")
    with database.begin() as connection:
        _refuse_servers(connection)
        declaration = declaration_of(connection, layer)
        if declaration.kind == "result":
            raise InputError("Results of an analysis are made anew, not partitioned.", zh="分析结果会重新生成，不能分区。")
        _refuse_referred(connection, layer)
        connection.exec_driver_sql(f'LOCK TABLE baige."{layer}" IN ACCESS EXCLUSIVE MODE')
        prefixes = _prefixes(connection, layer, digits)
        if len(prefixes) > _PARTITIONS_MAX:
            raise Conflict(
                f"{layer}: {len(prefixes)} partitions; at most {_PARTITIONS_MAX}.", zh=f"{layer}：需 {len(prefixes)} 个分区，上限 {_PARTITIONS_MAX}。"
            )
        with change_set(connection, layer=layer, action="partition", note=f"{digits}: {len(prefixes)}"):
            if is_partitioned(connection, layer):
                _merge(connection, layer)
            count = _partition(connection, layer, prefixes)
            install_layer(connection, declaration, own=is_built_in(layer))
        _await_readers(connection)
    with database.begin() as connection:
        connection.exec_driver_sql(f'ANALYZE baige."{layer}"')
    return Partitioned(layer, prefixes, count)


def merge_layer(database: Database, layer: str) -> Partitioned:
    """Take a layer out of its partitions.

    Raises
    ------
    Conflict
        It is in none; a server runs, or somebody reads an old state and does not end.
    """
    with database.begin() as connection:
        _refuse_servers(connection)
        declaration = declaration_of(connection, layer)
        if not is_partitioned(connection, layer):
            raise Conflict(f"Layer {layer!r} is not in partitions.", zh=f"图层 {layer!r} 未分区。")
        connection.exec_driver_sql(f'LOCK TABLE baige."{layer}" IN ACCESS EXCLUSIVE MODE')
        with change_set(connection, layer=layer, action="merge partitions"):
            count = _merge(connection, layer)
            install_layer(connection, declaration, own=is_built_in(layer))
        _await_readers(connection)
    with database.begin() as connection:
        connection.exec_driver_sql(f'ANALYZE baige."{layer}"')
    return Partitioned(layer, (), count)


def take_apart(connection: Connection) -> dict[str, int]:
    """Take all layers out of their partitions, so that a migration finds plain tables; how many digits each had, for `put_back`."""
    found = {layer: digits_of(connection, layer) for layer in partitioned_layers(connection)}
    for layer in found:
        _merge(connection, layer)
    return found


def put_back(connection: Connection, found: dict[str, int]) -> None:
    """Put layers into partitions again; their tables have their triggers and rules."""
    for layer, digits in found.items():
        _partition(connection, layer, _prefixes(connection, layer, digits))
        install_layer(connection, declaration_of(connection, layer), own=is_built_in(layer))


def _refuse_servers(connection: Connection) -> None:
    listening = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'baige-listen'"
    if connection.execute(sa.text(listening)).scalar_one():
        raise Conflict("A server runs on this database: stop servers and workers first.", zh="该数据库有服务正在运行，请先停止服务与工作进程。")


def _await_readers(connection: Connection) -> None:
    """Before the end: nobody may go on with a state from before it, in which the rows of the new table do not exist (PostgreSQL, 13.6).

    Who waits for the table is sent away; who has such a state and does not wait for us is waited for.
    """
    until = time.monotonic() + PATIENCE_S
    others = "pid <> pg_backend_pid() AND datname = current_database() AND backend_type = 'client backend'"
    waiting = f"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE {others} AND pg_blocking_pids(pid) @> ARRAY[pg_backend_pid()]"
    reading = f"SELECT count(*) FROM pg_stat_activity WHERE {others} AND backend_xmin IS NOT NULL"
    while True:
        connection.execute(sa.text(waiting)).all()
        connection.execute(sa.text("SELECT pg_stat_clear_snapshot()"))
        if not connection.execute(sa.text(reading)).scalar_one():
            return
        if time.monotonic() > until:
            raise Conflict(
                "Others read this database and do not end; try again when they are done.", zh="有其他会话正在读取该数据库且未结束，请稍后重试。"
            )
        time.sleep(0.2)


def _refuse_referred(connection: Connection, layer: str) -> None:
    referring = connection.execute(
        sa.text(
            "SELECT conrelid::regclass::text FROM pg_constraint WHERE contype = 'f' AND confrelid = to_regclass(:table)"
            " UNION SELECT polrelid::regclass::text FROM pg_policy p JOIN pg_depend d ON d.classid = 'pg_policy'::regclass AND d.objid = p.oid"
            " WHERE d.refobjid = to_regclass(:table) AND polrelid <> to_regclass(:table) LIMIT 1"
        ),
        {"table": f'baige."{layer}"'},
    ).scalar()
    if referring:
        raise Conflict(
            f"Layer {layer!r} cannot be partitioned: {referring} refers to its features.", zh=f"图层 {layer!r} 不能分区：{referring} 引用其要素。"
        )


def _prefixes(connection: Connection, layer: str, digits: int) -> tuple[str, ...]:
    found = connection.execute(
        sa.text(
            f'SELECT DISTINCT left(admin_code, :n) FROM (SELECT admin_code FROM baige."{layer}" UNION SELECT admin_code FROM baige.admin_area) c'
            " WHERE left(admin_code, :n) ~ :form ORDER BY 1"
        ),
        {"n": digits, "form": f"^[0-9]{{{digits}}}$"},
    )
    return tuple(str(prefix) for prefix in found.scalars())


def _constraints(connection: Connection, layer: str) -> list[tuple[str, str]]:
    """References to other layers, and checks."""
    rows = connection.execute(
        sa.text(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = to_regclass(:table) AND contype IN ('f', 'c')"
            " AND conparentid = 0 ORDER BY 1"
        ),
        {"table": f'baige."{layer}"'},
    )
    return [(str(name), str(text)) for name, text in rows]


def _indexes(connection: Connection, table: str) -> list[tuple[str, str, bool, bool]]:
    """Name, definition, whether unique, whether of the primary key."""
    return [(str(n), str(d), bool(u), bool(p)) for n, d, u, p in connection.execute(sa.text(_INDEXES), {"table": table})]


def _key_columns(connection: Connection, table: str) -> list[str]:
    """Columns of the table's unique indexes, quoted; the id first."""
    found = connection.execute(
        sa.text(
            "SELECT DISTINCT quote_ident(a.attname), a.attname = 'id', a.attnum FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid"
            " AND a.attnum = ANY (i.indkey::int2[]) WHERE i.indrelid = to_regclass(:table) AND i.indisunique ORDER BY 2 DESC, 3"
        ),
        {"table": table},
    )
    return [str(name) for name, *_ in found]


def _partition(connection: Connection, layer: str, prefixes: tuple[str, ...]) -> int:
    table, aside = f'baige."{layer}"', f'baige_parts."{layer}__old"'
    run = connection.exec_driver_sql
    indexes, constraints, keys = _indexes(connection, table), _constraints(connection, layer), _key_columns(connection, table)
    listed = ", ".join(keys)
    run(f'ALTER TABLE {table} RENAME TO "{layer}__old"')
    run(f'ALTER TABLE baige."{layer}__old" SET SCHEMA baige_parts')
    run(f'CREATE TABLE {table} (LIKE {aside} INCLUDING DEFAULTS INCLUDING STORAGE) PARTITION BY RANGE (admin_code COLLATE "C")')
    for prefix in prefixes:
        bounds = f"FROM ('{prefix}') TO ('{after(prefix)}')"
        run(f'CREATE TABLE baige_parts."{layer}__{prefix}" PARTITION OF {table} FOR VALUES {bounds}')
    run(f'CREATE TABLE baige_parts."{layer}__rest" PARTITION OF {table} DEFAULT')
    count = run(f"INSERT INTO {table} SELECT * FROM {aside}").rowcount
    run(f'CREATE TABLE baige_parts."{layer}" AS SELECT {listed} FROM {aside}')
    run(f"DROP TABLE {aside}")
    run(f'ALTER TABLE baige_parts."{layer}" ADD PRIMARY KEY (id)')
    run(f'CREATE INDEX "{layer}_id_idx" ON {table} (id)')
    for _, definition, unique, primary in indexes:
        if primary:
            continue
        if unique:
            _statement(connection, _of(definition, f'baige_parts."{layer}"'))
        _statement(connection, _of(definition, table).replace("CREATE UNIQUE INDEX", "CREATE INDEX"))
    for name, text in constraints:
        _statement(connection, f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {text}')
    for event, rows in (("INSERT", "NEW TABLE AS new_rows"), ("UPDATE", "NEW TABLE AS new_rows"), ("DELETE", "OLD TABLE AS old_rows")):
        run(
            f"CREATE TRIGGER b_keep_keys_{event.lower()} AFTER {event} ON {table} REFERENCING {rows}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION baige_sys.keep_keys('{listed}')"
        )
    return int(count)


def _of(definition: str, table: str) -> str:
    """The definition of an index, of another table."""
    return re.sub(r" ON (?:ONLY )?\S+ USING ", f" ON {table} USING ", definition, count=1)


def _statement(connection: Connection, text: str) -> None:
    Database.script(connection, text)


def _merge(connection: Connection, layer: str) -> int:
    table, aside = f'baige."{layer}"', f'baige_parts."{layer}__old"'
    run = connection.exec_driver_sql
    keys = {name: text for name, text, _, primary in _indexes(connection, f'baige_parts."{layer}"') if not primary}
    plain = {name: text for name, text, *_ in _indexes(connection, table) if name not in keys and name != f"{layer}_id_idx"}
    constraints = _constraints(connection, layer)
    run(f'DROP TABLE baige_parts."{layer}"')
    run(f'ALTER TABLE {table} RENAME TO "{layer}__old"')
    run(f'ALTER TABLE baige."{layer}__old" SET SCHEMA baige_parts')
    run(f"CREATE TABLE {table} (LIKE {aside} INCLUDING DEFAULTS INCLUDING STORAGE)")
    count = run(f"INSERT INTO {table} SELECT * FROM {aside}").rowcount
    run(f"DROP TABLE {aside}")
    run(f"ALTER TABLE {table} ADD PRIMARY KEY (id)")
    for definition in [*plain.values(), *keys.values()]:
        _statement(connection, _of(definition, table))
    for name, text in constraints:
        _statement(connection, f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {text}')
    return int(count)
