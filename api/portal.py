"""What the portal asks of the server beside the OGC API: its description of the layers, places by chainage, MapLibre's files."""

import asyncio

import orjson
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from api.access import principal_of
from api.asking import reject_unknown
from api.base_tiles import get_base_tile
from api.extents import extent_of
from api.items import FRESH, read_count
from api.officer import officer_routes
from api.offline import offline_routes
from api.rasters import known_rasters
from api.reader import as_text
from api.relief import get_relief
from api.state import State, etag_of, matches, not_modified, scope_of
from api.tally import get_tally
from gis.errors import BackendError, InputError, NotFound
from layers.query import cql2_sql
from layers.query.fragment import Fragment
from layers.query.items import Question
from maps.portal_configuration import maplibre_file, portal_configuration

__all__ = ["portal_routes"]

_RUNS = (
    "SELECT DISTINCT ON (kind) kind, id::text, to_char(coalesce(finished_at, started_at), 'YYYY-MM-DD HH24:MI'), synthetic"
    " FROM baige_sys.run_brief WHERE state = 'done' ORDER BY kind, finished_at DESC"
)
_CHANGED = "SELECT name, to_char(changed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM baige_sys.layer"
_ALONG = (
    "SELECT t.id::text, coalesce(t.name_zh, ''), t.reach_code, ST_X(p), ST_Y(p) FROM baige.river_axis AS t,"
    " LATERAL (SELECT ST_Transform(ST_Force2D(ST_GeometryN(ST_LocateAlong(t.geom, %s), 1)), 4326) AS p) AS at"
    " WHERE p IS NOT NULL AND NOT ST_IsEmpty(p) ORDER BY t.is_main_stem DESC NULLS LAST, t.axis_version DESC, t.reach_code LIMIT 5"
)
_LABELS_MOST = 2000


async def _configuration(request: Request) -> Response:
    """Layers as the asker's role sees them, with counts and the moment of their last change, and the newest run of each kind."""
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
    changed = {as_text(name): as_text(at) for name, at in await state.reader.plain(_CHANGED)}
    for layer in document["layers"]:
        layer["changed"] = changed.get(layer["name"]) if layer["count"] else None
    first = next((layer["name"] for layer in document["layers"] if layer["name"] == "grid_cell" and layer["count"]), None)
    if first:
        document["city"]["focus"] = list(await extent_of(state, principal, await state.catalogue.find(first, principal.role)))
    document["relief"] = any(raster["kind"] == "dem" for raster in (await known_rasters(state, principal)).values())
    document["base"] = (state.serve.base_title or "XYZ") if state.serve.base_tiles.get_secret_value() else ""
    document["runs"] = []
    document["synthetic"] = False
    if principal.role != "public":
        rows = await state.reader.fetch(principal, Fragment(_RUNS), timeout_s=state.serve.statement_timeout_s)
        document["runs"] = [{"kind": as_text(kind), "id": as_text(run), "at": as_text(at)} for kind, run, at, _ in rows]
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
        {"id": as_text(i), "name": as_text(name), "reach": as_text(reach), "lon": float(as_text(x)), "lat": float(as_text(y))}
        for i, name, reach, x, y in rows
    ]
    return Response(orjson.dumps({"places": found}), media_type="application/json", headers=FRESH)


async def _labels(request: Request) -> Response:
    """One point a feature for the names of areas, the largest first: in tiles, an area in several tiles would be named in each.

    ``filter`` (CQL2) as for tiles.
    """
    state: State = request.app.state.baige
    reject_unknown(request.query_params, ("filter",))
    principal = await principal_of(request)
    source = await state.catalogue.find(request.path_params["collection"], principal.role)
    style = source.declaration.style
    column = source.columns.get(style.label or "")
    if column is None or source.declaration.geometry not in ("Polygon", "MultiPolygon", "Geometry"):
        raise NotFound(f"Collection {source.name} has no names to draw.", zh=f"图层 {source.name} 没有可绘制的名称。")
    by = source.columns.get(style.by or "")
    degrees = "ST_Transform(ST_PointOnSurface(t.geom), 4326)"
    sql = Fragment(
        f"SELECT {column.sql}::text, ST_X({degrees}), ST_Y({degrees}), {by.sql + '::text' if by else 'NULL'}, row_number() OVER"
        f" (ORDER BY ST_Area(t.geom) DESC) FROM {source.table} AS t WHERE {column.sql} IS NOT NULL AND ST_Dimension(t.geom) = 2"
    )
    wanted = request.query_params.get("filter", "")
    if wanted:
        sql = sql + " AND (" + cql2_sql.compile_filter(wanted, source) + ")"
    sql = sql + f" ORDER BY 5 LIMIT {_LABELS_MOST}"
    counter = await state.counters.current(source.name)
    etag = etag_of("labels", source.name, wanted, counter, scope_of(principal), state.catalogue.version)
    headers = {**FRESH, "ETag": etag}
    if matches(request, etag):
        return not_modified(etag, FRESH)
    rows = await state.reader.fetch(principal, sql, timeout_s=state.serve.statement_timeout_s)
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [round(float(as_text(x)), 6), round(float(as_text(y)), 6)]},
            "properties": {"label": as_text(name), "class": None if kind is None else as_text(kind), "rank": int(as_text(rank))},
        }
        for name, x, y, kind, rank in rows
    ]
    return Response(orjson.dumps({"type": "FeatureCollection", "features": features}), media_type="application/geo+json", headers=headers)


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
        Route("/portal/labels/{collection}", _labels),
        Route("/portal/tally/{collection}", get_tally),
        Route("/portal/lib/{name}", _maplibre),
        Route("/portal/relief/{z}/{y}/{x}", get_relief),
        Route("/portal/base/{z}/{y}/{x}", get_base_tile),
        *officer_routes(),
        *offline_routes(),
    ]
