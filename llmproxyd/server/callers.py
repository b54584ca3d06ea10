"""Who calls the paths that are no exchanges: lists of models, stored answers. Where keys are declared, these ask for one
as well.
"""

from __future__ import annotations

from aiohttp import web

from llmproxyd.in_force import InForce
from llmproxyd.server.auth import Doorkeeper
from llmproxyd.server.peer import is_local, is_own
from llmproxyd.server.responses import LOCAL_OWNER
from llmproxyd.server.web import View
from llmproxyd.values.failure import ExchangeFailed, Failure

_OWNER = web.RequestKey("owner", str)


class Callers:
    def __init__(self, doorkeeper: Doorkeeper, in_force: InForce) -> None:
        self._doorkeeper = doorkeeper
        self._in_force = in_force

    def known(self, view: View) -> View:
        """The same view, for callers we know. Raises ExchangeFailed (`unauthenticated`) for others."""

        async def known_view(http: web.BaseRequest) -> web.StreamResponse:
            caller = self._doorkeeper.identify(
                http.headers,
                self._in_force.current.snapshot,
                local=is_local(http) and is_own(http),
                target=http.raw_path,
            )
            if isinstance(caller, Failure):
                raise ExchangeFailed(caller)
            http[_OWNER] = caller.tenant.name if caller.tenant else LOCAL_OWNER
            return await view(http)

        return known_view

    @staticmethod
    def owner_of(http: web.BaseRequest) -> str:
        """Who makes this request to a ``known`` view: a tenant's name, or the one owner where no keys are declared."""
        owner: str = http[_OWNER]
        return owner
