"""Answers that are given again: found in the cache, or shared with an equal request that is under way.

Whatever may be kept flies in a task of its own and speaks to everybody who asked the same meanwhile; the client that
came first is one listener among others. What nobody may keep never comes here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from itertools import takewhile
from typing import TypeAlias

import msgspec

from llmproxyd.cache.entry import Cached
from llmproxyd.cache.flight import Broadcast, Flights, Seat
from llmproxyd.cache.headers import NOT_CACHED, Outcome, outcome_headers, read_wish
from llmproxyd.cache.key import Who
from llmproxyd.cache.policy import CacheRules, CacheUse, compile_cache, may_keep, plan_cache
from llmproxyd.cache.replay import form_of, replay
from llmproxyd.cache.response_cache import Hit, ResponseCache
from llmproxyd.exchange.books import Books
from llmproxyd.exchange.lane import Voice
from llmproxyd.exchange.run import Exchange
from llmproxyd.routing.telling import may_pass
from llmproxyd.server.answer import Spoken, header_text
from llmproxyd.server.intake import Intake, Visit
from llmproxyd.server.reply import JSON_TYPE
from llmproxyd.values.contracts import Adapter, BadRequest, Call
from llmproxyd.values.failure import ExchangeFailed, Failure
from llmproxyd.values.plan import Plan
from llmproxyd.values.request import Dialect, Request
from llmproxyd.values.snapshot import Degrade, Deployment, FallbackPolicy, Snapshot


class Told(msgspec.Struct, frozen=True):
    """A kept answer, said the way its client wants it."""

    body: bytes
    content_type: str
    deployment: str
    age_s: int
    outcome: Outcome
    warnings: tuple[str, ...]


class _Ending(msgspec.Struct):
    """How a shared call tells its failure: asked by several listeners, said once."""

    running: Spoken
    said: dict[int, bytes] = msgspec.field(default_factory=dict)

    def fail(self, failure: Failure) -> bytes:
        known = self.said.get(id(failure))
        if known is None:
            known = self.said[id(failure)] = self.running.lane.fail(failure)
        return known


class Head(msgspec.Struct):
    """What every listener of a shared call has to know. ``cost_nanos``: what the call cost as far as it is known."""

    deployment: Deployment
    call: Call
    lane: _Ending
    cost_nanos: int | None
    first: bytes = b""


_Seat: TypeAlias = Seat[Head]


class KeptAnswers:
    """One for the whole daemon. ``wall``: Unix seconds; ``clock``: monotonic."""

    def __init__(
        self,
        cache: ResponseCache,
        flights: Flights[Head],
        intake: Intake,
        *,
        books: Books,
        adapters: Mapping[Dialect, Adapter],
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._cache = cache
        self._flights = flights
        self._intake = intake
        self._books = books
        self._adapters = adapters
        self._clock = clock
        self._wall = wall
        self._snapshot: Snapshot | None = None
        self._rules: CacheRules | None = None

    def plan(self, visit: Visit, request: Request, plan: Plan) -> CacheUse | None:
        """What the cache does for this request; None: nothing. Raises ExchangeFailed for a wish that says nothing, and
        where a client wants a kept answer or none and none may be kept."""
        snapshot = visit.generation.snapshot
        if not snapshot.cache.rules or plan.failure is not None or visit.question is None:
            return None
        try:
            wish = read_wish(visit.headers)
        except BadRequest as bad:
            raise ExchangeFailed(bad.failure) from None
        key = visit.caller.key
        use = plan_cache(
            self._rules_of(snapshot),
            request=request,
            question=visit.question,
            plan=plan,
            wish=wish,
            who=Who(visit.record.tenant or None, key.digest if key else None, visit.question.user),
            form=form_of(request, visit.surface),
            secret=self._cache.secret,
        )
        if use.key is not None:
            return use
        if use.only:
            raise ExchangeFailed(NOT_CACHED)
        return None

    def _rules_of(self, snapshot: Snapshot) -> CacheRules:
        if self._rules is None or snapshot is not self._snapshot:
            self._rules, self._snapshot = compile_cache(snapshot), snapshot
        return self._rules

    # --- what is there already ------------------------------------------------------------------------------------

    async def find(self, visit: Visit, voice: Voice, use: CacheUse) -> Told | None:
        """A kept answer that will do; None: somebody has to be asked. Raises ExchangeFailed where nobody may be."""
        assert use.key is not None, "what is not kept is not looked for"
        told = None
        if use.read:
            hit = await self._cache.get(use.key, self._wall(), max_age_s=use.max_age_s, persisted=use.persist)
            told = self._tell(visit, voice, hit, Outcome.HIT)
        if told is None and use.only:
            raise ExchangeFailed(NOT_CACHED)
        return told

    async def find_stale(
        self, visit: Visit, voice: Voice, use: CacheUse, policy: FallbackPolicy, failure: Failure
    ) -> Told | None:
        """When everybody has failed: an answer whose time is up, if the operator finds that better than none."""
        if not may_pass(failure.kind) or not _degrades(policy):
            return None
        assert use.key is not None
        hit = await self._cache.get(use.key, self._wall(), allow_stale=True, persisted=use.persist)
        return self._tell(visit, voice, hit, Outcome.STALE)

    def _tell(self, visit: Visit, voice: Voice, hit: Hit | None, outcome: Outcome) -> Told | None:
        if hit is None:
            return None
        request, surface, cached = voice.request, voice.surface, hit.cached
        body = replay(
            cached,
            request,
            surface,
            self._adapters.get(surface.dialect),
            model=voice.model,
            id=voice.id,
            created_s=voice.created_s,
        )
        if body is None:
            return None
        visit.record.cache = outcome.value
        self._books.keep(visit.record, cached.deployment, cached.usage, cached.cost_nanos)
        kind = surface.stream_type if request.stream else JSON_TYPE
        return Told(body, kind, cached.deployment, hit.age_s, outcome, cached.warnings)

    # --- what is under way ----------------------------------------------------------------------------------------

    def share(self, visit: Visit, voice: Voice, plan: Plan, use: CacheUse) -> Shared:
        """This request's part in a call: its own, or that of an equal one before it. Whoever gets it closes it."""
        assert use.key is not None
        # What may not be shared (a refresh, say) flies under a name of its own.
        name = use.flight_key or use.key + visit.record.request_id.encode()

        async def fly(broadcast: Broadcast[Head]) -> None:
            await self._fly(visit, voice, plan, use, broadcast)

        return Shared(self._flights.join(name, fly), visit, self._books, self._clock)

    async def _fly(
        self, visit: Visit, voice: Voice, plan: Plan, use: CacheUse, broadcast: Broadcast[Head]
    ) -> None:
        """One whole exchange, spoken to all who listen, and kept if it is fit for that."""
        exchange = self._intake.open(visit, voice, plan)
        try:
            running = await exchange.commit()
            head = Head(running.deployment, running.call, _Ending(running), exchange.cost_nanos)
            broadcast.begin(head)
            await broadcast.send(running.first)
            if voice.request.stream:
                async for piece in exchange.rest():
                    await broadcast.send(piece)
            exchange.end()
            head.cost_nanos = visit.record.cost_nanos
            self._keep(visit, voice, plan, use, exchange, broadcast.body())
        finally:
            await exchange.close()

    def _keep(
        self,
        visit: Visit,
        voice: Voice,
        plan: Plan,
        use: CacheUse,
        exchange: Exchange,
        body: bytes | None,
    ) -> None:
        request, running = voice.request, exchange.committed
        # Only the first choice's end is known; what has several is given once.
        if use.key is None or not use.write or body is None or request.n not in (None, 1):
            return
        if visit.record.continued or not may_keep(request, plan, running.deployment.name, [running.finish]):
            return
        now_s = self._wall()
        cached = Cached(
            surface=voice.surface.name,
            form=use.form,
            content_type=voice.surface.stream_type if request.stream else JSON_TYPE,
            body=body,
            deployment=running.deployment.name,
            created_s=now_s,
            usage=visit.record.usage,
            cost_nanos=visit.record.cost_nanos,
            warnings=tuple(running.call.warnings),
        )
        self._cache.put(use.key, cached, use.ttl_s, now_s, persist=use.persist)


