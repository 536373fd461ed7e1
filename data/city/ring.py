"""Where roads cross the ring: the guarded crossings of the layout."""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from data.city.frame import rng_for
from data.city.plan import Plan

__all__ = ["RingCrossings", "find_crossings"]


@dataclass(frozen=True)
class RingCrossings:
    """Crossings, direction of the road there, its row in the network, and which stay without a camera on purpose."""

    xy: NDArray[np.float64]
    heading_deg: NDArray[np.float64]
    road: NDArray[np.int64]
    bare: NDArray[np.int64]


def find_crossings(plan: Plan) -> RingCrossings:
    """Points where a road leads from inside the ring to outside."""
    edge = shapely.boundary(plan.cells.ring)
    lines = plan.network.lines
    index = np.flatnonzero(shapely.crosses(lines, plan.cells.ring) & (plan.network.name_zh != "环城路"))
    xy: list[NDArray[np.float64]] = []
    road: list[int] = []
    heading: list[float] = []
    for k in index:
        for point in shapely.get_parts(shapely.intersection(lines[k], edge)):
            if point.geom_type != "Point":
                point = shapely.centroid(point)
            at = float(shapely.line_locate_point(lines[k], point))
            a, b = shapely.get_coordinates(shapely.line_interpolate_point(lines[k], [max(at - 4.0, 0.0), at + 4.0]))
            here = shapely.get_coordinates(point)[0]
            if all(np.hypot(*(here - p)) > 15.0 for p in xy):
                xy.append(here)
                road.append(int(k))
                heading.append(float(np.degrees(np.arctan2(*(b - a))) % 360.0))
    bare = rng_for(plan.seed, "bare crossings").choice(len(xy), 3, replace=False)
    return RingCrossings(np.array(xy), np.array(heading), np.array(road), np.sort(bare))
