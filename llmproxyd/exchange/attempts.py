"""The attempts of one exchange: each from its place in line at the provider to its entry in the books.

Whoever decides which attempt comes next, and which one wins, is ``exchange.run``.
"""

from __future__ import annotations

from math import inf

import msgspec
from msgspec.structs import replace

from llmproxyd.exchange.account import AttemptRecord, ExchangeRecord
from llmproxyd.exchange.attempt import Patience, RunningAttempt
from llmproxyd.exchange.books import Booking, Counted
from llmproxyd.exchange.continuation import ContinuableLane, Seam, wants_continuation
from llmproxyd.exchange.gate import Pass, Saturated
from llmproxyd.exchange.lane import Lane, Voice, choose_dialect, choose_lane
from llmproxyd.exchange.masked import masked_adapter
from llmproxyd.exchange.means import Asker, Means
from llmproxyd.exchange.upstream import AttemptFailed
from llmproxyd.routing.fallback import LINE_CODE, anybody_left
from llmproxyd.state.budgets import Later
from llmproxyd.state.registry import Outcome, Timers
from llmproxyd.values.contracts import Adapter, BadRequest
from llmproxyd.values.failure import ExchangeFailed, Failure, FailureKind
from llmproxyd.values.ledger import Outcome as Ending
from llmproxyd.values.plan import Attempt, Candidate, Plan, Start
from llmproxyd.values.request import Dialect
from llmproxyd.values.snapshot import Deployment


class Tried(msgspec.Struct):
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


