"""Which community, cell or county a point of the city lies in."""

import numpy as np
import shapely
from numpy.typing import NDArray

from data.city.admin import Division
from data.city.cells import Cells
from data.city.outlines import Outlines

__all__ = ["Locator"]


class Locator:
    """Finds cells and administrative codes of points, EPSG:4546."""

    def __init__(self, outlines: Outlines, cells: Cells, division: Division) -> None:
        self._outlines = outlines
        self._tree = shapely.STRtree(cells.polygons)
        self._codes = division.cell_admin_code
        self._grid_codes = division.grid_code
        shapely.prepare(cells.polygons)

    def cell_of(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
        """Index of the cell of each point, −1 outside the ring."""
        found = np.full(len(x), -1, dtype=np.int64)
        hit = self._tree.query(shapely.points(x, y), predicate="intersects")
        found[hit[0]] = hit[1]
        return found

    def admin_code(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.object_]:
        """Twelve digits: of the community inside the ring, else of the county."""
        cell = self.cell_of(x, y)
        out = np.empty(len(x), dtype=object)
        inside = cell >= 0
        out[inside] = self._codes[cell[inside]]
        if (~inside).any():
            out[~inside] = [f"{c}000000" for c in self._outlines.county_of(x[~inside], y[~inside])]
        return out

    def grid_code(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.object_]:
        """Fifteen digits of the unit cell, None outside the ring."""
        cell = self.cell_of(x, y)
        codes = self._grid_codes[np.maximum(cell, 0)].copy()
        codes[cell < 0] = None
        return codes

    def of_geometry(self, geometry: NDArray[np.object_]) -> NDArray[np.object_]:
        """Administrative code at the middle of each geometry."""
        at = shapely.get_coordinates(shapely.point_on_surface(geometry))
        return self.admin_code(at[:, 0], at[:, 1])
