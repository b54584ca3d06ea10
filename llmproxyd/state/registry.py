"""Owns what lasts: the health of every deployment and provider, what servers said they have, who was ever usable.

Keyed by ``Deployment.key`` and ``Provider.identity``, so that a reload which changes neither keeps everything. What a
reload removed is dropped as soon as its last call has ended. One event loop uses it; nothing here waits or locks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count

from llmproxyd.state.health import Health, Outcome
from llmproxyd.values.contracts import Listed
from llmproxyd.values.failure import Failure
from llmproxyd.values.plan import Gauge, Readings
from llmproxyd.values.snapshot import Deployment, Provider, Snapshot

PROBES_BEFORE_EMPTY = 3
"""After so many failed probes in a row a server's list of models is forgotten: it is gone, not just slow."""

_REASON_CHARS = 200

__all__ = ["PROBES_BEFORE_EMPTY", "Outcome", "ProviderReport", "Registry"]


@dataclass(frozen=True, slots=True)
class ProviderReport:
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


@dataclass(slots=True)
class _ProviderState:
    """``works`` is how the last probe or call went, None before the first; ``trouble`` what was wrong with it."""

    health: Health = field(default_factory=Health)
    works: bool | None = None
    trouble: str = ""
    failed_probes: int = 0
    models: tuple[Listed, ...] | None = None


