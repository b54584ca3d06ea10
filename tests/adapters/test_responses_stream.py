from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd import jsontext
from llmproxyd.adapters.responses_answer import parse_answer
from llmproxyd.adapters.responses_relay import new_relay
from llmproxyd.adapters.responses_stream import MAX_ITEMS, new_decoder
from llmproxyd.framing import MAX_FRAME_BYTES, format_data
from llmproxyd.values.answer import (
    Answer,
    Event,
    Failed,
    Finish,
    Finished,
    Pinged,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageReported,
    fold,
)
from llmproxyd.values.failure import FailureKind
from llmproxyd.values.request import Text, Thinking
from tests import wire
from tests.adapters.build import bare
from tests.support.records import replace


def frame(kind: str, **fields: Any) -> bytes:
    return format_data(json.dumps({"type": kind, **fields}).encode())


def response(status: str = "in_progress", *output: Any, **fields: Any) -> dict[str, Any]:
    return {"id": "resp_1", "model": "m", "status": status, "output": list(output), **fields}


CREATED = frame("response.created", response=response())
DONE = frame("response.completed", response=response("completed"))


def decode(*frames: bytes) -> list[Event]:
    return wire.decode(lambda: new_decoder(bare()), frames)


def failure_of(events: list[Event]) -> Failed:
    last = events[-1]
    assert isinstance(last, Failed)
    return last


@pytest.mark.parametrize("case", wire.cases("openai_responses"))
def test_a_recording_gives_the_same_events_wherever_it_is_cut(case: str) -> None:
    data, expected = wire.stream("openai_responses", case), wire.expected("openai_responses", case)
    for pieces in wire.pieces_of(data):
        assert wire.as_json(wire.decode(lambda: new_decoder(bare()), pieces)) == expected


@pytest.mark.parametrize("case", ["text", "tools", "custom", "open_weights", "done_only", "incomplete"])
def test_a_stream_folds_into_the_answer_it_ends_with(case: str) -> None:
    data = wire.stream("openai_responses", case)
    last = [
        line for line in data.replace(b"\r", b"").split(b"\n") if b'"response.' in line and b"data:" in line
    ][-1]
    final = json.loads(last[5:])["response"]
    whole, folded = parse_answer(bare(), jsontext.encode(final)), fold(decode(data))
    assert isinstance(whole, Answer)
    assert isinstance(folded, Answer)
    # Only a thought that can be handed back keeps its id in a stream.
    parts = tuple(
        replace(part, item_id=None) if isinstance(part, Thinking) and part.encrypted is None else part
        for part in whole.choices[0].parts
    )
    assert folded.choices[0].parts == parts
    assert (folded.id, folded.usage, folded.choices[0].finish) == (
        whole.id,
        whole.usage,
        whole.choices[0].finish,
    )


def test_pitfall_33_a_stream_without_its_terminal_event_was_cut() -> None:
    failed = failure_of(decode(CREATED, frame("response.output_text.delta", output_index=0, delta="It")))
    assert failed.failure.kind is FailureKind.BAD_ANSWER
    assert "cut short" in failed.failure.detail


@pytest.mark.parametrize("data", [b"", b": ping\n\n", b"<html>busy</html>", b"data: [DONE]\n\n"])
def test_a_stream_without_any_answer_is_a_failure(data: bytes) -> None:
    assert failure_of(decode(data)).failure.kind is FailureKind.BAD_ANSWER


@pytest.mark.parametrize("data", [b"{", b"7", b"[]", b'"x"'])
def test_an_event_that_is_no_object_ends_the_stream(data: bytes) -> None:
    events = decode(CREATED, format_data(data), frame("response.output_text.delta", delta="b"), DONE)
    assert [type(event) for event in events] == [Started, Failed]


