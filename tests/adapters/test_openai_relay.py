from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd.adapters.openai_relay import inspect_answer, new_relay
from llmproxyd.adapters.relaying import MAX_HELD_BYTES
from llmproxyd.framing import MAX_FRAME_BYTES, format_data
from llmproxyd.values.answer import Finish
from llmproxyd.values.contracts import Progress
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import FailureKind
from tests import wire
from tests.support.records import replace

DONE = format_data(b"[DONE]")
FINISHED = ["text", "tools", "azure", "openrouter", "crlf", "local", "legacy"]


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **fields: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return format_data(json.dumps({"id": "c-1", "model": "m", "choices": choices, **fields}).encode())


def relay(*pieces: bytes, echo: str | None = None, keep_usage: bool = True) -> list[Progress]:
    one = new_relay(echo=echo, keep_usage=keep_usage)
    return [*(one.feed(piece) for piece in pieces), one.close()]


def out(progress: list[Progress]) -> bytes:
    return b"".join(piece.out for piece in progress)


@pytest.mark.parametrize("case", FINISHED)
def test_what_comes_in_goes_out_byte_for_byte_wherever_it_is_cut(case: str) -> None:
    data = wire.stream("openai_chat", case)
    for pieces in wire.pieces_of(data):
        progress = relay(*pieces)
        assert out(progress) == data
        assert not any(piece.failure for piece in progress)
        assert any(piece.done for piece in progress)


@pytest.mark.parametrize("case", FINISHED)
@pytest.mark.parametrize(("echo", "keep_usage"), [("alias", True), (None, False), ("alias", False)])
def test_changes_are_the_same_wherever_the_bytes_are_cut(
    case: str, echo: str | None, keep_usage: bool
) -> None:
    data = wire.stream("openai_chat", case)
    whole = out(relay(data, echo=echo, keep_usage=keep_usage))
    for cut in range(1, len(data)):
        assert out(relay(data[:cut], data[cut:], echo=echo, keep_usage=keep_usage)) == whole


@pytest.mark.parametrize(("case", "model"), [("text", b'"gpt-6-sol"'), ("crlf", b'"m"'), ("legacy", b'"m"')])
def test_only_the_models_name_is_replaced(case: str, model: bytes) -> None:
    data = wire.stream("openai_chat", case)
    changed = out(relay(data, echo="team/alias"))
    assert changed == data.replace(model, b'"team/alias"')
    assert changed != data


def test_a_model_named_elsewhere_in_the_chunk_is_left_alone() -> None:
    nested = {"content": 'The "model":"m" is fine.', "extra": {"model": "m"}}
    changed = out(relay(chunk(nested, "stop") + DONE, echo="alias"))
    document = json.loads(changed.split(b"\n\n")[0][6:])
    assert document["model"] == "alias"
    assert document["choices"][0]["delta"] == nested


def test_a_name_that_needs_escaping_is_escaped() -> None:
    changed = out(relay(chunk({"content": "a"}, "stop") + DONE, echo='a"\\1\u2028'))
    assert json.loads(changed.split(b"\n\n")[0][6:])["model"] == 'a"\\1\u2028'


@pytest.mark.parametrize("case", ["text", "openrouter", "tools", "legacy"])
def test_the_usage_frame_that_only_we_asked_for_is_dropped_and_nothing_else(case: str) -> None:
    data = wire.stream("openai_chat", case)
    progress = relay(data, keep_usage=False)
    *_, usage_frame, _ = [frame + b"\n\n" for frame in data.split(b"\n\n") if frame]
    assert b"prompt_tokens" in usage_frame
    assert out(progress) == data.replace(usage_frame, b"")
    assert any(piece.usage for piece in progress)


def test_usage_that_comes_with_content_is_not_taken_out() -> None:
    data = chunk({"content": "a"}, "stop", usage={"prompt_tokens": 1, "completion_tokens": 2}) + DONE
    progress = relay(data, keep_usage=False)
    assert out(progress) == data
    assert progress[0].usage == Usage(1, 2)


def test_a_role_is_not_content_and_is_held_back_until_there_is_some() -> None:
    role, word = chunk({"role": "assistant", "content": ""}), chunk({"content": "a"})
    first, ping, second, *_ = relay(role, b": ping\n\n", word)
    assert first == ping == Progress()
    assert second == Progress(role + b": ping\n\n" + word, content=True)


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "a"},
        {"reasoning_content": "a"},
        {"reasoning": "a"},
        {"reasoning_details": [{"type": "reasoning.text"}]},
        {"refusal": "a"},
        {"tool_calls": [{"index": 0}]},
        {"function_call": {"name": "f"}},
        {"audio": {"id": "x"}},
    ],
)
def test_every_kind_of_content_commits(delta: dict[str, Any]) -> None:
    assert relay(chunk(delta))[0].content


