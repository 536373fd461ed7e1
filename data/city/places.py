"""Registers of places in blocks: schools, kitchens, medical sites, smart communities, shops, sensitive places, crossings, poles."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from data.city.density import density
from data.city.frame import register, rng_for, uuids
from data.city.names import place_names
from data.city.plan import Plan

__all__ = ["Places", "draw_places", "place_layers"]

RESTAURANTS, MEDICAL, SMART_COMMUNITIES = 897, 143, 50

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Places:
    """Positions that cameras and faults refer to, EPSG:4546."""

    school_kind: NDArray[np.object_]
    school_xy: Floats
    gates: list[Floats]
    no_crossing: list[int]
    kitchen_xy: Floats
    medical_xy: Floats
    smart_cell: NDArray[np.int64]
    military: NDArray[np.object_]
    private: NDArray[np.object_]
    private_kind: NDArray[np.object_]


def in_cells(plan: Plan, index: NDArray[np.int64], rng: np.random.Generator) -> Floats:
    """A random point near the middle of each cell, inside it."""
    polygons = plan.cells.polygons[index]
    xy = np.column_stack([plan.cells.x[index], plan.cells.y[index]])
    reach = np.sqrt(plan.cells.area_m2[index])[:, None] * 0.33
    shapely.prepare(polygons)
    todo = np.arange(len(index))
    out = xy.copy()
    for _ in range(6):
        trial = xy[todo] + rng.uniform(-1.0, 1.0, (len(todo), 2)) * reach[todo]
        good = shapely.contains_xy(polygons[todo], trial[:, 0], trial[:, 1])
        out[todo[good]] = trial[good]
        todo = todo[~good]
        if not len(todo):
            break
    return out


def drawn(weight: Floats, count: int, rng: np.random.Generator, *, repeat: bool = False) -> NDArray[np.int64]:
    """Indices drawn by weight."""
    return rng.choice(len(weight), count, replace=repeat, p=weight / weight.sum()).astype(np.int64)


def _gates(plan: Plan, cell: int, count: int, rng: np.random.Generator) -> Floats:
    """Entrances on the longer sides of a campus, 6 m inside the middle of the street."""
    inner = shapely.buffer(plan.cells.polygons[cell], -6.0, join_style="mitre")
    parts = shapely.get_parts(inner)
    edge = shapely.get_exterior_ring(parts[shapely.area(parts).argmax()])
    at = (rng.uniform(0.05, 0.2) + np.arange(count) / count) * float(shapely.length(edge))
    return shapely.get_coordinates(shapely.line_interpolate_point(edge, at)).round(3)


def draw_places(plan: Plan) -> Places:
    """Place all registers of this module."""
    rng, cells = rng_for(plan.seed, "places"), plan.cells
    school = plan.campuses.school_cell
    n = len(school)
    kind = rng.permutation(
        np.repeat(
            np.array(["kindergarten", "primary", "secondary", "special", "college"], dtype=object), (22, 34, 24, 1, 4)
        )
    )
    count = np.where(np.isin(kind, ("secondary", "college")), 2, 1 + (rng.random(n) < 0.3))
    gates = [_gates(plan, int(c), int(k), rng) for c, k in zip(school, count, strict=True)]
    shops = np.isin(plan.use, ("commercial", "residential", "public"))
    food = drawn(
        np.where(shops, cells.density**1.6 * np.where(plan.use == "commercial", 5.0, 1.0), 0.0),
        RESTAURANTS,
        rng,
        repeat=True,
    )
    hospital = plan.campuses.hospital_cell
    clinic = drawn(np.where(shops, plan.division.population + 5.0, 0.0), MEDICAL - len(hospital), rng)
    medical = np.vstack([in_cells(plan, hospital, rng), in_cells(plan, clinic, rng)])
    homes = np.where(
        (plan.use == "residential") & (cells.area_m2 > 8000.0) & (cells.density > 0.25),
        plan.division.households + 1.0,
        0.0,
    )
    military = _military(plan, rng)
    private_cell = drawn(np.where(shops, cells.density, 0.0), 30, rng)
    private_xy = in_cells(plan, private_cell, rng)
    private = shapely.buffer(shapely.points(private_xy), rng.uniform(3.0, 7.0, 30), cap_style="square")
    private_kind = rng.choice(
        np.array(
            ["guest_room", "dormitory", "bath", "toilet", "changing_room", "nursing_room", "fitting_room"], dtype=object
        ),
        30,
    )
    return Places(
        kind,
        in_cells(plan, school, rng),
        gates,
        np.sort(rng.choice(n, 6, replace=False)).tolist(),
        np.vstack([in_cells(plan, food, rng), in_cells(plan, school, rng)]),
        medical,
        drawn(homes, SMART_COMMUNITIES, rng),
        military,
        private,
        private_kind,
    )


def _military(plan: Plan, rng: np.random.Generator) -> NDArray[np.object_]:
    """Two areas in the hills around the city, far from any road and so from any camera but those planted."""
    west, south, east, north = shapely.bounds(plan.cells.ring)
    trial = rng.uniform((west - 4000.0, south), (east + 4000.0, north), (400, 2))
    points = shapely.points(trial)
    away = ~shapely.dwithin(plan.cells.ring, points, 900.0) & ~shapely.dwithin(plan.river.polygon, points, 900.0)
    away &= shapely.contains_xy(plan.outlines.city, trial)
    _, road_m = plan.network.tree.query_nearest(points, return_distance=True, all_matches=False)
    return np.array(
        [shapely.box(x - 140.0, y - 110.0, x + 140.0, y + 110.0) for x, y in trial[away & (road_m > 700.0)][:2]],
        dtype=object,
    )


def place_layers(plan: Plan, places: Places) -> tuple[dict[str, gpd.GeoDataFrame], dict[str, list[str]]]:
    """Layers of this module and the key of planted faults."""
    rng, seed, n = rng_for(plan.seed, "place attributes"), plan.seed, len(places.school_kind)
    school_ids = uuids(seed, "school", n)
    zh, en = place_names(n, rng, suffix="", suffix_en="")
    word = {
        "kindergarten": ("幼儿园", "Kindergarten"),
        "primary": ("小学", "Primary School"),
        "secondary": ("中学", "Secondary School"),
        "special": ("特殊教育学校", "Special School"),
        "college": ("职业学院", "College"),
    }
    campus = shapely.buffer(plan.cells.polygons[plan.campuses.school_cell], -6.0, join_style="mitre")
    school = register(
        "school",
        shapely.points(places.school_xy),
        {
            "name_zh": [f"{z}{word[k][0]}" for z, k in zip(zh, places.school_kind, strict=True)],
            "name_en": [f"{e.strip()} {word[k][1]}" for e, k in zip(en, places.school_kind, strict=True)],
            "admin_code": plan.locator.admin_code(*places.school_xy.T),
            "school_no": [f"4205{k + 1:06d}" for k in range(n)],
            "school_kind": places.school_kind,
            "kitchen_count": 1,
        },
        seed=seed,
        ids=school_ids,
        extra_geometry={
            "boundary": [_as_multi(c) for c in campus],
            "entrances": [shapely.multipoints(g) for g in places.gates],
        },
    )
    zones = [shapely.multipolygons([shapely.buffer(c, d, quad_segs=6)]) for d in (150.0, 200.0) for c in campus]
    school_zone = register(
        "school_zone",
        np.array(zones, dtype=object),
        {
            "name_zh": [f"{s}{w}" for w in ("交通监控区", "安全区") for s in school["name_zh"]],
            "name_en": [f"{s}: {w}" for w in ("traffic zone", "safety zone") for s in school["name_en"]],
            "admin_code": np.tile(school["admin_code"], 2),
            "school_id": np.tile(school_ids, 2),
            "zone_kind": np.repeat(np.array(["traffic", "safety"], dtype=object), n),
            "distance_m": np.repeat([150.0, 200.0], n),
        },
        seed=seed,
    )
    out = {
        "school": school,
        "school_zone": school_zone,
        "kitchen": _kitchens(plan, places, school, rng),
        "medical_site": _medical(plan, places, rng),
        "smart_community": _smart(plan, places, rng),
        "crossing": _crossings(plan, places, rng),
        "pole": _poles(plan),
    }
    answers = {"school_without_crossing": school_ids[places.no_crossing].tolist()}
    shop, shop_answers = _shops(plan, places, school_ids)
    sensitive, sensitive_answers = _sensitive(plan, places)
    return out | {"shop": shop, "sensitive_place": sensitive}, answers | shop_answers | sensitive_answers


def _as_multi(polygon: Any) -> Any:
    parts = shapely.get_parts(polygon)
    return shapely.multipolygons([parts[shapely.area(parts).argmax()]])


def _kitchens(plan: Plan, places: Places, school: gpd.GeoDataFrame, rng: np.random.Generator) -> gpd.GeoDataFrame:
    zh, en = place_names(RESTAURANTS, rng, suffix="酒楼", suffix_en="Restaurant")
    schools = len(school)
    n = RESTAURANTS + schools
    return register(
        "kitchen",
        shapely.points(places.kitchen_xy),
        {
            "name_zh": [*zh, *(f"{s}食堂" for s in school["name_zh"])],
            "name_en": [*en, *(f"{s} canteen" for s in school["name_en"])],
            "admin_code": plan.locator.admin_code(*places.kitchen_xy.T),
            "licence_no": [f"JY24205{k + 1:09d}" for k in range(n)],
            "kind": ["restaurant"] * RESTAURANTS + ["school"] * schools,
            "school_id": [None] * RESTAURANTS + school["id"].tolist(),
            "camera_count": rng.integers(1, 5, n),
            "seat_count": rng.integers(150, 900, n),
            "online": rng.choice(np.array(["on", "off", "unknown"], dtype=object), n, p=[0.92, 0.06, 0.02]),
        },
        seed=plan.seed,
    )


def _medical(plan: Plan, places: Places, rng: np.random.Generator) -> gpd.GeoDataFrame:
    hospitals = len(plan.campuses.hospital_cell)
    kind = np.concatenate(
        [
            np.full(hospitals, "hospital", dtype=object),
            rng.choice(
                np.array(["health_centre", "clinic", "emergency", "other"], dtype=object),
                MEDICAL - hospitals,
                p=[0.35, 0.55, 0.04, 0.06],
            ),
        ]
    )
    zh, en = place_names(MEDICAL, rng, suffix="", suffix_en="")
    word = {
        "hospital": ("医院", "Hospital"),
        "health_centre": ("卫生服务中心", "Health Centre"),
        "clinic": ("诊所", "Clinic"),
        "emergency": ("急救站", "Emergency Station"),
        "other": ("疗养院", "Sanatorium"),
    }
    return register(
        "medical_site",
        shapely.points(places.medical_xy),
        {
            "name_zh": [z + word[k][0] for z, k in zip(zh, kind, strict=True)],
            "name_en": [f"{e.strip()} {word[k][1]}" for e, k in zip(en, kind, strict=True)],
            "admin_code": plan.locator.admin_code(*places.medical_xy.T),
            "site_no": [f"YL4205{k + 1:05d}" for k in range(MEDICAL)],
            "kind": kind,
            "bed_count": np.where(kind == "hospital", rng.integers(120, 1500, MEDICAL), rng.integers(0, 40, MEDICAL)),
            "camera_count": np.where(kind == "hospital", rng.integers(8, 40, MEDICAL), 1),
            "waste_store_count": 1,
        },
        seed=plan.seed,
    )


def _smart(plan: Plan, places: Places, rng: np.random.Generator) -> gpd.GeoDataFrame:
    cell = places.smart_cell
    zh, en = place_names(SMART_COMMUNITIES, rng, suffix="小区", suffix_en="Estate")
    built = rng.integers(2014, 2018, SMART_COMMUNITIES)
    built[rng.choice(SMART_COMMUNITIES, 9, replace=False)] = 2018
    blocks = np.bincount(plan.buildings.block[plan.buildings.block >= 0], minlength=len(plan.cells.polygons))
    geometry = np.array(
        [_as_multi(g) for g in shapely.buffer(plan.cells.polygons[cell], -7.0, join_style="mitre")], dtype=object
    )
    return register(
        "smart_community",
        geometry,
        {
            "name_zh": zh,
            "name_en": en,
            "admin_code": plan.division.cell_admin_code[cell],
            "community_no": [f"ZH{k + 1:03d}" for k in range(SMART_COMMUNITIES)],
            "kind": np.where(rng.random(SMART_COMMUNITIES) < 0.6, "new", "old").astype(object),
            "household_count": plan.division.households[cell],
            "building_count": blocks[cell],
            "gate_count": rng.integers(1, 4, SMART_COMMUNITIES),
            "camera_count": rng.integers(6, 40, SMART_COMMUNITIES),
            "built_year": built,
        },
        seed=plan.seed,
    )


def _crossings(plan: Plan, places: Places, rng: np.random.Generator) -> gpd.GeoDataFrame:
    """A crossing within 30 m of every school gate but the planted ones, and at larger street corners."""
    gates = np.vstack([g for k, g in enumerate(places.gates) if k not in places.no_crossing])
    turn = rng.uniform(0, 2 * np.pi, len(gates))
    near = gates + np.column_stack([np.cos(turn), np.sin(turn)]) * rng.uniform(5.0, 25.0, len(gates))[:, None]
    larger = (
        np.isin(plan.network.road_class, ("primary", "secondary", "tertiary"))
        & (plan.network.grade == "urban")
        & ~plan.network.bridge
    )
    ends = shapely.get_coordinates(shapely.get_point(plan.network.lines[larger], 0))
    bare = np.vstack([places.gates[k] for k in places.no_crossing])
    ends = ends[np.min(np.hypot(*(ends[:, None] - bare[None]).transpose(2, 0, 1)), axis=1) > 90.0]
    near = (
        near[np.min(np.hypot(*(near[:, None] - bare[None]).transpose(2, 0, 1)), axis=1) > 90.0] if len(bare) else near
    )
    ends = ends[rng.random(len(ends)) < 0.55]
    xy = np.vstack([near, ends])
    kind = np.concatenate(
        [
            np.full(len(near), "zebra", dtype=object),
            rng.choice(
                np.array(["zebra", "signal", "overpass", "underpass"], dtype=object),
                len(ends),
                p=[0.45, 0.48, 0.05, 0.02],
            ),
        ]
    )
    return register(
        "crossing", shapely.points(xy), {"admin_code": plan.locator.admin_code(*xy.T), "kind": kind}, seed=plan.seed
    )


def _poles(plan: Plan) -> gpd.GeoDataFrame:
    rng, n = rng_for(plan.seed, "poles"), plan.scale.poles
    xy, _, _ = beside_roads(plan, n, rng, urban=True)
    kind = rng.choice(np.array(["lamp", "shared", "traffic", "utility"], dtype=object), n, p=[0.68, 0.12, 0.12, 0.08])
    return register(
        "pole",
        shapely.points(xy),
        {
            "admin_code": plan.locator.admin_code(*xy.T),
            "pole_no": [f"G{k + 1:06d}" for k in range(n)],
            "kind": kind,
            "height_m": np.round(np.where(kind == "utility", 10.0, 8.0) + rng.uniform(-1.5, 2.5, n), 1),
            "has_power": rng.random(n) < 0.93,
        },
        seed=plan.seed,
        classification="internal",
    )


def beside_roads(
    plan: Plan, count: int, rng: np.random.Generator, *, urban: bool
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Points beside roads: position, direction of the road (degrees from north) and road.

    Streets are drawn by length and by density² of the place, roads outside by length only.
    """
    net = plan.network
    fit = (net.grade == "urban") & ~net.bridge if urban else ~np.isin(net.grade, ("urban",)) & ~net.bridge
    index = np.flatnonzero(fit)
    length = shapely.length(net.lines[index])
    weight = length.copy()
    if urban:
        middle = shapely.get_coordinates(shapely.line_interpolate_point(net.lines[index], 0.5, normalized=True))
        weight *= density(middle[:, 0], middle[:, 1]) ** 1.3 * np.where(
            net.road_class[index] == "residential", 0.7, 1.3
        )
    road = index[drawn(weight, count, rng, repeat=True)]
    total = shapely.length(net.lines[road])
    corner = rng.random(count) < 0.55
    t = np.where(corner, np.where(rng.random(count) < 0.5, 0.0, 1.0), rng.random(count))
    at = np.clip(
        t * total + np.where(t < 0.5, 1.0, -1.0) * np.where(corner, rng.uniform(8.0, 16.0, count), 0.0), 0.0, total
    )
    a = shapely.get_coordinates(shapely.line_interpolate_point(net.lines[road], np.clip(at - 3.0, 0.0, total)))
    b = shapely.get_coordinates(shapely.line_interpolate_point(net.lines[road], np.clip(at + 3.0, 0.0, total)))
    ahead = b - a
    ahead /= np.maximum(np.hypot(*ahead.T), 1e-6)[:, None]
    side = np.where(rng.random(count) < 0.5, 1.0, -1.0)
    offset = net.width_m[road] / 2 + rng.uniform(0.6, 1.6, count)
    xy = 0.5 * (a + b) + np.column_stack([-ahead[:, 1], ahead[:, 0]]) * (side * offset)[:, None]
    return xy, np.degrees(np.arctan2(ahead[:, 0], ahead[:, 1])) % 360.0, road


