"""Inner loops of districting.

Matching, contraction, growing, and a k-way Fiduccia–Mattheyses search that never breaks a part.

A graph is ``ptr``, ``idx`` (compressed rows), ``length`` (worth of keeping each pair together, both directions) and
``weight`` of each vertex. ``part[v]`` is the part of a vertex; ``low`` and ``high`` bound the weight of each part.
``fixed_part[v]`` ≥ 0 pins a vertex.

What is minimised: length cut + ``alpha`` · Σ (weight outside bounds / mean weight of a part)² + weight moved from
``home`` · ``stay``.
"""

import heapq
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

type Array = npt.NDArray[Any]

__all__ = ["components", "contract", "grow", "hops", "match", "part_pieces", "penalty", "refine"]


@njit(cache=True, nogil=True)
def components(ptr: Array, idx: Array) -> Any:
    """Connected component of every vertex, numbered by first vertex."""
    n = ptr.size - 1
    label = np.full(n, -1, np.int64)
    queue = np.empty(n, np.int64)
    number = 0
    for start in range(n):
        if label[start] >= 0:
            continue
        label[start] = number
        queue[0] = start
        tail = 1
        at = 0
        while at < tail:
            v = queue[at]
            at += 1
            for e in range(ptr[v], ptr[v + 1]):
                u = idx[e]
                if label[u] < 0:
                    label[u] = number
                    queue[tail] = u
                    tail += 1
        number += 1
    return label


@njit(cache=True, nogil=True)
def part_pieces(ptr: Array, idx: Array, part: Array) -> Any:
    """Connected piece of every vertex within its part, numbered by first vertex."""
    n = ptr.size - 1
    label = np.full(n, -1, np.int64)
    queue = np.empty(n, np.int64)
    number = 0
    for start in range(n):
        if label[start] >= 0:
            continue
        label[start] = number
        queue[0] = start
        tail = 1
        at = 0
        while at < tail:
            v = queue[at]
            at += 1
            for e in range(ptr[v], ptr[v + 1]):
                u = idx[e]
                if label[u] < 0 and part[u] == part[v]:
                    label[u] = number
                    queue[tail] = u
                    tail += 1
        number += 1
    return label


@njit(cache=True, nogil=True)
def hops(ptr: Array, idx: Array, starts: Array, closed: Array) -> Any:
    """Steps from the nearest of ``starts`` to every vertex, and the vertex before it.

    Not through ``closed`` vertices; -1 where there is no way.
    """
    n = ptr.size - 1
    steps = np.full(n, -1, np.int64)
    before = np.full(n, -1, np.int64)
    queue = np.empty(n, np.int64)
    tail = 0
    for s in starts:
        if steps[s] < 0:
            steps[s] = 0
            queue[tail] = s
            tail += 1
    at = 0
    while at < tail:
        v = queue[at]
        at += 1
        for e in range(ptr[v], ptr[v + 1]):
            u = idx[e]
            if steps[u] < 0 and not closed[u]:
                steps[u] = steps[v] + 1
                before[u] = v
                queue[tail] = u
                tail += 1
    return steps, before


@njit(cache=True, nogil=True)
def match(
    ptr: Array, idx: Array, length: Array, weight: Array, part: Array, fixed_part: Array, order: Array, heaviest: float
) -> Any:
    """Heavy-edge matching within parts: cluster number of every vertex.

    Vertices are joined in pairs along the longest border per weight; never across parts or different pins, never above
    ``heaviest``.
    """
    n = ptr.size - 1
    cmap = np.full(n, -1, np.int64)
    number = 0
    for at in range(n):
        v = order[at]
        if cmap[v] >= 0:
            continue
        best = -1
        best_key = -1.0
        for e in range(ptr[v], ptr[v + 1]):
            u = idx[e]
            if cmap[u] >= 0 or u == v or part[u] != part[v] or weight[u] + weight[v] > heaviest:
                continue
            if fixed_part[u] != fixed_part[v]:
                continue
            if length[e] > best_key:
                best_key = length[e]
                best = u
        cmap[v] = number
        if best >= 0:
            cmap[best] = number
        number += 1
    return cmap, number


