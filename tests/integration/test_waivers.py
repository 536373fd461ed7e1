"""Waivers of findings: granted, renewed, ended; by whom; and what the next check makes of them."""

import datetime as dt
import json

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from api.cli import main
from gis.errors import Conflict, Forbidden, InputError, NotFound
from gis.settings import CityConfig
from grids.rules import check_rules
from grids.rules.waivers import end_waiver, list_waivers, waive
from layers.access import Principal
from layers.database import Database
from tests.integration.test_rules import point, put

OFFICER = Principal("officer", key_id="office-3")
ELSEWHERE = Principal("officer", district="420583", key_id="office-9")
TODAY = dt.datetime.now(dt.UTC).astimezone().date()
SOON = TODAY + dt.timedelta(days=30)


@pytest.fixture
def findings(fresh_database: Database, city: CityConfig) -> tuple[str, str]:
    """Two outfalls without approval, checked: ids of their findings."""
    for metres in (0.0, 10.0):
        put(
            fresh_database,
            "outfall",
            point(metres),
            approval_kind="none",
            admin_code="420502001001",
            name_zh=f"口{metres:.0f}",
        )
    check_rules(fresh_database, city, only=["5"])
    return tuple(ids(fresh_database))  # type: ignore[return-value]


def ids(database: Database) -> list[str]:
    with database.begin() as connection:
        rows = connection.exec_driver_sql(
            "SELECT id::text FROM baige.rule_finding WHERE rule_id = '5' ORDER BY object_name"
        )
        return [row[0] for row in rows]


def waived(database: Database) -> list[tuple[object, ...]]:
    with database.begin() as connection:
        rows = connection.exec_driver_sql(
            "SELECT waived, waiver_reason, waiver_until FROM baige.rule_finding WHERE rule_id = '5' ORDER BY object_name"
        )
        return [tuple(row) for row in rows]


def test_a_waiver_is_seen_at_once_and_by_the_next_check(
    fresh_database: Database, city: CityConfig, findings: tuple[str, str]
) -> None:
    made = waive(fresh_database, findings[0], reason=" 正在补办登记 ", expires_on=SOON, principal=OFFICER)
    assert (made.rule_id, made.granted_role, made.reason, made.in_force) == ("5", "officer", "正在补办登记", True)
    assert "口0" in str(made.name_zh)
    expected = [(True, "正在补办登记", SOON), (False, None, None)]
    assert waived(fresh_database) == expected
    report = check_rules(fresh_database, city, only=["5"])
    assert report.unchanged == 2
    assert waived(fresh_database) == expected
    with pytest.raises(Conflict, match=str(SOON)):
        waive(fresh_database, ids(fresh_database)[0], reason="again", expires_on=SOON, principal=OFFICER)
    with pytest.raises(NotFound):
        waive(fresh_database, findings[0], reason="the finding of the check before", expires_on=SOON, principal=OFFICER)
    assert [w.id for w in list_waivers(fresh_database, principal=OFFICER)] == [made.id]
    ended = end_waiver(fresh_database, made.id, principal=OFFICER)
    assert not ended.in_force
    assert waived(fresh_database) == [(False, None, None)] * 2
    assert list_waivers(fresh_database) == ()
    assert [w.id for w in list_waivers(fresh_database, every=True)] == [made.id]
    with pytest.raises(Conflict):
        end_waiver(fresh_database, made.id, principal=OFFICER)
    renewed = waive(fresh_database, ids(fresh_database)[0], reason="延期", expires_on=SOON, principal=OFFICER)
    assert renewed.id == made.id
    with fresh_database.begin() as connection:
        history = connection.execute(
            sa.text("SELECT reason, expires_on FROM baige_history.rule_waiver WHERE id = cast(:id AS uuid) ORDER BY changed_at"), {"id": made.id}
        ).all()  # fmt: skip
        assert [row[0] for row in history] == ["正在补办登记", "正在补办登记"]
        key = connection.exec_driver_sql(
            "SELECT actor FROM baige_sys.change_set WHERE layer = 'rule_waiver' ORDER BY id DESC LIMIT 1"
        ).scalar()
        assert key == "office-3"


def test_where_one_waiver_ends_another_may_still_hold(fresh_database: Database, findings: tuple[str, str]) -> None:
    one = waive(fresh_database, findings[0], reason="one", expires_on=SOON, role="planner")
    with fresh_database.begin() as connection:  # as if the finding had another object, waived for itself
        connection.execute(sa.text("UPDATE baige.rule_finding SET other_id = object_id, other_layer = 'outfall' WHERE id = cast(:id AS uuid)"),
                           {"id": findings[0]})  # fmt: skip
    two = waive(fresh_database, findings[0], reason="two", expires_on=TODAY, role="admin")
    assert two.id != one.id
    assert waived(fresh_database)[0] == (True, "two", TODAY)
    end_waiver(fresh_database, two.id)
    assert waived(fresh_database)[0] == (True, "one", SOON)


def test_who_may_and_what_is_refused(fresh_database: Database, findings: tuple[str, str]) -> None:
    for principal in (Principal("viewer"), Principal("public")):
        with pytest.raises(Forbidden):
            waive(fresh_database, findings[0], reason="x", expires_on=SOON, principal=principal)
    with pytest.raises(NotFound):  # another district's officer does not see it
        waive(fresh_database, findings[0], reason="x", expires_on=SOON, principal=ELSEWHERE)
    with pytest.raises(Forbidden):
        waive(fresh_database, findings[0], reason="x", expires_on=SOON, role="admin", principal=OFFICER)
    with pytest.raises(InputError):
        waive(fresh_database, findings[0], reason="x", expires_on=SOON)  # the platform names a role
    for reason, day in (
        ("  ", SOON),
        ("x" * 2001, SOON),
        ("x", TODAY - dt.timedelta(days=1)),
        ("x", TODAY.replace(year=TODAY.year + 6)),
    ):
        with pytest.raises(InputError):
            waive(fresh_database, findings[0], reason=reason, expires_on=day, principal=OFFICER)
    with pytest.raises(InputError, match="UUID"):
        waive(fresh_database, "1; DROP TABLE", reason="x", expires_on=SOON, principal=OFFICER)
    made = waive(fresh_database, findings[0], reason="x", expires_on=SOON, principal=OFFICER)
    with pytest.raises(NotFound):
        end_waiver(fresh_database, made.id, principal=ELSEWHERE)
    with pytest.raises(Forbidden):
        end_waiver(fresh_database, made.id, principal=Principal("viewer"))
    assert [w.id for w in list_waivers(fresh_database)] == [made.id]


def test_the_command_grants_lists_and_ends(
    fresh_database: Database, findings: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAIGE_DATABASE_URL", fresh_database.url.render_as_string(hide_password=False))
    run = CliRunner()
    done = run.invoke(
        main, ["--json", "rules", "waive", findings[1], "--reason", "整治中", "--until", str(SOON), "--role", "officer"]
    )
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)
    listed = run.invoke(main, ["rules", "waivers"])
    assert made["id"] in listed.stdout and "整治中" in listed.stdout
    assert run.invoke(main, ["rules", "waivers", "--end", made["id"]]).exit_code == 0
    assert json.loads(run.invoke(main, ["--json", "rules", "waivers"]).stdout) == []
    assert len(json.loads(run.invoke(main, ["--json", "rules", "waivers", "--all"]).stdout)) == 1
