"""Is a deployment healthy: counters and moving averages of what its calls came to.

Mutable, one per deployment (and one per provider), kept across reloads. Judging by it is routing's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp2

from llmproxyd.values.failure import Failure, Fault
from llmproxyd.values.plan import Gauge

RISE = 0.5
"""Weight of a sample above the average: half the way up at once, so that trouble shows within a call or two."""
FALL = 0.2
"""Weight of a sample below it: half-life 3.1 samples, so that one lucky answer forgives nothing."""
IDLE_HALF_LIFE_S = 120.0
"""How fast the latency of a deployment that is not called is forgotten: it gets another chance in the end."""
PENALTY_S = 5.0
"""What a failed call adds to the latency: one that fails at once must not look quick."""
PENALTY_HALF_LIFE_S = 10.0

_REFRESH_S = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended. ``first_content_s`` None: no content, or an answer that came whole. Seconds since dispatch.

    Neither ``ok`` nor a ``failure``: the client left or the attempt lost a race; it says nothing about the provider.
    """

    ok: bool
    failure: Failure | None
    first_content_s: float | None
    total_s: float

    @property
    def blames_provider(self) -> bool:
        """Whether the provider failed, rather than the caller or we."""
        return self.failure is not None and self.failure.consequence.fault is Fault.PROVIDER

    @property
    def answered(self) -> bool:
        """Whether the provider did its part: it answered, if only to say what is wrong with the request."""
        return self.ok or (self.failure is not None and self.failure.consequence.fault is Fault.CALLER)


@dataclass(slots=True)
class Health:
    """``successes`` and ``failures`` count what the provider did well or badly; a caller's own mistakes count as neither.

    ``consecutive_failures`` counts those that say the deployment is unwell (the failure table's ``unhealthy``) since it
    last answered. ``latency_s``: time to first content, ``total_s``: whole time, both moving averages over successes,
    None before the first. ``last_success_s``, ``last_failure_s``: wall clock.
    """

    in_flight: int = 0
    requests: int = 0
    successes: int = 0
    failures: int = 0
    consecutive_failures: int = 0
    latency_s: float | None = None
    total_s: float | None = None
    last_success_s: float | None = None
    last_failure_s: float | None = None
    last_failure: Failure | None = None
    _sampled_s: float = 0.0
    _penalised_s: float | None = None
    _gauge: Gauge | None = None
    _gauged_s: float = 0.0

    def started(self) -> None:
        """A call begins."""
        self.in_flight += 1
        self.requests += 1
        self._gauge = None

    def ended(self, outcome: Outcome, wall_s: float) -> None:
        """A call that was ``started`` is over. ``wall_s``: Unix seconds."""
        self.in_flight = max(0, self.in_flight - 1)
        self._gauge = None
        if outcome.ok:
            self._succeeded(outcome, wall_s)
        elif outcome.blames_provider:
            self._failed(outcome, wall_s)
        elif outcome.answered:
            self.consecutive_failures = 0

    def _succeeded(self, outcome: Outcome, wall_s: float) -> None:
        self.successes += 1
        self.consecutive_failures = 0
        self.last_success_s = wall_s
        self._penalised_s = None
        self.total_s = average(self.total_s, outcome.total_s)
        if outcome.first_content_s is not None:
            self.latency_s = average(self._remembered_s(wall_s), outcome.first_content_s)
        self._sampled_s = wall_s

    def _failed(self, outcome: Outcome, wall_s: float) -> None:
        assert outcome.failure is not None
        self.failures += 1
        self.consecutive_failures += outcome.failure.consequence.unhealthy
        self.last_failure_s = wall_s
        self.last_failure = outcome.failure
        self._penalised_s = wall_s

    def gauge(self, wall_s: float = 0.0) -> Gauge:
        """What routing reads. ``wall_s``: Unix seconds, as far as the caller knows; the same object while nothing
        changes within a second.

        A deployment that only ever gave whole answers is judged by its total time.
        """
        known = self._gauge
        if known is not None and abs(wall_s - self._gauged_s) < _REFRESH_S:
            return known
        self._gauge = Gauge(self.in_flight, self._expected_s(wall_s), self.successes + self.failures)
        self._gauged_s = wall_s
        return self._gauge

    def _remembered_s(self, wall_s: float) -> float | None:
        if self.latency_s is None:
            return None
        return self.latency_s * _remains(wall_s - self._sampled_s, IDLE_HALF_LIFE_S)

    def _expected_s(self, wall_s: float) -> float | None:
        latency_s = self.total_s if self.latency_s is None else self.latency_s
        if latency_s is not None:
            latency_s *= _remains(wall_s - self._sampled_s, IDLE_HALF_LIFE_S)
        if self._penalised_s is None:
            return latency_s
        return (latency_s or 0.0) + PENALTY_S * _remains(wall_s - self._penalised_s, PENALTY_HALF_LIFE_S)


def average(known: float | None, sample: float) -> float:
    """A moving average that rises faster than it falls; the first sample stands as it is."""
    if known is None:
        return sample
    return known + (sample - known) * (RISE if sample > known else FALL)


def _remains(elapsed_s: float, half_life_s: float) -> float:
    """What is left of 1 after a while; a clock that was set back forgets nothing."""
    return exp2(-max(0.0, elapsed_s) / half_life_s)
