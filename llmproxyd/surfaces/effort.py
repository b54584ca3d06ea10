"""How hard the model is to think, as each dialect says it: what the envelope's ``effort`` holds.

The client's own word in lower case, ``none`` where it switches thinking off, ``budget`` where it gives a number or only
switches it on; None where it does not say. Read from the document as it came: nothing here raises, and what is not of
the expected form says nothing.
"""

from __future__ import annotations

from typing import Any, Final

from llmproxyd.surfaces.gemini_fields import camel
from llmproxyd.values.request import Document

BUDGET: Final = "budget"
NONE: Final = "none"
_MAX_LENGTH: Final = 16
"""Figures are kept for each word, so a text that is no word of an enumeration is not taken for one."""


def openai_effort(document: Document) -> str | None:
    """``reasoning_effort``, or ``reasoning.effort`` as relays of this dialect have it."""
    return _word(document.get("reasoning_effort")) or responses_effort(document)


def responses_effort(document: Document) -> str | None:
    reasoning = document.get("reasoning")
    return _word(reasoning.get("effort")) if isinstance(reasoning, dict) else None


def anthropic_effort(document: Document) -> str | None:
    """``thinking.type: disabled`` outweighs ``output_config.effort``, which then steers the answer alone."""
    thinking, config = document.get("thinking"), document.get("output_config")
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if kind == "disabled":
        return NONE
    effort = _word(config.get("effort")) if isinstance(config, dict) else None
    return effort or (BUDGET if kind == "enabled" else _word(kind))


def gemini_effort(thinking: Any) -> str | None:
    """thinking: ``generationConfig.thinkingConfig``, under either spelling of its fields."""
    if not isinstance(thinking, dict):
        return None
    given = {camel(name): value for name, value in thinking.items()}
    level = _word(given.get("thinkingLevel"))
    if level is not None:
        return level
    budget = given.get("thinkingBudget")
    if budget is None:
        return None
    return NONE if budget in (0, "0") else BUDGET


def ollama_effort(document: Document) -> str | None:
    think = document.get("think")
    if isinstance(think, bool):
        return BUDGET if think else NONE
    return _word(think)


def _word(value: Any) -> str | None:
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_LENGTH:
        return None
    return value.lower()
