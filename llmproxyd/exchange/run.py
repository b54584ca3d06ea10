"""One exchange: attempts as ``next_step`` says, until one may be committed or none is left.

Without a hedge one attempt runs at a time, in the caller's own task. With one, each runs in a task of its own, and the
first that may be committed wins; the others are cancelled at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Protocol

from llmproxyd.detect.masking import MaskBook
from llmproxyd.exchange.account import Account, AttemptRecord, ExchangeRecord
from llmproxyd.exchange.attempt import Patience, RunningAttempt
from llmproxyd.exchange.books import Booking, Books, Counted
from llmproxyd.exchange.continuation import ContinuableLane, Seam, may_continue, wants_continuation
from llmproxyd.exchange.gate import Gates, Pass, Saturated, Toll
from llmproxyd.exchange.lane import Lane, Voice, choose_dialect, choose_lane
from llmproxyd.exchange.masked import masked_adapter
from llmproxyd.exchange.upstream import AttemptFailed, Upstream
from llmproxyd.logs import get_logger
from llmproxyd.routing.fallback import LINE_CODE, anybody_left, next_step
from llmproxyd.state.budgets import Later
from llmproxyd.state.hedge_budget import HedgeBudget
from llmproxyd.state.registry import Outcome, Registry, Timers
from llmproxyd.state.retry_budget import RetryBudget
from llmproxyd.values.budget import Bound
from llmproxyd.values.contracts import Adapter, BadRequest
from llmproxyd.values.failure import ExchangeFailed, Failure, FailureKind
from llmproxyd.values.ledger import Outcome as Ending
from llmproxyd.values.plan import Allowance, Attempt, Candidate, GiveUp, Plan, Start, Wait
from llmproxyd.values.request import Dialect
from llmproxyd.values.snapshot import Deployment

_log = get_logger("exchange")
_FIRST = Allowance()
_LOOK_S = 0.02


@dataclass(frozen=True, slots=True)
class Means:
    """What all exchanges share. ``clock``: monotonic seconds, running with the loop's own."""

    upstream: Upstream
    adapters: Mapping[Dialect, Adapter]
    registry: Registry
    gates: Gates
    retries: RetryBudget
    hedges: HedgeBudget
    account: Account
    books: Books
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Asker(Protocol):
    """What an exchange may want to know of its request, beyond what it carries."""

    def toll(self, deployment: Deployment) -> Toll:
        """What a call asks of its provider's limits."""
        ...

    def bound(self, deployment: Deployment, wall_s: float) -> Bound:
        """The most a call can come to at the prices of ``wall_s``, Unix seconds."""
        ...

    def further(self, plan: Plan, failure: Failure) -> tuple[Candidate, ...]:
        """Who else could answer after all of ``plan`` have failed."""
        ...

    def tokens_in(self) -> int:
        """Our own count of the prompt."""
        ...

    def mask(self, kinds: frozenset[str]) -> MaskBook:
        """What takes these kinds and groups of data out of the request, and puts them back into an answer."""
        ...


@dataclass(slots=True)
class _Try:
    """An attempt under way. ``place``: its entry in the list that ``next_step`` reads. ``room``: its place at the
    provider, ``booking``: its entry in the books; both are settled with it. ``waited_s``: in line for its provider."""

    place: int
    running: RunningAttempt
    room: Pass
    booking: Booking
    hedge: bool
    waited_s: float
    counted: Counted | None = None

    @property
    def deployment(self) -> Deployment:
        return self.running.deployment


