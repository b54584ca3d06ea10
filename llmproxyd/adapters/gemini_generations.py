"""What the generations of Gemini models differ in, as data: the form of schemas, how thinking is asked for, signatures.

Read from the vendor's model pages and SDK types in November 2026. A name that no row knows is taken for a new model:
those take plain JSON Schema, levels of thinking, and want their signatures back.
"""

from __future__ import annotations

import re

import msgspec

_LEVELS = ("MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH")
"""From little thinking to much."""

_LEVEL_OF_EFFORT = {
    "none": "MINIMAL", "minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "XHIGH",
    "max": "XHIGH",
}  # fmt: skip
_BUDGET_OF_EFFORT = {
    "none": 0, "minimal": 512, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 32768,
}  # fmt: skip
_EFFORT_OF_BUDGET = ((0, "none"), (1024, "minimal"), (2048, "low"), (8192, "medium"), (16384, "high"))


class Budget(msgspec.Struct, frozen=True):
    """Thinking in tokens. ``may_be_off``: 0 is allowed as well."""

    low: int
    high: int
    may_be_off: bool


class Generation(msgspec.Struct, frozen=True):
    """``json_schema``: takes plain JSON Schema. ``levels`` or ``budget``: how thinking is asked for; neither: it does not
    think. ``signatures``: refuses its own function calls in the history without their thought signature.
    ``resolutions``: takes a resolution for each image."""

    json_schema: bool = True
    levels: tuple[str, ...] = ()
    budget: Budget | None = None
    signatures: bool = False
    resolutions: bool = False


_OLD = Generation(json_schema=False)
_NEW = Generation(levels=_LEVELS[:4], signatures=True, resolutions=True)

_ROWS: tuple[tuple[re.Pattern[str], Generation], ...] = tuple(
    (re.compile(pattern), generation)
    for pattern, generation in (
        (r"(?:gemini-(?:1|2\.0)|gemini-pro$|gemma|learnlm)", _OLD),
        (r"gemini-2\.5-flash-lite", Generation(budget=Budget(512, 24576, may_be_off=True))),
        (r"gemini-2\.5-pro", Generation(budget=Budget(128, 32768, may_be_off=False))),
        (r"gemini-2\.5|gemini-robotics", Generation(budget=Budget(1, 24576, may_be_off=True))),
        (r"gemini-3-pro", Generation(levels=("LOW", "HIGH"), signatures=True, resolutions=True)),
        (r"gemini-3\.1-pro", Generation(levels=("LOW", "MEDIUM", "HIGH"), signatures=True, resolutions=True)),
        (r"gemini-3", _NEW),
        # The highest level came with this generation; older ones refuse it.
        (r"gemini-[4-9]", Generation(levels=_LEVELS, signatures=True, resolutions=True)),
    )
)


def find_generation(upstream: str) -> Generation:
    """upstream: the model's name at Google, with or without its collection."""
    name = upstream.rpartition("/")[2].lower()
    return next((generation for pattern, generation in _ROWS if pattern.match(name)), _NEW)


def fit_level(effort: str, generation: Generation) -> tuple[str, bool]:
    """-> (the level the model takes that comes closest, whether it means the same)."""
    wanted = _LEVEL_OF_EFFORT[effort]
    rank = _LEVELS.index(wanted)
    level = min(
        generation.levels, key=lambda known: (abs(_LEVELS.index(known) - rank), -_LEVELS.index(known))
    )
    return level, level == wanted and effort != "none"


def fit_budget(tokens: int, budget: Budget) -> int:
    """The budget the model takes that comes closest."""
    if tokens == 0 and budget.may_be_off:
        return 0
    return max(budget.low, min(tokens, budget.high))


def budget_of(effort: str) -> int:
    return _BUDGET_OF_EFFORT[effort]


def effort_of(tokens: int) -> str:
    return next((effort for bound, effort in _EFFORT_OF_BUDGET if tokens <= bound), "xhigh")
