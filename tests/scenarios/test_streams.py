"""Streams after their commit: a cut is told, a stall is found, a client that leaves stops the provider."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.fake_provider import Exchange, FakeProvider, chat_frames, hang, stream

PROVIDERS = """
version: 1
providers:
  first: {{preset: openai-compatible, endpoint: "{first}", zone: local, models: [{{id: m, price: free}}],
          timeouts: {{first_token: 30s, stall: {stall}, total: 30s}}}}
"""
WORDS = [f"word{n} " for n in range(60)]


def write(daemon: Daemon, provider: FakeProvider, *, stall: str = "10s") -> None:
    daemon.write(PROVIDERS.format(first=provider.url, stall=stall), "version: 1\nmodels: {one: [first/m]}\n")


def body(**more: Any) -> dict[str, Any]:
    return {"model": "one", "messages": [{"role": "user", "content": "hi"}], "stream": True, **more}


def data_of(text: str) -> list[Any]:
    lines = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
    return [json.loads(line) if line != "[DONE]" else line for line in lines]


async def read_stream(daemon: Daemon) -> str:
    async with daemon.session() as session, session.post("/v1/chat/completions", json=body()) as response:
        assert response.status == 200
        return await response.text()


async def test_a_stream_that_is_cut_ends_with_an_error_never_as_a_success(
    daemon: Daemon, first: FakeProvider
) -> None:
    first.manner = stream(chat_frames(WORDS), cut_after=40)
    write(daemon, first)
    async with daemon:
        told = data_of(await read_stream(daemon))
    assert told[-1]["error"]["message"]
    assert "[DONE]" not in told
    assert all(not chunk.get("choices") or not chunk["choices"][0]["finish_reason"] for chunk in told)
    said = "".join(c["choices"][0]["delta"].get("content", "") for c in told[:-1])
    assert said == "".join(WORDS[:39])


async def test_a_stalled_stream_is_found_by_its_timer(daemon: Daemon, first: FakeProvider) -> None:
    first.manner = stream(chat_frames(WORDS), stall_after=10)
    write(daemon, first, stall="200ms")
    async with daemon:
        start = time.monotonic()
        told = data_of(await read_stream(daemon))
        assert time.monotonic() - start < 5
    assert told[-1]["error"]["message"]
    assert first.seen[0].gone_s is not None, "the provider was not told to stop"


@pytest.mark.parametrize("when", ["before the first content", "in the middle", "of a whole answer"])
async def test_a_client_that_leaves_stops_the_provider_within_100_ms(
    daemon: Daemon, first: FakeProvider, when: str
) -> None:
    if when == "in the middle":
        first.manner = stream(chat_frames(WORDS), stall_after=10)
    else:
        first.manner = hang
    write(daemon, first)
    async with daemon:
        session = daemon.session()
        asking = asyncio.ensure_future(
            session.post("/v1/chat/completions", json=body(stream=when != "of a whole answer"))
        )
        if when == "in the middle":
            response = await asking
            await response.content.readany()
        else:
            while not first.seen:
                await asyncio.sleep(0.01)
            asking.cancel()
        left_s = time.monotonic()
        await session.close()
        while first.seen[0].gone_s is None:
            await asyncio.sleep(0.005)
            assert time.monotonic() - left_s < 5
        assert first.seen[0].gone_s - left_s < 0.5
        entry = await daemon.logged("exchange")
    assert entry["ending"] == "cancelled"


async def test_what_the_provider_streams_reaches_the_client_byte_for_byte(
    daemon: Daemon, first: FakeProvider
) -> None:
    """Verbatim: the model asked for is the provider's own, so nothing has to be put in its place."""
    frames = chat_frames(["Łódź ", "\u2028 line", "7 °C"])
    first.manner = stream(frames)
    daemon.write(PROVIDERS.format(first=first.url, stall="10s"))
    async with daemon, daemon.session() as session:
        asked = {**body(model="m"), "stream_options": {"include_usage": True}}
        async with session.post("/v1/chat/completions", json=asked) as response:
            got = await response.read()
    assert got == b"".join(frames)


async def test_the_usage_frame_only_we_asked_for_stays_here(daemon: Daemon, first: FakeProvider) -> None:
    write(daemon, first)
    async with daemon:
        told = data_of(await read_stream(daemon))
        entry = await daemon.logged("exchange")
    assert first.seen[0].json["stream_options"] == {"include_usage": True}
    assert all("usage" not in chunk or chunk["usage"] is None for chunk in told if chunk != "[DONE]")
    assert entry["output_tokens"] == 2


async def test_a_slow_reader_slows_its_own_provider_only(daemon: Daemon, first: FakeProvider) -> None:
    """Back-pressure both ways: what the client does not read, the provider cannot send."""
    sent = 0
    words = ["x" * 16_000] * 2000

    async def flood(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        for frame in chat_frames(words):
            await exchange.chunk(frame)
            sent += len(frame)
        await exchange.last_chunk()

    first.manner = flood
    write(daemon, first)
    async with (
        daemon,
        daemon.session() as session,
        session.post("/v1/chat/completions", json=body()) as response,
    ):
        await response.content.readany()
        settled = -1
        while settled != sent:
            settled = sent
            await asyncio.sleep(0.3)
        assert sent < 16_000 * 1500, "the whole answer went somewhere, and the client has not read it"
        rest = await response.content.read()
    assert rest.endswith(b"data: [DONE]\n\n")


async def test_a_client_disconnect_while_waiting_leaves_nothing_behind(
    daemon: Daemon, first: FakeProvider
) -> None:
    first.manner = hang
    write(daemon, first)
    async with daemon:
        for _ in range(5):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3), daemon.session() as session:
                    await session.post("/v1/chat/completions", json=body())
        async with daemon.unix_session() as session, session.get("/metrics") as response:
            text = await response.text()
    in_flight = [line for line in text.splitlines() if line.startswith("llmproxyd_requests_in_flight ")]
    assert in_flight, text
    assert float(in_flight[0].split()[1]) == 1.0, "only the scrape itself is in hand"
