"""What rules may ask about a prompt in a dialect that has no reader of its own: its surface's canonical reading.

What cannot be translated may still be on its way to a provider that understands it, so that is no reason to refuse: then
every text in the document counts, whatever it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import (
    Audio,
    Chat,
    Content,
    Document,
    Embed,
    File,
    Image,
    Message,
    Part,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

_INSTRUCTING = (Role.SYSTEM, Role.DEVELOPER)
_MAX_DEPTH = 32
"""Texts that lie deeper in an untranslatable document are not read; each level costs stack."""


class ContentReader:
    """Reads one request. ``parse``: gives its content, raises BadRequest where there is none; asked once at most."""

    def __init__(self, parse: Callable[[], Content]) -> None:
        self._parse = parse

    def document_texts(self, document: Document) -> Iterator[str]:
        match self._content:
            case Chat(messages=messages):
                yield from (text for message in messages for part in message.parts for text in _texts(part))
            case Embed(inputs=inputs):
                yield from (item for item in inputs if isinstance(item, str))
            case None:
                yield from _all_texts(document, _MAX_DEPTH)

    def count_images(self, document: Document) -> int:
        parts = [part for message in self._messages for part in message.parts]
        nested = [inner for part in parts if isinstance(part, ToolResult) for inner in part.parts]
        return sum(isinstance(part, Image) for part in (*parts, *nested))

    def thinks(self, document: Document) -> bool:
        content = self._content
        return isinstance(content, Chat) and bool(
            content.thinking_budget or content.effort not in (None, "none")
        )

    def is_instructed(self, document: Document) -> bool:
        return any(message.role in _INSTRUCTING for message in self._messages)

    def beginning(self, document: Document) -> list[str]:
        """The instructions and the first thing the user said; all there is where that cannot be told apart."""
        messages = self._messages
        if not messages:
            return list(self.document_texts(document))
        first = next((message for message in messages if message.role is Role.USER), None)
        leading = [m for m in messages if m.role in _INSTRUCTING or m is first]
        return [text for message in leading for part in message.parts for text in _texts(part)]

    @cached_property
    def _content(self) -> Content | None:
        try:
            return self._parse()
        except BadRequest:
            return None

    @property
    def _messages(self) -> tuple[Message, ...]:
        return self._content.messages if isinstance(self._content, Chat) else ()


def _texts(part: Part) -> Iterator[str]:
    match part:
        case Text() | Thinking() | Refusal():
            yield part.text
        case ToolCall():
            yield part.arguments
        case ToolResult():
            for inner in part.parts:
                yield from _texts(inner)
        case File():
            yield from (value for value in (part.filename, part.text) if value)
        case Image() | Audio():
            return


def _all_texts(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _all_texts(item, depth - 1)
