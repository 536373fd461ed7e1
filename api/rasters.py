"""Rasters known to the database (terrain): a part of one as GeoTIFF, or as a picture."""

import asyncio
import io
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.access import principal_of
from api.asking import read_limit, reject_unknown
from api.crs import CRS84, layer_crs, read_crs
from api.state import State
from gis.errors import InputError, NotFound, RasterReadFailed
from layers.access import Principal
from layers.query.filters import read_bbox
from layers.query.fragment import Fragment

__all__ = ["get_coverage", "get_map", "get_raster", "get_rasters"]

_MAX_PIXELS = 4096
_MAX_CELLS = 16_000_000
_SQL = (
    "SELECT name, kind, path, srid, west, south, east, north, cell_m, vertical_crs, synthetic, created_at FROM baige_sys.raster"
    " ORDER BY name"
)
_KEYS = ("name", "kind", "path", "srid", "west", "south", "east", "north", "cell_m", "vertical_crs", "synthetic", "created_at")


async def _known(state: State, principal: Principal) -> dict[str, dict[str, Any]]:
    # row-level security decides which there are
    rows = await state.reader.fetch(principal, Fragment(_SQL))
    found = [dict(zip(_KEYS, (v.decode() if isinstance(v, bytes) else v for v in row), strict=True)) for row in rows]
    return {r["name"]: r for r in found if (state.settings.home / "rasters" / r["path"]).is_file()}


async def _one(request: Request) -> tuple[State, dict[str, Any]]:
    state: State = request.app.state.baige
    found = (await _known(state, await principal_of(request))).get(request.path_params["raster"])
    if found is None:
        raise NotFound("There is no such raster.", zh="没有此栅格。")
    return state, found


def _described(state: State, raster: dict[str, Any]) -> dict[str, Any]:
    from rasterio.warp import transform_bounds

    here = f"{state.serve.base_url}/rasters/{raster['name']}"
    box = transform_bounds(f"EPSG:{raster['srid']}", "OGC:CRS84", raster["west"], raster["south"], raster["east"], raster["north"])
    return {
        "id": raster["name"], "title": raster["name"], "kind": raster["kind"], "storageCrs": f"http://www.opengis.net/def/crs/EPSG/0/{raster['srid']}",
        "extent": {"spatial": {"bbox": [list(box)]}}, "cell_m": raster["cell_m"], "verticalCrs": raster["vertical_crs"],
        "synthetic": raster["synthetic"], "created": raster["created_at"],
        "links": [
            {"rel": "self", "type": "application/json", "href": here},
            {"rel": "http://www.opengis.net/def/rel/ogc/1.0/coverage", "type": "image/tiff; application=geotiff", "href": f"{here}/coverage"},
            {"rel": "http://www.opengis.net/def/rel/ogc/1.0/map", "type": "image/png", "href": f"{here}/map"},
        ],
    }  # fmt: skip


async def get_rasters(request: Request) -> Response:
    """The rasters that the asker may see."""
    reject_unknown(request.query_params, ("f", "lang"))
    state: State = request.app.state.baige
    known = await _known(state, await principal_of(request))
    return Response(orjson.dumps({"rasters": [_described(state, r) for r in known.values()]}), media_type="application/json")


async def get_raster(request: Request) -> Response:
    """One raster."""
    reject_unknown(request.query_params, ("f", "lang"))
    state, found = await _one(request)
    return Response(orjson.dumps(_described(state, found)), media_type="application/json")


def _box(request: Request, state: State, raster: dict[str, Any]) -> tuple[float, float, float, float] | None:
    """``bbox`` in the raster's own system, x, y."""
    from rasterio.warp import transform_bounds

    query = request.query_params
    if "bbox" not in query:
        return None
    offered = layer_crs(raster["srid"], state.city.analysis_srid)
    crs = read_crs(query["bbox-crs"], offered, parameter="bbox-crs") if "bbox-crs" in query else CRS84
    a, b, c, d = read_bbox(query["bbox"])
    west, south, east, north = (b, a, d, c) if crs.swap_xy else (a, b, c, d)
    if west >= east or south >= north:
        raise InputError("bbox: the first corner is the lower left one.", zh="bbox 的第一个角点应为左下角。")
    bounds: tuple[float, float, float, float] = transform_bounds(f"EPSG:{crs.srid}", f"EPSG:{raster['srid']}", west, south, east, north)
    west, south = max(bounds[0], raster["west"]), max(bounds[1], raster["south"])
    east, north = min(bounds[2], raster["east"]), min(bounds[3], raster["north"])
    if west >= east or south >= north:
        raise NotFound("The raster has nothing there.", zh="该范围内没有栅格数据。")
    return west, south, east, north


