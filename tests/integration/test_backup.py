"""Backup and restore on a real PostGIS: consistent while others write, the same after restoring, and never half done."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psycopg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from rasterio.transform import from_origin

from api.cli import main
from api.tile_store import version_of
from api.tiles import TILES
from gis.errors import BaigeError, ConfigError, Conflict, DataError, NotFound, UnreadableFile
from gis.settings import Settings
from layers.access import Principal
from layers.backup import backup, restore, verify
from layers.backup_archive import read_archive
from layers.backup_server import DatabaseServer
from layers.cluster import EmbeddedCluster
from layers.database import Database
from layers.rasters import add_heights, find_raster
from tests.integration.test_api.conftest import running

SCHEMAS = ("baige", "baige_history", "baige_sys")


def _insert(connection: sa.Connection, code: str, *, name: str = "点") -> None:
    connection.execute(
        sa.text(
            "INSERT INTO baige.camera_site (device_code, admin_code, classification, name_zh, geom)"
            " VALUES (:code, '420502001001', 'internal', :name, ST_SetSRID(ST_Point(111.3, 30.7), 4490))"
        ),
        {"code": code, "name": name},
    )


def _contents(database: Database) -> dict[str, list[str]]:
    """Every row of every table as JSON, sorted: an account of the contents that shares nothing with the checksums."""
    with database.begin() as connection:
        tables = connection.execute(
            sa.text("SELECT schemaname, tablename FROM pg_tables WHERE schemaname = ANY (:s) ORDER BY 1, 2"),
            {"s": list(SCHEMAS)},
        ).all()
        return {
            f"{schema}.{table}": sorted(
                json.dumps(row, sort_keys=True)
                for row in connection.exec_driver_sql(f'SELECT to_jsonb(t) FROM {schema}."{table}" t').scalars()
            )
            for schema, table in tables
        }


def _rights(database: Database) -> dict[str, list[Any]]:
    """Policies, privileges and triggers as the system's catalogues tell them."""
    questions = {
        "policies": "SELECT schemaname, tablename, policyname, roles::text, cmd, qual, with_check FROM pg_policies ORDER BY 1, 2, 3",
        "tables": "SELECT c.oid::regclass::text, relrowsecurity, (SELECT array_agg(a::text ORDER BY a::text)"
        " FROM aclexplode(coalesce(relacl, acldefault('r', relowner))) a) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname LIKE 'baige%' AND relkind = 'r' ORDER BY 1",
        "functions": "SELECT p.oid::regprocedure::text, prosecdef, (SELECT array_agg(a::text ORDER BY a::text)"
        " FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) a) FROM pg_proc p WHERE pronamespace = 'baige_sys'::regnamespace"
        " ORDER BY 1",
        "columns": "SELECT attrelid::regclass::text, attname, a::text FROM pg_attribute, aclexplode(attacl) a ORDER BY 1, 2, 3",
        "triggers": "SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2",
    }
    with database.begin() as connection:
        return {key: [tuple(row) for row in connection.execute(sa.text(text))] for key, text in questions.items()}


@dataclass
class Stage:
    """A database with three cameras, one of them changed since, and a raster; a backup of it; then a fourth camera."""

    database: Database
    server: DatabaseServer
    cluster: EmbeddedCluster
    home: Path
    archive: Path
    backed_up: dict[str, list[str]]

    def codes(self) -> list[str]:
        """Codes of the cameras now."""
        with self.database.begin() as connection:
            return list(connection.execute(sa.text("SELECT device_code FROM baige.camera_site ORDER BY 1")).scalars())

    def databases(self) -> set[str]:
        """Names of the databases that belong to this one."""
        with psycopg.connect(Database(self.cluster.admin_url()).conninfo) as connection:
            names = {str(name) for (name,) in connection.execute("SELECT datname FROM pg_database")}
        return {name for name in names if name.startswith(self.server.name)}


