"""Recordings and how to run them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from llmproxyd.values.answer import Event
from llmproxyd.values.contracts import Decoder

HERE = Path(__file__).parent


def whole(dialect: str, name: str) -> bytes:
    """A recorded body, e.g. ``whole("openai_chat", "response")``."""
    return (HERE / dialect / "whole" / f"{name}.json").read_bytes()


def stream(dialect: str, case: str) -> bytes:
    """The bytes of a recorded stream."""
    (path,) = (HERE / dialect / case).glob("response.*")
    return path.read_bytes()


def cases(dialect: str) -> list[str]:
    return sorted(path.parent.name for path in (HERE / dialect).glob("*/events.json"))


def expected(dialect: str, case: str) -> list[dict[str, Any]]:
    document = json.loads((HERE / dialect / case / "events.json").read_bytes())
    assert isinstance(document, list)
    return document


def pieces_of(data: bytes) -> Iterator[list[bytes]]:
    """The same bytes whole, byte by byte, and cut in two at every place."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for cut in range(1, len(data)):
        yield [data[:cut], data[cut:]]


def decode(new: Callable[[], Decoder], pieces: Iterable[bytes]) -> list[Event]:
    decoder = new()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return [*events, *decoder.close()]


def as_json(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Events as the recordings write them: their names, and the fields that are not at their default."""
    return [{"event": type(event).__name__, **_fields(event)} for event in events]


def _fields(value: msgspec.Struct) -> dict[str, Any]:
    names, defaults = value.__struct_fields__, value.__struct_defaults__
    usual = dict(zip(reversed(names), reversed(defaults), strict=False))
    items = {name: getattr(value, name) for name in names}
    return {
        name: _fields(item) if isinstance(item, msgspec.Struct) else item
        for name, item in items.items()
        if name not in usual or item != usual[name]
    }
