"""Styles of a collection (OGC API – Styles): MapLibre and SLD, from the layer's one declaration of how it looks."""

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.access import principal_of
from api.asking import language, read_format, reject_unknown
from api.html import entries_page
from api.items import FRESH
from api.state import State
from gis.errors import InputError, NotFound
from layers.query.source import Source
from maps.style_maplibre import maplibre_layers
from maps.style_sld import sld_document

__all__ = ["get_style", "get_styles"]

_MAPLIBRE = "application/vnd.mapbox.style+json"
_SLD = "application/vnd.ogc.sld+xml;version=1.0"


async def _found(request: Request) -> tuple[State, Source, str]:
    state: State = request.app.state.baige
    principal = await principal_of(request)
    source = await state.catalogue.find(request.path_params["collection"], principal.role)
    if not source.has_geometry:
        raise NotFound(f"Collection {source.name} has no places of its own.", zh=f"图层 {source.name} 没有几何。")
    return state, source, language(request.query_params, request.headers)


async def get_styles(request: Request) -> Response:
    """The styles of a collection: one, in two languages of styling."""
    reject_unknown(request.query_params, ("f", "lang"))
    state, source, lang = await _found(request)
    here = f"{state.serve.base_url}/collections/{source.name}/styles"
    links = [
        {"rel": "stylesheet", "type": _MAPLIBRE, "href": f"{here}/default?f=maplibre", "title": "MapLibre"},
        {"rel": "stylesheet", "type": _SLD, "href": f"{here}/default?f=sld", "title": "SLD 1.0"},
    ]
    title = source.declaration.title(lang)
    if read_format(request.query_params, request.headers, ("json", "html")) == "html":
        crumb = (f"{state.serve.base_url}/collections/{source.name}?f=html&lang={lang}", title)
        return entries_page(state, "Styles", lang, [{"id": "default", "title": title, "links": links}], crumb=crumb, headers=FRESH)
    own = [{"rel": "self", "type": "application/json", "href": here}]
    body = {"styles": [{"id": "default", "title": title, "links": links}], "default": "default", "links": own}
    return Response(orjson.dumps(body), headers={**FRESH, "Content-Language": lang}, media_type="application/json")


async def get_style(request: Request) -> Response:
    """One style: ``f=maplibre`` (with the collection's own tiles as source) or ``f=sld``."""
    reject_unknown(request.query_params, ("f", "lang"))
    state, source, lang = await _found(request)
    if request.path_params["style"] != "default":
        raise NotFound("There is only the style 'default'.", zh="只有样式 default。")
    asked = request.query_params.get("f") or ("sld" if "sld" in request.headers.get("accept", "") else "maplibre")
    if asked == "sld":
        return Response(sld_document(source.declaration, lang=lang), headers={**FRESH, "Content-Language": lang}, media_type=_SLD)
    if asked not in ("maplibre", "mapbox", "json"):
        raise InputError("f: maplibre or sld.", zh="f 应为 maplibre 或 sld。")
    address = f"{state.serve.base_url}/collections/{source.name}/tiles/WebMercatorQuad/{{z}}/{{y}}/{{x}}"
    style: dict[str, Any] = {
        "version": 8, "name": source.declaration.title(lang),
        "sources": {source.name: {"type": "vector", "tiles": [address], "minzoom": 0, "maxzoom": 18}},
        "layers": maplibre_layers(source.declaration, source=source.name, source_layer=source.name),
    }  # fmt: skip
    return Response(orjson.dumps(style), headers={**FRESH, "Content-Language": lang}, media_type=_MAPLIBRE)
