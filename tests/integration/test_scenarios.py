"""Views, scenarios and proposals on a small town in PostGIS, each held against a full coverage run of the changed register."""

import json
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from api.cli import main
from gis.coverage_sampling import at_points
from gis.crs import transformer
from gis.errors import Cancelled, InputError, NotFound
from gis.settings import CityConfig
from grids.coverage import run_coverage
from grids.proposals import SiteTarget, propose
from grids.scenario import compare
from grids.scenario_changes import Scenario, parse_scenario, stored_scenario
from grids.views import run_views
from layers.database import Database

#: Off the lattice of cells, so that a micrometre lost on the way through degrees moves nothing into the next cell.
EAST, NORTH = 528_000.37, 3_396_000.41
CODE = "420502001001"


def lonlat(x: float, y: float) -> dict[str, float]:
    lon, lat = transformer(4546, 4490).transform(x + EAST, y + NORTH)
    return {"lon": float(lon), "lat": float(lat)}


def insert(connection: sa.Connection, layer: str, wkt: str, **values: object) -> None:
    values = {"admin_code": CODE, "synthetic": True, **values}
    names = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    geometry = "ST_Transform(ST_Translate(ST_GeomFromText(:wkt, 4546), :east, :north), 4490)"
    if layer in ("grid_cell", "community", "admin_area", "building"):
        geometry = f"ST_Multi({geometry})"
    connection.execute(
        sa.text(f"INSERT INTO baige.{layer} ({names}, geom) VALUES ({marks}, {geometry})"),
        {**values, "wkt": wkt, "east": EAST, "north": NORTH},
    )


