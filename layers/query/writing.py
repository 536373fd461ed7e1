"""Features that clients write: checked against the layer's declaration, and turned into SQL with bound values."""

import datetime as dt
import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import shapely

from gis.errors import InvalidGeometry
from layers.declaration import FieldDeclaration
from layers.query.fragment import Fragment, join
from layers.query.literals import to_storage
from layers.query.source import Source

__all__ = ["Fault", "Row", "delete_sql", "insert_sql", "lock_sql", "read_feature", "update_sql"]

#: Columns with a default in the database: kept, or set by it, where a client leaves them out.
_DEFAULTED = {"classification", "synthetic", "geom_repaired"}
#: Written by the server alone; accepted in a body, and not looked at.
_READ_ONLY = {"changed_at", "id"}
_MULTI = {"MultiPoint": "Point", "MultiLineString": "LineString", "MultiPolygon": "Polygon"}
_MAX_TEXT = 100_000


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a value, and where (a JSON pointer)."""

    path: str
    en: str
    zh: str


@dataclass(frozen=True, slots=True)
class Row:
    """Values to store, by column; geometries as WKB in the storage system."""

    values: dict[str, Any]
    geometries: dict[str, bytes | None]


class _Bad(ValueError):
    def __init__(self, en: str, zh: str) -> None:
        super().__init__(en)
        self.en, self.zh = en, zh


def _text(field: FieldDeclaration, value: Any) -> str:
    if not isinstance(value, str):
        raise _Bad("is not a string", "应为字符串")
    if "\x00" in value or len(value) > (field.length or _MAX_TEXT):
        most = field.length or _MAX_TEXT
        raise _Bad(f"is longer than {most} characters, or has a null character", f"超过 {most} 个字符或含空字符")
    if field.type == "code" and len(value) != field.length:
        raise _Bad(f"does not have {field.length} characters", f"应为 {field.length} 个字符")
    if field.pattern is not None and re.search(field.pattern, value) is None:
        raise _Bad(f"does not match {field.pattern}", f"不符合格式 {field.pattern}")
    return value


def _number(field: FieldDeclaration, value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _Bad("is not a finite number", "应为有限数")
    if field.type == "int" and (value != int(value) or abs(value) >= 2**63):
        raise _Bad("is not a whole number of 64 bits", "应为 64 位整数")
    if field.minimum is not None and value < field.minimum:
        raise _Bad(f"is below {field.minimum:g}", f"小于 {field.minimum:g}")
    if field.maximum is not None and value > field.maximum:
        raise _Bad(f"is above {field.maximum:g}", f"大于 {field.maximum:g}")
    return int(value) if field.type == "int" else value


def _moment(field: FieldDeclaration, value: Any) -> dt.date | dt.datetime:
    try:
        if field.type == "date":
            return dt.date.fromisoformat(value)
        found = dt.datetime.fromisoformat(value)
        return found if found.tzinfo else found.replace(tzinfo=dt.UTC)
    except (TypeError, ValueError) as error:
        raise _Bad("is not a date like 2025-04-01" if field.type == "date" else "is not a time by RFC 3339", "不是有效的日期或时间") from error


def _value(field: FieldDeclaration, value: Any) -> Any:
    if field.domain:
        allowed = [term.value for term in field.domain]
        if isinstance(value, bool) or value not in allowed:
            raise _Bad(f"is not one of {', '.join(map(str, allowed))}", f"不在取值范围 {'、'.join(map(str, allowed))} 之中")
        return value
    if field.type in ("text", "code"):
        return _text(field, value)
    if field.type in ("int", "num"):
        return _number(field, value)
    if field.type == "bool":
        if not isinstance(value, bool):
            raise _Bad("is not true or false", "应为 true 或 false")
        return value
    if field.type in ("date", "datetime"):
        return _moment(field, value)
    if field.type in ("ref", "uuid"):
        try:
            return uuid.UUID(value)
        except (TypeError, ValueError, AttributeError) as error:
            raise _Bad("is not an identifier (UUID)", "不是有效标识（UUID）") from error
    if not isinstance(value, list) or not all(isinstance(v, str) and "\x00" not in v for v in value):
        raise _Bad("is not a list of strings", "应为字符串列表")
    return value


def _geometry(kind: str, value: Any, *, from_srid: int, to_srid: int, swap_xy: bool) -> bytes:
    if not isinstance(value, dict):
        raise _Bad("is not a GeoJSON geometry", "不是 GeoJSON 几何")
    try:
        geometry = shapely.from_geojson(orjson.dumps(value))
    except (shapely.errors.ShapelyError, orjson.JSONEncodeError) as error:
        raise _Bad("is not a GeoJSON geometry", "不是 GeoJSON 几何") from error
    measured = kind == "LineStringM"
    wanted = kind.removesuffix("M") if measured else kind
    found = geometry.geom_type
    if wanted not in (found, "Geometry") and _MULTI.get(wanted) != found:
        raise _Bad(f"is a {found}, not a {wanted}", f"是 {found}，应为 {wanted}")
    if geometry.is_empty:
        raise _Bad("is empty", "为空")
    if not shapely.is_valid(geometry):
        reason = shapely.is_valid_reason(geometry).split("[")[0].strip()
        raise _Bad(f"is not valid: {reason}", f"无效：{reason}")
    if measured and not shapely.has_z(geometry):
        raise _Bad("needs a measure as third number of each position", "每个坐标需要第三个数作为里程值")
    try:
        moved = to_storage(geometry, from_srid=from_srid, to_srid=to_srid, swap_xy=swap_xy)
    except InvalidGeometry as error:
        raise _Bad(error.message, error.zh) from error
    if measured:
        coordinates = shapely.get_coordinates(moved, include_z=True)
        moved = shapely.from_wkt("LINESTRING M (" + ", ".join(f"{x!r} {y!r} {m!r}" for x, y, m in coordinates.tolist()) + ")")
        return bytes(shapely.to_wkb(moved, output_dimension=4, flavor="iso"))
    flat = shapely.force_2d(moved)
    if _MULTI.get(wanted) == found:
        flat = getattr(shapely, wanted)([flat])
    return bytes(shapely.to_wkb(flat))


def read_feature(
    source: Source, body: Any, *, path: str, srid: int, swap_xy: bool, partial: bool = False
) -> tuple[Row, list[Fault]]:
    """Check a GeoJSON feature against the layer's declaration.

    Parameters
    ----------
    path : str
        JSON pointer of the feature in the body, for the faults.
    srid, swap_xy : int, bool
        Reference system of its coordinates.
    partial : bool
        A merge patch (RFC 7396): what is left out stays as it is.

    Returns
    -------
    row, faults : Row, list of Fault
        The row is of use only where there are no faults.
    """
    faults: list[Fault] = []
    row = Row({}, {})
    if not isinstance(body, dict):
        return row, [Fault(path or "/", "is not a GeoJSON feature", "不是 GeoJSON 要素")]
    if body.get("type", "Feature" if partial else None) != "Feature":
        faults.append(Fault(f"{path}/type", "is not 'Feature'", "应为 Feature"))
    given = body.get("properties")
    given = {} if given is None else given
    if not isinstance(given, dict):
        return row, [*faults, Fault(f"{path}/properties", "is not an object", "应为对象")]
    fields = {field.name: field for field in source.fields}
    for name in given.keys() - fields.keys() - _READ_ONLY:
        faults.append(Fault(f"{path}/properties/{_pointer(name)}", "does not exist in this layer", "本图层没有此属性"))
    for name, field in fields.items():
        if name not in given:
            if partial or name in _DEFAULTED:
                continue
            if field.required:
                faults.append(Fault(f"{path}/properties/{name}", "is required", "必填"))
            elif field.type != "geometry":  # a second geometry is not part of what was read, and stays
                row.values[name] = None
            continue
        value = given[name]
        if value is None:
            if field.required:
                faults.append(Fault(f"{path}/properties/{name}", "is required", "必填"))
            else:
                (row.geometries if field.type == "geometry" else row.values)[name] = None
            continue
        try:
            if field.type == "geometry":
                row.geometries[name] = _geometry(str(field.geometry), value, from_srid=srid, to_srid=source.srid, swap_xy=swap_xy)
            else:
                row.values[name] = _value(field, value)
        except _Bad as bad:
            faults.append(Fault(f"{path}/properties/{name}", bad.en, bad.zh))
    if source.has_geometry and not (partial and "geometry" not in body):
        try:
            row.geometries["geom"] = _geometry(
                source.declaration.geometry, body.get("geometry"), from_srid=srid, to_srid=source.srid, swap_xy=swap_xy
            )
        except _Bad as bad:
            faults.append(Fault(f"{path}/geometry", bad.en, bad.zh))
    elif not source.has_geometry and body.get("geometry") is not None:
        faults.append(Fault(f"{path}/geometry", "must be null: this layer has no geometry", "本图层没有几何，应为 null"))
    return row, faults


def _pointer(name: Any) -> str:
    return str(name)[:60].replace("~", "~0").replace("/", "~1")


def _assignments(source: Source, row: Row) -> Mapping[str, Fragment]:
    found = {name: Fragment("%s", (value,)) for name, value in row.values.items()}
    for name, wkb in row.geometries.items():
        found[name] = Fragment("NULL") if wkb is None else Fragment(f"ST_GeomFromWKB(%s, {source.srid})", (wkb,))
    return found


def insert_sql(source: Source, row: Row, *, feature_id: uuid.UUID | None, change_id: int) -> Fragment:
    """Insert a row; returns its id."""
    values: dict[str, Fragment] = {"change_id": Fragment("%s", (change_id,)), **_assignments(source, row)}
    if feature_id is not None:
        values["id"] = Fragment("%s", (feature_id,))
    names = ", ".join(f'"{name}"' for name in values)
    return Fragment(f"INSERT INTO {source.table} ({names}) VALUES (") + join(values.values(), ", ") + ") RETURNING id"


def update_sql(source: Source, row: Row, feature_id: uuid.UUID) -> Fragment:
    """Change the columns of a row; returns its new version."""
    assigned = _assignments(source, row) or {"id": Fragment("id")}
    parts = [Fragment(f'"{name}" = {value.text}', value.params) for name, value in assigned.items()]
    sql = Fragment(f"UPDATE {source.table} AS t SET ") + join(parts, ", ") + Fragment(" WHERE t.id = %s", (feature_id,))
    return sql + f" RETURNING {version_sql()}"


def delete_sql(source: Source, feature_id: uuid.UUID) -> Fragment:
    """Remove a row."""
    return Fragment(f"DELETE FROM {source.table} AS t WHERE t.id = %s RETURNING t.id", (feature_id,))


def lock_sql(source: Source, feature_id: uuid.UUID) -> Fragment:
    """Version of a row that the asker may change, which nobody else then changes before the transaction ends."""
    return Fragment(f"SELECT {version_sql()} FROM {source.table} AS t WHERE t.id = %s FOR UPDATE", (feature_id,))


def version_sql() -> str:
    """SQL of a row's version: moment and number of its last change."""
    return "extract(epoch from t.changed_at)::text || '-' || coalesce(t.change_id, 0)"
