"""``baige city``: the synthetic reference city."""

from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import click

from api.cli.context import AppContext, pass_app

__all__ = ["command"]


@click.group()
def command() -> None:
    """The reference city, a synthetic Yichang. 参考城市（合成的宜昌）。"""


@command.command()
@click.option(
    "--scale",
    type=click.Choice(["small", "full"]),
    default="small",
    show_default=True,
    help="3,000 or 60,000 cameras; all other registers are complete. 摄像机三千或六万，其余登记表均完整。",
)
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Another seed, another city. 随机种子。"
)
@pass_app
def build(app: AppContext, scale: Literal["small", "full"], seed: int) -> None:
    """Generate the reference city and store all its layers in PostGIS. 生成参考城市并全部入库。

    Rows of an earlier reference city are replaced; other data are left alone. All rows say that they are synthetic.
    """
    from data.city import generate
    from data.city.store import store_city

    steps = {
        "plan": ("Drawing river, hills, streets, buildings", "绘制江河、山地、街道与建筑"),
        "registers": ("Filling the registers", "生成各登记表"),
        "imperfections": ("Planting faults", "植入瑕疵"),
    }
    with app.progress() as bar:
        task = bar.add_task(app.text(*steps["plan"]), total=len(steps))

        def on_step(step: str) -> None:
            bar.update(task, description=app.text(*steps[step]), completed=list(steps).index(step))

        # While the database starts, the city is drawn.
        with ThreadPoolExecutor(1, thread_name_prefix="city") as pool:
            drawing = pool.submit(generate, scale, seed=seed, progress=on_step)
            database = app.database()
            city = drawing.result()
        bar.update(task, description=app.text("City drawn", "城市已生成"), completed=len(steps))
        rows = bar.add_task(app.text("Storing", "入库"), total=sum(len(frame) for frame in city.layers.values()))

        def on_layer(layer: str, done: int, total: int) -> None:
            bar.update(rows, description=app.text(f"Storing {layer}", f"入库 {layer}"), completed=done, total=total)

        stored = store_city(database, app.settings.home, city, app.settings.city_config, on_layer=on_layer)
        bar.update(rows, description=app.text("Stored", "已入库"))
    total = sum(item.rows for item in stored)
    lines = [f"{item.layer:24} {item.rows:>9,}  {item.elapsed_s:6.2f} s" for item in stored]
    lines.append(
        app.text(
            f"{len(stored)} layers, {total:,} rows, all synthetic (seed {seed})",
            f"{len(stored)} 个图层，{total:,} 行，均为合成数据（种子 {seed}）",
        )
    )
    app.emit(
        {
            "scale": scale,
            "seed": seed,
            "layers": [
                {
                    "layer": item.layer,
                    "rows": item.rows,
                    "inserted": item.inserted,
                    "updated": item.updated,
                    "unchanged": item.unchanged,
                    "removed": item.removed,
                }
                for item in stored
            ],
        },
        "\n".join(lines),
    )
