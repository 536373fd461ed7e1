"""Rights of what is computed or read beside the collections: previews of scenarios, the river, outfalls of the portal; and their audit."""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from api.access import hash_secret, new_key
from gis.settings import Settings
from layers.access import access_sql
from layers.audit import entries
from layers.catalogue import built_in
from layers.database import Database
from tests.integration.test_api.conftest import running
from tests.integration.test_river import STEM, axis
from tests.integration.test_rules import point, put
from tests.integration.test_scenarios import insert, lonlat, town

__all__ = ["town"]

PEOPLE = {
    "viewer": ("viewer", ""), "officer": ("officer", "420502"), "officer elsewhere": ("officer", "420505"), "planner": ("planner", ""),
    "planner of a district": ("planner", "420502"), "admin": ("admin", ""),
}  # fmt: skip
CAMERA = "42050200001321000001"


@dataclass(frozen=True)
class Server:
    """The small town behind a server, and a key for each of `PEOPLE`."""

    client: httpx.Client
    database: Database
    keys: dict[str, str]
    app: Any

    def ask(self, who: str, path: str, method: str = "GET", **more: Any) -> httpx.Response:
        headers = {"X-API-Key": self.keys[who]} if who != "public" else {}
        return self.client.request(method, path, headers={**headers, **more.pop("headers", {})}, **more)

    def reads(self, who: str, layer: str) -> list[dict[str, Any]]:
        """What the audit tells of somebody's readings; they are written within half a second."""
        actor = self.keys[who].split("_")[1]
        for _ in range(60):
            with self.database.begin() as connection:
                found = entries(connection, layer=layer, kind="read", actor=actor)
            if found:
                return found
            time.sleep(0.1)
        return []


