"""The processes under test, as an operator runs them: cluster, ``baige serve``, ``baige worker``, ``baige load``; started, killed, started again."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psycopg

from layers.cluster import EmbeddedCluster

__all__ = ["Stage"]


def _free_port() -> int:
    """A free port below those that the system gives to clients, which may be taken (by a client that finds itself, even) while the server is down."""
    for port in random.sample(range(20_000, 32_000), 50):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port")


class Stage:
    """Everything runs below ``home``, on loopback and Unix sockets."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.cluster = EmbeddedCluster(home / "baige")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BAIGE_")}
        self.environment = {**kept, "BAIGE_HOME": str(home / "baige"), "BAIGE_SERVE_POOL_SIZE": "4", "NUMBA_NUM_THREADS": "1"}
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.server: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None
        self.log = (home / "processes.log").open("ab")

    def words(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "api.cli", *words]

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        """Start a command of Baige in a session of its own."""
        return subprocess.Popen(
            self.words(*words), env=self.environment, stdout=subprocess.DEVNULL, stderr=self.log, stdin=subprocess.DEVNULL, start_new_session=True
        )

    def run(self, *words: str) -> str:
        done = subprocess.run(self.words(*words), env=self.environment, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode != 0:
            raise RuntimeError(f"baige {' '.join(words)}: {done.stderr}")
        return done.stdout.strip()

    def connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(self.cluster.url().replace("+psycopg", ""), autocommit=True)

    def start_server(self) -> None:
        self.server = self.start("serve", "--port", str(self.port), "--workers", "2", "--no-jobs")

    def start_worker(self) -> None:
        self.worker = self.start("worker", "--dead-after", "4")

    def server_processes(self) -> list[int]:
        """Children of the server that answer requests (the first is multiprocessing's helper)."""
        assert self.server is not None
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if parent == self.server.pid and b"spawn_main" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found

    def kill_server(self) -> None:
        assert self.server is not None
        self.server.kill()
        self.server.wait(30)

    def kill_worker(self) -> None:
        assert self.worker is not None
        self.worker.kill()
        self.worker.wait(30)

    def kill_postmaster(self) -> None:
        pid = self.cluster.status().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    def await_ready(self, *, seconds: float = 400.0) -> float:
        """Wait until the server answers from the database; how long that took."""
        begun = time.monotonic()
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/readyz", timeout=30).status_code == 200:
                    return time.monotonic() - begun
            if self.server is not None and self.server.poll() is not None:
                raise RuntimeError(f"the server has ended ({self.server.returncode}):\n{self._said()}")
            if time.monotonic() - begun > seconds:
                raise TimeoutError(f"the server is not ready after {seconds:.0f} s:\n{self._said()}")
            time.sleep(0.05)

    def _said(self) -> str:
        return (self.home / "processes.log").read_text(encoding="utf-8", errors="replace")[-3000:]

    def close(self) -> None:
        for process in (self.server, self.worker):
            if process is not None and process.poll() is None:
                process.terminate()
        for process in (self.server, self.worker):
            if process is not None and process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(30)
                if process.poll() is None:
                    process.kill()
                    process.wait()
        self.log.close()
        self.cluster.destroy()
