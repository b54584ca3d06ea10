"""What rules may ask about a prompt, found out when first asked for, and once.

OpenAI's documents are read as they are, without taking the request apart. For any other dialect the surface's own
canonical reading is used, which costs more and is as good.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import islice
from typing import Any

from llmproxyd import jsontext
from llmproxyd.values.contracts import Surface
from llmproxyd.values.request import (
    Audio,
    Capability,
    Chat,
    Dialect,
    Document,
    Embed,
    File,
    Image,
    Operation,
    Part,
    Refusal,
    Request,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

IMAGE_TOKENS = 765
"""What a picture of ordinary size costs with the large providers: a base of 85 and four tiles of 170."""
MESSAGE_TOKENS = 4
"""Role and separators around each message."""

_CODE_SEARCHED_CHARS = 64 * 1024
_FENCE = "```"
# Every repetition is bounded: the text is a stranger's, and must not be able to make the search slow.
_CODE = re.compile(
    r"^[ \t]{0,200}(?:def \w{1,80}\(.{0,200}:$|class \w{1,80}.{0,120}:$|from [\w.]{1,120} import "
    r"|import [\w.]{1,120}(?: as \w{1,80})?;?$|#include ?[<\"]|#!/|<\?php"
    r"|(?:public|private|protected|static) .{0,200}[({]$|(?:async )?function\b.{0,120}\("
    r"|(?:const|let|var) \w{1,80} ?=|func \w{0,80}\(|fn \w{1,80}\(|package \w{1,80};?$"
    r"|(?:if|for|while) ?\(.{0,200}\{$|.{0,300}\);$|\}(?: else.{0,80}\{)?$)",
    re.MULTILINE,
)
_SQL = re.compile(
    r"\b(?:SELECT\b.{1,400}?\bFROM|INSERT\s+INTO|CREATE\s+TABLE|UPDATE\s+\w+\s+SET)\b", re.DOTALL
)
_CODE_LINES = 2  # one such line may be prose by accident

_HAS_BY_NEED: Mapping[Capability, str] = {
    Capability.TOOLS: "tools",
    Capability.VISION: "images",
    Capability.AUDIO: "audio",
    Capability.FILES: "files",
    Capability.JSON_SCHEMA: "json_schema",
    Capability.THINKING: "thinking",
}
_INSTRUCTIONS = ("system", "developer")
_THINKING_FIELDS = ("reasoning", "thinking", "thinking_budget")


class RequestPrompt:
    """The Prompt of a request. ``estimate_tokens``: text -> tokens."""

    def __init__(self, request: Request, surface: Surface, estimate_tokens: Callable[[str], int]) -> None:
        self._request = request
        self._surface = surface
        self._estimate = estimate_tokens

    @cached_property
    def text(self) -> str:
        """Everything the caller wrote, instructions and earlier turns included, joined by newlines."""
        return "\n".join(filter(None, self._texts()))

    @cached_property
    def tokens_in(self) -> int:
        """Estimated input tokens: text, definitions of tools and of the answer's form, images, and what is between."""
        document = self._request.document
        definitions = [
            jsontext.encode(document[name]).decode()
            for name in ("tools", "functions", "response_format")
            if document.get(name)
        ]
        fixed = MESSAGE_TOKENS * len(_listed(document, "messages")) + IMAGE_TOKENS * self._images
        return fixed + self._estimate("\n".join((self.text, *definitions)))

    @cached_property
    def has(self) -> frozenset[str]:
        """Which of tools, images, audio, files, code, json_schema, thinking, system the request has."""
        found = {_HAS_BY_NEED[need] for need in self._request.needs if need in _HAS_BY_NEED}
        if self._thinks():
            found.add("thinking")
        if self._is_instructed():
            found.add("system")
        if has_code(self.text):
            found.add("code")
        return frozenset(found)

    @cached_property
    def conversation(self) -> bytes:
        """A digest of the instructions and the first thing the user said: later turns add to neither."""
        return hashlib.blake2b(jsontext.encode(self._beginning()), digest_size=16).digest()

    # --- reading ----------------------------------------------------------------------------------------------

    @property
    def _is_raw(self) -> bool:
        return self._request.dialect is Dialect.OPENAI_CHAT

    @cached_property
    def _content(self) -> Chat | Embed:
        return self._surface.parse_content(self._request)

    def _texts(self) -> Iterable[str]:
        if not self._is_raw:
            return _content_texts(self._content)
        match self._request.operation:
            case Operation.COMPLETION:
                return _loose_texts(self._request.document.get("prompt"))
            case Operation.EMBEDDING:
                return _loose_texts(self._request.document.get("input"))
            case _:
                return _document_texts(self._request.document)

    @cached_property
    def _images(self) -> int:
        if Capability.VISION not in self._request.needs:
            return 0
        if not self._is_raw:
            return _count_images(self._content)
        parts = (
            part
            for message in _listed(self._request.document, "messages")
            for part in _listed(message, "content")
        )
        return sum(1 for part in parts if part.get("type") == "image_url")

    def _thinks(self) -> bool:
        if not self._is_raw:
            content = self._content
            return isinstance(content, Chat) and bool(
                content.thinking_budget or content.effort not in (None, "none")
            )
        document = self._request.document
        effort = document.get("reasoning_effort")
        return effort not in (None, "none") or any(document.get(name) for name in _THINKING_FIELDS)

    def _is_instructed(self) -> bool:
        if not self._is_raw:
            content = self._content
            return isinstance(content, Chat) and any(
                message.role in (Role.SYSTEM, Role.DEVELOPER) for message in content.messages
            )
        return any(
            message.get("role") in _INSTRUCTIONS for message in _listed(self._request.document, "messages")
        )

    def _beginning(self) -> Any:
        if not self._is_raw:
            return list(_first_texts(self._content))
        document = self._request.document
        if self._request.operation is not Operation.CHAT:
            return document.get("prompt", document.get("input"))
        messages = _listed(document, "messages")
        instructions = [
            message.get("content") for message in messages if message.get("role") in _INSTRUCTIONS
        ]
        first = next((message.get("content") for message in messages if message.get("role") == "user"), None)
        return [instructions, first]


