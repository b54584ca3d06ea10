"""Asking the running daemon: a small blocking HTTP client over its Unix socket, or over TCP with the admin token.

The daemon is looked for where it listens by default, and only there, unless --listen says otherwise. TCP is used only
when it was asked for: the token must not be shown to whatever program happens to own port 8400.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from llmproxyd.commands.console import CannotGoOn
from llmproxyd.exits import Exit
from llmproxyd.settings import Listen, Settings, Tcp, Unix, default_sockets

MAX_REPLY_BYTES = 16 * 1024 * 1024
MAX_LINE_BYTES = 1024 * 1024
CONNECT_TIMEOUT_S = 2.0


class Reply(msgspec.Struct, frozen=True):
    """What the daemon said: HTTP status and JSON document."""

    status: int
    document: dict[str, Any]


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT_TIMEOUT_S)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.close()
            raise
        self.sock.settimeout(self.timeout)


class _TcpConnection(http.client.HTTPConnection):
    """``timeout`` is for the answer; a loopback address accepts at once or never."""

    def connect(self) -> None:
        patience, self.timeout = self.timeout, CONNECT_TIMEOUT_S
        super().connect()
        self.timeout = patience
        self.sock.settimeout(patience)


def addresses(settings: Settings, environ: Mapping[str, str]) -> tuple[Listen, ...]:
    """Where a daemon with these settings could be asked, in the order to try: sockets first, they need no token."""
    if not settings.listen_given:
        return tuple(Unix(path) for path in default_sockets(environ, settings.state_dir))
    return tuple(sorted(settings.listen, key=lambda address: isinstance(address, Tcp)))


def ask(
    settings: Settings,
    environ: Mapping[str, str],
    method: str,
    path: str,
    document: object = None,
    *,
    timeout_s: float = 10.0,
) -> Reply:
    """One request to the first address that accepts a connection.

    document: sent as JSON unless None. timeout_s: for the whole wait between two pieces of the answer.
    Raises CannotGoOn: 69 if nobody answers or lets us in, 75 if the answer takes too long.
    """
    connection, address = _connect(settings, environ, timeout_s)
    try:
        return _converse(connection, address, settings, method, path, document)
    finally:
        connection.close()


def follow(
    settings: Settings, environ: Mapping[str, str], path: str, *, silence_s: float = 45.0
) -> Iterator[bytes]:
    """The lines of an answer that goes on, without their ends, until the daemon ends it.

    silence_s: after so long without a line nobody is there any more. Raises CannotGoOn: 69 if nobody answers, lets us
    in or goes on, 75 after a silence.
    """
    connection, address = _connect(settings, environ, silence_s)
    headers = {"Accept": "text/event-stream", "Connection": "close"} | _credentials(address, settings)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            reply = _read_reply(response.status, response.read(MAX_REPLY_BYTES + 1), address)
            raise CannotGoOn(Exit.UNAVAILABLE, f"the daemon does not tell that (status {reply.status})")
        while line := response.readline(MAX_LINE_BYTES):
            yield line.rstrip(b"\r\n")
    except TimeoutError:
        raise CannotGoOn(Exit.TIMED_OUT, f"the daemon at {address} has fallen silent") from None
    except (OSError, http.client.HTTPException) as error:
        raise _broke_off(error, address) from None
    finally:
        connection.close()


def _connect(
    settings: Settings, environ: Mapping[str, str], timeout_s: float
) -> tuple[http.client.HTTPConnection, Listen]:
    """To the first address that accepts a connection."""
    tried = addresses(settings, environ)
    for address in tried:
        connection = _connection(address, timeout_s)
        try:
            connection.connect()
        except (OSError, ValueError):
            continue  # nobody there: the last word, after the last address, names all of them
        return connection, address
    places = ", ".join(map(str, tried))
    raise CannotGoOn(
        Exit.UNAVAILABLE,
        f"no daemon answers at {places}: start it with `llmproxyd run`, or name its --listen address",
    )


def _connection(address: Listen, timeout_s: float) -> http.client.HTTPConnection:
    if isinstance(address, Unix):
        return _UnixConnection(str(address.path), timeout_s)
    return _TcpConnection(address.host, address.port, timeout=timeout_s)


def _converse(
    connection: http.client.HTTPConnection,
    address: Listen,
    settings: Settings,
    method: str,
    path: str,
    document: object,
) -> Reply:
    body = None if document is None else json.dumps(document).encode()
    headers = {"Accept": "application/json", "Connection": "close"} | _credentials(address, settings)
    if body is not None:
        headers["Content-Type"] = "application/json"
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        data = response.read(MAX_REPLY_BYTES + 1)
    except TimeoutError:
        raise CannotGoOn(Exit.TIMED_OUT, f"the daemon at {address} did not answer in time") from None
    except (OSError, http.client.HTTPException) as error:
        raise _broke_off(error, address) from None
    return _read_reply(response.status, data, address)


def _broke_off(error: Exception, address: Listen) -> CannotGoOn:
    reason = str(error) or type(error).__name__
    return CannotGoOn(Exit.UNAVAILABLE, f"the daemon at {address} broke off: {reason}")


def _credentials(address: Listen, settings: Settings) -> dict[str, str]:
    """A Unix socket knows who we are."""
    return {"Authorization": f"Bearer {_read_token(settings)}"} if isinstance(address, Tcp) else {}


def _read_token(settings: Settings) -> str:
    path = settings.admin_token_file
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise CannotGoOn(
            Exit.UNAVAILABLE,
            f"cannot read the admin token {path}: {reason}. Use the daemon's own --state-dir and user, "
            "or its Unix socket (--listen unix:/PATH)",
        ) from None


def _read_reply(status: int, data: bytes, address: Listen) -> Reply:
    if len(data) > MAX_REPLY_BYTES:
        raise CannotGoOn(Exit.UNAVAILABLE, f"the answer of {address} is longer than {MAX_REPLY_BYTES} bytes")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise CannotGoOn(Exit.UNAVAILABLE, f"what answers at {address} is not llmproxyd (status {status})")
    if status in (401, 403):
        raise CannotGoOn(Exit.UNAVAILABLE, f"the daemon at {address} lets its owner and root in, nobody else")
    return Reply(status, document)
