"""What clients speak: one surface per path. The web server mounts this table."""

from __future__ import annotations

from collections.abc import Mapping

from llmproxyd.surfaces import openai_chat, openai_completions, openai_embeddings
from llmproxyd.values.contracts import Surface

SURFACES: Mapping[str, Surface] = {
    "/v1/chat/completions": openai_chat.SURFACE,
    "/v1/completions": openai_completions.SURFACE,
    "/v1/embeddings": openai_embeddings.SURFACE,
}
