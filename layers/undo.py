"""Taking a change set back: every feature as it was before, in a change set of its own, all or nothing."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gis.errors import Conflict, Forbidden, NotFound
from layers.access import SYSTEM, Principal
from layers.changes import change_set
from layers.database import Database
from layers.declaration import LayerDeclaration
from layers.registry import catalogue

__all__ = ["Undone", "undo"]

_NAMED_MOST = 20


@dataclass(frozen=True)
class Undone:
    """What was taken back, and the number of the change set that did it."""

    change: int
    layer: str
    restored: int
    brought_back: int
    removed: int


#: ``before``: the features as the change found them; ``after``: as it left them, with the change that came next, if any.
_STATES = """
WITH before AS (
    SELECT h.* FROM baige_history."{layer}" AS h WHERE h.replaced_by = :change AND h.change_id IS DISTINCT FROM :change
), after AS (
    SELECT NULL::bigint AS next, id, {columns} FROM baige."{layer}" WHERE change_id = :change
    UNION ALL
    SELECT replaced_by, id, {columns} FROM baige_history."{layer}" WHERE change_id = :change AND replaced_by IS DISTINCT FROM :change
)
"""
#: Features that are no longer as the change left them. What was changed since and taken back again is as it was left.
_LATER = """
SELECT a.id, a.next FROM after AS a LEFT JOIN baige."{layer}" AS t ON t.id = a.id
WHERE a.next IS NOT NULL AND (t.id IS NULL OR ROW({present}) IS DISTINCT FROM ROW({left}))
UNION
SELECT b.id, t.change_id FROM before AS b JOIN baige."{layer}" AS t ON t.id = b.id WHERE b.id NOT IN (SELECT id FROM after)
ORDER BY 2 NULLS LAST, 1 LIMIT {most}
"""
_COUNTS = """
SELECT (SELECT count(*) FROM before WHERE id IN (SELECT id FROM after)), (SELECT count(*) FROM before WHERE id NOT IN (SELECT id FROM after)),
       (SELECT count(*) FROM after WHERE id NOT IN (SELECT id FROM before))
"""
_REMOVE = 'DELETE FROM baige."{layer}" AS t WHERE t.id IN (SELECT id FROM after) AND t.id NOT IN (SELECT id FROM before)'
_BRING_BACK = """
INSERT INTO baige."{layer}" (id, {columns}) SELECT id, {columns} FROM before AS b
WHERE NOT EXISTS (SELECT 1 FROM baige."{layer}" AS t WHERE t.id = b.id)
"""
_RESTORE = 'UPDATE baige."{layer}" AS t SET {assigned} FROM before AS b WHERE t.id = b.id AND t.id IN (SELECT id FROM after)'


def _columns(declaration: LayerDeclaration) -> list[str]:
    return [*(f'"{f.name}"' for f in declaration.all_fields), *(['"geom"'] if declaration.has_geometry else [])]


def _layer_of(connection: Connection, change: int) -> LayerDeclaration:
    name = connection.execute(sa.text("SELECT layer FROM baige_sys.change_set WHERE id = :c"), {"c": change}).scalar()
    declaration = catalogue(connection).get(str(name))
    if declaration is None:
        raise NotFound(f"There is no change {change} of a layer that exists.", zh=f"没有变更 {change}，或其图层已不存在。")
    if declaration.kind == "result":
        raise Conflict("Results of an analysis are made anew, not taken back.", zh="分析结果应重新计算，不能撤销。")
    return declaration


def undo(database: Database, change: int, *, principal: Principal = SYSTEM, note: str | None = None, timeout_s: float | None = None) -> Undone:
    """Take change set ``change`` back.

    Parameters
    ----------
    timeout_s : float, optional
        Limit of each statement; where it is given, other writers are waited for no longer than 10 s.

    Raises
    ------
    NotFound
        There is no such change set.
    Conflict
        A later change touched the same features; the message names the changes and features.
    Forbidden
        The principal may not change every feature that it touched.
    """
    # what the change touched is counted with the platform's own rights: what the asker may not see must not be left out in silence
    with database.begin(timeout_s=timeout_s) as connection:
        if timeout_s is not None:
            connection.exec_driver_sql("SET LOCAL lock_timeout = '10s'")
        declaration = _layer_of(connection, change)
        layer, values, columns = declaration.name, {"change": change}, _columns(declaration)

        def sql(text: str) -> sa.TextClause:
            forms = {
                "layer": layer, "most": _NAMED_MOST, "columns": ", ".join(columns), "assigned": ", ".join(f"{c} = b.{c}" for c in columns),
                "present": ", ".join(f"t.{c}" for c in columns), "left": ", ".join(f"a.{c}" for c in columns),
            }  # fmt: skip
            return sa.text((_STATES + text).format(**forms))

        connection.execute(sa.text(f'LOCK TABLE baige."{layer}" IN SHARE ROW EXCLUSIVE MODE'))
        later = connection.execute(sql(_LATER), values).fetchall()
        restored, brought_back, removed = connection.execute(sql(_COUNTS), values).one()
        become(connection, principal, timeout_s=timeout_s)
        if later:
            _refuse(connection, layer, change, [(str(i), by) for i, by in later], principal)
        if not restored + brought_back + removed:
            raise Conflict(f"Change {change} left nothing to take back.", zh=f"变更 {change} 没有可撤销的内容。")
        with change_set(connection, layer=layer, action="undo", note=note or f"undo of change {change}") as made:
            # restored first: what is removed or brought back would change what 'after' finds
            again = connection.execute(sql(_RESTORE), values).rowcount
            gone = connection.execute(sql(_REMOVE), values).rowcount
            back = connection.execute(sql(_BRING_BACK), values).rowcount
            made.count_inserted(back)
            if (again, back, gone) != (restored, brought_back, removed):
                raise Forbidden(
                    f"Change {change} touched features that this role may not change; nothing was taken back.",
                    zh=f"变更 {change} 涉及当前角色无权修改的要素，未作任何撤销。",
                )
        return Undone(made.id, layer, again, back, gone)


def become(connection: Connection, principal: Principal, *, timeout_s: float | None = None) -> None:
    """Go on in this transaction under ``principal``."""
    from layers.database import principal_settings

    sql, values = principal_settings(principal, timeout_s=timeout_s)
    connection.exec_driver_sql(sql, values)


def _refuse(connection: Connection, layer: str, change: int, later: list[tuple[str, int | None]], principal: Principal) -> None:
    """Name the later changes, and those features that the asker may see."""
    seen = set(
        connection.execute(
            sa.text(f'SELECT id::text FROM baige."{layer}" WHERE id = ANY(cast(:ids AS uuid[]))'), {"ids": [i for i, _ in later]}
        ).scalars()
    )
    if principal.role in ("owner", "admin"):
        seen |= {i for i, _ in later}
    changes = ", ".join(str(c) for c in sorted({by for _, by in later if by is not None}))
    shown = ", ".join(sorted(seen))[:800] or "-"
    raise Conflict(
        f"Change {change} cannot be taken back: its features were changed later, by change {changes} (features {shown}); take those back first.",
        zh=f"无法撤销变更 {change}：其要素后来又被变更 {changes} 修改（要素 {shown}），请先撤销后者。",
    )
