"""Where to put the next cameras: candidates on poles, walls and the bank against what is not seen, chosen by `gis.siting`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely
import sqlalchemy as sa
from scipy import sparse

from gis.cameras import CameraTable, check_densities, prepare
from gis.coverage_sight import sights
from gis.errors import Cancelled, ConfigError, InputError, NotFound
from gis.settings import CityConfig
from gis.siting import CoverageTarget, SitingProblem, SitingProgress, SitingResult, solve
from gis.visibility_surface import Surface
from grids.proposals_mounts import Candidates, Mounts, candidates, mounts, thin
from grids.proposals_places import KINDS, Places, demand_places
from grids.proposals_rows import proposal_rows
from grids.scene import Scene, read_scene
from grids.views import area_prefix
from layers.access import SYSTEM, Principal
from layers.database import Database
from layers.frames import read_frame, replace_results
from layers.runs import run

__all__ = ["Choice", "ProposalReport", "SiteTarget", "choose", "propose"]

Step = Callable[[str, str, int, int], None]

#: Mounts that are looked at; of more the most promising are taken, and the summary says how many there were.
MOUNTS_MAX = 3000
COUNT_MAX = 10_000
_LAYERS = (
    "camera_site", "building", "water", "road", "grid_cell", "community", "admin_area", "riverbank", "outfall", "school", "pole",
)  # fmt: skip


@dataclass(frozen=True)
class SiteTarget:
    """Places of one kind that must be seen by ``at_least`` cameras at ``density_px_m`` (the coarsest without it), before weight counts."""

    kind: str
    at_least: int = 1
    density_px_m: float | None = None

    @property
    def name(self) -> str:
        """As on the command line: ``outfall:2@40``."""
        density = "" if self.density_px_m is None else f"@{self.density_px_m:g}"
        return f"{self.kind}:{self.at_least}{density}"


@dataclass(frozen=True)
class Choice:
    """What was chosen among candidates.

    Attributes
    ----------
    result : SitingResult
        Its demands are the columns of ``coverage``.
    coverage : sparse array (candidates, columns)
        The places not yet seen ``times`` times, then those of each target.
    columns : int array
        The place of each column.
    seen_before, seen_after : int arrays (places,)
        How many online cameras surely see each place.
    met : tuple of (str, ...)
        For each chosen site the targets of which it was the one to meet a place.
    """

    result: SitingResult
    coverage: Any
    columns: npt.NDArray[np.int64]
    seen_before: npt.NDArray[np.int64]
    seen_after: npt.NDArray[np.int64]
    met: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ProposalReport:
    """What a run proposes, in figures."""

    run_id: UUID
    summary: dict[str, Any] = field(default_factory=dict)


def choose(
    existing: CameraTable,
    possible: Candidates,
    surface: Surface,
    places: Places,
    *,
    count: int | None = None,
    budget: float | None = None,
    times: int = 1,
    targets: Sequence[SiteTarget] = (),
    target_height_m: float = 0.0,
    time_limit_s: float | None = None,
    seed: int = 0,
    progress: Callable[[SitingProgress], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    scheduler: str | None = None,
) -> Choice:
    """Choose cameras among candidates, given those that exist. No database is needed.

    Parameters
    ----------
    existing : CameraTable
        Only what they surely see while online counts.
    possible : Candidates
    places : Places
    count, budget
        One of them; the budget in the unit of the candidates' costs.
    times : int
        Up to how many cameras on one place are worth something.
    scheduler : str, optional
        Address of a dask.distributed scheduler on which what each candidate sees is found out; the choice is made here.

    Raises
    ------
    InputError
        Neither or both of count and budget, a target of a kind that is not among the places, or a density that was not prepared.
    """
    m, n = len(places), len(possible.table)

    def pairs(table: CameraTable, product: str, density: float | None, which: npt.NDArray[np.int64]) -> Any:
        found = sights(
            table,
            surface,
            places.x[which],
            places.y[which],
            product=product,
            density_px_m=density,
            target_height_m=target_height_m,
            scheduler=scheduler,
            check=lambda: _stop(cancel),
        )
        return sparse.csr_array(
            (np.ones(len(found.camera), dtype=np.int8), (found.camera, found.place)), shape=(len(table), len(which))
        )

    everything = np.arange(m)
    before = _counts(pairs(existing, "confirmed_online", None, everything))
    open_places = np.flatnonzero(before < times)
    blocks = [pairs(possible.table, "confirmed_installed", None, open_places)]
    columns, have = [open_places], [before[open_places]]
    wanted = []
    start = len(open_places)
    for target in targets:
        if target.kind not in places.kinds:
            raise InputError(
                f"There are no places of kind {target.kind!r} for a target.", zh=f"没有可作目标的 {target.kind!r}。"
            )
        which = places.of_kind(target.kind)
        blocks.append(pairs(possible.table, "confirmed_installed", target.density_px_m, which))
        columns.append(which)
        have.append(_counts(pairs(existing, "confirmed_online", target.density_px_m, which)))
        wanted.append(CoverageTarget(target.name, np.arange(start, start + len(which)), target.at_least))
        start += len(which)
    coverage = sparse.csr_array(sparse.hstack(blocks, format="csr"))
    weights = np.concatenate([places.weight[open_places], np.zeros(start - len(open_places))])
    result = solve(
        SitingProblem(
            coverage=coverage,
            weights=weights,
            count=None if count is None else min(count, n),
            budget=budget,
            costs=possible.cost,
            existing=np.concatenate(have),
            times=times,
            targets=tuple(wanted),
        ),
        seed=seed,
        time_limit_s=time_limit_s,
        progress=progress,
        cancelled=cancel,
    )
    after = before.copy()
    after[open_places] = result.covered[: len(open_places)]
    return Choice(
        result, coverage, np.concatenate(columns), before, after, _met(result, coverage, np.concatenate(have), wanted)
    )


def _counts(pairs: Any) -> npt.NDArray[np.int64]:
    return np.bincount(pairs.indices, minlength=pairs.shape[1]).astype(np.int64)


def _met(
    result: SitingResult, coverage: Any, have: npt.NDArray[np.int64], targets: Sequence[CoverageTarget]
) -> tuple[tuple[str, ...], ...]:
    covered = have.copy()
    told = []
    for site in result.sites:
        fresh = coverage.indices[coverage.indptr[site] : coverage.indptr[site + 1]]
        covered[fresh] += 1
        told.append(tuple(t.name for t in targets if np.any(covered[np.intersect1d(fresh, t.demands)] == t.at_least)))
    return tuple(told)


def propose(
    database: Database,
    city: CityConfig,
    home: Path,
    *,
    count: int | None = None,
    budget: float | None = None,
    kinds: Sequence[str] = (),
    area: str | None = None,
    types: Sequence[str] = (),
    times: int = 1,
    targets: Sequence[SiteTarget] = (),
    time_limit_s: float | None = None,
    mounts_max: int = MOUNTS_MAX,
    principal: Principal = SYSTEM,
    progress: Step | None = None,
    cancel: Callable[[], bool] | None = None,
    scheduler: str | None = None,
) -> ProposalReport:
    """Propose sites and store them as layer ``site_proposal``, in the place of those proposed before.

    Parameters
    ----------
    count : int, optional
        How many cameras; exactly one of ``count`` and ``budget`` is given.
    budget : float, optional
        Yuan.
    kinds : sequence of str
        Only places of these kinds (`grids.proposals_places.KINDS`).
    area : str, optional
        Administrative code (or its beginning): only places there.
    types : sequence of str
        Only these of the city file's ``camera_types``.
    times, targets, time_limit_s
        See `choose`.
    mounts_max : int
        Most poles, corners and other mounts to look at.
    scheduler : str, optional
        Address of a dask.distributed scheduler on which lines of sight are followed.

    Raises
    ------
    InputError
        Count, budget, kinds or types make no sense.
    NotFound
        There is no such area.
    ConfigError
        The city file names no type of camera.
    Cancelled
        ``cancel`` said so; the proposals before stay.
    """
    chosen_types = _check(city, count, budget, types, times, targets)
    tell = progress or (lambda _en, _zh, _done, _total: None)
    parameters = {
        "count": count, "budget": budget, "kinds": list(kinds), "area": area, "types": list(chosen_types), "times": times,
        "targets": [target.name for target in targets], "time_limit_s": time_limit_s, "mounts_max": mounts_max,
        "weights": dict(city.gap_weights), "cell_m": city.coverage.cell_m, "target_height_m": city.coverage.target_height_m,
    }  # fmt: skip
    with run(database, kind="propose-sites", parameters=parameters, layers=_LAYERS, principal=principal) as current:
        tell("reading the layers", "读取图层", 0, 1)
        with database.begin(readonly=True, snapshot=True) as connection:
            scene = read_scene(connection, city, home)
            layers = _read(connection, city.analysis_srid)
        places = demand_places(
            roads=layers["roads"],
            banks=layers["banks"],
            outfalls=layers["outfalls"],
            schools=layers["schools"],
            cells=layers["cells"].geometry.to_numpy(),
            weights=city.gap_weights,
            kinds=kinds,
            within=_area(layers, area),
        )
        tell("reading the layers", "读取图层", 1, 1)
        existing = prepare(
            scene.cameras,
            defaults=city.camera_defaults,
            densities_px_m=city.coverage.densities_px_m,
            crs=city.analysis_srid,
            bounds=scene.surface.bounds,
            range_max_m=city.coverage.range_max_m,
        )
        tell("candidates", "候选点位", 0, 1)
        possible, group, available = _candidates(
            city, scene, layers, existing, places, chosen_types, times, targets, mounts_max, scheduler
        )
        tell("candidates", "候选点位", 1, 1)
        _stop(cancel)
        choice = choose(
            existing,
            possible,
            scene.surface,
            places,
            count=count,
            budget=budget,
            times=times,
            targets=targets,
            target_height_m=city.coverage.target_height_m,
            time_limit_s=time_limit_s,
            progress=lambda at: tell("choosing", "求解选址", round(100 * at.done), 100),
            cancel=cancel,
            scheduler=scheduler,
        )
        _stop(cancel)
        tell("writing the results", "写入结果", 0, 1)
        frame = proposal_rows(
            choice.result,
            possible,
            group,
            existing,
            scene,
            cells=layers["cells"],
            met=choice.met,
            target_height_m=city.coverage.target_height_m,
        )
        with database.begin() as connection:
            replace_results(connection, "site_proposal", frame, run=current)
        tell("writing the results", "写入结果", 1, 1)
        current.summary.update(_summary(choice, possible, places, available, len(group)))
        current.summary["assumptions"] = [*existing.assumptions, *scene.surface.assumptions, *scene.notes]
    return ProposalReport(current.id, current.summary)


def _stop(cancel: Callable[[], bool] | None) -> None:
    if cancel is not None and cancel():
        raise Cancelled("Stopped on request.", zh="已按要求停止。")


def _check(
    city: CityConfig,
    count: int | None,
    budget: float | None,
    types: Sequence[str],
    times: int,
    targets: Sequence[SiteTarget],
) -> dict[str, Any]:
    if (count is None) == (budget is None):
        raise InputError("Give either a count or a budget.", zh="请给出数量或预算之一。")
    if count is not None and not 1 <= count <= COUNT_MAX:
        raise InputError(f"The count must be 1 to {COUNT_MAX:,}.", zh=f"数量须为 1–{COUNT_MAX:,}。")
    if budget is not None and not 0 < budget < float("inf"):
        raise InputError("The budget must be a positive number of yuan.", zh="预算须为正数（元）。")
    if not 1 <= times <= 10:
        raise InputError("A place is worth 1 to 10 cameras.", zh="每处覆盖次数须为 1–10。")
    for target in targets:
        if target.kind not in KINDS or not 1 <= target.at_least <= 10:
            raise InputError(f"{target.name!r} is no target.", zh=f"{target.name!r} 不是有效目标。")
        if target.density_px_m is not None and target.density_px_m not in check_densities(city.coverage.densities_px_m):
            raise InputError(
                f"The city file has no density of {target.density_px_m:g} px/m.",
                zh=f"城市文件没有 {target.density_px_m:g} 像素/米的密度。",
            )
    if not city.camera_types:
        raise ConfigError("The city file names no camera_types to propose.", zh="城市文件没有 camera_types。")
    unknown = [name for name in types if name not in city.camera_types]
    if unknown:
        raise InputError(
            f"There is no camera type {unknown[0]!r}; there are {', '.join(city.camera_types)}.",
            zh=f"没有摄像机类型 {unknown[0]!r}，可选 {'、'.join(city.camera_types)}。",
        )
    # the city file's costs are thousands of yuan, results are in yuan
    return {
        name: kind.model_copy(update={"cost": kind.cost * 1000.0})
        for name, kind in city.camera_types.items()
        if not types or name in types
    }


def _read(connection: sa.Connection, srid: int) -> dict[str, gpd.GeoDataFrame]:
    valid = sa.text("coalesce(grid_kind, 'unit') = 'unit' AND coalesce(code_status, 'valid') = 'valid'")
    wanted: dict[str, tuple[str, list[str], Any]] = {
        "cells": ("grid_cell", ["admin_code"], valid),
        "communities": ("community", ["admin_code"], None),
        "admin": ("admin_area", ["admin_code"], None),
        "roads": ("road", ["road_class", "bridge", "tunnel", "osm_layer"], None),
        "banks": ("riverbank", ["bank_side"], None),
        "outfalls": ("outfall", ["admin_code"], None),
        "schools": ("school", ["admin_code", "entrances"], None),
        "poles": ("pole", ["kind"], None),
    }
    return {
        name: read_frame(connection, layer, columns=columns, srid=srid, where=where)
        for name, (layer, columns, where) in wanted.items()
    }


def _area(layers: dict[str, gpd.GeoDataFrame], area: str | None) -> npt.NDArray[Any] | None:
    """The ground of an administrative code: its own outline, else those of the units in it."""
    prefix = area_prefix(area)
    if not prefix:
        return None
    for name in ("admin", "communities"):
        frame = layers[name]
        exact = frame[frame["admin_code"].astype("string") == prefix.ljust(12, "0")]
        if len(exact):
            return np.asarray(exact.geometry.to_numpy(), dtype=object)
    for name in ("communities", "cells", "admin"):
        frame = layers[name]
        parts = frame[frame["admin_code"].astype("string").str.startswith(prefix).fillna(False)]
        if len(parts):
            return np.asarray(parts.geometry.to_numpy(), dtype=object)
    raise NotFound(f"No administrative area has the code {area}.", zh=f"没有区划代码为 {area} 的区域。")


def _open(
    existing: CameraTable,
    surface: Surface,
    places: Places,
    times: int,
    targets: Sequence[SiteTarget],
    height_m: float,
    scheduler: str | None,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which places want more cameras at all, and which for the sake of a target."""

    def count(density: float | None) -> npt.NDArray[np.int64]:
        found = sights(
            existing,
            surface,
            places.x,
            places.y,
            product="confirmed_online",
            density_px_m=density,
            target_height_m=height_m,
            scheduler=scheduler,
        )
        return np.bincount(found.place, minlength=len(places))

    first = np.zeros(len(places), dtype=np.bool_)
    for target in targets:
        if target.kind in places.kinds:
            which = places.of_kind(target.kind)
            first[which] |= count(target.density_px_m)[which] < target.at_least
    return (count(None) < times) | first, first


