"""Draw a layout anew inside its ring: zones and grids from street blocks, points at cameras that are there.

The ring is kept. Nothing of the check is used in drawing; the check is run on what was stored.
"""

import logging
import re
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import sqlalchemy as sa
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph
from shapely.geometry.base import BaseGeometry

from gis.errors import DataError, InputError
from gis.gridcodes import reading_order
from gis.partition import Nested, PartitionNote, partition_nested
from gis.partition_blocks import blocks_from_lines, borders
from gis.partition_graph import UnitGraph, unit_graph
from gis.ring import prove_ring, ring_polygon
from gis.roadgraph import road_graph
from gis.settings import CityConfig
from grids.layout import LAYOUT_LAYERS, LayoutData, containers_of, read_layout, road_levels
from grids.layout_check import WATCH_REACH_M, WEIGHTS, LayoutReport, Step, check_layout
from layers.access import SYSTEM, Principal
from layers.database import Database
from layers.frames import read_frame
from layers.loading.bulk import load_frame
from layers.runs import run

__all__ = ["LayoutPlan", "PlanReport", "draw_layout", "plan_layout"]

log = logging.getLogger(__name__)

type Ints = NDArray[np.int64]

#: What a metre of boundary costs along a main road, railway or water, and between communities; 1 elsewhere.
_COST_ALONG, _COST_COMMUNITY = 0.5, 0.75
_NEAR_M = 15.0
#: A piece of land with less than this share of the weight is an island that is not divided.
_ISLAND_SHARE = 0.005
#: How long to search (1: the engine's own measure).
_EFFORT = 4.0
#: Water narrower than this everywhere does not part the land.
_WIDE_M = 150.0
_MAIN_ROADS = ("motorway", "trunk", "primary", "secondary")


@dataclass(frozen=True)
class LayoutPlan:
    """A layout drawn: ``units`` as rows of ``layout_unit`` in the analysis system, and how good it is."""

    units: gpd.GeoDataFrame
    nested: Nested = field(repr=False)
    notes: tuple[PartitionNote, ...]


@dataclass(frozen=True)
class PlanReport:
    """A plan that was stored, and what the check says of it."""

    run_id: UUID
    layout: str
    notes: tuple[PartitionNote, ...]
    figures: dict[str, Any]
    check: LayoutReport = field(repr=False)


def plan_layout(
    database: Database,
    city: CityConfig,
    *,
    name: str = "draft",
    base: str = "current",
    weight: str = "population",
    principal: Principal = SYSTEM,
    progress: Step | None = None,
) -> PlanReport:
    """Draw a layout inside the ring of ``base``, store it as ``name-N`` and check it.

    Parameters
    ----------
    name : str
        Letters, digits and hyphens; N is the first free number.
    base : str
        Layout whose ring is kept.
    weight : str
        ``population`` or ``household_count``.

    Raises
    ------
    NotFound
        There is no layout ``base``.
    InputError
        It has no closed ring, there are no grid cells, or more parts are asked than there are blocks.
    """
    if weight not in WEIGHTS:
        raise InputError(f"The weight is one of {', '.join(WEIGHTS)}.", zh=f"权重须为 {'、'.join(WEIGHTS)} 之一。")
    if not re.fullmatch(r"[A-Za-z0-9一-鿿-]{1,40}", name):
        raise InputError(
            "A name has letters, digits and hyphens, 40 at most.", zh="名称由字母、数字和连字符组成，最多 40 个。"
        )
    tell = progress or (lambda _en, _zh, _done, _total: None)
    layers = (*LAYOUT_LAYERS, "railway", "river_axis", "water")
    parameters = {"name": name, "base": base, "weight": weight, "counts": city.layout.model_dump()}
    with run(database, kind="layout-plan", parameters=parameters, layers=layers, principal=principal) as current:
        tell("reading the layers", "读取图层", 0, 4)
        with database.begin(readonly=True, snapshot=True) as connection:
            data = read_layout(connection, base, srid=city.analysis_srid)
            lines = _lines(connection, city.analysis_srid)
            taken = set(connection.execute(sa.text("SELECT DISTINCT layout FROM baige.layout_unit")).scalars())
        number = next(n for n in range(1, 1_000_000) if f"{name}-{n}" not in taken)
        layout = f"{name}-{number}"
        tell("drawing", "划分", 1, 4)
        plan = draw_layout(data, city, weight=weight, along=lines["along"], river=lines["river"], water=lines["water"])
        tell("writing the results", "写入结果", 2, 4)
        for level in ("ring", "zone", "grid", "point"):  # from the ring down, so that each finds its parent
            rows = plan.units[plan.units["level"] == level].assign(layout=layout, version=1)
            report = load_frame(database, "layout_unit", rows.to_crs(city.storage_srid), synthetic=current.synthetic,
                                trusted=True, allow_outside=True, city=city, note=str(current.id))  # fmt: skip
            if report.quarantined:
                raise DataError(
                    f"{report.quarantined} units of level {level} were refused.",
                    zh=f"层级 {level} 有 {report.quarantined} 个单元被拒绝。",
                )
        tell("checking", "检查", 3, 4)
        checked = check_layout(database, city, layout=layout, weight=weight, principal=principal)
        tell("done", "完成", 4, 4)
        figures = _figures(plan, checked)
        current.summary.update({"layout": layout, **figures, "notes": [note.text for note in plan.notes]})
    return PlanReport(current.id, layout, plan.notes, figures, checked)


