"""What new cameras should see: crossings, school entrances, outfalls, steps along roads and along the bank, each with its weight."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely

from gis.coverage_sampling import line_steps
from gis.errors import InputError
from grids.roads import road_crossings

__all__ = ["KINDS", "Places", "demand_places", "inside"]

Floats = npt.NDArray[np.float64]

#: Kinds of places, as in ``coverage_gap.target_kind``, and the weight of the city file that each has.
KINDS = {
    "school_entrance": "entrance",
    "outfall": "outfall",
    "crossing": "crossing",
    "riverbank": "riverbank",
    "road": "road",
}
#: Places along roads and the bank stand this far apart, each for its metres; farther where there would be too many.
STEP_M = 10.0
PLACES_MAX = 400_000


@dataclass(frozen=True)
class Places:
    """n places in metres of the analysis system; ``kind`` is a number in ``kinds``, ``step_m`` how far apart those along lines are."""

    x: Floats
    y: Floats
    weight: Floats
    kind: npt.NDArray[np.int64]
    kinds: tuple[str, ...]
    step_m: float

    def __len__(self) -> int:
        return len(self.x)

    def of_kind(self, kind: str) -> npt.NDArray[np.int64]:
        """Numbers of the places of a kind."""
        return np.flatnonzero(self.kind == self.kinds.index(kind))


def inside(areas: npt.NDArray[Any], x: Floats, y: Floats) -> npt.NDArray[np.bool_]:
    """Which of many points lie in any of the polygons."""
    found = np.zeros(len(x), dtype=np.bool_)
    if len(areas) and len(x):
        found[shapely.STRtree(areas).query(shapely.points(x, y), predicate="intersects")[0]] = True
    return found


def demand_places(
    *,
    roads: gpd.GeoDataFrame,
    banks: gpd.GeoDataFrame,
    outfalls: gpd.GeoDataFrame,
    schools: gpd.GeoDataFrame,
    cells: npt.NDArray[Any],
    weights: Mapping[str, float],
    kinds: Sequence[str] = (),
    within: npt.NDArray[Any] | None = None,
    step_m: float = STEP_M,
) -> Places:
    """Collect the places.

    Parameters
    ----------
    roads, banks, outfalls, schools : GeoDataFrame in the analysis system
        Roads as for `grids.roads.road_crossings`, schools with ``entrances``.
    cells : array of polygons
        The grid; roads and crossings outside it are no need of the city.
    weights : mapping
        The city file's ``gap_weights``: per place, per metre of road and bank. What it does not name is worth nothing and left out.
    kinds : sequence of str
        Only these of `KINDS`; all without.
    within : array of polygons, optional
        Only places in these.

    Raises
    ------
    InputError
        There is no such kind.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(
                f"There is no kind of place {kind!r}; there are {', '.join(KINDS)}.",
                zh=f"没有对象类型 {kind!r}，可选 {'、'.join(KINDS)}。",
            )
    wanted = tuple(kind for kind in KINDS if (not kinds or kind in kinds) and weights.get(KINDS[kind], 0.0) > 0)
    open_roads = roads[~roads["tunnel"].fillna(False).astype(bool)] if len(roads) else roads
    length = sum(
        float(shapely.length(frame.geometry.to_numpy()).sum())
        for kind, frame in (("road", open_roads), ("riverbank", banks))
        if kind in wanted
    )
    step_m = max(step_m, length / PLACES_MAX)
    parts: list[tuple[Floats, Floats, Floats]] = []
    for kind in wanted:
        worth = float(weights[KINDS[kind]])
        if kind in ("road", "riverbank"):
            frame = open_roads if kind == "road" else banks
            x, y, _, metres = line_steps(frame.geometry.to_numpy(), step_m=step_m)
            weight = metres * worth
        else:
            points = _points(kind, roads, outfalls, schools)
            x, y = shapely.get_x(points), shapely.get_y(points)
            weight = np.full(len(points), worth)
        keep = np.ones(len(x), dtype=np.bool_)
        if kind in ("road", "crossing"):
            keep &= inside(cells, x, y)
        if within is not None:
            keep &= inside(within, x, y)
        parts.append((x[keep], y[keep], weight[keep]))
    number = (
        np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts]) if parts else np.empty(0, dtype=np.int64)
    )
    columns = [np.concatenate([part[i] for part in parts]) if parts else np.empty(0) for i in range(3)]
    return Places(columns[0], columns[1], columns[2], number.astype(np.int64), wanted, step_m)


def _points(
    kind: str, roads: gpd.GeoDataFrame, outfalls: gpd.GeoDataFrame, schools: gpd.GeoDataFrame
) -> npt.NDArray[Any]:
    if kind == "crossing":
        return road_crossings(roads) if len(roads) else np.array([], dtype=object)
    if kind == "outfall":
        return np.asarray(outfalls.geometry.to_numpy(), dtype=object)
    return np.asarray(shapely.get_parts(schools["entrances"].to_numpy()), dtype=object)
