from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd.adapters.gemini_relay import inspect_answer, new_relay
from llmproxyd.adapters.relaying import MAX_HELD_BYTES
from llmproxyd.framing import MAX_FRAME_BYTES, format_data
from llmproxyd.values.answer import Finish
from llmproxyd.values.contracts import Progress
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import FailureKind
from tests import wire

FINISHED = ["text", "tools", "array", "length"]


def piece(*parts: Any, finish: str | None = None, **fields: Any) -> bytes:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}}
    if finish is not None:
        candidate["finishReason"] = finish
    return format_data(json.dumps({"candidates": [candidate], "modelVersion": "m", **fields}).encode())


def relay(*pieces: bytes, echo: str | None = None) -> list[Progress]:
    one = new_relay(echo=echo, keep_usage=False)
    return [*(one.feed(data) for data in pieces), one.close()]


def out(progress: list[Progress]) -> bytes:
    return b"".join(each.out for each in progress)


def failure_kind(progress: list[Progress]) -> FailureKind:
    (failure,) = (each.failure for each in progress if each.failure is not None)
    return failure.kind


@pytest.mark.parametrize("case", FINISHED)
def test_what_comes_in_goes_out_byte_for_byte_wherever_it_is_cut(case: str) -> None:
    data = wire.stream("gemini-generate", case)
    for pieces in wire.pieces_of(data):
        progress = relay(*pieces)
        assert out(progress) == data
        assert not any(each.failure for each in progress)
        assert [each.done for each in progress] == [*[False] * len(pieces), True]


@pytest.mark.parametrize("case", FINISHED)
def test_only_the_models_name_is_replaced_wherever_the_bytes_are_cut(case: str) -> None:
    data = wire.stream("gemini-generate", case)
    model = (
        b'"gemini-2.5-pro"'
        if case == "length"
        else b'"gemini-2.5-flash"'
        if case == "array"
        else b'"gemini-3.8-flash"'
    )
    expected = data.replace(model, b'"team/alias"')
    assert expected != data
    for pieces in wire.pieces_of(data):
        assert out(relay(*pieces, echo="team/alias")) == expected


def test_a_key_of_the_same_name_within_a_call_is_left_alone() -> None:
    call = {"functionCall": {"name": "f", "args": {"modelVersion": "7"}}}
    (shown, _) = relay(piece(call, finish="STOP"), echo="alias")
    document = json.loads(shown.out[6:])
    assert document["modelVersion"] == "alias"
    assert document["candidates"][0]["content"]["parts"] == [call]


def test_an_answer_that_names_no_model_is_left_as_it_is() -> None:
    data = format_data(b'{"candidates":[{"finishReason":"STOP"}]}')
    assert out(relay(data, echo="alias")) == data


@pytest.mark.parametrize(
    "part",
    [
        {"text": "a"},
        {"text": "a", "thought": True},
        {"text": "", "thoughtSignature": "s"},
        {"functionCall": {"name": "f"}},
        {"inlineData": {"mimeType": "image/png", "data": "AA"}},
        {"executableCode": {"code": "1"}},
    ],
)
def test_content_commits(part: Any) -> None:
    assert relay(piece(part))[0].content


def test_what_comes_before_the_first_content_is_held_back() -> None:
    empty, ping = piece({"text": ""}), format_data(b"{}")
    first, second, third, _ = relay(ping, empty, piece({"text": "a"}, finish="STOP"))
    assert (first.out, first.content, second.out, second.content) == (b"", False, b"", False)
    assert third.out == ping + empty + piece({"text": "a"}, finish="STOP")


