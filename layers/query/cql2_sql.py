"""CQL2 (OGC 21-065r2) to SQL: a tree as CQL2 JSON has it, or `cql2_text.parse_text` gives it, to a condition with bound values."""

import math
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gis.errors import InputError, LimitExceeded
from layers.query.cql2_text import MAX_DEPTH, MAX_LENGTH, parse_text
from layers.query.fragment import Fragment, join
from layers.query.literals import after, geometry_literal, read_date, read_timestamp
from layers.query.source import Source

__all__ = ["FUNCTIONS", "compile_filter", "parse_json"]

_COMPARISONS = {"=", "<>", "<", ">", "<=", ">="}
_ARITHMETIC = {"+", "-", "*", "/", "%", "div", "^"}
_SPATIAL = {
    "s_intersects": "ST_Intersects", "s_equals": "ST_Equals", "s_disjoint": "ST_Disjoint", "s_touches": "ST_Touches",
    "s_within": "ST_Within", "s_overlaps": "ST_Overlaps", "s_crosses": "ST_Crosses", "s_contains": "ST_Contains",
}  # fmt: skip
#: Relations of two periods, as conditions on their starts and ends (Allen's; CQL2 clause 7.4). ``a``, ``b`` start; ``A``, ``B`` end.
_TEMPORAL = {
    "t_after": "a > B", "t_before": "A < b", "t_contains": "a < b AND A > B", "t_disjoint": "A < b OR a > B",
    "t_during": "a > b AND A < B", "t_equals": "a = b AND A = B", "t_finishedby": "a < b AND A = B",
    "t_finishes": "a > b AND A = B", "t_intersects": "a <= B AND A >= b", "t_meets": "A = b", "t_metby": "a = B",
    "t_overlappedby": "a > b AND a < B AND A > B", "t_overlaps": "a < b AND A > b AND A < B", "t_startedby": "a = b AND A > B",
    "t_starts": "a = b AND A < B",
}  # fmt: skip
_ARRAYS = {"a_equals": ("@>", "<@"), "a_contains": ("@>",), "a_containedby": ("<@",), "a_overlaps": ("&&",)}

#: Functions that a filter may call: arguments' types, type of the answer, SQL.
FUNCTIONS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "lower": (("text",), "text", "lower({0})"),
    "upper": (("text",), "text", "upper({0})"),
    "char_length": (("text",), "number", "char_length({0})"),
    "abs": (("number",), "number", "abs({0})"),
    "round": (("number",), "number", "round({0}::numeric)"),
    "floor": (("number",), "number", "floor({0})"),
    "ceil": (("number",), "number", "ceil({0})"),
    "area_m2": (("geometry",), "number", "ST_Area(ST_Transform({0}, 4326)::geography)"),
    "length_m": (("geometry",), "number", "ST_Length(ST_Transform({0}, 4326)::geography)"),
    "distance_m": (
        ("geometry", "geometry"),
        "number",
        "ST_Distance(ST_Transform({0}, 4326)::geography, ST_Transform({1}, 4326)::geography)",
    ),
}

_MAX_LIST = 2000
_SQL_TYPE = {"date": "date", "timestamp": "timestamptz"}
_TYPE_OF_KIND = {
    "text": "text", "int": "number", "num": "number", "bool": "bool", "date": "date", "datetime": "timestamp", "uuid": "uuid",
    "text[]": "array", "geometry": "geometry",
}  # fmt: skip
_TYPES_ZH = {
    "text": "文本", "number": "数值", "bool": "布尔", "date": "日期", "timestamp": "时间", "uuid": "标识", "array": "数组",
    "geometry": "几何", "interval": "时段",
}  # fmt: skip


#: The administrative code in the order that partitions have.
_CODE = 't."admin_code" COLLATE "C"'


@dataclass(frozen=True, slots=True)
class _Value:
    """A compiled expression. ``literal`` is the value where it stood in the filter itself; ``start`` and ``end`` those of an interval."""

    sql: Fragment
    type: str
    literal: Any = None
    start: "_Value | None" = None
    end: "_Value | None" = None


def parse_json(data: str | bytes) -> Any:
    """Read a CQL2 JSON filter.

    Raises
    ------
    InputError
        It is not JSON.
    LimitExceeded
        It is longer than is read.
    """
    if len(data) > MAX_LENGTH:
        raise LimitExceeded(f"The filter is longer than {MAX_LENGTH} characters.", zh=f"过滤条件超过 {MAX_LENGTH} 个字符。")
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InputError("The filter is not valid JSON, or nested too deep.", zh="过滤条件不是有效的 JSON，或嵌套过深。") from error


