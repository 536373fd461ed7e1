"""The view of single cameras: cells and polygons, how much of it falls on given ground, what only one camera sees."""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gis.cameras import CameraTable
from gis.coverage import job_of
from gis.coverage_chunks import CoverageResult
from gis.coverage_run import Job, count_window
from gis.coverage_sight import Sights, sights
from gis.raster import polygons_of
from gis.visibility_surface import Buildings, Surface

__all__ = ["CameraView", "Privacy", "privacy", "seen_by", "seen_only_by", "views"]

Classes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class CameraView:
    """What one camera sees.

    Best class of density by cell (0 not seen), uint8 (rows, cols), row 0 in the south, from lattice cell (row, col).
    """

    id: str
    row: int
    col: int
    cell_m: float
    confirmed: Classes
    possible: Classes

    def area_m2(self, *, confirmed: bool = True, density_class: int = 1) -> float:
        """Area seen at a class of density or a finer one."""
        cells = self.confirmed if confirmed else self.possible
        return float(np.count_nonzero(cells >= density_class)) * self.cell_m**2

    def polygon(self, *, confirmed: bool = True, density_class: int = 1) -> Any:
        """The same as a shapely geometry."""
        cells = self.confirmed if confirmed else self.possible
        return polygons_of(cells >= density_class, row=self.row, col=self.col, cell_m=self.cell_m)


@dataclass(frozen=True)
class Privacy:
    """How much of a camera's view falls on ground that should not be watched.

    ``mask`` is that part of the view, as a shapely geometry.
    """

    id: str
    view_m2: float
    on_m2: float
    mask: Any

    @property
    def share(self) -> float:
        """Share of the view, NaN when the camera sees nothing."""
        return self.on_m2 / self.view_m2 if self.view_m2 else math.nan


def views(
    cameras: CameraTable, surface: Surface, *, target_height_m: float = 0.0, mode: str = "exact", workers: int = 2
) -> Iterator[CameraView]:
    """The view of each camera that can be placed on the surface, in the order of the table.

    Whether it is online does not matter.
    """
    _, job = job_of(cameras, surface, target_height_m=target_height_m, densities_px_m=cameras.densities_px_m, mode=mode)
    n = len(job.placed.cameras)
    with ThreadPoolExecutor(max_workers=max(1, workers), thread_name_prefix="views") as pool:
        for start in range(0, n, 256):
            yield from pool.map(lambda i: _view(job, i), range(start, min(start + 256, n)))


def _view(job: Job, i: int) -> CameraView:
    placed = job.placed
    reach = int(placed.cameras.reach_m[i] / placed.cell_m) + 1
    row, col = int(placed.row[i]) - reach, int(placed.col[i]) - reach
    counted = count_window(job, row, col, 2 * reach + 1, 2 * reach + 1, np.array([i], dtype=np.int64))
    counts = counted.by_class
    number = np.arange(1, job.classes + 1, dtype=np.uint16)
    confirmed = (counts[:, :, : job.classes] * number).sum(axis=2).astype(np.uint8)
    possible = (counts[:, :, job.classes : 2 * job.classes] * number).sum(axis=2).astype(np.uint8)
    return CameraView(placed.cameras.id[i], row, col, placed.cell_m, confirmed, possible)


def privacy(
    cameras: CameraTable,
    surface: Surface,
    polygons: npt.NDArray[Any],
    *,
    confirmed: bool = True,
    mask: bool = True,
    workers: int = 2,
) -> Iterator[Privacy]:
    """The share of each camera's view that falls on given polygons, such as residential plots.

    Parameters
    ----------
    polygons : shapely Polygons in the analysis system
    confirmed : bool
        Judge the confirmed view; otherwise all that the camera could look at.
    mask : bool
        Also make the geometry to be masked.
    """
    ground = Surface(cell_m=surface.cell_m, buildings=Buildings.from_polygons(polygons, np.ones(len(polygons))))
    for view in views(cameras, surface, workers=workers):
        cells = (view.confirmed if confirmed else view.possible) > 0
        on = cells & (ground.window(view.row, view.col, *cells.shape).building >= 0)
        unit = view.cell_m**2
        shape = polygons_of(on, row=view.row, col=view.col, cell_m=view.cell_m) if mask else None
        yield Privacy(view.id, float(np.count_nonzero(cells)) * unit, float(np.count_nonzero(on)) * unit, shape)


def seen_by(
    cameras: CameraTable,
    surface: Surface,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    target_height_m: float = 0.0,
    mode: str = "exact",
    workers: int = 2,
) -> Sights:
    """Which online cameras surely see which places, as `gis.coverage.compute` counts them in the same mode.

    In mode ``fast`` the whole view of each camera near a place is worked out: for few places.
    """
    if mode == "exact":
        return sights(cameras, surface, x, y, product="confirmed_online", target_height_m=target_height_m)
    xs, ys = np.asarray(x, dtype=np.float64).reshape(-1), np.asarray(y, dtype=np.float64).reshape(-1)
    rows, cols = surface.cell_of(xs, ys)
    working = np.flatnonzero(cameras.online == 1)
    room = cameras.reach_m[working] + 100.0  # a camera in a building is put on its edge
    near = [
        bool((np.hypot(xs - cameras.x[k], ys - cameras.y[k]) <= r).any()) for k, r in zip(working, room, strict=True)
    ]
    chosen = working[np.array(near, dtype=np.bool_)]
    number = {name: int(k) for name, k in zip(cameras.take(chosen).id, chosen, strict=True)}
    placed = np.ones(len(cameras), dtype=np.bool_)
    placed[chosen] = False
    camera, place = [], []
    for view in views(cameras.take(chosen), surface, target_height_m=target_height_m, mode=mode, workers=workers):
        k = number[view.id]
        placed[k] = True
        r, c = rows - view.row, cols - view.col
        inside = np.flatnonzero((r >= 0) & (r < view.confirmed.shape[0]) & (c >= 0) & (c < view.confirmed.shape[1]))
        seen = inside[view.confirmed[r[inside], c[inside]] > 0]
        camera.append(np.full(len(seen), k, dtype=np.int64))
        place.append(seen.astype(np.int64))
    nothing = np.empty(0, dtype=np.int64)
    who, what = np.concatenate([nothing, *camera]), np.concatenate([nothing, *place])
    order = np.lexsort((what, who))
    return Sights(who[order], what[order], placed)


def seen_only_by(
    cameras: CameraTable,
    surface: Surface,
    result: CoverageResult,
    *,
    product: str = "confirmed_installed",
    workers: int = 2,
) -> dict[str, float]:
    """Square metres that only this camera sees: what is lost if it fails, by identifier.

    ``cameras``, ``surface`` must be those of the result.
    """
    band = result.band(product)
    confirmed, online = product.startswith("confirmed"), product.endswith("online")
    state = dict(zip(cameras.id, cameras.online, strict=True))
    lost = {}
    for view in views(cameras, surface, target_height_m=result.target_height_m, mode=result.mode, workers=workers):
        if online and (state[view.id] == 0 or (confirmed and state[view.id] != 1)):
            lost[view.id] = 0.0
            continue
        cells = (view.confirmed if confirmed else view.possible) > 0
        alone = result.window(view.row, view.col, *cells.shape)[band] == 1
        lost[view.id] = float(np.count_nonzero(cells & alone)) * result.cell_m**2
    return lost
