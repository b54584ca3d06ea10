"""Did you mean: the known name nearest to one that is not known, or what other programs call the same thing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

KEY_ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "apikey": ("api_key",),
    "key": ("api_key",),
    "token": ("api_key",),
    "secret": ("api_key",),
    "url": ("endpoint",),
    "base_url": ("endpoint",),
    "baseurl": ("endpoint",),
    "api_base": ("endpoint",),
    "host": ("endpoint",),
    "address": ("endpoint",),
    "type": ("preset",),
    "kind": ("preset",),
    "provider": ("preset", "to"),
    "region": ("zone",),
    "trust": ("zone",),
    "model": ("models", "to", "id"),
    "model_list": ("models",),
    "model_name": ("id",),
    "name": ("id",),
    "target": ("to",),
    "deployment": ("upstream", "to"),
    "cost": ("price",),
    "timeout": ("timeouts",),
    "retries": ("max_retries", "retry"),
    "num_retries": ("max_retries",),
    "max_attempts": ("attempts",),
    "disabled": ("enabled",),
    "fallbacks": ("fallback",),
    "aliases": ("models",),
    "routes": ("pipeline",),
    "rules": ("pipeline",),
    "if": ("when",),
    "match": ("when",),
    "condition": ("when",),
    "order_by": ("rank_by",),
    "sort_by": ("rank_by",),
    "deny": ("reject", "exclude"),
    "context_length": ("context_window",),
    "max_input_tokens": ("context_window",),
    "max_tokens": ("max_output_tokens",),
    "default": ("default_label",),
}
"""What other programs call a setting -> what it may be called here, the likeliest first."""

_MAX_LENGTH: Final = 80


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


def meant_key(key: str, known: Collection[str]) -> str | None:
    """The known key that ``key`` stands for elsewhere, or is a slip of."""
    plain = _plain(key)
    named = (name for name in (plain, *KEY_ALIASES.get(plain, ())) if name in known)
    return next(named, None) or closest(key, known)


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
    """One in a short word: with two, `to` would be a slip of `id`."""
    shorter = min(len(word), len(name))
    if shorter < 2:
        return 0
    return 1 if shorter < 5 else max(2, shorter // 3)
