"""Where a camera could be put up: poles, corners of buildings, and new poles along roads and the bank where there is none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely
from scipy.spatial import cKDTree

from gis.cameras import CameraTable, prepare
from gis.coverage_sampling import line_steps
from gis.settings import CameraType
from grids.proposals_places import inside

__all__ = ["ORIENTATIONS", "Candidates", "Mounts", "candidates", "mounts", "thin"]

Floats = npt.NDArray[np.float64]

ORIENTATIONS = 8
#: New poles along roads stand this far apart, and only where no pole is as near as ``_POLE_NEAR_M``.
ROAD_STEP_M = 25.0
BANK_STEP_M = 50.0
_POLE_NEAR_M = 25.0
_ROAD_SIDE_M = 5.0
_OFF_WALL_M = 1.5
_SQUARE_M = 50.0
#: Mounts near a place of a target that are looked at in any case; the very nearest may have it in the blind zone.
_NEAREST = 12


@dataclass(frozen=True)
class Mounts:
    """n places for a camera. ``layer`` and ``id`` name the pole or building there, None for a new pole."""

    x: Floats
    y: Floats
    kind: npt.NDArray[np.object_]
    layer: npt.NDArray[np.object_]
    id: npt.NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: npt.NDArray[Any]) -> "Mounts":
        """The mounts at ``index``, in that order."""
        return Mounts(self.x[index], self.y[index], self.kind[index], self.layer[index], self.id[index])


@dataclass(frozen=True)
class Candidates:
    """Cameras that might be put up: ``table`` row by row with the mount, type and cost of each.

    ``cost`` in the unit of the types given; ``ptz_type`` and ``res_w_px`` as in layer ``camera_site``.
    """

    table: CameraTable
    mount: npt.NDArray[np.int64]
    type: npt.NDArray[np.object_]
    azimuth_deg: Floats
    cost: Floats
    ptz_type: npt.NDArray[np.int64]
    res_w_px: npt.NDArray[np.int64]


def mounts(
    *,
    poles: gpd.GeoDataFrame,
    buildings: gpd.GeoDataFrame,
    roads: gpd.GeoDataFrame,
    banks: gpd.GeoDataFrame,
    cells: npt.NDArray[Any],
    unseen_xy: Floats,
    reach_m: float,
) -> Mounts:
    """All mounts from which an unseen place may be seen.

    Parameters
    ----------
    poles : GeoDataFrame of points with ``id``, ``kind``; buildings of polygons with ``id``; roads and banks of lines
    cells : array of polygons
        New poles along roads stand in them only.
    unseen_xy : float array (m, 2)
        The places that nobody sees.
    reach_m : float
        How far the farthest type sees.
    """
    if len(unseen_xy) == 0:
        return _join([])
    tree = cKDTree(unseen_xy)
    known = _near(_poles(poles), tree, reach_m)
    footprints = buildings.geometry.to_numpy()
    groups = [known]
    if len(buildings):
        groups.append(_free(_near(_corners(buildings), tree, min(reach_m, 40.0)), footprints))
    new = [_along(roads, ROAD_STEP_M, side_m=_ROAD_SIDE_M), _along(banks, BANK_STEP_M, side_m=0.0)]
    new[0] = new[0].take(inside(cells, new[0].x, new[0].y))
    fresh = _free(_near(_join(new), tree, reach_m), footprints)
    if len(known) and len(fresh):
        distance, _ = cKDTree(np.column_stack([known.x, known.y])).query(np.column_stack([fresh.x, fresh.y]))
        fresh = fresh.take(distance > _POLE_NEAR_M)
    return _join([*groups, fresh])


def _join(groups: list[Mounts]) -> Mounts:
    kept = [group for group in groups if len(group)]
    if not kept:
        nothing = np.empty(0, dtype=object)
        return Mounts(np.empty(0), np.empty(0), nothing, nothing, nothing)
    names = ("x", "y", "kind", "layer", "id")
    return Mounts(*[np.concatenate([getattr(group, name) for group in kept]) for name in names])


def _objects(n: int, value: Any) -> npt.NDArray[np.object_]:
    out = np.empty(n, dtype=object)
    out[:] = value
    return out


def _poles(poles: gpd.GeoDataFrame) -> Mounts:
    places = poles.geometry.to_numpy()
    kind = np.where((poles["kind"] == "shared").to_numpy(dtype=bool), "shared_pole", "pole").astype(object)
    return Mounts(
        shapely.get_x(places),
        shapely.get_y(places),
        kind,
        _objects(len(poles), "pole"),
        poles["id"].to_numpy(dtype=object),
    )


def _corners(buildings: gpd.GeoDataFrame) -> Mounts:
    """A little off the corners of the outlines, where an arm on the wall would hold the camera."""
    parts, owner = shapely.get_parts(buildings.geometry.to_numpy(), return_index=True)
    rings = shapely.get_exterior_ring(shapely.simplify(parts, 1.0))
    middle = shapely.get_coordinates(shapely.centroid(parts))
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    last = np.append(ring[1:] != ring[:-1], True)  # a ring ends where it began
    xy, ring = xy[~last], ring[~last]
    out = xy - middle[ring]
    size = np.hypot(out[:, 0], out[:, 1])
    xy = xy + out / np.maximum(size, 1e-9)[:, None] * _OFF_WALL_M
    ids = buildings["id"].to_numpy(dtype=object)[owner[ring]]
    return Mounts(xy[:, 0], xy[:, 1], _objects(len(xy), "wall"), _objects(len(xy), "building"), ids)


def _along(lines: gpd.GeoDataFrame, step_m: float, *, side_m: float) -> Mounts:
    """Places for new poles at steps along lines, ``side_m`` to the right of them."""
    shapes = lines.geometry.to_numpy()
    x, y, owner, _ = line_steps(shapes, step_m=step_m)
    if side_m and len(x):
        middle = shapely.points(x, y)
        at = shapely.line_locate_point(shapes[owner], middle)
        ahead = shapely.get_coordinates(shapely.line_interpolate_point(shapes[owner], at + 0.5))
        behind = shapely.get_coordinates(shapely.line_interpolate_point(shapes[owner], np.maximum(at - 0.5, 0.0)))
        along = ahead - behind
        along /= np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)[:, None]
        x, y = x + along[:, 1] * side_m, y - along[:, 0] * side_m
    return Mounts(x, y, _objects(len(x), "pole"), _objects(len(x), None), _objects(len(x), None))


def _near(group: Mounts, tree: cKDTree, distance_m: float) -> Mounts:
    if len(group) == 0:
        return group
    distance, _ = tree.query(np.column_stack([group.x, group.y]), distance_upper_bound=distance_m)
    return group.take(np.isfinite(distance))


def _free(group: Mounts, footprints: npt.NDArray[Any]) -> Mounts:
    return group.take(~inside(footprints, group.x, group.y))


def thin(
    group: Mounts, unseen_xy: Floats, weight: Floats, *, reach_m: float, at_most: int, first_xy: Floats | None = None
) -> Mounts:
    """The mounts with most unseen weight in range, spread over the area.

    The nth best of a square of 50 m counts 1/n of what it could see, so that neighbours of the same promise do not crowd out the rest.
    Of the places ``first_xy`` (those of targets) the nearest mounts come before all others, as long as they are no more than half.
    """
    if len(group) <= at_most:
        return group
    tree = cKDTree(unseen_xy)
    xy = np.column_stack([group.x, group.y])
    promise = np.zeros(len(group))
    for start in range(0, len(group), 5000):
        found = tree.query_ball_point(xy[start : start + 5000], reach_m)
        promise[start : start + 5000] = [weight[places].sum() for places in found]
    square = np.floor(xy / _SQUARE_M).astype(np.int64)
    order = np.lexsort((-promise, square[:, 1], square[:, 0]))
    first = np.append(True, (np.diff(square[order], axis=0) != 0).any(axis=1))
    start_of = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    nth = np.empty(len(order), dtype=np.int64)
    nth[order] = np.arange(len(order)) - start_of
    score = promise / (1.0 + nth)
    if first_xy is not None and len(first_xy):
        distance, nearest = cKDTree(xy).query(first_xy, k=min(_NEAREST, len(group)), distance_upper_bound=reach_m)
        urgent = np.unique(nearest[np.isfinite(distance)])
        urgent = urgent[np.argsort(-score[urgent], kind="stable")][: at_most // 2]
        score[urgent] += score.max() + 1.0
    return group.take(np.sort(np.argsort(-score, kind="stable")[:at_most]))


def candidates(
    group: Mounts,
    types: Mapping[str, CameraType],
    *,
    densities_px_m: tuple[float, ...],
    range_max_m: float,
    crs: Any,
    orientations: int = ORIENTATIONS,
) -> Candidates:
    """Every mount with every type of camera in every direction; a type that sees all round in one."""
    rows = []
    for nth, kind in enumerate(types.values()):
        turns = np.array([0.0]) if kind.hfov_deg >= 360 else np.arange(orientations) * 360.0 / orientations
        mount = np.repeat(np.arange(len(group)), len(turns))
        rows.append((mount, np.tile(turns, len(group)), np.full(len(mount), nth)))
    mount = np.concatenate([row[0] for row in rows])
    azimuth = np.concatenate([row[1] for row in rows])
    number = np.concatenate([row[2] for row in rows])
    kinds = list(types.values())
    columns: dict[str, Any] = {
        name: np.array([float(getattr(kind, name)) for kind in kinds])[number]
        for name in (
            "hfov_deg",
            "vfov_deg",
            "res_w_px",
            "view_dist_m",
            "mount_height_m",
            "tilt_deg",
            "ptz_type",
        )
    }
    n = len(mount)
    table = prepare(
        {
            "id": [str(i) for i in range(n)],
            "x": group.x[mount],
            "y": group.y[mount],
            "azimuth_deg": azimuth,
            "net_status": np.full(n, "on"),
            **columns,
        },
        densities_px_m=densities_px_m,
        crs=crs,
        range_max_m=range_max_m,
    )
    kept = np.array([int(name) for name in table.id], dtype=np.int64)
    names = np.array(list(types), dtype=object)
    of = number[kept]
    return Candidates(
        table,
        mount[kept],
        names[of],
        azimuth[kept],
        np.array([float(kind.cost) for kind in kinds])[of],
        np.array([kind.ptz_type for kind in kinds], dtype=np.int64)[of],
        np.array([kind.res_w_px for kind in kinds], dtype=np.int64)[of],
    )
