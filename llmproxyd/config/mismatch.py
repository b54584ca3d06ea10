"""What a validator found, in our own terms: between ``schema``, which sifts errors, and ``complaints``, which finds words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from llmproxyd.config.places import Path
from llmproxyd.config.problem import Problem


class Choice(msgspec.Struct, frozen=True):
    """What the branches of an anyOf would have taken: ``words``, and values of these ``kinds`` (schemas)."""

    words: tuple[Any, ...]
    kinds: tuple[Mapping[str, Any], ...]


class Mismatch(msgspec.Struct, frozen=True):
    """One error of the validator: ``keyword`` of ``schema`` wanted ``expected`` and met ``value`` at ``path``.

    ``around``: the schemas that speak of the same value, innermost first. ``about_key``: ``value`` is a key of the
    mapping at ``path``. ``resolve`` follows a local reference.
    """

    keyword: str
    path: Path
    value: Any
    expected: Any
    schema: Mapping[str, Any]
    around: tuple[Mapping[str, Any], ...]
    note: str
    about_key: bool
    choice: Choice | None
    resolve: Callable[[object], Mapping[str, Any]]


class Fault(msgspec.Struct, frozen=True):
    """A problem, and what is needed to see whether another problem already covers it."""

    path: Path
    problem: Problem
    missing: str | None = None
    suggested: str | None = None


def known_keys(mismatch: Mismatch) -> list[str]:
    """Every key that some schema for this mapping knows; for ``additionalProperties`` its own neighbours only."""
    only_here = mismatch.keyword == "additionalProperties"
    schemas = [mismatch.schema] if only_here else _parts(mismatch)
    return sorted({key for schema in schemas for key in schema.get("properties", {})})


def fits_pattern(key: str, mismatch: Mismatch) -> bool:
    """Whether a pattern for keys lets this one in."""
    patterns = (pattern for schema in mismatch.around for pattern in schema.get("patternProperties", ()))
    return any(re.search(pattern, key) for pattern in patterns)


def _parts(mismatch: Mismatch) -> Iterator[Mapping[str, Any]]:
    waiting: list[object] = list(mismatch.around)
    while waiting:
        schema = mismatch.resolve(waiting.pop())
        yield schema
        waiting.extend(schema[word] for word in ("then", "else") if word in schema)
        waiting.extend(part for word in ("allOf", "anyOf", "oneOf") for part in schema.get(word, ()))
