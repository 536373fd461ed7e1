"""The table of rules and the waivers over HTTP."""

import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa

from gis.settings import load_city
from grids.rules import check_rules
from tests.integration.test_rules import point, put

SOON = str(dt.datetime.now(dt.UTC).astimezone().date() + dt.timedelta(days=30))


@pytest.fixture
def finding(served: Any) -> Any:
    put(served.database, "outfall", point(0.0), approval_kind="none", admin_code="420502001001")
    check_rules(served.database, load_city(), only=["5"])
    with served.database.begin() as connection:
        found = connection.exec_driver_sql("SELECT id::text FROM baige.rule_finding").scalar_one()
    yield found
    with served.database.begin() as connection:
        connection.exec_driver_sql("DELETE FROM baige.rule_finding")
        connection.exec_driver_sql("DELETE FROM baige.rule_waiver")
        connection.exec_driver_sql("DELETE FROM baige.outfall")


def post(served: Any, body: Any, role: str | None, **headers: str) -> Any:
    sent = {"X-API-Key": served.keys[role]} if role else {}
    return served.client.post("/rules/waivers", json=body, headers={**sent, **headers})


def test_every_rule_names_its_source_in_both_languages(served: Any) -> None:
    rules = served.get("/rules", lang="zh").json()["rules"]
    assert len({rule["id"].rstrip("abcdefgh") for rule in rules}) == 27
    for rule in rules:
        assert rule["title"] == rule["title_zh"] and rule["source"] == rule["source_zh"] and rule["source_en"]
    one = served.get("/rules/6a", lang="en").json()
    assert one["source"] == one["source_en"] and one["distances"][0]["distance_m"] == 1000
    assert served.get("/rules/99").status_code == 404


def test_a_waiver_over_http(served: Any, finding: str) -> None:
    body = {"finding": finding, "reason": "补办中", "expires_on": SOON}
    made = post(served, body, "officer")
    assert made.status_code == 201, made.text
    assert made.json()["granted_role"] == "officer" and made.json()["in_force"]
    assert post(served, body, "planner").status_code == 409
    item = served.get(f"/collections/rule_finding/items/{finding}", role="officer").json()
    assert item["properties"]["waived"] is True
    listed = served.get("/rules/waivers", role="viewer").json()["waivers"]
    assert [w["id"] for w in listed] == [made.json()["id"]]
    assert served.get("/rules/waivers").json()["waivers"] == []  # nothing for the public
    end = served.client.delete(f"/rules/waivers/{made.json()['id']}", headers={"X-API-Key": served.keys["planner"]})
    assert end.status_code == 200 and not end.json()["in_force"]
    assert served.get("/rules/waivers", role="officer").json()["waivers"] == []
    assert len(served.get("/rules/waivers", role="officer", all="true").json()["waivers"]) == 1
    with served.database.begin() as connection:
        assert (
            connection.execute(
                sa.text("SELECT waived FROM baige.rule_finding WHERE id = cast(:i AS uuid)"), {"i": finding}
            ).scalar()
            is False
        )


def test_what_is_refused(served: Any, finding: str) -> None:
    body = {"finding": finding, "reason": "x", "expires_on": SOON}
    assert post(served, body, None).status_code == 401
    assert post(served, body, "viewer").status_code == 403
    for wrong in ([], {}, {**body, "expires_on": "soon"}, {**body, "expires_on": "2020-01-01"}, {**body, "reason": ""}, {**body, "extra": 1},
                  {**body, "finding": 5}, {**body, "any_other": "yes"}):  # fmt: skip
        answer = post(served, wrong, "officer")
        assert answer.status_code == 400, wrong
        assert answer.headers["content-type"] == "application/problem+json"
    assert post(served, {**body, "finding": "00000000-0000-0000-0000-000000000000"}, "officer").status_code == 404
    assert (
        served.client.post("/rules/waivers", content="x=1", headers={"X-API-Key": served.keys["officer"]}).status_code
        == 415
    )
    assert served.get("/rules/waivers", role="officer", all="maybe").status_code == 400
    assert served.client.delete("/rules/waivers/x", headers={"X-API-Key": served.keys["officer"]}).status_code == 400
