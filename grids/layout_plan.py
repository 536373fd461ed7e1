"""Draw a layout: zones and grids from street blocks, points by the siting engine; anew, or changed as little as needed.

Nothing of the check is used in drawing; the check is run on what was stored.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import sqlalchemy as sa
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from gis.errors import DataError, InputError
from gis.partition import PartitionNote
from gis.ring import ring_polygon
from gis.settings import CityConfig
from grids.layout import LAYOUT_LAYERS, LayoutData, containers_of, read_layout
from grids.layout_check import WEIGHTS, LayoutReport, Step, check_layout
from grids.layout_codes import continued, renumbered
from grids.layout_draw import Drawn, Present, draw_zones_and_grids
from grids.layout_ground import Ground, Lines, read_ground
from grids.layout_points import place_points, quotas
from grids.layout_ringline import along_roads, draw_ring
from layers.access import SYSTEM, Principal
from layers.database import Database
from layers.frames import read_frame
from layers.loading.bulk import load_frame
from layers.runs import run

__all__ = ["LayoutPlan", "PlanReport", "draw_layout", "plan_layout"]

log = logging.getLogger(__name__)

type Ints = NDArray[np.int64]

#: Water narrower than this everywhere does not part the land.
_WIDE_M = 150.0
_MAIN_ROADS = ("motorway", "trunk", "primary", "secondary")
#: Layers whose places a point should cover.
_PLACES = ("school", "outfall", "key_area")
_MOVES_SHOWN = 1000


@dataclass(frozen=True)
class LayoutPlan:
    """A layout drawn: ``units`` as rows of ``layout_unit`` in the analysis system, and how good it is.

    ``moved``: for a redraw, the blocks' weight that went from one unit to another, as ``level, from, to, blocks, weight``.
    """

    units: gpd.GeoDataFrame
    drawn: Drawn = field(repr=False)
    ground: Ground = field(repr=False)
    notes: tuple[PartitionNote, ...]
    moved: tuple[dict[str, Any], ...]
    retired: tuple[str, ...]
    figures: dict[str, Any]


@dataclass(frozen=True)
class PlanReport:
    """A plan that was stored, and what the check says of it."""

    run_id: UUID
    layout: str
    version: int
    notes: tuple[PartitionNote, ...]
    moved: tuple[dict[str, Any], ...]
    retired: tuple[str, ...]
    figures: dict[str, Any]
    check: LayoutReport = field(repr=False)


def plan_layout(
    database: Database,
    city: CityConfig,
    *,
    name: str = "draft",
    base: str = "current",
    keep: bool = False,
    into: str | None = None,
    ring: str = "keep",
    across: bool = False,
    pinned: Sequence[str] = (),
    weight: str = "population",
    principal: Principal = SYSTEM,
    progress: Step | None = None,
) -> PlanReport:
    """Draw a layout, store it as ``name-N`` (or as the next version of ``into``) and check it.

    Parameters
    ----------
    name : str
        Letters, digits and hyphens; N is the first free number.
    base : str
        Layout whose ring and pinned units are kept.
    keep : bool
        Change ``base`` as little as needed instead of drawing anew; units that stay mostly the same keep their codes.
    into : str, optional
        An existing draft: the plan becomes its next version.
    ring : str
        ``keep``, or ``draw``: from the built-up blocks.
    across : bool
        Where the river does not leave the zones balance, one may lie on both sides, joined by a bridge.
    pinned : sequence of str
        Codes of units of ``base`` that may not move, besides those that are marked so.
    weight : str
        ``population`` or ``household_count``.

    Raises
    ------
    NotFound
        There is no layout ``base``.
    InputError
        It has no closed ring, there are no grid cells, a code is unknown, or more parts are asked than there are blocks.
    """
    if weight not in WEIGHTS:
        raise InputError(f"The weight is one of {', '.join(WEIGHTS)}.", zh=f"权重须为 {'、'.join(WEIGHTS)} 之一。")
    if ring not in ("keep", "draw"):
        raise InputError("The ring is kept or drawn: keep, draw.", zh="环线可选 keep（沿用）或 draw（重划）。")
    if not re.fullmatch(r"[A-Za-z0-9一-鿿-]{1,40}", name):
        raise InputError(
            "A name has letters, digits and hyphens, 40 at most.", zh="名称由字母、数字和连字符组成，最多 40 个。"
        )
    if into == "current":
        raise InputError("A plan becomes the current layout by adopting it.", zh="规划须经采用才成为现行布局。")
    tell = progress or (lambda _en, _zh, _done, _total: None)
    layers = (*LAYOUT_LAYERS, "railway", "river_axis", "water", *_PLACES)
    parameters = {"name": name, "base": base, "keep": keep, "into": into, "ring": ring, "across": across, "pinned": list(pinned),
                  "weight": weight, "counts": city.layout.model_dump()}  # fmt: skip
    with run(database, kind="layout-plan", parameters=parameters, layers=layers, principal=principal) as current:
        tell("reading the layers", "读取图层", 0, 4)
        with database.begin(readonly=True, snapshot=True) as connection:
            data = read_layout(connection, base, srid=city.analysis_srid, all_roads=ring == "draw")
            lines = _lines(connection, city.analysis_srid)
            places = _places(connection, city.analysis_srid)
            rows = connection.execute(
                sa.text("SELECT layout, max(coalesce(version, 1)) FROM baige.layout_unit GROUP BY layout")
            )
            taken = {str(key): int(value) for key, value in rows}
            ever = connection.execute(
                sa.text("SELECT DISTINCT code FROM baige.layout_unit WHERE layout = :base"), {"base": base}
            )
            used = [str(code) for code in ever.scalars()]
        if into is not None and into not in taken:
            raise InputError(f"There is no draft {into!r}.", zh=f"没有草案“{into}”。")
        layout = into or f"{name}-{next(n for n in range(1, 1_000_000) if f'{name}-{n}' not in taken)}"
        version = taken[layout] + 1 if into else 1
        tell("drawing", "划分", 1, 4)
        plan = draw_layout(
            data, city, weight=weight, along=lines.along, river=lines.river, water=lines.water, places=places, keep=keep,
            new_ring=ring == "draw", across=across, pinned=pinned, ever=used,
        )  # fmt: skip
        tell("writing the results", "写入结果", 2, 4)
        for level in ("ring", "zone", "grid", "point"):  # from the ring down, so that each finds its parent
            units = plan.units[plan.units["level"] == level].assign(layout=layout, version=version)
            report = load_frame(database, "layout_unit", units.to_crs(city.storage_srid), synthetic=current.synthetic,
                                trusted=True, allow_outside=True, city=city, note=str(current.id))  # fmt: skip
            if report.quarantined:
                raise DataError(
                    f"{report.quarantined} units of level {level} were refused.",
                    zh=f"层级 {level} 有 {report.quarantined} 个单元被拒绝。",
                )
        tell("checking", "检查", 3, 4)
        checked = check_layout(database, city, layout=layout, weight=weight, principal=principal)
        tell("done", "完成", 4, 4)
        figures = {**plan.figures, "holds": checked.plan_holds, "faults": checked.counts}
        current.summary.update(
            {"layout": layout, "version": version, **figures, "notes": [note.text for note in plan.notes],
             "moved": list(plan.moved[:_MOVES_SHOWN]), "retired": list(plan.retired)}
        )  # fmt: skip
    return PlanReport(current.id, layout, version, plan.notes, plan.moved, plan.retired, figures, checked)


def _lines(connection: sa.Connection, srid: int) -> Lines:
    roads = read_frame(connection, "road", columns=["road_class"], srid=srid)
    parts = [roads[roads["road_class"].isin(_MAIN_ROADS)].geometry.to_numpy()]
    parts.append(read_frame(connection, "railway", columns=[], srid=srid).geometry.to_numpy())
    water = read_frame(connection, "water", columns=[], srid=srid).geometry.to_numpy()
    parts.append(shapely.boundary(water))
    axis = read_frame(
        connection, "river_axis", columns=[], srid=srid, where=sa.text("is_main_stem")
    ).geometry.to_numpy()
    wide = water[~shapely.is_empty(shapely.buffer(water, -_WIDE_M / 2))]
    return Lines(np.concatenate(parts), shapely.force_2d(axis), wide)


def _places(connection: sa.Connection, srid: int) -> Any:
    found = [read_frame(connection, layer, columns=[], srid=srid).geometry.to_numpy() for layer in _PLACES]
    return shapely.point_on_surface(np.concatenate(found))


def draw_layout(
    data: LayoutData,
    city: CityConfig,
    *,
    weight: str,
    along: Any,
    river: Any,
    water: Any = (),
    places: Any = (),
    keep: bool = False,
    new_ring: bool = False,
    across: bool = False,
    pinned: Sequence[str] = (),
    ever: Sequence[str] = (),
) -> LayoutPlan:
    """Draw ring (where asked for), zones, grids and points.

    Parameters
    ----------
    along : array of lines
        Main roads, railways and banks: boundaries along them are preferred.
    river : array of lines
        Axes of the main river: no zone reaches across.
    water : array of polygons
        Zones and grids are not joined by water alone: what lies in it is given to them afterwards.
    places : array of points
        Places that a point should cover.
    keep, across, pinned
        See `plan_layout`.
    ever : sequence of str
        Codes used in earlier versions of the layout, never given again.
    """
    if len(data.ring) != 1 and not new_ring:
        raise InputError("A plan needs a layout with one ring.", zh="规划需要有且仅有一条环线。")
    if not len(data.cells):
        raise InputError("There are no grid cells to draw from.", zh="没有可用于划分的网格单元。")
    fixed = _fixed(data, pinned)
    if new_ring and fixed["ring"].any():
        raise InputError("The ring is pinned; it cannot be drawn anew.", zh="环线已固定，不能重划。")
    ring = draw_ring(data, weight=weight) if new_ring else ring_polygon(data.ring.geometry.iloc[0])
    edges = shapely.boundary(
        np.concatenate([data.zones.geometry.to_numpy()[fixed["zone"]], data.grids.geometry.to_numpy()[fixed["grid"]]])
    )
    ground = read_ground(data, ring, Lines(along, river, water), weight=weight, further=edges)
    present = _present(data, ground, fixed, keep) if keep or fixed["zone"].any() or fixed["grid"].any() else None
    tolerances = (city.layout.zone_imbalance_max, city.layout.grid_imbalance_max)
    drawn = draw_zones_and_grids(
        ground, city.layout.zones, city.layout.grids, tolerances=tolerances, across=across, present=present
    )
    old = _old(data, fixed)
    carried = present is not None or bool(fixed["point"].any())
    shapes = [_joined(ground, drawn.grid, city.layout.grids), _joined(ground, drawn.zone, city.layout.zones)]
    quota = quotas(drawn.grid_weight, city)
    points, quota, covered = place_points(
        data, ring, shapes[1], shapes[0], quota, weight=weight, least=city.layout.points_per_grid_min, places=places,
        kept=old[(old["level"] == "point") & (keep | old["pinned"])] if carried else None,
    )  # fmt: skip
    units = _units(data.cells.crs, ring, shapes, drawn, quota, points)
    units["code"], retired = renumbered(units, old if carried else None, ever if carried else ())
    units["name_zh"] = units["name_en"] = units["code"]
    moved: list[dict[str, Any]] = []
    if carried:
        same = continued(old, units)
        units["pinned"] = [bool(k >= 0 and old["pinned"].iloc[k]) for k in same]
        names = old["name_zh"].to_numpy(dtype=object)
        units["name_zh"] = [
            names[k] if k >= 0 and names[k] else code for k, code in zip(same, units["code"], strict=True)
        ]
        moved = _moved(data, ground, drawn, units, shapes)
    figures = {
        **_figures(drawn, ground, units),
        **covered,
        "ring_along_roads": _share(ring, data),
        "moved_weight": _weight_moved(moved),
    }
    return LayoutPlan(units, drawn, ground, drawn.notes, tuple(moved), tuple(retired), figures)


def _share(ring: BaseGeometry, data: LayoutData) -> float:
    return round(along_roads(ring, data.roads.geometry.to_numpy()), 3) if len(data.roads) else 0.0


def _fixed(data: LayoutData, codes: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """Which units of each level may not move."""
    frames = {"ring": data.ring, "zone": data.zones, "grid": data.grids, "point": data.points}
    known = {str(code) for frame in frames.values() for code in frame["code"]}
    unknown = [code for code in codes if code not in known]
    if unknown:
        raise InputError(
            f"Layout {data.layout} has no unit {', '.join(unknown)}.",
            zh=f"布局 {data.layout} 没有单元 {'、'.join(unknown)}。",
        )

    def which(frame: gpd.GeoDataFrame) -> NDArray[np.bool_]:
        marked = (
            frame["pinned"].fillna(False).to_numpy(dtype=bool) if "pinned" in frame else np.zeros(len(frame), np.bool_)
        )
        named: NDArray[np.bool_] = marked | frame["code"].astype(str).isin(list(codes)).to_numpy(dtype=bool)
        return named

    return {level: which(frame) for level, frame in frames.items()}


def _present(data: LayoutData, ground: Ground, fixed: dict[str, NDArray[np.bool_]], keep: bool) -> Present:
    zones, grids = data.zones.geometry.to_numpy(), data.grids.geometry.to_numpy()
    zone, grid = containers_of(ground.blocks, zones), containers_of(ground.blocks, grids)
    rows = {str(key): row for row, key in enumerate(data.zones["id"])}
    home = np.array([rows.get(str(parent), -1) for parent in data.grids["parent_id"]], np.int64)
    closed_zones = frozenset(np.flatnonzero(fixed["zone"]).tolist())
    return Present(zone, grid, home, len(zones), closed_zones, frozenset(np.flatnonzero(fixed["grid"]).tolist()), keep)


def _old(data: LayoutData, fixed: dict[str, NDArray[np.bool_]]) -> gpd.GeoDataFrame:
    """The units of the layout before, what may not move marked."""
    parts = []
    for level, frame in (("ring", data.ring), ("zone", data.zones), ("grid", data.grids), ("point", data.points)):
        part = frame[["id", "level", "parent_id", "code", "site_id", "geom"]].copy()
        part["name_zh"] = frame.get("name_zh", None)
        part["pinned"] = fixed[level]
        parts.append(part[part.geometry.notna()])
    return gpd.GeoDataFrame(pd.concat(parts, ignore_index=True), geometry="geom", crs=data.cells.crs)


def _joined(ground: Ground, label: Ints, count: int) -> Any:
    return np.array([shapely.coverage_union_all(ground.blocks[label == k]) for k in range(count)], dtype=object)


def _moved(
    data: LayoutData, ground: Ground, drawn: Drawn, units: gpd.GeoDataFrame, shapes: list[Any]
) -> list[dict[str, Any]]:
    """Blocks that changed their zone or grid, by where from and where to."""
    found = []
    for level, label, before in (("zone", drawn.zone, data.zones), ("grid", drawn.grid, data.grids)):
        was = containers_of(ground.blocks, before.geometry.to_numpy())
        rows = units[units["level"] == level]
        now = rows["code"].to_numpy(dtype=object)[label]
        codes = [*before["code"].astype(str), ""]
        names = np.array([codes[k] for k in was], dtype=object)
        changed = np.flatnonzero(names != now)
        sums: dict[tuple[str, str], list[float]] = {}
        for k in changed:
            entry = sums.setdefault((str(names[k]), str(now[k])), [0.0, 0.0])
            entry[0] += 1
            entry[1] += float(ground.graph.weight[k])
        for (source, target), (blocks, weight) in sums.items():
            found.append(
                {"level": level, "from": source or None, "to": target, "blocks": int(blocks), "weight": weight}
            )
    return sorted(found, key=lambda row: (row["level"] != "zone", -row["weight"], str(row["from"]), str(row["to"])))


def _weight_moved(moved: list[dict[str, Any]]) -> dict[str, float]:
    return {level: round(sum(row["weight"] for row in moved if row["level"] == level), 1) for level in ("zone", "grid")}


def _units(
    crs: Any, ring: BaseGeometry, shapes: list[Any], drawn: Drawn, quota: Ints, points: list[Any]
) -> gpd.GeoDataFrame:
    grids, zones = shapes
    ring_id, zone_id, grid_id = str(uuid4()), [str(uuid4()) for _ in zones], [str(uuid4()) for _ in grids]
    rows = [_row(ring_id, "ring", None, ring, float(drawn.zone_weight.sum()), int(quota.sum()))]
    for z, shape in enumerate(zones):
        rows.append(
            _row(zone_id[z], "zone", ring_id, shape, float(drawn.zone_weight[z]), int(quota[drawn.home == z].sum()))
        )
    for g, shape in enumerate(grids):
        rows.append(_row(grid_id[g], "grid", zone_id[drawn.home[g]], shape, float(drawn.grid_weight[g]), int(quota[g])))
    for point in points:
        site = {"site_layer": "camera_site" if point.site else None, "site_id": point.site}
        rows.append({**_row(str(uuid4()), "point", grid_id[point.grid], point.spot, None, None), **site})
    return gpd.GeoDataFrame(rows, geometry="geom", crs=crs)


def _row(
    key: str, level: str, parent: str | None, shape: Any, weight: float | None, quota: int | None
) -> dict[str, Any]:
    return {"id": key, "level": level, "code": "", "name_zh": "", "name_en": "", "parent_id": parent, "weight": weight,
            "quota": quota, "pinned": False, "site_layer": None, "site_id": None, "geom": shape}  # fmt: skip


def _figures(drawn: Drawn, ground: Ground, units: gpd.GeoDataFrame) -> dict[str, Any]:
    points = units[units["level"] == "point"]
    pairs = ground.graph.pairs
    levels = []
    for name, label, weight, target in (
        ("zone", drawn.zone, drawn.zone_weight, drawn.zone_target), ("grid", drawn.grid, drawn.grid_weight, drawn.grid_target),
    ):  # fmt: skip
        cut = label[pairs[:, 0]] != label[pairs[:, 1]]
        shapes = units[units["level"] == name].geometry
        levels.append(
            {"level": name, "parts": len(weight), "imbalance": round(float(np.abs(weight / target - 1).max()), 4),
             "cut_m": round(float(ground.graph.border_m[cut].sum())), "contiguous": bool((shapes.geom_type == "Polygon").all()),
             **({"bound": round(drawn.bound, 4), "sides": list(drawn.side_share)} if name == "zone" else {})}
        )  # fmt: skip
    return {"levels": levels, "points": len(points), "points_at_cameras": int(points["site_id"].notna().sum())}