class Exchange:
    """``commit`` once, then ``rest`` (a stream's remaining pieces), and ``close`` whatever happened.

    ``asker`` is asked for further candidates once at most, after the plan's own have all failed.
    """

    def __init__(
        self,
        means: Means,
        *,
        voice: Voice,
        plan: Plan,
        record: ExchangeRecord,
        admitted_s: float,
        asker: Asker,
    ) -> None:
        self._means = means
        self._clock = means.clock
        self._voice = voice
        self._plan = plan
        self._record = record
        self._admitted_s = admitted_s
        self._asker = asker
        self._extended = False
        self._hedged = False
        self._attempts: list[Attempt] = []
        self._open: list[_Try] = []
        self._tasks: set[asyncio.Task[_Try | None]] = set()
        self._winner: _Try | None = None
        self._seam: Seam | None = None
        self.waited_s = 0.0

    @property
    def committed(self) -> RunningAttempt:
        assert self._winner is not None, "commit() has not returned"
        return self._winner.running

    # --- up to the commit -----------------------------------------------------------------------------------

    async def commit(self) -> RunningAttempt:
        """The attempt whose ``first`` bytes may be sent. Raises ExchangeFailed when there is none."""
        if self._plan.failure is not None:
            raise ExchangeFailed(self._plan.failure)
        self._means.retries.request(self._clock())
        self._winner = await self._seek()
        return self._winner.running

    async def _seek(self) -> _Try:
        """Whoever may be committed first. Raises ExchangeFailed when nobody is left to be asked."""
        won: _Try | None = None
        try:
            while won is None:
                won = await self._follow(self._next_step())
        finally:
            if self._tasks:
                await self._cancel_losers(lost=won is not None)
        return won

    def _next_step(self) -> Start | Wait | GiveUp:
        now_s = self._clock()
        return next_step(self._plan, self._attempts, now_s, self._admitted_s, self._allowance(now_s))

    async def _follow(self, step: Start | Wait | GiveUp) -> _Try | None:
        if isinstance(step, Start):
            return await self._start(step)
        if isinstance(step, Wait):
            return await self._wait(step)
        if not self._extend(step.failure):
            raise ExchangeFailed(step.failure)
        return None

    def _allowance(self, now_s: float) -> Allowance:
        if not self._attempts:
            return _FIRST
        extra_s = self._means.retries.extra_from_s(now_s)
        policy = self._plan.fallback.hedge
        if policy is None or not self._tasks or not self._means.hedges.allows(policy, now_s):
            return Allowance(extra_s)
        first = next((tried for tried in self._open if not tried.hedge), None)
        if first is None:
            return Allowance(extra_s)
        after_s = policy.after_s
        if after_s is None:
            after_s = self._timers(first.deployment).hedge_after_s
        return (
            Allowance(extra_s) if after_s is None else Allowance(extra_s, first.running.started_s + after_s)
        )

    def _extend(self, failure: Failure) -> bool:
        """Whether somebody else was found after all have failed."""
        if self._extended:
            return False
        self._extended = True
        more = self._asker.further(self._plan, failure)
        self._plan = replace(self._plan, candidates=(*self._plan.candidates, *more))
        return bool(more)

    async def _wait(self, step: Wait) -> _Try | None:
        pause_s = None if step.until_s is None else max(0.0, step.until_s - self._clock())
        if not self._tasks:
            assert pause_s is not None, "nothing is running that could end"
            self.waited_s += pause_s
            await self._means.sleep(pause_s)
            return None
        if not self._open:
            pause_s = _LOOK_S  # still in line for its provider: only once it is called can it be late
        began_s = self._clock()
        done, _ = await asyncio.wait(self._tasks, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
        self.waited_s += self._clock() - began_s
        self._tasks -= done
        finished = [tried for task in done if (tried := task.result()) is not None]
        for late in finished[1:]:
            self._hedged = True
            self._lose(late)
        return finished[0] if finished else None

    async def _start(self, step: Start) -> _Try | None:
        place = len(self._attempts)
        self._attempts.append(Attempt(step.candidate, self._clock(), hedge=step.hedge))
        trying = self._try(place, step)
        if self._plan.fallback.hedge is None:
            return await trying
        self._tasks.add(asyncio.ensure_future(trying))
        await asyncio.sleep(0)  # so that it is under way when the next step is asked for
        return None

    async def _cancel_losers(self, *, lost: bool) -> None:
        """``lost``: somebody was quicker; else the client left."""
        self._hedged = lost
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, _Try):
                self._lose(ended)
            elif isinstance(ended, Exception):
                # The client has its answer; the bug must not take it away, nor stay unseen.
                _log.error("attempt_crashed", request_id=self._record.request_id, exc_info=ended)

    # --- one attempt ----------------------------------------------------------------------------------------

    async def _try(self, place: int, step: Start) -> _Try | None:
        """One attempt up to its commit; None if it failed."""
        chosen = self._plan.candidates[step.candidate]
        candidate = chosen.deployment
        refused = self._means.registry.refusal(candidate, self._clock(), force=step.force)
        if refused is not None:
            self._unsent(place, refused)
            return None
        try:
            running = self._prepare(chosen, self._means.registry.with_key(candidate))
        except BadRequest as bad:
            self._unsent(place, replace(bad.failure, kind=FailureKind.UNSUPPORTED))
            return None
        room = self._means.gates.try_enter(candidate.provider, self._asker.toll(candidate))
        if room is not None:
            return await self._book(place, step, running, room, 0.0)
        return await self._queue(place, step, running)

    async def _queue(self, place: int, step: Start, running: RunningAttempt) -> _Try | None:
        """The provider is full: wait in line if ``next_step`` found that best, else let it look further."""
        provider, gates = running.deployment.provider, self._means.gates
        toll, joined_s = self._asker.toll(running.deployment), self._clock()
        if not step.queue:
            wait_s = gates.expected_wait_s(provider, toll)
            self._unsent(place, Failure(FailureKind.SATURATED, _FULL, code=LINE_CODE, retry_after_s=wait_s))
            return None
        try:
            room = await gates.enter(provider, toll, until_s=self._deadline_s)
        except Saturated as saturated:
            self._unsent(place, saturated.failure)
            return None
        finally:
            waited_s = self._clock() - joined_s
            self.waited_s += waited_s
            self._record.waited_s += waited_s
        refused = self._means.registry.refusal(running.deployment, self._clock(), force=step.force)
        if refused is not None:
            room.give_back(self._clock())
            self._unsent(place, refused)
            return None
        return await self._book(place, step, running, room, waited_s)

    async def _book(
        self, place: int, step: Start, running: RunningAttempt, room: Pass, waited_s: float
    ) -> _Try | None:
        """Room in the budgets and an entry in the ledger, or nothing is sent."""
        try:
            booking = await self._open_books(place, step, running.deployment)
        except BaseException:
            room.give_back(self._clock())
            raise
        if isinstance(booking, Booking):
            return await self._begin(_Try(place, running, room, booking, step.hedge, waited_s))
        room.give_back(self._clock())
        self._unsent(place, booking)
        # Whoever answers, the caller's own budget is spent.
        if booking.kind is FailureKind.LIMIT_REACHED:
            raise ExchangeFailed(booking)
        return None

    async def _open_books(self, place: int, step: Start, deployment: Deployment) -> Booking | Failure:
        while True:
            opened = self._means.books.open(
                self._record,
                deployment,
                self._asker.bound,
                number=place,
                hedge=step.hedge,
                patience_s=max(0.0, self._deadline_s - self._clock()),
            )
            if not isinstance(opened, Later):
                return opened
            if opened.wait_s > self._deadline_s - self._clock():
                return opened.failure
            await self._means.sleep(opened.wait_s)

    def _prepare(self, candidate: Candidate, deployment: Deployment) -> RunningAttempt:
        """Format the call, of the masked copy where that is what the candidate may see. ``deployment``: the candidate's,
        with the key in use. Raises BadRequest when its dialect cannot carry the request."""
        first, own = choose_dialect(self._voice.request, deployment), deployment.provider.dialect
        try:
            return self._format(candidate, deployment, first)
        except BadRequest:
            if first is own or self._voice.request.dialect is first:
                raise
        # Responses knows neither `stop` nor several choices: what it cannot carry may still go as a chat.
        return self._format(candidate, deployment, own)

    def _format(self, candidate: Candidate, deployment: Deployment, dialect: Dialect) -> RunningAttempt:
        adapter = self._means.adapters.get(dialect)
        if adapter is None:
            raise BadRequest(f"this version does not speak {dialect.value}")
        if candidate.masked:
            adapter = masked_adapter(adapter, self._asker.mask(candidate.masked))
        lane = self._choose_lane(adapter, deployment)
        call = lane.format_call(deployment, self._plan.overrides)
        return RunningAttempt(
            deployment=deployment,
            adapter=adapter,
            lane=lane,
            call=call,
            clock=self._clock,
            operation=self._voice.request.operation,
            clearance=candidate.clearance,
        )

    def _choose_lane(self, adapter: Adapter, deployment: Deployment) -> Lane:
        if self._seam is not None:
            return self._seam.new_lane(adapter)
        if self._plan.continues and wants_continuation(self._voice.request):
            return ContinuableLane(self._voice, adapter)
        return choose_lane(self._voice, adapter, deployment)

    async def _begin(self, tried: _Try) -> _Try | None:
        means, running = self._means, tried.running
        sent_s = self._clock()
        running.started_s = sent_s
        if tried.place and any(a.sent for a in self._attempts[: tried.place]):
            means.retries.extra(sent_s)  # noqa: S610 - no Django here
        if tried.hedge:
            means.hedges.hedge(sent_s, 0)
        elif self._plan.fallback.hedge is not None:
            means.hedges.request(sent_s, 0)
        self._open.append(tried)
        means.account.begin(running.deployment, sent_s)
        try:
            await running.begin(means.upstream, deadline_s=self._deadline_s, patience=self._patience(running))
        except AttemptFailed as failed:
            self._failed(tried, failed.failure)
            return None
        except BaseException:
            self._lose(tried)
            raise
        finally:
            if not self._tasks:
                self.waited_s += self._clock() - sent_s
        return tried

    def _patience(self, running: RunningAttempt) -> Patience:
        """As long as its deployment usually needs, if somebody else could answer instead: without, even a late answer
        is better than none."""
        learnt = self._timers(running.deployment)
        commit_s = learnt.first_content_s if running.call.stream else learnt.total_s
        if commit_s is None or not anybody_left(self._plan, self._attempts, self._may_be_called):
            commit_s = inf
        return Patience(commit_s, inf if learnt.stall_s is None else learnt.stall_s)

    def _may_be_called(self, deployment: Deployment) -> bool:
        return self._means.registry.refusal(deployment, self._clock()) is None

    def _timers(self, deployment: Deployment) -> Timers:
        request = self._voice.request
        return self._means.registry.timers(deployment, request.stream, request.effort, len(request.body))

    @property
    def _deadline_s(self) -> float:
        return self._admitted_s + self._plan.fallback.deadline_s

    # --- how attempts end -----------------------------------------------------------------------------------

    def _unsent(self, place: int, failure: Failure) -> None:
        """The candidate was not called at all: it costs no attempt."""
        now_s, attempt = self._clock(), self._attempts[place]
        self._attempts[place] = replace(attempt, ended_s=now_s, failure=failure, sent=False)
        name = self._plan.candidates[attempt.candidate].deployment.name
        took_s = now_s - attempt.started_s
        self._record.attempts.append(
            AttemptRecord(name, "", took_s, failure, sent=False, hedge=attempt.hedge)
        )

    def _failed(self, tried: _Try, failure: Failure) -> None:
        now_s = self._clock()
        another_key = failure.kind is FailureKind.PROVIDER_DENIED and self._means.registry.denied(
            tried.deployment, failure, now_s
        )
        attempt = self._attempts[tried.place]
        self._attempts[tried.place] = replace(
            attempt, ended_s=now_s, failure=failure, another_key=another_key
        )
        self._settle(tried, "cut" if tried is self._winner else "failed", now_s, failure)

    def _lose(self, tried: _Try) -> None:
        """Another attempt was quicker, or the client left."""
        now_s, attempt = self._clock(), self._attempts[tried.place]
        self._attempts[tried.place] = replace(attempt, ended_s=now_s, failure=_LOST)
        self._settle(tried, "lost" if self._hedged else "cancelled", now_s)
        tried.running.close()

    def _settle(self, tried: _Try, ending: Ending, now_s: float, failure: Failure | None = None) -> None:
        """Once for each attempt that was begun."""
        self._open.remove(tried)
        running, request = tried.running, self._voice.request
        took_s = now_s - running.started_s
        ok = ending == "ok"
        first_s = None if running.first_content_s is None else running.first_content_s - running.started_s
        outcome = Outcome(
            ok=ok,
            failure=failure,
            first_content_s=first_s if ok else None,
            total_s=took_s,
            stream=request.stream,
            effort=request.effort,
            bytes_in=len(request.body),
            longest_gap_s=running.longest_gap_s if ok else None,
        )
        self._means.account.settle(running.deployment, outcome, now_s)
        counted = self._count(tried, failure)
        self._means.books.settle(tried.booking, running, counted, ending, failure, took_s)
        if self._plan.fallback.hedge is not None:
            self._means.hedges.paid(now_s, counted.cost_nanos or 0, hedge=tried.hedge)
        usage = counted.usage
        tried.room.leave(None if usage is None else usage.input_tokens + usage.output_tokens, now_s)
        self._record.attempts.append(
            AttemptRecord(
                running.deployment.name,
                running.lane.name,
                took_s,
                failure,
                hedge=tried.hedge,
                waited_s=tried.waited_s,
            )
        )

    # --- after the commit -----------------------------------------------------------------------------------

    async def rest(self) -> AsyncGenerator[bytes, None]:
        """The committed stream's remaining pieces. Raises ExchangeFailed after the last good one."""
        while True:
            try:
                async with contextlib.aclosing(self.committed.rest()) as pieces:
                    async for piece in pieces:
                        yield piece
                return
            except AttemptFailed as failed:
                failure = failed.failure
            yield await self._continue(failure)

    async def _continue(self, failure: Failure) -> bytes:
        """What the next candidate has to add first to an answer that broke off. Raises ExchangeFailed if none may."""
        broken = self._winner
        assert broken is not None
        lane = broken.running.lane
        if isinstance(lane, ContinuableLane) and lane.has_finished:
            # Nothing is missing but the provider's last words: ours end the stream.
            broken.running.complete = True
            return lane.speaker().close()
        if not self._plan.continues or not may_continue(lane):
            self._finish(failure)
            raise ExchangeFailed(failure)
        self._remember(broken, failure)
        self._failed(broken, failure)
        broken.running.close()
        self._seam = Seam(self._voice, lane)
        # The client has begun to read: what was allowed before its first word is allowed again from here.
        self._admitted_s = self._clock()
        try:
            self._winner = await self._seek()
        except ExchangeFailed:
            raise ExchangeFailed(failure) from None
        self._record.continued += 1
        return self.committed.first

    def end(self) -> None:
        """The committed answer is complete and with the client."""
        self._finish(None)

    async def close(self) -> None:
        """Release the connection: to the pool if the answer is complete, else cut, so that the provider stops.

        An attempt that is still open was left by its client, and is settled as cancelled.
        """
        winner, self._winner = self._winner, None
        for tried in list(self._open):
            if tried is winner:
                self._remember(tried, None)
            self._settle(tried, "cancelled", self._clock())
            tried.running.close()
        if winner is None:
            return
        try:
            await winner.running.drain()
        finally:
            winner.running.close()

    def _finish(self, failure: Failure | None) -> None:
        winner = self._winner
        assert winner is not None
        self._remember(winner, failure)
        self._settle(winner, "ok" if failure is None else "cut", self._clock(), failure)

    def _count(self, tried: _Try, failure: Failure | None) -> Counted:
        """What the attempt came to; once it is complete, that stands."""
        if tried.counted is not None:
            return tried.counted
        counted = self._means.books.count(tried.running, failure, self._asker.tokens_in)
        tried.counted = counted if tried.running.complete else None
        return counted

    @property
    def cost_nanos(self) -> int | None:
        """What the committed answer has cost so far; None: unknown."""
        assert self._winner is not None, "commit() has not returned"
        return self._count(self._winner, None).cost_nanos

    def _remember(self, tried: _Try, failure: Failure | None) -> None:
        """What the answer used and cost, for the record of the whole exchange."""
        counted, record = self._count(tried, failure), self._record
        record.usage, record.cost_nanos = counted.usage, counted.cost_nanos
        record.disputed = counted.disputed


_LOST = Failure(FailureKind.TIMEOUT, "another attempt was quicker", code="lost")
_FULL = "The providers of this model are at their limits."
