"""Values of rasters (in the form of OGC API – Coverages): a part, thinned if asked, as GeoTIFF or cloud optimised GeoTIFF."""

import math
import re
from pathlib import Path
from typing import Any

from starlette.datastructures import QueryParams

from api.raster_area import Box
from gis.errors import InputError, LimitExceeded, RasterReadFailed

__all__ = ["MAX_CELLS", "cut", "read_scale"]

MAX_CELLS = 16_000_000
_SIZE = re.compile(r"\s*(lat|lon|x|y|e|n)\s*\(\s*([0-9]{1,6})\s*\)\s*", re.IGNORECASE)


def read_scale(query: QueryParams) -> tuple[float, dict[int, int]]:
    """``scale-factor`` (2: half as many cells a side) or ``scale-size`` (``Lon(100),Lat(80)``): the factor, and cells by axis (0 x, 1 y).

    Raises
    ------
    InputError
        Both are given, or one is not what it should be.
    """
    if "scale-factor" in query and "scale-size" in query:
        raise InputError("Either scale-factor or scale-size.", zh="scale-factor 与 scale-size 只能用其一。")
    if "scale-factor" in query:
        try:
            factor = float(query["scale-factor"])
        except ValueError:
            factor = math.nan
        if not math.isfinite(factor) or not 0.01 <= factor <= 1e6:
            raise InputError("scale-factor: a number from 0.01.", zh="scale-factor 应为不小于 0.01 的数。")
        return factor, {}
    sizes: dict[int, int] = {}
    for part in query.get("scale-size", "").split(",") if "scale-size" in query else []:
        match = _SIZE.fullmatch(part)
        if match is None or int(match[2]) < 1:
            raise InputError("scale-size: written as Lon(100),Lat(80).", zh="scale-size 应写作 Lon(100),Lat(80)。")
        sizes[0 if match[1].lower() in ("lon", "x", "e") else 1] = int(match[2])
    return 1.0, sizes


def cut(path: Path | str, box: Box | None, scale: tuple[float, dict[int, int]], *, cog: bool, classes: bool = False) -> bytes:
    """The cells of a raster that touch a box of its own system, or all. ``classes``: its values are classes, of which there is no mean.

    Raises
    ------
    LimitExceeded
        They would be more than `MAX_CELLS`.
    RasterReadFailed
        The file cannot be read.
    """
    import rasterio
    import rasterio.shutil
    from rasterio.enums import Resampling
    from rasterio.io import MemoryFile
    from rasterio.transform import Affine
    from rasterio.windows import Window, from_bounds

    factor, sizes = scale
    try:
        with rasterio.open(path) as source:
            window = from_bounds(*(box or source.bounds), transform=source.transform)
            left, top = math.floor(window.col_off + 1e-6), math.floor(window.row_off + 1e-6)
            right, low = math.ceil(window.col_off + window.width - 1e-6), math.ceil(window.row_off + window.height - 1e-6)
            left, top, right, low = max(left, 0), max(top, 0), min(right, source.width), min(low, source.height)
            window = Window(left, top, right - left, low - top)
            width = sizes.get(0, max(1, round(window.width / factor)))
            height = sizes.get(1, max(1, round(window.height / factor)))
            if width * height > MAX_CELLS:
                raise LimitExceeded(f"More than {MAX_CELLS} cells; give a smaller area or scale-factor.",
                                    zh=f"超过 {MAX_CELLS} 个像元，请缩小范围或使用 scale-factor。")  # fmt: skip
            thinned = (width, height) != (window.width, window.height)
            way = Resampling.average if thinned and not classes else Resampling.nearest
            values = source.read(1, window=window, out_shape=(height, width), resampling=way)
            transform = source.window_transform(window) @ Affine.scale(window.width / width, window.height / height)
            profile: dict[str, Any] = {"driver": "GTiff", "width": width, "height": height, "count": 1, "dtype": source.dtypes[0], "crs": source.crs,
                                       "transform": transform, "nodata": source.nodata, "compress": "deflate"}  # fmt: skip
        with MemoryFile() as memory:
            with memory.open(**profile) as target:
                target.write(values, 1)
            if not cog:
                return bytes(memory.read())
            with memory.open() as plain, MemoryFile() as optimised:
                rasterio.shutil.copy(plain, optimised.name, driver="COG", compress="deflate")
                return bytes(optimised.read())
    except rasterio.errors.RasterioError as error:
        raise RasterReadFailed("The raster could not be read.", zh="栅格读取失败。") from error
