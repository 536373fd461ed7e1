"""Along the river: any point to chainage, side and offset and back; what lies upstream or downstream, in the order of the water."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import shapely
from sqlalchemy.engine import Connection
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from api.access import principal_of
from api.asking import read_format, reject_unknown
from api.state import State
from gis.crs import SourceCRS, transform_geometries
from gis.errors import InputError, NotFound
from grids.river import River, RiverPlace, read_river, station_m
from grids.river_places import along_river, place_of
from layers.access import Principal

__all__ = ["get_downstream", "get_locate", "get_place", "get_reaches", "get_section", "get_upstream"]

_TIMEOUT_S = 20.0
_CRS84 = SourceCRS("4326")
type Asked = Callable[[Connection, River, Principal, QueryParams], dict[str, Any]]


def _number(query: QueryParams, name: str, *, default: float | None = None) -> float:
    text = query.get(name)
    if text is None:
        if default is None:
            raise InputError(f"{name} is missing.", zh=f"缺少参数 {name}。")
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{name}: a number.", zh=f"{name} 应为数字。")
    return value


def _text(query: QueryParams, name: str) -> str:
    text = query.get(name)
    if not text:
        raise InputError(f"{name} is missing.", zh=f"缺少参数 {name}。")
    return text


def _lonlat(shape: Any, srid: int) -> Any:
    return transform_geometries([shape], SourceCRS(str(srid)), 4326)[0]


def _feature(shape: Any, srid: int, properties: dict[str, Any]) -> dict[str, Any]:
    rounded = shapely.set_precision(_lonlat(shape, srid), 1e-9, mode="pointwise")
    return {"type": "Feature", "geometry": shapely.geometry.mapping(rounded), "properties": properties}


async def _answer(request: Request, known: tuple[str, ...], asked: Asked) -> Response:
    state: State = request.app.state.baige
    query = request.query_params
    reject_unknown(query, ("f", "lang", "version", *known))
    read_format(query, request.headers, ("json",))
    principal = await principal_of(request)
    version = query.get("version")
    if version is not None and not (version.isascii() and version.isdigit() and len(version) < 6):
        raise InputError("version: a whole number.", zh="version 应为整数。")

    def work() -> dict[str, Any]:
        with state.database.begin(principal, readonly=True, timeout_s=_TIMEOUT_S) as connection:
            river = read_river(connection, srid=state.city.analysis_srid, version=int(version) if version else None)
            return asked(connection, river, principal, query)

    body = await asyncio.to_thread(work)
    return Response(orjson.dumps(body), headers={"Cache-Control": "no-store"}, media_type="application/json")


async def get_reaches(request: Request) -> Response:
    """The reaches: names, version, from where to where, into what they flow."""

    def asked(_connection: Connection, river: River, _principal: Principal, _query: QueryParams) -> dict[str, Any]:
        return {"reaches": [
            {"reach": r.code, "name_zh": r.name_zh, "name_en": r.name_en, "axis_version": r.version, "main_stem": r.main_stem,
             "start_m": r.axis.start_m, "end_m": r.axis.end_m, "into": r.into, "into_m": round(r.into_m, 1) if r.into else None}
            for r in river.reaches]}  # fmt: skip

    return await _answer(request, (), asked)


def _from(connection: Connection, river: River, principal: Principal, query: QueryParams) -> RiverPlace:
    """The place that a request is about: a station, a point, or a feature of a layer."""
    if "station" in query:
        reach = river.reach(query.get("reach"))
        return river.locate([river.at(query["station"], reach=reach.code)], reach=reach.code)[0]
    if "feature" in query:
        return place_of(connection, river, query.get("of", "water_intake"), query["feature"], principal)
    return _located(river, query)


def _located(river: River, query: QueryParams) -> RiverPlace:
    lon, lat = _number(query, "lon"), _number(query, "lat")
    if not (-180 <= lon <= 180 and -90 <= lat <= 90):
        raise InputError("lon and lat are degrees, longitude first.", zh="lon、lat 为度，经度在前。")
    point = transform_geometries(np.array([shapely.Point(lon, lat)]), _CRS84, river.srid)[0]
    if not all(math.isfinite(v) for v in (point.x, point.y)):
        raise NotFound("This point lies outside the analysis system.", zh="该点超出分析坐标系的范围。")
    reach = river.reach(query["reach"]).code if "reach" in query else None
    return river.locate([point], reach=reach)[0]


async def get_locate(request: Request) -> Response:
    """``lon``, ``lat`` [``reach``] → station, side and offset; the geometry is the nearest point of the axis."""

    def asked(_connection: Connection, river: River, _principal: Principal, query: QueryParams) -> dict[str, Any]:
        place = _located(river, query)
        return _feature(place.foot, river.srid, place.plain())

    return await _answer(request, ("lon", "lat", "reach"), asked)


async def get_place(request: Request) -> Response:
    """``station`` [``reach``, ``offset``: to the left of the flow] → the point."""

    def asked(_connection: Connection, river: River, _principal: Principal, query: QueryParams) -> dict[str, Any]:
        offset = _number(query, "offset", default=0.0)
        reach = river.reach(query.get("reach"))
        point = river.at(_text(query, "station"), reach=reach.code, offset_m=offset)
        on_axis = river.locate([river.at(query["station"], reach=reach.code)], reach=reach.code)[0]
        return _feature(
            point,
            river.srid,
            {**on_axis.plain(), "offset_m": abs(offset), "side": ("L" if offset > 0 else "R") if offset else None},
        )

    return await _answer(request, ("station", "reach", "offset"), asked)


async def get_section(request: Request) -> Response:
    """``from``, ``to`` [``reach``] → the stretch of the axis between two stations."""

    def asked(_connection: Connection, river: River, _principal: Principal, query: QueryParams) -> dict[str, Any]:
        start, end = station_m(_text(query, "from")), station_m(_text(query, "to"))
        reach = river.reach(query.get("reach"))
        found = {"reach": reach.code, "axis_version": reach.version, "start_m": start, "end_m": end}
        return _feature(river.section(start, end, reach=reach.code), river.srid, found)

    return await _answer(request, ("from", "to", "reach"), asked)


_PLACE = ("station", "reach", "lon", "lat", "feature", "of", "layer")


async def get_upstream(request: Request) -> Response:
    """Features of ``layer`` (outfall) upstream of a place, by at most ``within`` metres, in the order in which their water arrives."""

    def asked(connection: Connection, river: River, principal: Principal, query: QueryParams) -> dict[str, Any]:
        place = _from(connection, river, principal, query)
        within = _number(query, "within", default=math.inf) if "within" in query else math.inf
        along = along_river(connection, river, query.get("layer", "outfall"), principal)
        found = river.upstream(place, along.places, within_m=within)
        return {"place": place.plain(), "features": [along.plain(travel) for travel in found]}

    return await _answer(request, (*_PLACE, "within"), asked)


async def get_downstream(request: Request) -> Response:
    """Features of ``layer`` (water_intake) that the water of a place comes to, the nearest first, ``limit`` (10) of them."""

    def asked(connection: Connection, river: River, principal: Principal, query: QueryParams) -> dict[str, Any]:
        place = _from(connection, river, principal, query)
        along = along_river(connection, river, query.get("layer", "water_intake"), principal)
        limit = int(min(max(_number(query, "limit", default=10), 1), 1000))
        found = river.downstream(place, along.places, ends_m=along.ends_m)[:limit]
        return {"place": place.plain(), "features": [along.plain(travel) for travel in found]}

    return await _answer(request, (*_PLACE, "limit"), asked)
