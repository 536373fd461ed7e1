"""Roads as a graph: lines noded where they meet, but not where one passes over the other.

Lines of one level (OpenStreetMap's ``layer``: 0 ground, 1 bridge, -1 tunnel) are joined wherever they cross or touch.
Lines of different levels are joined only where one of them ends at a vertex of the other, as a ramp does.
"""

from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely
from scipy import sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree

from gis.errors import CRSMismatch, InputError

__all__ = ["RoadGraph", "clustered", "road_graph", "split_lines"]

type FloatArray = npt.NDArray[np.float64]
type IntArray = npt.NDArray[np.int64]
type Geometries = npt.NDArray[np.object_]


@dataclass(frozen=True)
class RoadGraph:
    """Nodes and edges of a road network.

    Attributes
    ----------
    xy : array, shape (n, 2)
        Nodes, metres.
    ends : array of int, shape (e, 2)
        Nodes at both ends of each edge.
    lines : array of LineString, shape (e,)
        Course of each edge.
    road : array of int, shape (e,)
        Row of the road that the edge is a piece of.
    """

    xy: FloatArray
    ends: IntArray
    lines: Geometries
    road: IntArray

    def pieces(self) -> IntArray:
        """Number of the connected piece of the network that each node is in."""
        count = len(self.xy)
        matrix = sparse.coo_array((np.ones(len(self.ends)), (self.ends[:, 0], self.ends[:, 1])), shape=(count, count))
        label: IntArray = csgraph.connected_components(matrix, directed=False)[1].astype(np.int64)
        return label


def clustered(points: FloatArray, tolerance_m: float) -> tuple[IntArray, FloatArray]:
    """Number of each point, the same within ``tolerance_m`` of each other, and one position for each number."""
    unique, number = np.unique(points, axis=0, return_inverse=True)
    number = number.ravel()
    close = cKDTree(unique).query_pairs(tolerance_m, output_type="ndarray") if len(unique) else np.zeros((0, 2), int)
    if len(close):
        links = sparse.coo_array((np.ones(len(close)), (close[:, 0], close[:, 1])), shape=(len(unique), len(unique)))
        count, group = csgraph.connected_components(links, directed=False)
        first = np.full(count, len(unique))
        np.minimum.at(first, group, np.arange(len(unique)))
        return group[number].astype(np.int64), unique[first]
    return number.astype(np.int64), unique


def split_lines(
    lines: Geometries, line: IntArray, at_m: FloatArray, *, tolerance_m: float
) -> tuple[Geometries, IntArray]:
    """Cut lines at distances from their start; returns the pieces in order and the line each is a piece of.

    Cuts within ``tolerance_m`` of an end or of each other count once.
    """
    coords, owner = shapely.get_coordinates(lines, return_index=True)
    step = np.concatenate([[0.0], np.hypot(*np.diff(coords, axis=0).T)]) if len(coords) else np.zeros(0)
    starts = np.concatenate([[True], owner[1:] != owner[:-1]]) if len(owner) else np.zeros(0, bool)
    step[starts] = 0.0
    along = np.cumsum(step)
    along -= along[starts][np.cumsum(starts) - 1]
    length = shapely.length(lines)
    order = np.lexsort((at_m, line))
    line, at_m = line[order], at_m[order]
    inner = (at_m > tolerance_m) & (at_m < length[line] - tolerance_m)
    line, at_m = line[inner], at_m[inner]
    if len(line):
        fresh = np.concatenate([[True], (line[1:] != line[:-1]) | (at_m[1:] - at_m[:-1] > tolerance_m)])
        line, at_m = line[fresh], at_m[fresh]
    added = (
        shapely.get_coordinates(shapely.line_interpolate_point(lines[line], at_m)) if len(line) else np.zeros((0, 2))
    )
    number = np.concatenate([owner, line])
    measure = np.concatenate([along, at_m])
    is_cut = np.concatenate([np.zeros(len(owner), bool), np.ones(len(line), bool)])
    xy = np.concatenate([coords, added])
    order = np.lexsort((is_cut, measure, number))
    number, xy, is_cut = number[order], xy[order], is_cut[order]
    # a cut vertex stands twice: last of one piece and first of the next
    twice = np.repeat(np.arange(len(number)), np.where(is_cut, 2, 1))
    second = np.concatenate([[False], twice[1:] == twice[:-1]]) if len(twice) else np.zeros(0, bool)
    number, xy = number[twice], xy[twice]
    new_line = np.concatenate([[True], number[1:] != number[:-1]]) if len(number) else np.zeros(0, bool)
    piece = np.cumsum(new_line | second) - 1
    made = shapely.linestrings(xy, indices=piece) if len(xy) else np.zeros(0, object)
    return np.asarray(made, object), number[new_line | second].astype(np.int64)


