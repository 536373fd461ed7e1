"""Height rasters: what is refused, what a mosaic takes from whom, which cells are filled."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.fill
from affine import Affine
from numpy.typing import NDArray
from rasterio.transform import from_origin

from gis.crs import transformer
from gis.errors import CRSMismatch, InputError, LimitExceeded, RasterReadFailed, UnreadableFile
from gis.heightfile import inspect_heights, vertical_reference
from gis.mosaic import Flag, mosaic_heights, read_heights, write_heights

VOID = -32768
Heights = NDArray[np.float32]


def _hgt(folder: Path, name: str, values: NDArray[np.int16]) -> Path:
    path = folder / name
    path.write_bytes(values.astype(">i2").tobytes())
    return path


def _tif(
    path: Path,
    values: NDArray[np.generic],
    transform: Affine,
    crs: str | None = "EPSG:4546",
    nodata: float | None = None,
) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", width=values.shape[1], height=values.shape[0], count=1, dtype=values.dtype, crs=crs,
        transform=transform, nodata=nodata,
    ) as out:  # fmt: skip
        out.write(values, 1)
    return path


def _laid(folder: Path, *paths: Path, fill_cells: int = 100) -> tuple[Heights, NDArray[np.uint8], Affine, object]:
    files = [inspect_heights(path) for path in paths]
    mosaic = mosaic_heights(files, folder / "m.tif", folder / "m.flags.tif", fill_cells=fill_cells)
    with rasterio.open(folder / "m.tif") as heights, rasterio.open(folder / "m.flags.tif") as flags:
        assert heights.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == flags.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert heights.transform == flags.transform
        return heights.read(1), flags.read(1), heights.transform, mosaic


def _relief(rows: int, columns: int, seed: int = 1) -> NDArray[np.int16]:
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 1, (rows // 40 + 2, columns // 40 + 2))
    fine = np.kron(coarse, np.ones((40, 40)))[:rows, :columns]
    return (400 + 80 * fine + rng.normal(0, 3, (rows, columns))).astype(np.int16)


def test_hgt_is_placed_by_its_name(tmp_path: Path) -> None:
    file = inspect_heights(_hgt(tmp_path, "N30E111.hgt", _relief(1201, 1201)))
    assert (file.driver, file.srid, file.width, file.height) == ("SRTMHGT", 4326, 1201, 1201)
    assert file.bounds == pytest.approx((111 - 1 / 2400, 30 - 1 / 2400, 112 + 1 / 2400, 31 + 1 / 2400))
    assert 80 < file.cell_m < 93


def test_filling_by_blocks_is_filling_at_once(tmp_path: Path) -> None:
    """Against GDAL's filling of the whole array; voids lie across the seams of blocks (1,024 cells)."""
    raw = _relief(1201, 1201)
    rng = np.random.default_rng(7)
    for row, column in [(1020, 1000), (1023, 200), (300, 1024), *rng.integers(0, 1150, (30, 2))]:
        raw[row : row + 25, column : column + 40] = VOID
    raw[500:900, 500:900] = VOID  # too wide to be filled to its middle
    heights, flags, _, mosaic = _laid(tmp_path, _hgt(tmp_path, "N30E111.hgt", raw), fill_cells=60)
    whole = rasterio.fill.fillnodata(raw.astype(np.float32), mask=raw != VOID, max_search_distance=60)
    measured = raw != VOID
    assert (heights[measured] == raw[measured]).all()
    assert ((flags == Flag.MEASURED) == measured).all()
    filled = flags == Flag.FILLED
    assert (filled == (~measured & (whole != VOID))).all()
    np.testing.assert_allclose(heights[filled], whole[filled], atol=1e-3)
    assert (flags[650:750, 650:750] == Flag.VOID).all() and (heights[flags == Flag.VOID] == VOID).all()
    assert (mosaic.void_count, mosaic.filled_count) == (int((~measured).sum()), int(filled.sum()))  # type: ignore[attr-defined]


def test_voids_may_be_left(tmp_path: Path) -> None:
    raw = _relief(1201, 1201)
    raw[10:20, 10:20] = VOID
    _, flags, _, mosaic = _laid(tmp_path, _hgt(tmp_path, "N30E111.hgt", raw), fill_cells=0)
    assert (flags[10:20, 10:20] == Flag.VOID).all()
    assert (mosaic.void_count, mosaic.filled_count) == (100, 0)  # type: ignore[attr-defined]


