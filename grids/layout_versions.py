"""The layouts side by side: which there are, in which versions, and making a draft the current one."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID, uuid4

import geopandas as gpd
import pandas as pd
import sqlalchemy as sa

from gis.errors import Conflict, DataError, InputError
from gis.settings import CityConfig
from grids.layout import LAYOUT_LAYERS, LEVELS, read_layout
from grids.layout_check import LayoutReport, Step, check_layout
from grids.layout_codes import continued, renumbered
from layers.access import SYSTEM, Principal
from layers.changes import change_set
from layers.database import Database
from layers.loading.bulk import load_frame
from layers.runs import run

__all__ = ["Adopted", "LayoutVersion", "adopt_layout", "list_layouts", "remove_draft"]


@dataclass(frozen=True)
class LayoutVersion:
    """A version of a layout. ``holds`` is by its latest check (None: not checked), ``newest`` the version that counts."""

    layout: str
    version: int
    newest: bool
    rings: int
    zones: int
    grids: int
    points: int
    pinned: int
    until: date | None
    changed_at: datetime
    holds: bool | None
    errors: int | None
    warnings: int | None
    checked_at: datetime | None


@dataclass(frozen=True)
class Adopted:
    """A draft that became the current layout, in which version, and what became of the codes."""

    run_id: UUID
    draft: str
    version: int
    kept: int
    new: int
    retired: tuple[str, ...]
    check: LayoutReport


def list_layouts(database: Database, *, principal: Principal = SYSTEM) -> tuple[LayoutVersion, ...]:
    """All versions of all layouts that the principal may read: the current one first, then drafts by name, the newest version first."""
    with database.begin(principal, readonly=True) as connection:
        rows = connection.execute(
            sa.text(
                "SELECT layout, coalesce(version, 1) AS version, count(*) FILTER (WHERE level = 'ring') AS rings,"
                " count(*) FILTER (WHERE level = 'zone') AS zones, count(*) FILTER (WHERE level = 'grid') AS grids,"
                " count(*) FILTER (WHERE level = 'point') AS points, count(*) FILTER (WHERE pinned) AS pinned, max(valid_to) AS until,"
                " max(changed_at) AS changed_at FROM baige.layout_unit GROUP BY 1, 2 ORDER BY layout <> 'current', layout, 2 DESC"
            )
        ).mappings().all()  # fmt: skip
    with database.begin(readonly=True) as connection:
        checks = connection.execute(
            sa.text(
                "SELECT DISTINCT ON (1, 2) summary->>'layout', (summary->>'version')::int, summary->'severity', summary->>'holds', finished_at"
                " FROM baige_sys.run WHERE kind = 'layout-check' AND summary ? 'holds' ORDER BY 1, 2, finished_at DESC"
            )
        ).all()
    known = {(row[0], row[1]): row for row in checks}
    newest: dict[str, int] = {}
    for row in rows:
        newest[row["layout"]] = max(newest.get(row["layout"], 0), row["version"])
    found = []
    for row in rows:
        check = known.get((row["layout"], row["version"]))
        severity = check[2] or {} if check else {}
        found.append(
            LayoutVersion(
                **dict(row), newest=row["version"] == newest[row["layout"]], holds=check[3] == "true" if check else None,
                errors=int(severity.get("error", 0)) if check else None, warnings=int(severity.get("warning", 0)) if check else None,
                checked_at=check[4] if check else None,
            )
        )  # fmt: skip
    return tuple(found)


def adopt_layout(
    database: Database,
    city: CityConfig,
    draft: str,
    *,
    anyway: bool = False,
    principal: Principal = SYSTEM,
    progress: Step | None = None,
) -> Adopted:
    """Make the newest version of a draft the next version of the current layout.

    The draft stays as it is. The version before ends today and stays on record. A unit that is mostly the same as one of the current layout
    gets its code; others get numbers that were never used; codes that nobody keeps are retired, and named in the run.

    Parameters
    ----------
    anyway : bool
        Adopt it though its check finds errors.

    Raises
    ------
    NotFound
        There is no such draft.
    InputError
        It is the current layout itself.
    Conflict
        Its ring, zones, grids or points have errors.
    """
    if draft == "current":
        raise InputError("The current layout is the one in force.", zh="现行布局已在使用。")
    tell = progress or (lambda _en, _zh, _done, _total: None)
    tell("checking", "检查", 0, 3)
    checked = check_layout(database, city, layout=draft, principal=principal)
    if not checked.plan_holds and not anyway:
        wrong = [fault for fault in checked.faults if fault.severity == "error" and fault.level is not None]
        raise Conflict(
            f"{draft} does not hold: {len(wrong)} errors, the first: {wrong[0].text_en}",
            zh=f"{draft} 不成立：{len(wrong)} 个错误，第一个：{wrong[0].text_zh}",
        )
    tell("adopting", "采用", 1, 3)
    with run(
        database,
        kind="layout-adopt",
        parameters={"draft": draft, "anyway": anyway},
        layers=LAYOUT_LAYERS,
        principal=principal,
    ) as current:
        with database.begin(readonly=True, snapshot=True) as connection:
            new = _whole(read_layout(connection, draft, srid=city.storage_srid))
            exists = connection.execute(
                sa.text("SELECT max(coalesce(version, 1)) FROM baige.layout_unit WHERE layout = 'current'")
            ).scalar()
            old = _whole(read_layout(connection, "current", srid=city.storage_srid)) if exists else None
            ever = [
                str(c)
                for c in connection.execute(
                    sa.text("SELECT DISTINCT code FROM baige.layout_unit WHERE layout = 'current'")
                ).scalars()
            ]
        version = int(exists or 0) + 1
        same = continued(old, new) if old is not None else None
        codes, retired = renumbered(new, old, ever)
        new["code"] = codes
        if same is not None and old is not None:
            names = old["name_zh"].to_numpy(dtype=object)
            new["name_zh"] = [names[k] if k >= 0 else code for k, code in zip(same, codes, strict=True)]
            new["pinned"] = [
                bool(p) or (k >= 0 and bool(old["pinned"].iloc[k]))
                for k, p in zip(same, new["pinned"].fillna(False), strict=True)
            ]
        ids = {str(key): str(uuid4()) for key in new["id"]}
        new["parent_id"] = [ids.get(str(key)) for key in new["parent_id"]]
        new["id"] = [ids[str(key)] for key in new["id"]]
        for level in LEVELS:
            part = new[new["level"] == level].assign(layout="current", version=version)
            report = load_frame(database, "layout_unit", part, synthetic=current.synthetic, trusted=True, allow_outside=True, city=city,
                                note=str(current.id))  # fmt: skip
            if report.quarantined:
                raise DataError(
                    f"{report.quarantined} units of level {level} were refused.",
                    zh=f"层级 {level} 有 {report.quarantined} 个单元被拒绝。",
                )
        with (
            database.begin() as connection,
            change_set(connection, layer="layout_unit", action="update", note=str(current.id)),
        ):
            connection.execute(
                sa.text(
                    "UPDATE baige.layout_unit SET valid_to = current_date WHERE layout = 'current' AND coalesce(version, 1) < :version"
                    " AND (valid_to IS NULL OR valid_to > current_date)"
                ),
                {"version": version},
            )
        tell("checking", "检查", 2, 3)
        after = check_layout(database, city, layout="current", principal=principal)
        kept = 0 if old is None else len(set(codes) & set(old["code"].astype(str)))
        current.summary.update(
            {"draft": draft, "version": version, "kept": kept, "new": len(codes) - kept, "retired": retired}
        )
    tell("done", "完成", 3, 3)
    return Adopted(current.id, draft, version, kept, len(codes) - kept, tuple(retired), after)


def remove_draft(database: Database, draft: str, *, principal: Principal = SYSTEM) -> int:
    """Remove all versions of a draft with the faults found in it; its history stays. Says how many units there were.

    Raises
    ------
    InputError
        It is the current layout, or there is none of that name.
    """
    if draft == "current":
        raise InputError("The current layout is not removed.", zh="现行布局不可删除。")
    with (
        database.begin(principal) as connection,
        change_set(connection, layer="layout_unit", action="delete", note=f"draft {draft}"),
    ):
        gone = 0
        for level in reversed(LEVELS):
            done = connection.execute(
                sa.text("DELETE FROM baige.layout_unit WHERE layout = :draft AND level = :level"),
                {"draft": draft, "level": level},
            )
            gone += done.rowcount
    if not gone:
        raise InputError(f"There is no draft {draft!r}.", zh=f"没有草案“{draft}”。")
    with (
        database.begin() as connection,
        change_set(connection, layer="layout_fault", action="delete", note=f"draft {draft}"),
    ):
        connection.execute(sa.text("DELETE FROM baige.layout_fault WHERE layout = :draft"), {"draft": draft})
    return gone


def _whole(data: Any) -> gpd.GeoDataFrame:
    """All units of a layout in one frame, without their history columns."""
    frames = [data.ring, data.zones, data.grids, data.points]
    return gpd.GeoDataFrame(pd.concat(frames, ignore_index=True), geometry="geom", crs=data.cells.crs)
