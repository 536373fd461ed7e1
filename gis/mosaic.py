"""Height rasters laid together into one cloud-optimised GeoTIFF, voids filled and flagged; and windows read from it.

A mosaic is two files of the same grid: heights (float32, metres) and flags (uint8, see `Flag`). Work goes block by block, so that a
mosaic need not fit into memory.
"""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.features
import rasterio.fill
import rasterio.shutil
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from gis.crs import transformer
from gis.errors import CRSMismatch, InputError, LimitExceeded, RasterReadFailed
from gis.heightfile import HeightFile, cell_size_m

__all__ = ["Flag", "Mosaic", "mosaic_heights", "read_heights", "write_heights"]

Floats32 = NDArray[np.float32]
Flags = NDArray[np.uint8]
Bounds = tuple[float, float, float, float]

#: Heights on land are within these, in metres (Dead Sea shore −430, highest summit 8,849); all else is a void.
HEIGHT_RANGE_M = (-500.0, 9000.0)
NODATA = -32768.0
_BLOCK = 1024
#: How far, in cells of the source, the place of a resampled cell may be off; GDAL's own default, an eighth, makes errors of metres on slopes.
_WARP_CELLS = 0.001
_CELLS_MAX = 4_000_000_000
_READ_CELLS_MAX = 400_000_000


class Flag(IntEnum):
    """What a cell of a mosaic is."""

    MEASURED = 0
    FILLED = 1
    VOID = 2
    OUTSIDE = 255


@dataclass(frozen=True)
class Mosaic:
    """A finished mosaic; ``void_count`` are the cells inside the sources that had no height, ``filled_count`` those that got one."""

    srid: int
    bounds: Bounds
    width: int
    height: int
    cell_m: float
    void_count: int
    filled_count: int
    height_min_m: float | None
    height_max_m: float | None


@dataclass(frozen=True)
class _Grid:
    srid: int
    transform: Affine
    width: int
    height: int

    @property
    def bounds(self) -> Bounds:
        west, north = self.transform.c, self.transform.f
        return west, north + self.transform.e * self.height, west + self.transform.a * self.width, north


def _bounds_in(bounds: Bounds, from_srid: int, to_srid: int) -> Bounds:
    if from_srid == to_srid:
        return bounds
    return transformer(from_srid, to_srid).transform_bounds(*bounds, densify_pts=21)


def _common_grid(files: Sequence[HeightFile]) -> _Grid:
    """The grid of the finest file, extended over all."""
    first = files[0]
    boxes = np.array([_bounds_in(file.bounds, file.srid, first.srid) for file in files])
    if not np.isfinite(boxes).all():
        raise CRSMismatch(
            f"The files cannot be brought into EPSG:{first.srid}.", zh=f"这些文件无法转换到 EPSG:{first.srid}。"
        )
    west, south, east, north = boxes[:, 0].min(), boxes[:, 1].min(), boxes[:, 2].max(), boxes[:, 3].max()
    dx, dy = first.cell
    slack = 1e-6
    left = first.bounds[0] - math.ceil((first.bounds[0] - west) / dx - slack) * dx
    top = first.bounds[3] + math.ceil((north - first.bounds[3]) / dy - slack) * dy
    width, height = math.ceil((east - left) / dx - slack), math.ceil((top - south) / dy - slack)
    if width * height > _CELLS_MAX:
        raise LimitExceeded(
            f"The mosaic would have {width:,} × {height:,} cells; load files of one region and resolution together.",
            zh=f"镶嵌结果将有 {width:,} × {height:,} 个像元，请分区域、分辨率加载。",
        )
    return _Grid(first.srid, Affine(dx, 0.0, left, 0.0, -dy, top), width, height)


def _aligned(file: HeightFile, grid: _Grid) -> bool:
    if file.srid != grid.srid:
        return False
    column = (file.bounds[0] - grid.transform.c) / grid.transform.a
    row = (file.bounds[3] - grid.transform.f) / grid.transform.e
    same_cell = np.allclose(file.cell, (grid.transform.a, -grid.transform.e), rtol=1e-6, atol=0)
    return same_cell and abs(column - round(column)) < 1e-3 and abs(row - round(row)) < 1e-3


