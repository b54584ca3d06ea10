"""How one exchange's outcome is written to the client: its headers, its stream, the signs of life before it begins."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Protocol

from aiohttp import web

from llmproxyd.exchange.account import Ending, ExchangeRecord
from llmproxyd.exchange.alarm import Alarm
from llmproxyd.exchange.lane import Voice
from llmproxyd.server.reply import Response, Written, let_go, send
from llmproxyd.values.contracts import Call, Encoder
from llmproxyd.values.cost import NANOS_PER_USD
from llmproxyd.values.failure import ExchangeFailed, Failure
from llmproxyd.values.snapshot import Deployment

_MAX_WARNINGS_CHARS = 1000
_UNFIT = re.compile(r"[^\x20-\x7e]")
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", "Server": "llmproxyd"}


def known_headers(record: ExchangeRecord) -> dict[str, str]:
    """Headers that are known whatever becomes of the exchange."""
    head = {
        "x-request-id": record.request_id,
        "x-llmproxyd-request-id": record.request_id,
        "x-llmproxyd-generation": str(record.generation),
        "x-llmproxyd-cache": record.cache,
    }
    if record.label:
        head["x-llmproxyd-label"] = record.label
    if record.surface.startswith("anthropic"):
        head["request-id"] = record.request_id  # where Anthropic's clients look
    return head


def failure_headers(failure: Failure, record: ExchangeRecord) -> dict[str, str]:
    headers = {"x-llmproxyd-attempts": str(record.sent), "Cache-Control": "no-store"}
    if record.sent or (not failure.retryable and failure.retry_after_s is None):
        # Whatever could be tried has been tried here, or nothing ever could be; a client that repeats it multiplies the
        # load.
        headers["x-should-retry"] = "false"
    if failure.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, -int(-failure.retry_after_s // 1)))
    return headers


class Lastly(Protocol):
    def fail(self, failure: Failure) -> bytes:
        """The last thing the client hears when the answer breaks off."""
        ...


class Spoken(Protocol):
    """An answer at its commit."""

    @property
    def deployment(self) -> Deployment: ...
    @property
    def call(self) -> Call: ...
    @property
    def lane(self) -> Lastly: ...
    @property
    def first(self) -> bytes: ...


class Source(Protocol):
    """Where an answer comes from: an exchange of its own, or somebody else's. As ``exchange.run.Exchange``."""

    @property
    def waited_s(self) -> float: ...

    @property
    def cost_nanos(self) -> int | None: ...

    async def commit(self) -> Spoken: ...

    def rest(self) -> AsyncGenerator[bytes, None]: ...

    def end(self) -> None: ...

    async def close(self) -> None: ...


def commit_headers(record: ExchangeRecord, running: Spoken, waited_s: float) -> dict[str, str]:
    """What is known at the commit, for the answer's head; noted in the record, whose ``first_content_s`` is known.

    waited_s: how much of the time up to the commit was the providers'.
    """
    deployment, first_content_s = running.deployment, record.first_content_s or 0.0
    record.deployment = deployment
    record.overhead_s = max(0.0, first_content_s - waited_s)
    headers = known_headers(record)
    headers["x-llmproxyd-provider"] = deployment.provider.name
    headers["x-llmproxyd-model"] = deployment.model
    headers["x-llmproxyd-attempts"] = str(record.sent + 1)
    headers["x-llmproxyd-overhead-ms"] = f"{record.overhead_s * 1000:.2f}"
    if running.call.warnings:
        headers["x-llmproxyd-warnings"] = header_text(", ".join(running.call.warnings))
    return headers


def add_cost(headers: dict[str, str], exchange: Source) -> None:
    """What a whole answer cost, where that is known."""
    cost_nanos = exchange.cost_nanos
    if cost_nanos is not None:
        headers["x-llmproxyd-cost-usd"] = format_usd(cost_nanos)


