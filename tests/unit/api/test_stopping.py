"""A file that nobody waits for any more is not written to its end."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from api.formats import Stopping
from api.sheets import write_sheet
from gis.errors import Cancelled
from layers.catalogue import built_in
from layers.query.source import Source


def rows(stopping: Stopping, *, leave_after: int) -> pa.RecordBatchReader:
    """Batches of ten rows; the client leaves while the one of that number is read."""
    schema = pa.schema([("id", pa.string()), ("name_zh", pa.string())])

    def batches() -> Iterator[pa.RecordBatch]:
        for n in range(100):
            if n == leave_after:
                stopping.stop()
            yield pa.RecordBatch.from_pydict({"id": [f"{n}-{i}" for i in range(10)], "name_zh": ["路"] * 10}, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def test_a_workbook_is_given_up_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    stopping, source = Stopping(), Source.of(built_in()["road"], 4490, "planner")
    with pytest.raises(Cancelled):
        write_sheet(tmp_path / "r.xlsx", stopping.heeded(rows(stopping, leave_after=3), 4), source, "zh")
    assert list(tmp_path.iterdir()) == []


def test_pieces_are_the_same_rows() -> None:
    stopping = Stopping()
    table = stopping.heeded(rows(stopping, leave_after=1000), 4).read_all()
    assert table.column("id").to_pylist() == [f"{n}-{i}" for n in range(100) for i in range(10)]
    taken, left = [], Stopping()
    with pytest.raises(Cancelled):
        for piece in left.heeded(rows(left, leave_after=5), 4):
            taken += piece.column("id").to_pylist()
    assert len(taken) == 50
