"""The daemon as systemd runs it, without a running systemd: sockets handed over, every step told."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.programs import program
from tests.support.daemon import environment

PROVIDERS = "version: 1\nproviders: {mock: {models: [{id: echo, mock: {}}]}}\n"
ROUTING = "version: 1\nmodels: {auto: any}\n"
BODY = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def notified(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


async def told(listener: socket.socket) -> dict[str, str]:
    """The next message, as assignments."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        message = (await loop.sock_recv(listener, 65536)).decode()
    return dict(line.split("=", 1) for line in message.split("\n"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def activated(
    tmp_path: Path, notify: socket.socket, *variables: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    (tmp_path / "providers.yaml").write_text(PROVIDERS)
    (tmp_path / "routing.yaml").write_text(ROUTING)
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        program("systemd-socket-activate", "systemd"),
        *("-l", f"127.0.0.1:{port}", "-l", str(tmp_path / "u.sock"), "--fdname=http:unix"),
        *("-E", f"NOTIFY_SOCKET={notify.getsockname()}", *(f"-E{v}" for v in variables)),
        *(sys.executable, "-m", "llmproxyd", "run"),
        *("--config-dir", str(tmp_path), "--state-dir", str(tmp_path / "state")),
        env=environment(),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process, port
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ask(base_url: str, connector: aiohttp.BaseConnector | None = None) -> int:
    """Ask until somebody listens; systemd would have the socket before any client."""
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.timeout(15):
        while True:
            try:
                async with session.post(f"{base_url}/v1/chat/completions", json=BODY) as response:
                    return response.status
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.02)


async def test_both_sockets_are_taken_over_and_the_whole_life_is_told(
    tmp_path: Path, notified: socket.socket
) -> None:
    async with activated(tmp_path, notified) as (process, port):
        assert await ask(f"http://127.0.0.1:{port}") == 200
        started = await told(notified)
        assert started["READY"] == "1"
        assert started["STATUS"] == "gen 1 ok"
        unix = aiohttp.UnixConnector(str(tmp_path / "u.sock"))
        assert await ask("http://localhost", unix) == 200

        (tmp_path / "routing.yaml").write_text(ROUTING + "fallback: {attempts: 2}\n")
        begun, done = await told(notified), await told(notified)
        assert begun["RELOADING"] == "1"
        assert int(begun["MONOTONIC_USEC"]) > 0
        assert (done["READY"], done["STATUS"]) == ("1", "gen 2 ok")

        (tmp_path / "routing.yaml").write_text(ROUTING + "fallbakc: {}\n")
        begun, kept = await told(notified), await told(notified)
        assert begun["RELOADING"] == "1"
        assert kept["READY"] == "1", "a refused file must not leave systemd waiting"
        assert kept["STATUS"].startswith("gen 2 kept: routing.yaml:3:1 LP101")

        process.send_signal(signal.SIGTERM)
        assert (await told(notified))["STOPPING"] == "1"
        async with asyncio.timeout(10):
            assert await process.wait() == 0


async def test_the_watchdog_is_fed_from_the_loop(tmp_path: Path, notified: socket.socket) -> None:
    async with activated(tmp_path, notified, "WATCHDOG_USEC=300000") as (_, port):
        assert await ask(f"http://127.0.0.1:{port}") == 200
        beats = 0
        while beats < 3:
            beats += "WATCHDOG" in await told(notified)
