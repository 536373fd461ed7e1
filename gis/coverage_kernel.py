"""Kernels: count, cell by cell, the cameras that see it."""

import math

import numpy as np
import numpy.typing as npt

from gis.visibility_fan import kernel, look
from gis.visibility_fast import SCRATCH_ROWS, look_fast, scratch_size_of

__all__ = ["count_tile", "cumulate", "in_sector"]


@kernel
def _sector_box(centre_deg: float, half_deg: float, reach: int) -> tuple[int, int, int, int]:
    """South, west, north, east of a sector in cells from its apex."""
    if half_deg >= 180.0:
        return -reach, -reach, reach, reach
    south = 0.0
    west = 0.0
    north = 0.0
    east = 0.0
    for side in range(6):
        if side < 2:
            a = centre_deg + (half_deg if side == 0 else -half_deg)
        else:
            a = 90.0 * (side - 2)
            away = (a - centre_deg + 540.0) % 360.0 - 180.0
            if abs(away) > half_deg:
                continue
        e = math.sin(math.radians(a))
        n = math.cos(math.radians(a))
        south = min(south, n)
        north = max(north, n)
        west = min(west, e)
        east = max(east, e)
    return (
        max(-reach, math.floor(south * reach) - 1),
        max(-reach, math.floor(west * reach) - 1),
        min(reach, math.ceil(north * reach) + 1),
        min(reach, math.ceil(east * reach) + 1),
    )


@kernel
def in_sector(
    east: float, north: float, distance: float, sine: float, cosine: float, half_deg: float, cos_half: float
) -> bool:
    """Whether a place (east, north) of the apex lies within ``half_deg`` of the axis (sine, cosine).

    Negative: nothing does.
    """
    if half_deg >= 180.0:
        return True
    if half_deg < 0.0:
        return False
    return east * sine + north * cosine >= distance * cos_half - 1.0e-9 * (distance + 1.0)


