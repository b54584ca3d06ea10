"""Canonical answers -> OpenAI's whole answers, and the words that streams share with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmproxyd import jsontext
from llmproxyd.surfaces.openai_thoughts import format_thoughts
from llmproxyd.values.answer import Answer, Choice, Finish, TokenCount, Vectors
from llmproxyd.values.cost import Usage
from llmproxyd.values.request import Document, Part, Refusal, Request, Text, Thinking, ToolCall

_FINISHES: Mapping[Finish, str] = {
    Finish.STOP: "stop",
    Finish.STOP_SEQUENCE: "stop",
    Finish.LENGTH: "length",
    Finish.TOOL_CALLS: "tool_calls",
    Finish.CONTENT_FILTER: "content_filter",
    Finish.REFUSAL: "content_filter",
    Finish.PAUSE: "length",  # unfinished, and to be continued, is the nearest this dialect has
}


def format_answer(
    answer: Answer | Vectors | TokenCount,
    request: Request,
    *,
    model: str,
    id: str,  # noqa: A002 - as the dialect calls it
    created_s: int,
) -> bytes:
    """A whole chat answer. ``id`` and ``created_s`` stand in where the provider gave none."""
    if not isinstance(answer, Answer):
        raise TypeError(f"a chat is not answered with {type(answer).__name__}")
    return jsontext.encode(
        {
            "id": answer.id or id,
            "object": "chat.completion",
            "created": created_s if answer.created_s is None else answer.created_s,
            "model": model,
            "choices": [_format_choice(choice, index) for index, choice in enumerate(answer.choices)],
        }
        | ({} if answer.usage is None else {"usage": format_usage(answer.usage)})
    )


def format_finish(finish: Finish | None, *, called: bool) -> str:
    """``called``: the choice holds tool calls; agents look for this reason before they look for the calls."""
    if called and finish in (None, Finish.STOP):
        return _FINISHES[Finish.TOOL_CALLS]
    return _FINISHES[finish or Finish.STOP]


def format_usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens + usage.cache_write_1h_tokens,
            "audio_tokens": usage.input_audio_tokens,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": usage.output_audio_tokens,
        },
    }


def format_tool_call(call: ToolCall) -> dict[str, Any]:
    wire: dict[str, Any] = {"id": call.id, "type": call.kind}
    if call.kind == "custom":
        wire["custom"] = {"name": call.name, "input": call.arguments}
    else:
        wire["function"] = {"name": call.name, "arguments": call.arguments}
    if call.signature is not None:
        wire["extra_content"] = format_signature(call.signature)
    return wire


def format_signature(signature: str) -> dict[str, Any]:
    """Gemini's thought signature: the client's next request must bring it back."""
    return {"google": {"thought_signature": signature}}


def _format_choice(choice: Choice, index: int) -> dict[str, Any]:
    called = any(isinstance(part, ToolCall) for part in choice.parts)
    return {
        "index": index,
        "message": _format_message(choice.parts),
        "logprobs": _join_logprobs(choice.logprobs),
        "finish_reason": format_finish(choice.finish, called=called),
    }


def _format_message(parts: tuple[Part, ...]) -> dict[str, Any]:
    texts = [part.text for part in parts if isinstance(part, Text)]
    refusals = [part.text for part in parts if isinstance(part, Refusal)]
    calls = [format_tool_call(part) for part in parts if isinstance(part, ToolCall)]
    citations = [citation for part in parts if isinstance(part, Text) for citation in part.citations]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(texts) if texts or not (refusals or calls) else None,
        "refusal": "".join(refusals) if refusals else None,
    }
    message |= format_thoughts(part for part in parts if isinstance(part, Thinking))
    own = [citation for citation in citations if is_own_citation(citation)]
    if own:
        message["annotations"] = own
    if calls:
        # An empty list would make some agents loop.
        message["tool_calls"] = calls
    return message


def is_own_citation(citation: Document) -> bool:
    """Whether a citation has this dialect's form; others mean nothing to its clients and are left out."""
    return citation.get("type") == "url_citation" and isinstance(citation.get("url_citation"), dict)


def _join_logprobs(pieces: tuple[Document, ...]) -> dict[str, Any] | None:
    """A stream gives them token by token; a whole answer has them in one list."""
    if not pieces:
        return None
    return {
        name: [item for piece in pieces for item in piece.get(name) or ()] or None
        for name in ("content", "refusal")
    }
