"""What happens in the grids: events, monthly counts, patrols. Places and kinds only, no person anywhere."""

from datetime import UTC, datetime, timedelta
from typing import Any

import geopandas as gpd
import numpy as np
import shapely

from data.city.frame import register, rng_for
from data.city.places import drawn, in_cells
from data.city.plan import Plan

__all__ = ["event_layers"]

_KINDS = {
    "city_management": ("占道经营", "乱倒垃圾", "井盖破损", "违章停车", "绿化损坏"),
    "safety_hazard": ("消防通道堵塞", "线路老化", "燃气隐患", "边坡隐患"),
}
_YEAR = {"city_management": 50_000, "safety_hazard": 24_000, "small_dispute": 25_000}


def event_layers(plan: Plan) -> dict[str, gpd.GeoDataFrame]:
    """Layers ``grid_event`` (a sample), ``grid_statistic`` (the published yearly sums, by community seat cell and month) and ``patrol``."""
    return {"grid_event": _events(plan), "grid_statistic": _statistics(plan), "patrol": _patrols(plan)}


def _weight(plan: Plan) -> Any:
    return np.where(plan.cells.is_land, plan.division.population + 1.0, 0.0)


def _events(plan: Plan) -> gpd.GeoDataFrame:
    rng, n = rng_for(plan.seed, "events"), plan.scale.events
    cell = drawn(_weight(plan), n, rng, repeat=True)
    xy = in_cells(plan, cell, rng)
    hazard = rng.random(n) < _YEAR["safety_hazard"] / (_YEAR["safety_hazard"] + _YEAR["city_management"])
    category = np.where(hazard, "safety_hazard", "city_management").astype(object)
    start = datetime(2018, 1, 1, tzinfo=UTC)
    reported = [start + timedelta(minutes=int(m)) for m in np.sort(rng.integers(0, 525_000, n))]
    state = rng.choice(
        np.array(["closed", "in_progress", "open", "rejected"], dtype=object), n, p=[0.9, 0.04, 0.04, 0.02]
    )
    closed = [
        r + timedelta(hours=float(h)) if s == "closed" else None
        for r, h, s in zip(reported, rng.exponential(30.0, n) + 1.0, state, strict=True)
    ]
    return register("grid_event", shapely.points(xy), {
        "admin_code": plan.division.cell_admin_code[cell], "event_no": [f"SJ2018{k + 1:06d}" for k in range(n)], "category": category,
        "subcategory": [_KINDS[c][int(k) % len(_KINDS[c])] for c, k in zip(category, rng.integers(0, 60, n), strict=True)],
        "grid_code": plan.division.grid_code[cell], "reported_at": reported, "closed_at": closed, "state": state}, seed=plan.seed,
        classification="internal", positional_acc_m=10.0)  # fmt: skip


def _statistics(plan: Plan) -> gpd.GeoDataFrame:
    """One seat cell a community (the most populous), twelve months, three indicators; the sums are the published yearly figures."""
    rng = rng_for(plan.seed, "statistics")
    order = np.lexsort([-plan.division.population, plan.division.community])
    community, first = np.unique(plan.division.community[order], return_index=True)
    seat = order[first]
    people = np.bincount(plan.division.community, weights=plan.division.population)[community]
    codes, periods, indicators, values, admin = [], [], [], [], []
    for indicator, total in _YEAR.items():
        share = np.outer(people, 1.0 + 0.15 * rng.standard_normal(12)).ravel()
        share = np.clip(share, 0.01, None)
        exact = share / share.sum() * total
        count = np.floor(exact).astype(int)
        count[np.argsort(-(exact - count), kind="stable")[: total - int(count.sum())]] += 1
        codes += np.repeat(plan.division.grid_code[seat], 12).tolist()
        admin += np.repeat(plan.division.cell_admin_code[seat], 12).tolist()
        periods += [f"2018-{m + 1:02d}" for m in range(12)] * len(seat)
        indicators += [indicator] * len(count)
        values += count.tolist()
    return register("grid_statistic", None, {"admin_code": admin, "grid_code": codes, "period": periods, "indicator": indicators, "value": values},
                    seed=plan.seed, classification="internal", positional_acc_m=None)  # fmt: skip


def _patrols(plan: Plan) -> gpd.GeoDataFrame:
    rng, n = rng_for(plan.seed, "patrols"), 600
    cell = drawn(_weight(plan), n, rng)
    xy = in_cells(plan, cell, rng)
    done = [datetime(2018, 12, 1, tzinfo=UTC) + timedelta(minutes=int(m)) for m in rng.integers(0, 44_000, n)]
    return register("patrol", shapely.points(xy), {
        "admin_code": plan.division.cell_admin_code[cell], "route": [f"巡查路线{int(c) % 160 + 1:03d}" for c in plan.division.community[cell]],
        "grid_code": plan.division.grid_code[cell], "mode": np.where(rng.random(n) < 0.6, "field", "video").astype(object), "done_at": done},
        seed=plan.seed, classification="internal")  # fmt: skip
