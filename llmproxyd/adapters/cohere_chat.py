"""What Cohere speaks: /v2/chat and /v2/embed, the list of models under /v1.

No surface shares this dialect, so every call is formatted from canonical content. Cohere names neither model nor time in
its answers: whoever asked knows both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmproxyd import jsontext
from llmproxyd.adapters.calls import format_get, format_post
from llmproxyd.adapters.cohere_answer import parse_answer
from llmproxyd.adapters.cohere_failure import parse_failure
from llmproxyd.adapters.cohere_format import format_chat, format_embed
from llmproxyd.adapters.cohere_stream import new_decoder
from llmproxyd.adapters.openai_answer import text_of
from llmproxyd.values.contracts import Adapter, Call, Listed
from llmproxyd.values.request import Content, Dialect, Embed, Operation, Overrides, Request
from llmproxyd.values.snapshot import Deployment, Provider

MAX_LISTED = 5000

_CAPABILITIES: Mapping[str, str] = {
    "tools": "tools",
    "strict_tools": "tools",
    "vision": "vision",
    "reasoning": "thinking",
    "json_schema": "json_schema",
}
_SERVED = frozenset({"chat", "embed"})


def format_call(request: Request, content: Content, deployment: Deployment, overrides: Overrides) -> Call:
    """Canonical content -> Call. Raises BadRequest naming the field that the dialect cannot carry."""
    provider = deployment.provider
    if isinstance(content, Embed):
        path, (body, warnings) = "/v2/embed", format_embed(content, deployment)
    else:
        path, (body, warnings) = "/v2/chat", format_chat(request, content, deployment, overrides)
    url = provider.base_url + path
    return format_post(provider, url, jsontext.encode(body), stream=request.stream, warnings=warnings)


def format_probe(provider: Provider) -> Call:
    """A free GET: the provider's own probe, else the first of its models."""
    path = provider.probe.path if provider.probe is not None else "/v1/models?page_size=1"
    return format_get(provider, provider.base_url + path)


def parse_models(body: bytes) -> tuple[Listed, ...]:
    """``{"models": [{"name", "endpoints", "context_length", "features"}]}`` -> models that chat or embed, in the server's
    order. Raises ValueError if it is no such list."""
    document = jsontext.decode(body)
    models = document.get("models") if isinstance(document, dict) else None
    if not isinstance(models, list):
        raise ValueError("the server's list of models has no `models`")
    entries = [entry for entry in models[:MAX_LISTED] if isinstance(entry, dict) and text_of(entry, "name")]
    return tuple(_parse_model(entry) for entry in entries if _is_served(entry))


def _is_served(entry: Mapping[str, Any]) -> bool:
    """What does neither (rerank, classify) is no model of ours; what does not say may be."""
    endpoints = entry.get("endpoints")
    if entry.get("is_deprecated") is True:
        return False
    return (
        not isinstance(endpoints, list)
        or not endpoints
        or any(isinstance(name, str) and name in _SERVED for name in endpoints)
    )


def _parse_model(entry: Mapping[str, Any]) -> Listed:
    endpoints, features = entry.get("endpoints"), entry.get("features")
    named = endpoints if isinstance(endpoints, list) else []
    known = [str(feature) for feature in features] if isinstance(features, list) else None
    return Listed(
        id=text_of(entry, "name"),
        context_window=_window(entry.get("context_length")),
        capabilities=None
        if known is None
        else frozenset(_CAPABILITIES[feature] for feature in known if feature in _CAPABILITIES),
        embeds="embed" in named and "chat" not in named,
    )


def _window(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value < 2**53:
        return None
    return int(value)


ADAPTER = Adapter(
    dialect=Dialect.COHERE_CHAT,
    operations=frozenset({Operation.CHAT, Operation.COMPLETION, Operation.EMBEDDING}),
    format_call=format_call,
    parse_answer=parse_answer,
    new_decoder=new_decoder,
    parse_failure=parse_failure,
    format_probe=format_probe,
    parse_models=parse_models,
)
