"""The server: one ASGI application for all ways in."""

import asyncio
import logging
import multiprocessing
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import (
    changes,
    edits,
    items,
    pages,
    processes,
    rasters,
    records,
    river,
    rules,
    scenarios,
    schemas,
    styles,
    tiles,
)
from api.access import key_in_address
from api.asking import language, reject_unknown
from api.formats import preload
from api.gallery import Gallery
from api.lifetime import end_with_parent
from api.live import Counters, LiveCatalogue
from api.observe import Observed, get_metrics, set_up_logs
from api.patience import Patience
from api.portal import portal_routes
from api.problems import problem, problem_of
from api.reader import Reader, configure
from api.replica import Replica
from api.sessions import session_routes
from api.settings import OidcSettings, ServeSettings
from api.state import ClientLeft, Recent, State
from api.telemetry import set_up_traces
from api.tile_store import TileStore, salt_of
from api.tokens import Tokens
from gis.errors import BaigeError, DatabaseUnavailable
from gis.settings import Settings
from layers.cluster import EmbeddedCluster, resolve_database_url
from layers.cluster_external import normalise_url
from layers.database import Database
from layers.query.cql2_sql import FUNCTIONS
from layers.registry import storage_srid

__all__ = ["app_from_environment", "create_app"]

log = logging.getLogger("baige.api")

_MAX_QUERY = 70_000
_THREADS = 32
_SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
}
#: What a page of another origin may send; a session's CSRF value is not among it.
_METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
_ASKED_BY = ("Accept", "Accept-Language", "Authorization", "Content-Crs", "Content-Type", "If-Match", "If-None-Match", "Prefer", "X-API-Key")
_PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; worker-src 'self' blob:; connect-src 'self';"
    " frame-ancestors 'self'; object-src 'none'; base-uri 'self'; form-action 'self'"
)
#: Pages of ``baige map build`` hold their scripts and data in themselves; nothing of them goes to another server.
_MAP_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'; object-src 'none'; base-uri 'none'; form-action 'none'"
)

_KEY_IN_ADDRESS = (
    "A key never stands in an address; send it as X-API-Key or Authorization. Addresses stay in histories and logs: revoke that key.",
    "密钥不得写在网址中，请用 X-API-Key 或 Authorization 请求头；网址会留在历史和日志里，请吊销该密钥。",
)


class Marked:
    """Around every answer, whoever gives it: the request's id, security headers, and what caches must tell apart."""

    def __init__(self, app: ASGIApp, *, by_origin: bool = False) -> None:
        self.app, self.by_origin = app, by_origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                headers["X-Request-Id"] = scope["baige.request_id"]
                for name, value in _SECURITY.items():
                    headers.setdefault(name, value)
                if headers.get("content-type", "").startswith("text/html"):
                    policy = _MAP_POLICY if scope["path"].startswith("/maps") else _PAGE_POLICY
                    headers.setdefault("Content-Security-Policy", policy)
                if self.by_origin:  # an answer kept for one origin, or for none, is not another one's
                    headers.add_vary_header("Origin")
            await send(message)

        await self.app(scope, receive, sent)


