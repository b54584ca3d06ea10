from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.routing.compile import compile_routes
from llmproxyd.routing.cost import EXPECTED_OUTPUT_TOKENS, bands, expected_output_tokens, expected_usd
from llmproxyd.values.budget import Bound, Objection
from llmproxyd.values.failure import FailureKind
from llmproxyd.values.plan import KnownPrompt, Question
from llmproxyd.values.request import Operation, Overrides
from llmproxyd.values.snapshot import Absent, Deployment, OneOf, Range, RankBy, Zone
from tests.routing.build import ask, cost, deployment, order, provider, reasons, snapshot, usd


def price_of(one: Deployment, question: Question) -> float | None:
    (option,) = compile_routes(snapshot(one)).shortlists[one.name].fields[question.operation].options
    return expected_usd(option, question)


class TestExpectedPrice:
    QUESTION = Question(model="auto", prompt=KnownPrompt(tokens_in=10_000), max_output_tokens=200)

    def test_is_input_and_output_at_their_rates(self) -> None:
        assert price_of(deployment("a/m", price=usd(3, 15)), self.QUESTION) == pytest.approx(0.03 + 0.003)

    def test_of_a_local_deployment_without_a_price_is_nothing(self) -> None:
        assert price_of(deployment("a/m", provider("a", Zone.LOCAL)), self.QUESTION) == 0.0

    def test_of_any_other_without_a_price_is_unknown(self) -> None:
        assert price_of(deployment("a/m"), self.QUESTION) is None

    def test_of_a_free_deployment_needs_no_count_of_tokens(self) -> None:
        class Uncountable(KnownPrompt, frozen=True):
            def __getattribute__(self, name: str) -> object:
                assert name != "tokens_in", "counted for nothing"
                return super().__getattribute__(name)

        free = deployment("a/m", price=usd(0, 0))
        assert price_of(free, Question(model="auto", prompt=Uncountable())) == 0.0


@pytest.mark.parametrize(
    ("question", "tokens"),
    [
        (Question(model="m"), EXPECTED_OUTPUT_TOKENS),
        (Question(model="m", max_output_tokens=10), 10),
        (Question(model="m", max_output_tokens=64_000), EXPECTED_OUTPUT_TOKENS),
        (Question(model="m", max_output_tokens=10, n=3), 30),
        (Question(model="m", operation=Operation.EMBEDDING), 0),
        (Question(model="m", operation=Operation.COUNT_TOKENS), 0),
    ],
)
def test_an_answer_is_expected_to_be_as_long_as_usual_or_as_allowed(question: Question, tokens: int) -> None:
    assert expected_output_tokens(question) == tokens


class TestBands:
    @pytest.mark.parametrize(
        ("prices", "within", "expected"),
        [
            ([1.0, 1.1, 1.11], 0.1, [0, 0, 1]),
            ([1.11, 1.0, 1.1], 0.1, [1, 0, 0]),
            ([1.0, 1.09, 1.18], 0.1, [0, 0, 1]),  # measured from the cheapest, not from the neighbour
            ([0.57, 0.5985], 0.05, [0, 0]),  # exactly 5 %, though not in binary fractions
            ([0.0, 0.0, 0.1], 0.5, [0, 0, 1]),
            ([2.0, inf, inf], 0.1, [0, 1, 1]),
            ([], 0.1, []),
        ],
    )
    def test_run_from_the_cheapest_up_to_the_share_above_it(
        self, prices: list[float], within: float, expected: list[float]
    ) -> None:
        assert bands(prices, within) == expected

    @given(st.lists(st.floats(0, 1e6), max_size=12), st.floats(0, 2))
    def test_never_reorder_prices_and_never_span_more_than_the_share(
        self, prices: list[float], within: float
    ) -> None:
        numbered = sorted(zip(prices, bands(prices, within), strict=True))
        assert [b for _, b in numbered] == sorted(b for _, b in numbered)
        for band in {b for _, b in numbered}:
            members = [p for p, b in numbered if b == band]
            assert max(members) <= min(members) * (1 + within) * (1 + 1e-6)


