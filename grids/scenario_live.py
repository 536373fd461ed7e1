"""A scenario while it is being edited: one change of a camera in, its view, the changed figures and the changed gaps out.

    session = LiveScenario.open(database, city, home, scenario, mode="fast")     # as long as a coverage run: do it once, in the background
    answer = session.preview({"action": "move", "camera": "4205…", "lon": 111.3, "lat": 30.7})   # while dragging: nothing is kept
    answer = session.apply({...})                                               # on release: part of the scenario from now on
    session.undo(); session.scenario()

Nothing is written to the database.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from gis.coverage_place import place
from gis.crs import SourceCRS, transform_geometries
from gis.errors import InputError
from gis.settings import CityConfig
from grids.coverage import Step
from grids.live import LiveChange, LiveCoverage, LiveState
from grids.scenario_changes import Change, Scenario, changed_register, parse_scenario
from grids.views import camera_views, residential_ground
from layers.database import Database

__all__ = ["LiveAnswer", "LiveScenario", "changed_gap_rows", "city_figures"]


@dataclass(frozen=True)
class LiveAnswer:
    """What one change of cameras brings. All frames are in the storage system (degrees, x = longitude).

    Attributes
    ----------
    views : GeoDataFrame
        New view of each camera that was added, moved, turned or switched: ``camera_id``, ``certainty`` (``confirmed`` or ``possible``),
        ``area_m2``, ``only_here_m2``, ``share_residential``, ``assumed``, ``geom``. A camera that is removed or sees nothing has none.
    figures : dict
        ``before``, ``after``: `city_figures`; of the whole city.
    cells : GeoDataFrame
        Rows of ``coverage_by_grid`` of kind ``grid`` that changed, as they are now, with ``online_before``, ``possible_before``.
    gaps : GeoDataFrame
        Rows of ``coverage_gap`` that changed, with ``change`` (``opened``, ``closed``, ``changed``), ``need_before``, ``cause_before``; closed
        ones as they were.
    """

    views: gpd.GeoDataFrame
    figures: dict[str, dict[str, Any]]
    cells: gpd.GeoDataFrame
    gaps: gpd.GeoDataFrame


class LiveScenario:
    """A scenario under way. Use from one thread at a time; calls wait for each other.

    Parameters
    ----------
    live : LiveCoverage
        Warm coverage of the city; can be shared by many scenarios, since it is never changed.
    scenario : Scenario, optional
        Changes to begin with.
    """

    def __init__(self, live: LiveCoverage, scenario: Scenario | None = None) -> None:
        self._live = live
        self._lock = Lock()
        self._done: list[tuple[tuple[Change, ...], LiveState]] = [((), live.start)]
        self._residential = residential_ground(live.scene.buildings, cell_m=live.scene.surface.cell_m)
        self._name = scenario.name if scenario is not None else "live"
        if scenario is not None and scenario.change:
            self.apply(scenario.change)

    @classmethod
    def open(
        cls,
        database: Database,
        city: CityConfig,
        home: Path,
        scenario: Scenario | None = None,
        *,
        mode: str = "exact",
        cell_m: float | None = None,
        progress: Step | None = None,
    ) -> "LiveScenario":
        """Read the city and compute its coverage as it is; takes as long as a coverage run."""
        return cls(LiveCoverage.open(database, city, home, mode=mode, cell_m=cell_m, progress=progress), scenario)

    def preview(self, change: "Change | Mapping[str, Any] | Sequence[Change]") -> LiveAnswer:
        """What a change would bring, from where the scenario stands now; nothing is kept.

        Parameters
        ----------
        change : Change or mapping
            As in a scenario (`grids.scenario_changes.Change`); a sequence is carried out in its order.

        Raises
        ------
        InputError, NotFound, Conflict
            The change makes no sense, or not for these cameras.
        """
        return self._try(change, keep=False)

    def apply(self, change: "Change | Mapping[str, Any] | Sequence[Change]") -> LiveAnswer:
        """As `preview`, and the change is part of the scenario from now on."""
        return self._try(change, keep=True)

    def undo(self) -> bool:
        """Take back the last `apply`; false when there is none."""
        with self._lock:
            if len(self._done) == 1:
                return False
            self._done.pop()
            return True

    def scenario(self, name: str | None = None) -> Scenario:
        """All changes so far as a scenario, to be kept or compared (`grids.scenario.compare`)."""
        changes = [change for done, _ in self._done for change in done]
        return Scenario(name=name or self._name, change=tuple(changes))

    @property
    def state(self) -> LiveState:
        """Cameras and results as the scenario has them now."""
        return self._done[-1][1]

    def _try(self, change: "Change | Mapping[str, Any] | Sequence[Change]", *, keep: bool) -> LiveAnswer:
        changes = _changes(change)
        with self._lock:
            state = self.state
            was = self._live.find(state, [one.camera for one in changes])
            now = changed_register(was, Scenario(name=self._name, change=changes), self._live.city)
            found = self._live.change(state, [str(name) for name in was["id"]], now)
            answer = self._answer(found, now)
            if keep:
                self._done.append((changes, found.state))
        return answer

    def _answer(self, change: LiveChange, now: gpd.GeoDataFrame) -> LiveAnswer:
        surface, srid = self._live.scene.surface, self._live.city.storage_srid
        table = place(self._live.prepare(now), surface).cameras
        register = now.set_index("id")
        made = list(
            camera_views(table, register, surface, change.state.result, residential=self._residential, workers=1)
        )
        views = (
            made[0] if made else gpd.GeoDataFrame({"camera_id": []}, geometry=[], crs=table.crs).rename_geometry("geom")
        )
        return LiveAnswer(
            views=_stored(views.drop(columns="residential_mask", errors="ignore"), srid),
            figures={"before": city_figures(change.before), "after": city_figures(change.state)},
            cells=_stored(_changed_cells(change), srid),
            gaps=_stored(
                changed_gap_rows(change.before.tables["coverage_gap"], change.state.tables["coverage_gap"]), srid
            ),
        )


def _changes(change: "Change | Mapping[str, Any] | Sequence[Change]") -> tuple[Change, ...]:
    if isinstance(change, Change):
        return (change,)
    if isinstance(change, Mapping):
        return parse_scenario({"name": "live", "change": [dict(change)]}).change
    if not change:
        raise InputError("There is no change.", zh="没有变更。")
    return tuple(change)


def _stored(frame: gpd.GeoDataFrame, srid: int) -> gpd.GeoDataFrame:
    shapes = frame.geometry.to_numpy()
    source = frame.crs.to_epsg() if frame.crs is not None else srid
    moved = transform_geometries(shapes, SourceCRS(str(source)), srid) if len(shapes) else shapes
    return gpd.GeoDataFrame(
        pd.DataFrame(frame.drop(columns=frame.geometry.name)).reset_index(drop=True), geometry=moved, crs=srid
    ).rename_geometry("geom")


def city_figures(state: LiveState) -> dict[str, Any]:
    """Figures of the whole city: shares of public space, roads and crossings, states of bank, outfalls and schools, gaps.

    Shares are of what the grid cells hold; a share of nothing is None. "confirmed" and "possible" are of online cameras at the coarsest
    density.
    """
    told: dict[str, Any] = {"cameras": len(state.table), "cameras_online": int((state.table.online == 1).sum())}
    if state.sums is not None:
        total = state.sums.sum()

        def share(part: str, whole: str) -> float | None:
            return round(float(total[part] / total[whole]), 6) if total[whole] else None

        told |= {
            "public_confirmed": share("m2_confirmed_online_0", "public_m2"),
            "public_possible": share("m2_possible_online_0", "public_m2"),
            "public_confirmed_m2": float(total["m2_confirmed_online_0"]),
            "public_possible_m2": float(total["m2_possible_online_0"]),
            "road_confirmed": share("road_confirmed", "road_m"),
            "road_possible": share("road_possible", "road_m"),
            "crossings": int(total["crossings"]),
            "crossings_confirmed": int(total["crossings_confirmed"]),
        }
    tables = state.tables
    if "bank_coverage" in tables:
        metres = tables["bank_coverage"].groupby("state")["length_m"].sum()
        told["bank_m"] = {str(name): round(float(length), 1) for name, length in metres.items()}
    for layer, column in (("outfall_watch", "watch_state"), ("school_coverage", "state")):
        if layer in tables:
            told[layer] = {str(name): int(n) for name, n in tables[layer][column].value_counts().items()}
    gaps = tables["coverage_gap"]
    told["gaps"] = len(gaps)
    told["need"] = round(float(gaps["need"].sum()), 2) if len(gaps) else 0.0
    return told


def _changed_cells(change: LiveChange) -> gpd.GeoDataFrame:
    if change.state.sums is None or change.before.sums is None:
        return gpd.GeoDataFrame({"grid_id": []}, geometry=[], crs=change.state.cameras.crs).rename_geometry("geom")
    differ = (change.state.sums.to_numpy() != change.before.sums.to_numpy()).any(axis=1)
    at = np.flatnonzero(differ)  # the rows of the cells come first
    new, old = change.state.tables["coverage_by_grid"].iloc[at], change.before.tables["coverage_by_grid"].iloc[at]
    columns = {"online_overview": "online_before", "possible_overview": "possible_before"}
    return new.assign(**{name: old[column].to_numpy() for column, name in columns.items() if column in old})


def changed_gap_rows(before: gpd.GeoDataFrame, after: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Gaps of two states that differ in place, need or cause; those of one place are compared in their order.

    Parameters
    ----------
    before, after : GeoDataFrame
        With the columns of `grids.gaps.collect_gaps`.
    """
    told_old, told_new = _told(before), _told(after)
    was = [told.row for shape, told in told_old.items() if not _alike(told, told_new.get(shape))]
    now = [told.row for shape, told in told_new.items() if not _alike(told, told_old.get(shape))]
    left, right = _by_place(before, was), _by_place(after, now)
    closed: list[int] = []
    pairs: list[tuple[int, int | None]] = []
    for key in dict.fromkeys([*right, *left]):
        old_rows, new_rows = left.get(key, []), right.get(key, [])
        same = _same_rows(before, old_rows, after, new_rows)
        old_rows = [row for row in old_rows if row not in same.values()]
        new_rows = [row for row in new_rows if row not in same]
        both = min(len(old_rows), len(new_rows))
        pairs += [*zip(new_rows[:both], old_rows[:both], strict=True), *((row, None) for row in new_rows[both:])]
        closed += old_rows[both:]
    part = after.iloc[[row for row, _ in pairs]].copy()
    part["change"] = ["opened" if old is None else "changed" for _, old in pairs]
    need, cause = before["need"].to_numpy(), before["cause"].to_numpy()
    part["need_before"] = [0.0 if old is None else float(need[old]) for _, old in pairs]
    part["cause_before"] = [None if old is None else cause[old] for _, old in pairs]
    gone = before.iloc[closed]
    gone = gone.assign(change="closed", need_before=gone["need"], cause_before=gone["cause"], need=0.0, cause=None)
    frames = [frame for frame in (part, gone) if len(frame)]
    joined = pd.concat(frames, ignore_index=True) if frames else part
    return gpd.GeoDataFrame(joined, geometry="geom", crs=after.crs).drop(columns=["source", "owner"])


