"""Values that stand in a request: dates, times and geometries."""

import datetime as dt
from typing import Any

import numpy as np
import orjson
import shapely

from gis.crs import reach, source_crs, transform_geometries
from gis.errors import InputError, InvalidGeometry, LimitExceeded

__all__ = ["MAX_VERTICES", "after", "check_degrees", "geometry_literal", "read_date", "read_timestamp", "sought_in_storage", "to_storage"]

#: Most coordinates that a geometry in a filter may have.
MAX_VERTICES = 20_000
#: Edges up to this length are straight in every system, to a decimetre.
_EDGE_DEG = 0.02
_EDGE_M = 2000.0


def read_date(text: Any) -> dt.date:
    """A calendar date ``YYYY-MM-DD``.

    Raises
    ------
    InputError
        It is none.
    """
    try:
        return dt.date.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise InputError(f"{str(text)[:40]!r} is not a date like 2025-04-01.", zh=f"{str(text)[:40]!r} 不是形如 2025-04-01 的日期。") from error


def read_timestamp(text: Any) -> dt.datetime:
    """An instant by RFC 3339; without an offset it is taken as UTC.

    Raises
    ------
    InputError
        It is none.
    """
    try:
        value = dt.datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        shown = str(text)[:40]
        raise InputError(
            f"{shown!r} is not a time like 2025-04-01T08:00:00Z.", zh=f"{shown!r} 不是形如 2025-04-01T08:00:00Z 的时间。"
        ) from error
    return value if value.tzinfo else value.replace(tzinfo=dt.UTC)


def _shape(node: Any, *, wraps: bool, swap_xy: bool) -> shapely.Geometry:
    if isinstance(node, shapely.Geometry):
        return node
    if "bbox" in node:
        box = node["bbox"]
        if not isinstance(box, list) or len(box) not in (4, 6) or any(isinstance(v, bool) or not isinstance(v, int | float) for v in box):
            raise InputError("A bbox has four or six numbers.", zh="bbox 应为四个或六个数。")
        half = len(box) // 2
        a, b, c, d = box[0], box[1], box[half], box[half + 1]
        if wraps and not swap_xy and a > c:  # across the 180° meridian
            return shapely.MultiPolygon([shapely.box(a, b, 180, d), shapely.box(-180, b, c, d)])
        if wraps and swap_xy and b > d:
            return shapely.MultiPolygon([shapely.box(a, b, c, 180), shapely.box(a, -180, c, d)])
        return shapely.box(a, b, c, d)
    try:
        return shapely.from_geojson(orjson.dumps(node))
    except (shapely.errors.ShapelyError, orjson.JSONEncodeError) as error:
        raise InvalidGeometry("The geometry is not valid GeoJSON.", zh="几何不是有效的 GeoJSON。") from error


def _in_order(geometry: shapely.Geometry, *, from_srid: int, swap_xy: bool) -> shapely.Geometry:
    if not np.isfinite(shapely.get_coordinates(geometry)).all():
        raise InvalidGeometry("A coordinate is not a finite number.", zh="坐标不是有限数。")
    if swap_xy:
        geometry = shapely.transform(geometry, lambda c: c[:, [1, 0]])
    if from_srid in (4326, 4490):
        check_degrees(*np.nan_to_num(shapely.bounds(geometry)))
    return geometry


def check_degrees(west: float, south: float, east: float, north: float) -> None:
    """Refuse degrees that no place has.

    Raises
    ------
    InvalidGeometry
        Beyond ±90° of latitude or ±360° of longitude.
    """
    if south < -90 or north > 90 or west < -360 or east > 360:
        raise InvalidGeometry(
            "A coordinate is outside ±90° latitude or ±360° longitude; mind the axis order of the CRS.",
            zh="坐标超出纬度 ±90° 或经度 ±360°；请注意坐标系的轴序。",
        )


def _moved(geometry: shapely.Geometry, *, from_srid: int, to_srid: int) -> shapely.Geometry:
    moved: shapely.Geometry = transform_geometries(np.array([geometry], dtype=object), source_crs(from_srid), to_srid)[0]
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        raise InvalidGeometry("A coordinate lies outside the area of its CRS.", zh="坐标超出其坐标系的适用范围。")
    return moved


