"""The OpenAPI document, completed from the endpoint table: what each operation asks, reads and refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

from services.api.access import Access
from services.api.problems import PROBLEM_TYPE, is_openai
from services.api.routing import Endpoint

_REF = "#/components/schemas/{model}"
_REASONS = {
    "400": "The request can't be meant so",
    "401": "No valid credential",
    "403": "Not for this caller",
    "404": "Not there",
    "408": "The body took too long to arrive",
    "409": "It doesn't fit the present state",
    "413": "The body is too large",
    "422": "A field is missing, unknown or of a wrong type",
    "429": "Too many requests: see Retry-After",
    "500": "A fault of ours",
    "502": "A model's own server failed",
    "503": "Something needed is away, or can't take the request now",
    "504": "Something needed took too long",
    "507": "A disk is full: nothing was kept",
}
_ALWAYS = ("500", "503", "504")
_SCHEMAS: dict[str, Any] = {
    "Problem": {
        "title": "Problem",
        "description": "RFC 9457; `code` is stable, and some codes add members of their own",
        "type": "object",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string"},
        },
    },
    "OpenAIError": {
        "title": "OpenAIError",
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "code"],
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "param": {"type": ["string", "null"]},
                    "code": {"type": "string"},
                },
            }
        },
    },
}
_SECURITY = {
    "credential": {"type": "http", "scheme": "bearer", "description": "An API key (`mgk_…`) or an access token"},
    "password": {
        "type": "oauth2",
        "flows": {"password": {"tokenUrl": "/api/v1/auth/token", "refreshUrl": "/api/v1/auth/refresh", "scopes": {}}},
    },
}


def complete(document: dict[str, Any], endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Adds to FastAPI's ``document``, in place, what it can't know."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = _SECURITY
    schemas.update(_SCHEMAS)
    schemas.update(_plain_bodies(endpoints))
    for endpoint in endpoints:
        operation = document["paths"][_documented(endpoint.path)][endpoint.method.lower()]
        _complete_operation(operation, endpoint)
    return document


def _complete_operation(operation: dict[str, Any], endpoint: Endpoint) -> None:
    if endpoint.body is not None:
        schema = {"$ref": _REF.format(model=endpoint.body.__name__)}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if endpoint.access is not Access.OPEN:
        operation["security"] = [{"credential": []}, {"password": []}]
    operation["x-mongars-access"] = endpoint.access.value
    responses = operation["responses"]
    responses.pop("422", None)  # FastAPI's own has another shape
    for status in _refusals(endpoint, takes_body="requestBody" in operation, has_parameters="parameters" in operation):
        responses.setdefault(status, {"description": _REASONS[status], "content": _content(endpoint.path)})


def _refusals(endpoint: Endpoint, *, takes_body: bool, has_parameters: bool) -> list[str]:
    found = list(_ALWAYS)
    if endpoint.access is not Access.OPEN:
        found += ["401", "403", "429"]
    if takes_body:
        found += ["400", "408", "413"]
    if takes_body or has_parameters:
        found += ["400", "422"]
    if endpoint.method != "GET":
        found += ["409", "507"]
    if "{" in endpoint.path or is_openai(endpoint.path):
        found += ["400", "404", "502"]
    if endpoint.path.startswith("/api/v1/auth/"):
        found += ["401", "429"]
    return sorted(set(found))


def _content(path: str) -> dict[str, Any]:
    if is_openai(path):
        return {"application/json": {"schema": {"$ref": _REF.format(model="OpenAIError")}}}
    return {PROBLEM_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}}


def _plain_bodies(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Schemas of the bodies that plain endpoints parse by themselves."""
    models = [endpoint.body for endpoint in endpoints if endpoint.body is not None]
    _, found = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    definitions: dict[str, Any] = found.get("$defs", {})
    return definitions


def _documented(path: str) -> str:
    return path.replace(":path}", "}")