class _Told(NamedTuple):
    row: int
    need: float
    cause: Any


def _told(gaps: gpd.GeoDataFrame) -> dict[int, _Told]:
    """By identity of the geometry: rows that were carried over share it."""
    columns = (gaps.geometry.to_numpy(), gaps["need"].to_numpy(), gaps["cause"].to_numpy())
    return {
        id(shape): _Told(row, float(need), cause) for row, (shape, need, cause) in enumerate(zip(*columns, strict=True))
    }


def _alike(one: _Told, other: _Told | None) -> bool:
    return other is not None and one.need == other.need and one.cause == other.cause


def _by_place(gaps: gpd.GeoDataFrame, rows: list[int]) -> dict[tuple[int, int], list[int]]:
    source, owner = gaps["source"].to_numpy(), gaps["owner"].to_numpy()
    found: dict[tuple[int, int], list[int]] = {}
    for row in sorted(rows, key=lambda row: (source[row], owner[row], row)):
        found.setdefault((int(source[row]), int(owner[row])), []).append(row)
    return found


def _same_rows(before: gpd.GeoDataFrame, old: list[int], after: gpd.GeoDataFrame, new: list[int]) -> dict[int, int]:
    """Rows of ``new`` that are equal to one of ``old`` in shape, need and cause, with that one."""

    def told(gaps: gpd.GeoDataFrame, row: int) -> tuple[bytes, float, Any]:
        return shapely.to_wkb(gaps.geometry.iloc[row]), float(gaps["need"].iloc[row]), gaps["cause"].iloc[row]

    known = {told(before, row): row for row in old}
    return {row: known[told(after, row)] for row in new if told(after, row) in known}
