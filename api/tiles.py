"""Vector tiles: ``/collections/{id}/tiles``, tile sets, TileJSON and the tiles themselves."""

import asyncio
from typing import Any

import orjson
from prometheus_client import Counter
from starlette.requests import Request
from starlette.responses import Response

from api.access import principal_of
from api.asking import language, read_as_of, read_format, reject_unknown
from api.extents import extent_of
from api.html import page
from api.items import FRESH, read_count
from api.state import State, etag_of, matches, not_modified, scope_of, while_connected
from api.tile_store import KEPT_MOST_BYTES, tile_key
from gis.errors import InputError, NotFound
from layers.query import cql2_sql
from layers.query.fragment import Fragment
from layers.query.items import Question
from layers.query.source import Source
from layers.query.tilegrid import MATRIX_SETS, MAX_ZOOM, matrix_set
from layers.query.tiles import TileRules, tile_sql

__all__ = ["get_matrix_set", "get_matrix_sets", "get_tile", "get_tilejson", "get_tileset", "get_tilesets"]

TILES = Counter("baige_tiles_total", "Tiles answered, by where they came from: memory, files, database.", ["source"])

MVT = "application/vnd.mapbox-vector-tile"
_REL = "http://www.opengis.net/def/rel/ogc/1.0"


def _number(text: str, name: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InputError(f"{name}: a whole number.", zh=f"{name} 应为整数。")
    return int(text)


async def get_tile(request: Request) -> Response:
    """One tile. It is made when first asked for and kept until the layer changes."""
    state: State = request.app.state.baige
    path = request.path_params
    tile = matrix_set(path["matrix_set"]).tile(_number(path["z"], "z"), _number(path["x"], "x"), _number(path["y"], "y"))
    principal = await principal_of(request)
    source = await state.catalogue.find(path["collection"], principal.role)
    query = request.query_params
    if not source.has_geometry:
        raise NotFound(f"Collection {source.name} has no places of its own.", zh=f"图层 {source.name} 没有几何。")
    filters: tuple[Fragment, ...] = ()
    if query:
        reject_unknown(query, ("f", "filter", "filter-lang", "as-of"))
        source = source.as_of(read_as_of(query))
        if query.get("f", "mvt") not in ("mvt", "pbf"):
            raise InputError("f: mvt.", zh="f 应为 mvt。")
        if "filter" in query:
            filters = (cql2_sql.compile_filter(query["filter"], source, lang=query.get("filter-lang", "cql2-text")),)
    counter = await state.counters.current(source.name)
    key = tile_key(source, tile, scope_of(principal), filters, counter, state.catalogue.version)
    etag = etag_of(key)
    headers = {**FRESH, "ETag": etag}
    if matches(request, etag):
        return not_modified(etag, FRESH)
    body = state.tiles.recall(key)
    if body is None and state.tile_files is not None:
        body = await asyncio.to_thread(state.tile_files.recall, key)
        if body is not None:
            TILES.labels("files").inc()
            state.reads.note(principal, source.name)
            if state.serve.tile_cache_mb:
                state.tiles.keep(key, body)
    elif body is not None:
        TILES.labels("memory").inc()
        state.reads.note(principal, source.name)
    if body is None:
        TILES.labels("database").inc()
        total = await read_count(state, principal, Question(source), counter)
        sql = tile_sql(source, tile, total=total, filters=filters, rules=TileRules(cap=state.serve.tile_cap))
        work = state.reader.fetch(principal, sql, timeout_s=state.serve.tile_timeout_s)
        body = bytes((await while_connected(request, work))[0][0])
        if len(body) < KEPT_MOST_BYTES:
            if state.serve.tile_cache_mb:
                state.tiles.keep(key, body)
            if state.tile_files is not None:
                await asyncio.to_thread(state.tile_files.keep, key, body)
    if not body:
        return Response(status_code=204, headers=headers)
    return Response(body, headers=headers, media_type=MVT)


def _set_links(state: State, source: Source, name: str) -> list[dict[str, Any]]:
    base = f"{state.serve.base_url}/collections/{source.name}/tiles/{name}"
    return [
        {"rel": "self", "type": "application/json", "href": f"{base}?f=json"},
        {"rel": "item", "type": MVT, "href": f"{base}/{{tileMatrix}}/{{tileRow}}/{{tileCol}}", "templated": True},
        {"rel": "describedby", "type": "application/json", "href": f"{base}/metadata", "title": "TileJSON"},
        {"rel": f"{_REL}/tiling-scheme", "type": "application/json", "href": f"{state.serve.base_url}/tileMatrixSets/{name}"},
    ]


def _tileset(state: State, source: Source, name: str, lang: str, box: tuple[float, float, float, float]) -> dict[str, Any]:
    found = MATRIX_SETS[name]
    return {
        "title": source.declaration.title(lang), "dataType": "vector", "crs": found.crs, "tileMatrixSetURI": found.uri,
        "links": _set_links(state, source, name), "boundingBox": {"lowerLeft": list(box[:2]), "upperRight": list(box[2:])},
        "layers": [{"id": source.name, "dataType": "vector", "geometryDimension": _dimension(source)}],
    }  # fmt: skip


def _dimension(source: Source) -> int:
    kind = source.declaration.geometry
    return 0 if "Point" in kind else 1 if "Line" in kind else 2


async def _placed(request: Request) -> tuple[State, Source, str, tuple[float, float, float, float]]:
    state: State = request.app.state.baige
    principal = await principal_of(request)
    source = await state.catalogue.find(request.path_params["collection"], principal.role)
    if not source.has_geometry:
        raise NotFound(f"Collection {source.name} has no places of its own.", zh=f"图层 {source.name} 没有几何。")
    return state, source, language(request.query_params, request.headers), await extent_of(state, principal, source)


async def get_tilesets(request: Request) -> Response:
    """The tile sets of a collection."""
    reject_unknown(request.query_params, ("f", "lang"))
    state, source, lang, box = await _placed(request)
    sets = [_tileset(state, source, name, lang, box) for name in MATRIX_SETS]
    base = f"{state.serve.base_url}/collections/{source.name}/tiles"
    body = {"tilesets": sets, "links": [{"rel": "self", "type": "application/json", "href": f"{base}?f=json"}]}
    if read_format(request.query_params, request.headers, ("json", "html")) == "html":
        return page(state, "tiles", lang, {"source": source, **body})
    return Response(orjson.dumps(body), headers=FRESH, media_type="application/json")


async def get_tileset(request: Request) -> Response:
    """One tile set of a collection."""
    reject_unknown(request.query_params, ("f", "lang"))
    name = matrix_set(request.path_params["matrix_set"]).id
    state, source, lang, box = await _placed(request)
    return Response(orjson.dumps(_tileset(state, source, name, lang, box)), headers=FRESH, media_type="application/json")


async def get_tilejson(request: Request) -> Response:
    """TileJSON 3.0 of a collection: what map libraries need to show it."""
    reject_unknown(request.query_params, ("f", "lang"))
    name = matrix_set(request.path_params["matrix_set"]).id
    state, source, lang, box = await _placed(request)
    fields = {c.name: {"int": "Number", "num": "Number", "bool": "Boolean"}.get(c.kind, "String") for c in source.properties}
    address = f"{state.serve.base_url}/collections/{source.name}/tiles/{name}"
    body = {
        "tilejson": "3.0.0", "name": source.name, "description": source.declaration.title(lang), "scheme": "xyz", "format": "pbf",
        "tiles": [f"{address}/{{z}}/{{y}}/{{x}}"], "minzoom": 0, "maxzoom": min(18, MAX_ZOOM), "bounds": list(box),
        "center": [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, 11],
        "vector_layers": [{"id": source.name, "description": source.declaration.title(lang), "fields": fields}],
    }  # fmt: skip
    return Response(orjson.dumps(body), headers=FRESH, media_type="application/json")


async def get_matrix_sets(request: Request) -> Response:
    """All tile matrix sets."""
    state: State = request.app.state.baige
    reject_unknown(request.query_params, ("f", "lang"))
    lang = language(request.query_params, request.headers)
    sets = []
    for found in MATRIX_SETS.values():
        href = f"{state.serve.base_url}/tileMatrixSets/{found.id}"
        title = found.title_zh if lang == "zh" else found.title_en
        sets.append({"id": found.id, "title": title, "uri": found.uri, "crs": found.crs,
                     "links": [{"rel": "self", "type": "application/json", "href": href}]})  # fmt: skip
    if read_format(request.query_params, request.headers, ("json", "html")) == "html":
        return page(state, "matrix_sets", lang, {"sets": sets})
    return Response(orjson.dumps({"tileMatrixSets": sets}), media_type="application/json")


async def get_matrix_set(request: Request) -> Response:
    """One tile matrix set."""
    state: State = request.app.state.baige
    reject_unknown(request.query_params, ("f", "lang"))
    found = matrix_set(request.path_params["matrix_set"])
    return Response(orjson.dumps(found.document(state.serve.base_url)), media_type="application/json")