class Guard:
    """Around our own code: limits on address and body, and problem documents for errors."""

    def __init__(self, app: ASGIApp, *, body_max: int, hosts: frozenset[str] = frozenset()) -> None:
        self.app = app
        self.body_max = body_max
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        fault = self._fault(scope) or self._not_ready(scope)
        if fault is not None:
            await fault(scope, receive, send)
            return
        started = False

        async def sent(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self.body_max:
                    raise HTTPException(413)
            return message

        try:
            await self.app(scope, counted, sent)
        except (ClientLeft, ClientDisconnect):
            log.debug("client left %s", scope["path"])
        except Exception:
            log.exception("request %s failed", scope["baige.request_id"])
            if started:
                raise
            response = problem(500, *_unexpected(scope))
            await response(scope, receive, send)

    def _fault(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        lang = language(QueryParams(), headers)
        if len(scope.get("query_string", b"")) > _MAX_QUERY:
            return problem(414, "网址过长。" if lang == "zh" else "The address is too long.", lang=lang)
        if self.hosts and headers.get("host", "").rsplit(":", 1)[0] not in self.hosts:
            # a demonstration role is for this computer only: no name of another site may lead here
            return problem(403, "仅限本机访问。" if lang == "zh" else "For this computer only.", lang=lang)
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self.body_max:
            return problem(413, "请求体过大。" if lang == "zh" else "The body is too large.", lang=lang, headers={"Connection": "close"})
        if scope.get("query_string") and key_in_address(scope["query_string"]):
            text = _KEY_IN_ADDRESS[lang == "zh"]
            return problem(400, text, lang=lang)
        try:
            scope.get("query_string", b"").decode("ascii")
        except UnicodeDecodeError:
            return problem(400, "网址含有未编码的字符。" if lang == "zh" else "The address has characters that are not percent-encoded.", lang=lang)
        if "\x00" in scope["path"] or "\ufffd" in scope["path"]:
            return problem(400, "路径无效。" if lang == "zh" else "The path is not valid.", lang=lang)
        if b"%" in scope.get("query_string", b"") and not _is_utf8(scope["query_string"]):
            return problem(400, "查询串不是有效的 UTF-8。" if lang == "zh" else "The query string is not valid UTF-8.", lang=lang)
        return None

    def _not_ready(self, scope: Scope) -> Response | None:
        """Before the database was reached for the first time there is nothing to answer from."""
        state: State | None = getattr(scope["app"].state, "baige", None)
        if state is None or state.catalogue.version or scope["path"].startswith(("/healthz", "/static", "/metrics")):
            return None
        return problem_of(
            DatabaseUnavailable("The database cannot be reached.", zh="无法连接数据库。"), lang=language(QueryParams(), Headers(scope=scope))
        )


def _is_utf8(query: bytes) -> bool:
    try:
        unquote_to_bytes(query).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _unexpected(scope: Scope) -> tuple[str]:
    lang = language(QueryParams(scope.get("query_string", b"")), Headers(scope=scope))
    number = scope["baige.request_id"]
    return (f"服务器内部错误，请求号 {number}。" if lang == "zh" else f"A fault of the server; request {number}.",)


async def _on_error(request: Request, error: Exception) -> Response:
    lang = language(request.query_params, request.headers)
    if isinstance(error, ClientLeft):
        raise error
    if isinstance(error, BaigeError):
        script = request.headers.get("sec-fetch-mode", "navigate") != "navigate"
        return problem_of(error, lang=lang, instance=request.url.path, script=script)
    raise error


async def _on_http(request: Request, error: Exception) -> Response:
    lang = language(request.query_params, request.headers)
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(getattr(error, "headers", None) or {})
    texts = {
        404: ("There is nothing at this address.", "此地址没有内容。"), 405: ("This method is not offered here.", "此处不支持该方法。"),
        408: ("The request did not come in time.", "请求未在规定时间内送达。"),
        413: ("The body is too large.", "请求体过大。"),
    }  # fmt: skip
    en, zh = texts.get(status, (str(getattr(error, "detail", "")) or "Error", "错误"))
    return problem(status, zh if lang == "zh" else en, lang=lang, instance=request.url.path, headers=headers)


async def _functions(request: Request) -> Response:
    reject_unknown(request.query_params, ("f", "lang"))
    types = {"text": "string", "number": "number", "bool": "boolean"}
    found = [
        {"name": name, "returns": [types.get(answer, answer)], "arguments": [{"type": [types.get(a, a)]} for a in arguments]}
        for name, (arguments, answer, _) in FUNCTIONS.items()
    ]
    found.append({"name": "s_dwithin", "returns": ["boolean"], "arguments": [{"type": ["geometry"]}, {"type": ["geometry"]}, {"type": ["number"]}]})
    return Response(orjson.dumps({"functions": found}), media_type="application/json")


async def _healthy(request: Request) -> Response:
    return Response(b'{"status":"ok"}', media_type="application/json")


async def _ready(request: Request) -> Response:
    state: State = request.app.state.baige
    await state.reader.plain("SELECT 1")
    return Response(orjson.dumps({"status": "ready", "layers": len(state.catalogue.layers)}), media_type="application/json")


def _to_portal(request: Request) -> Response:
    return RedirectResponse("/portal/")


def _routes(settings: Settings) -> list[BaseRoute]:
    import xstatic.pkg.leaflet

    here = "/collections/{collection}"
    tile = here + "/tiles/{matrix_set}"
    routes: list[BaseRoute] = [
        # the busiest first
        Route(tile + "/{z}/{y}/{x}", tiles.get_tile),
        Route(here + "/items", items.get_items, methods=["GET"]),
        Route(here + "/items", edits.collection_edit, methods=["POST", "OPTIONS"]),
        Route(here + "/items/{feature}", items.get_item, methods=["GET"]),
        Route(here + "/items/{feature}", edits.feature_edit, methods=["PUT", "PATCH", "DELETE", "OPTIONS"]),
        Route("/", pages.get_landing_page),
        Route("/conformance", pages.get_conformance),
        Route("/collections", pages.get_collections),
        Route("/openapi", pages.get_openapi),
        Route("/api", pages.get_openapi),
        Route("/functions", _functions),
        Route("/tileMatrixSets", tiles.get_matrix_sets),
        Route("/TileMatrixSets", tiles.get_matrix_sets),
        Route("/tileMatrixSets/{matrix_set}", tiles.get_matrix_set),
        Route(here, pages.get_collection),
        Route(here + "/schema", schemas.get_schema),
        Route(here + "/queryables", schemas.get_queryables),
        Route(here + "/sortables", schemas.get_sortables),
        Route(here + "/tiles", tiles.get_tilesets),
        Route(tile, tiles.get_tileset),
        Route(tile + "/metadata", tiles.get_tilejson),
        Route(tile + "/tilejson.json", tiles.get_tilejson),
        Route(here + "/styles", styles.get_styles),
        Route(here + "/styles/{style}", styles.get_style),
        Route("/records", records.get_records),
        Route("/records/{record}", records.get_record),
        Route("/rasters", rasters.get_rasters),
        Route("/rasters/{raster}", rasters.get_raster),
        Route("/rasters/{raster}/coverage", rasters.get_coverage),
        Route("/rasters/{raster}/map", rasters.get_map),
        Route("/processes", processes.get_processes),
        Route("/processes/{process}", processes.get_process),
        Route("/processes/{process}/execution", processes.execute, methods=["POST"]),
        Route("/jobs", processes.get_jobs),
        Route("/jobs/{job}", processes.get_job, methods=["GET"]),
        Route("/jobs/{job}", processes.delete_job, methods=["DELETE"]),
        Route("/jobs/{job}/results", processes.get_results),
        Route("/river", river.get_reaches),
        Route("/river/locate", river.get_locate),
        Route("/river/place", river.get_place),
        Route("/river/section", river.get_section),
        Route("/river/upstream", river.get_upstream),
        Route("/river/downstream", river.get_downstream),
        Route("/rules", rules.get_rules),
        Route("/rules/waivers", rules.get_waivers, methods=["GET"]),
        Route("/rules/waivers", rules.post_waiver, methods=["POST"]),
        Route("/rules/waivers/{waiver}", rules.delete_waiver, methods=["DELETE"]),
        Route("/rules/{rule}", rules.get_rule),
        Route("/scenarios", scenarios.get_scenarios),
        Route("/scenarios/preview", scenarios.post_preview, methods=["POST"]),
        Route("/changes", changes.get_changes),
        Route("/changes/{change}/undo", changes.post_undo, methods=["POST"]),
        Route("/healthz", _healthy),
        Route("/readyz", _ready),
        Route("/metrics", get_metrics),
        Route("/portal", _to_portal),
        *session_routes(),
        *portal_routes(),
        Mount("/static/leaflet", StaticFiles(directory=xstatic.pkg.leaflet.BASE_DIR)),
        Mount("/static", StaticFiles(directory=str(resources.files("api").joinpath("static")))),
    ]
    portal = Path(str(resources.files("maps").joinpath("portal")))
    if portal.is_dir():
        routes.append(Mount("/portal", StaticFiles(directory=portal, html=True)))
    gallery = settings.home / "maps"
    routes.append(Mount("/maps", Gallery(gallery)))
    return routes


def _open_database(settings: Settings, url: str | None) -> tuple[Database, int]:
    """The database and its storage system. One that is gone for now is waited for: until then requests are told so."""
    if url is None:
        try:
            url = resolve_database_url(settings, check=False)
        except DatabaseUnavailable as error:  # the embedded one; its watch starts it again
            log.warning("%s", error.message)
            url = EmbeddedCluster(settings.home).url()
    database = Database(url, pool_size=4)
    try:
        with database.begin(readonly=True) as connection:
            return database, storage_srid(connection)
    except DatabaseUnavailable as error:
        log.warning("%s", error.message)
        return database, settings.city_config.storage_srid  # the two are the same: an upgrade refuses others


async def _identity(reader: Reader) -> int:
    """Which database this is: a number that it shares with its replicas alone."""
    return int((await reader.plain("SELECT system_identifier FROM pg_control_system()"))[0][0])


def create_app(settings: Settings | None = None, serve: ServeSettings | None = None, *, database_url: str | None = None) -> Starlette:
    """Make the application. Nothing is opened before it starts.

    Parameters
    ----------
    settings, serve : Settings, ServeSettings, optional
        Read from the environment where not given.
    database_url : str, optional
        Database to use, its schema being up to date; found by ``settings`` where not given.
    """
    settings = settings or Settings()
    serve = serve or ServeSettings()

    tokens = Tokens.configured(OidcSettings())

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        database, srid = _open_database(settings, database_url)
        reader = Reader(database.conninfo, size=serve.pool_size)
        await reader.open()
        counters = Counters(database.conninfo)
        if settings.database_read_url is not None:
            reader.replica = Replica(
                Database(normalise_url(settings.database_read_url.get_secret_value())).conninfo, size=serve.pool_size, configure=configure,
                place=counters.place, identity=lambda: _identity(reader),
            )  # fmt: skip
            await reader.replica.open()
        catalogue = LiveCatalogue(reader, database.conninfo, srid)
        counters.on_connect = catalogue.refresh
        state = State(settings, serve, settings.city_config, database, reader, catalogue, counters,
                      tiles=Recent(size=serve.tile_cache_mb * 1_000_000), tokens=tokens)  # fmt: skip
        if serve.tile_store is not None:
            state.tile_files = TileStore(serve.tile_store, most_bytes=serve.tile_store_mb * 1_000_000, salt=salt_of(serve.tile_cap))
        # edits and jobs wait in threads for the database; a few that wait for a lock must not hold up the others
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="baige"))
        await catalogue.start()
        app.state.baige = state
        state.reads.watch(catalogue.layers)
        catalogue.on_change(lambda: state.reads.watch(catalogue.layers))
        state.reads.start()
        loading = asyncio.create_task(asyncio.to_thread(preload))
        yield
        await loading
        await catalogue.stop()
        await state.reads.stop()
        await state.counters.close()
        if reader.replica is not None:
            await reader.replica.close()
        await reader.close()
        database.dispose()

    middleware = [Middleware(Observed), Middleware(Marked, by_origin=bool(serve.origins) and serve.origins != ["*"])]
    if serve.origins:
        exposed = ["Link", "ETag", "Content-Crs", "OGC-NumberMatched", "OGC-NumberReturned", "Location", "Retry-After", "X-Request-Id"]
        # never with credentials: a page of another origin sends a key of its own, not the session of the browser's user
        middleware.append(
            Middleware(CORSMiddleware, allow_origins=serve.origins, allow_methods=_METHODS, allow_headers=_ASKED_BY, expose_headers=exposed)
        )
    hosts = frozenset() if serve.anonymous_role == "public" else frozenset({"127.0.0.1", "localhost", "[::1]", "testserver", serve.host})
    handlers: dict[Any, Callable[[Request, Exception], Awaitable[Response]]] = {BaigeError: _on_error, HTTPException: _on_http}
    app = Starlette(
        routes=_routes(settings), lifespan=lifespan, exception_handlers=handlers,
        middleware=[*middleware, Middleware(Patience, body_s=serve.body_timeout_s, take_s=serve.take_timeout_s),
                    Middleware(Guard, body_max=serve.body_max_mb * 1_000_000, hosts=hosts)],
    )  # fmt: skip
    app.router.redirect_slashes = False
    return app


def app_from_environment() -> Starlette:
    """The application of a worker process, told what to do by its parent through ``BAIGE_…`` variables."""
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        end_with_parent(parent=parent.pid)
    serve = ServeSettings()
    set_up_logs(serve.log_format, serve.log_level)
    set_up_traces()
    return create_app(serve=serve)


