"""Where key areas, companies and test stations stand, and which of them are faults planted on purpose."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from data.city.frame import rng_for
from data.city.names import place_names
from data.city.places import drawn, in_cells
from data.city.plan import Plan
from data.city.streets import BRIDGES
from data.city.transport import RAIL_STATIONS
from data.city.waters import source_zones

__all__ = ["COMPANIES", "STATIONS", "Areas", "at_bank", "draw_areas", "plot"]

COMPANIES, STATIONS = 230, 12

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
    xy = rng.uniform((west, south), (east, north), (40 * count, 2))
    shapely.prepare(plan.outlines.city)
    xy = xy[shapely.contains_xy(plan.outlines.city, xy)]
    lines = [
        (plan.river.axis, 6000.0),
        *((t.line, 2000.0) for t in plan.river.tributaries),
        *((r, 1500.0) for r in plan.network.rails),
    ]
    for line, least_m in [(plan.cells.ring, 3000.0), *lines]:
        xy = xy[~shapely.dwithin(shapely.simplify(line, 20.0), shapely.points(xy), least_m + 20.0)]
    outside = plan.network.lines[plan.network.grade != "urban"]
    places: Any = shapely.points(xy)
    near = shapely.STRtree(places).query(outside, predicate="dwithin", distance=600.0)
    xy = np.delete(xy, np.unique(near[1]), axis=0)
    return xy[:count]


def plot(x: float, y: float, width: float, depth: float, turn_deg: float = 0.0) -> Any:
    """A rectangle around a point (metres), turned counter-clockwise."""
    c, s = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [width / 2, depth / 2]
    return shapely.polygons(corners @ np.array([[c, s], [-s, c]]) + [x, y])


def at_bank(plan: Plan, side: str, chainage_m: float, inland_m: float) -> tuple[float, float, float]:
    """A point ``inland_m`` off the bank, and the bank's direction in degrees counter-clockwise from east."""
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
        x, y, turn = at_bank(plan, "L" if rng.random() < 0.62 else "R", float(at), -14.0)
        rows.append(
            (
                "wharf",
                names_zh[k],
                names_en[k],
                plot(x, y, float(rng.uniform(90, 260)), 46.0, turn),
                {"camera_count": int(rng.integers(1, 6))},
                None,
            )
        )
    rows += _transport_areas(plan)
    rows += _chemical(plan, rng, spare)
    rows += _waste_and_mines(plan, rng, spare)
    industrial = np.where((plan.use == "industrial") & (plan.cells.area_m2 > 4000.0), plan.cells.area_m2, 0.0)
    cell = drawn(industrial, COMPANIES, rng, repeat=True)
    company = in_cells(plan, cell, rng)
    zone = source_zones(plan)[0]
    company[-1] = at_bank(plan, zone.side, zone.chainage_m - 2000.0, 55.0)[
        :2
    ]  # planted: a polluting project in a level-2 zone
    station = in_cells(plan, drawn(industrial, STATIONS, rng), rng)
    return Areas(rows, company, station, remote)


def _transport_areas(plan: Plan) -> list[Any]:
    rows: list[Any] = []
    for zh, en, _near, kind in BRIDGES:
        bridge = plan.network.lines[plan.network.name_zh == zh]
        line = bridge[0] if len(bridge) else shapely.intersection(plan.network.rails[1], plan.river.polygon)
        parts = shapely.get_parts(line)
        line = parts[shapely.length(parts).argmax()]
        rows.append(
            (
                "bridge",
                zh,
                en,
                line,
                {
                    "length_m": round(float(shapely.length(line)), 1),
                    "carries": "rail" if kind == "rail" else "road",
                    "built_date": date(2009, 5, 1),
                    "camera_count": 4,
                },
                None,
            )
        )
    for zh, en, (x, y) in RAIL_STATIONS:
        rows.append(("station", zh, en, plot(x, y, 420.0, 160.0, -65.0), {"camera_count": 40}, None))
    for number, rail in enumerate(plan.network.rails):
        part = shapely.intersection(rail, plan.cells.ring)
        rows.append(
            (
                "railway",
                f"铁路线路保护区{number + 1}",
                f"Railway protection zone {number + 1}",
                shapely.buffer(part, 15.5, cap_style="flat"),
                {},
                None,
            )
        )
    centre = np.flatnonzero(plan.cells.density > 0.9)
    ban = shapely.convex_hull(shapely.union_all(plan.cells.polygons[centre]))
    rows.append(("truck_ban", "中心城区货车禁行区", "Truck-free centre", ban, {}, None))
    front = np.flatnonzero((plan.cells.kind == "front") & (plan.cells.bank == "L"))[:40]
    rows.append(
        (
            "truck_ban",
            "滨江危化品禁行区",
            "Riverside hazardous-goods ban",
            shapely.convex_hull(shapely.union_all(plan.cells.polygons[front])),
            {},
            None,
        )
    )
    return rows


