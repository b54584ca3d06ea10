"""Answers in Cohere's dialect -> canonical ones: chat and embeddings, whole.

The stream's decoder shares the readers. What a model says before it calls tools, its ``tool_plan``, is text. Tokens are
reported as used; those that are billed are fewer, since Cohere's own preamble is free, and are kept beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from llmproxyd import jsontext
from llmproxyd.adapters.cohere_failure import broken_generation, failure_of_text
from llmproxyd.adapters.cohere_tools import parse_name
from llmproxyd.adapters.counts import parse_count, parse_told
from llmproxyd.adapters.failures import bad_answer
from llmproxyd.adapters.openai_answer import parse_vector, text_of
from llmproxyd.adapters.tool_deltas import ToolDeltas
from llmproxyd.values.answer import (
    Answer,
    CitationDelta,
    Event,
    Failed,
    Finish,
    Finished,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageReported,
    Vectors,
    fold,
)
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure
from llmproxyd.values.request import Dialect, Document, Operation, Request

_FINISHES: Mapping[str, Finish] = {
    "COMPLETE": Finish.STOP,
    "STOP_SEQUENCE": Finish.STOP_SEQUENCE,
    "MAX_TOKENS": Finish.LENGTH,
    "TOOL_CALL": Finish.TOOL_CALLS,
}
_BROKEN = frozenset({"ERROR", "TIMEOUT"})
_LARGEST = 2**53


def parse_answer(request: Request, body: bytes) -> Answer | Vectors | Failure:
    """A whole 2xx body -> Answer, Vectors for embeddings, or the Failure it turns out to be."""
    try:
        document = jsontext.decode(body)
    except jsontext.JSONError as error:
        return bad_answer(f"the answer is not JSON: {error}")
    if not isinstance(document, dict):
        return bad_answer("the answer is not a JSON object")
    if request.operation is Operation.EMBEDDING:
        return _parse_vectors(document)
    message = document.get("message")
    if not isinstance(message, dict):
        # An error under a good status has a text where an answer has a message.
        return (
            failure_of_text(message) if isinstance(message, str) else bad_answer("the answer has no message")
        )
    return fold(_whole_events(document, message))


def parse_end(native: Any, *, called: bool, error: Any = None) -> Finished | Failed:
    """``finish_reason`` -> the end of the answer. Unknown reasons are ordinary ends; errors never are.

    called: the answer holds tool calls. error: what the stream's last frame says went wrong.
    """
    reason = native if isinstance(native, str) and native else None
    if isinstance(error, str) and error:
        return Failed(failure_of_text(error))
    if reason in _BROKEN:
        return Failed(broken_generation(str(reason)))
    finish = _FINISHES.get(reason or "COMPLETE", Finish.STOP)
    if called and finish is Finish.STOP:
        finish = Finish.TOOL_CALLS
    return Finished(finish, native=reason)


def parse_usage(usage: Any) -> Usage | None:
    """``{"tokens", "billed_units", "cached_tokens"}``, all optional, all numbers floats; None where nothing is counted."""
    if not isinstance(usage, dict):
        return None
    tokens, units = _pair(usage.get("tokens")), _pair(usage.get("billed_units"))
    used = tokens or units
    if used is None:
        return None
    cached = parse_count(usage.get("cached_tokens")) or 0
    return Usage(used[0], used[1], cache_read_tokens=min(cached, used[0]), billed=units)


def parse_logprobs(item: Any) -> Document | None:
    """One ``{"text", "token_ids", "logprobs"}`` in the form that other dialects share; a text's share is its tokens' sum."""
    numbers = item.get("logprobs") if isinstance(item, dict) else None
    if not isinstance(numbers, list) or not numbers or not all(map(_is_number, numbers)):
        return None
    token = {
        "token": text_of(item, "text"),
        "logprob": float(sum(numbers)),
        "bytes": None,
        "top_logprobs": [],
    }
    return {"content": [token]}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) <= _LARGEST


def rename_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A tool call with the tool's name as the client knows it."""
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        return dict(call)
    return {**call, "function": {**function, "name": parse_name(function["name"])}}


def _whole_events(document: dict[str, Any], message: dict[str, Any]) -> Iterator[Event]:
    answer_id = text_of(document, "id")
    yield Started(answer_id)
    yield from _content_events(_dicts(message.get("content")))
    for item in _dicts(document.get("logprobs")):
        logprobs = parse_logprobs(item)
        if logprobs is not None:
            yield TextDelta("", logprobs=logprobs)
    for citation in _dicts(message.get("citations")):
        yield CitationDelta(citation, origin=Dialect.COHERE_CHAT)
    if text_of(message, "tool_plan"):
        yield TextDelta(text_of(message, "tool_plan"))
    calls = list(_call_events(_dicts(message.get("tool_calls")), answer_id))
    yield from calls
    yield parse_end(document.get("finish_reason"), called=bool(calls))
    usage = parse_usage(document.get("usage"))
    if usage is not None:
        yield UsageReported(usage)


def _content_events(items: Iterable[dict[str, Any]]) -> Iterator[Event]:
    for item in items:
        if text_of(item, "thinking"):
            yield ThinkingDelta(text_of(item, "thinking"), origin=Dialect.COHERE_CHAT, new_block=True)
        if text_of(item, "text"):
            yield TextDelta(text_of(item, "text"))


def _call_events(calls: Iterable[dict[str, Any]], answer_id: str) -> Iterator[ToolCallDelta]:
    tools = ToolDeltas(0, answer_id)
    for index, call in enumerate(calls):
        yield from tools.feed({**rename_call(call), "index": index})
    yield from tools.close()


def _parse_vectors(document: dict[str, Any]) -> Vectors | Failure:
    embeddings = document.get("embeddings")
    rows = embeddings.get("float") if isinstance(embeddings, dict) else embeddings
    if not isinstance(rows, list) or not rows:
        return bad_answer("the answer has no embeddings")
    try:
        vectors = tuple(parse_vector(row) for row in rows)
    except (TypeError, ValueError) as error:
        return bad_answer(f"an embedding cannot be read: {type(error).__name__}", error)
    return Vectors("", vectors, parse_usage(document.get("meta")))


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _pair(counts: Any) -> tuple[int, int] | None:
    if not isinstance(counts, dict):
        return None
    read, written = parse_told(counts.get("input_tokens")), parse_told(counts.get("output_tokens"))
    return None if read is None and written is None else (read or 0, written or 0)
