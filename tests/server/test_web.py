"""The HTTP server around the views: what is served where, how a refusal is told, and how it goes away."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from llmproxyd.server.reply import Written, send, send_text
from llmproxyd.server.web import Paths, Web
from tests.exchange.build import until
from tests.server.door import listening


async def echo(http: web.BaseRequest) -> Written:
    return await send_text(http, 200, http.raw_path)


async def broken(http: web.BaseRequest) -> Written:
    raise ZeroDivisionError("a secret")


async def half(http: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(http)
    await response.write(b"half of it")
    raise ZeroDivisionError


async def answered(http: web.BaseRequest) -> Written:
    await send(http, 200, b"all of it", {})
    raise ZeroDivisionError


EXACT: dict[tuple[str, str], Any] = {
    ("GET", "/v1/echo"): echo,
    ("POST", "/v1/echo"): echo,
    ("POST", "/v1/messages"): echo,
    ("GET", "/v1/broken"): broken,
    ("GET", "/v1/half"): half,
    ("GET", "/v1/answered"): answered,
}
PATTERNS = (("GET", re.compile(r"/v1/models/[^?]{1,40}"), echo),)


@pytest.fixture
async def served() -> AsyncIterator[tuple[Web, aiohttp.ClientSession]]:
    async with (
        listening(EXACT, patterns=PATTERNS) as (made, port),
        aiohttp.ClientSession(base_url=f"http://127.0.0.1:{port}") as session,
    ):
        yield made, session


@pytest.fixture
def session(served: tuple[Web, aiohttp.ClientSession]) -> aiohttp.ClientSession:
    return served[1]


class TestPaths:
    async def test_are_found_exactly_and_by_pattern(self, session: aiohttp.ClientSession) -> None:
        for path in ("/v1/echo", "/v1/echo?a=b", "/v1/models/a%2Fb?x=1"):
            async with session.get(URL(path, encoded=True)) as response:
                assert response.status == 200
                assert await response.text() == path

    async def test_that_lead_nowhere_are_404(self, session: aiohttp.ClientSession) -> None:
        async with session.get("/v1/ech") as response:
            assert response.status == 404
            assert (await response.json())["error"]["code"] == "unknown_path"

    async def test_with_another_method_are_405_and_say_which(self, session: aiohttp.ClientSession) -> None:
        async with session.delete("/v1/echo") as response:
            assert response.status == 405
            assert response.headers["allow"] == "GET, POST"
            assert "use GET or POST" in (await response.json())["error"]["message"]
        async with session.post("/v1/models/x") as response:
            assert (response.status, response.headers["allow"]) == (405, "GET")

    def test_the_longest_beginning_says_whose_form_a_refusal_has(self) -> None:
        def form(name: str) -> Any:
            return lambda failure, request_id: name.encode()

        short, long, default = form("short"), form("long"), form("default")
        paths = Paths(exact={}, dialects={"/a/": short, "/a/b/": long}, default_dialect=default)
        assert paths.failure_form("/a/b/c") is long
        assert paths.failure_form("/a/c") is short
        assert paths.failure_form("/b") is default


class TestRefusals:
    async def test_have_the_form_of_the_path(self, session: aiohttp.ClientSession) -> None:
        async with session.get("/v1/messages") as response:
            told = await response.json()
            assert response.status == 405
            assert told["type"] == "error"
        async with session.get("/v1/nothing") as response:
            assert "type" not in await response.json()

    async def test_have_an_id_and_are_not_cached(self, session: aiohttp.ClientSession) -> None:
        async with session.get("/v1/nothing") as response:
            assert response.headers["x-request-id"].startswith("req_")
            assert response.headers["cache-control"] == "no-store"

    async def test_of_a_stranger_end_the_connection(self, session: aiohttp.ClientSession) -> None:
        async with session.get("/v1/echo", headers={"origin": "https://evil.example"}) as response:
            assert response.status == 403
            assert response.headers["connection"] == "close"

    async def test_of_a_path_do_not(self, session: aiohttp.ClientSession) -> None:
        async with session.get("/v1/nothing") as response:
            assert response.headers["connection"] == "keep-alive"

    async def test_of_a_body_nobody_reads_do(self, session: aiohttp.ClientSession) -> None:
        async def slowly() -> AsyncIterator[bytes]:
            yield b"x"
            await asyncio.Event().wait()

        async with session.post("/v1/nothing", data=slowly()) as response:
            assert response.status == 404
            assert response.headers["connection"] == "close"


class TestBugs:
    async def test_are_a_500_that_names_no_more_than_an_id(
        self, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.CRITICAL):
            async with session.get("/v1/broken") as response:
                text = await response.text()
        assert response.status == 500
        assert response.headers["x-llmproxyd-request-id"] in text
        assert "secret" not in text
        assert response.headers["connection"] == "close"

    async def test_in_the_middle_of_an_answer_cut_it(self, session: aiohttp.ClientSession) -> None:
        async with session.get("/v1/half") as response:
            assert response.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()

    async def test_after_an_answer_add_nothing_to_it(self) -> None:
        async with listening(EXACT) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET /v1/answered HTTP/1.1\r\nhost: localhost:{port}\r\n\r\n".encode())
            got = await asyncio.wait_for(reader.read(), 5)
            assert got.endswith(b"\r\n\r\nall of it")
            assert got.count(b"HTTP/1.1") == 1
            writer.close()


class TestDraining:
    async def test_waits_for_those_in_hand_and_lets_them_finish(self) -> None:
        go_on = asyncio.Event()

        async def slow(http: web.BaseRequest) -> Written:
            await go_on.wait()
            return await send_text(http, 200, "done")

        async with (
            listening({("GET", "/"): slow}) as (made, port),
            aiohttp.ClientSession(base_url=f"http://127.0.0.1:{port}") as session,
        ):
            asking = asyncio.ensure_future(session.get("/"))
            await until(lambda: made.count == 1)
            draining = asyncio.ensure_future(made.drained())
            await asyncio.sleep(0)
            assert not draining.done()
            go_on.set()
            response = await asking
            assert await response.text() == "done"
            await asyncio.wait_for(draining, 5)
            assert made.count == 0

    async def test_makes_every_answer_the_last_of_its_connection(
        self, served: tuple[Web, aiohttp.ClientSession]
    ) -> None:
        made, session = served
        await made.drained()
        async with session.get("/v1/echo") as response:
            assert response.status == 200
            assert response.headers["connection"] == "close"
