"""The line before one provider: enter, or wait until it is your turn, or be told at once that it will not be in time.

Room frees when a call ends, by time, or by a reload. Each time those whose turn it is are let in, and nobody else is
woken. All of it happens between two awaits, so that room is never promised twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from typing import Final

import msgspec

from llmproxyd.exchange.room import Room
from llmproxyd.exchange.turns import RANKS, Toll, Turns, Waiter
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import Priority
from llmproxyd.values.snapshot import Limits

MOST_WAITING: Final = 1000

# The loop's clock may be coarse: a timer that goes off a little early must not be set to "now" again and again.
_SHORTEST_TIMER_S: Final = 0.001

_SOONEST_RETRY_S: Final = 1.0


class Saturated(Exception):  # noqa: N818 - it is an outcome, not an error
    """There is no room, and will not be in time. ``retry_after_s``: when it is worth asking again, at least 1."""

    def __init__(self, provider: str, retry_after_s: float) -> None:
        super().__init__(f"{provider} is full for {retry_after_s:.1f} s")
        self.provider = provider
        self.retry_after_s = retry_after_s

    @property
    def failure(self) -> Failure:
        return Failure(
            FailureKind.SATURATED,
            "As many requests as its limits allow are under way at the provider, and the line is too long.",
            detail=str(self),
            code="queue",
            retry_after_s=self.retry_after_s,
        )


class LineReport(msgspec.Struct, frozen=True):
    """One provider's line as it stands. ``limit``: of ``in_use``, None if unbounded. ``refused``: how many were turned
    away since the line is there, because it was full or would not have moved in time."""

    provider: str
    waiting: dict[Priority, int]
    refused: dict[Priority, int]
    in_use: int
    limit: int | None


class Pass:
    """The right to call a provider. Whoever got it leaves it once, however the call ended; a second time does nothing."""

    __slots__ = ("_entered_s", "_line", "_rank", "_tokens")

    def __init__(self, line: Line | None, tokens: int, rank: int, entered_s: float) -> None:
        self._line = line
        self._tokens = tokens
        self._rank = rank
        self._entered_s = entered_s

    def leave(self, tokens: int | None, now_s: float) -> None:
        """The call is over. ``tokens``: really used, None: unknown, the estimate stands."""
        line, self._line = self._line, None
        if line is None:
            return
        line.room.observe(now_s - self._entered_s)
        used = self._tokens if tokens is None else tokens
        line.left(self._rank, self._entered_s, used - self._tokens, now_s)

    def give_back(self, now_s: float) -> None:
        """There will be no call after all."""
        line, self._line = self._line, None
        if line is not None:
            line.left(self._rank, self._entered_s, -self._tokens, now_s)


class _Waiting(Waiter):
    """``turn`` brings the pass, or the refusal as a value: nobody may be left to take an exception."""

    __slots__ = ("expiry", "turn")

    def __init__(self, toll: Toll, joined_s: float) -> None:
        super().__init__(toll, joined_s)
        self.turn: asyncio.Future[Pass | Saturated] = asyncio.get_running_loop().create_future()
        self.expiry: asyncio.TimerHandle | None = None

    def settle(self, outcome: Pass | Saturated) -> None:
        if self.expiry is not None:
            self.expiry.cancel()
        if not self.turn.done():
            self.turn.set_result(outcome)


class Line:
    """Who is in and who waits. ``clock`` reads the event loop's time, monotonic seconds."""

    def __init__(self, provider: str, limits: Limits, clock: Callable[[], float]) -> None:
        self.room = Room(limits)
        self._provider = provider
        self._clock = clock
        self._turns: Turns[_Waiting] = Turns()
        self._refused = dict.fromkeys(RANKS, 0)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        return not self.room.in_use and not self._turns

    def report(self) -> LineReport:
        return LineReport(
            self._provider,
            self._turns.waiting(),
            dict(self._refused),
            self.room.in_use,
            self.room.limits.concurrency,
        )

    def adopt(self, limits: Limits, now_s: float) -> None:
        """New limits from now on; those who may enter by them do."""
        if limits != self.room.limits:
            self.room.adopt(limits, now_s)
            self._admit(now_s)

    def try_enter(self, toll: Toll, now_s: float) -> Pass | None:
        """None: no room now, or somebody of an equal or higher class is before you."""
        rank = RANKS[toll.priority]
        if self._turns.anybody_before(rank) or not self.room.fits(toll.tokens, now_s):
            return None
        return self._let_in(toll, now_s)

    def expected_wait_s(self, toll: Toll, now_s: float) -> float:
        """How long one who came now would wait; inf: the line is full, and nobody in it has to give way."""
        if len(self._turns) >= MOST_WAITING and self._turns.last_below(RANKS[toll.priority]) is None:
            return inf
        return self._wait_s(toll, now_s)

    async def enter(self, toll: Toll, until_s: float) -> Pass:
        """Wait for your turn until ``until_s`` at most.

        Raises Saturated: at once when the turn is not expected by then or the line is full; when the time is up; when
        somebody of a higher class needs the place in a full line. Cancellation leaves the line.
        """
        now_s = self._clock()
        entered = self.try_enter(toll, now_s)
        if entered is not None:
            return entered
        waiting = self._join(toll, until_s, now_s)
        try:
            outcome = await waiting.turn
        except (asyncio.CancelledError, GeneratorExit):
            self._withdraw(waiting)
            raise
        if isinstance(outcome, Saturated):
            raise outcome
        return outcome

    def left(self, rank: int, entered_s: float, more_tokens: int, now_s: float) -> None:
        """Somebody who was let in at ``entered_s`` is gone, having used so many tokens more than it was charged for."""
        self.room.leave(rank, entered_s)
        self.room.correct(more_tokens, now_s)
        self._admit(now_s)

    # --- joining and leaving the line ---------------------------------------------------------------------------

    def _join(self, toll: Toll, until_s: float, now_s: float) -> _Waiting:
        wait_s = self.expected_wait_s(toll, now_s)
        if wait_s == inf or now_s + wait_s > until_s:
            raise self._refuse(toll, now_s)
        if len(self._turns) >= MOST_WAITING:
            last = self._turns.last_below(RANKS[toll.priority])
            assert last is not None, "a full line without anybody to give way is not waited in"
            self._turn_away(last)
        waiting = _Waiting(toll, now_s)
        if until_s < inf:
            waiting.expiry = waiting.turn.get_loop().call_later(until_s - now_s, self._expire, waiting)
        self._turns.push(waiting)
        if self._turns.first(now_s) is waiting:
            self._admit(now_s)
        return waiting

    def _expire(self, waiting: _Waiting) -> None:
        if waiting in self._turns:
            self._turn_away(waiting)
            self._admit(self._clock())

    def _withdraw(self, waiting: _Waiting) -> None:
        """Its task was cancelled: while it waited, or just when it had been let in."""
        now_s = self._clock()
        if waiting.turn.done() and not waiting.turn.cancelled():
            outcome = waiting.turn.result()
            if isinstance(outcome, Pass):
                outcome.give_back(now_s)
            return
        if waiting.expiry is not None:
            waiting.expiry.cancel()
        if waiting in self._turns:
            self._turns.remove(waiting)
            self._admit(now_s)

    def _turn_away(self, waiting: _Waiting) -> None:
        self._turns.remove(waiting)
        waiting.settle(self._refuse(waiting.toll, self._clock()))

    def _refuse(self, toll: Toll, now_s: float) -> Saturated:
        self._refused[toll.priority] += 1
        return Saturated(self._provider, max(_SOONEST_RETRY_S, self._wait_s(toll, now_s)))

    def _wait_s(self, toll: Toll, now_s: float) -> float:
        ahead, cost = self._turns.ahead(toll)
        return self.room.expected_wait_s(ahead, cost, toll.tokens, RANKS[toll.priority], now_s)

    # --- letting in ---------------------------------------------------------------------------------------------

    def _let_in(self, toll: Toll, now_s: float) -> Pass:
        rank = RANKS[toll.priority]
        self.room.enter(toll.tokens, rank, now_s)
        return Pass(self, toll.tokens, rank, now_s)

    def _admit(self, now_s: float) -> None:
        """Let in those whose turn it is, as far as there is room; look again when time alone makes some."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while (first := self._turns.first(now_s)) is not None:
            if first.turn.done():  # cancelled, and its task has not run since
                self._turns.remove(first)
                continue
            if not self.room.fits(first.toll.tokens, now_s):
                self._look_again(first, self.room.lacks_s(first.toll.tokens, now_s))
                return
            self._turns.serve(first)
            first.settle(self._let_in(first.toll, now_s))

    def _look_again(self, first: _Waiting, in_s: float) -> None:
        if in_s < inf:
            delay_s = max(in_s, _SHORTEST_TIMER_S)
            self._timer = first.turn.get_loop().call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._admit(self._clock())
