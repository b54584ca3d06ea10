"""The content blocks of Anthropic's messages -> canonical parts.

Empty texts are dropped: everybody refuses them. Thoughts under a seal of ours become what they were. Blocks that only
Anthropic's own servers understand (their tools' calls and results, files in their store) are refused by name, since
this reading is for a translation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from llmproxyd import jsontext
from llmproxyd.surfaces.openai_fields import (
    need_object,
    need_text,
    read_bool,
    read_objects,
    read_text,
    wrong_type,
    wrong_value,
)
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.replay import is_seal, unseal_thought
from llmproxyd.values.request import (
    CacheMark,
    Dialect,
    Document,
    File,
    Image,
    Part,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

MAX_NESTING = 4
"""Blocks within blocks: a document of texts in a tool's result has three levels."""

ResultPart: TypeAlias = Text | Image | File


class BlockReader:
    """Reads the blocks of one request; ``left_out`` collects what has no canonical form and can be missed."""

    def __init__(self) -> None:
        self.left_out: list[str] = []
        self._depth = 0

    def read(self, content: Any, where: str) -> Iterator[Part]:
        """``content`` of a message: a string or a list of blocks. Raises BadRequest naming the block."""
        if isinstance(content, str):
            if content:
                yield Text(content)
            return
        if not isinstance(content, list):
            raise wrong_type(where, "a string or an array of objects", content)
        for index, block in enumerate(content):
            place = f"{where}[{index}]"
            if not isinstance(block, dict):
                raise wrong_type(place, "an object", block)
            part = self._read_block(block, place)
            if part is not None:
                yield part

    def _inner(self, holder: Document, where: str) -> list[Part]:
        """The ``content`` of a block; none where it is absent."""
        place = f"{where}content"
        if self._depth == MAX_NESTING:
            raise BadRequest(f"Blocks are nested more than {MAX_NESTING} levels deep.", param=place)
        self._depth += 1
        parts = list(self.read(holder.get("content") or "", place))
        self._depth -= 1
        return parts

    def leave_out(self, name: str) -> None:
        if name not in self.left_out:
            self.left_out.append(name)

    def _read_block(self, block: Document, place: str) -> Part | None:
        kind = need_text(block, "type", f"{place}.")
        read = _READERS.get(kind)
        if read is not None:
            return read(self, block, f"{place}.")
        raise BadRequest(
            f"Blocks of type '{kind[:64]}' can only be sent to Anthropic's own models.",
            param=f"{place}.type",
            code="unsupported_block",
        )

    def _text(self, block: Document, where: str) -> Text | None:
        text = need_text(block, "text", where)
        citations = read_objects(block, "citations", where)
        return Text(text, parse_cache_mark(block), tuple(citations)) if text else None

    def _image(self, block: Document, where: str) -> Image:
        source, inside = need_object(block, "source", where), f"{where}source."
        cache = parse_cache_mark(block)
        match need_text(source, "type", inside):
            case "base64":
                data, media_type = need_text(source, "data", inside), need_text(source, "media_type", inside)
                return Image(data, media_type, cache=cache)
            case "url":
                return Image(url=need_text(source, "url", inside), cache=cache)
            case "file":
                raise BadRequest(
                    "An image in Anthropic's file store can only be sent to Anthropic's own models; send its data.",
                    param=f"{inside}type",
                )
            case other:
                raise wrong_value(f"{inside}type", other, "Supported values are: 'base64', 'url', 'file'.")

    def _document(self, block: Document, where: str) -> File:
        for name in ("context", "citations"):
            if block.get(name):
                self.leave_out(f"document.{name}")
        source, inside = need_object(block, "source", where), f"{where}source."
        title, cache = read_text(block, "title", where), parse_cache_mark(block)
        match need_text(source, "type", inside):
            case "base64":
                data, media_type = need_text(source, "data", inside), need_text(source, "media_type", inside)
                return File(data, media_type, filename=title, cache=cache)
            case "text":
                return File(text=need_text(source, "data", inside), filename=title, cache=cache)
            case "url":
                return File(url=need_text(source, "url", inside), filename=title, cache=cache)
            case "file":
                return File(file_id=need_text(source, "file_id", inside), filename=title, cache=cache)
            case "content":
                return File(text=self._joined(source, inside), filename=title, cache=cache)
            case other:
                supported = "'base64', 'text', 'url', 'file', 'content'"
                raise wrong_value(f"{inside}type", other, f"Supported values are: {supported}.")

    def _search_result(self, block: Document, where: str) -> Text:
        """Only Anthropic's models cite it; to all others it is a text with a heading."""
        if block.get("citations"):
            self.leave_out("search_result.citations")
        heading = (need_text(block, "title", where), need_text(block, "source", where))
        return Text("\n".join((*heading, self._joined(block, where))), parse_cache_mark(block))

    def _joined(self, holder: Document, where: str) -> str:
        """The text of a ``content`` that is a string or texts."""
        parts = self._inner(holder, where)
        texts = [part.text for part in parts if isinstance(part, Text)]
        if len(texts) < len(parts):
            raise BadRequest("Only text can be carried here.", param=f"{where}content")
        return "\n".join(texts)

    def _thinking(self, block: Document, where: str) -> Thinking:
        text, signature = need_text(block, "thinking", where), read_text(block, "signature", where)
        if signature is not None and is_seal(signature):
            return unseal_thought(text, signature)
        return Thinking(text, signature or None, origin=Dialect.ANTHROPIC_MESSAGES)

    def _redacted(self, block: Document, where: str) -> Thinking:
        return Thinking(encrypted=need_text(block, "data", where), origin=Dialect.ANTHROPIC_MESSAGES)

    def _tool_use(self, block: Document, where: str) -> ToolCall:
        arguments = block.get("input")
        if arguments is not None and not isinstance(arguments, dict):
            raise wrong_type(f"{where}input", "an object", arguments)
        text = jsontext.encode(arguments).decode() if arguments else ""
        return ToolCall(need_text(block, "id", where), need_text(block, "name", where), text)

    def _tool_result(self, block: Document, where: str) -> ToolResult:
        parts: list[ResultPart] = []
        for part in self._inner(block, where):
            if not isinstance(part, (Text, Image, File)):
                raise BadRequest("A tool answers in text, images and documents.", param=f"{where}content")
            parts.append(part)
        return ToolResult(
            call_id=need_text(block, "tool_use_id", where),
            parts=tuple(parts),
            is_error=read_bool(block, "is_error", where) or False,
            cache=parse_cache_mark(block),
        )

    def _tool_reference(self, block: Document, where: str) -> Text:
        """A tool found by searching: elsewhere all tools are offered from the start."""
        return Text(f"The tool {need_text(block, 'tool_name', where)} can be used now.")


def parse_cache_mark(document: Document) -> CacheMark | None:
    mark = document.get("cache_control")
    if not isinstance(mark, dict):
        return None
    ttl = mark.get("ttl")
    return CacheMark(ttl if isinstance(ttl, str) else None)


_READERS: Mapping[str, Callable[[BlockReader, Document, str], Part | None]] = {
    "text": BlockReader._text,
    "image": BlockReader._image,
    "document": BlockReader._document,
    "search_result": BlockReader._search_result,
    "thinking": BlockReader._thinking,
    "redacted_thinking": BlockReader._redacted,
    "tool_use": BlockReader._tool_use,
    "tool_result": BlockReader._tool_result,
    "tool_reference": BlockReader._tool_reference,
}
