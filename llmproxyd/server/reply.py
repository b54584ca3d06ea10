"""Writing answers: the few shapes an HTTP answer has here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from llmproxyd import jsontext

JSON_TYPE = "application/json"
CLIENT_STALL_S = 300.0
"""How long a client may read nothing of what is sent to it. The provider waits as long, and keeps a place occupied."""

LAST = web.RequestKey("llmproxyd.last", bool)
"""Set on a request whose answer is the last of its connection: we are going away."""
REQUEST_ID = web.RequestKey("llmproxyd.request_id", str)
"""Set on a request that crashed: the id it is known by in the log."""


_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}" for status in HTTPStatus}


@lru_cache(maxsize=4)
def _http_date(now_s: int) -> str:
    return formatdate(now_s, usegmt=True)


class Response(web.StreamResponse):
    """Sends its head together with the first bytes of its body: one packet for a small answer."""

    _send_headers_immediately = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if request.get(LAST):
            self.force_close()
        return await super().prepare(request)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Waits for a client that does not keep up, after each piece; aiohttp would look up every 64 KiB."""
        await super().write(data)
        writer = self._payload_writer
        if writer is not None:
            await writer.drain()


class Written(web.StreamResponse):
    """An answer that is on the wire already. aiohttp is told what it still needs to know: nothing is left to write."""

    def __init__(self, status: int, *, keep_alive: bool) -> None:
        self._status = status
        self._keep_alive = keep_alive
        self._eof_sent = True


async def send(
    http: web.BaseRequest,
    status: int,
    body: bytes,
    headers: Mapping[str, str],
    *,
    content_type: str = JSON_TYPE,
    close: bool = False,
) -> Written:
    """A whole answer, head and body in one write. Raises ConnectionError if the client is gone."""
    transport = http.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client is gone")
    keep_alive = http.keep_alive and not close and LAST not in http
    lines = [
        _STATUS_LINES[status],
        *[f"{name}: {value}" for name, value in headers.items()],
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        f"Date: {_http_date(int(time.time()))}",
        "Server: llmproxyd",
        "Connection: keep-alive" if keep_alive else "Connection: close",
    ]
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
        raise ValueError("a header would break out of its line")
    data = b"%b\r\n\r\n%b" % (head.encode(), b"" if http.method == "HEAD" else body)
    transport.write(data)
    http.writer.output_size += len(data)
    if transport.get_write_buffer_size():
        await _drain(http, transport)
    return Written(status, keep_alive=keep_alive)


async def _drain(http: web.BaseRequest, transport: asyncio.Transport) -> None:
    try:
        async with asyncio.timeout(CLIENT_STALL_S):
            await http.writer.drain()
    except TimeoutError:
        raise let_go(transport) from None


def let_go(transport: asyncio.Transport | None) -> ConnectionResetError:
    """Ends the connection to a client that reads nothing; what was still to be sent is dropped. To be raised."""
    if transport is not None:
        transport.abort()
    return ConnectionResetError("the client reads nothing")


async def send_json(http: web.BaseRequest, status: int, value: Any) -> Written:
    """A value of our own interfaces (admin, health), never cached."""
    return await send(http, status, jsontext.encode(value) + b"\n", {"Cache-Control": "no-store"})


async def send_text(http: web.BaseRequest, status: int, text: str) -> Written:
    return await send(
        http,
        status,
        text.encode(),
        {"Cache-Control": "no-store"},
        content_type="text/plain; charset=utf-8",
    )
