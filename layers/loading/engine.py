"""A load from beginning to end, in one transaction: a killed or failed one leaves the layer as it was."""

import contextlib
import datetime as dt
import itertools
import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gis.errors import InputError, LimitExceeded
from gis.settings import CityConfig
from layers.access import SYSTEM, Principal
from layers.changes import change_set
from layers.database import Database
from layers.loading.chunks import Chunk, Source, ahead
from layers.loading.identifiers import new_ids
from layers.loading.options import LoadOptions
from layers.loading.planning import make_plan, own_references, self_referring
from layers.loading.preparing import Duplicates, Plan, Prepared, Rejected, prepare, raw_row
from layers.loading.reasons import REASONS, Fault
from layers.loading.report import LoadReport
from layers.loading.storing import (
    Merged,
    Target,
    claim_empty,
    copy_direct,
    copy_staged,
    lacking_fields,
    lock_layer,
    merge,
    open_target,
)
from layers.models import layer_srid
from layers.registry import declaration_of, storage_srid

__all__ = ["load_source"]

log = logging.getLogger(__name__)

#: Rows from which a load into an empty layer builds the indexes afterwards.
_DIRECT_MIN = 50_000

Progress = Callable[[int], None]


class _TakenBack(Exception):
    """Ends the transaction of a dry run."""


def load_source(
    database: Database,
    layer: str,
    source: Source,
    *,
    file_name: str,
    options: LoadOptions,
    city: CityConfig,
    principal: Principal = SYSTEM,
    file_sha256: str | None = None,
    trusted: bool = False,
    progress: Progress | None = None,
) -> LoadReport:
    """Load an open source into a layer.

    Parameters
    ----------
    progress : callable, optional
        Called with the number of rows read so far.

    Returns
    -------
    LoadReport

    Raises
    ------
    InputError
        The file as a whole cannot be used, or ``on_error`` is ``abort`` and a row has a fault.
    LimitExceeded
        More rows with faults than may go to the quarantine.
    Forbidden, Conflict, DatabaseUnavailable, DatabaseTimeout, BackendError
        From the database; the layer is as it was.
    """
    started = time.monotonic()
    report = LoadReport(
        layer,
        file_name,
        source.format,
        dry_run=options.dry_run,
        started_at=dt.datetime.now(dt.UTC),
        load_id=uuid.uuid4(),
    )
    report.notes += source.notes
    with contextlib.suppress(_TakenBack), database.begin(principal) as connection:
        _load(connection, layer, source, report, options, city, principal, trusted, progress)
        report.notes += [note for note in source.notes if note not in report.notes]
        report.elapsed_s = time.monotonic() - started
        _record(connection, report, principal, file_sha256)
        if options.dry_run:
            raise _TakenBack
    report.elapsed_s = time.monotonic() - started
    return report


def _load(
    connection: Connection,
    layer: str,
    source: Source,
    report: LoadReport,
    options: LoadOptions,
    city: CityConfig,
    principal: Principal,
    trusted: bool,
    progress: Progress | None,
) -> None:
    declaration = declaration_of(connection, layer)
    lock_layer(connection, layer)
    chunks = source.chunks()
    first = next(chunks, None)
    srid = layer_srid(declaration, storage_srid(connection))
    plan = make_plan(
        connection, declaration, source, first, srid=srid, options=options, city=city, report=report, trusted=trusted
    )
    target = open_target(connection, declaration)
    every: Iterator[Chunk] = itertools.chain([first] if first is not None else [], chunks)
    if self_referring(plan):
        held = [replace(chunk, ids=new_ids(len(chunk))) for chunk in every]
        own_references(plan, held)
        every = iter(held)
    rejected: list[Rejected] = []
    batches = _batches(plan, every, report, rejected, options, progress)
    names = _stored(plan, source)
    with change_set(connection, layer=layer, action="load", note=options.note or report.file_name) as change:
        report.change_id = change.id
        if _may_go_direct(connection, target, plan, source, names, principal):
            report.inserted = copy_direct(connection, target, names, batches)
        else:
            staging, _count = copy_staged(connection, target, names, batches)
            keys = [key for key in declaration.update_keys if all(part in names for part in key)]
            if plan.id_column is not None:
                keys.insert(0, ("_id",))
            merged = merge(connection, target, staging, names, keys=keys)
            report.inserted, report.updated, report.unchanged = merged.inserted, merged.updated, merged.unchanged
            missing = lacking_fields(target, names)
            for row in _refused(plan, source, merged, missing):
                _reject(row, report, rejected, options)
        if report.inserted:
            change.count_inserted(report.inserted)
    _as_owner(connection, principal, lambda: _quarantine(connection, report, rejected))


def _stored(plan: Plan, source: Source) -> list[str]:
    """Fields that the load writes."""
    names = [declared.name for _header, declared in plan.columns]
    if plan.frame is not None and (plan.place_headers or source.has_geometry):
        names += ["geom", "geom_repaired"]
    return names + [name for name in plan.constants if name not in names]


