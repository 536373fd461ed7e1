"""A chunk of a file to rows ready for the database: columns read and checked by the declaration, places transformed, faults by row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from layers.declaration import FieldDeclaration, LayerDeclaration
from layers.loading.arrays import (
    Mask,
    constant,
    mask_array,
    mask_of,
    number_array,
    numbers_of,
    text_array,
    values_array,
    without,
)
from layers.loading.chunks import Chunk
from layers.loading.converting import Converted, as_text, convert
from layers.loading.identifiers import new_ids, uuid_bytes
from layers.loading.personal import is_free_text, personal_values
from layers.loading.places import Frame, Points, Shapes, place, read_wkb
from layers.loading.reasons import REASONS, Fault, shorten
from layers.loading.references import References
from layers.loading.rules import check, expectation

__all__ = ["Duplicates", "Plan", "Prepared", "Rejected", "prepare", "raw_row"]


@dataclass(frozen=True)
class Plan:
    """How the columns of a source become a layer's fields.

    Attributes
    ----------
    columns : tuple of (header, field)
        The columns used.
    frame : Frame, optional
        Where places come from and go; None where the layer or the file has none.
    lon, lat, wkt : str, optional
        Headers of the columns that hold the position, where it is not in the geometry itself.
    constants : mapping
        Fields that have one value for the whole load.
    references : mapping
        Of each ``ref`` field, whom its values may mean.
    id_column : str, optional
        Column whose identifiers are kept.
    trusted : bool
        Columns that already have their field's type are not checked again for length, pattern, limits and personal values.
    """

    declaration: LayerDeclaration
    columns: tuple[tuple[str, FieldDeclaration], ...]
    frame: Frame | None
    lon: str | None = None
    lat: str | None = None
    wkt: str | None = None
    constants: Mapping[str, Any] = field(default_factory=dict)
    references: Mapping[str, References] = field(default_factory=dict)
    id_column: str | None = None
    trusted: bool = False

    @property
    def place_headers(self) -> tuple[str, ...]:
        """Headers of the columns that hold the position."""
        return tuple(header for header in (self.lon, self.lat, self.wkt) if header)


@dataclass
class Rejected:
    """A row for the quarantine: what is wrong with it, and the row itself without personal columns."""

    row: int
    faults: list[Fault]
    raw: dict[str, Any]
    wkb: bytes | None = None


@dataclass
class Prepared:
    """Rows ready for COPY, and what was found on the way.

    ``columns`` has ``_row``, ``_id``, the fields and ``geom``; ``given`` marks rows whose identifier stood in the file.
    """

    columns: dict[str, pa.Array]
    rejected: list[Rejected]
    total: int
    repaired_rows: list[int] = field(default_factory=list)
    dropped_z: int = 0
    promoted: int = 0
    measured: int = 0
    suspect_swapped: int = 0
    blanked_nan: int = 0
    personal: dict[str, list[int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.columns["_row"])


class Duplicates:
    """Finds keys that stood earlier in the same file, by 64-bit hashes: 16 bytes a row and key."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, ...], tuple[NDArray[np.int64], NDArray[np.int64]]] = {}

    def find(
        self, key: tuple[str, ...], columns: Sequence[pa.Array], rows: NDArray[np.int64], live: Mask
    ) -> tuple[Mask, NDArray[np.int64]]:
        """Mask of rows whose key came before, and the row where it did; only ``live`` rows with all parts known count."""
        complete = live.copy()
        for column in columns:
            complete &= mask_of(column.is_valid())
        positions = np.flatnonzero(complete)
        double = np.zeros(len(rows), dtype=bool)
        first = np.zeros(len(rows), dtype=np.int64)
        if not len(positions):
            return double, first
        lists = [column.to_pylist() for column in columns]
        words = lists[0] if len(lists) == 1 else list(zip(*lists, strict=True))
        hashes = np.fromiter((hash(words[i]) for i in positions), dtype=np.int64, count=len(positions))
        order = np.argsort(hashes, kind="stable")
        ordered, places = hashes[order], positions[order]
        fresh = np.ones(len(ordered), dtype=bool)
        fresh[1:] = ordered[1:] != ordered[:-1]
        origin = places[np.maximum.accumulate(np.where(fresh, np.arange(len(ordered)), 0))]
        double[places[~fresh]] = True
        first[places[~fresh]] = rows[origin[~fresh]]
        old_hash, old_row = self._seen.get(key, (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)))
        if len(old_hash):
            at = np.minimum(np.searchsorted(old_hash, ordered), len(old_hash) - 1)
            known = old_hash[at] == ordered
            double[places[known]] = True
            first[places[known]] = old_row[at[known]]
            fresh &= ~known
        merged = np.concatenate([old_hash, ordered[fresh]])
        merged_rows = np.concatenate([old_row, rows[places[fresh]]])
        sort = np.argsort(merged, kind="stable")
        self._seen[key] = (merged[sort], merged_rows[sort])
        return double, first


