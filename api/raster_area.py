"""Which part of a raster a request asks for, and how finely: ``bbox``, ``subset``, ``center``, ``width``, ``height``, ``scale-denominator``.

Source: OGC API – Maps – Part 1 (OGC 20-058), clauses "Spatial subsetting" and "Scaling".
"""

import math
import re
from dataclasses import dataclass

from rasterio.errors import CRSError
from rasterio.warp import transform_bounds
from starlette.datastructures import QueryParams

from api.crs import CRS84, ApiCRS, read_crs
from gis.crs import reach, source_crs, transform_coordinates
from gis.errors import InputError, LimitExceeded
from layers.query.filters import read_bbox

__all__ = ["MAX_SIDE_PX", "Area", "Box", "Nothing", "read_area", "read_size"]

Box = tuple[float, float, float, float]

#: Longest side of a picture, and its side where none is asked for.
MAX_SIDE_PX = 4096
DEFAULT_SIDE_PX = 1024
#: Side of a display's pixel that scales refer to (OGC 17-083r4).
_PIXEL_MM = 0.28
#: What scales and pixel sizes may be.
_LEAST, _MOST = 1e-6, 1e12
_METRES_PER_DEGREE = 111_319.490_793
_AXIS = re.compile(r"\s*([A-Za-z]+)\s*\(\s*([^()]*)\)\s*(?:,|$)")
_AXES = {"lon": 0, "long": 0, "x": 0, "e": 0, "lat": 1, "y": 1, "n": 1}


class Nothing(Exception):
    """What is asked for lies outside the raster."""


@dataclass(frozen=True, slots=True)
class Area:
    """A box in the system of the answer, in order x, y; ``asked`` where the request named it."""

    box: Box
    crs: ApiCRS
    asked: bool


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{name}: a finite number.", zh=f"{name} 应为有限数。")
    return value


def _positive(query: QueryParams, name: str) -> float | None:
    if name not in query:
        return None
    value = _number(query[name], name)
    if not _LEAST <= value <= _MOST:  # far beyond them numbers run out of digits
        raise InputError(f"{name}: a number above 0, from {_LEAST:g} to {_MOST:g}.", zh=f"{name} 应大于 0（{_LEAST:g} 至 {_MOST:g}）。")
    return value


def _pixels(query: QueryParams, name: str) -> int | None:
    if name not in query:
        return None
    text = query[name]
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
        raise InputError(f"{name}: a whole number from 1.", zh=f"{name} 应为不小于 1 的整数。")
    if int(text) > MAX_SIDE_PX:
        raise LimitExceeded(f"{name}: at most {MAX_SIDE_PX} pixels.", zh=f"{name} 最多 {MAX_SIDE_PX} 像素。")
    return int(text)


def _moved(box: Box, from_srid: int, to_srid: int) -> Box:
    """The box around a box in another system; cut to where that system can be trusted."""
    if from_srid == to_srid:
        return box
    try:
        area = reach(to_srid)
        if area is not None and reach(from_srid) is None:
            box = max(box[0], area[0]), max(box[1], area[1]), min(box[2], area[2]), min(box[3], area[3])
            if box[0] >= box[2] or box[1] >= box[3]:
                raise Nothing
        found: Box = transform_bounds(f"EPSG:{from_srid}", f"EPSG:{to_srid}", *box, densify_pts=21)
    except CRSError as error:
        raise InputError("The area cannot be brought into the reference system.", zh="该范围无法转换到指定坐标系。") from error
    if not all(math.isfinite(v) for v in found):
        raise InputError("The area lies outside its reference system.", zh="范围超出其坐标系。")
    return found


def _subset(query: QueryParams, crs: ApiCRS, whole: Box, *, parameter: str) -> Box:
    """The box of ``subset=Lat(30:31),Lon(111:112)``; an axis left out is taken whole."""
    low, high = [whole[0], whole[1]], [whole[2], whole[3]]
    geographic, seen = reach(crs.srid) is None, set()
    text = ",".join(query.getlist(parameter))
    position = 0
    while position < len(text):
        match = _AXIS.match(text, position)
        if match is None:
            raise InputError(f"{parameter}: written as Lat(30:31),Lon(111:112).", zh=f"{parameter} 应写作 Lat(30:31),Lon(111:112)。")
        position = match.end()
        name, parts = match[1].lower(), match[2].split(":")
        axis = _AXES.get(name)
        if axis is None or (name in ("lat", "lon", "long")) != geographic:
            raise InputError(f"{parameter}: the reference system has no axis {match[1]!r}.", zh=f"{parameter}：该坐标系没有轴 {match[1]!r}。")
        if axis in seen or len(parts) != 2:
            raise InputError(f"{parameter}: one interval low:high for an axis.", zh=f"{parameter}：每个轴一个区间 low:high。")
        seen.add(axis)
        a = low[axis] if parts[0].strip() == "*" else _number(parts[0], parameter)
        b = high[axis] if parts[1].strip() == "*" else _number(parts[1], parameter)
        if a > b and name in ("lon", "long"):  # across the 180° meridian: the half where the raster lies
            a, b = (a, 180.0) if whole[2] > a else (-180.0, b)
        if a >= b:
            raise InputError(f"{parameter}: the interval of {match[1]} is empty.", zh=f"{parameter}：{match[1]} 的区间为空。")
        low[axis], high[axis] = a, b
    return low[0], low[1], high[0], high[1]


def _system(query: QueryParams, name: str, offered: dict[str, ApiCRS]) -> ApiCRS:
    return read_crs(query[name], offered, parameter=name) if name in query else CRS84


