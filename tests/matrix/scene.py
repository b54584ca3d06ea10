"""What is said in the matrix, in nobody's dialect: a client's wish, what a provider says, what the client hears."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

TEXT = "It is 7 °C in Łódź."
QUESTION = "What is the weather in Łódź?"
THOUGHT = "Ask the weather service first."
RESULT = '{"temp_c":7}'
RESULT_FIELD = "temp_c"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
UNICODE = 'Zażółć 你好 مرحبا עברית 👩‍👩‍👧‍👦🏳️‍🌈 \u2028\u2029\u0085 "\\ \t end\u200b\ufeff'
"""What has broken streams elsewhere: line separators that are none, joiners, right-to-left, escapes."""

TOOL = "get_weather"
TOOL_WORDS = "Current weather"
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}},
    "required": ["city"],
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"temp_c": {"type": "integer"}, "place_name": {"type": "string"}},
    "required": ["temp_c", "place_name"],
    "additionalProperties": False,
}
OBJECT = '{"temp_c":7,"place_name":"Łódź"}'
MAX_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class ToolUse:
    id: str
    city: str

    @property
    def arguments(self) -> str:
        return json.dumps({"city": self.city}, ensure_ascii=False)


OSLO, ROME = ToolUse("call_1", "Oslo"), ToolUse("call_2", "Rome")


@dataclass(frozen=True, slots=True)
class Tokens:
    """As a client counts: everything read, everything written, and what of the first came from a cache."""

    read: int
    written: int
    cached: int | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """An answer as a provider gives it. ``text`` in pieces, as it is streamed. ``silent``: it thought and does not tell
    what, as OpenAI does unless it is asked for a summary."""

    text: tuple[str, ...] = ()
    thought: str = ""
    calls: tuple[ToolUse, ...] = ()
    silent: bool = False

    @property
    def whole(self) -> str:
        return "".join(self.text)


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer as an SDK's user gets it. ``turn``: the assistant's turn as that user would hand it back."""

    text: str
    thought: str
    calls: tuple[tuple[str, Any], ...]
    stopped: bool
    tokens: Tokens | None
    turn: Any
    call_ids: tuple[str, ...] = ()
    pieces: int = 0


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asks. ``after``: the answer whose tool calls are now answered, each with RESULT."""

    model: str
    text: str = QUESTION
    stream: bool = False
    tools: bool = False
    schema: bool = False
    image: bool = False
    think: bool = False
    after: Heard | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A failed call, as the SDK's own exception tells it."""

    status: int
    message: str


def leaves(value: Any) -> Iterator[str]:
    """Every key and text in a document, in order; texts that hold JSON are opened, data URLs show their data."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, str):
        yield value.rpartition(";base64,")[2] if value.startswith("data:") else value
        yield from _inner_leaves(value)


def _inner_leaves(text: str) -> Iterator[str]:
    if not text.startswith("{"):
        return
    try:
        inner = json.loads(text)
    except ValueError:
        return
    yield from leaves(inner)
