"""Districting: units (street blocks) into balanced, connected, compact parts, on one level or nested.

The way: neighbouring units are merged step by step to a small graph; parts are grown there from many starts; then the
merging is undone step by step, and on every level a Fiduccia–Mattheyses search (1982) moves units between parts so that
the boundary gets shorter and the weights come within bounds (the multilevel scheme of Karypis and Kumar 1998). Unlike
there, a move that would break a part in two is never made, so connected parts stay connected by construction. Further
rounds merge within parts and search again.

What cannot be had (a unit heavier than a part, pieces of a city with no way between them, walls) is named in the notes
of the result, and the rest is still done.
"""

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gis import partition_kernels as kernels
from gis.errors import InputError
from gis.partition_graph import UnitGraph
from gis.partition_search import Task, search, settle
from gis.partition_shape import Frame, frame, seats

__all__ = ["Nested", "Partition", "PartitionNote", "partition", "partition_nested"]

type FloatArray = npt.NDArray[np.float64]
type IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PartitionNote:
    """Something that could not be had, or was assumed.

    ``kind``: ``weights_zero``, ``unit_too_heavy``, ``detached`` (units with no way to the rest of their part),
    ``unbalanced``, ``pins_apart``, ``few_units``, ``cut_off_balance``.
    """

    kind: str
    text: str
    zh: str
    units: tuple[int, ...] = ()
    parts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Partition:
    """Units divided into ``k`` parts.

    Attributes
    ----------
    part : array of int, shape (n,)
        Part 0…k-1 of every unit.
    weight : array, shape (k,)
        Weight of every part.
    target : float
        Mean weight of a part.
    imbalance : float
        Greatest ``|weight / target - 1|``.
    cut_m : float
        Length of border between different parts.
    pieces : array of int, shape (k,)
        Connected pieces of each part (walls count as apart); 1 for each when all is well.
    moved : array of int
        Units that changed their part; of a redraw only, units without a part before not counted.
    notes : tuple of PartitionNote
    seconds : float
    bound : float
        No division that keeps to the walls has a smaller imbalance (0 where walls do not forbid any).
    """

    part: IntArray
    k: int
    weight: FloatArray
    target: float
    imbalance: float
    cut_m: float
    pieces: IntArray
    moved: IntArray
    notes: tuple[PartitionNote, ...]
    seconds: float
    bound: float = 0.0

    @property
    def contiguous(self) -> bool:
        """Whether every part is in one piece."""
        return bool((self.pieces == 1).all())


@dataclass(frozen=True)
class Nested:
    """Levels of parts, each inside one part of the level above.

    ``parent[i]`` gives the part of level ``i - 1`` for the parts of level ``i`` (all 0 on the first).
    """

    levels: tuple[Partition, ...]
    parent: tuple[IntArray, ...]


def _checked(graph: UnitGraph, k: int, tolerance: float) -> None:
    if k < 1:
        raise InputError(f"{k} parts asked for; at least 1 is needed.", zh=f"要求分成 {k} 个部分；至少须为 1。")
    if k > graph.n:
        raise InputError(
            f"{k} parts asked for, but there are only {graph.n} units.",
            zh=f"要求分成 {k} 个部分，但只有 {graph.n} 个单元。",
        )
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise InputError("The tolerance must be 0 or more.", zh="容差须不小于 0。")


def _labels(values: Mapping[int, int] | None, graph: UnitGraph, k: int) -> IntArray:
    fixed = np.full(graph.n, -1, np.int64)
    for unit, label in (values or {}).items():
        if not (0 <= unit < graph.n and 0 <= label < k):
            raise InputError(
                f"Unit {unit} is pinned to part {label}: outside the units or parts.",
                zh=f"单元 {unit} 固定于部分 {label}：超出范围。",
            )
        fixed[unit] = label
    return fixed


