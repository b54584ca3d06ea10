"""The one door to providers: pooled HTTP clients, and every transport exception turned into a Failure.

It tries once. Whether another try is worth it is `routing.fallback`'s to say. A pool belongs to a provider's identity
(name, endpoint, dialect), so that a reload which leaves that alone leaves its connections alone.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp
from yarl import URL

from llmproxyd import __version__
from llmproxyd.adapters.mock import mock_answer
from llmproxyd.values.contracts import Call
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.snapshot import Deployment, Mock, Provider, Snapshot, Zone

MAX_WHOLE_ANSWER_BYTES = 64 * 1024 * 1024
MAX_PROBE_BYTES = 8 * 1024 * 1024
MAX_ERROR_BYTES = 256 * 1024

# Servers close idle connections on their own; one that goes away just when it is used costs an attempt. Small
# servers (uvicorn) wait 5 s, the big providers at least a minute.
_IDLE_S = {Zone.LOCAL: 4.0, Zone.PRIVATE: 20.0, Zone.EXTERNAL: 30.0}
_USER_AGENT = f"llmproxyd/{__version__}"


class AttemptFailed(Exception):  # noqa: N818 - a normal outcome of one attempt, caught where it is started
    """An attempt ended with ``failure``."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.kind.value)
        self.failure = failure


class Reply(Protocol):
    """A provider's answer, its head read, its body not yet."""

    status: int
    headers: Mapping[str, str]

    async def read(self) -> bytes:
        """The next bytes, empty at the end. Raises AttemptFailed when the connection breaks."""
        ...

    async def read_all(self, limit_bytes: int) -> bytes:
        """Everything that is left. Raises AttemptFailed (`bad_answer`) beyond the limit."""
        ...

    @property
    def ended(self) -> bool:
        """The body was read to its end."""
        ...

    def close(self) -> None:
        """Done: the connection is reused if the body was read to its end, else cut at once."""
        ...


@dataclass(slots=True)
class _Pool:
    session: aiohttp.ClientSession
    in_use: int = 0
    retired: bool = False


class _HttpReply:
    __slots__ = ("_done", "_provider", "_response", "headers", "status")

    def __init__(
        self, response: aiohttp.ClientResponse, provider: Provider, done: Callable[[], None]
    ) -> None:
        self._response = response
        self._provider = provider
        self._done: Callable[[], None] | None = done
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise AttemptFailed(_cut(error, self._provider)) from None

    async def read_all(self, limit_bytes: int) -> bytes:
        first = await self.read()
        if self._response.content.at_eof():
            return first
        pieces, size = [first], len(first)
        while data := await self.read():
            size += len(data)
            if size > limit_bytes:
                raise AttemptFailed(_too_long(self._provider, limit_bytes))
            pieces.append(data)
        return b"".join(pieces)

    @property
    def ended(self) -> bool:
        return self._response.content.at_eof()

    def close(self) -> None:
        if self._done is None:
            return
        done, self._done = self._done, None
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()
        done()