@pytest.fixture(scope="module")
def server(town: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    keys = {}
    with town.begin() as connection:
        for name, (role, district) in PEOPLE.items():
            key_id, keys[name] = new_key()
            connection.execute(
                sa.text("INSERT INTO baige_sys.api_key (id, secret_sha256, role, district) VALUES (:i, :s, :r, :d)"),
                {"i": key_id, "s": hash_secret(keys[name]), "r": role, "d": district},
            )
    url = town.url.render_as_string(hide_password=False)
    with running(Settings(home=tmp_path_factory.mktemp("rights")), url) as (address, app), httpx.Client(base_url=address, timeout=120) as client:
        yield Server(client, town, keys, app)


def preview(server: Server, who: str, **more: Any) -> httpx.Response:
    row = {"camera": CAMERA, "action": "switch_on", **lonlat(60, 50)}
    return server.ask(who, "/scenarios/preview", "POST", json={"rows": [row], "focus": [CAMERA]}, **more)


@pytest.mark.parametrize(
    ("who", "status"), [("public", 401), ("viewer", 403), ("officer", 403), ("planner of a district", 403), ("planner", 200), ("admin", 200)]
)
def test_previews_are_for_who_sees_the_whole_city(server: Server, who: str, status: int) -> None:
    answer = preview(server, who)
    assert answer.status_code == status, answer.text
    figures = ("cameras", "outfalls", "public_m2")
    if status == 200:
        assert answer.json()["before"]["cameras"] >= 5
        assert all(name in answer.json()["before"] for name in figures)
    else:
        assert not any(f'"{name}"' in answer.text for name in figures)
        assert "planner" in answer.text.lower()
    assert preview(server, who, headers={"Accept-Language": "zh"}).status_code == status


def test_the_desk_reads_as_a_planner_and_not_as_the_platform(server: Server) -> None:
    """With the planner's reading of cameras taken away in the database, there is no preview: it has no rights of its own."""
    with server.database.begin() as connection:
        connection.exec_driver_sql("REVOKE SELECT ON baige.camera_site FROM baige_planner")
    server.app.state.desk = None  # it has what it read before in memory
    try:
        assert preview(server, "admin").status_code == 403
    finally:
        with server.database.begin() as connection:
            for statement in access_sql(built_in()["camera_site"]):
                connection.exec_driver_sql(statement.replace("%", "%%"))
    assert preview(server, "admin").status_code == 200


def test_a_planner_of_a_district_lists_the_own_scenarios(server: Server) -> None:
    with server.database.begin() as connection:
        for name, code in (("ours", "420502001001"), ("theirs", "420505001001")):
            insert(connection, "camera_plan", "POINT(10 10)", scenario=name, camera="a", action="remove", admin_code=code)

    def listed(who: str) -> set[str]:
        return {row["name"] for row in server.ask(who, "/scenarios").json()["scenarios"]}

    assert listed("planner of a district") == {"ours"}
    assert listed("planner") == {"ours", "theirs"}


@pytest.fixture(scope="module")
def river(server: Server) -> str:
    axis(server.database, "CJ", STEM, main=True, name="长江")
    return put(
        server.database, "water_intake", point(3500, 200), intake_code="I1", classification="restricted", admin_code="420502001001"
    )


def test_the_river_tells_each_what_is_theirs_and_the_audit_who_asked(server: Server, river: str) -> None:
    for who, seen in (
        ("public", []), ("viewer", []), ("officer elsewhere", []), ("officer", ["I1"]), ("planner", ["I1"]), ("admin", ["I1"]),
    ):  # fmt: skip
        found = server.ask(who, "/river/downstream?station=K1%2B000").json()["features"]
        assert [feature["code"] for feature in found] == seen, who
        one = server.ask(who, f"/river/upstream?feature={river}&of=water_intake&layer=outfall")
        assert one.status_code == (200 if seen else 404), who
    told = server.reads("officer", "water_intake")
    assert {entry["role"] for entry in told} == {"officer"}
    assert all(entry["district"] == "420502" and entry["request_id"] for entry in told)
    assert any(entry["detail"] == {"asked": "/river/downstream?station=K1%2B000", "rows": 1} for entry in told)
    assert server.reads("viewer", "water_intake"), "who saw nothing has asked nevertheless"


def test_outfalls_inspections_and_photos_of_another_district_are_not_there(server: Server) -> None:
    outfall = put(server.database, "outfall", point(1000, 300), code_local="Z9", admin_code="420502001001", classification="internal")
    inspection = str(uuid.uuid4())
    body = {"outfall_id": outfall, "inspected_at": "2026-01-05T08:00:00Z", "discharging": 1, "colour": "灰", "turbidity": "turbid"}
    made = server.ask("officer", f"/portal/inspections/{inspection}", "PUT", json=body)
    assert made.status_code == 201, made.text
    for who, seen in (("public", False), ("officer elsewhere", False), ("officer", True), ("planner of a district", True), ("planner", True)):
        listed = {feature["id"] for feature in server.ask(who, "/portal/outfalls").json()["features"]}
        assert (outfall in listed) is seen, who
        told = server.ask(who, f"/portal/outfalls/{outfall}/inspections")
        assert (told.status_code == 200 and len(told.json()["inspections"]) == 1) is seen, who
    again = server.ask("officer elsewhere", f"/portal/inspections/{uuid.uuid4()}", "PUT", json=body)
    assert again.status_code == 404
    photo = server.ask("officer elsewhere", f"/portal/inspections/{inspection}/photos/{uuid.uuid4()}", "PUT", content=b"x",
                       headers={"Content-Type": "image/png"})  # fmt: skip
    assert photo.status_code == 404


def school(server: Server, who: str, name: str) -> tuple[str, int]:
    """A school put in by somebody: where it is, and the number of the change."""
    body = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [111.3, 30.7]},
            "properties": {"name_zh": name, "admin_code": "420502001001"}}  # fmt: skip
    made = server.ask(who, "/collections/school/items", "POST", json=body, headers={"Content-Type": "application/geo+json"})
    assert made.status_code == 201, made.text
    return made.headers["location"], server.ask("admin", "/changes?limit=1").json()["changes"][0]["id"]


