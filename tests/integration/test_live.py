"""Coverage that follows the register, held against a full run after every change; and a scenario edited on top of it."""

from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import sqlalchemy as sa
from click.testing import CliRunner

from api.cli import main
from gis.coverage import CoverageResult, compute
from gis.coverage_files import read_coverage
from gis.errors import Conflict, InputError, NotFound
from gis.settings import CityConfig
from grids.coverage import run_coverage, work_out
from grids.live import LiveCoverage, LiveState
from grids.live_store import Followed, LiveResults, follow
from grids.scenario import compare
from grids.scenario_live import LiveScenario
from layers.database import Database
from layers.frames import read_frame
from tests.integration.test_scenarios import CODE, EAST, NORTH, SCENARIO, insert, town

__all__ = ["town"]


@pytest.fixture(scope="module")
def place(town: Database) -> Database:
    """The town of the scenarios with a river, a school, a wharf, a railway and units of every kind."""
    with town.begin() as connection:
        insert(
            connection,
            "riverbank",
            "LINESTRING(0 15,180 18,400 10)",
            reach_code="R1",
            bank_side="L",
            start_m=100,
            end_m=501,
        )
        insert(
            connection, "riverbank", "LINESTRING(0 -15,400 -20)", reach_code="R1", bank_side="R", start_m=100, end_m=500
        )
        insert(connection, "key_area", "POLYGON((40 0,90 0,90 20,40 20,40 0))", kind="wharf", name_zh="码头")
        insert(connection, "railway", "LINESTRING(-50 330,450 320)", name_zh="线")
        connection.execute(
            sa.text(
                "INSERT INTO baige.school (name_zh, admin_code, synthetic, geom, boundary, entrances) SELECT '校', :code, true,"
                " ST_Transform(ST_Translate(ST_GeomFromText('POINT(260 130)', 4546), :e, :n), 4490),"
                " ST_Multi(ST_Transform(ST_Translate(ST_GeomFromText('POLYGON((240 112,280 112,280 150,240 150,240 112))', 4546), :e, :n), 4490)),"
                " ST_Transform(ST_Translate(ST_GeomFromText('MULTIPOINT((245 111),(281 130))', 4546), :e, :n), 4490)"
            ),
            {"code": CODE, "e": EAST, "n": NORTH},
        )
        insert(connection, "community", "POLYGON((0 0,400 0,400 200,0 200,0 0))", name_zh="社区", admin_code=CODE)
        connection.execute(
            sa.text(
                "UPDATE baige.grid_cell SET urban_rural = CASE WHEN grid_code LIKE '420503%' THEN '220' ELSE '111' END"
            )
        )
        for code in ("420502000000", "420503000000"):
            insert(
                connection,
                "admin_area",
                "POLYGON((0 0,400 0,400 400,0 400,0 0))",
                name_zh=code,
                admin_code=code,
                level="county",
            )
    return town


@pytest.fixture(scope="module")
def live(place: Database, city: CityConfig, tmp_path_factory: pytest.TempPathFactory) -> LiveCoverage:
    return LiveCoverage.open(place, city, tmp_path_factory.mktemp("home"), workers=1)


def plain(frame: gpd.GeoDataFrame | pd.DataFrame) -> pd.DataFrame:
    """Cells as they are stored: shapes as bytes, one kind of nothing, one kind of number, columns of nothing left out."""

    def told(value: object) -> object:
        if isinstance(value, shapely.Geometry):
            return shapely.to_wkb(value)
        if isinstance(value, (int, float, np.number)):
            return None if value != value else float(value)
        return None if value is pd.NA else value

    columns = {str(name): [told(value) for value in frame[name].to_numpy(dtype=object)] for name in frame.columns}
    full = pd.DataFrame(columns, dtype=object)
    return full.dropna(axis=1, how="all").sort_index(axis=1)


def assert_as_a_full_run(live: LiveCoverage, state: LiveState, city: CityConfig) -> None:
    scene = replace(live.scene, cameras=state.cameras)
    table = live.prepare(state.cameras)
    options = {"densities_px_m": city.coverage.densities_px_m, "target_height_m": city.coverage.target_height_m}
    result = compute(table, scene.surface, mode=state.result.mode, workers=1, **options)
    assert state.result.same_as(result)
    assert state.result.fingerprint == result.fingerprint
    assert state.result.tally == result.tally
    full = work_out(result, table, scene, live.context, city, lambda *_: None, internal=True)
    assert set(full.tables) == set(state.tables)
    for layer, rows in full.tables.items():
        pd.testing.assert_frame_equal(plain(state.tables[layer]), plain(rows), check_exact=True, obj=layer)
    pd.testing.assert_frame_equal(plain(state.sums), plain(full.sums), check_exact=True)