async def get_coverage(request: Request) -> Response:
    """Values as GeoTIFF, in the raster's own system and cells; ``bbox`` cuts a part out."""
    reject_unknown(request.query_params, ("f", "lang", "bbox", "bbox-crs"))
    if request.query_params.get("f", "tif") not in ("tif", "geotiff", "cog"):
        raise InputError("f: tif.", zh="f 应为 tif。")
    state, found = await _one(request)
    path, box = state.settings.home / "rasters" / found["path"], _box(request, state, found)
    body = await asyncio.to_thread(_cut, path, box)
    headers = {"Cache-Control": "no-cache", "Content-Crs": f"<http://www.opengis.net/def/crs/EPSG/0/{found['srid']}>"}
    return Response(body, headers=headers, media_type="image/tiff; application=geotiff")


def _cut(path: Path, box: tuple[float, float, float, float] | None) -> bytes:
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.windows import from_bounds

    try:
        with rasterio.open(path) as source:
            window = from_bounds(*(box or source.bounds), transform=source.transform).round_offsets().round_lengths(op="ceil")
            if window.width * window.height > _MAX_CELLS:
                raise InputError(f"More than {_MAX_CELLS} cells; give a smaller bbox.", zh=f"超过 {_MAX_CELLS} 个像元，请缩小 bbox。")
            profile = {"driver": "GTiff", "width": int(window.width), "height": int(window.height), "count": 1, "dtype": source.dtypes[0],
                       "crs": source.crs, "transform": source.window_transform(window), "nodata": source.nodata, "compress": "deflate"}  # fmt: skip
            values = source.read(1, window=window, boundless=True, fill_value=source.nodata)
        with MemoryFile() as memory:
            with memory.open(**profile) as target:
                target.write(values, 1)
            return bytes(memory.read())
    except rasterio.errors.RasterioError as error:
        raise RasterReadFailed("The raster could not be read.", zh="栅格读取失败。") from error


async def get_map(request: Request) -> Response:
    """A picture in Web Mercator or another system: heights coloured, ``width`` pixels wide."""
    query = request.query_params
    reject_unknown(query, ("f", "lang", "bbox", "bbox-crs", "crs", "width"))
    state, found = await _one(request)
    width = read_limit(query.get("width"), default=1024, maximum=_MAX_PIXELS)
    offered = layer_crs(found["srid"], state.city.analysis_srid)
    crs = read_crs(query["crs"], offered, parameter="crs") if "crs" in query else CRS84
    path, box = state.settings.home / "rasters" / found["path"], _box(request, state, found)
    body, shown = await asyncio.to_thread(_draw, path, box, crs.srid, width)
    headers = {"Cache-Control": "no-cache", "Content-Crs": f"<{crs.uri}>", "Content-Bbox": ",".join(f"{v:.8g}" for v in shown)}
    return Response(body, headers=headers, media_type="image/png")


def _draw(path: Path, box: tuple[float, float, float, float] | None, srid: int, width: int) -> tuple[bytes, tuple[float, ...]]:
    import matplotlib
    import rasterio
    from PIL import Image
    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT
    from rasterio.warp import transform_bounds
    from rasterio.windows import from_bounds

    try:
        with rasterio.open(path) as source, WarpedVRT(source, crs=f"EPSG:{srid}", resampling=Resampling.bilinear) as warped:
            bounds = transform_bounds(source.crs, warped.crs, *(box or source.bounds))
            window = from_bounds(*bounds, transform=warped.transform)
            height = max(1, min(_MAX_PIXELS, round(width * (bounds[3] - bounds[1]) / (bounds[2] - bounds[0]))))
            values = warped.read(1, window=window, out_shape=(height, width), masked=True, boundless=False)
    except rasterio.errors.RasterioError as error:
        raise RasterReadFailed("The raster could not be read.", zh="栅格读取失败。") from error
    known = values.compressed()
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    scaled = (values.filled(low) - low) / max(high - low, 1e-9)
    picture = (matplotlib.colormaps["terrain"](np.clip(scaled * 0.75 + 0.25, 0, 1)) * 255).astype(np.uint8)
    picture[np.ma.getmaskarray(values)] = 0
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return out.getvalue(), tuple(bounds)
