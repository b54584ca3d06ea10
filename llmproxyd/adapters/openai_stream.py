"""A stream in OpenAI's dialect (chat or legacy completions) -> canonical events.

Tolerates what servers do: chunks without choices, usage anywhere or nowhere, errors inside the stream, several names
for thought, no ``[DONE]``. A stream that ends before every choice has a finish reason was cut, and is a failure: to
invent a ``stop`` would have clients keep half an answer as a whole one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from llmproxyd.adapters.decoding import StreamDecoder, read_object
from llmproxyd.adapters.failures import bad_answer, failure_of_error
from llmproxyd.adapters.openai_answer import created_of, parse_details, parse_finish, text_of, thought_of
from llmproxyd.adapters.openai_usage import find_usage
from llmproxyd.adapters.think_tags import ThinkTags
from llmproxyd.adapters.tool_deltas import ToolDeltas
from llmproxyd.framing import Frame, SSESplitter
from llmproxyd.values.answer import (
    CitationDelta,
    Event,
    Finish,
    Finished,
    Pinged,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    UsageReported,
)
from llmproxyd.values.failure import Failure
from llmproxyd.values.request import Dialect, Request

MAX_CHOICES = 128
"""As many as a request can ask for."""


class _Choice(msgspec.Struct):
    index: int
    tools: ToolDeltas
    tags: ThinkTags = msgspec.field(default_factory=ThinkTags)
    thought: bool = False
    told: bool = False  # text of the block that is open came under the plain name
    finished: bool = False


class OpenAIDecoder(StreamDecoder[Frame]):
    """The Decoder of one stream."""

    def __init__(self, request: Request) -> None:
        super().__init__(SSESplitter())
        self._choices: dict[int, _Choice] = {}
        self._id = ""

    def _is_whole(self) -> bool:
        # Some servers never send [DONE]; once every choice has its reason, nothing but usage can be missing.
        return bool(self._choices) and all(choice.finished for choice in self._choices.values())

    def _read_frame(self, frame: Frame) -> Iterator[Event]:
        _, data, _ = frame
        if not data:
            yield Pinged()
        elif data.strip() == b"[DONE]":
            yield from self._finish_all()
        else:
            yield from self._read_data(data)

    def _read_data(self, data: bytes) -> Iterator[Event]:
        chunk = read_object(data, "chunk")
        if isinstance(chunk, Failure):
            yield self._fail(chunk)
        elif chunk.get("error"):
            yield self._fail(failure_of_error(chunk["error"]))
        else:
            yield from self._read_chunk(chunk)

    def _read_chunk(self, chunk: dict[str, Any]) -> Iterator[Event]:
        choices = chunk.get("choices")
        entries = (
            [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
        )
        if not self._started and (entries or text_of(chunk, "id")):
            self._started = True
            self._id = text_of(chunk, "id")
            yield Started(self._id, text_of(chunk, "model"), created_of(chunk))
        for entry in entries:
            if entry.get("finish_reason") == "error":
                yield self._fail(bad_answer("the stream ended with finish_reason error"))
                return
            choice = self._choice(entry)
            if choice is None:
                yield self._fail(bad_answer(f"the stream has more than {MAX_CHOICES} choices"))
                return
            yield from _read_choice(choice, entry)
        usage = find_usage(chunk)
        if usage is not None:
            yield UsageReported(usage)

    def _choice(self, entry: dict[str, Any]) -> _Choice | None:
        given = entry.get("index")
        index = given if isinstance(given, int) and 0 <= given < MAX_CHOICES else 0 if given is None else -1
        if index < 0:
            return None
        if index not in self._choices:
            self._choices[index] = _Choice(index, ToolDeltas(index, self._id))
        return self._choices[index]

    def _finish_all(self) -> Iterator[Event]:
        """``[DONE]`` is the dialect's own end: what lacks a reason by then simply stopped."""
        self._done = True
        for choice in self._choices.values():
            if not choice.finished:
                yield from _finish(choice, None)


def new_decoder(request: Request) -> OpenAIDecoder:
    return OpenAIDecoder(request)


def _read_choice(choice: _Choice, entry: dict[str, Any]) -> Iterator[Event]:
    delta = entry.get("delta")
    if isinstance(delta, dict):
        yield from _read_delta(choice, delta, entry.get("logprobs"))
    elif isinstance(entry.get("text"), str):
        yield from _say(choice, entry["text"], entry.get("logprobs"))
    native = entry.get("finish_reason")
    if isinstance(native, str) and native and not choice.finished:
        yield from _finish(choice, native, text_of(entry, "native_finish_reason"))


def _read_delta(choice: _Choice, delta: dict[str, Any], logprobs: Any) -> Iterator[Event]:
    yield from _think(choice, delta)
    content = delta.get("content")
    if content or isinstance(logprobs, dict):
        yield from _say_tagged(choice, content if isinstance(content, str) else "", logprobs)
    if text_of(delta, "refusal"):
        yield RefusalDelta(text_of(delta, "refusal"), choice.index)
    citations = delta.get("annotations")
    for citation in citations if isinstance(citations, list) else ():
        if isinstance(citation, dict):
            yield CitationDelta(citation, choice.index, Dialect.OPENAI_CHAT)
    calls = delta.get("tool_calls")
    if isinstance(delta.get("function_call"), dict):
        calls = [{"index": 0, "function": delta["function_call"]}]
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict):
            yield from choice.tools.feed(call)


def _think(choice: _Choice, delta: dict[str, Any]) -> Iterator[Event]:
    thought = thought_of(delta)
    if thought:
        choice.thought = choice.told = True
        yield ThinkingDelta(thought, choice.index, origin=Dialect.OPENAI_CHAT)
    for block in parse_details(delta.get("reasoning_details")):
        # The same text comes under both names, piece by piece or once more with its seal; only the seal is new then.
        sealed = bool(block.signature or block.encrypted)
        text = "" if choice.told else block.text
        if text or sealed:
            choice.thought = True
            yield ThinkingDelta(
                text,
                choice.index,
                block.signature,
                block.encrypted,
                block.origin,
                new_block=bool(block.encrypted),
            )
        choice.told = choice.told and not sealed


def _say_tagged(choice: _Choice, text: str, logprobs: Any) -> Iterator[Event]:
    # A server that knows thought by a name of its own does not hide it in the text.
    if choice.thought:
        yield from _say(choice, text, logprobs)
        return
    thought, answer = choice.tags.feed(text)
    if thought:
        yield ThinkingDelta(thought, choice.index, origin=Dialect.OPENAI_CHAT)
    yield from _say(choice, answer, logprobs)


def _say(choice: _Choice, text: str, logprobs: Any) -> Iterator[Event]:
    given = logprobs if isinstance(logprobs, dict) else None
    if text or given is not None:
        yield TextDelta(text, choice.index, given)


def _finish(choice: _Choice, reason: str | None, native: str = "") -> Iterator[Event]:
    """``native``: the word of the provider behind a gateway, where it is passed on."""
    choice.finished = True
    thought, answer = choice.tags.close()
    if thought:
        yield ThinkingDelta(thought, choice.index, origin=Dialect.OPENAI_CHAT)
    yield from _say(choice, answer, None)
    yield from choice.tools.close()
    finish = parse_finish(reason or "stop", called=bool(choice.tools))
    yield Finished(finish or Finish.STOP, choice.index, native or reason)
