"""Check of a stored layout: every fault with its objects, place and measure, put into layer ``layout_fault``."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from gis.crs import SourceCRS, transform_geometries
from gis.errors import InputError
from gis.roadgraph import road_graph
from gis.settings import CityConfig
from grids.layout import LAYOUT_LAYERS, LayoutData, read_layout, road_levels
from grids.layout_faults import LayoutFault, fault_frame
from grids.layout_judge import (
    NotChecked,
    judge_cells,
    judge_counts,
    judge_points,
    judge_shapes,
    judge_values,
    weights_of,
)
from grids.layout_ring import Closure, judge_closures
from grids.layout_units import judge_unit_codes, judge_water
from layers.access import SYSTEM, Principal
from layers.database import Database
from layers.frames import replace_results
from layers.runs import run

__all__ = ["TOLERANCE_M", "WATCH_REACH_M", "LayoutReport", "check_layout", "judge_layout"]

log = logging.getLogger(__name__)

#: Stored in degrees and seen in metres, long borders with T-junctions differ by millimetres.
TOLERANCE_M = 0.01
#: A crossing is watched when a camera that is not removed is this near.
WATCH_REACH_M = 30.0

WEIGHTS = ("population", "household_count")

Step = Callable[[str, str, int, int], None]


@dataclass(frozen=True)
class LayoutReport:
    """What a check found.

    Attributes
    ----------
    run_id : UUID
    layout, version
    faults : tuple of LayoutFault
    closures : tuple of Closure
        The ring's first, then the zones'.
    not_checked : tuple of (what, reason, reason in Chinese)
        What could not be looked at; not the same as without fault.
    figures : dict
        Units by level, weights, imbalance, tolerances.
    """

    run_id: UUID
    layout: str
    version: int
    faults: tuple[LayoutFault, ...]
    closures: tuple[Closure, ...]
    not_checked: tuple[NotChecked, ...]
    figures: dict[str, Any] = field(repr=False)

    @property
    def holds(self) -> bool:
        """Whether there is no error; warnings may be."""
        return not any(fault.severity == "error" for fault in self.faults)

    @property
    def plan_holds(self) -> bool:
        """Whether ring, zones, grids and points are without error, whatever the grid cells below them are."""
        return not any(fault.severity == "error" and fault.level is not None for fault in self.faults)

    @property
    def counts(self) -> dict[str, int]:
        """Faults by kind."""
        return dict(sorted(Counter(fault.kind for fault in self.faults).items()))


def judge_layout(
    data: LayoutData, city: CityConfig, *, weight: str = "population", tolerance_m: float = TOLERANCE_M,
    reach_m: float = WATCH_REACH_M, progress: Step | None = None,
) -> tuple[list[LayoutFault], tuple[Closure, ...], list[NotChecked], dict[str, Any]]:  # fmt: skip
    """All checks of a layout that has been read: faults, closures, what was not checked, figures.

    Parameters
    ----------
    weight : str
        ``population`` or ``household_count``: what the balance is of.
    tolerance_m : float
        Width above which a gap or overlap is a fault.
    reach_m : float
        Distance at which a camera watches a crossing.
    """
    tell = progress or (lambda _en, _zh, _done, _total: None)
    tell("ring, zones and grids", "圈、片、格", 0, 4)
    found = judge_counts(data, city) + judge_unit_codes(data) + judge_water(data)
    graph = road_graph(data.roads, level=road_levels(data.roads)) if len(data.roads) else None
    faults, missed = judge_shapes(data, graph, tolerance_m=tolerance_m)
    found += faults
    tell("crossings and closures", "路口与闭环", 1, 4)
    faults, closures = judge_closures(data, graph, reach_m=reach_m)
    found += faults
    tell("grid cells", "网格单元", 2, 4)
    faults, more = judge_cells(data, tolerance_m=tolerance_m)
    found += faults
    missed += more
    tell("weights and points", "权重与点位", 3, 4)
    weights = weights_of(data, weight)
    faults, more = judge_values(data, city, weights, city.rules)
    found += faults
    missed += more
    found += judge_points(data, city, tolerance_m=tolerance_m)
    tell("done", "完成", 4, 4)
    whole = _whole(data, city)
    found = [replace(f, place=whole) if f.place is None or f.place.is_empty else f for f in found]
    rank = {"error": 0, "warning": 1, "info": 2}
    found.sort(key=lambda f: (rank[f.severity], f.kind))
    figures = {
        "units": {"ring": len(data.ring), "zone": len(data.zones), "grid": len(data.grids), "point": len(data.points)},
        "cells": len(data.cells),
        "weight": weight,
        "imbalance_max": {name: _imbalance(load) for name, load in zip(("zone", "grid"), weights, strict=True)},
        "tolerance_m": tolerance_m,
        "watch_reach_m": reach_m,
    }
    return found, closures, missed, figures


def _whole(data: LayoutData, city: CityConfig) -> BaseGeometry:
    """Where a fault is that is nowhere in particular, as a missing zone: the extent of the layout, else of the city."""
    units = np.concatenate([frame.geometry.to_numpy() for frame in (data.ring, data.zones, data.grids, data.points)])
    extent = shapely.total_bounds(units) if len(units) else np.full(4, np.nan)
    if np.isfinite(extent).all():
        return shapely.box(*extent)
    edges = np.array([shapely.box(*city.bounds)], dtype=object)
    shape: BaseGeometry = transform_geometries(edges, SourceCRS(str(city.storage_srid)), city.analysis_srid)[0]
    return shape


def _imbalance(load: Any) -> float | None:
    mean = float(np.mean(load)) if len(load) else 0.0
    return round(float(np.abs(np.asarray(load) / mean - 1).max()), 4) if mean > 0 else None


def check_layout(
    database: Database,
    city: CityConfig,
    home: Path | None = None,
    *,
    layout: str = "current",
    weight: str = "population",
    tolerance_m: float = TOLERANCE_M,
    reach_m: float = WATCH_REACH_M,
    principal: Principal = SYSTEM,
    progress: Step | None = None,
) -> LayoutReport:
    """Check a layout and store what is found in ``layout_fault``; faults of other layouts stay.

    Parameters
    ----------
    home : Path, optional
        Not used so far: nothing is written to files.
    layout : str
        ``current`` or the name of a draft; its newest version counts.
    weight, tolerance_m, reach_m
        See `judge_layout`.

    Raises
    ------
    NotFound
        There is no such layout.
    InputError
        Another weight, or a tolerance or reach below 0.
    """
    if weight not in WEIGHTS:
        raise InputError(f"The weight is one of {', '.join(WEIGHTS)}.", zh=f"权重须为 {'、'.join(WEIGHTS)} 之一。")
    if tolerance_m < 0 or reach_m < 0:
        raise InputError("Tolerance and reach are not below 0.", zh="容差和守护距离不得为负。")
    parameters = {"layout": layout, "weight": weight, "tolerance_m": tolerance_m, "reach_m": reach_m,
                  "counts": city.layout.model_dump()}  # fmt: skip
    with run(
        database, kind="layout-check", parameters=parameters, layers=LAYOUT_LAYERS, principal=principal
    ) as current:
        with database.begin(readonly=True, snapshot=True) as connection:
            data = read_layout(connection, layout, srid=city.analysis_srid)
        found, closures, missed, figures = judge_layout(
            data, city, weight=weight, tolerance_m=tolerance_m, reach_m=reach_m, progress=progress
        )
        frame = fault_frame(found, layout=layout, version=data.version, srid=city.analysis_srid)
        with database.begin() as connection:
            replace_results(connection, "layout_fault", frame, run=current, scope=("layout", [layout]))
        report = LayoutReport(current.id, layout, data.version, tuple(found), closures, tuple(missed), figures)
        current.summary.update(_summary(report))
    return report


def _summary(report: LayoutReport) -> dict[str, Any]:
    ring = report.closures[0] if report.closures else None
    return {
        "layout": report.layout,
        "version": report.version,
        "holds": report.holds,
        "faults": report.counts,
        "severity": dict(Counter(fault.severity for fault in report.faults)),
        "ring_closed": ring.closed if ring else None,
        "closures": [
            {"unit": c.code, "crossings": c.crossings, "watched": c.watched, "closed": c.closed, "leaks": c.leaks, "fewest": c.fewest}
            for c in report.closures
        ],
        "not_checked": [what for what, _, _ in report.not_checked],
        **report.figures,
    }  # fmt: skip
