"""Waivers: a finding that is let pass for a time, with the reason and the role that said so."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from gis.errors import Conflict, Forbidden, InputError, NotFound
from layers.access import SYSTEM, Principal
from layers.changes import change_set
from layers.database import Database

__all__ = ["GRANTING_ROLES", "LONGEST_DAYS", "Waiver", "end_waiver", "list_waivers", "waive"]

#: Roles that may grant and end a waiver.
GRANTING_ROLES = ("officer", "planner", "admin")
#: A waiver lasts five years at most; then somebody looks again.
LONGEST_DAYS = 5 * 366
_REASON_MAX = 2000
_LISTED_MAX = 10_000

_COLUMNS = (
    "w.id::text, w.rule_id, w.object_layer, w.object_id::text, w.other_layer, w.other_id::text, w.name_zh, w.name_en, w.admin_code,"
    " w.reason, w.granted_role, w.expires_on, w.changed_at"
)


@dataclass(frozen=True)
class Waiver:
    """A waiver; ``in_force`` on the day it was asked for. ``name_zh`` and ``name_en`` say what it is of."""

    id: str
    rule_id: str
    object_layer: str
    object_id: str
    other_layer: str | None
    other_id: str | None
    name_zh: str | None
    name_en: str | None
    admin_code: str | None
    reason: str
    granted_role: str
    expires_on: date
    changed_at: datetime
    in_force: bool

    def plain(self) -> dict[str, Any]:
        """As a dictionary, dates as text."""
        found = asdict(self)
        found["expires_on"], found["changed_at"] = self.expires_on.isoformat(), self.changed_at.isoformat()
        return found


def _today() -> date:
    return datetime.now(UTC).astimezone().date()


def _read(row: RowMapping | Mapping[str, Any], day: date) -> Waiver:
    return Waiver(**dict(row), in_force=row["expires_on"] >= day)


def _may(principal: Principal, role: str | None) -> str:
    """The role that a waiver is granted in: the asker's; the platform itself (command line) names one."""
    if principal.role == "owner":
        if role not in GRANTING_ROLES:
            raise InputError(
                f"The role is one of {', '.join(GRANTING_ROLES)}.", zh=f"角色须为 {'、'.join(GRANTING_ROLES)} 之一。"
            )
        return role
    if principal.role not in GRANTING_ROLES:
        raise Forbidden("This role may not grant or end waivers.", zh="当前角色无权批准或终止豁免。")
    if role is not None and role != principal.role:
        raise Forbidden("A waiver is granted in one's own role.", zh="只能以自己的角色批准豁免。")
    return principal.role


def _identifier(text: str) -> str:
    try:
        return str(UUID(str(text)))
    except ValueError as error:
        raise InputError(
            f"{str(text)[:60]!r} is not an identifier (UUID).", zh=f"{str(text)[:60]!r} 不是有效的标识（UUID）。"
        ) from error


def waive(
    database: Database,
    finding_id: str,
    *,
    reason: str,
    expires_on: date,
    role: str | None = None,
    any_other: bool = False,
    principal: Principal = SYSTEM,
) -> Waiver:
    """Let a finding pass until a day.

    The waiver is of the finding's rule and its objects, so it holds for later checks too. An earlier waiver of the same that has run out
    is renewed.

    Parameters
    ----------
    finding_id : str
        A row of ``rule_finding`` that the principal may read.
    reason : str
        Why; no persons. 2,000 characters at most.
    expires_on : date
        Last day, from today to `LONGEST_DAYS` ahead.
    role : str, optional
        For the command line, which has none of its own: ``officer``, ``planner`` or ``admin``.
    any_other : bool
        The waiver holds for this object under this rule whatever the other object is.

    Raises
    ------
    NotFound
        There is no such finding for the principal.
    InputError
        No reason, or a day that has passed or is too far ahead.
    Conflict
        It is waived already.
    Forbidden
        The role may not grant waivers.
    """
    granted = _may(principal, role)
    words = reason.strip()
    if not words or len(words) > _REASON_MAX:
        raise InputError(
            f"A reason is needed, {_REASON_MAX} characters at most.", zh=f"须填写理由，最多 {_REASON_MAX} 字。"
        )
    today = _today()
    if not today <= expires_on <= today + timedelta(days=LONGEST_DAYS):
        raise InputError(
            f"A waiver ends from today to five years ahead; {expires_on} is not in between.",
            zh=f"豁免到期日须在今日至五年之内，{expires_on} 不在此范围。",
        )
    finding_id = _identifier(finding_id)
    with database.begin(principal) as connection:
        finding = connection.execute(
            sa.text(
                "SELECT rule_id, object_layer, object_id::text, object_name, other_layer, other_id::text, name_zh, name_en, admin_code,"
                " classification FROM baige.rule_finding WHERE id = cast(:id AS uuid)"
            ),
            {"id": finding_id},
        ).mappings().one_or_none()  # fmt: skip
        if finding is None:
            raise NotFound(
                f"There is no finding {finding_id}; each check numbers its findings anew.",
                zh=f"没有发现 {finding_id}；每次核查都会重新编号。",
            )
        other = (None, None) if any_other else (finding["other_layer"], finding["other_id"])
        key = {"rule": finding["rule_id"], "object": finding["object_id"], "other": other[1]}
        # two who waive the same at once: one after the other
        connection.execute(
            sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 5))"),
            {"key": f"waiver {sorted(key.items(), key=str)}"},
        )
        earlier = connection.execute(
            sa.text(
                f"SELECT {_COLUMNS} FROM baige.rule_waiver w WHERE w.rule_id = :rule AND w.object_id = cast(:object AS uuid)"
                " AND w.other_id IS NOT DISTINCT FROM cast(:other AS uuid)"
            ),
            key,
        ).mappings().first()  # fmt: skip
        if earlier is not None and earlier["expires_on"] >= today:
            raise Conflict(
                f"This is waived until {earlier['expires_on']}; end that waiver first.",
                zh=f"该发现已豁免至 {earlier['expires_on']}；请先终止原豁免。",
            )
        values = {
            "rule": finding["rule_id"], "object_layer": finding["object_layer"], "object": finding["object_id"], "other_layer": other[0],
            "other": other[1], "name_zh": _name(finding["name_zh"], finding["object_name"]),
            "name_en": _name(finding["name_en"], finding["object_name"]), "admin_code": finding["admin_code"],
            "classification": finding["classification"], "reason": words, "role": granted, "until": expires_on,
            "id": earlier["id"] if earlier is not None else None,
        }  # fmt: skip
        with change_set(
            connection, layer="rule_waiver", action="update" if earlier is not None else "create", note="waiver"
        ) as change:
            if earlier is not None:
                sql = (
                    "UPDATE baige.rule_waiver w SET reason = :reason, granted_role = :role, expires_on = :until, name_zh = :name_zh,"
                    " name_en = :name_en WHERE w.id = cast(:id AS uuid)"
                )
            else:
                sql = (
                    "INSERT INTO baige.rule_waiver AS w (rule_id, object_layer, object_id, other_layer, other_id, name_zh, name_en, admin_code,"
                    " classification, reason, granted_role, expires_on) VALUES (:rule, :object_layer, cast(:object AS uuid), :other_layer,"
                    " cast(:other AS uuid), :name_zh, :name_en, :admin_code, :classification, :reason, :role, :until)"
                )
                change.count_inserted(1)
            row = connection.execute(sa.text(f"{sql} RETURNING {_COLUMNS}"), values).mappings().one()
        made = _read(row, today)
    with database.begin() as connection:
        _mark(connection, made)
    return made


