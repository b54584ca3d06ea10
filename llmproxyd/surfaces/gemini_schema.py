"""Google's Schema (a cut of OpenAPI 3.0, as in ``parameters`` and ``responseSchema``) -> JSON Schema.

Left out are ``example`` and ``propertyOrdering``: both are hints, and strict readers of JSON Schema refuse them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llmproxyd.surfaces.gemini_fields import Fields
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import Document

MAX_DEPTH = 64

_KEPT = ("title", "description", "pattern", "default", "minimum", "maximum")
_COUNTS = ("minItems", "maxItems", "minProperties", "maxProperties", "minLength", "maxLength")


def parse_schema(schema: Document, where: str) -> dict[str, Any]:
    """Raises BadRequest naming what cannot be read."""
    return _parse(schema, where, MAX_DEPTH)


def _parse(schema: Document, where: str, depth: int) -> dict[str, Any]:
    if depth == 0:
        raise BadRequest(
            f"Invalid value at '{where[:200]}': the schema is nested too deeply.", param=where[:200]
        )
    fields = Fields(schema, where)
    parsed: dict[str, Any] = {**_parse_type(fields)}
    parsed |= {name: fields.get(name) for name in _KEPT if name in fields}
    # Proto JSON writes 64-bit integers as text.
    parsed |= {name: fields.integer(name) for name in _COUNTS if name in fields}
    if fields.get("format") not in (None, "enum"):
        parsed["format"] = fields.text("format")
    if "required" in fields:
        parsed["required"] = list(fields.texts("required"))
    for name, parse in _NESTED.items():
        if name in fields:
            target, value = parse(fields, name, depth - 1)
            parsed[target] = value
    if "anyOf" in parsed and "type" not in parsed and fields.boolean("nullable"):
        parsed["anyOf"].append({"type": "null"})
    # What is no word of Google's is one of JSON Schema's, which clients write here too.
    return parsed | fields.others(*_KNOWN)


def _parse_type(fields: Fields) -> Mapping[str, Any]:
    """``nullable`` has a keyword of its own here, and is one more type there."""
    kind = (fields.text("type") or "").lower().removesuffix("type_unspecified")
    nullable = fields.boolean("nullable") is True
    typed: dict[str, Any] = {}
    if kind:
        typed["type"] = [kind, "null"] if nullable and kind != "null" else kind
    if "enum" in fields:
        values = fields.get("enum")
        if not isinstance(values, list):
            raise BadRequest(
                f"Invalid value at '{fields.path('enum')}': expected a list.", param=fields.path("enum")
            )
        typed["enum"] = [*(_enum_value(value, kind) for value in values), *([None] if nullable else [])]
    return typed


def _enum_value(value: Any, kind: str) -> Any:
    """Numbers in an enumeration are written as text."""
    try:
        return {"integer": int, "number": float}.get(kind, lambda text: text)(value)
    except (TypeError, ValueError):
        return value


def _parse_map(fields: Fields, name: str, depth: int) -> tuple[str, Any]:
    target = "$defs" if name == "defs" else name
    entries = fields.mapping(name) or {}
    return target, {
        key: _parse(
            _object(value, f"{fields.path(name)}.{key[:64]}"), f"{fields.path(name)}.{key[:64]}", depth
        )
        for key, value in entries.items()
    }


def _parse_one(fields: Fields, name: str, depth: int) -> tuple[str, Any]:
    value = fields.get(name)
    if isinstance(value, bool):
        return name, value
    return name, _parse(_object(value, fields.path(name)), fields.path(name), depth)


def _parse_list(fields: Fields, name: str, depth: int) -> tuple[str, Any]:
    values = fields.get(name)
    if not isinstance(values, list):
        raise BadRequest(f"Invalid value at '{fields.path(name)}': expected a list.", param=fields.path(name))
    places = ((value, f"{fields.path(name)}[{index}]") for index, value in enumerate(values))
    return name, [_parse(_object(value, place), place, depth) for value, place in places]


def _parse_reference(fields: Fields, name: str, depth: int) -> tuple[str, Any]:
    return "$ref", (fields.text(name) or "").replace("#/defs/", "#/$defs/")


def _object(value: Any, where: str) -> Document:
    if not isinstance(value, dict):
        raise BadRequest(f"Invalid value at '{where}': expected a schema.", param=where)
    return value


_NESTED: Mapping[str, Callable[[Fields, str, int], tuple[str, Any]]] = {
    "properties": _parse_map,
    "defs": _parse_map,
    "items": _parse_one,
    "additionalProperties": _parse_one,
    "anyOf": _parse_list,
    "ref": _parse_reference,
}

_KNOWN = (
    "type",
    "nullable",
    "enum",
    "format",
    "required",
    "example",
    "propertyOrdering",
    *_KEPT,
    *_COUNTS,
    *_NESTED,
)
