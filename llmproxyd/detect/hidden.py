"""What is to be hidden: the values behind findings, as they stand in the texts of a request."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from llmproxyd.detect.jsonpieces import decoded
from llmproxyd.values.privacy import Piece, Scan, covers_any

MAX_VALUES: Final = 2_000
"""More different values in one request are not masked; that is a table, not a conversation."""
SHORTEST_CHARS: Final = 3
"""Shorter values, unless they are words, occur in every text by accident: they cannot be covered."""


class CannotMask(Exception):  # noqa: N818 - a verdict on the request, not a fault
    """There is no safe masked copy of this request. The message says why, and nothing of the text."""


class Hidden(msgspec.Struct, frozen=True):
    """A value to be covered. ``word``: it consists of letters and stands alone wherever it was found, so that it does not
    count inside other words."""

    kind: str
    text: str
    word: bool = False


def find_hidden(pieces: Iterable[Piece], scan: Scan, kinds: Collection[str]) -> tuple[Hidden, ...]:
    """The values behind the findings of these kinds and groups, in the order of the pieces.

    pieces: those that were scanned. Raises CannotMask if a finding cannot be led back to a text, or for too many.
    """
    spans: dict[str, list[tuple[int, int, str]]] = {}
    for found in scan.found:
        finding = found.finding
        if covers_any(kinds, finding.kind):
            spans.setdefault(found.place, []).append((finding.start, finding.end, finding.kind))
    hidden: dict[str, Hidden] = {}
    missing = {(place, *span) for place, there in spans.items() for span in there}
    for piece in pieces:
        # Several pieces may share a place; what was found stands in one of them at least.
        fitting = [span for span in spans.get(piece.place, ()) if 0 <= span[0] < span[1] <= len(piece.text)]
        missing.difference_update((piece.place, *span) for span in fitting)
        for start, end, kind in _with_unions(fitting):
            for each in _values_at(piece.text, start, end, kind):
                known = hidden.get(each.text, each)
                hidden[each.text] = Hidden(min(known.kind, kind), each.text, known.word and each.word)
    if missing:
        raise CannotMask("something was found outside the texts that are at hand")
    if len(hidden) > MAX_VALUES:
        raise CannotMask(f"it holds more than {MAX_VALUES} different values")
    return tuple(hidden.values())


def _with_unions(spans: Sequence[tuple[int, int, str]]) -> Iterator[tuple[int, int, str]]:
    """The spans, and what those that overlap cover together: masking one must not leave half of another."""
    yield from spans
    joined: tuple[int, int, str] | None = None
    for start, end, kind in sorted(spans):
        if joined is None or start >= joined[1]:
            if joined is not None:
                yield joined
            joined = (start, end, kind)
        else:
            joined = (joined[0], max(end, joined[1]), joined[2])
    if joined is not None:
        yield joined


def _values_at(text: str, start: int, end: int, kind: str) -> Iterator[Hidden]:
    value = text[start:end]
    letters = "".join(value.split())
    alone = not (_is_word(text[start - 1 : start]) or _is_word(text[end : end + 1]))
    if not letters.isalpha() and len(letters) < SHORTEST_CHARS:
        raise CannotMask("a value is too short to be told from other text")
    yield Hidden(kind, value, word=letters.isalpha() and alone)
    if "\\" in value:
        # Found in JSON: taken apart, the same text reads otherwise.
        said = decoded(f'"{value}"')
        if said is not None and said != value and len(said) >= SHORTEST_CHARS:
            yield Hidden(kind, said)


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"