@pytest.fixture
def stage(fresh_database: Database, cluster: EmbeddedCluster, tmp_path: Path) -> Iterator[Stage]:
    home = tmp_path / "home"
    url = fresh_database.url.render_as_string(hide_password=False)
    server = DatabaseServer(url, cluster=cluster)
    with fresh_database.begin() as connection:
        for code in ("A", "B", "C"):
            _insert(connection, code)
    with fresh_database.begin() as connection:
        connection.exec_driver_sql("UPDATE baige.camera_site SET name_zh = '改' WHERE device_code = 'B'")
    heights = np.arange(6400, dtype=np.float32).reshape(80, 80)
    add_heights(fresh_database, home, heights, from_origin(527_000, 3_397_000, 30, 30), 4546, name="hills")
    archive = tmp_path / "city.tar"
    manifest = backup(server, home, archive)
    assert manifest.features == 3
    backed_up = _contents(fresh_database)
    with fresh_database.begin() as connection:
        _insert(connection, "D")
    made = Stage(fresh_database, server, cluster, home, archive, backed_up)
    yield made
    fresh_database.dispose()
    for name in made.databases() - {server.name}:
        server.drop(name)


def _rewritten(
    source: Path, target: Path, change: Callable[[str, bytes], bytes], *, more: list[tarfile.TarInfo] | None = None
) -> Path:
    """A copy of an archive with its files changed, and entries added."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for member in old.getmembers():
            stream = old.extractfile(member)
            assert stream is not None
            data = change(member.name, stream.read())
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
        for member in more or []:
            new.addfile(member, io.BytesIO(b"x" * member.size))
    return target


def _manifest_with(**values: Any) -> Callable[[str, bytes], bytes]:
    return lambda name, data: json.dumps(json.loads(data) | values).encode() if name == "manifest.json" else data


def test_restore_brings_everything_back(stage: Stage) -> None:
    assert stage.archive.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in stage.archive.parent.iterdir() if p.name.startswith(".city")] == []
    rights = _rights(stage.database)
    with stage.database.begin() as connection:
        files = find_raster(connection, "hills").files(stage.home)
    sums = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    for path in files:
        path.unlink()
    with pytest.raises(Conflict, match="--force"):
        restore(stage.server, stage.home, stage.archive)
    assert stage.codes() == ["A", "B", "C", "D"]

    done = restore(stage.server, stage.home, stage.archive, force=True, keep=True)
    # the pool of a running server finds the new database by itself
    assert stage.codes() == ["A", "B", "C"]
    assert _contents(stage.database) == stage.backed_up
    assert len(stage.backed_up["baige_history.camera_site"]) == 1
    assert _rights(stage.database) == rights
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in files] == sums
    assert done.kept in stage.databases()
    stage.server.drop(str(done.kept))
    assert stage.databases() == {stage.server.name}
    # history goes on, numbers are not given twice, and access rules hold
    with stage.database.begin(Principal("officer", district="420502", key_id="k")) as connection:
        connection.exec_driver_sql("UPDATE baige.camera_site SET name_zh = '又' WHERE device_code = 'A'")
    with stage.database.begin() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM baige_history.camera_site").scalar_one() == 2
    with stage.database.begin(Principal("public")) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM baige.camera_site").scalar_one() == 0


def test_tiles_kept_before_a_restore_are_never_served_after_it(stage: Stage, tmp_path: Path) -> None:
    """In files and in the memory of a server that runs on: the restored layer's change counter rises to the very number of the tile that was kept."""
    url = stage.database.url.render_as_string(hide_password=False)
    settings = Settings(home=stage.home)
    more = {"tile_store": tmp_path / "tiles", "anonymous_role": "planner"}
    path = "/collections/camera_site/tiles/WebMercatorQuad/14/6722/13257"

    def counter() -> int:
        with stage.database.begin() as connection:
            return int(connection.exec_driver_sql("SELECT change_counter FROM baige_sys.layer WHERE name = 'camera_site'").scalar_one())

    def asked(address: str) -> tuple[str, bytes]:
        before = {s.labels["source"]: s.value for m in TILES.collect() for s in m.samples if s.name.endswith("_total")}
        answer = httpx.get(address + path, timeout=60)
        assert answer.status_code == 200
        after = {s.labels["source"]: s.value for m in TILES.collect() for s in m.samples if s.name.endswith("_total")}
        (source,) = {name for name, value in after.items() if value > before.get(name, 0)}
        return source, answer.content

    with running(settings, url, **more) as (first, _), running(settings, url, **more) as (second, _):
        kept_at = counter()
        source, old = asked(first)
        assert source == "database" and b"device_code" in old
        assert asked(first) == ("memory", old)
        assert asked(second) == ("files", old)
        restore(stage.server, stage.home, stage.archive, force=True)
        assert counter() == kept_at - 1
        with stage.database.begin() as connection:
            _insert(connection, "NEW-CAMERA")
        assert counter() == kept_at  # the same layer, place, asker and number as those of the old tile
        source, new = asked(first)  # at once: no look at the catalogue came in between
        assert source == "database" and b"NEW-CAMERA" in new and b"NEW-CAMERA" not in old
        assert asked(second) == ("files", new)
    with running(settings, url, **more) as (third, _):  # and after a restart, when nobody remembers the old database
        assert asked(third) == ("files", new)


