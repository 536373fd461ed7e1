"""Values of OpenStreetMap tags as numbers and directions: lengths, heights, speeds, azimuths.

Tag values are free text. Each reader returns None for what it does not understand, so that the caller can report the value.
"""

import math
import re
from dataclasses import dataclass

__all__ = [
    "CARDINALS",
    "Direction",
    "building_height_m",
    "count",
    "direction",
    "length_m",
    "speed_km_h",
    "tilt_below_horizon_deg",
]

_FOOT_M = 0.3048
_INCH_M = 0.0254
_MILE_KM = 1.609344
_KNOT_KM_H = 1.852

_UNITS_M = {
    "": 1.0, "m": 1.0, "metre": 1.0, "metres": 1.0, "meter": 1.0, "meters": 1.0, "米": 1.0,
    "cm": 0.01, "km": 1000.0, "mi": 1609.344,
    "ft": _FOOT_M, "foot": _FOOT_M, "feet": _FOOT_M, "'": _FOOT_M, "in": _INCH_M, '"': _INCH_M,
}  # fmt: skip
_NUMBER = r"[+-]?(?:\d{1,6}(?:[.,]\d{1,9})?|[.,]\d{1,9})"
_LENGTH = re.compile(rf"^~?\s*({_NUMBER})\s*([^\d\s.,+-]*)$")
_FEET_INCHES = re.compile(r"^(\d{1,5})\s*(?:'|ft|feet)\s*(\d{1,2}(?:\.\d+)?)\s*(?:\"|''|in)?$")
_SPEED = re.compile(r"^(\d{1,3}(?:\.\d+)?)\s*(km/h|kmh|kph|mph|knots)?$")

_POINTS = ("N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE", "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW")
#: Azimuth in degrees of the sixteen points of the compass.
CARDINALS = {name: index * 22.5 for index, name in enumerate(_POINTS)}
_WORDS = {
    "NORTH": "N", "EAST": "E", "SOUTH": "S", "WEST": "W", "北": "N", "东": "E", "南": "S", "西": "W",
}  # fmt: skip
_CHINESE = {"东北": "NE", "东南": "SE", "西南": "SW", "西北": "NW"}
_DEGREES = re.compile(r"^([+-]?\d{1,3}(?:[.,]\d{1,9})?)\s*(?:°|deg|degrees|度)?$", re.IGNORECASE)
_RANGE_BREAKS = re.compile(r"\s*(?:-|–|—|~|\bto\b)\s*", re.IGNORECASE)


def _number(text: str) -> float:
    return float(text.replace(",", "."))


def length_m(text: str | None) -> float | None:
    r"""A length in metres from ``12``, ``12 m``, ``3,5``, ``40 ft`` or ``7'6"``; None where it is none of these.

    Examples
    --------
    >>> length_m("12.5"), length_m("40 ft"), round(length_m("7'6\""), 3), length_m("tall")
    (12.5, 12.192, 2.286, None)
    """
    if text is None:
        return None
    value = text.strip().lower()
    both = _FEET_INCHES.match(value)
    if both:
        return int(both.group(1)) * _FOOT_M + float(both.group(2)) * _INCH_M
    match = _LENGTH.match(value)
    if not match or match.group(2) not in _UNITS_M:
        return None
    return _number(match.group(1)) * _UNITS_M[match.group(2)]


def count(text: str | None) -> float | None:
    """A count such as ``4`` or ``2.5`` (of levels, lanes), not negative; None where it is not a number."""
    if text is None or not re.fullmatch(r"\s*\d{1,4}(?:[.,]\d{1,4})?\s*", text):
        return None
    return _number(text.strip())


def speed_km_h(text: str | None) -> float | None:
    """A speed limit in km/h from ``50``, ``30 mph`` or ``walk``-like words; None for ``none``, ``signals`` and other words.

    Examples
    --------
    >>> speed_km_h("50"), speed_km_h("30 mph"), speed_km_h("none")
    (50.0, 48.28, None)
    """
    match = _SPEED.match((text or "").strip().lower())
    if not match:
        return None
    factor = {"mph": _MILE_KM, "knots": _KNOT_KM_H}.get(match.group(2) or "", 1.0)
    return round(float(match.group(1)) * factor, 2)


