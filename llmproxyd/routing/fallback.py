"""Again, next, beside it, or stop: walks a plan after each change.

Pure: the same plan, attempts, time and allowance give the same step, backoff included. Which kinds of failure permit what
is the table's business (``values.failure``); the operator's policy narrows it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from random import Random
from typing import TypeAlias

from llmproxyd.routing.telling import most_useful, too_late
from llmproxyd.values.failure import ALWAYS_FALL_BACK, Failure, FailureKind, Fault
from llmproxyd.values.plan import Allowance, Attempt, GiveUp, Plan, Start, Step, Wait
from llmproxyd.values.snapshot import Deployment

LINE_CODE = "queue"
"""``Failure.code`` of a saturated candidate that has a line to wait in; ``retry_after_s`` is the expected wait."""
BREAKER_CODE = "breaker_open"
"""``Failure.code`` of a candidate that was not called because of what happened to it before."""
EXTRA_PATIENCE_S = 5.0
"""How long an attempt beyond the first waits until the retry budget allows it."""

_OURS = Failure(
    FailureKind.INTERNAL, "There was nobody to ask.", detail="a plan without candidates or failure"
)

_Option: TypeAlias = tuple[float, Start]
"""(from when, what); the time may be past."""
_Resort: TypeAlias = Callable[[Plan, Sequence[Attempt]], _Option | None]


def next_step(
    plan: Plan,
    attempts: Sequence[Attempt],
    now_s: float,
    admitted_s: float,
    allowance: Allowance = Allowance(),  # noqa: B008 - frozen, and allows what nobody bounds
) -> Step:
    """What to do now. Asked again after every change, and when a Wait is over.

    attempts: all so far, in the order they were started. now_s, admitted_s: the same monotonic clock, seconds.
    Start: begin an attempt now. Wait: until that time, or until a running attempt ends. GiveUp: for good; an attempt that
    still runs is to be cancelled. After a success there is nothing left to do.

    The next candidate comes at once. When none is left, in this order: the same one again with backoff, or its line,
    whichever is sooner; those their breakers hold back, once each; those that asked for a short pause. Never more than
    ``plan.fallback.attempts`` calls, never a start after the deadline or within a pause a provider asked for. A candidate
    that was not called (``sent`` False) costs no attempt, and nobody has to allow the next one. Each call after the first
    waits for ``allowance.extra_from_s``, a while.
    """
    if plan.failure is not None or not plan.candidates:
        return GiveUp(plan.failure or _OURS)
    if any(a.ended_s is not None and a.failure is None for a in attempts):
        return Wait(None)
    policy = plan.fallback
    deadline_s = admitted_s + policy.deadline_s
    if now_s >= deadline_s:
        return GiveUp(most_useful(attempts, now_s) or too_late(policy.deadline_s))
    if not attempts:
        return Start(0)
    final = _final_failure(plan, attempts)
    if any(a.ended_s is None for a in attempts):
        if final is not None and final.consequence.fault is Fault.CALLER:
            return GiveUp(final)  # the other one was asked the same
        return Wait(deadline_s) if final else _beside(plan, attempts, now_s, deadline_s, allowance)
    if final is not None:
        return GiveUp(final)
    return _after(plan, attempts, now_s, deadline_s, allowance) or GiveUp(
        most_useful(attempts, now_s) or _OURS
    )


def anybody_left(
    plan: Plan, attempts: Sequence[Attempt], may_be_called: Callable[[Deployment], bool] = lambda _: True
) -> bool:
    """Whether a timeout of what runs now would lead to somebody who was not asked yet, and ``may_be_called``: only then is
    it worth more to give a slow attempt up early than to let it go on."""
    policy = plan.fallback
    if FailureKind.TIMEOUT not in policy.on or _sent(attempts) >= policy.attempts:
        return False
    asked = {a.candidate for a in attempts}
    return any(
        place not in asked and _admissible(plan, place, attempts) and may_be_called(candidate.deployment)
        for place, candidate in enumerate(plan.candidates)
    )


def _beside(
    plan: Plan, attempts: Sequence[Attempt], now_s: float, deadline_s: float, allowance: Allowance
) -> Step:
    """While something runs: a second candidate once the first has been silent for too long, else patience."""
    place = _hedge(plan, attempts)
    if place is None:
        return Wait(deadline_s)
    from_s = max(allowance.hedge_from_s, allowance.extra_from_s)
    return Start(place, hedge=True) if from_s <= now_s else Wait(min(deadline_s, from_s))


def _hedge(plan: Plan, attempts: Sequence[Attempt]) -> int | None:
    """Who may be begun beside the one attempt that runs; each has one other beside it at most."""
    policy = plan.fallback
    running = [number for number, a in enumerate(attempts) if a.ended_s is None]
    if policy.hedge is None or not policy.on or len(running) != 1 or _sent(attempts) >= policy.attempts:
        return None
    if any(a.hedge and not _unsent(a) for a in attempts[running[0] :]):
        return None
    return _next_fresh(plan, attempts)


def _after(
    plan: Plan, attempts: Sequence[Attempt], now_s: float, deadline_s: float, allowance: Allowance
) -> Step | None:
    """When nothing runs: the first resort that is left; None when none is."""
    if _sent(attempts) >= plan.fallback.attempts:
        return None
    options = (resort(plan, attempts) for resort in _RESORTS)
    option = next((o for o in options if o is not None and o[0] < deadline_s), None)
    if option is None:
        return None
    from_s = _allowed_from_s(attempts, option[0], allowance)
    if from_s <= now_s:
        return option[1]
    return Wait(from_s) if from_s < deadline_s else None


def _allowed_from_s(attempts: Sequence[Attempt], from_s: float, allowance: Allowance) -> float:
    """When the retry budget, too, allows it; inf if that is too far off."""
    extra_s = allowance.extra_from_s
    if extra_s <= from_s or not _sent(attempts):
        return from_s
    # From when it was wanted, not from now: others may take what becomes free, again and again.
    return extra_s if extra_s <= from_s + EXTRA_PATIENCE_S else inf


def _unsent(attempt: Attempt) -> bool:
    kind = attempt.failure.kind if attempt.failure else None
    return not attempt.sent or kind in ALWAYS_FALL_BACK


def _sent(attempts: Sequence[Attempt]) -> int:
    """How many calls really went out."""
    return sum(not _unsent(a) for a in attempts)


def _final_failure(plan: Plan, attempts: Sequence[Attempt]) -> Failure | None:
    """A failure after which nobody else may be asked."""
    for attempt in attempts:
        failure = attempt.failure
        if failure is None or _unsent(attempt) or _has_another_key(attempt):
            continue
        if failure.kind not in plan.fallback.on or not failure.consequence.fallback:
            return failure
    return None


# --- resorts ----------------------------------------------------------------------------------------------------


def _another_key(plan: Plan, attempts: Sequence[Attempt]) -> _Option | None:
    """Whoever was called with a key that is not valid any more, with its next one."""
    for place, own in _admissible_ones(plan, attempts):
        if _has_another_key(own[-1]):
            return _ended_s(own[-1]), _start(place, own)
    return None


def _fresh(plan: Plan, attempts: Sequence[Attempt]) -> _Option | None:
    place = _next_fresh(plan, attempts)
    return None if place is None else (max(_ended_s(a) for a in attempts), Start(place))


def _next_fresh(plan: Plan, attempts: Sequence[Attempt]) -> int | None:
    """The first candidate that was not asked yet and that no failure so far speaks against."""
    asked = {a.candidate for a in attempts}
    for place in range(len(plan.candidates)):
        if place not in asked and _admissible(plan, place, attempts):
            return place
    return None


def _again_or_in_line(plan: Plan, attempts: Sequence[Attempt]) -> _Option | None:
    """A retry or a place in a line, whichever comes to something first. A line is entered at once."""
    again, line = _soonest_retry(plan, attempts), _shortest_line(plan, attempts)
    if again is None or line is None:
        return again or (line[1] if line else None)
    return again if again[0] < line[0] else line[1]


def _soonest_retry(plan: Plan, attempts: Sequence[Attempt]) -> _Option | None:
    options = []
    for place, own in _admissible_ones(plan, attempts):
        delay_s = _delay_s(plan, place, own)
        if delay_s is not None:
            options.append((_ended_s(own[-1]) + delay_s, _start(place, own)))
    return min(options, key=_when, default=None)


def _shortest_line(plan: Plan, attempts: Sequence[Attempt]) -> tuple[float, _Option] | None:
    """(when it is expected to be called, the option) of those who have a line; each is entered once."""
    lines = []
    for place, own in _admissible_ones(plan, attempts):
        if _refused(own, LINE_CODE) == 1 and _was_refused(own[-1], LINE_CODE):
            entered_s, failure = _ended_s(own[-1]), own[-1].failure
            wait_s = failure.retry_after_s if failure else None
            expected_s = inf if wait_s is None else entered_s + wait_s
            lines.append((expected_s, (entered_s, _start(place, own))))
    return min(lines, key=lambda line: line[0], default=None)


def _forced(plan: Plan, attempts: Sequence[Attempt]) -> _Option | None:
    """Although its breaker is open: nobody better is left. Once each, in the plan's order."""
    for place, own in _admissible_ones(plan, attempts):
        if _refused(own, BREAKER_CODE) == 1 and _was_refused(own[-1], BREAKER_CODE):
            return _ended_s(own[-1]), _start(place, own)
    return None


