"""Chainage (桩号): positions along a river axis as distance downstream, side and offset, and back.

The axis runs downstream; its measure rises from vertex to vertex and need not equal the length of the drawn line (a
calibrated ``LineStringM``). Between vertices the measure runs evenly. Left and right are as seen facing downstream
(GB/T 50095). All positions are in the axis's own projected system, in metres.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Geod
from shapely.geometry.base import BaseGeometry

from gis.errors import InputError, InvalidGeometry

__all__ = [
    "Axis",
    "Located",
    "axis",
    "format_station",
    "geodesic_measures",
    "locate",
    "measure_sections",
    "nearest_downstream",
    "parse_station",
    "points_at",
    "sections",
    "upstream_of",
]

type FloatArray = npt.NDArray[np.float64]
type IntArray = npt.NDArray[np.int64]

STATION = re.compile(r"^\s*[Kk]\s*(-?)\s*(\d+)\s*\+\s*(\d{1,3}(?:\.\d+)?)\s*$")

SLACK_M = 0.001
"""How far a chainage may lie outside the axis and still be taken for its end."""


@dataclass(frozen=True)
class Axis:
    """A measured line: ``xy`` of shape (n, 2) in metres, ``measure_m`` of shape (n,), strictly rising downstream."""

    xy: FloatArray
    measure_m: FloatArray

    @property
    def start_m(self) -> float:
        """Chainage of the upstream end."""
        return float(self.measure_m[0])

    @property
    def end_m(self) -> float:
        """Chainage of the downstream end."""
        return float(self.measure_m[-1])

    def segments(self) -> npt.NDArray[np.object_]:
        """One LineString from each vertex to the next."""
        lines: npt.NDArray[np.object_] = np.atleast_1d(
            np.asarray(shapely.linestrings(np.stack([self.xy[:-1], self.xy[1:]], axis=1)), object)
        )
        return lines


@dataclass(frozen=True)
class Located:
    """Points referred to an axis; one entry a point.

    Attributes
    ----------
    chainage_m : array
        Measure of the nearest point of the axis (the first one downstream where several are equally near).
    offset_m : array
        Distance from it, ≥ 0.
    side : array of str
        ``"L"`` or ``"R"`` facing downstream, ``""`` on the axis itself (or in line with it beyond its ends).
    foot_xy : array, shape (n, 2)
        The nearest point of the axis.
    beyond : array of bool
        The point lies before the start or after the end of the axis.
    """

    chainage_m: FloatArray
    offset_m: FloatArray
    side: npt.NDArray[np.str_]
    foot_xy: FloatArray
    beyond: npt.NDArray[np.bool_]


def axis(line: BaseGeometry | None, *, start_m: float = 0.0, measure_m: npt.ArrayLike | None = None) -> Axis:
    """Make an axis of a line drawn downstream.

    Parameters
    ----------
    line : LineString
        In a projected system. Its M values are the measure where it has them.
    start_m : float
        Chainage of the first vertex, for a line without measures: the rest follows from its length.
    measure_m : array, shape (n,), optional
        Measure of each vertex; goes before the M values.

    Raises
    ------
    InvalidGeometry
        Not a LineString, fewer than two different vertices, non-finite coordinates, or a measure that does not rise
        (a line drawn upstream says so).

    Examples
    --------
    >>> axis(shapely.from_wkt("LINESTRING (0 0, 3 4, 3 10)"), start_m=100).measure_m.tolist()
    [100.0, 105.0, 111.0]
    """
    if line is None or line.geom_type not in ("LineString", "LinearRing") or line.is_empty:
        raise InvalidGeometry("An axis is a single line.", zh="轴线须为单一线。")
    xy = shapely.get_coordinates(line)
    if not np.isfinite(xy).all():
        raise InvalidGeometry("The axis has coordinates that are not numbers.", zh="轴线含无效坐标。")
    if measure_m is not None:
        measure = np.asarray(measure_m, float).ravel()
        if len(measure) != len(xy):
            raise InvalidGeometry("One measure for each vertex of the axis is needed.", zh="轴线每个顶点须有一个里程。")
    elif shapely.has_m(line):
        measure = shapely.get_coordinates(line, include_m=True)[:, -1]
    else:
        measure = start_m + np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(xy, axis=0).T))])
    different = np.concatenate([[True], (np.diff(xy, axis=0) != 0).any(axis=1)])
    xy, measure = xy[different], measure[different]
    if len(xy) < 2:
        raise InvalidGeometry("The axis has no length.", zh="轴线长度为零。")
    if not np.isfinite(measure).all():
        raise InvalidGeometry("The axis has vertices without a measure.", zh="轴线有顶点缺少里程。")
    step = np.diff(measure)
    if (step <= 0).any():
        at = int(np.argmax(step <= 0))
        if (step < 0).all():
            raise InvalidGeometry(
                "The measure falls along the axis: it is drawn upstream.", zh="里程沿线递减：轴线画成了逆流方向。"
            )
        raise InvalidGeometry(
            f"The measure does not rise between vertices {at} and {at + 1} of the axis.",
            zh=f"轴线第 {at} 与 {at + 1} 个顶点之间里程不递增。",
        )
    return Axis(xy, measure)


def geodesic_measures(lonlat: npt.ArrayLike, *, start_m: float = 0.0, ellps: str = "GRS80") -> FloatArray:
    """Measure of each vertex as length on the ellipsoid, for axes longer than a projection is true.

    Parameters
    ----------
    lonlat : array, shape (n, 2)
        Longitude and latitude in degrees.
    start_m : float
        Measure of the first vertex.
    ellps : str
        Ellipsoid; that of CGCS2000 is GRS80 within 0.1 mm.
    """
    points = np.asarray(lonlat, float).reshape(-1, 2)
    lengths = Geod(ellps=ellps).inv(points[:-1, 0], points[:-1, 1], points[1:, 0], points[1:, 1])[2]
    measures: FloatArray = start_m + np.concatenate([[0.0], np.cumsum(lengths)])
    return measures


def locate(line: Axis, xy: npt.ArrayLike) -> Located:
    """Refer points to an axis.

    Parameters
    ----------
    line : Axis
    xy : array, shape (n, 2)
        Points in the system of the axis; NaN gives NaN.
    """
    points = np.asarray(xy, float).reshape(-1, 2)
    good = np.flatnonzero(np.isfinite(points).all(axis=1))
    count = len(points)
    chainage, offset = np.full(count, np.nan), np.full(count, np.nan)
    foot = np.full((count, 2), np.nan)
    side = np.full(count, "", "<U1")
    beyond = np.zeros(count, np.bool_)
    if not len(good):
        return Located(chainage, offset, side, foot, beyond)
    tree = shapely.STRtree(line.segments())
    which, segment = tree.query_nearest(np.asarray(shapely.points(points[good]), object), all_matches=True)
    order = np.lexsort((segment, which))
    which, segment = which[order], segment[order]
    _, first = np.unique(which, return_index=True)
    segment = segment[first].astype(np.int64)
    p = points[good]
    a, b = line.xy[segment], line.xy[segment + 1]
    step = b - a
    share = np.clip(((p - a) * step).sum(axis=1) / (step * step).sum(axis=1), 0.0, 1.0)
    base = a + share[:, None] * step
    away = p - base
    chainage[good] = line.measure_m[segment] + share * (line.measure_m[segment + 1] - line.measure_m[segment])
    offset[good] = np.hypot(away[:, 0], away[:, 1])
    foot[good] = base
    along = _direction(line, segment, share)
    cross = along[:, 0] * away[:, 1] - along[:, 1] * away[:, 0]
    flat = np.abs(cross) <= 1e-9 * np.maximum(1.0, np.abs(p).max(axis=1))
    side[good] = np.where(flat, "", np.where(cross > 0, "L", "R"))
    unit = step / np.hypot(step[:, 0], step[:, 1])[:, None]
    forward = (away * unit).sum(axis=1)
    beyond[good] = ((segment == 0) & (share == 0.0) & (forward < -SLACK_M)) | (
        (segment == len(line.xy) - 2) & (share == 1.0) & (forward > SLACK_M)
    )
    return Located(chainage, offset, side, foot, beyond)


def _direction(line: Axis, segment: IntArray, share: FloatArray) -> FloatArray:
    """Direction of flow at a place; at a vertex the mean of both segments', which alone tells the side of a bend."""
    steps = np.diff(line.xy, axis=0)
    unit = steps / np.hypot(steps[:, 0], steps[:, 1])[:, None]
    other = np.where(
        share >= 1.0,
        np.minimum(segment + 1, len(unit) - 1),
        np.where(share <= 0.0, np.maximum(segment - 1, 0), segment),
    )
    mean: FloatArray = unit[segment] + unit[other]
    back = np.hypot(mean[:, 0], mean[:, 1]) < 1e-9
    mean[back] = unit[segment][back]
    return mean


