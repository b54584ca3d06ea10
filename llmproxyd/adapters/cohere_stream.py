"""A stream in Cohere's dialect -> canonical events.

Frames name their kind inside, so the ``event:`` lines are not needed. The answer is whole with ``message-end``; a
``[DONE]`` may follow or not. A stream that ends before that was cut, and is a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from llmproxyd.adapters.cohere_answer import parse_end, parse_logprobs, parse_usage, rename_call
from llmproxyd.adapters.cohere_failure import failure_of_text
from llmproxyd.adapters.decoding import StreamDecoder, read_object
from llmproxyd.adapters.failures import failure_of_error
from llmproxyd.adapters.openai_answer import text_of
from llmproxyd.adapters.tool_deltas import ToolDeltas
from llmproxyd.framing import Frame, SSESplitter
from llmproxyd.values.answer import (
    CitationDelta,
    Event,
    Failed,
    Finished,
    Pinged,
    Started,
    TextDelta,
    ThinkingDelta,
    UsageReported,
)
from llmproxyd.values.failure import Failure
from llmproxyd.values.request import Dialect, Request

_DONE = b"[DONE]"


class CohereDecoder(StreamDecoder[Frame]):
    """The Decoder of one stream."""

    def __init__(self) -> None:
        super().__init__(SSESplitter())
        self._tools = ToolDeltas(0, "")
        self._new_thought = False

    def _read_frame(self, frame: Frame) -> Iterator[Event]:
        _, data, _ = frame
        if not data:
            yield Pinged()
            return
        if data.strip() == _DONE:
            # Only ever after the end; before it, it is no end.
            return
        document = read_object(data, "frame")
        if isinstance(document, Failure):
            yield self._fail(document)
        else:
            yield from self._read_document(document)

    def _read_document(self, document: dict[str, Any]) -> Iterator[Event]:
        if document.get("error"):
            yield self._fail(failure_of_error(document["error"]))
            return
        read = _READERS.get(text_of(document, "type"))
        if read is not None:
            self._started = True
            yield from read(self, document)
        elif "type" not in document and text_of(document, "message"):
            yield self._fail(failure_of_text(document["message"]))

    def _start(self, document: dict[str, Any]) -> Iterator[Event]:
        answer_id = text_of(document, "id")
        self._tools = ToolDeltas(0, answer_id)
        yield Started(answer_id)

    def _open_content(self, document: dict[str, Any]) -> Iterator[Event]:
        """The frame that opens a block may hold its first piece."""
        self._new_thought = True
        yield from self._content(document)

    def _content(self, document: dict[str, Any]) -> Iterator[Event]:
        content = _message(document).get("content")
        piece: Mapping[str, Any] = content if isinstance(content, dict) else {}
        thought, text = text_of(piece, "thinking"), text_of(piece, "text")
        if thought:
            yield ThinkingDelta(thought, origin=Dialect.COHERE_CHAT, new_block=self._new_thought)
            self._new_thought = False
        logprobs = parse_logprobs(document.get("logprobs"))
        if text or logprobs is not None:
            yield TextDelta(text, logprobs=logprobs)

    def _plan(self, document: dict[str, Any]) -> Iterator[Event]:
        plan = text_of(_message(document), "tool_plan")
        if plan:
            yield TextDelta(plan)

    def _call(self, document: dict[str, Any]) -> Iterator[Event]:
        # An object, not a list: one call in each frame.
        call = _message(document).get("tool_calls")
        if isinstance(call, dict):
            yield from self._tools.feed({**rename_call(call), "index": document.get("index")})

    def _cite(self, document: dict[str, Any]) -> Iterator[Event]:
        citation = _message(document).get("citations")
        if isinstance(citation, dict):
            yield CitationDelta(citation, origin=Dialect.COHERE_CHAT)

    def _finish(self, document: dict[str, Any]) -> Iterator[Event]:
        delta = document.get("delta")
        last: Mapping[str, Any] = delta if isinstance(delta, dict) else {}
        yield from self._tools.close()
        end = parse_end(last.get("finish_reason"), called=bool(self._tools), error=last.get("error"))
        yield end
        self._done = True
        self._ended = isinstance(end, Failed)
        usage = parse_usage(last.get("usage"))
        if usage is not None and isinstance(end, Finished):
            yield UsageReported(usage)


def new_decoder(request: Request) -> CohereDecoder:
    """``request`` is not asked: there is one kind of stream."""
    return CohereDecoder()


def _message(document: Mapping[str, Any]) -> Mapping[str, Any]:
    delta = document.get("delta")
    message = delta.get("message") if isinstance(delta, dict) else None
    return message if isinstance(message, dict) else {}


_READERS: Mapping[str, Callable[[CohereDecoder, dict[str, Any]], Iterator[Event]]] = {
    "message-start": CohereDecoder._start,
    "content-start": CohereDecoder._open_content,
    "content-delta": CohereDecoder._content,
    "tool-plan-delta": CohereDecoder._plan,
    "tool-call-start": CohereDecoder._call,
    "tool-call-delta": CohereDecoder._call,
    "citation-start": CohereDecoder._cite,
    "message-end": CohereDecoder._finish,
}
