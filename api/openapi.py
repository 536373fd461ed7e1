"""The API document (OpenAPI 3.0.3): every route and parameter that there is, with all schemas in the document itself."""

from collections.abc import Callable
from typing import Any

from api.asking import FORMATS
from api.openapi_parts import JSON, document, get, parameter, ref
from api.openapi_services import STYLE_CONTENT, add_services, service_parameters, service_schemas
from api.schemas import property_schema
from api.state import State
from layers.query.source import Source
from layers.query.tilegrid import MATRIX_SETS

__all__ = ["openapi_document"]

OPENAPI = "application/vnd.oai.openapi+json;version=3.0"
_PROBLEM = "application/problem+json"


def _parameters(state: State) -> dict[str, Any]:
    text = {"type": "string"}
    crs = {"type": "string", "format": "uri"}
    separate: dict[str, Any] = {"style": "form", "explode": False}
    return {
        "f": parameter("f", {"type": "string", "enum": ["json", "html"]}, "Format of the answer"),
        "f-items": parameter("f", {"type": "string", "enum": list(FORMATS)}, "Format of the answer"),
        "f-item": parameter("f", {"type": "string", "enum": ["json", "jsonfg", "html"]}, "Format of the answer"),
        "lang": parameter("lang", {"type": "string", "enum": ["en", "zh"]}, "Language of titles and messages"),
        "limit": parameter(
            "limit",
            {"type": "integer", "minimum": 1, "maximum": state.serve.limit_max, "default": state.serve.limit_default},
            "Features on a page", **separate,
        ),
        "bbox": parameter(
            "bbox",
            {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 6},
            "Features that touch a box: lower left and upper right corner", **separate,
        ),
        "bbox-crs": parameter("bbox-crs", crs, "Reference system of bbox", **separate),
        "crs": parameter("crs", crs, "Reference system of the answer", **separate),
        "datetime": parameter("datetime", text, "Features valid at an instant or in a period start/end", **separate),
        "as-of": parameter("as-of", {"type": "string", "format": "date-time"}, "The layer as it was recorded at this instant", **separate),
        "filter": parameter("filter", text, "Condition in CQL2"),
        "filter-lang": parameter("filter-lang", {"type": "string", "enum": ["cql2-text", "cql2-json"]}, "Language of filter"),
        "filter-crs": parameter("filter-crs", crs, "Reference system of coordinates in filter"),
        "sortby": parameter("sortby", {"type": "array", "items": text}, "Properties to sort by, - before one for descending", **separate),
        "properties": parameter("properties", {"type": "array", "items": text}, "Properties wanted", **separate),
        "q": parameter("q", text, "Words that names or codes contain"),
        "ids": parameter("ids", {"type": "array", "items": {"type": "string", "format": "uuid"}}, "Features of these ids", **separate),
        "cursor": parameter("cursor", text, "Where a page begins; taken from the link next"),
        "skipGeometry": parameter("skipGeometry", {"type": "boolean", "default": False}, "Leave geometries out"),
        "bom": parameter("bom", {"type": "boolean", "default": False}, "f=csv: begin with a byte order mark, for Excel"),
        "featureId": parameter("featureId", {"type": "string", "format": "uuid"}, "Id of a feature", where="path"),
        "tileMatrixSetId": parameter("tileMatrixSetId", {"type": "string", "enum": list(MATRIX_SETS)}, "Tile matrix set", where="path"),
        "tileMatrix": parameter("tileMatrix", {"type": "integer", "minimum": 0, "maximum": 22}, "Zoom", where="path"),
        "tileRow": parameter("tileRow", {"type": "integer", "minimum": 0}, "Row", where="path"),
        "tileCol": parameter("tileCol", {"type": "integer", "minimum": 0}, "Column", where="path"),
        "If-Match": parameter("If-Match", text, "Entity tag that the feature must still have", where="header"),
        **service_parameters(),
        "Content-Crs": parameter("Content-Crs", text, "Reference system of the body's coordinates", where="header"),
    }


