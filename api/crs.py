"""Reference systems as OGC APIs write them, and the order of their axes."""

from dataclasses import dataclass
from functools import lru_cache

import pyproj

from gis.errors import InputError

__all__ = ["CRS84", "ApiCRS", "layer_crs", "read_crs"]


@dataclass(frozen=True, slots=True)
class ApiCRS:
    """A reference system of requests and answers.

    Attributes
    ----------
    uri : str
        Its identifier.
    srid : int
        EPSG code of the same system in x, y order.
    swap_xy : bool
        Whether coordinates are written latitude or northing first.
    """

    uri: str
    srid: int
    swap_xy: bool


CRS84 = ApiCRS("http://www.opengis.net/def/crs/OGC/1.3/CRS84", 4326, False)

#: Always offered, beside the system that a layer is stored in.
_OFFERED = (4326, 4490, 4546, 3857)


@lru_cache(maxsize=64)
def epsg(srid: int) -> ApiCRS:
    """The system of an EPSG code, axes as the authority orders them."""
    first = pyproj.CRS.from_epsg(srid).axis_info[0].direction.lower()
    return ApiCRS(f"http://www.opengis.net/def/crs/EPSG/0/{srid}", srid, first in ("north", "south"))


@lru_cache(maxsize=64)
def layer_crs(storage_srid: int, analysis_srid: int) -> dict[str, ApiCRS]:
    """Systems offered for a layer stored in ``storage_srid``, by URI, the default first."""
    codes = dict.fromkeys((*_OFFERED, analysis_srid, storage_srid))
    return {CRS84.uri: CRS84, **{c.uri: c for c in map(epsg, codes)}}


def read_crs(text: str, offered: dict[str, ApiCRS], *, parameter: str) -> ApiCRS:
    """Find a system among those offered; https, URNs and ``EPSG:…`` are understood too.

    Raises
    ------
    InputError
        It is none of them; the message names the parameter.
    """
    word = text.strip().strip("[]<>")
    key = word.replace("https://", "http://", 1)
    upper = word.upper()
    if upper in ("CRS84", "OGC:CRS84") or (upper.startswith("URN:OGC:DEF:CRS:OGC:") and upper.endswith("CRS84")):
        key = CRS84.uri
    elif upper.startswith(("EPSG:", "URN:OGC:DEF:CRS:EPSG:")):
        key = f"http://www.opengis.net/def/crs/EPSG/0/{upper.rsplit(':', 1)[-1]}"
    found = offered.get(key)
    if found is None:
        shown = text[:100]
        raise InputError(
            f"{parameter}: {shown!r} is not one of the reference systems of this collection.", zh=f"{parameter}：本图层不支持坐标系 {shown!r}。"
        )
    return found
