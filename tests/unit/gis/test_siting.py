"""Maximal covering against brute force, a mixed-integer program of its own and its own invariants."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from gis import siting_kernels
from gis.errors import InputError
from gis.siting import CoverageTarget, SitingProblem, _compile, cover_within, solve, worth


def random_problem(seed, *, n=12, m=40, density=0.15, times=1, **options):
    rng = np.random.default_rng(seed)
    return SitingProblem(
        coverage=sparse.csr_array(rng.random((n, m)) < density),
        weights=rng.integers(0, 20, m).astype(float),
        times=times,
        **options,
    )


def slow_worth(problem, chosen):
    """Worth by the definition, one demand after the other."""
    dense = np.asarray(sparse.csr_array(problem.coverage).todense()) != 0
    times = np.broadcast_to(np.asarray(problem.times), dense.shape[1])
    total = 0.0
    for i, weight in enumerate(np.asarray(problem.weights)):
        seen = 0 if problem.existing is None else int(np.asarray(problem.existing)[i])
        seen += sum(bool(dense[j, i]) for j in chosen)
        total += weight * min(seen, times[i]) / times[i]
    return total


def brute_force(problem):
    """Greatest worth over all allowed sets of sites that meet the targets (None where there is none)."""
    n = sparse.csr_array(problem.coverage).shape[0]
    dense = np.asarray(sparse.csr_array(problem.coverage).todense()) != 0
    best = None
    for bits in range(2**n):
        chosen = [j for j in range(n) if bits >> j & 1]
        if problem.count is not None and len(chosen) > problem.count:
            continue
        if problem.budget is not None and sum(np.asarray(problem.costs)[chosen]) > problem.budget + 1e-12:
            continue
        if not set(problem.forced) <= set(chosen) or set(problem.forbidden) & set(chosen):
            continue
        covered = dense[chosen].sum(axis=0) + (0 if problem.existing is None else np.asarray(problem.existing))
        if any((covered[np.asarray(t.demands)] < t.at_least).any() for t in problem.targets):
            continue
        value = slow_worth(problem, chosen)
        best = value if best is None else max(best, value)
    return best


@pytest.mark.parametrize("seed", range(8))
def test_count_equals_brute_force(seed):
    problem = random_problem(seed, n=10, count=3)
    result = solve(problem)
    assert result.proven
    assert result.value == pytest.approx(brute_force(problem))
    assert result.value == pytest.approx(slow_worth(problem, result.sites))


@pytest.mark.parametrize("seed", range(8))
def test_budget_equals_brute_force(seed):
    costs = np.random.default_rng(seed + 100).integers(1, 9, 10).astype(float)
    problem = random_problem(seed, n=10, budget=12.0, costs=costs)
    result = solve(problem)
    assert result.proven
    assert result.value == pytest.approx(brute_force(problem))
    assert result.cost == pytest.approx(costs[result.sites].sum()) and result.cost <= 12.0


@pytest.mark.parametrize("seed", range(8))
def test_everything_at_once_equals_brute_force(seed):
    rng = np.random.default_rng(seed + 7)
    base = random_problem(seed, n=11, m=30, density=0.25)
    reachable = np.flatnonzero(np.asarray(base.coverage.sum(axis=0)).ravel() >= 2)
    problem = SitingProblem(
        coverage=base.coverage,
        weights=base.weights,
        count=6,
        existing=rng.integers(0, 2, 30),
        times=rng.integers(1, 4, 30),
        forced=[0],
        forbidden=[1, 5],
        targets=[CoverageTarget("outfalls", reachable[:3], 1), CoverageTarget("gates", reachable[3:5], 2)],
    )
    expected = brute_force(problem)
    result = solve(problem)
    if expected is None:
        assert any(len(t.missed) or len(t.out_of_reach) for t in result.targets)
    else:
        assert result.targets_met and result.proven
        assert all(t.met == t.wanted for t in result.targets)
        assert result.value == pytest.approx(expected)
    assert result.value == pytest.approx(slow_worth(problem, result.sites))
    assert 0 in result.sites and 1 not in result.sites and 5 not in result.sites


def test_the_bound_holds_against_an_independent_program():
    rng = np.random.default_rng(4)
    matrix = cover_within(rng.random((60, 2)), rng.random((300, 2)), radius_m=0.12)
    weights = rng.integers(1, 50, 300).astype(float)
    n, m, count = 60, 300, 8
    rows = sparse.vstack(
        [
            sparse.hstack([matrix.T.astype(float), -sparse.eye_array(m)]),
            sparse.csr_array(np.r_[np.ones(n), np.zeros(m)][None, :]),
        ]
    )
    lower = np.r_[np.zeros(m), -np.inf]
    upper = np.r_[np.full(m, np.inf), count]
    answer = milp(
        -np.r_[np.zeros(n), weights], constraints=LinearConstraint(rows.tocsr(), lower, upper), integrality=np.r_[np.ones(n), np.zeros(m)],
        bounds=Bounds(0, 1), options={"mip_rel_gap": 0.0},
    )  # fmt: skip
    heuristic = solve(SitingProblem(coverage=matrix, weights=weights, count=count), exact=False)
    exact = solve(SitingProblem(coverage=matrix, weights=weights, count=count))
    assert exact.proven and exact.value == pytest.approx(-answer.fun)
    assert heuristic.value <= -answer.fun + 1e-6 <= heuristic.upper_bound + 1e-5
    assert heuristic.gap < 0.05


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 15),
    times=st.integers(1, 3),
    density=st.sampled_from([0.0, 0.02, 0.2, 1.0]),
)
def test_invariants(seed, count, times, density):
    problem = random_problem(seed, count=count, times=times, density=density)
    result = solve(problem, effort=0.05)
    more = solve(random_problem(seed, count=count + 1, times=times, density=density), effort=0.05)
    assert len(set(result.sites.tolist())) == len(result.sites) <= count
    assert (
        result.value == pytest.approx(slow_worth(problem, result.sites)) == pytest.approx(worth(problem, result.sites))
    )
    assert result.base_value <= result.value <= result.upper_bound + 1e-9
    assert 0.0 <= result.gap <= 1.0
    assert more.upper_bound >= result.value - 1e-9
    assert result.added.sum() == pytest.approx(result.value - result.base_value)
    assert more.value >= result.value - 1e-9 or not (more.proven and result.proven)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000))
def test_order_of_sites_and_demands_does_not_matter_to_the_optimum(seed):
    rng = np.random.default_rng(seed)
    problem = random_problem(seed, n=9, m=20, count=3)
    rows, columns = rng.permutation(9), rng.permutation(20)
    turned = SitingProblem(
        coverage=problem.coverage[rows][:, columns], weights=np.asarray(problem.weights)[columns], count=3
    )
    assert solve(turned).value == pytest.approx(solve(problem).value)


def test_same_seed_same_answer():
    rng = np.random.default_rng(3)
    problem = SitingProblem(
        coverage=cover_within(rng.random((200, 2)), rng.random((2000, 2)), radius_m=0.06),
        weights=rng.random(2000),
        count=30,
    )
    first, second = (solve(problem, seed=5, exact=False, effort=0.1) for _ in range(2))
    assert first.sites.tolist() == second.sites.tolist()
    assert first.upper_bound == second.upper_bound


def test_sites_are_ordered_by_what_they_add():
    result = solve(random_problem(2, count=6, forced=[3]))
    assert result.sites[0] == 3
    assert (np.diff(result.added[1:]) <= 1e-9).all()


def test_existing_coverage_is_worth_nothing_twice():
    problem = random_problem(1, count=4, existing=np.ones(40, int))
    result = solve(problem)
    assert result.proven and result.value == result.base_value and len(result.sites) == 0 and result.gap == 0.0


def test_targets_out_of_reach_are_named_and_the_rest_is_done():
    coverage = sparse.csr_array(np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]))
    result = solve(
        SitingProblem(
            coverage=coverage, weights=[1, 1, 9, 1], count=2, targets=[CoverageTarget("outfalls", np.array([0, 1, 3]))]
        )
    )
    target = result.targets[0]
    assert target.out_of_reach.tolist() == [3]
    assert target.met == 2 and not len(target.missed)
    assert sorted(result.sites) == [0, 1]
    assert result.targets_met


def test_targets_that_cannot_all_be_met_are_proven_so():
    coverage = sparse.csr_array(np.eye(3))
    result = solve(
        SitingProblem(
            coverage=coverage, weights=[1, 1, 9], count=1, targets=[CoverageTarget("gates", np.array([0, 1]))]
        )
    )
    assert result.targets_impossible and not result.targets_met and not result.proven
    assert result.targets[0].met == 1 and len(result.targets[0].missed) == 1
    assert result.upper_bound >= 9


def test_a_limit_that_stopped_the_search_is_said():
    rng = np.random.default_rng(0)
    problem = SitingProblem(
        coverage=cover_within(rng.random((300, 2)), rng.random((3000, 2)), radius_m=0.06),
        weights=rng.random(3000),
        count=40,
    )
    timed = solve(problem, time_limit_s=0.0, exact=False)
    stopped = solve(problem, cancelled=lambda: True)
    free = solve(problem, effort=0.02, exact=False)
    assert timed.stopped == "time" and stopped.stopped == "cancelled" and free.stopped == ""
    assert len(timed.sites) == 40 and timed.value <= timed.upper_bound


def test_progress_rises_and_the_bound_falls():
    seen = []
    solve(random_problem(0, n=40, m=400, count=10, density=0.05), progress=seen.append, exact=False, effort=0.1)
    assert [s.done for s in seen] == sorted(s.done for s in seen)
    assert all(b.value >= a.value and b.upper_bound <= a.upper_bound + 1e-9 for a, b in itertools.pairwise(seen))


def test_gap_target_ends_early_and_is_kept():
    rng = np.random.default_rng(0)
    problem = SitingProblem(
        coverage=cover_within(rng.random((500, 2)), rng.random((3000, 2)), radius_m=0.05),
        weights=rng.random(3000),
        count=40,
    )
    calls = []
    result = solve(problem, gap_target=0.05, exact=False, progress=calls.append)
    assert result.gap <= 0.05 and len(calls) < 40


@pytest.mark.parametrize(
    "change",
    [
        {"count": None},
        {"budget": 3.0},
        {"count": -1},
        {"weights": np.ones(3)},
        {"weights": -np.ones(40)},
        {"weights": np.full(40, np.nan)},
        {"forced": [12]},
        {"forced": [-1]},
        {"forced": [1], "forbidden": [1]},
        {"forced": [1, 2, 3], "count": 2},
        {"times": 0},
        {"times": 1.5},
        {"existing": np.full(40, -1)},
        {"costs": np.zeros(12)},
        {"count": None, "budget": 5.0},
        {"count": None, "budget": 1.0, "costs": np.ones(12), "forced": [0, 1]},
        {"targets": [CoverageTarget("x", np.array([40]))]},
        {"targets": [CoverageTarget("x", np.array([0]), 0)]},
    ],
)
def test_bad_input_is_refused_with_a_reason(change):
    good = {"coverage": sparse.csr_array(np.ones((12, 40))), "weights": np.ones(40), "count": 3}
    with pytest.raises(InputError) as caught:
        solve(SitingProblem(**{**good, **change}))
    assert caught.value.message and caught.value.zh != caught.value.message


def test_nothing_to_choose_from():
    empty = SitingProblem(coverage=sparse.csr_array((0, 5)), weights=np.ones(5), count=3)
    result = solve(empty)
    assert result.value == 0.0 and result.proven and not len(result.sites)
    assert solve(SitingProblem(coverage=sparse.csr_array((3, 0)), weights=[], count=3)).proven


def test_a_limit_of_time_is_for_choosing_and_not_for_compiling_kernels():
    """What is compiled before the clock starts is all that any problem needs."""
    _compile()
    kernels = [value for value in vars(siting_kernels).values() if hasattr(value, "signatures")]
    ready = {kernel.__name__: len(kernel.signatures) for kernel in kernels}
    assert all(ready[name] for name in ("greedy", "ruin_and_recreate", "lagrangian"))
    solve(random_problem(1, count=3), time_limit_s=5.0, exact=False)
    solve(random_problem(2, budget=7.0, costs=np.arange(1.0, 13.0), times=2), time_limit_s=5.0, exact=False)
    solve(random_problem(3, count=4, targets=[CoverageTarget("some", np.arange(3))]), time_limit_s=5.0, exact=False)
    assert {kernel.__name__: len(kernel.signatures) for kernel in kernels} == ready
