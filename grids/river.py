"""Places along the rivers: chainage, side and offset of any point and back, what drains where, and in what order.

Chainages are those of ``river_axis``: the newest version of each reach, or the version asked for. Reaches form a tree: one whose end lies
near another flows into it there, so travel goes on through the confluence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gis.chainage import Axis, axis, format_station, locate, parse_station, points_at, sections
from gis.crs import SourceCRS, transform_geometries
from gis.errors import DataError, InputError, InvalidGeometry, NotFound

__all__ = ["Reach", "River", "RiverPlace", "Travel", "read_river", "station_m"]

#: A reach that ends this near to the axis of another flows into it: a wide river's axis is far from its banks.
_CONFLUENCE_M = 1500.0

type Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reach:
    """A river's axis of one version, in the analysis system; ``into`` is the reach it flows into and ``into_m`` where."""

    code: str
    name_zh: str
    name_en: str
    version: int
    main_stem: bool
    axis: Axis
    into: str | None = None
    into_m: float = float("nan")


@dataclass(frozen=True)
class RiverPlace:
    """A point referred to a reach.

    Attributes
    ----------
    chainage_m, station
        Measure of the nearest point of the axis, and its label ``K12+345``.
    side : str
        ``L`` or ``R`` facing downstream, empty on the axis.
    offset_m : float
        Distance from the axis.
    beyond : bool
        The point lies before the start or after the end of the axis.
    foot : Point
        The nearest point of the axis, analysis system.
    """

    reach: Reach
    chainage_m: float
    side: str
    offset_m: float
    beyond: bool
    foot: shapely.Point

    @property
    def station(self) -> str:
        """The label of the chainage."""
        return format_station(self.chainage_m)

    def plain(self) -> dict[str, Any]:
        """As a dictionary, without the foot."""
        return {
            "reach": self.reach.code, "name_zh": self.reach.name_zh, "name_en": self.reach.name_en, "axis_version": self.reach.version,
            "station": self.station, "chainage_m": round(self.chainage_m, 3), "side": self.side or None,
            "offset_m": round(self.offset_m, 3), "beyond": self.beyond,
        }  # fmt: skip


@dataclass(frozen=True)
class Travel:
    """Something along the river as seen from a place: ``row`` counts what was given, ``travel_m`` is the way of the water between."""

    row: int
    place: RiverPlace
    travel_m: float


def station_m(text: str | float) -> float:
    """Chainage of a label (``K12+345``; a ``+`` that became a space in an address is understood) or of a number of metres.

    Examples
    --------
    >>> station_m("K12 345"), station_m("12345"), station_m(7)
    (12345.0, 12345.0, 7.0)
    """
    if isinstance(text, str):
        words = text.strip()
        if words[:1] in "Kk" and words:
            return parse_station("+".join(words.split()) if "+" not in words else words)
        try:
            text = float(words)
        except ValueError as error:
            raise InputError(
                f"{words[:40]!r} is not a station such as K12+345.", zh=f"“{words[:40]}”不是 K12+345 形式的桩号。"
            ) from error
    if not np.isfinite(text):
        raise InputError("A chainage must be a number.", zh="桩号须为有限数。")
    return float(text)


