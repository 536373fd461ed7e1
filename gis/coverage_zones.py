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

__all__ = ["ZoneCoverage", "ZoneGround", "by_zones"]

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
    return ZoneGround(zones, cell_m=result.cell_m, without=without).coverage(result, workers=workers)


class ZoneGround:
    """Which zone each cell of the ground belongs to; parameters as for `by_zones`."""

    def __init__(self, zones: npt.NDArray[Any], *, cell_m: float, without: npt.NDArray[Any] | None = None) -> None:
        self.zones = np.asarray(zones, dtype=object).reshape(-1)
        self.cell_m = cell_m
        self._labels = self._closed = None
        self._tree = shapely.STRtree(self.zones)
        if len(self.zones):
            self._labels = Surface(
                cell_m=cell_m, buildings=Buildings.from_polygons(self.zones, np.ones(len(self.zones)))
            )
        if without is not None and len(without):
            self._closed = Surface(cell_m=cell_m, buildings=Buildings.from_polygons(without, np.ones(len(without))))

    def labels(self, row: int, col: int, rows: int, cols: int) -> npt.NDArray[np.int32] | None:
        """Number of the zone of each cell of a window, -1 where there is none or the ground is closed; None: no zone is near."""
        if self._labels is None:
            return None
        cell = self.cell_m
        box = shapely.box(col * cell, row * cell, (col + cols) * cell, (row + rows) * cell)
        if len(self._tree.query(box)) == 0:
            return None
        label = self._labels.window(row, col, rows, cols).building
        if self._closed is not None:
            label[self._closed.window(row, col, rows, cols).building >= 0] = -1
        return label

    def coverage(self, result: CoverageResult, *, workers: int | None = None) -> ZoneCoverage:
        """Square metres of all zones."""
        n, d = len(self.zones), len(result.densities_px_m)
        cell = self.cell_m
        open_cells, covered = np.zeros(n), np.zeros((n, 4, d))
        if n == 0:
            return ZoneCoverage(open_cells, covered)

        def block(row: int, col: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
            label = self.labels(row, col, _BLOCK, _BLOCK)
            if label is None:
                return None
            sums = np.zeros((n, 1 + 4 * d), dtype=np.int64)
            _count_open(label, sums)
            for r in range(0, _BLOCK, CHUNK):
                for c in range(0, _BLOCK, CHUNK):
                    key = ((row + r) // CHUNK, (col + c) // CHUNK)
                    if key in result.chunks:
                        _count_seen(label[r : r + CHUNK, c : c + CHUNK], result.peek(*key), sums)
            here = np.flatnonzero(sums[:, 0])
            return here, sums[here]

        west, south, east, north = shapely.total_bounds(self.zones)
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

    def change(
        self, row: int, col: int, before: npt.NDArray[np.uint16], after: npt.NDArray[np.uint16]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
        """Zones in a window and by how many cells, (zones, products * densities), more is seen in each after than before.

        ``before`` and ``after`` are counts, (products * densities, rows, columns), of the window that begins at the cell (row, col).
        """
        label = self.labels(row, col, *before.shape[1:])
        if label is None:
            return None
        here = np.unique(label[label >= 0]).astype(np.int64)
        if len(here) == 0:
            return None
        short = np.where(label >= 0, np.searchsorted(here, label), -1).astype(np.int32)
        sums = np.zeros((2, len(here), 1 + before.shape[0]), dtype=np.int64)
        _count_seen(short, np.ascontiguousarray(before), sums[0])
        _count_seen(short, np.ascontiguousarray(after), sums[1])
        return here, (sums[1] - sums[0])[:, 1:]


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
