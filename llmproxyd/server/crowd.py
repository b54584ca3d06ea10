"""How many clients may be connected, and how long one may keep us waiting for the head of its request.

Descriptors are the first thing to run out, and whoever has none left can neither answer nor call a provider nor read a
file. So the doors take fewer connections than there are descriptors: every stream needs a second one towards its
provider, and our own files need some. Who comes beyond that is told so at once and shown out; the Unix socket, where
the operator comes in, has a few places more.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from aiohttp import web

from llmproxyd import jsontext
from llmproxyd.logs import get_logger

OWN_FILES = 64
"""Descriptors that clients and providers leave alone: listeners, files, look-ups, those shown out, the places below."""
LOCAL_PLACES = 16
"""How many more may come in over the Unix socket than over TCP."""
FEWEST = 16
MOST = 32_768
HEAD_TIMEOUT_S = 30.0
"""From the opening of a connection, or the first byte of a further request, to the end of the request's head."""
WAITING_BYTES = 16 * 1024
"""How much of an answer may wait for a client that reads slowly before its provider has to wait too."""

_RETRY_AFTER_S = 2
_TELL_EVERY_S = 10.0
# Who is shown out gets this long to read why; beyond so many at once, none. Their places are among OWN_FILES.
_LINGER_S = 0.5
_MAX_LINGERING = 16

_log = get_logger("server")


def raise_descriptor_limit() -> int:
    """As many open files as the host allows this process; -> how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError) as error:  # some hosts promise more than they give
            _log.warning("descriptors.not_raised", limit=soft, promised=hard, reason=str(error))
    return descriptor_limit()


def descriptor_limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 2 * MOST + OWN_FILES


def places_for(descriptors: int) -> int:
    """How many clients fit into so many descriptors, each with a connection to a provider."""
    return min(MOST, max(FEWEST, (descriptors - OWN_FILES) // 2))


def _refusal() -> bytes:
    """Fit for clients of every dialect: which one came is not known, since nothing of the request was read."""
    message = "Too many connections are open; come back in a moment, and use the ones you have again."
    error = {"type": "overloaded_error", "code": "too_many_connections", "message": message}
    body = jsontext.encode({"type": "error", "error": error})
    head = (
        "HTTP/1.1 503 Service Unavailable\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"Retry-After: {_RETRY_AFTER_S}\r\n"
        "Cache-Control: no-store\r\n"
        "Server: llmproxyd\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body


_REFUSAL = _refusal()


class Crowd:
    """Counts who is connected. ``places``: over TCP; ``turned_away``: how many were shown out since the start."""

    def __init__(self, places: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.places = places
        self.connected = 0
        self.turned_away = 0
        self.lingering = 0
        self._clock = clock
        self._told_s: float | None = None

    def has_room(self, *, local: bool) -> bool:
        return self.connected < (self.places + LOCAL_PLACES if local else self.places)

    def show_out(self, transport: asyncio.Transport) -> bool:
        """Says why and closes; no task, nothing read. True: it lingers, the caller sees to it that it goes.

        A connection that is closed while something from its peer is unread is reset, and the peer may lose what it was
        told. So the first few wait for their peer to hang up.
        """
        self.turned_away += 1
        self._tell()
        transport.write(_REFUSAL)
        if self.lingering >= _MAX_LINGERING or not transport.can_write_eof():
            transport.close()
            return False
        transport.write_eof()
        self.lingering += 1
        return True

    def _tell(self) -> None:
        now_s = self._clock()
        if self._told_s is not None and now_s < self._told_s + _TELL_EVERY_S:
            return
        self._told_s = now_s
        _log.warning(
            "doors.full",
            connected=self.connected,
            places=self.places,
            turned_away=self.turned_away,
            help="clients should use connections again; more are possible with a higher LimitNOFILE= (ulimit -n)",
        )


class Doors(web.Server):
    """aiohttp's server with a bounded number of connections: a protocol factory for any number of listeners."""

    def __init__(
        self,
        serve: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        crowd: Crowd,
        *,
        request_factory: Callable[..., web.BaseRequest] | None = None,
        head_timeout_s: float = HEAD_TIMEOUT_S,
        **connection: Any,
    ) -> None:
        """``connection``: what aiohttp's connections take (``keepalive_timeout`` and the like)."""
        super().__init__(serve, request_factory=request_factory, handler_cancellation=True)
        self.crowd = crowd
        self.head_timeout_s = head_timeout_s
        self._connection = connection

    def __call__(self) -> Visitor:
        return Visitor(self, self._connection)


class Visitor(web.RequestHandler):
    """One connection of a client, from its arrival on. It comes in only where there is room, and has to speak up in time.

    aiohttp waits for a head as long as it keeps an idle connection, and tells nobody that one has begun to come. Hence
    the look at its ``_waiter``: that is pending exactly while it waits for the end of a head.
    """

    __slots__ = ("_doors", "_inside", "_lingers", "_patience")

    def __init__(self, doors: Doors, how: Mapping[str, Any]) -> None:
        super().__init__(doors, loop=asyncio.get_running_loop(), **how)
        self._doors = doors
        self._inside = False
        self._lingers = False
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        crowd = self._doors.crowd
        if crowd.has_room(local=not transport.get_extra_info("peername")):
            crowd.connected += 1
            self._inside = True
            super().connection_made(transport)
            cast(asyncio.Transport, transport).set_write_buffer_limits(high=WAITING_BYTES)
            self._be_patient()
            return
        self.close()  # what it says is not even parsed
        stream = cast(asyncio.Transport, transport)
        self._lingers = crowd.show_out(stream)
        if self._lingers:
            self._patience = self._loop.call_later(_LINGER_S, stream.abort)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._waits_for_head():
            if self._patience is None:
                self._be_patient()
        elif self._patience is not None and not self._lingers:
            self._patience.cancel()
            self._patience = None

    def connection_lost(self, exc: BaseException | None) -> None:
        crowd = self._doors.crowd
        crowd.connected -= self._inside
        crowd.lingering -= self._lingers
        self._inside = self._lingers = False
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        super().connection_lost(exc)

    def _waits_for_head(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    def _be_patient(self) -> None:
        self._patience = self._loop.call_later(self._doors.head_timeout_s, self._lose_patience)

    def _lose_patience(self) -> None:
        self._patience = None
        if self._waits_for_head():
            self.force_close()
