"""Road geometry that several questions share."""

from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

__all__ = ["road_crossings"]

#: Ways on which no vehicle drives: their junctions are no crossings to be watched.
_SMALL = {"service", "track", "path", "pedestrian", "other"}


def road_crossings(roads: gpd.GeoDataFrame, *, tolerance_m: float = 0.5) -> NDArray[Any]:
    """Points where three or more arms of roads meet on one level, as an array of shapely points.

    Parameters
    ----------
    roads : GeoDataFrame
        Lines in the analysis system with ``road_class``, ``bridge``, ``tunnel``, ``osm_layer``.
    tolerance_m : float
        Ends that are nearer to each other than this are one.

    Notes
    -----
    Roads that cross without a common point are at different levels (a bridge over a road) unless both are on the ground; then
    the point of crossing counts.
    """
    used = roads[~roads["road_class"].isin(_SMALL)]
    lines = shapely.get_parts(used.geometry.to_numpy())
    if len(lines) == 0:
        return np.array([], dtype=object)
    owner = np.repeat(np.arange(len(used)), shapely.get_num_geometries(used.geometry.to_numpy()))
    level = pd.to_numeric(used["osm_layer"], errors="coerce").fillna(0).to_numpy()
    raised = used["bridge"].fillna(False).to_numpy(dtype=bool) | used["tunnel"].fillna(False).to_numpy(dtype=bool)
    level = np.where(raised & (level == 0), 1, level)[owner]
    tree = shapely.STRtree(lines)
    first, second = tree.query(lines, predicate="intersects")
    pair = (first < second) & (level[first] == level[second])
    met = shapely.get_parts(shapely.intersection(lines[first[pair]], lines[second[pair]]))
    met = met[shapely.get_type_id(met) == 0]
    if len(met) == 0:
        return np.array([], dtype=object)
    keys = np.round(np.column_stack([shapely.get_x(met), shapely.get_y(met)]) / tolerance_m).astype(np.int64)
    _, index = np.unique(keys, axis=0, return_index=True)
    candidates = met[np.sort(index)]
    # two roads that only continue each other have two arms; a line that passes through a point has two of its own
    point, line = tree.query(candidates, predicate="dwithin", distance=tolerance_m)
    ends = np.array([shapely.get_point(lines, 0), shapely.get_point(lines, -1)])
    at_end = (
        np.minimum(
            shapely.distance(ends[0][line], candidates[point]), shapely.distance(ends[1][line], candidates[point])
        )
        <= tolerance_m
    )
    arms = np.bincount(point, weights=np.where(at_end, 1, 2), minlength=len(candidates))
    found: NDArray[Any] = candidates[arms >= 3]
    return found
