"""The API document is valid, whole and self-contained, and what it says is what the server does."""

import json
import re
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import validate
from starlette.routing import Route


def document(served: Any, role: str) -> dict[str, Any]:
    found: dict[str, Any] = served.get("/openapi", role=role).json()
    return found


@pytest.mark.parametrize("role", ["viewer", "planner"])
def test_it_is_valid_and_refers_to_nothing_outside(served: Any, role: str) -> None:
    found = document(served, role)
    validate(found)
    references = re.findall(r'"\$ref":\s*"([^"]+)"', json.dumps(found))
    assert references and all(r.startswith("#/components/") for r in references)
    limit = found["components"]["parameters"]["limit"]["schema"]
    assert (limit["default"], limit["maximum"]) == (1000, 10000)
    assert {"apiKey", "basic", "bearer"} <= set(found["components"]["securitySchemes"])
    names = [op["operationId"] for path in found["paths"].values() for op in path.values()]
    assert len(names) == len(set(names))


def test_every_route_is_described(served: Any) -> None:
    """Each address of the server, with a collection and a process put in, has its operation in the document, and the other way round."""
    found = document(served, "planner")
    described = {(re.sub(r"\{[^}]*\}", "{}", path), method.upper()) for path, item in found["paths"].items() for method in item}
    from api.app import _routes

    for route in _routes(served.state.settings):
        if not isinstance(route, Route) or re.match(r"^/(portal|healthz|readyz|metrics|api$|TileMatrixSets)|.*/tilejson.json$", route.path):
            continue
        path = route.path.replace("{collection}", "kiosk").replace("{process}", "export").replace("{style}", "default")
        path = re.sub(r"\{[^}]*\}", "{}", path)
        for method in (route.methods or set()) - {"HEAD", "OPTIONS"}:
            assert (path, method) in described, (path, method)


def test_processes_are_described_with_their_inputs(served: Any) -> None:
    found = document(served, "planner")
    schema = found["paths"]["/processes/export/execution"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    validator = jsonschema.Draft202012Validator(schema)
    headers = {"X-API-Key": served.keys["planner"], "Prefer": "respond-async"}
    for inputs in ({}, {"collection": "kiosk"}, {"collection": "kiosk", "format": "xls"}, {"collection": "kiosk", "more": 1}, {"collection": 3}):
        answer = served.client.post("/processes/export/execution", json={"inputs": inputs}, headers=headers)
        assert (answer.status_code == 201) == validator.is_valid({"inputs": inputs}), inputs
        if answer.status_code == 201:
            jsonschema.validate(answer.json(), {**found["components"]["schemas"]["job"], "components": found["components"]})
            served.client.delete(answer.headers["location"], headers=headers)


def json_schema(node: Any) -> Any:
    """A schema of OpenAPI 3.0 as JSON Schema: what is nullable may be null."""
    if isinstance(node, list):
        return [json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {name: json_schema(value) for name, value in node.items()}
    return {"anyOf": [{"type": "null"}, found]} if found.pop("nullable", False) is True else found


def test_answers_fit_their_schemas(served: Any) -> None:
    found = document(served, "planner")
    nullable = json_schema(found)
    for path, name in (
        ("/collections", "collections"), ("/records", "records"), ("/rasters", "rasters"), ("/jobs", "jobs"), ("/processes", "processes"),
        ("/processes/export", "process"), ("/collections/kiosk/styles", "styles"), ("/conformance", "conformance"), ("/", "landingPage"),
        ("/collections/kiosk/items", "featureCollection"), ("/records/kiosk", "record"),
    ):  # fmt: skip
        schema = {**nullable["components"]["schemas"][name], "components": nullable["components"]}
        jsonschema.validate(served.get(path, role="planner", f="json").json(), schema)


def test_claims_beyond_features(served: Any) -> None:
    """Of Maps, Styles and Records what tests hold, and nothing of Coverages, whose rasters are no collections here."""
    claimed = served.get("/conformance").json()["conformsTo"]
    assert {uri.rsplit("/", 1)[1] for uri in claimed if "ogcapi-maps-1" in uri} == {
        "core", "background", "scaling", "display-resolution", "spatial-subsetting", "crs", "png",
    }  # fmt: skip
    assert {uri.rsplit("/", 1)[1] for uri in claimed if "ogcapi-styles-1" in uri} == {"core", "collection-styles", "mapbox-styles", "sld-10"}
    assert [uri.rsplit("/", 1)[1] for uri in claimed if "ogcapi-records-1" in uri] == ["record-core"]
    assert not [uri for uri in claimed if "ogcapi-coverages" in uri]


def test_styles_and_records_keep_their_requirements(served: Any) -> None:
    styles = served.get("/collections/kiosk/styles").json()
    assert styles["default"] in {s["id"] for s in styles["styles"]}
    for style in styles["styles"]:
        for link in style["links"]:
            assert link["rel"] == "stylesheet"
            answer = served.client.get(link["href"])
            assert answer.headers["content-type"] == link["type"]
            assert answer.headers["content-language"] == "en"
    drawn = served.get("/collections/kiosk/styles/default", f="maplibre").json()
    assert {layer["source-layer"] for layer in drawn["layers"]} == {"kiosk"}  # the name in the tiles, and the collection's
    assert b"<Name>kiosk</Name>" in served.get("/collections/kiosk/styles/default", f="sld").content
    collection = served.get("/collections/kiosk").json()
    assert any(k["rel"].endswith("/styles") for k in collection["links"])
    records = served.get("/records", role="planner", limit=1000).json()["features"]
    assert len({r["id"] for r in records}) == len(records) > 50
    for record in records:
        assert (record["id"] and record["type"] == "Feature" and "geometry" in record and record["time"] is None) or "interval" in record["time"]
        assert record["properties"]["type"] and record["properties"]["title"]
        assert [k["href"] for k in record["links"] if k["rel"] == "collection"] == [f"{served.url}/records"]
        assert any(uri.endswith("/record-core") for uri in record["conformsTo"])
    kiosk = served.get("/records/kiosk").json()
    assert kiosk["properties"]["baige:classification"] == "public" and kiosk["geometry"]["type"] == "Polygon"


def test_tile_matrix_sets_are_those_of_the_standard(served: Any) -> None:
    """Published scales (OGC 17-083r4, Annex D); CGCS2000 divides EPSG:4490 as WorldCRS84Quad does CRS84, latitude first."""
    scales = {"WebMercatorQuad": 559082264.0287178, "WorldCRS84Quad": 279541132.0143589, "CGCS2000Quad": 279541132.0143589}
    for name, scale in scales.items():
        found = served.get(f"/tileMatrixSets/{name}").json()
        for zoom, matrix in enumerate(found["tileMatrices"]):
            assert matrix["id"] == str(zoom)
            assert matrix["scaleDenominator"] == pytest.approx(scale / 2**zoom, rel=1e-12)
            assert (matrix["matrixWidth"], matrix["matrixHeight"]) == ((1 if name == "WebMercatorQuad" else 2) << zoom, 1 << zoom)
            corner = {"WebMercatorQuad": [-20037508.342789244, 20037508.342789244], "WorldCRS84Quad": [-180, 90], "CGCS2000Quad": [90, -180]}[name]
            assert matrix["pointOfOrigin"] == pytest.approx(corner)
            assert (matrix["tileWidth"], matrix["tileHeight"], matrix["cornerOfOrigin"]) == (256, 256, "topLeft")
        assert found["orderedAxes"] == {"WebMercatorQuad": ["X", "Y"], "WorldCRS84Quad": ["Lon", "Lat"], "CGCS2000Quad": ["Lat", "Lon"]}[name]
