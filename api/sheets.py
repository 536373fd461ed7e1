"""Features as a spreadsheet: headers and values of domains in the asker's language, written row by row."""

import contextlib
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import shapely

from gis.errors import LimitExceeded
from layers.query.source import Source

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["write_sheet"]

_ROWS_MAX = 1_048_575
_ILLEGAL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def write_sheet(path: Path, rows: "pa.RecordBatchReader", source: Source, lang: str) -> None:
    """Write rows to an XLSX file. A point stands as two columns, any other geometry is left out.

    Parameters
    ----------
    rows : RecordBatchReader
        ``id``, fields by name, and ``geometry`` as WKB where there is one.

    Raises
    ------
    LimitExceeded
        More rows than a sheet holds.
    """
    import openpyxl

    names = [name for name in rows.schema.names if name != "geometry"]
    point = "geometry" in rows.schema.names and source.declaration.geometry == "Point"
    place = ["经度（x）", "纬度（y）"] if lang == "zh" else ["x", "y"]
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet(re.sub(r"[\\/*?:\[\]]", " ", source.declaration.title(lang))[:31])
    sheet.freeze_panes = "A2"
    sheet.append([_head(source, name, lang) for name in names] + (place if point else []))
    terms = [_terms(source, name, lang) for name in names]
    try:
        _fill(sheet, rows, names, terms, point=point)
    except BaseException:
        with contextlib.suppress(OSError, AttributeError):  # else its temporary file stays until this process ends
            sheet.close()
            sheet._writer.cleanup()
        raise
    with tempfile.TemporaryFile() as packed:  # a zip that breaks off for want of space cannot be closed in order
        book.save(packed)
        packed.seek(0)
        path.write_bytes(packed.read())


def _fill(sheet: Any, rows: "pa.RecordBatchReader", names: list[str], terms: list[dict[Any, str]], *, point: bool) -> None:
    count = 0
    for batch in rows:
        columns = [batch.column(name).to_pylist() for name in names]
        shapes = shapely.from_wkb(batch.column("geometry").to_numpy(zero_copy_only=False)) if point else None
        for i in range(batch.num_rows):
            count += 1
            if count > _ROWS_MAX:
                raise LimitExceeded(f"A sheet has {_ROWS_MAX:,} rows at most; take f=csv.", zh=f"工作表最多 {_ROWS_MAX:,} 行，请用 f=csv。")
            cells = [_cell(sheet, known.get(column[i], column[i])) for column, known in zip(columns, terms, strict=True)]
            if shapes is not None:
                cells += [None, None] if shapes[i] is None else [round(shapes[i].x, 8), round(shapes[i].y, 8)]
            sheet.append(cells)


def _head(source: Source, name: str, lang: str) -> str:
    if name == "id":
        return "编号" if lang == "zh" else "Id"
    if name not in {field.name for field in source.declaration.all_fields}:
        return {"changed_at": "更新时间"}.get(name, name) if lang == "zh" else name
    field = source.declaration.field(name)
    unit = f"（{field.unit}）" if lang == "zh" else f" ({field.unit})"
    return field.title(lang) + (unit if field.unit else "")


def _terms(source: Source, name: str, lang: str) -> dict[Any, str]:
    if name not in {field.name for field in source.declaration.all_fields}:
        return {}
    field = source.declaration.field(name)
    if field.type == "bool":
        return {True: "是", False: "否"} if lang == "zh" else {True: "yes", False: "no"}
    return {term.value: term.zh if lang == "zh" else term.en for term in field.domain}


def _cell(sheet: Any, value: Any) -> Any:
    if isinstance(value, str):
        from openpyxl.cell import WriteOnlyCell

        text = _ILLEGAL.sub("", value)[:32767]
        if text.startswith("="):  # as text, not as the formula that openpyxl would make of it
            cell = WriteOnlyCell(sheet, value=text)
            cell.data_type = "s"
            return cell
        return text
    if getattr(value, "tzinfo", None) is not None:
        return value.isoformat(sep=" ", timespec="seconds")
    return value
