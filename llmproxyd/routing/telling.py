"""What the client is told when nobody is left to ask: of several failures the one that helps most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

from msgspec.structs import replace

from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.plan import Attempt

_PASSES = 0  # may be gone in a moment: the client does well to come back
_HELD_BACK = 1  # the same, but nobody was asked: what somebody answered says more
_CALLERS = 2  # lies in the request: the client can change it
_OPERATORS = 3  # lies in our configuration: the client can do nothing

_USEFULNESS: Mapping[FailureKind, int] = {
    FailureKind.RATE_LIMITED: _PASSES,
    FailureKind.OVERLOADED: _PASSES,
    FailureKind.TIMEOUT: _PASSES,
    FailureKind.UNREACHABLE: _PASSES,
    FailureKind.BAD_ANSWER: _PASSES,
    FailureKind.SATURATED: _HELD_BACK,
    FailureKind.TOO_LARGE: _CALLERS,
    FailureKind.CONTENT_REFUSED: _CALLERS,
    FailureKind.UNSUPPORTED: _CALLERS,
    FailureKind.PROVIDER_DENIED: _OPERATORS,
    FailureKind.MODEL_UNAVAILABLE: _OPERATORS,
}


def may_pass(kind: FailureKind) -> bool:
    """Whether such a failure may be gone in a moment, without anybody changing anything."""
    return _USEFULNESS.get(kind, _OPERATORS) <= _HELD_BACK


def most_useful(attempts: Sequence[Attempt], now_s: float) -> Failure | None:
    """The failure to answer with, None if nothing has failed. ``retry_after_s`` is what is left of it at ``now_s``.

    Of each candidate the last failure counts. All rate limited: the one that can be retried first. Else those that may
    pass by themselves before those the caller must mend, before those only the operator can; among equals the first
    candidate's, because it is whom the operator wanted asked.
    """
    last: dict[int, Failure] = {}
    for attempt in attempts:
        if attempt.failure is not None:
            last[attempt.candidate] = _as_of(now_s, attempt, attempt.failure)
    if not last:
        return None
    failures = [failure for _, failure in sorted(last.items(), key=lambda item: item[0])]
    if all(failure.kind is FailureKind.RATE_LIMITED for failure in failures):
        return min(failures, key=lambda f: inf if f.retry_after_s is None else f.retry_after_s)
    return min(failures, key=lambda f: _USEFULNESS.get(f.kind, _OPERATORS))


def too_late(deadline_s: float) -> Failure:
    """The deadline came before anything else. deadline_s: seconds after admission."""
    message = f"No provider answered within {deadline_s:g} s."
    return Failure(FailureKind.TIMEOUT, message, code="deadline_exceeded")


def _as_of(now_s: float, attempt: Attempt, failure: Failure) -> Failure:
    if failure.retry_after_s is None:
        return failure
    ended_s = now_s if attempt.ended_s is None else attempt.ended_s
    return replace(failure, retry_after_s=max(0.0, ended_s + failure.retry_after_s - now_s))
