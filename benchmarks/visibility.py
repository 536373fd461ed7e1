"""Viewsheds and visible polygons beside other tools: ``python -m benchmarks.visibility``.

Synthetic ground of 20 × 20 km with 60,000 buildings on cells of 5 m, twelve observers 8 m up, targets 1.7 m high,
ranges of 1 and 5 km, no curvature. Every tool's answer is compared with a line of sight to every cell by the rule R3
(written here, not the engine's). Tools that are not installed are named and left out: xarray-spatial (PyPI), GRASS
(Debian grass-core), GDAL's program (Debian gdal-bin), GDAL in process (Debian python3-gdal, run by the system's Python, and
the library inside the wheel of rasterio).
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numba
import numpy as np
import shapely

from benchmarks.visibility_town import SIDE_M, footprints, town
from gis.visibility import Observer, look_in
from gis.visibility_isovist import Isovists

CELL_M, EYE_M, TARGET_M = 5.0, 8.0, 1.7


@numba.njit(cache=True)
def r3(z, row, col, eye, target, reach):
    """Line of sight to every cell, walked in the order of the crossings."""
    seen = np.zeros(z.shape, dtype=np.uint8)
    for r in range(max(0, row - reach), min(z.shape[0], row + reach + 1)):
        for c in range(max(0, col - reach), min(z.shape[1], col + reach + 1)):
            dr, dc = r - row, c - col
            if dr * dr + dc * dc > reach * reach:
                continue
            end = z[r, c] + target
            free = True
            for k in range(1, abs(dc)):
                t = k / abs(dc)
                y = row + t * dr
                i = int(math.floor(y + 1e-12))
                f = y - i
                x = col + (k if dc > 0 else -k)
                h = z[i, x]
                if f > 1e-9:
                    h = h + (z[i + 1, x] - h) * f
                if h > eye + (end - eye) * t + 1e-7:
                    free = False
                    break
            if free:
                for k in range(1, abs(dr)):
                    t = k / abs(dr)
                    x = col + t * dc
                    j = int(math.floor(x + 1e-12))
                    f = x - j
                    i = row + (k if dr > 0 else -k)
                    h = z[i, j]
                    if f > 1e-9:
                        h = h + (z[i, j + 1] - h) * f
                    if h > eye + (end - eye) * t + 1e-7:
                        free = False
                        break
            seen[r, c] = free
    return seen


class Case:
    """One observer in the middle of a square of heights, row 0 in the south."""

    def __init__(self, surface, x, y, radius_m):
        self.surface, self.radius_m = surface, radius_m
        self.reach = int(radius_m / CELL_M)
        size = self.reach + 1
        rows, cols = surface.cell_of([x], [y])
        self.window = surface.window(int(rows[0]) - size, int(cols[0]) - size, 2 * size + 1, 2 * size + 1)
        self.z, self.middle = self.window.z, size
        self.eye = float(self.z[size, size]) + EYE_M
        self.observer = Observer(x=x, y=y, eye_height_m=EYE_M, radius_m=radius_m, base="surface")
        d = np.arange(2 * size + 1) - size
        self.disc = d[:, None] ** 2 + d[None, :] ** 2 <= self.reach**2
        self.truth = r3(self.z.astype(np.float64), size, size, self.eye, TARGET_M, self.reach) > 0


def best_of(run, times, clock=time.perf_counter):
    least = math.inf
    for _ in range(times):
        start = clock()
        out = run()
        least = min(least, clock() - start)
    return out, least


def ours(case, mode, workers=1):
    def run():
        options = {"target_height_m": TARGET_M, "mode": mode, "workers": workers}
        return look_in(case.window, case.surface, case.observer, **options).seen

    run()
    seen, seconds = best_of(run, 9)
    return seen > 0, seconds


def xarray_spatial(case):
    import xarray
    from xrspatial import viewshed

    n = case.z.shape[0]
    place = (np.arange(n) - case.middle) * CELL_M
    raster = xarray.DataArray(case.z.astype(np.float64), dims=("y", "x"), coords={"y": place, "x": place})

    def run():
        return viewshed(raster, x=0.0, y=0.0, observer_elev=EYE_M, target_elev=TARGET_M).values

    out, seconds = best_of(run, 2)
    return (out > -1) & case.disc, seconds


def _grid(folder, case):
    import rasterio
    from rasterio.transform import from_origin

    n = case.z.shape[0]
    path = folder / "heights.tif"
    options = {"driver": "GTiff", "width": n, "height": n, "count": 1, "dtype": "float32", "crs": 4546}
    west, north = 500_000.0, 3_400_000.0 + n * CELL_M
    with rasterio.open(path, "w", transform=from_origin(west, north, CELL_M, CELL_M), **options) as file:
        file.write(case.z[::-1], 1)
    return path, west + (case.middle + 0.5) * CELL_M, 3_400_000.0 + (case.middle + 0.5) * CELL_M


def _read(path, case, is_seen):
    import rasterio

    with rasterio.open(path) as file:
        values = file.read(1)[::-1]
        place = file.transform
    n = case.z.shape[0]
    out = np.zeros((n, n), dtype=bool)
    c0 = round((place.c - 500_000.0) / CELL_M)
    r0 = round((place.f - file.height * CELL_M - 3_400_000.0) / CELL_M)
    out[r0 : r0 + values.shape[0], c0 : c0 + values.shape[1]] = is_seen(values)
    return out & case.disc


def gdal_program(case):
    with tempfile.TemporaryDirectory() as name:
        path, x, y = _grid(Path(name), case)
        target = Path(name) / "seen.tif"
        command = ["gdal_viewshed", "-q", "-md", str(case.radius_m), "-ox", str(x), "-oy", str(y), "-oz", str(EYE_M)]
        command += ["-tz", str(TARGET_M), "-cc", "0", str(path), str(target)]
        _, seconds = best_of(lambda: subprocess.run(command, check=True, capture_output=True), 3)
        return _read(target, case, lambda v: v == 255), seconds


IN_PROCESS = """
import json, sys, time
from osgeo import gdal
gdal.UseExceptions()
path, x, y, eye, target, distance, out = json.loads(sys.argv[1])
memory = gdal.GetDriverByName("MEM").CreateCopy("", gdal.Open(path))
least = 1e9
for _ in range(9):
    start = time.perf_counter()
    seen = gdal.ViewshedGenerate(memory.GetRasterBand(1), "MEM", "", [], x, y, eye, target, 255, 0, 0, -1, 0.0,
                                 gdal.GVM_Edge, distance)
    least = min(least, time.perf_counter() - start)
