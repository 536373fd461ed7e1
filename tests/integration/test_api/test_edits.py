"""Features Part 4: add, replace, change, remove; entity tags, faults by path, all or nothing, rights, history."""

import json
import threading
import uuid
from typing import Any

import pytest
import shapely
import sqlalchemy as sa

GEO = {"Content-Type": "application/geo+json"}
PATCH = {"Content-Type": "application/merge-patch+json"}
ITEMS = "/collections/kiosk/items"


@pytest.fixture
def write(served: Any) -> Any:
    """Send a writing request; features that it adds are taken away after the test."""
    with served.database.begin() as connection:
        before = connection.exec_driver_sql("SELECT array_agg(id) FROM baige.kiosk").scalar_one()

    def send(method: str, path: str, body: Any = None, *, role: str | None = "planner", **headers: str) -> Any:
        sent = {**GEO, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if role:
            sent["X-API-Key"] = served.keys[role]
        content = json.dumps(body) if body is not None else None
        return served.client.request(method, path, content=content, headers=sent)

    yield send
    with served.database.begin() as connection:
        connection.execute(sa.text("DELETE FROM baige.kiosk WHERE id <> ALL(:ids)"), {"ids": before})


def feature(**properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [111.3, 30.7]},
        "properties": {"admin_code": "420502001001", **properties},
    }


def count(served: Any) -> int:
    with served.database.begin() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM baige.kiosk").scalar_one())


def test_a_feature_from_cradle_to_grave(served: Any, write: Any) -> None:
    page = served.client.get(f"{ITEMS}?limit=1").headers["etag"]
    made = write(
        "POST",
        ITEMS,
        feature(
            label="新",
            rank=3,
            built="2024-05-06",
            tags=["x"],
            outline=shapely.geometry.mapping(shapely.box(111, 30, 112, 31)),
        ),
    )
    assert made.status_code == 201, made.text
    address = made.headers["location"]
    assert served.client.get(f"{ITEMS}?limit=1").headers["etag"] != page
    read = served.client.get(address)
    assert read.json()["properties"]["label"] == "新"
    assert read.json()["geometry"]["coordinates"] == [111.3, 30.7]
    tag = read.headers["etag"]
    stale = write("PATCH", address, {"properties": {"rank": 4}}, If_Match='"1-1"')
    assert stale.status_code == 412
    changed = write("PATCH", address, {"properties": {"rank": 4, "label": None}}, If_Match=tag)
    assert changed.status_code == 204
    assert changed.headers["etag"] != tag
    properties = served.client.get(address).json()["properties"]
    assert (properties["rank"], properties["label"], properties["built"]) == (4, None, "2024-05-06")
    assert write("PUT", address, feature(label="again"), If_Match=tag).status_code == 412
    assert write("PUT", address, feature(label="again"), If_Match=changed.headers["etag"]).status_code == 204
    replaced = served.client.get(address).json()["properties"]
    assert (replaced["rank"], replaced["label"], replaced["classification"]) == (None, "again", "public")
    feature_id = address.rsplit("/", 1)[1]
    with served.database.begin() as connection:
        assert connection.execute(
            sa.text("SELECT outline IS NOT NULL FROM baige.kiosk WHERE id = :i"), {"i": feature_id}
        ).scalar_one()
    assert write("DELETE", address, If_Match=tag).status_code == 412
    assert write("DELETE", address).status_code == 204
    assert served.client.get(address).status_code == 404
    with served.database.begin() as connection:
        history = connection.execute(
            sa.text(
                "SELECT replaced_op, label FROM baige_history.kiosk WHERE id = :i ORDER BY replaced_at, replaced_by"
            ),
            {"i": feature_id},
        ).all()
        audit = connection.execute(
            sa.text(
                "SELECT action, role, actor, request_id FROM baige_sys.change_set WHERE layer = 'kiosk' ORDER BY id DESC LIMIT 4"
            )
        ).all()
    assert [tuple(h) for h in history] == [("U", "新"), ("U", None), ("D", "again")]
    assert [a.action for a in audit] == ["delete", "replace", "update", "create"]
    assert all(a.role == "planner" and a.actor and a.request_id for a in audit)


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        (feature(nosuch=1), {"/properties/nosuch"}),
        (
            feature(rank="x", open=1, built="2024-02-30", state="maybe"),
            {f"/properties/{n}" for n in ("rank", "open", "built", "state")},
        ),
        (feature(amount=1001), {"/properties/amount"}),
        (feature(code="12"), {"/properties/code"}),
        (feature(code="12ab"), {"/properties/code"}),
        (feature(label="x" * 61), {"/properties/label"}),
        (feature(label="a\0b"), {"/properties/label"}),
        (feature(tags=[1]), {"/properties/tags"}),
        (feature(rank=2**63), {"/properties/rank"}),
        (feature(classification=None), {"/properties/classification"}),
        ({**feature(), "geometry": None}, {"/geometry"}),
        ({**feature(), "geometry": {"type": "Point", "coordinates": [30.7, 111.3]}}, {"/geometry"}),
        ({**feature(), "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]}}, {"/geometry"}),
        ({**feature(), "geometry": {"type": "Point", "coordinates": "x"}}, {"/geometry"}),
        ({**feature(), "type": "Thing"}, {"/type"}),
        (
            {"type": "FeatureCollection", "features": [feature(), feature(rank="x"), feature(state="?")]},
            {"/features/1/properties/rank", "/features/2/properties/state"},
        ),
        ([1, 2], {"/"}),
    ],
)
def test_faults_are_named_by_path_and_nothing_is_stored(served: Any, write: Any, body: Any, paths: set[str]) -> None:
    before = count(served)
    answer = write("POST", ITEMS, body)
    assert answer.status_code == 422, answer.text
    assert {e["path"] for e in answer.json()["errors"]} == paths
    chinese = write("POST", ITEMS + "?lang=zh", body).json()
    assert chinese["title"] == "内容无效"
    assert count(served) == before


