"""Past states: what ``as-of`` answers is what was recorded then, under the asker's rights."""

import datetime as dt
import time
import uuid
from typing import Any
from urllib.parse import urlencode

import pyogrio
import pytest
import sqlalchemy as sa

from layers.declaration import LayerDeclaration
from layers.registry import add_layer, remove_layer

STALL = LayerDeclaration.model_validate(
    {
        "name": "stall",
        "title_zh": "摊",
        "title_en": "Stalls",
        "geometry": "Point",
        "srid": 4490,
        "classification": "public",
        "fields": [
            {"name": "rank", "type": "int", "title_zh": "等级", "title_en": "Rank"},
            {"name": "code", "title_zh": "编码", "title_en": "Code", "hidden_from": ["public"]},
        ],
    }
)


def now(served: Any) -> str:
    """The database's clock, with transactions before and after told apart."""
    time.sleep(0.005)
    with served.database.begin() as connection:
        moment: dt.datetime = connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
    time.sleep(0.005)
    return moment.astimezone(dt.UTC).isoformat()


def run(served: Any, sql: str, **values: Any) -> None:
    with served.database.begin() as connection:
        connection.execute(sa.text(sql), values)


@pytest.fixture(scope="module")
def told(served: Any) -> Any:
    """Four moments of a layer of thirty rows, and what it held at each, kept aside by hand."""
    add_layer(served.database, STALL)
    before = now(served)
    for number in range(30):
        run(
            served,
            "INSERT INTO baige.stall (id, name_zh, rank, code, admin_code, classification, geom) VALUES (:i, :n, :r, :c, :a, :k,"
            " ST_SetSRID(ST_Point(111.2 + :r * 0.001, 30.6), 4490))",
            i=uuid.UUID(int=number + 1), n=f"摊{number}", r=number, c=f"c{number}", a=f"42050{2 + number % 2 * 3}001001",
            k=("public", "internal", "restricted")[number % 3],
        )  # fmt: skip
    states: dict[str, dict[int, tuple[int, str]]] = {before: {}}

    def note() -> None:
        with served.database.begin() as connection:
            rows = connection.exec_driver_sql("SELECT id::text, rank, classification FROM baige.stall").fetchall()
        states[now(served)] = {uuid.UUID(i).int: (rank, kind) for i, rank, kind in rows}

    note()
    run(served, "UPDATE baige.stall SET rank = rank + 100, geom = ST_Translate(geom, 0.05, 0) WHERE rank % 2 = 0")
    note()
    run(served, "DELETE FROM baige.stall WHERE rank % 5 = 0")
    note()
    run(served, "UPDATE baige.stall SET rank = rank + 1000 WHERE rank > 20 AND rank < 28")
    note()
    yield states
    remove_layer(served.database, "stall", force=True)


def seen(served: Any, role: str | None, **params: Any) -> dict[int, int]:
    answer = served.get("/collections/stall/items", role=role, **params)
    assert answer.status_code == 200, answer.text
    return {uuid.UUID(f["id"]).int: f["properties"]["rank"] for f in answer.json()["features"]}


@pytest.mark.parametrize(
    ("role", "kinds"),
    [(None, {"public"}), ("viewer", {"public", "internal"}), ("planner", {"public", "internal", "restricted"})],
)
def test_a_past_state_is_what_was_there(served: Any, told: Any, role: str | None, kinds: set[str]) -> None:
    for moment, rows in told.items():
        wanted = {i: rank for i, (rank, kind) in rows.items() if kind in kinds}
        assert seen(served, role, **{"as-of": moment}) == wanted
        answer = served.get("/collections/stall/items", role=role, limit=3, **{"as-of": moment}).json()
        assert answer["numberMatched"] == len(wanted)


def test_a_district_sees_its_own_past(served: Any, told: Any) -> None:
    moment, rows = list(told.items())[1]
    wanted = {i: rank for i, (rank, kind) in rows.items() if kind == "public" or (i - 1) % 2 == 0}
    assert seen(served, "officer", **{"as-of": moment}) == wanted