def _schemas() -> dict[str, Any]:
    link = {
        "type": "object", "required": ["href"],
        "properties": {"href": {"type": "string"}, "rel": {"type": "string"}, "type": {"type": "string"}, "title": {"type": "string"},
                       "hreflang": {"type": "string"}, "templated": {"type": "boolean"}},
    }  # fmt: skip
    links = {"type": "array", "items": ref("schemas", "link")}
    geometry = {
        "type": "object", "nullable": True, "required": ["type"],
        "properties": {"type": {"type": "string"}, "coordinates": {"type": "array", "items": {}}},
    }  # fmt: skip
    feature = {
        "type": "object", "required": ["type", "geometry", "properties"],
        "properties": {"type": {"type": "string", "enum": ["Feature"]}, "id": {"type": "string"}, "geometry": ref("schemas", "geometry"),
                       "properties": {"type": "object", "nullable": True}, "links": links},
    }  # fmt: skip
    collection = {
        "type": "object", "required": ["id", "links"],
        "properties": {"id": {"type": "string"}, "title": {"type": "string"}, "description": {"type": "string"}, "links": links,
                       "extent": {"type": "object"}, "itemType": {"type": "string"}, "crs": {"type": "array", "items": {"type": "string"}},
                       "storageCrs": {"type": "string"}},
    }  # fmt: skip
    return {
        "link": link,
        "geometry": geometry,
        "feature": feature,
        "featureCollection": {
            "type": "object", "required": ["type", "features"],
            "properties": {"type": {"type": "string", "enum": ["FeatureCollection"]},
                           "features": {"type": "array", "items": ref("schemas", "feature")}, "links": links,
                           "numberMatched": {"type": "integer", "minimum": 0}, "numberReturned": {"type": "integer", "minimum": 0},
                           "timeStamp": {"type": "string", "format": "date-time"}},
        },
        "landingPage": {"type": "object", "required": ["links"],
                        "properties": {"title": {"type": "string"}, "description": {"type": "string"}, "links": links}},
        "conformance": {"type": "object", "required": ["conformsTo"],
                        "properties": {"conformsTo": {"type": "array", "items": {"type": "string"}}}},
        "collection": collection,
        "collections": {"type": "object", "required": ["links", "collections"],
                        "properties": {"links": links, "collections": {"type": "array", "items": ref("schemas", "collection")}}},
        "problem": {
            "type": "object", "required": ["title", "status"],
            "properties": {"type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
                           "detail": {"type": "string"}, "instance": {"type": "string"}, "errors": {"type": "array", "items": {"type": "object"}}},
        },
    }  # fmt: skip


def _responses() -> dict[str, Any]:
    problem = {_PROBLEM: {"schema": ref("schemas", "problem")}}
    texts = {
        "400": "A parameter or the body is not as it should be", "401": "The access key is not valid", "403": "The role may not do that",
        "404": "There is no such resource", "409": "The state does not allow it", "412": "The feature has changed",
        "413": "Larger than is allowed", "415": "Media type not understood", "422": "The content breaks the schema",
        "503": "Not available now, or it would take too long", "500": "A fault of the server",
    }  # fmt: skip
    found: dict[str, Any] = {code: {"description": text, "content": problem} for code, text in texts.items()}
    found["304"] = {"description": "Not changed"}
    return found


def _feature_content(schema: str) -> dict[str, Any]:
    content: dict[str, Any] = {"application/geo+json": {"schema": ref("schemas", schema)}, FORMATS["jsonfg"]: {"schema": {"type": "object"}}}
    content["text/html"] = {"schema": {"type": "string"}}
    return content


