from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.adapters.anthropic_models import EFFORTS, facts_of
from llmproxyd.adapters.anthropic_thinking import (
    MIN_BUDGET_TOKENS,
    Circumstances,
    Thought,
    Wish,
    fit_thinking,
    read_wish,
)

ROOMY = Circumstances(max_tokens=64_000)
NEW, FOUR_SIX, OLD, EARLY = (
    "claude-opus-5-5",
    "claude-sonnet-4-6",
    "claude-sonnet-4-5",
    "claude-3-5-sonnet-20241022",
)
ADAPTIVE = {"type": "adaptive"}


def enabled(budget: int) -> dict[str, Any]:
    return {"type": "enabled", "budget_tokens": budget}


@pytest.mark.parametrize(
    ("model", "wish", "thinking", "effort"),
    [
        (NEW, Wish(), None, None),
        (NEW, Wish(effort="high"), ADAPTIVE, "high"),
        (NEW, Wish(effort="minimal"), ADAPTIVE, "low"),
        (NEW, Wish(effort="none"), {"type": "disabled"}, None),
        (NEW, Wish(budget=20_000), ADAPTIVE, "xhigh"),
        (NEW, Wish(kind="enabled", budget=5000), ADAPTIVE, "medium"),
        (NEW, Wish(kind="adaptive", display="omitted"), {**ADAPTIVE, "display": "omitted"}, None),
        (NEW, Wish(kind="between_tools"), {"type": "between_tools"}, None),
        (FOUR_SIX, Wish(effort="xhigh"), ADAPTIVE, "high"),
        (OLD, Wish(effort="low"), enabled(2048), None),
        (OLD, Wish(budget=5000), enabled(5000), None),
        (OLD, Wish(budget=10), enabled(1024), None),
        (OLD, Wish(kind="adaptive"), enabled(16_384), None),
        (OLD, Wish(effort="none"), {"type": "disabled"}, None),
        (OLD, Wish(budget=0), {"type": "disabled"}, None),
        (EARLY, Wish(effort="none"), None, None),
        ("claude-mythos-5-2", Wish(effort="none"), None, "low"),
        ("kimi-k3", Wish(effort="medium"), enabled(8192), None),
    ],
)
def test_each_generation_is_asked_to_think_in_its_own_way(
    model: str, wish: Wish, thinking: dict[str, Any] | None, effort: str | None
) -> None:
    thought = fit_thinking(wish, facts_of(model), ROOMY)
    assert (thought.thinking, thought.effort) == (thinking, effort)


@pytest.mark.parametrize(
    ("model", "around", "why"),
    [
        (EARLY, ROOMY, "does not think"),
        (NEW, Circumstances(64_000, forced=True), "tool_choice"),
        (OLD, Circumstances(64_000, forced=True), "tool_choice"),
        (OLD, Circumstances(64_000, unsigned=True), "tool calls before"),
        (OLD, Circumstances(2000), "no room"),
    ],
)
def test_where_thinking_would_be_refused_it_is_left_out_and_said(
    model: str, around: Circumstances, why: str
) -> None:
    thought = fit_thinking(Wish(effort="high"), facts_of(model), around)
    assert thought.thinking is None
    ((field, said),) = thought.problems
    assert field == "thinking"
    assert why in said


def test_adaptive_thinking_may_go_on_from_an_unsigned_turn() -> None:
    assert (
        fit_thinking(Wish(effort="low"), facts_of(NEW), Circumstances(100, unsigned=True)).thinking
        == ADAPTIVE
    )


def test_pitfall_42_a_budget_leaves_room_for_the_answer() -> None:
    assert fit_thinking(Wish(effort="high"), facts_of(OLD), Circumstances(8000)).thinking == enabled(4000)


def test_an_effort_that_had_to_be_changed_is_said() -> None:
    assert fit_thinking(Wish(effort="minimal"), facts_of(NEW), ROOMY).problems == (
        ("effort", "low instead of minimal"),
    )


@given(
    st.builds(
        Wish,
        st.sampled_from([None, "adaptive", "enabled", "disabled", "between_tools"]),
        st.none() | st.sampled_from(sorted(EFFORTS)),
        st.none() | st.integers(-5, 200_000),
    ),
    st.sampled_from([NEW, FOUR_SIX, OLD, EARLY, "claude-fable-5-2", "kimi-k3"]),
    st.builds(Circumstances, st.integers(0, 200_000), st.booleans(), st.booleans()),
)
def test_what_is_asked_for_is_always_something_the_model_takes(
    wish: Wish, model: str, around: Circumstances
) -> None:
    facts = facts_of(model)
    thought: Thought = fit_thinking(wish, facts, around)
    assert thought.effort is None or thought.effort in facts.efforts
    if thought.thinking is None:
        return
    match thought.thinking["type"]:
        case "enabled":
            assert MIN_BUDGET_TOKENS <= thought.thinking["budget_tokens"] < around.max_tokens
            assert not around.forced
        case "adaptive" | "between_tools":
            assert facts.efforts
            assert not around.forced
        case other:
            assert other == "disabled"
            assert not facts.always_thinks


@pytest.mark.parametrize(
    ("document", "wish"),
    [
        ({}, Wish()),
        ({"thinking": None, "output_config": 3}, Wish()),
        ({"thinking": {"type": "enabled", "budget_tokens": True}}, Wish(kind="enabled")),
        ({"output_config": {"effort": "gigantic"}}, Wish()),
        (
            {"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "max"}},
            Wish("adaptive", "max", None, "omitted"),
        ),
    ],
)
def test_a_wish_is_read_from_a_body_and_what_is_not_understood_counts_as_absent(
    document: dict[str, Any], wish: Wish
) -> None:
    assert read_wish(document) == wish
