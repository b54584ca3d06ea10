"""Whether a deployment is called: closed -> open or cooling -> half open -> recovering -> closed.

Two reasons hold calls back. A deployment that is *ill* failed several times in a row, or half of the time: it is open for
a cooldown that grows with every trial that fails. One that asked for a pause (429) is *cooling* until exactly the moment
it named, and is not ill. After either, one call at a time tries (half open). Nothing here happens by itself: what time
brings about is worked out when somebody asks, from monotonic seconds that are given.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import msgspec

from llmproxyd.state.health import Outcome
from llmproxyd.values.failure import FailureKind
from llmproxyd.values.plan import Breaker

RAMP_S = 10.0
RAMP_FROM = 0.1
WINDOW_S = 10
WINDOW_CALLS = 20
WINDOW_SHARE = 0.5
COOLDOWN_S = 1.0
COOLDOWN_GROWTH = 1.5
COOLDOWN_OF_DOWN = 0.05
PAUSE_S = 1.5
"""Shortest pause after a 429 that names none; up to twice that by jitter, doubled for each that follows."""
MAX_PAUSE_S = 60.0
TRIAL_RETRY_S = 1.0
"""When to come back while a trial runs: nobody knows how long it takes."""

_PROVEN_BY_PROBE: Final = frozenset({FailureKind.UNREACHABLE, FailureKind.TIMEOUT})
_MAX_EXPONENT = 40
_SAME_CALL_S = 0.05
_NEVER: Final = float("-inf")
_CLOSED: Final = (Breaker.CLOSED, 0.0, 1.0)
_FREE: Final = (Breaker.HALF_OPEN, 0.0, 1.0)
_TAKEN: Final = (Breaker.HALF_OPEN, 0.0, 0.0)


class Refusal(msgspec.Struct, frozen=True):
    """Why a call may not begin now: cooling, open, or half open with its trial taken. ``retry_after_s``: what is left."""

    breaker: Breaker
    retry_after_s: float


class BreakerSwitch:
    """Of one deployment. ``unhealthy_after`` and ``recover_after_s`` (the longest cooldown) may be set at any time.

    ``cause`` and ``consecutive_failures`` are for reports; ``down_s``: since when it is ill, None: it is not;
    ``tripped``: calls are held back, or one is tried. ``started``, ``ended`` and ``probed`` return what it has become if
    people should hear of it: an illness is told once when it begins (again when its cause changes), once when it is
    first tried and once when it is over, a run of pauses once when it begins.
    """

    __slots__ = (
        "_beside", "_called", "_cool_until_s", "_cooldown_end_s", "_held", "_jitter", "_opened_s", "_pauses",
        "_ramp_end_s", "_rate", "_running", "_told_cooling", "_told_trial", "_trial_s", "_trusts_probe", "_waved_through",
        "_well_s", "cause", "consecutive_failures", "down_s", "failed_trials", "recover_after_s", "tripped",
        "unhealthy_after",
    )  # fmt: skip

    def __init__(
        self,
        unhealthy_after: int = 3,
        recover_after_s: float = 300.0,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.unhealthy_after = unhealthy_after
        self.recover_after_s = recover_after_s
        self.tripped = False
        self.cause: FailureKind | None = None
        self.consecutive_failures = 0
        self.failed_trials = 0
        self.down_s: float | None = None
        self._jitter = jitter
        self._rate = _FailureRate()
        self._running = 0
        self._called = False  # since the last probe
        # illness
        self._opened_s = _NEVER
        self._cooldown_end_s = _NEVER
        self._held = False  # the last probe failed
        self._trusts_probe = True
        self._waved_through = False  # a passed probe cut the cooldown short
        self._told_trial = False
        # pauses
        self._cool_until_s = _NEVER
        self._pauses = 0
        self._told_cooling = False
        # the trial, and how many other calls run beside it
        self._trial_s: float | None = None
        self._beside = 0
        # after it
        self._well_s = _NEVER
        self._ramp_end_s = _NEVER

    # --- what it says -------------------------------------------------------------------------------------------

    def reading(self, now_s: float) -> tuple[Breaker, float, float]:
        """Its state, when the next call may begin (monotonic, 0: at once), and the share (0..1) of calls it may take."""
        if not self.tripped:
            left_s = self._ramp_end_s - now_s
            if left_s <= 0.0:
                return _CLOSED
            return Breaker.RECOVERING, 0.0, 1.0 - (1.0 - RAMP_FROM) * min(1.0, left_s / RAMP_S)
        if now_s < self._cool_until_s:
            return Breaker.COOLING, self._ready_s(), 0.0
        if self._trial_s is not None:
            return _TAKEN
        ready_s = self._ready_s()
        return (Breaker.OPEN, ready_s, 0.0) if now_s < ready_s else _FREE

    def refusal(self, now_s: float) -> Refusal | None:
        """None: a call may begin now. Changes nothing."""
        if not self.tripped:
            return None
        breaker, ready_s, share = self.reading(now_s)
        if share > 0.0:
            return None
        return Refusal(breaker, ready_s - now_s if ready_s > now_s else TRIAL_RETRY_S)

    def changes_s(self, now_s: float) -> float:
        """The next moment at which ``reading`` changes by itself; inf: none."""
        moments = (self._cool_until_s, self._ready_s()) if self.tripped else (self._ramp_end_s,)
        return min((moment for moment in moments if moment > now_s), default=float("inf"))

    def _ready_s(self) -> float:
        if self.down_s is None:
            return self._cool_until_s
        latest_s = self._opened_s + self.recover_after_s
        open_until_s = latest_s if self._held else min(self._cooldown_end_s, latest_s)
        return max(self._cool_until_s, open_until_s)

    # --- what it is told ----------------------------------------------------------------------------------------

    def started(self, now_s: float) -> Breaker | None:
        """A call begins, allowed or forced. The first one when half open is the trial."""
        self._running += 1
        self._called = True
        if not self.tripped:
            return None
        if self._trial_s is not None:
            self._beside += 1
            return None
        if self.reading(now_s) is not _FREE:
            return None
        self._trial_s = now_s
        self._beside = self._running - 1
        if self.down_s is None or self._told_trial:
            return None
        self._told_trial = True
        return Breaker.HALF_OPEN

    def ended(self, outcome: Outcome, now_s: float) -> Breaker | None:
        """A call is over. ``outcome.total_s`` says when it began: what began before the last change says little."""
        self._running = max(0, self._running - 1)
        self._called = True
        began_s = now_s - outcome.total_s
        on_trial = self._trial_s is not None and self._ends_trial(began_s, self._trial_s)
        failure = outcome.failure
        if failure is not None and failure.kind is FailureKind.RATE_LIMITED:
            return self._pause(failure.retry_after_s, now_s)
        if outcome.answered:
            return self._answered(began_s, now_s, on_trial=on_trial)
        if failure is not None and failure.consequence.unhealthy:
            return self._failed(failure.kind, began_s, now_s, on_trial=on_trial)
        return None

    def probed(self, alive: bool, now_s: float) -> Breaker | None:
        """A free probe is over. Where something was called since the one before, calls say more than a probe does."""
        idle, self._called = not self._called, False
        if self.down_s is not None:
            if self._trial_s is None:
                self._heed_probe(alive, now_s)
            return None
        if not idle:
            return None
        if not alive:
            return self._failed(FailureKind.UNREACHABLE, now_s, now_s, on_trial=False)
        self.consecutive_failures = 0
        return None

    def _heed_probe(self, alive: bool, now_s: float) -> None:
        self._held = not alive
        if alive and self._trusts_probe and self.cause in _PROVEN_BY_PROBE and now_s < self._cooldown_end_s:
            self._cooldown_end_s = now_s
            self._waved_through = True

    def _ends_trial(self, began_s: float, trial_s: float) -> bool:
        """Whether the call that has just ended was the trial, and not one that ran beside it: older, or forced."""
        if self._beside and abs(began_s - trial_s) > _SAME_CALL_S:
            self._beside -= 1
            return False
        self._trial_s = None
        return True

    # --- what follows -------------------------------------------------------------------------------------------

    def _answered(self, began_s: float, now_s: float, *, on_trial: bool) -> Breaker | None:
        if not self.tripped:
            self.consecutive_failures = 0
            self._pauses = 0
            self._rate.count(False, now_s)
            return None
        # A forced call proves as much as a trial; one from before the trouble proves nothing, and a pause is a pause.
        fresh = on_trial or began_s >= max(self._opened_s, self._cool_until_s)
        return self._recover(now_s) if fresh and now_s >= self._cool_until_s else None

    def _recover(self, now_s: float) -> Breaker | None:
        was_ill = self.down_s is not None
        self.tripped = self._held = self._told_cooling = False
        self.down_s = self.cause = self._trial_s = None
        self.consecutive_failures = self._pauses = 0
        self._well_s = now_s
        self._rate.clear()
        if not was_ill:
            return None
        self._ramp_end_s = now_s + RAMP_S
        return Breaker.CLOSED

    def _failed(self, kind: FailureKind, began_s: float, now_s: float, *, on_trial: bool) -> Breaker | None:
        if self.tripped:
            if not on_trial:
                return None
            self.consecutive_failures += 1
            self.failed_trials = 0 if self.down_s is None else self.failed_trials + 1
            return self._open(kind, now_s)
        if began_s < self._well_s:
            return None  # it began before the recovery: old news
        self.consecutive_failures += 1
        self._rate.count(True, now_s)
        if now_s < self._ramp_end_s:
            self.failed_trials += 1
            return self._open(kind, now_s)
        if self.consecutive_failures >= self.unhealthy_after or self._rate.is_high(now_s):
            self.failed_trials = 0
            return self._open(kind, now_s)
        return None

    def _open(self, kind: FailureKind, now_s: float) -> Breaker | None:
        new = self.down_s is None
        if self.down_s is None:
            self.down_s = now_s
            self._trusts_probe, self._told_trial = True, False
        elif self._waved_through:
            # The probe passed and the call failed: from now on the cooldown must be over as well.
            self._trusts_probe = False
        told = new or kind is not self.cause
        self.tripped, self.cause = True, kind
        self._held = self._waved_through = False
        self._opened_s = now_s
        self._ramp_end_s = _NEVER
        self._cooldown_end_s = now_s + self._cooldown_s(kind, now_s - self.down_s)
        return Breaker.OPEN if told else None

    def _cooldown_s(self, kind: FailureKind, down_for_s: float) -> float:
        """A part of the time it has been down, so that it is not missed for much longer than it was away. Where a trial
        costs its client a long silence, trials become rare by themselves as well."""
        pause_s = max(COOLDOWN_S, COOLDOWN_OF_DOWN * down_for_s)
        if kind is FailureKind.TIMEOUT:
            grown_s = COOLDOWN_S * COOLDOWN_GROWTH ** min(self.failed_trials, _MAX_EXPONENT)
            pause_s = max(pause_s, grown_s)
        return min(self.recover_after_s, pause_s * (0.8 + 0.4 * self._jitter()))

    def _pause(self, asked_s: float | None, now_s: float) -> Breaker | None:
        if asked_s is None or not asked_s > 0.0:
            if now_s < self._cool_until_s:
                return None  # one of those that were under way when the pause began
            asked_s = self._pause_s()
        # A longer pause that is asked for later wins, a shorter one changes nothing.
        self._cool_until_s = max(self._cool_until_s, now_s + asked_s)
        self.tripped = True
        if self.down_s is None:
            self.cause = FailureKind.RATE_LIMITED
        if self._told_cooling:
            return None
        self._told_cooling = True
        return Breaker.COOLING

    def _pause_s(self) -> float:
        pause_s = PAUSE_S * (1.0 + self._jitter()) * 2.0 ** min(self._pauses, _MAX_EXPONENT)
        self._pauses += 1
        return min(MAX_PAUSE_S, pause_s)


class _FailureRate:
    """Calls and failures of the last ten seconds, in buckets of one second."""

    __slots__ = ("_calls", "_failures", "_seconds")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self._seconds = [-1] * WINDOW_S
        self._calls = [0] * WINDOW_S
        self._failures = [0] * WINDOW_S

    def count(self, failed: bool, now_s: float) -> None:
        second = int(now_s)
        place = second % WINDOW_S
        if self._seconds[place] != second:
            self._seconds[place], self._calls[place], self._failures[place] = second, 0, 0
        self._calls[place] += 1
        self._failures[place] += failed

    def is_high(self, now_s: float) -> bool:
        oldest = int(now_s) - WINDOW_S
        calls = failures = 0
        for place, second in enumerate(self._seconds):
            if second > oldest:
                calls += self._calls[place]
                failures += self._failures[place]
        return calls >= WINDOW_CALLS and failures >= WINDOW_SHARE * calls
