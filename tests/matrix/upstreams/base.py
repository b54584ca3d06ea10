"""What the matrix has to know of a provider: how it speaks, how it is reached, and what it may be sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.matrix.scene import Said, Tokens

WIRE = Path(__file__).resolve().parents[2] / "wire"
MODEL = "some-model"
EMBED_MODEL = "some-embedder"


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded body below tests/wire, and what it says."""

    path: str
    said: Said
    tokens: Tokens

    @property
    def body(self) -> bytes:
        return (WIRE / self.path).read_bytes()


@dataclass(frozen=True, slots=True)
class Upstream:
    """A provider of the matrix.

    ``rows``: its row in providers.yaml, with ``{url}``. ``write``, ``write_stream``: an answer as it says it, whole and
    as frames. ``check_request``: raises AssertionError for a body that the vendor's own SDK could not have sent.
    ``check_answer``, ``check_frame``: the same for what we make it say. ``path``: (streamed) -> path with query.
    ``auth``: header and value. ``errors``: recorded bodies by status; ``error``: how it words the others.
    ``seal``: what it hands out to recognise its own thought by; ``silent``: it may do so without a word.
    ``embeds``: path, answer, check.
    ``surfaces``: those whose requests reach it, None for all. ``forced``: what a surface has to ask for to reach it.
    """

    name: str
    preset: str
    key_env: str
    auth: tuple[str, str]
    path: Callable[[bool], str]
    write: Callable[[Said], bytes]
    write_stream: Callable[[Said], list[bytes]]
    check_request: Callable[[dict[str, Any]], None]
    check_answer: Callable[[dict[str, Any]], None]
    check_frame: Callable[[dict[str, Any]], None]
    whole: Recording
    streamed: Recording
    error: Callable[[int, str], bytes]
    errors: Mapping[int, str] = field(default_factory=dict)
    stream_type: str = "text/event-stream"
    options: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    model: str = MODEL
    seal: str | None = None
    silent: bool = False
    embeds: Embeds | None = None
    base: str = ""
    surfaces: frozenset[str] | None = None
    forced: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)

    def row(self, url: str) -> str:
        """Its row in providers.yaml."""
        embedder = f", {{id: {EMBED_MODEL}, price: free, capabilities: [embeddings]}}" if self.embeds else ""
        return (
            f"  {self.name}: {{preset: {self.preset}, endpoint: '{url}{self.base}', zone: local, max_retries: 0,{self.options}\n"
            f"    models: [{{id: {self.model}, price: free, context_window: 4000000, max_output_tokens: 64000,\n"
            f"              capabilities: [tools, vision, json_schema, thinking]}}{embedder}]}}\n"
        )

    def error_body(self, status: int, words: str) -> bytes:
        """The recorded body of this status, or what the vendor would say of its own accord."""
        name = self.errors.get(status)
        return (WIRE / name).read_bytes() if name else self.error(status, words)


@dataclass(frozen=True, slots=True)
class Embeds:
    """``write``: the answer to so many texts. ``tokens``: what it counts, 0 where the vendor counts nothing."""

    path: str
    write: Callable[[int], bytes]
    check_request: Callable[[dict[str, Any]], None]
    tokens: int = 8


def encode(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def frame(value: Any) -> bytes:
    """A server-sent event without a name."""
    return b"data: " + encode(value) + b"\n\n"


def named(value: dict[str, Any]) -> bytes:
    """A server-sent event named like its ``type``."""
    return f"event: {value['type']}\n".encode() + frame(value)


def halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


def vector(number: int) -> list[float]:
    """Exact in every encoding, and different for each input."""
    return [0.5 + number, -0.25]
