"""A provider that costs nearly nothing: answers are bytes made beforehand. ``python -m bench.upstream PORT``.

POST with ``"stream":true`` in the body: an event stream of CHUNKS frames, PAUSE_MS apart; else one JSON body.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import cast

import uvloop

CHUNKS = 200
_TEXT = "It is 7 degrees and raining. " * 60


def _frame(delta: dict[str, str], finish: str | None) -> bytes:
    value = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1795000000,
        "model": "bench-model",
        "service_tier": "default",
        "system_fingerprint": None,
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        "usage": None,
    }
    data = b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


def _whole() -> bytes:
    body = json.dumps(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 1795000000,
            "model": "bench-model",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": _TEXT}, "finish_reason": "stop"}
            ],
            "usage": {"prompt_tokens": 120, "completion_tokens": 400, "total_tokens": 520},
        }
    ).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    return head + body


WHOLE = _whole()
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
FIRST = _frame({"role": "assistant", "content": ""}, None)
WORD = _frame({"content": " and so on"}, None)
_DONE = b"data: [DONE]\n\n"
LAST = _frame({}, "stop") + b"%x\r\n%b\r\n" % (len(_DONE), _DONE) + b"0\r\n\r\n"


class Provider(asyncio.Protocol):
    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods, not the base class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        assert self._transport is not None
        if b'"stream":true' in body or b'"stream": true' in body:
            self._transport.write(STREAM_HEAD + FIRST)
            self._more(CHUNKS)
        else:
            self._transport.write(WHOLE)

    def _more(self, left: int) -> None:
        assert self._transport is not None
        if self._transport.is_closing():
            return
        if not left:
            self._transport.write(LAST)
            return
        self._transport.write(WORD)
        asyncio.get_running_loop().call_later(self._pause_s, self._more, left - 1)


async def _serve(port: int, pause_ms: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Provider(pause_ms / 1000), "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 2.0))
