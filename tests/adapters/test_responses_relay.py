from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd.adapters.responses_relay import MAX_HELD_BYTES, ResponsesRelay, inspect_answer, new_relay
from llmproxyd.framing import MAX_FRAME_BYTES, SSESplitter, format_data
from llmproxyd.values.answer import Finish
from llmproxyd.values.contracts import Progress
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import FailureKind
from tests import wire

FINISHED = ["text", "tools", "custom", "done_only", "incomplete"]


def frame(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\n".encode() + format_data(json.dumps({"type": kind, **fields}).encode())


def response(status: str = "in_progress", **fields: Any) -> dict[str, Any]:
    return {"id": "resp_1", "model": "m", "status": status, "output": [], **fields}


CREATED = frame("response.created", response=response())
DELTA = frame("response.output_text.delta", output_index=0, delta="a")
DONE = frame("response.completed", response=response("completed"))


def relay(*pieces: bytes, echo: str | None = None) -> list[Progress]:
    one = new_relay(echo=echo, keep_usage=False)
    return [*(one.feed(piece) for piece in pieces), one.close()]


def out(progress: list[Progress]) -> bytes:
    return b"".join(piece.out for piece in progress)


@pytest.mark.parametrize("case", FINISHED)
def test_what_comes_in_goes_out_byte_for_byte_wherever_it_is_cut(case: str) -> None:
    data = wire.stream("openai_responses", case)
    for pieces in wire.pieces_of(data):
        progress = relay(*pieces)
        assert out(progress) == data
        assert not any(piece.failure for piece in progress)
        assert any(piece.done for piece in progress)


def test_a_copied_dialect_passes_up_to_its_last_event() -> None:
    data = wire.stream("openai_responses", "open_weights")
    assert out(relay(data)) == data.removesuffix(b"data: [DONE]\r\n\r\n")


@pytest.mark.parametrize("case", [*FINISHED, "open_weights"])
def test_changes_are_the_same_wherever_the_bytes_are_cut(case: str) -> None:
    data = wire.stream("openai_responses", case)
    whole = out(relay(data, echo="alias"))
    for cut in range(1, len(data)):
        assert out(relay(data[:cut], data[cut:], echo="alias")) == whole


@pytest.mark.parametrize("case", FINISHED)
def test_pitfall_43_the_model_is_renamed_in_every_event_that_names_it_and_nothing_else(case: str) -> None:
    data = wire.stream("openai_responses", case)
    changed = out(relay(data, echo="team/alias"))
    assert changed == data.replace(b'"model":"gpt-6-sol"', b'"model":"team/alias"')
    assert changed.count(b'"team/alias"') >= 2


def test_a_model_named_elsewhere_in_the_response_is_left_alone() -> None:
    named = response("completed", metadata={"model": "m"}, instructions='The "model":"m" is fine.')
    changed = out(relay(DELTA + frame("response.completed", response=named), echo="alias"))
    last = json.loads(changed.split(b"data: ")[-1])["response"]
    assert last == {**named, "model": "alias"}


@pytest.mark.parametrize("case", ["text", "tools"])
def test_usage_and_finish_come_with_the_terminal_event(case: str) -> None:
    progress = relay(wire.stream("openai_responses", case))
    assert progress[0].usage == Usage(120, 42, cache_read_tokens=64, reasoning_tokens=20)
    assert progress[0].finish is (Finish.STOP if case == "text" else Finish.TOOL_CALLS)


def test_what_only_announces_is_held_back_until_there_is_content() -> None:
    added = frame("response.output_item.added", output_index=0, item={"type": "message"})
    first, ping, second, third, *_ = relay(CREATED, b": ping\n\n", added, DELTA)
    assert first == ping == second == Progress()
    assert third == Progress(CREATED + b": ping\n\n" + added + DELTA, content=True)


@pytest.mark.parametrize(
    "kind",
    [
        "response.output_text.delta",
        "response.refusal.delta",
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning_text.delta",
        "response.output_item.done",
    ],
)
def test_every_kind_of_content_commits(kind: str) -> None:
    assert relay(frame(kind, delta="a"))[0].content


def test_an_empty_answer_commits_with_its_end() -> None:
    assert relay(CREATED, DONE)[1] == Progress(CREATED + DONE, content=True, finish=Finish.STOP, done=True)


@pytest.mark.parametrize("case", ["error", "failed"])
def test_a_failure_before_any_content_leaves_nothing_to_send(case: str) -> None:
    for pieces in wire.pieces_of(wire.stream("openai_responses", case)):
        progress = relay(*pieces)
        assert [piece.failure is not None for piece in progress].count(True) == 1
        assert (out(progress), any(piece.content for piece in progress)) == (b"", False)


@pytest.mark.parametrize(
    "last",
    [
        frame("error", code="server_error", message="x", param=None),
        frame("error", error={"code": "server_error", "message": "x"}),
        frame("response.failed", response=response("failed", error={"code": "server_error", "message": "x"})),
    ],
)
def test_pitfall_32_a_failure_after_content_comes_with_what_was_before_it(last: bytes) -> None:
    first, second, third = relay(CREATED + DELTA, last)
    assert first == Progress(CREATED + DELTA, content=True)
    assert second.failure is not None
    assert second.failure.kind is FailureKind.OVERLOADED
    assert (second.out, third) == (b"", Progress())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"data: [DONE]\n\n",
        CREATED,
        CREATED + DELTA,
        DELTA + format_data(b"{"),
        DELTA + format_data(b"[]"),
        DELTA + frame("response.completed"),
        DELTA + frame("response.completed", response=[]),
        DELTA + frame("response.completed", response=response("in_progress")),
        DELTA + frame("response.output_item.done", item={"type": {}}),
    ],
)
def test_what_is_no_complete_stream_is_a_failure(data: bytes) -> None:
    failures = [piece.failure for piece in relay(data) if piece.failure]
    assert [failure.kind for failure in failures] == [FailureKind.BAD_ANSWER]


