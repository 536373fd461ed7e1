"""``baige layout``: check and plan the layout of ring, zones, grids and points."""

from dataclasses import asdict
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


@command.command("list")
@pass_app
def list_(app: AppContext) -> None:
    """The layouts and drafts with their versions and what their latest check says. 列出布局与草案及其版本。"""
    from grids.layout_versions import list_layouts

    found = list_layouts(app.database(pool_size=1))
    lines = []
    for v in found:
        state = (
            app.text("not checked", "未检查") if v.holds is None
            else app.text("holds", "成立") if v.holds
            else app.text(f"{v.errors} errors, {v.warnings} warnings", f"{v.errors} 个错误，{v.warnings} 个警告")
        )  # fmt: skip
        units = "/".join(str(n) for n in (v.rings, v.zones, v.grids, v.points))
        old = "" if v.newest else app.text("  (earlier)", "（旧版）")
        pins = app.text(f"  {v.pinned} pinned", f"  {v.pinned} 个固定") if v.pinned else ""
        lines.append(f"{v.layout:<20} {app.text('version', '版本')} {v.version:<3} {units:<16} {state}{pins}{old}")
    app.emit([asdict(v) for v in found], "\n".join(lines) if lines else app.text("There is no layout.", "没有布局。"))


@command.command()
@click.option(
    "--name", default="draft", show_default=True, help="Name of the draft; a number is added. 草案名，后加序号。"
)
@click.option(
    "--base",
    default="current",
    show_default=True,
    help="Layout whose ring and pinned units are kept. 沿用其环线与固定单元的布局方案。",
)
@click.option(
    "--keep",
    is_flag=True,
    help="Change the base as little as needed, units and codes kept. 在原方案基础上尽量少改，保留单元与编码。",
)
@click.option("--into", default=None, help="Draft whose next version this becomes. 存为该草案的下一版本。")
@click.option(
    "--ring",
    type=click.Choice(["keep", "draw"]),
    default="keep",
    show_default=True,
    help="Keep the ring, or draw it around the built-up area. 沿用或重划环线。",
)
@click.option(
    "--across-river",
    "across",
    is_flag=True,
    help="Let a zone lie on both banks, joined by a bridge, where balance asks for it. 允许片区经桥梁跨河以达均衡。",
)
@click.option(
    "--pin",
    "pinned",
    multiple=True,
    metavar="CODE",
    help="Unit of the base that may not move; may be repeated. 不得改动的单元，可重复。",
)
@click.option("--weight", type=click.Choice(["population", "household_count"]), default="population", show_default=True,
              help="What is to be balanced. 均衡所依据的指标。")  # fmt: skip
@pass_app
def plan(
    app: AppContext,
    name: str,
    base: str,
    keep: bool,
    into: str | None,
    ring: str,
    across: bool,
    pinned: tuple[str, ...],
    weight: str,
) -> None:
    """Draw ring, zones, grids and points, store them as a draft and check it. 划分圈、片、格、点，存为草案并检查。"""
    from grids.layout_plan import plan_layout

    database = app.database()
    with app.progress() as bar:
        task = bar.add_task(app.text("layout", "布局"), total=1)

        def progress(en: str, zh: str, done: int, total: int) -> None:
            bar.update(task, description=app.text(en, zh), completed=done, total=total)

        report = plan_layout(
            database, app.settings.city_config, name=name, base=base, keep=keep, into=into, ring=ring, across=across, pinned=pinned,
            weight=weight, progress=progress,
        )  # fmt: skip
    lines = [
        app.text(
            f"Layout {report.layout}, version {report.version}, is stored.",
            f"布局 {report.layout} 第 {report.version} 版已存储。",
        )
    ]
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
    figures = report.figures
    lines.append(
        app.text(
            f"point: {figures['points']}, of these {figures['points_at_cameras']} at cameras;"
            f" {figures['worth_covered']:.1%} of what matters is near one",
            f"点：{figures['points']} 个，其中 {figures['points_at_cameras']} 个为现有摄像机；重要目标的 {figures['worth_covered']:.1%} 在其附近",
        )
    )
    for row in report.moved[:_SHOWN]:
        lines.append(
            app.text(
                f"moved: {row['from'] or '-'} → {row['to']}: {row['blocks']} blocks, weight {row['weight']:,.0f}",
                f"变动：{row['from'] or '-'} → {row['to']}：{row['blocks']} 个街区，权重 {row['weight']:,.0f}",
            )
        )
    if len(report.moved) > _SHOWN:
        lines.append(app.text(f"… and {len(report.moved) - _SHOWN} more", f"……另有 {len(report.moved) - _SHOWN} 条"))
    if report.retired:
        lines.append(app.text(f"retired codes: {len(report.retired)}", f"作废编码：{len(report.retired)} 个"))
    lines += [app.text(note.text, note.zh) for note in report.notes]
    if figures["holds"]:
        lines.append(app.text("Its ring, zones, grids and points hold.", "其圈、片、格、点均成立。"))
    value = {
        "run_id": report.run_id, "layout": report.layout, "version": report.version, **figures, "moved": list(report.moved),
        "retired": list(report.retired), "notes": [{"kind": note.kind, "en": note.text, "zh": note.zh} for note in report.notes],
    }  # fmt: skip
    app.emit(value, "\n".join([*lines, *_lines(app, report.check)]))


