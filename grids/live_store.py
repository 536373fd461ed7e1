"""Stored results that follow the register: what a change of cameras does to the result layers is written row by row.

`follow` waits for changes of layer ``camera_site`` and carries them over; its first act is a full run, whose rows it then keeps up to date.
Rows keep the ``run_id`` of that run, since a collection never mixes two; the run says how many changes it has followed and which state of
the register it stands for.
"""

import json
import shutil
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa

from gis.coverage import CoverageResult
from gis.coverage_files import follow_coverage, write_coverage
from gis.errors import Conflict, DatabaseUnavailable
from gis.settings import CityConfig
from grids.coverage import INPUT_LAYERS, Step, figures
from grids.fairness import fairness
from grids.live import LiveCoverage, LiveState
from grids.scene import read_cameras
from layers.access import SYSTEM, Principal
from layers.database import Database
from layers.frames import change_results, replace_results
from layers.rasters import drop_coverage, move_coverage, register_coverage
from layers.runs import Run, latest_run, run

__all__ = ["Followed", "LiveResults", "follow"]

_INTERNAL = ["source", "owner"]


@dataclass(frozen=True)
class Followed:
    """One round: how many cameras differed and how many rows were written, by layer; seconds of processor time of this process."""

    cameras: int
    rows: dict[str, int]
    cpu_s: float