def raw_row(plan: Plan, chunk: Chunk, index: int) -> tuple[dict[str, Any], bytes | None]:
    """One row as it came: the columns that are used, personal values blanked, and its WKB."""
    raw: dict[str, Any] = {}
    fields = dict(plan.columns)
    for header in dict.fromkeys([*fields, *plan.place_headers, *([plan.id_column] if plan.id_column else [])]):
        value = chunk.columns[header][index].as_py()
        if value is None:
            continue
        if (
            header in fields
            and is_free_text(fields[header])
            and personal_values(fields[header], text_array([str(value)]))[0]
        ):
            continue
        raw[header] = value if isinstance(value, (bool, int, str)) else _plain(value)
    wkb = chunk.wkb[index].as_py() if chunk.wkb is not None else None
    return raw, wkb


def _plain(value: object) -> object:
    """A value that JSON can hold."""
    if isinstance(value, float):
        return value if np.isfinite(value) else str(value)
    if isinstance(value, list):
        return [str(part) for part in value]
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


_COORDINATE = FieldDeclaration.model_validate(
    {"name": "coordinate", "type": "num", "title_zh": "坐标", "title_en": "Coordinate"}
)


def _number_column(array: pa.Array) -> tuple[NDArray[np.float64], Mask]:
    """Coordinates of a column, NaN where nothing stands; the mask marks what is no number. Infinities are kept."""
    if pa.types.is_floating(array.type) or pa.types.is_integer(array.type):
        return numbers_of(array.cast(pa.float64(), safe=False), np.nan), np.zeros(len(array), dtype=bool)
    read = convert(_COORDINATE, array)
    numbers = numbers_of(read.values, np.nan).copy()
    numbers[read.faults.get("not_finite", np.zeros(len(array), dtype=bool))] = np.inf
    return numbers, read.faults.get("not_a_number", np.zeros(len(array), dtype=bool))


def _positions(plan: Plan, chunk: Chunk) -> Points | Shapes:
    if plan.wkt is not None:
        text = as_text(chunk.columns[plan.wkt]).values
        words = np.array(text.to_pylist(), dtype=object)
        shapes = np.asarray(shapely.from_wkt(words, on_invalid="ignore"), dtype=object)
        unread = mask_of(text.is_valid()) & shapely.is_missing(shapes)
        return Shapes(shapes, {"bad_wkt": unread} if unread.any() else {})
    if plan.lon is not None and plan.lat is not None:
        x, bad_x = _number_column(chunk.columns[plan.lon])
        y, bad_y = _number_column(chunk.columns[plan.lat])
        bad = bad_x | bad_y
        return Points(x.copy(), y.copy(), {"not_a_number": bad} if bad.any() else {})
    return read_wkb(chunk.wkb)


@dataclass
class _Faults:
    """Faults of a chunk by index of the row."""

    rows: NDArray[np.int64]
    found: dict[int, list[Fault]] = field(default_factory=dict)

    def add(
        self,
        mask: Mask,
        code: str,
        header: str,
        declared: FieldDeclaration | None,
        values: pa.Array | None,
        detail: Mapping[int, str],
    ) -> None:
        zh, en = expectation(declared) if declared is not None else ("", "")
        for index in np.flatnonzero(mask):
            value = values[int(index)].as_py() if values is not None else None
            fault = Fault(
                int(self.rows[index]),
                header,
                declared.name if declared else "",
                shorten(value),
                REASONS[code],
                zh,
                en,
                detail.get(int(index), ""),
            )
            self.found.setdefault(int(index), []).append(fault)


