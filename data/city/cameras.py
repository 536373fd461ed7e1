"""Camera sites: those that watch a named thing, then streets by density, county towns and country roads."""

from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from data.city.areas import Areas
from data.city.frame import register, rng_for, uuids
from data.city.outfalls import OutfallSites
from data.city.places import Places, beside_roads
from data.city.plan import Plan
from data.city.ring import RingCrossings

__all__ = ["BANK_POINTS", "CameraSites", "camera_layer", "draw_cameras"]

BANK_POINTS = 173

Floats = NDArray[np.float64]

#: Octants 1 E … 8 NW of the register, indexed by round(azimuth / 45) from north.
_OCTANT = np.array([4, 6, 1, 5, 3, 7, 2, 8])


@dataclass(frozen=True)
class CameraSites:
    """Where cameras are in truth, and which way they look; ``group`` says what for."""

    xy: Floats
    azimuth_deg: Floats
    group: NDArray[np.object_]
    label: NDArray[np.object_]
    cell: NDArray[np.int64]
    ids: NDArray[np.object_]


def _toward(origin: Floats, target: Floats) -> Floats:
    d = target - origin
    return np.degrees(np.arctan2(d[:, 0], d[:, 1])) % 360.0


class _Collector:
    def __init__(self) -> None:
        self.parts: list[tuple[Floats, Floats, str, list[str]]] = []

    def add(self, xy: Floats, azimuth: Floats, group: str, label: list[str]) -> None:
        self.parts.append((np.asarray(xy, dtype=float), np.asarray(azimuth, dtype=float), group, label))

    @property
    def count(self) -> int:
        return sum(len(p[0]) for p in self.parts)


def draw_cameras(
    plan: Plan, outfalls: OutfallSites, places: Places, areas: Areas, crossings: RingCrossings
) -> CameraSites:
    """Place all cameras of the city."""
    rng, scale = rng_for(plan.seed, "cameras"), plan.scale
    c = _Collector()
    _watch_ring(c, crossings, rng)
    _watch_river(c, plan, outfalls, rng)
    _watch_places(c, plan, places, areas, rng, small=scale.cameras < 20_000)
    rest = scale.cameras - c.count
    country = round(0.045 * scale.cameras)
    town = round(0.16 * scale.cameras)
    _fill_towns(c, plan, town, rng)
    xy, heading, _ = beside_roads(plan, 2 * country, rng, urban=False)
    within = np.flatnonzero(shapely.contains_xy(plan.outlines.city, xy))[:country]
    c.add(xy[within], heading[within], "country", [f"公路监控{k + 1:05d}" for k in range(country)])
    street = rest - town - country
    xy, heading, road = beside_roads(plan, round(street * 1.05) + 40, rng, urban=True)
    near = np.zeros(len(xy), dtype=bool)
    for trib in (plan.river.polygon, *(t.polygon for t in plan.river.tributaries)):
        near |= shapely.contains_xy(trib, xy)
    pick = np.flatnonzero(~near)[:street]
    back = np.where(rng.random(street) < 0.5, 0.0, 180.0)
    names = [f"{n or '街巷'}{k + 1:05d}" for k, n in enumerate(plan.network.name_zh[road[pick]])]
    c.add(xy[pick], (heading[pick] + back + rng.normal(0.0, 9.0, street)) % 360.0, "street", names)
    xy = np.vstack([p[0] for p in c.parts])
    group = np.concatenate([np.full(len(p[0]), p[2], dtype=object) for p in c.parts])
    return CameraSites(
        xy,
        np.concatenate([p[1] for p in c.parts]),
        group,
        np.array([n for p in c.parts for n in p[3]], dtype=object),
        plan.locator.cell_of(*xy.T),
        uuids(plan.seed, "camera_site", len(xy)),
    )


def _watch_ring(c: _Collector, crossings: RingCrossings, rng: np.random.Generator) -> None:
    watched = np.setdiff1d(np.arange(len(crossings.xy)), crossings.bare)
    for turn in (0.0, 180.0):
        xy = crossings.xy[watched] + rng.uniform(-6.0, 6.0, (len(watched), 2))
        c.add(xy, (crossings.heading_deg[watched] + turn) % 360.0, "ring", [f"环线卡口{k + 1:03d}" for k in watched])


