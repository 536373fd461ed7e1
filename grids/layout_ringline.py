"""The ring from the built-up blocks: one closed, simple line along the edges of grid cells, which follow the streets.

Built up is what the degree of urbanisation calls dense: 1,500 inhabitants per km² around a place, gaps filled (Eurostat, applied by the
UN Statistical Commission since 2020). Narrow necks and notches are taken off, so that the line is short.
"""

from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree
from shapely.geometry.base import BaseGeometry

from gis.errors import InputError
from gis.partition_blocks import blocks_from_lines, borders
from grids.layout import LayoutData, containers_of

__all__ = ["along_roads", "draw_ring"]

_DENSE_KM2 = 1500.0
#: Density is of what lies this near; across a river this wide the city goes on; necks narrower than twice this are cut.
_AROUND_M, _CLOSE_M, _NECK_M = 500.0, 700.0, 100.0
_ROUNDS = 8


def draw_ring(data: LayoutData, *, weight: str) -> BaseGeometry:
    """A polygon whose edge is the ring, in the system of the cells.

    Raises
    ------
    InputError
        There are no grid cells, or nothing is dense.
    """
    if not len(data.cells):
        raise InputError("There are no grid cells to draw from.", zh="没有可用于划分的网格单元。")
    crs = data.cells.crs
    cells = data.cells.geometry.to_numpy()
    whole = shapely.buffer(shapely.union_all(shapely.buffer(cells, 0.5)), -0.5)
    cut = blocks_from_lines(gpd.GeoSeries([whole], crs=crs), [gpd.GeoSeries(shapely.boundary(cells), crs=crs)])
    blocks = cut.blocks.geometry.to_numpy()
    home = containers_of(cells, blocks)
    given = pd.to_numeric(data.cells[weight], errors="coerce").fillna(0).to_numpy(float)
    load = np.bincount(home[home >= 0], weights=given[home >= 0], minlength=len(blocks))
    chosen = _dense(blocks, load, heads=float(given.sum()) / max(len(cells), 1))
    if not chosen.any():
        raise InputError(
            f"Nowhere live {_DENSE_KM2:,.0f} people per km²; a ring cannot be drawn.",
            zh=f"没有任何地方达到每平方公里 {_DENSE_KM2:,.0f} 人，无法划定环线。",
        )
    middle = shapely.point_on_surface(blocks)
    near = borders(blocks)
    length = np.bincount(near.pairs.ravel(), weights=np.repeat(near.border_m, 2), minlength=len(blocks))
    for _ in range(_ROUNDS):
        before = chosen.copy()
        chosen = _smooth(near.pairs, near.border_m, length, chosen)
        shape = shapely.union_all(blocks[_heavy(near.pairs, chosen, load)])
        shape = shapely.buffer(shapely.buffer(shape, _CLOSE_M), -_CLOSE_M)
        shape = shapely.buffer(shapely.buffer(_filled(shape), -_NECK_M), _NECK_M)
        chosen = _largest(near.pairs, shapely.contains_xy(_biggest(shape), shapely.get_coordinates(middle)))
        if (chosen == before).all():
            break
    return _filled(shapely.union_all(blocks[_largest(near.pairs, chosen)]))


def _dense(blocks: Any, load: NDArray[np.float64], *, heads: float) -> NDArray[np.bool_]:
    if heads <= 0:
        return np.zeros(len(blocks), np.bool_)
    xy = shapely.get_coordinates(shapely.point_on_surface(blocks))
    area = shapely.area(blocks)
    near = cKDTree(xy).query_ball_point(xy, _AROUND_M)
    people = np.array([load[k].sum() for k in near])
    ground = np.array([area[k].sum() for k in near])
    dense: NDArray[np.bool_] = people / np.maximum(ground, 1.0) * 1e6 >= _DENSE_KM2
    return dense


def _smooth(pairs: Any, border: Any, length: Any, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Blocks with most of their edge inside come in, with little of it there go out."""
    inside = np.bincount(pairs[:, 0], weights=border * chosen[pairs[:, 1]], minlength=len(chosen))
    inside += np.bincount(pairs[:, 1], weights=border * chosen[pairs[:, 0]], minlength=len(chosen))
    share = inside / np.maximum(length, 1e-9)
    found: NDArray[np.bool_] = np.where(share > 0.65, True, np.where(share < 0.3, False, chosen))
    return found


def _largest(pairs: Any, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The connected piece of most blocks."""
    if not chosen.any():
        return chosen
    kept = pairs[chosen[pairs].all(axis=1)]
    matrix = sparse.coo_array((np.ones(len(kept)), (kept[:, 0], kept[:, 1])), shape=(len(chosen), len(chosen)))
    label = csgraph.connected_components(matrix, directed=False)[1]
    found: NDArray[np.bool_] = chosen & (label == np.argmax(np.bincount(label[chosen])))
    return found


def _heavy(pairs: Any, chosen: NDArray[np.bool_], load: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The connected pieces with a twentieth of the weight and more: the banks of a river, not every village."""
    kept = pairs[chosen[pairs].all(axis=1)]
    matrix = sparse.coo_array((np.ones(len(kept)), (kept[:, 0], kept[:, 1])), shape=(len(chosen), len(chosen)))
    label = csgraph.connected_components(matrix, directed=False)[1]
    weight = np.bincount(label, weights=load * chosen)
    found: NDArray[np.bool_] = chosen & (weight[label] >= 0.05 * weight.sum())
    return found if found.any() else _largest(pairs, chosen)


def _biggest(shape: BaseGeometry) -> BaseGeometry:
    parts = shapely.get_parts(shape)
    return parts[int(np.argmax(shapely.area(parts)))] if len(parts) else shape


def _filled(shape: BaseGeometry) -> BaseGeometry:
    """The largest polygon without its holes."""
    return shapely.Polygon(shapely.get_exterior_ring(_biggest(shape)))


def along_roads(ring: BaseGeometry, roads: Any, *, within_m: float = 15.0) -> float:
    """Share of the ring's length that has a road this near."""
    edge = shapely.boundary(ring)
    near = roads[shapely.dwithin(roads, edge, within_m)]
    if not len(near):
        return 0.0
    return float(
        shapely.length(shapely.intersection(edge, shapely.union_all(shapely.buffer(near, within_m))))
        / shapely.length(edge)
    )
