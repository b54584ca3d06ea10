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
from llmproxyd.adapters.relaying import NO_RAW, StreamRelay, new_reader
from llmproxyd.adapters.responses_answer import (
    CALLS,
    find_failure,
    find_usage,
    is_count,
    objects,
    parse_finish,
    read_object,
)
from llmproxyd.framing import Frame, SSESplitter
from llmproxyd.values.contracts import Inspected
from llmproxyd.values.failure import Failure

MAX_HELD_BYTES = 8 * 1024 * 1024
"""What may come before the first content. More of it is no answer."""

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


class _Event(msgspec.Struct, gc=False):
    """What has to be seen of an event; everything else is skipped unread."""

    type: str = ""
    response: msgspec.Raw = NO_RAW
    item: _Kind | None = None
    error: Any = None
    sequence_number: Any = None


class _Identity(msgspec.Struct, gc=False):
    """What tells one response from another."""

    id: Any = None
    created_at: Any = None


class _Error(msgspec.Struct, gc=False):
    """A bare error, flat as the dialect has it."""

    code: Any = None
    message: Any = None
    param: Any = None


_decode = msgspec.json.Decoder(_Event).decode
_read_identity = new_reader(_Identity, "response")
_read_error = new_reader(_Error, "event")


class ResponsesRelay(StreamRelay[Frame]):
    """The Relay of one stream. Its end is an event of its own: without that it was cut."""

    __slots__ = ("_called", "_echo", "_identity", "_number", "_started")

    def __init__(self, *, echo: str | None) -> None:
        super().__init__(SSESplitter(), max_held_bytes=MAX_HELD_BYTES)
        self._echo = None if echo is None else jsontext.encode(echo)
        self._started = False
        self._called = False
        self._identity: _Identity | None = None
        self._number: Any = None  # of the last event that was passed on

    def fail(self, said: bytes) -> bytes:
        """The surface's last event as the next one of the response that the client has been told of so far."""
        return b"".join([self._adopted(name, data) for name, data, _ in SSESplitter().feed(said)])

    def _adopted(self, name: bytes, data: bytes) -> bytes:
        event = jsontext.decode(data)
        if self._identity is not None:
            event["response"] |= {"id": self._identity.id, "created_at": self._identity.created_at}
        if isinstance(self._number, int):
            event["sequence_number"] = self._number + 1
        return _format_event(name, jsontext.encode(event))

    def _has_begun(self) -> bool:
        return self._started

    def _pass(self, frame: Frame) -> bytes:
        name, data, raw = frame
        if self._done or self._ended:
            return b""
        if not data or data[:6] == b"[DONE]":
            return raw
        event = _read_event(data)
        if isinstance(event, Failure):
            return self._fail(event)
        self._started = True
        if event.type == "error" or event.error:
            return self._fail(_bare_error(event, data))
        if event.type in _TERMINAL:
            failure = self._observe_end(bytes(event.response))
            if failure is not None:
                return self._fail(failure)
        else:
            self._observe(event)
        self._number = event.sequence_number
        if event.response and self._identity is None:
            self._identity = _identity_of(bytes(event.response))
        if self._echo is None or not event.response:
            return raw
        try:
            return _renamed(name, data, bytes(event.response), self._echo)
        except jsontext.JSONError as error:
            return self._fail(bad_answer(f"an event of the answer cannot be read: {error}"))

    def _observe(self, event: _Event) -> None:
        if event.item is not None and event.item.type in CALLS:
            self._called = True
        if event.type in _DELTAS or event.type == _ITEM_DONE:
            self._content = True

    def _observe_end(self, text: bytes) -> Failure | None:
        response = read_object(text)
        if isinstance(response, Failure):
            return response
        failure = find_failure(response)
        if failure is not None:
            return failure
        self._usage = find_usage(response)
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
    return Inspected(named, find_usage(document), finish)


def _calls(response: dict[str, Any]) -> bool:
    return any(text_of(item, "type") in CALLS for item in objects(response.get("output")))


def _renamed(name: bytes, data: bytes, response: bytes, echo: bytes) -> bytes:
    """The same event about the model the client asked for; one that names no model is left without."""
    document = jsontext.decode(response)
    named = isinstance(document, dict) and "model" in document
    spliced = jsontext.splice(response, {"model": echo}) if named else response
    return _format_event(name, jsontext.splice(data, {"response": spliced}))


def _format_event(name: bytes, data: bytes) -> bytes:
    return (b"event: " + name + b"\n" if name else b"") + b"data: " + data + b"\n\n"


def _identity_of(response: bytes) -> _Identity | None:
    """None where a copy of the dialect lacks what makes one."""
    identity = _read_identity(response)
    if isinstance(identity, Failure) or not isinstance(identity.id, str):
        return None
    return identity if isinstance(identity.created_at, (int, float)) else None


def _bare_error(event: _Event, data: bytes) -> Failure:
    if event.error:
        return failure_of_error(event.error)
    flat = _read_error(data)
    if isinstance(flat, Failure):
        return flat
    return failure_of_error({"code": flat.code, "message": flat.message, "param": flat.param})


def _read_event(data: bytes) -> _Event | Failure:
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_event_slowly(data)


def _read_event_slowly(data: bytes) -> _Event | Failure:
    """What msgspec refuses and JSON allows: half an emoji, whose other half comes in the next event."""
    document = read_object(data)
    if isinstance(document, Failure):
        return document
    response = document.pop("response", None)
    names = ("type", "item", "error", "sequence_number")
    fields = {name: document[name] for name in names if document.get(name) is not None}
    try:
        event = msgspec.convert(fields, _Event)
    except msgspec.ValidationError as error:
        return bad_answer(f"an event of the answer cannot be read: {error}")
    except UnicodeEncodeError:
        return bad_answer("an event of the answer has half a character in the name of a field")
    if response is not None:
        event.response = msgspec.Raw(jsontext.encode(response))
    return event