def _watch_river(c: _Collector, plan: Plan, outfalls: OutfallSites, rng: np.random.Generator) -> None:
    out = np.column_stack([-outfalls.inland[:, 1], outfalls.inland[:, 0]])
    n = len(outfalls.xy)
    place = (
        outfalls.xy
        + outfalls.inland * rng.uniform(6.0, 15.0, n)[:, None]
        + out * (rng.uniform(14.0, 30.0, n) * rng.choice([-1, 1], n))[:, None]
    )
    c.add(place, _toward(place, outfalls.xy), "outfall", [f"排污口监控{k + 1:03d}" for k in range(n)])
    river, start, end = plan.river, plan.banks[0].start_m - 3000.0, plan.banks[0].end_m + 14000.0
    for side, count in (("L", 98), ("R", BANK_POINTS - 98)):
        line = shapely.get_coordinates(river.left if side == "L" else river.right)
        axis = shapely.get_coordinates(river.axis)
        index = np.array([river.index_at(a) for a in np.linspace(start, end, count) + rng.uniform(-70.0, 70.0, count)])
        away = line[index] - axis[index]
        away /= np.hypot(*away.T)[:, None]
        place = line[index] + away * rng.uniform(9.0, 22.0, count)[:, None]
        along = line[index + 3] - line[index]
        view = _toward(place, line[index] + np.where(rng.random(count) < 0.5, 1.0, -1.0)[:, None] * along - away * 60.0)
        c.add(place, view, "bank", [f"江岸视频点{side}{k + 1:03d}" for k in range(count)])


def _watch_places(
    c: _Collector, plan: Plan, places: Places, areas: Areas, rng: np.random.Generator, *, small: bool
) -> None:
    gates = np.vstack(places.gates)
    middle = np.repeat(places.school_xy, [len(g) for g in places.gates], axis=0)
    away = gates - middle
    away /= np.maximum(np.hypot(*away.T), 1.0)[:, None]
    place = gates - away * 1.5
    c.add(place, _toward(middle, gates), "school", [f"校门监控{k + 1:03d}" for k in range(len(place))])
    kitchens = (
        places.kitchen_xy if not small else places.kitchen_xy[np.sort(rng.permutation(len(places.kitchen_xy))[:120])]
    )
    c.add(
        kitchens, rng.uniform(0, 360, len(kitchens)), "kitchen", [f"明厨亮灶{k + 1:04d}" for k in range(len(kitchens))]
    )
    c.add(
        places.medical_xy,
        rng.uniform(0, 360, len(places.medical_xy)),
        "medical",
        [f"医废监控{k + 1:03d}" for k in range(len(places.medical_xy))],
    )
    lanes = np.repeat(areas.station_xy, [5] * 6 + [4] * (len(areas.station_xy) - 6), axis=0)
    lanes = lanes + np.column_stack([3.6 * (np.arange(len(lanes)) % 5), np.zeros(len(lanes))])
    c.add(
        lanes,
        np.full(len(lanes), 0.0) + rng.normal(0, 2.0, len(lanes)) % 360.0,
        "exhaust",
        [f"尾气检测线{k + 1:02d}" for k in range(len(lanes))],
    )
    for kind, each, title in (
        ("wharf", 2, "码头监控"),
        ("bridge", 2, "大桥监控"),
        ("station", 6, "车站监控"),
        ("chem_site", 2, "化工企业监控"),
        ("forest_checkpoint", 1, "森林检查站"),
    ):
        spots, views = [], []
        for area in areas.of_kind(kind):
            edge = shapely.get_exterior_ring(area) if area.geom_type == "Polygon" else area
            centre = shapely.get_coordinates(shapely.centroid(area))[0]
            ring = shapely.get_coordinates(
                shapely.line_interpolate_point(edge, (np.arange(each) + 0.5) / each, normalized=True)
            )
            if area.geom_type == "Polygon":
                ring = ring + (centre - ring) * 0.04
            spots.append(ring)
            views.append(_toward(ring, np.repeat(centre[None], each, axis=0)))
        c.add(np.vstack(spots), np.concatenate(views), kind, [f"{title}{k + 1:03d}" for k in range(each * len(spots))])
    spots, views = [], []
    for cell in places.smart_cell:
        inner = shapely.buffer(plan.cells.polygons[cell], -7.0, join_style="mitre")
        parts = shapely.get_parts(inner)
        edge = shapely.get_exterior_ring(parts[shapely.area(parts).argmax()])
        ring = shapely.get_coordinates(shapely.line_interpolate_point(edge, [0.1, 0.6], normalized=True))
        spots.append(ring)
        views.append(_toward(np.repeat([[plan.cells.x[cell], plan.cells.y[cell]]], 2, axis=0), ring))
    c.add(
        np.vstack(spots), np.concatenate(views), "estate", [f"智能小区监控{k + 1:03d}" for k in range(2 * len(spots))]
    )


