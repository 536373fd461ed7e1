"""The check of a stored layout: what is read, what is stored, what the command says."""

import json
from importlib import resources
from pathlib import Path

import geopandas as gpd
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from api.cli import main
from gis.errors import Conflict, InputError, NotFound
from gis.settings import CityConfig
from grids.grid_numbers import number_cells
from grids.layout_check import check_layout
from grids.layout_plan import plan_layout
from grids.layout_versions import adopt_layout, list_layouts, remove_draft
from layers.changes import change_set
from layers.database import Database
from layers.frames import read_frame
from layers.loading.bulk import load_frame
from tests.unit.grids.test_layout import Town, area, key, layout_town, put, small_city


def store_units(database: Database, units: gpd.GeoDataFrame, city: CityConfig) -> None:
    """From the ring down, so that each finds its parent."""
    for level in ("ring", "zone", "grid", "point"):
        report = load_frame(database, "layout_unit", units[units["level"] == level].to_crs(city.storage_srid))
        assert report.quarantined == 0, (level, report.reasons)


def store(database: Database, town: Town, city: CityConfig) -> None:
    for layer in ("admin_area", "community", "grid_cell", "road", "camera_site"):
        report = load_frame(database, layer, town[layer].to_crs(city.storage_srid))
        assert report.quarantined == 0, (layer, report.reasons)
    store_units(database, town["layout_unit"], city)


@pytest.fixture(scope="module")
def stored(database: Database, city: CityConfig) -> Database:
    town = layout_town()
    store(database, town, city)
    draft = layout_town()  # a second layout beside it, with its own identifiers and one zone too wide
    put(draft, "layout_unit", "Z1", "geom", area(0, 0, 460, 400))
    units = draft["layout_unit"]
    units["layout"] = "draft-1"
    for column in ("id", "parent_id"):
        units[column] = [key(f"draft {value}") if isinstance(value, str) else None for value in units[column]]
    store_units(database, units, city)
    return database


def test_a_stored_layout_holds(stored: Database, city: CityConfig) -> None:
    report = check_layout(stored, small_city(city))
    assert report.faults == ()  # through degrees and back: what differs is below the tolerance
    assert report.holds
    assert report.closures[0].closed
    assert report.figures["units"] == {"ring": 1, "zone": 2, "grid": 4, "point": 12}


def test_faults_are_stored_and_those_of_other_layouts_stay(stored: Database, city: CityConfig) -> None:
    report = check_layout(stored, small_city(city), layout="draft-1")
    assert not report.holds
    [overlap] = [fault for fault in report.faults if fault.kind == "overlap"]
    assert overlap.measure == pytest.approx(60 * 400, rel=1e-6)
    check_layout(stored, small_city(city))
    with stored.begin() as connection:
        back = read_frame(connection, "layout_fault", srid=city.analysis_srid).set_index("fault_kind")
        state, summary = connection.execute(
            sa.text("SELECT state, summary FROM baige_sys.run WHERE id = :id"), {"id": report.run_id}
        ).one()
    assert set(back["layout"]) == {"draft-1"}
    assert set(back["run_id"]) == {str(report.run_id)}
    row = back.loc["overlap"]
    assert {row["unit_code"], row["other_code"]} == {"Z1", "Z2"}
    assert row.geom.area == pytest.approx(60 * 400, rel=1e-6)
    assert row["note_zh"]
    assert state == "done"
    assert summary["holds"] is False
    assert summary["faults"]["overlap"] == 1


