"""Canonical events -> Anthropic's stream.

Clients break on everything but the exact order: ``message_start`` with usage, then blocks one at a time, numbered
without gaps, each opened, filled and closed, then ``message_delta`` with the reason and usage, and ``message_stop``.
So a block is opened when its first content comes, and the end is held back until the usage is known.
"""

from __future__ import annotations

from typing import Any

import msgspec

from llmproxyd import jsontext
from llmproxyd.surfaces.anthropic_answer import (
    EMPTY_TEXT,
    asked_for_thought,
    call_id,
    format_finish,
    format_input,
    format_message,
    format_signature,
    format_usage,
    is_bare_seal,
    is_own_citation,
    is_redacted,
    message_id,
)
from llmproxyd.surfaces.anthropic_failure import format_failure
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
from llmproxyd.values.request import Request, Thinking

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


class _Call(msgspec.Struct):
    """A tool call while it streams. ``pieces`` are all of its arguments, of which ``sent`` have been sent."""

    id: str
    name: str
    pieces: list[str] = msgspec.field(default_factory=list)
    sent: int = 0
    is_object: bool = False
    closed: bool = False

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def add(self, arguments: str) -> None:
        if not arguments:
            return
        self.pieces.append(arguments)
        if not self.is_object:
            self.is_object = self.text.lstrip().startswith("{")

    def take(self) -> str:
        """What has not been sent yet."""
        waiting = "".join(self.pieces[self.sent :])
        self.sent = len(self.pieces)
        return waiting

    def is_complete(self) -> bool:
        """Whether nothing can follow any more."""
        if not self.is_object or not self.pieces[-1].rstrip().endswith("}"):
            return False
        try:
            jsontext.decode(self.text)
        except jsontext.JSONError:
            return False
        return True