def _may_go_direct(
    connection: Connection, target: Target, plan: Plan, source: Source, names: list[str], principal: Principal
) -> bool:
    if principal.role != "owner" or (source.count or 0) < _DIRECT_MIN or self_referring(plan):
        return False
    if lacking_fields(target, names) or (target.declaration.has_geometry and "geom" not in names):
        return False
    return claim_empty(connection, target)


def _batches(
    plan: Plan,
    chunks: Iterator[Chunk],
    report: LoadReport,
    rejected: list[Rejected],
    options: LoadOptions,
    progress: Progress | None,
) -> Iterator[dict[str, pa.Array]]:
    """Prepared columns of all chunks, read ahead in a thread; the report counts along."""
    duplicates = Duplicates()
    repaired: set[int] = set()
    for chunk in ahead(lambda: chunks):
        done: Prepared = prepare(plan, chunk, duplicates)
        report.rows += done.total
        report.dropped_z += done.dropped_z
        report.promoted += done.promoted
        report.measured += done.measured
        report.blanked_nan += done.blanked_nan
        report.repaired += len(done.repaired_rows)
        repaired.update(done.repaired_rows)
        report.repaired_rows = sorted(repaired)[:1000]
        for header, rows in done.personal.items():
            report.blanked.setdefault(header, []).extend(rows)
        for row in done.rejected:
            _reject(row, report, rejected, options)
        if progress is not None:
            progress(report.rows)
        yield done.columns


def _reject(row: Rejected, report: LoadReport, rejected: list[Rejected], options: LoadOptions) -> None:
    report.reject(row)
    rejected.append(row)
    if options.on_error == "abort":
        raise InputError(
            f"Nothing was loaded: {row.faults[0].text('en')}.",
            zh=f"未导入任何数据：{row.faults[0].text('zh')}。",
        )
    if len(rejected) > options.quarantine_max:
        code, count = report.reasons.most_common(1)[0]
        reason = REASONS[code]
        raise LimitExceeded(
            f"Nothing was loaded: more than {options.quarantine_max} rows have faults, {count} of them: {reason.en}. "
            "Is the file what it is taken for?",
            zh=f"未导入任何数据：超过 {options.quarantine_max} 行有错误，其中 {count} 行：{reason.zh}。请检查文件和选项。",
        )


def _refused(plan: Plan, source: Source, merged: Merged, missing: list[str]) -> Iterator[Rejected]:
    """Rows that the merge refused, read again from the source so that the quarantine shows them as they came."""
    if not merged.refused:
        return
    for chunk in source.chunks():
        for index, number in enumerate(chunk.rows.tolist()):
            code = merged.refused.get(number)
            if code is not None:
                raw, wkb = raw_row(plan, chunk, index)
                about = missing if code == "missing" else [""]
                yield Rejected(number, [Fault(number, name, name, None, REASONS[code]) for name in about], raw, wkb)


def _as_owner(connection: Connection, principal: Principal, act: Callable[[], None]) -> None:
    """Write the platform's own records, which no role may write itself, and return to the principal's role."""
    if principal.role == "owner":
        act()
        return
    role = connection.execute(sa.text("SELECT current_setting('role')")).scalar_one()
    connection.execute(sa.text("SELECT set_config('role', 'none', true)"))
    act()
    connection.execute(sa.text("SELECT set_config('role', :role, true)"), {"role": role})


def _quarantine(connection: Connection, report: LoadReport, rejected: list[Rejected]) -> None:
    connection.execute(
        sa.text(
            "INSERT INTO baige_sys.load_run (id, layer, file_name, actor, started_at) VALUES (:id, :layer, :file, '', :at)"
        ),
        {"id": report.load_id, "layer": report.layer, "file": report.file_name, "at": report.started_at},
    )
    if not rejected:
        return
    statement = "COPY baige_sys.quarantine (load_id, layer, row_number, faults, row, wkb) FROM STDIN"
    driver = Database.driver_connection(connection)
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        for row in sorted(rejected, key=lambda r: r.row):
            faults = json.dumps([fault.as_json() for fault in row.faults], ensure_ascii=False)
            raw = json.dumps(row.raw, ensure_ascii=False)
            copy.write_row((report.load_id, report.layer, row.row, _plain_json(faults), _plain_json(raw), row.wkb))


def _plain_json(text: str) -> str:
    """JSON without the one character that the database's JSON cannot hold."""
    return text.replace("\\u0000", "")


def _record(connection: Connection, report: LoadReport, principal: Principal, file_sha256: str | None) -> None:
    """Complete the load's own row."""

    def write() -> None:
        connection.execute(
            sa.text(
                "UPDATE baige_sys.load_run SET file_sha256 = :sha, file_format = :format, src_crs = :crs, actor = :actor, change_id = :change,"
                " finished_at = clock_timestamp(), report = cast(:report AS jsonb) WHERE id = :id"
            ),
            {
                "id": report.load_id,
                "sha": file_sha256,
                "format": report.file_format,
                "crs": report.src_crs,
                "actor": principal.key_id or principal.role,
                "change": report.change_id,
                "report": _plain_json(json.dumps(report.as_json(), ensure_ascii=False)),
            },
        )

    _as_owner(connection, principal, write)