class TestRankByPrice:
    CHEAP, DEAR, UNKNOWN = (
        deployment("b/cheap", price=usd(1, 1)),
        deployment("a/dear", price=usd(5, 5)),
        deployment("a/unknown"),
    )

    def test_puts_the_cheapest_first_and_unknown_prices_last(self) -> None:
        plan = ask(snapshot(self.UNKNOWN, self.DEAR, self.CHEAP, rules=[cost(rank_by=RankBy.PRICE)]))
        assert order(plan) == ["b/cheap", "a/dear", "a/unknown"]

    def test_goes_by_the_price_of_this_request(self) -> None:
        reader = deployment("a/reader", price=usd(1, 50))
        writer = deployment("b/writer", price=usd(10, 1))
        given_rules = snapshot(reader, writer, rules=[cost(rank_by=RankBy.PRICE)])
        long_prompt = ask(given_rules, prompt=KnownPrompt(tokens_in=100_000), max_output_tokens=10)
        short_prompt = ask(given_rules, prompt=KnownPrompt(tokens_in=10))
        assert order(long_prompt)[0] == "a/reader"
        assert order(short_prompt)[0] == "b/writer"

    def test_says_what_it_expects(self) -> None:
        plan = ask(
            snapshot(self.CHEAP, self.UNKNOWN, rules=[cost("cheapest", rank_by=RankBy.PRICE)]),
            prompt=KnownPrompt(tokens_in=500),
        )
        said = [(v.rule, v.reason) for c in plan.candidates for v in c.verdicts]
        assert said == [("cheapest", "expected price 0.001000 USD"), ("cheapest", "price unknown")]

    def test_leaves_the_order_within_a_band_to_what_comes_after(self) -> None:
        near = deployment("z/near", price=usd(1.05, 1.05))
        banded = cost(rank_by=RankBy.PRICE, within=0.1)
        then = cost("then", prefer=("z",))
        assert order(ask(snapshot(self.CHEAP, near, rules=[banded, then])))[0] == "z/near"
        exact = cost(rank_by=RankBy.PRICE)
        assert order(ask(snapshot(self.CHEAP, near, rules=[exact, then])))[0] == "b/cheap"


class Means:
    """A purse with one budget of so many nano-dollars that is spent by a share."""

    def __init__(self, left: float = 1.0, room_nanos: int = 0) -> None:
        self.left = left
        self.room_nanos = room_nanos

    def objection(self, deployment: Deployment, bound: Bound) -> Objection | None:
        if bound.nanos is None:
            return Objection("its price is unknown", "price_unknown")
        if bound.nanos > self.room_nanos:
            return Objection(
                "budget `b` has less left", "budget_exceeded", 60.0 if bound.nanos < 10**9 else 90.0
            )
        return None


DEAR, CHEAP = deployment("a/dear", price=usd(10, 100)), deployment("b/cheap", price=usd(1, 10))
UNKNOWN, HOME = deployment("c/unknown"), deployment("d/home", provider("d", Zone.LOCAL))
EVERYBODY = (DEAR, CHEAP, UNKNOWN, HOME)
KNOWN = KnownPrompt(tokens_in=1000)


class TestMaxCost:
    """1,000 tokens in and 500 out: 0.06 USD with the dear one, 0.006 with the cheap one."""

    def test_drops_who_is_expected_to_cost_more_and_who_cannot_say(self) -> None:
        plan = ask(snapshot(*EVERYBODY, rules=[cost(max_cost_nanos=10**7)]), prompt=KNOWN)
        assert sorted(order(plan)) == ["b/cheap", "d/home"]
        assert reasons(plan) == {
            "a/dear": "a/dear: expected price 0.060000 USD, and rule `thrift` allows 0.01 USD",
            "c/unknown": "c/unknown: its price is unknown, and rule `thrift` allows 0.01 USD",
        }

    def test_is_the_lowest_of_all_rules_that_match(self) -> None:
        rules = [
            cost("wide", max_cost_nanos=10**9),
            cost("narrow", max_cost_nanos=1),
            cost("others", max_cost_nanos=0, when=OneOf("user", ("bob",))),
        ]
        plan = ask(snapshot(CHEAP, HOME, rules=rules), prompt=KNOWN)
        assert order(plan) == ["d/home"]
        assert "`narrow`" in reasons(plan)["b/cheap"]

    def test_counts_for_a_deployment_that_was_asked_for_by_name(self) -> None:
        plan = ask(snapshot(DEAR, rules=[cost(max_cost_nanos=10**7)]), "a/dear", prompt=KNOWN)
        assert plan.failure is not None
        assert (plan.failure.kind, plan.failure.code) == (FailureKind.LIMIT_REACHED, "max_cost")
        assert "`thrift`" in plan.failure.message
        assert plan.failure.retry_after_s is None

    def test_lets_through_what_costs_exactly_as_much(self) -> None:
        assert order(ask(snapshot(CHEAP, rules=[cost(max_cost_nanos=6 * 10**6)]), prompt=KNOWN)) == [
            "b/cheap"
        ]

    def test_is_no_matter_for_counting_tokens(self) -> None:
        able = deployment("c/unknown", operations=frozenset({Operation.COUNT_TOKENS}))
        plan = ask(
            snapshot(able, rules=[cost(max_cost_nanos=0)]), operation=Operation.COUNT_TOKENS, prompt=KNOWN
        )
        assert order(plan) == ["c/unknown"]


