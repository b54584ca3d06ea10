"""Asking servers whether they are there, and what models they have. Free requests with constant bodies only.

Asked are the servers that need no key (only an answer shows that one runs) and those told to `discover` their models.
Each is asked at once when it appears, then every `health.interval`. Anybody else is asked only when an operator wants
it tested.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from llmproxyd.exchange.upstream import AttemptFailed, Upstream
from llmproxyd.state.registry import Registry
from llmproxyd.values.contracts import Adapter, Listed
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import Dialect
from llmproxyd.values.snapshot import Probe, Provider

PROBE_TIMEOUT_S = 5.0
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of a probe. ``detail``: what went wrong, for the operator; empty if all is well. ``status``: HTTP, None
    if no answer came. ``models``: what the server says it has, None if it was not asked or cannot be understood.
    ``failure``: what the fault means, None where no call failed. ``duration_s``: from the first byte to the last."""

    ok: bool
    detail: str = ""
    status: int | None = None
    models: tuple[Listed, ...] | None = None
    failure: Failure | None = None
    duration_s: float = 0.0


def wants_probe(provider: Provider) -> bool:
    return bool(
        provider.enabled
        and provider.configured
        and provider.probe is not None
        and not provider.is_mock
        and (provider.keyless or provider.discover)
    )


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
        wall: Callable[[], float],
        timeout_s: float = PROBE_TIMEOUT_S,
    ) -> None:
        self._upstream = upstream
        self._registry = registry
        self._adapters = adapters
        self._providers = providers
        self._on_models_changed = on_models_changed
        self._clock = clock
        self._wall = wall
        self._timeout_s = timeout_s
        self._due_s: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._places = asyncio.Semaphore(_AT_ONCE)

    def wake(self) -> None:
        """The providers may have changed: look at once."""
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
        wanted = {provider.identity: provider for provider in self._providers() if wants_probe(provider)}
        self._due_s = {key: due for key, due in self._due_s.items() if key in wanted}
        now_s = self._clock()
        due = [provider for key, provider in wanted.items() if self._due_s.get(key, now_s) <= now_s]
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
        self._due_s[provider.identity] = self._clock() + provider.health_interval_s

    def _tell(self, provider: Provider, asked: Asked) -> None:
        self._registry.probed(
            provider, ok=asked.ok, detail=asked.detail, wall_s=self._wall(), models=asked.models
        )

    async def _ask(self, provider: Provider) -> Asked:
        adapter = self._adapters.get(provider.dialect)
        if adapter is None:
            return Asked(False, f"this version does not speak {provider.dialect.value}")
        began_s = self._clock()
        try:
            call = adapter.format_probe(provider)
            status, body = await self._upstream.fetch(call, provider, timeout_s=self._timeout_s)
        except AttemptFailed as failed:
            detail = failed.failure.detail or failed.failure.message
            return Asked(False, detail, failure=failed.failure, duration_s=self._clock() - began_s)
        asked = _read(adapter, provider.probe, status, body)
        return replace(asked, status=status, duration_s=self._clock() - began_s)

    def _next_due_s(self) -> float:
        return min(self._due_s.values(), default=self._clock() + 60.0)


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
