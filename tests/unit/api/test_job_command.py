"""The command of a job: its messages become progress, what it writes becomes the result, however long."""

import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from api.jobs import child


class Told:
    """Keeps what a job reports."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, str]] = []

    def report(self, job: uuid.UUID, attempt: int, *, progress: int, message: str) -> None:
        self.seen.append((progress, message))


def program(tmp_path: Path, text: str) -> str:
    """A program in the interpreter's place."""
    path = tmp_path / "program"
    path.write_text(f"#!{sys.executable}\nimport sys\n{text}")
    path.chmod(0o755)
    return str(path)


@pytest.mark.timeout(60)
def test_an_answer_longer_than_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "print('lines of sight 3/12', file=sys.stderr)\nprint('[' + '1,' * 500_000 + '1]', flush=True)\nprint('ready 100 %', file=sys.stderr)\n"
    monkeypatch.setattr(sys, "executable", program(tmp_path, text))
    told: Any = Told()
    found = child._command(told, {"id": uuid.uuid4()}, 1, [])
    assert len(found["result"]) == 500_001
    assert told.seen == [(25, "lines of sight 3/12"), (99, "ready 100 %")]


def test_a_failure_is_its_last_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", program(tmp_path, "sys.exit('no such unit')\n"))
    told: Any = Told()
    with pytest.raises(RuntimeError, match="no such unit"):
        child._command(told, {"id": uuid.uuid4()}, 1, [])
