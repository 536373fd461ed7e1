"""From headers, options and the database to the plan of a load."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from sqlalchemy.engine import Connection

from gis.crs import SourceCRS, source_crs, transform_coordinates
from gis.errors import CRSMismatch, InputError, UnknownField
from gis.settings import CityConfig
from layers.declaration import LayerDeclaration
from layers.loading.chunks import Chunk, Source
from layers.loading.converting import as_text, convert
from layers.loading.headers import Matched, match_headers
from layers.loading.identifiers import uuid_bytes
from layers.loading.options import LoadOptions
from layers.loading.places import Frame
from layers.loading.preparing import Plan
from layers.loading.reasons import REASONS
from layers.loading.references import references_to, words_of
from layers.loading.report import LoadReport
from layers.loading.rules import check, expectation
from layers.registry import declaration_of

__all__ = ["city_bounds", "make_plan", "own_references", "self_referring"]


def city_bounds(city: CityConfig, srid: int) -> tuple[float, float, float, float]:
    """West, south, east, north of the city in EPSG ``srid``, from its bounds in degrees."""
    west, south, east, north = city.bounds
    if srid == city.storage_srid:
        return city.bounds
    along = np.linspace(0, 1, 21)
    x = np.concatenate(
        [west + (east - west) * along, np.full(21, east), west + (east - west) * along, np.full(21, west)]
    )
    y = np.concatenate(
        [np.full(21, south), south + (north - south) * along, np.full(21, north), south + (north - south) * along]
    )
    tx, ty = transform_coordinates(x, y, SourceCRS("4490"), srid)
    return float(tx.min()), float(ty.min()), float(tx.max()), float(ty.max())


def _declared_crs(source: Source, options: LoadOptions, report: LoadReport) -> SourceCRS:
    claimed: SourceCRS | None = None
    if source.crs is not None:
        try:
            claimed = source_crs(source.crs)
        except CRSMismatch:
            if options.crs is None:
                raise
    if options.crs is not None:
        declared = source_crs(options.crs)
        if claimed is not None and claimed != declared:
            report.notes.append((
                f"文件自称坐标系为 {claimed.label}，按声明的 {declared.label} 处理",
                f"the file says {claimed.label}; taken as {declared.label}, as declared",
            ))  # fmt: skip
        return declared
    if claimed is None:
        raise CRSMismatch(
            "The file does not say which reference system its coordinates are in: give --crs, for example EPSG:4490, gcj02 or bd09.",
            zh="文件没有说明坐标系：请用 --crs 声明，例如 EPSG:4490、gcj02 或 bd09。",
        )
    return claimed


def _keeps_ids(matched: Matched, first: Chunk | None) -> bool:
    """Whether the column ``id`` holds identifiers of ours and not some running number."""
    if matched.id_column is None or first is None:
        return False
    array = first.columns[matched.id_column]
    if array.type == pa.binary(16):
        return True
    words = [word for word in as_text(array[:100]).values.to_pylist() if word]
    return bool(words) and all(len(word) >= 32 and uuid_bytes(word) for word in words)


def _given_constants(declaration: LayerDeclaration, options: LoadOptions, matched: Matched) -> dict[str, Any]:
    """Values that the caller sets for all rows, read and checked as if they stood in the file."""
    known = {declared.name: declared for declared in declaration.all_fields if declared.type not in ("geometry", "ref")}
    used = {declared.name: header for header, declared in matched.columns.items()}
    found: dict[str, Any] = {}
    for name, text in options.constants.items():
        declared = known.get(name)
        if declared is None:
            raise UnknownField(
                f"Layer {declaration.name!r} has no field {name!r} that a value could be set for.",
                zh=f"图层 {declaration.name!r} 没有可设定的字段 {name!r}。",
            )
        if name in used:
            raise InputError(
                f"The column {used[name]!r} of the file already gives {name!r}.",
                zh=f"文件的列“{used[name]}”已提供 {name!r}。",
            )
        column = convert(declared, pa.array([text]))
        check(declared, column)
        if column.faults:
            zh, en = expectation(declared)
            reason = REASONS[next(iter(column.faults))]
            raise InputError(f"{name} = {text!r}: {reason.en} ({en}).", zh=f"{name} = {text!r}：{reason.zh}（{zh}）。")
        found[name] = column.values[0].as_py()
    return found


def make_plan(
    connection: Connection,
    declaration: LayerDeclaration,
    source: Source,
    first: Chunk | None,
    *,
    srid: int,
    options: LoadOptions,
    city: CityConfig,
    report: LoadReport,
    trusted: bool = False,
) -> Plan:
    """Decide what becomes of each column; the report receives what is used, dropped and ignored.

    Raises
    ------
    InputError
        No column is of use, or the options do not fit the file.
    CRSMismatch
        The reference system is missing or unknown.
    """
    matched = match_headers(
        declaration,
        source.headers,
        maps=options.maps,
        positions=not source.has_geometry,
        lon=options.lon_column,
        lat=options.lat_column,
        wkt=options.wkt_column,
        cut=source.format.startswith("Shapefile"),
    )
    if not _keeps_ids(matched, first) and matched.id_column is not None:
        matched.ignored.append(matched.id_column)
        matched.id_column = None
    report.used = {header: declared.name for header, declared in matched.columns.items()}
    report.dropped, report.ignored = matched.dropped, matched.ignored
    placed = declaration.has_geometry and (source.has_geometry or bool(matched.wkt or matched.lon))
    if not matched.columns and not placed:
        raise InputError(
            f"No column of the file is known to layer {declaration.name!r}: {', '.join(source.headers[:40])}. Use --map 'header=field'.",
            zh=f"文件的列都不属于图层 {declaration.name!r}：{'、'.join(source.headers[:40])}。请用 --map '表头=字段'。",
        )
    constants: dict[str, Any] = {"synthetic": options.synthetic}
    if options.source_org is not None:
        constants["source_org"] = options.source_org
    constants.update(_given_constants(declaration, options, matched))
    frame = None
    if placed or any(declared.type == "geometry" for declared in matched.columns.values()):
        crs = _declared_crs(source, options, report)
        report.src_crs = crs.label
        constants["src_crs"] = crs.label
        bounds = city_bounds(city, srid)
        frame = Frame(
            crs, srid, declaration.geometry, bounds, options.swap_xy, options.allow_outside, city.analysis_srid
        )
        for header in (matched.lon, matched.lat, matched.wkt):
            if header:
                report.used[header] = "geom"
    elif declaration.has_geometry:
        report.notes.append(
            ("文件没有位置，只能更新已有要素", "the file has no positions: it can only update features that exist")
        )
    references = {
        declared.name: references_to(connection, declaration_of(connection, declared.references))
        for declared in matched.columns.values()
        if declared.references is not None
    }
    return Plan(
        declaration,
        tuple(matched.columns.items()),
        frame,
        lon=matched.lon,
        lat=matched.lat,
        wkt=matched.wkt,
        constants=constants,
        references=references,
        id_column=matched.id_column,
        trusted=trusted,
    )


def own_references(plan: Plan, chunks: Sequence[Chunk]) -> None:
    """Let rows of a file refer to other rows of it: their keys and names mean the ids they will get (``chunk.ids``)."""
    declaration = plan.declaration
    mine = [plan.references[d.name] for _h, d in plan.columns if d.references == declaration.name]
    headers = {declared.name: header for header, declared in plan.columns}
    for chunk in chunks:
        if chunk.ids is None:
            continue
        texts = {
            name: as_text(chunk.columns[header]).values.to_pylist()
            for name, header in headers.items()
            if header in chunk.columns
        }
        for index, identifier in enumerate(chunk.ids.to_pylist()):
            keys, names = words_of({name: words[index] for name, words in texts.items()}, declaration)
            for references in mine:
                references.add_own(identifier, keys, names)


def self_referring(plan: Plan) -> bool:
    """Whether rows of this load may refer to each other."""
    return any(declared.references == plan.declaration.name for _header, declared in plan.columns)