def _field_column(
    plan: Plan, chunk: Chunk, header: str, declared: FieldDeclaration, out: Prepared, faults: _Faults
) -> pa.Array:
    array = chunk.columns[header]
    if declared.type == "geometry":
        return _geometry_column(plan, array, header, declared, faults)
    read = convert(declared, array)
    out.blanked_nan += read.blanked_nan
    for code, mask in chunk.cells.get(header, {}).items():
        read.mark(code, mask)
    if plan.trusted and not declared.domain and read.values.type == array.type:
        if declared.required:
            check(declared, read)
    else:
        if is_free_text(declared):
            _blank_personal(declared, read, header, out, faults.rows)
        check(declared, read)
    if declared.type == "ref" and not pa.types.is_fixed_size_binary(read.values.type):
        read = plan.references[declared.name].resolve(read)
    for code, mask in read.faults.items():
        faults.add(mask, code, header, declared, array, {})
    return read.values


def _blank_personal(
    declared: FieldDeclaration, read: Converted, header: str, out: Prepared, rows: NDArray[np.int64]
) -> None:
    text = read.values
    if pa.types.is_list(text.type):
        text = text_array([None if value is None else " ; ".join(value) for value in text.to_pylist()])
    hit = personal_values(declared, text)
    if hit.any():
        read.values = without(read.values, hit)
        out.personal.setdefault(header, []).extend(int(row) for row in rows[hit])


def _geometry_column(plan: Plan, array: pa.Array, header: str, declared: FieldDeclaration, faults: _Faults) -> pa.Array:
    """A second geometry of a row, as WKT or WKB in the same system as the first; nothing is allowed."""
    if plan.frame is None:
        return pa.nulls(len(array), pa.large_binary())
    if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
        found = read_wkb(array)
        shapes = (
            found if isinstance(found, Shapes) else Shapes(np.asarray(shapely.points(found.x, found.y), dtype=object))
        )
    else:
        text = as_text(array).values
        read = np.asarray(shapely.from_wkt(np.array(text.to_pylist(), dtype=object), on_invalid="ignore"), dtype=object)
        shapes = Shapes(read)
        unread = mask_of(text.is_valid()) & shapely.is_missing(read)
        if unread.any():
            shapes.bad["bad_wkt"] = unread
    here = plan.frame
    frame = Frame(
        here.source, here.srid, str(declared.geometry), here.bounds, here.swap_xy, here.allow_outside, here.measure_srid
    )
    placed = place(shapes, frame)
    placed.bad.pop("no_geometry", None)
    for code, mask in placed.bad.items():
        faults.add(mask, code, header, declared, None, placed.detail)
    return placed.ewkb


def _identifiers(plan: Plan, chunk: Chunk, count: int, faults: _Faults) -> tuple[pa.Array, pa.Array | None]:
    """Identifiers for all rows; and those that stood in the file, if any."""
    if plan.id_column is None:
        return (new_ids(count) if chunk.ids is None else chunk.ids), None
    array = chunk.columns[plan.id_column]
    given = [None if value in (None, "") else uuid_bytes(value) for value in array.to_pylist()]
    unread = (
        np.array([value is None for value in given])
        & mask_of(array.is_valid())
        & mask_of(as_text(array).values.is_valid())
    )
    faults.add(unread, "not_a_uuid", plan.id_column, None, array, {})
    column = values_array(given, pa.binary(16))
    return pc.if_else(column.is_valid(), column, new_ids(count)) if column.null_count else column, column


def prepare(plan: Plan, chunk: Chunk, duplicates: Duplicates) -> Prepared:
    """Read and check a chunk.

    Returns
    -------
    Prepared
        With the good rows as columns in the types of the database, and the others as rejected rows.
    """
    with np.errstate(all="ignore"):  # NaN and overflow are judged, not warned of
        return _prepare(plan, chunk, duplicates)


