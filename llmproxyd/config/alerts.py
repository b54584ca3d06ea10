"""``alerts`` of routing.yaml -> the URLs to tell. They often hold a token, so no message repeats more than their host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from llmproxyd.config.endpoints import is_loopback
from llmproxyd.config.findings import Findings

_EXAMPLE: Final = "write it like https://hooks.example.net/llm"


def build_webhooks(document: Mapping[str, Any], findings: Findings) -> tuple[str, ...]:
    """Every webhook, in the order of the file. One that cannot be called, or not safely, is told (LP210)."""
    urls = [url.strip() for url in (document.get("alerts") or {}).get("webhooks", ())]
    for index, url in enumerate(urls):
        fault = _fault_of(url)
        if fault:
            findings.error("LP210", ("alerts", "webhooks", index), *fault)
    return tuple(urls)


def _fault_of(url: str) -> tuple[str, str] | None:
    """What is wrong, and what to do."""
    if any(char.isspace() or not char.isprintable() for char in url):
        return "a webhook's URL holds no blanks or control characters", _EXAMPLE
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        return "this webhook is not a URL", _EXAMPLE
    if parts.scheme.lower() not in ("http", "https"):
        return "a webhook's URL begins with https://", _EXAMPLE
    if not host or port == 0:
        return "a webhook's URL needs a host", _EXAMPLE
    if parts.username is not None or parts.password is not None:
        help_ = "use a URL whose path holds the token, and keep it outside: `${env:ALERT_WEBHOOK}`"
        return "a webhook's URL holds no user and no password", help_
    if parts.scheme.lower() == "http" and not is_loopback(host):
        help_ = "use https; http is for this machine, such as http://127.0.0.1:9000/alert"
        return f"the webhook at `{host}` would be told over plain http", help_
    return None
