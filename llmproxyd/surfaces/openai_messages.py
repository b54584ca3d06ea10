"""The messages of an OpenAI chat request -> canonical ones.

The deprecated ``function`` role and ``function_call`` become tool results and calls with ids made from their place,
which stays the same for every turn of a conversation. Empty texts are dropped: several providers refuse them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from llmproxyd.surfaces.openai_fields import (
    need_object,
    need_text,
    read_objects,
    read_text,
    wrong_type,
    wrong_value,
)
from llmproxyd.surfaces.openai_parts import ContentPart, parse_part
from llmproxyd.surfaces.openai_thoughts import parse_thoughts
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import (
    Audio,
    Document,
    File,
    Image,
    Message,
    Part,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)


def parse_messages(messages: list[dict[str, Any]]) -> tuple[Message, ...]:
    """Raises BadRequest naming the message, e.g. ``messages[2].content[0].type``."""
    function_ids: dict[str, str] = {}  # deprecated functions: name -> id of its last call
    parsed: list[Message] = []
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        role = need_text(message, "role", f"{where}.")
        if role == "function":
            parsed.append(_parse_function_result(message, where, index, function_ids))
            continue
        parse = _ROLES.get(role)
        if parse is None:
            supported = ", ".join(map(repr, (*_ROLES, "function")))
            raise wrong_value(f"{where}.role", role, f"Supported values are: {supported}.")
        parts = parse(message, where)
        if role == "assistant" and message.get("function_call") is not None:
            call = _parse_function_call(message, where, index)
            function_ids[call.name] = call.id
            parts = (*parts, call)
        name = None if role == "tool" else read_text(message, "name", f"{where}.")
        parsed.append(Message(Role(role), parts, name))
    return tuple(parsed)


def _content(message: Document, where: str) -> Iterator[ContentPart]:
    content = message.get("content")
    if isinstance(content, str):
        if content:
            yield Text(content)
        return
    if content is None:
        return
    if not isinstance(content, list):
        raise wrong_type(f"{where}.content", "a string or an array of objects", content)
    for index, part in enumerate(content):
        place = f"{where}.content[{index}]"
        if not isinstance(part, dict):
            raise wrong_type(place, "an object", part)
        parsed = parse_part(part, place)
        if not isinstance(parsed, Text) or parsed.text:
            yield parsed


def _only(
    message: Document, where: str, allowed: tuple[type[ContentPart], ...], what: str
) -> tuple[ContentPart, ...]:
    if message.get("content") is None:
        raise wrong_type(f"{where}.content", "a string or an array of objects", None)
    parts = tuple(_content(message, where))
    for part in parts:
        if not isinstance(part, allowed):
            raise BadRequest(
                f"Invalid content in '{where}.content': {what}.",
                param=f"{where}.content",
                code="invalid_value",
            )
    return parts


def _parse_instruction(message: Document, where: str) -> tuple[Part, ...]:
    return _only(message, where, (Text,), "instructions are text only")


def _parse_user(message: Document, where: str) -> tuple[Part, ...]:
    return _only(message, where, (Text, Image, Audio, File), "a user cannot refuse")


def _parse_tool_result(message: Document, where: str) -> tuple[Part, ...]:
    call_id = need_text(message, "tool_call_id", f"{where}.")
    return (_result(message, where, call_id, read_text(message, "name", f"{where}.")),)


def _result(message: Document, where: str, call_id: str, name: str | None) -> ToolResult:
    parts = _only(message, where, (Text, Image, File), "a tool answers in text, images and files")
    fitting = tuple(part for part in parts if isinstance(part, (Text, Image, File)))
    return ToolResult(call_id, fitting, name)


def _parse_assistant(message: Document, where: str) -> tuple[Part, ...]:
    if message.get("audio") is not None:
        raise BadRequest(
            "Earlier audio answers can only be sent back to the provider that made them.",
            param=f"{where}.audio",
        )
    content = tuple(_content(message, where))
    refusal = read_text(message, "refusal", f"{where}.")
    return (
        *parse_thoughts(message, where),
        *content,
        *((Refusal(refusal),) if refusal else ()),
        *(
            _parse_tool_call(call, f"{where}.tool_calls[{index}].")
            for index, call in enumerate(read_objects(message, "tool_calls", f"{where}."))
        ),
    )


def _parse_tool_call(call: Document, where: str) -> ToolCall:
    kind = read_text(call, "type", where) or "function"
    if kind not in ("function", "custom"):
        raise wrong_value(f"{where}type", kind, "Supported values are: 'function', 'custom'.")
    inner = need_object(call, kind, where)
    inside = f"{where}{kind}."
    arguments = read_text(inner, "arguments" if kind == "function" else "input", inside)
    return ToolCall(
        id=need_text(call, "id", where),
        name=need_text(inner, "name", inside),
        arguments=arguments or "",
        kind=kind,
        signature=_signature(call),
    )


def _signature(call: Document) -> str | None:
    """Gemini's thought signature, in the field its OpenAI-like endpoint uses."""
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) else None


def _parse_function_call(message: Document, where: str, index: int) -> ToolCall:
    call = need_object(message, "function_call", f"{where}.")
    inside = f"{where}.function_call."
    return ToolCall(
        _made_id(index), need_text(call, "name", inside), read_text(call, "arguments", inside) or ""
    )


def _parse_function_result(
    message: Document, where: str, index: int, function_ids: Mapping[str, str]
) -> Message:
    name = need_text(message, "name", f"{where}.")
    return Message(Role.TOOL, (_result(message, where, function_ids.get(name, _made_id(index)), name),))


def _made_id(index: int) -> str:
    return f"call_function_{index}"


_ROLES: Mapping[str, Callable[[Document, str], tuple[Part, ...]]] = {
    Role.SYSTEM: _parse_instruction,
    Role.DEVELOPER: _parse_instruction,
    Role.USER: _parse_user,
    Role.ASSISTANT: _parse_assistant,
    Role.TOOL: _parse_tool_result,
}