def to_storage(geometry: shapely.Geometry, *, from_srid: int, to_srid: int, swap_xy: bool) -> shapely.Geometry:
    """Bring a geometry of a request into storage: order x, y and EPSG ``to_srid``.

    Raises
    ------
    InvalidGeometry
        A coordinate is not finite, or lies where the reference system is not defined.
    """
    return _moved(_in_order(geometry, from_srid=from_srid, swap_xy=swap_xy), from_srid=from_srid, to_srid=to_srid)


def sought_in_storage(geometry: shapely.Geometry, *, from_srid: int, to_srid: int, swap_xy: bool) -> shapely.Geometry:
    """Bring a geometry that features are compared with into storage.

    Where storage is projected, what lies far outside its system is cut off (a box around the world would be folded to a sliver), and long
    edges are divided, so that they stay straight lines of their own system.

    Raises
    ------
    InvalidGeometry
        A coordinate is not finite, or lies where the reference system is not defined.
    """
    geometry = _in_order(geometry, from_srid=from_srid, swap_xy=swap_xy)
    area = reach(to_srid)
    if area is None or from_srid == to_srid:
        return _moved(geometry, from_srid=from_srid, to_srid=to_srid)
    if reach(from_srid) is not None:
        # a straight line of one projection is none of another
        west, south, east, north = np.nan_to_num(shapely.bounds(geometry))
        geometry = shapely.segmentize(geometry, max(_EDGE_M, max(east - west, north - south) / 500))
    degrees = _moved(geometry, from_srid=from_srid, to_srid=4326)
    west, south, east, north = shapely.bounds(degrees)
    if west < area[0] or south < area[1] or east > area[2] or north > area[3]:
        dimension = shapely.get_dimensions(degrees)
        cut = shapely.intersection(degrees, shapely.box(*area))
        parts = [p for p in shapely.get_parts(cut) if shapely.get_dimensions(p) == dimension] if shapely.get_type_id(degrees) != 7 else [cut]
        degrees = shapely.union_all(parts)
        west, south, east, north = np.nan_to_num(shapely.bounds(degrees))
    degrees = shapely.segmentize(degrees, max(_EDGE_DEG, max(east - west, north - south) / 500))
    return _moved(degrees, from_srid=4326, to_srid=to_srid)


def geometry_literal(node: Any, *, from_srid: int, to_srid: int, swap_xy: bool = False) -> bytes:
    """WKB in storage of a geometry in a filter: shapely, GeoJSON object or ``{"bbox": [...]}``.

    Raises
    ------
    InvalidGeometry
        It is not a geometry, or not a valid one.
    LimitExceeded
        It has more than `MAX_VERTICES` coordinates.
    """
    geometry = _shape(node, wraps=from_srid in (4326, 4490), swap_xy=swap_xy)
    if shapely.get_num_coordinates(geometry) > MAX_VERTICES:
        raise LimitExceeded(
            f"The geometry has more than {MAX_VERTICES} coordinates.", zh=f"几何的坐标超过 {MAX_VERTICES} 个。"
        )
    if not shapely.is_valid(geometry):
        reason = shapely.is_valid_reason(geometry).split("[")[0].strip()
        raise InvalidGeometry(f"The geometry is not valid: {reason}.", zh=f"几何无效：{reason}。")
    if shapely.get_type_id(geometry) == 7:
        geometry = shapely.union_all([geometry])  # parts of one kind become a multi-geometry, which every relation takes
    moved = sought_in_storage(geometry, from_srid=from_srid, to_srid=to_srid, swap_xy=swap_xy)
    return shapely.to_wkb(shapely.force_2d(moved))


def after(prefix: str) -> str:
    """The first text behind all that begin with ``prefix``, in the order of bytes.

    Examples
    --------
    >>> after("420502"), after("4209"), after("999999")
    ('420503', '420:', '99999:')
    """
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
