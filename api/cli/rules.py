"""``baige rules``: check the places of the city against the table of rules."""

from datetime import datetime
from typing import Any

import click

from api.cli.context import AppContext, pass_app

__all__ = ["command"]

_ROLE = {"officer": "监管人员", "planner": "规划人员", "admin": "管理员"}
_STATUS = {"evaluated": "已检查", "not_evaluated": "未检查", "not_in_force": "未生效"}


@click.group()
def command() -> None:
    """Check places against the rules. 规则检查。"""


@command.command("list")
@pass_app
def list_(app: AppContext) -> None:
    """The rules with their sources. 列出规则及其来源。"""
    from grids.rules import read_rules

    rules = read_rules()
    app.emit(
        [rule.model_dump(mode="json") for rule in rules],
        "\n".join(
            f"{rule.id:>4} {rule.verdict}  {app.text(rule.title_en, rule.title_zh)}"
            f"  [{app.text(rule.source_en, rule.source_zh)}{' ' + rule.article if rule.article else ''}; {rule.evidence}]"
            + (f"\n       {app.text(rule.note_en or '', rule.note_zh or '')}" if rule.note_en else "")
            for rule in rules
        ),
    )


@command.command()
@click.option("--rule", "only", multiple=True, help="Only this rule; may be repeated. 只检查此规则，可重复。")
@click.option(
    "--at", "day", type=click.DateTime(["%Y-%m-%d"]), default=None, help="Day whose law counts. 以该日法规为准。"
)
@pass_app
def check(app: AppContext, only: tuple[str, ...], day: datetime | None) -> None:
    """Evaluate the rules and store the findings. 检查规则并存储结果。"""
    from grids.rules import check_rules

    database = app.database()
    with app.progress() as bar:
        task = bar.add_task(app.text("rules", "规则"), total=1)

        def progress(_en: str, _zh: str, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        report = check_rules(
            database, app.settings.city_config, at=day.date() if day else None, only=only, progress=progress
        )
    rows: list[dict[str, Any]] = []
    lines = []
    for outcome in report.outcomes:
        counts = outcome.counts
        rows.append(
            {
                "rule": outcome.rule.id,
                "status": outcome.status,
                "reason": outcome.reason_en,
                **(counts if outcome.status == "evaluated" else {}),
            }
        )
        state = (
            app.text(
                f"V {counts['V']}  R {counts['R']}  indeterminate {counts['indeterminate']}",
                f"违反 {counts['V']}  需复核 {counts['R']}  不确定 {counts['indeterminate']}",
            )
            if outcome.status == "evaluated"
            else f"{app.text(outcome.status.replace('_', ' '), _STATUS[outcome.status])}: {app.text(outcome.reason_en, outcome.reason_zh)}"
        )
        lines.append(f"{outcome.rule.id:>4}  {app.text(outcome.rule.title_en, outcome.rule.title_zh)}: {state}")
    lines.append(
        app.text(
            f"{report.new} new, {report.unchanged} unchanged, {len(report.gone)} gone since the check before",
            f"与上次相比：新增 {report.new}，未变 {report.unchanged}，消失 {len(report.gone)}",
        )
    )
    app.emit(
        {
            "run_id": report.run_id,
            "at": report.at,
            "rules": rows,
            "new": report.new,
            "unchanged": report.unchanged,
            "gone": len(report.gone),
        },
        "\n".join(lines),
    )


@command.command()
@click.argument("finding")
@click.option("--reason", required=True, help="Why; no persons. 理由，不写个人信息。")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), required=True, help="Last day. 到期日。")
@click.option(
    "--role", type=click.Choice(["officer", "planner", "admin"]), required=True, help="Role that grants it. 批准角色。"
)
@click.option("--any-other", is_flag=True, help="Whatever the other object is. 不限相关对象。")
@pass_app
def waive(app: AppContext, finding: str, reason: str, until: datetime, role: str, any_other: bool) -> None:
    """Let a finding (its id in rule_finding) pass until a day. 在期限内豁免一条发现。"""
    from grids.rules.waivers import waive as grant

    made = grant(
        app.database(pool_size=1), finding, reason=reason, expires_on=until.date(), role=role, any_other=any_other
    )
    app.emit(
        made.plain(),
        app.text(
            f"Waiver {made.id}: rule {made.rule_id}, {made.name_en or made.object_id}, until {made.expires_on}.",
            f"豁免 {made.id}：规则 {made.rule_id}，{made.name_zh or made.object_id}，至 {made.expires_on}。",
        ),
    )


@command.command()
@click.option("--all", "every", is_flag=True, help="Also those that have ended. 含已到期的。")
@click.option("--end", "ending", default=None, metavar="ID", help="End this waiver. 终止此豁免。")
@pass_app
def waivers(app: AppContext, every: bool, ending: str | None) -> None:
    """List the waivers in force, or end one. 列出有效豁免，或终止其一。"""
    from grids.rules.waivers import end_waiver, list_waivers

    database = app.database(pool_size=1)
    found = (end_waiver(database, ending),) if ending else list_waivers(database, every=every)
    lines = [
        f"{w.id}  {w.rule_id:>4}  {app.text('until', '至')} {w.expires_on}  {app.text(w.granted_role, _ROLE[w.granted_role])}"
        f"  {app.text(w.name_en or '', w.name_zh or '')}  {w.reason}"
        for w in found
    ]
    app.emit(
        [w.plain() for w in found], "\n".join(lines) if lines else app.text("No waivers in force.", "没有有效的豁免。")
    )
