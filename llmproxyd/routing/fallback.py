"""Again, next, or stop: walks a plan after each failed attempt.

Pure: the same plan, attempts and time give the same step, backoff included. Which kinds of failure permit what is the
table's business (``values.failure``); the operator's policy narrows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

from llmproxyd.values.failure import ALWAYS_FALL_BACK, Failure, FailureKind
from llmproxyd.values.plan import Attempt, GiveUp, Plan, Start, Step, Wait

_PASSES = 0  # may be gone in a moment: the client does well to come back
_CALLERS = 1  # lies in the request: the client can change it
_OPERATORS = 2  # lies in our configuration: the client can do nothing

_USEFULNESS: Mapping[FailureKind, int] = {
    FailureKind.RATE_LIMITED: _PASSES,
    FailureKind.OVERLOADED: _PASSES,
    FailureKind.TIMEOUT: _PASSES,
    FailureKind.UNREACHABLE: _PASSES,
    FailureKind.BAD_ANSWER: _PASSES,
    FailureKind.SATURATED: _PASSES,
    FailureKind.TOO_LARGE: _CALLERS,
    FailureKind.CONTENT_REFUSED: _CALLERS,
    FailureKind.UNSUPPORTED: _CALLERS,
    FailureKind.PROVIDER_DENIED: _OPERATORS,
    FailureKind.MODEL_UNAVAILABLE: _OPERATORS,
}

_OURS = Failure(
    FailureKind.INTERNAL, "There was nobody to ask.", detail="a plan without candidates or failure"
)


def next_step(plan: Plan, attempts: Sequence[Attempt], now_s: float, admitted_s: float) -> Step:
    """What to do now. Asked again after every change, and when a Wait is over.

    attempts: all so far, in the order they were started. now_s, admitted_s: the same monotonic clock, seconds.
    Start: begin an attempt now. Wait: until that time, or until the running attempt ends. GiveUp: for good; an attempt
    still running then has outlived the deadline and is to be cancelled. After a success there is nothing left to do.

    The next candidate comes at once; the same one again, with backoff, only when none is left. Never more than
    ``plan.fallback.attempts`` calls, never a start after the deadline. A candidate that turned out to be full, or unable
    to carry the request, was not called: it costs no attempt, and nobody has to allow the next one.
    """
    if plan.failure is not None or not plan.candidates:
        return GiveUp(plan.failure or _OURS)
    if any(a.ended_s is not None and a.failure is None for a in attempts):
        return Wait(None)
    policy = plan.fallback
    deadline_s = admitted_s + policy.deadline_s
    if now_s >= deadline_s:
        return GiveUp(_most_useful(attempts, now_s) or _too_late(policy.deadline_s))
    if not attempts:
        return Start(0)
    if any(a.ended_s is None for a in attempts):
        return Wait(deadline_s)
    final = _final_failure(plan, attempts)
    if final is not None:
        return GiveUp(final)
    if _sent(attempts) < policy.attempts:
        fresh = _next_fresh(plan, attempts)
        if fresh is not None:
            return Start(fresh)
        again = _soonest_retry(plan, attempts)
        if again is not None:
            ready_s, candidate = again
            if ready_s <= now_s:
                return Start(candidate)
            if ready_s < deadline_s:
                return Wait(ready_s)
    failure = _most_useful(attempts, now_s)
    return GiveUp(failure or _OURS)


def _sent(attempts: Sequence[Attempt]) -> int:
    """How many calls really went out."""
    return sum(a.failure is None or a.failure.kind not in ALWAYS_FALL_BACK for a in attempts)


def _final_failure(plan: Plan, attempts: Sequence[Attempt]) -> Failure | None:
    """A failure after which nobody else may be asked."""
    for attempt in attempts:
        failure = attempt.failure
        if failure is None or failure.kind in ALWAYS_FALL_BACK:
            continue
        if failure.kind not in plan.fallback.on or not failure.consequence.fallback:
            return failure
    return None


def _next_fresh(plan: Plan, attempts: Sequence[Attempt]) -> int | None:
    """The first candidate that was not asked yet and that no failure so far speaks against."""
    asked = {a.candidate for a in attempts}
    for place in range(len(plan.candidates)):
        if place not in asked and _admissible(plan, place, attempts):
            return place
    return None


def _admissible(plan: Plan, place: int, attempts: Sequence[Attempt]) -> bool:
    """Whether what failed elsewhere would not fail here for the same reason."""
    deployment = plan.candidates[place].deployment
    for attempt in attempts:
        if attempt.failure is None:
            continue
        failed = plan.candidates[attempt.candidate].deployment
        if attempt.failure.kind is FailureKind.PROVIDER_DENIED:
            # One account, one key: a sister deployment would be denied as well.
            if failed.provider.name == deployment.provider.name:
                return False
        elif attempt.failure.kind is FailureKind.TOO_LARGE:
            known, tried = deployment.context_window, failed.context_window
            if known is not None and tried is not None and known <= tried:
                return False
    return True


def _soonest_retry(plan: Plan, attempts: Sequence[Attempt]) -> tuple[float, int] | None:
    """(when, which) of the candidate that may be asked again first; None if none may."""
    soonest: tuple[float, int] | None = None
    for place in sorted({a.candidate for a in attempts}):
        own = [a for a in attempts if a.candidate == place]
        last = own[-1]
        if last.failure is None or last.ended_s is None:
            continue
        if not last.failure.retryable or not last.failure.consequence.retry:
            continue
        retries = len(own) - 1
        if retries >= _retries_allowed(plan, place) or not _admissible(plan, place, attempts):
            continue
        ready_s = last.ended_s + _delay_s(plan, place, retries, last.failure)
        if soonest is None or ready_s < soonest[0]:
            soonest = ready_s, place
    return soonest


def _retries_allowed(plan: Plan, place: int) -> int:
    own = plan.candidates[place].deployment.provider.max_retries
    return plan.fallback.retry_max if own is None else min(own, plan.fallback.retry_max)


def _delay_s(plan: Plan, place: int, retries: int, failure: Failure) -> float:
    """What the provider asked for, to the millisecond; else anything up to a bound that doubles with each retry.

    Full jitter: clients that failed together must not come back together.
    """
    if failure.retry_after_s is not None:
        return max(0.0, failure.retry_after_s)
    policy = plan.fallback
    # The exponent is bounded because floats are; any cap is reached long before.
    ceiling_s = min(policy.retry_cap_s, policy.retry_base_s * 2.0 ** min(retries, 60))
    return Random(f"{plan.seed}/{place}/{retries}").uniform(0.0, ceiling_s)


def _most_useful(attempts: Sequence[Attempt], now_s: float) -> Failure | None:
    """The failure to answer with, None if nothing has failed.

    All rate limited: the one that can be retried first, with what is left of its wait. Else the last failure of each
    candidate counts: those that may pass by themselves before those the caller must mend, before those only the
    operator can; among equals the first candidate's, because it is whom the operator wanted asked.
    """
    last: dict[int, Attempt] = {}
    for attempt in attempts:
        if attempt.failure is not None:
            last[attempt.candidate] = attempt
    if not last:
        return None
    if all(a.failure is not None and a.failure.kind is FailureKind.RATE_LIMITED for a in attempts):
        return _first_to_recover(list(last.values()), now_s)
    failures = [a.failure for _, a in sorted(last.items()) if a.failure is not None]
    return min(failures, key=lambda f: _USEFULNESS.get(f.kind, _OPERATORS))


def _first_to_recover(limited: Sequence[Attempt], now_s: float) -> Failure:
    waits = [
        (max(0.0, (a.ended_s or now_s) + a.failure.retry_after_s - now_s), a.failure)
        for a in limited
        if a.failure is not None and a.failure.retry_after_s is not None
    ]
    if not waits:
        first = limited[0].failure
        assert first is not None
        return first
    wait_s, failure = min(waits, key=lambda wait: wait[0])
    return replace(failure, retry_after_s=wait_s)


def _too_late(deadline_s: float) -> Failure:
    message = f"No provider answered within {deadline_s:g} s."
    return Failure(FailureKind.TIMEOUT, message, code="deadline_exceeded")