def compile_filter(filter_: str | bytes | dict[str, Any], source: Source, *, filter_srid: int = 4326, lang: str = "cql2-text",
                   swap_xy: bool = False) -> Fragment:  # fmt: skip
    """Turn a filter into an SQL condition over ``source``, whose rows are called ``t``.

    Parameters
    ----------
    filter_ : str, bytes or dict
        CQL2 text, CQL2 JSON text, or a tree already read.
    filter_srid : int
        EPSG code of the coordinates in it.
    lang : str
        ``cql2-text`` or ``cql2-json``.
    swap_xy : bool
        Whether its coordinates come as y, x (latitude or northing first, as the authority of the CRS orders them).

    Raises
    ------
    UnknownField
        It names a property that the layer does not have, or that the role may not read.
    InputError
        It is not CQL2, calls an unknown function, or compares what cannot be compared.
    LimitExceeded
        It is too long, too deep or has too long a list.

    Examples
    --------
    >>> from layers.declaration import LayerDeclaration
    >>> layer = LayerDeclaration(name="bench", title_zh="长椅", title_en="Bench", geometry="Point")
    >>> compile_filter("name_en = 'A' OR name_en IS NULL", Source.of(layer, 4490, "public"))
    Fragment(text='(t."name_en" = %s::text) OR (t."name_en" IS NULL)', params=('A',))
    """
    if isinstance(filter_, dict):
        tree: Any = filter_
    elif lang == "cql2-json":
        tree = parse_json(filter_)
    else:
        tree = parse_text(filter_ if isinstance(filter_, str) else filter_.decode("utf-8", "replace"))
    return _Compiler(source, filter_srid, swap_xy).condition(tree, 0)


def _type_fault(op: str, *types: str) -> InputError:
    en = " and ".join(types)
    zh = "与".join(_TYPES_ZH.get(t, t) for t in types)
    return InputError(f"{op!r} cannot be applied to {en}.", zh=f"{op!r} 不能用于{zh}。")


