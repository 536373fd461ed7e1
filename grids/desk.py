"""The planning desk: what one changed camera sees, and what that does to its neighbourhood, while it is being dragged.

A coverage run looks at the whole city. Here only the ground is looked at that the changed cameras can reach, with all cameras that can
see into it, by the same functions and on the same terrain, so that cell by cell the answer is that of a run. Cameras and terrain are kept
between calls as long as the register and the rasters do not change; ground and counts of the last places looked at are kept, too.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gis.cameras import CameraTable, prepare
from gis.coverage import CoverageResult, compute
from gis.coverage_place import EDGE_SEARCH_M
from gis.coverage_sampling import along_lines, at_points
from gis.coverage_views import views
from gis.coverage_zones import by_zones
from gis.crs import SourceCRS, transform_geometries, transformer
from gis.errors import LimitExceeded, NotFound
from gis.settings import CityConfig
from gis.visibility_surface import Surface
from grids.scenario import follow
from grids.scenario_changes import Scenario, changed_register
from grids.scene import Ground, read_ground, surface_of
from layers.access import SYSTEM, Principal
from layers.database import Database
from layers.frames import read_frame

__all__ = ["INPUTS", "Desk", "Look"]

#: Layers that a look reads.
INPUTS = ("camera_site", "building", "water", "road", "outfall")
_CORNER_M = 256.0  # places looked at begin and end on these, so that a short drag stays in one
_SIDE_MAX_M = 6000.0
_PLACES_KEPT = 12
_CAMERAS_MAX = 50


@dataclass(frozen=True)
class Look:
    """What a change brings.

    Attributes
    ----------
    views : GeoDataFrame
        ``camera``, ``certainty`` (``confirmed`` or ``possible``), ``area_m2``, ``geom``; in the storage system.
    before, after : dict
        Of the neighbourhood: public ground and seen of it (square metres), roads and seen of them (metres), outfalls and seen of them,
        cameras and online ones. "Before" is the register as it is.
    area_km2 : float
        Size of the neighbourhood.
    notes : tuple of str
        What was assumed of the cameras.
    """

    views: gpd.GeoDataFrame
    before: dict[str, float]
    after: dict[str, float]
    area_km2: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Place:
    """A piece of ground: its surface, what lies on it, and the counts of the cameras of the register."""

    box: tuple[float, float, float, float]
    surface: Surface
    closed: Any
    roads: Any
    outfalls: Any
    table: CameraTable
    result: CoverageResult
    figures: dict[str, float]


class Desk:
    """Looks at changes of cameras; one for a process, used from any thread, one call at a time.

    Parameters
    ----------
    home : Path
        ``BAIGE_HOME``, where the rasters are.
    principal : Principal
        With whose rights cameras and ground are read; what was read is kept for all who ask, who must therefore see as much.
    """

    def __init__(self, database: Database, city: CityConfig, home: Path, *, principal: Principal = SYSTEM) -> None:
        self._database, self._city, self._home, self._principal = database, city, home, principal
        self._lock = Lock()
        self._known: tuple[Any, ...] = ()
        self._ground: Ground | None = None
        self._places: OrderedDict[tuple[float, ...], _Place] = OrderedDict()

    def get_ready(self) -> None:
        """Read cameras and terrain, so that the first look does not wait for them."""
        with self._lock, self._database.begin(self._principal, readonly=True, snapshot=True) as connection:
            self._current(connection)

    def look(self, scenario: Scenario, focus: Iterable[str] | None = None) -> Look:
        """What a scenario does around some of its cameras.

        Parameters
        ----------
        scenario : Scenario
            All of it counts: other changes may see into the same ground.
        focus : iterable of str, optional
            Names of cameras as they stand in its changes; all of them without it.

        Raises
        ------
        NotFound, Conflict, InputError
            A change does not fit the register.
        LimitExceeded
            More cameras, or more ground between them, than can be looked at at once.
        """
        wanted = list(dict.fromkeys(change.camera for change in scenario.change) if focus is None else focus)
        if len(wanted) > _CAMERAS_MAX:
            raise LimitExceeded(
                f"At most {_CAMERAS_MAX} cameras at once; compare the whole scenario instead.",
                zh=f"一次最多查看 {_CAMERAS_MAX} 台摄像机，更多请作整体对比。",
            )
        with self._lock, self._database.begin(self._principal, readonly=True, snapshot=True) as connection:
            ground = self._current(connection)
            register = changed_register(ground.cameras, scenario, self._city)
            names = _ids_of(ground.cameras, wanted)
            old = self._table(ground.cameras[ground.cameras["id"].isin(names)], ground)
            new = self._table(register[register["id"].isin(names)], ground)
            if not len(old) and not len(new):
                raise NotFound(f"There is no outdoor camera {wanted[0]!r} in use." if wanted else "No camera was named.",
                               zh="没有在用的室外摄像机。")  # fmt: skip
            before: dict[str, float] = {}
            after: dict[str, float] = {}
            area, found = 0.0, list[dict[str, Any]]()
            notes: dict[str, None] = {}
            for box in _boxes(old, new):
                spot = self._place(connection, ground, box)
                there = self._around(register, ground, box)
                result = follow(spot.result, spot.surface, spot.table, there)
                _sum(before, spot.figures)
                _sum(after, self._figures(result.result, spot, there))
                area += (box[2] - box[0]) * (box[3] - box[1]) / 1e6
                mine = there.take([i for i, name in enumerate(there.id) if name in names])
                found += _views(mine, spot.surface, self._city)
                notes |= dict.fromkeys(mine.assumptions)
        called = {_id: name for name, _id in zip(wanted, names, strict=True)}
        return Look(self._frame(found, called), before, after, area, tuple(notes))

    def _current(self, connection: Connection) -> Ground:
        counters = connection.execute(
            sa.text("SELECT name, change_counter FROM baige_sys.layer WHERE name = ANY(:names) ORDER BY name"),
            {"names": list(INPUTS)},
        ).all()
        rasters = connection.exec_driver_sql(
            "SELECT count(*), max(created_at) FROM baige_sys.raster WHERE kind = 'dem'"
        ).one()
        known = (*(tuple(row) for row in counters), tuple(rasters))
        if self._ground is None or known != self._known:
            self._places.clear()
            self._ground, self._known = read_ground(connection, self._city, self._home), known
        return self._ground

    def _table(self, cameras: gpd.GeoDataFrame, ground: Ground) -> CameraTable:
        return prepare(
            cameras,
            defaults=self._city.camera_defaults,
            densities_px_m=self._city.coverage.densities_px_m,
            crs=self._city.analysis_srid,
            bounds=surface_of(ground, cameras.iloc[:0], self._city).bounds,
            range_max_m=self._city.coverage.range_max_m,
        )

    def _around(self, register: gpd.GeoDataFrame, ground: Ground, box: Any) -> CameraTable:
        """Cameras that can see into a box."""
        x, y = register.geometry.x.to_numpy(), register.geometry.y.to_numpy()
        far = self._city.coverage.range_max_m
        near = (x > box[0] - far) & (x < box[2] + far) & (y > box[1] - far) & (y < box[3] + far)
        table = self._table(register[near], ground)
        reach = table.reach_m + EDGE_SEARCH_M  # a camera in a building is moved to its edge
        meets = (
            (table.x + reach > box[0])
            & (table.x - reach < box[2])
            & (table.y + reach > box[1])
            & (table.y - reach < box[3])
        )
        return table.take(np.flatnonzero(meets))

    def _place(self, connection: Connection, ground: Ground, box: tuple[float, float, float, float]) -> _Place:
        kept = self._places.get(box)
        if kept is not None:
            self._places.move_to_end(box)
            return kept
        far = self._city.coverage.range_max_m + 10.0
        wide = (box[0] - far, box[1] - far, box[2] + far, box[3] + far)
        degrees = transformer(ground.srid, self._city.storage_srid).transform_bounds(*wide, densify_pts=5)

        def read(layer: str, *columns: str) -> gpd.GeoDataFrame:
            return read_frame(connection, layer, columns=list(columns), srid=ground.srid, bounds=degrees)

        buildings, water, roads, outfalls = (
            read("building", "height_m"),
            read("water"),
            read("road", "tunnel"),
            read("outfall"),
        )
        surface = surface_of(ground, buildings, self._city)
        table = self._around(ground.cameras, ground, box)
        result = compute(
            table,
            surface,
            target_height_m=self._city.coverage.target_height_m,
            densities_px_m=self._city.coverage.densities_px_m,
            workers=1,
        )
        areas = water.geometry.to_numpy()[shapely.get_dimensions(water.geometry.to_numpy()) == 2]
        frame = shapely.box(*box)
        lines = roads.geometry.to_numpy()[~roads["tunnel"].fillna(False).to_numpy(dtype=bool)]
        points = outfalls.geometry.to_numpy()
        bare = _Place(
            box,
            surface,
            np.concatenate([buildings.geometry.to_numpy(), areas]),
            _lines(shapely.intersection(lines, frame)),
            points[shapely.intersects(points, frame)],
            table,
            result,
            {},
        )
        found = _Place(**{**bare.__dict__, "figures": self._figures(result, bare, table)})
        self._places[box] = found
        while len(self._places) > _PLACES_KEPT:
            self._places.popitem(last=False)
        return found

    def _figures(self, result: CoverageResult, spot: _Place, table: CameraTable) -> dict[str, float]:
        sure, possible = result.band("confirmed_online"), result.band("possible_online")
        per = len(result.densities_px_m)
        zones = by_zones(result, np.array([shapely.box(*spot.box)], dtype=object), without=spot.closed, workers=1)
        lines = along_lines(result, spot.roads, step_m=max(2.0, result.cell_m))
        seen = at_points(result, shapely.get_x(spot.outfalls), shapely.get_y(spot.outfalls)).counts
        inside = (table.x >= spot.box[0]) & (table.x < spot.box[2]) & (table.y >= spot.box[1]) & (table.y < spot.box[3])
        return {
            "public_m2": float(zones.open_m2.sum()),
            "confirmed_m2": float(zones.covered_m2[:, sure // per, 0].sum()),
            "possible_m2": float(zones.covered_m2[:, possible // per, 0].sum()),
            "road_m": float(lines.length_m.sum()),
            "road_confirmed_m": float(lines.covered_m[:, sure // per, 0].sum()),
            "outfalls": float(len(spot.outfalls)),
            "outfalls_confirmed": float((seen[:, sure // per, 0] > 0).sum()),
            "cameras": float(inside.sum()),
            "cameras_online": float((inside & (table.online == 1)).sum()),
        }

    def _frame(self, found: list[dict[str, Any]], called: dict[str, str]) -> gpd.GeoDataFrame:
        srid = self._city.storage_srid
        shapes = np.array([row["geom"] for row in found], dtype=object)
        moved = transform_geometries(shapes, SourceCRS(str(self._city.analysis_srid)), srid) if len(shapes) else shapes
        columns = {
            "camera": [called.get(row["id"], row["id"]) for row in found],
            "certainty": [row["certainty"] for row in found],
            "area_m2": [row["area_m2"] for row in found],
        }
        return gpd.GeoDataFrame(columns, geometry=moved, crs=srid).rename_geometry("geom")


def _ids_of(cameras: gpd.GeoDataFrame, wanted: list[str]) -> list[str]:
    """Ids of cameras that are named by id or device code; a name that is neither is of a new camera."""
    codes = cameras.loc[cameras["device_code"].isin(wanted), ["device_code", "id"]]
    by_code = dict(zip(codes["device_code"], codes["id"], strict=True))
    return [str(by_code.get(name, name)) for name in wanted]


def _boxes(*tables: CameraTable) -> list[tuple[float, float, float, float]]:
    """Ground that the cameras can reach, as boxes on round corners that do not overlap.

    Raises
    ------
    LimitExceeded
        A box is larger than can be looked at at once.
    """
    rows = [
        (t.x[i] - t.reach_m[i], t.y[i] - t.reach_m[i], t.x[i] + t.reach_m[i], t.y[i] + t.reach_m[i])
        for t in tables
        for i in range(len(t))
    ]
    boxes = [
        (np.floor(w / _CORNER_M), np.floor(s / _CORNER_M), np.ceil(e / _CORNER_M), np.ceil(n / _CORNER_M))
        for w, s, e, n in rows
    ]
    merged: list[tuple[float, float, float, float]] = []
    for box in boxes:
        joined = True
        while joined:
            joined = False
            for other in merged:
                if box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]:
                    merged.remove(other)
                    box = (min(box[0], other[0]), min(box[1], other[1]), max(box[2], other[2]), max(box[3], other[3]))
                    joined = True
                    break
        merged.append(box)
    found = [tuple(float(v * _CORNER_M) for v in box) for box in merged]
    if any(max(e - w, n - s) > _SIDE_MAX_M for w, s, e, n in found):
        raise LimitExceeded(
            "These cameras cover too much ground to be looked at at once; compare the whole scenario instead.",
            zh="这些摄像机涉及的范围过大，请作整体对比。",
        )
    return found  # type: ignore[return-value]


def _lines(shapes: Any) -> Any:
    parts = shapely.get_parts(shapes)
    return parts[(shapely.get_type_id(parts) == 1) & (shapely.length(parts) > 0)]


def _sum(into: dict[str, float], more: dict[str, float]) -> None:
    for name, value in more.items():
        into[name] = into.get(name, 0.0) + value


def _views(cameras: CameraTable, surface: Surface, city: CityConfig) -> list[dict[str, Any]]:
    rows = []
    for view in views(cameras, surface, target_height_m=city.coverage.target_height_m, workers=1):
        for certainty, cells in (("confirmed", view.confirmed), ("possible", view.possible)):
            if not (cells > 0).any() or (
                certainty == "possible" and ((view.confirmed > 0) == (view.possible > 0)).all()
            ):
                continue
            sure = certainty == "confirmed"
            rows.append(
                {
                    "id": view.id,
                    "certainty": certainty,
                    "area_m2": view.area_m2(confirmed=sure),
                    "geom": view.polygon(confirmed=sure),
                }
            )
    return rows
