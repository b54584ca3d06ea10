"""From Cohere: whole answers, streams, errors, usage and what it costs."""

from __future__ import annotations

import json
from typing import Any

import pydantic
import pytest
from cohere.v2.types import V2ChatStreamResponse
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.adapters.cohere_answer import parse_answer, parse_usage
from llmproxyd.adapters.cohere_failure import parse_failure
from llmproxyd.adapters.cohere_stream import CohereDecoder
from llmproxyd.framing import MAX_FRAME_BYTES, SSESplitter, format_data
from llmproxyd.values.answer import (
    Answer,
    Choice,
    Event,
    Failed,
    Finish,
    Finished,
    Pinged,
    TextDelta,
    ToolCallDelta,
    UsageReported,
    Vectors,
    fold,
)
from llmproxyd.values.cost import Price, Usage, cost_of
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import Dialect, Operation, Text, Thinking, ToolCall
from tests import wire
from tests.adapters.build import bare

USED = Usage(900, 20, cache_read_tokens=64, billed=(30, 14))
KINDS = [
    "message-start", "content-start", "content-delta", "content-end", "tool-plan-delta", "tool-call-start",
    "tool-call-delta", "citation-start", "message-end", "other",
]  # fmt: skip
FIELDS = [
    "id", "index", "delta", "message", "content", "text", "thinking", "tool_plan", "tool_calls", "function", "name",
    "arguments", "citations", "finish_reason", "usage", "tokens", "input_tokens", "logprobs", "error", "embeddings",
    "float", "meta",
]  # fmt: skip
END = {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}


def whole(**document: Any) -> Answer:
    answer = parse_answer(
        bare(stream=False), json.dumps({"id": "c", "finish_reason": "COMPLETE", **document}).encode()
    )
    assert isinstance(answer, Answer)
    return answer


def failure_in(body: bytes, operation: Operation = Operation.CHAT) -> Failure:
    answer = parse_answer(bare(operation, stream=False), body)
    assert isinstance(answer, Failure)
    return answer


def decode(*documents: Any) -> list[Event]:
    frames = [d if isinstance(d, bytes) else format_data(json.dumps(d).encode()) for d in documents]
    return wire.decode(CohereDecoder, [b"".join(frames)])


def message(kind: str, index: int | None = None, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "index": index, "delta": {"message": fields}}


# --- streams --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", wire.cases("cohere_chat"))
def test_a_recording_gives_the_same_events_wherever_it_is_cut(case: str) -> None:
    data, expected = wire.stream("cohere_chat", case), wire.expected("cohere_chat", case)
    for pieces in wire.pieces_of(data):
        events = wire.as_json(wire.decode(CohereDecoder, pieces))
        assert json.loads(json.dumps(events)) == expected


@pytest.mark.parametrize("case", wire.cases("cohere_chat"))
def test_recordings_are_what_the_official_client_reads(case: str) -> None:
    frames = [data for _, data, _ in SSESplitter().feed(wire.stream("cohere_chat", case)) if data]
    documents = [json.loads(data) for data in frames if data != b"[DONE]"]
    for document in documents:
        if document["type"] != "something-new":
            pydantic.TypeAdapter(V2ChatStreamResponse).validate_python(document)
    assert documents[0]["type"] == "message-start"


@pytest.mark.parametrize(("case", "name"), [("text", "response"), ("tools", "response_tools")])
def test_a_stream_and_a_whole_answer_say_the_same(case: str, name: str) -> None:
    answer = parse_answer(bare(stream=False), wire.whole("cohere_chat", name))
    streamed = fold(wire.decode(CohereDecoder, [wire.stream("cohere_chat", case)]))
    assert isinstance(answer, Answer)
    assert isinstance(streamed, Answer)
    assert streamed == answer


@pytest.mark.parametrize("case", ["text", "tools", "thinking", "cited"])
def test_pitfall_33_a_stream_cut_before_its_end_is_a_failure(case: str) -> None:
    data = wire.stream("cohere_chat", case)
    for cut in range(data.index(b"event: message-end")):
        last = wire.decode(CohereDecoder, [data[:cut]])[-1]
        assert isinstance(last, Failed)
        assert last.failure.kind is FailureKind.BAD_ANSWER


