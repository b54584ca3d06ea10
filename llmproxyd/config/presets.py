"""Known providers, as data: what a provider's name alone says about it. A new one that speaks a known dialect is a row.

``endpoint`` "" means that only the operator can know it. ``path`` is added to an endpoint written without one.
``key_env`` and ``endpoint_env``: environment variables, the first that is set counts. ``keyless``: works without a key.
``listing`` asks what models there are, ``probe`` only whether somebody answers; both are free, None: nothing to ask.
``versioned``: ``api_version`` means something. ``operations``: what can be asked for at all.

No variable moves the endpoint of a provider in the cloud: those that exist (OPENAI_BASE_URL and its like) are set by
people who point their programs at a proxy such as this one, so that it would call itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from llmproxyd.values.request import Dialect, Operation
from llmproxyd.values.snapshot import Auth, Probe, Quirks

_TEXT: Final = frozenset({Operation.CHAT, Operation.COMPLETION})
_ALL: Final = _TEXT | {Operation.EMBEDDING}
_MODELS: Final = Probe("/models", lists_models=True)
_USUAL: Final = Quirks()


class Preset(msgspec.Struct, frozen=True):
    """One known kind of provider; see the module's text for the fields."""

    name: str
    endpoint: str = ""
    path: str = "/v1"
    dialect: Dialect = Dialect.OPENAI_CHAT
    auth: Auth = Auth.BEARER
    key_env: tuple[str, ...] = ()
    endpoint_env: tuple[str, ...] = ()
    keyless: bool = False
    probe: Probe | None = _MODELS
    listing: Probe | None = _MODELS
    quirks: Quirks = _USUAL
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    operations: frozenset[Operation] = _ALL
    versioned: bool = False
    aliases: tuple[str, ...] = ()


def _local(
    name: str, port: int, env: str, *, quirks: Quirks = _USUAL, operations: frozenset[Operation] = _ALL
) -> Preset:
    """A server in the OpenAI dialect that people run themselves. It needs no key, but takes one."""
    return Preset(
        name,
        endpoint=f"http://localhost:{port}",
        key_env=(f"{env}_API_KEY",),
        endpoint_env=(f"{env}_BASE_URL",),
        keyless=True,
        quirks=quirks,
        operations=operations,
    )


_OPENAI_QUIRKS: Final = Quirks(developer_role=True, max_completion_tokens=True, responses=True)

_ROWS: Final = (
    Preset(
        "openai",
        endpoint="https://api.openai.com",
        key_env=("OPENAI_API_KEY",),
        quirks=_OPENAI_QUIRKS,
    ),
    Preset(
        "anthropic",
        endpoint="https://api.anthropic.com",
        dialect=Dialect.ANTHROPIC_MESSAGES,
        auth=Auth.X_API_KEY,
        key_env=("ANTHROPIC_API_KEY",),
        probe=Probe("/models?limit=1"),
        listing=Probe("/models?limit=1000", lists_models=True),
        headers=MappingProxyType({"anthropic-version": "2023-06-01"}),
        operations=_TEXT | {Operation.COUNT_TOKENS},
        versioned=True,
    ),
    Preset(
        "gemini",
        endpoint="https://generativelanguage.googleapis.com",
        path="/v1beta",
        dialect=Dialect.GEMINI_GENERATE,
        auth=Auth.X_GOOG_API_KEY,
        key_env=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        probe=Probe("/models?pageSize=1"),
        listing=Probe("/models?pageSize=1000", lists_models=True),
        operations=frozenset({Operation.CHAT, Operation.EMBEDDING, Operation.COUNT_TOKENS}),
        aliases=("google",),
    ),
    Preset(
        # api_version `v1` (or none) uses the path below; a date uses Azure's older deployment paths. What /models lists
        # are the models that could be deployed, so there is nothing to discover.
        "azure",
        path="/openai/v1",
        auth=Auth.API_KEY,
        key_env=("AZURE_OPENAI_API_KEY",),
        endpoint_env=("AZURE_OPENAI_ENDPOINT",),
        probe=Probe("/models"),
        listing=None,
        quirks=_OPENAI_QUIRKS,
        versioned=True,
    ),
    Preset(
        # Chat and embeddings live under /v2, the list of models under /v1: the version belongs to the calls.
        "cohere",
        endpoint="https://api.cohere.com",
        path="",
        dialect=Dialect.COHERE_CHAT,
        key_env=("COHERE_API_KEY", "CO_API_KEY"),
        probe=Probe("/v1/models?page_size=1"),
        listing=Probe("/v1/models?page_size=1000", lists_models=True),
    ),
    Preset(
        "xai",
        endpoint="https://api.x.ai",
        key_env=("XAI_API_KEY", "GROK_API_KEY"),
        aliases=("grok",),
    ),
    Preset(
        # The list of models is public there, so only /key shows whether the key is good.
        "openrouter",
        endpoint="https://openrouter.ai",
        path="/api/v1",
        key_env=("OPENROUTER_API_KEY",),
        probe=Probe("/key"),
        quirks=_OPENAI_QUIRKS,
    ),
    Preset(
        # The native dialect, because only it can set the context size and keeps the server's own defaults.
        "ollama",
        endpoint="http://localhost:11434",
        path="",
        dialect=Dialect.OLLAMA_CHAT,
        key_env=("OLLAMA_API_KEY",),
        endpoint_env=("OLLAMA_BASE_URL",),
        keyless=True,
        probe=Probe("/api/tags", lists_models=True),
        listing=Probe("/api/tags", lists_models=True),
    ),
    _local("lmstudio", 1234, "LMSTUDIO"),
    _local("localai", 8080, "LOCALAI"),
    _local(
        # Its own default for max_tokens is 16, null content fails, streams carry neither usage nor [DONE].
        "lightllm",
        8000,
        "LIGHTLLM",
        quirks=Quirks(
            verbatim=False,
            stream_usage=False,
            done=False,
            null_content=False,
            default_max_tokens=4096,
            embeddings=False,
        ),
        operations=_TEXT,
    ),
    _local("vllm", 8000, "VLLM"),
    _local("llamacpp", 8080, "LLAMACPP"),
    _local(
        "tgi",
        8080,
        "TGI",
        quirks=Quirks(embeddings=False),
        operations=_TEXT,
    ),
    Preset("openai-compatible", keyless=True),
    Preset(
        "mock",
        endpoint="mock://local",
        path="",
        auth=Auth.NONE,
        keyless=True,
        probe=None,
        listing=None,
        quirks=Quirks(developer_role=True, max_completion_tokens=True),
    ),
)

PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {name: row for row in _ROWS for name in (row.name, *row.aliases)}
)
"""By every name a preset goes by: `google` and `gemini` are one."""
