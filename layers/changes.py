"""Change sets: every change of a layer belongs to one, and says who made it, when, in what role and why."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from layers.database import driver_errors

__all__ = ["ChangeSet", "change_set"]


@dataclass(frozen=True)
class ChangeSet:
    """An open change set; ``id`` stands in ``change_id`` of each row it wrote."""

    connection: Connection
    id: int

    def count_inserted(self, inserted: int) -> None:
        """Note how many features were inserted; updates and deletions count themselves."""
        self.connection.execute(sa.text("SELECT baige_sys.count_inserted(:n)"), {"n": inserted})


@contextmanager
def change_set(connection: Connection, *, layer: str, action: str, note: str | None = None) -> Iterator[ChangeSet]:
    """Open a change set for what is written to ``layer`` in this block of a transaction.

    Triggers write the history and raise the layer's change counter; nothing written bypasses them, this only adds the why.

    Parameters
    ----------
    action : str
        A short word: ``load``, ``create``, ``update``, ``delete``, ``undo``, ``run``.
    note : str, optional
        File name, run id or reason.
    """
    with driver_errors():
        row = connection.execute(
            sa.text("SELECT baige_sys.begin_change(:layer, :action, :note)"),
            {"layer": layer, "action": action, "note": note},
        )
        change = ChangeSet(connection, int(row.scalar_one()))
        yield change
        connection.execute(sa.text("SELECT set_config('baige.change_id', '', true)"))
