"""Rivers of OpenStreetMap: axes that run downstream, and the left and right banks cut from the water's outline."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from data.osm.reader import Extract, OsmObject

__all__ = ["Axis", "Bank", "bank_lines", "river_axes", "water_of"]

#: Longest piece of outline that is put on one side as a whole, in metres.
_PIECE_M = 20.0
#: How near an axis' end, in metres along it, outline counts as the cut across the river and not as a bank.
_CAP_M = 1.0
_SHORTEST_BANK_M = 10.0


@dataclass(frozen=True)
class Axis:
    """The axis of a river or of a part of it; the line runs downstream, as ways of OpenStreetMap do by definition."""

    ref: str
    tags: dict[str, str]
    line: Any


@dataclass(frozen=True)
class Bank:
    """A stretch of bank: side as seen facing downstream, chainage of both ends in metres, line in the direction of the current."""

    side: str
    start_m: float
    end_m: float
    line: Any


def river_axes(extract: Extract) -> list[Axis]:
    """Axes of all rivers and canals, ways of one river joined where one ends and the next begins.

    A river is the member ways of a ``waterway`` relation, else ways of one name, else a way by itself. Where a river splits, each arm is
    an axis of its own. ``ref`` names the uppermost way, so that a later extract updates the same axis.
    """
    ways = {thing.id: thing for thing in extract.lines if thing.tags.get("waterway") in ("river", "canal")}
    groups: dict[Any, list[OsmObject]] = defaultdict(list)
    group_tags: dict[Any, dict[str, str]] = {}
    taken: set[int] = set()
    for relation_id, (tags, members) in sorted(extract.rivers.items()):
        found = [ways[way] for way in members if way in ways and way not in taken]
        if found:
            groups["relation", relation_id] = found
            group_tags["relation", relation_id] = tags
            taken.update(thing.id for thing in found)
    for thing in ways.values():
        if thing.id not in taken:
            name = thing.tags.get("name")
            key = ("name", name, thing.tags["waterway"]) if name else ("way", thing.id)
            groups[key].append(thing)
            group_tags.setdefault(key, thing.tags)
    axes = []
    for key, things in groups.items():
        merged = shapely.line_merge(shapely.MultiLineString([thing.geometry for thing in things]), directed=True)
        # By the first two vertices: arms of a river begin at the same one.
        starts = {sum(thing.geometry.coords[:2], ()): thing for thing in sorted(things, key=lambda thing: -thing.id)}
        for line in shapely.get_parts(merged):
            # A closed loop may begin at any of its ways; its smallest id names it then.
            first = starts.get(sum(line.coords[:2], ()), min(things, key=lambda thing: thing.id))
            axes.append(Axis(first.ref, {**first.tags, **group_tags[key]}, line))
    return axes


def _sides(axis: Any, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Chainage of points along the axis and their offset to the left (negative: right), in metres."""
    located = shapely.points(points)
    along = shapely.line_locate_point(axis, located)
    step = min(1.0, axis.length / 4)
    behind = shapely.get_coordinates(shapely.line_interpolate_point(axis, np.maximum(along - step, 0.0)))
    ahead = shapely.get_coordinates(shapely.line_interpolate_point(axis, np.minimum(along + step, axis.length)))
    foot = shapely.get_coordinates(shapely.line_interpolate_point(axis, along))
    forward, offset = ahead - behind, points - foot
    return along, forward[:, 0] * offset[:, 1] - forward[:, 1] * offset[:, 0]


def _runs(labels: Sequence[str]) -> list[tuple[str, int, int]]:
    """Runs of equal labels around a ring: label, first piece, number of pieces."""
    count = len(labels)
    starts = [i for i in range(count) if labels[i] != labels[i - 1]]
    if not starts:
        return [(labels[0], 0, count)]
    ends = [*starts[1:], starts[0] + count]
    return [(labels[start], start, end - start) for start, end in zip(starts, ends, strict=True)]


def bank_lines(axis: Any, water: Any) -> list[Bank]:
    """Cut the outline of a river's water into left and right banks.

    Parameters
    ----------
    axis : shapely LineString
        Downstream, in a projected system, metres.
    water : shapely Polygon or MultiPolygon
        All water of the river, in the same system; parts that the axis does not enter are left out, islands too.

    Returns
    -------
    list of Bank
        By chainage. Outline that crosses the axis (the cut where the mapping or the extract ends) is no bank.
    """
    banks: list[Bank] = []
    for part in shapely.get_parts(shapely.union_all(shapely.get_parts(water))):
        inside = shapely.intersection(axis, part)
        if inside.is_empty or inside.length == 0:
            continue
        span = shapely.line_locate_point(axis, shapely.points(shapely.get_coordinates(inside)))
        first, last = float(span.min()), float(span.max())
        ring = shapely.get_coordinates(shapely.segmentize(part.exterior, _PIECE_M))
        along, left = _sides(axis, (ring[:-1] + ring[1:]) / 2)
        labels = [
            "" if not first + _CAP_M < s < last - _CAP_M else "L" if cross > 0 else "R"
            for s, cross in zip(along, left, strict=True)
        ]
        for side, start, count in _runs(labels):
            if not side:
                continue
            line = shapely.LineString(ring[:-1].take(range(start, start + count + 1), axis=0, mode="wrap"))
            if line.length < _SHORTEST_BANK_M:
                continue
            ends = shapely.line_locate_point(axis, shapely.points([line.coords[0], line.coords[-1]]))
            if ends[0] > ends[1]:
                line = shapely.reverse(line)
            banks.append(
                Bank(side, round(float(ends.min()), 2), round(float(ends.max()), 2), shapely.simplify(line, 0.001))
            )
    return sorted(banks, key=lambda bank: (bank.side, bank.start_m, bank.end_m))


def water_of(axis: Axis, waters: Sequence[OsmObject]) -> list[OsmObject]:
    """River surfaces that the axis runs through."""
    shapes = np.array([thing.geometry for thing in waters], dtype=object)
    touched = shapely.intersects(shapes, axis.line) if len(shapes) else np.zeros(0, dtype=bool)
    return [thing for thing, hit in zip(waters, touched, strict=True) if hit]