def _footprint(file: HeightFile, grid: _Grid) -> shapely.Polygon:
    box = shapely.segmentize(
        shapely.box(*file.bounds), max(file.bounds[2] - file.bounds[0], file.bounds[3] - file.bounds[1]) / 64
    )
    if file.srid == grid.srid:
        return box
    change = transformer(file.srid, grid.srid)
    return shapely.transform(box, lambda xy: np.column_stack(change.transform(xy[:, 0], xy[:, 1])))


class _Source:
    """One file, seen on the grid of the mosaic."""

    def __init__(self, file: HeightFile, grid: _Grid) -> None:
        self.footprint = _footprint(file, grid)
        self.name = file.path.name
        self._dataset = rasterio.open(file.path)
        resampling = Resampling.nearest if _aligned(file, grid) else Resampling.bilinear
        self._view = WarpedVRT(
            self._dataset, src_crs=f"EPSG:{file.srid}", crs=f"EPSG:{grid.srid}", transform=grid.transform, width=grid.width,
            height=grid.height, resampling=resampling, src_nodata=file.nodata, nodata=NODATA, dtype="float32", tolerance=_WARP_CELLS,
        )  # fmt: skip

    def close(self) -> None:
        self._view.close()
        self._dataset.close()

    def read(self, window: Window, transform: Affine) -> tuple[Floats32, NDArray[np.bool_]]:
        """Heights (NaN for voids) and which cells lie inside the file."""
        try:
            heights = self._view.read(1, window=window).astype(np.float32)
        except rasterio.errors.RasterioError as error:
            raise RasterReadFailed(
                f"{self.name} could not be read to its end.", zh=f"{self.name} 读取中断。"
            ) from error
        with np.errstate(invalid="ignore"):
            heights[~((heights > HEIGHT_RANGE_M[0]) & (heights < HEIGHT_RANGE_M[1]))] = np.nan
        inside = rasterio.features.geometry_mask([self.footprint], heights.shape, transform, invert=True)
        return heights, inside


def _block(sources: Sequence[_Source], window: Window, transform: Affine, fill_cells: int) -> tuple[Floats32, Flags]:
    shape = (int(window.height), int(window.width))
    heights = np.full(shape, np.nan, dtype=np.float32)
    known = np.zeros(shape, dtype=bool)
    for source in sources:
        own, inside = source.read(window, transform)
        known |= inside
        empty = np.isnan(heights)
        heights[empty] = own[empty]
    void = np.isnan(heights)
    flags = np.where(void, np.where(known, Flag.VOID, Flag.OUTSIDE), Flag.MEASURED).astype(np.uint8)
    if fill_cells and (flags == Flag.VOID).any() and not void.all():
        image = np.where(void, np.float32(NODATA), heights)
        filled = rasterio.fill.fillnodata(
            image, mask=~void, max_search_distance=float(fill_cells), smoothing_iterations=0
        )
        gained = (flags == Flag.VOID) & (filled != np.float32(NODATA)) & np.isfinite(filled)
        heights[gained] = filled[gained]
        flags[gained] = Flag.FILLED
    return heights, flags


def _profile(grid: _Grid) -> dict[str, Any]:
    return {
        "driver": "GTiff", "width": grid.width, "height": grid.height, "count": 1, "crs": f"EPSG:{grid.srid}",
        "transform": grid.transform, "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "DEFLATE", "zlevel": 1,
        "BIGTIFF": "IF_SAFER",
    }  # fmt: skip


def _finish(rough: Path, target: Path, *, overviews: str) -> None:
    rasterio.shutil.copy(
        rough, target, driver="COG", COMPRESS="DEFLATE", PREDICTOR="YES", BLOCKSIZE="512",
        OVERVIEW_RESAMPLING=overviews, RESAMPLING=overviews, BIGTIFF="IF_SAFER", NUM_THREADS="2",
    )  # fmt: skip
    rough.unlink()
    with target.open("rb") as stream:
        os.fsync(stream.fileno())


