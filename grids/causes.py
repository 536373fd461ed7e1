"""Why places are not seen, in the words of the layers' fields."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from gis.cameras import CameraTable
from gis.coverage_explain import Cause, explain
from gis.visibility_surface import Surface

__all__ = ["CAUSE_CODES", "Reasons", "main_cause", "why"]

#: Values of the field ``cause`` by the engine's causes; None where the place is seen.
CAUSE_CODES: dict[int, str | None] = {
    Cause.SEEN: None,
    Cause.NO_CAMERA: "no_camera",
    Cause.WRONG_ANGLE: "wrong_angle",
    Cause.TERRAIN: "terrain",
    Cause.BUILDING: "building",
    Cause.BLIND_ZONE: "blind_zone",
    Cause.DENSITY: "low_density",
    Cause.DIRECTION_UNKNOWN: "direction_unknown",
    Cause.STATUS_UNKNOWN: "status_unknown",
    Cause.OFFLINE: "offline",
    Cause.GROUND_UNKNOWN: "ground_unknown",
}


@dataclass(frozen=True)
class Reasons:
    """For n groups of places: the cause of most of them, and their share; None and NaN for a group that is seen or empty."""

    cause: npt.NDArray[np.object_]
    share: npt.NDArray[np.float64]


def why(cameras: CameraTable, surface: Surface, points: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Causes (`Cause`) for which points (shapely, analysis system) are not confirmed by an online camera."""
    if len(points) == 0:
        return np.empty(0, dtype=np.uint8)
    return explain(cameras, surface, shapely.get_x(points), shapely.get_y(points)).cause


def main_cause(causes: npt.NDArray[np.uint8], group: npt.NDArray[np.int64], *, groups: int) -> Reasons:
    """The commonest cause in each group of places; seen places do not count."""
    unseen = causes != Cause.SEEN
    table = np.zeros((groups, len(Cause)), dtype=np.int64)
    np.add.at(table, (group[unseen], causes[unseen]), 1)
    total = table.sum(axis=1)
    best = table.argmax(axis=1)
    share = np.divide(table.max(axis=1), total, out=np.full(groups, np.nan), where=total > 0)
    names = np.array(
        [CAUSE_CODES[int(cause)] if n else None for cause, n in zip(best, total, strict=True)], dtype=object
    )
    return Reasons(names, share)
