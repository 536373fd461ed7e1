"""What operators see of the server: one log line for each request, as JSON where wished, and metrics in Prometheus' form."""

import contextvars
import datetime as dt
import json
import logging
import os
import re
import secrets
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)
from prometheus_client.core import GaugeMetricFamily
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access import principal_of
from api.asking import reject_unknown
from api.state import State
from api.telemetry import span, tracing
from gis.errors import BackendError, Forbidden, Unauthorized

__all__ = ["JsonFormatter", "Observed", "get_metrics", "redacted", "set_up_logs"]

access_log = logging.getLogger("baige.access")

_request_id: contextvars.ContextVar[str] = contextvars.ContextVar("baige_request_id", default="")
_SECRETS = re.compile(
    r"bg_[0-9a-f]{4,}_[\w-]+|(?i:bearer|basic)\s+[\w.~+/=-]{8,}|eyJ[\w-]+\.[\w-]+\.[\w-]*|(?<=://)[^\s/@:]+:[^\s/@]+(?=@)|(?i:password=)\S+"
)
_LOOPBACK = {"127.0.0.1", "::1", "localhost", "[::1]"}

REQUESTS = Counter("baige_requests_total", "Requests answered.", ["endpoint", "method", "status"])
SECONDS = Histogram(
    "baige_request_seconds", "Time to the end of the answer.", ["endpoint"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)  # fmt: skip
OPEN = Gauge("baige_requests_open", "Requests being answered.", multiprocess_mode="livesum")
WAITING = Gauge("baige_pool_waiting", "Requests that wait for a database connection.", multiprocess_mode="livesum")

_FACTS = """
SELECT 'baige_jobs', 'Jobs by status.', status, count(*)::float8 FROM baige_jobs.job GROUP BY status
UNION ALL SELECT 'baige_job_oldest_seconds', 'Age of the oldest job that waits.', '', coalesce(extract(epoch FROM now() - min(created)), 0)
  FROM baige_jobs.job WHERE status = 'accepted'
"""
_MORE_FACTS = """
SELECT 'baige_database_bytes', 'Size of the database.', '', pg_database_size(current_database())::float8
UNION ALL SELECT 'baige_database_connections', 'Connections to the database by state.', coalesce(state, 'other'), count(*)::float8
  FROM pg_stat_activity WHERE datname = current_database() GROUP BY 3
UNION ALL SELECT 'baige_database_connections_max', 'Connections that the server allows.', '', current_setting('max_connections')::float8
UNION ALL SELECT 'baige_longest_transaction_seconds', 'Age of the oldest transaction.', '',
  coalesce(extract(epoch FROM now() - min(xact_start)), 0)::float8 FROM pg_stat_activity WHERE datname = current_database()
UNION ALL SELECT 'baige_quarantine_rows', 'Rows in quarantine, not yet dealt with.', '', count(*)::float8
  FROM baige_sys.quarantine WHERE resolved_at IS NULL
"""


def redacted(text: str) -> str:
    """A text without keys, tokens and passwords.

    Examples
    --------
    >>> redacted("postgresql://baige:secret@db/city with bg_0123456789ab_AbC-xyz")
    'postgresql://…@db/city with …'
    """
    return _SECRETS.sub("…", text)


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        at = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {"at": at, "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        if number := _request_id.get():
            line["request_id"] = number
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return redacted(json.dumps(line, ensure_ascii=False, default=str))


class _PlainFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        number = _request_id.get()
        facts = " ".join(f"{k}={v}" for k, v in getattr(record, "facts", {}).items())
        return redacted(" ".join(part for part in (super().format(record), facts, f"[{number}]" if number else "") if part))


def set_up_logs(form: str, level: str) -> None:
    """Send all logs of this process to standard error, as ``text`` or ``json``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else _PlainFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("baige", "uvicorn"):
        logging.getLogger(name).setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers, logging.getLogger(name).propagate = [], name != "uvicorn.access"  # ours has more


class Observed:
    """ASGI middleware around all others: gives the request its id, counts and times it, and writes its log line."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Watch a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["baige.request_id"] = secrets.token_hex(8)
        token = _request_id.set(scope["baige.request_id"])
        begun, status, size = time.perf_counter(), 0, 0

        async def sent(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            size += len(message.get("body", b""))
            await send(message)

        OPEN.inc()
        spanning = ExitStack()
        traced = None
        if tracing():
            about = {"http.request.method": scope["method"], "url.path": redacted(scope["path"]), "baige.request_id": scope["baige.request_id"]}
            traced = spanning.enter_context(span("request", headers=scope["headers"], attributes=about))
        try:
            await self.app(scope, receive, sent)
        finally:
            OPEN.dec()
            took = time.perf_counter() - begun
            endpoint = getattr(scope.get("endpoint"), "__name__", None) or "none"
            if traced is not None:
                traced.update_name(endpoint)
                traced.set_attribute("http.response.status_code", status or 499)
            spanning.close()
            # 499: the client left before there was an answer
            REQUESTS.labels(endpoint, scope["method"] if scope["method"] in _METHODS else "other", status or 499).inc()
            SECONDS.labels(endpoint).observe(took)
            if access_log.isEnabledFor(logging.INFO):
                facts = {"method": scope["method"], "path": scope["path"], "status": status or 499, "ms": round(took * 1000, 1), "bytes": size,
                         "client": (scope.get("client") or ("",))[0]}  # fmt: skip
                access_log.info("request", extra={"facts": facts})
            _request_id.reset(token)


_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


async def get_metrics(request: Request) -> Response:
    """Metrics, for this computer itself or with an admin key."""
    reject_unknown(request.query_params, ())
    state: State = request.app.state.baige
    if not _from_here(request):
        principal = await principal_of(request)
        if principal.role != "admin":
            if principal.key_id:
                raise Forbidden("Metrics are for the role admin.", zh="指标仅限管理员。")
            raise Unauthorized("Metrics need an admin key.", zh="查看指标需要管理员密钥。")
    WAITING.set(state.reader.waiting())
    facts = CollectorRegistry()
    families: dict[str, GaugeMetricFamily] = {}
    up = 1.0
    try:
        rows = await state.reader.plain(_MORE_FACTS)
        if await state.reader.plain("SELECT 1 WHERE to_regclass('baige_jobs.job') IS NOT NULL"):
            rows += await state.reader.plain(_FACTS)
    except BackendError:
        rows, up = [], 0.0
    for name, text, label, value in rows:
        key, about, what = (v.decode() if isinstance(v, bytes) else v for v in (name, text, label))
        family = families.setdefault(key, GaugeMetricFamily(key, about, labels=["state"] if what else []))
        family.add_metric([what] if what else [], value)
    families["baige_database_up"] = GaugeMetricFamily("baige_database_up", "Whether the database answers.", value=up)
    facts.register(_Fixed(list(families.values())))
    return Response(_own() + generate_latest(facts), media_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})


def _own() -> bytes:
    """Metrics of all server processes together; `baige serve` gives them a folder in common."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        for path in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("gauge_live*.db"):
            if not Path(f"/proc/{path.stem.rsplit('_', 1)[1]}").exists():  # what a dead process was doing it does no more
                path.unlink(missing_ok=True)
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
    return generate_latest()


class _Fixed:
    def __init__(self, families: list[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> list[GaugeMetricFamily]:
        return self._families


def _from_here(request: Request) -> bool:
    """Whether a request comes from this computer itself, and not through a proxy on it."""
    headers = request.headers
    if any(name in headers for name in ("x-forwarded-for", "x-forwarded-host", "x-real-ip", "forwarded", "via")):
        return False
    return request.client is not None and request.client.host in _LOOPBACK and (request.url.hostname or "") in _LOOPBACK
