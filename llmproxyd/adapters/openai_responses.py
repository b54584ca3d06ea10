"""What providers speak in OpenAI's Responses dialect: OpenAI, Azure, and servers that copied it.

Owns the addresses and the two ways to make a call. Nothing is kept at the provider when we make the call ourselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec.structs import replace

from llmproxyd import jsontext
from llmproxyd.adapters.calls import format_post
from llmproxyd.adapters.openai_chat import format_probe, parse_models
from llmproxyd.adapters.responses_answer import parse_answer, parse_failure
from llmproxyd.adapters.responses_format import format_body
from llmproxyd.adapters.responses_relay import inspect_answer, new_relay
from llmproxyd.adapters.responses_splice import splice_body
from llmproxyd.adapters.responses_stream import new_decoder
from llmproxyd.values.contracts import Adapter, BadRequest, Call
from llmproxyd.values.request import Content, Dialect, Document, Embed, Operation, Overrides, Request
from llmproxyd.values.snapshot import Deployment

_PATHS: Mapping[Operation, str] = {
    Operation.CHAT: "/responses",
    Operation.COMPLETION: "/responses",
    Operation.COUNT_TOKENS: "/responses/input_tokens",
}

# The first generation that refuses tools and thought together on /chat/completions.
_STRICT_SINCE = (5, 6)
_GENERATION = re.compile(r"(?:^|[/_.:])gpt-(\d{1,2})(?:\.(\d{1,2}))?(?![\w.])", re.IGNORECASE)


def format_call(request: Request, content: Content, deployment: Deployment, overrides: Overrides) -> Call:
    """Canonical content -> Call. Raises BadRequest naming the field that the dialect cannot carry."""
    if isinstance(content, Embed) or request.operation not in _PATHS:
        raise BadRequest("The chosen model's provider makes no embeddings here.", param="input")
    body, warnings = format_body(request, content, deployment, overrides)
    return _call(request, deployment, jsontext.encode(body), warnings)


def splice_call(request: Request, deployment: Deployment, overrides: Overrides) -> Call:
    """The client's own body with only what must differ put in; every other field keeps its bytes."""
    body, warnings = splice_body(request, deployment, overrides)
    return _call(request, deployment, body, warnings)


def needs_responses(request_document: Document, upstream_model: str) -> bool:
    """Whether a chat request has to go out in this dialect: OpenAI's models from gpt-5.6 on refuse function tools
    together with an effort other than ``none`` on /chat/completions.

    request_document: body of a chat completion. A request that names no effort is taken there.
    """
    if not prefers_responses(upstream_model):
        return False
    effort = request_document.get("reasoning_effort")
    if effort is None or effort == "none":
        return False
    tools = request_document.get("tools")
    defined = any(isinstance(tool, dict) and tool.get("type") == "function" for tool in tools or ())
    return defined or bool(request_document.get("functions"))


def prefers_responses(model: str) -> bool:
    """Whether OpenAI's chat refuses this model tools together with thought, so that Responses is its proper door."""
    found = _GENERATION.search(model)
    return found is not None and (int(found[1]), int(found[2] or 0)) >= _STRICT_SINCE


def _call(request: Request, deployment: Deployment, body: bytes, warnings: tuple[str, ...]) -> Call:
    provider = deployment.provider
    url = provider.base_url + _PATHS[request.operation]
    call = format_post(provider, url, body, stream=request.stream, warnings=warnings)
    own = request.dialect is Dialect.OPENAI_RESPONSES
    return replace(call, headers={**request.headers, **call.headers}) if own and request.headers else call


ADAPTER = Adapter(
    dialect=Dialect.OPENAI_RESPONSES,
    operations=frozenset(_PATHS),
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
