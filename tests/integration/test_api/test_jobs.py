"""Processes: inputs, sync and async, owners, a killed worker, dismissal."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pyogrio
import pytest


def start_worker(served: Any) -> "subprocess.Popen[bytes]":
    url = served.database.url.render_as_string(hide_password=False)
    environment = {**os.environ, "BAIGE_DATABASE_URL": url, "BAIGE_HOME": str(served.state.settings.home)}
    words = [sys.executable, "-m", "api.cli", "worker", "--dead-after", "2"]
    return subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def worker(served: Any) -> Iterator[None]:
    running = start_worker(served)
    yield
    running.terminate()
    running.wait(20)


def until(found: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        value = found()
        if value:
            return value
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.1)


def execute(served: Any, process: str, inputs: Any, *, role: str | None = "planner", prefer: str | None = None) -> Any:
    headers = {"X-API-Key": served.keys[role]} if role else {}
    if prefer:
        headers["Prefer"] = prefer
    return served.client.post(f"/processes/{process}/execution", json={"inputs": inputs}, headers=headers, timeout=120)


def export_statements(served: Any) -> int:
    with served.database.begin() as connection:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%%kiosk%%' AND wait_event_type = 'Lock'"
        return int(connection.exec_driver_sql(sql).scalar_one())


def test_descriptions(served: Any) -> None:
    found = {p["id"] for p in served.get("/processes").json()["processes"]}
    assert {"export", "coverage", "rules-check"} <= found
    one = served.get("/processes/export", lang="zh").json()
    assert one["title"] == "导出图层"
    assert one["inputs"]["collection"]["minOccurs"] == 1
    assert "async-execute" in one["jobControlOptions"]


def test_inputs_are_checked(served: Any) -> None:
    for process, inputs in (("export", {}), ("export", {"collection": 1}), ("export", {"collection": "kiosk", "x": 1}), ("coverage", {"cell_m": -1}),
                            ("rules-check", {"at": "tomorrow"}), ("rules-check", {"rules": ["; rm -rf /"]})):  # fmt: skip
        answer = execute(served, process, inputs)
        assert answer.status_code == 422, (process, inputs, answer.text)
        assert answer.json()["errors"]
    assert execute(served, "export", {"collection": "nosuch"}).status_code == 404
    assert execute(served, "nosuch", {}).status_code == 404
    assert execute(served, "coverage", {}, role=None).status_code == 401
    assert execute(served, "coverage", {}, role="viewer").status_code == 403


@pytest.mark.usefixtures("worker")
def test_an_export_waited_for_has_the_rights_of_the_asker(served: Any, tmp_path: Any) -> None:
    wanted = {r["id"] for r in served.rows["kiosk"] if r["rank"] == 3}
    for role, sees in ((None, False), ("planner", True)):
        answer = execute(served, "export", {"collection": "kiosk", "format": "gpkg", "filter": "rank = 3"}, role=role)
        assert answer.status_code == 200, answer.text
        path = tmp_path / f"{role}.gpkg"
        path.write_bytes(answer.content)
        frame = pyogrio.read_dataframe(path)
        assert set(frame["id"]) == wanted
        assert ("code" in frame.columns) is sees


@pytest.mark.usefixtures("worker")
def test_a_job_is_its_owners_alone(served: Any) -> None:
    made = execute(served, "export", {"collection": "kiosk", "format": "csv"}, prefer="respond-async")
    assert made.status_code == 201
    address = made.headers["location"]
    own = {"X-API-Key": served.keys["planner"]}
    until(lambda: served.client.get(address, headers=own).json()["status"] == "successful", 60)
    assert served.client.get(f"{address}/results", headers=own).status_code == 200
    for headers in ({}, {"X-API-Key": served.keys["officer"]}):
        for path in (address, f"{address}/results"):
            assert served.client.get(path, headers=headers).status_code == 404
        assert made.json()["jobID"] not in served.client.get("/jobs", headers=headers).text
    assert made.json()["jobID"] in served.client.get("/jobs", headers=own).text
    assert served.client.delete(address, headers=own).status_code == 200
    assert served.client.get(address, headers=own).status_code == 404


def test_a_killed_worker_loses_no_job_and_a_dismissed_one_stops(served: Any, worker: None) -> None:
    own = {"X-API-Key": served.keys["planner"]}
    doomed = start_worker(served)
    with served.database.begin() as blocking:
        blocking.exec_driver_sql("LOCK TABLE baige.kiosk IN ACCESS EXCLUSIVE MODE")
        first = execute(served, "export", {"collection": "kiosk", "format": "csv"}, prefer="respond-async").headers[
            "location"
        ]
        second = execute(served, "export", {"collection": "kiosk", "format": "fgb"}, prefer="respond-async").headers[
            "location"
        ]
        until(lambda: export_statements(served) == 2, 60)
        doomed.send_signal(signal.SIGKILL)
        doomed.wait(10)
        until(lambda: export_statements(served) == 1, 10)
        # the other worker is at one of the two; dismiss that one: its statement ends within two seconds
        started = time.monotonic()
        assert served.client.delete(first, headers=own).status_code == 200
        assert served.client.get(first, headers=own).json()["status"] == "dismissed"
        until(lambda: export_statements(served) <= 1, 2)
        assert time.monotonic() - started < 3
    until(lambda: served.client.get(second, headers=own).json()["status"] == "successful", 60)
    assert served.client.get(first, headers=own).json()["status"] == "dismissed"
    assert served.client.get(f"{second}/results", headers=own).status_code == 200


def test_ids_tell_nothing_and_old_jobs_are_forgotten(served: Any) -> None:
    from api.jobs.store import JobStore
    from layers.access import Principal

    store = JobStore(served.database.conninfo)
    store.prepare()
    ids = [store.add("export", {"collection": "kiosk"}, Principal("planner", "", "no-such-key", "test")) for _ in range(4)]
    assert all(job.version == 4 for job in ids)  # random: the neighbour of a job's id is not another's
    for job in ids:
        assert store.dismiss(job)
    with served.database.begin() as connection:
        days = "CASE WHEN id = %s::uuid THEN 31 ELSE 29 END"
        sql = f"UPDATE baige_jobs.job SET finished = now() - make_interval(days => {days}) WHERE key_id = 'no-such-key'"
        connection.exec_driver_sql(sql, (str(ids[0]),))
    assert ids[0] in store.forget_old(days=30)
    assert store.get(ids[0]) is None
    assert all(store.get(job) is not None for job in ids[1:])
    for job in ids[1:]:
        store.delete(job)
