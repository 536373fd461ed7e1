"""``baige gaps``: the places that no camera surely sees, greatest need first."""

import click
import sqlalchemy as sa

from api.cli.context import AppContext, pass_app
from gis.errors import NotFound

__all__ = ["command"]


@click.command()
@click.option("--kind", default=None, help="Only this kind of place (riverbank, outfall, road …). 只列此类。")
@click.option("--area", "area", default=None, help="Only within this administrative code. 只列此区划代码内。")
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="How many. 条数。")
@pass_app
def command(app: AppContext, kind: str | None, area: str | None, limit: int) -> None:
    """List the gaps of the newest coverage run by need. 按需求列出最近一次覆盖计算的盲区。"""
    from layers.catalogue import built_in
    from layers.runs import latest_run

    fields = {field.name: field for field in built_in()["coverage_gap"].fields}
    words = {
        (name, term.value): term.zh if app.lang.startswith("zh") else term.en
        for name in ("target_kind", "cause")
        for term in fields[name].domain
    }
    if kind is not None and ("target_kind", kind) not in words:
        known = ", ".join(str(term.value) for term in fields["target_kind"].domain)
        raise click.BadParameter(f"{kind!r}; {known}", param_hint="--kind")
    with app.database().begin(readonly=True) as connection:
        if latest_run(connection, "coverage") is None:
            raise NotFound(
                "There is no coverage run yet; start one with 'baige coverage run'.",
                zh="尚无覆盖计算，请先运行 baige coverage run。",
            )
        rows = (
            connection.execute(
                sa.text(
                    "SELECT rank, target_kind, coalesce(name_zh, stationing, grid_code) AS place, cause, cause_share, need, road_m, area_m2,"
                    " stationing, grid_code, admin_code, mount_layer, mount_dist_m, run_id, synthetic,"
                    " round(ST_X(ST_PointOnSurface(geom))::numeric, 6)::float8 AS lon,"
                    " round(ST_Y(ST_PointOnSurface(geom))::numeric, 6)::float8 AS lat"
                    " FROM baige.coverage_gap WHERE (cast(:kind AS text) IS NULL OR target_kind = :kind)"
                    " AND (cast(:area AS text) IS NULL OR starts_with(admin_code, :area)) ORDER BY rank LIMIT :limit"
                ),
                {"kind": kind, "area": area.rstrip("0") if area else None, "limit": limit},
            )
            .mappings()
            .all()
        )
    lines = [
        f"{row['rank']:>6}  {words[('target_kind', row['target_kind'])]:<16} {row['place'] or '–'}  "
        f"{words.get(('cause', row['cause']), '–')}  {app.text('need', '需求')} {row['need']:,.0f}  {row['lon']}, {row['lat']}"
        for row in rows
    ]
    app.emit([dict(row) for row in rows], "\n".join(lines) or app.text("No gap.", "没有盲区。"))
