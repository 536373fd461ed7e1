"""Any layer counted, summed or averaged in the units of the coverage: what the portal colours grid cells, streets or zones by."""

import math

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.access import principal_of
from api.asking import reject_unknown
from api.items import FRESH
from api.reader import as_text
from api.state import State, etag_of, matches, not_modified, scope_of
from gis.errors import InputError, NotFound
from layers.query import cql2_sql
from layers.query.fragment import Fragment

__all__ = ["MEASURES", "get_tally"]

UNITS = "coverage_by_grid"
#: ``count``: features; ``density``: features per square kilometre; ``sum`` and ``mean`` of a numeric field.
MEASURES = ("count", "density", "sum", "mean")
_NUMERIC = ("num", "int")
_VALUES = {
    "count": "coalesce(f.n, 0)::float8",
    "density": "coalesce(f.n, 0) / nullif(ST_Area(u.geom::geography) / 1e6, 0)",
    "sum": "CASE WHEN f.id IS NULL THEN 0 ELSE f.total END",  # nothing there is 0, values that nobody knows are not
    "mean": "f.mean",
}


async def get_tally(request: Request) -> Response:
    """``{"units": {id of the unit: value}, "matched": features counted}``: ``?unit=street&measure=count|density|sum|mean``.

    A feature counts once, in the unit that holds its point on the surface (`ST_PointOnSurface`), under the asker's own rights. ``field``
    for a sum or a mean; ``filter`` (CQL2) as for items. A unit without features has 0 as its count or sum and no mean;
    one of whose features no value is known has neither sum nor mean.
    """
    state: State = request.app.state.baige
    query = request.query_params
    reject_unknown(query, ("unit", "measure", "field", "filter"))
    principal = await principal_of(request)
    source = await state.catalogue.find(request.path_params["collection"], principal.role)
    units = await state.catalogue.find(UNITS, principal.role)
    if not source.has_geometry:
        raise NotFound(f"Collection {source.name} has no places to count.", zh=f"图层 {source.name} 没有可统计的位置。")
    kinds = [str(term.value) for field in units.fields if field.name == "unit_kind" for term in field.domain]
    unit, measure, field = query.get("unit", "grid"), query.get("measure", "count"), query.get("field", "")
    if unit not in kinds:
        raise InputError(f"unit: one of {', '.join(kinds)}.", zh=f"unit 应为 {'、'.join(kinds)} 之一。")
    if measure not in MEASURES:
        raise InputError(f"measure: one of {', '.join(MEASURES)}.", zh=f"measure 应为 {'、'.join(MEASURES)} 之一。")
    if (measure in ("sum", "mean")) != bool(field):
        raise InputError("field: given with sum and mean, and only with them.", zh="field 只用于 sum 和 mean，且必须给出。")
    column = source.column(field) if field else None
    if column is not None and column.kind not in _NUMERIC:
        raise InputError(f"field: {field} is not a number.", zh=f"field：{field} 不是数值字段。")
    at = "ST_PointOnSurface(t.geom)" if source.srid == units.srid else f"ST_Transform(ST_PointOnSurface(t.geom), {units.srid})"
    sql = Fragment(
        f"WITH r AS MATERIALIZED (SELECT {at} AS at, {column.sql if column else 'NULL'}::float8 AS value FROM {source.table} AS t"
        " WHERE t.geom IS NOT NULL"
    )
    wanted = query.get("filter", "")
    if wanted:
        sql = sql + " AND (" + cql2_sql.compile_filter(wanted, source) + ")"
    # one unit for each feature, also on a border of two
    sql = sql + Fragment(
        "), found AS (SELECT i.id, count(*) AS n, sum(r.value) AS total, avg(r.value) AS mean FROM r CROSS JOIN LATERAL"
        f" (SELECT u.id FROM {units.table} AS u WHERE u.unit_kind = %s AND ST_Intersects(u.geom, r.at) ORDER BY u.id LIMIT 1) AS i"
        f" GROUP BY i.id) SELECT u.id::text, {_VALUES[measure]}, (SELECT count(*) FROM r) FROM {units.table} AS u"
        " LEFT JOIN found AS f ON f.id = u.id WHERE u.unit_kind = %s",
        (unit, unit),
    )
    counters = [await state.counters.current(name) for name in (source.name, UNITS)]
    etag = etag_of("tally", source.name, unit, measure, field, wanted, counters, scope_of(principal), state.catalogue.version)
    headers = {**FRESH, "ETag": etag}
    if matches(request, etag):
        return not_modified(etag, FRESH)
    rows = await state.reader.fetch(principal, sql, timeout_s=state.serve.statement_timeout_s)
    found = {as_text(key): None if number is None else _rounded(float(number)) for key, number, _ in rows}
    body = {"units": found, "matched": int(rows[0][2]) if rows else 0}
    return Response(orjson.dumps(body), media_type="application/json", headers=headers)


def _rounded(number: float) -> float:
    """To seven digits: an average is shown, not reckoned with."""
    return 0.0 if number == 0 else round(number, max(0, 6 - math.floor(math.log10(abs(number)))))
