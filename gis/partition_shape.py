"""What a division has to respect before any search.

Units heavier than a part, pieces of the city, pins, and who gets which part.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from gis import partition_kernels as kernels
from gis.partition_graph import UnitGraph, compress

__all__ = ["Frame", "Group", "best_balance", "frame", "seats"]

type FloatArray = npt.NDArray[np.float64]
type IntArray = npt.NDArray[np.int64]

EVEN = 0.005
"""How even parts are to be that cannot have the weight wanted."""


@dataclass(frozen=True)
class Group:
    """Units that hang together and the parts they are divided into; ``fixed`` holds places in ``labels``."""

    units: IntArray
    labels: IntArray
    ptr: IntArray
    idx: IntArray
    cost: FloatArray
    low: FloatArray
    high: FloatArray
    fixed: IntArray

    def local(self, labels: IntArray) -> IntArray:
        """Places of ``labels`` in this group's labels, -1 for others."""
        top = int(max(self.labels.max(initial=-1), labels.max(initial=-1))) + 2
        place = np.full(top, -1, np.int64)
        place[self.labels] = np.arange(len(self.labels))
        return np.where(labels >= 0, place[labels], -1)


@dataclass
class Frame:
    """Parts already settled (``start``, -1 elsewhere), heavy units with their parts, and the groups left to search.

    ``bound`` is the least greatest deviation from the target that walls leave possible; 0 where they do not say.
    """

    start: IntArray
    heavy: dict[int, int] = field(default_factory=dict)
    apart: list[int] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    bound: float = 0.0


def seats(load: FloatArray, most: IntArray, number: int, *, least: IntArray) -> IntArray:
    """Seats in proportion to ``load`` (Webster/Sainte-Laguë), each at least ``least`` and at most ``most``.

    Examples
    --------
    >>> seats(np.array([60.0, 30.0, 10.0]), np.array([9, 9, 9]), 10, least=np.array([1, 1, 1])).tolist()
    [6, 3, 1]
    """
    share = np.minimum(least, most).astype(np.int64)
    while share.sum() < number and (share < most).any():
        key = np.where(share < most, (load + 1e-12) / (share + 0.5), -1.0)
        share[int(np.argmax(key))] += 1
    return share


def best_balance(load: FloatArray, number: int, target: float, *, most: IntArray | None = None) -> tuple[float, IntArray]:
    """Least possible greatest deviation from ``target`` when pieces are divided apart from each other, and the parts of each that give it.

    A bound that no division can beat, whatever the units: of ``n`` parts of a piece one is at least as far off as their mean. Every piece
    gets a part. Found exactly, by trying the deviations at which a piece changes its number.

    Examples
    --------
    >>> bound, parts = best_balance(np.array([7.82, 2.18]), 10, 1.0)
    >>> round(bound, 3), parts.tolist()
    (0.09, [8, 2])
    """
    loads = np.asarray(load, float)
    highest = np.full(len(loads), number, np.int64) if most is None else np.minimum(most, number)
    if not len(loads) or number < len(loads) or highest.sum() < number:
        return float("inf"), np.zeros(len(loads), np.int64)
    parts = np.arange(1, number + 1)
    off = np.abs(loads[:, None] / parts[None, :] / target - 1)
    off[parts[None, :] > highest[:, None]] = np.inf
    for bound in np.unique(off[np.isfinite(off)]):
        fits = off <= bound + 1e-12
        if not fits.any(axis=1).all():
            continue
        low = parts[np.argmax(fits, axis=1)]
        high = parts[len(parts) - 1 - np.argmax(fits[:, ::-1], axis=1)]
        if low.sum() <= number <= high.sum():
            share = np.clip(np.round(loads / target), low, high).astype(np.int64)
            while share.sum() != number:  # the piece that loses least by one more or one fewer
                step = 1 if share.sum() < number else -1
                after = np.abs(loads / np.maximum(share + step, 1) / target - 1)
                after[(share + step < low) | (share + step > high)] = np.inf
                share[int(np.argmin(after))] += step
            return float(bound), share
    return float("inf"), np.zeros(len(loads), np.int64)


