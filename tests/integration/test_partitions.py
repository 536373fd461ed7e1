"""A layer in partitions by administrative code is the same layer: ids and keys unique, history, rights, undo, loading, backup; and plans prune."""

import re
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from api.cli import main
from gis.errors import BaigeError, Conflict, InputError
from layers.access import PUBLIC, Principal
from layers.backup import backup, restore
from layers.backup_server import DatabaseServer
from layers.catalogue import built_in
from layers.changes import change_set
from layers.cluster import EmbeddedCluster
from layers.database import Database
from layers.declaration import LayerDeclaration
from layers.migrate import differences, downgrade, upgrade
from layers.partitions import is_partitioned, merge_layer, partition_layer, partitioned_layers
from layers.query.cql2_sql import compile_filter
from layers.query.items import Question, count_sql
from layers.query.source import Source
from layers.registry import add_layer, remove_layer
from layers.undo import undo

OFFICER = Principal("officer", district="420502", key_id="k")
_PLACE = "ST_SetSRID(ST_Point(111.3, 30.7), 4490)"


def insert(connection: sa.Connection, code: str | None, device: str, *, id_: str | None = None, classification: str = "internal") -> str:
    found = connection.execute(
        sa.text(
            f"INSERT INTO baige.camera_site (id, device_code, admin_code, classification, name_zh, geom)"
            f" VALUES (coalesce(cast(:i AS uuid), gen_random_uuid()), :d, :c, :k, '点', {_PLACE}) RETURNING id::text"
        ),
        {"d": device, "c": code, "i": id_, "k": classification},
    )
    return str(found.scalar_one())


def parts_of(database: Database, where: str = "true") -> dict[str, str]:
    """Partition by device code."""
    with database.begin() as connection:
        rows = connection.exec_driver_sql(f"SELECT device_code, tableoid::regclass::text FROM baige.camera_site WHERE {where}")
        return {str(device): str(table).split(".")[1] for device, table in rows}


@pytest.fixture
def parted(fresh_database: Database) -> Iterator[Database]:
    """Cameras of three districts, of one that comes later, of a strange code and of none; in partitions."""
    with fresh_database.begin() as connection:
        for number in range(60):
            code = f"4205{('02', '03', '06')[number % 3]}001001"
            insert(connection, code, f"D{number}", classification="public" if number % 4 == 0 else "internal")
        insert(connection, None, "none")
        insert(connection, "X1", "strange")
    done = partition_layer(fresh_database, "camera_site")
    assert (done.parts, done.features) == (("420502", "420503", "420506"), 62)
    yield fresh_database
    fresh_database.dispose()


def test_rows_lie_where_their_code_says_and_move_with_it(parted: Database) -> None:
    found = parts_of(parted)
    assert len(found) == 62
    assert found["D0"] == "camera_site__420502" and found["D1"] == "camera_site__420503"
    assert found["none"] == found["strange"] == "camera_site__rest"
    with parted.begin(OFFICER) as connection, change_set(connection, layer="camera_site", action="edit") as change:
        connection.exec_driver_sql("UPDATE baige.camera_site SET name_zh = '改' WHERE device_code = 'D0'")
    with parted.begin() as connection, change_set(connection, layer="camera_site", action="edit") as moved:
        connection.exec_driver_sql("UPDATE baige.camera_site SET admin_code = '420506001001' WHERE device_code IN ('D0', 'none')")
    assert parts_of(parted)["D0"] == parts_of(parted)["none"] == "camera_site__420506"
    with parted.begin() as connection:
        history = connection.exec_driver_sql(
            "SELECT replaced_op, admin_code, name_zh, replaced_by FROM baige_history.camera_site WHERE device_code = 'D0' ORDER BY replaced_by"
        ).fetchall()
        assert [tuple(row) for row in history] == [("U", "420502001001", "点", change.id), ("U", "420502001001", "改", moved.id)]
        counts = connection.execute(sa.text("SELECT inserted, updated, deleted FROM baige_sys.change_set WHERE id = :i"), {"i": moved.id}).one()
        assert tuple(counts) == (0, 2, 0), "a move is an update, not a removal and an insertion"
    assert undo(parted, moved.id).restored == 2
    assert parts_of(parted)["D0"] == "camera_site__420502" and parts_of(parted)["none"] == "camera_site__rest"