@pytest.mark.parametrize(
    "delta", [{}, {"content": ""}, {"content": None}, {"role": "assistant"}, {"tool_calls": []}]
)
def test_what_holds_nothing_does_not_commit(delta: dict[str, Any]) -> None:
    assert not relay(chunk(delta))[0].content


def test_several_frames_in_one_read_are_joined() -> None:
    data = chunk({"content": "a"}) + chunk({"content": "b"}) + chunk({}, "length")
    first, *_ = relay(data + DONE)
    assert first == Progress(data + DONE, content=True, finish=Finish.LENGTH, done=True)


def test_an_error_before_any_content_leaves_nothing_to_send() -> None:
    first, last = relay(chunk({"role": "assistant"}) + format_data(b'{"error":{"message":"x","code":503}}'))
    assert first.failure is not None
    assert first.failure.kind is FailureKind.OVERLOADED
    assert (first.out, first.content, last) == (b"", False, Progress())


@pytest.mark.parametrize("case", ["error", "openrouter_error"])
def test_an_error_after_content_comes_with_what_was_before_it(case: str) -> None:
    data = wire.stream("openai_chat", case)
    for pieces in wire.pieces_of(data):
        progress = relay(*pieces)
        failures = [piece.failure for piece in progress if piece.failure]
        assert [failure.kind for failure in failures] == [FailureKind.OVERLOADED]
        sent = out(progress)
        assert data.startswith(sent)
        assert sent.count(b'"content":"It"') == 1
        assert b'"error"' not in sent


@pytest.mark.parametrize(
    "data",
    [
        b"",
        DONE,
        chunk({"content": "a"}),
        chunk({"content": "a"}, "error") + DONE,
        chunk({"content": "a"}) + format_data(b"{"),
        chunk({"content": "a"}) + format_data(b"[]"),
        format_data(b'{"choices":[{"finish_reason":{}}]}'),
        b'{"id":"x","choices":[]}',
    ],
)
def test_what_is_no_complete_stream_is_a_failure(data: bytes) -> None:
    failures = [piece.failure for piece in relay(data) if piece.failure]
    assert [failure.kind for failure in failures] == [FailureKind.BAD_ANSWER]


def test_a_stream_cut_while_one_of_two_choices_was_open_is_a_failure() -> None:
    both = {"choices": [{"index": 0, "delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]}
    data = format_data(json.dumps(both).encode()) + chunk({}, "stop")
    assert relay(data)[-1].failure is not None


@pytest.mark.parametrize("end", [b"\n\n", b""])
def test_a_stream_that_lacks_its_done_gets_one(end: bytes) -> None:
    data = chunk({"content": "a"}) + chunk({}, "stop").removesuffix(b"\n\n")
    progress = relay(data + end)
    assert out(progress) == data + b"\n\n" + DONE
    assert progress[-1].done


def test_half_an_emoji_in_a_chunk_passes_untouched() -> None:
    data = chunk({"content": "\ud83c"}) + chunk({"content": "\udf27"}, "stop") + DONE
    assert out(relay(data)) == data


def test_half_an_emoji_does_not_hide_the_models_name() -> None:
    data = chunk({"content": "\ud83c"}, "stop") + DONE
    assert out(relay(data, echo="alias")) == data.replace(b'"m"', b'"alias"')


def test_what_is_held_back_is_bounded() -> None:
    one = new_relay(echo=None, keep_usage=True)
    comment = b": " + b"x" * 1000 + b"\n\n"
    for _ in range(MAX_HELD_BYTES // len(comment)):
        assert one.feed(comment).failure is None
    assert [one.feed(comment).failure is None for _ in range(2)] == [False, True]


def test_a_frame_without_end_is_a_failure() -> None:
    one = new_relay(echo=None, keep_usage=True)
    assert one.feed(b"data: " + b"x" * (MAX_FRAME_BYTES + 1)).failure is not None
    assert one.feed(DONE) == Progress()


@pytest.mark.parametrize(
    "name", ["response", "response_tools", "completions_response", "embeddings_response"]
)
def test_a_whole_answer_passes_with_only_the_name_replaced(name: str) -> None:
    body = wire.whole("openai_chat", name)
    model = json.dumps(json.loads(body)["model"]).encode()
    assert inspect_answer(body, None).body == body
    assert inspect_answer(body, "alias").body == body.replace(model, b'"alias"')


def test_usage_and_reason_of_a_whole_answer_are_seen() -> None:
    seen = inspect_answer(wire.whole("openai_chat", "response_tools"), None)
    assert (seen.finish, seen.failure) == (Finish.TOOL_CALLS, None)
    assert seen.usage == Usage(120, 14, cache_read_tokens=64)
    assert inspect_answer(wire.whole("openai_chat", "embeddings_response"), None).usage == Usage(2)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"choices":[]}', b'{"error":{"message":"x"}}']
)
def test_what_is_no_answer_is_a_failure(body: bytes) -> None:
    seen = inspect_answer(body, "alias")
    assert seen.failure is not None
    assert replace(seen.failure, message="", detail="").kind is FailureKind.BAD_ANSWER
