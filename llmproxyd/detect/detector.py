"""What a detector is: some kinds, a cheap sign that a text may hold one of them, and a function that finds them.

``find`` is given a text in plain form: Unicode compatibility forms, look-alike letters, escapes and encodings are undone,
letters keep their case, lines are as they were. It gives findings with offsets in that text; the engine leads them back
to the text as it was sent. It takes time linear in the text: every repetition in its patterns is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from llmproxyd.values.privacy import Finding

Find: TypeAlias = Callable[[str], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Detector:
    """``kinds``: all that ``find`` may find. ``prefilter``: RE2 patterns, case-sensitive; unless one of them occurs in the
    text, ``find`` is not called. Keep them short and without counted repetitions: all detectors' patterns are searched at
    once. Empty: ``find`` is always called."""

    name: str
    kinds: frozenset[str]
    prefilter: tuple[str, ...]
    find: Find = field(compare=False)
