"""One exchange: attempts as ``next_step`` says, until one may be committed or none is left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import replace

from llmproxyd.exchange.account import Account, AttemptRecord, ExchangeRecord, price
from llmproxyd.exchange.attempt import RunningAttempt
from llmproxyd.exchange.lane import Voice, choose_dialect, choose_lane
from llmproxyd.exchange.upstream import AttemptFailed, Upstream
from llmproxyd.routing.fallback import next_step
from llmproxyd.values.contracts import Adapter, BadRequest
from llmproxyd.values.failure import ExchangeFailed, Failure, FailureKind
from llmproxyd.values.plan import Attempt, GiveUp, Plan, Start, Wait
from llmproxyd.values.request import Dialect
from llmproxyd.values.snapshot import Deployment


class Exchange:
    """``commit`` once, then ``rest`` (a stream's remaining pieces), and ``close`` whatever happened."""

    def __init__(
        self,
        *,
        voice: Voice,
        plan: Plan,
        upstream: Upstream,
        adapters: Mapping[Dialect, Adapter],
        account: Account,
        record: ExchangeRecord,
        admitted_s: float,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._voice = voice
        self._plan = plan
        self._upstream = upstream
        self._adapters = adapters
        self._account = account
        self._record = record
        self._admitted_s = admitted_s
        self._clock = clock
        self._sleep = sleep
        self._attempts: list[Attempt] = []
        self._running: RunningAttempt | None = None
        self._open = False
        self.waited_s = 0.0

    @property
    def committed(self) -> RunningAttempt:
        assert self._running is not None, "commit() has not returned"
        return self._running

    async def commit(self) -> RunningAttempt:
        """The attempt whose ``first`` bytes may be sent. Raises ExchangeFailed when there is none."""
        if self._plan.failure is not None:
            raise ExchangeFailed(self._plan.failure)
        while True:
            step = next_step(self._plan, self._attempts, self._clock(), self._admitted_s)
            match step:
                case GiveUp():
                    raise ExchangeFailed(step.failure)
                case Wait():
                    await self._wait(step)
                case Start():
                    running = await self._try(step.candidate)
                    if running is not None:
                        return running

    async def _wait(self, step: Wait) -> None:
        assert step.until_s is not None, "nothing is running that could end"
        pause_s = max(0.0, step.until_s - self._clock())
        self.waited_s += pause_s
        await self._sleep(pause_s)

    async def _try(self, number: int) -> RunningAttempt | None:
        """One attempt with candidate ``number`` up to its commit; None if it failed."""
        started_s = self._clock()
        self._attempts.append(Attempt(number, started_s))
        try:
            running = self._prepare(number)
        except BadRequest as refused:
            self._failed(number, started_s, _cannot_carry(refused.failure), "")
            return None
        return await self._begin(running, number)

    def _prepare(self, number: int) -> RunningAttempt:
        """Format the call. Raises BadRequest when the candidate's dialect cannot carry the request."""
        deployment = self._plan.candidates[number].deployment
        first, own = choose_dialect(self._voice.request, deployment), deployment.provider.dialect
        try:
            return self._format(deployment, first)
        except BadRequest:
            if first is own or self._voice.request.dialect is first:
                raise
        # Responses knows neither `stop` nor several choices: what it cannot carry may still go as a chat.
        return self._format(deployment, own)

    def _format(self, deployment: Deployment, dialect: Dialect) -> RunningAttempt:
        adapter = self._adapters.get(dialect)
        if adapter is None:
            raise BadRequest(f"this version does not speak {dialect.value}")
        lane = choose_lane(self._voice, adapter, deployment)
        call = lane.format_call(deployment, self._plan.overrides)
        return RunningAttempt(deployment=deployment, adapter=adapter, lane=lane, call=call, clock=self._clock)

    async def _begin(self, running: RunningAttempt, number: int) -> RunningAttempt | None:
        self._account.begin(running.deployment)
        self._running, self._open = running, True
        deadline_s = self._admitted_s + self._plan.fallback.deadline_s
        sent_s = self._clock()
        try:
            await running.begin(self._upstream, deadline_s=deadline_s)
        except AttemptFailed as failed:
            self._settle(failed.failure)
            self._failed(number, running.started_s, failed.failure, running.lane.name)
            return None
        finally:
            self.waited_s += self._clock() - sent_s
        return running

    def _failed(self, number: int, started_s: float, failure: Failure, lane: str) -> None:
        now_s = self._clock()
        self._attempts[-1] = replace(self._attempts[-1], ended_s=now_s, failure=failure)
        name = self._plan.candidates[number].deployment.name
        self._record.attempts.append(AttemptRecord(name, lane, now_s - started_s, failure))

    async def rest(self) -> AsyncGenerator[bytes, None]:
        """The committed stream's remaining pieces. Raises ExchangeFailed after the last good one."""
        try:
            async with contextlib.aclosing(self.committed.rest()) as pieces:
                async for piece in pieces:
                    yield piece
        except AttemptFailed as failed:
            self._finish(failed.failure)
            raise ExchangeFailed(failed.failure) from None

    def end(self) -> None:
        """The committed answer is complete and with the client."""
        self._finish(None)

    async def close(self) -> None:
        """Release the connection: to the pool if the answer is complete, else cut, so that the provider stops.

        An attempt that is still open was left by its client, and is settled as cancelled.
        """
        running = self._running
        if running is None:
            return
        if self._open:
            self._finish(None, cancelled=True)
        try:
            await running.drain()
        finally:
            running.close()
            self._running = None

    def _finish(self, failure: Failure | None, *, cancelled: bool = False) -> None:
        running = self.committed
        duration_s = self._clock() - running.started_s
        self._record.attempts.append(
            AttemptRecord(running.deployment.name, running.lane.name, duration_s, failure)
        )
        self._record.usage = running.usage
        self._record.cost_nanos = price(running.deployment, running.usage)
        self._settle(failure, cancelled=cancelled)

    def _settle(self, failure: Failure | None, *, cancelled: bool = False) -> None:
        running = self.committed
        first_s = None if running.first_content_s is None else running.first_content_s - running.started_s
        self._account.settle(
            running.deployment,
            failure=failure,
            first_content_s=first_s,
            total_s=self._clock() - running.started_s,
            cancelled=cancelled,
        )
        self._open = False


def _cannot_carry(failure: Failure) -> Failure:
    return replace(failure, kind=FailureKind.UNSUPPORTED)
