"""Workbooks: XLSX and XLS. What a cell shows is read; a formula is never evaluated."""

import datetime as dt
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import python_calamine

from gis.errors import InputError, LimitExceeded, UnreadableFile
from layers.declaration import LayerDeclaration
from layers.loading.arrays import Mask
from layers.loading.chunks import Chunk
from layers.loading.headers import score
from layers.loading.options import LoadOptions
from layers.loading.readers.archive import check_archive
from layers.loading.readers.limits import SHEET_MAX_BYTES
from layers.loading.readers.text import header_names, header_row

__all__ = ["SheetSource"]

_CHUNK_ROWS = 20_000
_TITLE_ROWS = 20
_EXACT_MAX = 2.0**53
_FORMULA = re.compile(rb"<c\b[^>]*?\br=\"([A-Z]{1,3})([0-9]{1,7})\"[^>]*>\s*<f\b(?:(?!</c>).)*?</c>", re.DOTALL)
_VALUE = re.compile(rb"<v>[^<]|<t[ >]")
_ERROR = re.compile(rb"<c\b(?=[^>]*\bt=\"e\")[^>]*?\br=\"([A-Z]{1,3})([0-9]{1,7})\"")


class SheetSource:
    """A sheet of a workbook; rows carry the numbers that the sheet shows."""

    def __init__(self, path: Path, *, options: LoadOptions, declaration: LayerDeclaration) -> None:
        self._path = path
        self.format = path.suffix.lower().lstrip(".").upper() or "XLSX"
        self.has_geometry = False
        self.crs: str | None = None
        self.notes: list[tuple[str, str]] = []
        self._zipped = zipfile.is_zipfile(path)
        if self._zipped:
            _check_size(path)
        elif path.stat().st_size > SHEET_MAX_BYTES:
            raise LimitExceeded(f"{path.name} is too large for a workbook.", zh=f"{path.name} 过大。")
        self._book = self._opened()
        self._sheet, rows = self._chosen(declaration, options.sheet)
        if not any(cell for row in rows for cell in row):
            raise UnreadableFile(f"{path.name}: the sheet is empty.", zh=f"{path.name}：工作表为空。")
        self._header = header_row(declaration, rows, options.header_row)
        if self._header:
            self.notes.append((f"表头取自第 {self._header + 1} 行", f"headers taken from row {self._header + 1}"))
        self.headers = header_names(rows[self._header])
        while self.headers and self.headers[-1].startswith("#"):
            self.headers.pop()
        self.count: int | None = max(0, int(self._sheet.total_height) - self._header - 1)

    def _opened(self) -> python_calamine.CalamineWorkbook:
        try:
            return python_calamine.CalamineWorkbook.from_path(str(self._path))
        except python_calamine.PasswordError as error:
            raise UnreadableFile(
                f"{self._path.name} is protected by a password.", zh=f"{self._path.name} 有密码保护。"
            ) from error
        except (python_calamine.CalamineError, OSError) as error:
            raise UnreadableFile(
                f"{self._path.name} is damaged or cut off.", zh=f"{self._path.name} 已损坏或不完整。"
            ) from error

    def _top(self, name: str) -> tuple[python_calamine.CalamineSheet, list[list[str]]]:
        try:
            sheet = self._book.get_sheet_by_name(name)
        except python_calamine.CalamineError as error:
            raise UnreadableFile(
                f"{self._path.name}: a sheet cannot be read.", zh=f"{self._path.name}：工作表无法读取。"
            ) from error
        rows = []
        for row in sheet.iter_rows():
            rows.append([str(cell) for cell in row])
            if len(rows) >= _TITLE_ROWS:
                break
        return sheet, rows

    def _chosen(
        self, declaration: LayerDeclaration, asked: str | None
    ) -> tuple[python_calamine.CalamineSheet, list[list[str]]]:
        """The sheet asked for, or the one whose headers fit the layer best."""
        names = list(self._book.sheet_names)
        if asked is not None:
            if asked not in names:
                raise InputError(
                    f"{self._path.name} has no sheet {asked!r}; it has {', '.join(names)}.",
                    zh=f"{self._path.name} 没有工作表 {asked!r}；现有：{'、'.join(names)}。",
                )
            return self._top(asked)
        tops = {name: self._top(name) for name in names}
        filled = {name: top for name, top in tops.items() if any(cell for row in top[1] for cell in row)}
        if len(filled) <= 1:
            return next(iter(filled.values()), None) or self._top(names[0])
        scores = {
            name: max(score(declaration, header_names(row)) for row in rows) for name, (_sheet, rows) in filled.items()
        }
        best = max(scores.values())
        fitting = [name for name, value in scores.items() if value == best]
        if len(fitting) > 1:
            raise InputError(
                f"{self._path.name} has several sheets: say which with --sheet: {', '.join(filled)}.",
                zh=f"{self._path.name} 有多个工作表，请用 --sheet 指定：{'、'.join(filled)}。",
            )
        self.notes.append((f"读取工作表“{fitting[0]}”", f"sheet {fitting[0]!r} was read"))
        return filled[fitting[0]]

    def chunks(self) -> Iterator[Chunk]:
        """All rows below the header that are not empty."""
        suspects = _suspect_cells(self._path, self._sheet.name) if self._zipped else {}
        first_column = (self._sheet.start or (0, 0))[1]
        gathered: list[list[Any]] = []
        numbers: list[int] = []
        for index, row in enumerate(self._sheet.iter_rows()):
            number = index + 1
            if index <= self._header:
                continue
            if not any(cell != "" for cell in row) and not any(
                (number, first_column + c) in suspects for c in range(len(self.headers))
            ):
                continue
            gathered.append(row)
            numbers.append(number)
            if len(gathered) >= _CHUNK_ROWS:
                yield self._chunk(gathered, numbers, suspects, first_column)
                gathered, numbers = [], []
        if gathered:
            yield self._chunk(gathered, numbers, suspects, first_column)

    def _chunk(
        self, rows: list[list[Any]], numbers: list[int], suspects: dict[tuple[int, int], str], first_column: int
    ) -> Chunk:
        columns: dict[str, pa.Array] = {}
        cells: dict[str, dict[str, Mask]] = {}
        wanted = {column for _row, column in suspects}
        for place, header in enumerate(self.headers):
            columns[header] = _column([row[place] if place < len(row) else "" for row in rows])
            if first_column + place not in wanted:
                continue
            codes = [suspects.get((number, first_column + place)) for number in numbers]
            for code in {code for code in codes if code}:
                cells.setdefault(header, {})[code] = np.array([found == code for found in codes], dtype=bool)
        return Chunk(np.array(numbers, dtype=np.int64), columns, cells=cells)


