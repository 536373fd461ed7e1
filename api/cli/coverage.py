"""``baige coverage``: compute what the cameras see, and report it."""

from pathlib import Path
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
@click.option(
    "--sensitivity", "moved", type=click.FloatRange(0.01, 0.9), default=None, is_flag=False, flag_value=0.2, metavar="[SHARE]",
    help="Also tell how much the area seen changes when assumed values move by SHARE (0.2). 另计算假定值变动对覆盖面积的影响。",
)  # fmt: skip
@pass_app
def run(
    app: AppContext, mode: str, cell_m: float | None, workers: int | None, rasters: bool, moved: float | None
) -> None:
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
            move_assumptions=moved,
            scheduler=app.settings.scheduler,
            progress=progress,
        )
    app.emit({"run_id": report.run_id, **report.summary}, _text(app, report.run_id, report.summary))


@command.command()
@click.option(
    "--mode",
    type=click.Choice(["exact", "fast"]),
    default="exact",
    show_default=True,
    help="Lines of sight. 视线计算方式。",
)
@click.option("--cell", "cell_m", type=float, default=None, help="Side of a cell in metres. 像元边长（米）。")
@click.option("--workers", type=click.IntRange(1), default=None, help="Threads; all cores without it. 线程数。")
@click.option(
    "--every", "every_s", type=click.FloatRange(0.1), default=1.0, show_default=True,
    help="Seconds between looks at the register. 检查间隔（秒）。",
)  # fmt: skip
@click.option("--once", is_flag=True, help="Stop after the first look. 只检查一次。")
@click.option(
    "--rasters/--no-rasters", default=True, show_default=True,
    help="Write the counts as GeoTIFFs and keep them up to date. 是否输出栅格并持续更新。",
)  # fmt: skip
@pass_app
def follow(
    app: AppContext, mode: str, cell_m: float | None, workers: int | None, every_s: float, once: bool, rasters: bool
) -> None:
    """Compute coverage, then keep its layers and rasters up to date with the cameras. 计算覆盖，并随摄像机变化持续更新结果图层与栅格。

    Runs until it is broken off (Ctrl-C).
    持续运行，按 Ctrl-C 结束。
    """
    from grids.live_store import Followed, LiveResults
    from grids.live_store import follow as keep_following

    with app.progress() as bar:
        results = LiveResults(
            app.database(),
            app.settings.city_config,
            app.settings.home,
            mode=mode,
            cell_m=cell_m,
            workers=workers,
            rasters=rasters,
            progress=_on_bar(app, bar),
        )

    def told(done: Followed) -> None:
        rows = sum(done.rows.values())
        values = {"cameras": done.cameras, "rows": done.rows, "cpu_s": round(done.cpu_s, 3)}
        app.emit(values, app.text(f"{done.cameras} cameras, {rows} rows", f"摄像机 {done.cameras} 台，更新 {rows} 行"))

    app.emit(
        {"run_id": results.run.id},
        app.text(f"Run {results.run.id}: following", f"运行 {results.run.id}：开始跟随"),
    )
    if once:
        done = results.catch_up()
        if done is not None:
            told(done)
        return
    keep_following(results, every_s=every_s, told=told)


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


