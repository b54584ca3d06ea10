"""All that is remembered of one deployment: its health, breaker, usual times and uptime, and the gauge made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from llmproxyd.state.breaker import BreakerSwitch
from llmproxyd.state.changes import HealthChange, help_for
from llmproxyd.state.health import GOOD_RECORD, Health, Outcome
from llmproxyd.state.timing import Timers, Timing
from llmproxyd.state.uptime import Uptime
from llmproxyd.values.failure import FailureKind
from llmproxyd.values.plan import Breaker, Gauge
from llmproxyd.values.snapshot import Deployment, Provider

_REFRESH_S = 1.0
_TOLD_AS: Mapping[Breaker, str] = {
    Breaker.OPEN: "breaker_opened",
    Breaker.HALF_OPEN: "breaker_half_open",
    Breaker.CLOSED: "breaker_closed",
    Breaker.COOLING: "cooling",
}


class DeploymentState:
    """Times are monotonic seconds. ``gauge`` is what routing reads; ``well`` says of the last one given whether it is
    closed and has a good record. ``started``, ``ended`` and ``probed`` return what people should hear (`BreakerSwitch`).
    """

    __slots__ = (
        "_called", "_gauge", "_stale_s", "health", "last_checked_s", "owner", "switch", "timing", "uptime", "well",
    )  # fmt: skip

    def __init__(self, owner: str, provider: Provider, jitter: Callable[[], float]) -> None:
        """``owner``: the identity of its provider."""
        self.owner = owner
        self.health = Health()
        self.switch = BreakerSwitch(provider.unhealthy_after, provider.recover_after_s, jitter=jitter)
        self.timing = Timing()
        self.uptime = Uptime()
        self.last_checked_s: float | None = None
        self.well = True
        self._called = False
        self._gauge: Gauge | None = None
        self._stale_s = 0.0

    def adopt(self, owner: str, provider: Provider) -> None:
        """The operator's numbers may have changed; what is open stays open."""
        self.owner = owner
        self.switch.unhealthy_after = provider.unhealthy_after
        self.switch.recover_after_s = provider.recover_after_s
        self._gauge = None

    def started(self, now_s: float) -> Breaker | None:
        self._gauge = None
        self.health.started(now_s)
        return self.switch.started(now_s)

    def ended(self, outcome: Outcome, now_s: float) -> Breaker | None:
        self._gauge = None
        self._called = True
        self.health.ended(outcome, now_s)
        self.timing.learn(outcome)
        if outcome.ok or outcome.blames_provider:
            self.uptime.count(outcome.ok, now_s)
        if outcome.answered or outcome.blames_provider:
            self.last_checked_s = now_s
        return self.switch.ended(outcome, now_s)

    def probed(self, alive: bool, now_s: float) -> Breaker | None:
        self._gauge = None
        self.last_checked_s = now_s
        called, self._called = self._called, False
        if not called:
            self.uptime.count(alive, now_s)
        return self.switch.probed(alive, now_s)

    def gauge(self, now_s: float) -> Gauge:
        """The same object while nothing changes, for a second at most and never beyond a change of the breaker."""
        known = self._gauge
        if known is not None and now_s < self._stale_s:
            return known
        breaker, ready_s, share = self.switch.reading(now_s)
        health = self.health
        rate = health.success_rate(now_s)
        seen = health.successes + health.failures
        self.well = breaker is Breaker.CLOSED and rate >= GOOD_RECORD
        self._stale_s = min(now_s + _REFRESH_S, self.switch.changes_s(now_s))
        self._gauge = Gauge(health.in_flight, health.expected_s(now_s), seen, rate, breaker, ready_s, share)
        return self._gauge

    def timers(self, stream: bool, effort: str | None, bytes_in: int) -> Timers:
        """See `timing`. While it is ill each trial that failed doubles the limits."""
        failed_trials = 0 if self.switch.down_s is None else self.switch.failed_trials
        return self.timing.timers(stream, effort, bytes_in, failed_trials)

    def change(self, deployment: Deployment, became: Breaker, now_s: float) -> HealthChange:
        """What ``started``, ``ended`` or ``probed`` has just returned, as people are told."""
        # A pause is its own cause, also while the deployment is ill.
        cause = FailureKind.RATE_LIMITED if became is Breaker.COOLING else self.switch.cause
        _, ready_s, _ = self.switch.reading(now_s)
        return HealthChange(
            kind=_TOLD_AS[became],
            subject=deployment.name,
            cause="" if cause is None else cause.value,
            for_s=ready_s - now_s if ready_s > now_s else None,
            help=help_for(cause, deployment.provider),
        )
