from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.surfaces.responses_facts import beginning, count_images, document_texts, is_instructed, thinks
from tests import wire

IMAGE = {"type": "input_image", "image_url": "https://example.test/a.png"}


def test_everything_that_goes_out_as_text_is_found() -> None:
    document = {
        "instructions": "Be short.",
        "input": [
            {"role": "user", "content": "a"},
            {
                "role": "user",
                "content": [{"type": "input_text", "text": "b"}, {"type": "input_file", "filename": "c.pdf"}],
            },
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "d"}],
                "encrypted_content": "E",
            },
            {"type": "function_call", "call_id": "x", "name": "f", "arguments": "e"},
            {"type": "function_call_output", "call_id": "x", "output": "f"},
            {"type": "custom_tool_call", "call_id": "y", "name": "f", "input": "g"},
            {
                "type": "custom_tool_call_output",
                "call_id": "y",
                "output": [{"type": "input_text", "text": "h"}],
            },
            {
                "type": "additional_tools",
                "tools": [{"type": "custom", "name": "p", "description": "not said"}],
            },
        ],
    }
    assert list(document_texts(document)) == ["Be short.", "a", "b", "c.pdf", "d", "e", "f", "g", "h"]
    assert list(document_texts({"input": "plain"})) == ["plain"]


def test_of_an_item_nobody_knows_every_text_counts() -> None:
    item = {"type": "brand_new", "id": "n_1", "action": {"query": "secret", "deep": [{"note": "more"}]}}
    assert list(document_texts({"input": [item]})) == ["secret", "more"]


def test_images_are_counted_wherever_they_are() -> None:
    items = [{"role": "user", "content": [IMAGE, IMAGE]}, {"type": "function_call_output", "output": [IMAGE]}]
    assert count_images({"input": items}) == 3


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"reasoning": {"effort": "low"}}, True),
        ({"reasoning": {"effort": "none"}}, False),
        ({"reasoning": {"summary": "auto"}}, False),
        ({}, False),
    ],
)
def test_thought_is_asked_for_by_an_effort(document: dict[str, Any], expected: bool) -> None:
    assert thinks(document) is expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"instructions": "x"}, True),
        ({"input": [{"role": "developer", "content": "x"}]}, True),
        ({"input": [{"role": "user", "content": "x"}]}, False),
        ({"input": "x"}, False),
    ],
)
def test_instructions_are_a_field_or_a_message(document: dict[str, Any], expected: bool) -> None:
    assert is_instructed(document) is expected


def test_a_conversation_is_known_by_how_it_began() -> None:
    first = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    later = [*first, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "More."}]
    assert beginning({"input": first}) == beginning({"input": later}) == ["Be brief.", "hi"]
    assert beginning({"input": "hi"}) == ["hi"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "role", "content", "input", "output", "tools", "text"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["input", "instructions", "reasoning"]), _JSON))
def test_nothing_here_raises_whatever_comes(document: dict[str, Any]) -> None:
    assert all(isinstance(text, str) for text in [*document_texts(document), *beginning(document)])
    assert count_images(document) >= 0
    assert {thinks(document), is_instructed(document)} <= {True, False}


def test_the_recorded_request_is_read() -> None:
    document = json.loads(wire.whole("openai_responses", "request"))
    assert list(document_texts(document)) == [
        "Answer in one short sentence.", "Weather in Łódź?", '{"city":"Łódź"}', '{"temp_c":7}',
    ]  # fmt: skip
    assert count_images(document) == 1