class LiveResults:
    """Result layers and rasters of a database, kept up to date with its cameras.

    Parameters
    ----------
    rasters : bool
        Also write the counts cell by cell as GeoTIFFs and keep them up to date (`gis.coverage_files.follow_coverage`).

    Attributes
    ----------
    folder : str or None
        Where the rasters lie now, relative to ``BAIGE_HOME/rasters``.

    Raises
    ------
    Cancelled
        ``cancel`` said so while the first run was made; the results of the run before stay.
    """

    def __init__(
        self,
        database: Database,
        city: CityConfig,
        home: Path,
        *,
        mode: str = "exact",
        cell_m: float | None = None,
        workers: int | None = None,
        rasters: bool = True,
        principal: Principal = SYSTEM,
        progress: Step | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> None:
        self._database, self._city = database, city
        self._home, self._rasters = home, home / "rasters"
        parameters = {
            "mode": mode,
            "cell_m": cell_m or city.coverage.cell_m,
            "target_height_m": city.coverage.target_height_m,
            "densities_px_m": list(city.coverage.densities_px_m),
            "range_max_m": city.coverage.range_max_m,
            "followed": True,
        }
        with run(database, kind="coverage", parameters=parameters, layers=INPUT_LAYERS, principal=principal) as current:
            self._counter = self._read_counter()
            self.live = LiveCoverage.open(
                database, city, home, mode=mode, cell_m=cell_m, workers=workers, progress=progress, cancel=cancel
            )
            self.state = _named(self.live.start)
            self.folder = f"coverage/{current.id}" if rasters else None
            if self.folder is not None:
                write_coverage(self.state.result, self._rasters / self.folder, crs=city.analysis_srid)
            with database.begin() as connection:
                for layer, frame in self.state.tables.items():
                    replace_results(connection, layer, _outside(frame), run=current)
                result = self.state.result
                old = register_coverage(
                    connection,
                    run_id=current.id,
                    folder=self.folder,
                    srid=city.analysis_srid,
                    bounds=result.bounds,
                    cell_m=result.cell_m,
                    synthetic=current.synthetic,
                )
            drop_coverage(home, old)
            current.summary.update(figures(result, self.live.scene, _strip(self.state.tables)))
            if "coverage_by_grid" in self.state.tables:
                current.summary["fairness"] = fairness(self.state.tables["coverage_by_grid"])
            self.run: Run = current
        self.rounds = 0
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rasters-of-a-change")

    def _read_counter(self) -> int:
        with self._database.begin(readonly=True) as connection:
            return int(
                connection.exec_driver_sql(
                    "SELECT change_counter FROM baige_sys.layer WHERE name = 'camera_site'"
                ).scalar_one()
            )

    def catch_up(self) -> Followed | None:
        """Carry over what has changed in the register since the last time; None when nothing has."""
        counter = self._read_counter()
        if counter == self._counter:
            return None
        with self._database.begin(readonly=True, snapshot=True) as connection:
            cameras = read_cameras(connection, self._city.analysis_srid)
        gone, now = _differing(self.state.cameras, cameras)
        done = self.write(gone, now)
        self._counter = counter
        return done

    def write(self, gone: list[str], now: gpd.GeoDataFrame) -> Followed:
        """Follow one change and write the rows that differ, all in one transaction; with it other rasters become the known ones.

        Raises
        ------
        Conflict
            Another run has replaced the results since: there is nothing left to follow.
        """
        started = time.process_time()
        with self._database.begin(readonly=True) as connection:
            if latest_run(connection, "coverage") != self.run.id:
                raise _replaced()
        made: list[Future[str | None]] = []
        # the rasters depend on the counts only: they are written while the answers are worked out
        change = self.live.change(
            self.state, gone, now, counted=lambda result: made.append(self._writer.submit(self._write_rasters, result))
        )
        state = _named(change.state)
        folder = made[0].result()
        try:
            written, old = self._write_rows(state, folder)
        except DatabaseUnavailable:
            raise  # it may have been lost after the commit: then the row needs its files
        except BaseException:
            if folder is not None:
                shutil.rmtree(self._rasters / folder, ignore_errors=True)
            raise
        if folder is not None:
            # the set before stays until the next change: who has read its name (a backup, a map) can read its files
            drop_coverage(self._home, [folder], keep=[folder, *([] if old is None else [old])])
            self.folder = folder
        self.state = state
        self.rounds += 1
        return Followed(len(set(gone) | set(now["id"])), written, time.process_time() - started)

    def _write_rasters(self, result: CoverageResult) -> str | None:
        """Rasters of a result in a folder of their own, which is not known yet; None where none are kept or nothing differs."""
        if self.folder is None or _told(result) == _told(self.state.result):
            return None
        folder = f"coverage/{self.run.id}.{self.rounds + 1}"
        shutil.rmtree(self._rasters / folder, ignore_errors=True)
        follow_coverage(
            self.state.result,
            result,
            self._rasters / self.folder,
            self._rasters / folder,
            crs=self._city.analysis_srid,
        )
        return folder

    def _write_rows(self, state: LiveState, folder: str | None) -> tuple[dict[str, int], str | None]:
        """Rows written by layer, and the folder of the rasters that are no longer known."""
        written: dict[str, int] = {}
        old_folder: str | None = None
        with self._database.begin() as connection:
            if folder is not None:
                old_folder = move_coverage(
                    connection, run_id=self.run.id, folder=folder, bounds=state.result.bounds
                )
                if old_folder is None:
                    raise _replaced()
            for layer, frame in state.tables.items():
                before = self.state.tables[layer]
                if frame is before:
                    continue
                old, new, changed, values = _differences(before, frame)
                if old or new or changed:
                    written[layer] = change_results(
                        connection,
                        layer,
                        gone=old,
                        new=_outside(frame.iloc[new]),
                        changed=changed,
                        values=values,
                        run=self.run,
                    )
            connection.execute(
                sa.text(
                    "UPDATE baige_sys.run SET finished_at = clock_timestamp(), summary = summary || cast(:more AS jsonb) WHERE id = :id"
                ),
                {"id": self.run.id, "more": json.dumps({"changes_followed": self.rounds + 1})},
            )
        return written, old_folder


def _replaced() -> Conflict:
    return Conflict(
        "Another coverage run has replaced the results that are followed: start following again.",
        zh="跟随的结果已被另一次覆盖计算替换，请重新开始跟随。",
    )


def _told(result: CoverageResult) -> tuple[object, ...]:
    return result.fingerprint, result.rejected, result.tally


def follow(
    results: LiveResults,
    *,
    every_s: float = 1.0,
    told: Callable[[Followed], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> None:
    """Look for changes of the register every ``every_s`` seconds and carry them over, until ``cancel`` says so."""
    while cancel is None or not cancel():
        done = results.catch_up()
        if done is not None and told is not None:
            told(done)
        time.sleep(every_s)


def _named(state: LiveState) -> LiveState:
    """Every row with an ``id``: kept rows have theirs already, and a table in which all have stays what it is."""
    tables = dict(state.tables)
    for layer, frame in state.tables.items():
        names = frame["id"].to_numpy(copy=True) if "id" in frame else np.full(len(frame), None, dtype=object)
        without = np.flatnonzero(pd.isna(names))
        for row in without:
            names[row] = str(uuid.uuid4())
        if len(without):
            tables[layer] = frame.assign(id=names)
    return replace(state, tables=tables)


def _outside(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    return frame.drop(columns=_INTERNAL, errors="ignore")


def _strip(tables: dict[str, gpd.GeoDataFrame]) -> dict[str, gpd.GeoDataFrame]:
    return {layer: frame.drop(columns=["id", *_INTERNAL], errors="ignore") for layer, frame in tables.items()}


def _differences(
    before: gpd.GeoDataFrame, after: gpd.GeoDataFrame
) -> tuple[list[str], list[int], list[str], dict[str, list[Any]]]:
    """Ids that are gone, rows that are new, ids of rows that stay and change, and by field their values as they are now."""
    old_names, names = before["id"].to_numpy(dtype=object), after["id"].to_numpy(dtype=object)
    if len(names) == len(old_names) and bool((names == old_names).all()):
        at = np.arange(len(names))
    else:
        at = pd.Index(old_names).get_indexer(pd.Index(names))
    new = np.flatnonzero(at < 0)
    kept = np.zeros(len(before), dtype=np.bool_)
    kept[at[at >= 0]] = True
    stay = np.flatnonzero(at >= 0)
    source = at[stay]
    in_place = len(stay) == len(names) == len(old_names) and bool((source == stay).all())
    changed = np.zeros(len(stay), dtype=np.bool_)
    fields = []
    for name in after.columns:
        if name in ("id", "geom", *_INTERNAL) or name not in before:
            continue
        was, now = before[name].to_numpy(), after[name].to_numpy()
        if in_place and _same_memory(was, now):
            continue
        was, now = was[source], now[stay]
        differ = np.flatnonzero(was != now)
        differ = differ[~(pd.isna(was[differ]) & pd.isna(now[differ]))]
        if len(differ):
            changed[differ] = True
            fields.append(str(name))
    rows = stay[changed]
    values = {name: [_value(value) for value in after[name].to_numpy()[rows]] for name in fields}
    return list(old_names[~kept]), [int(row) for row in new], list(names[rows]), values


def _same_memory(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    """Whether two arrays of one length are the same array."""
    places = [(a.dtype, a.strides, a.__array_interface__["data"]) for a in (one, other)]
    return places[0] == places[1]


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return value
    if pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _differing(old: gpd.GeoDataFrame, new: gpd.GeoDataFrame) -> tuple[list[str], gpd.GeoDataFrame]:
    """Cameras of two registers that are not the same: ids as they were, rows as they are."""
    at = pd.Index(old["id"]).get_indexer(pd.Index(new["id"]))
    fresh = at < 0
    differ = np.zeros(len(new), dtype=np.bool_)
    stay = np.flatnonzero(~fresh)
    for name in new.columns:
        was, now = old[name].to_numpy(dtype=object)[at[stay]], new[name].to_numpy(dtype=object)[stay]
        differ[stay] |= np.array([not _equal(a, b) for a, b in zip(was, now, strict=True)], dtype=np.bool_)
    left = ~old["id"].isin(new["id"]).to_numpy()
    gone = [*old["id"].to_numpy()[left], *new["id"].to_numpy()[differ]]
    return [str(name) for name in gone], new[differ | fresh].reset_index(drop=True)


def _equal(one: Any, other: Any) -> bool:
    return bool(one == other) or (one != one and other != other) or (pd.isna(one) is True and pd.isna(other) is True)
