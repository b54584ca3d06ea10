"""A JSON Schema for structured output -> the part of it that Anthropic enforces.

What is not enforced (bounds, patterns, most formats) is not lost: it is written into the ``description`` beside it, so
that the model still reads it. Objects are closed, since open ones are refused.
Source: Anthropic's structured outputs guide and the transformation in its Python SDK 2.12, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmproxyd import jsontext
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import Document

MAX_DEPTH = 64
"""Levels of a schema. Deeper ones are refused by everybody; here they would also cost a deep stack."""

_KEPT = frozenset({"$ref", "type", "enum", "const", "description", "title", "required", "default"})
_MAPS = frozenset({"properties", "$defs", "definitions"})
_LISTS: Mapping[str, str] = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}
_SILENT = frozenset({"$schema", "$id", "$comment", "additionalProperties"})
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_MAX_NOTE_CHARS = 1000


def fit_schema(schema: Document, param: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """-> (schema, keywords that are no longer enforced, sorted). Raises BadRequest for one nested too deeply."""
    loose: set[str] = set()
    fitted = _fit(schema, loose, param, MAX_DEPTH)
    return (fitted if isinstance(fitted, dict) else {}), tuple(sorted(loose))


def _fit(schema: Any, loose: set[str], param: str, depth: int) -> Any:
    if depth == 0:
        raise BadRequest(f"The schema is nested more than {MAX_DEPTH} levels deep.", param=param)
    if not isinstance(schema, Mapping):
        return schema  # true and false are schemas too
    fitted: dict[str, Any] = {}
    advice: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _MAPS and isinstance(value, Mapping):
            fitted[keyword] = {name: _fit(inner, loose, param, depth - 1) for name, inner in value.items()}
        elif keyword in _LISTS and isinstance(value, list) and not (keyword == "oneOf" and "anyOf" in schema):
            fitted[_LISTS[keyword]] = [_fit(inner, loose, param, depth - 1) for inner in value]
        elif keyword == "items":
            fitted[keyword] = _fit(value, loose, param, depth - 1)
        elif _is_enforced(keyword, value):
            fitted[keyword] = value
        elif keyword not in _SILENT:
            advice[keyword] = value
    if _is_object(schema):
        if schema.get("additionalProperties") not in (None, False):
            advice["additionalProperties"] = schema["additionalProperties"]
        fitted["additionalProperties"] = False
    loose.update(advice)
    return _advised(fitted, advice)


def _is_enforced(keyword: str, value: Any) -> bool:
    if keyword == "minItems":
        return value in (0, 1)
    return keyword in _KEPT or (keyword == "format" and isinstance(value, str) and value in _FORMATS)


def _is_object(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    return (
        kind == "object"
        or (isinstance(kind, list) and "object" in kind)
        or isinstance(schema.get("properties"), Mapping)
    )


def _advised(fitted: dict[str, Any], advice: Mapping[str, Any]) -> dict[str, Any]:
    if not advice:
        return fitted
    note = ", ".join(f"{keyword}: {jsontext.encode(value).decode()}" for keyword, value in advice.items())
    known = fitted.get("description")
    before = f"{known}\n\n" if isinstance(known, str) and known else ""
    return fitted | {"description": f"{before}{{{note[:_MAX_NOTE_CHARS]}}}"}
