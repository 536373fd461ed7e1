"""The core of storage on a real PostGIS: schema, history, change counters, access rules, users' own layers."""

import datetime as dt
import threading
import time
import uuid

import geopandas as gpd
import pytest
import shapely
import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis.errors import Conflict, DatabaseTimeout, Forbidden, InputError, NotFound, UnknownField
from layers.access import Principal
from layers.catalogue import built_in
from layers.changes import change_set
from layers.database import Database
from layers.declaration import read_declaration
from layers.frames import read_frame, replace_results
from layers.history import feature_versions, state_at
from layers.migrate import differences, upgrade
from layers.models import layer_models, layer_tables
from layers.registry import add_layer, catalogue, remove_layer
from layers.runs import latest_run, run

OFFICER = Principal("officer", district="420502", key_id="k1", request_id="r1")

TREES = """
name = "street_tree"
title_zh = "行道树"
title_en = "Street trees"
geometry = "Point"
srid = 4546
natural_keys = [["tree_no"]]
[[fields]]
name = "tree_no"
type = "code"
length = 6
title_zh = "编号"
title_en = "Number"
required = true
[[fields]]
name = "height_m"
type = "num"
title_zh = "高度"
title_en = "Height"
"""


def insert_camera(connection, code: str, *, admin: str = "420502001001", classification: str = "internal") -> uuid.UUID:
    row = connection.execute(
        sa.text(
            "INSERT INTO baige.camera_site (device_code, admin_code, classification, name_zh, geom)"
            " VALUES (:code, :admin, :classification, '点', ST_SetSRID(ST_Point(111.3, 30.7), 4490)) RETURNING id"
        ),
        {"code": code, "admin": admin, "classification": classification},
    )
    return row.scalar_one()


def counter(connection, layer: str) -> int:
    return connection.execute(
        sa.text("SELECT change_counter FROM baige_sys.layer WHERE name = :n"), {"n": layer}
    ).scalar_one()


def test_migrations_lead_to_what_the_declarations_say(database: Database) -> None:
    with database.begin() as connection:
        assert differences(connection) == []


def test_a_difference_would_be_seen(fresh_database: Database) -> None:
    with fresh_database.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE baige.school DROP COLUMN school_kind")
        connection.exec_driver_sql("DROP INDEX baige.outfall_geom_gist")
        found = str(differences(connection))
    assert "school_kind" in found
    assert "outfall_geom_gist" in found


