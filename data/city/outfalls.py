"""Outfalls into the river with their samples and inspections; some deliberately wrong."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from data.city.frame import register, rng_for
from data.city.plan import Plan
from data.city.waters import source_zones

__all__ = ["OUTFALLS", "OutfallSites", "draw_outfalls", "outfall_layers"]

OUTFALLS = 124
_ON_TRIBUTARIES = 22
#: From this day on an outfall is a new one in the sense of the Eco-Environment Code; those planted in a zone that misses its target are.
_NEW = date(2026, 8, 15)

#: cat1, cat2, cat3, weight, what it is called.
_KINDS: tuple[tuple[str, str, str | None, float, str, str], ...] = (
    ("industrial", "industrial_sewage", "enterprise", 0.20, "企业排污口", "factory outfall"),
    ("industrial", "industrial_storm", "enterprise_storm", 0.12, "企业雨洪排口", "factory stormwater outlet"),
    ("industrial", "park_wwtp", None, 0.05, "园区污水厂排口", "park treatment plant outfall"),
    ("municipal_wwtp", "municipal_wwtp", None, 0.09, "城镇污水厂排口", "municipal treatment plant outfall"),
    ("agricultural", "livestock_large", None, 0.03, "养殖场排口", "livestock farm outfall"),
    ("other", "port_wharf", None, 0.14, "码头排口", "wharf outfall"),
    ("other", "urban_scattered", None, 0.12, "散排口", "scattered sewage outfall"),
    ("other", "urban_storm", None, 0.21, "城镇雨洪排口", "urban stormwater outlet"),
    ("other", "rural_scattered", None, 0.04, "农村散排口", "rural sewage outfall"),
)


@dataclass(frozen=True)
class OutfallSites:
    """Where outfalls are, in truth: ``inland`` points from the water into the land."""

    xy: NDArray[np.float64]
    inland: NDArray[np.float64]
    chainage_m: NDArray[np.float64]
    side: NDArray[np.object_]
    water: NDArray[np.object_]
    faults: dict[str, list[int]]


def draw_outfalls(plan: Plan) -> OutfallSites:
    """Place outfalls along the city's banks and brooks, away from drinking water except where planted."""
    rng, river = rng_for(plan.seed, "outfalls"), plan.river
    start, end = plan.banks[0].start_m + 600.0, plan.banks[0].end_m + 3000.0
    main = OUTFALLS - _ON_TRIBUTARIES
    at = np.sort(rng.uniform(start, end, main))
    side = np.where(rng.random(main) < 0.66, "L", "R").astype(object)
    inside = rng.choice(main, 3, replace=False)  # planted: inside a water-source zone
    zone = source_zones(plan)[0]
    at[inside] = zone.chainage_m - rng.uniform(300.0, 2700.0, 3)
    side[inside] = zone.side
    xy, inland = np.empty((OUTFALLS, 2)), np.empty((OUTFALLS, 2))
    axis = shapely.get_coordinates(river.axis)
    index = np.array([river.index_at(a) for a in at])
    at = river.station_m[index]
    banks = {s: shapely.get_coordinates(river.left if s == "L" else river.right) for s in "LR"}
    for k in range(main):
        foot = banks[str(side[k])][index[k]]
        out = foot - axis[index[k]]
        inland[k] = out / np.hypot(*out)
        xy[k] = foot + inland[k] * rng.uniform(0.5, 4.0)
    far = rng.choice(np.setdiff1d(np.arange(main), inside), 3, replace=False)  # planted: far from the bank
    xy[far] += inland[far] * rng.uniform(120.0, 240.0, 3)[:, None]
    water = np.full(OUTFALLS, "长江", dtype=object)
    chainage, sides = np.zeros(OUTFALLS), np.empty(OUTFALLS, dtype=object)
    chainage[:main], sides[:main] = at, side
    brooks = [t for t in river.tributaries if not t.is_major]
    for k in range(main, OUTFALLS):
        t = brooks[k % len(brooks)]
        length = float(shapely.length(t.line))
        where = float(rng.uniform(0.35, 0.9)) * length
        p, q = shapely.get_coordinates(shapely.line_interpolate_point(t.line, [where, where + 5.0]))
        across = np.array([-(q - p)[1], (q - p)[0]]) / np.hypot(*(q - p))
        left = bool(rng.random() < 0.5)
        out = across if left else -across
        width = float(shapely.distance(shapely.Point(p), shapely.boundary(t.polygon)))
        xy[k], inland[k] = p + out * (width + rng.uniform(0.5, 2.0)), out
        water[k], chainage[k], sides[k] = t.name_zh, where, "L" if left else "R"
    wrong = rng.choice(
        np.setdiff1d(np.arange(main), np.concatenate([inside, far])), 5, replace=False
    )  # planted: the other side noted
    rest = np.setdiff1d(np.arange(OUTFALLS), inside)
    unapproved = np.sort(rng.choice(rest, 6, replace=False))
    faults = {
        "outfall_in_source_zone": inside.tolist(),
        "outfall_far_from_bank": far.tolist(),
        "outfall_wrong_bank": wrong.tolist(),
        "outfall_unapproved": unapproved.tolist(),
        "outfall_zone_misses_target": np.flatnonzero(water == "柏临河").tolist(),
    }
    return OutfallSites(xy, inland, chainage, sides, water, faults)


