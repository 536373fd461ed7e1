"""Where the cameras stand on a surface: cell, height of the eye, and what had to be moved or refused."""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gis.cameras import Assumed, CameraTable, Rejected
from gis.errors import LimitExceeded
from gis.visibility_fan import VOID_HEIGHT_M
from gis.visibility_surface import Surface, sample_points

__all__ = ["EDGE_SEARCH_M", "Placed", "place"]

EDGE_SEARCH_M = 60.0
"""How far from its registered position a camera inside a building is looked for an edge to stand on."""
REACH_CELLS_MAX = 8000
ROOF_CLEARANCE_M = 0.5


@dataclass(frozen=True)
class Placed:
    """Cameras on a surface. ``row``, ``col`` are lattice cells, ``eye_m`` heights of the eye.

    ``cameras`` those that could be placed.
    """

    cameras: CameraTable
    row: npt.NDArray[np.int64]
    col: npt.NDArray[np.int64]
    eye_m: npt.NDArray[np.float64]
    moved_m: npt.NDArray[np.float64]
    rejected: tuple[Rejected, ...]
    cell_m: float


def place(cameras: CameraTable, surface: Surface) -> Placed:
    """Put cameras on a surface.

    A camera stands in the centre of its cell, at its mount height above the ground. If that cell lies in a building it
    is moved: one that stands above the roof to the edge of the roof, any other to the foot of the wall; in the
    direction of view where that is known, else to the nearest. Moved cameras are marked ``Assumed.MOVED``.

    Raises
    ------
    LimitExceeded
        A range is too many cells.
    """
    n = len(cameras)
    if n and float(cameras.reach_m.max()) / surface.cell_m > REACH_CELLS_MAX:
        raise LimitExceeded(
            f"A range of {float(cameras.reach_m.max()):g} m is more than {REACH_CELLS_MAX:,} cells of {surface.cell_m:g} m; use larger cells.",
            zh=f"可视距离 {float(cameras.reach_m.max()):g} 米超过 {REACH_CELLS_MAX:,} 个 {surface.cell_m:g} 米像元；请用更大的像元。",
        )
    row, col = surface.cell_of(cameras.x, cameras.y)
    ground = sample_points(surface, row, col)
    moved = np.zeros(n)
    assumed = cameras.assumed.copy()
    keep = np.ones(n, dtype=np.bool_)
    rejected: list[Rejected] = []
    inside = surface.near_buildings((col + 0.5) * surface.cell_m, (row + 0.5) * surface.cell_m)
    for i in inside:
        found = _edge(cameras, int(i), surface, int(row[i]), int(col[i]))
        if found is None:
            continue
        if found[0] < 0:
            keep[i] = False
            rejected.append(
                Rejected(
                    cameras.id[i],
                    "inside_building",
                    f"It lies inside a building, more than {EDGE_SEARCH_M:g} m from any edge.",
                    f"位于建筑内部，距边缘超过 {EDGE_SEARCH_M:g} 米。",
                )
            )
            continue
        _, to_row, to_col = found
        moved[i] = math.hypot(to_row - row[i], to_col - col[i]) * surface.cell_m
        row[i], col[i] = to_row, to_col
        ground[i] = sample_points(surface, row[i : i + 1], col[i : i + 1])[0]
        assumed[i] |= np.uint16(Assumed.MOVED)
    void = keep & (ground > 0.5 * VOID_HEIGHT_M)
    for i in np.flatnonzero(void):
        rejected.append(
            Rejected(cameras.id[i], "no_terrain", "It stands where the terrain is not known.", "所在位置没有地形数据。")
        )
    keep &= ~void
    table = replace(cameras, assumed=assumed).take(keep)
    return Placed(
        cameras=table,
        row=row[keep],
        col=col[keep],
        eye_m=ground[keep] + table.height_m,
        moved_m=moved[keep],
        rejected=tuple(rejected),
        cell_m=surface.cell_m,
    )


def _edge(cameras: CameraTable, i: int, surface: Surface, row: int, col: int) -> tuple[int, int, int] | None:
    """None when the cell is free, else (0, row, col) of the edge or (-1, 0, 0) when there is none near."""
    if surface.window(row, col, 1, 1).building[0, 0] < 0:
        return None
    span = max(2, int(math.ceil(EDGE_SEARCH_M / surface.cell_m)))
    window = surface.window(row - span - 1, col - span - 1, 2 * span + 3, 2 * span + 3)
    middle = span + 1
    built = window.building >= 0
    here = int(window.building[middle, middle])
    heights = surface.buildings.height_m if surface.buildings is not None else np.empty(0)
    on_roof = bool(cameras.height_m[i] > heights[here] + ROOF_CLEARANCE_M)
    half = cameras.half_confirmed_deg[i]
    if 0.0 <= half < 180.0:
        angle = math.radians(float(cameras.azimuth_deg[i]))
        east, north = math.sin(angle), math.cos(angle)
        before = (middle, middle)
        for step in range(1, 2 * span + 1):
            r = middle + round(north * step / 2)
            c = middle + round(east * step / 2)
            if not built[r, c]:
                r, c = before if on_roof else (r, c)
                return 0, window.row + r, window.col + c
            before = (r, c)
        return -1, 0, 0
    if on_roof:
        edge = built.copy()
        edge[1:-1, 1:-1] &= ~(built[:-2, 1:-1] & built[2:, 1:-1] & built[1:-1, :-2] & built[1:-1, 2:])
        goal = edge
    else:
        goal = ~built
    rows, cols = np.nonzero(goal[1:-1, 1:-1])
    if len(rows) == 0:
        return -1, 0, 0
    rows, cols = rows + 1, cols + 1
    distance = (rows - middle) ** 2 + (cols - middle) ** 2
    best = int(np.argmin(distance))
    if distance[best] > span**2:
        return -1, 0, 0
    return 0, window.row + int(rows[best]), window.col + int(cols[best])