@pytest.mark.parametrize("seed", [1, 2])
def test_every_change_gives_what_a_full_run_gives(live: LiveCoverage, city: CityConfig, seed: int) -> None:
    rng = np.random.default_rng(seed)
    state, seen = live.start, set()
    assert {"coverage_by_grid", "bank_coverage", "outfall_watch", "school_coverage", "coverage_gap"} == set(
        state.tables
    )
    for step in range(10):
        kind = ("move", "turn", "off", "remove", "add", "on", "blind")[(step + seed) % 7]
        row = state.cameras.iloc[[int(rng.integers(len(state.cameras)))]].copy()
        gone = [str(row["id"].iloc[0])]
        x, y = rng.uniform(0, 400, 2)
        if kind in ("move", "add"):
            row["geom"] = gpd.points_from_xy([x + EAST], [y + NORTH], crs=row.crs)
        if kind == "turn":
            row["azimuth_deg"] = float(rng.uniform(0, 360))
        if kind in ("off", "on"):
            row["net_status"] = kind
        if kind == "blind":
            row["azimuth_deg"] = np.nan
        if kind == "add":
            gone, row["id"] = [], f"new-{step}"
        before = state
        kept = {layer: plain(rows) for layer, rows in before.tables.items()}
        state = live.change(state, gone, row.iloc[:0] if kind == "remove" else row).state
        assert_as_a_full_run(live, state, city)
        seen.add(not state.result.same_as(before.result))
        for layer, rows in before.tables.items():
            pd.testing.assert_frame_equal(plain(rows), kept[layer], obj="the state before stays as it was")
    assert True in seen
    with pytest.raises(Conflict):
        live.change(state, [], state.cameras.iloc[:1])


@pytest.mark.parametrize("turn", [15, 22.5, 30, 60, 67.5])
def test_the_edge_of_a_school_zone_follows(live: LiveCoverage, city: CityConfig, turn: float) -> None:
    """A camera that sees the outermost metres of the zone only, where the zone is round."""
    corner = np.array([280 + EAST, 150 + NORTH])
    way = np.array([np.sin(np.radians(turn)), np.cos(np.radians(turn))])
    row = live.start.cameras.iloc[[0]].assign(id="edge", device_code=None, azimuth_deg=turn, net_status="on")
    changed = []
    for metres in np.arange(184.0, 200.0, 4.0):
        row["geom"] = gpd.points_from_xy([corner[0] + metres * way[0]], [corner[1] + metres * way[1]], crs=row.crs)
        state = live.change(live.start, [], row).state
        assert_as_a_full_run(live, state, city)
        was, now = (s.tables["school_coverage"]["zone_confirmed"].iloc[0] for s in (live.start, state))
        changed.append(now != was)
    assert any(changed)


def test_a_change_and_back_is_nothing(live: LiveCoverage, city: CityConfig) -> None:
    row = live.start.cameras.iloc[[0]].copy()
    off = live.change(live.start, list(row["id"]), row.assign(net_status="off")).state
    back = live.change(off, list(row["id"]), row).state
    assert back.result.same_as(live.start.result)
    for layer, rows in live.start.tables.items():
        pd.testing.assert_frame_equal(plain(back.tables[layer]), plain(rows), check_exact=True)
    # another camera in the place of one: counts stay, but not who watches the outfall
    outfall = live.context["outfalls"].geometry.iloc[0]
    one = row.assign(id="one", device_code=None, azimuth_deg=0.0, ptz_type=3, tilt_deg=20.0, net_status="on")
    one["geom"] = gpd.points_from_xy([outfall.x], [outfall.y - 20.0], crs=row.crs)
    first = live.change(live.start, [], one).state
    assert first.tables["outfall_watch"]["camera_ids"].iloc[0] == ["one"]
    other = live.change(first, ["one"], one.assign(id="twin"))
    assert other.chunks == ()
    assert_as_a_full_run(live, other.state, city)
    assert other.state.tables["outfall_watch"]["camera_ids"].iloc[0] == ["twin"]
    nothing = live.change(live.start, [], row.iloc[:0])
    assert nothing.chunks == ()
    assert plain(nothing.state.tables["coverage_gap"]).equals(plain(live.start.tables["coverage_gap"]))


