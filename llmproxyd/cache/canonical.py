"""What of a request's document decides its answer, the same bytes for every way of writing it.

Keys are sorted, defaults and fields that change nothing are left out, ``1.0`` is ``1``. JSON Schemas stay as they are
written: models fill in properties in the order of the schema. Whatever an answer might depend on beside the document
(a conversation kept elsewhere, a file behind an address, a tool that the provider runs) makes the request one that is
always asked anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from llmproxyd.values.request import Dialect, Document, Operation, Request

_Tool: TypeAlias = Mapping[str, Any]


class NotCacheable(Exception):  # noqa: N818 - a verdict on the request
    """The request has to be asked anew each time; the text says why."""


class _Manner(msgspec.Struct, frozen=True):
    """A dialect's fields at the top of its documents.

    ``ignored`` change nothing about an answer. ``defaults``: left out where they say what is assumed anyway.
    ``refused``: why a request that has them is asked anew. ``required``: field -> its only cacheable value, and why.
    ``as_written``: hold schemas. ``runs_here``: whether the client, not the provider, runs a tool.
    """

    ignored: frozenset[str]
    runs_here: Callable[[_Tool], bool]
    defaults: Mapping[str, Any] = msgspec.field(default_factory=dict)
    refused: Mapping[str, str] = msgspec.field(default_factory=dict)
    required: Mapping[str, tuple[Any, str]] = msgspec.field(default_factory=dict)
    as_written: frozenset[str] = frozenset({"tools"})


def canonical_form(request: Request) -> bytes:
    """The bytes; equal for requests that must get the same answer. Raises NotCacheable."""
    if request.operation is Operation.COUNT_TOKENS:
        raise NotCacheable("counting tokens costs nothing")
    manner = _MANNERS.get(request.dialect)
    if manner is None:
        raise NotCacheable(f"nobody knows which fields of {request.dialect.value} decide an answer")
    document = request.document
    _refuse(document, manner)
    kept = {
        name: plain
        for name, value in document.items()
        if value is not None
        and name not in manner.ignored
        and not _is_default(manner, name, plain := _plain(value))
    }
    written = {name: kept.pop(name) for name in sorted(manner.as_written & kept.keys())}
    said = _encode_sorted(kept)
    if _lies_elsewhere(said):
        raise NotCacheable("it refers to a file or an address whose content may change")
    # No JSON text holds a raw line break, so nothing can move from one side to the other.
    return said + b"\n" + _encode_written(written)


def _refuse(document: Document, manner: _Manner) -> None:
    for name, why in manner.refused.items():
        if document.get(name):
            raise NotCacheable(why)
    for name, (value, why) in manner.required.items():
        if document.get(name) is not value:
            raise NotCacheable(why)
    tools = document.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, Mapping) or not manner.runs_here(tool):
            raise NotCacheable("its provider runs a tool for it")


def _is_default(manner: _Manner, name: str, value: Any) -> bool:
    default = manner.defaults.get(name)
    return default is not None and type(default) is type(value) and bool(default == value)


# --- values -----------------------------------------------------------------------------------------------------

_EXACT: Final = 2**53


def _plain(value: Any) -> Any:
    """Numbers of one value in one spelling, also those of an object right at the top (``options``)."""
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, dict):
        return {name: _number(inner) if isinstance(inner, float) else inner for name, inner in value.items()}
    return value


def _number(value: float) -> float | int:
    return int(value) if value.is_integer() and abs(value) < _EXACT else value


_sorting = msgspec.json.Encoder(order="sorted").encode
_keeping = msgspec.json.Encoder().encode


def _encode_sorted(document: Mapping[str, Any]) -> bytes:
    try:
        return _sorting(document)
    except (UnicodeEncodeError, OverflowError):  # half a surrogate pair, a number beyond 64 bits
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _encode_written(document: Mapping[str, Any]) -> bytes:
    try:
        return _keeping(document)
    except (UnicodeEncodeError, OverflowError):
        return json.dumps(document, separators=(",", ":")).encode()


# In canonical text a quote inside a string is escaped, so only real fields look like this.
_ELSEWHERE = re.compile(rb'"(?:url|image_url|file_url|video_url|fileUri|file_uri)":"(?!data:)|"file_id":"')
_ENDS: Final = (b'rl":"', b'ri":"', b'_id":"')


def _lies_elsewhere(said: bytes) -> bool:
    """Looked for as plain bytes first: most requests have none of it, and some are long."""
    return any(end in said for end in _ENDS) and _ELSEWHERE.search(said) is not None


# --- dialects ---------------------------------------------------------------------------------------------------

_STORED: Final = "it is to be kept by the provider"
_CONVERSATION: Final = "it goes on from a conversation that is kept elsewhere"
_OPENAI_IGNORED: Final = frozenset(
    {
        "model",
        "stream",
        "stream_options",
        "user",
        "metadata",
        "store",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "service_tier",
    }
)
_ANTHROPIC_CLIENT_TOOLS: Final = ("bash_", "text_editor_", "computer_", "memory_")


def _is_function(tool: _Tool) -> bool:
    return tool.get("type") in ("function", "custom")


def _is_anthropic_clients(tool: _Tool) -> bool:
    kind = tool.get("type")
    return kind is None or kind == "custom" or str(kind).startswith(_ANTHROPIC_CLIENT_TOOLS)


def _is_declared(tool: _Tool) -> bool:
    return tool.keys() <= {"functionDeclarations", "function_declarations"}


_MANNERS: Final[Mapping[Dialect, _Manner]] = {
    Dialect.OPENAI_CHAT: _Manner(
        ignored=_OPENAI_IGNORED,
        runs_here=_is_function,
        defaults={
            "n": 1,
            "logprobs": False,
            "parallel_tool_calls": True,
            "presence_penalty": 0,
            "frequency_penalty": 0,
            "logit_bias": {},
            "tools": [],
            "stop": [],
            "modalities": ["text"],
            "response_format": {"type": "text"},
            "encoding_format": "float",
            "best_of": 1,
            "echo": False,
        },
        refused={
            "store": _STORED,
            "web_search_options": "its provider searches the web for it",
            "audio": "spoken answers refer to files that the provider deletes",
        },
        as_written=frozenset({"tools", "functions", "response_format"}),
    ),
    Dialect.OPENAI_RESPONSES: _Manner(
        ignored=_OPENAI_IGNORED | {"background"},
        runs_here=_is_function,
        defaults={
            "parallel_tool_calls": True,
            "truncation": "disabled",
            "tools": [],
            "include": [],
            "text": {"format": {"type": "text"}},
        },
        refused={
            "previous_response_id": _CONVERSATION,
            "conversation": _CONVERSATION,
            "background": "it is answered in the background",
            "prompt": "it refers to a template that is kept elsewhere",
        },
        # Left out it means true: the answer gets an id by which others can go on from it.
        required={"store": (False, _STORED)},
        as_written=frozenset({"tools", "text"}),
    ),
    Dialect.ANTHROPIC_MESSAGES: _Manner(
        ignored=frozenset({"model", "stream", "metadata", "service_tier"}),
        runs_here=_is_anthropic_clients,
        defaults={"tools": [], "stop_sequences": []},
        refused={
            "container": "it runs in a container that has a past",
            "mcp_servers": "its provider runs a tool for it",
        },
        as_written=frozenset({"tools", "output_format", "output_config"}),
    ),
    Dialect.GEMINI_GENERATE: _Manner(
        ignored=frozenset({"model", "labels"}),
        runs_here=_is_declared,
        defaults={"tools": [], "safetySettings": [], "generationConfig": {}},
        refused={"cachedContent": _CONVERSATION, "cached_content": _CONVERSATION},
        as_written=frozenset({"tools", "generationConfig", "generation_config"}),
    ),
    Dialect.OLLAMA_CHAT: _Manner(
        ignored=frozenset({"model", "stream", "keep_alive"}),
        runs_here=_is_function,
        defaults={"tools": [], "options": {}, "logprobs": False},
        as_written=frozenset({"tools", "format"}),
    ),
}