def test_nothing_is_read_after_the_terminal_event() -> None:
    events = decode(CREATED, DONE, frame("response.output_text.delta", delta="late"))
    assert [type(event) for event in events] == [Started, Finished]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "context_length_exceeded", "message": "x"}, FailureKind.TOO_LARGE),
        ({"code": "insufficient_quota", "message": "x"}, FailureKind.RATE_LIMITED),
        ({"code": "server_is_overloaded", "message": "x"}, FailureKind.OVERLOADED),
        ({"code": "whatever", "message": "x"}, FailureKind.BAD_ANSWER),
    ],
)
def test_pitfall_32_an_error_inside_the_stream_says_what_it_was(
    error: dict[str, Any], kind: FailureKind
) -> None:
    flat = failure_of(decode(CREATED, frame("error", **error)))
    nested = failure_of(decode(CREATED, frame("error", error=error)))
    failed = failure_of(decode(CREATED, frame("response.failed", response=response("failed", error=error))))
    assert {flat.failure.kind, nested.failure.kind, failed.failure.kind} == {kind}


@pytest.mark.parametrize("status", ["failed", "cancelled", "queued", "in_progress"])
def test_pitfall_50_a_completed_event_about_a_response_that_is_not_is_a_failure(status: str) -> None:
    failure_of(decode(CREATED, frame("response.completed", response=response(status))))


def test_an_error_where_an_event_should_be_is_a_failure() -> None:
    assert failure_of(decode(format_data(b'{"error":{"message":"x","code":503}}'))).failure.kind is (
        FailureKind.OVERLOADED
    )


def test_a_frame_without_end_is_a_failure() -> None:
    decoder = new_decoder(bare())
    assert isinstance(decoder.feed(b"data: " + b"x" * (MAX_FRAME_BYTES + 1))[-1], Failed)
    assert decoder.feed(DONE) == decoder.close() == []


@pytest.mark.parametrize("place", [MAX_ITEMS, -1, 10**9, "x"])
def test_more_items_than_an_answer_can_have_are_a_failure(place: Any) -> None:
    item = {"type": "function_call", "name": "f", "call_id": "c"}
    failure_of(decode(CREATED, frame("response.output_item.added", output_index=place, item=item), DONE))
    failure_of(decode(CREATED, frame("response.output_item.done", output_index=place, item=item), DONE))


def test_pitfall_3_tool_calls_are_counted_among_themselves() -> None:
    calls = [{"type": "function_call", "id": f"fc_{n}", "call_id": f"c{n}", "name": "f"} for n in range(2)]
    events = decode(
        CREATED,
        frame("response.output_item.added", output_index=1, item=calls[0]),
        frame("response.output_item.added", output_index=4, item=calls[1]),
        frame("response.function_call_arguments.delta", output_index=4, delta="{}"),
        frame("response.function_call_arguments.delta", output_index=1, delta="[]"),
        frame("response.completed", response=response("completed", {"type": "x"}, *calls)),
    )
    assert events[1:5] == [
        ToolCallDelta(0, "c0", "f"),
        ToolCallDelta(1, "c1", "f"),
        ToolCallDelta(1, arguments="{}"),
        ToolCallDelta(0, arguments="[]"),
    ]
    assert events[-1] == Finished(Finish.TOOL_CALLS, native="completed")


def test_an_item_is_not_told_twice_when_the_stream_left_gaps_between_places() -> None:
    item = {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "Yes."}]}
    events = decode(
        CREATED,
        frame("response.output_item.done", output_index=3, item=item),
        frame("response.completed", response=response("completed", item)),
    )
    assert [event for event in events if isinstance(event, TextDelta)] == [TextDelta("Yes.")]


def test_pitfall_4_arguments_that_come_whole_or_as_an_object_are_text() -> None:
    item = {"type": "function_call", "id": "fc", "name": "f", "arguments": {"a": 1}}
    events = decode(CREATED, frame("response.output_item.done", output_index=0, item=item), DONE)
    call = events[1]
    assert isinstance(call, ToolCallDelta)
    assert (call.arguments, bool(call.id)) == ('{"a":1}', True)


