"""The part of the API document beside features and tiles: processes and jobs, records, rasters as coverages and maps, styles."""

from typing import Any

from api.jobs.definitions import Process, available
from api.openapi_parts import JSON, document, get, parameter, ref
from api.raster_area import MAX_SIDE_PX
from api.rasters import COVERAGE_PARAMETERS, MAP_PARAMETERS

__all__ = ["STYLE_CONTENT", "add_services", "service_parameters", "service_schemas"]

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_GEOJSON = "application/geo+json"
STYLE_CONTENT = {
    "application/vnd.mapbox.style+json": {"schema": {"type": "object", "required": ["version", "sources", "layers"]}},
    "application/vnd.ogc.sld+xml;version=1.0": {"schema": {"type": "string"}},
}


def service_parameters() -> dict[str, Any]:
    """Parameters of these operations, by the name of the component."""
    text: dict[str, Any] = {"type": "string"}
    crs = {"type": "string", "format": "uri"}
    above = {"type": "number", "minimum": 0, "exclusiveMinimum": True}
    side = {"type": "integer", "minimum": 1, "maximum": MAX_SIDE_PX}
    colour = {"type": "string", "default": "0xFFFFFF"}
    separate: dict[str, Any] = {"style": "form", "explode": False}
    return {
        "f-style": parameter("f", {"type": "string", "enum": ["maplibre", "mapbox", "json", "sld"]}, "Language of the style"),
        "f-coverage": parameter("f", {"type": "string", "enum": ["tif", "cog"]}, "GeoTIFF, or cloud optimised"),
        "f-map": parameter("f", {"type": "string", "enum": ["png"]}, "Format of the picture"),
        "jobId": parameter("jobId", {"type": "string", "format": "uuid"}, "Id of a job", where="path"),
        "recordId": parameter("recordId", text, "Id of a record: a layer, or run-…", where="path"),
        "rasterId": parameter("rasterId", text, "Id of a raster", where="path"),
        "limit-jobs": parameter("limit", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}, "Jobs listed", **separate),
        "recordType": parameter("type", {"type": "string", "enum": ["dataset", "analysis-run"]}, "Kind of record"),
        "Prefer": parameter("Prefer", {"type": "string", "enum": ["respond-async"]}, "Answer with the job at once", where="header"),
        "subset": parameter("subset", {"type": "array", "items": text}, "Intervals by axis: Lat(30:31),Lon(111:112)", **separate),
        "subset-crs": parameter("subset-crs", crs, "Reference system of subset"),
        "scale-factor": parameter("scale-factor", {"type": "number", "minimum": 0.01, "maximum": 1e6}, "2: half as many cells a side"),
        "scale-size": parameter("scale-size", {"type": "array", "items": text}, "Cells by axis: Lon(100),Lat(80)", **separate),
        "center": parameter("center", {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}, "Middle of the map", **separate),
        "center-crs": parameter("center-crs", crs, "Reference system of center"),
        "width": parameter("width", side, "Width in pixels"),
        "height": parameter("height", side, "Height in pixels"),
        "scale-denominator": parameter("scale-denominator", above, "Metres on the ground for a metre on the display"),
        "mm-per-pixel": parameter("mm-per-pixel", {**above, "default": 0.28}, "Side of a pixel of the display"),
        "bgcolor": parameter("bgcolor", colour, "Colour where there are no data: 0xRRGGBB or the name of a web colour"),
        "transparent": parameter("transparent", {"type": "boolean"}, "Whether that is transparent; true without bgcolor, else false"),
        "void-color": parameter("void-color", colour, "Colour of places outside the reference system"),
        "void-transparent": parameter("void-transparent", {"type": "boolean"}, "Whether that is transparent"),
    }  # fmt: skip


