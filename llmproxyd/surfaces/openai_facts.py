"""What rules may ask about a prompt in OpenAI's dialect, read from the document as it is.

One reading serves conversations, legacy completions and embeddings: which of them a document is shows in its fields.
Nothing here raises: what is not of the expected form says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmproxyd.values.request import Document

_INSTRUCTING = ("system", "developer")
_PLAIN_FIELDS = ("prompt", "suffix", "input")
_THINKING_FIELDS = ("reasoning", "thinking", "thinking_budget")


def document_texts(document: Document) -> Iterator[str]:
    """Everything that goes out as text: instructions, all turns, what tools were asked and what they answered."""
    for message in _objects(document.get("messages")):
        yield from _content_texts(message.get("content"))
        yield from (
            message[name] for name in ("reasoning_content", "refusal") if isinstance(message.get(name), str)
        )
        # What a model once asked of a tool goes out again with every turn.
        calls = [*_objects(message.get("tool_calls")), {"function": message.get("function_call")}]
        yield from (text for call in calls for text in _call_texts(call))
    for name in _PLAIN_FIELDS:
        yield from _loose_texts(document.get(name))
    prediction = document.get("prediction")
    if isinstance(prediction, dict):
        yield from _content_texts(prediction.get("content"))


def count_images(document: Document) -> int:
    return sum(
        part.get("type") == "image_url"
        for message in _objects(document.get("messages"))
        for part in _objects(message.get("content"))
    )


def thinks(document: Document) -> bool:
    """Whether thought was asked for, in OpenAI's words or in those of servers that copied the dialect."""
    effort = document.get("reasoning_effort")
    return effort not in (None, "none") or any(document.get(name) for name in _THINKING_FIELDS)


def is_instructed(document: Document) -> bool:
    return any(message.get("role") in _INSTRUCTING for message in _objects(document.get("messages")))


def beginning(document: Document) -> Any:
    """The instructions and the first thing the user said: the same in every turn of a conversation."""
    messages = document.get("messages")
    if messages is None:
        return document.get("prompt", document.get("input"))
    turns = _objects(messages)
    instructions = [message.get("content") for message in turns if message.get("role") in _INSTRUCTING]
    first = next((message.get("content") for message in turns if message.get("role") == "user"), None)
    return [instructions, first]


def _content_texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
        return
    for part in _objects(content):
        file = part.get("file")
        name = file.get("filename") if isinstance(file, dict) else None
        yield from (
            value for value in (part.get("text"), part.get("refusal"), name) if isinstance(value, str)
        )


def _call_texts(call: Document) -> Iterator[str]:
    for kind, name in (("function", "arguments"), ("custom", "input")):
        inner = call.get(kind)
        if isinstance(inner, dict) and isinstance(inner.get(name), str):
            yield inner[name]


def _loose_texts(value: Any) -> Iterator[str]:
    """A text or a list of texts; token ids say nothing."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from (item for item in value if isinstance(item, str))


def _objects(value: Any) -> list[Document]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
