"""Cutting a coverage run into tiles and working them off: on threads, or on a dask cluster."""

import contextlib
import hashlib
import os
import struct
import tempfile
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gis.coverage_chunks import CHUNK, pack
from gis.coverage_kernel import count_tile, cumulate
from gis.coverage_place import Placed
from gis.errors import Cancelled, LimitExceeded
from gis.spreading import spread
from gis.visibility_surface import Surface

__all__ = ["Counted", "Job", "Tile", "count_window", "digest_of", "run_tile", "run_tiles", "tiles_of"]

FAN_DENSITY = {"exact": 1.0, "fast": 1.5}
Chunks = dict[tuple[int, int], bytes]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Job:
    """All that a tile needs: placed cameras, surface, and parameters."""

    placed: Placed
    surface: Surface
    target_height_m: float
    mode: str

    @property
    def classes(self) -> int:
        """Number of densities."""
        return len(self.placed.cameras.densities_px_m)


@dataclass(frozen=True)
class Tile:
    """A square of cells and the cameras whose range meets it."""

    row: int
    col: int
    size: int
    cameras: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Counted:
    """Cameras by best class, uint16 (rows, cols, 4 * classes), and from and up to which column each row holds anything."""

    by_class: npt.NDArray[np.uint16]
    touched: npt.NDArray[np.int32]

    @classmethod
    def empty(cls, rows: int, cols: int, classes: int) -> "Counted":
        """Nothing seen yet."""
        touched = np.zeros((rows, 2), dtype=np.int32)
        touched[:, 0] = cols
        return cls(np.zeros((rows, cols, 4 * classes), dtype=np.uint16), touched)

    def meets(self, row: int, col: int) -> bool:
        """Whether there may be anything in the chunk that begins at (row, col)."""
        part = self.touched[row : row + CHUNK]
        return bool(((part[:, 0] < col + CHUNK) & (part[:, 1] > col)).any())


