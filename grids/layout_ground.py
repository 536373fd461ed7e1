"""The ground that a layout is drawn on: blocks of grid cells, their weights and borders, walls, bridges, water."""

from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph
from shapely.geometry.base import BaseGeometry

from gis.errors import DataError
from gis.partition_blocks import Borders, blocks_from_lines, borders
from gis.partition_graph import UnitGraph, unit_graph
from grids.layout import LayoutData, containers_of

__all__ = ["Ground", "Lines", "loosened", "read_ground", "spread_over", "water_way"]

type Ints = NDArray[np.int64]

#: What a metre of boundary costs along a main road, railway or water, and between communities; 1 elsewhere.
_COST_ALONG, _COST_COMMUNITY = 0.5, 0.75
_NEAR_M = 15.0
#: Blocks that share less border than this meet at a corner: they are no neighbours.
_CONTACT_M = 1.0
#: A piece of land with less than this share of the weight is an island that is not divided.
_ISLAND_SHARE = 0.005
#: How far from the end of a bridge the block may be that it leads to.
_BRIDGE_END_M = 60.0
#: Half the width of the strip of water that goes with a bridge over water wider than so much.
_DECK_M, _WIDE_M = 15.0, 150.0


@dataclass(frozen=True)
class Lines:
    """What bounds and bars: main roads, railways and banks (``along``), axes of the main river, wide water."""

    along: Any
    river: Any
    water: Any


@dataclass(frozen=True)
class Ground:
    """Blocks that tile the inside of a ring.

    Attributes
    ----------
    blocks : array of Polygon
    graph : UnitGraph
        Of all blocks; the river is a wall in it.
    land : array of int
        Blocks that are divided; the rest hangs on them.
    side : array of int, shape (blocks,)
        Piece of land of each block of ``land``, -1 elsewhere; walls part them.
    links : array of int, shape (n, 2)
        Blocks of two pieces joined by a bridge.
    """

    blocks: Any
    graph: UnitGraph
    land: Ints
    side: Ints
    links: Ints


def read_ground(data: LayoutData, ring: BaseGeometry, lines: Lines, *, weight: str, further: Any = ()) -> Ground:
    """Cut the inside of a ring into blocks along the grid cells.

    Parameters
    ----------
    further : array of geometry
        More lines to cut along: edges of what may not move.
    """
    crs = data.cells.crs
    cuts = [gpd.GeoSeries(shapely.boundary(data.cells.geometry.to_numpy()), crs=crs)]
    extra = np.concatenate([np.asarray(further, dtype=object), _decks(data, lines.water)])
    if len(extra):
        cuts.append(gpd.GeoSeries(extra, crs=crs))
    blocks = blocks_from_lines(gpd.GeoSeries([ring], crs=crs), cuts).blocks.geometry.to_numpy()
    return _ground(data, ring, lines, blocks, weight)


def _decks(data: LayoutData, water: Any) -> Any:
    """Lines along both sides of each long bridge: the water below is a block of its own, so that a zone on both banks can have it."""
    if not len(water):
        return np.zeros(0, object)
    bridges = _bridge_lines(data, ())
    over = shapely.length(shapely.intersection(bridges, shapely.union_all(water))) > _WIDE_M
    return np.concatenate([shapely.offset_curve(bridges[over], side) for side in (-_DECK_M, _DECK_M)])


def _ground(data: LayoutData, ring: BaseGeometry, lines: Lines, blocks: Any, weight: str) -> Ground:
    load, community = _loads(blocks, data, weight)
    near = borders(blocks)
    touch = near.border_m >= _CONTACT_M
    near = Borders(near.pairs[touch], near.border_m[touch], near.lines[touch])
    graph = unit_graph(
        load, near.pairs, border_m=near.border_m, cost=near.border_m * _factor(near, lines.along, community),
        walls=_walls(near.pairs, blocks, ring, lines.river), xy=shapely.get_coordinates(shapely.point_on_surface(blocks)),
    )  # fmt: skip
    land = _land(graph, blocks, lines.water)
    inside = graph.part_of(land)
    side = np.full(graph.n, -1, np.int64)
    side[land] = _pieces(inside.n, inside.pairs[~inside.wall])
    return Ground(blocks, graph, land, side, _bridges(data, blocks, side, lines.water))


