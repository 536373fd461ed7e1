"""Kernels of the fast mode: a fan whose rays multiply with distance, whole blocks below the horizon left out.

As in `gis.visibility_fan` rays with slopes ``k / rays`` are walked outward line by line and keep the steepest sight slope; a target is
compared with the horizon between its two rays. What makes it fast:

* **Rays multiply.** Near the observer a few rays do; each time their distance reaches a cell or so there are twice as many, the new ones
  beginning with the mean of their neighbours.
* **Blocks below the horizon.** The greatest height of a block of cells tells whether anything in it can be seen or raise the horizon at
  all. The least horizon of a block may be out of date, since a horizon only rises.
* **Loops that compile to vector instructions**: float32, no branches, no division for each ray, lengths that leave no rest, unsigned
  indices (others are checked for wrapping round), and results put into memory of the stack first, which the compiler knows not to overlap
  with what is read. What lies apart is brought together by plain copies before; lines that run across the rows of the surface are taken
  over sixteen at a time.

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

__all__ = ["SCRATCH_ROWS", "fast_rays", "look_fast", "look_fast_shared", "scratch_size", "scratch_size_of"]

Floats = npt.NDArray[np.float32]
Bits = npt.NDArray[np.int32]

_PANEL = 16
"""Lines that are taken over at once where their cells do not lie beside each other."""
SCRATCH_ROWS = 10 + _PANEL
_LANES = 32
"""Rays of a block. Loops go over multiples of this many numbers, so that vector instructions leave no rest to be done one by one."""
_CHUNK = 256

_F = np.float32
_I = np.int32
_U = np.uint64
_NOWHERE = np.float32(-1.0e30)
_SLACK = np.float32(1.0e-6)
_MASK = np.int32(0x7FFFFFFF)
_GREATEST = np.int32(2147483647)
_LEAST = np.int32(-2147483647)


def _kernel[F: Callable[..., Any]](function: F) -> F:
    """As `gis.visibility_fan.kernel`, with comparisons in any order: no value here is infinite or missing.

    Nothing that changes how results are rounded: a kernel has several compiled copies, by itself and in those that call it, and which one
    runs depends on whether it was compiled just now or read from disk.
    """
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"nnan", "ninf", "nsz"})(function))


_Inlined = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"nnan", "ninf", "nsz"}, forceinline=True)


def _inlined[F: Callable[..., Any]](function: F) -> F:
    """As `_kernel`, for parts of a kernel."""
    return cast(F, _Inlined(function))


def _stack(size: int, kind: Any, number: Any) -> Any:
    untyped: Any = cgutils
    pointer: Any = types.CPointer

    def stack(_typing: Any) -> Any:
        def codegen(_context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
            memory = untyped.alloca_once(builder, ir.ArrayType(number, size))
            return builder.bitcast(memory, number.as_pointer())

        return pointer(kind)(), codegen

    return intrinsic(stack)


def _copy(size: int) -> Any:
    def copy(_typing: Any, target: Any, place: Any, source: Any, at: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(signature.args[2])(context, builder, arguments[2])
            vector = ir.VectorType(ir.FloatType(), size).as_pointer()
            read = builder.bitcast(builder.gep(array.data, [arguments[3]]), vector)
            write = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), vector)
            builder.store(builder.load(read, align=4), write, align=4)
            return context.get_dummy_value()

        return types.void(target, types.uint64, source, types.uint64), codegen

    return intrinsic(copy)


def _pointer(_typing: Any, source: Any) -> Any:
    pointer: Any = types.CPointer

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, arguments[0]).data

    return pointer(source.dtype)(source), codegen


def _take(_typing: Any, counter: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.atomic_rmw("add", array.data, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counter), codegen


_stack_floats: Any = _stack(_CHUNK, types.float32, ir.FloatType())
"""Memory for `_CHUNK` numbers on the stack of the calling kernel."""
_stack_ints: Any = _stack(_CHUNK, types.int32, ir.IntType(32))
_stack_picks: Any = _stack(4 * _CHUNK, types.float32, ir.FloatType())
_next: Any = intrinsic(_take)
"""The number in an array of one, which then grows by one; no two threads get the same."""
_copy_2: Any = _copy(2)
"""``target[place : place + 2] = source[at : at + 2]``, from an array to memory that a pointer tells; `_copy_4` and so on likewise.

