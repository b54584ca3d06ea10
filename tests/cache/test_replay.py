from __future__ import annotations

from typing import Any

import pytest

from llmproxyd.adapters import ADAPTERS
from llmproxyd.cache.entry import Cached
from llmproxyd.cache.replay import WHOLE, converts, form_of, replay
from llmproxyd.values.answer import Answer, Choice, Finish, fold, unfold
from llmproxyd.values.cost import Usage
from llmproxyd.values.request import Dialect, Request, Text, Thinking, ToolCall
from tests.cache.asking import (
    CHAT,
    EMBEDDINGS,
    GEMINI,
    GEMINI_ARRAY,
    GEMINI_SSE,
    MESSAGES,
    OLLAMA,
    RESPONSES,
    cached_of,
    request_of,
    surface_of,
)

VOICE: dict[str, Any] = {"model": "m", "id": "id-1", "created_s": 1_800_000_000}
USAGE = Usage(input_tokens=11, output_tokens=22)
TEXT = (Text("Grüße,\nWelt \U0001f600"),)
CALL = (ToolCall("call_1", "weather", '{"city":"Paris"}'),)
TURNS: list[tuple[str, str, dict[str, Any]]] = [
    (CHAT, CHAT, {"stream_options": {"include_usage": True}}),
    (CHAT, CHAT, {}),
    (RESPONSES, RESPONSES, {}),
    (MESSAGES, MESSAGES, {}),
    (GEMINI, GEMINI_SSE, {}),
    (GEMINI, GEMINI_ARRAY, {}),
    (OLLAMA, OLLAMA, {}),
]


def both(turn: tuple[str, str, dict[str, Any]]) -> tuple[Request, Request]:
    """The same question, once for a whole answer and once for a stream."""
    whole, stream, fields = turn
    wish = {} if whole == GEMINI else {"stream": True}
    return request_of(whole), request_of(stream, **wish, **fields)


def answered(*parts: Any, finish: Finish = Finish.STOP) -> Answer:
    return Answer("id-1", "m", (Choice(parts, finish),), USAGE, created_s=1_800_000_000)


def as_whole(path: str, request: Request, answer: Answer) -> Cached:
    surface = surface_of(path)
    body = surface.format_answer(answer, request, **VOICE)
    return cached_of(body, surface=surface.name, form=WHOLE, usage=USAGE)


def as_stream(path: str, request: Request, answer: Answer) -> Cached:
    surface = surface_of(path)
    encoder = surface.new_encoder(request, **VOICE)
    body = b"".join([*map(encoder.feed, unfold(answer)), encoder.close()])
    return cached_of(body, surface=surface.name, form=form_of(request, surface), usage=USAGE)


def said(cached: Cached, path: str, request: Request) -> bytes | None:
    surface = surface_of(path)
    return replay(cached, request, surface, ADAPTERS[surface.dialect], **VOICE)


def meaning(path: str, request: Request, body: bytes) -> list[Choice]:
    """What a client reads in it."""
    adapter = ADAPTERS[surface_of(path).dialect]
    if request.stream:
        decoder = adapter.new_decoder(request)
        answer: Any = fold([*decoder.feed(body), *decoder.close()])
    else:
        answer = adapter.parse_answer(request, body)
    assert isinstance(answer, Answer), answer
    return list(answer.choices)


ANSWERS = [
    answered(*TEXT),
    answered(*TEXT, *CALL, finish=Finish.TOOL_CALLS),
    answered(*CALL, finish=Finish.TOOL_CALLS),
]


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_a_whole_answer_is_replayed_as_a_stream(
    turn: tuple[str, str, dict[str, Any]], answer: Answer
) -> None:
    whole, stream = both(turn)
    kept = as_whole(turn[0], whole, answer)
    body = said(kept, turn[1], stream)
    assert body is not None
    assert meaning(turn[1], stream, body) == meaning(turn[0], whole, kept.body)


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_a_stream_is_replayed_as_a_whole_answer(
    turn: tuple[str, str, dict[str, Any]], answer: Answer
) -> None:
    whole, stream = both(turn)
    kept = as_stream(turn[1], stream, answer)
    body = said(kept, turn[0], whole)
    assert body is not None
    assert meaning(turn[0], whole, body) == meaning(turn[1], stream, kept.body)


