"""What a layout must hold to, level by level. Nothing of the planner is used here, only checks of shapes and numbers."""

from collections.abc import Mapping
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from gis.layoutcheck import check_pieces, check_points, check_ring, check_road_pieces, check_tiling
from gis.layoutcheck_values import check_balance, check_codes, check_compactness, check_least, check_sequence
from gis.roadgraph import RoadGraph
from gis.settings import CityConfig
from grids.layout import LEVELS, LayoutData, containers_of
from grids.layout_faults import LayoutFault, Rows, named

__all__ = ["NotChecked", "judge_cells", "judge_counts", "judge_points", "judge_shapes", "judge_values", "weights_of"]

#: What could not be looked at, and why, in English and Chinese.
type NotChecked = tuple[str, str, str]

_MOVED_M = 1.0


def _rows(frame: gpd.GeoDataFrame, code: str = "code") -> Rows:
    codes = frame[code].to_numpy(dtype=object)
    return Rows(frame["id"].to_numpy(dtype=object), [None if pd.isna(c) else str(c) for c in codes])


def _shapes(frame: gpd.GeoDataFrame) -> Any:
    return frame.geometry.to_numpy()


def judge_counts(data: LayoutData, city: CityConfig) -> list[LayoutFault]:
    """Rings, zones, grids and points against the city file."""
    wanted = dict(
        zip(LEVELS, (city.layout.rings, city.layout.zones, city.layout.grids, city.layout.points), strict=True)
    )
    found = []
    for level, frame in zip(LEVELS, (data.ring, data.zones, data.grids, data.points), strict=True):
        if len(frame) != wanted[level]:
            found.append(
                LayoutFault(
                    "count", "warning", level, (), float(len(frame)), "", float(wanted[level]), None,
                    f"The layout has {len(frame)} units of level {level}; the city file says {wanted[level]}.",
                    f"布局中“{dict(zip(LEVELS, '圈片格点', strict=True))[level]}”有 {len(frame)} 个，城市配置为 {wanted[level]} 个。",
                )
            )  # fmt: skip
    return found


def judge_shapes(
    data: LayoutData, graph: RoadGraph | None, *, tolerance_m: float
) -> tuple[list[LayoutFault], list[NotChecked]]:
    """The ring's line; zones tile its inside, grids tile their zones; each unit in one piece, compact, connected by road."""
    found: list[LayoutFault] = []
    missed: list[NotChecked] = []
    rings, zones, grids = _shapes(data.ring), _shapes(data.zones), _shapes(data.grids)
    sound = len(rings) > 0
    for row in range(max(len(rings), 1)):
        faults = check_ring(rings[row] if len(rings) else None, tolerance_m=tolerance_m)
        sound &= not faults
        first = named(faults, _rows(data.ring), level="ring")
        code = [(str(data.ring["id"].iloc[row]), str(data.ring["code"].iloc[row]))] if len(rings) else []
        found += [LayoutFault(f.kind, f.severity, f.level, (*code, *f.units), f.measure, f.measure_unit, f.tolerance,
                              f.place if f.place is not None or not len(rings) else rings[row], f.text_en, f.text_zh)
                  for f in first]  # fmt: skip
    if sound:
        areas = [shapely.Polygon(r) if r.geom_type in ("LineString", "LinearRing") else r for r in rings]
        tiling = check_tiling(zones, areas, _parents(data.zones, data.ring), tolerance_m=tolerance_m)
        found += named(tiling.faults, _rows(data.zones), level="zone", shapes=zones)
    else:
        missed.append(("zones in ring", "the ring is not one closed simple line", "环线不是单一闭合的简单线"))
    if len(zones):
        safe = shapely.make_valid(zones)
        tiling = check_tiling(grids, safe, _parents(data.grids, data.zones), tolerance_m=tolerance_m)
        found += named(tiling.faults, _rows(data.grids), level="grid", shapes=grids)
    if graph is None:
        missed.append(("closures and connection by road", "layer road is empty", "图层 road 没有数据"))
    for level, frame in (("zone", data.zones), ("grid", data.grids)):
        shapes = _shapes(frame)
        faults = check_pieces(shapes) + check_compactness(shapes)
        if graph is not None:
            faults += check_road_pieces(shapes, graph.xy, graph.ends, shapely.length(graph.lines))
        found += named(faults, _rows(frame), level=level, shapes=shapes)
    return found, missed