def test_neighbouring_tiles_share_their_edge_and_nothing_is_invented_between(tmp_path: Path) -> None:
    west, north_east = _relief(1201, 1201, 1), _relief(1201, 1201, 2)
    heights, flags, _, _ = _laid(
        tmp_path, _hgt(tmp_path, "N30E111.hgt", west), _hgt(tmp_path, "N31E112.hgt", north_east)
    )
    assert heights.shape == (2401, 2401)
    assert (heights[1200:, :1201][1:, :1200] == west[1:, :1200]).all()
    assert (heights[:1201, 1200:] == north_east).all()  # named later, it has the shared corner
    assert (flags[:1200, :1200] == Flag.OUTSIDE).all() and (flags[1201:, 1201:] == Flag.OUTSIDE).all()


def test_finer_goes_before_coarser_and_later_before_earlier(tmp_path: Path) -> None:
    def flat(name: str, value: float, cell: float, size: int) -> Path:
        return _tif(
            tmp_path / name, np.full((size, size), value, np.float32), from_origin(500_000, 3_400_000, cell, cell)
        )

    coarse, old, new = flat("coarse.tif", 10, 40, 20), flat("old.tif", 20, 10, 40), flat("new.tif", 30, 10, 20)
    heights, flags, transform, _ = _laid(tmp_path, old, new, coarse)
    assert transform.a == 10 and heights.shape == (80, 80)
    assert (heights[:20, :20] == 30).all() and (heights[25:40, 25:40] == 20).all() and (heights[45:, 45:] == 10).all()
    assert (flags == Flag.MEASURED).all()
    assert (_laid(tmp_path, new, old, coarse)[0][:20, :20] == 20).all()


def test_another_system_is_resampled(tmp_path: Path) -> None:
    """A plane in metres, given once in metres and once in degrees, is the same plane in the mosaic."""

    def plane(x: NDArray[np.float64], y: NDArray[np.float64]) -> Heights:
        return (200 + 0.01 * (x - 500_000) + 0.02 * (y - 3_400_000)).astype(np.float32)

    columns, rows = np.meshgrid(np.arange(100) + 0.5, np.arange(100) + 0.5)
    metric = from_origin(500_000, 3_400_000, 30, 30)
    first = _tif(tmp_path / "metric.tif", plane(500_000 + 30 * columns, 3_400_000 - 30 * rows), metric)
    west, north = 111.02, 30.73
    x, y = transformer(4326, 4546).transform(west + columns / 3000, north - rows / 3000)
    second = _tif(tmp_path / "degrees.tif", plane(x, y), from_origin(west, north, 1 / 3000, 1 / 3000), "EPSG:4326")
    heights, flags, transform, mosaic = _laid(tmp_path, second, first)
    assert mosaic.srid == 4546  # type: ignore[attr-defined]
    i, j = np.nonzero(flags == Flag.MEASURED)
    expected = plane(transform.c + transform.a * (j + 0.5), transform.f + transform.e * (i + 0.5))
    off = np.abs(heights[i, j] - expected)
    assert len(i) > 15_000
    assert np.quantile(off, 0.99) < 0.02 and off.max() < 0.6  # half a cell at the rim of a resampled file


@pytest.mark.parametrize("bad", [-9999.0, VOID, 3.4e38, np.nan, np.inf, 12_000.0])
def test_impossible_heights_are_voids_though_nobody_says_so(tmp_path: Path, bad: float) -> None:
    values = np.full((30, 30), 100, np.float32)
    values[10:12, 10:12] = bad
    path = _tif(tmp_path / "a.tif", values, from_origin(500_000, 3_400_000, 5, 5))
    heights, flags, _, mosaic = _laid(tmp_path, path)
    assert mosaic.filled_count == 4  # type: ignore[attr-defined]
    assert (flags[10:12, 10:12] == Flag.FILLED).all() and np.allclose(heights, 100)