def _cuts(lines: Geometries, level: IntArray, tolerance_m: float) -> tuple[IntArray, FloatArray, IntArray, FloatArray]:
    """Where to cut: lines and distances; and joins across levels: pairs of levels with their places."""
    tree = shapely.STRtree(lines)
    a, b = tree.query(lines, predicate="intersects")
    once = (a < b) & (level[a] == level[b])
    a, b = a[once], b[once]
    meet = shapely.intersection(lines[a], lines[b])
    parts, pair = shapely.get_parts(meet, return_index=True)
    flat = shapely.get_dimensions(parts) == 0
    stretch, end_pair = shapely.get_parts(shapely.boundary(parts[~flat]), return_index=True)
    points = np.concatenate([parts[flat], stretch])
    pair = np.concatenate([pair[flat], pair[~flat][end_pair]])
    line = [a[pair], b[pair]]
    where = [shapely.line_locate_point(lines[side], points) for side in line]
    ends = np.concatenate([shapely.get_point(lines, 0), shapely.get_point(lines, -1)])
    tip_line = np.tile(np.arange(len(lines)), 2)
    tip, near = tree.query(ends, predicate="dwithin", distance=tolerance_m)
    keep = (tip_line[tip] != near) & (level[tip_line[tip]] == level[near])
    line.append(near[keep])
    where.append(shapely.line_locate_point(lines[near[keep]], ends[tip[keep]]))
    tips = shapely.get_coordinates(ends)
    coords, owner = shapely.get_coordinates(lines, return_index=True)
    found = cKDTree(tips).query_ball_tree(cKDTree(coords), tolerance_m)
    tip = np.repeat(np.arange(len(tips)), [len(row) for row in found])
    vertex = np.concatenate([np.asarray(row, np.int64) for row in found]) if len(tip) else np.zeros(0, np.int64)
    cross = level[tip_line[tip]] != level[owner[vertex]]
    tip, vertex = tip[cross], vertex[cross]
    line.append(owner[vertex])
    where.append(shapely.line_locate_point(lines[owner[vertex]], shapely.points(tips[tip])))
    joins = np.stack([level[tip_line[tip]], level[owner[vertex]]], axis=1)
    return np.concatenate(line).astype(np.int64), np.concatenate(where), joins, tips[tip]


def road_graph(
    roads: gpd.GeoDataFrame | gpd.GeoSeries, *, level: npt.ArrayLike | None = None, tolerance_m: float = 0.05
) -> RoadGraph:
    """Make a graph of road lines.

    Parameters
    ----------
    roads : GeoDataFrame or GeoSeries of LineString or MultiLineString
        In a projected system; empty rows are passed over.
    level : array of int, shape (n,), optional
        Level of each road; a column ``layer`` is used where there is one, else all are on the ground. Missing: ground.
    tolerance_m : float
        Ends this near to each other or to a line are joined to it.

    Raises
    ------
    CRSMismatch
        The system is missing or geographic.
    InputError
        Geometries that are not lines, or a level for each road is not given.
    """
    if roads.crs is None or roads.crs.is_geographic:
        raise CRSMismatch("A road graph needs a projected system, in metres.", zh="道路图须采用投影坐标系（米）。")
    shapes = np.asarray(roads.geometry.to_numpy(), object)
    if level is None and isinstance(roads, gpd.GeoDataFrame) and "layer" in roads:
        level = roads["layer"].to_numpy()
    given = np.zeros(len(shapes)) if level is None else np.asarray(level, dtype=float)
    if given.shape != (len(shapes),):
        raise InputError("One level for each road is needed.", zh="每条道路须有一个层级。")
    levels = np.nan_to_num(given, nan=0.0).astype(np.int64)
    rows = np.flatnonzero(~(shapely.is_missing(shapes) | shapely.is_empty(shapes)))
    parts, at = shapely.get_parts(shapes[rows], return_index=True)
    if len(parts) and (shapely.get_dimensions(parts) != 1).any():
        raise InputError("Roads must be lines.", zh="道路须为线。")
    road = rows[at]
    parts = shapely.remove_repeated_points(parts)
    whole = shapely.length(parts) > tolerance_m
    parts, road = parts[whole], road[whole]
    crossed = ~shapely.is_simple(parts)
    if crossed.any():
        noded, index = shapely.get_parts(shapely.node(parts[crossed]), return_index=True)
        road = np.concatenate([road[~crossed], road[crossed][index]])
        parts = np.concatenate([parts[~crossed], noded])
    if not len(parts):
        return RoadGraph(np.zeros((0, 2)), np.zeros((0, 2), np.int64), np.zeros(0, object), np.zeros(0, np.int64))
    line, where, joins, join_xy = _cuts(parts, levels[road], tolerance_m)
    pieces, owner = split_lines(parts, line, where, tolerance_m=tolerance_m)
    tips = shapely.get_coordinates(
        np.stack([shapely.get_point(pieces, 0), shapely.get_point(pieces, -1)], axis=1).ravel()
    )
    spot, positions = clustered(np.concatenate([tips, join_xy]), tolerance_m)
    ladder, rank = np.unique(levels[road], return_inverse=True)
    key = spot[: len(tips)] * len(ladder) + np.repeat(rank[owner], 2)
    joined = spot[len(tips) :, None] * len(ladder) + np.searchsorted(ladder, joins)
    size = len(positions) * len(ladder)
    links = sparse.coo_array((np.ones(len(joined)), (joined[:, 0], joined[:, 1])), shape=(size, size))
    group = csgraph.connected_components(links, directed=False)[1][key]
    used, node = np.unique(group, return_inverse=True)
    xy = np.zeros((len(used), 2))
    xy[node] = positions[spot[: len(tips)]]
    return RoadGraph(xy, node.reshape(-1, 2).astype(np.int64), pieces, road[owner])
