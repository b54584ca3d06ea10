"""A provider as seen from the wire: a real HTTP/1.1 server whose manners a test chooses, and its own log.

Raw asyncio streams, because the interesting manners (reset, cut in the middle, silence) are below HTTP libraries.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias


@dataclass(slots=True)
class Seen:
    """One request as it arrived. Times are ``time.monotonic()``; ``gone_s``: when the peer closed on us; ``first_s``: when
    a manner that tells wrote the first content, ``wrote_s``: when the last bytes were written."""

    at_s: float
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    gone_s: float | None = None
    done_s: float | None = None
    first_s: float | None = None
    wrote_s: float | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Exchange:
    """What a manner works with: the request, and the wire."""

    seen: Seen
    writer: asyncio.StreamWriter
    gone: asyncio.Event

    async def head(self, status: int, headers: dict[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} Status", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
        await self.write("\r\n".join(lines).encode())

    async def chunk(self, data: bytes) -> None:
        await self.write(b"%x\r\n%b\r\n" % (len(data), data))

    async def last_chunk(self) -> None:
        await self.write(b"0\r\n\r\n")

    async def write(self, data: bytes) -> None:
        """These bytes, whatever they are."""
        self.writer.write(data)
        self.seen.wrote_s = time.monotonic()
        await self.writer.drain()

    def reset(self) -> None:
        """RST instead of FIN."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Manner: TypeAlias = Callable[[Exchange], Awaitable[None]]


def answer(
    status: int = 200, body: bytes = b"{}", content_type: str = "application/json", **headers: str
) -> Manner:
    """A whole answer."""

    async def manner(exchange: Exchange) -> None:
        extra = {name.replace("_", "-"): value for name, value in headers.items()}
        await exchange.head(status, {"content-type": content_type, "content-length": str(len(body)), **extra})
        await exchange.write(body)

    return manner


def stream(
    pieces: Iterable[bytes],
    *,
    content_type: str = "text/event-stream",
    pause_s: float = 0.0,
    cut_after: int | None = None,
    stall_after: int | None = None,
) -> Manner:
    """A chunked answer. ``cut_after`` N pieces the connection is closed without an end; ``stall_after`` it falls silent."""
    pieces = tuple(pieces)

    async def manner(exchange: Exchange) -> None:
        await exchange.head(200, {"content-type": content_type, "transfer-encoding": "chunked"})
        for number, piece in enumerate(pieces):
            if number == cut_after:
                exchange.writer.close()
                return
            if number == stall_after:
                await exchange.gone.wait()
                return
            if pause_s and number:
                await asyncio.sleep(pause_s)
            await exchange.chunk(piece)
        await exchange.last_chunk()

    return manner


async def reset(exchange: Exchange) -> None:
    """Takes the request, then resets the connection."""
    exchange.reset()


async def hang(exchange: Exchange) -> None:
    """Takes the request and says nothing until the peer gives up."""
    await exchange.gone.wait()


async def cut_before_content(exchange: Exchange) -> None:
    """A 200 and the role chunk, then the connection closes."""
    await exchange.head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
    role = b'{"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}'
    await exchange.chunk(b"data: " + role + b"\n\n")
    exchange.writer.close()


def chat_body(text: str = "Good answer.", model: str = "m", **usage: int) -> bytes:
    """A chat completion."""
    counts = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8, **usage}
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1795000000,
            "model": model,
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            ],
            "usage": counts,
        }
    ).encode()


def chat_frames(words: Iterable[str] = ("Good ", "answer."), model: str = "m") -> list[bytes]:
    """The frames of a streamed chat completion, usage and [DONE] included."""

    def frame(delta: dict[str, Any], finish: str | None = None) -> bytes:
        value = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1795000000,
            "model": model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
        return b"data: " + json.dumps(value).encode() + b"\n\n"

    words = list(words)
    usage = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1795000000,
        "model": model,
        "choices": [],
        "usage": {
            "prompt_tokens": 5,
            "completion_tokens": len(words),
            "total_tokens": 5 + len(words),
        },
    }
    return [
        frame({"role": "assistant", "content": ""}),
        *(frame({"content": word}) for word in words),
        frame({}, "stop"),
        b"data: " + json.dumps(usage).encode() + b"\n\n",
        b"data: [DONE]\n\n",
    ]


async def good_chat(exchange: Exchange) -> None:
    """Answers a chat request well, streamed if it asks for that."""
    if exchange.seen.json.get("stream"):
        await stream(chat_frames())(exchange)
    else:
        await answer(body=chat_body())(exchange)


async def no_models(exchange: Exchange) -> None:
    """Answers a probe: here, but nothing to list."""
    await answer(body=b'{"object": "list", "data": [], "models": []}')(exchange)


@dataclass
class FakeProvider:
    """``manner`` decides what happens to the next request, ``on_probe`` to the next GET; ``seen`` and ``probes`` are
    the logs. ``connections``: how many there ever were, ``open``: how many there are."""

    manner: Manner = good_chat
    on_probe: Manner = no_models
    seen: list[Seen] = field(default_factory=list)
    probes: list[Seen] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def port(self) -> int:
        return self._port

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def start(self) -> None:
        """Accept connections, on the same port as before if there was one."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port, backlog=4096)
        self._port = self._server.sockets[0].getsockname()[1]

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """From now on connections are refused."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        try:
            while not writer.is_closing() and (seen := await self._read(reader)) is not None:
                await self._answer(seen, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self.open -= 1
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Seen | None:
        first = await reader.readline()
        if not first:
            return None
        method, path, _ = first.decode().split(" ", 2)
        headers: dict[str, str] = {}
        while (line := (await reader.readline()).strip()) != b"":
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        seen = Seen(time.monotonic(), method, path, headers, body)
        (self.probes if method == "GET" else self.seen).append(seen)
        return seen

    async def _answer(self, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gone = asyncio.Event()
        watch = asyncio.ensure_future(self._watch(reader, seen, gone))
        try:
            manner = self.on_probe if seen.method == "GET" else self.manner
            await manner(Exchange(seen, writer, gone))
            seen.done_s = time.monotonic()
        except ConnectionError:
            seen.gone_s = seen.gone_s or time.monotonic()
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch

    async def _watch(self, reader: asyncio.StreamReader, seen: Seen, gone: asyncio.Event) -> None:
        """Nobody pipelines here: when the reader reaches its end, the peer has gone."""
        while not reader.at_eof():
            if reader._buffer:  # type: ignore[attr-defined]  # the next request; leave it
                return
            try:
                await reader._wait_for_data("watch")  # type: ignore[attr-defined]
            except (ConnectionError, RuntimeError):
                break
        seen.gone_s = time.monotonic()
        gone.set()
