from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd.framing import SSESplitter
from llmproxyd.surfaces.openai_stream import DONE, KEEP_ALIVE, new_encoder
from llmproxyd.values.answer import (
    CitationDelta,
    Event,
    Failed,
    Finish,
    Finished,
    Pinged,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageReported,
)
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import Dialect, Operation, Request

USAGE = UsageReported(Usage(3, 4))


def encode(*events: Event, wants_usage: bool = False) -> bytes:
    request = Request(
        Operation.CHAT, Dialect.OPENAI_CHAT, "openai-chat", "m", True, b"", {}, wants_usage=wants_usage
    )
    encoder = new_encoder(request, model="alias", id="ours", created_s=9)
    return b"".join(map(encoder.feed, events)) + encoder.close()


def chunks(data: bytes) -> list[dict[str, Any]]:
    """The chunks before the end, which must be there."""
    frames = [text for _, text, _ in SSESplitter().feed(data) if text]
    assert frames.pop() == b"[DONE]"
    return [json.loads(frame) for frame in frames]


def deltas(*events: Event) -> list[tuple[int, dict[str, Any], str | None]]:
    choices = [choice for chunk in chunks(encode(*events)) for choice in chunk["choices"]]
    return [(choice["index"], choice["delta"], choice["finish_reason"]) for choice in choices]


ROLE = {"role": "assistant", "content": ""}


def test_chunks_come_in_the_order_clients_rely_on() -> None:
    data = encode(Started("theirs", "gpt", 5), TextDelta("a"), TextDelta("b"), Finished(Finish.STOP), USAGE)
    assert chunks(data) == [
        {
            "id": "theirs",
            "object": "chat.completion.chunk",
            "created": 5,
            "model": "alias",
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        }
        for delta, finish in ((ROLE, None), ({"content": "a"}, None), ({"content": "b"}, None), ({}, "stop"))
    ]


def test_usage_comes_last_without_choices_and_only_if_asked_for() -> None:
    *others, last = chunks(encode(TextDelta("a"), USAGE, Finished(Finish.STOP), wants_usage=True))
    assert [chunk["usage"] for chunk in others] == [None, None, None]
    assert last["choices"] == []
    assert last["usage"].items() >= {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}.items()
    assert b"usage" not in encode(TextDelta("a"), USAGE, Finished(Finish.STOP))


def test_nothing_is_said_before_there_is_something_to_say() -> None:
    encoder = new_encoder(
        Request(Operation.CHAT, Dialect.OPENAI_CHAT, "openai-chat", "m", True, b"", {}),
        model="a",
        id="b",
        created_s=1,
    )
    assert encoder.feed(Started("x", "y", 1)) == encoder.feed(USAGE) == b""


def test_ids_of_our_own_stand_in_where_the_provider_gave_none() -> None:
    assert chunks(encode(Started(), TextDelta("a")))[0].items() >= {"id": "ours", "created": 9}.items()


def test_a_tool_calls_id_and_name_are_sent_once() -> None:
    assert deltas(
        ToolCallDelta(0, "c1", "f", '{"a"'),
        ToolCallDelta(0, arguments=":1}"),
        ToolCallDelta(1, "c2", "g", "x", kind="custom", signature="S"),
        Finished(Finish.STOP),
    ) == [
        (0, ROLE, None),
        (
            0,
            {
                "tool_calls": [
                    {
                        "index": 0,
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"a"'},
                    }
                ]
            },
            None,
        ),
        (0, {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}, None),
        (
            0,
            {
                "tool_calls": [
                    {
                        "index": 1,
                        "id": "c2",
                        "type": "custom",
                        "custom": {"name": "g", "input": "x"},
                        "extra_content": {"google": {"thought_signature": "S"}},
                    }
                ]
            },
            None,
        ),
        (0, {}, "tool_calls"),
    ]


