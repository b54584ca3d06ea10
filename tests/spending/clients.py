"""Clients that say who they are in a header that is booked, and clients that leave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.faults.harness import Rig
from tests.faults.load import Load, Told, request_bytes
from tests.support.records import replace

ONE = Load(1.0, 1)
_HEARD_S = 20.0


def state_dir(rig: Rig) -> Path:
    return rig.daemon.directory / "state"


def naming(load: Load, number: int) -> Load:
    """The same, with the request's number where the ledger keeps it."""
    return replace(load, headers={**load.headers, "x-llmproxyd-task": f"q{number}"})


async def ask(
    rig: Rig, load: Load = ONE, *, stream: bool = True, about: int | None = None, **more: Any
) -> Told:
    """One request. ``about``: its text is that of another number, so that it can be equal to others."""
    number = len(rig.clients.sent) + 1 if about is None else about
    if about is not None:
        more["messages"] = [{"role": "user", "content": f"q{about}"}]
    return await rig.ask(naming(load, number), stream=stream, **more)


async def send(rig: Rig, load: Load, **more: Any) -> list[Told]:
    """The whole load, each request when it is due; returns when the last answer is there."""
    start_s, asking = time.monotonic(), []
    for due_s, stream in load.due():
        await asyncio.sleep(max(0.0, start_s + due_s - time.monotonic()))
        asking.append(asyncio.ensure_future(ask(rig, load, stream=stream, **more)))
    return list(await asyncio.gather(*asking))


async def leave(
    rig: Rig,
    number: int,
    *,
    enough: Callable[[bytes], bool] | None = None,
    at: Awaitable[object] | None = None,
    stream: bool = True,
    load: Load = ONE,
    **more: Any,
) -> float:
    """Ask, and hang up when what was heard is ``enough``, or when ``at`` is over, or at once. Returns the time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.daemon.port)
    try:
        more.setdefault("messages", [{"role": "user", "content": f"q{number}"}])
        writer.write(request_bytes(naming(load, number), number, rig.daemon.port, stream=stream, **more))
        async with asyncio.timeout(_HEARD_S):
            await writer.drain()
            if enough is not None:
                await _hear(reader, enough)
            if at is not None:
                await at
    finally:
        writer.transport.abort()
    return time.monotonic()


async def _hear(reader: asyncio.StreamReader, enough: Callable[[bytes], bool]) -> None:
    heard = b""
    while not enough(heard):
        data = await reader.read(1 << 16)
        assert data, f"the daemon hung up: {heard[-300:]!r}"
        heard += data


async def until(true: Callable[[], bool], timeout_s: float = 20.0, what: str = "") -> float:
    """Look every few milliseconds; the time when it was."""
    ends_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < ends_s, what or "it never came to that"
        await asyncio.sleep(0.003)
    return time.monotonic()


async def in_hand(rig: Rig) -> int:
    """How many requests the daemon has, as its metrics say, without the question itself."""
    async with rig.daemon.unix_session() as admin, admin.get("/metrics") as response:
        text = await response.text()
    line = next(line for line in text.splitlines() if line.startswith("llmproxyd_requests_in_flight"))
    return int(float(line.split()[-1])) - 1
