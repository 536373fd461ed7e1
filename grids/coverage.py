"""Coverage of the city: one run from the registers to result layers.

Cells of the ground are counted by `gis.coverage`; here the counts become answers: by grid cell and larger unit, along the riverbank,
at outfalls, at schools. Each result row carries the run, and the run says what it was made from.
"""

import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
import sqlalchemy as sa

from gis.cameras import CameraTable, prepare
from gis.coverage import CoverageResult, compute
from gis.coverage_files import write_coverage
from gis.coverage_sensitivity import Sensitivity, sensitivity
from gis.settings import CityConfig
from gis.visibility_surface import Surface
from grids.causes import main_cause, why
from grids.coverage_bank import bank_segments
from grids.coverage_places import outfall_watch, school_coverage
from grids.coverage_units import cover_cells, roll_up
from grids.fairness import fairness
from grids.fence import fence_lines
from grids.gaps import find_gaps
from grids.roads import road_crossings
from grids.scene import Scene, read_scene
from layers.access import SYSTEM, Principal
from layers.database import Database
from layers.frames import read_frame, replace_results
from layers.rasters import drop_coverage, register_coverage
from layers.runs import run

__all__ = [
    "INPUT_LAYERS",
    "Answers",
    "CoverageReport",
    "Step",
    "add_causes",
    "answers",
    "clear_store",
    "figures",
    "middles_of",
    "open_roads_of",
    "read_context",
    "run_coverage",
    "units_of",
    "work_out",
]

log = logging.getLogger(__name__)

#: Layers that a coverage run reads.
INPUT_LAYERS = (
    "camera_site",
    "building",
    "water",
    "road",
    "grid_cell",
    "community",
    "admin_area",
    "layout_unit",
    "riverbank",
    "outfall",
    "school",
    "key_area",
    "railway",
    "pole",
)

#: Called with the name of a step in both languages, and how much of how much is done.
Step = Callable[[str, str, int, int], None]


@dataclass(frozen=True)
class CoverageReport:
    """What a run found, in figures; ``result`` holds the counts cell by cell."""

    run_id: UUID
    summary: dict[str, Any]
    result: CoverageResult = field(repr=False)


def run_coverage(
    database: Database,
    city: CityConfig,
    home: Path,
    *,
    mode: str = "exact",
    cell_m: float | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
    rasters: bool = True,
    move_assumptions: float | None = None,
    principal: Principal = SYSTEM,
    progress: Step | None = None,
    cancel: Callable[[], bool] | None = None,
) -> CoverageReport:
    """Compute what the cameras see and store it: ``coverage_by_grid``, ``bank_coverage``, ``outfall_watch``, ``school_coverage``.

    Parameters
    ----------
    mode : str
        ``exact`` or ``fast`` (see `gis.visibility`).
    cell_m : float, optional
        Side of the cells of the ground; the city file's without it.
    scheduler : str, optional
        Address of a dask.distributed scheduler.
    rasters : bool
        Also write the counts cell by cell as cloud-optimised GeoTIFFs, known to the database as ``coverage``.
    move_assumptions : float, optional
        Share by which each assumed value is moved down and up, to tell in the summary (``sensitivity``) how much the area surely seen hangs on
        it; computes the counts twice more for each kind of value that was assumed, in mode ``fast``.
    progress, cancel : callable, optional
        Told of each step; asked whether to stop.

    Returns
    -------
    CoverageReport

    Raises
    ------
    Cancelled
        ``cancel`` said so; the results of the run before stay.
    """
    tell = progress or (lambda _en, _zh, _done, _total: None)
    parameters = {
        "mode": mode,
        "cell_m": cell_m or city.coverage.cell_m,
        "target_height_m": city.coverage.target_height_m,
        "densities_px_m": list(city.coverage.densities_px_m),
        "range_max_m": city.coverage.range_max_m,
        "refraction": city.coverage.refraction,
        "camera_defaults": city.camera_defaults.model_dump(),
    }
    with run(database, kind="coverage", parameters=parameters, layers=INPUT_LAYERS, principal=principal) as current:
        tell("reading the layers", "读取图层", 0, 1)
        with database.begin(readonly=True, snapshot=True) as connection:
            scene = read_scene(connection, city, home, cell_m=cell_m)
            context = read_context(connection, city)
        tell("reading the layers", "读取图层", 1, 1)
        table = prepare(
            scene.cameras,
            defaults=city.camera_defaults,
            densities_px_m=city.coverage.densities_px_m,
            crs=city.analysis_srid,
            bounds=scene.surface.bounds,
            range_max_m=city.coverage.range_max_m,
        )
        result = compute(
            table,
            scene.surface,
            target_height_m=city.coverage.target_height_m,
            densities_px_m=city.coverage.densities_px_m,
            mode=mode,
            scheduler=scheduler,
            workers=workers,
            progress=lambda done, total: tell("lines of sight", "视线计算", done, total),
            cancel=cancel,
            store=home / "coverage",
        )
        moved: list[Sensitivity] = []
        if move_assumptions is not None:
            tell("moving the assumptions", "变动假定值", 0, 1)
            moved = sensitivity(
                scene.cameras,
                scene.surface,
                defaults=city.camera_defaults,
                change=move_assumptions,
                crs=city.analysis_srid,
                target_height_m=city.coverage.target_height_m,
                densities_px_m=tuple(city.coverage.densities_px_m),
                range_max_m=city.coverage.range_max_m,
                workers=workers,
                cancel=cancel,
            )
            tell("moving the assumptions", "变动假定值", 1, 1)
        tables = answers(result, table, scene, context, city, tell)
        tell("writing the results", "写入结果", 0, 1)
        folder = f"coverage/{current.id}"
        if rasters:
            write_coverage(result, home / "rasters" / folder, crs=city.analysis_srid)
        with database.begin() as connection:
            for layer, frame in tables.items():
                replace_results(connection, layer, frame, run=current)
            old = register_coverage(
                connection,
                run_id=current.id,
                folder=folder if rasters else None,
                srid=city.analysis_srid,
                bounds=result.bounds,
                cell_m=result.cell_m,
                synthetic=current.synthetic,
            )
        drop_coverage(home, old)
        tell("writing the results", "写入结果", 1, 1)
        current.summary.update(figures(result, scene, tables))
        if "coverage_by_grid" in tables:
            current.summary["fairness"] = fairness(tables["coverage_by_grid"])
        if moved:
            current.summary["sensitivity"] = [{**asdict(one), "swing": round(one.swing, 4)} for one in moved]
        clear_store(home / "coverage")
    return CoverageReport(current.id, current.summary, result)