class TestTheCallersBound:
    """936 bytes and 64 tokens of frame in, 500 tokens out: 0.06 USD at most with the dear one, 0.006 with the cheap one."""

    FACTS: Mapping[str, Any] = {"prompt": KNOWN, "bytes_in": 936, "max_output_tokens": 500}

    def test_is_kept_to_the_nano_dollar(self) -> None:
        world = snapshot(CHEAP, DEAR)
        assert order(ask(world, max_cost_nanos=60_000_000, **self.FACTS)) == ["a/dear", "b/cheap"]
        assert order(ask(world, max_cost_nanos=59_999_999, **self.FACTS)) == ["b/cheap"]

    def test_drops_who_cannot_say_what_it_costs(self) -> None:
        plan = ask(snapshot(*EVERYBODY), max_cost_nanos=0, **self.FACTS)
        assert order(plan) == ["d/home"]
        assert reasons(plan)["c/unknown"] == (
            "c/unknown: its price is unknown, and x-llmproxyd-max-cost allows 0.00 USD"
        )

    def test_goes_by_the_output_that_a_rule_allows(self) -> None:
        short = cost(set=Overrides(max_tokens=5))
        assert order(ask(snapshot(DEAR, rules=[short]), max_cost_nanos=10_500_000, **self.FACTS)) == [
            "a/dear"
        ]

    def test_and_a_rules_are_both_kept(self) -> None:
        rules = [cost(max_cost_nanos=10**7)]
        plan = ask(snapshot(CHEAP, DEAR, rules=rules), max_cost_nanos=5_999_999, **self.FACTS)
        assert plan.failure is not None
        assert (plan.failure.kind, plan.failure.code) == (FailureKind.LIMIT_REACHED, "max_cost")
        assert "rule `thrift` allows" in plan.failure.message
        assert "x-llmproxyd-max-cost allows" in plan.failure.message

    def test_is_no_matter_for_counting_tokens(self) -> None:
        able = deployment("c/unknown", operations=frozenset({Operation.COUNT_TOKENS}))
        plan = ask(snapshot(able), operation=Operation.COUNT_TOKENS, max_cost_nanos=0, prompt=KNOWN)
        assert order(plan) == ["c/unknown"]


class TestBudgets:
    FACTS: Mapping[str, Any] = {
        "prompt": KNOWN,
        "bytes_in": 936,
        "max_output_tokens": 500,
    }  # 936 + 64: 1,000 tokens

    def test_leave_those_for_whom_the_most_it_may_cost_is_left(self) -> None:
        plan = ask(snapshot(*EVERYBODY), purse=Means(room_nanos=6 * 10**6), **self.FACTS)
        assert sorted(order(plan)) == ["b/cheap", "d/home"]
        assert reasons(plan) == {
            "a/dear": "a/dear: budget `b` has less left",
            "c/unknown": "c/unknown: its price is unknown",
        }

    def test_with_nobody_left_refuse_with_the_earliest_time_to_come_back(self) -> None:
        plan = ask(snapshot(DEAR, CHEAP, UNKNOWN), purse=Means(), **self.FACTS)
        assert plan.failure is not None
        assert (plan.failure.client_status, plan.failure.code) == (429, "budget_exceeded")
        assert plan.failure.retry_after_s == 60.0
        assert plan.candidates == ()

    def test_go_by_the_output_that_a_rule_allows(self) -> None:
        short = cost(set=Overrides(max_tokens=5))
        plan = ask(snapshot(DEAR, rules=[short]), purse=Means(room_nanos=10_500_000), **self.FACTS)
        assert order(plan) == ["a/dear"]

    def test_say_in_rules_how_much_is_left(self) -> None:
        rule = cost("short of money", when=Range("budget_left", lt=0.2), prefer=("b/cheap",))
        for left, name in ((0.1, "b/cheap"), (0.2, "a/dear")):
            plan = ask(snapshot(DEAR, CHEAP, rules=[rule]), purse=Means(left, 10**12), **self.FACTS)
            assert order(plan)[0] == name

    def test_that_nobody_has_make_the_condition_false(self) -> None:
        low, none = Range("budget_left", lt=1.0), Absent("budget_left")
        rules = [cost("low", when=low, reject="low"), cost("none", when=none, prefer=("b/cheap",))]
        assert ask(snapshot(DEAR, CHEAP, rules=rules)).rules == ("none",)
