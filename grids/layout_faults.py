"""Faults of a layout in the words of its objects: which unit, which other, where, how much, and what would be let pass."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from gis.layoutcheck import Fault

__all__ = ["LayoutFault", "Rows", "fault_frame", "named"]

#: Text by kind, English and Chinese. What is not here keeps the text of the check that found it (it names codes already).
_TEXTS = {
    "empty": ("{unit} has no shape.", "{unit} 没有图形。"),
    "invalid": ("The shape of {unit} is invalid.", "{unit} 的图形无效。"),
    "no_container": ("{unit} has no unit above it.", "{unit} 没有上级单元。"),
    "gap": ("{measure} belong to no unit, between {units}.", "{units} 之间有 {measure}无单元覆盖。"),
    "overlap": ("{unit} and {other} overlap by {measure}.", "{unit} 与 {other} 重叠 {measure}。"),
    "outside_container": ("{unit} reaches {measure} beyond what contains it.", "{unit} 超出上级 {measure}。"),
    "point_outside_all": ("{unit} lies in no grid.", "{unit} 不在任何格内。"),
    "point_outside_container": ("{unit} lies in {other}, {measure} from its own grid.", "{unit} 位于 {other}，距所属格 {measure}。"),
    "point_in_several": ("{unit} lies in {measure} grids at once.", "{unit} 同时位于{measure}个格内。"),
    "in_pieces": ("{unit} is in {measure} pieces.", "{unit} 分成{measure}块。"),
    "not_connected_by_road": (
        "The roads inside {unit} do not hang together: {measure} of their length is cut off.",
        "{unit} 内部道路不连通：{measure}的长度与主体隔断。",
    ),
    "unbalanced": (
        "The weight of {unit} differs by {measure} from the mean; {tolerance} is allowed.",
        "{unit} 的权重与平均值相差{measure}，允许{tolerance}。",
    ),
    "not_compact": (
        "{unit} is drawn out: compactness {measure}, at least {tolerance} wanted.",
        "{unit} 形状狭长：紧凑度{measure}，应不小于{tolerance}。",
    ),
    "quota": ("{unit} has {measure} points, {tolerance} wanted.", "{unit} 有{measure}个点，应不少于{tolerance}个。"),
    "quota_of_own": ("{unit} has {measure} points, its quota is {tolerance}.", "{unit} 有{measure}个点，其配额为{tolerance}。"),
    "coverage": ("{measure} of the public space of {unit} is covered, {tolerance} wanted.", "{unit} 公共空间覆盖率{measure}，应不小于{tolerance}。"),
    "coverage_unknown": ("The coverage of {unit} is not known.", "{unit} 的覆盖率未知。"),
    "code_missing": ("A grid cell has no code.", "有网格单元没有编码。"),
}  # fmt: skip

_MEASURE_ZH = {"m²": "平方米", "m": "米", "cells": "个单元", "digits": "位"}


@dataclass(frozen=True)
class Rows:
    """Identifiers and codes of the rows that a check counted by number."""

    ids: Sequence[str]
    codes: Sequence[str | None]

    def code(self, row: int) -> str:
        """Code of a row, or its identifier where it has none."""
        return str(self.codes[row] or self.ids[row])


@dataclass(frozen=True)
class LayoutFault:
    """One fault.

    Attributes
    ----------
    kind : str
        As in `gis.layoutcheck`; faults of unit grid cells begin with ``cell_``, of communities with ``community_``.
    severity : str
        ``error``: the layout does not hold; ``warning``: it holds and falls short; ``info``: to be known.
    level : str or None
        ``ring``, ``zone``, ``grid``, ``point``; None for what lies below the layout.
    units : tuple of (id, code)
        Objects concerned, the one at fault first.
    measure, measure_unit, tolerance
        How bad, and what would be let pass; NaN where there is none.
    place : geometry or None
        In the analysis system, metres.
    text_en, text_zh : str
    """

    kind: str
    severity: str
    level: str | None
    units: tuple[tuple[str, str], ...]
    measure: float
    measure_unit: str
    tolerance: float
    place: BaseGeometry | None
    text_en: str
    text_zh: str

    @property
    def ids(self) -> tuple[str, ...]:
        """Identifiers of the objects concerned."""
        return tuple(unit[0] for unit in self.units)


def named(
    faults: Iterable[Fault], rows: Rows, *, level: str | None, others: Rows | None = None, prefix: str = "",
    shapes: Any = None, rename: dict[str, str] | None = None,
) -> list[LayoutFault]:  # fmt: skip
    """Faults found by row number, in the names of the objects.

    Parameters
    ----------
    rows : Rows
        What the first number of a fault counts; all its numbers, where ``others`` is not given.
    others : Rows, optional
        What the further numbers count, as the grids of points.
    prefix : str
        Put before the kind.
    shapes : array of geometry, optional
        Of the rows: the place where a fault has none, and what tells which unit a gap or an overlap is most about.
    rename : dict, optional
        Other names for kinds.
    """
    found = []
    faults = list(faults)
    busy = _overlapped(faults, len(rows.ids))
    for fault in faults:
        numbers = list(fault.units)
        stem = fault.kind.removesuffix("_sliver")
        if shapes is not None and len(numbers) > 1 and stem == "gap":
            edge = shapely.buffer(fault.place, max(fault.tolerance, 0.01))
            numbers.sort(key=lambda n: -float(shapely.length(shapely.intersection(edge, shapely.boundary(shapes[n])))))
        elif stem == "overlap":
            numbers.sort(key=lambda n: -busy[n])
        table = [rows] + [others or rows] * (len(numbers) - 1)
        units = tuple((str(t.ids[n]), t.code(n)) for t, n in zip(table, numbers, strict=True)) if numbers else ()
        place = fault.place
        if place is None and shapes is not None and numbers:
            place = shapes[numbers[0]]
        kind = (rename or {}).get(fault.kind, fault.kind)
        text_en, text_zh = _text(fault, kind.removesuffix("_sliver"), units)
        found.append(
            LayoutFault(
                prefix + kind, fault.severity, level, units, fault.measure, fault.measure_unit, fault.tolerance, place,
                text_en, text_zh,
            )
        )  # fmt: skip
    return found


def _overlapped(faults: list[Fault], count: int) -> Any:
    """Area in overlaps of each row: a unit that overlaps all its neighbours is the one at fault."""
    area = np.zeros(count)
    for fault in faults:
        if fault.kind.startswith("overlap"):
            area[list(fault.units)] += fault.measure
    return area


def _text(fault: Fault, kind: str, units: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    if kind not in _TEXTS:
        return fault.text, fault.zh
    codes = [code for _, code in units]
    shown = ", ".join(codes[:6]) + (" …" if len(codes) > 6 else "")
    out = []
    for chinese, template in enumerate(_TEXTS[kind]):
        out.append(
            template.format(
                unit=codes[0] if codes else "", other=codes[1] if len(codes) > 1 else "", units=shown,
                measure=_amount(fault.measure, fault.measure_unit, chinese=bool(chinese)),
                tolerance=_amount(fault.tolerance, fault.measure_unit, chinese=bool(chinese)),
            )
        )  # fmt: skip
    return out[0], out[1]


def _amount(value: float, unit: str, *, chinese: bool) -> str:
    if not np.isfinite(value):
        return "未知" if chinese else "unknown"
    if unit == "share":
        return f"{value:.1%}"
    if unit in ("m", "m²"):
        number = f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
        return f"{number} {_MEASURE_ZH[unit] if chinese else unit}"
    return f"{value:.4g}"


def fault_frame(faults: Sequence[LayoutFault], *, layout: str, version: int, srid: int) -> gpd.GeoDataFrame:
    """The faults as rows of layer ``layout_fault``."""
    rows = []
    for fault in faults:
        first = fault.units[0] if fault.units else (None, None)
        second = fault.units[1] if len(fault.units) > 1 else (None, None)
        rows.append(
            {
                "layout": layout, "version": version, "level": fault.level, "fault_kind": fault.kind, "severity": fault.severity,
                "unit_id": first[0], "unit_code": first[1] and first[1][:40], "other_id": second[0],
                "other_code": second[1] and second[1][:60],
                "measure": float(fault.measure) if np.isfinite(fault.measure) else None,
                "measure_unit": fault.measure_unit or None,
                "tolerance": float(fault.tolerance) if np.isfinite(fault.tolerance) else None,
                "note_en": fault.text_en[:2000], "note_zh": fault.text_zh[:2000], "geom": fault.place,
            }
        )  # fmt: skip
    columns = ["layout", "version", "level", "fault_kind", "severity", "unit_id", "unit_code", "other_id", "other_code",
               "measure", "measure_unit", "tolerance", "note_en", "note_zh", "geom"]  # fmt: skip
    data = {name: np.array([row[name] for row in rows], dtype=object) for name in columns}
    return gpd.GeoDataFrame(data, geometry="geom", crs=srid)
