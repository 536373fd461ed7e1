"""Maximal covering as a mixed-integer program for HiGHS, for problems small enough to be solved to the end."""

from dataclasses import dataclass

import highspy
import numpy as np
import numpy.typing as npt
from scipy import sparse

from gis.errors import BackendError
from gis.siting_model import Core

__all__ = ["ExactAnswer", "fits", "solve_exact"]

type IntArray = npt.NDArray[np.int64]

ENTRIES_MAX = 20_000
"""Pairs of site and (merged) demand up to which HiGHS is asked."""

NODES_MAX = 2_000
"""Most nodes of its search tree: a limit of work, not of time, so that answers repeat."""


@dataclass(frozen=True)
class ExactAnswer:
    """Sites (None: none found), bound on worth, whether targets cannot be met, whether a limit ended the search."""

    sites: IntArray | None
    upper_bound: float
    impossible: bool
    hit_limit: bool


def fits(core: Core) -> bool:
    """Whether the problem is small enough."""
    return len(core.site_idx) <= ENTRIES_MAX


def solve_exact(core: Core, start: IntArray, *, time_limit_s: float | None, gap_target: float) -> ExactAnswer:
    """Solve with HiGHS, starting from the sites ``start``.

    Variables: one binary a site, one continuous a demand (times covered, at most its need).

    Raises
    ------
    BackendError
        HiGHS failed.
    """
    n, m = core.n, core.m
    target = core.is_target
    plain = np.flatnonzero(~target)
    by_demand = sparse.csc_array(
        (np.ones(len(core.demand_idx)), core.demand_idx, core.demand_ptr), shape=(n, m)
    ).T.tocsr()
    link = sparse.hstack([by_demand[plain], -sparse.eye_array(len(plain))])
    wanted = sparse.hstack([by_demand[np.flatnonzero(target)], sparse.csr_array((int(target.sum()), len(plain)))])
    side = np.concatenate([core.cost if core.by_cost else np.ones(n), np.zeros(len(plain))])[None, :]
    rows = sparse.csr_array(sparse.vstack([link, wanted, sparse.csr_array(side)]))
    lower = np.concatenate([np.zeros(len(plain)), core.need[target].astype(float), [-highspy.kHighsInf]])
    upper = np.full(rows.shape[0], highspy.kHighsInf)
    upper[-1] = core.budget if core.by_cost else core.count

    lp = highspy.HighsLp()
    lp.num_col_ = n + len(plain)
    lp.num_row_ = rows.shape[0]
    lp.sense_ = highspy.ObjSense.kMaximize
    lp.col_cost_ = np.concatenate([np.zeros(n), core.unit[plain]])
    lp.col_lower_ = np.zeros(lp.num_col_)
    lp.col_upper_ = np.concatenate([np.ones(n), core.need[plain].astype(float)])
    lp.row_lower_ = lower
    lp.row_upper_ = upper
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = rows.indptr.astype(np.int32)
    lp.a_matrix_.index_ = rows.indices.astype(np.int32)
    lp.a_matrix_.value_ = rows.data.astype(float)
    lp.integrality_ = [highspy.HighsVarType.kInteger] * n + [highspy.HighsVarType.kContinuous] * len(plain)

    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    for option, setting in {
        "output_flag": False,
        "random_seed": 0,
        "threads": 1,
        "mip_rel_gap": max(gap_target, 1e-9),
        "mip_max_nodes": NODES_MAX,
        **({} if time_limit_s is None else {"time_limit": time_limit_s}),
    }.items():
        solver.setOptionValue(option, setting)
    if solver.passModel(lp) == highspy.HighsStatus.kError:
        raise BackendError("HiGHS refused the model.", zh="HiGHS 拒绝了该模型。")
    guess = highspy.HighsSolution()
    opened = np.zeros(n)
    opened[start] = 1.0
    guess.col_value = np.concatenate([opened, np.minimum(core.cover(start), core.need)[plain].astype(float)]).tolist()
    solver.setSolution(guess)
    if solver.run() == highspy.HighsStatus.kError:
        raise BackendError("HiGHS failed.", zh="HiGHS 求解失败。")
    status = solver.getModelStatus()
    info = solver.getInfo()
    if status == highspy.HighsModelStatus.kInfeasible:
        return ExactAnswer(None, float("inf"), True, False)
    found: IntArray | None = None
    if info.primal_solution_status == 2:  # kSolutionStatusFeasible
        found = np.flatnonzero(np.asarray(solver.getSolution().col_value[:n]) > 0.5).astype(np.int64)
    bound = float(info.mip_dual_bound)
    return ExactAnswer(
        found, bound if np.isfinite(bound) else float("inf"), False, status != highspy.HighsModelStatus.kOptimal
    )
