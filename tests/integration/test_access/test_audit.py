"""The audit: entries of every change and of reads of restricted layers; every kind of tampering is seen, even by a superuser's hand."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import psycopg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from psycopg.conninfo import make_conninfo

from api.access import hash_secret, new_key
from api.cli import main
from gis.errors import Forbidden
from gis.settings import Settings
from layers.access import Principal
from layers.audit import Head, entries, head, seal, verify
from layers.changes import change_set
from layers.cluster import SUPERUSER
from layers.database import Database
from tests.integration.test_api.conftest import running

OFFICER = Principal("officer", "420502", "k1", "r1")


def add(database: Database, name: str, *, principal: Principal = OFFICER, layer: str = "school", admin: str = "420502001001") -> int:
    with database.begin(principal) as connection, change_set(connection, layer=layer, action="create", note="test") as change:
        connection.execute(
            sa.text(
                f"INSERT INTO baige.{layer} (name_zh, admin_code, geom) VALUES (:n, :a, ST_SetSRID(ST_Point(111.3, 30.7), 4490))"
            ),
            {"n": name, "a": admin},
        )
        change.count_inserted(1)
    return change.id


@pytest.fixture
def chained(fresh_database: Database) -> Database:
    """A database with thirty changes in the chain."""
    for number in range(30):
        add(fresh_database, f"校{number}")
    return fresh_database


def checked(database: Database, kept: Head | None = None) -> list[str]:
    with database.begin(readonly=True) as connection:
        return [f"{fault.seq}: {fault.en}" for fault in verify(connection, kept=kept).faults]


def tamper(database: Database, sql: str) -> None:
    """What somebody with all rights can do."""
    with psycopg.connect(make_conninfo(database.conninfo, user=SUPERUSER)) as connection:
        connection.execute("SET LOCAL session_replication_role = replica")
        for statement in sql.split(";"):
            connection.execute(statement.encode())


def test_changes_are_told_with_what_was_before_and_after(fresh_database: Database) -> None:
    change = add(fresh_database, "前")
    with fresh_database.begin(OFFICER) as connection, change_set(connection, layer="school", action="update") as second:
        connection.exec_driver_sql("UPDATE baige.school SET name_zh = '后'")
    with fresh_database.begin() as connection:
        last, before = entries(connection, kind="change", layer="school")
    assert (before["actor"], before["role"], before["district"], before["request_id"]) == ("k1", "officer", "420502", "r1")
    assert before["detail"]["change"] == change
    assert [row["name_zh"] for row in before["detail"]["after"]] == ["前"]
    assert before["detail"]["before"] == []
    assert last["detail"]["change"] == second.id
    assert [[row["name_zh"] for row in last["detail"][k]] for k in ("before", "after")] == [["前"], ["后"]]
    assert (last["seq"], before["seq"]) == (2, 1)
    assert checked(fresh_database) == []


def test_an_entry_comes_with_the_change_or_not_at_all(fresh_database: Database) -> None:
    with pytest.raises(RuntimeError, match="no"), fresh_database.begin(OFFICER) as connection:
        with change_set(connection, layer="school", action="create"):
            connection.exec_driver_sql("INSERT INTO baige.school (name_zh, admin_code, geom) VALUES ('x', '420502001001', 'SRID=4490;POINT(111 30)')")
        raise RuntimeError("no")
    with fresh_database.begin() as connection:
        assert entries(connection) == []


def test_sql_past_our_code_is_told_as_well(fresh_database: Database) -> None:
    with fresh_database.begin() as connection:
        connection.exec_driver_sql("INSERT INTO baige.school (name_zh, geom) VALUES ('直', 'SRID=4490;POINT(111 30)')")
    with fresh_database.begin() as connection:
        (entry,) = entries(connection)
    assert entry["detail"]["action"] == "direct"
    assert [row["name_zh"] for row in entry["detail"]["after"]] == ["直"]


def test_many_rows_are_told_by_hash_or_number(fresh_database: Database) -> None:
    sql = "INSERT INTO baige.school (name_zh, geom) SELECT i::text, 'SRID=4490;POINT(111 30)' FROM generate_series(1, {}) AS i"
    for count in (20, 21, 1000, 1001):
        with fresh_database.begin() as connection:
            connection.exec_driver_sql(sql.format(count))
    with fresh_database.begin() as connection:
        details = [entry["detail"] for entry in reversed(entries(connection))]
    assert [sorted({"after", "after_sha256"} & set(detail)) for detail in details] == [["after"], ["after_sha256"], ["after_sha256"], []]


TAMPERINGS = {
    "changed": ("UPDATE baige_sys.audit SET detail = detail || '{\"note\": \"x\"}' WHERE seq = 7", "7: the entry is not what was written"),
    "actor": ("UPDATE baige_sys.audit SET actor = 'k2' WHERE seq = 7", "7: the entry is not what was written"),
    "time": ("UPDATE baige_sys.audit SET at = at + interval '1 microsecond' WHERE seq = 30", "30: the entry is not what was written"),
    "deleted": ("DELETE FROM baige_sys.audit WHERE seq = 7", "7: entries 7 to 7 are missing"),
    "first deleted": ("DELETE FROM baige_sys.audit WHERE seq = 1", "1: entries 1 to 1 are missing"),
    "deleted and closed up": (
        "DELETE FROM baige_sys.audit WHERE seq = 7; UPDATE baige_sys.audit SET seq = seq - 1 WHERE seq > 7",
        "7: the entry is not what was written",
    ),
    "reordered": (
        "UPDATE baige_sys.audit SET seq = -7 WHERE seq = 7; UPDATE baige_sys.audit SET seq = 7 WHERE seq = 8;"
        " UPDATE baige_sys.audit SET seq = 8 WHERE seq = -7",
        "7: the entry is not what was written",
    ),
    "put in": (
        "INSERT INTO baige_sys.audit (seq, kind, layer, actor, role, hash) VALUES (31, 'change', 'school', 'k', 'officer', sha256('x'))",
        "31: the entry is not what was written",
    ),
    "cut off": ("DELETE FROM baige_sys.audit WHERE seq > 20", "21: change"),
}  # fmt: skip


@pytest.mark.parametrize("case", TAMPERINGS)
def test_tampering_is_seen(chained: Database, case: str) -> None:
    sql, said = TAMPERINGS[case]
    assert checked(chained) == []
    tamper(chained, sql)
    found = checked(chained)
    assert found
    assert found[0].startswith(said), found


def test_a_head_kept_elsewhere_shows_what_the_chain_alone_cannot(chained: Database) -> None:
    with chained.begin() as connection:
        kept = head(connection)
    assert kept is not None
    assert kept.seq == 30
    assert checked(chained, kept) == []
    add(chained, "later")
    assert checked(chained, kept) == []
    tamper(chained, "DELETE FROM baige_sys.audit WHERE seq > 25; DELETE FROM baige_sys.change_set WHERE id > 25")
    assert checked(chained) == []  # a shorter chain, whole in itself
    assert any("cut off" in fault for fault in checked(chained, kept))
    # the whole chain made anew, with correct hashes
    tamper(chained, "UPDATE baige_sys.audit SET seq = NULL, hash = NULL, actor = 'k9'")
    with chained.begin() as connection:
        assert seal(connection) == 25
    add(chained, "a")
    assert any("cut off" in fault or "head kept" in fault for fault in checked(chained, kept))


@pytest.mark.parametrize("statement", ["UPDATE baige_sys.audit SET actor = 'x'", "DELETE FROM baige_sys.audit", "TRUNCATE baige_sys.audit"])
def test_nobody_changes_it_by_mistake_not_even_the_owner(chained: Database, statement: str) -> None:
    from gis.errors import BaigeError

    with pytest.raises(BaigeError), chained.begin() as connection:
        connection.exec_driver_sql(statement)
    assert checked(chained) == []


@pytest.mark.parametrize("role", ["public", "viewer", "officer", "planner", "admin"])
def test_no_role_writes_it_and_admins_alone_read_it(chained: Database, role: Any) -> None:
    who = Principal(role)
    for statement in (
        "INSERT INTO baige_sys.audit (kind, layer, actor, role) VALUES ('read', 'x', 'x', 'x')",
        "SELECT baige_sys.audit_reads('[]')",
        "SELECT baige_sys.audit_seal()",
        "UPDATE baige_sys.audit SET actor = 'x'",
        "DELETE FROM baige_sys.audit",
    ):
        with pytest.raises(Forbidden), chained.begin(who) as connection:
            connection.exec_driver_sql(statement)
    if role == "admin":
        with chained.begin(who) as connection:
            assert len(entries(connection)) == 30
    else:
        with pytest.raises(Forbidden), chained.begin(who) as connection:
            entries(connection)


def test_writers_at_once_make_one_chain_and_none_waits_for_another(fresh_database: Database) -> None:
    """A transaction left open does not keep others from committing; every change ends in the chain."""
    errors: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for turn in range(8):
                add(fresh_database, f"{number}-{turn}")
        except BaseException as error:  # noqa: BLE001 - handed to the main thread
            errors.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with fresh_database.begin() as connection:
        seal(connection)
    assert checked(fresh_database) == []
    with fresh_database.begin() as connection:
        told = {entry["detail"]["change"] for entry in entries(connection, limit=1000)}
        made = set(connection.exec_driver_sql("SELECT id FROM baige_sys.change_set").scalars())
    assert len(made) == 32
    assert told == made


@pytest.fixture(scope="module")
def served(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, str]]:
    key_id, key = new_key()
    with database.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO baige_sys.api_key (id, secret_sha256, role, district) VALUES (:i, :s, 'officer', '')"),
            {"i": key_id, "s": hash_secret(key)},
        )
        for layer, more, value in (("sensitive_place", "place_kind", "'hotel_room'"), ("school", "school_kind", "'primary'")):
            connection.exec_driver_sql(
                f"INSERT INTO baige.{layer} (name_zh, {more}, geom) VALUES ('密', {value}, 'SRID=4490;POINT(111.3 30.7)')"
            )
    settings = Settings(home=tmp_path_factory.mktemp("audit"))
    url = database.url.render_as_string(hide_password=False)
    with running(settings, url) as (address, _), httpx.Client(base_url=address, headers={"X-API-Key": key}, timeout=60) as client:
        yield client, key_id


def test_reads_of_restricted_layers_are_told_in_every_form(database: Database, served: tuple[httpx.Client, str]) -> None:
    client, key_id = served
    here = "/collections/sensitive_place"
    item = client.get(f"{here}/items").json()["features"][0]["id"]
    tile = f"{here}/tiles/WebMercatorQuad/8/105/207"
    asked = [f"{here}/items?limit=7", f"{here}/items/{item}", f"{here}/items?f=csv", f"{here}/items?f=gpkg", tile, tile,
             f"{here}/items?as-of=2999-01-01T00:00:00Z".replace("2999", "2020")]  # fmt: skip
    for path in asked:
        assert client.get(path).status_code == 200, path
    assert client.get("/collections/school/items").status_code == 200
    deadline = time.monotonic() + 20
    while True:
        with database.begin() as connection:
            told = entries(connection, kind="read", actor=key_id)
        paths = [unquote(entry["detail"]["asked"]) for entry in told]
        if all(paths.count(path) >= asked.count(path) for path in asked):
            break
        assert time.monotonic() < deadline, paths
        time.sleep(0.2)
    assert {entry["layer"] for entry in told} == {"sensitive_place"}
    one = next(entry for entry in told if entry["detail"]["asked"] == asked[0] and "rows" in entry["detail"])
    assert one["role"] == "officer"
    assert one["request_id"]
    assert checked(database) == [] or checked(database)[0].endswith("not sealed yet")


def test_the_command(cluster: Any, chained: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAIGE_DATABASE_URL", chained.url.render_as_string(hide_password=False))
    monkeypatch.setenv("BAIGE_HOME", str(tmp_path))
    run = CliRunner()
    kept = tmp_path / "head.txt"
    kept.write_text(run.invoke(main, ["audit", "head"]).stdout)
    good = run.invoke(main, ["audit", "verify", "--head", str(kept), "--json"])
    assert good.exit_code == 0, good.output
    assert json.loads(good.stdout)["entries"] == 30
    shown = json.loads(run.invoke(main, ["audit", "show", "--limit", "2", "--json"]).stdout)
    assert [entry["seq"] for entry in shown] == [30, 29]
    tamper(chained, "DELETE FROM baige_sys.audit WHERE seq = 3")
    bad = run.invoke(main, ["audit", "verify"])
    assert bad.exit_code == 1
    assert "3: entries 3 to 3 are missing" in bad.stdout
    kept.write_text("nonsense")
    assert run.invoke(main, ["audit", "verify", "--head", str(kept)]).exit_code == 2