class Shared:
    """One listener's side of a call that may be shared: what ``Answer`` writes from."""

    def __init__(self, seat: _Seat, visit: Visit, books: Books, clock: Callable[[], float]) -> None:
        self._seat = seat
        self._visit = visit
        self._books = books
        self._clock = clock
        self._head: Head | None = None
        self.waited_s = 0.0

    async def commit(self) -> Spoken:
        """Raises ExchangeFailed."""
        began_s = self._clock()
        head = await self._seat.head()
        first = await anext(self._seat)
        self.waited_s = self._clock() - began_s
        self._head = head
        self._visit.record.cache = (Outcome.MISS if self._seat.leads else Outcome.SHARED).value
        return Head(head.deployment, head.call, head.lane, head.cost_nanos, first)

    async def rest(self) -> AsyncGenerator[bytes, None]:
        """Raises ExchangeFailed after the last good piece."""
        async for piece in self._seat:
            yield piece

    @property
    def cost_nanos(self) -> int | None:
        """What it costs this client: whoever joined another's call pays nothing."""
        assert self._head is not None, "commit() has not returned"
        return self._head.cost_nanos if self._seat.leads else 0

    def end(self) -> None:
        """The answer is complete and with the client. The call itself is ended where it is flown."""
        head = self._head
        if head is not None and not self._seat.leads:
            self._books.keep(self._visit.record, head.deployment.name, None, head.cost_nanos)

    async def close(self) -> None:
        self._seat.leave()


def kept_headers(told: Told) -> dict[str, str]:
    """For an answer that cost nothing: who gave it once, and when."""
    provider, _, model = told.deployment.partition("/")
    headers = {
        "x-llmproxyd-provider": provider,
        "x-llmproxyd-model": model,
        "x-llmproxyd-cost-usd": "0",
        **outcome_headers(told.outcome, told.age_s),
    }
    if told.warnings:
        headers["x-llmproxyd-warnings"] = header_text(", ".join(told.warnings))
    return headers


def _degrades(policy: FallbackPolicy) -> bool:
    return Degrade.CACHED in takewhile(lambda resort: resort is not Degrade.ERROR, policy.degrade)