def test_half_an_emoji_in_an_event_passes_untouched_and_hides_no_model() -> None:
    half = frame("response.output_text.delta", output_index=0, delta="\ud83c")
    done = frame("response.completed", response=response("completed", metadata={"a": "\ud83c"}))
    assert out(relay(half + done)) == half + done
    changed = json.loads(out(relay(half + done, echo="alias")).split(b"data: ")[-1])
    assert changed["response"]["model"] == "alias"


def test_what_is_held_back_is_bounded() -> None:
    one = new_relay(echo=None, keep_usage=True)
    comment = b": " + b"x" * 100_000 + b"\n\n"
    for _ in range(MAX_HELD_BYTES // len(comment)):
        assert one.feed(comment).failure is None
    assert [one.feed(comment).failure is None for _ in range(2)] == [False, True]


def test_a_frame_without_end_is_a_failure() -> None:
    one = new_relay(echo=None, keep_usage=True)
    assert one.feed(b"data: " + b"x" * (MAX_FRAME_BYTES + 1)).failure is not None
    assert one.feed(DONE) == one.close() == Progress()


@pytest.mark.parametrize(
    "last",
    [
        format_data(b'{"type":"response.queued","response":{"model":"m","id":"\xff"}}'),
        format_data(b'{"type":"response.queued","item":{"\\ud83d":1}}'),
        format_data(b'{"type":"error","message":"\xff"}'),
    ],
)
def test_what_is_no_text_within_an_event_is_a_failure(last: bytes) -> None:
    progress = relay(CREATED + DELTA, last, echo="alias")
    assert progress[1].failure is not None
    assert progress[1].failure.kind is FailureKind.BAD_ANSWER


SAID = frame("response.failed", response={**response("failed"), "id": "resp_ours", "created_at": 1})


def told(one: ResponsesRelay) -> dict[str, Any]:
    ((name, data, _),) = SSESplitter().feed(one.fail(SAID))
    assert name == b"response.failed"
    event = json.loads(data)
    assert isinstance(event, dict)
    return event


def test_a_failure_is_told_of_the_response_that_was_relayed_with_the_next_number() -> None:
    one = new_relay(echo="alias", keep_usage=False)
    begun = {**response(), "id": "resp_theirs", "created_at": 7}
    one.feed(frame("response.created", response=begun, sequence_number=0))
    one.feed(frame("response.output_text.delta", delta="a", sequence_number=1))
    # The provider's own way of saying so does not reach the client: its number is free.
    one.feed(frame("error", message="x", sequence_number=2))
    event = told(one)
    assert (event["sequence_number"], event["type"]) == (2, "response.failed")
    assert event["response"] == {**response("failed"), "id": "resp_theirs", "created_at": 7}


@pytest.mark.parametrize("begun", [response(), {"id": 7, "created_at": 7}, {"id": "a"}, []])
def test_a_failure_keeps_its_own_name_where_the_stream_had_none(begun: Any) -> None:
    one = new_relay(echo=None, keep_usage=False)
    one.feed(frame("response.created", response=begun) + DELTA)
    assert told(one) == json.loads(SAID.split(b"data: ")[1])


@pytest.mark.parametrize("name", ["response", "response_incomplete", "input_tokens"])
def test_a_whole_answer_passes_as_it_is(name: str) -> None:
    body = wire.whole("openai_responses", name)
    seen = inspect_answer(body, None)
    assert (seen.body, seen.failure) == (body, None)


def test_a_whole_answer_is_watched_and_renamed() -> None:
    body = wire.whole("openai_responses", "response_incomplete")
    seen = inspect_answer(body, "alias")
    assert seen.usage == Usage(120, 42, cache_read_tokens=64, reasoning_tokens=20)
    assert seen.finish is Finish.LENGTH
    assert json.loads(seen.body) == {**json.loads(body), "model": "alias"}


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"object":"response.input_tokens"}', b'{"error":{"code":503}}']
)
def test_a_whole_answer_that_is_none_is_a_failure(body: bytes) -> None:
    assert inspect_answer(body, "alias").failure is not None
