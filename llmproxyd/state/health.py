"""What the calls of a deployment, or of a provider, came to: counters and moving averages.

Mutable, kept across reloads. All times are monotonic seconds, so that no jump of the wall clock is noticed. Whether
somebody is still called is `breaker`'s to say, who comes first is routing's.
"""

from __future__ import annotations

from math import exp2

import msgspec

from llmproxyd.values.failure import Failure, FailureKind, Fault

RISE = 0.5
"""Weight of a sample above the average: half the way up at once, so that trouble shows within a call or two."""
FALL = 0.2
"""Weight of a sample below it: half-life 3.1 samples, so that one lucky answer forgives nothing."""
IDLE_HALF_LIFE_S = 120.0
"""How fast the latency of a deployment that is not called is forgotten: it gets another chance in the end."""
PENALTY_S = 5.0
"""What a failed call adds to the latency: one that fails at once must not look quick."""
PENALTY_HALF_LIFE_S = 10.0

RECORD_WEIGHT = 0.05
"""Weight of one call in the success rate: half of it is the last 14 calls."""
RECORD_HALF_LIFE_S = 60.0
"""How fast a bad record of a deployment that is not called is forgotten: else it would never be called again."""
GOOD_RECORD = 0.8
"""A success rate from which on a record is good."""


class Outcome(msgspec.Struct, frozen=True):
    """How an attempt ended. Seconds since dispatch. ``first_content_s`` None: no content, or an answer that came whole.

    Neither ``ok`` nor a ``failure``: the client left or the attempt lost a race; it says nothing about the provider.
    ``stream``, ``effort`` and ``bytes_in`` (size of the request) say what kind of call it was, since each kind has its
    own usual time. ``longest_gap_s``: between two pieces of content, None where there were no two.
    """

    ok: bool
    failure: Failure | None
    first_content_s: float | None
    total_s: float
    stream: bool = False
    effort: str | None = None
    bytes_in: int = 0
    longest_gap_s: float | None = None

    @property
    def blames_provider(self) -> bool:
        """Whether the provider failed, rather than the caller or we."""
        return self.failure is not None and self.failure.consequence.fault is Fault.PROVIDER

    @property
    def answered(self) -> bool:
        """Whether the provider did its part: it answered, if only to say what is wrong with the request."""
        return self.ok or (self.failure is not None and self.failure.consequence.fault is Fault.CALLER)


class Health(msgspec.Struct):
    """``successes`` and ``failures`` count what the provider did well or badly; a caller's own mistakes count as neither.
    ``causes``: the failures by kind.

    ``latency_s``: time to first content, ``total_s``: whole time, both moving averages over successes, None before the
    first. ``last_*_s``: monotonic, None: never; ``last_call_s`` is when one last began or ended.
    """

    in_flight: int = 0
    requests: int = 0
    successes: int = 0
    failures: int = 0
    latency_s: float | None = None
    total_s: float | None = None
    last_call_s: float | None = None
    last_success_s: float | None = None
    last_failure_s: float | None = None
    last_failure: Failure | None = None
    causes: dict[FailureKind, int] = msgspec.field(default_factory=dict)
    _sampled_s: float = 0.0
    _penalised_s: float | None = None
    _misses: float = 0.0
    _recorded_s: float = 0.0

    def started(self, now_s: float) -> None:
        """A call begins."""
        self.in_flight += 1
        self.requests += 1
        self.last_call_s = now_s

    def ended(self, outcome: Outcome, now_s: float) -> None:
        """A call that was ``started`` is over."""
        self.in_flight = max(0, self.in_flight - 1)
        self.last_call_s = now_s
        if outcome.ok:
            self._succeeded(outcome, now_s)
        elif outcome.failure is not None and outcome.blames_provider:
            self._failed(outcome.failure, now_s)

    def _succeeded(self, outcome: Outcome, now_s: float) -> None:
        self.successes += 1
        self.last_success_s = now_s
        self._penalised_s = None
        self._record(0.0, now_s)
        self.total_s = average(self.total_s, outcome.total_s)
        if outcome.first_content_s is not None:
            self.latency_s = average(self._remembered_s(now_s), outcome.first_content_s)
        self._sampled_s = now_s

    def _failed(self, failure: Failure, now_s: float) -> None:
        self.failures += 1
        self.causes[failure.kind] = self.causes.get(failure.kind, 0) + 1
        self.last_failure_s = now_s
        self.last_failure = failure
        self._penalised_s = now_s
        # Who asks for a pause works; when the pause is over it is as good as before.
        if failure.kind is not FailureKind.RATE_LIMITED:
            self._record(1.0, now_s)

    def _record(self, missed: float, now_s: float) -> None:
        if missed or self._misses:
            known = 1.0 - self.success_rate(now_s)
            self._misses = known + (missed - known) * RECORD_WEIGHT
        self._recorded_s = now_s

    def success_rate(self, now_s: float) -> float:
        """0..1: recent calls count most, and a bad record fades while nobody calls; 1 without history."""
        if not self._misses:
            return 1.0
        return 1.0 - self._misses * _remains(now_s - self._recorded_s, RECORD_HALF_LIFE_S)

    def expected_s(self, now_s: float) -> float | None:
        """How long the first content of a call is likely to take; of one that gave whole answers only, all of it."""
        latency_s = self.total_s if self.latency_s is None else self.latency_s
        if latency_s is not None:
            latency_s *= _remains(now_s - self._sampled_s, IDLE_HALF_LIFE_S)
        if self._penalised_s is None:
            return latency_s
        return (latency_s or 0.0) + PENALTY_S * _remains(now_s - self._penalised_s, PENALTY_HALF_LIFE_S)

    def _remembered_s(self, now_s: float) -> float | None:
        if self.latency_s is None:
            return None
        return self.latency_s * _remains(now_s - self._sampled_s, IDLE_HALF_LIFE_S)


def average(known: float | None, sample: float) -> float:
    """A moving average that rises faster than it falls; the first sample stands as it is."""
    if known is None:
        return sample
    return known + (sample - known) * (RISE if sample > known else FALL)


def _remains(elapsed_s: float, half_life_s: float) -> float:
    """What is left of 1 after a while."""
    return exp2(-max(0.0, elapsed_s) / half_life_s)
