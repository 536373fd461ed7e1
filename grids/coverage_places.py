"""How outfalls and schools are watched."""

from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from gis.cameras import CameraTable
from gis.coverage import PRODUCTS, CoverageResult
from gis.coverage_sampling import along_lines, by_polygons
from gis.coverage_views import seen_by
from gis.visibility_surface import Surface
from grids.watch import CONFIRMED, NONE, OFFLINE, POSSIBLE, watch_points

__all__ = ["SCHOOL_ROAD_M", "SCHOOL_ZONE_M", "outfall_watch", "school_coverage", "zones_around"]

#: Distances around a school: roads watched (GA/T 1215-2014 as reported) and the safety zone of the national guide.
SCHOOL_ROAD_M = 150.0
SCHOOL_ZONE_M = 200.0


def outfall_watch(
    result: CoverageResult,
    outfalls: gpd.GeoDataFrame,
    cameras: gpd.GeoDataFrame,
    table: CameraTable,
    surface: Surface,
) -> gpd.GeoDataFrame:
    """Rows of layer ``outfall_watch``: for each outfall, by which cameras it is seen and at what density.

    Parameters
    ----------
    outfalls : GeoDataFrame of points in the analysis system
        With ``id``, ``name_zh``, ``code_local``, ``code_national``, ``admin_code``.
    cameras : GeoDataFrame of points
        For the distance to the nearest one.
    table, surface
        What the result was computed from; of the cameras those suffice that can see an outfall.
    """
    x, y = outfalls.geometry.x.to_numpy(), outfalls.geometry.y.to_numpy()
    watch = watch_points(result, x, y)
    states = np.select(
        [watch.confirmed > 1, watch.confirmed == 1, watch.state == POSSIBLE, watch.state == OFFLINE],
        ["watched", "single", "possible", "offline"],
        "unwatched",
    )
    frame = gpd.GeoDataFrame(
        {
            "outfall_id": outfalls["id"].to_numpy(),
            "outfall_code": outfalls["code_national"].fillna(outfalls["code_local"]).to_numpy(),
            "name_zh": outfalls["name_zh"].to_numpy(),
            "admin_code": outfalls["admin_code"].to_numpy(),
            "watch_state": states,
            "cameras_confirmed": watch.confirmed,
            "cameras_possible": watch.possible,
            "cameras_online": watch.confirmed,
            "best_density_px_m": watch.density_px_m,
            "camera_ids": _watchers(result, x, y, watch.confirmed, table, surface),
        },
        geometry=outfalls.geometry.to_numpy(),
        crs=outfalls.crs,
    ).rename_geometry("geom")
    if len(cameras):
        tree = shapely.STRtree(cameras.geometry.to_numpy())
        (_, _), distance = tree.query_nearest(outfalls.geometry.to_numpy(), all_matches=False, return_distance=True)
        frame["nearest_camera_m"] = np.round(distance, 1)
    return frame


def _watchers(
    result: CoverageResult,
    x: NDArray[Any],
    y: NDArray[Any],
    confirmed: NDArray[np.int64],
    table: CameraTable,
    surface: Surface,
) -> NDArray[np.object_]:
    """Of each place the ids of the online cameras that surely see it, in their order."""
    out = np.empty(len(x), dtype=object)
    for row in range(len(out)):
        out[row] = []
    seen = np.flatnonzero(confirmed > 0)
    if len(seen):
        found = seen_by(table, surface, x[seen], y[seen], target_height_m=result.target_height_m, mode=result.mode)
        for camera, place in zip(found.camera, seen[found.place], strict=True):
            out[place].append(str(table.id[camera]))
        for at in seen:
            out[at].sort()
    return out


def _school_state(entrances: int, confirmed: int, possible: int) -> str:
    if entrances == 0:
        return "unknown"
    if confirmed == entrances:
        return "covered"
    if confirmed > 0:
        return "partial"
    return "possible" if possible > 0 else "none"


def _grounds(schools: gpd.GeoDataFrame) -> NDArray[Any]:
    """Grounds of schools, or the point where no boundary is known."""
    pairs = zip(schools["boundary"], schools.geometry, strict=True)
    return np.array([point if boundary is None else boundary for boundary, point in pairs], dtype=object)


def zones_around(schools: gpd.GeoDataFrame, *, spare_m: float = 0.0) -> NDArray[Any]:
    """Safety zones of schools with their grounds, as polygons in the system of the schools; ``spare_m`` makes them wider."""
    return np.asarray(shapely.buffer(_grounds(schools), SCHOOL_ZONE_M + spare_m), dtype=object)


def school_coverage(
    result: CoverageResult, schools: gpd.GeoDataFrame, roads: gpd.GeoDataFrame, *, closed: NDArray[Any]
) -> gpd.GeoDataFrame:
    """Rows of layer ``school_coverage``: entrances, roads within 150 m of the grounds and the 200 m zone of each school.

    Parameters
    ----------
    schools : GeoDataFrame of points in the analysis system
        With ``id``, ``name_zh``, ``admin_code`` and the geometries ``boundary`` and ``entrances`` (either may be missing).
    roads : GeoDataFrame of lines
    closed : array of polygons
        Buildings, which the zone is counted without.
    """
    grounds = _grounds(schools)
    places, owner = shapely.get_parts(schools["entrances"].to_numpy(), return_index=True)
    watch = watch_points(result, shapely.get_x(places), shapely.get_y(places))
    n = len(schools)
    entrances = np.bincount(owner, minlength=n)
    confirmed = np.bincount(owner[watch.state == CONFIRMED], minlength=n)
    possible = np.bincount(owner[(watch.state != NONE) & (watch.state != OFFLINE)], minlength=n)
    near = shapely.buffer(grounds, SCHOOL_ROAD_M)
    lines = roads.geometry.to_numpy()
    tree = shapely.STRtree(lines)
    school, road = tree.query(near, predicate="intersects")
    order = np.lexsort((road, school))  # sums of metres do not depend on the tree
    school, road = school[order], road[order]
    seen = along_lines(result, shapely.intersection(lines[road], near[school]))
    inner = grounds.copy()
    inner[shapely.area(grounds) == 0] = shapely.Polygon()
    zone = by_polygons(result, shapely.difference(zones_around(schools), inner), without=closed)
    sure, maybe = PRODUCTS.index("confirmed_online"), PRODUCTS.index("possible_online")

    def metres(values: NDArray[Any]) -> NDArray[Any]:
        return np.bincount(school, weights=values, minlength=n)

    return gpd.GeoDataFrame(
        {
            "school_id": schools["id"].to_numpy(),
            "name_zh": schools["name_zh"].to_numpy(),
            "admin_code": schools["admin_code"].to_numpy(),
            "state": [
                _school_state(int(a), int(b), int(c)) for a, b, c in zip(entrances, confirmed, possible, strict=True)
            ],
            "entrances": entrances,
            "entrances_confirmed": confirmed,
            "entrances_possible": possible,
            "road_m": metres(seen.length_m),
            "road_confirmed_m": metres(seen.covered_m[:, sure, 0]),
            "road_possible_m": metres(seen.covered_m[:, maybe, 0]),
            "zone_m2": zone.area_m2,
            "zone_confirmed": pd.Series(zone.share[:, sure, 0]),
            "zone_possible": pd.Series(zone.share[:, maybe, 0]),
        },
        geometry=schools.geometry.to_numpy(),
        crs=schools.crs,
    ).rename_geometry("geom")
