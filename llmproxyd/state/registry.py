"""Owns what lasts: the state of every deployment and provider, what servers said they have, who was ever usable.

Keyed by ``Deployment.key`` and ``Provider.identity``, so that a reload which changes neither keeps everything, an open
breaker too. What a reload removed is dropped as soon as its last call has ended. One event loop uses it; nothing here
waits or locks, and no call costs more than a few microseconds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from itertools import count

from llmproxyd.state.breaker import Refusal
from llmproxyd.state.changes import HealthChange, Tell, ignore
from llmproxyd.state.credentials import CREDENTIALS_QUARANTINED, KeyRings, utc_today
from llmproxyd.state.deployment import DeploymentState
from llmproxyd.state.health import Outcome
from llmproxyd.state.provider import PROBES_BEFORE_EMPTY, ProviderState
from llmproxyd.state.report import (
    CredentialReport,
    DeploymentReport,
    Moment,
    ProviderReport,
    report_credentials,
    report_deployment,
    report_provider,
)
from llmproxyd.state.timing import UNKNOWN, Timers
from llmproxyd.values.contracts import Listed
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.plan import Breaker, Gauge, Readings
from llmproxyd.values.snapshot import Deployment, Provider, Snapshot

PROBE_OF_DOWN, PROBE_MIN_S, PROBE_MAX_S = 0.05, 1.0, 30.0
"""An ill provider is probed after 5 % of the time it has been down, within these bounds."""

BREAKER_OPEN = "breaker_open"
COOLING = "cooling"

__all__ = [
    "BREAKER_OPEN", "COOLING", "CREDENTIALS_QUARANTINED", "PROBES_BEFORE_EMPTY", "CredentialReport", "DeploymentReport",
    "HealthChange", "Outcome", "ProviderReport", "Registry", "Timers",
]  # fmt: skip


class Registry:
    """Everything that outlives a snapshot. All times are monotonic seconds.

    Before the first ``reconcile`` it knows nobody, and keeps nothing beyond the calls that run.
    ``other_than_mock``: some provider besides `mock` is, or once was, usable; it never becomes False again.
    ``tell`` hears of every change that people should know of. ``jitter`` gives 0..1. ``today``: ISO date, UTC, by which
    keys expire.
    """

    def __init__(
        self,
        *,
        tell: Tell = ignore,
        jitter: Callable[[], float] = random.random,
        today: Callable[[], str] = utc_today,
    ) -> None:
        self.other_than_mock = False
        self._tell = tell
        self._jitter = jitter
        self._deployments: dict[str, DeploymentState] = {}
        self._providers: dict[str, ProviderState] = {}
        self._rings = KeyRings(tell, today)
        self._identity_of: dict[str, str] = {}
        self._served: dict[str, tuple[Deployment, ...]] = {}
        self._wanted: frozenset[str] = frozenset()
        self._wanted_providers: frozenset[str] = frozenset()
        self._turns = count()
        self._now_s = 0.0

    # --- before a call ------------------------------------------------------------------------------------------

    def refusal(self, deployment: Deployment, now_s: float, *, force: bool = False) -> Failure | None:
        """Why a call may not begin now; None: it may. Changes nothing, so ``started`` must follow before anything else
        happens.

        RATE_LIMITED while it cools, SATURATED ``breaker_open`` while it is open or its trial is taken (``force``: is
        called all the same), PROVIDER_DENIED ``credentials_quarantined`` when no key may be used. ``retry_after_s``: what
        is left.
        """
        self._now_s = now_s
        state = self._deployments.get(deployment.key)
        if state is not None and state.switch.tripped:
            refused = state.switch.refusal(now_s)
            if refused is not None and (refused.breaker is Breaker.COOLING or not force):
                return _failure_of(refused, deployment.provider)
        return self._rings.refusal(_identity(deployment.provider), deployment, now_s)

    def with_key(self, deployment: Deployment) -> Deployment:
        """``deployment`` with the key to use now as ``provider.secret``; itself where that is the first one."""
        return self._rings.with_key(_identity(deployment.provider), deployment, self._now_s)

    def timers(self, deployment: Deployment, stream: bool, effort: str | None, bytes_in: int) -> Timers:
        """What was learnt of such calls to it; all None without history."""
        state = self._deployments.get(deployment.key)
        return UNKNOWN if state is None else state.timers(stream, effort, bytes_in)

    # --- what the exchange reports ------------------------------------------------------------------------------

    def started(self, deployment: Deployment, now_s: float) -> None:
        """A call begins. Every one is followed by exactly one ``ended``."""
        self._now_s = now_s
        state = self._deployments.get(deployment.key) or self._track(deployment)
        became = state.started(now_s)
        if became is not None:
            self._tell(state.change(deployment, became, now_s))
        self._provider(deployment.provider).health.started(now_s)

    def ended(self, deployment: Deployment, outcome: Outcome, now_s: float) -> None:
        """A call is over, however it ended. ``deployment`` as ``with_key`` gave it: an answer clears that key."""
        self._now_s = now_s
        identity = _identity(deployment.provider)
        state = self._deployments.get(deployment.key)
        if state is not None:
            became = state.ended(outcome, now_s)
            if became is not None:
                self._tell(state.change(deployment, became, now_s))
        self._provider(deployment.provider).ended(outcome, now_s)
        if outcome.answered:
            self._note_usable(deployment.provider)
            self._rings.answered(identity, deployment, now_s)
        if deployment.key not in self._wanted or identity not in self._wanted_providers:
            self._drop_if_gone(deployment, identity)

    def denied(self, deployment: Deployment, failure: Failure, now_s: float) -> bool:
        """The provider refused (401, 403) the key that ``deployment``, as ``with_key`` gave it, was called with: that
        key is not used for ``recover_after_s``, doubled each time, an hour at most. True: another key is left."""
        self._now_s = now_s
        identity = _identity(deployment.provider)
        if identity not in self._wanted_providers:
            return False  # removed by a reload while the call was under way
        return self._rings.denied(identity, deployment, failure, now_s)

    def probed(
        self,
        provider: Provider,
        *,
        ok: bool,
        alive: bool,
        detail: str,
        now_s: float,
        models: tuple[Listed, ...] | None,
    ) -> None:
        """A probe has ended. ``alive``: somebody answered, and not with 5xx. ``detail``: what went wrong, for the operator.
        ``models``: what the server says it has, None if it was not asked or could not be understood."""
        self._now_s = now_s
        identity = _identity(provider)
        if identity not in self._wanted_providers:
            return  # removed by a reload while the probe was under way
        state = self._provider(provider)
        state.probed(provider, ok=ok, alive=alive, detail=detail, now_s=now_s, models=models)
        if ok:
            self._note_usable(provider)
        self._tell_breakers(identity, alive, now_s)
        missing = state.missing(provider)
        if missing is not None:
            self._tell(missing)

    def _tell_breakers(self, identity: str, alive: bool, now_s: float) -> None:
        """Of a probe. Those that were never called have no breaker until there is a reason to open it."""
        for deployment in self._served.get(identity, ()):
            state = self._deployments.get(deployment.key)
            if state is None:
                if alive:
                    continue
                state = self._track(deployment)
            became = state.probed(alive, now_s)
            if became is not None:
                self._tell(state.change(deployment, became, now_s))

    def _note_usable(self, provider: Provider) -> None:
        # A server that is up but offers nothing in this snapshot cannot take over from `mock` yet.
        if not self.other_than_mock and not provider.is_mock and _identity(provider) in self._served:
            self.other_than_mock = True

    # --- what routing and discovery read ------------------------------------------------------------------------

    def readings(self, deployments: Iterable[Deployment], now_s: float) -> Readings:
        """Frozen gauges of these deployments; one that nothing is known of has none."""
        self._now_s = now_s
        known, all_well = self._deployments, True
        gauges: dict[str, Gauge] = {}
        for deployment in deployments:
            state = known.get(deployment.key)
            if state is not None:
                gauges[deployment.key] = state.gauge(now_s)
                if not state.well:
                    all_well = False
        return Readings(gauges, self.other_than_mock, now_s, all_well)

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

    def last_called_s(self, provider: Provider) -> float | None:
        """When a call to it last began or ended; None: never."""
        state = self._providers.get(_identity(provider))
        return None if state is None else state.health.last_call_s

    def to_probe(self, now_s: float) -> Mapping[str, float]:
        """When those providers are due for a probe that have an ill deployment, by their identity."""
        due_s: dict[str, float] = {}
        for state in self._deployments.values():
            down_s = state.switch.down_s
            if down_s is None or state.owner not in self._wanted_providers:
                continue
            owner = self._providers.get(state.owner)
            last_s = owner.last_probe_s if owner is not None else None
            every_s = min(PROBE_MAX_S, max(PROBE_MIN_S, PROBE_OF_DOWN * (now_s - down_s)))
            next_s = (down_s if last_s is None else max(down_s, last_s)) + every_s
            due_s[state.owner] = min(next_s, due_s.get(state.owner, next_s))
        return due_s

    # --- reload -------------------------------------------------------------------------------------------------

    def reconcile(self, snapshot: Snapshot, now_s: float) -> None:
        """Adopt what a new snapshot names: known keys keep their state with its new numbers, idle ones it no longer names
        are dropped, busy ones go with their last call."""
        self._now_s = now_s
        self._wanted = frozenset(d.key for d in snapshot.deployments)
        self._identity_of = {name: _identity(p) for name, p in snapshot.providers.items()}
        self._wanted_providers = frozenset(self._identity_of.values())
        self._served = _by_provider(snapshot.deployments)
        self._deployments = {
            k: s for k, s in self._deployments.items() if k in self._wanted or s.health.in_flight
        }
        self._providers = {
            k: s for k, s in self._providers.items() if k in self._wanted_providers or s.health.in_flight
        }
        for deployment in snapshot.deployments:
            state = self._deployments.get(deployment.key)
            if state is not None:
                state.adopt(_identity(deployment.provider), deployment.provider)
        self._rings.reconcile(
            (_identity(p), p, [d.key for d in self._served.get(_identity(p), ())])
            for p in snapshot.providers.values()
        )
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

    def _track(self, deployment: Deployment) -> DeploymentState:
        provider = deployment.provider
        state = self._deployments[deployment.key] = DeploymentState(
            _identity(provider), provider, self._jitter
        )
        return state

    def _provider(self, provider: Provider) -> ProviderState:
        identity = _identity(provider)
        state = self._providers.get(identity)
        if state is None:
            state = self._providers[identity] = ProviderState()
        return state

    def _drop_if_gone(self, deployment: Deployment, identity: str) -> None:
        state = self._deployments.get(deployment.key)
        if state is not None and not state.health.in_flight and deployment.key not in self._wanted:
            del self._deployments[deployment.key]
        if identity not in self._wanted_providers and not self._providers[identity].health.in_flight:
            del self._providers[identity]

    # --- for people ---------------------------------------------------------------------------------------------

    def report(self, snapshot: Snapshot, now_s: float, wall_s: float) -> tuple[ProviderReport, ...]:
        """Every provider of the snapshot, in its order. ``wall_s``: Unix seconds at ``now_s``."""
        moment, served = Moment(now_s, wall_s), _by_provider(snapshot.deployments)
        return tuple(
            self._report(provider, served.get(_identity(provider), ()), moment)
            for provider in snapshot.providers.values()
        )

    def _report(self, provider: Provider, served: tuple[Deployment, ...], moment: Moment) -> ProviderReport:
        identity = _identity(provider)
        state = self._providers.get(identity) or ProviderState()
        uptime = state.uptime.shares(moment.now_s)
        return report_provider(
            provider,
            state,
            tuple(report_deployment(d, self._deployments.get(d.key), uptime, moment) for d in served),
            report_credentials(provider, self._rings.get(identity), moment, self._rings.today()),
            moment,
        )


def _failure_of(refused: Refusal, provider: Provider) -> Failure:
    if refused.breaker is Breaker.COOLING:
        return Failure(
            FailureKind.RATE_LIMITED,
            f"{provider.name} asked for a pause",
            code=COOLING,
            retry_after_s=refused.retry_after_s,
        )
    return Failure(
        FailureKind.SATURATED,
        f"{provider.name} failed lately and is not called until it is likely to be well again",
        code=BREAKER_OPEN,
        retry_after_s=refused.retry_after_s,
    )


def _by_provider(deployments: Iterable[Deployment]) -> dict[str, tuple[Deployment, ...]]:
    """By the identity of their provider."""
    found: dict[str, list[Deployment]] = {}
    for deployment in deployments:
        found.setdefault(_identity(deployment.provider), []).append(deployment)
    return {identity: tuple(served) for identity, served in found.items()}


def _identity(provider: Provider) -> str:
    return provider.identity or provider.name
