"""Rasters known to the database (terrain): values of a part, and pictures of it."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.access import principal_of
from api.asking import language, read_format, reject_unknown
from api.coverages import cut, read_scale
from api.crs import CRS84, ApiCRS, epsg, layer_crs, read_crs
from api.html import entries_page
from api.raster_area import Box, Nothing, read_area, read_size
from api.raster_maps import draw, read_background
from api.raster_sets import mosaic, spread
from api.state import State
from gis.errors import InputError, NotFound
from layers.access import Principal
from layers.query.fragment import Fragment

__all__ = ["COVERAGE_PARAMETERS", "MAP_PARAMETERS", "get_coverage", "get_map", "get_raster", "get_rasters", "known_rasters"]

_AREA = ("bbox", "bbox-crs", "subset", "subset-crs")
#: Parameters of pictures; each stands in the API document.
MAP_PARAMETERS = (
    *_AREA, "center", "center-crs", "crs", "width", "height", "scale-denominator", "mm-per-pixel", "bgcolor", "transparent", "void-color",
    "void-transparent",
)  # fmt: skip
COVERAGE_PARAMETERS = (*_AREA, "scale-factor", "scale-size")
_SQL = (
    "SELECT name, kind, path, srid, west, south, east, north, cell_m, vertical_crs, synthetic, created_at FROM baige_sys.raster"
    " ORDER BY name"
)
_KEYS = ("name", "kind", "path", "srid", "west", "south", "east", "north", "cell_m", "vertical_crs", "synthetic", "created_at")


async def known_rasters(state: State, principal: Principal) -> dict[str, dict[str, Any]]:
    """Rasters that a principal may see and whose file is there, by name."""
    # row-level security decides which there are
    rows = await state.reader.fetch(principal, Fragment(_SQL))
    found = [dict(zip(_KEYS, (v.decode() if isinstance(v, bytes) else v for v in row), strict=True)) for row in rows]
    stored = state.settings.home / "rasters"
    return {r["name"]: r for r in await asyncio.to_thread(lambda: [one for raster in found for one in _present(raster, stored / raster["path"])])}


def _present(raster: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    """The raster where its file is there; of a set of coverage its products."""
    if path.is_file():
        return [raster]
    return spread(raster, path) if raster["kind"] == "coverage" else []


async def _one(request: Request) -> tuple[State, dict[str, Any]]:
    state: State = request.app.state.baige
    found = (await known_rasters(state, await principal_of(request))).get(request.path_params["raster"])
    if found is None:
        raise NotFound("There is no such raster.", zh="没有此栅格。")
    return state, found


def _described(state: State, raster: dict[str, Any]) -> dict[str, Any]:
    from rasterio.warp import transform_bounds

    here = f"{state.serve.base_url}/rasters/{quote(raster['name'])}"
    box = transform_bounds(f"EPSG:{raster['srid']}", "OGC:CRS84", raster["west"], raster["south"], raster["east"], raster["north"])
    return {
        "id": raster["name"], "title": raster["name"], "kind": raster["kind"], "storageCrs": f"http://www.opengis.net/def/crs/EPSG/0/{raster['srid']}",
        "crs": list(layer_crs(raster["srid"], state.city.analysis_srid)),
        "extent": {"spatial": {"bbox": [list(box)]}}, "cell_m": raster["cell_m"], "verticalCrs": raster["vertical_crs"],
        "synthetic": raster["synthetic"], "created": raster["created_at"],
        "links": [
            {"rel": "self", "type": "application/json", "href": here},
            {"rel": "http://www.opengis.net/def/rel/ogc/1.0/coverage", "type": "image/tiff; application=geotiff", "href": f"{here}/coverage"},
            {"rel": "http://www.opengis.net/def/rel/ogc/1.0/map", "type": "image/png", "href": f"{here}/map"},
        ],
    }  # fmt: skip


def _page(request: Request, state: State, found: list[dict[str, Any]]) -> Response:
    lang = language(request.query_params, request.headers)
    entries = []
    for raster in found:
        here = f"{state.serve.base_url}/rasters/{quote(raster['id'])}"
        facts = [("Kind", raster["kind"]), ("Cell", f"{raster['cell_m']} m"), ("Stored in", raster["storageCrs"])]
        if raster["synthetic"]:
            facts.append(("Synthetic data", "✓"))
        entries.append({"id": raster["id"], "title": raster["title"], "href": f"{here}?f=html&lang={lang}", "picture": f"{here}/map?width=480",
                        "facts": facts, "links": [{"href": f"{here}/coverage", "title": "Values of cells"},
                                                  {"href": f"{here}/map", "title": "Map"}]})  # fmt: skip
    return entries_page(state, "Rasters", lang, entries)


async def get_rasters(request: Request) -> Response:
    """The rasters that the asker may see."""
    reject_unknown(request.query_params, ("f", "lang"))
    state: State = request.app.state.baige
    known = await known_rasters(state, await principal_of(request))
    found = [_described(state, r) for r in known.values()]
    if read_format(request.query_params, request.headers, ("json", "html")) == "html":
        return _page(request, state, found)
    links = [{"rel": "self", "type": "application/json", "href": f"{state.serve.base_url}/rasters"}]
    return Response(orjson.dumps({"rasters": found, "links": links}), media_type="application/json")


async def get_raster(request: Request) -> Response:
    """One raster."""
    reject_unknown(request.query_params, ("f", "lang"))
    state, found = await _one(request)
    described = _described(state, found)
    if read_format(request.query_params, request.headers, ("json", "html")) == "html":
        return _page(request, state, [described])
    return Response(orjson.dumps(described), media_type="application/json")


async def _asked(request: Request, known: tuple[str, ...], formats: tuple[str, ...]) -> tuple[State, dict[str, Any], Path | str, str]:
    query = request.query_params
    # subset may be given several times (Maps, requirement subset-definition H)
    several = {name for name, _ in query.multi_items() if name == "subset"}
    reject_unknown(type(query)([(k, v) for k, v in query.multi_items() if k not in several]), ("f", "lang", *known))
    form = query.get("f", formats[0])
    if form not in formats:
        raise InputError(f"f: {', '.join(formats)}.", zh=f"f 应为 {'、'.join(formats)}。")
    state, found = await _one(request)
    path = state.settings.home / "rasters" / found["path"]
    if "product" in found:
        return state, found, await asyncio.to_thread(mosaic, path, found["product"], _extent(found)), form
    return state, found, path, form


def _extent(raster: dict[str, Any]) -> Box:
    return raster["west"], raster["south"], raster["east"], raster["north"]


def _placed(crs: ApiCRS, box: Box) -> dict[str, str]:
    """Headers that say where an answer lies, axes as the authority orders them; CRS84 goes without saying."""
    corners = (box[1], box[0], box[3], box[2]) if crs.swap_xy else box
    headers = {"Cache-Control": "no-cache", "Content-Bbox": ",".join(f"{v:.12g}" for v in corners)}
    return headers if crs == CRS84 else {**headers, "Content-Crs": f"<{crs.uri}>"}


async def get_coverage(request: Request) -> Response:
    """Values as GeoTIFF (``f=tif``, ``f=cog``) in the raster's own system; a part by ``bbox`` or ``subset``, fewer cells by ``scale-…``."""
    state, found, path, form = await _asked(request, COVERAGE_PARAMETERS, ("tif", "cog"))
    own = epsg(found["srid"])
    scale = read_scale(request.query_params)
    try:
        area = read_area(request.query_params, layer_crs(found["srid"], state.city.analysis_srid), srid=found["srid"], extent=_extent(found), crs=own)
    except Nothing:
        return Response(status_code=204)
    body = await asyncio.to_thread(cut, path, area.box if area.asked else None, scale, cog=form == "cog", classes="product" in found)
    media = "image/tiff; application=geotiff" + ("; profile=cloud-optimized" if form == "cog" else "")
    return Response(body, headers=_placed(own, area.box), media_type=media)


async def get_map(request: Request) -> Response:
    """A picture (PNG) of a raster, or of a part of it, in its own or another system."""
    state, found, path, _ = await _asked(request, MAP_PARAMETERS, ("png",))
    query = request.query_params
    offered = layer_crs(found["srid"], state.city.analysis_srid)
    crs = read_crs(query["crs"], offered, parameter="crs") if "crs" in query else epsg(found["srid"])
    background = read_background(query)
    try:
        area = read_area(query, offered, srid=found["srid"], extent=_extent(found), crs=crs)
    except Nothing:
        return Response(status_code=204)
    box, width, height = read_size(query, area, offered)
    body = await asyncio.to_thread(draw, path, box, crs, (width, height), background, classes="product" in found)
    return Response(body, headers=_placed(crs, box), media_type="image/png")
