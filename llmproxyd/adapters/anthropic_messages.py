"""What providers speak in Anthropic's dialect: Anthropic, and those who copied it.

Owns the addresses, the two ways to make a call and the list of models. A client of the same dialect is passed on
verbatim, with the version and the beta flags it named: the body was written for those.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from llmproxyd import jsontext
from llmproxyd.adapters.anthropic_answer import parse_answer, text_of
from llmproxyd.adapters.anthropic_failure import parse_failure
from llmproxyd.adapters.anthropic_format import format_body
from llmproxyd.adapters.anthropic_relay import inspect_answer, new_relay
from llmproxyd.adapters.anthropic_splice import splice_body
from llmproxyd.adapters.anthropic_stream import new_decoder
from llmproxyd.adapters.calls import format_get, format_post
from llmproxyd.values.contracts import Adapter, BadRequest, Call, Listed
from llmproxyd.values.request import Content, Dialect, Embed, Operation, Overrides, Request
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import Deployment, Provider

DEFAULT_VERSION = "2023-06-01"
MAX_LISTED = 5000

_VERSION, _BETA = "anthropic-version", "anthropic-beta"
_PATHS: Mapping[Operation, str] = {
    Operation.CHAT: "/messages",
    Operation.COMPLETION: "/messages",
    Operation.COUNT_TOKENS: "/messages/count_tokens",
}


def format_call(request: Request, content: Content, deployment: Deployment, overrides: Overrides) -> Call:
    """Canonical content -> Call. Raises BadRequest naming the field that the dialect cannot carry."""
    if isinstance(content, Embed) or request.operation not in _PATHS:
        raise BadRequest("The chosen model's provider makes no embeddings.", param="input")
    version = _version(request, deployment.provider)
    body, warnings = format_body(request, content, deployment, overrides, version=version)
    return _call(request, deployment, jsontext.encode(body), warnings)


def splice_call(request: Request, deployment: Deployment, overrides: Overrides) -> Call:
    """The client's own body with only what must differ put in; every other field keeps its bytes."""
    version = _version(request, deployment.provider)
    body, warnings = splice_body(request, deployment, overrides, version=version)
    return _call(request, deployment, body, warnings)


def format_probe(provider: Provider) -> Call:
    """A free GET: the provider's own probe, else the first of its models."""
    path = provider.probe.path if provider.probe is not None else "/models?limit=1"
    return _with_version(format_get(provider, provider.base_url + path), {})


def parse_models(body: bytes) -> tuple[Listed, ...]:
    """``{"data": [{"id", "max_input_tokens", …}]}`` -> models, in the server's order. Raises ValueError if it is none."""
    document = jsontext.decode(body)
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, list):
        raise ValueError("the server's list of models has no `data`")
    entries = [entry for entry in data[:MAX_LISTED] if isinstance(entry, dict) and text_of(entry, "id")]
    return tuple(Listed(text_of(entry, "id"), _window(entry.get("max_input_tokens"))) for entry in entries)


def _window(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _call(request: Request, deployment: Deployment, body: bytes, warnings: tuple[str, ...]) -> Call:
    provider = deployment.provider
    url = provider.base_url + _PATHS[request.operation]
    call = format_post(provider, url, body, stream=request.stream, warnings=warnings)
    return _with_version(call, request.headers if request.dialect is Dialect.ANTHROPIC_MESSAGES else {})


def _with_version(call: Call, given: Mapping[str, str]) -> Call:
    """The client's version before the provider's; the client's beta flags beside those the operator set."""
    headers = {_VERSION: DEFAULT_VERSION, **call.headers}
    if _VERSION in given:
        headers[_VERSION] = given[_VERSION]
    if _BETA in given:
        headers[_BETA] = ",".join(filter(None, (given[_BETA], _others(headers.get(_BETA, ""), given[_BETA]))))
    return replace(call, headers=headers)


def _others(ours: str, theirs: str) -> str:
    known = {flag.strip() for flag in theirs.split(",")}
    return ",".join(flag for flag in map(str.strip, ours.split(",")) if flag and flag not in known)


def _version(request: Request, provider: Provider) -> str:
    """The API version this request will be read by."""
    if request.dialect is Dialect.ANTHROPIC_MESSAGES and _VERSION in request.headers:
        return request.headers[_VERSION]
    given = next(
        (value for name, value in provider.headers.items() if name.lower() == _VERSION), DEFAULT_VERSION
    )
    return given.reveal() if isinstance(given, Secret) else given


ADAPTER = Adapter(
    dialect=Dialect.ANTHROPIC_MESSAGES,
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
