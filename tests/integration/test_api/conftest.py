"""A server over a database with three layers of users, one in each kind of reference system, with all types of fields and gaps in them."""

import datetime as dt
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import shapely
import sqlalchemy as sa
import uvicorn

from api.access import hash_secret, new_key
from api.app import create_app
from api.settings import ServeSettings
from gis.crs import source_crs, transform_geometries
from gis.settings import Settings
from layers.changes import change_set
from layers.cluster import EmbeddedCluster
from layers.database import Database
from layers.declaration import LayerDeclaration
from layers.migrate import upgrade
from layers.partitions import partition_layer
from layers.registry import add_layer

FIELDS: list[dict[str, Any]] = [
    {"name": "label", "type": "text", "title_zh": "标签", "title_en": "Label", "length": 60},
    {"name": "amount", "type": "num", "title_zh": "数量", "title_en": "Amount", "minimum": -1000, "maximum": 1000},
    {"name": "rank", "type": "int", "title_zh": "等级", "title_en": "Rank"},
    {"name": "open", "type": "bool", "title_zh": "开放", "title_en": "Open"},
    {"name": "built", "type": "date", "title_zh": "建成", "title_en": "Built"},
    {"name": "seen_at", "type": "datetime", "title_zh": "巡查", "title_en": "Seen at"},
    {"name": "tags", "type": "text[]", "title_zh": "标记", "title_en": "Tags"},
    {
        "name": "code",
        "type": "code",
        "length": 4,
        "pattern": "^[0-9]{4}$",
        "title_zh": "编码",
        "title_en": "Code",
        "hidden_from": ["public"],
    },
    {
        "name": "state",
        "type": "enum",
        "title_zh": "状态",
        "title_en": "State",
        "domain": [{"value": "on", "zh": "开", "en": "On"}, {"value": "off", "zh": "关", "en": "Off"}],
    },
    {"name": "outline", "type": "geometry", "geometry": "Polygon", "title_zh": "轮廓", "title_en": "Outline"},
]
LAYERS = {
    "kiosk": LayerDeclaration.model_validate(
        {
            "name": "kiosk",
            "title_zh": "亭",
            "title_en": "Kiosks",
            "geometry": "Point",
            "classification": "public",
            "fields": FIELDS,
            "search": ["name_zh", "name_en", "label"],
            "style": {"by": "state", "colors": {"on": "#00ff00", "off": "#ff0000"}},
        }
    ),
    "plot_wgs": LayerDeclaration.model_validate(
        {
            "name": "plot_wgs",
            "title_zh": "地块",
            "title_en": "Plots (WGS 84)",
            "geometry": "Polygon",
            "srid": 4326,
            "classification": "public",
            "fields": FIELDS,
        }
    ),
    "plot_local": LayerDeclaration.model_validate(
        {
            "name": "plot_local",
            "title_zh": "地块（地方）",
            "title_en": "Plots (local)",
            "geometry": "MultiPolygon",
            "srid": 4546,
            "classification": "public",
            "fields": FIELDS,
        }
    ),
}
LABELS = ["Café", "cafe", "Bäckerei", "Imbiss 100%", "Kiosk_1", "西陵书亭", "O'Neill", 'say "hi"', None]
COUNT = 240


@dataclass(frozen=True)
class Served:
    """A running application, its database, the rows that were put in, and a key for each role."""

    client: httpx.Client
    url: str
    database: Database
    rows: dict[str, list[dict[str, Any]]]
    keys: dict[str, str]
    state: Any

    def get(self, path: str, *, role: str | None = None, **params: Any) -> Any:
        """GET an address under a role; the public where none is named."""
        headers = {"X-API-Key": self.keys[role]} if role else {}
        return self.client.get(path, params=params, headers=headers)