def test_a_restored_database_is_another_one_wherever_it_was_restored() -> None:
    """Numbers of databases are given anew by each PostgreSQL server: only together with the server's own do they name one."""
    layers = [("camera_site", True, None, False), ("trees", False, {"name": "trees"}, False)]
    version = version_of([(*layer, 16384, 7_000_000_000) for layer in layers])
    assert version == version_of([(layer[0].encode(), *layer[1:], 16384, 7_000_000_000) for layer in layers])
    assert version != version_of([(*layer, 16385, 7_000_000_000) for layer in layers])
    assert version != version_of([(*layer, 16384, 7_000_000_001) for layer in layers])


def test_a_backup_while_others_write_is_one_state(
    fresh_database: Database, cluster: EmbeddedCluster, tmp_path: Path
) -> None:
    """A writer adds a camera and a school in each transaction: a backup must hold as many of one as of the other."""
    server = DatabaseServer(fresh_database.url.render_as_string(hide_password=False), cluster=cluster)
    ended, started = threading.Event(), threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        while not ended.is_set():
            with fresh_database.begin() as connection:
                _insert(connection, f"W{written}")
                connection.exec_driver_sql(
                    "INSERT INTO baige.outfall (name_zh, admin_code, geom)"
                    " VALUES ('口', '420502001001', ST_SetSRID(ST_Point(111.3, 30.7), 4490))"
                )
            written += 1
            started.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert started.wait(20)
        before = written
        manifest = backup(server, tmp_path / "home", tmp_path / "busy.tar")
        after = written
    finally:
        ended.set()
        writer.join()
    rows = {item.name: item.rows for item in manifest.tables}
    assert rows["baige.camera_site"] == rows["baige.outfall"]
    assert before <= rows["baige.camera_site"] < after
    restore(server, tmp_path / "home", tmp_path / "busy.tar", force=True)
    with fresh_database.begin() as connection:
        for layer in ("camera_site", "outfall"):
            assert (
                connection.exec_driver_sql(f"SELECT count(*) FROM baige.{layer}").scalar_one() == rows[f"baige.{layer}"]
            )


def test_bad_archives_are_refused(stage: Stage, tmp_path: Path) -> None:
    """Each is refused with an error in both languages; the database stays."""
    link = tarfile.TarInfo("rasters/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    bad = tmp_path / "bad.tar"

    def refused(make: Callable[[], object], words: str) -> None:
        bad.unlink(missing_ok=True)
        make()
        with pytest.raises(UnreadableFile, match=words) as caught:
            restore(stage.server, stage.home, bad, force=True)
        assert caught.value.zh != caught.value.message

    def same(_name: str, data: bytes) -> bytes:
        return data

    for name in (
        "../outside.tif",
        "rasters/../../outside.tif",
        "/tmp/outside.tif",
        "rasters/dem\\..\\x.tif",
        "strange",
    ):
        entry = tarfile.TarInfo(name)
        entry.size = 5
        refused(lambda entry=entry: _rewritten(stage.archive, bad, same, more=[entry]), "does not belong")
    refused(lambda: _rewritten(stage.archive, bad, same, more=[link]), "does not belong")
    extra = tarfile.TarInfo("rasters/dem/extra.tif")
    refused(lambda: _rewritten(stage.archive, bad, same, more=[extra]), "list of contents")
    flipped = lambda name, data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:] if name == "database.dump" else data  # noqa: E731
    refused(lambda: _rewritten(stage.archive, bad, flipped), "wrong checksum")
    refused(lambda: _rewritten(stage.archive, bad, _manifest_with(revision="9999")), "newer version")
    refused(lambda: _rewritten(stage.archive, bad, _manifest_with(format=99)), "newer version")
    refused(lambda: _rewritten(stage.archive, bad, _manifest_with(postgresql="99.1")), "older")
    refused(lambda: bad.write_bytes(b"not a tar" * 1000), "damaged")
    refused(lambda: bad.write_bytes(b""), "damaged|not a backup")
    assert stage.codes() == ["A", "B", "C", "D"]
    assert stage.databases() == {stage.server.name}
    assert not (tmp_path / "outside.tif").exists()
    assert list((stage.home / "rasters" / ".staging").iterdir()) == []


