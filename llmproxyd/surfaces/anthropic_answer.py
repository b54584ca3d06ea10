"""Canonical answers -> Anthropic's whole answers, and the words that streams share with them.

Thoughts of other dialects are shown under a seal of ours in place of a signature, so that they can be told from
Anthropic's own when a client hands them back. Citations of other forms, log probabilities, and the signatures that
Gemini puts on tool calls have no place here and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llmproxyd import jsontext
from llmproxyd.values.answer import Answer, Finish, TokenCount, Vectors
from llmproxyd.values.cost import Usage
from llmproxyd.values.replay import safe_tool_id, seal_thought
from llmproxyd.values.request import Dialect, Document, Part, Refusal, Request, Text, Thinking, ToolCall

EMPTY_TEXT: Mapping[str, Any] = {"type": "text", "text": ""}
"""A turn without any block makes agents wait for more."""

_FINISHES: Mapping[Finish, str] = {
    Finish.STOP: "end_turn",
    Finish.STOP_SEQUENCE: "stop_sequence",
    Finish.LENGTH: "max_tokens",
    Finish.TOOL_CALLS: "tool_use",
    Finish.CONTENT_FILTER: "refusal",
    Finish.REFUSAL: "refusal",
    Finish.PAUSE: "pause_turn",
}
_OWN_REASONS = frozenset({"model_context_window_exceeded", "compaction"})
_OWN_CITATIONS = frozenset(
    {
        "char_location", "page_location", "content_block_location", "web_search_result_location",
        "search_result_location",
    }
)  # fmt: skip


def format_answer(
    answer: Answer | Vectors | TokenCount,
    request: Request,
    *,
    model: str,
    id: str,  # noqa: A002 - as the dialect calls it
    created_s: int,
) -> bytes:
    """A whole message, or a count of tokens. ``id`` stands in where the provider gave none."""
    if isinstance(answer, TokenCount):
        return jsontext.encode({"input_tokens": answer.input_tokens})
    if not isinstance(answer, Answer):
        raise TypeError(f"a message is not answered with {type(answer).__name__}")
    choice = answer.choices[0] if answer.choices else None
    parts = choice.parts if choice is not None else ()
    content = list(_format_parts(parts, answer.id or id, asked_for_thought(request)))
    message = format_message(
        answer.id or message_id(id), model, content or [dict(EMPTY_TEXT)], answer.usage or Usage()
    )
    if choice is not None:
        message["stop_reason"] = format_finish(
            choice.finish,
            choice.native_finish,
            called=any(isinstance(part, ToolCall) for part in parts),
            refused=any(isinstance(part, Refusal) for part in parts),
        )
        message["stop_sequence"] = choice.stop_sequence
    return jsontext.encode(message)


def format_message(id: str, model: str, content: list[Any], usage: Usage) -> dict[str, Any]:  # noqa: A002
    """A message without its end, as a stream begins with it."""
    return {
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": format_usage(usage),
    }


def message_id(request_id: str) -> str:
    return f"msg_{request_id}"


def format_finish(finish: Finish | None, native: str | None, *, called: bool, refused: bool) -> str:
    """``called``: there are tool calls; agents look for this reason before they look for the calls."""
    if native in _OWN_REASONS:
        return native or ""
    if finish in (None, Finish.STOP) and called:
        return _FINISHES[Finish.TOOL_CALLS]
    if finish in (None, Finish.STOP) and refused:
        return _FINISHES[Finish.REFUSAL]
    return _FINISHES[finish or Finish.STOP]


def format_usage(usage: Usage) -> dict[str, Any]:
    """Here the input excludes what was read from and written to the cache."""
    written = usage.cache_write_tokens + usage.cache_write_1h_tokens
    fields: dict[str, Any] = {
        "input_tokens": max(0, usage.input_tokens - usage.cache_read_tokens - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_tokens,
            "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
        },
        "output_tokens": usage.output_tokens,
    }
    if usage.reasoning_tokens:
        fields["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return fields


def format_signature(thought: Thinking) -> str:
    """Anthropic's own signature as it is; for all other thoughts a seal."""
    if thought.origin is Dialect.ANTHROPIC_MESSAGES and thought.signature:
        return thought.signature
    return seal_thought(thought)


def is_redacted(thought: Thinking) -> bool:
    return thought.origin is Dialect.ANTHROPIC_MESSAGES and thought.encrypted is not None


def asked_for_thought(request: Request) -> bool:
    """Whether the client named thinking, and so looks for text behind a thought."""
    thinking = request.document.get("thinking")
    return isinstance(thinking, dict) and thinking.get("type") != "disabled"


def is_bare_seal(thought: Thinking) -> bool:
    """Nothing but another maker's seal. Who did not ask for thought takes the first block for the text, so it is not
    shown there: it has no words, and would break what the client expects without giving it anything."""
    sealed = thought.signature is not None or thought.encrypted is not None
    return sealed and not thought.text and thought.origin is not Dialect.ANTHROPIC_MESSAGES


def is_own_citation(citation: Document) -> bool:
    return citation.get("type") in _OWN_CITATIONS


def call_id(given: str | None, answer_id: str, index: int) -> str:
    """An id that may be handed back to any provider, Anthropic among them."""
    return safe_tool_id(given or f"{answer_id}.{index}")


def format_input(arguments: str) -> Any:
    """The input object of a tool call. What is no object is wrapped in one: clients parse this before they look."""
    try:
        value = jsontext.decode(arguments) if arguments.strip() else {}
    except jsontext.JSONError:
        return {"arguments": arguments}
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"arguments": value}


def _format_parts(parts: tuple[Part, ...], answer_id: str, thoughtful: bool) -> Iterator[dict[str, Any]]:
    calls = 0
    for part in parts:
        match part:
            case Text() if part.text:
                cited = [citation for citation in part.citations if is_own_citation(citation)]
                yield {"type": "text", "text": part.text, **({"citations": cited} if cited else {})}
            case Refusal() if part.text:
                yield {"type": "text", "text": part.text}
            case Thinking() if is_redacted(part):
                yield {"type": "redacted_thinking", "data": part.encrypted}
            case Thinking() if thoughtful or not is_bare_seal(part):
                yield {"type": "thinking", "thinking": part.text, "signature": format_signature(part)}
            case ToolCall():
                yield {
                    "type": "tool_use",
                    "id": call_id(part.id, answer_id, calls),
                    "name": part.name,
                    "input": format_input(part.arguments),
                }
                calls += 1
