"""Real input: Monaco from OpenStreetMap and SRTM, loaded into an empty database and analysed."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import geopandas as gpd
import numpy as np
import osmium
import psycopg
import pyogrio
import pyproj
import pytest
import shapely
import sqlalchemy as sa
from click.testing import CliRunner
from psycopg import sql

from api.cli import main
from data.dem import DemReport, load_dem
from data.osm.store import OsmReport, load_osm
from gis.coverage_sampling import along_lines, at_points
from gis.errors import InputError, NotFound, UnreadableFile
from gis.settings import CityConfig, load_city
from layers.cluster import EmbeddedCluster
from layers.database import Database
from layers.frames import read_frame
from layers.migrate import upgrade
from layers.rasters import dem_rasters, dem_window, find_raster, remove_raster

NAME = "test_monaco"
SRID = 32632
CITY = """
name_zh = "摩纳哥"
name_en = "Monaco"
admin_prefix = "99"
storage_srid = 4326
analysis_srid = 32632
bounds = [7.36, 43.70, 7.62, 43.78]
"""


@pytest.fixture(scope="module")
def monaco(tmp_path_factory: pytest.TempPathFactory) -> CityConfig:
    path = tmp_path_factory.mktemp("city") / "monaco.toml"
    path.write_text(CITY, encoding="utf-8")
    return load_city(path)


@pytest.fixture(scope="module")
def pbf(shared_data: Path) -> Path:
    return shared_data / "monaco" / "monaco-latest_20250211.osm.pbf"


@pytest.fixture(scope="module")
def hgt(shared_data: Path) -> Path:
    return shared_data / "monaco" / "N43E007.hgt"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def empty(cluster: EmbeddedCluster, monaco: CityConfig) -> Iterator[Database]:
    """A database of its own: it stores another system than the other tests' do."""
    database = Database(cluster.create_database(NAME))
    upgrade(database, city=monaco)
    yield database
    database.dispose()
    with psycopg.connect(Database(cluster.admin_url()).conninfo, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(NAME)))


@pytest.fixture(scope="module")
def loaded(empty: Database, pbf: Path, monaco: CityConfig) -> OsmReport:
    return load_osm(empty, pbf, monaco)


@pytest.fixture(scope="module")
def terrain(empty: Database, hgt: Path, monaco: CityConfig, home: Path) -> DemReport:
    return load_dem(empty, home, [hgt], monaco, name="monaco")


def _frame(database: Database, layer: str, srid: int | None = None) -> gpd.GeoDataFrame:
    with database.begin(readonly=True) as connection:
        return read_frame(connection, layer, srid=srid)


def test_as_many_as_other_readers_find(empty: Database, loaded: OsmReport, pbf: Path) -> None:
    """Counts against GDAL's driver (areas) and a plain count of tags (ways, nodes)."""
    tags = Counter[str]()
    for thing in osmium.FileProcessor(str(pbf)):
        kind = thing.type_str()
        tags["road"] += kind == "w" and "highway" in thing.tags
        tags["levels"] += kind != "n" and "building" in thing.tags and "building:levels" in thing.tags
        if thing.tags.get("man_made") == "surveillance":
            tags["camera"] += 1
            tags["directed"] += "direction" in thing.tags or "camera:direction" in thing.tags
        amenity = thing.tags.get("amenity", "")
        tags["school"] += amenity in ("school", "college", "university")
        tags["kindergarten"] += amenity == "kindergarten"
    assert dict(tags) == {"road": 3334, "levels": 492, "camera": 16, "directed": 3, "school": 11, "kindergarten": 2}
    areas = pyogrio.read_dataframe(pbf, layer="multipolygons", where="building IS NOT NULL")
    counts = {layer: len(_frame(empty, layer)) for layer in ("building", "road", "school", "camera_site")}
    assert counts == {
        "building": len(areas), "road": tags["road"], "school": tags["school"] + tags["kindergarten"], "camera_site": tags["camera"],
    }  # fmt: skip
    assert len(areas) == 1605
    assert all(report.quarantined == 0 for report in loaded.layers.values())


