"""The search of districting.

Many starts on a merged graph, refinement level by level, rounds of merging within parts; and redrawing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gis import partition_kernels as kernels

__all__ = ["Task", "search", "settle"]

type FloatArray = npt.NDArray[np.float64]
type IntArray = npt.NDArray[np.int64]

STARTS, ROUNDS = 16, 40
"""Starts, and rounds of merging within parts, at effort 1."""

STAY = 1.0
"""What it costs in a redraw to move a unit of mean weight, in mean lengths of a border between two units."""

MARGIN = 0.9
"""Share of the tolerance that the search aims at, so that what is left over after it still lies inside."""


@dataclass(frozen=True)
class Task:
    """A connected graph to divide into ``k`` parts with weights inside ``low`` … ``high``; ``old`` as in a redraw."""

    ptr: IntArray
    idx: IntArray
    cost: FloatArray
    weight: FloatArray
    k: int
    low: FloatArray
    high: FloatArray
    fixed: IntArray
    old: IntArray | None = None
    seed: int = 0
    effort: float = 1.0
    cancelled: Callable[[], bool] | None = None

    @property
    def n(self) -> int:
        """Number of units."""
        return len(self.weight)

    @property
    def mean(self) -> float:
        """Mean weight of a part."""
        return float(self.weight.sum()) / self.k or 1.0

    @property
    def scale(self) -> float:
        """Length of the border of a typical part."""
        return (4.0 * math.sqrt(self.n / self.k) * float(self.cost.mean()) if len(self.cost) else 0.0) or 1.0

    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Bounds drawn in by the margin."""
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        return middle - MARGIN * half, middle + MARGIN * half

    def alpha(self) -> float:
        """Price of being outside the bounds: leaving the margin costs about a third of a part's border."""
        slack = max(float((self.high - self.low).mean()) / 2 / self.mean, 0.002)
        return 0.3 * self.scale / (slack * (1 - MARGIN)) ** 2

    def key(self, part: IntArray) -> tuple[float, float]:
        """What is compared: weight outside the true bounds, then length cut."""
        load = np.bincount(part, weights=self.weight, minlength=self.k)
        over = np.maximum(0.0, np.maximum(load - self.high, self.low - load)) / self.mean
        source = np.repeat(np.arange(self.n), np.diff(self.ptr))
        cut = float(self.cost[part[source] != part[self.idx]].sum()) / 2
        return round(float((over * over).sum()), 9), cut


@dataclass
class _Level:
    ptr: IntArray
    idx: IntArray
    cost: FloatArray
    weight: FloatArray
    part: IntArray
    fixed: IntArray
    cluster: IntArray


def _coarsen(task: Task, part: IntArray, rng: np.random.Generator) -> tuple[list[_Level], _Level]:
    levels: list[_Level] = []
    none = np.zeros(0, np.int64)
    now = _Level(task.ptr, task.idx, task.cost, task.weight, part, task.fixed, none)
    stop = max(20 * task.k, 60)
    while len(now.weight) > stop:
        cluster, number = kernels.match(
            now.ptr, now.idx, now.cost, now.weight, now.part, now.fixed, rng.permutation(len(now.weight)), task.mean / 4
        )
        if number > 0.95 * len(now.weight):
            break
        now.cluster = cluster
        levels.append(now)
        ptr, idx, cost = kernels.contract(now.ptr, now.idx, now.cost, cluster, number)
        first = np.zeros(number, np.int64)
        first[cluster] = np.arange(len(now.weight))
        weight = np.bincount(cluster, weights=now.weight, minlength=number)
        now = _Level(ptr, idx, cost, weight, now.part[first], now.fixed[first], none)
    return levels, now


