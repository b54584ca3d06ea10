from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd.adapters.gemini_answer import parse_answer
from llmproxyd.adapters.gemini_frames import GeminiSplitter, ObjectSplitter
from llmproxyd.adapters.gemini_names import format_name
from llmproxyd.adapters.gemini_stream import MAX_CHOICES, new_decoder, parse_finish, parse_usage
from llmproxyd.framing import FrameTooLong, format_data
from llmproxyd.values.answer import (
    Answer,
    CitationDelta,
    Event,
    Failed,
    Finish,
    Finished,
    Pinged,
    Started,
    TextDelta,
    ThinkingDelta,
    TokenCount,
    ToolCallDelta,
    UsageReported,
    Vectors,
    fold,
)
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import Dialect, Operation, Text, Thinking, ToolCall
from tests import wire
from tests.adapters.build import bare

GEMINI = Dialect.GEMINI_GENERATE


def piece(*parts: Any, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate | fields], "modelVersion": "m", "responseId": "r"}


def frame(document: Any) -> bytes:
    return format_data(json.dumps(document).encode())


def decode(*documents: Any) -> list[Event]:
    return wire.decode(lambda: new_decoder(bare()), map(frame, documents))


def failure_of(events: list[Event]) -> Failure:
    last = events[-1]
    assert isinstance(last, Failed)
    return last.failure


def whole(document: Any, operation: Operation = Operation.CHAT) -> Any:
    return parse_answer(bare(operation, stream=False), json.dumps(document).encode())


# --- recordings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", wire.cases("gemini-generate"))
def test_a_recording_gives_the_same_events_wherever_it_is_cut(case: str) -> None:
    data, expected = wire.stream("gemini-generate", case), wire.expected("gemini-generate", case)
    for pieces in wire.pieces_of(data):
        assert wire.as_json(wire.decode(lambda: new_decoder(bare()), pieces)) == expected


def test_the_recordings_are_all_here() -> None:
    assert wire.cases("gemini-generate") == ["array", "blocked", "error", "length", "text", "tools"]


def test_a_stream_and_a_whole_answer_come_to_the_same() -> None:
    data = wire.stream("gemini-generate", "text")
    streamed = fold(wire.decode(lambda: new_decoder(bare()), [data]))
    assert streamed == parse_answer(bare(), wire.whole("gemini-generate", "response"))


def test_pitfall_30_an_array_is_cut_only_between_its_objects() -> None:
    data = wire.stream("gemini-generate", "array")
    for pieces in wire.pieces_of(data):
        splitter = GeminiSplitter()
        frames = [found for each in pieces for found in splitter.feed(each)] + splitter.close()
        assert b"".join(raw for _, _, raw in frames) == data
        assert [json.loads(text) for _, text, _ in frames if text] == json.loads(data)


def test_an_object_without_end_is_not_kept_without_end() -> None:
    splitter = ObjectSplitter(max_object_bytes=100)
    splitter.feed(b'{"a": ' * 16)
    with pytest.raises(FrameTooLong):
        splitter.feed(b'{"a": ')


# --- parts ------------------------------------------------------------------------------------------------------


def test_text_thought_and_calls_are_told_apart() -> None:
    events = decode(
        piece({"text": "hm", "thought": True}),
        piece({"text": "a"}),
        piece(
            {"functionCall": {"id": "1", "name": "f", "args": {"x": 1}}, "thoughtSignature": "s"},
            finish="STOP",
        ),
    )
    assert events == [
        Started("r", "m"),
        ThinkingDelta("hm", origin=GEMINI),
        TextDelta("a"),
        ToolCallDelta(0, "1", "f", '{"x":1}', signature="s"),
        Finished(Finish.TOOL_CALLS, native="STOP"),
    ]


def test_a_signature_on_text_does_not_close_the_thought_before_it() -> None:
    answer = fold(
        decode(
            piece({"text": "hm", "thought": True}),
            piece({"text": "", "thoughtSignature": "s"}, finish="STOP"),
        )
    )
    assert isinstance(answer, Answer)
    assert answer.choices[0].parts == (Thinking("hm", origin=GEMINI), Thinking("", "s", origin=GEMINI))


def test_pitfall_5_ids_are_made_for_calls_without_one_and_are_the_same_every_time() -> None:
    call = {"functionCall": {"name": "f"}}
    once, again = (decode(piece(call, call, finish="STOP")) for _ in range(2))
    assert once == again
    first, second = (event for event in once if isinstance(event, ToolCallDelta))
    assert (first.index, second.index) == (0, 1)
    assert first.id != second.id
    assert first.id is not None
    assert len(first.id) <= 40
    assert first.arguments == "{}"


def test_pitfall_16_the_name_of_a_call_is_the_clients_own() -> None:
    (call,) = (
        event
        for event in decode(piece({"functionCall": {"name": format_name("a/b")}}, finish="STOP"))
        if isinstance(event, ToolCallDelta)
    )
    assert call.name == "a/b"


