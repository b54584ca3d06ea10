"""Who is at the other end of a socket: real sockets, as the kernel tells it."""

from __future__ import annotations

import os
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from llmproxyd.server.peer import Peer, is_local, is_own, peer_of


async def seen_over(connector: aiohttp.BaseConnector, url: str) -> None:
    async with aiohttp.ClientSession(connector=connector) as client, client.get(url) as answer:
        assert answer.status == 204


class Seen:
    """What a server saw of its last caller."""

    local: bool
    own: bool
    peer: Peer | None

    async def serve(self, http: web.BaseRequest) -> web.Response:
        self.local, self.own, self.peer = is_local(http), is_own(http), peer_of(http)
        return web.Response(status=204)


async def test_over_a_unix_socket_the_kernel_says_who_it_is(tmp_path: Path) -> None:
    seen, path = Seen(), str(tmp_path / "s.sock")
    runner = web.ServerRunner(web.Server(seen.serve))
    await runner.setup()
    try:
        await web.UnixSite(runner, path).start()
        await seen_over(aiohttp.UnixConnector(path), "http://localhost/")
    finally:
        await runner.cleanup()
    assert (seen.local, seen.own) == (True, True)
    assert seen.peer == Peer(os.getpid(), os.getuid(), os.getgid())


async def test_over_tcp_nobody_is_our_own(unused_tcp_port: int) -> None:
    seen = Seen()
    runner = web.ServerRunner(web.Server(seen.serve))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
        await seen_over(aiohttp.TCPConnector(), f"http://127.0.0.1:{unused_tcp_port}/")
    finally:
        await runner.cleanup()
    assert (seen.local, seen.own, seen.peer) == (False, False, None)


@pytest.mark.parametrize(("uid", "own"), [(0, True), (os.getuid(), True), (os.getuid() + 4711, False)])
def test_root_and_the_daemons_own_user_are_our_own(
    uid: int, own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmproxyd.server.peer.peer_of", lambda http: Peer(1, uid, 1))
    assert is_own(object()) is own  # type: ignore[arg-type]