def partition(
    graph: UnitGraph,
    k: int,
    *,
    tolerance: float = 0.03,
    pinned: Mapping[int, int] | None = None,
    current: npt.ArrayLike | None = None,
    seed: int = 0,
    effort: float = 1.0,
    cancelled: Callable[[], bool] | None = None,
    target: float | None = None,
    shares: npt.ArrayLike | None = None,
) -> Partition:
    """Divide units into ``k`` parts.

    Parameters
    ----------
    graph : UnitGraph
    k : int
        Number of parts, 1 to the number of units.
    tolerance : float
        Share by which the weight of a part may differ from the mean.
    pinned : mapping of int to int, optional
        Units that must be in a given part.
    current : array of int, shape (n,), optional
        A division to keep as far as possible (-1: a new unit). What is moved is as light as possible.
    seed : int
        The same graph, options and seed give the same parts.
    effort : float
        Multiplies the number of starts and rounds.
    cancelled : callable, optional
        Asked between rounds; when true the best division so far is returned.
    target : float, optional
        Weight wanted of a part; the mean without it.
    shares : array, shape (k,), optional
        How much of the target each part should weigh; 1 without it.

    Raises
    ------
    InputError
        ``k`` below 1 or above the number of units, pins outside the range, a ``current`` of another length.
    """
    _checked(graph, k, tolerance)
    began = time.perf_counter()
    total = float(graph.weight.sum()) or float(graph.n)
    fixed = _labels(pinned, graph, k)
    old = None
    if current is not None:
        old = np.asarray(current, np.int64).ravel()
        if len(old) != graph.n or (old < -1).any() or (old >= k).any():
            raise InputError(
                "current: one part 0…k-1, or -1, for each unit expected.",
                zh="current：每个单元应有一个 0…k-1 的部分号或 -1。",
            )
    target = total / k if target is None else target
    wanted = None if shares is None else np.asarray(shares, float).ravel()
    if wanted is not None and (wanted.shape != (k,) or not (wanted > 0).all()):
        raise InputError("shares: a number above 0 for each part.", zh="shares：每个部分应有一个大于 0 的数。")
    part, notes, bound = _divide(
        graph,
        k,
        target=target,
        tolerance=tolerance,
        fixed=fixed,
        old=old,
        seed=seed,
        effort=effort,
        cancelled=cancelled,
        shares=wanted,
    )
    if old is None and wanted is None:
        part = _numbered(graph, part, k, fixed)
    return _summary(graph, part, k, target, tolerance, old, notes, began, bound)


def partition_nested(
    graph: UnitGraph,
    counts: Sequence[int] = (10, 100),
    *,
    tolerances: Sequence[float] = (0.03, 0.10),
    pinned: Sequence[Mapping[int, int] | None] | None = None,
    current: Sequence[npt.ArrayLike | None] | None = None,
    seed: int = 0,
    effort: float = 1.0,
    cancelled: Callable[[], bool] | None = None,
) -> Nested:
    """Divide units into nested levels: each part of a level lies inside one part of the level above.

    ``counts``, ``tolerances``, ``pinned`` and ``current`` have one entry a level, coarse to fine; for the rest see
    :func:`partition`. A part gets its share of the next level's parts by weight. Tolerances are against the mean over
    the whole.

    Raises
    ------
    InputError
        Counts that fall from one level to the next, besides those of :func:`partition`.
    """
    if len(counts) != len(tolerances) or not counts:
        raise InputError("One tolerance for each level is needed.", zh="每一级须有一个容差。")
    if any(b < a for a, b in itertools.pairwise(counts)):
        raise InputError("A level cannot have fewer parts than the one above.", zh="下一级的数量不能少于上一级。")
    for count, tolerance in zip(counts, tolerances, strict=True):
        _checked(graph, count, tolerance)
    total = float(graph.weight.sum()) or float(graph.n)
    levels: list[Partition] = []
    parents: list[IntArray] = []
    above = np.zeros(graph.n, np.int64)
    above_k = 1
    for level, (count, tolerance) in enumerate(zip(counts, tolerances, strict=True)):
        began = time.perf_counter()
        pins = _labels(pinned[level] if pinned else None, graph, count)
        given = current[level] if current else None
        old = None if given is None else np.asarray(given, np.int64).ravel()
        if old is not None and (len(old) != graph.n or (old < -1).any() or (old >= count).any()):
            raise InputError(
                "current: one part 0…k-1, or -1, for each unit.", zh="current：每个单元应有一个部分号或 -1。"
            )
        target = total / count
        share, owner, spread = _shares(graph, above, above_k, count, pins, old)
        part = np.full(graph.n, -1, np.int64)
        notes: list[PartitionNote] = list(spread)
        offset = 0
        parent = np.zeros(count, np.int64)
        for p in range(above_k):
            units = np.flatnonzero(above == p)
            labels = np.flatnonzero(owner == p) if owner is not None else np.arange(offset, offset + share[p])
            offset += int(share[p])
            parent[labels] = p
            local = np.full(count, -1, np.int64)
            local[labels] = np.arange(len(labels))
            inside = graph.part_of(units)
            local_pins = np.where(pins[units] >= 0, local[pins[units]], -1)
            local_old = None if old is None else np.where(old[units] >= 0, local[old[units]], -1)
            found, more, _ = _divide(
                inside,
                len(labels),
                target=target,
                tolerance=tolerance,
                fixed=local_pins,
                old=local_old,
                seed=seed + 7919 * p + level,
                effort=effort,
                cancelled=cancelled,
            )
            if local_old is None:
                found = _numbered(inside, found, len(labels), local_pins)
            part[units] = labels[found]
            notes += [_lifted(note, units, labels) for note in more]
        levels.append(_summary(graph, part, count, target, tolerance, old, notes, began))
        parents.append(parent)
        above, above_k = part, count
    return Nested(tuple(levels), tuple(parents))


