from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd.adapters.openai_stream import MAX_CHOICES, new_decoder
from llmproxyd.framing import MAX_FRAME_BYTES, format_data
from llmproxyd.values.answer import (
    Answer,
    CitationDelta,
    Event,
    Failed,
    Finish,
    Finished,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageReported,
    fold,
)
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import FailureKind
from llmproxyd.values.request import Dialect, Text, Thinking, ToolCall
from tests import wire
from tests.adapters.build import bare

DONE = format_data(b"[DONE]")


def chunk(
    delta: dict[str, Any] | None = None, finish: str | None = None, index: int = 0, **fields: Any
) -> bytes:
    choices = [] if delta is None else [{"index": index, "delta": delta, "finish_reason": finish}]
    document = {"id": "c-1", "model": "m", "created": 5, "choices": choices, **fields}
    return format_data(json.dumps(document).encode())


def decode(*frames: bytes) -> list[Event]:
    return wire.decode(lambda: new_decoder(bare()), frames)


def failure_of(events: list[Event]) -> Failed:
    last = events[-1]
    assert isinstance(last, Failed)
    return last


@pytest.mark.parametrize("case", wire.cases("openai_chat"))
def test_a_recording_gives_the_same_events_wherever_it_is_cut(case: str) -> None:
    data, expected = wire.stream("openai_chat", case), wire.expected("openai_chat", case)
    for pieces in wire.pieces_of(data):
        assert wire.as_json(wire.decode(lambda: new_decoder(bare()), pieces)) == expected


def test_a_stream_that_ends_without_a_reason_was_cut() -> None:
    failed = failure_of(decode(chunk({"content": "It"})))
    assert failed.failure.kind is FailureKind.BAD_ANSWER
    assert "cut short" in failed.failure.detail


def test_a_stream_cut_while_one_of_two_choices_was_open_is_a_failure() -> None:
    failure_of(decode(chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk({}, "stop")))


def test_a_server_without_done_is_believed_once_every_choice_has_its_reason() -> None:
    assert decode(chunk({"content": "a"}), chunk({}, "stop"))[-1] == Finished(Finish.STOP, native="stop")


def test_done_without_a_reason_is_an_end() -> None:
    assert decode(chunk({"content": "a"}), DONE)[-1] == Finished(Finish.STOP)


@pytest.mark.parametrize("data", [b"", DONE, b"<html>busy</html>", b": ping\n\n"])
def test_a_stream_without_any_answer_is_a_failure(data: bytes) -> None:
    assert failure_of(decode(data)).failure.kind is FailureKind.BAD_ANSWER


@pytest.mark.parametrize("data", [b"{", b"7", b"[]", b'"x"'])
def test_a_chunk_that_is_no_object_ends_the_stream(data: bytes) -> None:
    events = decode(chunk({"content": "a"}), format_data(data), chunk({"content": "b"}))
    assert [type(event) for event in events] == [Started, TextDelta, Failed]


def test_an_error_inside_the_stream_says_what_it_was() -> None:
    error = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
    failed = failure_of(decode(chunk({"content": "a"}), format_data(json.dumps(error).encode()), DONE))
    assert failed.failure.kind is FailureKind.RATE_LIMITED


def test_a_reason_of_error_is_a_failure_not_an_end() -> None:
    failure_of(decode(chunk({"content": "a"}, "error"), DONE))


def test_a_frame_without_end_is_a_failure() -> None:
    decoder = new_decoder(bare())
    events = decoder.feed(b"data: " + b"x" * (MAX_FRAME_BYTES + 1))
    assert isinstance(events[-1], Failed)
    assert decoder.feed(DONE) == decoder.close() == []


@pytest.mark.parametrize("index", [MAX_CHOICES, -1, 10**9])
def test_more_choices_than_can_be_asked_for_are_a_failure(index: int) -> None:
    failure_of(decode(chunk({"content": "a"}, index=index)))


@pytest.mark.parametrize(
    "frames",
    [
        [chunk({}, "stop"), chunk(None, usage={"prompt_tokens": 3, "completion_tokens": 4}), DONE],
        [chunk({}, "stop", usage={"prompt_tokens": 3, "completion_tokens": 4}), DONE],
        [chunk({}, "stop"), chunk({"content": ""}, usage={"prompt_tokens": 3, "completion_tokens": 4}), DONE],
        [
            chunk({}, "stop"),
            chunk(None, x_groq={"usage": {"prompt_tokens": 3, "completion_tokens": 4}}),
            DONE,
        ],
        [
            chunk({"content": ""}, usage={"prompt_tokens": 3, "completion_tokens": 0}),
            chunk({}, "stop", usage={"prompt_tokens": 3, "completion_tokens": 4}),
            chunk(None, usage={"service_tier": "x"}),
            DONE,
        ],
    ],
)
def test_usage_is_found_wherever_servers_put_it(frames: list[bytes]) -> None:
    usages = [event.usage for event in decode(*frames) if isinstance(event, UsageReported)]
    assert usages[-1] == Usage(input_tokens=3, output_tokens=4)