def frame(
    graph: UnitGraph,
    weight: FloatArray,
    k: int,
    *,
    target: float,
    tolerance: float,
    fixed: IntArray,
    old: IntArray | None,
    shares: FloatArray | None = None,
) -> Frame:
    """Settle heavy units and what hangs on them alone, join stray pieces to the nearest, and share the parts out."""
    made = Frame(np.full(graph.n, -1, np.int64))
    shares = np.ones(k) if shares is None else shares
    _settle_heavy(made, weight, k, target, tolerance, fixed, old)
    pairs, cost = graph.pairs[~graph.wall], graph.cost[~graph.wall]
    taken = np.array(sorted(made.heavy.values()), np.int64)
    labels = np.setdiff1d(np.arange(k), taken)
    rest = np.flatnonzero(made.start < 0)
    if not len(rest):
        return made
    while True:
        piece, share, pinned_in = _pieces(rest, pairs, weight, fixed, len(labels), graph.n)
        stray = np.flatnonzero(share == 0)
        joined = _hang_on_heavy(made, graph, piece, stray)
        if joined:
            rest = np.flatnonzero(made.start < 0)
            continue
        bridges = _bridges(graph, piece, stray, pinned_in, fixed)
        if not len(bridges):
            break
        pairs = np.concatenate([pairs, bridges])
        cost = np.concatenate([cost, np.zeros(len(bridges))])
    load = np.bincount(piece[rest], weights=weight[rest], minlength=len(share))
    size = np.bincount(piece[rest], minlength=len(share))
    if not len(taken) and (share > 0).all():
        made.bound, best = best_balance(load, len(labels), target, most=size)
        if old is None and np.isfinite(made.bound) and all(len(p) <= n for p, n in zip(pinned_in, best, strict=True)):
            share = best
    owner = _owners(piece, share, pinned_in, labels, weight, old)
    for number in range(len(share)):
        units = np.flatnonzero(piece == number)
        made.groups.append(
            _group(graph.n, units, labels[owner == number], pairs, cost, weight, target, tolerance, fixed, made, shares)
        )
    return made


def _settle_heavy(
    made: Frame, weight: FloatArray, k: int, target: float, tolerance: float, fixed: IntArray, old: IntArray | None
) -> None:
    free = list(range(k))
    pins = np.bincount(fixed[fixed >= 0], minlength=k)
    for unit in np.argsort(-weight, kind="stable"):
        left = k - len(made.heavy)
        if left <= 1:
            return
        rest = float(weight.sum() - weight[list(made.heavy)].sum())
        if weight[unit] <= max(target, rest / left) * (1 + tolerance) + 1e-9:
            return
        if fixed[unit] >= 0 and pins[fixed[unit]] > 1:
            continue
        wanted = fixed[unit] if fixed[unit] >= 0 else (-1 if old is None else old[unit])
        options = [p for p in free if not pins[p] or p == fixed[unit]]
        if not options:
            return
        label = int(wanted) if wanted in options else options[0]
        free.remove(label)
        made.heavy[int(unit)] = label
        made.start[unit] = label


def _pieces(
    rest: IntArray, pairs: IntArray, weight: FloatArray, fixed: IntArray, number: int, n: int
) -> tuple[IntArray, IntArray, list[IntArray]]:
    """Piece of each unit of ``rest`` (-1 elsewhere), parts for each piece, and labels pinned in each."""
    inside = np.zeros(n, np.bool_)
    inside[rest] = True
    kept = pairs[inside[pairs].all(axis=1)] if len(pairs) else pairs
    ptr, idx, _ = compress(n, kept, np.ones(len(kept)))
    label = kernels.components(ptr, idx)
    piece = np.full(n, -1, np.int64)
    piece[rest] = np.unique(label[rest], return_inverse=True)[1]
    count = int(piece.max()) + 1
    load = np.bincount(piece[rest], weights=weight[rest], minlength=count)
    size = np.bincount(piece[rest], minlength=count)
    pinned_in = [
        np.unique(fixed[(piece == c) & (fixed >= 0)]) if (fixed >= 0).any() else np.zeros(0, np.int64)
        for c in range(count)
    ]
    least = np.array([len(p) for p in pinned_in], np.int64)
    return piece, seats(load, size, number, least=least), pinned_in


def _hang_on_heavy(made: Frame, graph: UnitGraph, piece: IntArray, stray: IntArray) -> bool:
    """Let stray pieces that border a heavy unit join its part; says whether there were any."""
    heavy = np.zeros(graph.n, np.bool_)
    heavy[list(made.heavy)] = True
    pairs = graph.pairs[~graph.wall]
    if not heavy.any() or not len(pairs):
        return False
    both = np.concatenate([pairs, pairs[:, ::-1]])
    touching = both[heavy[both[:, 0]]]
    joined = False
    for number in stray:
        near = touching[piece[touching[:, 1]] == number]
        if len(near):
            made.start[piece == number] = made.heavy[int(near[0, 0])]
            joined = True
    return joined


