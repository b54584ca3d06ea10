"""What a client wishes of the cache, and what it is told.

``Cache-Control`` speaks as in RFC 9111; ``x-llmproxyd-cache: off | refresh | only`` says the same shortly, and wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec
from multidict import MultiMapping

from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.failure import Failure, FailureKind

HEADER: Final = "x-llmproxyd-cache"
_CONTROL: Final = "cache-control"
_MAX_DIGITS: Final = 10


class Outcome(StrEnum):
    """What became of a request, as ``x-llmproxyd-cache`` says it. ``shared``: it joined one that was on its way."""

    HIT = "hit"
    MISS = "miss"
    OFF = "off"
    STALE = "stale"
    SHARED = "shared"


class Wish(msgspec.Struct, frozen=True):
    """``read``: a kept answer will do, at most ``max_age_s`` old. ``write``: the new one may be kept. ``only``: a kept
    one or none at all."""

    read: bool = True
    write: bool = True
    only: bool = False
    max_age_s: float | None = None


NO_WISH: Final = Wish()
_WISHES: Final[Mapping[str, Wish]] = {
    "off": Wish(read=False, write=False),
    "refresh": Wish(read=False),
    "only": Wish(only=True),
}

NOT_CACHED: Final = Failure(
    # 504 is what RFC 9111 wants for `only-if-cached`; no provider was slow.
    FailureKind.TIMEOUT,
    "No kept answer fits this request, and it asks for nothing else (only-if-cached).",
    code="not_cached",
    retryable=False,
)


def read_wish(headers: Mapping[str, str]) -> Wish:
    """headers: names in lower case, or a mapping that does not tell cases apart. Raises BadRequest for an
    ``x-llmproxyd-cache`` that says nothing; directives of ``Cache-Control`` that nobody knows are left alone."""
    word = headers.get(HEADER)
    if word is not None:
        wish = _WISHES.get(word.strip().lower())
        if wish is None:
            raise BadRequest(f"The header {HEADER} must be off, refresh or only.", param=HEADER)
        return wish
    if _CONTROL not in headers:
        return NO_WISH
    lines = headers.getall(_CONTROL) if isinstance(headers, MultiMapping) else [headers[_CONTROL]]
    return _read_control(",".join(lines))


def _read_control(text: str) -> Wish:
    given = {
        name.strip().lower(): value.strip().strip('"')
        for name, _, value in (directive.partition("=") for directive in text.split(","))
    }
    if "no-store" in given:
        return _WISHES["off"]
    if "no-cache" in given:
        return Wish(read=False, only="only-if-cached" in given)
    return Wish(only="only-if-cached" in given, max_age_s=_seconds(given.get("max-age")))


def _seconds(text: str | None) -> float | None:
    """None for what is no number: RFC 9111 lets one that cannot be read count as stale, so 0."""
    if text is None:
        return None
    return float(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else 0.0


def outcome_headers(outcome: Outcome, age_s: int | None = None) -> dict[str, str]:
    """For the answer. ``age_s``: whole seconds since a kept answer was made."""
    told = {HEADER: outcome.value}
    return told if age_s is None else {**told, "Age": str(age_s)}
