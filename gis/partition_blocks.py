"""Street blocks from the lines that bound them, and who borders whom.

Roads, rivers, railways and administrative borders are noded with the edge of an area and polygonised; what comes out
tiles the area. Slivers (dual carriageways, roundabouts, ramps) are merged into the neighbour they share most border
with.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely
from scipy import sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree
from shapely.geometry.base import BaseGeometry

from gis.errors import CRSMismatch, InvalidGeometry

__all__ = ["BlockSet", "Borders", "blocks_from_lines", "borders"]

type FloatArray = npt.NDArray[np.float64]
type IntArray = npt.NDArray[np.int64]
type Geometries = npt.NDArray[np.object_]


@dataclass(frozen=True)
class Borders:
    """Neighbours and the length of what they share.

    Attributes
    ----------
    pairs : array of int, shape (e, 2)
        Neighbours, smaller number first.
    border_m : array, shape (e,)
        Length in units of the coordinates (metres in a projected system).
    lines : array of geometry, shape (e,)
        The common border.
    """

    pairs: IntArray
    border_m: FloatArray
    lines: Geometries


@dataclass(frozen=True)
class BlockSet:
    """Blocks that tile an area.

    Attributes
    ----------
    blocks : GeoDataFrame
        Polygons in the CRS of the area.
    merged : int
        Slivers that were merged into a neighbour.
    dangling_m : float
        Length of lines that bound nothing (dead ends).
    """

    blocks: gpd.GeoDataFrame
    merged: int
    dangling_m: float


def borders(polygons: Sequence[BaseGeometry] | Geometries, *, tolerance_m: float = 0.01) -> Borders:
    """Find the neighbours among polygons that tile an area and the border each two share.

    Vertices of one polygon on the edge of another (T-junctions) do not matter: edges are cut at every vertex that lies
    within ``tolerance_m`` of them before they are compared.

    Parameters
    ----------
    polygons : sequence of polygon
        In a projected system.
    tolerance_m : float
        Distance within which vertices and edges are the same.

    Notes
    -----
    Polygons that meet in single points are not neighbours.
    """
    shapes = np.asarray(polygons, dtype=object)
    empty = Borders(np.zeros((0, 2), np.int64), np.zeros(0), np.zeros(0, object))
    if len(shapes) < 2:
        return empty
    corners, owner = _segments(shapes)
    vertex, points = _clusters(corners.reshape(-1, 2), tolerance_m)
    ends, owner = _cut(vertex.reshape(-1, 2), owner, points, tolerance_m)
    ends = np.sort(ends, axis=1)
    order = np.lexsort((owner, ends[:, 1], ends[:, 0]))
    ends, owner = ends[order], owner[order]
    at = np.flatnonzero((ends[1:] == ends[:-1]).all(axis=1) & (owner[1:] != owner[:-1]))
    if not len(at):
        return empty
    pairs = np.sort(np.stack([owner[at], owner[at + 1]], axis=1), axis=1)
    pieces = np.concatenate([points[ends[at, 0]], points[ends[at, 1]]], axis=1)
    length = np.hypot(pieces[:, 2] - pieces[:, 0], pieces[:, 3] - pieces[:, 1])
    keys, group = np.unique(pairs[:, 0] * len(shapes) + pairs[:, 1], return_inverse=True)
    by_group = np.argsort(group, kind="stable")
    lines = shapely.linestrings(pieces[by_group].reshape(-1, 2, 2))
    joined = shapely.line_merge(shapely.multilinestrings(lines, indices=group[by_group]))
    return Borders(
        np.stack([keys // len(shapes), keys % len(shapes)], axis=1).astype(np.int64),
        np.bincount(group, weights=length, minlength=len(keys)),
        joined,
    )


def _segments(polygons: Geometries) -> tuple[FloatArray, IntArray]:
    """Ends of all boundary segments, shape (s, 2, 2), and the number of their polygon."""
    rings, polygon = shapely.get_rings(polygons, return_index=True)
    coords, ring = shapely.get_coordinates(rings, return_index=True)
    same = ring[1:] == ring[:-1]
    return np.stack([coords[:-1][same], coords[1:][same]], axis=1), polygon[ring[:-1][same]].astype(np.int64)


def _clusters(coords: FloatArray, tolerance: float) -> tuple[IntArray, FloatArray]:
    """Number of each vertex and position of each number; vertices within the tolerance of each other have one number."""
    points, number = np.unique(coords, axis=0, return_inverse=True)
    close = cKDTree(points).query_pairs(tolerance, output_type="ndarray")
    if len(close):
        links = sparse.coo_array((np.ones(len(close)), (close[:, 0], close[:, 1])), shape=(len(points), len(points)))
        count, cluster = csgraph.connected_components(links, directed=False)
        first = np.full(count, len(points))
        np.minimum.at(first, cluster, np.arange(len(points)))
        return cluster[number.ravel()].astype(np.int64), points[first]
    return number.ravel().astype(np.int64), points


def _cut(ends: IntArray, owner: IntArray, points: FloatArray, tolerance: float) -> tuple[IntArray, IntArray]:
    """Cut segments at the vertices of others that lie on them; segments shorter than the tolerance are dropped."""
    real = ends[:, 0] != ends[:, 1]
    ends, owner = ends[real], owner[real]
    unique, back = np.unique(np.sort(ends, axis=1), axis=0, return_inverse=True)
    begin, step = points[unique[:, 0]], points[unique[:, 1]] - points[unique[:, 0]]
    lines = shapely.linestrings(np.stack([begin, points[unique[:, 1]]], axis=1))
    tree = shapely.STRtree(np.atleast_1d(np.asarray(shapely.points(points), object)))
    line, point = tree.query(lines, predicate="dwithin", distance=tolerance)
    other = (point != unique[line, 0]) & (point != unique[line, 1])
    line, point = line[other], point[other]
    share = ((points[point] - begin[line]) * step[line]).sum(axis=1) / (step[line] ** 2).sum(axis=1)
    inner = (share > 0) & (share < 1)
    line, point, share = line[inner], point[inner], share[inner]
    count = len(unique)
    number = np.concatenate([np.arange(count), line, np.arange(count)])
    where = np.concatenate([np.zeros(count), share, np.ones(count)])
    vertex = np.concatenate([unique[:, 0], point, unique[:, 1]])
    order = np.lexsort((where, number))
    number, vertex = number[order], vertex[order]
    same = number[1:] == number[:-1]
    pieces, of = np.stack([vertex[:-1][same], vertex[1:][same]], axis=1), number[:-1][same]
    first = np.searchsorted(of, np.arange(count + 1))
    size = np.diff(first)[back.ravel()]
    which = np.repeat(first[:-1][back.ravel()], size) + np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
    return pieces[which], np.repeat(owner, size)


def blocks_from_lines(
    area: gpd.GeoDataFrame | gpd.GeoSeries,
    lines: Sequence[gpd.GeoDataFrame | gpd.GeoSeries],
    *,
    sliver_area_m2: float = 200.0,
    sliver_width_m: float = 3.0,
    grid_m: float = 0.001,
) -> BlockSet:
    """Cut an area into blocks along lines.

    Parameters
    ----------
    area : GeoDataFrame or GeoSeries of polygon
        The area to cut, in a projected system.
    lines : sequence of GeoDataFrame or GeoSeries
        Roads, rivers, railways, borders; lines, or polygons whose edges count. Same CRS.
    sliver_area_m2, sliver_width_m : float
        Blocks smaller, or narrower (twice the area over half the perimeter), are merged into the neighbour of longest
        common border.
    grid_m : float
        Coordinates are rounded to this grid while lines are noded.

    Raises
    ------
    CRSMismatch
        A CRS is missing, geographic, or not that of the area.
    InvalidGeometry
        The area is empty.
    """
    crs = area.crs
    if crs is None or crs.is_geographic:
        raise CRSMismatch("Blocks are cut in a projected system, in metres.", zh="划分街区须在投影坐标系（米）中进行。")
    for layer in lines:
        if layer.crs != crs:
            raise CRSMismatch("Lines and area are in different reference systems.", zh="线与范围的坐标系不一致。")
    whole = shapely.make_valid(shapely.union_all(area.geometry.to_numpy()))
    if whole.is_empty or shapely.area(whole) <= 0:
        raise InvalidGeometry("The area to cut is empty.", zh="待划分的范围为空。")
    parts = [_edges(layer.geometry.to_numpy(), whole) for layer in lines]
    parts.append(np.array([shapely.boundary(whole)], object))
    noded = shapely.union_all(np.concatenate(parts), grid_size=grid_m)
    faces, _, dangles, _ = shapely.polygonize_full(shapely.get_parts(noded))
    cells = shapely.get_parts(faces)
    shapely.prepare(whole)
    cells = cells[shapely.contains_properly(whole, shapely.point_on_surface(cells))]
    kept, merged = _without_slivers(cells, sliver_area_m2, sliver_width_m)
    frame = gpd.GeoDataFrame(geometry=gpd.GeoSeries(kept, crs=crs))
    return BlockSet(frame, merged, float(shapely.length(dangles)))


def _edges(shapes: Geometries, whole: BaseGeometry) -> Geometries:
    shapes = shapes[~(shapely.is_missing(shapes) | shapely.is_empty(shapes))]
    flat = shapely.get_dimensions(shapes) == 2
    shapes = np.where(flat, shapely.boundary(shapes), shapes)
    shapes = shapes[shapely.intersects(shapes, whole)]
    cut: Geometries = shapely.intersection(shapes, whole)
    cut = shapely.get_parts(cut)
    cut = shapely.get_parts(cut)
    only: Geometries = cut[shapely.get_dimensions(cut) == 1]
    return only


def _without_slivers(cells: Geometries, area_m2: float, width_m: float) -> tuple[Geometries, int]:
    """Merge slivers into the neighbour of longest common border, smallest first; chains of slivers end in one block."""
    area = shapely.area(cells)
    sliver = (area < area_m2) | (4 * area / np.maximum(shapely.length(cells), 1e-9) < width_m)
    if not sliver.any() or sliver.all():
        return cells, 0
    found = borders(cells)
    near: dict[int, dict[int, float]] = {}
    for (a, b), common in zip(found.pairs.tolist(), found.border_m.tolist(), strict=True):
        near.setdefault(a, {})[b] = common
        near.setdefault(b, {})[a] = common
    root = list(range(len(cells)))

    def top(cell: int) -> int:
        while root[cell] != cell:
            root[cell] = root[root[cell]]
            cell = root[cell]
        return cell

    merged = 0
    for cell in sorted(np.flatnonzero(sliver).tolist(), key=lambda c: (float(area[c]), c)):
        shared: dict[int, float] = {}
        for other, length in near.get(cell, {}).items():
            if top(other) != top(cell):
                shared[top(other)] = shared.get(top(other), 0.0) + length * (1.0 if not sliver[other] else 0.5)
        if shared:
            root[top(cell)] = max(shared, key=lambda c: (shared[c], -c))
            merged += 1
    owner = np.array([top(c) for c in range(len(cells))])
    roots = np.unique(owner)
    order = np.argsort(owner, kind="stable")
    groups = np.split(cells[order], np.searchsorted(owner[order], roots)[1:])
    kept = np.array([group[0] if len(group) == 1 else shapely.coverage_union_all(group) for group in groups], object)
    return kept, merged
