"""Records anew what the vendors' SDKs send: ``python -m tests.clients.record``. Look at the difference, then commit it.

Each SDK asks a server on this machine for the weather, gets a tool call, and sends its result.
"""

from __future__ import annotations

from pathlib import Path

from tests.clients.vendor import Vendor
from tests.clients.wire import RECORDINGS, Answered, Recorded
from tests.matrix.clients import CLIENTS
from tests.matrix.scene import OSLO, TEXT, Said, Wish
from tests.matrix.upstreams import UPSTREAMS
from tests.matrix.upstreams.base import Upstream

VENDORS = {
    "openai_chat": "openai_chat",
    "openai_responses": "openai_responses",
    "anthropic_messages": "anthropic_messages",
    "gemini": "gemini_generate",
    "ollama": "ollama_chat",
}
"""An SDK -> the provider of the matrix that speaks as its vendor."""
_HIDDEN = {"host": "localhost:8377"}
"""Differs from run to run and says nothing of the SDK."""


def record(name: str) -> tuple[Recorded, Recorded]:
    """The SDK's opening request, and the one that brings the tool's result."""
    upstream = UPSTREAMS[VENDORS[name]]
    with Vendor() as vendor:
        client = CLIENTS[name](vendor.url)
        try:
            vendor.answer = streamed(upstream, Said((), "", (OSLO,)))
            first = client.ask(Wish(model=upstream.model, stream=True, tools=True))
            vendor.answer = streamed(upstream, Said((TEXT,)))
            client.ask(Wish(model=upstream.model, stream=True, tools=True, after=first))
        finally:
            client.close()
    opening, result = vendor.seen
    return opening, result


def streamed(upstream: Upstream, said: Said) -> Answered:
    body = b"".join(upstream.write_stream(said))
    return Answered(200, {"content-type": upstream.stream_type}, body)


def write(path: Path, recorded: Recorded) -> None:
    fields = [f"{name}: {_HIDDEN.get(name.lower(), value)}" for name, value in recorded.headers]
    head = "\r\n".join([f"{recorded.method} {recorded.target} HTTP/1.1", *fields, "", ""])
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(head.encode("latin-1") + recorded.body)


def main() -> None:
    for name in VENDORS:
        for turn, recorded in zip(("opening", "result"), record(name), strict=True):
            write(RECORDINGS / f"sdk_{name}" / f"{turn}.http", recorded)


if __name__ == "__main__":
    main()
