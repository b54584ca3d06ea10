"""The providers of the matrix, each speaking as its vendor does."""

from __future__ import annotations

from collections.abc import Mapping

from tests.matrix.upstreams.anthropic_messages import ANTHROPIC
from tests.matrix.upstreams.base import Upstream
from tests.matrix.upstreams.cohere_chat import COHERE
from tests.matrix.upstreams.gemini_generate import GEMINI
from tests.matrix.upstreams.ollama_chat import OLLAMA
from tests.matrix.upstreams.openai_chat import AZURE, AZURE_V1, COMPATIBLE, OPENAI
from tests.matrix.upstreams.openai_responses import AZURE_RESPONSES, RESPONSES

UPSTREAMS: Mapping[str, Upstream] = {
    upstream.name: upstream
    for upstream in (
        OPENAI, COMPATIBLE, AZURE, AZURE_V1, RESPONSES, AZURE_RESPONSES, ANTHROPIC, GEMINI, COHERE, OLLAMA
    )
}  # fmt: skip