def _lines(connection: sa.Connection, srid: int) -> dict[str, Any]:
    roads = read_frame(connection, "road", columns=["road_class"], srid=srid)
    parts = [roads[roads["road_class"].isin(_MAIN_ROADS)].geometry.to_numpy()]
    parts.append(read_frame(connection, "railway", columns=[], srid=srid).geometry.to_numpy())
    water = read_frame(connection, "water", columns=[], srid=srid).geometry.to_numpy()
    parts.append(shapely.boundary(water))
    axis = read_frame(
        connection, "river_axis", columns=[], srid=srid, where=sa.text("is_main_stem")
    ).geometry.to_numpy()
    return {
        "along": np.concatenate(parts),
        "river": shapely.force_2d(axis),
        "water": water[~shapely.is_empty(shapely.buffer(water, -_WIDE_M / 2))],
    }


def draw_layout(
    data: LayoutData, city: CityConfig, *, weight: str, along: Any, river: Any, water: Any = ()
) -> LayoutPlan:
    """Draw zones, grids and points.

    Parameters
    ----------
    along : array of lines
        Main roads, railways and banks: boundaries along them are preferred.
    river : array of lines
        Axes of the main river: no zone reaches across.
    water : array of polygons
        Zones and grids are not joined by water alone: what lies in it is given to them afterwards.
    """
    if len(data.ring) != 1:
        raise InputError("A plan needs a layout with one ring.", zh="规划需要有且仅有一条环线。")
    if not len(data.cells):
        raise InputError("There are no grid cells to draw from.", zh="没有可用于划分的网格单元。")
    ring = ring_polygon(data.ring.geometry.iloc[0])
    cells = data.cells.geometry.to_numpy()
    crs = data.ring.crs
    cut = blocks_from_lines(gpd.GeoSeries([ring], crs=crs), [gpd.GeoSeries(shapely.boundary(cells), crs=crs)])
    blocks = cut.blocks.geometry.to_numpy()
    load, community = _loads(blocks, data, weight)
    near = borders(blocks)
    spots = shapely.get_coordinates(shapely.point_on_surface(blocks))
    graph = unit_graph(
        load, near.pairs, border_m=near.border_m, cost=near.border_m * _factor(near, along, community),
        walls=_walls(near.pairs, blocks, ring, river), xy=spots,
    )  # fmt: skip
    counts = (city.layout.zones, city.layout.grids)
    land = _land(graph, blocks, water)
    nested = partition_nested(
        graph.part_of(land),
        counts,
        tolerances=(city.layout.zone_imbalance_max, city.layout.grid_imbalance_max),
        effort=_EFFORT,
    )
    grid = _spread_over(graph, land, nested.levels[1].part)
    zone = nested.parent[1][grid]
    units = _units(data, city, ring, blocks, zone, grid, nested)
    # units of notes are numbered among the blocks on land
    notes = tuple(note for level in nested.levels for note in level.notes)
    return LayoutPlan(units, nested, notes)


def _loads(blocks: Any, data: LayoutData, weight: str) -> tuple[Any, Ints]:
    """Weight of each block, and the community it lies in: a cell counts where a point inside it lies."""
    home = containers_of(data.cells.geometry.to_numpy(), blocks)
    given = pd.to_numeric(data.cells[weight], errors="coerce").fillna(0).to_numpy(float)
    load = np.bincount(home[home >= 0], weights=given[home >= 0], minlength=len(blocks))
    return load, containers_of(blocks, data.communities.geometry.to_numpy())


def _factor(near: Any, along: Any, community: Ints) -> NDArray[np.float64]:
    factor = np.where(community[near.pairs[:, 0]] != community[near.pairs[:, 1]], _COST_COMMUNITY, 1.0)
    if len(along):
        middle = shapely.point_on_surface(near.lines)
        hit = np.unique(shapely.STRtree(along).query(middle, predicate="dwithin", distance=_NEAR_M)[0])
        factor[hit] = _COST_ALONG
    return factor


