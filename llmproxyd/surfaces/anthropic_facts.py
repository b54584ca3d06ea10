"""What rules may ask about a prompt in Anthropic's dialect, read from the document as it is.

Canonical reading would refuse blocks that only Anthropic understands, and such a request may well be on its way there.
Nothing here raises: what is not of the expected form says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmproxyd import jsontext
from llmproxyd.surfaces.anthropic_turns import is_billing_header
from llmproxyd.values.request import Document

_MAX_NESTING = 8
"""Blocks within blocks are read no deeper; nobody has use for them, and each level costs stack."""
_TEXT_FIELDS = ("text", "thinking", "title", "context", "source")


def document_texts(document: Document) -> Iterator[str]:
    """Everything that goes out as text: instructions, all turns, what tools were asked and what they answered."""
    yield from _instructions(document)
    for message in _objects(document.get("messages")):
        yield from _content_texts(message.get("content"))


def count_images(document: Document) -> int:
    return sum(_count_images(message.get("content")) for message in _objects(document.get("messages")))


def thinks(document: Document) -> bool:
    """Whether thought was asked for."""
    thinking = document.get("thinking")
    return isinstance(thinking, dict) and thinking.get("type") not in (None, "disabled")


def is_instructed(document: Document) -> bool:
    messages = _objects(document.get("messages"))
    return any(_instructions(document)) or any(message.get("role") == "system" for message in messages)


def beginning(document: Document) -> list[str]:
    """The instructions and the first thing the user said: the same in every turn of a conversation, and with every
    build of Claude Code."""
    messages = _objects(document.get("messages"))
    first = next((message for message in messages if message.get("role") == "user"), {})
    return [*_instructions(document), *_content_texts(first.get("content"))]


def _instructions(document: Document) -> Iterator[str]:
    return (text for text in _content_texts(document.get("system")) if not is_billing_header(text))


def _content_texts(content: Any, depth: int = _MAX_NESTING) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif depth:
        for block in _objects(content):
            yield from _block_texts(block, depth - 1)


def _block_texts(block: Document, depth: int) -> Iterator[str]:
    for name in _TEXT_FIELDS:
        value = block.get(name)
        if isinstance(value, str):
            yield value
    if isinstance(block.get("input"), dict):
        # What a model once asked of a tool goes out again with every turn.
        yield jsontext.encode(block["input"]).decode()
    source = block.get("source")
    if isinstance(source, dict) and source.get("type") == "text" and isinstance(source.get("data"), str):
        yield source["data"]
    elif isinstance(source, dict):
        yield from _content_texts(source.get("content"), depth)
    yield from _content_texts(block.get("content"), depth)


def _count_images(content: Any, depth: int = _MAX_NESTING) -> int:
    if not depth:
        return 0
    return sum(
        (block.get("type") == "image") + _count_images(block.get("content"), depth - 1)
        for block in _objects(content)
    )


def _objects(value: Any) -> list[Document]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
