"""The abstract test suite of CQL2 (OGC 21-065r2, Annex A) on our own data, in three reference systems of storage.

The standard's data set is not to be had without a network, so its predicates stand here in the same forms – every operator on every type,
values and properties on either side, all spatial and temporal functions, combinations by AND, OR and NOT – and what each should find is worked
out row by row in Python and shapely, with three-valued logic: None is *unknown*.
"""

import datetime as dt
import itertools
import operator
import random
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import shapely

Row = dict[str, Any]
Meets = Callable[[Row], bool | None]
Case = tuple[str, Meets]

LAYERS = ("kiosk", "plot_wgs", "plot_local")
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "<>": operator.ne, ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le,
}  # fmt: skip
NOON = dt.datetime(2022, 6, 1, 12, tzinfo=dt.UTC)
#: A literal of each type of field and what it means. Text is ordered only against texts that every collation orders alike.
VALUES: dict[str, tuple[str, Any]] = {
    "label": ("'cafe'", "cafe"), "rank": ("3", 3), "amount": ("2.25", 2.25), "open": ("true", True),
    "built": ("DATE('2020-01-01')", dt.date(2020, 1, 1)), "seen_at": ("TIMESTAMP('2022-06-01T12:00:00Z')", NOON),
}  # fmt: skip


def known(test: Callable[..., bool], *names: str) -> Meets:
    """The test on the values of some fields; unknown where one is missing."""

    def meets(row: Row) -> bool | None:
        values = [row[name] for name in names]
        return None if any(v is None for v in values) else bool(test(*values))

    return meets


def always(answer: bool) -> Meets:
    return lambda row: answer


def comparisons() -> Iterable[Case]:
    for (name, (text, value)), (sign, compare) in itertools.product(VALUES.items(), OPERATORS.items()):
        if name == "label" and sign not in ("=", "<>"):
            continue
        yield f"{name} {sign} {text}", known(lambda v, c=compare, x=value: c(v, x), name)
        yield f"{text} {sign} {name}", known(lambda v, c=compare, x=value: c(x, v), name)
        yield f'"{name}" {sign} {name}', known(lambda v, c=compare: c(v, v), name)
        yield f"{text} {sign} {text}", always(compare(value, value))
    for sign, compare in OPERATORS.items():
        yield f"rank {sign} amount", known(lambda a, b, c=compare: c(a, b), "rank", "amount")
        yield f"valid_from {sign} valid_to", known(lambda a, b, c=compare: c(a, b), "valid_from", "valid_to")
        yield f"valid_from {sign} built", known(lambda a, b, c=compare: c(a, b), "valid_from", "built")
    for name in (*VALUES, "tags", "valid_from", "valid_to", "state"):
        yield f"{name} IS NULL", lambda r, n=name: r[n] is None
        yield f"{name} is not null", lambda r, n=name: r[n] is not None
    yield "true", always(True)
    yield "false", always(False)


def advanced() -> Iterable[Case]:
    likes: dict[str, Callable[[str], bool]] = {
        "%": lambda v: True, "_%": lambda v: len(v) > 0, "": lambda v: v == "", "%%": lambda v: True, r"\%\_": lambda v: v == "%_",
        "C_f%": lambda v: len(v) > 2 and v[0] == "C" and v[2] == "f", "%0\\%": lambda v: v.endswith("0%"), "%\"%": lambda v: '"' in v,
        "_iosk\\_1": lambda v: v[1:] == "iosk_1", "%''%": lambda v: "'" in v,
    }  # fmt: skip
    for pattern, test in likes.items():
        yield f"label LIKE '{pattern}'", known(test, "label")
        yield f"label not like '{pattern}'", known(lambda v, t=test: not t(v), "label")
    yield "'cafe' LIKE 'c_f%'", always(True)
    for name, low, high in (("rank", 0, 100), ("rank", 2, 4), ("amount", 100.0, 1.0), ("amount", -3.5, 2.25)):
        yield f"{name} BETWEEN {low} AND {high}", known(lambda v, a=low, b=high: a <= v <= b, name)
        yield f"{name} not between {low} and {high}", known(lambda v, a=low, b=high: not a <= v <= b, name)
    yield "rank between amount and 4", known(lambda r, a: a <= r <= 4, "rank", "amount")
    lists: dict[str, tuple[str, set[Any]]] = {
        "rank": ("1, 2, 3", {1, 2, 3}), "amount": ("0.25, 2, -1.5", {0.25, 2, -1.5}),
        "label": ("'foo', 'Café', 'O''Neill'", {"foo", "Café", "O'Neill"}),
        "open": ("true", {True}), "built": ("'2020-01-01', DATE('2019-01-01')", {dt.date(2020, 1, 1), dt.date(2019, 1, 1)}),
        "seen_at": ("'2022-06-01T12:00:00Z', '2022-06-01T13:00:00Z'", {NOON, NOON + dt.timedelta(hours=1)}),
    }  # fmt: skip
    for name, (text, values) in lists.items():
        yield f"{name} IN ({text})", known(lambda v, s=values: v in s, name)
        yield f"{name} not in ({text})", known(lambda v, s=values: v not in s, name)


