"""Sums over the contents of every table of Baige, the same whatever the order of the rows."""

from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg import sql
from pydantic import BaseModel, ConfigDict

__all__ = ["SCHEMAS", "TableSum", "differing", "list_tables", "sum_tables"]

#: Schemas that a backup holds; the last one, of the job queue, is there once the server or worker ran.
SCHEMAS = ("baige", "baige_parts", "baige_history", "baige_sys", "baige_jobs")

Connection = psycopg.Connection[tuple[Any, ...]]

# A row as text must not depend on the settings of server or session; and rows that access rules hide must be an error, not left out.
_FORM = """
SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres'; SET LOCAL extra_float_digits = 1;
SET LOCAL bytea_output = 'hex'; SET LOCAL row_security = off; SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0
"""


class TableSum(BaseModel):
    """Rows of one table and the sum of a 64-bit hash of each."""

    model_config = ConfigDict(frozen=True)

    schema_name: str
    table: str
    rows: int
    checksum: str

    @property
    def name(self) -> str:
        """Name with the schema before it."""
        return f"{self.schema_name}.{self.table}"


def list_tables(connection: Connection, schemas: Sequence[str] = SCHEMAS) -> list[tuple[str, str]]:
    """Schema and name of every table in ``schemas``; a partitioned table counts as one."""
    found = connection.execute(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = ANY (%s) AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        " ORDER BY array_position(%s, n.nspname::text), c.relname",
        (list(schemas), list(schemas)),
    )
    return [(str(schema), str(table)) for schema, table in found.fetchall()]


def sum_tables(connection: Connection, *, on_table: Callable[[int, int], None] | None = None) -> list[TableSum]:
    """The sums of all tables, as the running transaction sees them.

    Parameters
    ----------
    connection : psycopg.Connection
        In a transaction, as owner of the tables; for one state of all tables in REPEATABLE READ.
    on_table : callable, optional
        Called with how many tables are done, and of how many.
    """
    connection.execute(_FORM.encode())
    tables = list_tables(connection)
    sums = []
    for number, (schema, table) in enumerate(tables, 1):
        row = connection.execute(
            sql.SQL("SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text FROM {} t").format(
                sql.Identifier(schema, table)
            )
        ).fetchone()
        count, checksum = row if row is not None else (0, "0")
        sums.append(TableSum(schema_name=schema, table=table, rows=count, checksum=checksum))
        if on_table is not None:
            on_table(number, len(tables))
    return sums


def differing(expected: Sequence[TableSum], found: Sequence[TableSum]) -> list[str]:
    """Names of the tables whose contents are not the same, or that only one side has."""
    before, after = {item.name: item for item in expected}, {item.name: item for item in found}
    return [name for name in [*before, *(after.keys() - before.keys())] if before.get(name) != after.get(name)]
