"""Units (street blocks) and what lies between them, as a graph for districting."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import sparse

from gis.errors import InputError

__all__ = ["UnitGraph", "unit_graph"]

type FloatArray = npt.NDArray[np.float64]
type IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class UnitGraph:
    """Units with weights, and the pairs of them that share a border.

    Attributes
    ----------
    weight : array, shape (n,)
        What is to be balanced: households, population, area. All zero: units are counted instead.
    pairs : array of int, shape (e, 2)
        Neighbours, each pair once, smaller number first.
    border_m : array, shape (e,)
        Length of their common border in metres.
    cost : array, shape (e,)
        What it costs to draw a boundary along it; the border's length unless given (less along rivers and main roads).
    wall : array of bool, shape (e,)
        A part must not reach across: the two are neighbours only on the map.
    xy : array, shape (n, 2), optional
        A point of each unit in metres, to find the nearest and to number parts.
    """

    weight: FloatArray
    pairs: IntArray
    border_m: FloatArray
    cost: FloatArray
    wall: npt.NDArray[np.bool_]
    xy: FloatArray | None = None

    @property
    def n(self) -> int:
        """Number of units."""
        return len(self.weight)

    def rows(self) -> tuple[IntArray, IntArray, FloatArray]:
        """Compressed rows of what is not walled off: ``ptr``, ``idx``, ``cost``."""
        return compress(self.n, self.pairs[~self.wall], self.cost[~self.wall])

    def part_of(self, units: IntArray) -> "UnitGraph":
        """The graph of ``units`` alone, renumbered in their order."""
        place = np.full(self.n, -1, np.int64)
        place[units] = np.arange(len(units))
        pairs = place[self.pairs]
        kept = (pairs >= 0).all(axis=1)
        return replace(
            self,
            weight=self.weight[units],
            pairs=pairs[kept],
            border_m=self.border_m[kept],
            cost=self.cost[kept],
            wall=self.wall[kept],
            xy=None if self.xy is None else self.xy[units],
        )


def compress(n: int, pairs: IntArray, cost: FloatArray) -> tuple[IntArray, IntArray, FloatArray]:
    """Symmetric compressed rows of a list of pairs."""
    a, b = (pairs[:, 0], pairs[:, 1]) if len(pairs) else (np.zeros(0, np.int64), np.zeros(0, np.int64))
    matrix = sparse.csr_array((np.r_[cost, cost], (np.r_[a, b], np.r_[b, a])), shape=(n, n))
    matrix.sum_duplicates()
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), matrix.data.astype(float)


def unit_graph(
    weight: npt.ArrayLike,
    pairs: npt.ArrayLike,
    *,
    border_m: npt.ArrayLike | None = None,
    cost: npt.ArrayLike | None = None,
    walls: Iterable[tuple[int, int]] | npt.NDArray[np.bool_] = (),
    xy: npt.ArrayLike | None = None,
) -> UnitGraph:
    """Make a graph of units; pairs given twice or the other way round are joined, their borders added.

    Parameters
    ----------
    weight : array, shape (n,)
        Finite, ≥ 0.
    pairs : array of int, shape (e, 2)
        Neighbours.
    border_m, cost : array, shape (e,), optional
        Border lengths in metres (1 where not given) and the cost of a boundary there (the border length).
    walls : pairs of int, or array of bool of shape (e,)
        Where a part must not reach across.
    xy : array, shape (n, 2), optional
        A point of each unit, metres.

    Raises
    ------
    InputError
        No units, shapes that do not fit, negative or non-finite numbers, units that do not exist.

    Examples
    --------
    >>> graph = unit_graph([1, 1, 1], [(0, 1), (2, 1)], border_m=[10, 20])
    >>> graph.pairs.tolist(), graph.border_m.tolist()
    ([[0, 1], [1, 2]], [10.0, 20.0])
    """
    weights = np.asarray(weight, float).ravel()
    n = len(weights)
    if n == 0:
        raise InputError("There are no units to divide.", zh="没有可划分的单元。")
    edges = np.asarray(pairs, np.int64).reshape(-1, 2)
    border = np.ones(len(edges)) if border_m is None else np.asarray(border_m, float).ravel()
    price = border if cost is None else np.asarray(cost, float).ravel()
    for name, zh, values, size in (
        ("weights", "权重", weights, n),
        ("border lengths", "公共边长", border, len(edges)),
        ("costs", "代价", price, len(edges)),
    ):
        if len(values) != size:
            raise InputError(f"{name}: {size} values expected, {len(values)} given.", zh=f"{zh}的个数不符。")
        if not np.isfinite(values).all() or (values < 0).any():
            raise InputError(f"{name} must be finite and not negative.", zh=f"{zh}须为非负有限数。")
    if len(edges) and (edges.min() < 0 or edges.max() >= n):
        raise InputError(f"A pair names a unit outside 0…{n - 1}.", zh=f"相邻对的编号须在 0…{n - 1} 之间。")
    points = None if xy is None else np.asarray(xy, float).reshape(-1, 2)
    if points is not None and len(points) != n:
        raise InputError("xy: one point for each unit expected.", zh="xy：每个单元应有一个点。")
    if isinstance(walls, np.ndarray) and walls.dtype == np.bool_:
        if walls.shape != (len(edges),):
            raise InputError("walls: one value for each pair expected.", zh="walls：每个相邻对应有一个值。")
        walled = walls.copy()
    else:
        walled = _listed(edges, np.asarray(list(walls), np.int64).reshape(-1, 2), n)
    real = edges[:, 0] != edges[:, 1]
    edges, border, price, walled = np.sort(edges[real], axis=1), border[real], price[real], walled[real]
    keys, group = np.unique(edges[:, 0] * n + edges[:, 1], return_inverse=True)
    size = len(keys)
    return UnitGraph(
        weights,
        np.stack([keys // n, keys % n], axis=1).astype(np.int64),
        np.bincount(group, weights=border, minlength=size),
        np.bincount(group, weights=price, minlength=size),
        np.bincount(group, weights=~walled, minlength=size) == 0,
        points,
    )


def _listed(edges: IntArray, listed: IntArray, n: int) -> npt.NDArray[np.bool_]:
    if not len(listed):
        return np.zeros(len(edges), np.bool_)
    low, high = np.sort(edges, axis=1).T
    wall_low, wall_high = np.sort(listed, axis=1).T
    return np.isin(low * n + high, wall_low * n + wall_high)
