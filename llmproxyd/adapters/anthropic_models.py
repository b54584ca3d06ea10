"""What Claude's generations take and refuse, as data, told by a model's name.

A name that is none of Claude's belongs to a server that copied the dialect: those know its older form.
Source: Anthropic's API reference and migration notes, read 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

Version: TypeAlias = tuple[int, int]

_MODERN = re.compile(r"claude-(opus|sonnet|haiku|fable|mythos)-(\d{1,2})(?:[-.](\d{1,2}))?(?![\d.])")
_EARLY = re.compile(r"claude-(\d)(?:[-.](\d))?(?!\d)")  # claude-3-5-sonnet-20241022, claude-2.1
_ALWAYS_THINKING = frozenset({"fable", "mythos"})


class ThinkingStyle(StrEnum):
    """How thinking is asked for: not at all, by a token budget, or by ``adaptive`` and an effort."""

    NONE = "none"
    BUDGET = "budget"
    ADAPTIVE = "adaptive"


class ModelFacts(msgspec.Struct, frozen=True):
    """``sampling``: takes temperature, top_p, top_k; ``both_samplings``: temperature and top_p together.
    ``always_thinks``: refuses to be told not to. ``efforts`` in rising order, empty: knows none. ``schemas``: takes
    ``output_config.format``. ``prefill``: continues an assistant's last message. ``system_turns``: takes instructions
    between the messages."""

    thinking: ThinkingStyle = ThinkingStyle.BUDGET
    sampling: bool = True
    both_samplings: bool = True
    always_thinks: bool = False
    efforts: tuple[str, ...] = ()
    schemas: bool = True
    prefill: bool = True
    system_turns: bool = False


_COPY = ModelFacts()
_EFFORTS = ("low", "medium", "high", "max")
_ALL_EFFORTS = ("low", "medium", "high", "xhigh", "max")

# From each version on, up to the next row.
_GENERATIONS: tuple[tuple[Version, ModelFacts], ...] = (
    ((0, 0), ModelFacts(ThinkingStyle.NONE, schemas=False)),
    ((3, 7), ModelFacts(ThinkingStyle.BUDGET, schemas=False)),
    ((4, 1), ModelFacts(ThinkingStyle.BUDGET, both_samplings=False)),
    (
        (4, 6),
        ModelFacts(
            ThinkingStyle.ADAPTIVE, both_samplings=False, efforts=_EFFORTS, prefill=False, system_turns=True
        ),
    ),
    (
        (4, 7),
        ModelFacts(ThinkingStyle.ADAPTIVE, sampling=False, efforts=_ALL_EFFORTS, prefill=False, system_turns=True),
    ),
)  # fmt: skip

# What a budget of thinking tokens and an effort are to each other; chosen once.
_BUDGETS: Mapping[str, int] = {
    "none": 0, "minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 32_768, "max": 65_536,
}  # fmt: skip
EFFORTS = frozenset(_BUDGETS)


@lru_cache(maxsize=512)
def facts_of(model: str) -> ModelFacts:
    """``model``: any spelling: with author or region before it, a date or version after it, dots for dashes."""
    name = model.casefold()
    modern = _MODERN.search(name)
    if modern is not None:
        facts = _generation((int(modern[2]), int(modern[3] or 0)))
        return replace(facts, always_thinks=True) if modern[1] in _ALWAYS_THINKING else facts
    early = _EARLY.search(name)
    if early is not None:
        return _generation((int(early[1]), int(early[2] or 0)))
    # Claude without a number is the latest of them.
    return _GENERATIONS[-1][1] if "claude" in name else _COPY


def budget_of(effort: str) -> int:
    """Tokens of thought that an effort stands for."""
    return _BUDGETS[effort]


def effort_of(budget: int) -> str:
    """The least effort whose budget is not below this one."""
    return next((effort for effort, tokens in _BUDGETS.items() if budget <= tokens), "max")


def nearest_effort(wanted: str, known: tuple[str, ...]) -> str:
    """The effort a model knows that is nearest to the wanted one; of two equally near, the cheaper."""
    if wanted in known:
        return wanted
    order = list(_BUDGETS)
    return min(
        known, key=lambda effort: (abs(order.index(effort) - order.index(wanted)), order.index(effort))
    )


def _generation(version: Version) -> ModelFacts:
    return next(facts for since, facts in reversed(_GENERATIONS) if version >= since)