@command.command()
@click.option("--area", default=None, help="Only cameras within this administrative code. 只计算此区划代码内的摄像机。")
@click.option(
    "--mode",
    type=click.Choice(["exact", "fast"]),
    default="exact",
    show_default=True,
    help="Lines of sight. 视线计算方式。",
)
@click.option("--cell", "cell_m", type=float, default=None, help="Side of a cell in metres. 像元边长（米）。")
@click.option(
    "--buffer",
    "buffer_m",
    type=float,
    default=5.0,
    show_default=True,
    help="Ground around a residential building that counts as its plot, metres. 住宅外扩距离（米）。",
)
@click.option("--workers", type=click.IntRange(1), default=None, help="Threads; all cores without it. 线程数。")
@pass_app
def views(
    app: AppContext, area: str | None, mode: str, cell_m: float | None, buffer_m: float, workers: int | None
) -> None:
    """What each camera sees, its share on residential plots, and what only it sees. 计算单机可视范围、居住用地占比和单点失效面积。"""
    from grids.views import run_views

    with app.progress() as bar:
        report = run_views(
            app.database(),
            app.settings.city_config,
            app.settings.home,
            area=area,
            mode=mode,
            cell_m=cell_m,
            residential_buffer_m=buffer_m,
            workers=workers,
            progress=_on_bar(app, bar),
        )
    found = report.summary
    lines = [
        app.text(f"Run {report.run_id}", f"运行 {report.run_id}"),
        app.text(
            f"{found['with_a_view']:,} of {found['cameras']:,} cameras see something:"
            f" {found['confirmed']:,} confirmed, {found['possible']:,} possible",
            f"摄像机 {found['cameras']:,} 台，有可视范围 {found['with_a_view']:,} 台：确定 {found['confirmed']:,}，可能 {found['possible']:,}",
        ),
        app.text(
            f"on residential plots: {_percent(found['residential_share'])} of all views;"
            f" {found['mostly_residential']:,} cameras more than half",
            f"落在居住用地：占全部视野 {_percent(found['residential_share'])}；过半的摄像机 {found['mostly_residential']:,} 台",
        ),
        app.text(
            f"{found['single_points']:,} cameras are the only ones to see something: {found['only_here_m2']:,} m² in all",
            f"{found['single_points']:,} 台摄像机有独占视野，共 {found['only_here_m2']:,} 平方米",
        ),
    ]
    lines += [
        f"  {row['only_here_m2']:>10,.0f} m²  {row['name_zh'] or row['camera_id']}" for row in found["most_at_stake"]
    ]
    app.emit({"run_id": report.run_id, **found}, "\n".join(lines))


@command.command()
@click.argument("scenario")
@click.option(
    "--base",
    default=None,
    help="Another scenario to start from; the cameras as they are without it. 对比基准方案，默认现状。",
)
@click.option(
    "--mode",
    type=click.Choice(["exact", "fast"]),
    default="exact",
    show_default=True,
    help="Lines of sight. 视线计算方式。",
)
@click.option("--cell", "cell_m", type=float, default=None, help="Side of a cell in metres. 像元边长（米）。")
@click.option("--workers", type=click.IntRange(1), default=None, help="Threads; all cores without it. 线程数。")
@pass_app
def compare(
    app: AppContext, scenario: str, base: str | None, mode: str, cell_m: float | None, workers: int | None
) -> None:
    """Coverage before and after a scenario. 对比方案实施前后的覆盖。

    SCENARIO is a TOML file of changes to the cameras, or the name of one kept in the portal or compared before. SCENARIO
    为方案文件（TOML），或门户中保存、曾经对比过的方案名称。
    """
    from grids.scenario import compare as run_compare

    database = app.database()
    changed = _scenario(database, scenario)
    start = None if base is None else _scenario(database, base)
    with app.progress() as bar:
        found = run_compare(
            database,
            app.settings.city_config,
            app.settings.home,
            start,
            changed,
            mode=mode,
            cell_m=cell_m,
            workers=workers,
            progress=_on_bar(app, bar),
        )
    app.emit({"run_id": found.run_id, **found.summary}, _difference_text(app, found.summary))


def _scenario(database: Any, text: str) -> Any:
    from grids.scenario_changes import load_scenario, stored_scenario
    from grids.scenario_rows import kept_scenario

    if text.endswith(".toml") or Path(text).is_file():
        return load_scenario(Path(text))
    with database.begin(readonly=True) as connection:
        try:
            return kept_scenario(connection, text)
        except NotFound:
            return stored_scenario(connection, text)


def _on_bar(app: AppContext, bar: Any) -> Any:
    tasks: dict[str, Any] = {}

    def progress(en: str, zh: str, done: int, total: int) -> None:
        if en not in tasks:
            tasks[en] = bar.add_task(app.text(en, zh), total=total)
        bar.update(tasks[en], completed=done, total=total)

    return progress


