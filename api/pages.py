"""Landing page, conformance, collections and API document: written by pygeoapi from the catalogue, kept until the catalogue changes."""

import asyncio
import logging
from typing import Any

import orjson
from pygeoapi import l10n
from pygeoapi.api import API, APIRequest
from pygeoapi.api import conformance as pygeoapi_conformance
from pygeoapi.api import describe_collections as pygeoapi_collections
from pygeoapi.api import landing_page as pygeoapi_landing_page
from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import Response

import api.provider  # noqa: F401 - pygeoapi loads it by name
from api.access import principal_of
from api.asking import FORMATS, language, read_format, reject_unknown
from api.conformance import CONFORMANCE
from api.extents import extent_of
from api.html import page
from api.openapi import OPENAPI, openapi_document
from api.pygeoapi_config import pygeoapi_config
from api.state import State, etag_of, matches, not_modified
from gis.errors import NotFound, QueryFailed
from layers.access import Principal

__all__ = ["Framework", "framework", "get_collection", "get_collections", "get_conformance", "get_landing_page", "get_openapi"]

_HEADERS = {"Cache-Control": "no-cache", "Vary": "Accept, Accept-Language, Authorization, Cookie, X-API-Key"}
_REL = "http://www.opengis.net/def/rel/ogc/1.0"


class _Asked:
    """What pygeoapi's request needs of ours."""

    def __init__(self, path: str, lang: str) -> None:
        self.scope = {"path": path}
        self.query_params = QueryParams({"f": "json", "lang": lang})
        self.headers = Headers({})


class Framework:
    """pygeoapi over one state of the catalogue."""

    def __init__(self, state: State) -> None:
        root = logging.getLogger()
        if not root.handlers:  # pygeoapi would send its log to standard output
            root.addHandler(logging.NullHandler())
        self.config = pygeoapi_config(
            state.catalogue.layers, serve=state.serve, city=state.city, storage_srid=state.catalogue.storage_srid,
            conninfo=state.database.conninfo,
        )  # fmt: skip
        l10n._cfg_cache.clear()
        self.api = API(self.config, {})

    def document(self, call: Any, lang: str, *arguments: str) -> dict[str, Any]:
        """What a function of pygeoapi answers, as JSON."""
        request = APIRequest(_Asked("/", lang), self.api.locales)
        _, status, content = call(self.api, request, *arguments)
        if int(status) != 200:
            raise QueryFailed("The description could not be made.", zh="无法生成描述。")
        found: dict[str, Any] = orjson.loads(content)
        return found


def framework(state: State) -> Framework:
    """Pygeoapi over the present catalogue."""
    known = state.pages.recall(("framework", state.catalogue.version))
    if known is None:
        known = Framework(state)
        state.pages.keep(("framework", state.catalogue.version), known)
    return known  # type: ignore[no-any-return]


async def _cached(state: State, key: tuple[Any, ...], make: Any) -> dict[str, Any]:
    """A document of this state of the catalogue; made in a thread, so that tiles are served meanwhile."""
    whole = (*key, state.catalogue.version)
    known = state.pages.recall(whole)
    if known is None:
        known = await asyncio.to_thread(make)
        state.pages.keep(whole, known)
    return known  # type: ignore[no-any-return]


def _respond(request: Request, document: Any, *, media: str = "application/json", lang: str) -> Response:
    body = orjson.dumps(document)
    etag = etag_of(body)
    headers = {**_HEADERS, "Content-Language": lang, "ETag": etag}
    if matches(request, etag):
        return not_modified(etag, _HEADERS)
    return Response(body, headers=headers, media_type=media)


def _asked(request: Request, *more: str) -> tuple[State, str, str]:
    reject_unknown(request.query_params, ("f", "lang", *more))
    return (
        request.app.state.baige, language(request.query_params, request.headers),
        read_format(request.query_params, request.headers, ("json", "html")),
    )  # fmt: skip


async def get_landing_page(request: Request) -> Response:
    """What there is."""
    state, lang, format_ = _asked(request)
    base = state.serve.base_url

    def make() -> dict[str, Any]:
        document = framework(state).document(pygeoapi_landing_page, lang)
        document["links"] = [k for k in document["links"] if "jsonld" not in k["href"] and not k["rel"].endswith("tiling-schemes")]
        zh = lang == "zh"
        extra = [
            (f"{_REL}/tiling-schemes", "application/json", "/tileMatrixSets", "瓦片矩阵集" if zh else "Tile matrix sets"),
            (f"{_REL}/data", "application/json", "/collections", "图层" if zh else "Collections"),
            (f"{_REL}/functions", "application/json", "/functions", "过滤函数" if zh else "Functions of filters"),
            ("related", "application/geo+json", "/records", "图层与分析目录" if zh else "Catalogue of layers and runs"),
            ("related", "application/json", "/rasters", "栅格" if zh else "Rasters"),
            ("alternate", "text/html", "/portal/", "地图门户" if zh else "Map portal"),
        ]
        document["links"] += [{"rel": rel, "type": media, "href": base + path, "title": title} for rel, media, path, title in extra]
        return document

    document = await _cached(state, ("landing", lang), make)
    if format_ == "html":
        return page(state, "landing", lang, {"document": document}, headers=_HEADERS)
    return _respond(request, document, lang=lang)


