"""Height rasters as they come: HGT tiles and GeoTIFF, checked before anything is made of them."""

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import pyproj
import rasterio
from rasterio.windows import Window

from gis.crs import source_crs
from gis.errors import CRSMismatch, InputError, UnreadableFile

__all__ = ["HeightFile", "cell_size_m", "inspect_heights", "vertical_reference"]

Bounds = tuple[float, float, float, float]

_HGT_SIZES = {1201 * 1201 * 2: "SRTM3", 3601 * 3601 * 2: "SRTM1", 1801 * 3601 * 2: "SRTM1 beyond 50°"}


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


def cell_size_m(srid: int, bounds: Bounds, cell: tuple[float, float]) -> float:
    """Side in metres of a square as large as a ``cell`` (width, height in units of ``srid``) in the middle of ``bounds``."""
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


def vertical_reference(text: str | None) -> str | None:
    """A vertical reference as ``EPSG:5737``, checked to be one.

    Raises
    ------
    CRSMismatch
        Unknown, or not vertical.
    """
    if text is None:
        return None
    try:
        crs = pyproj.CRS.from_user_input(f"EPSG:{text}" if text.isdigit() else text)
    except pyproj.exceptions.CRSError as error:
        raise CRSMismatch(
            f"Height reference {text[:60]!r} is not known.", zh=f"未知的高程基准 {text[:60]!r}。"
        ) from error
    authority = crs.to_authority()
    if not crs.is_vertical or authority is None:
        raise CRSMismatch(
            f"{text[:60]!r} ({crs.name}) is not a height reference; EPSG:5737 is the 1985 national datum.",
            zh=f"{text[:60]!r}（{crs.name}）不是高程基准；1985 国家高程基准为 EPSG:5737。",
        )
    return ":".join(authority)


def _refuse_references(path: Path) -> None:
    """Refuse text that is no grid of numbers but names files or servers for GDAL to open: VRT, WMS and WCS in XML, GDALG and STAC in JSON."""
    try:
        with path.open("rb") as file:
            head = file.read(256).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError as error:
        raise UnreadableFile(f"{path.name} cannot be opened.", zh=f"无法打开 {path.name}。") from error
    if head.startswith((b"<", b"{", b"[")):
        raise UnreadableFile(
            f"{path.name} holds no heights, it names other files or servers: give the files themselves.",
            zh=f"{path.name} 不含高程，只引用其他文件或服务；请直接给出这些文件。",
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
        Missing, empty, truncated, not a raster, a wrong HGT name or size, or one that only names other files or servers (VRT, WMS).
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
    _refuse_references(path)
    try:
        with warnings.catch_warnings():
            # A raster without a place is an error here, said in our words below.
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            dataset = rasterio.open(path)
        with dataset:
            transform = dataset.transform
            if dataset.count < 1 or dataset.width < 2 or dataset.height < 2:
                raise UnreadableFile(f"{name} has no raster band.", zh=f"{name} 没有栅格波段。")
            if transform.is_identity and dataset.driver != "SRTMHGT":
                raise CRSMismatch(f"{name} does not say where it lies.", zh=f"{name} 没有地理定位信息。")
            if transform.b or transform.d:
                raise InputError(
                    f"{name} is rotated; resample it north-up first.", zh=f"{name} 是旋转的栅格，请先重采样为正北。"
                )
            srid = _file_srid(dataset, name, crs)
            edges = dataset.bounds
            bounds = (
                min(edges[0], edges[2]),
                min(edges[1], edges[3]),
                max(edges[0], edges[2]),
                max(edges[1], edges[3]),
            )
            cell = (abs(transform.a), abs(transform.e))
            _check_place(bounds, srid, name)
            # A truncated file opens well and fails where it ends: read the last and the middle row once.
            for row in (dataset.height // 2, dataset.height - 1):
                dataset.read(1, window=Window(0, row, dataset.width, 1))
            return HeightFile(
                path,
                dataset.driver,
                srid,
                bounds,
                cell,
                cell_size_m(srid, bounds, cell),
                dataset.width,
                dataset.height,
                dataset.nodata,
            )
    except rasterio.errors.RasterioError as error:
        hint = (
            " An HGT tile must be named after its south-west corner, as N30E111.hgt."
            if path.suffix.lower() == ".hgt"
            else ""
        )
        raise UnreadableFile(
            f"{name} is not a raster that can be read, or it is truncated.{hint}",
            zh=f"{name} 不是可读取的栅格，或已被截断。",
        ) from error
