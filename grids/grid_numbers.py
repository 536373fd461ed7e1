"""Codes of unit grid cells: who has a good one keeps it, others get the next number of their community; what is given up is void for good."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gis.errors import InputError
from gis.gridcodes import assign_codes
from gis.settings import CityConfig
from grids.layout import containers_of
from layers.access import SYSTEM, Principal
from layers.changes import change_set
from layers.database import Database
from layers.frames import read_frame
from layers.registry import catalogue
from layers.runs import run

__all__ = ["Numbered", "Renumbering", "number_cells"]

_IN_USE = (
    "coalesce(grid_kind, 'unit') IN ('unit', 'dedicated') AND coalesce(code_status, 'valid') = 'valid'"
    " AND (valid_to IS NULL OR valid_to > current_date)"
)


@dataclass(frozen=True)
class Numbered:
    """A cell that gets another code."""

    id: str
    before: str
    code: str
    community: str


@dataclass(frozen=True)
class Renumbering:
    """Outcome of `number_cells`.

    Attributes
    ----------
    run_id : str or None
        None where nothing was written.
    cells : int
        How many were looked at.
    given : tuple of Numbered
        In the order of their new codes.
    retired : tuple of str
        Codes that are void from now on.
    outside : tuple of str
        Codes of cells that lie in no community; they keep what they have.
    """

    run_id: str | None
    cells: int
    given: tuple[Numbered, ...]
    retired: tuple[str, ...]
    outside: tuple[str, ...]


def number_cells(
    database: Database,
    city: CityConfig,
    *,
    communities: Sequence[str] = (),
    anew: bool = False,
    dry_run: bool = False,
    principal: Principal = SYSTEM,
) -> Renumbering:
    """Give unit and dedicated grid cells 15-digit codes: the community's 12 digits and a number.

    A cell keeps a code that begins with its community's. Others (a wrong beginning, a void code) get the next numbers above the highest ever
    used there, west to east, then north to south. Each code given up stays in the layer as a row of its own, status void, with the outline that
    it had, so that it is never given again.

    Parameters
    ----------
    communities : sequence of str
        12-digit codes; only cells in these. All without it.
    anew : bool
        Number all cells of the communities named anew, in the standard's order.
    dry_run : bool
        Only say what would be.

    Raises
    ------
    InputError
        ``anew`` without communities; a community that is not there.
    Conflict
        A community has no number left.
    """
    if anew and not communities:
        raise InputError(
            "Name the communities whose cells are to be numbered anew.", zh="重新编号须指明社区，以免全市编码作废。"
        )
    with database.begin(readonly=True, snapshot=True) as connection:
        plan = _planned(connection, city, tuple(communities), anew=anew)
    if dry_run or not plan.given:
        return plan
    parameters = {"communities": list(communities), "anew": anew}
    layers = ("grid_cell", "community")
    with run(database, kind="grid-numbers", parameters=parameters, layers=layers, principal=principal) as current:
        with database.begin() as connection:
            connection.exec_driver_sql("LOCK TABLE baige.grid_cell IN SHARE ROW EXCLUSIVE MODE")  # nobody takes a number meanwhile
            plan = _planned(connection, city, tuple(communities), anew=anew)
            _write(connection, plan, str(current.id))
        current.summary.update(
            {"cells": plan.cells, "given": len(plan.given), "retired": list(plan.retired), "outside": list(plan.outside)}
        )
    return Renumbering(str(current.id), plan.cells, plan.given, plan.retired, plan.outside)


def _planned(connection: Connection, city: CityConfig, wanted: tuple[str, ...], *, anew: bool) -> Renumbering:
    srid = city.analysis_srid
    homes = read_frame(connection, "community", columns=["admin_code"], srid=srid)
    known = homes["admin_code"].astype(str).to_numpy(dtype=object)
    missing = sorted(set(wanted) - set(known))
    if missing:
        raise InputError(f"There is no community {', '.join(missing)}.", zh=f"没有社区 {'、'.join(missing)}。")
    cells = read_frame(connection, "grid_cell", columns=["grid_code"], srid=srid, where=sa.text(_IN_USE))
    shapes, codes = cells.geometry.to_numpy(), cells["grid_code"].astype(str).to_numpy(dtype=object)
    owner = containers_of(shapes, homes.geometry.to_numpy())
    inside = owner >= 0
    mine = inside & np.isin(known[owner], wanted) if wanted else inside
    every = connection.exec_driver_sql("SELECT grid_code FROM baige.grid_cell WHERE grid_code IS NOT NULL").scalars()
    here = set(codes[mine].tolist())
    void = {str(code) for code in every} - here  # of others too: neither is free
    rows = np.flatnonzero(mine)
    prefix = [str(known[k]) for k in owner[rows]]
    plan = assign_codes(
        prefix, shapely.get_coordinates(shapely.point_on_surface(shapes[rows])), present=[None] * len(rows) if anew else codes[rows].tolist(),
        former=sorted(here), void=void,
    )  # fmt: skip
    ids = cells["id"].astype(str).to_numpy(dtype=object)[rows]
    given = [
        Numbered(str(ids[k]), str(codes[rows[k]]), plan.codes[k], prefix[k]) for k in plan.fresh if plan.codes[k] != codes[rows[k]]
    ]
    return Renumbering(
        None, len(rows), tuple(sorted(given, key=lambda cell: cell.code)), plan.retired, tuple(sorted(codes[~inside].tolist()))
    )


def _write(connection: Connection, plan: Renumbering, note: str) -> None:
    layer = catalogue(connection)["grid_cell"]
    own = {"grid_code": ":before", "code_status": "'void'", "valid_to": "current_date", "source_ref": "NULL", "change_id": ":change"}
    names = [f.name for f in layer.all_fields if f.name not in {*own, "id", "changed_at", "geom", "geometry"}]
    listed = ", ".join(f'"{name}"' for name in [*names, "geom", *own])
    values = ", ".join([*(f'"{name}"' for name in names), "geom", *own.values()])
    moves: list[dict[str, Any]] = [{"id": cell.id, "before": cell.before, "code": cell.code, "home": cell.community} for cell in plan.given]
    retired = set(plan.retired)
    with change_set(connection, layer="grid_cell", action="update", note=note) as change:
        connection.execute(sa.text("UPDATE baige.grid_cell SET grid_code = :code, admin_code = :home WHERE id = :id"), moves)
        voids = [{**move, "change": change.id} for move in moves if move["before"] in retired]
        connection.execute(
            sa.text(f"INSERT INTO baige.grid_cell ({listed}) SELECT {values} FROM baige.grid_cell WHERE id = :id"), voids
        )
        change.count_inserted(len(voids))
