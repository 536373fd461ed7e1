"""One attempt at one job, in a process of its own: ``python -m api.jobs.child JOB ATTEMPT``."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers, QueryParams

from api.asking import read_items
from api.crs import layer_crs
from api.formats import write_file
from api.jobs.definitions import PROCESSES
from api.jobs.store import BROKEN_OFF, JobStore
from api.lifetime import end_with_parent
from api.replica import offer_of
from gis.errors import BaigeError, DatabaseUnavailable
from gis.settings import Settings
from layers.access import Principal
from layers.cluster import resolve_database_url
from layers.cluster_external import normalise_url
from layers.database import Database
from layers.query.source import Source
from layers.registry import declaration_of, storage_srid

__all__ = ["main"]

log = logging.getLogger("baige.job")

#: How long a replica that is behind is waited for: a job is in less of a hurry than a request.
_PATIENCE_S = 2.0


def _export(settings: Settings, database: Database, job: dict[str, Any]) -> dict[str, Any]:
    inputs, principal = job["inputs"], Principal(job["role"], job["district"], job["key_id"], str(job["id"]))
    with database.begin(principal, readonly=True) as connection:
        source = Source.of(declaration_of(connection, inputs["collection"]), storage_srid(connection), principal.role)
    form = inputs.get("format", "gpkg")
    query = QueryParams({"f": form, **{name: inputs[name] for name in ("filter", "crs") if name in inputs}})
    offered = layer_crs(source.srid, settings.city_config.analysis_srid)
    asked = read_items(source, query, Headers({}), offered=offered, limit_default=1000, limit_max=10_000)
    replica = None
    if settings.database_read_url is not None:
        reading = Database(normalise_url(settings.database_read_url.get_secret_value())).conninfo
        replica = offer_of(reading, database.conninfo, patience_s=_PATIENCE_S)
    made = write_file(database.conninfo, principal, asked, replica=replica)
    folder = settings.home / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{job['id']}.{form}"
    shutil.move(made, target)
    return {"file": target.name, "collection": source.name, "format": form, "bytes": target.stat().st_size}


def _done(settings: Settings, store: JobStore, job: dict[str, Any], attempt: int) -> dict[str, Any]:
    """Run the command of a job; a file that it writes is kept with the job."""
    process = PROCESSES[job["process"]]
    words = process.command(job["inputs"]) if process.command is not None else []
    if not process.file:
        return _command(store, job, attempt, words)
    folder = settings.home / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{job['id']}.{process.file}"
    _command(store, job, attempt, [*words, "--out", str(target)])
    return {"file": target.name, "collection": process.id, "format": process.file, "bytes": target.stat().st_size}


def _command(store: JobStore, job: dict[str, Any], attempt: int, words: list[str]) -> dict[str, Any]:
    """Run a command of Baige; what it writes to standard output is the result."""
    last = ""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as answer:  # a pipe holds 64 kB, and would be read only after the last message
        with subprocess.Popen(
            [sys.executable, "-m", "api.cli", "--json", *words], stdout=answer, stderr=subprocess.PIPE, text=True,
            preexec_fn=end_with_parent,
        ) as run:  # fmt: skip
            for line in run.stderr or ():
                if line.strip():
                    last = re.sub(r"\x1b\[[0-9;]*m", "", line).strip()
                    percent = re.search(r"(\d{1,3})\s?%", last)
                    done = re.search(r"(\d+)/(\d+)", last)
                    share = int(percent[1]) if percent else 100 * int(done[1]) // max(1, int(done[2])) if done else 0
                    store.report(job["id"], attempt, progress=min(99, share), message=last)
        answer.seek(0)
        output = answer.read()
    if run.returncode != 0:
        raise RuntimeError(last or f"exit code {run.returncode}")
    result: Any = json.loads(output) if output.strip() else {}
    return result if isinstance(result, dict) else {"result": result}


def main() -> int:
    """Do the job; exit code 0 where its end was noted."""
    end_with_parent()
    logging.basicConfig(level=logging.WARNING)
    job_id, attempt = uuid.UUID(sys.argv[1]), int(sys.argv[2])
    try:
        _attempt(job_id, attempt)
    except DatabaseUnavailable as error:
        log.warning("job %s: %s", job_id, error.message)
        return BROKEN_OFF
    return 0


def _attempt(job_id: uuid.UUID, attempt: int) -> None:
    settings = Settings()
    database = Database(resolve_database_url(settings, check=False), pool_size=1)
    store = JobStore(database.conninfo)
    begun = store.server_started()
    job = store.get(job_id)
    if job is None or job["attempt"] != attempt:
        return
    process = PROCESSES[job["process"]]
    try:
        result = _export(settings, database, job) if process.command is None else _done(settings, store, job, attempt)
    except DatabaseUnavailable:
        raise
    except (BaigeError, RuntimeError, OSError) as error:
        if store.server_started() != begun:
            raise DatabaseUnavailable("The database was started anew meanwhile.", zh="数据库在此期间重新启动过。") from error
        message = error.message if isinstance(error, BaigeError) else _safe(str(error))
        store.finish(job_id, attempt, status="failed", message=message)
    else:
        store.finish(job_id, attempt, status="successful", message="done", result=result)


def _safe(text: str) -> str:
    """A message without places of this machine."""
    return re.sub(r"(?:[A-Za-z]:)?/[\w./-]{3,}", "…", text).replace(str(Path.home()), "~")[:500]


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
