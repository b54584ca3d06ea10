"""Thoughts in OpenAI's chat dialect, which has no word of its own for them: three fields that clients send back.

``reasoning_content`` (or ``reasoning``) is plain text. ``reasoning_details`` carries signatures and encrypted blocks,
each with the ``format`` of whoever made it; ``thinking_blocks`` does the same in Anthropic's shape. The richer field
wins, since the plain one repeats its text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from llmproxyd.surfaces.openai_fields import read_objects
from llmproxyd.values.request import Dialect, Document, Thinking

_FORMATS: Mapping[Dialect, str] = {
    Dialect.ANTHROPIC_MESSAGES: "anthropic-claude-v1",
    Dialect.OPENAI_RESPONSES: "openai-responses-v1",
    Dialect.GEMINI_GENERATE: "google-gemini-v1",
    Dialect.COHERE_CHAT: "cohere-chat",
    Dialect.OLLAMA_CHAT: "ollama-chat",
    Dialect.OPENAI_CHAT: "openai-chat",
}
_ORIGINS = {name: dialect for dialect, name in _FORMATS.items()}


def parse_thoughts(message: Document, where: str) -> Iterator[Thinking]:
    """The thoughts of an assistant message that a client sends back."""
    blocks = read_objects(message, "thinking_blocks", f"{where}.")
    details = read_objects(message, "reasoning_details", f"{where}.")
    if blocks:
        yield from (_parse_block(block) for block in blocks)
    elif details:
        yield from filter(None, map(_parse_detail, details))
    else:
        text = _text(message, "reasoning_content") or _text(message, "reasoning")
        if text:
            yield Thinking(text, origin=Dialect.OPENAI_CHAT)


def format_thoughts(blocks: Iterable[Thinking]) -> dict[str, Any]:
    """The fields of an answer's message; none where nothing was thought."""
    known = list(blocks)
    if not known:
        return {}
    fields: dict[str, Any] = {}
    text = "".join(block.text for block in known)
    if text:
        fields["reasoning_content"] = text
    if any(is_sealed(block) for block in known):
        fields["reasoning_details"] = [format_detail(block, index) for index, block in enumerate(known)]
    return fields


def format_detail(block: Thinking, index: int) -> dict[str, Any]:
    """One whole block, with what its maker needs to know it again."""
    detail: dict[str, Any] = (
        {"type": "reasoning.encrypted", "data": block.encrypted}
        if block.encrypted is not None
        else {"type": "reasoning.text", "text": block.text}
    )
    if block.signature is not None:
        detail["signature"] = block.signature
    if block.item_id is not None:
        detail["id"] = block.item_id
    if block.origin is not None:
        detail["format"] = _FORMATS[block.origin]
    return detail | {"index": index}


def is_sealed(block: Thinking) -> bool:
    return block.signature is not None or block.encrypted is not None


def _parse_block(block: Document) -> Thinking:
    if block.get("type") == "redacted_thinking":
        return Thinking(encrypted=_text(block, "data"), origin=Dialect.ANTHROPIC_MESSAGES)
    return Thinking(
        _text(block, "thinking"), _text(block, "signature") or None, origin=Dialect.ANTHROPIC_MESSAGES
    )


def _parse_detail(detail: Document) -> Thinking | None:
    origin = _ORIGINS.get(_text(detail, "format"), Dialect.OPENAI_CHAT)
    item_id = _text(detail, "id") or None
    match detail.get("type"):
        case "reasoning.encrypted":
            return Thinking(encrypted=_text(detail, "data"), origin=origin, item_id=item_id)
        case "reasoning.text":
            signature = _text(detail, "signature") or None
            return Thinking(_text(detail, "text"), signature, origin=origin, item_id=item_id)
        case "reasoning.summary":
            return Thinking(_text(detail, "summary"), origin=origin, item_id=item_id)
        case _:
            return None


def _text(document: Document, name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""
