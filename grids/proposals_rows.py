"""Rows of layer ``site_proposal``: what each chosen camera adds, where it hangs, what it would see."""

from typing import Any

import geopandas as gpd
import numpy as np
import shapely

from gis.cameras import CameraTable
from gis.coverage import compute
from gis.coverage_update import update
from gis.coverage_views import views
from gis.raster import polygons_of
from gis.siting import SitingResult
from grids.proposals_mounts import Candidates, Mounts
from grids.scene import Scene
from grids.views import near, residential_ground

__all__ = ["VIEWS_MAX", "proposal_rows"]

#: For more sites than this the view, the area gained and the residential share are left empty.
VIEWS_MAX = 2000


def proposal_rows(
    result: SitingResult,
    possible: Candidates,
    group: Mounts,
    existing: CameraTable,
    scene: Scene,
    *,
    cells: gpd.GeoDataFrame,
    met: tuple[tuple[str, ...], ...],
    target_height_m: float,
) -> gpd.GeoDataFrame:
    """One row for each chosen site, in the order of what each adds to those before it.

    Parameters
    ----------
    cells : GeoDataFrame of polygons
        With ``admin_code``, to say where a site lies.
    met : tuple of tuple of str
        Targets that each site meets.
    """
    sites = result.sites
    table, mount = possible.table.take(sites), possible.mount[sites]
    points = shapely.points(group.x[mount], group.y[mount])
    n = len(sites)
    half = possible.table.half_confirmed_deg[sites]
    frame = gpd.GeoDataFrame(
        {
            "rank": np.arange(1, n + 1),
            "name_zh": [f"建议点位 {i}" for i in range(1, n + 1)],
            "name_en": [f"Proposed site {i}" for i in range(1, n + 1)],
            "admin_code": _codes(points, cells),
            "ptz_type": possible.ptz_type[sites],
            "azimuth_deg": possible.azimuth_deg[sites],
            "hfov_deg": np.round(2.0 * half, 2),
            "view_dist_m": table.view_m,
            "res_w_px": possible.res_w_px[sites],
            "mount_height_m": table.height_m,
            "mount_kind": group.kind[mount],
            "mount_layer": group.layer[mount],
            "mount_id": group.id[mount],
            "cost": possible.cost[sites],
            "gain": np.round(result.added, 3),
            "gain_total": np.round(np.cumsum(result.added), 3),
            "targets": [list(names) for names in met],
        },
        geometry=points,
        crs=scene.srid,
    ).rename_geometry("geom")
    if 0 < n <= VIEWS_MAX:
        _add_views(frame, table, existing, scene, target_height_m)
    return frame


def _codes(points: Any, cells: gpd.GeoDataFrame) -> list[str | None]:
    codes: list[str | None] = [None] * len(points)
    if len(cells) and len(points):
        tree = shapely.STRtree(cells.geometry.to_numpy())
        point, cell = tree.query_nearest(points, max_distance=200.0, all_matches=False)
        for i, j in zip(point, cells["admin_code"].to_numpy()[cell], strict=True):
            codes[int(i)] = j
    return codes


def _add_views(
    frame: gpd.GeoDataFrame, table: CameraTable, existing: CameraTable, scene: Scene, target_height_m: float
) -> None:
    """View, residential share, and the square metres that no online camera and no site before surely sees."""
    result = compute(
        near(existing, table), scene.surface, target_height_m=target_height_m, densities_px_m=table.densities_px_m
    )
    ground = residential_ground(scene.buildings, cell_m=scene.surface.cell_m)
    at = {name: i for i, name in enumerate(table.id)}
    band = result.band("confirmed_online")
    gained = np.full(len(table), np.nan)
    share = np.full(len(table), np.nan)
    shapes: list[Any] = [None] * len(table)
    for view in views(table, scene.surface, target_height_m=target_height_m):
        i = at[view.id]
        seen = view.confirmed > 0
        fresh = seen & (result.window(view.row, view.col, *seen.shape)[band] == 0)
        gained[i] = float(np.count_nonzero(fresh)) * view.cell_m**2
        result = update(result, scene.surface, after=table.take([i])).result
        if seen.any():
            on = 0
            if ground is not None:
                built = ground.window(view.row, view.col, *seen.shape).building >= 0
                on = int(np.count_nonzero(seen & built))
            share[i] = round(on / int(np.count_nonzero(seen)), 4)
            shape = polygons_of(seen, row=view.row, col=view.col, cell_m=view.cell_m)
            shapes[i] = shapely.simplify(shape, view.cell_m, preserve_topology=True)
    frame["gain_m2"] = gained
    frame["share_residential"] = share
    frame["view"] = gpd.GeoSeries(shapes, crs=frame.crs)
