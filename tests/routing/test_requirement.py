from __future__ import annotations

from typing import Any

import pytest

from llmproxyd.routing.requirement import blended_usd, compile_gates, describe, quality_of
from llmproxyd.values.request import Capability
from llmproxyd.values.snapshot import Range, Requirement, Rule, Stage, Zone
from tests.routing.build import cost, deployment, privacy, provider, usd

HOME = deployment("ollama/llama", provider("ollama", Zone.LOCAL), context_window=8_000)
DEAR = deployment(
    "openai/gpt",
    price=usd(4, 12),
    context_window=128_000,
    capabilities=frozenset({Capability.TOOLS, Capability.VISION}),
    quality={"default": 0.9, "code": 0.3},
)
PLAIN = deployment("other/base", capabilities=frozenset[Capability]())
ALL = (HOME, DEAR, PLAIN)


def passing(rule: Rule, task: str | None = None, *, explicit: bool = False) -> set[str]:
    kept = set(range(len(ALL)))
    for gate in compile_gates(rule, ALL, ["code"]):
        kept &= gate.passing(task, explicit=explicit)
    return {ALL[i].name for i in kept}


@pytest.mark.parametrize(
    ("requirement", "names"),
    [
        (Requirement(zones=(Zone.LOCAL,)), {"ollama/llama"}),
        (Requirement(zones=(Zone.LOCAL, Zone.EXTERNAL)), {"ollama/llama", "openai/gpt", "other/base"}),
        (Requirement(providers=("openai",)), {"openai/gpt"}),
        (Requirement(models=("gpt",)), {"openai/gpt"}),
        (Requirement(models=("openai/gpt", "base")), {"openai/gpt", "other/base"}),
        (Requirement(context_window=Range("context_window", gte=10_000)), {"openai/gpt"}),
        (Requirement(quality=Range("quality", gte=0.6)), {"openai/gpt"}),
        (Requirement(price=Range("price", lte=6.0)), {"ollama/llama", "openai/gpt"}),
        (Requirement(price=Range("price", lt=6.0)), {"ollama/llama"}),
        (Requirement(zones=(Zone.EXTERNAL,), providers=("ollama",)), set()),
    ],
)
def test_every_field_given_must_hold(requirement: Requirement, names: set[str]) -> None:
    assert passing(cost(require=requirement)) == names


@pytest.mark.parametrize(
    ("requirement", "names"),
    [
        (Requirement(zones=(Zone.LOCAL,)), {"openai/gpt", "other/base"}),
        (Requirement(zones=(Zone.EXTERNAL,), providers=("openai",)), {"ollama/llama", "other/base"}),
        (Requirement(price=Range("price", gt=1.0)), {"ollama/llama", "other/base"}),
    ],
)
def test_exclude_turns_away_only_who_is_all_of_it(requirement: Requirement, names: set[str]) -> None:
    assert passing(cost(exclude=requirement)) == names


def test_unknown_capabilities_rule_nothing_out() -> None:
    tools = Requirement(capabilities=(Capability.TOOLS,))
    assert passing(cost(require=tools)) == {"ollama/llama", "openai/gpt"}
    assert passing(cost(exclude=tools)) == {"ollama/llama", "other/base"}


def test_an_unknown_price_fails_a_price_require_and_an_unknown_window_a_window_require() -> None:
    assert "other/base" not in passing(cost(require=Requirement(price=Range("price", gte=0))))
    assert "other/base" not in passing(
        cost(require=Requirement(context_window=Range("context_window", gte=0)))
    )


def test_quality_is_that_of_the_task_else_the_default_else_one_half() -> None:
    assert quality_of(DEAR, "code") == 0.3
    assert quality_of(DEAR, "poetry") == 0.9
    assert quality_of(DEAR, None) == 0.9
    assert quality_of(HOME, "code") == 0.5


def test_a_quality_require_reads_the_task() -> None:
    rule = cost(require=Requirement(quality=Range("quality", gte=0.4)))
    assert passing(rule, task="code") == {"ollama/llama", "other/base"}
    assert passing(rule, task="poetry") == {"ollama/llama", "openai/gpt", "other/base"}


class TestExplicitNames:
    @pytest.mark.parametrize(
        "what",
        [
            {"require": Requirement(quality=Range("quality", gte=0.95))},
            {"exclude": Requirement(quality=Range("quality", gte=0.0))},
        ],
    )
    def test_quality_never_stands_in_the_way(self, what: dict[str, Any]) -> None:
        assert passing(cost(**what)) == set()
        assert passing(cost(**what), explicit=True) == {"ollama/llama", "openai/gpt", "other/base"}

    def test_the_rest_of_the_same_require_does(self) -> None:
        both = Requirement(zones=(Zone.LOCAL,), quality=Range("quality", gte=0.95))
        assert passing(cost(require=both), explicit=True) == {"ollama/llama"}

    def test_the_fence_means_quality_too(self) -> None:
        rule = privacy(require=Requirement(quality=Range("quality", gte=0.4)))
        assert passing(rule, task="code", explicit=True) == {"ollama/llama", "other/base"}


def test_a_price_is_blended_three_parts_input_to_one_part_output() -> None:
    assert blended_usd(DEAR) == pytest.approx((3 * 4 + 12) / 4)
    assert blended_usd(HOME) == 0.0
    assert blended_usd(PLAIN) is None


def test_the_verdict_says_in_words_what_was_asked() -> None:
    rule = Rule(
        name="home",
        stage=Stage.PRIVACY,
        require=Requirement(zones=(Zone.LOCAL, Zone.PRIVATE), quality=Range("quality", gte=0.5)),
    )
    (gate,) = compile_gates(rule, ALL, [])
    assert gate.verdict.reason == "rule `home` requires zone local or private, quality >= 0.5"
    assert describe(Requirement(price=Range("price", gt=1, lte=5))) == "price > 1 and <= 5"
