"""Tiles made ahead of time: the server takes them, and they are those that it would have made, whoever made them, however often it was broken off."""

import json
import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pyogrio
import pytest
import shapely
import sqlalchemy as sa
from click.testing import CliRunner

from api.cli import main
from api.settings import ServeSettings
from api.tile_seed import area_box, seed, tiles_in
from api.tiles import TILES
from gis.errors import ConfigError, InputError, LimitExceeded, NotFound
from layers.access import Principal
from layers.query.tilegrid import MATRIX_SETS
from tests.integration.test_api.conftest import running

BOX = (111.25, 30.65, 111.35, 30.75)
OFFICER = Principal("officer", district="420502")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def came_from() -> dict[str, float]:
    return {s.labels["source"]: s.value for m in TILES.collect() for s in m.samples if s.name.endswith("_total")}


def features(tile: bytes, tmp_path: Path) -> list[str]:
    """What stands in a tile, as GDAL reads it, in an order of its own."""
    path = tmp_path / f"{uuid.uuid4().hex}.pbf"
    path.write_bytes(tile)
    frame = pyogrio.read_dataframe(path)
    frame["place"] = frame.geometry.to_wkt()
    return sorted(json.dumps(row, sort_keys=True, default=str) for row in frame.drop(columns="geometry").to_dict("records"))


@contextmanager
def served_twice(served: Any, serve: ServeSettings) -> Iterator[tuple[str, str]]:
    """Addresses of a server that has the files, and of one that makes each tile itself."""
    url = served.database.url.render_as_string(hide_password=False)
    options = {"tile_timeout_s": 60}
    with (
        running(served.state.settings, url, tile_store=serve.tile_store, **options) as (filled, _),
        running(served.state.settings, url, **options) as (bare, _),
    ):
        yield filled, bare


@pytest.fixture
def serve(tmp_path: Path) -> ServeSettings:
    return ServeSettings(tile_store=tmp_path / "tiles")


@pytest.mark.parametrize("name", MATRIX_SETS)
def test_the_tiles_of_a_box_are_those_that_meet_it(name: str) -> None:
    """Against every tile of a level looked at by itself, its outline taken to degrees."""
    from pyproj import Transformer

    box = (100.0, -20.0, 120.5, 41.0)
    to_degrees = Transformer.from_crs(MATRIX_SETS[name].srid, 4326, always_xy=True)
    for z in (0, 1, 4):
        found = MATRIX_SETS[name]
        every = [found.tile(z, x, y) for x in range(found.columns0 << z) for y in range(found.rows0 << z)]
        wanted = set()
        for tile in every:
            west, south, east, north = tile.bounds
            (x0, x1), (y0, y1) = to_degrees.transform([west, east], [south, north])
            if min(x1, box[2]) > max(x0, box[0]) and min(y1, box[3]) > max(y0, box[1]):
                wanted.add((z, tile.x, tile.y))
        assert set(tiles_in(name, box, [z])) == wanted


@pytest.mark.parametrize("layer", ["kiosk", "plot_local"])
@pytest.mark.parametrize("who", [Principal("public"), OFFICER], ids=["public", "officer"])
def test_the_server_takes_what_was_made_and_would_have_made_the_same(served: Any, serve: ServeSettings, layer: str, who: Principal) -> None:
    done = seed(served.database, serve, layer, zooms=[9, 12], box=BOX, principal=who)
    tiles = list(tiles_in("WebMercatorQuad", BOX, [9, 12]))
    assert (done.tiles, done.made, done.there, done.left_out, done.changed) == (len(tiles), len(tiles), 0, 0, False)
    assert len(tiles) >= 5 and done.size > 1000
    headers = {"X-API-Key": served.keys["officer"]} if who is OFFICER else {}
    with served_twice(served, serve) as (filled, bare):
        for z, x, y in tiles:
            path, before = f"/collections/{layer}/tiles/WebMercatorQuad/{z}/{y}/{x}", came_from()
            answer = httpx.get(filled + path, headers=headers, timeout=60)
            assert {name for name, value in came_from().items() if value > before.get(name, 0)} == {"files"}
            assert answer.content == httpx.get(bare + path, headers=headers, timeout=60).content
        if who is OFFICER:  # what was made for one is nobody else's
            before = came_from()
            httpx.get(filled + path, timeout=60)
            assert came_from()["database"] == before["database"] + 1


