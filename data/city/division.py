"""Dividing cells into balanced, connected parts: streets, communities, zones and grids come from here."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from data.city.cells import Adjacency

__all__ = ["apportion", "bisect", "connect", "divide"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def apportion(weights: Floats, total: int, *, least: int = 1) -> Ints:
    """Share ``total`` seats by weight (largest remainder), each at least ``least``."""
    count = len(weights)
    free = total - least * count
    exact = weights / weights.sum() * free
    seats = np.floor(exact).astype(np.int64)
    order = np.argsort(-(exact - seats), kind="stable")
    seats[order[: free - int(seats.sum())]] += 1
    return seats + least


def bisect(weights: Floats, x: Floats, y: Floats, parts: int) -> Ints:
    """Label points 0…parts−1 by halving across x or y, whichever is longer, weights shared in proportion."""
    labels = np.zeros(len(x), dtype=np.int64)
    stack = [(np.arange(len(x)), parts, 0)]
    while stack:
        index, count, first = stack.pop()
        if count == 1:
            labels[index] = first
            continue
        # Cuts run with the streets: along the axis on which the points spread more.
        along = x[index] if np.std(x[index]) >= np.std(y[index]) else y[index]
        order = index[np.argsort(along, kind="stable")]
        low = count // 2
        total = np.cumsum(weights[order])
        cut = int(np.searchsorted(total, total[-1] * low / count))
        cut = min(max(cut, low), len(order) - (count - low))
        stack.append((order[:cut], low, first))
        stack.append((order[cut:], count - low, first + low))
    return labels


def connect(labels: Ints, within: Ints, links: Adjacency, area: Floats) -> Ints:
    """Give detached pieces of a label to the neighbour with which they share most, inside the same ``within``."""
    labels = labels.copy()
    for _ in range(8):
        same = labels[links.a] == labels[links.b]
        n = len(labels)
        graph = coo_matrix((np.ones(same.sum()), (links.a[same], links.b[same])), shape=(n, n))
        _, piece = connected_components(graph, directed=False)
        size = np.bincount(piece, weights=area)
        owner = np.zeros(len(size), dtype=np.int64)
        owner[piece] = labels
        largest = np.full(int(labels.max()) + 1, -1)
        for p in np.argsort(size, kind="stable").tolist():
            largest[owner[p]] = p
        stray = largest[owner] != np.arange(len(size))
        if not stray.any():
            break
        best: dict[int, tuple[float, int]] = {}
        border = (labels[links.a] != labels[links.b]) & (within[links.a] == within[links.b])
        shared: dict[tuple[int, int], float] = {}
        for a, b, length in zip(
            links.a[border].tolist(), links.b[border].tolist(), links.shared_m[border].tolist(), strict=True
        ):
            for mine, other in ((a, b), (b, a)):
                if stray[piece[mine]]:
                    key = (int(piece[mine]), int(labels[other]))
                    shared[key] = shared.get(key, 0.0) + length
        for (loose, label), length in shared.items():
            if length > best.get(loose, (0.0, -1))[0]:
                best[loose] = (length, label)
        if not best:
            break
        target = np.full(len(size), -1)
        for loose, (_, label) in best.items():
            target[loose] = label
        move = target[piece] >= 0
        labels[move] = target[piece][move]
    return labels


def divide(
    unit: Ints, within: Ints, parts: Ints, weight: NDArray[Any], x: Floats, y: Floats, area: Floats, links: Adjacency
) -> Ints:  # fmt: skip
    """Divide the cells of each ``within`` (0…n−1) into ``parts[within]`` connected parts made of whole units where possible.

    Parameters
    ----------
    unit : array of int
        Cells of the same unit stay together.

    Returns
    -------
    array of int
        Labels 0…sum(parts)−1; the parts of ``within`` 0 come first.
    """
    labels = np.zeros(len(unit), dtype=np.int64)
    first = np.concatenate([[0], np.cumsum(parts)])
    for w in range(len(parts)):
        mine = np.flatnonzero(within == w)
        _, compact = np.unique(unit[mine], return_inverse=True)
        if int(compact.max()) + 1 < parts[w]:  # fewer units than parts: cells themselves
            compact = np.arange(len(mine))
        mass = np.bincount(compact, weights=area[mine])
        cx = np.bincount(compact, weights=x[mine] * area[mine]) / mass
        cy = np.bincount(compact, weights=y[mine] * area[mine]) / mass
        load = np.bincount(compact, weights=weight[mine])
        labels[mine] = first[w] + bisect(load, cx, cy, int(parts[w]))[compact]
    return connect(labels, within, links, area)
