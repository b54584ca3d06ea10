"""Connections to one provider: used again, replaced once when stale, never given a request that breaks its frame."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from llmproxyd.exchange import pool as pool_module
from llmproxyd.exchange.pool import Pool
from llmproxyd.exchange.resolver import NameTable, Resolver
from llmproxyd.values.contracts import Call
from tests.exchange.build import in_turn, post, provider_at, raw, until
from tests.support.fake_provider import Exchange as Wire
from tests.support.fake_provider import FakeProvider, Manner, answer, hang, reset


@pytest.fixture
async def pool(first: FakeProvider) -> AsyncIterator[Pool]:
    names = NameTable(aiohttp.ThreadedResolver())
    resolver = Resolver(names, patience_s=2.0)
    made = Pool(first.url, tls=None, resolver=resolver, connect_timeout_s=2.0, idle_s=30.0)
    first.manner = answer(body=b"fine")
    yield made
    await made.close()
    await names.close()


async def ask(pool: Pool, call: Call) -> tuple[int, bytes]:
    connection, head, payload = await pool.exchange(call)
    body = await payload.read()
    connection.release()
    return head.code, body


async def close_quietly(wire: Wire) -> None:
    """Takes the request and hangs up without a word."""
    wire.writer.close()


class TestReuse:
    async def test_a_connection_serves_again_once_its_answer_was_read(
        self, first: FakeProvider, pool: Pool
    ) -> None:
        for _ in range(3):
            assert await ask(pool, post(provider_at(first.url))) == (200, b"fine")
        assert first.connections == 1

    async def test_two_requests_at_once_have_a_connection_each(self, first: FakeProvider, pool: Pool) -> None:
        call = post(provider_at(first.url))
        await asyncio.gather(ask(pool, call), ask(pool, call))
        assert first.connections == 2

    @pytest.mark.parametrize("hang_up", [reset, close_quietly])
    async def test_one_that_had_gone_stale_is_replaced(
        self, first: FakeProvider, pool: Pool, hang_up: Manner
    ) -> None:
        first.manner = in_turn(answer(body=b"one"), hang_up, answer(body=b"two"))
        call = post(provider_at(first.url))
        assert (await ask(pool, call))[1] == b"one"
        assert (await ask(pool, call))[1] == b"two"
        assert first.connections == 2

    async def test_it_is_replaced_only_once(self, first: FakeProvider, pool: Pool) -> None:
        first.manner = in_turn(answer(body=b"one"), reset)
        call = post(provider_at(first.url))
        await ask(pool, call)
        with pytest.raises(aiohttp.ClientOSError):
            await ask(pool, call)
        assert len(first.seen) == 3

    async def test_a_new_connection_that_is_reset_is_not_tried_again(
        self, first: FakeProvider, pool: Pool
    ) -> None:
        """The server has seen the request: whether to ask again is not decided here."""
        first.manner = reset
        with pytest.raises(aiohttp.ClientOSError):
            await ask(pool, post(provider_at(first.url)))
        assert len(first.seen) == 1

    @pytest.mark.parametrize(
        "begun", [b"HTTP", b"HTTP/1.1 200 O", b"HTTP/1.1 200 OK\r\ncont", b"HTTP/1.1 100 Continue\r\n\r\n"]
    )
    async def test_one_that_was_answered_if_only_with_a_word_is_not_tried_again(
        self, first: FakeProvider, pool: Pool, begun: bytes
    ) -> None:
        """The server has seen the request, and may charge for it."""

        async def begin_and_hang_up(wire: Wire) -> None:
            wire.writer.write(begun)
            wire.writer.close()

        first.manner = in_turn(answer(body=b"one"), begin_and_hang_up, answer(body=b"two"))
        call = post(provider_at(first.url))
        await ask(pool, call)
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(pool, call)
        assert len(first.seen) == 2

    async def test_a_used_one_that_is_cut_late_is_not_tried_again(
        self, first: FakeProvider, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever thinks about a request before hanging up has seen it, and may have been paid for it."""
        monkeypatch.setattr(pool_module, "_STALE_S", 0.02)

        async def think_and_hang_up(wire: Wire) -> None:
            await asyncio.sleep(0.05)
            wire.reset()

        first.manner = in_turn(answer(body=b"one"), think_and_hang_up, answer(body=b"two"))
        call = post(provider_at(first.url))
        await ask(pool, call)
        with pytest.raises(aiohttp.ClientOSError):
            await ask(pool, call)
        assert len(first.seen) == 2

    async def test_who_stops_waiting_cuts_the_connection(self, first: FakeProvider, pool: Pool) -> None:
        first.manner = hang
        asking = asyncio.ensure_future(ask(pool, post(provider_at(first.url))))
        await until(lambda: bool(first.seen))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: first.seen[0].gone_s is not None)


class TestTheRequest:
    async def test_is_said_to_go_out_when_there_is_a_connection(
        self, first: FakeProvider, pool: Pool
    ) -> None:
        said: list[int] = []
        connection, _, payload = await pool.exchange(
            post(provider_at(first.url)), lambda: said.append(first.connections)
        )
        await payload.read()
        connection.release()
        assert len(said) == 1

    async def test_is_not_said_to_go_out_where_nobody_listens(self, first: FakeProvider, pool: Pool) -> None:
        await first.stop()
        said: list[None] = []
        with pytest.raises(aiohttp.ClientConnectorError):
            await pool.exchange(post(provider_at(first.url)), lambda: said.append(None))
        assert said == []

    async def test_goes_out_whole(self, first: FakeProvider, pool: Pool) -> None:
        provider = provider_at(first.url)
        await ask(
            pool, post(provider, b'{"a": 1}', content_type="application/json", authorization="Bearer k")
        )
        seen = first.seen[0]
        assert (seen.method, seen.path, seen.body) == ("POST", "/v1/chat/completions", b'{"a": 1}')
        assert seen.headers["host"] == f"127.0.0.1:{first.port}"
        assert seen.headers["authorization"] == "Bearer k"
        assert seen.headers["content-length"] == "8"
        assert seen.headers["user-agent"].startswith("llmproxyd/")

    async def test_keeps_the_path_and_query_as_they_are_quoted(self, first: FakeProvider, pool: Pool) -> None:
        call = Call("POST", f"{first.url}/models/a%2Fb%20c:go?api-version=2026-01-01&x=%2F", {}, b"", False)
        await ask(pool, call)
        assert first.seen[0].path == "/v1/models/a%2Fb%20c:go?api-version=2026-01-01&x=%2F"

    @pytest.mark.parametrize("broken", ["a\r\nx-evil: 1", "a\nx-evil: 1", "a\rb"])
    async def test_is_refused_when_a_header_would_break_out_of_its_line(
        self, first: FakeProvider, pool: Pool, broken: str
    ) -> None:
        with pytest.raises(ValueError, match="break out"):
            await ask(pool, post(provider_at(first.url), authorization=broken))
        assert first.connections == 0


class TestTheHead:
    async def test_interim_answers_are_passed_over(self, first: FakeProvider, pool: Pool) -> None:
        first.manner = raw(
            b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        )
        assert await ask(pool, post(provider_at(first.url))) == (200, b"ok")

    async def test_a_connection_to_nobody_fails_at_once(self, first: FakeProvider, pool: Pool) -> None:
        await first.stop()
        with pytest.raises(aiohttp.ClientConnectorError):
            await ask(pool, post(provider_at(first.url)))
