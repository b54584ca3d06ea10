"""A vendor's server for an SDK: it keeps what the SDK sends, and answers with bytes that it was given."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from tests.clients.wire import Answered, Recorded

_JOIN_TIMEOUT_S = 10.0


class Vendor:
    """Used by ``with``. ``answer``: for every request to come; ``seen``: what came, oldest first."""

    def __init__(self) -> None:
        self.answer = Answered(404, {}, b"")
        self.seen: list[Recorded] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="vendor", daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(_JOIN_TIMEOUT_S)

    def _handler(vendor) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the handler's inside
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                vendor.seen.append(Recorded(self.command, self.path, tuple(self.headers.items()), body))
                self.send_response(vendor.answer.status)
                self.send_header("content-type", vendor.answer.headers["content-type"])
                self.send_header("content-length", str(len(vendor.answer.body)))
                self.end_headers()
                self.wfile.write(vendor.answer.body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
                """Not into the test's output."""

        return Handler
