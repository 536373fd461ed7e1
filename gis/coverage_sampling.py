"""Reading a coverage result: at points, along lines, over polygons.

Polygons count the cells whose centre lies in them; lines are read at equal steps of at most one cell, each step
standing for its length; points read the cell they lie in. Where a line or polygon leaves the chunks of a result no
camera sees anything, so nothing has to be read there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from gis.coverage_chunks import CHUNK, Counts, CoverageResult
from gis.errors import InputError, LimitExceeded

__all__ = [
    "LineCoverage",
    "PointCoverage",
    "PolygonCoverage",
    "along_lines",
    "at_points",
    "by_polygons",
    "sample_cells",
]

Floats = npt.NDArray[np.float64]
STEPS_MAX = 50_000_000


@dataclass(frozen=True)
class PointCoverage:
    """Counts at points: uint16 (n, products, densities)."""

    counts: npt.NDArray[np.uint16]


@dataclass(frozen=True)
class LineCoverage:
    """Metres of each line.

    ``length_m`` (n,), ``covered_m`` (n, products, densities), seen by one camera only ``single_m`` (n, products).
    """

    length_m: Floats
    covered_m: Floats
    single_m: Floats


@dataclass(frozen=True)
class PolygonCoverage:
    """Square metres of each polygon.

    ``area_m2`` (n,) as counted in cells, ``covered_m2`` (n, products, densities), ``single_m2`` (n, products).
    """

    area_m2: Floats
    covered_m2: Floats
    single_m2: Floats

    @property
    def share(self) -> Floats:
        """Covered share (n, products, densities); NaN where a polygon holds no cell centre."""
        with np.errstate(all="ignore"):
            return np.asarray(self.covered_m2 / self.area_m2[:, None, None], dtype=np.float64)


def sample_cells(result: CoverageResult, rows: npt.NDArray[np.int64], cols: npt.NDArray[np.int64]) -> Counts:
    """Counts of scattered cells, uint16 (n, bands); each chunk is opened once."""
    out = np.zeros((len(rows), result.bands), dtype=np.uint16)
    chunk_rows, chunk_cols = rows // CHUNK, cols // CHUNK
    order = np.lexsort((chunk_cols, chunk_rows))
    if len(order) == 0:
        return out
    cuts = np.flatnonzero((np.diff(chunk_rows[order]) != 0) | (np.diff(chunk_cols[order]) != 0)) + 1
    for part in np.split(order, cuts):
        key = (int(chunk_rows[part[0]]), int(chunk_cols[part[0]]))
        if key in result.chunks:
            counts = result.peek(*key)
            out[part] = counts[:, rows[part] - key[0] * CHUNK, cols[part] - key[1] * CHUNK].T
    return out


def at_points(result: CoverageResult, x: npt.ArrayLike, y: npt.ArrayLike) -> PointCoverage:
    """Cameras that see the cells in which points lie.

    Parameters
    ----------
    result : CoverageResult
    x, y : arrays (n,), metres of the analysis system

    Raises
    ------
    InputError
        A coordinate is not a finite number.
    """
    xs, ys = np.asarray(x, dtype=np.float64).reshape(-1), np.asarray(y, dtype=np.float64).reshape(-1)
    if xs.shape != ys.shape or not (np.isfinite(xs).all() and np.isfinite(ys).all()):
        raise InputError(
            "Points need finite coordinates, one y for each x.", zh="点坐标须为有限数值，且 x、y 数量一致。"
        )
    counts = sample_cells(result, _cell(ys, result.cell_m), _cell(xs, result.cell_m))
    return PointCoverage(counts.reshape(len(xs), 4, len(result.densities_px_m)))


def along_lines(
    result: CoverageResult, lines: Sequence[Any] | npt.NDArray[Any], *, step_m: float | None = None
) -> LineCoverage:
    """Metres of lines that are seen.

    Parameters
    ----------
    result : CoverageResult
    lines : shapely LineStrings or MultiLineStrings in the analysis system
    step_m : float, optional
        Greatest step; one cell without it.

    Raises
    ------
    LimitExceeded
        The lines would be read at too many places.
    """
    shapes = np.asarray(lines, dtype=object).reshape(-1)
    n = len(shapes)
    length = np.asarray(shapely.length(shapes), dtype=np.float64)
    covered = np.zeros((n, 4, len(result.densities_px_m)))
    single = np.zeros((n, 4))
    xs, ys, owner, weight = line_steps(shapes, step_m=step_m or result.cell_m)
    if len(xs):
        counts = sample_cells(result, _cell(ys, result.cell_m), _cell(xs, result.cell_m)).reshape(len(xs), 4, -1)
        np.add.at(covered, owner, (counts > 0) * weight[:, None, None])
        np.add.at(single, owner, (counts[:, :, 0] == 1) * weight[:, None])
    return LineCoverage(length, covered, single)


def line_steps(lines: npt.NDArray[Any], *, step_m: float) -> tuple[Floats, Floats, npt.NDArray[np.int64], Floats]:
    """Places along lines at the middle of equal steps: x, y, line, and the metres that each stands for."""
    parts, owner = shapely.get_parts(lines, return_index=True)
    length = np.asarray(shapely.length(parts), dtype=np.float64)
    steps = np.maximum(np.ceil(length / step_m).astype(np.int64), (length > 0).astype(np.int64))
    total = int(steps.sum())
    if total > STEPS_MAX:
        raise LimitExceeded(
            f"The lines would be read at {total:,} places; use larger steps.",
            zh=f"线要素共需采样 {total:,} 处，请加大步长。",
        )
    which = np.repeat(np.arange(len(parts)), steps)
    nth = np.arange(total) - np.repeat(np.cumsum(steps) - steps, steps)
    size = np.divide(length, steps, out=np.zeros_like(length), where=steps > 0)
    places = shapely.line_interpolate_point(parts[which], (nth + 0.5) * size[which])
    return shapely.get_x(places), shapely.get_y(places), np.asarray(owner, dtype=np.int64)[which], size[which]


def by_polygons(
    result: CoverageResult, polygons: Sequence[Any] | npt.NDArray[Any], *, without: npt.NDArray[Any] | None = None
) -> PolygonCoverage:
    """Square metres of polygons that are seen.

    Parameters
    ----------
    result : CoverageResult
    polygons : shapely Polygons or MultiPolygons in the analysis system
        They may overlap and may lie outside the result.
    without : shapely polygons, optional
        Ground that is not counted, such as buildings.
    """
    from gis.visibility_surface import Buildings, Surface

    shapes = np.asarray(polygons, dtype=object).reshape(-1)
    n, d = len(shapes), len(result.densities_px_m)
    area, covered, single = np.zeros(n), np.zeros((n, 4, d)), np.zeros((n, 4))
    cell = result.cell_m
    blocked = None
    if without is not None and len(without):
        blocked = Surface(cell_m=cell, buildings=Buildings.from_polygons(without, np.ones(len(without))))
    for i, shape in enumerate(shapes):
        if shape is None or shapely.is_empty(shape):
            continue
        mask_maker = Surface(cell_m=cell, buildings=Buildings.from_polygons([shape], [1.0]))
        west, south, east, north = shapely.bounds(shape)
        r0, r1 = math.floor(south / cell), math.floor(north / cell) + 1
        c0, c1 = math.floor(west / cell), math.floor(east / cell) + 1
        for row in range(
            r0 // CHUNK * CHUNK, r1, CHUNK * 4
        ):  # in strips, so that a whole county needs no array of its size
            for col in range(c0 // CHUNK * CHUNK, c1, CHUNK * 4):
                rows, cols = min(CHUNK * 4, r1 - row), min(CHUNK * 4, c1 - col)
                mask = mask_maker.window(row, col, rows, cols).building >= 0
                if blocked is not None:
                    mask &= blocked.window(row, col, rows, cols).building < 0
                inside = int(np.count_nonzero(mask))
                if inside == 0:
                    continue
                area[i] += inside
                if not _any_chunk(result, row, col, rows, cols):
                    continue
                counts = result.window(row, col, rows, cols)[:, mask].reshape(4, d, -1)
                covered[i] += np.count_nonzero(counts, axis=2)
                single[i] += np.count_nonzero(counts[:, 0] == 1, axis=1)
    unit = cell * cell
    return PolygonCoverage(area * unit, covered * unit, single * unit)


def _any_chunk(result: CoverageResult, row: int, col: int, rows: int, cols: int) -> bool:
    return any(
        (r, c) in result.chunks
        for r in range(row // CHUNK, -(-(row + rows) // CHUNK))
        for c in range(col // CHUNK, -(-(col + cols) // CHUNK))
    )


def _cell(values: Floats, cell_m: float) -> npt.NDArray[np.int64]:
    return np.floor(values / cell_m).astype(np.int64)
