"""The HTTP server: one table of paths, admission before it, one boundary for errors after it.

It runs on aiohttp's low-level server. A router that matches patterns, middlewares and signals would cost a third of
the time of a whole request; the paths here are few and mostly exact.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import msgspec
from aiohttp import web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from llmproxyd.logs import get_logger
from llmproxyd.server.admission import Admission, Refusal
from llmproxyd.server.crowd import Crowd, Doors, places_for, raise_descriptor_limit
from llmproxyd.server.ids import new_request_id
from llmproxyd.server.peer import is_local
from llmproxyd.server.reply import LAST, REQUEST_ID, Written, send
from llmproxyd.values.contracts import Surface
from llmproxyd.values.failure import ExchangeFailed, Failure, FailureKind

View: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
FormatFailure: TypeAlias = Callable[[Failure, str], bytes]

_log = get_logger("server")
_MAX_HEADER_BYTES = 16 * 1024
_IDLE_S = 75.0
_TWICE = "/v1/v1/"


class Paths(msgspec.Struct, frozen=True):
    """What is served where. ``exact`` by (method, path); ``patterns`` after that, in order; ``dialects`` says, by the
    beginning of a path, in whose error form its clients expect a refusal (the longest match wins)."""

    exact: Mapping[tuple[str, str], View]
    patterns: tuple[tuple[str, re.Pattern[str], View], ...] = ()
    dialects: Mapping[str, FormatFailure] = msgspec.field(default_factory=dict)
    default_dialect: FormatFailure = lambda failure, _: failure.message.encode()

    def find(self, method: str, path: str) -> View | None:
        view = self.exact.get((method, path))
        if view is None:
            for wanted, pattern, candidate in self.patterns:
                if method == wanted and pattern.fullmatch(path):
                    return candidate
        return view

    def methods(self, path: str) -> list[str]:
        """The methods served at ``path``."""
        found = {method for method, known in self.exact if known == path}
        found |= {method for method, pattern, _ in self.patterns if pattern.fullmatch(path)}
        return sorted(found)

    def failure_form(self, path: str) -> FormatFailure:
        known = [prefix for prefix in self.dialects if path.startswith(prefix)]
        return self.dialects[max(known, key=len)] if known else self.default_dialect


class Web:
    """Turns connections into calls of views. ``count`` requests are in hand; ``draining`` tells the last ones to go.

    ``crowd``: how many may be connected; None: as many as the host has descriptors for.
    """

    def __init__(
        self, paths: Paths, admission: Admission, *, max_body_bytes: int, crowd: Crowd | None = None
    ) -> None:
        self._paths = paths
        self._admission = admission
        self._max_body_bytes = max_body_bytes
        self.crowd = Crowd(places_for(raise_descriptor_limit())) if crowd is None else crowd
        self.count = 0
        self.draining = False
        self._idle = asyncio.Event()

    def new_server(self) -> Doors:
        """A protocol factory for ``loop.create_server``; one may serve many listeners."""
        return Doors(
            self.serve,
            self.crowd,
            request_factory=self._new_request,
            access_log=None,
            keepalive_timeout=_IDLE_S,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
        )

    def _new_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: Any,
        writer: Any,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        return web.BaseRequest(
            message,
            payload,
            protocol,
            writer,
            task,
            asyncio.get_running_loop(),
            client_max_size=self._max_body_bytes,
        )

    async def serve(self, http: web.BaseRequest) -> web.StreamResponse:
        self.count += 1
        try:
            response = await self._serve(http)
        finally:
            self.count -= 1
            if self.draining and not self.count:
                self._idle.set()
        return response

    async def drained(self) -> None:
        """From now on every answer is the last of its connection; returns when none is in hand any more."""
        self.draining = True
        while self.count:
            self._idle.clear()
            await self._idle.wait()

    async def _serve(self, http: web.BaseRequest) -> web.StreamResponse:
        path = http.raw_path.partition("?")[0]
        if path.startswith(_TWICE):  # a base URL with /v1 in a client that adds it: what is meant is plain
            path = path.removeprefix("/v1")
        refusal = self._admission.check(http.headers, local=is_local(http))
        if refusal is not None:
            return await self._turn_away(http, path, refusal)
        view = self._paths.find(http.method, path)
        if view is None:
            return await self._turn_away(http, path, self._unknown(http.method, path))
        if self.draining:
            http[LAST] = True
        try:
            return await view(http)
        except ConnectionError:
            raise
        except ExchangeFailed as failed:
            refusal = Refusal(failed.failure.client_status, failed.failure, False)
            return await self._turn_away(http, path, refusal)
        except Exception:  # noqa: BLE001 - the boundary: a bug ends one request, not the process
            request_id = http.get(REQUEST_ID) or new_request_id()
            _log.exception("request_crashed", path=path, request_id=request_id)
            return await self._crashed(http, path, request_id)

    def _unknown(self, method: str, path: str) -> Refusal:
        methods = self._paths.methods(path)
        if methods:
            message = f"{method} is not served at {path[:200]}; use {' or '.join(methods)}."
            return Refusal(405, Failure(FailureKind.BAD_REQUEST, message, code="method_not_allowed"), False)
        message = f"Nothing is served at {path[:200]}."
        return Refusal(404, Failure(FailureKind.NOT_FOUND, message, code="unknown_path"), False)

    async def _turn_away(self, http: web.BaseRequest, path: str, refusal: Refusal) -> Written:
        request_id = new_request_id()
        headers = {"x-request-id": request_id, "Cache-Control": "no-store"}
        if refusal.status == 405:
            headers["Allow"] = ", ".join(self._paths.methods(path))
        body = self._paths.failure_form(path)(refusal.failure, request_id)
        close = refusal.close or not http.content.is_eof()
        return await send(http, refusal.status, body, headers, close=close)

    async def _crashed(self, http: web.BaseRequest, path: str, request_id: str) -> Written:
        """A bug. The client learns that it was ours, and the id that finds it in the log; never the traceback."""
        if http.task.cancelling():
            raise asyncio.CancelledError
        if http.writer.output_size:
            # Part of an answer is out: a second one would be read as its continuation. The cut tells enough.
            raise ConnectionResetError("the answer had begun")
        failure = Failure(FailureKind.INTERNAL, f"llmproxyd failed; its log tells more under {request_id}.")
        body = self._paths.failure_form(path)(failure, request_id)
        return await send(
            http, 500, body, {"x-request-id": request_id, "x-llmproxyd-request-id": request_id}, close=True
        )


def surface_views(
    surfaces: Mapping[str, Surface],
    serve: Callable[[web.BaseRequest, Surface], Awaitable[web.StreamResponse]],
) -> dict[tuple[str, str], View]:
    """POST views for the table of surfaces."""

    def view(surface: Surface) -> View:
        return lambda http: serve(http, surface)

    return {("POST", path): view(surface) for path, surface in surfaces.items()}
