"""The input of a Responses request -> canonical messages.

Items are smaller than messages: what one assistant turn said, thought and called comes as several, and is put together
again. Items that only OpenAI understands are refused by name. Thoughts that other providers made come back under a seal
of ours, and with them the signatures of tool calls, for which an item has no place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from llmproxyd.surfaces.openai_fields import need_text, read_objects, read_text, wrong_type, wrong_value
from llmproxyd.surfaces.openai_parts import ContentPart
from llmproxyd.surfaces.responses_parts import parse_parts
from llmproxyd.surfaces.responses_tools import ToolBook, call_arguments
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.replay import is_seal, unseal_thought
from llmproxyd.values.request import (
    Dialect,
    Document,
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

CALL_SEAL = "call:"
"""Begins the item id under the seal of a thought that only carries the signature of a tool call."""

_DIALECT = Dialect.OPENAI_RESPONSES
_ROLES = (Role.USER, Role.ASSISTANT, Role.SYSTEM, Role.DEVELOPER)
_INSTRUCTING = (Role.SYSTEM, Role.DEVELOPER)


class Conversation(msgspec.Struct):
    """``phases``: of every assistant message, in order, the phase it was marked with."""

    messages: list[Message] = msgspec.field(default_factory=list)
    phases: list[str | None] = msgspec.field(default_factory=list)


def parse_input(document: Document, book: ToolBook) -> Conversation:
    """``instructions`` and ``input``. Raises BadRequest naming the item, e.g. ``input[2].content[0].type``."""
    reader = _Reader(book)
    instructions = read_text(document, "instructions")
    if instructions:
        reader.conversation.messages.append(Message(Role.SYSTEM, (Text(instructions),)))
    given = document.get("input")
    if isinstance(given, str):
        reader.conversation.messages.append(Message(Role.USER, (Text(given),) if given else ()))
        return reader.conversation
    for index, item in enumerate(read_objects(document, "input")):
        reader.read(item, f"input[{index}]")
    return reader.conversation


def item_type(item: Document, where: str) -> str:
    """``type`` may be left out of a message."""
    kind = read_text(item, "type", f"{where}.")
    return (
        "message"
        if kind is None and item.get("role") is not None
        else kind or need_text(item, "type", f"{where}.")
    )


class _Reader:
    def __init__(self, book: ToolBook) -> None:
        self.conversation = Conversation()
        self._book = book
        self._signatures: dict[str, str] = {}  # of tool calls, by their ids

    def read(self, item: Document, where: str) -> None:
        kind = item_type(item, where)
        read = _READERS.get(kind)
        if read is None:
            raise BadRequest(
                f"Items of type {kind[:64]!r} cannot be sent to the chosen model: only OpenAI understands them.",
                param=f"{where}.type",
                code="unsupported_item",
            )
        read(self, item, f"{where}.")

    def message(self, item: Document, where: str) -> None:
        role = need_text(item, "role", where)
        if role not in _ROLES:
            raise wrong_value(
                f"{where}role", role, f"Supported values are: {', '.join(map(repr, map(str, _ROLES)))}."
            )
        if item.get("content") is None:
            raise wrong_type(f"{where}content", "a string or an array of objects", None)
        parts = tuple(parse_parts(item["content"], f"{where}content"))
        _check_parts(Role(role), parts, f"{where}content")
        if role == Role.ASSISTANT:
            self.conversation.phases.append(read_text(item, "phase", where))
            self._assistant(*parts)
        else:
            self.conversation.messages.append(Message(Role(role), parts))

    def reasoning(self, item: Document, where: str) -> None:
        texts = read_objects(item, "summary", where) or read_objects(item, "content", where)
        text = "\n\n".join(need_text(part, "text", where) for part in texts)
        encrypted = read_text(item, "encrypted_content", where)
        if not is_seal(encrypted):
            item_id = read_text(item, "id", where)
            self._assistant(Thinking(text, encrypted=encrypted, origin=_DIALECT, item_id=item_id))
            return
        thought = unseal_thought(text, encrypted or "")
        if thought.item_id is not None and thought.item_id.startswith(CALL_SEAL):
            self._signatures[thought.item_id.removeprefix(CALL_SEAL)] = thought.signature or ""
        else:
            self._assistant(thought)

    def function_call(self, item: Document, where: str) -> None:
        self._call(item, where, read_text(item, "arguments", where) or "")

    def custom_tool_call(self, item: Document, where: str) -> None:
        self._call(item, where, call_arguments(read_text(item, "input", where) or ""))

    def tool_output(self, item: Document, where: str) -> None:
        call_id = need_text(item, "call_id", where)
        if item.get("output") is None:
            raise wrong_type(f"{where}output", "a string or an array of objects", None)
        parts = tuple(parse_parts(item["output"], f"{where}output"))
        fitting = tuple(part for part in parts if isinstance(part, (Text, Image, File)))
        if len(fitting) != len(parts):
            raise _unfit(f"{where}output", "a tool answers in text, images and files")
        self.conversation.messages.append(Message(Role.TOOL, (ToolResult(call_id, fitting),)))

    def nothing(self, item: Document, where: str) -> None:
        """Tools that come as an item are read with all others."""

    def _call(self, item: Document, where: str, arguments: str) -> None:
        name, namespace = need_text(item, "name", where), read_text(item, "namespace", where)
        call_id = need_text(item, "call_id", where)
        signature = self._signatures.pop(call_id, None)
        self._assistant(
            ToolCall(call_id, self._book.flat_name(name, namespace), arguments, signature=signature)
        )

    def _assistant(self, *parts: Part) -> None:
        messages = self.conversation.messages
        if messages and messages[-1].role is Role.ASSISTANT:
            parts = (*messages.pop().parts, *parts)
        messages.append(Message(Role.ASSISTANT, parts))


def _check_parts(role: Role, parts: tuple[ContentPart, ...], where: str) -> None:
    if role in _INSTRUCTING and not all(isinstance(part, Text) for part in parts):
        raise _unfit(where, "instructions are text only")
    if role is Role.ASSISTANT and not all(isinstance(part, (Text, Refusal)) for part in parts):
        raise _unfit(where, "an assistant answers in text")
    if role is Role.USER and any(isinstance(part, Refusal) for part in parts):
        raise _unfit(where, "a user cannot refuse")


def _unfit(where: str, what: str) -> BadRequest:
    return BadRequest(f"Invalid content in '{where}': {what}.", param=where, code="invalid_value")


_READERS: Mapping[str, Callable[[_Reader, Document, str], None]] = {
    "message": _Reader.message,
    "reasoning": _Reader.reasoning,
    "function_call": _Reader.function_call,
    "custom_tool_call": _Reader.custom_tool_call,
    "function_call_output": _Reader.tool_output,
    "custom_tool_call_output": _Reader.tool_output,
    "additional_tools": _Reader.nothing,
}