def test_ids_and_keys_are_unique_over_all_partitions(parted: Database) -> None:
    with parted.begin() as connection:
        known = str(connection.exec_driver_sql("SELECT id FROM baige.camera_site WHERE device_code = 'D0'").scalar_one())
    with pytest.raises(Conflict), parted.begin() as connection:
        insert(connection, "420503001001", "new", id_=known)
    with pytest.raises(Conflict), parted.begin() as connection:
        insert(connection, "420506001001", "D0")
    with pytest.raises(Conflict), parted.begin() as connection:
        connection.exec_driver_sql("UPDATE baige.camera_site SET device_code = 'D0' WHERE device_code = 'D1'")
    with pytest.raises(BaigeError), parted.begin() as connection:
        connection.exec_driver_sql("UPDATE baige.camera_site SET id = gen_random_uuid() WHERE device_code = 'D1'")
    with parted.begin() as connection:  # a key that was given up is free again, in the same transaction too
        connection.exec_driver_sql("DELETE FROM baige.camera_site WHERE device_code = 'D0'")
        insert(connection, "420506001001", "D0", id_=known)
        connection.exec_driver_sql("UPDATE baige.camera_site SET device_code = 'D99' WHERE device_code = 'D1'")
        insert(connection, "420502001001", "D1")
    with parted.begin() as connection:
        keys = set(connection.exec_driver_sql("SELECT id::text, device_code FROM baige_parts.camera_site").fetchall())
        assert keys == set(connection.exec_driver_sql("SELECT id::text, device_code FROM baige.camera_site").fetchall())


def test_two_writers_of_one_key_in_two_partitions(parted: Database) -> None:
    """The one who comes second waits for the first, and fails or succeeds with what becomes of it."""
    for commits in (True, False):
        device, outcome = f"both-{commits}", []

        def second(device: str = device, outcome: list[str] = outcome) -> None:
            try:
                with parted.begin() as connection:
                    insert(connection, "420503001001", device)
                outcome.append("done")
            except Conflict:
                outcome.append("refused")

        thread = threading.Thread(target=second)
        with parted.engine.connect() as connection:
            transaction = connection.begin()
            insert(connection, "420502001001", device)
            thread.start()
            time.sleep(1.0)
            assert outcome == []
            transaction.commit() if commits else transaction.rollback()
        thread.join(30)
        assert outcome == (["refused"] if commits else ["done"])
        assert len(parts_of(parted, f"device_code = '{device}'")) == 1


def test_many_writers_leave_ids_keys_and_history_whole(parted: Database) -> None:
    """Sixteen devices, moved, renamed, removed and made again by eight writers at once: each is there once or not at all."""
    failures: list[str] = []

    def write(seed: int) -> None:
        import random

        rng = random.Random(seed)
        for _ in range(40):
            device, code = f"S{rng.randrange(16)}", f"4205{rng.choice(['02', '03', '06', '99'])}001001"
            try:
                with parted.begin() as connection:
                    match rng.randrange(4):
                        case 0:
                            insert(connection, code, device)
                        case 1:
                            moving = sa.text("UPDATE baige.camera_site SET admin_code = :c WHERE device_code = :d")
                            connection.execute(moving, {"c": code, "d": device})
                        case 2:
                            connection.execute(sa.text("DELETE FROM baige.camera_site WHERE device_code = :d"), {"d": device})
                        case _:
                            other = {"d": device, "o": f"S{rng.randrange(16)}"}
                            connection.execute(sa.text("UPDATE baige.camera_site SET device_code = :o WHERE device_code = :d"), other)
            except Conflict:
                pass
            except BaigeError as error:
                failures.append(error.message)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with parted.begin() as connection:
        rows = connection.exec_driver_sql("SELECT id::text, device_code FROM baige.camera_site").fetchall()
        assert len({device for _, device in rows}) == len({i for i, _ in rows}) == len(rows)
        assert set(rows) == set(connection.exec_driver_sql("SELECT id::text, device_code FROM baige_parts.camera_site").fetchall())
        twice = "SELECT id, change_id FROM baige_history.camera_site GROUP BY 1, 2 HAVING count(*) > 1"
        assert connection.exec_driver_sql(twice).fetchall() == []
        wrong = (
            "SELECT count(*) FROM baige_sys.change_set s WHERE layer = 'camera_site' AND updated + deleted <>"
            " (SELECT count(*) FROM baige_history.camera_site h WHERE h.replaced_by = s.id)"
        )
        assert connection.exec_driver_sql(wrong).scalar_one() == 0


