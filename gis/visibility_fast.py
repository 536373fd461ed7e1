"""Kernels of the fast mode: a fan whose rays multiply with distance, whole blocks below the horizon left out.

As in `gis.visibility_fan` rays with slopes ``k / rays`` are walked outward line by line and keep the steepest sight slope; a target is
compared with the horizon between its two rays. What makes it fast:

* **Rays multiply.** Near the observer a few rays do; each time their distance reaches a cell or so there are twice as many, the new ones
  beginning with the mean of their neighbours.
* **Blocks below the horizon.** The greatest height of a block of cells tells whether anything in it can be seen or raise the horizon at
  all. The least horizon of a block may be out of date, since a horizon only rises.
* **Loops that compile to vector instructions**: float32, no branches, unsigned indices (others are checked for wrapping round), and
  results put into memory of the stack first, which the compiler knows not to overlap with what is read.

It is not exact: heights between rays are interpolated, and the mean of two rays forgets what stood between them (``docs/accuracy.md``).
"""

import math
from collections.abc import Callable
from typing import Any, cast

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.numpy_support import carray

from gis.visibility_fan import VOID_HEIGHT_M, octant_rays, octant_steps

__all__ = ["SCRATCH_ROWS", "fast_rays", "look_fast", "scratch_size", "scratch_size_of"]

Floats = npt.NDArray[np.float32]

SCRATCH_ROWS = 6
_BLOCK = 32
_CHUNK = 256
"""Rays that are carried over a line at once."""
_BLOCKS_AT_ONCE = _CHUNK // _BLOCK

_F = np.float32
_I = np.int32
_U = np.uint64
_NOWHERE = np.float32(-1.0e30)
_SLACK = np.float32(1.0e-6)
_MASK = np.int32(0x7FFFFFFF)
_GREATEST = np.int32(2147483647)


def _kernel[F: Callable[..., Any]](function: F) -> F:
    """As `gis.visibility_fan.kernel`, with comparisons in any order: no value here is infinite or missing.

    Nothing that changes how results are rounded: a kernel has several compiled copies, by itself and in those that call it, and which one
    runs depends on whether it was compiled just now or read from disk.
    """
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"nnan", "ninf", "nsz"})(function))