def bare(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))


def folded() -> Iterable[Case]:
    for word in ("CAFÉ", "café", "Cafe", "BÄCKEREI"):
        yield f"CASEI(label) = casei('{word}')", known(lambda v, w=word: v.lower() == w.lower(), "label")
        yield f"ACCENTI(label) = accenti('{word}')", known(lambda v, w=word: bare(v) == bare(w), "label")
        yield f"CASEI(ACCENTI(label)) <> casei(accenti('{word}'))", known(lambda v, w=word: bare(v).lower() != bare(w).lower(), "label")
    yield "CASEI(label) LIKE casei('%CK%')", known(lambda v: "ck" in v.lower(), "label")
    yield "CASEI(label) IN (casei('KIOSK_1'), casei('CAFÉ'))", known(lambda v: v.lower() in ("kiosk_1", "café"), "label")
    yield "accenti(label) in (accenti('cafè'))", known(lambda v: bare(v) == "cafe", "label")


def arithmetic() -> Iterable[Case]:
    table: dict[str, Callable[[float, int], float]] = {
        "amount + rank": lambda a, r: a + r, "amount - rank": lambda a, r: a - r, "amount * rank": lambda a, r: a * r,
        "rank / 4 + amount": lambda a, r: r / 4 + a, "rank % 3 + amount": lambda a, r: r % 3 + a, "rank div 2 + amount": lambda a, r: r // 2 + a,
        "rank ^ 2 - amount": lambda a, r: r**2 - a, "(amount + 1) * (rank - 2)": lambda a, r: (a + 1) * (r - 2),
        "amount + rank * 2": lambda a, r: a + r * 2, "-amount + rank": lambda a, r: -a + r, "2 ^ rank * 0.5 + amount": lambda a, r: 2**r * 0.5 + a,
    }  # fmt: skip
    for text, value in table.items():
        yield f"{text} > 2.5", known(lambda a, r, f=value: f(a, r) > 2.5, "amount", "rank")
        yield f"2.5 >= {text}", known(lambda a, r, f=value: f(a, r) <= 2.5, "amount", "rank")
    yield "rank = 8 / 2", known(lambda r: r == 4, "rank")


BOX = shapely.box(111.25, 30.65, 111.3, 30.7)
#: Small enough that a straight line in degrees is one in the local projection.
SHAPES: dict[str, shapely.Geometry] = {
    "BBOX(111.25,30.65,111.3,30.7)": BOX,
    "BBOX(111.25,30.65,0,111.3,30.7,99)": BOX,
    "POLYGON((111.25 30.65,111.3 30.65,111.3 30.7,111.25 30.7,111.25 30.65))": BOX,
    "LINESTRING(111.28 30.66,111.3 30.69)": shapely.LineString([(111.28, 30.66), (111.3, 30.69)]),
    "POINT(111.281 30.672)": shapely.Point(111.281, 30.672),
    "MULTIPOINT(111.281 30.672,111.3011 30.7011)": shapely.MultiPoint([(111.281, 30.672), (111.3011, 30.7011)]),
    "MULTILINESTRING((111.28 30.66,111.3 30.69),(111.25 30.7,111.26 30.705))": shapely.MultiLineString(
        [[(111.28, 30.66), (111.3, 30.69)], [(111.25, 30.7), (111.26, 30.705)]]
    ),
    "MULTIPOLYGON(((111.25 30.65,111.3 30.65,111.3 30.7,111.25 30.7,111.25 30.65)),((111.35 30.7,111.37 30.7,111.37 30.72,111.35 30.7)))":
        shapely.MultiPolygon([BOX, shapely.Polygon([(111.35, 30.7), (111.37, 30.7), (111.37, 30.72)])]),
    "GEOMETRYCOLLECTION(POLYGON((111.25 30.65,111.3 30.65,111.3 30.7,111.25 30.65)),"
    "POLYGON((111.25 30.65,111.3 30.7,111.25 30.7,111.25 30.65)))": BOX,
}  # fmt: skip
RELATIONS = ("intersects", "disjoint", "equals", "touches", "crosses", "within", "contains", "overlaps")


