"""CQL2 on storage in 4490, 4326 and a projected system: counts against a reference that evaluates each predicate in Python."""

import datetime as dt
import json
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
import shapely

Row = dict[str, Any]


def fold(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", text) if not "\u0300" <= c <= "\u036f")


def known(*names: str) -> Callable[[Row], bool]:
    return lambda r: all(r[n] is not None for n in names)


BOX = shapely.box(111.25, 30.65, 111.3, 30.7)
LINE = shapely.LineString([(111.2, 30.6), (111.4, 30.8)])
DAY = dt.date(2020, 1, 1)
NOON = dt.datetime(2022, 6, 1, 12, tzinfo=dt.UTC)
EARLY, LATE = dt.date.min, dt.date.max


def period(row: Row) -> tuple[dt.date, dt.date]:
    """As ``datetime=`` takes it: a missing end is open."""
    return row["valid_from"] or EARLY, row["valid_to"] or LATE


def dated(row: Row) -> bool:
    """An INTERVAL of CQL2 is unknown where both ends are missing."""
    return bool(row["valid_from"] or row["valid_to"])


#: CQL2 text, and whether a row meets it. A missing value meets no comparison, and no negated one (three-valued logic).
CASES: list[tuple[str, Callable[[Row], bool]]] = [
    ("label = 'cafe'", lambda r: r["label"] == "cafe"),
    ("label <> 'cafe'", lambda r: r["label"] is not None and r["label"] != "cafe"),
    ("label = 'O''Neill'", lambda r: r["label"] == "O'Neill"),
    (r"label = 'O\'Neill'", lambda r: r["label"] == "O'Neill"),
    ("label = '西陵书亭'", lambda r: r["label"] == "西陵书亭"),
    ('"label" = \'cafe\'', lambda r: r["label"] == "cafe"),
    ("'cafe' = label", lambda r: r["label"] == "cafe"),
    ("label IS NULL", lambda r: r["label"] is None),
    ("label IS NOT NULL", lambda r: r["label"] is not None),
    ("amount > 3", lambda r: r["amount"] is not None and r["amount"] > 3),
    ("amount <= -2.25", lambda r: r["amount"] is not None and r["amount"] <= -2.25),
    ("amount >= 1e0 AND amount < .5e1", lambda r: r["amount"] is not None and 1 <= r["amount"] < 5),
    ("NOT amount > 3", lambda r: r["amount"] is not None and not r["amount"] > 3),
    ("NOT (amount > 3 OR rank = 2)", lambda r: (r["amount"] is not None and r["amount"] <= 3) and (r["rank"] is not None and r["rank"] != 2)),
    ("open = TRUE", lambda r: r["open"] is True),
    ("open", lambda r: r["open"] is True),
    ("open = false AND rank > 1", lambda r: r["open"] is False and r["rank"] is not None and r["rank"] > 1),
    ("rank BETWEEN 2 AND 4", lambda r: r["rank"] is not None and 2 <= r["rank"] <= 4),
    ("rank NOT BETWEEN 2 AND 4", lambda r: r["rank"] is not None and not 2 <= r["rank"] <= 4),
    ("rank IN (1, 3, 5)", lambda r: r["rank"] in (1, 3, 5)),
    ("rank NOT IN (1, 3, 5)", lambda r: r["rank"] is not None and r["rank"] not in (1, 3, 5)),
    ("label IN ('cafe', 'Café')", lambda r: r["label"] in ("cafe", "Café")),
    ("state = 'on' or state = 'off'", lambda r: r["state"] is not None),
    ("label LIKE 'K%'", lambda r: (r["label"] or "").startswith("K")),
    ("label LIKE '%100\\%'", lambda r: (r["label"] or "").endswith("100%")),
    ("label LIKE 'Kiosk__'", lambda r: r["label"] == "Kiosk_1"),
    ("label NOT LIKE '%a%'", lambda r: r["label"] is not None and "a" not in r["label"]),
    ("CASEI(label) = CASEI('CAFÉ')", lambda r: (r["label"] or "").lower() == "café"),
    ("CASEI(label) LIKE CASEI('CAF_')", lambda r: (r["label"] or "").lower() in ("café", "cafe")),
    ("ACCENTI(label) = ACCENTI('Café')", lambda r: r["label"] is not None and fold(r["label"]) == "Cafe"),
    ("CASEI(ACCENTI(label)) = 'cafe'", lambda r: r["label"] is not None and fold(r["label"]).lower() == "cafe"),
    ("ACCENTI(label) LIKE ACCENTI('Bä%')", lambda r: r["label"] is not None and fold(r["label"]).startswith("Ba")),
    ("amount + 1 > rank * 2", lambda r: known("amount", "rank")(r) and r["amount"] + 1 > r["rank"] * 2),
    ("(amount - rank) / 2 >= 1.5", lambda r: known("amount", "rank")(r) and (r["amount"] - r["rank"]) / 2 >= 1.5),
    ("rank / 2 = 1.5", lambda r: r["rank"] == 3),
    ("rank % 2 = 1", lambda r: r["rank"] is not None and r["rank"] % 2 == 1),
    ("rank div 2 = 2", lambda r: r["rank"] in (4, 5)),
    ("rank ^ 2 = 16", lambda r: r["rank"] == 4),
    ("2 ^ rank > 7", lambda r: r["rank"] is not None and 2 ** r["rank"] > 7),
    ("-rank < -3", lambda r: r["rank"] is not None and r["rank"] > 3),
    ("10 / (rank - 3) > 1", lambda r: r["rank"] is not None and r["rank"] != 3 and 10 / (r["rank"] - 3) > 1),
    ("rank > amount", lambda r: known("amount", "rank")(r) and r["rank"] > r["amount"]),
    ("name_en = label OR name_en <> label", lambda r: r["label"] is not None),
    ("upper(label) = 'CAFE'", lambda r: r["label"] == "cafe"),
    ("char_length(label) > 7", lambda r: r["label"] is not None and len(r["label"]) > 7),
    ("built = DATE('2020-01-01')", lambda r: r["built"] == DAY),
    ("built < DATE('2020-01-01')", lambda r: r["built"] is not None and r["built"] < DAY),
    ("built >= '2020-01-01'", lambda r: r["built"] is not None and r["built"] >= DAY),
    ("seen_at > TIMESTAMP('2022-06-01T12:00:00Z')", lambda r: r["seen_at"] is not None and r["seen_at"] > NOON),
    ("seen_at > TIMESTAMP('2022-06-01T20:00:00+08:00')", lambda r: r["seen_at"] is not None and r["seen_at"] > NOON),
    ("T_AFTER(built, DATE('2020-01-01'))", lambda r: r["built"] is not None and r["built"] > DAY),
    ("T_BEFORE(seen_at, TIMESTAMP('2022-06-01T12:00:00Z'))", lambda r: r["seen_at"] is not None and r["seen_at"] < NOON),
    ("T_DURING(built, INTERVAL('2018-01-01', '2020-01-01'))", lambda r: r["built"] is not None and dt.date(2018, 1, 1) < r["built"] < DAY),
    ("T_INTERSECTS(built, INTERVAL('..', '2020-01-01'))", lambda r: r["built"] is not None and r["built"] <= DAY),
    ("T_INTERSECTS(INTERVAL(valid_from, valid_to), INTERVAL('2019-01-01', '2020-01-01'))",
     lambda r: dated(r) and period(r)[0] <= DAY and period(r)[1] >= dt.date(2019, 1, 1)),
    ("T_DISJOINT(INTERVAL(valid_from, valid_to), INTERVAL('2019-01-01', '2020-01-01'))",
     lambda r: period(r)[1] < dt.date(2019, 1, 1) or period(r)[0] > DAY),
    ("T_CONTAINS(INTERVAL(valid_from, valid_to), INTERVAL('2019-01-01', '2019-02-01'))",
     lambda r: dated(r) and period(r)[0] < dt.date(2019, 1, 1) and period(r)[1] > dt.date(2019, 2, 1)),
    ("T_OVERLAPS(INTERVAL(valid_from, valid_to), INTERVAL('2019-01-01', '2021-01-01'))",
     lambda r: period(r)[0] < dt.date(2019, 1, 1) < period(r)[1] < dt.date(2021, 1, 1)),
    ("T_OVERLAPPEDBY(INTERVAL(valid_from, valid_to), INTERVAL('2019-01-01', '2021-01-01'))",
     lambda r: dt.date(2019, 1, 1) < period(r)[0] < dt.date(2021, 1, 1) < period(r)[1]),
    ("T_EQUALS(built, DATE('2020-01-01'))", lambda r: r["built"] == DAY),
    ("A_CONTAINS(tags, ['a'])", lambda r: r["tags"] is not None and "a" in r["tags"]),
    ("A_CONTAINEDBY(tags, ['a', 'b'])", lambda r: r["tags"] is not None and set(r["tags"]) <= {"a", "b"}),
    ("A_OVERLAPS(tags, ['c', 'd'])", lambda r: r["tags"] is not None and bool(set(r["tags"]) & {"c", "d"})),
    ("A_EQUALS(tags, ['b', 'a'])", lambda r: r["tags"] is not None and set(r["tags"]) == {"a", "b"}),
    ("S_INTERSECTS(geometry, POLYGON((111.25 30.65, 111.3 30.65, 111.3 30.7, 111.25 30.7, 111.25 30.65)))", lambda r: r["geom"].intersects(BOX)),
    ("S_INTERSECTS(geometry, BBOX(111.25, 30.65, 111.3, 30.7))", lambda r: r["geom"].intersects(BOX)),
    ("S_WITHIN(geometry, BBOX(111.25, 30.65, 111.3, 30.7))", lambda r: r["geom"].within(BOX)),
    ("S_DISJOINT(geometry, BBOX(111.25, 30.65, 111.3, 30.7))", lambda r: r["geom"].disjoint(BOX)),
    ("NOT S_DISJOINT(geometry, BBOX(111.25, 30.65, 111.3, 30.7))", lambda r: r["geom"].intersects(BOX)),
    ("S_OVERLAPS(geometry, BBOX(111.25, 30.65, 111.3, 30.7))", lambda r: r["geom"].overlaps(BOX)),
    ("S_CROSSES(LINESTRING(111.2 30.6, 111.4 30.8), geometry)", lambda r: LINE.crosses(r["geom"])),
    ("S_CONTAINS(BBOX(111.25, 30.65, 111.3, 30.7), geometry)", lambda r: BOX.contains(r["geom"])),
    ("S_TOUCHES(geometry, geometry)", lambda r: r["geom"].touches(r["geom"])),
    ("S_EQUALS(geometry, geometry)", lambda r: True),
    ("S_INTERSECTS(geometry, BBOX(111.25, 30.65, 111.3, 30.7)) AND rank > 2",
     lambda r: r["geom"].intersects(BOX) and r["rank"] is not None and r["rank"] > 2),
    ("TRUE", lambda r: True),
    ("FALSE OR rank = 1", lambda r: r["rank"] == 1),
]  # fmt: skip


@pytest.mark.parametrize("layer", ["kiosk", "plot_wgs", "plot_local"])
@pytest.mark.parametrize(("text", "meets"), CASES, ids=[text for text, _ in CASES])
def test_text_filter_counts(served: Any, layer: str, text: str, meets: Callable[[Row], bool]) -> None:
    wanted = {r["id"] for r in served.rows[layer] if meets(r)}
    answer = served.get(f"/collections/{layer}/items", filter=text, limit=1000, role="admin")
    assert answer.status_code == 200, answer.text
    assert {f["id"] for f in answer.json()["features"]} == wanted
    assert answer.json()["numberMatched"] == len(wanted)


JSON_CASES: list[tuple[dict[str, Any], Callable[[Row], bool]]] = [
    ({"op": "=", "args": [{"property": "label"}, "cafe"]}, lambda r: r["label"] == "cafe"),
    ({"op": "and", "args": [{"op": ">", "args": [{"property": "rank"}, 1]}, {"op": "isNull", "args": [{"property": "amount"}]}]},
     lambda r: r["rank"] is not None and r["rank"] > 1 and r["amount"] is None),
    ({"op": "like", "args": [{"op": "casei", "args": [{"property": "label"}]}, {"op": "casei", "args": ["CAF%"]}]},
     lambda r: (r["label"] or "").lower().startswith("caf")),
    ({"op": "between", "args": [{"property": "rank"}, 1, 2]}, lambda r: r["rank"] in (1, 2)),
    ({"op": "in", "args": [{"property": "state"}, ["on"]]}, lambda r: r["state"] == "on"),
    ({"op": "s_intersects", "args": [{"property": "geometry"}, {"type": "Polygon", "coordinates": [[list(c) for c in BOX.exterior.coords]]}]},
     lambda r: r["geom"].intersects(BOX)),
    ({"op": "s_within", "args": [{"property": "geometry"}, {"bbox": [111.25, 30.65, 111.3, 30.7]}]}, lambda r: r["geom"].within(BOX)),
    ({"op": "t_after", "args": [{"property": "seen_at"}, {"timestamp": "2022-06-01T12:00:00Z"}]},
     lambda r: r["seen_at"] is not None and r["seen_at"] > NOON),
    ({"op": "t_during", "args": [{"property": "built"}, {"interval": ["2018-01-01", "2020-01-01"]}]},
     lambda r: r["built"] is not None and dt.date(2018, 1, 1) < r["built"] < DAY),
    ({"op": "a_overlaps", "args": [{"property": "tags"}, ["a", "d"]]}, lambda r: r["tags"] is not None and bool(set(r["tags"]) & {"a", "d"})),
    ({"op": ">", "args": [{"op": "+", "args": [{"property": "amount"}, 1]}, {"property": "rank"}]},
     lambda r: known("amount", "rank")(r) and r["amount"] + 1 > r["rank"]),
    ({"op": "=", "args": [{"op": "upper", "args": [{"property": "label"}]}, "CAFE"]}, lambda r: r["label"] == "cafe"),
]  # fmt: skip


@pytest.mark.parametrize(("tree", "meets"), JSON_CASES, ids=[json.dumps(tree) for tree, _ in JSON_CASES])
def test_json_filter_counts(served: Any, tree: dict[str, Any], meets: Callable[[Row], bool]) -> None:
    for layer in served.rows:
        wanted = {r["id"] for r in served.rows[layer] if meets(r)}
        answer = served.get(
            f"/collections/{layer}/items", **{"filter": json.dumps(tree), "filter-lang": "cql2-json", "limit": 1000}
        )
        assert answer.status_code == 200, answer.text
        assert {f["id"] for f in answer.json()["features"]} == wanted


FAULTY = [
    ("nosuch = 1", "nosuch"), ("nosuch(rank) = 1", "nosuch"), ("rank = 'x'", None), ("rank >", None), ("= 1", None), ("rank = 1)", None),
    ("((rank = 1)", None), ("label LIKE 3", None), ("S_INTERSECTS(rank, geometry)", None), ("rank + label > 1", None),
    ("S_INTERSECTS(geometry, POINT(1))", None), ("S_INTERSECTS(geometry, POLYGON((0 0, 1 1, 1 0, 0 1, 0 0)))", None),
    ("built > DATE('2020-13-01')", None), ("built > DATE('yesterday')", None), ("T_AFTER(rank, DATE('2020-01-01'))", None),
    ("A_CONTAINS(tags, [1])", None), ("rank", None), ("id = 'x'", None), ("geometry = geometry", None), ("rank IN ()", None),
    ("rank BETWEEN 1", None), ("label = 'open", None), ("S_INTERSECTS(geometry, POINT(30.7 111.3))", "axis order"),
    ("INTERVAL('2020-01-01','2019-01-01') = 1", None), ("T_DURING(built, INTERVAL('2020-01-01','2019-01-01'))", None),
    ("rank = 1; DROP TABLE baige.kiosk", None), ("rank = 1 -- x", None), ("rank ^ 1000000 > 5 AND rank ^ 1000000 < 6", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "named"), FAULTY, ids=[text for text, _ in FAULTY])
def test_faulty_filter_is_refused_by_name(served: Any, text: str, named: str | None) -> None:
    answer = served.get("/collections/kiosk/items", filter=text)
    assert answer.status_code == 400, answer.text
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert named is None or named in problem["detail"]
    assert "SELECT" not in answer.text


def test_hidden_property_is_unknown_to_the_public(served: Any) -> None:
    refused = served.get("/collections/kiosk/items", filter="code = '0001'")
    unknown = served.get("/collections/kiosk/items", filter="kode = '0001'")
    assert refused.status_code == unknown.status_code == 400
    assert refused.json()["detail"].replace("code", "kode") == unknown.json()["detail"]
    assert served.get("/collections/kiosk/items", filter="code = '0001'", role="admin").json()["numberMatched"] == 1


@pytest.mark.parametrize("layer", ["kiosk", "plot_wgs", "plot_local"])
def test_filter_crs_with_the_order_of_the_authority(served: Any, layer: str) -> None:
    wanted = {r["id"] for r in served.rows[layer] if r["geom"].intersects(BOX)}
    lat_first = "S_INTERSECTS(geometry, POLYGON((30.65 111.25, 30.65 111.3, 30.7 111.3, 30.7 111.25, 30.65 111.25)))"
    for code in (4326, 4490):
        params = {"filter": lat_first, "filter-crs": f"http://www.opengis.net/def/crs/EPSG/0/{code}", "limit": 1000}
        assert {f["id"] for f in served.get(f"/collections/{layer}/items", **params).json()["features"]} == wanted


def test_property_parameters_and_words(served: Any) -> None:
    rows = served.rows["kiosk"]
    cases: list[tuple[dict[str, str], Callable[[Row], bool]]] = [
        ({"label": "cafe"}, lambda r: r["label"] == "cafe"), ({"rank": "3"}, lambda r: r["rank"] == 3),
        ({"open": "true"}, lambda r: r["open"] is True), ({"built": "2020-01-01"}, lambda r: r["built"] == DAY),
        ({"label": "K*"}, lambda r: (r["label"] or "").startswith("K")), ({"q": "CAF"}, lambda r: "caf" in (r["label"] or "").lower()),
        ({"q": "100%"}, lambda r: "100%" in (r["label"] or "")), ({"q": "书亭"}, lambda r: "书亭" in (r["label"] or "")),
        ({"q": "place 12"}, lambda r: "12" in r["name_en"]),
        ({"datetime": "2019-06-01"}, lambda r: period(r)[0] <= dt.date(2019, 6, 1) <= period(r)[1]),
        ({"datetime": "../2019-06-01"}, lambda r: period(r)[0] <= dt.date(2019, 6, 1)),
        ({"bbox": "111.25,30.65,111.3,30.7"}, lambda r: r["geom"].intersects(BOX)),
        ({"bbox": "111.25,30.65,0,111.3,30.7,100"}, lambda r: r["geom"].intersects(BOX)),
    ]  # fmt: skip
    for params, meets in cases:
        answer = served.get("/collections/kiosk/items", limit="1000", **params)
        assert answer.status_code == 200, answer.text
        assert {f["id"] for f in answer.json()["features"]} == {r["id"] for r in rows if meets(r)}, params