def test_a_scenario_is_edited(
    live: LiveCoverage, place: Database, city: CityConfig, tmp_path_factory: pytest.TempPathFactory
) -> None:
    session = LiveScenario(live)
    added = SCENARIO["change"][0]
    tried = session.preview(added)
    assert session.scenario().change == ()
    assert list(tried.views["camera_id"]) == ["n1"]
    assert tried.views.crs.to_epsg() == city.storage_srid
    assert (
        tried.views.geometry.iloc[0].distance(shapely.Point(added["lon"], added["lat"])) < 3e-4
    )  # beyond the blind zone
    assert tried.figures["before"]["public_confirmed_m2"] < tried.figures["after"]["public_confirmed_m2"]
    assert len(tried.cells)
    assert (tried.cells["online_overview"] >= tried.cells["online_before"]).all()
    for change in SCENARIO["change"]:
        session.apply(change)
    assert [one.camera for one in session.scenario("x").change] == [one["camera"] for one in SCENARIO["change"]]
    assert_as_a_full_run(live, session.state, city)
    told = compare(place, city, tmp_path_factory.mktemp("other"), None, session.scenario("try-2"), workers=1)
    assert told.after.same_as(session.state.result)
    # what a change is said to do to gaps is the difference of the two lists
    last = session.apply({"action": "remove", "camera": "n1"})
    assert {"closed", "opened", "changed"} >= set(last.gaps["change"])
    need = last.gaps["need"].sum() - last.gaps["need_before"].sum()
    assert need == pytest.approx(last.figures["after"]["need"] - last.figures["before"]["need"], abs=0.02)
    assert need > 0
    assert len(last.views) == 0
    assert session.undo()
    again = LiveScenario(live, session.scenario("again"))
    assert again.state.result.same_as(session.state.result)
    with pytest.raises(NotFound):
        session.preview({"action": "remove", "camera": "nobody"})
    with pytest.raises(Conflict):
        session.preview(added)
    with pytest.raises(InputError):
        session.preview({"action": "fly", "camera": "n1"})
    while session.undo():
        pass
    assert session.state is live.start


def stored(database: Database) -> dict[str, pd.DataFrame]:
    """Rows of the result layers without what names them and says when they were written."""
    found = {}
    with database.begin(readonly=True) as connection:
        for layer in ("coverage_by_grid", "bank_coverage", "outfall_watch", "school_coverage", "coverage_gap"):
            rows = plain(read_frame(connection, layer))
            rows = rows.drop(columns=["id", "run_id", "created_at", "updated_at", "change_id"], errors="ignore")
            found[layer] = rows.sort_values(list(rows.columns), key=lambda c: c.map(repr)).reset_index(drop=True)
    return found


def known_raster(database: Database) -> tuple[str, object]:
    with database.begin(readonly=True) as connection:
        row = connection.exec_driver_sql("SELECT path, created_at FROM baige_sys.raster WHERE kind = 'coverage'").one()
    return str(row[0]), row[1]


def raster(database: Database, home: Path) -> CoverageResult:
    """The counts in the rasters that the database knows."""
    return read_coverage(home / "rasters" / known_raster(database)[0])


CHANGES = (
    "UPDATE baige.camera_site SET net_status = 'on' WHERE device_code LIKE '%000001'",
    "UPDATE baige.camera_site SET azimuth_deg = 270 WHERE device_code LIKE '%000003'",
    f"UPDATE baige.camera_site SET geom = ST_Transform(ST_SetSRID(ST_MakePoint({EAST + 205}, {NORTH + 60}), 4546), 4490)"
    " WHERE device_code LIKE '%000002'",
    "INSERT INTO baige.camera_site SELECT (jsonb_populate_record(NULL::baige.camera_site, to_jsonb(c) || jsonb_build_object("
    "'id', '00000000-0000-4000-8000-000000000077', 'device_code', '42050200001321000077', 'azimuth_deg', 10))).*"
    " FROM baige.camera_site c WHERE device_code LIKE '%000004'",
    "UPDATE baige.camera_site SET device_state = 'removed' WHERE device_code LIKE '%000000'",
    "UPDATE baige.camera_site SET name_zh = '别名' WHERE device_code LIKE '%000004'",
    "DELETE FROM baige.camera_site WHERE device_code = '42050200001321000077'",
)


