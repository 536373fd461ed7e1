"""Coverage of a whole city: ``python -m benchmarks.coverage [--cameras N]``.

60,000 directed cameras over 20 × 20 km with terrain and 60,000 buildings, cells of 1 m, three densities, blind zones,
four products. Asserts that fast agrees with exact, that tiling and workers do not matter, and that one changed camera
equals a new run.
"""

import argparse
import os
import resource
import time

import numpy as np

from benchmarks.visibility_town import register, town
from gis.cameras import prepare
from gis.coverage import PRODUCTS, compute
from gis.coverage_update import update
from gis.coverage_views import views


def timed(run):
    wall, cpu = time.perf_counter(), time.process_time()
    out = run()
    return out, time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cameras", type=int, default=60_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    surface = town(1.0)
    table = prepare(register(options.cameras))
    compute(table.take(np.arange(50)), surface)  # compile
    print(f"{len(table):,} cameras, {options.workers} threads, load before {os.getloadavg()[0]:.1f}")
    results = {}
    for mode in ("fast", "exact"):
        result, wall, cpu = timed(lambda mode=mode: compute(table, surface, mode=mode, workers=options.workers))
        results[mode] = result
        size = sum(map(len, result.chunks.values())) / 1e6
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(
            f"{mode:6s} {wall:7.1f} s wall {cpu:7.1f} s CPU  {len(result.chunks):,} chunks {size:.0f} MB, peak memory {peak:.2f} GB"
        )
        for product in PRODUCTS:
            print(f"       {product:20s} {result.area_m2(product) / 1e6:8.2f} km2")
    sample = table.take(np.random.default_rng(0).choice(len(table), 500, replace=False))
    common = either = 0
    for one, other in zip(views(sample, surface, mode="exact"), views(sample, surface, mode="fast"), strict=True):
        common += int(np.count_nonzero((one.possible > 0) & (other.possible > 0)))
        either += int(np.count_nonzero((one.possible > 0) | (other.possible > 0)))
    print(f"agreement of fast with exact, 500 cameras, weighted by area: {common / either:.4f}")
    assert common / either >= 0.97
    part = table.take(np.flatnonzero((abs(table.x - 10_000) < 1000) & (abs(table.y - 10_000) < 1000)))
    assert compute(part, surface, tile_size=256, workers=1).same_as(compute(part, surface, tile_size=2048, workers=2))
    times = []
    result = results["exact"]
    for i in np.random.default_rng(1).choice(len(table), 50, replace=False):
        change, wall, _ = timed(lambda i=i: update(result, surface, before=table.take([i])))
        times.append(wall)
        back, wall, _ = timed(lambda change=change, i=i: update(change.result, surface, after=table.take([i])))
        times.append(wall)
        assert back.result.same_as(result)
        assert back.result.fingerprint == result.fingerprint
    worst, middle = max(times) * 1e3, sorted(times)[len(times) // 2] * 1e3
    print(f"one camera taken out or put in: {middle:.1f} ms median, {worst:.1f} ms at most")


if __name__ == "__main__":
    main()
