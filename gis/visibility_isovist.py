"""The polygon that is visible among building footprints, as exact geometry.

Footprints that rise above the eye close the view. For every query the edges that face the eye are met ring by ring in a
grid, near ones first; a coarse angular buffer of what is closed already ends the search early. A sweep over the ends of
the remaining edges gives the visible polygon: its corners are corners of footprints, points where a line of sight past
a corner meets a wall, and points of the range circle (the arc is drawn by chords).

Footprints lower than the eye do not close the view but hide ground: the roof itself and the shadow behind it, on flat
ground. `Isovists.polygons` cuts these out as holes where asked to.
"""

import itertools
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from gis.errors import InputError, LimitExceeded
from gis.visibility_isovist_kernel import sweep

__all__ = ["Isovists"]

Floats = npt.NDArray[np.float64]
STEP_OUT_M = 0.01
EDGE_SEARCH_M = 60.0
#: Queries that make a thread worth its start.
_SHARE = 64


@dataclass(frozen=True)
class _Edges:
    """Edges of footprints, the outside on the right of each, and a grid that finds them."""

    ends: Floats
    west: float
    south: float
    cell: float
    first: npt.NDArray[np.int64]
    edge: npt.NDArray[np.int32]
    shape: tuple[int, int]


class Isovists:
    """Building footprints, made ready for many visible polygons.

    Parameters
    ----------
    footprints : shapely Polygons or MultiPolygons in the analysis system
    heights_m : array (n,)
        Heights on the scale of the eye height: above flat ground, or roofs above sea level with an eye above sea level.
    eye_m : float
        Height of the eye. Footprints at least as high close the view.
    ground_m : float
        Height of the ground, for the shadows of lower footprints.

    Raises
    ------
    InputError
        A height is missing or not a number.

    Examples
    --------
    >>> block = shapely.box(10, -5, 20, 5)
    >>> seen = Isovists([block], [9.0], eye_m=6.0).polygons([0.0], [0.0], radius_m=30.0)[0]
    >>> bool(seen.contains(shapely.Point(9, 0))), bool(seen.contains(shapely.Point(25, 0)))
    (True, False)
    """

    def __init__(
        self,
        footprints: Sequence[Any] | npt.NDArray[Any],
        heights_m: npt.ArrayLike,
        *,
        eye_m: float,
        ground_m: float = 0.0,
    ) -> None:
        shapes = np.asarray(footprints, dtype=object).reshape(-1)
        heights = np.asarray(heights_m, dtype=np.float64).reshape(-1)
        if shapes.shape != heights.shape or not np.isfinite(heights).all():
            raise InputError("Each footprint needs a height.", zh="每个建筑轮廓须有高度。")
        if not (math.isfinite(eye_m) and eye_m > ground_m):
            raise InputError("The eye must be above the ground.", zh="视点须高于地面。")
        self.eye_m, self.ground_m = float(eye_m), float(ground_m)
        tall = heights >= eye_m
        self._tall = _apart(shapes[tall])
        self._tree = shapely.STRtree(self._tall)
        self._low, self._low_height = shapes[~tall], heights[~tall]
        self._low_tree = shapely.STRtree(self._low)
        self._edges = _edges(self._tall)

    @property
    def edges(self) -> int:
        """Number of edges that can close the view."""
        return len(self._edges.ends)

    def rings(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        radius_m: npt.ArrayLike,
        azimuth_deg: npt.ArrayLike = 0.0,
        view_deg: npt.ArrayLike = 360.0,
        arc_step_deg: float = 3.0,
        workers: int | None = None,
    ) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Corners of the visible polygons of many eyes, for speed. ``workers`` threads (all cores by default) share them.

        Coordinates (m, 2) and the first corner of each ring, with the end.

        The eyes must stand free; `polygons` sees to that.
        """
        xs = np.ascontiguousarray(x, dtype=np.float64).reshape(-1)
        ys = np.ascontiguousarray(y, dtype=np.float64).reshape(-1)
        radius = np.ascontiguousarray(np.broadcast_to(np.asarray(radius_m, dtype=np.float64), xs.shape))
        azimuth = np.ascontiguousarray(np.broadcast_to(np.asarray(azimuth_deg, dtype=np.float64), xs.shape))
        view = np.ascontiguousarray(np.broadcast_to(np.asarray(view_deg, dtype=np.float64), xs.shape))
        if xs.shape != ys.shape or not all(np.isfinite(a).all() for a in (xs, ys, radius, azimuth, view)):
            raise InputError(
                "Eyes need finite coordinates, ranges and angles.", zh="视点坐标、距离和角度须为有限数值。"
            )
        if len(xs) and (radius.min() <= 0 or view.min() <= 0 or view.max() > 360):
            raise InputError(
                "Ranges must be positive and views within 0–360°.", zh="可视距离须为正数，视场角须在 0–360° 之间。"
            )
        if not 0.05 <= arc_step_deg <= 45:
            raise InputError("The step of arcs must be 0.05 to 45°.", zh="弧线步长须为 0.05–45°。")
        e = self._edges
        grid = (e.ends, e.west, e.south, e.cell, e.first, e.edge, e.shape[0], e.shape[1])

        def part(here: slice) -> tuple[Floats, npt.NDArray[np.int64]]:
            return sweep(*grid, xs[here], ys[here], radius[here], azimuth[here], view[here], arc_step_deg)

        count = min(workers or os.cpu_count() or 1, len(xs) // _SHARE)
        if count < 2:
            return part(slice(None))
        bounds = np.linspace(0, len(xs), count + 1).astype(int).tolist()
        with ThreadPoolExecutor(count, thread_name_prefix="isovists") as pool:
            parts = list(pool.map(part, [slice(*pair) for pair in itertools.pairwise(bounds)]))
        before = np.cumsum([0, *(len(corners) for corners, _ in parts)])
        starts = [first[:-1] + shift for (_, first), shift in zip(parts, before, strict=False)]
        return np.concatenate([corners for corners, _ in parts]), np.concatenate([*starts, before[-1:]])

    def polygons(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        radius_m: npt.ArrayLike,
        azimuth_deg: npt.ArrayLike = 0.0,
        view_deg: npt.ArrayLike = 360.0,
        arc_step_deg: float = 3.0,
        holes: bool = True,
    ) -> npt.NDArray[Any]:
        """Visible polygons of many eyes.

        Parameters
        ----------
        x, y : arrays (n,), metres
            An eye inside a footprint or on its wall is moved to just outside the nearest edge, in its direction of view
            where it has one.
        radius_m : float or array (n,)
        azimuth_deg, view_deg : float or array (n,)
            Sector; a view of 360 degrees is the full circle.
        arc_step_deg : float
            Greatest angle of a chord of the range circle.
        holes : bool
            Cut out the ground that footprints lower than the eye hide.

        Returns
        -------
        object array (n,) of shapely geometries
        """
        xs, ys = np.array(x, dtype=np.float64).reshape(-1), np.array(y, dtype=np.float64).reshape(-1)
        azimuth = np.broadcast_to(np.asarray(azimuth_deg, dtype=np.float64), xs.shape)
        view = np.broadcast_to(np.asarray(view_deg, dtype=np.float64), xs.shape)
        radius = np.broadcast_to(np.asarray(radius_m, dtype=np.float64), xs.shape)
        if np.isfinite(xs).all() and np.isfinite(ys).all():
            for i in np.unique(self._tree.query(shapely.points(xs, ys), predicate="intersects")[0]):
                xs[i], ys[i] = self._outside(xs[i], ys[i], None if view[i] >= 360 else float(azimuth[i]))
        corners, first = self.rings(
            xs, ys, radius_m=radius, azimuth_deg=azimuth, view_deg=view, arc_step_deg=arc_step_deg
        )
        of = np.repeat(np.arange(len(xs)), np.diff(first))
        out = np.asarray(shapely.polygons(shapely.linearrings(corners, indices=of)), dtype=object).reshape(-1)
        if holes and len(self._low):
            for i in range(len(out)):
                hidden = self._hidden(xs[i], ys[i], out[i])
                if hidden is not None:
                    out[i] = shapely.difference(out[i], hidden)
        return out

    def _outside(self, x: float, y: float, azimuth_deg: float | None) -> tuple[float, float]:
        eye = shapely.Point(x, y)
        if azimuth_deg is not None:
            angle = math.radians(azimuth_deg)
            east, north = math.sin(angle), math.cos(angle)
            ray = shapely.LineString([(x, y), (x + EDGE_SEARCH_M * east, y + EDGE_SEARCH_M * north)])
            inside = shapely.intersection(
                ray, shapely.union_all(self._tall[self._tree.query(ray, predicate="intersects")])
            )
            for part in shapely.get_parts(inside):
                if shapely.distance(part, eye) < 1e-9:
                    far = max(shapely.get_coordinates(part), key=lambda p: math.hypot(p[0] - x, p[1] - y))
                    return float(far[0]) + STEP_OUT_M * east, float(far[1]) + STEP_OUT_M * north
        shape = shapely.union_all(self._tall[self._tree.query(eye, predicate="intersects")])
        wall = shapely.get_coordinates(shapely.shortest_line(shapely.boundary(shape), eye))[0]
        if math.hypot(wall[0] - x, wall[1] - y) > EDGE_SEARCH_M:
            raise InputError(
                f"An eye lies more than {EDGE_SEARCH_M:g} m inside a footprint.",
                zh=f"视点位于建筑内部超过 {EDGE_SEARCH_M:g} 米。",
            )
        for turn in range(32):
            angle = turn * math.pi / 16
            px, py = float(wall[0]) + STEP_OUT_M * math.cos(angle), float(wall[1]) + STEP_OUT_M * math.sin(angle)
            if len(self._tree.query(shapely.Point(px, py), predicate="intersects")) == 0:
                return px, py
        raise InputError("An eye has no free place beside its wall.", zh="视点旁没有可用的空地。")

    def _hidden(self, x: float, y: float, seen: Any) -> Any:
        """Ground under and behind footprints lower than the eye.

        Of each edge the quadrilateral between it and its shadow.
        """
        parts: list[Any] = []
        for k in self._low_tree.query(seen, predicate="intersects"):
            reach = (self.eye_m - self.ground_m) / (self.eye_m - self._low_height[k])
            for shape in shapely.get_parts(self._low[k]):
                ring = shapely.get_coordinates(shapely.get_exterior_ring(shape))
                far = np.array([x, y]) + (ring - [x, y]) * reach
                quads = np.stack([ring[:-1], ring[1:], far[1:], far[:-1], ring[:-1]], axis=1)
                made = np.asarray(shapely.polygons(quads), dtype=object)
                parts.extend([shape, *made[shapely.is_valid(made) & (shapely.area(made) > 0)]])
        return shapely.union_all(parts) if parts else None


def _apart(shapes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Simple polygons that do not overlap: those that touch or overlap are united."""
    parts = shapely.get_parts(shapely.make_valid(shapes))
    parts = parts[(shapely.get_type_id(parts) == 3) & (shapely.area(parts) > 0)]
    if len(parts) == 0:
        return np.empty(0, dtype=object)
    a, b = shapely.STRtree(parts).query(parts, predicate="intersects")
    meets = np.unique(a[a != b])
    if len(meets) == 0:
        return np.asarray(parts, dtype=object)
    lonely = np.ones(len(parts), dtype=np.bool_)
    lonely[meets] = False
    united = shapely.get_parts(shapely.union_all(parts[meets]))
    return np.concatenate([parts[lonely], united[shapely.get_type_id(united) == 3]])


