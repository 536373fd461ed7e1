"""What stands along the river: features of a layer by the way of the water from or to a place, and registers compared with the axis."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gis.chainage import format_station
from gis.crs import SourceCRS, transform_geometries
from gis.errors import InputError, LimitExceeded, NotFound
from grids.river import River, RiverPlace, Travel
from layers.access import Principal, visible_fields
from layers.models import layer_srid
from layers.registry import declaration_of, storage_srid

__all__ = ["Along", "Mismatch", "along_river", "compare_registers", "place_of"]

_ROWS_MAX = 50_000
#: Features farther from the axis of their river are not on it.
REACH_M = 2000.0


@dataclass(frozen=True)
class Along:
    """Features of a layer referred to the river, analysis system; ``ends_m`` is the end of stretches, else the chainage itself."""

    layer: str
    ids: tuple[str, ...]
    names: tuple[tuple[str | None, str | None], ...]
    codes: tuple[str | None, ...]
    places: tuple[RiverPlace, ...]
    ends_m: tuple[float, ...]
    registered: tuple[tuple[float | None, str | None], ...]

    def plain(self, travel: Travel) -> dict[str, Any]:
        """A feature met on the way, as a dictionary."""
        k = travel.row
        registered, side = self.registered[k]
        return {
            "id": self.ids[k], "layer": self.layer, "code": self.codes[k], "name_zh": self.names[k][0], "name_en": self.names[k][1],
            "travel_m": round(travel.travel_m, 1), **{f"on_{n}" if n.startswith("name") else n: v for n, v in travel.place.plain().items()},
            "registered_m": registered, "registered_side": side,
        }  # fmt: skip


@dataclass(frozen=True)
class Mismatch:
    """A register that says something else than where the feature stands: ``what`` is ``chainage`` or ``side``."""

    layer: str
    id: str
    code: str | None
    what: str
    registered: str
    found: str
    apart_m: float


def place_of(connection: Connection, river: River, layer: str, feature: str, principal: Principal) -> RiverPlace:
    """A feature of a layer referred to the river.

    Raises
    ------
    NotFound
        There is no such feature for the principal.
    """
    found = along_river(connection, river, layer, principal, only=feature, far_m=float("inf"))
    if not found.ids:
        raise NotFound(
            f"Layer {layer} has no feature {feature[:60]!r}.", zh=f"图层 {layer} 没有要素 {feature[:60]!r}。"
        )
    return found.places[0]


def along_river(
    connection: Connection,
    river: River,
    layer: str,
    principal: Principal,
    *,
    only: str | None = None,
    far_m: float = REACH_M,
) -> Along:
    """Features of a layer that stand at a river, as the principal may read them.

    The river of a feature is the one that its ``reach_code`` or ``receiving_water`` names, else the nearest. Layers with ``start_m`` and
    ``end_m`` are stretches.

    Parameters
    ----------
    connection : Connection
        In a transaction of the principal.
    only : str, optional
        Id of the only feature wanted.
    far_m : float
        Points farther from the axis are left out.

    Raises
    ------
    NotFound, InputError
        No such layer, or one without places.
    LimitExceeded
        More features than are looked at at once.
    """
    declaration = declaration_of(connection, layer)
    if not declaration.has_geometry:
        raise InputError(f"Layer {layer} has no places.", zh=f"图层 {layer} 没有空间位置。")
    seen = set(visible_fields(declaration, principal.role))
    keys = [key[0] for key in declaration.natural_keys if key[0] in seen]

    def column(*names: str) -> str:
        return next((f't."{name}"' for name in names if name in seen), "NULL")

    code = f"coalesce({', '.join(f't."{key}"::text' for key in keys)})" if keys else "NULL"
    stretch = {"start_m", "end_m"} <= seen
    rows = connection.execute(
        sa.text(
            f"SELECT t.id::text, {column('name_zh')}, {column('name_en')}, {code}, ST_AsBinary(ST_PointOnSurface(ST_Force2D(t.geom))),"
            f" {column('reach_code', 'receiving_water')}, {column('chainage_m')}, {column('bank_side', 'side')},"
            f' {"t.start_m, t.end_m" if stretch else "NULL, NULL"} FROM baige."{declaration.name}" t'
            f" WHERE t.geom IS NOT NULL AND NOT ST_IsEmpty(t.geom) AND (cast(:only AS text) IS NULL OR t.id::text = :only)"
            f" AND (t.valid_to IS NULL OR t.valid_to >= current_date) ORDER BY t.id LIMIT {_ROWS_MAX + 1}"
        ),
        {"only": only},
    ).all()
    if len(rows) > _ROWS_MAX:
        raise LimitExceeded(
            f"Layer {layer} has more than {_ROWS_MAX:,} features.", zh=f"图层 {layer} 的要素超过 {_ROWS_MAX:,} 个。"
        )
    own = layer_srid(declaration, storage_srid(connection))
    points = transform_geometries(shapely.from_wkb([bytes(row[4]) for row in rows]), SourceCRS(str(own)), river.srid)
    places = river.locate(points, reach=[row[5] for row in rows])
    if stretch:
        places = [_at_start(river, place, row[8], row[9]) for place, row in zip(places, rows, strict=True)]
    kept = [
        k
        for k, place in enumerate(places)
        if place.offset_m <= far_m and not (place.beyond and place.offset_m > 1.0 and only is None)
    ]
    ends = [
        max(r[8], r[9]) if stretch and r[8] is not None and r[9] is not None else p.chainage_m
        for r, p in zip(rows, places, strict=True)
    ]
    return Along(
        layer, tuple(rows[k][0] for k in kept), tuple((rows[k][1], rows[k][2]) for k in kept), tuple(rows[k][3] for k in kept),
        tuple(places[k] for k in kept), tuple(float(ends[k]) for k in kept), tuple((rows[k][6], rows[k][7]) for k in kept),
    )  # fmt: skip


def _at_start(river: River, place: RiverPlace, start: float | None, end: float | None) -> RiverPlace:
    if start is None or end is None:
        return place
    axis = place.reach.axis
    at = min(max(min(start, end), axis.start_m), axis.end_m)
    return RiverPlace(place.reach, at, place.side, place.offset_m, False, river.at(at, reach=place.reach.code))


def compare_registers(along: Along, *, tolerance_m: float = 50.0) -> list[Mismatch]:
    """Features whose registered chainage is farther than the tolerance from where they stand, or whose registered bank is the other."""
    found = []
    for k, place in enumerate(along.places):
        metres, side = along.registered[k]
        apart = abs(metres - place.chainage_m) if metres is not None else 0.0
        if metres is not None and not np.isclose(apart, 0) and apart > tolerance_m:
            found.append(
                Mismatch(
                    along.layer, along.ids[k], along.codes[k], "chainage", format_station(metres), place.station, apart
                )
            )
        if side is not None and place.side and side != place.side:
            found.append(Mismatch(along.layer, along.ids[k], along.codes[k], "side", side, place.side, place.offset_m))
    return found
