from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd.adapters.anthropic_stream import AnthropicDecoder, new_decoder
from llmproxyd.framing import MAX_FRAME_BYTES
from llmproxyd.values.answer import (
    Answer,
    Event,
    Failed,
    Finish,
    Finished,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageReported,
    fold,
)
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import FailureKind
from llmproxyd.values.request import Dialect, Thinking
from tests import wire
from tests.adapters.anthropic_build import envelope

OWN = Dialect.ANTHROPIC_MESSAGES
START = {
    "type": "message_start",
    "message": {"id": "m-1", "model": "c", "usage": {"input_tokens": 3, "output_tokens": 1}},
}
STOP = {"type": "message_stop"}


def block(kind: str, index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **fields}}


def delta(kind: str, index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def end(reason: str | None = "end_turn", **usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


def frames(*documents: dict[str, Any]) -> bytes:
    return b"".join(
        b"event: %s\ndata: %s\n\n" % (str(d.get("type")).encode(), json.dumps(d).encode()) for d in documents
    )


def decode(*documents: dict[str, Any] | bytes) -> list[Event]:
    pieces = [d if isinstance(d, bytes) else frames(d) for d in documents]
    return wire.decode(lambda: new_decoder(envelope()), pieces)


def failure_of(events: list[Event]) -> Failed:
    last = events[-1]
    assert isinstance(last, Failed)
    return last


@pytest.mark.parametrize("case", wire.cases("anthropic-messages"))
def test_pitfall_30_a_recording_gives_the_same_events_wherever_it_is_cut(case: str) -> None:
    data, expected = wire.stream("anthropic-messages", case), wire.expected("anthropic-messages", case)
    for pieces in wire.pieces_of(data):
        assert wire.as_json(wire.decode(AnthropicDecoder, pieces)) == expected


def test_the_event_name_is_not_needed() -> None:
    data = frames(START, block("text", text="Hi"), end(), STOP).replace(b"event: ", b": ")
    assert TextDelta("Hi") in decode(data)
    assert decode(data)[-1] == UsageReported(Usage(3, 1))


@pytest.mark.parametrize(
    "documents",
    [
        (START,),
        (START, block("text", text="It")),
        (START, block("text", text="It"), end(None)),
    ],
)
def test_pitfall_33_a_stream_that_ends_without_a_reason_was_cut(
    documents: tuple[dict[str, Any], ...],
) -> None:
    failed = failure_of(decode(*documents)).failure
    assert failed.kind is FailureKind.BAD_ANSWER
    assert "cut short" in failed.detail


def test_a_stream_without_its_last_frame_is_believed() -> None:
    assert decode(START, end(output_tokens=2))[-1] == UsageReported(Usage(3, 2))


def test_a_last_frame_without_a_reason_is_an_end() -> None:
    assert decode(START, block("text", text="It"), STOP)[-1] == Finished(Finish.STOP)


@pytest.mark.parametrize(
    "data", [b"", b"<html>busy</html>", b": ping\n\n", frames(STOP), frames({"type": "ping"})]
)
def test_a_stream_without_any_answer_is_a_failure(data: bytes) -> None:
    assert failure_of(decode(data)).failure.kind is FailureKind.BAD_ANSWER


@pytest.mark.parametrize("data", [b"{", b"7", b"[]", b'"x"', b"\xff"])
def test_a_frame_that_is_no_object_is_a_failure(data: bytes) -> None:
    assert (
        failure_of(decode(START, b"event: x\ndata: " + data + b"\n\n")).failure.kind is FailureKind.BAD_ANSWER
    )


def test_a_frame_without_end_is_a_failure() -> None:
    assert "longer than" in failure_of(decode(b"data: " + b"x" * (MAX_FRAME_BYTES + 1))).failure.detail


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("overloaded_error", FailureKind.OVERLOADED),
        ("api_error", FailureKind.OVERLOADED),
        ("rate_limit_error", FailureKind.RATE_LIMITED),
        ("timeout_error", FailureKind.TIMEOUT),
        ("invalid_request_error", FailureKind.BAD_REQUEST),
        ("novel_error", FailureKind.BAD_ANSWER),
    ],
)
def test_pitfall_32_an_error_in_the_stream_ends_it(kind: str, expected: FailureKind) -> None:
    events = decode(
        START, {"type": "error", "error": {"type": kind, "message": "m"}}, block("text", text="late")
    )
    assert failure_of(events).failure.kind is expected
    assert failure_of(events).failure.code == kind