@njit(cache=True, nogil=True)
def contract(ptr: Array, idx: Array, length: Array, cmap: Array, number: int) -> Any:
    """Graph of clusters: rows compressed, lengths summed, loops dropped."""
    n = ptr.size - 1
    count = np.zeros(number + 1, np.int64)
    for v in range(n):
        count[cmap[v] + 1] += 1
    for c in range(number):
        count[c + 1] += count[c]
    fill = count[:number].copy()
    members = np.empty(n, np.int64)
    for v in range(n):
        members[fill[cmap[v]]] = v
        fill[cmap[v]] += 1
    new_ptr = np.zeros(number + 1, np.int64)
    new_idx = np.empty(idx.size, np.int64)
    new_length = np.empty(idx.size, np.float64)
    place = np.full(number, -1, np.int64)
    tail = 0
    for c in range(number):
        begin = tail
        for at in range(count[c], count[c + 1]):
            v = members[at]
            for e in range(ptr[v], ptr[v + 1]):
                d = cmap[idx[e]]
                if d == c:
                    continue
                if place[d] >= begin:
                    new_length[place[d]] += length[e]
                else:
                    place[d] = tail
                    new_idx[tail] = d
                    new_length[tail] = length[e]
                    tail += 1
        new_ptr[c + 1] = tail
    return new_ptr, new_idx[:tail].copy(), new_length[:tail].copy()


@njit(cache=True, nogil=True)
def grow(
    ptr: Array, idx: Array, length: Array, weight: Array, k: int, seeds: Array, fixed_part: Array, goal: Array
) -> Any:
    """Grow ``k`` parts from ``seeds``.

    Always the part that is lightest for its goal takes the neighbour it shares most border with.

    ``seeds[p]`` is the first vertex of part ``p`` (-1: its pinned vertices are). Every vertex that can be reached is
    taken; others stay -1.
    """
    n = ptr.size - 1
    part = np.full(n, -1, np.int64)
    load = np.zeros(k)
    frontiers: list[Any] = [[(0.0, np.int64(-1))] for _ in range(k)]
    for p in range(k):
        frontiers[p].clear()
    for v in range(n):
        if fixed_part[v] >= 0:
            part[v] = fixed_part[v]
            load[fixed_part[v]] += weight[v]
    for p in range(k):
        if seeds[p] >= 0 and part[seeds[p]] < 0:
            part[seeds[p]] = p
            load[p] += weight[seeds[p]]
    for v in range(n):
        if part[v] >= 0:
            for e in range(ptr[v], ptr[v + 1]):
                if part[idx[e]] < 0:
                    heapq.heappush(frontiers[part[v]], (-length[e], np.int64(idx[e])))
    parts: list[Any] = [(load[p] / goal[p], np.int64(p)) for p in range(k)]
    heapq.heapify(parts)
    while len(parts) > 0:
        _, p = heapq.heappop(parts)
        taken = False
        while len(frontiers[p]) > 0:
            _, v = heapq.heappop(frontiers[p])
            if part[v] >= 0:
                continue
            part[v] = p
            load[p] += weight[v]
            for e in range(ptr[v], ptr[v + 1]):
                u = idx[e]
                if part[u] < 0:
                    total = 0.0
                    for f in range(ptr[u], ptr[u + 1]):
                        if part[idx[f]] == p:
                            total += length[f]
                        elif part[idx[f]] >= 0:
                            total -= 0.5 * length[f]
                    heapq.heappush(frontiers[p], (-total, np.int64(u)))
            taken = True
            break
        if taken:
            heapq.heappush(parts, (load[p] / goal[p], np.int64(p)))
    return part


@njit(cache=True, nogil=True)
def penalty(load: float, low: float, high: float, mean: float) -> float:
    """Square of the share of ``mean`` by which ``load`` is outside its bounds."""
    out = 0.0
    if load > high:
        out = (load - high) / mean
    elif load < low:
        out = (low - load) / mean
    return out * out


@njit(cache=True, nogil=True)
def _stays_whole(v: int, ptr: Array, idx: Array, part: Array, seen: Array, stamp: int, queue: Array) -> Any:
    """Whether the part of ``v`` stays in one piece without it: all its neighbours there reach each other."""
    p = part[v]
    wanted = 0
    first = -1
    for e in range(ptr[v], ptr[v + 1]):
        u = idx[e]
        if u != v and part[u] == p:
            wanted += 1
            first = u
    if wanted <= 1:
        return True
    target = stamp
    for e in range(ptr[v], ptr[v + 1]):
        u = idx[e]
        if u != v and part[u] == p:
            seen[u] = -target
    seen[v] = target
    found = 1
    seen[first] = target
    queue[0] = first
    tail = 1
    at = 0
    while at < tail:
        w = queue[at]
        at += 1
        for e in range(ptr[w], ptr[w + 1]):
            u = idx[e]
            if part[u] != p or seen[u] == target:
                continue
            if seen[u] == -target:
                found += 1
                if found == wanted:
                    return True
            seen[u] = target
            queue[tail] = u
            tail += 1
    return found == wanted