def undo(server: Server, who: str, change: object, **more: Any) -> httpx.Response:
    return server.ask(who, f"/changes/{change}/undo", "POST", **more)


def test_changes_are_listed_to_who_may_see_them(server: Server) -> None:
    assert server.ask("public", "/changes").status_code == 401
    assert server.ask("viewer", "/changes").status_code == 403
    _, own = school(server, "officer", "甲校")
    _, other = school(server, "planner", "乙校")

    def listed(who: str, query: str = "") -> list[int]:
        return [change["id"] for change in server.ask(who, f"/changes?layer=school{query}").json()["changes"]]

    assert listed("officer") == [own]
    assert listed("officer elsewhere") == listed("planner of a district") == []
    assert listed("planner")[:2] == listed("admin")[:2] == [other, own]
    assert listed("admin", f"&before={other}&limit=1") == [own]
    first = server.ask("admin", "/changes?layer=school&limit=1").json()
    assert first["links"][0]["href"].endswith(f"/changes?limit=1&before={other}&layer=school")
    told = first["changes"][0]
    assert (told["role"], told["action"], told["inserted"], told["actor"]) == ("planner", "create", 1, server.keys["planner"].split("_")[1])
    for wrong in ("limit=0", "limit=x", "before=-1", "colour=red", "limit=99999999999999999999"):
        assert server.ask("admin", f"/changes?{wrong}").status_code == 400, wrong
    assert server.ask("admin", "/changes?layer=nosuch").status_code == 404


def test_a_change_is_taken_back_by_who_may(server: Server) -> None:
    where, change = school(server, "officer", "丙校")
    for who, status in (("public", 401), ("viewer", 403), ("officer elsewhere", 404), ("planner of a district", 404)):
        assert undo(server, who, change).status_code == status, who
    for unknown in ("0", "999999999", "x", "-1", "1" * 30):
        assert undo(server, "admin", unknown).status_code == 404, unknown
    assert undo(server, "officer", change, json={"why": "x"}).status_code == 400
    assert undo(server, "officer", change, json={"note": "x" * 501}).status_code == 400
    assert undo(server, "officer", change, content=b"note=x").status_code == 415
    assert server.ask("officer", where).status_code == 200
    done = undo(server, "officer", change, json={"note": "登记有误"})
    assert done.status_code == 200, done.text
    assert (done.json()["undone"], done.json()["removed"], done.json()["restored"]) == (change, 1, 0)
    assert server.ask("officer", where).status_code == 404
    with server.database.begin() as connection:
        last = entries(connection, layer="school", kind="change", limit=1)[0]
    assert last["detail"]["change"] == done.json()["change"]
    assert (last["detail"]["action"], last["detail"]["note"], last["role"]) == ("undo", "登记有误", "officer")
    assert (last["actor"], last["request_id"]) == (server.keys["officer"].split("_")[1], done.headers["x-request-id"])
    assert undo(server, "officer", change).status_code == 409
    back = undo(server, "officer", done.json()["change"])
    assert back.json()["brought_back"] == 1
    assert server.ask("officer", where).status_code == 200


def test_what_was_changed_since_is_named_and_nothing_is_taken_back(server: Server) -> None:
    where, change = school(server, "officer", "丁校")
    patch = server.ask("admin", where, "PATCH", json={"type": "Feature", "properties": {"name_zh": "丁校二"}},
                       headers={"Content-Type": "application/merge-patch+json"})  # fmt: skip
    assert patch.status_code == 204, patch.text
    answer = undo(server, "officer", change)
    assert answer.status_code == 409
    later = server.ask("admin", "/changes?limit=1").json()["changes"][0]["id"]
    assert str(later) in answer.json()["detail"]
    assert server.ask("officer", where).json()["properties"]["name_zh"] == "丁校二"
