"""The database's disk is full: clear errors, nothing half, and all well again once there is room. On a file system of its own (root only)."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from layers.cluster import EmbeddedCluster
from layers.database import Database
from layers.migrate import upgrade
from layers.registry import add_layer
from tests.reliability.test_bad_days import BODY, GEO, ITEMS, STALL, site, until

ROWS = 60_000


def mounted(folder: Path) -> bool:
    return subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(folder)], capture_output=True, check=False).returncode == 0


@pytest.fixture
def small_disk() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bgf-"))
    folder.chmod(0o755)
    mounted(folder)
    folder.chmod(0o755)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)
    shutil.rmtree(folder, ignore_errors=True)


def fill_up(folder: Path, *, leave_mb: int) -> Path:
    free = shutil.disk_usage(folder).free - leave_mb * 1_000_000
    path = folder / "filler"
    with path.open("wb") as out:
        os.posix_fallocate(out.fileno(), 0, max(1, free))
    return path


def may_mount() -> bool:
    """Whether this process may mount; where it may not, the test does not exist (it would have nothing to run on)."""
    folder = Path(tempfile.mkdtemp(prefix="bgf-"))
    try:
        if os.geteuid() != 0 or shutil.which("mount") is None or not mounted(folder):
            return False
        subprocess.run(["umount", str(folder)], check=True)
        return True
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if may_mount():

    @pytest.mark.timeout(600)
    def test_disk_full(small_disk: Path) -> None:
        own = EmbeddedCluster(small_disk / "baige", durable=False)
        try:
            own.start()
            upgrade(own.url())
            with site(own.url(), small_disk) as place:
                kept = place.add()
                assert kept.status_code == 201
                add_layer(place.database, STALL.model_copy(update={"name": "stall_bulk"}))
                lines = ["name_zh,lon,lat", *(f"{'长' * 60}{i},111.3,30.7" for i in range(ROWS))]
                file = Path(tempfile.mkdtemp(prefix="bgf-")) / "stalls.csv"
                file.write_text("\n".join(lines), encoding="utf-8")
                words = [sys.executable, "-m", "api.cli", "load", "stall_bulk", str(file), "--crs", "4326"]
                environment = {**os.environ, "BAIGE_HOME": str(small_disk / "baige"), "BAIGE_DATABASE_URL": Database(own.url()).conninfo}
                filler = fill_up(small_disk, leave_mb=3)
                refused = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=300)
                assert refused.returncode == 1
                assert "Traceback" not in refused.stderr
                assert any(said in refused.stderr for said in ("run out of disk", "cannot be reached", "could not answer")), refused.stderr
                # edits are taken or refused, never half; an answer comes in any case
                outcomes = [place.client.post(ITEMS, content=json.dumps({**BODY, "id": str(uuid.uuid4())}), headers=GEO) for _ in range(5)]
                assert {a.status_code for a in outcomes} <= {201, 503}
                assert all(a.headers.get("retry-after") for a in outcomes if a.status_code == 503)
                filler.unlink()
                if own.has_crashed():  # without room for its log PostgreSQL stops rather than lose something
                    own.start()
                until(lambda: place.client.get("/readyz").status_code == 200, 30)
                added = [a for a in outcomes if a.status_code == 201]
                with psycopg.connect(Database(own.url()).conninfo) as connection:
                    assert connection.execute("SELECT count(*) FROM baige.stall_bulk").fetchone() == (0,)
                    assert connection.execute("SELECT count(*) FROM baige_sys.load_run").fetchone() == (0,)
                for answer in (kept, *added):
                    assert place.client.get(f"{ITEMS}/{answer.headers['location'].rsplit('/', 1)[1]}").status_code == 200
                assert place.add().status_code == 201
                again = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=300)
                assert again.returncode == 0, again.stderr
                with psycopg.connect(Database(own.url()).conninfo) as connection:
                    assert connection.execute("SELECT count(*) FROM baige.stall_bulk").fetchone() == (ROWS,)
        finally:
            own.destroy()