def test_rights_are_those_of_before_and_partitions_are_no_way_around(parted: Database) -> None:
    seen = {}
    for principal in (PUBLIC, Principal("viewer", district="420502"), OFFICER, Principal("admin")):
        with parted.begin(principal) as connection:
            seen[principal.role] = {str(i) for (i,) in connection.exec_driver_sql("SELECT id FROM baige.camera_site")}
            for table in ("baige_parts.camera_site", "baige_parts.camera_site__420503", "baige_parts.camera_site__rest"):
                with pytest.raises(sa.exc.ProgrammingError), connection.begin_nested():
                    connection.exec_driver_sql(f"SELECT id FROM {table}")
    with pytest.raises(BaigeError), parted.begin(OFFICER) as connection:  # into a district that is not its own
        connection.exec_driver_sql("UPDATE baige.camera_site SET admin_code = '420503001001' WHERE device_code = 'D0'")
    with parted.begin(OFFICER) as connection:
        assert connection.exec_driver_sql("UPDATE baige.camera_site SET name_zh = 'x' WHERE admin_code LIKE '420503%%'").rowcount == 0
    merge_layer(parted, "camera_site")
    for principal in (PUBLIC, Principal("viewer", district="420502"), OFFICER, Principal("admin")):
        with parted.begin(principal) as connection:
            assert seen[principal.role] == {str(i) for (i,) in connection.exec_driver_sql("SELECT id FROM baige.camera_site")}
    assert len(seen["public"]) == 15 < len(seen["viewer"]) <= len(seen["officer"]) < len(seen["admin"]) == 62


def test_a_reclassified_feature_is_noted_for_the_layer_not_for_the_partition(parted: Database) -> None:
    with parted.begin() as connection:
        connection.exec_driver_sql("UPDATE baige.camera_site SET classification = 'restricted' WHERE device_code = 'D4'")
    with parted.begin() as connection:
        assert connection.exec_driver_sql("SELECT layer, classification FROM baige_sys.reclassified").fetchall() == [("camera_site", "restricted")]
    with parted.begin(PUBLIC) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM baige_history.camera_site").scalar_one() == 0


FILTERS = {
    "admin_code LIKE '420502%'": {"camera_site__420502"},
    "admin_code LIKE '420502001%' AND name_zh = '点'": {"camera_site__420502"},
    "admin_code = '420503001001'": {"camera_site__420503"},
    "admin_code IN ('420503001001', '420506001001')": {"camera_site__420503", "camera_site__420506"},
    "admin_code LIKE '4205%'": {"camera_site__420502", "camera_site__420503", "camera_site__420506", "camera_site__rest"},
    "name_zh = '点'": {"camera_site__420502", "camera_site__420503", "camera_site__420506", "camera_site__rest"},
}