def _loads(blocks: Any, data: LayoutData, weight: str) -> tuple[Any, Ints]:
    """Weight of each block, and the community it lies in: a cell counts where a point inside it lies."""
    home = containers_of(data.cells.geometry.to_numpy(), blocks)
    given = pd.to_numeric(data.cells[weight], errors="coerce").fillna(0).to_numpy(float)
    load = np.bincount(home[home >= 0], weights=given[home >= 0], minlength=len(blocks))
    return load, containers_of(blocks, data.communities.geometry.to_numpy())


def _factor(near: Any, along: Any, community: Ints) -> NDArray[np.float64]:
    factor = np.where(community[near.pairs[:, 0]] != community[near.pairs[:, 1]], _COST_COMMUNITY, 1.0)
    if len(along):
        middle = shapely.point_on_surface(near.lines)
        hit = np.unique(shapely.STRtree(along).query(middle, predicate="dwithin", distance=_NEAR_M)[0])
        factor[hit] = _COST_ALONG
    return factor


def _walls(pairs: Ints, blocks: Any, ring: BaseGeometry, river: Any) -> NDArray[np.bool_]:
    """Pairs on different sides of the river's axis."""
    if not len(river):
        return np.zeros(len(pairs), np.bool_)
    cut = shapely.node(shapely.union_all([shapely.boundary(ring), *river]))
    faces = shapely.get_parts(shapely.polygonize(shapely.get_parts(cut)))
    side = containers_of(blocks, faces[shapely.contains(ring, shapely.point_on_surface(faces))])
    walls: NDArray[np.bool_] = (side[pairs[:, 0]] != side[pairs[:, 1]]) & (side[pairs] >= 0).all(axis=1)
    return walls


def _pieces(count: int, pairs: Ints) -> Ints:
    matrix = sparse.coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    label: Ints = csgraph.connected_components(matrix, directed=False)[1].astype(np.int64)
    return label


def _land(graph: UnitGraph, blocks: Any, water: Any) -> Ints:
    """Blocks that are divided: not those in the water, nor islands with hardly anybody on them; all hang on their neighbours."""
    wet = np.zeros(graph.n, np.bool_)
    if len(water):
        wet[np.unique(shapely.STRtree(water).query(shapely.point_on_surface(blocks), predicate="within")[0])] = True
    piece = _pieces(graph.n, graph.pairs[~graph.wall & ~wet[graph.pairs].any(axis=1)])
    load = np.bincount(piece, weights=graph.weight)
    land: Ints = np.flatnonzero(~wet & (load[piece] > _ISLAND_SHARE * graph.weight.sum()))
    return land if len(land) else np.arange(graph.n)


def _bridge_lines(data: LayoutData, water: Any) -> Any:
    """Bridges of roads, each in one piece, from water's edge to water's edge where water is known."""
    if not len(data.roads):
        return np.zeros(0, object)
    lines = data.roads.geometry.to_numpy()[data.roads["bridge"].fillna(False).to_numpy(dtype=bool)]
    if not len(lines):
        return np.zeros(0, object)
    whole = shapely.line_merge(shapely.union_all(shapely.force_2d(lines)))
    if len(water):
        whole = shapely.line_merge(shapely.intersection(whole, shapely.union_all(water)))
    parts = shapely.get_parts(whole)
    return parts[shapely.get_dimensions(parts) == 1]


