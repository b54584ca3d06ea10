from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.adapters.gemini_schema import MAX_NODES, SchemaTooLarge, sanitize_schema

STR: dict[str, Any] = {"type": "string"}
INT: dict[str, Any] = {"type": "integer"}

KNOWN = {
    "type", "format", "title", "description", "nullable", "enum", "items", "minItems", "maxItems", "properties",
    "required", "minProperties", "maxProperties", "minimum", "maximum", "minLength", "maxLength", "pattern", "anyOf",
    "propertyOrdering",
}  # fmt: skip
"""What Google's Schema has, as of google-genai 3.4; one word more is a 400 for the whole request."""


@pytest.mark.parametrize(
    ("schema", "expected", "lost"),
    [
        pytest.param({"$schema": "x", **STR}, STR, (), id="$schema"),
        pytest.param({"$id": "x", "$comment": "y", "examples": [1], **STR}, STR, (), id="annotations"),
        pytest.param({"type": "integer", "exclusiveMinimum": 0}, {**INT, "minimum": 1}, (), id="exclusiveMinimum-integer"),
        pytest.param({"type": "integer", "exclusiveMinimum": 0.5}, {**INT, "minimum": 1}, (), id="exclusiveMinimum-half"),
        pytest.param({"type": "number", "exclusiveMinimum": 0}, {"type": "number", "minimum": 0}, (), id="exclusiveMinimum-number"),
        pytest.param({"type": "integer", "exclusiveMaximum": 9}, {**INT, "maximum": 8}, (), id="exclusiveMaximum"),
        pytest.param({"type": "integer", "minimum": 3, "exclusiveMinimum": 0}, {**INT, "minimum": 3}, (), id="tighter-bound"),
        pytest.param({"type": "integer", "minimum": 3, "exclusiveMinimum": True}, {**INT, "minimum": 4}, (), id="draft-4-bound"),
        pytest.param({"multipleOf": 2, **INT}, INT, ("multipleOf",), id="multipleOf"),
        pytest.param({"type": "array", "items": STR, "uniqueItems": True}, {"type": "array", "items": STR}, ("uniqueItems",), id="uniqueItems"),
        pytest.param({"type": "array", "items": STR, "contains": STR}, {"type": "array", "items": STR}, ("contains",), id="contains"),
        pytest.param({"type": "object", "propertyNames": STR}, {"type": "object"}, ("propertyNames",), id="propertyNames"),
        pytest.param({"const": "a"}, {**STR, "enum": ["a"]}, (), id="const"),
        pytest.param({"const": 1}, {**INT, "description": "One of: 1"}, ("enum",), id="const-number"),
        pytest.param({"oneOf": [STR, INT]}, {"anyOf": [STR, INT]}, (), id="oneOf"),
        pytest.param({"anyOf": [STR, {"type": "null"}]}, {**STR, "nullable": True}, (), id="anyOf-null"),
        pytest.param({"anyOf": [STR, INT], "description": "d"}, {"anyOf": [{**STR, "description": "d"}, {**INT, "description": "d"}]}, (), id="anyOf-alone"),
        pytest.param({"anyOf": [{"required": ["a"]}], "properties": {"a": STR}}, {"type": "object", "properties": {"a": STR}}, ("anyOf",), id="anyOf-of-required"),
        pytest.param({"allOf": [{"properties": {"a": STR}, "required": ["a"]}, {"properties": {"b": INT}, "required": ["b"]}]}, {"type": "object", "properties": {"a": STR, "b": INT}, "required": ["a", "b"]}, (), id="allOf"),
        pytest.param({"allOf": [{**INT, "minimum": 1}, {"minimum": 5, "maximum": 9}, {"maximum": 7}]}, {**INT, "minimum": 5, "maximum": 7}, (), id="allOf-bounds"),
        pytest.param({"not": STR, **INT}, INT, ("not",), id="not"),
        pytest.param({"if": STR, "then": STR, "else": STR, **INT}, INT, ("else", "if", "then"), id="if-then-else"),
        pytest.param({"type": "object", "patternProperties": {"^x": STR}}, {"type": "object"}, ("patternProperties",), id="patternProperties"),
        pytest.param({"type": "object", "additionalProperties": False, "unevaluatedProperties": False}, {"type": "object"}, (), id="additionalProperties"),
        pytest.param({"type": "object", "additionalProperties": STR}, {"type": "object"}, ("additionalProperties",), id="additionalProperties-schema"),
        pytest.param({"unevaluatedItems": STR, **STR}, STR, ("unevaluatedItems",), id="unevaluatedItems"),
        pytest.param({"contentSchema": STR, **STR}, STR, ("contentSchema",), id="contentSchema"),
        pytest.param({"enum": [1, 2]}, {**INT, "description": "One of: 1, 2"}, ("enum",), id="numeric-enum"),
        pytest.param({"type": "string", "enum": ["a", "", None, "a"]}, {**STR, "nullable": True, "enum": ["a"]}, (), id="enum-null-and-empty"),
        pytest.param({"type": "string", "format": "uri"}, STR, ("format",), id="format"),
        pytest.param({"type": "string", "format": "date-time"}, {**STR, "format": "date-time"}, (), id="known-format"),
        pytest.param({"type": "integer", "format": "int64"}, {**INT, "format": "int64"}, (), id="number-format"),
        pytest.param(True, STR, (), id="boolean-schema"),
        pytest.param({"type": "object", "properties": {"a": True, "b": False}, "required": ["a", "b"]}, {"type": "object", "properties": {"a": STR}, "required": ["a"]}, (), id="boolean-properties"),
        pytest.param({"type": ["string", "null"]}, {**STR, "nullable": True}, (), id="type-list-null"),
        pytest.param({"type": ["string", "integer", "null"]}, {"anyOf": [{**STR, "nullable": True}, {**INT, "nullable": True}]}, (), id="type-list"),
        pytest.param({"type": "STRING"}, STR, (), id="upper-case"),
        pytest.param({"type": "null"}, {**STR, "nullable": True}, (), id="null-alone"),
        pytest.param({}, STR, (), id="anything"),
        pytest.param({"type": "array"}, {"type": "array", "items": STR}, (), id="array-without-items"),
        pytest.param({"prefixItems": [STR, INT]}, {"type": "array", "items": {"anyOf": [STR, INT]}}, ("prefixItems",), id="prefixItems"),
        pytest.param({"type": "array", "items": [INT]}, {"type": "array", "items": INT}, ("prefixItems",), id="items-list"),
        pytest.param({"type": "object", "properties": {}, "required": ["a"]}, {"type": "object"}, (), id="empty-properties"),
        pytest.param({"$ref": "#/$defs/A", "$defs": {"A": INT}}, INT, (), id="$ref"),
        pytest.param({"$ref": "#/definitions/a~1b", "definitions": {"a/b": INT}}, INT, (), id="$ref-escaped"),
        pytest.param({"$ref": "#/$defs/A", "description": "d", "$defs": {"A": INT}}, {**INT, "description": "d"}, (), id="$ref-with-siblings"),
        pytest.param({"$ref": "https://x.test/s"}, {"type": "object"}, ("$ref",), id="$ref-elsewhere"),
        pytest.param({"allOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": INT}}, INT, (), id="allOf-$ref"),
    ],
)  # fmt: skip
def test_pitfall_17_each_keyword_is_said_in_googles_words_or_named(
    schema: Any, expected: dict[str, Any], lost: tuple[str, ...]
) -> None:
    assert sanitize_schema(schema) == (expected, lost)


