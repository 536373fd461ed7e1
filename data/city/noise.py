"""Smooth seeded noise over the plane."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["Field", "fractal", "smooth"]

_LATTICE = 64


class Field:
    """Noise between about −1 and 1 that varies over ``wavelength_m`` and repeats after 64 wavelengths."""

    def __init__(self, wavelength_m: float, rng: np.random.Generator) -> None:
        self.wavelength_m = wavelength_m
        lattice = rng.uniform(-1.0, 1.0, (_LATTICE, _LATTICE))
        self._coefficients = ndimage.spline_filter(lattice, order=3, mode="grid-wrap")

    def __call__(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values at points."""
        at = np.stack([np.asarray(y) / self.wavelength_m, np.asarray(x) / self.wavelength_m])
        values = ndimage.map_coordinates(self._coefficients, at, order=3, mode="grid-wrap", prefilter=False)
        return np.asarray(values * 1.3, dtype=np.float64)


def smooth(
    x: NDArray[np.float64], y: NDArray[np.float64], *, wavelength_m: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Values of a new `Field` at points."""
    return Field(wavelength_m, rng)(x, y)


def fractal(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    *,
    wavelength_m: float,
    octaves: int,
    rng: np.random.Generator,
    ridged: bool = False,
) -> NDArray[np.float64]:
    """Sum of octaves, each of half the wavelength and half the height; ``ridged`` gives 0…1 with crests, else about −1…1."""
    total = np.zeros(np.shape(x))
    scale = 0.0
    for octave in range(octaves):
        weight = 0.5**octave
        layer = smooth(x, y, wavelength_m=wavelength_m / 2**octave, rng=rng)
        total += weight * ((1.0 - np.abs(layer)) if ridged else layer)
        scale += weight
    return np.clip(total / scale, 0.0, 1.0) if ridged else total / scale
