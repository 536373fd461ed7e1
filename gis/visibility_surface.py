"""The surface that lines of sight meet: terrain plus the heights of buildings.

A surface has no size of its own: cells lie on the lattice of multiples of ``cell_m`` in the analysis system, row
numbers grow to the north, columns to the east, and `Surface.window` makes any part of it. A cell's height depends on
nothing but its place, so that results do not depend on tiling.

Terrain is interpolated bilinearly between the centres of the model's cells. Where it is void or absent nothing is
assumed: such cells stand as unknown and hide what is behind them, unless ``dem_missing_m`` declares a height. Buildings
are added to the terrain cell by cell.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gis.errors import CRSMismatch, InputError, LimitExceeded
from gis.visibility_fan import VOID_HEIGHT_M, kernel

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["Buildings", "Surface", "Terrain", "Window", "sample_points"]

Floats = npt.NDArray[np.float64]
CELL_MIN_M = 0.1
WINDOW_CELLS_MAX = 200_000_000
BUILDING_HEIGHT_MAX_M = 1000.0


@dataclass(frozen=True)
class Terrain:
    """A digital elevation model in the analysis system.

    Parameters
    ----------
    heights_m : array (rows, cols)
        Heights in metres, row 0 in the north as in a file; NaN where void.
    west_m, north_m : float
        The outer corner of the first cell.
    dx_m, dy_m : float
        Size of a cell.
    beyond : Terrain, optional
        A coarser model of a wider area, which holds where this one is void or ends.
    """

    heights_m: npt.NDArray[np.float32]
    west_m: float
    north_m: float
    dx_m: float
    dy_m: float
    beyond: "Terrain | None" = None

    def __post_init__(self) -> None:
        if self.heights_m.ndim != 2 or min(self.heights_m.shape) < 1:
            raise InputError("A terrain model must have rows and columns.", zh="地形数据须为二维。")
        if not (self.dx_m > 0 and self.dy_m > 0 and math.isfinite(self.west_m) and math.isfinite(self.north_m)):
            raise InputError(
                "A terrain model needs a place and positive cell sizes.", zh="地形数据须有位置和正的像元大小。"
            )

    @property
    def chain(self) -> "tuple[Terrain, ...]":
        """The model itself and those beyond it, the finest first."""
        return (self,) if self.beyond is None else (self, *self.beyond.chain)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in metres, of this model alone."""
        rows, cols = self.heights_m.shape
        return (self.west_m, self.north_m - rows * self.dy_m, self.west_m + cols * self.dx_m, self.north_m)


