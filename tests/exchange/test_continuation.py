"""An answer that breaks off is taken up by the next candidate: one stream for the client, nothing twice, nothing missing."""

from __future__ import annotations

import itertools
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.exchange.continuation import ASK, SHORTEST_OVERLAP_CHARS, Trimmer
from llmproxyd.exchange.upstream import Upstream
from llmproxyd.values.failure import FailureKind
from tests.exchange.build import Watched, deployment_at, exchange, plan, voice
from tests.exchange.test_run import failure_of, serve
from tests.support.fake_provider import Exchange as Wire
from tests.support.fake_provider import FakeProvider, answer, chat_frames, stream

STORY = " ".join(f"w{number}x{number * 7919 % 1000}" for number in range(60))
BUSY = answer(503, b'{"error": {"message": "busy"}}')


def words(text: str) -> list[str]:
    """As a model's tokens: words with the blank before them."""
    head, *rest = text.split(" ")
    return [head, *(f" {word}" for word in rest)]


def text_of(said: bytes) -> str:
    """What a client of OpenAI's chat reads in a stream."""
    lines = [line[6:] for line in said.decode().split("\n") if line.startswith("data: {")]
    deltas = [choice["delta"] for line in lines for choice in json.loads(line).get("choices", ())]
    return "".join(delta.get("content") or "" for delta in deltas)


def going_on(story: str, *, repeat: int = 0) -> object:
    """A model that goes on where the conversation ends, after repeating so many characters."""

    async def manner(wire: Wire) -> None:
        messages = wire.seen.json["messages"]
        said = messages[-2]["content"] if messages[-1]["content"] == ASK else ""
        assert story.startswith(said)
        rest = story[max(0, len(said) - repeat) :]
        await stream(chat_frames([rest[i : i + 5] for i in range(0, len(rest), 5)]))(wire)

    return manner


async def test_the_next_candidate_goes_on_with_the_very_next_character(
    first: FakeProvider, second: FakeProvider, upstream: Upstream, registry: Watched
) -> None:
    first.manner = stream(chat_frames(words(STORY)), cut_after=20)
    second.manner = going_on(STORY)  # type: ignore[assignment]
    decided = plan(deployment_at(first), deployment_at(second, "second"), continues=True)
    made, record = exchange(upstream, registry, decided)
    said = await serve(made)
    assert text_of(said) == STORY
    assert said.count(b"[DONE]") == 1
    assert said.count(b'"finish_reason":"stop"') == 1
    assert record.continued == 1
    assert [(a.deployment, a.failure.kind if a.failure else None) for a in record.attempts] == [
        ("first/m", FailureKind.BAD_ANSWER),
        ("second/m", None),
    ]


async def test_what_a_model_repeats_before_it_goes_on_is_cut_off(
    first: FakeProvider, second: FakeProvider, upstream: Upstream, registry: Watched
) -> None:
    first.manner = stream(chat_frames(words(STORY)), cut_after=20)
    second.manner = going_on(STORY, repeat=40)  # type: ignore[assignment]
    decided = plan(deployment_at(first), deployment_at(second, "second"), continues=True)
    made, _ = exchange(upstream, registry, decided)
    assert text_of(await serve(made)) == STORY


@pytest.mark.parametrize("cut", random.Random(4).sample(range(2, 60), 12))
async def test_wherever_it_breaks_nothing_is_missing(
    first: FakeProvider, second: FakeProvider, upstream: Upstream, registry: Watched, cut: int
) -> None:
    first.manner = stream(chat_frames(words(STORY)), cut_after=cut)
    second.manner = going_on(STORY)  # type: ignore[assignment]
    decided = plan(deployment_at(first), deployment_at(second, "second"), continues=True)
    made, _ = exchange(upstream, registry, decided)
    assert text_of(await serve(made)) == STORY


async def test_it_may_break_twice(
    first: FakeProvider, second: FakeProvider, upstream: Upstream, registry: Watched
) -> None:
    third = FakeProvider(going_on(STORY))  # type: ignore[arg-type]
    first.manner = stream(chat_frames(words(STORY)), cut_after=20)
    second.manner = stream(chat_frames(words(STORY)[19:]), cut_after=10)
    async with third:
        decided = plan(
            deployment_at(first),
            deployment_at(second, "second"),
            deployment_at(third, "third"),
            continues=True,
        )
        made, record = exchange(upstream, registry, decided)
        assert text_of(await serve(made)) == STORY
    assert record.continued == 2