def _rested(plan: Plan, attempts: Sequence[Attempt]) -> _Option | None:
    """Whoever was left alone because it had asked for a pause, when the pause is over, if it is short."""
    options = []
    for place, own in _admissible_ones(plan, attempts):
        pause_s = _pause_left_s(own)
        if pause_s is not None and pause_s <= plan.fallback.retry_cap_s:
            options.append((_ended_s(own[-1]) + pause_s, _start(place, own)))
    return min(options, key=_when, default=None)


_RESORTS: Sequence[_Resort] = (_another_key, _fresh, _again_or_in_line, _forced, _rested)
"""In the order they are tried."""


def _when(option: _Option) -> float:
    return option[0]


def _start(place: int, own: Sequence[Attempt]) -> Start:
    """Once it was refused for its breaker or its line, it is called in spite of the one and waits in the other."""
    return Start(place, force=_refused(own, BREAKER_CODE) > 0, queue=_refused(own, LINE_CODE) > 0)


def _admissible_ones(plan: Plan, attempts: Sequence[Attempt]) -> list[tuple[int, list[Attempt]]]:
    """(place, its attempts) of those that were asked and that may be asked again, in the plan's order."""
    own: dict[int, list[Attempt]] = {}
    for attempt in attempts:
        own.setdefault(attempt.candidate, []).append(attempt)
    return [(place, own[place]) for place in sorted(own) if _admissible(plan, place, attempts)]


