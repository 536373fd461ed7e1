"""Identifiers of new features: UUID version 7, so that an index receives them in order."""

import time
import uuid

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["as_uuids", "new_ids", "uuid_bytes"]

#: Identifiers given within one millisecond before its number is raised (12 bits of counter).
_PER_MS = 4096


def new_ids(count: int, *, at_ms: int | None = None) -> pa.FixedSizeBinaryArray:
    """Make ``count`` identifiers that sort in the order they are given.

    Parameters
    ----------
    count : int
    at_ms : int, optional
        Unix time in milliseconds; now by default.

    Returns
    -------
    pyarrow.FixedSizeBinaryArray
        16 bytes each (RFC 9562, version 7: time, a counter, 62 random bits).
    """
    start_ms = int(time.time() * 1000) if at_ms is None else at_ms
    index = np.arange(count, dtype=np.uint64)
    stamp = np.uint64(start_ms) + index // _PER_MS
    raw = np.random.default_rng().integers(0, 256, size=(count, 16), dtype=np.uint8)
    raw[:, 0:6] = stamp.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 2:8]
    counter = (index % _PER_MS).astype(np.uint16) | np.uint16(0x7000)
    raw[:, 6:8] = counter.astype(">u2").view(np.uint8).reshape(-1, 2)
    raw[:, 8] = (raw[:, 8] & 0x3F) | 0x80
    return as_uuids(raw)


def as_uuids(raw: NDArray[np.uint8]) -> pa.FixedSizeBinaryArray:
    """Identifiers from an array of shape (n, 16), dtype uint8."""
    raw = np.ascontiguousarray(raw)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(raw), [None, pa.py_buffer(raw)])


def uuid_bytes(value: object) -> bytes | None:
    """The 16 bytes of an identifier given as `uuid.UUID`, text or bytes; None where it is none of these."""
    if isinstance(value, uuid.UUID):
        return value.bytes
    if isinstance(value, bytes) and len(value) == 16:
        return value
    try:
        return uuid.UUID(str(value).strip()).bytes
    except ValueError:
        return None