def _candidates(
    city: CityConfig,
    scene: Scene,
    layers: dict[str, gpd.GeoDataFrame],
    existing: CameraTable,
    places: Places,
    types: dict[str, Any],
    times: int,
    targets: Sequence[SiteTarget],
    mounts_max: int,
    scheduler: str | None,
) -> tuple[Candidates, Mounts, int]:
    wanted, first = _open(existing, scene.surface, places, times, targets, city.coverage.target_height_m, scheduler)
    xy = np.column_stack([places.x, places.y])
    options: dict[str, Any] = {
        "densities_px_m": check_densities(city.coverage.densities_px_m),
        "range_max_m": city.coverage.range_max_m,
        "crs": city.analysis_srid,
    }
    one = Mounts(np.zeros(1), np.zeros(1), *[np.array([None], dtype=object)] * 3)
    reach_m = float(candidates(one, types, orientations=1, **options).table.reach_m.max())
    buildings = scene.buildings[shapely.get_dimensions(scene.buildings.geometry.to_numpy()) == 2]
    group = mounts(
        poles=layers["poles"],
        buildings=buildings,
        roads=layers["roads"],
        banks=layers["banks"] if {"riverbank", "outfall"} & set(places.kinds) else layers["banks"].iloc[:0],
        cells=layers["cells"].geometry.to_numpy(),
        unseen_xy=xy[wanted],
        reach_m=reach_m,
    )
    available = len(group)
    if available:
        group = thin(group, xy[wanted], places.weight[wanted], reach_m=reach_m, at_most=mounts_max, first_xy=xy[first])
    return candidates(group, types, **options), group, available


