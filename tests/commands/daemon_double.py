"""A daemon's doors without the daemon: a real HTTP server on a Unix socket or on TCP, with prepared answers."""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any


@dataclass
class DaemonDouble:
    """``answers``: (method, path) -> (status, document or raw bytes). ``seen``: (method, path, headers, body)."""

    answers: dict[tuple[str, str], tuple[int, Any]]
    seen: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    silent: threading.Event | None = None
    port: int = 0


def _handler(double: DaemonDouble) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(length)
            headers = {name.lower(): value for name, value in self.headers.items()}
            double.seen.append((self.command, self.path, headers, json.loads(body) if body else None))
            if double.silent is not None:
                double.silent.wait(30)
                return
            status, document = double.answers.get(
                (self.command, self.path), (404, {"error": {"message": "Nothing is served here."}})
            )
            data = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # a client that has read enough hangs up
                self.wfile.write(data)

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Quiet: the tests look at ``seen``."""

        def address_string(self) -> str:
            return "client"

    return Handler


class _UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


class _TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextlib.contextmanager
def serve(double: DaemonDouble, path: Path | None = None) -> Iterator[DaemonDouble]:
    """Serve on a Unix socket at ``path``, or on a free TCP port of loopback (``double.port``)."""
    server: socketserver.BaseServer
    if path is None:
        tcp = _TcpServer(("127.0.0.1", 0), _handler(double))
        double.port = tcp.server_address[1]
        server = tcp
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        server = _UnixServer(str(path), _handler(double))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield double
    finally:
        if double.silent is not None:
            double.silent.set()
        server.shutdown()
        thread.join()
        server.server_close()
