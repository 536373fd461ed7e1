"""One camera changed, all results followed: ``BAIGE_HOME=… python -m benchmarks.live`` on a city that is built.

Cameras are drawn and switched, turned, moved or taken out, one by one, in a warm process; the time of each change is told, of the processor and on
the clock, without (``grids.live``) and with writing the rows to the database (``--write``: ``grids.live_store``), and with the rasters
(``--rasters``), too. At the end counts, answers and rasters are compared with a full run.
"""

import argparse
import os
import statistics
import time
from dataclasses import replace

import geopandas as gpd
import numpy as np

from gis.coverage import compute
from gis.coverage_files import read_coverage
from gis.settings import Settings
from grids.coverage import work_out
from grids.live import LiveCoverage
from grids.live_store import LiveResults
from layers.cluster import resolve_database_url
from layers.database import Database


def drawn(rng, cameras, step):
    """A camera as it was and as it is: on or off, turned, moved, gone."""
    row = cameras.iloc[[int(rng.integers(len(cameras)))]].copy()
    kind = ("switch", "turn", "move", "remove")[step % 4]
    if kind == "switch":
        row["net_status"] = "on" if row["net_status"].iloc[0] == "off" else "off"
    if kind == "turn":
        row["azimuth_deg"] = float(rng.uniform(0, 360))
    if kind == "move":
        x, y = row.geometry.x.iloc[0] + rng.normal(0, 30), row.geometry.y.iloc[0] + rng.normal(0, 30)
        row["geom"] = gpd.points_from_xy([x], [y], crs=cameras.crs)
    return kind, [str(row["id"].iloc[0])], row.iloc[:0] if kind == "remove" else row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", default="fast")
    parser.add_argument("--changes", type=int, default=80)
    parser.add_argument("--write", action="store_true", help="also write the rows; replaces the stored results")
    parser.add_argument("--rasters", action="store_true", help="with --write: also the rasters")
    options = parser.parse_args()
    settings = Settings()
    city = settings.city_config
    database = Database(resolve_database_url(settings))
    start = time.process_time()
    if options.write:
        results = LiveResults(database, city, settings.home, mode=options.mode, rasters=options.rasters)
        live, state = results.live, results.state
    else:
        live = LiveCoverage.open(database, city, settings.home, mode=options.mode)
        state = live.start
    print(
        f"{len(state.table):,} cameras, ready after {time.process_time() - start:.0f} s of CPU, load {os.getloadavg()[0]:.1f}"
    )
    rng = np.random.default_rng(1)
    took: dict[str, list[float]] = {}
    clock: list[float] = []
    for step in range(options.changes + 8):
        kind, gone, now = drawn(rng, state.cameras, step)
        begin, start = time.process_time(), time.perf_counter()
        if options.write:
            results.write(gone, now)
            state = results.state
        else:
            state = live.change(state, gone, now).state
        if step >= 8:  # the first ones load kernels
            took.setdefault(kind, []).append((time.process_time() - begin) * 1e3)
            clock.append((time.perf_counter() - start) * 1e3)
    for kind, values in took.items():
        print(f"{kind:8s} median {statistics.median(values):6.1f} ms of CPU, at most {max(values):6.1f}")
    every = sorted(value for values in took.values() for value in values)
    print(f"all      median {statistics.median(every):6.1f} ms of CPU, 9 of 10 within {every[len(every) * 9 // 10]:6.1f}")
    clock.sort()
    nine = clock[len(clock) * 9 // 10]
    print(f"all      median {statistics.median(clock):6.1f} ms on the clock, 9 of 10 within {nine:6.1f}, at most {clock[-1]:6.1f}")
    scene, table = replace(live.scene, cameras=state.cameras), live.prepare(state.cameras)
    more = {"target_height_m": city.coverage.target_height_m, "densities_px_m": city.coverage.densities_px_m}
    result = compute(table, scene.surface, mode=options.mode, **more)
    assert state.result.same_as(result)
    if options.write and results.folder is not None:
        assert read_coverage(settings.home / "rasters" / results.folder).same_as(result)
    full = work_out(result, table, scene, live.context, city, lambda *_: None)
    for layer, rows in full.tables.items():
        assert len(rows) == len(state.tables[layer]), layer
        for name in rows.select_dtypes("number"):
            np.testing.assert_array_equal(rows[name].to_numpy(), state.tables[layer][name].to_numpy(), err_msg=layer)
    print("equal to a full run")


if __name__ == "__main__":
    main()
