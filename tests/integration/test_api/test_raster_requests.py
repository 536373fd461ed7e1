"""Rasters as coverages and maps: parts, sizes, scales, colours and places, checked against the file itself."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
import sqlalchemy as sa
from PIL import Image
from rasterio.transform import from_origin

from data.dem import load_dem
from gis.coverage import CoverageResult, compute
from gis.coverage_chunks import PRODUCTS
from gis.coverage_files import write_coverage
from gis.visibility_surface import Surface, Terrain
from layers.rasters import remove_raster

WEST, NORTH, CELL, COLUMNS, ROWS = 527_000.0, 3_397_000.0, 30.0, 120, 80
NAME = "起伏 relief"
LOCAL = "http://www.opengis.net/def/crs/EPSG/0/4546"
HOLE = (slice(20, 40), slice(30, 50))
TO_DEGREES = pyproj.Transformer.from_crs(4546, 4326, always_xy=True)


@pytest.fixture(scope="module")
def heights(served: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[np.ndarray]:
    """A hill with a hole in it, known to the server."""
    y, x = np.mgrid[0:ROWS, 0:COLUMNS]
    values = (100 + 80 * np.exp(-((x - 70) ** 2 + (y - 30) ** 2) / 900) + x * 0.3).astype(np.float32)
    values[HOLE] = -9999
    path = tmp_path_factory.mktemp("dem") / "relief.tif"
    with rasterio.open(path, "w", driver="GTiff", width=COLUMNS, height=ROWS, count=1, dtype="float32", crs="EPSG:4546", nodata=-9999,
                       transform=from_origin(WEST, NORTH, CELL, CELL)) as out:  # fmt: skip
        out.write(values, 1)
    load_dem(served.database, served.state.settings.home, [path], served.state.city, name=NAME, fill_cells=0)
    with rasterio.open(next(f for f in (served.state.settings.home / "rasters").rglob("*.tif") if ".flags" not in f.name)) as stored:
        found = stored.read(1, masked=True)
    yield found
    remove_raster(served.database, served.state.settings.home, NAME)


def asked(served: Any, kind: str, **params: Any) -> Any:
    return served.get(f"/rasters/{NAME}/{kind}", role="planner", **params)


def tiff(answer: Any) -> tuple[np.ma.MaskedArray[Any, Any], Any]:
    assert answer.status_code == 200, answer.text
    with rasterio.MemoryFile(answer.content) as memory, memory.open() as source:
        return source.read(1, masked=True), source.transform


def picture(answer: Any) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGBA"))


def degrees(*columns_rows: float) -> tuple[float, ...]:
    """Longitudes and latitudes around a part given by column, row, column, row."""
    left, top, right, low = columns_rows
    return TO_DEGREES.transform_bounds(WEST + left * CELL, NORTH - low * CELL, WEST + right * CELL, NORTH - top * CELL)


@pytest.mark.usefixtures("heights")
def test_descriptions_and_who_sees_them(served: Any) -> None:
    found = {r["id"]: r for r in served.get("/rasters", role="planner").json()["rasters"]}
    assert found[NAME]["storageCrs"] == LOCAL
    assert LOCAL in found[NAME]["crs"]
    link = next(k["href"] for k in found[NAME]["links"] if k["rel"].endswith("/map"))
    assert served.client.get(link, headers={"X-API-Key": served.keys["planner"]}).status_code == 200
    html = served.get("/rasters", f="html", lang="zh", role="planner")
    assert "栅格" in html.text and NAME in html.text
    assert NAME not in served.get("/rasters").text
    assert served.get(f"/rasters/{NAME}/map").status_code == 404


def test_values_are_those_of_the_file(served: Any, heights: Any) -> None:
    whole, transform = tiff(asked(served, "coverage"))
    assert (whole == heights).all() and (whole.mask == heights.mask).all()
    assert (transform.c, transform.f, transform.a) == (WEST, NORTH, CELL)
    box = (WEST + 10.5 * CELL, NORTH - 30.2 * CELL, WEST + 60.1 * CELL, NORTH - 5 * CELL)
    answer = asked(served, "coverage", bbox=",".join(str(v) for v in (box[1], box[0], box[3], box[2])), **{"bbox-crs": LOCAL})
    part, transform = tiff(answer)  # cells that the box touches
    assert part.shape == (26, 51)
    assert (part.filled(0) == heights[5:31, 10:61].filled(0)).all()
    assert (transform.c, transform.f) == (WEST + 10 * CELL, NORTH - 5 * CELL)
    assert answer.headers["content-crs"] == f"<{LOCAL}>"
    same, _ = tiff(asked(served, "coverage", subset=f"X({box[0]}:{box[2]}),Y({box[1]}:{box[3]})", **{"subset-crs": LOCAL}))
    assert (same.filled(0) == part.filled(0)).all()
    half, transform = tiff(asked(served, "coverage", **{"scale-factor": 2}))
    assert half.shape == (ROWS // 2, COLUMNS // 2) and transform.a == 2 * CELL
    blocks = heights[:, 60:].reshape(ROWS // 2, 2, 30, 2).mean(axis=(1, 3))
    assert np.allclose(half[:, 30:], blocks, atol=1e-3)
    assert tiff(asked(served, "coverage", **{"scale-size": "Lon(11),Lat(7)"}))[0].shape == (7, 11)
    cog = asked(served, "coverage", f="cog")
    assert "cloud-optimized" in cog.headers["content-type"]
    with rasterio.MemoryFile(cog.content) as memory, memory.open() as source:
        assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (source.read(1, masked=True) == heights).all()


def test_subsets_in_degrees_agree_with_boxes(served: Any, heights: Any) -> None:
    w, s, e, n = degrees(60, 10, 100, 50)
    boxed, _ = tiff(asked(served, "coverage", bbox=f"{w},{s},{e},{n}"))
    for subset in (f"Lat({s}:{n}),Lon({w}:{e})", f"lon({w}:{e}),lat({s}:{n})"):
        assert (tiff(asked(served, "coverage", subset=subset))[0] == boxed).all()
    several = served.client.get(
        f"/rasters/{NAME}/coverage?subset=Lat({s}:{n})&subset=Lon({w}:{e})", headers={"X-API-Key": served.keys["planner"]}
    )
    assert (tiff(several)[0] == boxed).all()
    column, _ = tiff(asked(served, "coverage", subset=f"Lon({w}:*)"))
    assert column.shape[0] == ROWS
    across = asked(served, "coverage", subset=f"Lon({w}:-170)")  # across the 180° meridian
    assert (tiff(across)[0] == column).all()


def test_a_map_says_where_it_lies(served: Any, heights: Any) -> None:
    answer = asked(served, "map", width=240, height=160)
    assert picture(answer).shape == (160, 240, 4)
    assert answer.headers["content-crs"] == f"<{LOCAL}>"
    box = [float(v) for v in answer.headers["content-bbox"].split(",")]  # northing first, as the authority orders it
    assert np.allclose(box, [NORTH - ROWS * CELL, WEST, NORTH, WEST + COLUMNS * CELL])
    w, s, e, n = degrees(60, 10, 100, 50)
    in_degrees = asked(served, "map", bbox=f"{w},{s},{e},{n}", crs="OGC:CRS84", width=100)
    assert "content-crs" not in in_degrees.headers
    assert np.allclose([float(v) for v in in_degrees.headers["content-bbox"].split(",")], [w, s, e, n])
    lat_first = asked(served, "map", bbox=f"{s},{w},{n},{e}", crs="[EPSG:4490]", **{"bbox-crs": "EPSG:4490", "width": 100})
    assert np.allclose([float(v) for v in lat_first.headers["content-bbox"].split(",")], [s, w, n, e])
    assert (picture(lat_first) == picture(in_degrees)).all()


def test_colours_are_one_rule_for_all_parts(served: Any, heights: Any) -> None:
    whole = picture(asked(served, "map", width=COLUMNS, height=ROWS))
    box = f"{NORTH - 70 * CELL},{WEST + 60 * CELL},{NORTH - 10 * CELL},{WEST + 110 * CELL}"
    part = picture(asked(served, "map", bbox=box, **{"bbox-crs": LOCAL}, width=50, height=60))
    assert (whole[10:70, 60:110] == part).all()
    assert len(np.unique(part.reshape(-1, 4), axis=0)) > 30
    order = heights[HOLE[0].stop :, :].compressed().argsort()
    shades = whole[HOLE[0].stop :, :].reshape(-1, 4)[order]
    assert (np.diff(np.unique(shades, axis=0, return_index=True)[1]) != 0).all()


@pytest.mark.usefixtures("heights")
def test_background(served: Any) -> None:
    hole = (30, 40)
    size = {"width": COLUMNS, "height": ROWS}
    assert picture(asked(served, "map", **size))[hole].tolist() == [255, 255, 255, 0]
    assert picture(asked(served, "map", **size, bgcolor="0x123456"))[hole].tolist() == [0x12, 0x34, 0x56, 255]
    assert picture(asked(served, "map", **size, bgcolor="DarkOrange", transparent="true"))[hole].tolist() == [255, 140, 0, 0]
    assert picture(asked(served, "map", **size, transparent="false"))[hole].tolist() == [255, 255, 255, 255]
    mercator = {"crs": "EPSG:3857", "bbox-crs": "EPSG:3857", "bbox": "12000000,3000000,24000000,4000000", "width": 120, "height": 10}
    wide = picture(asked(served, "map", **mercator, bgcolor="red", **{"void-color": "blue", "void-transparent": "false"}))
    assert wide[5, 20].tolist() == [255, 0, 0, 255]
    assert wide[5, 100].tolist() == [0, 0, 255, 255]  # east of 180°
    assert picture(asked(served, "map", **mercator, bgcolor="red"))[5, 100].tolist() == [255, 0, 0, 255]


@pytest.mark.usefixtures("heights")
def test_scales(served: Any) -> None:
    answer = asked(served, "map", **{"scale-denominator": 100_000})
    width, height = COLUMNS * CELL / 28, ROWS * CELL / 28  # a pixel of 0.28 mm is 28 m
    assert picture(answer).shape[:2] == (round(height), round(width))
    finer = asked(served, "map", **{"scale-denominator": 100_000, "mm-per-pixel": 0.14})
    assert picture(finer).shape[:2] == (round(2 * height), round(2 * width))
    x, y = WEST + 60 * CELL, NORTH - 40 * CELL
    lon, lat = TO_DEGREES.transform(x, y)
    for crs, centre in ((None, f"{lon},{lat}"), (LOCAL, f"{y},{x}")):
        more = {"center-crs": crs} if crs else {}
        around = asked(served, "map", center=centre, width=100, height=50, **{"scale-denominator": 50_000}, **more)
        assert picture(around).shape[:2] == (50, 100)
        box = [float(v) for v in around.headers["content-bbox"].split(",")]
        assert np.allclose(box, [y - 25 * 14, x - 50 * 14, y + 25 * 14, x + 50 * 14], atol=0.01)
    w, s, e, n = degrees(10, 10, 110, 70)
    in_degrees = asked(served, "map", bbox=f"{w},{s},{e},{n}", crs="OGC:CRS84", **{"scale-denominator": 100_000})
    found = picture(in_degrees).shape
    assert abs(found[1] - 100 * CELL / 28) < 3 and abs(found[0] - 60 * CELL / 28) < 3


FAULTY: list[dict[str, Any]] = [
    {"width": 0}, {"width": "1.5"}, {"height": -3}, {"width": 5000}, {"scale-denominator": 0}, {"scale-denominator": "nan"}, {"scale-denominator": 1},
    {"mm-per-pixel": -1}, {"bgcolor": "0x12"}, {"bgcolor": "nocolour"}, {"transparent": "maybe"}, {"void-color": "#"}, {"crs": "EPSG:99999"},
    {"center": "1"}, {"center": "111,x"}, {"center": "111,30", "bbox": "111,30,112,31"}, {"bbox": "111,30,112,31", "subset": "Lat(30:31)"},
    {"bbox": "111,30,112,31", "width": 10, "scale-denominator": 1000}, {"subset": "Lat(30:31"}, {"subset": "Z(1:2)"}, {"subset": "X(1:2)"},
    {"subset": "Lat(31:30)"}, {"subset": "Lat(30)"}, {"subset": "Lat(a:b)"}, {"subset": "Lat(30:31),Lat(30:31)"}, {"bbox": "111,30,112"},
    {"bbox": "30,111,31,112"}, {"bbox": "112,30,111,31"}, {"f": "gif"}, {"nosuch": 1}, {"subset": "Lat(30:31)", "subset-crs": "x"},
    {"scale-denominator": 5e-324}, {"scale-denominator": 1e300}, {"scale-denominator": 1000, "mm-per-pixel": 5e-324}, {"scale-denominator": 0},
]  # fmt: skip


@pytest.mark.usefixtures("heights")
@pytest.mark.parametrize("params", FAULTY, ids=str)
def test_faults_are_refused(served: Any, params: dict[str, Any]) -> None:
    answer = asked(served, "map", **params)
    assert answer.status_code == 400, answer.text[:300]
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.usefixtures("heights")
def test_coverage_faults_and_places_without_data(served: Any) -> None:
    for params in ({"scale-factor": 0}, {"scale-factor": 2, "scale-size": "Lon(5)"}, {"scale-size": "Lon"}, {"scale-factor": "x"}, {"f": "png"},
                   {"scale-size": "Lon(9999),Lat(9999)"}):  # fmt: skip
        assert asked(served, "coverage", **params).status_code == 400, params
    for kind in ("coverage", "map"):
        for where in ({"bbox": "5,48,20,70"}, {"subset": "Lat(40:41)"}, {"subset": "Lon(-10:10),Lat(-10:10)"}):
            assert asked(served, kind, **where).status_code == 204, (kind, where)


def test_path_is_not_a_way_out(served: Any) -> None:
    assert served.get("/rasters/..%2F..%2Fetc%2Fpasswd/map", role="admin").status_code == 404
    assert not (Path(served.state.settings.home) / "etc").exists()


PRODUCT = "coverage-confirmed_online"


@pytest.fixture(scope="module")
def seen(served: Any) -> Iterator[CoverageResult]:
    """What twelve cameras see, stored as a run stores it, in several files."""
    rng = np.random.default_rng(8)
    corners = {"x": WEST + rng.uniform(0, 900, 12), "y": NORTH - rng.uniform(0, 900, 12)}
    cameras = {
        "id": [f"c{i}" for i in range(12)], **corners, "azimuth_deg": rng.uniform(0, 360, 12), "hfov_deg": np.full(12, 80.0),
        "vfov_deg": np.full(12, 40.0), "tilt_deg": np.full(12, 15.0), "mount_height_m": np.full(12, 8.0), "view_dist_m": np.full(12, 90.0),
        "res_w_px": np.full(12, 2560), "ptz_type": np.full(12, 3), "net_status": ["on"] * 11 + ["off"],
    }  # fmt: skip
    flat = Terrain(np.zeros((40, 40), np.float32), WEST - 300, NORTH + 300, 60.0, 60.0)
    result = compute(cameras, Surface(cell_m=1.0, terrain=flat), densities_px_m=(20.0, 40.0, 80.0))
    folder = served.state.settings.home / "rasters" / "coverage" / "seen.1"
    write_coverage(result, folder, crs=4546, piece_cells=512)
    bounds = set_bounds(result)
    with served.database.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO baige_sys.raster (name, kind, path, srid, west, south, east, north, cell_m, classification)"
                " VALUES ('coverage', 'coverage', 'coverage/seen.1', 4546, :w, :s, :e, :n, 1, 'internal')"
            ),
            dict(zip("wsen", bounds, strict=True)),
        )
    yield result
    with served.database.begin() as connection:
        connection.exec_driver_sql("DELETE FROM baige_sys.raster WHERE name = 'coverage'")


def set_bounds(result: CoverageResult) -> tuple[float, float, float, float]:
    rows, columns = [row for row, _ in result.chunks], [column for _, column in result.chunks]
    return min(columns) * 256.0, min(rows) * 256.0, (max(columns) + 1) * 256.0, (max(rows) + 1) * 256.0


def test_the_coverage_of_a_run_is_a_raster_a_product(served: Any, seen: CoverageResult) -> None:
    found = {r["id"]: r for r in served.get("/rasters", role="planner").json()["rasters"]}
    assert {name for name in found if name.startswith("coverage-")} == {f"coverage-{product}" for product in PRODUCTS}
    assert found[PRODUCT]["kind"] == "coverage"
    assert not any("coverage" in r["id"] for r in served.get("/rasters").json()["rasters"]), "not for the public"
    assert served.get(f"/rasters/{PRODUCT}/map").status_code == 404
    west, south, east, north = set_bounds(seen)
    answer = served.get(f"/rasters/{PRODUCT}/coverage", role="planner", bbox=f"{south},{west},{north},{east}", **{"bbox-crs": LOCAL})
    values, transform = tiff(answer)
    number = PRODUCTS.index("confirmed_online")
    counts = seen.window(int(south), int(west), int(north - south), int(east - west))[number * 3 : number * 3 + 3]
    assert (transform.c, transform.f) == (west, north)
    assert np.array_equal(values.filled(0), (counts > 0).sum(axis=0)[::-1]) and set(np.unique(values)) == {0, 1, 2, 3}


def test_the_map_of_coverage_is_drawn_by_class_and_clear_where_nobody_sees(served: Any, seen: CoverageResult) -> None:
    west, south, east, north = set_bounds(seen)
    box = {"bbox": f"{south},{west},{north},{east}", "bbox-crs": LOCAL, "crs": LOCAL, "width": int(east - west), "height": int(north - south)}
    shown = picture(served.get(f"/rasters/{PRODUCT}/map", role="planner", **box))
    values, _ = tiff(served.get(f"/rasters/{PRODUCT}/coverage", role="planner", bbox=box["bbox"], **{"bbox-crs": LOCAL}))
    assert {tuple(c) for c in shown[values == 0]} == {(255, 255, 255, 0)}
    assert [{tuple(c) for c in shown[values == n]} for n in (1, 2, 3)] == [{(216, 218, 235, 255)}, {(153, 142, 195, 255)}, {(84, 39, 136, 255)}]
    far = served.get(f"/rasters/{PRODUCT}/coverage", role="planner", bbox="100,20,101,21")
    assert far.status_code == 204
