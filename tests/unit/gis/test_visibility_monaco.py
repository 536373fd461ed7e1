"""The eye on a real hilly town: Monaco with SRTM terrain and its buildings; GDAL's viewshed as another opinion."""

import os
import shutil
import subprocess
from pathlib import Path

import geopandas as gpd
import numpy as np
import osmium
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin

from gis.cameras import prepare
from gis.coverage import compute
from gis.coverage_explain import Cause, explain
from gis.raster import read_terrain
from gis.visibility import Buildings, Observer, Surface, viewshed
from tests.unit.gis import sight_reference as plain

SHARED = Path(os.environ.get("BAIGE_SHARED_DATA", Path(__file__).resolve().parents[4] / "shared" / "data")) / "monaco"
CRS = 32632

pytestmark = pytest.mark.skipif(not (SHARED / "N43E007.hgt").exists(), reason="the shared test data are not there")


@pytest.fixture(scope="module")
def town():
    shapes, heights = [], []
    maker = osmium.geom.WKBFactory()
    source = osmium.FileProcessor(SHARED / "monaco-latest_20250211.osm.pbf").with_areas()
    for thing in source.with_filter(osmium.filter.KeyFilter("building")):
        if thing.is_area():
            shapes.append(shapely.from_wkb(maker.create_multipolygon(thing), on_invalid="ignore"))
            levels = thing.tags.get("building:levels", "")
            heights.append(float(levels) * 3.0 if levels.isdigit() and int(levels) > 0 else np.nan)
    frame = gpd.GeoDataFrame({"height_m": heights}, geometry=shapes, crs=4326)
    buildings = Buildings.read(frame, crs=CRS)
    west, south, east, north = frame.to_crs(CRS).total_bounds
    terrain = read_terrain(SHARED / "N43E007.hgt", crs=CRS, bounds=(west - 500, south - 500, east + 500, north + 500))
    return Surface(cell_m=2.0, terrain=terrain, buildings=buildings, refraction=1.0)


@pytest.fixture(scope="module")
def places(town):
    """Free places in the streets."""
    rng = np.random.default_rng(5)
    box = town.buildings.bounds
    found = []
    while len(found) < 24:
        west, south, _, _ = box[rng.integers(len(box))]
        x, y = west + rng.uniform(-15, 15), south + rng.uniform(-15, 15)
        row, col = town.cell_of([x], [y])
        here = town.window(int(row[0]), int(col[0]), 1, 1)
        if here.building[0, 0] < 0 and 1 < here.ground[0, 0] < 400:
            found.append((x, y))
    return found


def test_the_buildings_are_there(town):
    assert len(town.buildings) > 1500
    assert 0.2 < town.buildings.unknown.mean() < 0.9
    assert any("unknown height" in line for line in town.assumptions)


def test_exact_is_the_plain_reference_in_a_real_town(town, places):
    for x, y in places[:4]:
        shed = viewshed(town, Observer(x=x, y=y, eye_height_m=6.0, radius_m=50.0), target_height_m=1.0)
        n = shed.seen.shape[0]
        window = town.window(shed.row, shed.col, n, n)
        eye = float(window.ground[n // 2, n // 2]) + 6.0
        expected = plain.viewshed(window.z, n // 2, n // 2, eye, radius=25.0, target_m=1.0, cell_m=2.0, refraction=1.0)
        assert 50 < expected.sum() < 0.95 * 25**2 * np.pi
        np.testing.assert_array_equal(shed.seen, expected)


def test_fast_agrees_with_exact_in_a_real_town(town, places):
    common = either = 0
    for x, y in places:
        exact, fast = (
            viewshed(town, Observer(x=x, y=y, eye_height_m=8.0, radius_m=400.0), target_height_m=1.7, mode=mode).seen
            for mode in ("exact", "fast")
        )
        common += int((exact & fast).sum())
        either += int((exact | fast).sum())
    assert common / either >= 0.97


def test_gdal_is_of_much_the_same_opinion(town, places, tmp_path):
    """GDAL estimates the horizon from neighbouring cells, so it only comes near; a turned or shifted answer would not."""
    if shutil.which("gdal_viewshed") is None:
        pytest.skip("gdal_viewshed (Debian: gdal-bin) is not installed")
    common = either = 0
    for x, y in places[:6]:
        shed = viewshed(town, Observer(x=x, y=y, eye_height_m=12.0, radius_m=300.0), target_height_m=1.7)
        n = shed.seen.shape[0]
        window = town.window(shed.row, shed.col, n, n)
        north = (shed.row + n) * 2.0
        options = {"driver": "GTiff", "width": n, "height": n, "count": 1, "dtype": "float32", "crs": CRS}
        with rasterio.open(
            tmp_path / "z.tif", "w", transform=from_origin(shed.col * 2.0, north, 2.0, 2.0), **options
        ) as file:
            file.write(window.z[::-1], 1)
        # GDAL measures the eye from the surface below it, which in a street is the ground
        at = [f"{(shed.col + n // 2 + 0.5) * 2.0}", f"{(shed.row + n // 2 + 0.5) * 2.0}"]
        command = [
            "gdal_viewshed",
            "-q",
            "-md",
            "300",
            "-ox",
            at[0],
            "-oy",
            at[1],
            "-oz",
            "12",
            "-tz",
            "1.7",
            "-cc",
            "0",
        ]
        subprocess.run([*command, tmp_path / "z.tif", tmp_path / "seen.tif"], check=True, capture_output=True)
        with rasterio.open(tmp_path / "seen.tif") as file:
            other = np.zeros_like(shed.seen)
            values = file.read(1)[::-1] == 255
            r0 = round((file.bounds.bottom - shed.row * 2.0) / 2.0)
            c0 = round((file.bounds.left - shed.col * 2.0) / 2.0)
            other[r0 : r0 + values.shape[0], c0 : c0 + values.shape[1]] = values
        common += int((shed.seen & other).sum())
        either += int((shed.seen | other).sum())
    assert 0.6 < common / either < 1.0


def test_cameras_of_the_town_are_covered_and_explained(town, places):
    n = len(places)
    columns = {"x": [p[0] for p in places], "y": [p[1] for p in places], "azimuth_deg": np.linspace(0, 345, n)}
    table = prepare(columns | {"net_status": ["on"] * n})
    result = compute(table, town)
    assert result.cameras == n
    area = result.area_m2("confirmed_online")
    free = compute(table, Surface(cell_m=2.0, terrain=town.terrain, refraction=1.0)).area_m2("confirmed_online")
    assert 0.1 * free < area < 0.95 * free, "buildings take much of the view, not all"
    rng = np.random.default_rng(0)
    near = rng.integers(0, n, 3000)
    x, y = (
        np.array(columns["x"])[near] + rng.normal(size=3000) * 40,
        np.array(columns["y"])[near] + rng.normal(size=3000) * 40,
    )
    why = explain(table, town, x, y)
    counted = np.bincount(why.cause, minlength=len(Cause))
    assert counted[Cause.SEEN] > 100
    assert counted[Cause.BUILDING] > 50
    assert counted[Cause.WRONG_ANGLE] > 100
