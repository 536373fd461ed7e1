"""A streaming replica on this machine: reads go to it and are never older than the request, whatever becomes of it."""

import random
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import geopandas
import httpx
import psycopg
import pyogrio
import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY
from starlette.datastructures import Headers, QueryParams

from api.access import hash_secret, new_key
from api.asking import read_items
from api.crs import layer_crs
from api.formats import write_file
from api.jobs import child
from api.replica import Offer, offer_of
from gis.settings import Settings
from layers.access import Principal
from layers.catalogue import built_in
from layers.changes import change_set
from layers.cluster import SUPERUSER, EmbeddedCluster
from layers.cluster_external import libpq_url
from layers.database import Database
from layers.migrate import upgrade
from layers.query.source import Source
from tests.integration.test_api.conftest import running

ITEMS = "/collections/camera_site/items"


def ask(url: str, question: str) -> Any:
    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        cursor = connection.execute(question.encode())
        return cursor.fetchone()[0] if cursor.description else None  # type: ignore[index]


def until(found: Callable[[], Any], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def answered() -> dict[str, float]:
    """Questions by who answered them, so far."""
    return {s.labels["where"]: s.value for m in REGISTRY.collect() if m.name == "baige_reads" for s in m.samples if s.name.endswith("_total")}


@dataclass
class Pair:
    """Primary and replica, two servers that read from the replica, and a planner's key."""

    primary: EmbeddedCluster
    standby: EmbeddedCluster
    one: httpx.Client
    two: httpx.Client

    def standby_url(self, *, admin: bool = True) -> str:
        return self.standby.admin_url("city") if admin else self.standby.url("city")

    def source(self) -> Source:
        return Source.of(built_in()["building"], 4490, "planner")

    def caught_up(self) -> None:
        place = ask(self.primary.admin_url("city"), "SELECT pg_current_wal_flush_lsn()::text")
        until(lambda: ask(self.standby_url(), f"SELECT pg_last_wal_replay_lsn() >= '{place}'"))

    def count_of(self, act: Callable[[], Any]) -> dict[str, int]:
        """Who answered the questions of an act."""
        before = answered()
        act()
        return {where: int(value - before.get(where, 0)) for where, value in answered().items() if value > before.get(where, 0)}


def make_standby(primary: EmbeddedCluster, home: Path) -> EmbeddedCluster:
    standby = EmbeddedCluster(home)
    user, installation = primary._user(), primary._installation()
    with standby._locked():
        standby._place(user)
        words = ["-h", primary._socket_dir(), "-U", SUPERUSER, "-D", standby.data_dir, "-R", "-X", "stream", "-c", "fast"]
        done = user.run(installation.bindir / "pg_basebackup", *words)
        assert done.returncode == 0, done.stderr
        standby._start(user)
    return standby


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    folder = Path(tempfile.mkdtemp(prefix="bgr-"))
    folder.chmod(0o755)
    primary = EmbeddedCluster(folder / "a")
    standby = EmbeddedCluster(folder / "b")
    database: Database | None = None
    try:
        primary.init()
        conf = primary.data_dir / "local.conf"
        conf.write_text("wal_level = replica\nmax_wal_senders = 4\nhot_standby_feedback = on\nmax_connections = 100\n")
        conf.chmod(0o644)
        primary.start()
        database = Database(primary.create_database("city"))
        upgrade(database)
        key_id, key = new_key()
        with database.begin() as connection, change_set(connection, layer="building", action="load") as change:
            connection.execute(
                sa.text("INSERT INTO baige_sys.api_key (id, secret_sha256, role, district) VALUES (:i, :s, 'planner', '')"),
                {"i": key_id, "s": hash_secret(key)},
            )
            connection.execute(
                sa.text(
                    "INSERT INTO baige.building (name_zh, admin_code, classification, height_m, geom, change_id) SELECT"
                    " '楼' || n, '420502001001', 'public', 9, ST_Multi(ST_Expand(ST_SetSRID(ST_MakePoint(111.2 + n / 1e4, 30.7), 4490), 0.0002)), :c"
                    " FROM generate_series(1, 500) n"
                ),
                {"c": change.id},
            )
        standby = make_standby(primary, folder / "b")
        url = database.url.render_as_string(hide_password=False)
        settings = Settings(home=folder / "home", database_read_url=standby.url("city"))  # type: ignore[arg-type]
        with (
            running(settings, url) as (one, _), running(settings, url) as (two, _),
            httpx.Client(base_url=one, headers={"X-API-Key": key}, timeout=60) as first,
            httpx.Client(base_url=two, headers={"X-API-Key": key}, timeout=60) as second,
        ):  # fmt: skip
            yield Pair(primary, standby, first, second)
    finally:
        if database is not None:
            database.dispose()
        standby.destroy()
        primary.destroy()
        shutil.rmtree(folder, ignore_errors=True)


def feature(number: int) -> dict[str, Any]:
    return {"type": "Feature", "geometry": {"type": "Point", "coordinates": [111.3, 30.7]},
            "properties": {"device_code": f"4205020000131{number:07d}", "name_zh": "起点", "admin_code": "420502001001"}}  # fmt: skip


BUILDINGS = "/collections/building/items"
READS = {
    "page": f"{BUILDINGS}?limit=7", "ordered": f"{BUILDINGS}?limit=7&sortby=name_zh", "filter": f"{BUILDINGS}?filter=height_m=9",
    "part as text": f"{BUILDINGS}?f=csv&limit=3", "all as text": f"{BUILDINGS}?f=csv", "runs": "/portal/config.json",
    "tile": "/collections/building/tiles/WebMercatorQuad/12/1675/3313",
    **{f"file {form}": f"{BUILDINGS}?f={form}" for form in ("parquet", "gpkg", "fgb", "xlsx")}, "part of a file": f"{BUILDINGS}?f=parquet&limit=9",
}  # fmt: skip


@pytest.mark.parametrize("what", READS)
def test_what_users_ask_is_answered_by_the_replica(pair: Pair, what: str) -> None:
    pair.caught_up()
    found = pair.count_of(lambda: pair.one.get(READS[what]).raise_for_status())
    assert found.get("replica", 0) >= 1
    assert set(found) == {"replica"}, found


def conninfo(cluster: EmbeddedCluster) -> str:
    return Database(cluster.url("city")).conninfo


def scans(url: str) -> int:
    """How often the buildings were read on a server, so far."""
    return int(ask(url, "SELECT coalesce(seq_scan, 0) + coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relid = 'baige.building'::regclass"))


@pytest.mark.parametrize("form", ["parquet", "gpkg", "fgb", "job"])
def test_files_come_from_the_replica_and_hold_what_the_primary_has(pair: Pair, form: str, tmp_path: Path) -> None:
    """By PostgreSQL's own account of who read the table, not by ours."""
    pair.caught_up()
    primary, standby = pair.primary.admin_url("city"), pair.standby_url()
    settings = Settings(home=tmp_path, database_read_url=pair.standby.url("city"))  # type: ignore[arg-type]
    before = scans(primary), scans(standby)
    if form == "job":
        database = Database(pair.primary.url("city"))
        job = {"id": uuid.uuid4(), "role": "planner", "district": "", "key_id": "", "inputs": {"collection": "building", "format": "gpkg"}}
        path = tmp_path / "jobs" / child._export(settings, database, job)["file"]
        until(lambda: scans(standby) > before[1])
        assert scans(primary) == before[0]
        child._export(Settings(home=tmp_path), database, job)  # told of no replica: the account is worth something
        until(lambda: scans(primary) > before[0])
        database.dispose()
    else:
        path = tmp_path / f"file.{form}"
        asked = read_items(
            pair.source(), QueryParams({"f": form}), Headers({}), offered=layer_crs(4490, 4546), limit_default=10, limit_max=10,
        )  # fmt: skip
        offer = offer_of(conninfo(pair.standby), conninfo(pair.primary), patience_s=5)
        assert offer is not None
        made = write_file(conninfo(pair.primary), Principal("planner"), asked, replica=offer)
        until(lambda: scans(standby) > before[1])
        assert scans(primary) == before[0]
        shutil.move(made, path)
    frame = geopandas.read_parquet(path) if form == "parquet" else pyogrio.read_dataframe(path)
    assert sorted(frame["name_zh"]) == sorted(f"楼{n}" for n in range(1, 501))


def test_a_file_is_never_older_than_a_change_and_never_missed(pair: Pair, tmp_path: Path) -> None:
    """While replay stands still, and where the replica goes between the offer and the reading."""
    url, path = conninfo(pair.primary), ITEMS

    def codes(client: httpx.Client, form: str = "parquet") -> set[str]:
        target = tmp_path / f"{uuid.uuid4().hex}.{form}"
        answer = client.get(f"{path}?f={form}")
        assert answer.status_code == 200, answer.text
        target.write_bytes(answer.content)
        frame = geopandas.read_parquet(target) if form == "parquet" else pyogrio.read_dataframe(target)
        return set(frame["device_code"])

    pair.caught_up()
    for number in range(10, 20):
        body = feature(number)
        assert pair.one.post(ITEMS, json=body, headers={"Content-Type": "application/geo+json"}).status_code == 201
        assert body["properties"]["device_code"] in codes(pair.two) & codes(pair.one, "gpkg")
    pair.caught_up()
    stale = offer_of(conninfo(pair.standby), url, patience_s=5)
    assert stale is not None
    ask(pair.standby_url(), "SELECT pg_wal_replay_pause()")
    until(lambda: ask(pair.standby_url(), "SELECT pg_get_wal_replay_pause_state()") == "paused")
    try:
        body = feature(20)
        assert pair.one.post(ITEMS, json=body, headers={"Content-Type": "application/geo+json"}).status_code == 201
        assert body["properties"]["device_code"] in codes(pair.two)
        assert offer_of(conninfo(pair.standby), url, patience_s=0.2) is None
    finally:
        ask(pair.standby_url(), "SELECT pg_wal_replay_resume()")
    assert offer_of(url, url, patience_s=0.2) is None, "a primary is no replica"
    asked = read_items(pair.source(), QueryParams({"f": "parquet"}), Headers({}), offered=layer_crs(4490, 4546), limit_default=10, limit_max=10)
    ahead = Offer(stale.conninfo, stale.place + 10**12)  # one that has lost what it had, as after a restart from an older copy
    for offer in (ahead, Offer(url, 0), Offer("host=127.0.0.1 port=1 connect_timeout=1", 0)):
        made = Path(write_file(url, Principal("planner"), asked, replica=offer))
        assert len(geopandas.read_parquet(made)) == 500
        made.unlink()
    for item in pair.one.get(f"{ITEMS}?limit=100").json()["features"]:
        assert pair.one.delete(f"{ITEMS}/{item['id']}").status_code == 204


def test_answers_are_those_of_the_primary(pair: Pair) -> None:
    pair.caught_up()
    page = pair.one.get("/collections/building/items?limit=1000").json()
    assert (page["numberMatched"], len(page["features"])) == (500, 500)
    assert ask(pair.standby_url(), "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'baige-api-read'") >= 2
    assert "permission" not in pair.one.get(f"{ITEMS}?limit=1").text
    public = httpx.get(f"{pair.one.base_url}/collections/camera_site/items", params={"filter": "device_code = '1'"}, timeout=60)
    assert public.status_code == 400  # the asker's role holds on the replica, too


def test_a_read_is_never_older_than_any_change_before_it(pair: Pair) -> None:
    """A hundred changes by either server, each read at once by the other and by itself; some replayed in time, some not."""
    made = pair.one.post(ITEMS, json=feature(1), headers={"Content-Type": "application/geo+json"})
    assert made.status_code == 201, made.text
    place, rng, seen = made.headers["location"].partition("/collections")[2], random.Random(7), {}
    path = f"/collections{place}"

    def act() -> None:
        for turn in range(100):
            writer, reader = rng.sample([pair.one, pair.two], 2)
            label = f"第{turn}次"
            changed = writer.patch(path, json={"properties": {"name_zh": label}}, headers={"Content-Type": "application/merge-patch+json"})
            assert changed.status_code == 204, changed.text
            for client in (reader, writer):
                assert client.get(path).json()["properties"]["name_zh"] == label
                page = client.get(f"{ITEMS}?limit=5", headers={"If-None-Match": seen.get(client, '"x"')})
                assert page.status_code == 200 and page.json()["features"][0]["properties"]["name_zh"] == label
                seen[client] = page.headers["etag"]
                assert label in client.get(f"{ITEMS}?f=csv").text

    found = pair.count_of(act)
    assert sum(found.values()) >= 600 and found.get("replica", 0) > 0, found
    assert pair.one.delete(path).status_code == 204
    assert pair.two.get(path).status_code == 404


def test_a_replica_that_stands_still_is_passed_over_and_taken_up_again(pair: Pair) -> None:
    pair.caught_up()
    ask(pair.standby_url(), "SELECT pg_wal_replay_pause()")
    until(lambda: ask(pair.standby_url(), "SELECT pg_get_wal_replay_pause_state()") == "paused")
    try:
        made = pair.one.post(ITEMS, json=feature(2), headers={"Content-Type": "application/geo+json"})
        path = "/collections" + made.headers["location"].partition("/collections")[2]
        assert ask(pair.standby_url(), "SELECT count(*) FROM baige.camera_site") == 0  # it really does not know of it
        found = pair.count_of(lambda: pair.two.get(path).raise_for_status())
        assert found == {"primary: replica behind": 1}
        assert pair.two.get(f"{ITEMS}?limit=5").json()["numberMatched"] == 1
        assert made.headers["location"].rsplit("/", 1)[1] in pair.two.get(f"{ITEMS}?f=csv").text
    finally:
        ask(pair.standby_url(), "SELECT pg_wal_replay_resume()")
    pair.caught_up()
    assert pair.count_of(lambda: pair.two.get(path).raise_for_status()) == {"replica": 1}
    assert pair.one.delete(path).status_code == 204


def test_a_replica_that_dies_is_missed_by_nobody(pair: Pair) -> None:
    pair.caught_up()
    statuses: list[int] = []
    stop: list[bool] = []

    def hammer() -> None:
        while not stop:
            statuses.append(pair.two.get("/collections/building/items?limit=3").status_code)

    thread = Thread(target=hammer)
    thread.start()
    try:
        assert pair.standby.stop()
        found = pair.count_of(lambda: [pair.one.get("/collections/building/items?limit=3").raise_for_status() for _ in range(5)])
        assert found.get("primary: replica gone", 0) >= 5
        assert pair.one.get("/readyz").status_code == 200
        with pair.standby._locked():
            pair.standby._start(pair.standby._user())

        def back() -> bool:
            return "replica" in pair.count_of(lambda: pair.one.get("/collections/building/items?limit=3").raise_for_status())

        until(back, 60)
    finally:
        stop.append(True)
        thread.join()
    assert len(statuses) > 10 and set(statuses) == {200}


def test_what_is_no_replica_of_ours_is_never_read(pair: Pair, cluster: EmbeddedCluster, template_database: str) -> None:
    """The address of a primary, ours or a stranger's: with the same tables, it would be believed."""
    for wrong in (pair.primary.url("city"), cluster.url(template_database)):
        settings = Settings(home=pair.primary.home.parent / "home", database_read_url=wrong)  # type: ignore[arg-type]
        with running(settings, pair.primary.url("city")) as (address, _):
            found = pair.count_of(lambda at=address: httpx.get(f"{at}/collections/building/items?limit=3", timeout=60).raise_for_status())
            assert set(found) == {"primary: replica gone"}
