"""``baige layout``: check and plan the layout of ring, zones, grids and points."""

from typing import Any

import click
import numpy as np

from api.cli.context import AppContext, pass_app

__all__ = ["command"]

_SEVERITY = {"error": "错误", "warning": "警告", "info": "提示"}
_SHOWN = 5


@click.group()
def command() -> None:
    """Check and plan the layout of ring, zones, grids and points. 圈片格点布局的检查与规划。"""


@command.command()
@click.option("--layout", default="current", show_default=True, help="Layout or draft to check. 要检查的布局方案。")
@click.option(
    "--weight",
    type=click.Choice(["population", "household_count"]),
    default="population",
    show_default=True,
    help="What is to be balanced. 均衡所依据的指标。",
)
@click.option("--tolerance", "tolerance_m", type=click.FloatRange(min=0), default=None,
              help="Width in metres above which a gap or overlap counts. 缝隙与重叠的容差（米）。[default: 0.01]")  # fmt: skip
@click.option("--reach", "reach_m", type=click.FloatRange(min=0), default=None,
              help="Distance in metres at which a camera watches a crossing. 摄像机守护路口的距离（米）。[default: 30]")  # fmt: skip
@pass_app
def check(app: AppContext, layout: str, weight: str, tolerance_m: float | None, reach_m: float | None) -> None:
    """Check a layout, prove its ring, and store the faults. 检查布局、证明环线闭合并存储问题。"""
    from grids.layout_check import TOLERANCE_M, WATCH_REACH_M, check_layout

    database = app.database()
    with app.progress() as bar:
        task = bar.add_task(app.text("layout", "布局"), total=1)

        def progress(en: str, zh: str, done: int, total: int) -> None:
            bar.update(task, description=app.text(en, zh), completed=done, total=total)

        report = check_layout(
            database, app.settings.city_config, app.settings.home, layout=layout, weight=weight,
            tolerance_m=TOLERANCE_M if tolerance_m is None else tolerance_m,
            reach_m=WATCH_REACH_M if reach_m is None else reach_m, progress=progress,
        )  # fmt: skip
    app.emit(
        {
            "run_id": report.run_id,
            "layout": report.layout,
            "version": report.version,
            "holds": report.holds,
            "counts": report.counts,
            "closures": [
                {"unit": c.code, "crossings": c.crossings, "watched": c.watched, "closed": c.closed, "leaks": c.leaks,
                 "fewest": c.fewest}
                for c in report.closures
            ],
            "not_checked": [
                {"what": what, "reason": app.text(reason, reason_zh)} for what, reason, reason_zh in report.not_checked
            ],
            **report.figures,
            "faults": [_plain(fault) for fault in report.faults],
        },
        "\n".join(_lines(app, report)),
    )  # fmt: skip


@command.command()
@click.option(
    "--name", default="draft", show_default=True, help="Name of the draft; a number is added. 草案名，后加序号。"
)
@click.option("--base", default="current", show_default=True, help="Layout whose ring is kept. 沿用其环线的布局方案。")
@click.option(
    "--weight",
    type=click.Choice(["population", "household_count"]),
    default="population",
    show_default=True,
    help="What is to be balanced. 均衡所依据的指标。",
)
@pass_app
def plan(app: AppContext, name: str, base: str, weight: str) -> None:
    """Draw zones, grids and points inside the ring, store them as a draft and check it. 在环内划分片、格、点，存为草案并检查。"""
    from grids.layout_plan import plan_layout

    database = app.database()
    with app.progress() as bar:
        task = bar.add_task(app.text("layout", "布局"), total=1)

        def progress(en: str, zh: str, done: int, total: int) -> None:
            bar.update(task, description=app.text(en, zh), completed=done, total=total)

        report = plan_layout(database, app.settings.city_config, name=name, base=base, weight=weight, progress=progress)
    lines = [app.text(f"Layout {report.layout} is stored.", f"布局 {report.layout} 已存储。")]
    for level in report.figures["levels"]:
        title = app.text(level["level"], {"zone": "片", "grid": "格"}[level["level"]])
        whole = app.text(
            "all in one piece" if level["contiguous"] else "some in pieces",
            "均连片" if level["contiguous"] else "有不连片者",
        )
        lines.append(
            app.text(
                f"{title}: {level['parts']}, imbalance {level['imbalance']:.1%}, boundaries {level['cut_m'] / 1000:.1f} km, {whole}",
                f"{title}：{level['parts']} 个，不均衡度 {level['imbalance']:.1%}，边界 {level['cut_m'] / 1000:.1f} 公里，{whole}",
            )
        )
    lines.append(
        app.text(
            f"point: {report.figures['points']}, of these {report.figures['points_at_cameras']} at cameras",
            f"点：{report.figures['points']} 个，其中 {report.figures['points_at_cameras']} 个为现有摄像机",
        )
    )
    lines += [app.text(note.text, note.zh) for note in report.notes]
    if report.figures["holds"]:
        lines.append(app.text("Its ring, zones, grids and points hold.", "其圈、片、格、点均成立。"))
    value = {
        "run_id": report.run_id,
        "layout": report.layout,
        **report.figures,
        "notes": [{"kind": note.kind, "en": note.text, "zh": note.zh} for note in report.notes],
    }
    app.emit(value, "\n".join([*lines, *_lines(app, report.check)]))


def _plain(fault: Any) -> dict[str, Any]:
    return {
        "kind": fault.kind,
        "severity": fault.severity,
        "level": fault.level,
        "units": [{"id": key, "code": code} for key, code in fault.units],
        "measure": fault.measure if np.isfinite(fault.measure) else None,
        "measure_unit": fault.measure_unit,
        "tolerance": fault.tolerance if np.isfinite(fault.tolerance) else None,
        "en": fault.text_en,
        "zh": fault.text_zh,
    }


def _lines(app: AppContext, report: Any) -> list[str]:
    lines = [
        app.text(
            f"Layout {report.layout}, version {report.version}: {'holds' if report.holds else 'does not hold'}.",
            f"布局 {report.layout} 第 {report.version} 版：{'成立' if report.holds else '不成立'}。",
        )
    ]
    groups: dict[tuple[str, str], list[Any]] = {}
    for fault in report.faults:  # errors first
        groups.setdefault((fault.severity, fault.kind), []).append(fault)
    for (severity, kind), mine in groups.items():
        lines.append(f"{app.text(severity, _SEVERITY[severity]):>8}  {kind}: {len(mine)}")
        lines += [f"{'':10}{app.text(fault.text_en, fault.text_zh)}" for fault in mine[:_SHOWN]]
        if len(mine) > _SHOWN:
            more = len(mine) - _SHOWN
            lines.append(f"{'':10}{app.text(f'… and {more} more', f'……另有 {more} 条')}")
    for closure in report.closures:
        lines.append(
            app.text(
                f"{closure.code}: {'closed' if closure.closed else f'open, {closure.fewest} more crossings to watch'}"
                f" ({closure.watched} of {closure.crossings} crossings watched)",
                f"{closure.code}：{'闭合' if closure.closed else f'未闭合，至少再守护 {closure.fewest} 处'}"
                f"（{closure.crossings} 个路口中 {closure.watched} 个有守护）",
            )
        )
    for what, reason, reason_zh in report.not_checked:
        lines.append(app.text(f"not checked: {what}: {reason}", f"未检查：{what}：{reason_zh}"))
    return lines