@pytest.mark.parametrize(
    "delta",
    [{"reasoning_content": "Hm."}, {"reasoning": "Hm."}, {"reasoning": "Hm.", "reasoning_content": "Hm."}],
)
def test_thought_is_read_once_under_whichever_name(delta: dict[str, Any]) -> None:
    events = decode(chunk({"role": "assistant", "content": "", **delta}), chunk({"content": "Yes."}, "stop"))
    assert events[1:3] == [ThinkingDelta("Hm.", origin=Dialect.OPENAI_CHAT), TextDelta("Yes.")]


def test_signed_and_encrypted_thoughts_keep_their_seals() -> None:
    signed = {"type": "reasoning.text", "signature": "S", "format": "anthropic-claude-v1"}
    sealed = {"type": "reasoning.encrypted", "data": "E"}
    answer = fold(
        decode(
            chunk({"reasoning": "Hm."}),
            chunk({"reasoning_details": [signed, sealed]}),
            chunk({"content": "Yes."}, "stop"),
        )
    )
    assert isinstance(answer, Answer)
    assert answer.choices[0].parts == (
        Thinking("Hm.", "S", origin=Dialect.ANTHROPIC_MESSAGES),
        Thinking(encrypted="E", origin=Dialect.OPENAI_CHAT),
        Text("Yes."),
    )


def test_details_alone_are_thought_too() -> None:
    detail = {"type": "reasoning.summary", "summary": "Hm."}
    assert ThinkingDelta("Hm.", origin=Dialect.OPENAI_CHAT) in decode(
        chunk({"reasoning_details": [detail]}, "stop")
    )


def test_a_tag_in_the_middle_of_a_text_is_text() -> None:
    answer = fold(decode(chunk({"content": "Write <think>x</think>."}, "stop")))
    assert isinstance(answer, Answer)
    assert answer.choices[0].parts == (Text("Write <think>x</think>."),)


def test_a_held_back_beginning_of_a_tag_is_not_lost() -> None:
    events = decode(chunk({"content": "<thi"}), chunk({}, "stop"))
    assert TextDelta("<thi") in events


def test_refusals_citations_and_logprobs_are_carried() -> None:
    citation = {"type": "url_citation", "url_citation": {"url": "https://example.test"}}
    logprobs = {"content": [{"token": "a", "logprob": -0.1}]}
    document = {"id": "c", "choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": logprobs}]}
    events = decode(
        format_data(json.dumps(document).encode()),
        chunk({"annotations": [citation]}),
        chunk({"refusal": "No."}),
        chunk({}, "content_filter"),
    )
    assert events[1:] == [
        TextDelta("a", logprobs=logprobs),
        CitationDelta(citation, origin=Dialect.OPENAI_CHAT),
        RefusalDelta("No."),
        Finished(Finish.CONTENT_FILTER, native="content_filter"),
    ]


def test_half_an_emoji_in_a_chunk_is_joined_with_the_other_half() -> None:
    halves = [
        json.dumps({"choices": [{"index": 0, "delta": {"content": half}}]}) for half in ("\ud83c", "\udf27")
    ]
    events = decode(*(format_data(half.encode()) for half in halves), chunk({}, "stop"))
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert text.encode("utf-16", "surrogatepass").decode("utf-16") == "🌧"


def test_a_deprecated_function_call_is_a_tool_call() -> None:
    answer = fold(
        decode(
            chunk({"function_call": {"name": "f", "arguments": '{"a"'}}),
            chunk({"function_call": {"arguments": ":1}"}}),
            chunk({}, "function_call"),
        )
    )
    assert isinstance(answer, Answer)
    (call,) = answer.choices[0].parts
    assert isinstance(call, ToolCall)
    assert (call.name, call.arguments, answer.choices[0].finish) == ("f", '{"a":1}', Finish.TOOL_CALLS)


def test_tool_calls_are_the_reason_even_if_the_server_says_stop() -> None:
    call = {"index": 0, "id": "call_1", "function": {"name": "f", "arguments": {"a": 1}}}
    events = decode(chunk({"tool_calls": [call]}), chunk({}, "stop"))
    assert events[1:] == [
        ToolCallDelta(0, "call_1", "f", '{"a":1}'),
        Finished(Finish.TOOL_CALLS, native="stop"),
    ]


@pytest.mark.parametrize(
    "choices",
    [
        None,
        {},
        [None],
        [{}],
        [{"delta": None}],
        [{"delta": {"content": None, "tool_calls": None}}],
        [{"delta": {"annotations": 7}}],
    ],
)
def test_chunks_without_anything_in_them_do_no_harm(choices: Any) -> None:
    odd = format_data(json.dumps({"id": "c-1", "model": "m", "choices": choices}).encode())
    events = decode(odd, chunk({"content": "a"}, "stop"), DONE)
    assert [type(event) for event in events] == [Started, TextDelta, Finished]
