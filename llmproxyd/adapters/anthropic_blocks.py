"""Canonical parts -> the content blocks of Anthropic's messages.

Left out, with a note: thoughts that another dialect made (their signatures would be refused), the wish for a picture's
detail. Refused by name: sound, files of other providers, formats that are not taken.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from llmproxyd import jsontext
from llmproxyd.adapters.anthropic_tools import format_cache, format_name
from llmproxyd.adapters.carried import not_carried
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import (
    Dialect,
    File,
    Image,
    Part,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

_DIALECT = Dialect.ANTHROPIC_MESSAGES
_IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_PDF = "application/pdf"
_SIGNS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (0, b"%PDF", _PDF),
)
_ASSISTANT_PARTS = (Text, Refusal, Thinking, ToolCall)


class BlockWriter:
    """Writes the blocks of one request. ``own``: the client speaks this dialect itself. ``notes`` collects warnings."""

    def __init__(self, *, own: bool, notes: list[str]) -> None:
        self._own = own
        self.notes = notes

    def note(self, field: str, why: str = "") -> None:
        text = not_carried(field, _DIALECT, why)
        if text not in self.notes:
            self.notes.append(text)

    def write(self, part: Part, role: Role, where: str) -> dict[str, Any] | None:
        """One block; None for a part that is left out. ToolCall and ToolResult have writers of their own."""
        if role is Role.ASSISTANT and not isinstance(part, _ASSISTANT_PARTS):
            raise _cannot(f"{_name(part)} in an assistant's message", where)
        match part:
            case Text():
                return {"type": "text", "text": part.text, **format_cache(part.cache)} if part.text else None
            case Refusal():
                return {"type": "text", "text": part.text} if part.text else None
            case Image():
                return self._image(part, where)
            case File():
                return self._document(part, where)
            case Thinking():
                return self._thinking(part)
            case _:
                raise _cannot(_name(part), where)

    def write_call(self, call: ToolCall, wire_id: str, where: str) -> dict[str, Any]:
        return {
            "type": "tool_use",
            "id": wire_id,
            "name": format_name(call.name, f"{where}.name"),
            "input": parse_arguments(call),
        }

    def write_result(self, result: ToolResult, wire_id: str, where: str) -> dict[str, Any]:
        blocks = [self.write(part, Role.USER, where) for part in result.parts]
        wire: dict[str, Any] = {"type": "tool_result", "tool_use_id": wire_id}
        wire["content"] = [block for block in blocks if block is not None]
        if result.is_error:
            wire["is_error"] = True
        return wire | format_cache(result.cache)

    def _thinking(self, thought: Thinking) -> dict[str, Any] | None:
        if thought.origin is _DIALECT and thought.encrypted is not None:
            return {"type": "redacted_thinking", "data": thought.encrypted}
        if thought.origin is _DIALECT and thought.signature:
            return {"type": "thinking", "thinking": thought.text, "signature": thought.signature}
        self.note("thinking", "another model's")
        return None

    def _image(self, image: Image, where: str) -> dict[str, Any]:
        if image.detail not in (None, "auto"):
            self.note("image_url.detail")
        return {"type": "image", "source": _image_source(image, where), **format_cache(image.cache)}

    def _document(self, file: File, where: str) -> dict[str, Any]:
        if file.data is not None and (file.media_type or "").startswith("image/"):
            return self._image(Image(file.data, file.media_type, cache=file.cache), where)
        wire: dict[str, Any] = {"type": "document", "source": self._document_source(file, where)}
        if file.filename:
            wire["title"] = file.filename
        return wire | format_cache(file.cache)

    def _document_source(self, file: File, where: str) -> dict[str, Any]:
        if file.text is not None:
            return _text_source(file.text)
        if file.data is not None:
            return _data_source(file.data, file.media_type, where)
        if file.url is not None:
            return {"type": "url", "url": file.url}
        if self._own and file.file_id is not None:
            return {"type": "file", "file_id": file.file_id}
        raise BadRequest(
            "The chosen model's provider does not have this file; send its data instead of an id.",
            param=where,
        )


def parse_arguments(call: ToolCall) -> dict[str, Any]:
    """The input object. What a model once wrote and is none is kept in one, so that history stays history."""
    if call.kind == "custom":
        return {"input": call.arguments}
    if not call.arguments.strip():
        return {}
    try:
        value = jsontext.decode(call.arguments)
    except jsontext.JSONError:
        return {"arguments": call.arguments}
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"arguments": value}


def _image_source(image: Image, where: str) -> dict[str, Any]:
    if image.data is None:
        return {"type": "url", "url": image.url}
    # A type that does not match the data is refused, and clients often guess it from a file's name.
    media_type = _sniff(image.data) or (image.media_type or "").lower()
    if media_type not in _IMAGE_TYPES:
        shown = image.media_type or "of an unknown type"
        raise BadRequest(
            f"The chosen model takes PNG, JPEG, GIF and WebP images; this one is {shown[:64]}.", param=where
        )
    return {"type": "base64", "media_type": media_type, "data": image.data}


def _data_source(data: str, media_type: str | None, where: str) -> dict[str, Any]:
    declared = (media_type or "").partition(";")[0].strip().lower()
    if _PDF in (declared, _sniff(data)):
        return {"type": "base64", "media_type": _PDF, "data": data}
    if not declared.startswith("text/") and declared != "application/json":
        raise BadRequest(
            f"The chosen model takes PDF and text files; this one is {declared[:64] or 'of an unknown type'}.",
            param=where,
        )
    try:
        return _text_source(base64.b64decode(data, validate=True).decode())
    except (binascii.Error, UnicodeDecodeError):
        raise BadRequest("The file is not base64 of UTF-8 text.", param=where) from None


def _text_source(text: str) -> dict[str, Any]:
    return {"type": "text", "media_type": "text/plain", "data": text}


def _sniff(data: str) -> str | None:
    """The media type that the first bytes show."""
    try:
        head = base64.b64decode(data[:16])
    except (binascii.Error, ValueError):
        return None
    return next((kind for offset, sign, kind in _SIGNS if head[offset : offset + len(sign)] == sign), None)


def _cannot(what: str, where: str) -> BadRequest:
    return BadRequest(f"The chosen model cannot be sent {what}.", param=where)


def _name(part: Part) -> str:
    return type(part).__name__.lower()
