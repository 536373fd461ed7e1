"""Codes of layout units, and where the ring goes through water: what no road tells."""

import numpy as np
import pandas as pd
import shapely

from gis.layoutcheck import check_ring
from grids.layout import LayoutData
from grids.layout_faults import LayoutFault

__all__ = ["judge_unit_codes", "judge_water"]

#: A road this near to the ring is the bridge or dam that it follows.
_BRIDGE_M = 30.0
#: Shorter stretches in water are brooks and ponds beside the ring.
_STRETCH_M = 30.0


def judge_unit_codes(data: LayoutData) -> list[LayoutFault]:
    """Each unit has a code of its own that begins with the code of the unit above it and was not given up before."""
    found: list[LayoutFault] = []
    above: dict[str, str] = {}
    holder: dict[str, tuple[str, str]] = {}
    retired = set(data.retired_codes)
    levels = (("ring", data.ring), ("zone", data.zones), ("grid", data.grids), ("point", data.points))
    for level, frame in levels:
        for row in frame.itertuples():
            code = "" if pd.isna(row.code) else str(row.code)
            unit = (str(row.id), code or str(row.id))
            above[unit[0]] = code

            def tell(kind: str, en: str, zh: str, *more: tuple[str, str], unit=unit, level=level, row=row) -> None:  # type: ignore[no-untyped-def]
                found.append(
                    LayoutFault(kind, "error", level, (unit, *more), float("nan"), "", float("nan"), row.geom, en, zh)
                )

            if not code:
                tell("unit_code_missing", f"A unit of level {level} has no code.", "有布局单元没有编码。")
                continue
            if code in holder:
                tell("unit_code_twice", f"Code {code} is given twice.", f"编码 {code} 重复。", holder[code])
            holder.setdefault(code, unit)
            stem = above.get(str(row.parent_id), "") if level in ("grid", "point") else ""
            if stem and not code.startswith(f"{stem}-"):
                tell(
                    "unit_code_prefix", f"Code {code} does not begin with {stem}, the code of the unit above it.",
                    f"编码 {code} 的前缀与上级单元 {stem} 不符。", (str(row.parent_id), stem),
                )  # fmt: skip
            if code in retired:
                tell(
                    "unit_code_reused", f"Code {code} was given up in an earlier version and is in use again.",
                    f"编码 {code} 曾在先前版本中停用，现又被使用。",
                )  # fmt: skip
    return found


def judge_water(data: LayoutData) -> list[LayoutFault]:
    """Where the ring goes through water without a road along it: who comes by boat passes no crossing."""
    if data.water is None or not len(data.water):
        return []
    found = []
    water = shapely.make_valid(data.water.geometry.to_numpy())
    roads = data.roads.geometry.to_numpy()
    for row in data.ring.itertuples():
        if row.geom is None or check_ring(row.geom):
            continue  # said by the check of its shape
        line = shapely.boundary(row.geom) if row.geom.geom_type == "Polygon" else row.geom
        wet = shapely.intersection(line, shapely.union_all(water[shapely.intersects(water, line)]))
        near = roads[shapely.dwithin(roads, wet, _BRIDGE_M)] if not shapely.is_empty(wet) else roads[:0]
        wet = shapely.difference(wet, shapely.union_all(shapely.buffer(near, _BRIDGE_M)))
        parts = shapely.get_parts(shapely.line_merge(wet) if wet.geom_type == "MultiLineString" else wet)
        parts = parts[shapely.length(parts) > _STRETCH_M]
        if len(parts):
            metres = float(np.sum(shapely.length(parts)))
            found.append(
                LayoutFault(
                    "ring_in_water", "warning", "ring", ((str(row.id), str(row.code)),), metres, "m", _STRETCH_M,
                    shapely.union_all(parts),
                    f"Ring {row.code} goes through water, away from any road, for {metres:,.0f} m in {len(parts)} stretches;"
                    " the proof of the ring is about roads and says nothing of boats.",
                    f"环线 {row.code} 有 {len(parts)} 段共 {metres:,.0f} 米穿行于水面且附近无道路；环线证明只针对道路，不涉及船只。",
                )
            )  # fmt: skip
    return found
