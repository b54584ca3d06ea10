"""Usage as a provider sends it, found in whatever somebody saved -> the normal form.

A usage object by itself, a whole answer, the last event of a stream, or a line of a batch's results. Which dialect it is
shows in the names of its counts; where two dialects share them, the provider decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from llmproxyd.adapters import (
    anthropic_answer,
    cohere_answer,
    gemini_stream,
    ollama_chat,
    openai_usage,
    responses_answer,
)
from llmproxyd.values.cost import Usage

_REASONING_APART: Final = frozenset({"x-ai"})
"""Providers that count reasoning beside the completion, in chat."""
_BY_ANTHROPIC: Final = frozenset({"anthropic"})
_EXCLUSIVE: Final = frozenset(
    {"cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation", "server_tool_use"}
)
_CHAT: Final = frozenset({"prompt_tokens", "completion_tokens"})
_GEMINI: Final = frozenset(
    {
        "promptTokenCount",
        "candidatesTokenCount",
        "totalTokenCount",
        "thoughtsTokenCount",
        "toolUsePromptTokenCount",
    }
)
_OLLAMA: Final = frozenset({"prompt_eval_count", "eval_count"})
_COHERE: Final = frozenset({"billed_units", "tokens"})
_AWS: Final = frozenset({"inputTokens", "outputTokens"})


def read_usage(document: Any, provider: str) -> Usage | None:
    """The usage in ``document``; None where nothing in it counts tokens.

    ``provider``: the name the table of prices has for it ("anthropic", "x-ai"); others change nothing.
    """
    if not isinstance(document, Mapping):
        return None
    answer, batched = _unwrap(dict(document))
    usage = _read(answer, provider)
    if usage is not None and batched and usage.tier is None:
        return replace(usage, tier="batch")
    return usage


def _unwrap(document: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """-> (what holds the usage, whether it comes from a batch's results)."""
    result, response = document.get("result"), document.get("response")
    if isinstance(result, dict) and isinstance(result.get("message"), dict):
        return result["message"], True
    if isinstance(response, dict):
        if isinstance(response.get("body"), dict):
            return response["body"], True
        # An event of a Responses stream says its type; a line of Gemini's batch results has a key instead.
        return response, "type" not in document and "usageMetadata" in response
    for name in ("message", "delta", "x_groq", "result"):
        inner = document.get(name)
        if isinstance(inner, dict) and isinstance(inner.get("usage"), dict) and "usage" not in document:
            return inner, False
    return document, False


def _read(answer: dict[str, Any], provider: str) -> Usage | None:
    if not _OLLAMA.isdisjoint(answer):
        return ollama_chat.parse_usage(answer)
    if isinstance(answer.get("usageMetadata"), dict):
        return gemini_stream.parse_usage(answer["usageMetadata"])
    for name in ("usage", "meta"):
        if isinstance(answer.get(name), dict):
            return _read_counts(answer[name], answer, provider)
    return _read_counts(answer, {"usage": answer, **_beside(answer)}, provider)


def _beside(usage: Mapping[str, Any]) -> dict[str, Any]:
    return {"service_tier": usage["service_tier"]} if "service_tier" in usage else {}


def _read_counts(counts: dict[str, Any], answer: dict[str, Any], provider: str) -> Usage | None:
    for names, parse in _DIALECTS:
        if not names.isdisjoint(counts):
            return parse(counts, answer, provider)
    return None


def _chat(counts: dict[str, Any], answer: dict[str, Any], provider: str) -> Usage | None:
    apart = True if provider in _REASONING_APART else None
    usage = openai_usage.parse_usage(counts, reasoning_apart=apart)
    return usage and replace(usage, tier=openai_usage.parse_tier(answer.get("service_tier")))


def _tokens(counts: dict[str, Any], answer: dict[str, Any], provider: str) -> Usage | None:
    """``input_tokens`` without the cached ones is Anthropic's, with them everybody else's."""
    if provider in _BY_ANTHROPIC or not _EXCLUSIVE.isdisjoint(counts) or answer.get("type") == "message":
        return anthropic_answer.parse_usage(counts)
    return responses_answer.find_usage({**answer, "usage": counts})


def _aws(counts: dict[str, Any], _: dict[str, Any], __: str) -> Usage | None:
    """Bedrock's Converse counts as Anthropic does, under names of its own."""
    details = counts.get("cacheDetails")
    hour = [
        entry.get("inputTokens")
        for entry in (details if isinstance(details, list) else ())
        if isinstance(entry, dict) and entry.get("ttl") == "1h"
    ]
    return anthropic_answer.parse_usage(
        {
            "input_tokens": counts.get("inputTokens"),
            "output_tokens": counts.get("outputTokens"),
            "cache_read_input_tokens": counts.get("cacheReadInputTokens"),
            "cache_creation_input_tokens": counts.get("cacheWriteInputTokens"),
            "cache_creation": {"ephemeral_1h_input_tokens": hour[0]} if hour else None,
        }
    )


_Parse = Callable[[dict[str, Any], dict[str, Any], str], Usage | None]
_DIALECTS: Final[tuple[tuple[frozenset[str], _Parse], ...]] = (
    (_GEMINI, lambda counts, _, __: gemini_stream.parse_usage(counts)),
    (_COHERE, lambda counts, _, __: cohere_answer.parse_usage(counts)),
    (_CHAT, _chat),
    (frozenset({"input_tokens", "output_tokens"}), _tokens),
    (_AWS, _aws),
)
