"""What providers speak: one adapter per dialect."""

from __future__ import annotations

from collections.abc import Mapping

from llmproxyd.adapters import ollama_chat, openai_chat
from llmproxyd.values.contracts import Adapter
from llmproxyd.values.request import Dialect

ADAPTERS: Mapping[Dialect, Adapter] = {
    adapter.dialect: adapter for adapter in (openai_chat.ADAPTER, ollama_chat.ADAPTER)
}
