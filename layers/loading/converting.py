"""Columns of a file to the types of a layer's fields: whole columns at a time, with what could not be read marked by its reason.

Clean values take a fast path in Arrow; what is left is looked at once for each distinct spelling.
"""

import datetime as dt
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from layers.declaration import FieldDeclaration
from layers.loading.arrays import Mask, mask_array, mask_of, number_array, numbers_of, text_array, values_array, without
from layers.loading.dates import CHINA, EARLIEST, LATEST, parse_date, parse_datetime
from layers.loading.identifiers import uuid_bytes

__all__ = ["Converted", "arrow_type", "as_text", "convert", "lookup", "spelling"]

_TRIMMED = " \t\r\n\v\f\u00a0\u3000\u200b\ufeff"
_NULL_WORDS = ("", "null", "NULL", "Null", "None", "N/A", "n/a", "#N/A", "\\N", "<NA>")
#: Ways in which tables say "nothing here" where a number, date or choice should stand.
_BLANK_WORDS = frozenset(
    {"nan", "na", "nat", "none", "-", "--", "—", "——", "/", "\\", "无", "未知", "不详", "待定", "空"}
)
_TRUE = frozenset({"是", "有", "已", "对", "真", "√", "true", "yes", "y", "t", "1", "1.0", "on"})
_FALSE = frozenset({"否", "无", "未", "错", "假", "×", "x", "false", "no", "n", "f", "0", "0.0", "off"})
_INTEGER = r"^[+-]?[0-9]{1,18}$"
_NUMBER = r"^[+-]?([0-9]{1,17}(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$"
_ANY_NUMBER = re.compile(r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$")
_ANY_INTEGER = re.compile(r"^[+-]?[0-9]+$")
_THOUSANDS = re.compile(r"^[+-]?\d{1,3}(,\d{3})+(\.\d*)?$")
_LIST_MARKS = re.compile(r"[;；,，、|\n]+")
#: Whole numbers from here on are not exact in a float.
_EXACT_MAX = 2.0**53


@dataclass
class Converted:
    """A column in its field's type; null where nothing stood or it could not be read.

    ``faults`` holds a mask of rows for each reason code; ``blanked_nan`` how many NaN were taken for "nothing".
    """

    values: pa.Array
    faults: dict[str, Mask] = field(default_factory=dict)
    blanked_nan: int = 0

    def mark(self, code: str, mask: Mask) -> None:
        """Add rows to the faults of a reason."""
        if mask.any():
            self.faults[code] = self.faults[code] | mask if code in self.faults else mask


def arrow_type(declared: FieldDeclaration) -> pa.DataType:
    """The Arrow type that a field's values have once read."""
    simple = {
        "int": pa.int64(),
        "num": pa.float64(),
        "bool": pa.bool_(),
        "date": pa.date32(),
        "datetime": pa.timestamp("us", tz="UTC"),
        "uuid": pa.binary(16),
        "ref": pa.binary(16),
        "text[]": pa.list_(pa.string()),
        "geometry": pa.large_binary(),
    }
    if declared.type == "enum":
        return pa.int64() if declared.is_integer_domain else pa.string()
    return simple.get(declared.type, pa.string())


def spelling(text: str) -> str:
    """A form in which spellings are compared: full width folded, lower case, no spaces."""
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", text)).casefold()


def as_text(array: pa.Array) -> Converted:
    """Any column as trimmed text; words for "nothing" become null, whole floats lose their ``.0``."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    kind = array.type
    if pa.types.is_dictionary(kind):
        return as_text(array.dictionary_decode())
    if pa.types.is_null(kind):
        return Converted(array.cast(pa.string()))
    if pa.types.is_floating(kind):
        return _float_text(array)
    if pa.types.is_int64(kind):
        out = Converted(array.cast(pa.string()))
        # What GDAL makes of a whole number too large for it.
        clamped = number_array(np.array([-(2**63), 2**63 - 1], dtype=np.int64), pa.int64())
        out.mark("digits_lost", mask_of(pc.is_in(array, value_set=clamped)))
        return out
    if (
        pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_temporal(kind)
        or pa.types.is_decimal(kind)
    ):
        return Converted(array.cast(pa.string()))
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return Converted(text_array([None if v is None else str(v) for v in array.to_pylist()]))
    text = pc.utf8_trim(array.cast(pa.string()), characters=_TRIMMED)
    if mask_of(pc.starts_with(text, "'")).any():  # the apostrophe that keeps a spreadsheet from seeing a formula
        text = pc.replace_substring_regex(text, r"^'([=+\-@])", r"\1")
    out = Converted(without(text, mask_of(pc.is_in(text, value_set=text_array(_NULL_WORDS)))))
    nul = mask_of(pc.match_substring(out.values, "\x00"))
    if nul.any():
        out.mark("bad_character", nul)
        out.values = without(out.values, nul)
    return out


def _float_text(array: pa.Array) -> Converted:
    numbers = numbers_of(array.cast(pa.float64()), np.nan)
    nan = np.isnan(numbers) & mask_of(array.is_valid())
    whole = np.isfinite(numbers) & (np.floor(numbers) == numbers) & (np.abs(numbers) < _EXACT_MAX)
    integers = number_array(np.where(whole, numbers, 0).astype(np.int64), pa.int64()).cast(pa.string())
    text = pc.if_else(mask_array(whole), integers, number_array(numbers, pa.float64()).cast(pa.string()))
    missing = np.isnan(numbers)
    out = Converted(without(text, missing), blanked_nan=int(nan.sum()))
    out.mark("digits_lost", np.isfinite(numbers) & (np.abs(numbers) >= _EXACT_MAX))
    return out


def _by_spelling(text: pa.Array, kind: pa.DataType, read: Callable[[str], object], into: Converted) -> pa.Array:
    """Read each distinct value once. ``read`` returns a value, None, or a reason code wrapped in `_Bad`."""
    encoded = text.dictionary_encode()
    answers = [read(word) for word in encoded.dictionary.to_pylist()]
    codes = sorted({answer.code for answer in answers if isinstance(answer, _Bad)})
    indices = encoded.indices
    for code in codes:
        here = mask_array(
            np.array([isinstance(answer, _Bad) and answer.code == code for answer in answers], dtype=bool)
        )
        into.mark(code, mask_of(here.take(indices)))
    values = values_array([None if isinstance(answer, _Bad) else answer for answer in answers], kind)
    return values.take(indices)


@dataclass(frozen=True)
class _Bad:
    code: str


def _blank(word: str) -> bool:
    return word.casefold() in _BLANK_WORDS


def _read_number(word: str) -> float | _Bad | None:
    plain = unicodedata.normalize("NFKC", word).replace(" ", "")
    if _THOUSANDS.match(plain):
        plain = plain.replace(",", "")
    if _blank(plain):
        return None
    if not _ANY_NUMBER.match(plain) and plain.lower().lstrip("+-") not in ("inf", "infinity", "∞"):
        return _Bad("not_a_number")
    number = float(plain.replace("∞", "inf"))
    return number if np.isfinite(number) else _Bad("not_finite")


def _read_integer(word: str) -> int | _Bad | None:
    plain = unicodedata.normalize("NFKC", word).replace(" ", "")
    if _THOUSANDS.match(plain):
        plain = plain.replace(",", "")
    number = _read_number(word)
    if number is None or isinstance(number, _Bad):
        return number
    if not float(number).is_integer():
        return _Bad("not_an_integer")
    whole = int(plain) if _ANY_INTEGER.match(plain) and len(plain) < 30 else int(number)
    return whole if -(2**63) <= whole < 2**63 else _Bad("too_large")


def _numeric(text: Converted, kind: pa.DataType) -> Converted:
    """Text to numbers: clean spellings by Arrow, the others one by one."""
    integer = pa.types.is_integer(kind)
    clean = mask_of(pc.match_substring_regex(text.values, _INTEGER if integer else _NUMBER))
    plain = without(text.values, ~clean)
    plain = pc.utf8_ltrim(plain, characters="+")
    out = Converted(plain.cast(kind), dict(text.faults), text.blanked_nan)
    rest = mask_of(text.values.is_valid()) & ~clean
    if rest.any():
        others = without(text.values, ~rest)
        read = _by_spelling(others, kind, _read_integer if integer else _read_number, out)
        out.values = pc.if_else(mask_array(rest), read, out.values)
    if not integer:
        _drop_infinite(out)
    return out


def _drop_infinite(out: Converted) -> None:
    bad = mask_of(pc.invert(pc.is_finite(out.values)))
    if bad.any():
        nan = mask_of(pc.is_nan(out.values))
        out.blanked_nan += int(nan.sum())
        out.mark("not_finite", bad & ~nan)
        out.values = without(out.values, bad)


def lookup(declared: FieldDeclaration) -> dict[str, int | str]:
    """Every accepted spelling of an enum's values, folded, with the value; a value itself goes before titles, titles before aliases."""
    table: dict[str, int | str] = {}
    for spellings in (
        lambda term: (str(term.value),),
        lambda term: (term.zh, term.en),
        lambda term: term.aliases,
    ):
        for term in declared.domain:
            for word in spellings(term):
                table.setdefault(spelling(word), term.value)
    return table


def _enum(text: Converted, declared: FieldDeclaration) -> Converted:
    table = lookup(declared)

    def read(word: str) -> object:
        found = table.get(spelling(word))
        if found is None:
            return None if _blank(word) else _Bad("not_in_domain")
        return found

    out = Converted(text.values, dict(text.faults), text.blanked_nan)
    out.values = _by_spelling(text.values, arrow_type(declared), read, out)
    return out


def _read_bool(word: str) -> bool | _Bad | None:
    plain = spelling(word)
    if plain in _TRUE:
        return True
    if plain in _FALSE:
        return False
    return None if _blank(plain) else _Bad("not_a_bool")


def _read_date(word: str) -> dt.date | _Bad | None:
    if _blank(word):
        return None
    found = parse_date(word)
    return _Bad(found) if isinstance(found, str) else found


def _read_datetime(word: str) -> dt.datetime | _Bad | None:
    if _blank(word):
        return None
    found = parse_datetime(word)
    return _Bad(found) if isinstance(found, str) else found


def _read_uuid(word: str) -> bytes | _Bad | None:
    if _blank(word):
        return None
    return uuid_bytes(word) or _Bad("not_a_uuid")


def _read_list(word: str) -> list[str]:
    if word.startswith("[") and word.endswith("]"):
        word = word[1:-1].replace('"', "")
    return [part.strip() for part in _LIST_MARKS.split(word) if part.strip()]


def _temporal(array: pa.Array, kind: pa.DataType) -> Converted:
    """Dates and times that come as such."""
    if pa.types.is_timestamp(array.type) and array.type.tz is None and pa.types.is_timestamp(kind):
        array = pc.assume_timezone(array.cast(pa.timestamp("us"), safe=False), "Asia/Shanghai")
    elif pa.types.is_timestamp(array.type) and array.type.tz is not None and pa.types.is_date(kind):
        array = pc.local_timestamp(pc.cast(array, pa.timestamp("us", tz="Asia/Shanghai"), safe=False))
    elif pa.types.is_date(array.type) and pa.types.is_timestamp(kind):
        array = pc.assume_timezone(array.cast(pa.timestamp("us")), "Asia/Shanghai")
    out = Converted(array.cast(kind, safe=False))
    if pa.types.is_timestamp(kind):
        low = pa.scalar(dt.datetime.combine(EARLIEST, dt.time(), CHINA), kind)
        high = pa.scalar(dt.datetime.combine(LATEST, dt.time(), CHINA), kind)
    else:
        low, high = pa.scalar(EARLIEST, kind), pa.scalar(LATEST, kind)
    out.mark("date_out_of_range", mask_of(pc.or_(pc.less(out.values, low), pc.greater(out.values, high))))
    return out


def _reader(kind: str) -> Callable[[str], object]:
    readers: Mapping[str, Callable[[str], object]] = {
        "bool": _read_bool,
        "date": _read_date,
        "datetime": _read_datetime,
        "uuid": _read_uuid,
        "text[]": _read_list,
    }
    return readers[kind]


def convert(declared: FieldDeclaration, array: pa.Array) -> Converted:
    """Read a column as a field's type; rules of value (length, pattern, limits) are not looked at here.

    Parameters
    ----------
    declared : FieldDeclaration
        Any type but ``ref`` (read as text: whom it means is found elsewhere) and ``geometry``.
    array : pyarrow.Array
        As the file's reader gave it.
    """
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    kind = arrow_type(declared)
    given = array.type
    if declared.type == "num" and (pa.types.is_floating(given) or pa.types.is_integer(given)):
        out = Converted(array.cast(pa.float64(), safe=False))
        _drop_infinite(out)
        return out
    if declared.type == "int" and pa.types.is_integer(given) and not pa.types.is_uint64(given):
        return Converted(array.cast(pa.int64()))
    if declared.type == "bool" and pa.types.is_boolean(given):
        return Converted(array)
    if declared.type in ("date", "datetime") and (pa.types.is_timestamp(given) or pa.types.is_date(given)):
        return _temporal(array, kind)
    if declared.type in ("uuid", "ref") and given == pa.binary(16):
        return Converted(array)
    if declared.type == "text[]" and (pa.types.is_list(given) or pa.types.is_large_list(given)):
        return Converted(array.cast(kind))
    text = as_text(array)
    if declared.type in ("text", "code", "ref"):
        return text
    if declared.type not in ("text", "code"):
        # A number too large to be exact is only wrong for a code; elsewhere the limits of the field judge it.
        text.faults.pop("digits_lost", None)
    if declared.type in ("int", "num"):
        return _numeric(text, kind)
    if declared.type == "enum":
        return _enum(text, declared)
    out = Converted(text.values, dict(text.faults), text.blanked_nan)
    out.values = _by_spelling(text.values, kind, _reader(declared.type), out)
    return out
