"""JSON Schemas of a collection (Features Part 5): schema, queryables, sortables; from the layer's declaration."""

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.access import principal_of
from api.asking import language, read_format, reject_unknown
from api.html import page
from api.state import State
from layers.declaration import FieldDeclaration
from layers.query.source import Source

__all__ = ["get_queryables", "get_schema", "get_sortables", "property_schema", "schema_of"]

_JSON_TYPES: dict[str, dict[str, Any]] = {
    "text": {"type": "string"}, "code": {"type": "string"}, "int": {"type": "integer"}, "num": {"type": "number"},
    "bool": {"type": "boolean"}, "date": {"type": "string", "format": "date"}, "datetime": {"type": "string", "format": "date-time"},
    "ref": {"type": "string", "format": "uuid"}, "uuid": {"type": "string", "format": "uuid"},
    "text[]": {"type": "array", "items": {"type": "string"}},
}  # fmt: skip
_GEOMETRIES = {
    "Point": "Point", "MultiPoint": "MultiPoint", "LineString": "LineString", "LineStringM": "LineString",
    "MultiLineString": "MultiLineString", "Polygon": "Polygon", "MultiPolygon": "MultiPolygon", "Geometry": "Geometry",
}  # fmt: skip


def geometry_ref(kind: str) -> dict[str, str]:
    """How a schema says what geometry stands in a property: by name of the GeoJSON schema, and by format (Part 5, clause 7.6)."""
    name = _GEOMETRIES[kind]
    formats = {"Geometry": "geometry-any"}
    return {"$ref": f"https://geojson.org/schema/{name}.json", "format": formats.get(name, f"geometry-{name.lower()}")}


def property_schema(field: FieldDeclaration, lang: str) -> dict[str, Any]:
    """Schema of one property, titles in ``lang`` and in the other language."""
    zh = lang == "zh"
    if field.type == "geometry":
        return {"title": field.title(lang), **geometry_ref(str(field.geometry))}
    schema: dict[str, Any] = {"title": field.title(lang), "x-title-zh": field.title_zh, "x-title-en": field.title_en}
    if field.domain:
        schema["type"] = "integer" if field.is_integer_domain else "string"
        schema["oneOf"] = [{"const": term.value, "title": term.zh if zh else term.en} for term in field.domain]
        schema["enum"] = [term.value for term in field.domain]
    else:
        schema.update(_JSON_TYPES[field.type])
    description = field.description_zh if zh else field.description_en
    if description:
        schema["description"] = description
    if field.unit:
        schema["x-ogc-unit"] = field.unit
    if field.length and schema.get("type") == "string":
        schema["maxLength"] = field.length
    if field.type == "code":
        schema["minLength"] = field.length
    for word, value in (("pattern", field.pattern), ("minimum", field.minimum), ("maximum", field.maximum)):
        if value is not None:
            schema[word] = value
    if field.references:
        schema["x-ogc-role"] = "reference"
        schema["x-ogc-collectionId"] = field.references
    return schema


def schema_of(source: Source, lang: str, *, kind: str, address: str) -> dict[str, Any]:
    """The document: ``kind`` is ``schema``, ``queryables`` or ``sortables``."""
    zh = lang == "zh"
    properties: dict[str, Any] = {"id": {"title": "标识" if zh else "Id", "type": "string", "format": "uuid", "x-ogc-role": "id", "readOnly": True}}
    if source.has_geometry and kind != "sortables":
        title = "位置" if zh else "Geometry"
        properties["geometry"] = {"title": title, "x-ogc-role": "primary-geometry", **geometry_ref(source.declaration.geometry)}
    for position, field in enumerate(source.fields):
        if kind == "sortables" and field.type in ("geometry", "text[]"):
            continue
        schema = property_schema(field, lang)
        if kind == "schema":
            schema["x-ogc-propertySeq"] = position + 1
        roles = {"valid_from": "primary-interval-start", "valid_to": "primary-interval-end"}
        if field.name in roles:
            schema["x-ogc-role"] = roles[field.name]
        properties[field.name] = schema
    properties["changed_at"] = {"title": "修改时间" if zh else "Changed at", "type": "string", "format": "date-time", "readOnly": True}
    document: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "$id": address, "type": "object",
        "title": source.declaration.title(lang), "properties": properties,
        "additionalProperties": False,
    }  # fmt: skip
    if kind == "schema":
        document["required"] = [f.name for f in source.fields if f.required and f.name not in ("classification", "synthetic", "geom_repaired")]
        description = source.declaration.description_zh if zh else source.declaration.description_en
        if description:
            document["description"] = description
    return document


async def _answer(request: Request, kind: str) -> Response:
    state: State = request.app.state.baige
    reject_unknown(request.query_params, ("f", "lang"))
    principal = await principal_of(request)
    source = await state.catalogue.find(request.path_params["collection"], principal.role)
    lang = language(request.query_params, request.headers)
    accept = "json" if "schema+json" in request.headers.get("accept", "") and "f" not in request.query_params else None
    format_ = accept or read_format(request.query_params, request.headers, ("json", "html"))
    document = schema_of(source, lang, kind=kind, address=f"{state.serve.base_url}/collections/{source.name}/{kind}")
    headers = {"Content-Language": lang, "Cache-Control": "no-cache", "Vary": "Accept, Accept-Language, Authorization, Cookie, X-API-Key"}
    if format_ == "html":
        return page(state, "schema", lang, {"source": source, "kind": kind, "document": document})
    return Response(orjson.dumps(document), headers=headers, media_type="application/schema+json")


async def get_schema(request: Request) -> Response:
    """Schema of the features of a collection."""
    return await _answer(request, "schema")


async def get_queryables(request: Request) -> Response:
    """What may be filtered by."""
    return await _answer(request, "queryables")


async def get_sortables(request: Request) -> Response:
    """What may be sorted by."""
    return await _answer(request, "sortables")
