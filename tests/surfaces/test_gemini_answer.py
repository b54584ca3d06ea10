from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from llmproxyd.surfaces.gemini_generate import COUNT, EMBED, GENERATE, STREAM_ARRAY, format_failure
from llmproxyd.values.answer import (
    Answer,
    Choice,
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
    TokenCount,
    ToolCallDelta,
    UsageReported,
    Vectors,
    unfold,
)
from llmproxyd.values.contracts import Surface
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import CONSEQUENCES, Failure, FailureKind
from llmproxyd.values.request import Dialect, Part, Refusal, Request, Text, Thinking, ToolCall

GEMINI = Dialect.GEMINI_GENERATE
ENDS = {"modelVersion": "alias", "responseId": "r-1"}


def ask(*, thoughts: bool = False, **document: Any) -> Request:
    config = {"generationConfig": {"thinkingConfig": {"includeThoughts": thoughts}}}
    body = {"contents": [{"parts": [{"text": "hi"}]}], **config, **document}
    path = "/v1beta/models/alias:generateContent"
    return GENERATE.parse_request({}, json.dumps(body).encode(), path)


def whole(
    answer: Answer | Vectors | TokenCount, surface: Surface = GENERATE, request: Request | None = None
) -> Any:
    body = surface.format_answer(answer, request or ask(), model="alias", id="r-1", created_s=0)
    return json.loads(body)


def answered(*parts: Part, finish: Finish = Finish.STOP, thoughts: bool = True, **fields: Any) -> Any:
    choice = Choice(parts, finish, **fields)
    (candidate,) = whole(Answer("", "m", (choice,)), request=ask(thoughts=thoughts))["candidates"]
    return candidate


def stream(events: Iterable[Event], *, thoughts: bool = False, surface: Surface = GENERATE) -> bytes:
    encoder = surface.new_encoder(ask(thoughts=thoughts), model="alias", id="r-1", created_s=0)
    return b"".join([*(encoder.feed(event) for event in events), encoder.close()])


def pieces(data: bytes) -> list[Any]:
    frames = data.split(b"\n\n")
    assert frames.pop() == b""
    assert all(frame.startswith(b"data: ") and b"\n" not in frame for frame in frames)
    return [json.loads(frame[6:]) for frame in frames]


# --- whole answers ----------------------------------------------------------------------------------------------