def service_schemas() -> dict[str, Any]:
    """Schemas of these operations' answers."""
    links = {"type": "array", "items": ref("schemas", "link")}
    moment = {"type": "string", "format": "date-time"}
    job = {
        "type": "object", "required": ["jobID", "status", "type"],
        "properties": {
            "type": {"type": "string", "enum": ["process"]}, "jobID": {"type": "string", "format": "uuid"}, "processID": {"type": "string"},
            "status": {"type": "string", "enum": ["accepted", "running", "successful", "failed", "dismissed"]}, "message": {"type": "string"},
            "progress": {"type": "integer", "minimum": 0, "maximum": 100}, "created": moment, "started": moment, "updated": moment,
            "finished": moment, "links": links,
        },
    }  # fmt: skip
    raster = {
        "type": "object", "required": ["id", "storageCrs", "crs", "extent", "links"],
        "properties": {
            "id": {"type": "string"}, "title": {"type": "string"}, "kind": {"type": "string"}, "storageCrs": {"type": "string"},
            "crs": {"type": "array", "items": {"type": "string"}}, "extent": {"type": "object"}, "cell_m": {"type": "number"},
            "verticalCrs": {"type": "string", "nullable": True}, "synthetic": {"type": "boolean"}, "created": moment, "links": links,
        },
    }  # fmt: skip
    record = {
        "type": "object", "required": ["id", "type", "geometry", "properties", "links"],
        "properties": {
            "id": {"type": "string"}, "type": {"type": "string", "enum": ["Feature"]}, "geometry": ref("schemas", "geometry"),
            "time": {"type": "object", "nullable": True}, "conformsTo": {"type": "array", "items": {"type": "string"}}, "links": links,
            "properties": {"type": "object", "required": ["type", "title"],
                           "properties": {"type": {"type": "string"}, "title": {"type": "string"}}},
        },
    }  # fmt: skip
    style = {"type": "object", "required": ["id", "links"], "properties": {"id": {"type": "string"}, "title": {"type": "string"}, "links": links}}
    return {
        "job": job,
        "jobs": {"type": "object", "required": ["jobs", "links"],
                 "properties": {"jobs": {"type": "array", "items": ref("schemas", "job")}, "links": links}},
        "result": {"type": "object", "required": ["result", "links"], "properties": {"result": {"type": "object"}, "links": links}},
        "process": {"type": "object", "required": ["id", "version", "jobControlOptions", "inputs", "outputs"],
                    "properties": {"id": {"type": "string"}, "title": {"type": "string"}, "description": {"type": "string"},
                                   "version": {"type": "string"},
                                   "jobControlOptions": {"type": "array", "items": {"type": "string"}}, "inputs": {"type": "object"},
                                   "outputs": {"type": "object"}, "links": links}},
        "processes": {"type": "object", "required": ["processes", "links"],
                      "properties": {"processes": {"type": "array", "items": {"type": "object", "required": ["id", "version"]}}, "links": links}},
        "raster": raster,
        "rasters": {"type": "object", "required": ["rasters", "links"],
                    "properties": {"rasters": {"type": "array", "items": ref("schemas", "raster")}, "links": links}},
        "record": record,
        "records": {"type": "object", "required": ["type", "features", "numberMatched", "numberReturned"],
                    "properties": {"type": {"type": "string", "enum": ["FeatureCollection"]}, "links": links,
                                   "features": {"type": "array", "items": ref("schemas", "record")},
                                   "numberMatched": {"type": "integer"}, "numberReturned": {"type": "integer"}}},
        "styles": {"type": "object", "required": ["styles", "links"],
                   "properties": {"styles": {"type": "array", "items": style}, "default": {"type": "string"}, "links": links}},
    }  # fmt: skip


