"""The verbatim lane in the Responses dialect: the provider's bytes go to the client as they are, and are only watched.

Changed is the model's name inside the response, where the client is to see another one. Events before the first content
are held back, so that a provider that fails there can still be replaced. They repeat the request's tools and
instructions twice, which is why more of them is held than of other dialects.
"""

from __future__ import annotations

from typing import Any

import msgspec

from llmproxyd import jsontext
from llmproxyd.adapters.failures import bad_answer, failure_of_error
from llmproxyd.adapters.openai_answer import text_of
from llmproxyd.adapters.responses_answer import (
    CALLS,
    find_failure,
    is_count,
    objects,
    parse_finish,
    parse_usage,
    read_object,
)
from llmproxyd.framing import Frame, FrameTooLong, SSESplitter
from llmproxyd.values.answer import Finish
from llmproxyd.values.contracts import Inspected, Progress
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure

MAX_HELD_BYTES = 8 * 1024 * 1024
"""What may come before the first content. More of it is no answer."""

_NO_RAW = msgspec.Raw(b"")
_NOTHING = Progress()

_DELTAS = frozenset(
    {
        "response.output_text.delta", "response.refusal.delta", "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta", "response.reasoning_summary_text.delta",
        "response.reasoning_text.delta", "response.output_text.annotation.added",
    }
)  # fmt: skip
_ITEM_DONE = "response.output_item.done"
_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})


class _Kind(msgspec.Struct, gc=False):
    type: str = ""


class _Frame(msgspec.Struct, gc=False):
    """What has to be seen of an event; everything else is skipped unread."""

    type: str = ""
    response: msgspec.Raw = _NO_RAW
    item: _Kind | None = None
    error: Any = None


class _Error(msgspec.Struct, gc=False):
    """A bare error, flat as the dialect has it."""

    code: Any = None
    message: Any = None
    param: Any = None


_decode = msgspec.json.Decoder(_Frame).decode
_decode_error = msgspec.json.Decoder(_Error).decode


class ResponsesRelay:
    """The Relay of one stream."""

    __slots__ = (
        "_called", "_content", "_done", "_echo", "_ended", "_failure", "_finish", "_held", "_open", "_splitter",
        "_started", "_usage",
    )  # fmt: skip

    def __init__(self, *, echo: str | None) -> None:
        self._splitter = SSESplitter()
        self._echo = None if echo is None else jsontext.encode(echo)
        self._held = bytearray()
        self._started = False
        self._open = False  # content was seen: nothing is held back any more
        self._called = False
        self._done = False
        self._ended = False
        # What the read in hand came to:
        self._content = False
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._failure: Failure | None = None

    def feed(self, data: bytes) -> Progress:
        if self._ended:
            return _NOTHING
        try:
            return self._relay(self._splitter.feed(data))
        except FrameTooLong as error:
            self._ended = True
            return Progress(failure=bad_answer(str(error)))

    def close(self) -> Progress:
        if self._ended:
            return _NOTHING
        last = self._relay(self._splitter.close())
        self._ended = True
        if self._failure is not None or self._done:
            return last
        what = "cut short" if self._started else "without any answer"
        return Progress(last.out, last.content, failure=bad_answer(f"the stream ended {what}"))

    def _relay(self, frames: list[Frame]) -> Progress:
        self._content = False
        self._usage = self._finish = None
        out = b"".join([self._pass(frame) for frame in frames])
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

    def _pass(self, parsed: Frame) -> bytes:
        """One frame -> what the client gets for it."""
        name, data, raw = parsed
        if self._done or self._ended:
            return b""
        if not data or data[:6] == b"[DONE]":
            return raw
        frame = _read_frame(data)
        if isinstance(frame, Failure):
            return self._fail(frame)
        self._started = True
        if frame.type == "error" or frame.error:
            return self._fail(_bare_error(frame, data))
        if frame.type in _TERMINAL:
            failure = self._observe_end(bytes(frame.response))
            if failure is not None:
                return self._fail(failure)
        else:
            self._observe(frame)
        if self._echo is None or not frame.response:
            return raw
        return _renamed(name, data, bytes(frame.response), self._echo)

    def _observe(self, frame: _Frame) -> None:
        if frame.item is not None and frame.item.type in CALLS:
            self._called = True
        if frame.type in _DELTAS or frame.type == _ITEM_DONE:
            self._content = True

    def _observe_end(self, text: bytes) -> Failure | None:
        response = read_object(text)
        if isinstance(response, Failure):
            return response
        failure = find_failure(response)
        if failure is not None:
            return failure
        self._usage = parse_usage(response.get("usage"))
        self._finish, _ = parse_finish(response, called=self._called or _calls(response))
        # An answer may be empty: its end is then all there is to send.
        self._done = self._content = True
        return None


def new_relay(*, echo: str | None, keep_usage: bool) -> ResponsesRelay:
    """keep_usage: without effect, since usage is part of the last event and always wanted."""
    return ResponsesRelay(echo=echo)


def inspect_answer(body: bytes, echo: str | None) -> Inspected:
    """A whole 2xx body that passes through: a response, or a count of tokens."""
    document = read_object(body)
    if isinstance(document, Failure):
        return Inspected(body, failure=document)
    if document.get("object") == "response.input_tokens" and is_count(document.get("input_tokens")):
        return Inspected(body)
    failure = find_failure(document)
    if failure is not None:
        return Inspected(body, failure=failure)
    finish, _ = parse_finish(document, called=_calls(document))
    named = body if echo is None else jsontext.splice(body, {"model": jsontext.encode(echo)})
    return Inspected(named, parse_usage(document.get("usage")), finish)


def _calls(response: dict[str, Any]) -> bool:
    return any(text_of(item, "type") in CALLS for item in objects(response.get("output")))


def _renamed(name: bytes, data: bytes, response: bytes, echo: bytes) -> bytes:
    """The same event about the model the client asked for; one that names no model is left without."""
    document = jsontext.decode(response)
    named = isinstance(document, dict) and "model" in document
    spliced = jsontext.splice(response, {"model": echo}) if named else response
    event = b"event: " + name + b"\n" if name else b""
    return event + b"data: " + jsontext.splice(data, {"response": spliced}) + b"\n\n"


def _bare_error(frame: _Frame, data: bytes) -> Failure:
    if frame.error:
        return failure_of_error(frame.error)
    flat = _decode_error(data)
    return failure_of_error({"code": flat.code, "message": flat.message, "param": flat.param})


def _read_frame(data: bytes) -> _Frame | Failure:
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_frame_slowly(data)


def _read_frame_slowly(data: bytes) -> _Frame | Failure:
    """What msgspec refuses and JSON allows: half an emoji, whose other half comes in the next event."""
    document = read_object(data)
    if isinstance(document, Failure):
        return document
    response = document.pop("response", None)
    fields = {name: document[name] for name in ("type", "item", "error") if document.get(name) is not None}
    try:
        frame = msgspec.convert(fields, _Frame)
    except msgspec.ValidationError as error:
        return bad_answer(f"an event of the answer cannot be read: {error}")
    if response is not None:
        frame.response = msgspec.Raw(jsontext.encode(response))
    return frame
