"""Layers of the river: surface, axis, banks, management area, functional zones, water sources."""

import itertools
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from data.city.frame import line_with_m, register
from data.city.plan import Plan

__all__ = ["REACH", "SourceZone", "polygons_of", "reach_band", "source_zones", "water_layers"]

#: Reach code of the main stem.
REACH = "CJ-YC"
_TRIB_REACH = {
    "黄柏河": "HBH",
    "清江": "QJ",
    "香溪": "XX",
    "沮漳河": "JZH",
    "柏临河": "BLH",
    "运河": "YH",
    "卷桥河": "JQH",
    "桥边河": "QBH",
}


@dataclass(frozen=True)
class SourceZone:
    """A drinking-water source on the Yangtze: chainage of the intake and its bank."""

    name_zh: str
    name_en: str
    chainage_m: float
    side: str

    @property
    def reach_m(self) -> tuple[float, float]:
        """Chainages within which any zone of it lies."""
        return self.chainage_m - 5000.0, self.chainage_m + 300.0


def reach_band(plan: Plan, start_m: float, end_m: float, land_m: float) -> Any:
    """River surface between two chainages with a strip of land on both banks, EPSG:4546."""
    river = plan.river
    left = shapely.get_coordinates(river.bank_part("L", start_m, end_m))
    right = shapely.get_coordinates(river.bank_part("R", start_m, end_m))
    surface = shapely.make_valid(shapely.polygons(np.vstack([left, right[::-1]])))
    if land_m <= 0.0:
        return surface
    shores = shapely.buffer(np.array([shapely.linestrings(left), shapely.linestrings(right)]), land_m, cap_style="flat")
    return shapely.union_all([surface, *shores])


def source_zones(plan: Plan) -> tuple[SourceZone, SourceZone]:
    """The two water sources of the city, above the dam and below the last bridge."""
    left = plan.banks[0]
    return (
        SourceZone("坝上水源地", "Source above the dam", left.start_m - 2600.0, "R"),
        SourceZone("虎亭水源地", "Huting source", left.end_m + 9000.0, "L"),
    )


def polygons_of(geometry: list[Any]) -> NDArray[np.object_]:
    """Polygonal parts as multipolygons."""
    out = np.empty(len(geometry), dtype=object)
    for k, item in enumerate(geometry):
        parts = shapely.get_parts(shapely.set_precision(shapely.make_valid(item), 0.05))
        out[k] = shapely.multipolygons(parts[shapely.get_type_id(parts) == 3])
    return out


def water_layers(plan: Plan) -> dict[str, gpd.GeoDataFrame]:
    """All layers of the river, from its surface to its intakes."""
    river, seed = plan.river, plan.seed
    trib = river.tributaries
    surfaces = polygons_of([river.polygon, *(t.polygon for t in trib)])
    out = {
        "water": register(
            "water",
            surfaces,
            {
                "name_zh": ["长江", *(t.name_zh for t in trib)],
                "name_en": ["Yangtze River", *(t.name_en for t in trib)],
                "admin_code": ["420500000000", *plan.locator.of_geometry(surfaces[1:])],
                "water_kind": "river",
            },
            seed=seed,
        ),
        "waterway": register(
            "waterway",
            np.array([river.axis, *(t.line for t in trib)], dtype=object),
            {
                "name_zh": ["长江", *(t.name_zh for t in trib)],
                "name_en": ["Yangtze River", *(t.name_en for t in trib)],
                "admin_code": "420500000000",
                "waterway_kind": ["river"] + ["river" if t.is_major else "stream" for t in trib],
                "underground": False,
            },
            seed=seed,
        ),
        "river_axis": _axis_layer(plan),
        "riverbank": _bank_layer(plan),
        "shoreline_zone": _shoreline_layer(plan),
    }
    out["river_mgmt_area"] = register(
        "river_mgmt_area",
        polygons_of(
            [
                shapely.difference(
                    shapely.buffer(river.polygon, 45.0),
                    shapely.union_all([shapely.buffer(i[2], -30.0) for i in river.islands]),
                ),
                *(shapely.buffer(t.polygon, 20.0 if t.is_major else 10.0) for t in trib),
            ]
        ),
        {
            "name_zh": ["长江河道管理范围", *(f"{t.name_zh}河道管理范围" for t in trib)],
            "name_en": ["Yangtze management area", *(f"{t.name_en} management area" for t in trib)],
            "admin_code": "420500000000",
            "basis": ["dike", *(["design_flood"] * len(trib))],
        },
        seed=seed,
    )
    out |= _source_layers(plan)
    out["water_function_zone"] = _function_layer(plan)
    return out