def test_a_done_without_an_end_is_no_end() -> None:
    last = decode(message("content-delta", 0, content={"text": "a"}), format_data(b"[DONE]"))[-1]
    assert isinstance(last, Failed)


def test_pitfall_1_arguments_in_the_frame_that_opens_a_call_are_kept() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f_x2E_g", "arguments": '{"a"'}}
    events = decode(
        message("tool-call-start", 0, tool_calls=call),
        message("tool-call-delta", 0, tool_calls={"function": {"arguments": ":1}"}}),
        message("tool-call-end", 0),
        END,
    )
    assert events[:2] == [ToolCallDelta(0, "c1", "f.g", '{"a"'), ToolCallDelta(0, arguments=":1}")]
    assert events[2] == Finished(Finish.TOOL_CALLS, native="COMPLETE")


def test_pitfall_3_calls_are_counted_apart_from_texts() -> None:
    calls = [{"id": f"c{i}", "function": {"name": "f", "arguments": "{}"}} for i in range(2)]
    events = decode(
        message("content-start", 0, content={"type": "text", "text": "a"}),
        *(message("tool-call-start", i, tool_calls=call) for i, call in enumerate(calls)),
        END,
    )
    assert [event.index for event in events if isinstance(event, ToolCallDelta)] == [0, 1]


def test_pitfall_4_a_call_without_an_id_gets_one_that_stays_the_same() -> None:
    call = message("tool-call-start", 0, tool_calls={"function": {"name": "f", "arguments": "{}"}})
    first = decode({"type": "message-start", "id": "c"}, call, END)
    assert first == decode({"type": "message-start", "id": "c"}, call, END)
    (delta,) = (event for event in first if isinstance(event, ToolCallDelta))
    assert delta.id is not None
    assert delta.id.startswith("call_")


def test_a_comment_is_a_sign_of_life() -> None:
    assert decode(b": waiting\n\n", END)[0] == Pinged()


def test_a_stream_without_usage_reports_none() -> None:
    assert decode(END) == [Finished(Finish.STOP, native="COMPLETE")]


def test_what_follows_the_end_is_not_read() -> None:
    assert decode(END, message("content-delta", 0, content={"text": "late"})) == decode(END)


@pytest.mark.parametrize(
    "document",
    [
        b"data: {\n\n",
        b"data: []\n\n",
        {"error": {"message": "x"}},
        {"id": "e", "message": "an internal fault"},
        {"type": "message-end", "delta": {"finish_reason": "ERROR"}},
    ],
)
def test_pitfall_32_a_fault_inside_the_stream_ends_it_as_a_failure(document: Any) -> None:
    events = decode(message("content-delta", 0, content={"text": "a"}), document, END)
    assert events[0] == TextDelta("a")
    assert isinstance(events[-1], Failed)
    assert events[-1].failure.kind is FailureKind.BAD_ANSWER
    assert len(events) == 2


@pytest.mark.parametrize(
    "document",
    [
        {"type": "content-delta"},
        {"type": "content-delta", "delta": None},
        {"type": "content-delta", "delta": {"message": {"content": None}}},
        {"type": "tool-call-start", "delta": {"message": {"tool_calls": []}}},
        {"type": "citation-start", "delta": {"message": {"citations": None}}},
        {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": None}}},
        {"type": "new-kind"},
        {"type": 7},
    ],
)
def test_frames_that_say_nothing_are_passed_over(document: Any) -> None:
    assert decode(document, END) == decode(END)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)
_FRAMES = st.builds(
    lambda kind, fields: {**fields, "type": kind},
    st.sampled_from(KINDS),
    st.dictionaries(st.sampled_from(FIELDS), _JSON, max_size=4),
)


@given(st.lists(_FRAMES, max_size=6))
def test_frames_of_any_shape_end_as_an_answer_or_a_failure(frames: list[Any]) -> None:
    events = decode(*frames)
    ends = [event for event in events if isinstance(event, (Finished, Failed))]
    assert len(ends) == 1
    assert fold(events) == fold(decode(*frames))


@given(_JSON, st.sampled_from([Operation.CHAT, Operation.EMBEDDING]))
def test_bodies_of_any_shape_are_an_answer_or_a_failure(document: Any, operation: Operation) -> None:
    answer = parse_answer(bare(operation, stream=False), json.dumps(document).encode())
    assert isinstance(answer, (Answer, Vectors, Failure))


