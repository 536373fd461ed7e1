"""Undo: after taking a change back the layer is what it was, and what cannot be taken back is said."""

import random
import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from gis.errors import Conflict, Forbidden, NotFound
from layers.access import Principal
from layers.changes import change_set
from layers.database import Database
from layers.undo import undo

OFFICER = Principal("officer", "420502", "k1")
_ALL = "SELECT id::text, name_zh, admin_code, school_kind, ST_AsText(geom) FROM baige.school ORDER BY id"


def rows(database: Database) -> list[Any]:
    with database.begin() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(_ALL)]


def change(database: Database, *statements: str, principal: Principal = Principal("owner")) -> int:  # noqa: B008 - frozen
    with database.begin(principal) as connection, change_set(connection, layer="school", action="test") as made:
        for statement in statements:
            connection.exec_driver_sql(statement.replace("%", "%%"))
    return made.id


def put(number: int, *, code: str = "420502001001") -> str:
    return (
        f"INSERT INTO baige.school (id, name_zh, admin_code, geom) VALUES ('{uuid.UUID(int=number)}', '校{number}', '{code}',"
        f" 'SRID=4490;POINT({111 + number / 1000} 30.7)')"
    )


def test_any_mixture_of_changes_taken_back_in_turn_gives_every_state_again(fresh_database: Database) -> None:
    """Against a copy kept aside at each step."""
    rng = random.Random(7)
    states, numbers = [rows(fresh_database)], []
    for step in range(12):
        statements = [put(step * 100 + k) for k in range(rng.randrange(4))]
        some = f"abs(hashtext(id::text || '{step}')) % 10 < 4"
        statements.append(f"UPDATE baige.school SET name_zh = name_zh || '{step}', geom = ST_Translate(geom, 0.001, 0) WHERE {some}")
        if step % 2:
            statements.append(f"UPDATE baige.school SET school_kind = 'primary' WHERE abs(hashtext(id::text || '{step}k')) % 10 < 5")
        statements.append(f"DELETE FROM baige.school WHERE abs(hashtext(id::text || '{step}d')) % 10 < 2")
        if step % 3 == 2:  # one feature touched several times, put in and taken out again within one change
            statements += [put(step * 100 + 50), "UPDATE baige.school SET name_zh = 'x'", f"DELETE FROM baige.school WHERE name_zh = '{step}'"]
        before = rows(fresh_database)
        number = change(fresh_database, *statements)
        if rows(fresh_database) != before:
            numbers.append(number)
            states.append(rows(fresh_database))
    while numbers:
        assert rows(fresh_database) == states.pop()
        undo(fresh_database, numbers.pop())
    assert rows(fresh_database) == states[0]


def test_an_undo_is_a_change_and_can_be_taken_back(fresh_database: Database) -> None:
    change(fresh_database, put(1), put(2))
    second = change(fresh_database, "UPDATE baige.school SET name_zh = 'neu'", put(3), f"DELETE FROM baige.school WHERE id = '{uuid.UUID(int=1)}'")
    after = rows(fresh_database)
    done = undo(fresh_database, second)
    assert (done.restored, done.brought_back, done.removed) == (1, 1, 1)
    with fresh_database.begin() as connection:
        told = connection.execute(sa.text("SELECT action, note FROM baige_sys.change_set WHERE id = :i"), {"i": done.change}).one()
        entry = connection.exec_driver_sql("SELECT detail ->> 'action' FROM baige_sys.audit ORDER BY id DESC LIMIT 1").scalar_one()
    assert told == ("undo", f"undo of change {second}")
    assert entry == "undo"
    undo(fresh_database, done.change)
    assert rows(fresh_database) == after


@pytest.mark.parametrize(
    "later",
    [
        "UPDATE baige.school SET name_zh = 'später' WHERE name_zh = 'neu'",
        "DELETE FROM baige.school WHERE name_zh = 'neu'",
        "UPDATE baige.school SET name_zh = 'später' WHERE name_zh = '校3'",
        "DELETE FROM baige.school WHERE name_zh = '校3'",
        put(1),
    ],
)
def test_later_changes_are_named_and_nothing_is_done(fresh_database: Database, later: str) -> None:
    change(fresh_database, put(1), put(2))
    second = change(fresh_database, "UPDATE baige.school SET name_zh = 'neu'", put(3), f"DELETE FROM baige.school WHERE id = '{uuid.UUID(int=1)}'")
    third = change(fresh_database, later)
    before = rows(fresh_database)
    with pytest.raises(Conflict, match=rf"by change {third} "):
        undo(fresh_database, second)
    assert rows(fresh_database) == before
    undo(fresh_database, third)
    undo(fresh_database, second)
    assert [name for _, name, *_ in rows(fresh_database)] == ["校1", "校2"]


def test_a_role_takes_back_what_it_may_change_and_no_part_of_more(fresh_database: Database) -> None:
    change(fresh_database, put(1), put(2, code="420505001001"))
    both = change(fresh_database, "UPDATE baige.school SET name_zh = 'b'")
    with pytest.raises(Forbidden):
        undo(fresh_database, both, principal=OFFICER)
    assert {name for _, name, *_ in rows(fresh_database)} == {"b"}
    own = change(fresh_database, "UPDATE baige.school SET name_zh = 'c' WHERE admin_code ^@ '420502'")
    for role in ("public", "viewer"):
        with pytest.raises(Forbidden):
            undo(fresh_database, own, principal=Principal(role))  # type: ignore[arg-type]
    done = undo(fresh_database, own, principal=OFFICER)
    assert done.restored == 1
    with fresh_database.begin() as connection:
        told = connection.execute(sa.text("SELECT actor, role FROM baige_sys.change_set WHERE id = :i"), {"i": done.change}).one()
    assert told == ("k1", "officer")


def test_what_is_not_there_is_said(fresh_database: Database) -> None:
    with pytest.raises(NotFound):
        undo(fresh_database, 4711)
    empty = change(fresh_database, "UPDATE baige.school SET name_zh = 'x'")
    with pytest.raises(Conflict, match="nothing to take back"):
        undo(fresh_database, empty)
