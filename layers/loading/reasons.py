"""Why a row could not be taken: reason codes with their texts in both languages, and the faults that carry them."""

from dataclasses import dataclass
from typing import Any

__all__ = ["REASONS", "Fault", "Reason", "shorten"]

#: Characters of a value that a fault shows.
_SHOWN = 80


@dataclass(frozen=True)
class Reason:
    """A code for programs and a text for people."""

    code: str
    zh: str
    en: str


def _table(*rows: tuple[str, str, str]) -> dict[str, Reason]:
    return {code: Reason(code, zh, en) for code, zh, en in rows}


#: Every reason by its code.
REASONS = _table(
    ("missing", "必填项为空", "A value is required here"),
    ("not_a_number", "不是数字", "Not a number"),
    ("not_an_integer", "不是整数", "Not a whole number"),
    ("not_finite", "不是有限数（无穷大）", "Not a finite number"),
    ("not_a_bool", "不是“是/否”", "Neither yes nor no"),
    ("not_a_date", "不是日期", "Not a date"),
    ("ambiguous_date", "日期的日、月顺序不明", "Day and month cannot be told apart"),
    ("date_out_of_range", "日期超出合理范围", "A date out of any sensible range"),
    ("not_in_domain", "不在取值范围内", "Not one of the values allowed"),
    ("not_a_uuid", "不是 UUID", "Not a UUID"),
    ("too_small", "小于允许的最小值", "Below the least value allowed"),
    ("too_large", "大于允许的最大值", "Above the greatest value allowed"),
    ("too_long", "文字过长", "Too long"),
    ("wrong_length", "位数不符", "Wrong number of characters"),
    ("pattern", "格式不符", "Not of the form expected"),
    ("digits_lost", "编码被存为数字，末尾数位已丢失", "Stored as a number: its last digits are lost"),
    ("bad_character", "含有不允许的字符", "Holds a character that cannot be stored"),
    ("ref_unknown", "引用的要素不存在", "Refers to a feature that does not exist"),
    ("ref_ambiguous", "名称对应多个要素", "The name stands for more than one feature"),
    ("duplicate_key", "文件内标识重复", "The same key stands twice in this file"),
    ("duplicate_target", "与文件中另一行指向同一已有要素", "Means the same stored feature as another row of this file"),
    ("key_conflict", "标识与另一已有要素冲突", "A key of this row belongs to another stored feature"),
    ("formula_not_computed", "单元格是未计算的公式", "The cell is a formula without a computed value"),
    ("cell_error", "单元格是错误值", "The cell shows an error"),
    ("wrong_columns", "列数与表头不符", "Not as many columns as the header has"),
    ("undecodable", "文字编码错误", "Text that cannot be decoded"),
    ("no_geometry", "没有位置", "No position"),
    ("bad_wkt", "几何文本无法识别", "The geometry's text cannot be read"),
    ("bad_geometry", "几何无法读取", "The geometry cannot be read"),
    ("not_finite_position", "坐标为 NaN 或无穷大", "A coordinate is NaN or infinite"),
    (
        "swapped",
        "疑似经纬度颠倒（x、y 互换后落在城市范围内）",
        "Longitude and latitude look swapped (swapped, the place is in the city)",
    ),
    (
        "projected",
        "坐标像是投影坐标（米），而声明的坐标系为经纬度",
        "Looks like projected coordinates in metres, but degrees were declared",
    ),
    ("not_transformable", "坐标无法转换", "The coordinates cannot be transformed"),
    ("outside", "位于城市范围之外", "Outside the city's bounds"),
    ("wrong_geometry_type", "几何类型与图层不符", "Not the layer's type of geometry"),
    ("invalid_geometry", "几何无效且无法修复", "The geometry is invalid and could not be repaired"),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in one row.

    Attributes
    ----------
    row : int
        Row number as the file's reader counts: the line of a table with its header as row 1, the feature's place (from 1) elsewhere.
    column : str
        Header in the file; ``geometry`` for a position that is not in a column.
    field : str
        Field of the layer; empty for the row as a whole.
    value : str or None
        The value found, shortened.
    expected_zh, expected_en : str
        What should stand there.
    """

    row: int
    column: str
    field: str
    value: str | None
    reason: Reason
    expected_zh: str = ""
    expected_en: str = ""
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """As kept in the quarantine."""
        reason = {"code": self.reason.code, "zh": self.reason.zh, "en": self.reason.en}
        if self.detail:
            reason["detail"] = self.detail
        return {
            "column": self.column,
            "field": self.field,
            "value": self.value,
            "expected": {"zh": self.expected_zh, "en": self.expected_en},
            "reason": reason,
        }

    def text(self, lang: str) -> str:
        """One line for people."""
        chinese = lang.startswith("zh")
        reason = (self.reason.zh if chinese else self.reason.en) + (f" ({self.detail})" if self.detail else "")
        expected = self.expected_zh if chinese else self.expected_en
        shown = "" if self.value is None else f" {self.value!r}"
        tail = (f"；应为{expected}" if chinese else f"; expected {expected}") if expected else ""
        head = f"第 {self.row} 行" if chinese else f"row {self.row}"
        return f"{head}, {self.column}:{shown} {reason}{tail}"


def shorten(value: object) -> str | None:
    """``value`` as text of at most 80 characters; None stays None."""
    if value is None:
        return None
    text = str(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
