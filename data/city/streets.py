"""The street network: cut lines that follow river and slope, drawn bank by bank.

Each bank is a strip between the river and the ring road with coordinates u (downstream, 0…1) and v (away from the river, 0…1).
A strip is cut in two again and again, across its longer side, until blocks have the size that their place asks for; steep ground
stays whole. Every cut is a street, the earlier the more important.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from data.city.density import density
from data.city.noise import Field
from data.city.river import DAM_CHAINAGE_HINT, River, rounded
from data.city.terrain import Dem

__all__ = ["BRIDGES", "STRIP", "Bank", "Cuts", "Leaves", "curves", "draw_bank", "noded_edges", "subdivide"]

Floats = NDArray[np.float64]

#: name, English name, a point near the crossing, what crosses: the road bridges that cut the banks into districts.
BRIDGES: tuple[tuple[str, str, tuple[float, float], str], ...] = (
    ("至喜长江大桥", "Zhixi Yangtze Bridge", (525040.0, 3399300.0), "road"),
    ("夷陵长江大桥", "Yiling Yangtze Bridge", (526900.0, 3396500.0), "road"),
    ("宜万铁路长江大桥", "Yichang–Wanzhou Railway Bridge", (530000.0, 3393950.0), "rail"),
    ("伍家岗长江大桥", "Wujiagang Yangtze Bridge", (533700.0, 3389600.0), "road"),
    ("宜昌长江公路大桥", "Yichang Yangtze Highway Bridge", (536700.0, 3385850.0), "ring"),
)

#: Below this v lies the riverfront, between bank and embankment road.
STRIP = 0.02
_STRIP_WATER_M, _STRIP_LAND_M = -70.0, 85.0

#: Line of the ring road, left bank and right bank, downstream; ends are set by the dam and the last bridge.
_OUTER = {
    "L": ((529900, 3405500), (531300, 3405900), (532700, 3404900), (533600, 3402700), (534000, 3400100), (535000, 3397300),
          (536900, 3394500), (539000, 3391600), (540500, 3389000), (540500, 3387200), (539300, 3385700)),
    "R": ((523400, 3402900), (522600, 3401300), (522300, 3398900), (522700, 3396300), (524100, 3393900), (526300, 3391900),
          (528400, 3389900), (530500, 3387700), (532700, 3386300), (535600, 3385000)),
}  # fmt: skip


@dataclass(frozen=True)
class Bank:
    """One bank's strip and its map from u, v to EPSG:4546."""

    side: str
    start_m: float
    end_m: float
    bridge_m: tuple[float, ...]
    inner: Floats
    outward: Floats
    outer: Floats
    warp: tuple[Field, Field, Field, Field]

    def place(self, u: Floats, v: Floats) -> Floats:
        """Coordinates (n, 2) of points given in u, v."""
        at = np.linspace(0.0, 1.0, len(self.inner))
        near = np.column_stack([np.interp(u, at, self.inner[:, k]) for k in (0, 1)])
        out = np.column_stack([np.interp(u, at, self.outward[:, k]) for k in (0, 1)])
        far = np.column_stack([np.interp(u, at, self.outer[:, k]) for k in (0, 1)])
        strip = near + out * np.interp(v, [0.0, STRIP], [_STRIP_WATER_M, _STRIP_LAND_M])[:, None]
        edge = near + out * _STRIP_LAND_M
        share = np.clip((v - STRIP) / (1.0 - STRIP), 0.0, 1.0)[:, None]
        point = np.where((v <= STRIP)[:, None], strip, edge + (far - edge) * share)
        calm = (
            np.clip((v - STRIP) / 0.08, 0, 1)
            * np.clip((1.0 - v) / 0.08, 0, 1)
            * np.clip(u / 0.06, 0, 1)
            * np.clip((1.0 - u) / 0.03, 0, 1)
        )
        x, y = point[:, 0], point[:, 1]
        dx = 170.0 * self.warp[0](x, y) + 14.0 * self.warp[2](x, y)
        dy = 170.0 * self.warp[1](x, y) + 14.0 * self.warp[3](x, y)
        return point + np.column_stack([dx, dy]) * calm[:, None]

    def u_at(self, chainage_m: float) -> float:
        """U of a chainage."""
        return (chainage_m - self.start_m) / (self.end_m - self.start_m)


