"""Answers and streams as a Gemini client reads them.

A stream comes in one of two forms: server-sent events (``alt=sse``), of which google-genai wants ``data: `` lines and
nothing else, or one JSON array in pieces. Either way every piece is a whole response object with new parts. Function
calls go out whole, with the last piece: this dialect has no pieces of arguments.
"""

from __future__ import annotations

from typing import Any

import msgspec

from llmproxyd import jsontext
from llmproxyd.framing import format_data
from llmproxyd.surfaces.gemini_failure import error_document
from llmproxyd.surfaces.gemini_parts import (
    REFUSALS,
    format_candidate,
    format_citations,
    format_finish,
    format_logprobs,
    format_thought,
    format_tool_call,
    format_usage,
    shows_thoughts,
)
from llmproxyd.values.answer import (
    Answer,
    CitationDelta,
    Event,
    Failed,
    Finished,
    Pinged,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    TokenCount,
    ToolCallDelta,
    UsageReported,
    Vectors,
)
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure
from llmproxyd.values.request import Document, Request, Thinking, ToolCall


def format_answer(
    answer: Answer | Vectors | TokenCount,
    request: Request,
    *,
    model: str,
    id: str,  # noqa: A002
    created_s: int,
) -> bytes:
    """The body of a generateContent or countTokens answer."""
    if isinstance(answer, TokenCount):
        return jsontext.encode({"totalTokens": answer.input_tokens})
    if isinstance(answer, Vectors):
        raise TypeError("a conversation is not answered with vectors")
    thoughts = shows_thoughts(request)
    candidates = [format_candidate(c, number, thoughts=thoughts) for number, c in enumerate(answer.choices)]
    refused = bool(candidates) and all(
        choice.finish in REFUSALS and not candidate["content"]["parts"]
        for choice, candidate in zip(answer.choices, candidates, strict=True)
    )
    body: dict[str, Any] = _blocked() if refused else {"candidates": candidates}
    if answer.usage is not None:
        body["usageMetadata"] = format_usage(answer.usage)
    return jsontext.encode(body | {"modelVersion": model, "responseId": answer.id or id})


def _blocked() -> dict[str, Any]:
    """Google's way of answering nothing at all."""
    return {"promptFeedback": {"blockReason": "SAFETY"}}


class _Draft(msgspec.Struct):
    """What of a choice goes out with the last piece. ``spoken``: something of it has gone out. ``hidden``: the thought in
    hand is not shown, so that its signature is of no use."""

    calls: dict[int, ToolCallDelta] = msgspec.field(default_factory=dict)
    arguments: dict[int, list[str]] = msgspec.field(default_factory=dict)
    citations: list[Document] = msgspec.field(default_factory=list)
    finished: Finished | None = None
    spoken: bool = False
    hidden: bool = False

    def add_call(self, delta: ToolCallDelta) -> None:
        self.calls.setdefault(delta.index, delta)
        self.arguments.setdefault(delta.index, []).append(delta.arguments)

    def parts(self) -> list[dict[str, Any]]:
        return [
            format_tool_call(
                ToolCall(
                    first.id or "",
                    first.name or "",
                    "".join(self.arguments[index]),
                    signature=first.signature,
                )
            )
            for index, first in sorted(self.calls.items())
        ]


