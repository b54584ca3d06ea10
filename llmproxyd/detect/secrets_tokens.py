"""Secrets with a structure of their own: private keys in their armour, JSON web tokens, chat bots' tokens."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from llmproxyd.detect.detector import Detector
from llmproxyd.detect.entropy import is_placeholder, looks_random
from llmproxyd.values.privacy import Finding

_FEWEST_KEY_CHARS = 32
_BEGIN = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,2}PRIVATE KEY(?: BLOCK)?-----")
_END = re.compile(r"-----END (?:[A-Z0-9]{1,12} ){0,2}PRIVATE KEY(?: BLOCK)?-----")
# Base64 in lines, with the headers of encrypted keys, up to the next dashes; newlines may still be written as \n.
_BODY = re.compile(r"(?:[A-Za-z0-9+/=\s:,.]|-(?!-)|\\[nr]){0,32000}")
_MATERIAL = re.compile(r"[A-Za-z0-9+/]{16,}")
_PUTTY = re.compile(r"PuTTY-User-Key-File-[23]:[^\n]{0,200}(?:\n[^\n]{1,200}){1,80}")

_JWT = re.compile(
    r"eyJ[A-Za-z0-9_-]{8,2000}\.[A-Za-z0-9_-]{0,8000}\.[A-Za-z0-9_-]{0,2000}(?:\.[A-Za-z0-9_-]{8,8000}){0,2}"
)
_DISCORD = re.compile(
    r"(?<![A-Za-z0-9_-])[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,40}(?![A-Za-z0-9_-])"
)


def find_private_keys(text: str) -> Iterator[Finding]:
    """Keys in PEM, OpenSSH and PGP armour, from their first line to their last; to where the base64 ends if cut off."""
    for begin in _BEGIN.finditer(text):
        body = _BODY.match(text, begin.end())
        stop = body.end() if body is not None else begin.end()
        last = _END.search(text, begin.end(), stop + 64)
        material = "".join(_MATERIAL.findall(text, begin.end(), last.start() if last else stop))
        if len(material) >= _FEWEST_KEY_CHARS and not is_placeholder(material[:64]):
            yield Finding("secret.private_key", begin.start(), last.end() if last else stop, "private_key")


def find_putty_keys(text: str) -> Iterator[Finding]:
    for match in _PUTTY.finditer(text):
        if "Private-Lines:" in match[0]:
            yield Finding("secret.private_key", *match.span(), "private_key")


def find_web_tokens(text: str) -> Iterator[Finding]:
    """JSON web tokens (RFC 7519): the first part must say an algorithm."""
    for match in _JWT.finditer(text):
        if _says_algorithm(match[0].partition(".")[0]):
            yield Finding("secret.jwt", *match.span(), "jwt")


def _says_algorithm(header: str) -> bool:
    try:
        decoded = base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))
    except binascii.Error:
        return False
    return b'"alg"' in decoded or b'"enc"' in decoded


def find_discord_tokens(text: str) -> Iterator[Finding]:
    for match in _DISCORD.finditer(text):
        if looks_random(match[0]) and not is_placeholder(match[0]):
            yield Finding("secret.discord_bot_token", *match.span(), "discord_bot_token")


TOKENS: tuple[Detector, ...] = (
    Detector("private_key", frozenset({"secret.private_key"}), ("PRIVATE KEY",), find_private_keys),
    Detector("putty_key", frozenset({"secret.private_key"}), ("PuTTY-User-Key-File",), find_putty_keys),
    Detector("jwt", frozenset({"secret.jwt"}), ("eyJ",), find_web_tokens),
    Detector(
        "discord_bot_token",
        frozenset({"secret.discord_bot_token"}),
        (r"[MNO][A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]",),
        find_discord_tokens,
    ),
)
