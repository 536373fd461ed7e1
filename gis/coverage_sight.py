"""Which cameras see which places, pair by pair, without counting the ground between them.

The rule is that of `gis.coverage.compute` in mode ``exact``: the cell of the place is judged. Made for many cameras that might be put up
and places that should be seen.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from gis.cameras import CameraTable
from gis.coverage import job_of
from gis.coverage_chunks import PRODUCTS
from gis.coverage_kernel import in_sector
from gis.errors import InputError
from gis.spreading import spread
from gis.visibility_fan import VOID_HEIGHT_M, kernel, line_is_free
from gis.visibility_surface import Surface

__all__ = ["Sights", "sights"]

TILE = 512
PAIRS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Sights:
    """Pairs of a camera that sees and a place that is seen.

    ``camera`` and ``place`` are int64 arrays of one length, numbers in the table and in the places asked for; ordered by camera, then
    place. ``placed`` says of each camera of the table whether it could be placed on the surface at all.
    """

    camera: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]
    placed: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Question:
    """All that a part of the cameras needs: heights, placed cameras by number, and the cells of the places.

    ``half`` degrees and ``slope`` (lowest, highest) are of what counts as seen; ``reach`` in cells.
    """

    surface: Surface
    cam_row: npt.NDArray[np.int64]
    cam_col: npt.NDArray[np.int64]
    eye_m: npt.NDArray[np.float64]
    azimuth_deg: npt.NDArray[np.float64]
    half: npt.NDArray[np.float64]
    slope: npt.NDArray[np.float64]
    reach: npt.NDArray[np.float64]
    rows: npt.NDArray[np.int64]
    cols: npt.NDArray[np.int64]
    target_height_m: float


def sights(
    cameras: CameraTable,
    surface: Surface,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    product: str = "confirmed_installed",
    density_px_m: float | None = None,
    target_height_m: float = 0.0,
    scheduler: str | None = None,
    check: Callable[[], None] | None = None,
) -> Sights:
    """Find the pairs.

    Parameters
    ----------
    cameras : CameraTable
        Identifiers must differ.
    surface : Surface
    x, y : arrays (n,), metres of the analysis system
    product : str
        One of `gis.coverage.PRODUCTS`.
    density_px_m : float, optional
        Density that counts as seen; the coarsest without it.
    scheduler : str, optional
        Address of a dask.distributed scheduler (``tcp://…``) to work on instead; the result is the same.
    check : callable, optional
        Called now and then; raises where the work is to end.

    Raises
    ------
    InputError
        No such product or density, or a coordinate that is no number.
    BackendError
        The cluster cannot be reached, or has lost all its workers.
    """
    if product not in PRODUCTS:
        raise InputError(f"There is no coverage product {product!r}.", zh=f"没有覆盖产品 {product!r}。")
    density = cameras.densities_px_m[0] if density_px_m is None else float(density_px_m)
    if density not in cameras.densities_px_m:
        raise InputError(
            f"The cameras were not prepared for {density:g} px/m.", zh=f"摄像机未按 {density:g} 像素/米准备。"
        )
    xs, ys = np.asarray(x, dtype=np.float64).reshape(-1), np.asarray(y, dtype=np.float64).reshape(-1)
    if xs.shape != ys.shape or not (np.isfinite(xs).all() and np.isfinite(ys).all()):
        raise InputError(
            "Points need finite coordinates, one y for each x.", zh="点坐标须为有限数值，且 x、y 数量一致。"
        )
    _, job = job_of(cameras, surface, target_height_m=target_height_m, densities_px_m=cameras.densities_px_m)
    placed, table = job.placed, job.placed.cameras
    number = {name: i for i, name in enumerate(cameras.id)}
    of = np.array([number[name] for name in table.id], dtype=np.int64)
    known = np.zeros(len(cameras), dtype=np.bool_)
    known[of] = True
    if not len(xs) or not len(of):
        return Sights(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), known)
    confirmed, working = product.startswith("confirmed"), product.endswith("online")
    half = table.half_confirmed_deg if confirmed else table.half_possible_deg
    slope = table.slope_confirmed if confirmed else table.slope_possible
    reach = table.radius_m[:, table.densities_px_m.index(density)] / surface.cell_m
    takes_part = half >= 0.0
    if working:
        takes_part &= (table.online == 1) if confirmed else (table.online != 0)
    rows, cols = surface.cell_of(xs, ys)
    question = _Question(
        surface, placed.row, placed.col, placed.eye_m, table.azimuth_deg, half, slope, reach, rows, cols, target_height_m
    )
    parts = _parts(placed.row, placed.col, np.flatnonzero(takes_part))
    found = (
        [result for _, result in spread(_part, question, parts, scheduler=scheduler, check=check)]
        if scheduler
        else _here(question, parts, check)
    )
    cam, seen = [of[own] for own, _ in found], [at for _, at in found]
    if not cam:
        return Sights(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), known)
    camera, what = np.concatenate(cam), np.concatenate(seen)
    order = np.lexsort((what, camera))
    return Sights(camera[order], what[order], known)


def _here(
    question: _Question, parts: list[npt.NDArray[np.int64]], check: Callable[[], None] | None
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    tree = _tree(question)
    found = []
    for part in parts:
        if check is not None:
            check()
        found.append(_part(question, part, tree))
    return found


def _tree(question: _Question) -> cKDTree:
    return cKDTree(np.column_stack([question.cols, question.rows]).astype(np.float64))


def _part(
    question: _Question, part: npt.NDArray[np.int64], tree: cKDTree | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Numbers of the cameras of ``part`` and of the places that they see, pair by pair."""
    cam_row, cam_col = question.cam_row[part], question.cam_col[part]
    near = (tree or _tree(question)).query_ball_point(
        np.column_stack([cam_col, cam_row]).astype(np.float64), question.reach[part] + 1.0e-6
    )
    size = np.array([len(found) for found in near], dtype=np.int64)
    if size.sum() == 0:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    owner = np.repeat(part, size)
    place = np.concatenate([np.sort(np.asarray(found, dtype=np.int64)) for found in near])
    margin = int(question.reach[part].max()) + 2
    row, col = int(cam_row.min()) - margin, int(cam_col.min()) - margin
    window = question.surface.window(
        row, col, int(cam_row.max()) + margin - row + 1, int(cam_col.max()) + margin - col + 1
    )
    good = np.concatenate(
        [
            _sights(
                window.z,
                row,
                col,
                owner[start : start + PAIRS_AT_ONCE],
                place[start : start + PAIRS_AT_ONCE],
                question.rows,
                question.cols,
                question.cam_row,
                question.cam_col,
                question.eye_m,
                question.azimuth_deg,
                question.half,
                question.slope,
                question.reach,
                question.target_height_m,
                question.surface.drop,
                question.surface.cell_m,
            )
            for start in range(0, len(owner), PAIRS_AT_ONCE)
        ]
    )
    return owner[good], place[good]


def _parts(
    row: npt.NDArray[np.int64], col: npt.NDArray[np.int64], which: npt.NDArray[np.int64]
) -> list[npt.NDArray[np.int64]]:
    """Cameras that stand near each other, so that one window of heights serves them."""
    order = which[np.lexsort((col[which] // TILE, row[which] // TILE))]
    if not len(order):
        return []
    cuts = np.flatnonzero((np.diff(row[order] // TILE) != 0) | (np.diff(col[order] // TILE) != 0)) + 1
    return np.split(order, cuts)


@kernel
def _sights(
    z: npt.NDArray[np.float32],
    z_row: int,
    z_col: int,
    owner: npt.NDArray[np.int64],
    place: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    cols: npt.NDArray[np.int64],
    cam_row: npt.NDArray[np.int64],
    cam_col: npt.NDArray[np.int64],
    eye: npt.NDArray[np.float64],
    azimuth: npt.NDArray[np.float64],
    half: npt.NDArray[np.float64],
    slope_of: npt.NDArray[np.float64],
    reach: npt.NDArray[np.float64],
    target: float,
    drop: float,
    cell: float,
) -> npt.NDArray[np.bool_]:
    out = np.zeros(len(owner), dtype=np.bool_)
    flat = z.reshape(-1)
    width = z.shape[1]
    for n in range(len(owner)):
        k, p = owner[n], place[n]
        dr = rows[p] - cam_row[k]
        dc = cols[p] - cam_col[k]
        d2 = float(dr * dr + dc * dc)
        if d2 > reach[k] * reach[k]:
            continue
        height = z[rows[p] - z_row, cols[p] - z_col]
        if height > 0.5 * VOID_HEIGHT_M:
            continue
        d = math.sqrt(d2)
        angle = math.radians(azimuth[k])
        wide = math.cos(math.radians(half[k]))
        if not in_sector(dc, dr, d, math.sin(angle), math.cos(angle), half[k], wide):
            continue
        h = height + target - eye[k] - drop * d2
        slope = h / (d * cell) if d > 0.0 else -1.0e300
        if slope < slope_of[k, 0] or slope > slope_of[k, 1]:
            continue
        i = max(abs(dr), abs(dc))
        if i > 0:
            j = min(abs(dr), abs(dc))
            east = 1 if dc > 0 else -1
            north = width if dr > 0 else -width
            si, sj = (east, north) if abs(dc) >= abs(dr) else (north, east)
            base = (cam_row[k] - z_row) * width + cam_col[k] - z_col
            if not line_is_free(flat, base, si, sj, i, j, eye[k], drop, h / i):
                continue
        out[n] = True
    return out