@njit(cache=True, nogil=True)
def _best_move(
    v: int,
    ptr: Array,
    idx: Array,
    length: Array,
    weight: Array,
    part: Array,
    load: Array,
    low: Array,
    high: Array,
    mean: float,
    alpha: float,
    home: Array,
    stay: float,
) -> Any:
    """Gain and part of the best move of ``v`` to a part it borders; ``(-inf, -1)`` where it borders none."""
    p = part[v]
    own = 0.0
    best = -np.inf
    best_part = -1
    for e in range(ptr[v], ptr[v + 1]):
        if part[idx[e]] == p and idx[e] != v:
            own += length[e]
    w = weight[v]
    relief = penalty(load[p], low[p], high[p], mean) - penalty(load[p] - w, low[p], high[p], mean)
    leaving = stay * max(w, 1e-9 * mean) / mean if home[v] == p else 0.0
    for e in range(ptr[v], ptr[v + 1]):
        q = part[idx[e]]
        if q == p or q < 0:
            continue
        fresh = True
        for f in range(ptr[v], e):
            if part[idx[f]] == q:
                fresh = False
                break
        if not fresh:
            continue
        other = 0.0
        for f in range(e, ptr[v + 1]):
            if part[idx[f]] == q:
                other += length[f]
        burden = penalty(load[q] + w, low[q], high[q], mean) - penalty(load[q], low[q], high[q], mean)
        coming = stay * max(w, 1e-9 * mean) / mean if home[v] == q else 0.0
        gain = other - own + alpha * (relief - burden) - leaving + coming
        if gain > best:
            best = gain
            best_part = q
    return best, best_part


@njit(cache=True, nogil=True)
def refine(
    ptr: Array,
    idx: Array,
    length: Array,
    weight: Array,
    part: Array,
    k: int,
    low: Array,
    high: Array,
    mean: float,
    alpha: float,
    fixed_part: Array,
    home: Array,
    stay: float,
    passes: int,
    patience: int,
) -> Any:
    """Improve ``part`` in place.

    Passes of best moves, worse ones too, each vertex once a pass, then back to the best state met.

    Only moves that leave the part of the vertex in one piece and not empty are made, so parts that are connected stay
    connected. Returns the gain in what is minimised.
    """
    n = ptr.size - 1
    load = np.zeros(k)
    members = np.zeros(k, np.int64)
    for v in range(n):
        load[part[v]] += weight[v]
        members[part[v]] += 1
    seen = np.zeros(n, np.int64)
    queue = np.empty(n + 1, np.int64)
    stamp = 0
    locked = np.zeros(n, np.int64)
    log_vertex = np.empty(n, np.int64)
    log_part = np.empty(n, np.int64)
    gained = 0.0
    for turn in range(1, passes + 1):
        heap: list[Any] = [(0.0, np.int64(0), np.int64(0))]
        heap.clear()
        for v in range(n):
            if fixed_part[v] >= 0:
                continue
            for e in range(ptr[v], ptr[v + 1]):
                if part[idx[e]] != part[v]:
                    gain, q = _best_move(v, ptr, idx, length, weight, part, load, low, high, mean, alpha, home, stay)
                    if q >= 0:
                        heap.append((-gain, np.int64(v), np.int64(q)))
                    break
        heapq.heapify(heap)
        moves = 0
        total = 0.0
        best_total = 0.0
        best_moves = 0
        while len(heap) > 0 and moves - best_moves < patience:
            key, v, _ = heapq.heappop(heap)
            if locked[v] == turn:
                continue
            gain, q = _best_move(v, ptr, idx, length, weight, part, load, low, high, mean, alpha, home, stay)
            if q < 0:
                continue
            if gain < -key - 1e-12 and len(heap) > 0 and gain < -heap[0][0]:
                heapq.heappush(heap, (-gain, v, np.int64(q)))
                continue
            p = part[v]
            if members[p] <= 1:
                continue
            stamp += 1
            if not _stays_whole(v, ptr, idx, part, seen, stamp, queue):
                continue
            part[v] = q
            load[p] -= weight[v]
            load[q] += weight[v]
            members[p] -= 1
            members[q] += 1
            locked[v] = turn
            log_vertex[moves] = v
            log_part[moves] = p
            moves += 1
            total += gain
            if total > best_total + 1e-9:
                best_total = total
                best_moves = moves
            for e in range(ptr[v], ptr[v + 1]):
                u = idx[e]
                if locked[u] != turn and fixed_part[u] < 0:
                    gain, r = _best_move(u, ptr, idx, length, weight, part, load, low, high, mean, alpha, home, stay)
                    if r >= 0:
                        heapq.heappush(heap, (-gain, np.int64(u), np.int64(r)))
        for at in range(moves - 1, best_moves - 1, -1):
            v = log_vertex[at]
            q = part[v]
            p = log_part[at]
            part[v] = p
            load[q] -= weight[v]
            load[p] += weight[v]
            members[q] -= 1
            members[p] += 1
        gained += best_total
        if best_total <= 1e-9:
            break
    return gained