def _inside(line: Axis, chainage_m: npt.ArrayLike) -> FloatArray:
    values = np.asarray(chainage_m, float).ravel()
    wrong = ~((values >= line.start_m - SLACK_M) & (values <= line.end_m + SLACK_M))
    if wrong.any():
        value = float(values[np.argmax(wrong)])
        shown = format_station(value) if np.isfinite(value) else str(value)
        ends = f"{format_station(line.start_m)}–{format_station(line.end_m)}"
        raise InputError(
            f"Chainage {shown} lies outside the axis ({ends}).", zh=f"桩号 {shown} 超出轴线范围（{ends}）。"
        )
    kept: FloatArray = np.clip(values, line.start_m, line.end_m)
    return kept


def points_at(line: Axis, chainage_m: npt.ArrayLike, *, offset_m: npt.ArrayLike = 0.0) -> FloatArray:
    """Positions at chainages, shape (n, 2); ``offset_m`` is to the left of the flow, negative to the right.

    Raises
    ------
    InputError
        A chainage outside the axis.

    Examples
    --------
    >>> points_at(axis(shapely.from_wkt("LINESTRING (0 0, 10 0)")), [4.0], offset_m=2.0).tolist()
    [[4.0, 2.0]]
    """
    values = _inside(line, chainage_m)
    segment = np.clip(np.searchsorted(line.measure_m, values, side="right") - 1, 0, len(line.xy) - 2)
    share = (values - line.measure_m[segment]) / (line.measure_m[segment + 1] - line.measure_m[segment])
    step = line.xy[segment + 1] - line.xy[segment]
    unit = step / np.hypot(step[:, 0], step[:, 1])[:, None]
    left = np.stack([-unit[:, 1], unit[:, 0]], axis=1)
    shift = np.broadcast_to(np.asarray(offset_m, float), values.shape)
    placed: FloatArray = line.xy[segment] + share[:, None] * step + shift[:, None] * left
    return placed