def _walls(pairs: Ints, blocks: Any, ring: BaseGeometry, river: Any) -> NDArray[np.bool_]:
    """Pairs on different sides of the river's axis."""
    if not len(river):
        return np.zeros(len(pairs), np.bool_)
    cut = shapely.node(shapely.union_all([shapely.boundary(ring), *river]))
    faces = shapely.get_parts(shapely.polygonize(shapely.get_parts(cut)))
    side = containers_of(blocks, faces[shapely.contains(ring, shapely.point_on_surface(faces))])
    walls: NDArray[np.bool_] = (side[pairs[:, 0]] != side[pairs[:, 1]]) & (side[pairs] >= 0).all(axis=1)
    return walls


def _land(graph: UnitGraph, blocks: Any, water: Any) -> Ints:
    """Blocks that are divided: not those in the water, nor islands with hardly anybody on them; all hang on their neighbours."""
    wet = np.zeros(graph.n, np.bool_)
    if len(water):
        wet[np.unique(shapely.STRtree(water).query(shapely.point_on_surface(blocks), predicate="within")[0])] = True
    kept = graph.pairs[~graph.wall & ~wet[graph.pairs].any(axis=1)]
    matrix = sparse.coo_array((np.ones(len(kept)), (kept[:, 0], kept[:, 1])), shape=(graph.n, graph.n))
    piece = csgraph.connected_components(matrix, directed=False)[1]
    load = np.bincount(piece, weights=graph.weight)
    land: Ints = np.flatnonzero(~wet & (load[piece] > _ISLAND_SHARE * graph.weight.sum()))
    return land if len(land) else np.arange(graph.n)


def _spread_over(graph: UnitGraph, land: Ints, part: Ints) -> Ints:
    """Parts of all blocks: the rest joins, one after another, the part it shares the longest border with; over walls last."""
    label = np.full(graph.n, -1, np.int64)
    label[land] = part
    both = np.concatenate([graph.pairs, graph.pairs[:, ::-1]])
    border, wall = np.tile(graph.border_m, 2), np.tile(graph.wall, 2)
    while (label < 0).any():
        edge = (label[both[:, 0]] < 0) & (label[both[:, 1]] >= 0)
        open_edge = edge & ~wall
        at = np.flatnonzero(open_edge if open_edge.any() else edge)
        if not len(at):
            raise DataError("The inside of the ring falls into pieces.", zh="环内区域不连通。")
        frame = pd.DataFrame({"block": both[at, 0], "part": label[both[at, 1]], "border": border[at]})
        longest = (
            frame.groupby(["block", "part"])["border"].sum().reset_index().sort_values("border").groupby("block").last()
        )
        label[longest.index.to_numpy()] = longest["part"].to_numpy()
    return label


def _units(
    data: LayoutData, city: CityConfig, ring: BaseGeometry, blocks: Any, zone: Ints, grid: Ints, nested: Nested
) -> gpd.GeoDataFrame:
    home = np.full(city.layout.grids, 0, np.int64)
    home[grid] = zone
    zones = np.array([shapely.coverage_union_all(blocks[zone == z]) for z in range(city.layout.zones)], dtype=object)
    grids = np.array([shapely.coverage_union_all(blocks[grid == g]) for g in range(city.layout.grids)], dtype=object)
    rank = np.argsort(reading_order(shapely.get_coordinates(shapely.point_on_surface(zones))))
    zone_code = [f"Z{k + 1:02d}" for k in rank]
    grid_code = [""] * len(grids)
    for z in range(len(zones)):
        mine = np.flatnonzero(home == z)
        order = reading_order(shapely.get_coordinates(shapely.point_on_surface(grids[mine])))
        for k, g in enumerate(mine[order]):
            grid_code[g] = f"{zone_code[z]}-G{k + 1:02d}"
    ring_id, zone_id, grid_id = str(uuid4()), [str(uuid4()) for _ in zones], [str(uuid4()) for _ in grids]
    quota = _quota(nested.levels[1].weight, city)
    rows: list[dict[str, Any]] = [
        _row(ring_id, "ring", "R1", None, ring, float(nested.levels[0].weight.sum()), int(quota.sum()))
    ]
    for z, shape in enumerate(zones):
        rows.append(
            _row(
                zone_id[z],
                "zone",
                zone_code[z],
                ring_id,
                shape,
                float(nested.levels[0].weight[z]),
                int(quota[home == z].sum()),
            )
        )
    for g, shape in enumerate(grids):
        rows.append(
            _row(
                grid_id[g],
                "grid",
                grid_code[g],
                zone_id[home[g]],
                shape,
                float(nested.levels[1].weight[g]),
                int(quota[g]),
            )
        )
    for g, number, spot, site in _points(data, ring, grids, quota):
        code = f"{grid_code[g]}-P{number:02d}"
        rows.append({**_row(str(uuid4()), "point", code, grid_id[g], spot, None, None),
                     "site_layer": "camera_site" if site else None, "site_id": site})  # fmt: skip
    return gpd.GeoDataFrame(rows, geometry="geom", crs=data.ring.crs)


