"""A siting problem made ready for computing: checked, reduced to what is open, equal demands merged."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import sparse

from gis import siting_kernels
from gis.errors import InputError

if TYPE_CHECKING:
    from gis.siting import SitingProblem

__all__ = ["Core", "build_core"]

type FloatArray = npt.NDArray[np.float64]
type IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Core:
    """The open part of a problem.

    Sites and demands here are renumbered; ``site_ids`` leads back. Targets are demands of their own, marked by
    ``is_target`` and worth more than all weights together. From ``matrix`` on, fields are of the whole problem.
    """

    n: int
    m: int
    site_ptr: IntArray
    site_idx: npt.NDArray[np.int32]
    demand_ptr: IntArray
    demand_idx: npt.NDArray[np.int32]
    unit: FloatArray
    need: npt.NDArray[np.int32]
    is_target: npt.NDArray[np.bool_]
    cost: FloatArray
    count: int
    budget: float
    by_cost: bool
    site_ids: IntArray
    matrix: sparse.csr_array
    weights: FloatArray
    times: IntArray
    existing: IntArray
    reach: IntArray
    most_sites: int
    all_costs: FloatArray
    forced: IntArray
    base: float
    fixed: float

    @property
    def can_choose(self) -> bool:
        """Whether anything is left to decide."""
        return self.n > 0 and self.m > 0 and self.count > 0 and float(self.cost.min(initial=np.inf)) <= self.budget

    @property
    def ceiling(self) -> float:
        """Worth of covering everything as often as is worth something."""
        return float((self.unit * self.need)[~self.is_target].sum()) + 1e-9

    def cover(self, sites: IntArray) -> npt.NDArray[np.int32]:
        """How often each demand is covered by ``sites`` (numbers of the core)."""
        parts = [self.site_idx[self.site_ptr[j] : self.site_ptr[j + 1]] for j in sites]
        if not parts:
            return np.zeros(self.m, np.int32)
        return np.bincount(np.concatenate(parts), minlength=self.m).astype(np.int32)

    def value(self, cover: npt.NDArray[np.int32]) -> float:
        """Worth of a cover, targets at their extra worth included."""
        return float((self.unit * np.minimum(cover, self.need)).sum())

    def value_plain(self, sites: IntArray) -> float:
        """Worth of ``sites`` by weight alone."""
        worth = self.unit * np.minimum(self.cover(sites), self.need)
        return float(worth[~self.is_target].sum())

    def all_met(self, sites: IntArray) -> bool:
        """Whether ``sites`` meet every target that is within reach."""
        if not self.is_target.any():
            return True
        return bool((self.cover(sites) >= self.need)[self.is_target].all())

    def work_per_round(self, ruin_max: int) -> float:
        """Elementary updates of one round of ruin and recreate, roughly."""
        deg_site = len(self.site_idx) / max(self.n, 1)
        deg_demand = len(self.site_idx) / max(self.m, 1)
        return ruin_max * (deg_site * (4.0 + 1.5 * deg_demand) + self.n) + 1.0

    def rank(self, sites: IntArray) -> list[int]:
        """``sites`` as numbers of the problem, by what each adds to those before it."""
        allowed = np.zeros(self.n, np.bool_)
        allowed[sites] = True
        cover = np.zeros(self.m, np.int32)
        order = siting_kernels.greedy(
            self.site_ptr, self.site_idx, self.unit, self.need, self.cost, allowed, cover, self.n, np.inf, False
        )
        return [int(self.site_ids[j]) for j in order]

    def without_targets(self) -> "Core":
        """The same with the targets' extra worth taken away."""
        return replace(self, unit=np.where(self.is_target, 0.0, self.unit), is_target=np.zeros(self.m, np.bool_))


def _vector(values: npt.ArrayLike, size: int, name: str, zh: str, *, positive: bool = False) -> FloatArray:
    array = np.asarray(values, float)
    if array.shape != (size,):
        raise InputError(
            f"{name}: {size} values expected, {array.size} given.",
            zh=f"{zh}：应有 {size} 个值，实有 {array.size} 个。",
        )
    if not np.isfinite(array).all() or (array < 0).any() or (positive and (array <= 0).any()):
        rule, rule_zh = ("above 0", "大于 0") if positive else ("0 or more", "不小于 0")
        raise InputError(f"{name} must be finite and {rule}.", zh=f"{zh}须为有限数且{rule_zh}。")
    return array


