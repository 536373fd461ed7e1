"""The server itself: pages without other servers, bad input, layers that come and go, a client that leaves."""

import json
import re
import socket
import threading
import time
import uuid
from typing import Any

import pytest

from layers.declaration import LayerDeclaration
from layers.registry import add_layer, remove_layer

PAGES = [
    "/",
    "/conformance",
    "/collections",
    "/collections/kiosk",
    "/collections/kiosk/items?limit=5",
    "/collections/kiosk/schema",
    "/collections/kiosk/queryables",
    "/collections/kiosk/sortables",
    "/collections/kiosk/tiles",
    "/tileMatrixSets",
    "/openapi",
    "/processes",
]


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("lang", ["zh", "en"])
def test_pages_ask_nothing_of_other_servers(served: Any, path: str, lang: str) -> None:
    answer = served.client.get(
        path, params={**dict(p.split("=") for p in path.partition("?")[2].split("&") if p), "f": "html", "lang": lang}
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-language"] == lang
    loaded = re.findall(
        r'(?:src|href)="([^"]+)"', "".join(re.findall(r"<(?:script|link|img|iframe|source)[^>]*>", answer.text))
    )
    assert loaded
    for address in loaded:
        assert address.startswith((served.url, "/")), address
        assert served.client.get(address).status_code == 200, address
    assert "googleapis" not in answer.text and "unpkg" not in answer.text and "cdn" not in answer.text.lower()
    assert ("图层" in answer.text) is (lang == "zh")


def test_style_sheets_and_scripts_load_nothing_from_elsewhere(served: Any) -> None:
    for path in ("/static/page.css", "/static/page.js", "/static/leaflet/leaflet.css"):
        text = served.client.get(path).text
        assert not re.findall(r"url\(['\"]?(?:https?:)?//", text), path
        assert "@import" not in text


def test_api_document_stands_alone(served: Any) -> None:
    document = served.get("/openapi", role="planner").json()
    text = json.dumps(document)
    refs = set(re.findall(r'"\$ref": "([^"]+)"', text))
    assert refs
    for ref in refs:
        assert ref.startswith("#/"), ref
        target = document
        for part in ref[2:].split("/"):
            target = target[part]
    limit = document["components"]["parameters"]["limit"]["schema"]
    assert (limit["default"], limit["maximum"]) == (1000, 10000)
    assert set(document["components"]["securitySchemes"]) == {"apiKey", "basic", "bearer"}
    assert {"post", "get"} <= set(document["paths"]["/collections/kiosk/items"])
    names = [o["operationId"] for item in document["paths"].values() for o in item.values()]
    assert len(names) == len(set(names))


def test_conformance_names_what_clients_look_for(served: Any) -> None:
    found = set(served.get("/conformance").json()["conformsTo"])
    for name in (
        "ogcapi-features-3/1.0/conf/filter",
        "ogcapi-features-3/1.0/conf/features-filter",
        "cql2/1.0/conf/cql2-text",
        "cql2/1.0/conf/basic-cql2",
        "cql2/1.0/conf/basic-spatial-functions",
        "cql2/1.0/conf/basic-spatial-operators",
        "ogcapi-features-5/1.0/conf/schemas",
        "ogcapi-common-3/1.0/conf/schemas",
        "ogcapi-features-4/1.0/conf/create-replace-delete",
        "ogcapi-features-2/1.0/conf/crs",
    ):
        assert f"http://www.opengis.net/spec/{name}" in found


def test_schema_says_what_a_feature_holds(served: Any) -> None:
    schema = served.get("/collections/kiosk/schema", lang="zh", role="admin").json()
    assert schema["properties"]["geometry"]["$ref"] == "https://geojson.org/schema/Point.json"
    assert schema["properties"]["state"]["oneOf"][0] == {"const": "on", "title": "开"}
    assert schema["properties"]["state"]["title"] == "状态"
    feature = served.get("/collections/kiosk/items", role="admin", limit=1).json()["features"][0]
    assert set(feature["properties"]) == set(schema["properties"]) - {"id", "geometry", "outline"}
    assert "geometry" not in served.get("/collections/kiosk/sortables").json()["properties"]


BAD = [
    ("/collections/kiosk/items", {"limit": "-1"}),
    ("/collections/kiosk/items", {"limit": "0"}),
    ("/collections/kiosk/items", {"limit": "x"}),
    ("/collections/kiosk/items", {"limit": "1e3"}),
    ("/collections/kiosk/items", {"bbox": "1,2,3"}),
    ("/collections/kiosk/items", {"bbox": "1,2,3,nan"}),
    ("/collections/kiosk/items", {"bbox": "1,2,3,inf"}),
    ("/collections/kiosk/items", {"bbox": "a,b,c,d"}),
    ("/collections/kiosk/items", {"bbox": "1,9,2,3"}),
    ("/collections/kiosk/items", {"bbox": "111,-100,112,31"}),
    ("/collections/kiosk/items", {"crs": "nonsense"}),
    ("/collections/kiosk/items", {"bbox-crs": "x"}),
    ("/collections/kiosk/items", {"filter-crs": "EPSG:99"}),
    ("/collections/kiosk/items", {"filter": "(" * 10_000 + "1=1" + ")" * 10_000}),
    (
        "/collections/kiosk/items",
        {"filter": '{"op":"not","args":[' * 900 + "true" + "]}" * 900, "filter-lang": "cql2-json"},
    ),
    ("/collections/kiosk/items", {"filter": "CASEI(" * 5_000 + "label" + ")" * 5_000 + "='x'"}),
    ("/collections/kiosk/items", {"filter": "[" * 10_000, "filter-lang": "cql2-json"}),
    ("/collections/kiosk/items", {"filter-lang": "sql", "filter": "x"}),
    ("/collections/kiosk/items", {"sortby": "geometry"}),
    ("/collections/kiosk/items", {"sortby": "tags"}),
    ("/collections/kiosk/items", {"sortby": "id;drop table x"}),
    (
        "/collections/kiosk/items",
        {"sortby": ",".join(["label", "rank", "amount", "open", "built", "seen_at", "state", "id", "name_zh"])},
    ),
    ("/collections/kiosk/items", {"nosuch": "1"}),
    ("/collections/kiosk/items", {"f": "exe"}),
    ("/collections/kiosk/items", {"datetime": "yesterday"}),
    ("/collections/kiosk/items", {"datetime": "2020-01-01/2019-01-01"}),
    ("/collections/kiosk/items", {"datetime": "a/b/c"}),
    ("/collections/kiosk/items", {"properties": "1=1"}),
    ("/collections/kiosk/items", {"ids": "1,2"}),
    ("/collections/kiosk/items", {"q": ""}),
    ("/collections/kiosk/items", {"q": "a " * 100}),
    ("/collections/kiosk/items", {"rank": "x"}),
    ("/collections/kiosk/items", {"label": "a\0b"}),
    ("/collections/kiosk/items", {"open": "yes"}),
    ("/collections/kiosk/items", {"skipGeometry": "x"}),
    ("/collections/kiosk/items/' OR 1=1 --", {}),
    ("/collections/kiosk/items/1", {}),
    ("/collections/'; DROP TABLE x/items", {}),
    ("/collections/nosuch", {}),
    ("/collections/kiosk/tiles/WebMercatorQuad/99/0/0", {}),
    ("/collections/kiosk/tiles/WebMercatorQuad/3/9/0", {}),
    ("/collections/kiosk/tiles/WebMercatorQuad/a/0/0", {}),
    ("/collections/kiosk/tiles/WebMercatorQuad/-1/0/0", {}),
    ("/collections/kiosk/tiles/Nosuch/1/0/0", {}),
    ("/collections/kiosk/tiles/WebMercatorQuad/1/0/1", {"filter": "nosuch = 1"}),
    ("/collections/baige_sys.layer/items", {}),
    ("/../../etc/passwd", {}),
    ("/static/../app.py", {}),
    ("/nosuch", {}),
    ("/", {"x": "1"}),
]


@pytest.mark.parametrize(("path", "params"), BAD, ids=[f"{p} {str(q)[:60]}" for p, q in BAD])
def test_bad_input_is_a_problem_document(served: Any, path: str, params: dict[str, str]) -> None:
    answer = served.client.get(path, params=params)
    assert 400 <= answer.status_code < 500, answer.text
    if not path.startswith("/static"):
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == answer.status_code
        assert not re.search(r"SELECT |FROM |psycopg|site-packages|/home/|/root/|/tmp/|[.]py|Traceback", problem["detail"])
    assert served.client.get("/collections/kiosk/items?limit=1").status_code == 200


def test_sql_in_every_parameter_changes_nothing(served: Any) -> None:
    names = [
        "limit",
        "bbox",
        "bbox-crs",
        "crs",
        "datetime",
        "f",
        "lang",
        "filter",
        "filter-lang",
        "filter-crs",
        "sortby",
        "properties",
        "q",
        "ids",
        "cursor",
        "skipGeometry",
        "label",
        "rank",
        "open",
        "built",
        "id",
    ]
    for name in names:
        for attack in ("'; DROP TABLE baige.kiosk; --", "1) OR 1=1 --", "%s", "$1", "{0}", "\\", "''", '"'):
            answer = served.client.get("/collections/kiosk/items", params={name: attack})
            assert answer.status_code < 500, (name, attack, answer.text)
    assert served.get("/collections/kiosk/items").json()["numberMatched"] == len(served.rows["kiosk"])


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/collections/kiosk/items/{id}", ("f", "lang", "crs", "as-of")),
        ("/collections/kiosk/tiles/WebMercatorQuad/8/105/207", ("f", "filter", "filter-lang", "as-of")),
        ("/collections/kiosk", ("f", "lang")),
        ("/collections", ("f", "lang")),
        ("/records", ("f", "lang", "q", "limit", "bbox", "type")),
        ("/processes", ("f", "lang", "limit")),
        ("/jobs", ("f", "lang", "limit", "status", "type")),
        ("/rasters", ("f", "lang")),
    ],
)
def test_sql_in_the_parameters_of_other_addresses_changes_nothing(served: Any, path: str, names: tuple[str, ...]) -> None:
    path = path.replace("{id}", served.rows["kiosk"][0]["id"])
    for name in names:
        for attack in ("'; DROP TABLE baige.kiosk; --", "1) OR 1=1 --", "%s", "$1", "\\", '"', "2020-01-01T00:00:00Z'::timestamptz; --"):
            answer = served.client.get(path, params={name: attack})
            assert answer.status_code < 500, (name, attack, answer.text)
    assert served.get("/collections/kiosk/items").json()["numberMatched"] == len(served.rows["kiosk"])


