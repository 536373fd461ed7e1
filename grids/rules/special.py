"""Rules that need more than a filter and a distance; each returns the findings of one rule."""

from collections.abc import Callable

from sqlalchemy.engine import Connection

from grids.rules.evaluate import Finding, Sides, fetch, side_sql
from grids.rules.table import Rule
from layers.query.fragment import Fragment

__all__ = ["FUNCTIONS"]

_SLIVER_M2 = 1.0
_UPSTREAM_M = 500.0
_ON_RIVER_M = 2000.0


def _finding(rule: Rule, row: tuple[object, ...], *, sure: bool, note: tuple[str, str] | None = None) -> Finding:
    """From a row ``id, name, admin_code, wkb, other_id, other_name, measure, accuracy, limit``."""

    def number(value: object) -> float | None:
        return None if value is None else round(float(str(value)), 2)

    return Finding(
        verdict=rule.verdict if sure else "indeterminate",
        object_layer=rule.object.layer,
        object_id=str(row[0]),
        object_name=None if row[1] is None else str(row[1]),
        admin_code=None if row[2] is None else str(row[2]),
        wkb=bytes(row[3]) if isinstance(row[3], (bytes, memoryview)) else b"",
        other_layer=rule.other.layer if rule.other and row[4] is not None else None,
        other_id=None if row[4] is None else str(row[4]),
        other_name=None if row[5] is None else str(row[5]),
        distance_m=number(row[6]),
        accuracy_m=number(row[7]),
        threshold_m=number(row[8]),
        note_zh=note[0] if note else None,
        note_en=note[1] if note else None,
    )


def cameras_out_of_order(connection: Connection, rule: Rule, sides: Sides) -> list[Finding]:
    """Cameras that were not filed within 30 days of use, have no sign, or keep pictures for less than 30 days."""
    base = side_sql(sides, rule.object, extra=", t.filing_date, t.in_use_date, t.sign_posted, t.retention_days")
    query = (
        Fragment(
            "SELECT id::text, name, admin_code, ST_AsBinary(geom), late, unsigned, short FROM (SELECT c.*,"
            " CASE WHEN c.filing_date IS NOT NULL AND c.in_use_date IS NOT NULL THEN c.filing_date > c.in_use_date + 30"
            "  WHEN c.filing_date IS NOT NULL THEN false"
            "  WHEN c.in_use_date IS NOT NULL THEN c.in_use_date + 30 < %s END AS late,"
            " NOT c.sign_posted AS unsigned, c.retention_days < 30 AS short FROM (",
            (sides.at,),
        )
        + base
        + ") c) judged WHERE coalesce(late, true) OR coalesce(unsigned, true) OR coalesce(short, true) ORDER BY id"
    )
    words = (
        ("未按期备案", "not filed within 30 days of use", "备案情况不明", "filing unknown"),
        ("无标识", "no sign", "标识情况不明", "sign unknown"),
        ("保存不足 30 天", "keeps less than 30 days", "保存天数不明", "days of retention unknown"),
    )
    found = []
    for row in fetch(connection, query):
        faults = row[4:7]
        zh = [w[0] if f else w[2] for w, f in zip(words, faults, strict=True) if f is not False]
        en = [w[1] if f else w[3] for w, f in zip(words, faults, strict=True) if f is not False]
        padded = (*row[:4], None, None, None, None, None)
        found.append(_finding(rule, padded, sure=any(f is True for f in faults), note=("；".join(zh), "; ".join(en))))
    return found