@pytest.mark.parametrize("principal", [OFFICER, Principal("planner", key_id="p"), Principal("owner")], ids=lambda p: p.role)
@pytest.mark.parametrize("text", FILTERS)
def test_plans_touch_the_partitions_of_the_district_only(parted: Database, text: str, principal: Principal) -> None:
    source = Source.of(built_in()["camera_site"], 4490, principal.role, partitioned=True)
    plain = Source.of(built_in()["camera_site"], 4490, principal.role)
    asked, same = (count_sql(Question(s, (compile_filter(text, s),))) for s in (source, plain))
    with parted.begin(principal, readonly=True) as connection:
        plan = "\n".join(str(row[0]) for row in Database.fetch(connection, "EXPLAIN " + asked.text, asked.params, most=1000))
        assert Database.fetch(connection, asked.text, asked.params, most=1) == Database.fetch(connection, same.text, same.params, most=1)
    assert set(re.findall(r"camera_site__\w+?(?= |$|_\w*idx)", plan, re.MULTILINE)) & set(FILTERS["name_zh = '点'"]) == FILTERS[text], plan


def test_there_and_back_the_table_is_the_same(fresh_database: Database) -> None:
    def shape() -> list[Any]:
        questions = (
            "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'baige.camera_site'::regclass ORDER BY 1",
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'baige.camera_site'::regclass ORDER BY 1",
            "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'baige.camera_site'::regclass AND NOT tgisinternal ORDER BY 1",
            "SELECT policyname, roles::text, cmd, qual, with_check FROM pg_policies"
            " WHERE schemaname = 'baige' AND tablename = 'camera_site' ORDER BY 1",
            "SELECT attname, attnum, attnotnull, format_type(atttypid, atttypmod), attacl::text, pg_get_expr(adbin, adrelid),"
            " col_description(attrelid, attnum) FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
            " WHERE attrelid = 'baige.camera_site'::regclass AND attnum > 0 ORDER BY attnum",
            "SELECT relacl::text, relrowsecurity, obj_description(oid) FROM pg_class WHERE oid = 'baige.camera_site'::regclass",
        )
        with fresh_database.begin() as connection:
            return [[tuple(row) for row in connection.execute(sa.text(question))] for question in questions]

    with fresh_database.begin() as connection:
        insert(connection, "420502001001", "A")
        assert differences(connection) == []
    before = shape()
    for digits in (6, 4, 6):
        done = partition_layer(fresh_database, "camera_site", digits=digits)
        assert done.parts == (("420502",) if digits == 6 else ("4205",))
    merge_layer(fresh_database, "camera_site")
    assert shape() == before
    with fresh_database.begin() as connection:
        assert differences(connection) == [] and partitioned_layers(connection) == []
        assert connection.exec_driver_sql("SELECT count(*) FROM pg_class WHERE relnamespace = 'baige_parts'::regnamespace").scalar_one() == 0


def test_a_code_that_came_later_gets_its_partition_when_asked_again(parted: Database) -> None:
    with parted.begin() as connection:
        insert(connection, "420583001001", "later")
    assert parts_of(parted)["later"] == "camera_site__rest"
    assert "420583" in partition_layer(parted, "camera_site").parts
    assert parts_of(parted)["later"] == "camera_site__420583" and len(parts_of(parted)) == 62 + 1


def test_schema_upgrades_and_downgrades_pass_through(parted: Database) -> None:
    contents = "SELECT md5(string_agg(c::text, '|' ORDER BY id)) FROM baige.camera_site c"
    with parted.begin() as connection:
        before = connection.exec_driver_sql(contents).scalar_one()
        connection.exec_driver_sql("UPDATE baige_sys.storage SET fingerprint = NULL")
    upgrade(parted)  # functions, triggers and rules anew: partitions stay
    with parted.begin() as connection:
        assert is_partitioned(connection, "camera_site")
    downgrade(parted, "0007")
    with parted.begin() as connection:
        assert not is_partitioned(connection, "camera_site")
    upgrade(parted)
    partition_layer(parted, "camera_site")
    with parted.begin() as connection:  # one migration is due
        connection.exec_driver_sql("DROP TABLE IF EXISTS baige_sys.key_use")
        connection.exec_driver_sql("UPDATE baige_sys.alembic_version SET version_num = '0007'")
        connection.exec_driver_sql("UPDATE baige_sys.storage SET fingerprint = NULL")
    upgrade(parted)
    with parted.begin() as connection:
        assert is_partitioned(connection, "camera_site")
        assert connection.exec_driver_sql(contents).scalar_one() == before
    with pytest.raises(Conflict), parted.begin() as connection:
        insert(connection, "420506001001", "D0")