def spatial() -> Iterable[Case]:
    for relation, (text, shape) in itertools.product(RELATIONS, SHAPES.items()):
        yield f"S_{relation.upper()}(geometry,{text})", lambda r, f=relation, s=shape: bool(getattr(shapely, f)(r["geom"], s))
        yield f"s_{relation}({text},geometry)", lambda r, f=relation, s=shape: bool(getattr(shapely, f)(s, r["geom"]))
        yield f"S_{relation.upper()}(geometry,geometry)", lambda r, f=relation: bool(getattr(shapely, f)(r["geom"], r["geom"]))
    yield "S_INTERSECTS(geometry,BBOX(-180,-90,180,90))", always(True)
    yield "S_DISJOINT(geometry,POLYGON((-180 -90,180 -90,180 90,-180 90,-180 -90)))", always(False)


def exact_places(rows: list[Row]) -> Iterable[Case]:
    """Relations on the very coordinates of a row; for storage in degrees only."""
    place = rows[0]["geom"]
    x, y = shapely.get_coordinates(place)[0].tolist()
    corner = f"POINT({x!r} {y!r})"
    for relation in RELATIONS:
        for text, shape in ((corner, shapely.Point(x, y)), (place.wkt, place)):
            yield f"S_{relation.upper()}(geometry,{text})", lambda r, f=relation, s=shape: bool(getattr(shapely, f)(r["geom"], s))


def allen(name: str, a: Any, b: Any, c: Any, d: Any) -> bool:
    """Does the period a–b stand to c–d in the relation (CQL2, clause 7.4; Allen 1983)?"""
    return {
        "AFTER": a > d, "BEFORE": b < c, "CONTAINS": a < c and b > d, "DISJOINT": b < c or a > d, "DURING": a > c and b < d,
        "EQUALS": a == c and b == d, "FINISHEDBY": a < c and b == d, "FINISHES": a > c and b == d, "INTERSECTS": not (b < c or a > d),
        "MEETS": b == c, "METBY": a == d, "OVERLAPPEDBY": c < a < d < b, "OVERLAPS": a < c < b < d, "STARTEDBY": a == c and b > d,
        "STARTS": a == c and b < d,
    }[name]  # fmt: skip


PERIODS = ("AFTER", "BEFORE", "CONTAINS", "DISJOINT", "DURING", "EQUALS", "FINISHEDBY", "FINISHES", "INTERSECTS", "MEETS", "METBY",
           "OVERLAPPEDBY", "OVERLAPS", "STARTEDBY", "STARTS")  # fmt: skip
INSTANTS = ("AFTER", "BEFORE", "DISJOINT", "EQUALS", "INTERSECTS")


def validity(row: Row) -> tuple[dt.date, dt.date] | None:
    """A missing end is open; where both are missing nothing is known."""
    if row["valid_from"] is None and row["valid_to"] is None:
        return None
    return row["valid_from"] or dt.date.min, row["valid_to"] or dt.date.max


def temporal(rows: list[Row]) -> Iterable[Case]:
    whole = next(r for r in rows if r["valid_from"] and r["valid_to"])
    own = (whole["valid_from"], whole["valid_to"])
    later = own[1] + dt.timedelta(days=400)
    periods = [own, (own[0], later), (own[0] - dt.timedelta(days=90), own[1]), (own[1], later), (dt.date(2019, 1, 1), dt.date(2021, 1, 1)),
               (dt.date.min, dt.date(2020, 1, 1)), (dt.date(2020, 1, 1), dt.date.max)]  # fmt: skip
    for (c, d), name in itertools.product(periods, PERIODS):
        ends = ["'..'" if e in (dt.date.min, dt.date.max) else f"'{e}'" for e in (c, d)]
        text = f"INTERVAL({ends[0]},{ends[1]})"

        def meets(row: Row, n: str = name, x: dt.date = c, y: dt.date = d, turned: bool = False) -> bool | None:
            found = validity(row)
            if found is None:
                return None
            return allen(n, x, y, *found) if turned else allen(n, *found, x, y)

        yield f"T_{name}(INTERVAL(valid_from,valid_to),{text})", meets
        yield f"t_{name.lower()}({text},interval(valid_from,valid_to))", lambda r, m=meets: m(r, turned=True)
    day, noon = dt.date(2020, 1, 1), NOON
    year = (dt.date(2020, 1, 1), dt.date(2021, 12, 31))
    hours = (dt.datetime(2021, 1, 1, tzinfo=dt.UTC), dt.datetime(2022, 12, 31, 23, 59, 59, tzinfo=dt.UTC))
    for name in INSTANTS:
        yield f"T_{name}(built,DATE('{day}'))", known(lambda v, n=name: allen(n, v, v, day, day), "built")
        yield f"t_{name.lower()}(DATE('{day}'),built)", known(lambda v, n=name: allen(n, day, day, v, v), "built")
        yield f"T_{name}(built,INTERVAL('{year[0]}','{year[1]}'))", known(lambda v, n=name: allen(n, v, v, *year), "built")
        yield f"T_{name}(seen_at,TIMESTAMP('2022-06-01T12:00:00Z'))", known(lambda v, n=name: allen(n, v, v, noon, noon), "seen_at")
        text = "INTERVAL('2021-01-01T00:00:00Z','2022-12-31T23:59:59Z')"
        yield f"T_{name}(seen_at,{text})", known(lambda v, n=name: allen(n, v, v, *hours), "seen_at")
        yield f"T_{name}({text},seen_at)", known(lambda v, n=name: allen(n, *hours, v, v), "seen_at")


