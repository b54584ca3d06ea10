"""Texts inside a text: Base64 and hexadecimal digits that turn out to be readable.

Base64 of ASCII is recognised by its first twelve signs, in which three of four have only half the alphabet to choose from;
prose almost never passes. Longer runs may hold any language and are simply tried.
"""

from __future__ import annotations

import binascii
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import re2

from llmproxyd.detect.view import View

MAX_DEPTH = 2
_Read: TypeAlias = tuple[str, int, int]
"""A text that was packed, and where."""

_QUAD = r"[A-Za-f][A-HQ-Xg-nw-z0-3][ABEFIJMNQRUVYZcdghklopstwx014589][A-Za-z0-9+/_-]"
_BORDER = r"(?:^|[^A-Za-z0-9+])"
_BASE64_ASCII = rf"{_BORDER}((?:{_QUAD}){{3,}}[A-Za-z0-9+/_-]{{0,3}}={{0,2}})"
# Long runs are digits of either base, and are sought together: each match costs more than the search.
_LONG = r"[A-Za-z0-9+/_-]{32,}(?:\n[A-Za-z0-9+/_-]{4,})*={0,2}|(?:[0-9A-Fa-f]{2}){9,15}\b"
_HEX_LISTED = (
    r"\b[0-9A-Fa-f]{2}(?:[ :,][0-9A-Fa-f]{2}){8,}\b",
    r"\b0x[0-9A-Fa-f]{2}(?:,? 0x[0-9A-Fa-f]{2}){8,}",
)
_HEX_WITHIN = re.compile(r"(?<![0-9A-Za-z])(?:0[xX])?((?:[0-9A-Fa-f]{2}){9,})(?![0-9A-Za-z_])")
_HEX_BEFORE = 3
"""A border and `0x`: how much of what stands before hexadecimal digits says whether they begin there."""
_NO_HEX = re.compile(r"0x|[ :,]")
_HEX_DIGITS = re.compile(r"[0-9a-f-]+|[0-9A-F-]+")
_URL_SAFE = str.maketrans("-_", "+/")
_MIN_CHARS = 8
_PRINTED = 0.9
"""The share of readable characters from which on something is a text."""


def _sign_set() -> re2.Set:
    options = re2.Options()
    options.log_errors = False
    signs = re2.Set.SearchSet(options)
    for pattern in _PATTERNS:
        signs.Add(pattern)
    signs.Compile()
    return signs


def unpack(view: View) -> Iterator[View]:
    """Every text found packed in the view, in the form it had before it was packed."""
    ends: list[int] = []
    starts: list[int] = []
    for number in sorted(_SIGNS.Match(view.text.encode()) or ()):
        regex = _REGEXES[number]
        for match in regex.finditer(view.text):
            start, end = match.span(regex.groups)
            # The lines of what was wrapped are no texts of their own.
            before = bisect_right(starts, start) if number else 0
            if before and end <= ends[before - 1]:
                continue
            for text, begin, stop in _READERS[number](view.text, start, end):
                if number == 0:
                    starts.append(begin)
                    ends.append(stop)
                yield view.unpacked(text, begin, stop)


def _read_long(whole: str, start: int, end: int) -> Iterator[_Read]:
    """A run of digits of base 16 or 64, or of several of base 16 between slashes and dashes."""
    written = whole[start:end]
    text = None if _HEX_DIGITS.fullmatch(written) else _from_base64(written)
    if text is not None:
        yield text, start, end
        return
    for match in _HEX_WITHIN.finditer(whole, max(0, start - _HEX_BEFORE), end):
        text = _readable(bytes.fromhex(match[1]))
        if text is not None:
            yield text, *match.span(1)


def _read_base64(whole: str, start: int, end: int) -> Iterator[_Read]:
    text = _from_base64(whole[start:end])
    if text is not None:
        yield text, start, end


def _read_hex(whole: str, start: int, end: int) -> Iterator[_Read]:
    text = _readable(bytes.fromhex(_NO_HEX.sub("", whole[start:end])))
    if text is not None:
        yield text, start, end


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
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        if error.start < len(raw) - 3:
            return None
        text = raw[: error.start].decode()
    if len(text) < _MIN_CHARS:
        return None
    printed = (
        len(text) if text.isprintable() else sum(sign.isprintable() or sign in "\n\r\t" for sign in text)
    )
    return text if printed >= _PRINTED * len(text) else None


_Reader: TypeAlias = Callable[[str, int, int], Iterator[_Read]]
# What is wrapped is read as a whole first: a value may stand where a line ends.
_PATTERNS = (_LONG, _BASE64_ASCII, *_HEX_LISTED)
_SIGNS = _sign_set()
_REGEXES: tuple[Any, ...] = tuple(re2.compile(pattern) for pattern in _PATTERNS)
_READERS: tuple[_Reader, ...] = (_read_long, _read_base64, _read_hex, _read_hex)
