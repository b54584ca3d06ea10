"""From names to addresses: remembered for a while, asked for once at a time, and not lost when a name server is.

An address that was good half a minute ago most likely still is. So a look-up that fails, or takes its time, is answered
with the last good one for a while, and only then with the failure. The look-ups themselves run in threads that nobody
can stop (``getaddrinfo``): callers wait as long as their patience lasts, the look-up goes on, and there is never more
than one for a name.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult

FRESH_S = 30.0
"""How long an address is used without asking again."""
KEPT_S = 60.0
"""How much longer it is used while nobody can say a newer one."""
FAILURE_S = 1.0
"""How long a failure is repeated without asking again; also how soon an address may be doubted again."""
MAX_NAMES = 1024

# Somebody with an address in hand waits this long for a newer one.
_SPARE_PATIENCE_S = 0.25

_Key: TypeAlias = tuple[str, socket.AddressFamily]


class _Entry(msgspec.Struct):
    """What is known of a name. Monotonic seconds; ``looked_up_s`` is when ``addresses`` were said."""

    addresses: tuple[ResolveResult, ...] = ()
    looked_up_s: float = 0.0
    fresh_until_s: float = 0.0
    failure: OSError | None = None
    failed_s: float = 0.0

    def spare(self, now_s: float) -> bool:
        """The last good addresses may still be used."""
        return bool(self.addresses) and now_s < self.looked_up_s + FRESH_S + KEPT_S

    def failed_lately(self, now_s: float) -> bool:
        return self.failure is not None and now_s < self.failed_s + FAILURE_S


class _LookUp(msgspec.Struct):
    began_s: float
    task: asyncio.Task[_Entry]


class NameTable:
    """Shared by all pools. ``lookup`` asks the system; ``clock`` gives monotonic seconds."""

    def __init__(self, lookup: AbstractResolver, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._lookup = lookup
        self._clock = clock
        self._entries: dict[_Key, _Entry] = {}
        self._running: dict[_Key, _LookUp] = {}

    async def look_up(
        self, host: str, family: socket.AddressFamily, *, patience_s: float
    ) -> Sequence[ResolveResult]:
        """Addresses of ``host``, at least one; their port is meaningless.

        Raises OSError (mostly socket.gaierror) when there are none, or none were found within ``patience_s`` seconds.
        """
        key = (host, family)
        entry = self._entries.get(key)
        now_s = self._clock()
        if entry is not None and now_s < entry.fresh_until_s:
            return entry.addresses
        if entry is None or not entry.failed_lately(now_s):
            entry = await self._newer(key, entry, now_s, patience_s)
        if entry.spare(now_s):
            return entry.addresses
        assert entry.failure is not None, "what has no address has a reason"
        raise _again(entry.failure)

    def doubt(self, host: str) -> None:
        """Nobody was reached at the addresses of ``host``: it may have moved, so the next caller asks again."""
        now_s = self._clock()
        for (known, _), entry in self._entries.items():
            if known == host and now_s >= entry.looked_up_s + FAILURE_S:
                entry.fresh_until_s = 0.0

    async def close(self) -> None:
        """Nobody waits for a look-up any more; a thread that hangs in one is left to end by itself."""
        running = [look_up.task for look_up in self._running.values()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._lookup.close()

    async def _newer(self, key: _Key, known: _Entry | None, now_s: float, patience_s: float) -> _Entry:
        """What the look-up said; ``known`` if it takes long and that will do. It goes on whoever stops waiting."""
        look_up = self._running.get(key)
        if look_up is None:
            look_up = self._running[key] = _LookUp(now_s, asyncio.ensure_future(self._ask(key)))
        spare = known if known is not None and known.spare(now_s) else None
        # From its beginning: one look-up that hangs delays the first caller that has a spare, not all of them.
        wait_s = patience_s if spare is None else look_up.began_s + _SPARE_PATIENCE_S - now_s
        done, _ = await asyncio.wait({look_up.task}, timeout=max(0.0, wait_s))
        if done:
            return look_up.task.result()
        if spare is not None:
            return spare
        raise socket.gaierror(socket.EAI_AGAIN, f"no name server answered within {patience_s:g} s")

    async def _ask(self, key: _Key) -> _Entry:
        host, family = key
        try:
            found = await self._lookup.resolve(host, 0, family)
            if not found:
                raise socket.gaierror(socket.EAI_NONAME, "the name has no address")
        except (
            OSError,
            UnicodeError,
        ) as error:  # UnicodeError: no name that a name server could be asked for
            return self._failed(key, error if isinstance(error, OSError) else _no_name(error))
        finally:
            del self._running[key]
        now_s = self._clock()
        return self._keep(key, _Entry(tuple(found), now_s, now_s + FRESH_S))

    def _failed(self, key: _Key, error: OSError) -> _Entry:
        entry = self._entries.get(key, _Entry())
        entry.failure, entry.failed_s = error, self._clock()
        return self._keep(key, entry)

    def _keep(self, key: _Key, entry: _Entry) -> _Entry:
        self._entries.pop(key, None)
        while len(self._entries) >= MAX_NAMES:
            del self._entries[next(iter(self._entries))]  # the one that was asked for longest ago
        self._entries[key] = entry
        return entry


class Resolver(AbstractResolver):
    """One pool's view of the table, with its own patience. Closing it leaves the table alone."""

    def __init__(self, table: NameTable, *, patience_s: float) -> None:
        self._table = table
        self._patience_s = patience_s

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._table.look_up(host, family, patience_s=self._patience_s)
        return [{**address, "port": port} for address in found]

    def doubt(self, host: str) -> None:
        self._table.doubt(host)

    async def close(self) -> None:
        return


def _no_name(error: UnicodeError) -> OSError:
    return socket.gaierror(socket.EAI_NONAME, f"not a host name: {error}"[:200])


def _again(failure: OSError) -> OSError:
    """The same failure for one more caller: an exception that is raised twice gathers the tracebacks of both."""
    return type(failure)(*failure.args)
