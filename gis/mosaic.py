"""Height rasters: read HGT and GeoTIFF, lay them together into one cloud-optimised GeoTIFF, fill voids and remember which.

A mosaic is two files of the same grid: heights (float32, metres) and flags (uint8, see `Flag`). Work goes block by block, so that a
mosaic need not fit into memory.
"""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import pyproj
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

from gis.crs import source_crs, transformer
from gis.errors import CRSMismatch, InputError, LimitExceeded, RasterReadFailed, UnreadableFile

__all__ = ["Flag", "HeightFile", "Mosaic", "inspect_heights", "mosaic_heights", "read_heights"]

Floats32 = NDArray[np.float32]
Flags = NDArray[np.uint8]
Bounds = tuple[float, float, float, float]

#: Heights on land are within these, in metres (Dead Sea shore −430, highest summit 8,849); all else is a void.
HEIGHT_RANGE_M = (-500.0, 9000.0)
NODATA = -32768.0
_HGT_SIZES = {1201 * 1201 * 2: "SRTM3", 3601 * 3601 * 2: "SRTM1", 1801 * 3601 * 2: "SRTM1 beyond 50°"}
_BLOCK = 1024
_CELLS_MAX = 4_000_000_000
_READ_CELLS_MAX = 400_000_000


class Flag(IntEnum):
    """What a cell of a mosaic is."""

    MEASURED = 0
    FILLED = 1
    VOID = 2
    OUTSIDE = 255


@dataclass(frozen=True)
class HeightFile:
    """A height raster as it came.

    Attributes
    ----------
    srid : int
        EPSG code of its horizontal system.
    bounds : tuple of float
        West, south, east, north (min x, min y, max x, max y) in ``srid``, outer edges of the cells.
    cell : tuple of float
        Cell width and height in units of ``srid``.
    cell_m : float
        The same in metres: side of a square as large as a cell in the middle of the raster.
    """

    path: Path
    driver: str
    srid: int
    bounds: Bounds
    cell: tuple[float, float]
    cell_m: float
    width: int
    height: int
    nodata: float | None


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


