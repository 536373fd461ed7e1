"""Where the features of a layer lie, for the descriptions of collections."""

from api.state import State, scope_of
from gis.errors import BackendError
from layers.access import Principal
from layers.query.fragment import Fragment
from layers.query.source import Source

__all__ = ["extent_of"]

Box = tuple[float, float, float, float]


async def extent_of(state: State, principal: Principal, source: Source) -> Box:
    """West, south, east, north in degrees of the features that the asker may see; the city's bounds where there are none or it takes too long.

    Kept until the layer changes.
    """
    if not source.has_geometry:
        return state.city.bounds
    counter = await state.counters.current(source.name)
    key = (source.name, scope_of(principal))
    known = state.extents.get(key)
    if known is not None and known[0] == counter:
        box: Box = known[1]
        return box
    geographic = source.srid in (4326, 4490)
    corners = "ST_Extent(t.geom)" if geographic else f"ST_Extent(ST_Transform(ST_Envelope(t.geom), {4326}))"
    sql = Fragment(f"SELECT ST_XMin(e), ST_YMin(e), ST_XMax(e), ST_YMax(e) FROM (SELECT {corners} AS e FROM {source.table} AS t) AS x")
    try:
        row = (await state.reader.fetch(principal, sql, timeout_s=1.0))[0]
    except BackendError:
        row = (None,) * 4
    box = state.city.bounds if row[0] is None else (round(row[0], 6), round(row[1], 6), round(row[2], 6), round(row[3], 6))
    state.extents[key] = (counter, box)
    return box