def _difference_text(app: AppContext, summary: dict[str, Any]) -> str:
    """What a scenario changes, for reading."""
    step, gaps = summary["difference"], summary["gaps"]
    lines = [
        app.text(
            f"{summary['base']} → {summary['changed']}: {summary['cameras_changed']:,} cameras, {summary['affected_km2']:g} km² affected",
            f"{summary['base']} → {summary['changed']}：摄像机 {summary['cameras_changed']:,} 台，影响 {summary['affected_km2']:g} km²",
        )
    ]
    for key, en, zh in (
        ("area_confirmed_online_m2", "confirmed", "确定"),
        ("area_possible_online_m2", "possible", "可能"),
    ):
        for density, area in step.get(key, {}).items():
            lines.append(
                app.text(f"{en} at {density} px/m: {area:+,.0f} m²", f"{zh}（{density} 像素/米）：{area:+,.0f} 平方米")
            )
    crossings = step.get("grid_cells", {}).get("crossings_confirmed")
    if crossings:
        lines.append(app.text(f"crossings confirmed: {crossings:+,}", f"确定覆盖路口：{crossings:+,}"))
    for key, en, zh in (
        ("bank_m", "riverbank, m", "岸线（米）"),
        ("outfalls", "outfalls", "排污口"),
        ("schools", "schools", "学校"),
    ):
        if step.get(key):
            states = ", ".join(f"{state} {n:+,}" for state, n in step[key].items())
            lines.append(app.text(f"{en}: {states}", f"{zh}：{states}"))
    for kind, need in gaps["need"].items():
        if need["before"] != need["after"]:
            lines.append(
                app.text(
                    f"need of gaps, {kind}: {need['before']:,.0f} → {need['after']:,.0f}",
                    f"盲区需求（{kind}）：{need['before']:,.0f} → {need['after']:,.0f}",
                )
            )
    lines.append(
        app.text(
            f"gaps closed {len(gaps['closed']):,}, opened {len(gaps['opened']):,}, changed {len(gaps['changed']):,}",
            f"盲区消除 {len(gaps['closed']):,} 处，新增 {len(gaps['opened']):,} 处，变化 {len(gaps['changed']):,} 处",
        )
    )
    return "\n".join(lines)


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
    lines += [_fairness_text(app, kind, told) for kind, told in summary.get("fairness", {}).items()]
    for told in summary.get("sensitivity", []):
        lines.append(
            app.text(
                f"{told['assumption']} is assumed to be {told['assumed']:g} for {told['cameras']:,} cameras; at {told['low']:g} and {told['high']:g}"
                f" the area surely seen differs by up to {_percent(told['swing'])}",
                f"{told['assumption']} 对 {told['cameras']:,} 台摄像机取假定值 {told['assumed']:g}；取 {told['low']:g} 与 {told['high']:g} 时，"
                f"确定覆盖面积最多相差 {_percent(told['swing'])}",
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


_KINDS = {"county": ("counties", "县区"), "street": ("streets", "街道"), "urban_rural": ("urban-rural classes", "城乡分类")}


def _fairness_text(app: AppContext, kind: str, told: dict[str, Any]) -> str:
    """How evenly units of a kind are watched, in one line."""
    en, zh = _KINDS[kind]
    worst, best = told["worst"], told["best"]
    return app.text(
        f"{told['units']:,} {en}: {_percent(worst['share'])} ({worst['name_zh'] or worst['code']}) to {_percent(best['share'])}"
        f" ({best['name_zh'] or best['code']}), spread {_percent(told['spread'])}, {told['below_half']:,} below half of the whole",
        f"{zh} {told['units']:,} 个：最低 {_percent(worst['share'])}（{worst['name_zh'] or worst['code']}），最高 {_percent(best['share'])}"
        f"（{best['name_zh'] or best['code']}），离散 {_percent(told['spread'])}，不足全体一半的 {told['below_half']:,} 个",
    )