def tiles_of(placed: Placed, *, size: int) -> list[Tile]:
    """The tiles that the ranges of the cameras meet, in order of their place."""
    n = len(placed.cameras)
    if n == 0:
        return []
    reach = np.floor(placed.cameras.reach_m / placed.cell_m).astype(np.int64)
    r0, r1 = (placed.row - reach) // size, (placed.row + reach) // size
    c0, c1 = (placed.col - reach) // size, (placed.col + reach) // size
    heights, widths = r1 - r0 + 1, c1 - c0 + 1
    repeats = heights * widths
    owner = np.repeat(np.arange(n), repeats)
    nth = np.arange(len(owner)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    rows = r0[owner] + nth // widths[owner]
    cols = c0[owner] + nth % widths[owner]
    order = np.lexsort((owner, cols, rows))
    rows, cols, owner = rows[order], cols[order], owner[order]
    cuts = np.flatnonzero((np.diff(rows) != 0) | (np.diff(cols) != 0)) + 1
    starts = np.concatenate([[0], cuts])
    return [
        Tile(int(rows[s]) * size, int(cols[s]) * size, size, part.astype(np.int64))
        for s, part in zip(starts, np.split(owner, cuts), strict=True)
    ]


def count_window(
    job: Job,
    row: int,
    col: int,
    rows: int,
    cols: int,
    which: npt.NDArray[np.int64],
    *,
    sign: int = 1,
    into: "Counted | None" = None,
) -> "Counted":
    """Count the cameras ``which`` in a window of cells; ``sign`` -1 takes away from ``into``."""
    if len(which) > 65_535:
        raise LimitExceeded(
            f"{len(which):,} cameras meet one tile; at most 65,535.",
            zh=f"单个瓦片涉及摄像机 {len(which):,} 台，上限 65,535。",
        )
    placed, table = job.placed, job.placed.cameras
    reach = int(np.floor(float((table.reach_m[which] / placed.cell_m).max()))) + 1
    # the window of heights holds the tile and whatever of its cameras' views lies outside
    south = int(placed.row[which].min()) - reach - 1
    west = int(placed.col[which].min()) - reach - 1
    north = int(placed.row[which].max()) + reach + 1
    east = int(placed.col[which].max()) + reach + 1
    window = job.surface.window(south, west, north - south + 1, east - west + 1)
    counted = into if into is not None else Counted.empty(rows, cols, job.classes)
    count_tile(
        window.z,
        south,
        west,
        row,
        col,
        which,
        placed.row,
        placed.col,
        placed.eye_m,
        table.azimuth_deg,
        table.half_confirmed_deg,
        table.half_possible_deg,
        table.slope_confirmed,
        table.slope_possible,
        table.radius_m,
        table.online,
        sign,
        job.target_height_m,
        job.surface.drop,
        job.surface.cell_m,
        FAN_DENSITY[job.mode],
        job.mode == "exact",
        counted.by_class,
        counted.touched,
        reach,
    )
    return counted


def run_tile(job: Job, tile: Tile) -> Chunks:
    """The chunks of one tile, without the empty ones."""
    counted = count_window(job, tile.row, tile.col, tile.size, tile.size, tile.cameras)
    chunks: Chunks = {}
    for r in range(0, tile.size, CHUNK):
        for c in range(0, tile.size, CHUNK):
            if not counted.meets(r, c):
                continue
            out = np.zeros((4 * job.classes, CHUNK, CHUNK), dtype=np.uint16)
            if cumulate(counted.by_class, counted.touched, r, c, CHUNK, job.classes, out):
                chunks[((tile.row + r) // CHUNK, (tile.col + c) // CHUNK)] = pack(out)
    return chunks


def digest_of(placed: Placed) -> int:
    """A name for a set of placed cameras: the sum of one number for each, so that it can follow changes."""
    table = placed.cameras
    numbers = np.column_stack(
        [
            placed.row,
            placed.col,
            placed.eye_m,
            table.azimuth_deg,
            table.half_confirmed_deg,
            table.half_possible_deg,
            table.slope_confirmed,
            table.slope_possible,
            table.radius_m,
            table.online,
        ]
    ).astype(np.float64)
    total = 0
    for name, line in zip(table.id, numbers, strict=True):
        total += int.from_bytes(hashlib.blake2b(name.encode() + b"\0" + line.tobytes(), digest_size=16).digest(), "big")
    return total % 2**128


def run_tiles(
    job: Job,
    tiles: list[Tile],
    *,
    workers: int,
    scheduler: str | None,
    progress: Progress | None,
    cancel: Callable[[], bool] | None,
    folder: Path | None,
) -> Chunks:
    """Work off all tiles; tiles that ``folder`` holds from an earlier, broken-off run are read from there."""
    chunks: Chunks = {}
    done = 0
    open_tiles: list[Tile] = []
    for tile in tiles:
        stored = _read_tile(folder, tile)
        if stored is None:
            open_tiles.append(tile)
        else:
            chunks.update(stored)
            done += 1
    if progress is not None:
        progress(done, len(tiles))
    results = (
        spread(run_tile, job, open_tiles, scheduler=scheduler, check=lambda: _stop(cancel))
        if scheduler
        else _on_threads(job, open_tiles, workers, cancel)
    )
    with contextlib.closing(results):
        for tile, part in results:
            _write_tile(folder, tile, part)
            chunks.update(part)
            done += 1
            if progress is not None:
                progress(done, len(tiles))
    return chunks


def _stop(cancel: Callable[[], bool] | None) -> None:
    if cancel is not None and cancel():
        raise Cancelled("The coverage run was stopped.", zh="覆盖分析已停止。")


def _on_threads(
    job: Job, tiles: Iterable[Tile], workers: int, cancel: Callable[[], bool] | None
) -> Generator[tuple[Tile, Chunks]]:
    """The kernels hold no interpreter lock: threads use all cores and share the surface."""
    waiting = iter(tiles)
    if workers <= 1:
        for tile in waiting:
            _stop(cancel)
            yield tile, run_tile(job, tile)
        return
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="coverage") as pool:
        running: dict[Future[Chunks], Tile] = {}
        try:
            while True:
                _stop(cancel)
                for tile in waiting:
                    running[pool.submit(run_tile, job, tile)] = tile
                    if len(running) >= workers + 1:
                        break
                if not running:
                    return
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield running.pop(future), future.result()
        finally:
            for future in running:
                future.cancel()


def _tile_path(folder: Path, tile: Tile) -> Path:
    return folder / f"{tile.size}_{tile.row}_{tile.col}.tile"


def _write_tile(folder: Path | None, tile: Tile, chunks: Chunks) -> None:
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, suffix=".part")
    with os.fdopen(handle, "wb") as file:
        for (row, col), data in sorted(chunks.items()):
            file.write(struct.pack("<qqq", row, col, len(data)) + data)
        file.write(b"end.")
    os.replace(name, _tile_path(folder, tile))


def _read_tile(folder: Path | None, tile: Tile) -> Chunks | None:
    if folder is None:
        return None
    path = _tile_path(folder, tile)
    if not path.exists():
        return None
    data = path.read_bytes()
    chunks: Chunks = {}
    at = 0
    while at + 24 <= len(data):
        row, col, length = struct.unpack_from("<qqq", data, at)
        chunks[(row, col)] = data[at + 24 : at + 24 + length]
        at += 24 + length
    return chunks if data[at:] == b"end." else None
