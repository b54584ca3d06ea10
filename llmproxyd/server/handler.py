"""One client request: understand, decide, exchange, answer. The walk that docs/architecture.md describes.

The generation in force is taken once, when the request is admitted, and kept to the end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace

from aiohttp import web

from llmproxyd.exchange.account import Account, Ending, ExchangeRecord, price
from llmproxyd.exchange.attempt import RunningAttempt
from llmproxyd.exchange.lane import Voice
from llmproxyd.exchange.run import Exchange
from llmproxyd.exchange.upstream import Upstream
from llmproxyd.in_force import Generation, InForce
from llmproxyd.routing.decide import decide
from llmproxyd.server.admission import check_json
from llmproxyd.server.ids import new_request_id
from llmproxyd.server.question import build_question, claims_of, read_deadline_s
from llmproxyd.server.reply import Response, Written, send
from llmproxyd.server.responses import ResponseKeeper
from llmproxyd.state.registry import Registry
from llmproxyd.surfaces.ollama_load import answer_load
from llmproxyd.values.answer import TokenCount
from llmproxyd.values.contracts import Adapter, BadRequest, Encoder, Surface
from llmproxyd.values.cost import NANOS_PER_USD
from llmproxyd.values.failure import ExchangeFailed, Failure, FailureKind
from llmproxyd.values.plan import Plan, Prompt
from llmproxyd.values.request import Dialect, Operation, Request
from llmproxyd.values.snapshot import Deployment, Privacy

PING_AFTER_S = 5.0
BODY_TIMEOUT_S = 60.0


class Handler:
    """Serves every generating call of every surface. One for the whole daemon; holds nothing of a request."""

    def __init__(
        self,
        *,
        in_force: InForce,
        registry: Registry,
        upstream: Upstream,
        adapters: Mapping[Dialect, Adapter],
        account: Account,
        keeper: ResponseKeeper,
        new_prompt: Callable[[Request, Surface], Prompt],
        max_body_bytes: int,
        clock: Callable[[], float],
        wall: Callable[[], float],
        ping_after_s: float = PING_AFTER_S,
    ) -> None:
        self._in_force = in_force
        self._registry = registry
        self._upstream = upstream
        self._adapters = adapters
        self._account = account
        self._keeper = keeper
        self._new_prompt = new_prompt
        self._max_body_bytes = max_body_bytes
        self._clock = clock
        self._wall = wall
        self._ping_after_s = ping_after_s

    async def serve(self, http: web.BaseRequest, surface: Surface) -> web.StreamResponse:
        admitted_s = self._clock()
        generation = self._in_force.current
        record = ExchangeRecord(new_request_id(), generation.number, surface=surface.name)
        try:
            return await self._serve(http, surface, generation, record, admitted_s)
        except ExchangeFailed as failed:
            return await self._refuse(http, surface, record, failed.failure)
        except (asyncio.CancelledError, ConnectionError):
            if record.ending is Ending.FAILED:
                record.ending = Ending.CANCELLED
            raise
        finally:
            record.total_s = self._clock() - admitted_s
            self._account.close(record)

    async def _serve(
        self,
        http: web.BaseRequest,
        surface: Surface,
        generation: Generation,
        record: ExchangeRecord,
        admitted_s: float,
    ) -> web.StreamResponse:
        request, inherited = self._keeper.resume(await self._understand(http, surface))
        record.request = request
        plan = self._decide(http, surface, request, generation, record, inherited)
        record.label = plan.label
        loaded = answer_load(request, int(self._wall())) if plan.failure is None else None
        if loaded is not None:
            record.status, record.ending, record.bytes_out = 200, Ending.SERVED, len(loaded)
            return await send(http, 200, loaded, _head(record))
        voice = Voice(request, surface, request.model, record.request_id, int(self._wall()))
        exchange = Exchange(
            voice=voice,
            plan=plan,
            upstream=self._upstream,
            adapters=self._adapters,
            account=self._account,
            record=record,
            admitted_s=admitted_s,
            clock=self._clock,
        )
        answer = _Answer(http, voice, exchange, record, self._clock, admitted_s, self._ping_after_s)
        answer.heard = self._keeper.listener(request, plan.label)
        try:
            if request.operation is Operation.COUNT_TOKENS:
                return await self._count(http, voice, plan, answer, record)
            return await (answer.stream() if request.stream else answer.whole())
        finally:
            await exchange.close()

    async def _count(
        self, http: web.BaseRequest, voice: Voice, plan: Plan, answer: _Answer, record: ExchangeRecord
    ) -> Written:
        """The provider's own counter where it has one and answers; else our estimate, marked as such."""
        if plan.candidates and self._counts(plan.candidates[0].deployment):
            with contextlib.suppress(ExchangeFailed):
                return await answer.whole()
        elif plan.failure is not None:
            raise ExchangeFailed(plan.failure)
        tokens = self._new_prompt(voice.request, voice.surface).tokens_in
        body = voice.surface.format_answer(
            TokenCount(tokens, estimated=True),
            voice.request,
            model=voice.model,
            id=voice.id,
            created_s=voice.created_s,
        )
        record.status, record.ending, record.bytes_out = 200, Ending.SERVED, len(body)
        headers = {**_head(record), "x-llmproxyd-warnings": "input tokens are estimated"}
        return await send(http, 200, body, headers)

    def _counts(self, deployment: Deployment) -> bool:
        adapter = self._adapters.get(deployment.provider.dialect)
        return adapter is not None and Operation.COUNT_TOKENS in adapter.operations

    async def _understand(self, http: web.BaseRequest, surface: Surface) -> Request:
        refused = check_json(http.headers)
        if refused is not None:
            raise ExchangeFailed(refused)
        body = await read_body(http, self._max_body_bytes)
        try:
            return surface.parse_request(http.headers, body, http.raw_path)
        except BadRequest as bad:
            raise ExchangeFailed(bad.failure) from None

    def _decide(
        self,
        http: web.BaseRequest,
        surface: Surface,
        request: Request,
        generation: Generation,
        record: ExchangeRecord,
        inherited: str | None,
    ) -> Plan:
        routes = generation.routes
        target = routes.resolve(request.model)
        readings = self._registry.readings(target.deployments if target else ())
        try:
            question = build_question(
                request,
                http.headers,
                self._new_prompt(request, surface),
                now_s=self._wall(),
                turn=self._registry.next_turn(),
            )
            record.claims = claims_of(question)
            if inherited is not None:
                question = replace(
                    question, label=_higher(question.label, inherited, routes.snapshot.privacy)
                )
            plan = decide(question, routes, readings)
            deadline_s = read_deadline_s(http.headers)
        except BadRequest as bad:
            raise ExchangeFailed(bad.failure) from None
        if deadline_s is not None and deadline_s < plan.fallback.deadline_s:
            plan = replace(plan, fallback=replace(plan.fallback, deadline_s=deadline_s))
        return plan

    async def _refuse(
        self, http: web.BaseRequest, surface: Surface, record: ExchangeRecord, failure: Failure
    ) -> Written:
        record.failure = failure
        record.status = failure.client_status
        return await send(
            http,
            record.status,
            surface.format_failure(failure, record.request_id),
            {**_head(record), **_failure_headers(failure, record)},
            close=not http.content.at_eof(),
        )


