"""What providers speak in OpenAI's dialect: OpenAI, Azure, and the dozens that copied it.

Owns the addresses, the two ways to make a call (from canonical content, or from the client's own bytes) and the list
of models. Where servers differ, ``Provider.quirks`` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmproxyd import jsontext
from llmproxyd.adapters.calls import format_get, format_post, quote_segment
from llmproxyd.adapters.failures import parse_failure
from llmproxyd.adapters.openai_answer import parse_answer, text_of
from llmproxyd.adapters.openai_format import (
    format_chat,
    format_completion,
    format_embedding,
    limit_name,
)
from llmproxyd.adapters.openai_relay import inspect_answer, new_relay
from llmproxyd.adapters.openai_stream import new_decoder
from llmproxyd.values.contracts import Adapter, BadRequest, Call, Listed
from llmproxyd.values.request import (
    Content,
    Dialect,
    Embed,
    Operation,
    Overrides,
    Request,
)
from llmproxyd.values.snapshot import Deployment, Provider, Quirks

MAX_LISTED = 5000
"""More models than this no server has; OpenRouter lists some hundreds."""

_PATHS: Mapping[Operation, str] = {
    Operation.CHAT: "/chat/completions",
    Operation.COMPLETION: "/completions",
    Operation.EMBEDDING: "/embeddings",
}
_WINDOW_FIELDS = ("max_model_len", "context_length", "max_context_length", "context_window")
_EMBEDDING_TYPES = frozenset({"embedding", "embeddings"})


def format_call(request: Request, content: Content, deployment: Deployment, overrides: Overrides) -> Call:
    """Canonical content -> Call. Raises BadRequest naming the field that the dialect cannot carry."""
    provider = deployment.provider
    operation = _served_as(request, provider.quirks)
    if operation not in _PATHS:
        raise BadRequest("The chosen model's provider does not count tokens.", param="model")
    if isinstance(content, Embed):
        body, warnings = format_embedding(content, deployment)
    else:
        format_body = format_completion if operation is Operation.COMPLETION else format_chat
        body, warnings = format_body(request, content, deployment, overrides)
    return format_post(
        provider, _url(deployment, operation), jsontext.encode(body), stream=request.stream, warnings=warnings
    )


def splice_call(request: Request, deployment: Deployment, overrides: Overrides) -> Call:
    """The client's own body with only what must differ put in; every other field keeps its bytes.

    Raises BadRequest for a legacy completion where the server has no such path: see ``passes_verbatim``.
    """
    quirks = deployment.provider.quirks
    if _served_as(request, quirks) is not request.operation:
        raise BadRequest("The provider has no legacy completions.")
    fields: dict[str, Any] = {"model": deployment.upstream}
    if request.operation is not Operation.EMBEDDING:
        fields |= _stream_options(request, quirks)
        fields |= _limit(request, overrides, quirks)
        fields |= _overridden(request, overrides)
    if request.operation is Operation.CHAT:
        fields |= _repaired_messages(request, quirks)
    spliced = {name: None if value is None else jsontext.encode(value) for name, value in fields.items()}
    body = jsontext.splice(request.body, spliced)
    return format_post(deployment.provider, _url(deployment, request.operation), body, stream=request.stream)


def passes_verbatim(request: Request, provider: Provider) -> bool:
    """Whether the client's own bytes may go to this provider: same dialect, and the same path exists there."""
    return (
        request.dialect is Dialect.OPENAI_CHAT
        and provider.dialect is Dialect.OPENAI_CHAT
        and provider.quirks.verbatim
        and _served_as(request, provider.quirks) is request.operation
    )


def format_probe(provider: Provider) -> Call:
    """A free GET: the provider's own probe, else the list of models."""
    path = provider.probe.path if provider.probe is not None else "/models"
    return format_get(provider, f"{provider.base_url}{path}" + _version_query(provider, path))


def parse_models(body: bytes) -> tuple[Listed, ...]:
    """``{"data": [{"id", …}]}`` -> models, in the server's order. Raises ValueError if it is no such list."""
    document = jsontext.decode(body)
    data = document.get("data") if isinstance(document, dict) else document
    if not isinstance(data, list):
        raise ValueError("the server's list of models has no `data`")
    entries = [entry for entry in data[:MAX_LISTED] if isinstance(entry, dict) and text_of(entry, "id")]
    return tuple(_parse_model(entry) for entry in entries)


