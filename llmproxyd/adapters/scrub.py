"""Takes out of a provider's text what its reader must not see."""

from __future__ import annotations

import re

_MAX_CHARS = 600
_SEARCHED_CHARS = 4 * _MAX_CHARS  # a secret must not slip through by being cut in half: cut after searching

_SECRETS = re.compile(
    r"\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=*-]{6,}"
    r"|\b(?:sk|pk|rk|gsk|xai|ak|key|org|proj|req)[-_][A-Za-z0-9_*.-]{6,}"
    r"|\bAIza[A-Za-z0-9_*-]{6,}"
    r"|(?<=[?&]key=)[^&\s]+"
    r"|\b(?:api[ _-]?key|token|secret|password)\b(?: provided)?['\"]?\s*[:=]\s*['\"]?[^\s'\",]{4,}",
    re.IGNORECASE,
)
_ADDRESSES = re.compile(
    r"\b[a-z][a-z0-9+.-]*://[^\s\"'<>)]+"
    r"|\b(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+"
    r"(?:com|net|org|io|ai|dev|cloud|app|eu|de|uk|us|co|local|localhost|internal|intranet|lan|corp|home|test|example|svc)"
    r"(?::\d{1,5})?\b"
    r"|\b(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5})?\b"
    r"|\blocalhost(?::\d{1,5})?\b"
    r"|\[[0-9a-f:]*:[0-9a-f:]+\](?::\d{1,5})?",
    re.IGNORECASE,
)


def scrub_secrets(text: str) -> str:
    """For the operator: one short line without credentials."""
    return _shorten(_SECRETS.sub("***", text[:_SEARCHED_CHARS]))


def scrub_message(text: str) -> str:
    """For the client: one short line without credentials, addresses and host names."""
    return _shorten(_ADDRESSES.sub("[address]", _SECRETS.sub("***", text[:_SEARCHED_CHARS])))


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_CHARS else line[: _MAX_CHARS - 1] + "…"