def test_a_run_that_was_broken_off_goes_on_and_a_change_makes_new_tiles(served: Any, serve: ServeSettings) -> None:
    class Broken(Exception):
        pass

    def half(done: int, total: int) -> None:
        if done > total / 3:
            raise Broken

    with pytest.raises(Broken):
        seed(served.database, serve, "kiosk", zooms=range(8, 17), box=BOX, workers=1, progress=half)
    first = len(files(serve.tile_store))
    again = seed(served.database, serve, "kiosk", zooms=range(8, 17), box=BOX)
    assert 0 < first < again.tiles
    assert (again.made, again.there) == (again.tiles - first, first)
    assert seed(served.database, serve, "kiosk", zooms=range(8, 17), box=BOX).there == again.tiles
    with served.database.begin() as connection:
        connection.execute(sa.text("UPDATE baige.kiosk SET label = label WHERE id = :i"), {"i": served.rows["kiosk"][0]["id"]})
    changed = seed(served.database, serve, "kiosk", zooms=[8], box=BOX)
    assert (changed.made, changed.there) == (changed.tiles, 0)


def test_a_change_meanwhile_is_told_and_nothing_is_kept_under_a_wrong_state(served: Any, serve: ServeSettings) -> None:
    known = served.rows["kiosk"][1]

    def change(done: int, total: int) -> None:
        if 0 < done < total and not changed:
            changed.append(done)
            with served.database.begin() as connection:
                connection.execute(sa.text("UPDATE baige.kiosk SET state = 'off', label = '中途' WHERE id = :i"), {"i": known["id"]})

    changed: list[int] = []
    try:
        done = seed(served.database, serve, "kiosk", zooms=range(8, 17), box=BOX, workers=1, progress=change)
        assert changed and done.changed and done.made == done.tiles
        with served_twice(served, serve) as (filled, bare):
            for z, x, y in tiles_in("WebMercatorQuad", BOX, [9, 12, 13]):
                path = f"/collections/kiosk/tiles/WebMercatorQuad/{z}/{y}/{x}"
                assert httpx.get(filled + path, timeout=60).content == httpx.get(bare + path, timeout=60).content
        assert not seed(served.database, serve, "kiosk", zooms=range(8, 17), box=BOX).changed
    finally:
        with served.database.begin() as connection:
            connection.execute(
                sa.text("UPDATE baige.kiosk SET state = :s, label = :l WHERE id = :i"),
                {"s": known["state"], "l": known["label"], "i": known["id"]},
            )


def test_what_makes_no_sense_is_refused(served: Any, serve: ServeSettings) -> None:
    with pytest.raises(ConfigError):
        seed(served.database, ServeSettings(tile_store=None), "kiosk", zooms=[8])
    with pytest.raises(InputError):
        seed(served.database, serve, "camera_site", zooms=[8])  # the public sees no camera's place
    with pytest.raises(InputError):
        seed(served.database, serve, "kiosk", zooms=[23])
    with pytest.raises(LimitExceeded):
        seed(served.database, serve, "kiosk", zooms=[20], box=(100.0, 20.0, 120.0, 40.0))
    with pytest.raises(NotFound):
        seed(served.database, serve, "nothing", zooms=[8])
    with pytest.raises(NotFound):
        area_box(served.database, "999999")
    assert seed(served.database, serve, "outfall", zooms=[8]).tiles == 0  # a layer without features


