"""What rules may ask about a prompt in the Responses dialect, read from the document as it is.

Canonical reading would refuse items that only OpenAI understands, and such a request may well be on its way there.
Nothing here raises: what is not of the expected form says nothing. Of an item that we do not know, every text counts:
whatever it is, it leaves the house.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmproxyd.values.request import Document

_MESSAGE = "message"
_INSTRUCTING = ("system", "developer")
_KNOWN_FIELDS = ("arguments", "input", "output", "content", "summary")
_PLAIN_TYPES = (
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
    "reasoning",
)
_PART_FIELDS = ("text", "refusal", "filename")
_NO_TEXT = frozenset({"id", "type", "status", "call_id", "encrypted_content", "image_url", "file_data"})
_MAX_DEPTH = 32


def document_texts(document: Document) -> Iterator[str]:
    """Everything that goes out as text: instructions, all turns, what tools were asked and what they answered."""
    yield from _strings(document.get("instructions"))
    given = document.get("input")
    yield from _strings(given)
    for item in _objects(given):
        yield from _item_texts(item)


def count_images(document: Document) -> int:
    return sum(
        part.get("type") == "input_image"
        for item in _objects(document.get("input"))
        for name in ("content", "output")
        for part in _objects(item.get(name))
    )


def thinks(document: Document) -> bool:
    """Whether thought was asked for."""
    reasoning = document.get("reasoning")
    return isinstance(reasoning, dict) and reasoning.get("effort") not in (None, "none")


def is_instructed(document: Document) -> bool:
    roles = (item.get("role") for item in _objects(document.get("input")))
    return bool(document.get("instructions")) or any(role in _INSTRUCTING for role in roles)


def beginning(document: Document) -> list[str]:
    """The instructions and the first thing the user said: the same in every turn of a conversation."""
    given = document.get("input")
    items = _objects(given)
    leading = [item for item in items if _is_message(item) and item.get("role") in _INSTRUCTING]
    first = next((item for item in items if _is_message(item) and item.get("role") == "user"), {})
    return [
        *_strings(document.get("instructions")),
        *_strings(given),
        *(text for item in (*leading, first) for text in _item_texts(item)),
    ]


def _item_texts(item: Document) -> Iterator[str]:
    if item.get("type") == "additional_tools":
        return  # definitions, not what anybody said
    if not _is_message(item) and item.get("type") not in _PLAIN_TYPES:
        yield from _all_texts(item, 0)
        return
    for name in _KNOWN_FIELDS:
        yield from _strings(item.get(name))
        for part in _objects(item.get(name)):
            yield from (part[field] for field in _PART_FIELDS if isinstance(part.get(field), str))


def _all_texts(value: Any, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _all_texts(item, depth + 1)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in _NO_TEXT:
                yield from _all_texts(item, depth + 1)


def _is_message(item: Document) -> bool:
    return item.get("type") in (None, _MESSAGE)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value


def _objects(value: Any) -> list[Document]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
