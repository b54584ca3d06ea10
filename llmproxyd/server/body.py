"""Reading a request's body: bounded in length and time."""

from __future__ import annotations

import asyncio

from aiohttp import web

from llmproxyd.values.failure import ExchangeFailed, Failure, FailureKind

BODY_TIMEOUT_S = 60.0


async def read_body(http: web.BaseRequest, limit_bytes: int, *, timeout_s: float = BODY_TIMEOUT_S) -> bytes:
    """The whole body. Raises ExchangeFailed: too long (413), too slow (408), or cut (400)."""
    declared = http.content_length
    if declared is not None and declared > limit_bytes:
        raise ExchangeFailed(_too_long(limit_bytes))
    try:
        if http.content.is_eof():
            body = await http.content.read()
        else:
            _invite(http)
            async with asyncio.timeout(timeout_s):
                body = await http.read()
    except web.HTTPRequestEntityTooLarge:
        raise ExchangeFailed(_too_long(limit_bytes)) from None
    except TimeoutError:
        message = f"The body did not arrive within {timeout_s:g} s."
        raise ExchangeFailed(Failure(FailureKind.BAD_REQUEST, message, status=408)) from None
    except web.RequestPayloadError:
        raise ExchangeFailed(
            Failure(FailureKind.BAD_REQUEST, "The body could not be read to its end.")
        ) from None
    if len(body) > limit_bytes:
        raise ExchangeFailed(_too_long(limit_bytes))
    return body


def _invite(http: web.BaseRequest) -> None:
    """Some clients (curl, from a megabyte on) wait a second for leave to send a body."""
    transport = http.transport
    if transport is not None and http.headers.get("Expect", "").lower() == "100-continue":
        transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _too_long(limit_bytes: int) -> Failure:
    return Failure(
        FailureKind.BAD_REQUEST,
        f"The body is longer than {limit_bytes} bytes, the limit set by --max-body.",
        status=413,
        code="request_too_large",
    )