def raw(served: Any, data: bytes) -> bytes:
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(data)
        connection.settimeout(10)
        return connection.recv(65536)


def test_what_http_libraries_would_not_send(served: Any) -> None:
    assert b" 400 " in raw(served, b"GET /collections/kiosk/items?label=%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (
        b" 400 "
        in raw(served, b"GET /collections/kiosk/items?label=\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n").split(b"\r\n")[0]
    )
    assert b" 400 " in raw(served, b"GET /collections/%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n").split(b"\r\n")[0]
    million = b",".join(b"%d%%201" % (i % 90) for i in range(1_000_000))
    for text in (b"x" * 1_000_000, b"(" * 60_000, b"S_INTERSECTS(geometry,LINESTRING(" + million + b"))"):
        status = raw(served, b"GET /collections/kiosk/items?filter=" + text + b" HTTP/1.1\r\nHost: x\r\n\r\n").split(
            b"\r\n"
        )[0]
        assert any(code in status for code in (b" 400 ", b" 413 ", b" 414 ", b" 431 ")), status
    head = b"POST /collections/kiosk/items HTTP/1.1\r\nHost: x\r\nContent-Type: application/geo+json\r\n"
    key = f"X-API-Key: {served.keys['planner']}\r\n".encode()
    assert b" 413 " in raw(served, head + key + b"Content-Length: 100000000\r\n\r\n")
    # a body of 100 MB that is really sent: cut off long before its end, whether or not its length was said
    for length in (b"Content-Length: 100000000", b"Transfer-Encoding: chunked"):
        host, port = served.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(head + key + length + b"\r\n\r\n")
            piece = b" " * 1_000_000
            framed = piece if b"Content" in length else b"%x\r\n" % len(piece) + piece + b"\r\n"
            try:
                for _ in range(100):
                    connection.sendall(framed)
            except OSError:
                pass  # the server has closed
            else:
                connection.settimeout(30)
                assert b" 413 " in connection.recv(65536).split(b"\r\n")[0]
    assert served.client.get("/collections/kiosk/items?limit=1").status_code == 200


