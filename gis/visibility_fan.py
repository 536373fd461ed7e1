"""Kernels: which cells of a surface one observer sees.

The rule ("R3"). Heights stand on the cell centres. From the observer's cell centre a straight line runs to the centre
of a target cell. Wherever it crosses a line of the lattice of centres, the surface there is interpolated linearly
between the two centres beside the crossing. The target is seen when the surface lies nowhere above the line. Heights
are first lowered by earth curvature less refraction, as seen from the observer.

How it is computed. The plane is cut in eight octants, in each of which `i` counts cells along the main axis and `j`
along the other (`0 <= j <= i`). A fan of rays with slopes `m = k / K` is walked outward, line by line; each ray keeps
the steepest sight slope `h / i` met so far, by the same rule. On a lattice edge between two neighbouring rays the sight
slope is monotone, so that over all directions between the rays its extremes lie on the two rays or at a centre between
them. This gives for every wedge of the fan an upper and a lower bound of the horizon at no more than the cost of a fan:

* a target above the upper bound is seen, one below the lower bound is not: certain, without a walk of its own;
* the few between are walked by the rule itself.

The fast mode has kernels of its own, `gis.visibility_fast`.

References: W. R. Franklin and C. Ray, "Higher isn't necessarily better: visibility algorithms and experiments", SDH
1994 (the names R2, R3).
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

__all__ = [
    "EARTH_RADIUS_M",
    "SIGHT_TOLERANCE",
    "VOID_HEIGHT_M",
    "kernel",
    "line_is_free",
    "look",
    "octant_rays",
    "octant_steps",
]

EARTH_RADIUS_M = 6_371_000.0
VOID_HEIGHT_M = 1.0e6
"""Height that stands for "unknown": nothing behind such a cell, nor the cell itself, is ever said to be seen."""
SIGHT_TOLERANCE = 1.0e-9
"""Slack of the sight slope, in height per cell: a line that grazes the surface counts as free."""

F = TypeVar("F", bound=Callable[..., Any])


def kernel[F: Callable[..., Any]](function: F) -> F:
    """Compile with numba: no Python objects, no interpreter lock, compiled code kept on disk."""
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))


@kernel
def line_is_free(
    z: npt.NDArray[np.float32], base: int, si: int, sj: int, i: int, j: int, eye: float, drop: float, slope: float
) -> bool:
    """Walk one line of sight by the rule R3: is the surface nowhere above it?

    ``z`` flat heights; ``base`` index of the observer; ``si``, ``sj`` steps in ``z`` along both axes of the octant;
    target at ``(i, j)``; ``eye`` in metres; ``drop`` metres per squared cell; ``slope`` of the line in metres per cell
    of the main axis.
    """
    limit = slope + SIGHT_TOLERANCE
    jj = 0
    rem = 0
    inverse = 1.0 / i
    for ii in range(1, i):
        rem += j
        if rem >= i:
            rem -= i
            jj += 1
            if rem > 0:  # a line of the other direction was crossed between ii - 1 and ii
                x = jj * i / j
                f = x - (ii - 1)
                p = base + (ii - 1) * si + jj * sj
                a = z[p] - eye - drop * ((ii - 1) * (ii - 1) + jj * jj)
                b = z[p + si] - eye - drop * (ii * ii + jj * jj)
                if a + (b - a) * f > limit * x:
                    return False
        p = base + ii * si + jj * sj
        a = z[p] - eye - drop * (ii * ii + jj * jj)
        if rem > 0:
            b = z[p + sj] - eye - drop * (ii * ii + (jj + 1) * (jj + 1))
            a += (b - a) * (rem * inverse)
        if a > limit * ii:
            return False
    return True


@kernel
def _look_octant(
    z: npt.NDArray[np.float32],
    base: int,
    si: int,
    sj: int,
    odd: bool,
    eye: float,
    target: float,
    drop: float,
    reach: float,
    rays: int,
    k_lo: int,
    k_hi: int,
    seen: npt.NDArray[np.uint8],
    seen_base: int,
    seen_si: int,
    seen_sj: int,
    work: npt.NDArray[np.float64],
) -> int:
    """One octant between the rays ``k_lo`` and ``k_hi``; returns how many targets were walked one by one."""
    horizon = work[0]  # per ray: steepest sight slope so far
    upper = work[1]  # per wedge k..k+1: steepest centre inside it
    lower = work[2]  # per wedge: slope that every direction inside it has met
    now = work[3]  # per ray: slope on the present line
    least = work[4]  # per wedge: least slope on the present line
    line = work[5]  # heights on the present line
    last = work[6]  # and on the line before
    n_rays = float(rays)
    reach2 = reach * reach
    walked = 0
    for k in range(k_lo, k_hi + 2):
        horizon[k] = -1.0e30
        upper[k] = -1.0e30
        lower[k] = -1.0e30
    last[0] = 0.0
    last[1] = 0.0
    for i in range(1, int(reach) + 1):
        top = min(k_hi, int(n_rays * math.sqrt(max(reach2 - i * i, 0.0)) / i) + 1)
        if top < k_lo:
            break
        ray_step = i / n_rays
        j_first = max(0, int(k_lo * ray_step) - 1)
        j_last = min(i, int(top * ray_step) + 2)
        ii2 = i * i
        p = base + i * si
        for j in range(j_first, j_last + 1):
            line[j] = z[p + j * sj] - eye - drop * (ii2 + j * j)
        line[j_last + 1] = line[j_last]
        # the targets of this line, against the horizon of the lines before
        inverse = 1.0 / i
        first = max(j_first, 1) if odd else j_first
        final = min(j_last, i if odd else i - 1)
        wedge_step = n_rays / i
        q = seen_base + i * seen_si
        for j in range(first, final + 1):
            if ii2 + j * j > reach2:
                break
            at = j * wedge_step
            if at < k_lo - 1.0e-9:
                continue
            if at > k_hi + 1.0e-9:
                break
            k = min(max(int(at), k_lo), k_hi - 1)
            slope = (line[j] + target) * inverse
            left = horizon[k]
            right = horizon[k + 1]
            high = max(left, right)
            high = max(high, upper[k])
            if slope >= high:
                free = True
            elif slope < lower[k] - 2.0 * SIGHT_TOLERANCE:
                free = False
            else:
                walked += 1
                free = line_is_free(z, base, si, sj, i, j, eye, drop, slope)
            if free and line[j] < 0.5 * VOID_HEIGHT_M:
                seen[q + j * seen_sj] = 1
        # carry the rays over this line
        previous_step = (i - 1) / n_rays
        for k in range(k_lo, top + 1):
            y = k * ray_step
            j = int(y)
            a = line[j]
            s = (a + (line[j + 1] - a) * (y - j)) * inverse
            now[k] = s
            best = max(horizon[k], s)
            if j > int(k * previous_step):
                x = j * n_rays / k
                b = last[j]
                best = max(best, (b + (a - b) * (x - (i - 1))) / x)
            horizon[k] = best
        for k in range(k_lo, top):
            least[k] = min(now[k], now[k + 1])
        for j in range(j_first, j_last + 1):
            k = int(j * wedge_step)
            if k_lo <= k < top:
                s = line[j] * inverse
                upper[k] = max(upper[k], s)
                least[k] = min(least[k], s)
        for k in range(k_lo, top):
            lower[k] = max(lower[k], least[k])
        line, last = last, line
    return walked


@kernel
def octant_rays(octant: int, centre_deg: float, half_deg: float, rays: int) -> tuple[int, int]:
    """First and last ray of an octant that a sector needs; (0, -1) when it needs none."""
    if half_deg >= 180.0:
        return 0, rays
    theta = 90.0 - centre_deg  # counter-clockwise from east
    middle = 45.0 * octant + 22.5
    # distance from the sector's axis to the octant's middle, -180..180
    away = (theta - middle + 540.0) % 360.0 - 180.0
    low = max(away - half_deg, -22.5)
    high = min(away + half_deg, 22.5)
    if away + half_deg - 360.0 > -22.5:  # a very wide sector comes round from the other side
        low = -22.5
    if away - half_deg + 360.0 < 22.5:
        high = 22.5
    if low > high:
        return 0, -1
    odd = octant % 2 == 1
    start = 22.5 - high if odd else low + 22.5
    stop = 22.5 - low if odd else high + 22.5
    k_lo = max(0, int(math.floor(math.tan(math.radians(start)) * rays - 1.0e-6)))
    k_hi = min(rays, int(math.ceil(math.tan(math.radians(stop)) * rays + 1.0e-6)))
    if k_hi == k_lo:
        if k_hi < rays:
            k_hi += 1
        else:
            k_lo -= 1
    return k_lo, k_hi


@kernel
def octant_steps(octant: int) -> tuple[int, int, int, int]:
    """Unit steps (east, north) of an octant along the main and along the other axis."""
    if octant == 0:
        return 1, 0, 0, 1
    if octant == 1:
        return 0, 1, 1, 0
    if octant == 2:
        return 0, 1, -1, 0
    if octant == 3:
        return -1, 0, 0, 1
    if octant == 4:
        return -1, 0, 0, -1
    if octant == 5:
        return 0, -1, -1, 0
    if octant == 6:
        return 0, -1, 1, 0
    return 1, 0, 0, -1


@kernel
def look(
    z: npt.NDArray[np.float32],
    row: int,
    col: int,
    eye: float,
    target: float,
    drop: float,
    reach: float,
    centre_deg: float,
    half_deg: float,
    density: float,
    seen: npt.NDArray[np.uint8],
    seen_row: int,
    seen_col: int,
    work: npt.NDArray[np.float64],
) -> int:
    """Mark in ``seen`` the cells that an observer sees within a sector.

    Parameters
    ----------
    z : float32 array (rows, cols), row 0 in the south
        Heights in metres; must hold every cell within ``reach`` + 1 of the observer.
    row, col : int
        The observer's cell in ``z``; ``seen_row``, ``seen_col`` the same cell in ``seen``.
    eye : float
        Height of the observer's eye on the scale of ``z``; ``target`` is the height of a target above the surface.
        Metres.
    drop : float
        Curvature less refraction, metres per squared cell.
    reach : float
        Range in cells.
    centre_deg, half_deg : float
        Azimuth (clockwise from north) and half angle of the sector; 180 and more is a full circle.
    density : float
        Rays of the fan per cell at the range; 1 is usual.
    work : float64 array (7, rays + 4)
        Scratch space; ``rays`` is ``ceil(density * reach)``, at least 8.

    Returns
    -------
    int
        Number of targets that were walked one by one.
    """
    rays = max(8, int(math.ceil(density * reach)))
    flat = z.reshape(-1)
    flat_seen = seen.reshape(-1)
    width = z.shape[1]
    seen_width = seen.shape[1]
    base = row * width + col
    seen_base = seen_row * seen_width + seen_col
    if flat[base] < 0.5 * VOID_HEIGHT_M:
        flat_seen[seen_base] = 1
    walked = 0
    for octant in range(8):
        k_lo, k_hi = octant_rays(octant, centre_deg, half_deg, rays)
        if k_hi < 0:
            continue
        ie, inn, je, jn = octant_steps(octant)
        walked += _look_octant(
            flat,
            base,
            ie + inn * width,
            je + jn * width,
            octant % 2 == 1,
            eye,
            target,
            drop,
            reach,
            rays,
            k_lo,
            k_hi,
            flat_seen,
            seen_base,
            ie + inn * seen_width,
            je + jn * seen_width,
            work,
        )
    return walked
