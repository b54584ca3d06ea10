from __future__ import annotations

from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.values.plan import Breaker, Gauge, KnownPrompt, Plan, Readings
from llmproxyd.values.snapshot import Deployment, RankBy, Requirement, Snapshot, TargetKind, Zone
from tests.routing.build import (
    ask,
    cost,
    deployment,
    order,
    performance,
    privacy,
    provider,
    snapshot,
    target,
    usd,
)
from tests.support.records import replace

A, B, C = (deployment(f"{name}/m") for name in "abc")
NOW_S = 100.0
OPEN = Gauge(breaker=Breaker.OPEN, ready_s=NOW_S + 30)


def unwell(**gauges: Gauge) -> Readings:
    """Readings by provider name; the others are not known."""
    return Readings({f"{name}/m|key": g for name, g in gauges.items()}, now_s=NOW_S, all_well=False)


def decided(
    given: Snapshot, model: str = "auto", facts: dict[str, Any] | None = None, **gauges: Gauge
) -> Plan:
    return ask(given, model, unwell(**gauges), **(facts or {}))


def said_of(plan: Plan, name: str) -> list[str]:
    return [v.reason for c in plan.candidates if c.deployment.name == name for v in c.verdicts]


class TestWhoMayBeCalled:
    def test_one_held_back_by_its_breaker_goes_last_and_is_not_dropped(self) -> None:
        plan = decided(snapshot(A, B, C), a=OPEN)
        assert order(plan) == ["b/m", "c/m", "a/m"]
        assert plan.dropped == ()
        assert said_of(plan, "a/m") == ["not called after failures, for another 30.0 s"]
        assert said_of(plan, "b/m") == ["may be called now"]

    def test_of_those_held_back_the_one_ready_first_goes_first(self) -> None:
        cooling = Gauge(breaker=Breaker.COOLING, ready_s=NOW_S + 2)
        plan = decided(snapshot(A, B), a=OPEN, b=cooling)
        assert order(plan) == ["b/m", "a/m"]
        assert said_of(plan, "b/m") == ["asked for a pause, for another 2.0 s"]

    def test_one_that_may_be_tried_again_keeps_its_place(self) -> None:
        plan = decided(snapshot(A, B), a=Gauge(breaker=Breaker.HALF_OPEN))
        assert order(plan) == ["a/m", "b/m"]
        assert said_of(plan, "a/m") == ["one call may try whether it is well again"]

    def test_each_request_tries_one_of_those_that_may_be_well_again_and_they_take_turns(self) -> None:
        maybe = Gauge(breaker=Breaker.HALF_OPEN)
        orders = [order(decided(snapshot(A, B, C), facts={"turn": n}, a=maybe, b=maybe)) for n in range(2)]
        assert orders == [["a/m", "c/m", "b/m"], ["b/m", "c/m", "a/m"]]

    def test_a_line_goes_before_a_breaker_and_after_nobody_waiting(self) -> None:
        plan = decided(snapshot(A, B, C), a=OPEN, b=Gauge(wait_s=40.0))
        assert order(plan) == ["c/m", "b/m", "a/m"]
        assert said_of(plan, "b/m") == ["has a line to wait in, about 40.0 s"]

    def test_a_full_line_goes_after_other_lines(self) -> None:
        plan = decided(snapshot(A, B, C), a=OPEN, b=Gauge(wait_s=inf), c=Gauge(wait_s=500.0))
        assert order(plan) == ["c/m", "b/m", "a/m"]
        assert said_of(plan, "b/m") == ["its line is full"]

    def test_a_breaker_counts_although_there_is_a_line_too(self) -> None:
        both = Gauge(breaker=Breaker.OPEN, ready_s=NOW_S + 1, wait_s=3.0)
        assert order(decided(snapshot(A, B), a=both, b=Gauge(wait_s=9.0))) == ["b/m", "a/m"]

    def test_one_that_recovers_comes_first_for_its_share_of_the_turns(self) -> None:
        recovering = Gauge(breaker=Breaker.RECOVERING, share=0.3)
        given = snapshot(A, B)
        plans = [decided(given, facts={"turn": turn}, a=recovering) for turn in range(1000)]
        first = sum(order(plan)[0] == "a/m" for plan in plans)
        assert 250 < first < 350
        assert said_of(plans[0], "a/m") == ["recovering, takes 30% of its calls"]

    def test_one_that_recovers_is_drawn_by_turn_and_not_by_conversation(self) -> None:
        recovering = Gauge(breaker=Breaker.RECOVERING, share=0.5)
        facts = [{"turn": n, "prompt": KnownPrompt(conversation=b"same")} for n in range(64)]
        firsts = {order(decided(snapshot(A, B), facts=f, a=recovering))[0] for f in facts}
        assert firsts == {"a/m", "b/m"}

    def test_one_that_recovers_and_has_had_its_share_goes_before_any_line(self) -> None:
        plan = decided(snapshot(A, B, C), a=Gauge(breaker=Breaker.RECOVERING, share=0.0), b=Gauge(wait_s=0.1))
        assert order(plan) == ["c/m", "a/m", "b/m"]

    def test_it_comes_before_what_the_operator_prefers_or_lists(self) -> None:
        listed = target("careful", TargetKind.LIST, A, B)
        weighed = target("mixed", TargetKind.WEIGHTS, A, B, weights=[1.0, 0.0])
        given = snapshot(A, B, targets=[listed, weighed], rules=[privacy(prefer=("a/m",))])
        for model in ("auto", "careful", "mixed"):
            assert order(ask(given, model)) == ["a/m", "b/m"]
            assert order(decided(given, model, a=OPEN)) == ["b/m", "a/m"]

    def test_only_those_equally_available_take_turns(self) -> None:
        given = snapshot(A, B, C, rules=[performance(rank_by=RankBy.ROUND_ROBIN)])
        orders = [order(decided(given, facts={"turn": turn}, a=OPEN)) for turn in range(4)]
        assert [o[0] for o in orders] == ["b/m", "c/m", "b/m", "c/m"]
        assert all(o[-1] == "a/m" for o in orders)

    def test_one_alone_is_said_to_be_held_back_too(self) -> None:
        assert said_of(decided(snapshot(A), a=OPEN), "a/m") == [
            "not called after failures, for another 30.0 s"
        ]

    def test_nothing_is_said_and_nothing_changes_while_all_are_well(self) -> None:
        plan = ask(snapshot(A, B), readings=Readings({"a/m|key": Gauge(latency_s=1.0)}, now_s=NOW_S))
        assert order(plan) == ["a/m", "b/m"]
        assert [c.verdicts for c in plan.candidates] == [(), ()]


