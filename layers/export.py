"""Layers to files: GeoPackage, shapefile, GeoJSON, FlatGeobuf, GeoParquet, CSV and XLSX; streamed, under the rights of the caller."""

import csv
import json
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pyproj
import shapely
from numpy.typing import NDArray
from openpyxl.cell import WriteOnlyCell
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError
from sqlalchemy.engine import Connection

from gis.crs import SourceCRS, gcj02_to_bd09, source_crs, transform_coordinates, wgs84_to_gcj02
from gis.errors import InputError, LimitExceeded
from layers.access import SYSTEM, Principal
from layers.database import Database
from layers.declaration import FieldDeclaration
from layers.query.cql2_sql import compile_filter
from layers.query.fragment import Fragment
from layers.query.source import Source
from layers.registry import declaration_of, storage_srid

__all__ = ["EXPORT_FORMATS", "export_layer", "safe_cell"]

#: Format by suffix.
EXPORT_FORMATS = {
    ".gpkg": "GPKG", ".shp": "ESRI Shapefile", ".geojson": "GeoJSON", ".geojsonl": "GeoJSONSeq", ".fgb": "FlatGeobuf", ".parquet": "Parquet",
    ".csv": "CSV", ".xlsx": "XLSX",
}  # fmt: skip

_ROWS = 20_000
_XLSX_ROWS_MAX = 1_048_575
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")
#: What a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection").
_FORMULA_MARKS = ("=", "+", "-", "@", "\t", "\r")

_ARROW: dict[str, pa.DataType] = {
    "text": pa.string(), "int": pa.int64(), "num": pa.float64(), "bool": pa.bool_(), "date": pa.date32(), "datetime": pa.timestamp("us", tz="UTC"),
    "uuid": pa.string(), "text[]": pa.string(), "geometry": pa.string(),
}  # fmt: skip


@dataclass(frozen=True)
class _Job:
    """What is exported: the layer as the role sees it, the target system, the rows asked for."""

    source: Source
    target: SourceCRS
    where: Fragment
    lang: str
    progress: Callable[[int], None] | None

    @property
    def fields(self) -> tuple[FieldDeclaration, ...]:
        return self.source.fields

    @property
    def placed(self) -> bool:
        return self.source.has_geometry


