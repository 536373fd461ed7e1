"""Two server processes that share nothing but the database: no stale answer, a new layer in both, memory that stays flat."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pyogrio
import pytest
import sqlalchemy as sa

from api.access import hash_secret, new_key
from layers.changes import change_set
from layers.cluster import EmbeddedCluster
from layers.database import Database
from layers.declaration import LayerDeclaration
from layers.migrate import upgrade
from layers.registry import add_layer

ROWS = 200_000
#: What a process may grow by at its peak while all rows pass through it: some batches of 16 MB, much less than the rows take.
GROWTH_MB = 96


@dataclass(frozen=True)
class Pair:
    """Two servers, their processes, their database, and the key of a planner."""

    addresses: tuple[str, str]
    pids: tuple[int, int]
    database: Database
    key: dict[str, str]


@contextmanager
def serving(environment: dict[str, str]) -> Iterator[tuple[str, int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = {**environment, "BAIGE_SERVE_PUBLIC_URL": url}
    code = f"import uvicorn; from api.app import app_from_environment as f; uvicorn.run(f, factory=True, port={port}, log_level='warning')"
    server = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    try:
        while True:
            try:
                if httpx.get(f"{url}/readyz", timeout=30).status_code == 200:
                    break
            except httpx.HTTPError:
                assert time.monotonic() < deadline
                assert server.poll() is None
                time.sleep(0.3)
        yield url, server.pid
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def pair(cluster: EmbeddedCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two servers over one database of 200,000 buildings."""
    database = Database(cluster.create_database("test_workers"))
    upgrade(database)
    with database.begin() as connection, change_set(connection, layer="building", action="load") as change:
        connection.execute(
            sa.text(
                "INSERT INTO baige.building (name_zh, name_en, admin_code, classification, height_m, geom, change_id)"
                " SELECT '楼' || n, 'Building ' || n, '420502001001', 'public', nullif(n % 90, 0), ST_Multi(ST_Expand(ST_SetSRID(ST_MakePoint("
                " 111.0 + (n % 500) / 1000.0, 30.5 + n / 500 / 1000.0), 4490), 0.0002)), :change FROM generate_series(0, :last) AS n"
            ),
            {"change": change.id, "last": ROWS - 1},
        )
        key_id, key = new_key()
        connection.execute(
            sa.text("INSERT INTO baige_sys.api_key (id, secret_sha256, role, district) VALUES (:i, :s, 'planner', '')"),
            {"i": key_id, "s": hash_secret(key)},
        )
    environment = {
        **os.environ,
        "BAIGE_DATABASE_URL": database.url.render_as_string(hide_password=False),
        "BAIGE_HOME": str(tmp_path_factory.mktemp("home")),
    }
    with ExitStack() as stack:
        (one, one_pid), (two, two_pid) = (stack.enter_context(serving(environment)) for _ in range(2))
        yield Pair((one, two), (one_pid, two_pid), database, {"X-API-Key": key})
    database.dispose()


def test_no_answer_of_the_other_process_is_stale_after_an_edit(pair: Pair) -> None:
    one, two = pair.addresses
    place = {"type": "Point", "coordinates": [111.6, 30.9]}
    body = {"type": "Feature", "geometry": place, "properties": {"device_code": "42050200001320000001", "admin_code": "420502001001",
            "name_zh": "起点", "classification": "public"}}  # fmt: skip
    with httpx.Client(timeout=60, headers=pair.key) as client:
        made = client.post(f"{one}/collections/camera_site/items", json=body, headers={"Content-Type": "application/geo+json"})
        assert made.status_code == 201, made.text
        name = made.headers["location"].rsplit("/", 1)[1]
        addresses = {
            "items": "/collections/camera_site/items?limit=5",
            "item": f"/collections/camera_site/items/{name}",
            "collection": "/collections/camera_site",
            "collections": "/collections",
            "tile": "/collections/camera_site/tiles/WebMercatorQuad/14/6703/13272",
        }
        tags: dict[str, str] = {}
        for turn in range(12):
            writer, reader = (one, two) if turn % 2 else (two, one)
            label = f"第{turn}次"
            patch = {"properties": {"name_zh": label}, "geometry": {"type": "Point", "coordinates": [111.6 + turn / 1000, 30.9]}}
            changed = client.patch(
                f"{writer}/collections/camera_site/items/{name}", json=patch, headers={"Content-Type": "application/merge-patch+json"}
            )
            assert changed.status_code == 204, changed.text
            for what, path in addresses.items():
                answer = client.get(reader + path, headers={"If-None-Match": tags[what]} if what in tags else {})
                if turn and what != "collections":
                    assert answer.status_code in (200, 204), (what, turn)  # 304 would be a stale answer
                if what in ("items", "item"):
                    feature = answer.json() if what == "item" else answer.json()["features"][0]
                    assert feature["properties"]["name_zh"] == label
                    assert feature["geometry"]["coordinates"][0] == pytest.approx(111.6 + turn / 1000)
                if what == "collection":
                    assert answer.json()["extent"]["spatial"]["bbox"][0][0] == pytest.approx(111.6 + turn / 1000, abs=1e-5)
                tags[what] = answer.headers["etag"]
                again = client.get(reader + path, headers={"If-None-Match": tags[what]})
                assert again.status_code == 304, (what, turn)  # and nothing is sent twice
        assert client.delete(f"{one}/collections/camera_site/items/{name}").status_code == 204
        assert client.get(f"{two}/collections/camera_site/items/{name}").status_code == 404
        assert client.get(f"{two}/collections/camera_site/items").json()["numberMatched"] == 0


