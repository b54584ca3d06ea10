"""Sockets: made safe before they listen, taken over when dead, left alone when they are somebody else's."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
import sys
from pathlib import Path

import pytest
from aiohttp import web

from llmproxyd.server.listen import BACKLOG, CannotListen, Listener, adopt, bind, remove, start
from llmproxyd.settings import Tcp, Unix


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def connect(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "d.sock"


class TestUnix:
    def test_is_for_its_owner_and_group_alone(self, path: Path) -> None:
        before = os.umask(0)
        try:
            listener = bind(Unix(path))
            assert mode(path) == 0o660
            assert os.umask(0) == 0, "the process's own mask is as it was"
        finally:
            os.umask(before)
        listener.socket.close()

    def test_makes_its_directory_for_its_owner_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "run" / "d.sock"
        listener = bind(Unix(path))
        assert mode(path.parent) & 0o077 == 0
        connect(path)
        listener.socket.close()

    def test_takes_over_from_one_that_is_dead(self, path: Path) -> None:
        bind(Unix(path)).socket.close()
        assert path.exists()
        listener = bind(Unix(path))
        connect(path)
        listener.socket.close()

    def test_refuses_to_take_over_from_one_that_lives(self, path: Path) -> None:
        living = bind(Unix(path))
        with pytest.raises(CannotListen, match="another llmproxyd does"):
            bind(Unix(path))
        connect(path)
        living.socket.close()

    def test_leaves_a_file_that_is_no_socket(self, path: Path) -> None:
        path.write_text("precious")
        with pytest.raises(CannotListen, match="no socket; remove it"):
            bind(Unix(path))
        assert path.read_text() == "precious"

    def test_leaves_a_link_wherever_it_leads(self, path: Path, tmp_path: Path) -> None:
        path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(CannotListen, match="no socket"):
            bind(Unix(path))
        assert path.is_symlink()

    def test_says_why_it_cannot(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(CannotListen, match=r"cannot use .*file/d\.sock: File exists"):
            bind(Unix(tmp_path / "file" / "d.sock"))
        with pytest.raises(CannotListen, match="--listen unix:/PATH"):
            bind(Unix(tmp_path / ("x" * 200)))

    def test_goes_with_its_owner(self, path: Path) -> None:
        listener = bind(Unix(path))
        listener.socket.close()
        remove(listener)
        assert not path.exists()
        remove(listener)

    def test_stays_when_a_successor_has_put_its_own_there(self, path: Path) -> None:
        """The old one still drains while the new one listens already."""
        old = bind(Unix(path))
        old.socket.close()
        new = bind(Unix(path))
        # Never as close together as here, where one tick of the file system's clock may hold both.
        os.utime(path, ns=(0, path.lstat().st_mtime_ns + 1_000_000_000))
        remove(old)
        connect(path)
        new.socket.close()

    def test_stays_when_it_was_inherited(self, path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as given:
            given.bind(str(path))
            given.listen()
            listener = adopt(os.dup(given.fileno()))
            assert listener.inherited
            assert listener.is_unix
            assert str(listener) == f"unix:{path}"
            listener.socket.close()
            remove(listener)
            assert path.exists()


class TestTcp:
    def test_listens_where_it_was_told(self) -> None:
        listener = bind(Tcp("127.0.0.1", 0))
        assert listener.port
        assert str(listener) == f"http://127.0.0.1:{listener.port}"
        socket.create_connection(("127.0.0.1", listener.port)).close()
        listener.socket.close()

    def test_speaks_of_an_ipv6_address_as_browsers_do(self) -> None:
        listener = bind(Tcp("::1", 0))
        assert str(listener) == f"http://[::1]:{listener.port}"
        listener.socket.close()

    def test_says_what_to_do_when_the_port_is_taken(self) -> None:
        taken = bind(Tcp("127.0.0.1", 0))
        with pytest.raises(CannotListen, match=r"in use.*ss -ltnp.*--listen HOST:PORT") as raised:
            bind(Tcp("127.0.0.1", taken.port or 0))
        assert f"127.0.0.1:{taken.port}" in str(raised.value)
        taken.socket.close()

    def test_says_when_the_address_is_not_ours(self) -> None:
        with pytest.raises(CannotListen, match=r"192\.0\.2\.1:0"):
            bind(Tcp("192.0.2.1", 0))

    def test_may_be_inherited(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as given:
            listener = adopt(os.dup(given.fileno()))
            assert (listener.port, listener.inherited) == (given.getsockname()[1], True)
            assert not listener.socket.getblocking()
            listener.socket.close()


@pytest.mark.parametrize("kind", ["unix", "tcp"])
async def test_a_started_listener_serves(kind: str, path: Path) -> None:
    async def hello(_: web.BaseRequest) -> web.Response:
        return web.Response(text="hello")

    listener: Listener = bind(Unix(path) if kind == "unix" else Tcp("127.0.0.1", 0))
    server = await start(listener, web.Server(hello))
    opening = (
        asyncio.open_unix_connection(str(path))
        if kind == "unix"
        else asyncio.open_connection("127.0.0.1", listener.port)
    )
    reader, writer = await opening
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    assert (await reader.read()).endswith(b"hello")
    writer.close()
    server.close()


async def _never(_: web.BaseRequest) -> web.StreamResponse:
    raise AssertionError("nobody asks")


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux tells how long a listener's line is"
)
async def test_a_started_listener_keeps_its_long_line() -> None:
    """However few the loop takes out of it at a time."""
    listener = bind(Tcp("127.0.0.1", 0))
    server = await start(listener, web.Server(_never))
    told = listener.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
    (longest,) = struct.unpack_from("I", told, 28)  # tcpi_sacked: on a listening socket, the backlog
    assert longest == min(BACKLOG, int(Path("/proc/sys/net/core/somaxconn").read_text()))
    server.close()
