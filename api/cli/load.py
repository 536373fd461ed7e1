"""``baige load``: a file into a layer."""

from pathlib import Path
from typing import Any

import click

from api.cli.context import AppContext, pass_app
from gis.errors import InputError

__all__ = ["command"]


def _pairs(option: str, en: str, zh: str, values: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for value in values:
        first, mark, second = value.partition("=")
        if not mark or not first.strip() or not second.strip():
            raise InputError(f"{option} {value!r}: expected {en}.", zh=f"{option} {value!r}：应为 {zh}。")
        pairs[first.strip()] = second.strip()
    return pairs


@click.command()
@click.argument("layer")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--crs", help="What the coordinates are in: EPSG:4490, gcj02, bd09 … Goes before what the file says. 坐标系。"
)
@click.option(
    "--map",
    "maps",
    multiple=True,
    metavar="HEADER=FIELD",
    help="Assign a column to a field; may be repeated. 指定列与字段的对应。",
)
@click.option(
    "--set",
    "constants",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Give a field one value in all rows. 为所有行设定字段值。",
)
@click.option("--dry-run", is_flag=True, help="Do everything, show the result, take it back. 试运行，不写入。")
@click.option(
    "--on-error",
    type=click.Choice(["quarantine", "abort"]),
    default="quarantine",
    show_default=True,
    help="Rows with faults: set aside and load the others, or load nothing. 有错误的行：隔离或全部放弃。",
)
@click.option("--encoding", help="Of text and shapefiles: utf-8, gbk … Told from the file by default. 文字编码。")
@click.option("--sheet", help="Sheet of a workbook. 工作表。")
@click.option("--layer-in-file", help="Layer of a GeoPackage, or file in a zip. 文件内的图层。")
@click.option(
    "--header-row",
    type=click.IntRange(1),
    help="Row of the headers in a table; found by itself by default. 表头所在行。",
)
@click.option("--lon-column", help="Column with longitude or east. 经度（东）列。")
@click.option("--lat-column", help="Column with latitude or north. 纬度（北）列。")
@click.option("--wkt-column", help="Column with geometry as WKT. WKT 列。")
@click.option("--swap-xy", is_flag=True, help="Latitude stands where longitude should. 文件中经纬度颠倒。")
@click.option("--allow-outside", is_flag=True, help="Take places outside the city's bounds. 允许城市范围之外的位置。")
@click.option("--source-org", help="Source organisation of all rows without one. 来源单位。")
@click.option("--synthetic", is_flag=True, help="Mark all rows as synthetic. 标记为合成数据。")
@pass_app
def command(
    app: AppContext, /, layer: str, file: Path, maps: tuple[str, ...], constants: tuple[str, ...], **choices: Any
) -> None:
    """Load FILE into LAYER. 将文件导入图层。

    GeoPackage, shapefile, GeoJSON, FlatGeobuf, GeoParquet, CSV, XLSX, XLS, or a zip of one of these. The same key updates a feature
    instead of doubling it; rows with faults go to the quarantine (baige quarantine list); personal columns are dropped.
    """
    from layers.loading.files import load_file
    from layers.loading.options import LoadOptions

    options = LoadOptions(
        maps=_pairs("--map", "header=field", "表头=字段", maps),
        constants=_pairs("--set", "field=value", "字段=值", constants),
        **choices,
    )
    database = app.database()
    with app.progress() as bar:
        task = bar.add_task(app.text(f"Loading {file.name}", f"导入 {file.name}"), total=None)
        report = load_file(
            database,
            layer,
            file,
            options=options,
            city=app.settings.city_config,
            progress=lambda rows: bar.update(task, completed=rows),
        )
        bar.update(task, completed=report.rows, total=report.rows)
    app.emit(report.as_json(), "\n".join(report.lines(app.lang)))
