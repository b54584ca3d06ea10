"""Whole answers of Anthropic's -> canonical ones, and the words that streams share with them.

Input tokens exclude the cache here and include it in the normal form. Blocks of the provider's own tools are skipped:
only a client of the same dialect can have asked for them, and such a client is answered verbatim.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llmproxyd import jsontext
from llmproxyd.adapters.anthropic_failure import failure_of_error
from llmproxyd.adapters.anthropic_tools import parse_name
from llmproxyd.adapters.counts import parse_count, parse_told
from llmproxyd.adapters.failures import bad_answer
from llmproxyd.values.answer import Answer, Choice, Finish, TokenCount
from llmproxyd.values.cost import TIERS, Usage
from llmproxyd.values.failure import Failure
from llmproxyd.values.request import Dialect, Operation, Part, Request, Text, Thinking, ToolCall

_FINISHES: Mapping[str, Finish] = {
    "end_turn": Finish.STOP,
    "max_tokens": Finish.LENGTH,
    "stop_sequence": Finish.STOP_SEQUENCE,
    "tool_use": Finish.TOOL_CALLS,
    "pause_turn": Finish.PAUSE,
    "refusal": Finish.REFUSAL,
    "model_context_window_exceeded": Finish.LENGTH,
    "compaction": Finish.PAUSE,
}


def parse_answer(request: Request, body: bytes) -> Answer | TokenCount | Failure:
    """A whole 2xx body -> Answer, TokenCount for a count, or the Failure it turns out to be."""
    try:
        document = jsontext.decode(body)
    except jsontext.JSONError as error:
        return bad_answer(f"the answer is not JSON: {error}")
    if not isinstance(document, dict):
        return bad_answer("the answer is not a JSON object")
    if document.get("type") == "error" or document.get("error"):
        return failure_of_error(document.get("error"))
    if request.operation is Operation.COUNT_TOKENS:
        return _parse_count(document)
    content = document.get("content")
    if not isinstance(content, list):
        return bad_answer("the answer has no content")
    native = text_of(document, "stop_reason") or None
    parts = tuple(part for block in content if isinstance(block, dict) for part in _parse_block(block))
    called = any(isinstance(part, ToolCall) for part in parts)
    choice = Choice(
        parts, parse_finish(native, called=called), native, text_of(document, "stop_sequence") or None
    )
    return Answer(
        text_of(document, "id"), text_of(document, "model"), (choice,), parse_usage(document.get("usage"))
    )


def parse_finish(native: str | None, *, called: bool) -> Finish | None:
    """A ``stop_reason`` -> Finish; None if there is none yet. Unknown reasons are ordinary ends."""
    if native is None:
        return None
    finish = _FINISHES.get(native, Finish.STOP)
    return Finish.TOOL_CALLS if called and finish is Finish.STOP else finish


def parse_usage(value: Any) -> Usage | None:
    """A ``usage`` object -> Usage. None for one that counts nothing."""
    if not isinstance(value, Mapping):
        return None
    plain, output = parse_told(value.get("input_tokens")), parse_told(value.get("output_tokens"))
    if plain is None and output is None:
        return None
    read = parse_count(value.get("cache_read_input_tokens")) or 0
    written = parse_count(value.get("cache_creation_input_tokens")) or 0
    write_5m, write_1h = _split_writes(value.get("cache_creation"), written)
    details = value.get("output_tokens_details")
    return Usage(
        input_tokens=(plain or 0) + read + write_5m + write_1h,
        output_tokens=output or 0,
        cache_read_tokens=read,
        cache_write_tokens=write_5m,
        cache_write_1h_tokens=write_1h,
        reasoning_tokens=(parse_count(details.get("thinking_tokens")) or 0)
        if isinstance(details, Mapping)
        else 0,
        tier=_tier(value),
        web_searches=_searches(value.get("server_tool_use")),
    )


def _tier(usage: Mapping[str, Any]) -> str | None:
    """Speed has a price whatever the tier; ``standard`` is what everybody gets."""
    if usage.get("speed") == "fast":
        return "fast"
    tier = usage.get("service_tier")
    return tier if isinstance(tier, str) and tier in TIERS else None


def _searches(used: Any) -> int:
    return (parse_count(used.get("web_search_requests")) or 0) if isinstance(used, Mapping) else 0


def merge_usage(first: Mapping[str, Any], later: Any) -> dict[str, Any]:
    """The usage at a stream's start, with what came later written over it: totals, not additions."""
    given = later if isinstance(later, Mapping) else {}
    return {**first, **{name: value for name, value in given.items() if value is not None}}


def text_of(document: Mapping[str, Any], name: str) -> str:
    """A string field; empty where it is missing or something else."""
    value = document.get(name)
    return value if isinstance(value, str) else ""


def input_text(value: Any) -> str:
    """A block's ``input`` as JSON text; empty where there is none."""
    return jsontext.encode(value).decode() if value else ""


def _split_writes(details: Any, written: int) -> tuple[int, int]:
    """Tokens written to the cache, for five minutes and for an hour."""
    if not isinstance(details, Mapping):
        return written, 0
    hour = parse_count(details.get("ephemeral_1h_input_tokens")) or 0
    short = parse_count(details.get("ephemeral_5m_input_tokens")) or 0
    # What the parts leave unsaid was written for the usual five minutes.
    return max(short, written - hour), hour


def _parse_count(document: Mapping[str, Any]) -> TokenCount | Failure:
    count = parse_count(document.get("input_tokens"))
    return bad_answer("the answer counts no tokens") if count is None else TokenCount(count)


def _parse_block(block: dict[str, Any]) -> Iterator[Part]:
    kind = block.get("type")
    if kind == "text":
        citations = block.get("citations")
        cited = tuple(c for c in citations if isinstance(c, dict)) if isinstance(citations, list) else ()
        if text_of(block, "text") or cited:
            yield Text(text_of(block, "text"), citations=cited)
    elif kind == "thinking":
        yield Thinking(
            text_of(block, "thinking"), text_of(block, "signature") or None, origin=Dialect.ANTHROPIC_MESSAGES
        )
    elif kind == "redacted_thinking":
        yield Thinking(encrypted=text_of(block, "data"), origin=Dialect.ANTHROPIC_MESSAGES)
    elif kind == "tool_use":
        yield ToolCall(
            text_of(block, "id"), parse_name(text_of(block, "name")), input_text(block.get("input"))
        )
