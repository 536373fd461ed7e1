"""Outfalls as an officer needs them: present state with its reason, when the next inspection is due, what lies up and down the river.

The state has three values. It is what the latest observation says – an inspection or an online monitor, whichever is younger – as long
as that is young enough; an offline monitor, an old observation or one without a time leave the state **unknown**, never clean.
"""

import datetime as dt
import json
from collections.abc import Sequence

from gis.settings import InspectionConfig
from layers.query.fragment import Fragment

__all__ = ["STATUS_COLUMNS", "inspections_sql", "outfall_status"]

#: Columns of `outfall_status`, in order.
STATUS_COLUMNS = (
    "id", "name_zh", "name_en", "code", "lon", "lat", "admin_code", "cat1", "workflow_stage", "approval_kind", "receiving_water", "chainage_m",
    "bank_side", "responsible_org", "monitor_state", "state", "state_basis", "state_at", "last_inspected_at", "last_found", "due_on",
    "days_overdue", "watch_state", "cameras_online", "findings",
)  # fmt: skip

#: Moment of the question: the end of the day, so that what was seen on that day counts.
_STATUS = """
WITH asked AS (SELECT %s::timestamptz AS at, %s::date AS day),
seen AS (
    SELECT o.*, i.inspected_at, i.discharging,
        CASE WHEN o.monitor_state = 'on' AND o.state_at <= asked.at THEN o.state_at END AS monitored_at
    FROM baige.outfall o CROSS JOIN asked
    LEFT JOIN LATERAL (
        SELECT inspected_at, discharging FROM baige.outfall_inspection x
        WHERE x.outfall_id = o.id AND x.inspected_at <= asked.at ORDER BY x.inspected_at DESC LIMIT 1) i ON true
    WHERE {where}),
judged AS (
    SELECT s.*, CASE
        WHEN monitored_at > asked.at - make_interval(hours => %s) AND (inspected_at IS NULL OR monitored_at >= inspected_at) THEN 'monitor'
        WHEN inspected_at > asked.at - make_interval(days => %s) THEN 'inspection'
        WHEN monitor_state = 'off' THEN 'offline'
        WHEN inspected_at IS NOT NULL OR state_at <= asked.at THEN 'stale'
        ELSE 'none' END AS basis,
        CASE WHEN workflow_stage = ANY (%s) THEN NULL
        ELSE coalesce(
            least(CASE WHEN inspect_due > coalesce(inspected_at::date, '-infinity') THEN inspect_due END,
                inspected_at::date + coalesce((%s::jsonb ->> cat1)::int, %s)),
            asked.day) END AS due
    FROM seen s CROSS JOIN asked)
SELECT j.id::text, j.name_zh, j.name_en, coalesce(j.code_national, j.code_local), ST_X(p), ST_Y(p), j.admin_code, j.cat1, j.workflow_stage,
    j.approval_kind, j.receiving_water, j.chainage_m, j.bank_side, j.responsible_org, j.monitor_state,
    CASE basis WHEN 'monitor' THEN coalesce(j.discharge_state, -1) WHEN 'inspection' THEN discharging ELSE -1 END,
    basis, CASE basis WHEN 'monitor' THEN j.state_at ELSE inspected_at END, inspected_at, discharging,
    due, greatest(asked.day - due, 0), w.watch_state, w.cameras_online, coalesce(f.n, 0)
FROM judged j CROSS JOIN asked CROSS JOIN LATERAL (SELECT ST_Transform(j.geom, 4326) AS p) AS place
LEFT JOIN baige.outfall_watch w ON w.outfall_id = j.id
LEFT JOIN (
    SELECT object_id, count(*) AS n FROM baige.rule_finding WHERE object_layer = 'outfall' AND change <> 'gone' GROUP BY object_id) f
    ON f.object_id = j.id
ORDER BY due NULLS LAST, j.chainage_m NULLS LAST, j.id LIMIT %s
"""

_INSPECTIONS = """
SELECT i.id::text, i.inspected_at, i.discharging, i.colour, i.turbidity, i.odour, i.note, i.lon, i.lat, i.position_error_m,
    (SELECT array_agg(p.id::text ORDER BY p.created_at, p.id) FROM baige_sys.inspection_photo p WHERE p.inspection_id = i.id)
FROM baige.outfall_inspection i WHERE i.outfall_id = %s ORDER BY i.inspected_at DESC, i.id LIMIT %s
"""


def outfall_status(
    config: InspectionConfig, day: dt.date, *, bbox: Sequence[float] | None = None, srid: int = 4490, most: int = 20_000
) -> Fragment:
    """A query for every outfall that the running role sees, the most overdue first; columns as in `STATUS_COLUMNS`.

    An inspection is due by the register's own date, or ``interval_days`` after the last inspection, whichever comes first; an outfall
    never inspected and without a date is due at once. Stages in ``exempt_stages`` are never due.

    Parameters
    ----------
    day : date
        State at the end of this day (UTC); later observations are left out.
    bbox : sequence of float, optional
        West, south, east, north in degrees.
    srid : int
        Storage system of the layer.

    Examples
    --------
    >>> q = outfall_status(InspectionConfig(), dt.date(2025, 4, 1), bbox=(111.0, 30.0, 112.0, 31.0))
    >>> q.text.count("%s") == len(q.params)
    True
    """
    where = Fragment("o.geom && ST_MakeEnvelope(%s, %s, %s, %s, %s)", (*bbox, srid)) if bbox is not None else Fragment("true")
    moment = dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), dt.UTC) - dt.timedelta(milliseconds=1)
    before = (moment, day, *where.params)
    after = (
        config.monitor_valid_hours, config.state_valid_days, list(config.exempt_stages), json.dumps(config.interval_days),
        config.interval_days["default"], most,
    )  # fmt: skip
    return Fragment(_STATUS.replace("{where}", where.text), before + after)


def inspections_sql(outfall_id: str, *, most: int = 200) -> Fragment:
    """A query for the inspections of an outfall, the latest first, each with the ids of its photos."""
    return Fragment(_INSPECTIONS, (outfall_id, most))
