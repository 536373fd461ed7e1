"""Line of sight written plainly, for the tests only: no octants, no fan, no numba, no sharing of code with the engine."""

from fractions import Fraction
from math import cos, floor, hypot, radians, sin

import numpy as np

EARTH = 6_371_000.0


def lowered(z, row, col, cell_m, refraction):
    """Heights as the observer at (row, col) sees them: lowered by curvature less refraction."""
    rows, cols = np.indices(z.shape)
    distance2 = ((rows - row) ** 2 + (cols - col) ** 2) * cell_m**2
    return z.astype(float) - (1 - refraction) * distance2 / (2 * EARTH)


def height_between(z, r, c):
    """Height on a grid line: one of ``r``, ``c`` is a whole number; linear between the two centres beside the other."""
    r0, c0 = floor(r), floor(c)
    fr, fc = float(r - r0), float(c - c0)
    if fr:
        return z[r0, c0] * (1 - fr) + z[r0 + 1, c0] * fr
    if fc:
        return z[r0, c0] * (1 - fc) + z[r0, c0 + 1] * fc
    return z[r0, c0]


def is_seen(z, row, col, eye, to_row, to_col, target_m):
    """Whether the line from ``eye`` over (row, col) to the target over (to_row, to_col) meets the surface nowhere."""
    dr, dc = to_row - row, to_col - col
    if dr == dc == 0:
        return True
    crossings = set()
    for n in range(1, abs(dr)):
        crossings.add(Fraction(n, abs(dr)))
    for n in range(1, abs(dc)):
        crossings.add(Fraction(n, abs(dc)))
    end = z[to_row, to_col] + target_m
    for t in crossings:
        surface = height_between(z, row + t * dr, col + t * dc)
        line = eye + (end - eye) * float(t)
        if surface > line + 1e-9 * float(t) * max(abs(dr), abs(dc)):
            return False
    return True


def viewshed(z, row, col, eye, *, radius, target_m=0.0, cell_m=1.0, refraction=0.13):
    """All cells within ``radius`` cells."""
    z = lowered(z, row, col, cell_m, refraction)
    seen = np.zeros(z.shape, dtype=np.uint8)
    for r in range(z.shape[0]):
        for c in range(z.shape[1]):
            if (r - row) ** 2 + (c - col) ** 2 <= radius**2:
                seen[r, c] = is_seen(z, row, col, eye, r, c, target_m)
    return seen


def in_view(dr, dc, cell_m, rise_m, *, azimuth, hfov, low_deg, high_deg, range_m):
    """Whether a target is inside a camera's picture, by angles: ``rise_m`` of the target over the eye."""
    from math import atan2, degrees

    distance = hypot(dr, dc) * cell_m
    if distance > range_m:
        return False
    if distance == 0:
        return False
    bearing = degrees(atan2(dc, dr))
    away = (bearing - azimuth + 180) % 360 - 180
    up = degrees(atan2(rise_m, distance))
    return abs(away) <= hfov / 2 + 1e-7 and low_deg - 1e-7 <= up <= high_deg + 1e-7


def turned(azimuth):
    """Unit vector (east, north) of an azimuth."""
    return sin(radians(azimuth)), cos(radians(azimuth))
