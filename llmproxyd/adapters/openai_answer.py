"""Answers in OpenAI's dialect -> canonical ones: chat, legacy completions and embeddings, whole.

The stream's decoder shares the readers of choices, reasons and thoughts.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from llmproxyd import jsontext
from llmproxyd.adapters.failures import bad_answer, failure_of_error
from llmproxyd.adapters.openai_usage import find_usage, parse_usage
from llmproxyd.adapters.think_tags import ThinkTags
from llmproxyd.adapters.tool_deltas import arguments_text, find_signature, invent_tool_id
from llmproxyd.values.answer import Answer, Choice, Finish, Vectors
from llmproxyd.values.failure import Failure
from llmproxyd.values.request import Dialect, Operation, Part, Refusal, Request, Text, Thinking, ToolCall

_FINISHES: Mapping[str, Finish] = {
    "stop": Finish.STOP,
    "length": Finish.LENGTH,
    "tool_calls": Finish.TOOL_CALLS,
    "function_call": Finish.TOOL_CALLS,
    "content_filter": Finish.CONTENT_FILTER,
}

_ORIGINS: Mapping[str, Dialect] = {
    "anthropic-claude-v1": Dialect.ANTHROPIC_MESSAGES,
    "openai-responses-v1": Dialect.OPENAI_RESPONSES,
    "google-gemini-v1": Dialect.GEMINI_GENERATE,
}

_MAX_FLOAT = 3.4028234663852886e38


def parse_answer(request: Request, body: bytes) -> Answer | Vectors | Failure:
    """A whole 2xx body -> Answer, Vectors for embeddings, or the Failure it turns out to be."""
    try:
        document = jsontext.decode(body)
    except jsontext.JSONError as error:
        return bad_answer(f"the answer is not JSON: {error}")
    if not isinstance(document, dict):
        return bad_answer("the answer is not a JSON object")
    if document.get("error"):
        return failure_of_error(document["error"])
    try:
        if request.operation is Operation.EMBEDDING:
            return _parse_vectors(document)
        return _parse_choices(document)
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error, struct.error) as error:
        return bad_answer(f"the answer does not have the expected form: {type(error).__name__}", error)


def parse_finish(native: Any, *, called: bool) -> Finish | None:
    """A ``finish_reason`` -> Finish; None if there is none yet. Unknown reasons are ordinary ends.

    ``called``: the choice holds tool calls, whatever the server says of it.
    """
    if not isinstance(native, str) or not native:
        return None
    finish = _FINISHES.get(native, Finish.STOP)
    return Finish.TOOL_CALLS if called and finish is Finish.STOP else finish


def parse_details(details: Any) -> Iterator[Thinking]:
    """``reasoning_details`` -> blocks of thought, in order."""
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, dict):
            continue
        kind = detail.get("type")
        origin = _ORIGINS.get(str(detail.get("format")), Dialect.OPENAI_CHAT)
        item_id = _text(detail, "id") or None
        if kind == "reasoning.encrypted":
            yield Thinking(encrypted=_text(detail, "data"), origin=origin, item_id=item_id)
        elif kind in ("reasoning.text", "reasoning.summary"):
            text = _text(detail, "text" if kind == "reasoning.text" else "summary")
            yield Thinking(text, _text(detail, "signature") or None, origin=origin, item_id=item_id)


def thought_of(message: Mapping[str, Any]) -> str:
    """The plain text of thought; servers disagree on its name, and some send it under both."""
    return _text(message, "reasoning_content") or _text(message, "reasoning")


def created_of(document: Mapping[str, Any]) -> int | None:
    created = document.get("created")
    return int(created) if isinstance(created, (int, float)) and 0 < created < 2**53 else None


def text_of(document: Mapping[str, Any], name: str) -> str:
    """A string field; empty where it is missing or something else."""
    return _text(document, name)


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""


def _parse_choices(document: dict[str, Any]) -> Answer | Failure:
    choices = document.get("choices")
    if not isinstance(choices, list) or not choices:
        return bad_answer("the answer has no choices")
    if any(choice.get("finish_reason") == "error" for choice in choices):
        return bad_answer("the answer ended with finish_reason error")
    ordered = sorted(enumerate(choices), key=lambda pair: _position(pair[1], pair[0]))
    answer_id = _text(document, "id")
    return Answer(
        id=answer_id,
        model=_text(document, "model"),
        choices=tuple(_parse_choice(choice, f"{answer_id}.{place}") for place, choice in ordered),
        usage=find_usage(document),
        created_s=created_of(document),
    )


def _position(choice: Mapping[str, Any], place: int) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) else place


def _parse_choice(choice: dict[str, Any], seed: str) -> Choice:
    message = choice.get("message")
    parts = tuple(_message_parts(message, seed) if isinstance(message, dict) else _completion_parts(choice))
    native = choice.get("finish_reason")
    logprobs = choice.get("logprobs")
    return Choice(
        parts=parts,
        finish=parse_finish(native, called=any(isinstance(part, ToolCall) for part in parts)),
        native_finish=_text(choice, "native_finish_reason") or _text(choice, "finish_reason") or None,
        logprobs=(logprobs,) if isinstance(logprobs, dict) else (),
    )


def _completion_parts(choice: dict[str, Any]) -> Iterator[Part]:
    if not isinstance(choice["text"], str):
        raise TypeError("a choice has neither message nor text")
    if choice["text"]:
        yield Text(choice["text"])


def _message_parts(message: dict[str, Any], seed: str) -> Iterator[Part]:
    details = list(parse_details(message.get("reasoning_details")))
    thought = thought_of(message)
    if details:
        yield from details
    elif thought:
        yield Thinking(thought, origin=Dialect.OPENAI_CHAT)
    yield from _content_parts(message, tagged=not details and not thought)
    if _text(message, "refusal"):
        yield Refusal(_text(message, "refusal"))
    yield from _tool_calls(message, seed)


def _content_parts(message: dict[str, Any], *, tagged: bool) -> Iterator[Part]:
    text = _joined(message.get("content"))
    if tagged:
        tags = ThinkTags()
        thought, text = (first + last for first, last in zip(tags.feed(text), tags.close(), strict=True))
        if thought:
            yield Thinking(thought, origin=Dialect.OPENAI_CHAT)
    citations = message.get("annotations")
    cited = tuple(c for c in citations if isinstance(c, dict)) if isinstance(citations, list) else ()
    if text or cited:
        yield Text(text, citations=cited)


def _joined(content: Any) -> str:
    """Content is a string; a few servers answer with parts."""
    if isinstance(content, list):
        return "".join(_text(part, "text") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _tool_calls(message: dict[str, Any], seed: str) -> Iterator[ToolCall]:
    calls = message.get("tool_calls")
    legacy = message.get("function_call")
    entries = calls if isinstance(calls, list) else []
    if not entries and isinstance(legacy, dict):
        entries = [{"function": legacy}]
    for index, entry in enumerate(entries):
        kind = "custom" if isinstance(entry.get("custom"), dict) else "function"
        inner = entry[kind]
        given = _text(entry, "id")
        yield ToolCall(
            # A bare number is a position, and would repeat itself in the next answer of the conversation.
            id=given if given and not given.isdigit() else invent_tool_id(seed, str(index)),
            name=_text(inner, "name"),
            arguments=arguments_text(inner.get("input" if kind == "custom" else "arguments")),
            kind=kind,
            signature=find_signature(entry),
        )


def _parse_vectors(document: dict[str, Any]) -> Vectors | Failure:
    data = document.get("data")
    if not isinstance(data, list) or not data:
        return bad_answer("the answer has no embeddings")
    ordered = sorted(enumerate(data), key=lambda pair: _position(pair[1], pair[0]))
    return Vectors(
        model=_text(document, "model"),
        vectors=tuple(parse_vector(entry["embedding"]) for _, entry in ordered),
        usage=parse_usage(document.get("usage")),
    )


def parse_vector(embedding: Any) -> tuple[float, ...]:
    """A list of numbers, or base64 of little-endian 32-bit floats. Raises ValueError or its like."""
    if isinstance(embedding, str):
        raw = base64.b64decode(embedding, validate=True)
        vector = struct.unpack(f"<{len(raw) // 4}f", raw)
    else:
        vector = tuple(float(number) for number in embedding)
    if not all(-_MAX_FLOAT <= number <= _MAX_FLOAT for number in vector):
        raise ValueError("a number of a vector does not fit into 32 bits")
    return vector
