from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd.adapters.anthropic_relay import STOP_FRAME, AnthropicRelay, inspect_answer, new_relay
from llmproxyd.adapters.relaying import MAX_HELD_BYTES
from llmproxyd.framing import MAX_FRAME_BYTES, SSESplitter
from llmproxyd.values.answer import Finish
from llmproxyd.values.contracts import Progress
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import FailureKind
from tests import wire
from tests.adapters.test_anthropic_stream import START, STOP, block, delta, end, frames

GOOD = [case for case in wire.cases("anthropic-messages") if case != "error"]


def relay(echo: str | None = None) -> AnthropicRelay:
    return new_relay(echo=echo, keep_usage=False)


def run(subject: AnthropicRelay, pieces: list[bytes]) -> list[Progress]:
    return [*(subject.feed(piece) for piece in pieces), subject.close()]


def joined(steps: list[Progress]) -> bytes:
    return b"".join(step.out for step in steps)


def last_failure(steps: list[Progress]) -> FailureKind | None:
    kinds = [step.failure.kind for step in steps if step.failure is not None]
    return kinds[-1] if kinds else None


@pytest.mark.parametrize("case", GOOD)
def test_the_bytes_pass_as_they_are_wherever_they_are_cut(case: str) -> None:
    data = wire.stream("anthropic-messages", case)
    for pieces in wire.pieces_of(data):
        steps = run(relay(), pieces)
        assert joined(steps) == data
        assert last_failure(steps) is None
        assert any(step.done for step in steps)


@pytest.mark.parametrize("case", GOOD)
@pytest.mark.parametrize("echo", [None, "smart"])
def test_a_frame_in_each_read_makes_no_difference(case: str, echo: str | None) -> None:
    data = wire.stream("anthropic-messages", case)
    reads = [raw for _, _, raw in SSESplitter().feed(data)]
    assert b"".join(reads) == data
    whole, steps = run(relay(echo), [data]), run(relay(echo), reads)
    assert joined(steps) == joined(whole)
    assert [step.usage for step in steps if step.usage][-1] == whole[0].usage
    deltas = [step for read, step in zip(reads, steps, strict=False) if b"event: content_block_delta" in read]
    assert all(step.content for step in deltas[1:])


def test_a_read_that_looks_whole_but_belongs_to_the_frame_before_is_not_mistaken() -> None:
    said = frames(START, delta("text_delta", text="H"))
    looks_whole = frames(delta("text_delta", text="x"))
    steps = run(relay(), [said, b": half a comm", b"ent " + looks_whole, frames(end(), STOP)])
    assert joined(steps) == said + b": half a comment " + looks_whole + frames(end(), STOP)
    assert any(step.done for step in steps)


@pytest.mark.parametrize(
    ("case", "usage", "finish"),
    [
        ("thinking_text_tool", Usage(120, 42, cache_read_tokens=64, reasoning_tokens=20), Finish.TOOL_CALLS),
        (
            "thought_omitted",
            Usage(
                2003,
                70,
                cache_read_tokens=800,
                cache_write_tokens=1000,
                cache_write_1h_tokens=200,
                reasoning_tokens=40,
            ),
            Finish.TOOL_CALLS,
        ),
        ("citations", Usage(9, 12), Finish.STOP_SEQUENCE),
        ("refusal", Usage(9, 2), Finish.REFUSAL),
    ],
)
def test_usage_and_reason_are_seen(case: str, usage: Usage, finish: Finish) -> None:
    steps = run(relay(), [wire.stream("anthropic-messages", case)])
    assert [step.usage for step in steps if step.usage][-1] == usage
    assert [step.finish for step in steps if step.finish] == [finish]


@pytest.mark.parametrize(
    "quiet",
    [
        frames(START),
        frames({"type": "ping"}),
        b": comment\n\n",
        frames(START, block("text", text=""), {"type": "ping"}),
        frames(START, block("thinking", thinking="", signature="")),
        frames(START, delta("text_delta", text="")),
        frames(START, delta("input_json_delta", partial_json="")),
        frames(START, {"type": "content_block_stop", "index": 0}),
        frames(START, {"type": "new_event"}),
    ],
)
def test_nothing_is_sent_before_the_first_content(quiet: bytes) -> None:
    step = relay().feed(quiet)
    assert (step.out, step.content) == (b"", False)


@pytest.mark.parametrize(
    "content",
    [
        delta("text_delta", text="H"),
        delta("thinking_delta", thinking="H"),
        delta("signature_delta", signature="s"),
        delta("input_json_delta", partial_json="{"),
        delta("citations_delta", citation={"type": "char_location"}),
        block("tool_use", id="a", name="b", input={}),
        block("redacted_thinking", data="d"),
        block("server_tool_use", id="a"),
        block("text", text="H"),
        end("refusal"),
        STOP,
    ],
)
def test_the_first_content_brings_what_was_held_back(content: dict[str, Any]) -> None:
    subject = relay()
    subject.feed(frames(START))
    step = subject.feed(frames(content))
    assert step.content
    assert step.out == frames(START, content)


def test_a_ping_after_content_passes_and_is_none() -> None:
    subject = relay()
    subject.feed(frames(START, delta("text_delta", text="H")))
    step = subject.feed(frames({"type": "ping"}))
    assert (step.out, step.content) == (frames({"type": "ping"}), False)


@pytest.mark.parametrize("spelling", ['"model":"c"', '"model" : "c"'])
def test_pitfall_43_the_model_is_shown_under_the_name_the_client_asked_for(spelling: str) -> None:
    start = frames(START).replace(b'"model": "c"', spelling.encode())
    data = start + frames(delta("text_delta", text='say "model":"c"'), end(), STOP)
    for pieces in wire.pieces_of(data):
        out = joined(run(relay("smart é"), pieces))
        assert out == data.replace(spelling.encode(), spelling.replace('"c"', '"smart é"').encode(), 1)


