"""What is served beside the surfaces: health, metrics, models, administration."""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from llmproxyd import jsontext
from llmproxyd.in_force import InForce, check_token
from llmproxyd.reload import Reloader
from llmproxyd.server import admin
from llmproxyd.server.body import read_body
from llmproxyd.server.events import EventView
from llmproxyd.server.metrics import CONTENT_TYPE, Counters, Gathered, Scrape
from llmproxyd.server.peer import peer_of
from llmproxyd.server.providers_view import providers_status
from llmproxyd.server.reply import Written, send, send_json, send_text
from llmproxyd.server.web import View
from llmproxyd.state.events import Events
from llmproxyd.state.registry import Registry
from llmproxyd.state.report import ProviderReport
from llmproxyd.values.failure import ExchangeFailed
from llmproxyd.values.snapshot import Snapshot

_ADMIN_BODY_BYTES = 64 * 1024


class Views:
    """``ready`` turns False when draining begins. ``admin_token``: opens the admin paths over TCP. ``gathered``: what other
    rooms count. ``clock`` is monotonic, ``wall`` Unix time."""

    def __init__(
        self,
        *,
        in_force: InForce,
        reloader: Reloader,
        registry: Registry,
        counters: Counters,
        admin_token: str,
        metrics_open: bool,
        in_flight: Callable[[], int],
        log_lines_lost: Callable[[], int],
        events: Events | None = None,
        gathered: Callable[[], Gathered] = Gathered,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._in_force = in_force
        self._reloader = reloader
        self._registry = registry
        self._counters = counters
        self._admin_token = admin_token
        self._metrics_open = metrics_open
        self._in_flight = in_flight
        self._log_lines_lost = log_lines_lost
        self._event_view = EventView(Events(wall) if events is None else events)
        self._gathered = gathered
        self._clock = clock
        self._wall = wall
        self.ready = True
        self._background: set[asyncio.Task[Any]] = set()

    # --- health ---------------------------------------------------------------------------------------------

    async def alive(self, http: web.BaseRequest) -> Written:
        return await send_text(http, 200, "ok\n")

    async def root(self, http: web.BaseRequest) -> Written:
        return await send_text(http, 200, "llmproxyd\n")

    async def readiness(self, http: web.BaseRequest) -> Written:
        """200 while serving, the old configuration included; 503 once draining. ``?verbose`` says more."""
        status = 200 if self.ready else 503
        word = "ready" if self.ready else "draining"
        if "verbose" not in http.raw_path.partition("?")[2].split("&"):
            return await send_text(http, status, word + "\n")
        rejected = self._in_force.rejected
        told = [word, f"generation {self._in_force.current.number}"]
        if rejected is not None:
            told.append("the files on disk are rejected; see `llmproxyd check`")
        return await send_text(http, status, "\n".join(told) + "\n")

    async def metrics(self, http: web.BaseRequest) -> Written:
        if not self._metrics_open and not self._may_administer(http):
            return await self._forbid(http)
        scrape = Scrape(
            counters=self._counters,
            in_force=self._in_force,
            providers=self._reports(self._in_force.current.snapshot),
            watch_mode=self._in_force.watch_mode,
            in_flight=self._in_flight(),
            log_lines_lost=self._log_lines_lost(),
            gathered=self._gathered(),
        )
        text = await asyncio.to_thread(_render, scrape)
        return await send(http, 200, text, {"Cache-Control": "no-store"}, content_type=CONTENT_TYPE)

    # --- administration -------------------------------------------------------------------------------------

    def guarded(self, view: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> View:
        """``view`` for those who may administer: the daemon's own user and root over the Unix socket, or the token."""

        async def guard(http: web.BaseRequest) -> web.StreamResponse:
            if not self._may_administer(http):
                return await self._forbid(http)
            return await view(http)

        return guard

    def _may_administer(self, http: web.BaseRequest) -> bool:
        peer = peer_of(http)
        if peer is not None and peer.uid in (0, os.getuid()):
            return True
        scheme, _, given = http.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(
            given.strip().encode(), self._admin_token.encode()
        )

    async def _forbid(self, http: web.BaseRequest) -> Written:
        message = (
            "Only the daemon's own user and root may do this: over the Unix socket, "
            "or with the token in the state directory as `Authorization: Bearer`."
        )
        error = {"error": {"message": message, "type": "permission_error", "code": "forbidden"}}
        return await send_json(http, 403, error)

    async def config(self, http: web.BaseRequest) -> Written:
        return await send_json(
            http, 200, admin.config_status(self._in_force, watch_mode=self._in_force.watch_mode)
        )

    async def providers(self, http: web.BaseRequest) -> Written:
        snapshot = self._in_force.current.snapshot
        status = providers_status(self._reports(snapshot), snapshot, self._gathered().lines)
        return await send_json(http, 200, status)

    def _reports(self, snapshot: Snapshot) -> tuple[ProviderReport, ...]:
        return self._registry.report(snapshot, self._clock(), self._wall())

    async def events(self, http: web.BaseRequest) -> web.StreamResponse:
        return await self._event_view.view(http)

    async def reload(self, http: web.BaseRequest) -> Written:
        """``{"wait": bool, "token": str}``, both optional. 200 with the verdict, or 202 at once."""
        try:
            body = await read_body(http, _ADMIN_BODY_BYTES)
            wish = jsontext.decode(body) if body else {}
            if not isinstance(wish, dict):
                raise ValueError("expected a JSON object")
            token = wish.get("token")
            wait = wish.get("wait", True)
            if not isinstance(wait, bool) or not isinstance(token, (str, type(None))):
                raise ValueError("`wait` is true or false, `token` a text")
            if token is not None:
                check_token(token)
        except ExchangeFailed as failed:
            return await self._bad(http, failed.failure.message)
        except ValueError as error:
            return await self._bad(http, str(error))
        token = token or secrets.token_hex(8)
        running = asyncio.ensure_future(self._reloader.reload("admin", token))
        self._background.add(running)
        running.add_done_callback(self._background.discard)
        if not wait:
            return await send_json(http, 202, {"accepted": True, "token": token})
        # Shielded: a caller who leaves must not undo a reload that others may wait for.
        verdict = await asyncio.shield(running)
        return await send_json(http, 200, admin.reload_result(verdict))

    async def _bad(self, http: web.BaseRequest, message: str) -> Written:
        error = {"error": {"message": message, "type": "invalid_request_error", "code": "bad_request"}}
        return await send_json(http, 400, error)


def _render(scrape: Scrape) -> bytes:
    # Imported by the first scrape: a start that nobody measures should not pay for it.
    from llmproxyd.server.exposition import format_metrics

    return format_metrics(scrape)