def test_stored_results_follow_the_register(
    place: Database, city: CityConfig, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    with place.begin() as connection:
        connection.execute(sa.text("CREATE TABLE public.kept AS SELECT * FROM baige.camera_site"))
    try:
        results = LiveResults(place, city, home, workers=1)
        assert results.catch_up() is None
        followed = []
        for change in CHANGES:
            with place.begin() as connection:
                connection.execute(sa.text(change))
            done = results.catch_up()
            assert done is not None
            assert done.cameras == 1
            followed.append((stored(place), raster(place, home), done))
        rounds: list[Followed] = []
        with place.begin() as connection:
            connection.execute(sa.text("UPDATE baige.camera_site SET net_status = 'off'"))
        follow(results, every_s=0.0, told=rounds.append, cancel=lambda: bool(rounds))
        assert rounds[0].rows["coverage_gap"] > 0
        all_off, all_off_counts = stored(place), raster(place, home)
        kept = len(list((home / "rasters" / "coverage").iterdir()))
        assert kept == 2, "the set and the one before it"
        with place.begin(readonly=True) as connection:
            run_ids = {
                str(row[0]) for row in connection.exec_driver_sql("SELECT DISTINCT run_id FROM baige.coverage_gap")
            }
            summary = connection.execute(
                sa.text("SELECT summary FROM baige_sys.run WHERE id = :id"), {"id": results.run.id}
            ).scalar_one()
        assert run_ids == {str(results.run.id)}
        assert summary["changes_followed"] == len(CHANGES) + 1
        # the same changes once more, with a full run after each
        with place.begin() as connection:
            connection.execute(sa.text("DELETE FROM baige.camera_site"))
            connection.execute(sa.text("INSERT INTO baige.camera_site SELECT * FROM public.kept"))
        for change, (rows, counts, _) in zip(CHANGES, followed, strict=True):
            with place.begin() as connection:
                connection.execute(sa.text(change))
            report = run_coverage(place, city, home, rasters=False, workers=1)
            assert counts.same_as(report.result), change
            assert counts.fingerprint == report.result.fingerprint, change
            assert (counts.cameras, counts.tally) == (report.result.cameras, report.result.tally)
            for layer, expected in stored(place).items():
                pd.testing.assert_frame_equal(
                    rows[layer], expected, check_exact=True, obj=f"{layer} after {change[:40]}"
                )
        with place.begin() as connection:
            connection.execute(sa.text("UPDATE baige.camera_site SET net_status = 'off'"))
        assert all_off_counts.same_as(run_coverage(place, city, home, rasters=False, workers=1).result)
        for layer, expected in stored(place).items():
            pd.testing.assert_frame_equal(all_off[layer], expected, check_exact=True, obj=layer)
    finally:
        with place.begin() as connection:
            connection.execute(sa.text("DELETE FROM baige.camera_site"))
            connection.execute(sa.text("INSERT INTO baige.camera_site SELECT * FROM public.kept"))
            connection.execute(sa.text("DROP TABLE public.kept"))


def test_rasters_and_rows_change_together_or_not_at_all(
    place: Database, city: CityConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = LiveResults(place, city, tmp_path, workers=1)
    first, made_at = known_raster(place)
    row = results.state.cameras[results.state.cameras["net_status"] == "on"].iloc[[0]]
    off = row.assign(net_status="off")
    with monkeypatch.context() as broken:

        def fail(*_: object, **__: object) -> int:
            raise InputError("broken off", zh="中断")

        broken.setattr("grids.live_store.change_results", fail)
        with pytest.raises(InputError):
            results.write(list(row["id"]), off)
    assert known_raster(place) == (first, made_at)
    assert [path.name for path in (tmp_path / "rasters" / "coverage").iterdir()] == [Path(first).name]
    assert raster(place, tmp_path).same_as(results.state.result)
    results.write(list(row["id"]), off)
    second, then = known_raster(place)
    assert second != first
    assert then > made_at
    assert raster(place, tmp_path).same_as(results.state.result)
    # a run made by another process in between: its results stay, these are no longer followed
    report = run_coverage(place, city, tmp_path, workers=1)
    rows = stored(place)
    with pytest.raises(Conflict):
        results.write(list(row["id"]), row)
    for layer, expected in stored(place).items():
        pd.testing.assert_frame_equal(rows[layer], expected, obj=layer)
    assert known_raster(place)[0] == f"coverage/{report.run_id}"
    assert raster(place, tmp_path).same_as(report.result)
    assert len(list((tmp_path / "rasters" / "coverage").iterdir())) == 1


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_command_that_follows(place: Database, tmp_path: Path, lang: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAIGE_DATABASE_URL", place.url.render_as_string(hide_password=False))
    monkeypatch.setenv("BAIGE_HOME", str(tmp_path))
    done = CliRunner().invoke(main, ["coverage", "follow", "--once", "--cell", "2", "--lang", lang])
    assert done.exit_code == 0, done.output
    assert ("following" if lang == "en" else "开始跟随") in done.stdout
