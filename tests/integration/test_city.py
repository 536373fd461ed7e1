"""The reference city in PostGIS: what was generated is what is stored."""

import dataclasses
import datetime as dt
from pathlib import Path

import numpy as np
import pytest
import shapely
import sqlalchemy as sa

from data.city import ReferenceCity, generate
from data.city.answers import ELSEWHERE, LAYOUT, RULES, RULES_UNPLANTED, missed
from data.city.store import DEM_NAME, StoredLayer, store_city
from gis.coverage_files import read_coverage
from gis.settings import CityConfig
from grids.coverage import run_coverage
from grids.layout_check import check_layout
from grids.rules import check_rules
from layers.access import SYSTEM
from layers.database import Database
from layers.frames import read_frame
from layers.rasters import dem_window, find_raster
from layers.runs import latest_run


@pytest.fixture(scope="module")
def reference_city() -> ReferenceCity:
    return generate("small", seed=3)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def stored(database: Database, home: Path, reference_city: ReferenceCity, city: CityConfig) -> list[StoredLayer]:
    return store_city(database, home, reference_city, city)


def test_every_row_is_stored_and_marked(
    database: Database, reference_city: ReferenceCity, stored: list[StoredLayer]
) -> None:
    assert {item.layer: item.inserted for item in stored} == {n: len(f) for n, f in reference_city.layers.items()}
    with database.begin(SYSTEM) as connection:
        for name, frame in reference_city.layers.items():
            row = connection.execute(
                sa.text(
                    f"SELECT count(*), count(*) FILTER (WHERE synthetic), count(*) FILTER (WHERE source_ref LIKE 'synthetic:3:%')"
                    f' FROM baige."{name}"'
                )
            ).one()
            assert tuple(row) == (len(frame),) * 3, name


def test_geometry_and_identifiers_come_back(
    database: Database, reference_city: ReferenceCity, stored: list[StoredLayer]
) -> None:
    with database.begin(SYSTEM) as connection:
        for name in ("outfall", "camera_site", "community", "riverbank", "layout_unit"):
            back = read_frame(connection, name).set_index("id").sort_index()
            sent = reference_city.layers[name].set_index("id").sort_index()
            assert list(back.index) == list(sent.index), name
            far = shapely.hausdorff_distance(back.geometry.to_numpy(), sent.geometry.to_numpy())
            assert far.max() < 2e-8, name  # 2 mm


def test_every_fault_of_the_key_has_one_that_finds_it(reference_city: ReferenceCity) -> None:
    assert sorted([*RULES, *LAYOUT, *ELSEWHERE]) == sorted(reference_city.answer_key)


def test_the_rules_find_every_planted_fault_and_nothing_else(
    database: Database, reference_city: ReferenceCity, stored: list[StoredLayer], city: CityConfig
) -> None:
    report = check_rules(database, city, at=dt.date(2026, 10, 1))
    key = {fault: set(map(str, ids)) for fault, ids in reference_city.answer_key.items()}
    found = {outcome.rule.id: {finding.object_id for finding in outcome.findings} for outcome in report.outcomes}
    planted: dict[str, set[str]] = {}
    for fault, rule in RULES.items():
        planted[rule] = planted.get(rule, set()) | key[fault]
    for rule, ids in found.items():
        if rule not in RULES_UNPLANTED:
            assert ids == planted.get(rule, set()), rule
    assert found["18"] == key["chem_outside_park"] | key["chem_new_near_yangtze"]
    works = reference_city.layers["river_works"].to_crs(city.analysis_srid).set_index("id").geometry
    zones = reference_city.layers["shoreline_zone"].to_crs(city.analysis_srid)
    kept = shapely.union_all(zones[zones["zone_type"].isin([1, 2])].geometry.to_numpy())
    assert found["11"] == {str(i) for i in works.index if shapely.distance(works[i], kept) <= 50.0}
    cells = key["grid_overlap"] | key["grid_wrong_prefix"]
    [outcome] = [outcome for outcome in report.outcomes if outcome.rule.id == "25"]
    assert all(cells & {f.object_id, str(f.other_id)} for f in outcome.findings)
    assert cells <= {i for f in outcome.findings for i in (f.object_id, f.other_id)}
    [outcome] = [outcome for outcome in report.outcomes if outcome.rule.id == "26"]
    assert outcome.status == "not_evaluated"  # no coverage has been computed yet


