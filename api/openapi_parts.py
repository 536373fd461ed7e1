"""Pieces of the API document: references, parameters, operations."""

from typing import Any

__all__ = ["JSON", "document", "get", "parameter", "ref"]

JSON = "application/json"


def ref(kind: str, name: str) -> dict[str, str]:
    """A reference to a component of the document itself."""
    return {"$ref": f"#/components/{kind}/{name}"}


def parameter(name: str, schema: dict[str, Any], description: str, *, where: str = "query", **more: Any) -> dict[str, Any]:
    """A parameter of a request."""
    return {"name": name, "in": where, "description": description, "required": where == "path", "schema": schema, **more}


def get(summary: str, parameters: list[str], ok: dict[str, Any], *, tag: str, name: str, codes: tuple[str, ...] = ()) -> dict[str, Any]:
    """An operation that reads: its parameters by name, its answer, and the faults that any may meet."""
    responses: dict[str, Any] = {"200": {"description": "OK", "content": ok}}
    for code in ("304", "400", "401", "500", "503", *codes):
        responses[code] = ref("responses", code)
    operation: dict[str, Any] = {"summary": summary, "operationId": name, "tags": [tag], "responses": responses}
    if parameters:
        operation["parameters"] = [ref("parameters", p) for p in parameters]
    return operation


def document(schema: str | None, media: str = JSON, *, html: bool = True) -> dict[str, Any]:
    """The content of an answer that is one document."""
    content: dict[str, Any] = {media: {"schema": ref("schemas", schema) if schema else {"type": "object"}}}
    if html:
        content["text/html"] = {"schema": {"type": "string"}}
    return content