def test_buildings_have_the_outlines_and_heights_of_the_source(empty: Database, loaded: OsmReport, pbf: Path) -> None:
    areas = pyogrio.read_dataframe(pbf, layer="multipolygons", where="building IS NOT NULL")
    from_way = areas["osm_way_id"].notna()
    ids = np.where(
        from_way, "osm:way/" + areas["osm_way_id"].astype(str), "osm:relation/" + areas["osm_id"].astype(str)
    )
    theirs = areas.set_index(ids)
    ours = _frame(empty, "building").set_index("source_ref")
    assert set(ours.index) == set(theirs.index)
    theirs = theirs.loc[ours.index]
    apart = shapely.area(shapely.symmetric_difference(shapely.make_valid(theirs.geometry.values), ours.geometry.values))
    assert apart.max() < 1e-12  # square degrees: less than 0.01 m²

    def tag(text: object, key: str) -> str | None:
        found = re.search(rf'"{key}"=>"([^"]*)"', text if isinstance(text, str) else "")
        return found.group(1) if found else None

    number = re.compile(r"\d+(\.\d+)?")
    with_levels = 0
    for ref, other in zip(theirs.index, theirs["other_tags"], strict=True):
        height, levels, roof = (tag(other, key) for key in ("height", "building:levels", "roof:levels"))
        stored = ours.loc[ref, "height_m"]
        with_levels += levels is not None
        if height is not None:
            assert stored == pytest.approx(float(height)) and not ours.loc[ref, "height_assumed"]
        elif levels is not None and number.fullmatch(levels) and float(levels) > 0:
            assert stored == pytest.approx(3 * (float(levels) + float(roof or 0))) and ours.loc[ref, "height_assumed"]
        else:
            assert math.isnan(stored) and ours.loc[ref, "height_assumed"]
    assert with_levels == 492
    assert {(key, value) for (layer, key, value) in loaded.notes.unknown if layer == "building"} == {
        ("building:levels", "RDC"),
        ("building:levels", "0"),
    }


def test_roads_are_as_long_as_drawn(empty: Database, loaded: OsmReport, pbf: Path) -> None:
    geod = pyproj.Geod(ellps="WGS84")
    length_m = 0.0
    for thing in osmium.FileProcessor(str(pbf)).with_locations():
        if thing.is_way() and "highway" in thing.tags:
            length_m += geod.line_length([node.lon for node in thing.nodes], [node.lat for node in thing.nodes])
    with empty.begin(readonly=True) as connection:
        stored_m = connection.execute(sa.text("SELECT sum(ST_Length(geom::geography)) FROM baige.road")).scalar_one()
    assert stored_m == pytest.approx(length_m, rel=1e-6)


def test_cameras_and_their_directions(empty: Database, loaded: OsmReport) -> None:
    cameras = _frame(empty, "camera_site").set_index("source_ref")
    known = cameras["azimuth_deg"].dropna().to_dict()
    assert known == {"osm:node/6459866647": 240.0, "osm:node/6473583428": 160.0, "osm:node/6482706099": 0.0}
    assert Counter(cameras["mount_kind"].fillna("-")) == {"pole": 11, "wall": 2, "-": 3}
    assert cameras["owner_org"].isna().all() and cameras["net_status"].isna().all()
    assert set(cameras["src_crs"]) == {"4326"}


def test_nothing_personal_was_stored(empty: Database, loaded: OsmReport, pbf: Path) -> None:
    said = set()
    for thing in osmium.FileProcessor(str(pbf)):
        for tag in thing.tags:
            if re.search(r"phone|email|fax", tag.k) and len(tag.v) > 6:
                said.add(tag.v)
    assert len(said) > 50
    with empty.begin(readonly=True) as connection:
        for layer in loaded.layers:
            text = connection.exec_driver_sql(
                f"SELECT coalesce(string_agg(to_jsonb(l)::text, ''), '') FROM baige.\"{layer}\" l"
            ).scalar_one()
            assert not [value for value in said if value in text], layer
    assert loaded.notes.personal["phone"] > 100


def test_a_second_load_changes_nothing_and_a_dry_run_too(
    empty: Database, loaded: OsmReport, pbf: Path, monaco: CityConfig
) -> None:
    dry = load_osm(empty, pbf, monaco, dry_run=True)
    again = load_osm(empty, pbf, monaco)
    for report in (dry, again):
        assert sum(layer.inserted + layer.updated for layer in report.layers.values()) == 0
        assert {name: layer.unchanged for name, layer in report.layers.items()} == {
            name: layer.rows for name, layer in loaded.layers.items()
        }


