"""Layers of key areas, pollution sources, test stations, works in the river, protected areas, land use and place names."""

from datetime import date, timedelta
from typing import Any

import geopandas as gpd
import numpy as np
import shapely

from data.city.areas import COMPANIES, STATIONS, Areas, at_bank, plot
from data.city.density import CENTRE
from data.city.frame import register, rng_for
from data.city.names import place_names
from data.city.plan import Plan
from data.city.waters import polygons_of

__all__ = ["area_layers"]

SOURCES, KEY_UNITS, LANES = 330, 68, 54


def area_layers(plan: Plan, areas: Areas) -> tuple[dict[str, gpd.GeoDataFrame], dict[str, list[str]]]:
    """Layers of this module and the key of planted faults."""
    seed, rows = plan.seed, areas.rows
    geometry = np.array([r[3] for r in rows], dtype=object)

    def column(name: str) -> list[Any]:
        return [r[4].get(name) for r in rows]

    key = register(
        "key_area",
        geometry,
        {
            "name_zh": [r[1] for r in rows],
            "name_en": [r[2] for r in rows],
            "admin_code": plan.locator.of_geometry(geometry),
            "kind": [r[0] for r in rows],
            "area_no": [f"ZD{k + 1:04d}" for k in range(len(rows))],
            "project_stage": column("project_stage"),
            "recognised": column("recognised"),
            "disposition": column("disposition"),
            "length_m": column("length_m"),
            "carries": column("carries"),
            "built_date": column("built_date"),
            "camera_count": column("camera_count"),
            "owner_org": "合成管理单位",
        },
        seed=seed,
        classification="internal",
        positional_acc_m=5.0,
    )
    answers: dict[str, list[str]] = {}
    for fault, id_ in zip((r[5] for r in rows), key["id"], strict=True):
        if fault:
            answers.setdefault(fault, []).append(id_)
    pollution = _pollution(plan, areas)
    answers["polluter_in_source_zone"] = [str(pollution["id"].iloc[-1])]
    works, works_answers = _works(plan)
    out = {
        "key_area": key,
        "pollution_source": pollution,
        "exhaust_station": _exhaust(plan, areas),
        "river_works": works,
    }
    return out | _protected(plan, areas) | {
        "land_use": _land_use(plan),
        "place": _place_names(plan),
    }, answers | works_answers


def _pollution(plan: Plan, areas: Areas) -> gpd.GeoDataFrame:
    """330 sources at 230 companies; the last company stands where it should not."""
    rng = rng_for(plan.seed, "sources")
    extra = np.sort(rng.integers(0, COMPANIES - 1, SOURCES - COMPANIES))
    company = np.sort(np.concatenate([np.arange(COMPANIES), extra]))
    xy = areas.company_xy[company] + rng.uniform(-12.0, 12.0, (SOURCES, 2)) * (company < COMPANIES - 1)[:, None]
    zh, en = place_names(COMPANIES, rng, suffix="实业有限公司（合成）", suffix_en="Industries (synthetic)")
    count = np.bincount(company)
    key_unit = np.zeros(COMPANIES, dtype=bool)
    key_unit[rng.choice(COMPANIES, KEY_UNITS, replace=False)] = True
    kind = rng.choice(
        np.array(["wastewater", "waste_gas", "hazwaste", "radiation", "solid_waste"], dtype=object),
        SOURCES,
        p=[0.36, 0.3, 0.16, 0.12, 0.06],
    )
    kind[-1] = "wastewater"
    built = [date(1995, 1, 1) + timedelta(days=int(d)) for d in rng.integers(0, 8000, SOURCES)]
    heavy = rng.random(COMPANIES) < 0.2
    heavy[-1] = True
    return register(
        "pollution_source",
        shapely.points(xy),
        {
            "name_zh": [f"{zh[c]}源{k + 1:03d}" for k, c in enumerate(company)],
            "name_en": [f"{en[c]} source {k + 1:03d}" for k, c in enumerate(company)],
            "admin_code": plan.locator.admin_code(*xy.T),
            "source_no": [f"WRY{k + 1:04d}" for k in range(SOURCES)],
            "kind": kind,
            "company": [zh[c] for c in company],
            "is_key_unit": key_unit[company],
            "heavy_polluter": heavy[company],
            "water_related": False,
            "project_stage": "existing",
            "built_date": built,
            "source_count": count[company],
            "camera_count": rng.integers(0, 4, SOURCES),
            "permit_no": [f"91420500SYN{c + 1:06d}W" for c in company],
            "online": rng.choice(np.array(["on", "off", "unknown"], dtype=object), SOURCES, p=[0.88, 0.09, 0.03]),
        },
        seed=plan.seed,
        classification="internal",
        positional_acc_m=5.0,
    )