class Answer:
    """How one exchange's outcome is written to the client."""

    def __init__(
        self,
        http: web.BaseRequest,
        voice: Voice,
        exchange: Source,
        record: ExchangeRecord,
        clock: Callable[[], float],
        admitted_s: float,
        ping_after_s: float,
        client_stall_s: float,
    ) -> None:
        self._http = http
        self._voice = voice
        self._exchange = exchange
        self._record = record
        self._clock = clock
        self._admitted_s = admitted_s
        self._ping_after_s = ping_after_s
        self._client_stall_s = client_stall_s
        self._patience: Alarm | None = None
        self.heard: Callable[[bytes], None] | None = None

    async def whole(self) -> Written:
        running = await self._exchange.commit()
        headers = self._headers(running)
        add_cost(headers, self._exchange)
        if self.heard is not None:
            self.heard(running.first)
        response = await send(self._http, 200, running.first, headers)
        self._served(len(running.first))
        return response

    async def stream(self) -> web.StreamResponse:
        """Raises ConnectionError if the client is gone, or reads nothing."""
        try:
            with Alarm(None) as self._patience:
                return await self._stream()
        except TimeoutError:
            raise let_go(self._http.transport) from None

    async def _stream(self) -> web.StreamResponse:
        opening = _Opening(self._http, self._voice, {**known_headers(self._record), **STREAM_HEADERS})
        opening.ping_after(self._ping_after_s)
        try:
            running = await self._exchange.commit()
        except ExchangeFailed as failed:
            response = await opening.stop()
            if response is None:
                raise
            return await self._end_in_stream(response, opening.encoder.fail(failed.failure), failed.failure)
        except BaseException:
            opening.cancel()
            raise
        response = await opening.stop()
        if response is None:
            response = opening.respond({**self._headers(running), **STREAM_HEADERS})
            await response.prepare(self._http)
        else:
            self._headers(running)
        return await self._relay(response, running)

    async def _relay(self, response: Response, running: Spoken) -> Response:
        try:
            await self._write(response, running.first)
            async with contextlib.aclosing(self._exchange.rest()) as pieces:
                async for piece in pieces:
                    await self._write(response, piece)
        except ExchangeFailed as failed:
            return await self._end_in_stream(response, running.lane.fail(failed.failure), failed.failure)
        await self._patiently(response.write_eof())
        self._served(self._record.bytes_out)
        return response

    async def _write(self, response: Response, piece: bytes) -> None:
        self._record.bytes_out += len(piece)
        if self.heard is not None:
            self.heard(piece)
        await self._patiently(response.write(piece))

    async def _patiently(self, writing: Awaitable[None]) -> None:
        assert self._patience is not None, "only streams wait for their reader"
        self._patience.set(asyncio.get_running_loop().time() + self._client_stall_s)
        await writing
        self._patience.set(None)

    async def _end_in_stream(self, response: Response, last: bytes, failure: Failure) -> Response:
        """The 200 is out: the failure is told inside the stream, and nothing follows it."""
        self._record.status, self._record.ending, self._record.failure = 200, Ending.CUT, failure
        await self._patiently(response.write(last))
        await self._patiently(response.write_eof())
        return response

    def _headers(self, running: Spoken) -> dict[str, str]:
        self._record.first_content_s = self._clock() - self._admitted_s
        return commit_headers(self._record, running, self._exchange.waited_s)

    def _served(self, sent_bytes: int) -> None:
        self._record.status, self._record.ending, self._record.bytes_out = 200, Ending.SERVED, sent_bytes
        self._exchange.end()


class _Opening:
    """A stream before its commit: while attempts go on, a client that waits long gets its 200 and signs of life."""

    def __init__(self, http: web.BaseRequest, voice: Voice, headers: Mapping[str, str]) -> None:
        self._http = http
        self._voice = voice
        self._headers = headers
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._response: Response | None = None
        self._encoder: Encoder | None = None

    @property
    def encoder(self) -> Encoder:
        if self._encoder is None:
            self._encoder = self._voice.new_encoder()
        return self._encoder

    def ping_after(self, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(delay_s, self._start, delay_s)

    def _start(self, delay_s: float) -> None:
        if self.encoder.ping():
            self._task = asyncio.ensure_future(self._ping(delay_s))

    async def _ping(self, delay_s: float) -> None:
        self._response = self.respond(self._headers)
        # A client that is gone is found by the next who writes.
        with contextlib.suppress(ConnectionError):
            await self._response.prepare(self._http)
            while True:
                await self._response.write(self.encoder.ping())
                await asyncio.sleep(delay_s)

    def respond(self, headers: Mapping[str, str]) -> Response:
        response = Response(status=200, headers=headers)
        response.headers["Content-Type"] = self._voice.surface.stream_type
        return response

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    async def stop(self) -> Response | None:
        """End the pings. The response if it has begun."""
        self.cancel()
        if self._task is None:
            return None
        await asyncio.wait({self._task})
        if not self._task.cancelled() and (error := self._task.exception()) is not None:
            raise error
        return self._response


def header_text(text: str) -> str:
    """Fit for a header: warnings name fields of the client's own making."""
    return _UNFIT.sub("?", text[:_MAX_WARNINGS_CHARS])


def format_usd(nanos: int) -> str:
    """Nano-dollars -> decimal USD without exponent or trailing zeros, e.g. 1076800 -> ``0.0010768``."""
    whole, part = divmod(nanos, NANOS_PER_USD)
    return f"{whole}.{part:09d}".rstrip("0").rstrip(".")
