"""Maximal covering: ``python -m benchmarks.siting [--peer-limit SECONDS] [--small]``.

Random sites and demands in a unit square, weights 1–99, reach so that ``p`` disjoint circles would cover 0.79 of it; with
1.0, shown beside, the linear bound itself is 2 % above what is known to be reachable. Asserts value, bound and gap against a
count of its own, and the gaps aimed at. Peers: spopt with CBC and with HiGHS on the smallest.
"""

import argparse
import time

import numpy as np

from gis.siting import SitingProblem, cover_within, solve

AIMS = {
    (1_000, 10_000, 100): (1.0, 0.01),
    (10_000, 100_000, 1_000): (20.0, 0.02),
    (10_000, 1_000_000, 1_000): (60.0, 0.03),
}


def instance(sites, demands, count, *, share=0.79, seed=0):
    rng = np.random.default_rng(seed)
    radius = np.sqrt(share / count / np.pi)
    sites_xy, demands_xy = rng.random((sites, 2)), rng.random((demands, 2))
    return cover_within(sites_xy, demands_xy, radius_m=radius), rng.integers(1, 100, demands).astype(float)


def counted(matrix, weights, chosen):
    covered = np.zeros(matrix.shape[1], bool)
    for site in chosen:
        covered[matrix.indices[matrix.indptr[site] : matrix.indptr[site + 1]]] = True
    return float(weights[covered].sum())


def ours(sites, demands, count, *, share, aim):
    matrix, weights = instance(sites, demands, count, share=share)
    began, cpu = time.perf_counter(), time.process_time()
    result = solve(SitingProblem(coverage=matrix, weights=weights, count=count))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    assert len(result.sites) == count
    assert abs(counted(matrix, weights, result.sites) - result.value) < 1e-6
    assert result.value <= result.upper_bound
    assert not result.stopped
    if aim is not None:
        assert result.gap <= aim[1], (result.gap, aim)
    label = f"{sites:,} × {demands:,}, p={count:,}, share {share}"
    print(
        f"| baige | {label} | {result.value:,.0f} | {result.upper_bound:,.0f} | {result.gap:.2%} | {seconds:.2f} s | {cpu:.2f} s |",
        flush=True,
    )
    return matrix, weights, result


def peers(matrix, weights, count, result, limit_s):
    import pulp
    from spopt.locate import MCLP

    distance = 1.0 - np.asarray(matrix.todense()).T.astype(float)
    for name, solver in (
        ("spopt + CBC", pulp.PULP_CBC_CMD(msg=False, timeLimit=limit_s)),
        ("spopt + HiGHS", pulp.HiGHS(msg=False, timeLimit=limit_s)),
    ):
        began = time.perf_counter()
        model = MCLP.from_cost_matrix(distance, weights, 0.5, p_facilities=count)
        model = model.solve(solver)
        seconds = time.perf_counter() - began
        values = np.array([variable.value() or 0.0 for variable in model.fac_vars])
        chosen = np.flatnonzero(values > 0.5)
        value = counted(matrix, weights, chosen) if len(chosen) <= count else float("nan")
        gap = 1 - value / result.upper_bound
        status = pulp.LpStatus[model.problem.status]
        print(
            f"| {name}, limit {limit_s} s | same | {value:,.0f} | says “{status}” | {gap:.2%} of our bound | {seconds:.0f} s | |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-limit", type=int, default=60, help="seconds for each peer's solver; 0: no peers")
    parser.add_argument("--small", action="store_true", help="the smallest size only")
    given, _ = parser.parse_known_args()
    warm, weights = instance(50, 200, 5)
    solve(SitingProblem(coverage=warm, weights=weights, count=5))  # compile
    print("| solver | problem | value | upper bound | gap | wall | processor |\n|---|---|---|---|---|---|---|")
    for number, (size, aim) in enumerate(AIMS.items()):
        matrix, weights, result = ours(*size, share=0.79, aim=aim)
        if number == 0:
            ours(*size, share=1.0, aim=None)
            if given.peer_limit:
                peers(matrix, weights, size[2], result, given.peer_limit)
            if given.small:
                break


if __name__ == "__main__":
    main()
