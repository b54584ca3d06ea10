from __future__ import annotations

import pytest

from llmproxyd.adapters.anthropic_models import ThinkingStyle, budget_of, effort_of, facts_of, nearest_effort


@pytest.mark.parametrize(
    ("model", "style", "sampling"),
    [
        ("claude-opus-5-5", ThinkingStyle.ADAPTIVE, False),
        ("anthropic/claude-opus-5.5", ThinkingStyle.ADAPTIVE, False),
        ("eu.anthropic.claude-sonnet-5-20260801-v1:0", ThinkingStyle.ADAPTIVE, False),
        ("Claude-Haiku-5-5@20260901", ThinkingStyle.ADAPTIVE, False),
        ("claude-opus-4-8", ThinkingStyle.ADAPTIVE, False),
        ("claude-opus-4-7-20260501", ThinkingStyle.ADAPTIVE, False),
        ("claude-sonnet-4-6", ThinkingStyle.ADAPTIVE, True),
        ("claude-sonnet-4-5-20250929", ThinkingStyle.BUDGET, True),
        ("claude-opus-4-20250514", ThinkingStyle.BUDGET, True),
        ("claude-3-7-sonnet-20250219", ThinkingStyle.BUDGET, True),
        ("claude-3-5-sonnet-20241022", ThinkingStyle.NONE, True),
        ("claude-3-haiku-20240307", ThinkingStyle.NONE, True),
        ("claude-2.1", ThinkingStyle.NONE, True),
        ("claude-opus-latest", ThinkingStyle.ADAPTIVE, False),
        ("kimi-k3", ThinkingStyle.BUDGET, True),
    ],
)
def test_a_model_is_told_by_any_spelling_of_its_name(
    model: str, style: ThinkingStyle, sampling: bool
) -> None:
    facts = facts_of(model)
    assert (facts.thinking, facts.sampling) == (style, sampling)


def test_fable_and_mythos_always_think() -> None:
    assert facts_of("claude-mythos-5-2").always_thinks
    assert facts_of("claude-fable-5-2").always_thinks
    assert not facts_of("claude-opus-5-5").always_thinks


@pytest.mark.parametrize("model", ["claude-opus-4-20250514", "claude-3-7-sonnet-latest"])
def test_schemas_came_with_4_1(model: str) -> None:
    assert not facts_of(model).schemas
    assert facts_of("claude-opus-4-1").schemas


@pytest.mark.parametrize(
    ("budget", "effort"),
    [
        (0, "none"),
        (1, "minimal"),
        (1024, "minimal"),
        (2048, "low"),
        (9000, "high"),
        (31_999, "xhigh"),
        (10**9, "max"),
    ],
)
def test_a_budget_stands_for_the_least_effort_that_covers_it(budget: int, effort: str) -> None:
    assert effort_of(budget) == effort


def test_efforts_and_budgets_agree() -> None:
    for effort in ("none", "minimal", "low", "medium", "high", "xhigh", "max"):
        assert effort_of(budget_of(effort)) == effort


@pytest.mark.parametrize(
    ("wanted", "nearest"),
    [("minimal", "low"), ("low", "low"), ("xhigh", "high"), ("max", "max"), ("none", "low")],
)
def test_an_effort_the_model_does_not_know_becomes_the_nearest(wanted: str, nearest: str) -> None:
    assert nearest_effort(wanted, ("low", "medium", "high", "max")) == nearest
