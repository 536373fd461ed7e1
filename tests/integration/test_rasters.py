"""Rasters that the database knows: replaced as a whole or not at all, and read the finest first."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import sqlalchemy as sa
from rasterio.transform import from_origin

from data.dem import load_dem
from gis.errors import BaigeError, CRSMismatch, InputError, NotFound, UnreadableFile
from gis.settings import CityConfig
from layers.database import Database
from layers.rasters import add_heights, dem_rasters, dem_window, find_raster, remove_raster

PLACE = from_origin(527_000, 3_397_000, 30, 30)  # in the city, EPSG:4546
WINDOW = (527_300.0, 3_396_000.0, 527_900.0, 3_396_600.0)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def _files(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home / "rasters")) for path in (home / "rasters").rglob("*") if path.is_file())


def _tif(path: Path, value: float, *, cell: float = 30.0, size: int = 80, crs: str | None = "EPSG:4546") -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", width=size, height=size, count=1, dtype="float32", crs=crs,
        transform=from_origin(527_000, 3_397_000, cell, cell),
    ) as out:  # fmt: skip
        out.write(np.full((size, size), value, np.float32), 1)
    return path


def test_a_load_replaces_the_raster_of_its_name(
    fresh_database: Database, home: Path, tmp_path: Path, city: CityConfig
) -> None:
    first = load_dem(fresh_database, home, [_tif(tmp_path / "a.tif", 10)], city, name="三峡 DEM", vertical="5737")
    second = load_dem(fresh_database, home, [_tif(tmp_path / "b.tif", 20)], city, name="三峡 DEM", vertical="5737")
    assert first.raster is not None and second.raster is not None and first.raster.path != second.raster.path
    with fresh_database.begin(readonly=True) as connection:
        rows = connection.execute(
            sa.text("SELECT name, vertical_crs, sources, srid, nodata FROM baige_sys.raster")
        ).all()
        assert [raster.id for raster in dem_rasters(connection)] == [second.raster.id]
    assert [(row.name, row.vertical_crs, row.srid, row.nodata) for row in rows] == [
        ("三峡 DEM", "EPSG:5737", 4546, -32768)
    ]
    assert rows[0].sources[0]["file"] == "b.tif" and len(rows[0].sources[0]["sha256"]) == 64
    assert _files(home) == sorted([second.raster.path, second.raster.path.replace(".tif", ".flags.tif")])
    heights, _, filled = dem_window(fresh_database, home, WINDOW, srid=4546, cell_m=30)
    assert (heights == 20).all() and not filled.any()


def test_a_failed_load_leaves_everything_as_it_was(
    fresh_database: Database, home: Path, tmp_path: Path, city: CityConfig
) -> None:
    load_dem(fresh_database, home, [_tif(tmp_path / "a.tif", 10)], city, name="dem")
    before = _files(home)
    heights = np.full((5, 5), 99.0)
    with pytest.raises(BaigeError):  # the row is refused after the files were renamed into place
        add_heights(
            fresh_database, home, heights, PLACE, 4546, name="dem", classification="much too long for its column"
        )
    with pytest.raises(UnreadableFile):
        (tmp_path / "c.tif").write_bytes(b"II*\x00 and then nothing")
        load_dem(fresh_database, home, [tmp_path / "c.tif"], city, name="dem")
    assert _files(home) == before
    assert (dem_window(fresh_database, home, WINDOW, srid=4546, cell_m=30)[0] == 10).all()


def test_the_finest_counts_and_the_next_fills_its_gaps(fresh_database: Database, home: Path) -> None:
    coarse = np.full((80, 80), 100.0)
    fine = np.full((120, 120), 200.0)
    fine[50:70, 50:70] = np.nan
    add_heights(fresh_database, home, coarse, PLACE, 4546, name="coarse")
    add_heights(fresh_database, home, fine, from_origin(527_300, 3_396_600, 5, 5), 4546, name="fine", synthetic=True)
    with fresh_database.begin(readonly=True) as connection:
        assert [raster.name for raster in dem_rasters(connection, WINDOW, srid=4546)] == ["fine", "coarse"]
        assert find_raster(connection, "fine").synthetic
    heights, _, _ = dem_window(fresh_database, home, WINDOW, srid=4546, cell_m=5)
    assert heights.shape == (120, 120)
    assert (heights[50:70, 50:70] == 100).all() and (heights == 200).sum() == 120 * 120 - 400
    remove_raster(fresh_database, home, "fine")
    assert (dem_window(fresh_database, home, WINDOW, srid=4546, cell_m=5)[0] == 100).all()
    with pytest.raises(NotFound):
        remove_raster(fresh_database, home, "fine")


def test_what_is_refused_before_anything_is_made(
    fresh_database: Database, home: Path, tmp_path: Path, city: CityConfig
) -> None:
    good = _tif(tmp_path / "a.tif", 10)
    with pytest.raises(CRSMismatch, match="--crs"):
        load_dem(fresh_database, home, [good, _tif(tmp_path / "b.tif", 10, crs=None)], city)
    with pytest.raises(CRSMismatch, match="height reference"):
        load_dem(fresh_database, home, [good], city, vertical="EPSG:4490")
    with pytest.raises(InputError, match="lies in Yichang"):
        load_dem(fresh_database, home, [_tif(tmp_path / "c.tif", 10, crs="EPSG:32632")], city)
    for name in ("", "a/b", "x" * 101):
        with pytest.raises(InputError, match="cannot name a raster"):
            add_heights(fresh_database, home, np.ones((4, 4)), PLACE, 4546, name=name)
    dry = load_dem(None, home, [good], city)
    assert dry.raster is None and dry.files[0].cell_m == 30
    assert not (home / "rasters").exists() or _files(home) == []