def test_an_error_without_its_type_ends_it_too() -> None:
    failure_of(decode(START, {"error": {"type": "overloaded_error"}}))


def test_nothing_is_read_after_the_end() -> None:
    assert TextDelta("late") not in decode(START, end(), STOP, block("text", text="late"))


@pytest.mark.parametrize(
    ("native", "finish"),
    [
        ("end_turn", Finish.STOP),
        ("max_tokens", Finish.LENGTH),
        ("stop_sequence", Finish.STOP_SEQUENCE),
        ("tool_use", Finish.TOOL_CALLS),
        ("pause_turn", Finish.PAUSE),
        ("refusal", Finish.REFUSAL),
        ("model_context_window_exceeded", Finish.LENGTH),
        ("compaction", Finish.PAUSE),
        ("something_new", Finish.STOP),
    ],
)
def test_reasons(native: str, finish: Finish) -> None:
    assert Finished(finish, native=native) in decode(START, end(native), STOP)


def test_tool_calls_are_told_even_where_the_reason_does_not() -> None:
    assert Finished(Finish.TOOL_CALLS, native="end_turn") in decode(
        START, block("tool_use", id="a", name="b"), end(), STOP
    )


def test_pitfall_3_tool_calls_are_counted_by_themselves() -> None:
    events = decode(
        START,
        block("thinking", 0),
        block("text", 1, text="x"),
        block("tool_use", 2, id="a", name="get", input={}),
        block("tool_use", 3, id="b", name="put", input={"x": 1}),
        delta("input_json_delta", 3, partial_json=""),
        end("tool_use"),
        STOP,
    )
    calls = [event for event in events if isinstance(event, ToolCallDelta)]
    assert calls == [ToolCallDelta(0, "a", "get"), ToolCallDelta(1, "b", "put", '{"x":1}')]


def test_names_come_back_as_the_client_wrote_them() -> None:
    assert ToolCallDelta(0, "a", "mcp.get") in decode(
        START, block("tool_use", id="a", name="mcp_x2E_get"), end(), STOP
    )


def test_blocks_of_the_providers_own_tools_are_skipped() -> None:
    events = decode(
        START,
        block("server_tool_use", 0, id="s", name="web_search", input={}),
        delta("input_json_delta", 0, partial_json='{"q":1}'),
        block("web_search_tool_result", 1, tool_use_id="s", content=[]),
        block("text", 2, text="So"),
        end(),
        STOP,
    )
    assert [event for event in events if not isinstance(event, (Started, UsageReported, Finished))] == [
        TextDelta("So")
    ]


def test_pitfall_23_every_block_of_thought_stays_a_block() -> None:
    answer = fold(
        decode(
            START,
            block("thinking", 0, thinking="", signature=""),
            delta("thinking_delta", 0, thinking="a"),
            delta("thinking_delta", 0, thinking="b"),
            block("thinking", 1, thinking="c", signature=""),
            delta("signature_delta", 1, signature="s"),
            block("redacted_thinking", 2, data="d"),
            block("thinking", 3, thinking="", signature=""),
            end(),
            STOP,
        )
    )
    assert isinstance(answer, Answer)
    assert answer.choices[0].parts == (
        Thinking("ab", origin=OWN),
        Thinking("c", "s", origin=OWN),
        Thinking(encrypted="d", origin=OWN),
    )


def test_pitfall_39_usage_includes_the_cache_once_and_later_totals_replace_earlier_ones() -> None:
    start = {
        "input_tokens": 10,
        "cache_read_input_tokens": 5,
        "cache_creation_input_tokens": 7,
        "output_tokens": 1,
    }
    events = decode(
        {"type": "message_start", "message": {"id": "m", "model": "c", "usage": start}},
        end(output_tokens=20, input_tokens=11, cache_read_input_tokens=None),
        STOP,
    )
    assert events[-1] == UsageReported(Usage(23, 20, cache_read_tokens=5, cache_write_tokens=7))


def test_pitfall_29_a_stream_without_usage_reports_none() -> None:
    events = decode({"type": "message_start", "message": {"id": "m", "model": "c"}}, end(), STOP)
    assert not any(isinstance(event, UsageReported) for event in events)


def test_half_an_emoji_is_passed_on() -> None:
    data = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\\ud83d"}}\n\n'
    assert TextDelta("\ud83d") in decode(START, data)


def test_a_signature_without_text_is_kept() -> None:
    events = decode(START, block("thinking", thinking="", signature="s"), end(), STOP)
    assert ThinkingDelta("", signature="s", origin=OWN, new_block=True) in events