def _fill_towns(c: _Collector, plan: Plan, count: int, rng: np.random.Generator) -> None:
    share = np.array([len(t.blocks) for t in plan.towns], dtype=float)
    town = rng.choice(len(plan.towns), count, p=share / share.sum())
    spots, views = np.empty((count, 2)), np.empty(count)
    for k, t in enumerate(plan.towns):
        mine = np.flatnonzero(town == k)
        length = shapely.length(t.streets)
        lines = t.streets[rng.choice(len(t.streets), len(mine), p=length / length.sum())]
        at = np.clip(rng.normal(0.5, 0.2, len(mine)), 0.02, 0.98)
        a = shapely.get_coordinates(shapely.line_interpolate_point(lines, at, normalized=True))
        b = shapely.get_coordinates(shapely.line_interpolate_point(lines, at + 0.01, normalized=True))
        d = (b - a) / np.maximum(np.hypot(*(b - a).T), 1e-6)[:, None]
        spots[mine] = a + np.column_stack([-d[:, 1], d[:, 0]]) * 6.5
        views[mine] = np.degrees(np.arctan2(d[:, 0], d[:, 1])) % 360.0
    c.add(spots, views, "town", [f"{plan.towns[k].name_zh}监控{i + 1:05d}" for i, k in enumerate(town)])


_OWNER = {
    "outfall": "生态环境部门",
    "bank": "水利部门",
    "school": "教育部门",
    "kitchen": "餐饮企业",
    "medical": "卫生健康部门",
    "exhaust": "机动车检测企业",
    "wharf": "港航部门",
    "bridge": "交通部门",
    "station": "铁路车站",
    "chem_site": "化工企业",
    "forest_checkpoint": "林业部门",
    "estate": "物业企业",
}
_INDUSTRY = {
    "street": "00",
    "ring": "00",
    "town": "00",
    "country": "03",
    "outfall": "08",
    "bank": "07",
    "school": "04",
    "kitchen": "10",
    "medical": "06",
    "exhaust": "08",
    "wharf": "03",
    "bridge": "03",
    "station": "03",
    "chem_site": "08",
    "forest_checkpoint": "07",
    "estate": "11",
}


