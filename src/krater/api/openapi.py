"""The OpenAPI document, made from the route table and the types of requests and answers."""

from collections.abc import Iterable
from typing import Any

import msgspec

from krater import __version__
from krater.api.microversions import ALL, MAX_TEXT, MIN_TEXT
from krater.api.router import Route
from krater.api.schemas.answers import ErrorDocument
from krater.api.schemas.expectations import descriptions

_REFERENCE = "#/components/schemas/{name}"
_PROJECT = "X-Krater-Project names (percent-encoded) which of the caller's projects is meant, if not the only one."
_END = r"(?![\s\S])"


def openapi_document(routes: Iterable[Route]) -> bytes:
    """The document, as JSON."""
    shown = list(routes)
    types = _types(shown)
    _, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    for shape in types:
        for name, text in descriptions(shape).items():
            components[shape.__name__]["properties"][name].setdefault("description", text)
    paths: dict[str, dict[str, Any]] = {}
    for route in shown:
        prefix = "" if route.versions is None or route.path == "/v1" else "/v1"
        paths.setdefault(f"{prefix}{route.path}", {})[route.method.lower()] = _operation(route)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Krater",
            "version": __version__,
            "description": f"The OpenStack Container API, microversions {MIN_TEXT} to {MAX_TEXT}.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic", "description": _PROJECT},
                "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"},
            },
        },
        "security": [{"basic": []}, {"token": []}],
    }
    return msgspec.json.encode(document).replace(msgspec.json.encode(_END)[1:-1], b"$")


def _types(routes: Iterable[Route]) -> list[type]:
    found = {kind for r in routes for kind in (r.query, r.body, r.either, r.answer) if kind is not None}
    return sorted({*found, ErrorDocument}, key=lambda kind: kind.__name__)


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}{route.path.replace('/', '_').replace('{', '').replace('}', '')}",
        "summary": route.summary or (route.handler.__doc__ or "").strip().splitlines()[0],
        "tags": [route.path.strip("/").split("/")[0] or "versions"],
        "parameters": _parameters(route),
        "responses": _responses(route),
    }
    body = route.body or route.either
    if body is not None:
        content = {"application/json": {"schema": {"$ref": _REFERENCE.format(name=body.__name__)}}}
        operation["requestBody"] = {"required": route.body is not None, "content": content}
    if route.rule:
        operation["x-policy"] = route.rule
    if route.versions is not None and route.versions != ALL:
        operation["x-microversions"] = str(route.versions)
    if route.public:
        operation["security"] = []
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": part.strip("{}"), "in": "path", "required": True, "schema": {"type": "string"}}
        for part in route.path.split("/")
        if part.startswith("{")
    ]
    shape = route.query or route.either
    if shape is not None:
        found += [
            {
                "name": entry.encode_name,
                "in": "query",
                "required": False,
                "schema": _schema_of(shape, entry.encode_name),
            }
            for entry in msgspec.structs.fields(shape)
        ]
    if route.versions is not None:
        found.append(
            {
                "name": "OpenStack-API-Version",
                "in": "header",
                "required": False,
                "schema": {"type": "string", "example": f"container {MAX_TEXT}"},
            }
        )
    return found


def _schema_of(shape: type, name: str) -> Any:
    return {"$ref": f"{_REFERENCE.format(name=shape.__name__)}/properties/{name}"}


def _responses(route: Route) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Done."}
    if route.answer is not None:
        success["content"] = {"application/json": {"schema": {"$ref": _REFERENCE.format(name=route.answer.__name__)}}}
    problem = {
        "description": "An error.",
        "content": {"application/json": {"schema": {"$ref": _REFERENCE.format(name="ErrorDocument")}}},
    }
    return {str(route.status): success, "default": problem}
