"""``baige report``: the newest coverage run as a PDF and a workbook to hand on."""

from pathlib import Path

import click

from api.cli.context import AppContext, pass_app

__all__ = ["command"]


@click.command("report")
@click.option(
    "--layer",
    "layers",
    multiple=True,
    help="Draw this layer; may be repeated. 成图的图层，可重复。[default: coverage_by_grid, bank_coverage, outfall_watch]",
)
@click.option("--area", default=None, help="Only within this administrative code. 只含此区划代码范围。")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("out/report.pdf"),
    show_default=True,
    help="PDF file. PDF 文件。",
)
@click.option(
    "--xlsx",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Write the tables here as well. 同时输出 Excel 表格。",
)
@pass_app
def command(app: AppContext, layers: tuple[str, ...], area: str | None, out: Path, xlsx: Path | None) -> None:
    """Write the report of the newest coverage run, in the language of --lang. 生成最近一次覆盖计算的报告（PDF、Excel），语言由 --lang 决定。"""
    # matplotlib is slow to import: only this command waits for it.
    from maps.report import read_report
    from maps.report_pages import chinese_font, write_pdf
    from maps.report_sheets import write_xlsx

    chinese_font()
    with app.progress() as bar:
        task = bar.add_task(app.text("report", "生成报告"), total=3 if xlsx else 2)
        with app.database().begin(readonly=True, snapshot=True) as connection:
            report = read_report(connection, app.settings.city_config, layers=layers, area=area, lang=app.lang)
        bar.advance(task)
        pages = write_pdf(report, out)
        bar.advance(task)
        if xlsx:
            write_xlsx(report, xlsx)
            bar.advance(task)
    app.emit(
        {"file": out, "pages": pages, "xlsx": xlsx, "run_id": report.run_id, "classification": report.classification},
        "\n".join([f"{out}  ({app.text(f'{pages} pages', f'{pages} 页')})", *([str(xlsx)] if xlsx else [])]),
    )
