"""What the providers say to clients that name their tools themselves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.matrix.rig import Rig
from tests.matrix.scene import TOOL, Said, ToolUse
from tests.matrix.upstreams import UPSTREAMS
from tests.support.fake_provider import stream

CUT_BYTES = 11
"""Shorter than any frame: the daemon gets every stream in pieces that end anywhere."""

TOO_LONG = {
    "openai_responses": "Your input exceeds the context window of this model. Please adjust your input and try again.",
    "compatible": "This model's maximum context length is 128000 tokens. However, your messages resulted in 151234 tokens.",
    "anthropic_messages": "prompt is too long: 208310 tokens > 200000 maximum",
    "gemini_generate": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    "ollama_chat": "the input length exceeds the context length",
}
"""A provider -> how its vendor says that a conversation does not fit."""


@dataclass(frozen=True, slots=True)
class Use(ToolUse):
    """A call with any arguments."""

    given: str = "{}"

    @property
    def arguments(self) -> str:
        return self.given


def use(call_id: str, **arguments: Any) -> Use:
    return Use(call_id, "", json.dumps(arguments, ensure_ascii=False))


def say(rig: Rig, provider: str, said: Said, *, tool: str = TOOL) -> None:
    """From now on ``provider`` streams this; its calls are of ``tool``, by the name that the provider was told."""
    upstream = UPSTREAMS[provider]
    body = b"".join(upstream.write_stream(said)).replace(TOOL.encode(), tool.encode())
    pieces = [body[at : at + CUT_BYTES] for at in range(0, len(body), CUT_BYTES)]
    rig.behave(provider, stream(pieces, content_type=upstream.stream_type))


def break_off(rig: Rig, provider: str, text: tuple[str, str]) -> None:
    """From now on ``provider`` streams the first half of this, and closes the connection before the second."""
    upstream = UPSTREAMS[provider]
    frames = upstream.write_stream(Said(text))
    second = next(number for number, frame in enumerate(frames) if text[1].encode() in frame)
    rig.behave(provider, stream(frames, content_type=upstream.stream_type, cut_after=second))


def heard(rig: Rig, provider: str) -> Any:
    """The body that came last, after the vendor's own types had no objection to it."""
    document = rig.seen(provider)[-1].json
    UPSTREAMS[provider].check_request(_without_schemas(document) if provider == "ollama_chat" else document)
    return document


def _without_schemas(document: dict[str, Any]) -> dict[str, Any]:
    """Ollama's server skips what it does not know of JSON Schema; the types of its own client do not have it."""
    tools = [
        {**tool, "function": {**tool["function"], "parameters": {"type": "object"}}}
        for tool in document["tools"]
    ]
    return {**document, "tools": tools}


def name_model(provider: str) -> str:
    return f"{provider}/{UPSTREAMS[provider].model}"
