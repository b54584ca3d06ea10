"""Which key of a provider is used: the first that is neither past its day nor refused lately.

A key that a provider refused (401) is not used for a while, longer each time. One that it knows but does not allow (403)
is kept from that one deployment only: the others may well be allowed, and one forbidden model must not put out the rest.
What is kept are the refusals, by key; keys themselves come from the provider as the caller's snapshot has it, so that a
changed key is a new key at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from math import inf, isfinite
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from llmproxyd.state.changes import HealthChange, Tell, help_for
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import Deployment, Provider

MAX_BAR_S = 3600.0
CREDENTIALS_QUARANTINED = "credentials_quarantined"
_EVERYWHERE: Final = ""
_MAX_DOUBLINGS = 16


def utc_today() -> str:
    return datetime.now(UTC).date().isoformat()


class Key(NamedTuple):
    """``secret`` None: the provider is called without one, or with one in a header. ``name`` is fit for logs."""

    secret: Secret | None
    name: str
    until: str | None = None


class Bar(msgspec.Struct):
    """One key is not used before ``until_s`` (monotonic), neither anywhere nor, with ``where``, for the deployment of that
    name. After it, it is on trial until a call is answered, or refused again: ``times`` counts refusals in a row."""

    where: str
    until_s: float
    times: int = 0


def keys_of(provider: Provider) -> tuple[Key, ...]:
    """All keys in order of preference; one without a secret if it has none."""
    if provider.credentials:
        return tuple(Key(one.secret, one.name, one.until) for one in provider.credentials)
    return (Key(provider.secret, "no key" if provider.secret is None else "its key"),)


def expires_wall_s(key: Key) -> float | None:
    """When it is not used any more, Unix seconds; None: it has no last day."""
    return None if key.until is None else datetime.fromisoformat(key.until).replace(tzinfo=UTC).timestamp()


def help_for_key(key: Key, provider: Provider, where: str = "") -> str:
    if key.secret is None:
        return f"`{provider.name}` wants a key and is shown none: set `api_key`"
    if where:
        return f"`{provider.name}` does not allow {key.name} to use {where}: grant it there, or leave the model out"
    return f"`{provider.name}` refused {key.name}: renew the key there, or replace it in the configuration"


class KeyRing:
    """The refused keys of one provider."""

    __slots__ = ("_bars", "_keyed", "_providers")

    def __init__(self) -> None:
        self._bars: dict[tuple[Secret | None, str], Bar] = {}
        # What was made last for each deployment, and each key: the same objects as long as nothing changes.
        self._keyed: dict[str, tuple[Deployment, Secret, Deployment]] = {}
        self._providers: dict[Secret, tuple[Provider, Provider]] = {}

    @property
    def is_clear(self) -> bool:
        """No key is barred or on trial."""
        return not self._bars

    def choose(self, deployment: Deployment, now_s: float, today: str) -> tuple[Key | None, float]:
        """The key to call ``deployment`` with, or None and when one may be tried again (inf: never)."""
        ready_s = inf
        for key in keys_of(deployment.provider):
            if key.until is not None and key.until <= today:
                continue
            until_s = self._barred_until_s(key.secret, deployment.key)
            if until_s <= now_s:
                return key, now_s
            ready_s = min(ready_s, until_s)
        return None, ready_s

    def _barred_until_s(self, secret: Secret | None, scope: str) -> float:
        if not self._bars:
            return -inf
        found = self._bars.get((secret, _EVERYWHERE)), self._bars.get((secret, scope))
        return max((bar.until_s for bar in found if bar is not None), default=-inf)

    def bars(self, key: Key) -> list[Bar]:
        """Where ``key`` is barred or on trial, everywhere first."""
        found = (bar for (secret, _), bar in self._bars.items() if secret == key.secret)
        return sorted(found, key=lambda bar: bar.where)

    def bar(self, deployment: Deployment, failure: Failure, now_s: float) -> Bar | None:
        """The provider refused the key that ``deployment`` was called with; None: it was barred when that call ended, so
        that it says nothing new."""
        provider = deployment.provider
        scope, where = (deployment.key, deployment.name) if failure.status == 403 else (_EVERYWHERE, "")
        bar = self._bars.get((provider.secret, scope))
        if bar is None:
            bar = self._bars[provider.secret, scope] = Bar(where, now_s)
        elif now_s < bar.until_s:
            return None
        for_s = min(MAX_BAR_S, provider.recover_after_s * 2.0 ** min(bar.times, _MAX_DOUBLINGS))
        bar.times += 1
        bar.until_s = now_s + for_s
        return bar

    def answered(self, deployment: Deployment, now_s: float) -> list[Bar]:
        """A call was answered: its key works again if it was on trial. The bars that are lifted by that."""
        secret = deployment.provider.secret
        places = [(secret, _EVERYWHERE), (secret, deployment.key)]
        over = [place for place in places if place in self._bars and self._bars[place].until_s <= now_s]
        return [self._bars.pop(place) for place in over]

    def with_key(self, deployment: Deployment, secret: Secret | None) -> Deployment:
        """``deployment`` with that secret as its provider's; itself where that is so already."""
        if secret is None or secret == deployment.provider.secret:
            return deployment
        known = self._keyed.get(deployment.key)
        if known is not None and known[0] is deployment and known[1] == secret:
            return known[2]
        keyed = replace(deployment, provider=self._provider_with(deployment.provider, secret))
        self._keyed[deployment.key] = deployment, secret, keyed
        return keyed

    def _provider_with(self, provider: Provider, secret: Secret) -> Provider:
        known = self._providers.get(secret)
        if known is not None and known[0] is provider:
            return known[1]
        keyed = replace(provider, secret=secret)
        self._providers[secret] = provider, keyed
        return keyed

    def reconcile(self, provider: Provider, scopes: Iterable[str]) -> None:
        """Forget the keys that the provider no longer has, and the deployments it no longer serves (all but ``scopes``)."""
        secrets, known = {key.secret for key in keys_of(provider)}, {_EVERYWHERE, *scopes}
        self._bars = {
            place: bar for place, bar in self._bars.items() if place[0] in secrets and place[1] in known
        }
        self._keyed.clear()
        self._providers.clear()


