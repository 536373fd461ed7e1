"""Rules of value that a declaration sets: required, length, pattern, limits. Whole columns at a time."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from layers.declaration import FieldDeclaration
from layers.loading.arrays import Mask, mask_array, mask_of, numbers_of, without
from layers.loading.converting import Converted

__all__ = ["DEFAULTED", "check", "expectation"]

#: Fields that the database fills where a file says nothing.
DEFAULTED = frozenset({"classification", "synthetic", "geom_repaired"})

_SCIENTIFIC = r"^[0-9](\.[0-9]+)?[eE]\+?[0-9]{1,2}$"


def check(field: FieldDeclaration, column: Converted) -> None:
    """Mark what breaks a rule of ``field`` and set it to null; values are already of the field's type."""
    if field.name == "admin_code":
        column.values = _padded(column.values)
    values = column.values
    if pa.types.is_string(values.type) and values.null_count < len(values):
        _check_text(field, column)
    elif pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        _check_limits(field, column)
    if field.required and field.name not in DEFAULTED:
        empty = ~mask_of(column.values.is_valid())
        for mask in column.faults.values():
            empty &= ~mask
        column.mark("missing", empty)


def _padded(codes: pa.Array) -> pa.Array:
    """Administrative codes of 6 or 9 digits, filled with zeros to 12."""
    short = pc.match_substring_regex(codes, "^([0-9]{6}|[0-9]{9})$")
    return pc.if_else(mask_array(mask_of(short)), pc.utf8_rpad(codes, width=12, padding="0"), codes)


def _clear(column: Converted, code: str, bad: Mask) -> None:
    if bad.any():
        column.mark(code, bad)
        column.values = without(column.values, bad)


def _check_text(field: FieldDeclaration, column: Converted) -> None:
    if field.type in ("enum", "uuid"):
        return
    if field.type == "code" or field.pattern:
        lost = mask_of(pc.match_substring_regex(column.values, _SCIENTIFIC))
        _clear(column, "digits_lost", lost)
    if field.length is not None:
        sizes = _numbers(pc.utf8_length(column.values))
        if field.type == "code":
            _clear(column, "wrong_length", (sizes != field.length) & ~np.isnan(sizes))
        else:
            _clear(column, "too_long", sizes > field.length)
    if field.pattern:
        _clear(column, "pattern", _unlike(field.pattern, column.values))


def _unlike(pattern: str, values: pa.Array) -> Mask:
    """Rows that do not match; by Arrow's expressions where they can say it, else by Python's, once for each distinct value."""
    try:
        return mask_of(pc.invert(pc.match_substring_regex(values, pattern)))
    except pa.ArrowInvalid:
        encoded = values.dictionary_encode()
        compiled = re.compile(pattern)
        fits = mask_array(
            np.array([compiled.search(word) is not None for word in encoded.dictionary.to_pylist()], dtype=bool)
        )
        return mask_of(pc.invert(fits.take(encoded.indices)))


def _numbers(array: pa.Array) -> NDArray[np.float64]:
    """Numbers as floats, NaN for null."""
    return np.asarray(numbers_of(array.cast(pa.float64(), safe=False), np.nan), dtype=np.float64)


def _check_limits(field: FieldDeclaration, column: Converted) -> None:
    if field.domain:
        return
    if field.minimum is not None:
        _clear(column, "too_small", _numbers(column.values) < field.minimum)
    if field.maximum is not None:
        _clear(column, "too_large", _numbers(column.values) > field.maximum)


def _number(value: float) -> str:
    return f"{value:g}" if not float(value).is_integer() else str(int(value))


def expectation(field: FieldDeclaration) -> tuple[str, str]:
    """What should stand in a field, in Chinese and English.

    Examples
    --------
    >>> from layers.declaration import FieldDeclaration
    >>> expectation(FieldDeclaration(name="depth_m", type="num", title_zh="深度", title_en="Depth", unit="m", minimum=0, maximum=9))
    ('数字，0–9 m', 'a number, 0–9 m')
    """
    if field.domain:
        shown = field.domain[:12]
        more = "…" if len(field.domain) > len(shown) else ""
        return (
            "、".join(f"{t.value}={t.zh}" if isinstance(t.value, int) else t.zh for t in shown) + more,
            ", ".join(f"{t.value}={t.en}" if isinstance(t.value, int) else str(t.value) for t in shown) + more,
        )
    if field.type == "code":
        return f"{field.length} 位", f"{field.length} characters"
    words = {
        "text": ("文字", "text"), "int": ("整数", "a whole number"), "num": ("数字", "a number"), "bool": ("是或否", "yes or no"),
        "date": ("日期，如 2024-03-01", "a date such as 2024-03-01"), "datetime": ("日期和时间，如 2024-03-01 08:00",
        "a date and time such as 2024-03-01 08:00"),
        "ref": (f"{field.references} 的编号、名称或 id", f"the key, name or id of a feature of {field.references}"), "uuid": ("UUID", "a UUID"),
        "text[]": ("以分号分隔的列表", "a list divided by semicolons"), "geometry": (f"{field.geometry} 的 WKT", f"{field.geometry} as WKT"),
    }  # fmt: skip
    zh, en = words[field.type]
    if field.pattern:
        return f"{zh}，格式 {field.pattern}", f"{en} like {field.pattern}"
    if field.length:
        return f"{zh}，至多 {field.length} 字", f"{en} of at most {field.length} characters"
    if field.minimum is not None or field.maximum is not None:
        unit = f" {field.unit}" if field.unit else ""
        if field.minimum is not None and field.maximum is not None:
            span = f"{_number(field.minimum)}–{_number(field.maximum)}{unit}"
        else:
            span = (
                f"≥ {_number(field.minimum)}{unit}"
                if field.minimum is not None
                else f"≤ {_number(field.maximum or 0)}{unit}"
            )
        return f"{zh}，{span}", f"{en}, {span}"
    return zh, en
