"""The officer's list of outfalls as a workbook, titles and values in Chinese or English."""

import datetime as dt
import io
from collections.abc import Iterable, Mapping
from typing import Any

import openpyxl
from openpyxl.styles import Font

from layers.declaration import LayerDeclaration

__all__ = ["outfall_sheet"]

#: Columns that the outfall's declaration does not have: Chinese and English title.
_OWN = {
    "code": ("编码", "Code"),
    "chainage": ("桩号", "Chainage"),
    "state": ("当前排放状态", "Discharge state now"),
    "state_basis": ("状态依据", "State known from"),
    "state_at": ("状态时间（UTC）", "State as of (UTC)"),
    "last_inspected_at": ("最近巡查（UTC）", "Last inspected (UTC)"),
    "due_on": ("巡查期限", "Inspection due"),
    "days_overdue": ("逾期天数", "Days overdue"),
    "watch_state": ("视频值守", "Watched"),
    "cameras_online": ("在线摄像机", "Cameras online"),
    "findings": ("规则发现数", "Rule findings"),
    "lon": ("经度（WGS 84）", "Longitude (WGS 84)"),
    "lat": ("纬度（WGS 84）", "Latitude (WGS 84)"),
}
_ORDER = (
    "code", "name_zh", "name_en", "cat1", "workflow_stage", "approval_kind", "state", "state_basis", "state_at", "monitor_state",
    "last_inspected_at", "due_on", "days_overdue", "watch_state", "cameras_online", "findings", "receiving_water", "chainage", "bank_side",
    "responsible_org", "admin_code", "lon", "lat",
)  # fmt: skip
#: Why an outfall's state is what it is.
BASIS = {
    "monitor": ("在线监测", "Online monitor"),
    "inspection": ("巡查", "Inspection"),
    "offline": ("监测离线", "Monitor offline"),
    "stale": ("资料过期", "Too old"),
    "none": ("无资料", "No observation"),
}


def _stationing(metres: float) -> str:
    whole = round(abs(metres))
    return f"{'-' if metres < 0 else ''}K{whole // 1000}+{whole % 1000:03d}"


def outfall_sheet(
    rows: Iterable[Mapping[str, Any]], outfall: LayerDeclaration, watch: LayerDeclaration, *, lang: str, day: dt.date
) -> bytes:
    """An XLSX with one row for each outfall.

    Parameters
    ----------
    rows : iterable of mapping
        As `layers.outfalls.outfall_status` gives them.
    outfall, watch : LayerDeclaration
        Their titles and terms.
    day : date
        For which day the states hold; stands in the sheet's name.
    """
    zh = lang.startswith("zh")
    terms = {field.name: {term.value: term.zh if zh else term.en for term in field.domain} for field in outfall.all_fields}
    terms["state"] = terms["discharge_state"]
    terms["watch_state"] = {term.value: term.zh if zh else term.en for term in watch.field("watch_state").domain}
    terms["state_basis"] = {key: said[0] if zh else said[1] for key, said in BASIS.items()}

    def title(name: str) -> str:
        return _OWN[name][0 if zh else 1] if name in _OWN else outfall.field(name).title(lang)

    def cell(name: str, row: Mapping[str, Any]) -> Any:
        value = row.get("chainage_m" if name == "chainage" else name)
        if value is None:
            return None
        if name == "chainage":
            return _stationing(value)
        if isinstance(value, dt.datetime):
            return value.astimezone(dt.UTC).replace(tzinfo=None)
        return terms.get(name, {}).get(value, value)

    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    sheet = book.create_sheet(f"{outfall.title(lang)} {day.isoformat()}"[:31])
    sheet.append([title(name) for name in _ORDER])
    for number, row in enumerate(rows, start=2):
        for column, name in enumerate(_ORDER, start=1):
            made = sheet.cell(number, column, cell(name, row))
            if isinstance(made.value, str) and made.value.startswith("="):
                made.data_type = "s"  # as text, not as the formula that openpyxl would make of it
            if name in ("state_at", "last_inspected_at"):
                made.number_format = "yyyy-mm-dd hh:mm"
    for made in sheet[1]:
        made.font = Font(bold=True)
        sheet.column_dimensions[made.column_letter].width = max(12, min(34, 2 * len(str(made.value))))
    sheet.freeze_panes = "C2"
    sheet.auto_filter.ref = sheet.dimensions
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()
