"""What Google's Gemini API speaks: generateContent and its kin.

Owns the addresses, the two ways to make a call (from canonical content, or from the client's own bytes) and the list of
models. The key goes in a header, never into the address.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmproxyd import jsontext
from llmproxyd.adapters.calls import format_get, format_post, quote_segment
from llmproxyd.adapters.gemini_answer import parse_answer
from llmproxyd.adapters.gemini_failures import parse_failure
from llmproxyd.adapters.gemini_format import (
    Warnings,
    format_chat,
    format_count,
    format_embedding,
    format_thinking,
)
from llmproxyd.adapters.gemini_relay import inspect_answer, new_relay
from llmproxyd.adapters.gemini_stream import new_decoder
from llmproxyd.adapters.openai_answer import text_of
from llmproxyd.values.contracts import Adapter, Call, Listed
from llmproxyd.values.request import (
    Chat,
    Content,
    Dialect,
    Document,
    Embed,
    Operation,
    Overrides,
    Request,
)
from llmproxyd.values.snapshot import Deployment, Provider

MAX_LISTED = 5000

_JSON = "application/json"
_SSE = "text/event-stream"
_COLLECTIONS = ("models/", "tunedModels/")
_OVERRIDES: Mapping[str, str] = {
    "temperature": "temperature", "top_p": "topP", "max_tokens": "maxOutputTokens", "seed": "seed",
}  # fmt: skip
_ANSWERING = frozenset({"generateContent", "embedContent", "batchEmbedContents"})


def format_call(request: Request, content: Content, deployment: Deployment, overrides: Overrides) -> Call:
    """Canonical content -> Call. Raises BadRequest naming the field that Gemini cannot carry."""
    model = _full_name(deployment.upstream)
    if isinstance(content, Embed):
        body, warnings = format_embedding(content, model)
        return _post(deployment, "batchEmbedContents", jsontext.encode(body), warnings=warnings)
    body, warnings = format_chat(request, content, deployment, overrides)
    if request.operation is Operation.COUNT_TOKENS:
        return _post(deployment, "countTokens", jsontext.encode(format_count(body, model)), warnings=warnings)
    method = "streamGenerateContent" if request.stream else "generateContent"
    return _post(deployment, method, jsontext.encode(body), stream=request.stream, warnings=warnings)


def splice_call(request: Request, deployment: Deployment, overrides: Overrides) -> Call:
    """The client's own body. The model stands in the address; a body that names it too gets the same one there."""
    model = _full_name(deployment.upstream)
    fields = _renamed(request.document, model)
    warnings = Warnings()
    if overrides and request.operation is Operation.CHAT:
        name, config = _config(request.document)
        fields[name] = _overridden(config, deployment, overrides, warnings)
    spliced = {name: jsontext.encode(value) for name, value in fields.items()}
    body = jsontext.splice(request.body, spliced) if spliced else request.body
    as_array = request.headers.get("accept") == _JSON
    return _post(
        deployment,
        _method(request),
        body,
        stream=request.stream,
        stream_type=_JSON if as_array else _SSE,
        warnings=warnings.texts(),
    )


def format_probe(provider: Provider) -> Call:
    """A free GET: the provider's own probe, else one entry of the list of models."""
    path = provider.probe.path if provider.probe is not None else "/models?pageSize=1"
    return format_get(provider, provider.base_url + path)


def parse_models(body: bytes) -> tuple[Listed, ...]:
    """``{"models": [{"name": "models/…", …}]}`` -> models that answer or embed, in Google's order.

    Raises ValueError if it is no such list.
    """
    document = jsontext.decode(body)
    models = document.get("models") if isinstance(document, dict) else None
    if not isinstance(models, list):
        raise ValueError("the server's list of models has no `models`")
    entries = [entry for entry in models[:MAX_LISTED] if isinstance(entry, dict) and text_of(entry, "name")]
    return tuple(
        _parse_model(entry) for entry in entries if _methods(entry) & _ANSWERING or not _methods(entry)
    )


