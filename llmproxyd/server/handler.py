"""One client request: understand, decide, exchange, answer. The walk that docs/architecture.md describes.

The generation in force is taken once, when the request is admitted, and kept to the end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace

from aiohttp import web

from llmproxyd.exchange.account import Account, Ending, ExchangeRecord
from llmproxyd.exchange.lane import Voice
from llmproxyd.exchange.run import Exchange
from llmproxyd.exchange.upstream import Upstream
from llmproxyd.in_force import Generation, InForce
from llmproxyd.routing.decide import decide
from llmproxyd.server.admission import check_json
from llmproxyd.server.answer import Answer, failure_headers, known_headers
from llmproxyd.server.body import BODY_TIMEOUT_S, read_body
from llmproxyd.server.ids import new_request_id
from llmproxyd.server.question import build_question, claims_of, read_deadline_s
from llmproxyd.server.reply import CLIENT_STALL_S, REQUEST_ID, Written, send
from llmproxyd.server.responses import ResponseKeeper
from llmproxyd.state.registry import Registry
from llmproxyd.surfaces.ollama_load import answer_load
from llmproxyd.values.answer import TokenCount
from llmproxyd.values.contracts import Adapter, BadRequest, Surface
from llmproxyd.values.failure import ExchangeFailed, Failure, FailureKind
from llmproxyd.values.plan import Plan, Prompt
from llmproxyd.values.request import Dialect, Operation, Request
from llmproxyd.values.snapshot import Deployment, Privacy

PING_AFTER_S = 5.0


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
        body_timeout_s: float = BODY_TIMEOUT_S,
        client_stall_s: float = CLIENT_STALL_S,
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
        self._body_timeout_s = body_timeout_s
        self._client_stall_s = client_stall_s

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
        except Exception as bug:
            self._crashed(http, record, bug)
            raise
        finally:
            record.total_s = self._clock() - admitted_s
            self._account.close(record)

    def _crashed(self, http: web.BaseRequest, record: ExchangeRecord, bug: Exception) -> None:
        """The boundary tells the client; the record says what it was."""
        http[REQUEST_ID] = record.request_id
        record.status, record.ending = (200, Ending.CUT) if http.writer.output_size else (500, Ending.FAILED)
        record.failure = Failure(FailureKind.INTERNAL, "llmproxyd failed", detail=type(bug).__name__)

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
            return await send(http, 200, loaded, known_headers(record))
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
        answer = Answer(
            http,
            voice,
            exchange,
            record,
            self._clock,
            admitted_s,
            ping_after_s=self._ping_after_s,
            client_stall_s=self._client_stall_s,
        )
        answer.heard = self._keeper.listener(request, plan.label)
        try:
            if request.operation is Operation.COUNT_TOKENS:
                return await self._count(http, voice, plan, answer, record)
            return await (answer.stream() if request.stream else answer.whole())
        finally:
            await exchange.close()

    async def _count(
        self, http: web.BaseRequest, voice: Voice, plan: Plan, answer: Answer, record: ExchangeRecord
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
        headers = {**known_headers(record), "x-llmproxyd-warnings": "input tokens are estimated"}
        return await send(http, 200, body, headers)

    def _counts(self, deployment: Deployment) -> bool:
        adapter = self._adapters.get(deployment.provider.dialect)
        return adapter is not None and Operation.COUNT_TOKENS in adapter.operations

    async def _understand(self, http: web.BaseRequest, surface: Surface) -> Request:
        refused = check_json(http.headers)
        if refused is not None:
            raise ExchangeFailed(refused)
        body = await read_body(http, self._max_body_bytes, timeout_s=self._body_timeout_s)
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
            {**known_headers(record), **failure_headers(failure, record)},
            close=not http.content.at_eof(),
        )


def _higher(claimed: str | None, inherited: str, privacy: Privacy) -> str:
    """The higher of a request's own label and its conversation's; an unknown claim is left for ``decide`` to refuse."""
    own, past = None if claimed is None else privacy.rank(claimed), privacy.rank(inherited)
    if claimed is not None and (own is None or past is None or own >= past):
        return claimed
    # A label that a reload has renamed since is nobody's any more: then the highest there is.
    return inherited if past is not None else privacy.labels[-1]