def test_a_batch_is_all_or_nothing_in_the_database_too(served: Any, write: Any) -> None:
    before = count(served)
    taken = served.rows["kiosk"][0]["id"]
    batch = {"type": "FeatureCollection", "features": [feature(label="a"), {**feature(label="b"), "id": taken}]}
    assert write("POST", ITEMS, batch).status_code == 409
    assert count(served) == before
    good = {"type": "FeatureCollection", "features": [feature(label=str(n)) for n in range(50)]}
    answer = write("POST", ITEMS, good)
    assert answer.status_code == 201
    assert answer.json()["numberInserted"] == len(set(answer.json()["ids"])) == 50
    assert count(served) == before + 50


def test_addresses_and_ids(served: Any, write: Any) -> None:
    known = served.rows["kiosk"][0]["id"]
    other = str(uuid.uuid4())
    assert write("PUT", f"{ITEMS}/{known}", {**feature(), "id": other}).status_code == 400
    assert write("PATCH", f"{ITEMS}/{known}", {"id": other, "properties": {}}).status_code == 400
    for address in (other, "nosuch"):
        assert write("PUT", f"{ITEMS}/{address}", feature()).status_code == 404
        assert write("PATCH", f"{ITEMS}/{address}", {"properties": {}}).status_code == 404
        assert write("DELETE", f"{ITEMS}/{address}").status_code == 404


def test_coordinates_in_the_order_of_content_crs(served: Any, write: Any) -> None:
    for header in ("<http://www.opengis.net/def/crs/EPSG/0/4490>", "http://www.opengis.net/def/crs/EPSG/0/4490"):
        body = {**feature(), "geometry": {"type": "Point", "coordinates": [30.71, 111.31]}}
        made = write("POST", ITEMS, body, Content_Crs=header)
        assert made.status_code == 201, made.text
        assert served.client.get(made.headers["location"]).json()["geometry"]["coordinates"] == [111.31, 30.71]
    assert write("POST", ITEMS, feature(), Content_Crs="<http://www.opengis.net/def/crs/EPSG/0/1>").status_code == 400


def test_rights(served: Any, write: Any) -> None:
    inside = next(r["id"] for r in served.rows["kiosk"] if r["admin_code"].startswith("420502"))
    outside = next(r["id"] for r in served.rows["kiosk"] if not r["admin_code"].startswith("420502"))
    patch = {"properties": {"label": "Café"}}
    anonymous = write("PATCH", f"{ITEMS}/{inside}", patch, role=None)
    assert anonymous.status_code == 401
    assert "Basic" in anonymous.headers["www-authenticate"]
    assert write("PATCH", f"{ITEMS}/{inside}", patch, role="viewer").status_code == 403
    assert write("PATCH", f"{ITEMS}/{outside}", patch, role="officer").status_code == 403
    label = served.get(f"{ITEMS}/{inside}").json()["properties"]["label"]
    assert write("PATCH", f"{ITEMS}/{inside}", patch, role="officer").status_code == 204
    assert write("PATCH", f"{ITEMS}/{inside}", {"properties": {"label": label}}, role="officer").status_code == 204
    assert write("POST", ITEMS, feature(admin_code="420505001001"), role="officer").status_code == 403
    assert (
        write("PATCH", f"{ITEMS}/{inside}", {"properties": {"admin_code": "420505001001"}}, role="officer").status_code
        == 403
    )
    assert served.client.get(ITEMS, headers={"X-API-Key": "bg_x_y"}).status_code == 401
    allowed = served.client.options(f"{ITEMS}/{inside}", headers={"X-API-Key": served.keys["planner"]}).headers["allow"]
    assert {"PUT", "PATCH", "DELETE"} <= set(allowed.split(", "))
    assert (
        "POST"
        in served.client.options(ITEMS, headers={"Authorization": f"Bearer {served.keys['admin']}"}).headers["allow"]
    )
    assert "POST" not in served.client.options(ITEMS).headers["allow"]


def test_bodies_that_are_none(served: Any, write: Any) -> None:
    key = {"X-API-Key": served.keys["planner"]}
    for content, headers, status in (
        (b"{", GEO, 400),
        (b"", GEO, 400),
        (b"[" * 10_000, GEO, 400),
        (b"\xff\xfe", GEO, 400),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"{}", {}, 415),
        (b'{"type":"FeatureCollection","features":[]}', GEO, 400),
        (b"null", GEO, 422),
        (b'{"type":"Feature"}', GEO, 422),
    ):
        answer = served.client.post(ITEMS, content=content, headers={**headers, **key})
        assert answer.status_code == status, (content[:20], answer.text)


def test_one_of_two_writers_with_the_same_tag_wins(served: Any, write: Any) -> None:
    address = write("POST", ITEMS, feature(label="race")).headers["location"]
    tag = served.client.get(address).headers["etag"]
    answers: list[int] = []

    def change(rank: int) -> None:
        answers.append(write("PATCH", address, {"properties": {"rank": rank}}, If_Match=tag).status_code)

    threads = [threading.Thread(target=change, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [204] + [412] * 5


def test_results_are_not_edited(served: Any, write: Any) -> None:
    answer = write("POST", "/collections/coverage_gap/items", feature(), role="admin")
    assert answer.status_code == 405
    assert "POST" not in answer.headers["allow"]