class AnthropicEncoder:
    """The Encoder of one stream. The dialect knows one answer only: other choices are not shown."""

    def __init__(self, request: Request, *, model: str, id: str) -> None:  # noqa: A002
        self._thoughtful = asked_for_thought(request)
        self._model = model
        self._request_id = id
        self._id = message_id(id)
        self._usage = Usage()
        self._begun = False
        self._index = -1
        self._block = ""  # the type of the open block, empty if none is
        self._thought = Thinking()
        self._calls: dict[int, _Call] = {}
        self._open_call: _Call | None = None
        self._finished: Finished | None = None
        self._refused = False

    def feed(self, event: Event) -> bytes:
        match event:
            case TextDelta(choice=0):
                return self._text(event.text)
            case ThinkingDelta(choice=0):
                return self._think(event)
            case ToolCallDelta(choice=0):
                return self._call(event)
            case Finished(choice=0):
                self._finished = event
                return self._begin() + self._settle()
            case Started():
                self._id = event.id or self._id
                self._usage = event.usage or self._usage
                return self._begin()
            case UsageReported():
                self._usage = event.usage
                return b""
            case RefusalDelta(choice=0):
                self._refused = True
                return self._text(event.text)
            case CitationDelta(choice=0) if is_own_citation(event.citation):
                return self._enter("text") + self._delta("citations_delta", "citation", event.citation)
            case Pinged():
                return self.ping()
            case Failed():
                return self.fail(event.failure)
            case _:
                return b""

    def close(self) -> bytes:
        out = self._begin() + self._settle()
        if self._index < 0:
            out += self._open(EMPTY_TEXT) + self._shut()
        finished = self._finished
        reason = format_finish(
            finished.reason if finished else None,
            finished.native if finished else None,
            called=bool(self._calls),
            refused=self._refused,
        )
        stop_sequence = finished.stop_sequence if finished else None
        delta = {"stop_reason": reason, "stop_sequence": stop_sequence}
        return out + _frame("message_delta", {"delta": delta, "usage": format_usage(self._usage)}) + _STOP

    def fail(self, failure: Failure) -> bytes:
        return b"event: error\ndata: " + format_failure(failure, self._request_id) + b"\n\n"

    def ping(self) -> bytes:
        return PING

    # --- blocks -----------------------------------------------------------------------------------------------

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return _frame("message_start", {"message": format_message(self._id, self._model, [], self._usage)})

    def _open(self, block: Any) -> bytes:
        self._index += 1
        self._block = block["type"]
        return _frame("content_block_start", {"index": self._index, "content_block": block})

    def _delta(self, kind: str, name: str, value: Any) -> bytes:
        return _frame("content_block_delta", {"index": self._index, "delta": {"type": kind, name: value}})

    def _shut(self) -> bytes:
        self._block = ""
        return _frame("content_block_stop", {"index": self._index})

    def _leave(self) -> bytes:
        """Close the block that is open."""
        if self._block == "thinking":
            return self._sign()
        if self._open_call is not None:
            return self._end_call()
        return self._shut() if self._block else b""

    def _settle(self) -> bytes:
        """Close what is open, and send the calls that had to wait for their turn."""
        out = self._leave()
        for call in self._calls.values():
            if not call.closed:
                out += self._begin_call(call) + self._end_call()
        return out

    def _enter(self, kind: str) -> bytes:
        if self._block == kind:
            return b""
        block = {"type": "thinking", "thinking": "", "signature": ""} if kind == "thinking" else EMPTY_TEXT
        return self._begin() + self._settle() + self._open(block)

    # --- text and thought -------------------------------------------------------------------------------------

    def _text(self, text: str) -> bytes:
        return self._enter("text") + self._delta("text_delta", "text", text) if text else b""

    def _think(self, event: ThinkingDelta) -> bytes:
        given = Thinking(event.text, event.signature, event.encrypted, event.origin, event.item_id)
        out = self._leave() if event.new_block and self._block == "thinking" else b""
        if is_redacted(given):
            block = {"type": "redacted_thinking", "data": event.encrypted}
            return out + self._begin() + self._settle() + self._open(block) + self._shut()
        sealed = event.signature is not None or event.encrypted is not None
        unseen = is_bare_seal(given) and not self._thoughtful and self._block != "thinking"
        if unseen or not (event.text or sealed):
            return out
        out += self._enter("thinking")
        if event.text:
            out += self._delta("thinking_delta", "thinking", event.text)
        self._thought = given
        return out + self._sign() if sealed else out

    def _sign(self) -> bytes:
        """The signature comes last. A thought that nobody signed is sealed: it must not come back as Anthropic's."""
        return self._delta("signature_delta", "signature", format_signature(self._thought)) + self._shut()

    # --- tool calls -------------------------------------------------------------------------------------------

    def _call(self, event: ToolCallDelta) -> bytes:
        call = self._calls.get(event.index)
        if call is None:
            call = _Call(call_id(event.id, self._id, event.index), event.name or "")
            self._calls[event.index] = call
        if call.closed:
            # Its block is shut, which cannot be undone; the client will find the arguments incomplete.
            return b""
        call.add(event.arguments)
        if self._open_call is call:
            return self._send_arguments(call)
        if self._open_call is not None and not self._open_call.is_complete():
            # Only one block may be open: a call that runs beside another waits.
            return b""
        out = self._begin() + self._leave()
        return out + self._begin_call(call) + self._send_arguments(call)

    def _begin_call(self, call: _Call) -> bytes:
        self._open_call = call
        return self._open({"type": "tool_use", "id": call.id, "name": call.name, "input": {}})

    def _send_arguments(self, call: _Call) -> bytes:
        # What does not begin as an object is not passed on piecemeal: the official client fails on it.
        piece = call.take() if call.is_object else ""
        return self._delta("input_json_delta", "partial_json", piece) if piece else b""

    def _end_call(self) -> bytes:
        call, self._open_call = self._open_call, None
        assert call is not None
        call.closed = True
        rest = call.take() if call.is_object else jsontext.encode(format_input(call.text)).decode()
        return (self._delta("input_json_delta", "partial_json", rest) if rest else b"") + self._shut()


def new_encoder(request: Request, *, model: str, id: str, created_s: int) -> AnthropicEncoder:  # noqa: A002
    """``created_s`` is not asked: the dialect does not show it."""
    return AnthropicEncoder(request, model=model, id=id)


def _frame(kind: str, fields: dict[str, Any]) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + jsontext.encode({"type": kind, **fields}) + b"\n\n"
