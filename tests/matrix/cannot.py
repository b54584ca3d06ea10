"""What a dialect has no words for, by the vendor's own reference. Every cell here is proved to warn by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MOST = 25


@dataclass(frozen=True, slots=True)
class Cannot:
    """``reason`` cites the vendor's reference; ``says`` is in the warning that comes with the answer."""

    reason: str
    says: str


_SEALING = (
    "openai_chat",
    "compatible",
    "azure",
    "azure_v1",
    "openai_responses",
    "azure_responses",
    "anthropic_messages",
)
_OLLAMA = (
    "Ollama's message has `thinking` as plain text, no seal and no maker beside it: "
    "https://github.com/ollama/ollama/blob/main/docs/api.md#generate-a-chat-completion"
)
_UNSEALED = "; Cohere's thoughts have no seal that could tell later that they are Cohere's: https://docs.cohere.com/reference/chat"

CANNOT: Mapping[tuple[str, str, str], Cannot] = {
    **{("ollama", adapter, "thought"): Cannot(_OLLAMA, "thinking: not carried") for adapter in _SEALING},
    ("ollama", "gemini_generate", "thought"): Cannot(_OLLAMA, "thoughts of another model: not carried"),
    ("ollama", "cohere_chat", "thought"): Cannot(_OLLAMA, "thinking: not carried"),
    ("openai_chat", "cohere_chat", "thought"): Cannot(
        "An assistant's message has no field for thoughts, those in use (`reasoning_content`) name no maker: "
        "https://platform.openai.com/docs/api-reference/chat/create" + _UNSEALED,
        "thinking: not carried",
    ),
    ("gemini", "cohere_chat", "thought"): Cannot(
        "A part has `thought` and `thoughtSignature`, but no maker: https://ai.google.dev/api/caching#Part"
        + _UNSEALED,
        "thinking: not carried",
    ),
    ("anthropic_messages", "gemini_generate", "thought"): Cannot(
        "Google signs the function call; a `tool_use` block has no field for a signature: "
        "https://platform.claude.com/docs/en/api/messages",
        "the signature of a function call: not carried",
    ),
}
"""By (surface, adapter, case)."""
