"""Buildings in rows inside blocks, off the streets, railways and banks."""

from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from data.city.cells import Cells
from data.city.density import density
from data.city.frame import register, rng_for
from data.city.locate import Locator
from data.city.towns import Town
from data.city.transport import Network

__all__ = ["Buildings", "building_layer", "draw_buildings"]

Floats = NDArray[np.float64]

#: use → kind of building, front length, depth, gap along, gap across (metres; each times a random factor a block).
_FORM: dict[str, tuple[str, float, float, float, float]] = {
    "residential": ("residential", 42.0, 13.0, 11.0, 20.0),
    "commercial": ("commercial", 40.0, 26.0, 14.0, 18.0),
    "industrial": ("industrial", 75.0, 32.0, 22.0, 26.0),
    "public": ("public", 48.0, 17.0, 22.0, 28.0),
    "farmland": ("residential", 14.0, 10.0, 60.0, 70.0),
    "school": ("school", 52.0, 15.0, 24.0, 34.0),
    "medical": ("medical", 55.0, 18.0, 18.0, 24.0),
}

#: Control zones beside highways (Road Regulation art. 11) and a little more; streets of the city have none.
_CONTROL_M = {"expressway": 33.0, "national": 23.0, "provincial": 18.0, "county": 13.0}


@dataclass(frozen=True)
class Buildings:
    """Footprints of EPSG:4546 and what is known of them; ``block`` is the cell, −1 in other towns."""

    polygons: NDArray[np.object_]
    kind: NDArray[np.object_]
    levels: NDArray[np.int64]
    height_m: Floats
    block: NDArray[np.int64]
    households: NDArray[np.int64]


def _frames(blocks: NDArray[np.object_]) -> tuple[Floats, Floats, Floats, Floats]:
    """Origin, unit vectors along and across, and size of each block's smallest rectangle."""
    boxes = shapely.oriented_envelope(blocks)
    corners = shapely.get_coordinates(boxes).reshape(-1, 5, 2)
    a, b = corners[:, 1] - corners[:, 0], corners[:, 3] - corners[:, 0]
    la, lb = np.hypot(*a.T), np.hypot(*b.T)
    # Rows run as near to east-west as the block allows: homes look south.
    swap = np.abs(a[:, 0]) / la < np.abs(b[:, 0]) / lb
    along, across = np.where(swap[:, None], b, a), np.where(swap[:, None], a, b)
    size = np.column_stack([np.where(swap, lb, la), np.where(swap, la, lb)])
    return corners[:, 0], along / size[:, :1], across / size[:, 1:], size