def sections(line: Axis, start_m: npt.ArrayLike, end_m: npt.ArrayLike) -> npt.NDArray[np.object_]:
    """Stretches of the axis between chainages as LineStrings, drawn from start to end.

    Raises
    ------
    InputError
        A chainage outside the axis, or a stretch without length.
    """
    starts, ends = np.broadcast_arrays(_inside(line, start_m), _inside(line, end_m))
    if (starts == ends).any():
        raise InputError("A stretch must have a length.", zh="区段长度不能为零。")
    low, high = np.minimum(starts, ends), np.maximum(starts, ends)
    first = np.searchsorted(line.measure_m, low, side="right")
    last = np.searchsorted(line.measure_m, high, side="left")
    begin, finish = points_at(line, low), points_at(line, high)
    made = np.empty(len(low), object)
    for at in range(len(low)):
        path = np.concatenate([begin[at : at + 1], line.xy[first[at] : last[at]], finish[at : at + 1]])
        made[at] = shapely.linestrings(path if starts[at] <= ends[at] else path[::-1])
    return made


def measure_sections(
    line: Axis, stretches: Sequence[BaseGeometry] | npt.NDArray[np.object_]
) -> tuple[FloatArray, FloatArray]:
    """Chainages at which stretches of the axis start and end."""
    shapes = np.asarray(stretches, object)
    return (
        locate(line, shapely.get_coordinates(shapely.get_point(shapes, 0))).chainage_m,
        locate(line, shapely.get_coordinates(shapely.get_point(shapes, -1))).chainage_m,
    )


def upstream_of(chainage_m: npt.ArrayLike, place_m: float, *, within_m: float = np.inf) -> IntArray:
    """Which chainages lie upstream of ``place_m``, by at most ``within_m``, in the order in which their water arrives.

    Examples
    --------
    >>> upstream_of([500.0, 3000.0, 1200.0, 1900.0], 2000.0, within_m=1000.0).tolist()
    [3, 2]
    """
    away = place_m - np.asarray(chainage_m, float).ravel()
    found = np.flatnonzero((away >= 0) & (away <= within_m))
    return found[np.argsort(away[found], kind="stable")].astype(np.int64)


def nearest_downstream(chainage_m: npt.ArrayLike, places_m: npt.ArrayLike) -> tuple[IntArray, FloatArray]:
    """For each chainage the first of ``places_m`` at or downstream of it (-1: none), and how far it is (NaN: none).

    Examples
    --------
    >>> nearest_downstream([100.0, 900.0], [800.0, 400.0])[0].tolist()
    [1, -1]
    """
    values = np.asarray(chainage_m, float).ravel()
    places = np.asarray(places_m, float).ravel()
    order = np.argsort(places, kind="stable")
    at = np.searchsorted(places[order], values, side="left")
    known = (at < len(places)) & np.isfinite(values)
    which = np.full(len(values), -1, np.int64)
    away = np.full(len(values), np.nan)
    which[known] = order[at[known]]
    away[known] = places[which[known]] - values[known]
    return which, away


def format_station(chainage_m: float, *, decimals: int = 0) -> str:
    """Chainage as a station label.

    Examples
    --------
    >>> format_station(12345.0), format_station(999.7), format_station(50.256, decimals=2), format_station(-1250)
    ('K12+345', 'K1+000', 'K0+050.26', 'K-1+250')
    """
    if not np.isfinite(chainage_m):
        raise InputError("A chainage must be a number.", zh="桩号须为有限数。")
    scale = 10**decimals
    units = round(abs(float(chainage_m)) * scale)
    km, rest = divmod(units, 1000 * scale)
    sign = "-" if chainage_m < 0 and units else ""
    width = 3 + (decimals + 1 if decimals else 0)
    return f"K{sign}{km}+{rest / scale:0{width}.{decimals}f}"


def parse_station(text: str) -> float:
    """Chainage in metres of a label such as ``K12+345`` or ``k12+345.6``.

    Raises
    ------
    InputError
        Not a station label.

    Examples
    --------
    >>> parse_station("K12+345")
    12345.0
    """
    found = STATION.match(text)
    if found is None:
        raise InputError(f"{text!r} is not a station such as K12+345.", zh=f"“{text}”不是 K12+345 形式的桩号。")
    value = int(found[2]) * 1000.0 + float(found[3])
    return -value if found[1] else value
