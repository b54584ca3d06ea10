from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.surfaces.gemini_facts import beginning, count_images, document_texts, is_instructed, thinks
from tests import wire


def test_everything_that_goes_out_as_text_is_found() -> None:
    document = {
        "systemInstruction": {"parts": {"text": "Be brief."}},
        "contents": [
            {"parts": [{"text": "question"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"iban": "DE1"}}}]},
            {"parts": [{"function_response": {"name": "f", "response": {"mail": "a@x.test"}}}]},
            {"role": "model", "parts": [{"executableCode": {"code": "1+1"}}, {"codeExecutionResult": {"output": "2"}}]},
        ],
    }  # fmt: skip
    told = list(document_texts(document))
    assert told == ["Be brief.", "question", '{"iban":"DE1"}', '{"mail":"a@x.test"}', "1+1", "2"]


def test_both_spellings_of_a_field_are_read() -> None:
    document = {
        "system_instruction": {"parts": [{"text": "a"}]},
        "systemInstruction": {"parts": [{"text": "b"}]},
        "contents": [],
    }
    assert sorted(document_texts(document)) == ["a", "b"]
    assert is_instructed(document)


def test_what_is_wrapped_or_batched_is_read_too() -> None:
    assert list(document_texts({"generateContentRequest": {"contents": [{"parts": [{"text": "a"}]}]}})) == [
        "a"
    ]
    entry = {"content": {"parts": [{"text": "b"}]}}
    assert list(document_texts({"requests": [entry, entry]})) == ["b", "b"]


def test_images_thought_and_the_beginning_of_a_conversation_are_seen() -> None:
    document = json.loads(wire.whole("gemini-generate", "request"))
    assert count_images(document) == 1
    assert thinks(document)
    assert is_instructed(document)
    assert beginning(document) == ["Answer in one short sentence.", "Weather in Łódź?"]
    longer = {**document, "contents": [*document["contents"], {"role": "model", "parts": [{"text": "x"}]}]}
    assert beginning(longer) == beginning(document)
    assert not thinks({"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["contents", "parts", "text", "inlineData", "functionResponse", "generation_config", "x"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=15,
)


@given(
    st.dictionaries(
        st.sampled_from(["contents", "systemInstruction", "requests", "generationConfig"]), json_values
    )
)
def test_nothing_that_a_client_may_send_makes_reading_fail(document: dict[str, Any]) -> None:
    assert all(isinstance(text, str) for text in document_texts(document))
    assert count_images(document) >= 0
    assert isinstance(thinks(document), bool)
    assert isinstance(beginning(document), list)
