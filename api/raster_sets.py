"""Coverage of a run as rasters: the thousands of files of a product are one raster, put together when it is asked for."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from gis.coverage_chunks import PRODUCTS
from gis.errors import RasterReadFailed

__all__ = ["mosaic", "spread"]

_DESCRIPTION = "coverage.json"


def spread(raster: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """A stored set of coverage as one raster for each product that it has: ``coverage-confirmed_online`` and so on.

    Parameters
    ----------
    raster : dict
        The row of the registry; ``path`` is the folder.

    Returns
    -------
    list of dict
        Empty where the folder is not readable.
    """
    try:
        present = _products(folder, (folder / _DESCRIPTION).stat().st_mtime_ns)
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [{**raster, "name": f"{raster['name']}-{product}", "product": product} for product in PRODUCTS if product in present]


@lru_cache(maxsize=16)
def _products(folder: Path, _changed: int) -> frozenset[str]:
    return frozenset(name.rsplit("_", 2)[0] for name in json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))["files"])


@lru_cache(maxsize=16)
def mosaic(folder: Path, product: str, bounds: tuple[float, float, float, float]) -> str:
    """GDAL's description (VRT) of a product's files as one raster of bytes: the best class of density of each cell, 0 where nobody sees it.

    ``bounds``: west, south, east, north of the whole set. A run's folder never changes, so what was put together stays true.

    Raises
    ------
    RasterReadFailed
        The files are missing or damaged.
    """
    import rasterio

    try:
        told = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
        names = sorted(name for name in told["files"] if str(name).rsplit("_", 2)[0] == product)
        parts = []
        for name in names:
            with rasterio.open(folder / name) as source:
                parts.append((name, source.bounds, source.width, source.height, source.count))
                system, cell = source.crs.to_wkt(), source.res[0]
    except (OSError, ValueError, KeyError, rasterio.errors.RasterioError) as error:
        raise RasterReadFailed("The raster could not be read.", zh="栅格读取失败。") from error
    if not parts:
        raise RasterReadFailed("The raster could not be read.", zh="栅格读取失败。")
    west, south, east, north = bounds
    sources = "".join(
        f'<SimpleSource><SourceFilename relativeToVRT="0">{escape(str(folder / name))}</SourceFilename><SourceBand>{count}</SourceBand>'
        f'<SrcRect xOff="0" yOff="0" xSize="{width}" ySize="{height}"/>'
        f'<DstRect xOff="{round((b.left - west) / cell)}" yOff="{round((north - b.top) / cell)}" xSize="{width}" ySize="{height}"/></SimpleSource>'
        for name, b, width, height, count in parts
    )
    return (
        f'<VRTDataset rasterXSize="{round((east - west) / cell)}" rasterYSize="{round((north - south) / cell)}"><SRS>{escape(system)}</SRS>'
        f"<GeoTransform>{west!r}, {cell!r}, 0, {north!r}, 0, {-cell!r}</GeoTransform>"
        f'<VRTRasterBand dataType="Byte" band="1">{sources}</VRTRasterBand></VRTDataset>'
    )
