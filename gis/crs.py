"""Reference systems: EPSG codes, and the two offset systems of Chinese web maps, GCJ-02 and BD-09.

GCJ-02 and BD-09 have no EPSG code and no official publication; the forward formulas are those in common public use.
Their inverses are found by iteration (at most a few steps, below a micrometre), since the one-step inverse errs by about 1.3 m.
All coordinates here are x, y (longitude, latitude or east, north).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyproj
import shapely
from numpy.typing import ArrayLike, NDArray

from gis.errors import CRSMismatch, InputError

__all__ = [
    "SourceCRS",
    "bd09_to_gcj02",
    "bd09_to_wgs84",
    "gcj02_to_bd09",
    "gcj02_to_wgs84",
    "source_crs",
    "transform_coordinates",
    "transform_geometries",
    "transformer",
    "wgs84_to_bd09",
    "wgs84_to_gcj02",
    "wkt_of",
]

Floats = NDArray[np.float64]

_AXIS_M = 6378245.0  # Krasovsky 1940, as the public formula uses it
_ECC2 = 0.00669342162296594323
_BD_PI = np.pi * 3000.0 / 180.0
_OFFSET = {"gcj02", "bd09"}
_ALIASES = {
    "gcj02": "gcj02", "gcj-02": "gcj02", "gcj": "gcj02", "mars": "gcj02", "火星坐标": "gcj02",
    "bd09": "bd09", "bd-09": "bd09", "bd09ll": "bd09", "baidu": "bd09", "百度坐标": "bd09",
    "wgs84": "4326", "wgs-84": "4326", "crs84": "4326", "ogc:crs84": "4326", "cgcs2000": "4490", "2000": "4490",
}  # fmt: skip


def _pair(lon: ArrayLike, lat: ArrayLike) -> tuple[Floats, Floats]:
    return np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)


def _in_china(lon: Floats, lat: Floats) -> NDArray[np.bool_]:
    return (lon > 72.004) & (lon < 137.8347) & (lat > 0.8293) & (lat < 55.8271)


def _gcj02_offset(lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
    x, y = lon - 105.0, lat - 35.0
    root = np.sqrt(np.abs(x))
    wave = 20.0 * np.sin(6.0 * x * np.pi) + 20.0 * np.sin(2.0 * x * np.pi)
    d_lat = (
        -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * root
        + (wave + 20.0 * np.sin(y * np.pi) + 40.0 * np.sin(y / 3.0 * np.pi)) * 2.0 / 3.0
        + (160.0 * np.sin(y / 12.0 * np.pi) + 320.0 * np.sin(y * np.pi / 30.0)) * 2.0 / 3.0
    )  # fmt: skip
    d_lon = (
        300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * root
        + (wave + 20.0 * np.sin(x * np.pi) + 40.0 * np.sin(x / 3.0 * np.pi)) * 2.0 / 3.0
        + (150.0 * np.sin(x / 12.0 * np.pi) + 300.0 * np.sin(x / 30.0 * np.pi)) * 2.0 / 3.0
    )  # fmt: skip
    phi = np.radians(lat)
    magic = 1.0 - _ECC2 * np.sin(phi) ** 2
    d_lat = d_lat * 180.0 / ((_AXIS_M * (1.0 - _ECC2)) / (magic * np.sqrt(magic)) * np.pi)
    d_lon = d_lon * 180.0 / (_AXIS_M / np.sqrt(magic) * np.cos(phi) * np.pi)
    inside = _in_china(lon, lat)
    return np.where(inside, d_lon, 0.0), np.where(inside, d_lat, 0.0)


def wgs84_to_gcj02(lon: ArrayLike, lat: ArrayLike) -> tuple[Floats, Floats]:
    """Shift WGS 84 to GCJ-02; outside China's bounding box nothing is shifted.

    Parameters
    ----------
    lon, lat : array_like
        Degrees, WGS 84 (CGCS2000 is the same within centimetres).

    Returns
    -------
    lon, lat : ndarray of float64
        Degrees, GCJ-02.

    Examples
    --------
    >>> lon, lat = wgs84_to_gcj02(111.286, 30.692)
    >>> f"{lon:.8f} {lat:.8f}"
    '111.29165848 30.68956043'
    """
    x, y = _pair(lon, lat)
    dx, dy = _gcj02_offset(x, y)
    return x + dx, y + dy


def gcj02_to_wgs84(lon: ArrayLike, lat: ArrayLike) -> tuple[Floats, Floats]:
    """Inverse of `wgs84_to_gcj02` by fixed-point iteration, below a micrometre.

    Examples
    --------
    >>> lon, lat = gcj02_to_wgs84(111.29165848, 30.68956043)
    >>> f"{lon:.7f} {lat:.7f}"
    '111.2860000 30.6920000'
    """
    x, y = _pair(lon, lat)
    guess_x, guess_y = x.copy(), y.copy()
    for _ in range(6):
        dx, dy = _gcj02_offset(guess_x, guess_y)
        guess_x, guess_y = x - dx, y - dy
    return guess_x, guess_y


def gcj02_to_bd09(lon: ArrayLike, lat: ArrayLike) -> tuple[Floats, Floats]:
    """Shift GCJ-02 to BD-09. Degrees."""
    x, y = _pair(lon, lat)
    radius = np.hypot(x, y) + 0.00002 * np.sin(y * _BD_PI)
    angle = np.arctan2(y, x) + 0.000003 * np.cos(x * _BD_PI)
    return radius * np.cos(angle) + 0.0065, radius * np.sin(angle) + 0.006


def bd09_to_gcj02(lon: ArrayLike, lat: ArrayLike) -> tuple[Floats, Floats]:
    """Inverse of `gcj02_to_bd09` by iteration. Degrees."""
    x, y = _pair(lon, lat)
    guess_x, guess_y = x - 0.0065, y - 0.006
    for _ in range(6):
        fx, fy = gcj02_to_bd09(guess_x, guess_y)
        guess_x, guess_y = guess_x + x - fx, guess_y + y - fy
    return guess_x, guess_y


def wgs84_to_bd09(lon: ArrayLike, lat: ArrayLike) -> tuple[Floats, Floats]:
    """Shift WGS 84 to BD-09. Degrees.

    Examples
    --------
    >>> lon, lat = wgs84_to_bd09(111.286, 30.692)
    >>> f"{lon:.8f} {lat:.8f}"
    '111.29822263 30.69525258'
    """
    return gcj02_to_bd09(*wgs84_to_gcj02(lon, lat))


def bd09_to_wgs84(lon: ArrayLike, lat: ArrayLike) -> tuple[Floats, Floats]:
    """Inverse of `wgs84_to_bd09` by iteration. Degrees."""
    return gcj02_to_wgs84(*bd09_to_gcj02(lon, lat))


@dataclass(frozen=True)
class SourceCRS:
    """What a source's coordinates are in: an EPSG code, or an offset system over geographic coordinates.

    ``label`` is what the column ``src_crs`` keeps: ``"4490"``, ``"4326"``, ``"gcj02"``, ``"bd09"`` or another EPSG code.
    """

    label: str

    @property
    def is_offset(self) -> bool:
        """Whether this is GCJ-02 or BD-09."""
        return self.label in _OFFSET

    @property
    def srid(self) -> int:
        """EPSG code of the coordinates once the offset is taken off (4326 for offset systems)."""
        return 4326 if self.is_offset else int(self.label)

    @property
    def is_geographic(self) -> bool:
        """Whether coordinates are degrees."""
        return self.is_offset or pyproj.CRS.from_epsg(self.srid).is_geographic


def source_crs(text: str | int | pyproj.CRS) -> SourceCRS:
    """Read a reference system from what people write: ``gcj02``, ``bd09``, ``EPSG:4490``, ``4546``, a WKT or a pyproj CRS.

    Raises
    ------
    CRSMismatch
        It is none that is known.

    Examples
    --------
    >>> source_crs("EPSG:4546").srid, source_crs("GCJ-02").label, source_crs("wgs84").label
    (4546, 'gcj02', '4326')
    """
    key = str(text).strip().lower() if not isinstance(text, pyproj.CRS) else ""
    if key in _ALIASES:
        return SourceCRS(_ALIASES[key])
    try:
        if key.removeprefix("epsg:").isdigit():
            code = int(key.removeprefix("epsg:"))
            pyproj.CRS.from_epsg(code)
            return SourceCRS(str(code))
        crs = text if isinstance(text, pyproj.CRS) else pyproj.CRS.from_user_input(str(text))
        if crs.to_authority() == ("OGC", "CRS84"):
            return SourceCRS("4326")
        code_found = crs.to_epsg(min_confidence=70)
    except pyproj.exceptions.CRSError:
        code_found = None
    if code_found is None:
        shown = str(text)[:80]
        raise CRSMismatch(
            f"Reference system {shown!r} is not known: give an EPSG code such as EPSG:4490, gcj02 or bd09.",
            zh=f"未知的坐标系 {shown!r}：请给出 EPSG 代码（如 EPSG:4490）、gcj02 或 bd09。",
        )
    return SourceCRS(str(code_found))


@lru_cache(maxsize=64)
def transformer(from_srid: int, to_srid: int) -> pyproj.Transformer:
    """A cached x, y transformer between two EPSG codes."""
    return pyproj.Transformer.from_crs(from_srid, to_srid, always_xy=True)


#: Pairs between which coordinates are taken over unchanged: the datums agree within decimetres and no published transformation is better.
_SAME = {(4326, 4490), (4490, 4326)}
_REACH_MARGIN_DEG = 10.0
_MERCATOR_LATITUDE_DEG = 85.06


@lru_cache(maxsize=64)
def reach(srid: int) -> tuple[float, float, float, float] | None:
    """Where coordinates of a projected EPSG system can be trusted: west, south, east, north in degrees; None for a geographic system.

    That is its area of use and ten degrees around it. Far outside, a projection folds the world over: a box around the earth would come out
    as a sliver.

    Examples
    --------
    >>> reach(4490) is None
    True
    >>> [round(v) for v in reach(4546)]
    [100, 12, 122, 43]
    """
    crs = pyproj.CRS.from_epsg(srid)
    if crs.is_geographic:
        return None
    area = crs.area_of_use
    if area is None or area.west > area.east:
        return (-180.0, -_MERCATOR_LATITUDE_DEG, 180.0, _MERCATOR_LATITUDE_DEG)
    south = max(area.south - _REACH_MARGIN_DEG, min(area.south, -_MERCATOR_LATITUDE_DEG))
    north = min(area.north + _REACH_MARGIN_DEG, max(area.north, _MERCATOR_LATITUDE_DEG))
    return max(area.west - _REACH_MARGIN_DEG, -180.0), south, min(area.east + _REACH_MARGIN_DEG, 180.0), north


def transform_coordinates(x: ArrayLike, y: ArrayLike, source: SourceCRS, to_srid: int) -> tuple[Floats, Floats]:
    """Bring coordinates from ``source`` into an EPSG system.

    Parameters
    ----------
    x, y : array_like
        Longitude, latitude in degrees, or east, north in metres, of ``source``.
    source : SourceCRS
        Where they come from.
    to_srid : int
        EPSG code of the target.

    Returns
    -------
    x, y : ndarray of float64
        In the target system; infinite where the projection has no answer.
    """
    px, py = _pair(x, y)
    if source.label == "gcj02":
        px, py = gcj02_to_wgs84(px, py)
    elif source.label == "bd09":
        px, py = bd09_to_wgs84(px, py)
    if source.srid == to_srid or (source.srid, to_srid) in _SAME:
        return px, py
    tx, ty = transformer(source.srid, to_srid).transform(px, py)
    return np.asarray(tx, dtype=np.float64), np.asarray(ty, dtype=np.float64)


def transform_geometries(geometries: ArrayLike, source: SourceCRS, to_srid: int) -> NDArray[np.object_]:
    """Bring shapely geometries from ``source`` into an EPSG system; Z and M are dropped from the result's computation, Z kept as it is.

    Raises
    ------
    InputError
        ``geometries`` are not shapely geometries.
    """
    array = np.asarray(geometries, dtype=object)
    if not source.is_offset and (source.srid == to_srid or (source.srid, to_srid) in _SAME):
        return array

    def apply(coordinates: Floats) -> Floats:
        out = coordinates.copy()
        out[:, 0], out[:, 1] = transform_coordinates(coordinates[:, 0], coordinates[:, 1], source, to_srid)
        return out

    try:
        return np.asarray(shapely.transform(array, apply), dtype=object)
    except TypeError as error:
        raise InputError("Not a geometry.", zh="不是几何对象。") from error


def wkt_of(srid: int) -> str:
    """A reference system written out (WKT 2:2019), for files that must not rely on a registry.

    Examples
    --------
    >>> wkt_of(4546)[:8]
    'PROJCRS['
    """
    return str(pyproj.CRS.from_epsg(srid).to_wkt("WKT2_2019"))
