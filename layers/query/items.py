"""Pages of features as GeoJSON text that PostgreSQL itself writes: what the database sends is what the client gets."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from layers.query.fragment import Fragment
from layers.query.paging import Order, conditions
from layers.query.source import Column, Source

__all__ = ["Question", "count_sql", "feature_sql", "geometry_sql", "item_sql", "page_end_sql", "page_sql"]

CRS84_URI = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
#: Decimal digits of coordinates: about a millimetre, in degrees and in metres.
_DIGITS_DEGREES = 8
_DIGITS_METRES = 3


@dataclass(frozen=True)
class Question:
    """What is asked of a layer.

    Attributes
    ----------
    conditions : tuple of Fragment
        All must hold.
    srid : int or None
        EPSG code of the answer's coordinates; None for those stored (CRS84, where the storage is geographic).
    swap_xy : bool
        Whether the answer's coordinates are y, x.
    properties : tuple of str or None
        Names of the properties wanted; None for all.
    """

    source: Source
    conditions: tuple[Fragment, ...] = ()
    order: Order = field(default_factory=Order)
    srid: int | None = None
    swap_xy: bool = False
    properties: tuple[str, ...] | None = None
    geometry: bool = True

    def where(self, *more: Fragment) -> Fragment:
        """The ``WHERE`` clause, with ``more`` conditions added."""
        return conditions([*self.conditions, *more])


def geometry_sql(source: Source, srid: int | None, *, swap_xy: bool = False, column: str = "t.geom") -> str:
    """SQL of a feature's geometry in EPSG ``srid``.

    CGCS2000 and WGS 84 are taken over unchanged, as everywhere in Baige: no published transformation between them is better.
    """
    sql = column
    if srid is not None and srid != source.srid and {srid, source.srid} != {4326, 4490}:
        sql = f"ST_Transform({column}, {int(srid)})"
    return f"ST_FlipCoordinates({sql})" if swap_xy else sql


def _digits(srid: int) -> int:
    return _DIGITS_DEGREES if srid in (4326, 4490) else _DIGITS_METRES


def _selected(source: Source, names: Sequence[str] | None) -> tuple[Column, ...]:
    if names is None:
        return source.properties
    wanted = set(names) - {"id", "geometry"}
    return tuple(c for c in source.columns.values() if c.name in wanted)


@lru_cache(maxsize=2048)
def _feature_text(columns: tuple[Column, ...], geometry: str | None, digits: int, fg: str) -> str:
    properties = "'{}'"
    if columns:
        # second geometries are given only where they are asked for by name
        forms = {c.name: f"ST_AsGeoJSON({c.sql}, {_DIGITS_DEGREES}, 0)::json" for c in columns if c.kind == "geometry"}
        listed = ", ".join(f'{forms.get(c.name, c.sql)} AS "{c.name}"' for c in columns)
        properties = f"row_to_json((SELECT p FROM (SELECT {listed}) AS p))::text"
    place = "null" if geometry is None else f"' || coalesce(ST_AsGeoJSON({geometry}, {digits}, 0), 'null') || '"
    return (
        f"""'{{"type":"Feature","id":"' || t.id || '","geometry":{place}{fg},"properties":' || {properties} || '}}'"""
    )


def feature_sql(question: Question, *, as_jsonfg: bool = False, crs_uri: str = CRS84_URI) -> str:
    """SQL expression of one feature as GeoJSON text; it begins ``{"type":"Feature","id":"…36 characters…"``.

    Parameters
    ----------
    as_jsonfg : bool
        Write JSON-FG (OGC 21-045r1): validity as ``time``, and the place in another system than CRS84 as ``place``.
    crs_uri : str
        Identifier of the system asked for.
    """
    source = question.source
    geometry, fg = None, ""
    srid = question.srid or source.srid
    if source.has_geometry and question.geometry:
        geometry = geometry_sql(source, question.srid, swap_xy=question.swap_xy)
    if as_jsonfg:
        start, end = (f"""coalesce('"' || t.{name} || '"', '".."')""" for name in ("valid_from", "valid_to"))
        period = f"""'{{"interval":[' || {start} || ',' || {end} || ']}}'"""
        fg = f""","time":' || CASE WHEN t.valid_from IS NULL AND t.valid_to IS NULL THEN 'null' ELSE {period} END || ',"place":"""
        if crs_uri == CRS84_URI or geometry is None:
            fg += "null"
        else:
            fg += f"' || coalesce(ST_AsGeoJSON({geometry}, {_digits(srid)}, 0), 'null') || '"
            geometry, srid = geometry_sql(source, 4326), 4326
    return _feature_text(_selected(source, question.properties), geometry, _digits(srid), fg)


def page_sql(
    question: Question, *, limit: int, cursor: str | None = None, as_jsonfg: bool = False, crs_uri: str = CRS84_URI
) -> Fragment:
    """One page and one row more, in order: the feature's text and, where an order was asked for, its sort values.

    The extra row says whether there is a next page, so that the last page is never an empty one.
    """
    order = question.order
    feature = feature_sql(question, as_jsonfg=as_jsonfg, crs_uri=crs_uri)
    keys = f", {order.key_sql}" if order.keys else ""
    where = question.where(*([order.after(cursor)] if cursor else []))
    # rows are chosen first and written as text afterwards: a sort then never carries or computes text of rows that it drops
    chosen = Fragment(f"SELECT t.* FROM (SELECT {_inner_columns(question)} FROM {question.source.table} AS t")
    if not order.keys:
        chosen = Fragment(f"SELECT {feature} FROM {question.source.table} AS t")
        return chosen + where + Fragment(" ORDER BY t.id LIMIT %s::bigint", (limit + 1,))
    inner = chosen + where + Fragment(f" ORDER BY {order.order_by} LIMIT %s::bigint) AS t", (limit + 1,))
    text = inner.text.replace("SELECT t.* FROM", f"SELECT {feature}{keys} FROM", 1)
    return Fragment(text, inner.params) + f" ORDER BY {order.order_by}"


def page_end_sql(question: Question, *, limit: int, cursor: str | None = None) -> Fragment:
    """The last row of a page and the one behind it: id and, where an order was asked for, sort values. No row: fewer than a full page are left."""
    order = question.order
    keys = f", {order.key_sql}" if order.keys else ""
    where = question.where(*([order.after(cursor)] if cursor else []))
    return (
        Fragment(f"SELECT t.id::text{keys} FROM {question.source.table} AS t")
        + where
        + Fragment(f" ORDER BY {order.order_by} OFFSET %s::bigint LIMIT 2", (limit - 1,))
    )


def _inner_columns(question: Question) -> str:
    names = {c.sql: c for c in _selected(question.source, question.properties)}
    names |= {k.column.sql: k.column for k in question.order.keys}
    columns = ['t.id', 't."valid_from"', 't."valid_to"', *(sql for sql, c in names.items() if c.name != "id")]
    if question.source.has_geometry and question.geometry:
        columns.append("t.geom")
    return ", ".join(dict.fromkeys(columns))


def item_sql(question: Question, feature_id: str, *, as_jsonfg: bool = False, crs_uri: str = CRS84_URI) -> Fragment:
    """One feature: its text and the version of it (moment and number of its last change)."""
    return Fragment(
        f"SELECT {feature_sql(question, as_jsonfg=as_jsonfg, crs_uri=crs_uri)},"
        " extract(epoch from t.changed_at)::text || '-' || coalesce(t.change_id, 0)"
        f" FROM {question.source.table} AS t WHERE t.id = %s::uuid",
        (feature_id,),
    )


def count_sql(question: Question) -> Fragment:
    """How many features match."""
    return Fragment(f"SELECT count(*) FROM {question.source.table} AS t") + question.where()
