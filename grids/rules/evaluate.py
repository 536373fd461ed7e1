"""Rules with a measure of their own, as one bounded SQL query each.

Distances are geodesic, on the ellipsoid of the storage system's datum (PostGIS ``geography``). A pair counts when the distance less the
positional accuracy of both objects could be within the rule's distance; it is a finding beyond doubt when it still is with the accuracy
added. Unknown accuracy is the city's ``accuracy_default_m``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gis.errors import QueryFailed
from gis.settings import CityConfig
from grids.rules.table import Rule, Side
from layers.database import Database
from layers.declaration import LayerDeclaration
from layers.query.cql2_sql import compile_filter
from layers.query.fragment import Fragment
from layers.query.source import Source

__all__ = ["ACCURACY_DEFAULT_M", "Finding", "Sides", "evaluate", "fetch", "name_of", "side_sql"]

ACCURACY_DEFAULT_M = 5.0
#: Half the width taken for a road or railway whose width is not known: the distance to its edge is uncertain by as much.
_HALF_WIDTH_UNKNOWN_M = 6.0
_FINDINGS_MAX = 200_000
_METRES_PER_DEGREE = 110_000.0
_LINES = ("LineString", "MultiLineString", "LineStringM")
#: Corners of a piece of a line, at most.
_PIECE_CORNERS = 16


@dataclass(frozen=True)
class Finding:
    """One fault. Distances in metres; ``wkb`` is the object's place in the storage system."""

    verdict: str
    object_layer: str
    object_id: str
    object_name: str | None
    admin_code: str | None
    wkb: bytes
    other_layer: str | None = None
    other_id: str | None = None
    other_name: str | None = None
    distance_m: float | None = None
    accuracy_m: float | None = None
    threshold_m: float | None = None
    note_zh: str | None = None
    note_en: str | None = None


@dataclass(frozen=True)
class Sides:
    """What evaluation needs to know of the database: declarations by name, storage system, the day asked for, the city."""

    declarations: Mapping[str, LayerDeclaration]
    srid: int
    geographic: bool
    at: date
    city: CityConfig

    @property
    def accuracy_m(self) -> float:
        """Positional accuracy taken for objects without one."""
        return self.city.rules.get("accuracy_default_m", ACCURACY_DEFAULT_M)

    def source(self, layer: str) -> Source:
        """The layer as the platform itself reads it."""
        return Source.of(self.declarations[layer], self.srid, "owner")

    def geography(self, expression: str) -> str:
        """SQL of a geometry as geography."""
        return f"({expression})::geography" if self.geographic else f"ST_Transform({expression}, 4326)::geography"

    def near(self, one: str, other: str, metres: float) -> str:
        """SQL that holds for all geometries at most ``metres`` apart, and for few that are farther; indexes serve it."""
        if not self.geographic:
            return f"ST_DWithin({one}, {other}, {metres * 1.01:.3f})"
        # a degree of longitude is at least half as long as one of latitude up to 60 degrees
        return f"ST_DWithin({one}, {other}, {metres * 2.02 / _METRES_PER_DEGREE:.9f})"


def name_of(declaration: LayerDeclaration) -> str:
    """SQL of what a feature is called in a finding."""
    keys = [f't."{field}"::text' for key in declaration.natural_keys for field in key[:1]]
    return f"coalesce({', '.join(['t.name_zh', *keys, 't.source_ref'])})"


def side_sql(sides: Sides, side: Side, *, extra: str = "") -> Fragment:
    """A sub-query of the features of one side: ``id, name, admin_code, geom, acc`` and what ``extra`` adds."""
    source = sides.source(side.layer)
    place = f'coalesce(t."{side.geometry}", t.geom)' if side.geometry else "t.geom"
    head = (
        f"SELECT t.id, {name_of(source.declaration)} AS name, t.admin_code, {place} AS geom,"
        f" coalesce(t.positional_acc_m, {sides.accuracy_m}) AS acc{extra} FROM {source.table} t"
    )
    where = Fragment(
        "(t.valid_from IS NULL OR t.valid_from <= %s) AND (t.valid_to IS NULL OR t.valid_to >= %s)",
        (sides.at, sides.at),
    )
    if side.filter:
        where = where & compile_filter(side.filter, source)
    return Fragment(head + " WHERE ") + where


def fetch(connection: Connection, query: Fragment) -> list[tuple[object, ...]]:
    """Run a query of fragments inside the connection's transaction.

    Raises
    ------
    QueryFailed, DatabaseTimeout
    """
    return Database.fetch(connection, query.text, query.params, most=_FINDINGS_MAX)