def _summary(choice: Choice, possible: Candidates, places: Places, available: int, considered: int) -> dict[str, Any]:
    result = choice.result
    total = float(places.weight.sum())

    def share(seen: npt.NDArray[np.int64]) -> float | None:
        return round(float(places.weight[seen > 0].sum()) / total, 4) if total else None

    return {
        "sites": len(result.sites),
        "cost": round(float(result.cost), 2),
        "mounts": {"available": available, "considered": considered},
        "candidates": len(possible.table),
        "places": {
            kind: {
                "all": len(places.of_kind(kind)),
                "seen_before": int((choice.seen_before[places.of_kind(kind)] > 0).sum()),
                "seen_after": int((choice.seen_after[places.of_kind(kind)] > 0).sum()),
            }
            for kind in places.kinds
        },
        "step_m": round(places.step_m, 2),
        "share_before": share(choice.seen_before),
        "share_after": share(choice.seen_after),
        "value": round(result.value - result.base_value, 3),
        "upper_bound": round(result.upper_bound - result.base_value, 3),
        "gap": round(result.gap, 6),
        "proven": result.proven and available == considered,
        "proven_among_candidates": result.proven,
        "stopped": result.stopped,
        "method": result.method,
        "seconds": round(result.seconds, 2),
        "targets": [
            {
                "name": target.name,
                "wanted": target.wanted,
                "met": target.met,
                "missed": len(target.missed),
                "out_of_reach": len(target.out_of_reach),
            }
            for target in result.targets
        ],
        "targets_met": result.targets_met,
    }
