"""``baige qgis``: a QGIS project over the server's collections."""

from pathlib import Path

import click

from api.cli.context import AppContext, pass_app

__all__ = ["command"]


@click.command("qgis")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("out/baige.qgz"), show_default=True, help="File. 输出文件。")
@click.option("--server", default="http://127.0.0.1:8080", show_default=True, help="Address of the server. 服务器地址。")
@click.option("--titles", type=click.Choice(["zh", "en"]), default="zh", show_default=True, help="Language of titles. 标题语言。")
@pass_app
def command(app: AppContext, out: Path, server: str, titles: str) -> None:
    """Write a QGIS project with every layer, its titles, values and style. 生成含全部图层、字段别名、值映射和样式的 QGIS 工程。"""
    from layers.registry import catalogue, extent_of
    from maps.qgis_project import qgis_project, write_qgis_project

    city = app.settings.city_config
    with app.database().begin(readonly=True) as connection:
        layers = catalogue(connection)
        bounds = extent_of(connection, "grid_cell") or city.bounds
    name = city.name_zh if titles == "zh" else city.name_en
    title = f"百格 · {name}" if titles == "zh" else f"Baige · {name}"
    project = qgis_project(layers, server=server, title=title, bounds=bounds, srid=city.analysis_srid, lang=titles)
    write_qgis_project(out, project)
    app.emit({"file": str(out), "layers": len(layers), "server": server}, f"{out}  ({len(layers)})")