def test_a_frame_without_end_is_a_failure() -> None:
    decoder = CohereDecoder()
    (failed,) = decoder.feed(b"data: " + b"x" * (MAX_FRAME_BYTES + 1))
    assert isinstance(failed, Failed)
    assert decoder.feed(b"data: {}\n\n") == decoder.close() == []


# --- whole answers ----------------------------------------------------------------------------------------------------


def test_a_recorded_answer_is_read() -> None:
    assert parse_answer(bare(stream=False), wire.whole("cohere_chat", "response")) == Answer(
        "c-fx1", "", (Choice((Text("It is 7 °C in Łódź."),), Finish.STOP, "COMPLETE"),), USED
    )


def test_a_plan_before_calls_is_text() -> None:
    answer = parse_answer(bare(stream=False), wire.whole("cohere_chat", "response_tools"))
    assert isinstance(answer, Answer)
    assert answer.choices == (
        Choice(
            (Text("I will look it up."), ToolCall("get_weather_2", "get_weather", '{"city":"Oslo"}')),
            Finish.TOOL_CALLS,
            "TOOL_CALL",
        ),
    )


def test_thoughts_sources_and_probabilities_are_read() -> None:
    citation = {"start": 0, "end": 1, "text": "b"}
    answer = whole(
        message={
            "content": [{"type": "thinking", "thinking": "a"}, {"type": "text", "text": "b"}],
            "citations": [citation],
        },
        logprobs=[
            {"text": "b", "token_ids": [1], "logprobs": [-1]},
            {"text": "c", "token_ids": [], "logprobs": None},
        ],
    )
    assert whole(message={}, logprobs=[{"logprobs": [10**400]}]).choices[0].logprobs == ()
    (choice,) = answer.choices
    assert choice.parts == (Thinking("a", origin=Dialect.COHERE_CHAT), Text("b", citations=(citation,)))
    assert choice.logprobs == (
        {"content": [{"token": "b", "logprob": -1.0, "bytes": None, "top_logprobs": []}]},
    )


@pytest.mark.parametrize(
    ("native", "finish"),
    [
        ("COMPLETE", Finish.STOP),
        ("STOP_SEQUENCE", Finish.STOP_SEQUENCE),
        ("MAX_TOKENS", Finish.LENGTH),
        ("TOOL_CALL", Finish.TOOL_CALLS),
        ("SOMETHING_NEW", Finish.STOP),
        (None, Finish.STOP),
    ],
)
def test_reasons_are_translated_and_unknown_ones_are_ordinary_ends(
    native: str | None, finish: Finish
) -> None:
    (choice,) = whole(message={"content": []}, finish_reason=native).choices
    assert (choice.finish, choice.native_finish) == (finish, native)


def test_a_call_is_reason_enough() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
    assert whole(message={"content": None, "tool_calls": [call]}).choices[0].finish is Finish.TOOL_CALLS


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", FailureKind.BAD_ANSWER),
        (b"<html>", FailureKind.BAD_ANSWER),
        (b"[]", FailureKind.BAD_ANSWER),
        (b"{}", FailureKind.BAD_ANSWER),
        (b'{"message":"too many tokens: size limit exceeded"}', FailureKind.TOO_LARGE),
        (b'{"message":{},"finish_reason":"ERROR"}', FailureKind.BAD_ANSWER),
        (b'{"message":{},"finish_reason":"TIMEOUT"}', FailureKind.TIMEOUT),
    ],
)
def test_pitfall_50_a_good_status_is_not_yet_an_answer(body: bytes, kind: FailureKind) -> None:
    assert failure_in(body).kind is kind


# --- usage ------------------------------------------------------------------------------------------------------------


def test_used_tokens_are_reported_and_billed_ones_are_charged() -> None:
    usage = parse_usage(json.loads(wire.whole("cohere_chat", "response"))["usage"])
    assert usage == USED
    # 30 at 2.50 USD and 14 at 10 USD per million tokens.
    assert cost_of(USED, Price(2_500_000_000, 10_000_000_000)) == 30 * 2_500 + 14 * 10_000


