"""What rules may ask about a prompt in Ollama's dialect, read from the document as it is.

Canonical reading would refuse what only an Ollama server understands (templates, raw prompts), and such a request may well
be on its way there. Nothing here raises: what is not of the expected form says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmproxyd import jsontext
from llmproxyd.values.request import Document

_PLAIN_FIELDS = ("template", "system", "prompt", "suffix", "input")
_MESSAGE_FIELDS = ("content", "thinking")
_INSTRUCTING = ("system", "developer")


def document_texts(document: Document) -> Iterator[str]:
    """Everything that goes out as text: instructions, all turns, what tools were asked and what they answered."""
    for name in _PLAIN_FIELDS:
        yield from _loose_texts(document.get(name))
    for message in _objects(document.get("messages")):
        yield from _message_texts(message)


def count_images(document: Document) -> int:
    holders = (document, *_objects(document.get("messages")))
    lists = (holder.get("images") for holder in holders)
    return sum(len(images) for images in lists if isinstance(images, list))


def thinks(document: Document) -> bool:
    """Whether thought was asked for."""
    return bool(document.get("think"))


def is_instructed(document: Document) -> bool:
    return bool(document.get("system")) or any(map(_instructs, _objects(document.get("messages"))))


def beginning(document: Document) -> list[str]:
    """The instructions and the first thing the user said: the same in every turn of a conversation."""
    messages = _objects(document.get("messages"))
    first = next((message for message in messages if _role(message) == "user"), {})
    leading = [*filter(_instructs, messages), first]
    return [
        *(text for name in _PLAIN_FIELDS for text in _loose_texts(document.get(name))),
        *(text for message in leading for text in _message_texts(message)),
    ]


def _message_texts(message: Document) -> Iterator[str]:
    for name in _MESSAGE_FIELDS:
        yield from _loose_texts(message.get(name))
    for call in _objects(message.get("tool_calls")):
        function = call.get("function")
        arguments = function.get("arguments") if isinstance(function, dict) else None
        if isinstance(arguments, dict):
            yield jsontext.encode(arguments).decode()
        else:
            yield from _loose_texts(arguments)


def _instructs(message: Document) -> bool:
    return _role(message) in _INSTRUCTING


def _role(message: Document) -> str:
    return str(message.get("role")).lower()


def _loose_texts(value: Any) -> Iterator[str]:
    """A text or a list of texts; an empty one says nothing."""
    items = value if isinstance(value, list) else [value]
    yield from (item for item in items if isinstance(item, str) and item)


def _objects(value: Any) -> list[Document]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
