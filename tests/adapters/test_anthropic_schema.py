from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.adapters.anthropic_schema import MAX_DEPTH, fit_schema
from llmproxyd.values.contracts import BadRequest


def fit(schema: dict[str, Any]) -> dict[str, Any]:
    return fit_schema(schema, "response_format")[0]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("minimum", 1), ("maximum", 9), ("exclusiveMinimum", 0), ("exclusiveMaximum", 1), ("multipleOf", 2),
        ("minLength", 1), ("maxLength", 9), ("pattern", "^a"), ("maxItems", 3), ("uniqueItems", True),
        ("minProperties", 1), ("minItems", 2), ("format", "iban"), ("not", {"type": "null"}),
    ],
)  # fmt: skip
def test_pitfall_18_bounds_are_told_to_the_model_instead_of_being_refused(
    keyword: str, value: object
) -> None:
    fitted, loose = fit_schema(
        {"type": "string", "description": "A name.", keyword: value}, "response_format"
    )
    assert loose == (keyword,)
    assert keyword not in fitted
    assert fitted["description"].startswith("A name.\n\n{" + keyword + ": ")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "format": "date-time"},
        {"type": "array", "items": {"type": "integer"}, "minItems": 1},
        {"enum": ["a", 1, None]},
        {"const": 7},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {"$ref": "#/$defs/x", "$defs": {"x": {"type": "string"}}},
    ],
)
def test_what_is_enforced_stays_as_it_is(schema: dict[str, Any]) -> None:
    assert fit_schema(schema, "response_format") == (schema, ())


def test_objects_are_closed_at_every_level() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"type": ["object", "null"], "properties": {}}}},
        "additionalProperties": True,
    }
    fitted, loose = fit_schema(schema, "response_format")
    assert fitted["additionalProperties"] is False
    assert fitted["properties"]["a"]["items"]["additionalProperties"] is False
    assert loose == ("additionalProperties",)


def test_one_of_becomes_any_of() -> None:
    assert fit({"oneOf": [{"type": "string"}]}) == {"anyOf": [{"type": "string"}]}


def test_where_both_stand_neither_is_lost() -> None:
    fitted = fit({"anyOf": [{"type": "string"}], "oneOf": [{"type": "null"}]})
    assert fitted["anyOf"] == [{"type": "string"}]
    assert "oneOf" in fitted["description"]


def test_words_about_the_schema_itself_are_dropped_without_a_word() -> None:
    assert fit_schema({"$schema": "x", "$id": "y", "type": "null"}, "f") == ({"type": "null"}, ())


def test_a_property_named_like_a_keyword_is_a_property() -> None:
    schema = {"type": "object", "properties": {"minimum": {"type": "number"}}, "additionalProperties": False}
    assert fit_schema(schema, "f") == (schema, ())


def test_a_schema_without_end_is_refused_by_name() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(MAX_DEPTH + 1):
        schema = {"type": "array", "items": schema}
    with pytest.raises(BadRequest) as refused:
        fit_schema(schema, "response_format")
    assert refused.value.failure.param == "response_format"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "properties", "items", "anyOf", "oneOf", "minimum", "format", "required", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["type", "properties", "items", "anyOf", "pattern", "x"]), JSON, max_size=4
    )
)
def test_anything_a_client_may_write_is_fitted_and_fitting_again_changes_nothing(
    schema: dict[str, Any],
) -> None:
    once, _ = fit_schema(schema, "f")
    twice, loose = fit_schema(once, "f")
    assert (twice, loose) == (once, ())
