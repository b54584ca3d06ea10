"""Canonical messages -> those of OpenAI's chat dialect.

Dropped, since the model answers as well without them: cache marks, citations, thoughts that another dialect signed.
Moved, since tool messages hold text only: images and files in tool results go to a user message that follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from llmproxyd.values.contracts import BadRequest
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
from llmproxyd.values.snapshot import Quirks


def format_messages(messages: Iterable[Message], quirks: Quirks) -> list[dict[str, Any]]:
    """The ``messages`` of a request. Raises BadRequest naming a part that the dialect cannot carry."""
    return [
        wire for index, message in enumerate(messages) for wire in _format_message(message, index, quirks)
    ]


def _format_message(message: Message, index: int, quirks: Quirks) -> Iterator[dict[str, Any]]:
    where = f"messages[{index}]"
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    others = [part for part in message.parts if not isinstance(part, ToolResult)]
    for result in results:
        yield _format_result(result)
    moved: list[Part] = [part for result in results for part in result.parts if not isinstance(part, Text)]
    if not results or others or moved:
        role = Role.USER if results else message.role
        yield _format_turn(Message(role, (*moved, *others), message.name), where, quirks)


def _format_turn(message: Message, where: str, quirks: Quirks) -> dict[str, Any]:
    role = message.role
    if role is Role.DEVELOPER and not quirks.developer_role:
        role = Role.SYSTEM
    wire: dict[str, Any] = {"role": role.value}
    if message.name is not None:
        wire["name"] = message.name
    if role is Role.ASSISTANT:
        return wire | _format_assistant(message.parts, where, quirks)
    wire["content"] = _content(message.parts, where)
    return wire


def _format_assistant(parts: tuple[Part, ...], where: str, quirks: Quirks) -> dict[str, Any]:
    calls = [part for part in parts if isinstance(part, ToolCall)]
    spoken = tuple(part for part in parts if not isinstance(part, (ToolCall, Thinking)))
    wire: dict[str, Any] = {}
    if len(spoken) == 1 and isinstance(spoken[0], Refusal):
        wire |= {"content": None if quirks.null_content else "", "refusal": spoken[0].text}
    elif spoken or not (calls and quirks.null_content):
        wire["content"] = _content(spoken, where)
    else:
        wire["content"] = None
    wire |= _format_thinking([part for part in parts if isinstance(part, Thinking)])
    if calls:
        wire["tool_calls"] = [_format_tool_call(call) for call in calls]
    return wire


def _format_thinking(blocks: list[Thinking]) -> dict[str, Any]:
    """Thoughts go back only to the dialect they came from: signatures of others are refused, and text is not asked for."""
    own = [block for block in blocks if block.origin is Dialect.OPENAI_CHAT]
    wire: dict[str, Any] = {}
    if any(block.signature or block.encrypted for block in own):
        wire["reasoning_details"] = [_format_detail(block, index) for index, block in enumerate(own)]
    elif own:
        wire["reasoning_content"] = "".join(block.text for block in own)
    return wire


def _format_detail(block: Thinking, index: int) -> dict[str, Any]:
    detail: dict[str, Any] = (
        {"type": "reasoning.encrypted", "data": block.encrypted}
        if block.encrypted is not None
        else {"type": "reasoning.text", "text": block.text, "signature": block.signature}
    )
    if block.item_id is not None:
        detail["id"] = block.item_id
    return detail | {"index": index}


def _format_tool_call(call: ToolCall) -> dict[str, Any]:
    wire: dict[str, Any] = {"id": call.id, "type": call.kind}
    wire[call.kind] = (
        {"name": call.name, "input": call.arguments}
        if call.kind == "custom"
        else {"name": call.name, "arguments": call.arguments}
    )
    if call.signature is not None:
        wire["extra_content"] = {"google": {"thought_signature": call.signature}}
    return wire


def _format_result(result: ToolResult) -> dict[str, Any]:
    texts = [part.text for part in result.parts if isinstance(part, Text)]
    if result.is_error:
        # The dialect has no field for it; the model understands words.
        texts = ["Error: " + "\n".join(texts)]
    wire: dict[str, Any] = {"role": "tool", "tool_call_id": result.call_id}
    if result.name is not None:
        wire["name"] = result.name
    return wire | {"content": _texts(texts)}


def _texts(texts: list[str]) -> str | list[dict[str, Any]]:
    if len(texts) < 2:
        return texts[0] if texts else ""
    return [{"type": "text", "text": text} for text in texts]


def _content(parts: tuple[Part, ...], where: str) -> str | list[dict[str, Any]]:
    """A plain string where one says it all: many servers, and every template, take it best."""
    if not parts:
        return ""
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    return [_format_part(part, f"{where}.content[{index}]") for index, part in enumerate(parts)]


def _format_part(part: Part, where: str) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Image():
            return {"type": "image_url", "image_url": _format_image(part)}
        case Audio():
            return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
        case File():
            return _format_file(part, where)
        case Refusal():
            return {"type": "refusal", "refusal": part.text}
        case _:
            raise BadRequest(
                f"This part of the message cannot be sent to the chosen model: {type(part).__name__}.",
                param=where,
            )


def _format_image(image: Image) -> dict[str, Any]:
    url = image.url if image.data is None else _data_url(image.media_type, image.data)
    return {"url": url} if image.detail is None else {"url": url, "detail": image.detail}


def _format_file(file: File, where: str) -> dict[str, Any]:
    if file.text is not None:
        return {"type": "text", "text": file.text}
    inner: dict[str, Any] = {}
    if file.filename is not None:
        inner["filename"] = file.filename
    if file.file_id is not None:
        inner["file_id"] = file.file_id
    elif file.data is not None:
        inner["file_data"] = _data_url(file.media_type, file.data) if file.media_type else file.data
    else:
        raise BadRequest(
            "A file given by its URL cannot be sent to the chosen model; send its data.", param=where
        )
    return {"type": "file", "file": inner}


def _data_url(media_type: str | None, data: str) -> str:
    return f"data:{media_type or ''};base64,{data}"