def arrays() -> Iterable[Case]:
    relations: dict[str, Callable[[set[str], set[str]], bool]] = {
        "A_CONTAINS": set.issuperset, "A_CONTAINEDBY": set.issubset, "A_EQUALS": set.__eq__, "A_OVERLAPS": lambda a, b: bool(a & b),
    }  # fmt: skip
    for name, relation in relations.items():
        for values in (("a", "b"), ("c",), ("a", "b", "c", "d"), ("x",)):
            text = ",".join(f"'{v}'" for v in values)
            yield f"{name}(tags,({text}))", known(lambda t, f=relation, s=set(values): f(set(t), s), "tags")
            yield f"{name.lower()}(['{values[0]}'],tags)", known(lambda t, f=relation, s={values[0]}: f(s, set(t)), "tags")
        yield f"{name}(tags,tags)", known(lambda t, f=relation: f(set(t), set(t)) if t else f(set(), set()), "tags")


def found(served: Any, layer: str, text: str) -> set[str]:
    answer = served.get(f"/collections/{layer}/items", filter=text, limit=1000, skipGeometry="true", properties="rank")
    assert answer.status_code == 200, (text, answer.text)
    ids = {f["id"] for f in answer.json()["features"]}
    assert answer.json()["numberMatched"] == len(ids), text
    return ids


def check(served: Any, layer: str, cases: Iterable[Case]) -> int:
    faults, count = [], 0
    for text, meets in cases:
        count += 1
        wanted = {r["id"] for r in served.rows[layer] if meets(r) is True}
        got = found(served, layer, text)
        if got != wanted:
            faults.append(f"{text}: {len(got)} instead of {len(wanted)}")
    assert not faults, "\n".join(faults)
    return count


@pytest.mark.parametrize("layer", LAYERS)
def test_every_predicate_finds_what_it_should(served: Any, layer: str) -> None:
    rows = served.rows[layer]
    counts = [check(served, layer, group) for group in (
        comparisons(), advanced(), folded(), arithmetic(), spatial(), temporal(rows), arrays())]  # fmt: skip
    if layer != "plot_local":
        counts.append(check(served, layer, exact_places(rows)))
    assert sum(counts) > 700


def negated(value: bool | None) -> bool | None:
    return None if value is None else not value


def both(*values: bool | None) -> bool | None:
    return False if False in values else None if None in values else True


def either(*values: bool | None) -> bool | None:
    return True if True in values else None if None in values else False


@pytest.mark.parametrize("layer", LAYERS)
def test_combinations_by_and_or_not(served: Any, layer: str) -> None:
    """Annex A's form ``((NOT p1 AND p2) OR (p3 AND NOT p4) OR NOT (p1 AND p4))``, with seeded choices."""
    rows, rng = served.rows[layer], random.Random(65)
    pool = [*comparisons(), *advanced(), *folded(), *arithmetic(), *spatial(), *temporal(rows), *arrays()]

    def combined(four: list[Case]) -> Case:
        (t1, p1), (t2, p2), (t3, p3), (t4, p4) = four
        text = f"((NOT ({t1}) AND {t2}) OR ({t3} and NOT ({t4})) or not ({t1} AND {t4}))"

        def meets(r: Row) -> bool | None:
            a, b, c, d = p1(r), p2(r), p3(r), p4(r)
            return either(both(negated(a), b), both(c, negated(d)), negated(both(a, d)))

        return text, meets

    assert check(served, layer, (combined(rng.sample(pool, 4)) for _ in range(60))) == 60