def _exhaust(plan: Plan, areas: Areas) -> gpd.GeoDataFrame:
    rng = rng_for(plan.seed, "exhaust")
    lanes = np.full(STATIONS, LANES // STATIONS)
    lanes[: LANES - int(lanes.sum())] += 1
    lanes = rng.permutation(lanes)
    zh, en = place_names(STATIONS, rng, suffix="机动车检测站", suffix_en="Vehicle Test Station")
    return register(
        "exhaust_station",
        shapely.points(areas.station_xy),
        {
            "name_zh": zh,
            "name_en": en,
            "admin_code": plan.locator.admin_code(*areas.station_xy.T),
            "station_no": [f"JC{k + 1:03d}" for k in range(STATIONS)],
            "kind": rng.choice(np.array(["gasoline", "diesel", "mixed"], dtype=object), STATIONS),
            "lane_count": lanes,
            "camera_count": lanes,
            "owner_org": "合成检测公司",
        },
        seed=plan.seed,
    )


def _works(plan: Plan) -> tuple[gpd.GeoDataFrame, dict[str, list[str]]]:
    rng = rng_for(plan.seed, "works")
    start, end = plan.banks[0].start_m, plan.banks[0].end_m
    kinds = ["wharf", "pipeline", "bank_works", "waterfront"] * 3
    geometry = []
    for at in np.linspace(start + 1200.0, end - 800.0, len(kinds)):
        x, y, turn = at_bank(plan, "L" if rng.random() < 0.6 else "R", float(at), 4.0)
        geometry.append(plot(x, y, 90.0, 22.0, turn))
    permitted = np.ones(len(kinds), dtype=bool)
    permitted[[4, 9]] = False
    geoms = np.array(geometry, dtype=object)
    frame = register(
        "river_works",
        geoms,
        {
            "name_zh": [f"涉河工程{k + 1:02d}" for k in range(len(kinds))],
            "name_en": [f"River works {k + 1:02d}" for k in range(len(kinds))],
            "admin_code": plan.locator.of_geometry(geoms),
            "kind": kinds,
            "project_stage": "existing",
            "permitted": permitted,
            "permit_no": [f"YCSL-2017-{k + 1:03d}" if p else None for k, p in enumerate(permitted)],
            "water_related": False,
            "pollutes": False,
            "owner_org": "合成建设单位",
            "started_on": date(2017, 3, 1),
        },
        seed=plan.seed,
    )
    return frame, {"river_works_without_permit": frame["id"].iloc[[4, 9]].tolist()}


def _protected(plan: Plan, areas: Areas) -> dict[str, gpd.GeoDataFrame]:
    seed = plan.seed
    hazwaste = [shapely.centroid(g) for g in areas.of_kind("hazwaste")]
    spare = areas.remote[-6:]
    red = polygons_of(
        [
            shapely.buffer(hazwaste[0], 900.0, quad_segs=4),
            *(shapely.buffer(shapely.Point(p), 1500.0, quad_segs=4) for p in spare[:2]),
        ]
    )
    farm = polygons_of([plot(float(p[0]), float(p[1]), 1800.0, 1300.0, 20.0) for p in spare[2:5]])
    start = plan.banks[0].start_m
    x, y, _ = at_bank(plan, "L", start - 9000.0, 2200.0)
    reserve = polygons_of(
        [
            shapely.buffer(shapely.Point(x, y), 1700.0, quad_segs=6),
            shapely.buffer(shapely.Point(spare[5]), 1200.0, quad_segs=6),
        ]
    )
    out = {}
    for layer, geometry, zh, en, code, more in (
        ("ecological_red_line", red, "生态保护红线", "Ecological red line", "HX", {}),
        ("permanent_farmland", farm, "永久基本农田", "Permanent farmland", "NT", {}),
        (
            "nature_reserve",
            reserve,
            "自然保护地",
            "Nature reserve",
            "BH",
            {"kind": ["scenic", "forest_park"], "grade": ["national", "local"]},
        ),
    ):
        n = len(geometry)
        out[layer] = register(
            layer,
            geometry,
            {
                "name_zh": [f"{zh}{k + 1}" for k in range(n)],
                "name_en": [f"{en} {k + 1}" for k in range(n)],
                "admin_code": "420500000000",
                "area_no": [f"{code}{k + 1:03d}" for k in range(n)],
                **more,
            },
            seed=seed,
        )
    return out


def _land_use(plan: Plan) -> gpd.GeoDataFrame:
    cell = np.flatnonzero(plan.cells.is_land)
    use = plan.use[cell]
    use = np.where(np.isin(use, ("school", "medical")), "public", use).astype(object)
    return register(
        "land_use",
        shapely.multipolygons(plan.cells.polygons[cell], indices=np.arange(len(cell))),
        {"admin_code": plan.division.cell_admin_code[cell], "use_kind": use},
        seed=plan.seed,
    )


def _place_names(plan: Plan) -> gpd.GeoDataFrame:
    towns, islands = plan.towns, plan.river.islands
    xy = np.vstack(
        [
            [CENTRE],
            [t.centre for t in towns],
            shapely.get_coordinates(shapely.point_on_surface([i[2] for i in islands])),
        ]
    )
    return register(
        "place",
        shapely.points(xy),
        {
            "name_zh": ["宜昌", *(t.name_zh for t in towns), *(i[0] for i in islands)],
            "name_en": ["Yichang", *(t.name_en for t in towns), *(i[1] for i in islands)],
            "admin_code": plan.locator.admin_code(*xy.T),
            "place_kind": ["city"] + ["town"] * len(towns) + ["island"] * len(islands),
        },
        seed=plan.seed,
    )
