"""Canonical messages -> those of Cohere's chat.

Every call is answered before anybody else speaks: a result that is missing is replaced by a note, one without a call is
left out with a warning, and pictures, which a result cannot hold, follow in a message of the user. What a model said
before it called tools is its ``tool_plan``. Dropped silently, since the model answers as well without them: cache marks,
sources, signatures.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmproxyd import jsontext
from llmproxyd.adapters.anthropic_blocks import parse_arguments
from llmproxyd.adapters.carried import not_carried
from llmproxyd.adapters.cohere_tools import format_name
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import (
    Dialect,
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

_DIALECT = Dialect.COHERE_CHAT
_NO_RESULT = "There is no result: the call was interrupted."
_DETAILS = frozenset({"auto", "low", "high"})


def format_messages(messages: Iterable[Message], notes: list[str]) -> list[dict[str, Any]]:
    """The ``messages`` of a call. Raises BadRequest naming the part that cannot be carried."""
    writer = _Writer(notes)
    for index, message in enumerate(messages):
        writer.add(message, f"messages[{index}]")
    return writer.finish()


class _Writer:
    """One conversation in the making. ``_open``: ids of calls that have no result yet; ``_moved``: pictures that wait
    until all results have been given."""

    def __init__(self, notes: list[str]) -> None:
        self._notes = notes
        self._out: list[dict[str, Any]] = []
        self._open: list[str] = []
        self._moved: list[dict[str, Any]] = []

    def add(self, message: Message, where: str) -> None:
        if message.name is not None:
            self._note("messages.name")
        others: list[Part] = []
        for index, part in enumerate(message.parts):
            if isinstance(part, ToolResult):
                self._add_result(part, f"{where}.content[{index}]")
            else:
                others.append(part)
        if not others and any(isinstance(part, ToolResult) for part in message.parts):
            return
        self._close_calls()
        if message.role is Role.ASSISTANT:
            self._add_assistant(others, where)
        else:
            self._add_turn(message.role, others, where)

    def finish(self) -> list[dict[str, Any]]:
        self._close_calls()
        return self._out

    def _add_turn(self, role: Role, parts: list[Part], where: str) -> None:
        if role in (Role.SYSTEM, Role.DEVELOPER):
            text = "\n".join(_instructions(parts, where))
            self._out += [{"role": "system", "content": text}] if text else []
            return
        blocks = [self._block(part, f"{where}.content[{index}]") for index, part in enumerate(parts)]
        self._out.append({"role": "user", "content": _content([block for block in blocks if block])})

    def _add_assistant(self, parts: list[Part], where: str) -> None:
        calls = [part for part in parts if isinstance(part, ToolCall)]
        thoughts = [part for part in parts if isinstance(part, Thinking)]
        said = [part for part in parts if not isinstance(part, (ToolCall, Thinking))]
        text = "".join(_text_of(part, where) for part in said)
        blocks = [block for thought in thoughts for block in self._thought(thought)]
        wire: dict[str, Any] = {"role": "assistant"}
        if calls:
            wire |= {"tool_plan": text} if text else {}
            wire["tool_calls"] = [self._format_call(call, where) for call in calls]
            self._open = [call.id for call in calls]
        elif text:
            blocks.append({"type": "text", "text": text})
        if blocks:
            wire["content"] = _content(blocks)
        # What is left without content, as a turn of another model's thoughts, would be refused.
        if blocks or calls:
            self._out.append(wire)

    def _thought(self, thought: Thinking) -> list[dict[str, Any]]:
        if thought.origin is not _DIALECT:
            self._note("thinking", "another model's")
            return []
        return [{"type": "thinking", "thinking": thought.text}] if thought.text else []

    def _format_call(self, call: ToolCall, where: str) -> dict[str, Any]:
        value = parse_arguments(call)
        function = {
            "name": format_name(call.name, f"{where}.tool_calls"),
            "arguments": jsontext.encode(value).decode(),
        }
        return {"id": call.id, "type": "function", "function": function}

    def _add_result(self, result: ToolResult, where: str) -> None:
        if result.call_id not in self._open:
            self._note("tool result", "without a call")
            return
        self._open.remove(result.call_id)
        texts = [_text_of(part, where) for part in result.parts if not isinstance(part, Image)]
        text = "\n".join(texts)
        # The dialect has no field for it; the model understands words.
        self._answer(result.call_id, f"Error: {text}" if result.is_error else text)
        self._moved += [_format_image(part) for part in result.parts if isinstance(part, Image)]

    def _answer(self, call_id: str, text: str) -> None:
        self._out.append({"role": "tool", "tool_call_id": call_id, "content": text})

    def _close_calls(self) -> None:
        for call_id in self._open:
            self._answer(call_id, _NO_RESULT)
        self._open = []
        if self._moved:
            self._out.append({"role": "user", "content": self._moved})
            self._moved = []

    def _block(self, part: Part, where: str) -> dict[str, Any] | None:
        if isinstance(part, Image):
            if part.detail is not None and part.detail not in _DETAILS:
                self._note("image_url.detail")
            return _format_image(part)
        text = _text_of(part, where)
        return {"type": "text", "text": text} if text else None

    def _note(self, field: str, why: str = "") -> None:
        text = not_carried(field, _DIALECT, why)
        if text not in self._notes:
            self._notes.append(text)


def _instructions(parts: list[Part], where: str) -> Iterable[str]:
    texts = (_text_of(part, f"{where}.content[{index}]") for index, part in enumerate(parts))
    return filter(None, texts)


def _content(blocks: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """A plain string where one says it all."""
    if not blocks:
        return ""
    if len(blocks) == 1 and blocks[0]["type"] == "text":
        text: str = blocks[0]["text"]
        return text
    return blocks


def _text_of(part: Part, where: str) -> str:
    match part:
        case Text() | Refusal():
            return part.text
        case File(text=str(text)):
            return text
        case _:
            what = type(part).__name__.lower()
            raise BadRequest(f"The chosen model cannot be sent this part of a message: {what}.", param=where)


def _format_image(image: Image) -> dict[str, Any]:
    url = image.url if image.data is None else f"data:{image.media_type or ''};base64,{image.data}"
    wire: dict[str, Any] = {"url": url}
    if image.detail in _DETAILS:
        wire["detail"] = image.detail
    return {"type": "image_url", "image_url": wire}