def test_a_body_without_end_is_cut_off(served: Any) -> None:
    def endless() -> Any:
        for _ in range(20):
            yield b" " * 1_000_000

    headers = {"Content-Type": "application/geo+json", "X-API-Key": served.keys["planner"]}
    answer = served.client.post("/collections/kiosk/items", content=endless(), headers=headers)
    assert answer.status_code == 413


def test_errors_are_in_the_askers_language(served: Any) -> None:
    assert "limit 应为" in served.get("/collections/kiosk/items", limit="-1", lang="zh").json()["detail"]
    assert (
        "没有图层"
        in served.client.get("/collections/nosuch", headers={"Accept-Language": "zh-CN,zh;q=0.9"}).json()["detail"]
    )


def test_a_new_layer_is_there_at_once_and_gone_at_once(served: Any) -> None:
    layer = LayerDeclaration(
        name="pop_up", title_zh="快闪", title_en="Pop-up", geometry="Point", classification="public"
    )
    assert served.get("/collections/pop_up").status_code == 404
    statuses: list[int] = []
    stop = threading.Event()

    def hammer() -> None:
        while not stop.is_set():
            statuses.append(served.client.get("/collections/kiosk/items?limit=1").status_code)

    thread = threading.Thread(target=hammer)
    thread.start()
    try:
        add_layer(served.database, layer)
        assert served.get("/collections/pop_up/items").status_code == 200
        deadline = time.monotonic() + 2
        while "pop_up" not in {c["id"] for c in served.get("/collections").json()["collections"]}:
            assert time.monotonic() < deadline
        assert "/collections/pop_up/items" in served.get("/openapi").json()["paths"]
        remove_layer(served.database, "pop_up")
        deadline = time.monotonic() + 2
        while served.get("/collections/pop_up").status_code != 404:
            assert time.monotonic() < deadline
        assert served.get("/collections/pop_up/items").status_code == 404
    finally:
        stop.set()
        thread.join()
    assert set(statuses) == {200}


