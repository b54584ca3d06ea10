"""The ``contents`` of a Gemini request -> canonical messages.

Function calls may lack ids: then one is made from the call's place, which stays the same for every turn of a
conversation, and a response without an id answers the first open call of its name. Results stand before everything
else in their turn. What only Google's servers can serve (code they ran, tools they called) is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from llmproxyd import jsontext
from llmproxyd.surfaces.gemini_fields import Fields
from llmproxyd.surfaces.gemini_seals import join_streamed, parse_signature
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import (
    Audio,
    File,
    Image,
    Message,
    Part,
    Role,
    Text,
    ToolCall,
    ToolResult,
)

_ROLES: Mapping[str, Role] = {
    "user": Role.USER, "model": Role.ASSISTANT, "function": Role.USER, "tool": Role.USER,
}  # fmt: skip
_DETAILS: Mapping[str, str | None] = {
    "MEDIA_RESOLUTION_LOW": "low",
    "MEDIA_RESOLUTION_MEDIUM": "auto",
    "MEDIA_RESOLUTION_HIGH": "high",
    "MEDIA_RESOLUTION_ULTRA_HIGH": "high",
}
_AUDIO_FORMATS: Mapping[str, str] = {
    "mpeg": "mp3",
    "x-wav": "wav",
    "wave": "wav",
    "vnd.wave": "wav",
    "x-flac": "flac",
}
"""Media subtypes whose short name is another one."""


def parse_system(system: Fields | None) -> tuple[Message, ...]:
    """``systemInstruction`` -> one system message, or none."""
    if system is None:
        return ()
    texts = []
    for part in system.objects("parts"):
        if "text" not in part:
            raise BadRequest(
                f"Invalid value at '{part.where}': instructions are text only.", param=part.where
            )
        texts.append(Text(part.text("text") or ""))
    kept = tuple(text for text in texts if text.text)
    return (Message(Role.SYSTEM, kept),) if kept else ()


def parse_contents(contents: Iterable[Fields]) -> tuple[Message, ...]:
    """Raises BadRequest naming the part, e.g. ``contents[2].parts[0]``."""
    messages: list[Message] = []
    calls = _OpenCalls()
    for index, content in enumerate(contents):
        name = content.text("role") or "user"
        role = _ROLES.get(name)
        if role is None:
            raise BadRequest("Please use a valid role: user, model.", param=content.path("role"))
        parts: list[Part] = []
        for place, part in enumerate(content.objects("parts")):
            parts += _parse_part(part, calls, f"{index}_{place}")
        messages += _messages(role, join_streamed(parts))
    return tuple(messages)


def media_types(contents: Iterable[Fields]) -> Iterator[str]:
    """The media types of all data in ``contents``, in lower case; empty for a file that does not name its own."""
    for content in contents:
        for part in content.objects("parts"):
            data = part.object("inlineData") or part.object("fileData")
            if data is not None:
                yield (data.text("mimeType") or "").lower()


def _messages(role: Role, parts: list[Part]) -> Iterator[Message]:
    if role is not Role.USER:
        yield Message(role, tuple(parts))
        return
    results = tuple(part for part in parts if isinstance(part, ToolResult))
    others = tuple(part for part in parts if not isinstance(part, ToolResult))
    if results:
        yield Message(Role.TOOL, results)
    if others or not results:
        yield Message(role, others)


class _OpenCalls:
    """The function calls that no response has answered yet, oldest first."""

    def __init__(self) -> None:
        self._open: list[tuple[str, str]] = []

    def add(self, call: ToolCall) -> None:
        self._open.append((call.id, call.name))

    def answer(self, call_id: str | None, name: str) -> str | None:
        """The id of the call that a response is for; None if there is no such call."""
        for entry in self._open:
            if entry[0] == call_id or (call_id is None and entry[1] == name):
                self._open.remove(entry)
                return entry[0]
        return call_id


def _parse_part(part: Fields, calls: _OpenCalls, place: str) -> Iterator[Part]:
    kinds = [kind for kind in _KINDS if kind in part]
    if len(kinds) > 1:
        raise BadRequest(f"Invalid value at '{part.where}': a part holds one kind of data.", param=part.where)
    signature = part.text("thoughtSignature")
    if not kinds:
        unknown = part.others("thought", "thoughtSignature", "partMetadata")
        if unknown or signature is None:
            name = next(iter(unknown), "text")
            raise BadRequest(
                f"Invalid value at '{part.where}': nothing can be made of '{name}'.", param=part.path(name)
            )
        yield parse_signature("", signature)
        return
    if "videoMetadata" in part:
        raise part.refuse("videoMetadata", "only Gemini cuts videos")
    yield from _KINDS[kinds[0]](part, calls, place)


def _parse_text(part: Fields, calls: _OpenCalls, place: str) -> Iterator[Part]:
    text = part.text("text") or ""
    signature = part.text("thoughtSignature")
    if part.boolean("thought"):
        yield parse_signature(text, signature)
        return
    if text:
        yield Text(text)
    if signature is not None:
        # A signature belongs to the text it came with; without text it is a part of its own.
        yield parse_signature("", signature)


def _parse_call(part: Fields, calls: _OpenCalls, place: str) -> Iterator[Part]:
    inner = part.object("functionCall") or Fields({})
    call = ToolCall(
        id=inner.text("id") or f"call_{place}",
        name=inner.need_text("name"),
        arguments=jsontext.encode(inner.mapping("args") or {}).decode(),
        signature=part.text("thoughtSignature"),
    )
    calls.add(call)
    yield call


def _parse_response(part: Fields, calls: _OpenCalls, place: str) -> Iterator[Part]:
    inner = part.object("functionResponse") or Fields({})
    name = inner.need_text("name")
    call_id = calls.answer(inner.text("id"), name) or f"call_{place}"
    text, is_error = _read_response(inner.mapping("response") or {})
    media = (item for entry in inner.objects("parts") for item in _parse_media(entry))
    yield ToolResult(call_id, (*([Text(text)] if text else []), *media), name, is_error)


def _read_response(response: Mapping[str, Any]) -> tuple[str, bool]:
    """-> (text, whether it is an error). ``output`` and ``error`` are Google's names for a plain result."""
    if len(response) == 1:
        name, value = next(iter(response.items()))
        if name in ("output", "error") and isinstance(value, str):
            return value, name == "error"
    return (jsontext.encode(response).decode() if response else ""), False


