"""``baige quarantine``: rows that loads could not take."""

from pathlib import Path

import click

from api.cli.context import AppContext, pass_app

__all__ = ["command"]


@click.group()
def command() -> None:
    """Rows set aside by loads: list, show, export to mend, resolve. 查看、导出和处理被隔离的行。"""


@command.command("list")
@click.option("--layer", help="Only loads of this layer. 仅此图层。")
@pass_app
def list_(app: AppContext, layer: str | None) -> None:
    """Loads with rows in the quarantine, newest first. 列出有隔离行的导入。"""
    from layers.loading.quarantine import summary

    with app.database().begin(readonly=True) as connection:
        found = summary(connection, layer=layer)
    text = "\n".join(
        f"{row['id']}  {row['layer']:<20} {row['rows']:>7}  {row['started_at']:%Y-%m-%d %H:%M}  {row['file_name']}"
        for row in found
    )
    app.emit(found, text or app.text("The quarantine is empty.", "没有被隔离的行。"))


@command.command()
@click.argument("load")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Rows shown. 显示行数。")
@pass_app
def show(app: AppContext, load: str, limit: int) -> None:
    """Rows of LOAD (its id, the beginning of it, or "last") and what is wrong with them. 显示隔离行及原因。"""
    from layers.loading.quarantine import find_load, quarantined

    with app.database().begin(readonly=True) as connection:
        rows = list(quarantined(connection, find_load(connection, load), limit=limit))
    app.emit(
        [{"row": row.row, "faults": row.faults, "values": row.raw} for row in rows],
        "\n".join(f"{app.text('row', '第')} {row.row}{app.text('', ' 行')}  {row.text(app.lang)}" for row in rows),
    )


@command.command()
@click.argument("load")
@click.argument("file", type=click.Path(path_type=Path))
@pass_app
def export(app: AppContext, load: str, file: Path) -> None:
    """Write the rows of LOAD to a CSV FILE, to mend and load again. 导出隔离行为 CSV，修改后可重新导入。"""
    from layers.loading.quarantine import export_quarantine, find_load

    with app.database().begin(readonly=True, snapshot=True) as connection:
        count = export_quarantine(connection, find_load(connection, load), file, lang=app.lang)
    app.emit({"file": str(file), "rows": count}, app.text(f"{count} rows → {file}", f"{count} 行 → {file}"))


@command.command()
@click.argument("load")
@pass_app
def resolve(app: AppContext, load: str) -> None:
    """Take the rows of LOAD out of the quarantine: mended, or given up. 将隔离行标记为已处理。"""
    from layers.loading.quarantine import find_load
    from layers.loading.quarantine import resolve as resolve_rows

    with app.database().begin() as connection:
        count = resolve_rows(connection, find_load(connection, load))
    app.emit({"resolved": count}, app.text(f"{count} rows resolved", f"已处理 {count} 行"))