def grid_faults(connection: Connection, rule: Rule, sides: Sides) -> list[Finding]:
    """Cells that overlap, that leave their community, or whose code does not begin with their community's."""
    cells, communities = side_sql(sides, rule.object, extra=", t.grid_code"), side_sql(sides, rule.other or rule.object)
    area = f"ST_Area({sides.geography('ST_CollectionExtract(ST_Intersection(a.geom, b.geom), 3)')})"
    overlaps = (
        Fragment(
            "SELECT * FROM (SELECT a.id::text, a.name, a.admin_code, ST_AsBinary(a.geom), b.id::text, b.name,"
            f" {area} AS m2, NULL::float8, {_SLIVER_M2} FROM ("
        )
        + cells
        + ") a JOIN ("
        + cells
        + f") b ON a.geom && b.geom AND a.id < b.id AND ST_Relate(a.geom, b.geom, 'T********')) pair WHERE m2 > {_SLIVER_M2}"
    )
    found = [
        _finding(
            rule,
            (*row[:6], None, None, None),
            sure=True,
            note=(f"与另一网格重叠 {row[6]:.1f} m²", f"overlaps another cell by {row[6]:.1f} m²"),
        )
        for row in fetch(connection, overlaps)
    ]
    outside = f"ST_Area({sides.geography('ST_CollectionExtract(ST_Difference(a.geom, b.geom), 3)')})"
    across = (
        Fragment(
            f"SELECT id, name, admin_code, wkb, other_id, other_name, m2, prefix FROM (SELECT a.id::text, a.name, a.admin_code,"
            f" ST_AsBinary(a.geom) AS wkb, b.id::text AS other_id, b.name AS other_name, {outside} AS m2,"
            " left(a.grid_code, 12) = b.admin_code AS prefix FROM ("
        )
        + cells
        + ") a JOIN ("
        + communities
        + f") b ON b.geom && a.geom AND ST_Intersects(b.geom, ST_PointOnSurface(a.geom))) pair WHERE m2 > {_SLIVER_M2} OR NOT prefix"
    )
    for row in fetch(connection, across):
        metres = float(str(row[6]))
        zh, en = [], []
        if metres > _SLIVER_M2:
            zh.append(f"超出所属社区 {metres:.1f} m²")
            en.append(f"{metres:.1f} m² lie outside its community")
        if row[7] is False:
            zh.append("编码前 12 位与所在社区不符")
            en.append("the first 12 digits of its code are not its community's")
        found.append(_finding(rule, (*row[:6], None, None, None), sure=True, note=("；".join(zh), "; ".join(en))))
    return found


def cells_below_target(connection: Connection, rule: Rule, sides: Sides) -> list[Finding]:
    """Grid cells whose public space is covered, by online cameras, to less than the city's target."""
    target = sides.city.rules.get("grid_coverage_min", 0.0)
    cells = side_sql(sides, rule.object, extra=", t.online_overview")
    query = (
        Fragment("SELECT id::text, name, admin_code, ST_AsBinary(geom), online_overview FROM (")
        + cells
        + Fragment(") c WHERE online_overview < %s ORDER BY online_overview, id", (target,))
    )
    return [
        _finding(
            rule,
            (*row[:4], None, None, None, None, None),
            sure=True,
            note=(f"覆盖率 {row[4]:.1%}，目标 {target:.0%}", f"covered to {row[4]:.1%}, target {target:.0%}"),
        )
        for row in fetch(connection, query)
    ]


