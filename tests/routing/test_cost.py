from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.routing.compile import compile_routes
from llmproxyd.routing.cost import EXPECTED_OUTPUT_TOKENS, bands, expected_output_tokens, expected_usd
from llmproxyd.values.plan import KnownPrompt, Question
from llmproxyd.values.request import Operation
from llmproxyd.values.snapshot import Deployment, RankBy, Zone
from tests.routing.build import ask, cost, deployment, order, provider, snapshot, usd


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
        class Uncountable(KnownPrompt):
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
