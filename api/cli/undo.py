"""``baige undo``: take a change set back."""

from typing import Any

import click

from api.cli.context import AppContext, pass_app

__all__ = ["command"]


@click.command("undo")
@click.argument("change", type=click.IntRange(1))
@click.option(
    "--role", type=click.Choice(["owner", "officer", "planner", "admin"]), default="owner", show_default=True,
    help="Only with the rights of this role. 以何种角色的权限撤销。",
)  # fmt: skip
@click.option("--district", default="", help="Administrative code (prefix) that the role is limited to. 角色限定的行政区划代码前缀。")
@click.option("--note", help="Why; kept with the change. 撤销原因。")
@pass_app
def command(app: AppContext, change: int, role: Any, district: str, note: str | None) -> None:
    """Take change set CHANGE back: every feature as it was before it. 撤销一次变更，恢复其前的状态。

    All or nothing. Where a later change touched the same features it is named, and nothing is done. The undoing is a change set itself, and can
    be taken back. 'baige audit show' has the numbers. 变更编号见 baige audit show。
    """
    from layers.access import Principal
    from layers.undo import undo

    done = undo(app.database(pool_size=1), change, principal=Principal(role, district=district), note=note)
    counts = {"restored": done.restored, "brought_back": done.brought_back, "removed": done.removed}
    app.emit(
        {"change": done.change, "undone": change, "layer": done.layer, **counts},
        app.text(
            f"Change {change} of {done.layer} taken back by change {done.change}: {done.restored} restored, {done.brought_back} brought back, "
            f"{done.removed} removed.",
            f"变更 {change}（{done.layer}）已由变更 {done.change} 撤销：恢复 {done.restored}，找回 {done.brought_back}，移除 {done.removed}。",
        ),
    )
