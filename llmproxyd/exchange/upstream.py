"""The one door to providers: pooled HTTP clients, and every transport exception raised as the Failure it is.

It tries once. Whether another try is worth it is `routing.fallback`'s to say. A pool belongs to a provider's identity
(name, endpoint, dialect), so that a reload which leaves that alone leaves its connections alone.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeAlias

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver
from aiohttp.connector import Connection
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader

from llmproxyd.adapters.mock import mock_answer
from llmproxyd.exchange.pool import Pool, unheard
from llmproxyd.exchange.resolver import NameTable, Resolver
from llmproxyd.exchange.wire_faults import WIRE_ERRORS, cut, too_long, unreachable
from llmproxyd.values.clearance import Clearance, ConstantCall, NotCleared, require
from llmproxyd.values.contracts import Call
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.snapshot import Deployment, Mock, Provider, Snapshot, Zone

MAX_WHOLE_ANSWER_BYTES = 64 * 1024 * 1024
MAX_PROBE_BYTES = 8 * 1024 * 1024
MAX_ERROR_BYTES = 256 * 1024

# What is handed on at a time: all of it waits in memory while a slow client takes it.
_PIECE_BYTES = 16 * 1024

# Servers close idle connections on their own; one that goes away just when it is used costs an attempt. Small
# servers (uvicorn) wait 5 s, the big providers at least a minute.
_IDLE_S = {Zone.LOCAL: 4.0, Zone.PRIVATE: 20.0, Zone.EXTERNAL: 30.0}

# Of the time for connecting. The rest is for the connection; and a look-up that hangs is named as what it is.
_LOOK_UP_SHARE = 0.8

_PoolKey: TypeAlias = tuple[str, float]


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


class _HttpReply:
    __slots__ = ("_connection", "_done", "_payload", "_provider", "headers", "status")

    def __init__(
        self,
        connection: Connection,
        message: RawResponseMessage,
        payload: StreamReader,
        provider: Provider,
        done: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._payload = payload
        self._provider = provider
        self._done: Callable[[], None] | None = done
        self.status = message.code
        self.headers: Mapping[str, str] = message.headers

    async def read(self) -> bytes:
        try:
            return await self._payload.read(_PIECE_BYTES)
        except (aiohttp.ClientError, OSError) as error:
            raise AttemptFailed(cut(error, self._provider)) from None

    async def read_all(self, limit_bytes: int) -> bytes:
        first = await self.read()
        if self._payload.at_eof():
            return first
        pieces, size = [first], len(first)
        while data := await self.read():
            size += len(data)
            if size > limit_bytes:
                raise AttemptFailed(too_long(self._provider, limit_bytes))
            pieces.append(data)
        return b"".join(pieces)

    @property
    def ended(self) -> bool:
        return self._payload.at_eof()

    def close(self) -> None:
        if self._done is None:
            return
        done, self._done = self._done, None
        if self._payload.at_eof():
            self._connection.release()
        else:
            self._connection.close()
        done()


class Upstream:
    """Owns the pools; made and closed by the daemon. ``lookup`` asks for addresses, ``tls`` says whom to trust; None:
    the system's."""

    def __init__(
        self,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        lookup: AbstractResolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._pools: dict[_PoolKey, Pool] = {}
        self._lookup = lookup
        self._names: NameTable | None = None
        self._wanted: frozenset[_PoolKey] | None = None
        self._closing: set[asyncio.Future[None]] = set()
        self._tls = tls
        self._sleep = sleep
        self._mock_calls: dict[str, itertools.count[int]] = {}

    async def send(
        self,
        call: Call,
        deployment: Deployment,
        clearance: Clearance | None,
        on_write: Callable[[], None] = unheard,
    ) -> Reply:
        """Send ``call``, wait for the head of the answer. ``on_write`` is called just before its first byte goes out. Raises
        AttemptFailed; and NotCleared, before a name is looked up, without a ``clearance`` for this deployment and what its
        provider may see."""
        require(clearance, deployment)
        provider = deployment.provider
        if provider.is_mock:
            on_write()
            return self._send_to_mock(call, deployment)
        return await self._send_http(call, provider, on_write)

    async def fetch(self, probe: ConstantCall, provider: Provider, *, timeout_s: float) -> tuple[int, bytes]:
        """A probe from start to end: status and body. Raises AttemptFailed; and NotCleared if it was made for another."""
        if not isinstance(probe, ConstantCall) or probe.provider != provider.identity:
            raise NotCleared(f"{provider.name} is asked without a request by its own probe alone")
        try:
            async with asyncio.timeout(timeout_s):
                reply = await self._send_http(probe.call, provider)
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
        self._wanted = frozenset(_pool_key(provider) for provider in snapshot.providers.values())
        for key, pool in list(self._pools.items()):
            pool.retired = key not in self._wanted
            if pool.retired and not pool.in_use:
                self._drop(key, pool)
        mocks = {deployment.key for deployment in snapshot.deployments}
        self._mock_calls = {key: calls for key, calls in self._mock_calls.items() if key in mocks}

    async def close(self) -> None:
        pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            await pool.close()
        await asyncio.gather(*self._closing)
        if self._names is not None:
            await self._names.close()
            self._names = None

    # --- http -----------------------------------------------------------------------------------------------

    async def _send_http(
        self, call: Call, provider: Provider, on_write: Callable[[], None] = unheard
    ) -> _HttpReply:
        key = _pool_key(provider)
        pool = self._pools.get(key) or self._open(key, provider)
        pool.in_use += 1
        try:
            connection, message, payload = await pool.exchange(call, on_write)
        except BaseException as error:
            self._left(key, pool)
            if isinstance(error, WIRE_ERRORS):
                raise AttemptFailed(unreachable(error, provider)) from None
            raise
        return _HttpReply(connection, message, payload, provider, lambda: self._left(key, pool))

    def _open(self, key: _PoolKey, provider: Provider) -> Pool:
        if self._names is None:
            self._names = NameTable(self._lookup or aiohttp.ThreadedResolver())
        connect_s = provider.timeouts.connect_s
        pool = self._pools[key] = Pool(
            provider.base_url,
            tls=self._tls,
            resolver=Resolver(self._names, patience_s=connect_s * _LOOK_UP_SHARE),
            connect_timeout_s=connect_s,
            idle_s=_IDLE_S[provider.zone],
        )
        # A request keeps the snapshot it was admitted with, and may need a pool that the reload has retired.
        pool.retired = self._wanted is not None and key not in self._wanted
        return pool

    def _left(self, key: _PoolKey, pool: Pool) -> None:
        pool.in_use -= 1
        if pool.retired and not pool.in_use:
            self._drop(key, pool)

    def _drop(self, key: _PoolKey, pool: Pool) -> None:
        if self._pools.get(key) is pool:
            del self._pools[key]
        closing = asyncio.ensure_future(pool.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    # --- mock -----------------------------------------------------------------------------------------------

    def _send_to_mock(self, call: Call, deployment: Deployment) -> Reply:
        number = next(self._mock_calls.setdefault(deployment.key, itertools.count()))
        behaviour = deployment.mock or Mock()
        path = call.url.rpartition("://local")[2]
        answer = mock_answer(path, call.body, number, behaviour)
        return _MockReply(answer.status, answer.headers, list(answer.chunks), behaviour, self._sleep)


class _MockReply(msgspec.Struct):
    """Spaces the pieces of a made-up answer as its model was told to behave."""

    status: int
    headers: Mapping[str, str]
    chunks: list[bytes]
    behaviour: Mock
    sleep: Callable[[float], Awaitable[None]]
    _sent: int = 0

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


def _pool_key(provider: Provider) -> _PoolKey:
    return provider.identity, provider.timeouts.connect_s