def _was_refused(attempt: Attempt, code: str) -> bool:
    failure = attempt.failure
    return failure is not None and failure.kind is FailureKind.SATURATED and failure.code == code


def _refused(own: Sequence[Attempt], code: str) -> int:
    return sum(_was_refused(a, code) for a in own)


def _pause_left_s(own: Sequence[Attempt]) -> float | None:
    """How long one that was not called has to be left alone; None if that is not why, or if it was waited for before."""
    last = own[-1]
    if last.failure is None or last.failure.kind is not FailureKind.RATE_LIMITED or not _unsent(last):
        return None
    if (
        sum(_unsent(a) and a.failure is not None and a.failure.kind is FailureKind.RATE_LIMITED for a in own)
        > 1
    ):
        return None
    pause_s = last.failure.retry_after_s
    return None if pause_s is None else max(0.0, pause_s)


def _ended_s(attempt: Attempt) -> float:
    assert attempt.ended_s is not None, "asked only when nothing runs"
    return attempt.ended_s


def _has_another_key(attempt: Attempt) -> bool:
    denied = attempt.failure is not None and attempt.failure.kind is FailureKind.PROVIDER_DENIED
    return denied and attempt.another_key and not _unsent(attempt)


def _admissible(plan: Plan, place: int, attempts: Sequence[Attempt]) -> bool:
    """Whether what failed elsewhere would not fail here for the same reason."""
    deployment = plan.candidates[place].deployment
    for attempt in attempts:
        if attempt.failure is None:
            continue
        failed = plan.candidates[attempt.candidate].deployment
        if attempt.failure.kind is FailureKind.PROVIDER_DENIED and not _has_another_key(attempt):
            # One account, its last key: a sister deployment would be denied as well.
            if failed.provider.name == deployment.provider.name:
                return False
        elif attempt.failure.kind is FailureKind.TOO_LARGE:
            known, tried = deployment.context_window, failed.context_window
            if known is not None and tried is not None and known <= tried:
                return False
    return True


# --- how long to wait -------------------------------------------------------------------------------------------


def _delay_s(plan: Plan, place: int, own: Sequence[Attempt]) -> float | None:
    """How long after its last attempt a candidate may be called again; None: never.

    What the provider asked for, to the millisecond; nobody waits for a long pause, the client is told instead. Else
    anything up to a bound that doubles with each retry: clients that failed together must not come back together.
    """
    policy, last, retries = plan.fallback, own[-1], _sent(own) - 1
    failure = last.failure
    if failure is None or _unsent(last) or not failure.retryable or not failure.consequence.retry:
        return None
    # One that was called although its breaker was open has had its chance.
    if retries >= _retries_allowed(plan, place) or _refused(own, BREAKER_CODE):
        return None
    if failure.retry_after_s is not None:
        pause_s = max(0.0, failure.retry_after_s)
        return pause_s if pause_s <= policy.retry_cap_s else None
    # The exponent is bounded because floats are; any cap is reached long before.
    ceiling_s = min(policy.retry_cap_s, policy.retry_base_s * 2.0 ** min(retries, 60))
    return Random(f"{plan.seed}/{place}/{retries}").uniform(0.0, ceiling_s)


def _retries_allowed(plan: Plan, place: int) -> int:
    own = plan.candidates[place].deployment.provider.max_retries
    return plan.fallback.retry_max if own is None else min(own, plan.fallback.retry_max)