class _Compiler:
    def __init__(self, source: Source, srid: int, swap_xy: bool) -> None:
        self.source = source
        self.srid = srid
        self.swap_xy = swap_xy

    # -- conditions

    def condition(self, node: Any, depth: int) -> Fragment:
        value = self.value(node, depth)
        if value.type != "bool":
            raise InputError("A filter is a condition, not a value.", zh="过滤条件应为条件表达式，而不是值。")
        return value.sql

    def value(self, node: Any, depth: int) -> _Value:
        if depth > MAX_DEPTH:
            raise LimitExceeded(f"The filter is nested deeper than {MAX_DEPTH} levels.", zh=f"过滤条件嵌套超过 {MAX_DEPTH} 层。")
        if isinstance(node, bool):
            return _Value(Fragment("TRUE" if node else "FALSE"), "bool", node)
        if isinstance(node, int | float):
            return _number(node)
        if isinstance(node, str):
            if "\x00" in node:
                raise InputError("The filter contains a null character.", zh="过滤条件含有空字符。")
            return _Value(Fragment("%s::text", (node,)), "text", node)
        if isinstance(node, list):
            return self.array(node, depth)
        if isinstance(node, dict):
            if "op" in node:
                return self.operation(node, depth)
            if "property" in node:
                return self.property(node["property"])
            if "function" in node and isinstance(node["function"], dict):
                inner = node["function"]
                return self.operation({"op": inner.get("name"), "args": inner.get("args", [])}, depth)
            if "date" in node:
                day = read_date(node["date"])
                return _Value(Fragment("%s::date", (day,)), "date", day)
            if "timestamp" in node:
                instant = read_timestamp(node["timestamp"])
                return _Value(Fragment("%s::timestamptz", (instant,)), "timestamp", instant)
            if "interval" in node:
                return self.interval(node["interval"], depth)
            if "bbox" in node or "type" in node:
                return self.geometry(node)
        elif hasattr(node, "geom_type"):
            return self.geometry(node)
        raise InputError(f"The filter holds something that is not CQL2: {_shown(node)}.", zh=f"过滤条件中有不是 CQL2 的内容：{_shown(node)}。")

    def property(self, name: Any) -> _Value:
        if not isinstance(name, str):
            raise InputError("The name of a property is a string.", zh="属性名应为字符串。")
        column = self.source.column(name)
        return _Value(Fragment(column.sql), _TYPE_OF_KIND[column.kind])

    def operation(self, node: dict[str, Any], depth: int) -> _Value:
        name, arguments = node["op"], node.get("args", [])
        if not isinstance(name, str) or not isinstance(arguments, list):
            raise InputError("'op' is a name and 'args' a list.", zh="op 应为名称，args 应为列表。")
        op = name if name in ("isNull",) else name.lower()
        handlers: list[tuple[Any, Callable[[str, list[Any], int], _Value]]] = [
            (("and", "or"), self.logical), (("not",), self.negation), (_COMPARISONS, self.comparison), (("isNull", "isnull"), self.is_null),
            (("like",), self.like), (("between",), self.between), (("in",), self.contained), (("casei", "accenti"), self.folded),
            (_ARITHMETIC, self.arithmetic), (_SPATIAL, self.spatial), (_TEMPORAL, self.temporal), (_ARRAYS, self.array_relation),
            (("s_dwithin",), self.within_distance), (FUNCTIONS, self.function),
        ]  # fmt: skip
        for names, handler in handlers:
            if op in names:
                return handler(op, arguments, depth + 1)
        raise InputError(f"Unknown function {name[:60]!r}.", zh=f"未知函数 {name[:60]!r}。")

    def logical(self, op: str, arguments: list[Any], depth: int) -> _Value:
        _count(op, arguments, 1, _MAX_LIST)
        parts = [self.condition(a, depth) for a in arguments]
        if len(parts) == 1:
            return _Value(parts[0], "bool")
        return _Value(join([Fragment(f"({p.text})", p.params) for p in parts], f" {op.upper()} "), "bool")

    def negation(self, op: str, arguments: list[Any], depth: int) -> _Value:
        _count(op, arguments, 1)
        inner = self.condition(arguments[0], depth)
        return _Value(Fragment(f"NOT ({inner.text})", inner.params), "bool")

    def comparison(self, op: str, arguments: list[Any], depth: int) -> _Value:
        _count(op, arguments, 2)
        left, right = _matched(op, self.value(arguments[0], depth), self.value(arguments[1], depth))
        if left.type in ("geometry", "array", "interval"):
            raise _type_fault(op, left.type, right.type)
        condition = join([left.sql, right.sql], f" {op} ")
        if op == "=" and self.is_code(arguments[0]) and isinstance(right.literal, str):
            condition = condition & Fragment(f"{_CODE} = %s::text", (right.literal,))
        return _Value(condition, "bool")

    def is_null(self, op: str, arguments: list[Any], depth: int) -> _Value:
        _count(op, arguments, 1)
        return _Value(self.value(arguments[0], depth).sql + " IS NULL", "bool")

    def like(self, op: str, arguments: list[Any], depth: int) -> _Value:
        _count(op, arguments, 2)
        value, pattern = self.value(arguments[0], depth), self.value(arguments[1], depth)
        if value.type != "text" or pattern.type != "text":
            raise _type_fault(op, value.type, pattern.type)
        condition = join([value.sql, pattern.sql], " LIKE ")
        begins = re.match("[0-9]{1,12}", pattern.literal) if self.is_code(arguments[0]) and isinstance(pattern.literal, str) else None
        if begins is not None:
            condition = condition & Fragment(f"{_CODE} >= %s::text AND {_CODE} < %s::text", (begins[0], after(begins[0])))
        return _Value(condition, "bool")

    def between(self, op: str, arguments: list[Any], depth: int) -> _Value:
        _count(op, arguments, 3)
        value = self.value(arguments[0], depth)
        _, low = _matched(op, value, self.value(arguments[1], depth))
        value, high = _matched(op, value, self.value(arguments[2], depth))
        if value.type not in ("number", "text", "date", "timestamp"):
            raise _type_fault(op, value.type)
        return _Value(value.sql + " BETWEEN " + low.sql + " AND " + high.sql, "bool")

    def contained(self, op: str, arguments: list[Any], depth: int) -> _Value:
        _count(op, arguments, 2)
        if not isinstance(arguments[1], list) or not 1 <= len(arguments[1]) <= _MAX_LIST:
            raise InputError(f"'in' needs a list of 1 to {_MAX_LIST} values.", zh=f"in 需要 1 至 {_MAX_LIST} 个值的列表。")
        value = self.value(arguments[0], depth)
        choices = []
        for item in arguments[1]:
            value, choice = _matched(op, value, self.value(item, depth))
            choices.append(choice.sql)
        condition = value.sql + " IN (" + join(choices, ", ") + ")"
        if self.is_code(arguments[0]) and all(isinstance(item, str) for item in arguments[1]):
            condition = condition & (Fragment(f"{_CODE} IN (") + join(choices, ", ") + ")")
        return _Value(condition, "bool")

    def is_code(self, node: Any) -> bool:
        """Whether this is the administrative code that the layer is partitioned by; then the condition is said once more in the order of bytes.

        It is the same condition, and the one by which PostgreSQL finds out which partitions it need not look at.
        """
        return self.source.partitioned and self.source.at is None and isinstance(node, dict) and node.get("property") == "admin_code"

    # -- values

    def folded(self, op: str, arguments: list[Any], depth: int) -> _Value:
        _count(op, arguments, 1)
        inner = self.value(arguments[0], depth)
        if inner.type != "text":
            raise _type_fault(op, inner.type)
        if op == "casei":
            return _Value(Fragment(f"lower({inner.sql.text})", inner.sql.params), "text")
        stripped = f"regexp_replace(normalize({inner.sql.text}, NFD), '[\u0300-\u036f]', '', 'g')"
        return _Value(Fragment(stripped, inner.sql.params), "text")

    def arithmetic(self, op: str, arguments: list[Any], depth: int) -> _Value:
        _count(op, arguments, 2)
        left, right = (self.value(a, depth) for a in arguments)
        if left.type != "number" or right.type != "number":
            raise _type_fault(op, left.type, right.type)
        a, b = left.sql.text, right.sql.text
        text = {
            "/": f"(({a})::float8 / nullif(({b})::float8, 0))",
            "div": f"trunc(({a})::float8 / nullif(({b})::float8, 0))",
            "%": f"mod(({a})::numeric, nullif(({b})::numeric, 0))",
            "^": f"power(({a})::float8, ({b})::float8)",
        }.get(op, f"(({a})::float8 {op} ({b})::float8)")
        return _Value(Fragment(text, left.sql.params + right.sql.params), "number")

    def function(self, op: str, arguments: list[Any], depth: int) -> _Value:
        types, answer, template = FUNCTIONS[op]
        _count(op, arguments, len(types))
        values = [self.value(a, depth) for a in arguments]
        for value, wanted in zip(values, types, strict=True):
            if value.type != wanted:
                raise _type_fault(op, value.type)
        text = template.format(*(v.sql.text for v in values))
        return _Value(Fragment(text, tuple(p for v in values for p in v.sql.params)), answer)

    # -- places

    def geometry(self, node: Any) -> _Value:
        wkb = geometry_literal(node, from_srid=self.srid, to_srid=self.source.srid, swap_xy=self.swap_xy)
        return _Value(Fragment("ST_GeomFromWKB(%s, " + str(self.source.srid) + ")", (wkb,)), "geometry", wkb)

    def spatial(self, op: str, arguments: list[Any], depth: int) -> _Value:
        _count(op, arguments, 2)
        left, right = (self.value(a, depth) for a in arguments)
        if left.type != "geometry" or right.type != "geometry":
            raise _type_fault(op, left.type, right.type)
        if op in ("s_intersects", "s_disjoint"):
            return _Value(Fragment(_SPATIAL[op] + "(") + join([left.sql, right.sql], ", ") + ")", "bool")
        return _Value(self.relation(op, left, right), "bool")

    def relation(self, op: str, left: _Value, right: _Value) -> Fragment:
        """A relation that PostGIS knows for geometries of one kind only: a stored collection of several kinds meets none."""
        for value in (left, right):
            if value.literal is not None and _is_collection(value.literal):
                raise InputError(f"{op!r} takes no GEOMETRYCOLLECTION of different kinds; ask for each part.",
                                 zh=f"{op!r} 不支持含不同类型的几何集合，请分别查询。")  # fmt: skip
        plain = Fragment(_SPATIAL[op] + "(") + join([left.sql, right.sql], ", ") + ")"
        if self.source.declaration.geometry != "Geometry":
            return plain
        shapes, kinds = [], []
        for value in (left, right):
            shape = value.sql if value.literal is not None else Fragment("ST_CollectionHomogenize(") + value.sql + ")"
            shapes.append(shape)
            if value.literal is None:
                kinds.append(Fragment("GeometryType(") + shape + ") <> 'GEOMETRYCOLLECTION'")
        related = Fragment(_SPATIAL[op] + "(") + join(shapes, ", ") + ")"
        return join([left.sql, right.sql], " && ") + " AND CASE WHEN " + join(kinds, " AND ") + " THEN " + related + " END" if kinds else plain

    def within_distance(self, op: str, arguments: list[Any], depth: int) -> _Value:
        _count(op, arguments, 3)
        left, right, metres = (self.value(a, depth) for a in arguments)
        if left.type != "geometry" or right.type != "geometry" or metres.type != "number":
            raise _type_fault(op, left.type, right.type, metres.type)
        parts = [Fragment(f"ST_Transform({v.sql.text}, 4326)::geography", v.sql.params) for v in (left, right)]
        return _Value(Fragment("ST_DWithin(") + join([*parts, metres.sql], ", ") + ")", "bool")

    # -- times

    def interval(self, node: Any, depth: int) -> _Value:
        if not isinstance(node, list) or len(node) != 2:
            raise InputError("An interval has two ends.", zh="时段应有起止两端。")
        ends: list[_Value] = []
        for position, item in enumerate(node):
            if item == ".." or (isinstance(item, str) and not item):
                word = ("-infinity", "infinity")[position]
                ends.append(_Value(Fragment(f"'{word}'::date"), "date", word))
            elif isinstance(item, str):
                text = "date" if len(item) == 10 else "timestamp"
                ends.append(self.value({text: item}, depth))
            else:
                end = self.value(item, depth)
                if end.type not in ("date", "timestamp"):
                    raise _type_fault("interval", end.type)
                ends.append(end)
        # a missing end of a stored period is an open one; where both are missing nothing is known (Annex A counts no such row)
        known = [Fragment("") if e.literal is not None else e.sql for e in ends]
        for position, word in enumerate(("-infinity", "infinity")):
            end, other = ends[position], known[1 - position]
            if end.literal is None:
                filler = Fragment(f"'{word}'::{_SQL_TYPE[end.type]}")
                if other.text:
                    filler = Fragment("CASE WHEN ") + other + " IS NOT NULL THEN " + filler + " END"
                ends[position] = _Value(Fragment("coalesce(") + end.sql + ", " + filler + ")", end.type)
        if ends[0].literal is not None and ends[1].literal is not None and _after(ends[0].literal, ends[1].literal):
            raise InputError("The interval ends before it begins.", zh="时段的终点早于起点。")
        return _Value(ends[0].sql, "interval", start=ends[0], end=ends[1])

    def temporal(self, op: str, arguments: list[Any], depth: int) -> _Value:
        _count(op, arguments, 2)
        periods = []
        for argument in arguments:
            value = self.value(argument, depth)
            if value.type == "text" and isinstance(value.literal, str):
                value = self.value({"date" if len(value.literal) == 10 else "timestamp": value.literal}, depth)
            if value.type not in ("date", "timestamp", "interval"):
                raise _type_fault(op, value.type)
            periods.append(value)
        ends = [(p.start or p, p.end or p) for p in periods]
        by_day = all(e.type == "date" for pair in ends for e in pair)
        names = {}
        for letters, pair, period in zip((("a", "A"), ("b", "B")), ends, periods, strict=True):
            for position, (letter, end) in enumerate(zip(letters, pair, strict=True)):
                names[letter] = end.sql if by_day else _instant(end, last=position == 1 and period.type == "interval")
        parts = [names.get(word, Fragment(word)) for word in _TEMPORAL[op].split(" ")]
        return _Value(join(parts, " "), "bool")

    # -- arrays

    def array(self, node: Sequence[Any], depth: int) -> _Value:
        if len(node) > _MAX_LIST:
            raise LimitExceeded(f"A list in the filter has more than {_MAX_LIST} values.", zh=f"过滤条件中的列表超过 {_MAX_LIST} 个值。")
        values = [self.value(item, depth + 1) for item in node]
        types = {v.type for v in values}
        if len(types) > 1 or types & {"array", "geometry", "interval"}:
            raise InputError("The values of an array are all texts, all numbers, all dates or all booleans.",
                             zh="数组的值应全为文本、数值、日期或布尔值。")  # fmt: skip
        sql_type = {"number": "float8", "bool": "boolean", "date": "date", "timestamp": "timestamptz", "uuid": "uuid"}.get(
            next(iter(types), "text"), "text"
        )
        return _Value(Fragment("ARRAY[") + join([v.sql for v in values], ", ") + f"]::{sql_type}[]", "array", sql_type)

    def array_relation(self, op: str, arguments: list[Any], depth: int) -> _Value:
        _count(op, arguments, 2)
        left, right = (self.value(a, depth) for a in arguments)
        if left.type != "array" or right.type != "array":
            raise _type_fault(op, left.type, right.type)
        kinds = {v.literal or "text" for v in (left, right)}
        if len(kinds) > 1:
            raise InputError("The arrays hold values of different types.", zh="两个数组的值类型不同。")
        return _Value(join([join([left.sql, right.sql], f" {sign} ") for sign in _ARRAYS[op]], " AND "), "bool")