def _parents(frame: gpd.GeoDataFrame, above: gpd.GeoDataFrame) -> Any:
    number = {str(key): row for row, key in enumerate(above["id"])}
    return np.array([number.get(str(key), -1) for key in frame["parent_id"]], dtype=np.int64)


def weights_of(data: LayoutData, weight: str) -> tuple[Any, Any]:
    """Weight of each zone and grid: the cells in it; what the units themselves say, where there are no cells."""
    given = tuple(
        pd.to_numeric(frame["weight"], errors="coerce").fillna(0).to_numpy(float) for frame in (data.zones, data.grids)
    )
    if not len(data.cells):
        return given
    load = pd.to_numeric(data.cells[weight], errors="coerce").fillna(0).to_numpy(dtype=float)
    sums = []
    for frame in (data.zones, data.grids):
        home = containers_of(_shapes(data.cells), _shapes(frame))
        sums.append(np.bincount(home[home >= 0], weights=load[home >= 0], minlength=len(frame)))
    return sums[0], sums[1]


def judge_values(
    data: LayoutData, city: CityConfig, weights: tuple[Any, Any], rules: Mapping[str, float]
) -> tuple[list[LayoutFault], list[NotChecked]]:
    """Balance of zones and grids; coverage of grids against the city's target."""
    found: list[LayoutFault] = []
    missed: list[NotChecked] = []
    limits = (city.layout.zone_imbalance_max, city.layout.grid_imbalance_max)
    for level, frame, load, limit in zip(("zone", "grid"), (data.zones, data.grids), weights, limits, strict=True):
        found += named(check_balance(load, tolerance=limit), _rows(frame), level=level, shapes=_shapes(frame))
    target = rules.get("grid_coverage_min")
    if target is None:
        missed.append(("coverage", "the city file sets no grid_coverage_min", "城市配置未设 grid_coverage_min"))
    elif not len(data.coverage):
        missed.append(("coverage", "no coverage has been computed", "尚未计算覆盖"))
    elif len(data.grids):
        home = containers_of(_shapes(data.coverage), _shapes(data.grids))
        public = pd.to_numeric(data.coverage["public_m2"]).fillna(0).to_numpy(float)
        seen = public * pd.to_numeric(data.coverage["online_overview"]).fillna(0).to_numpy(float)
        inside = home >= 0
        whole = np.bincount(home[inside], weights=public[inside], minlength=len(data.grids))
        part = np.bincount(home[inside], weights=seen[inside], minlength=len(data.grids))
        share = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
        found += named(
            check_least("coverage", share, target, unit="share"), _rows(data.grids), level="grid", shapes=_shapes(data.grids)
        )  # fmt: skip
    return found, missed


def judge_points(data: LayoutData, city: CityConfig, *, tolerance_m: float) -> list[LayoutFault]:
    """Each point in its grid and no other, at its site; enough points in each grid."""
    points, grids = _shapes(data.points), _shapes(data.grids)
    bare = np.array([p is None or p.is_empty for p in points], dtype=bool)
    found = [
        LayoutFault("empty", "error", "point", ((str(data.points["id"].iloc[k]), str(data.points["code"].iloc[k])),), 0.0, "", 0.0,
                    None, f"{data.points['code'].iloc[k]} has no place.", f"{data.points['code'].iloc[k]} 没有位置。")
        for k in np.flatnonzero(bare)
    ]  # fmt: skip
    frame = data.points[~bare].reset_index(drop=True)
    points = points[~bare]
    if len(grids):
        faults = check_points(
            shapely.get_coordinates(points), grids, _parents(frame, data.grids), tolerance_m=tolerance_m
        )
        found += named(faults, _rows(frame), level="point", others=_rows(data.grids), shapes=points)
        home = containers_of(points, grids)
        count = np.bincount(home[home >= 0], minlength=len(grids)).astype(float)
        least = check_least("quota", count, float(city.layout.points_per_grid_min))
        found += named(least, _rows(data.grids), level="grid", shapes=grids)
        own = pd.to_numeric(data.grids["quota"], errors="coerce").fillna(0).to_numpy(float)
        short = check_least("quota", np.maximum(count, city.layout.points_per_grid_min), own)
        short = [f for f in short if count[f.units[0]] >= city.layout.points_per_grid_min]
        found += named(short, _rows(data.grids), level="grid", shapes=grids, rename={"quota": "quota_of_own"})
    return found + _sites(frame, data)


