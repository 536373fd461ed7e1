"""Loads that are killed, cut off from the database, out of disk, or two at once: the layer stays as it was."""

import csv
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from gis.errors import BackendError, DatabaseUnavailable, InputError
from layers.cluster import EmbeddedCluster
from layers.database import Database
from layers.export import export_layer
from layers.loading.files import load_file
from layers.loading.options import LoadOptions
from layers.loading.report import LoadReport
from layers.migrate import upgrade

HEAD = ["设备编码", "点位名称", "经度", "纬度"]
CRS = LoadOptions(crs="4490")


def table(path: Path, numbers: range, *, name: str = "点位") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEAD)
        for number in numbers:
            writer.writerow(
                [
                    f"{number:020d}",
                    f"{name}{number}",
                    f"{110.5 + number % 1000 * 1e-3:.6f}",
                    f"{30.2 + number // 1000 * 1e-3:.6f}",
                ]
            )
    return path


def query(database: Database, sql: str, **values: Any) -> list[Any]:
    with database.begin() as connection:
        return [tuple(found) for found in connection.execute(sa.text(sql), values)]


def state(database: Database) -> tuple[Any, ...]:
    """Everything that a load could have changed: rows, history, counter, records, indexes."""
    sql = (
        "SELECT (SELECT count(*) FROM baige.camera_site),"
        " (SELECT md5(coalesce(string_agg(c::text, '|' ORDER BY c.id), '')) FROM baige.camera_site c),"
        " (SELECT count(*) FROM baige_history.camera_site), (SELECT change_counter FROM baige_sys.layer WHERE name = 'camera_site'),"
        " (SELECT count(*) FROM baige_sys.load_run), (SELECT count(*) FROM baige_sys.quarantine),"
        " (SELECT string_agg(indexdef, '|' ORDER BY indexname) FROM pg_indexes WHERE schemaname = 'baige' AND tablename = 'camera_site')"
    )
    return tuple(query(database, sql)[0])


def wait_until(happens: Callable[[], bool], *, patience_s: float = 60) -> bool:
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        if happens():
            return True
        time.sleep(0.005)
    return False


def copying(database: Database) -> bool:
    """Whether rows are being copied in this moment."""
    return bool(
        query(
            database,
            "SELECT 1 FROM pg_stat_progress_copy p JOIN pg_stat_activity a USING (pid)"
            " WHERE p.tuples_processed > 0 AND a.datname = current_database()",
        )
    )


