"""Whole answers as they go over the wire: one write, framed so that the next request finds its place."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest
from aiohttp import web

from llmproxyd.server.reply import LAST, Written, send, send_json, send_text
from tests.server.door import listening

View: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


async def ask(view: View, method: str = "GET", version: str = "1.1", **headers: str) -> tuple[str, bytes]:
    """The head and the body of the answer ``view`` gives; asked twice on one connection if that stays open."""
    async with listening({(method, "/"): view}) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        lines = [f"{method} / HTTP/{version}", f"host: localhost:{port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).decode()
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = b"" if method == "HEAD" else await reader.readexactly(int(fields["content-length"]))
        if fields["connection"] == "close":
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
    return head.lower(), body


async def fine(http: web.BaseRequest) -> Written:
    return await send(http, 200, b'{"a": 1}', {"x-extra": "1"})


async def test_a_whole_answer_is_head_and_body() -> None:
    head, body = await ask(fine)
    assert head.startswith("http/1.1 200 ok\r\n")
    assert "content-type: application/json\r\n" in head
    assert "x-extra: 1\r\n" in head
    assert "server: llmproxyd\r\n" in head
    assert "date: " in head
    assert "connection: keep-alive\r\n" in head
    assert body == b'{"a": 1}'


async def test_a_head_is_told_the_length_and_given_no_body() -> None:
    head, _ = await ask(fine, "HEAD")
    assert "content-length: 8\r\n" in head


async def test_who_wants_the_connection_closed_gets_that() -> None:
    assert "connection: close" in (await ask(fine, connection="close"))[0]
    assert "connection: close" in (await ask(fine, version="1.0"))[0]


async def test_the_last_answer_says_that_it_is() -> None:
    async def last(http: web.BaseRequest) -> Written:
        http[LAST] = True
        return await fine(http)

    assert "connection: close" in (await ask(last))[0]


async def test_our_own_values_are_never_cached() -> None:
    head, body = await ask(lambda http: send_json(http, 200, {"a": [1]}))
    assert "cache-control: no-store" in head
    assert body == b'{"a":[1]}\n'
    head, body = await ask(lambda http: send_text(http, 503, "Łódź\n"))
    assert head.startswith("http/1.1 503 service unavailable")
    assert "text/plain; charset=utf-8" in head
    assert body.decode() == "Łódź\n"


@pytest.mark.parametrize("broken", ["a\r\nset-cookie: b=c", "a\nb", "a\rb"])
async def test_a_header_that_would_break_out_of_its_line_is_a_bug_and_is_not_sent(broken: str) -> None:
    async def view(http: web.BaseRequest) -> Written:
        return await send(http, 200, b"", {"x-name": broken})

    head, _ = await ask(view)
    assert head.startswith("http/1.1 500 ")
    assert "set-cookie" not in head


async def test_nothing_is_written_to_a_client_that_is_gone() -> None:
    ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    async def view(http: web.BaseRequest) -> Written:
        assert http.transport is not None
        http.transport.abort()
        try:
            return await fine(http)
        except BaseException as error:
            ended.set_result(error)
            raise

    async with listening({("GET", "/"): view}) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET / HTTP/1.1\r\nhost: localhost:{port}\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        assert isinstance(await asyncio.wait_for(ended, 5), ConnectionError)
        writer.close()
