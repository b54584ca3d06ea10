"""All that is remembered of one provider as a whole: its figures, whether it works, its probes, the models it has."""

from __future__ import annotations

import msgspec

from llmproxyd.state.changes import MAX_CAUSE_CHARS, HealthChange, help_for
from llmproxyd.state.health import Health, Outcome
from llmproxyd.state.uptime import Uptime
from llmproxyd.values.contracts import Listed
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.snapshot import Provider

PROBES_BEFORE_EMPTY = 3
"""After so many failed probes in a row a server's list of models is forgotten: it is gone, not just slow."""


class ProviderState(msgspec.Struct):
    """``works`` is how the last probe or call went, None before the first; ``trouble`` what was wrong with it.
    ``models``: what the server last said it has, None: it never did. ``last_*_s`` monotonic."""

    health: Health = msgspec.field(default_factory=Health)
    uptime: Uptime = msgspec.field(default_factory=Uptime)
    works: bool | None = None
    trouble: str = ""
    models: tuple[Listed, ...] | None = None
    last_probe_s: float | None = None
    last_checked_s: float | None = None
    _failed_probes: int = 0
    _dead_probes: int = 0
    _told_missing: bool = False
    _called: bool = False  # since the last probe

    def ended(self, outcome: Outcome, now_s: float) -> None:
        """A call to one of its deployments is over."""
        self.health.ended(outcome, now_s)
        if not (outcome.answered or outcome.blames_provider):
            return
        self._called, self.last_checked_s = True, now_s
        if outcome.ok or outcome.blames_provider:
            self.uptime.count(outcome.ok, now_s)
        if outcome.answered:
            self.works, self.trouble, self._told_missing = True, "", False
        # Who asks for a pause works; everybody else who is to blame does not.
        elif outcome.failure is not None and outcome.failure.kind is not FailureKind.RATE_LIMITED:
            self.works, self.trouble = False, _trouble_of(outcome.failure)

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
        """A probe is over; see ``Registry.probed``."""
        self.last_probe_s = self.last_checked_s = now_s
        called, self._called = self._called, False
        if not called:
            self.uptime.count(alive, now_s)
        self._dead_probes = 0 if alive else self._dead_probes + 1
        if ok:
            self.works, self.trouble, self._failed_probes = True, "", 0
            self.models = self.models if models is None else models
            return
        self.works, self.trouble = False, detail[:MAX_CAUSE_CHARS]
        self._failed_probes += 1
        if provider.discover and self.models is not None and self._failed_probes >= PROBES_BEFORE_EMPTY:
            self.models = ()

    def missing(self, provider: Provider) -> HealthChange | None:
        """After a probe: that nobody is there, once until somebody is again. A local server that never answered is merely
        not in use."""
        if not self._dead_probes:
            self._told_missing = False
        expected = not provider.keyless or self.models is not None or self.health.successes > 0
        if self._told_missing or not expected or self._dead_probes < provider.unhealthy_after:
            return None
        self._told_missing = True
        remedy = help_for(FailureKind.UNREACHABLE, provider)
        return HealthChange("provider_unreachable", provider.name, self.trouble, None, remedy)


def _trouble_of(failure: Failure) -> str:
    return f"{failure.kind}: {failure.told}"[:MAX_CAUSE_CHARS]
