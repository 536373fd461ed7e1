"""``baige rules``: check the places of the city against the table of rules."""

from datetime import datetime
from typing import Any

import click

from api.cli.context import AppContext, pass_app

__all__ = ["command"]

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
