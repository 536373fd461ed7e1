"""Roads, bridges and railways."""

from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from data.city.cells import Cells
from data.city.frame import register, rng_for
from data.city.locate import Locator
from data.city.names import place_names
from data.city.noise import smooth
from data.city.river import River, rounded
from data.city.streets import BRIDGES, STRIP, Bank, Cuts, curves
from data.city.towns import Town

__all__ = ["RAIL_STATIONS", "Network", "draw_network", "rail_layer", "road_layer"]

Floats = NDArray[np.float64]

_MOTORWAYS: tuple[tuple[str, str, str, tuple[tuple[float, float], ...]], ...] = (
    ("沪渝高速", "Shanghai–Chongqing Expressway", "G50", ((603000, 3383500), (580000, 3385500), (561000, 3388600), (548500, 3387600),
     (542600, 3385200), (536700, 3381300), (530300, 3380100), (523500, 3379100), (512000, 3381500), (497000, 3379000), (470000, 3375000),
     (441000, 3372500))),
    ("三峡高速", "Three Gorges Expressway", "G4213", ((542600, 3385200), (542900, 3391700), (540800, 3397200), (537400, 3402400),
     (534600, 3407500), (529800, 3409900), (521500, 3412600), (508000, 3420500), (496500, 3421500))),
)  # fmt: skip

_RAILWAYS: tuple[tuple[str, str, str, tuple[tuple[float, float], ...]], ...] = (
    ("焦柳铁路", "Jiaozuo–Liuzhou Railway", "rail", ((566000, 3441000), (552000, 3421500), (540500, 3410500), (536300, 3404300), (535000, 3400000),
     (535500, 3396000), (536300, 3392400), (537500, 3389200), (540100, 3386400), (543800, 3381000), (552500, 3372500), (560500, 3369500))),
    ("宜万铁路", "Yichang–Wanzhou Railway", "rail", ((535500, 3396000), (534300, 3395300), (531900, 3395250), (530650, 3394600), (529350, 3393250),
     (527900, 3391900), (524900, 3389600), (519500, 3386800), (508000, 3383500), (490000, 3377000), (462000, 3374000))),
    ("汉宜高速铁路", "Wuhan–Yichang High-speed Railway", "high_speed", ((602000, 3374500), (580000, 3380500), (560500, 3385200), (546500, 3388300),
     (540300, 3389800), (537000, 3392100), (535900, 3394300))),
)  # fmt: skip

RAIL_STATIONS: tuple[tuple[str, str, tuple[float, float]], ...] = (
    ("宜昌东站", "Yichang East Station", (536150.0, 3393250.0)),
    ("宜昌北站", "Yichang North Station", (535050.0, 3400100.0)),
)

_CLASS = np.array(["primary", "secondary", "tertiary", "residential", "", "trunk"], dtype=object)
_WIDTH_M = np.array([36.0, 26.0, 18.0, 11.0, 0.0, 42.0])
_LANES = np.array([6, 4, 2, 2, 0, 6])
_SPEED = np.array([60, 50, 40, 30, 0, 70])


@dataclass(frozen=True)
class Network:
    """All roads as lines of EPSG:4546, one row each."""

    lines: NDArray[np.object_]
    road_class: NDArray[np.object_]
    grade: NDArray[np.object_]
    number: NDArray[np.object_]
    name_zh: NDArray[np.object_]
    name_en: NDArray[np.object_]
    width_m: Floats
    lanes: NDArray[np.int64]
    speed_kmh: NDArray[np.int64]
    bridge: NDArray[np.bool_]
    is_exit: NDArray[np.bool_]
    rails: NDArray[np.object_]

    @property
    def tree(self) -> shapely.STRtree:
        """Index of the roads."""
        return shapely.STRtree(self.lines)