@dataclass(frozen=True)
class River:
    """The reaches of a city, the main stem first."""

    reaches: tuple[Reach, ...]
    srid: int

    def reach(self, name: str | None = None) -> Reach:
        """A reach by code or name; without one the main stem.

        Raises
        ------
        NotFound
            There is none of that name; those that there are, are named.
        """
        if name is None:
            return self.reaches[0]
        for reach in self.reaches:
            if name in (reach.code, reach.name_zh, reach.name_en):
                return reach
        known = ", ".join(f"{r.code} {r.name_zh}" for r in self.reaches)
        raise NotFound(
            f"There is no reach {name[:40]!r}; there are: {known}.", zh=f"没有河段“{name[:40]}”；现有：{known}。"
        )

    def locate(
        self,
        points: Sequence[shapely.Point] | npt.NDArray[np.object_],
        *,
        reach: Sequence[str | None] | str | None = None,
    ) -> list[RiverPlace]:
        """Refer points (analysis system) to the river.

        Parameters
        ----------
        reach : str or sequence of str or None
            Code or name of the reach, for all or for each; None, or a name that no reach has, takes the nearest reach.
        """
        shapes = np.asarray(points, dtype=object)
        wanted = [reach] * len(shapes) if reach is None or isinstance(reach, str) else list(reach)
        by_name = {
            name: k for k, r in reversed(list(enumerate(self.reaches))) for name in (r.code, r.name_zh, r.name_en)
        }
        given = np.array([by_name.get(str(name), -1) for name in wanted], dtype=np.int64)
        lines = np.array([shapely.LineString(r.axis.xy) for r in self.reaches], dtype=object)
        nearest = shapely.STRtree(lines).nearest(shapes) if len(shapes) else np.zeros(0, np.int64)
        at = np.where(given >= 0, given, nearest)
        found: list[RiverPlace | None] = [None] * len(shapes)
        for k, own in enumerate(self.reaches):
            mine = np.flatnonzero(at == k)
            if not len(mine):
                continue
            located = locate(own.axis, shapely.get_coordinates(shapes[mine]))
            for row, i in enumerate(mine):
                found[i] = RiverPlace(
                    own, float(located.chainage_m[row]), str(located.side[row]), float(located.offset_m[row]),
                    bool(located.beyond[row]), shapely.Point(located.foot_xy[row]),
                )  # fmt: skip
        return [place for place in found if place is not None]

    def at(self, station: str | float, *, reach: str | None = None, offset_m: float = 0.0) -> shapely.Point:
        """Point (analysis system) at a station; ``offset_m`` to the left of the flow, negative to the right."""
        return shapely.Point(points_at(self.reach(reach).axis, [station_m(station)], offset_m=offset_m)[0])

    def section(self, start: str | float, end: str | float, *, reach: str | None = None) -> shapely.LineString:
        """Stretch of the axis (analysis system) between two stations."""
        line: shapely.LineString = sections(self.reach(reach).axis, [station_m(start)], [station_m(end)])[0]
        return line

    def ways_to(self, place: RiverPlace) -> dict[str, tuple[float, float]]:
        """Reaches whose water passes a place: up to which chainage of theirs, and how far the place is from there."""
        found = {place.reach.code: (place.chainage_m, 0.0)}
        grown = True
        while grown:
            grown = False
            for reach in self.reaches:
                if reach.code not in found and reach.into in found:
                    limit, rest = found[reach.into]
                    if reach.into_m <= limit:
                        found[reach.code] = (reach.axis.end_m, limit - reach.into_m + rest)
                        grown = True
        return found

    def ways_from(self, place: RiverPlace) -> dict[str, tuple[float, float]]:
        """Reaches that the water of a place flows through: from which chainage of theirs, and how far that is from the place."""
        found: dict[str, tuple[float, float]] = {}
        reach, start, gone = place.reach, place.chainage_m, 0.0
        while reach.code not in found:
            found[reach.code] = (start, gone)
            if reach.into is None:
                break
            gone += max(reach.axis.end_m - start, 0.0)
            start, reach = reach.into_m, self.reach(reach.into)
        return found

    def upstream(
        self, place: RiverPlace, others: Sequence[RiverPlace], *, within_m: float = float("inf")
    ) -> list[Travel]:
        """Which of ``others`` lie upstream of a place, in the order in which their water arrives."""
        ways = self.ways_to(place)
        found = []
        for row, other in enumerate(others):
            if other.reach.code in ways:
                limit, rest = ways[other.reach.code]
                travel = limit - other.chainage_m + rest
                if other.chainage_m <= limit and travel <= within_m:
                    found.append(Travel(row, other, travel))
        return sorted(found, key=lambda travel: (travel.travel_m, travel.row))

    def downstream(
        self, place: RiverPlace, others: Sequence[RiverPlace], *, ends_m: Sequence[float] | None = None
    ) -> list[Travel]:
        """Which of ``others`` the water of a place comes to, the nearest first.

        Parameters
        ----------
        ends_m : sequence of float, optional
            Of stretches, the chainage where each ends: a place inside a stretch is 0 from it.
        """
        ways = self.ways_from(place)
        found = []
        for row, other in enumerate(others):
            if other.reach.code not in ways:
                continue
            start, gone = ways[other.reach.code]
            away = other.chainage_m - start
            if away < 0 and ends_m is not None and ends_m[row] >= start:
                away = 0.0
            if away >= 0:
                found.append(Travel(row, other, gone + away))
        return sorted(found, key=lambda travel: (travel.travel_m, travel.row))


