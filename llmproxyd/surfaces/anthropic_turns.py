"""The system prompt and the messages of an Anthropic request -> canonical messages.

A user's turn that begins with tool results becomes two messages, the results first: as every other dialect has it.
Claude Code's billing header, a system block that changes with each build, is for Anthropic alone and left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmproxyd.surfaces.anthropic_blocks import BlockReader
from llmproxyd.surfaces.openai_fields import need_text, read_objects, wrong_value
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import Document, Message, Part, Role, Text, Thinking, ToolCall, ToolResult

BILLING_HEADER = "x-anthropic-billing-header"

_ROLES = ("user", "assistant", "system")
_ASSISTANT_ONLY = (Thinking, ToolCall)


def parse_turns(document: Document, reader: BlockReader) -> tuple[Message, ...]:
    """Raises BadRequest naming the block, e.g. ``messages[2].content[0].type``."""
    messages = list(_parse_system(document, reader))
    for index, message in enumerate(read_objects(document, "messages")):
        messages += _parse_message(message, f"messages[{index}]", reader)
    return tuple(messages)


def is_billing_header(text: Any) -> bool:
    return isinstance(text, str) and text.startswith(BILLING_HEADER)


def _parse_system(document: Document, reader: BlockReader) -> Iterator[Message]:
    if document.get("system") is None:
        return
    parts = _instructions(document["system"], "system", reader)
    if parts:
        yield Message(Role.SYSTEM, parts)


def _instructions(content: Any, where: str, reader: BlockReader) -> tuple[Part, ...]:
    parts = tuple(reader.read(content, where))
    for part in parts:
        if not isinstance(part, Text):
            raise BadRequest(f"Invalid content in '{where}': instructions are text only.", param=where)
    return tuple(part for part in parts if isinstance(part, Text) and not is_billing_header(part.text))


def _parse_message(message: Document, where: str, reader: BlockReader) -> Iterator[Message]:
    role = need_text(message, "role", f"{where}.")
    if role not in _ROLES:
        raise wrong_value(f"{where}.role", role, f"Supported values are: {', '.join(map(repr, _ROLES))}.")
    content, place = message.get("content"), f"{where}.content"
    if role == "system":
        yield Message(Role.SYSTEM, _instructions(content, place, reader))
        return
    parts = tuple(reader.read(content, place))
    if role == "assistant":
        _refuse(parts, (ToolResult,), place, "a tool result belongs into a user's message")
        yield Message(Role.ASSISTANT, parts)
        return
    _refuse(parts, _ASSISTANT_ONLY, place, "thoughts and tool calls belong into an assistant's message")
    results = tuple(part for part in parts if isinstance(part, ToolResult))
    others = tuple(part for part in parts if not isinstance(part, ToolResult))
    if results:
        yield Message(Role.TOOL, results)
    if others or not results:
        yield Message(Role.USER, others)


def _refuse(parts: tuple[Part, ...], kinds: tuple[type[Part], ...], where: str, why: str) -> None:
    if any(isinstance(part, kinds) for part in parts):
        raise BadRequest(f"Invalid content in '{where}': {why}.", param=where, code="invalid_value")
