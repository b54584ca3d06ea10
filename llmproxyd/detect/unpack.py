"""Texts inside a text: Base64 and hexadecimal digits that turn out to be readable.

Base64 of ASCII is recognised by its first twelve signs, in which three of four have only half the alphabet to choose from;
prose almost never passes. Longer runs may hold any language and are simply tried.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

import re2

from llmproxyd.detect.view import View

MAX_DEPTH = 2

_QUAD = r"[A-Za-f][A-HQ-Xg-nw-z0-3][ABEFIJMNQRUVYZcdghklopstwx014589][A-Za-z0-9+/_-]"
_SIGN = (
    rf"(?:{_QUAD})(?:{_QUAD})(?:{_QUAD})",
    r"[A-Za-z0-9+/_-]{32}",
    r"(?:[0-9A-Fa-f][0-9A-Fa-f][ :,]?){10}",
    r"0x[0-9A-Fa-f][0-9A-Fa-f],? 0x[0-9A-Fa-f][0-9A-Fa-f]",
)
_BASE64_ASCII = re.compile(rf"(?<![A-Za-z0-9+])(?:{_QUAD}){{3,}}[A-Za-z0-9+/_-]{{0,3}}={{0,2}}")
_BASE64_LONG = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{32,}(?:\n[A-Za-z0-9+/_-]{4,})*={0,2}")
_HEX = re.compile(
    r"(?<![0-9A-Za-z])(?:0[xX])?((?:[0-9A-Fa-f]{2}){9,}|[0-9A-Fa-f]{2}(?:[ :,][0-9A-Fa-f]{2}){8,})(?![0-9A-Za-z])"
    r"|(?<![0-9A-Za-z])(0x[0-9A-Fa-f]{2}(?:,? 0x[0-9A-Fa-f]{2}){8,})"
)
_NO_HEX = re.compile(r"0x|[ :,]")
_URL_SAFE = str.maketrans("-_", "+/")
_MIN_CHARS = 8
_PRINTED = 0.9
"""The share of readable characters from which on something is a text."""


def _sign_set() -> re2.Set:
    signs = re2.Set.SearchSet(re2.Options())
    for pattern in _SIGN:
        signs.Add(pattern)
    signs.Compile()
    return signs


_SIGNS = _sign_set()


def unpack(view: View) -> Iterator[View]:
    """Every text found packed in the view, in the form it had before it was packed."""
    if not _SIGNS.Match(view.text.encode()):
        return
    tried: set[int] = set()
    for pattern in (_BASE64_ASCII, _BASE64_LONG):
        for match in pattern.finditer(view.text):
            text = None if match.end() in tried else _from_base64(match[0])
            if text is not None:
                tried.add(match.end())
                yield view.unpacked(text, match.start(), match.end())
    for match in _HEX.finditer(view.text):
        text = _readable(bytes.fromhex(_NO_HEX.sub("", match[0])))
        if text is not None:
            yield view.unpacked(text, match.start(), match.end())


def _from_base64(written: str) -> str | None:
    signs = written.replace("\n", "").rstrip("=").translate(_URL_SAFE)
    if len(signs) % 4 == 1:
        signs = signs[:-1]
    try:
        return _readable(binascii.a2b_base64(signs + "=" * (-len(signs) % 4)))
    except binascii.Error:
        return None


def _readable(raw: bytes) -> str | None:
    """The text that the bytes are; None if they are none. A character cut off at the end is forgiven."""
    for dropped in range(4):
        try:
            text = raw[: len(raw) - dropped].decode()
        except UnicodeDecodeError:
            continue
        printed = sum(sign.isprintable() or sign in "\n\r\t" for sign in text)
        return text if len(text) >= _MIN_CHARS and printed >= _PRINTED * len(text) else None
    return None
