"""Past states: what a layer held at a moment, and what became of one feature."""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from layers.declaration import LayerDeclaration

__all__ = ["feature_versions", "state_at"]


def _columns(declaration: LayerDeclaration) -> str:
    names = ["id", *(field.name for field in declaration.all_fields), *(["geom"] if declaration.has_geometry else [])]
    return ", ".join(f'"{name}"' for name in [*names, "changed_at", "change_id"])


def state_at(declaration: LayerDeclaration, moment: datetime) -> sa.TextClause:
    """A query for the features of a layer as they were at ``moment`` (transaction time), all declared columns, ``id`` and ``geom``.

    Use it as a sub-query; access rules of the running role apply to the present and to the past versions.
    """
    columns = _columns(declaration)
    name = declaration.name
    return sa.text(
        f'SELECT {columns} FROM baige."{name}" WHERE changed_at <= :moment'
        f' UNION ALL SELECT {columns} FROM baige_history."{name}" WHERE changed_at <= :moment AND replaced_at > :moment'
    ).bindparams(moment=moment)


def feature_versions(connection: Connection, declaration: LayerDeclaration, feature_id: UUID) -> list[dict[str, Any]]:
    """All versions of one feature, oldest first: its columns, when it came (``changed_at``), when and how it was replaced.

    ``replaced_op`` is ``U`` (updated), ``D`` (deleted) or None for the present version.
    """
    columns = _columns(declaration)
    name = declaration.name
    rows = connection.execute(
        sa.text(
            f'SELECT {columns}, replaced_at, replaced_by, replaced_op FROM baige_history."{name}" WHERE id = :id'
            f' UNION ALL SELECT {columns}, NULL, NULL, NULL FROM baige."{name}" WHERE id = :id'
            " ORDER BY replaced_at NULLS LAST"
        ),
        {"id": feature_id},
    )
    return [dict(row) for row in rows.mappings()]