def export_layer(
    database: Database,
    layer: str,
    path: Path,
    *,
    crs: str | None = None,
    where: str | None = None,
    lang: str = "en",
    principal: Principal = SYSTEM,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write a layer to a file; the file appears when it is complete.

    Parameters
    ----------
    path : Path
        Its suffix decides the format (see `EXPORT_FORMATS`).
    crs : str, optional
        EPSG code, ``gcj02`` or ``bd09``; the layer's own system by default. GeoJSON is written in WGS 84 unless another is given.
    where : str, optional
        A CQL2 text filter.
    lang : str
        Language of the headers and terms of CSV and XLSX; the other formats carry field names and stored values.
    principal : Principal
        Rows and columns that it may not read are not written.

    Returns
    -------
    int
        Features written.

    Raises
    ------
    InputError
        Unknown format, filter or reference system, or the folder cannot be written to.
    LimitExceeded
        More rows than a sheet has.
    """
    path = Path(path)
    kind = EXPORT_FORMATS.get(path.suffix.lower())
    if kind is None:
        raise InputError(
            f"{path.name}: the format is not known; {', '.join(EXPORT_FORMATS)} are written.",
            zh=f"{path.name}：未知的格式；支持 {'、'.join(EXPORT_FORMATS)}。",
        )
    if not path.parent.is_dir():
        raise InputError(f"The folder of {path.name} does not exist.", zh=f"{path.name} 所在的文件夹不存在。")
    with database.begin(principal, readonly=True, snapshot=True) as connection:
        declaration = declaration_of(connection, layer)
        source = Source.of(declaration, storage_srid(connection), principal.role)
        own = "4326" if kind.startswith("GeoJSON") else str(source.srid)
        condition = compile_filter(where, source) if where else Fragment("TRUE")
        job = _Job(source, source_crs(crs or own), condition, lang, progress)
        try:
            with tempfile.TemporaryDirectory(prefix=".baige-export-", dir=path.parent) as folder:
                draft = Path(folder) / path.name
                count = _WRITERS.get(kind, _write_vector)(connection, job, draft, kind)
                for part in Path(folder).iterdir():
                    part.replace(path.parent / part.name)
        except (OSError, DataSourceError, DataLayerError, FeatureError) as error:
            raise InputError(
                f"{path.name} cannot be written; is the disk full?", zh=f"无法写入 {path.name}；磁盘是否已满？"
            ) from error
    return count


def _rows(connection: Connection, job: _Job) -> Iterator[list[tuple[Any, ...]]]:
    """Rows in runs: id, the fields, then the geometry as WKB; a server-side cursor, so that memory stays bounded."""
    columns = ["t.id::text"]
    for declared in job.fields:
        if declared.type == "geometry":
            columns.append(f'ST_AsText(t."{declared.name}", 9)')
        elif declared.type in ("ref", "uuid"):
            columns.append(f't."{declared.name}"::text')
        else:
            columns.append(f't."{declared.name}"')
    if job.placed:
        columns.append("ST_AsBinary(t.geom, 'NDR')")
    statement = f"SELECT {', '.join(columns)} FROM {job.source.table} t WHERE {job.where.text} ORDER BY t.id"
    done = 0
    driver = Database.driver_connection(connection)
    with driver.cursor(name="baige_export") as cursor:
        cursor.execute(statement.encode(), job.where.params)
        while rows := cursor.fetchmany(_ROWS):
            done += len(rows)
            if job.progress is not None:
                job.progress(done)
            yield rows


def _moved(shapes: NDArray[np.object_], job: _Job) -> NDArray[np.object_]:
    """Geometries in the target system."""
    own, target = SourceCRS(str(job.source.srid)), job.target
    if own == target:
        return shapes

    def apply(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
        out = coordinates.copy()
        x, y = transform_coordinates(coordinates[:, 0], coordinates[:, 1], own, target.srid)
        if target.is_offset:
            x, y = wgs84_to_gcj02(x, y)
        if target.label == "bd09":
            x, y = gcj02_to_bd09(x, y)
        out[:, 0], out[:, 1] = x, y
        return out

    return np.asarray(shapely.transform(shapes, apply), dtype=object)


def _shapes(rows: Sequence[tuple[Any, ...]], job: _Job) -> NDArray[np.object_]:
    raw = np.array([bytes(row[-1]) if row[-1] is not None else None for row in rows], dtype=object)
    return _moved(np.asarray(shapely.from_wkb(raw), dtype=object), job)


def _plain(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "text[]":
        return ";".join(value)
    return value


def _kind(job: _Job, declared: FieldDeclaration) -> str:
    return job.source.columns[declared.name].kind if declared.name in job.source.columns else "text"


def _schema(job: _Job) -> pa.Schema:
    fields = [pa.field("id", pa.string())]
    fields += [pa.field(declared.name, _ARROW[_kind(job, declared)]) for declared in job.fields]
    if job.placed:
        fields.append(pa.field("geom", pa.binary(), metadata={"ARROW:extension:name": "geoarrow.wkb"}))
    return pa.schema(fields)


def _batches(connection: Connection, job: _Job, schema: pa.Schema, counter: list[int]) -> Iterator[pa.RecordBatch]:
    for rows in _rows(connection, job):
        counter[0] += len(rows)
        arrays = [pa.array([row[0] for row in rows], pa.string())]
        for place, declared in enumerate(job.fields, start=1):
            kind = _kind(job, declared)
            arrays.append(pa.array([_plain(row[place], kind) for row in rows], _ARROW[kind]))
        if job.placed:
            arrays.append(pa.array(shapely.to_wkb(_shapes(rows, job), flavor="iso", byte_order=1), pa.binary()))
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _written_crs(job: _Job) -> str | None:
    """What the file says of its coordinates; nothing for the offset systems, which no format can name."""
    return None if job.target.is_offset else f"EPSG:{job.target.srid}"


def _write_vector(connection: Connection, job: _Job, path: Path, driver: str) -> int:
    if not job.placed and driver != "GPKG":
        raise InputError(
            "The layer has no places: export it to CSV, XLSX, Parquet or GeoPackage.",
            zh="该图层没有位置：请导出为 CSV、XLSX、Parquet 或 GeoPackage。",
        )
    kind = {"LineStringM": "Measured LineString", "Geometry": "Unknown"}.get(
        job.source.declaration.geometry, job.source.declaration.geometry
    )
    if driver == "ESRI Shapefile" and kind == "Unknown":
        raise InputError(
            "A shapefile holds one type of geometry only; choose another format.",
            zh="Shapefile 只能存一种几何类型，请用其他格式。",
        )
    schema = _schema(job)
    counter = [0]
    reader = pa.RecordBatchReader.from_batches(schema, _batches(connection, job, schema, counter))
    # as an option of the layer: given as ``encoding`` it stays set for whatever this thread writes later
    options: dict[str, Any] = {"layer_options": {"ENCODING": "UTF-8"}} if driver == "ESRI Shapefile" else {}
    if driver.startswith("GeoJSON"):
        options["COORDINATE_PRECISION"] = "9"
    with warnings.catch_warnings():
        # Of names cut to ten bytes in a shapefile, and of the system that an offset one cannot name.
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.simplefilter("ignore", UserWarning)
        pyogrio.write_arrow(
            reader,
            str(path),
            driver=driver,
            layer=job.source.name if driver in ("GPKG", "GeoJSON") else None,
            geometry_name="geom" if job.placed else None,
            geometry_type=kind if job.placed else None,
            crs=_written_crs(job) if job.placed else None,
            **options,
        )
    return counter[0]


def _write_parquet(connection: Connection, job: _Job, path: Path, _driver: str) -> int:
    schema = _schema(job)
    counter = [0]
    if job.placed:
        name = _written_crs(job)
        described = {
            "version": "1.1.0",
            "primary_column": "geom",
            "columns": {
                "geom": {
                    "encoding": "WKB",
                    "geometry_types": [],
                    "crs": pyproj.CRS.from_user_input(name).to_json_dict() if name else None,
                }
            },
        }
        place = schema.get_field_index("geom")
        schema = schema.set(place, pa.field("geom", pa.binary())).with_metadata({"geo": json.dumps(described)})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in _batches(connection, job, schema, counter):
            writer.write_batch(batch)
    return counter[0]


def safe_cell(text: str) -> str:
    """Text that a spreadsheet will not take for a formula: an apostrophe is put before what begins like one.

    Examples
    --------
    >>> safe_cell("=1+1"), safe_cell("沿江大道")
    ("'=1+1", '沿江大道')
    """
    return f"'{text}" if text.startswith(_FORMULA_MARKS) else text


def _table_head(job: _Job) -> list[str]:
    chinese = job.lang.startswith("zh")
    head = [
        "id",
        *(
            declared.title(job.lang) + (f"（{declared.unit}）" if chinese and declared.unit else "")
            for declared in job.fields
        ),
    ]
    if job.placed:
        head += (["经度", "纬度"] if chinese else ["lon", "lat"]) if _as_pair(job) else ["WKT"]
    return head


def _as_pair(job: _Job) -> bool:
    """Whether places are written as two columns."""
    return job.source.declaration.geometry == "Point"


def _table_rows(connection: Connection, job: _Job) -> Iterator[list[Any]]:
    """Rows of cells: terms by their titles in the language, places as coordinates or WKT."""
    chinese = job.lang.startswith("zh")
    terms = [{term.value: term.zh if chinese else term.en for term in declared.domain} for declared in job.fields]
    yes_no = {True: "是", False: "否"} if chinese else {True: "yes", False: "no"}
    digits = 9 if job.target.is_geographic else 4
    for rows in _rows(connection, job):
        places: list[list[Any]] = [[] for _ in rows]
        if job.placed:
            shapes = _shapes(rows, job)
            if _as_pair(job):
                xy = np.round(np.column_stack([shapely.get_x(shapes), shapely.get_y(shapes)]), digits)
                places = xy.tolist()
            else:
                places = [[text] for text in shapely.to_wkt(shapes, rounding_precision=digits)]
        for row, place in zip(rows, places, strict=True):
            cells: list[Any] = [row[0]]
            for value, declared, words in zip(row[1:], job.fields, terms, strict=False):
                if isinstance(value, bool):
                    cells.append(yes_no[value])
                elif words:
                    cells.append(words.get(value, value))
                else:
                    cells.append(_plain(value, "text[]" if declared.type == "text[]" else ""))
            yield cells + place


def _write_csv(connection: Connection, job: _Job, path: Path, _driver: str) -> int:
    count = 0
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_table_head(job))
        for count, cells in enumerate(_table_rows(connection, job), start=1):  # noqa: B007 - the last count is the result
            writer.writerow([safe_cell(cell) if isinstance(cell, str) else cell for cell in cells])
    return count


def _write_xlsx(connection: Connection, job: _Job, path: Path, _driver: str) -> int:
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet(re.sub(r"[\\/*?:\[\]]", " ", job.source.declaration.title(job.lang))[:31])
    sheet.freeze_panes = "A2"
    sheet.append(_table_head(job))
    count = 0
    for count, cells in enumerate(_table_rows(connection, job), start=1):
        if count > _XLSX_ROWS_MAX:
            raise LimitExceeded(
                f"A sheet has {_XLSX_ROWS_MAX} rows at most; export to CSV.",
                zh=f"工作表最多 {_XLSX_ROWS_MAX} 行，请导出为 CSV。",
            )
        sheet.append([_xlsx_cell(sheet, cell) for cell in cells])
    with tempfile.TemporaryFile() as packed:  # a zip that breaks off for want of space cannot be closed in order
        book.save(packed)
        packed.seek(0)
        with path.open("wb") as file:
            shutil.copyfileobj(packed, file)
    return count


def _xlsx_cell(sheet: Any, value: Any) -> Any:
    if isinstance(value, str):
        text = _ILLEGAL.sub("", value)[:32767]
        if text.startswith("="):  # as text, not as the formula that openpyxl would make of it
            cell = WriteOnlyCell(sheet, value=text)
            cell.data_type = "s"
            return cell
        return text
    if getattr(value, "tzinfo", None) is not None:
        return value.isoformat(sep=" ", timespec="seconds")
    return value


_WRITERS: dict[str, Callable[[Connection, _Job, Path, str], int]] = {
    "CSV": _write_csv,
    "XLSX": _write_xlsx,
    "Parquet": _write_parquet,
}
