"""Keyset paging as an invariant: any order, any page size, missing values and ties, others writing between the pages."""

import math
import re
import uuid
from typing import Any

import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

KEYS = ("label", "amount", "rank", "open", "built", "seen_at", "state", "valid_from", "name_en")
orders = st.lists(st.tuples(st.sampled_from(KEYS), st.booleans()), max_size=4, unique_by=lambda key: key[0])
limits = st.integers(12, 300)
conditions = st.sampled_from(["", "rank > 1", "amount IS NULL", "label LIKE 'C%' OR open = true", "rank = 99"])


def wanted(served: Any, layer: str, order: list[tuple[str, bool]], condition: str) -> list[str]:
    """Ids in the order of PostgreSQL itself."""
    listed = "".join(f"{name} {'DESC' if down else 'ASC'} NULLS LAST, " for name, down in order)
    where = f"WHERE {condition}" if condition else ""
    with served.database.begin() as connection:
        return list(connection.execute(sa.text(f"SELECT id::text FROM baige.{layer} {where} ORDER BY {listed}id")).scalars())


def asked(order: list[tuple[str, bool]], condition: str, limit: int) -> dict[str, Any]:
    by = ",".join(("-" if down else "") + name for name, down in order)
    return {"limit": limit, "properties": "rank", **({"sortby": by} if by else {}), **({"filter": condition} if condition else {})}


@settings(max_examples=25, deadline=None)
@given(order=orders, limit=limits, condition=conditions)
def test_pages_are_the_order_cut_in_pieces(served: Any, order: list[tuple[str, bool]], limit: int, condition: str) -> None:
    ids = wanted(served, "kiosk", order, condition)
    answer = served.get("/collections/kiosk/items", **asked(order, condition, limit))
    found: list[str] = []
    pages = 0
    while True:
        body = answer.json()
        assert body["numberMatched"] == len(ids)
        found += [feature["id"] for feature in body["features"]]
        pages += 1
        following = re.findall(r'<([^>]+)>; rel="next"', answer.headers.get("link", ""))
        if not following:
            break
        assert len(body["features"]) == limit
        answer = served.client.get(following[0])
    assert found == ids
    assert pages == max(1, math.ceil(len(ids) / limit))


INSERT = sa.text(
    "INSERT INTO baige.plot_wgs (id, label, amount, rank, open, built, seen_at, state, valid_from, name_en, classification, geom)"
    " SELECT cast(:id AS uuid), a.label, b.amount, a.rank, b.open, a.built, b.seen_at, a.state, b.valid_from, a.name_en, 'public', a.geom"
    " FROM (SELECT * FROM baige.plot_wgs ORDER BY id OFFSET :one LIMIT 1) AS a, (SELECT * FROM baige.plot_wgs ORDER BY id OFFSET :two LIMIT 1) AS b"
)


@settings(max_examples=12, deadline=None)
@given(order=orders, limit=st.integers(25, 90), picks=st.lists(st.tuples(st.integers(0, 239), st.integers(0, 239)), min_size=10, max_size=10))
def test_rows_that_stay_come_once_and_in_order_while_others_come_and_go(
    served: Any, order: list[tuple[str, bool]], limit: int, picks: list[tuple[int, int]]
) -> None:
    stay = wanted(served, "plot_wgs", order, "")
    added: list[str] = []
    try:
        answer = served.get("/collections/plot_wgs/items", **asked(order, "", limit))
        found: list[str] = []
        while True:
            page = [feature["id"] for feature in answer.json()["features"]]
            assert page
            found += page
            with served.database.begin() as connection:  # another connection, between any two pages
                for one, two in picks:
                    added.append(str(uuid.uuid4()))
                    connection.execute(INSERT, {"id": added[-1], "one": one, "two": two})
                gone = added[:: 3 if len(added) > 20 else 2]
                connection.execute(sa.text("DELETE FROM baige.plot_wgs WHERE id::text = ANY(:ids)"), {"ids": gone})
            following = re.findall(r'<([^>]+)>; rel="next"', answer.headers.get("link", ""))
            if not following or len(found) > 2000:
                break
            answer = served.client.get(following[0])
    finally:
        with served.database.begin() as connection:
            connection.execute(sa.text("DELETE FROM baige.plot_wgs WHERE id::text = ANY(:ids)"), {"ids": added})
    assert len(found) == len(set(found))
    assert [name for name in found if name in set(stay)] == stay
