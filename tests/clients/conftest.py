"""The small reference city behind ``baige serve``, for clients that are heavy to install: ``make test-clients``.

Nothing here skips: a client that is missing fails its test.
"""

import contextlib
import os
import re
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
import sqlalchemy as sa

from layers.changes import change_set
from layers.cluster import EmbeddedCluster
from layers.database import Database
from layers.declaration import FieldDeclaration, LayerDeclaration
from layers.registry import catalogue


@dataclass(frozen=True)
class Town:
    """A served city.

    Attributes
    ----------
    url, public_url : str
        Addresses of a server where everybody is an admin, and of one where everybody is the public.
    recorder : Recorder
        Stands before the first of them, as a proxy does.
    counts : dict
        Rows of each layer.
    environment : dict
        Under which a command of ours works on the same database.
    """

    url: str
    public_url: str
    database: Database
    counts: dict[str, int]
    environment: dict[str, str]
    recorder: "Recorder"


class Recorder(socketserver.ThreadingTCPServer):
    """Passes the bytes of each connection on to a server and back, and keeps what was sent to it."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        self.port, self.sent = port, list[bytearray]()
        super().__init__(("127.0.0.1", 0), _Passing)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def requests(self) -> list[str]:
        """Paths and queries that were asked for so far."""
        return [path.decode() for sent in self.sent for path in re.findall(rb"^GET (\S+) HTTP", sent, re.MULTILINE)]


class _Passing(socketserver.BaseRequestHandler):
    server: Recorder

    def handle(self) -> None:
        kept = bytearray()
        self.server.sent.append(kept)
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", self.server.port)) as onward:
            back = threading.Thread(target=self._pass, args=(onward, self.request))
            back.start()
            self._pass(self.request, onward, kept)
            back.join()

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket, kept: bytearray | None = None) -> None:
        with contextlib.suppress(ConnectionError, BrokenPipeError):
            while block := source.recv(65536):
                if kept is not None:
                    kept += block
                target.sendall(block)
            target.shutdown(socket.SHUT_WR)


def _value(field: FieldDeclaration) -> str:
    """A value of a required field, as SQL."""
    if field.domain:
        return f"'{field.domain[0].value}'"
    return {
        "int": "1", "num": "1", "bool": "true", "date": "'2026-01-01'", "datetime": "'2026-01-01T00:00:00Z'", "uuid": "gen_random_uuid()",
        "ref": "gen_random_uuid()", "text[]": "ARRAY['a']", "code": f"'{'4' * (field.length or 4)}'",
    }.get(field.type, "'s'")  # fmt: skip


_PLACES = {
    "Point": "POINT(111.3 30.7)", "MultiPoint": "MULTIPOINT((111.3 30.7))", "LineString": "LINESTRING(111.3 30.7, 111.31 30.71)",
    "MultiLineString": "MULTILINESTRING((111.3 30.7, 111.31 30.71))", "LineStringM": "LINESTRING M(111.3 30.7 0, 111.31 30.71 1400)",
    "Polygon": "POLYGON((111.3 30.7, 111.31 30.7, 111.31 30.71, 111.3 30.7))", "Geometry": "POINT(111.3 30.7)",
    "MultiPolygon": "MULTIPOLYGON(((111.3 30.7, 111.31 30.7, 111.31 30.71, 111.3 30.7)))",
}  # fmt: skip


def _give_a_row(database: Database, layer: LayerDeclaration) -> None:
    """One public row for a layer that the city leaves empty (results of analyses that were not run)."""
    values = {f.name: _value(f) for f in layer.all_fields if f.required and f.type != "geometry"}
    with database.begin() as connection, change_set(connection, layer=layer.name, action="load") as change:
        values |= {"id": "gen_random_uuid()", "classification": "'public'", "change_id": str(change.id)}
        if layer.has_geometry:
            values["geom"] = f"ST_GeomFromText('{_PLACES[layer.geometry]}', 4490)"
        names = {"admin_code", "name_zh"} & {f.name for f in layer.all_fields}
        values |= {name: "'420502001001'" if name == "admin_code" else "'合成'" for name in names if name not in values}
        connection.execute(sa.text(f"INSERT INTO baige.{layer.name} ({', '.join(values)}) VALUES ({', '.join(values.values())})"))


def _ready(url: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 120
    while True:
        assert server.poll() is None, "baige serve has ended"
        try:
            if httpx.get(f"{url}/readyz", timeout=30).status_code == 200:
                return
        except httpx.HTTPError:
            assert time.monotonic() < deadline
        time.sleep(0.3)


@pytest.fixture(scope="session")
def town(cluster: EmbeddedCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """The city, built and served; no layer of it is empty for anybody."""
    url, home = cluster.create_database("test_clients"), tmp_path_factory.mktemp("home")
    environment = {**os.environ, "BAIGE_DATABASE_URL": url, "BAIGE_HOME": str(home)}
    baige = [sys.executable, "-m", "api.cli"]
    built = subprocess.run([*baige, "city", "build", "--scale", "small"], env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[-3000:]
    database = Database(url)
    counts = {}
    with database.begin() as connection:
        layers = catalogue(connection)
    for name, layer in layers.items():
        sql = f"SELECT count(*), count(*) FILTER (WHERE classification = 'public') FROM baige.{name}"
        with database.begin() as connection:
            counts[name], public = connection.execute(sa.text(sql)).one()
        if not counts[name]:
            _give_a_row(database, layer)
            counts[name] = 1
        elif not public:
            with database.begin() as connection:
                placed = "WHERE geom IS NOT NULL" if layer.has_geometry else ""
                first = f"SELECT id FROM baige.{name} {placed} LIMIT 1"
                connection.execute(sa.text(f"UPDATE baige.{name} SET classification = 'public' WHERE id = ({first})"))
    ports = {}
    for role in ("admin", "public"):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports[role] = probe.getsockname()[1]
    addresses = {role: f"http://127.0.0.1:{port}" for role, port in ports.items()}
    servers = []
    with Recorder(ports["admin"]) as recorder:
        addresses["admin"] = recorder.url
        threading.Thread(target=recorder.serve_forever, daemon=True).start()
        try:
            for role, port in ports.items():
                words = [*baige, "serve", "--port", str(port), "--public-url", addresses[role], "--no-jobs", "--workers", "1"]
                words += ["--anonymous-role", role]
                servers.append(subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT))
            for role, server in zip(ports, servers, strict=True):
                _ready(addresses[role], server)
            yield Town(addresses["admin"], addresses["public"], database, counts, environment, recorder)
        finally:
            for server in servers:
                server.terminate()
                server.wait(30)
            recorder.shutdown()
            database.dispose()
            shutil.rmtree(home, ignore_errors=True)