def test_a_provider_that_says_nothing_for_long_has_no_answer() -> None:
    big = piece({"text": ""}, padding="x" * 100_000)
    progress = relay(*[big] * (MAX_HELD_BYTES // 100_000 + 2))
    assert failure_kind(progress) is FailureKind.BAD_ANSWER
    assert out(progress) == b""


def test_usage_and_finish_are_seen() -> None:
    used = {"usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2, "thoughtsTokenCount": 1}}
    first, second, _ = relay(
        piece({"text": "a"}, usageMetadata={"promptTokenCount": 5}), piece(finish="MAX_TOKENS", **used)
    )
    assert (first.usage, first.finish) == (Usage(5), None)
    assert (second.usage, second.finish) == (Usage(5, 3, reasoning_tokens=1), Finish.LENGTH)


def test_an_error_ends_the_relay_after_what_came_before_it() -> None:
    data = wire.stream("gemini-generate", "error")
    first = data[: data.index(b"\n\n") + 2]
    for pieces in wire.pieces_of(data):
        progress = relay(*pieces)
        assert out(progress) == first
        assert failure_kind(progress) is FailureKind.OVERLOADED


def test_a_blocked_prompt_is_refused_content() -> None:
    progress = relay(wire.stream("gemini-generate", "blocked"))
    assert failure_kind(progress) is FailureKind.CONTENT_REFUSED
    assert out(progress) == b""


def test_a_reason_that_means_no_answer_is_a_failure() -> None:
    assert failure_kind(relay(piece(finish="MALFORMED_FUNCTION_CALL"))) is FailureKind.BAD_ANSWER


@pytest.mark.parametrize(
    "pieces", [[], [piece({"text": "a"})], [piece({"text": "a"}, finish="FINISH_REASON_UNSPECIFIED")]]
)
def test_pitfall_33_a_stream_without_a_reason_was_cut(pieces: list[bytes]) -> None:
    assert failure_kind(relay(*pieces)) is FailureKind.BAD_ANSWER
    assert not any(each.done for each in relay(*pieces))


def test_a_stream_is_cut_while_one_of_two_candidates_is_open() -> None:
    two = format_data(
        b'{"candidates":[{"finishReason":"STOP"},{"index":1,"content":{"parts":[{"text":"a"}]}}]}'
    )
    assert failure_kind(relay(two)) is FailureKind.BAD_ANSWER


@pytest.mark.parametrize(
    "data", [b"data: [1]\n\n", b"data: {\n\n", b"<html>\n\n", b'data: {"candidates": 7}\n\n']
)
def test_what_is_no_stream_is_a_failure(data: bytes) -> None:
    assert failure_kind(relay(data)) is FailureKind.BAD_ANSWER


def test_half_an_emoji_passes() -> None:
    data = b'data: {"candidates":[{"content":{"parts":[{"text":"\\ud83d"},{"inlineData":{"data":"A"}}]},"finishReason":"STOP"}],"modelVersion":"m"}\n\n'
    progress = relay(data)
    assert out(progress) == data
    assert progress[0].content


@pytest.mark.parametrize("ending", [b"", b"\r\n]", b"\r\n]\r\n", b",\r\n", b',\r\n{"candidates": [{"conte'])
def test_a_failure_within_an_array_is_one_more_of_its_pieces(ending: bytes) -> None:
    begun = b'[{"candidates": [{"content": {"parts": [{"text": "a"}]}}]}'
    for pieces in wire.pieces_of(begun + ending):
        one = new_relay(echo=None, keep_usage=False)
        sent = out([*(one.feed(data) for data in pieces), one.close()])
        _, said = json.loads(sent + one.fail(b'[{"error": {"code": 502, "details": []}}\n]\n'))
        assert said["error"]["code"] == 502


def test_a_failure_within_events_is_told_as_it_is() -> None:
    one = new_relay(echo=None, keep_usage=False)
    one.feed(piece({"text": "a"}))
    assert one.fail(format_data(b'{"error": {"details": []}}')) == format_data(b'{"error": {"details": []}}')


def test_a_frame_too_long_is_a_failure() -> None:
    progress = relay(b"data: " + b"x" * MAX_FRAME_BYTES, b"x" * 10)
    assert failure_kind(progress) is FailureKind.BAD_ANSWER


# --- whole answers ----------------------------------------------------------------------------------------------


def test_a_whole_answer_passes_with_what_was_seen_in_it() -> None:
    body = wire.whole("gemini-generate", "response")
    seen = inspect_answer(body, None)
    assert seen.body == body
    assert (seen.usage, seen.finish, seen.failure) == (
        Usage(120, 42, 64, reasoning_tokens=20, input_image_tokens=20),
        Finish.STOP,
        None,
    )
    named = inspect_answer(body, "alias").body
    assert named == body.replace(b'"modelVersion": "gemini-3.8-flash"', b'"modelVersion": "alias"')
    assert named != body
    assert inspect_answer(wire.whole("gemini-generate", "response_tools"), None).finish is Finish.TOOL_CALLS


@pytest.mark.parametrize("name", ["batch_embed", "count_tokens"])
def test_embeddings_and_counts_pass(name: str) -> None:
    body = wire.whole("gemini-generate", name)
    seen = inspect_answer(body, "alias")
    assert (seen.body, seen.failure) == (body, None)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (wire.whole("gemini-generate", "response_blocked"), FailureKind.CONTENT_REFUSED),
        (b'{"error": {"code": 503, "status": "UNAVAILABLE"}}', FailureKind.OVERLOADED),
        (b'{"candidates": [{"finishReason": "MALFORMED_RESPONSE"}]}', FailureKind.BAD_ANSWER),
        (b"{}", FailureKind.BAD_ANSWER),
        (b"[]", FailureKind.BAD_ANSWER),
        (b"<html>", FailureKind.BAD_ANSWER),
    ],
)
def test_pitfall_50_a_good_status_is_not_a_good_answer(body: bytes, kind: FailureKind) -> None:
    failure = inspect_answer(body, None).failure
    assert failure is not None
    assert failure.kind is kind