def read_river(connection: Connection, *, srid: int, version: int | None = None) -> River:
    """Read the axes.

    Parameters
    ----------
    srid : int
        Analysis system, projected.
    version : int, optional
        Version of the axes; the newest of each reach without it.

    Raises
    ------
    NotFound
        There is no axis (of that version).
    DataError
        An axis is not as it must be; it is named.
    """
    rows = connection.execute(
        sa.text(
            "SELECT DISTINCT ON (reach_code) reach_code, name_zh, name_en, axis_version, coalesce(is_main_stem, false), ST_AsBinary(geom),"
            " ST_SRID(geom) FROM baige.river_axis WHERE cast(:version AS integer) IS NULL OR axis_version = :version"
            " ORDER BY reach_code, axis_version DESC"
        ),
        {"version": version},
    ).all()
    if not rows:
        which = "" if version is None else f" {version}"
        raise NotFound(
            f"There is no river axis{f' of version{which}' if which else ''}.",
            zh=f"没有{f'版本{which} 的' if which else ''}河道轴线。",
        )
    reaches = []
    for code, name_zh, name_en, number, main, wkb, own in rows:
        line = shapely.from_wkb(bytes(wkb))
        measure = shapely.get_coordinates(line, include_m=True)[:, -1] if shapely.has_m(line) else None
        flat = transform_geometries(np.array([shapely.force_2d(line)], dtype=object), SourceCRS(str(own)), srid)[0]
        try:
            made = axis(flat, measure_m=measure)
        except InvalidGeometry as error:
            raise DataError(f"Axis {code}: {error.message}", zh=f"轴线 {code}：{error.text('zh')}") from error
        reaches.append(
            Reach(str(code), str(name_zh or code), str(name_en or name_zh or code), int(number), bool(main), made)
        )
    reaches.sort(key=lambda r: (not r.main_stem, -(r.axis.end_m - r.axis.start_m)))
    return River(tuple(_joined(reaches)), srid)


def _joined(reaches: list[Reach]) -> list[Reach]:
    """Each reach with the one it flows into: the nearest at its end, the main stem into none."""
    lines = np.array([shapely.LineString(reach.axis.xy) for reach in reaches], dtype=object)
    found = []
    for k, reach in enumerate(reaches):
        mouth = shapely.Point(reach.axis.xy[-1])
        away = shapely.distance(lines, mouth)
        away[k] = np.inf
        # what begins where this ends goes on; what ends there as well flows beside it
        order = [int(j) for j in np.argsort(away, kind="stable") if away[j] <= _CONFLUENCE_M and not reach.main_stem]
        into = next(
            (j for j in order if locate(reaches[j].axis, reach.axis.xy[-1:]).chainage_m[0] < reaches[j].axis.end_m),
            None,
        )
        if into is None:
            found.append(reach)
            continue
        where = float(locate(reaches[into].axis, reach.axis.xy[-1:]).chainage_m[0])
        found.append(
            Reach(
                reach.code,
                reach.name_zh,
                reach.name_en,
                reach.version,
                reach.main_stem,
                reach.axis,
                reaches[into].code,
                where,
            )
        )
    return found