def test_truncated_at_any_length_is_refused(stage: Stage, tmp_path: Path) -> None:
    whole = stage.archive.read_bytes()
    with tarfile.open(stage.archive) as archive:
        members = archive.getmembers()
        ends = [m.offset_data + m.size for m in members]
        starts = [m.offset for m in members]
    for length in sorted(
        {0, 1, 511, 512, *starts, *(end - 1 for end in ends), *np.linspace(513, ends[-1] - 1, 15).astype(int)}
    ):
        short = tmp_path / "short.tar"
        short.write_bytes(whole[:length])
        folder = tmp_path / f"at-{length}"
        folder.mkdir()
        with pytest.raises(UnreadableFile):
            read_archive(short, folder)


def test_verify_sees_a_changed_table(stage: Stage, tmp_path: Path) -> None:
    """The dump of a database in which one value was altered past all triggers, under the manifest of before."""
    with stage.database.begin() as connection:
        connection.exec_driver_sql("DELETE FROM baige.camera_site WHERE device_code = 'D'")
        flags = find_raster(connection, "hills").files(stage.home)[1]
    flags.unlink()  # a raster file that is gone does not keep the rest from being backed up, and is named
    first = tmp_path / "first.tar"
    manifest = backup(stage.server, stage.home, first)
    assert manifest.missing_rasters == (f"dem/{flags.name}",)
    with psycopg.connect(Database(stage.cluster.admin_url(stage.server.name)).conninfo) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("UPDATE baige.camera_site SET geom = ST_Translate(geom, 1e-12, 0) WHERE device_code = 'A'")
    second = tmp_path / "second.tar"
    backup(stage.server, stage.home, second)
    with tarfile.open(second) as archive:
        stream = archive.extractfile("database.dump")
        assert stream is not None
        dump = stream.read()
    files = {name: item.model_dump() for name, item in manifest.files.items()}
    files["database.dump"] = {"size": len(dump), "sha256": hashlib.sha256(dump).hexdigest()}
    listed = _manifest_with(files=files)
    forged = _rewritten(first, tmp_path / "forged.tar", lambda n, d: dump if n == "database.dump" else listed(n, d))
    with pytest.raises(DataError, match=r"differ: baige\.camera_site\."):
        verify(stage.server, stage.home, forged)
    with pytest.raises(DataError, match=r"differ: baige\.camera_site\."):
        restore(stage.server, stage.home, forged, force=True)
    assert stage.databases() == {stage.server.name}


_KILLED = """
import os, signal, sys
from pathlib import Path
from layers.backup import backup, restore
from layers.backup_server import DatabaseServer
from layers.cluster import EmbeddedCluster

what, step, url, cluster, home, archive = sys.argv[1:]
def killer(at, done, total):
    if at == step and done * 2 >= total:
        os.kill(os.getpid(), signal.SIGKILL)
server = DatabaseServer(url, cluster=EmbeddedCluster(Path(cluster), durable=False))
if what == "backup":
    backup(server, Path(home), Path(archive), replace=True, on_progress=killer)
else:
    restore(server, Path(home), Path(archive), force=True, on_progress=killer)
"""