def _stack(_typing: Any) -> Any:
    untyped: Any = cgutils
    pointer: Any = types.CPointer

    def codegen(_context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        memory = untyped.alloca_once(builder, ir.ArrayType(ir.FloatType(), _CHUNK))
        return builder.bitcast(memory, ir.FloatType().as_pointer())

    return pointer(types.float32)(), codegen


_stack_floats: Any = intrinsic(_stack)
"""Memory for `_CHUNK` numbers on the stack of the calling kernel."""


@_kernel
def _first_rays(reach: float) -> int:
    """Rays of an octant next to the observer: each doubling forgets something, which over long ranges adds up."""
    return max(64, min(1024, 2 * (int(reach) - 256)))


@_kernel
def _rays_of(reach: float, density: float) -> int:
    first = _first_rays(reach)
    wanted = max(first, int(math.ceil(density * reach)))
    step = 1
    while first * step * 2 <= wanted:
        step *= 2
    return -(-wanted // step) * step


def fast_rays(reach: float, density: float) -> int:
    """Rays of an octant at the range: at least ``density`` a cell, a small number times a power of two.

    Examples
    --------
    >>> fast_rays(200, 1.5), fast_rays(100, 1.5), fast_rays(3, 1.5)
    (300, 150, 64)
    """
    return int(_rays_of(reach, density))


def scratch_size(reach: float, density: float) -> int:
    """Columns that the scratch space of `look_fast` needs."""
    return int(scratch_size_of(reach, density))


@_kernel
def scratch_size_of(reach: float, density: float) -> int:
    """`scratch_size` for kernels."""
    return _rays_of(reach, density) + int(reach) + 2 * _CHUNK


@_kernel
def _ordered(bits: np.int32) -> np.int32:
    """The bits of a float as a whole number of the same order; its own inverse."""
    return bits ^ ((bits >> _I(31)) & _MASK)


@_kernel
def _load(
    z: Floats, at: int, step: int, first: int, count: int, low: np.float32, drop: np.float32, line: Floats
) -> None:
    """Heights of a line of cells over the eye."""
    if step == 1:
        for j in range(count):
            along = _F(_I(first + j))
            line[_U(first + j)] = z[_U(at + j)] - low - drop * along * along
    elif step == -1:
        for j in range(count):
            along = _F(_I(first + j))
            line[_U(first + j)] = z[_U(at - j)] - low - drop * along * along
    else:
        for j in range(count):
            along = _F(_I(first + j))
            line[_U(first + j)] = z[_U(at)] - low - drop * along * along
            at += step


@_kernel
def _walk_line(
    line: Floats,
    line_bits: npt.NDArray[np.int32],
    last: Floats,
    horizon: Floats,
    horizon_bits: npt.NDArray[np.int32],
    least: Floats,
    before: Floats,
    number: Floats,
    i: int,
    rays: int,
    k_lo: int,
    k_hi: int,
    top: int,
    j_first: int,
    j_final: int,
    j_last: int,
    target: np.float32,
    seen: npt.NDArray[np.uint8],
    seen_at: int,
    seen_step: int,
) -> None:
    """Tell the targets ``j_first`` to ``j_final`` of line ``i`` and carry the rays ``k_lo`` to ``top`` over it.

    ``least`` holds for each block of rays a number not above its horizon, ``before`` the steepest slope on the line before.
    """
    short = carray(_stack_floats(), (_CHUNK,))
    one = _F(1.0)
    n_rays = _F(rays)
    ray_step = _F(i / rays)
    wedge_step = _F(rays / i)
    inverse = _F(1.0 / i)
    step_before = _F((i - 1) / rays)
    line_before = _F(i - 1)
    per_ray = i / rays
    void = _F(0.5 * VOID_HEIGHT_M)
    bits = number.view(np.int32)
    blocks = (top - k_lo) // _BLOCK + 1
    block = 0
    while block < blocks:
        start = block
        hidden = False
        while block < blocks and block - start < _BLOCKS_AT_ONCE and not hidden:
            k0 = k_lo + block * _BLOCK
            k1 = min(k0 + _BLOCK, top + 1)
            most = -_GREATEST
            for j in range(int(_F(k0) * ray_step), min(int(_F(k1) * ray_step) + 2, j_last + 1) + 1):
                most = max(most, _ordered(line_bits[_U(j)]))
            bits[0] = _ordered(most)
            steepest = (number[0] + target) * inverse
            either = max(steepest, before[block])
            before[block] = steepest
            hidden = either < least[block]
            block += 1
        stop = block - 1 if hidden else block
        if stop == start:
            continue
        k0 = k_lo + start * _BLOCK
        k1 = min(k_lo + stop * _BLOCK, top + 1)
        j0 = j_first if start == 0 else max(j_first, int(math.ceil(k0 * per_ray - 1.0e-6)))
        j1 = j_final if k1 == top + 1 else min(j_final, int(math.ceil(k1 * per_ray - 1.0e-6)) - 1)
        for base in range(j0, j1 + 1, _CHUNK):
            count = min(_CHUNK, j1 + 1 - base)
            for n in range(count):
                at = _F(_I(base + n)) * wedge_step
                whole = _F(_I(at))
                k = np.uint32(_I(at))
                left = horizon[k]
                right = horizon[k + np.uint32(1)]
                height = line[_U(base + n)]
                slope = (height + target) * inverse + _SLACK
                slope = slope if height < void else _NOWHERE
                short[_U(n)] = slope - (left + (right - left) * (at - whole))
            if seen_step == 1:
                for n in range(count):
                    seen[_U(seen_at + base + n)] = np.uint8(short[_U(n)] >= _F(0.0))
            elif seen_step == -1:
                for n in range(count):
                    seen[_U(seen_at - base - n)] = np.uint8(short[_U(n)] >= _F(0.0))
            else:
                place = seen_at + base * seen_step
                for n in range(count):
                    seen[_U(place)] = np.uint8(short[_U(n)] >= _F(0.0))
                    place += seen_step
        count = k1 - k0
        for n in range(count):
            ray = _F(_I(k0 + n))
            y = ray * ray_step
            whole = _F(_I(y))
            cell = np.uint32(_I(y))
            height = line[cell]
            slope = (height + (line[cell + np.uint32(1)] - height) * (y - whole)) * inverse
            best = horizon[_U(k0 + n)]
            best = slope if slope > best else best
            # where the ray crosses a line of the other direction between this line and the one before
            x = whole * n_rays / (ray if ray > one else one)
            earlier = last[cell]
            crossing = (earlier + (height - earlier) * (x - line_before)) / (x if x > one else one)
            crossing = crossing if whole > _F(_I(ray * step_before)) else _NOWHERE
            short[_U(n)] = crossing if crossing > best else best
        for n in range(count):
            horizon[_U(k0 + n)] = short[_U(n)]
        if i % 4 == 0:
            for told in range(start, stop):
                lowest = _GREATEST
                first = k_lo + told * _BLOCK
                for k_at in range(first, min(first + _BLOCK, k_hi) + 1):
                    lowest = min(lowest, _ordered(horizon_bits[_U(k_at)]))
                bits[0] = _ordered(lowest)
                least[told] = number[0]


@_kernel
def _look_octant(
    z: Floats,
    base: int,
    si: int,
    sj: int,
    odd: bool,
    eye: float,
    target: float,
    drop: float,
    reach: float,
    density: float,
    rays_full: int,
    k_from: int,
    k_to: int,
    seen: npt.NDArray[np.uint8],
    seen_base: int,
    seen_si: int,
    seen_sj: int,
    scratch: Floats,
) -> None:
    horizon = scratch[0]
    line = scratch[1]
    last = scratch[2]
    least = scratch[3]
    before = scratch[4]
    number = scratch[5]
    horizon_bits = horizon.view(np.int32)
    reach2 = reach * reach
    halvings = 0
    first_rays = _first_rays(reach)
    while (rays_full >> (halvings + 1)) >= first_rays and (rays_full >> (halvings + 1)) << (halvings + 1) == rays_full:
        halvings += 1
    rays = rays_full >> halvings
    k_lo = k_from >> halvings
    k_hi = -((-k_to) >> halvings)
    blocks = (k_hi - k_lo) // _BLOCK + 1
    horizon[k_lo : k_hi + 2] = _NOWHERE
    least[:blocks] = _NOWHERE
    before[:blocks] = -_NOWHERE
    last[0] = 0.0
    last[1] = 0.0
    for i in range(1, int(reach) + 1):
        if halvings > 0 and i * density > rays:
            halvings -= 1
            for k in range(k_hi, k_lo - 1, -1):
                near = horizon[k]
                horizon[2 * k + 1] = _F(0.5) * (near + horizon[k + 1]) if k < k_hi else near
                horizon[2 * k] = near
            rays = rays_full >> halvings
            k_lo = k_from >> halvings
            k_hi = -((-k_to) >> halvings)
            blocks = (k_hi - k_lo) // _BLOCK + 1
            horizon[k_hi + 1] = horizon[k_hi]
            least[:blocks] = _NOWHERE
            before[:blocks] = -_NOWHERE
        side = math.sqrt(max(reach2 - i * i, 0.0))
        top = min(k_hi, int(rays * side / i) + 1)
        if top < k_lo:
            break
        j_first = max(0, int(k_lo * i / rays) - 1)
        j_last = min(i, int(top * i / rays) + 2)
        low = _F(eye) + _F(drop) * _F(i * i)
        _load(z, base + i * si + j_first * sj, sj, j_first, j_last - j_first + 1, low, _F(drop), line)
        line[j_last + 1] = line[j_last]
        first = max(int(math.ceil(k_from * i / rays_full - 1.0e-6)), 1 if odd else 0)
        final = min(int(math.floor(k_to * i / rays_full + 1.0e-6)), i if odd else i - 1)
        _walk_line(
            line, line.view(np.int32), last, horizon, horizon_bits, least, before, number, i, rays, k_lo, k_hi, top,
            first, min(final, int(side)), j_last, _F(target), seen, seen_base + i * seen_si, seen_sj,
        )  # fmt: skip
        line, last = last, line


@_kernel
def look_fast(
    z: Floats,
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
    scratch: Floats,
    octant_from: int,
    octant_to: int,
) -> None:
    """Mark in ``seen``, which must be empty, the cells that an observer sees within a sector; octants ``octant_from`` up to ``octant_to``.

    Parameters are those of `gis.visibility_fan.look`; ``scratch`` is float32 of shape (`SCRATCH_ROWS`, `scratch_size`).
    """
    rays = _rays_of(reach, density)
    flat = z.reshape(-1)
    flat_seen = seen.reshape(-1)
    width = z.shape[1]
    seen_width = seen.shape[1]
    base = row * width + col
    seen_base = seen_row * seen_width + seen_col
    if flat[base] < 0.5 * VOID_HEIGHT_M:
        flat_seen[seen_base] = 1
    for octant in range(octant_from, octant_to):
        k_lo, k_hi = octant_rays(octant, centre_deg, half_deg, rays)
        if k_hi < 0:
            continue
        ie, inn, je, jn = octant_steps(octant)
        _look_octant(
            flat, base, ie + inn * width, je + jn * width, octant % 2 == 1, eye, target, drop, reach, density, rays, k_lo, k_hi,
            flat_seen, seen_base, ie + inn * seen_width, je + jn * seen_width, scratch,
        )  # fmt: skip
