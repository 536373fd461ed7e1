"""The report as XLSX: one sheet a table, numbers as numbers, no text that a spreadsheet would take for a formula."""

import re
from pathlib import Path
from typing import Any

import openpyxl
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from gis.errors import InputError
from maps.report import Report
from maps.report_tables import Column

__all__ = ["write_xlsx"]

#: What a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection").
_FORMULA_MARKS = ("=", "+", "-", "@", "\t", "\r")
#: What XML 1.0 does not allow.
_ILLEGAL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_FORMATS = {"share": "0.0%", "int": "#,##0", "num": "#,##0.0"}


def _put(sheet: Worksheet, row: int, column: int, value: Any, kind: str = "text") -> Any:
    """Write a cell; text stays text, whatever it begins with."""
    cell = sheet.cell(row, column)
    if isinstance(value, str):
        cell.value = _ILLEGAL.sub("", value)[:32767]
        cell.data_type = "s"
        cell.quotePrefix = value.startswith(_FORMULA_MARKS)
    else:
        cell.value = value
        if kind in _FORMATS:
            cell.number_format = _FORMATS[kind]
    return cell


def _fill(sheet: Worksheet, title: str, columns: tuple[Column, ...], rows: list[tuple[Any, ...]], note: str) -> None:
    for n, column in enumerate(columns, start=1):
        cell = _put(sheet, 1, n, column.title)
        cell.font = Font(bold=True, color="FFFFFF")
        cell.fill = PatternFill("solid", fgColor="0B5C8E")
        cell.alignment = Alignment(wrap_text=True, vertical="center")
        sheet.column_dimensions[get_column_letter(n)].width = max(10.0, min(48.0, 8.0 * column.width))
    for m, row in enumerate(rows, start=2):
        for n, (value, column) in enumerate(zip(row, columns, strict=True), start=1):
            _put(sheet, m, n, value, column.kind)
    if note:
        _put(sheet, len(rows) + 3, 1, note)
    sheet.freeze_panes = "A2"
    sheet.title = re.sub(r"[\[\]:*?/\\]", " ", title)[:31]


def write_xlsx(report: Report, path: Path) -> None:
    """Write the tables of a report as XLSX, after a sheet with its facts and notes.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    book = openpyxl.Workbook()
    first = book.active
    if not isinstance(first, Worksheet):
        raise TypeError("a new workbook has no sheet")
    facts: list[tuple[Any, ...]] = [
        (report.text("城市", "City"), report.city),
        (report.text("区域", "Area"), report.area or report.text("全市", "whole city")),
        (report.text("运行编号", "Run"), report.run_id),
        (report.text("计算完成", "Computed"), report.finished_at.isoformat(timespec="seconds")),
        (report.text("软件", "Software"), report.software),
        (report.text("密级", "Classification"), report.classification_title),
        (
            report.text("合成数据", "Synthetic data"),
            report.text("是", "yes") if report.synthetic else report.text("否", "no"),
        ),
        *((report.text("说明", "Note"), note) for note in report.notes),
    ]
    columns = (Column(report.text("项目", "Item"), width=2), Column(report.text("内容", "Content"), width=12))
    _fill(first, report.title, columns, facts, "")
    for table in report.tables:
        _fill(book.create_sheet(), table.title, table.columns, table.rows, table.note)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        book.save(path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror}", zh=f"无法写入 {path}：{error.strerror}"
        ) from error
