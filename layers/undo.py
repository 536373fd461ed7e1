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


#: Features that a change touched and that a later one touched again, with the later one's number.
_LATER = """
SELECT DISTINCT x.id, x.by FROM (
    SELECT h.id, coalesce(later.replaced_by, t.change_id) AS by FROM baige_history."{layer}" AS h
    LEFT JOIN baige."{layer}" AS t ON t.id = h.id
    LEFT JOIN LATERAL (SELECT l.replaced_by FROM baige_history."{layer}" AS l
                       WHERE l.id = h.id AND l.replaced_by IS DISTINCT FROM :change AND l.change_id = :change LIMIT 1) AS later ON true
    WHERE h.replaced_by = :change AND h.replaced_op = 'U' AND t.change_id IS DISTINCT FROM :change
      AND NOT EXISTS (SELECT 1 FROM baige_history."{layer}" AS d WHERE d.id = h.id AND d.replaced_by = :change AND d.replaced_op = 'D')
    UNION ALL
    SELECT h.id, t.change_id FROM baige_history."{layer}" AS h JOIN baige."{layer}" AS t ON t.id = h.id
    WHERE h.replaced_by = :change AND h.replaced_op = 'D'
    UNION ALL
    SELECT h.id, h.replaced_by FROM baige_history."{layer}" AS h
    WHERE h.change_id = :change AND h.replaced_by IS DISTINCT FROM :change
      AND NOT EXISTS (SELECT 1 FROM baige_history."{layer}" AS o WHERE o.id = h.id AND o.replaced_by = :change)
) AS x ORDER BY x.by NULLS LAST, x.id LIMIT {most}
"""
#: The version of each feature that the change found.
_FOUND = """SELECT h.* FROM baige_history."{layer}" AS h WHERE h.replaced_by = :change AND h.change_id IS DISTINCT FROM :change"""
_COUNTS = """
SELECT (SELECT count(*) FROM ({found}) AS h JOIN baige."{layer}" AS t ON t.id = h.id),
       (SELECT count(*) FROM ({found}) AS h WHERE NOT EXISTS (SELECT 1 FROM baige."{layer}" AS t WHERE t.id = h.id)),
       (SELECT count(*) FROM baige."{layer}" AS t WHERE t.change_id = :change AND NOT EXISTS (
           SELECT 1 FROM baige_history."{layer}" AS h WHERE h.id = t.id AND h.replaced_by = :change))
"""


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


def undo(database: Database, change: int, *, principal: Principal = SYSTEM, note: str | None = None) -> Undone:
    """Take change set ``change`` back.

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
    with database.begin() as connection:
        declaration = _layer_of(connection, change)
        layer, values = declaration.name, {"change": change}
        connection.execute(sa.text(f'LOCK TABLE baige."{layer}" IN SHARE ROW EXCLUSIVE MODE'))
        later = connection.execute(sa.text(_LATER.format(layer=layer, most=_NAMED_MOST)), values).fetchall()
        found = _FOUND.format(layer=layer)
        restored, brought_back, removed = connection.execute(sa.text(_COUNTS.format(layer=layer, found=found)), values).one()
        become(connection, principal)
        if later:
            _refuse(connection, layer, change, [(str(i), by) for i, by in later], principal)
        if not restored + brought_back + removed:
            raise Conflict(f"Change {change} left nothing to take back.", zh=f"变更 {change} 没有可撤销的内容。")
        columns = _columns(declaration)
        with change_set(connection, layer=layer, action="undo", note=note or f"undo of change {change}") as made:
            gone = connection.execute(
                sa.text(
                    f'DELETE FROM baige."{layer}" AS t WHERE t.change_id = :change AND NOT EXISTS ('
                    f'SELECT 1 FROM baige_history."{layer}" AS h WHERE h.id = t.id AND h.replaced_by = :change)'
                ),
                values,
            ).rowcount
            listed, taken = ", ".join(columns), ", ".join(f"h.{c}" for c in columns)
            history = f'baige_history."{layer}"'
            back = connection.execute(
                sa.text(
                    f'INSERT INTO baige."{layer}" (id, {listed}) SELECT h.id, {taken} FROM ({found}) AS h WHERE EXISTS ('
                    f"SELECT 1 FROM {history} AS d WHERE d.id = h.id AND d.replaced_by = :change AND d.replaced_op = 'D')"
                ),
                values,
            ).rowcount
            made.count_inserted(back)
            again = connection.execute(
                sa.text(
                    f'UPDATE baige."{layer}" AS t SET {", ".join(f"{c} = h.{c}" for c in columns)} FROM ({found}) AS h'
                    " WHERE t.id = h.id AND t.change_id = :change"
                ),
                values,
            ).rowcount
            if (again, back, gone) != (restored, brought_back, removed):
                raise Forbidden(
                    f"Change {change} touched features that this role may not change; nothing was taken back.",
                    zh=f"变更 {change} 涉及当前角色无权修改的要素，未作任何撤销。",
                )
        return Undone(made.id, layer, again, back, gone)


def become(connection: Connection, principal: Principal) -> None:
    """Go on in this transaction under ``principal``."""
    from layers.database import principal_settings

    sql, values = principal_settings(principal)
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
