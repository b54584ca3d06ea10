from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd.surfaces.openai_answer import format_answer
from llmproxyd.values.answer import Answer, Choice, Finish, Vectors
from llmproxyd.values.cost import Usage
from llmproxyd.values.request import (
    Dialect,
    Operation,
    Part,
    Refusal,
    Request,
    Text,
    Thinking,
    ToolCall,
)

REQUEST = Request(Operation.CHAT, Dialect.OPENAI_CHAT, "openai-chat", "m", False, b"", {})


def formatted(answer: Answer) -> dict[str, Any]:
    document = json.loads(format_answer(answer, REQUEST, model="alias", id="ours", created_s=9))
    assert isinstance(document, dict)
    return document


def message(*parts: Part) -> Any:
    return formatted(Answer("", "", (Choice(parts, Finish.STOP),)))["choices"][0]["message"]


def test_a_whole_answer_has_openais_form_and_the_clients_model() -> None:
    answer = Answer("theirs", "gpt", (Choice((Text("a"),), Finish.LENGTH),), Usage(9, 8, 4, 2, 1, 5, 1, 2), 5)
    assert formatted(answer) == {
        "id": "theirs",
        "object": "chat.completion",
        "created": 5,
        "model": "alias",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "a", "refusal": None},
                "logprobs": None,
                "finish_reason": "length",
            }
        ],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 8,
            "total_tokens": 17,
            "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3, "audio_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 2},
        },
    }


def test_ids_of_our_own_stand_in_and_unknown_usage_is_left_out() -> None:
    document = formatted(Answer("", "", (Choice((), None),)))
    assert (document["id"], document["created"]) == ("ours", 9)
    assert "usage" not in document
    assert document["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((), {"content": "", "refusal": None}),
        ((Text("a"), Text("b")), {"content": "ab", "refusal": None}),
        ((Refusal("No."),), {"content": None, "refusal": "No."}),
        (
            (Thinking("Hm."), Text("a")),
            {"content": "a", "refusal": None, "reasoning_content": "Hm."},
        ),
        (
            (Thinking("Hm.", "S", origin=Dialect.ANTHROPIC_MESSAGES), Thinking(encrypted="E", item_id="r")),
            {
                "content": "",
                "refusal": None,
                "reasoning_content": "Hm.",
                "reasoning_details": [
                    {
                        "type": "reasoning.text",
                        "text": "Hm.",
                        "signature": "S",
                        "format": "anthropic-claude-v1",
                        "index": 0,
                    },
                    {"type": "reasoning.encrypted", "data": "E", "id": "r", "index": 1},
                ],
            },
        ),
        (
            (ToolCall("c1", "f", "{}"), ToolCall("c2", "g", "x", "custom", "S")),
            {
                "content": None,
                "refusal": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                    {
                        "id": "c2",
                        "type": "custom",
                        "custom": {"name": "g", "input": "x"},
                        "extra_content": {"google": {"thought_signature": "S"}},
                    },
                ],
            },
        ),
    ],
)
def test_every_part_has_its_place_in_the_message(parts: tuple[Part, ...], expected: dict[str, Any]) -> None:
    assert message(*parts) == {"role": "assistant", **expected}


def test_only_citations_of_this_dialect_are_shown() -> None:
    own = {"type": "url_citation", "url_citation": {"url": "https://example.test"}}
    assert message(Text("a", citations=(own, {"type": "char_location"})))["annotations"] == [own]
    assert "annotations" not in message(Text("a", citations=({"type": "char_location"},)))


def test_tool_calls_are_the_reason_even_if_the_provider_says_stop() -> None:
    document = formatted(Answer("", "", (Choice((ToolCall("c", "f", ""),), Finish.STOP),)))
    assert document["choices"][0]["finish_reason"] == "tool_calls"


def test_logprobs_of_a_stream_are_joined() -> None:
    pieces: Any = ({"content": [1]}, {"content": [2], "refusal": None})
    document = formatted(Answer("", "", (Choice((Text("ab"),), Finish.STOP, logprobs=pieces),)))
    assert document["choices"][0]["logprobs"] == {"content": [1, 2], "refusal": None}


def test_a_chat_is_not_answered_with_vectors() -> None:
    with pytest.raises(TypeError):
        format_answer(Vectors("m", ()), REQUEST, model="m", id="x", created_s=1)
