"""Rasters on disk: terrain models in, cloud-optimised GeoTIFFs out, mosaics, outlines of cells.

Arrays inside Baige have row 0 in the south; files have it in the north. The turning happens here and nowhere else.
"""

import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gis.errors import CRSMismatch, InputError, LimitExceeded, RasterReadFailed, UnreadableFile
from gis.visibility_surface import Terrain

__all__ = ["polygons_of", "raster_size", "read_mosaic", "read_terrain", "write_cog"]

TERRAIN_CELLS_MAX = 400_000_000


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import rasterio
    from rasterio.errors import RasterioIOError

    if not Path(path).is_file():
        raise UnreadableFile(f"There is no raster file {Path(path).name}.", zh=f"没有栅格文件 {Path(path).name}。")
    try:
        with rasterio.open(path) as source:
            yield source
    except RasterioIOError as error:
        raise UnreadableFile(
            f"{Path(path).name} is not a readable raster.", zh=f"{Path(path).name} 不是可读的栅格文件。"
        ) from error


def read_terrain(
    path: Path,
    *,
    crs: Any,
    bounds: tuple[float, float, float, float] | None = None,
    resolution_m: float | None = None,
    band: int = 1,
) -> Terrain:
    """Read a terrain model into the analysis system.

    Parameters
    ----------
    path : Path
        Any raster that GDAL reads, in any system; heights in metres.
    crs : CRS-like
        Analysis system, projected, in metres.
    bounds : tuple, optional
        West, south, east, north in metres of ``crs``: what to read; the whole file without it. Parts that the file does
        not cover become void (NaN).
    resolution_m : float, optional
        Cell size of the outcome; about that of the file without it. Heights are interpolated bilinearly.

    Raises
    ------
    UnreadableFile
        There is no such file, or it is no raster.
    CRSMismatch
        The file has no reference system, or ``crs`` is not in metres.
    InputError
        The bounds do not touch the file.
    LimitExceeded
        More than 400 million cells.
    """
    from rasterio.crs import CRS
    from rasterio.enums import Resampling
    from rasterio.errors import CRSError, RasterioIOError, WarpOperationError
    from rasterio.transform import from_origin
    from rasterio.vrt import WarpedVRT
    from rasterio.warp import calculate_default_transform

    try:
        target = CRS.from_user_input(crs)
    except CRSError as error:
        raise CRSMismatch("The analysis system is not known.", zh="无法识别分析坐标系。") from error
    if not target.is_projected:
        raise CRSMismatch("Terrain is read into a projected system in metres.", zh="地形须读入以米为单位的投影坐标系。")
    with _opened(path) as source:
        if source.crs is None:
            raise CRSMismatch(f"{Path(path).name} has no reference system.", zh=f"{Path(path).name} 没有坐标系。")
        transform, width, height = calculate_default_transform(
            source.crs, target, source.width, source.height, *source.bounds
        )
        step = float(resolution_m) if resolution_m is not None else float(transform.a)
        if not step > 0:
            raise InputError("The resolution must be positive.", zh="分辨率须为正数。")
        file_bounds = (transform.c, transform.f + transform.e * height, transform.c + transform.a * width, transform.f)
        west, south, east, north = bounds if bounds is not None else file_bounds
        if west >= file_bounds[2] or east <= file_bounds[0] or south >= file_bounds[3] or north <= file_bounds[1]:
            raise InputError("The terrain model does not cover any of the area.", zh="地形数据与分析范围不相交。")
        west, north = math.floor(west / step) * step, math.ceil(north / step) * step
        columns, rows = math.ceil((east - west) / step), math.ceil((north - south) / step)
        if columns * rows > TERRAIN_CELLS_MAX:
            raise LimitExceeded(
                f"The terrain would have {columns:,} × {rows:,} cells.",
                zh=f"地形将有 {columns:,} × {rows:,} 个像元，超过上限。",
            )
        try:
            with WarpedVRT(
                source,
                crs=target,
                transform=from_origin(west, north, step, step),
                width=columns,
                height=rows,
                resampling=Resampling.bilinear,
                src_nodata=source.nodata,
                nodata=math.nan,
                dtype="float32",
            ) as view:
                heights = view.read(band)
        except (RasterioIOError, WarpOperationError) as error:
            raise RasterReadFailed(
                f"{Path(path).name} could not be read.", zh=f"{Path(path).name} 读取失败。"
            ) from error
    return Terrain(np.ascontiguousarray(heights, dtype=np.float32), west, north, step, step)


