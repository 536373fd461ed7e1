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
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from layers.query.fragment import Fragment
from layers.query.source import Source
from layers.query.tilegrid import Tile

__all__ = ["KEPT_MOST_BYTES", "REGISTRY", "TileStore", "salt_of", "software", "tile_key", "version_of"]

log = logging.getLogger("baige.api")

_DIGEST_BYTES = 16
#: A file that is used is marked so at most this often; half-written ones of a killed process go after it, too.
_HOUR_S = 3600.0
#: How long nothing is written after the disk has refused.
_PAUSE_S = 60.0


#: Larger tiles are not kept.
KEPT_MOST_BYTES = 4_000_000

#: The layers and whether they lie in partitions, and which database of which server this is.
REGISTRY = (
    "SELECT name, built_in, declaration, (SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass('baige.' || quote_ident(name))),"
    " (SELECT oid::bigint FROM pg_database WHERE datname = current_database()),"
    " (SELECT system_identifier FROM pg_control_system()) FROM baige_sys.layer ORDER BY name"
)
#: What decides how a tile is made and what stands in it, beside the database: the queries, the built-in layers, who may see which column.
_MADE_BY = {"query": (".py", ".sql"), "catalogue": (".toml",), "": ("access.py", "declaration.py")}


def software() -> str:
    """A digest of the code and the declarations that make tiles: those of another version are not taken."""
    digest = hashlib.blake2b(digest_size=8)
    for folder, endings in _MADE_BY.items():
        for part in sorted(resources.files("layers").joinpath(folder).iterdir(), key=lambda part: part.name):
            if part.name.endswith(endings):
                digest.update(part.read_bytes())
    return digest.hexdigest()


def salt_of(cap: int) -> str:
    """What all tiles of a store hang on that are made with at most ``cap`` features."""
    return f"{software()}|{cap}"


def version_of(rows: Iterable[tuple[Any, ...]]) -> str:
    """A digest of `REGISTRY`'s rows: which layers there are, as users declared them, in which database of which server.

    A backup that was restored is another database: its change counters say nothing about what was kept of the old one, and rise to the same
    numbers again.
    """
    own: dict[str, Any] = {}
    place: tuple[Any, ...] = ()
    for name, is_built_in, declaration, partitioned, *place_of in rows:
        own[name.decode() if isinstance(name, bytes) else name] = (None if is_built_in else declaration, partitioned)
        place = tuple(place_of)
    return hashlib.sha256(repr((place, sorted(own.items()))).encode()).hexdigest()[:16]


def tile_key(source: Source, tile: Tile, scope: str, filters: tuple[Fragment, ...], counter: int, version: str) -> tuple[Any, ...]:
    """All that a tile's contents hang on: the layer and its state, the place, who asks, and which database."""
    return (source.name, source.at, tile, scope, filters, counter, version)


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
        Whatever tells these tiles from others of the same name: software and settings, see `salt_of`.
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