def test_a_whole_answer_has_candidates_usage_and_the_name_the_client_asked_for() -> None:
    usage = Usage(120, 42, cache_read_tokens=64, reasoning_tokens=20)
    answer = Answer("up-1", "gemini-3", (Choice((Text("It is 7 °C."),), Finish.STOP),), usage)
    assert whole(answer) == {
        "candidates": [
            {
                "content": {"role": "model", "parts": [{"text": "It is 7 °C."}]},
                "index": 0,
                "finishReason": "STOP",
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 120,
            "cachedContentTokenCount": 64,
            "candidatesTokenCount": 22,
            "thoughtsTokenCount": 20,
            "totalTokenCount": 162,
        },
        "modelVersion": "alias",
        "responseId": "up-1",
    }


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((Refusal("No."),), [{"text": "No."}]),
        ((Text(""),), []),
        (
            (Thinking("hm", "s", origin=GEMINI), Text("a")),
            [{"text": "hm", "thought": True, "thoughtSignature": "s"}, {"text": "a"}],
        ),
        ((Thinking("hm", origin=Dialect.ANTHROPIC_MESSAGES),), [{"text": "hm", "thought": True}]),
        ((Text("a"), Thinking("", "s", origin=GEMINI)), [{"text": "a", "thoughtSignature": "s"}]),
        (
            (Thinking("", "s", origin=GEMINI), Text("a")),
            [{"text": "", "thoughtSignature": "s"}, {"text": "a"}],
        ),
        (
            (ToolCall("1", "f", '{"a":1}', signature="s"), ToolCall("2", "g", "")),
            [
                {"functionCall": {"id": "1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "s"},
                {"functionCall": {"id": "2", "name": "g", "args": {}}},
            ],
        ),
    ],
)
def test_parts_of_an_answer_have_their_form(parts: tuple[Part, ...], expected: Any) -> None:
    assert answered(*parts)["content"]["parts"] == expected


def test_thoughts_are_shown_only_to_those_who_asked() -> None:
    parts = (Thinking("hm", origin=GEMINI), Text("a"), Thinking("", "s", origin=GEMINI))
    shown = answered(*parts, thoughts=False)["content"]["parts"]
    assert shown == [{"text": "a", "thoughtSignature": "s"}], "signatures have to come back"


@pytest.mark.parametrize(
    ("arguments", "args"),
    [
        ("", {}),
        ("null", {}),
        ('{"a": [1]}', {"a": [1]}),
        ("[1]", {"arguments": [1]}),
        ('{"a', {"arguments": '{"a'}),
    ],
)
def test_pitfall_11_arguments_that_are_no_object_do_not_break_the_answer(arguments: str, args: Any) -> None:
    assert answered(ToolCall("1", "f", arguments))["content"]["parts"][0]["functionCall"]["args"] == args


@pytest.mark.parametrize(
    ("finish", "native", "expected"),
    [
        (Finish.STOP, "end_turn", "STOP"),
        (Finish.STOP_SEQUENCE, None, "STOP"),
        (Finish.TOOL_CALLS, "tool_calls", "STOP"),
        (Finish.LENGTH, "length", "MAX_TOKENS"),
        (Finish.LENGTH, "CONTINUATION", "CONTINUATION"),
        (Finish.CONTENT_FILTER, "RECITATION", "RECITATION"),
        (Finish.CONTENT_FILTER, "content_filter", "SAFETY"),
        (Finish.REFUSAL, "refusal", "SAFETY"),
        (Finish.PAUSE, "pause_turn", "MAX_TOKENS"),
    ],
)
def test_every_reason_has_googles_word(finish: Finish, native: str | None, expected: str) -> None:
    assert answered(Text("a"), finish=finish, native_finish=native)["finishReason"] == expected


def test_every_finish_has_a_word() -> None:
    assert all(answered(Text("a"), finish=finish)["finishReason"] for finish in Finish)


def test_an_answer_that_was_refused_whole_is_a_blocked_prompt() -> None:
    body = whole(Answer("", "m", (Choice((), Finish.REFUSAL),)))
    assert body == {"promptFeedback": {"blockReason": "SAFETY"}, **ENDS}
    streamed = pieces(stream([Started(), Finished(Finish.REFUSAL)]))
    assert streamed == [{"promptFeedback": {"blockReason": "SAFETY"}, **ENDS}]


def test_sources_and_log_probabilities_are_kept() -> None:
    logprobs = {
        "content": [{"token": "a", "logprob": -0.5, "top_logprobs": [{"token": "b", "logprob": -1.5}]}]
    }
    citation = {"type": "url_citation", "url_citation": {"url": "https://x.test", "title": "X"}}
    candidate = answered(Text("a", citations=(citation,)), logprobs=(logprobs,))
    assert candidate["citationMetadata"] == {"citationSources": [{"uri": "https://x.test", "title": "X"}]}
    assert candidate["avgLogprobs"] == -0.5
    assert candidate["logprobsResult"] == {
        "chosenCandidates": [{"token": "a", "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "b", "logProbability": -1.5}]}],
    }


def test_audio_tokens_are_told_by_modality() -> None:
    usage = Usage(10, 6, reasoning_tokens=2, input_audio_tokens=4)
    told = whole(Answer("", "m", (Choice((Text("a"),), Finish.STOP),), usage))["usageMetadata"]
    assert told["promptTokensDetails"] == [
        {"modality": "TEXT", "tokenCount": 6},
        {"modality": "AUDIO", "tokenCount": 4},
    ]
    assert told["candidatesTokenCount"] == 4


def test_counts_and_vectors_have_their_form() -> None:
    assert whole(TokenCount(12), COUNT) == {"totalTokens": 12}
    single = EMBED.parse_request({}, b'{"content":{"parts":[{"text":"a"}]}}', "/v1/models/m:embedContent")
    batch = EMBED.parse_request(
        {}, b'{"requests":[{"content":{"parts":[{"text":"a"}]}}]}', "/v1/models/m:batchEmbedContents"
    )
    vectors = Vectors("m", ((0.5, -0.25),), Usage(3))
    used = {"usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}}
    assert whole(vectors, EMBED, single) == {"embedding": {"values": [0.5, -0.25]}, **used}
    assert whole(vectors, EMBED, batch) == {"embeddings": [{"values": [0.5, -0.25]}], **used}


# --- streams ----------------------------------------------------------------------------------------------------


def test_a_stream_is_whole_responses_with_reason_and_usage_on_the_last() -> None:
    events: list[Event] = [
        Started("up-9", "m"),
        TextDelta("It is"),
        TextDelta(" 7 °C"),
        Finished(Finish.STOP),
        UsageReported(Usage(8, 4)),
    ]
    used = {"promptTokenCount": 8, "candidatesTokenCount": 4, "totalTokenCount": 12}
    ends = {"modelVersion": "alias", "responseId": "up-9"}
    assert pieces(stream(events)) == [
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "It is"}]}, "index": 0}], **ends},
        {"candidates": [{"content": {"role": "model", "parts": [{"text": " 7 °C"}]}, "index": 0}], **ends},
        {
            "candidates": [{"content": {"role": "model", "parts": []}, "index": 0, "finishReason": "STOP"}],
            "usageMetadata": used,
            **ends,
        },
    ]