def write_cog(
    path: Path,
    values: npt.NDArray[Any],
    *,
    west_m: float,
    south_m: float,
    cell_m: float,
    crs: Any,
    nodata: float | None = None,
    names: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write bands as a cloud-optimised GeoTIFF with overviews; an existing file is replaced in one step.

    Parameters
    ----------
    path : Path
    values : array (bands, rows, cols), row 0 in the south
    west_m, south_m : float
        South-west corner of the first cell.
    crs : CRS-like
        System of the corner.
    names : sequence of str
        Descriptions of the bands; ``tags`` metadata of the file.

    Raises
    ------
    CRSMismatch
        There is no reference system.
    """
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy
    from rasterio.transform import from_origin

    if crs is None:
        raise CRSMismatch("A raster is not written without a reference system.", zh="没有坐标系，不能写出栅格。")
    bands, rows, cols = values.shape
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part.tif")
    os.close(handle)
    try:
        with MemoryFile() as memory:
            with memory.open(
                driver="GTiff",
                width=cols,
                height=rows,
                count=bands,
                dtype=values.dtype,
                crs=crs,
                transform=from_origin(west_m, south_m + rows * cell_m, cell_m, cell_m),
                nodata=nodata,
                tiled=True,
                blockxsize=256,
                blockysize=256,
                interleave="band",
                bigtiff="if_safer",
            ) as target:
                target.write(values[:, ::-1])
                for band, text in enumerate(names, start=1):
                    target.set_band_description(band, text)
                target.update_tags(**(tags or {}))
            with rasterio.Env(GDAL_NUM_THREADS="1"), memory.open() as source:
                copy(
                    source,
                    name,
                    driver="COG",
                    compress="deflate",
                    level="1",
                    blocksize=256,
                    overview_resampling="nearest",
                    sparse_ok="yes",
                )
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def read_mosaic(
    paths: Sequence[Path], *, west_m: float, south_m: float, rows: int, cols: int, cell_m: float, bands: int, dtype: Any
) -> npt.NDArray[Any]:
    """A window over several rasters that lie on one lattice.

    Array (bands, rows, cols), row 0 in the south, 0 where there is no raster.

    Raises
    ------
    UnreadableFile
        A file is missing or no raster.
    InputError
        A raster has another cell size or lattice.
    """
    from rasterio.windows import Window

    out = np.zeros((bands, rows, cols), dtype=dtype)
    for path in paths:
        with _opened(path) as source:
            t = source.transform
            col0, row0 = (t.c - west_m) / cell_m, (t.f - source.height * cell_m - south_m) / cell_m
            if (
                abs(t.a - cell_m) > 1e-9
                or abs(-t.e - cell_m) > 1e-9
                or max(abs(col0 - round(col0)), abs(row0 - round(row0))) > 1e-4
            ):
                raise InputError(f"{Path(path).name} lies on another lattice.", zh=f"{Path(path).name} 的格网不一致。")
            c, r = round(col0), round(row0)
            c0, c1 = max(c, 0), min(c + source.width, cols)
            r0, r1 = max(r, 0), min(r + source.height, rows)
            if c0 >= c1 or r0 >= r1:
                continue
            part = source.read(window=Window(c0 - c, source.height - (r1 - r), c1 - c0, r1 - r0))
            out[:, r0:r1, c0:c1] = part[:bands, ::-1]
    return out


def raster_size(path: Path) -> tuple[int, int]:
    """Rows and columns of a raster file."""
    with _opened(path) as source:
        return int(source.height), int(source.width)


def polygons_of(mask: npt.NDArray[np.bool_], *, row: int, col: int, cell_m: float) -> Any:
    """The cells of a mask (row 0 in the south) as one shapely geometry in metres; empty when none is set.

    Parameters
    ----------
    mask : bool array (rows, cols)
    row, col : int
        Lattice cell of the south-west cell.
    """
    import shapely
    from rasterio.features import shapes
    from rasterio.transform import Affine

    place = Affine(cell_m, 0.0, col * cell_m, 0.0, cell_m, row * cell_m)
    found = []
    for shape, value in shapes(mask.astype(np.uint8), mask=mask, transform=place):
        if value:
            rings = shape["coordinates"]
            found.append(shapely.Polygon(rings[0], rings[1:]))
    if not found:
        return shapely.Polygon()
    return shapely.union_all(found) if len(found) > 1 else found[0]