gdal.GetDriverByName("GTiff").CreateCopy(out, seen)
print(json.dumps([gdal.__version__, least]))
"""

# the library that comes inside the wheel of rasterio, called through its C interface
IN_WHEEL = """
import ctypes, glob, json, os, sys, time
import rasterio
path, x, y, eye, target, distance, out = json.loads(sys.argv[1])
folder = os.path.join(os.path.dirname(os.path.dirname(rasterio.__file__)), "rasterio.libs")
lib = ctypes.CDLL(glob.glob(os.path.join(folder, "libgdal-*.so*"))[0])
P, S, D, I = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_double, ctypes.c_int
lib.GDALOpen.restype = lib.GDALGetDriverByName.restype = lib.GDALCreateCopy.restype = P
lib.GDALGetRasterBand.restype = lib.GDALViewshedGenerate.restype = P
lib.GDALGetDriverByName.argtypes = [S]
lib.GDALOpen.argtypes = [S, I]
lib.GDALCreateCopy.argtypes = [P, S, P, I, P, P, P]
lib.GDALGetRasterBand.argtypes = [P, I]
lib.GDALClose.argtypes = [P]
lib.GDALViewshedGenerate.argtypes = [P, S, S, P, D, D, D, D, D, D, D, D, D, I, D, P, P, I, P]
lib.GDALAllRegister()
memory = lib.GDALCreateCopy(lib.GDALGetDriverByName(b"MEM"), b"", lib.GDALOpen(path.encode(), 0), 0, None, None, None)
band = lib.GDALGetRasterBand(memory, 1)
least = 1e9
for _ in range(9):
    start = time.perf_counter()
    seen = lib.GDALViewshedGenerate(band, b"MEM", b"", None, x, y, eye, target, 255, 0, 0, -1, 0.0, 2, distance, None, None, 1,
                                    None)
    least = min(least, time.perf_counter() - start)
