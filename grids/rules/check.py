"""A check of the rules: each evaluated, or said why not; findings stored, compared with the check before, waivers noted."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import geopandas as gpd
import pandas as pd
import shapely
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gis.errors import InputError
from gis.settings import CityConfig
from grids.rules.evaluate import Finding, Sides, evaluate, is_geographic
from grids.rules.special import FUNCTIONS
from grids.rules.table import Rule, read_rules
from layers.access import SYSTEM, Principal
from layers.database import Database
from layers.frames import replace_results
from layers.registry import catalogue, storage_srid
from layers.runs import run

__all__ = ["RuleOutcome", "RulesReport", "check_rules"]

log = logging.getLogger(__name__)

_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class RuleOutcome:
    """What became of one rule: ``status`` is ``evaluated``, ``not_evaluated`` or ``not_in_force``; counts only for the first."""

    rule: Rule
    status: str
    reason_zh: str = ""
    reason_en: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Findings by verdict."""
        found = {"V": 0, "R": 0, "indeterminate": 0}
        for finding in self.findings:
            found[finding.verdict] += 1
        return found


@dataclass(frozen=True)
class RulesReport:
    """A check as a whole. ``new``, ``unchanged`` and ``gone`` are against the check before."""

    run_id: UUID
    at: date
    outcomes: tuple[RuleOutcome, ...]
    new: int
    unchanged: int
    gone: tuple[tuple[str, str], ...]


def check_rules(
    database: Database,
    city: CityConfig,
    *,
    at: date | None = None,
    only: Sequence[str] = (),
    rules: Sequence[Rule] | None = None,
    principal: Principal = SYSTEM,
    progress: Callable[[str, str, int, int], None] | None = None,
) -> RulesReport:
    """Evaluate the rules on the stored layers and put the findings into ``rule_finding``.

    Parameters
    ----------
    at : date, optional
        The day whose law and objects count; today without it.
    only : sequence of str
        Ids of rules (``6`` takes ``6a`` and ``6b``); all without it. Findings of others stay.

    Raises
    ------
    InputError
        There is no rule of that id.
    """
    day = at or datetime.now(UTC).astimezone().date()
    table = list(rules if rules is not None else read_rules())
    chosen = [rule for rule in table if not only or rule.id in only or rule.id.rstrip("abcdefgh") in only]
    unknown = [
        wanted
        for wanted in only
        if not any(rule.id == wanted or rule.id.rstrip("abcdefgh") == wanted for rule in table)
    ]
    if unknown:
        raise InputError(f"There is no rule {', '.join(unknown)}.", zh=f"没有规则 {'、'.join(unknown)}。")
    parameters = {"at": day, "rules": {rule.id: rule.version for rule in chosen}, "city": city.rules}
    used = sorted({layer for rule in chosen for layer in rule.layers})
    with run(database, kind="rules", parameters=parameters, layers=used, principal=principal) as current:
        with database.begin(readonly=True, snapshot=True, timeout_s=_TIMEOUT_S) as connection:
            srid = storage_srid(connection)
            sides = Sides(catalogue(connection), srid, is_geographic(connection, srid), day, city)
            outcomes = []
            for done, rule in enumerate(chosen):
                if progress:
                    progress(rule.title_en, rule.title_zh, done, len(chosen))
                outcomes.append(_outcome(connection, rule, sides))
            if progress:
                progress("done", "完成", len(chosen), len(chosen))
        with database.begin() as connection:
            before = _previous(connection, [rule.id for rule in chosen])
            frame = _frame(outcomes, sides, before, _waivers(connection, day))
            replace_results(
                connection, "rule_finding", frame, run=current, scope=("rule_id", [rule.id for rule in chosen])
            )
        keys = {_key(outcome.rule.id, finding) for outcome in outcomes for finding in outcome.findings}
        gone = sorted(before - keys)
        report = RulesReport(
            current.id,
            day,
            tuple(outcomes),
            len(keys - before),
            len(keys & before),
            tuple((key[0], key[1]) for key in gone),
        )
        current.summary.update(_summary(report))
    return report


