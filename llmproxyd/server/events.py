"""``GET /admin/v1/events``: what happens, as it happens (server-sent events), or what is kept as one document."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import web

from llmproxyd import jsontext
from llmproxyd.exchange.webhooks import notice_of
from llmproxyd.server.notices import describe
from llmproxyd.server.reply import CLIENT_STALL_S, Response, Written, let_go, send_json
from llmproxyd.state.events import Event, Events, Subscription, TooManyFollowers

VERSION: Final = 1
PING_S: Final = 15.0

_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
    "Server": "llmproxyd",
}
_HELLO = b"retry: 2000\n\n"
_PING = b": still here\n\n"
_WORDS = {"": True, "true": True, "1": True, "false": False, "0": False}


class EventView:
    """``?follow=false``: the events that are kept, and no more. ``Last-Event-ID`` or ``?after=ID``: begin after that one;
    an id that is none of ours, ``0`` for instance, begins with the oldest. A stream without either begins now.

    A stream ends when the events are closed, which the daemon does before it goes.
    """

    def __init__(
        self, events: Events, *, ping_s: float = PING_S, client_stall_s: float = CLIENT_STALL_S
    ) -> None:
        self._events = events
        self._ping_s = ping_s
        self._client_stall_s = client_stall_s

    async def view(self, http: web.BaseRequest) -> web.StreamResponse:
        follow = _WORDS.get(http.query.get("follow", ""))
        if follow is None:
            return await _refuse(http, 400, "bad_request", "`follow` is true or false.")
        after = http.headers.get("Last-Event-ID") or http.query.get("after")
        if not follow:
            events = [notice_of(event, describe(event)) for event in self._events.after(after)]
            return await send_json(http, 200, {"version": VERSION, "events": events})
        try:
            follower = self._events.subscribe(after)
        except TooManyFollowers:
            message = "As many programs as may follow the events do so already; close one, or ask with follow=false."
            return await _refuse(http, 503, "too_many_followers", message)
        with follower:
            return await self._stream(http, follower)

    async def _stream(self, http: web.BaseRequest, follower: Subscription) -> Response:
        response = Response(status=200, headers=_HEADERS)
        await response.prepare(http)
        piece: bytes | None = _HELLO
        while piece is not None:
            await self._write(http, response, piece)
            piece = await self._next(follower)
        await response.write_eof()
        return response

    async def _next(self, follower: Subscription) -> bytes | None:
        """What to write next; None at the end."""
        try:
            async with asyncio.timeout(self._ping_s):
                return format_event(await anext(follower))
        except TimeoutError:
            return _PING
        except StopAsyncIteration:
            return None

    async def _write(self, http: web.BaseRequest, response: Response, piece: bytes) -> None:
        try:
            async with asyncio.timeout(self._client_stall_s):
                await response.write(piece)
        except TimeoutError:
            raise let_go(http.transport) from None


def format_event(event: Event) -> bytes:
    """One server-sent event; its data is the document a webhook gets."""
    data = jsontext.encode(notice_of(event, describe(event)))
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (event.id.encode(), event.kind.encode(), data)


async def _refuse(http: web.BaseRequest, status: int, code: str, message: str) -> Written:
    error: dict[str, Any] = {"message": message, "type": "invalid_request_error", "code": code}
    return await send_json(http, status, {"error": error})