lib.GDALClose(lib.GDALCreateCopy(lib.GDALGetDriverByName(b"GTiff"), out.encode(), seen, 0, None, None, None))
print(json.dumps([rasterio.__gdal_version__, least]))
"""


def _gdal_in_process(case, python, script):
    with tempfile.TemporaryDirectory() as name:
        path, x, y = _grid(Path(name), case)
        target = str(Path(name) / "seen.tif")
        values = json.dumps([str(path), x, y, EYE_M, TARGET_M, case.radius_m, target])
        done = subprocess.run([python, "-c", script, values], check=True, capture_output=True, text=True)
        _, seconds = json.loads(done.stdout)
        return _read(target, case, lambda v: v == 255), seconds


def gdal_in_process(case):
    return _gdal_in_process(case, "/usr/bin/python3", IN_PROCESS)


def gdal_in_wheel(case):
    return _gdal_in_process(case, sys.executable, IN_WHEEL)


def grass(case):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, x, y = _grid(folder, case)
        script = folder / "run.sh"
        target = folder / "seen.tif"
        script.write_text(
            f"""set -e
r.in.gdal -o input={path} output=z --quiet
g.region raster=z
for i in 1 2; do
start=$(date +%s.%N)
r.viewshed input=z output=seen coordinates={x},{y} observer_elevation={EYE_M} target_elevation={TARGET_M} \\
  max_distance={case.radius_m} memory=2000 --overwrite --quiet