def _edges(polygons: npt.NDArray[Any]) -> _Edges:
    rings, _ = shapely.get_rings(polygons, return_index=True) if len(polygons) else (np.empty(0, dtype=object), None)
    outer = (
        np.isin(np.arange(len(rings)), np.cumsum([0, *(shapely.get_num_interior_rings(polygons) + 1)])[:-1])
        if len(rings)
        else np.empty(0, bool)
    )
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    same = ring[1:] == ring[:-1]
    start, end, of = xy[:-1][same], xy[1:][same], ring[:-1][same]
    # twice the signed area of each ring: outer rings should run counter-clockwise, inner ones clockwise, so that the outside lies on the right
    doubled = (
        np.bincount(of, weights=start[:, 0] * end[:, 1] - end[:, 0] * start[:, 1], minlength=len(rings))
        if len(of)
        else np.empty(0)
    )
    flip = ((doubled > 0) != outer)[of] if len(of) else np.empty(0, bool)
    ends = np.where(flip[:, None], np.hstack([end, start]), np.hstack([start, end])).reshape(-1, 4)
    ends = ends[(ends[:, 0] != ends[:, 2]) | (ends[:, 1] != ends[:, 3])]
    n = len(ends)
    if n == 0:
        return _Edges(np.empty((0, 4)), 0.0, 0.0, 1.0, np.zeros(2, dtype=np.int64), np.empty(0, dtype=np.int32), (1, 1))
    west, south = float(ends[:, [0, 2]].min()), float(ends[:, [1, 3]].min())
    width, height = float(ends[:, [0, 2]].max()) - west, float(ends[:, [1, 3]].max()) - south
    cell = max(math.sqrt(max(width, 1.0) * max(height, 1.0) / n) * 4.0, 1.0)
    rows, cols = int(height / cell) + 1, int(width / cell) + 1
    if rows * cols > 100_000_000:
        raise LimitExceeded("The footprints are spread too widely.", zh="建筑分布范围过大。")
    c0 = ((np.minimum(ends[:, 0], ends[:, 2]) - west) / cell).astype(np.int64)
    c1 = ((np.maximum(ends[:, 0], ends[:, 2]) - west) / cell).astype(np.int64)
    r0 = ((np.minimum(ends[:, 1], ends[:, 3]) - south) / cell).astype(np.int64)
    r1 = ((np.maximum(ends[:, 1], ends[:, 3]) - south) / cell).astype(np.int64)
    many = (r1 - r0 + 1) * (c1 - c0 + 1)
    edge = np.repeat(np.arange(n), many)
    nth = np.arange(len(edge)) - np.repeat(np.cumsum(many) - many, many)
    across = (c1 - c0 + 1)[edge]
    place = (r0[edge] + nth // across) * cols + c0[edge] + nth % across
    order = np.argsort(place, kind="stable")
    first = np.searchsorted(place[order], np.arange(rows * cols + 1)).astype(np.int64)
    return _Edges(np.ascontiguousarray(ends), west, south, cell, first, edge[order].astype(np.int32), (rows, cols))
