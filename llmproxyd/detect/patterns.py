"""Kinds of the operator's own: a regular expression, or words that are found whole and in any case."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import re2

from llmproxyd.detect.detector import Detector
from llmproxyd.values.privacy import Finding
from llmproxyd.values.snapshot import OwnPattern


def own_detector(own: OwnPattern) -> Detector:
    """Raises re2.error for an expression that the configuration's check should have refused."""
    pattern = own.pattern or _any_word(own.words)
    finder = _finder(own.kind, pattern, whole=not own.pattern)
    return Detector(f"own {own.kind}", frozenset({own.kind}), (pattern,), finder)


def _any_word(words: tuple[str, ...]) -> str:
    parts = (r"\s+".join(re2.escape(part) for part in word.split()) for word in words)
    return rf"(?i)(?:{'|'.join(parts)})"


def _finder(kind: str, pattern: str, *, whole: bool) -> Callable[[str], Iterator[Finding]]:
    options = re2.Options()
    options.log_errors = False
    regex: Any = re2.compile(pattern, options)

    def find(text: str) -> Iterator[Finding]:
        for match in regex.finditer(text):
            start, end = match.span()
            if end > start and not (whole and _is_inside_word(text, start, end)):
                yield Finding(kind, start, end, f"own {kind}")

    return find


def _is_inside_word(text: str, start: int, end: int) -> bool:
    return (start > 0 and text[start - 1].isalnum()) or (end < len(text) and text[end].isalnum())
