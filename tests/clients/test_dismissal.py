"""A coverage run of the city, called off: its processes and statements are gone within two seconds."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx


def until(found: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)
    return value


def below(parent: int) -> set[int]:
    """Processes that a process has started, and those that these have started."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, more = set(), {parent}
    while more:
        more = {child for child, above in parents.items() if above in more} - found
        found |= more
    return found


def alive(pids: set[int]) -> set[int]:
    """Those that run; one that has ended and is not yet collected counts as ended."""
    found = set()
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.add(pid)
        except OSError:
            continue
    return found


def test_a_dismissed_coverage_run_stops_its_kernels(town: Any) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-m", "api.cli", "worker"], env=town.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        made = httpx.post(
            f"{town.url}/processes/coverage/execution", json={"inputs": {"mode": "exact", "cell_m": 0.5}},
            headers={"Prefer": "respond-async"}, timeout=60,
        )  # fmt: skip
        assert made.status_code == 201
        job = made.headers["location"]
        until(lambda: httpx.get(job, timeout=30).json().get("progress", 0) > 0, 600)  # the kernels are at work
        own = until(lambda: below(worker.pid), 10)
        assert len(own) >= 2  # the attempt, and the command that computes
        assert httpx.delete(job, timeout=30).json()["status"] == "dismissed"
        until(lambda: not alive(own), 2)
        with town.database.begin() as connection:
            sql = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query ILIKE '%%camera%%' AND pid <> pg_backend_pid()"
            assert connection.exec_driver_sql(sql).scalar_one() == 0
        assert httpx.get(job, timeout=30).json()["status"] == "dismissed"
        with town.database.begin() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM baige_sys.run WHERE kind = 'coverage' AND state = 'done'").scalar_one() == 0
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
