"""Hills, gorge and river valley as a height grid."""

from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from data.city.density import density
from data.city.frame import PLAN_SRID
from data.city.noise import fractal, smooth
from data.city.river import DAM_CHAINAGE_HINT, River

__all__ = ["CITY_BOX", "WIDE_BOX", "Dem", "draw_terrain"]

#: West, south, east, north of the fine and of the coarse grid, EPSG:4546.
CITY_BOX = (519000.0, 3381000.0, 545000.0, 3409000.0)
WIDE_BOX = (424000.0, 3312000.0, 602000.0, 3496000.0)

#: x, y, height above the valley, radius: hills inside the city that stand alone.
_HILLS = (
    (525150.0, 3396250.0, 165.0, 650.0),  # opposite the centre, on the right bank
    (529900.0, 3398250.0, 75.0, 800.0),
    (531900.0, 3396900.0, 60.0, 650.0),
    (533600.0, 3394000.0, 55.0, 600.0),
    (529300.0, 3402600.0, 70.0, 700.0),
    (527900.0, 3391300.0, 130.0, 900.0),
    (536900.0, 3391600.0, 60.0, 700.0),
)


@dataclass(frozen=True)
class Dem:
    """A height grid, north up; ``heights_m[row, column]`` in metres (1985 national datum in spirit), cell centres at ``transform``."""

    heights_m: NDArray[np.float32]
    transform: Affine
    srid: int = PLAN_SRID

    @property
    def cell_m(self) -> float:
        """Cell size in metres."""
        return float(self.transform.a)

    def sample(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Heights at points of EPSG:4546, bilinear, the edge's value outside."""
        return _sample(self.heights_m, self.transform, x, y)

    def slope_deg(
        self, x: NDArray[np.float64], y: NDArray[np.float64], *, reach_m: float = 60.0
    ) -> NDArray[np.float64]:
        """Slope at points from central differences over ``reach_m``."""
        dx = (self.sample(x + reach_m, y) - self.sample(x - reach_m, y)) / (2 * reach_m)
        dy = (self.sample(x, y + reach_m) - self.sample(x, y - reach_m)) / (2 * reach_m)
        return np.degrees(np.arctan(np.hypot(dx, dy)))


def _sample(
    grid: NDArray[np.float32], transform: Affine, x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    column = (np.asarray(x) - transform.c) / transform.a - 0.5
    row = (np.asarray(y) - transform.f) / transform.e - 0.5
    values = ndimage.map_coordinates(grid, [row, column], order=1, mode="nearest", output=np.float64)
    return np.asarray(values, dtype=np.float64)


def _step(value: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float64)


def _bank_distance(
    x: NDArray[np.float64], y: NDArray[np.float64], river: River
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance to the nearest bank (negative on water) and chainage."""
    axis = shapely.get_coordinates(river.axis)
    flat = np.column_stack([x.ravel(), y.ravel()])
    away, near = cKDTree(axis).query(flat, workers=2)
    near = np.clip(near, 1, len(axis) - 2)
    direction = axis[near + 1] - axis[near - 1]
    offset = flat - axis[near]
    is_left = direction[:, 0] * offset[:, 1] - direction[:, 1] * offset[:, 0] > 0
    width = np.where(is_left, river.widths_m[near, 0], river.widths_m[near, 1])
    distance = away - width
    for _, _, island in river.islands:
        west, south, east, north = shapely.bounds(island)
        box = (flat[:, 0] >= west) & (flat[:, 0] <= east) & (flat[:, 1] >= south) & (flat[:, 1] <= north)
        if box.any():
            points = shapely.points(flat[box])
            distance[box] = np.maximum(distance[box], shapely.distance(points, shapely.boundary(island)) * np.where(
                shapely.contains_xy(island, flat[box]), 1.0, -1.0))  # fmt: skip
    return distance.reshape(x.shape), river.station_m[near].reshape(x.shape)


def _draw(
    box: tuple[float, float, float, float], cell_m: float, coarse: int, river: River, rng: np.random.Generator
) -> Dem:
    west, south, east, north = box
    columns, rows = int((east - west) / cell_m), int((north - south) / cell_m)
    step = cell_m * coarse
    xs = west + step * (np.arange(columns // coarse + 2) - 0.5 + 0.5 / coarse) + step / 2 - cell_m / 2
    ys = north - step * (np.arange(rows // coarse + 2) - 0.5 + 0.5 / coarse) - step / 2 + cell_m / 2
    x, y = np.meshgrid(xs, ys)
    bank, chainage = _bank_distance(x, y, river)
    dam_m = float(shapely.line_locate_point(river.axis, shapely.Point(DAM_CHAINAGE_HINT)))
    crest = fractal(x, y, wavelength_m=5200.0, octaves=5, rng=rng, ridged=True)
    knolls = fractal(x, y, wavelength_m=1500.0, octaves=4, rng=rng)
    wave = smooth(x, y, wavelength_m=7000.0, rng=rng)
    # Higher in the west and north-west (the gorge), low in the south-east plain; on the right bank the hills come closer.
    westness = _step(-(x - 534000.0) + 0.30 * (y - 3395000.0), -16000.0, 26000.0)
    # Chainage jumps where another reach of the river becomes the nearer one; blurred, land knows nothing of it.
    blur = max(1.0, 900.0 / step)
    gorge = ndimage.gaussian_filter(_step(-(chainage - dam_m), -500.0, 2500.0) * _step(-x, -528600.0, -525200.0), blur)
    right = _step(-(x + 0.82 * (y - 3395000.0)), -530500.0, -526500.0)
    near = (1 - gorge) * (2600.0 - 1700.0 * right) + gorge * 40.0
    rise = _step(bank, near, near + 5200.0 * (1 - 0.75 * gorge))
    amplitude = 70.0 + 560.0 * westness**1.6 + 300.0 * _step(-(x - 505000.0), 0.0, 50000.0)
    above = 6.0 + 0.0022 * np.clip(bank, 0, 9000) + rise * amplitude * (0.25 + 0.9 * crest**1.5)
    above += (3.0 + 11.0 * _step(bank, 400.0, 2600.0)) * (knolls + 0.35) + 5.0 * wave
    open_land = (1.0 - density(x, y)) ** 1.5 * _step(bank, 250.0, 900.0)
    above += 150.0 * open_land * np.clip(fractal(x, y, wavelength_m=2300.0, octaves=3, rng=rng) - 0.10, 0.0, 1.0)
    for hx, hy, height, radius in _HILLS:
        above += height * np.exp(-(((x - hx) ** 2 + (y - hy) ** 2) / radius**2)) * (0.85 + 0.35 * knolls)
    above = np.maximum(above, 3.0)

    def fine(grid: NDArray[np.float64]) -> NDArray[np.float32]:
        if coarse == 1:
            return grid[:rows, :columns].astype(np.float32)
        at_row = (np.arange(rows) * cell_m - (ys[0] - north) * -1.0 + cell_m / 2) / step
        at_column = (west + (np.arange(columns) + 0.5) * cell_m - xs[0]) / step
        return _separable(grid, at_row, at_column)

    # The water drops at the dam; the land beside it does so over some kilometres.
    fall = 0.00006 * np.clip(chainage - dam_m, 0.0, None)
    water = fine(np.where(chainage < dam_m, 64.0, 43.0 - fall))
    land = fine(ndimage.gaussian_filter(43.0 - fall + 21.0 * _step(-(chainage - dam_m), -1500.0, 1500.0), blur))
    distance = fine(bank)
    shore = np.clip(distance / 70.0, 0.0, 1.0)
    base = land + np.clip(water - land, 0.0, None) * np.clip(1.0 - (distance - 70.0) / 900.0, 0.0, 1.0)
    out = np.where(distance <= 0.0, water, base * shore + water * (1 - shore) + 1.0 + fine(above) * shore)
    return Dem(out.astype(np.float32), Affine(cell_m, 0.0, west, 0.0, -cell_m, north))


def _separable(
    grid: NDArray[np.float64], at_row: NDArray[np.float64], at_column: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Bilinear enlargement of a grid, rows first, then columns."""
    source = grid.astype(np.float32)
    row = np.clip(at_row, 0, source.shape[0] - 1.001)
    low = row.astype(np.intp)
    part = (row - low).astype(np.float32)[:, None]
    tall = source[low] * (1 - part) + source[low + 1] * part
    column = np.clip(at_column, 0, source.shape[1] - 1.001)
    low = column.astype(np.intp)
    part = (column - low).astype(np.float32)[None, :]
    return np.asarray(tall[:, low] * (1 - part) + tall[:, low + 1] * part, dtype=np.float32)


def draw_terrain(river: River, *, seed_rng: np.random.Generator) -> tuple[Dem, Dem]:
    """The fine grid of the urban area (10 m) and the coarse one of the whole prefecture (500 m)."""
    seeds = seed_rng.integers(0, 2**63, 1)
    fine = _draw(CITY_BOX, 10.0, 7, river, np.random.default_rng(seeds[0]))
    wide = _draw(WIDE_BOX, 500.0, 1, river, np.random.default_rng(seeds[0]))
    return fine, wide
