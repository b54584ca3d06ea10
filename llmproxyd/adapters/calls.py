"""What every HTTP adapter puts around a body: address, headers, probe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import quote

from llmproxyd.values.contracts import Call
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import Auth, Provider

_AUTH_HEADERS: Mapping[Auth, Callable[[str], tuple[str, str]]] = {
    Auth.BEARER: lambda key: ("authorization", f"Bearer {key}"),
    Auth.X_API_KEY: lambda key: ("x-api-key", key),
    Auth.API_KEY: lambda key: ("api-key", key),
    Auth.X_GOOG_API_KEY: lambda key: ("x-goog-api-key", key),
}


def format_headers(provider: Provider, *, accept: str) -> dict[str, str]:
    """Headers of a call, credential included; the operator's own headers win over ours.

    Answers are asked for uncompressed: a compressed stream would be held back by whoever compresses it.
    """
    headers = {"accept": accept, "accept-encoding": "identity"}
    if provider.secret is not None and provider.auth is not Auth.NONE:
        name, value = _AUTH_HEADERS[provider.auth](provider.secret.reveal())
        headers[name] = value
    for name, given in provider.headers.items():
        headers[name.lower()] = given.reveal() if isinstance(given, Secret) else given
    return headers


def format_post(
    provider: Provider,
    url: str,
    body: bytes,
    *,
    stream: bool,
    stream_type: str = "text/event-stream",
    warnings: tuple[str, ...] = (),
) -> Call:
    headers = format_headers(provider, accept=stream_type if stream else "application/json")
    headers.setdefault("content-type", "application/json")
    return Call("POST", url, headers, body, stream, warnings)


def format_get(provider: Provider, url: str) -> Call:
    return Call("GET", url, format_headers(provider, accept="application/json"), b"", stream=False)


def quote_segment(name: str) -> str:
    """One path segment of a URL; nothing in a model's name may become a path of its own."""
    return quote(name, safe="")