def test_upgrade_twice_and_at_once(database: Database) -> None:
    url = database.url.render_as_string(hide_password=False)
    failures: list[BaseException] = []

    def again() -> None:
        try:
            upgrade(url)
        except BaseException as error:  # noqa: BLE001 - handed to the main thread
            failures.append(error)

    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE baige_sys.storage SET fingerprint = 'older'")
    threads = [threading.Thread(target=again) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_every_layer_has_table_history_and_index(database: Database) -> None:
    with database.begin() as connection:
        inspector = sa.inspect(connection)
        for name, declaration in built_in().items():
            columns = {c["name"] for c in inspector.get_columns(name, schema="baige")}
            assert columns >= {"id", *(f.name for f in declaration.all_fields)}
            assert {c["name"] for c in inspector.get_columns(name, schema="baige_history")} == columns | {
                "replaced_at",
                "replaced_by",
                "replaced_op",
            }
            gist = connection.execute(
                sa.text(
                    "SELECT count(*) FROM pg_indexes WHERE schemaname = 'baige' AND tablename = :t AND indexdef LIKE '%gist%'"
                ),
                {"t": name},
            ).scalar_one()
            assert (gist > 0) == declaration.has_geometry


def test_models_serve_an_orm_session(database: Database) -> None:
    models = layer_models(layer_tables(built_in().values(), 4490, sa.MetaData()))
    with Session(database.engine) as session:
        school = models["school"]
        session.add(school(name_zh="模型小学", geom="SRID=4490;POINT(111.28 30.7)"))
        session.flush()
        found = session.scalars(sa.select(school).where(school.name_zh == "模型小学")).one()
        assert found.id is not None
        session.rollback()


def test_history_keeps_every_version_and_any_past_state(database: Database) -> None:
    declaration = built_in()["camera_site"]
    with (
        database.begin() as connection,
        change_set(connection, layer="camera_site", action="create", note="n1") as first,
    ):
        feature = insert_camera(connection, "42050200001320000001")
        first.count_inserted(1)
    moments = [dt.datetime.now(dt.UTC)]
    for height in (5.0, 7.0):
        time.sleep(0.01)
        with database.begin() as connection, change_set(connection, layer="camera_site", action="update"):
            connection.execute(
                sa.text("UPDATE baige.camera_site SET mount_height_m = :h WHERE id = :id"), {"h": height, "id": feature}
            )
        moments.append(dt.datetime.now(dt.UTC))
    time.sleep(0.01)
    with database.begin() as connection:
        connection.execute(sa.text("DELETE FROM baige.camera_site WHERE id = :id"), {"id": feature})
    moments.append(dt.datetime.now(dt.UTC))

    def height_at(moment: dt.datetime) -> list[float | None]:
        with database.begin() as connection:
            state = state_at(declaration, moment).columns(sa.column("id"), sa.column("mount_height_m")).subquery()
            return list(connection.scalars(sa.select(state.c.mount_height_m).where(state.c.id == feature)))

    assert [height_at(m) for m in moments] == [[None], [5.0], [7.0], []]
    with database.begin() as connection:
        versions = feature_versions(connection, declaration, feature)
        assert [v["replaced_op"] for v in versions] == ["U", "U", "D"]
        assert [v["mount_height_m"] for v in versions] == [None, 5.0, 7.0]
        note, inserted = connection.execute(
            sa.text("SELECT note, inserted FROM baige_sys.change_set WHERE id = :id"), {"id": versions[0]["change_id"]}
        ).one()
        assert (note, inserted) == ("n1", 1)
        direct = connection.execute(
            sa.text("SELECT action, deleted FROM baige_sys.change_set WHERE id = :id"),
            {"id": versions[2]["replaced_by"]},
        ).one()
        assert tuple(direct) == ("direct", 1)


def test_counter_rises_with_changes_and_not_with_a_rollback(database: Database) -> None:
    with database.begin() as connection:
        before = counter(connection, "camera_site")
    with pytest.raises(ZeroDivisionError), database.begin() as connection:
        insert_camera(connection, "42050200001320000002")
        raise ZeroDivisionError
    with database.begin() as connection:
        assert counter(connection, "camera_site") == before
        insert_camera(connection, "42050200001320000003")
        connection.exec_driver_sql("UPDATE baige.camera_site SET tilt_deg = 1 WHERE false")
        assert counter(connection, "camera_site") == before + 1


def test_two_layers_in_one_transaction_get_their_own_change_sets(database: Database) -> None:
    with database.begin() as connection:
        insert_camera(connection, "42050200001320000004")
        connection.exec_driver_sql("INSERT INTO baige.school (geom) VALUES (ST_SetSRID(ST_Point(111.3, 30.7), 4490))")
        rows = connection.exec_driver_sql(
            "SELECT layer FROM baige_sys.change_set WHERE id IN (SELECT change_id FROM baige.school"
            " UNION SELECT change_id FROM baige.camera_site WHERE device_code = '42050200001320000004')"
        )
        assert {row[0] for row in rows} == {"school", "camera_site"}


def test_truncate_is_refused(database: Database) -> None:
    with pytest.raises(Exception, match="could not answer"), database.begin() as connection:
        connection.exec_driver_sql("TRUNCATE baige.camera_site CASCADE")


def test_natural_key_is_unique(database: Database) -> None:
    with pytest.raises(Conflict), database.begin() as connection:
        insert_camera(connection, "42050200001320000005")
        insert_camera(connection, "42050200001320000005")


@pytest.mark.parametrize(
    ("principal", "seen"),
    [
        (Principal("public"), {"P2"}),
        (Principal("viewer"), {"P2", "I2", "I3"}),
        (Principal("viewer", district="420502"), {"P2", "I2"}),
        (Principal("officer", district="420502"), {"P2", "I2", "R2"}),
        (Principal("officer", district="420503"), {"P2", "I3"}),
        (Principal("planner"), {"P2", "I2", "I3", "R2", "N"}),
        (Principal("admin"), {"P2", "I2", "I3", "R2", "N"}),
    ],
)
def test_rows_that_a_role_sees(database: Database, principal: Principal, seen: set[str]) -> None:
    with database.begin() as connection:
        connection.exec_driver_sql("DELETE FROM baige.key_area")
        for name, admin, classification in [
            ("P2", "420502001001", "public"),
            ("I2", "420502001001", "internal"),
            ("I3", "420503001001", "internal"),
            ("R2", "420502001001", "restricted"),
            ("N", None, "restricted"),
        ]:
            connection.execute(
                sa.text(
                    "INSERT INTO baige.key_area (name_zh, admin_code, classification, kind, geom)"
                    " VALUES (:n, :a, :c, 'wharf', ST_SetSRID(ST_Point(111.3, 30.7), 4490))"
                ),
                {"n": name, "a": admin, "c": classification},
            )
    with database.begin(principal, readonly=True) as connection:
        assert set(connection.exec_driver_sql("SELECT name_zh FROM baige.key_area").scalars()) == seen


def test_hidden_column_is_refused_whatever_the_query(database: Database) -> None:
    with pytest.raises(Forbidden), database.begin(Principal("public")) as connection:
        connection.exec_driver_sql("SELECT count(*) FROM baige.camera_site WHERE device_code LIKE '4%%'")


def test_writes_stay_in_the_district_and_are_traced(database: Database) -> None:
    with database.begin(OFFICER) as connection:
        insert_camera(connection, "42050200001320000006")
        actor = connection.exec_driver_sql(
            "SELECT change_id FROM baige.camera_site WHERE device_code = '42050200001320000006'"
        ).scalar_one()
    with database.begin() as connection:
        row = connection.execute(
            sa.text("SELECT actor, role, request_id FROM baige_sys.change_set WHERE id = :id"), {"id": actor}
        ).one()
        assert tuple(row) == ("k1", "officer", "r1")
    with pytest.raises(Forbidden), database.begin(OFFICER) as connection:
        insert_camera(connection, "42050300001320000007", admin="420503001001")
    with pytest.raises(Forbidden), database.begin(OFFICER) as connection:
        connection.exec_driver_sql(
            "UPDATE baige.camera_site SET admin_code = '420503' WHERE device_code = '42050200001320000006'"
        )
    with pytest.raises(Forbidden), database.begin(Principal("viewer")) as connection:
        connection.exec_driver_sql("DELETE FROM baige.camera_site")


def test_spatial_index_serves_below_row_level_security(database: Database) -> None:
    with database.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO baige.building (admin_code, geom) SELECT '420502', ST_Multi(ST_Expand(ST_SetSRID("
            "ST_Point(111 + (i %% 100) * 0.001, 30 + i / 100 * 0.001), 4490), 0.0001)) FROM generate_series(1, 20000) i"
        )
        connection.exec_driver_sql("ANALYZE baige.building")
    for principal in (Principal("public"), OFFICER):
        with database.begin(principal) as connection:
            plan = "\n".join(
                connection.exec_driver_sql(
                    "EXPLAIN SELECT id FROM baige.building WHERE geom && ST_MakeEnvelope(111.01, 30.01, 111.012, 30.012, 4490)"
                ).scalars()
            )
            assert "building_geom_gist" in plan, plan


def test_statement_timeout(database: Database) -> None:
    with pytest.raises(DatabaseTimeout), database.begin(timeout_s=0.05) as connection:
        connection.exec_driver_sql("SELECT pg_sleep(2)")


def test_own_layer_comes_and_goes(database: Database) -> None:
    declaration = read_declaration(TREES)
    add_layer(database, declaration)
    with pytest.raises(Conflict):
        add_layer(database, declaration)
    with database.begin() as connection:
        assert catalogue(connection)["street_tree"] == declaration
        connection.exec_driver_sql(
            "INSERT INTO baige.street_tree (tree_no, geom) VALUES ('T00001', ST_SetSRID(ST_Point(528000, 3398000), 4546))"
        )
        connection.exec_driver_sql("UPDATE baige.street_tree SET height_m = 4")
        frame = read_frame(connection, "street_tree")
        assert frame.crs.to_epsg() == 4546
        assert frame.geometry[0].equals(shapely.Point(528000, 3398000))
        assert connection.exec_driver_sql("SELECT count(*) FROM baige_history.street_tree").scalar_one() == 1
        assert differences(connection) == []
    upgrade(database)
    with pytest.raises(Conflict, match="1 features"):
        remove_layer(database, "street_tree")
    assert remove_layer(database, "street_tree", force=True) == 1
    with database.begin() as connection:
        assert "street_tree" not in catalogue(connection)
        assert connection.exec_driver_sql("SELECT to_regclass('baige.street_tree')").scalar_one() is None
    with pytest.raises(NotFound):
        remove_layer(database, "street_tree")
    with pytest.raises(InputError):
        remove_layer(database, "school")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ('geometry = "Point"|geometry = "Circle"', "geometry"),
        ("srid = 4546|srid = 999999", "999999"),
        ('name = "tree_no"|name = "limit"', "limit"),
        ('name = "street_tree"|name = "Street tree; DROP TABLE x"', "not a usable layer name"),
        ('type = "num"|type = "ref"\nreferences = "nowhere"', "nowhere"),
        ('type = "num"|type = "ref"', "references"),
        ("required = true|required = true\nphone = 1", "phone"),
        ("[[fields]]|[[fields", "TOML"),
    ],
)
def test_a_wrong_declaration_is_named(database: Database, change: str, word: str) -> None:
    old, new = change.split("|")
    with pytest.raises(InputError, match=word):
        add_layer(database, read_declaration(TREES.replace(old, new, 1)))


def test_read_frame_checks_its_columns(database: Database) -> None:
    with database.begin() as connection:
        with pytest.raises(UnknownField, match="wealth"):
            read_frame(connection, "camera_site", columns=["wealth"])
        with pytest.raises(NotFound):
            read_frame(connection, "nothing")
        frame = read_frame(connection, "camera_site", columns=["device_code", "mount_height_m"], srid=4546)
        assert list(frame.columns) == ["id", "device_code", "mount_height_m", "geom"]
        assert frame.crs.to_epsg() == 4546


def test_results_replace_those_of_the_run_before(database: Database) -> None:
    place = shapely.box(111.2, 30.6, 111.21, 30.61)
    ids = []
    for share in (0.25, 0.5):
        with run(database, kind="coverage", parameters={"cell_m": 1}, layers=["camera_site"]) as current:
            current.summary["share"] = share
            frame = gpd.GeoDataFrame({"confirmed_overview": [share]}, geometry=[place], crs=4490).rename_geometry(
                "geom"
            )
            with database.begin() as connection:
                assert replace_results(connection, "coverage_by_grid", frame, run=current) == 1
            ids.append(current.id)
    with database.begin() as connection:
        assert latest_run(connection, "coverage") == ids[1]
        now = read_frame(connection, "coverage_by_grid", columns=["run_id", "confirmed_overview"])
        assert (list(now.run_id), list(now.confirmed_overview)) == ([str(ids[1])], [0.5])
        assert now.geometry[0].geom_type == "MultiPolygon"
        old = connection.exec_driver_sql("SELECT run_id, confirmed_overview FROM baige_history.coverage_by_grid").one()
        assert tuple(old) == (ids[0], 0.25)
        with pytest.raises(UnknownField):
            replace_results(connection, "coverage_by_grid", frame.assign(nonsense=1), run=current)


def test_a_failed_run_is_marked(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), run(database, kind="gaps", parameters={}, layers=["school"]) as failed:
        raise ZeroDivisionError
    with database.begin() as connection:
        state = connection.execute(
            sa.text("SELECT state FROM baige_sys.run WHERE id = :id"), {"id": failed.id}
        ).scalar_one()
        assert state == "failed"
        assert latest_run(connection, "gaps") is None
