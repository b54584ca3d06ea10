"""The daemon as a real process, with a configuration a test writes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp

START_TIMEOUT_S = 20.0


def environment(**extra: str) -> dict[str, str]:
    """A clean environment: nothing of the developer's own keys or settings reaches a test."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": "/nonexistent", "PYTHONUNBUFFERED": "1", **extra}


def limited(descriptors: int | None) -> tuple[str, ...]:
    """What to put before a command so that it can open at most so many files."""
    if descriptors is None:
        return ()
    return ("sh", "-c", f'ulimit -n {descriptors} && exec "$@"', "sh")


def handing_over(listener: socket.socket | None) -> tuple[str, ...]:
    """What to put before a command so that it finds ``listener`` where systemd puts sockets."""
    if listener is None:
        return ()
    told = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=http"
    return ("bash", "-c", f'exec 3<&{listener.fileno()}; {told} exec "$@"', "bash")


@dataclass
class Daemon:
    """Started by ``async with``; stopped (and waited for) at its end. ``log`` holds its JSON lines. ``program``: what the
    interpreter runs; ``descriptors``: at most so many open files; ``inherits``: a listening socket handed over as systemd
    does, instead of the TCP one it would open."""

    directory: Path
    environ: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    program: tuple[str, ...] = ("-m", "llmproxyd")
    descriptors: int | None = None
    inherits: socket.socket | None = None
    log: list[dict[str, Any]] = field(default_factory=list)
    raw_log: list[str] = field(default_factory=list)
    _process: asyncio.subprocess.Process | None = None
    _reader: asyncio.Task[None] | None = None
    _started: asyncio.Event = field(default_factory=asyncio.Event)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    url: str = ""

    @property
    def config_dir(self) -> Path:
        return self.directory / "conf"

    @property
    def socket_path(self) -> Path:
        return self.directory / "d.sock"

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    def write(self, providers: str, routing: str = "version: 1\nmodels: {auto: any}\n") -> None:
        self.config_dir.mkdir(exist_ok=True)
        (self.config_dir / "providers.yaml").write_text(providers)
        (self.config_dir / "routing.yaml").write_text(routing)

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *limited(self.descriptors),
            *handing_over(self.inherits),
            sys.executable,
            *self.program,
            "run",
            "--config-dir",
            str(self.config_dir),
            "--listen",
            "127.0.0.1:0",
            "--listen",
            f"unix:{self.socket_path}",
            "--state-dir",
            str(self.directory / "state"),
            "--log-format",
            "json",
            *self.arguments,
            env=environment(**self.environ),
            pass_fds=() if self.inherits is None else (self.inherits.fileno(),),
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 22,
        )
        self._reader = asyncio.ensure_future(self._read_log())
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._started.wait()
        except TimeoutError:
            await self.kill()
            raise AssertionError("the daemon did not start:\n" + "\n".join(self.raw_log)) from None
        if not self.url:
            raise AssertionError("the daemon ended at its start:\n" + "\n".join(self.raw_log))
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self.process.returncode is None:
            self.process.terminate()
            with contextlib.suppress(ProcessLookupError):
                try:
                    async with asyncio.timeout(15):
                        await self.process.wait()
                except TimeoutError:
                    await self.kill()
                    raise AssertionError(
                        "the daemon did not stop:\n" + "\n".join(self.raw_log[-30:])
                    ) from None
        if self._reader is not None:
            await self._reader

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def _read_log(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            text = line.decode().rstrip("\n")
            self.raw_log.append(text)
            with contextlib.suppress(ValueError):
                entry = json.loads(text)
                self.log.append(entry)
                if entry.get("event") == "started":
                    self.url = next(u for u in entry["listeners"] if u.startswith("http"))
                    self._started.set()
            async with self._news:
                self._news.notify_all()
        self._started.set()

    async def logged(self, event: str, *, after: int = 0, timeout_s: float = 10.0) -> dict[str, Any]:
        """The first log entry named ``event`` from position ``after`` on; waits for it."""

        def found() -> dict[str, Any] | None:
            return next((e for e in self.log[after:] if e.get("event") == event), None)

        try:
            async with asyncio.timeout(timeout_s), self._news:
                await self._news.wait_for(lambda: found() is not None)
        except TimeoutError:
            raise AssertionError(f"no {event!r} in the log:\n" + "\n".join(self.raw_log[-30:])) from None
        entry = found()
        assert entry is not None
        return entry

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def cpu_s(self) -> float:
        """What the kernel has charged it so far, user and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_kib(self) -> int:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE") // 1024

    def session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(base_url=self.url)

    def unix_session(self) -> aiohttp.ClientSession:
        """Over the Unix socket, where the admin interface knows us by our user id."""
        return aiohttp.ClientSession(
            base_url="http://localhost", connector=aiohttp.UnixConnector(str(self.socket_path))
        )
