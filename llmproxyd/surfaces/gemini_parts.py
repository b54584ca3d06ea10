"""Pieces of an answer as a Gemini client reads them: parts, candidates, usage, log probabilities.

Thoughts are shown only to clients that asked with ``includeThoughts``, as Google does; many others take the first part for
the answer. Signatures of what is shown go out always: they have to come back with the next turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from llmproxyd import jsontext
from llmproxyd.surfaces.gemini_chat import call_fields
from llmproxyd.surfaces.gemini_seals import format_signature
from llmproxyd.values.answer import Choice, Finish
from llmproxyd.values.cost import Usage
from llmproxyd.values.request import Dialect, Document, Part, Refusal, Request, Text, Thinking, ToolCall

_FINISHES: Mapping[Finish, str] = {
    Finish.STOP: "STOP",
    Finish.STOP_SEQUENCE: "STOP",
    Finish.TOOL_CALLS: "STOP",
    Finish.LENGTH: "MAX_TOKENS",
    Finish.PAUSE: "MAX_TOKENS",
    Finish.CONTENT_FILTER: "SAFETY",
    Finish.REFUSAL: "SAFETY",
}
# What Gemini itself said more finely, where it was Gemini.
_NATIVE: Mapping[Finish, frozenset[str]] = {
    Finish.LENGTH: frozenset({"MAX_TOKENS", "CONTINUATION"}),
    Finish.CONTENT_FILTER: frozenset(
        {
            "SAFETY", "RECITATION", "LANGUAGE", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT", "IMAGE_OTHER", "NO_IMAGE", "IMAGE_RECITATION", "ESCALATION", "MODEL_ARMOR",
        }
    ),
}  # fmt: skip
REFUSALS = frozenset({Finish.CONTENT_FILTER, Finish.REFUSAL})


def shows_thoughts(request: Request) -> bool:
    config = call_fields(request.document).object("generationConfig")
    thinking = config.object("thinkingConfig") if config is not None else None
    return thinking is not None and thinking.boolean("includeThoughts") is True


def format_finish(finish: Finish, native: str | None) -> str:
    return native if native is not None and native in _NATIVE.get(finish, ()) else _FINISHES[finish]


def format_usage(usage: Usage) -> dict[str, Any]:
    """``usageMetadata``: thoughts are counted beside the answer here, not within it. Zeros are left out."""
    counts = {
        "promptTokenCount": usage.input_tokens,
        "cachedContentTokenCount": usage.cache_read_tokens,
        "candidatesTokenCount": max(0, usage.output_tokens - usage.reasoning_tokens),
        "thoughtsTokenCount": usage.reasoning_tokens,
        "totalTokenCount": usage.input_tokens + usage.output_tokens,
    }
    told: dict[str, Any] = {name: count for name, count in counts.items() if count}
    for name, total, audio in (
        ("promptTokensDetails", usage.input_tokens, usage.input_audio_tokens),
        ("candidatesTokensDetails", usage.output_tokens - usage.reasoning_tokens, usage.output_audio_tokens),
    ):
        if audio:
            told[name] = [
                {"modality": "TEXT", "tokenCount": max(0, total - audio)},
                {"modality": "AUDIO", "tokenCount": audio},
            ]
    return told


def format_candidate(choice: Choice, index: int, *, thoughts: bool) -> dict[str, Any]:
    candidate: dict[str, Any] = {
        "content": {"role": "model", "parts": list(format_parts(choice.parts, thoughts=thoughts))},
        "index": index,
    }
    if choice.finish is not None:
        candidate["finishReason"] = format_finish(choice.finish, choice.native_finish)
    citations = [citation for part in choice.parts if isinstance(part, Text) for citation in part.citations]
    return candidate | format_citations(citations) | format_logprobs(choice.logprobs)


def format_parts(parts: Iterable[Part], *, thoughts: bool) -> Iterator[dict[str, Any]]:
    """The parts of a whole answer. A signature without text of its own goes to the text before it."""
    held: dict[str, Any] | None = None
    for part in parts:
        own = isinstance(part, Thinking) and not part.text and part.origin is Dialect.GEMINI_GENERATE
        if held is not None:
            if own and isinstance(part, Thinking) and part.signature is not None:
                held["thoughtSignature"] = part.signature
            yield held
            held = None
            if own:
                continue
        if isinstance(part, Text | Refusal):
            held = {"text": part.text} if part.text else None
        else:
            wire = _format_part(part, thoughts=thoughts)
            if wire is not None:
                yield wire
    if held is not None:
        yield held


def _format_part(part: Part, *, thoughts: bool) -> dict[str, Any] | None:
    match part:
        case Thinking():
            return format_thought(part, thoughts=thoughts)
        case ToolCall():
            return format_tool_call(part)
        case _:
            raise TypeError(f"an answer cannot hold {type(part).__name__}")


def format_thought(block: Thinking, *, thoughts: bool) -> dict[str, Any] | None:
    """None where there is nothing to show."""
    signature = format_signature(block)
    seal = {} if signature is None else {"thoughtSignature": signature}
    if block.text:
        # A hidden thought cannot come back, and its signature is worth nothing without it.
        return {"text": block.text, "thought": True, **seal} if thoughts else None
    if not seal:
        return None
    return (
        {"text": "", **seal}
        if block.origin is Dialect.GEMINI_GENERATE
        else {"text": "", "thought": True, **seal}
    )


def format_tool_call(call: ToolCall) -> dict[str, Any]:
    function = {"id": call.id, "name": call.name, "args": _arguments(call.arguments)}
    part: dict[str, Any] = {"functionCall": {name: value for name, value in function.items() if value != ""}}
    return part if call.signature is None else part | {"thoughtSignature": call.signature}


def _arguments(text: str) -> dict[str, Any]:
    """Gemini's clients expect an object. What a model wrote that is none is handed on inside one."""
    if not text.strip():
        return {}
    try:
        value = jsontext.decode(text)
    except jsontext.JSONError:
        return {"arguments": text}
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"arguments": value}


def format_citations(citations: Iterable[Document]) -> dict[str, Any]:
    """Sources that have an address, whatever dialect wrote them down."""
    sources = []
    for citation in citations:
        nested = citation.get("url_citation")
        inner = nested if isinstance(nested, Mapping) else citation
        address = inner.get("uri") or inner.get("url")
        if isinstance(address, str):
            names = ("title", "startIndex", "endIndex", "license")
            sources.append(
                {"uri": address} | {name: inner[name] for name in names if inner.get(name) is not None}
            )
    return {"citationMetadata": {"citationSources": sources}} if sources else {}


def format_logprobs(logprobs: Iterable[Document]) -> dict[str, Any]:
    """Log probabilities in their common form, ``{"content": [{"token", "logprob", "top_logprobs"}]}`` -> Google's."""
    entries = [
        entry for piece in logprobs for entry in piece.get("content") or () if isinstance(entry, Mapping)
    ]
    if not entries:
        return {}
    chosen = [_format_token(entry) for entry in entries]
    result: dict[str, Any] = {"chosenCandidates": chosen}
    if any(entry.get("top_logprobs") for entry in entries):
        result["topCandidates"] = [
            {"candidates": [_format_token(top) for top in entry.get("top_logprobs") or ()]}
            for entry in entries
        ]
    mean = sum(token["logProbability"] for token in chosen) / len(chosen)
    return {"logprobsResult": result, "avgLogprobs": mean}


def _format_token(entry: Document) -> dict[str, Any]:
    return {"token": entry.get("token", ""), "logProbability": entry.get("logprob", 0.0)}
