"""Kernel: angular sweep over the edges that face an eye.

Angles are measured by a pseudo-angle, a monotone stand-in that needs no trigonometry: 0 to 4, one for each quarter
turn, counter-clockwise from the start of the sector.
"""

import math

import numpy as np
import numpy.typing as npt

from gis.visibility_fan import kernel

__all__ = ["sweep"]

Floats = npt.NDArray[np.float64]
BINS = 256


@kernel
def _pseudo(x: float, y: float) -> float:
    """0 at +x, 1 at +y, 2 at -x, 3 at -y."""
    if y >= 0.0:
        return y / (x + y) if x >= 0.0 else 1.0 - x / (y - x)
    return 2.0 - y / (-x - y) if x < 0.0 else 3.0 + x / (x - y)


@kernel
def _direction(a: float) -> tuple[float, float]:
    """A vector (not of length one) at a pseudo-angle."""
    if a < 1.0:
        return 1.0 - a, a
    if a < 2.0:
        return 1.0 - a, 2.0 - a
    if a < 3.0:
        return a - 3.0, 2.0 - a
    return a - 3.0, a - 4.0


@kernel
def _hit(px: Floats, k: int, dx: float, dy: float) -> float:
    """How many times the vector (dx, dy) reaches the line of piece ``k``."""
    ex = px[k, 2] - px[k, 0]
    ey = px[k, 3] - px[k, 1]
    across = dx * ey - dy * ex
    return (px[k, 0] * ey - px[k, 1] * ex) / across if across != 0.0 else 1.0e300