@pytest.fixture(scope="module")
def town(database: Database) -> Database:
    """Four cells of 200 m, two streets that cross, eight houses, five cameras, two outfalls, a pole."""
    with database.begin() as connection:
        for i in range(4):
            x, y = 200 * (i % 2), 200 * (i // 2)
            box = f"POLYGON(({x} {y},{x + 200} {y},{x + 200} {y + 200},{x} {y + 200},{x} {y}))"
            code = CODE if i < 3 else "420503001001"
            insert(connection, "grid_cell", box, grid_code=f"{code}{i + 1:03d}", grid_kind="unit", admin_code=code)
        insert(connection, "road", "LINESTRING(0 105,400 105)", road_class="primary")
        insert(connection, "road", "LINESTRING(207 0,207 400)", road_class="secondary")
        for i in range(8):
            x, y = 30 + 90 * (i % 4), 120 + 150 * (i // 4)
            insert(
                connection,
                "building",
                f"POLYGON(({x} {y},{x + 25} {y},{x + 25} {y + 15},{x} {y + 15},{x} {y}))",
                height_m=9 + i,
                building_kind="residential" if i % 2 else "commercial",
            )
        insert(connection, "outfall", "POINT(60 20)", name_zh="甲", code_local="A")
        insert(connection, "outfall", "POINT(390 390)", name_zh="乙", code_local="B")
        insert(connection, "pole", "POINT(380 380)", pole_no="P1", kind="shared")
        for i, (x, y, azimuth, state) in enumerate(
            [
                (10, 95, 90.0, "on"),
                (60, 50, 180.0, "off"),
                (205, 30, 0.0, "on"),
                (300, 105, None, "on"),
                (190, 300, 180.0, "on"),
            ]
        ):
            insert(
                connection,
                "camera_site",
                f"POINT({x} {y})",
                device_code=f"42050200001321{i:06d}",
                name_zh=f"机{i}",
                ptz_type=3,
                azimuth_deg=azimuth,
                hfov_deg=60,
                vfov_deg=40,
                tilt_deg=20,
                mount_height_m=6,
                view_dist_m=90,
                res_w_px=2560,
                net_status=state,
                room_type=1,
                admin_code=CODE if i < 4 else "420503001001",
            )
    return database


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


SCENARIO = {
    "name": "try-1",
    "title_zh": "试一",
    "change": [
        {"action": "add", "camera": "n1", "type": "fixed_4mp", "azimuth_deg": 45, **lonlat(340, 340)},
        {"action": "switch_on", "camera": "42050200001321000001"},
        {"action": "turn", "camera": "42050200001321000003", "azimuth_deg": 270},
        {"action": "move", "camera": "42050200001321000002", **lonlat(205, 60)},
        {"action": "remove", "camera": "42050200001321000000"},
    ],
}


def carry_out(connection: sa.Connection, city: CityConfig) -> None:
    """The same in SQL."""
    kind = city.camera_types["fixed_4mp"]
    insert(
        connection, "camera_site", "POINT(340 340)", ptz_type=3, azimuth_deg=45, hfov_deg=kind.hfov_deg, vfov_deg=kind.vfov_deg,
        tilt_deg=kind.tilt_deg, mount_height_m=kind.mount_height_m, view_dist_m=kind.view_dist_m, res_w_px=kind.res_w_px,
        net_status="on", room_type=1,
    )  # fmt: skip
    camera = "device_code = '4205020000132100000{}'"
    for change in (
        f"UPDATE baige.camera_site SET net_status = 'on' WHERE {camera.format(1)}",
        f"UPDATE baige.camera_site SET azimuth_deg = 270 WHERE {camera.format(3)}",
        f"UPDATE baige.camera_site SET geom = ST_Transform(ST_SetSRID(ST_MakePoint({EAST + 205}, {NORTH + 60}), 4546), 4490)"
        f" WHERE {camera.format(2)}",
        f"DELETE FROM baige.camera_site WHERE {camera.format(0)}",
    ):
        connection.execute(sa.text(change))


def rows(database: Database, query: str) -> list[sa.RowMapping]:
    with database.begin(readonly=True) as connection:
        return list(connection.execute(sa.text(query)).mappings().all())


def test_views_are_stored_and_only_those_of_an_area_are_replaced(town: Database, home: Path, city: CityConfig) -> None:
    first = run_views(town, city, home, workers=1)
    stored = rows(town, "SELECT *, ST_Area(geom::geography) AS ground FROM baige.camera_view ORDER BY name_zh")
    assert [row["name_zh"] for row in stored] == [f"机{i}" for i in range(5)]
    assert {row["certainty"] for row in stored if row["name_zh"] == "机3"} == {"possible"}
    assert stored[3]["assumed"] == ["direction_unknown"]
    assert stored[1]["online"] is False
    for row in stored:
        assert row["run_id"] == first.run_id
        assert row["synthetic"] is True
        assert abs(row["ground"] - row["area_m2"]) < 0.12 * row["area_m2"]
    report = run_coverage(town, city, home, rasters=False, workers=1)
    whole = report.result.area_m2("confirmed_installed")
    assert 0 < sum(row["only_here_m2"] for row in stored) <= whole
    assert first.summary["single_points"] == sum(row["only_here_m2"] > 0 for row in stored)
    again = run_views(town, city, home, area="420503", residential_buffer_m=0, workers=1)
    runs = {row["name_zh"]: row["run_id"] for row in rows(town, "SELECT name_zh, run_id FROM baige.camera_view")}
    assert runs == {**{f"机{i}": first.run_id for i in range(4)}, "机4": again.run_id}
    only = rows(town, "SELECT only_here_m2 FROM baige.camera_view WHERE name_zh = '机4'")[0]["only_here_m2"]
    assert only == stored[4]["only_here_m2"], "cameras outside the area count as well"
    with pytest.raises(Cancelled):
        run_views(town, city, home, cancel=lambda: True, workers=1)
    assert len(rows(town, "SELECT id FROM baige.camera_view")) == 5
    with pytest.raises(InputError):
        run_views(town, city, home, residential_buffer_m=-1)


def test_a_run_tells_how_much_hangs_on_what_it_assumed(town: Database, home: Path, city: CityConfig) -> None:
    """A camera without a mount height: the areas told are those of runs with other defaults, and the row is whole again afterwards."""
    camera = "device_code = '42050200001321000000'"
    height = rows(town, f"SELECT mount_height_m FROM baige.camera_site WHERE {camera}")[0]["mount_height_m"]
    try:
        with town.begin() as connection:
            connection.execute(sa.text(f"UPDATE baige.camera_site SET mount_height_m = NULL WHERE {camera}"))
        report = run_coverage(town, city, home, mode="fast", rasters=False, move_assumptions=0.5, workers=1)
        (told,) = [one for one in report.summary["sensitivity"] if one["assumption"] == "mount_height_m"]
        assert told["cameras"] == 1
        assert told["area_m2"] == report.result.area_m2("confirmed_installed")
        assert 0 < told["swing"] < 1
        for end, value in (("low", 0.5), ("high", 1.5)):
            defaults = city.camera_defaults.model_copy(update={"mount_height_m": value * city.camera_defaults.mount_height_m})
            moved = city.model_copy(update={"camera_defaults": defaults})
            other = run_coverage(town, moved, home, mode="fast", rasters=False, workers=1)
            assert "sensitivity" not in other.summary
            assert told[f"area_{end}_m2"] == other.result.area_m2("confirmed_installed")
    finally:
        with town.begin() as connection:
            connection.execute(sa.text(f"UPDATE baige.camera_site SET mount_height_m = :h WHERE {camera}"), {"h": height})


def test_a_scenario_tells_what_two_full_runs_tell(town: Database, home: Path, city: CityConfig) -> None:
    base = run_coverage(town, city, home, rasters=False, workers=1)
    gaps = rows(town, "SELECT sum(need) AS need FROM baige.coverage_gap")[0]["need"]
    changed = parse_scenario(SCENARIO)
    found = compare(town, city, home, None, changed, workers=1)
    assert found.before.same_as(base.result)
    # carried out in the register, which is put back afterwards
    with town.begin() as connection:
        connection.execute(sa.text("CREATE TABLE public.kept AS SELECT * FROM baige.camera_site"))
        carry_out(connection, city)
    try:
        after = run_coverage(town, city, home, rasters=False, workers=1)
        gaps_after = rows(town, "SELECT sum(need) AS need FROM baige.coverage_gap")[0]["need"]
    finally:
        with town.begin() as connection:
            connection.execute(sa.text("DELETE FROM baige.camera_site"))
            connection.execute(sa.text("INSERT INTO baige.camera_site SELECT * FROM public.kept"))
            connection.execute(sa.text("DROP TABLE public.kept"))
    assert found.after.same_as(after.result)
    for product in ("area_confirmed_online_m2", "area_possible_online_m2", "area_confirmed_installed_m2"):
        for density, area in after.summary[product].items():
            step = found.summary["difference"].get(product, {}).get(density, 0.0)
            assert step == pytest.approx(area - base.summary[product][density])
    step = found.summary["difference"].get("grid_cells", {}).get("crossings_confirmed", 0)
    assert (
        step == after.summary["grid_cells"]["crossings_confirmed"] - base.summary["grid_cells"]["crossings_confirmed"]
    )
    need = found.summary["gaps"]["need"]
    assert sum(n["after"] - n["before"] for n in need.values()) == pytest.approx(gaps_after - gaps, abs=0.1)
    closed = {row["name"] for row in found.summary["gaps"]["closed"] if row["target_kind"] == "outfall"}
    assert closed == {"甲", "乙"}
    with town.begin(readonly=True) as connection:
        assert stored_scenario(connection, "try-1") == changed
        with pytest.raises(NotFound):
            stored_scenario(connection, "try-2")
    # from the scenario back to what is: the same with the other sign
    back = compare(town, city, home, changed, Scenario(name="as-is", change=()), workers=1)
    assert back.after.same_as(base.result)
    forth = found.summary["difference"]["area_confirmed_online_m2"]
    assert back.summary["difference"]["area_confirmed_online_m2"] == {d: -area for d, area in forth.items()}


def test_what_is_proposed_is_seen_once_it_is_built(town: Database, home: Path, city: CityConfig) -> None:
    target = SiteTarget("outfall")
    report = propose(town, city, home, count=3, targets=[target])
    found = rows(town, "SELECT *, ST_X(geom) AS lon, ST_Y(geom) AS lat FROM baige.site_proposal ORDER BY rank")
    assert [row["rank"] for row in found] == [1, 2, 3]
    assert {row["run_id"] for row in found} == {report.run_id}
    assert report.summary["targets"][0]["met"] == 2
    assert sum(target.name in row["targets"] for row in found) >= 1
    assert report.summary["share_after"] > report.summary["share_before"]
    assert report.summary["value"] == pytest.approx(sum(row["gain"] for row in found), abs=0.01)
    assert report.summary["cost"] == sum(row["cost"] for row in found)
    built = [
        {
            "action": "add", "camera": f"p{row['rank']}", "lon": row["lon"], "lat": row["lat"], "azimuth_deg": row["azimuth_deg"],
            "type": "ptz_4mp" if row["ptz_type"] == 1 else "fixed_4mp",
        }
        for row in found
    ]  # fmt: skip
    after = compare(town, city, home, None, parse_scenario({"name": "built", "change": built}), workers=1)
    gained = after.summary["difference"]["area_confirmed_online_m2"]["20"]
    assert gained == pytest.approx(sum(row["gain_m2"] for row in found))
    states = after.summary["after"].get("outfalls", {})
    assert not {"unwatched", "offline", "possible"} & set(states)
    at = np.array([[60 + EAST, 20 + NORTH], [390 + EAST, 390 + NORTH]])
    assert (at_points(after.after, at[:, 0], at[:, 1]).counts[:, 2, 0] > 0).all()


def test_area_budget_and_limits(town: Database, home: Path, city: CityConfig) -> None:
    report = propose(town, city, home, budget=7000, area="420503", kinds=["road", "outfall"], mounts_max=5)
    assert report.summary["cost"] <= 7000
    assert report.summary["places"]["outfall"]["all"] == 1
    assert report.summary["mounts"]["considered"] <= 5 < report.summary["mounts"]["available"]
    assert report.summary["proven"] is False, "a bound on some candidates is none on all"
    assert {row["ptz_type"] for row in rows(town, "SELECT ptz_type FROM baige.site_proposal")} <= {3}
    for wrong in (
        {},
        {"count": 1, "budget": 1.0},
        {"count": 0},
        {"count": 1, "types": ["x"]},
        {"count": 1, "kinds": ["x"]},
    ):
        with pytest.raises(InputError):
            propose(town, city, home, **wrong)
    with pytest.raises(NotFound):
        propose(town, city, home, count=1, area="429900")
    with pytest.raises(Cancelled):
        propose(town, city, home, count=1, cancel=lambda: True)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_commands(town: Database, home: Path, tmp_path: Path, lang: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAIGE_DATABASE_URL", town.url.render_as_string(hide_password=False))
    monkeypatch.setenv("BAIGE_HOME", str(home))
    file = tmp_path / "s.toml"
    file.write_text(
        'name = "by-file"\n[[change]]\naction = "switch_off"\ncamera = "42050200001321000004"\n', encoding="utf-8"
    )
    runner = CliRunner()

    def call(*words: str) -> str:
        done = runner.invoke(main, [*words, "--lang", lang])
        assert done.exit_code == 0, done.output
        return done.stdout

    assert "机4" in call("coverage", "views", "--cell", "2")
    assert ("gaps closed" if lang == "en" else "盲区消除") in call("coverage", "compare", str(file), "--cell", "2")
    told = json.loads(call("coverage", "compare", "by-file", "--base", "by-file", "--cell", "2", "--json"))
    assert told["difference"] == {}
    text = call("site", "propose", "--count", "2", "--mounts", "30", "--target", "outfall:1@40", "--time-limit", "20")
    assert ("sites for" if lang == "en" else "建议点位") in text
    assert len(json.loads(call("site", "propose", "--count", "1", "--kind", "outfall", "--json"))["proposals"]) == 1
    bad = runner.invoke(main, ["site", "propose", "--count", "1", "--target", "nobody"])
    assert bad.exit_code == 2
    assert runner.invoke(main, ["site", "propose"]).exit_code == 2