def mosaic_heights(
    files: Sequence[HeightFile],
    heights_path: Path,
    flags_path: Path,
    *,
    fill_cells: int = 100,
    on_progress: Callable[[int, int], None] | None = None,
) -> Mosaic:
    """Lay height rasters together on the grid of the finest, and write heights and flags as COG.

    Where files overlap the finer one counts; of equally fine ones the one named later. Files on the same grid are copied cell by cell,
    others are resampled bilinearly. Voids inside a file are filled from its surroundings (inverse distance, GDAL's ``FillNodata``) as
    far as ``fill_cells`` and flagged; what lies outside every file stays empty.

    Parameters
    ----------
    files : sequence of HeightFile
        From `gis.heightfile.inspect_heights`.
    heights_path, flags_path : Path
        Where to write; not safe against a crash in itself, so give temporary names and rename.
    fill_cells : int
        How far, in cells, a void may look for heights; 0 fills nothing.
    on_progress : callable, optional
        Called with blocks done and blocks in all.

    Raises
    ------
    CRSMismatch, LimitExceeded, RasterReadFailed
    """
    if not files:
        raise InputError("No height file was given.", zh="没有给出高程文件。")
    order = sorted(enumerate(files), key=lambda item: (round(item[1].cell_m, 3), -item[0]))
    ranked = [file for _, file in order]
    grid = _common_grid(ranked)
    profile = _profile(grid)
    rough_heights, rough_flags = heights_path.with_suffix(".rough.tif"), flags_path.with_suffix(".rough.tif")
    void_count = filled_count = 0
    lowest, highest = math.inf, -math.inf
    corners = [(row, column) for row in range(0, grid.height, _BLOCK) for column in range(0, grid.width, _BLOCK)]
    sources = [_Source(file, grid) for file in ranked]
    try:
        with (
            rasterio.open(rough_heights, "w", dtype="float32", nodata=NODATA, **profile) as out_heights,
            rasterio.open(rough_flags, "w", dtype="uint8", nodata=int(Flag.OUTSIDE), **profile) as out_flags,
        ):
            for done, (row, column) in enumerate(corners, start=1):
                rows, columns = min(_BLOCK, grid.height - row), min(_BLOCK, grid.width - column)
                # A margin as wide as the search makes the result the same as if the whole were filled at once.
                top, left = max(0, row - fill_cells), max(0, column - fill_cells)
                bottom, right = (
                    min(grid.height, row + rows + fill_cells),
                    min(grid.width, column + columns + fill_cells),
                )
                window = Window(left, top, right - left, bottom - top)
                shifted = grid.transform @ Affine.translation(left, top)
                heights, flags = _block(sources, window, shifted, fill_cells)
                core = (slice(row - top, row - top + rows), slice(column - left, column - left + columns))
                heights, flags = heights[core], flags[core]
                void_count += int(np.count_nonzero((flags == Flag.VOID) | (flags == Flag.FILLED)))
                filled_count += int(np.count_nonzero(flags == Flag.FILLED))
                if not np.isnan(heights).all():
                    lowest, highest = min(lowest, float(np.nanmin(heights))), max(highest, float(np.nanmax(heights)))
                inner = Window(column, row, columns, rows)
                out_heights.write(np.where(np.isnan(heights), np.float32(NODATA), heights), 1, window=inner)
                out_flags.write(flags, 1, window=inner)
                if on_progress:
                    on_progress(done, len(corners))
    finally:
        for source in sources:
            source.close()
    if lowest > highest:
        raise InputError(
            "There is no height in these files: every cell is a void.", zh="文件中没有高程：全部像元为空。"
        )
    _finish(rough_heights, heights_path, overviews="AVERAGE")
    _finish(rough_flags, flags_path, overviews="MODE")
    return Mosaic(
        grid.srid, grid.bounds, grid.width, grid.height, cell_size_m(grid.srid, grid.bounds, ranked[0].cell),
        void_count, filled_count, lowest, highest,
    )  # fmt: skip


