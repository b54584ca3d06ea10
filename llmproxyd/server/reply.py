"""Writing answers: the few shapes an HTTP answer has here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from llmproxyd import jsontext

JSON_TYPE = "application/json"
LAST = "llmproxyd.last"
"""Set on a request whose answer is the last of its connection: we are going away."""


class Response(web.StreamResponse):
    """Sends its head together with the first bytes of its body: one packet for a small answer."""

    _send_headers_immediately = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if request.get(LAST):
            self.force_close()
        return await super().prepare(request)


async def send(
    http: web.BaseRequest,
    status: int,
    body: bytes,
    headers: Mapping[str, str],
    *,
    content_type: str = JSON_TYPE,
    close: bool = False,
) -> Response:
    """A whole answer."""
    response = Response(status=status, headers=headers)
    response.headers["Content-Type"] = content_type
    response.headers["Server"] = "llmproxyd"
    response.content_length = len(body)
    if close:
        response.force_close()
    await response.prepare(http)
    await response.write_eof(b"" if http.method == "HEAD" else body)
    return response


async def send_json(http: web.BaseRequest, status: int, value: Any) -> Response:
    """A value of our own interfaces (admin, health), never cached."""
    return await send(http, status, jsontext.encode(value) + b"\n", {"Cache-Control": "no-store"})


async def send_text(http: web.BaseRequest, status: int, text: str) -> Response:
    return await send(
        http,
        status,
        text.encode(),
        {"Cache-Control": "no-store"},
        content_type="text/plain; charset=utf-8",
    )
