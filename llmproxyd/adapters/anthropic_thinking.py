"""How thinking is asked for, by the generation of the model: a budget, an effort, or not at all.

Both lanes use it: a translation builds its wish from canonical content, a body that passes verbatim to another
generation than its client had in mind is fitted the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from llmproxyd.adapters.anthropic_models import (
    EFFORTS,
    ModelFacts,
    ThinkingStyle,
    budget_of,
    effort_of,
    nearest_effort,
)
from llmproxyd.values.request import Document

MIN_BUDGET_TOKENS = 1024
_DEFAULT_EFFORT = "high"  # what adaptive thinking does without being told


class Wish(msgspec.Struct, frozen=True):
    """What was asked for. ``kind`` is ``thinking.type`` where the client spoke this dialect, else None."""

    kind: str | None = None
    effort: str | None = None
    budget: int | None = None
    display: str | None = None

    @property
    def off(self) -> bool:
        return self.kind == "disabled" or self.effort == "none" or self.budget == 0

    @property
    def on(self) -> bool:
        if self.off:
            return False
        return self.kind is not None or self.effort is not None or self.budget is not None


class Circumstances(msgspec.Struct, frozen=True):
    """What else bears on it. ``forced``: a tool call is demanded. ``unsigned``: the tool loop in progress began with a
    turn that has no thought of this dialect's. ``max_tokens`` counts thought and answer together."""

    max_tokens: int
    forced: bool = False
    unsigned: bool = False


class Thought(msgspec.Struct, frozen=True):
    """``thinking`` and ``output_config.effort`` to send, None for neither; ``problems``: (field, why) for what of the
    wish is not in them."""

    thinking: Document | None = None
    effort: str | None = None
    problems: tuple[tuple[str, str], ...] = ()


def fit_thinking(wish: Wish, facts: ModelFacts, around: Circumstances) -> Thought:
    """The nearest thing to ``wish`` that the model takes."""
    if wish.off:
        return _disabled(wish, facts)
    effort = _effort(wish, facts)
    if not wish.on:
        return Thought(effort=effort)
    refusal = _refusal(facts, around)
    if refusal is not None:
        return Thought(None, effort, (("thinking", refusal),))
    if facts.thinking is ThinkingStyle.BUDGET:
        return _budgeted(wish, effort, around)
    kind = wish.kind if wish.kind == "between_tools" else "adaptive"
    changes = tuple(_effort_changes(wish, effort))
    return Thought(_shown({"type": kind}, wish), effort, changes)


def read_wish(document: Document) -> Wish:
    """The wish in a body of this dialect. What is not understood counts as absent."""
    thinking, config = document.get("thinking"), document.get("output_config")
    thinking = thinking if isinstance(thinking, dict) else {}
    config = config if isinstance(config, dict) else {}
    budget, effort = thinking.get("budget_tokens"), _text(config, "effort")
    return Wish(
        kind=_text(thinking, "type"),
        effort=effort if effort in EFFORTS else None,
        budget=budget if isinstance(budget, int) and not isinstance(budget, bool) else None,
        display=_text(thinking, "display"),
    )


def _disabled(wish: Wish, facts: ModelFacts) -> Thought:
    effort = None if wish.effort == "none" else _effort(wish, facts)
    if facts.always_thinks:
        least = effort or (facts.efforts[0] if facts.efforts else None)
        return Thought(None, least, (("thinking", "this model always thinks"),))
    if facts.thinking is ThinkingStyle.NONE:
        return Thought()
    return Thought({"type": "disabled"}, effort)


def _refusal(facts: ModelFacts, around: Circumstances) -> str | None:
    """Why the model must not be asked to think, or to think in this request."""
    if facts.thinking is ThinkingStyle.NONE:
        return "this model does not think"
    if around.forced:
        return "tool_choice demands a call"
    if around.unsigned and facts.thinking is ThinkingStyle.BUDGET:
        return "the tool calls before were made without it"
    return None


def _effort(wish: Wish, facts: ModelFacts) -> str | None:
    """The effort to send: the one wished for, or the one a budget stands for, as near as the model knows it."""
    if not facts.efforts:
        return None
    wanted = wish.effort or (effort_of(wish.budget) if wish.budget else None)
    return None if wanted is None else nearest_effort(wanted, facts.efforts)


def _effort_changes(wish: Wish, effort: str | None) -> Iterator[tuple[str, str]]:
    if wish.effort is not None and effort is not None and effort != wish.effort:
        yield "effort", f"{effort} instead of {wish.effort}"


def _budgeted(wish: Wish, effort: str | None, around: Circumstances) -> Thought:
    budget = max(wish.budget or budget_of(wish.effort or _DEFAULT_EFFORT), MIN_BUDGET_TOKENS)
    if budget >= around.max_tokens:
        # Some of the limit has to remain for the answer itself.
        budget = around.max_tokens // 2
    if budget < MIN_BUDGET_TOKENS:
        return Thought(None, effort, (("thinking", "max_tokens leaves no room for it"),))
    return Thought(_shown({"type": "enabled", "budget_tokens": budget}, wish), effort)


def _shown(thinking: dict[str, Any], wish: Wish) -> dict[str, Any]:
    return thinking if wish.display is None else thinking | {"display": wish.display}


def _text(document: Document, name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) else None