async def read_body(http: web.BaseRequest, limit_bytes: int) -> bytes:
    """The whole body. Raises ExchangeFailed: too long (413), too slow (408), or cut (400)."""
    declared = http.content_length
    if declared is not None and declared > limit_bytes:
        raise ExchangeFailed(_too_long(limit_bytes))
    try:
        if http.content.is_eof():
            body = await http.content.read()
        else:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await http.read()
    except web.HTTPRequestEntityTooLarge:
        raise ExchangeFailed(_too_long(limit_bytes)) from None
    except TimeoutError:
        message = f"The body did not arrive within {BODY_TIMEOUT_S:g} s."
        raise ExchangeFailed(Failure(FailureKind.BAD_REQUEST, message, status=408)) from None
    except web.RequestPayloadError:
        raise ExchangeFailed(
            Failure(FailureKind.BAD_REQUEST, "The body could not be read to its end.")
        ) from None
    if len(body) > limit_bytes:
        raise ExchangeFailed(_too_long(limit_bytes))
    return body


def _too_long(limit_bytes: int) -> Failure:
    return Failure(
        FailureKind.BAD_REQUEST,
        f"The body is longer than {limit_bytes} bytes, the limit set by --max-body.",
        status=413,
        code="request_too_large",
    )


def _head(record: ExchangeRecord) -> dict[str, str]:
    """Headers that are known whatever becomes of the exchange."""
    head = {
        "x-request-id": record.request_id,
        "x-llmproxyd-request-id": record.request_id,
        "x-llmproxyd-generation": str(record.generation),
        "x-llmproxyd-cache": "off",
    }
    if record.label:
        head["x-llmproxyd-label"] = record.label
    if record.surface.startswith("anthropic"):
        head["request-id"] = record.request_id  # where Anthropic's clients look
    return head


