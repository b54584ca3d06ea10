"""What providers speak: one adapter per dialect."""

from __future__ import annotations

from collections.abc import Mapping

from llmproxyd.adapters import (
    anthropic_messages,
    cohere_chat,
    gemini_generate,
    ollama_chat,
    openai_chat,
    openai_responses,
)
from llmproxyd.values.contracts import Adapter
from llmproxyd.values.request import Dialect

ADAPTERS: Mapping[Dialect, Adapter] = {
    adapter.dialect: adapter
    for adapter in (
        openai_chat.ADAPTER,
        openai_responses.ADAPTER,
        anthropic_messages.ADAPTER,
        gemini_generate.ADAPTER,
        cohere_chat.ADAPTER,
        ollama_chat.ADAPTER,
    )
}
