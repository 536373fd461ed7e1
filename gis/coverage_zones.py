"""Coverage of zones that do not overlap (grid cells, communities): one pass over the ground for all of them."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from gis.coverage_chunks import CHUNK, CoverageResult
from gis.visibility_fan import kernel
from gis.visibility_surface import Buildings, Surface

__all__ = ["ZoneCoverage", "by_zones"]

Floats = npt.NDArray[np.float64]
_BLOCK = CHUNK * 4


@dataclass(frozen=True)
class ZoneCoverage:
    """Square metres of each zone: ``open_m2`` (n,) outside what is left out, ``covered_m2`` (n, products, densities) of it."""

    open_m2: Floats
    covered_m2: Floats

    @property
    def share(self) -> Floats:
        """Covered share (n, products, densities); NaN where a zone holds no open cell."""
        with np.errstate(all="ignore"):
            return np.asarray(self.covered_m2 / self.open_m2[:, None, None], dtype=np.float64)


def by_zones(
    result: CoverageResult,
    zones: npt.NDArray[Any],
    *,
    without: npt.NDArray[Any] | None = None,
    workers: int | None = None,
) -> ZoneCoverage:
    """Square metres of zones that are seen, cell by cell (a cell belongs where its centre lies).

    Parameters
    ----------
    result : CoverageResult
    zones : shapely Polygons or MultiPolygons in the analysis system
        They partition the ground; where two overlap, a cell counts for one of them only.
    without : shapely polygons, optional
        Ground that is not counted, such as buildings and water.
    workers : int, optional
        Threads; all cores without it.

    Returns
    -------
    ZoneCoverage
        For other shapes of zones (overlapping ones) see `gis.coverage_sampling.by_polygons`.
    """
    shapes = np.asarray(zones, dtype=object).reshape(-1)
    n, d = len(shapes), len(result.densities_px_m)
    cell = result.cell_m
    open_cells, covered = np.zeros(n), np.zeros((n, 4, d))
    if n == 0:
        return ZoneCoverage(open_cells, covered)
    labels = Surface(cell_m=cell, buildings=Buildings.from_polygons(shapes, np.ones(n)))
    closed = None
    if without is not None and len(without):
        closed = Surface(cell_m=cell, buildings=Buildings.from_polygons(without, np.ones(len(without))))
    tree = shapely.STRtree(shapes)

    def block(row: int, col: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
        box = shapely.box(col * cell, row * cell, (col + _BLOCK) * cell, (row + _BLOCK) * cell)
        if len(tree.query(box)) == 0:
            return None
        label = labels.window(row, col, _BLOCK, _BLOCK).building
        if closed is not None:
            label[closed.window(row, col, _BLOCK, _BLOCK).building >= 0] = -1
        sums = np.zeros((n, 1 + 4 * d), dtype=np.int64)
        _count_open(label, sums)
        for r in range(0, _BLOCK, CHUNK):
            for c in range(0, _BLOCK, CHUNK):
                key = ((row + r) // CHUNK, (col + c) // CHUNK)
                if key in result.chunks:
                    _count_seen(label[r : r + CHUNK, c : c + CHUNK], result.chunk(*key), sums)
        here = np.flatnonzero(sums[:, 0])
        return here, sums[here]

    west, south, east, north = shapely.total_bounds(shapes)
    first_row, first_col = int(south // cell) // _BLOCK * _BLOCK, int(west // cell) // _BLOCK * _BLOCK
    places = [
        (row, col)
        for row in range(first_row, int(north // cell) + 1, _BLOCK)
        for col in range(first_col, int(east // cell) + 1, _BLOCK)
    ]
    with ThreadPoolExecutor(max_workers=workers or os.cpu_count()) as pool:
        for found in pool.map(lambda place: block(*place), places):
            if found is not None:
                here, sums = found
                open_cells[here] += sums[:, 0]
                covered[here] += sums[:, 1:].reshape(-1, 4, d)
    return ZoneCoverage(open_cells * cell * cell, covered * cell * cell)


@kernel
def _count_open(label: npt.NDArray[np.int32], sums: npt.NDArray[np.int64]) -> None:
    rows, cols = label.shape
    for row in range(rows):
        for col in range(cols):
            zone = label[row, col]
            if zone >= 0:
                sums[zone, 0] += 1


@kernel
def _count_seen(label: npt.NDArray[np.int32], counts: npt.NDArray[np.uint16], sums: npt.NDArray[np.int64]) -> None:
    bands, rows, cols = counts.shape
    for band in range(bands):
        for row in range(rows):
            for col in range(cols):
                if counts[band, row, col] > 0:
                    zone = label[row, col]
                    if zone >= 0:
                        sums[zone, 1 + band] += 1