def _parse_model(entry: Document) -> Listed:
    window = entry.get("inputTokenLimit")
    methods = _methods(entry)
    name = text_of(entry, "name").removeprefix("models/")
    return Listed(
        id=name,
        context_window=window
        if isinstance(window, int) and not isinstance(window, bool) and window > 0
        else None,
        embeds="embedContent" in methods
        or "batchEmbedContents" in methods
        or (not methods and "embed" in name.lower()),
    )


def _methods(entry: Document) -> frozenset[str]:
    methods = entry.get("supportedGenerationMethods")
    return (
        frozenset(method for method in methods if isinstance(method, str))
        if isinstance(methods, list)
        else frozenset()
    )


def _post(
    deployment: Deployment,
    method: str,
    body: bytes,
    *,
    stream: bool = False,
    stream_type: str = _SSE,
    warnings: tuple[str, ...] = (),
) -> Call:
    collection, _, name = _full_name(deployment.upstream).partition("/")
    url = f"{deployment.provider.base_url}/{collection}/{quote_segment(name)}:{method}"
    if stream and stream_type == _SSE:
        url += "?alt=sse"
    return format_post(
        deployment.provider, url, body, stream=stream, stream_type=stream_type, warnings=warnings
    )


def _full_name(upstream: str) -> str:
    """A model's name with its collection."""
    return upstream if upstream.startswith(_COLLECTIONS) else f"models/{upstream}"


def _method(request: Request) -> str:
    match request.operation:
        case Operation.EMBEDDING:
            return "batchEmbedContents" if "requests" in request.document else "embedContent"
        case Operation.COUNT_TOKENS:
            return "countTokens"
        case _:
            return "streamGenerateContent" if request.stream else "generateContent"


def _renamed(document: Document, model: str) -> dict[str, Any]:
    """The fields that name the model within the body; Google refuses another one there than in the address."""
    fields: dict[str, Any] = {"model": model} if "model" in document else {}
    requests = document.get("requests")
    if isinstance(requests, list):
        fields["requests"] = [{**entry, "model": model} for entry in requests]
    elif isinstance(requests, dict):
        fields["requests"] = [{**requests, "model": model}]
    for name in ("generateContentRequest", "generate_content_request"):
        if isinstance(document.get(name), dict):
            fields[name] = {**document[name], "model": model}
    return fields


def _config(document: Document) -> tuple[str, dict[str, Any]]:
    """-> (the name under which the generation config was sent, the config)."""
    name = "generation_config" if document.get("generation_config") is not None else "generationConfig"
    return name, dict(document.get(name) or {})


def _overridden(
    config: dict[str, Any], deployment: Deployment, overrides: Overrides, warnings: Warnings
) -> dict[str, Any]:
    for name, wire in _OVERRIDES.items():
        value = getattr(overrides, name)
        if value is not None:
            config = {**_without(config, wire), wire: value}
    if overrides.effort is not None:
        limit = config.get("maxOutputTokens", config.get("max_output_tokens"))
        max_tokens = limit if isinstance(limit, int) else None
        thinking = format_thinking(Chat(()), max_tokens, overrides, deployment, warnings, own=True)
        given = config.get("thinkingConfig") or config.get("thinking_config") or {}
        measures = ("thinkingLevel", "thinking_level", "thinkingBudget", "thinking_budget")
        kept = {name: value for name, value in given.items() if name not in measures}
        config = _without(config, "thinkingConfig")
        if kept or thinking:
            config["thinkingConfig"] = {**kept, **thinking}
    return config


def _without(config: dict[str, Any], wire: str) -> dict[str, Any]:
    """config without the field, however it is spelt."""
    return {name: value for name, value in config.items() if name.replace("_", "").lower() != wire.lower()}


ADAPTER = Adapter(
    dialect=Dialect.GEMINI_GENERATE,
    operations=frozenset({Operation.CHAT, Operation.EMBEDDING, Operation.COUNT_TOKENS}),
    format_call=format_call,
    splice_call=splice_call,
    parse_answer=parse_answer,
    new_decoder=new_decoder,
    parse_failure=parse_failure,
    format_probe=format_probe,
    parse_models=parse_models,
    new_relay=new_relay,
    inspect_answer=inspect_answer,
)