class Registry:
    """Everything that outlives a snapshot. Times are wall clock, Unix seconds.

    Before the first ``reconcile`` it knows nobody, and keeps nothing beyond the calls that run.
    ``other_than_mock``: some provider besides `mock` is, or once was, usable; it never becomes False again.
    """

    def __init__(self) -> None:
        self.other_than_mock = False
        self._health: dict[str, Health] = {}
        self._providers: dict[str, _ProviderState] = {}
        self._identity_of: dict[str, str] = {}
        self._wanted: frozenset[str] = frozenset()
        self._wanted_providers: frozenset[str] = frozenset()
        self._offering: frozenset[str] = frozenset()
        self._turns = count()
        # The latest time anybody reported: readings need no clock of their own.
        self._wall_s = 0.0

    # --- what the exchange reports ------------------------------------------------------------------------------

    def started(self, deployment: Deployment) -> None:
        """A call begins. Every one is followed by exactly one ``ended``."""
        health = self._health.get(deployment.key)
        if health is None:
            health = self._health[deployment.key] = Health()
        health.started()
        self._provider(deployment.provider).health.started()

    def ended(self, deployment: Deployment, outcome: Outcome, wall_s: float) -> None:
        """A call is over, however it ended."""
        self._wall_s = wall_s
        health, state = self._health.get(deployment.key), self._provider(deployment.provider)
        if health is not None:
            health.ended(outcome, wall_s)
        state.health.ended(outcome, wall_s)
        if outcome.answered:
            self._works(deployment.provider, state)
        elif outcome.blames_provider and outcome.failure is not None:
            state.works, state.trouble = False, _trouble(outcome.failure)
        self._drop_if_gone(deployment)

    def probed(
        self, provider: Provider, *, ok: bool, detail: str, wall_s: float, models: tuple[Listed, ...] | None
    ) -> None:
        """A probe has ended. ``detail``: what went wrong, for the operator. ``models``: what the server says it has,
        None if it was not asked or could not be understood."""
        self._wall_s = wall_s
        if _identity(provider) not in self._wanted_providers:
            return  # removed by a reload while the probe was under way
        state = self._provider(provider)
        if ok:
            state.failed_probes = 0
            if models is not None:
                state.models = models
            self._works(provider, state)
            return
        state.works, state.trouble = False, detail[:_REASON_CHARS]
        state.failed_probes += 1
        if provider.discover and state.models is not None and state.failed_probes >= PROBES_BEFORE_EMPTY:
            state.models = ()

    def _works(self, provider: Provider, state: _ProviderState) -> None:
        state.works, state.trouble = True, ""
        # A server that is up but offers nothing in this snapshot cannot take over from `mock` yet.
        if not provider.is_mock and _identity(provider) in self._offering:
            self.other_than_mock = True

    # --- what routing and discovery read ------------------------------------------------------------------------

    def readings(self, deployments: Iterable[Deployment]) -> Readings:
        """Frozen gauges of these deployments; one that was never called has none."""
        health_of, wall_s = self._health, self._wall_s
        gauges: dict[str, Gauge] = {}
        for deployment in deployments:
            health = health_of.get(deployment.key)
            if health is not None:
                gauges[deployment.key] = health.gauge(wall_s)
        return Readings(gauges, self.other_than_mock)

    def next_turn(self) -> int:
        """Numbers the questions of this process, from 0."""
        return next(self._turns)

    def discovered(self) -> Mapping[str, tuple[Listed, ...]]:
        """By provider name, the models that servers last said they have; nobody who never said."""
        known: dict[str, tuple[Listed, ...]] = {}
        for name, identity in self._identity_of.items():
            state = self._providers.get(identity)
            if state is not None and state.models is not None:
                known[name] = state.models
        return known

    # --- reload -------------------------------------------------------------------------------------------------

    def reconcile(self, snapshot: Snapshot) -> None:
        """Adopt what a new snapshot names: known keys keep their state, idle ones it no longer names are dropped, busy
        ones go with their last call."""
        self._wanted = frozenset(d.key for d in snapshot.deployments)
        self._identity_of = {name: _identity(p) for name, p in snapshot.providers.items()}
        self._wanted_providers = frozenset(self._identity_of.values())
        self._health = {k: h for k, h in self._health.items() if k in self._wanted or h.in_flight}
        self._providers = {
            k: s for k, s in self._providers.items() if k in self._wanted_providers or s.health.in_flight
        }
        self._offering = frozenset(_identity(d.provider) for d in snapshot.deployments)
        if any(self._is_usable(d.provider) for d in snapshot.deployments):
            self.other_than_mock = True

    def _is_usable(self, provider: Provider) -> bool:
        """A key is there, or the server has answered."""
        if provider.is_mock or not provider.enabled or not provider.configured:
            return False
        if not provider.keyless:
            return True
        state = self._providers.get(_identity(provider))
        return state is not None and state.works is True

    def _provider(self, provider: Provider) -> _ProviderState:
        identity = _identity(provider)
        state = self._providers.get(identity)
        if state is None:
            state = self._providers[identity] = _ProviderState()
        return state

    def _drop_if_gone(self, deployment: Deployment) -> None:
        health = self._health.get(deployment.key)
        if health is not None and not health.in_flight and deployment.key not in self._wanted:
            del self._health[deployment.key]
        identity = _identity(deployment.provider)
        if identity not in self._wanted_providers and not self._providers[identity].health.in_flight:
            del self._providers[identity]

    # --- for people ---------------------------------------------------------------------------------------------

    def report(self, snapshot: Snapshot) -> tuple[ProviderReport, ...]:
        """Every provider of the snapshot, in its order."""
        models: dict[str, list[str]] = {}
        for deployment in snapshot.deployments:
            models.setdefault(deployment.provider.name, []).append(deployment.model)
        return tuple(
            self._report(provider, tuple(models.get(name, ())))
            for name, provider in snapshot.providers.items()
        )

    def _report(self, provider: Provider, models: tuple[str, ...]) -> ProviderReport:
        state = self._providers.get(_identity(provider)) or _ProviderState()
        health = state.health
        judged = health.successes + health.failures
        word, reason = _state_of(provider, state)
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
            last_success_s=health.last_success_s,
            last_failure_s=health.last_failure_s,
            models=models,
        )


def _state_of(provider: Provider, state: _ProviderState) -> tuple[str, str]:
    if not provider.enabled:
        return "disabled", "disabled in the configuration"
    if not provider.configured:
        return "not configured", provider.reason
    if state.works is None:
        return "not yet tested", "no probe and no call has ended yet"
    return ("available", "") if state.works else ("failing", state.trouble)


def _trouble(failure: Failure) -> str:
    return f"{failure.kind}: {failure.detail or failure.message}"[:_REASON_CHARS]


def _identity(provider: Provider) -> str:
    return provider.identity or provider.name