def _shops(
    plan: Plan, places: Places, school_ids: NDArray[np.object_]
) -> tuple[gpd.GeoDataFrame, dict[str, list[str]]]:
    """Shops well away from schools, and a few planted too near."""
    rng, n = rng_for(plan.seed, "shops"), 220
    fit = np.isin(plan.use, ("commercial", "residential"))
    xy = in_cells(plan, drawn(np.where(fit, plan.cells.density**1.3, 0.0), 3 * n, rng), rng)
    campus = shapely.STRtree(plan.cells.polygons[plan.campuses.school_cell])
    _, away = campus.query_nearest(shapely.points(xy), return_distance=True, all_matches=False)
    xy = xy[away > 260.0][:n]
    kind = rng.choice(
        np.array(["internet_cafe", "entertainment", "alcohol", "tobacco", "lottery"], dtype=object),
        len(xy),
        p=[0.2, 0.2, 0.2, 0.25, 0.15],
    )
    strict = np.flatnonzero(np.isin(places.school_kind, ("primary", "secondary")))
    chosen = rng.choice(strict, 7, replace=False)
    near, near_kind = [], []
    for k, s in enumerate(chosen):
        gate = places.gates[s][0]
        away_from = gate - places.school_xy[s]
        away_from = away_from / max(float(np.hypot(*away_from)), 1.0)
        near.append(gate + away_from * (90.0 if k < 3 else 26.0))
        near_kind.append("internet_cafe" if k < 3 else ("tobacco", "alcohol", "lottery", "entertainment")[k - 3])
    xy, kind = np.vstack([xy, near]), np.concatenate([kind, np.array(near_kind, dtype=object)])
    total = len(xy)
    word = {
        "internet_cafe": ("网吧", "Internet Café"),
        "entertainment": ("歌舞厅", "Dance Hall"),
        "alcohol": ("酒行", "Liquor Store"),
        "tobacco": ("烟店", "Tobacconist"),
        "lottery": ("彩票站", "Lottery Shop"),
    }
    zh, en = place_names(total, rng, suffix="", suffix_en="")
    frame = register(
        "shop",
        shapely.points(xy),
        {
            "name_zh": [z + word[k][0] for z, k in zip(zh, kind, strict=True)],
            "name_en": [f"{e.strip()} {word[k][1]}" for e, k in zip(en, kind, strict=True)],
            "admin_code": plan.locator.admin_code(*xy.T),
            "shop_no": [f"SH{k + 1:05d}" for k in range(total)],
            "kind": kind,
            "opened_on": [date(2010, 1, 1) + timedelta(days=int(d)) for d in rng.integers(0, 3000, total)],
        },
        seed=plan.seed,
        positional_acc_m=2.0,
    )
    ids = frame["id"].tolist()
    return frame, {"internet_cafe_near_school": ids[-7:-4], "trade_near_school": ids[-4:]}


def _sensitive(plan: Plan, places: Places) -> tuple[gpd.GeoDataFrame, dict[str, list[str]]]:
    count = len(places.private)
    geometry = np.concatenate([places.private, places.military])
    frame = register(
        "sensitive_place",
        geometry,
        {
            "name_zh": [
                *(f"禁装场所{k + 1:03d}" for k in range(count)),
                *(f"军事管理区{k + 1}" for k in range(len(places.military))),
            ],
            "name_en": [
                *(f"No-camera place {k + 1:03d}" for k in range(count)),
                *(f"Military area {k + 1}" for k in range(len(places.military))),
            ],
            "admin_code": plan.locator.of_geometry(geometry),
            "place_no": [f"JZ{k + 1:04d}" for k in range(len(geometry))],
            "place_kind": [*places.private_kind, *["military"] * len(places.military)],
            "consent": False,
        },
        seed=plan.seed,
        classification="restricted",
    )
    return frame, {}