def _row(
    key: str, level: str, code: str, parent: str | None, shape: Any, weight: float | None, quota: int | None
) -> dict[str, Any]:
    return {"id": key, "level": level, "code": code, "name_zh": code, "name_en": code, "parent_id": parent, "weight": weight,
            "quota": quota, "pinned": False, "site_layer": None, "site_id": None, "geom": shape}  # fmt: skip


def _quota(weight: Any, city: CityConfig) -> Ints:
    """Points of each grid: the least, and the rest by weight (largest remainders)."""
    least = np.full(len(weight), city.layout.points_per_grid_min, np.int64)
    rest = max(city.layout.points - int(least.sum()), 0)
    share = rest * (weight / weight.sum() if weight.sum() > 0 else np.full(len(weight), 1 / len(weight)))
    quota = least + np.floor(share).astype(np.int64)
    lacking = rest - int(np.floor(share).sum())
    quota[np.argsort(-(share % 1), kind="stable")[:lacking]] += 1
    return quota


def _points(data: LayoutData, ring: BaseGeometry, grids: Any, quota: Ints) -> list[tuple[int, int, Any, str | None]]:
    """Grid, number, place and camera of each point.

    First the crossings that must be watched for the ring to be closed, then cameras, far from each other, then junctions.
    """
    cameras = data.cameras[data.cameras["device_state"].fillna("in_use") != "removed"].reset_index(drop=True)
    sites = cameras.geometry.to_numpy()
    ids = cameras["id"].to_numpy(dtype=object)
    must: Any = np.zeros(0, dtype=object)
    junctions: Any = must
    if len(data.roads):
        graph = road_graph(data.roads, level=road_levels(data.roads))
        proof = prove_ring(graph, ring, shapely.get_coordinates(sites), reach_m=WATCH_REACH_M, depth_m=10.0)
        must = shapely.points([crossing.xy for crossing in proof.crossings if crossing.to_watch] or np.zeros((0, 2)))
        junctions = shapely.points(graph.xy)
        # a crossing lies on the ring: its point is drawn just inside
        must = shapely.get_point(
            shapely.shortest_line(np.full(len(must), shapely.buffer(ring, -1.0), dtype=object), must), 0
        )
    found = []
    at = [containers_of(points, grids) for points in (must, sites, junctions)]
    for g in range(len(grids)):
        chosen: list[tuple[Any, str | None]] = [(spot, None) for spot in must[at[0] == g]]
        for points, home, names in ((sites, at[1], ids), (junctions, at[2], None)):
            mine = np.flatnonzero(home == g)
            for k in _spread(shapely.get_coordinates(points[mine]), int(quota[g]) - len(chosen)):
                chosen.append((points[mine[k]], None if names is None else str(names[mine[k]])))
        found += [(g, number + 1, spot, site) for number, (spot, site) in enumerate(chosen)]
    return found


def _spread(xy: Any, count: int) -> list[int]:
    """Rows of so many points far from each other: each next is the farthest from those chosen."""
    if count <= 0 or not len(xy):
        return []
    chosen = [int(np.argmin(np.hypot(*(xy - xy.mean(axis=0)).T)))]
    away = np.hypot(*(xy - xy[chosen[0]]).T)
    while len(chosen) < min(count, len(xy)) and away.max() > 0:
        chosen.append(int(np.argmax(away)))
        away = np.minimum(away, np.hypot(*(xy - xy[chosen[-1]]).T))
    return chosen


def _figures(plan: LayoutPlan, checked: LayoutReport) -> dict[str, Any]:
    points = plan.units[plan.units["level"] == "point"]
    return {
        "levels": [
            {"level": name, "parts": level.k, "imbalance": round(float(level.imbalance), 4), "cut_m": round(float(level.cut_m)),
             "contiguous": level.contiguous}
            for name, level in zip(("zone", "grid"), plan.nested.levels, strict=True)
        ],
        "points": len(points),
        "points_at_cameras": int(points["site_id"].notna().sum()),
        "holds": not any(f.severity == "error" for f in checked.faults if f.level is not None),
        "faults": checked.counts,
    }  # fmt: skip