def test_a_new_layer_is_in_both_within_two_seconds_and_no_request_fails(pair: Pair) -> None:
    name = f"bench_{uuid.uuid4().hex[:8]}"
    layer = LayerDeclaration(name=name, title_zh="长椅", title_en="Benches", geometry="Point", classification="public")
    stop = threading.Event()
    statuses: list[int] = []

    def hammer(address: str) -> None:
        with httpx.Client(base_url=address, timeout=60) as client:
            while not stop.is_set():
                for path in ("/collections/building/items?limit=10", "/collections", "/openapi"):
                    statuses.append(client.get(path, headers={"Accept": "application/json"}).status_code)

    hammering = [threading.Thread(target=hammer, args=(address,)) for address in pair.addresses]
    for thread in hammering:
        thread.start()
    try:
        add_layer(pair.database, layer)
        added = time.monotonic()
        waiting = set(pair.addresses)
        with httpx.Client(timeout=60) as client:
            while waiting:
                for address in sorted(waiting):
                    listed = {c["id"] for c in client.get(f"{address}/collections?f=json").json()["collections"]}
                    paths = client.get(f"{address}/openapi?f=json").json()["paths"]
                    if layer.name in listed and f"/collections/{layer.name}/items" in paths:
                        waiting.discard(address)
                    elif time.monotonic() - added > 2:
                        # answers may be slow on a busy machine: what counts is a question put after two seconds
                        assert layer.name in {c["id"] for c in client.get(f"{address}/collections?f=json").json()["collections"]}
            for address in pair.addresses:
                assert client.get(f"{address}/collections/{layer.name}/items").json()["numberMatched"] == 0
    finally:
        stop.set()
        for thread in hammering:
            thread.join()
    assert len(statuses) > 10
    assert set(statuses) == {200}


def resident_mb(pid: int, name: str) -> float:
    line = next(row for row in Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith(name))
    return int(line.split()[1]) / 1024


@pytest.mark.parametrize("form", ["csv", "fgb", "parquet", "gpkg", "json", "jsonfg"])
def test_memory_stays_flat_while_all_rows_pass(pair: Pair, form: str) -> None:
    address, pid = pair.addresses[0], pair.pids[0]
    path: str | None = f"{address}/collections/building/items?f={form}" + ("&limit=10000" if "json" in form else "")
    count = 0
    with httpx.Client(timeout=300) as client, tempfile.NamedTemporaryFile(suffix=f".{form}") as file:
        # what the libraries take once, and one page of 10,000, do not count
        assert client.get(f"{address}/collections/building/items?f={form}&limit=10000").status_code == 200
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak counts from here
        before = resident_mb(pid, "VmRSS")
        while path is not None:
            following: str | None = None
            with client.stream("GET", path) as answer:
                assert answer.status_code == 200
                if "json" in form:
                    body = answer.read()
                    count += body.count(b'"type":"Feature",')
                    following = answer.links.get("next", {}).get("url")
                else:
                    for piece in answer.iter_bytes(1 << 20):
                        file.write(piece)
            path = following
        grown = resident_mb(pid, "VmHWM") - before
        file.flush()
        if form == "parquet":
            count = pq.read_metadata(file.name).num_rows
        elif "json" not in form:
            count = pyogrio.read_info(file.name, force_feature_count=True)["features"]
    assert count == ROWS
    print(f"{form}: the server grew by {grown:.0f} MB")
    assert grown < GROWTH_MB, f"{form}: {grown:.0f} MB"


