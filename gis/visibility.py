"""What an observer sees: viewsheds on a surface (exact and fast), sectors, many observers at once.

*Exact* follows the rule R3 (line of sight with linear interpolation at every crossing of the grid) to the cell. *Fast*
compares a target with the horizon interpolated between two rays of a fan; it agrees with exact in more than 97 of 100
cells on real surfaces (``docs/accuracy.md``). The polygon that is visible among building footprints, as geometry, is in
`gis.visibility_isovist`; what whole sets of cameras see is in `gis.coverage`.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from gis.coverage_run import FAN_DENSITY
from gis.errors import Cancelled, InputError, LimitExceeded
from gis.visibility_fan import VOID_HEIGHT_M, look
from gis.visibility_fast import SCRATCH_ROWS, look_fast_shared, scratch_size
from gis.visibility_surface import Buildings, Surface, Terrain, Window

__all__ = ["Buildings", "Observer", "Surface", "Terrain", "Viewshed", "viewshed", "viewsheds"]

REACH_CELLS_MAX = 8000


@dataclass(frozen=True, kw_only=True)
class Observer:
    """One who looks.

    Place in metres of the analysis system, height of the eye above ``base`` (``"ground"`` or ``"surface"``), range, and
    sector.
    """

    x: float
    y: float
    eye_height_m: float
    radius_m: float
    azimuth_deg: float = 0.0
    view_deg: float = 360.0
    base: str = "ground"


@dataclass(frozen=True)
class Viewshed:
    """Cells seen by an observer: ``seen`` uint8 (rows, cols), row 0 in the south.

    Its south-west cell is (row, col) of the lattice.
    """

    row: int
    col: int
    cell_m: float
    seen: npt.NDArray[np.uint8]

    @property
    def area_m2(self) -> float:
        """Area seen."""
        return float(np.count_nonzero(self.seen)) * self.cell_m**2

    def polygon(self) -> Any:
        """The seen cells as a shapely geometry."""
        from gis.raster import polygons_of

        return polygons_of(self.seen > 0, row=self.row, col=self.col, cell_m=self.cell_m)


def viewshed(
    surface: Surface, observer: Observer, *, target_height_m: float = 0.0, mode: str = "exact", workers: int = 1
) -> Viewshed:
    """The cells that one observer sees; ``workers`` threads share the fast mode.

    Raises
    ------
    InputError
        The observer stands where nothing is known of the surface, or a number makes no sense.
    LimitExceeded
        The range is too many cells.

    Examples
    --------
    >>> flat = Surface(cell_m=1.0)
    >>> viewshed(flat, Observer(x=0.5, y=0.5, eye_height_m=2, radius_m=1)).area_m2
    5.0
    """
    _check(surface, observer, target_height_m, mode)
    reach = observer.radius_m / surface.cell_m
    size = math.floor(reach) + 1
    rows, cols = surface.cell_of([observer.x], [observer.y])
    row, col = int(rows[0]), int(cols[0])
    window = surface.window(row - size, col - size, 2 * size + 1, 2 * size + 1)
    return look_in(window, surface, observer, target_height_m=target_height_m, mode=mode, workers=workers)


def look_in(
    window: Window, surface: Surface, observer: Observer, *, target_height_m: float, mode: str, workers: int = 1
) -> Viewshed:
    """As `viewshed`, in a window that is already made and holds the observer's range and one cell around.

    ``workers`` threads share the fast mode; the answer does not depend on it.
    """
    reach = observer.radius_m / surface.cell_m
    size = math.floor(reach) + 1
    rows, cols = surface.cell_of([observer.x], [observer.y])
    r, c = int(rows[0]) - window.row, int(cols[0]) - window.col
    below = window.z if observer.base == "surface" else window.ground
    if below[r, c] > 0.5 * VOID_HEIGHT_M:
        raise InputError("The observer stands where the terrain is not known.", zh="观察点所在位置没有地形数据。")
    eye = float(below[r, c]) + observer.eye_height_m
    if eye < float(window.z[r, c]):
        raise InputError("The observer stands inside a building.", zh="观察点位于建筑内部。")
    density = FAN_DENSITY[mode]
    seen = np.zeros((2 * size + 1, 2 * size + 1), dtype=np.uint8)
    half = min(observer.view_deg / 2.0, 180.0)
    sight = (window.z, r, c, eye, target_height_m, surface.drop, reach, observer.azimuth_deg, half, density)
    if mode == "exact":
        look(*sight, seen, size, size, np.empty((7, max(8, math.ceil(density * reach)) + 8), dtype=np.float64))
    else:
        _look_fast(sight, reach, density, seen, size, workers)
    if half < 180.0:
        seen *= _sector(size, observer.azimuth_deg, half)
    return Viewshed(int(rows[0]) - size, int(cols[0]) - size, surface.cell_m, seen)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=8, thread_name_prefix="octants")


def _look_fast(
    sight: tuple[Any, ...], reach: float, density: float, seen: npt.NDArray[np.uint8], size: int, workers: int
) -> None:
    """The eight octants, shared by threads: each writes cells of its own, and takes the next octant when it is done with one."""
    columns = scratch_size(reach, density)
    taken = np.zeros(1, dtype=np.int64)

    def part() -> None:
        kernel: Any = look_fast_shared
        kernel(*sight, seen, size, size, np.empty((SCRATCH_ROWS, columns), dtype=np.float32), taken)

    waiting = [_pool().submit(part) for _ in range(min(workers, 8) - 1)]
    part()
    for future in waiting:
        future.result()


def viewsheds(
    surface: Surface,
    observers: Sequence[Observer],
    *,
    target_height_m: float = 0.0,
    mode: str = "exact",
    workers: int | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Iterator[Viewshed]:
    """The same for many observers, in their order, on all cores.

    Raises
    ------
    Cancelled
        ``cancel`` said so.
    """
    count = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(max_workers=count, thread_name_prefix="viewshed") as pool:
        for start in range(0, len(observers), 4 * count):
            if cancel is not None and cancel():
                raise Cancelled("The visibility run was stopped.", zh="可视分析已停止。")
            yield from pool.map(
                lambda observer: viewshed(surface, observer, target_height_m=target_height_m, mode=mode),
                observers[start : start + 4 * count],
            )


def _sector(size: int, azimuth_deg: float, half_deg: float) -> npt.NDArray[np.uint8]:
    north, east = np.mgrid[-size : size + 1, -size : size + 1]
    distance = np.hypot(north, east)
    angle = math.radians(azimuth_deg)
    along = east * math.sin(angle) + north * math.cos(angle)
    inside = along >= distance * math.cos(math.radians(half_deg)) - 1e-9 * (distance + 1)
    return np.asarray(inside, dtype=np.uint8)


def _check(surface: Surface, observer: Observer, target_height_m: float, mode: str) -> None:
    if mode not in FAN_DENSITY:
        raise InputError(
            f"There is no mode {mode!r}; there are 'exact' and 'fast'.", zh=f"没有模式 {mode!r}，可选 exact 和 fast。"
        )
    if observer.base not in ("ground", "surface"):
        raise InputError("An observer stands on 'ground' or 'surface'.", zh="观察点基准须为 ground 或 surface。")
    numbers = (
        observer.x,
        observer.y,
        observer.eye_height_m,
        observer.radius_m,
        observer.azimuth_deg,
        observer.view_deg,
        target_height_m,
    )
    if not all(math.isfinite(value) for value in numbers):
        raise InputError("An observer needs finite numbers.", zh="观察参数须为有限数值。")
    if observer.eye_height_m < 0 or target_height_m < 0:
        raise InputError("Heights above ground must not be negative.", zh="离地高度不得为负。")
    if not 0 < observer.view_deg <= 360:
        raise InputError(
            f"A view of {observer.view_deg:g}° is not possible.", zh=f"视场角 {observer.view_deg:g}° 不合理。"
        )
    if observer.radius_m <= 0:
        raise InputError("The range must be positive.", zh="可视距离须为正数。")
    if observer.radius_m / surface.cell_m > REACH_CELLS_MAX:
        raise LimitExceeded(
            f"A range of {observer.radius_m:g} m is more than {REACH_CELLS_MAX:,} cells of {surface.cell_m:g} m; use larger cells.",
            zh=f"可视距离 {observer.radius_m:g} 米超过 {REACH_CELLS_MAX:,} 个 {surface.cell_m:g} 米像元；请用更大的像元。",
        )
