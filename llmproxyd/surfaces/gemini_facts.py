"""What rules may ask about a prompt in Gemini's dialect, read from the document as it is.

Canonical reading would refuse parts that only Google understands, and such a request may well be on its way there. Nothing
here raises: what is not of the expected form says nothing, and a field that is given under both its spellings is read twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmproxyd import jsontext
from llmproxyd.surfaces.gemini_fields import camel
from llmproxyd.values.request import Document

_TEXTS = frozenset({"text", "code", "output", "displayName", "fileUri"})
_WHOLE = frozenset({"args", "response"})
_MEDIA = ("inlineData", "fileData")
_MAX_DEPTH = 8
"""A part holds another in a function's response, and no more than that."""


def document_texts(document: Document) -> Iterator[str]:
    """Everything that goes out as text: instructions, all turns, what functions were asked and what they answered."""
    for call in _calls(document):
        for name in ("systemInstruction", "contents", "content"):
            for content in _objects(call, name):
                yield from _content_texts(content)


def count_images(document: Document) -> int:
    return sum(
        _count_images(part)
        for call in _calls(document)
        for content in _objects(call, "contents")
        for part in _objects(content, "parts")
    )


def thinks(document: Document) -> bool:
    """Whether thought was asked for."""
    configs = (
        thinking
        for call in _calls(document)
        for config in _objects(call, "generationConfig")
        for thinking in _objects(config, "thinkingConfig")
    )
    return any(
        level or budget not in (None, 0)
        for thinking in configs
        for level, budget in [(_first(thinking, "thinkingLevel"), _first(thinking, "thinkingBudget"))]
    )


def is_instructed(document: Document) -> bool:
    return any(
        True
        for call in _calls(document)
        for instruction in _objects(call, "systemInstruction")
        for _ in _content_texts(instruction)
    )


def beginning(document: Document) -> list[str]:
    """The instructions and the first thing the user said: the same in every turn of a conversation."""
    told: list[str] = []
    for call in _calls(document):
        for instruction in _objects(call, "systemInstruction"):
            told += _content_texts(instruction)
        contents = [*_objects(call, "contents"), *_objects(call, "content")]
        first = next((content for content in contents if content.get("role", "user") != "model"), {})
        told += _content_texts(first)
    return told


def _calls(document: Document) -> Iterator[Document]:
    """The request, what it wraps (countTokens) and what it batches (batchEmbedContents)."""
    yield document
    yield from _objects(document, "generateContentRequest")
    yield from _objects(document, "requests")


def _content_texts(content: Document) -> Iterator[str]:
    for part in _objects(content, "parts"):
        yield from _texts(part, _MAX_DEPTH)


def _texts(part: Document, depth: int) -> Iterator[str]:
    for name, value in part.items():
        known = camel(name)
        if known in _TEXTS and isinstance(value, str):
            if value:
                yield value
        elif known in _WHOLE and value:
            yield jsontext.encode(value).decode()
        elif depth and known != "thoughtSignature":
            for inner in value if isinstance(value, list) else [value]:
                if isinstance(inner, dict):
                    yield from _texts(inner, depth - 1)


def _count_images(part: Document) -> int:
    answers = (
        inner for response in _objects(part, "functionResponse") for inner in _objects(response, "parts")
    )
    return sum(
        _is_image(data) for holder in (part, *answers) for kind in _MEDIA for data in _objects(holder, kind)
    )


def _is_image(data: Document) -> bool:
    return str(_first(data, "mimeType")).lower().startswith("image/")


def _values(document: Document, name: str) -> Iterator[Any]:
    return (value for key, value in document.items() if camel(key) == name)


def _first(document: Document, name: str) -> Any:
    return next(_values(document, name), None)


def _objects(document: Document, name: str) -> Iterator[Document]:
    """The objects of a list, or the one object that stands for a list of one."""
    for value in _values(document, name):
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                yield item
