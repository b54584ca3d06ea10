"""May this provider be called now: one line for each provider that has limits, kept across reloads.

A provider without limits is always open, and asking costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from llmproxyd.exchange.line import Line, LineReport, Pass, Saturated
from llmproxyd.exchange.turns import Toll
from llmproxyd.values.snapshot import Limits, Provider, Snapshot

__all__ = ["Gates", "LineReport", "Pass", "Saturated", "Toll"]

_FREE: Final = Pass(None, 0, 0, 0.0)
_NO_LIMITS: Final = Limits()


class Gates:
    """All providers' lines, for use within one event loop. ``clock`` reads that loop's time, monotonic seconds.

    Lines are known by the provider's identity. A request that was admitted under an older snapshot meets the limits in
    force, not those of its own snapshot.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lines: dict[str, Line] = {}
        # Limits by the snapshot in force, None where a provider has none; empty until the first one is known.
        self._in_force: dict[str, Limits | None] = {}

    @property
    def in_use(self) -> bool:
        """Some provider has limits, and somebody is under way or waits there."""
        return any(not line.is_idle for line in self._lines.values())

    def try_enter(self, provider: Provider, toll: Toll) -> Pass | None:
        """A pass if there is room now; None: there is none, or somebody of an equal or higher class waits already."""
        line = self._line(provider)
        return _FREE if line is None else line.try_enter(toll, self._clock())

    def expected_wait_s(self, provider: Provider, toll: Toll) -> float:
        """How long a call that came now would wait, seconds; 0: not at all, inf: the line is full."""
        line = self._line(provider)
        return 0.0 if line is None else line.expected_wait_s(toll, self._clock())

    async def enter(self, provider: Provider, toll: Toll, *, until_s: float) -> Pass:
        """A pass, when it is this call's turn.

        Raises Saturated with ``retry_after_s``: at once when the turn cannot come before ``until_s`` or the line is
        full; when ``until_s`` comes. Cancellation leaves the line.
        """
        line = self._line(provider)
        return _FREE if line is None else await line.enter(toll, until_s)

    def lines(self) -> tuple[LineReport, ...]:
        """Every line, for reports, by the provider's name."""
        self._forget_idle()
        return tuple(sorted((line.report() for line in self._lines.values()), key=lambda r: r.provider))

    def reconcile(self, snapshot: Snapshot) -> None:
        """Adopt the limits of ``snapshot`` in place: who is in stays in, the share of a minute that was used stays used.

        The line of a provider that is gone, or has no limits any more, lasts until nobody is in it.
        """
        now_s = self._clock()
        providers = {_key(provider): provider for provider in snapshot.providers.values()}
        self._in_force = {key: provider.limits or None for key, provider in providers.items()}
        for key, limits in self._in_force.items():
            line = self._lines.get(key)
            if line is not None:
                line.adopt(limits or _NO_LIMITS, now_s)
            elif limits is not None:
                self._lines[key] = Line(providers[key].name, limits, self._clock)
        self._forget_idle()

    def _line(self, provider: Provider) -> Line | None:
        key = _key(provider)
        line = self._lines.get(key)
        if line is not None:
            return line
        # A provider that the snapshot in force does not know is one of an older snapshot: its own limits hold.
        limits = self._in_force.get(key, provider.limits)
        if not limits:
            return None
        line = self._lines[key] = Line(provider.name, limits, self._clock)
        return line

    def _forget_idle(self) -> None:
        if not self._in_force:
            return
        for key in [key for key, line in self._lines.items() if not self._in_force.get(key) and line.is_idle]:
            del self._lines[key]


def _key(provider: Provider) -> str:
    return provider.identity or provider.name
