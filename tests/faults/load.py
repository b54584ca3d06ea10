"""Clients of the fault table: requests sent when they are due, whatever became of those before, over raw sockets.

Every answer is kept with its times (``time.monotonic``), so that what a client noticed can be judged afterwards.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Any, cast

from tests.faults.manners import MARK

_ANSWER_S = 90.0


@dataclass(frozen=True, slots=True)
class Load:
    """``requests`` at ``rate`` per second, at random intervals or, if ``steady``, at equal ones; ``streams``: which share
    of them is streamed. ``model`` and ``headers`` are what every request says."""

    rate: float
    requests: int
    streams: float = 0.5
    steady: bool = False
    model: str = "careful"
    headers: Mapping[str, str] = field(default_factory=dict)
    seed: int = 1

    def due(self) -> Iterator[tuple[float, bool]]:
        """(seconds after the start, streamed?) of each request."""
        random, at_s = Random(self.seed), 0.0
        for number in range(self.requests):
            at_s += 1 / self.rate if self.steady else random.expovariate(self.rate)
            yield at_s, int((number + 1) * self.streams) > int(number * self.streams)


@dataclass
class Told:
    """One request, and what its client got. ``first_s``: content was seen; ``ended_s``: the answer was complete, or the
    connection gone. ``broken``: why there is no complete HTTP answer."""

    number: int
    stream: bool
    asked_s: float
    head_s: float | None = None
    first_s: float | None = None
    ended_s: float | None = None
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    broken: str = ""

    @cached_property
    def events(self) -> list[Any]:
        """The data of a stream's events; ``[DONE]`` as that text, what is no JSON as an error without a message."""
        lines = self.body.replace(b"\r", b"\n").split(b"\n")
        data = [line[5:].strip() for line in lines if line.startswith(b"data:")]
        return [_decode(text) if text != b"[DONE]" else "[DONE]" for text in data]

    @property
    def error(self) -> dict[str, Any] | None:
        """The typed error that was told, in the head's status or in the stream."""
        if not self.stream or self.status != 200:
            told = json.loads(self.body or b"{}")
            return told.get("error") if isinstance(told, dict) else None
        return next((event["error"] for event in self.events if event != "[DONE]" and "error" in event), None)

    @property
    def text(self) -> str:
        """What the assistant said."""
        if self.status != 200 or not self.body:
            return ""
        if not self.stream:
            return str(json.loads(self.body)["choices"][0]["message"]["content"])
        return "".join(choice["delta"].get("content") or "" for choice in self._choices())

    @property
    def success(self) -> bool:
        """It looks like a good end to its client."""
        if self.status != 200 or self.broken or self.error is not None:
            return False
        if not self.stream:
            return True
        return self.events[-1:] == ["[DONE]"] and any(c.get("finish_reason") for c in self._choices())

    def _choices(self) -> Iterator[dict[str, Any]]:
        for event in self.events:
            if event != "[DONE]":
                yield from event.get("choices", ())


def _decode(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"error": {"message": "", "unreadable": text}}


def request_bytes(load: Load, number: int, port: int, *, stream: bool, **more: Any) -> bytes:
    """A whole chat request; its number is its only message, so that it is found again in the providers' logs."""
    asked = {"model": load.model, "messages": [{"role": "user", "content": f"q{number}"}], "stream": stream}
    body = json.dumps({**asked, **more}).encode()
    extra = "".join(f"{name}: {value}\r\n" for name, value in load.headers.items())
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n{extra}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


class Connection(asyncio.Protocol):
    """A keep-alive connection that carries one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._told: Told | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._buffer = bytearray()
        self._body = bytearray()
        self._left: int | None = None
        self._chunked = False

    @property
    def usable(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._told is not None:
            self._told.broken = str(exc or "closed before the answer was complete")
            self._end()

    def ask(self, request: bytes, told: Told) -> asyncio.Future[None]:
        """Done when ``told`` is."""
        assert self.transport is not None
        assert self._told is None, "one at a time"
        self._told, self._left, self._chunked = told, None, False
        self._buffer.clear()
        self._body.clear()
        self._waiter = asyncio.get_running_loop().create_future()
        told.asked_s = time.monotonic()
        self.transport.write(request)
        return self._waiter

    def data_received(self, data: bytes) -> None:
        told = self._told
        if told is None:
            return
        self._buffer += data
        if told.first_s is None and MARK in data:
            told.first_s = time.monotonic()
        if told.head_s is None and not self._take_head(told):
            return
        if self._take_chunks() if self._chunked else self._take_plain():
            self._end()

    def _take_head(self, told: Told) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        first, *lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        told.head_s, told.status = time.monotonic(), int(first.split(" ", 2)[1])
        told.headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
        self._chunked = told.headers.get("transfer-encoding") == "chunked"
        self._left = None if self._chunked else int(told.headers.get("content-length", "0"))
        return True

    def _take_plain(self) -> bool:
        assert self._left is not None
        if len(self._buffer) < self._left:
            return False
        self._body += self._buffer[: self._left]
        return True

    def _take_chunks(self) -> bool:
        while True:
            if self._left is None:
                end = self._buffer.find(b"\r\n")
                if end < 0:
                    return False
                self._left = int(self._buffer[:end], 16)
                del self._buffer[: end + 2]
            if len(self._buffer) < self._left + 2:
                return False
            self._body += self._buffer[: self._left]
            del self._buffer[: self._left + 2]
            if not self._left:
                return True
            self._left = None

    def _end(self) -> None:
        told, waiter = self._told, self._waiter
        assert told is not None
        assert waiter is not None
        told.ended_s, told.body = time.monotonic(), bytes(self._body)
        self._told = self._waiter = None
        if not waiter.done():
            waiter.set_result(None)


class Clients:
    """Sends loads to one door; connections are kept and used again. ``kind``: what they are made of; ``sent``: all
    requests so far."""

    def __init__(self, port: int, kind: type[Connection] = Connection) -> None:
        self.port = port
        self._kind = kind
        self._idle: list[Connection] = []
        self._all: list[Connection] = []
        self.sent: list[Told] = []

    async def send(self, load: Load) -> list[Told]:
        """The whole load; returns when the last answer is there."""
        loop, start_s, asking = asyncio.get_running_loop(), time.monotonic(), []
        for due_s, stream in load.due():
            await asyncio.sleep(max(0.0, start_s + due_s - time.monotonic()))
            asking.append(loop.create_task(self.ask(load, stream=stream)))
        return list(await asyncio.gather(*asking))

    async def ask(self, load: Load, *, stream: bool, **more: Any) -> Told:
        """One request. What went wrong is in what it returns."""
        told = Told(len(self.sent) + 1, stream, time.monotonic())
        self.sent.append(told)
        request = request_bytes(load, told.number, self.port, stream=stream, **more)
        try:
            connection = await self._connection()
        except OSError as refused:
            told.broken, told.ended_s = f"no connection: {refused}", time.monotonic()
            return told
        try:
            async with asyncio.timeout(_ANSWER_S):
                await connection.ask(request, told)
        except TimeoutError:
            told.broken = f"no complete answer within {_ANSWER_S:g} s"
            assert connection.transport is not None
            connection.transport.abort()
            return told
        self._give_back(connection, told)
        return told

    async def _connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(self._kind, "127.0.0.1", self.port)
        self._all.append(connection)
        return connection

    def _give_back(self, connection: Connection, told: Told) -> None:
        if connection.usable and not told.broken and told.headers.get("connection", "").lower() != "close":
            self._idle.append(connection)

    async def close(self) -> None:
        for connection in self._all:
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0)  # their ends are called by the loop
