"""Rounds of mixed load in which something is killed at a random moment, started again, and everything is checked.

The moments, victims and contents come from a seed; what the operating system makes of them does not.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import time
import uuid
from pathlib import Path
from typing import IO, Any

from tests.reliability import checks
from tests.reliability.clients import Client, Editor, Queuer, Reader, Rival
from tests.reliability.ledger import Feature, Ledger, Load
from tests.reliability.stage import Stage

__all__ = ["VICTIMS", "Rounds"]

#: What is killed, and how often in a hundred rounds.
VICTIMS = {"server": 12, "server process": 13, "worker": 22, "loader": 24, "postmaster": 29}
LAYER = """
name = "{name}"
title_zh = "试验"
title_en = "Trial"
geometry = "Point"
classification = "public"
fields = [
  {{ name = "label", type = "text", length = 60, title_zh = "标签", title_en = "Label" }},
  {{ name = "rank", type = "int", title_zh = "等级", title_en = "Rank", minimum = 0 }},
  {{ name = "batch", type = "text", length = 40, title_zh = "批次", title_en = "Batch", index = true }},
]
"""
_SMALL, _LARGE = 600, 6000


class Rounds:
    """A stage with clients; use it in a ``with`` statement."""

    def __init__(self, home: Path, *, seed: int, out: IO[str] | None = None) -> None:
        self.home, self.seed, self.out = home, seed, out
        self.rng = random.Random(seed)
        self.ledger = Ledger()
        self.stage = Stage(home)
        self.counters: dict[str, int] = {}
        self.faults: list[str] = []
        self.killed: dict[str, int] = dict.fromkeys(VICTIMS, 0)
        self.recovery_s: dict[str, list[float]] = {name: [] for name in VICTIMS}
        self.clients: list[Client] = []
        self.loader: tuple[subprocess.Popen[bytes], Load] | None = None
        self.loads = 0

    def __enter__(self) -> "Rounds":
        try:
            self._set_up()
        except BaseException:
            self.stage.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for client in self.clients:
            client.stopping.set()
        for client in self.clients:
            client.join(40)
        if self.loader is not None:
            self.loader[0].kill()
            self.loader[0].wait()
        self.stage.close()

    def _set_up(self) -> None:
        for name in ("trial", "trial_bulk"):
            path = self.home / f"{name}.toml"
            path.write_text(LAYER.format(name=name), encoding="utf-8")
            self.stage.run("layer", "add", str(path))
        key = self.stage.run("key", "add", "--role", "planner", "--note", "trial").split()[-1]
        self.stage.start_server()
        self.stage.start_worker()
        self.stage.await_ready()
        kinds: list[type[Client]] = [Editor, Editor, Editor, Rival, Rival, Reader, Reader, Queuer]
        self.clients = [
            kind(f"{kind.__name__.lower()} {i}", self.stage.url, key, self.ledger, f"{self.seed}:{i}") for i, kind in enumerate(kinds)
        ]
        self._make_shared()
        for client in self.clients:
            client.pausing.set()
            client.start()

    def _make_shared(self) -> None:
        first = self.clients[0]
        shared = Feature(uuid.UUID(int=self.rng.getrandbits(128), version=4))
        body = {"type": "Feature", "id": str(shared.id), "geometry": {"type": "Point", "coordinates": [111.3, 30.7]},
                "properties": {"admin_code": "420502001001", "label": "shared", "rank": 0}}  # fmt: skip
        assert first.ask("POST", "/collections/trial/items", good=(201,), body=body) is not None
        self.shared = shared.id
        for client in self.clients:
            if isinstance(client, Rival):
                client.shared = shared.id

    # -- the load --------------------------------------------------------------------------------------------------------------

    def _begin_load(self) -> None:
        """Give a file to a loader: now and then a large one into an empty layer, which goes there without a staging table."""
        self.loads += 1
        direct = self.loads % 4 == 0
        load = Load(f"batch-{self.seed}-{self.loads}", _LARGE if direct else _SMALL, 7 + self.loads % 5, direct)
        path = self.home / f"{load.batch}.csv"
        lines = ["name_zh,label,rank,batch,lon,lat"]
        for row in range(load.good):
            lines.append(f"点{row},loaded,{row},{load.batch},{111.2 + row % 97 / 1000:.4f},{30.6 + row % 89 / 1000:.4f}")
        for row in range(load.bad):
            lines.insert(1 + row * 40, f"坏{row},loaded,-5,{load.batch},111.3,30.7")
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        if direct:
            with self.stage.connect() as connection:
                connection.execute("DELETE FROM baige.trial_bulk")
        self.ledger.loads.append(load)
        layer = "trial_bulk" if direct else "trial"
        self.loader = (self.stage.start("load", layer, str(path), "--crs", "4326"), load)

    def _end_load(self, *, kill: bool) -> None:
        if self.loader is None:
            return
        process, load = self.loader
        if kill:
            process.kill()
        load.done = process.wait(120) == 0
        load.ended = True
        self.loader = None

    # -- one round -------------------------------------------------------------------------------------------------------------

    def run(self, count: int, *, minutes: float = 60.0, report: Path | None = None) -> dict[str, Any]:
        """The rounds; stops at the first ones that find a fault no earlier than all are checked."""
        begun = time.monotonic()
        done = 0
        for number in range(1, count + 1):
            if (time.monotonic() - begun) / 60 > minutes:
                break
            self._round(number)
            done = number
            if report is not None:
                report.parent.mkdir(parents=True, exist_ok=True)
                report.write_text(json.dumps(self._report(done, begun), indent=2, ensure_ascii=False), encoding="utf-8")
        self._drain()
        final = self._report(done, begun)
        if report is not None:
            report.write_text(json.dumps(final, indent=2, ensure_ascii=False), encoding="utf-8")
        return final

    def _victim(self, number: int) -> str:
        names = list(VICTIMS)
        if number <= len(names):  # each at least once, also in a short run
            return names[number - 1]
        return self.rng.choices(names, weights=list(VICTIMS.values()))[0]

    def _round(self, number: int) -> None:
        begun = time.monotonic()
        victim = self._victim(number)
        if victim == "loader" or self.rng.random() < 0.4:
            self._begin_load()
        for client in self.clients:
            client.pausing.clear()
        loading = self.loader is not None
        time.sleep(self.rng.uniform(1.0, 4.5) if victim == "loader" else self.rng.uniform(0.3, 3.5 if loading else 2.0))
        took = self._kill(victim)
        self.killed[victim] += 1
        self.recovery_s[victim].append(took)
        time.sleep(self.rng.uniform(0.1, 0.5))
        self._pause()
        wrong = self._check(drained=False)
        self.faults += [f"round {number} ({victim}): {text}" for text in wrong]
        if self.out is not None:
            self.out.write(
                f"round {number}: {victim}, back after {took:.1f} s, {time.monotonic() - begun:.1f} s in all;"
                f" {self.ledger.writes_acknowledged} writes, {self.ledger.reads} reads, {len(self.ledger.jobs)} jobs;"
                f" {len(self.faults)} faults{''.join(chr(10) + '  ' + w for w in wrong)}\n"
            )
            self.out.flush()

    def _kill(self, victim: str) -> float:
        begun = time.monotonic()
        if victim == "server":
            self.stage.kill_server()
            self.stage.start_server()
        elif victim == "server process":
            processes = self.stage.server_processes()
            if processes:
                os.kill(self.rng.choice(processes), signal.SIGKILL)
        elif victim == "worker":
            self.stage.kill_worker()
            self.stage.start_worker()
        elif victim == "loader":
            self._end_load(kill=True)
        else:
            self.stage.kill_postmaster()
            time.sleep(self.rng.choice([0.0, 0.2, 1.0]))
            self.stage.cluster.start()
        self.stage.await_ready()
        return time.monotonic() - begun

    def _pause(self) -> None:
        for client in self.clients:
            client.pausing.set()
            client.idle.clear()
        deadline = time.monotonic() + 90
        for client in self.clients:
            if not client.idle.wait(max(0.1, deadline - time.monotonic())):
                raise TimeoutError(f"{client.name} still waits for an answer")
        self._end_load(kill=False)

    def _check(self, *, drained: bool) -> list[str]:
        wrong, self.ledger.unexpected = self.ledger.unexpected, []
        with self.stage.connect() as connection:
            # an edit whose client has gone may still be at work in the server; it ends within its own time limit
            deadline = time.monotonic() + 70
            busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'baige' AND state <> 'idle'"
            while (row := connection.execute(busy).fetchone()) and row[0] and time.monotonic() < deadline:
                time.sleep(0.05)
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            with contextlib.closing(connection.cursor()) as cursor:
                cursor.execute("SELECT rank FROM baige.trial WHERE id = %s", (self.shared,))
                shared = cursor.fetchone()
            self.ledger.features.setdefault(self.shared, Feature(self.shared)).open = [shared[0] if shared else None]  # type: ignore[list-item]
            features, found = checks.check_features(connection, self.ledger)
            counters, self.counters = checks.check_counters(connection, self.counters)
            wrong += features + checks.check_loads(connection, self.ledger) + counters + checks.check_history(connection)
            rivals = [c for c in self.clients if isinstance(c, Rival)]
            least, open_ = sum(r.steps for r in rivals), sum(r.steps_open for r in rivals)
            if shared is None or not least <= int(shared[0]) <= least + open_:  # type: ignore[call-overload]
                wrong.append(f"the shared counter is {shared}, {least} steps were acknowledged and {open_} are open")
            connection.execute("ROLLBACK")
            wrong += checks.check_jobs(connection, self.ledger, self.stage.home / "baige", drained=drained)
        for client in self.clients:
            if isinstance(client, Editor):
                client.settle(found)
        return wrong

    def _drain(self) -> None:
        """Let the worker do what is left; then every job must have ended."""
        deadline = time.monotonic() + 120
        question = "SELECT count(*) FROM baige_jobs.job WHERE status IN ('accepted', 'running')"
        with self.stage.connect() as connection:
            while (row := connection.execute(question).fetchone()) and row[0] and time.monotonic() < deadline:
                time.sleep(0.5)
        self.faults += [f"at the end: {text}" for text in self._check(drained=True)]

    def _report(self, rounds: int, begun: float) -> dict[str, Any]:
        with self.stage.connect() as connection:
            row = connection.execute("SELECT count(*), count(*) FILTER (WHERE attempt > 1), max(attempt) FROM baige_jobs.job").fetchone() or (0, 0, 0)
        done = [load for load in self.ledger.loads if load.done]
        return {
            "rounds": rounds, "seed": self.seed, "seconds": round(time.monotonic() - begun), "killed": self.killed,
            "recovery_s": {name: {"median": round(sorted(v)[len(v) // 2], 1), "most": round(max(v), 1)} for name, v in self.recovery_s.items() if v},
            "writes_acknowledged": self.ledger.writes_acknowledged, "writes_without_answer": self.ledger.writes_open,
            "steps_of_rivals": sum(c.steps for c in self.clients if isinstance(c, Rival)), "refused_as_overtaken": self.ledger.conflicts,
            "reads": self.ledger.reads, "answers_503": self.ledger.unavailable, "connections_broken": self.ledger.broken,
            "loads": len(self.ledger.loads), "loads_acknowledged": len(done), "rows_loaded": sum(load.good for load in done),
            "jobs_acknowledged": len(self.ledger.jobs), "jobs_done_again": row[1], "most_attempts": row[2],
            "faults": self.faults,
        }  # fmt: skip
