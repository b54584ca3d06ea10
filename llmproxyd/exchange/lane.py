"""The two lanes an answer can take to the client, behind one face.

Verbatim: client and provider speak the same dialect, the bytes pass and are only watched. Translated: provider's
bytes -> canonical events -> client's bytes. The exchange knows neither dialect; it sees ``Progress``.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from llmproxyd.adapters.openai_responses import needs_responses, prefers_responses
from llmproxyd.values.answer import (
    CONTENT_EVENTS,
    Answer,
    Event,
    Failed,
    Finish,
    Finished,
    Pinged,
    Started,
    TokenCount,
    UsageReported,
    unfold,
)
from llmproxyd.values.contracts import Adapter, Call, Decoder, Encoder, Progress, Relay, Surface
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure
from llmproxyd.values.request import Dialect, Operation, Overrides, Request
from llmproxyd.values.snapshot import Deployment


class Voice(msgspec.Struct, frozen=True):
    """How we speak to this client: the name the model goes by, and ids where the provider gives none."""

    request: Request
    surface: Surface
    model: str
    id: str
    created_s: int

    def new_encoder(self) -> Encoder:
        return self.surface.new_encoder(self.request, model=self.model, id=self.id, created_s=self.created_s)


class Whole(msgspec.Struct, frozen=True):
    """An answer that came in one piece, in the client's dialect."""

    body: bytes
    usage: Usage | None = None
    finish: Finish | None = None
    failure: Failure | None = None


class Lane(Protocol):
    """One attempt's way from a provider's bytes to the client's."""

    name: str

    def format_call(self, deployment: Deployment, overrides: Overrides) -> Call: ...

    def feed(self, data: bytes) -> Progress: ...

    def close(self) -> Progress: ...

    def fail(self, failure: Failure) -> bytes: ...

    def whole(self, body: bytes) -> Whole: ...

    def whole_as_stream(self, body: bytes) -> Progress:
        """A server was asked for a stream and answered in one piece: what the client's stream then is."""
        ...


def choose_dialect(request: Request, deployment: Deployment) -> Dialect:
    """The provider's dialect; or its second one, Responses.

    That is taken where the client speaks it, where a chat would be refused (tools with an effort), and for every other
    client of those models: what has to be translated anyway keeps its thoughts there, and loses them in a chat.
    """
    provider = deployment.provider
    # Azure's older, dated paths hold the deployment and have no Responses.
    offered = provider.quirks.responses and provider.api_version in (None, "v1")
    if not offered or request.operation is not Operation.CHAT:
        return provider.dialect
    if request.dialect is Dialect.OPENAI_RESPONSES:
        return Dialect.OPENAI_RESPONSES
    # Either may be a name of the operator's own: the plain id, or what the provider calls it (an Azure deployment).
    names = {deployment.model, deployment.upstream}
    if request.dialect is Dialect.OPENAI_CHAT:
        needed = any(needs_responses(request.document, name) for name in names)
    else:
        needed = any(prefers_responses(name) for name in names)
    return Dialect.OPENAI_RESPONSES if needed else provider.dialect


def choose_lane(voice: Voice, adapter: Adapter, deployment: Deployment) -> Lane:
    """Verbatim wherever the dialects agree and the server takes bodies as they are."""
    able = adapter.splice_call and adapter.new_relay and adapter.inspect_answer
    if voice.surface.dialect is not adapter.dialect or not able:
        return TranslatedLane(voice, adapter)
    if not adapter.passes_verbatim(voice.request, deployment.provider):
        return TranslatedLane(voice, adapter)
    return VerbatimLane(voice, adapter, deployment)