def _rectangles(
    blocks: NDArray[np.object_], use: NDArray[np.object_], dense: Floats, fineness: float, rng: np.random.Generator
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:  # fmt: skip
    """Candidate footprints in rows over each block's rectangle and the block each belongs to."""
    origin, along, across, size = _frames(blocks)
    form = np.array([_FORM[u][1:] for u in use])
    n = len(blocks)
    low = (use == "residential") & (dense < 0.22)  # villages at the edge: houses, not slabs
    form[low] = (15.0, 11.0, 9.0, 16.0)
    form = form * rng.uniform(0.85, 1.3, (n, 4))
    form[:, :2] *= np.minimum(1.0, (size / 60.0)) * 0.25 + 0.75
    # The denser a place, the closer its buildings; and small blocks want small ones.
    closeness = fineness * np.interp(dense, [0.1, 0.4, 1.0], [1.3, 0.9, 0.52])
    form *= np.column_stack([closeness, np.sqrt(closeness), closeness, closeness])
    step_x, step_y = form[:, 0] + form[:, 2], form[:, 1] + form[:, 3]
    nx = np.maximum(1, np.floor((size[:, 0] - 8.0) / step_x)).astype(int)
    ny = np.maximum(1, np.floor((size[:, 1] - 8.0) / step_y)).astype(int)
    count = nx * ny
    block = np.repeat(np.arange(n), count)
    k = np.arange(len(block)) - np.repeat(np.cumsum(count) - count, count)
    i, j = k % nx[block], k // nx[block]
    cx = (i + 0.5) / nx[block] * size[block, 0] + rng.uniform(-2.0, 2.0, len(block))
    cy = (j + 0.5) / ny[block] * size[block, 1] + rng.uniform(-1.5, 1.5, len(block))
    half_x = 0.5 * form[block, 0] * rng.uniform(0.72, 1.0, len(block))
    half_y = 0.5 * form[block, 1] * rng.uniform(0.85, 1.0, len(block))
    centre = origin[block] + along[block] * cx[:, None] + across[block] * cy[:, None]
    dx, dy = along[block] * half_x[:, None], across[block] * half_y[:, None]
    ring = np.stack([centre - dx - dy, centre + dx - dy, centre + dx + dy, centre - dx + dy], axis=1)
    # A fifth of the larger ones are L-shaped.
    cut = 0.45
    notch = np.stack([ring[:, 0], ring[:, 1], ring[:, 1] + 2 * cut * dy, centre + dx * (2 * cut - 1) * -0.2 + dy * (2 * cut - 1),
                      centre + dx * (2 * cut - 1) * -0.2 + dy, ring[:, 3]], axis=1)  # fmt: skip
    is_l = (rng.random(len(block)) < 0.2) & (half_y > 6.0)
    shapes = np.empty(len(block), dtype=object)
    shapes[~is_l] = shapely.polygons(ring[~is_l].round(3))
    shapes[is_l] = shapely.polygons(notch[is_l].round(3))
    return shapes, block


def draw_buildings(
    cells: Cells, use: NDArray[np.object_], households: NDArray[np.int64], network: Network, towns: tuple[Town, ...],
    waters: NDArray[np.object_], *, target: int, farms: int, seed: int
) -> Buildings:  # fmt: skip
    """Fill blocks with buildings, about ``target`` of them.

    Parameters
    ----------
    use : array of str
        Land use of each cell, with ``school`` and ``medical`` where there is a campus.
    waters : array of geometries
        River and brooks, which houses outside the city keep off; inside it blocks do.
    target : int
        Wanted number; what does not fit into blocks is left out.
    farms : int
        How many of them are houses along the roads outside the city.
    """
    rng = rng_for(seed, "buildings")
    built = np.flatnonzero(np.isin(use, list(_FORM)) & (cells.area_m2 > 1500.0))
    town_blocks = np.concatenate([t.blocks for t in towns])
    blocks = np.concatenate([cells.polygons[built], town_blocks])
    centre = shapely.get_coordinates(shapely.centroid(blocks))
    dense = density(centre[:, 0], centre[:, 1])
    dense[len(built) :] = 0.35
    uses = np.concatenate(
        [use[built], np.where(rng.random(len(town_blocks)) < 0.2, "commercial", "residential").astype(object)]
    )
    inner = shapely.buffer(blocks, -8.0, join_style="mitre")
    good = shapely.area(inner) > 300.0
    blocks, inner, uses, dense = blocks[good], inner[good], uses[good], dense[good]
    source = np.concatenate([built, np.full(len(town_blocks), -1)])[good]
    fineness = 1.0 if target - farms < 60_000 else 0.33
    shapes, block = _rectangles(blocks, uses, dense, fineness, rng)
    shapely.prepare(inner)
    keep = shapely.covers(inner[block], shapes)
    shapes, block = shapes[keep], block[keep]
    keep = ~_hit(shapes, network)
    shapes, block = shapes[keep], block[keep]
    if len(shapes) > target - farms:
        chosen = np.sort(rng.permutation(len(shapes))[: target - farms])
        shapes, block = shapes[chosen], block[chosen]
    rural = _farmhouses(cells, network, waters, farms, rng)
    shapes = np.concatenate([shapes, rural])
    used = np.concatenate([uses[block], np.full(len(rural), "farmland", dtype=object)])
    levels = _levels(used, np.concatenate([dense[block], np.full(len(rural), 0.1)]), rng)
    storey = np.select([used == "industrial", used == "commercial"], [4.8, 3.9], 3.0)
    kind = np.array([_FORM[u][0] for u in used], dtype=object)
    source = np.concatenate([source[block], np.full(len(rural), -1)])
    share = shapely.area(shapes) * levels * (kind == "residential")
    inside = source >= 0
    total = np.bincount(source[inside], weights=share[inside], minlength=len(households))
    people = np.zeros(len(shapes), dtype=np.int64)
    some = inside & (share > 0)
    people[some] = np.round(households[source[some]] * share[some] / total[source[some]]).astype(np.int64)
    people[~inside] = np.round(share[~inside] / 110.0).astype(np.int64)
    return Buildings(
        shapes, kind, levels, np.round(levels * storey + rng.uniform(0.0, 1.5, len(levels)), 1), source, people
    )


def _farmhouses(
    cells: Cells, network: Network, waters: NDArray[np.object_], count: int, rng: np.random.Generator
) -> NDArray[np.object_]:
    """Single houses in clusters along the roads outside the ring."""
    open_road = ~np.isin(network.grade, ("urban", "expressway")) & ~network.bridge
    lines = network.lines[open_road]
    length = shapely.length(lines)
    hamlets = max(8, count // 15)
    which = rng.choice(len(lines), hamlets, p=length / length.sum())
    at = rng.uniform(0.02, 0.98, hamlets) * length[which]
    number = rng.integers(8, 40, hamlets)
    index = np.repeat(np.arange(hamlets), number)
    along = at[index] + rng.normal(0.0, 220.0, len(index))
    foot = shapely.get_coordinates(
        shapely.line_interpolate_point(lines[which[index]], np.clip(along, 0, length[which[index]]))
    )
    ahead = shapely.get_coordinates(
        shapely.line_interpolate_point(lines[which[index]], np.clip(along + 20.0, 0, length[which[index]]))
    )
    along_xy = ahead - foot
    norm = np.hypot(*along_xy.T)
    foot, along_xy, norm = foot[norm > 1.0], along_xy[norm > 1.0], norm[norm > 1.0]
    along_xy /= norm[:, None]
    across = np.column_stack([-along_xy[:, 1], along_xy[:, 0]]) * rng.choice([-1.0, 1.0], len(foot))[:, None]
    centre = foot + across * (22.0 + rng.integers(1, 6, len(foot)) * 22.0 + rng.uniform(0.0, 8.0, len(foot)))[:, None]
    dx, dy = along_xy * rng.uniform(5.0, 8.5, len(foot))[:, None], across * rng.uniform(4.0, 6.0, len(foot))[:, None]
    shapes: Any = shapely.polygons(
        np.stack([centre - dx - dy, centre + dx - dy, centre + dx + dy, centre - dx + dy], axis=1).round(3)
    )
    shapes = shapes[~_hit(shapes, network) & ~shapely.contains_xy(shapely.buffer(cells.ring, 40.0), centre)]
    wet = shapely.STRtree(shapes).query(waters, predicate="dwithin", distance=30.0)
    shapes = np.delete(shapes, np.unique(wet[1]))
    # Houses of neighbouring hamlets may fall on each other: the first stays.
    pair = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    clash = np.unique(pair[1][pair[1] > pair[0]])
    shapes = np.delete(shapes, clash)
    return np.asarray(shapes[:count], dtype=object)


def _hit(shapes: NDArray[np.object_], network: Network) -> NDArray[np.bool_]:
    """Footprints that would stand on a wide street, a road outside the grid, a railway or a bridge."""
    wide = (network.width_m >= 18.0) | (network.grade != "urban") | (network.speed_kmh > 30)
    lines = np.concatenate([network.lines[wide], network.rails])
    keep_off = np.array([_CONTROL_M.get(g, 3.0) for g in network.grade[wide]])
    distance = np.concatenate([network.width_m[wide] / 2 + keep_off, np.full(len(network.rails), 26.0)])
    # Piece by piece: the box of a long line holds half the city.
    xy, owner = shapely.get_coordinates(lines, return_index=True)
    joined = owner[1:] == owner[:-1]
    pieces = shapely.linestrings(np.stack([xy[:-1][joined], xy[1:][joined]], axis=1))
    distance = distance[owner[:-1][joined]]
    tree = shapely.STRtree(shapes)
    hit = tree.query(pieces, predicate="dwithin", distance=distance)
    out = np.zeros(len(shapes), dtype=bool)
    out[hit[1]] = True
    return out


def _levels(use: NDArray[np.object_], dense: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    n = len(use)
    tall = rng.random(n)
    home = np.where(
        tall < 0.10 + 0.35 * dense,
        rng.integers(11, 34, n),
        np.where(dense < 0.22, rng.integers(1, 4, n), rng.integers(4, 8, n)),
    )
    shop = np.where(tall < 0.15 + 0.35 * dense, rng.integers(9, 32, n), rng.integers(2, 7, n))
    hall = np.where(tall < 0.8, 2, rng.integers(2, 5, n))
    public = rng.integers(3, 8, n)
    low = rng.integers(1, 3, n)
    levels = np.select(
        [use == "residential", use == "commercial", use == "industrial", use == "farmland"],
        [home, shop, hall, low],
        public,
    )
    return np.asarray(levels, dtype=np.int64)


def building_layer(buildings: Buildings, locator: Locator, *, seed: int) -> gpd.GeoDataFrame:
    """Layer ``building``."""
    rng = rng_for(seed, "building heights")
    n = len(buildings.polygons)
    centre = shapely.get_coordinates(shapely.centroid(buildings.polygons))
    return register(
        "building", shapely.multipolygons(buildings.polygons, indices=np.arange(n)),
        {"admin_code": locator.admin_code(centre[:, 0], centre[:, 1]), "building_kind": buildings.kind, "height_m": buildings.height_m,
         "min_height_m": 0.0, "levels": buildings.levels, "height_assumed": rng.random(n) < 0.15, "household_count": buildings.households},
        seed=seed,
    )  # fmt: skip