def _parse_model(entry: dict[str, Any]) -> Listed:
    windows = (entry.get(name) for name in _WINDOW_FIELDS)
    window = next((n for n in windows if isinstance(n, int) and not isinstance(n, bool) and n > 0), None)
    model_id = text_of(entry, "id")
    # Few servers say what a model is for; the rest are told by the name everybody gives to such models.
    embeds = text_of(entry, "type") in _EMBEDDING_TYPES or "embed" in model_id.lower()
    return Listed(model_id, context_window=window, embeds=embeds)


def _served_as(request: Request, quirks: Quirks) -> Operation:
    """A server without legacy completions answers them as a chat of one message."""
    if request.operation is Operation.COMPLETION and not quirks.completions:
        return Operation.CHAT
    return request.operation


def _url(deployment: Deployment, operation: Operation) -> str:
    provider, path = deployment.provider, _PATHS[operation]
    if not _by_deployment(provider):
        return provider.base_url + path
    segment = quote_segment(deployment.upstream)
    return f"{provider.base_url}/openai/deployments/{segment}{path}" + _version_query(provider, path)


def _by_deployment(provider: Provider) -> bool:
    """Azure's classic paths, known by a dated version; under ``v1`` Azure is like all others."""
    return provider.api_version is not None and provider.api_version[:1].isdigit()


def _version_query(provider: Provider, path: str) -> str:
    if not _by_deployment(provider) or "api-version=" in path:
        return ""
    return f"{'&' if '?' in path else '?'}api-version={quote_segment(provider.api_version or '')}"


def _stream_options(request: Request, quirks: Quirks) -> dict[str, Any]:
    given = request.document.get("stream_options")
    if not request.stream:
        return {}
    if not quirks.stream_usage:
        return {} if given is None else {"stream_options": None}
    if isinstance(given, dict) and given.get("include_usage") is True:
        return {}
    return {"stream_options": {**(given or {}), "include_usage": True}}


def _limit(request: Request, overrides: Overrides, quirks: Quirks) -> dict[str, Any]:
    """The limit under the name that the server knows, and under no other."""
    legacy = request.operation is Operation.COMPLETION
    name = "max_tokens" if legacy else limit_name(quirks)
    wanted = overrides.max_tokens or request.max_output_tokens or quirks.default_max_tokens
    present = [n for n in ("max_tokens", "max_completion_tokens") if request.document.get(n) is not None]
    if wanted is None or (present == [name] and overrides.max_tokens is None):
        return {}
    return {other: None for other in present if other != name} | {name: wanted}


def _overridden(request: Request, overrides: Overrides) -> dict[str, Any]:
    wanted: dict[str, Any] = {
        "temperature": overrides.temperature,
        "top_p": overrides.top_p,
        "seed": overrides.seed,
    }
    if request.operation is Operation.CHAT:
        wanted["reasoning_effort"] = overrides.effort
    return {name: value for name, value in wanted.items() if value is not None}


def _repaired_messages(request: Request, quirks: Quirks) -> dict[str, Any]:
    """Messages whose role or empty content the server would refuse; nothing where all is well."""
    messages = request.document["messages"]
    if not any(_offends(message, quirks) for message in messages):
        return {}
    return {"messages": [_repaired(message, quirks) for message in messages]}


def _offends(message: Mapping[str, Any], quirks: Quirks) -> bool:
    if message.get("role") == "developer" and not quirks.developer_role:
        return True
    return not quirks.null_content and message.get("content") is None


def _repaired(message: Mapping[str, Any], quirks: Quirks) -> Mapping[str, Any]:
    fixed = dict(message)
    if fixed.get("role") == "developer" and not quirks.developer_role:
        fixed["role"] = "system"
    if not quirks.null_content and fixed.get("content") is None:
        fixed["content"] = ""
    return fixed


ADAPTER = Adapter(
    dialect=Dialect.OPENAI_CHAT,
    operations=frozenset({Operation.CHAT, Operation.COMPLETION, Operation.EMBEDDING}),
    format_call=format_call,
    splice_call=splice_call,
    parse_answer=parse_answer,
    new_decoder=new_decoder,
    parse_failure=parse_failure,
    format_probe=format_probe,
    parse_models=parse_models,
    new_relay=new_relay,
    inspect_answer=inspect_answer,
    passes_verbatim=passes_verbatim,
)
