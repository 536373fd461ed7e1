"""``baige map``: standalone pages that open from disk without a network."""

from pathlib import Path

import click

from api.cli.context import AppContext, pass_app

__all__ = ["command"]


@click.group()
def command() -> None:
    """Standalone maps. 可离线打开的地图。"""


@command.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("out/maps"), show_default=True, help="Folder. 输出文件夹。")
@click.option("--lang", "languages", type=click.Choice(["zh", "en", "both"]), default="both", show_default=True, help="Language. 语言。")
@click.option("--public", is_flag=True, help="Public layers and columns only. 只含公开内容。")
@pass_app
def build(app: AppContext, out: Path, languages: str, public: bool) -> None:
    """Write the pages coverage, outfalls, layout and schools with an index. 生成覆盖、排污口、布局、校园四张地图及目录页。"""
    # folium and geopandas are slow to import: only this command waits for them.
    from maps.gallery import build_gallery, layers_needed
    from maps.pages import PAGES
    from maps.reading import read_declarations, read_facts, read_frames

    names = layers_needed()
    with app.progress() as progress:
        reading = progress.add_task(app.text("Reading layers", "读取图层"), total=len(names))
        with app.database().begin(readonly=True, snapshot=True) as connection:
            declarations = read_declarations(connection)
            frames = read_frames(
                connection, names, role="public" if public else "planner", seen=lambda _: progress.advance(reading)
            )  # fmt: skip
            facts = read_facts(connection, frames, app.settings.city_config)
        drawing = progress.add_task(app.text("Drawing pages", "绘制页面"), total=len(PAGES))
        order = ("zh", "en") if app.lang.startswith("zh") or languages == "both" else ("en", "zh")
        written = build_gallery(
            out,
            frames,
            declarations=declarations,
            facts=facts,
            languages=order if languages == "both" else (languages,),
            role="public" if public else "planner",
            made=lambda _: progress.advance(drawing),
        )
    sizes = {name: path.stat().st_size for name, path in written.items()}
    lines = [f"{path}  {sizes[name] / 1e6:.1f} MB" for name, path in written.items()]
    app.emit({name: {"file": str(path), "bytes": sizes[name]} for name, path in written.items()}, "\n".join(lines))