def test_the_newest_version_counts_and_void_codes_are_known(fresh_database: Database, city: CityConfig) -> None:
    town = layout_town()
    town["grid_cell"]["code_status"] = "valid"
    store(fresh_database, town, city)
    with fresh_database.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO baige.layout_unit (level, code, layout, version, classification, geom)"
            " SELECT level, code, layout, 2, classification, geom FROM baige.layout_unit WHERE level = 'ring'"
        )
        connection.exec_driver_sql(
            "UPDATE baige.grid_cell SET code_status = 'void' WHERE grid_code = '420502001001001'"
        )
    report = check_layout(fresh_database, small_city(city))
    assert report.version == 2
    assert {fault.level for fault in report.faults if fault.kind == "count"} == {"zone", "grid", "point"}
    assert report.counts["cell_gap"] == 1  # a void cell covers nothing
    with fresh_database.begin() as connection:  # version 2 had no Z1 any more; version 3 gives its code again
        connection.exec_driver_sql(
            "INSERT INTO baige.layout_unit (level, code, layout, version, classification, geom)"
            " SELECT level, code, layout, 3, classification, geom FROM baige.layout_unit WHERE code IN ('R1', 'Z1') AND version = 1"
        )
    report = check_layout(fresh_database, small_city(city))
    assert [fault.units[0][1] for fault in report.faults if fault.kind == "unit_code_reused"] == ["Z1"]


def test_what_is_refused(stored: Database, city: CityConfig) -> None:
    with pytest.raises(NotFound, match="current, draft-1"):
        check_layout(stored, city, layout="nowhere")
    with pytest.raises(InputError):
        check_layout(stored, city, weight="height")
    with pytest.raises(InputError):
        check_layout(stored, city, reach_m=-1)