def _column(values: Sequence[Any]) -> pa.Array:
    """Cells of a column: numbers where all are, else text; an empty cell is null."""
    kinds = {type(value) for value in values if value != ""}
    if kinds <= {float, int}:
        return pa.array([None if value == "" else float(value) for value in values], pa.float64())
    return pa.array([_cell(value) for value in values], pa.string())


def _cell(value: Any) -> str | None:
    if value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if abs(value) >= _EXACT_MAX:
            return f"{value:e}"  # in this form a rule can see that digits were lost
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ")
    return str(value)


def _check_size(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as book:
            check_archive(book, path.name)
            largest = max((member.file_size for member in book.infolist()), default=0)
    except zipfile.BadZipFile as error:
        raise UnreadableFile(f"{path.name} is damaged or cut off.", zh=f"{path.name} 已损坏或不完整。") from error
    if largest > SHEET_MAX_BYTES:
        raise LimitExceeded(
            f"{path.name} has a part of {largest >> 20} MB; save it as CSV.",
            zh=f"{path.name} 中有 {largest >> 20} MB 的部件；请另存为 CSV。",
        )


def _sheet_part(book: zipfile.ZipFile, name: str) -> str | None:
    """Path of a sheet's part within the workbook."""
    workbook = book.read("xl/workbook.xml").decode("utf-8", errors="replace")
    relations = book.read("xl/_rels/workbook.xml.rels").decode("utf-8", errors="replace")
    for tag in re.findall(r"<(?:\w+:)?sheet\b[^>]*>", workbook):
        title = re.search(r'\bname="([^"]*)"', tag)
        relation = re.search(r'\br:id="([^"]*)"', tag)
        if title and relation and _unescaped(title[1]) == name:
            for link in re.findall(r"<(?:\w+:)?Relationship\b[^>]*>", relations):
                if f'Id="{relation[1]}"' in link:
                    target = re.search(r'Target="([^"]*)"', link)
                    if target:
                        return target[1].lstrip("/") if target[1].startswith("/") else f"xl/{target[1]}"
    return None


def _unescaped(text: str) -> str:
    for mark, plain in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&")):
        text = text.replace(mark, plain)
    return text


def _place(letters: bytes, digits: bytes) -> tuple[int, int]:
    """Row number (from 1) and column index (from 0) of a cell such as ``C12``."""
    column = 0
    for letter in letters:
        column = column * 26 + letter - 64
    return int(digits), column - 1


def _suspect_cells(path: Path, name: str) -> dict[tuple[int, int], str]:
    """Cells that hold a formula without a computed value, or an error; by row number and column index."""
    try:
        with zipfile.ZipFile(path) as book:
            part = _sheet_part(book, name)
            data = book.read(part) if part is not None and part in book.namelist() else b""
    except (KeyError, zipfile.BadZipFile) as error:
        raise UnreadableFile(f"{path.name} is damaged or cut off.", zh=f"{path.name} 已损坏或不完整。") from error
    out: dict[tuple[int, int], str] = {}
    if b"<f" in data:
        for match in _FORMULA.finditer(data):
            if not _VALUE.search(match[0]):
                out[_place(match[1], match[2])] = "formula_not_computed"
    if b't="e"' in data:
        for match in _ERROR.finditer(data):
            out[_place(match[1], match[2])] = "cell_error"
    return out