def _bridges(
    graph: UnitGraph, piece: IntArray, stray: IntArray, pinned_in: list[IntArray], fixed: IntArray
) -> IntArray:
    """Pairs that tie stray pieces, and pieces with pins of the same part, to others.

    Over a wall, else to the nearest unit.
    """
    found: list[tuple[int, int]] = []
    is_stray = np.zeros(len(pinned_in), np.bool_)
    is_stray[stray] = True
    main = np.flatnonzero((piece >= 0) & ~is_stray[np.maximum(piece, 0)])
    walled = graph.pairs[graph.wall]
    walled = np.concatenate([walled, walled[:, ::-1]])
    border = np.tile(graph.border_m[graph.wall], 2)
    for number in stray:
        units = np.flatnonzero(piece == number)
        if not len(units) or not len(main):
            continue
        over = np.flatnonzero((piece[walled[:, 0]] == number) & np.isin(walled[:, 1], main))
        if len(over):
            best = over[np.argmax(border[over])]
            found.append((int(walled[best, 0]), int(walled[best, 1])))
        else:
            found.append(_nearest(graph, units, main))
    homes: dict[int, list[int]] = {}
    for number, labels in enumerate(pinned_in):
        for label in labels:
            homes.setdefault(int(label), []).append(number)
    for label, numbers in homes.items():
        for other in numbers[1:]:
            a = np.flatnonzero((piece == numbers[0]) & (fixed == label))
            b = np.flatnonzero((piece == other) & (fixed == label))
            found.append(_nearest(graph, b, a))
    return np.array(found, np.int64).reshape(-1, 2)


def _nearest(graph: UnitGraph, units: IntArray, others: IntArray) -> tuple[int, int]:
    if graph.xy is None:
        return int(units[0]), int(others[0])
    distance, at = cKDTree(graph.xy[others]).query(graph.xy[units])
    best = int(np.argmin(distance))
    return int(units[best]), int(others[at[best]])


def _owners(
    piece: IntArray,
    share: IntArray,
    pinned_in: list[IntArray],
    labels: IntArray,
    weight: FloatArray,
    old: IntArray | None,
) -> IntArray:
    """Piece of every label in ``labels``.

    Where it is pinned, else where most of it lies now, else where there is room.
    """
    owner = np.full(len(labels), -1, np.int64)
    room = share.copy()
    place = {int(label): at for at, label in enumerate(labels)}
    for number, pinned in enumerate(pinned_in):
        for label in pinned:
            if int(label) in place and owner[place[int(label)]] < 0 and room[number] > 0:
                owner[place[int(label)]] = number
                room[number] -= 1
    if old is not None:
        known = (old >= 0) & (piece >= 0) & np.isin(old, labels)
        votes = np.zeros((len(labels), len(share)))
        at = np.array([place[int(label)] for label in old[known]], np.int64)
        np.add.at(votes, (at, piece[known]), weight[known] + 1e-9)
        for at_label in np.argsort(-votes.max(axis=1, initial=0.0), kind="stable"):
            if owner[at_label] >= 0:
                continue
            for number in np.argsort(-votes[at_label], kind="stable"):
                if votes[at_label, number] > 0 and room[number] > 0:
                    owner[at_label] = number
                    room[number] -= 1
                    break
    for at_label in np.flatnonzero(owner < 0):
        number = int(np.argmax(room > 0))
        owner[at_label] = number
        room[number] -= 1
    return owner


def _group(
    n: int,
    units: IntArray,
    labels: IntArray,
    pairs: IntArray,
    cost: FloatArray,
    weight: FloatArray,
    target: float,
    tolerance: float,
    fixed: IntArray,
    made: Frame,
    shares: FloatArray,
) -> Group:
    place = np.full(n, -1, np.int64)
    place[units] = np.arange(len(units))
    mine = place[pairs]
    kept = (mine >= 0).all(axis=1) if len(mine) else np.zeros(0, np.bool_)
    ptr, idx, length = compress(len(units), mine[kept], cost[kept])
    own_shares = shares[labels]
    mean = float(weight[units].sum()) / max(float(own_shares.sum()), 1e-12)
    # where walls leave no balance, each unevenness more would make it worse: the parts are to be as even as they can
    even = abs(mean / target - 1) <= tolerance
    middle, slack = (target, tolerance) if even else (mean, min(tolerance, EVEN))
    low = middle * (1 - slack) * own_shares
    high = middle * (1 + slack) * own_shares
    group = Group(units, labels, ptr, idx, length, low, high, np.full(len(units), -1, np.int64))
    local = group.local(fixed[units])
    for label in np.unique(local[local >= 0]):
        own = np.flatnonzero(local == label)
        tree = [int(own[0])]
        for unit in own[1:]:
            steps, before = kernels.hops(ptr, idx, np.array(tree, np.int64), (local >= 0) & (local != label))
            if steps[unit] < 0:
                made.apart.append(int(labels[label]))
                continue
            at = int(unit)
            while at >= 0 and steps[at] >= 0 and at not in tree:
                local[at] = label
                tree.append(at)
                at = int(before[at])
    group.fixed[:] = local
    return group
