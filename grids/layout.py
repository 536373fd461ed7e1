"""A stored layout, read with what it is judged against: units by level, grid cells, communities, roads, cameras."""

from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gis.errors import NotFound
from layers.frames import read_frame

__all__ = ["LAYOUT_LAYERS", "LEVELS", "LayoutData", "containers_of", "read_layout", "road_levels"]

LEVELS = ("ring", "zone", "grid", "point")

#: Layers that a check of a layout reads.
LAYOUT_LAYERS = (
    "layout_unit",
    "grid_cell",
    "community",
    "admin_area",
    "road",
    "camera_site",
    "coverage_by_grid",
    "water",
)

#: Roads farther than this outside the ring are not read: they lead to it only by those that are.
_AROUND_M = 500.0

_IN_FORCE = "(valid_to IS NULL OR valid_to > current_date)"


@dataclass(frozen=True)
class LayoutData:
    """A layout and its surroundings, places in the analysis system (metres).

    Attributes
    ----------
    layout : str
    version : int
    ring, zones, grids, points : GeoDataFrame
        Rows of ``layout_unit``, numbered from 0.
    cells : GeoDataFrame
        Unit and dedicated grid cells in use: together they cover the ground once.
    void_codes : tuple of str
        Codes of grid cells that were retired.
    communities, streets, roads, cameras, coverage : GeoDataFrame
        ``coverage``: rows of ``coverage_by_grid`` by grid cell, empty where none was computed.
    water : GeoDataFrame or None
        None: not read.
    retired_codes : tuple of str
        Codes of units that an earlier version had and the version before this one had not.
    """

    layout: str
    version: int
    ring: gpd.GeoDataFrame
    zones: gpd.GeoDataFrame
    grids: gpd.GeoDataFrame
    points: gpd.GeoDataFrame
    cells: gpd.GeoDataFrame
    void_codes: tuple[str, ...]
    communities: gpd.GeoDataFrame
    streets: gpd.GeoDataFrame
    roads: gpd.GeoDataFrame
    cameras: gpd.GeoDataFrame
    coverage: gpd.GeoDataFrame
    water: gpd.GeoDataFrame | None = None
    retired_codes: tuple[str, ...] = ()


def read_layout(connection: Connection, layout: str, *, srid: int, all_roads: bool = False) -> LayoutData:
    """Read the newest version of a layout.

    Parameters
    ----------
    layout : str
        ``current`` or the name of a draft.
    srid : int
        Analysis system, projected.
    all_roads : bool
        Also roads far from the ring: another one may be drawn.

    Raises
    ------
    NotFound
        There is no such layout; those that there are, are named.
    """
    rows = connection.execute(
        sa.text(f"SELECT layout, max(coalesce(version, 1)) FROM baige.layout_unit WHERE {_IN_FORCE} GROUP BY layout")
    )
    versions = {str(name): int(version) for name, version in rows}
    if layout not in versions:
        known = ", ".join(sorted(versions)) or "–"
        raise NotFound(
            f"There is no layout {layout!r}; there are: {known}.", zh=f"没有布局方案“{layout}”；现有：{known}。"
        )
    units = read_frame(
        connection, "layout_unit", srid=srid,
        columns=["name_zh", "level", "parent_id", "code", "weight", "quota", "pinned", "site_layer", "site_id"],
        where=sa.text(f"layout = :layout AND coalesce(version, 1) = :version AND {_IN_FORCE}").bindparams(
            layout=layout, version=versions[layout]
        ),
    )  # fmt: skip
    level = {name: units[units["level"] == name].sort_values("code").reset_index(drop=True) for name in LEVELS}
    cells = read_frame(
        connection, "grid_cell", srid=srid, columns=["grid_code", "admin_code", "household_count", "population"],
        where=sa.text(
            "coalesce(grid_kind, 'unit') IN ('unit', 'dedicated') AND coalesce(code_status, 'valid') = 'valid' AND " + _IN_FORCE
        ),
    )  # fmt: skip
    void = connection.exec_driver_sql("SELECT grid_code FROM baige.grid_cell WHERE code_status = 'void'").scalars()
    communities = read_frame(connection, "community", columns=["admin_code", "name_zh"], srid=srid)
    streets = read_frame(
        connection, "admin_area", columns=["admin_code", "name_zh"], srid=srid, where=sa.text("level = 'street'")
    )
    roads = read_frame(connection, "road", columns=["name_zh", "bridge", "tunnel", "osm_layer"], srid=srid)
    shapes = [shape for shape in level["ring"].geometry if shape is not None and not shape.is_empty]
    if shapes and not all_roads:
        near = shapely.box(*shapely.total_bounds(np.array(shapes, dtype=object))).buffer(_AROUND_M)
        roads = roads[shapely.intersects(roads.geometry.to_numpy(), near)].reset_index(drop=True)
    cameras = read_frame(
        connection, "camera_site", columns=["name_zh", "device_code", "net_status", "device_state"], srid=srid
    )
    coverage = read_frame(
        connection, "coverage_by_grid", columns=["online_overview", "public_m2"], srid=srid, where=sa.text("unit_kind = 'grid'")
    )  # fmt: skip
    return LayoutData(
        layout, versions[layout], level["ring"], level["zone"], level["grid"], level["point"], cells,
        tuple(str(code) for code in void if code), communities, streets, roads, cameras, coverage,
        read_frame(connection, "water", columns=[], srid=srid), _retired(connection, layout, versions[layout]),
    )  # fmt: skip


def _retired(connection: Connection, layout: str, version: int) -> tuple[str, ...]:
    rows = connection.execute(
        sa.text(
            "SELECT code FROM baige.layout_unit WHERE layout = :layout AND code IS NOT NULL GROUP BY code"
            " HAVING min(coalesce(version, 1)) < :before AND count(*) FILTER (WHERE coalesce(version, 1) = :before) = 0"
        ),
        {"layout": layout, "before": version - 1},
    )
    return tuple(str(code) for code in rows.scalars())


def containers_of(shapes: Any, homes: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Which container a point inside each shape lies in (-1: none; the first of several)."""
    found = np.full(len(shapes), -1, np.int64)
    if len(shapes) and len(homes):
        unit, home = shapely.STRtree(homes).query(shapely.point_on_surface(shapes), predicate="intersects")
        order = np.lexsort((home, unit))[::-1]
        found[unit[order]] = home[order]
    return found


def road_levels(roads: gpd.GeoDataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Level of each road: as registered, else 1 on bridges, -1 in tunnels, 0 on the ground."""
    level = pd.to_numeric(roads["osm_layer"], errors="coerce").fillna(0).to_numpy(dtype=float)
    bridge, tunnel = (roads[name].fillna(False).to_numpy(dtype=bool) for name in ("bridge", "tunnel"))
    return np.where((level == 0) & bridge, 1.0, np.where((level == 0) & tunnel, -1.0, level))
