"""Checks of a layout's codes and numbers: prefixes, sequences, void codes, balance, compactness, quotas, targets."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from gis.layoutcheck import Fault

__all__ = ["check_balance", "check_codes", "check_compactness", "check_least", "check_sequence", "polsby_popper"]

type FloatArray = npt.NDArray[np.float64]
type Geometries = npt.NDArray[np.object_]


def _fault(
    kind: str, unit: Iterable[Any], measure: float, measure_unit: str, tolerance: float, text: str, zh: str,
    *, severity: Literal["error", "warning", "info"] = "error", place: BaseGeometry | None = None,
) -> Fault:  # fmt: skip
    return Fault(
        kind, severity, tuple(int(u) for u in unit), float(measure), measure_unit, float(tolerance), place, text, zh
    )


def check_codes(
    codes: Sequence[str | None],
    prefix: Sequence[str | None],
    *,
    length: int = 15,
    void: Iterable[str] = (),
    digits: int = 3,
) -> list[Fault]:
    """Check codes one by one: form, prefix of the container, twice given, void and used again.

    Parameters
    ----------
    codes : sequence of str
        Code of each unit in use.
    prefix : sequence of str or None
        Code of the container each unit lies in; None: not known, not checked.
    length : int
        Digits of a code: 15 for grid cells, 12 for communities.
    void : iterable of str
        Retired codes.
    digits : int
        Digits of the number at the end, which starts at 1.
    """
    found: list[Fault] = []
    gone = set(void)
    holder: dict[str, int] = {}
    for unit, (code, stem) in enumerate(zip(codes, prefix, strict=True)):
        if not code:
            found.append(
                _fault("code_missing", [unit], 0, "", 0, f"Unit {unit} has no code.", f"单元 {unit} 没有编码。")
            )
            continue
        if len(code) != length or not (code.isascii() and code.isdigit()):
            found.append(
                _fault(
                    "code_form",
                    [unit],
                    len(code),
                    "digits",
                    length,
                    f"Code {code!r} is not {length} digits.",
                    f"编码“{code}”不是 {length} 位数字。",
                )
            )
            continue
        if int(code[-digits:]) == 0:
            found.append(
                _fault("code_form", [unit], 0, "", 1, f"Code {code} ends in number 0.", f"编码 {code} 的顺序号为 0。")
            )
        if stem is not None and not code.startswith(stem):
            found.append(
                _fault(
                    "code_prefix",
                    [unit],
                    0,
                    "",
                    0,
                    f"Code {code} lies in {stem} and does not begin with it.",
                    f"编码 {code} 位于 {stem} 内而前缀不同。",
                )
            )
        if code in holder:
            found.append(
                _fault(
                    "code_twice", [unit, holder[code]], 0, "", 0, f"Code {code} is given twice.", f"编码 {code} 重复。"
                )
            )
        holder.setdefault(code, unit)
        if code in gone:
            found.append(
                _fault(
                    "code_void", [unit], 0, "", 0, f"Code {code} is void and in use.", f"编码 {code} 已作废却仍在使用。"
                )
            )
    return found


def check_sequence(
    codes: Sequence[str | None], xy: npt.ArrayLike, *, digits: int = 3, slack_m: float = 0.01
) -> list[Fault]:
    """Check that numbers run west to east, then north to south inside each container.

    Whatever the height of the bands, a later cell never lies both west and north of an earlier one; that is what is
    checked. Reported are the fewest cells (found greedily) without which the rest is in order.

    Parameters
    ----------
    codes : sequence of str
    xy : array, shape (n, 2)
        A point of each unit, metres.
    slack_m : float
        Differences up to this are none.
    """
    points = np.asarray(xy, float).reshape(-1, 2)
    groups: dict[str, list[int]] = {}
    for unit, code in enumerate(codes):
        if code and len(code) > digits and code.isdigit():
            groups.setdefault(code[:-digits], []).append(unit)
    found = []
    for stem, members in groups.items():
        order = np.array(sorted(members, key=lambda u: str(codes[u])), np.int64)
        x, y = points[order].T
        later = np.triu(np.ones((len(order), len(order)), np.bool_), 1)
        wrong = later & (x[None, :] < x[:, None] - slack_m) & (y[None, :] > y[:, None] + slack_m)
        wrong = wrong | wrong.T
        count = wrong.sum(axis=1)
        while count.any():
            worst = int(np.argmax(count))
            unit, many = int(order[worst]), int(count[worst])
            found.append(
                _fault(
                    "sequence", [unit], many, "cells", 0, f"Number {codes[unit]} is out of order with {many} cells of {stem}.",
                    f"编号 {codes[unit]} 与 {stem} 内 {many} 个单元的顺序不符。", severity="warning", place=shapely.points(points[unit]),
                )
            )  # fmt: skip
            count = count - wrong[worst]
            count[worst] = 0
            wrong[worst] = wrong[:, worst] = False
    return found


def check_balance(weight: npt.ArrayLike, *, tolerance: float) -> list[Fault]:
    """Units whose weight differs from the mean by more than the share ``tolerance``."""
    load = np.asarray(weight, float)
    mean = float(load.mean()) if len(load) else 0.0
    if mean <= 0:
        return (
            [
                _fault(
                    "weights_zero",
                    [],
                    0,
                    "",
                    0,
                    "All weights are 0: balance cannot be judged.",
                    "权重全为 0，无法判断均衡。",
                    severity="info",
                )
            ]
            if len(load)
            else []
        )
    by = load / mean - 1
    return [
        _fault(
            "unbalanced", [u], by[u], "share", tolerance, f"Unit {u} weighs {load[u]:g}, {by[u]:+.1%} from the mean {mean:g}.",
            f"单元 {u} 的权重为 {load[u]:g}，与平均值 {mean:g} 相差 {by[u]:+.1%}。", severity="warning",
        )
        for u in np.flatnonzero(np.abs(by) > tolerance + 1e-12)
    ]  # fmt: skip


def polsby_popper(shapes: Sequence[BaseGeometry] | Geometries) -> FloatArray:
    """Compactness 4π·area/perimeter² (Polsby and Popper 1991): 1 for a circle, 0.785 for a square.

    Examples
    --------
    >>> round(float(polsby_popper([shapely.box(0, 0, 1, 1)])[0]), 3)
    0.785
    """
    geometry = np.asarray(shapes, object)
    length = shapely.length(geometry)
    compact: FloatArray = np.where(
        length > 0, 4 * np.pi * shapely.area(geometry) / np.maximum(length, 1e-300) ** 2, 0.0
    )
    return compact


def check_compactness(shapes: Sequence[BaseGeometry] | Geometries, *, least: float = 0.1) -> list[Fault]:
    """Units less compact than ``least`` (Polsby–Popper)."""
    compact = polsby_popper(shapes)
    geometry = np.asarray(shapes, object)
    return [
        _fault(
            "not_compact", [u], compact[u], "Polsby–Popper", least, f"Unit {u} is drawn out: {compact[u]:.3f}.",
            f"单元 {u} 形状狭长：{compact[u]:.3f}。", severity="info", place=geometry[u],
        )
        for u in np.flatnonzero(compact < least)
    ]  # fmt: skip


def check_least(kind: str, values: npt.ArrayLike, least: npt.ArrayLike, *, unit: str = "") -> list[Fault]:
    """Units whose value is below what is wanted: points and a quota, coverage and a target. NaN is said to be unknown."""
    given = np.asarray(values, float)
    wanted = np.broadcast_to(np.asarray(least, float), given.shape)
    found = []
    for u in np.flatnonzero(~(given >= wanted)):
        known = bool(np.isfinite(given[u]))
        shown = f"{given[u]:g}" if known else "unknown"
        found.append(
            _fault(
                kind if known else f"{kind}_unknown", [u], given[u], unit, wanted[u], f"Unit {u}: {shown}, {wanted[u]:g} wanted.",
                f"单元 {u}：{f'{given[u]:g}' if known else '未知'}，应不小于 {wanted[u]:g}。", severity="warning" if known else "info",
            )
        )  # fmt: skip
    return found
