"""Listening sockets: inherited from systemd by name, or bound here. A socket is made safe before it listens."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path

import msgspec
from aiohttp import web

from llmproxyd.settings import Tcp, Unix

BACKLOG = 4096

# asyncio's own loop takes so many in one go, and out of descriptors it fails as often, with a traceback each time.
_ACCEPTS_AT_ONCE = 64


class CannotListen(Exception):  # noqa: N818 - a condition of the machine, told to the operator
    """The message says which address, why, and what to do."""


class Listener(msgspec.Struct):
    """``inherited``: systemd owns the socket, it outlives us. ``path``: the Unix socket's file, to be removed;
    ``identity``: by what that file is known as ours."""

    socket: socket.socket
    inherited: bool
    path: Path | None = None
    identity: tuple[int, int, int] | None = None

    @property
    def is_unix(self) -> bool:
        return self.socket.family == socket.AF_UNIX

    @property
    def port(self) -> int | None:
        return None if self.is_unix else int(self.socket.getsockname()[1])

    def __str__(self) -> str:
        name = self.socket.getsockname()
        if self.is_unix:
            return f"unix:{name}"
        host = f"[{name[0]}]" if ":" in name[0] else name[0]
        return f"http://{host}:{name[1]}"


def adopt(fd: int) -> Listener:
    """A listening socket passed by systemd."""
    inherited = socket.socket(fileno=fd)
    inherited.setblocking(False)
    return Listener(inherited, inherited=True)


def bind(address: Tcp | Unix) -> Listener:
    """Raises CannotListen."""
    return _bind_unix(address.path) if isinstance(address, Unix) else _bind_tcp(address)


def _bind_tcp(address: Tcp) -> Listener:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((address.host, address.port))
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise CannotListen(
            f"cannot listen on {address.host}:{address.port}: {error.strerror or error}. "
            "Stop the program that does (ss -ltnp shows it), or choose another with --listen HOST:PORT."
        ) from None
    bound.setblocking(False)
    return Listener(bound, inherited=False)


def _bind_unix(path: Path) -> Listener:
    _make_way(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    old_mask = os.umask(0o117)
    try:
        bound.bind(str(path))
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise CannotListen(
            f"cannot listen on {path}: {error.strerror or error}. Choose another with --listen unix:/PATH."
        ) from None
    finally:
        os.umask(old_mask)
    bound.setblocking(False)
    return Listener(bound, inherited=False, path=path, identity=_identity(path))


def _make_way(path: Path) -> None:
    """Makes the directory, and removes a socket nobody listens on any more; anything else that is there stays."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise CannotListen(f"cannot use {path}: {error.strerror or error}") from None
    if not stat.S_ISSOCK(mode):
        raise CannotListen(f"cannot listen on {path}: there is a file that is no socket; remove it.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise CannotListen(f"cannot listen on {path}: {error.strerror or error}") from None
    raise CannotListen(f"cannot listen on {path}: another llmproxyd does. Stop it, or choose another path.")


async def start(listener: Listener, server: web.Server) -> asyncio.Server:
    """Begin to accept connections."""
    loop = asyncio.get_running_loop()
    create = loop.create_unix_server if listener.is_unix else loop.create_server
    started = await create(server, sock=listener.socket, backlog=_ACCEPTS_AT_ONCE)
    listener.socket.listen(BACKLOG)  # the kernel's line is as long as before
    return started


def remove(listener: Listener) -> None:
    """After closing: the Unix socket's file goes, unless somebody else has put theirs in its place meanwhile."""
    if listener.path is not None and _identity(listener.path) == listener.identity:
        listener.path.unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Device, inode, time of creation: inodes alone are given anew at once."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns
