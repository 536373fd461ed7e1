"""The binary COPY format, against a slow writer of single values."""

import datetime as dt
import struct
import uuid
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gis.errors import DataError
from layers.loading.copying import encode_rows
from layers.loading.identifiers import as_uuids, new_ids, uuid_bytes

KINDS: dict[str, tuple[pa.DataType, Any]] = {
    "int2": (pa.int64(), st.integers(-(2**15), 2**15 - 1)),
    "int8": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "float8": (pa.float64(), st.floats(allow_nan=False)),
    "bool": (pa.bool_(), st.booleans()),
    "text": (pa.string(), st.text(max_size=20)),
    "date": (pa.date32(), st.dates()),
    "timestamptz": (pa.timestamp("us", tz="UTC"), st.datetimes(timezones=st.just(dt.UTC))),
    "uuid": (pa.binary(16), st.binary(min_size=16, max_size=16)),
    "geometry": (pa.large_binary(), st.binary(max_size=60)),
    "_text": (pa.list_(pa.string()), st.lists(st.one_of(st.none(), st.text(max_size=5)), max_size=3)),
}


def slow(value: Any, kind: str) -> bytes:
    """One value as the documentation of COPY and the types' send functions say."""
    if value is None:
        return struct.pack(">i", -1)
    data = {
        "int2": lambda v: struct.pack(">h", v),
        "int8": lambda v: struct.pack(">q", v),
        "float8": lambda v: struct.pack(">d", v),
        "bool": lambda v: bytes([v]),
        "text": lambda v: v.encode(),
        "date": lambda v: struct.pack(">i", (v - dt.date(2000, 1, 1)).days),
        "timestamptz": lambda v: struct.pack(
            ">q", (v - dt.datetime(2000, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
        ),
        "uuid": bytes,
        "geometry": bytes,
        "_text": lambda v: (
            struct.pack(">iii", int(bool(v)), int(None in v), 25)
            + (struct.pack(">ii", len(v), 1) if v else b"")
            + b"".join(slow(part, "text") for part in v)
        ),
    }[kind](value)
    return struct.pack(">i", len(data)) + data


@settings(deadline=None)
@given(st.data())
def test_rows_equal_a_slow_writer(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=5))
    count = data.draw(st.integers(1, 6))
    columns = [
        data.draw(st.lists(st.one_of(st.none(), KINDS[kind][1]), min_size=count, max_size=count)) for kind in kinds
    ]
    encoded = encode_rows(
        [(pa.array(values, KINDS[kind][0]), kind) for values, kind in zip(columns, kinds, strict=True)]
    )
    expected = b"".join(
        struct.pack(">h", len(kinds))
        + b"".join(slow(values[row], kind) for values, kind in zip(columns, kinds, strict=True))
        for row in range(count)
    )
    assert bytes(encoded) == expected


def test_slices_are_encoded_from_where_they_begin() -> None:
    whole = [(pa.array(["a", "bb", "ccc"]), "text"), (pa.array([1, 2, 3]), "int8"), (as_uuids_of(3), "uuid")]
    parts = b"".join(
        bytes(encode_rows([(array[start : start + 1], kind) for array, kind in whole])) for start in range(3)
    )
    assert parts == bytes(encode_rows(whole))


def as_uuids_of(count: int) -> pa.Array:
    return new_ids(count, at_ms=1)


def test_unknown_type_is_refused() -> None:
    with pytest.raises(DataError):
        encode_rows([(pa.array(["x"]), "hstore")])


def test_new_ids_are_version_7_unique_and_ascending() -> None:
    values = [uuid.UUID(bytes=raw) for raw in new_ids(10_000, at_ms=1_700_000_000_000).to_pylist()]
    assert len(set(values)) == len(values)
    assert values == sorted(values)
    assert {value.version for value in values} == {7}
    assert {value.variant for value in values} == {uuid.RFC_4122}
    assert int.from_bytes(values[0].bytes[:6], "big") == 1_700_000_000_000


def test_uuid_bytes_of_what_people_give() -> None:
    value = uuid.uuid4()
    assert (
        uuid_bytes(value)
        == uuid_bytes(str(value))
        == uuid_bytes(value.bytes)
        == uuid_bytes(value.hex.upper())
        == value.bytes
    )
    assert uuid_bytes("17") is None
    assert as_uuids(np.zeros((2, 16), dtype=np.uint8)).to_pylist() == [bytes(16)] * 2
