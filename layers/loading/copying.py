"""Arrow columns to the binary COPY format of PostgreSQL, a column at a time.

Every value becomes its length (four bytes, big-endian) and its bytes; Arrow then joins the columns element by element, so that the
data buffer of the result is the stream itself. Source: PostgreSQL documentation, COPY, "Binary Format".
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gis.errors import DataError
from layers.loading.arrays import mask_of, null_of, numbers_of

__all__ = ["HEADER", "TRAILER", "encode_rows"]

#: What a binary COPY stream begins and ends with.
HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"

_EPOCH_DAYS = 10957  # 2000-01-01 in days since 1970-01-01
_EPOCH_US = _EPOCH_DAYS * 86_400_000_000
_TEXT_OID = 25


def encode_rows(columns: Sequence[tuple[pa.Array, str]]) -> pa.Buffer:
    """Encode rows for ``COPY … FROM STDIN (FORMAT binary)``, without header and trailer.

    Parameters
    ----------
    columns : sequence of (array, type)
        The columns in the order of the COPY statement, and the SQL type of each: ``int2``, ``int4``, ``int8``, ``float8``, ``bool``,
        ``text`` (also varchar and char), ``date``, ``timestamptz``, ``uuid``, ``geometry`` (EWKB), ``_text``.

    Raises
    ------
    DataError
        A type that is not among these.
    """
    pieces: list[pa.Array | pa.Scalar] = []
    fixed: list[NDArray[np.uint8]] = [np.frombuffer(np.array([len(columns)], dtype=">i2").tobytes(), dtype=np.uint8)]
    count = len(columns[0][0])

    def flush() -> None:
        """Put the columns of fixed width gathered so far side by side as one."""
        if fixed:
            wide = np.hstack([np.broadcast_to(part, (count, part.shape[-1])) for part in fixed])
            pieces.append(_fixed_array(wide, None))
            fixed.clear()

    for array, kind in columns:
        values = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        if values.null_count == count:
            fixed.append(np.full(4, 0xFF, dtype=np.uint8))
            continue
        block = _fixed_width(values, kind)
        if block is not None and values.null_count == 0:
            fixed.append(block)
            continue
        flush()
        if block is not None:
            pieces.append(pc.fill_null(_fixed_array(block, values), _bytes_scalar(b"\xff\xff\xff\xff")))
        else:
            pieces.extend(_variable_width(values, kind))
    flush()
    joined = pc.binary_join_element_wise(*pieces, _bytes_scalar(b""))
    if isinstance(joined, pa.ChunkedArray):
        joined = joined.combine_chunks()
    offsets = np.frombuffer(joined.buffers()[1], dtype=np.int64)[joined.offset : joined.offset + count + 1]
    return joined.buffers()[2].slice(int(offsets[0]), int(offsets[-1] - offsets[0]))


def _bytes_scalar(data: bytes) -> pa.Scalar:
    offsets = pa.py_buffer(np.array([0, len(data)], dtype=np.int64))
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(data)])[0]


def _fixed_array(block: NDArray[np.uint8], like: pa.Array | None) -> pa.Array:
    """Rows of a block of bytes as a binary array; null where ``like`` is."""
    count, width = block.shape
    buffer = pa.py_buffer(np.ascontiguousarray(block))
    offsets = pa.py_buffer(np.arange(count + 1, dtype=np.int64) * width)
    array = pa.LargeBinaryArray.from_buffers(pa.large_binary(), count, [None, offsets, buffer])
    if like is None or like.null_count == 0:
        return array
    return pc.if_else(like.is_valid(), array, null_of(pa.large_binary()))


def _big_endian(values: NDArray[Any], dtype: str) -> NDArray[np.uint8]:
    """A block of lengths and values."""
    width = np.dtype(dtype).itemsize
    block = np.empty((len(values), 4 + width), dtype=np.uint8)
    block[:, :4] = (0, 0, 0, width)
    block[:, 4:] = np.ascontiguousarray(values.astype(dtype)).view(np.uint8).reshape(-1, width)
    return block


def _numbers(array: pa.Array, kind: pa.DataType) -> NDArray[Any]:
    if array.type != kind:
        array = array.cast(kind)
    return mask_of(array) if pa.types.is_boolean(kind) else numbers_of(array)


def _fixed_width(array: pa.Array, kind: str) -> NDArray[np.uint8] | None:
    """Lengths and values of a column of fixed width, shape (n, 4 + width); None for one of variable width."""
    if kind in ("int2", "int4", "int8"):
        return _big_endian(_numbers(array, pa.int64()), f">i{kind[-1]}")
    if kind == "float8":
        return _big_endian(_numbers(array, pa.float64()), ">f8")
    if kind == "bool":
        return _big_endian(_numbers(array, pa.bool_()), ">u1")
    if kind == "date":
        return _big_endian(
            _numbers(array.cast(pa.date32()).cast(pa.int32()), pa.int32()) - np.int32(_EPOCH_DAYS), ">i4"
        )
    if kind == "timestamptz":
        micros = _numbers(array.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()), pa.int64())
        return _big_endian(micros - np.int64(_EPOCH_US), ">i8")
    if kind == "uuid":
        return _rows_of_width(array, 16)
    if kind == "geometry" and pa.types.is_fixed_size_binary(array.type):
        return _rows_of_width(array, array.type.byte_width)
    return None


def _rows_of_width(array: pa.Array, width: int) -> NDArray[np.uint8]:
    block = np.empty((len(array), 4 + width), dtype=np.uint8)
    block[:, :4] = np.frombuffer(np.array([width], dtype=">i4").tobytes(), dtype=np.uint8)
    data = np.frombuffer(array.buffers()[1], dtype=np.uint8)
    block[:, 4:] = data[array.offset * width : (array.offset + len(array)) * width].reshape(-1, width)
    return block


def _variable_width(array: pa.Array, kind: str) -> tuple[pa.Array, pa.Array]:
    """The lengths of a column's values, and the values."""
    if kind == "_text":
        array = pa.array([_text_list(value) for value in array.to_pylist()], pa.large_binary())
    elif kind not in ("text", "geometry"):
        raise DataError(f"No binary form is known for the SQL type {kind}.", zh=f"不支持的数据类型：{kind}。")
    values = (
        array.cast(pa.large_binary()) if not pa.types.is_large_string(array.type) else array.view(pa.large_binary())
    )
    lengths = _numbers(pc.binary_length(values), pa.int64()).astype(np.int64)
    if values.null_count:
        lengths = np.where(mask_of(values.is_valid()), lengths, -1)
        values = pc.fill_null(values, _bytes_scalar(b""))
    raw = np.ascontiguousarray(lengths.astype(">i4")).view(np.uint8).reshape(-1, 4)
    return _fixed_array(raw, None), values


def _text_list(values: Sequence[str | None] | None) -> bytes | None:
    """One array of texts in PostgreSQL's binary form."""
    if values is None:
        return None
    head = [0 if not values else 1, 1 if None in values else 0, _TEXT_OID]
    if values:
        head += [len(values), 1]
    parts = [np.array(head, dtype=">i4").tobytes()]
    for value in values:
        data = value.encode() if value is not None else b""
        parts.append((len(data) if value is not None else -1).to_bytes(4, "big", signed=True) + data)
    return b"".join(parts)
