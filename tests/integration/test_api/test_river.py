"""The river over HTTP: stations, points, what lies up- and downstream, and what is refused."""

from pathlib import Path
from typing import Any

import pyarrow.parquet
import pyogrio
import pytest
import shapely

from tests.integration.test_river import STEM, axis
from tests.integration.test_rules import east, point, put


@pytest.fixture(scope="module")
def river(served: Any) -> Any:
    axis(served.database, "CJ", STEM, main=True, name="长江")
    intake = put(served.database, "water_intake", point(3500, 200), intake_code="I1", classification="restricted")
    put(served.database, "outfall", point(1000, 300), code_local="A", bank_side="L", admin_code="420502001001")
    yield intake
    with served.database.begin() as connection:
        for layer in ("river_axis", "water_intake", "outfall"):
            connection.exec_driver_sql(f"DELETE FROM baige.{layer}")


def test_a_station_and_back(served: Any, river: str) -> None:
    place = served.client.get("/river/place?station=K2+000&offset=100").json()  # the + of an address is a space
    assert place["properties"]["station"] == "K2+000" and place["properties"]["side"] == "L"
    lon, lat = place["geometry"]["coordinates"]
    back = served.get("/river/locate", lon=lon, lat=lat).json()
    assert back["properties"]["station"] == "K2+000" and back["properties"]["side"] == "L"
    assert back["properties"]["offset_m"] == pytest.approx(100.0, abs=0.01)
    assert back["geometry"]["coordinates"] == pytest.approx(east(2000.0), abs=1e-6)
    section = served.get("/river/section", **{"from": "K1+000", "to": "2000"}).json()
    assert section["geometry"]["type"] == "LineString"
    assert served.get("/river").json()["reaches"][0]["name_zh"] == "长江"


@pytest.mark.parametrize("form", ["gpkg", "fgb", "parquet", "csv"])
@pytest.mark.filterwarnings("ignore:Measured")
def test_the_axis_is_a_file_with_its_measures(served: Any, river: str, form: str, tmp_path: Path) -> None:
    answer = served.get("/collections/river_axis/items", f=form)
    assert answer.status_code == 200, answer.text[:300]
    if form == "csv":
        assert "LINESTRING M (" in answer.text
        return
    path = tmp_path / f"axis.{form}"
    path.write_bytes(answer.content)
    table = pyarrow.parquet.read_table(path) if form == "parquet" else pyogrio.read_arrow(path)[1]
    column = next(name for name in ("geometry", "geom", "wkb_geometry") if name in table.column_names)
    places = [shapely.from_wkb(value) for value in table.column(column).to_pylist()]
    assert len(places) == 1 and shapely.has_m(places[0])
    assert shapely.get_coordinates(places[0], include_m=True)[0, 2] == 0


def test_upstream_under_the_rights_of_the_asker(served: Any, river: str) -> None:
    up = served.get("/river/upstream", role="planner", feature=river).json()
    assert [f["code"] for f in up["features"]] == ["A"]
    assert up["features"][0]["travel_m"] == pytest.approx(2500, abs=2)
    assert served.get("/river/upstream", feature=river).status_code == 404  # the public sees no intakes
    assert served.get("/river/upstream", role="viewer", station="K3+500").json()["features"][0]["code"] == "A"
    down = served.get("/river/downstream", role="planner", lon=east(1000)[0], lat=east(1000)[1]).json()
    assert [f["code"] for f in down["features"]] == ["I1"]


@pytest.mark.parametrize(
    "address",
    [
        "locate", "locate?lon=111.3", "locate?lon=x&lat=3", "locate?lon=nan&lat=30", "locate?lon=500&lat=30", "place", "place?station=K99+000",
        "place?station=abc", "section?from=K1+000&to=K1+000", "upstream?station=K1+000&within=x", "locate?lon=111&lat=30&version=x",
        "locate?lon=111&lat=30&colour=red", "downstream?station=K1+000&layer=rule_waiver",
    ],
)  # fmt: skip
def test_what_is_refused(served: Any, river: str, address: str) -> None:
    answer = served.client.get(f"/river/{address}")
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_what_is_not_there(served: Any, river: str) -> None:
    assert served.get("/river/locate", lon=111.3, lat=30.7, reach="Nile").status_code == 404
    assert served.get("/river/locate", lon=111.3, lat=30.7, version=9).status_code == 404
    assert served.get("/river/downstream", station="K1+000", layer="nothing").status_code == 404