def wandering(points: tuple[tuple[float, float], ...] | Floats, rng: np.random.Generator, *, sway_m: float) -> Any:
    """A rounded line through points, swaying as the ground asks; its ends stay."""
    line = rounded(np.asarray(points, dtype=np.float64), 4)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    at = np.linspace(0.0, along[-1], max(3, int(along[-1] // 120)))
    line = np.column_stack([np.interp(at, along, line[:, k]) for k in (0, 1)])
    across = np.gradient(line, axis=0)[:, ::-1] * [-1.0, 1.0]
    across /= np.hypot(across[:, 0], across[:, 1])[:, None]
    calm = np.clip(at / 1500.0, 0, 1) * np.clip((at[-1] - at) / 1500.0, 0, 1)
    sway = smooth(at, np.full_like(at, 11.0), wavelength_m=max(900.0, 9.0 * sway_m), rng=rng) * sway_m * calm
    return shapely.linestrings(np.round(line + across * sway[:, None], 3))


def _exits(
    lines: NDArray[np.object_], rank: NDArray[np.int64], ends_at_ring: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Larger streets that end at the ring and go on beyond it, some hundred metres apart at least."""
    out = np.zeros(len(lines), dtype=bool)
    taken: list[Floats] = []
    for k in np.flatnonzero(ends_at_ring)[np.argsort(rank[ends_at_ring], kind="stable")].tolist():
        end = shapely.get_coordinates(lines[k])[-1]
        if rank[k] <= 2 and all(np.hypot(*(end - t)) > 1500.0 for t in taken):
            out[k] = True
            taken.append(end)
    return out


def _lengthened(line: Any, length_m: float, rng: np.random.Generator) -> Any:
    points = shapely.get_coordinates(line)
    direction = points[-1] - points[-3]
    direction /= np.hypot(*direction)
    turn = rng.uniform(-0.25, 0.25)
    step, out = 150.0, [points[-1]]
    for _ in range(int(length_m // step)):
        turn = float(np.clip(turn + rng.normal(0.0, 0.09), -0.3, 0.3)) * 0.88
        c, s = np.cos(turn * 0.3), np.sin(turn * 0.3)
        direction = np.array([c * direction[0] - s * direction[1], s * direction[0] + c * direction[1]])
        out.append(out[-1] + direction * step)
    return shapely.linestrings(np.round(np.vstack([points, rounded(np.array(out), 1)[1:]]), 3))


def draw_network(
    river: River, ring: Any, banks: tuple[Bank, Bank], cuts: tuple[Cuts, Cuts], towns: tuple[Town, ...],
    lanes: NDArray[np.object_], *, seed: int
) -> Network:  # fmt: skip
    """Streets of both banks, bridges, the roads that leave the city, towns' streets, expressways and railways."""
    rng = rng_for(seed, "network")
    rows: list[Any] = []
    far_ends: list[Floats] = []
    inner = shapely.buffer(ring, -2.0)
    for bank, cut in zip(banks, cuts, strict=True):
        lines = curves(bank, cut.u0, cut.v0, cut.u1, cut.v1, spacing_m=30.0)
        named = cut.rank <= 2
        zh, en = place_names(int(named.sum()), rng, suffix="路", suffix_en="Road")
        names_zh, names_en = np.full(len(lines), None, dtype=object), np.full(len(lines), None, dtype=object)
        suffix = np.array(["大道", "路", "路"], dtype=object)[cut.rank[named]]
        names_zh[named] = [z[:-1] + s if not z.endswith("路路") else z[:-1] for z, s in zip(zh, suffix, strict=True)]
        names_en[named] = [e.replace("Road Road", "Road") for e in en]
        names_zh[0], names_en[0] = (
            ("沿江大道", "Riverside Avenue") if bank.side == "L" else ("江南大道", "South Bank Avenue")
        )
        is_ring = cut.rank == 5
        names_zh[is_ring], names_en[is_ring] = "环城路", "Ring Road"
        exit_ = _exits(lines, cut.rank, (cut.v1 == 1.0) & (cut.v0 < 1.0) & ~is_ring, rng)
        for k in np.flatnonzero(exit_).tolist():
            lines[k] = _lengthened(lines[k], rng.uniform(2500.0, 7000.0), rng)
            far_ends.append(shapely.get_coordinates(lines[k])[-1])
        # What only meets the ring road stops short of its middle: nothing but the exits crosses the ring.
        meets = ~exit_ & ~is_ring & ((cut.v1 == 1.0) | (cut.u0 == 0.0) | (cut.u1 == 1.0))
        meets[0] = False
        lines[meets] = _longest(shapely.intersection(lines[meets], inner))
        # The embankment road runs on, up and down the river.
        lines[0] = _along_river(lines[0], river, bank)
        exit_[0] = True
        for k, line in enumerate(lines):
            r = int(cut.rank[k])
            grade = "national" if r == 5 else "county" if exit_[k] else "urban"
            number = "G318" if r == 5 else f"X{101 + len(far_ends) + k % 7}" if exit_[k] else None
            rows.append(
                (
                    line,
                    _CLASS[r],
                    grade,
                    number,
                    names_zh[k],
                    names_en[k],
                    _WIDTH_M[r],
                    int(_LANES[r]),
                    int(_SPEED[r]),
                    False,
                    bool(exit_[k]),
                )
            )
    rows.extend(_bridges(banks))
    rows.extend((line, "residential", "urban", None, None, None, 11.0, 2, 30, False, False) for line in lanes)
    for index, town in enumerate(towns):
        for line, main in zip(town.streets, town.is_main, strict=True):
            road_class, width_m = ("secondary", 20.0) if main else ("residential", 10.0)
            rows.append((line, road_class, "urban", None, None, None, width_m, 2, 40, False, False))
        start = min(far_ends, key=lambda e: float(np.hypot(*(e - town.centre))))
        line = wandering(
            np.array([start, town.centre]), rng, sway_m=min(2200.0, 0.05 * float(np.hypot(*(start - town.centre))))
        )
        rows.append((line, "primary", "provincial", f"S{251 + index * 3}", f"宜{town.name_zh[0]}公路", f"Yichang–{town.name_en} Highway",
                     12.0, 2, 60, False, False))  # fmt: skip
    for title, title_en, number_, points in _MOTORWAYS:
        line = wandering(points, rng, sway_m=260.0)
        rows.append((line, "motorway", "expressway", number_, title, title_en, 26.0, 4, 100, False, False))
    rows = [row for row in _split_at_water(rows, river) if shapely.length(row[0]) > 5.0]
    rails = np.array([wandering(points, rng, sway_m=120.0) for _, _, _, points in _RAILWAYS], dtype=object)
    columns = [np.array(list(c), dtype=object) for c in zip(*rows, strict=True)]
    return Network(columns[0], columns[1], columns[2], columns[3], columns[4], columns[5], columns[6].astype(float), columns[7].astype(np.int64),
                   columns[8].astype(np.int64), columns[9].astype(bool), columns[10].astype(bool), rails)  # fmt: skip


def _longest(geometry: NDArray[np.object_]) -> NDArray[np.object_]:
    """The longest part of each geometry."""
    out = geometry.copy()
    for k in np.flatnonzero(shapely.get_num_geometries(geometry) > 1):
        parts = shapely.get_parts(geometry[k])
        out[k] = parts[shapely.length(parts).argmax()]
    return out


def _along_river(line: Any, river: River, bank: Bank) -> Any:
    """The embankment road carried on by 4 km at the lower end, 110 m from the bank."""
    points = shapely.get_coordinates(line)
    shore = river.left if bank.side == "L" else river.right
    part = shapely.get_coordinates(shore)[river.index_at(bank.end_m + 500.0) : river.index_at(bank.end_m + 4500.0)]
    away = np.gradient(part, axis=0)[:, ::-1] * [-1.0, 1.0] * (1.0 if bank.side == "L" else -1.0)
    away /= np.hypot(away[:, 0], away[:, 1])[:, None]
    return shapely.linestrings(
        np.round(np.vstack([points, rounded(np.vstack([points[-1:], (part + 120.0 * away)[::6]]), 2)[1:]]), 3)
    )


def _bridges(banks: tuple[Bank, Bank]) -> list[Any]:
    rows: list[Any] = []
    left, _right = banks
    for number, (zh, en, _, kind) in enumerate(BRIDGES):
        if kind == "rail":
            continue
        u = 1.0 if kind == "ring" else left.u_at(left.bridge_m[number])
        level = STRIP if kind == "road" else 0.0
        ends = [b.place(np.array([u]), np.array([level]))[0] for b in banks]
        rows.append((shapely.linestrings(np.round(ends, 3)), "trunk" if kind == "ring" else "primary", "national" if kind == "ring" else "urban",
                     "G318" if kind == "ring" else None, zh, en, 30.0, 6, 60, True, False))  # fmt: skip
    ends = [b.place(np.array([0.0]), np.array([0.0]))[0] for b in banks]
    rows.append(
        (
            shapely.linestrings(np.round(ends, 3)),
            "trunk",
            "national",
            "G318",
            "葛洲坝坝顶路",
            "Gezhouba Dam Road",
            18.0,
            4,
            30,
            True,
            False,
        )
    )
    return rows


def _split_at_water(rows: list[Any], river: River) -> list[Any]:
    """Where a road that leaves the city meets water, that piece is a bridge of its own."""
    waters = shapely.union_all([river.polygon, *(t.polygon for t in river.tributaries if t.is_major)])
    shapely.prepare(waters)
    near_bank = shapely.buffer(river.polygon, 10.0)
    out = []
    for row in rows:
        line = row[0]
        if row[9] or not shapely.intersects(waters, line):
            out.append(row)
            continue
        if row[2] == "urban" and row[4] not in ("沿江大道", "江南大道"):  # a street ends at the water's edge
            pieces = shapely.get_parts(shapely.difference(line, near_bank))
            if len(pieces):
                out.append((pieces[shapely.length(pieces).argmax()], *row[1:]))
            continue
        wet = shapely.get_parts(shapely.intersection(line, waters))
        dry = shapely.get_parts(shapely.line_merge(shapely.difference(line, waters)))
        if shapely.length(wet).sum() < 30.0 or row[4] in ("沿江大道", "江南大道"):
            out.append(row)
            continue
        for piece, is_bridge in [*((p, False) for p in dry), *((p, True) for p in wet)]:
            if shapely.length(piece) > 1.0:
                out.append((piece, *row[1:9], is_bridge, row[10] and not is_bridge))
    return out


def road_layer(network: Network, locator: Locator, *, seed: int) -> gpd.GeoDataFrame:
    """Layer ``road``."""
    return register(
        "road",
        network.lines,
        {
            "name_zh": network.name_zh, "name_en": network.name_en, "admin_code": locator.of_geometry(network.lines), "road_no": network.number,
            "road_class": network.road_class, "admin_grade": network.grade, "bridge": network.bridge, "tunnel": False,
            "osm_layer": network.bridge.astype(int), "oneway": False, "lane_count": network.lanes, "width_m": network.width_m,
            "speed_limit_kmh": network.speed_kmh,
        },
        seed=seed,
    )  # fmt: skip


def rail_layer(network: Network, river: River, cells: Cells, locator: Locator, *, seed: int) -> gpd.GeoDataFrame:
    """Layer ``railway``: each line cut where its surroundings change, bridges apart."""
    suburb = shapely.buffer(cells.ring, 3000.0)
    geometry, names, classes, locality, bridge = [], [], [], [], []
    for (zh, en, rail_class, _), line in zip(_RAILWAYS, network.rails, strict=True):
        wet = shapely.intersection(line, river.polygon)
        dry = shapely.difference(line, river.polygon)
        for where, part in (("urban", shapely.intersection(dry, cells.ring)),
                            ("suburban", shapely.intersection(dry, shapely.difference(suburb, cells.ring))),
                            ("elsewhere", shapely.difference(dry, suburb)), ("bridge", wet)):  # fmt: skip
            for piece in shapely.get_parts(shapely.line_merge(part)):
                if shapely.length(piece) > 1.0:
                    geometry.append(piece)
                    names.append((zh, en))
                    classes.append(rail_class)
                    bridge.append(where == "bridge")
                    locality.append("urban" if where == "bridge" else where)
    lines = np.array(geometry, dtype=object)
    return register(
        "railway", lines,
        {"name_zh": [n[0] for n in names], "name_en": [n[1] for n in names], "admin_code": locator.of_geometry(lines), "rail_class": classes,
         "bridge": bridge, "tunnel": False, "osm_layer": [int(b) for b in bridge], "locality": locality, "half_width_m": 7.5, "fenced": True},
        seed=seed,
    )  # fmt: skip
