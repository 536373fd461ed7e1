"""Where to put the next cameras: maximal covering location, with a bound that says how good the answer is.

A site (camera candidate) covers a set of demands (cells, outfalls, entrances); each demand has a weight. Chosen are at
most ``count`` sites, or sites within a ``budget``, so that the weight of what is covered is greatest (Church and
ReVelle 1974). A demand may be worth covering several times (``times``): every one of the first ``times`` covers is
worth ``weight / times``.

The way: what is covered by the same sites is merged; lazy greedy; then ruin and recreate (swaps of a few neighbouring
sites) beside a Lagrangian upper bound; for problems small enough HiGHS closes the gap. The result always says its
value, the upper bound, the gap between them, whether it is proven to be the best and whether a limit stopped it. The
same problem, seed and effort give the same answer unless a limit of time or a cancel came first.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.spatial import cKDTree

from gis import siting_exact, siting_kernels
from gis.errors import InputError
from gis.siting_model import Core, build_core

__all__ = [
    "CoverageTarget",
    "SitingProblem",
    "SitingProgress",
    "SitingResult",
    "SitingTargetResult",
    "cover_within",
    "solve",
    "worth",
]

type FloatArray = npt.NDArray[np.float64]
type IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CoverageTarget:
    """Demands that must be covered ``at_least`` times (existing cameras count): every outfall by at least one."""

    name: str
    demands: IntArray
    at_least: int = 1


@dataclass(frozen=True, kw_only=True)
class SitingProblem:
    """A maximal covering problem of ``n`` sites and ``m`` demands.

    Parameters
    ----------
    coverage : scipy.sparse matrix, shape (n, m)
        Non-zero where a site covers a demand.
    weights : array, shape (m,)
        Worth of each demand, ≥ 0.
    count : int, optional
        Most sites to choose. Exactly one of ``count`` and ``budget`` is given.
    budget : float, optional
        Most to spend; needs ``costs``.
    costs : array, shape (n,), optional
        Cost of each site, > 0.
    existing : array of int, shape (m,), optional
        How many times each demand is covered already.
    times : int or array of int, shape (m,)
        Up to how many covers of a demand are worth something.
    forced, forbidden : sequence of int
        Sites that must, and must not, be chosen. Forced sites use up count and budget.
    targets : sequence of CoverageTarget
        Come before weight: as many of them as possible are met first.
    """

    coverage: Any
    weights: npt.ArrayLike
    count: int | None = None
    budget: float | None = None
    costs: npt.ArrayLike | None = None
    existing: npt.ArrayLike | None = None
    times: npt.ArrayLike = 1
    forced: Sequence[int] = ()
    forbidden: Sequence[int] = ()
    targets: Sequence[CoverageTarget] = ()


@dataclass(frozen=True)
class SitingProgress:
    """How far a solution is: ``done`` 0…1, best value and lowest upper bound so far."""

    done: float
    value: float
    upper_bound: float


@dataclass(frozen=True)
class SitingTargetResult:
    """What became of a target.

    ``missed`` are demands short of it although some site could help, ``out_of_reach`` those that no allowed site can
    bring to it.
    """

    name: str
    wanted: int
    met: int
    missed: IntArray
    out_of_reach: IntArray


@dataclass(frozen=True)
class SitingResult:
    """A choice of sites and how good it is.

    Attributes
    ----------
    sites : array of int
        Chosen sites: the forced ones, then the others by what each adds to those before it.
    added : array
        What each of ``sites`` adds to the value.
    value, base_value, upper_bound : float
        Worth of existing and chosen sites together; of the existing ones alone; and more than no choice can reach (of
        those that meet the targets where ``targets_met``, of all otherwise).
    gap : float
        ``(upper_bound - value) / (upper_bound - base_value)``: the part of what could be won that this choice may be
        short of, at most.
    proven : bool
        No choice is better.
    stopped : str
        ``""`` when the search ended by itself, ``"time"`` or ``"cancelled"`` when a limit ended it.
    method : str
        ``"heuristic"``, or ``"exact"`` where HiGHS proved or improved it.
    cost, covered, seconds
        Sum of costs; how often each demand is covered, existing included; time taken.
    targets : tuple of SitingTargetResult
    targets_met : bool
        All targets are met except where they are out of reach.
    targets_impossible : bool
        Proven that the targets cannot all be met within count or budget.
    """

    sites: IntArray
    added: FloatArray
    value: float
    base_value: float
    upper_bound: float
    gap: float
    proven: bool
    stopped: Literal["", "time", "cancelled"]
    method: Literal["heuristic", "exact"]
    cost: float
    covered: IntArray
    seconds: float
    targets: tuple[SitingTargetResult, ...] = ()
    targets_met: bool = True
    targets_impossible: bool = False


@dataclass
class _Search:
    """State of ruin and recreate between chunks."""

    core: Core
    open_sites: IntArray
    where: IntArray
    cover: npt.NDArray[np.int32]
    gain: FloatArray
    best: IntArray
    number: int
    number_best: int
    left: float
    value: float
    best_value: float
    state: npt.NDArray[np.uint64]
    done: int = 0
    bound: float = np.inf
    price: FloatArray = field(default_factory=lambda: np.zeros(0))
    best_price: FloatArray = field(default_factory=lambda: np.zeros(0))
    direction: FloatArray = field(default_factory=lambda: np.zeros(0))
    theta: float = 1.0
    stale: int = 0


HOT, COLD = 0.1, 0.01
"""First and last loss accepted now and then by ruin and recreate, in worth of an average site."""

RUIN_MAX = 6
"""Most sites closed in one step of ruin and recreate."""

BLINK = 0.03
"""Chance that recreate passes the best site by."""

ROUNDS_PER_SITE = 100
"""Steps of ruin and recreate for each site to choose, at effort 1."""

ROUNDS_MIN = 40_000
"""Steps of ruin and recreate at effort 1, at least."""

WORK_MAX = 2.0e10
"""Most elementary updates of ruin and recreate at effort 1: about ten seconds on one core."""

BOUND_ROUNDS = (400, 1500)
"""Least and most subgradient steps at effort 1; between them as many as take about as long as the search beside
them."""


def cover_within(sites_xy: npt.ArrayLike, demands_xy: npt.ArrayLike, *, radius_m: float) -> sparse.csr_array:
    """Coverage by distance alone: site covers demand when they are at most ``radius_m`` apart.

    Parameters
    ----------
    sites_xy, demands_xy : array, shape (n, 2) and (m, 2)
        Positions in metres of a projected system.
    radius_m : float
        Largest distance.

    Examples
    --------
    >>> cover_within([[0, 0], [9, 0]], [[1, 0], [5, 0], [10, 0]], radius_m=4.0).toarray().tolist()
    [[1, 0, 0], [0, 1, 1]]
    """
    sites = np.asarray(sites_xy, float).reshape(-1, 2)
    demands = np.asarray(demands_xy, float).reshape(-1, 2)
    found = (
        cKDTree(demands).query_ball_point(sites, radius_m, return_sorted=True)
        if len(sites) and len(demands)
        else [[] for _ in sites]
    )
    ptr = np.concatenate([[0], np.cumsum([len(row) for row in found])]).astype(np.int64)
    idx = np.concatenate([np.asarray(row, np.int64) for row in found]) if len(found) else np.zeros(0, np.int64)
    return sparse.csr_array((np.ones(len(idx), np.int8), idx, ptr), shape=(len(sites), len(demands)))


def worth(problem: SitingProblem, sites: Sequence[int] | IntArray) -> float:
    """Worth of existing cameras and ``sites`` together, counted afresh from the problem."""
    matrix = sparse.csr_array(problem.coverage)
    weights = np.asarray(problem.weights, float)
    times = np.broadcast_to(np.asarray(problem.times), weights.shape)
    covered = np.zeros(matrix.shape[1]) if problem.existing is None else np.asarray(problem.existing, float).copy()
    chosen = np.asarray(sites, np.int64)
    if len(chosen):
        covered += np.asarray((matrix[chosen] != 0).sum(axis=0)).ravel()
    return float((weights * np.minimum(covered, times) / times).sum())


def _start(core: Core, seed: int) -> _Search:
    """Greedy start; with costs the better of greedy by gain and by gain per cost."""
    best_opened: IntArray = np.zeros(0, np.int64)
    best_cover = np.zeros(core.m, np.int32)
    best_value = -1.0
    for by_cost in (False, True) if core.by_cost else (False,):
        cover = np.zeros(core.m, np.int32)
        opened = siting_kernels.greedy(
            core.site_ptr,
            core.site_idx,
            core.unit,
            core.need,
            core.cost,
            np.ones(core.n, np.bool_),
            cover,
            core.count,
            core.budget,
            by_cost,
        )
        value = core.value(cover)
        if value > best_value:
            best_opened, best_cover, best_value = opened, cover, value
    gain = np.add.reduceat(
        np.append(np.where(best_cover < core.need, core.unit, 0.0)[core.site_idx], 0.0), core.site_ptr[:-1]
    )
    gain[core.site_ptr[1:] == core.site_ptr[:-1]] = 0.0
    gain[best_opened] = -np.inf
    open_sites = np.zeros(core.n, np.int64)
    open_sites[: len(best_opened)] = best_opened
    where = np.full(core.n, -1, np.int64)
    where[best_opened] = np.arange(len(best_opened))
    left = core.budget - float(core.cost[best_opened].sum())
    crowd = np.bincount(core.site_idx, minlength=core.m) * (len(best_opened) / max(core.n, 1))
    price = np.where(core.is_target, 0.0, core.unit / np.maximum(1.0, crowd))
    return _Search(
        core,
        open_sites,
        where,
        best_cover,
        gain,
        open_sites.copy(),
        len(best_opened),
        len(best_opened),
        left,
        best_value,
        best_value,
        np.array([seed & 0xFFFFFFFFFFFFFFFF], np.uint64),
        bound=core.ceiling,
        price=price,
        best_price=price.copy(),
        direction=np.zeros(core.m),
    )


def _improve(search: _Search, rounds: int, total: int) -> None:
    core = search.core
    scale = max(core.value_plain(search.best[: search.number_best]), 1e-300) / max(search.number_best, 1)
    search.number, search.number_best, search.left, search.value, search.best_value = siting_kernels.ruin_and_recreate(
        core.site_ptr,
        core.site_idx,
        core.demand_ptr,
        core.demand_idx,
        core.unit,
        core.need,
        core.cost,
        search.cover,
        search.gain,
        search.open_sites,
        search.where,
        search.number,
        search.number_best,
        search.best,
        core.count,
        search.left,
        core.by_cost,
        search.value,
        search.best_value,
        search.state,
        HOT * scale,
        COLD * scale,
        search.done,
        total,
        rounds,
        RUIN_MAX,
        BLINK,
    )
    search.done += rounds


def _tighten(search: _Search, lower: float, rounds: int) -> None:
    core = search.core
    search.bound, search.theta, search.stale = siting_kernels.lagrangian(
        core.site_ptr,
        core.site_idx,
        core.unit,
        core.need,
        core.is_target,
        core.cost,
        core.count,
        core.budget,
        core.by_cost,
        lower,
        search.price,
        search.best_price,
        search.bound,
        search.direction,
        search.theta,
        search.stale,
        rounds,
    )


def _rounds(core: Core, number: int, effort: float) -> int:
    if not core.can_choose:
        return 0
    return max(
        50, int(effort * min(max(ROUNDS_PER_SITE * number, ROUNDS_MIN), WORK_MAX / core.work_per_round(RUIN_MAX)))
    )


def _bound_rounds(core: Core, rounds: int, effort: float) -> int:
    alike = rounds * core.work_per_round(RUIN_MAX) / (8.0 * (len(core.site_idx) + core.m + 1.0))
    return max(10, int(min(max(alike, BOUND_ROUNDS[0] * effort), BOUND_ROUNDS[1] * effort)))


def _close_enough(value: float, bound: float, gap_target: float) -> bool:
    return bound - value <= max(gap_target, 1e-9) * max(abs(bound), 1e-12)


def solve(
    problem: SitingProblem,
    *,
    seed: int = 0,
    effort: float = 1.0,
    gap_target: float = 0.0,
    time_limit_s: float | None = None,
    exact: bool = True,
    progress: Callable[[SitingProgress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> SitingResult:
    """Choose sites.

    Parameters
    ----------
    problem : SitingProblem
    seed : int
        Of the search; the answer depends on nothing else but ``effort`` and ``gap_target`` while no limit stops it.
    effort : float
        Multiplies the steps of search and bound (1: seconds for a thousand sites, up to half a minute for ten thousand
        and a million demands).
    gap_target : float
        Ends the search as soon as the gap is certified to be no larger.
    time_limit_s : float, optional
        Ends the search with the best answer so far, ``stopped == "time"``.
    exact : bool
        Let HiGHS close the gap of problems small enough for it.
    progress : callable, optional
        Called with a :class:`SitingProgress` after every chunk of work.
    cancelled : callable, optional
        Asked after every chunk; when true the best answer so far is returned, ``stopped == "cancelled"``.

    Raises
    ------
    InputError
        Shapes that do not fit, negative or non-finite weights or costs, sites out of range or both forced and
        forbidden, forced sites over the count or budget, neither or both of ``count`` and ``budget``.
    """
    if not effort > 0:
        raise InputError("The effort must be above 0.", zh="effort 须大于 0。")
    if time_limit_s is not None:
        _compile()
    began = time.perf_counter()
    core = build_core(problem)
    search = _start(core, seed)
    total = _rounds(core, search.number, effort)
    chunks = max(1, min(40, total // 50))
    bound_rounds = max(10, int(_bound_rounds(core, total, effort) / chunks))
    stopped: Literal["", "time", "cancelled"] = ""
    with ThreadPoolExecutor(1) as pool:
        for chunk in range(chunks):
            if not core.can_choose:
                break
            lower = core.value_plain(search.best[: search.number_best])
            bounding = pool.submit(_tighten, search, lower, bound_rounds)
            _improve(search, total // chunks, total)
            bounding.result()
            lower = core.value_plain(search.best[: search.number_best])
            if progress is not None:
                progress(
                    SitingProgress((chunk + 1) / chunks, core.fixed + lower, core.fixed + max(lower, search.bound))
                )
            if core.all_met(search.best[: search.number_best]) and _close_enough(lower, search.bound, gap_target):
                break
            if cancelled is not None and cancelled():
                stopped = "cancelled"
                break
            if time_limit_s is not None and time.perf_counter() - began > time_limit_s:
                stopped = "time"
                break
    chosen = search.best[: search.number_best].copy()
    value = core.value_plain(chosen)
    method: Literal["heuristic", "exact"] = "heuristic"
    impossible = False
    met = core.all_met(chosen)
    bound = search.bound if core.can_choose else value
    if (
        exact
        and not stopped
        and core.can_choose
        and siting_exact.fits(core)
        and not (met and _close_enough(value, bound, gap_target))
    ):
        left_s = None if time_limit_s is None else max(0.1, time_limit_s - (time.perf_counter() - began))
        answer = siting_exact.solve_exact(core, chosen, time_limit_s=left_s, gap_target=gap_target)
        method = "exact"
        impossible = answer.impossible
        if answer.sites is not None and (not met or core.value_plain(answer.sites) > value):
            chosen, value, met = answer.sites, core.value_plain(answer.sites), core.all_met(answer.sites)
        bound = min(bound, answer.upper_bound)
        if answer.hit_limit and time_limit_s is not None:
            stopped = "time"
    if not met:
        bound = _bound_without_targets(core, value, int(BOUND_ROUNDS[0] * effort))
    return _result(problem, core, chosen, max(bound, value), met, impossible, stopped, method, began)


@cache
def _compile() -> None:
    """Have the kernels compiled, which on a fresh machine takes longer than many a limit of time."""
    solve(SitingProblem(coverage=sparse.csr_array(np.eye(3)), weights=np.ones(3), count=1), exact=False)


def _bound_without_targets(core: Core, value: float, rounds: int) -> float:
    """Upper bound over all choices, those that miss targets included."""
    free = core.without_targets()
    if not free.can_choose:
        return value
    search = _start(free, 0)
    _tighten(search, free.value_plain(search.best[: search.number_best]), max(10, rounds))
    return search.bound


def _result(
    problem: SitingProblem,
    core: Core,
    chosen: IntArray,
    bound: float,
    met: bool,
    impossible: bool,
    stopped: Literal["", "time", "cancelled"],
    method: Literal["heuristic", "exact"],
    began: float,
) -> SitingResult:
    matrix = core.matrix
    covered = core.existing.copy()
    weights, times = core.weights, core.times
    added = []
    ranked = list(core.forced)
    free = core.rank(chosen)
    for site in [*ranked, *free]:
        demands = matrix.indices[matrix.indptr[site] : matrix.indptr[site + 1]]
        fresh = covered[demands] < times[demands]
        added.append(float((weights[demands] / times[demands])[fresh].sum()))
        covered[demands] += 1
    sites = np.array([*ranked, *free], np.int64)
    value = float((weights * np.minimum(covered, times) / times).sum())
    upper = max(value, core.fixed + bound)
    if upper - value <= 1e-9 * max(abs(upper), 1e-12):
        upper = value
    room = upper - core.base
    gap = (upper - value) / room if room > 0 else 0.0
    targets = []
    for target in problem.targets:
        wanted = np.unique(np.asarray(target.demands, np.int64))
        short = wanted[covered[wanted] < target.at_least]
        reach = core.existing[short] + np.minimum(core.reach[short], core.most_sites)
        beyond = reach < target.at_least
        targets.append(
            SitingTargetResult(target.name, len(wanted), len(wanted) - len(short), short[~beyond], short[beyond])
        )
    proven = gap == 0.0 and met
    cost = float(core.all_costs[sites].sum()) if len(sites) else 0.0
    return SitingResult(
        sites,
        np.array(added, float),
        value,
        core.base,
        upper,
        gap,
        proven,
        stopped,
        method,
        cost,
        covered.astype(np.int64),
        time.perf_counter() - began,
        tuple(targets),
        met,
        impossible,
    )