def _counts(values: npt.ArrayLike, size: int, name: str, zh: str, *, least: int) -> IntArray:
    given = np.broadcast_to(np.asarray(values, float), (size,)) if np.ndim(values) == 0 else values
    array = _vector(given, size, name, zh)
    whole = array.astype(np.int64)
    if (whole != array).any() or (whole < least).any():
        raise InputError(f"{name} must be whole numbers of at least {least}.", zh=f"{zh}须为不小于 {least} 的整数。")
    return whole


def _numbers(values: npt.ArrayLike, size: int, name: str, zh: str) -> IntArray:
    array = np.unique(np.asarray(values, np.int64).ravel()) if np.size(values) else np.zeros(0, np.int64)
    if len(array) and (array[0] < 0 or array[-1] >= size):
        raise InputError(f"{name}: numbers must lie in 0…{size - 1}.", zh=f"{zh}：编号须在 0…{size - 1} 之间。")
    return array


def _limits(problem: "SitingProblem", costs: FloatArray, forced: IntArray, n: int) -> tuple[int, float, bool]:
    if (problem.count is None) == (problem.budget is None):
        raise InputError("Give either a count or a budget.", zh="须给出数量或预算之一。")
    if problem.count is not None:
        if problem.count < 0:
            raise InputError("The count must not be negative.", zh="数量不能为负。")
        if problem.count < len(forced):
            raise InputError(
                f"{len(forced)} sites are forced, but the count is {problem.count}.",
                zh=f"必选 {len(forced)} 处，数量仅 {problem.count}。",
            )
        return min(problem.count - len(forced), n), float("inf"), False
    budget = float(problem.budget or 0.0)
    if not np.isfinite(budget) or budget < 0:
        raise InputError("The budget must be finite and not negative.", zh="预算须为非负有限数。")
    if problem.costs is None:
        raise InputError("A budget needs the costs of the sites.", zh="使用预算须给出各处费用。")
    left = budget - float(costs[forced].sum())
    if left < 0:
        raise InputError(
            f"The forced sites cost {-left:g} more than the budget.", zh=f"必选站点费用超出预算 {-left:g}。"
        )
    return n, left, True