def _in_openapi(schema: Any) -> Any:
    """JSON Schema (2020-12) in the words of OpenAPI 3.0."""
    if isinstance(schema, list):
        return [_in_openapi(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _in_openapi(value) for name, value in schema.items() if not name.startswith("x-")}
    for bound in ("minimum", "maximum"):
        own = "exclusive" + bound.capitalize()
        if isinstance(found.get(own), int | float) and not isinstance(found[own], bool):
            found[bound], found[own] = found[own], True
    if "const" in found:
        found["enum"] = [found.pop("const")]
    return found


def _inputs(process: Process) -> dict[str, Any]:
    """The body that runs a process, in the schema language of OpenAPI 3.0."""
    schema = process.schema
    properties = {name: _in_openapi(own) for name, own in process.inputs.items()}
    inputs: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if schema["required"]:
        inputs["required"] = schema["required"]
    return {"type": "object", "properties": {"inputs": inputs}, **({"required": ["inputs"]} if schema["required"] else {})}


def _processes(paths: dict[str, Any]) -> None:
    export = dict.fromkeys(("text/csv", "application/geopackage+sqlite3", "application/flatgeobuf", "application/vnd.apache.parquet"), _BINARY)
    paths["/processes"] = {"get": get("Processes", ["f", "lang", "limit"], document("processes"), tag="server", name="processes")}
    for process in available().values():
        here, title = f"/processes/{process.id}", process.title[0]
        paths[here] = {"get": get(title, ["f", "lang"], document("process"), tag="server", name=f"process.{process.id}")}
        done = export if process.command is None else document("result", html=False)
        execute = get(f"Run: {title}", ["lang", "Prefer"], done, tag="server", name=f"execute.{process.id}",
                      codes=("403", "404", "409", "413", "415", "422"))  # fmt: skip
        del execute["responses"]["304"]
        execute["responses"]["201"] = {"description": "The job was made", "content": {JSON: {"schema": ref("schemas", "job")}},
                                       "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}}}  # fmt: skip
        execute["requestBody"] = {"required": True, "content": {JSON: {"schema": _inputs(process)}}}
        paths[f"{here}/execution"] = {"post": execute}
    job = document("job", html=False)
    paths["/jobs"] = {"get": get("The asker's jobs", ["f", "lang", "limit-jobs"], document("jobs"), tag="server", name="jobs")}
    paths["/jobs/{jobId}"] = {
        "get": get("A job", ["jobId", "lang"], job, tag="server", name="job", codes=("404",)),
        "delete": get("Dismiss a job, or forget one that has ended", ["jobId", "lang"], job, tag="server", name="dismissJob", codes=("404", "409")),
    }
    results = get("Result of a job", ["jobId", "lang"], {**document("result", html=False), **export}, tag="server", name="results", codes=("404",))
    paths["/jobs/{jobId}/results"] = {"get": results}


def add_services(paths: dict[str, Any]) -> None:
    """Add the operations to a document's paths."""
    _processes(paths)
    plain = ["f", "lang"]

    def add(address: str, summary: str, parameters: list[str], content: dict[str, Any], name: str, *codes: str) -> dict[str, Any]:
        operation = get(summary, parameters, content, tag="server", name=name, codes=codes)
        paths[address] = {"get": operation}
        return operation

    html = {"text/html": {"schema": {"type": "string"}}}
    many = {_GEOJSON: {"schema": ref("schemas", "records")}, **html}
    add("/records", "Catalogue of layers and runs", [*plain, "q", "recordType", "limit"], many, "records")
    add("/records/{recordId}", "A record", ["recordId", *plain], {_GEOJSON: {"schema": ref("schemas", "record")}, **html}, "record", "404")
    add("/rasters", "Rasters", plain, document("rasters"), "rasters")
    add("/rasters/{rasterId}", "A raster", ["rasterId", *plain], document("raster"), "raster", "404")
    tiff = {"image/tiff; application=geotiff": _BINARY, "image/tiff; application=geotiff; profile=cloud-optimized": _BINARY}
    asked = ["rasterId", "f-coverage", "lang", *COVERAGE_PARAMETERS]
    values = add("/rasters/{rasterId}/coverage", "Values of a raster", asked, tiff, "rasterCoverage", "404", "413")
    picture = add("/rasters/{rasterId}/map", "A picture of a raster", ["rasterId", "f-map", "lang", *MAP_PARAMETERS], {"image/png": _BINARY},
                  "rasterMap", "404", "413")  # fmt: skip
    for operation in (values, picture):
        operation["responses"]["204"] = {"description": "The raster has nothing there"}
        for header in ("Content-Crs", "Content-Bbox"):
            operation["responses"]["200"].setdefault("headers", {})[header] = {"schema": {"type": "string"}}