def _axis_layer(plan: Plan) -> gpd.GeoDataFrame:
    river = plan.river
    lines, codes = [], []
    for line, code in [(river.axis, REACH), *((t.line, _TRIB_REACH[t.name_zh]) for t in river.tributaries)]:
        xy = shapely.get_coordinates(line)
        m = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(xy, axis=0).T))])
        lines.append(line_with_m(xy, m))
        codes.append(code)
    major = [False, *(t.is_major for t in river.tributaries)]
    return register(
        "river_axis",
        np.array(lines, dtype=object),
        {
            "name_zh": ["长江", *(t.name_zh for t in river.tributaries)],
            "name_en": ["Yangtze River", *(t.name_en for t in river.tributaries)],
            "admin_code": "420500000000",
            "reach_code": codes,
            "chief_level": ["city" if k < 1 or major[k] else "county" for k in range(len(codes))],
            "is_main_stem": [c == REACH for c in codes],
            "is_major_trib": major,
            "axis_version": 1,
        },
        seed=plan.seed,
    )


def _stretches(plan: Plan) -> NDArray[np.float64]:
    """Chainages at which banks are cut: every kilometre in the city, every five outside."""
    start, end, total = plan.banks[0].start_m, plan.banks[0].end_m, plan.river.length_m
    inside = np.arange(start, end, 1000.0)
    return np.concatenate(
        [np.arange(0.0, start - 2500.0, 5000.0), inside, np.arange(end, total - 2500.0, 5000.0), [total]]
    )


def _bank_layer(plan: Plan) -> gpd.GeoDataFrame:
    at = _stretches(plan)
    lines, side, low, high = [], [], [], []
    for s in "LR":
        for a, b in itertools.pairwise(at):
            lines.append(plan.river.bank_part(s, a, b))
            side.append(s)
            low.append(round(float(a), 1))
            high.append(round(float(b), 1))
    zh = [f"长江{'左' if s == 'L' else '右'}岸 K{int(a // 1000)}" for s, a in zip(side, low, strict=True)]
    en = [f"Yangtze {'left' if s == 'L' else 'right'} bank K{int(a // 1000)}" for s, a in zip(side, low, strict=True)]
    geometry = np.array(lines, dtype=object)
    return register(
        "riverbank",
        geometry,
        {
            "name_zh": zh,
            "name_en": en,
            "admin_code": plan.locator.of_geometry(geometry),
            "reach_code": REACH,
            "bank_side": side,
            "start_m": low,
            "end_m": high,
        },
        seed=plan.seed,
    )


def _shoreline_layer(plan: Plan) -> gpd.GeoDataFrame:
    start, end = plan.banks[0].start_m, plan.banks[0].end_m
    share = {
        "L": ((0.0, 0.12, 1), (0.12, 0.45, 3), (0.45, 0.70, 4), (0.70, 0.82, 2), (0.82, 1.0, 4)),
        "R": ((0.0, 0.20, 1), (0.20, 0.42, 3), (0.42, 0.66, 2), (0.66, 1.0, 3)),
    }
    title = {
        1: ("保护区", "Protection zone"),
        2: ("保留区", "Reserve zone"),
        3: ("控制利用区", "Controlled-use zone"),
        4: ("开发利用区", "Development zone"),
    }
    rows = [
        (s, start + a * (end - start), start + b * (end - start), z) for s, parts in share.items() for a, b, z in parts
    ]
    return register(
        "shoreline_zone",
        np.array([plan.river.bank_part(s, a, b) for s, a, b, _ in rows], dtype=object),
        {
            "name_zh": [f"长江岸线{title[z][0]}" for *_, z in rows],
            "name_en": [f"Yangtze shoreline: {title[z][1]}" for *_, z in rows],
            "admin_code": "420500000000",
            "zone_type": [z for *_, z in rows],
            "side": [r[0] for r in rows],
            "start_m": [round(r[1], 1) for r in rows],
            "end_m": [round(r[2], 1) for r in rows],
            "restraints": [
                {1: "禁止建设与保护无关的项目", 2: "规划期内暂不开发", 3: "控制利用强度"}.get(z) for *_, z in rows
            ],
        },
        seed=plan.seed,
    )