def test_filters_sort_and_pages_of_a_past_state(served: Any, told: Any) -> None:
    moment, rows = list(told.items())[2]
    wanted = sorted((rank for rank, _ in rows.values() if rank < 120), reverse=True)
    params: dict[str, Any] = {"as-of": moment, "filter": "rank < 120", "sortby": "-rank", "limit": 4}
    found: list[int] = []
    address, pages, key = f"/collections/stall/items?{urlencode(params)}", 0, {"X-API-Key": served.keys["admin"]}
    while address:
        page = served.client.get(address, headers=key).json()
        found += [f["properties"]["rank"] for f in page["features"]]
        following = next((k["href"] for k in page["links"] if k["rel"] == "next"), "")
        address, pages = following.removeprefix(served.url), pages + 1
    assert found == wanted
    assert pages == -(-len(wanted) // 4)
    box = served.get(
        "/collections/stall/items", role="admin", bbox="111.2,30.5,111.2045,30.7", **{"as-of": moment}
    ).json()
    assert sorted(f["properties"]["rank"] for f in box["features"]) == [1, 3]


def test_an_item_and_its_deleted_past(served: Any, told: Any) -> None:
    moments = list(told)
    gone = uuid.UUID(int=6)  # rank 5, restricted
    path = f"/collections/stall/items/{gone}"
    assert served.get(path, role="admin").status_code == 404
    assert served.get(path, role="admin", **{"as-of": moments[1]}).json()["properties"]["rank"] == 5
    assert served.get(path, **{"as-of": moments[1]}).status_code == 404
    changed = f"/collections/stall/items/{uuid.UUID(int=4)}"
    for moment in moments[1:3]:
        answer = served.get(changed, **{"as-of": moment})
        assert answer.status_code == 200
        assert "code" not in answer.json()["properties"]
    assert served.get(changed, **{"as-of": moments[0]}).status_code == 404


def test_tiles_and_files_of_a_past_state(served: Any, told: Any, tmp_path: Any) -> None:
    moment, rows = list(told.items())[1]
    tiles = []
    for asked in ({"as-of": moment}, {}):
        body = served.get("/collections/stall/tiles/WebMercatorQuad/8/105/207", role="admin", **asked).content
        (tmp_path / "tile.pbf").write_bytes(body)
        tiles.append(sorted(pyogrio.read_dataframe(tmp_path / "tile.pbf", X="207", Y="105", Z="8")["rank"]))
    assert tiles[0] == list(range(30))
    assert tiles[1] != tiles[0]
    table = served.get("/collections/stall/items", role="admin", f="csv", **{"as-of": moment}).text
    assert len(table.splitlines()) == 1 + len(rows)


def test_withdrawn_from_publication_is_withdrawn_from_the_past(served: Any, told: Any) -> None:
    moment = list(told)[1]
    published = uuid.UUID(int=10)  # rank 9, public
    assert published.int in seen(served, None, **{"as-of": moment})
    run(served, "UPDATE baige.stall SET classification = 'restricted' WHERE id = :i", i=published)
    for role in (None, "viewer"):
        assert published.int not in seen(served, role, **{"as-of": moment})
        assert served.get(f"/collections/stall/items/{published}", role=role, **{"as-of": moment}).status_code == 404
    assert published.int in seen(served, "planner", **{"as-of": moment})
    run(served, "UPDATE baige.stall SET classification = 'public' WHERE id = :i", i=published)
    assert published.int in seen(served, None, **{"as-of": moment})


@pytest.mark.parametrize(
    "text", ["2026-01-01", "yesterday", "2026-01-01T00:00:00", "2999-01-01T00:00:00Z", "2026-13-01T00:00:00Z", ""]
)
def test_other_times_are_refused(served: Any, told: Any, text: str) -> None:
    for path in ("items", f"items/{uuid.UUID(int=4)}", "tiles/WebMercatorQuad/8/105/207"):
        answer = served.get(f"/collections/stall/{path}", **{"as-of": text})
        assert answer.status_code == 400, (path, text)
        assert "as-of" in answer.json()["detail"]


def test_an_offset_that_was_not_encoded_is_understood(served: Any, told: Any) -> None:
    moment = list(told)[1]
    local = dt.datetime.fromisoformat(moment).astimezone(dt.timezone(dt.timedelta(hours=8))).isoformat()
    answer = served.client.get(f"/collections/stall/items?as-of={local}", headers={"X-API-Key": served.keys["admin"]})
    assert answer.json()["numberMatched"] == 30
