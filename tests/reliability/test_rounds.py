"""A few rounds, each with another victim; ``make test-reliability ROUNDS=200`` does the long run."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reliability.rounds import VICTIMS, Rounds


@pytest.fixture
def home() -> Iterator[Path]:
    """A short folder that the server's user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="bgr-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


# The environment is read before the fixtures of the suite clear it.
COUNT, SEED = int(os.environ.get("ROUNDS", "6")), int(os.environ.get("SEED", "7"))
MINUTES = float(os.environ.get("MINUTES", "600"))
REPORT = Path(os.environ["REPORT"]).absolute() if "REPORT" in os.environ else None


@pytest.mark.timeout(600 + 300 * COUNT)
def test_nothing_acknowledged_is_lost(home: Path) -> None:
    with Rounds(home, seed=SEED, out=sys.stderr) as rounds:
        report = rounds.run(COUNT, minutes=MINUTES, report=REPORT)
    assert report["faults"] == []
    assert all(report["killed"][victim] >= 1 for victim in VICTIMS)
    assert report["writes_acknowledged"] > 20
    assert report["reads"] > 20
    assert report["jobs_acknowledged"] >= 1
    assert report["loads"] >= 1