def test_what_google_ran_is_told_as_text() -> None:
    answer = fold(
        decode(
            piece(
                {"executableCode": {"language": "PYTHON", "code": "1+1"}},
                {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}},
                {"hologram": {}},
                finish="STOP",
            )
        )
    )
    assert isinstance(answer, Answer)
    assert answer.choices[0].parts == (Text("\n```python\n1+1\n```\n\n```\n2\n```\n"),)


def test_media_that_nobody_asked_for_are_no_answer() -> None:
    failure = failure_of(
        decode(piece({"inlineData": {"mimeType": "image/png", "data": "AA"}}, finish="STOP"))
    )
    assert failure.kind is FailureKind.BAD_ANSWER
    assert (failure.detail, failure.said) == ("the answer holds media, which nobody asked for", "image/png")


def test_sources_and_log_probabilities_are_kept() -> None:
    events = decode(
        piece(
            {"text": "a"},
            finish="STOP",
            citationMetadata={"citationSources": [{"uri": "https://x.test", "startIndex": 1}]},
            groundingMetadata={"groundingChunks": [{"web": {"uri": "https://y.test", "title": "Y"}}]},
            logprobsResult={
                "chosenCandidates": [{"token": "a", "logProbability": -0.5}],
                "topCandidates": [{"candidates": [{"token": "b", "logProbability": -1.5}]}],
            },
        )
    )
    assert [event.citation for event in events if isinstance(event, CitationDelta)] == [
        {"uri": "https://x.test", "startIndex": 1},
        {"uri": "https://y.test", "title": "Y"},
    ]
    (logprobs,) = (event.logprobs for event in events if isinstance(event, TextDelta) and event.logprobs)
    assert logprobs == {
        "content": [
            {
                "token": "a",
                "logprob": -0.5,
                "bytes": [97],
                "top_logprobs": [{"token": "b", "logprob": -1.5, "bytes": [98]}],
            }
        ]
    }


def test_candidates_are_choices() -> None:
    two = piece({"text": "b"}, finish="MAX_TOKENS", index=1)
    answer = fold(decode(piece({"text": "a"}), two, piece(finish="STOP")))
    assert isinstance(answer, Answer)
    assert [(choice.parts, choice.finish) for choice in answer.choices] == [
        ((Text("a"),), Finish.STOP),
        ((Text("b"),), Finish.LENGTH),
    ]


def test_more_candidates_than_anyone_can_ask_for_are_no_answer() -> None:
    assert failure_of(decode(piece({"text": "a"}, index=MAX_CHOICES))).kind is FailureKind.BAD_ANSWER


# --- ends -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("native", "finish"),
    [
        ("STOP", Finish.STOP),
        ("MAX_TOKENS", Finish.LENGTH),
        ("CONTINUATION", Finish.LENGTH),
        *(
            (word, Finish.CONTENT_FILTER)
            for word in (
                "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "IMAGE_SAFETY", "NO_IMAGE",
                "MODEL_ARMOR", "ESCALATION", "OTHER",
            )
        ),
        ("SOMETHING_NEW", Finish.STOP),
    ],
)  # fmt: skip
def test_every_reason_has_its_finish(native: str, finish: Finish) -> None:
    assert parse_finish(native, called=False) is finish
    assert decode(piece({"text": "a"}, finish=native))[-1] == Finished(finish, native=native)


@pytest.mark.parametrize(
    "native",
    ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE", "MISSING_THOUGHT_SIGNATURE"],
)  # fmt: skip
def test_a_reason_that_means_no_answer_is_a_failure(native: str) -> None:
    failure = failure_of(decode(piece({"text": "a"}, finish=native, finishMessage="m")))
    assert failure.kind is FailureKind.BAD_ANSWER
    assert failure.code == native.lower()
    assert native in failure.detail
    assert failure.retryable is (native != "MISSING_THOUGHT_SIGNATURE")
    assert isinstance(whole(piece(finish=native)), Failure)


def test_pitfall_33_a_stream_without_a_reason_was_cut() -> None:
    assert "cut short" in failure_of(decode(piece({"text": "a"}))).detail
    assert (
        "cut short"
        in failure_of(decode(piece({"text": "a"}, finish="STOP"), piece({"text": "b"}, index=1))).detail
    )
    assert "without any answer" in failure_of(decode()).detail
    assert "cut short" in failure_of(decode(piece({"text": "a"}, finish="FINISH_REASON_UNSPECIFIED"))).detail


@pytest.mark.parametrize(
    "data", [b"<html>busy</html>", b"data: [1]\n\n", b"data: {\n\n", b'{"candidates": [', b"[]"]
)
def test_what_is_no_stream_is_a_failure(data: bytes) -> None:
    assert failure_of(wire.decode(lambda: new_decoder(bare()), [data])).kind is FailureKind.BAD_ANSWER


