"""Connections to one provider, and one request and the head of its answer on one of them.

aiohttp's connector keeps the connections (name resolution, happy eyeballs, TLS, reuse) and its parser reads the
answers. Its ClientSession is left out: what that adds for a general client (cookies, redirects, proxies, tracing,
merged headers) costs more than all of routing and is not wanted here.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Callable

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader
from yarl import URL

from llmproxyd import __version__
from llmproxyd.exchange.resolver import Resolver
from llmproxyd.values.contracts import Call

# Twice this is taken from a provider ahead of a client that reads slowly, then reading pauses.
_READ_BYTES = 8 * 1024
_MAX_TARGETS = 4096
_SWITCHING = 101

# How soon a connection that had gone stale shows it: a round trip. Whoever hangs up later has seen the request. So has
# whoever is killed within that time, and nothing tells the two apart: then one attempt was sent twice, and the provider
# may charge for both.
_STALE_S = 1.0
_GONE = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionResetError)


def unheard() -> None:
    """Nobody wants to know."""


class Pool:
    """``in_use`` and ``retired`` are its owner's: how many exchanges hold it, and whether it is to go after them."""

    def __init__(
        self,
        base_url: str,
        *,
        tls: ssl.SSLContext | None,
        resolver: Resolver,
        connect_timeout_s: float,
        idle_s: float,
    ) -> None:
        self._connector = aiohttp.TCPConnector(
            limit=0,
            ssl=tls or True,  # aiohttp has read the system's authorities when it was imported
            resolver=resolver,
            use_dns_cache=False,  # the resolver remembers, and for longer where it must
            keepalive_timeout=idle_s,
            happy_eyeballs_delay=0.25,
        )
        # What the connector has to know of a request is where it goes, and that is the same for all.
        self._loop = asyncio.get_running_loop()
        self._where = aiohttp.ClientRequest("GET", URL(base_url), loop=self._loop)
        self._resolver = resolver
        # ``connect`` bounds look-up, connection and TLS together, however many addresses there are.
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=connect_timeout_s, sock_connect=connect_timeout_s
        )
        self._targets: dict[tuple[str, str], str] = {}
        self._answers: dict[ResponseHandler, StreamReader | None] = {}  # until the connection is closed
        self.in_use = 0
        self.retired = False

    async def exchange(
        self, call: Call, on_write: Callable[[], None] = unheard
    ) -> tuple[Connection, RawResponseMessage, StreamReader]:
        """Send ``call`` and wait for the head of its answer. ``on_write`` is called just before its first byte goes out.

        Raises what aiohttp raises, or ValueError for a header that would break out of its line.
        """
        request = self._format(call)
        connection = await self._connect()
        reused = connection.protocol in self._answers
        sent_s = self._loop.time()
        on_write()
        try:
            return await self._ask(connection, request)
        except _GONE as gone:
            if _has_begun(gone):
                raise aiohttp.ClientPayloadError("the head of the answer broke off") from gone
            if not reused or self._loop.time() - sent_s > _STALE_S:
                raise
        # The server had closed the idle connection just when it was used again, and has most likely not seen the request.
        return await self._ask(await self._connect(), request)

    async def _connect(self) -> Connection:
        try:
            return await self._connector.connect(self._where, [], self._timeout)
        except (aiohttp.ClientConnectorError, TimeoutError) as error:
            if not isinstance(error, aiohttp.ClientConnectorDNSError):
                self._resolver.doubt(self._where.url.raw_host or "")
            raise

    async def _ask(
        self, connection: Connection, request: bytes
    ) -> tuple[Connection, RawResponseMessage, StreamReader]:
        """On this connection; if that fails, the connection is gone."""
        try:
            return connection, *await self._talk(connection, request)
        except BaseException:
            connection.close()
            raise

    async def _talk(self, connection: Connection, request: bytes) -> tuple[RawResponseMessage, StreamReader]:
        protocol = connection.protocol
        if protocol is None or protocol.transport is None:
            raise aiohttp.ServerDisconnectedError
        if protocol not in self._answers and protocol.closed is not None:
            protocol.closed.add_done_callback(functools.partial(self._closed, protocol))
        self._answers[protocol] = None
        protocol.set_response_params(read_until_eof=True, auto_decompress=True, read_bufsize=_READ_BYTES)
        protocol.transport.write(request)
        message, payload = await protocol.read()
        while 100 <= message.code < 200 and message.code != _SWITCHING:
            message, payload = await _read_after_interim(protocol)
        if protocol in self._answers:  # else it was closed meanwhile, and nobody would take it out again
            self._answers[protocol] = payload
        return message, payload

    def _closed(self, protocol: ResponseHandler, closed: asyncio.Future[None]) -> None:
        """aiohttp closes a connection whose answer it cannot parse, but tells nobody who waits for the rest of it."""
        error = closed.exception()
        payload = self._answers.pop(protocol, None)
        if payload is not None and not payload.is_eof() and payload.exception() is None:
            payload.set_exception(aiohttp.ClientPayloadError(str(error or "the body is not framed as HTTP")))

    def _format(self, call: Call) -> bytes:
        target = self._targets.get((call.method, call.url)) or self._remember(call)
        lines = [target, *[f"{name}: {value}" for name, value in call.headers.items()]]
        lines.append(f"content-length: {len(call.body)}")
        head = "\r\n".join(lines)
        expected = len(lines) + 1
        if head.count("\n") != expected or head.count("\r") != expected:
            raise ValueError("a header would break out of its line")
        return b"%b\r\n\r\n%b" % (head.encode(), call.body)

    def _remember(self, call: Call) -> str:
        if len(self._targets) >= _MAX_TARGETS:
            self._targets.clear()
        url = URL(call.url, encoded=True)
        target = self._targets[call.method, call.url] = (
            f"{call.method} {url.raw_path_qs} HTTP/1.1\r\nhost: {_host(url)}\r\nuser-agent: llmproxyd/{__version__}"
        )
        return target

    async def close(self) -> None:
        await self._connector.close()


async def _read_after_interim(protocol: ResponseHandler) -> tuple[RawResponseMessage, StreamReader]:
    """Who has given an interim answer has seen the request: it must not be sent again if they hang up then."""
    try:
        return await protocol.read()
    except _GONE as gone:
        raise aiohttp.ClientPayloadError("only an interim answer came") from gone


def _has_begun(gone: Exception) -> bool:
    """Whether a part of the answer's head came; aiohttp puts that where otherwise the reason stands."""
    return isinstance(gone, aiohttp.ServerDisconnectedError) and not isinstance(gone.message, str)


def _host(url: URL) -> str:
    host = url.host_subcomponent or ""
    return host if url.is_default_port() or url.explicit_port is None else f"{host}:{url.explicit_port}"
