"""The clients of the matrix, each a vendor's own SDK."""

from __future__ import annotations

from collections.abc import Mapping

from tests.matrix.clients.anthropic_messages import MessagesClient
from tests.matrix.clients.base import Client
from tests.matrix.clients.gemini import GeminiClient
from tests.matrix.clients.ollama import OllamaClient
from tests.matrix.clients.openai_chat import ChatClient
from tests.matrix.clients.openai_responses import ResponsesClient

CLIENTS: Mapping[str, type[Client]] = {
    "openai_chat": ChatClient,
    "openai_responses": ResponsesClient,
    "anthropic_messages": MessagesClient,
    "gemini": GeminiClient,
    "ollama": OllamaClient,
}