async def get_conformance(request: Request) -> Response:
    """Which standards this server meets."""
    state, lang, format_ = _asked(request)

    def make() -> dict[str, Any]:
        stock = framework(state).document(pygeoapi_conformance, lang)["conformsTo"]
        kept = [uri for uri in stock if "ogcapi-processes" in uri and "callback" not in uri]
        kept += [f"http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf/{name}" for name in ("job-list", "dismiss")]
        return {"conformsTo": sorted({*CONFORMANCE, *kept})}

    document = await _cached(state, ("conformance", lang), make)
    if format_ == "html":
        return page(state, "conformance", lang, {"document": document}, headers=_HEADERS)
    return _respond(request, document, lang=lang)


def _finish(state: State, found: dict[str, Any], lang: str) -> dict[str, Any]:
    """What pygeoapi does not know of a collection: sortables, formats, TileJSON, styles; and without links that lead nowhere."""
    name, zh = found["id"], lang == "zh"
    layer = state.catalogue.layers[name]
    here = f"{state.serve.base_url}/collections/{name}"
    links = [k for k in found["links"] if "jsonld" not in k["href"]]
    for format_, media in FORMATS.items():
        if format_ not in ("json", "html"):
            title = f"要素，{format_}" if zh else f"Items as {format_}"
            links.append({"rel": "items", "type": media, "title": title, "href": f"{here}/items?f={format_}"})
    links.append({"rel": f"{_REL}/sortables", "type": "application/schema+json", "href": f"{here}/sortables?f=json",
                  "title": "可排序属性" if zh else "Sortables"})  # fmt: skip
    if layer.has_geometry:
        title = "MapLibre 样式" if zh else "Style (MapLibre)"
        links.append({"rel": f"{_REL}/styles", "type": "application/json", "href": f"{here}/styles", "title": title})
    found["links"] = links
    return found


async def _collections(state: State, lang: str) -> dict[str, dict[str, Any]]:
    def make() -> dict[str, Any]:
        document = framework(state).document(pygeoapi_collections, lang)
        return {found["id"]: _finish(state, found, lang) for found in document["collections"]}

    return await _cached(state, ("collections", lang), make)


async def _with_extent(state: State, principal: Principal, found: dict[str, Any]) -> dict[str, Any]:
    source = state.catalogue.source(found["id"], principal.role)
    box = await extent_of(state, principal, source)
    spatial = {"bbox": [list(box)], "crs": "http://www.opengis.net/def/crs/OGC/1.3/CRS84"}
    if not source.has_geometry:  # hidden from this role
        found = {**found, "links": [k for k in found["links"] if "/tiles" not in k["href"] and "/styles" not in k["href"]]}
    return {**found, "extent": {"spatial": spatial, "temporal": {"interval": [[None, None]]}}}


async def get_collections(request: Request) -> Response:
    """All layers."""
    state, lang, format_ = _asked(request)
    principal = await principal_of(request)
    known = await _collections(state, lang)
    here = f"{state.serve.base_url}/collections"
    layers = state.catalogue.layers
    # tables without places come last: clients that look at the first few collections expect a geometry
    listed = sorted((c for c in known.values() if c["id"] in layers), key=lambda c: not layers[c["id"]].has_geometry)
    found = [await _with_extent(state, principal, c) for c in listed]
    links = [
        {"rel": "self" if format_ == "json" else "alternate", "type": "application/json", "href": f"{here}?f=json"},
        {"rel": "self" if format_ == "html" else "alternate", "type": "text/html", "href": f"{here}?f=html"},
    ]
    document = {"collections": found, "links": links, "numberMatched": len(found), "numberReturned": len(found)}
    if format_ == "html":
        return page(state, "collections", lang, {"document": document}, headers=_HEADERS)
    return _respond(request, document, lang=lang)


async def get_collection(request: Request) -> Response:
    """One layer."""
    state, lang, format_ = _asked(request)
    principal = await principal_of(request)
    name = request.path_params["collection"]
    await state.catalogue.find(name, principal.role)
    found = (await _collections(state, lang)).get(name)
    if found is None:
        raise NotFound(f"There is no collection {name[:60]!r}.", zh=f"没有图层 {name[:60]!r}。")
    document = await _with_extent(state, principal, found)
    if format_ == "html":
        placed = state.catalogue.source(name, principal.role).has_geometry
        return page(state, "collection", lang, {"document": document, "placed": placed}, headers=_HEADERS)
    return _respond(request, document, lang=lang)


async def get_openapi(request: Request) -> Response:
    """The API document (OpenAPI 3.0), without references to other servers."""
    reject_unknown(request.query_params, ("f", "lang"))
    state: State = request.app.state.baige
    lang = language(request.query_params, request.headers)
    format_ = read_format(request.query_params, request.headers, ("json", "html"))
    principal = await principal_of(request)
    document = await _cached(state, ("openapi", lang, principal.role), lambda: openapi_document(state, lang, principal.role))
    if format_ == "html":
        return page(state, "openapi", lang, {"document": document}, headers=_HEADERS)
    return _respond(request, document, media=OPENAPI, lang=lang)
