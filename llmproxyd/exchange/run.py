"""One exchange: attempts as ``next_step`` says, until one may be committed or none is left.

Without a hedge one attempt runs at a time, in the caller's own task. With one, each runs in a task of its own, and the
first that may be committed wins; the others are cancelled at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from msgspec.structs import replace

from llmproxyd.exchange.attempt import RunningAttempt
from llmproxyd.exchange.attempts import Attempts, Tried
from llmproxyd.exchange.continuation import ContinuableLane, Seam, may_continue
from llmproxyd.exchange.upstream import AttemptFailed
from llmproxyd.logs import get_logger
from llmproxyd.routing.fallback import next_step
from llmproxyd.values.failure import ExchangeFailed, Failure
from llmproxyd.values.plan import Allowance, GiveUp, Start, Wait

_log = get_logger("exchange")
_FIRST = Allowance()
_LOOK_S = 0.02


class Exchange:
    """``commit`` once, then ``rest`` (a stream's remaining pieces), and ``close`` whatever happened.

    The attempts' ``asker`` is asked for further candidates once at most, after the plan's own have all failed.
    """

    def __init__(self, attempts: Attempts) -> None:
        """``attempts``: none has begun yet."""
        self._attempts = attempts
        self._means, self._clock = attempts.means, attempts.means.clock
        self._voice, self._record, self._asker = attempts.voice, attempts.record, attempts.asker
        self._extended = False
        self._tasks: set[asyncio.Task[Tried | None]] = set()
        self._winner: Tried | None = None

    @property
    def waited_s(self) -> float:
        """How much of its time was the providers'."""
        return self._attempts.waited_s

    @property
    def committed(self) -> RunningAttempt:
        assert self._winner is not None, "commit() has not returned"
        return self._winner.running

    # --- up to the commit -----------------------------------------------------------------------------------

    async def commit(self) -> RunningAttempt:
        """The attempt whose ``first`` bytes may be sent. Raises ExchangeFailed when there is none."""
        refused = self._attempts.plan.failure
        if refused is not None:
            raise ExchangeFailed(refused)
        self._means.retries.request(self._clock())
        self._winner = await self._seek()
        return self._winner.running

    async def _seek(self) -> Tried:
        """Whoever may be committed first. Raises ExchangeFailed when nobody is left to be asked."""
        won: Tried | None = None
        try:
            while won is None:
                won = await self._follow(self._next_step())
        finally:
            if self._tasks:
                await self._cancel_losers(lost=won is not None)
        return won

    def _next_step(self) -> Start | Wait | GiveUp:
        now_s, attempts = self._clock(), self._attempts
        return next_step(attempts.plan, attempts.log, now_s, attempts.admitted_s, self._allowance(now_s))

    async def _follow(self, step: Start | Wait | GiveUp) -> Tried | None:
        if isinstance(step, Start):
            return await self._start(step)
        if isinstance(step, Wait):
            return await self._wait(step)
        if not self._extend(step.failure):
            raise ExchangeFailed(step.failure)
        return None

    def _allowance(self, now_s: float) -> Allowance:
        if not self._attempts.log:
            return _FIRST
        extra_s = self._means.retries.extra_from_s(now_s)
        policy = self._attempts.plan.fallback.hedge
        if policy is None or not self._tasks or not self._means.hedges.allows(policy, now_s):
            return Allowance(extra_s)
        first = next((tried for tried in self._attempts.open if not tried.hedge), None)
        if first is None:
            return Allowance(extra_s)
        after_s = policy.after_s
        if after_s is None:
            after_s = self._attempts.timers(first.deployment).hedge_after_s
        return (
            Allowance(extra_s) if after_s is None else Allowance(extra_s, first.running.started_s + after_s)
        )

    def _extend(self, failure: Failure) -> bool:
        """Whether somebody else was found after all have failed."""
        if self._extended:
            return False
        self._extended = True
        plan = self._attempts.plan
        more = self._asker.further(plan, failure)
        self._attempts.plan = replace(plan, candidates=(*plan.candidates, *more))
        return bool(more)

    async def _wait(self, step: Wait) -> Tried | None:
        pause_s = None if step.until_s is None else max(0.0, step.until_s - self._clock())
        if not self._tasks:
            assert pause_s is not None, "nothing is running that could end"
            self._attempts.waited_s += pause_s
            await self._means.sleep(pause_s)
            return None
        if not self._attempts.open:
            pause_s = _LOOK_S  # still in line for its provider: only once it is called can it be late
        began_s = self._clock()
        done, _ = await asyncio.wait(self._tasks, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
        self._attempts.waited_s += self._clock() - began_s
        self._tasks -= done
        finished = [tried for task in done if (tried := task.result()) is not None]
        for late in finished[1:]:
            self._attempts.lost = True
            self._attempts.lose(late)
        return finished[0] if finished else None

    async def _start(self, step: Start) -> Tried | None:
        trying = self._attempts.begin(self._attempts.note(step), step)
        if self._attempts.plan.fallback.hedge is None:
            return await trying
        self._tasks.add(asyncio.ensure_future(trying))
        await asyncio.sleep(0)  # so that it is under way when the next step is asked for
        return None

    async def _cancel_losers(self, *, lost: bool) -> None:
        """``lost``: somebody was quicker; else the client left."""
        self._attempts.lost = lost
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Tried):
                self._attempts.lose(ended)
            elif isinstance(ended, Exception):
                # The client has its answer; the bug must not take it away, nor stay unseen.
                _log.error("attempt_crashed", request_id=self._record.request_id, exc_info=ended)

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
        if not self._attempts.plan.continues or not may_continue(lane):
            self._finish(failure)
            raise ExchangeFailed(failure)
        self._remember(broken, failure)
        self._attempts.failed(broken, failure, cut=True)
        broken.running.close()
        self._attempts.seam = Seam(self._voice, lane)
        # The client has begun to read: what was allowed before its first word is allowed again from here.
        self._attempts.admitted_s = self._clock()
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
        for tried in list(self._attempts.open):
            if tried is winner:
                self._remember(tried, None)
            self._attempts.settle(tried, "cancelled", self._clock())
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
        self._attempts.settle(winner, "ok" if failure is None else "cut", self._clock(), failure)

    @property
    def cost_nanos(self) -> int | None:
        """What the committed answer has cost so far; None: unknown."""
        assert self._winner is not None, "commit() has not returned"
        return self._attempts.count(self._winner, None).cost_nanos

    def _remember(self, tried: Tried, failure: Failure | None) -> None:
        """What the answer used and cost, for the record of the whole exchange."""
        counted, record = self._attempts.count(tried, failure), self._record
        record.usage, record.cost_nanos = counted.usage, counted.cost_nanos
        record.disputed = counted.disputed