def _lifted(note: PartitionNote, units: IntArray, labels: IntArray) -> PartitionNote:
    return PartitionNote(
        note.kind,
        note.text,
        note.zh,
        tuple(int(units[u]) for u in note.units),
        tuple(int(labels[p]) for p in note.parts),
    )


def _shares(
    graph: UnitGraph, above: IntArray, above_k: int, count: int, pins: IntArray, old: IntArray | None
) -> tuple[IntArray, IntArray | None, list[PartitionNote]]:
    """How many parts of the next level each part gets; which ones, where pins or a present division say so."""
    weight = graph.weight if graph.weight.sum() > 0 else np.ones(graph.n)
    load = np.bincount(above, weights=weight, minlength=above_k)
    units = np.bincount(above, minlength=above_k)
    share = seats(load, units, count, least=np.ones(above_k, np.int64))
    spoken = pins if old is None else np.where(pins >= 0, pins, old)
    if (spoken < 0).all():
        return share, None, []
    votes = np.zeros((count, above_k))
    known = spoken >= 0
    np.add.at(votes, (spoken[known], above[known]), weight[known] + 1e-9 * weight.max())
    np.add.at(votes, (pins[pins >= 0], above[pins >= 0]), 1e6 * weight.sum())
    owner = np.full(count, -1, np.int64)
    room = share.copy()
    order = np.argsort(-votes.max(axis=1), kind="stable")
    for label in order:
        if votes[label].max() > 0:
            for p in np.argsort(-votes[label], kind="stable"):
                if votes[label, p] > 0 and room[p] > 0:
                    owner[label] = p
                    room[p] -= 1
                    break
    for label in np.flatnonzero(owner < 0):
        p = int(np.argmax(room))
        owner[label] = p
        room[p] -= 1
    notes = []
    astray = np.flatnonzero((pins >= 0) & (owner[pins] != above))
    if len(astray):
        notes.append(
            PartitionNote(
                "pins_apart",
                "Units pinned to a part that lies in another part of the level above; their pin was dropped.",
                "固定单元所属部分位于另一上级部分之内，固定已取消。",
                tuple(astray.tolist()),
                tuple(np.unique(pins[astray]).tolist()),
            )
        )
    return share, owner, notes


def _divide(
    graph: UnitGraph,
    k: int,
    *,
    target: float,
    tolerance: float,
    fixed: IntArray,
    old: IntArray | None,
    seed: int,
    effort: float,
    cancelled: Callable[[], bool] | None,
    shares: FloatArray | None = None,
) -> tuple[IntArray, list[PartitionNote], float]:
    """Divide into ``k`` parts; ``target`` is the weight wanted of each."""
    notes: list[PartitionNote] = []
    weight = graph.weight
    if not weight.sum() > 0:
        weight = np.ones(graph.n)
        notes.append(
            PartitionNote(
                "weights_zero", "All weights are 0; units were counted instead.", "权重全为 0，改按单元个数平衡。"
            )
        )
    if k == 1:
        return np.zeros(graph.n, np.int64), notes, 0.0
    made: Frame = frame(graph, weight, k, target=target, tolerance=tolerance, fixed=fixed, old=old, shares=shares)
    most = target * (1 + tolerance)
    for heavy in made.heavy:
        notes.append(
            PartitionNote(
                "unit_too_heavy",
                f"Unit {heavy} weighs {weight[heavy]:g}, more than a part may ({most:g}); it is a part of its own.",
                f"单元 {heavy} 的权重 {weight[heavy]:g} 超过一个部分的上限 {most:g}，单独成一部分。",
                (int(heavy),),
                (int(made.heavy[heavy]),),
            )
        )
    if made.apart:
        notes.append(
            PartitionNote(
                "pins_apart",
                "Units pinned to the same part cannot be joined without crossing other pinned units.",
                "固定于同一部分的单元无法连通。",
                (),
                tuple(made.apart),
            )
        )
    part = made.start.copy()
    for group in made.groups:
        task = Task(
            group.ptr,
            group.idx,
            group.cost,
            weight[group.units],
            len(group.labels),
            group.low,
            group.high,
            group.fixed,
            None if old is None else group.local(old[group.units]),
            seed,
            effort,
            cancelled,
        )
        found = search(task) if old is None else settle(task)
        part[group.units] = group.labels[found]
    return part, notes, made.bound