def _outcome(connection: Connection, rule: Rule, sides: Sides) -> RuleOutcome:
    if not rule.in_force(sides.at):
        since = f"{rule.valid_from or '…'} – {rule.valid_to or '…'}"
        return RuleOutcome(rule, "not_in_force", f"该日未生效（{since}）", f"not in force on that day ({since})")
    for layer in rule.layers:
        if layer not in sides.declarations:
            return RuleOutcome(rule, "not_evaluated", f"缺少图层 {layer}", f"layer {layer} is missing")
        if not connection.exec_driver_sql(f'SELECT EXISTS (SELECT 1 FROM baige."{layer}")').scalar():
            return RuleOutcome(rule, "not_evaluated", f"图层 {layer} 没有数据", f"layer {layer} is empty")
    found = FUNCTIONS[rule.function](connection, rule, sides) if rule.function else evaluate(connection, rule, sides)
    return RuleOutcome(rule, "evaluated", findings=tuple(found))


def _key(rule_id: str, finding: Finding) -> tuple[str, str, str]:
    return (rule_id, finding.object_id, finding.other_id or "")


def _previous(connection: Connection, ids: list[str]) -> set[tuple[str, str, str]]:
    rows = connection.execute(
        sa.text(
            "SELECT rule_id, object_id::text, coalesce(other_id::text, '') FROM baige.rule_finding WHERE rule_id = ANY(:ids)"
        ),
        {"ids": ids},
    )
    return {(row[0], row[1], row[2]) for row in rows}


def _waivers(connection: Connection, day: date) -> dict[tuple[str, str, str], tuple[str, date]]:
    """Waivers in force by rule, object and other object (empty: whatever the other)."""
    rows = connection.execute(
        sa.text(
            "SELECT rule_id, object_id::text, coalesce(other_id::text, ''), reason, expires_on FROM baige.rule_waiver"
            " WHERE expires_on >= :day ORDER BY expires_on"
        ),
        {"day": day},
    )
    return {(row[0], row[1], row[2]): (row[3], row[4]) for row in rows}


def _frame(
    outcomes: list[RuleOutcome],
    sides: Sides,
    before: set[tuple[str, str, str]],
    waivers: dict[tuple[str, str, str], tuple[str, date]],
) -> gpd.GeoDataFrame:
    now = datetime.now(UTC)
    rows = []
    for outcome in outcomes:
        rule = outcome.rule
        for finding in outcome.findings:
            key = _key(rule.id, finding)
            waiver = waivers.get(key) or waivers.get((key[0], key[1], ""))
            rows.append(
                {
                    "rule_id": rule.id,
                    "rule_version": rule.version,
                    "name_zh": rule.title_zh,
                    "name_en": rule.title_en,
                    "verdict": finding.verdict,
                    "admin_code": finding.admin_code,
                    "object_layer": finding.object_layer,
                    "object_id": finding.object_id,
                    "object_name": finding.object_name,
                    "other_layer": finding.other_layer,
                    "other_id": finding.other_id,
                    "other_name": finding.other_name,
                    "distance_m": finding.distance_m,
                    "accuracy_m": finding.accuracy_m,
                    "threshold_m": finding.threshold_m,
                    "source": f"{rule.source_zh} / {rule.source_en}",
                    "article": rule.article or None,
                    "note_zh": finding.note_zh,
                    "note_en": finding.note_en,
                    "found_at": now,
                    "checked_for": sides.at,
                    "change": "unchanged" if key in before else "new",
                    "waived": waiver is not None,
                    "waiver_reason": waiver[0] if waiver else None,
                    "waiver_until": waiver[1] if waiver else None,
                    "geom": finding.wkb,
                }
            )
    frame = pd.DataFrame(rows, columns=list(rows[0]) if rows else ["rule_id", "geom"])
    places = shapely.from_wkb(frame["geom"].to_numpy(dtype=object))
    return gpd.GeoDataFrame(frame.drop(columns="geom"), geometry=places, crs=sides.srid).rename_geometry("geom")


def _summary(report: RulesReport) -> dict[str, Any]:
    return {
        "at": report.at,
        "new": report.new,
        "unchanged": report.unchanged,
        "gone": len(report.gone),
        "gone_findings": [list(key) for key in report.gone[:1000]],
        "rules": {
            outcome.rule.id: {
                "status": outcome.status,
                **(outcome.counts if outcome.status == "evaluated" else {"reason": outcome.reason_en}),
            }
            for outcome in report.outcomes
        },
    }