def camera_layer(plan: Plan, sites: CameraSites) -> gpd.GeoDataFrame:
    """Layer ``camera_site`` without any fault: all complete, online, filed and in its true place."""
    rng, n = rng_for(plan.seed, "camera attributes"), len(sites.xy)
    group = sites.group
    indoor = np.isin(group, ("kitchen", "medical"))
    ptz = np.where(
        np.isin(group, ("bank", "wharf", "country")) & (rng.random(n) < 0.8), 1, rng.choice([3, 3, 3, 3, 3, 1, 2, 6], n)
    )
    ptz = np.where(indoor, 2, np.where(np.isin(group, ("outfall", "school", "ring")) & (rng.random(n) < 0.9), 3, ptz))
    new_hd = _new_hd(plan, group, rng)
    width = np.where(new_hd, rng.choice([2560, 3840], n, p=[0.75, 0.25]), rng.choice([1280, 1920], n, p=[0.35, 0.65]))
    hfov = np.where(
        ptz == 6, 360.0, np.where(ptz == 1, rng.uniform(55.0, 65.0, n), rng.choice([38.0, 50.0, 60.0, 80.0, 92.0], n))
    )
    used = np.where(
        new_hd,
        np.datetime64("2018-01-10") + rng.integers(0, 330, n),
        np.datetime64("2016-01-15") + rng.integers(0, 700, n),
    )
    filed = used + rng.integers(3, 29, n)
    county = np.array([c[:6] for c in plan.locator.admin_code(*sites.xy.T)], dtype=object)
    class_ = np.select(
        [
            np.isin(group, ("street", "ring", "town", "country")),
            np.isin(group, ("kitchen", "chem_site", "estate", "exhaust")),
        ],
        [1, 3],
        2,
    )
    network = np.where(class_ == 1, "1", np.where(class_ == 2, "6", "7")).astype(object)
    code = [
        f"{c}00{_INDUSTRY[g]}{'132'}{m}{k + 1:06d}"
        for k, (c, g, m) in enumerate(zip(county, group, network, strict=True))
    ]
    height = np.where(
        indoor,
        rng.uniform(2.6, 3.4, n),
        np.where(np.isin(group, ("bank", "wharf", "bridge")), rng.uniform(8.0, 14.0, n), rng.uniform(4.0, 7.5, n)),
    )
    azimuth = np.round(sites.azimuth_deg % 360.0, 1) % 360.0
    distance = np.where(indoor, 15.0, np.where(ptz == 1, rng.uniform(120, 220, n), rng.uniform(50.0, 110.0, n)))
    tilt = np.clip(np.degrees(np.arctan2(height, distance * 0.45)), 3.0, 60.0) + rng.normal(0, 1.0, n)
    owner = [_OWNER.get(g, "公安机关") for g in group]
    return register(
        "camera_site",
        shapely.points(sites.xy),
        {
            "name_zh": sites.label,
            "name_en": [f"Camera {k + 1:06d} ({g})" for k, g in enumerate(group)],
            "admin_code": plan.locator.admin_code(*sites.xy.T),
            "device_code": code,
            "point_class": class_,
            "common_name": sites.label,
            "ptz_type": ptz,
            "room_type": np.where(indoor, 2, 1),
            "fill_light": rng.choice([1, 2, 3, 4], n, p=[0.15, 0.55, 0.25, 0.05]),
            "direction": _OCTANT[np.round(azimuth / 45.0).astype(int) % 8],
            "azimuth_deg": azimuth,
            "hfov_deg": np.round(hfov, 1),
            "vfov_deg": np.round(np.where(ptz == 6, 90.0, hfov * 9.0 / 16.0), 1),
            "tilt_deg": np.round(tilt, 1),
            "view_dist_m": np.round(distance, 1),
            "res_w_px": width,
            "mount_height_m": np.round(height, 1),
            "mount_kind": np.where(
                indoor | (group == "estate"),
                "wall",
                rng.choice(np.array(["pole", "shared_pole"], dtype=object), n, p=[0.75, 0.25]),
            ),
            "net_status": "on",
            "device_state": "in_use",
            "retention_days": rng.choice([30, 45, 60, 90], n, p=[0.7, 0.1, 0.1, 0.1]),
            "filing_date": _dates(filed),
            "in_use_date": _dates(used),
            "sign_posted": True,
            "watch_zone": group,
            "is_new_hd": new_hd,
            "owner_org": owner,
        },
        seed=plan.seed,
        classification="internal",
        positional_acc_m=3.0,
        ids=sites.ids,
    )


def _dates(values: Any) -> NDArray[np.object_]:
    return np.array(pd.DatetimeIndex(values.astype("datetime64[ns]")).date, dtype=object)


def _new_hd(plan: Plan, group: NDArray[np.object_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Exactly the published number: environment, wharves, bank, railway and traffic first."""
    rank = np.select(
        [
            np.isin(group, ("outfall", "bank")),
            np.isin(group, ("wharf", "bridge", "station", "exhaust", "chem_site")),
            group == "ring",
        ],
        [0, 1, 2],
        3,
    )
    order = np.lexsort([rng.random(len(group)), rank])
    out = np.zeros(len(group), dtype=bool)
    out[order[: plan.scale.new_hd]] = True
    return out