def write_heights(
    heights: NDArray[np.floating[Any]], transform: Affine, srid: int, heights_path: Path, flags_path: Path
) -> Mosaic:
    """Write an array of heights as heights and flags, in the form of `mosaic_heights`; NaN cells are voids and stay so.

    Parameters
    ----------
    heights : ndarray, shape (rows, columns)
        Metres; row 0 is the northernmost.
    transform : Affine
        From column, row to x, y of the cells' outer corner; north-up.
    srid : int
        EPSG code of x, y.

    Raises
    ------
    InputError
        The array is not two-dimensional, has no height, or the transform is not north-up.
    """
    values = np.asarray(heights, dtype=np.float32)
    if values.ndim != 2 or transform.b or transform.d or transform.a <= 0 or transform.e >= 0:
        raise InputError("Heights are a two-dimensional array, row 0 in the north.", zh="高程应为二维数组，首行在北。")
    void = ~np.isfinite(values)
    if void.all():
        raise InputError("There is no height: every cell is a void.", zh="没有高程：全部像元为空。")
    grid = _Grid(srid, transform, values.shape[1], values.shape[0])
    profile = _profile(grid)
    rough_heights, rough_flags = heights_path.with_suffix(".rough.tif"), flags_path.with_suffix(".rough.tif")
    with rasterio.open(rough_heights, "w", dtype="float32", nodata=NODATA, **profile) as out:
        out.write(np.where(void, np.float32(NODATA), values), 1)
    with rasterio.open(rough_flags, "w", dtype="uint8", nodata=int(Flag.OUTSIDE), **profile) as out:
        out.write(np.where(void, Flag.VOID, Flag.MEASURED).astype(np.uint8), 1)
    _finish(rough_heights, heights_path, overviews="AVERAGE")
    _finish(rough_flags, flags_path, overviews="MODE")
    cell_m = cell_size_m(srid, grid.bounds, (transform.a, -transform.e))
    return Mosaic(
        srid,
        grid.bounds,
        grid.width,
        grid.height,
        cell_m,
        int(void.sum()),
        0,
        float(values[~void].min()),
        float(values[~void].max()),
    )


def read_heights(
    heights_path: Path, flags_path: Path | None, bounds: Bounds, *, srid: int, cell_m: float, smooth: bool = False
) -> tuple[Floats32, Affine, NDArray[np.bool_]]:
    """A window of a mosaic, resampled bilinearly (``smooth``: by cubic splines, for pictures) onto square cells of another system.

    Parameters
    ----------
    heights_path, flags_path : Path
        From `mosaic_heights`; without flags no cell counts as filled.
    bounds : tuple of float
        West, south, east, north in ``srid``; the window starts at the north-west corner and is rounded up to whole cells.
    srid : int
        EPSG code of a projected system in metres.
    cell_m : float
        Side of a cell.

    Returns
    -------
    heights : ndarray of float32, shape (rows, columns)
        Metres; row 0 is the northernmost; NaN where nothing is known.
    transform : Affine
        From column, row to x, y of the cells' outer corner.
    filled : ndarray of bool, shape (rows, columns)
        Cells whose height was not measured but filled in.

    Raises
    ------
    RasterReadFailed
        The files are missing or damaged.
    LimitExceeded
        More than 400 million cells.
    """
    west, south, east, north = bounds
    if not (east > west and north > south and cell_m > 0):
        raise InputError("The window is empty.", zh="窗口为空。")
    width, height = math.ceil((east - west) / cell_m - 1e-9), math.ceil((north - south) / cell_m - 1e-9)
    if width * height > _READ_CELLS_MAX:
        raise LimitExceeded(
            f"A window of {width:,} × {height:,} cells is too large.", zh=f"窗口 {width:,} × {height:,} 像元过大。"
        )
    transform = Affine(cell_m, 0.0, west, 0.0, -cell_m, north)
    shape = {"crs": f"EPSG:{srid}", "transform": transform, "width": width, "height": height}
    try:
        with (
            rasterio.open(heights_path) as dataset,
            WarpedVRT(
                dataset,
                resampling=Resampling.cubic_spline if smooth else Resampling.bilinear,
                nodata=NODATA,
                dtype="float32",
                tolerance=_WARP_CELLS,
                **shape,
            ) as view,
        ):
            heights = view.read(1).astype(np.float32)
        heights[heights == np.float32(NODATA)] = np.nan
        filled = np.zeros((height, width), dtype=bool)
        if flags_path is not None:
            with (
                rasterio.open(flags_path) as dataset,
                WarpedVRT(dataset, resampling=Resampling.nearest, **shape) as view,
            ):
                filled = view.read(1) == Flag.FILLED
    except rasterio.errors.RasterioError as error:
        raise RasterReadFailed(
            f"The height raster {heights_path.name} is missing or damaged; load it again.",
            zh=f"高程栅格 {heights_path.name} 缺失或损坏，请重新加载。",
        ) from error
    return heights, transform, filled & np.isfinite(heights)