def build_core(problem: "SitingProblem") -> Core:
    """Check a problem and reduce it to what is open.

    Raises
    ------
    InputError
        See :func:`gis.siting.solve`.
    """
    matrix = sparse.csr_array(problem.coverage)
    if matrix.ndim != 2:
        raise InputError("The coverage must be a matrix of sites by demands.", zh="覆盖须为 站点 × 需求 的矩阵。")
    if (matrix.data == 0).any() or not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
    n, m = matrix.shape
    weights = _vector(problem.weights, m, "weights", "权重")
    costs = np.ones(n) if problem.costs is None else _vector(problem.costs, n, "costs", "费用", positive=True)
    existing = (
        np.zeros(m, np.int64)
        if problem.existing is None
        else _counts(problem.existing, m, "existing", "已有覆盖", least=0)
    )
    times = _counts(problem.times, m, "times", "覆盖次数", least=1)
    forced = _numbers(problem.forced, n, "forced", "必选站点")
    forbidden = _numbers(problem.forbidden, n, "forbidden", "禁选站点")
    both = np.intersect1d(forced, forbidden)
    if len(both):
        raise InputError(f"Site {both[0]} is both forced and forbidden.", zh=f"站点 {both[0]} 既必选又禁选。")
    count, budget, by_cost = _limits(problem, costs, forced, n)

    covered = existing.copy()
    if len(forced):
        covered += np.bincount(
            np.concatenate([matrix.indices[matrix.indptr[j] : matrix.indptr[j + 1]] for j in forced]), minlength=m
        )
    unit_all = weights / times
    base = float((unit_all * np.minimum(existing, times)).sum())
    fixed = float((unit_all * np.minimum(covered, times)).sum())

    free = np.ones(n, np.bool_)
    free[forced] = False
    free[forbidden] = False
    free &= costs <= budget
    degree = np.diff(matrix.indptr)
    open_ids = np.flatnonzero(free & (degree > 0))
    part = matrix[open_ids]
    open_degree = np.bincount(part.indices, minlength=m)
    reach = open_degree + (covered - existing)
    need = np.minimum(np.maximum(times - covered, 0), open_degree)
    need[weights == 0] = 0

    columns = [np.flatnonzero(need > 0)]
    needs = [need[columns[0]]]
    marks = [np.zeros(len(columns[0]), np.bool_)]
    most = min(count, len(open_ids))
    for target in problem.targets:
        if target.at_least < 1:
            raise InputError(
                f"Target {target.name}: at_least must be 1 or more.",
                zh=f"目标 {target.name}：at_least 须不小于 1。",
            )
        wanted = _numbers(target.demands, m, f"target {target.name}", f"目标 {target.name}")
        lacking = np.minimum(np.maximum(target.at_least - covered[wanted], 0), np.minimum(open_degree[wanted], most))
        columns.append(wanted[lacking > 0])
        needs.append(lacking[lacking > 0])
        marks.append(np.ones(len(columns[-1]), np.bool_))
    column = np.concatenate(columns)
    column_need = np.concatenate(needs)
    is_target = np.concatenate(marks)
    unit = unit_all[column]

    by_demand = sparse.csc_array(part)[:, column]
    by_demand.sort_indices()
    demand_ptr, demand_idx = by_demand.indptr.astype(np.int64), by_demand.indices.astype(np.int32)
    group, first = _merge(demand_ptr, demand_idx, column_need, is_target, len(open_ids))
    merged_unit = np.bincount(group, weights=unit, minlength=len(first))
    merged_need = column_need[first].astype(np.int32)
    merged_target = is_target[first]
    merged_unit[merged_target] = 0.0
    extra = 1.0 + 2.0 * float((merged_unit * merged_need).sum())
    merged_unit[merged_target] = extra * np.bincount(group, minlength=len(first))[merged_target]

    small = by_demand[:, first]
    by_site = sparse.csr_array(small)
    site_order, demand_order = siting_kernels.walk_order(
        by_site.indptr.astype(np.int64),
        by_site.indices.astype(np.int32),
        small.indptr.astype(np.int64),
        small.indices.astype(np.int32),
    )
    by_site = sparse.csr_array(by_site[site_order][:, demand_order])
    by_site.sort_indices()
    small = sparse.csc_array(by_site)
    small.sort_indices()
    return Core(
        len(open_ids),
        len(first),
        by_site.indptr.astype(np.int64),
        by_site.indices.astype(np.int32),
        small.indptr.astype(np.int64),
        small.indices.astype(np.int32),
        merged_unit[demand_order],
        merged_need[demand_order],
        merged_target[demand_order],
        costs[open_ids][site_order],
        count,
        budget,
        by_cost,
        open_ids[site_order],
        matrix,
        weights,
        times,
        existing,
        reach,
        most + len(forced),
        costs,
        forced,
        base,
        fixed,
    )


def _merge(
    demand_ptr: IntArray, demand_idx: npt.NDArray[np.int32], need: IntArray, is_target: npt.NDArray[np.bool_], n: int
) -> tuple[IntArray, IntArray]:
    """Group of each demand, and a demand of each group: same covering sites, same need, same kind."""
    keys = np.random.default_rng(20181111).integers(0, 2**64, size=max(n, 1), dtype=np.uint64)
    sign = siting_kernels.signatures(demand_ptr, demand_idx, keys)
    order = np.lexsort((is_target, need, sign))
    fresh = np.ones(len(order), np.bool_)
    if len(order):
        fresh[1:] = np.diff(sign[order]) != 0
        fresh[1:] |= np.diff(need[order]) != 0
        fresh[1:] |= is_target[order][1:] != is_target[order][:-1]
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(fresh) - 1
    first = order[fresh]
    if not siting_kernels.same_cover(demand_ptr, demand_idx, group, first):
        return np.arange(len(order)), np.arange(len(order))
    return group, first