async def test_a_break_after_the_last_word_is_no_break(
    first: FakeProvider, second: FakeProvider, upstream: Upstream, registry: Watched
) -> None:
    """The model had said why it stopped: only the provider's own end of the stream is missing."""
    frames = chat_frames(words(STORY))
    first.manner = stream(frames, cut_after=len(frames) - 1)
    decided = plan(deployment_at(first), deployment_at(second, "second"), continues=True)
    made, record = exchange(upstream, registry, decided)
    said = await serve(made)
    assert text_of(said) == STORY
    assert said.endswith(b"data: [DONE]\n\n")
    assert not second.seen
    assert record.continued == 0


async def test_without_the_rule_the_break_is_told(
    first: FakeProvider, second: FakeProvider, upstream: Upstream, registry: Watched
) -> None:
    first.manner = stream(chat_frames(words(STORY)), cut_after=20)
    made, _ = exchange(upstream, registry, plan(deployment_at(first), deployment_at(second, "second")))
    assert (await failure_of(made)).kind is FailureKind.BAD_ANSWER
    assert not second.seen


async def test_when_nobody_can_go_on_the_first_break_is_told(
    first: FakeProvider, second: FakeProvider, upstream: Upstream, registry: Watched
) -> None:
    first.manner = stream(chat_frames(words(STORY)), cut_after=20)
    second.manner = BUSY
    decided = plan(deployment_at(first), deployment_at(second, "second"), continues=True)
    made, record = exchange(upstream, registry, decided)
    assert (await failure_of(made)).kind is FailureKind.BAD_ANSWER
    assert len(record.attempts) == 2
    assert record.continued == 0


async def test_half_a_json_document_is_not_taken_up(
    first: FakeProvider, second: FakeProvider, upstream: Upstream, registry: Watched
) -> None:
    first.manner = stream(chat_frames(['{"a": ', "1, "]), cut_after=2)
    decided = plan(deployment_at(first), deployment_at(second, "second"), continues=True)
    speaker = voice(response_format={"type": "json_object"})
    made, _ = exchange(upstream, registry, decided, speaker)
    assert (await failure_of(made)).kind is FailureKind.BAD_ANSWER
    assert not second.seen


async def test_the_clients_own_bound_counts_both_halves(
    first: FakeProvider, second: FakeProvider, upstream: Upstream, registry: Watched
) -> None:
    first.manner = stream(chat_frames(words(STORY)), cut_after=20)
    second.manner = going_on(STORY)  # type: ignore[assignment]
    decided = plan(deployment_at(first), deployment_at(second, "second"), continues=True)
    made, _ = exchange(upstream, registry, decided, voice(max_tokens=1000))
    await serve(made)
    sent = second.seen[0].json
    assert 500 < sent.get("max_tokens", sent.get("max_completion_tokens")) < 1000


def trimmed(said: str, pieces: list[str]) -> str:
    trimmer = Trimmer(said)
    return "".join([*(trimmer.feed(piece) for piece in pieces), trimmer.close()])


def cut(text: str, places: list[int]) -> list[str]:
    at = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[a:b] for a, b in itertools.pairwise(at)]


@given(st.text("ab ", max_size=600), st.text("cd ", max_size=60), st.lists(st.integers(0, 99), max_size=8))
def test_new_text_passes_whole_however_it_is_cut(said: str, new: str, places: list[int]) -> None:
    assert trimmed(said, cut("c" + new, places)) == "c" + new


@given(
    st.text("ab ", min_size=20, max_size=600),
    st.integers(SHORTEST_OVERLAP_CHARS, 300),
    st.text("cd ", max_size=60),
    st.lists(st.integers(0, 99), max_size=8),
)
def test_a_repetition_is_cut_off_however_it_is_cut(
    said: str, length: int, new: str, places: list[int]
) -> None:
    said = said + "#"  # so that no longer stretch of it can be taken for the repetition
    repeated = said[-min(length, len(said)) :]
    assert trimmed(said, cut(repeated + "c" + new, places)) == "c" + new
