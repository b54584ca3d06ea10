"""The extension API on one page: what a surface and an adapter must offer.

Both are frozen records of functions, values in, values out; time, logs, sockets do not come in. Only decoders,
encoders and relays are objects, with ``feed`` and ``close``, because a stream has a past.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

import msgspec

from llmproxyd.values.answer import Answer, Event, Finish, TokenCount, Vectors
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import Content, Dialect, Operation, Overrides, Request
from llmproxyd.values.snapshot import Deployment, Provider

Headers: TypeAlias = Mapping[str, str]
"""Lower-case names."""


class Call(msgspec.Struct, frozen=True):
    """An HTTP request to a provider, ready to send. ``headers`` hold the credential: never log a Call."""

    method: str
    url: str
    headers: Headers
    body: bytes
    stream: bool
    warnings: tuple[str, ...] = ()


class Listed(msgspec.Struct, frozen=True):
    """A model a server says it has. None: it does not say."""

    id: str
    context_window: int | None = None
    capabilities: frozenset[str] | None = None
    embeds: bool = False


class Progress(msgspec.Struct, frozen=True):
    """What one piece of a provider's stream came to.

    ``out``: bytes for the client, empty if there is nothing to say yet. ``content``: the piece held content, so that
    sending ``out`` commits. ``finish``: a choice ended. ``done``: the dialect's own end was seen.
    ``failure``: the stream reported one; ``out`` then holds what came before it.
    """

    out: bytes = b""
    content: bool = False
    usage: Usage | None = None
    finish: Finish | None = None
    failure: Failure | None = None
    done: bool = False


class Decoder(Protocol):
    """A provider's bytes -> canonical events, indifferent to where the bytes are cut."""

    def feed(self, data: bytes) -> list[Event]: ...

    def close(self) -> list[Event]:
        """The bytes have ended. A stream that was not complete yields ``Failed`` (`bad_answer`)."""
        ...


class Encoder(Protocol):
    """Canonical events -> a client's bytes."""

    def feed(self, event: Event) -> bytes: ...

    def close(self) -> bytes:
        """What the dialect writes at the end of a good stream."""
        ...

    def fail(self, failure: Failure) -> bytes:
        """The dialect's way of saying, inside a stream, that it failed. Nothing follows it."""
        ...

    def ping(self) -> bytes:
        """A sign of life that every client of the dialect ignores; empty if there is none. May precede ``feed``."""
        ...


class Relay(Protocol):
    """A stream that passes through in its own dialect: same bytes, watched."""

    def feed(self, data: bytes) -> Progress: ...

    def close(self) -> Progress:
        """The bytes have ended; a stream that was not complete gives ``failure`` (`bad_answer`)."""
        ...

    def fail(self, said: bytes) -> bytes:
        """``said``: the encoder's ``fail``, as if nothing had been written yet. -> the same after what was passed on."""
        ...


class Inspected(msgspec.Struct, frozen=True):
    """A whole answer that passes through in its own dialect, and what was seen in it."""

    body: bytes
    usage: Usage | None = None
    finish: Finish | None = None
    failure: Failure | None = None


class NewRelay(Protocol):
    def __call__(self, *, echo: str | None, keep_usage: bool) -> Relay:
        """``echo``: the model name the client is to see, None to leave it. ``keep_usage``: pass the usage frame on."""
        ...


class NewEncoder(Protocol):
    def __call__(self, request: Request, *, model: str, id: str, created_s: int) -> Encoder:  # noqa: A002
        """``model``: the name the client is to see. ``id`` and ``created_s``: used where the provider gave none."""
        ...


class FormatAnswer(Protocol):
    def __call__(
        self,
        answer: Answer | Vectors | TokenCount,
        request: Request,
        *,
        model: str,
        id: str,  # noqa: A002
        created_s: int,
    ) -> bytes: ...


class Surface(msgspec.Struct, frozen=True):
    """What clients speak at one path.

    parse_request: headers (lower-case), body and target (path with query, as sent) -> Request; raises BadRequest for
    what can never be answered.
    parse_content: -> Chat or Embed; raises BadRequest naming the field it cannot carry.
    format_answer, new_encoder: the way back. format_failure: body of an error answer.
    """

    name: str
    dialect: Dialect
    operation: Operation
    parse_request: Callable[[Headers, bytes, str], Request]
    parse_content: Callable[[Request], Content]
    format_answer: FormatAnswer
    new_encoder: NewEncoder
    format_failure: Callable[[Failure, str], bytes]
    """(failure, request id) -> body"""
    stream_type: str = "text/event-stream"


class Adapter(msgspec.Struct, frozen=True):
    """What providers speak.

    format_call: content -> Call; raises BadRequest naming the field the dialect cannot carry.
    splice_call: the client's own body with only the model (and asked-for usage, overrides) put in; None in adapters
    that no surface shares a dialect with. parse_answer: a whole 2xx body. parse_failure: a refused call.
    new_relay, inspect_answer: the verbatim lane's eyes. format_probe, parse_models: see ``Provider.probe``.
    """

    dialect: Dialect
    operations: frozenset[Operation]
    format_call: Callable[[Request, Content, Deployment, Overrides], Call]
    parse_answer: Callable[[Request, bytes], Answer | Vectors | TokenCount | Failure]
    new_decoder: Callable[[Request], Decoder]
    parse_failure: Callable[[int, Headers, bytes], Failure]
    format_probe: Callable[[Provider], Call]
    parse_models: Callable[[bytes], tuple[Listed, ...]]
    splice_call: Callable[[Request, Deployment, Overrides], Call] | None = None
    new_relay: NewRelay | None = None
    inspect_answer: Callable[[bytes, str | None], Inspected] | None = None
    """(body, echo) -> Inspected"""
    passes_verbatim: Callable[[Request, Provider], bool] = lambda request, provider: provider.quirks.verbatim
    """Asked only where the dialects agree: whether this server takes this body as it is."""


class BadRequest(Exception):  # noqa: N818 - a verdict on the caller's input
    """The caller's input cannot be understood, or not be carried; ``failure`` says which field."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.failure = Failure(FailureKind.BAD_REQUEST, message, param=param, code=code)
