from __future__ import annotations

from typing import Any

import pytest

from llmproxyd.routing.across import further
from llmproxyd.routing.compile import compile_routes
from llmproxyd.routing.decide import decide
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.plan import Breaker, Gauge, Question, Readings
from llmproxyd.values.request import Capability, Operation
from llmproxyd.values.snapshot import (
    DEFAULT_FALLBACK_ON,
    Degrade,
    Deployment,
    FallbackPolicy,
    RankBy,
    Requirement,
    Rule,
    TargetKind,
    Zone,
)
from tests.routing.build import cost, deployment, privacy, provider, snapshot, target, usd
from tests.support.records import replace

TOOLS = frozenset({Capability.TOOLS})
MORE = frozenset({Capability.TOOLS, Capability.VISION})
WANTED = deployment("a/big", capabilities=TOOLS, price=usd(1, 1), context_window=8_000)
ALIKE = deployment("b/alike", capabilities=MORE, price=usd(3, 3), context_window=32_000)
SMALL = deployment("c/small", capabilities=TOOLS, price=usd(0.1, 0.1), context_window=8_000)
POLICY = FallbackPolicy(on=DEFAULT_FALLBACK_ON)
DEGRADING = replace(POLICY, degrade=(Degrade.SMALLER_MODEL, Degrade.ERROR))


def names(
    *deployments: Deployment,
    failure: str = "model_unavailable",
    model: str = "big",
    policy: FallbackPolicy = POLICY,
    rules: list[Rule] | None = None,
    readings: Readings | None = None,
    targets: Any = (),
    **facts: Any,
) -> list[str]:
    """Who else may answer when ``model`` has failed."""
    routes = compile_routes(snapshot(*deployments, fallback=policy, rules=rules or [], targets=targets))
    question, readings = Question(model=model, **facts), readings or Readings()
    plan = decide(question, routes, readings)
    failed = Failure(FailureKind(failure), "it failed")
    return [c.deployment.name for c in further(plan, question, routes, readings, failed)]


class TestTheModelIsNotThere:
    def test_one_that_can_do_the_same_may_answer(self) -> None:
        assert names(WANTED, ALIKE, SMALL) == ["b/alike", "c/small"]

    def test_a_rule_orders_them_as_ever(self) -> None:
        assert names(WANTED, ALIKE, SMALL, rules=[cost(rank_by=RankBy.PRICE)]) == ["c/small", "b/alike"]

    def test_whoever_is_held_back_comes_last(self) -> None:
        readings = Readings({ALIKE.key: Gauge(breaker=Breaker.OPEN, ready_s=9.0)}, all_well=False)
        assert names(WANTED, ALIKE, SMALL, readings=readings) == ["c/small", "b/alike"]

    @pytest.mark.parametrize("capabilities", [None, frozenset(), frozenset({Capability.VISION})])
    def test_one_that_can_do_less_or_whose_abilities_are_unknown_may_not(self, capabilities: Any) -> None:
        assert names(WANTED, replace(ALIKE, capabilities=capabilities)) == []

    def test_where_nobody_knows_what_the_model_could_do_anybody_able_may(self) -> None:
        unknown = replace(ALIKE, capabilities=None)
        assert names(replace(WANTED, capabilities=None), unknown) == ["b/alike"]

    @pytest.mark.parametrize(("price", "found"), [(usd(3, 3), ["b/alike"]), (usd(3.01, 3), []), (None, [])])
    def test_it_costs_at_most_so_many_times_as_much(self, price: Any, found: list[str]) -> None:
        assert names(WANTED, replace(ALIKE, price=price)) == found

    def test_nobody_may_who_can_cost_more_than_the_caller_allows(self) -> None:
        """16,448 tokens at most: 0.016448 USD with the model that was wanted, three times as much with the one like it."""
        assert names(WANTED, ALIKE, SMALL, max_cost_nanos=16_448_000) == ["c/small"]
        assert names(WANTED, ALIKE, SMALL, max_cost_nanos=49_344_000) == ["b/alike", "c/small"]

    def test_where_the_price_was_unknown_only_what_is_free_is_known_to_cost_no_more(self) -> None:
        unpriced, free = (
            replace(WANTED, price=None),
            deployment("l/m", provider("l", Zone.LOCAL), capabilities=TOOLS),
        )
        assert names(unpriced, ALIKE, SMALL, free) == ["l/m"]

    def test_not_if_the_operator_does_not_want_it(self) -> None:
        assert names(WANTED, ALIKE, policy=replace(POLICY, across_models=False)) == []

    def test_not_after_a_failure_that_may_not_be_followed_by_anybody(self) -> None:
        assert names(WANTED, ALIKE, policy=replace(POLICY, on=frozenset({FailureKind.TIMEOUT}))) == []
        assert names(WANTED, ALIKE, policy=replace(POLICY, attempts=1)) == []

    @pytest.mark.parametrize("failure", ["model_unavailable", "too_large", "overloaded"])
    def test_not_for_somebody_who_named_one_deployment(self, failure: str) -> None:
        cheap = replace(SMALL, context_window=99_000)
        found = names(WANTED, ALIKE, cheap, failure=failure, model="a/big", policy=DEGRADING)
        assert found == []

    def test_an_alias_has_it_too_and_any_has_asked_everybody_already(self) -> None:
        alias = target("smart", TargetKind.LIST, WANTED)
        assert names(WANTED, ALIKE, model="smart", targets=[alias]) == ["b/alike"]
        assert names(WANTED, ALIKE, model="auto") == []

    def test_mock_stands_in_for_nobody(self) -> None:
        mock = deployment("mock/echo", provider("mock", Zone.LOCAL), capabilities=MORE)
        assert names(WANTED, mock) == []


