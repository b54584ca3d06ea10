"""What clients speak: one surface per path. The web server mounts this table.

Gemini's paths hold the model, so they are no rows here: the server asks ``gemini_generate.find_surface`` instead.
"""

from __future__ import annotations

from collections.abc import Mapping

from llmproxyd.surfaces import (
    anthropic_messages,
    gemini_generate,
    ollama_chat,
    ollama_embed,
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_responses,
)
from llmproxyd.values.contracts import Surface

SURFACES: Mapping[str, Surface] = {
    "/v1/chat/completions": openai_chat.SURFACE,
    "/v1/completions": openai_completions.SURFACE,
    "/v1/embeddings": openai_embeddings.SURFACE,
    "/v1/responses": openai_responses.SURFACE,
    "/v1/responses/input_tokens": openai_responses.COUNT_SURFACE,
    **anthropic_messages.PATHS,
    "/api/chat": ollama_chat.CHAT,
    "/api/generate": ollama_chat.GENERATE,
    "/api/embed": ollama_embed.EMBED,
    "/api/embeddings": ollama_embed.EMBEDDINGS,
}

SURFACE_NAMES: frozenset[str] = frozenset(
    surface.name
    for surface in (
        *SURFACES.values(),
        gemini_generate.GENERATE,
        gemini_generate.COUNT,
        gemini_generate.EMBED,
    )
)
"""Every name that a rule may ask for."""
