"""Codes of layout units over time: who continues whom keeps the code, new ones get the next number, what is given up is never used again."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import shapely

from gis.gridcodes import keepers, reading_order

__all__ = ["continued", "renumbered"]

_SAME_POINT_M = 5.0


def continued(old: Any, new: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Row of ``old`` that each row of ``new`` continues, -1 for none; both have ``level``, ``site_id`` and a geometry.

    Areas with more than half of their union in common; points of the same camera, else within 5 m.
    """
    found = np.full(len(new), -1, np.int64)
    for level in ("ring", "zone", "grid"):
        a, b = np.flatnonzero(old["level"] == level), np.flatnonzero(new["level"] == level)
        if len(a) and len(b):
            shapes = [_areas(frame.geometry.to_numpy()[rows]) for frame, rows in ((old, a), (new, b))]
            same = keepers(*shapes)
            found[b[same >= 0]] = a[same[same >= 0]]
    a, b = np.flatnonzero(old["level"] == "point"), np.flatnonzero(new["level"] == "point")
    by_site = {str(old["site_id"].iloc[k]): int(k) for k in a if not pd.isna(old["site_id"].iloc[k])}
    free = set(a.tolist())
    for k in b:
        site = new["site_id"].iloc[k]
        match = by_site.get(str(site), -1) if not pd.isna(site) else -1
        if match in free:
            found[k] = match
            free.discard(match)
    rest = np.array(sorted(free), np.int64)
    if len(rest):
        tree = shapely.STRtree(old.geometry.to_numpy()[rest])
        for k in b:
            if found[k] >= 0:
                continue
            near = tree.query(new.geometry.iloc[k], predicate="dwithin", distance=_SAME_POINT_M)
            match = next((int(rest[n]) for n in near if int(rest[n]) in free), -1)
            if match >= 0:
                found[k] = match
                free.discard(match)
    return found


def _areas(shapes: Any) -> Any:
    line = shapely.get_dimensions(shapes) == 1
    out = shapes.copy()
    out[line] = [shapely.Polygon(shape) for shape in shapes[line]]
    return out


def renumbered(new: Any, old: Any | None = None, ever: Iterable[str] = ()) -> tuple[list[str], list[str]]:
    """Codes of new units, and codes of old ones that are retired.

    A unit that continues one of ``old`` keeps its code while it stays in the unit above. The unit around a pinned one continues what was
    around it, so that the pinned one keeps its code, too (of pinned units of different zones in one zone now, the first). Others get the
    next number above the highest that was ever used in their container, west to east, then north to south
    (`gis.gridcodes.reading_order`): ``Z01``, ``Z01-G01``, ``Z01-G01-P01``.

    Parameters
    ----------
    new, old : GeoDataFrame
        ``id``, ``level``, ``parent_id``, ``site_id``, ``code`` (of ``old``) and a geometry.
    ever : iterable of str
        All codes used before, retired ones too.
    """
    same = continued(old, new) if old is not None and len(old) else np.full(len(new), -1, np.int64)
    if old is not None and "pinned" in old:
        same = _around_pinned(same, old, new)
    used = set(ever) | (set(old["code"].astype(str)) if old is not None else set())
    code: dict[str, str] = {}
    ids = new["id"].astype(str).to_numpy()
    levels, parents = new["level"].to_numpy(), new["parent_id"].to_numpy()
    spots = shapely.get_coordinates(shapely.point_on_surface(new.geometry.to_numpy()))
    for level, letter, width in (("ring", "R", 1), ("zone", "Z", 2), ("grid", "G", 2), ("point", "P", 2)):
        rows = np.flatnonzero(levels == level)
        groups: dict[str, list[int]] = {}
        for row in rows.tolist():
            stem = code.get(str(parents[row]), "") if level in ("grid", "point") else ""
            groups.setdefault(stem, []).append(row)
        for stem, mine in groups.items():
            head = f"{stem}-{letter}" if stem else letter
            for k in mine:
                if same[k] >= 0 and old is not None:
                    before = str(old["code"].iloc[same[k]])
                    if before.startswith(f"{stem}-") or not stem:
                        code[ids[k]] = before
            fresh = [k for k in mine if ids[k] not in code]
            number = _highest(head, used)
            for place in reading_order(spots[fresh]).tolist() if fresh else []:
                number += 1
                code[ids[fresh[place]]] = f"{head}{number:0{width}d}"
    given = [code[key] for key in ids]
    retired = sorted(set(old["code"].astype(str)) - set(given)) if old is not None else []
    return given, retired


def _around_pinned(
    same: np.ndarray[Any, np.dtype[np.int64]], old: Any, new: Any
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Which unit each new one continues, with the zones of pinned grids, and the grids of pinned points where they continue none."""
    out = same.copy()
    pinned = old["pinned"].fillna(False).to_numpy(dtype=bool)
    row_old = {str(key): k for k, key in enumerate(old["id"])}
    row_new = {str(key): k for k, key in enumerate(new["id"])}
    held: set[int] = set()
    for level, above in (("point", "grid"), ("grid", "zone")):
        for k in np.flatnonzero(new["level"].to_numpy() == level).tolist():
            if out[k] < 0 or not (pinned[out[k]] or k in held):
                continue
            home = row_new.get(str(new["parent_id"].iloc[k]), -1)
            was = row_old.get(str(old["parent_id"].iloc[out[k]]), -1)
            taken = above == "grid" and out[home] >= 0 and out[home] != was
            if home < 0 or was < 0 or home in held or taken or (out[home] >= 0 and pinned[out[home]]):
                continue
            others = np.flatnonzero(out == was)
            if any(k2 in held for k2 in others.tolist() if k2 != home) or (pinned[was] and len(others)):
                continue
            out[others] = -1
            out[home] = was
            held.add(home)
    return out


def _highest(head: str, used: Sequence[str] | set[str]) -> int:
    pattern = re.compile(re.escape(head) + r"(\d+)$")
    return max((int(found[1]) for found in map(pattern.match, used) if found), default=0)
