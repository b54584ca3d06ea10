from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types import Message, MessageTokensCount

from llmproxyd.surfaces.anthropic_messages import COUNT_SURFACE, SURFACE
from llmproxyd.values.answer import Answer, Choice, Finish, TokenCount, Vectors
from llmproxyd.values.cost import Usage
from llmproxyd.values.replay import unseal_thought
from llmproxyd.values.request import Dialect, Operation, Part, Refusal, Request, Text, Thinking, ToolCall
from tests.support.records import replace

OWN = Dialect.ANTHROPIC_MESSAGES
REQUEST = Request(Operation.CHAT, OWN, "anthropic-messages", "smart", False, b"{}", {})


def shown(*parts: Part, finish: Finish | None = Finish.STOP, **fields: Any) -> dict[str, Any]:
    answer = Answer("msg_1", "up", (Choice(parts, finish, **fields),), Usage(10, 5, cache_read_tokens=4))
    document: dict[str, Any] = json.loads(
        SURFACE.format_answer(answer, REQUEST, model="smart", id="r-1", created_s=5)
    )
    Message.model_validate(document)
    return document


def test_a_whole_answer() -> None:
    assert shown(Thinking("hm", "EqQB", origin=OWN), Text("Hi."), ToolCall("t", "get", '{"a":1}')) == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "smart",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "EqQB"},
            {"type": "text", "text": "Hi."},
            {"type": "tool_use", "id": "t", "name": "get", "input": {"a": 1}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 6,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 4,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": 5,
        },
    }


@pytest.mark.parametrize("parts", [(), (Text(""),), (Refusal(""),)])
def test_an_empty_turn_has_one_text_block(parts: tuple[Part, ...]) -> None:
    assert shown(*parts)["content"] == [{"type": "text", "text": ""}]


def test_an_answer_without_choices_ids_or_usage() -> None:
    document = json.loads(
        SURFACE.format_answer(Answer("", "", ()), REQUEST, model="smart", id="r-1", created_s=5)
    )
    assert (document["id"], document["content"]) == ("msg_r-1", [{"type": "text", "text": ""}])
    assert document["usage"]["input_tokens"] == 0


def test_thoughts_of_others_are_sealed() -> None:
    thought = Thinking("hm", encrypted="E", origin=Dialect.OPENAI_RESPONSES, item_id="rs_1")
    (block,) = shown(thought)["content"]
    assert unseal_thought(block["thinking"], block["signature"]) == thought


def test_redacted_thoughts() -> None:
    assert shown(Thinking(encrypted="d", origin=OWN))["content"] == [
        {"type": "redacted_thinking", "data": "d"}
    ]


@pytest.mark.parametrize(
    ("arguments", "wire"),
    [("", {}), ("null", {}), ('{"a":1}', {"a": 1}), ("[1]", {"arguments": [1]}), ("{", {"arguments": "{"})],
)
def test_pitfall_11_the_input_is_always_an_object(arguments: str, wire: object) -> None:
    assert shown(ToolCall("t", "get", arguments))["content"][0]["input"] == wire


def test_pitfall_5_ids_can_be_handed_to_anthropic() -> None:
    first, second = (
        block["id"] for block in shown(ToolCall("a.b", "x", ""), ToolCall("", "y", ""))["content"]
    )
    assert first != second
    assert first.startswith("call_")


def test_a_refusal_in_words() -> None:
    document = shown(Refusal("No."))
    assert (document["content"], document["stop_reason"]) == ([{"type": "text", "text": "No."}], "refusal")


def test_citations_of_the_dialect_are_kept() -> None:
    own = {
        "type": "web_search_result_location",
        "url": "u",
        "title": "t",
        "encrypted_index": "e",
        "cited_text": "c",
    }
    foreign = {"type": "url_citation", "url_citation": {}}
    assert shown(Text("x", citations=(own, foreign)))["content"] == [
        {"type": "text", "text": "x", "citations": [own]}
    ]
    assert "citations" not in shown(Text("x", citations=(foreign,)))["content"][0]


def test_the_end_is_told_as_the_provider_told_it() -> None:
    document = shown(Text("x"), finish=Finish.STOP_SEQUENCE, stop_sequence="###")
    assert (document["stop_reason"], document["stop_sequence"]) == ("stop_sequence", "###")
    assert shown(Text("x"), finish=Finish.LENGTH, native_finish="length")["stop_reason"] == "max_tokens"


def test_pitfall_39_tokens_of_the_cache_are_not_counted_twice() -> None:
    usage = Usage(
        100, 7, cache_read_tokens=60, cache_write_tokens=20, cache_write_1h_tokens=10, reasoning_tokens=3
    )
    answer = Answer("m", "up", (Choice((Text("x"),), Finish.STOP),), usage)
    wire = json.loads(SURFACE.format_answer(answer, REQUEST, model="m", id="r", created_s=0))["usage"]
    assert wire["input_tokens"] + wire["cache_read_input_tokens"] + wire["cache_creation_input_tokens"] == 100
    assert wire["output_tokens_details"] == {"thinking_tokens": 3}


def test_a_count() -> None:
    body = COUNT_SURFACE.format_answer(TokenCount(7, estimated=True), REQUEST, model="m", id="r", created_s=0)
    assert MessageTokensCount.model_validate_json(body).input_tokens == 7


def test_vectors_are_no_answer_to_a_message() -> None:
    with pytest.raises(TypeError):
        SURFACE.format_answer(Vectors("m", ()), REQUEST, model="m", id="r", created_s=0)


@pytest.mark.parametrize(
    ("thinking", "kinds"),
    [(None, ["text"]), ({"type": "disabled"}, ["text"]), ({"type": "adaptive"}, ["thinking", "text"])],
)
def test_a_seal_without_words_is_shown_only_to_who_asked_for_thought(thinking: Any, kinds: list[str]) -> None:
    seal = Thinking("", None, "E", Dialect.OPENAI_RESPONSES, "rs_1")
    answer = Answer("msg_1", "up", (Choice((seal, Text("Hi.")), Finish.STOP),))
    request = replace(REQUEST, document={"thinking": thinking})
    document = json.loads(SURFACE.format_answer(answer, request, model="smart", id="r-1", created_s=5))
    assert [block["type"] for block in document["content"]] == kinds
