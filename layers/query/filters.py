"""The simple filters of a request: a box, a time, words, a property's value."""

import datetime as dt
import math
import uuid

import shapely

from gis.errors import InputError
from layers.query.cql2_sql import compile_filter
from layers.query.fragment import Fragment, join
from layers.query.literals import check_degrees, read_date, read_timestamp, sought_in_storage
from layers.query.source import Source

__all__ = ["bbox_filter", "datetime_filter", "ids_filter", "property_filter", "read_bbox", "words_filter"]

_MAX_WORDS = 10


def read_bbox(text: str) -> tuple[float, float, float, float]:
    """Read ``bbox``: four numbers, or six of which the heights are not used.

    Raises
    ------
    InputError
        Not four or six finite numbers, or the second corner is below the first.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError("bbox: four or six numbers, separated by commas.", zh="bbox 应为以逗号分隔的四个或六个数。") from error
    if len(numbers) not in (4, 6) or not all(math.isfinite(v) for v in numbers):
        raise InputError("bbox: four or six finite numbers.", zh="bbox 应为四个或六个有限数。")
    half = len(numbers) // 2
    return numbers[0], numbers[1], numbers[half], numbers[half + 1]


def bbox_filter(source: Source, box: tuple[float, float, float, float], *, srid: int, swap_xy: bool) -> Fragment:
    """Features that touch a box in EPSG ``srid``; one whose west is east of its east crosses the 180° meridian.

    Raises
    ------
    InputError
        The box is upside down.
    InvalidGeometry
        It lies where the reference system is not defined.
    """
    if not source.has_geometry:
        return Fragment("FALSE")
    a, b, c, d = box
    west, south, east, north = (b, a, d, c) if swap_xy else box
    if south > north or (west > east and srid not in (4326, 4490)):
        raise InputError("bbox: the first corner is the lower left one.", zh="bbox 的第一个角点应为左下角。")
    spans = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    degrees = {srid, source.srid} <= {4326, 4490}  # coordinates are taken over unchanged
    parts = []
    for low, high in spans:
        bounds: tuple[float, ...] = (low, south, high, north)
        exact: tuple[object, ...] = bounds
        sought = f"ST_MakeEnvelope(%s, %s, %s, %s, {source.srid})"
        if degrees:
            check_degrees(low, south, high, north)
        else:
            outline: shapely.Geometry = shapely.box(low, south, high, north)
            moved = sought_in_storage(outline, from_srid=srid, to_srid=source.srid, swap_xy=False)
            if shapely.is_empty(moved):  # nothing of it lies where the layer's system reaches
                parts.append(Fragment("FALSE"))
                continue
            bounds = tuple(float(v) for v in shapely.bounds(moved))
            sought, exact = f"ST_GeomFromWKB(%s, {source.srid})", (shapely.to_wkb(moved),)
        # `&&` alone compares boxes in single precision: most of a metre
        near = Fragment(f"t.geom && ST_MakeEnvelope(%s, %s, %s, %s, {source.srid})", bounds)
        parts.append(near + Fragment(f" AND ST_Intersects(t.geom, {sought})", exact))
    return parts[0] if len(parts) == 1 else join([Fragment(f"({p.text})", p.params) for p in parts], " OR ")


def datetime_filter(source: Source, text: str) -> Fragment:
    """Features valid at an instant or in a period (``valid_from``, ``valid_to``; an empty end is open).

    Raises
    ------
    InputError
        Not an RFC 3339 instant or interval.
    """
    ends = text.split("/")
    if len(ends) > 2:
        raise InputError("datetime: one instant, or start/end.", zh="datetime 应为一个时刻，或“起/止”。")
    dates: list[dt.date | None] = []
    for part in ends:
        word = part.strip()
        if word in ("", ".."):
            if len(ends) == 1:
                raise InputError("datetime: one instant, or start/end.", zh="datetime 应为一个时刻，或“起/止”。")
            dates.append(None)
        else:
            dates.append(read_date(word) if len(word) == 10 else read_timestamp(word).date())
    start, end = dates[0], dates[-1]
    if start and end and start > end:
        raise InputError("datetime: the period ends before it begins.", zh="datetime 的终点早于起点。")
    parts = []
    if end:
        parts.append(Fragment("(t.valid_from IS NULL OR t.valid_from <= %s::date)", (end,)))
    if start:
        parts.append(Fragment("(t.valid_to IS NULL OR t.valid_to >= %s::date)", (start,)))
    return join(parts, " AND ", empty="TRUE")


def words_filter(source: Source, text: str) -> Fragment:
    """Features in whose names and codes all the words occur (``q``; any of several lists separated by commas).

    Raises
    ------
    InputError
        No word, or too many.
    """
    fields = [c for name in source.declaration.search if (c := source.columns.get(name)) is not None and c.kind == "text"]
    groups = [group.split() for group in text.split(",") if group.strip()]
    if not groups or sum(map(len, groups)) > _MAX_WORDS or "\x00" in text or len(text) > 500:
        raise InputError(f"q: one to {_MAX_WORDS} words.", zh=f"q 应为 1 至 {_MAX_WORDS} 个词。")
    if not fields:
        return Fragment("FALSE")

    def word(text: str) -> Fragment:
        pattern = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        return Fragment("(" + " OR ".join(f"{c.sql} ILIKE %s::text" for c in fields) + ")", (pattern,) * len(fields))

    return join([Fragment("(") + join([word(w) for w in group], " AND ") + ")" for group in groups], " OR ")


def property_filter(source: Source, name: str, value: str) -> Fragment:
    """``name=value`` of the query string: equal, or matching where the value of a text has ``*``.

    Raises
    ------
    UnknownField, InputError
        No such property, or the value is not of its type.
    """
    column = source.column(name)
    node: object = value
    if column.kind in ("int", "num"):
        try:
            node = int(value) if column.kind == "int" else float(value)
        except ValueError as error:
            raise InputError(f"{name} is a number, not {value[:40]!r}.", zh=f"{name} 应为数值，而不是 {value[:40]!r}。") from error
    elif column.kind == "bool":
        if value.lower() not in ("true", "false"):
            raise InputError(f"{name} is true or false.", zh=f"{name} 应为 true 或 false。")
        node = value.lower() == "true"
    elif column.kind in ("geometry", "text[]"):
        raise InputError(f"{name} cannot be compared so; use filter.", zh=f"{name} 不能这样比较，请使用 filter。")
    elif column.kind == "text" and "*" in value:
        pattern = value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%")
        return compile_filter({"op": "like", "args": [{"property": name}, pattern]}, source)
    return compile_filter({"op": "=", "args": [{"property": name}, node]}, source)


def ids_filter(text: str) -> Fragment:
    """``ids``: features of these ids, separated by commas.

    Raises
    ------
    InputError
        One of them is no identifier, or there are more than a thousand.
    """
    try:
        ids = [uuid.UUID(part.strip()) for part in text.split(",")]
    except ValueError as error:
        raise InputError("ids: identifiers (UUID) separated by commas.", zh="ids 应为以逗号分隔的标识（UUID）。") from error
    if len(ids) > 1000:
        raise InputError("ids: at most 1000.", zh="ids 最多 1000 个。")
    return Fragment("t.id = ANY(%s::uuid[])", (ids,))