def test_cost_of_billed_tokens_is_rounded_half_up_once() -> None:
    assert [cost_of(Usage(billed=(n, 0)), Price(500_000)) for n in (0, 1, 2, 3)] == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("given", "usage"),
    [
        (None, None),
        ({}, None),
        ({"tokens": {}, "billed_units": None}, None),
        ({"tokens": {"input_tokens": True}}, None),
        ({"tokens": {"input_tokens": 3.0, "output_tokens": 4.0}}, Usage(3, 4)),
        ({"billed_units": {"input_tokens": 3.0}}, Usage(3, 0, billed=(3, 0))),
        ({"tokens": {"input_tokens": 3}, "cached_tokens": 9}, Usage(3, 0, cache_read_tokens=3)),
        ({"tokens": {"input_tokens": -1, "output_tokens": 1e300}}, Usage(0, 0)),
    ],
)
def test_pitfall_40_counts_come_as_floats_or_not_at_all(given: Any, usage: Usage | None) -> None:
    assert parse_usage(given) == usage


def test_usage_is_reported_once_at_the_end_of_a_stream() -> None:
    end = {
        "type": "message-end",
        "delta": {"finish_reason": "COMPLETE", "usage": {"tokens": {"input_tokens": 2.0}}},
    }
    assert decode(end)[-1] == UsageReported(Usage(2))


# --- embeddings -------------------------------------------------------------------------------------------------------


def test_recorded_embeddings_are_read() -> None:
    answer = parse_answer(bare(Operation.EMBEDDING, stream=False), wire.whole("cohere_chat", "embed"))
    assert answer == Vectors("", ((0.5, -0.25), (1.0, 0.125)), Usage(2, 0, billed=(2, 0)))


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"embeddings":{"float":[]}}',
        b'{"embeddings":{"float":[["x"]]}}',
        b'{"embeddings":{"int8":[[1]]}}',
    ],
)
def test_what_holds_no_vectors_is_a_failure(body: bytes) -> None:
    assert failure_in(body, Operation.EMBEDDING).kind is FailureKind.BAD_ANSWER


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "invalid request: temperature must be >= 0", FailureKind.BAD_REQUEST),
        (
            400,
            "too many tokens: total number of tokens in the prompt exceeds the limit",
            FailureKind.TOO_LARGE,
        ),
        (401, "invalid api token", FailureKind.PROVIDER_DENIED),
        (402, "please add a payment method", FailureKind.RATE_LIMITED),
        (403, "forbidden", FailureKind.PROVIDER_DENIED),
        (404, "model 'x' not found", FailureKind.MODEL_UNAVAILABLE),
        (422, "invalid body", FailureKind.BAD_REQUEST),
        (429, "slow down", FailureKind.RATE_LIMITED),
        (498, "invalid token", FailureKind.PROVIDER_DENIED),
        (499, "request cancelled", FailureKind.OVERLOADED),
        (500, "internal", FailureKind.OVERLOADED),
        (503, "unavailable", FailureKind.OVERLOADED),
        (504, "deadline", FailureKind.TIMEOUT),
    ],
)
def test_errors_are_judged_by_status(status: int, message: str, kind: FailureKind) -> None:
    failure = parse_failure(status, {}, json.dumps({"id": "e", "message": message}).encode())
    assert (failure.kind, failure.status) == (kind, status)


@pytest.mark.parametrize(
    ("message", "retryable"),
    [
        ("You are using a Trial key, which is limited to 10 API calls / minute.", True),
        ("You are using a Trial key, which is limited to 1000 API calls / month.", False),
        ("You are using a Trial key, which is limited to 1000 API calls per month.", False),
    ],
)
def test_a_months_limit_is_not_waited_for(message: str, retryable: bool) -> None:
    failure = parse_failure(429, {}, json.dumps({"message": message}).encode())
    assert failure.retryable is retryable


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [("error_401", 401, FailureKind.PROVIDER_DENIED), ("error_429", 429, FailureKind.RATE_LIMITED)],
)
def test_recorded_errors_are_read(name: str, status: int, kind: FailureKind) -> None:
    assert parse_failure(status, {"retry-after": "3"}, wire.whole("cohere_chat", name)).kind is kind


@pytest.mark.parametrize("body", [b"", b"<html>bad gateway</html>", b"\xff"])
def test_what_cannot_be_read_is_judged_by_status_alone(body: bytes) -> None:
    assert parse_failure(502, {}, body).kind is FailureKind.OVERLOADED