def _own_bank(rule: Rule, sides: Sides) -> Fragment:
    """Outfalls with their distances to the own and the other bank and to the axis of the river that they discharge into.

    Columns ``id, name, admin_code, wkb, bank_side, acc``; ``near_id, near_name, near_m`` the nearest bank of that river; ``own_m``,
    ``away_m`` the nearest of the registered side and of the other; ``axis_m``, ``axis_side`` of its axis. A river is known by its
    name in ``receiving_water``; where that is empty or unknown, any bank counts.
    """
    outfalls = side_sql(sides, rule.object, extra=", t.bank_side, t.receiving_water")
    banks = side_sql(sides, rule.other or rule.object, extra=", t.bank_side, t.reach_code")
    gap = f"ST_Distance({sides.geography('o.geom')}, {sides.geography('k.geom')})"

    def nearest(condition: str) -> str:
        return (
            f"SELECT k.id, k.name, k.acc, {gap} AS m FROM (SELECT * FROM banks WHERE {condition}"
            " AND (river.reach_code IS NULL OR banks.reach_code = river.reach_code) ORDER BY banks.geom <-> o.geom LIMIT 8) k ORDER BY 4 LIMIT 1"
        )

    step = "ST_LineInterpolatePoint(river.line, {0}(spot {1} 0.0005, {2}))"
    before, behind = step.format("greatest", "-", "0"), step.format("least", "+", "1")
    return (
        Fragment("WITH banks AS MATERIALIZED (")
        + banks
        + ") SELECT o.id::text, o.name, o.admin_code, ST_AsBinary(o.geom) AS wkb, o.bank_side, o.acc,"
        + " near.id::text AS near_id, near.name AS near_name, near.m AS near_m, near.acc AS bank_acc, own.m AS own_m, away.m AS away_m,"
        + f" ST_Distance({sides.geography('o.geom')}, {sides.geography('river.line')}) AS axis_m,"
        + " CASE WHEN (ST_X(ahead) - ST_X(back)) * (ST_Y(o.geom) - ST_Y(back)) > (ST_Y(ahead) - ST_Y(back)) * (ST_X(o.geom) - ST_X(back))"
        + " THEN 'L' ELSE 'R' END AS axis_side, river.name AS river FROM ("
        + outfalls
        + ") o LEFT JOIN LATERAL (SELECT x.reach_code, x.name_zh AS name, ST_Force2D(x.geom) AS line FROM baige.river_axis x"
        + " WHERE x.name_zh = o.receiving_water ORDER BY x.axis_version DESC, x.geom <-> o.geom LIMIT 1) river ON true"
        + f" LEFT JOIN LATERAL ({nearest('true')}) near ON true"
        + f" LEFT JOIN LATERAL ({nearest('bank_side = o.bank_side')}) own ON true"
        + f" LEFT JOIN LATERAL ({nearest('bank_side <> o.bank_side')}) away ON true"
        + " LEFT JOIN LATERAL (SELECT ST_LineLocatePoint(river.line, o.geom) AS spot) place ON true"
        + f" LEFT JOIN LATERAL (SELECT {before} AS back, {behind} AS ahead) course ON true ORDER BY o.id"
    )


def far_from_bank(connection: Connection, rule: Rule, sides: Sides) -> list[Finding]:
    """Outfalls farther from the bank of their river than the city allows; in doubt where that river has no bank line."""
    limit = sides.city.rules.get("bank_offset_max_m", 50.0)
    found = []
    for row in fetch(connection, _own_bank(rule, sides)):
        place, near, acc = row[:4], row[6:8], float(str(row[5]))
        if row[8] is not None:
            metres, doubt = float(str(row[8])), acc + float(str(row[9]))
            if metres + doubt > limit:
                found.append(_finding(rule, (*place, *near, metres, doubt, limit), sure=metres - doubt > limit))
        elif row[12] is None or float(str(row[12])) - acc > limit:
            note = (f"没有{row[14] or '受纳水体'}的岸线数据", "its river has no bank line to measure from")
            found.append(_finding(rule, (*place, None, None, row[12], acc, limit), sure=False, note=note))
    return found


def wrong_bank(connection: Connection, rule: Rule, sides: Sides) -> list[Finding]:
    """Outfalls whose registered bank is not the one that they stand on; in doubt where both are about equally near.

    Where the river has no bank lines, the side of its axis counts.
    """
    found = []
    for row in fetch(connection, _own_bank(rule, sides)):
        if row[4] is None:
            continue
        place, acc = row[:4], float(str(row[5]))
        if row[8] is not None and row[11] is not None:
            doubt = acc + float(str(row[9]))
            behind = float("inf") if row[10] is None else float(str(row[10])) - float(str(row[11]))
            if behind + doubt <= 0:
                continue
            sure, measure = behind > doubt, None if row[10] is None else behind
        elif row[12] is not None:
            doubt, measure = acc, float(str(row[12]))
            if row[13] == row[4] and measure > doubt:
                continue
            sure = row[13] != row[4] and measure > doubt
        else:
            sure, measure, doubt = False, None, acc
        note = (
            ("登记岸别与所在位置不符", "the registered bank is not the one it stands on")
            if sure
            else ("两岸距离相近或缺少岸线", "both banks are about equally near, or not known")
        )
        found.append(_finding(rule, (*place, *row[6:8], measure, doubt, 0.0), sure=sure, note=note))
    return found


