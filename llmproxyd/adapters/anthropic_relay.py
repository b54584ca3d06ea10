"""The verbatim lane in Anthropic's dialect: the provider's bytes go to the client as they are, and are only watched.

Changed is the model's name in the first frame, where the client is to see another one. Frames before the first content
are held back, so that a provider that fails there can still be replaced. After that most frames need no reading: their
event name says what they are.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llmproxyd import jsontext
from llmproxyd.adapters.anthropic_answer import merge_usage, parse_finish, parse_usage
from llmproxyd.adapters.anthropic_failure import failure_of_error
from llmproxyd.adapters.failures import bad_answer
from llmproxyd.adapters.relaying import NO_RAW, NOTHING, StreamRelay, new_reader
from llmproxyd.framing import Frame, SSESplitter
from llmproxyd.values.contracts import Inspected, Progress
from llmproxyd.values.failure import Failure

STOP_FRAME = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

_DELTA = b"event: content_block_delta\ndata: "
_READ_EVENTS = frozenset(
    {
        b"",
        b"message_start",
        b"content_block_start",
        b"content_block_delta",
        b"message_delta",
        b"message_stop",
        b"error",
    }
)
"""Events that are looked into; those nobody knows yet pass unread."""
_QUIET_BLOCKS = frozenset({"text", "thinking"})
"""Blocks whose start says nothing yet; that of any other is content."""


class _Block(msgspec.Struct, gc=False):
    type: Any = None
    text: Any = None
    thinking: Any = None


class _Delta(msgspec.Struct, gc=False):
    text: Any = None
    thinking: Any = None
    partial_json: Any = None
    signature: Any = None
    citation: Any = None
    stop_reason: Any = None


class _Message(msgspec.Struct, gc=False):
    model: msgspec.Raw = NO_RAW
    usage: Any = None


class _Frame(msgspec.Struct, gc=False):
    """What has to be seen of a frame or an answer; everything else is skipped unread."""

    type: str = ""
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: Any = None
    error: Any = None
    # of whole answers:
    model: msgspec.Raw = NO_RAW
    content: msgspec.Raw = NO_RAW
    stop_reason: Any = None
    input_tokens: Any = None


_decode = new_reader(_Frame, "frame")


class AnthropicRelay(StreamRelay[Frame]):
    """The Relay of one stream."""

    __slots__ = ("_between", "_echo", "_finished", "_started", "_totals")

    def __init__(self, *, echo: str | None) -> None:
        super().__init__(SSESplitter())
        self._echo = echo
        self._between = True  # no frame has begun that is not complete
        self._started = False
        self._finished = False
        self._totals: dict[str, Any] = {}

    def feed(self, data: bytes) -> Progress:
        if self._ended or self._done:
            return NOTHING
        if self._open and self._between and _is_one_delta(data):
            return Progress(data, content=True)
        self._between = data.endswith(b"\n\n")
        return super().feed(data)

    def _is_whole(self) -> bool:
        return self._finished

    def _has_begun(self) -> bool:
        return self._started

    def _round_off(self, out: bytes) -> bytes:
        # Only the last frame is missing; the frame before it may lack its blank line.
        end = b"\n\n" if out and not out.endswith((b"\n\n", b"\r\n\r\n")) else b""
        return out + end + STOP_FRAME

    def _pass(self, frame: Frame) -> bytes:
        event, data, raw = frame
        if self._done or self._ended:
            return b""
        if not data or event not in _READ_EVENTS:
            return raw
        if event == b"content_block_delta" and self._open:
            self._content = True
            return raw
        seen = _read_frame(data)
        if isinstance(seen, Failure):
            return self._fail(seen)
        if seen.type == "message_start":
            return self._start(seen, data, raw)
        self._observe(seen)
        return raw

    def _start(self, frame: _Frame, data: bytes, raw: bytes) -> bytes:
        self._started = True
        message = frame.message or _Message()
        self._note_usage(message.usage)
        if self._echo is None or message.model == NO_RAW:
            return raw
        return replace_model(raw, message.model, self._echo) or _replace_in_message(data, self._echo)

    def _observe(self, frame: _Frame) -> None:
        match frame.type:
            case "content_block_start":
                self._content = self._content or _opens_content(frame.content_block)
            case "content_block_delta":
                self._content = self._content or _says_something(frame.delta)
            case "message_delta":
                self._note_usage(frame.usage)
                if frame.delta is not None and frame.delta.stop_reason:
                    self._finished = True
                    self._finish = parse_finish(str(frame.delta.stop_reason), called=False)
                    # An answer may be empty, as a refusal is: its end is then all there is to send.
                    self._content = True
            case "message_stop":
                self._stop()

    def _stop(self) -> None:
        if not self._started:
            self._fail(bad_answer("the stream ended without any answer"))
            return
        self._done = self._finished = True
        self._content = self._content or not self._open

    def _note_usage(self, usage: Any) -> None:
        self._totals = merge_usage(self._totals, usage)
        self._usage = parse_usage(self._totals) or self._usage


def new_relay(*, echo: str | None, keep_usage: bool) -> AnthropicRelay:
    """``keep_usage`` is not asked: every stream of this dialect has its usage."""
    return AnthropicRelay(echo=echo)


def inspect_answer(body: bytes, echo: str | None) -> Inspected:
    """A whole 2xx body that passes through: a message or a count of tokens."""
    frame = _read_frame(body)
    if isinstance(frame, Failure):
        return Inspected(body, failure=frame)
    if frame.content == NO_RAW and not isinstance(frame.input_tokens, int):
        return Inspected(body, failure=bad_answer("the answer has no content"))
    if echo is not None and frame.model != NO_RAW:
        body = replace_model(body, frame.model, echo) or jsontext.splice(
            body, {"model": jsontext.encode(echo)}
        )
    native = frame.stop_reason if isinstance(frame.stop_reason, str) else None
    return Inspected(body, parse_usage(frame.usage), parse_finish(native, called=False))


def replace_model(raw: bytes, named: msgspec.Raw, model: str) -> bytes | None:
    """``raw`` with the JSON text ``named`` of its ``model`` replaced, all else untouched; None if it is not clear where."""
    # Within strings quotes are escaped: a single hit is the key itself.
    if raw.count(b'"model"') != 1:
        return None
    value = jsontext.encode(model)
    pattern = rb'("model"\s*:\s*)' + re.escape(bytes(named))
    changed, count = re.subn(pattern, lambda hit: hit[1] + value, raw)
    return changed if count == 1 else None


def _replace_in_message(data: bytes, model: str) -> bytes:
    frame = jsontext.decode(data)
    frame["message"]["model"] = model
    return b"event: message_start\ndata: " + jsontext.encode(frame) + b"\n\n"


def _is_one_delta(data: bytes) -> bool:
    """Whether a read is exactly one piece of content, as nearly every read is."""
    return data.startswith(_DELTA) and data.endswith(b"\n\n") and data.count(b"\n") == 3 and b"\r" not in data


def _opens_content(block: _Block | None) -> bool:
    if block is None:
        return False
    return block.type not in _QUIET_BLOCKS or bool(block.text or block.thinking)


def _says_something(delta: _Delta | None) -> bool:
    if delta is None:
        return False
    return bool(delta.text or delta.thinking or delta.partial_json or delta.signature or delta.citation)


def _read_frame(data: bytes) -> _Frame | Failure:
    frame = _decode(data)
    if isinstance(frame, Failure):
        return frame
    return failure_of_error(frame.error) if frame.type == "error" or frame.error else frame
