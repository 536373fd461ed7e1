"""Rasters in and out: terrain, cloud-optimised GeoTIFFs, coverage files, outlines."""

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin

from gis.cameras import prepare
from gis.coverage import compute
from gis.coverage_files import follow_coverage, read_coverage, write_coverage
from gis.coverage_update import update
from gis.errors import CRSMismatch, InputError, LimitExceeded, UnreadableFile
from gis.raster import polygons_of, raster_size, read_mosaic, read_terrain, write_cog
from gis.visibility import Surface, Terrain


@pytest.fixture
def plane(tmp_path):
    """A tilted plane in degrees: height is 1,000 times the latitude; one void."""
    path = tmp_path / "plane.tif"
    west, north, step = 111.0, 31.0, 0.001
    rows = np.arange(300)
    heights = np.repeat((1000 * (north - (rows + 0.5) * step))[:, None], 300, axis=1).astype(np.float32)
    heights[150, 150] = -32768
    options = {
        "driver": "GTiff",
        "width": 300,
        "height": 300,
        "count": 1,
        "dtype": "float32",
        "nodata": -32768,
        "crs": 4490,
    }
    with rasterio.open(path, "w", transform=from_origin(west, north, step, step), **options) as file:
        file.write(heights, 1)
    return path


def test_terrain_is_read_into_the_analysis_system(plane):
    from pyproj import Transformer

    to_metres = Transformer.from_crs(4490, 4546, always_xy=True)
    x, y = to_metres.transform(111.1, 30.9)
    terrain = read_terrain(plane, crs=4546, bounds=(x - 2000, y - 2000, x + 2000, y + 2000), resolution_m=50.0)
    surface = Surface(cell_m=10.0, terrain=terrain)
    for lon, lat in ((111.1, 30.9), (111.09, 30.91), (111.112, 30.888)):
        px, py = to_metres.transform(lon, lat)
        row, col = surface.cell_of([px], [py])
        assert float(surface.window(int(row[0]), int(col[0]), 1, 1).ground[0, 0]) == pytest.approx(1000 * lat, abs=0.2)


def test_voids_stay_voids(plane):
    terrain = read_terrain(plane, crs=4546)
    assert np.isnan(terrain.heights_m).any()
    assert np.nanmin(terrain.heights_m) > 30_000


def test_terrain_that_cannot_be_read_is_refused(plane, tmp_path):
    with pytest.raises(UnreadableFile):
        read_terrain(tmp_path / "none.tif", crs=4546)
    (tmp_path / "text.tif").write_text("not a raster")
    with pytest.raises(UnreadableFile):
        read_terrain(tmp_path / "text.tif", crs=4546)
    with pytest.raises(CRSMismatch):
        read_terrain(plane, crs=4490)
    with pytest.raises(InputError, match="cover"):
        read_terrain(plane, crs=4546, bounds=(0, 0, 1000, 1000))
    with pytest.raises(LimitExceeded):
        read_terrain(plane, crs=4546, resolution_m=0.01)


def test_a_cog_has_its_layout_overviews_and_place(tmp_path):
    values = np.arange(2 * 700 * 600, dtype=np.uint32).reshape(2, 700, 600) % 251
    path = tmp_path / "values.tif"
    write_cog(
        path,
        values.astype(np.uint8),
        west_m=500_000.0,
        south_m=3_400_000.0,
        cell_m=2.0,
        crs=4546,
        names=["a", "b"],
        tags={"RUN": "7"},
    )
    with rasterio.open(path) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.overviews(1)
        assert file.bounds == (500_000, 3_400_000, 501_200, 3_401_400)
        assert file.descriptions == ("a", "b")
        assert file.tags()["RUN"] == "7"
        np.testing.assert_array_equal(file.read()[:, ::-1], values)
    assert raster_size(path) == (700, 600)
    assert [p.name for p in tmp_path.iterdir()] == ["values.tif"]
    with pytest.raises(CRSMismatch):
        write_cog(path, values, west_m=0, south_m=0, cell_m=1, crs=None)


def test_a_mosaic_reads_across_files(tmp_path):
    whole = np.random.default_rng(1).integers(0, 200, (1, 60, 90)).astype(np.uint8)
    paths = []
    for i, (r, c) in enumerate([(0, 0), (0, 40), (30, 0)]):
        paths.append(tmp_path / f"{i}.tif")
        part = whole[:, r : r + 30, c : c + 40]
        write_cog(paths[-1], part, west_m=1000.0 + c, south_m=2000.0 + r, cell_m=1.0, crs=4546)
    got = read_mosaic(paths, west_m=1010.0, south_m=2010.0, rows=40, cols=60, cell_m=1.0, bands=1, dtype=np.uint8)
    expected = whole.copy()
    expected[:, 30:, 40:] = 0
    expected[:, :, 80:] = 0
    np.testing.assert_array_equal(got, expected[:, 10:50, 10:70])
    with pytest.raises(InputError, match="lattice"):
        read_mosaic(paths, west_m=1010.5, south_m=2010.0, rows=40, cols=60, cell_m=1.0, bands=1, dtype=np.uint8)


