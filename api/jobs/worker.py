"""A worker: takes jobs from the queue and runs each in a process of its own, which ends when the job is called off or the worker dies."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from procrastinate import App, RetryStrategy
from procrastinate.exceptions import ProcrastinateException

from api.jobs.store import BROKEN_OFF, JobStore, queue_app
from gis.errors import BaigeError, DatabaseUnavailable

__all__ = ["run_worker"]

log = logging.getLogger("baige.worker")

_POLL_S = 0.5
#: A worker that has shown no sign of life for so long is taken for dead, and its job is done again.
DEAD_S = 20.0
_RETENTION_DAYS = 30
#: A job that is broken off so often is what breaks it off.
_ATTEMPTS_MAX = 10


async def _stop(child: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    await child.wait()


async def _asked[T](call: Callable[..., T], *values: Any, **named: Any) -> T:
    """Call the store in a thread; wait as long as the database is gone."""
    while True:
        try:
            return await asyncio.to_thread(call, *values, **named)
        except DatabaseUnavailable:
            await asyncio.sleep(1.0)


async def _run(store: JobStore, job: uuid.UUID) -> None:
    """Make attempts at a job until one comes to an end; the loss of the database ends an attempt, not the job."""
    while (attempt := await _asked(store.begin, job)) is not None:
        if attempt > _ATTEMPTS_MAX:
            message = f"given up: broken off {_ATTEMPTS_MAX} times"
            await _asked(store.finish, job, attempt, status="failed", message=message)
            return
        log.info("job %s, attempt %d", job, attempt)
        if await _attempt(store, job, attempt) != BROKEN_OFF:
            await _asked(store.finish, job, attempt, status="failed", message="the process ended without a result")
            return
        await asyncio.sleep(1.0)


async def _attempt(store: JobStore, job: uuid.UUID, attempt: int) -> int:
    """One attempt in a process of its own; its exit code."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "api.jobs.child", str(job), str(attempt), start_new_session=True, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    waiting = asyncio.create_task(child.wait())
    try:
        while not waiting.done():
            await asyncio.wait({waiting}, timeout=_POLL_S)
            if waiting.done():
                break
            try:
                found = await asyncio.to_thread(store.get, job)
            except DatabaseUnavailable:
                continue  # the attempt finds out by itself
            if not waiting.done() and (found is None or found["status"] != "running" or found["attempt"] != attempt):
                log.info("job %s is not wanted any more", job)
                await _stop(child)
        return await waiting
    finally:
        if not waiting.done():
            await asyncio.shield(_stop(child))


async def _tidy(app: App, store: JobStore, home: Path, dead_s: float) -> None:
    """Bring jobs of dead workers back into the queue, and forget old ones."""
    while True:
        try:
            for stalled in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=dead_s):
                log.warning("job %s of a dead worker is done again", stalled.task_kwargs.get("job"))
                await app.job_manager.retry_job(stalled)
            for gone in await asyncio.to_thread(store.forget_old, days=_RETENTION_DAYS):
                for path in (home / "jobs").glob(f"{gone}.*"):
                    path.unlink(missing_ok=True)
        except (BaigeError, OSError, ProcrastinateException, psycopg.Error) as error:
            log.warning("tidying failed: %s", type(error).__name__)
        await asyncio.sleep(dead_s / 4)


async def _work(conninfo: str, home: Path, concurrency: int, dead_s: float) -> None:
    store = JobStore(conninfo)
    await asyncio.to_thread(store.prepare)
    app = queue_app(conninfo)

    # a worker that is told to stop, or loses the database, gives its job back
    @app.task(name="baige.run", queue="baige", retry=RetryStrategy(wait=1))
    async def run(job: str) -> None:
        await _run(store, uuid.UUID(job))

    async with app.open_async():
        tidying = asyncio.create_task(_tidy(app, store, home, dead_s))
        try:
            await app.run_worker_async(
                queues=["baige"], concurrency=concurrency, fetch_job_polling_interval=2.0, update_heartbeat_interval=dead_s / 4,
                stalled_worker_timeout=dead_s, shutdown_graceful_timeout=2.0,
            )  # fmt: skip
        finally:
            tidying.cancel()


def run_worker(conninfo: str, home: Path, *, concurrency: int = 1, dead_s: float = DEAD_S) -> None:
    """Work until told to stop. A lost database is waited for; jobs of workers silent for ``dead_s`` are done again."""
    while True:
        started = time.monotonic()
        try:
            asyncio.run(_work(conninfo, home, concurrency, dead_s))
            return
        except Exception as error:  # noqa: BLE001 - whatever the queue raises when the database goes, the worker comes back
            log.warning("worker interrupted: %s", type(error).__name__)
            if time.monotonic() - started < 1:
                time.sleep(2)