def test_pitfall_17_a_schema_that_holds_itself_ends_in_an_object() -> None:
    tree = {
        "$ref": "#/$defs/Tree",
        "$defs": {
            "Tree": {
                "type": "object",
                "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}},
            }
        },
    }
    schema, lost = sanitize_schema(tree)
    assert schema["properties"]["children"] == {"type": "array", "items": {"type": "object"}}
    assert lost == ("$ref",)
    assert sanitize_schema({"type": "object", "properties": {"me": {"$ref": "#"}}})[1] == ("$ref",)


def test_references_that_stand_for_billions_are_refused() -> None:
    level = {
        f"L{n}": {"type": "object", "properties": {c: {"$ref": f"#/$defs/L{n + 1}"} for c in "abcdefgh"}}
        for n in range(9)
    }
    bomb = {"$ref": "#/$defs/L0", "$defs": {**level, "L9": STR}}
    with pytest.raises(SchemaTooLarge, match=str(MAX_NODES)):
        sanitize_schema(bomb)


def test_a_schema_nested_too_deeply_is_cut_and_named() -> None:
    schema: dict[str, Any] = STR
    for _ in range(900):
        schema = {"type": "array", "items": schema}
    assert sanitize_schema(schema)[1] == ("nesting",)


names = st.sampled_from(
    [
        "type", "enum", "const", "properties", "required", "items", "prefixItems", "anyOf", "oneOf", "allOf", "$ref",
        "format", "minimum", "exclusiveMinimum", "not", "if", "nullable", "description", "$defs", "propertyOrdering", "unknown", "a",
    ]
)  # fmt: skip
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["string", "object", "array", "#", "#/a", "null", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_whatever_comes_in_only_googles_words_come_out(schema: Any) -> None:
    cut, lost = sanitize_schema(schema)
    assert list(lost) == sorted(set(lost))
    _check(cut)


def _check(schema: Any) -> None:
    assert isinstance(schema, dict)
    assert set(schema) <= KNOWN
    assert ("anyOf" in schema) != ("type" in schema)
    assert all(isinstance(value, str) and value for value in schema.get("enum", ()))
    assert set(schema.get("required", ())) <= set(schema.get("properties", ()))
    assert ("items" in schema) == (schema.get("type") == "array")
    for inner in (*schema.get("properties", {}).values(), *schema.get("anyOf", ())):
        _check(inner)
    if "items" in schema:
        _check(schema["items"])