def test_each_choice_has_its_own_role_and_end() -> None:
    assert deltas(TextDelta("a"), TextDelta("b", 1), Finished(Finish.LENGTH, 1), Finished(Finish.STOP)) == [
        (0, ROLE, None),
        (0, {"content": "a"}, None),
        (1, ROLE, None),
        (1, {"content": "b"}, None),
        (1, {}, "length"),
        (0, {}, "stop"),
    ]


def test_an_empty_answer_has_a_role_too() -> None:
    assert deltas(Finished(Finish.STOP)) == [(0, ROLE, None), (0, {}, "stop")]


def test_thought_is_reasoning_content_and_a_seal_brings_the_whole_block() -> None:
    assert deltas(
        ThinkingDelta("a"),
        ThinkingDelta("b", signature="S", origin=Dialect.ANTHROPIC_MESSAGES),
        ThinkingDelta("c"),
        ThinkingDelta(encrypted="E", new_block=True, item_id="rs_1"),
    ) == [
        (0, ROLE, None),
        (0, {"reasoning_content": "a"}, None),
        (0, {"reasoning_content": "b"}, None),
        (
            0,
            {
                "reasoning_details": [
                    {
                        "type": "reasoning.text",
                        "text": "ab",
                        "signature": "S",
                        "format": "anthropic-claude-v1",
                        "index": 0,
                    }
                ]
            },
            None,
        ),
        (0, {"reasoning_content": "c"}, None),
        (
            0,
            {"reasoning_details": [{"type": "reasoning.encrypted", "data": "E", "id": "rs_1", "index": 2}]},
            None,
        ),
    ]


def test_a_seal_may_come_first() -> None:
    (_, first, _), *_ = deltas(ThinkingDelta(encrypted="E"))
    assert first == ROLE


def test_refusals_own_citations_and_logprobs_are_passed_on() -> None:
    own = {"type": "url_citation", "url_citation": {"url": "https://example.test"}}
    foreign = {"type": "char_location", "cited_text": "x"}
    assert deltas(CitationDelta(own), CitationDelta(foreign), RefusalDelta("No."))[1:] == [
        (0, {"annotations": [own]}, None),
        (0, {"refusal": "No."}, None),
    ]
    logprobs = {"content": [{"token": "a"}]}
    assert chunks(encode(TextDelta("a", logprobs=logprobs)))[1]["choices"][0]["logprobs"] == logprobs


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (Finish.STOP, "stop"),
        (Finish.STOP_SEQUENCE, "stop"),
        (Finish.LENGTH, "length"),
        (Finish.TOOL_CALLS, "tool_calls"),
        (Finish.CONTENT_FILTER, "content_filter"),
        (Finish.REFUSAL, "content_filter"),
        (Finish.PAUSE, "length"),
    ],
)
def test_every_reason_has_its_word(reason: Finish, word: str) -> None:
    assert deltas(Finished(reason))[-1] == (0, {}, word)


def test_a_failure_in_the_stream_is_an_error_object_and_no_end() -> None:
    failure = Failure(FailureKind.OVERLOADED, "busy", detail="secret detail")
    request = Request(Operation.CHAT, Dialect.OPENAI_CHAT, "openai-chat", "m", True, b"", {})
    encoder = new_encoder(request, model="a", id="b", created_s=1)
    data = encoder.feed(Failed(failure))
    assert data == encoder.fail(failure)
    ((_, text, _),) = SSESplitter().feed(data)
    assert json.loads(text) == {
        "error": {"message": "busy", "type": "server_error", "param": None, "code": "server_is_overloaded"}
    }


def test_a_ping_is_a_comment() -> None:
    assert encode(Pinged()) == KEEP_ALIVE + DONE == b": keep-alive\n\ndata: [DONE]\n\n"


def test_characters_that_some_clients_take_for_line_ends_are_escaped() -> None:
    data = encode(TextDelta("a\u2028b\u2029c\u0085d\ud83c"))
    assert not any(raw in data for raw in ("\u2028".encode(), "\u2029".encode(), "\u0085".encode()))
    assert chunks(data)[1]["choices"][0]["delta"]["content"] == "a\u2028b\u2029c\u0085d\ud83c"
