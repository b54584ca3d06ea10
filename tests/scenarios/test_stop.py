"""Signals: TERM lets what is in hand finish, a second one does not wait, HUP reads the files again."""

from __future__ import annotations

import asyncio
import signal

from tests.support.daemon import Daemon
from tests.support.fake_provider import FakeProvider, chat_frames, hang, stream

PROVIDERS = """
version: 1
providers:
  first: {{preset: openai-compatible, endpoint: "{url}", zone: local, models: [{{id: m, price: free}}]}}
"""
BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}


async def test_a_stream_in_hand_finishes_after_sigterm(daemon: Daemon, first: FakeProvider) -> None:
    first.manner = stream(chat_frames([f"w{n} " for n in range(30)]), pause_s=0.02)
    daemon.write(PROVIDERS.format(url=first.url))
    async with daemon, daemon.session() as session, daemon.session() as idle:
        async with idle.get("/healthz") as response:
            assert response.status == 200
        async with session.post("/v1/chat/completions", json=BODY) as response:
            await response.content.readany()
            daemon.signal(signal.SIGTERM)
            rest = await response.content.read()
        assert rest.endswith(b"data: [DONE]\n\n")
        async with asyncio.timeout(5):
            assert await daemon.process.wait() == 0
    assert not daemon.socket_path.exists()


async def test_who_has_come_in_is_heard_although_the_doors_are_closed(
    daemon: Daemon, first: FakeProvider
) -> None:
    daemon.write(PROVIDERS.format(url=first.url))
    async with daemon:
        reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
        async with daemon.session() as session, session.get("/healthz") as response:
            assert response.status == 200  # the other one was let in before
        daemon.signal(signal.SIGTERM)
        await closed(daemon.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost:%d\r\n\r\n" % daemon.port)
        async with asyncio.timeout(5):
            answer = await reader.read()
            assert await daemon.process.wait() == 0
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close\r\n" in answer


async def closed(port: int) -> None:
    """Returns as soon as nobody is let in any more."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            return
        writer.close()


async def test_a_second_sigterm_does_not_wait(daemon: Daemon, first: FakeProvider) -> None:
    first.manner = hang
    daemon.write(PROVIDERS.format(url=first.url))
    async with daemon, daemon.session() as session:
        asking = asyncio.ensure_future(session.post("/v1/chat/completions", json=BODY))
        while not first.seen:
            await asyncio.sleep(0.01)
        daemon.signal(signal.SIGTERM)
        await daemon.logged("stopping")
        daemon.signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            assert await daemon.process.wait() == 0
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_sighup_reads_the_files_again(daemon: Daemon, first: FakeProvider) -> None:
    daemon.write(PROVIDERS.format(url=first.url))
    async with daemon:
        daemon.signal(signal.SIGHUP)
        entry = await daemon.logged("config.noop")
    assert entry["trigger"] == "sighup"