@dataclass(frozen=True)
class Cuts:
    """Streets as cut lines in u, v: ``rank`` 0 main road, 1 second, 2 collector, 3 lane; 5 is the ring."""

    u0: Floats
    v0: Floats
    u1: Floats
    v1: Floats
    rank: NDArray[np.int64]


@dataclass(frozen=True)
class Leaves:
    """Blocks as rectangles in u, v with what was asked there."""

    u0: Floats
    u1: Floats
    v0: Floats
    v1: Floats
    quarter: NDArray[np.int64]
    is_front: NDArray[np.bool_]
    is_steep: NDArray[np.bool_]


def draw_bank(river: River, side: str, rng: np.random.Generator) -> Bank:
    """The strip of one bank between the dam and the last bridge."""
    start = float(shapely.line_locate_point(river.axis, shapely.Point(DAM_CHAINAGE_HINT)))
    end = float(shapely.line_locate_point(river.axis, shapely.Point(BRIDGES[-1][2])))
    bridges = tuple(float(shapely.line_locate_point(river.axis, shapely.Point(item[2]))) for item in BRIDGES)
    i, j = river.index_at(start), river.index_at(end)
    line = shapely.get_coordinates(river.left if side == "L" else river.right)
    inner = gaussian_filter1d(line, 5.0, axis=0, mode="nearest")[i : j + 1]
    axis = gaussian_filter1d(shapely.get_coordinates(river.axis), 16.0, axis=0)[i : j + 1]
    direction = np.gradient(axis, axis=0)
    direction /= np.hypot(direction[:, 0], direction[:, 1])[:, None]
    turn = 1.0 if side == "L" else -1.0
    outward = np.column_stack([-direction[:, 1], direction[:, 0]]) * turn
    ring = rounded(np.array(_OUTER[side], dtype=np.float64), 4)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(ring, axis=0).T))])
    at = np.linspace(0.0, along[-1], len(inner))
    outer = np.column_stack([np.interp(at, along, ring[:, k]) for k in (0, 1)])
    warp = (Field(1700.0, rng), Field(1700.0, rng), Field(420.0, rng), Field(420.0, rng))
    return Bank(side, start, end, bridges, inner, outward, outer, warp)


