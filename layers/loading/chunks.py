"""What readers give: runs of rows as Arrow columns, and a source that yields them."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from layers.loading.arrays import Mask
from layers.loading.reasons import Fault

__all__ = ["Chunk", "Source", "ahead"]


@dataclass
class Chunk:
    """A run of rows.

    Attributes
    ----------
    rows : ndarray of int64
        Row numbers as people count them (see `layers.loading.reasons.Fault`).
    columns : mapping of str to pyarrow.Array
        By header.
    wkb : pyarrow.Array, optional
        Geometries of a format that has them.
    cells : mapping
        By header and reason code, the rows whose cell the reader itself found unusable.
    lost : list of Fault
        Faults of rows that could not be read at all and are not in ``rows``.
    ids : pyarrow.Array, optional
        Identifiers assigned beforehand, where rows refer to each other.
    """

    rows: NDArray[np.int64]
    columns: Mapping[str, pa.Array]
    wkb: pa.Array | None = None
    cells: Mapping[str, Mapping[str, Mask]] = field(default_factory=dict)
    lost: list[Fault] = field(default_factory=list)
    ids: pa.Array | None = None

    def __len__(self) -> int:
        return len(self.rows)


class Source(Protocol):
    """A file opened for reading.

    Attributes
    ----------
    format : str
        Name of the format, for the report.
    headers : list of str
        Columns without the geometry.
    has_geometry : bool
        Whether chunks carry WKB.
    crs : str, optional
        Reference system that the file claims, as anything `gis.crs.source_crs` reads; None where it has none.
    notes : list of (zh, en)
        What the reader had to do or assume.
    """

    format: str
    headers: list[str]
    has_geometry: bool
    crs: str | None
    notes: list[tuple[str, str]]

    @property
    def count(self) -> int | None:
        """Rows, where the format knows (of text, about); None elsewhere."""
        ...

    def chunks(self) -> Iterator[Chunk]:
        """All rows from the beginning; may be called again."""
        ...


def ahead[T](make: Callable[[], Iterable[T]], *, depth: int = 2) -> Iterator[T]:
    """Iterate in a thread of its own, at most ``depth`` items ahead; an error comes up where the items are taken.

    Parameters
    ----------
    make : callable
        Gives the iterable; called inside the thread.
    """
    waiting: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def give(item: tuple[bool, T | BaseException | None]) -> bool:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def run() -> None:
        try:
            for item in make():
                if not give((True, item)):
                    return
            give((False, None))
        except BaseException as error:  # noqa: BLE001 - handed over, not swallowed
            give((False, error))

    thread = threading.Thread(target=run, name="baige-load", daemon=True)
    thread.start()
    try:
        while True:
            more, item = waiting.get()
            if not more:
                if isinstance(item, BaseException):
                    raise item
                return
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()
