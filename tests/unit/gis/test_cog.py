"""Rasters of which a few blocks change, against GDAL writing them whole."""

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from gis.cog import open_patch
from gis.errors import UnreadableFile
from gis.raster import write_cog

SIDE = 256


def drawn(rng, rows, cols, bands=4):
    """Patches of small numbers, much left empty; row 0 in the north."""
    values = np.zeros((bands, rows, cols), dtype=np.uint8)
    for _ in range(12):
        row, col = rng.integers(0, rows), rng.integers(0, cols)
        values[:, row : row + 90, col : col + 70] = rng.integers(0, 4, (bands, 1, 1))
    return values


def write(path, values):
    write_cog(
        path, values[:, ::-1], west_m=500_000.0, south_m=3_400_000.0, cell_m=1.0, crs=4546, names=["a", "b", "c", "d"], tags={"MADE": "by hand"}
    )  # fmt: skip


def equal(one, other):
    """Everything that a reader sees, in all overviews."""
    with rasterio.open(one) as a, rasterio.open(other) as b:
        assert a.profile == b.profile
        assert (a.tags(), a.tags(ns="IMAGE_STRUCTURE"), a.descriptions) == (b.tags(), b.tags(ns="IMAGE_STRUCTURE"), b.descriptions)
        assert [a.overviews(band) for band in a.indexes] == [b.overviews(band) for band in b.indexes]
        np.testing.assert_array_equal(a.read(), b.read())
        levels = len(a.overviews(1))
    for level in range(levels):
        with rasterio.open(one, overview_level=level) as a, rasterio.open(other, overview_level=level) as b:
            np.testing.assert_array_equal(a.read(), b.read(), err_msg=f"overview {level}")
    return levels


@pytest.mark.parametrize(("rows", "cols", "levels"), [(256, 256, 0), (256, 768, 2), (1280, 768, 3), (2048, 2048, 3)])
def test_a_file_of_which_blocks_change_is_that_which_gdal_writes_whole(tmp_path, rows, cols, levels):
    rng = np.random.default_rng(rows + cols)
    values = drawn(rng, rows, cols)
    file = tmp_path / "0.tif"
    write(file, values)
    places = [(row, col) for row in range(rows // SIDE) for col in range(cols // SIDE)]
    for step in range(1, 5):
        changed = {}
        for k in rng.permutation(len(places))[: min(3, len(places))]:
            row, col = places[k]
            # filled, emptied, drawn anew; what a file before left out may come back
            block = [drawn(rng, SIDE, SIDE), np.zeros((4, SIDE, SIDE), np.uint8), rng.integers(0, 200, (4, SIDE, SIDE)).astype(np.uint8)][step % 3]
            values[:, row * SIDE : (row + 1) * SIDE, col * SIDE : (col + 1) * SIDE] = block
            changed[(row, col)] = block
        was = file.read_bytes()
        new, whole = tmp_path / f"{step}.tif", tmp_path / f"whole-{step}.tif"
        patch = open_patch(file)
        assert (patch.height, patch.width, patch.bands, patch.side) == (rows, cols, 4, SIDE)
        assert patch.write(new, changed) == bool(values.any())
        assert file.read_bytes() == was, "the file before stays"
        if not values.any():
            assert not new.exists()
            return
        write(whole, values)
        assert equal(new, whole) == levels
        file = new


def test_blocks_lie_as_a_cloud_optimised_file_promises(tmp_path):
    """Directories before data, the coarsest overview first, each block behind its length and before its last four bytes."""
    rng = np.random.default_rng(7)
    values = drawn(rng, 1024, 1024)
    write(tmp_path / "a.tif", values)
    assert open_patch(tmp_path / "a.tif").write(tmp_path / "b.tif", {(1, 2): drawn(rng, SIDE, SIDE), (3, 3): drawn(rng, SIDE, SIDE)})
    data = (tmp_path / "b.tif").read_bytes()
    at = len(data)
    with rasterio.open(tmp_path / "b.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        blocks = 0
        for overview, side in ((None, 4), (0, 2), (1, 1)):
            for col, row in [(c, r) for r in range(side) for c in range(side)][::-1]:
                offset, size = (
                    file.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=1, ovr=overview) for what in ("OFFSET", "SIZE")
                )
                if offset is None:  # nothing there
                    continue
                start, end = int(offset), int(offset) + int(size)
                assert end + 4 == at, "nothing lies between blocks"
                assert int.from_bytes(data[start - 4 : start], "little") == int(size)
                assert data[end : end + 4] == data[end - 4 : end]
                at, blocks = start - 4, blocks + 1
    assert blocks > 6
    assert at < 4096, "before the blocks stand the directories only"


def test_files_of_another_layout_are_left_alone(tmp_path):
    plain = tmp_path / "plain.tif"
    options = {"driver": "GTiff", "width": 300, "height": 300, "count": 1, "dtype": "uint8", "crs": 4546}
    for more in ({}, {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "lzw"}, {"BIGTIFF": "YES"}):
        with rasterio.open(plain, "w", transform=from_origin(0, 300, 1, 1), **options, **more) as file:
            file.write(np.ones((300, 300), np.uint8), 1)
        assert open_patch(plain) is None
    plain.write_bytes(b"II*\x00\xff\xff\xff\x7f")
    assert open_patch(plain) is None
    with pytest.raises(UnreadableFile):
        open_patch(tmp_path / "none.tif")
