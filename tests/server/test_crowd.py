"""Who comes in when it is crowded, who is shown out, and how long anybody may hesitate at the door."""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeAlias
from unittest.mock import Mock

import pytest
from aiohttp import web

from llmproxyd.server import crowd as crowd_module
from llmproxyd.server.crowd import (
    FEWEST,
    LOCAL_PLACES,
    MOST,
    OWN_FILES,
    Crowd,
    Doors,
    places_for,
    raise_descriptor_limit,
)
from tests.exchange.build import until
from tests.support.daemon import Daemon
from tests.support.fake_provider import Exchange as WireExchange
from tests.support.fake_provider import FakeProvider, chat_frames, stream

Wire: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Place:
    """A door with so many places, on TCP and on a Unix socket."""

    def __init__(self, directory: Path, crowd: Crowd, head_timeout_s: float) -> None:
        self.crowd = crowd
        self.path = directory / "d.sock"
        self.port = 0
        self.doors = Doors(self._answer, crowd, head_timeout_s=head_timeout_s, access_log=None)
        self.served = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.writers: list[asyncio.StreamWriter] = []

    async def _answer(self, http: web.BaseRequest) -> web.StreamResponse:
        self.served += 1
        await self.go_on.wait()
        await http.read()
        return web.Response(text="hello")

    async def come(self, says: bytes = b"", *, local: bool = False) -> Wire:
        wire = await (
            asyncio.open_unix_connection(str(self.path))
            if local
            else asyncio.open_connection("127.0.0.1", self.port)
        )
        self.writers.append(wire[1])
        wire[1].write(says)
        return wire

    async def fill(self) -> list[Wire]:
        wires = [await self.come(REQUEST) for _ in range(self.crowd.places)]
        for reader, _ in wires:
            await head_of(reader)
        return wires


@asynccontextmanager
async def place(directory: Path, places: int, head_timeout_s: float = 20.0) -> AsyncIterator[Place]:
    made = Place(directory, Crowd(places), head_timeout_s)
    loop = asyncio.get_running_loop()
    tcp = await loop.create_server(made.doors, "127.0.0.1", 0)
    unix = await loop.create_unix_server(made.doors, str(made.path))
    made.port = tcp.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        for writer in made.writers:
            writer.close()
        for server in (tcp, unix):
            server.close()
        await made.doors.shutdown(1.0)


