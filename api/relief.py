"""Shaded relief for the base map: tiles of light and shadow from the elevation models."""

import asyncio
import io
import math

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from api.access import principal_of
from api.asking import reject_unknown
from api.rasters import known_rasters
from api.state import State, etag_of, matches, not_modified
from gis.errors import InputError, NotFound
from layers.access import Principal
from layers.rasters import dem_window

__all__ = ["get_relief", "shade"]

_SIDE = 512
_EARTH_M = 20037508.342789244
_ZOOM_MAX = 17
_KEPT = {"Cache-Control": "private, max-age=3600", "Vary": "Authorization, X-API-Key, Cookie"}
_SUN_AZIMUTH_DEG, _SUN_HEIGHT_DEG, _EXAGGERATION = 315.0, 45.0, 2.0


def shade(heights: NDArray[np.float32], cell_m: float) -> NDArray[np.uint8]:
    """Grey and opacity (rows, columns, 2) of a lit surface: flat ground is clear, slopes are darker or lighter (Horn 1981).

    Parameters
    ----------
    heights : ndarray, row 0 in the north
        Metres; NaN is clear.
    cell_m : float
        Side of a cell on the ground.

    Examples
    --------
    >>> bool((shade(np.zeros((4, 4), dtype=np.float32), 10.0)[..., 1] == 0).all())
    True
    """
    south, east = np.gradient(np.nan_to_num(heights, nan=float(np.nanmean(heights)) if np.isfinite(heights).any() else 0.0), cell_m)
    south, east = south * _EXAGGERATION, east * _EXAGGERATION
    sun, high = math.radians(_SUN_AZIMUTH_DEG), math.radians(_SUN_HEIGHT_DEG)
    # the light that falls on a slope, from its normal (-dz/dx, dz/dsouth, 1)
    lit = (-east * math.sin(sun) + south * math.cos(sun)) * math.cos(high) + math.sin(high)
    lit = lit / np.sqrt(1.0 + south**2 + east**2) - math.sin(high)
    out = np.zeros((*heights.shape, 2), dtype=np.uint8)
    out[..., 0] = np.where(lit > 0, 255, 40)
    out[..., 1] = np.where(np.isnan(heights), 0, np.clip(np.abs(lit) * 330, 0, 100)).astype(np.uint8)
    return out


async def get_relief(request: Request) -> Response:
    """A tile of shaded relief, Web Mercator, 512 pixels wide. Kept until an elevation model comes or goes."""
    state: State = request.app.state.baige
    reject_unknown(request.query_params, ())
    principal = await principal_of(request)
    try:
        z, y, x = (int(request.path_params[name]) for name in "zyx")
    except ValueError as error:
        raise InputError("z, y, x: whole numbers.", zh="z、y、x 应为整数。") from error
    if not (0 <= z <= _ZOOM_MAX and 0 <= x < 2**z and 0 <= y < 2**z):
        raise NotFound("There is no such tile.", zh="没有此瓦片。")
    visible = await known_rasters(state, principal)
    models = sorted((raster["path"], str(raster["created_at"])) for raster in visible.values() if raster["kind"] == "dem")
    if not models:
        return Response(status_code=204)
    key = ("relief", z, y, x, tuple(models))
    etag = etag_of(*key)
    headers = {**_KEPT, "ETag": etag}
    if matches(request, etag):
        return not_modified(etag, _KEPT)
    body = state.tiles.recall(key)
    if body is None:
        body = await asyncio.to_thread(_tile, state, principal, z, y, x) or b""
        if state.serve.tile_cache_mb:
            state.tiles.keep(key, body)
    if not body:
        return Response(status_code=204, headers=headers)
    return Response(body, headers=headers, media_type="image/png")


def _tile(state: State, principal: Principal, z: int, y: int, x: int) -> bytes | None:
    from PIL import Image

    side = 2 * _EARTH_M / 2**z
    west, north = -_EARTH_M + x * side, _EARTH_M - y * side
    cell = side / _SIDE
    try:
        # one cell more around, so that slopes go on over the edge
        window = (west - cell, north - side - cell, west + side + cell, north + cell)
        # under the asker's role, so that models that are not for him cast no shadow
        with state.database.begin(principal, readonly=True) as connection:
            heights, _, _ = dem_window(connection, state.settings.home, window, srid=3857, cell_m=cell, smooth=True)
    except NotFound:
        return None
    if np.isnan(heights).all():
        return None
    latitude = math.atan(math.sinh((north - side / 2) / _EARTH_M * math.pi))
    picture = Image.fromarray(shade(heights, cell * math.cos(latitude))[1 : _SIDE + 1, 1 : _SIDE + 1], mode="LA")
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()