def test_the_command(stored: Database, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAIGE_DATABASE_URL", database_url)
    done = CliRunner().invoke(main, ["layout", "check", "--layout", "draft-1", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["holds"] is False
    assert found["counts"]["count"] == 3  # the city file wants ten zones, a hundred grids, a thousand points
    assert {unit["code"] for fault in found["faults"] if fault["kind"] == "overlap" for unit in fault["units"]} == {
        "Z1",
        "Z2",
    }
    said = CliRunner().invoke(main, ["layout", "check", "--layout", "draft-1", "--lang", "zh"])
    assert "不成立" in said.stdout
    assert "R1：闭合" in said.stdout
    missing = CliRunner().invoke(main, ["layout", "check", "--layout", "none"])
    assert missing.exit_code == 1
    assert "draft-1" in missing.stderr


def test_a_plan_is_stored_beside_and_checked(fresh_database: Database, city: CityConfig) -> None:
    store(fresh_database, layout_town(), city)
    first = plan_layout(fresh_database, small_city(city), name="草案")
    second = plan_layout(fresh_database, small_city(city), name="草案", weight="household_count")
    assert (first.layout, second.layout) == ("草案-1", "草案-2")
    for report in (first, second):
        assert report.check.holds
        assert [(level["parts"], level["contiguous"]) for level in report.figures["levels"]] == [(2, True), (4, True)]
    with fresh_database.begin() as connection:
        units = read_frame(connection, "layout_unit", srid=city.analysis_srid)
    assert units.groupby("layout").size().to_dict() == {"current": 19, "草案-1": 19, "草案-2": 19}
    assert check_layout(fresh_database, small_city(city)).holds  # the present one is as it was
    with pytest.raises(InputError):
        plan_layout(fresh_database, small_city(city), name="a b")


def test_a_plan_closes_the_ring_and_every_zone(fresh_database: Database, city: CityConfig) -> None:
    """Without any camera each closure is left to the plan's own points."""
    store(fresh_database, layout_town(), city)
    with fresh_database.begin() as connection, change_set(connection, layer="camera_site", action="delete"):
        connection.exec_driver_sql("DELETE FROM baige.camera_site")
    before = check_layout(fresh_database, small_city(city))
    assert not all(closure.closed for closure in before.closures)
    report = plan_layout(fresh_database, small_city(city), name="草案")
    assert [(closure.closed, closure.fewest) for closure in report.check.closures] == [(True, 0)] * 3
    assert not [fault for fault in report.check.faults if fault.kind == "zone_open"]


def test_drafts_side_by_side_versions_and_adoption(fresh_database: Database, city: CityConfig) -> None:
    wanted = small_city(city)
    store(fresh_database, layout_town(), city)
    first = plan_layout(fresh_database, wanted, name="plan")
    again = plan_layout(fresh_database, wanted, base="plan-1", keep=True, into="plan-1")
    assert (first.version, again.layout, again.version) == (1, "plan-1", 2)
    assert again.moved == () and again.retired == ()
    listed = {(v.layout, v.version): v for v in list_layouts(fresh_database)}
    assert set(listed) == {("current", 1), ("plan-1", 1), ("plan-1", 2)}
    assert listed["plan-1", 2].newest and not listed["plan-1", 1].newest
    assert listed["plan-1", 2].holds is True and listed["current", 1].holds is None
    with fresh_database.begin() as connection:  # a draft with a fault is not adopted unless one says so
        connection.execute(
            sa.text(
                "UPDATE baige.layout_unit SET geom = ST_Translate(geom, 0.001, 0) WHERE layout = 'plan-1' AND version = 1 AND code = 'Z01'"
            )
        )
        connection.execute(
            sa.text("UPDATE baige.layout_unit SET layout = 'wrong' WHERE layout = 'plan-1' AND version = 1")
        )
    with pytest.raises(Conflict, match="Z01"):
        adopt_layout(fresh_database, wanted, "wrong")
    done = adopt_layout(fresh_database, wanted, "plan-1")
    assert done.version == 2 and done.check.plan_holds
    with fresh_database.begin() as connection:
        rows = connection.exec_driver_sql(
            "SELECT version, count(*), count(valid_to) FROM baige.layout_unit WHERE layout = 'current' GROUP BY 1 ORDER BY 1"
        ).all()
        assert [tuple(row) for row in rows] == [(1, 19, 19), (2, 19, 0)]
        parents = connection.exec_driver_sql(
            "SELECT count(*) FROM baige.layout_unit u JOIN baige.layout_unit p ON p.id = u.parent_id WHERE u.layout = 'current' AND u.version = 2"
            " AND p.version = 2 AND p.layout = 'current'"
        ).scalar()
        assert parents == 18
    assert check_layout(fresh_database, wanted).version == 2
    with pytest.raises(InputError):
        adopt_layout(fresh_database, wanted, "current")
    with pytest.raises(NotFound):
        adopt_layout(fresh_database, wanted, "nothing")
    assert remove_draft(fresh_database, "wrong") == 19
    with pytest.raises(InputError):
        remove_draft(fresh_database, "wrong")


def test_the_commands_of_layouts(
    fresh_database: Database, city: CityConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store(fresh_database, layout_town(), city)
    text = resources.files("gis").joinpath("cities", "yichang.toml").read_text(encoding="utf-8")
    for old, new in (("zones = 10", "zones = 2"), ("grids = 100", "grids = 4"), ("points = 1000", "points = 12")):
        text = text.replace(old, new)
    (tmp_path / "town.toml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("BAIGE_CITY", str(tmp_path / "town.toml"))
    monkeypatch.setenv("BAIGE_DATABASE_URL", fresh_database.url.render_as_string(hide_password=False))

    def run(*words: str) -> str:
        done = CliRunner().invoke(main, ["layout", *words])
        assert done.exit_code == 0, done.output
        return done.stdout

    made = json.loads(run("plan", "--keep", "--pin", "Z1", "--json"))
    assert (made["layout"], made["moved"], made["holds"]) == ("draft-1", [], True)
    assert "draft-1" in run("list")
    assert "版" in run("adopt", "draft-1", "--lang", "zh")
    assert [row["version"] for row in json.loads(run("list", "--json"))] == [2, 1, 1]
    assert "19" in run("remove", "draft-1")
    wrong = CliRunner().invoke(main, ["layout", "plan", "--pin", "Q7"])
    assert wrong.exit_code == 2 and "Q7" in wrong.stderr


def codes_of(database: Database, where: str = "code_status IS DISTINCT FROM 'void'") -> dict[str, str]:
    with database.begin() as connection:
        return {str(i): str(c) for i, c in connection.exec_driver_sql(f"SELECT id, grid_code FROM baige.grid_cell WHERE {where}")}


def test_cells_are_numbered_and_what_they_give_up_stays_void(fresh_database: Database, city: CityConfig) -> None:
    store(fresh_database, layout_town(), city)
    before = codes_of(fresh_database)
    first, second = "420502001001", "420502001002"
    highest = max(code for code in before.values() if code.startswith(first))
    stray = key(f"{first}003")
    with fresh_database.begin() as connection, change_set(connection, layer="grid_cell", action="update"):
        connection.exec_driver_sql(f"UPDATE baige.grid_cell SET grid_code = '{second}990' WHERE id = '{stray}'")
    assert {f.kind for f in check_layout(fresh_database, small_city(city)).faults} >= {"cell_code_prefix"}
    would = number_cells(fresh_database, city, dry_run=True)
    assert would.run_id is None
    assert codes_of(fresh_database)[stray] == f"{second}990"
    done = number_cells(fresh_database, city)
    after = f"{first}{int(highest[-3:]) + 1:03d}"
    assert [(cell.before, cell.code) for cell in done.given] == [(f"{second}990", after)]
    assert codes_of(fresh_database) == {**before, stray: after}
    with fresh_database.begin() as connection:
        void = connection.exec_driver_sql(
            "SELECT v.grid_code, v.code_status, ST_Equals(v.geom, c.geom), v.valid_to = current_date, v.household_count, c.admin_code"
            f" FROM baige.grid_cell v JOIN baige.grid_cell c ON c.id = '{stray}' WHERE v.code_status = 'void'"
        ).all()
    assert [tuple(row) for row in void] == [(f"{second}990", "void", True, True, 4, first)]
    assert not {f.kind for f in check_layout(fresh_database, small_city(city)).faults} & {"cell_code_prefix", "cell_code_void"}
    assert number_cells(fresh_database, city).given == ()  # a second time there is nothing to do
    # anew, with numbers that were never used, void ones neither: the one stray number does not exhaust them
    count = sum(code.startswith(second) for code in before.values())
    done = number_cells(fresh_database, city, communities=[second], anew=True)
    assert len(done.retired) == len(done.given) == count
    assert {cell.code for cell in done.given}.isdisjoint({*before.values(), f"{second}990"})
    assert "cell_sequence" not in {f.kind for f in check_layout(fresh_database, small_city(city)).faults if second in f.text_en}


def test_numbering_refuses_what_it_cannot_do(fresh_database: Database, city: CityConfig) -> None:
    store(fresh_database, layout_town(), city)
    with pytest.raises(InputError, match="Name the communities"):
        number_cells(fresh_database, city, anew=True)
    with pytest.raises(InputError, match="420502001999"):
        number_cells(fresh_database, city, communities=["420502001999"])
    before = codes_of(fresh_database, "true")
    first = "420502001001"
    with fresh_database.begin() as connection, change_set(connection, layer="grid_cell", action="create"):
        connection.exec_driver_sql(
            "INSERT INTO baige.grid_cell (grid_code, grid_kind, code_status, geom) SELECT code, 'unit', 'void', geom FROM baige.grid_cell,"
            f" (SELECT '{first}' || lpad(n::text, 3, '0') AS code FROM generate_series(1, 999) AS n) AS every"
            f" WHERE id = '{key(f'{first}001')}' AND code NOT IN (SELECT grid_code FROM baige.grid_cell)"
        )
    with pytest.raises(Conflict, match="divide"):
        number_cells(fresh_database, city, communities=[first], anew=True)
    assert codes_of(fresh_database) == before