def read_area(query: QueryParams, offered: dict[str, ApiCRS], *, srid: int, extent: Box, crs: ApiCRS) -> Area:
    """The part asked for by ``bbox`` or ``subset``, or the whole raster.

    Parameters
    ----------
    srid, extent : int, tuple
        EPSG code and box of the raster as stored.
    crs : ApiCRS
        System of the answer.

    Raises
    ------
    Nothing
        The raster has nothing there.
    InputError
        A parameter is not what it should be, or two say where.
    """
    whole = _moved(extent, srid, crs.srid)
    if "bbox" in query and "subset" in query:
        raise InputError("Either bbox or subset.", zh="bbox 与 subset 只能用其一。")
    if "bbox" in query:
        system = _system(query, "bbox-crs", offered)
        a, b, c, d = read_bbox(query["bbox"])
        box = (b, a, d, c) if system.swap_xy else (a, b, c, d)
        if box[0] >= box[2] or box[1] >= box[3]:
            raise InputError("bbox: the first corner is the lower left one.", zh="bbox 的第一个角点应为左下角。")
    elif "subset" in query:
        system = _system(query, "subset-crs", offered)
        box = _subset(query, system, _moved(extent, srid, system.srid), parameter="subset")
    else:
        return Area(whole, crs, asked=False)
    if reach(system.srid) is None and (box[1] < -90 or box[3] > 90 or box[0] < -360 or box[2] > 360):
        raise InputError("Latitude is at most 90°, longitude 360°; mind the axis order of the CRS.",
                         zh="纬度不超过 90°、经度不超过 360°；请注意坐标系的轴序。")  # fmt: skip
    moved = _moved(box, system.srid, crs.srid)
    if moved[0] >= whole[2] or moved[2] <= whole[0] or moved[1] >= whole[3] or moved[3] <= whole[1]:
        raise Nothing
    return Area(moved, crs, asked=True)


def _metres(box: Box, crs: ApiCRS) -> tuple[float, float]:
    """Metres of a unit of the system along x and y, at the middle of a box."""
    if reach(crs.srid) is None:
        return _METRES_PER_DEGREE * math.cos(math.radians((box[1] + box[3]) / 2)), _METRES_PER_DEGREE
    if crs.srid == 3857:
        _, south, _, north = _moved(box, 3857, 4326)
        stretched = math.cos(math.radians((south + north) / 2))
        return stretched, stretched
    return 1.0, 1.0


def read_size(query: QueryParams, area: Area, offered: dict[str, ApiCRS]) -> tuple[Box, int, int]:
    """Box and size in pixels of a picture: ``center``, ``width``, ``height``, ``scale-denominator``, ``mm-per-pixel``.

    Raises
    ------
    InputError
        They contradict each other or the area.
    LimitExceeded
        The picture would be too large.
    """
    width, height = _pixels(query, "width"), _pixels(query, "height")
    denominator, pixel_mm = _positive(query, "scale-denominator"), _positive(query, "mm-per-pixel") or _PIXEL_MM
    box = area.box
    centre = query.get("center")
    if centre is not None and area.asked:
        raise InputError("center goes with neither bbox nor subset.", zh="center 不能与 bbox 或 subset 同用。")
    if denominator is not None and area.asked and (width or height):
        raise InputError("scale-denominator and a size contradict each other where an area is given.",
                         zh="给定范围时 scale-denominator 与图幅大小矛盾。")  # fmt: skip
    x_m, y_m = _metres(box, area.crs)
    if centre is not None or (denominator is not None and (width or height)):
        # width and height say how much is seen around a point
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        if centre is not None:
            parts = [_number(part, "center") for part in centre.split(",")]
            if len(parts) != 2:
                raise InputError("center: two numbers.", zh="center 应为两个数。")
            system = _system(query, "center-crs", offered)
            px, py = (parts[1], parts[0]) if system.swap_xy else (parts[0], parts[1])
            at_x, at_y = transform_coordinates([px], [py], source_crs(system.srid), area.crs.srid)
            x, y = float(at_x[0]), float(at_y[0])
            if not (math.isfinite(x) and math.isfinite(y)):
                raise InputError("center lies outside its reference system.", zh="center 超出其坐标系。")
        width, height = width or DEFAULT_SIDE_PX, height or DEFAULT_SIDE_PX
        metres_px = (pixel_mm / 1000 * denominator) if denominator else (box[2] - box[0]) * x_m / DEFAULT_SIDE_PX
        half_x, half_y = width * metres_px / x_m / 2, height * metres_px / y_m / 2
        return (x - half_x, y - half_y, x + half_x, y + half_y), width, height
    along_x, along_y = (box[2] - box[0]) * x_m, (box[3] - box[1]) * y_m
    if denominator is not None:
        metres_px = pixel_mm / 1000 * denominator
        width, height = max(1, round(along_x / metres_px)), max(1, round(along_y / metres_px))
    elif width is None and height is None:
        scale = DEFAULT_SIDE_PX / max(along_x, along_y)
        width, height = max(1, round(along_x * scale)), max(1, round(along_y * scale))
    elif height is None:
        height = max(1, round((width or 1) * along_y / along_x))
    elif width is None:
        width = max(1, round(height * along_x / along_y))
    if (width or 1) > MAX_SIDE_PX or height > MAX_SIDE_PX:
        raise LimitExceeded(f"The picture would be {width} × {height} pixels; at most {MAX_SIDE_PX} a side.",
                            zh=f"图幅将为 {width} × {height} 像素，每边最多 {MAX_SIDE_PX}。")  # fmt: skip
    return box, width or 1, height
