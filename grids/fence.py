"""The fence line of railways: what has to be watched is the edge where someone could get in, not the track."""

from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

__all__ = ["fence_lines"]

#: What lies this much inside the strip of another track is between tracks, and no fence.
_WITHIN_M = 0.1


def fence_lines(railways: gpd.GeoDataFrame, *, distance_m: float) -> gpd.GeoDataFrame:
    """Both edges of each railway as lines, in the place of its axis.

    Parameters
    ----------
    railways : GeoDataFrame of lines in a system in metres
        With ``half_width_m``, the registered distance from axis to edge; where it is missing, ``distance_m`` counts.
    distance_m : float
        ``railway_fence_m`` of the city file.

    Returns
    -------
    GeoDataFrame
        The same rows; the geometry is a MultiLineString, empty where a track runs between others.
    """
    axes = railways.geometry.to_numpy()
    if len(axes) == 0:
        return railways
    known = pd.to_numeric(railways["half_width_m"]).to_numpy(dtype=float)
    half = np.where(known > 0, known, distance_m)
    inside = shapely.buffer(axes, half - _WITHIN_M)
    tree = shapely.STRtree(inside)
    edges = np.empty(len(axes), dtype=object)
    for row, (axis, width) in enumerate(zip(axes, half, strict=True)):
        sides = _sides(axis, float(width))
        others = [k for k in tree.query(sides, predicate="intersects") if k != row]
        if others:
            sides = shapely.difference(sides, shapely.union_all(inside[others]))
        edges[row] = _lines(sides)
    return railways.set_geometry(gpd.GeoSeries(edges, index=railways.index, crs=railways.crs, name="geom"))


def _sides(axis: Any, width: float) -> Any:
    """Left and right of each part of an axis, without what a bend would bring nearer to the axis than ``width``."""
    drawn: list[npt.NDArray[Any]] = []
    for part in shapely.get_parts(axis):
        if part.length > 0:
            drawn.append(shapely.get_parts(shapely.offset_curve([part, part], [width, -width], join_style="round")))
    return shapely.multilinestrings(_flat(drawn)) if drawn else shapely.MultiLineString()


def _flat(groups: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    parts = shapely.get_parts(np.concatenate(groups))
    return np.asarray(parts[(shapely.get_type_id(parts) == 1) & (shapely.length(parts) > 0)], dtype=object)


def _lines(shape: Any) -> Any:
    """Only the lines of a shape, joined where they meet."""
    parts = shapely.get_parts(shape)
    return shapely.multilinestrings(parts[(shapely.get_type_id(parts) == 1) & (shapely.length(parts) > 1e-6)])