@pytest.fixture
def cluster_of(served: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Starts a dask cluster whose workers find the database by their own settings."""
    from dask.distributed import LocalCluster

    monkeypatch.setenv("BAIGE_DATABASE_URL", served.database.url.render_as_string(hide_password=False))
    running_ones = []

    def start(workers: int) -> Any:
        made = LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0", host="127.0.0.1", silence_logs=60)
        running_ones.append(made)
        for nanny in made.workers.values():
            nanny.auto_restart = False
        return made

    yield start
    for made in running_ones:
        made.close()


@pytest.mark.parametrize("workers", [2, 4])
def test_a_cluster_makes_the_same_tiles_one_worker_killed_in_the_middle(served: Any, tmp_path: Path, cluster_of: Any, workers: int) -> None:
    from dask.distributed import Client

    here, there = (ServeSettings(tile_store=tmp_path / name) for name in ("here", "there"))
    with served.database.begin() as connection:
        connection.exec_driver_sql("ANALYZE baige.kiosk")
    seed(served.database, here, "kiosk", zooms=range(8, 17), box=BOX)
    cluster, killed = cluster_of(workers), []
    with Client(cluster.scheduler_address, set_as_default=False) as client:
        pids = client.run(os.getpid)

        def kill_one(done: int, total: int) -> None:
            busy = [worker for worker, keys in client.processing().items() if keys]
            if 0 < done < total and busy and not killed:
                killed.append(pids[busy[0]])
                os.kill(killed[0], signal.SIGKILL)

        done = seed(served.database, there, "kiosk", zooms=range(8, 17), box=BOX, scheduler=cluster.scheduler_address, progress=kill_one)
        left = set(client.run(os.getpid).values())
    assert len(killed) == 1 and killed[0] not in left
    assert done.made + done.there == done.tiles and not done.changed
    ours, theirs = files(here.tile_store), files(there.tile_store)
    assert len(ours) == done.tiles and set(ours) == set(theirs)
    for name, data in ours.items():
        if data != theirs[name]:  # PostgreSQL may give the same features in another order
            assert features(data[16:], tmp_path) == features(theirs[name][16:], tmp_path)


def test_a_worker_with_another_database_is_found_out(
    served: Any, serve: ServeSettings, cluster_of: Any, monkeypatch: pytest.MonkeyPatch, fresh_database: Any
) -> None:
    monkeypatch.setenv("BAIGE_DATABASE_URL", fresh_database.url.render_as_string(hide_password=False))
    with pytest.raises(ConfigError, match="another database"):
        seed(served.database, serve, "kiosk", zooms=[8], box=BOX, scheduler=cluster_of(1).scheduler_address)
    assert files(serve.tile_store) == {}


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_command(served: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lang: str) -> None:
    monkeypatch.setenv("BAIGE_DATABASE_URL", served.database.url.render_as_string(hide_password=False))
    monkeypatch.setenv("BAIGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BAIGE_SERVE_TILE_STORE", str(tmp_path / "tiles"))

    def call(*words: str) -> Any:
        return CliRunner().invoke(main, [*words[:1], "--lang", lang, *words[1:]])

    with served.database.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO baige.admin_area (admin_code, name_zh, level, classification, geom) VALUES"
                    " ('420502000000', '区', 'county', 'public', ST_Multi(ST_SetSRID(ST_GeomFromText(:g), 4490)))"),
            {"g": shapely.box(*BOX).wkt},
        )  # fmt: skip
    try:
        done = call("--json", "tiles", "seed", "kiosk", "plot_wgs", "--zoom", "9-12", "--area", "420502000000")
        assert done.exit_code == 0, done.output
        rows = json.loads(done.stdout)["layers"]
        tiles = len(list(tiles_in("WebMercatorQuad", BOX, range(9, 13))))
        assert [(r["layer"], r["tiles"], r["made"], r["there"]) for r in rows] == [(name, tiles, tiles, 0) for name in ("kiosk", "plot_wgs")]
        again = call("tiles", "seed", "kiosk", "--zoom", "9-12", "--bbox", ",".join(map(str, BOX)))
        assert again.exit_code == 0 and ("were there" if lang == "en" else "已有") in again.stdout
    finally:
        with served.database.begin() as connection:
            connection.execute(sa.text("DELETE FROM baige.admin_area WHERE admin_code = '420502000000'"))
    for wrong in (["--zoom", "9-"], ["--zoom", "x"], ["--zoom", "9-8"], ["--bbox", "1,2,3"], ["--bbox", "9,9,1,1"], ["--area", "x"],
                  ["--area", "4205", "--bbox", "1,2,3,4"], ["--zoom", "99"], ["--set", "x"]):  # fmt: skip
        assert call("tiles", "seed", "kiosk", *wrong).exit_code in (1, 2), wrong
