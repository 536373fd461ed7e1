"""The quarantine: rows that loads could not take, to be listed, exported, mended and loaded again."""

import csv
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shapely
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gis.errors import InputError, NotFound
from layers.export import safe_cell

__all__ = ["QuarantinedRow", "export_quarantine", "find_load", "quarantined", "resolve", "summary"]

#: Header of the column that says what is wrong; the loader ignores it.
FAULT_HEADER = {"zh": "问题", "en": "fault"}


@dataclass(frozen=True)
class QuarantinedRow:
    """One row of the quarantine."""

    id: int
    load_id: uuid.UUID
    layer: str
    row: int
    faults: list[dict[str, Any]]
    raw: dict[str, Any]
    wkb: bytes | None

    def text(self, lang: str) -> str:
        """What is wrong, in one line."""
        parts = []
        for fault in self.faults:
            reason = fault["reason"]
            words = reason["zh" if lang.startswith("zh") else "en"]
            more = f" ({reason['detail']})" if reason.get("detail") else ""
            shown = f" {fault['value']!r}" if fault["value"] is not None else ""
            expected = fault["expected"]["zh" if lang.startswith("zh") else "en"]
            tail = (f"；应为{expected}" if lang.startswith("zh") else f"; expected {expected}") if expected else ""
            parts.append(f"{fault['column']}:{shown} {words}{more}{tail}".lstrip(": "))
        return " | ".join(parts)


def summary(connection: Connection, *, layer: str | None = None) -> list[dict[str, Any]]:
    """Loads with rows in the quarantine that nobody has resolved, newest first."""
    rows = connection.execute(
        sa.text(
            "SELECT l.id, l.layer, l.file_name, l.started_at, count(*) AS rows FROM baige_sys.quarantine q"
            " JOIN baige_sys.load_run l ON l.id = q.load_id"
            " WHERE q.resolved_at IS NULL AND (cast(:layer AS text) IS NULL OR q.layer = :layer)"
            " GROUP BY l.id ORDER BY l.started_at DESC LIMIT 1000"
        ),
        {"layer": layer},
    )
    return [dict(row) for row in rows.mappings()]


def find_load(connection: Connection, text: str) -> uuid.UUID:
    """The load whose id begins with ``text`` (at least four characters), or the last one for ``last``.

    Raises
    ------
    NotFound
        There is none.
    InputError
        There are several.
    """
    if text == "last":
        found = (
            connection.execute(sa.text("SELECT load_id FROM baige_sys.quarantine ORDER BY id DESC LIMIT 1"))
            .scalars()
            .all()
        )
    elif len(text) < 4:
        raise InputError("Give at least four characters of the load's id.", zh="请至少给出导入编号的前四个字符。")
    else:
        found = (
            connection.execute(
                sa.text("SELECT id FROM baige_sys.load_run WHERE id::text ^@ :text LIMIT 2"), {"text": text.lower()}
            )
            .scalars()
            .all()
        )
    if not found:
        raise NotFound(f"There is no load {text!r}.", zh=f"没有导入记录 {text!r}。")
    if len(found) > 1:
        raise InputError(f"More than one load begins with {text!r}.", zh=f"有多条导入记录以 {text!r} 开头。")
    return uuid.UUID(str(found[0]))


def quarantined(connection: Connection, load_id: uuid.UUID, *, limit: int | None = None) -> Iterator[QuarantinedRow]:
    """Rows of a load that are still in the quarantine, in the order of the file."""
    rows = connection.execution_options(yield_per=1000).execute(
        sa.text(
            "SELECT id, load_id, layer, row_number, faults, row, wkb FROM baige_sys.quarantine"
            " WHERE load_id = :load AND resolved_at IS NULL ORDER BY row_number, id LIMIT :limit"
        ),
        {"load": load_id, "limit": limit},
    )
    for key, load, layer, number, faults, raw, wkb in rows:
        yield QuarantinedRow(key, load, layer, number, faults, raw, bytes(wkb) if wkb is not None else None)


def export_quarantine(connection: Connection, load_id: uuid.UUID, path: Path, *, lang: str) -> int:
    """Write the rows of a load as CSV with the headers that they came with, and a column that says what is wrong.

    Mend the cells and load the file again, with the same ``--crs`` and ``--map`` as the first time (geometries stand in a column ``WKT``).

    Returns
    -------
    int
        Rows written.
    """
    headers: dict[str, None] = {}
    any_wkb = False
    for row in quarantined(connection, load_id):
        headers.update(dict.fromkeys(row.raw))
        any_wkb = any_wkb or row.wkb is not None
    fault = FAULT_HEADER["zh" if lang.startswith("zh") else "en"]
    count = 0
    draft = path.with_name(f".{path.name}.part")
    try:
        with draft.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*headers, *(["WKT"] if any_wkb else []), fault])
            for count, row in enumerate(quarantined(connection, load_id), start=1):  # noqa: B007 - the last count is the result
                cells = [_cell(row.raw.get(header)) for header in headers]
                if any_wkb:
                    shape = shapely.from_wkb(row.wkb, on_invalid="ignore") if row.wkb else None
                    cells.append("" if shape is None else shapely.to_wkt(shape, rounding_precision=9))
                writer.writerow([*cells, safe_cell(f"{row.row}: {row.text(lang)}")])
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise InputError(f"{path.name} cannot be written.", zh=f"无法写入 {path.name}。") from error
    return count


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return safe_cell(value)
    if isinstance(value, list):
        return ";".join(map(str, value))
    return value


def resolve(connection: Connection, load_id: uuid.UUID) -> int:
    """Take the rows of a load out of the quarantine, once they are mended or given up; they stay in the record."""
    statement = sa.text(
        "UPDATE baige_sys.quarantine SET resolved_at = now() WHERE load_id = :load AND resolved_at IS NULL"
    )
    return int(connection.execute(statement, {"load": load_id}).rowcount)