def _chemical(plan: Plan, rng: np.random.Generator, spare: Any) -> list[Any]:
    end = plan.banks[0].end_m
    rows: list[Any] = []
    plan_rows = [("new", "chem_new_near_yangtze")] + [("existing", "chem_existing_near_yangtze")] * 5
    for k, (stage, fault) in enumerate(plan_rows):
        x, y, turn = at_bank(plan, "L" if k % 2 else "R", end + 7000.0 + 2600.0 * k, float(rng.uniform(260.0, 640.0)))
        rows.append(
            (
                "chem_site",
                f"合成化工{k + 1}厂",
                f"Synthetic chemical works {k + 1}",
                plot(x, y, 260.0, 180.0, turn),
                {"project_stage": stage, "recognised": True, "disposition": ["move", "convert", "close"][k % 3]},
                fault,
            )
        )
    for k in range(6):
        x, y = next(spare)
        outside_park = "chem_outside_park" if k == 0 else None
        rows.append(
            (
                "chem_site",
                f"合成化工{k + 7}厂",
                f"Synthetic chemical works {k + 7}",
                plot(x, y, 240.0, 160.0),
                {"project_stage": "new" if k == 0 else "existing", "recognised": k != 0, "disposition": "keep"},
                outside_park,
            )
        )
        if k in (1, 2):
            rows.append(
                (
                    "chem_park",
                    f"合成化工园区{k}",
                    f"Synthetic chemical park {k}",
                    plot(x, y, 1400.0, 1000.0),
                    {"recognised": True, "project_stage": "existing"},
                    None,
                )
            )
    return rows