@pytest.mark.parametrize("turn", TURNS)
def test_in_the_form_it_is_kept_in_it_comes_back_byte_for_byte(turn: tuple[str, str, dict[str, Any]]) -> None:
    whole, stream = both(turn)
    for path, request, kept in (
        (turn[0], whole, as_whole(turn[0], whole, ANSWERS[1])),
        (turn[1], stream, as_stream(turn[1], stream, ANSWERS[1])),
    ):
        assert said(kept, path, request) == kept.body


@pytest.mark.parametrize("turn", TURNS)
def test_a_stream_cut_at_any_byte_is_never_given_as_a_whole_answer(
    turn: tuple[str, str, dict[str, Any]],
) -> None:
    whole, stream = both(turn)
    kept = as_stream(turn[1], stream, answered(*CALL, finish=Finish.TOOL_CALLS))
    complete = said(kept, turn[0], whole)
    assert complete is not None
    expected = meaning(turn[0], whole, complete)
    for end in range(len(kept.body)):
        cut = cached_of(kept.body[:end], surface=kept.surface, form=kept.form)
        body = said(cut, turn[0], whole)
        # What is missing at the very end (a blank line, [DONE]) may hold nothing of the answer.
        assert body is None or meaning(turn[0], whole, body) == expected


def test_thoughts_come_along() -> None:
    answer = answered(Thinking("hm", signature="sig", origin=Dialect.ANTHROPIC_MESSAGES), *TEXT)
    whole, stream = both(TURNS[3])
    body = said(as_whole(MESSAGES, whole, answer), MESSAGES, stream)
    assert body is not None
    [choice] = meaning(MESSAGES, stream, body)
    assert [type(part) for part in choice.parts] == [Thinking, Text]
    assert choice.parts[0].signature == "sig"  # type: ignore[union-attr]


def test_several_choices_come_along() -> None:
    answer = Answer("id-1", "m", (Choice(TEXT, Finish.STOP), Choice((Text("b"),), Finish.LENGTH)), USAGE)
    whole, stream = request_of(n=2), request_of(n=2, stream=True)
    body = said(as_whole(CHAT, whole, answer), CHAT, stream)
    assert body is not None
    assert [choice.finish for choice in meaning(CHAT, stream, body)] == [Finish.STOP, Finish.LENGTH]


def test_usage_is_shown_to_whoever_asks_for_it_and_nobody_else() -> None:
    silent = request_of(stream=True)
    asking = request_of(stream=True, stream_options={"include_usage": True})
    kept = as_stream(CHAT, silent, ANSWERS[0])
    assert b'"usage"' not in kept.body
    told = said(kept, CHAT, asking)
    assert told is not None
    assert b'"completion_tokens":22' in told
    again = said(as_stream(CHAT, asking, ANSWERS[0]), CHAT, silent)
    assert again is not None
    assert b'"usage"' not in again


def test_what_would_be_lost_is_not_converted() -> None:
    for fields in ({"logprobs": True}, {"modalities": ["text", "image"]}):
        whole, stream = request_of(**fields), request_of(stream=True, **fields)
        assert not converts(whole)
        kept = as_whole(CHAT, whole, ANSWERS[0])
        assert said(kept, CHAT, stream) is None
        assert said(kept, CHAT, whole) == kept.body


def test_an_answer_of_another_surface_or_without_an_adapter_is_none() -> None:
    whole, stream = both(TURNS[1])
    kept = as_whole(CHAT, whole, ANSWERS[0])
    assert said(kept, MESSAGES, request_of(MESSAGES)) is None
    assert replay(kept, stream, surface_of(CHAT), None, **VOICE) is None
    foreign = ADAPTERS[surface_of(MESSAGES).dialect]
    assert replay(kept, stream, surface_of(CHAT), foreign, **VOICE) is None


def test_embeddings_come_back_as_they_are() -> None:
    request = request_of(EMBEDDINGS)
    kept = cached_of(b'{"data":[]}', surface=surface_of(EMBEDDINGS).name)
    assert said(kept, EMBEDDINGS, request) == kept.body
    assert not converts(request)


def test_what_is_no_answer_is_not_converted() -> None:
    _, stream = both(TURNS[1])
    for body in (b"", b"[]", b"{", b'{"error":{"message":"m"}}'):
        assert said(cached_of(body), CHAT, stream) is None
