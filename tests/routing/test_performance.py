from __future__ import annotations

from collections import Counter
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.routing.performance import draw
from llmproxyd.values.plan import Gauge, KnownPrompt, Readings
from llmproxyd.values.snapshot import Deployment, RankBy, Requirement, Rule, TargetKind
from tests.routing.build import ask, deployment, order, performance, privacy, snapshot, target

A, B, C = (deployment(f"{name}/m") for name in "abc")


def readings(*gauges: tuple[Deployment, Gauge]) -> Readings:
    return Readings({d.key: g for d, g in gauges})


def conversation(number: int) -> KnownPrompt:
    return KnownPrompt(conversation=number.to_bytes(8, "big"))


def firsts(given_rules: list[Rule], turns: int) -> list[str]:
    given_snapshot = snapshot(A, B, C, rules=given_rules)
    return [order(ask(given_snapshot, turn=turn))[0] for turn in range(turns)]


class TestLatency:
    def test_the_fastest_comes_first(self) -> None:
        known = readings((A, Gauge(latency_s=0.9)), (B, Gauge(latency_s=0.2)), (C, Gauge(latency_s=0.5)))
        plan = ask(snapshot(A, B, C, rules=[performance(rank_by=RankBy.LATENCY)]), readings=known)
        assert order(plan) == ["b/m", "c/m", "a/m"]
        assert plan.candidates[0].verdicts[0].reason == "0.200 s to first content"

    def test_one_that_was_never_timed_is_tried_first(self) -> None:
        known = readings((A, Gauge(latency_s=0.9)), (B, Gauge(latency_s=0.2)))
        plan = ask(snapshot(A, B, C, rules=[performance(rank_by=RankBy.LATENCY)]), readings=known)
        assert order(plan)[0] == "c/m"
        assert plan.candidates[0].verdicts[0].reason == "not timed yet, so tried first"


def test_the_least_busy_comes_first() -> None:
    known = readings((A, Gauge(in_flight=3)), (B, Gauge(in_flight=1)))
    plan = ask(snapshot(A, B, C, rules=[performance(rank_by=RankBy.LEAST_BUSY)]), readings=known)
    assert order(plan) == ["c/m", "b/m", "a/m"]
    assert plan.candidates[1].verdicts[0].reason == "1 in flight"


class TestRoundRobin:
    def test_everybody_gets_the_same_number_of_turns(self) -> None:
        rule = performance(rank_by=RankBy.ROUND_ROBIN)
        assert Counter(firsts([rule], 30)) == {"a/m": 10, "b/m": 10, "c/m": 10}

    def test_turns_are_taken_among_those_equal_so_far(self) -> None:
        rules = [performance("first", prefer=("a", "b")), performance(rank_by=RankBy.ROUND_ROBIN)]
        assert set(firsts(rules, 10)) == {"a/m"}
        uneven = [performance("not b", exclude=Requirement(providers=("b",)))]
        uneven.append(performance(rank_by=RankBy.ROUND_ROBIN))
        assert Counter(firsts(uneven, 30)) == {"a/m": 15, "c/m": 15}

    def test_the_next_turn_is_the_next_to_be_tried(self) -> None:
        rule = performance(rank_by=RankBy.ROUND_ROBIN)
        assert order(ask(snapshot(A, B, C, rules=[rule]), turn=1)) == ["b/m", "c/m", "a/m"]


def shares_of(plans: list[list[str]]) -> dict[str, float]:
    counted = Counter(names[0] for names in plans)
    return {name: count / len(plans) for name, count in counted.items()}


class TestRankByWeight:
    def test_draws_by_share(self) -> None:
        rule = performance(rank_by=RankBy.WEIGHT, weights={"a": 6, "b": 3, "c/m": 1})
        given_snapshot = snapshot(A, B, C, rules=[rule])
        plans = [order(ask(given_snapshot, prompt=conversation(i))) for i in range(1_500)]
        assert shares_of(plans) == pytest.approx({"a/m": 0.6, "b/m": 0.3, "c/m": 0.1}, abs=0.05)

    def test_the_most_specific_entry_counts_and_the_unlisted_come_last(self) -> None:
        rule = performance(rank_by=RankBy.WEIGHT, weights={"m": 0, "b/m": 1})
        given_snapshot = snapshot(A, B, C, rules=[rule])
        assert {order(ask(given_snapshot, prompt=conversation(i)))[0] for i in range(50)} == {"b/m"}


class TestWeightsOfAName:
    NAME = target("gpt-4o", TargetKind.WEIGHTS, A, B, C, weights=(70, 20, 10))

    def plans(self, count: int, *rules: Rule) -> list[list[str]]:
        given_snapshot = snapshot(A, B, C, targets=[self.NAME], rules=rules)
        return [order(ask(given_snapshot, "gpt-4o", prompt=conversation(i))) for i in range(count)]

    def test_draw_the_first_by_share(self) -> None:
        assert shares_of(self.plans(1_500)) == pytest.approx({"a/m": 0.7, "b/m": 0.2, "c/m": 0.1}, abs=0.05)

    def test_order_the_rest_by_weight(self) -> None:
        rising = target("gpt-4o", TargetKind.WEIGHTS, A, B, C, weights=(10, 20, 70))
        given_snapshot = snapshot(A, B, C, targets=[rising])
        plans = {tuple(order(ask(given_snapshot, "gpt-4o", prompt=conversation(i)))) for i in range(200)}
        assert plans == {("c/m", "b/m", "a/m"), ("b/m", "c/m", "a/m"), ("a/m", "c/m", "b/m")}

    def test_the_share_of_a_dropped_one_spreads_over_the_others(self) -> None:
        plans = self.plans(1_500, privacy(exclude=Requirement(providers=("a",))))
        assert shares_of(plans) == pytest.approx({"b/m": 2 / 3, "c/m": 1 / 3}, abs=0.05)

    def test_a_conversation_stays_where_it_began(self) -> None:
        assert len({tuple(names) for names in (self.plans(3)[2] for _ in range(5))}) == 1

    def test_dropping_one_moves_nobody_elses_conversations(self) -> None:
        before = self.plans(200)
        after = self.plans(200, privacy(exclude=Requirement(providers=("a",))))
        moved = [b[0] for b, a in zip(before, after, strict=True) if a[0] != b[0]]
        assert set(moved) == {"a/m"}

    def test_without_a_conversation_every_request_draws_anew(self) -> None:
        given_snapshot = snapshot(A, B, C, targets=[self.NAME])
        drawn = {order(ask(given_snapshot, "gpt-4o", turn=turn))[0] for turn in range(100)}
        assert drawn == {"a/m", "b/m", "c/m"}

    def test_one_without_weight_is_only_asked_when_nobody_else_is_left(self) -> None:
        name = target("gpt-4o", TargetKind.WEIGHTS, A, B, weights=(0, 1))
        given_snapshot = snapshot(A, B, targets=[name])
        plans = [order(ask(given_snapshot, "gpt-4o", prompt=conversation(i))) for i in range(50)]
        assert {tuple(p) for p in plans} == {("b/m", "a/m")}


@given(st.binary(max_size=40), st.binary(max_size=64), st.floats(1e-6, 1e6))
def test_a_draw_is_repeatable_positive_and_finite(conversation_id: bytes, salt: bytes, share: float) -> None:
    drawn = draw(conversation_id, salt, share)
    assert drawn == draw(conversation_id, salt, share)
    assert 0 <= drawn < inf


def test_no_share_never_wins() -> None:
    assert draw(b"x", b"y", 0) == inf