def test_pitfall_1_arguments_in_pieces_go_out_as_one_call() -> None:
    events: list[Event] = [
        ToolCallDelta(0, "a", "f", '{"x"', signature="s"),
        ToolCallDelta(1, "b", "g", "{}"),
        ToolCallDelta(0, arguments=":1}"),
        Finished(Finish.TOOL_CALLS),
    ]
    (last,) = pieces(stream(events))
    (candidate,) = last["candidates"]
    assert candidate["content"]["parts"] == [
        {"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}, "thoughtSignature": "s"},
        {"functionCall": {"id": "b", "name": "g", "args": {}}},
    ]
    assert candidate["finishReason"] == "STOP"


def test_candidates_keep_their_index() -> None:
    events: list[Event] = [
        TextDelta("a"),
        TextDelta("b", 1),
        Finished(Finish.STOP, 1),
        Finished(Finish.LENGTH, 0),
    ]
    read = pieces(stream(events))
    assert [piece["candidates"][0]["index"] for piece in read[:2]] == [0, 1]
    assert [(c["index"], c["finishReason"]) for c in read[2]["candidates"]] == [
        (0, "MAX_TOKENS"),
        (1, "STOP"),
    ]


def test_thoughts_signatures_refusals_and_sources_stream_too() -> None:
    events: list[Event] = [
        ThinkingDelta("hm", origin=GEMINI),
        TextDelta("a"),
        ThinkingDelta("", signature="s", origin=GEMINI, new_block=True),
        RefusalDelta("no"),
        CitationDelta({"uri": "https://x.test"}),
        Finished(Finish.STOP),
    ]
    shown = [
        part
        for piece in pieces(stream(events, thoughts=True))
        for c in piece["candidates"]
        for part in c["content"]["parts"]
    ]
    assert shown == [
        {"text": "hm", "thought": True},
        {"text": "a"},
        {"text": "", "thoughtSignature": "s"},
        {"text": "no"},
    ]
    assert b"hm" not in stream(events)
    assert b'"citationSources":[{"uri":"https://x.test"}]' in stream(events)


def test_a_ping_is_an_empty_response_and_arrays_have_none() -> None:
    for surface, ping in ((GENERATE, b"data: {}\n\n"), (STREAM_ARRAY, b"")):
        encoder = surface.new_encoder(ask(), model="alias", id="r-1", created_s=0)
        assert encoder.ping() == encoder.feed(Pinged()) == ping


def test_without_sse_the_same_responses_are_one_array() -> None:
    events: list[Event] = [TextDelta("a"), TextDelta("b"), Finished(Finish.STOP)]
    assert json.loads(stream(events, surface=STREAM_ARRAY)) == pieces(stream(events))


@pytest.mark.parametrize("before", [[], [TextDelta("a")]])
def test_pitfall_32_a_failure_within_a_stream_is_a_piece_with_an_error(before: list[Event]) -> None:
    failure = Failure(FailureKind.OVERLOADED, "Too busy.", retry_after_s=1.5)
    for surface in (GENERATE, STREAM_ARRAY):
        encoder = surface.new_encoder(ask(), model="alias", id="r-1", created_s=0)
        data = b"".join([*map(encoder.feed, before), encoder.feed(Failed(failure))])
        read = json.loads(data) if surface is STREAM_ARRAY else pieces(data)
        assert len(read) == len(before) + 1
        assert read[-1]["error"]["status"] == "UNAVAILABLE"
        assert "finishReason" not in str(read)


def test_separators_that_clients_split_lines_at_are_escaped() -> None:
    data = stream([TextDelta("a\u2028b\u0085c"), Finished(Finish.STOP)])
    assert "\u2028".encode() not in data
    assert "\u0085".encode() not in data
    assert pieces(data)[0]["candidates"][0]["content"]["parts"] == [{"text": "a\u2028b\u0085c"}]


def test_a_whole_answer_and_its_stream_say_the_same() -> None:
    parts = (Thinking("hm", "s", origin=GEMINI), Text("a"), ToolCall("1", "f", "{}"))
    answer = Answer("r-1", "m", (Choice(parts, Finish.TOOL_CALLS),), Usage(1, 2))
    read = pieces(stream(unfold(answer), thoughts=True))
    told = [part for piece in read for c in piece["candidates"] for part in c["content"]["parts"]]
    body = whole(answer, request=ask(thoughts=True))
    assert told == body["candidates"][0]["content"]["parts"]
    assert read[-1]["usageMetadata"] == body["usageMetadata"]


# --- failures ---------------------------------------------------------------------------------------------------


def test_a_failure_has_googles_shape() -> None:
    failure = Failure(FailureKind.RATE_LIMITED, "Slow down.", retry_after_s=37.0)
    assert json.loads(format_failure(failure, "req-1")) == {
        "error": {
            "code": 429,
            "message": "Slow down.",
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "RATE_LIMITED",
                    "domain": "llmproxyd",
                },
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"},
                {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "req-1"},
            ],
        }
    }


@pytest.mark.parametrize("kind", CONSEQUENCES)
def test_every_kind_of_failure_has_a_status(kind: FailureKind) -> None:
    error = json.loads(format_failure(Failure(kind, "m", param="contents"), ""))["error"]
    assert error["code"] == CONSEQUENCES[kind].status
    assert error["status"].isupper()
    assert error["details"][1]["fieldViolations"] == [{"field": "contents", "description": "m"}]


@pytest.mark.parametrize("status", [408, 409, 413, 415, 422])
def test_a_providers_own_status_about_the_request_is_kept(status: int) -> None:
    body = format_failure(Failure(FailureKind.BAD_REQUEST, "m", status=status), "r")
    assert json.loads(body)["error"]["code"] == status