def _threshold(rule: Rule, sides: Sides) -> Fragment:
    """SQL of the distance that holds for a row ``t`` of the other layer."""
    if rule.other is None:
        return Fragment("0")
    source = sides.source(rule.other.layer)
    text, params = "CASE", ()
    for case in rule.cases(sides.city):
        if case.other is None:
            return Fragment(f"{text} WHEN true THEN {case.distance_m} END", params)
        condition = compile_filter(case.other, source)
        text, params = f"{text} WHEN {condition.text} THEN {case.distance_m}", params + condition.params
    return Fragment(text + " END", params)


def _other_sql(rule: Rule, sides: Sides) -> Fragment:
    if rule.other is None:
        raise QueryFailed("A rule without another side cannot be measured.")
    half = "0.0"
    unsure = "0.0"
    width = rule.other_half_width or rule.other_width
    if width:
        value = f't."{width}"' + ("" if rule.other_half_width else " / 2")
        half = f"coalesce({value}, {_HALF_WIDTH_UNKNOWN_M / 2})"
        unsure = f"CASE WHEN {value} IS NULL THEN {_HALF_WIDTH_UNKNOWN_M / 2} ELSE 0 END"
    threshold = _threshold(rule, sides)
    base = side_sql(sides, rule.other, extra=f", {half} AS half, {unsure} AS unsure, {threshold.text} AS limit_m")
    return Fragment(base.text, threshold.params + base.params)


def _measure(rule: Rule, sides: Sides) -> str:
    """SQL of the measure between rows ``a`` and ``b``: metres, negative inside an area."""
    gap = f"ST_Distance({sides.geography('a.geom')}, {sides.geography('b.geom')})"
    if rule.measure not in ("inside", "outside"):
        return f"{gap} - b.half"
    part = "CASE WHEN ST_Dimension(a.geom) = 0 THEN a.geom ELSE ST_PointOnSurface(ST_Intersection(a.geom, b.geom)) END"
    depth = f"ST_Distance({sides.geography(part)}, {sides.geography('ST_Boundary(b.geom)')})"
    return f"CASE WHEN ST_Intersects(a.geom, b.geom) THEN -({depth}) ELSE {gap} END"


def _accuracy(connection: Connection, side: Side, sides: Sides) -> float:
    """The worst positional accuracy of a side's layer, metres."""
    worst = connection.exec_driver_sql(f'SELECT max(positional_acc_m) FROM baige."{side.layer}"').scalar()
    return max(sides.accuracy_m, float(worst or 0.0))


def _reach(connection: Connection, rule: Rule, sides: Sides) -> float:
    """Metres beyond which no pair can be a finding: the greatest distance, width and accuracies of the two layers, and some more."""
    reach = max(case.distance_m for case in rule.cases(sides.city)) + _HALF_WIDTH_UNKNOWN_M
    reach += sum(_accuracy(connection, side, sides) for side in (rule.object, rule.other) if side is not None)
    width = rule.other_half_width or rule.other_width
    if width and rule.other:
        reach += float(
            connection.exec_driver_sql(f'SELECT max("{width}") FROM baige."{rule.other.layer}"').scalar() or 0.0
        )
    return reach + 10.0


def _neighbours(connection: Connection, rule: Rule, sides: Sides, a: Fragment, b: Fragment) -> Fragment:
    """``FROM`` clause of the pairs that are near enough to be measured.

    Near a line is looked for by its pieces, each as far as its own distance and width go: the box of a road across the city holds tens of
    thousands of buildings, those of its pieces hold the ones beside it.
    """
    layer = sides.declarations[rule.other.layer] if rule.other else None
    if layer is None or layer.geometry not in _LINES:
        return Fragment("(") + a + ") a JOIN (" + b + f") b ON {sides.near('a.geom', 'b.geom', _reach(connection, rule, sides))}"
    reach = f"(o.limit_m + o.half + o.unsure + o.acc + {_accuracy(connection, rule.object, sides) + 1.0}) * 1.01"
    if sides.geographic:  # in degrees of longitude at the end of the line that is farther from the equator
        reach += f" / ({_METRES_PER_DEGREE} * cos(radians(least(greatest(abs(ST_YMin(o.geom)), abs(ST_YMax(o.geom))) + 0.01, 89))))"
    pieces = Fragment(f"SELECT o.id, {reach} AS reach, ST_Subdivide(o.geom, {_PIECE_CORNERS}) AS geom FROM (") + b + ") o"
    pairs = Fragment("(SELECT DISTINCT a.id AS a, b.id AS b FROM (") + a + ") a JOIN (" + pieces
    pairs = pairs + ") b ON ST_DWithin(a.geom, b.geom, b.reach)) near"
    return pairs + " JOIN (" + a + ") a ON a.id = near.a JOIN (" + b + ") b ON b.id = near.b"


