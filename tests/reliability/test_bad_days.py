"""Bad days, on real servers: the database gone, slow clients, many clients, a pool that is used up, two writers, a clock set back."""

import itertools
import json
import os
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import sqlalchemy as sa
import uvicorn

from api.access import hash_secret, new_key
from api.app import create_app
from api.patience import PatientProtocol
from api.settings import ServeSettings
from gis.settings import Settings
from layers.cluster import EmbeddedCluster
from layers.database import Database
from layers.declaration import LayerDeclaration
from layers.query.fragment import Fragment
from layers.registry import add_layer

OUTAGE_S = float(os.environ.get("OUTAGE_S", "6"))
ITEMS = "/collections/stall/items"
STALL = LayerDeclaration(name="stall", title_zh="摊", title_en="Stalls", geometry="Point", classification="public")
GEO = {"Content-Type": "application/geo+json"}
BODY = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [111.3, 30.7]},
        "properties": {"name_zh": "一号", "admin_code": "420502001001"}}  # fmt: skip


class Site:
    """A server in a thread, its database and the key of a planner."""

    def __init__(self, url: str, key: str, app: Any, database: Database) -> None:
        self.url, self.key, self.app, self.database = url, key, app, database
        self.client = httpx.Client(base_url=url, timeout=60, headers={"X-API-Key": key})
        host, port = url.removeprefix("http://").split(":")
        self.address = (host, int(port))

    def add(self) -> httpx.Response:
        return self.client.post(ITEMS, content=json.dumps({**BODY, "id": str(uuid.uuid4())}), headers=GEO)

    def raw(self, data: bytes) -> socket.socket:
        connection = socket.create_connection(self.address, timeout=30)
        connection.sendall(data)
        return connection


@contextmanager
def site(database_url: str, home: Path, **more: Any) -> Iterator[Site]:
    database = Database(database_url)
    with database.begin() as connection:
        there = connection.execute(sa.text("SELECT to_regclass('baige.stall') IS NOT NULL")).scalar_one()
        key_id, key = new_key()
        connection.execute(
            sa.text("INSERT INTO baige_sys.api_key (id, secret_sha256, role, district) VALUES (:i, :s, 'planner', '')"),
            {"i": key_id, "s": hash_secret(key)},
        )
    if not there:
        add_layer(database, STALL)
    app = create_app(Settings(home=home), ServeSettings(**{"pool_size": 4, **more}), database_url=database_url)
    try:
        with running(app) as url:
            found = Site(url, key, app, database)
            assert found.add().status_code == 201
            yield found
            found.client.close()
    finally:
        database.dispose()


@contextmanager
def running(app: Any) -> Iterator[str]:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", http=PatientProtocol, timeout_graceful_shutdown=2, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()


