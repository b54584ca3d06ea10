"""``POST /admin/v1/providers/NAME/test``: ask one provider, for free, whether it would answer."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote

from aiohttp import web

from llmproxyd.config.suggest import closest
from llmproxyd.exchange.probe import Prober
from llmproxyd.in_force import InForce
from llmproxyd.server.diagnosis import describe_idle, describe_test, free_probes
from llmproxyd.server.reply import Written, send_json
from llmproxyd.state.registry import Registry
from llmproxyd.state.report import ProviderReport
from llmproxyd.values.snapshot import Provider, Snapshot

TEST_PATH: Final = re.compile(r"/admin/v1/providers/([^/?]{1,400})/test")
_MAX_NAME: Final = 100


class ProviderTest:
    """A failed test is an answer too: 200, and ``ok`` is false. 404: there is no such provider."""

    def __init__(
        self,
        *,
        in_force: InForce,
        registry: Registry,
        prober: Prober,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._in_force = in_force
        self._registry = registry
        self._prober = prober
        self._clock = clock
        self._wall = wall

    async def view(self, http: web.BaseRequest) -> Written:
        found = TEST_PATH.fullmatch(http.raw_path.partition("?")[0])
        name = unquote(found[1]) if found else ""
        snapshot = self._in_force.current.snapshot
        provider = snapshot.providers.get(name)
        if provider is None:
            return await send_json(http, 404, unknown_provider(name, snapshot.providers))
        return await send_json(http, 200, await self.test(provider, snapshot))

    async def test(self, provider: Provider, snapshot: Snapshot) -> dict[str, Any]:
        """Ask ``provider`` of ``snapshot``; see ``describe_test`` for the shape."""
        if not provider.enabled or not provider.configured:
            return describe_idle(self._report(provider, snapshot), provider)
        asked = await self._prober.test(provider, free_probes(provider))
        # Models that the server has just listed itself cannot be missing there.
        written = () if provider.discover else snapshot.deployments
        deployments = [deployment for deployment in written if deployment.provider.name == provider.name]
        return describe_test(self._report(provider, snapshot), provider, deployments, asked)

    def _report(self, provider: Provider, snapshot: Snapshot) -> ProviderReport:
        reports = self._registry.report(snapshot, self._clock(), self._wall())
        return next(report for report in reports if report.name == provider.name)


def unknown_provider(name: str, known: Mapping[str, Provider]) -> dict[str, Any]:
    """The refusal for a name that is not in force, with the one that was meant."""
    near = closest(name[:_MAX_NAME], known)
    meant = f"Did you mean `{near}`?" if near else f"There are: {', '.join(known)}."
    message = f"There is no provider `{name[:_MAX_NAME]}`. {meant}"
    return {"error": {"message": message, "type": "invalid_request_error", "code": "unknown_provider"}}