def evaluate(connection: Connection, rule: Rule, sides: Sides) -> list[Finding]:
    """Findings of a rule whose measure is not ``code``.

    Raises
    ------
    DatabaseTimeout, QueryFailed
    """
    if rule.measure == "attribute":
        return _attribute(connection, rule, sides)
    if rule.measure in ("far", "outside"):
        return _without(connection, rule, sides)
    a, b = side_sql(sides, rule.object), _other_sql(rule, sides)
    same = "WHERE a.id <> b.id" if rule.other is not None and rule.other.layer == rule.object.layer else ""
    best = "" if rule.pairs else "DISTINCT ON (id)"
    query = (
        Fragment(
            f"SELECT {best} id::text, name, admin_code, ST_AsBinary(geom), other_id::text, other_name, m, acc, limit_m FROM ("
            f"SELECT a.id, a.name, a.admin_code, a.geom, b.id AS other_id, b.name AS other_name, {_measure(rule, sides)} AS m,"
            f" a.acc + b.acc + b.unsure AS acc, b.limit_m FROM "
        )
        + _neighbours(connection, rule, sides, a, b)
        + f" {same}) pair WHERE m - acc <= limit_m ORDER BY id, m - limit_m, other_id"
    )
    return [
        _finding(rule, row, sure=_number(row[6]) + _number(row[7]) <= _number(row[8]))
        for row in fetch(connection, query)
    ]


def _without(connection: Connection, rule: Rule, sides: Sides) -> list[Finding]:
    """Objects that have no other within the distance, or lie in none."""
    a, b = side_sql(sides, rule.object), _other_sql(rule, sides)
    query = (
        Fragment(
            "SELECT a.id::text, a.name, a.admin_code, ST_AsBinary(a.geom), near.id::text, near.name, near.m,"
            " a.acc + coalesce(near.acc, 0), near.limit_m FROM ("
        )
        + a
        + ") a LEFT JOIN LATERAL (SELECT b.id, b.name, b.limit_m, b.acc + b.unsure AS acc,"
        + f" {_measure(rule, sides)} AS m FROM (SELECT * FROM ("
        + b
        + ") every ORDER BY every.geom <-> a.geom LIMIT 12) b ORDER BY 5 LIMIT 1) near ON true"
        + " WHERE near.id IS NULL OR near.m + a.acc + near.acc > near.limit_m ORDER BY a.id"
    )
    found = []
    for row in fetch(connection, query):
        sure = row[4] is None or _number(row[6]) - _number(row[7]) > _number(row[8])
        found.append(_finding(rule, row, sure=sure))
    return found


def _attribute(connection: Connection, rule: Rule, sides: Sides) -> list[Finding]:
    unknown = compile_filter(rule.unknown, sides.source(rule.object.layer)) if rule.unknown else Fragment("false")
    a = side_sql(sides, rule.object, extra=f", ({unknown.text}) AS unknown")
    query = Fragment(
        "SELECT id::text, name, admin_code, ST_AsBinary(geom), unknown FROM (" + a.text + ") a ORDER BY id",
        unknown.params + a.params,
    )
    return [
        Finding(
            verdict="indeterminate" if row[4] else rule.verdict,
            object_layer=rule.object.layer,
            object_id=str(row[0]),
            object_name=_text(row[1]),
            admin_code=_text(row[2]),
            wkb=_bytes(row[3]),
            note_zh="登记信息缺失" if row[4] else None,
            note_en="the register does not say" if row[4] else None,
        )
        for row in fetch(connection, query)
    ]


def _finding(rule: Rule, row: tuple[object, ...], *, sure: bool) -> Finding:
    return Finding(
        verdict=rule.verdict if sure else "indeterminate",
        object_layer=rule.object.layer,
        object_id=str(row[0]),
        object_name=_text(row[1]),
        admin_code=_text(row[2]),
        wkb=_bytes(row[3]),
        other_layer=rule.other.layer if rule.other and row[4] is not None else None,
        other_id=_text(row[4]),
        other_name=_text(row[5]),
        distance_m=None if row[6] is None else round(_number(row[6]), 2),
        accuracy_m=None if row[7] is None else round(_number(row[7]), 2),
        threshold_m=None if row[8] is None else _number(row[8]),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _number(value: object) -> float:
    return float(str(value))


def _bytes(value: object) -> bytes:
    return bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else b""


def is_geographic(connection: Connection, srid: int) -> bool:
    """Whether PostGIS knows EPSG ``srid`` as a geographic system."""
    text = connection.execute(sa.text("SELECT srtext FROM spatial_ref_sys WHERE srid = :srid"), {"srid": srid}).scalar()
    return str(text).startswith(("GEOGCS", "GEOGCRS"))
