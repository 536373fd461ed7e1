"""Tiles in files: what is kept comes back whole or not at all, the folder stays within its size, and a disk that refuses harms nobody."""

import os
import time
from pathlib import Path

import pytest

from api import tile_store
from api.tile_store import TileStore, software


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_tile_comes_back_for_its_key_alone(tmp_path: Path) -> None:
    store = TileStore(tmp_path / "t", most_bytes=10_000_000, salt="a")
    bodies = {("layer", n, "officer:420502"): os.urandom(n * 100) for n in range(20)}  # the first is empty, as a tile without features is
    for key, body in bodies.items():
        store.keep(key, body)
    other_process, other_database = (TileStore(tmp_path / "t", most_bytes=10_000_000, salt=salt) for salt in "ab")
    for key, body in bodies.items():
        assert other_process.recall(key) == body
        assert other_database.recall(key) is None
    assert store.recall(("layer", 1, "public:")) is None
    assert {path.stat().st_mode & 0o077 for path in [*files(tmp_path), *(tmp_path / "t").rglob("*")]} == {0}


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", lambda data: data[:20] + b"x" + data[21:], lambda data: data + b"x"])
def test_a_damaged_file_is_no_tile(tmp_path: Path, damage: object) -> None:
    store = TileStore(tmp_path, most_bytes=10_000_000, salt="")
    store.keep("k", b"tile" * 100)
    (path,) = files(tmp_path)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert store.recall("k") is None
    assert files(tmp_path) == []
    store.keep("k", b"new")
    assert store.recall("k") == b"new"


def test_the_folder_stays_within_its_size_and_what_was_used_last_stays(tmp_path: Path) -> None:
    store = TileStore(tmp_path, most_bytes=100_000, salt="")
    half = tmp_path / "ab" / ".half-written"
    half.parent.mkdir()
    half.write_bytes(b"x" * 10)
    os.utime(half, (time.time() - 7200,) * 2)
    store.keep("wanted", bytes(1000))
    for number in range(150):
        store.keep(number, bytes(1000))
        for path in files(tmp_path):  # time passes; what is asked for is used
            status = path.stat()
            os.utime(path, (status.st_mtime - 60, status.st_mtime - 60))
        assert store.recall("wanted") is not None, number
        assert sum(path.stat().st_size for path in files(tmp_path)) < 100_000 + 6000
    assert len(files(tmp_path)) > 60
    assert store.recall(149) is not None and store.recall(0) is None
    assert not half.exists()


def test_a_disk_that_refuses_is_left_alone_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    store = TileStore(blocked, most_bytes=1000, salt="")
    store.keep("k", b"x")
    assert store.recall("k") is None
    blocked.unlink()
    store.keep("k", b"x")
    assert store.recall("k") is None  # not yet
    later = time.monotonic() + 61
    monkeypatch.setattr(tile_store.time, "monotonic", lambda: later)
    store.keep("k", b"x")
    assert store.recall("k") == b"x"


def test_the_code_that_makes_tiles_is_known_by_a_digest() -> None:
    assert software() == software() and len(software()) == 16
