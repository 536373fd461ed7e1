"""The scene of an analysis: cameras, buildings, terrain and water of the city, in the analysis system."""

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gis.settings import CityConfig
from gis.visibility_surface import Buildings, Surface, Terrain
from layers.frames import read_frame
from layers.rasters import dem_parts

__all__ = ["Ground", "Scene", "read_ground", "read_scene", "surface_of"]

#: A camera indoors sees nothing of the street, one that was taken away sees nothing at all.
_OUTDOORS = "coalesce(room_type, 1) = 1 AND coalesce(device_state, 'in_use') <> 'removed'"

_MARGIN_M = 1000.0
_TERRAIN_CELLS_MAX = 60_000_000

_CAMERA_COLUMNS = (
    "name_zh", "device_code", "ptz_type", "direction", "azimuth_deg", "hfov_deg", "vfov_deg", "tilt_deg", "view_dist_m", "res_w_px",
    "mount_height_m", "mount_kind", "net_status", "device_state", "positional_acc_m", "admin_code",
)  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """What stands where. All frames are in EPSG ``srid``, metres, x east and y north.

    Attributes
    ----------
    cameras : GeoDataFrame
        Outdoor cameras with their optics, ``id`` as text.
    left_out : dict
        Why cameras of the register take no part, and how many.
    buildings, water : GeoDataFrame
    surface : Surface
        Terrain and buildings for lines of sight.
    terrain_filled : float
        Share of the terrain's cells that were voids and were filled.
    """

    srid: int
    cameras: gpd.GeoDataFrame
    left_out: dict[str, int]
    buildings: gpd.GeoDataFrame
    water: gpd.GeoDataFrame
    surface: Surface
    terrain_filled: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Ground:
    """Cameras and terrain, as `Scene` has them; ``missing_m`` is the height taken where none is known."""

    srid: int
    cameras: gpd.GeoDataFrame
    left_out: dict[str, int]
    terrain: Terrain | None
    missing_m: float | None
    terrain_filled: float
    notes: tuple[str, ...]


def read_scene(connection: Connection, city: CityConfig, home: Path, *, cell_m: float | None = None) -> Scene:
    """Read what lines of sight need.

    Parameters
    ----------
    home : Path
        ``BAIGE_HOME``, where the rasters are.
    cell_m : float, optional
        Cells of the surface; the city file's without it.

    Raises
    ------
    BackendError
        Database or raster cannot be read.
    """
    ground = read_ground(connection, city, home)
    buildings = read_frame(connection, "building", columns=["height_m", "building_kind"], srid=ground.srid)
    water = read_frame(connection, "water", columns=["name_zh"], srid=ground.srid)
    water = water[shapely.get_dimensions(water.geometry.to_numpy()) == 2]
    surface = surface_of(ground, buildings, city, cell_m=cell_m)
    return Scene(
        ground.srid, ground.cameras, ground.left_out, buildings, water, surface, ground.terrain_filled, ground.notes
    )


def read_ground(connection: Connection, city: CityConfig, home: Path) -> Ground:
    """Read the cameras and the terrain around them.

    Raises
    ------
    BackendError
        Database or raster cannot be read.
    """
    srid = city.analysis_srid
    cameras = read_cameras(connection, srid)
    total = connection.exec_driver_sql("SELECT count(id) FROM baige.camera_site").scalar_one()
    left_out = {"indoor_or_removed": int(total) - len(cameras)} if total > len(cameras) else {}
    terrain, filled, notes = _terrain(connection, home, cameras, srid)
    missing: float | None = None
    if terrain is not None and len(cameras):
        west, south, east, north = terrain.chain[-1].bounds
        x, y = cameras.geometry.x.to_numpy(), cameras.geometry.y.to_numpy()
        outside = int(np.count_nonzero((x < west) | (x > east) | (y < south) | (y > north)))
        if outside or np.isnan(terrain.chain[-1].heights_m).any():
            missing = float(np.nanmedian(terrain.chain[-1].heights_m))
            notes = (
                *notes,
                f"{outside} cameras stand outside the terrain model: level ground at {missing:.0f} m assumed there",
            )
    return Ground(srid, cameras, left_out, terrain, missing, filled, notes)


def surface_of(
    ground: Ground, buildings: gpd.GeoDataFrame, city: CityConfig, *, cell_m: float | None = None
) -> Surface:
    """The surface of lines of sight: the terrain with these buildings on it."""
    footprints = (
        Buildings.from_polygons(buildings.geometry.to_numpy(), buildings["height_m"].to_numpy(dtype=float))
        if len(buildings)
        else None
    )
    return Surface(
        cell_m=cell_m or city.coverage.cell_m,
        terrain=ground.terrain,
        buildings=footprints,
        dem_missing_m=ground.missing_m,
        refraction=city.coverage.refraction,
    )


def read_cameras(connection: Connection, srid: int) -> gpd.GeoDataFrame:
    """Outdoor cameras of the register in EPSG ``srid``."""
    return read_frame(connection, "camera_site", columns=_CAMERA_COLUMNS, srid=srid, where=sa.text(_OUTDOORS))


def _terrain(
    connection: Connection, home: Path, cameras: gpd.GeoDataFrame, srid: int
) -> tuple[Terrain | None, float, tuple[str, ...]]:
    if cameras.empty:
        return None, 0.0, ()
    west, south, east, north = cameras.total_bounds
    bounds = (west - _MARGIN_M, south - _MARGIN_M, east + _MARGIN_M, north + _MARGIN_M)
    parts = dem_parts(connection, home, bounds, srid=srid, cells_max=_TERRAIN_CELLS_MAX)
    terrain: Terrain | None = None
    for heights, affine, _ in reversed(parts):  # the coarsest is beyond all others
        terrain = Terrain(heights, affine.c, affine.f, affine.a, -affine.e, beyond=terrain)
    cells = sum(filled.size for _, _, filled in parts)
    share = sum(int(filled.sum()) for _, _, filled in parts) / cells if cells else 0.0
    notes = (f"{share:.1%} of the terrain model was void and has been filled",) if share > 0 else ()
    return terrain, share, notes
