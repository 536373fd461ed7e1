"""Keyset paging: pages that follow the last row seen, in any order, so that the last page costs what the first does.

A page ends with a cursor, the sort values and the id of its last row. The next page holds the rows behind it in the same order; rows that
others insert or delete meanwhile neither repeat nor hide any that stays.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import orjson

from gis.errors import InputError
from layers.query.fragment import Fragment, join
from layers.query.source import Column, Source

__all__ = ["WHOLE", "Order", "Part", "SortKey", "read_order"]

_SQL_TYPE = {
    "text": "text", "int": "bigint", "num": "float8", "bool": "boolean", "date": "date", "datetime": "timestamptz", "uuid": "uuid",
}  # fmt: skip
_MAX_KEYS = 8


@dataclass(frozen=True, slots=True)
class SortKey:
    """One column of an order. Missing values come last, whichever way it goes."""

    column: Column
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """A total order of a layer: the keys asked for, then the id."""

    keys: tuple[SortKey, ...] = ()

    @property
    def text(self) -> str:
        """As ``sortby`` has it."""
        return ",".join(("-" if k.descending else "") + k.column.name for k in self.keys)

    @property
    def order_by(self) -> str:
        """For ``ORDER BY``."""
        parts = [f"{k.column.sql} {'DESC' if k.descending else 'ASC'} NULLS LAST" for k in self.keys]
        return ", ".join([*parts, "t.id"])

    @property
    def key_sql(self) -> str:
        """SQL of the sort values of a row as JSON text."""
        return f"json_build_array({', '.join(k.column.sql for k in self.keys)})::text"

    def cursor(self, feature_id: str, keys: bytes | str | None) -> str:
        """The cursor of a row: its id, and its sort values as `key_sql` gives them."""
        values = orjson.loads(keys) if keys else []
        return base64.urlsafe_b64encode(orjson.dumps([self.text, feature_id, *values])).rstrip(b"=").decode()

    def after(self, cursor: str) -> Fragment:
        """Condition for the rows behind a cursor.

        Raises
        ------
        InputError
            It is not a cursor of this order.
        """
        fault = InputError("The cursor does not belong to this request; start from the first page.", zh="游标与此请求不符，请从第一页开始。")
        try:
            found: Any = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        except (binascii.Error, ValueError) as error:
            raise fault from error
        if not isinstance(found, list) or len(found) != len(self.keys) + 2 or found[0] != self.text or not isinstance(found[1], str):
            raise fault
        if any(isinstance(v, list | dict) for v in found) or len(found[1]) != 36:
            raise fault
        feature_id, values = found[1], found[2:]
        # row comparison, key by key: the last of them, the id, is never missing
        behind = Fragment("t.id > %s::uuid", (feature_id,))
        for key, value in zip(reversed(self.keys), reversed(values), strict=True):
            name = key.column.sql
            if value is None:
                behind = Fragment(f"{name} IS NULL AND ({behind.text})", behind.params)
                continue
            cast = f"%s::{_SQL_TYPE[key.column.kind]}"
            value = value if isinstance(value, str) else orjson.dumps(value).decode()
            sign = "<" if key.descending else ">"
            # the first condition is implied by the others; it lets an index on the column serve
            behind = Fragment(
                f"({name} {sign}= {cast} AND ({name} {sign} {cast} OR ({behind.text}))) OR {name} IS NULL",
                (value, value, *behind.params),
            )
        return behind

    def up_to(self, cursor: str) -> Fragment:
        """Condition for the rows up to that of a cursor, this one included: all those that are not behind it."""
        behind = self.after(cursor)  # true or false, never unknown: a missing value is looked for by IS NULL
        return Fragment(f"NOT coalesce(({behind.text}), false)", behind.params)


@dataclass(frozen=True, slots=True)
class Part:
    """Which rows of an order an answer holds.

    Attributes
    ----------
    conditions : tuple of Fragment
        Further conditions: behind one row, up to another.
    bounded : bool
        Whether they say where the part ends; else a limit must.
    next : str or None
        The cursor of its last row, where more rows follow.
    """

    conditions: tuple[Fragment, ...] = ()
    bounded: bool = False
    next: str | None = None


#: All rows.
WHOLE = Part()


def read_order(text: str | None, source: Source) -> Order:
    """Read ``sortby``: names with ``+`` or ``-`` before them, separated by commas.

    Raises
    ------
    UnknownField
        A name that the layer does not have.
    InputError
        A property that has no order, or too many of them.
    """
    if not text:
        return Order()
    keys: list[SortKey] = []
    for part in text.split(","):
        word = part.strip()
        descending = word.startswith("-")
        column = source.column(word.lstrip("+-") if word[:1] in "+-" else word)
        if column.kind in ("geometry", "text[]"):
            raise InputError(f"{column.name!r} cannot be sorted by.", zh=f"不能按 {column.name!r} 排序。")
        if column.name in {k.column.name for k in keys}:
            continue
        keys.append(SortKey(column, descending))
    if len(keys) > _MAX_KEYS:
        raise InputError(f"At most {_MAX_KEYS} sort keys.", zh=f"排序字段最多 {_MAX_KEYS} 个。")
    return Order(tuple(keys))


def conditions(parts: list[Fragment]) -> Fragment:
    """``WHERE`` of all conditions together; empty where there are none."""
    if not parts:
        return Fragment("")
    return Fragment(" WHERE ") + join([Fragment(f"({p.text})", p.params) for p in parts], " AND ")