def building_height_m(tags: dict[str, str], *, level_m: float = 3.0) -> tuple[float | None, str]:
    """Height of a building above its ground, and where it comes from.

    ``height`` counts as it stands; else ``building:levels`` and ``roof:levels`` at ``level_m`` each; else it is unknown.

    Parameters
    ----------
    tags : dict
        Tags of the building.
    level_m : float
        Height of one level.

    Returns
    -------
    height_m : float or None
        None where unknown: it is never guessed from the neighbours.
    basis : str
        ``height``, ``levels``, ``none`` (no tag), or ``unreadable`` (a tag whose value says nothing or is out of 0–1000 m).

    Examples
    --------
    >>> building_height_m({"height": "39"}), building_height_m({"building:levels": "4", "roof:levels": "1"}), building_height_m({})
    ((39.0, 'height'), (15.0, 'levels'), (None, 'none'))
    """
    height = length_m(tags.get("height"))
    if height is not None and 0 < height < 1000:
        return height, "height"
    levels = count(tags.get("building:levels"))
    roof = count(tags.get("roof:levels")) or 0.0
    if levels is not None and 0 < levels + roof < 300:
        return (levels + roof) * level_m, "levels"
    return None, "unreadable" if "height" in tags or "building:levels" in tags else "none"


@dataclass(frozen=True)
class Direction:
    """Where a thing points: azimuth in degrees clockwise from true north, 0 ≤ azimuth < 360, and the width of a range, if one was given.

    ``azimuth_deg`` is None for a full circle.
    """

    azimuth_deg: float | None
    width_deg: float | None = None


def _azimuth(text: str) -> float | None:
    value = text.strip()
    match = _DEGREES.match(value)
    if match:
        number = _number(match.group(1))
        return number % 360.0 if -360.0 <= number <= 360.0 else None
    word = re.sub(r"[\s_]", "", value.upper())
    word = word.removeprefix("向").removesuffix("方").removesuffix("向")
    word = _CHINESE.get(word, word)
    for long, short in _WORDS.items():
        word = word.replace(long, short)
    return CARDINALS.get(word)


def direction(text: str | None) -> Direction | None:
    """Where a camera looks, from degrees, a point of the compass, or a range read clockwise.

    Parameters
    ----------
    text : str or None
        ``240``, ``240°``, ``NNE``, ``north-west``, ``东北``, ``120-160``, ``350-10``, ``NE-SE``, ``0-360``.

    Returns
    -------
    Direction or None
        None for what is not a direction, for several directions (``90;270``), and for ``forward`` and the like.

    Notes
    -----
    The sense of a range is always clockwise (OpenStreetMap, key ``camera:direction``): ``270-90`` is the northern half.

    Examples
    --------
    >>> direction("NNE").azimuth_deg, direction("120-160"), direction("350-10"), direction("forward")
    (22.5, Direction(azimuth_deg=140.0, width_deg=40.0), Direction(azimuth_deg=0.0, width_deg=20.0), None)
    """
    if text is None or not text.strip() or len(text) > 60:
        return None
    single = _azimuth(text)
    if single is not None:
        return Direction(single)
    # A hyphen joins whole words (north-west) to one point of the compass; between abbreviations it makes a range (N-W).
    if all(len(part.strip()) > 2 for part in text.split("-")):
        joined = _azimuth(text.replace("-", ""))
        if joined is not None:
            return Direction(joined)
    ends = _RANGE_BREAKS.split(text.strip())
    if len(ends) != 2:
        return None
    start, end = _azimuth(ends[0]), _azimuth(ends[1])
    if start is None or end is None:
        return None
    first, second = (_DEGREES.match(part.strip()) for part in ends)
    if first and second and math.isclose(_number(second.group(1)) - _number(first.group(1)), 360.0):
        return Direction(None, 360.0)
    width = (end - start) % 360.0
    if width == 0.0:
        return Direction(start)
    return Direction((start + width / 2.0) % 360.0, width)


def tilt_below_horizon_deg(tags: dict[str, str]) -> float | None:
    """Tilt of a camera in degrees below the horizon from ``camera:tilt`` (negative is down) or ``camera:angle`` (positive is down).

    ``camera:angle`` is used as the angle of the lens below the horizon, 0–90, whatever its sign; above 90 it says nothing.

    Examples
    --------
    >>> tilt_below_horizon_deg({"camera:tilt": "-25"}), tilt_below_horizon_deg({"camera:angle": "15"}), tilt_below_horizon_deg({})
    (25.0, 15.0, None)
    """
    for key, sign in (("camera:tilt", -1.0), ("camera:angle", 0.0)):
        match = _DEGREES.match(tags.get(key, "").strip())
        if match:
            number = _number(match.group(1))
            if abs(number) <= 90.0:
                return abs(number) if sign == 0.0 else 0.0 - number
    return None