@pytest.fixture(scope="module")
def here(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(database_url, tmp_path_factory.mktemp("home"), body_timeout_s=0.5, take_timeout_s=1.0) as found:
        yield found


def until(found: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


# -- the database ------------------------------------------------------------------------------------------------------------------


def test_database_gone_and_back(template_database: str, cluster: EmbeddedCluster) -> None:
    """503 with Retry-After while it is gone; afterwards everything is well at once, without a restart and without a stale connection."""
    from layers.migrate import upgrade

    home = Path(tempfile.mkdtemp(prefix="bgd-"))
    home.chmod(0o755)
    own = EmbeddedCluster(home / "baige", durable=False)
    try:
        own.start()
        upgrade(own.url())
        with site(own.url(), home) as place:
            paths = [f"{ITEMS}?limit=1", "/collections/stall", f"{ITEMS}/{uuid.uuid4()}", "/collections/stall/tiles/WebMercatorQuad/8/104/207",
                     "/readyz", "/jobs"]  # fmt: skip
            before = {path: place.client.get(path).status_code for path in paths}
            with ThreadPoolExecutor(8) as many:  # every connection of the pool has been in use
                assert set(many.map(lambda _: place.client.get(paths[0]).status_code, range(40))) == {200}
            own.stop()
            gone_until = time.monotonic() + OUTAGE_S
            asked = 0
            while time.monotonic() < gone_until or asked < len(paths) + 1:
                path = paths[asked % len(paths)]
                answer = place.client.get(path)
                assert answer.status_code == 503, (path, answer.text)
                assert answer.headers["retry-after"]
                if asked == 0:
                    edit = place.add()
                    assert edit.status_code == 503
                    assert edit.headers["retry-after"]
                assert place.client.get("/healthz").status_code == 200  # the process itself is well
                asked += 1
            own.start()
            until(lambda: place.client.get("/readyz").status_code == 200, 5)
            with ThreadPoolExecutor(8) as many:
                assert set(many.map(lambda _: place.client.get(paths[0]).status_code, range(80))) == {200}
            assert place.add().status_code == 201
            assert {path: place.client.get(path).status_code for path in paths} == before
            # a restart in between two requests is not even noticed
            own.stop()
            own.start()
            assert place.client.get(paths[0]).status_code == 200
            assert place.add().status_code == 201
    finally:
        own.destroy()


def test_a_server_that_starts_before_its_database(cluster: EmbeddedCluster, template_database: str, tmp_path: Path) -> None:
    nowhere = cluster.url("not_there_yet")
    app = create_app(Settings(home=tmp_path), ServeSettings(pool_size=2), database_url=nowhere)
    with running(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        assert client.get("/healthz").status_code == 200
        answer = client.get("/collections")
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        with psycopg.connect(Database(cluster.admin_url()).conninfo, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE not_there_yet OWNER baige TEMPLATE {template_database} STRATEGY file_copy".encode())
        until(lambda: client.get("/collections?f=json").status_code == 200, 20)
    with psycopg.connect(Database(cluster.admin_url()).conninfo, autocommit=True) as admin:
        admin.execute(b"DROP DATABASE not_there_yet WITH (FORCE)")


def test_pool_used_up_is_503_not_a_wait_without_end(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.reader._PATIENCE_S", 0.5)
    with monkeypatch.context() as slow:
        slow.setattr("api.items.page_sql", lambda *a, **k: Fragment("SELECT pg_sleep(4)::text"))
        with ThreadPoolExecutor(12) as many:
            begun = time.monotonic()
            answers = list(many.map(lambda _: httpx.get(f"{here.url}{ITEMS}?limit=3", timeout=30), range(12)))
            took = time.monotonic() - begun
    refused = [a for a in answers if a.status_code == 503]
    assert len(refused) >= 8 - 1
    assert all(a.headers["retry-after"] for a in refused)
    assert took < 25
    assert here.client.get(f"{ITEMS}?limit=3").status_code == 200


def test_runaway_query_is_ended(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    served = here.app.state.baige
    monkeypatch.setattr(served, "serve", served.serve.model_copy(update={"statement_timeout_s": 0.5}))
    monkeypatch.setattr("api.items.page_sql", lambda *a, **k: Fragment("SELECT count(*)::text FROM generate_series(1, 10000000000) AS runaway"))
    answer = here.client.get(f"{ITEMS}?limit=4")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%%runaway%%' AND state = 'active' AND pid <> pg_backend_pid()"

    def ended() -> bool:
        with here.database.begin() as connection:
            return connection.exec_driver_sql(running).scalar_one() == 0

    until(ended, 5)


# -- two writers -------------------------------------------------------------------------------------------------------------------


def test_two_writers_on_one_feature(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two changes to the same version one is taken and one refused; a change that cannot get at the feature is told so in time."""
    address = f"{ITEMS}/{here.add().headers['location'].rsplit('/', 1)[1]}"
    patch = {"Content-Type": "application/merge-patch+json"}
    for step in range(10):
        tag = here.client.get(address).headers["etag"]

        def change(name: str, tag: str = tag) -> int:
            body = json.dumps({"properties": {"name_zh": name}})
            return here.client.patch(address, content=body, headers={**patch, "If-Match": tag}).status_code

        with ThreadPoolExecutor(2) as both:
            assert sorted(both.map(change, (f"a{step}", f"b{step}"))) == [204, 412]
    monkeypatch.setattr("api.edits._LOCK_TIMEOUT", "300ms")
    with here.database.begin() as holding:
        holding.execute(sa.text("SELECT 1 FROM baige.stall WHERE id = :i FOR UPDATE"), {"i": address.rsplit("/", 1)[1]})
        answer = here.client.patch(address, content=json.dumps({"properties": {"name_zh": "c"}}), headers=patch)
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert "Another change" in answer.json()["detail"]
        assert here.client.get(address).status_code == 200  # readers do not wait
    assert here.client.patch(address, content=json.dumps({"properties": {"name_zh": "c"}}), headers=patch).status_code == 204


# -- clocks ------------------------------------------------------------------------------------------------------------------------


def test_a_clock_set_back_does_not_double_a_feature(here: Site) -> None:
    """As if the last write had been made while the clock was an hour ahead: the next one is not older, and each moment has one version."""
    address = f"{ITEMS}/{here.add().headers['location'].rsplit('/', 1)[1]}"
    number = address.rsplit("/", 1)[1]
    patch = {"Content-Type": "application/merge-patch+json"}
    with psycopg.connect(here.database.conninfo, autocommit=True) as owner:
        owner.execute("ALTER TABLE baige.stall DISABLE TRIGGER USER")
        owner.execute("UPDATE baige.stall SET changed_at = now() + interval '1 hour' WHERE id = %s", (number,))
        owner.execute("ALTER TABLE baige.stall ENABLE TRIGGER USER")
        for name in ("甲", "乙"):
            assert here.client.patch(address, content=json.dumps({"properties": {"name_zh": name}}), headers=patch).status_code == 204
        assert here.client.get(address).json()["properties"]["name_zh"] == "乙"
        assert here.client.delete(address).status_code == 204
        rows = owner.execute("SELECT changed_at, replaced_at FROM baige_history.stall WHERE id = %s ORDER BY changed_at", (number,)).fetchall()
    assert len(rows) == 3
    assert all(begin <= end for begin, end in rows)
    real = [(begin, end) for begin, end in rows if begin < end]
    assert all(earlier[1] <= later[0] for earlier, later in itertools.pairwise(real))


# -- slow clients, many clients ----------------------------------------------------------------------------------------------------


def closed(connection: socket.socket, seconds: float) -> bytes:
    """What comes until the server closes the connection."""
    connection.settimeout(seconds)
    got = b""
    while part := connection.recv(65536):
        got += part
    connection.close()
    return got


def test_slow_heads_are_cut_off(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.patience.HEAD_S", 0.7)
    silent = here.raw(b"")
    dripping = here.raw(b"GET / HTTP/1.1\r\nHost: x\r\n")
    begun = time.monotonic()
    with pytest.raises(OSError):  # noqa: PT011 - reset or broken pipe, as the system likes
        for _ in range(100):
            dripping.sendall(b"X-A: b\r\n")
            time.sleep(0.1)
    assert time.monotonic() - begun < 8
    dripping.close()
    assert closed(silent, 10) == b""
    # a second request on a kept connection as well
    kept = here.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    kept.settimeout(10)
    assert b"200" in kept.recv(65536)
    kept.sendall(b"GET /hea")
    assert closed(kept, 10) == b""
    assert here.client.get("/healthz").status_code == 200


def test_a_body_that_does_not_come_is_408(here: Site) -> None:
    head = f"POST {ITEMS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/geo+json\r\nX-API-Key: {here.key}\r\nContent-Length: 1000\r\n\r\n"
    connection = here.raw(head.encode() + b'{"type":')
    assert b" 408 " in closed(connection, 20).split(b"\r\n")[0]


def test_an_answer_that_is_not_taken_frees_its_connection(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that ask for a long file and do not read it: more of them than there are database connections."""
    with here.database.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO baige.stall (name_zh, admin_code, classification, geom)"
            " SELECT repeat('很长的名字', 30), '420502001001', 'public', ST_SetSRID(ST_MakePoint(111.3, 30.7), 4490) FROM generate_series(1, 30000)"
        )
    lazy = []
    for _ in range(6):
        connection_ = socket.socket()
        connection_.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection_.connect(here.address)
        connection_.sendall(f"GET {ITEMS}?f=csv HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        lazy.append(connection_)

    def free() -> bool:
        with here.database.begin() as asking:
            held = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'baige-api' AND state <> 'idle'"
            return asking.exec_driver_sql(held).scalar_one() == 0

    try:
        until(free, 40)
        assert here.client.get(f"{ITEMS}?limit=1").status_code == 200
    finally:
        for connection_ in lazy:
            connection_.close()


def test_a_thousand_open_connections(here: Site) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192) if hard > 0 else 8192, hard))
    held = []
    try:
        for _ in range(1000):
            held.append(here.raw(b""))
        begun = time.monotonic()
        assert here.client.get(f"{ITEMS}?limit=1").status_code == 200
        assert time.monotonic() - begun < 20
        for connection in held[::100]:  # and each of them is served when it asks
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b" 200 " in closed(connection, 30).split(b"\r\n")[0]
    finally:
        for connection in held:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