def _sites(points: gpd.GeoDataFrame, data: LayoutData) -> list[LayoutFault]:
    """Points that stand for a camera: it exists, is not removed, and is where the point is."""
    row_of = {str(key): row for row, key in enumerate(data.cameras["id"])}
    state = data.cameras["device_state"].to_numpy()
    shapes = _shapes(data.cameras)
    found = []
    for point in points[points["site_layer"] == "camera_site"].itertuples():
        unit = (str(point.id), str(point.code))
        row = row_of.get(str(point.site_id))
        if row is None:
            found.append(
                LayoutFault("site_missing", "error", "point", (unit,), float("nan"), "", 0.0, point.geom,
                            f"The camera of {point.code} does not exist.", f"{point.code} 对应的摄像机不存在。")
            )  # fmt: skip
            continue
        other = (str(point.site_id), str(data.cameras["device_code"].iloc[row] or point.site_id))
        if state[row] == "removed":
            found.append(
                LayoutFault("site_removed", "error", "point", (unit, other), float("nan"), "", 0.0, point.geom,
                            f"The camera of {point.code} has been removed.", f"{point.code} 对应的摄像机已拆除。")
            )  # fmt: skip
        away = float(shapely.distance(point.geom, shapes[row]))
        if away > _MOVED_M:
            found.append(
                LayoutFault("site_apart", "warning", "point", (unit, other), away, "m", _MOVED_M, point.geom,
                            f"{point.code} is {away:,.1f} m from its camera {other[1]}.",
                            f"{point.code} 距其摄像机 {other[1]} {away:,.1f} 米。")
            )  # fmt: skip
    return found


def judge_cells(data: LayoutData, *, tolerance_m: float) -> tuple[list[LayoutFault], list[NotChecked]]:
    """Grid cells tile the communities, each in one of them and with its code; communities keep to their street."""
    if not len(data.cells) or not len(data.communities):
        empty = "grid_cell" if not len(data.cells) else "community"
        return [], [("grid cells", f"layer {empty} is empty", f"图层 {empty} 没有数据")]
    cells, homes = _shapes(data.cells), shapely.make_valid(_shapes(data.communities))
    owner = containers_of(cells, homes)
    rows = _rows(data.cells, "grid_code")
    found = named(
        check_tiling(cells, homes, owner, tolerance_m=tolerance_m).faults, rows, level=None, prefix="cell_", shapes=cells
    )  # fmt: skip
    code = data.communities["admin_code"].to_numpy(dtype=object)
    stems = [None if k < 0 or pd.isna(code[k]) else str(code[k]) for k in owner]
    faults = check_codes(rows.codes, stems, void=data.void_codes)
    spots = shapely.get_coordinates(shapely.point_on_surface(cells))
    faults += check_sequence(rows.codes, spots)
    found += named(faults, rows, level=None, prefix="cell_", shapes=cells)
    streets = _shapes(data.streets)
    if not len(streets):
        return found, [("communities in streets", "no streets in layer admin_area", "图层 admin_area 中没有街道")]
    names = {str(key)[:9]: row for row, key in enumerate(data.streets["admin_code"])}
    inside = containers_of(homes, streets)
    own = np.array([names.get(str(key)[:9], -1) for key in code], dtype=np.int64)
    rest = shapely.area(shapely.difference(homes, np.where(inside >= 0, streets[inside], None)))
    limit = tolerance_m * shapely.length(homes)
    for k in np.flatnonzero((inside != own) | (inside < 0) | (rest > limit)):
        label = (str(data.communities["id"].iloc[k]), str(code[k]))
        beyond = float(rest[k]) if np.isfinite(rest[k]) else float("nan")
        found.append(
            LayoutFault(
                "community_outside_street", "error", None, (label,), beyond, "m²", float(limit[k]), homes[k],
                f"Community {code[k]} does not lie in the one street its code names.",
                f"社区 {code[k]} 不完全位于其编码所属的街道内。",
            )
        )  # fmt: skip
    return found, []
