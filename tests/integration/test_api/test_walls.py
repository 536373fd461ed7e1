"""Walls: headers of every kind of answer, other origins, headers that a request would write, paths that lead out, addresses that would be called."""

import json
import re
import socket
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from pydantic import ValidationError

from api.settings import ServeSettings
from tests.integration.test_api.conftest import running

TILE = "/collections/kiosk/tiles/WebMercatorQuad/8/105/207"
ITEMS = "/collections/kiosk/items"


def head_of(served: Any, data: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, header lines one by one, and body of a request that is sent as it stands."""
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(data)
        whole = b""
        while part := connection.recv(65536):
            whole += part
    head, _, body = whole.partition(b"\r\n\r\n")
    first, *lines = re.split(rb"\r\n|\r|\n", head)
    return int(first.split()[1]), [(n.decode().lower(), v.decode("latin-1")) for n, _, v in (line.partition(b": ") for line in lines)], body


# ---- security headers ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gallery(served: Any) -> str:
    """A page of ``baige map build`` that the public may see."""
    folder = served.state.settings.home / "maps"
    folder.mkdir(exist_ok=True)
    (folder / "index.html").write_text("<!doctype html><title>x</title>")
    (folder / "access.json").write_text(json.dumps({"role": "public", "files": ["index.html"]}))
    return "/maps/index.html"


KINDS = {
    "page": ("GET", "/?f=html", 200, "text/html"),
    "portal": ("GET", "/portal/", 200, "text/html"),
    "map page": ("GET", "/maps/index.html", 200, "text/html"),
    "json": ("GET", "/?f=json", 200, "application/json"),
    "features": ("GET", f"{ITEMS}?limit=2", 200, "application/geo+json"),
    "table": ("GET", f"{ITEMS}?f=csv", 200, "text/csv"),
    "tile": ("GET", TILE, 200, "application/vnd.mapbox-vector-tile"),
    "style": ("GET", "/collections/kiosk/styles/default?f=sld", 200, "application/vnd.ogc.sld+xml"),
    "script": ("GET", "/static/page.js", 200, "text/javascript"),
    "picture": ("GET", "/static/icon.svg", 200, "image/svg+xml"),
    "metrics": ("GET", "/metrics", 200, "text/plain"),
    "health": ("GET", "/healthz", 200, "application/json"),
    "redirect": ("GET", "/portal", 307, ""),
    "head": ("HEAD", "/", 200, "application/json"),
    "nothing there": ("GET", "/nosuch", 404, "application/problem+json"),
    "no file": ("GET", "/static/nosuch.js", 404, "application/problem+json"),
    "bad request": ("GET", f"{ITEMS}?limit=x", 400, "application/problem+json"),
    "key in address": ("GET", "/?api_key=x", 400, "application/problem+json"),
    "wrong key": ("GET", f"{ITEMS}?lang=en", 401, "application/problem+json"),
    "wrong method": ("DELETE", "/conformance", 405, "application/problem+json"),
    "unknown parameter": ("GET", "/?x=" + "y" * 60_000, 400, "application/problem+json"),
    "other type": ("POST", ITEMS, 415, "application/problem+json"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_answer_has_the_security_headers(served: Any, gallery: str, kind: str) -> None:
    method, path, status, media = KINDS[kind]
    headers = {"X-API-Key": "bg_0_0"} if kind == "wrong key" else {"X-API-Key": served.keys["planner"]} if kind == "other type" else {}
    answer = served.client.request(method, path, headers=headers, content=b"x" if method == "POST" else None)
    assert answer.status_code == status, answer.text
    assert answer.headers.get("content-type", "").startswith(media)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])
    assert "server" not in answer.headers
    assert not {name for name in answer.headers if name.startswith("access-control-")}
    if media == "text/html":
        policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
        assert policy["frame-ancestors"] == "'self'" and policy["object-src"] == "'none'"
        assert not re.search(r"https?:|\*", str(policy))
        if kind != "map page":
            assert "script-src" not in policy and policy["default-src"] == "'self'"


def test_a_fault_and_a_body_too_large_have_them_too(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.items.page_sql", lambda *a, **k: 1 / 0)
    answers = [served.client.get(f"{ITEMS}?limit=7"), served.client.post(ITEMS, content=b" " * 17_000_000)]
    assert [answer.status_code for answer in answers] == [500, 413]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["x-request-id"]
        assert answer.headers["content-type"] == "application/problem+json"


# ---- other origins ---------------------------------------------------------------------------------------------------------------

GOOD, BAD = "https://maps.example", "https://evil.example"


@pytest.fixture(scope="module")
def listed(served: Any) -> Iterator[httpx.Client]:
    """A server that two origins may be called from."""
    url = served.database.url.render_as_string(hide_password=False)
    with running(served.state.settings, url, cors_origins=f"{GOOD}, http://127.0.0.1:5173") as (address, _), httpx.Client(
        base_url=address, timeout=60
    ) as client:
        yield client


@pytest.mark.parametrize("path", ["/", f"{ITEMS}?limit=1", TILE, f"{ITEMS}?limit=x", "/nosuch", "/?api_key=x", "/static/page.js"])
def test_a_listed_origin_is_echoed_and_another_is_not(listed: httpx.Client, path: str) -> None:
    for origin, allowed in ((GOOD, True), ("http://127.0.0.1:5173", True), (BAD, False), (f"{GOOD}.evil.example", False), ("null", False),
                            (GOOD.upper(), False), (f"{GOOD}:8443", False), ("http://maps.example", False), (None, False)):  # fmt: skip
        answer = listed.get(path, headers={"Origin": origin} if origin else {})
        assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None), (origin, path)
        # a cache may not give the answer for one origin, or for none, to another
        assert "origin" in answer.headers["vary"].lower().replace(" ", "").split(",")
        assert "access-control-allow-credentials" not in answer.headers


def test_what_a_listed_origin_may_send(listed: httpx.Client) -> None:
    asked = {"Origin": GOOD, "Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "x-api-key, if-match, content-type"}
    answer = listed.options(ITEMS, headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == GOOD
    assert "PATCH" in answer.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"
    for change in ({"Origin": BAD}, {"Access-Control-Request-Headers": "x-csrf-token"}, {"Access-Control-Request-Method": "TRACE"}):
        refused = listed.options(ITEMS, headers={**asked, **change})
        assert refused.status_code == 400
        if "Origin" in change:
            assert "access-control-allow-origin" not in refused.headers


def test_every_origin_is_let_in_without_sessions_only(served: Any) -> None:
    url = served.database.url.render_as_string(hide_password=False)
    with running(served.state.settings, url, cors_origins="*") as (address, _):
        for headers in ({"Origin": BAD}, {"Origin": BAD, "Cookie": "x=1"}, {"Origin": "null"}):
            answer = httpx.get(address, headers=headers, timeout=60)
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origins", ["https://a.example/", "a.example", "https://a.example/path", "*.example", "null", "https://a.example b"])
def test_what_is_no_origin_is_said(origins: str) -> None:
    with pytest.raises(ValidationError, match="is no origin"):
        ServeSettings(cors_origins=f"https://good.example,{origins}")


# ---- headers that a request would write --------------------------------------------------------------------------------------------

INJECTION = "x\r\nX-Injected: 1\r\nSet-Cookie: a=b\r\n\r\n<script>"
NAMES = ["f", "lang", "crs", "bbox-crs", "filter-crs", "filter", "filter-lang", "limit", "cursor", "q", "label", "sortby", "properties"]
NAMES += ["ids", "bbox", "datetime", "as-of", "bom", "day", "subset", "style", "type", "nosuch"]
PATHS = ["/", ITEMS, TILE, "/portal", "/portal/outfalls.xlsx", "/collections/kiosk/tiles/{}/8/105/207", "/collections/kiosk/items/{}"]
PATHS += ["/collections/{}", "/collections/{}/items", "/collections/kiosk/styles/{}", "/jobs/{}", "/maps/{}", "/portal/{}", "/static/{}"]
PATHS += ["/processes/{}", "/rasters/{}", "/rules/{}"]


@pytest.mark.parametrize("path", PATHS)
def test_no_parameter_writes_a_header(served: Any, path: str) -> None:
    place = quote(INJECTION, safe="")
    tries = [(path.format(place), "")] if "{}" in path else [(path, f"{name}={place}") for name in NAMES]
    if path == ITEMS:  # where a page has a next one, its link repeats what was asked
        tries += [(path, f"limit=2&{name}={place}") for name in ("label", "q", "filter")]
        tries.append((path, f"limit=2&filter={quote(f"label <> '{INJECTION}'", safe='')}"))
    linked = 0
    for where, query in tries:
        asked = f"GET {where}{'?' + query if query else ''} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
        status, lines, body = head_of(served, asked.encode())
        names = [name for name, _ in lines]
        assert "x-injected" not in names and "set-cookie" not in names, (where, query)
        assert b"<script>" not in body or b"text/html" not in dict(lines).get("content-type", "").encode()
        assert status < 500, (where, query, body)
        # the name that a client calls the server by stands in no link
        assert "evil.example" not in str(lines) and b"evil.example" not in body
        linked += "link" in names
    assert linked or path != ITEMS


@pytest.mark.parametrize(
    "head",
    [
        b"GET /conformance HTTP/1.1\r\nHost: x\r\nX-API-Key: a\nX-Injected: 1\r\n",
        b"GET /conformance HTTP/1.1\r\nHost: x\r\nX-API-Key: a\x00b\r\n",
        b"POST /portal/login HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n",
        b"POST /portal/login HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"POST /portal/login HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n",
        b"POST /portal/login HTTP/1.1\r\nHost: x\r\nContent-Length: 1e9\r\n",
        b"POST /portal/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n",
    ],
)
def test_heads_that_two_servers_would_read_in_two_ways_are_refused(served: Any, head: bytes) -> None:
    status, lines, _ = head_of(served, head + b"Connection: close\r\n\r\nabc")
    assert 400 <= status < 500
    assert "x-injected" not in [name for name, _ in lines]


@pytest.mark.parametrize("length", ["10000000000", "99999999999999999999"])
def test_an_upload_of_10_gb_is_refused_before_it_is_sent(served: Any, length: str) -> None:
    photo = f"/portal/inspections/{uuid.uuid4()}/photos/{uuid.uuid4()}"
    for path in (ITEMS, photo, "/processes/export/execution", "/portal/login", "/nosuch"):
        head = f"{'PUT' if path == photo else 'POST'} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
        head += f"X-API-Key: {served.keys['planner']}\r\n"
        status, lines, body = head_of(served, f"{head}Content-Length: {length}\r\nConnection: close\r\n\r\n".encode())
        assert status in (400, 413), path
        assert status == 413 or len(length) > 19  # beyond 64 bits the server's HTTP gives up by itself
        if status == 413:
            assert ("connection", "close") in lines
            assert json.loads(body)["status"] == 413


# ---- paths and addresses -----------------------------------------------------------------------------------------------------------

OUT = ["..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/%2e%2e/etc/passwd", "../../../../etc/passwd", "..%5c..%5cetc%5cpasswd", "%2fetc%2fpasswd",
       "//etc/passwd", "....//....//etc/passwd", "%252e%252e%252fetc%252fpasswd", "x%00/../../etc/passwd", "..%c0%af..%c0%afetc/passwd",
       "..%2fsecret.txt", "%2e%2e/secret.txt", "link.txt"]  # fmt: skip


PLACES = ["/static/", "/static/leaflet/", "/portal/", "/maps/", "/portal/photos/", "/jobs/", "/rasters/", "/collections/kiosk/items/"]


@pytest.mark.parametrize("place", PLACES)
def test_no_path_leads_out(served: Any, gallery: str, place: str) -> None:
    home = served.state.settings.home
    (home / "secret.txt").write_text("not-for-the-asker")
    if not (home / "maps" / "link.txt").is_symlink():
        (home / "maps" / "link.txt").symlink_to(home / "secret.txt")
    for path in OUT:
        for key in ("", f"X-API-Key: {served.keys['admin']}\r\n"):
            status, _, body = head_of(served, f"GET {place}{path} HTTP/1.1\r\nHost: x\r\n{key}Connection: close\r\n\r\n".encode())
            assert 400 <= status < 500, (place, path)
            assert b"root:" not in body and b"not-for-the-asker" not in body


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "kiosk/../../x", "kiosk\x00", "baige_sys.api_key", "kiosk;x", 'kiosk"'])
def test_exports_name_layers_and_formats_only(served: Any, name: str) -> None:
    headers = {"X-API-Key": served.keys["admin"], "Prefer": "respond-async"}
    for inputs in ({"collection": name, "format": "csv"}, {"collection": "kiosk", "format": name}):
        answer = served.client.post("/processes/export/execution", json={"inputs": inputs}, headers=headers)
        assert answer.status_code in (400, 404, 422), answer.text
    place = quote(name, safe="")
    assert served.client.put(f"/portal/inspections/{place}/photos/{place}", headers=headers).status_code in (400, 404, 405, 415)


class _Listening(BaseHTTPRequestHandler):
    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def listener() -> Iterator[str]:
    """A server that writes down whether it was called."""
    _Listening.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Listening) as service:
        Thread(target=lambda: service.serve_forever(0.05), daemon=True).start()
        yield f"http://127.0.0.1:{service.server_port}"
        service.shutdown()


def test_no_address_in_a_request_is_called(served: Any, listener: str) -> None:
    """Subscribers and inputs by reference of a job, links in GeoJSON, reference systems and schemas by address, styles."""
    admin = {"X-API-Key": served.keys["admin"]}
    here = quote(listener, safe="")
    subscriber = {"successUri": f"{listener}/done", "inProgressUri": f"{listener}/on", "failedUri": f"{listener}/failed"}
    for inputs in ({"collection": "kiosk", "format": "csv"}, {"collection": {"href": f"{listener}/name"}, "format": "csv"},
                   {"collection": "kiosk", "format": {"href": listener}}, {"collection": "kiosk", "filter": {"$ref": f"{listener}/f"}}):  # fmt: skip
        body = {"inputs": inputs, "subscriber": subscriber, "outputs": {"result": {"transmissionMode": "reference", "href": listener}}}
        made = served.client.post("/processes/export/execution", json=body, headers={**admin, "Prefer": "respond-async"})
        assert made.status_code in (201, 422), made.text
        if made.status_code == 201:
            assert served.client.delete(made.json()["links"][0]["href"], headers=admin).status_code == 200
    feature = {
        "$schema": f"{listener}/schema", "type": "Feature", "crs": {"type": "link", "properties": {"href": f"{listener}/crs", "type": "proj4"}},
        "links": [{"href": listener, "rel": "describedby"}], "coordRefSys": f"{listener}/crs",
        "geometry": {"type": "Point", "coordinates": [111.3, 30.7]},
        "properties": {"name_zh": listener, "admin_code": "420502"},
    }  # fmt: skip
    made = served.client.post(ITEMS, json=feature, headers={**admin, "Content-Crs": f"<{listener}/crs>"})
    assert made.status_code == 400
    made = served.client.post(ITEMS, json=feature, headers=admin)
    if made.status_code == 201:
        assert served.client.delete(made.headers["location"], headers=admin).status_code == 204
    asking = {**admin, "Referer": listener, "X-Forwarded-Host": listener.removeprefix("http://"), "Profile": listener}
    for query in (f"?crs={here}", f"?bbox=1,2,3,4&bbox-crs={here}", f"?filter-crs={here}&filter=1%3D1"):
        assert served.client.get(ITEMS + query, headers=asking).status_code == 400
    for path in (f"/portal/base/1/0/0?url={here}", f"/portal/base/{here}/0/0", f"/collections/kiosk/styles/default?sld={here}",
                 f"/collections/kiosk/styles/{here}", f"/collections/{here}", f"/rasters?url={here}"):  # fmt: skip
        assert 400 <= served.client.get(path, headers=asking).status_code < 500
    assert _Listening.asked == []
    httpx.get(f"{listener}/heard", timeout=10)
    assert _Listening.asked == ["/heard"]