@kernel
def _one(
    ends: Floats,
    west: float,
    south: float,
    cell: float,
    first: npt.NDArray[np.int64],
    edge: npt.NDArray[np.int32],
    rows: int,
    cols: int,
    x: float,
    y: float,
    radius: float,
    azimuth: float,
    view: float,
    arc_step: float,
    met: npt.NDArray[np.int64],
    stamp: int,
    depth: Floats,
    side: Floats,
    pieces: Floats,
    angles: Floats,
    active: npt.NDArray[np.int32],
    where: npt.NDArray[np.int32],
    out: Floats,
    at: int,
) -> int:
    """Write the ring of one eye from ``out[at]`` on.

    Returns the end, or -1 when ``pieces`` is too small and -2 when ``out`` is.
    """
    whole = view >= 360.0
    begin = math.radians(90.0 - azimuth - (0.0 if whole else view / 2.0))
    cosine = math.cos(begin)
    sine = math.sin(begin)
    turn = 4.0 if whole else _pseudo(math.cos(math.radians(view)), math.sin(math.radians(view)))
    bins = len(depth)
    per = bins / 4.0
    last_bin = min(bins - 1, int(turn * per))
    for b in range(bins):
        depth[b] = radius if b <= last_bin else 0.0
    count = 0
    r2 = radius * radius
    # --- edges that face the eye, ring by ring
    gx = int(math.floor((x - west) / cell))
    gy = int(math.floor((y - south) / cell))
    inner = min(
        min(x - west - gx * cell, (gx + 1) * cell - x + west), min(y - south - gy * cell, (gy + 1) * cell - y + south)
    )
    last_ring = max(max(abs(gx), abs(cols - 1 - gx)), max(abs(gy), abs(rows - 1 - gy)))
    # an eye far outside the grid starts with the first ring that meets it
    ring = max(0, max(max(-gx, gx - cols + 1), max(-gy, gy - rows + 1)))
    while ring <= last_ring:
        farthest = 0.0
        for b in range(last_bin + 1):
            farthest = max(farthest, depth[b])
        if ring > 0 and (ring - 1) * cell + inner > farthest:
            break
        for row in range(max(gy - ring, 0), min(gy + ring, rows - 1) + 1):
            edge_row = row == gy - ring or row == gy + ring
            step = 1 if edge_row or ring == 0 else 2 * ring
            for col in range(gx - ring, gx + ring + 1, step):
                if col < 0 or col >= cols:
                    continue
                begin_edge = first[row * cols + col]
                end_edge = first[row * cols + col + 1]
                if begin_edge == end_edge:
                    continue
                if ring > 2:  # a cell behind closed bins need not be looked into
                    ox = west + (col + 0.5) * cell - x
                    oy = south + (row + 0.5) * cell - y
                    away = math.sqrt(ox * ox + oy * oy)
                    middle = _pseudo(ox * cosine + oy * sine, oy * cosine - ox * sine) * per
                    wide = 0.75 * cell / away * per  # half a diagonal, as seen from here, and some
                    inside = False
                    for b in range(math.floor(middle - wide), math.floor(middle + wide) + 1):
                        if depth[b % bins] > away - 0.7072 * cell:
                            inside = True
                            break
                    if not inside:
                        continue
                for s in range(begin_edge, end_edge):
                    k = edge[s]
                    if met[k] == stamp:
                        continue
                    met[k] = stamp
                    ax = ends[k, 0] - x
                    ay = ends[k, 1] - y
                    bx = ends[k, 2] - x
                    by = ends[k, 3] - y
                    if ax * by - ay * bx >= 0.0:  # it shows its back
                        continue
                    # turned so that angles rise, in the frame of the sector
                    x1 = bx * cosine + by * sine
                    y1 = by * cosine - bx * sine
                    x2 = ax * cosine + ay * sine
                    y2 = ay * cosine - ax * sine
                    ex = x2 - x1
                    ey = y2 - y1
                    length2 = ex * ex + ey * ey
                    t = -(x1 * ex + y1 * ey) / length2
                    foot = min(max(t, 0.0), 1.0)
                    nx = x1 + foot * ex
                    ny = y1 + foot * ey
                    nearest = math.sqrt(nx * nx + ny * ny)
                    if nearest >= radius:
                        continue
                    # what lies within the circle
                    if x1 * x1 + y1 * y1 > r2 or x2 * x2 + y2 * y2 > r2:
                        off2 = (x1 + t * ex) ** 2 + (y1 + t * ey) ** 2
                        half = math.sqrt(max(r2 - off2, 0.0) / length2)
                        t0 = max(t - half, 0.0)
                        t1 = min(t + half, 1.0)
                        if t0 >= t1:
                            continue
                        if t1 < 1.0:  # ends within the circle stay to the bit, so that neighbours still meet
                            x2 = x1 + t1 * ex
                            y2 = y1 + t1 * ey
                        if t0 > 0.0:
                            x1 += t0 * ex
                            y1 += t0 * ey
                    # an edge across the start of the sector is cut there
                    cuts = (
                        2 if y1 < 0.0 <= y2 and x1 * y2 - x2 * y1 > 0.0 and x1 + (x2 - x1) * y1 / (y1 - y2) > 0.0 else 1
                    )
                    xc = x1 + (x2 - x1) * y1 / (y1 - y2) if cuts == 2 else 0.0
                    for half_piece in range(cuts):
                        sx, sy, tx, ty = x1, y1, x2, y2
                        if cuts == 2:
                            if half_piece == 0:
                                tx, ty = xc, 0.0
                            else:
                                sx, sy = xc, 0.0
                        a1 = _pseudo(sx, sy)
                        a2 = 4.0 if cuts == 2 and half_piece == 0 else _pseudo(tx, ty)
                        if a2 <= a1 or a1 >= turn:
                            continue
                        b1 = int(a1 * per)
                        b2 = min(int(a2 * per), last_bin)
                        open_ = False
                        for b in range(b1, b2 + 1):
                            if nearest <= depth[b]:
                                open_ = True
                                break
                        if not open_:
                            continue
                        if count >= len(pieces):
                            return -1
                        pieces[count, 0] = sx
                        pieces[count, 1] = sy
                        pieces[count, 2] = tx
                        pieces[count, 3] = ty
                        angles[count, 0] = a1
                        angles[count, 1] = min(a2, turn)
                        angles[count, 2] = nearest
                        # bins that the piece fills are closed behind it
                        b1 += 1
                        if a2 * per < b2 + 1:
                            b2 -= 1
                        if b1 <= b2:
                            reach = _hit(pieces, count, side[b1, 0], side[b1, 1])
                            for b in range(b1, b2 + 1):
                                next_reach = _hit(pieces, count, side[b + 1, 0], side[b + 1, 1])
                                # along a straight edge the greatest distance in a bin stands at its sides
                                depth[b] = min(depth[b], max(reach, next_reach))
                                reach = next_reach
                        count += 1
        ring += 1
    # what was kept before nearer edges closed its directions is dropped now
    kept = 0
    for k in range(count):
        nearest = angles[k, 2]
        open_ = False
        for b in range(int(angles[k, 0] * per), min(int(angles[k, 1] * per), last_bin) + 1):
            if nearest <= depth[b]:
                open_ = True
                break
        if open_:
            if kept < k:
                pieces[kept, :] = pieces[k, :]
                angles[kept, :] = angles[k, :]
            kept += 1
    count = kept
    # --- sweep
    n_events = 2 * count + 5
    keys = np.empty(n_events, dtype=np.float64)
    what = np.empty(n_events, dtype=np.int32)
    for k in range(count):
        keys[2 * k] = angles[k, 0]
        what[2 * k] = k + 1
        keys[2 * k + 1] = angles[k, 1]
        what[2 * k + 1] = -(k + 1)
    for q in range(5):  # no interval is wider than a quarter turn
        keys[2 * count + q] = min(float(q), turn)
        what[2 * count + q] = 0
    order = np.argsort(keys)
    start = at
    room = len(out) - 8
    if not whole:
        out[at, 0] = x
        out[at, 1] = y
        at += 1
    n_active = 0
    current = -2  # -1: nothing within the range; -2: not begun
    e = 0
    while e < n_events:
        here = keys[order[e]]
        while e < n_events and keys[order[e]] <= here + 1.0e-13:
            w = what[order[e]]
            if w > 0:
                active[n_active] = w - 1
                where[w - 1] = n_active
                n_active += 1
            elif w < 0:
                k = -w - 1
                n_active -= 1
                moved = active[n_active]
                active[where[k]] = moved
                where[moved] = where[k]
            e += 1
        done = e >= n_events or here >= turn
        after = turn if done else keys[order[e]]
        best = -1
        if not done:
            mx, my = _direction(0.5 * (here + after))
            closest = 1.0e300
            for q in range(n_active):
                reach = _hit(pieces, active[q], mx, my)
                if reach < closest:
                    closest = reach
                    best = active[q]
        if best == current and best >= 0 and not done:
            continue
        if at + 4 > room:
            return -2
        dx, dy = _direction(here)
        norm = math.sqrt(dx * dx + dy * dy)
        # where the last one ends
        px = 0.0
        py = 0.0
        wrote = False
        if current >= 0:
            if angles[current, 1] == here and here < turn:
                px, py = pieces[current, 2], pieces[current, 3]
            else:
                reach = _hit(pieces, current, dx, dy)
                px, py = dx * reach, dy * reach
            out[at, 0] = x + px * cosine - py * sine
            out[at, 1] = y + px * sine + py * cosine
            at += 1
            wrote = True
        elif current == -1 and done:  # the end of an arc
            out[at, 0] = x + radius / norm * (dx * cosine - dy * sine)
            out[at, 1] = y + radius / norm * (dx * sine + dy * cosine)
            at += 1
        if done:
            break
        # where the next one begins
        if best >= 0:
            if angles[best, 0] == here:
                qx, qy = pieces[best, 0], pieces[best, 1]
            else:
                reach = _hit(pieces, best, dx, dy)
                qx, qy = dx * reach, dy * reach
            if current == -1 and qx * qx + qy * qy < r2 * (
                1.0 - 1.0e-9
            ):  # the end of an arc, unless the edge begins on the circle
                out[at, 0] = x + radius / norm * (dx * cosine - dy * sine)
                out[at, 1] = y + radius / norm * (dx * sine + dy * cosine)
                at += 1
            if not wrote or qx != px or qy != py:
                out[at, 0] = x + qx * cosine - qy * sine
                out[at, 1] = y + qx * sine + qy * cosine
                at += 1
        else:  # along the range circle
            ux, uy = _direction(after)
            angle = math.atan2(dy, dx)
            span = math.atan2(uy, ux) - angle
            if span < 0.0:
                span += 2.0 * math.pi
            steps = max(1, int(math.ceil(span / math.radians(arc_step) - 1e-9)))
            if at + steps > room:
                return -2
            on_circle = wrote and px * px + py * py >= r2 * (1.0 - 1.0e-9)
            for q in range(1 if on_circle else 0, steps):
                px = radius * math.cos(angle + span * q / steps)
                py = radius * math.sin(angle + span * q / steps)
                out[at, 0] = x + px * cosine - py * sine
                out[at, 1] = y + px * sine + py * cosine
                at += 1
        current = best
    out[at, 0] = out[start, 0]
    out[at, 1] = out[start, 1]
    return at + 1


