"""What rules may ask about a prompt, found out when first asked for, and once.

A dialect's documents are read as they are, without taking the request apart: each has a reader, a module of functions. A
dialect without one is read through its surface, which costs more. A question about a prompt never refuses a request.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from itertools import islice
from typing import Any, Protocol

from llmproxyd import jsontext
from llmproxyd.surfaces import anthropic_facts, gemini_facts, ollama_facts, openai_facts, responses_facts
from llmproxyd.surfaces.content_facts import ContentReader
from llmproxyd.values.contracts import Surface
from llmproxyd.values.request import Capability, Dialect, Document, Operation, Request


class Reader(Protocol):
    """Answers about a document as it came. None of them raises, whatever the document looks like."""

    def document_texts(self, document: Document, /) -> Iterable[str]:
        """Everything in it that goes out as text."""
        ...

    def count_images(self, document: Document, /) -> int: ...

    def thinks(self, document: Document, /) -> bool:
        """Whether thought was asked for."""
        ...

    def is_instructed(self, document: Document, /) -> bool:
        """Whether it holds instructions beside what the user says."""
        ...

    def beginning(self, document: Document, /) -> Any:
        """What stays the same while the conversation grows, as anything JSON can hold."""
        ...


READERS: Mapping[Dialect, Reader] = {
    Dialect.OPENAI_CHAT: openai_facts,
    Dialect.OPENAI_RESPONSES: responses_facts,
    Dialect.ANTHROPIC_MESSAGES: anthropic_facts,
    Dialect.GEMINI_GENERATE: gemini_facts,
    Dialect.OLLAMA_CHAT: ollama_facts,
}

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
# What counts beside the text, under the names that the dialects have for it; no name means two things.
_TURNS = ("messages", "contents", "input")
_DEFINITIONS = (
    "tools", "functions", "response_format", "output_format", "output_config", "text", "format", "generationConfig",
    "generation_config",
)  # fmt: skip
_WRAPPED = ("generateContentRequest", "generate_content_request")


class RequestPrompt:
    """The Prompt of a request. ``estimate_tokens``: text -> tokens; ``count_tokens``: (text, model) -> tokens, where they
    are told apart by model."""

    def __init__(
        self,
        request: Request,
        surface: Surface,
        estimate_tokens: Callable[[str], int],
        count_tokens: Callable[[str, str], int] | None = None,
    ) -> None:
        self._request = request
        self._estimate = estimate_tokens
        self._count = count_tokens
        self._reader = READERS.get(request.dialect) or ContentReader(lambda: surface.parse_content(request))

    @cached_property
    def text(self) -> str:
        """Everything the caller wrote, instructions and earlier turns included, joined by newlines."""
        return "\n".join(filter(None, self._reader.document_texts(self._request.document)))

    @cached_property
    def tokens_in(self) -> int:
        """Estimated input tokens: text, definitions of tools and of the answer's form, images, and what is between."""
        text, fixed = self._counted
        return fixed + self._estimate(text)

    def tokens_for(self, model: str) -> int:
        """The same as this model counts, where that can be told."""
        if self._count is None:
            return self.tokens_in
        text, fixed = self._counted
        return fixed + self._count(text, model)

    @cached_property
    def _counted(self) -> tuple[str, int]:
        """Whatever is text, and the tokens of the rest."""
        document = _unwrapped(self._request.document)
        definitions = [
            jsontext.encode(document[name]).decode() for name in _DEFINITIONS if document.get(name)
        ]
        turns = sum(_count_objects(document.get(name)) for name in _TURNS)
        return "\n".join((self.text, *definitions)), MESSAGE_TOKENS * turns + IMAGE_TOKENS * self._images

    @cached_property
    def has(self) -> frozenset[str]:
        """Which of tools, images, audio, files, code, json_schema, thinking, system the request has."""
        document = self._request.document
        found = {_HAS_BY_NEED[need] for need in self._request.needs if need in _HAS_BY_NEED}
        if self._reader.thinks(document):
            found.add("thinking")
        if self._reader.is_instructed(document):
            found.add("system")
        if has_code(self.text):
            found.add("code")
        return frozenset(found)

    @cached_property
    def conversation(self) -> bytes:
        """A digest of the instructions and the first thing the user said: later turns add to neither."""
        beginning = self._reader.beginning(self._request.document)
        return hashlib.blake2b(jsontext.encode(beginning), digest_size=16).digest()

    @property
    def _images(self) -> int:
        # Who only counts tokens may not have said what is needed.
        seen = Capability.VISION in self._request.needs or self._request.operation is Operation.COUNT_TOKENS
        return self._reader.count_images(self._request.document) if seen else 0


def has_code(text: str) -> bool:
    """A fenced block, SQL, or two lines that look like a programming language; the latest 64 KiB are searched."""
    if _FENCE in text:
        return True
    recent = text[-_CODE_SEARCHED_CHARS:]
    lines = sum(1 for _ in islice(_CODE.finditer(recent), _CODE_LINES))
    return lines == _CODE_LINES or _SQL.search(recent) is not None


def _unwrapped(document: Document) -> Document:
    """The request that a request to count tokens may hold, else the document itself."""
    return next((document[name] for name in _WRAPPED if isinstance(document.get(name), dict)), document)


def _count_objects(value: Any) -> int:
    return sum(isinstance(item, dict) for item in value) if isinstance(value, list) else 0