Numbers that lie beside each other are moved together, one place after the other: instructions that gather single numbers are slow on
processors that are guarded against leaking them."""
_copy_4: Any = _copy(4)
_copy_16: Any = _copy(16)
_pointer_of: Any = intrinsic(_pointer)
"""Where the numbers of an array lie. Arrays made of that are not counted by whoever holds them, which costs more than a line of cells."""


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
    return _rays_of(reach, density) + int(reach) + 12 * _LANES


@_kernel
def _ordered(bits: np.int32) -> np.int32:
    """The bits of a float as a whole number of the same order; its own inverse."""
    return bits ^ ((bits >> _I(31)) & _MASK)


@_inlined
def _full(count: int) -> int:
    """At least so many, a multiple of `_LANES`."""
    return (count + (_LANES - 1)) & -_LANES


@_inlined
def _load(
    z: Floats, at: int, step: int, first: int, last: int, filled: int, low: np.float32, drop: np.float32, lines: Floats, line: int
) -> None:
    """Heights of a line of cells over the eye; behind the last one up to ``filled`` and somewhat farther the last one again."""
    count = last - first + 1
    if step == 1:
        for j in range(count):
            along = _F(_I(first + j))
            lines[_U(line + first + j)] = z[_U(at + j)] - low - drop * along * along
    elif step == -1:
        for j in range(count):
            along = _F(_I(first + j))
            lines[_U(line + first + j)] = z[_U(at - j)] - low - drop * along * along
    else:
        for j in range(count):
            along = _F(_I(first + j))
            lines[_U(line + first + j)] = z[_U(at)] - low - drop * along * along
            at += step
    end = lines[_U(line + last)]
    for n in range(_full(filled + _LANES - last)):
        lines[_U(line + last + 1 + n)] = end


@_inlined
def _tell(
    lines: Floats, line: int, horizon: Floats, first: int, final: int, wedge_step: np.float32, inverse: np.float32, target: np.float32,
    seen: npt.NDArray[np.uint8], seen_at: int, seen_step: int,
) -> None:  # fmt: skip
    """Compare the targets ``first`` to ``final`` of a line with the horizon."""
    short = carray(_stack_floats(), (_CHUNK,))
    places = carray(_stack_ints(), (_CHUNK,))
    picked = _stack_picks()
    picks = carray(picked, (4 * _CHUNK,))
    void = _F(0.5 * VOID_HEIGHT_M)
    for base in range(first, final + 1, _CHUNK):
        count = min(_CHUNK, final + 1 - base)
        for n in range(_full(count)):
            places[_U(n)] = _I(_F(_I(base + n)) * wedge_step)
        for n in range(count):
            _copy_2(picked, _U(2 * n), horizon, _U(places[_U(n)]))
        for n in range(_full(count)):
            at = _F(_I(base + n)) * wedge_step
            left = picks[_U(2 * n)]
            right = picks[_U(2 * n + 1)]
            height = lines[_U(line + base + n)]
            slope = (height + target) * inverse + _SLACK
            slope = slope if height < void else _NOWHERE
            short[_U(n)] = slope - (left + (right - left) * (at - _F(_I(at))))
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


@_inlined
def _carry(
    lines: Floats, line: int, last: int, horizon: Floats, edges: Floats, i: int, rays: int, k0: int, k1: int, ray_step: np.float32,
    step_before: np.float32, inverse: np.float32,
) -> None:  # fmt: skip
    """Carry the rays ``k0`` up to ``k1`` over a line."""
    short = carray(_stack_floats(), (_CHUNK,))
    places = carray(_stack_ints(), (_CHUNK,))
    picked = _stack_picks()
    picks = carray(picked, (4 * _CHUNK,))
    n_rays = _F(rays)
    steps_before = _F(i - 1)
    one = _F(1.0)
    # what a ray needs of the cell that it passes: its slope there is edges[0] + edges[1] * (part of the way to the next cell), and where
    # it crosses the line of the other direction between this line and the one before it is edges[2] + edges[3] * ray
    c0 = int(_F(k0) * ray_step)
    for n in range(_full(int(_F(k1) * ray_step) + 1 - c0)):
        c = c0 + n
        height = lines[_U(line + c)]
        earlier = lines[_U(last + c)]
        rise = height - earlier
        whole = _F(_I(c))
        edges[_U(4 * n)] = height * inverse
        edges[_U(4 * n + 1)] = (lines[_U(line + c + 1)] - height) * inverse
        edges[_U(4 * n + 2)] = rise
        edges[_U(4 * n + 3)] = (earlier - rise * steps_before) / ((whole if whole > one else one) * n_rays)
    first = _I(c0)
    for start in range(k0, k1, _CHUNK):
        count = _full(min(_CHUNK, k1 - start))
        for n in range(count):
            places[_U(n)] = 4 * (_I(_F(_I(start + n)) * ray_step) - first)
        for n in range(count):
            _copy_4(picked, _U(4 * n), edges, _U(places[_U(n)]))
        for n in range(count):
            ray = _F(_I(start + n))
            y = ray * ray_step
            whole = _F(_I(y))
            best = horizon[_U(start + n)]
            slope = picks[_U(4 * n)] + picks[_U(4 * n + 1)] * (y - whole)
            best = slope if slope > best else best
            crossing = picks[_U(4 * n + 2)] + picks[_U(4 * n + 3)] * ray
            crossing = crossing if whole > _F(_I(ray * step_before)) else _NOWHERE
            short[_U(n)] = crossing if crossing > best else best
        for n in range(count):
            horizon[_U(start + n)] = short[_U(n)]


@_inlined
def _walk_line(
    lines: Floats, line_bits: Bits, line: int, last: int, horizon: Floats, horizon_bits: Bits, edges: Floats, least: Floats,
    before: Floats, number: Floats, bits: Bits, i: int, rays: int, k_lo: int, blocks: int, j_first: int, j_final: int, target: np.float32,
    seen: npt.NDArray[np.uint8], seen_at: int, seen_step: int,
) -> None:  # fmt: skip
    """Tell the targets ``j_first`` to ``j_final`` of line ``i`` and carry ``blocks`` of rays from ``k_lo`` over it.

    ``least`` holds for each block of rays a number not above its horizon, ``before`` the steepest slope on the line before, where it was
    looked at.
    """
    ray_step = _F(i / rays)
    wedge_step = _F(rays / i)
    inverse = _F(1.0 / i)
    step_before = _F((i - 1) / rays)
    per_ray = i / rays
    look_again = i % 4 == 0
    block = 0
    while block < blocks:
        start = block
        hidden = False
        while block < blocks and not hidden:
            if look_again or before[_U(block)] < least[_U(block)]:
                k0 = k_lo + block * _LANES
                most = _LEAST
                base = int(_F(k0) * ray_step)
                for n in range((int(_F(k0 + _LANES) * ray_step) + 2 - base + 7) & -8):
                    here = _ordered(line_bits[_U(line + base + n)])
                    most = here if here > most else most
                bits[_U(0)] = _ordered(most)
                steepest = (number[_U(0)] + target) * inverse
                hidden = max(steepest, before[_U(block)]) < least[_U(block)]
                before[_U(block)] = steepest
            else:
                before[_U(block)] = -_NOWHERE
            block += 1
        stop = block - 1 if hidden else block
        if stop == start:
            continue
        k0 = k_lo + start * _LANES
        k1 = k_lo + stop * _LANES
        j0 = j_first if start == 0 else max(j_first, int(math.ceil(k0 * per_ray - 1.0e-6)))
        j1 = j_final if stop == blocks else min(j_final, int(math.ceil(k1 * per_ray - 1.0e-6)) - 1)
        _tell(lines, line, horizon, j0, j1, wedge_step, inverse, target, seen, seen_at, seen_step)
        _carry(lines, line, last, horizon, edges, i, rays, k0, k1, ray_step, step_before, inverse)
        if look_again:
            for told in range(start, stop):
                lowest = _GREATEST
                first = k_lo + told * _LANES
                for n in range(_LANES):
                    here = _ordered(horizon_bits[_U(first + n)])
                    lowest = here if here < lowest else lowest
                here = _ordered(horizon_bits[_U(first + _LANES)])
                bits[_U(0)] = _ordered(here if here < lowest else lowest)
                least[_U(told)] = number[_U(0)]


@_inlined
def _fill_panel(
    z: Floats, base: int, si: int, sj: int, i: int, lines: int, j_first: int, j_last: int, panel: Floats
) -> None:
    """Take over the cells ``j_first`` to ``j_last`` of ``lines`` lines from ``i`` on, those with the same ``j`` beside each other."""
    at = base + i * si + j_first * sj
    if lines == _PANEL:
        to = _pointer_of(panel)
        shift = 0 if si == 1 else 1 - _PANEL
        for j in range(j_first, j_last + 1):
            _copy_16(to, _U(j * _PANEL), z, _U(at + shift))
            at += sj
        return
    for j in range(j_first, j_last + 1):
        for n in range(lines):
            panel[_U(j * _PANEL + (n if si == 1 else _PANEL - 1 - n))] = z[_U(at + n * si)]
        at += sj


@_kernel
def _look_octant(
    z: Floats, base: int, si: int, sj: int, odd: bool, eye: float, target: float, drop: float, reach: float, density: float,
    rays_full: int, k_from: int, k_to: int, seen: npt.NDArray[np.uint8], seen_base: int, seen_si: int, seen_sj: int, horizon: Floats,
    horizon_bits: Bits, lines: Floats, line_bits: Bits, width: int, least: Floats, before: Floats, number: Floats, number_bits: Bits,
    edges: Floats, panel: Floats,
) -> None:  # fmt: skip
    reach2 = reach * reach
    far = int(reach)
    halvings = 0
    first_rays = _first_rays(reach)
    while (rays_full >> (halvings + 1)) >= first_rays and (rays_full >> (halvings + 1)) << (halvings + 1) == rays_full:
        halvings += 1
    rays = rays_full >> halvings
    k_lo = k_from >> halvings
    k_hi = -((-k_to) >> halvings)
    blocks = (k_hi - k_lo) // _LANES + 1
    for k in range(k_lo, k_lo + (blocks + 1) * _LANES):
        horizon[_U(k)] = _NOWHERE
    for block in range(blocks):
        least[_U(block)] = _NOWHERE
        before[_U(block)] = -_NOWHERE
    for j in range(4 * _LANES):
        lines[_U(j)] = _F(0.0)
        lines[_U(width + j)] = _F(0.0)
    line = 0
    for i in range(1, far + 1):
        if halvings > 0 and i * density > rays:
            halvings -= 1
            for k in range(k_hi, k_lo - 1, -1):
                near = horizon[_U(k)]
                horizon[_U(2 * k + 1)] = _F(0.5) * (near + horizon[_U(k + 1)]) if k < k_hi else near
                horizon[_U(2 * k)] = near
            rays = rays_full >> halvings
            k_lo = k_from >> halvings
            k_hi = -((-k_to) >> halvings)
            blocks = (k_hi - k_lo) // _LANES + 1
            for k in range(k_hi + 1, k_lo + (blocks + 1) * _LANES):
                horizon[_U(k)] = horizon[_U(k_hi)]
            for block in range(blocks):
                least[_U(block)] = _NOWHERE
                before[_U(block)] = -_NOWHERE
        side = math.sqrt(max(reach2 - i * i, 0.0))
        top = min(k_hi, int(rays * side / i) + 1)
        if top < k_lo:
            break
        here = (top - k_lo) // _LANES + 1
        j_first = max(0, int(k_lo * i / rays) - 1)
        filled = int((k_lo + here * _LANES) * i / rays) + 2 * _LANES
        j_last = min(i, filled)
        low = _F(eye) + _F(drop) * _F(i * i)
        if sj == 1 or sj == -1:
            _load(z, base + i * si + j_first * sj, sj, j_first, j_last, filled, low, _F(drop), lines, line)
        else:
            n = (i - 1) % _PANEL
            if n == 0:
                many = min(_PANEL, far + 1 - i)
                # no line of the panel needs a cell behind these
                steps = (i + many - 1) / rays
                most = min(int((k_hi + 2 * _LANES) * steps), int(side + 2 * _LANES * steps)) + 2 * _LANES
                _fill_panel(z, base, si, sj, i, many, j_first, min(i + many - 1, most), panel)
            at = j_first * _PANEL + (n if si == 1 else _PANEL - 1 - n)
            _load(panel, at, _PANEL, j_first, j_last, filled, low, _F(drop), lines, line)
        first = max(int(math.ceil(k_from * i / rays_full - 1.0e-6)), 1 if odd else 0)
        final = min(int(math.floor(k_to * i / rays_full + 1.0e-6)), i if odd else i - 1)
        _walk_line(
            lines, line_bits, line, width - line, horizon, horizon_bits, edges, least, before, number, number_bits, i, rays, k_lo, here,
            first, min(final, int(side)), _F(target), seen, seen_base + i * seen_si, seen_sj,
        )  # fmt: skip
        line = width - line


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
    flat = carray(_pointer_of(z), (z.size,))
    flat_seen = carray(_pointer_of(seen), (seen.size,))
    width = z.shape[1]
    seen_width = seen.shape[1]
    base = row * width + col
    seen_base = seen_row * seen_width + seen_col
    if flat[_U(base)] < 0.5 * VOID_HEIGHT_M:
        flat_seen[_U(seen_base)] = 1
    columns = scratch.shape[1]
    horizon = carray(_pointer_of(scratch[0]), (columns,))
    lines = carray(_pointer_of(scratch[1:3]), (2 * columns,))
    least = carray(_pointer_of(scratch[3]), (columns,))
    before = carray(_pointer_of(scratch[4]), (columns,))
    number = carray(_pointer_of(scratch[5]), (columns,))
    edges = carray(_pointer_of(scratch[6:10]), (4 * columns,))
    panel = carray(_pointer_of(scratch[10:]), (_PANEL * columns,))
    horizon_bits, line_bits, number_bits = horizon.view(np.int32), lines.view(np.int32), number.view(np.int32)
    for octant in range(octant_from, octant_to):
        k_lo, k_hi = octant_rays(octant, centre_deg, half_deg, rays)
        if k_hi < 0:
            continue
        ie, inn, je, jn = octant_steps(octant)
        _look_octant(
            flat, base, ie + inn * width, je + jn * width, octant % 2 == 1, eye, target, drop, reach, density, rays, k_lo, k_hi,
            flat_seen, seen_base, ie + inn * seen_width, je + jn * seen_width, horizon, horizon_bits, lines, line_bits, columns,
            least, before, number, number_bits, edges, panel,
        )  # fmt: skip


@_kernel
def look_fast_shared(
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
    taken: npt.NDArray[np.int64],
) -> None:
    """As `look_fast`, all octants, for several threads at once, each with scratch space of its own: ``taken``, one number, 0 at first, is theirs."""
    octant = _next(taken)
    while octant < 8:
        look_fast(
            z, row, col, eye, target, drop, reach, centre_deg, half_deg, density, seen, seen_row, seen_col, scratch, octant, octant + 1
        )  # fmt: skip
        octant = _next(taken)