class TestReliability:
    def test_whoever_fails_often_goes_behind_where_nothing_else_decides(self) -> None:
        plan = decided(snapshot(A, B, C), a=Gauge(success_rate=0.4), b=Gauge(success_rate=0.79))
        assert order(plan) == ["c/m", "b/m", "a/m"]
        assert said_of(plan, "a/m")[-1] == "40% of its recent calls succeeded"

    def test_within_a_band_nothing_changes(self) -> None:
        assert order(decided(snapshot(A, B), a=Gauge(success_rate=0.8))) == ["a/m", "b/m"]

    def test_a_rule_comes_before_it(self) -> None:
        cheap, dear = deployment("a/m", price=usd(1, 1)), deployment("b/m", price=usd(2, 2))
        given = snapshot(cheap, dear, rules=[cost(rank_by=RankBy.PRICE)])
        assert order(decided(given, a=Gauge(success_rate=0.1))) == ["a/m", "b/m"]

    @pytest.mark.parametrize(
        "named",
        [target("x", TargetKind.LIST, A, B), target("x", TargetKind.WEIGHTS, A, B, weights=[1.0, 0.0])],
        ids=["list", "weights"],
    )
    def test_an_order_the_operator_wrote_stands(self, named: Any) -> None:
        plan = decided(snapshot(A, B, targets=[named]), "x", a=Gauge(success_rate=0.1))
        assert order(plan) == ["a/m", "b/m"]


gauges = st.builds(
    Gauge,
    success_rate=st.floats(0, 1),
    breaker=st.sampled_from(Breaker),
    ready_s=st.floats(0, 1000),
    share=st.floats(0, 1),
    wait_s=st.sampled_from([0.0, 0.0, 1.0, 1e9, inf]),
)


def test_while_attempts_are_short_even_a_written_order_gives_way_to_who_succeeds() -> None:
    """One in three of its calls fails: too few for its breaker, and too many to ask somebody else each time."""
    careful = target("careful", TargetKind.LIST, A, B)
    often = Gauge(success_rate=0.66)
    readings = unwell(a=often)
    assert order(ask(snapshot(A, B, targets=[careful]), "careful", readings)) == ["a/m", "b/m"]
    short = replace(readings, short_of_attempts=True)
    assert order(ask(snapshot(A, B, targets=[careful]), "careful", short)) == ["b/m", "a/m"]


@given(health=st.fixed_dictionaries(dict.fromkeys("abc", gauges)), turn=st.integers(0, 99))
def test_ill_health_reorders_the_candidates_and_never_adds_or_loses_one(
    health: dict[str, Gauge], turn: int
) -> None:
    inside: list[Deployment] = [deployment(f"{n}/m", provider(n, Zone.LOCAL)) for n in "ab"]
    fence = privacy(require=Requirement(zones=(Zone.LOCAL,)))
    plan = ask(snapshot(*inside, C, rules=[fence]), readings=unwell(**health), turn=turn)
    assert sorted(order(plan)) == ["a/m", "b/m"]
    held_back = [health[n[0]].breaker in (Breaker.OPEN, Breaker.COOLING) for n in order(plan)]
    assert held_back == sorted(held_back)