def _name(title: str | None, thing: str | None) -> str | None:
    return " · ".join(part for part in (title, thing) if part)[:200] or None


def list_waivers(database: Database, *, every: bool = False, principal: Principal = SYSTEM) -> tuple[Waiver, ...]:
    """Waivers in force that the principal may read, the next to run out first; with ``every`` also those that have ended."""
    today = _today()
    with database.begin(principal, readonly=True) as connection:
        rows = connection.execute(
            sa.text(
                f"SELECT {_COLUMNS} FROM baige.rule_waiver w WHERE :every OR w.expires_on >= :day"
                f" ORDER BY w.expires_on, w.rule_id, w.id LIMIT {_LISTED_MAX}"
            ),
            {"every": every, "day": today},
        ).mappings()
        return tuple(_read(row, today) for row in rows)


def end_waiver(database: Database, waiver_id: str, *, principal: Principal = SYSTEM) -> Waiver:
    """End a waiver: from today it no longer holds. The row stays, its history says who ended it.

    Raises
    ------
    NotFound
        There is no such waiver for the principal.
    Conflict
        It has ended already.
    Forbidden
        The role may not end waivers, or not in this district.
    """
    if principal.role != "owner":
        _may(principal, None)
    today = _today()
    key = {"id": _identifier(waiver_id), "until": today - timedelta(days=1)}
    with database.begin(principal) as connection:
        row = (
            connection.execute(
                sa.text(f"SELECT {_COLUMNS} FROM baige.rule_waiver w WHERE w.id = cast(:id AS uuid)"), key
            )
            .mappings()
            .first()
        )
        if row is None:
            raise NotFound(f"There is no waiver {waiver_id}.", zh=f"没有豁免 {waiver_id}。")
        if row["expires_on"] < today:
            raise Conflict(f"This waiver ended on {row['expires_on']}.", zh=f"该豁免已于 {row['expires_on']} 到期。")
        with change_set(connection, layer="rule_waiver", action="update", note="waiver ended"):
            changed = connection.execute(
                sa.text(f"UPDATE baige.rule_waiver w SET expires_on = :until WHERE w.id = cast(:id AS uuid) RETURNING {_COLUMNS}"), key
            ).mappings().first()  # fmt: skip
        if changed is None:
            raise Forbidden("This waiver is outside what the key may change.", zh="该豁免不在此密钥可修改的范围内。")
        ended = _read(changed, today)
    with database.begin() as connection:
        _mark(connection, ended)
    return ended


def _mark(connection: Connection, waiver: Waiver) -> None:
    """Show in the findings that stand which waiver holds for them now; the next check does the same for its own.

    One of the very pair goes before one of the object with whatever other.
    """
    with change_set(connection, layer="rule_finding", action="update", note=f"waiver {waiver.id}"):
        connection.execute(
            sa.text(
                "UPDATE baige.rule_finding f SET waived = held.id IS NOT NULL, waiver_reason = held.reason, waiver_until = held.expires_on"
                " FROM baige.rule_finding g LEFT JOIN LATERAL (SELECT w.id, w.reason, w.expires_on FROM baige.rule_waiver w"
                "  WHERE w.rule_id = g.rule_id AND w.object_id = g.object_id AND (w.other_id IS NULL OR w.other_id = g.other_id)"
                "  AND w.expires_on >= :day ORDER BY w.other_id IS NULL, w.expires_on DESC LIMIT 1) held ON true"
                " WHERE g.id = f.id AND g.rule_id = :rule AND g.object_id = cast(:object AS uuid)"
            ),
            {"rule": waiver.rule_id, "object": waiver.object_id, "day": _today()},
        )
