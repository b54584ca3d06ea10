"""What is known of providers, deployments and keys, put into words and wall clock time for people.

`registry` keeps it and calls the functions here. Nothing here holds a key or a word of a request.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from llmproxyd.state.changes import help_for
from llmproxyd.state.credentials import Bar, Key, KeyRing, expires_wall_s, help_for_key, keys_of
from llmproxyd.state.deployment import DeploymentState
from llmproxyd.state.provider import ProviderState
from llmproxyd.state.timing import Learnt
from llmproxyd.state.uptime import UNKNOWN, Shares
from llmproxyd.values.failure import FailureKind
from llmproxyd.values.plan import Breaker
from llmproxyd.values.snapshot import Deployment, Provider

MAX_REMEDIES = 3


class DeploymentReport(msgspec.Struct, frozen=True):
    """A deployment for people. ``breaker``: closed, recovering, half_open, cooling or open; ``cause`` and ``help`` say why
    it is not closed and what to do, else empty. ``ready_in_s``: until it is tried again. ``success_rate`` 0..1 of recent
    calls. ``last_*_s`` are Unix time; None: never, or not known. ``causes``: failures so far by kind."""

    name: str
    model: str
    breaker: str
    cause: str
    help: str
    ready_in_s: float
    share: float
    in_flight: int
    requests: int
    successes: int
    failures: int
    consecutive_failures: int
    success_rate: float | None
    mean_first_content_s: float | None
    mean_total_s: float | None
    last_checked_s: float | None
    last_success_s: float | None
    last_failure_s: float | None
    uptime: Shares = UNKNOWN
    causes: Mapping[str, int] = msgspec.field(default_factory=dict)
    learnt: tuple[Learnt, ...] = ()


class CredentialReport(msgspec.Struct, frozen=True):
    """A key for people, never the key itself. ``state``: ready, restricted (some deployments may not be called with it),
    quarantined, on trial (its quarantine is over and no call has shown yet that it works), expired. ``until`` is Unix
    time: when the quarantine ends, else when the key expires. ``help``: what to do, empty where nothing need be."""

    name: str
    state: str
    until: float | None
    help: str


class ProviderReport(msgspec.Struct, frozen=True):
    """A provider for people. ``state``: available, failing, not yet tested, not configured, disabled; ``reason`` says
    why where it is not available. ``success_rate`` 0..1; times in seconds, ``last_*`` Unix time; None: nothing yet."""

    name: str
    preset: str
    zone: str
    state: str
    reason: str
    requests: int
    successes: int
    failures: int
    success_rate: float | None
    mean_response_s: float | None
    last_success_s: float | None
    last_failure_s: float | None
    models: tuple[str, ...]
    mean_first_content_s: float | None = None
    last_checked_s: float | None = None
    in_flight: int = 0
    uptime: Shares = UNKNOWN
    deployments: tuple[DeploymentReport, ...] = ()
    credentials: tuple[CredentialReport, ...] = ()


class Moment(msgspec.Struct, frozen=True):
    """One moment on both clocks: monotonic, and Unix seconds. What was kept of the past is told by the latter."""

    now_s: float
    wall_s: float

    def told(self, at_s: float | None) -> float | None:
        """A monotonic time on the wall clock as it goes now."""
        return None if at_s is None else self.wall_s + (at_s - self.now_s)


def report_deployment(
    deployment: Deployment, state: DeploymentState | None, uptime: Shares, moment: Moment
) -> DeploymentReport:
    """``uptime``: what is known of its provider, for one that was never called itself."""
    if state is None:
        return _untouched(deployment, uptime)
    health, switch, now_s = state.health, state.switch, moment.now_s
    breaker, ready_s, share = switch.reading(now_s)
    known = health.successes + health.failures
    return DeploymentReport(
        name=deployment.name,
        model=deployment.model,
        breaker=breaker.value,
        cause=switch.cause.value if switch.cause else "",
        help=help_for(switch.cause, deployment.provider),
        ready_in_s=max(0.0, ready_s - now_s),
        share=share,
        in_flight=health.in_flight,
        requests=health.requests,
        successes=health.successes,
        failures=health.failures,
        consecutive_failures=switch.consecutive_failures,
        success_rate=health.success_rate(now_s) if known else None,
        mean_first_content_s=health.latency_s,
        mean_total_s=health.total_s,
        last_checked_s=moment.told(state.last_checked_s),
        last_success_s=moment.told(health.last_success_s),
        last_failure_s=moment.told(health.last_failure_s),
        uptime=state.uptime.shares(now_s),
        causes={kind.value: number for kind, number in health.causes.items()},
        learnt=tuple(state.timing.learnt()),
    )


def _untouched(deployment: Deployment, uptime: Shares) -> DeploymentReport:
    return DeploymentReport(
        name=deployment.name,
        model=deployment.model,
        breaker=Breaker.CLOSED.value,
        cause="",
        help="",
        ready_in_s=0.0,
        share=1.0,
        in_flight=0,
        requests=0,
        successes=0,
        failures=0,
        consecutive_failures=0,
        success_rate=None,
        mean_first_content_s=None,
        mean_total_s=None,
        last_checked_s=None,
        last_success_s=None,
        last_failure_s=None,
        uptime=uptime,
    )


def report_credentials(
    provider: Provider, ring: KeyRing | None, moment: Moment, today: str
) -> tuple[CredentialReport, ...]:
    """Every key, in order of preference; a provider without a key has none until one is asked for."""
    asked = ring is not None and not ring.is_clear
    return tuple(
        _report_key(provider, key, ring.bars(key) if ring is not None else [], moment, today)
        for key in keys_of(provider)
        if key.secret is not None or asked
    )


def _report_key(
    provider: Provider, key: Key, bars: list[Bar], moment: Moment, today: str
) -> CredentialReport:
    expires = expires_wall_s(key)
    if key.until is not None and key.until <= today:
        remedy = (
            f"{key.name} of `{provider.name}` was to be used until {key.until}: put a new key in its place"
        )
        return CredentialReport(key.name, "expired", expires, remedy)
    if not bars:
        return CredentialReport(key.name, "ready", expires, "")
    remedy = "; ".join(help_for_key(key, provider, bar.where) for bar in bars[:MAX_REMEDIES])
    if bars[0].where:
        return CredentialReport(key.name, "restricted", expires, remedy)
    if bars[0].until_s > moment.now_s:
        return CredentialReport(key.name, "quarantined", moment.told(bars[0].until_s), remedy)
    return CredentialReport(key.name, "on trial", expires, remedy)


def report_provider(
    provider: Provider,
    state: ProviderState,
    deployments: tuple[DeploymentReport, ...],
    credentials: tuple[CredentialReport, ...],
    moment: Moment,
) -> ProviderReport:
    """``deployments`` and ``credentials``: those of this provider."""
    health = state.health
    judged = health.successes + health.failures
    word, reason = _state_of(provider, state, deployments, credentials)
    return ProviderReport(
        name=provider.name,
        preset=provider.preset,
        zone=provider.zone.value,
        state=word,
        reason=reason,
        requests=health.requests,
        successes=health.successes,
        failures=health.failures,
        success_rate=health.successes / judged if judged else None,
        mean_response_s=health.total_s,
        last_success_s=moment.told(health.last_success_s),
        last_failure_s=moment.told(health.last_failure_s),
        models=tuple(report.model for report in deployments),
        mean_first_content_s=health.latency_s,
        last_checked_s=moment.told(state.last_checked_s),
        in_flight=health.in_flight,
        uptime=state.uptime.shares(moment.now_s),
        deployments=deployments,
        credentials=credentials,
    )


def _state_of(
    provider: Provider,
    state: ProviderState,
    deployments: tuple[DeploymentReport, ...],
    credentials: tuple[CredentialReport, ...],
) -> tuple[str, str]:
    """The provider's state in one word, and why and what to do where it is not available."""
    if not provider.enabled:
        return "disabled", "disabled in the configuration"
    if not provider.configured:
        return "not configured", provider.reason
    if credentials and all(key.state in _UNUSABLE for key in credentials):
        return "failing", f"no key may be used: {credentials[0].help}"
    if deployments and all(report.cause not in _NOT_ILL for report in deployments):
        return "failing", _reason_for_open(deployments[0], state.trouble)
    if state.works is None and not provider.is_mock:
        return "not yet tested", "no probe and no call has ended yet"
    # The built-in provider is always there.
    return ("failing", state.trouble) if state.works is False else ("available", "")


_UNUSABLE = frozenset({"quarantined", "expired"})
_NOT_ILL = frozenset({"", FailureKind.RATE_LIMITED.value})


def _reason_for_open(report: DeploymentReport, trouble: str) -> str:
    when = f"tried again in {report.ready_in_s:.0f} s" if report.ready_in_s else "being tried again"
    return "; ".join(part for part in (trouble or report.cause, when, report.help) if part)