def read_context(connection: sa.Connection, city: CityConfig) -> dict[str, gpd.GeoDataFrame]:
    """The layers that counts are told for, in the analysis system: grid cells, roads, banks, outfalls, schools and others.

    Railways are told by their fences.
    """
    srid = city.analysis_srid
    return {
        "cells": read_frame(
            connection,
            "grid_cell",
            columns=["name_zh", "grid_code", "admin_code", "urban_rural"],
            srid=srid,
            where=sa.text("coalesce(grid_kind, 'unit') = 'unit' AND coalesce(code_status, 'valid') = 'valid'"),
        ),
        "roads": read_frame(connection, "road", columns=["road_class", "bridge", "tunnel", "osm_layer"], srid=srid),
        "communities": read_frame(connection, "community", columns=["name_zh", "admin_code"], srid=srid),
        "admin": read_frame(connection, "admin_area", columns=["name_zh", "admin_code"], srid=srid),
        "zones": read_frame(
            connection,
            "layout_unit",
            columns=["name_zh", "code"],
            srid=srid,
            where=sa.text("level = 'zone' AND layout = 'current'"),
        ),
        "banks": read_frame(
            connection,
            "riverbank",
            columns=["reach_code", "bank_side", "start_m", "end_m", "admin_code", "name_zh"],
            srid=srid,
        ),
        "outfalls": read_frame(
            connection, "outfall", columns=["name_zh", "code_local", "code_national", "admin_code"], srid=srid
        ),
        "areas": read_frame(
            connection,
            "key_area",
            columns=["name_zh", "admin_code", "kind"],
            srid=srid,
            where=sa.text("kind IS DISTINCT FROM 'truck_ban'"),  # a zone of traffic, not a place to be watched
        ),
        "railways": fence_lines(
            read_frame(
                connection,
                "railway",
                columns=["name_zh", "admin_code", "half_width_m"],
                srid=srid,
                where=sa.text("NOT coalesce(tunnel, false)"),
            ),
            distance_m=city.coverage.railway_fence_m,
        ),
        "poles": read_frame(connection, "pole", columns=["kind"], srid=srid),
        "schools": read_frame(
            connection, "school", columns=["name_zh", "admin_code", "boundary", "entrances"], srid=srid
        ),
    }


