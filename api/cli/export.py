"""``baige export``: a layer into a file."""

from pathlib import Path
from typing import Any

import click

from api.cli.context import AppContext, pass_app

__all__ = ["command"]


@click.command()
@click.argument("layer")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--crs", help="EPSG code, gcj02 or bd09; the layer's own by default, WGS 84 for GeoJSON. 坐标系。")
@click.option("--where", help="Only features that match this CQL2 text, as \"net_status = 'on'\". CQL2 过滤条件。")
@click.option(
    "--role",
    type=click.Choice(["owner", "public", "viewer", "officer", "planner", "admin"]),
    default="owner",
    show_default=True,
    help="Only what this role may see. 以何种角色的权限导出。",
)
@click.option(
    "--district",
    default="",
    help="Administrative code (prefix) that the role is limited to. 角色限定的行政区划代码前缀。",
)
@pass_app
def command(
    app: AppContext, layer: str, file: Path, crs: str | None, where: str | None, role: Any, district: str
) -> None:
    """Write LAYER to FILE: .gpkg .shp .geojson .geojsonl .fgb .parquet .csv .xlsx. 将图层导出为文件。

    CSV and XLSX have headers and terms in the language of --lang. CSV 与 XLSX 的表头和取值随 --lang 变化。
    """
    from layers.access import Principal
    from layers.export import export_layer

    database = app.database()
    with app.progress() as bar:
        task = bar.add_task(app.text(f"Writing {file.name}", f"导出 {file.name}"), total=None)
        count = export_layer(
            database,
            layer,
            file,
            crs=crs,
            where=where,
            lang=app.lang,
            principal=Principal(role, district=district),
            progress=lambda rows: bar.update(task, completed=rows),
        )
        bar.update(task, completed=count, total=count)
    app.emit(
        {"layer": layer, "file": str(file), "features": count},
        app.text(f"{count} features → {file}", f"{count} 个要素 → {file}"),
    )
