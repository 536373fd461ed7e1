"""Processes that belong together: children that end with their parent, and a watch that brings back what has died."""

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from gis.errors import BaigeError

# a spawned process imports this module first of all, to be bound to its parent at once
if TYPE_CHECKING:
    from gis.settings import Settings

__all__ = ["Watch", "end_with_parent"]

log = logging.getLogger("baige.serve")

_PR_SET_PDEATHSIG = 1
_LOOK_S = 1.0
#: A worker that dies at once is not started again and again without a pause.
_PAUSE_MAX_S = 60.0


def end_with_parent(number: int = signal.SIGKILL, *, parent: int | None = None) -> None:
    """On Linux: have this process ended when its parent dies, however that happens.

    A server's child would otherwise keep the port, and a job's would be done twice at once.

    Parameters
    ----------
    number : int
        The signal that ends it.
    parent : int, optional
        Process id of the parent, for the case that it has died already; the present parent where not given.
    """
    if sys.platform == "linux":
        expected = parent or os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != expected:
            os.kill(os.getpid(), number)


class Watch(threading.Thread):
    """Beside a server: keeps its worker for jobs running, and starts the embedded database again after a crash.

    A database that was stopped on purpose (``baige db stop``) took its pid file along and stays stopped.

    Parameters
    ----------
    settings : Settings
        Where the embedded database is; nothing is done for one of the operator's own.
    worker : bool
        Whether to run a worker.
    """

    def __init__(self, settings: "Settings", *, worker: bool) -> None:
        from layers.cluster import EmbeddedCluster

        super().__init__(name="baige-watch", daemon=True)
        self._cluster = EmbeddedCluster(settings.home) if settings.database_url is None else None
        self._wants_worker = worker
        self._worker: subprocess.Popen[bytes] | None = None
        self._ending = threading.Event()
        self._pause_s = 1.0
        self._started_at = 0.0

    def run(self) -> None:
        """Look every second until `end`."""
        while not self._ending.is_set():
            if self._cluster is not None and self._cluster.has_crashed():
                log.warning("the embedded database has died; starting it again")
                try:
                    self._cluster.start()
                except BaigeError as error:
                    log.error("the embedded database does not start: %s", error.message)
            if self._wants_worker:
                self._look_after_worker()
            self._ending.wait(_LOOK_S)

    def _look_after_worker(self) -> None:
        now = time.monotonic()
        if self._worker is not None:
            code = self._worker.poll()
            if code is None:
                return
            lived = now - self._started_at
            self._pause_s = 1.0 if lived > _PAUSE_MAX_S else min(_PAUSE_MAX_S, self._pause_s * 2)
            log.warning("the worker ended (%d) after %.0f s; started again in %.0f s", code, lived, self._pause_s)
            if self._ending.wait(self._pause_s):
                return
        self._started_at = time.monotonic()
        self._worker = subprocess.Popen([sys.executable, "-m", "api.cli", "worker", "--parent", str(os.getpid())])

    def end(self) -> None:
        """Stop looking, and end the worker."""
        self._ending.set()
        self.join(30)
        if self._worker is not None and self._worker.poll() is None:
            self._worker.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._worker.wait(10)
            if self._worker.poll() is None:
                self._worker.kill()
                self._worker.wait()