def answers(
    result: CoverageResult,
    table: CameraTable,
    scene: Scene,
    context: dict[str, gpd.GeoDataFrame],
    city: CityConfig,
    tell: Step,
) -> dict[str, gpd.GeoDataFrame]:
    """Rows of the result layers, by layer, from counts, the scene and what `read_context` gave."""
    return work_out(result, table, scene, context, city, tell).tables


@dataclass(frozen=True)
class Answers:
    """Rows of the result layers by layer, and what they were made of: sums of each grid cell (None without cells)."""

    tables: dict[str, gpd.GeoDataFrame]
    sums: pd.DataFrame | None


def open_roads_of(roads: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Roads under the sky."""
    return roads[~roads["tunnel"].fillna(False).astype(bool)]


def work_out(
    result: CoverageResult,
    table: CameraTable,
    scene: Scene,
    context: dict[str, gpd.GeoDataFrame],
    city: CityConfig,
    tell: Step,
    *,
    internal: bool = False,
) -> Answers:
    """`answers` with the sums; ``internal`` keeps the columns of `collect_gaps` that say where a gap comes from."""
    tables: dict[str, gpd.GeoDataFrame] = {}
    sums: pd.DataFrame | None = None
    roads = context["roads"]
    open_roads = open_roads_of(roads)
    crossings = road_crossings(roads)
    cells = context["cells"]
    if len(cells):
        tell("grid cells", "网格统计", 0, 1)
        closed = np.concatenate([scene.buildings.geometry.to_numpy(), scene.water.geometry.to_numpy()])
        sums = cover_cells(result, cells, closed=closed, roads=open_roads, crossings=crossings, cameras=scene.cameras)
        tables["coverage_by_grid"] = roll_up(
            sums, cells, densities=len(result.densities_px_m), units=units_of(cells, context)
        )
        tell("grid cells", "网格统计", 1, 1)
    if len(context["banks"]):
        tell("riverbank", "岸线统计", 0, 1)
        tables["bank_coverage"] = bank_segments(result, context["banks"])
        tell("riverbank", "岸线统计", 1, 1)
    if len(context["outfalls"]):
        tables["outfall_watch"] = outfall_watch(result, context["outfalls"], scene.cameras, table, scene.surface)
    if len(context["schools"]):
        tell("schools", "学校统计", 0, 1)
        closed = scene.buildings.geometry.to_numpy()
        tables["school_coverage"] = school_coverage(result, context["schools"], open_roads, closed=closed)
        tell("schools", "学校统计", 1, 1)
    tell("gaps and their causes", "盲区及其原因", 0, 1)
    tables["coverage_gap"] = find_gaps(
        result,
        table,
        scene.surface,
        cells=cells,
        roads=open_roads,
        crossings=crossings,
        bank=tables.get("bank_coverage", context["banks"].iloc[:0]),
        outfalls=context["outfalls"],
        schools=context["schools"],
        areas=context["areas"],
        railways=context["railways"],
        poles=context["poles"],
        buildings=scene.buildings,
        weights=city.gap_weights,
        internal=internal,
    )
    for layer in ("bank_coverage", "outfall_watch"):
        if layer in tables:
            add_causes(tables[layer], np.arange(len(tables[layer])), table, scene.surface)
    tell("gaps and their causes", "盲区及其原因", 1, 1)
    return Answers(tables, sums)


def add_causes(
    frame: gpd.GeoDataFrame, rows: npt.NDArray[np.int64], table: CameraTable, surface: Surface
) -> gpd.GeoDataFrame:
    """Say at some rows of outfalls or stretches of bank why they are not confirmed: judged in the middle of a stretch."""
    places = middles_of(frame.geometry.to_numpy()[rows])
    cause = frame["cause"].to_numpy(copy=True) if "cause" in frame else np.full(len(frame), None, dtype=object)
    cause[rows] = main_cause(why(table, surface, places), np.arange(len(rows)), groups=len(rows)).cause
    frame["cause"] = cause
    return frame


def middles_of(places: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Points as they are, lines by their middle."""
    lines = shapely.get_dimensions(places) == 1
    middles = places.copy()
    middles[lines] = shapely.line_interpolate_point(places[lines], 0.5, normalized=True)
    return middles


def units_of(
    cells: gpd.GeoDataFrame, context: dict[str, gpd.GeoDataFrame]
) -> dict[str, tuple[pd.Series, gpd.GeoDataFrame | None]]:
    """Larger units by kind: the unit's key of each cell, and the units' outlines, None where they are those of their cells."""
    code = cells["admin_code"].astype("string")
    admin = context["admin"].dropna(subset=["admin_code"])
    admin = admin.assign(key=admin["admin_code"])
    community = context["communities"].dropna(subset=["admin_code"])
    units: dict[str, tuple[pd.Series, gpd.GeoDataFrame | None]] = {
        "community": (code, community.assign(key=community["admin_code"]) if len(community) else None),
        "street": (code.str[:9] + "000", admin if (admin["key"].str[6:9] != "000").any() else None),
        "county": (code.str[:6] + "000000", admin),
        "urban_rural": (cells["urban_rural"].astype("string"), None),
    }
    zones = context["zones"]
    if len(zones):
        inside, zone = shapely.STRtree(zones.geometry.to_numpy()).query(
            shapely.point_on_surface(cells.geometry.to_numpy()), predicate="within"
        )
        key = pd.Series(pd.NA, index=range(len(cells)), dtype="string")
        key.iloc[inside] = zones["id"].astype("string").to_numpy()[zone]
        units["zone"] = (key, zones.assign(key=zones["id"].astype("string")))
    return units


def _share(part: float, whole: float) -> float | None:
    return round(float(part) / float(whole), 4) if whole else None


def figures(result: CoverageResult, scene: Scene, tables: dict[str, gpd.GeoDataFrame]) -> dict[str, Any]:
    """The figures of a run from what `answers` gave; a share of nothing is null."""
    densities = result.densities_px_m
    summary: dict[str, Any] = {
        "cameras": result.cameras,
        "cameras_left_out": {**scene.left_out, **_reasons(result)},
        "cameras_online": int((scene.cameras["net_status"] == "on").sum()),
        "area_confirmed_online_m2": {f"{d:g}": result.area_m2("confirmed_online", d) for d in densities},
        "area_possible_online_m2": {f"{d:g}": result.area_m2("possible_online", d) for d in densities},
        "area_confirmed_installed_m2": {f"{d:g}": result.area_m2("confirmed_installed", d) for d in densities},
        "assumptions": [*result.assumptions, *scene.notes],
        "fingerprint": result.fingerprint,
    }
    if "coverage_by_grid" in tables:
        cells = tables["coverage_by_grid"].query("unit_kind == 'grid'")
        open_m2 = cells["public_m2"].sum()
        summary["grid_cells"] = {
            "cells": len(cells),
            "public_space_online": _share(
                (cells.get("online_overview", pd.Series(dtype=float)) * cells["public_m2"]).sum(), open_m2
            ),
            "road_online": _share((cells["road_confirmed"] * cells["road_m"]).sum(), cells["road_m"].sum())
            if "road_confirmed" in cells
            else None,
            "crossings": int(cells["crossings"].sum()),
            "crossings_confirmed": int(cells["crossings_confirmed"].sum()),
        }
    if "bank_coverage" in tables:
        metres = tables["bank_coverage"].groupby("state")["length_m"].sum()
        summary["bank_m"] = {state: round(float(length)) for state, length in metres.items()}
    if "outfall_watch" in tables:
        summary["outfalls"] = {str(k): int(v) for k, v in tables["outfall_watch"]["watch_state"].value_counts().items()}
    gaps = tables["coverage_gap"]
    summary["gaps"] = {str(k): int(v) for k, v in gaps["target_kind"].value_counts().items()}
    summary["gap_causes"] = {str(k): int(v) for k, v in gaps["cause"].value_counts().items()} if "cause" in gaps else {}
    if "school_coverage" in tables:
        schools = tables["school_coverage"]
        summary["schools"] = {str(k): int(v) for k, v in schools["state"].value_counts().items()}
        summary["school_roads_m"] = {
            "all": round(float(schools["road_m"].sum())),
            "confirmed": round(float(schools["road_confirmed_m"].sum())),
            "possible": round(float(schools["road_possible_m"].sum())),
        }
    return summary


def _reasons(result: CoverageResult) -> dict[str, int]:
    found: dict[str, int] = {}
    for rejected in result.rejected:
        found[rejected.reason] = found.get(rejected.reason, 0) + 1
    return found


def clear_store(folder: Path) -> None:
    """Tiles that were kept for taking up a broken run are of no more use once it is done."""
    shutil.rmtree(folder, ignore_errors=True)