end=$(date +%s.%N)
echo "SECONDS $(echo "$end $start" | awk '{{print $1 - $2}}')"
done
r.null map=seen null=-9999 --quiet
r.out.gdal input=seen output={target} format=GTiff type=Float32 --quiet -f
"""
        )
        subprocess.run(["grass", "-c", str(path), "-e", str(folder / "loc")], check=True, capture_output=True)
        done = subprocess.run(
            ["grass", str(folder / "loc" / "PERMANENT"), "--exec", "sh", str(script)],
            check=True,
            capture_output=True,
            text=True,
        )
        seconds = min(float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("SECONDS"))
        return _read(target, case, lambda v: np.isfinite(v) & (v > -9999)), seconds


def peers():
    found = {}
    try:
        import xrspatial

        found[f"xarray-spatial {xrspatial.__version__}"] = xarray_spatial
    except ImportError:
        print("xarray-spatial is not installed: left out")
    if shutil.which("grass"):
        found["GRASS r.viewshed"] = grass
    else:
        print("GRASS is not installed: left out")
    if shutil.which("gdal_viewshed"):
        found["GDAL program"] = gdal_program
    else:
        print("gdal_viewshed is not installed: left out")
    probe = "from osgeo import gdal; print(gdal.__version__, gdal.ViewshedGenerate)"
    asked = subprocess.run(["/usr/bin/python3", "-c", probe], capture_output=True, check=False, text=True)
    if asked.returncode == 0:
        found[f"GDAL {asked.stdout.split()[0]} in process"] = gdal_in_process
    else:
        print("the system's Python has no osgeo.gdal: left out")
    import rasterio

    found[f"GDAL {rasterio.__gdal_version__} in process"] = gdal_in_wheel
    return found


def agreement(pairs):
    common = sum(np.count_nonzero(a & b) for a, b in pairs)
    either = sum(np.count_nonzero(a | b) for a, b in pairs)
    return common / either


def viewsheds(ranges) -> None:
    surface = town(CELL_M)
    rng = np.random.default_rng(7)
    tools = {
        "exact": lambda c: ours(c, "exact"),
        "fast": lambda c: ours(c, "fast"),
        "fast, 2 threads": lambda c: ours(c, "fast", 2),
    }
    tools |= peers()
    for radius in ranges:
        observers, slow = 12, 12 if radius <= 1000 else 2
        cases = []
        while len(cases) < observers:
            x, y = rng.uniform(radius + 100, SIDE_M - radius - 100, 2)
            cases.append(Case(surface, float(x), float(y), radius))
        seen = sum(np.count_nonzero(c.truth) for c in cases) / sum(np.count_nonzero(c.disc) for c in cases)
        print(
            f"\nrange {radius:g} m, {observers} observers, {seen:.1%} of the cells seen, load {os.getloadavg()[0]:.1f}"
        )
        print(f"{'tool':28s} {'median ms':>10s} {'least ms':>10s} {'agreement':>10s}")
        for name, tool in tools.items():
            chosen = cases if name in ("exact", "fast", "fast, 2 threads") or name.startswith("GDAL") else cases[:slow]
            tool(chosen[0])
            pairs, seconds = [], []
            for case in chosen:
                out, took = tool(case)
                out = out.copy()
                out[case.middle, case.middle] = True
                pairs.append((out, case.truth))
                seconds.append(took * 1e3)
            share = agreement(pairs)
            print(f"{name:28s} {statistics.median(seconds):10.2f} {min(seconds):10.2f} {share:10.4f}", flush=True)
            if name == "exact":
                assert share > 0.99999, "exact must be the rule itself, but for ties in the last digit"
            if name == "fast":
                assert share >= 0.97


def isovists() -> None:
    rng = np.random.default_rng(11)
    shapes, _ = footprints()
    middle = shapely.box(9_000, 9_000, 11_000, 11_000)
    near = shapes[shapely.within(shapes, middle)][:1300]
    ready = Isovists(near, np.full(len(near), 30.0), eye_m=6.0)
    whole = shapely.union_all(near)
    west, south, east, north = shapely.bounds(whole)
    places = np.column_stack([rng.uniform(west, east, 4000), rng.uniform(south, north, 4000)])
    places = places[shapely.distance(whole, shapely.points(places)) > 0.05][:2000]
    print(f"\nvisible polygons, {ready.edges:,} edges, {len(places):,} queries in a batch")
    for radius in (150.0, 500.0, 5000.0):
        ready.rings(places[:2, 0], places[:2, 1], radius_m=radius)
        (corners, _), seconds = best_of(
            lambda radius=radius: ready.rings(places[:, 0], places[:, 1], radius_m=radius, workers=1), 5, time.process_time
        )
        _, wall = best_of(lambda radius=radius: ready.rings(places[:, 0], places[:, 1], radius_m=radius), 5, time.perf_counter)
        made, seconds2 = best_of(
            lambda radius=radius: ready.polygons(places[:, 0], places[:, 1], radius_m=radius), 3, time.process_time
        )
        per, per2 = seconds / len(places) * 1e6, seconds2 / len(places) * 1e6
        print(
            f"range {radius:6g} m: {per:6.1f} us of CPU a query, {wall / len(places) * 1e6:6.1f} us on the clock in the batch with all threads,"
            f" {per2:6.1f} us with polygons, {len(corners) / len(places):.0f} corners"
        )
        assert shapely.is_valid(made).all()
        for i in range(0, 40, 4):  # points of the polygon are those that a straight line reaches
            probes = shapely.points(places[i] + rng.normal(size=(200, 2)) * radius / 3)
            eye = shapely.Point(places[i])
            lines = shapely.linestrings([[places[i], p] for p in shapely.get_coordinates(probes)])
            free = ~shapely.intersects(shapely.union_all(near), lines) & (shapely.length(lines) < radius * 0.99)
            sure = (shapely.length(lines) < radius * 0.99) & (
                shapely.distance(shapely.boundary(made[i]), probes) > 1e-6
            )
            assert eye.within(made[i].buffer(1e-6))
            assert (shapely.contains(made[i], probes) == free)[sure].all()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranges", type=float, nargs="*", default=[1000.0, 5000.0])
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    if options.ranges:
        viewsheds(options.ranges)
    isovists()


if __name__ == "__main__":
    main()