@command.command()
@click.argument("draft")
@click.option("--anyway", is_flag=True, help="Even if its check finds errors. 即使检查有错误也采用。")
@pass_app
def adopt(app: AppContext, draft: str, anyway: bool) -> None:
    """Make a draft the current layout; the version before stays on record. 采用草案为现行布局，旧版留存。"""
    from grids.layout_versions import adopt_layout

    done = adopt_layout(app.database(), app.settings.city_config, draft, anyway=anyway)
    app.emit(
        {"run_id": done.run_id, "draft": done.draft, "version": done.version, "kept": done.kept, "new": done.new, "retired": list(done.retired),
         "holds": done.check.holds},
        app.text(
            f"{done.draft} is the current layout, version {done.version}: {done.kept} codes kept, {done.new} new, {len(done.retired)} retired.",
            f"{done.draft} 已成为现行布局第 {done.version} 版：沿用编码 {done.kept} 个，新编 {done.new} 个，作废 {len(done.retired)} 个。",
        ),
    )  # fmt: skip


@command.command()
@click.option("--community", "communities", multiple=True, metavar="CODE", help="Only cells of this community (repeatable). 只编此社区。")
@click.option("--anew", is_flag=True, help="All cells of the communities named, in the standard's order. 按标准次序重编所列社区的全部单元。")
@click.option("--dry-run", is_flag=True, help="Only say what would be. 只显示结果，不写入。")
@pass_app
def number(app: AppContext, communities: tuple[str, ...], anew: bool, dry_run: bool) -> None:
    """Give unit grid cells without a good code the next number of their community; old codes stay void. 单元网格编码。"""
    from grids.grid_numbers import number_cells

    done = number_cells(app.database(), app.settings.city_config, communities=communities, anew=anew, dry_run=dry_run)
    would = app.text("would get", "将获") if dry_run else app.text("got", "获得")
    lines = [
        app.text(
            f"{done.cells} cells, {len(done.given)} {would} another code; {len(done.retired)} codes void.",
            f"{done.cells} 个单元，{len(done.given)} 个{would}新编码；{len(done.retired)} 个编码作废。",
        )
    ]
    lines += [f"  {cell.before} → {cell.code}" for cell in done.given[:20]]
    if len(done.given) > 20:
        lines.append(app.text(f"  … and {len(done.given) - 20} more", f"  ……另有 {len(done.given) - 20} 个"))
    if done.outside:
        lines.append(
            app.text(f"{len(done.outside)} cells lie in no community and keep their code.", f"{len(done.outside)} 个单元不在任何社区内，编码不变。")
        )
    app.emit(
        {"run_id": done.run_id, "dry_run": dry_run, "cells": done.cells, "given": [vars(cell) for cell in done.given],
         "retired": list(done.retired), "outside": list(done.outside)},
        "\n".join(lines),
    )  # fmt: skip


@command.command()
@click.argument("draft")
@pass_app
def remove(app: AppContext, draft: str) -> None:
    """Remove a draft, all its versions; the history keeps them. 删除草案（历史仍保留）。"""
    from grids.layout_versions import remove_draft

    gone = remove_draft(app.database(pool_size=1), draft)
    app.emit(
        {"draft": draft, "units": gone}, app.text(f"{draft}: {gone} units removed.", f"{draft}：已删除 {gone} 个单元。")
    )


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