class KeyRings:
    """The rings of all providers, by their identity. There is none where nothing was refused and nothing expires, which
    is what makes asking cheap. ``today`` gives an ISO date, UTC."""

    def __init__(self, tell: Tell, today: Callable[[], str] = utc_today) -> None:
        self.today = today
        self._tell = tell
        self._rings: dict[str, KeyRing] = {}

    def get(self, identity: str) -> KeyRing | None:
        return self._rings.get(identity)

    def refusal(self, identity: str, deployment: Deployment, now_s: float) -> Failure | None:
        """Why it cannot be called: no key may be used. ``retry_after_s``: when one may be tried again."""
        ring = self._rings.get(identity)
        if ring is None:
            return None
        key, ready_s = ring.choose(deployment, now_s, self.today())
        return None if key is not None else _no_key(deployment.provider, ready_s - now_s)

    def with_key(self, identity: str, deployment: Deployment, now_s: float) -> Deployment:
        ring = self._rings.get(identity)
        if ring is None:
            return deployment
        key, _ = ring.choose(deployment, now_s, self.today())
        return deployment if key is None else ring.with_key(deployment, key.secret)

    def denied(self, identity: str, deployment: Deployment, failure: Failure, now_s: float) -> bool:
        """Bar the key that ``deployment`` was called with. Whether another is left."""
        ring, provider = self._rings.setdefault(identity, KeyRing()), deployment.provider
        bar = ring.bar(deployment, failure, now_s)
        if bar is not None:
            used = (key for key in keys_of(provider) if key.secret == provider.secret)
            key = next(used, Key(provider.secret, "the key it was called with"))
            self._tell(
                HealthChange(
                    "credential_quarantined",
                    bar.where or provider.name,
                    f"status {failure.status}" if failure.status else failure.kind.value,
                    bar.until_s - now_s,
                    help_for_key(key, provider, bar.where),
                )
            )
        return ring.choose(deployment, now_s, self.today())[0] is not None

    def answered(self, identity: str, deployment: Deployment, now_s: float) -> None:
        ring = self._rings.get(identity)
        if ring is None or ring.is_clear:
            return
        for bar in ring.answered(deployment, now_s):
            self._tell(HealthChange("credential_restored", bar.where or deployment.provider.name))

    def reconcile(self, served: Iterable[tuple[str, Provider, Iterable[str]]]) -> None:
        """``served``: identity, provider, and the keys of its deployments, for every provider in force."""
        rings: dict[str, KeyRing] = {}
        for identity, provider, scopes in served:
            ring = self._rings.get(identity) or KeyRing()
            ring.reconcile(provider, scopes)
            if not ring.is_clear or any(key.until for key in keys_of(provider)):
                rings[identity] = ring
        self._rings = rings


def _no_key(provider: Provider, left_s: float) -> Failure:
    remedy = help_for(FailureKind.PROVIDER_DENIED, provider)
    return Failure(
        FailureKind.PROVIDER_DENIED,
        f"{provider.name} accepts none of the proxy's keys at present; its operator can see why",
        detail=f"every key of `{provider.name}` is quarantined or expired: {remedy}",
        code=CREDENTIALS_QUARANTINED,
        retry_after_s=left_s if isfinite(left_s) else None,
    )
