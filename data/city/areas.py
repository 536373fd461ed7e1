"""Key areas, pollution sources, test stations, protected areas and land use."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from data.city.frame import register, rng_for
from data.city.names import place_names
from data.city.places import drawn, in_cells
from data.city.plan import Plan
from data.city.streets import BRIDGES
from data.city.transport import RAIL_STATIONS
from data.city.waters import polygons_of, source_zones

__all__ = ["Areas", "area_layers", "draw_areas"]

SOURCES, COMPANIES, KEY_UNITS = 330, 230, 68
STATIONS, LANES = 12, 54

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Areas:
    """Key areas as rows (kind, name, English name, geometry, further fields, planted fault or None), EPSG:4546."""

    rows: list[tuple[str, str, str, Any, dict[str, Any], str | None]]
    company_xy: Floats
    station_xy: Floats
    remote: Floats

    def of_kind(self, kind: str) -> list[Any]:
        """Geometries of one kind."""
        return [row[3] for row in self.rows if row[0] == kind]


def _remote_points(plan: Plan, count: int, rng: np.random.Generator) -> Floats:
    """Places in open country: off the city, roads, railways and waters."""
    west, south, east, north = 505000.0, 3345000.0, 575000.0, 3440000.0
    xy = rng.uniform((west, south), (east, north), (60 * count, 2))
    xy = xy[shapely.contains_xy(shapely.union_all(plan.outlines.polygons, grid_size=0.01), xy)]
    points = shapely.points(xy)
    keep = shapely.distance(plan.cells.ring, points) > 3000.0
    keep &= shapely.distance(plan.river.axis, points) > 6000.0
    for trib in plan.river.tributaries:
        keep &= shapely.distance(trib.line, points) > 2000.0
    _, near_road = plan.network.tree.query_nearest(points, return_distance=True, all_matches=False)
    keep &= near_road > 600.0
    for rail in plan.network.rails:
        keep &= shapely.distance(rail, points) > 1500.0
    return xy[keep][:count]


def _plot(x: float, y: float, width: float, depth: float, turn_deg: float = 0.0) -> Any:
    c, s = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [width / 2, depth / 2]
    return shapely.polygons(corners @ np.array([[c, s], [-s, c]]) + [x, y])


def _at_bank(plan: Plan, side: str, chainage_m: float, inland_m: float) -> tuple[float, float, float]:
    """A point off the bank and the direction of the bank in degrees counter-clockwise from east."""
    river = plan.river
    line = shapely.get_coordinates(river.left if side == "L" else river.right)
    axis = shapely.get_coordinates(river.axis)
    k = river.index_at(chainage_m)
    out = line[k] - axis[k]
    out /= np.hypot(*out)
    along = line[min(k + 2, len(line) - 1)] - line[k - 2]
    x, y = line[k] + out * inland_m
    return float(x), float(y), float(np.degrees(np.arctan2(along[1], along[0])))


def draw_areas(plan: Plan) -> Areas:
    """Place key areas, companies and stations; planted faults carry the name of their fault."""
    rng = rng_for(plan.seed, "areas")
    start, end = plan.banks[0].start_m, plan.banks[0].end_m
    remote = _remote_points(plan, 60, rng)
    spare = iter(remote.tolist())
    rows: list[tuple[str, str, str, Any, dict[str, Any], str | None]] = []
    wharf_at = np.sort(rng.uniform(start + 900.0, end + 9000.0, 26))
    names_zh, names_en = place_names(26, rng, suffix="码头", suffix_en="Wharf")
    for k, at in enumerate(wharf_at):
        x, y, turn = _at_bank(plan, "L" if rng.random() < 0.62 else "R", float(at), -14.0)
        rows.append(("wharf", names_zh[k], names_en[k], _plot(x, y, float(rng.uniform(90, 260)), 46.0, turn), {"camera_count": int(rng.integers(1, 6))}, None))
    rows += _transport_areas(plan)
    rows += _chemical(plan, rng, spare)
    rows += _waste_and_mines(plan, rng, spare)
    industrial = np.where((plan.use == "industrial") & (plan.cells.area_m2 > 4000.0), plan.cells.area_m2, 0.0)
    cell = drawn(industrial, COMPANIES, rng, repeat=True)
    company = in_cells(plan, cell, rng)
    zone = source_zones(plan)[0]
    company[-1] = _at_bank(plan, zone.side, zone.chainage_m - 2000.0, 55.0)[:2]  # planted: a polluting project in a level-2 zone
    station = in_cells(plan, drawn(industrial, STATIONS, rng), rng)
    return Areas(rows, company, station, remote)


def _transport_areas(plan: Plan) -> list[Any]:
    rows: list[Any] = []
    for zh, en, near, kind in BRIDGES:
        bridge = plan.network.lines[plan.network.name_zh == zh]
        line = bridge[0] if len(bridge) else shapely.intersection(plan.network.rails[1], plan.river.polygon)
        parts = shapely.get_parts(line)
        line = parts[shapely.length(parts).argmax()]
        rows.append(("bridge", zh, en, line, {"length_m": round(float(shapely.length(line)), 1), "carries": "rail" if kind == "rail" else "road",
                                             "built_date": date(2009, 5, 1), "camera_count": 4}, None))  # fmt: skip
    for zh, en, (x, y) in RAIL_STATIONS:
        rows.append(("station", zh, en, _plot(x, y, 420.0, 160.0, -65.0), {"camera_count": 40}, None))
    for number, rail in enumerate(plan.network.rails):
        part = shapely.intersection(rail, plan.cells.ring)
        rows.append(("railway", f"铁路线路保护区{number + 1}", f"Railway protection zone {number + 1}", shapely.buffer(part, 15.5, cap_style="flat"), {}, None))
    centre = np.flatnonzero(plan.cells.density > 0.9)
    ban = shapely.convex_hull(shapely.union_all(plan.cells.polygons[centre]))
    rows.append(("truck_ban", "中心城区货车禁行区", "Truck-free centre", ban, {}, None))
    front = np.flatnonzero((plan.cells.kind == "front") & (plan.cells.bank == "L"))[:40]
    rows.append(("truck_ban", "滨江危化品禁行区", "Riverside hazardous-goods ban", shapely.convex_hull(shapely.union_all(plan.cells.polygons[front])), {}, None))
    for number, cell in enumerate(plan.campuses.school_cell[:0]):
        rows.append(("campus", str(number), str(number), plan.cells.polygons[cell], {}, None))
    return rows


def _chemical(plan: Plan, rng: np.random.Generator, spare: Any) -> list[Any]:
    end = plan.banks[0].end_m
    rows: list[Any] = []
    plan_rows = [("new", "chem_new_near_yangtze")] + [("existing", "chem_existing_near_yangtze")] * 5
    for k, (stage, fault) in enumerate(plan_rows):
        x, y, turn = _at_bank(plan, "L" if k % 2 else "R", end + 7000.0 + 2600.0 * k, float(rng.uniform(260.0, 640.0)))
        rows.append(("chem_site", f"合成化工{k + 1}厂", f"Synthetic chemical works {k + 1}", _plot(x, y, 260.0, 180.0, turn),
                     {"project_stage": stage, "recognised": True, "disposition": ["move", "convert", "close"][k % 3]}, fault))  # fmt: skip
    for k in range(6):
        x, y = next(spare)
        fault = "chem_outside_park" if k == 0 else None
        rows.append(("chem_site", f"合成化工{k + 7}厂", f"Synthetic chemical works {k + 7}", _plot(x, y, 240.0, 160.0),
                     {"project_stage": "new" if k == 0 else "existing", "recognised": k != 0, "disposition": "keep"}, fault))  # fmt: skip
        if k in (1, 2):
            rows.append(("chem_park", f"合成化工园区{k}", f"Synthetic chemical park {k}", _plot(x, y, 1400.0, 1000.0), {"recognised": True,
                         "project_stage": "existing"}, None))  # fmt: skip
    return rows


def _waste_and_mines(plan: Plan, rng: np.random.Generator, spare: Any) -> list[Any]:
    end = plan.banks[0].end_m
    rows: list[Any] = []
    fast, bridge_rail = plan.network.rails[2], plan.network.rails[1]

    def beside_fast(share: float, away_m: float) -> tuple[float, float]:
        p, q = shapely.get_coordinates(shapely.line_interpolate_point(fast, [share, share + 0.002], normalized=True))
        d = (q - p) / np.hypot(*(q - p))
        return float(p[0] - d[1] * away_m), float(p[1] + d[0] * away_m)

    x, y, _ = _at_bank(plan, "R", end + 12000.0, 1800.0)
    rows.append(("tailings", "合成尾矿库1", "Synthetic tailings pond 1", _plot(x, y, 420.0, 300.0), {"project_stage": "new"}, "tailings_new_near_yangtze"))
    for k in range(2):
        x, y = next(spare)
        rows.append(("tailings", f"合成尾矿库{k + 2}", f"Synthetic tailings pond {k + 2}", _plot(x, y, 400.0, 260.0), {"project_stage": "existing"}, None))
    x, y, turn = _at_bank(plan, "L", end + 5200.0, 12.0)
    rows.append(("solid_waste_dump", "合成堆场1", "Synthetic dump 1", _plot(x, y, 60.0, 24.0, turn), {}, "dump_in_river_area"))
    x, y = next(spare)
    rows.append(("solid_waste_dump", "合成填埋场2", "Synthetic landfill 2", _plot(x, y, 300.0, 220.0), {}, None))
    for k in range(4):  # the first lies inside the ecological red line, drawn around it
        x, y = next(spare)
        rows.append(("hazwaste", f"合成危废设施{k + 1}", f"Synthetic hazardous-waste site {k + 1}", _plot(x, y, 90.0, 70.0), {},
                     "hazwaste_in_red_line" if k == 0 else None))  # fmt: skip
    x, y = beside_fast(0.25, 140.0)
    rows.append(("groundwater_pumping", "合成取水井1", "Synthetic well 1", _plot(x, y, 8.0, 8.0), {}, "pumping_near_high_speed_rail"))
    for k in range(3):
        x, y = next(spare)
        rows.append(("groundwater_pumping", f"合成取水井{k + 2}", f"Synthetic well {k + 2}", _plot(x, y, 8.0, 8.0), {}, None))
    x, y = beside_fast(0.45, 700.0)
    rows.append(("mining_blasting", "合成采石场1", "Synthetic quarry 1", _plot(x, y, 160.0, 120.0), {}, "blasting_near_rail"))
    x, y = next(spare)
    rows.append(("mining_blasting", "合成采石场2", "Synthetic quarry 2", _plot(x, y, 200.0, 150.0), {}, None))
    crossing = shapely.centroid(shapely.intersection(bridge_rail, plan.river.polygon))
    at = float(shapely.line_locate_point(plan.river.axis, crossing)) + 1500.0
    x, y, turn = _at_bank(plan, "R", at, -160.0)
    rows.append(("sand_mining", "合成采砂区1", "Synthetic sand pit 1", _plot(x, y, 180.0, 60.0, turn), {}, "sand_mining_at_rail_bridge"))
    x, y, turn = _at_bank(plan, "L", plan.banks[0].end_m + 26000.0, -140.0)
    rows.append(("sand_mining", "合成采砂区2", "Synthetic sand pit 2", _plot(x, y, 180.0, 60.0, turn), {}, None))
    county = np.flatnonzero((plan.network.grade == "county") & ~plan.network.bridge & (shapely.length(plan.network.lines) > 2500.0))
    p, q = shapely.get_coordinates(shapely.line_interpolate_point(plan.network.lines[county[-1]], [0.9, 0.91], normalized=True))
    d = (q - p) / np.hypot(*(q - p))
    rows.append(("hazmat_site", "合成危化品库1", "Synthetic hazardous-goods store 1", _plot(float(p[0] - d[1] * 62), float(p[1] + d[0] * 62), 20.0, 16.0),
                 {}, "hazmat_near_road"))  # fmt: skip
    for kind, zh, en, count, size in (("hazmat_site", "合成危化品库", "Synthetic hazardous-goods store", 4, 60.0), ("radiation", "合成放射源库", "Synthetic radiation store", 6, 40.0),
                                      ("explosives_store", "合成民爆库", "Synthetic explosives store", 3, 70.0), ("forest_checkpoint", "森林检查站", "Forest checkpoint", 8, 16.0)):  # fmt: skip
        for k in range(count):
            x, y = next(spare)
            rows.append((kind, f"{zh}{k + 2}", f"{en} {k + 2}", _plot(x, y, size, 0.8 * size), {"camera_count": 1}, None))
    for k in range(3):
        x, y, turn = _at_bank(plan, "L" if k % 2 else "R", end + 1500.0 + 3100.0 * k, -6.0)
        rows.append(("ferry", f"合成渡口{k + 1}", f"Synthetic ferry {k + 1}", _plot(x, y, 40.0, 22.0, turn), {"camera_count": 1}, None))
    return rows


def area_layers(plan: Plan, areas: Areas) -> tuple[dict[str, gpd.GeoDataFrame], dict[str, list[str]]]:
    """Layers of this module and the key of planted faults."""
    seed, rows = plan.seed, areas.rows
    geometry = np.array([r[3] for r in rows], dtype=object)

    def column(name: str) -> list[Any]:
        return [r[4].get(name) for r in rows]

    key = register("key_area", geometry, {
        "name_zh": [r[1] for r in rows], "name_en": [r[2] for r in rows], "admin_code": plan.locator.of_geometry(geometry),
        "kind": [r[0] for r in rows], "area_no": [f"ZD{k + 1:04d}" for k in range(len(rows))], "project_stage": column("project_stage"),
        "recognised": column("recognised"), "disposition": column("disposition"), "length_m": column("length_m"), "carries": column("carries"),
        "built_date": column("built_date"), "camera_count": column("camera_count"), "owner_org": "合成管理单位"}, seed=seed,
        classification="internal", positional_acc_m=5.0)  # fmt: skip
    answers: dict[str, list[str]] = {}
    for fault, id_ in zip((r[5] for r in rows), key["id"], strict=True):
        if fault:
            answers.setdefault(fault, []).append(id_)
    pollution = _pollution(plan, areas)
    answers["polluter_in_source_zone"] = [str(pollution["id"].iloc[-1])]
    works, works_answers = _works(plan)
    out = {"key_area": key, "pollution_source": pollution, "exhaust_station": _exhaust(plan, areas), "river_works": works}
    return out | _protected(plan, areas) | {"land_use": _land_use(plan), "place": _place_names(plan)}, answers | works_answers


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
    kind = rng.choice(np.array(["wastewater", "waste_gas", "hazwaste", "radiation", "solid_waste"], dtype=object), SOURCES, p=[0.36, 0.3, 0.16, 0.12, 0.06])
    kind[-1] = "wastewater"
    built = [date(1995, 1, 1) + timedelta(days=int(d)) for d in rng.integers(0, 8000, SOURCES)]
    heavy = rng.random(COMPANIES) < 0.2
    heavy[-1] = True
    return register("pollution_source", shapely.points(xy), {
        "name_zh": [f"{zh[c]}源{k + 1:03d}" for k, c in enumerate(company)], "name_en": [f"{en[c]} source {k + 1:03d}" for k, c in enumerate(company)],
        "admin_code": plan.locator.admin_code(*xy.T), "source_no": [f"WRY{k + 1:04d}" for k in range(SOURCES)], "kind": kind,
        "company": [zh[c] for c in company], "is_key_unit": key_unit[company], "heavy_polluter": heavy[company], "water_related": False,
        "project_stage": "existing", "built_date": built, "source_count": count[company],
        "camera_count": rng.integers(0, 4, SOURCES), "permit_no": [f"91420500SYN{c + 1:06d}W" for c in company],
        "online": rng.choice(np.array(["on", "off", "unknown"], dtype=object), SOURCES, p=[0.88, 0.09, 0.03])}, seed=plan.seed,
        classification="internal", positional_acc_m=5.0)  # fmt: skip


def _exhaust(plan: Plan, areas: Areas) -> gpd.GeoDataFrame:
    rng = rng_for(plan.seed, "exhaust")
    lanes = np.full(STATIONS, LANES // STATIONS)
    lanes[: LANES - int(lanes.sum())] += 1
    lanes = rng.permutation(lanes)
    zh, en = place_names(STATIONS, rng, suffix="机动车检测站", suffix_en="Vehicle Test Station")
    return register("exhaust_station", shapely.points(areas.station_xy), {
        "name_zh": zh, "name_en": en, "admin_code": plan.locator.admin_code(*areas.station_xy.T),
        "station_no": [f"JC{k + 1:03d}" for k in range(STATIONS)], "kind": rng.choice(np.array(["gasoline", "diesel", "mixed"], dtype=object), STATIONS),
        "lane_count": lanes, "camera_count": lanes, "owner_org": "合成检测公司"}, seed=plan.seed)  # fmt: skip


def _works(plan: Plan) -> tuple[gpd.GeoDataFrame, dict[str, list[str]]]:
    rng = rng_for(plan.seed, "works")
    start, end = plan.banks[0].start_m, plan.banks[0].end_m
    kinds = ["wharf", "pipeline", "bank_works", "waterfront"] * 3
    geometry = []
    for at in np.linspace(start + 1200.0, end - 800.0, len(kinds)):
        x, y, turn = _at_bank(plan, "L" if rng.random() < 0.6 else "R", float(at), 4.0)
        geometry.append(_plot(x, y, 90.0, 22.0, turn))
    permitted = np.ones(len(kinds), dtype=bool)
    permitted[[4, 9]] = False
    geoms = np.array(geometry, dtype=object)
    frame = register("river_works", geoms, {
        "name_zh": [f"涉河工程{k + 1:02d}" for k in range(len(kinds))], "name_en": [f"River works {k + 1:02d}" for k in range(len(kinds))],
        "admin_code": plan.locator.of_geometry(geoms), "kind": kinds, "project_stage": "existing", "permitted": permitted,
        "permit_no": [f"YCSL-2017-{k + 1:03d}" if p else None for k, p in enumerate(permitted)], "water_related": False, "pollutes": False,
        "owner_org": "合成建设单位", "started_on": date(2017, 3, 1)}, seed=plan.seed)  # fmt: skip
    return frame, {"river_works_without_permit": frame["id"].iloc[[4, 9]].tolist()}


def _protected(plan: Plan, areas: Areas) -> dict[str, gpd.GeoDataFrame]:
    seed = plan.seed
    hazwaste = [shapely.centroid(g) for g in areas.of_kind("hazwaste")]
    spare = areas.remote[-6:]
    red = polygons_of([shapely.buffer(hazwaste[0], 900.0, quad_segs=4), *(shapely.buffer(shapely.Point(p), 1500.0, quad_segs=4) for p in spare[:2])])
    farm = polygons_of([_plot(float(p[0]), float(p[1]), 1800.0, 1300.0, 20.0) for p in spare[2:5]])
    start = plan.banks[0].start_m
    x, y, _ = _at_bank(plan, "L", start - 9000.0, 2200.0)
    reserve = polygons_of([shapely.buffer(shapely.Point(x, y), 1700.0, quad_segs=6), shapely.buffer(shapely.Point(spare[5]), 1200.0, quad_segs=6)])
    out = {}
    for layer, geometry, zh, en, code, more in (
        ("ecological_red_line", red, "生态保护红线", "Ecological red line", "HX", {}),
        ("permanent_farmland", farm, "永久基本农田", "Permanent farmland", "NT", {}),
        ("nature_reserve", reserve, "自然保护地", "Nature reserve", "BH", {"kind": ["scenic", "forest_park"], "grade": ["national", "local"]}),
    ):
        n = len(geometry)
        out[layer] = register(layer, geometry, {
            "name_zh": [f"{zh}{k + 1}" for k in range(n)], "name_en": [f"{en} {k + 1}" for k in range(n)], "admin_code": "420500000000",
            "area_no": [f"{code}{k + 1:03d}" for k in range(n)], **more}, seed=seed)  # fmt: skip
    return out


def _land_use(plan: Plan) -> gpd.GeoDataFrame:
    cell = np.flatnonzero(plan.cells.is_land)
    use = plan.use[cell]
    use = np.where(np.isin(use, ("school", "medical")), "public", use).astype(object)
    return register("land_use", shapely.multipolygons(plan.cells.polygons[cell], indices=np.arange(len(cell))), {
        "admin_code": plan.division.cell_admin_code[cell], "use_kind": use}, seed=plan.seed)  # fmt: skip


def _place_names(plan: Plan) -> gpd.GeoDataFrame:
    towns, islands = plan.towns, plan.river.islands
    xy = np.vstack([[[528700.0, 3396500.0]], [t.centre for t in towns], shapely.get_coordinates(shapely.point_on_surface([i[2] for i in islands]))])
    return register("place", shapely.points(xy), {
        "name_zh": ["宜昌", *(t.name_zh for t in towns), *(i[0] for i in islands)], "name_en": ["Yichang", *(t.name_en for t in towns), *(i[1] for i in islands)],
        "admin_code": plan.locator.admin_code(*xy.T), "place_kind": ["city"] + ["town"] * len(towns) + ["island"] * len(islands)}, seed=plan.seed)  # fmt: skip