def _prepare(plan: Plan, chunk: Chunk, duplicates: Duplicates) -> Prepared:
    count = len(chunk)
    out = Prepared({}, [], count + len(chunk.lost))
    faults = _Faults(chunk.rows)
    columns: dict[str, pa.Array] = {}
    for header, declared in plan.columns:
        columns[declared.name] = _field_column(plan, chunk, header, declared, out, faults)
    repaired = np.zeros(count, dtype=bool)
    if plan.frame is not None and (plan.place_headers or chunk.wkb is not None):
        placed = place(_positions(plan, chunk), plan.frame)
        repaired = placed.repaired
        out.dropped_z, out.promoted, out.measured = placed.dropped_z, placed.promoted, placed.measured
        out.suspect_swapped = placed.suspect_swapped
        _place_faults(plan, chunk, placed.bad, placed.detail, faults)
        columns["geom"] = placed.ewkb
        columns["geom_repaired"] = mask_array(repaired)
    ids, given = _identifiers(plan, chunk, count, faults)
    live = np.ones(count, dtype=bool)
    live[list(faults.found)] = False
    keys = [key for key in plan.declaration.update_keys if all(part in columns for part in key)]
    parts = {key: [columns[part] for part in key] for key in keys}
    if given is not None:
        parts[("id",)] = [given]
    for key, arrays in parts.items():
        double, first = duplicates.find(key, arrays, chunk.rows, live)
        headers = {declared.name: header for header, declared in plan.columns}
        header = ", ".join(headers.get(part, plan.id_column or part) for part in key)
        faults.add(
            double,
            "duplicate_key",
            header,
            None,
            arrays[0] if key != ("id",) else None,
            {int(i): f"→ {first[i]}" for i in np.flatnonzero(double)},
        )
        live &= ~double
    for lost in chunk.lost:
        out.rejected.append(Rejected(lost.row, [lost], {}))
    for index in sorted(faults.found):
        raw, wkb = raw_row(plan, chunk, index)
        out.rejected.append(Rejected(int(chunk.rows[index]), faults.found[index], raw, wkb))
    live[list(faults.found)] = False
    out.repaired_rows = [int(row) for row in chunk.rows[repaired & live]]
    for name, value in plan.constants.items():
        if name not in columns:
            columns[name] = constant(value, count)
    columns = {"_row": number_array(chunk.rows, pa.int64()), "_id": ids, **columns}
    if not live.all():
        keep = mask_array(live)
        columns = {name: column.filter(keep) for name, column in columns.items()}
    out.columns = columns
    return out


def _place_faults(
    plan: Plan, chunk: Chunk, bad: Mapping[str, Mask], detail: Mapping[int, str], faults: _Faults
) -> None:
    """Faults of positions, with the coordinates found where they stand in columns."""
    values: pa.Array | None = None
    header = "geometry"
    if not bad:
        return
    if plan.wkt:
        header, values = plan.wkt, chunk.columns[plan.wkt]
    elif plan.lon and plan.lat:
        header = f"{plan.lon}, {plan.lat}"
        pairs = zip(chunk.columns[plan.lon].to_pylist(), chunk.columns[plan.lat].to_pylist(), strict=True)
        values = text_array([", ".join("" if part is None else str(part) for part in pair) for pair in pairs])
    elif chunk.wkb is not None and any(mask.any() for mask in bad.values()):
        shown = np.zeros(len(chunk), dtype=bool)
        for mask in bad.values():
            shown |= mask
        texts: list[str | None] = [None] * len(chunk)
        for index in np.flatnonzero(shown):
            shape = shapely.from_wkb(chunk.wkb[int(index)].as_py(), on_invalid="ignore")
            texts[int(index)] = None if shape is None else shapely.to_wkt(shape, rounding_precision=8)
        values = text_array(texts)
    for code, mask in bad.items():
        faults.add(mask, code, header, None, values, detail)