def _edits(source: Source, tag: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Operations that write: on the collection, and on a feature."""
    body = {
        "required": True,
        "content": {"application/geo+json": {"schema": ref("schemas", f"write_{source.name}")}},
    }

    def operation(summary: str, name: str, ok: str, codes: tuple[str, ...], *, with_body: bool, preconditions: bool) -> dict[str, Any]:
        responses: dict[str, Any] = {ok: {"description": "Done"}}
        for code in ("400", "401", "403", "404", "409", "413", "415", "422", "500", "503", *codes):
            responses[code] = ref("responses", code)
        parameters = [ref("parameters", "If-Match")] if preconditions else []
        if with_body:
            parameters.append(ref("parameters", "Content-Crs"))
        found: dict[str, Any] = {"summary": summary, "operationId": name, "tags": [tag], "responses": responses, "parameters": parameters,
                                 "security": [{"apiKey": []}, {"basic": []}, {"bearer": []}]}  # fmt: skip
        if with_body:
            found["requestBody"] = body
        return found

    n = source.name
    post = operation("Add a feature, or several at once", f"{n}.add", "201", (), with_body=True, preconditions=False)
    put = operation("Replace a feature", f"{n}.replace", "204", ("412",), with_body=True, preconditions=True)
    patch = operation("Change some properties of a feature", f"{n}.update", "204", ("412",), with_body=True, preconditions=True)
    patch["requestBody"] = {"required": True, "content": {"application/merge-patch+json": {"schema": {"type": "object"}},
                                                          "application/geo+json": {"schema": {"type": "object"}}}}  # fmt: skip
    delete = operation("Remove a feature", f"{n}.remove", "204", ("412",), with_body=False, preconditions=True)
    return {"post": post}, {"put": put, "patch": patch, "delete": delete}


def _write_schema(source: Source) -> dict[str, Any]:
    properties = {}
    for field in source.fields:
        schema = {k: v for k, v in property_schema(field, "en").items() if not k.startswith("x-") and k not in ("oneOf", "$ref", "format")}
        schema.setdefault("type", "object" if field.type == "geometry" else "string")
        properties[field.name] = {**schema, "nullable": not field.required}
        if "enum" in schema and not field.required:
            properties[field.name]["enum"] = [*schema["enum"], None]
    geometry: dict[str, Any] = ref("schemas", "geometry")
    return {
        "type": "object", "required": ["type", "geometry", "properties"],
        "properties": {"type": {"type": "string", "enum": ["Feature", "FeatureCollection"]}, "geometry": geometry,
                       "properties": {"type": "object", "properties": properties}},
    }  # fmt: skip


def _add_changes(paths: dict[str, Any], add: Callable[..., None]) -> None:
    """Change sets, and taking one back."""
    data, whole = document(None, html=False), {"type": "integer", "minimum": 1}
    add("/changes", "Change sets that the asker may see, the newest first", data, "changes")
    asked: dict[str, dict[str, Any]] = {"layer": {"type": "string"}, "limit": {**whole, "maximum": 1000, "default": 100}, "before": whole}
    paths["/changes"]["get"]["parameters"] += [parameter(n, schema, n) for n, schema in asked.items()]
    add("/changes/{change}/undo", "Take a change set back, whole or not at all", data, "undoChange", "change", method="post")
    undo = paths["/changes/{change}/undo"]["post"]
    note = {"type": "string", "maxLength": 500}
    undo["requestBody"] = {"content": {JSON: {"schema": {"type": "object", "additionalProperties": False, "properties": {"note": note}}}}}
    for operation, codes in ((undo, ("403", "409", "413", "415")), (paths["/changes"]["get"], ("403",))):
        for code in codes:
            operation["responses"][code] = ref("responses", code)


def _add_river_and_rules(paths: dict[str, Any]) -> None:
    """The river's stations, and the rules with their waivers."""
    plain = ["f", "lang"]
    job = ("404",)

    def path(name: str) -> dict[str, Any]:
        return parameter(name, {"type": "string"}, f"Id of a {name}", where="path")

    def add(address: str, summary: str, content: dict[str, Any], name: str, *names: str, method: str = "get", ok: str = "200") -> None:
        operation = get(summary, plain if not names else ["lang"], content, tag="server", name=name, codes=job)
        operation.setdefault("parameters", [])
        operation["parameters"] += [path(n) for n in names]
        if ok != "200":
            operation["responses"][ok] = operation["responses"]["200"]
        paths.setdefault(address, {})[method] = operation

    data = document(None, html=False)
    number, text = {"type": "number"}, {"type": "string"}
    place: dict[str, dict[str, Any]] = {"station": text, "reach": text, "lon": number, "lat": number, "feature": text, "of": text, "layer": text}
    river: tuple[tuple[str, str, dict[str, dict[str, Any]]], ...] = (
        ("", "Reaches of the river", {}),
        ("/locate", "Station, side and offset of a point", {"lon": number, "lat": number, "reach": text}),
        ("/place", "Point at a station such as K12+345", {"station": text, "reach": text, "offset": number}),
        ("/section", "Stretch of the axis between two stations", {"from": text, "to": text, "reach": text}),
        ("/upstream", "What lies upstream, in the order of the water", {**place, "within": number}),
        ("/downstream", "What the water comes to, the nearest first", {**place, "limit": {"type": "integer", "minimum": 1}}),
    )
    for name, summary, schemas in river:
        add(f"/river{name}", summary, data, f"river{name.removeprefix('/').title()}")
        asked: dict[str, dict[str, Any]] = {**schemas, "version": {"type": "integer", "minimum": 1}}
        paths[f"/river{name}"]["get"]["parameters"] += [parameter(n, schema, n) for n, schema in asked.items()]
    add("/scenarios", "Scenarios that are kept", data, "scenarios")
    add("/scenarios/preview", "What changes of cameras would bring", data, "previewScenario", method="post")
    preview = paths["/scenarios/preview"]["post"]
    preview["parameters"] = [ref("parameters", "lang")]
    preview["requestBody"] = {"required": True, "content": {JSON: {"schema": {
        "type": "object", "required": ["rows"],
        "properties": {"rows": {"type": "array", "maxItems": 2000, "items": {"type": "object"}},
                       "focus": {"type": "array", "items": {"type": "string"}}}}}}}  # fmt: skip
    for operation in (preview, paths["/scenarios"]["get"]):
        for code in ("403", "409", "413", "415"):
            operation["responses"][code] = ref("responses", code)
    _add_changes(paths, add)
    add("/rules", "Rules and their sources", data, "rules")
    add("/rules/{rule}", "A rule and its source", data, "rule", "rule")
    add("/rules/waivers", "Waivers of findings", data, "waivers")
    paths["/rules/waivers"]["get"]["parameters"].append(parameter("all", {"type": "boolean", "default": False}, "Also those that have ended"))
    add("/rules/waivers", "Let a finding pass until a day", data, "waive", method="post", ok="201")
    add("/rules/waivers/{waiver}", "End a waiver", data, "endWaiver", "waiver", method="delete")
    waive = paths["/rules/waivers"]["post"]
    waive["parameters"] = [ref("parameters", "lang")]
    waive["requestBody"] = {"required": True, "content": {JSON: {"schema": {
        "type": "object", "required": ["finding", "reason", "expires_on"], "additionalProperties": False,
        "properties": {"finding": {"type": "string", "format": "uuid"}, "reason": {"type": "string", "minLength": 1, "maxLength": 2000},
                       "expires_on": {"type": "string", "format": "date"}, "any_other": {"type": "boolean", "default": False}}}}}}  # fmt: skip
    for operation in (waive, paths["/rules/waivers/{waiver}"]["delete"]):
        for code in ("403", "404", "409", "413", "415"):
            operation["responses"][code] = ref("responses", code)


def openapi_document(state: State, lang: str, role: str) -> dict[str, Any]:
    """The whole document, for what ``role`` may see; titles in ``lang``."""
    schemas = _schemas() | service_schemas()
    plain = ["f", "lang"]
    tiled = ["tileMatrixSetId", "tileMatrix", "tileRow", "tileCol"]
    paths: dict[str, Any] = {
        "/": {"get": get("Landing page", plain, document("landingPage"), tag="server", name="landing")},
        "/conformance": {"get": get("Requirements classes", plain, document("conformance"), tag="server", name="conformance")},
        "/openapi": {"get": get("This document", plain, document(None, OPENAPI), tag="server", name="openapi")},
        "/collections": {"get": get("Collections", plain, document("collections"), tag="server", name="collections")},
        "/functions": {"get": get("Functions of filters", ["lang"], document(None, html=False), tag="server", name="functions")},
        "/tileMatrixSets": {"get": get("Tile matrix sets", plain, document(None), tag="server", name="tileMatrixSets")},
        "/tileMatrixSets/{tileMatrixSetId}": {
            "get": get("A tile matrix set", ["tileMatrixSetId", "lang"], document(None, html=False), tag="server", name="tileMatrixSet",
                        codes=("404",)),
        },
    }  # fmt: skip
    add_services(paths)
    _add_river_and_rules(paths)
    tags = [{"name": "server", "description": "The server"}]
    for name in state.catalogue.layers:
        source = state.catalogue.source(name, role)
        layer = source.declaration
        title = layer.title(lang)
        tags.append({"name": name, "description": title})
        here = f"/collections/{name}"
        schema = document(None, "application/schema+json")
        paths[here] = {"get": get(title, plain, document("collection"), tag=name, name=f"{name}.describe", codes=("404",))}
        for kind in ("schema", "queryables", "sortables"):
            paths[f"{here}/{kind}"] = {"get": get(f"{title}: {kind}", plain, schema, tag=name, name=f"{name}.{kind}", codes=("404",))}
        listed = ["f-items", "lang", "limit", "bbox", "bbox-crs", "crs", "datetime", "filter", "filter-lang", "filter-crs", "sortby", "properties",
                  "q", "ids", "cursor", "skipGeometry", "bom", "as-of"]  # fmt: skip
        content = _feature_content("featureCollection")
        content |= {FORMATS[f]: {"schema": {"type": "string", "format": "binary"}} for f in ("csv", "fgb", "parquet", "gpkg", "xlsx")}
        items: dict[str, Any] = {"get": get(f"{title}: features", listed, content, tag=name, name=f"{name}.items", codes=("404", "413"))}
        for column in source.columns.values():
            if column.kind in ("geometry", "text[]", "datetime") or column.name == "id":
                continue
            field = layer.field(column.name)
            own = {k: v for k, v in property_schema(field, lang).items() if k in ("type", "enum", "format")}
            items["get"]["parameters"].append(parameter(column.name, own, field.title(lang)))
        item = {"get": get(f"{title}: a feature", ["featureId", "f-item", "lang", "crs", "as-of"], _feature_content("feature"), tag=name,
                            name=f"{name}.item", codes=("404",))}  # fmt: skip
        if layer.kind != "result" and role in ("officer", "planner", "admin"):
            collection_edits, feature_edits = _edits(source, name)
            items |= collection_edits
            for operation in feature_edits.values():
                operation["parameters"].insert(0, ref("parameters", "featureId"))
            item |= feature_edits
            schemas[f"write_{name}"] = _write_schema(source)
        paths[f"{here}/items"] = items
        paths[f"{here}/items/{{featureId}}"] = item
        if source.has_geometry:
            paths[f"{here}/tiles"] = {"get": get(f"{title}: tile sets", plain, document(None), tag=name, name=f"{name}.tilesets", codes=("404",))}
            paths[f"{here}/styles"] = {"get": get(f"{title}: styles", plain, document("styles"), tag=name, name=f"{name}.styles", codes=("404",))}
            paths[f"{here}/styles/default"] = {"get": get(f"{title}: the style", ["f-style", "lang"], STYLE_CONTENT, tag=name, name=f"{name}.style",
                                                          codes=("404",))}  # fmt: skip
            tilejson = get(f"{title}: TileJSON", ["tileMatrixSetId", "lang"], document(None, html=False), tag=name, name=f"{name}.tilejson",
                           codes=("404",))  # fmt: skip
            paths[f"{here}/tiles/{{tileMatrixSetId}}/metadata"] = {"get": tilejson}
            tile_path = f"{here}/tiles/{{tileMatrixSetId}}"
            paths[tile_path] = {"get": get(f"{title}: a tile set", ["tileMatrixSetId", "lang"], document(None, html=False), tag=name,
                                            name=f"{name}.tileset", codes=("404",))}  # fmt: skip
            tile = get(f"{title}: a tile", [*tiled, "filter", "filter-lang", "as-of"],
                        {"application/vnd.mapbox-vector-tile": {"schema": {"type": "string", "format": "binary"}}},
                        tag=name, name=f"{name}.tile", codes=("404", "413"))  # fmt: skip
            tile["responses"]["204"] = {"description": "Nothing in this tile"}
            paths[f"{tile_path}/{{tileMatrix}}/{{tileRow}}/{{tileCol}}"] = {"get": tile}
    zh = lang == "zh"
    city = state.city.name_zh if zh else state.city.name_en
    return {
        "openapi": "3.0.3",
        "info": {
            "title": f"百格 · {city}" if zh else f"Baige – {city}", "version": "0.1.0",
            "description": "OGC API：要素、瓦片、处理。" if zh else "OGC API: features, tiles, processes.",
            "license": {"name": "Apache-2.0"},
        },
        "servers": [{"url": state.serve.base_url}],
        "tags": tags,
        "paths": paths,
        "security": [{}, {"apiKey": []}, {"basic": []}, {"bearer": []}],
        "components": {
            "parameters": _parameters(state), "schemas": schemas, "responses": _responses(),
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }  # fmt: skip
