"""Following a change: one camera moved, added, removed or switched, without a new run.

Counts are whole numbers, so the view of the camera as it was is taken away and the view as it is added. What comes out
is, to the bit, what a full run with the changed cameras gives.
"""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from gis.cameras import Assumed, CameraTable
from gis.coverage import job_of
from gis.coverage_chunks import CHUNK, Counts, CoverageResult, pack_open
from gis.coverage_kernel import cumulate
from gis.coverage_run import Job, count_window, digest_of
from gis.errors import Conflict, DataError, InputError
from gis.visibility_surface import Surface

__all__ = ["Change", "update"]


@dataclass(frozen=True)
class Change:
    """The new result and the chunks (row, column) that differ from the old."""

    result: CoverageResult
    chunks: tuple[tuple[int, int], ...]


def update(
    result: CoverageResult, surface: Surface, *, before: CameraTable | None = None, after: CameraTable | None = None
) -> Change:
    """Take cameras out of a result and put cameras in.

    Parameters
    ----------
    result : CoverageResult
        Is not changed.
    surface : Surface
        The one that the result was made on.
    before : CameraTable, optional
        Cameras as they stand in the result, to be taken out; ``after`` cameras to be put in. A moved camera stands in
        both. Both are tables of `gis.cameras.prepare`, made with the same parameters as for the run.

    Raises
    ------
    Conflict
        The surface is not the one of the result.
    InputError
        The densities differ, or a camera to be taken out is not in the result.
    """
    if surface.digest != result.surface_digest:
        raise Conflict(
            "Terrain or buildings have changed since the run: run the coverage again.",
            zh="地形或建筑在运行之后已变化，请重新运行覆盖分析。",
        )
    counts: dict[tuple[int, int], Counts] = {}
    digest, cameras = result.cameras_digest, result.cameras
    tally: Counter[Assumed] = Counter(result.tally)
    rejected = list(result.rejected)
    for table, sign in ((before, -1), (after, 1)):
        if table is None:
            continue
        _, job = job_of(
            table,
            surface,
            target_height_m=result.target_height_m,
            densities_px_m=result.densities_px_m,
            mode=result.mode,
        )
        placed = job.placed
        for i in range(len(placed.cameras)):
            _add(result, job, i, sign, counts)
        digest += sign * digest_of(placed)
        cameras += sign * len(placed.cameras)
        for bit, count in placed.cameras.tally.items():
            tally[bit] += sign * count
        refused = table.rejected + placed.rejected
        if sign > 0:
            rejected.extend(refused)
        else:
            rejected = [r for r in rejected if r not in refused]
    if cameras < 0:
        raise InputError(
            "More cameras would be taken out than the result holds.", zh="要移除的摄像机多于结果中的数量。"
        )
    chunks = dict(result.chunks)
    for key in sorted(counts):
        greatest = int(counts[key].max())
        if greatest > 60_000:  # a count below zero wraps round
            raise DataError(
                "A camera to be taken out does not stand in the result as given.", zh="要移除的摄像机与结果中的不一致。"
            )
        if greatest:
            chunks[key] = pack_open(counts[key])
        else:
            chunks.pop(key, None)
    changed = tuple(key for key in sorted(counts) if chunks.get(key) != result.chunks.get(key))
    new = replace(
        result,
        chunks=chunks,
        cameras_digest=digest % 2**128,
        cameras=cameras,
        tally={bit: tally[bit] for bit in Assumed if tally[bit]},
        rejected=tuple(rejected),
    )
    return Change(new, changed)


def _add(result: CoverageResult, job: Job, i: int, sign: int, counts: dict[tuple[int, int], Counts]) -> None:
    """Add the view of one camera to the chunks that it meets, or take it away."""
    placed = job.placed
    reach = int(placed.cameras.reach_m[i] / placed.cell_m)
    r0, r1 = (int(placed.row[i]) - reach) // CHUNK, (int(placed.row[i]) + reach) // CHUNK + 1
    c0, c1 = (int(placed.col[i]) - reach) // CHUNK, (int(placed.col[i]) + reach) // CHUNK + 1
    which = np.array([i], dtype=np.int64)
    part = count_window(job, r0 * CHUNK, c0 * CHUNK, (r1 - r0) * CHUNK, (c1 - c0) * CHUNK, which, sign=sign)
    for row in range(r0, r1):
        for col in range(c0, c1):
            if part.meets((row - r0) * CHUNK, (col - c0) * CHUNK):
                if (row, col) not in counts:
                    counts[(row, col)] = result.chunk(row, col)
                cumulate(
                    part.by_class,
                    part.touched,
                    (row - r0) * CHUNK,
                    (col - c0) * CHUNK,
                    CHUNK,
                    job.classes,
                    counts[(row, col)],
                )