async def head_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer."""
    async with asyncio.timeout(5.0):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:])}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return int(head[0].split()[1]), headers, body


async def is_closed(reader: asyncio.StreamReader, within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        assert await reader.read() == b""


class TestWhenItIsFull:
    async def test_the_next_one_is_told_at_once_and_shown_out(self, tmp_path: Path) -> None:
        async with place(tmp_path, 2) as here:
            await here.fill()
            reader, _ = await here.come()  # it has not even asked
            status, headers, body = await head_of(reader)
            assert status == 503
            assert (headers["connection"], headers["retry-after"]) == ("close", "2")
            error = json.loads(body)["error"]
            assert (error["type"], error["code"]) == ("overloaded_error", "too_many_connections")
            await is_closed(reader)
            assert (here.crowd.connected, here.crowd.turned_away, here.served) == (2, 1, 2)

    async def test_one_that_has_asked_can_read_why_too(self, tmp_path: Path) -> None:
        async with place(tmp_path, 1) as here:
            await here.fill()
            for _ in range(5):
                reader, writer = await here.come(
                    b"POST / HTTP/1.1\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000
                )
                assert (await head_of(reader))[0] == 503
                writer.close()
            assert here.served == 1

    async def test_whoever_is_in_stays_in(self, tmp_path: Path) -> None:
        async with place(tmp_path, 1) as here:
            [(reader, writer)] = await here.fill()
            await here.come(REQUEST)
            writer.write(REQUEST)
            assert (await head_of(reader))[0] == 200

    async def test_a_place_that_becomes_free_is_given_again(self, tmp_path: Path) -> None:
        async with place(tmp_path, 1) as here:
            [(_, writer)] = await here.fill()
            writer.close()
            await until(lambda: here.crowd.connected == 0)
            reader, _ = await here.come(REQUEST)
            assert (await head_of(reader))[0] == 200

    async def test_the_unix_socket_has_some_places_more(self, tmp_path: Path) -> None:
        async with place(tmp_path, 1) as here:
            await here.fill()
            answers = [await head_of((await here.come(REQUEST, local=True))[0]) for _ in range(LOCAL_PLACES)]
            assert {status for status, *_ in answers} == {200}
            assert (await head_of((await here.come(local=True))[0]))[0] == 503, "but not without end"

    async def test_who_is_shown_out_and_does_not_go_is_thrown_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(crowd_module, "_LINGER_S", 0.02)
        async with place(tmp_path, 0) as here:
            for _ in range(40):
                await here.come()
            await until(lambda: here.crowd.turned_away == 40)
            assert here.crowd.lingering <= crowd_module._MAX_LINGERING
            await until(lambda: here.crowd.lingering == 0)

    async def test_the_log_is_told_once_in_a_while(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = Mock()
        monkeypatch.setattr(crowd_module, "_log", log)
        async with place(tmp_path, 0) as here:
            for _ in range(3):
                await head_of((await here.come())[0])
        log.warning.assert_called_once()
        assert log.warning.call_args.args == ("doors.full",)
        assert "LimitNOFILE=" in log.warning.call_args.kwargs["help"]


class TestHesitation:
    @pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
    async def test_who_does_not_finish_a_head_in_time_is_shown_out(self, tmp_path: Path, said: bytes) -> None:
        async with place(tmp_path, 4, head_timeout_s=0.05) as here:
            reader, _ = await here.come(said)
            await is_closed(reader)
            await until(lambda: here.crowd.connected == 0)

    async def test_a_head_that_comes_drop_by_drop_gains_no_time(self, tmp_path: Path) -> None:
        async with place(tmp_path, 4, head_timeout_s=0.1) as here:
            reader, writer = await here.come()

            async def drip() -> None:
                for drop in REQUEST * 1000:
                    writer.write(bytes([drop]) if drop != 10 else b"x")
                    await asyncio.sleep(0.01)

            dripping = asyncio.ensure_future(drip())
            try:
                async with asyncio.timeout(5.0):
                    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                        await reader.readexactly(1)
            finally:
                dripping.cancel()
            assert here.served == 0

    async def test_a_second_head_has_as_much_time_as_the_first(self, tmp_path: Path) -> None:
        async with place(tmp_path, 4, head_timeout_s=0.1) as here:
            reader, writer = await here.come(REQUEST)
            await head_of(reader)
            await asyncio.sleep(0.2)  # idle between two requests is no hesitation
            writer.write(REQUEST)
            assert (await head_of(reader))[0] == 200
            writer.write(b"GET / HT")
            await is_closed(reader)

    async def test_a_slow_body_and_a_slow_answer_are_none_either(self, tmp_path: Path) -> None:
        async with place(tmp_path, 4, head_timeout_s=0.05) as here:
            here.go_on.clear()
            reader, writer = await here.come(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
            await asyncio.sleep(0.15)
            writer.write(b"b")
            here.go_on.set()
            assert (await head_of(reader))[0] == 200


class TestDescriptors:
    @pytest.mark.parametrize(
        ("descriptors", "places"), [(256, 96), (1024, 480), (16, FEWEST), (1_000_000, MOST)]
    )
    def test_half_of_what_we_do_not_need_ourselves_is_for_clients(
        self, descriptors: int, places: int
    ) -> None:
        assert places_for(descriptors) == places

    def test_at_the_limit_clients_providers_and_our_own_files_fit(self) -> None:
        assert 2 * places_for(256) + OWN_FILES <= 256

    def test_the_limit_is_raised_as_far_as_the_host_allows(self) -> None:
        script = (
            "import resource as r; from llmproxyd.server.crowd import raise_descriptor_limit;"
            "r.setrlimit(r.RLIMIT_NOFILE, (64, 200)); print(raise_descriptor_limit(), *r.getrlimit(r.RLIMIT_NOFILE))"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["200", "200", "200"]

    def test_a_host_that_refuses_is_no_reason_not_to_serve(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise ValueError("not allowed to raise maximum limit")

        monkeypatch.setattr(resource, "setrlimit", refuse)
        monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 200))
        assert raise_descriptor_limit() == 100


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def _few(directory: Path, fake: FakeProvider) -> Daemon:
    daemon = Daemon(directory, descriptors=256)
    daemon.write(
        "version: 1\nproviders:\n"
        f"  lab: {{preset: openai-compatible, endpoint: '{fake.url}', models: [{{id: m}}]}}\n"
    )
    return daemon


async def _chat(daemon: Daemon) -> bytes:
    """A stream to its end, raw."""
    body = json.dumps({"model": "lab/m", "stream": True, "messages": [{"role": "user", "content": "hi"}]})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{daemon.port}\r\nConnection: close\r\n"
    entity = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    writer.write((head + entity).encode())
    try:
        return await reader.read()
    finally:
        writer.close()


async def _knock(daemon: Daemon, leaving: ExitStack) -> bytes:
    """Connects and says nothing; -> what it is told, if anything. It stays until ``leaving``."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
        leaving.callback(writer.close)
        async with asyncio.timeout(1.0):
            return await reader.read(12)
    except (TimeoutError, ConnectionError):
        return b""


@pytest.mark.usefixtures("many_descriptors")
async def test_a_daemon_with_few_descriptors_ends_its_streams_and_answers_its_operator(
    tmp_path: Path,
) -> None:
    streams, storm = 70, 500
    go_on = asyncio.Event()
    say = stream(chat_frames([f"w{number} " for number in range(20)]))

    async def wait_and_say(wire: WireExchange) -> None:
        await go_on.wait()
        await say(wire)

    async with FakeProvider(manner=wait_and_say) as fake, _few(tmp_path, fake) as daemon:
        running = [asyncio.ensure_future(_chat(daemon)) for _ in range(streams)]
        await until(lambda: len(fake.seen) == streams, 20.0)
        with ExitStack() as leaving:
            knocks = await asyncio.gather(*(_knock(daemon, leaving) for _ in range(storm)))
            assert sum(knock == b"HTTP/1.1 503" for knock in knocks) >= storm - 100
            async with daemon.unix_session() as session, session.get("/healthz") as answer:
                assert answer.status == 200
            before_s = daemon.cpu_s()
            await asyncio.sleep(0.5)
            assert daemon.cpu_s() - before_s < 0.05, "a crowd at the door does not make it spin"
            go_on.set()
            answers = await asyncio.gather(*running)
    assert sum(b"data: [DONE]" in answer for answer in answers) == streams