def _refine(task: Task, level: _Level, part: IntArray, alpha: float, *, stay: float = 0.0, passes: int = 8) -> None:
    low, high = task.bounds()
    home = task.old if stay > 0 and task.old is not None else np.full(len(level.weight), -1, np.int64)
    patience = len(part) if stay > 0 else max(60, len(part) // 30)
    kernels.refine(
        level.ptr,
        level.idx,
        level.cost,
        level.weight,
        part,
        task.k,
        low,
        high,
        task.mean,
        alpha,
        level.fixed,
        home,
        stay,
        passes,
        patience,
    )


def _seeds(level: _Level, k: int, rng: np.random.Generator) -> IntArray:
    """Starts far from each other and from pinned units, one for each part that has no pin."""
    n = len(level.weight)
    seeds = np.full(k, -1, np.int64)
    pinned = np.flatnonzero(level.fixed >= 0)
    has_pin = np.bincount(level.fixed[pinned], minlength=k) > 0
    open_now = np.zeros(n, np.bool_)
    taken = level.fixed >= 0
    chosen = list(pinned)
    steps: IntArray | None = None
    for p in np.flatnonzero(~has_pin):
        if steps is None and chosen:
            steps = kernels.hops(level.ptr, level.idx, np.array(chosen, np.int64), open_now)[0]
        odds = np.where(taken, 0.0, 1e-6 if steps is None else np.maximum(steps, 0).astype(float) ** 2 + 1e-6)
        if odds.sum() <= 0:
            break
        seed = int(rng.choice(n, p=odds / odds.sum()))
        seeds[p] = seed
        taken[seed] = True
        fresh = kernels.hops(level.ptr, level.idx, np.array([seed], np.int64), open_now)[0]
        steps = fresh if steps is None else np.minimum(steps, fresh)
    return seeds


def _fine(task: Task) -> _Level:
    return _Level(
        task.ptr, task.idx, task.cost, task.weight, np.zeros(task.n, np.int64), task.fixed, np.zeros(0, np.int64)
    )


def _complete(task: Task, level: _Level, part: IntArray) -> IntArray:
    """Give every part at least one unit.

    An empty part takes a unit from the largest part that stays whole without it.
    """
    count = np.bincount(part, minlength=task.k)
    for p in np.flatnonzero(count == 0):
        for donor in np.argsort(-count, kind="stable"):
            units = np.flatnonzero((part == donor) & (level.fixed < 0))
            before = kernels.part_pieces(level.ptr, level.idx, part).max()
            for unit in units:
                part[unit] = p
                if kernels.part_pieces(level.ptr, level.idx, part).max() <= before + 1 and count[donor] > 1:
                    count[donor] -= 1
                    count[p] = 1
                    break
                part[unit] = donor
            if count[p]:
                break
    return part


def _start(task: Task, rng: np.random.Generator, alpha: float) -> IntArray:
    levels, coarse = _coarsen(task, np.zeros(task.n, np.int64), rng)
    goal = np.maximum((task.low + task.high) / 2, 1e-12)
    part = kernels.grow(
        coarse.ptr, coarse.idx, coarse.cost, coarse.weight, task.k, _seeds(coarse, task.k, rng), coarse.fixed, goal
    )
    part[part < 0] = 0
    if len(coarse.weight) == task.n or len(np.unique(part)) < task.k:
        part = _complete(task, coarse, part)
    _refine(task, coarse, part, alpha)
    return _uncoarsen(task, levels, part, alpha)


def _uncoarsen(task: Task, levels: list[_Level], part: IntArray, alpha: float) -> IntArray:
    for level in reversed(levels):
        part = part[level.cluster]
        _refine(task, level, part, alpha)
    return part


def _round(task: Task, part: IntArray, rng: np.random.Generator, alpha: float) -> IntArray:
    levels, coarse = _coarsen(task, part, rng)
    again = coarse.part.copy()
    _refine(task, coarse, again, alpha)
    return _uncoarsen(task, levels, again, alpha)


def search(task: Task) -> IntArray:
    """Divide from scratch; parts are connected where the graph is."""
    if task.k == 1:
        return np.zeros(task.n, np.int64)
    if task.k == task.n and (task.fixed < 0).all():
        return np.arange(task.n)
    rng = np.random.default_rng(task.seed)
    alpha = task.alpha()
    found: list[tuple[tuple[float, float], IntArray]] = []
    for _ in range(max(2, int(STARTS * task.effort))):
        part = _start(task, rng, alpha)
        found.append((task.key(part), part))
        if task.cancelled is not None and task.cancelled():
            break
    found.sort(key=lambda item: item[0])
    rounds = max(2, int(ROUNDS * task.effort))
    best = found[0]
    for place, tries in ((2, rounds // 4), (1, rounds // 4), (0, rounds // 2)):
        if place >= len(found):
            continue
        now = min(found[place], best, key=lambda item: item[0]) if place == 0 else found[place]
        price = alpha
        for _ in range(tries):
            if task.cancelled is not None and task.cancelled():
                break
            part = _round(task, now[1], rng, price)
            key = task.key(part)
            if key <= now[0]:
                now = (key, part)
            if now[0][0] > 0:
                price = min(price * 1.7, alpha * 1e4)
        best = min(best, now, key=lambda item: item[0])
    return best[1]


def settle(task: Task) -> IntArray:
    """Redraw: keep ``old`` but for what must move, measured by weight.

    A part keeps its heaviest piece (the one with pins first); what is loose or new joins a neighbour; a part without
    units takes half of the heaviest one; then units move only as far as the bounds ask for.
    """
    if task.k == 1 or task.old is None:
        return search(task)
    part = np.where(task.fixed >= 0, task.fixed, task.old)
    ghost = np.where(part >= 0, part, task.k + np.arange(task.n))
    piece = kernels.part_pieces(task.ptr, task.idx, ghost)
    score = np.bincount(piece, weights=task.weight + 1e-9 * task.mean + (task.fixed >= 0) * 1e6 * task.mean)
    kept = np.full(task.k, -1, np.int64)
    for number in np.argsort(score, kind="stable"):
        owner = part[np.argmax(piece == number)]
        if owner >= 0:
            kept[owner] = number
    loose = (part < 0) | (kept[np.maximum(part, 0)] != piece)
    loose &= task.fixed < 0
    part = np.where(loose, -1, part)
    if (part < 0).all():
        return search(replace(task, old=None))
    goal = np.maximum((task.low + task.high) / 2, 1e-12)
    full: IntArray = kernels.grow(
        task.ptr, task.idx, task.cost, task.weight, task.k, np.full(task.k, -1, np.int64), part, goal
    )
    full[full < 0] = 0
    _split_for_empty(task, full)
    if task.key(full)[0] == 0.0:
        return full
    level = _fine(task)
    alpha = task.alpha() * 1e3
    stay = STAY * (float(task.cost.mean()) if len(task.cost) else 1.0) * task.n / task.k
    _refine(task, level, full, alpha, stay=stay, passes=30)
    best = (task.key(full)[0], _moved(task, full), full)
    rng = np.random.default_rng(task.seed)
    price = task.alpha()
    for _ in range(10):
        if best[0] == 0.0:
            break
        again = _round(task, best[2], rng, price)
        _refine(task, level, again, alpha, stay=stay, passes=30)
        price *= 2.0
        now = (task.key(again)[0], _moved(task, again), again)
        if now[:2] < best[:2]:
            best = now
    return best[2]


def _moved(task: Task, part: IntArray) -> float:
    if task.old is None:
        return 0.0
    return float(task.weight[(task.old >= 0) & (task.old != part)].sum())


def _split_for_empty(task: Task, part: IntArray) -> None:
    """Give each part without units half of the heaviest part that has units to give."""
    for p in range(task.k):
        if (part == p).any():
            continue
        load = np.bincount(part, weights=task.weight, minlength=task.k)
        size = np.bincount(part[task.fixed < 0], minlength=task.k)
        many = np.bincount(part, minlength=task.k)
        donor = int(np.argmax(np.where((size > 0) & (many > 1), load + 1e-9 * many, -1.0)))
        units = np.flatnonzero(part == donor)
        place = np.full(task.n, -1, np.int64)
        place[units] = np.arange(len(units))
        source = np.repeat(np.arange(task.n), np.diff(task.ptr))
        inside = (place[source] >= 0) & (place[task.idx] >= 0)
        ptr = np.concatenate([[0], np.cumsum(np.bincount(place[source[inside]], minlength=len(units)))]).astype(
            np.int64
        )
        half = float(task.weight[units].sum()) / 2
        fixed = np.where(task.fixed[units] >= 0, 0, -1)
        bound = np.full(2, half)
        small = Task(
            ptr,
            place[task.idx[inside]],
            task.cost[inside],
            task.weight[units],
            2,
            bound * 0.9,
            bound * 1.1,
            fixed,
            None,
            task.seed,
            0.25,
        )
        halves = search(small)
        part[units[halves == 1]] = p