def test_a_truncated_extract_changes_nothing(
    empty: Database, loaded: OsmReport, pbf: Path, monaco: CityConfig, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.osm.pbf"
    cut.write_bytes(pbf.read_bytes()[:400_000])
    nodes = sum(thing.is_node() for thing in osmium.FileProcessor(str(pbf)))
    with empty.begin(readonly=True) as connection:
        before = connection.execute(sa.text("SELECT sum(change_counter) FROM baige_sys.layer")).scalar_one()
    with pytest.raises(UnreadableFile, match=rf"{nodes:,} nodes, 0 ways, 0 relations could be read"):
        load_osm(empty, cut, monaco)
    with empty.begin(readonly=True) as connection:
        assert connection.execute(sa.text("SELECT sum(change_counter) FROM baige_sys.layer")).scalar_one() == before


def test_the_commands(
    cluster: EmbeddedCluster,
    empty: Database,
    loaded: OsmReport,
    pbf: Path,
    hgt: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    city = tmp_path / "monaco.toml"
    city.write_text(CITY, encoding="utf-8")
    settings = {"DATABASE_URL": cluster.url(NAME), "CITY": str(city), "HOME": str(tmp_path / "home")}
    for name, value in settings.items():
        monkeypatch.setenv(f"BAIGE_{name}", value)

    def baige(*words: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(main, list(words))
        return result.exit_code, result.stdout, result.stderr

    code, out, err = baige("load-osm", str(pbf), "--area", "7.41,43.72,7.43,43.74", "--dry-run", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["dry_run"] and 0 < told["layers"]["building"]["rows"] < 1605
    assert {item["reason"] for item in told["skipped"]} >= {"outside the area", "railway=abandoned"}
    code, out, err = baige("load-dem", str(hgt), "--name", "again", "--no-fill", "--lang", "zh")
    assert code == 0 and "空洞 1,595" in out and "EGM96" in err
    remove_raster(empty, tmp_path / "home", "again")
    assert baige("load-osm", str(tmp_path / "none.osm.pbf"))[0] == 2
    assert baige("load-osm", str(pbf), "--area", "1,2,3")[0] == 2
    assert baige("load-dem", str(pbf))[0] == 2
    assert baige("load-dem", str(hgt), "--vertical", "EPSG:4490")[0] == 2


def test_yichang_takes_no_monaco(empty: Database, pbf: Path, hgt: Path, home: Path, city: CityConfig) -> None:
    with pytest.raises(InputError, match=r"BAIGE_CITY"):
        load_osm(empty, pbf, city)
    with pytest.raises(InputError, match=r"BAIGE_CITY"):
        load_dem(empty, home, [hgt], city)


def test_terrain_is_the_tile_with_voids_filled_and_marked(
    empty: Database, terrain: DemReport, hgt: Path, home: Path
) -> None:
    """Heights against the bytes of the file, interpolated here by hand."""
    raw = np.frombuffer(hgt.read_bytes(), ">i2").reshape(1201, 1201)
    voids = int((raw == -32768).sum())
    assert terrain.mosaic is not None and (terrain.mosaic.void_count, terrain.mosaic.filled_count) == (voids, voids)
    with empty.begin(readonly=True) as connection:
        assert [raster.name for raster in dem_rasters(connection, (7.4, 43.7, 7.5, 43.8))] == ["monaco"]
        assert dem_rasters(connection, (111.2, 30.6, 111.3, 30.7)) == []
        assert find_raster(connection, "monaco").filled_count == voids
    bounds = (371000.0, 4842500.0, 376000.0, 4846500.0)
    heights, transform, filled = dem_window(empty, home, bounds, srid=SRID, cell_m=25.0)
    assert heights.shape == (160, 200) and heights.dtype == np.float32 and np.isfinite(heights).all()
    rows, columns = np.mgrid[0:160, 0:200]
    x, y = transform.c + transform.a * (columns + 0.5), transform.f + transform.e * (rows + 0.5)
    lon, lat = pyproj.Transformer.from_crs(SRID, 4326, always_xy=True).transform(x, y)
    u, v = (lon - 7.0) * 1200, (44.0 - lat) * 1200
    i, j = np.floor(v).astype(int), np.floor(u).astype(int)
    corners = np.stack([raw[i, j], raw[i, j + 1], raw[i + 1, j], raw[i + 1, j + 1]]).astype(float)
    du, dv = u - j, v - i
    expected = (corners[0] * (1 - du) + corners[1] * du) * (1 - dv) + (corners[2] * (1 - du) + corners[3] * du) * dv
    measured = (corners > -32768).all(axis=0)
    assert measured.sum() > 20_000
    assert np.abs(heights[measured] - expected[measured]).max() < 0.05
    nearest = raw[np.rint(v).astype(int), np.rint(u).astype(int)] == -32768
    assert filled.sum() > 0 and (filled == nearest).mean() > 0.999
    with pytest.raises(NotFound):
        dem_window(empty, home, (500000.0, 3390000.0, 501000.0, 3391000.0), srid=4546, cell_m=10.0)


def _stands(place: shapely.Point, azimuth_deg: float, houses: object) -> list[tuple[float, float]]:
    """Where a camera may stand: its place or, drawn inside a house, any point from there in the direction of view to the wall."""
    turn = math.radians(azimuth_deg)
    steps = [(place.x + t * math.sin(turn), place.y + t * math.cos(turn)) for t in np.arange(0.0, 60.0, 0.5)]
    inside = shapely.contains_xy(houses, np.array(steps))
    first_free = int(np.argmin(inside)) if not inside.all() else len(steps)
    return steps[: first_free + 5]  # and a cell or two beyond, as raster walls are thick


def _in_sector(x: np.ndarray, y: np.ndarray, origin: tuple[float, float], azimuth_deg: float) -> np.ndarray:
    """Points within 100 m and half of 60° of the azimuth, and what half a cell's diagonal at both ends adds."""
    east, north = x - origin[0], y - origin[1]
    distance_m = np.hypot(east, north)
    slack = np.degrees(np.arctan(1.5 / np.maximum(distance_m, 1.0)))
    off = np.abs((np.degrees(np.arctan2(east, north)) - azimuth_deg + 180) % 360 - 180)
    return (off <= 30 + slack) & (distance_m <= 101.5)


def test_coverage_of_schools_and_streets(
    empty: Database, loaded: OsmReport, terrain: DemReport, monaco: CityConfig, home: Path
) -> None:
    """Three cameras have a direction: only theirs is confirmed. Thirteen have none: what they might see is possible, never confirmed."""
    from grids.coverage import run_coverage

    cameras = _frame(empty, "camera_site", SRID)
    report = run_coverage(empty, monaco, home, mode="fast")
    result = report.result
    assert report.summary["cameras"] == len(cameras) == 16
    assert any(
        line.startswith("13 of 16 cameras") and "direction unknown" in line for line in report.summary["assumptions"]
    )

    # Points around each camera, read one by one from the result.
    steps = np.radians(np.arange(0, 360, 5))
    reach_m = np.arange(6, 121, 3)
    dx, dy = np.outer(np.sin(steps), reach_m).ravel(), np.outer(np.cos(steps), reach_m).ravel()
    directed = cameras[cameras["azimuth_deg"].notna()]
    blind = cameras[cameras["azimuth_deg"].isna()]
    confirmed, possible = (
        result.band(product) // len(result.densities_px_m) for product in ("confirmed_installed", "possible_installed")
    )
    houses = shapely.union_all(_frame(empty, "building", SRID).geometry.values)
    for camera in cameras.itertuples():
        x, y = camera.geom.x + dx, camera.geom.y + dy
        counts = at_points(result, x, y).counts[:, :, 0]
        assert (counts[:, confirmed] <= counts[:, possible]).all()
        in_sector = np.zeros(len(x), dtype=bool)
        for other in directed.itertuples():
            for origin in _stands(other.geom, other.azimuth_deg, houses):
                in_sector |= _in_sector(x, y, origin, other.azimuth_deg)
        assert not counts[~in_sector, confirmed].any()
        if camera.id in set(blind["id"]):
            assert counts[:, possible].any()
        else:
            assert counts[in_sector, confirmed].any()
    sector_m2 = math.pi * 83.2**2 / 6  # 1920 px over 60° give 20 px/m at 83 m
    assert 0 < result.area_m2("confirmed_installed") <= 3 * sector_m2 * 1.02
    assert result.area_m2("confirmed_installed") < result.area_m2("possible_installed") <= 16 * math.pi * 83.2**2
    # OpenStreetMap does not say which cameras are online: nothing is confirmed as seen now.
    assert result.area_m2("confirmed_online") == 0

    schools = _frame(empty, "school_coverage")
    assert len(schools) == 13
    assert schools["road_confirmed_m"].sum() == 0 and schools["entrances_confirmed"].sum() == 0
    assert (schools["road_possible_m"] <= schools["road_m"]).all()
    assert schools["road_m"].min() > 0

    streets = _frame(empty, "road", SRID)
    open_air = streets[~streets["tunnel"].fillna(False).astype(bool)]
    views = shapely.union_all(shapely.buffer(cameras.geometry.values, 101.0))
    within_m = shapely.length(shapely.intersection(open_air.geometry.values, views)).sum()
    assert 0 < report.summary["school_roads_m"]["possible"] <= within_m
    seen = along_lines(result, open_air.geometry.values)
    confirmed_m, possible_m = seen.covered_m[:, confirmed, 0].sum(), seen.covered_m[:, possible, 0].sum()
    assert 0 < confirmed_m < possible_m <= within_m * 1.01
    assert set(schools["run_id"]) == {str(report.run_id)}
