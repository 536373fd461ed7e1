"""What the cameras of a city see, cell by cell.

`compute` is the whole way: cameras and a surface in, counts out, tile by tile, on all cores or a cluster. No database
is needed.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gis.cameras import CameraTable, check_densities, prepare
from gis.coverage_chunks import CHUNK, PRODUCTS, CoverageResult
from gis.coverage_place import place
from gis.coverage_run import FAN_DENSITY, Job, Progress, digest_of, run_tiles, tiles_of
from gis.errors import InputError, LimitExceeded
from gis.settings import CameraDefaults
from gis.visibility_surface import Buildings, Surface, Terrain

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["PRODUCTS", "CoverageResult", "compute", "empty_result", "job_of"]

SIGHTS_MAX = 2.0e11
"""Most cells that all cameras together may look at in one run; at one microsecond each this is more than two days."""


def compute(
    cameras: "CameraTable | gpd.GeoDataFrame | Mapping[str, Any]",
    surface: Surface | None = None,
    *,
    cell_m: float | None = None,
    target_height_m: float = 0.0,
    densities_px_m: Sequence[float] = (20.0, 40.0, 80.0),
    mode: str = "exact",
    tile_size: int = 1024,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
    store: Path | None = None,
    buildings: "Buildings | gpd.GeoDataFrame | None" = None,
    terrain: Terrain | None = None,
    defaults: CameraDefaults | None = None,
    range_max_m: float = 400.0,
    crs: Any = None,
    bounds: tuple[float, float, float, float] | None = None,
) -> CoverageResult:
    """Count for every cell the cameras that see it.

    Parameters
    ----------
    cameras : CameraTable, GeoDataFrame or mapping of columns
        What is not a `CameraTable` goes through `gis.cameras.prepare` with ``defaults``, ``densities_px_m``,
        ``range_max_m``, ``crs`` and ``bounds``.
    surface : Surface, optional
        Terrain and buildings. Without it one is made of ``terrain`` and ``buildings`` with cells of ``cell_m`` (1 m);
        without those the ground is taken as flat and free, and the result says so.
    target_height_m : float
        Height above the ground (or roof) of what should be seen.
    mode : str
        ``"exact"`` or ``"fast"``; see `gis.visibility`.
    tile_size : int
        Cells along a side of the tiles of work; rounded up to a multiple of 256. Results do not depend on it.
    workers : int, optional
        Threads; all cores without it. Results do not depend on it.
    scheduler : str, optional
        Address of a dask.distributed scheduler (``tcp://…``) to work on instead.
    progress : callable, optional
        Called with the numbers of finished and of all tiles.
    cancel : callable, optional
        Asked between tiles; true stops the run with `Cancelled`.
    store : Path, optional
        Folder in which finished tiles are kept, so that a run that was broken off can be taken up again.
    bounds : tuple, optional
        West, south, east, north of the area of analysis in metres; without it that of the terrain.

    Raises
    ------
    InputError
        A parameter makes no sense.
    LimitExceeded
        The work is too large: too many cameras, or cells too small.
    Cancelled
        ``cancel`` said so.

    Examples
    --------
    >>> result = compute({"x": [0.5], "y": [0.5], "azimuth_deg": [0], "view_dist_m": [50]}, workers=1)
    >>> result.area_m2("confirmed_installed") > 500
    True
    """
    densities = check_densities(densities_px_m)
    table, job = job_of(
        cameras,
        surface,
        cell_m=cell_m,
        target_height_m=target_height_m,
        densities_px_m=densities,
        mode=mode,
        buildings=buildings,
        terrain=terrain,
        defaults=defaults,
        range_max_m=range_max_m,
        crs=crs,
        bounds=bounds,
    )
    if tile_size < 1 or tile_size > 16_384:
        raise InputError("The tile size must be 1 to 16,384 cells.", zh="瓦片边长须为 1–16384 个像元。")
    size = CHUNK * math.ceil(tile_size / CHUNK)
    result = empty_result(job)
    result.rejected = table.rejected + job.placed.rejected
    result.cameras = len(job.placed.cameras)
    result.cameras_digest = digest_of(job.placed)
    result.tally = job.placed.cameras.tally
    result.chunks = run_tiles(
        job,
        tiles_of(job.placed, size=size),
        workers=workers or os.cpu_count() or 1,
        scheduler=scheduler,
        progress=progress,
        cancel=cancel,
        folder=None if store is None else Path(store) / result.fingerprint,
    )
    return result


def empty_result(job: Job) -> CoverageResult:
    """A result without cameras, with the parameters of a job."""
    table = job.placed.cameras
    return CoverageResult(
        cell_m=job.surface.cell_m,
        densities_px_m=table.densities_px_m,
        chunks={},
        mode=job.mode,
        target_height_m=job.target_height_m,
        surface_digest=job.surface.digest,
        crs=table.crs,
        defaults=table.defaults,
        surface_assumptions=job.surface.assumptions,
        software=f"baige {_software()}",
    )


def job_of(
    cameras: "CameraTable | gpd.GeoDataFrame | Mapping[str, Any]",
    surface: Surface | None = None,
    *,
    cell_m: float | None = None,
    target_height_m: float = 0.0,
    densities_px_m: Sequence[float] = (20.0, 40.0, 80.0),
    mode: str = "exact",
    buildings: "Buildings | gpd.GeoDataFrame | None" = None,
    terrain: Terrain | None = None,
    defaults: CameraDefaults | None = None,
    range_max_m: float = 400.0,
    crs: Any = None,
    bounds: tuple[float, float, float, float] | None = None,
) -> tuple[CameraTable, Job]:
    """The cameras as read and as placed on the surface.

    What `compute`, `gis.coverage_update` and `gis.coverage_explain` work on.
    """
    if mode not in FAN_DENSITY:
        raise InputError(
            f"There is no mode {mode!r}; there are 'exact' and 'fast'.", zh=f"没有模式 {mode!r}，可选 exact 和 fast。"
        )
    if not (math.isfinite(target_height_m) and 0 <= target_height_m <= 100):
        raise InputError("The target height must be 0 to 100 m.", zh="目标高度须为 0–100 米。")
    if surface is None:
        if buildings is not None and not isinstance(buildings, Buildings):
            buildings = Buildings.read(buildings, crs=crs)
        surface = Surface(cell_m=1.0 if cell_m is None else cell_m, terrain=terrain, buildings=buildings)
    elif buildings is not None or terrain is not None:
        raise InputError("Give either a surface or its parts.", zh="请只给出表面或其组成部分之一。")
    elif cell_m is not None and cell_m != surface.cell_m:
        raise InputError("The surface has another cell size.", zh="表面的像元大小不同。")
    if isinstance(cameras, CameraTable):
        table = cameras
        if table.densities_px_m != tuple(densities_px_m):
            raise InputError("The cameras were prepared for other densities.", zh="摄像机按其他像素密度准备。")
    else:
        table = prepare(
            cameras,
            defaults=defaults,
            densities_px_m=densities_px_m,
            crs=crs,
            bounds=bounds if bounds is not None else surface.bounds,
            range_max_m=range_max_m,
        )
    sights = float(np.sum((2.0 * table.reach_m / surface.cell_m + 1.0) ** 2)) if len(table) else 0.0
    if sights > SIGHTS_MAX:
        raise LimitExceeded(
            f"{len(table):,} cameras would look at {sights:.1e} cells of {surface.cell_m:g} m; at most {SIGHTS_MAX:.0e}. "
            "Use larger cells or a smaller area.",
            zh=f"{len(table):,} 台摄像机共需计算 {sights:.1e} 个像元，超过上限 {SIGHTS_MAX:.0e}。请用更大的像元或更小的范围。",
        )
    return table, Job(placed=place(table, surface), surface=surface, target_height_m=target_height_m, mode=mode)


def _software() -> str:
    try:
        return version("baige")
    except PackageNotFoundError:
        return "unknown"