def _waste_and_mines(plan: Plan, rng: np.random.Generator, spare: Any) -> list[Any]:
    end = plan.banks[0].end_m
    rows: list[Any] = []
    fast, bridge_rail = plan.network.rails[2], plan.network.rails[1]

    def beside_fast(share: float, away_m: float) -> tuple[float, float]:
        p, q = shapely.get_coordinates(shapely.line_interpolate_point(fast, [share, share + 0.002], normalized=True))
        d = (q - p) / np.hypot(*(q - p))
        return float(p[0] - d[1] * away_m), float(p[1] + d[0] * away_m)

    x, y, _ = at_bank(plan, "R", end + 12000.0, 1800.0)
    rows.append(
        (
            "tailings",
            "合成尾矿库1",
            "Synthetic tailings pond 1",
            plot(x, y, 420.0, 300.0),
            {"project_stage": "new"},
            "tailings_new_near_yangtze",
        )
    )
    for k in range(2):
        x, y = next(spare)
        rows.append(
            (
                "tailings",
                f"合成尾矿库{k + 2}",
                f"Synthetic tailings pond {k + 2}",
                plot(x, y, 400.0, 260.0),
                {"project_stage": "existing"},
                None,
            )
        )
    x, y, turn = at_bank(plan, "L", end + 5200.0, 12.0)
    rows.append(
        ("solid_waste_dump", "合成堆场1", "Synthetic dump 1", plot(x, y, 60.0, 24.0, turn), {}, "dump_in_river_area")
    )
    x, y = next(spare)
    rows.append(("solid_waste_dump", "合成填埋场2", "Synthetic landfill 2", plot(x, y, 300.0, 220.0), {}, None))
    for k in range(4):  # the first lies inside the ecological red line, drawn around it
        x, y = next(spare)
        rows.append(
            (
                "hazwaste",
                f"合成危废设施{k + 1}",
                f"Synthetic hazardous-waste site {k + 1}",
                plot(x, y, 90.0, 70.0),
                {},
                "hazwaste_in_red_line" if k == 0 else None,
            )
        )
    x, y = beside_fast(0.25, 140.0)
    rows.append(
        (
            "groundwater_pumping",
            "合成取水井1",
            "Synthetic well 1",
            plot(x, y, 8.0, 8.0),
            {},
            "pumping_near_high_speed_rail",
        )
    )
    for k in range(3):
        x, y = next(spare)
        rows.append(
            ("groundwater_pumping", f"合成取水井{k + 2}", f"Synthetic well {k + 2}", plot(x, y, 8.0, 8.0), {}, None)
        )
    x, y = beside_fast(0.45, 700.0)
    rows.append(
        ("mining_blasting", "合成采石场1", "Synthetic quarry 1", plot(x, y, 160.0, 120.0), {}, "blasting_near_rail")
    )
    x, y = next(spare)
    rows.append(("mining_blasting", "合成采石场2", "Synthetic quarry 2", plot(x, y, 200.0, 150.0), {}, None))
    crossing = shapely.centroid(shapely.intersection(bridge_rail, plan.river.polygon))
    at = float(shapely.line_locate_point(plan.river.axis, crossing)) + 1500.0
    x, y, turn = at_bank(plan, "R", at, -160.0)
    rows.append(
        (
            "sand_mining",
            "合成采砂区1",
            "Synthetic sand pit 1",
            plot(x, y, 180.0, 60.0, turn),
            {},
            "sand_mining_at_rail_bridge",
        )
    )
    x, y, turn = at_bank(plan, "L", plan.banks[0].end_m + 26000.0, -140.0)
    rows.append(("sand_mining", "合成采砂区2", "Synthetic sand pit 2", plot(x, y, 180.0, 60.0, turn), {}, None))
    county = np.flatnonzero(
        (plan.network.grade == "county") & ~plan.network.bridge & (shapely.length(plan.network.lines) > 2500.0)
    )
    p, q = shapely.get_coordinates(
        shapely.line_interpolate_point(plan.network.lines[county[-1]], [0.9, 0.91], normalized=True)
    )
    d = (q - p) / np.hypot(*(q - p))
    rows.append(
        (
            "hazmat_site",
            "合成危化品库1",
            "Synthetic hazardous-goods store 1",
            plot(float(p[0] - d[1] * 62), float(p[1] + d[0] * 62), 20.0, 16.0),
            {},
            "hazmat_near_road",
        )
    )
    for kind, zh, en, count, size in (
        ("hazmat_site", "合成危化品库", "Synthetic hazardous-goods store", 4, 60.0),
        ("radiation", "合成放射源库", "Synthetic radiation store", 6, 40.0),
        ("explosives_store", "合成民爆库", "Synthetic explosives store", 3, 70.0),
        ("forest_checkpoint", "森林检查站", "Forest checkpoint", 8, 16.0),
    ):
        for k in range(count):
            x, y = next(spare)
            rows.append(
                (kind, f"{zh}{k + 2}", f"{en} {k + 2}", plot(x, y, size, 0.8 * size), {"camera_count": 1}, None)
            )
    for k in range(3):
        x, y, turn = at_bank(plan, "L" if k % 2 else "R", end + 1500.0 + 3100.0 * k, -6.0)
        rows.append(
            (
                "ferry",
                f"合成渡口{k + 1}",
                f"Synthetic ferry {k + 1}",
                plot(x, y, 40.0, 22.0, turn),
                {"camera_count": 1},
                None,
            )
        )
    return rows