class TestEveryGateHolds:
    @pytest.mark.parametrize(
        "rule",
        [
            privacy(require=Requirement(providers=("a",))),
            cost(exclude=Requirement(models=("alike",))),
            privacy(label=2),
        ],
        ids=["required", "excluded", "not cleared"],
    )
    def test_whom_the_rules_keep_out_stays_out(self, rule: Rule) -> None:
        cleared = replace(WANTED, provider=provider("a", clearance=3))
        assert names(cleared, ALIKE, rules=[rule]) == []

    def test_whoever_cannot_serve_the_request_stays_out(self) -> None:
        deaf = replace(WANTED, capabilities=None)
        needs = frozenset({Capability.AUDIO})
        assert names(deaf, ALIKE, needs=needs) == []
        assert names(WANTED, replace(ALIKE, operations=frozenset({Operation.EMBEDDING}))) == []

    def test_whoever_is_not_in_use_stays_out(self) -> None:
        assert names(WANTED, replace(ALIKE, provider=provider("b", enabled=False))) == []


class TestTheRequestIsTooLong:
    def test_a_larger_window_may_answer(self) -> None:
        assert names(WANTED, ALIKE, SMALL, failure="too_large") == ["b/alike"]

    def test_a_window_nobody_knows_may_not(self) -> None:
        assert names(WANTED, replace(ALIKE, context_window=None), failure="too_large") == []

    def test_it_must_be_able_to_do_the_same_for_the_price(self) -> None:
        assert names(WANTED, replace(ALIKE, price=usd(9)), failure="too_large") == []
        assert names(WANTED, replace(ALIKE, capabilities=frozenset()), failure="too_large") == []


class TestASmallerModel:
    @pytest.mark.parametrize(
        "failure",
        ["rate_limited", "overloaded", "timeout", "unreachable", "bad_answer", "saturated"],
    )
    def test_a_cheaper_one_answers_if_the_operator_says_so(self, failure: str) -> None:
        assert names(WANTED, ALIKE, SMALL, failure=failure, policy=DEGRADING) == ["c/small"]
        assert names(WANTED, ALIKE, SMALL, failure=failure) == []

    def test_it_needs_not_be_able_to_do_all_the_other_could(self) -> None:
        simple = replace(SMALL, capabilities=frozenset())
        assert names(WANTED, simple, failure="timeout", policy=DEGRADING) == ["c/small"]

    @pytest.mark.parametrize("failure", ["provider_denied", "content_refused", "bad_request", "unsupported"])
    def test_not_after_a_failure_that_stays(self, failure: str) -> None:
        policy = replace(DEGRADING, on=frozenset(FailureKind))
        assert names(WANTED, SMALL, failure=failure, policy=policy) == []

    def test_not_where_the_error_comes_first(self) -> None:
        policy = replace(POLICY, degrade=(Degrade.ERROR, Degrade.SMALLER_MODEL))
        assert names(WANTED, SMALL, failure="timeout", policy=policy) == []

    def test_not_where_the_price_is_unknown(self) -> None:
        assert names(replace(WANTED, price=None), SMALL, failure="timeout", policy=DEGRADING) == []
        assert names(WANTED, replace(SMALL, price=None), failure="timeout", policy=DEGRADING) == []


def test_a_plan_that_never_had_a_candidate_gets_none() -> None:
    fence = privacy(require=Requirement(zones=(Zone.LOCAL,)))
    assert names(WANTED, ALIKE, rules=[fence]) == []
    assert names(WANTED, ALIKE, model="nobody-knows-it") == []