def _is_collection(wkb: bytes) -> bool:
    """Whether WKB is that of a GEOMETRYCOLLECTION (type 7)."""
    return int.from_bytes(wkb[1:5], "little" if wkb[0] else "big") % 1000 == 7


def _shown(node: Any) -> str:
    return repr(node)[:60]


def _number(value: float) -> _Value:
    if not math.isfinite(value):
        raise InputError("A number in the filter is not finite.", zh="过滤条件中的数不是有限数。")
    if isinstance(value, int) and abs(value) < 2**63:
        return _Value(Fragment("%s::bigint", (value,)), "number", value)
    return _Value(Fragment("%s::float8", (float(value),)), "number", value)


def _count(op: str, arguments: Sequence[Any], low: int, high: int | None = None) -> None:
    if not low <= len(arguments) <= (high or low):
        raise InputError(f"{op!r} takes {low} arguments, not {len(arguments)}.", zh=f"{op!r} 需要 {low} 个参数，而不是 {len(arguments)} 个。")


def _after(first: Any, second: Any) -> bool:
    return type(first) is type(second) and not isinstance(first, str) and bool(first > second)


def _instant(value: _Value, *, last: bool) -> Fragment:
    """A date as an instant: its midnight UTC, or its last microsecond where it ends an interval."""
    if value.type == "timestamp":
        return value.sql
    if isinstance(value.literal, str):  # an open end
        return Fragment(f"'{value.literal}'::timestamptz")
    text = f"({value.sql.text})::timestamp AT TIME ZONE 'UTC'"
    if last:
        text = f"(({value.sql.text})::timestamp + interval '1 day - 1 microsecond') AT TIME ZONE 'UTC'"
    return Fragment(f"({text})", value.sql.params)