def tailings_near_river(connection: Connection, rule: Rule, sides: Sides) -> list[Finding]:
    """Tailings ponds within 3 km of the shoreline of the main stem or 1 km of that of a major tributary."""
    ponds, banks = side_sql(sides, rule.object), side_sql(sides, rule.other or rule.object, extra=", t.reach_code")
    gap = f"ST_Distance({sides.geography('a.geom')}, {sides.geography('b.geom')})"
    query = (
        Fragment(
            "SELECT DISTINCT ON (id) * FROM (SELECT a.id::text, a.name, a.admin_code, ST_AsBinary(a.geom),"
            " b.id::text AS other_id, b.name AS other_name,"
            f" {gap} AS m, a.acc + b.acc AS acc, reach.limit_m FROM ("
        )
        + ponds
        + ") a JOIN ("
        + banks
        + f") b ON {sides.near('b.geom', 'a.geom', 3200 + 10 * sides.accuracy_m)} JOIN (SELECT reach_code, max(CASE WHEN is_main_stem THEN 3000.0"
        + " WHEN is_major_trib THEN 1000.0 END) AS limit_m FROM baige.river_axis GROUP BY reach_code) reach USING (reach_code)"
        + ") pair WHERE m - acc <= limit_m ORDER BY id, m - limit_m"
    )
    return [
        _finding(rule, row, sure=float(str(row[6])) + float(str(row[7])) <= float(str(row[8])))
        for row in fetch(connection, query)
    ]


def sand_mining_at_bridge(connection: Connection, rule: Rule, sides: Sides) -> list[Finding]:
    """Sand mining along the river within 500 m above, or 1 to 3 km (by the bridge's length) below, a railway bridge."""
    from grids.rules.table import Side

    pits = side_sql(sides, rule.object)
    bridges = side_sql(
        sides, Side(layer="key_area", filter="kind = 'bridge' AND carries IN ('rail', 'both')"), extra=", t.length_m"
    )
    place = "ST_PointOnSurface({0}.geom)"
    near = f"ST_Distance({sides.geography('{0}.geom')}, {sides.geography('axis.geom')}) <= {_ON_RIVER_M}"
    query = (
        Fragment(
            "SELECT * FROM (SELECT p.id::text, p.name, p.admin_code, ST_AsBinary(p.geom), b.id::text AS other_id, b.name AS other_name,"
            f" ST_InterpolatePoint(axis.geom, {place.format('p')}) - ST_InterpolatePoint(axis.geom, {place.format('b')}) AS m, p.acc + b.acc AS acc,"
            " CASE WHEN b.length_m >= 500 OR b.length_m IS NULL THEN 3000.0 WHEN b.length_m >= 100 THEN 2000.0 ELSE 1000.0 END AS limit_m FROM ("
        )
        + pits
        + ") p CROSS JOIN ("
        + bridges
        + ") b CROSS JOIN (SELECT DISTINCT ON (reach_code) reach_code, geom FROM baige.river_axis ORDER BY reach_code, axis_version DESC) axis"
        + f" WHERE {near.format('p')} AND {near.format('b')}) pair WHERE m - acc <= limit_m AND m + acc >= -{_UPSTREAM_M} ORDER BY 1, 5"
    )
    found = []
    for row in fetch(connection, query):
        along, accuracy, limit = float(str(row[6])), float(str(row[7])), float(str(row[8]))
        down = along >= 0
        limit = limit if down else _UPSTREAM_M
        note = (
            f"桥{'下' if down else '上'}游 {abs(along):.0f} m",
            f"{abs(along):.0f} m {'below' if down else 'above'} the bridge",
        )
        found.append(
            _finding(rule, (*row[:6], abs(along), accuracy, limit), sure=abs(along) + accuracy <= limit, note=note)
        )
    return found


#: By the name that rules call them.
FUNCTIONS: dict[str, Callable[[Connection, Rule, Sides], list[Finding]]] = {
    f.__name__: f
    for f in (
        cameras_out_of_order,
        cells_below_target,
        far_from_bank,
        grid_faults,
        sand_mining_at_bridge,
        tailings_near_river,
        wrong_bank,
    )
}