def outfall_layers(plan: Plan, sites: OutfallSites) -> tuple[dict[str, gpd.GeoDataFrame], dict[str, list[str]]]:
    """Layers ``outfall``, ``outfall_sample``, ``outfall_inspection``, and the key of planted faults by name."""
    rng, seed, n = rng_for(plan.seed, "outfall attributes"), plan.seed, OUTFALLS
    pick = rng.choice(len(_KINDS), n, p=np.array([k[3] for k in _KINDS]) / sum(k[3] for k in _KINDS))
    # Where the zone misses its target sewage works are excepted: keep the planted ones of another kind.
    misses = sites.faults["outfall_zone_misses_target"]
    pick[misses] = np.where(np.isin(pick[misses], (2, 3)), 7, pick[misses])
    kinds = [_KINDS[k] for k in pick]
    side = sites.side.copy()
    for k in sites.faults["outfall_wrong_bank"]:
        side[k] = "R" if side[k] == "L" else "L"
    approval = np.where(rng.random(n) < 0.7, "approved", "registered").astype(object)
    approval[sites.faults["outfall_unapproved"]] = "none"
    due = [date(2018, 11, 1) + timedelta(days=int(d)) for d in rng.integers(0, 150, n)]
    points = shapely.points(sites.xy)
    code = [f"YC-{k + 1:04d}" for k in range(n)]
    state = rng.choice([1, 0, -1], n, p=[0.55, 0.33, 0.12])
    main = sites.water == "长江"
    outfall = register(
        "outfall",
        points,
        {
            "name_zh": [f"{w}{k[4]}{i + 1:03d}" for i, (w, k) in enumerate(zip(sites.water, kinds, strict=True))],
            "name_en": [f"{k[5].capitalize()} {i + 1:03d}" for i, k in enumerate(kinds)],
            "admin_code": plan.locator.admin_code(sites.xy[:, 0], sites.xy[:, 1]),
            "code_national": [f"4205-PWK-{k + 1:05d}" for k in range(n)],
            "code_local": code,
            "cat1": [k[0] for k in kinds],
            "cat2": [k[1] for k in kinds],
            "cat3": [k[2] for k in kinds],
            "receiving_water": sites.water,
            "chainage_m": np.round(sites.chainage_m, 1),
            "bank_side": side,
            "entry_mode": rng.choice(
                ["open_channel", "pipe", "pump", "culvert", "box_culvert"], n, p=[0.12, 0.48, 0.08, 0.18, 0.14]
            ).astype(object),
            "discharge_mode": np.where(rng.random(n) < 0.6, "continuous", "intermittent").astype(object),
            "wfz1": np.where(main, "长江宜昌开发利用区", sites.water + "开发利用区"),
            "wfz2": None,
            "wq_target": np.where(main, "II", "III").astype(object),
            "approval_kind": approval,
            "workflow_stage": rng.choice(
                ["surveyed", "monitored", "traced", "remediating", "closed", "supervised"], n
            ).astype(object),
            "remediation": rng.choice(np.array(["ban", "merge", "standardise", None], dtype=object), n),
            "discharge_state": state,
            "inspect_due": due,
            "built_date": [
                _NEW + timedelta(days=k % 40) if k in misses else date(2001, 1, 1) + timedelta(days=int(d))
                for k, d in enumerate(rng.integers(0, 5800, n))
            ],
            "responsible_org": [f"合成排污单位{k + 1:03d}号" for k in range(n)],
            "permit_no": [f"91420500SYN{k + 1:06d}P" if a != "none" else None for k, a in enumerate(approval)],
            "state_at": [datetime(2018, 12, 31, 8, tzinfo=UTC)] * n,
            "monitor_state": rng.choice(np.array(["on", "off", "none"], dtype=object), n, p=[0.3, 0.05, 0.65]),
        },
        seed=seed,
        classification="internal",
        positional_acc_m=2.0,
    )
    ids, codes = outfall["id"].to_numpy(dtype=object), outfall["admin_code"].to_numpy(dtype=object)
    answers = {name: ids[index].tolist() for name, index in sites.faults.items()}
    return {
        "outfall": outfall,
        "outfall_sample": _samples(plan, ids, codes),
        "outfall_inspection": _inspections(plan, ids, codes),
    }, answers