def test_arguments_of_a_call_that_was_only_announced_come_with_its_end() -> None:
    item = {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": ""}
    events = decode(
        CREATED,
        frame("response.output_item.added", output_index=0, item=item),
        frame("response.output_item.done", output_index=0, item={**item, "arguments": "{}"}),
        DONE,
    )
    assert events[1:3] == [ToolCallDelta(0, "c", "f"), ToolCallDelta(0, arguments="{}")]


def test_a_thought_that_comes_under_two_names_is_told_once() -> None:
    events = decode(
        CREATED,
        frame("response.reasoning_summary_text.delta", output_index=0, delta="Hm."),
        frame("response.reasoning_text.delta", output_index=0, delta="Hm."),
        DONE,
    )
    assert [event.text for event in events if isinstance(event, ThinkingDelta)] == ["Hm."]


def test_several_summaries_of_a_thought_are_paragraphs_and_several_thoughts_are_blocks() -> None:
    def summary(place: int, part: int, text: str) -> bytes:
        head = frame("response.reasoning_summary_part.added", output_index=place, summary_index=part)
        return head + frame("response.reasoning_summary_text.delta", output_index=place, delta=text)

    answer = fold(decode(CREATED, summary(0, 0, "A"), summary(0, 1, "B"), summary(1, 0, "C"), DONE))
    assert isinstance(answer, Answer)
    assert [part.text for part in answer.choices[0].parts if isinstance(part, Thinking)] == ["A\n\nB", "C"]


def test_pitfall_34_obfuscation_is_not_passed_on_and_logprobs_are() -> None:
    token = {"token": "a", "logprob": -0.1, "top_logprobs": []}
    event = decode(
        CREATED, frame("response.output_text.delta", delta="a", logprobs=[token], obfuscation="xyz"), DONE
    )[1]
    assert event == TextDelta("a", logprobs={"content": [token]})


def test_progress_of_hosted_tools_is_a_sign_of_life() -> None:
    assert decode(CREATED, frame("response.web_search_call.searching", output_index=0), DONE)[1] == Pinged()


@pytest.mark.parametrize("usage", [None, {}, {"service_tier": "x"}, 7])
def test_pitfall_29_usage_without_counts_is_no_usage(usage: Any) -> None:
    events = decode(CREATED, frame("response.completed", response=response("completed", usage=usage)))
    assert not any(isinstance(event, UsageReported) for event in events)


def test_half_an_emoji_in_a_delta_is_joined_with_the_other_half() -> None:
    halves = [frame("response.output_text.delta", delta=half) for half in ("\ud83c", "\udf27")]
    answer = fold(decode(CREATED, *halves, DONE))
    assert isinstance(answer, Answer)
    (part,) = answer.choices[0].parts
    assert isinstance(part, Text)
    assert part.text.encode("utf-16", "surrogatepass").decode("utf-16") == "🌧"


_FIELDS = [
    "type", "id", "call_id", "name", "arguments", "input", "content", "summary", "text", "delta", "item", "response",
    "output", "output_index", "status", "error", "usage", "annotation", "annotations", "logprobs", "incomplete_details",
]  # fmt: skip
_WORDS = st.sampled_from(
    [
        "response.created", "response.completed", "response.failed", "response.output_item.added", "error",
        "response.output_item.done", "response.output_text.delta", "response.function_call_arguments.delta",
        "response.reasoning_summary_part.added", "response.reasoning_text.delta", "function_call", "message",
        "reasoning", "completed", "incomplete",
    ]
)  # fmt: skip
_VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_FIELDS), inner, max_size=5),
    max_leaves=15,
)


@given(st.lists(st.dictionaries(st.sampled_from(_FIELDS), _VALUE | _WORDS, max_size=6), max_size=5))
def test_whatever_a_server_sends_is_an_answer_or_a_failure(frames: list[dict[str, Any]]) -> None:
    data = b"".join(format_data(json.dumps(one).encode()) for one in frames)
    events = decode(data)
    assert isinstance(events[-1], (Finished, Failed))
    relay = new_relay(echo="alias", keep_usage=True)
    last = [relay.feed(data), relay.close()]
    assert any(progress.done or progress.failure for progress in last)
    parse_answer(bare(), json.dumps(frames[0] if frames else {}).encode())