@dataclass(frozen=True)
class Buildings:
    """Footprints with heights, as flat arrays; make them with `Buildings.read`.

    Attributes
    ----------
    xy : float64 array (n, 2), corners; ring_start : int64, first corner of each ring, with the end; ring_of : int64,
    building of each ring. height_m : float64 array, height above ground of each building. notes : assumptions and what
    was left out.
    """

    xy: Floats
    ring_start: npt.NDArray[np.int64]
    ring_of: npt.NDArray[np.int64]
    height_m: Floats
    bounds: Floats
    unknown: npt.NDArray[np.bool_]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.height_m)

    @classmethod
    def read(
        cls,
        buildings: "gpd.GeoDataFrame",
        *,
        crs: Any = None,
        height: str = "height_m",
        height_unknown_m: float | None = 9.0,
        on_error: str = "assume",
    ) -> "Buildings":
        """Read footprints.

        Parameters
        ----------
        buildings : GeoDataFrame of polygons
        crs : optional
            Analysis system; the polygons are transformed to it.
        height : str
            Column of heights in metres.
        height_unknown_m : float or None
            Declared height of buildings whose height is missing or cannot be (not positive, or above 1,000 m).
        on_error : str
            ``"assume"`` takes ``height_unknown_m`` for heights that cannot be and notes it; ``"raise"`` refuses them.

        Raises
        ------
        InputError
            A height cannot be and ``on_error`` is ``"raise"``, or none is assumed.
        CRSMismatch
            The footprints have no reference system.
        """
        if buildings.crs is None:
            raise CRSMismatch("The buildings have no reference system.", zh="建筑数据没有坐标系。")
        if crs is not None:
            buildings = buildings.to_crs(crs)
        elif buildings.crs.is_geographic:
            raise CRSMismatch(
                "The buildings are in degrees: name the analysis system.", zh="建筑坐标以度为单位：请指定分析坐标系。"
            )
        shapes = np.asarray(buildings.geometry.values, dtype=object)
        if height in buildings.columns:
            import pandas as pd

            values = pd.to_numeric(buildings[height], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            values = np.full(len(shapes), np.nan)
        return cls.from_polygons(shapes, values, height_unknown_m=height_unknown_m, on_error=on_error)

    @classmethod
    def from_polygons(
        cls,
        polygons: Sequence[Any] | npt.NDArray[Any],
        heights_m: npt.ArrayLike,
        *,
        height_unknown_m: float | None = 9.0,
        on_error: str = "assume",
    ) -> "Buildings":
        """The same from shapely polygons in the analysis system and an array of heights."""
        import shapely

        shapes = np.asarray(polygons, dtype=object).reshape(-1)
        heights = np.array(heights_m, dtype=np.float64).reshape(-1)
        if len(shapes) != len(heights):
            raise InputError("There must be one height for each building.", zh="每栋建筑须有一个高度。")
        notes: list[str] = []
        usable = np.isin(shapely.get_type_id(shapes), (3, 6)) & ~shapely.is_empty(shapes)
        if not usable.all():
            notes.append(f"{int((~usable).sum())} buildings without a polygon were left out")
            shapes, heights = shapes[usable], heights[usable]
        missing = np.isnan(heights)
        wrong = ~missing & ~((heights > 0) & (heights <= BUILDING_HEIGHT_MAX_M))
        if wrong.any() and on_error == "raise":
            value = heights[wrong][0]
            raise InputError(f"A building cannot be {value:g} m high.", zh=f"建筑高度 {value:g} 米不合理。")
        unknown = missing | wrong
        if unknown.any():
            if height_unknown_m is None:
                raise InputError(
                    f"{int(unknown.sum())} buildings have no usable height and none is assumed.",
                    zh=f"{int(unknown.sum())} 栋建筑没有可用高度，且未设定默认值。",
                )
            if missing.any():
                notes.append(f"{int(missing.sum())} buildings of unknown height: {height_unknown_m:g} m assumed")
            if wrong.any():
                notes.append(f"{int(wrong.sum())} buildings with an impossible height: {height_unknown_m:g} m assumed")
            heights[unknown] = height_unknown_m
        parts, part_of = shapely.get_parts(shapes, return_index=True)
        rings, ring_part = shapely.get_rings(parts, return_index=True)
        xy, corner_ring = shapely.get_coordinates(rings, return_index=True)
        starts = np.concatenate([[0], np.cumsum(np.bincount(corner_ring, minlength=len(rings)))]).astype(np.int64)
        return cls(
            xy=np.ascontiguousarray(xy, dtype=np.float64),
            ring_start=starts,
            ring_of=np.asarray(part_of, dtype=np.int64)[np.asarray(ring_part, dtype=np.int64)],
            height_m=heights,
            bounds=np.asarray(shapely.bounds(shapes), dtype=np.float64).reshape(-1, 4),
            unknown=unknown,
            notes=tuple(notes),
        )


@dataclass(frozen=True)
class Window:
    """A part of a surface.

    ``z`` is what stops a line of sight, ``ground`` the terrain, ``building`` the building of a cell or -1.
    """

    row: int
    col: int
    z: npt.NDArray[np.float32]
    ground: npt.NDArray[np.float32]
    building: npt.NDArray[np.int32]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return (self.z.shape[0], self.z.shape[1])


@dataclass(frozen=True)
class Surface:
    """Terrain and buildings on a lattice of cells.

    Parameters
    ----------
    cell_m : float
        Size of a cell.
    terrain : Terrain, optional
        Without one the ground is taken as flat at height 0, and the result says so.
    buildings : Buildings, optional
    dem_missing_m : float, optional
        Height of ground where the terrain model is void or ends; None leaves it unknown.
    refraction : float
        Share of earth curvature that refraction takes back; 0.13 is usual for light near the ground.

    Examples
    --------
    >>> flat = Surface(cell_m=1.0)
    >>> float(flat.window(0, 0, 2, 2).z.max())
    0.0
    """

    cell_m: float
    terrain: Terrain | None = None
    buildings: Buildings | None = None
    dem_missing_m: float | None = None
    refraction: float = 0.13
    _index: "_BuildingIndex | None" = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.cell_m) and self.cell_m > 0):
            raise InputError("The cell size must be a positive number of metres.", zh="像元大小须为正数（米）。")
        if self.cell_m < CELL_MIN_M:
            raise LimitExceeded(
                f"Cells of {self.cell_m:g} m are finer than any terrain or footprint; at least {CELL_MIN_M:g} m.",
                zh=f"像元 {self.cell_m:g} 米过细，至少 {CELL_MIN_M:g} 米。",
            )
        if self.buildings is not None and len(self.buildings):
            object.__setattr__(self, "_index", _BuildingIndex(self.buildings))

    @classmethod
    def from_array(
        cls,
        heights_m: npt.ArrayLike,
        *,
        cell_m: float,
        west_m: float = 0.0,
        south_m: float = 0.0,
        refraction: float = 0.13,
    ) -> "Surface":
        """A surface from an array of heights, row 0 in the south, whose cells are the cells of the lattice.

        Raises
        ------
        InputError
            The corner is not a multiple of the cell size.
        """
        values = np.asarray(heights_m, dtype=np.float32)
        for corner in (west_m, south_m):
            if abs(corner / cell_m - round(corner / cell_m)) > 1e-6:
                raise InputError("The corner must be a multiple of the cell size.", zh="角点须为像元大小的整数倍。")
        terrain = Terrain(values[::-1], west_m, south_m + values.shape[0] * cell_m, cell_m, cell_m)
        return cls(cell_m=cell_m, terrain=terrain, refraction=refraction)

    @property
    def bounds(self) -> tuple[float, float, float, float] | None:
        """Where the terrain is known at all; None when the ground is taken as flat."""
        return None if self.terrain is None or self.dem_missing_m is not None else self.terrain.chain[-1].bounds

    @property
    def drop(self) -> float:
        """Curvature less refraction, in metres per squared cell."""
        from gis.visibility_fan import EARTH_RADIUS_M

        return (1.0 - self.refraction) * self.cell_m**2 / (2.0 * EARTH_RADIUS_M)

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What is taken for granted, in words."""
        lines = []
        if self.terrain is None:
            lines.append("no terrain model: flat ground at height 0 assumed")
        elif self.dem_missing_m is not None:
            lines.append(f"ground outside or void in the terrain model: {self.dem_missing_m:g} m assumed")
        if self.buildings is None:
            lines.append("no buildings given: only terrain hides")
        else:
            lines.extend(self.buildings.notes)
        return tuple(lines)

    @cached_property
    def digest(self) -> str:
        """A name for everything that decides heights."""
        name = hashlib.sha256(repr((self.cell_m, self.dem_missing_m, self.refraction)).encode())
        for t in self.terrain.chain if self.terrain is not None else ():
            name.update(repr((t.west_m, t.north_m, t.dx_m, t.dy_m, t.heights_m.shape)).encode())
            name.update(np.ascontiguousarray(t.heights_m))
        if self.buildings is not None:
            b = self.buildings
            for part in (b.xy, b.ring_start, b.ring_of, b.height_m):
                name.update(np.ascontiguousarray(part))
        return name.hexdigest()[:32]

    def cell_of(self, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Row and column of positions."""
        rows = np.floor(np.asarray(y, dtype=np.float64) / self.cell_m).astype(np.int64)
        cols = np.floor(np.asarray(x, dtype=np.float64) / self.cell_m).astype(np.int64)
        return rows, cols

    def near_buildings(self, x: npt.ArrayLike, y: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Which of many points lie in the bounding box of a building, in rising order."""
        if self._index is None:
            return np.empty(0, dtype=np.int64)
        return self._index.points_in(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))

    def window(self, row: int, col: int, rows: int, cols: int) -> Window:
        """The part of ``rows`` × ``cols`` cells whose south-west cell is (row, col).

        Raises
        ------
        LimitExceeded
            More cells than fit in memory.
        """
        if rows * cols > WINDOW_CELLS_MAX:
            raise LimitExceeded(
                f"A window of {rows:,} × {cols:,} cells is too large.", zh=f"窗口 {rows:,} × {cols:,} 过大。"
            )
        ground = np.zeros((rows, cols), dtype=np.float32)
        if self.terrain is not None:
            missing = VOID_HEIGHT_M if self.dem_missing_m is None else self.dem_missing_m
            for nth, t in enumerate(reversed(self.terrain.chain)):
                _sample_terrain(
                    t.heights_m, t.west_m, t.north_m, t.dx_m, t.dy_m, self.cell_m, row, col, missing, nth > 0, ground
                )
        owner = np.full((rows, cols), -1, dtype=np.int32)
        z = ground.copy()
        if self._index is not None and self.buildings is not None:
            b = self.buildings
            rings = self._index.rings_in(
                col * self.cell_m, row * self.cell_m, (col + cols) * self.cell_m, (row + rows) * self.cell_m
            )
            _burn(b.xy, b.ring_start, b.ring_of, b.height_m, rings, self.cell_m, row, col, ground, z, owner)
        return Window(row, col, z, ground, owner)


def sample_points(surface: Surface, row: npt.NDArray[np.int64], col: npt.NDArray[np.int64]) -> Floats:
    """Ground heights of scattered cells, the very values of `Surface.window`."""
    out = np.zeros(len(row), dtype=np.float64)
    if surface.terrain is not None:
        missing = VOID_HEIGHT_M if surface.dem_missing_m is None else surface.dem_missing_m
        for nth, t in enumerate(reversed(surface.terrain.chain)):
            _sample_cells(
                t.heights_m, t.west_m, t.north_m, t.dx_m, t.dy_m, surface.cell_m, row, col, missing, nth > 0, out
            )
    return out


class _BuildingIndex:
    """Finds the rings whose building meets a rectangle."""

    def __init__(self, buildings: Buildings) -> None:
        import shapely

        boxes = np.asarray(shapely.box(*buildings.bounds.T), dtype=object)
        self._tree = shapely.STRtree(boxes.reshape(-1))
        self._bounds = buildings.bounds
        order = np.argsort(buildings.ring_of, kind="stable")
        self._rings = order.astype(np.int64)
        self._first = np.searchsorted(buildings.ring_of[order], np.arange(len(buildings) + 1)).astype(np.int64)

    def points_in(self, x: Floats, y: Floats) -> npt.NDArray[np.int64]:
        import shapely

        return np.unique(self._tree.query(shapely.points(x, y))[0]).astype(np.int64)

    def rings_in(self, west: float, south: float, east: float, north: float) -> npt.NDArray[np.int64]:
        import shapely

        found = np.sort(self._tree.query(shapely.box(west, south, east, north)))
        if len(found) == 0:
            return np.empty(0, dtype=np.int64)
        return np.concatenate([self._rings[self._first[b] : self._first[b + 1]] for b in found])


@kernel
def _between(at: float, n: int) -> tuple[int, float]:
    """The centre at or before a place on an axis of ``n`` cells and the share of the way to the next; -1 outside.

    The outer half cells keep the height of the centre nearest to them.
    """
    if at < -0.5 or at > n - 0.5:
        return -1, 0.0
    at = min(max(at, 0.0), n - 1.0)
    i = min(int(at), max(n - 2, 0))
    share = at - i
    # a lattice that coincides with the model gives back its values to the bit
    if share < 1e-6 or share > 1 - 1e-6:
        i += int(share + 0.5)
        share = 0.0
    return i, share


@kernel
def _along(heights: npt.NDArray[np.float32], i: int, j: int, share: float) -> float:
    """Height in row ``i`` of the model, linear between its columns."""
    value = float(heights[i, j])
    if share > 0.0:
        value += (heights[i, j + 1] - value) * share
    return value


@kernel
def _sample_terrain(
    heights: npt.NDArray[np.float32],
    west: float,
    north: float,
    dx: float,
    dy: float,
    cell: float,
    row: int,
    col: int,
    missing: float,
    keep: bool,
    out: npt.NDArray[np.float32],
) -> None:
    n_rows, n_cols = heights.shape
    columns = np.empty(out.shape[1], dtype=np.int64)
    shares = np.empty(out.shape[1], dtype=np.float64)
    for c in range(out.shape[1]):
        columns[c], shares[c] = _between(((col + c + 0.5) * cell - west) / dx - 0.5, n_cols)
    # rows of the lattice between two rows of the model share what is interpolated along these
    held = -2
    lower = np.empty(out.shape[1], dtype=np.float64)
    upper = np.empty(out.shape[1], dtype=np.float64)
    for r in range(out.shape[0]):
        i, share = _between((north - (row + r + 0.5) * cell) / dy - 0.5, n_rows)
        if i < 0:
            if not keep:
                out[r, :] = missing
            continue
        if i != held:
            held = i
            for c in range(out.shape[1]):
                j = columns[c]
                lower[c] = np.nan if j < 0 else _along(heights, i, j, shares[c])
                upper[c] = np.nan if j < 0 else _along(heights, min(i + 1, n_rows - 1), j, shares[c])
        for c in range(out.shape[1]):
            value = lower[c] + (upper[c] - lower[c]) * share if share > 0.0 else lower[c]
            if not math.isnan(value):
                out[r, c] = value
            elif not keep:
                out[r, c] = missing


@kernel
def _sample_cells(
    heights: npt.NDArray[np.float32],
    west: float,
    north: float,
    dx: float,
    dy: float,
    cell: float,
    row: npt.NDArray[np.int64],
    col: npt.NDArray[np.int64],
    missing: float,
    keep: bool,
    out: npt.NDArray[np.float64],
) -> None:
    n_rows, n_cols = heights.shape
    for k in range(len(out)):
        i, fv = _between((north - (row[k] + 0.5) * cell) / dy - 0.5, n_rows)
        j, fu = _between(((col[k] + 0.5) * cell - west) / dx - 0.5, n_cols)
        value = np.nan
        if i >= 0 and j >= 0:
            value = _along(heights, i, j, fu)
            if fv > 0.0:
                value += (_along(heights, i + 1, j, fu) - value) * fv
        if not math.isnan(value):
            out[k] = np.float32(value)
        elif not keep:
            out[k] = np.float32(missing)


@kernel
def _edge_rows(y0: float, y1: float, cell: float, row: int, n_rows: int) -> tuple[int, int]:
    """Rows of a window, from and up to, whose middle line an edge crosses: those with ``(y0 <= y) != (y1 <= y)``."""
    low = min(y0, y1)
    high = max(y0, y1)
    # of the two ends the lower one counts as below the line when it lies on it
    start = int(np.ceil(low / cell - 0.5)) - row
    stop = int(np.ceil(high / cell - 0.5)) - row
    while start < stop and (row + start + 0.5) * cell < low:
        start += 1
    while start > 0 and (row + start - 0.5) * cell >= low:
        start -= 1
    while stop > start and (row + stop - 0.5) * cell >= high:
        stop -= 1
    while (row + stop + 0.5) * cell < high:
        stop += 1
    return max(start, 0), min(max(stop, start), n_rows)


@kernel
def _burn(
    xy: npt.NDArray[np.float64],
    ring_start: npt.NDArray[np.int64],
    ring_of: npt.NDArray[np.int64],
    height: npt.NDArray[np.float64],
    rings: npt.NDArray[np.int64],
    cell: float,
    row: int,
    col: int,
    ground: npt.NDArray[np.float32],
    z: npt.NDArray[np.float32],
    owner: npt.NDArray[np.int32],
) -> None:
    """Raise the cells whose centre lies in a building, by the even-odd rule over all its rings."""
    n_rows, n_cols = z.shape
    at = 0
    begin = np.zeros(n_rows + 1, dtype=np.int64)
    crossings = np.empty(256, dtype=np.float64)
    while at < len(rings):
        building = ring_of[rings[at]]
        end = at
        first = n_rows
        final = -1
        begin[:] = 0
        # where the edges cross the middle lines of the rows: counted, then listed row by row, so that long outlines cost no more than their length
        while end < len(rings) and ring_of[rings[end]] == building:
            for k in range(ring_start[rings[end]], ring_start[rings[end] + 1] - 1):
                low, high = _edge_rows(xy[k, 1], xy[k + 1, 1], cell, row, n_rows)
                for r in range(low, high):
                    begin[r + 1] += 1
                first = min(first, low) if low < high else first
                final = max(final, high - 1) if low < high else final
            end += 1
        for r in range(n_rows):
            begin[r + 1] += begin[r]
        if begin[n_rows] > len(crossings):
            crossings = np.empty(2 * begin[n_rows], dtype=np.float64)
        for ring in range(at, end):
            for k in range(ring_start[rings[ring]], ring_start[rings[ring] + 1] - 1):
                y0 = xy[k, 1]
                y1 = xy[k + 1, 1]
                low, high = _edge_rows(y0, y1, cell, row, n_rows)
                for r in range(low, high):
                    y = (row + r + 0.5) * cell
                    crossings[begin[r]] = xy[k, 0] + (y - y0) * (xy[k + 1, 0] - xy[k, 0]) / (y1 - y0)
                    begin[r] += 1
        # ``begin`` of a row is now its end, and that of the row before its beginning
        for r in range(first, final + 1):
            start = begin[r - 1] if r > 0 else 0
            stop = begin[r]
            for a in range(start + 1, stop):  # few: insertion sort
                value = crossings[a]
                b = a - 1
                while b >= start and crossings[b] > value:
                    crossings[b + 1] = crossings[b]
                    b -= 1
                crossings[b + 1] = value
            for a in range(start, stop - 1, 2):
                c0 = max(int(np.ceil(crossings[a] / cell - 0.5)) - col, 0)
                c1 = min(int(np.ceil(crossings[a + 1] / cell - 0.5)) - 1 - col, n_cols - 1)
                for c in range(c0, c1 + 1):
                    top = ground[r, c] + np.float32(height[building])
                    if owner[r, c] < 0 or top > z[r, c]:
                        owner[r, c] = building
                        z[r, c] = top
        at = end
