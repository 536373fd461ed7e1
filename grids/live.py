"""Coverage that follows the register: one camera changed, and every result is what a full run would say, in a fraction of a second.

A warm process holds the scene, the counts and all answers. A change of cameras is followed cell by cell (`gis.coverage_update`); then only
those answers are worked out again that the changed cells, or the reach of the changed cameras, can bear on, by the same functions as in a
run. States are values: a state is never changed, a new one is made, so that trying something out and going back cost nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from gis.cameras import CameraTable, prepare
from gis.coverage import CoverageResult, compute
from gis.coverage_chunks import CHUNK
from gis.coverage_place import EDGE_SEARCH_M
from gis.coverage_update import update
from gis.coverage_zones import ZoneGround
from gis.errors import Conflict
from gis.settings import CityConfig
from grids.coverage import Step, clear_store, open_roads_of, read_context, units_of, work_out
from grids.coverage_places import zones_around
from grids.coverage_units import merged_units, owners
from grids.gaps import RoadPieces, Surroundings
from grids.live_parts import (
    Area,
    Places,
    RoadCuts,
    Unit,
    changed_causes,
    changed_gaps,
    changed_places,
    changed_sums,
    changed_units,
)
from grids.roads import road_crossings
from grids.scene import Scene, read_scene
from layers.database import Database

__all__ = ["LiveChange", "LiveCoverage", "LiveState"]

Boxes = npt.NDArray[Any]


@dataclass(frozen=True)
class LiveState:
    """Cameras and all that follows from them; made by `LiveCoverage`, never changed.

    Attributes
    ----------
    register : GeoDataFrame
        Outdoor cameras as they were at first; ``gone`` those of them that are no longer so, ``added`` those that took their place or are
        new. ``cameras`` puts them together; ``table`` is the same as the kernels read it.
    result : CoverageResult
    tables : dict
        Rows of the result layers; gaps with the columns of `grids.gaps.collect_gaps` beside.
    sums : DataFrame or None
        Sums of each grid cell.
    """

    register: gpd.GeoDataFrame
    gone: frozenset[str]
    added: gpd.GeoDataFrame
    table: CameraTable
    result: CoverageResult
    tables: dict[str, gpd.GeoDataFrame]
    sums: pd.DataFrame | None

    @cached_property
    def cameras(self) -> gpd.GeoDataFrame:
        """The register of outdoor cameras."""
        if not self.gone and self.added.empty:
            return self.register
        return _joined(self.register[~self.register["id"].isin(self.gone)], self.added)


def _joined(one: gpd.GeoDataFrame, other: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    parts = [part for part in (one, other) if len(part)]
    if len(parts) < 2:
        return parts[0].reset_index(drop=True) if parts else one
    return gpd.GeoDataFrame(pd.concat(parts, ignore_index=True), geometry=one.geometry.name, crs=one.crs, copy=False)


@dataclass(frozen=True)
class LiveChange:
    """What a change of cameras did.

    Attributes
    ----------
    state : LiveState
        As it is now; ``before`` as it was.
    ground : array of polygons
        Boxes that hold every cell whose counts differ, in the analysis system.
    chunks : squares of 256 cells in which counts differ.
    gone, now : identifiers of the cameras taken out and put in.
    """

    before: LiveState = field(repr=False)
    state: LiveState = field(repr=False)
    ground: Boxes
    chunks: tuple[tuple[int, int], ...]
    gone: tuple[str, ...]
    now: tuple[str, ...]


class LiveCoverage:
    """The coverage of a city, kept warm.

    Parameters
    ----------
    scene, context
        From `grids.scene.read_scene` and `grids.coverage.read_context`.
    """

    def __init__(
        self,
        scene: Scene,
        context: dict[str, gpd.GeoDataFrame],
        city: CityConfig,
        *,
        mode: str = "exact",
        workers: int | None = None,
        store: Path | None = None,
        progress: Step | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> None:
        tell = progress or (lambda _en, _zh, _done, _total: None)
        self.scene, self.city, self.context = scene, city, context
        table = self.prepare(scene.cameras)
        result = compute(
            table,
            scene.surface,
            target_height_m=city.coverage.target_height_m,
            densities_px_m=city.coverage.densities_px_m,
            mode=mode,
            workers=workers,
            progress=lambda done, total: tell("lines of sight", "视线计算", done, total),
            store=store,
            cancel=cancel,
        )
        found = work_out(result, table, scene, context, city, tell, internal=True)
        tables = {layer: _plain_text(frame) for layer, frame in found.tables.items()}
        register = _plain_text(scene.cameras)
        self.start = LiveState(register, frozenset(), register.iloc[:0], table, result, tables, found.sums)
        self._at: dict[str, int] = {}
        for name in ("device_code", "id"):
            self._at.update({str(value): i for i, value in enumerate(scene.cameras[name]) if isinstance(value, str)})
        tell("getting ready", "准备就绪", 0, 1)
        self.area = self._area()
        tell("getting ready", "准备就绪", 1, 1)

    @classmethod
    def open(
        cls,
        database: Database,
        city: CityConfig,
        home: Path,
        *,
        mode: str = "exact",
        cell_m: float | None = None,
        workers: int | None = None,
        progress: Step | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> "LiveCoverage":
        """Read a city and compute its coverage as it is; takes as long as a coverage run."""
        with database.begin(readonly=True, snapshot=True) as connection:
            scene = read_scene(connection, city, home, cell_m=cell_m)
            context = read_context(connection, city)
        store = home / "coverage"
        live = cls(scene, context, city, mode=mode, workers=workers, store=store, progress=progress, cancel=cancel)
        clear_store(store)
        return live

    def prepare(self, cameras: gpd.GeoDataFrame) -> CameraTable:
        """Cameras as the kernels read them."""
        return prepare(
            cameras,
            defaults=self.city.camera_defaults,
            densities_px_m=self.city.coverage.densities_px_m,
            crs=self.city.analysis_srid,
            bounds=self.scene.surface.bounds,
            range_max_m=self.city.coverage.range_max_m,
        )

    def _area(self) -> Area:
        scene = self.scene
        context = {name: _plain_text(frame) for name, frame in self.context.items()}
        cells, roads = context["cells"], open_roads_of(context["roads"]).reset_index(drop=True)
        crossings = road_crossings(context["roads"])
        shapes = cells.geometry.to_numpy()
        tree = shapely.STRtree(shapes)
        which, owner = owners(tree, crossings)
        crossing_of = np.full(len(crossings), -1, dtype=np.int64)
        crossing_of[which] = owner
        units: dict[str, Unit] = {}
        if len(cells):
            for kind, (key, frame) in units_of(cells, context).items():
                known = merged_units(cells, key) if frame is None else frame
                units[kind] = Unit.of(kind, key, self.start.tables["coverage_by_grid"], known)
        buildings = scene.buildings.geometry.to_numpy()
        return Area(
            cells=cells,
            cell_tree=tree,
            ground=ZoneGround(
                shapes,
                cell_m=scene.surface.cell_m,
                without=np.concatenate([buildings, scene.water.geometry.to_numpy()]),
            ),
            roads=roads,
            road_tree=shapely.STRtree(roads.geometry.to_numpy()),
            cuts=RoadCuts.of(shapes, tree, roads.geometry.to_numpy()),
            pieces=RoadPieces.of(cells, roads),
            crossings=crossings,
            crossing_tree=shapely.STRtree(crossings),
            crossing_of=crossing_of,
            units=units,
            banks=context["banks"],
            bank_places=Places.of(context["banks"].geometry.to_numpy()),
            outfalls=context["outfalls"],
            outfall_places=Places.of(context["outfalls"].geometry.to_numpy()),
            schools=context["schools"],
            entrances=Places.of(context["schools"]["entrances"].to_numpy()),
            school_zones=Places.of(zones_around(context["schools"], spare_m=1.0)),
            areas=context["areas"],
            area_places=Places.of(context["areas"].geometry.to_numpy()),
            railways=context["railways"],
            railway_places=Places.of(context["railways"].geometry.to_numpy()),
            buildings=buildings,
            building_tree=shapely.STRtree(buildings),
            near=Surroundings.of(context["outfalls"], context["schools"], context["poles"], scene.buildings),
            weights=self.city.gap_weights,
        )

    def find(self, state: LiveState, names: Sequence[str]) -> gpd.GeoDataFrame:
        """Rows of cameras by ``id`` or ``device_code``; those that are not there are left out."""
        wanted = set(names)
        at = sorted({self._at[name] for name in wanted if name in self._at})
        rows = self.start.register.iloc[at]
        if state.gone:
            rows = rows.iloc[[k for k, name in enumerate(rows["id"]) if name not in state.gone]]
        codes = zip(state.added["id"], state.added["device_code"], strict=True)
        new = [k for k, (name, code) in enumerate(codes) if name in wanted or code in wanted]
        return _joined(rows, state.added.iloc[new]) if new else rows

    def change(
        self,
        state: LiveState,
        gone: Sequence[str],
        now: gpd.GeoDataFrame,
        *,
        counted: Callable[[CoverageResult], object] | None = None,
    ) -> LiveChange:
        """Take cameras away and put others (or the same, changed) in.

        Parameters
        ----------
        gone : sequence of str
            ``id`` of cameras that are no longer as they were.
        now : GeoDataFrame
            Cameras as they are now, with the columns of the register; those that are moved or turned stand in both.
        counted : callable, optional
            Given the counts as soon as they are known, before all that follows from them.

        Raises
        ------
        Conflict
            A camera that is put in is there already.
        """
        was = self.find(state, gone)
        was_ids = {str(name) for name in was["id"]}
        here = self.find(state, [str(name) for name in now["id"]])["id"] if len(now) else []
        twice = sorted(set(here) - was_ids)
        if twice:
            raise Conflict(f"There is a camera {twice[0]!r} already.", zh=f"摄像机 {twice[0]!r} 已存在。")
        now = _plain_text(now)
        before, after = self.prepare(was), self.prepare(now)
        table = _exchanged(state.table, before, after)
        followed = update(state.result, self.scene.surface, before=before, after=after)
        if counted is not None:
            counted(followed.result)
        added = _joined(state.added[~state.added["id"].isin(was_ids)], now)
        middle = replace(state, gone=state.gone | was_ids, added=added, table=table, result=followed.result)
        boxes, counts = self._differences(state.result, followed.result, followed.chunks)
        reach = self._reach(before, after)
        tables, sums = dict(state.tables), state.sums
        if sums is not None:
            sums, touched = changed_sums(self.area, middle.result, sums, boxes, counts, was, now)
            tables["coverage_by_grid"] = changed_units(
                self.area, tables["coverage_by_grid"], sums, touched, len(middle.result.densities_px_m)
            )
        changed_places(
            self.area, middle.result, tables, boxes, was, now, lambda: middle.cameras, reach, table, self.scene.surface
        )
        changed_causes(tables, boxes, reach, table, self.scene.surface)
        tables["coverage_gap"] = changed_gaps(self.area, middle.result, tables, boxes, reach, table, self.scene.surface)
        done = replace(middle, tables=tables, sums=sums)
        return LiveChange(
            state, done, boxes, followed.chunks, tuple(str(v) for v in was["id"]), tuple(map(str, now["id"]))
        )

    def _differences(
        self, old: CoverageResult, new: CoverageResult, chunks: Sequence[tuple[int, int]]
    ) -> tuple[Boxes, list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]]:
        """Boxes around the cells that differ, chunk by chunk, and how much more of each grid cell is seen."""
        boxes, counts, cell = [], [], old.cell_m
        for key in chunks:
            before, after = old.peek(*key), new.peek(*key)
            differ = (before != after).any(axis=0)
            rows, cols = np.flatnonzero(differ.any(axis=1)), np.flatnonzero(differ.any(axis=0))
            west, south = key[1] * CHUNK, key[0] * CHUNK
            boxes.append(
                shapely.box(
                    (west + cols[0]) * cell, (south + rows[0]) * cell, (west + cols[-1] + 1) * cell, (south + rows[-1] + 1) * cell,
                )
            )  # fmt: skip
            part = (slice(None), slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
            more = self.area.ground.change(south + int(rows[0]), west + int(cols[0]), before[part], after[part])
            if more is not None:
                counts.append(more)
        return np.array(boxes, dtype=object), counts

    def _reach(self, *tables: CameraTable) -> Boxes:
        """Discs in which the changed cameras can be a reason for something not to be seen."""
        discs = [
            shapely.buffer(
                shapely.points(table.x, table.y), table.view_m + EDGE_SEARCH_M + 2.0 * self.scene.surface.cell_m
            )
            for table in tables
            if len(table)
        ]
        return np.concatenate(discs) if discs else np.array([], dtype=object)


def _plain_text(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Text as Python strings: quicker to pick rows from than Arrow's."""
    names = [name for name, kind in zip(frame.columns, frame.dtypes, strict=True) if isinstance(kind, pd.StringDtype)]
    return frame.assign(**{str(name): frame[name].astype(object) for name in names}) if names else frame


def _exchanged(table: CameraTable, before: CameraTable, after: CameraTable) -> CameraTable:
    return table.exchanged([table.find(name) for name in before.id], after)