def _source_layers(plan: Plan) -> dict[str, gpd.GeoDataFrame]:
    sources = source_zones(plan)
    geometry, level, names, intakes = [], [], [], []
    for s in sources:
        first = reach_band(plan, s.chainage_m - 1000.0, s.chainage_m + 100.0, 50.0)
        second = reach_band(plan, s.chainage_m - 3000.0, s.chainage_m + 300.0, 100.0)
        outer = reach_band(plan, s.chainage_m - 5000.0, s.chainage_m + 300.0, 150.0)
        geometry += [first, shapely.difference(second, first), shapely.difference(outer, shapely.union(first, second))]
        level += ["1", "2", "quasi"]
        names += [s] * 3
        bank = plan.river.left if s.side == "L" else plan.river.right
        intakes.append(shapely.Point(shapely.get_coordinates(bank)[plan.river.index_at(s.chainage_m)]))
    zh = {"1": "一级保护区", "2": "二级保护区", "quasi": "准保护区"}
    zones = register(
        "water_source_zone",
        polygons_of(geometry),
        {
            "name_zh": [s.name_zh + zh[k] for s, k in zip(names, level, strict=True)],
            "name_en": [f"{s.name_en}, level {k}" for s, k in zip(names, level, strict=True)],
            "admin_code": "420500000000",
            "level": level,
            "source_name": [s.name_zh for s in names],
        },
        seed=plan.seed,
        classification="internal",
    )
    places = np.array(intakes, dtype=object)
    intake = register(
        "water_intake",
        places,
        {
            "name_zh": [f"{s.name_zh}取水口" for s in sources],
            "name_en": [f"Intake, {s.name_en}" for s in sources],
            "admin_code": plan.locator.of_geometry(places),
            "intake_code": [f"QSK-{k + 1:03d}" for k in range(len(sources))],
            "receiving_water": "长江",
            "chainage_m": [round(s.chainage_m, 1) for s in sources],
            "bank_side": [s.side for s in sources],
            "owner_org": "合成供水公司",
        },
        seed=plan.seed,
        classification="restricted",
    )
    return {"water_source_zone": zones, "water_intake": intake}


def _function_layer(plan: Plan) -> gpd.GeoDataFrame:
    start, end = plan.banks[0].start_m, plan.banks[0].end_m
    trib = {t.name_zh: t for t in plan.river.tributaries}
    parts = [
        (start - 9000.0, start, "峡口保留区", "Gorge mouth reserve"),
        (start, start + 7000.0, "城区饮用景观区", "City scenic reach"),
        (start + 7000.0, end, "城区工业用水区", "City industrial reach"),
        (end, end + 12000.0, "下游过渡区", "Lower transition reach"),
    ]
    geometry = [reach_band(plan, a, b, 0.0) for a, b, _, _ in parts] + [shapely.buffer(trib["柏临河"].polygon, 6.0)]
    return register(
        "water_function_zone",
        polygons_of(geometry),
        {
            "name_zh": [*(p[2] for p in parts), "柏临河农业用水区"],
            "name_en": [*(p[3] for p in parts), "Bailin Brook farm-water zone"],
            "admin_code": "420500000000",
            "zone_code": [f"WFZ{k + 1:03d}" for k in range(5)],
            "zone_level": 1,
            "wq_target": ["II", "III", "III", "III", "III"],
            "wq_current": ["II", "II", "III", "II", "V"],
            "target_met": [True, True, True, True, False],
        },
        seed=plan.seed,
    )