class Upstream:
    """Owns the pools; made and closed by the daemon."""

    def __init__(self, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._pools: dict[tuple[str, float], _Pool] = {}
        self._ssl: ssl.SSLContext | None = None
        self._urls: dict[str, URL] = {}
        self._sleep = sleep
        self._mock_calls: dict[str, itertools.count[int]] = {}

    async def send(self, call: Call, deployment: Deployment) -> Reply:
        """Send ``call``, wait for the head of the answer. Raises AttemptFailed."""
        provider = deployment.provider
        if provider.is_mock:
            return self._send_to_mock(call, deployment)
        return await self._send_http(call, provider)

    async def fetch(self, call: Call, provider: Provider, *, timeout_s: float) -> tuple[int, bytes]:
        """A small call (a probe) from start to end: status and body. Raises AttemptFailed."""
        try:
            async with asyncio.timeout(timeout_s):
                reply = await self._send_http(call, provider)
                try:
                    return reply.status, await reply.read_all(MAX_PROBE_BYTES)
                finally:
                    reply.close()
        except TimeoutError:
            raise AttemptFailed(
                Failure(FailureKind.TIMEOUT, f"{provider.name} did not answer within {timeout_s:g} s")
            ) from None

    def reconcile(self, snapshot: Snapshot) -> None:
        """Retire the pools no provider of ``snapshot`` uses; each closes when its last request has left."""
        wanted = {_pool_key(provider) for provider in snapshot.providers.values()}
        for key, pool in list(self._pools.items()):
            pool.retired = key not in wanted
            if pool.retired and not pool.in_use:
                self._drop(key, pool)
        self._urls.clear()

    async def close(self) -> None:
        pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            await pool.session.close()

    # --- http -----------------------------------------------------------------------------------------------

    async def _send_http(self, call: Call, provider: Provider) -> _HttpReply:
        key = _pool_key(provider)
        pool = self._pools.get(key) or self._open(key, provider)
        url = self._urls.get(call.url)
        if url is None:
            url = self._remember(call.url)
        pool.in_use += 1
        try:
            response = await pool.session.request(
                call.method, url, data=call.body or None, headers=call.headers, allow_redirects=False
            )
        except BaseException as error:
            self._left(key, pool)
            if isinstance(error, (aiohttp.ClientError, OSError, asyncio.TimeoutError, ValueError)):
                raise AttemptFailed(_unreachable(error, provider)) from None
            raise
        return _HttpReply(response, provider, lambda: self._left(key, pool))

    def _open(self, key: tuple[str, float], provider: Provider) -> _Pool:
        if self._ssl is None and provider.base_url.startswith("https:"):
            self._ssl = ssl.create_default_context()
        connector = aiohttp.TCPConnector(
            limit=0,
            ssl=self._ssl or True,
            ttl_dns_cache=30,
            keepalive_timeout=_IDLE_S[provider.zone],
            happy_eyeballs_delay=0.25,
        )
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=provider.timeouts.connect_s),
            headers={"User-Agent": _USER_AGENT},
            auto_decompress=True,
            trust_env=False,
            raise_for_status=False,
        )
        pool = self._pools[key] = _Pool(session)
        return pool

    def _remember(self, text: str) -> URL:
        if len(self._urls) > 4096:
            self._urls.clear()
        url = self._urls[text] = URL(text, encoded=True)
        return url

    def _left(self, key: tuple[str, float], pool: _Pool) -> None:
        pool.in_use -= 1
        if pool.retired and not pool.in_use:
            self._drop(key, pool)

    def _drop(self, key: tuple[str, float], pool: _Pool) -> None:
        if self._pools.get(key) is pool:
            del self._pools[key]
        connector = pool.session.connector
        pool.session.detach()
        if connector is not None:
            connector.close()

    # --- mock -----------------------------------------------------------------------------------------------

    def _send_to_mock(self, call: Call, deployment: Deployment) -> Reply:
        number = next(self._mock_calls.setdefault(deployment.key, itertools.count()))
        behaviour = deployment.mock or Mock()
        path = call.url.rpartition("://local")[2]
        answer = mock_answer(path, call.body, number, behaviour)
        return _MockReply(answer.status, answer.headers, list(answer.chunks), behaviour, self._sleep)


@dataclass(slots=True)
class _MockReply:
    """Spaces the pieces of a made-up answer as its model was told to behave."""

    status: int
    headers: Mapping[str, str]
    chunks: list[bytes]
    behaviour: Mock
    sleep: Callable[[float], Awaitable[None]]
    _sent: int = field(default=0)

    async def read(self) -> bytes:
        if self._sent >= len(self.chunks):
            return b""
        pause_s = self.behaviour.first_token_s
        if self._sent and self.behaviour.tokens_per_second:
            pause_s = 1 / self.behaviour.tokens_per_second
        elif self._sent:
            pause_s = 0.0
        # Always yield: a stream that never waits would keep the loop to itself.
        await self.sleep(pause_s)
        self._sent += 1
        return self.chunks[self._sent - 1]

    async def read_all(self, limit_bytes: int) -> bytes:
        pieces = []
        while data := await self.read():
            pieces.append(data)
        return b"".join(pieces)

    @property
    def ended(self) -> bool:
        return self._sent >= len(self.chunks)

    def close(self) -> None:
        self.chunks = []


def _pool_key(provider: Provider) -> tuple[str, float]:
    return provider.identity, provider.timeouts.connect_s


# --- what a transport exception means ---------------------------------------------------------------------------


def _unreachable(error: BaseException, provider: Provider) -> Failure:
    """No usable head came back: refused, not found, reset, no TLS, or connecting took too long."""
    if isinstance(error, (aiohttp.ConnectionTimeoutError, asyncio.TimeoutError)):
        return Failure(
            FailureKind.TIMEOUT,
            f"{provider.name} did not accept a connection in time",
            detail=f"no connection within {provider.timeouts.connect_s:g} s",
            code="connect_timeout",
        )
    if isinstance(error, (aiohttp.ClientPayloadError, aiohttp.ClientResponseError)):
        return _cut(error, provider)
    return Failure(
        FailureKind.UNREACHABLE,
        f"{provider.name} cannot be reached",
        detail=_describe(error),
    )


def _cut(error: BaseException, provider: Provider) -> Failure:
    """The answer broke off, or is no HTTP."""
    return Failure(
        FailureKind.BAD_ANSWER,
        f"the answer of {provider.name} broke off",
        detail=_describe(error),
    )


def _too_long(provider: Provider, limit_bytes: int) -> Failure:
    return Failure(
        FailureKind.BAD_ANSWER,
        f"the answer of {provider.name} is too long",
        detail=f"more than {limit_bytes} bytes",
    )


def _describe(error: BaseException) -> str:
    """For the operator's log: the kind of error and its reason, without the request."""
    cause: BaseException = error
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
    if isinstance(cause, socket.gaierror):
        return f"name resolution failed: {cause.strerror}"
    if isinstance(cause, OSError) and cause.strerror:
        return f"{type(error).__name__}: {cause.strerror}"
    return f"{type(error).__name__}: {cause}"[:300]
