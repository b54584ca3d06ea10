"""Asking servers whether they are there, and what models they have. Free requests with constant bodies only.

Every configured provider is asked once when it appears and when its entry changes. After that calls show how it is, and
nobody is asked who is being called; those who are idle are asked each `health.interval`, and those with an open breaker
as often as their state says. Servers that are to be discovered are asked each interval in any case.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf

import msgspec
from msgspec.structs import replace

from llmproxyd.exchange.upstream import AttemptFailed, Upstream
from llmproxyd.state.registry import Registry
from llmproxyd.values.clearance import constant_call
from llmproxyd.values.contracts import Adapter, Listed
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import Dialect
from llmproxyd.values.snapshot import NOWHERE, Probe, Provider

PROBE_TIMEOUT_S = 5.0
_AT_ONCE = 16
_MIN_PAUSE_S = 0.5
_ROUND_AT_LEAST_EVERY_S = 60.0


class Asked(msgspec.Struct, frozen=True):
    """What came of a probe. ``detail``: what went wrong, for the operator; empty if all is well. ``status``: HTTP, None
    if no answer came. ``models``: what the server says it has, None if it was not asked or cannot be understood.
    ``failure``: what the fault means, None where no call failed. ``duration_s``: from the first byte to the last."""

    ok: bool
    detail: str = ""
    status: int | None = None
    models: tuple[Listed, ...] | None = None
    failure: Failure | None = None
    duration_s: float = 0.0

    @property
    def alive(self) -> bool:
        """Somebody answered, and not to say that the server is broken."""
        return self.ok or (self.status is not None and self.status < 500)


def wants_probe(provider: Provider) -> bool:
    return provider.enabled and provider.configured and provider.probe is not None and not provider.is_mock


class Prober:
    """``providers`` gives those in force; ``on_models_changed`` is called after a round that found other models."""

    def __init__(
        self,
        *,
        upstream: Upstream,
        registry: Registry,
        adapters: Mapping[Dialect, Adapter],
        providers: Callable[[], Iterable[Provider]],
        on_models_changed: Callable[[], None],
        clock: Callable[[], float],
        timeout_s: float = PROBE_TIMEOUT_S,
    ) -> None:
        self._upstream = upstream
        self._registry = registry
        self._adapters = adapters
        self._providers = providers
        self._on_models_changed = on_models_changed
        self._clock = clock
        self._timeout_s = timeout_s
        self._asked: dict[str, tuple[Provider, float]] = {}  # by identity: as it was then, and when it was
        self._wake = asyncio.Event()
        self._places = asyncio.Semaphore(_AT_ONCE)

    def wake(self) -> None:
        """The providers may have changed, or a breaker has opened: look at once."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            # Before the round: who is woken during it may know of somebody whom it did not ask.
            self._wake.clear()
            await self.round()
            pause_s = self._next_due_s() - self._clock()
            try:
                async with asyncio.timeout(max(0.05, pause_s)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def round(self) -> None:
        """Ask everybody who is due."""
        wanted = {p.identity: p for p in map(_without_place, self._providers()) if wants_probe(p)}
        self._asked = {key: asked for key, asked in self._asked.items() if key in wanted}
        now_s = self._clock()
        due_s = self._due_s(wanted.values())
        due = [provider for key, provider in wanted.items() if due_s[key] <= now_s]
        if not due:
            return
        before = dict(self._registry.discovered())
        async with asyncio.TaskGroup() as group:
            for provider in due:
                group.create_task(self._ask_and_tell(provider))
        if dict(self._registry.discovered()) != before:
            self._on_models_changed()

    async def test(self, provider: Provider, probes: Sequence[Probe]) -> Asked:
        """Ask ``provider`` each of ``probes`` until one fails, and tell the registry; free, and nothing is generated.

        For providers that are enabled and configured. Each probe takes ``timeout_s`` at most. ``duration_s`` is that of
        the last one asked. Without probes (the built-in provider) all is well.
        """
        asked = Asked(ok=True)
        async with self._places:
            for probe in probes:
                asked = await self._ask(replace(provider, probe=probe))
                if not asked.ok:
                    break
        # What a provider with its models written out also has is nobody's to route to.
        told = replace(asked, models=asked.models if provider.discover else None)
        before = dict(self._registry.discovered())
        self._tell(provider, told)
        if dict(self._registry.discovered()) != before:
            self._on_models_changed()
        return asked

    async def _ask_and_tell(self, provider: Provider) -> None:
        async with self._places:
            asked = await self._ask(provider)
        self._tell(provider, asked)
        self._asked[provider.identity] = provider, self._clock()

    def _tell(self, provider: Provider, asked: Asked) -> None:
        self._registry.probed(
            provider,
            ok=asked.ok,
            alive=asked.alive,
            detail=asked.detail,
            now_s=self._clock(),
            models=asked.models,
        )

    async def _ask(self, provider: Provider) -> Asked:
        adapter = self._adapters.get(provider.dialect)
        if adapter is None:
            return Asked(False, f"this version does not speak {provider.dialect.value}")
        began_s = self._clock()
        try:
            probe = constant_call(adapter.format_probe(provider), provider)
            status, body = await self._upstream.fetch(probe, provider, timeout_s=self._timeout_s)
        except AttemptFailed as failed:
            detail = failed.failure.detail or failed.failure.message
            return Asked(False, detail, failure=failed.failure, duration_s=self._clock() - began_s)
        asked = _read(adapter, provider.probe, status, body)
        return replace(asked, status=status, duration_s=self._clock() - began_s)

    def _due_s(self, providers: Iterable[Provider]) -> dict[str, float]:
        """When each is to be asked next, by identity."""
        ejected = self._registry.to_probe(self._clock())
        return {p.identity: self._due_of(p, ejected.get(p.identity)) for p in providers}

    def _due_of(self, provider: Provider, ejected_s: float | None) -> float:
        known = self._asked.get(provider.identity)
        if known is None or known[0] != provider:
            return -inf
        called_s = None if provider.discover else self._registry.last_called_s(provider)
        routine_s = max(known[1], called_s or -inf) + provider.health_interval_s
        return routine_s if ejected_s is None else min(routine_s, max(ejected_s, known[1] + _MIN_PAUSE_S))

    def _next_due_s(self) -> float:
        due_s = self._due_s(p for p in map(_without_place, self._providers()) if wants_probe(p))
        return min((*due_s.values(), self._clock() + _ROUND_AT_LEAST_EVERY_S))


def _without_place(provider: Provider) -> Provider:
    """An entry that only moved to another line has not changed."""
    return replace(provider, place=NOWHERE)


def _read(adapter: Adapter, probe: Probe | None, status: int, body: bytes) -> Asked:
    """What the answer to a probe says."""
    if not 200 <= status < 300:
        detail = f"the probe was answered with status {status}"
        return Asked(False, detail, failure=adapter.parse_failure(status, {}, body))
    if probe is None or not probe.lists_models:
        return Asked(True)
    try:
        return Asked(True, models=adapter.parse_models(body))
    except ValueError as error:
        detail = f"the list of models cannot be read: {error}"[:200]
        return Asked(False, detail, failure=Failure(FailureKind.BAD_ANSWER, detail))
