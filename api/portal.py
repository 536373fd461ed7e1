"""What the portal asks of the server beside the OGC API: its description of the layers, places by chainage, MapLibre's files."""

import asyncio

import orjson
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from api.access import principal_of
from api.asking import reject_unknown
from api.items import FRESH, read_count
from api.state import State
from gis.errors import BackendError, InputError, NotFound
from layers.query.fragment import Fragment
from layers.query.items import Question
from maps.portal_configuration import maplibre_file, portal_configuration

__all__ = ["portal_routes"]

_RUNS = (
    "SELECT DISTINCT ON (kind) kind, id::text, to_char(coalesce(finished_at, started_at), 'YYYY-MM-DD HH24:MI'), synthetic"
    " FROM baige_sys.run WHERE state = 'done' ORDER BY kind, finished_at DESC"
)
_ALONG = (
    "SELECT t.id::text, coalesce(t.name_zh, ''), t.reach_code, ST_X(p), ST_Y(p) FROM baige.river_axis AS t,"
    " LATERAL (SELECT ST_Transform(ST_Force2D(ST_GeometryN(ST_LocateAlong(t.geom, %s), 1)), 4326) AS p) AS at"
    " WHERE p IS NOT NULL AND NOT ST_IsEmpty(p) ORDER BY t.is_main_stem DESC NULLS LAST, t.axis_version DESC, t.reach_code LIMIT 5"
)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


async def _configuration(request: Request) -> Response:
    """Layers as the asker's role sees them, with counts, and the newest run of each kind."""
    state: State = request.app.state.baige
    reject_unknown(request.query_params, ())
    principal = await principal_of(request)
    document = portal_configuration(state.catalogue.layers, role=principal.role, city=state.city)
    document["authenticated"] = bool(principal.key_id)

    async def count(name: str) -> int | None:
        source = await state.catalogue.find(name, principal.role)
        try:
            return await read_count(state, principal, Question(source), await state.counters.current(name))
        except (BackendError, NotFound):
            return None

    names = [layer["name"] for layer in document["layers"]]
    for layer, number in zip(document["layers"], await asyncio.gather(*map(count, names)), strict=True):
        layer["count"] = number
    document["runs"] = []
    document["synthetic"] = False
    if principal.role != "public":
        rows = await state.reader.fetch(principal, Fragment(_RUNS), timeout_s=state.serve.statement_timeout_s)
        document["runs"] = [{"kind": _text(kind), "id": _text(run), "at": _text(at)} for kind, run, at, _ in rows]
    made_up = Fragment("SELECT exists(SELECT 1 FROM baige.road AS t WHERE t.synthetic)")
    marked = await state.reader.fetch(principal, made_up, timeout_s=state.serve.statement_timeout_s)
    document["synthetic"] = marked[0][0] in (True, b"t", b"true", "t")
    return Response(orjson.dumps(document), media_type="application/json", headers=FRESH)


async def _chainage(request: Request) -> Response:
    """Places on the river axes at a chainage, the main stem first: ``?m=12300``."""
    state: State = request.app.state.baige
    reject_unknown(request.query_params, ("m",))
    principal = await principal_of(request)
    try:
        metres = float(request.query_params.get("m", ""))
    except ValueError as error:
        raise InputError("m: metres along the river.", zh="m 应为沿河里程（米）。") from error
    if not -1e6 < metres < 1e8:
        raise InputError("m: metres along the river.", zh="m 应为沿河里程（米）。")
    await state.catalogue.find("river_axis", principal.role)
    rows = await state.reader.fetch(principal, Fragment(_ALONG, (metres,)), timeout_s=state.serve.statement_timeout_s)
    found = [
        {"id": _text(i), "name": _text(name), "reach": _text(reach), "lon": float(_text(x)), "lat": float(_text(y))} for i, name, reach, x, y in rows
    ]
    return Response(orjson.dumps({"places": found}), media_type="application/json", headers=FRESH)


async def _maplibre(request: Request) -> Response:
    """Script or style sheet of MapLibre GL."""
    name = request.path_params["name"]
    if name not in ("maplibre-gl.js", "maplibre-gl.css"):
        raise NotFound(f"There is no file {name[:60]!r}.", zh=f"没有文件 {name[:60]!r}。")
    return FileResponse(maplibre_file(name), headers={"Cache-Control": "public, max-age=86400"})


def portal_routes() -> list[BaseRoute]:
    """Routes that must stand before the portal's static files."""
    return [
        Route("/portal/config.json", _configuration),
        Route("/portal/chainage", _chainage),
        Route("/portal/lib/{name}", _maplibre),
    ]