def _rows(layer: str, rng: random.Random) -> list[dict[str, Any]]:
    found = []
    for number in range(COUNT):
        lon, lat = round(111.2 + rng.random() * 0.2, 6), round(30.6 + rng.random() * 0.2, 6)
        if layer == "kiosk":
            place: shapely.Geometry = shapely.Point(lon, lat)
        else:
            place = shapely.Polygon([(lon, lat), (lon + 0.01, lat), (lon + 0.01, lat + 0.008), (lon, lat + 0.008)])
        day = dt.date(2015, 1, 1) + dt.timedelta(days=rng.randrange(4000))
        moment = dt.datetime(2020, 1, 1, tzinfo=dt.UTC) + dt.timedelta(minutes=rng.randrange(3_000_000))

        def sometimes(value: Any) -> Any:
            return value if rng.random() > 0.15 else None

        start = sometimes(day)
        found.append(
            {
                "id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
                "name_zh": f"点{number}",
                "name_en": f"Place {number}",
                "label": rng.choice(LABELS),
                "amount": sometimes(rng.randrange(-50, 50) / 4),
                "rank": sometimes(rng.randrange(6)),
                "open": sometimes(rng.random() > 0.5),
                "built": sometimes(day),
                "seen_at": sometimes(moment),
                "tags": sometimes(rng.sample(["a", "b", "c", "d"], rng.randrange(4))),
                "code": f"{number:04d}",
                "state": sometimes(rng.choice(["on", "off"])),
                "valid_from": start,
                "valid_to": start + dt.timedelta(days=rng.randrange(1000)) if start and rng.random() > 0.3 else None,
                "admin_code": f"42050{rng.choice('256')}001001",
                "geom": place,
            }
        )
    return found


def _insert(database: Database, layer: str, rows: list[dict[str, Any]]) -> None:
    declaration = LAYERS[layer]
    srid = declaration.srid or 4490
    with database.begin() as connection, change_set(connection, layer=layer, action="load") as change:
        for row in rows:
            place = transform_geometries([row["geom"]], source_crs(4326), srid)[0]
            if declaration.geometry == "MultiPolygon":
                place = shapely.MultiPolygon([place])
            values = {**row, "geom": place.wkt, "change": change.id}
            names = [n for n in row if n != "geom"]
            connection.execute(
                sa.text(
                    f"INSERT INTO baige.{layer} ({', '.join(names)}, classification, geom, change_id) VALUES"
                    f" ({', '.join(':' + n for n in names)}, 'public', ST_GeomFromText(:geom, {srid}), :change)"
                ),
                values,
            )


@pytest.fixture(scope="session")
def api_database(cluster: EmbeddedCluster) -> Iterator[tuple[Database, dict[str, list[dict[str, Any]]]]]:
    """A database with the layers and their rows."""
    database = Database(cluster.create_database("test_api"))
    upgrade(database)
    rng = random.Random(20260101)
    rows = {}
    for name, declaration in LAYERS.items():
        add_layer(database, declaration)
        rows[name] = _rows(name, rng)
        _insert(database, name, rows[name])
        if os.environ.get("TEST_PARTITIONED"):  # the whole suite over layers in partitions: must make no difference
            partition_layer(database, name)
    yield database, rows
    database.dispose()


@pytest.fixture(scope="session")
def served(
    api_database: tuple[Database, dict[str, list[dict[str, Any]]]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The application over that database."""
    database, rows = api_database
    keys = {}
    with database.begin() as connection:
        for role, district in (("viewer", ""), ("officer", "420502"), ("planner", ""), ("admin", "")):
            key_id, key = new_key()
            keys[role] = key
            connection.execute(
                sa.text("INSERT INTO baige_sys.api_key (id, secret_sha256, role, district) VALUES (:i, :s, :r, :d)"),
                {"i": key_id, "s": hash_secret(key), "r": role, "d": district},
            )
    url = database.url.render_as_string(hide_password=False)
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    with running(settings, url) as (address, app), httpx.Client(base_url=address, timeout=60) as client:
        yield Served(client, address, database, rows, keys, app.state.baige)


@contextmanager
def running(settings: Settings, database_url: str, **more: Any) -> Iterator[tuple[str, Any]]:
    """A server in a thread of this process, on a free port of loopback: its address and its application."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    serve = ServeSettings(**{"public_url": address, "pool_size": 4, **more})
    app = create_app(settings, serve, database_url=database_url)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=2, ws="none", server_header=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        if time.monotonic() > deadline or not thread.is_alive():
            raise RuntimeError("the server did not start")
        time.sleep(0.02)
    try:
        yield address, app
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()