@pytest.mark.parametrize("filled", [False, True])
def test_kill_9_in_the_middle_leaves_the_layer_as_it_was(
    fresh_database: Database, tmp_path: Path, filled: bool
) -> None:
    if filled:  # without rows the load takes the way that drops the indexes for a while
        load_file(fresh_database, "camera_site", table(tmp_path / "a.csv", range(100)), options=CRS)
    before = state(fresh_database)
    path = table(tmp_path / "b.csv", range(200_000), name="新")
    script = (
        "import sys; from pathlib import Path; from layers.database import Database; from layers.loading import engine; "
        "from layers.loading.files import load_file; from layers.loading.options import LoadOptions; "
        "engine._DIRECT_MIN = -1; "
        "load_file(Database(sys.argv[1]), 'camera_site', Path(sys.argv[2]), options=LoadOptions(crs='4490'))"
    )
    url = fresh_database.engine.url.render_as_string(hide_password=False)
    process = subprocess.Popen(
        [sys.executable, "-c", script, url, str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        assert wait_until(lambda: copying(fresh_database)), "the load never began to copy"
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    gone = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'"
    assert wait_until(lambda: query(fresh_database, gone) == [(0,)]), "the killed command's transaction is still open"
    assert state(fresh_database) == before
    report = load_file(fresh_database, "camera_site", table(tmp_path / "c.csv", range(50, 150)), options=CRS)
    assert report.inserted + report.updated + report.unchanged == 100


def test_two_files_at_once_follow_each_other(fresh_database: Database, tmp_path: Path) -> None:
    first, second = table(tmp_path / "a.csv", range(6000)), table(tmp_path / "b.csv", range(3000, 9000), name="后")
    start = threading.Barrier(2)

    def run(path: Path) -> LoadReport:
        start.wait()
        return load_file(fresh_database, "camera_site", path, options=CRS)

    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(run, [first, second]))
    assert [report.quarantined for report in reports] == [0, 0]
    assert sum(report.inserted for report in reports) == 9000
    assert sorted(report.updated for report in reports) == [0, 3000]
    later = max(reports, key=lambda report: report.updated)
    names = query(fresh_database, "SELECT count(*) FROM baige.camera_site WHERE name_zh LIKE :name AND device_code BETWEEN :low AND :high",
                  name="后%" if later.file_name == "b.csv" else "点位%", low=f"{3000:020d}", high=f"{5999:020d}")  # fmt: skip
    assert names == [(3000,)]


def test_a_load_waits_for_the_one_before(fresh_database: Database, tmp_path: Path) -> None:
    from layers.loading.storing import lock_layer

    path = table(tmp_path / "a.csv", range(10))
    with ThreadPoolExecutor(1) as pool:
        with fresh_database.begin() as connection:
            lock_layer(connection, "camera_site")
            waiting = pool.submit(load_file, fresh_database, "camera_site", path, options=CRS)
            assert wait_until(
                lambda: bool(
                    query(fresh_database, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
                )
            )
            assert not waiting.done()
        assert waiting.result(60).inserted == 10


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[EmbeddedCluster]:
    """A cluster that a test may stop and starve."""
    home = Path(tempfile.mkdtemp(prefix="bgt-"))
    home.chmod(0o755)
    cluster = EmbeddedCluster(home, durable=False)
    try:
        cluster.start()
        upgrade(cluster.url())
        yield cluster
    finally:
        cluster.destroy()
        shutil.rmtree(home, ignore_errors=True)


def test_the_database_stopped_in_the_middle(own_cluster: EmbeddedCluster, tmp_path: Path) -> None:
    database = Database(own_cluster.url())
    watcher = Database(own_cluster.url())
    try:
        load_file(database, "camera_site", table(tmp_path / "a.csv", range(100)), options=CRS)
        before = state(database)
        path = table(tmp_path / "b.csv", range(200_000), name="新")
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(load_file, database, "camera_site", path, options=CRS)
            assert wait_until(lambda: copying(watcher)), "the load never began to copy"
            own_cluster.stop()
            with pytest.raises(DatabaseUnavailable):
                running.result(60)
        with pytest.raises(DatabaseUnavailable):
            load_file(database, "camera_site", path, options=CRS)
        own_cluster.start()
        assert state(database) == before
        assert (
            load_file(database, "camera_site", table(tmp_path / "c.csv", range(100, 200)), options=CRS).inserted == 100
        )
    finally:
        database.dispose()
        watcher.dispose()
        own_cluster.start()


def superuser(cluster: EmbeddedCluster, database: str, *statements: str) -> None:
    with psycopg.connect(Database(cluster.admin_url(database)).conninfo, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[bool]:
    """A file system of its own in ``folder``; False where this user may not mount one."""
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    try:
        yield made.returncode == 0
    finally:
        if made.returncode == 0:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_said_and_leaves_the_layer_as_it_was(own_cluster: EmbeddedCluster, tmp_path: Path) -> None:
    path = table(tmp_path / "b.csv", range(200_000), name="新")
    name = "baige_small"
    url = own_cluster.create_database(name)
    upgrade(url)
    database = Database(url)
    folder = Path(tempfile.mkdtemp(prefix="bgt-disk-"))
    try:
        load_file(database, "camera_site", table(tmp_path / "a.csv", range(100)), options=CRS)
        before = state(database)
        with small_disk(folder, "12m") as mounted:
            if mounted:
                inside = folder / "space"
                inside.mkdir()
                owner = own_cluster.data_dir.stat()
                os.chown(inside, owner.st_uid, owner.st_gid)
                superuser(own_cluster, "postgres", f"CREATE TABLESPACE small LOCATION '{inside}'")
                superuser(own_cluster, name, "ALTER TABLE baige.camera_site SET TABLESPACE small")
                with pytest.raises(BackendError, match="out of disk"):
                    load_file(database, "camera_site", path, options=CRS)
                assert state(database) == before
                superuser(own_cluster, name, "ALTER TABLE baige.camera_site SET TABLESPACE pg_default")
                superuser(own_cluster, "postgres", "DROP TABLESPACE small")
            else:  # no right to mount: let no file of the server grow instead
                pid = own_cluster.status().pid
                assert pid is not None
                usual = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                database.dispose()
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (17 << 20, usual[1]))
                with pytest.raises(BackendError):
                    load_file(database, "camera_site", path, options=CRS)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, usual)
                database.dispose()
                assert state(database) == before
        assert (
            load_file(database, "camera_site", table(tmp_path / "c.csv", range(100, 200)), options=CRS).inserted == 100
        )
    finally:
        database.dispose()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("suffix", [".csv", ".gpkg", ".parquet", ".xlsx", ".fgb", ".geojson"])
def test_an_export_onto_a_full_disk_leaves_no_half_file(fresh_database: Database, tmp_path: Path, suffix: str) -> None:
    load_file(fresh_database, "camera_site", table(tmp_path / "a.csv", range(12_000)), options=CRS)
    folder = tmp_path / "small"
    folder.mkdir()
    old = folder / f"a{suffix}"
    with small_disk(folder, "64k") as mounted:
        old.write_text("what was here before")
        if not mounted:
            usual = resource.getrlimit(resource.RLIMIT_FSIZE)
            handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, usual[1]))
        try:
            with pytest.raises(InputError, match="cannot be written"):
                export_layer(fresh_database, "camera_site", old)
        finally:
            if not mounted:
                resource.setrlimit(resource.RLIMIT_FSIZE, usual)
                signal.signal(signal.SIGXFSZ, handler)
        assert [entry.name for entry in folder.iterdir()] == [old.name]
        assert old.read_text() == "what was here before"