def has_code(text: str) -> bool:
    """A fenced block, SQL, or two lines that look like a programming language; the latest 64 KiB are searched."""
    if _FENCE in text:
        return True
    recent = text[-_CODE_SEARCHED_CHARS:]
    lines = sum(1 for _ in islice(_CODE.finditer(recent), _CODE_LINES))
    return lines == _CODE_LINES or _SQL.search(recent) is not None


def _listed(document: Document, name: str) -> list[Document]:
    """The objects of a list; empty where there is no list."""
    value = document.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _loose_texts(value: Any) -> Iterator[str]:
    """A text or a list of texts; token ids say nothing."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from (item for item in value if isinstance(item, str))


def _document_texts(document: Document) -> Iterator[str]:
    for message in _listed(document, "messages"):
        content = message.get("content")
        if isinstance(content, str):
            yield content
        else:
            yield from _part_texts(_listed(message, "content"))
        yield from (
            message[name] for name in ("reasoning_content", "refusal") if isinstance(message.get(name), str)
        )
        # What a model once asked of a tool goes out again with every turn.
        calls = [*_listed(message, "tool_calls"), {"function": message.get("function_call")}]
        yield from (text for call in calls for text in _call_texts(call))


def _part_texts(parts: list[Document]) -> Iterator[str]:
    for part in parts:
        file = part.get("file")
        name = file.get("filename") if isinstance(file, dict) else None
        yield from (
            value for value in (part.get("text"), part.get("refusal"), name) if isinstance(value, str)
        )


def _call_texts(call: Document) -> Iterator[str]:
    for kind, name in (("function", "arguments"), ("custom", "input")):
        inner = call.get(kind)
        if isinstance(inner, dict) and isinstance(inner.get(name), str):
            yield inner[name]


def _content_texts(content: Chat | Embed) -> Iterator[str]:
    if isinstance(content, Embed):
        yield from (item for item in content.inputs if isinstance(item, str))
        return
    for message in content.messages:
        for part in message.parts:
            yield from _texts_of(part)


def _texts_of(part: Part) -> Iterator[str]:
    match part:
        case Text() | Thinking() | Refusal():
            yield part.text
        case ToolCall():
            yield part.arguments
        case ToolResult():
            for inner in part.parts:
                yield from _texts_of(inner)
        case File():
            yield from (value for value in (part.filename, part.text) if value)
        case Image() | Audio():
            return


def _first_texts(content: Chat | Embed) -> Iterator[str]:
    if isinstance(content, Embed):
        yield from _content_texts(content)
        return
    first_user = next((message for message in content.messages if message.role is Role.USER), None)
    for message in content.messages:
        if message.role in (Role.SYSTEM, Role.DEVELOPER) or message is first_user:
            yield from (text for part in message.parts for text in _texts_of(part))


def _count_images(content: Chat | Embed) -> int:
    if isinstance(content, Embed):
        return 0
    parts = [part for message in content.messages for part in message.parts]
    nested = [inner for part in parts if isinstance(part, ToolResult) for inner in part.parts]
    return sum(isinstance(part, Image) for part in (*parts, *nested))