def test_a_layer_removed_a_moment_ago(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has not heard of it yet, and its table is gone: there is nothing, which is no fault of the database."""
    layer = LayerDeclaration(
        name="moment", title_zh="片刻", title_en="Moment", geometry="Point", classification="public"
    )
    add_layer(served.database, layer)
    assert served.get("/collections/moment/items").status_code == 200

    async def nothing() -> None:
        return None

    monkeypatch.setattr(served.state.catalogue, "_read", nothing)
    remove_layer(served.database, "moment")
    for path in ("items", "items?f=csv", f"items/{uuid.uuid4()}", "tiles/WebMercatorQuad/0/0/0", "tiles/WebMercatorQuad/14/6700/13250"):
        assert served.get(f"/collections/moment/{path}").status_code == 404, path
    monkeypatch.undo()
    deadline = time.monotonic() + 10
    while served.get("/collections/moment").status_code != 404:
        assert time.monotonic() < deadline


def test_a_layer_of_the_same_name_is_not_taken_for_the_removed_one(served: Any) -> None:
    layer = LayerDeclaration(name="phoenix", title_zh="凤凰", title_en="Phoenix", geometry="Point", classification="public")
    key = {"X-API-Key": served.keys["planner"], "Content-Type": "application/geo+json"}
    tile = "/collections/phoenix/tiles/WebMercatorQuad/0/0/0"
    tags: list[dict[str, str]] = []
    for label in ("one", "two", "three"):
        add_layer(served.database, layer)
        feature = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [111.3, 30.7]}}
        feature["properties"] = {"name_zh": label, "admin_code": "420502"}
        made = served.client.post("/collections/phoenix/items", headers=key, json=feature)
        assert made.status_code == 201, made.text
        for kept in [{}, *tags]:  # what a client kept of each layer before is not confirmed
            page = served.client.get("/collections/phoenix/items", headers={"If-None-Match": kept.get("page", '"x"')})
            assert (page.status_code, page.json()["features"][0]["properties"]["name_zh"]) == (200, label)
            picture = served.client.get(tile, headers={"If-None-Match": kept.get("tile", '"x"')})
            assert picture.status_code == 200 and label.encode() in picture.content
        tags.append({"page": page.headers["etag"], "tile": picture.headers["etag"]})
        remove_layer(served.database, "phoenix", force=True)
    assert len({tag["tile"] for tag in tags}) == len({tag["page"] for tag in tags}) == 3


def test_a_query_is_cancelled_when_the_client_leaves(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from layers.query.fragment import Fragment

    monkeypatch.setattr("api.items.page_sql", lambda *a, **k: Fragment("SELECT pg_sleep(30)::text AS left_alone"))
    host, port = served.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    connection.sendall(b"GET /collections/kiosk/items?limit=2 HTTP/1.1\r\nHost: x\r\n\r\n")
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%left_alone%' AND state = 'active' AND pid <> pg_backend_pid()"

    def count() -> int:
        with served.database.begin() as asking:
            return int(asking.exec_driver_sql(running.replace("%", "%%")).scalar_one())

    deadline = time.monotonic() + 5
    while count() == 0:
        assert time.monotonic() < deadline
    connection.close()
    deadline = time.monotonic() + 2
    while count():
        assert time.monotonic() < deadline


def test_a_slow_query_is_ended(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from layers.query.fragment import Fragment

    monkeypatch.setattr("api.tiles.tile_sql", lambda *a, **k: Fragment("SELECT pg_sleep(30)::text"))
    monkeypatch.setattr(served.state, "serve", served.state.serve.model_copy(update={"tile_timeout_s": 0.3}))
    served.state.tiles.clear()
    answer = served.get("/collections/kiosk/tiles/WebMercatorQuad/13/3361/6629")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]


def test_a_count_that_takes_long_is_left_out(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from layers.query.fragment import Fragment

    monkeypatch.setattr("api.items.count_sql", lambda q: Fragment("SELECT pg_sleep(30)::text"))
    monkeypatch.setattr(served.state, "serve", served.state.serve.model_copy(update={"count_timeout_s": 0.1}))
    served.state.counts.clear()
    answer = served.get("/collections/kiosk/items", limit=2)
    assert answer.status_code == 200
    assert "numberMatched" not in answer.json()
    assert "OGC-NumberMatched" not in answer.headers
