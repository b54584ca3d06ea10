"""The messages of an Ollama request -> canonical ones.

Most clients of this dialect send neither ids of tool calls nor of results. A call without one gets an id made from its
place, which stays the same for every turn of a conversation; a result without one answers the first open call of its
tool's name, or simply the first open one. Empty texts are dropped: several providers refuse them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any

from llmproxyd import jsontext
from llmproxyd.surfaces.openai_fields import (
    need_object,
    need_text,
    read_objects,
    read_text,
    wrong_type,
    wrong_value,
)
from llmproxyd.surfaces.openai_parts import parse_data_url
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.replay import safe_tool_id
from llmproxyd.values.request import (
    Dialect,
    Document,
    Image,
    Message,
    Part,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

_ROLES = ("system", "user", "assistant", "tool")
_SPACE = re.compile(r"\s+")
_STANDARD_ALPHABET = str.maketrans("-_", "+/")
_SNIFFED_CHARS = 16
_SIGNS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
)


def parse_messages(document: Document) -> tuple[Message, ...]:
    """Raises BadRequest naming the field, e.g. ``messages[2].images[0]``."""
    calls = _OpenCalls()
    return tuple(
        _parse_message(message, index, calls)
        for index, message in enumerate(read_objects(document, "messages"))
    )


def parse_images(document: Document, where: str = "") -> Iterator[Image]:
    """``images``: base64 without a prefix; a data URL, white space and the URL-safe alphabet are tolerated."""
    images = document.get("images")
    if images is None:
        return
    if not isinstance(images, list):
        raise wrong_type(f"{where}images", "an array of base64 strings", images)
    for index, data in enumerate(images):
        place = f"{where}images[{index}]"
        if not isinstance(data, str):
            raise wrong_type(place, "a base64 string", data)
        yield _parse_image(data, place)


def has_images(document: Document) -> bool:
    images = document.get("images")
    return isinstance(images, list) and bool(images)


def _parse_message(message: Document, index: int, calls: _OpenCalls) -> Message:
    where = f"messages[{index}]."
    role = need_text(message, "role", where).lower()
    if role not in _ROLES:
        raise wrong_value(f"{where}role", role, f"Supported values are: {', '.join(map(repr, _ROLES))}.")
    said: tuple[Text | Image, ...] = (*_parse_text(message, where), *parse_images(message, where))
    if role == Role.TOOL:
        return Message(Role.TOOL, (_parse_result(message, where, index, said, calls),))
    if role != Role.ASSISTANT:
        return Message(Role(role), said)
    thought = read_text(message, "thinking", where)
    parts: list[Part] = [Thinking(thought, origin=Dialect.OLLAMA_CHAT)] if thought else []
    made = tuple(_parse_calls(message, where, index))
    calls.open(made)
    return Message(Role.ASSISTANT, (*parts, *said, *made))


def _parse_text(message: Document, where: str) -> Iterator[Text]:
    text = read_text(message, "content", where)
    if text:
        yield Text(text)


def _parse_calls(message: Document, where: str, index: int) -> Iterator[ToolCall]:
    for place, call in enumerate(read_objects(message, "tool_calls", where)):
        inside = f"{where}tool_calls[{place}]."
        function = need_object(call, "function", inside)
        name = need_text(function, "name", f"{inside}function.")
        call_id = read_text(call, "id", inside) or _made_id(f"{index}.{place}", name)
        yield ToolCall(
            call_id, name, _arguments_text(function.get("arguments"), f"{inside}function.arguments")
        )


def _arguments_text(arguments: Any, where: str) -> str:
    """The dialect has an object; clients made for another one send its text."""
    if arguments is None:
        return ""
    if isinstance(arguments, str):
        return arguments
    if not isinstance(arguments, dict):
        raise wrong_type(where, "an object", arguments)
    return jsontext.encode(arguments).decode()


def _parse_result(
    message: Document, where: str, index: int, said: tuple[Text | Image, ...], calls: _OpenCalls
) -> ToolResult:
    # ``name`` is what older clients call it.
    name = read_text(message, "tool_name", where) or read_text(message, "name", where)
    call_id, known_name = calls.answer(read_text(message, "tool_call_id", where), name)
    return ToolResult(call_id or _made_id(str(index), name or ""), said, name or known_name)


class _OpenCalls:
    """The calls of the last turn that made any, and that have no result yet."""

    def __init__(self) -> None:
        self._open: list[ToolCall] = []

    def open(self, calls: tuple[ToolCall, ...]) -> None:
        if calls:
            self._open = list(calls)

    def answer(self, call_id: str | None, name: str | None) -> tuple[str | None, str | None]:
        """-> (id, name) of the call that a result is for, as far as they are known."""
        for call in self._open:
            if (call.id == call_id) if call_id else (name in (None, "", call.name)):
                self._open.remove(call)
                return call.id, call.name
        return call_id, None


def _made_id(place: str, name: str) -> str:
    # The space makes it no id that a provider could have given.
    return safe_tool_id(f"{place} {name}")


def _parse_image(data: str, where: str) -> Image:
    inline = parse_data_url(data, where)
    if inline is not None:
        data = inline[1]
    if _SPACE.search(data):
        data = _SPACE.sub("", data)
    if "-" in data or "_" in data:
        data = data.translate(_STANDARD_ALPHABET)
    try:
        head = base64.b64decode(data[:_SNIFFED_CHARS], validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(
            f"Invalid value for '{where}': it is not base64.", param=where, code="invalid_base64"
        ) from None
    sniffed = next((kind for offset, sign, kind in _SIGNS if head[offset : offset + len(sign)] == sign), None)
    return Image(data=data, media_type=sniffed or (inline[0] if inline else None))