class Attempts:
    """``begin`` each; whoever is begun ends by exactly one of ``failed``, ``lose`` and ``settle``. ``admitted_s``: from when on
    the plan's times count.

    ``log``: all of them, as ``next_step`` reads it; ``open``: those that run. ``waited_s``: for providers and in lines.
    ``lost``: whoever is let go now has lost a race; else its client left.
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
        self.means = means
        self._clock = means.clock
        self.voice = voice
        self.record = record
        self.asker = asker
        self.plan = plan
        self.admitted_s = admitted_s
        self.seam: Seam | None = None
        self.lost = False
        self.log: list[Attempt] = []
        self.open: list[Tried] = []
        self.waited_s = 0.0

    def note(self, step: Start) -> int:
        """Write down that it begins; its place in the log."""
        self.log.append(Attempt(step.candidate, self._clock(), hedge=step.hedge))
        return len(self.log) - 1

    async def begin(self, place: int, step: Start) -> Tried | None:
        """One attempt up to its commit; None if it failed."""
        chosen = self.plan.candidates[step.candidate]
        candidate = chosen.deployment
        refused = self.means.registry.refusal(candidate, self._clock(), force=step.force)
        if refused is not None:
            self._unsent(place, refused)
            return None
        try:
            running = self._prepare(chosen, self.means.registry.with_key(candidate))
        except BadRequest as bad:
            self._unsent(place, replace(bad.failure, kind=FailureKind.UNSUPPORTED))
            return None
        room = self.means.gates.try_enter(candidate.provider, self.asker.toll(candidate))
        if room is not None:
            return await self._book(place, step, running, room, 0.0)
        return await self._queue(place, step, running)

    async def _queue(self, place: int, step: Start, running: RunningAttempt) -> Tried | None:
        """The provider is full: wait in line if ``next_step`` found that best, else let it look further."""
        provider, gates = running.deployment.provider, self.means.gates
        toll, joined_s = self.asker.toll(running.deployment), self._clock()
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
            self.record.waited_s += waited_s
        refused = self.means.registry.refusal(running.deployment, self._clock(), force=step.force)
        if refused is not None:
            room.give_back(self._clock())
            self._unsent(place, refused)
            return None
        return await self._book(place, step, running, room, waited_s)

    async def _book(
        self, place: int, step: Start, running: RunningAttempt, room: Pass, waited_s: float
    ) -> Tried | None:
        """Room in the budgets and an entry in the ledger, or nothing is sent."""
        try:
            booking = await self._open_books(place, step, running.deployment)
        except BaseException:
            room.give_back(self._clock())
            raise
        if isinstance(booking, Booking):
            return await self._send(Tried(place, running, room, booking, step.hedge, waited_s))
        room.give_back(self._clock())
        self._unsent(place, booking)
        # Whoever answers, the caller's own budget is spent.
        if booking.kind is FailureKind.LIMIT_REACHED:
            raise ExchangeFailed(booking)
        return None

    async def _open_books(self, place: int, step: Start, deployment: Deployment) -> Booking | Failure:
        while True:
            opened = self.means.books.open(
                self.record,
                deployment,
                self.asker.bound,
                number=place,
                hedge=step.hedge,
                patience_s=max(0.0, self._deadline_s - self._clock()),
            )
            if not isinstance(opened, Later):
                return opened
            if opened.wait_s > self._deadline_s - self._clock():
                return opened.failure
            await self.means.sleep(opened.wait_s)

    def _prepare(self, candidate: Candidate, deployment: Deployment) -> RunningAttempt:
        """Format the call, of the masked copy where that is what the candidate may see. ``deployment``: the candidate's,
        with the key in use. Raises BadRequest when its dialect cannot carry the request."""
        first, own = choose_dialect(self.voice.request, deployment), deployment.provider.dialect
        try:
            return self._format(candidate, deployment, first)
        except BadRequest:
            if first is own or self.voice.request.dialect is first:
                raise
        # Responses knows neither `stop` nor several choices: what it cannot carry may still go as a chat.
        return self._format(candidate, deployment, own)

    def _format(self, candidate: Candidate, deployment: Deployment, dialect: Dialect) -> RunningAttempt:
        adapter = self.means.adapters.get(dialect)
        if adapter is None:
            raise BadRequest(f"this version does not speak {dialect.value}")
        if candidate.masked:
            adapter = masked_adapter(adapter, self.asker.mask(candidate.masked))
        lane = self._choose_lane(adapter, deployment)
        call = lane.format_call(deployment, self.plan.overrides)
        return RunningAttempt(
            deployment=deployment,
            adapter=adapter,
            lane=lane,
            call=call,
            clock=self._clock,
            operation=self.voice.request.operation,
            clearance=candidate.clearance,
        )

    def _choose_lane(self, adapter: Adapter, deployment: Deployment) -> Lane:
        if self.seam is not None:
            return self.seam.new_lane(adapter)
        if self.plan.continues and wants_continuation(self.voice.request):
            return ContinuableLane(self.voice, adapter)
        return choose_lane(self.voice, adapter, deployment)

    async def _send(self, tried: Tried) -> Tried | None:
        means, running = self.means, tried.running
        sent_s = self._clock()
        running.started_s = sent_s
        if tried.place and any(a.sent for a in self.log[: tried.place]):
            means.retries.extra(sent_s)  # noqa: S610 - no Django here
        if tried.hedge:
            means.hedges.hedge(sent_s, 0)
        elif self.plan.fallback.hedge is not None:
            means.hedges.request(sent_s, 0)
        self.open.append(tried)
        means.account.begin(running.deployment, sent_s)
        try:
            await running.begin(means.upstream, deadline_s=self._deadline_s, patience=self._patience(running))
        except AttemptFailed as failed:
            self.failed(tried, failed.failure)
            return None
        except BaseException:
            self.lose(tried)
            raise
        finally:
            if self.plan.fallback.hedge is None:  # else whoever waits for several counts that
                self.waited_s += self._clock() - sent_s
        return tried

    def _patience(self, running: RunningAttempt) -> Patience:
        """As long as its deployment usually needs, if somebody else could answer instead: without, even a late answer
        is better than none."""
        learnt = self.timers(running.deployment)
        commit_s = learnt.first_content_s if running.call.stream else learnt.total_s
        if commit_s is None or not anybody_left(self.plan, self.log, self._may_be_called):
            commit_s = inf
        return Patience(commit_s, inf if learnt.stall_s is None else learnt.stall_s)

    def _may_be_called(self, deployment: Deployment) -> bool:
        return self.means.registry.refusal(deployment, self._clock()) is None

    def timers(self, deployment: Deployment) -> Timers:
        request = self.voice.request
        return self.means.registry.timers(deployment, request.stream, request.effort, len(request.body))

    @property
    def _deadline_s(self) -> float:
        return self.admitted_s + self.plan.fallback.deadline_s

    # --- how attempts end -----------------------------------------------------------------------------------

    def _unsent(self, place: int, failure: Failure) -> None:
        """The candidate was not called at all: it costs no attempt."""
        now_s, attempt = self._clock(), self.log[place]
        self.log[place] = replace(attempt, ended_s=now_s, failure=failure, sent=False)
        name = self.plan.candidates[attempt.candidate].deployment.name
        took_s = now_s - attempt.started_s
        self.record.attempts.append(AttemptRecord(name, "", took_s, failure, sent=False, hedge=attempt.hedge))

    def failed(self, tried: Tried, failure: Failure, *, cut: bool = False) -> None:
        """``cut``: after its commit."""
        now_s = self._clock()
        another_key = failure.kind is FailureKind.PROVIDER_DENIED and self.means.registry.denied(
            tried.deployment, failure, now_s
        )
        attempt = self.log[tried.place]
        self.log[tried.place] = replace(attempt, ended_s=now_s, failure=failure, another_key=another_key)
        self.settle(tried, "cut" if cut else "failed", now_s, failure)

    def lose(self, tried: Tried) -> None:
        """Another attempt was quicker, or the client left."""
        now_s, attempt = self._clock(), self.log[tried.place]
        self.log[tried.place] = replace(attempt, ended_s=now_s, failure=_LOST)
        self.settle(tried, "lost" if self.lost else "cancelled", now_s)
        tried.running.close()

    def settle(self, tried: Tried, ending: Ending, now_s: float, failure: Failure | None = None) -> None:
        """Once for each attempt that was begun."""
        self.open.remove(tried)
        running, request = tried.running, self.voice.request
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
        self.means.account.settle(running.deployment, outcome, now_s)
        counted = self.count(tried, failure)
        self.means.books.settle(tried.booking, running, counted, ending, failure, took_s)
        if self.plan.fallback.hedge is not None:
            self.means.hedges.paid(now_s, counted.cost_nanos or 0, hedge=tried.hedge)
        usage = counted.usage
        tried.room.leave(None if usage is None else usage.input_tokens + usage.output_tokens, now_s)
        self.record.attempts.append(
            AttemptRecord(
                running.deployment.name,
                running.lane.name,
                took_s,
                failure,
                hedge=tried.hedge,
                waited_s=tried.waited_s,
            )
        )

    def count(self, tried: Tried, failure: Failure | None) -> Counted:
        """What the attempt came to; once it is complete, that stands."""
        if tried.counted is not None:
            return tried.counted
        counted = self.means.books.count(tried.running, failure, self.asker.tokens_in)
        tried.counted = counted if tried.running.complete else None
        return counted


_LOST = Failure(FailureKind.TIMEOUT, "another attempt was quicker", code="lost")
_FULL = "The providers of this model are at their limits."
