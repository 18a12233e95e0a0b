"""The description of all that programs may ask (OpenAPI 3.1), from the declarations that the doors are made of."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import datetime
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from app.api.answers import MOST, USUAL, Page
from app.api.parts import ROOT, Operation, parts

Schema = dict[str, Any]

_PLAIN: dict[Any, Schema] = {
    int: {"type": "integer"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    datetime: {"type": "string", "format": "date-time"},
    NoneType: {"type": "null"},
}
_PROBLEM: Schema = {
    "type": "object",
    "description": "What went wrong (RFC 9457). `code` stays the same; the words may change.",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
    },
}
_CONFIRMS: Schema = {
    "name": "X-Tenant-Id",
    "in": "header",
    "description": "The id of the organisation that is meant; where the address is another's, the answer is 403 tenant_mismatch.",
    "schema": {"type": "string"},
}
_PAGING: list[Schema] = [
    {
        "name": "cursor",
        "in": "query",
        "description": "What the page before gave as `next`.",
        "schema": {"type": "string"},
    },
    {
        "name": "limit",
        "in": "query",
        "description": "How many things are to be on the page.",
        "schema": {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL},
    },
]
_REFUSALS = {
    "401": "No token, or none that is good here.",
    "403": "The token is not good for this, or the request names another organisation.",
    "404": "There is no such thing, or the token's person may not see it.",
    "422": "A parameter is not what it can be.",
    "429": "Asked too often.",
}


def description() -> Schema:
    """Return the whole description."""
    shapes: dict[str, Schema] = {"Problem": _PROBLEM}
    paths: dict[str, Schema] = {}
    for part in parts():
        for each in part.operations:
            paths.setdefault(each.address, {})[each.method.lower()] = _operation(each, shapes)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Freehold", "version": "1", "description": "Each organisation answers at its own addresses."},
        "servers": [{"url": ROOT}],
        "security": [{"token": []}],
        "tags": [{"name": part.name, "description": part.about} for part in parts()],
        "paths": paths,
        "components": {
            "schemas": shapes,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(each: Operation, shapes: dict[str, Schema]) -> Schema:
    said: Schema = {
        "operationId": each.name,
        "tags": [each.part.name],
        "summary": each.meaning,
        "parameters": _parameters(each),
        "responses": _responses(each, shapes),
    }
    return said | ({"security": [{"token": [each.scope.name]}]} if each.scope else {})


def _parameters(each: Operation) -> list[Schema]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": _PLAIN[kind]} for name, kind in each.parameters.items()
    ]
    return in_path + (_PAGING if get_origin(each.shape) is Page else []) + [_CONFIRMS]


def _responses(each: Operation, shapes: dict[str, Schema]) -> Schema:
    body = {"content": {"application/json": {"schema": schema(each.shape, shapes)}}}
    problem = {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    found: Schema = {"200": {"description": "Here it is.", **body}}
    if each.method == "GET":
        found["304"] = {"description": "It is as `If-None-Match` says."}
    return found | {status: {"description": why, **problem} for status, why in _REFUSALS.items()}


def schema(kind: Any, shapes: dict[str, Schema]) -> Schema:
    """Return the schema of a type, having described the shapes it is made of in `shapes`; raises `KeyError` for what has none."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    if isinstance(kind, UnionType):
        return {"anyOf": [schema(each, shapes) for each in get_args(kind)]}
    if get_origin(kind) is list:
        return {"type": "array", "items": schema(get_args(kind)[0], shapes)}
    if get_origin(kind) is Page:
        return _object("A page of a list, and the cursor of what comes next.", _page_of(kind), shapes)
    if kind.__name__ not in shapes:
        shapes[kind.__name__] = {}
        hints = get_type_hints(kind)
        shapes[kind.__name__] = _object(kind.__doc__, {each.name: hints[each.name] for each in fields(kind)}, shapes)
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _page_of(kind: Any) -> dict[str, Any]:
    return {"items": list[get_args(kind)[0]], "next": str | None}


def _object(meaning: str, fields: dict[str, Any], shapes: dict[str, Schema]) -> Schema:
    return {
        "type": "object",
        "description": meaning,
        "required": list(fields),
        "additionalProperties": False,
        "properties": {name: schema(kind, shapes) for name, kind in fields.items()},
    }


def sketch(kind: Any) -> str:
    """Return an answer as people read it: JSON with the types in place of the values."""
    shapes: dict[str, Schema] = {}
    return json.dumps(_sketched(schema(kind, shapes), shapes), indent=2)


def meanings(kind: Any) -> dict[str, str]:
    """Return what the shapes in an answer mean, by name."""
    shapes: dict[str, Schema] = {}
    schema(kind, shapes)
    return {name: said["description"] for name, said in shapes.items()}


def _sketched(said: Schema, shapes: dict[str, Schema]) -> Any:
    if "$ref" in said:
        return _sketched(shapes[said["$ref"].rpartition("/")[2]], shapes)
    if "anyOf" in said:
        first = _sketched(said["anyOf"][0], shapes)
        return f"{first} or null" if isinstance(first, str) else first
    if said["type"] == "array":
        return [_sketched(said["items"], shapes)]
    if said["type"] == "object":
        return {name: _sketched(each, shapes) for name, each in said["properties"].items()}
    return said.get("format", said["type"])
