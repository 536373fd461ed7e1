"""``baige coverage``: compute what the cameras see, and report it."""

from typing import Any
from uuid import UUID

import click
import sqlalchemy as sa

from api.cli.context import AppContext, pass_app
from gis.errors import NotFound

__all__ = ["command"]


@click.group()
def command() -> None:
    """Compute and report what the cameras see. 计算并报告视频覆盖。"""


@command.command()
@click.option(
    "--mode",
    type=click.Choice(["exact", "fast"]),
    default="exact",
    show_default=True,
    help="Lines of sight. 视线计算方式。",
)
@click.option(
    "--cell",
    "cell_m",
    type=float,
    default=None,
    help="Side of a cell in metres; the city file's without it. 像元边长（米）。",
)
@click.option("--workers", type=click.IntRange(1), default=None, help="Threads; all cores without it. 线程数。")
@click.option(
    "--rasters/--no-rasters", default=True, show_default=True, help="Write the counts as GeoTIFFs. 是否输出栅格。"
)
@pass_app
def run(app: AppContext, mode: str, cell_m: float | None, workers: int | None, rasters: bool) -> None:
    """Compute coverage and store it as layers. 计算覆盖并存为图层。

    Can be broken off and called again: finished tiles are kept. 可中断，再次运行时沿用已完成的部分。
    """
    from grids.coverage import run_coverage

    database = app.database()
    with app.progress() as bar:
        tasks: dict[str, Any] = {}

        def progress(en: str, zh: str, done: int, total: int) -> None:
            if en not in tasks:
                tasks[en] = bar.add_task(app.text(en, zh), total=total)
            bar.update(tasks[en], completed=done, total=total)

        report = run_coverage(
            database,
            app.settings.city_config,
            app.settings.home,
            mode=mode,
            cell_m=cell_m,
            workers=workers,
            rasters=rasters,
            scheduler=app.settings.scheduler,
            progress=progress,
        )
    app.emit({"run_id": report.run_id, **report.summary}, _text(app, report.run_id, report.summary))


@command.command()
@click.option(
    "--run", "run_id", type=click.UUID, default=None, help="Which run; the newest without it. 运行编号，默认最近一次。"
)
@pass_app
def report(app: AppContext, run_id: UUID | None) -> None:
    """The figures of a coverage run. 显示一次覆盖计算的结果。"""
    from layers.runs import latest_run

    with app.database().begin(readonly=True) as connection:
        wanted = run_id or latest_run(connection, "coverage")
        row = (
            connection.execute(
                sa.text(
                    "SELECT id, state, started_at, finished_at, parameters, inputs, software, synthetic, summary"
                    " FROM baige_sys.run WHERE id = :id"
                ),
                {"id": wanted},
            )
            .mappings()
            .first()
        )
    if row is None:
        raise NotFound(
            "There is no coverage run yet; start one with 'baige coverage run'.",
            zh="尚无覆盖计算，请先运行 baige coverage run。",
        )
    app.emit(dict(row), _text(app, row["id"], row["summary"]))


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _text(app: AppContext, run_id: UUID, summary: dict[str, Any]) -> str:
    """The figures of a run for reading."""
    lines = [
        app.text(f"Run {run_id}", f"运行 {run_id}"),
        app.text(
            f"{summary['cameras']:,} cameras, {summary['cameras_online']:,} of them online",
            f"摄像机 {summary['cameras']:,} 台，其中在线 {summary['cameras_online']:,} 台",
        ),
    ]
    for density, area in summary["area_confirmed_online_m2"].items():
        possible = summary["area_possible_online_m2"][density]
        lines.append(
            app.text(
                f"seen at {density} px/m: {area / 1e6:.2f} km² confirmed, {possible / 1e6:.2f} km² possible",
                f"{density} 像素/米：确定 {area / 1e6:.2f} km²，可能 {possible / 1e6:.2f} km²",
            )
        )
    cells = summary.get("grid_cells")
    if cells:
        lines.append(
            app.text(
                f"{cells['cells']:,} grid cells: {_percent(cells['public_space_online'])} of public space, {_percent(cells['road_online'])} of roads,"
                f" {cells['crossings_confirmed']:,} of {cells['crossings']:,} crossings",
                f"单元网格 {cells['cells']:,} 个：公共空间 {_percent(cells['public_space_online'])}，道路 {_percent(cells['road_online'])}，"
                f"路口 {cells['crossings_confirmed']:,}/{cells['crossings']:,}",
            )
        )
    if "bank_m" in summary:
        metres = summary["bank_m"]
        total = sum(metres.values())
        sure, maybe = metres.get("confirmed", 0), metres.get("possible", 0)
        lines.append(
            app.text(
                f"riverbank: {sure:,} m confirmed and {maybe:,} m possible of {total:,} m",
                f"岸线：共 {total:,} 米，确定 {sure:,} 米，可能 {maybe:,} 米",
            )
        )
    for key, en, zh in (("outfalls", "outfalls", "排污口"), ("schools", "schools", "学校")):
        if key in summary:
            states = ", ".join(f"{state} {n}" for state, n in summary[key].items())
            lines.append(app.text(f"{en}: {states}", f"{zh}：{states}"))
    return "\n".join(lines)