def test_the_layout_check_finds_every_planted_fault_and_nothing_else(
    database: Database, reference_city: ReferenceCity, stored: list[StoredLayer], city: CityConfig
) -> None:
    report = check_layout(database, city)
    key = {fault: set(map(str, ids)) for fault, ids in reference_city.answer_key.items()}
    by_kind: dict[str, set[str]] = {}
    for fault in report.faults:
        by_kind.setdefault(fault.kind, set()).update(fault.ids)
    assert missed({fault: list(key[fault]) for fault in LAYOUT}, {}, by_kind) == {}
    assert {fault.ids[0] for fault in report.faults if fault.kind.startswith("point_outside")} == key[
        "layout_point_outside_grid"
    ]
    planted = key["grid_gap"] | key["grid_overlap"] | key["grid_wrong_prefix"]
    assert all(planted & set(fault.ids) for fault in report.faults if fault.kind.startswith("cell_"))
    leaks = {road for fault in report.faults if fault.kind == "ring_leak" for road in fault.ids[1:]}
    roads = reference_city.layers["road"].set_index("id")["name_zh"]
    assert {i for i in leaks if roads[i] != "环城路"} <= key["ring_crossing_without_camera"]
    # beyond the key: what the present layout falls short of, none of it an error
    errors = {fault.kind for fault in report.faults if fault.severity == "error"}
    assert errors <= {kind for kinds in LAYOUT.values() for kind in kinds} | {
        "cell_outside_container", "cell_overlap_sliver", "cell_outside_sliver", "cell_sequence", "ring_leak",
    }  # fmt: skip


def test_a_coverage_run_answers_for_every_place(
    database: Database, reference_city: ReferenceCity, stored: list[StoredLayer], city: CityConfig, home: Path
) -> None:
    report = run_coverage(database, city, home, mode="fast", cell_m=4.0)
    summary = report.summary
    assert summary["cameras"] + sum(summary["cameras_left_out"].values()) == 3000
    assert sum(summary["outfalls"].values()) == 124
    assert sum(summary["schools"].values()) == 85
    assert sum(summary["bank_m"].values()) == pytest.approx(
        reference_city.layers["riverbank"].to_crs(city.analysis_srid).length.sum(), abs=10
    )
    with database.begin(SYSTEM) as connection:
        cells = read_frame(connection, "coverage_by_grid", srid=city.analysis_srid)
        gaps = read_frame(connection, "coverage_gap")
        watch = read_frame(connection, "outfall_watch")
        assert latest_run(connection, "coverage") == report.run_id
        kept = find_raster(connection, "coverage")
    assert set(cells["run_id"]) == {str(report.run_id)}
    assert cells["synthetic"].all()
    assert (
        cells["online_overview"].dropna()
        <= cells["possible_overview"].reindex(cells["online_overview"].dropna().index) + 1e-9
    ).all()
    # an offline camera sees nothing: what only such cameras would see is told as offline, never as watched
    offline = set(watch.loc[watch["watch_state"] == "offline", "outfall_id"])
    assert offline.isdisjoint(set(watch.loc[watch["cameras_online"] > 0, "outfall_id"]))
    unwatched = set(watch.loc[~watch["watch_state"].isin(["watched", "single"]), "outfall_id"])
    assert unwatched == set(gaps.loc[gaps["target_kind"] == "outfall", "target_id"])
    assert gaps["cause"].notna().mean() > 0.99
    back = read_coverage(home / "rasters" / kept.path)
    assert back.same_as(report.result)


def test_axis_keeps_its_measure(database: Database, reference_city: ReferenceCity, stored: list[StoredLayer]) -> None:
    with database.begin(SYSTEM) as connection:
        start, end, vertices = connection.execute(
            sa.text(
                "SELECT ST_M(ST_StartPoint(geom)), ST_M(ST_EndPoint(geom)), ST_NPoints(geom) FROM baige.river_axis WHERE is_main_stem"
            )
        ).one()
    sent = reference_city.layers["river_axis"].query("is_main_stem").geometry.iloc[0]
    m = shapely.get_coordinates(sent, include_m=True)[:, 2]
    assert (start, vertices) == (0.0, len(m))
    assert end == pytest.approx(m[-1])


