"""Recorded requests and the plain wire: what was sent is sent again, and what comes back is kept as it came."""

from __future__ import annotations

import http.client
import json
import re
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

RECORDINGS = Path(__file__).resolve().parent / "recordings"
TIMEOUT_S = 20.0
MAX_ANSWER_BYTES = 16 * 1024 * 1024
_MODEL = re.compile(rb'("model"\s*:\s*)"[^"]*"')
_MODEL_IN_PATH = re.compile(r"(/models/)[^:?]+(?=[:?])")
_OF_THE_CONNECTION = ("host", "content-length")
"""What no recording can know; everything else is sent as it was recorded."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A request as a client wrote it: ``target`` is the path with its query, headers keep order and case."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def for_model(self, model: str) -> Recorded:
        """The same request for another model. Nothing else in it changes."""
        target = _MODEL_IN_PATH.sub(rf"\g<1>{model}", self.target)
        return replace(
            self, target=target, body=_MODEL.sub(rb'\g<1>"%b"' % model.encode(), self.body, count=1)
        )

    def with_document(self, document: Any) -> Recorded:
        """The same head with another body, as a client sends its next turn."""
        return replace(self, body=json.dumps(document, ensure_ascii=False).encode())

    def encode(self, authority: str) -> bytes:
        own = [(name, value) for name, value in self.headers if name.lower() not in _OF_THE_CONNECTION]
        fields = [("Host", authority), *own]
        if self.body:
            fields.append(("Content-Length", str(len(self.body))))
        head = [f"{self.method} {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
        return "\r\n".join([*head, "", ""]).encode("latin-1") + self.body


@dataclass(frozen=True, slots=True)
class Answered:
    """``headers``: names in lower case. ``body``: without the transfer's chunks, else untouched."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def load(name: str) -> Recorded:
    """``name``: below recordings/, without its ending. The model's name in it is the one its client was given."""
    head, _, body = (RECORDINGS / f"{name}.http").read_bytes().partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    fields = (line.split(": ", 1) for line in lines)
    return Recorded(method, target, tuple((name, value) for name, value in fields), body)


def send(url: str, recorded: Recorded) -> Answered:
    """``url``: of the daemon. Raises OSError when nothing comes for TIMEOUT_S."""
    authority = url.removeprefix("http://")
    host, _, port = authority.partition(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT_S) as connection:
        connection.sendall(recorded.encode(authority))
        response = http.client.HTTPResponse(connection, method=recorded.method)
        response.begin()
        body = response.read(MAX_ANSWER_BYTES)
        return Answered(response.status, {n.lower(): v for n, v in response.getheaders()}, body)