def _matched(op: str, left: _Value, right: _Value) -> tuple[_Value, _Value]:
    """Both sides of a comparison brought to one type.

    A text literal is read as what the other side is, where that is an identifier, a date or a time.
    """
    if left.type == right.type:
        return left, right
    if isinstance(right.literal, str) and right.type == "text":
        right = _read_as(op, right, left.type)
    elif isinstance(left.literal, str) and left.type == "text":
        left = _read_as(op, left, right.type)
    if left.type == right.type:
        return left, right
    if {left.type, right.type} == {"date", "timestamp"}:
        return (
            _Value(_instant(left, last=False), "timestamp", left.literal),
            _Value(_instant(right, last=False), "timestamp", right.literal),
        )
    raise _type_fault(op, left.type, right.type)


def _read_as(op: str, value: _Value, wanted: str) -> _Value:
    text = str(value.literal)
    if wanted == "uuid":
        try:
            return _Value(Fragment("%s::uuid", (uuid.UUID(text),)), "uuid", text)
        except ValueError as error:
            raise InputError(f"{text[:60]!r} is not an identifier (UUID).", zh=f"{text[:60]!r} 不是有效标识（UUID）。") from error
    if wanted == "date" and len(text) <= 10:
        day = read_date(text)
        return _Value(Fragment("%s::date", (day,)), "date", day)
    if wanted in ("date", "timestamp"):
        instant = read_timestamp(text)
        return _Value(Fragment("%s::timestamptz", (instant,)), "timestamp", instant)
    raise _type_fault(op, wanted, "text")
