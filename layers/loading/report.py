"""What a load did, for people and for programs."""

import datetime as dt
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from layers.loading.preparing import Rejected
from layers.loading.reasons import REASONS

__all__ = ["LoadReport"]

#: Rows listed by number in a report; the rest is counted.
_LISTED = 20


@dataclass
class LoadReport:
    """Counts, columns and faults of one load.

    Attributes
    ----------
    inserted, updated, unchanged, quarantined : int
        Rows of the file by what became of them; they add up to ``rows``.
    used : dict
        Header → field.
    dropped : list of str
        Headers of personal columns, never read.
    ignored : list of str
        Headers that no field matched.
    blanked : dict
        Header → numbers of the rows whose value looked personal and was blanked.
    repaired_rows : list of int
        Rows whose geometry was mended.
    notes : list of (zh, en)
        What was assumed or done beside.
    """

    layer: str
    file_name: str
    file_format: str = ""
    src_crs: str | None = None
    dry_run: bool = False
    rows: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    quarantined: int = 0
    repaired: int = 0
    dropped_z: int = 0
    promoted: int = 0
    measured: int = 0
    blanked_nan: int = 0
    used: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    blanked: dict[str, list[int]] = field(default_factory=dict)
    repaired_rows: list[int] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[Rejected] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    load_id: uuid.UUID | None = None
    change_id: int | None = None
    started_at: dt.datetime | None = None
    elapsed_s: float = 0.0

    def reject(self, rejected: Rejected) -> None:
        """Count a row for the quarantine, keeping the first as examples."""
        self.quarantined += 1
        for code in {fault.reason.code for fault in rejected.faults}:
            self.reasons[code] += 1
        if len(self.examples) < _LISTED:
            self.examples.append(rejected)

    def as_json(self) -> dict[str, Any]:
        """For ``--json`` and the table of loads."""
        return {
            "layer": self.layer,
            "file": self.file_name,
            "format": self.file_format,
            "src_crs": self.src_crs,
            "dry_run": self.dry_run,
            "load_id": str(self.load_id) if self.load_id else None,
            "change_id": self.change_id,
            "rows": self.rows,
            "inserted": self.inserted,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "quarantined": self.quarantined,
            "repaired": self.repaired,
            "repaired_rows": self.repaired_rows[:_LISTED],
            "dropped_z": self.dropped_z,
            "promoted_to_multi": self.promoted,
            "measured": self.measured,
            "nan_as_empty": self.blanked_nan,
            "columns_used": self.used,
            "columns_dropped_personal": self.dropped,
            "columns_ignored": self.ignored,
            "values_blanked_personal": {k: {"count": len(v), "rows": v[:_LISTED]} for k, v in self.blanked.items()},
            "reasons": {
                code: {"count": n, "zh": REASONS[code].zh, "en": REASONS[code].en}
                for code, n in self.reasons.most_common()
            },
            "examples": [{"row": r.row, "faults": [f.as_json() for f in r.faults]} for r in self.examples],
            "notes": [{"zh": zh, "en": en} for zh, en in self.notes],
            "elapsed_s": round(self.elapsed_s, 3),
        }

    def lines(self, lang: str = "en") -> list[str]:
        """The report as lines of text."""
        return _chinese(self) if lang.startswith("zh") else _english(self)


def _rows(numbers: list[int], more: str) -> str:
    return ", ".join(str(n) for n in numbers[:_LISTED]) + (more if len(numbers) > _LISTED else "")


def _english(r: LoadReport) -> list[str]:
    head = "would be " if r.dry_run else ""
    lines = [
        f"{r.layer} ← {r.file_name} ({r.file_format}{', ' + r.src_crs if r.src_crs else ''})",
        f"{r.rows} rows: {r.inserted} {head}inserted, {r.updated} {head}updated, {r.unchanged} unchanged, {r.quarantined} {head}quarantined"
        f"; {r.elapsed_s:.1f} s",
    ]
    if r.dropped:
        lines.append(f"personal columns dropped: {', '.join(r.dropped)}")
    for header, rows in r.blanked.items():
        lines.append(f"{len(rows)} values of {header!r} looked personal and were blanked: rows {_rows(rows, ' …')}")
    if r.ignored:
        lines.append(f"columns ignored: {', '.join(r.ignored)} (use --map 'header=field')")
    if r.repaired:
        lines.append(f"{r.repaired} geometries repaired and marked: rows {_rows(r.repaired_rows, ' …')}")
    if r.dropped_z:
        lines.append(f"{r.dropped_z} geometries lost their heights (2D is stored)")
    if r.promoted:
        lines.append(f"{r.promoted} single geometries made multi")
    if r.measured:
        lines.append(f"{r.measured} lines had no measure; metres along the line were taken")
    if r.blanked_nan:
        lines.append(f"{r.blanked_nan} NaN taken as empty")
    lines += [f"note: {en}" for _zh, en in r.notes]
    lines += [f"  {count} × {REASONS[code].en}" for code, count in r.reasons.most_common()]
    lines += [f"  {fault.text('en')}" for rejected in r.examples for fault in rejected.faults][:_LISTED]
    if r.load_id and r.quarantined and not r.dry_run:
        lines.append(f"mend and load again: baige quarantine export {r.load_id} FILE.csv")
    return lines


def _chinese(r: LoadReport) -> list[str]:
    head = "将" if r.dry_run else ""
    lines = [
        f"{r.layer} ← {r.file_name}（{r.file_format}{'，' + r.src_crs if r.src_crs else ''}）",
        f"共 {r.rows} 行：{head}新增 {r.inserted}，{head}更新 {r.updated}，未变 {r.unchanged}，{head}隔离 {r.quarantined}；用时 {r.elapsed_s:.1f} 秒",
    ]
    if r.dropped:
        lines.append(f"已丢弃涉及个人的列：{'、'.join(r.dropped)}")
    for header, rows in r.blanked.items():
        lines.append(f"“{header}”中 {len(rows)} 个值疑似个人信息，已清空：第 {_rows(rows, ' …')} 行")
    if r.ignored:
        lines.append(f"未使用的列：{'、'.join(r.ignored)}（可用 --map '表头=字段'）")
    if r.repaired:
        lines.append(f"修复并标记了 {r.repaired} 个几何：第 {_rows(r.repaired_rows, ' …')} 行")
    if r.dropped_z:
        lines.append(f"{r.dropped_z} 个几何去掉了高程（按二维存储）")
    if r.promoted:
        lines.append(f"{r.promoted} 个单一几何转为多部件")
    if r.measured:
        lines.append(f"{r.measured} 条线没有量测值，已按沿线米数补上")
    if r.blanked_nan:
        lines.append(f"{r.blanked_nan} 个 NaN 按空值处理")
    lines += [f"注意：{zh}" for zh, _en in r.notes]
    lines += [f"  {count} × {REASONS[code].zh}" for code, count in r.reasons.most_common()]
    lines += [f"  {fault.text('zh')}" for rejected in r.examples for fault in rejected.faults][:_LISTED]
    if r.load_id and r.quarantined and not r.dry_run:
        lines.append(f"修改后重新导入：baige quarantine export {r.load_id} 文件.csv")
    return lines
