"""Arrow arrays made from their buffers.

`pyarrow.array`, `pyarrow.scalar` and `Array.to_numpy` import pandas when first called, which takes as long as loading a register of
cameras. What the loading of a table needs is made here without them.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = [
    "Mask",
    "constant",
    "mask_array",
    "mask_of",
    "null_of",
    "number_array",
    "numbers_of",
    "text_array",
    "values_array",
    "without",
]

Mask = NDArray[np.bool_]

_DAY_ZERO = dt.date(1970, 1, 1)
_MOMENT_ZERO = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def mask_array(mask: Mask) -> pa.BooleanArray:
    """A numpy mask as an Arrow array."""
    bits = np.packbits(np.asarray(mask, dtype=bool), bitorder="little")
    return pa.BooleanArray.from_buffers(pa.bool_(), len(mask), [None, pa.py_buffer(bits)])


def mask_of(array: pa.Array) -> Mask:
    """A boolean Arrow array as numpy, null as False."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    out = _bits(array.buffers()[1], array)
    return out & _bits(array.buffers()[0], array) if array.null_count else out


def _bits(buffer: pa.Buffer | None, array: pa.Array) -> Mask:
    """The bits of a bitmap that belong to ``array``."""
    if buffer is None or not len(array):
        return np.zeros(len(array), dtype=bool)
    raw = np.frombuffer(buffer, dtype=np.uint8)
    return np.unpackbits(raw, count=array.offset + len(array), bitorder="little")[array.offset :].astype(bool)


def numbers_of(array: pa.Array, missing: float | int = 0) -> NDArray[Any]:
    """An Arrow array of numbers, dates or times as numpy, with ``missing`` where it is null."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    dtype = np.dtype(f"{'f' if pa.types.is_floating(array.type) else 'i'}{array.type.bit_width // 8}")
    if not len(array):
        return np.zeros(0, dtype=dtype)
    out = np.frombuffer(array.buffers()[1], dtype=dtype)[array.offset : array.offset + len(array)]
    return np.where(_bits(array.buffers()[0], array), out, missing) if array.null_count else out


def null_of(kind: pa.DataType) -> pa.Scalar:
    """The missing value of a type."""
    return pa.nulls(1, kind)[0]


def without(array: pa.Array, bad: Mask) -> pa.Array:
    """``array`` with null where ``bad`` is set."""
    return pc.if_else(mask_array(bad), null_of(array.type), array)


def number_array(values: NDArray[Any], kind: pa.DataType, valid: Mask | None = None) -> pa.Array:
    """Numbers of a fixed width as an Arrow array of ``kind``; null where not ``valid``."""
    data = np.ascontiguousarray(values)
    bitmap = None if valid is None or valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(kind, len(data), [bitmap, pa.py_buffer(data)])


def text_array(values: Sequence[str | None]) -> pa.StringArray:
    """Texts as an Arrow array."""
    raw = [b"" if value is None else value.encode("utf-8", errors="surrogatepass") for value in values]
    return _variable(raw, [value is not None for value in values], pa.string())


def _variable(raw: list[bytes], valid: list[bool], kind: pa.DataType) -> pa.Array:
    offsets = np.zeros(len(raw) + 1, dtype=np.int32)
    np.cumsum([len(part) for part in raw], out=offsets[1:])
    bitmap = None if all(valid) else pa.py_buffer(np.packbits(np.array(valid, dtype=bool), bitorder="little"))
    return pa.Array.from_buffers(kind, len(raw), [bitmap, pa.py_buffer(offsets), pa.py_buffer(b"".join(raw))])


def values_array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Python values as an Arrow array of ``kind``."""
    valid = np.array([value is not None for value in values], dtype=bool)
    if pa.types.is_string(kind):
        return text_array(values)
    if pa.types.is_boolean(kind):
        bits = np.packbits(np.array([bool(value) for value in values], dtype=bool), bitorder="little")
        bitmap = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
        return pa.BooleanArray.from_buffers(kind, len(values), [bitmap, pa.py_buffer(bits)])
    if pa.types.is_fixed_size_binary(kind):
        raw = b"".join(value or bytes(kind.byte_width) for value in values)
        bitmap = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
        return pa.FixedSizeBinaryArray.from_buffers(kind, len(values), [bitmap, pa.py_buffer(raw)])
    if pa.types.is_int64(kind):
        return number_array(np.array([value or 0 for value in values], dtype=np.int64), kind, valid)
    if pa.types.is_float64(kind):
        return number_array(np.array([value or 0.0 for value in values], dtype=np.float64), kind, valid)
    if pa.types.is_date32(kind):
        days = [0 if value is None else (value - _DAY_ZERO).days for value in values]
        return number_array(np.array(days, dtype=np.int32), kind, valid)
    if pa.types.is_timestamp(kind) and kind.unit == "us":
        micros = [0 if value is None else (value - _MOMENT_ZERO) // dt.timedelta(microseconds=1) for value in values]
        return number_array(np.array(micros, dtype=np.int64), kind, valid)
    return pa.array(values, kind)


def constant(value: Any, count: int) -> pa.Array:
    """``count`` times the same value; text and truth values without the help of pandas."""
    kinds = {str: pa.string(), bool: pa.bool_()}
    kind = kinds.get(type(value))
    return pa.repeat(values_array([value], kind)[0] if kind is not None else pa.scalar(value), count)