def test_windows_in_another_system(tmp_path: Path) -> None:
    values = np.add.outer(np.arange(400, 0, -1.0), np.arange(0, 200, 0.5)).astype(np.float32)
    values[100:110, 100:110] = np.nan
    transform = from_origin(500_000, 3_400_000, 10, 10)
    mosaic = write_heights(values, transform, 4546, tmp_path / "h.tif", tmp_path / "h.flags.tif")
    assert (mosaic.void_count, mosaic.filled_count, mosaic.cell_m) == (100, 0, 10)
    bounds = (500_500.0, 3_397_000.0, 502_501.0, 3_399_500.0)
    window, at, filled = read_heights(tmp_path / "h.tif", tmp_path / "h.flags.tif", bounds, srid=4546, cell_m=10)
    assert window.shape == (250, 201) and (at.c, at.f) == (500_500, 3_399_500) and not filled.any()
    np.testing.assert_array_equal(window, values[50:300, 50:251])
    assert np.isnan(window[50:60, 50:60]).all() and np.isnan(window).sum() == 100
    beyond, _, _ = read_heights(
        tmp_path / "h.tif", None, (499_900, 3_399_900, 500_100, 3_400_100), srid=4546, cell_m=10
    )
    assert np.isnan(beyond[:10]).all() and np.isnan(beyond[:, :10]).all() and np.isfinite(beyond[10:, 10:]).all()


def test_files_that_are_refused(tmp_path: Path) -> None:
    good = np.full((40, 40), 5, np.float32)
    place = from_origin(500_000, 3_400_000, 5, 5)

    def refused(path: Path, error: type[Exception], words: str, crs: str | None = None) -> None:
        with pytest.raises(error, match=words):
            inspect_heights(path, crs=crs)

    refused(tmp_path / "none.tif", UnreadableFile, "cannot be opened")
    (tmp_path / "empty.tif").touch()
    refused(tmp_path / "empty.tif", UnreadableFile, "is empty")
    (tmp_path / "words.tif").write_text("not a raster" * 100)
    refused(tmp_path / "words.tif", UnreadableFile, "not a raster")
    refused(_hgt(tmp_path, "N30E111.hgt", _relief(1201, 1200)), UnreadableFile, "truncated")
    refused(_hgt(tmp_path, "terrain.hgt", _relief(1201, 1201)), UnreadableFile, "named after its south-west corner")
    whole = _tif(tmp_path / "whole.tif", np.random.default_rng(1).random((800, 800), np.float32), place)
    cut = tmp_path / "cut.tif"
    cut.write_bytes(whole.read_bytes()[:900_000])
    refused(cut, UnreadableFile, "truncated")
    homeless = _tif(tmp_path / "homeless.tif", good, place, crs=None)
    refused(homeless, CRSMismatch, "--crs")
    assert inspect_heights(homeless, crs="EPSG:4546").srid == 4546
    refused(homeless, CRSMismatch, "gcj02", "gcj02")
    refused(homeless, CRSMismatch, "not coordinates of EPSG:4326", "EPSG:4326")
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        nowhere = _tif(tmp_path / "nowhere.tif", good, Affine.identity())
    refused(nowhere, CRSMismatch, "where it lies")
    turned = _tif(tmp_path / "turned.tif", good, place @ Affine.rotation(10))
    refused(turned, InputError, "rotated")
    blank = inspect_heights(_tif(tmp_path / "blank.tif", np.full((40, 40), -9999, np.float32), place, nodata=-9999))
    with pytest.raises(InputError, match="every cell is a void"):
        mosaic_heights([blank], tmp_path / "m.tif", tmp_path / "f.tif")
    with pytest.raises(RasterReadFailed, match="missing or damaged"):
        read_heights(tmp_path / "gone.tif", None, (0, 0, 10, 10), srid=4546, cell_m=1)
    with pytest.raises(LimitExceeded):
        read_heights(tmp_path / "gone.tif", None, (0, 0, 1e6, 1e6), srid=4546, cell_m=1)


def test_height_references() -> None:
    assert vertical_reference(None) is None
    assert vertical_reference("5737") == vertical_reference("EPSG:5737") == "EPSG:5737"
    for text in ("EPSG:4490", "EPSG:999999", "sea level"):
        with pytest.raises(CRSMismatch):
            vertical_reference(text)