def _numbered(graph: UnitGraph, part: IntArray, k: int, fixed: IntArray) -> IntArray:
    """Renumber parts that hold no pin.

    North-west first (west to east inside bands), or by first unit without positions.
    """
    taken = np.unique(fixed[fixed >= 0])
    free = np.setdiff1d(np.arange(k), taken)
    if graph.xy is None:
        first = np.full(k, graph.n)
        np.minimum.at(first, part, np.arange(graph.n))
        order = free[np.argsort(first[free], kind="stable")]
    else:
        count = np.maximum(np.bincount(part, minlength=k), 1)
        x = np.bincount(part, weights=graph.xy[:, 0], minlength=k) / count
        y = np.bincount(part, weights=graph.xy[:, 1], minlength=k) / count
        rows = max(1, round(math.sqrt(k)))
        by_y = free[np.argsort(-y[free], kind="stable")]
        bands = np.array_split(by_y, rows)
        order = np.concatenate([band[np.argsort(x[band], kind="stable")] for band in bands]) if len(free) else free
    renumber = np.arange(k)
    renumber[order] = free
    return renumber[part]


def _summary(
    graph: UnitGraph,
    part: IntArray,
    k: int,
    target: float,
    tolerance: float,
    old: IntArray | None,
    notes: list[PartitionNote],
    began: float,
    bound: float = 0.0,
) -> Partition:
    weight = graph.weight if graph.weight.sum() > 0 else np.ones(graph.n)
    load = np.bincount(part, weights=weight, minlength=k)
    different = part[graph.pairs[:, 0]] != part[graph.pairs[:, 1]]
    ptr, idx, _ = graph.rows()
    piece = kernels.part_pieces(ptr, idx, part)
    first = np.unique(piece, return_index=True)[1]
    pieces = np.bincount(part[first], minlength=k)
    size = np.bincount(piece, weights=weight) + 1e-9 * np.bincount(piece)
    broken = np.flatnonzero(pieces > 1)
    if len(broken):
        main = np.array([max(np.unique(piece[part == p]), key=lambda c: (size[c], -c)) for p in broken])
        detached = np.flatnonzero(np.isin(part, broken) & ~np.isin(piece, main))
        notes.append(
            PartitionNote(
                "detached",
                f"{len(detached)} units have no way to the rest of their part but over a wall or other parts.",
                f"{len(detached)} 个单元与所属部分的其余单元不连通。",
                tuple(detached.tolist()),
                tuple(broken.tolist()),
            )
        )
    outside = np.flatnonzero(np.abs(load / target - 1) > tolerance + 1e-9)
    if len(outside):
        worst = int(outside[np.argmax(np.abs(load[outside] / target - 1))])
        by, number = load[worst] / target - 1, len(outside)
        notes.append(
            PartitionNote(
                "unbalanced",
                f"{number} of {k} parts differ from the mean by more than {tolerance:.1%}; part {worst} by {by:+.1%}.",
                f"{k} 个部分中有 {number} 个与平均值相差超过 {tolerance:.1%}；部分 {worst} 相差 {by:+.1%}。",
                (),
                tuple(outside.tolist()),
            )
        )
    moved = np.zeros(0, np.int64) if old is None else np.flatnonzero((old >= 0) & (old != part))
    return Partition(
        part,
        k,
        load,
        target,
        float(np.abs(load / target - 1).max()),
        float(graph.border_m[different].sum()),
        pieces,
        moved,
        tuple(notes),
        time.perf_counter() - began,
        bound,
    )
