"""The small reference city behind ``baige serve``, for clients that are heavy to install: ``make test-clients``.

Nothing here skips: a client that is missing fails its test.
"""

import os
import shutil
import socket
import subprocess
import sys
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
    """A served city: its address, its database, and how many rows each layer has."""

    url: str
    database: Database
    counts: dict[str, int]


def _value(field: FieldDeclaration) -> str:
    """A value of a required field, as SQL."""
    if field.domain:
        return f"'{field.domain[0].value}'"
    return {
        "int": "1", "num": "1", "bool": "true", "date": "'2026-01-01'", "datetime": "'2026-01-01T00:00:00Z'", "uuid": "gen_random_uuid()",
        "ref": "gen_random_uuid()", "text[]": "ARRAY['a']", "code": f"'{'4' * (field.length or 4)}'",
    }.get(field.type, "'synthetic'")  # fmt: skip


_PLACES = {
    "Point": "POINT(111.3 30.7)", "MultiPoint": "MULTIPOINT((111.3 30.7))", "LineString": "LINESTRING(111.3 30.7, 111.31 30.71)",
    "MultiLineString": "MULTILINESTRING((111.3 30.7, 111.31 30.71))", "LineStringM": "LINESTRING M(111.3 30.7 0, 111.31 30.71 1400)",
    "Polygon": "POLYGON((111.3 30.7, 111.31 30.7, 111.31 30.71, 111.3 30.7))", "Geometry": "POINT(111.3 30.7)",
    "MultiPolygon": "MULTIPOLYGON(((111.3 30.7, 111.31 30.7, 111.31 30.71, 111.3 30.7)))",
}  # fmt: skip


def _give_a_row(database: Database, layer: LayerDeclaration) -> None:
    """One row for a layer that the city leaves empty (results of analyses that were not run)."""
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
    """The city, built and served; no layer of it is empty."""
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
        with database.begin() as connection:
            counts[name] = int(connection.execute(sa.text(f"SELECT count(*) FROM baige.{name}")).scalar_one())
        if counts[name] == 0:
            _give_a_row(database, layer)
            counts[name] = 1
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [*baige, "serve", "--port", str(port), "--no-jobs", "--anonymous-role", "admin"]
    server = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        _ready(address, server)
        yield Town(address, database, counts)
    finally:
        server.terminate()
        server.wait(30)
        database.dispose()
        shutil.rmtree(home, ignore_errors=True)
