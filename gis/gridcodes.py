"""Codes of grid cells and communities: the prefix of the container, then a number in reading order.

Void codes are never given again. A grid cell has 15 digits: county 6, street 3, community 3, sequence 3; a community
12, with the last three its own. Numbers run west to east, then north to south (CJ/T 213), which for cells of uneven
size means: in bands from north to south, west to east inside a band.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from gis.errors import Conflict, InputError

__all__ = ["CodePlan", "assign_codes", "keepers", "reading_order"]

type FloatArray = npt.NDArray[np.float64]
type IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CodePlan:
    """Codes given out, one each; ``fresh`` places got a new one, ``retired`` codes are void from now on."""

    codes: tuple[str, ...]
    fresh: tuple[int, ...]
    retired: tuple[str, ...]


def reading_order(xy: npt.ArrayLike, *, band_m: float | None = None) -> IntArray:
    """Order of points west to east, then north to south.

    Parameters
    ----------
    xy : array, shape (n, 2)
        East and north in metres.
    band_m : float, optional
        Height of a band; without it the mean spacing of the points.

    Examples
    --------
    >>> reading_order([[0, 0], [100, 3], [0, 100], [100, 98]], band_m=100).tolist()
    [2, 3, 0, 1]
    """
    points = np.asarray(xy, float).reshape(-1, 2)
    if not len(points):
        return np.zeros(0, np.int64)
    if not np.isfinite(points).all():
        raise InputError("A place without coordinates cannot be put in order.", zh="缺少坐标，无法排序。")
    high = points[:, 1].max()
    if band_m is None:
        spread = np.ptp(points, axis=0)
        band_m = float(np.sqrt(max(spread[0] * spread[1], 1e-9) / len(points)))
        band_m = max(band_m, float(spread[1]) / max(len(points), 1), 1e-9)
    # bands are centred on the northernmost place, so that the first row is a row
    band = np.floor((high - points[:, 1]) / band_m + 0.5)
    return np.lexsort((points[:, 0], band)).astype(np.int64)


def keepers(
    old: Sequence[object] | npt.NDArray[np.object_],
    new: Sequence[object] | npt.NDArray[np.object_],
    *,
    share: float = 0.5,
) -> IntArray:
    """Which old cell each new one continues (-1: none): their common area is at least ``share`` of both together.

    With ``share`` of 0.5 or more no old cell is continued twice.

    Raises
    ------
    InputError
        ``share`` below 0.5.
    """
    if share < 0.5:
        raise InputError(
            "Below a share of one half a cell could have two successors.", zh="比例低于一半时一个单元可能有两个后继。"
        )
    olds, news = np.asarray(old, object), np.asarray(new, object)
    found = np.full(len(news), -1, np.int64)
    if not len(olds) or not len(news):
        return found
    at, before = shapely.STRtree(olds).query(news, predicate="intersects")
    common = shapely.area(shapely.intersection(news[at], olds[before]))
    both = shapely.area(news[at]) + shapely.area(olds[before]) - common
    same = np.flatnonzero(common > share * both)
    found[at[same]] = before[same]
    return found


def assign_codes(
    prefix: Sequence[str],
    xy: npt.ArrayLike,
    *,
    present: Sequence[str | None] | None = None,
    former: Iterable[str] = (),
    void: Iterable[str] = (),
    first: int = 1,
    last: int = 999,
    digits: int = 3,
    band_m: float | None = None,
) -> CodePlan:
    """Give codes to cells.

    Parameters
    ----------
    prefix : sequence of str
        Code of each cell's container: 12 digits for grid cells, 9 for communities.
    xy : array, shape (n, 2)
        A point of each cell, metres.
    present : sequence of str or None, optional
        Codes to keep. A code that does not begin with the cell's prefix is retired and replaced (a cell that changed
        its community).
    former : iterable of str
        All codes in use before; those nobody keeps are retired.
    void : iterable of str
        Codes retired earlier.
    first, last, digits : int
        Range and width of the number (communities: 1–199 residents', 200–399 villagers' committees).
    band_m : float, optional
        See :func:`reading_order`.

    Raises
    ------
    InputError
        A prefix that is not digits, lengths that do not fit.
    Conflict
        A present code that is void, or present twice; no number left in a container.
    """
    points = np.asarray(xy, float).reshape(-1, 2)
    count = len(prefix)
    kept = list(present) if present is not None else [None] * count
    if len(points) != count or len(kept) != count:
        raise InputError(
            "Prefixes, places and present codes must be as many as cells.", zh="前缀、位置与现有编码的个数须一致。"
        )
    for text in prefix:
        if not (text.isascii() and text.isdigit()):
            raise InputError(f"The prefix {text!r} is not made of digits.", zh=f"前缀“{text}”不是数字。")
    gone = set(void)
    codes: list[str | None] = [None] * count
    holder: dict[str, int] = {}
    retired: set[str] = set(former)
    for place, code in enumerate(kept):
        if not code:
            continue
        if code in gone:
            raise Conflict(f"Code {code} is void and cannot be used again.", zh=f"编码 {code} 已作废，不得再用。")
        if code in holder:
            raise Conflict(f"Code {code} is held by two cells.", zh=f"编码 {code} 被两个单元占用。")
        holder[code] = place
        if code.startswith(prefix[place]) and len(code) == len(prefix[place]) + digits:
            codes[place] = code
            retired.discard(code)
        else:
            retired.add(code)
    used: dict[str, set[int]] = {}
    for code in [*gone, *retired, *(code for code in codes if code)]:
        stem, tail = code[:-digits], code[-digits:]
        if tail.isdigit() and first <= int(tail) <= last:
            used.setdefault(stem, set()).add(int(tail))
    fresh = np.array([place for place in range(count) if codes[place] is None], np.int64)
    for stem in dict.fromkeys(prefix[place] for place in fresh):
        mine = fresh[[prefix[place] == stem for place in fresh]]
        taken = used.get(stem, set())
        start = max(taken, default=first - 1) + 1
        numbers: Sequence[int] = range(start, last + 1)
        if len(numbers) < len(mine):  # one stray high number must not exhaust the container: those never used, wherever they are
            numbers = [n for n in range(first, last + 1) if n not in taken]
        if len(numbers) < len(mine):
            raise Conflict(
                f"{stem}: {len(mine)} new codes are needed and {len(numbers)} numbers up to {last:0{digits}d} were never used; divide the container.",
                zh=f"{stem}：需 {len(mine)} 个新编码，{last:0{digits}d} 以内从未使用的只剩 {len(numbers)} 个；请拆分上级单元。",
            )
        for place, number in zip(mine[reading_order(points[mine], band_m=band_m)], numbers, strict=False):
            codes[place] = f"{stem}{number:0{digits}d}"
    return CodePlan(tuple(code or "" for code in codes), tuple(int(place) for place in fresh), tuple(sorted(retired)))