def _killed(stage: Stage, what: str, step: str) -> None:
    arguments = [what, step, stage.server.url, str(stage.cluster.home), str(stage.home), str(stage.archive)]
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_killed_in_the_middle_leaves_the_old(stage: Stage) -> None:
    before = _contents(stage.database)
    archive = stage.archive.read_bytes()
    _killed(stage, "backup", "dump")
    assert stage.archive.read_bytes() == archive
    _killed(stage, "restore", "restore")
    assert _contents(stage.database) == before
    # killed in the moment after the swap: the new one is there, whole, and the old one still lies beside it
    with pytest.raises(KeyboardInterrupt):
        restore(stage.server, stage.home, stage.archive, force=True, on_progress=_stop_after_swap)
    assert _contents(stage.database) == stage.backed_up
    kept = stage.databases() - {stage.server.name}
    assert len(kept) == 1
    stage.server.drop(kept.pop())
    # what the killed ones left does not stand in the way
    restore(stage.server, stage.home, stage.archive, force=True)
    assert stage.databases() == {stage.server.name}


def _stop_after_swap(step: str, done: int, _total: int) -> None:
    if step == "swap" and done == 1:
        raise KeyboardInterrupt


def test_what_cannot_be_done_is_said(stage: Stage, tmp_path: Path) -> None:
    def said(error: type[BaigeError], words: str, act: Callable[[], object]) -> None:
        with pytest.raises(error, match=words):
            act()

    said(Conflict, "exists already", lambda: backup(stage.server, stage.home, stage.archive))
    said(NotFound, "no file", lambda: restore(stage.server, stage.home, tmp_path / "none.tar"))
    said(NotFound, "no folder", lambda: backup(stage.server, stage.home, tmp_path / "none" / "x.tar"))
    with psycopg.connect(Database(stage.cluster.admin_url()).conninfo, autocommit=True) as admin:
        admin.execute("DROP ROLE IF EXISTS plain_user")
        admin.execute("CREATE ROLE plain_user LOGIN")
    plain = DatabaseServer(stage.server.url.replace("//baige@", "//plain_user@"))
    said(ConfigError, "CREATEDB", lambda: restore(plain, stage.home, stage.archive, force=True))
    with psycopg.connect(Database(stage.cluster.admin_url()).conninfo, autocommit=True) as admin:
        admin.execute("ALTER ROLE plain_user CREATEDB")
        said(ConfigError, "may not rename", lambda: restore(plain, stage.home, stage.archive, force=True))
        admin.execute("DROP ROLE plain_user")
    # baige may make databases but not enable PostGIS in them
    outside = DatabaseServer(stage.server.url)
    said(ConfigError, "enable PostGIS", lambda: verify(outside, stage.home, stage.archive))
    with stage.server.alone():
        said(Conflict, "under way", lambda: verify(stage.server, stage.home, stage.archive))
    with stage.database.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA other")
        connection.exec_driver_sql("CREATE TABLE other.precious (x integer)")
    said(Conflict, "other.precious", lambda: restore(stage.server, stage.home, stage.archive, force=True))
    assert stage.databases() == {stage.server.name}


def test_commands_on_a_database_of_ones_own(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same through the command line and ``BAIGE_DATABASE_URL``, whose user here is a superuser."""
    monkeypatch.setenv("BAIGE_DATABASE_URL", stage.cluster.admin_url(stage.server.name))
    monkeypatch.setenv("BAIGE_HOME", str(stage.home))
    with stage.database.begin() as connection:
        connection.exec_driver_sql("DELETE FROM baige.camera_site WHERE device_code IN ('A', 'B')")
    restored = CliRunner().invoke(
        main, ["--json", "db", "restore", str(stage.archive), "--force"], catch_exceptions=False
    )
    assert restored.exit_code == 0, restored.output
    assert json.loads(restored.stdout)["layers"]["camera_site"]["features"] == 3
    assert stage.codes() == ["A", "B", "C"]
    out = tmp_path / "again.tar"
    made = CliRunner().invoke(main, ["--json", "db", "backup", str(out), "--verify"], catch_exceptions=False)
    assert made.exit_code == 0, made.output
    value = json.loads(made.stdout)
    assert (value["verified"], value["features"], value["bytes"]) == (True, 3, os.path.getsize(out))
    checked = CliRunner().invoke(main, ["--json", "db", "restore", str(out), "--verify-only"], catch_exceptions=False)
    assert json.loads(checked.stdout)["restored"] is False
