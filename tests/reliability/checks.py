"""Questions to the database after a crash. Each returns what is wrong, in words; nothing means that all is as it was promised."""

import uuid
from pathlib import Path
from typing import Any

import psycopg

from tests.reliability.ledger import Ledger

__all__ = ["check_counters", "check_features", "check_history", "check_jobs", "check_loads"]

Connection = psycopg.Connection[tuple[Any, ...]]


def check_features(connection: Connection, ledger: Ledger) -> tuple[list[str], dict[uuid.UUID, int]]:
    """Every acknowledged write is there with the acknowledged content; one without an answer is there whole, or not at all."""
    rows = connection.execute("SELECT id, rank, label, admin_code, ST_X(geom) FROM baige.trial WHERE batch IS NULL").fetchall()
    found = {row[0]: int(row[1]) for row in rows}
    wrong = [f"half a feature: {row}" for row in rows if None in row]
    for feature in list(ledger.features.values()):
        if found.get(feature.id) not in feature.allowed():
            wrong.append(f"feature {feature.id} is {found.get(feature.id)}, may be {feature.allowed()}")
    strangers = found.keys() - ledger.features.keys()
    if strangers:
        wrong.append(f"{len(strangers)} features that nobody wrote")
    return wrong, found


def check_loads(connection: Connection, ledger: Ledger) -> list[str]:
    """Of each file all good rows or none; quarantine and load run belong to it, or are not there."""
    wrong = []
    rows = connection.execute("SELECT batch, count(*) FROM baige.trial WHERE batch IS NOT NULL GROUP BY 1").fetchall()
    rows += connection.execute("SELECT batch, count(*) FROM baige.trial_bulk GROUP BY 1").fetchall()
    counts: dict[str, int] = {str(batch): int(n) for batch, n in rows}
    runs = connection.execute(
        "SELECT replace(file_name, '.csv', ''), count(*), bool_and(finished_at IS NOT NULL AND change_id IS NOT NULL),"
        " sum((SELECT count(*) FROM baige_sys.quarantine q WHERE q.load_id = r.id)) FROM baige_sys.load_run r GROUP BY 1"
    ).fetchall()
    noted = {str(batch): (int(n), whole, int(bad)) for batch, n, whole, bad in runs}
    for load in ledger.loads:
        if not load.ended:
            continue
        there = counts.get(load.batch, 0)
        if load.direct and there == 0 and load.done:
            continue  # emptied again for the next large load
        if there not in ((load.good,) if load.done else (0, load.good)):
            wrong.append(f"load {load.batch}: {there} rows of {load.good}, acknowledged: {load.done}")
        expected = (1, True, load.bad) if there else None
        if noted.get(load.batch) != expected:
            wrong.append(f"load {load.batch}: {there} rows, but noted as {noted.get(load.batch)}")
    orphans = connection.execute(
        "SELECT count(*) FROM baige_sys.quarantine q WHERE NOT EXISTS (SELECT FROM baige_sys.load_run r WHERE r.id = q.load_id)"
    ).fetchone()
    if orphans and orphans[0]:
        wrong.append(f"{orphans[0]} rows in quarantine without a load")
    return wrong


def check_history(connection: Connection) -> list[str]:
    """The history adds up: each change set has as many versions as it says, and each version a change set.

    A version is a row of the layer or of its history; ``change_id`` is the change that wrote it, ``replaced_by`` the one that ended it.
    """
    wrong = []
    for layer in ("trial", "trial_bulk"):
        rows = connection.execute(
            f"WITH written AS (SELECT change_id, count(*) AS n FROM (SELECT change_id FROM baige.{layer}"
            f"   UNION ALL SELECT change_id FROM baige_history.{layer}) v GROUP BY 1),"
            f" ended AS (SELECT replaced_by AS change_id, count(*) FILTER (WHERE replaced_op = 'U') AS u,"
            f"   count(*) FILTER (WHERE replaced_op = 'D') AS d"
            f"   FROM baige_history.{layer} GROUP BY 1)"
            " SELECT coalesce(c.id, w.change_id, e.change_id), c.inserted, c.updated, c.deleted, w.n, e.u, e.d"
            " FROM (SELECT * FROM baige_sys.change_set WHERE layer = %s) c"
            " FULL JOIN written w ON w.change_id = c.id FULL JOIN ended e ON e.change_id = coalesce(c.id, w.change_id)"
            " WHERE c.id IS NULL OR c.inserted + c.updated <> coalesce(w.n, 0) OR c.updated <> coalesce(e.u, 0) OR c.deleted <> coalesce(e.d, 0)"
            " LIMIT 5",
            (layer,),
        ).fetchall()  # type: ignore[arg-type]
        wrong += [f"history of {layer}: change {row}" for row in rows]
        twice = connection.execute(
            f"SELECT id, changed_at, change_id FROM (SELECT id, changed_at, change_id FROM baige.{layer}"
            f" UNION ALL SELECT id, changed_at, change_id FROM baige_history.{layer}) v GROUP BY 1, 2, 3 HAVING count(*) > 1 LIMIT 3"
        ).fetchall()  # type: ignore[arg-type]
        wrong += [f"a version twice in {layer}: {row}" for row in twice]
    return wrong


def check_counters(connection: Connection, before: dict[str, int]) -> tuple[list[str], dict[str, int]]:
    """A layer's counter never falls, and rises at least once for each change set."""
    now = {
        str(name): int(counter)
        for name, counter in connection.execute("SELECT name, change_counter FROM baige_sys.layer WHERE name LIKE 'trial%'")
    }
    wrong = [f"the counter of {name} fell from {before[name]} to {now.get(name)}" for name in before if now.get(name, -1) < before[name]]
    for name, counter in now.items():
        row = connection.execute(
            "SELECT count(*) FROM baige_sys.change_set WHERE layer = %s AND inserted + updated + deleted > 0", (name,)
        ).fetchone()
        if row and counter < row[0]:
            wrong.append(f"the counter of {name} is {counter}, but there are {row[0]} changes")
    return wrong, now


def check_jobs(connection: Connection, ledger: Ledger, home: Path, *, drained: bool) -> list[str]:
    """Every job that was acknowledged is there once; in the end it is done once, and its file is whole."""
    rows = connection.execute("SELECT id::text, status, attempt, result, message FROM baige_jobs.job").fetchall()
    found = {row[0]: row for row in rows}
    wrong = [f"job {job} is lost" for job in ledger.jobs if job not in found]
    if len(found) > len(ledger.jobs) + ledger.jobs_open:
        wrong.append(f"{len(found)} jobs, but {len(ledger.jobs)} were acknowledged and {ledger.jobs_open} may be there")
    queued = connection.execute(
        "SELECT args->>'job', count(*), bool_or(status IN ('todo', 'doing')) FROM baige_jobs.procrastinate_jobs GROUP BY 1"
    ).fetchall()
    active = {row[0]: row[2] for row in queued}
    wrong += [f"job {job} is {n} times in the queue" for job, n, _ in queued if n != 1]
    for job, status, _, result, message in rows:
        if status == "failed":
            wrong.append(f"job {job} failed: {message}")
        elif status in ("accepted", "running"):
            if not active.get(job):
                wrong.append(f"job {job} is {status}, but nobody will do it")
            elif drained:
                wrong.append(f"job {job} is still {status}")
        else:
            path = home / "jobs" / result["file"]
            text = path.read_bytes() if path.is_file() else b""
            if len(text) != result["bytes"] or not text.endswith(b"\n"):
                wrong.append(f"job {job}: its file has {len(text)} bytes, not {result['bytes']}")
    return wrong
