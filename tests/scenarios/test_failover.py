"""The first provider fails, in every way a provider can fail before it has said anything; nobody notices."""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import Mapping

import aiohttp
import pytest

from tests.support.daemon import Daemon
from tests.support.fake_provider import (
    Exchange,
    FakeProvider,
    Manner,
    answer,
    cut_before_content,
    good_chat,
    hang,
    reset,
)

REQUESTS = 1000
CLIENTS = 25

PROVIDERS = """
version: 1
providers:
  first: {{preset: openai-compatible, endpoint: "{first}", zone: local, models: [{{id: m, price: free}}],
          timeouts: {{connect: 500ms, first_token: 150ms, total: 150ms}}}}
  second: {{preset: openai-compatible, endpoint: "{second}", zone: local, models: [{{id: m, price: free}}]}}
"""
ROUTING = "version: 1\nmodels: {careful: [first/m, second/m]}\n"


async def cut_whole_answer(exchange: Exchange) -> None:
    """Promises a body and breaks off in it."""
    if exchange.seen.json.get("stream"):
        await cut_before_content(exchange)
        return
    await exchange.head(200, {"content-type": "application/json", "content-length": "500"})
    exchange.writer.write(b'{"id": "chatcmpl-1", "choices": [')
    exchange.writer.close()


MANNERS: dict[str, Manner] = {
    "reset": reset,
    "status 500": answer(500, b'{"error": {"message": "boom", "type": "server_error"}}'),
    "status 429": answer(429, b'{"error": {"message": "slow down"}}', retry_after="30"),
    "hang": hang,
    "cut before content": cut_whole_answer,
}


def every_third(bad: Manner) -> Manner:
    """Two good answers, then ``bad``, and so on."""
    turns = itertools.count(1)

    async def manner(exchange: Exchange) -> None:
        await (bad if next(turns) % 3 == 0 else good_chat)(exchange)

    return manner


async def post(session: aiohttp.ClientSession, *, stream: bool) -> tuple[str, Mapping[str, str]]:
    body = {"model": "careful", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    async with session.post("/v1/chat/completions", json=body) as response:
        text = await response.text()
        assert response.status == 200, text
        return text, response.headers


async def ask(session: aiohttp.ClientSession, *, stream: bool) -> str:
    text, headers = await post(session, stream=stream)
    assert headers["x-llmproxyd-provider"] == "second"
    # The second needs two attempts; once the breaker of the first is open, one.
    assert headers["x-llmproxyd-attempts"] in ("1", "2")
    return text


async def ask_many(daemon: Daemon, number: int) -> None:
    """``number`` requests, every other one streamed, from clients that each wait for their answer."""
    left = iter(range(number))

    async def client(session: aiohttp.ClientSession) -> None:
        for turn in left:
            text = await ask(session, stream=bool(turn % 2))
            if turn % 2:
                assert text.count("data: [DONE]") == 1
                assert '"Good "' in text
                assert '"answer."' in text
            else:
                assert "Good answer." in text

    async with daemon.session() as session:
        await asyncio.gather(*(client(session) for _ in range(CLIENTS)))


@pytest.mark.parametrize("kind", [*MANNERS, "refused"])
async def test_a_failing_first_provider_is_never_seen(
    daemon: Daemon, first: FakeProvider, second: FakeProvider, kind: str
) -> None:
    if kind == "refused":
        await first.stop()
    else:
        first.manner = MANNERS[kind]
    daemon.write(PROVIDERS.format(first=first.url, second=second.url), ROUTING)
    async with daemon:
        await ask_many(daemon, REQUESTS)
    assert len(second.seen) == REQUESTS
    # What was under way when the breaker opened, and a trial now and then.
    assert len(first.seen) <= 3 + CLIENTS + REQUESTS * 0.1


@pytest.mark.quiet
@pytest.mark.parametrize("stream", [False, True])
async def test_the_next_attempt_is_dispatched_within_10_ms_of_the_failure(
    daemon: Daemon, first: FakeProvider, second: FakeProvider, stream: bool
) -> None:
    """From the last byte the first provider sent to the request's arrival at the second, in the providers' own logs.

    One call in three fails: too few to open a breaker, so that every failure has its next attempt.
    """
    first.manner = every_third(MANNERS["status 500"])
    daemon.write(PROVIDERS.format(first=first.url, second=second.url), ROUTING)
    async with daemon, daemon.session() as session:
        for _ in range(150):
            await post(session, stream=stream)
    failed = first.seen[2::3]
    gaps_s = [
        later.at_s - earlier.done_s
        for earlier, later in zip(failed, second.seen, strict=True)
        if earlier.done_s is not None
    ]
    assert len(gaps_s) == 50
    assert statistics.median(gaps_s) <= 0.010


async def test_when_everybody_fails_the_client_gets_one_clear_error(
    daemon: Daemon, first: FakeProvider, second: FakeProvider
) -> None:
    first.manner = answer(500, b"<html>oops</html>", content_type="text/html")
    second.manner = answer(429, b'{"error": {"message": "limit"}}', retry_after="7")
    routing = ROUTING + "fallback: {attempts: 2}\n"
    daemon.write(PROVIDERS.format(first=first.url, second=second.url), routing)
    async with daemon, daemon.session() as session:
        body = {"model": "careful", "messages": [{"role": "user", "content": "hi"}]}
        async with session.post("/v1/chat/completions", json=body) as response:
            told = await response.json()
    assert response.status == 503
    assert response.headers["x-should-retry"] == "false"
    assert response.headers["x-llmproxyd-attempts"] == "2"
    assert told["error"]["type"] == "server_error"
    assert "127.0.0.1" not in str(told)
    assert "html" not in str(told)


async def test_a_bad_request_is_not_tried_elsewhere(
    daemon: Daemon, first: FakeProvider, second: FakeProvider
) -> None:
    first.manner = answer(
        400, b'{"error": {"message": "bad temperature", "param": "temperature", "code": "invalid_value"}}'
    )
    daemon.write(PROVIDERS.format(first=first.url, second=second.url), ROUTING)
    async with daemon, daemon.session() as session:
        body = {"model": "careful", "messages": [{"role": "user", "content": "hi"}]}
        async with session.post("/v1/chat/completions", json=body) as response:
            told = await response.json()
    assert response.status == 400
    assert told["error"]["message"] == "bad temperature"
    assert told["error"]["param"] == "temperature"
    assert second.seen == []


async def test_a_recovered_provider_is_used_again(
    daemon: Daemon, first: FakeProvider, second: FakeProvider
) -> None:
    first.manner = MANNERS["status 500"]
    daemon.write(PROVIDERS.format(first=first.url, second=second.url), ROUTING)
    async with daemon, daemon.session() as session:
        await ask(session, stream=False)
        first.manner = good_chat
        body = {"model": "careful", "messages": [{"role": "user", "content": "hi"}]}
        async with session.post("/v1/chat/completions", json=body) as response:
            assert response.headers["x-llmproxyd-provider"] == "first"
