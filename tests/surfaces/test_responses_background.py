from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.surfaces.openai_responses import parse_request
from llmproxyd.surfaces.responses_background import (
    Replay,
    Retelling,
    foreground_body,
    frames_after,
    new_background,
    read_replay,
    wants_background,
    with_previous,
)
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import Request


def asked(**fields: Any) -> Request:
    body = json.dumps({"model": "m", "input": "x", **fields}).encode()
    return parse_request({}, body, "/v1/responses")


def face(**fields: Any) -> dict[str, Any]:
    return new_background(asked(**fields), id="resp_bg1", created_s=7, status="queued")


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: ".encode() + json.dumps({"type": kind, **fields}).encode() + b"\n\n"


PROVIDERS = b": hello\n\n" + b"".join(
    [
        event("response.created", response={"id": "theirs"}, sequence_number=0),
        event("response.in_progress", response={"id": "theirs", "status": "in_progress"}, sequence_number=1),
        event("response.output_text.delta", delta="a", sequence_number=2),
        event("response.completed", response={"id": "theirs", "status": "completed", "output": []}),
        b"data: [DONE]\n\n",
    ]
)


def read(frames: list[tuple[int, bytes]]) -> list[dict[str, Any]]:
    return [json.loads(frame.partition(b"data: ")[2]) for _, frame in frames]


def test_the_wish_is_seen_and_not_passed_on() -> None:
    request = asked(background=True, store=True)
    assert wants_background(request)
    assert not wants_background(asked(background=False))
    assert json.loads(foreground_body(request)) == {"model": "m", "input": "x", "store": True}


def test_a_background_response_begins_with_the_question_and_no_answer() -> None:
    told = new_background(with_previous(asked(), "resp_0"), id="resp_bg1", created_s=7, status="queued")
    assert (told["id"], told["status"], told["background"], told["output"]) == (
        "resp_bg1",
        "queued",
        True,
        [],
    )
    assert (told["previous_response_id"], told["created_at"], told["model"]) == ("resp_0", 7, "m")


@given(st.lists(st.integers(1, len(PROVIDERS)), max_size=6))
def test_events_are_told_under_our_id_and_numbered_through_wherever_they_are_cut(cuts: list[int]) -> None:
    telling = Retelling(face())
    frames = telling.begin()
    places = [0, *sorted(cuts), len(PROVIDERS)]
    for start, end in pairwise(places):
        frames += telling.feed(PROVIDERS[start:end])
    events = read(frames)
    assert [told["type"] for told in events] == [
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.output_text.delta",
        "response.completed",
    ]
    assert [told["sequence_number"] for told in events] == [number for number, _ in frames] == list(range(5))
    assert {told["response"]["id"] for told in events if "response" in told} == {"resp_bg1"}
    assert events[-1]["response"]["status"] == "completed"
    kept = b"".join(frame for _, frame in frames)
    for after in range(-1, 6):
        assert frames_after(kept, after) == b"".join(frame for number, frame in frames if number > after)


def test_a_failure_ends_the_events() -> None:
    [told] = read(Retelling(face(), 40).fail(Failure(FailureKind.OVERLOADED, "all are busy")))
    assert (told["type"], told["sequence_number"]) == ("response.failed", 40)
    assert (told["response"]["status"], told["response"]["error"]["message"]) == ("failed", "all are busy")


@pytest.mark.parametrize(
    ("query", "replay"),
    [
        ("", None),
        ("stream=false&starting_after=3", None),
        ("stream=true", Replay()),
        ("stream=true&starting_after=3", Replay(3)),
    ],
)
def test_a_replay_is_read_from_the_query(query: str, replay: Replay | None) -> None:
    assert read_replay(query) == replay


@pytest.mark.parametrize("after", ["-1", "x", "1e3", "9" * 40])
def test_a_replay_from_no_number_is_refused(after: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read_replay(f"stream=true&starting_after={after}")
    assert refused.value.failure.param == "starting_after"
