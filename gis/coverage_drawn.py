"""The view of a camera drawn by geometry: the polygon that is visible among building footprints, with the ground that roofs hide cut out.

A view is worked out on cells (`gis.coverage_views`). Where the ground is nearly level, the polygon of `gis.visibility_isovist` says the same
without the steps of the lattice. `drawn_view` makes it and compares the two cell by cell, so that a polygon is drawn only where it is right.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from gis.cameras import CameraTable
from gis.coverage_views import CameraView
from gis.errors import InputError
from gis.visibility_isovist import Isovists
from gis.visibility_surface import Buildings, Surface

__all__ = ["AGREEMENT", "LEVEL_SHARE", "drawn_view"]

AGREEMENT = 0.95
"""Intersection over union with the cells of open ground that a polygon must reach to be drawn."""
LEVEL_SHARE = 0.5
"""Ground in view may lie this part of the eye's height over its targets above or below the camera's; else no polygon is tried."""
_ARC_STEP_DEG = 2.0


def drawn_view(
    view: CameraView, cameras: CameraTable, i: int, surface: Surface, *, confirmed: bool, target_height_m: float = 0.0
) -> Any:
    """What a camera sees of the open ground at the coarsest density, as exact geometry among footprints.

    Parameters
    ----------
    view : CameraView
        From `gis.coverage_views.views`, of this camera on this surface; its ``cameras`` row is ``i``.
    confirmed : bool
        The confirmed view, else the possible one.

    Returns
    -------
    shapely geometry or None
        In the analysis system, without roofs. None where it would agree with the cells of open ground in less than `AGREEMENT`: on sloping
        ground, or where the camera or what it looks at is as high as the roofs.
    """
    cells = (view.confirmed if confirmed else view.possible) > 0
    half = float((cameras.half_confirmed_deg if confirmed else cameras.half_possible_deg)[i])
    low, high = (float(v) for v in (cameras.slope_confirmed if confirmed else cameras.slope_possible)[i])
    over = float(cameras.height_m[i]) - target_height_m
    if over <= 0.0 or half <= 0.0:
        return None
    middle = (cells.shape[0] - 1) // 2
    eye = ((view.col + middle + 0.5) * view.cell_m, (view.row + middle + 0.5) * view.cell_m)
    # where lines of sight of the least and the greatest slope in view meet a target on level ground
    near = over / -low if low < 0.0 else math.inf
    far = min(float(cameras.reach_m[i]), over / -high if high < 0.0 else math.inf)
    if not near < far:
        return None
    window = surface.window(view.row, view.col, *cells.shape)
    open_ground = window.building < 0
    ground = float(window.ground[middle, middle])
    if np.abs(window.ground[cells] - ground).max(initial=0.0) > LEVEL_SHARE * over:
        return None
    known, roofs = _roofs(window.building, window.z - ground)
    try:
        shape = Isovists(
            _footprints(surface.buildings, known),
            np.maximum(roofs, target_height_m),
            eye_m=float(cameras.height_m[i]),
            ground_m=target_height_m,
        ).polygons(
            [eye[0]], [eye[1]], radius_m=far, azimuth_deg=float(cameras.azimuth_deg[i]), view_deg=min(2.0 * half, 360.0),
            arc_step_deg=_ARC_STEP_DEG,
        )[0]  # fmt: skip
    except InputError:  # the camera has no free place among the footprints
        return None
    if near > 0.0:
        shape = shapely.difference(shape, shapely.buffer(shapely.Point(eye), near, quad_segs=24))
    drawn = _cells_of(shape, view) & open_ground
    seen = cells & open_ground
    either = int(np.count_nonzero(drawn | seen))
    if either == 0 or np.count_nonzero(drawn & seen) < AGREEMENT * either:
        return None
    return shape if shape.is_valid and shape.geom_type in ("Polygon", "MultiPolygon") else None


def _roofs(building: npt.NDArray[np.int32], over: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Buildings in a window, and the greatest height of each."""
    owner = building[building >= 0].astype(np.int64)
    known, place = np.unique(owner, return_inverse=True)
    heights = np.full(len(known), -np.inf)
    np.maximum.at(heights, place, over[building >= 0].astype(np.float64))
    return known, heights


def _footprints(buildings: Buildings | None, which: npt.NDArray[np.int64]) -> list[Any]:
    if buildings is None:
        return []
    first, end = (np.searchsorted(buildings.ring_of, which, side=side) for side in ("left", "right"))
    return [_footprint(buildings, a, b) for a, b in zip(first.tolist(), end.tolist(), strict=True)]


def _footprint(buildings: Buildings, first: int, end: int) -> Any:
    """Inside an odd number of rings is inside, as the cells are taken."""
    start = buildings.ring_start
    shape: Any = shapely.Polygon()
    for k in range(first, end):
        ring = shapely.make_valid(shapely.Polygon(buildings.xy[start[k] : start[k + 1]]))
        shape = ring if k == first else shapely.symmetric_difference(shape, ring)
    return shape


def _cells_of(shape: Any, view: CameraView) -> npt.NDArray[np.bool_]:
    """Cells whose centre lies in a shape."""
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    size = view.confirmed.shape
    if shape.is_empty:
        return np.zeros(size, dtype=np.bool_)
    cell = view.cell_m
    place = Affine(cell, 0.0, view.col * cell, 0.0, cell, view.row * cell)
    return np.asarray(rasterize([(shape, 1)], out_shape=size, transform=place, dtype=np.uint8), dtype=np.bool_)
