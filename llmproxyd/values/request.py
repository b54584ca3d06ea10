"""What a client wants, in nobody's dialect.

Two depths. A ``Request`` is the envelope: what routing has to know, the body as it came and the decoded document.
``Chat`` and ``Embed`` are the content in canonical form; they are built only when somebody has to look inside:
a translation, a detector, a condition on the prompt. Bytes that only pass through are never taken apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec

Document: TypeAlias = Mapping[str, Any]
"""A decoded JSON object, as the client sent it."""


class Operation(StrEnum):
    """What kind of answer is asked for."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embedding"
    COUNT_TOKENS = "count_tokens"


class Dialect(StrEnum):
    """A wire language. A surface speaks one to clients, an adapter one to providers."""

    OPENAI_CHAT = "openai-chat"
    OPENAI_RESPONSES = "openai-responses"
    ANTHROPIC_MESSAGES = "anthropic-messages"
    GEMINI_GENERATE = "gemini-generate"
    COHERE_CHAT = "cohere-chat"
    OLLAMA_CHAT = "ollama-chat"


class Capability(StrEnum):
    """What a request may need and a deployment may offer."""

    TOOLS = "tools"
    VISION = "vision"
    JSON_SCHEMA = "json_schema"
    THINKING = "thinking"
    AUDIO = "audio"
    FILES = "files"
    EMBEDDINGS = "embeddings"


class Role(StrEnum):
    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Priority(StrEnum):
    INTERACTIVE = "interactive"
    NORMAL = "normal"
    BATCH = "batch"


# --- parts of a message -----------------------------------------------------------------------------------------


class CacheMark(msgspec.Struct, frozen=True):
    """A client's wish that the prefix up to here be kept by the provider. ``ttl`` as written, e.g. ``5m``, ``1h``."""

    ttl: str | None = None


class Text(msgspec.Struct, frozen=True):
    text: str
    cache: CacheMark | None = None
    citations: tuple[Document, ...] = ()


class Image(msgspec.Struct, frozen=True):
    """Either ``data`` (base64 without prefix, with ``media_type``) or ``url``."""

    data: str | None = None
    media_type: str | None = None
    url: str | None = None
    detail: str | None = None
    cache: CacheMark | None = None


class Audio(msgspec.Struct, frozen=True):
    """``data`` is base64; ``format`` is a short name such as ``wav`` or ``mp3``."""

    data: str
    format: str


class File(msgspec.Struct, frozen=True):
    """A document: base64 ``data`` with ``media_type``, or a ``url``, or a provider's ``file_id``."""

    data: str | None = None
    media_type: str | None = None
    url: str | None = None
    file_id: str | None = None
    filename: str | None = None
    text: str | None = None
    cache: CacheMark | None = None


class Thinking(msgspec.Struct, frozen=True):
    """What a model thought. ``signature`` and ``encrypted`` mean something only to ``origin``, the dialect that made them."""

    text: str = ""
    signature: str | None = None
    encrypted: str | None = None
    origin: Dialect | None = None
    item_id: str | None = None


class Refusal(msgspec.Struct, frozen=True):
    text: str


class ToolCall(msgspec.Struct, frozen=True):
    """``arguments`` is JSON text as the model wrote it: it may be empty or invalid. ``kind`` is ``function`` or ``custom``."""

    id: str
    name: str
    arguments: str
    kind: str = "function"
    signature: str | None = None


class ToolResult(msgspec.Struct, frozen=True):
    """``name`` is the tool's name where the dialect carries it, else None (look it up by ``call_id``)."""

    call_id: str
    parts: tuple[Text | Image | File, ...]
    name: str | None = None
    is_error: bool = False
    cache: CacheMark | None = None


Part: TypeAlias = Text | Image | Audio | File | Thinking | Refusal | ToolCall | ToolResult


class Message(msgspec.Struct, frozen=True):
    role: Role
    parts: tuple[Part, ...]
    name: str | None = None


# --- what surrounds the messages --------------------------------------------------------------------------------


class Tool(msgspec.Struct, frozen=True):
    """A function the model may call. ``parameters`` is a JSON Schema, None for "takes nothing". Other ``kind``s keep
    their whole definition in ``raw`` and can only go where the dialect is the same."""

    name: str
    description: str | None = None
    parameters: Document | None = None
    strict: bool | None = None
    kind: str = "function"
    raw: Document | None = None
    cache: CacheMark | None = None


class ToolChoice(msgspec.Struct, frozen=True):
    """``mode``: auto, none, required, or named (then ``names`` holds one). ``names`` with auto or required narrows."""

    mode: str
    names: tuple[str, ...] = ()


class OutputFormat(msgspec.Struct, frozen=True):
    """``kind``: text, json_object or json_schema."""

    kind: str
    schema: Document | None = None
    name: str | None = None
    strict: bool | None = None
    description: str | None = None


class Sampling(msgspec.Struct, frozen=True):
    """Absent means: the model's own default. ``max_tokens`` counts generated tokens."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: Mapping[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    n: int | None = None


class Chat(msgspec.Struct, frozen=True):
    """A conversation to be continued. ``effort`` is one of none, minimal, low, medium, high, xhigh, max.

    ``extras`` keeps fields that only one dialect knows, by that dialect; only its adapter reads them. ``left_out``: the
    client's fields that have no canonical form and can be missed, by name; they end as warnings.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    output_format: OutputFormat | None = None
    sampling: Sampling = Sampling()
    effort: str | None = None
    thinking_budget: int | None = None
    user: str | None = None
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    service_tier: str | None = None
    extras: Mapping[Dialect, Document] = msgspec.field(default_factory=dict)
    left_out: tuple[str, ...] = ()


class Embed(msgspec.Struct, frozen=True):
    """Texts (or token arrays) to be turned into vectors. ``encoding`` is float or base64, as the client wants it back."""

    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: int | None = None
    encoding: str = "float"
    user: str | None = None
    input_type: str | None = None
    extras: Mapping[Dialect, Document] = msgspec.field(default_factory=dict)


Content: TypeAlias = Chat | Embed


class Request(msgspec.Struct, frozen=True):
    """The envelope of one client request.

    ``body`` is what came, byte for byte; ``document`` the same decoded. ``needs`` are the capabilities without which
    an answer would be wrong; ``max_output_tokens`` is None where the client set no bound.
    ``wants_usage``: in a stream, whether the client asked for the usage frame. ``headers``: those of the client's own
    headers that its dialect passes on to a provider of the same dialect (lower-case names), never a credential.
    ``effort``: how hard the model is to think, in the client's own word or as ``budget``; None where it does not say.
    """

    operation: Operation
    dialect: Dialect
    surface: str
    model: str
    stream: bool
    body: bytes
    document: Document
    needs: frozenset[Capability] = frozenset()
    max_output_tokens: int | None = None
    temperature: float | None = None
    n: int | None = None
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    wants_usage: bool = True
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    effort: str | None = None


class Overrides(msgspec.Struct, frozen=True):
    """What a rule's ``set`` puts in place of the client's own wish."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    effort: str | None = None
    seed: int | None = None

    def __bool__(self) -> bool:
        return any(
            v is not None for v in (self.temperature, self.top_p, self.max_tokens, self.effort, self.seed)
        )


NO_OVERRIDES = Overrides()