def test_backup_and_restore_bring_partitions_back(parted: Database, cluster: EmbeddedCluster, tmp_path: Path) -> None:
    server = DatabaseServer(parted.url.render_as_string(hide_password=False), cluster=cluster)
    archive = tmp_path / "city.tar"
    backup(server, tmp_path / "home", archive)
    with parted.begin() as connection:
        connection.exec_driver_sql("DELETE FROM baige.camera_site WHERE device_code = 'D0'")
    before = parts_of(parted)
    restore(server, tmp_path / "home", archive, force=True)
    after = parts_of(parted)
    assert after == {**before, "D0": "camera_site__420502"}
    with pytest.raises(Conflict), parted.begin() as connection:
        insert(connection, "420506001001", "D0")


def test_loading_and_export_of_a_layer_in_partitions(parted: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAIGE_DATABASE_URL", parted.url.render_as_string(hide_password=False))
    monkeypatch.setenv("BAIGE_HOME", str(tmp_path / "home"))
    with parted.begin() as connection:
        connection.exec_driver_sql("DELETE FROM baige.camera_site")
    table = tmp_path / "cameras.csv"
    good = [f"4205020000131{n:07d},4205{('02', '03', '06', '84')[n % 4]}001001,枪机{n},111.3,30.7" for n in range(40)]
    table.write_text("\n".join(["device_code,admin_code,name_zh,lon,lat", *good, good[0]]), encoding="utf-8")

    def call(*words: str) -> Any:
        return CliRunner().invoke(main, [*words], catch_exceptions=False)

    for turn in ("empty", "again"):
        done = call("--json", "load", "camera_site", str(table), "--crs", "4490")
        assert done.exit_code == 0, (turn, done.output)
        assert len(parts_of(parted)) == 40
    assert parts_of(parted)["42050200001310000001"] == "camera_site__420503"
    moved = table.with_name("moved.csv")
    moved.write_text("device_code,admin_code\n42050200001310000001,420506001001\n", encoding="utf-8")
    assert call("load", "camera_site", str(moved), "--crs", "4490").exit_code == 0
    assert parts_of(parted)["42050200001310000001"] == "camera_site__420506" and len(parts_of(parted)) == 40
    out = tmp_path / "out.csv"
    assert call("export", "camera_site", str(out)).exit_code == 0
    assert len(out.read_text(encoding="utf-8-sig").splitlines()) == 41


def test_what_cannot_be_partitioned_is_said(parted: Database) -> None:
    for layer in ("outfall", "school"):
        with pytest.raises(Conflict, match="refers"):
            partition_layer(parted, layer)
    with pytest.raises(InputError):
        partition_layer(parted, "coverage_gap")
    with pytest.raises(InputError):
        partition_layer(parted, "camera_site", digits=9)
    with pytest.raises(Conflict):
        merge_layer(parted, "building")
    watcher: dict[str, Any] = {"name": "watcher", "title_zh": "看", "title_en": "Watcher", "geometry": "Point", "fields": [
        {"name": "camera_id", "type": "ref", "references": "camera_site", "title_zh": "机", "title_en": "Camera"}]}  # fmt: skip
    with pytest.raises(Conflict, match="partitions"):
        add_layer(parted, LayerDeclaration.model_validate(watcher))
    own = LayerDeclaration(name="trees", title_zh="树", title_en="Trees", geometry="Point")
    add_layer(parted, own)
    partition_layer(parted, "trees")
    remove_layer(parted, "trees")
    add_layer(parted, own)


@pytest.mark.parametrize("layer", ["building", "kitchen", "grid_cell", "riverbank", "outfall_sample"])
def test_layers_of_all_kinds_go_there_and_back(fresh_database: Database, layer: str) -> None:
    """With references to other layers, keys of several columns, measured lines, further geometries, none."""
    def indexes() -> list[str]:
        with fresh_database.begin() as connection:
            found = f"SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'baige.{layer}'::regclass UNION ALL"
            found += f" SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'baige.{layer}'::regclass ORDER BY 1"
            return [str(text) for text in connection.execute(sa.text(found)).scalars()]

    before = indexes()
    partition_layer(fresh_database, layer)
    assert sum("FOREIGN KEY" in text for text in indexes()) == sum("FOREIGN KEY" in text for text in before)
    merge_layer(fresh_database, layer)
    assert indexes() == before
    with fresh_database.begin() as connection:
        assert differences(connection) == []


def test_nobody_is_left_with_a_state_in_which_the_rows_do_not_exist(parted: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has such a state and reads on later would find the table empty; who waits for the table is sent away with an error."""
    count = sa.text("SELECT count(*) FROM baige.camera_site")
    monkeypatch.setattr("layers.partitions.PATIENCE_S", 1.0)
    old = parted.engine.connect().execution_options(isolation_level="REPEATABLE READ")
    with old, old.begin():
        old.execute(sa.text("SELECT count(*) FROM baige.building")).all()
        with pytest.raises(Conflict, match="do not end"):
            merge_layer(parted, "camera_site")
        assert old.execute(count).scalar_one() == 62
    told: list[Any] = []

    def read_late() -> None:
        try:
            with parted.begin(readonly=True, snapshot=True) as connection:
                told.append(connection.execute(count).scalar_one())
        except BaigeError as error:
            told.append(error)

    from layers import partitions

    def with_a_reader(connection: sa.Connection) -> None:
        thread.start()
        time.sleep(1.0)
        wait(connection)

    wait, thread = partitions._await_readers, threading.Thread(target=read_late)
    monkeypatch.setattr(partitions, "_await_readers", with_a_reader)
    merge_layer(parted, "camera_site")
    thread.join(30)
    assert len(told) == 1 and isinstance(told[0], BaigeError)
    with psycopg.connect(parted.conninfo, application_name="baige-listen"), pytest.raises(Conflict, match="server"):
        partition_layer(parted, "camera_site")
    assert len(parts_of(parted)) == 62


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_commands(parted: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lang: str) -> None:
    monkeypatch.setenv("BAIGE_DATABASE_URL", parted.url.render_as_string(hide_password=False))
    monkeypatch.setenv("BAIGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BAIGE_LANG", lang)
    parting = ["layer", "partition", "camera_site", "--by-digits", "4"]
    for words, told in ((["layer", "merge", "camera_site"], ("in one table", "合并")), (parting, ("1 partitions", "1 个分区"))):
        done = CliRunner().invoke(main, words, catch_exceptions=False)
        assert done.exit_code == 0 and told[lang == "zh"] in done.output
    assert set(parts_of(parted).values()) == {"camera_site__4205", "camera_site__rest"}


def test_uuid_of_a_removed_feature_may_be_given_again(parted: Database) -> None:
    one = str(uuid.uuid4())
    with parted.begin() as connection:
        insert(connection, "420502001001", "again", id_=one)
    with parted.begin() as connection:
        connection.execute(sa.text("DELETE FROM baige.camera_site WHERE id = :i"), {"i": one})
    with parted.begin() as connection:
        insert(connection, "420503001001", "again", id_=one)
    assert parts_of(parted)["again"] == "camera_site__420503"
