"""A bad save changes nothing and is told everywhere; the next good one applies, the old bytes included."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.daemon import Daemon, environment

GOOD = "version: 1\nproviders: {mock: {models: [echo]}}\n"
ROUTING = "version: 1\nmodels: {auto: any}\n"
BAD = "version: 1\nmodels: {auto: any}\npipeline:\n  cost:\n    - {name: x, prefr: [mock]}\n"


async def ask(session: aiohttp.ClientSession) -> int:
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
    async with session.post("/v1/chat/completions", json=body) as response:
        assert response.status == 200
        return int(response.headers["x-llmproxyd-generation"])


async def status(admin: aiohttp.ClientSession) -> Any:
    async with admin.get("/admin/v1/config") as response:
        return await response.json()


async def until_rejected(admin: aiohttp.ClientSession, rejected: bool) -> Any:
    async with asyncio.timeout(5):
        while True:
            seen = await status(admin)
            if (seen["rejected"] is not None) == rejected:
                return seen
            await asyncio.sleep(0.01)


async def reload_command(daemon: Daemon) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "llmproxyd",
        "reload",
        "--wait",
        "--listen",
        f"unix:{daemon.socket_path}",
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.fixture
def notified(tmp_path: Path) -> Any:
    """What systemd would be told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


def told(listener: socket.socket) -> str:
    seen = []
    while True:
        try:
            seen.append(listener.recv(65536).decode())
        except BlockingIOError:
            return "\n".join(seen)


async def test_a_bad_save_is_told_in_five_places_and_changes_nothing(
    daemon: Daemon, notified: socket.socket
) -> None:
    daemon.write(GOOD, ROUTING)
    daemon.environ["NOTIFY_SOCKET"] = notified.getsockname()
    async with daemon, daemon.session() as session, daemon.unix_session() as admin:
        assert await ask(session) == 1
        assert "READY=1" in told(notified)
        (daemon.config_dir / "routing.yaml").write_text(BAD)
        seen = await until_rejected(admin, True)

        problem = seen["rejected"]["problems"][0]
        assert (problem["code"], problem["span"]["line"], problem["span"]["column"]) == ("LP101", 5, 17)
        assert seen["generation"] == 1
        entry = await daemon.logged("config.rejected")
        assert "routing.yaml:5:17" in str(entry)
        async with admin.get("/metrics") as response:
            assert "llmproxyd_config_last_reload_successful 0.0" in await response.text()
        words = told(notified)
        assert "routing.yaml:5:17" in words
        assert words.rstrip().count("READY=1") >= 1, "systemd must not wait for a reload that failed"
        code, text = await reload_command(daemon)
        assert code == 1
        assert "routing.yaml:5:17" in text
        assert "rename it to `prefer`" in text
        assert await ask(session) == 1

        (daemon.config_dir / "routing.yaml").write_text(ROUTING)
        seen = await until_rejected(admin, False)
        assert seen["generation"] == 1, "the old bytes mean the old generation"
        assert (await reload_command(daemon))[0] == 0
        (daemon.config_dir / "routing.yaml").write_text(ROUTING + "fallback: {attempts: 2}\n")
        async with asyncio.timeout(5):
            while await ask(session) != 2:
                await asyncio.sleep(0.01)


async def test_a_deleted_file_is_an_error_until_it_is_back(daemon: Daemon) -> None:
    daemon.write(GOOD, ROUTING)
    async with daemon, daemon.session() as session, daemon.unix_session() as admin:
        (daemon.config_dir / "providers.yaml").unlink()
        seen = await until_rejected(admin, True)
        assert seen["rejected"]["problems"][0]["code"] == "LP002"
        assert await ask(session) == 1
        (daemon.config_dir / "providers.yaml").write_text(GOOD)
        await until_rejected(admin, False)


async def test_an_invalid_file_at_boot_ends_with_78_and_the_diagnostics(tmp_path: Path) -> None:
    (tmp_path / "providers.yaml").write_text(GOOD)
    (tmp_path / "routing.yaml").write_text(BAD)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llmproxyd", "run", "--config-dir", str(tmp_path)),
        *("--state-dir", str(tmp_path / "state"), "--listen", "127.0.0.1:0"),
        env=environment(),
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    assert process.returncode == 78
    assert "routing.yaml:5:17" in err.decode()


async def test_a_missing_file_at_boot_ends_with_66(tmp_path: Path) -> None:
    (tmp_path / "providers.yaml").write_text(GOOD)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llmproxyd", "run", "--config-dir", str(tmp_path)),
        *("--state-dir", str(tmp_path / "state"), "--listen", "127.0.0.1:0"),
        env=environment(),
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    assert process.returncode == 66
    assert "routing.yaml" in err.decode()


async def test_listening_beyond_loopback_without_keys_is_refused(tmp_path: Path) -> None:
    (tmp_path / "providers.yaml").write_text(GOOD)
    (tmp_path / "routing.yaml").write_text(ROUTING)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llmproxyd", "run", "--config-dir", str(tmp_path)),
        *("--state-dir", str(tmp_path / "state"), "--listen", "0.0.0.0:0"),
        env=environment(),
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    assert process.returncode == 78
    assert "key" in err.decode()


async def test_a_taken_port_ends_with_69_and_says_whose_move_it_is(daemon: Daemon, tmp_path: Path) -> None:
    daemon.write(GOOD, ROUTING)
    async with daemon:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "llmproxyd", "run", "--config-dir", str(daemon.config_dir)),
            *("--state-dir", str(tmp_path / "other"), "--listen", daemon.url.removeprefix("http://")),
            env=environment(),
            stderr=asyncio.subprocess.PIPE,
        )
        _, err = await process.communicate()
    assert process.returncode == 69
    assert "--listen" in err.decode()
