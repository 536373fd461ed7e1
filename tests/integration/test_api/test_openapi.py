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
        if not isinstance(route, Route) or re.match(r"^/(portal|healthz|readyz|api$|TileMatrixSets)|.*/tilejson.json$", route.path):
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


def test_answers_fit_their_schemas(served: Any) -> None:
    found = document(served, "planner")
    nullable = json.loads(json.dumps(found).replace('"nullable": true, "required"', '"required"'))
    for path, name in (
        ("/collections", "collections"), ("/records", "records"), ("/rasters", "rasters"), ("/jobs", "jobs"), ("/processes", "processes"),
        ("/processes/export", "process"), ("/collections/kiosk/styles", "styles"), ("/conformance", "conformance"), ("/", "landingPage"),
        ("/collections/kiosk/items", "featureCollection"), ("/records/kiosk", "record"),
    ):  # fmt: skip
        schema = {**nullable["components"]["schemas"][name], "components": nullable["components"]}
        jsonschema.validate(served.get(path, role="planner", f="json").json(), schema)
