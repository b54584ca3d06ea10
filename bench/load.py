"""A closed-loop HTTP client that costs little, and the accounting of what others cost."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(pids: list[int]) -> float:
    """User and system seconds that these processes, and their threads, have used so far."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total * _TICK_S


def rss_mib(pids: list[int]) -> float:
    """Resident memory of these processes, MiB."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


@dataclass
class Result:
    """Latencies in seconds, sorted by arrival; ``first_s`` to the first content frame of a stream."""

    latencies_s: list[float] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    failures: int = 0

    @property
    def p50_s(self) -> float:
        return statistics.median(self.latencies_s)

    @property
    def first_p50_s(self) -> float:
        return statistics.median(self.first_s)


class Client(asyncio.Protocol):
    """One keep-alive connection; ``ask`` sends a request made beforehand and waits for its end."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._mark = b""
        self.first_at_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods, not the base class.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(exc or ConnectionError("closed"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.first_at_s and self._mark and self._mark in self._buffer:
            self.first_at_s = time.perf_counter()
        if self._complete() and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _complete(self) -> bool:
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return False
        head = bytes(self._buffer[:head_end]).lower()
        at = head.find(b"content-length:")
        if at >= 0:
            return len(self._buffer) >= head_end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0])
        return self._buffer.endswith(b"\r\n0\r\n\r\n")

    async def ask(self, request: bytes, mark: bytes = b"") -> bytes:
        assert self._transport is not None
        self._buffer.clear()
        self._mark, self.first_at_s = mark, 0.0
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        await self._waiter
        return bytes(self._buffer)


def http_request(port: int, body: bytes, more: str = "") -> bytes:
    """``more``: header lines, each with its line end."""
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer bench\r\nuser-agent: bench\r\naccept: */*\r\n{more}content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def run(
    port: int,
    body: bytes,
    *,
    requests: int,
    connections: int,
    mark: bytes = b"",
    more: str = "",
    pause_s: float = 0.0,
) -> Result:
    """``requests`` in all over ``connections`` that each wait for their answer, and ``pause_s``, before asking again."""
    loop = asyncio.get_running_loop()
    request, result = http_request(port, body, more), Result()
    left = iter(range(requests))

    async def one() -> None:
        _, client = await loop.create_connection(Client, "127.0.0.1", port)
        for _ in left:
            start = time.perf_counter()
            answer = await client.ask(request, mark)
            result.latencies_s.append(time.perf_counter() - start)
            if mark:
                result.first_s.append(client.first_at_s - start)
            if not answer.startswith(b"HTTP/1.1 200"):
                result.failures += 1
            if pause_s:
                await asyncio.sleep(pause_s)
        assert client._transport is not None
        client._transport.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return result
