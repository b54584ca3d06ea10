"""JSON Schema -> the Schema that older Gemini models read, a cut of OpenAPI 3.0.

One keyword Google does not know is a 400 for the whole request, so nothing passes that is not in a table here. What can be
said another way is rewritten (``const``, ``oneOf``, ``allOf``, ``$ref``, lists of types, exclusive bounds); what cannot is
left out and named, since it makes the schema looser. Pure: a schema and nothing else in, a schema and names out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, TypeGuard

Schema: TypeAlias = dict[str, Any]

MAX_NODES = 5000
"""References are written out, and a few of them can stand for billions."""
MAX_DEPTH = 40

_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object"})
_FORMATS: Mapping[str, frozenset[str]] = {
    "string": frozenset({"enum", "date-time"}),
    "number": frozenset({"float", "double"}),
    "integer": frozenset({"int32", "int64"}),
}
_TEXTS = ("title", "description", "pattern")
_COUNTS = ("minItems", "maxItems", "minProperties", "maxProperties", "minLength", "maxLength")
_NUMBERS = ("minimum", "maximum")
_NOTES_ONLY = frozenset(
    {
        "$schema", "$id", "$anchor", "$comment", "$defs", "definitions", "$vocabulary", "examples", "example", "readOnly",
        "writeOnly", "deprecated", "default", "contentEncoding", "contentMediaType", "strict",
    }
)  # fmt: skip
"""Left out without a word: they say nothing about what is valid."""
_REWRITTEN = frozenset(
    {
        "type", "nullable", "enum", "const", "format", "properties", "required", "items", "prefixItems", "anyOf", "oneOf",
        "allOf", "$ref", "exclusiveMinimum", "exclusiveMaximum", "propertyOrdering", *_TEXTS, *_COUNTS, *_NUMBERS,
    }
)  # fmt: skip
_ANYTHING: Schema = {"type": "string"}
"""Gemini wants a type everywhere; text can hold anything."""


class SchemaTooLarge(ValueError):  # noqa: N818 - a verdict on the caller's input
    """The schema is larger than any model could use. The message is fit for a client."""


def sanitize_schema(schema: Any) -> tuple[Schema, tuple[str, ...]]:
    """-> (schema, names of the keywords that had to be left out and made it looser, sorted). Raises SchemaTooLarge."""
    work = _Work(schema)
    return work.convert(schema, MAX_DEPTH), tuple(sorted(work.lost))


class _Work:
    """One schema while it is rewritten: where references lead, what was lost, how much was written."""

    def __init__(self, root: Any) -> None:
        self.lost: set[str] = set()
        self._root = root
        self._nodes = 0
        self._open: list[str] = []  # references being written out

    def convert(self, schema: Any, depth: int) -> Schema:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise SchemaTooLarge(
                f"the schema has more than {MAX_NODES} parts once its references are written out"
            )
        if not isinstance(schema, dict):
            return dict(_ANYTHING)
        if depth == 0:
            self.lost.add("nesting")
            return {"type": "object"}
        if isinstance(schema.get("$ref"), str):
            return self._follow(schema, depth)
        return self._convert_plain(_merge_all(schema, self), depth)

    def _follow(self, schema: Schema, depth: int) -> Schema:
        reference = schema["$ref"]
        beside = {name: value for name, value in schema.items() if name != "$ref"}
        target = _find(self._root, reference)
        if target is None or reference in self._open:
            # A schema that holds itself has no end; from here on anything goes.
            self.lost.add("$ref")
            return self.convert({"type": "object", **beside}, depth - 1)
        self._open.append(reference)
        try:
            return self.convert({**target, **beside}, depth - 1)
        finally:
            self._open.pop()

    def _convert_plain(self, schema: Schema, depth: int) -> Schema:
        self.lost |= {
            name
            for name in schema
            if name not in _REWRITTEN and name not in _NOTES_ONLY and _limits(schema, name)
        }
        branches = _branches(schema)
        if branches is not None and "properties" not in schema:
            return self._convert_branches(schema, branches, depth)
        if branches is not None:
            # Gemini takes either fields or alternatives; alternatives of required fields can be missed most.
            self.lost.add("anyOf")
        kinds, nullable = _kinds(schema)
        if len(kinds) > 1:
            return self._convert_branches(
                schema, [{"type": kind} for kind in kinds], depth, nullable=nullable
            )
        kind = kinds[0] if kinds else _guess_kind(schema)
        out: Schema = {"type": kind}
        if nullable:
            out["nullable"] = True
        out |= {name: schema[name] for name in _TEXTS if isinstance(schema.get(name), str)}
        out |= _format(schema, kind, self.lost)
        out |= _bounds(schema, kind)
        out |= _enum(schema, kind, out, self.lost)
        for name, fill in _FILLERS.get(kind, {}).items():
            fill(self, schema, out, name, depth - 1)
        return out

    def _convert_branches(
        self, schema: Schema, branches: list[Any], depth: int, *, nullable: bool = False
    ) -> Schema:
        """Alternatives stand alone: what is said beside them goes into each."""
        nullable = nullable or schema.get("nullable") is True or any(map(_is_null, branches))
        common = {
            name: value
            for name, value in schema.items()
            if name not in ("anyOf", "oneOf", "type", "nullable")
        }
        given = [
            {**common, **branch} if isinstance(branch, dict) else branch
            for branch in branches
            if not _is_null(branch)
        ]
        options = [self.convert(branch, depth - 1) for branch in given] or [dict(_ANYTHING)]
        if nullable:
            options = [{**option, "nullable": True} for option in options]
        return options[0] if len(options) == 1 else {"anyOf": options}

    def fill_properties(self, schema: Schema, out: Schema, name: str, depth: int) -> None:
        properties = schema.get("properties")
        fields = properties if isinstance(properties, dict) else {}
        kept = {key: self.convert(value, depth) for key, value in fields.items() if value is not False}
        if kept:
            out["properties"] = kept
        wanted = schema.get("required")
        # A required field that is not described is refused.
        required = [key for key in _strings(wanted) if key in kept]
        if required:
            out["required"] = required
        order = _strings(schema.get("propertyOrdering"))
        if order and set(order) == set(kept):
            out["propertyOrdering"] = order

    def fill_items(self, schema: Schema, out: Schema, name: str, depth: int) -> None:
        items = schema.get("items")
        places = schema.get("prefixItems")
        if isinstance(items, list):  # how drafts before 2020-12 wrote it
            places, items = items, None
        if isinstance(places, list) and places:
            self.lost.add("prefixItems")
            items = places[0] if len(places) == 1 and not isinstance(items, dict) else {
                "anyOf": [*places, *([items] if isinstance(items, dict) else [])]
            }  # fmt: skip
        out["items"] = self.convert(items, depth)


_FILLERS: Mapping[str, Mapping[str, Callable[[_Work, Schema, Schema, str, int], None]]] = {
    "object": {"properties": _Work.fill_properties},
    "array": {"items": _Work.fill_items},
}


def _find(root: Any, reference: Any) -> Schema | None:
    """What a reference within the schema points at; None for all others."""
    if not isinstance(reference, str):
        return None
    if reference != "#" and not reference.startswith("#/"):
        return None
    target = root
    for step in reference[2:].split("/") if reference != "#" else ():
        key = step.replace("~1", "/").replace("~0", "~")
        target = target.get(key) if isinstance(target, dict) else None
    return target if isinstance(target, dict) else None


def _limits(schema: Schema, name: str) -> bool:
    """Whether an unknown keyword makes fewer values valid."""
    return not (
        name in ("additionalProperties", "unevaluatedProperties") and schema[name] in (True, False, {})
    )


def _merge_all(schema: Schema, work: _Work) -> Schema:
    """``allOf`` joined into one schema: fields of all, the tighter bounds."""
    parts = schema.get("allOf")
    if not isinstance(parts, list):
        return schema
    merged = {name: value for name, value in schema.items() if name != "allOf"}
    for part in parts[:MAX_NODES]:
        target = _find(work._root, part["$ref"]) if isinstance(part, dict) and "$ref" in part else part
        if not isinstance(target, dict) or "$ref" in target:
            work.lost.add("allOf")
            continue
        merged = _join(merged, {name: value for name, value in target.items() if name != "allOf"})
        if "allOf" in target:
            work.lost.add("allOf")
    return merged


def _join(left: Schema, right: Schema) -> Schema:
    joined = {**right, **left}
    for name in left.keys() & right.keys():
        both = (left[name], right[name])
        if name == "properties" and all(isinstance(value, dict) for value in both):
            joined[name] = {**right[name], **left[name]}
        elif name == "required" and all(isinstance(value, list) for value in both):
            joined[name] = list(dict.fromkeys((*_strings(left[name]), *_strings(right[name]))))
        elif _is_number(left[name]) and _is_number(right[name]):
            joined[name] = (max if name.lower().startswith(("min", "exclusivemin")) else min)(both)
    return joined


def _strings(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _branches(schema: Schema) -> list[Any] | None:
    for name in ("anyOf", "oneOf"):
        value = schema.get(name)
        if isinstance(value, list) and value:
            return value
    return None


def _is_null(branch: Any) -> bool:
    return isinstance(branch, dict) and (
        branch.get("type") in ("null", ["null"]) or branch.get("const", 0) is None
    )


def _kinds(schema: Schema) -> tuple[list[str], bool]:
    """-> (types, whether null is one of them)."""
    given = schema.get("type")
    listed: Iterable[Any] = given if isinstance(given, list) else [given]
    words = [word.lower() for word in listed if isinstance(word, str)]
    values = _values(schema)
    nullable = schema.get("nullable") is True or "null" in words or (values is not None and None in values)
    return [word for word in dict.fromkeys(words) if word in _TYPES], nullable


def _guess_kind(schema: Schema) -> str:
    if "properties" in schema or "additionalProperties" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    values = [value for value in _values(schema) or () if value is not None]
    for kind, types in (("boolean", bool), ("integer", int), ("number", (int, float))):
        if values and all(isinstance(value, types) for value in values):
            return kind
    return "string"


def _values(schema: Schema) -> list[Any] | None:
    """The values that are allowed, however that is written."""
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else None


def _enum(schema: Schema, kind: str, out: Schema, lost: set[str]) -> Schema:
    values = [value for value in _values(schema) or () if value is not None]
    if not values:
        return {}
    if kind == "string" and all(isinstance(value, str) for value in values):
        # The empty string is refused among the values.
        named = [value for value in dict.fromkeys(values) if value]
        return {"enum": named} if named else {}
    # Only texts can be enumerated; the model reads the description all the same.
    lost.add("enum")
    told = "One of: " + ", ".join(str(value) for value in values[:100])
    return {"description": f"{out['description']} {told}" if "description" in out else told}


def _format(schema: Schema, kind: str, lost: set[str]) -> Schema:
    given = schema.get("format")
    if given is None:
        return {}
    if isinstance(given, str) and given in _FORMATS.get(kind, ()):
        return {"format": given}
    lost.add("format")
    return {}


def _bounds(schema: Schema, kind: str) -> Schema:
    out = {name: schema[name] for name in (*_COUNTS, *_NUMBERS) if _is_number(schema.get(name))}
    for name, plain, step in (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)):
        bound = schema.get(name)
        if bound is True:  # how draft 4 wrote it
            bound = out.get(plain)
        if not _is_number(bound):
            continue
        moved = _next_whole(bound, step) if kind == "integer" else bound
        known = out.get(plain, moved)
        out[plain] = max(known, moved) if step > 0 else min(known, moved)
    return out


def _next_whole(bound: float, step: int) -> int:
    return (math.floor(bound) + 1) if step > 0 else (math.ceil(bound) - 1)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
