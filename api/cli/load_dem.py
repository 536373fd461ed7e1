"""``baige load-dem``: elevation models into a mosaic known to the database."""

from pathlib import Path

import click

from api.cli.context import AppContext, pass_app

__all__ = ["command"]


@click.command()
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--name", default=None, help="Name of the raster; the first file's without it. 栅格名称，默认取首个文件名。"
)
@click.option("--crs", default=None, help="EPSG code, for files that have none or lie. 坐标系（文件没有或有误时）。")
@click.option(
    "--vertical", default=None, help="Height reference, e.g. EPSG:5737 (1985 national datum). 高程基准，如 EPSG:5737。"
)
@click.option(
    "--fill/--no-fill", default=True, show_default=True, help="Fill voids; filled cells are marked. 填补空洞并标记。"
)
@click.option(
    "--fill-cells",
    type=click.IntRange(1, 500),
    default=100,
    show_default=True,
    help="How far a void may look for heights, in cells. 填补时的搜索距离（像元）。",
)
@click.option("--anywhere", is_flag=True, help="Also outside the city's bounds. 允许位于城市范围之外。")
@click.option("--dry-run", is_flag=True, help="Check the files, make nothing. 只检查文件。")
@pass_app
def command(
    app: AppContext,
    files: tuple[Path, ...],
    name: str | None,
    crs: str | None,
    vertical: str | None,
    fill: bool,
    fill_cells: int,
    anywhere: bool,
    dry_run: bool,
) -> None:
    """Load elevation models (HGT, GeoTIFF) as one mosaic; of equally fine FILES the later count first. 加载高程数据并镶嵌。"""
    from data.dem import load_dem

    database = None if dry_run else app.database()
    with app.progress() as bar:
        task = bar.add_task(app.text("Elevation model", "高程数据"), total=None)
        report = load_dem(
            database,
            app.settings.home,
            files,
            app.settings.city_config,
            name=name,
            crs=crs,
            vertical=vertical,
            fill_cells=fill_cells if fill else 0,
            anywhere=anywhere,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    lines = [
        f"{file.path.name}: {file.driver}, EPSG:{file.srid}, {file.width} × {file.height}, {file.cell_m:.1f} m"
        for file in report.files
    ]
    if report.mosaic is None:
        lines.append(app.text("Dry run: nothing was made.", "仅检查，未生成。"))
    else:
        mosaic = report.mosaic
        lines.append(
            app.text(
                f"mosaic: {mosaic.width} × {mosaic.height} cells of {mosaic.cell_m:.1f} m, {mosaic.height_min_m:.0f} to"
                f" {mosaic.height_max_m:.0f} m; {mosaic.void_count:,} voids, {mosaic.filled_count:,} of them filled and marked",
                f"镶嵌：{mosaic.width} × {mosaic.height}，像元 {mosaic.cell_m:.1f} 米，高程 {mosaic.height_min_m:.0f} 至"
                f" {mosaic.height_max_m:.0f} 米；空洞 {mosaic.void_count:,}，已填补并标记 {mosaic.filled_count:,}",
            )
        )
    if report.raster is not None:
        lines.append(app.text(f"known as {report.raster.name!r}", f"名称 {report.raster.name!r}"))
    if report.vertical_crs is None:
        hgt = any(file.driver == "SRTMHGT" for file in report.files)
        app.say(
            "The height reference is not stated (--vertical)."
            + (" Heights of SRTM are above the geoid EGM96, not the 1985 national datum." if hgt else ""),
            "未说明高程基准（--vertical）。" + ("SRTM 为 EGM96 大地水准面高，并非 1985 国家高程基准。" if hgt else ""),
        )
    app.emit(report.as_dict(), "\n".join(lines))