class VerbatimLane:
    name = "verbatim"

    def __init__(self, voice: Voice, adapter: Adapter, deployment: Deployment) -> None:
        self._voice = voice
        self._adapter = adapter
        self._echo = None if voice.model == deployment.upstream else voice.model
        self._relay: Relay | None = None

    def format_call(self, deployment: Deployment, overrides: Overrides) -> Call:
        assert self._adapter.splice_call is not None
        return self._adapter.splice_call(self._voice.request, deployment, overrides)

    def _watched(self) -> Relay:
        assert self._adapter.new_relay is not None
        self._relay = self._adapter.new_relay(echo=self._echo, keep_usage=self._voice.request.wants_usage)
        return self._relay

    def feed(self, data: bytes) -> Progress:
        return (self._relay or self._watched()).feed(data)

    def close(self) -> Progress:
        return (self._relay or self._watched()).close()

    def fail(self, failure: Failure) -> bytes:
        said = self._voice.new_encoder().fail(failure)
        return said if self._relay is None else self._relay.fail(said)

    def whole(self, body: bytes) -> Whole:
        assert self._adapter.inspect_answer is not None
        seen = self._adapter.inspect_answer(body, self._echo)
        return Whole(seen.body, seen.usage, seen.finish, seen.failure)

    def whole_as_stream(self, body: bytes) -> Progress:
        return TranslatedLane(self._voice, self._adapter).whole_as_stream(body)


class TranslatedLane:
    name = "translated"

    def __init__(self, voice: Voice, adapter: Adapter) -> None:
        self._voice = voice
        self._adapter = adapter
        self._decoder: Decoder | None = None
        self._encoder: Encoder | None = None
        self._held = b""
        self._committed = False

    def format_call(self, deployment: Deployment, overrides: Overrides) -> Call:
        content = self._voice.surface.parse_content(self._voice.request)
        return self._adapter.format_call(self._voice.request, content, deployment, overrides)

    def feed(self, data: bytes) -> Progress:
        if self._decoder is None:
            self._decoder = self._adapter.new_decoder(self._voice.request)
        return self._say(self._decoder.feed(data))

    def close(self) -> Progress:
        if self._decoder is None:
            self._decoder = self._adapter.new_decoder(self._voice.request)
        return self._end(self._decoder.close())

    def fail(self, failure: Failure) -> bytes:
        return self.speaker().fail(failure)

    def whole(self, body: bytes) -> Whole:
        answer = self._adapter.parse_answer(self._voice.request, body)
        if isinstance(answer, Failure):
            return Whole(b"", failure=answer)
        voice = self._voice
        text = voice.surface.format_answer(
            answer, voice.request, model=voice.model, id=voice.id, created_s=voice.created_s
        )
        finish = answer.choices[0].finish if isinstance(answer, Answer) and answer.choices else None
        usage = None if isinstance(answer, TokenCount) else answer.usage
        return Whole(text, usage, finish)

    def whole_as_stream(self, body: bytes) -> Progress:
        answer = self._adapter.parse_answer(self._voice.request, body)
        if isinstance(answer, Failure):
            return Progress(failure=answer)
        assert isinstance(answer, Answer), "only conversations stream"
        return self._end(unfold(answer))

    def speaker(self) -> Encoder:
        """Who writes the client's stream: one from its first byte to its last."""
        if self._encoder is None:
            self._encoder = self._voice.new_encoder()
        return self._encoder

    def _end(self, events: list[Event]) -> Progress:
        last = self._say(events)
        if last.failure is not None:
            return last
        # An answer without content is one nevertheless: what was held back opens it.
        held, self._held = self._held, b""
        out = held + last.out + self.speaker().close()
        return Progress(out, last.content, last.usage, last.finish, None, done=True)

    def _say(self, events: list[Event]) -> Progress:
        """Encode ``events``; until content comes, what was said is held back, since the attempt may still fail."""
        encoder = self.speaker()
        out: list[bytes] = []
        content, usage, finish, failure = False, None, None, None
        for event in events:
            match event:
                case Failed():
                    failure = event.failure
                    break
                case Pinged():
                    if self._committed:
                        out.append(encoder.ping())
                    continue
                case Finished():
                    finish = finish or event.reason
                case UsageReported() | Started():
                    usage = event.usage or usage
            content = content or isinstance(event, CONTENT_EVENTS)
            out.append(encoder.feed(event))
        text = b"".join(out)
        if content and not self._committed:
            self._committed = True
            text, self._held = self._held + text, b""
        elif not self._committed:
            self._held += text
            text = b""
        return Progress(text, content, usage, finish, failure)
