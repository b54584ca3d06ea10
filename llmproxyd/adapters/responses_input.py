"""Canonical messages -> the input items of the Responses dialect.

A turn of the assistant becomes several items, in the order in which they were made: a reasoning item stands right before
what it led to. Thoughts go back only to the dialect that made them. A call without a result, as interrupted agents leave
them, gets one that says so, and a result without a call is left out: the dialect refuses both.
Dropped, since the model answers as well without them: cache marks, citations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from llmproxyd.adapters.anthropic_tools import format_name
from llmproxyd.adapters.carried import not_carried
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.replay import safe_tool_id
from llmproxyd.values.request import (
    Audio,
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

MAX_NAME_CHARS = 64
NO_RESULT = "Error: the call was interrupted and has no result."

_DIALECT = Dialect.OPENAI_RESPONSES
_CALLS: Mapping[str, tuple[str, str]] = {
    # kind -> (item, its text)
    "function": ("function_call", "arguments"),
    "custom": ("custom_tool_call", "input"),
}


def format_tool_name(name: str, where: str) -> str:
    """A tool's name in letters that the dialect takes; ``parse_name`` reads it back. Raises BadRequest if too long."""
    fitted = format_name(name, where)
    if len(fitted) > MAX_NAME_CHARS:
        raise BadRequest(
            f"The chosen model takes tool names of at most {MAX_NAME_CHARS} characters.", param=where
        )
    return fitted


def format_input(
    messages: Iterable[Message], phases: list[str | None], notes: list[str]
) -> tuple[str | None, list[dict[str, Any]]]:
    """-> (instructions, items). notes: takes the warnings. Raises BadRequest naming a part that cannot be carried."""
    writer = _Writer(notes)
    for index, message in enumerate(messages):
        writer.write(message, f"messages[{index}]")
    items = _paired(writer.items, notes)
    _mark_phases(items, phases, notes)
    instructions = _instructions(items)
    return (None, items) if instructions is None else (instructions, items[1:])


class _Writer:
    def __init__(self, notes: list[str]) -> None:
        self.items: list[dict[str, Any]] = []
        self._notes = notes
        self._kinds: dict[str, str] = {}  # of tool calls, by their ids

    def write(self, message: Message, where: str) -> None:
        if message.name is not None:
            self._note("name")
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        others = [part for part in message.parts if not isinstance(part, ToolResult)]
        for result in results:
            self._result(result, where)
        if message.role is Role.ASSISTANT:
            self._assistant(others, where)
        elif others:
            role = Role.USER if message.role is Role.TOOL else message.role
            content = [_format_part(part, f"{where}.content[{n}]") for n, part in enumerate(others)]
            self.items.append({"type": "message", "role": role.value, "content": content})

    def _assistant(self, parts: Sequence[Part], where: str) -> None:
        said: list[dict[str, Any]] = []
        begun = len(self.items)
        for part in parts:
            if isinstance(part, (Text, Refusal)):
                said.append(_format_said(part))
                continue
            said = self._say(said)
            match part:
                case ToolCall():
                    self._call(part, where)
                case Thinking():
                    self._think(part)
                case _:
                    raise BadRequest(
                        f"An assistant's message cannot hold {type(part).__name__} here.", param=where
                    )
        self._say(said)
        while len(self.items) > begun and self.items[-1]["type"] == "reasoning":
            # The dialect refuses a thought that led to nothing.
            self._note("thinking", "nothing follows it")
            self.items.pop()

    def _say(self, said: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if said:
            self.items.append({"type": "message", "role": "assistant", "content": said})
        return []

    def _think(self, thought: Thinking) -> None:
        if thought.origin is not _DIALECT or thought.encrypted is None:
            self._note(
                "thinking", "made by another provider" if thought.origin is not _DIALECT else "not encrypted"
            )
            return
        item: dict[str, Any] = {"type": "reasoning"}
        if thought.item_id is not None:
            item["id"] = thought.item_id
        summary = [{"type": "summary_text", "text": thought.text}] if thought.text else []
        self.items.append(item | {"summary": summary, "encrypted_content": thought.encrypted})

    def _call(self, call: ToolCall, where: str) -> None:
        if call.signature is not None:
            self._note("tool_calls.signature", "made by another provider")
        kind = call.kind if call.kind in _CALLS else "function"
        name, field = _CALLS[kind]
        call_id = safe_tool_id(call.id)
        self._kinds[call_id] = kind
        self.items.append(
            {
                "type": name,
                "call_id": call_id,
                "name": format_tool_name(call.name, f"{where}.tool_calls.name"),
                field: call.arguments or ("{}" if kind == "function" else ""),
            }
        )

    def _result(self, result: ToolResult, where: str) -> None:
        call_id = safe_tool_id(result.call_id)
        name, _ = _CALLS[self._kinds.get(call_id, "function")]
        output = _format_output(result, f"{where}.content")
        self.items.append({"type": f"{name}_output", "call_id": call_id, "output": output})

    def _note(self, field: str, why: str = "") -> None:
        note = not_carried(field, _DIALECT, why)
        if note not in self._notes:
            self._notes.append(note)


def _format_output(result: ToolResult, where: str) -> str | list[dict[str, Any]]:
    parts: tuple[Part, ...] = result.parts
    if result.is_error:
        # The dialect has no field for it; the model understands words.
        first = parts[0].text if parts and isinstance(parts[0], Text) else ""
        parts = (Text(f"Error: {first}"), *parts[1 if first else 0 :])
    if not parts:
        return ""
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    return [_format_part(part, f"{where}[{index}]") for index, part in enumerate(parts)]


def _format_said(part: Text | Refusal) -> dict[str, Any]:
    if isinstance(part, Refusal):
        return {"type": "refusal", "refusal": part.text}
    return {"type": "output_text", "text": part.text}


def _format_part(part: Part, where: str) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "input_text", "text": part.text}
        case Image():
            url = part.url if part.data is None else _data_url(part.media_type, part.data)
            # The dialect requires what is optional elsewhere; this is what leaving it out means there.
            return {"type": "input_image", "image_url": url, "detail": part.detail or "auto"}
        case Audio():
            return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
        case File():
            return _format_file(part)
        case _:
            raise BadRequest(
                f"This part of the message cannot be sent to the chosen model: {type(part).__name__}.",
                param=where,
            )


