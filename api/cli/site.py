"""``baige site``: where to put the next cameras."""

import re
from typing import Any

import click
import sqlalchemy as sa

from api.cli.context import AppContext, pass_app

__all__ = ["command"]

_KINDS = ("school_entrance", "outfall", "crossing", "riverbank", "road")


@click.group()
def command() -> None:
    """Sites for new cameras. 新增点位。"""


@command.command()
@click.option("--count", type=click.IntRange(1, 10_000), default=None, help="How many cameras. 新增数量。")
@click.option(
    "--budget", type=float, default=None, help="Most to spend, in yuan, instead of a count. 预算（元），与数量二选一。"
)
@click.option(
    "--kind", "kinds", multiple=True, type=click.Choice(_KINDS), help="Only these kinds of places. 只考虑这些对象。"
)
@click.option("--area", default=None, help="Only places within this administrative code. 只考虑此区划代码内。")
@click.option("--type", "types", multiple=True, help="Only these camera types of the city file. 只用这些机型。")
@click.option(
    "--times",
    type=click.IntRange(1, 10),
    default=1,
    show_default=True,
    help="Up to how many cameras on one place count. 每处最多计几台。",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    help="Places to be met first: KIND[:TIMES][@PX_PER_M], as outfall:1@40. 优先满足的目标。",
)
@click.option("--time-limit", "time_limit_s", type=float, default=None, help="Seconds for choosing. 求解时限（秒）。")
@click.option(
    "--mounts",
    "mounts_max",
    type=click.IntRange(1, 50_000),
    default=3000,
    show_default=True,
    help="Most poles, corners and other mounts to look at. 候选挂载点上限。",
)
@pass_app
def propose(
    app: AppContext,
    count: int | None,
    budget: float | None,
    kinds: tuple[str, ...],
    area: str | None,
    types: tuple[str, ...],
    times: int,
    targets: tuple[str, ...],
    time_limit_s: float | None,
    mounts_max: int,
) -> None:
    """Propose sites and store them as a layer. 提出新增点位建议并存为图层。

    Give --count or --budget. The answer says how far from the best it can be at most. 结果附带与最优解的最大差距。
    """
    from grids.proposals import propose as run

    with app.progress() as bar:
        tasks: dict[str, Any] = {}

        def progress(en: str, zh: str, done: int, total: int) -> None:
            if en not in tasks:
                tasks[en] = bar.add_task(app.text(en, zh), total=total)
            bar.update(tasks[en], completed=done, total=total)

        database = app.database()
        report = run(
            database,
            app.settings.city_config,
            app.settings.home,
            count=count,
            budget=budget,
            kinds=kinds,
            area=area,
            types=types,
            times=times,
            targets=[_target(text) for text in targets],
            time_limit_s=time_limit_s,
            mounts_max=mounts_max,
            scheduler=app.settings.scheduler,
            progress=progress,
        )
    with database.begin(readonly=True) as connection:
        rows = (
            connection.execute(
                sa.text(
                    "SELECT rank, ptz_type, azimuth_deg, mount_kind, mount_layer, mount_id, cost, gain, gain_total, gain_m2, targets,"
                    " admin_code, share_residential, synthetic,"
                    " round(ST_X(geom)::numeric, 6)::float8 AS lon, round(ST_Y(geom)::numeric, 6)::float8 AS lat"
                    " FROM baige.site_proposal WHERE run_id = :run ORDER BY rank"
                ),
                {"run": report.run_id},
            )
            .mappings()
            .all()
        )
    app.emit(
        {"run_id": report.run_id, **report.summary, "proposals": [dict(row) for row in rows]},
        _text(app, report.summary, [dict(row) for row in rows]),
    )


def _target(text: str) -> Any:
    from grids.proposals import SiteTarget

    found = re.fullmatch(r"([a-z_]+)(?::(\d+))?(?:@(\d+(?:\.\d+)?))?", text)
    if found is None or found[1] not in _KINDS:
        raise click.BadParameter(f"{text!r}; KIND[:TIMES][@PX_PER_M], KIND: {', '.join(_KINDS)}", param_hint="--target")
    return SiteTarget(found[1], int(found[2] or 1), None if found[3] is None else float(found[3]))


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _text(app: AppContext, summary: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """What is proposed, for reading."""
    from layers.catalogue import built_in

    words = {
        (field.name, term.value): term.zh if app.lang.startswith("zh") else term.en
        for layer, name in (
            ("coverage_gap", "target_kind"),
            ("site_proposal", "mount_kind"),
            ("site_proposal", "ptz_type"),
        )
        for field in built_in()[layer].fields
        if field.name == name
        for term in field.domain
    }
    lines = [
        f"{row['rank']:>5}  {words[('ptz_type', row['ptz_type'])]}  {words[('mount_kind', row['mount_kind'])]}"
        f"  {row['azimuth_deg']:g}°  {app.text('gain', '收益')} {row['gain']:,.0f}  {row['lon']}, {row['lat']}"
        for row in rows[:20]
    ]
    if len(rows) > 20:
        lines.append(app.text(f"      … and {len(rows) - 20:,} more", f"      …… 另有 {len(rows) - 20:,} 处"))
    mounts = summary["mounts"]
    lines += [
        app.text(
            f"{summary['sites']:,} sites for {summary['cost']:,.0f} yuan",
            f"建议点位 {summary['sites']:,} 处，造价 {summary['cost']:,.0f} 元",
        ),
        app.text(
            f"weighted places seen: {_percent(summary['share_before'])} before, {_percent(summary['share_after'])} after",
            f"加权覆盖：现状 {_percent(summary['share_before'])}，新增后 {_percent(summary['share_after'])}",
        ),
    ]
    for kind, n in summary["places"].items():
        name = words[("target_kind", kind)]
        lines.append(
            app.text(
                f"  {name}: {n['seen_before']:,} → {n['seen_after']:,} of {n['all']:,}",
                f"  {name}：{n['seen_before']:,} → {n['seen_after']:,}，共 {n['all']:,}",
            )
        )
    for target in summary["targets"]:
        lines.append(
            app.text(
                f"  target {target['name']}: {target['met']:,} of {target['wanted']:,} met, {target['out_of_reach']:,} out of reach",
                f"  目标 {target['name']}：满足 {target['met']:,}/{target['wanted']:,}，无法满足 {target['out_of_reach']:,}",
            )
        )
    lines.append(
        app.text(
            f"gain {summary['value']:,.1f}, at most {summary['upper_bound']:,.1f} with these candidates"
            f" (gap {_percent(summary['gap'])}{', proven best among them' if summary['proven_among_candidates'] else ''})",
            f"收益 {summary['value']:,.1f}，这些候选的上界 {summary['upper_bound']:,.1f}"
            f"（差距 {_percent(summary['gap'])}{'，在候选中已证明最优' if summary['proven_among_candidates'] else ''}）",
        )
    )
    if mounts["considered"] < mounts["available"]:
        lines.append(
            app.text(
                f"{mounts['considered']:,} of {mounts['available']:,} possible mounts were looked at (--mounts)",
                f"可挂载点 {mounts['available']:,} 处，参与计算 {mounts['considered']:,} 处（--mounts）",
            )
        )
    if summary["stopped"]:
        lines.append(app.text("The time limit stopped the search.", "求解因时限停止。"))
    return "\n".join(lines)
