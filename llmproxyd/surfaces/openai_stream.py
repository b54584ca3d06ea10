"""Canonical events -> OpenAI's chat stream.

The order clients rely on: a chunk with the role, the deltas, one chunk with the reason and nothing else, then, only if
it was asked for, one chunk with usage and no choices, and ``[DONE]``. A tool call's id and name are sent once.
"""

from __future__ import annotations

from typing import Any

import msgspec

from llmproxyd import jsontext
from llmproxyd.framing import format_data
from llmproxyd.surfaces.openai_answer import (
    format_finish,
    format_signature,
    format_usage,
    is_own_citation,
)
from llmproxyd.surfaces.openai_failure import error_object
from llmproxyd.surfaces.openai_thoughts import format_detail, is_sealed
from llmproxyd.values.answer import (
    CitationDelta,
    Event,
    Failed,
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
from llmproxyd.values.request import Document, Request, Thinking

KEEP_ALIVE = b": keep-alive\n\n"
DONE = format_data(b"[DONE]")


class _Choice(msgspec.Struct):
    """``thought``: the text of the block of thought that is open; a signature covers all of it."""

    called: set[int] = msgspec.field(default_factory=set)
    thought: list[str] = msgspec.field(default_factory=list)
    blocks: int = 0


class OpenAIEncoder:
    """The Encoder of one stream."""

    def __init__(self, request: Request, *, model: str, id: str, created_s: int) -> None:  # noqa: A002
        self._wants_usage = request.wants_usage
        self._model = model
        self._id = id
        self._created_s = created_s
        self._choices: dict[int, _Choice] = {}
        self._usage: Usage | None = None
        self._head = b""

    def feed(self, event: Event) -> bytes:
        match event:
            case TextDelta():
                return self._delta(event.choice, {"content": event.text}, event.logprobs)
            case ThinkingDelta():
                return self._think(event)
            case ToolCallDelta():
                return self._call(event)
            case RefusalDelta():
                return self._delta(event.choice, {"refusal": event.text})
            case CitationDelta():
                own = is_own_citation(event.citation)
                return self._delta(event.choice, {"annotations": [event.citation]}) if own else b""
            case Finished():
                return self._finish(event)
            case Started():
                return self._start(event)
            case UsageReported():
                self._usage = event.usage
                return b""
            case Pinged():
                return self.ping()
            case Failed():
                return self.fail(event.failure)

    def close(self) -> bytes:
        if not self._wants_usage or self._usage is None:
            return DONE
        usage = jsontext.encode(format_usage(self._usage))
        return format_data(self._opening() + b'"choices":[],"usage":' + usage + b"}") + DONE

    def fail(self, failure: Failure) -> bytes:
        return format_data(jsontext.encode({"error": error_object(failure)}))

    def ping(self) -> bytes:
        return KEEP_ALIVE

    def _start(self, event: Started) -> bytes:
        """Says nothing yet: a provider may still refuse after this."""
        self._id = event.id or self._id
        self._created_s = self._created_s if event.created_s is None else event.created_s
        self._usage = event.usage or self._usage
        self._head = b""
        return b""

    def _opening(self) -> bytes:
        if not self._head:
            head = {
                "id": self._id,
                "object": "chat.completion.chunk",
                "created": self._created_s,
                "model": self._model,
            }
            self._head = jsontext.encode(head)[:-1] + b","
        return self._head

    def _delta(self, choice: int, delta: Document, logprobs: Document | None = None) -> bytes:
        role = b"" if choice in self._choices else self._introduce(choice)
        return role + self._chunk(choice, delta, logprobs, None)

    def _introduce(self, choice: int) -> bytes:
        self._choices[choice] = _Choice()
        return self._chunk(choice, {"role": "assistant", "content": ""}, None, None)

    def _chunk(self, choice: int, delta: Document, logprobs: Document | None, finish: str | None) -> bytes:
        body = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        # Where usage is wanted every chunk but the last says null, as OpenAI's do.
        usage = b'],"usage":null}' if self._wants_usage else b"]}"
        return format_data(self._opening() + b'"choices":[' + jsontext.encode(body) + usage)

    def _think(self, event: ThinkingDelta) -> bytes:
        out = self._delta(event.choice, {"reasoning_content": event.text}) if event.text else b""
        if not out and event.choice not in self._choices:
            out = self._introduce(event.choice)
        choice = self._choices[event.choice]
        if event.new_block:
            self._open_block(choice)
        choice.thought.append(event.text)
        text = "".join(choice.thought)
        block = Thinking(text, event.signature, event.encrypted, event.origin, event.item_id)
        if not is_sealed(block):
            return out
        detail = format_detail(block, choice.blocks)
        choice.blocks += 1
        choice.thought.clear()
        return out + self._delta(event.choice, {"reasoning_details": [detail]})

    @staticmethod
    def _open_block(choice: _Choice) -> None:
        if choice.thought:
            choice.thought.clear()
            choice.blocks += 1

    def _call(self, event: ToolCallDelta) -> bytes:
        known = self._choices.get(event.choice)
        inner: dict[str, Any] = {"input" if event.kind == "custom" else "arguments": event.arguments}
        if known is not None and event.index in known.called:
            return self._delta(event.choice, {"tool_calls": [{"index": event.index, event.kind: inner}]})
        call: dict[str, Any] = {
            "index": event.index,
            "id": event.id or f"{self._id}-{event.index}",
            "type": event.kind,
        }
        call[event.kind] = {"name": event.name or "", **inner}
        if event.signature is not None:
            call["extra_content"] = format_signature(event.signature)
        out = self._delta(event.choice, {"tool_calls": [call]})
        self._choices[event.choice].called.add(event.index)
        return out

    def _finish(self, event: Finished) -> bytes:
        role = b"" if event.choice in self._choices else self._introduce(event.choice)
        called = bool(self._choices[event.choice].called)
        return role + self._chunk(event.choice, {}, None, format_finish(event.reason, called=called))


def new_encoder(request: Request, *, model: str, id: str, created_s: int) -> OpenAIEncoder:  # noqa: A002
    return OpenAIEncoder(request, model=model, id=id, created_s=created_s)