@kernel
def sweep(
    ends: Floats,
    west: float,
    south: float,
    cell: float,
    first: npt.NDArray[np.int64],
    edge: npt.NDArray[np.int32],
    rows: int,
    cols: int,
    xs: Floats,
    ys: Floats,
    radius: Floats,
    azimuth: Floats,
    view: Floats,
    arc_step: float,
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Rings of many eyes: corners (m, 2) and the first corner of each ring, with the end."""
    n = len(xs)
    starts = np.zeros(n + 1, dtype=np.int64)
    met = np.full(len(ends), -1, dtype=np.int64)
    depth = np.empty(BINS, dtype=np.float64)
    side = np.empty((BINS + 1, 2), dtype=np.float64)  # unit vectors along the sides of the bins
    for b in range(BINS + 1):
        dx, dy = _direction(4.0 * b / BINS)
        norm = math.sqrt(dx * dx + dy * dy)
        side[b, 0] = dx / norm
        side[b, 1] = dy / norm
    room = 512
    pieces = np.empty((room, 4), dtype=np.float64)
    angles = np.empty((room, 3), dtype=np.float64)
    active = np.empty(room + 1, dtype=np.int32)
    where = np.empty(room + 1, dtype=np.int32)
    out = np.empty((4096 + 64 * n, 2), dtype=np.float64)
    at = 0
    stamp = 0
    for q in range(n):
        while True:
            stamp += 1
            end = _one(
                ends,
                west,
                south,
                cell,
                first,
                edge,
                rows,
                cols,
                xs[q],
                ys[q],
                radius[q],
                azimuth[q],
                view[q],
                arc_step,
                met,
                stamp,
                depth,
                side,
                pieces,
                angles,
                active,
                where,
                out,
                at,
            )
            if end >= 0:
                break
            if end == -1:
                room *= 2
                pieces = np.empty((room, 4), dtype=np.float64)
                angles = np.empty((room, 3), dtype=np.float64)
                active = np.empty(room + 1, dtype=np.int32)
                where = np.empty(room + 1, dtype=np.int32)
            else:
                larger = np.empty((2 * len(out), 2), dtype=np.float64)
                larger[:at] = out[:at]
                out = larger
        at = end
        starts[q + 1] = at
    return out[:at].copy(), starts
