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
from llmproxyd.framing import Frame, FrameTooLong, SSESplitter
from llmproxyd.values.answer import Finish
from llmproxyd.values.contracts import Inspected, Progress
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure

MAX_HELD_BYTES = 1024 * 1024
"""What may come before the first content. More of it is no answer."""

STOP_FRAME = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

_NOTHING_SAID = msgspec.Raw(b"")
_NOTHING = Progress()
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
    model: msgspec.Raw = _NOTHING_SAID
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
    model: msgspec.Raw = _NOTHING_SAID
    content: msgspec.Raw = _NOTHING_SAID
    stop_reason: Any = None
    input_tokens: Any = None


_decode = msgspec.json.Decoder(_Frame).decode


class AnthropicRelay:
    """The Relay of one stream."""

    __slots__ = (
        "_between", "_content", "_done", "_echo", "_ended", "_failure", "_finish", "_finished", "_held", "_open", "_splitter",
        "_started", "_totals", "_usage",
    )  # fmt: skip

    def __init__(self, *, echo: str | None) -> None:
        self._splitter = SSESplitter()
        self._echo = echo
        self._held = bytearray()
        self._open = False  # content was seen: nothing is held back any more
        self._between = True  # no frame has begun that is not complete
        self._started = False
        self._finished = False
        self._done = False
        self._ended = False
        self._totals: dict[str, Any] = {}
        # What the read in hand came to:
        self._content = False
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._failure: Failure | None = None

    def feed(self, data: bytes) -> Progress:
        if self._ended or self._done:
            return _NOTHING
        if self._open and self._between and _is_one_delta(data):
            return Progress(data, content=True)
        self._between = data.endswith(b"\n\n")
        try:
            return self._relay(self._splitter.feed(data))
        except FrameTooLong as error:
            self._ended = True
            return Progress(failure=bad_answer(str(error)))

    def close(self) -> Progress:
        if self._ended:
            return _NOTHING
        last = self._relay(self._splitter.close())
        if self._failure is not None or self._done:
            return last
        self._ended = True
        if not self._finished:
            what = "cut short" if self._started else "without any answer"
            return Progress(
                last.out, last.content, last.usage, last.finish, bad_answer(f"the stream ended {what}")
            )
        # The answer is whole, only its last frame is missing; the frame before it may lack its blank line.
        end = b"\n\n" if last.out and not last.out.endswith((b"\n\n", b"\r\n\r\n")) else b""
        return Progress(last.out + end + STOP_FRAME, last.content, last.usage, last.finish, done=True)

    def _relay(self, frames: list[Frame]) -> Progress:
        self._content = False
        self._usage = self._finish = None
        out = b"".join([self._pass(event, data, raw) for event, data, raw in frames])
        if not self._open:
            out = self._hold(out)
        return Progress(out, self._content, self._usage, self._finish, self._failure, self._done)

    def _hold(self, out: bytes) -> bytes:
        self._held += out
        if self._content:
            self._open = True
            out = bytes(self._held)
            self._held.clear()
            return out
        if len(self._held) > MAX_HELD_BYTES and self._failure is None:
            self._fail(bad_answer(f"{MAX_HELD_BYTES} bytes came without any content"))
        return b""

    def _fail(self, failure: Failure) -> bytes:
        self._ended = True
        self._failure = failure
        return b""

    def _pass(self, event: bytes, data: bytes, raw: bytes) -> bytes:
        """One frame -> what the client gets for it."""
        if self._done or self._ended:
            return b""
        if not data or event not in _READ_EVENTS:
            return raw
        if event == b"content_block_delta" and self._open:
            self._content = True
            return raw
        frame = _read_frame(data)
        if isinstance(frame, Failure):
            return self._fail(frame)
        if frame.type == "message_start":
            return self._start(frame, data, raw)
        self._observe(frame)
        return raw

    def _start(self, frame: _Frame, data: bytes, raw: bytes) -> bytes:
        self._started = True
        message = frame.message or _Message()
        self._note_usage(message.usage)
        if self._echo is None or message.model == _NOTHING_SAID:
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
    if frame.content == _NOTHING_SAID and not isinstance(frame.input_tokens, int):
        return Inspected(body, failure=bad_answer("the answer has no content"))
    if echo is not None and frame.model != _NOTHING_SAID:
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
    try:
        frame = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        slow = _read_frame_slowly(data)
        if isinstance(slow, Failure):
            return slow
        frame = slow
    if frame.type == "error" or frame.error:
        return failure_of_error(frame.error)
    return frame


def _read_frame_slowly(data: bytes) -> _Frame | Failure:
    """What msgspec refuses and JSON allows: half an emoji, whose other half comes in the next frame."""
    try:
        document = jsontext.decode(data)
        if not isinstance(document, dict):
            return bad_answer("a frame of the answer is not a JSON object")
        return msgspec.convert(_without_raw(document), _Frame, strict=False)
    except (jsontext.JSONError, msgspec.ValidationError) as error:
        return bad_answer(f"a frame of the answer cannot be read: {error}")


def _without_raw(document: dict[str, Any]) -> dict[str, Any]:
    """Fields that are kept as JSON text, as such."""
    fields = dict(document)
    for name in ("model", "content"):
        if name in fields:
            fields[name] = msgspec.Raw(jsontext.encode(fields[name]))
    message = fields.get("message")
    if isinstance(message, dict) and "model" in message:
        fields["message"] = {**message, "model": msgspec.Raw(jsontext.encode(message["model"]))}
    return fields
