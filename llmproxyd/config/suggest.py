"""Did you mean: the known name nearest to one that is not known."""

from __future__ import annotations

from collections.abc import Iterable

_MAX_LENGTH = 80


def closest(word: str, known: Iterable[str]) -> str | None:
    """The name in ``known`` at most two slips (or a third of its length) away from ``word``; None if there is none.

    A slip is a letter missing, added, changed, or two neighbours swapped; case and ``-``/``_`` do not count.
    Of names equally near, the first in alphabetical order.
    """
    if not word or len(word) > _MAX_LENGTH:
        return None
    plain = _plain(word)
    best: tuple[int, str] | None = None
    for name in sorted(set(known) - {word}):
        allowed = _slips_allowed(plain, name)
        if abs(len(name) - len(plain)) > allowed or len(name) > _MAX_LENGTH:
            continue
        slips = distance(plain, _plain(name))
        if slips <= allowed and (best is None or slips < best[0]):
            best = (slips, name)
    return best[1] if best else None


def distance(one: str, other: str) -> int:
    """Slips between two words (edit distance with neighbouring letters swapped counted once)."""
    before_last: list[int] = []
    last = list(range(len(other) + 1))
    for row, left in enumerate(one, start=1):
        current = [row]
        for column, right in enumerate(other, start=1):
            cost = min(last[column] + 1, current[column - 1] + 1, last[column - 1] + (left != right))
            if row > 1 and column > 1 and left == other[column - 2] and one[row - 2] == right:
                cost = min(cost, before_last[column - 2] + 1)
            current.append(cost)
        before_last, last = last, current
    return last[-1]


def _plain(word: str) -> str:
    return word.casefold().replace("-", "_")


def _slips_allowed(word: str, name: str) -> int:
    """Short words differ by nature: `key` and `hey` are two words, not a slip, so half their length is too much."""
    shorter = min(len(word), len(name))
    return max(shorter // 3, min(2, (shorter - 1) // 2))
