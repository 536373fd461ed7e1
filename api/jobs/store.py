"""Jobs as they stand in the database, beside procrastinate's own queue, in schema ``baige_jobs``."""

import json
import uuid
from typing import Any

import psycopg
from procrastinate import App, PsycopgConnector
from procrastinate.schema import SchemaManager
from psycopg.rows import dict_row

from layers.access import Principal
from layers.database import driver_errors

__all__ = ["BROKEN_OFF", "JobStore", "queue_app"]

#: Exit code of an attempt that the loss of the database broke off; it is made again (EX_TEMPFAIL of sysexits.h).
BROKEN_OFF = 75

_LOCK = 0x6261_696A
_TABLE = """
CREATE TABLE IF NOT EXISTS baige_jobs.job (
    id uuid PRIMARY KEY,
    process text NOT NULL,
    inputs jsonb NOT NULL,
    role text NOT NULL,
    district text NOT NULL,
    key_id text NOT NULL,
    status text NOT NULL DEFAULT 'accepted',
    message text NOT NULL DEFAULT '',
    progress integer NOT NULL DEFAULT 0,
    attempt integer NOT NULL DEFAULT 0,
    result jsonb,
    created timestamptz NOT NULL DEFAULT now(),
    started timestamptz,
    updated timestamptz NOT NULL DEFAULT now(),
    finished timestamptz
);
CREATE INDEX IF NOT EXISTS job_created_idx ON baige_jobs.job (created);
"""
_OPEN = ("accepted", "running")


def _with_path(conninfo: str) -> str:
    return psycopg.conninfo.make_conninfo(conninfo, options="-c search_path=baige_jobs,public")


def queue_app(conninfo: str) -> App:
    """The queue; open it before use."""
    return App(connector=PsycopgConnector(conninfo=_with_path(conninfo)))


class JobStore:
    """Reads and writes jobs; each call is a short transaction of its own.

    Parameters
    ----------
    conninfo : str
        Connection string of the database, as its owner.
    """

    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo

    def _connect(self) -> "psycopg.Connection[dict[str, Any]]":
        return psycopg.connect(self.conninfo, row_factory=dict_row, application_name="baige-jobs", connect_timeout=5)

    def prepare(self) -> None:
        """Make the tables where they are missing. Safe from several processes at once."""
        with driver_errors(), self._connect() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            connection.execute("CREATE SCHEMA IF NOT EXISTS baige_jobs")
            connection.execute(_TABLE.encode())
            if connection.execute("SELECT to_regclass('baige_jobs.procrastinate_jobs') AS found").fetchone()["found"] is None:  # type: ignore[index]
                connection.execute("SET LOCAL search_path = baige_jobs, public")
                connection.execute(SchemaManager.get_schema().encode())

    def server_started(self) -> str:
        """When the database server was started; another moment means that whatever ran meanwhile was broken off."""
        with driver_errors(), self._connect() as connection:
            return str(connection.execute("SELECT pg_postmaster_start_time() AS at").fetchone()["at"])  # type: ignore[index]

    def add(self, process: str, inputs: dict[str, Any], principal: Principal) -> uuid.UUID:
        """Note a new job and put it into the queue, both or neither; its id cannot be guessed."""
        job = uuid.uuid4()
        with driver_errors(), self._connect() as connection:
            connection.execute("SET LOCAL search_path = baige_jobs, public")
            connection.execute(
                "INSERT INTO baige_jobs.job (id, process, inputs, role, district, key_id) VALUES (%s, %s, %s, %s, %s, %s)",
                (job, process, json.dumps(inputs), principal.role, principal.district, principal.key_id),
            )
            # the queue's own function, in the same transaction as the row above
            connection.execute(
                "SELECT procrastinate_defer_jobs_v1(ARRAY[ROW('baige', 'baige.run', 0, NULL, NULL, %s::jsonb, NULL)::procrastinate_job_to_defer_v1])",
                (json.dumps({"job": str(job)}),),
            )
        return job

    def get(self, job: uuid.UUID) -> dict[str, Any] | None:
        """A job, or None."""
        with driver_errors(), self._connect() as connection:
            return connection.execute("SELECT * FROM baige_jobs.job WHERE id = %s", (job,)).fetchone()

    def listed(self, principal: Principal, *, limit: int) -> list[dict[str, Any]]:
        """The newest jobs that the asker may see: the own ones; all for an admin."""
        with driver_errors(), self._connect() as connection:
            return connection.execute(
                "SELECT * FROM baige_jobs.job WHERE %s OR (key_id = %s AND role = %s AND district = %s) ORDER BY created DESC LIMIT %s",
                (principal.role == "admin", principal.key_id, principal.role, principal.district, limit),
            ).fetchall()

    def begin(self, job: uuid.UUID) -> int | None:
        """Start an attempt; its number, or None where nobody waits for the job any more."""
        found = self._change(job, "status = 'running', attempt = attempt + 1, started = coalesce(started, now())", (), "attempt")
        return None if found is None else int(found)

    def report(self, job: uuid.UUID, attempt: int, *, progress: int, message: str) -> bool:
        """Note how far an attempt is; False where it is no longer wanted."""
        sql = "progress = greatest(progress, %s), message = %s"
        return self._change(job, sql, (progress, message[:500]), "attempt", attempt=attempt) is not None

    def finish(self, job: uuid.UUID, attempt: int, *, status: str, message: str, result: Any = None) -> bool:
        """Note the end of an attempt; an attempt that was overtaken changes nothing."""
        sql = "status = %s, message = %s, result = %s, finished = now(), progress = CASE WHEN %s = 'successful' THEN 100 ELSE progress END"
        values = (status, message[:2000], json.dumps(result) if result is not None else None, status)
        return self._change(job, sql, values, "attempt", attempt=attempt) is not None

    def dismiss(self, job: uuid.UUID) -> bool:
        """Call a job off; False where it had ended."""
        return self._change(job, "status = 'dismissed', finished = now(), message = 'dismissed'", (), "attempt") is not None

    def delete(self, job: uuid.UUID) -> None:
        """Forget an ended job."""
        with driver_errors(), self._connect() as connection:
            connection.execute("DELETE FROM baige_jobs.job WHERE id = %s AND status <> ALL(%s)", (job, list(_OPEN)))

    def _change(self, job: uuid.UUID, assignments: str, values: tuple[Any, ...], returning: str, *, attempt: int | None = None) -> Any:
        condition = "" if attempt is None else " AND attempt = %s"
        sql = f"UPDATE baige_jobs.job SET {assignments}, updated = now() WHERE id = %s AND status = ANY(%s){condition} RETURNING {returning}"
        more = () if attempt is None else (attempt,)
        with driver_errors(), self._connect() as connection:
            row = connection.execute(sql.encode(), (*values, job, list(_OPEN), *more)).fetchone()
        return None if row is None else row[returning]

    def forget_old(self, *, days: int) -> list[uuid.UUID]:
        """Delete jobs that ended longer ago, and name them."""
        with driver_errors(), self._connect() as connection:
            rows = connection.execute(
                "DELETE FROM baige_jobs.job WHERE finished < now() - make_interval(days => %s) RETURNING id", (days,)
            ).fetchall()
        return [row["id"] for row in rows]