def _sizes(bank: Bank, u0: Floats, u1: Floats, v0: Floats, v1: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean width along u, mean depth along v, and centre of rectangles."""
    n = len(u0)
    corners = bank.place(np.concatenate([u0, u1, u1, u0]), np.concatenate([v0, v0, v1, v1])).reshape(4, n, 2)
    a, b, c, d = corners
    width = 0.5 * (np.hypot(*(b - a).T) + np.hypot(*(c - d).T))
    depth = 0.5 * (np.hypot(*(d - a).T) + np.hypot(*(c - b).T))
    return width, depth, corners.mean(axis=0)


def subdivide(bank: Bank, dem: Dem, rng: np.random.Generator) -> tuple[Leaves, Cuts]:
    """Cut a bank into blocks."""
    stations = [bank.u_at(bank.bridge_m[i]) for i, item in enumerate(BRIDGES) if item[3] == "road"]
    breaks = np.array([0.0, *stations, 1.0])
    cut_parts: list[tuple[Floats, Floats, Floats, Floats, NDArray[np.int64]]] = []

    def cut(u0: Any, v0: Any, u1: Any, v1: Any, rank: Any) -> None:
        arrays = np.broadcast_arrays(
            *(np.atleast_1d(np.asarray(a, dtype=np.float64)) for a in (u0, v0, u1, v1)), np.atleast_1d(rank)
        )
        cut_parts.append((arrays[0], arrays[1], arrays[2], arrays[3], arrays[4].astype(np.int64)))

    cut(0.0, STRIP, 1.0, STRIP, 0)
    cut(breaks[1:-1], 0.0, breaks[1:-1], 1.0, 0)
    cut([0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0], 5)
    slabs = len(breaks) - 1
    u0, u1 = np.tile(breaks[:-1], 2), np.tile(breaks[1:], 2)
    v0, v1 = np.repeat([0.0, STRIP], slabs), np.repeat([STRIP, 1.0], slabs)
    front = np.repeat([True, False], slabs)
    quarter = np.full(2 * slabs, -1)
    next_quarter = 0
    done: list[tuple[Any, ...]] = []
    while len(u0):
        width, depth, centre = _sizes(bank, u0, u1, v0, v1)
        area = width * depth
        dense = density(centre[:, 0], centre[:, 1])
        reach = np.clip(np.sqrt(area) / 4, 40.0, 200.0)
        slope = np.array([dem.slope_deg(centre[:, 0], centre[:, 1], reach_m=float(r)) for r in (60.0, 200.0)])
        steep = np.where(reach > 120, slope[1], slope[0]) > 8.5
        target = np.where(steep, 130_000.0, 8_600.0 * dense**-1.12) * rng.uniform(0.7, 2.1, len(u0))
        target = np.where(front, 24_000.0, target)
        quarter_size = np.where(steep, 400_000.0, 62_000.0 * dense**-0.8)
        fresh = (quarter < 0) & ((area < quarter_size) | front & (width < 1500.0))
        quarter[fresh] = next_quarter + np.arange(fresh.sum())
        next_quarter += int(fresh.sum())
        split = (area > target) & (np.maximum(width, depth) > 95.0) & ~(front & (width < 250.0))
        leaf = ~split
        fresh_leaf = leaf & (quarter < 0)
        quarter[fresh_leaf] = next_quarter + np.arange(fresh_leaf.sum())
        next_quarter += int(fresh_leaf.sum())
        done.append((u0[leaf], u1[leaf], v0[leaf], v1[leaf], quarter[leaf], front[leaf], steep[leaf]))
        u0, u1, v0, v1, quarter, front = (a[split] for a in (u0, u1, v0, v1, quarter, front))
        area, width, depth = area[split], width[split], depth[split]
        across = (width > depth * rng.uniform(0.75, 1.3, len(u0))) | front
        share = rng.uniform(0.36, 0.64, len(u0))
        at_u, at_v = u0 + (u1 - u0) * share, v0 + (v1 - v0) * share
        rank = np.select([area > 1.6e6, area > 4.0e5, quarter < 0], [0, 1, 2], 3)
        cut(np.where(across, at_u, u0), np.where(across, v0, at_v), np.where(across, at_u, u1), np.where(across, v1, at_v),
            np.where(front, 3, rank))  # fmt: skip
        u0, u1, v0, v1, quarter, front = (
            np.concatenate([u0, np.where(across, at_u, u0)]), np.concatenate([np.where(across, at_u, u1), u1]),
            np.concatenate([v0, np.where(across, v0, at_v)]), np.concatenate([np.where(across, v1, at_v), v1]),
            np.tile(quarter, 2), np.tile(front, 2),
        )  # fmt: skip
    leaves = Leaves(*(np.concatenate([part[k] for part in done]) for k in range(7)))
    return leaves, Cuts(*(np.concatenate([part[k] for part in cut_parts]) for k in range(5)))


def curves(bank: Bank, u0: Floats, v0: Floats, u1: Floats, v1: Floats, *, spacing_m: float) -> NDArray[np.object_]:
    """Lines of EPSG:4546 for straight lines in u, v, with a vertex at least every ``spacing_m``."""
    ends = bank.place(np.concatenate([u0, u1]), np.concatenate([v0, v1]))
    n = len(u0)
    pieces = np.maximum(1, np.ceil(np.hypot(*(ends[:n] - ends[n:]).T) / spacing_m).astype(int))
    index = np.repeat(np.arange(n), pieces + 1)
    first = np.cumsum(pieces + 1) - (pieces + 1)
    t = (np.arange(len(index)) - first[index]) / pieces[index]
    # Written so that t = 1 gives exactly the end: shared ends of neighbours must be equal to the bit.
    u = np.where(t == 1.0, u1[index], u0[index] + (u1 - u0)[index] * t)
    v = np.where(t == 1.0, v1[index], v0[index] + (v1 - v0)[index] * t)
    return np.asarray(shapely.linestrings(np.round(bank.place(u, v), 3), indices=index), dtype=object)


def noded_edges(bank: Bank, cuts: Cuts) -> NDArray[np.object_]:
    """The network of one bank as lines that meet only at their ends, EPSG:4546."""
    flat = shapely.linestrings(
        np.stack([np.column_stack([cuts.u0, cuts.v0]), np.column_stack([cuts.u1, cuts.v1])], axis=1)
    )
    parts = shapely.get_parts(shapely.union_all(flat))
    ends = shapely.get_coordinates(parts).reshape(-1, 2, 2)
    return curves(bank, ends[:, 0, 0], ends[:, 0, 1], ends[:, 1, 0], ends[:, 1, 1], spacing_m=45.0)
