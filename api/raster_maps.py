"""Pictures of rasters (OGC API – Maps): one rule of portrayal for a raster whatever part of it is drawn."""

import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor
from starlette.datastructures import QueryParams

from api.crs import ApiCRS
from api.raster_area import Box
from gis.crs import reach, source_crs, transform_coordinates
from gis.errors import InputError, RasterReadFailed

__all__ = ["Background", "draw", "read_background"]

Colour = tuple[int, int, int, int]
#: Names and spans of the colours of matplotlib's scale that heights are drawn in: land only.
_SCALE, _FROM = "terrain", 0.25
#: Classes of pixel density, the coarsest first, in the colours of the coverage of units (`layers/catalogue/coverage_by_grid.toml`).
_CLASSES: tuple[Colour, ...] = ((216, 218, 235, 255), (153, 142, 195, 255), (84, 39, 136, 255))


class Background:
    """Colours of cells without data, and of places outside the reference system (``void``)."""

    def __init__(self, empty: Colour, void: Colour) -> None:
        self.empty, self.void = empty, void


def _colour(text: str, name: str) -> tuple[int, int, int]:
    word = "#" + text[2:] if text[:2].lower() == "0x" else text
    try:
        found = ImageColor.getrgb(word.lower())
    except ValueError as error:
        raise InputError(f"{name}: 0xRRGGBB or the name of a web colour.", zh=f"{name} 应为 0xRRGGBB 或网页颜色名。") from error
    return found[0], found[1], found[2]


def _flag(query: QueryParams, name: str, default: bool) -> bool:
    text = query.get(name)
    if text not in (None, "true", "false"):
        raise InputError(f"{name}: true or false.", zh=f"{name} 应为 true 或 false。")
    return default if text is None else text == "true"


def read_background(query: QueryParams) -> Background:
    """``bgcolor``, ``transparent``, ``void-color``, ``void-transparent``.

    Raises
    ------
    InputError
        One is not what it should be.
    """
    colour = _colour(query.get("bgcolor", "0xFFFFFF"), "bgcolor")
    clear = _flag(query, "transparent", default="bgcolor" not in query)
    void = _colour(query["void-color"], "void-color") if "void-color" in query else colour
    void_clear = _flag(query, "void-transparent", default=clear)
    return Background((*colour, 0 if clear else 255), (*void, 0 if void_clear else 255))


@lru_cache(maxsize=64)
def _range(path: str, changed: float) -> tuple[float, float]:
    """Least and greatest value of a raster, from an overview: the colours do not depend on the part that is drawn."""
    import rasterio

    with rasterio.open(path) as source:
        step = max(1, max(source.width, source.height) // 1024)
        values = source.read(1, out_shape=(max(1, source.height // step), max(1, source.width // step)), masked=True).compressed()
    return (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)


def _outside(box: Box, crs: ApiCRS, width: int, height: int) -> "np.ndarray[Any, Any] | None":
    """Pixels beyond the valid area of the system; None where there are none."""
    x = box[0] + (np.arange(width) + 0.5) * (box[2] - box[0]) / width
    y = box[3] - (np.arange(height) + 0.5) * (box[3] - box[1]) / height
    area = reach(crs.srid)
    if area is None:
        far = (np.abs(x) > 180)[None, :] | (np.abs(y) > 90)[:, None]
    else:
        gx, gy = np.meshgrid(x, y)
        lon, lat = transform_coordinates(gx.ravel(), gy.ravel(), source_crs(crs.srid), 4326)
        inside = (lon >= area[0]) & (lon <= area[2]) & (lat >= area[1]) & (lat <= area[3])
        back_x, back_y = transform_coordinates(lon, lat, source_crs(4326), crs.srid)
        same = (np.abs(back_x - gx.ravel()) < 1.0) & (np.abs(back_y - gy.ravel()) < 1.0)  # folded places come back elsewhere
        far = ~(inside & same).reshape(height, width)
    return far if far.any() else None


def draw(path: Path | str, box: Box, crs: ApiCRS, size: tuple[int, int], background: Background, *, classes: bool = False) -> bytes:
    """A PNG of the box in the system ``crs``. ``classes``: its values are classes of pixel density, 0 is background.

    Raises
    ------
    RasterReadFailed
        The file cannot be read.
    """
    import matplotlib
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.transform import from_bounds
    from rasterio.vrt import WarpedVRT

    width, height = size
    if classes:
        return _draw_classes(str(path), box, crs, size, background)
    try:
        low, high = _range(str(path), Path(path).stat().st_mtime)
        with (
            rasterio.open(path) as source,
            WarpedVRT(
                source, crs=f"EPSG:{crs.srid}", transform=from_bounds(*box, width, height), width=width, height=height,
                resampling=Resampling.bilinear, add_alpha=False,
            ) as warped,
        ):  # fmt: skip
            values = warped.read(1, masked=True)
    except (rasterio.errors.RasterioError, OSError) as error:
        raise RasterReadFailed("The raster could not be read.", zh="栅格读取失败。") from error
    empty = np.ma.getmaskarray(values)
    share = np.clip((values.filled(low) - low) / max(high - low, 1e-9), 0, 1)
    picture = (matplotlib.colormaps[_SCALE](share * (1 - _FROM) + _FROM) * 255).astype(np.uint8)
    return _png(picture, empty, background, _outside(box, crs, width, height))


def _draw_classes(path: str, box: Box, crs: ApiCRS, size: tuple[int, int], background: Background) -> bytes:
    """Read no finer than it is drawn, from the overviews of the files, then brought into the system of the picture by the nearest cell."""
    import rasterio
    from rasterio.transform import from_bounds
    from rasterio.warp import Resampling, reproject, transform_bounds
    from rasterio.windows import Window
    from rasterio.windows import from_bounds as window_of

    width, height = size
    values = np.zeros((height, width), dtype=np.uint8)
    try:
        with rasterio.open(path) as source:
            there = box if crs.srid == source.crs.to_epsg() else transform_bounds(f"EPSG:{crs.srid}", source.crs, *box, densify_pts=21)
            window = window_of(*there, transform=source.transform).intersection(Window(0, 0, source.width, source.height))
            window = window.round_offsets(pixel_precision=0).round_lengths(op="ceil", pixel_precision=0)
            window = window.intersection(Window(0, 0, source.width, source.height))
            whole = max((there[2] - there[0]) / source.res[0] / width, (there[3] - there[1]) / source.res[1] / height)
            step = max(1, int(whole))
            rows, columns = max(1, int(window.height) // step), max(1, int(window.width) // step)
            read = source.read(1, window=window, out_shape=(rows, columns), resampling=Resampling.nearest)
            lies = from_bounds(*source.window_bounds(window), columns, rows)
            system = source.crs
        target = from_bounds(*box, width, height)
        reproject(read, values, src_transform=lies, src_crs=system, dst_transform=target, dst_crs=f"EPSG:{crs.srid}", resampling=Resampling.nearest)
    except rasterio.errors.WindowError:
        pass  # the product has nothing there
    except rasterio.errors.RasterioError as error:
        raise RasterReadFailed("The raster could not be read.", zh="栅格读取失败。") from error
    picture = np.array(_CLASSES, dtype=np.uint8)[np.clip(values.astype(int), 1, len(_CLASSES)) - 1]
    return _png(picture, values == 0, background, _outside(box, crs, width, height))


def _png(picture: "np.ndarray[Any, Any]", empty: "np.ndarray[Any, Any]", background: Background, far: "np.ndarray[Any, Any] | None") -> bytes:
    picture[empty] = background.empty
    if far is not None:
        picture[far & empty] = background.void
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return out.getvalue()