def test_vendor_cameras_came_in_gcj02_and_are_in_place(
    database: Database, reference_city: ReferenceCity, stored: list[StoredLayer]
) -> None:
    with database.begin(SYSTEM) as connection:
        rows = connection.execute(
            sa.text("SELECT id::text, ST_X(geom), ST_Y(geom) FROM baige.camera_site WHERE src_crs = 'gcj02'")
        ).all()
    assert {row[0] for row in rows} == set(reference_city.answer_key["camera_declared_gcj02"])
    sent = reference_city.layers["camera_site"].set_index("id").geometry[[row[0] for row in rows]]
    assert np.abs(np.array([row[1] for row in rows]) - sent.x.to_numpy()).max() < 1e-8
    assert np.abs(np.array([row[2] for row in rows]) - sent.y.to_numpy()).max() < 1e-8


def test_terrain_is_known_and_marked(
    database: Database, home: Path, reference_city: ReferenceCity, stored: list[StoredLayer]
) -> None:
    with database.begin(SYSTEM) as connection:
        synthetic, srid = connection.execute(
            sa.text("SELECT synthetic, srid FROM baige_sys.raster WHERE name = :name"), {"name": DEM_NAME}
        ).one()
        assert (synthetic, srid) == (True, 4546)
        box = (528000.0, 3396000.0, 528500.0, 3396400.0)
        heights, _, _ = dem_window(connection, home, box, srid=4546, cell_m=10.0)
    dem = reference_city.dem
    row, column = round((dem.transform.f - box[3]) / 10), round((box[0] - dem.transform.c) / 10)
    assert np.abs(heights - dem.heights_m[row : row + 40, column : column + 50]).max() < 0.01


def test_storing_again_changes_nothing(
    database: Database, home: Path, reference_city: ReferenceCity, stored: list[StoredLayer], city: CityConfig
) -> None:
    again = store_city(database, home, reference_city, city)
    assert sum(item.inserted + item.updated + item.removed for item in again) == 0
    assert [item.unchanged for item in again] == [item.rows for item in again]


def test_rows_that_mean_another_thing_under_the_same_identifier_are_replaced(
    database: Database, home: Path, reference_city: ReferenceCity, stored: list[StoredLayer], city: CityConfig
) -> None:
    """As after another version of the generator: the same identifiers, natural keys dealt out anew."""
    turned = dataclasses.replace(reference_city, layers=dict(reference_city.layers))
    for name, key in (("community", "admin_code"), ("camera_site", "device_code"), ("riverbank", "start_m")):
        frame = reference_city.layers[name].copy()
        frame[key] = frame[key].to_numpy()[::-1]
        turned.layers[name] = frame
    done = {item.layer: item for item in store_city(database, home, turned, city)}
    assert done["community"].removed == done["community"].inserted == 160
    assert done["camera_site"].inserted == 3000
    assert done["outfall"].unchanged == 124
    with database.begin(SYSTEM) as connection:
        found = connection.execute(sa.text("SELECT id::text AS id, admin_code FROM baige.community"))
        rows = {row.id: row.admin_code for row in found}
    assert rows == dict(zip(turned.layers["community"]["id"], turned.layers["community"]["admin_code"], strict=True))


def test_another_city_takes_the_place_and_other_rows_stay(
    database: Database, home: Path, stored: list[StoredLayer], city: CityConfig
) -> None:
    with database.begin(SYSTEM) as connection:
        connection.execute(
            sa.text(
                "INSERT INTO baige.pole (pole_no, classification, synthetic, geom)"
                " VALUES ('OWN-1', 'internal', false, ST_SetSRID(ST_MakePoint(111.3, 30.7), 4490))"
            )
        )
    other = generate("small", seed=4)
    store_city(database, home, other, city)
    with database.begin(SYSTEM) as connection:
        poles = connection.execute(
            sa.text("SELECT count(*), count(*) FILTER (WHERE NOT synthetic) FROM baige.pole")
        ).one()
        past = connection.execute(
            sa.text("SELECT count(*) FROM baige_history.outfall WHERE source_ref LIKE 'synthetic:3:%'")
        ).scalar_one()
    assert tuple(poles) == (len(other.layers["pole"]) + 1, 1)
    assert past == 124
