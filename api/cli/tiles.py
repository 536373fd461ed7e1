"""``baige tiles``: vector tiles made before anybody asks for them."""

import re
from functools import partial
from typing import Any

import click

from api.cli.context import AppContext, pass_app

__all__ = ["command"]


def _zooms(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,2})(?:-(\d{1,2}))?", value, re.ASCII)
    if found is None or int(found[2] or found[1]) < int(found[1]):
        raise click.BadParameter(f"{value!r}; a level or two with a dash between them, as 8-14.")
    return int(found[1]), int(found[2] or found[1])


def _box(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        west, south, east, north = (float(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value!r}; west,south,east,north in degrees.") from error
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise click.BadParameter(f"{value!r}; west,south,east,north in degrees, the smaller before the greater.")
    return west, south, east, north


@click.group()
def command() -> None:
    """Vector tiles in files. 矢量瓦片文件。"""


@command.command("seed")
@click.argument("layers", nargs=-1, required=True, metavar="LAYER...")
@click.option("--zoom", "zooms", callback=_zooms, default="8-14", show_default=True, help="Level, or first and last. 级别或级别范围。")
@click.option("--area", default=None, help="Only this administrative code (or its beginning). 只做此区划代码范围内。")
@click.option("--bbox", "box", callback=_box, default=None, help="Or only west,south,east,north in degrees. 或只做此经纬度范围内。")
@click.option("--role", type=click.Choice(["public", "viewer", "officer", "planner", "admin"]), default="public", show_default=True,
              help="As this role sees the layers. 按此角色可见内容。")  # fmt: skip
@click.option("--district", default="", help="And this district (prefix of the code). 角色限定的区划代码前缀。")
@click.option("--set", "matrix_set", default="WebMercatorQuad", show_default=True, help="Tile matrix set. 瓦片矩阵集。")
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Tiles at the same time. 并行数。")
@pass_app
def seed_command(
    app: AppContext, layers: tuple[str, ...], zooms: tuple[int, int], area: str | None, box: Any, role: Any, district: str, matrix_set: str,
    workers: int,
) -> None:  # fmt: skip
    """Make tiles of LAYER... into the folder BAIGE_SERVE_TILE_STORE, where the server finds them. 预先生成瓦片，供服务直接取用。

    Tiles that are there for the layer's present state are passed over: started again, it goes on. With BAIGE_SCHEDULER the workers of a dask
    cluster make them. 已有的瓦片跳过，可随时中断后继续；设有 BAIGE_SCHEDULER 时由集群生成。
    """
    from api.settings import ServeSettings
    from api.tile_seed import area_box, seed
    from grids.views import area_prefix
    from layers.access import Principal

    if area and box:
        raise click.UsageError("Give --area or --bbox, not both.")
    database = app.database(pool_size=workers)
    if prefix := area_prefix(area):
        box = area_box(database, prefix)
    found = []
    with app.progress() as bar:
        for layer in layers:
            found.append(
                seed(
                    database, ServeSettings(), layer, zooms=range(zooms[0], zooms[1] + 1), box=box, principal=Principal(role, district=district),
                    tile_matrix_set=matrix_set, workers=workers, scheduler=app.settings.scheduler,
                    progress=partial(_tell, bar, bar.add_task(layer, total=None)),
                )
            )  # fmt: skip
    rows = [
        {"layer": s.layer, "tiles": s.tiles, "made": s.made, "there": s.there, "left_out": s.left_out, "bytes": s.size, "changed": s.changed}
        for s in found
    ]
    app.emit({"role": role, "district": district, "layers": rows}, "\n".join(_line(app, s) for s in found))


def _tell(bar: Any, task: Any, done: int, total: int) -> None:
    bar.update(task, completed=done, total=total)


def _line(app: AppContext, seeded: Any) -> str:
    text = app.text(
        f"{seeded.layer}: {seeded.tiles:,} tiles, {seeded.made:,} made ({seeded.size / 1e6:,.1f} MB), {seeded.there:,} were there",
        f"{seeded.layer}：共 {seeded.tiles:,} 个瓦片，新生成 {seeded.made:,} 个（{seeded.size / 1e6:,.1f} MB），已有 {seeded.there:,} 个",
    )
    if seeded.left_out:
        text += app.text(f", {seeded.left_out:,} left to the server (too slow or too large)", f"，{seeded.left_out:,} 个过慢或过大，留待请求时生成")
    if seeded.changed:
        text += app.text("; the layer changed meanwhile, run it again", "；期间图层有变更，请重新运行")
    return text