def _failure_headers(failure: Failure, record: ExchangeRecord) -> dict[str, str]:
    headers = {"x-llmproxyd-attempts": str(len(record.attempts)), "Cache-Control": "no-store"}
    if record.attempts:
        # Whatever could be tried has been tried here; a client that repeats it multiplies the load.
        headers["x-should-retry"] = "false"
    if failure.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, -int(-failure.retry_after_s // 1)))
    return headers


class _Answer:
    """How one exchange's outcome is written to the client."""

    def __init__(
        self,
        http: web.BaseRequest,
        voice: Voice,
        exchange: Exchange,
        record: ExchangeRecord,
        clock: Callable[[], float],
        admitted_s: float,
        ping_after_s: float,
    ) -> None:
        self._http = http
        self._voice = voice
        self._exchange = exchange
        self._record = record
        self._clock = clock
        self._admitted_s = admitted_s
        self._ping_after_s = ping_after_s
        self.heard: Callable[[bytes], None] | None = None

    async def whole(self) -> Written:
        running = await self._exchange.commit()
        headers = self._headers(running)
        cost_nanos = price(running.deployment, running.usage)
        if cost_nanos is not None:
            headers["x-llmproxyd-cost-usd"] = format_usd(cost_nanos)
        if self.heard is not None:
            self.heard(running.first)
        response = await send(self._http, 200, running.first, headers)
        self._served(len(running.first))
        return response

    async def stream(self) -> web.StreamResponse:
        opening = _Opening(self._http, self._voice, {**_head(self._record), **_STREAM_HEADERS})
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
            response = opening.respond({**self._headers(running), **_STREAM_HEADERS})
            await response.prepare(self._http)
        else:
            self._headers(running)
        return await self._relay(response, running)

    async def _relay(self, response: Response, running: RunningAttempt) -> Response:
        sent_bytes = len(running.first)
        if self.heard is not None:
            self.heard(running.first)
        await response.write(running.first)
        try:
            async with contextlib.aclosing(self._exchange.rest()) as pieces:
                async for piece in pieces:
                    sent_bytes += len(piece)
                    if self.heard is not None:
                        self.heard(piece)
                    await response.write(piece)
        except ExchangeFailed as failed:
            self._record.bytes_out = sent_bytes
            return await self._end_in_stream(response, running.lane.fail(failed.failure), failed.failure)
        await response.write_eof()
        self._served(sent_bytes)
        return response

    async def _end_in_stream(self, response: Response, last: bytes, failure: Failure) -> Response:
        """The 200 is out: the failure is told inside the stream, and the connection ends with it."""
        self._record.status, self._record.ending, self._record.failure = 200, Ending.CUT, failure
        await response.write(last)
        await response.write_eof()
        return response

    def _headers(self, running: RunningAttempt) -> dict[str, str]:
        """What is known at the commit, in the answer's head and in the record."""
        record, deployment = self._record, running.deployment
        now_s = self._clock()
        record.deployment = deployment
        record.first_content_s = now_s - self._admitted_s
        record.overhead_s = max(0.0, record.first_content_s - self._exchange.waited_s)
        headers = _head(record)
        headers["x-llmproxyd-provider"] = deployment.provider.name
        headers["x-llmproxyd-model"] = deployment.model
        headers["x-llmproxyd-attempts"] = str(len(record.attempts) + 1)
        headers["x-llmproxyd-overhead-ms"] = f"{record.overhead_s * 1000:.2f}"
        if running.call.warnings:
            headers["x-llmproxyd-warnings"] = ", ".join(running.call.warnings)
        return headers

    def _served(self, sent_bytes: int) -> None:
        self._record.status, self._record.ending, self._record.bytes_out = 200, Ending.SERVED, sent_bytes
        self._exchange.end()


_STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", "Server": "llmproxyd"}


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
        """End the pings. The response if it has begun. Raises ConnectionError if the client is gone."""
        self.cancel()
        if self._task is None:
            return None
        await asyncio.wait({self._task})
        if not self._task.cancelled() and (error := self._task.exception()) is not None:
            raise error
        return self._response


def _higher(claimed: str | None, inherited: str, privacy: Privacy) -> str:
    """The higher of a request's own label and its conversation's; an unknown claim is left for ``decide`` to refuse."""
    own, past = None if claimed is None else privacy.rank(claimed), privacy.rank(inherited)
    if claimed is not None and (own is None or past is None or own >= past):
        return claimed
    # A label that a reload has renamed since is nobody's any more: then the highest there is.
    return inherited if past is not None else privacy.labels[-1]


def format_usd(nanos: int) -> str:
    """Nano-dollars -> decimal USD without exponent or trailing zeros, e.g. 1076800 -> ``0.0010768``."""
    whole, part = divmod(nanos, NANOS_PER_USD)
    return f"{whole}.{part:09d}".rstrip("0").rstrip(".")