def _parse_media(entry: Fields) -> Iterator[Image | File]:
    for part in _parse_part(entry, _OpenCalls(), ""):
        if not isinstance(part, (Image, File)):
            raise BadRequest(
                f"Invalid value at '{entry.where}': expected an image or a file.", param=entry.where
            )
        yield part


# Google reads both alphabets, and its own client writes the one for URLs; other providers know the standard one only.
_STANDARD_BASE64 = str.maketrans("-_", "+/")


def _parse_inline(part: Fields, calls: _OpenCalls, place: str) -> Iterator[Part]:
    inner = part.object("inlineData") or Fields({})
    media_type = inner.need_text("mimeType").lower()
    data = inner.need_text("data").translate(_STANDARD_BASE64)
    kind, _, subtype = media_type.partition("/")
    if kind == "image":
        yield Image(data, media_type, detail=_detail(part))
    elif kind == "audio":
        subtype = subtype.partition(";")[0]
        yield Audio(data, _AUDIO_FORMATS.get(subtype, subtype))
    else:
        yield File(data, media_type, filename=inner.text("displayName"))


def _parse_file(part: Fields, calls: _OpenCalls, place: str) -> Iterator[Part]:
    inner = part.object("fileData") or Fields({})
    url, media_type = inner.need_text("fileUri"), (inner.text("mimeType") or "").lower() or None
    if media_type is not None and media_type.startswith("image/"):
        yield Image(url=url, media_type=media_type, detail=_detail(part))
    else:
        yield File(url=url, media_type=media_type, filename=inner.text("displayName"))


def _detail(part: Fields) -> str | None:
    resolution = part.object("mediaResolution")
    level = resolution.choice("level", _DETAILS) if resolution is not None else None
    return _DETAILS[level] if level is not None else None


def _refuse(part: Fields, calls: _OpenCalls, place: str) -> Iterator[Part]:
    name = next(kind for kind in _SERVED_BY_GOOGLE if kind in part)
    raise part.refuse(name, "it is what Google's own tools did")


_SERVED_BY_GOOGLE = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")

_KINDS: Mapping[str, Callable[[Fields, _OpenCalls, str], Iterator[Part]]] = {
    "text": _parse_text,
    "inlineData": _parse_inline,
    "fileData": _parse_file,
    "functionCall": _parse_call,
    "functionResponse": _parse_response,
    **dict.fromkeys(_SERVED_BY_GOOGLE, _refuse),
}