def test_pitfall_32_an_error_after_the_first_text_is_a_failure() -> None:
    failure = failure_of(
        decode(piece({"text": "a"}), {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}})
    )
    assert failure.kind is FailureKind.RATE_LIMITED


@pytest.mark.parametrize("reason", ["SAFETY", "OTHER", "BLOCKLIST", "JAILBREAK"])
def test_pitfall_50_a_blocked_prompt_is_refused_content_though_the_status_is_good(reason: str) -> None:
    document = {"promptFeedback": {"blockReason": reason, "blockReasonMessage": "policy"}, "responseId": "r"}
    streamed, answered = failure_of(decode(document)), whole(document)
    assert streamed == answered
    assert (streamed.kind, streamed.code, streamed.said) == (
        FailureKind.CONTENT_REFUSED,
        reason.lower(),
        "policy",
    )


def test_an_empty_response_is_a_sign_of_life() -> None:
    assert decode({}, piece({"text": "a"}, finish="STOP"))[0] == Pinged()


def test_nothing_follows_a_failure() -> None:
    events = decode({"error": {"code": 500}}, piece({"text": "a"}, finish="STOP"))
    assert len(events) == 1


# --- usage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (
            {"promptTokenCount": 5, "candidatesTokenCount": 3, "thoughtsTokenCount": 4},
            Usage(5, 7, reasoning_tokens=4),
        ),
        ({"promptTokenCount": 5, "toolUsePromptTokenCount": 2, "cachedContentTokenCount": 4}, Usage(7, 0, 4)),
        (
            {
                "promptTokenCount": 5,
                "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 2}, {"modality": "TEXT"}],
            },
            Usage(5, input_audio_tokens=2),
        ),
        ({"totalTokenCount": 5}, None),
        ({"promptTokenCount": None, "candidatesTokenCount": True}, None),
        (None, None),
    ],
)
def test_pitfall_39_usage_has_its_normal_form(metadata: Any, expected: Usage | None) -> None:
    assert parse_usage(metadata) == expected


def test_pitfall_29_the_last_complete_usage_counts() -> None:
    answer = fold(
        decode(
            piece({"text": "a"}) | {"usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 1}},
            piece(finish="STOP") | {"usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 9}},
            {"usageMetadata": {}},
        )
    )
    assert isinstance(answer, Answer)
    assert answer.usage == Usage(5, 9)
    assert UsageReported(Usage(5, 1)) in decode(
        piece() | {"usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 1}}
    )


# --- whole ------------------------------------------------------------------------------------------------------


def test_a_recorded_answer_is_read() -> None:
    answer = parse_answer(bare(), wire.whole("gemini-generate", "response_tools"))
    assert isinstance(answer, Answer)
    assert answer.choices[0].finish is Finish.TOOL_CALLS
    assert answer.choices[0].parts == (
        ToolCall("fc-2", "get_weather", '{"city":"Oslo"}', signature="b3BhcXVlLXRob3VnaHQ="),
        ToolCall("fc-3", "get_weather", '{"city":"Rome"}'),
    )
    assert answer.usage == Usage(120, 42, 64, reasoning_tokens=20, input_image_tokens=20)


def test_the_array_of_a_stream_is_read_whole() -> None:
    answer = parse_answer(bare(), wire.stream("gemini-generate", "array"))
    assert isinstance(answer, Answer)
    assert answer.choices[0].parts == (Text('It is 7 °C {brace " and \\ in Łódź.}'),)


def test_counts_and_vectors_are_read() -> None:
    count = parse_answer(bare(Operation.COUNT_TOKENS), wire.whole("gemini-generate", "count_tokens"))
    vectors = parse_answer(bare(Operation.EMBEDDING), wire.whole("gemini-generate", "batch_embed"))
    assert count == TokenCount(120)
    assert vectors == Vectors("", ((0.5, -0.25), (1.0, 0.125)))
    assert whole({"embedding": {"values": [1]}}, Operation.EMBEDDING) == Vectors("", ((1.0,),))


@pytest.mark.parametrize(
    ("document", "operation"),
    [
        ("text", Operation.CHAT),
        ([], Operation.CHAT),
        ({}, Operation.CHAT),
        ({"candidates": []}, Operation.CHAT),
        ({"embeddings": []}, Operation.EMBEDDING),
        ({"embeddings": [{"values": ["x"]}]}, Operation.EMBEDDING),
        ({}, Operation.EMBEDDING),
        ({"totalTokens": "x"}, Operation.COUNT_TOKENS),
    ],
)
def test_what_is_no_answer_is_a_failure(document: Any, operation: Operation) -> None:
    failure = whole(document, operation)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.BAD_ANSWER


def test_an_error_with_a_good_status_is_a_failure() -> None:
    failure = whole([{"error": {"code": 503, "status": "UNAVAILABLE"}}])
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.OVERLOADED