def test_a_first_frame_that_names_the_model_twice_is_written_anew() -> None:
    start = {
        "type": "message_start",
        "message": {"id": "m", "model": "c", "usage": {}, "extra": {"model": "c"}},
    }
    out = joined(run(relay("smart"), [frames(start, delta("text_delta", text="H"), end(), STOP)]))
    first = json.loads(out.split(b"data: ")[1].split(b"\n\n")[0])
    assert first["message"] == {"id": "m", "model": "smart", "usage": {}, "extra": {"model": "c"}}
    assert out.startswith(b"event: message_start\n")


@pytest.mark.parametrize("unknown", [{"message": "x"}, {"delta": [1]}, {"content_block": 7, "usage": "much"}])
def test_an_event_nobody_knows_yet_passes_unread(unknown: dict[str, Any]) -> None:
    data = frames(START, {"type": "new_event", **unknown}, delta("text_delta", text="H"), end(), STOP)
    steps = run(relay(), [data])
    assert (joined(steps), last_failure(steps)) == (data, None)


def test_an_error_before_content_leaves_nothing_to_send() -> None:
    steps = run(relay(), [wire.stream("anthropic-messages", "error")])
    assert (joined(steps), last_failure(steps)) == (b"", FailureKind.OVERLOADED)


def test_pitfall_32_an_error_after_content_comes_with_what_was_before_it() -> None:
    said = frames(START, delta("text_delta", text="H"))
    error = frames({"type": "error", "error": {"type": "api_error", "message": "m"}})
    steps = run(relay(), [said + error + frames(delta("text_delta", text="late"))])
    assert (joined(steps), last_failure(steps)) == (said, FailureKind.OVERLOADED)


def test_pitfall_33_a_cut_stream_is_a_failure() -> None:
    assert (
        last_failure(run(relay(), [frames(START, delta("text_delta", text="H"))])) is FailureKind.BAD_ANSWER
    )


@pytest.mark.parametrize("data", [b"", b"<html>busy</html>", frames(STOP), frames({"type": "ping"})])
def test_a_stream_without_any_answer_is_a_failure(data: bytes) -> None:
    steps = run(relay(), [data])
    assert (joined(steps), last_failure(steps)) == (b"", FailureKind.BAD_ANSWER)


def test_a_stream_that_lacks_only_its_last_frame_gets_it() -> None:
    data = frames(START, delta("text_delta", text="H"), end())
    assert joined(run(relay(), [data])) == data + STOP_FRAME
    assert joined(run(relay(), [data[:-2]])) == data + STOP_FRAME


def test_nothing_passes_after_the_end() -> None:
    data = frames(START, delta("text_delta", text="H"), end(), STOP)
    subject = relay()
    assert subject.feed(data + frames(delta("text_delta", text="late"))).out == data
    assert subject.feed(frames({"type": "ping"})).out == b""


@pytest.mark.parametrize("data", [b"data: {\n\n", b"data: []\n\n", b'data: {"type":7}\n\n'])
def test_a_frame_that_cannot_be_read_is_a_failure(data: bytes) -> None:
    assert last_failure(run(relay(), [frames(START) + data])) is FailureKind.BAD_ANSWER


def test_what_is_held_back_is_bounded() -> None:
    subject = relay()
    comment = b": " + b"x" * 65_536 + b"\n\n"
    steps = [subject.feed(comment) for _ in range(MAX_HELD_BYTES // len(comment) + 2)]
    assert last_failure(steps) is FailureKind.BAD_ANSWER


def test_a_frame_without_end_is_a_failure() -> None:
    assert last_failure([relay().feed(b"data: " + b"x" * (MAX_FRAME_BYTES + 1))]) is FailureKind.BAD_ANSWER


def test_half_an_emoji_passes() -> None:
    data = frames(START) + frames(delta("text_delta", text="\ud83d")) + frames(end(), STOP)
    assert b"\\ud83d" in data
    assert joined(run(relay("smart"), [data])) == data.replace(b'"c"', b'"smart"')


# --- whole answers ----------------------------------------------------------------------------------------------


def test_a_whole_answer_passes_with_another_name() -> None:
    body = wire.whole("anthropic-messages", "response")
    seen = inspect_answer(body, "smart")
    assert seen.body == body.replace(b'"claude-opus-5-5"', b'"smart"')
    assert (seen.usage, seen.finish, seen.failure) == (
        Usage(120, 42, cache_read_tokens=64, reasoning_tokens=20),
        Finish.STOP,
        None,
    )
    assert inspect_answer(body, None).body == body


def test_a_whole_answer_that_speaks_of_models_is_changed_in_one_place_only() -> None:
    body = b'{"model":"c","content":[{"type":"tool_use","input":{"model":"c"}}],"stop_reason":"tool_use"}'
    seen = json.loads(inspect_answer(body, "smart").body)
    assert (seen["model"], seen["content"][0]["input"]) == ("smart", {"model": "c"})


def test_a_count_passes() -> None:
    body = wire.whole("anthropic-messages", "count_tokens")
    seen = inspect_answer(body, "smart")
    assert (seen.body, seen.failure, seen.usage) == (body, None, None)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", FailureKind.BAD_ANSWER),
        (b"{}", FailureKind.BAD_ANSWER),
        (b"[]", FailureKind.BAD_ANSWER),
        (wire.whole("anthropic-messages", "error_529"), FailureKind.OVERLOADED),
    ],
)
def test_what_is_no_answer_is_a_failure(body: bytes, kind: FailureKind) -> None:
    failure = inspect_answer(body, None).failure
    assert failure is not None
    assert failure.kind is kind
