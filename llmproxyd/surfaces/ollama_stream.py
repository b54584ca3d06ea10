"""Canonical events -> Ollama's streams: one JSON object a line, and nothing between the lines.

Tool calls come whole, so a call is held back until the next one begins or the answer ends; a line without content goes
out meanwhile, since some clients wait for a first line only so long. The last line carries reason, counts and times,
and is written when nothing can follow any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from llmproxyd import jsontext
from llmproxyd.surfaces.ollama_answer import (
    UNMEASURED,
    Timings,
    format_end,
    format_failure,
    format_head,
    format_logprobs,
    format_tool_call,
)
from llmproxyd.values.answer import (
    CONTENT_EVENTS,
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
    ToolCallDelta,
    UsageReported,
)
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure
from llmproxyd.values.request import Document, Request, ToolCall

_NANOS = 1_000_000_000

Wrap = Callable[[Document], Document]
"""The text, thought or calls of one line -> the fields that hold them."""


class _Call(msgspec.Struct):
    index: int
    id: str = ""
    name: str = ""
    pieces: list[str] = msgspec.field(default_factory=list)

    def format(self) -> Document:
        return format_tool_call(ToolCall(self.id, self.name, "".join(self.pieces)), self.index)


class OllamaEncoder:
    """The Encoder of one stream. ``clock``: monotonic seconds for the durations; without it they are zero."""

    def __init__(
        self, wrap: Wrap, *, model: str, created_s: int, clock: Callable[[], float] | None = None
    ) -> None:
        self._wrap = wrap
        self._model = model
        self._created_s = created_s
        self._clock = clock
        self._started_s = clock() if clock is not None else 0.0
        self._content_s: float | None = None
        self._call: _Call | None = None
        self._finish: Finish | None = None
        self._usage: Usage | None = None

    def feed(self, event: Event) -> bytes:
        if isinstance(event, CONTENT_EVENTS):
            if event.choice:
                return b""
            self._note_content()
        match event:
            case TextDelta():
                return self._say(event.text, event.logprobs)
            case RefusalDelta():
                return self._say(event.text)
            case ThinkingDelta():
                return self._think(event.text)
            case ToolCallDelta():
                return self._hold(event)
            case Finished():
                self._finish = event.reason
                return self._flush()
            case Started():
                self._created_s = self._created_s if event.created_s is None else event.created_s
                self._usage = event.usage or self._usage
            case UsageReported():
                self._usage = event.usage
            case Pinged():
                return self.ping()
            case Failed():
                return self.fail(event.failure)
            case CitationDelta():
                pass
        return b""

    def close(self) -> bytes:
        end = format_end(self._finish, self._usage, self._timings())
        return self._flush() + self._encode({**self._wrap({"content": ""}), **end})

    def fail(self, failure: Failure) -> bytes:
        return format_failure(failure, "") + b"\n"

    def ping(self) -> bytes:
        """Anything but a line of the dialect would break its clients; one without content is ignored by all."""
        return self._line({"content": ""})

    def _say(self, text: str, logprobs: Document | None = None) -> bytes:
        tokens = format_logprobs([] if logprobs is None else [logprobs])
        if not text and not tokens:
            return b""
        return self._flush() + self._line({"content": text}, tokens)

    def _think(self, text: str) -> bytes:
        return self._flush() + self._line({"content": "", "thinking": text}) if text else b""

    def _hold(self, event: ToolCallDelta) -> bytes:
        out = b""
        call = self._call
        if call is None or call.index != event.index:
            out = self._flush() or self.ping()
            call = self._call = _Call(event.index)
        call.id = call.id or event.id or ""
        call.name = call.name or event.name or ""
        call.pieces.append(event.arguments)
        return out

    def _flush(self) -> bytes:
        call, self._call = self._call, None
        return b"" if call is None else self._line({"content": "", "tool_calls": [call.format()]})

    def _line(self, content: Document, fields: Document | None = None) -> bytes:
        return self._encode({**self._wrap(content), **(fields or {}), "done": False})

    def _encode(self, fields: Document) -> bytes:
        return jsontext.encode({**format_head(self._model, self._created_s), **fields}) + b"\n"

    def _note_content(self) -> None:
        if self._content_s is None and self._clock is not None:
            self._content_s = self._clock()

    def _timings(self) -> Timings:
        if self._clock is None:
            return UNMEASURED
        now_s = self._clock()
        content_s = now_s if self._content_s is None else self._content_s
        total_ns = _nanos(now_s - self._started_s)
        prompt_ns = _nanos(content_s - self._started_s)
        return Timings(total_ns, prompt_ns, total_ns - prompt_ns)


def new_encoder(
    request: Request,
    *,
    model: str,
    id: str,  # noqa: A002 - unused: answers have no id here
    created_s: int,
    clock: Callable[[], float] | None = None,
) -> OllamaEncoder:
    """For /api/chat. Bind ``clock`` (monotonic seconds) to have durations measured from here on."""
    return OllamaEncoder(_wrap_message, model=model, created_s=created_s, clock=clock)


def new_generate_encoder(
    request: Request,
    *,
    model: str,
    id: str,  # noqa: A002
    created_s: int,
    clock: Callable[[], float] | None = None,
) -> OllamaEncoder:
    """For /api/generate."""
    return OllamaEncoder(_wrap_response, model=model, created_s=created_s, clock=clock)


def _wrap_message(content: Document) -> Document:
    return {"message": {"role": "assistant", **content}}


def _wrap_response(content: Document) -> Document:
    fields: dict[str, Any] = dict(content)
    return {"response": fields.pop("content"), **fields}


def _nanos(seconds: float) -> int:
    return max(0, round(seconds * _NANOS))
