"""Canonical messages -> those of OpenAI's chat dialect.

Left out with a warning, since the model answers as well without them: citations, thoughts that another dialect signed,
cache marks where the server does not know them. Left out silently: the signatures of calls, which mean something to
Google's models only. Moved, since tool messages hold text only: images and files in tool results go to a user message
that follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec.structs import replace

from llmproxyd.adapters.carried import Losses
from llmproxyd.adapters.openai_servers import takes_cache_marks, takes_signatures
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import (
    Audio,
    CacheMark,
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
from llmproxyd.values.snapshot import Deployment

_LIFETIMES = frozenset({"30m", "12h"})
_SHORTER = frozenset({None, "5m"})
"""Wishes that the provider's own lifetime fulfils."""


class MessageWriter:
    """Writes the messages of one call to ``deployment``; what gets lost is noted in ``losses``."""

    def __init__(self, deployment: Deployment, losses: Losses) -> None:
        self._quirks = deployment.provider.quirks
        self._signs = takes_signatures(deployment.provider)
        self._marks = takes_cache_marks(deployment)
        self._losses = losses

    def write(self, messages: Iterable[Message]) -> list[dict[str, Any]]:
        """The ``messages`` of a request. Raises BadRequest naming a part that the dialect cannot carry."""
        return [wire for index, message in enumerate(messages) for wire in self._message(message, index)]

    def _message(self, message: Message, index: int) -> Iterator[dict[str, Any]]:
        where = f"messages[{index}]"
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        others = [part for part in message.parts if not isinstance(part, ToolResult)]
        for result in results:
            yield self._result(result)
        moved: list[Part] = [
            part for result in results for part in result.parts if not isinstance(part, Text)
        ]
        if not results or others or moved:
            role = Role.USER if results else message.role
            yield self._turn(Message(role, (*moved, *others), message.name), where)

    def _turn(self, message: Message, where: str) -> dict[str, Any]:
        role = message.role
        if role is Role.DEVELOPER and not self._quirks.developer_role:
            role = Role.SYSTEM
        wire: dict[str, Any] = {"role": role.value}
        if message.name is not None:
            wire["name"] = message.name
        if role is Role.ASSISTANT:
            return wire | self._assistant(message.parts, where)
        wire["content"] = self._content(message.parts, where)
        return wire

    def _assistant(self, parts: tuple[Part, ...], where: str) -> dict[str, Any]:
        calls = [part for part in parts if isinstance(part, ToolCall)]
        spoken = tuple(part for part in parts if not isinstance(part, (ToolCall, Thinking)))
        null_content = self._quirks.null_content
        wire: dict[str, Any] = {}
        if len(spoken) == 1 and isinstance(spoken[0], Refusal):
            wire |= {"content": None if null_content else "", "refusal": spoken[0].text}
        elif spoken or not (calls and null_content):
            wire["content"] = self._content(spoken, where)
        else:
            wire["content"] = None
        wire |= self._thinking([part for part in parts if isinstance(part, Thinking)])
        if calls:
            wire["tool_calls"] = [self._tool_call(call) for call in calls]
        return wire

    def _thinking(self, blocks: list[Thinking]) -> dict[str, Any]:
        """Thoughts go back only to the dialect they came from: signatures of others are refused, and text is not asked
        for."""
        own = [block for block in blocks if block.origin is Dialect.OPENAI_CHAT]
        if len(own) < len(blocks):
            self._losses.note("thinking", "another model's")
        wire: dict[str, Any] = {}
        if any(block.signature or block.encrypted for block in own):
            wire["reasoning_details"] = [_format_detail(block, index) for index, block in enumerate(own)]
        elif own:
            wire["reasoning_content"] = "".join(block.text for block in own)
        return wire

    def _tool_call(self, call: ToolCall) -> dict[str, Any]:
        wire: dict[str, Any] = {"id": call.id, "type": call.kind}
        wire[call.kind] = (
            {"name": call.name, "input": call.arguments}
            if call.kind == "custom"
            else {"name": call.name, "arguments": call.arguments}
        )
        if call.signature is not None and self._signs:
            wire["extra_content"] = {"google": {"thought_signature": call.signature}}
        return wire

    def _result(self, result: ToolResult) -> dict[str, Any]:
        texts = [part for part in result.parts if isinstance(part, Text)]
        if result.is_error:
            # The dialect has no field for it; the model understands words.
            texts = [Text("Error: " + "\n".join(part.text for part in texts))]
        if result.cache is not None and texts:
            texts[-1] = replace(texts[-1], cache=result.cache)
        elif result.cache is not None:
            self._losses.note("cache marks", "a result without text")
        wire: dict[str, Any] = {"role": "tool", "tool_call_id": result.call_id}
        if result.name is not None:
            wire["name"] = result.name
        return wire | {"content": _shortest([self._text(part) for part in texts])}

    def _content(self, parts: tuple[Part, ...], where: str) -> str | list[dict[str, Any]]:
        return _shortest([self._part(part, f"{where}.content[{index}]") for index, part in enumerate(parts)])

    def _part(self, part: Part, where: str) -> dict[str, Any]:
        match part:
            case Text():
                return self._text(part)
            case Image():
                return {"type": "image_url", "image_url": _format_image(part)} | self._mark(part.cache)
            case Audio():
                return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
            case File():
                return _format_file(part, where) | self._mark(part.cache)
            case Refusal():
                return {"type": "refusal", "refusal": part.text}
            case _:
                raise BadRequest(
                    f"This part of the message cannot be sent to the chosen model: {type(part).__name__}.",
                    param=where,
                )

    def _text(self, part: Text) -> dict[str, Any]:
        if part.citations:
            self._losses.note("citations")
        return {"type": "text", "text": part.text} | self._mark(part.cache)

    def _mark(self, cache: CacheMark | None) -> dict[str, Any]:
        if cache is None:
            return {}
        if not self._marks:
            self._losses.note("cache marks")
            return {}
        mark = {"mode": "explicit"}
        if cache.ttl in _LIFETIMES:
            mark["ttl"] = cache.ttl
        elif cache.ttl not in _SHORTER:
            self._losses.note("the lifetime of cache marks", "the provider's own is shorter")
        return {"prompt_cache_breakpoint": mark}


def _format_detail(block: Thinking, index: int) -> dict[str, Any]:
    detail: dict[str, Any] = (
        {"type": "reasoning.encrypted", "data": block.encrypted}
        if block.encrypted is not None
        else {"type": "reasoning.text", "text": block.text, "signature": block.signature}
    )
    if block.item_id is not None:
        detail["id"] = block.item_id
    return detail | {"index": index}


def _shortest(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """A plain string where one says it all: many servers, and every template, take it best."""
    if not parts:
        return ""
    (first, *others) = parts
    return first["text"] if not others and first.keys() == {"type", "text"} else parts


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