def _cell_m(srid: int, bounds: Bounds, cell: tuple[float, float]) -> float:
    x, y = (bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2
    crs = pyproj.CRS.from_epsg(srid)
    if not crs.is_geographic:
        return math.sqrt(cell[0] * cell[1]) * crs.axis_info[0].unit_conversion_factor
    geod = crs.get_geod() or pyproj.Geod(ellps="WGS84")
    east_m = geod.inv(x - cell[0] / 2, y, x + cell[0] / 2, y)[2]
    north_m = geod.inv(x, y - cell[1] / 2, x, y + cell[1] / 2)[2]
    return math.sqrt(east_m * north_m)


def _file_srid(dataset: rasterio.DatasetReader, name: str, declared: str | None) -> int:
    if declared is not None:
        source = source_crs(declared)
        if source.is_offset:
            raise CRSMismatch(
                f"{source.label} is not a system that rasters can be in; give an EPSG code.",
                zh=f"栅格不能使用 {source.label} 坐标系，请给出 EPSG 代码。",
            )
        return source.srid
    if dataset.crs is None:
        raise CRSMismatch(
            f"{name} does not say which reference system it is in; give it with --crs, e.g. --crs EPSG:4326.",
            zh=f"{name} 没有坐标系信息，请用 --crs 指定，例如 --crs EPSG:4326。",
        )
    crs = pyproj.CRS.from_wkt(dataset.crs.to_wkt())
    if crs.is_compound:
        crs = crs.sub_crs_list[0]
    code = crs.to_epsg(min_confidence=70)
    if code is None:
        raise CRSMismatch(
            f"The reference system of {name} ({crs.name}) has no EPSG code; give one with --crs.",
            zh=f"{name} 的坐标系（{crs.name}）没有 EPSG 代码，请用 --crs 指定。",
        )
    return int(code)


def _check_place(bounds: Bounds, srid: int, name: str) -> None:
    crs = pyproj.CRS.from_epsg(srid)
    if crs.is_geographic:
        plausible = -181 <= bounds[0] < bounds[2] <= 361 and -91 <= bounds[1] < bounds[3] <= 91
    else:
        plausible = all(math.isfinite(value) and abs(value) < 5e7 for value in bounds)
    if not plausible:
        shown = ", ".join(f"{value:g}" for value in bounds)
        raise CRSMismatch(
            f"{name}: bounds {shown} are not coordinates of EPSG:{srid}; is the reference system right?",
            zh=f"{name}：范围 {shown} 不是 EPSG:{srid} 的坐标，请检查坐标系。",
        )


def inspect_heights(path: Path, *, crs: str | None = None) -> HeightFile:
    """What a height raster says about itself: HGT (place from its name), GeoTIFF, or any single-band raster that GDAL reads.

    Parameters
    ----------
    path : Path
    crs : str, optional
        Reference system to use where the file has none or lies.

    Raises
    ------
    UnreadableFile
        Missing, empty, truncated, not a raster, a wrong HGT name or size.
    CRSMismatch
        No reference system, one without EPSG code, or coordinates that cannot be in it.
    InputError
        The raster is rotated.
    """
    name = path.name
    try:
        size = path.stat().st_size
    except OSError as error:
        raise UnreadableFile(f"{name} cannot be opened.", zh=f"无法打开 {name}。") from error
    if size == 0:
        raise UnreadableFile(f"{name} is empty.", zh=f"{name} 是空文件。")
    if path.suffix.lower() == ".hgt" and size not in _HGT_SIZES:
        raise UnreadableFile(
            f"{name} has {size:,} bytes; an HGT tile has {', '.join(f'{n:,} ({kind})' for n, kind in _HGT_SIZES.items())}:"
            " it is truncated or something else.",
            zh=f"{name} 有 {size:,} 字节，不是 HGT 瓦片的大小：文件被截断或不是 HGT。",
        )
    try:
        with rasterio.open(path) as dataset:
            transform = dataset.transform
            if dataset.count < 1 or dataset.width < 2 or dataset.height < 2:
                raise UnreadableFile(f"{name} has no raster band.", zh=f"{name} 没有栅格波段。")
            if transform.is_identity and dataset.driver != "SRTMHGT":
                raise CRSMismatch(f"{name} does not say where it lies.", zh=f"{name} 没有地理定位信息。")
            if transform.b or transform.d:
                raise InputError(f"{name} is rotated; resample it north-up first.", zh=f"{name} 是旋转的栅格，请先重采样为正北。")
            srid = _file_srid(dataset, name, crs)
            edges = dataset.bounds
            bounds = (min(edges[0], edges[2]), min(edges[1], edges[3]), max(edges[0], edges[2]), max(edges[1], edges[3]))
            cell = (abs(transform.a), abs(transform.e))
            _check_place(bounds, srid, name)
            # A truncated file opens well and fails where it ends: read the last and the middle row once.
            for row in (dataset.height // 2, dataset.height - 1):
                dataset.read(1, window=Window(0, row, dataset.width, 1))
            return HeightFile(
                path, dataset.driver, srid, bounds, cell, _cell_m(srid, bounds, cell), dataset.width, dataset.height, dataset.nodata
            )
    except rasterio.errors.RasterioError as error:
        hint = " An HGT tile must be named after its south-west corner, as N30E111.hgt." if path.suffix.lower() == ".hgt" else ""
        raise UnreadableFile(
            f"{name} is not a raster that can be read, or it is truncated.{hint}", zh=f"{name} 不是可读取的栅格，或已被截断。"
        ) from error


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
        raise CRSMismatch(f"The files cannot be brought into EPSG:{first.srid}.", zh=f"这些文件无法转换到 EPSG:{first.srid}。")
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
    box = shapely.segmentize(shapely.box(*file.bounds), max(file.bounds[2] - file.bounds[0], file.bounds[3] - file.bounds[1]) / 64)
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
            height=grid.height, resampling=resampling, src_nodata=file.nodata, nodata=NODATA, dtype="float32",
        )  # fmt: skip

    def close(self) -> None:
        self._view.close()
        self._dataset.close()

    def read(self, window: Window, transform: Affine) -> tuple[Floats32, NDArray[np.bool_]]:
        """Heights (NaN for voids) and which cells lie inside the file."""
        try:
            heights = self._view.read(1, window=window).astype(np.float32)
        except rasterio.errors.RasterioError as error:
            raise RasterReadFailed(f"{self.name} could not be read to its end.", zh=f"{self.name} 读取中断。") from error
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
        filled = rasterio.fill.fillnodata(image, mask=~void, max_search_distance=float(fill_cells), smoothing_iterations=0)
        gained = (flags == Flag.VOID) & (filled != np.float32(NODATA)) & np.isfinite(filled)
        heights[gained] = filled[gained]
        flags[gained] = Flag.FILLED
    return heights, flags


def _finish(rough: Path, target: Path, *, predictor: str, overviews: str) -> None:
    rasterio.shutil.copy(
        rough, target, driver="COG", COMPRESS="DEFLATE", PREDICTOR=predictor, BLOCKSIZE="512",
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
        From `inspect_heights`.
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
    profile = {
        "driver": "GTiff", "width": grid.width, "height": grid.height, "count": 1, "crs": f"EPSG:{grid.srid}",
        "transform": grid.transform, "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "DEFLATE", "zlevel": 1,
        "BIGTIFF": "IF_SAFER",
    }  # fmt: skip
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
                bottom, right = min(grid.height, row + rows + fill_cells), min(grid.width, column + columns + fill_cells)
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
        raise InputError("There is no height in these files: every cell is a void.", zh="文件中没有高程：全部像元为空。")
    _finish(rough_heights, heights_path, predictor="YES", overviews="AVERAGE")
    _finish(rough_flags, flags_path, predictor="YES", overviews="MODE")
    return Mosaic(
        grid.srid, grid.bounds, grid.width, grid.height, _cell_m(grid.srid, grid.bounds, ranked[0].cell),
        void_count, filled_count, lowest, highest,
    )  # fmt: skip


def read_heights(
    heights_path: Path, flags_path: Path | None, bounds: Bounds, *, srid: int, cell_m: float
) -> tuple[Floats32, Affine, NDArray[np.bool_]]:
    """A window of a mosaic, resampled bilinearly onto square cells of another system.

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
        raise LimitExceeded(f"A window of {width:,} × {height:,} cells is too large.", zh=f"窗口 {width:,} × {height:,} 像元过大。")
    transform = Affine(cell_m, 0.0, west, 0.0, -cell_m, north)
    shape = {"crs": f"EPSG:{srid}", "transform": transform, "width": width, "height": height}
    try:
        with rasterio.open(heights_path) as dataset:
            with WarpedVRT(dataset, resampling=Resampling.bilinear, nodata=NODATA, dtype="float32", **shape) as view:
                heights = view.read(1).astype(np.float32)
        heights[heights == np.float32(NODATA)] = np.nan
        filled = np.zeros((height, width), dtype=bool)
        if flags_path is not None:
            with rasterio.open(flags_path) as dataset, WarpedVRT(dataset, resampling=Resampling.nearest, **shape) as view:
                filled = view.read(1) == Flag.FILLED
    except rasterio.errors.RasterioError as error:
        raise RasterReadFailed(
            f"The height raster {heights_path.name} is missing or damaged; load it again.", zh=f"高程栅格 {heights_path.name} 缺失或损坏，请重新加载。"
        ) from error
    return heights, transform, filled & np.isfinite(heights)
