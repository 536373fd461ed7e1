"""How dense the city is where: the one field that streets, people, buildings and cameras follow."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["CENTRE", "density"]

#: The commercial centre on the left bank, EPSG:4546.
CENTRE = (528700.0, 3396500.0)

#: x, y, spread along x and y rotated with the river's lower course, weight.
_CORES: tuple[tuple[float, float, float, float], ...] = (
    (CENTRE[0], CENTRE[1], 2300.0, 1.0),
    (534200.0, 3391900.0, 2300.0, 0.62),  # new district
    (528300.0, 3400300.0, 1900.0, 0.62),  # by the dam
    (530900.0, 3404200.0, 1500.0, 0.50),
    (525300.0, 3394300.0, 1500.0, 0.34),  # right bank
    (528700.0, 3389900.0, 1500.0, 0.24),
    (538200.0, 3387200.0, 1900.0, 0.34),
)


def density(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Density between 0.08 (open country) and 1 (centre) at points of EPSG:4546."""
    total = np.zeros(np.shape(x))
    for cx, cy, spread, weight in _CORES:
        total = np.maximum(total, weight * np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2) / spread**2))
    return np.clip(0.08 + 0.92 * total, 0.08, 1.0)