def _format_file(file: File) -> dict[str, Any]:
    if file.text is not None:
        return {"type": "input_text", "text": file.text}
    wire: dict[str, Any] = {"type": "input_file"}
    if file.data is not None:
        wire["file_data"] = _data_url(file.media_type, file.data) if file.media_type else file.data
    optional = {"file_id": file.file_id, "file_url": file.url, "filename": file.filename}
    return wire | {name: value for name, value in optional.items() if value is not None}


def _data_url(media_type: str | None, data: str) -> str:
    return f"data:{media_type or ''};base64,{data}"


def _paired(items: list[dict[str, Any]], notes: list[str]) -> list[dict[str, Any]]:
    """The items with a result for every call and a call for every result."""
    called = {item["call_id"] for item in items if _is_call(item)}
    answered = {item["call_id"] for item in items if _is_result(item)}
    if called == answered:
        return items
    if called - answered:
        notes.append("tool_calls: one without a result was told to be interrupted")
    if answered - called:
        notes.append(not_carried("tool result", _DIALECT, "nothing called it"))
    kept = [item for item in items if not _is_result(item) or item["call_id"] in called]
    return list(_completed(kept, answered))


def _completed(items: list[dict[str, Any]], answered: set[str]) -> Iterator[dict[str, Any]]:
    waiting: list[dict[str, Any]] = []
    for item in items:
        if not _is_call(item):
            yield from waiting
            waiting.clear()
        elif item["call_id"] not in answered:
            output = {"type": f"{item['type']}_output", "call_id": item["call_id"], "output": NO_RESULT}
            waiting.append(output)
        yield item
    yield from waiting


def _is_call(item: dict[str, Any]) -> bool:
    return item["type"] in ("function_call", "custom_tool_call")


def _is_result(item: dict[str, Any]) -> bool:
    return "output" in item


def _mark_phases(items: list[dict[str, Any]], phases: list[str | None], notes: list[str]) -> None:
    """The phases of the client's own messages, as long as each can still be told which is its."""
    said = [item for item in items if item.get("role") == Role.ASSISTANT.value]
    if len(said) != len(phases):
        if any(phases):
            notes.append(not_carried("input[].phase", _DIALECT, "messages were joined"))
        return
    for item, phase in zip(said, phases, strict=True):
        if phase is not None:
            item["phase"] = phase


def _instructions(items: list[dict[str, Any]]) -> str | None:
    """The text of a leading system message. Alone it stays one: the dialect wants some input."""
    if len(items) < 2 or items[0].get("role") != Role.SYSTEM.value or len(items[0]["content"]) != 1:
        return None
    text: str = items[0]["content"][0]["text"]
    return text