def test_outlines_hold_just_the_cells():
    mask = np.random.default_rng(2).random((30, 40)) < 0.4
    shape = polygons_of(mask, row=100, col=-7, cell_m=2.0)
    assert shape.is_valid
    assert shape.area == mask.sum() * 4
    for row, col in ((3, 5), (20, 31), (29, 39), (0, 0)):
        assert shape.contains(shapely.Point((col - 7 + 0.5) * 2, (row + 100 + 0.5) * 2)) == mask[row, col]
    assert polygons_of(np.zeros((3, 3), dtype=bool), row=0, col=0, cell_m=1.0).is_empty


def test_coverage_survives_its_files(tmp_path):
    rng = np.random.default_rng(3)
    n = 30
    columns = {
        "x": 500_000 + rng.uniform(0, 900, n),
        "y": 3_400_000 + rng.uniform(0, 900, n),
        "azimuth_deg": rng.uniform(0, 360, n),
    }
    columns |= {
        "net_status": rng.choice(["on", "off", None], n),
        "mount_height_m": np.where(rng.random(n) < 0.1, -1, 6.0),
    }
    terrain = Terrain(rng.normal(size=(100, 100)).astype(np.float32), 499_000.0, 3_402_000.0, 30.0, 30.0)
    result = compute(prepare(columns, crs=4546), Surface(cell_m=1.0, terrain=terrain))
    assert result.rejected
    paths = write_coverage(result, tmp_path / "run", piece_cells=512)
    assert len(paths) > 4
    back = read_coverage(tmp_path / "run")
    assert back.same_as(result)
    assert (back.fingerprint, back.assumptions, back.rejected) == (
        result.fingerprint,
        result.assumptions,
        result.rejected,
    )
    with rasterio.open(paths[0]) as file:
        bands = file.read()
        np.testing.assert_array_equal(bands[-1], (bands[:-1] > 0).sum(axis=0))
        assert file.tags()["BAIGE_FINGERPRINT"] == result.fingerprint
    # a smaller result in the same folder leaves nothing of the larger behind
    small = compute(prepare(columns, crs=4546).take([0]), Surface(cell_m=1.0, terrain=terrain))
    write_coverage(small, tmp_path / "run")
    assert read_coverage(tmp_path / "run").same_as(small)


def test_files_that_follow_a_change_equal_those_written_anew(tmp_path):
    rng = np.random.default_rng(4)
    n = 30
    columns = {"x": 500_000 + rng.uniform(0, 1200, n), "y": 3_400_000 + rng.uniform(0, 1200, n), "azimuth_deg": rng.uniform(0, 360, n)}
    table = prepare({**columns, "net_status": ["on"] * n}, crs=4546)
    surface = Surface(cell_m=1.0)
    state = compute(table, surface)
    folder = tmp_path / "0"
    write_coverage(state, folder, piece_cells=512)
    changes = [
        (table.take([0]), table.switched([0], 0).take([0])),  # off: what is installed stays as it is
        (table.take([1]), None),
        (None, prepare({"x": [503_000.0], "y": [3_400_000.0], "id": ["far"]}, crs=4546)),
        (prepare({"x": [503_000.0], "y": [3_400_000.0], "id": ["far"]}, crs=4546), None),
    ]
    for step, (gone, new) in enumerate(changes, start=1):
        before, old = state, {path.name: path.read_bytes() for path in folder.iterdir()}
        state = update(state, surface, before=gone, after=new).result
        written = follow_coverage(before, state, folder, tmp_path / str(step))
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == old, "the files before stay"
        folder = tmp_path / str(step)
        assert read_coverage(folder).same_as(state)
        assert read_coverage(folder).fingerprint == state.fingerprint
        anew = write_coverage(state, tmp_path / f"anew-{step}", piece_cells=512)
        assert {path.name for path in folder.glob("*.tif")} == {path.name for path in anew}
        for path in anew:
            with rasterio.open(path) as one, rasterio.open(folder / path.name) as other:
                assert one.profile == other.profile
                np.testing.assert_array_equal(one.read(), other.read())
        if step < 4:
            assert 0 < len(written) < len(anew)
        if step == 1:
            assert all("online" in path.name for path in written)
    with pytest.raises(UnreadableFile):
        follow_coverage(state, state, tmp_path / "nowhere", tmp_path / "other")


def test_coverage_files_that_are_missing_or_without_system_are_refused(tmp_path):
    with pytest.raises(UnreadableFile):
        read_coverage(tmp_path)
    with pytest.raises(CRSMismatch):
        write_coverage(compute({"x": [0.0], "y": [0.0]}), tmp_path)
    with pytest.raises(InputError):
        write_coverage(compute({"x": [0.0], "y": [0.0]}), tmp_path, crs=4546, piece_cells=100)
