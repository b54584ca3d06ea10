"""One client request: read it, have it understood and decided, answer it. The walk that docs/architecture.md describes."""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp import web

from llmproxyd.cache.headers import Outcome
from llmproxyd.exchange.account import Ending
from llmproxyd.exchange.lane import Voice
from llmproxyd.server.admission import check_json
from llmproxyd.server.answer import Answer, Source, known_headers
from llmproxyd.server.async_calls import AsyncCalls, prefers_async
from llmproxyd.server.background import Background
from llmproxyd.server.body import BODY_TIMEOUT_S, read_body
from llmproxyd.server.intake import Intake, Visit
from llmproxyd.server.kept import KeptAnswers, Told, kept_headers
from llmproxyd.server.peer import is_local, is_own
from llmproxyd.server.reply import CLIENT_STALL_S, REQUEST_ID, Written, send
from llmproxyd.surfaces.ollama_load import answer_load
from llmproxyd.surfaces.responses_background import wants_background
from llmproxyd.values.contracts import Surface
from llmproxyd.values.failure import ExchangeFailed, Failure, FailureKind
from llmproxyd.values.plan import Plan
from llmproxyd.values.request import Operation, Request

PING_AFTER_S = 5.0
_NO_BACKGROUND = Failure(
    FailureKind.BAD_REQUEST,
    "Answers in the background are not offered here; leave out 'background' and wait, or use 'stream'.",
    param="background",
    code="unsupported_parameter",
)


class Handler:
    """Serves every generating call of every surface. One for the whole daemon; holds nothing of a request."""

    def __init__(
        self,
        intake: Intake,
        *,
        max_body_bytes: int,
        ping_after_s: float = PING_AFTER_S,
        body_timeout_s: float = BODY_TIMEOUT_S,
        client_stall_s: float = CLIENT_STALL_S,
        async_calls: AsyncCalls | None = None,
        kept: KeptAnswers | None = None,
        background: Background | None = None,
    ) -> None:
        self._intake = intake
        self._async_calls = async_calls
        self._kept = kept
        self._background = background
        self._max_body_bytes = max_body_bytes
        self._ping_after_s = ping_after_s
        self._body_timeout_s = body_timeout_s
        self._client_stall_s = client_stall_s

    async def serve(self, http: web.BaseRequest, surface: Surface) -> web.StreamResponse:
        visit = self._intake.admit(surface, http.headers)
        try:
            self._intake.enter(visit, local=is_local(http) and is_own(http), target=http.raw_path)
            return await self._serve(http, visit)
        except ExchangeFailed as failed:
            return await self._refuse(http, visit, failed.failure)
        except (asyncio.CancelledError, ConnectionError):
            self._intake.gone(visit)
            raise
        except Exception as bug:
            # The boundary tells the client; the record says what it was.
            http[REQUEST_ID] = visit.record.request_id
            self._intake.crashed(visit, bug, begun=bool(http.writer.output_size))
            raise
        finally:
            self._intake.leave(visit)

    async def _serve(self, http: web.BaseRequest, visit: Visit) -> web.StreamResponse:
        intake = self._intake
        body = await self._read(http)
        request = intake.understand(visit, body, http.raw_path)
        recalled = None
        if self._background is not None and request.document.get("previous_response_id") is not None:
            recalled = await self._background.recall(request, visit.owner)
        request, inherited = intake.resume(visit, request, recalled)
        await intake.look(visit, request)
        plan = intake.decide(visit, request, inherited)
        loaded = answer_load(request, int(intake.wall())) if plan.failure is None else None
        if loaded is not None:
            return await self._say(http, visit, loaded)
        later = self._later(request, visit)
        if later is None:
            return await self._exchange(http, visit, request, plan)
        if plan.failure is not None:
            raise ExchangeFailed(plan.failure)
        return await later.accept(http, visit, request, inherited)

    def _later(self, request: Request, visit: Visit) -> AsyncCalls | Background | None:
        """Who keeps the request to be answered later, if that is wished."""
        if wants_background(request):
            if self._background is None:
                raise ExchangeFailed(_NO_BACKGROUND)
            return self._background
        if "Prefer" in visit.headers and prefers_async(request, visit.headers):
            return self._async_calls
        return None

    async def _read(self, http: web.BaseRequest) -> bytes:
        refused = check_json(http.headers)
        if refused is not None:
            raise ExchangeFailed(refused)
        return await read_body(http, self._max_body_bytes, timeout_s=self._body_timeout_s)

    async def _exchange(
        self, http: web.BaseRequest, visit: Visit, request: Request, plan: Plan
    ) -> web.StreamResponse:
        voice = self._intake.voice(visit, request)
        use = None if self._kept is None else self._kept.plan(visit, request, plan)
        if self._kept is None or use is None:
            return await self._answer(http, visit, voice, plan, self._intake.open(visit, voice, plan))
        told = await self._kept.find(visit, voice, use)
        if told is not None:
            return await self._tell(http, visit, told)
        visit.record.cache = Outcome.MISS.value
        try:
            return await self._answer(http, visit, voice, plan, self._kept.share(visit, voice, plan, use))
        except ExchangeFailed as failed:
            stale = await self._kept.find_stale(visit, voice, use, plan.fallback, failed.failure)
            if stale is None:
                raise
            return await self._tell(http, visit, stale)

    async def _answer(
        self, http: web.BaseRequest, visit: Visit, voice: Voice, plan: Plan, source: Source
    ) -> web.StreamResponse:
        """Write what ``source`` says to the client, and close it."""
        request = voice.request
        answer = Answer(
            http,
            voice,
            source,
            visit.record,
            self._intake.clock,
            visit.admitted_s,
            ping_after_s=self._ping_after_s,
            client_stall_s=self._client_stall_s,
        )
        answer.heard = self._intake.listener(visit, request, plan)
        try:
            if request.operation is Operation.COUNT_TOKENS:
                return await self._count(http, visit, voice, plan, answer)
            return await (answer.stream() if request.stream else answer.whole())
        finally:
            await source.close()

    async def _tell(self, http: web.BaseRequest, visit: Visit, told: Told) -> web.StreamResponse:
        """A kept answer; a stream is there at once, in one piece."""
        record = visit.record
        record.status, record.ending, record.bytes_out = 200, Ending.SERVED, len(told.body)
        headers = {**known_headers(record), **kept_headers(told)}
        return await send(http, 200, told.body, headers, content_type=told.content_type)

    async def _count(
        self, http: web.BaseRequest, visit: Visit, voice: Voice, plan: Plan, answer: Answer
    ) -> Written:
        """The provider's own counter where it has one and answers; else our estimate, marked as such."""
        if plan.candidates and self._intake.counts(plan.candidates[0].deployment):
            with contextlib.suppress(ExchangeFailed):
                return await answer.whole()
        elif plan.failure is not None:
            raise ExchangeFailed(plan.failure)
        warning = {"x-llmproxyd-warnings": "input tokens are estimated"}
        return await self._say(http, visit, self._intake.estimate(voice), warning)

    async def _say(
        self, http: web.BaseRequest, visit: Visit, body: bytes, more: dict[str, str] | None = None
    ) -> Written:
        """What we know ourselves, without asking anybody."""
        record = visit.record
        record.status, record.ending, record.bytes_out = 200, Ending.SERVED, len(body)
        return await send(http, 200, body, {**known_headers(record), **(more or {})})

    async def _refuse(self, http: web.BaseRequest, visit: Visit, failure: Failure) -> Written:
        refusal = self._intake.refuse(visit, failure)
        return await send(
            http, refusal.status, refusal.body, refusal.headers, close=not http.content.at_eof()
        )