@kernel
def count_tile(
    z: npt.NDArray[np.float32],
    z_row: int,
    z_col: int,
    tile_row: int,
    tile_col: int,
    which: npt.NDArray[np.int64],
    row: npt.NDArray[np.int64],
    col: npt.NDArray[np.int64],
    eye: npt.NDArray[np.float64],
    azimuth: npt.NDArray[np.float64],
    half_confirmed: npt.NDArray[np.float64],
    half_possible: npt.NDArray[np.float64],
    slope_confirmed: npt.NDArray[np.float64],
    slope_possible: npt.NDArray[np.float64],
    radius: npt.NDArray[np.float64],
    online: npt.NDArray[np.int8],
    sign: int,
    target: float,
    drop: float,
    cell: float,
    density: float,
    exact: bool,
    counts: npt.NDArray[np.uint16],
    touched: npt.NDArray[np.int32],
    reach_max: int,
) -> None:
    """Add (``sign`` 1) or take away (-1) the views of the cameras ``which`` in ``counts``.

    ``counts`` has shape (rows, cols, 4 * classes): for the products confirmed installed, possible installed, confirmed
    online, possible online how many cameras see the cell at best at each class of density; ``touched`` (rows, 2), from and up to which column
    there may be anything, is widened. All other arrays are those
    of `gis.cameras.CameraTable` and `gis.coverage_place.Placed`; the window ``z`` must hold every camera with its whole
    range and one cell around.
    """
    rows, cols, _bands = counts.shape
    classes = radius.shape[1]
    size = 2 * reach_max + 3
    seen = np.zeros((size, size), dtype=np.uint8)
    rays_max = max(8, math.ceil(density * (reach_max + 1)))
    work = np.empty((7, rays_max + 8 if exact else 1), dtype=np.float64)
    scratch = np.empty((SCRATCH_ROWS, 1 if exact else scratch_size_of(reach_max + 1, density)), dtype=np.float32)
    middle = reach_max + 1
    step = np.uint16(1) if sign > 0 else np.uint16(65535)
    limits = np.empty(classes, dtype=np.float64)
    for at in range(len(which)):
        k = which[at]
        reach = radius[k, 0] / cell
        whole = int(reach)
        south, west, north, east = _sector_box(azimuth[k], half_possible[k], whole)
        r0 = row[k] - tile_row
        c0 = col[k] - tile_col
        if r0 + north < 0 or r0 + south >= rows or c0 + east < 0 or c0 + west >= cols:
            continue
        if exact:
            look(
                z, row[k] - z_row, col[k] - z_col, eye[k], target, drop, reach, azimuth[k], half_possible[k], density,
                seen, middle, middle, work,
            )  # fmt: skip
        else:
            look_fast(
                z, row[k] - z_row, col[k] - z_col, eye[k], target, drop, reach, azimuth[k], half_possible[k], density,
                seen, middle, middle, scratch, 0, 8,
            )  # fmt: skip
        for c in range(classes):
            limits[c] = (radius[k, c] / cell) ** 2
        sine = math.sin(math.radians(azimuth[k]))
        cosine = math.cos(math.radians(azimuth[k]))
        cos_confirmed = math.cos(math.radians(half_confirmed[k]))
        cos_possible = math.cos(math.radians(half_possible[k]))
        low_c, high_c = slope_confirmed[k, 0], slope_confirmed[k, 1]
        low_p, high_p = slope_possible[k, 0], slope_possible[k, 1]
        is_on = online[k] == 1
        may_be_on = online[k] != 0
        for dr in range(south - 2, north + 3):
            sr = middle + dr
            if sr < 0 or sr >= size:
                continue
            r = r0 + dr
            inside = 0 <= r < rows
            if inside:
                touched[r, 0] = min(touched[r, 0], max(c0 + west - 2, 0))
                touched[r, 1] = max(touched[r, 1], min(c0 + east + 3, cols))
            for dc in range(west - 2, east + 3):
                sc = middle + dc
                if sc < 0 or sc >= size or seen[sr, sc] == 0:
                    continue
                seen[sr, sc] = 0
                c = c0 + dc
                if not inside or c < 0 or c >= cols:
                    continue
                d2 = float(dr * dr + dc * dc)
                distance = math.sqrt(d2)
                if distance > 0.0:
                    h = z[row[k] - z_row + dr, col[k] - z_col + dc] + target - eye[k] - drop * d2
                    slope = h / (distance * cell)
                else:
                    slope = -1.0e300
                if not (
                    slope >= low_p
                    and slope <= high_p
                    and in_sector(dc, dr, distance, sine, cosine, half_possible[k], cos_possible)
                ):
                    continue
                best = 0
                while best + 1 < classes and d2 <= limits[best + 1]:
                    best += 1
                counts[r, c, classes + best] += step
                if may_be_on:
                    counts[r, c, 3 * classes + best] += step
                if (
                    slope >= low_c
                    and slope <= high_c
                    and in_sector(dc, dr, distance, sine, cosine, half_confirmed[k], cos_confirmed)
                ):
                    counts[r, c, best] += step
                    if is_on:
                        counts[r, c, 2 * classes + best] += step


@kernel
def cumulate(
    counts: npt.NDArray[np.uint16],
    touched: npt.NDArray[np.int32],
    row: int,
    col: int,
    size: int,
    classes: int,
    out: npt.NDArray[np.uint16],
) -> int:
    """Add to ``out``, band by band, how many cameras see at a class or a finer one; returns the greatest sum.

    ``touched`` holds for each row of ``counts`` from and up to which column there may be anything.
    """
    greatest = 0
    for r in range(size):
        first = max(touched[row + r, 0] - col, 0)
        final = min(touched[row + r, 1] - col, size)
        for c in range(first, final):
            for product in range(4):
                total = 0
                for best in range(classes - 1, -1, -1):
                    band = product * classes + best
                    total += int(counts[row + r, col + c, band])
                    if total > 0:
                        value = (int(out[band, r, c]) + total) & 0xFFFF  # what is taken away wraps round
                        out[band, r, c] = value
                        greatest = max(greatest, value)
    return greatest