def test_a_point_outside_the_world_is_refused(served: Any) -> None:
    for relation in RELATIONS:
        answer = served.get("/collections/kiosk/items", filter=f"S_{relation.upper()}(geometry,POINT(90 180))")
        assert answer.status_code == 400


MIXED = "GEOMETRYCOLLECTION(POINT(111.351 30.672),POLYGON((111.25 30.65,111.3 30.65,111.3 30.7,111.25 30.65)))"


def test_a_collection_of_different_kinds_is_answered_or_refused_by_name(served: Any) -> None:
    shape = shapely.from_wkt(MIXED.replace(",POLYGON", ", POLYGON"))
    for layer in LAYERS:
        rows = served.rows[layer]
        assert found(served, layer, f"S_INTERSECTS(geometry,{MIXED})") == {r["id"] for r in rows if any(g.intersects(r["geom"]) for g in shape.geoms)}
        assert found(served, layer, f"S_DISJOINT({MIXED},geometry)") == {r["id"] for r in rows if all(g.disjoint(r["geom"]) for g in shape.geoms)}
        for relation in ("equals", "touches", "crosses", "within", "contains", "overlaps"):
            answer = served.get(f"/collections/{layer}/items", filter=f"s_{relation}(geometry,{MIXED})")
            assert answer.status_code == 400
            assert f"s_{relation}" in answer.json()["detail"]
            assert "GEOMETRYCOLLECTION" in answer.json()["detail"]


def test_a_box_around_the_world_holds_everything(served: Any) -> None:
    """Also where storage is projected, and with a box that crosses the 180° meridian."""
    for layer in LAYERS:
        rows = {r["id"] for r in served.rows[layer]}
        for box in ("-180,-90,180,90", "100,-90,-60,90", "5,-20,175,80"):
            assert served.get(f"/collections/{layer}/items", bbox=box, limit=1).json()["numberMatched"] == len(rows), (layer, box)
            assert found(served, layer, f"S_INTERSECTS(geometry,BBOX({box}))") == rows, (layer, box)
        for box in ("-60,-90,100,90", "112,-90,110,90"):
            assert served.get(f"/collections/{layer}/items", bbox=box, limit=1).json()["numberMatched"] == 0, (layer, box)
            assert found(served, layer, f"S_INTERSECTS(geometry,BBOX({box}))") == set(), (layer, box)


def test_stored_collections_of_different_kinds(served: Any) -> None:
    """They meet S_INTERSECTS and S_DISJOINT; no relation that PostGIS does not know for them, and no fault either."""
    key = {"X-API-Key": served.keys["planner"], "Content-Type": "application/geo+json"}
    inside = {"type": "Polygon", "coordinates": [[[111.26, 30.66], [111.27, 30.66], [111.27, 30.67], [111.26, 30.66]]]}
    shapes = {
        "mixed": {"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [111.26, 30.69]}, inside]},
        "alike": {"type": "GeometryCollection", "geometries": [inside]}, "plain": inside,
    }  # fmt: skip
    names = {}
    for name, shape in shapes.items():
        body = {"type": "Feature", "geometry": shape, "properties": {"kind": "wharf", "name_zh": name, "admin_code": "420502001001"}}
        made = served.client.post("/collections/key_area/items", json=body, headers=key)
        assert made.status_code == 201, made.text
        names[made.headers["location"].rsplit("/", 1)[1]] = name

    def kinds(text: str) -> set[str]:
        answer = served.get("/collections/key_area/items", filter=text, role="planner")
        assert answer.status_code == 200, answer.text
        return {names[f["id"]] for f in answer.json()["features"]}

    try:
        box = "BBOX(111.25,30.65,111.3,30.7)"
        assert kinds(f"S_INTERSECTS(geometry,{box})") == {"mixed", "alike", "plain"}
        assert kinds(f"S_DISJOINT(geometry,{box})") == set()
        assert kinds(f"S_WITHIN(geometry,{box})") == kinds(f"S_CONTAINS({box},geometry)") == {"alike", "plain"}
        assert kinds(f"NOT S_OVERLAPS(geometry,{box})") == {"alike", "plain"}
        assert kinds("S_EQUALS(geometry,geometry)") == {"alike", "plain"}
    finally:
        for feature in names:
            assert served.client.delete(f"/collections/key_area/items/{feature}", headers=key).status_code == 204
