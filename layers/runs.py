"""Analysis runs: each result says which run it came from, and each run which parameters, data and software it used."""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gis.errors import NotFound
from layers.access import SYSTEM, Principal
from layers.database import Database

__all__ = ["Run", "latest_run", "run", "software"]


@dataclass
class Run:
    """A run under way. What is put into ``summary`` is kept with it."""

    id: uuid.UUID
    kind: str
    synthetic: bool
    summary: dict[str, Any] = field(default_factory=dict)


def software() -> str:
    """Name and version of this software, as kept with each run."""
    return f"baige {version('baige')}"


def _inputs(connection: Connection, layers: Iterable[str]) -> tuple[dict[str, Any], bool]:
    found: dict[str, Any] = {}
    synthetic = False
    for layer in layers:
        counter = connection.execute(
            sa.text("SELECT change_counter FROM baige_sys.layer WHERE name = :name"), {"name": layer}
        ).scalar()
        if counter is None:
            raise NotFound(f"There is no layer {layer!r}.", zh=f"没有图层 {layer!r}。")
        count, made_up = connection.exec_driver_sql(
            f'SELECT count(*), coalesce(bool_or(synthetic), false) FROM baige."{layer}"'
        ).one()
        found[layer] = {"change_counter": counter, "features": count}
        synthetic = synthetic or bool(made_up)
    return found, synthetic


@contextmanager
def run(
    database: Database,
    *,
    kind: str,
    parameters: Mapping[str, Any],
    layers: Iterable[str],
    principal: Principal = SYSTEM,
    scenario: str = "current",
    title: str | None = None,
) -> Iterator[Run]:
    """Note the beginning and the end of an analysis.

    Parameters
    ----------
    kind : str
        ``coverage``, ``gaps``, ``layout-check`` …
    parameters : mapping
        What the analysis was asked for; JSON-able.
    layers : iterable of str
        Layers that are read; their change counters and whether they hold synthetic data are kept.

    Notes
    -----
    When the block fails, the run is marked ``failed`` (or ``cancelled``) and the error goes on.
    """
    from gis.errors import Cancelled

    with database.begin(principal if principal.role == "owner" else SYSTEM) as connection:
        inputs, synthetic = _inputs(connection, layers)
        started = Run(uuid.uuid4(), kind, synthetic)
        connection.execute(
            sa.text(
                "INSERT INTO baige_sys.run (id, kind, title, scenario, parameters, inputs, software, actor, synthetic)"
                " VALUES (:id, :kind, :title, :scenario, cast(:parameters AS jsonb), cast(:inputs AS jsonb), :software, :actor, :synthetic)"
            ),
            {
                "id": started.id,
                "kind": kind,
                "title": title,
                "scenario": scenario,
                "parameters": json.dumps(dict(parameters), ensure_ascii=False, default=str),
                "inputs": json.dumps(inputs),
                "software": software(),
                "actor": principal.key_id or principal.role,
                "synthetic": synthetic,
            },
        )
    state = "failed"
    try:
        yield started
        state = "done"
    except Cancelled:
        state = "cancelled"
        raise
    finally:
        with database.begin() as connection:
            connection.execute(
                sa.text(
                    "UPDATE baige_sys.run SET state = :state, finished_at = clock_timestamp(), summary = cast(:summary AS jsonb)"
                    " WHERE id = :id"
                ),
                {
                    "state": state,
                    "summary": json.dumps(started.summary, ensure_ascii=False, default=str),
                    "id": started.id,
                },
            )


def latest_run(connection: Connection, kind: str, *, scenario: str = "current") -> uuid.UUID | None:
    """Id of the newest finished run of a kind, or None."""
    found = connection.execute(
        sa.text(
            "SELECT id FROM baige_sys.run WHERE kind = :kind AND scenario = :scenario AND state = 'done'"
            " ORDER BY finished_at DESC LIMIT 1"
        ),
        {"kind": kind, "scenario": scenario},
    ).scalar_one_or_none()
    return None if found is None else uuid.UUID(str(found))
