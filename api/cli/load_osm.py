"""``baige load-osm``: an OpenStreetMap extract into the layers."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.cli.context import AppContext, pass_app

if TYPE_CHECKING:
    from data.osm.store import OsmReport

__all__ = ["command"]

_SHOWN = 12


class BoundsType(click.ParamType[tuple[float, float, float, float]]):
    """``west,south,east,north`` in degrees."""

    name = "W,S,E,N"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float, float, float]:
        """Read and check four numbers."""
        if isinstance(value, tuple):
            return (float(value[0]), float(value[1]), float(value[2]), float(value[3]))
        try:
            west, south, east, north = (float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not west,south,east,north. 应为“西,南,东,北”。", param, ctx)
        if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
            self.fail(f"{value!r} is not a box in degrees: west < east, south < north. 范围无效。", param, ctx)
        return west, south, east, north


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--area",
    type=BoundsType(),
    default=None,
    help="Box in degrees to load; the city's bounds without it. 加载范围（经纬度），默认为城市范围。",
)
@click.option("--dry-run", is_flag=True, help="Show what would happen, change nothing. 只检查，不写入。")
@pass_app
def command(app: AppContext, file: Path, area: tuple[float, float, float, float] | None, dry_run: bool) -> None:
    """Load buildings, roads, waters, schools, cameras and more from an OpenStreetMap extract (.osm.pbf). 加载 OpenStreetMap 数据。

    Loading a later extract updates what was loaded before. 再次加载会更新已有要素。
    """
    from data.osm.store import load_osm

    database = app.database()
    with app.progress() as bar:
        reading = bar.add_task(app.text(f"Reading {file.name}", f"读取 {file.name}"), total=None)
        tasks = {"read": reading}

        def progress(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                bar.update(reading, total=1, completed=1)
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done)

        report = load_osm(database, file, app.settings.city_config, area=area, dry_run=dry_run, on_progress=progress)
    app.emit(report.as_dict(), _text(app, report))


def _text(app: AppContext, report: "OsmReport") -> str:
    state = app.text(f", data of {report.timestamp}", f"，数据时间 {report.timestamp}") if report.timestamp else ""
    lines = [f"{report.file_name}{state}"]
    if report.dry_run:
        lines.append(app.text("Dry run: nothing was changed.", "仅检查，未写入。"))
    width = max(len(name) for name in report.layers)
    for name, layer in report.layers.items():
        lines.append(
            f"  {name:<{width}}  "
            + app.text(
                f"{layer.rows:,} read: {layer.inserted:,} new, {layer.updated:,} updated, {layer.unchanged:,} unchanged,"
                f" {layer.quarantined:,} in quarantine",
                f"读取 {layer.rows:,}：新增 {layer.inserted:,}，更新 {layer.updated:,}，未变 {layer.unchanged:,}，"
                f"隔离 {layer.quarantined:,}",
            )
            + (app.text(f", {layer.repaired:,} repaired", f"，修复 {layer.repaired:,}") if layer.repaired else "")
        )
    if report.missing_nodes or report.relations_incomplete:
        lines.append(
            app.text(
                f"At the edges: {report.missing_nodes:,} nodes missing ({report.lines_cut:,} lines cut, {report.areas_cut:,} areas"
                f" lost), {report.relations_incomplete:,} relations not closed.",
                f"边缘：缺 {report.missing_nodes:,} 个节点（{report.lines_cut:,} 条线被截断，{report.areas_cut:,} 个面缺失），"
                f"{report.relations_incomplete:,} 个关系未闭合。",
            )
        )
    notes = report.notes
    if notes.personal:
        keys = ", ".join(f"{key} ({count})" for key, count in notes.personal.most_common(_SHOWN))
        lines.append(app.text("Dropped, may describe persons: ", "已丢弃（可能涉及个人）：") + keys)
    for title_en, title_zh, counts in (
        ("Not loaded:", "未加载：", notes.skipped),
        ("Not understood, left empty:", "无法识别，留空：", notes.unknown),
        ("Remarks:", "说明：", notes.remarks),
    ):
        if counts:
            lines.append(app.text(title_en, title_zh))
            for words, number in list(counts.most_common(_SHOWN)):
                where = "" if words[0] == "*" else f"{words[0]}: "
                lines.append(f"  {number:>6,} × {where}{' = '.join(words[1:])}")
            if len(counts) > _SHOWN:
                lines.append(app.text(f"  and {len(counts) - _SHOWN} more", f"  另有 {len(counts) - _SHOWN} 项"))
    return "\n".join(lines)
