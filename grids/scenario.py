"""What if: coverage before and after a set of changes to the cameras, and the difference in figures and in gaps.

The base is computed in full; what changes is followed camera by camera (`gis.coverage_update`), and answers are worked out anew only
where counts have changed. So the figures before and after are those of the grid cells, banks, outfalls and schools there, and shares
are of the cells there; a difference of areas, metres and counts is that of the whole city.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely

from gis.cameras import CameraTable, prepare
from gis.coverage import CoverageResult, compute
from gis.coverage_chunks import CHUNK
from gis.coverage_update import Change as CoverageChange
from gis.coverage_update import update
from gis.settings import CityConfig
from grids.coverage import INPUT_LAYERS, Step, answers, figures, read_context
from grids.coverage_places import SCHOOL_ZONE_M
from grids.scenario_changes import Scenario, changed_register
from grids.scene import Scene, read_scene
from layers.access import SYSTEM, Principal
from layers.database import Database
from layers.runs import run

__all__ = ["Comparison", "compare", "difference", "follow", "gap_changes"]

_NAME_BASE = "current"


@dataclass(frozen=True)
class Comparison:
    """What changes from one scenario to another; ``before`` and ``after`` hold the counts cell by cell."""

    run_id: UUID
    summary: dict[str, Any]
    before: CoverageResult = field(repr=False)
    after: CoverageResult = field(repr=False)


def compare(
    database: Database,
    city: CityConfig,
    home: Path,
    base: Scenario | None,
    changed: Scenario,
    *,
    mode: str = "exact",
    cell_m: float | None = None,
    workers: int | None = None,
    principal: Principal = SYSTEM,
    progress: Step | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Comparison:
    """Compute coverage under two scenarios and tell the difference. The layers of results stay as they are.

    The changed scenario, the base and the comparison are kept with the run (kind ``scenario``), where `stored_scenario` finds them.

    Parameters
    ----------
    base : Scenario or None
        None: the cameras as they are. Both scenarios are changes to these.
    mode, cell_m, workers, progress, cancel
        As for a coverage run.

    Raises
    ------
    NotFound, Conflict, InputError
        A change does not fit the register.
    Cancelled
        ``cancel`` said so.
    """
    tell = progress or (lambda _en, _zh, _done, _total: None)
    parameters = {
        "base": None if base is None else base.model_dump(mode="json", exclude_none=True),
        "changed": changed.model_dump(mode="json", exclude_none=True),
        "mode": mode,
        "cell_m": cell_m or city.coverage.cell_m,
        "target_height_m": city.coverage.target_height_m,
        "densities_px_m": list(city.coverage.densities_px_m),
    }
    title = changed.title_zh or changed.title_en or changed.name
    with run(
        database,
        kind="scenario",
        parameters=parameters,
        layers=INPUT_LAYERS,
        principal=principal,
        scenario=changed.name,
        title=title,
    ) as current:
        tell("reading the layers", "读取图层", 0, 1)
        with database.begin(readonly=True, snapshot=True) as connection:
            scene = read_scene(connection, city, home, cell_m=cell_m)
            context = read_context(connection, city)
        tell("reading the layers", "读取图层", 1, 1)
        scenes = [
            replace(scene, cameras=changed_register(scene.cameras, scenario, city)) for scenario in (base, changed)
        ]
        tables = [_table(part, city) for part in scenes]
        result = compute(
            tables[0],
            scene.surface,
            target_height_m=city.coverage.target_height_m,
            densities_px_m=city.coverage.densities_px_m,
            mode=mode,
            workers=workers,
            progress=lambda done, total: tell("lines of sight", "视线计算", done, total),
            cancel=cancel,
        )
        change = follow(result, scene.surface, tables[0], tables[1])
        summary: dict[str, Any] = {
            "base": base.name if base is not None else _NAME_BASE,
            "changed": changed.name,
            "changes": len(changed.change),
            "cameras_changed": _differing(tables[0], tables[1]),
            "affected_km2": round(len(change.chunks) * (CHUNK * result.cell_m) ** 2 / 1e6, 4),
            "before": {},
            "after": {},
            "difference": {},
            "gaps": {"closed": [], "opened": [], "changed": [], "need": {}},
        }
        if change.chunks:
            local = _local(context, _squares(change, result.cell_m))
            told = []
            for part, table, counts in zip(scenes, tables, (result, change.result), strict=True):
                rows = answers(counts, table, _local_scene(part, local), local, city, tell)
                here = replace(counts, chunks={k: counts.chunks[k] for k in change.chunks if k in counts.chunks})
                told.append((figures(here, part, rows), rows["coverage_gap"]))
            summary |= {
                "before": told[0][0],
                "after": told[1][0],
                "difference": difference(told[0][0], told[1][0]),
                "gaps": gap_changes(told[0][1], told[1][1]),
            }
        current.summary.update(summary)
    return Comparison(current.id, summary, result, change.result)


def _table(scene: Scene, city: CityConfig) -> CameraTable:
    return prepare(
        scene.cameras,
        defaults=city.camera_defaults,
        densities_px_m=city.coverage.densities_px_m,
        crs=city.analysis_srid,
        bounds=scene.surface.bounds,
        range_max_m=city.coverage.range_max_m,
    )


def follow(result: CoverageResult, surface: Any, before: CameraTable, after: CameraTable) -> CoverageChange:
    """The result for the cameras ``after``, from that for the cameras ``before``: only those that differ are looked at.

    Raises
    ------
    Conflict, InputError
        As `gis.coverage_update.update`.
    """
    same = _same(before, after)
    kept = {before.id[i] for i in same}
    out = np.array([i for i in range(len(before)) if before.id[i] not in kept], dtype=np.int64)
    into = np.array([i for i in range(len(after)) if after.id[i] not in kept], dtype=np.int64)
    return update(result, surface, before=before.take(out), after=after.take(into))


def _same(before: CameraTable, after: CameraTable) -> list[int]:
    """Rows of ``before`` that stand in ``after`` unchanged."""
    at = {name: i for i, name in enumerate(after.id)}
    old = np.array([i for i, name in enumerate(before.id) if name in at], dtype=np.int64)
    new = np.array([at[before.id[i]] for i in old], dtype=np.int64)
    equal = np.ones(len(old), dtype=np.bool_)
    for item in fields(CameraTable):
        values, others = getattr(before, item.name), getattr(after, item.name)
        if isinstance(values, np.ndarray):
            alike = values[old] == others[new]
            equal &= alike if alike.ndim == 1 else alike.all(axis=1)
    return [int(i) for i in old[equal]]


def _differing(before: CameraTable, after: CameraTable) -> int:
    kept = {before.id[i] for i in _same(before, after)}
    return len((set(before.id) | set(after.id)) - kept)


def _squares(change: CoverageChange, cell_m: float) -> npt.NDArray[Any]:
    side = CHUNK * cell_m
    keys = np.array(change.chunks, dtype=np.float64)
    south, west = keys[:, 0] * side, keys[:, 1] * side
    return np.atleast_1d(np.asarray(shapely.box(west, south, west + side, south + side), dtype=object))


def _meeting(frame: gpd.GeoDataFrame, ground: npt.NDArray[Any], shapes: npt.NDArray[Any] | None = None) -> Any:
    geometry = frame.geometry.to_numpy() if shapes is None else shapes
    if len(frame) == 0 or len(ground) == 0:
        return frame.iloc[:0]
    found = np.unique(shapely.STRtree(ground).query(geometry, predicate="intersects")[0])
    return frame.iloc[found].reset_index(drop=True)


def _local(context: dict[str, gpd.GeoDataFrame], squares: npt.NDArray[Any]) -> dict[str, gpd.GeoDataFrame]:
    """Of each layer what counts in the squares can bear on, whole: a cell that is half in them is in."""
    local = dict(context)
    for name in ("cells", "banks", "outfalls", "areas", "railways"):
        local[name] = _meeting(context[name], squares)
    schools = context["schools"]
    grounds = np.array(
        [
            point if boundary is None else boundary
            for boundary, point in zip(schools["boundary"], schools.geometry, strict=True)
        ],
        dtype=object,
    )
    zones = shapely.buffer(grounds, SCHOOL_ZONE_M + 1.0)
    local["schools"] = _meeting(schools, squares, zones)
    near = np.isin(schools["id"].to_numpy(dtype=object), local["schools"]["id"].to_numpy(dtype=object))
    local["ground"] = gpd.GeoDataFrame(
        geometry=np.concatenate([squares, local["cells"].geometry.to_numpy(), zones[near]]), crs=context["cells"].crs
    )
    local["roads"] = _meeting(context["roads"], local["ground"].geometry.to_numpy())
    return local


def _local_scene(scene: Scene, local: dict[str, gpd.GeoDataFrame]) -> Scene:
    ground = local["ground"].geometry.to_numpy()
    return replace(scene, buildings=_meeting(scene.buildings, ground), water=_meeting(scene.water, ground))


def difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """After less before, number by number; what stands on one side only counts as 0 on the other, what is equal is left out.

    Examples
    --------
    >>> difference({"a": 1, "b": {"c": 2.5}, "d": 3}, {"a": 4, "b": {"c": 2.5, "e": 1}, "d": 3})
    {'a': 3, 'b': {'e': 1}}
    """
    found: dict[str, Any] = {}
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) or isinstance(new, dict):
            inner = difference(old or {}, new or {})
            if inner:
                found[name] = inner
        elif {_is_number(value) for value in (old, new) if value is not None} == {True}:
            step = (new or 0) - (old or 0)
            if step:
                found[name] = round(step, 6) if isinstance(step, float) else step
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def gap_changes(before: gpd.GeoDataFrame, after: gpd.GeoDataFrame) -> dict[str, Any]:
    """Which gaps close, open, or change in need.

    A place is what gaps are told of: the grid cell of a stretch of road, the side of a reach, the outfall, the school, the area, the line
    of railway; the need of its gaps is summed.

    Returns
    -------
    dict
        ``closed``, ``opened``, ``changed``: lists of places with need before and after, greatest difference first; ``need``: sum by kind.
    """
    old, new = _need_by_place(before), _need_by_place(after)
    lists: dict[str, list[dict[str, Any]]] = {"closed": [], "opened": [], "changed": []}
    for key in dict.fromkeys([*old, *new]):
        was, now = old.get(key, (0.0, None))[0], new.get(key, (0.0, None))[0]
        if abs(was - now) < 0.005:
            continue
        name = (new.get(key) or old[key])[1]
        row = {"target_kind": key[0], "place": key[1], "name": name, "need_before": was, "need_after": now}
        lists["changed" if key in old and key in new else "closed" if key in old else "opened"].append(row)
    for rows in lists.values():
        rows.sort(key=lambda row: (-abs(row["need_before"] - row["need_after"]), row["target_kind"], row["place"]))
    kinds = sorted({key[0] for key in (*old, *new)})
    need = {
        kind: {
            "before": round(sum(v[0] for k, v in old.items() if k[0] == kind), 2),
            "after": round(sum(v[0] for k, v in new.items() if k[0] == kind), 2),
        }
        for kind in kinds
    }
    return {**lists, "need": need}


def _need_by_place(gaps: gpd.GeoDataFrame) -> dict[tuple[str, str], tuple[float, str | None]]:
    found: dict[tuple[str, str], tuple[float, str | None]] = {}
    for row in gaps.to_dict("records"):
        place = row.get("target_id")
        if place is None or place != place:
            place = f"{row.get('reach_code')} {row.get('bank_side')}"
        name = next((row[k] for k in ("name_zh", "grid_code") if isinstance(row.get(k), str)), None)
        key = (str(row["target_kind"]), str(place))
        found[key] = (round(found.get(key, (0.0, None))[0] + float(row["need"]), 2), name)
    return found