_POLLUTANTS: tuple[tuple[str, str, float, float], ...] = (
    ("nh3_n", "mg/L", 5.0, 0.45),
    ("tp", "mg/L", 0.5, 0.45),
    ("cod", "mg/L", 50.0, 0.5),
    ("ph", "", 9.0, 0.06),
)


def _samples(plan: Plan, ids: NDArray[np.object_], codes: NDArray[np.object_]) -> gpd.GeoDataFrame:
    rng = rng_for(plan.seed, "samples")
    outfall = np.tile(np.repeat(ids, len(_POLLUTANTS)), 6)
    kind = np.tile(np.arange(len(_POLLUTANTS)), len(ids) * 6)
    n = len(kind)
    limit = np.array([p[2] for p in _POLLUTANTS])[kind]
    value = np.where(kind == 3, rng.normal(7.4, 0.4, n), limit * np.exp(rng.normal(-1.0, 0.55, n)))
    month = np.repeat(np.arange(6), len(ids) * len(_POLLUTANTS))
    when = [
        datetime(2018, 7 + int(m), int(d), int(h), tzinfo=UTC)
        for m, d, h in zip(month, rng.integers(1, 28, n), rng.integers(1, 9, n), strict=True)
    ]
    return register(
        "outfall_sample",
        None,
        {
            "outfall_id": outfall,
            "admin_code": np.tile(np.repeat(codes, len(_POLLUTANTS)), 6),
            "pollutant": np.array([p[0] for p in _POLLUTANTS], dtype=object)[kind],
            "value": np.round(value, 3),
            "unit": np.array([p[1] for p in _POLLUTANTS], dtype=object)[kind],
            "limit_value": limit,
            "sampled_at": when,
        },
        seed=plan.seed,
        classification="internal",
        positional_acc_m=None,
    )


def _inspections(plan: Plan, ids: NDArray[np.object_], codes: NDArray[np.object_]) -> gpd.GeoDataFrame:
    rng = rng_for(plan.seed, "inspections")
    n = len(ids) * 4
    outfall = np.tile(ids, 4)
    when = [
        datetime(2018, 3 * (k // len(ids)) + 1 + int(m), int(d), int(h), int(minute), tzinfo=UTC)
        for k, (m, d, h, minute) in enumerate(
            zip(
                rng.integers(0, 3, n),
                rng.integers(1, 28, n),
                rng.integers(1, 9, n),
                rng.integers(0, 60, n),
                strict=True,
            )
        )
    ]
    discharging = rng.choice([1, 0, -1], n, p=[0.5, 0.4, 0.1])
    flowing = discharging == 1
    return register(
        "outfall_inspection",
        None,
        {
            "outfall_id": outfall,
            "admin_code": np.tile(codes, 4),
            "inspected_at": when,
            "discharging": discharging,
            "colour": [
                str(c) if f else None for f, c in zip(flowing, rng.choice(["无色", "微黄", "灰"], n), strict=True)
            ],
            "turbidity": np.where(
                flowing, rng.choice(["clear", "slight", "turbid"], n, p=[0.6, 0.3, 0.1]), "unknown"
            ).astype(object),
            "odour": np.where(
                flowing, rng.choice(["none", "slight", "strong"], n, p=[0.75, 0.2, 0.05]), "unknown"
            ).astype(object),
            "note": None,
            "photos": None,
            "lon": None,
            "lat": None,
            "position_error_m": None,
            "client_ref": [f"syn-{plan.seed}-{k + 1:05d}" for k in range(n)],
        },
        seed=plan.seed,
        classification="internal",
        positional_acc_m=None,
    )
