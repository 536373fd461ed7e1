"""Tiles in files: shared by all server processes that see the folder, and still there after a restart.

A tile's name is a digest of all that it hangs on, its layer's change counter and the asker's scope among it, so that a file is never stale; it
is just not asked for any more. The files used longest ago go when the folder is full. Each begins with a digest of the rest: one that is damaged is
made anew.
"""

import contextlib
import hashlib
import logging
import os
import secrets
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

__all__ = ["TileStore", "software"]

log = logging.getLogger("baige.api")

_DIGEST_BYTES = 16
#: A file that is used is marked so at most this often; half-written ones of a killed process go after it, too.
_HOUR_S = 3600.0
#: How long nothing is written after the disk has refused.
_PAUSE_S = 60.0


def software() -> str:
    """A digest of the code that makes tiles: those of another version are not taken."""
    digest = hashlib.blake2b(digest_size=8)
    for part in sorted(resources.files("layers").joinpath("query").iterdir(), key=lambda part: part.name):
        if part.name.endswith((".py", ".sql")):
            digest.update(part.read_bytes())
    return digest.hexdigest()


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()


class TileStore:
    """A folder of tiles.

    Parameters
    ----------
    folder : Path
        Made where it is missing, closed to others: it holds tiles of restricted layers.
    most_bytes : int
        What the files may take together; looked at when a twentieth of it was written.
    salt : str
        Whatever tells these tiles from others of the same name: database, software, settings.
    """

    def __init__(self, folder: Path, *, most_bytes: int, salt: str) -> None:
        self._folder, self._most, self._salt = folder, most_bytes, salt
        self._written = most_bytes  # a look at the folder comes with the first tile
        self._paused_until = 0.0

    def _path(self, key: object) -> Path:
        name = hashlib.blake2b(f"{self._salt}|{key!r}".encode(), digest_size=20).hexdigest()
        return self._folder / name[:2] / name[2:]

    def recall(self, key: object) -> bytes | None:
        """The tile of a key, or None; blocks for a moment."""
        path = self._path(key)
        try:
            data = path.read_bytes()
            if time.time() - path.stat().st_mtime > _HOUR_S:
                os.utime(path)
        except OSError:
            return None
        if _digest(data[_DIGEST_BYTES:]) != data[:_DIGEST_BYTES]:
            log.warning("a tile in files was damaged; it is made anew")
            path.unlink(missing_ok=True)
            return None
        return data[_DIGEST_BYTES:]

    def keep(self, key: object, body: bytes) -> None:
        """Keep a tile; a disk that refuses is no reason not to answer. Blocks for a moment."""
        if time.monotonic() < self._paused_until:
            return
        path = self._path(key)
        aside = path.with_name(f".{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                out.write(_digest(body) + body)
            aside.replace(path)
            self._written += len(body)
            if self._written > self._most / 20:
                self._written = 0
                self._tidy()
        except OSError as error:
            self._paused_until = time.monotonic() + _PAUSE_S
            log.warning("no tile is kept in files for %.0f s: %s", _PAUSE_S, error.strerror)
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        for folder in self._folder.iterdir():
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):  # another process tidies up, too
                        status = entry.stat()
                        yield status.st_mtime, status.st_size, Path(entry.path)

    def _tidy(self) -> None:
        """Remove what was used longest ago, down to nine tenths of what the files may take."""
        found = sorted(self._files())
        total = sum(size for _, size, _ in found)
        limit = self._most * 0.9 if total > self._most else self._most
        for used, size, path in found:
            if total > limit or (path.name.startswith(".") and time.time() - used > _HOUR_S):
                path.unlink(missing_ok=True)
                total -= size