class GeminiEncoder:
    """The Encoder of one stream."""

    def __init__(self, request: Request, form: _SSE | _Array, *, model: str, id: str) -> None:  # noqa: A002
        self._form = form
        self._model = model
        self._id = id
        self._thoughts = shows_thoughts(request)
        self._drafts: dict[int, _Draft] = {}
        self._usage: Usage | None = None

    def feed(self, event: Event) -> bytes:
        match event:
            case TextDelta():
                return self._say_text(event)
            case ThinkingDelta():
                return self._say_thought(event)
            case RefusalDelta():
                return self._say(event.choice, {"text": event.text}) if event.text else b""
            case ToolCallDelta():
                self._draft(event.choice).add_call(event)
            case CitationDelta():
                self._draft(event.choice).citations.append(event.citation)
            case Finished():
                self._draft(event.choice).finished = event
            case Started():
                self._id = event.id or self._id
                self._usage = event.usage or self._usage
            case UsageReported():
                self._usage = event.usage
            case Pinged():
                return self.ping()
            case Failed():
                return self.fail(event.failure)
        return b""

    def close(self) -> bytes:
        """The last piece: function calls, reasons, usage."""
        candidates = [self._last_candidate(number, draft) for number, draft in sorted(self._drafts.items())]
        refused = bool(candidates) and all(
            draft.finished is not None
            and draft.finished.reason in REFUSALS
            and not draft.spoken
            and not draft.calls
            for draft in self._drafts.values()
        )
        body: dict[str, Any] = _blocked() if refused else {"candidates": candidates}
        return self._form.piece(self._piece(body)) + self._form.end()

    def fail(self, failure: Failure) -> bytes:
        return self._form.piece(jsontext.encode(error_document(failure))) + self._form.end()

    def ping(self) -> bytes:
        return self._form.ping()

    def _say_text(self, event: TextDelta) -> bytes:
        extra = format_logprobs([event.logprobs]) if event.logprobs is not None else {}
        if not event.text and not extra:
            return b""
        return self._say(event.choice, {"text": event.text}, extra)

    def _say_thought(self, event: ThinkingDelta) -> bytes:
        draft = self._draft(event.choice)
        closes = event.signature is not None or event.encrypted is not None
        hidden = (draft.hidden and not event.new_block) or (bool(event.text) and not self._thoughts)
        draft.hidden = hidden and not closes
        block = Thinking(event.text, event.signature, event.encrypted, event.origin, event.item_id)
        part = None if hidden else format_thought(block, thoughts=self._thoughts)
        return b"" if part is None else self._say(event.choice, part)

    def _say(self, choice: int, part: dict[str, Any], extra: dict[str, Any] | None = None) -> bytes:
        self._draft(choice).spoken = True
        candidate = {"content": {"role": "model", "parts": [part]}, "index": choice, **(extra or {})}
        return self._form.piece(self._piece({"candidates": [candidate]}))

    def _last_candidate(self, number: int, draft: _Draft) -> dict[str, Any]:
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": draft.parts()}, "index": number}
        if draft.finished is not None:
            candidate["finishReason"] = format_finish(draft.finished.reason, draft.finished.native)
        return candidate | format_citations(draft.citations)

    def _piece(self, body: dict[str, Any]) -> bytes:
        usage = {} if self._usage is None else {"usageMetadata": format_usage(self._usage)}
        return jsontext.encode({**body, **usage, "modelVersion": self._model, "responseId": self._id})

    def _draft(self, choice: int) -> _Draft:
        return self._drafts.setdefault(choice, _Draft())


class _SSE:
    """Server-sent events: no names, no comments, no terminator."""

    def piece(self, data: bytes) -> bytes:
        return format_data(data)

    def end(self) -> bytes:
        return b""

    def ping(self) -> bytes:
        # google-genai stumbles over comments; an empty response says nothing and is read without harm.
        return format_data(b"{}")


class _Array:
    """One JSON array. It has no sign of life that says nothing."""

    def __init__(self) -> None:
        self._begun = False

    def piece(self, data: bytes) -> bytes:
        opening = b",\r\n" if self._begun else b"["
        self._begun = True
        return opening + data

    def end(self) -> bytes:
        return b"\n]\n" if self._begun else b"[]\n"

    def ping(self) -> bytes:
        return b""


def new_encoder(request: Request, *, model: str, id: str, created_s: int) -> GeminiEncoder:  # noqa: A002
    """For ``alt=sse``."""
    return GeminiEncoder(request, _SSE(), model=model, id=id)


def new_array_encoder(request: Request, *, model: str, id: str, created_s: int) -> GeminiEncoder:  # noqa: A002
    """For streams without ``alt=sse``."""
    return GeminiEncoder(request, _Array(), model=model, id=id)