def _bridges(data: LayoutData, blocks: Any, side: Ints, water: Any) -> Ints:
    """Pairs of blocks on different pieces of land that a bridge leads from and to."""
    whole = _bridge_lines(data, water)
    if not len(whole) or side.max(initial=-1) < 1:
        return np.zeros((0, 2), np.int64)
    ends = np.stack([shapely.get_point(whole, 0), shapely.get_point(whole, -1)], axis=1)
    land = np.flatnonzero(side >= 0)
    at, which = shapely.STRtree(blocks[land]).query_nearest(ends.ravel(), max_distance=_BRIDGE_END_M, all_matches=False)
    home = np.full(len(ends) * 2, -1, np.int64)
    home[at] = land[which]
    pairs = home.reshape(-1, 2)
    pairs = pairs[(pairs >= 0).all(axis=1)]
    found: Ints = np.unique(np.sort(pairs[side[pairs[:, 0]] != side[pairs[:, 1]]], axis=1), axis=0)
    return found


def spread_over(ground: Ground, part: Ints, joined: list[tuple[int, int]]) -> Ints:
    """Parts of all blocks, given those of ``land`` in its order.

    Where a part lies on two sides (``joined``: pairs of its blocks at both ends of a bridge), the water between goes to it, as few blocks as
    can be. The rest joins, one after another, the part it shares the longest border with; over walls last.
    """
    graph = ground.graph
    label = np.full(graph.n, -1, np.int64)
    label[ground.land] = part
    for a, b in joined:
        water_way(graph, label, a, b)
    _spread(graph, label)
    for _ in range(3):  # what is cut off on the map goes to a neighbour
        if not loosened(graph, label):
            break
        _spread(graph, label)
    return label


def loosened(graph: UnitGraph, label: Ints) -> bool:
    """Take from each part the pieces that do not hang with its heaviest on the map; says whether there were any."""
    piece = _pieces(graph.n, graph.pairs[label[graph.pairs[:, 0]] == label[graph.pairs[:, 1]]])
    load = np.bincount(piece, weights=graph.weight + 1e-6)
    first = np.unique(piece, return_index=True)[1]
    owner = label[first]
    main = np.zeros(len(load), np.bool_)
    order = np.lexsort((-load, owner))
    main[order[np.concatenate([[True], owner[order][1:] != owner[order][:-1]])]] = True
    loose = ~main[piece]
    label[loose] = -1
    return bool(loose.any())


def _spread(graph: UnitGraph, label: Ints) -> None:
    both = np.concatenate([graph.pairs, graph.pairs[:, ::-1]])
    border, wall = np.tile(graph.border_m, 2), np.tile(graph.wall, 2)
    while (label < 0).any():
        edge = (label[both[:, 0]] < 0) & (label[both[:, 1]] >= 0)
        open_edge = edge & ~wall
        at = np.flatnonzero(open_edge if open_edge.any() else edge)
        if not len(at):
            raise DataError("The inside of the ring falls into pieces.", zh="环内区域不连通。")
        frame = pd.DataFrame({"block": both[at, 0], "part": label[both[at, 1]], "border": border[at]})
        longest = (
            frame.groupby(["block", "part"])["border"].sum().reset_index().sort_values("border").groupby("block").last()
        )
        label[longest.index.to_numpy()] = longest["part"].to_numpy()


def water_way(graph: UnitGraph, label: Ints, a: int, b: int, *, among: NDArray[np.bool_] | None = None) -> None:
    """Give the part of ``a`` and ``b`` the blocks without a part on the shortest way between its pieces, where there is one."""
    mine = int(label[a])
    usable = (label < 0) | (label == mine)
    if among is not None:
        usable &= among
    pairs = graph.pairs[usable[graph.pairs].all(axis=1)]
    step = np.where((label[pairs] < 0).any(axis=1), 1.0, 1e-6)
    matrix = sparse.coo_array((step, (pairs[:, 0], pairs[:, 1])), shape=(graph.n, graph.n)).tocsr()
    before = csgraph.dijkstra(matrix, directed=False, indices=a, return_predecessors=True)[1]
    at = b
    while at >= 0 and at != a:
        if label[at] < 0:
            label[at] = mine
        at = int(before[at])
