from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.state.hedge_budget import HedgeBudget
from llmproxyd.values.snapshot import HedgePolicy

POLICY = HedgePolicy(max_share=0.05, max_spend=0.03)


def hedges(budget: HedgeBudget, policy: HedgePolicy, now_s: float, nanos: int) -> int:
    begun = 0
    while begun < 1000 and budget.allows(policy, now_s):
        budget.hedge(now_s, nanos)
        begun += 1
    return begun


def requests(count: int, nanos: int, now_s: float = 100.0) -> HedgeBudget:
    budget = HedgeBudget()
    for _ in range(count):
        budget.request(now_s, nanos)
    return budget


def test_without_requests_nothing_is_hedged() -> None:
    assert not HedgeBudget().allows(HedgePolicy(max_share=1.0, max_spend=1.0), 100.0)


def test_free_models_are_bounded_by_the_share_of_requests() -> None:
    assert hedges(requests(200, 0), POLICY, 100.0, 0) == 10


def test_one_in_twenty_is_one_when_there_are_twenty() -> None:
    assert hedges(requests(19, 0), POLICY, 100.0, 0) == 0
    assert hedges(requests(20, 0), POLICY, 100.0, 0) == 1


def test_money_binds_where_it_is_reached_first() -> None:
    assert hedges(requests(200, 1000), POLICY, 100.0, 1000) == 6


def test_a_dear_hedge_leaves_less_for_those_after_it() -> None:
    assert hedges(requests(1000, 1000), POLICY, 100.0, 10_000) == 3


def test_every_policy_has_its_own_shares_of_the_same_counts() -> None:
    budget = requests(100, 0)
    assert hedges(budget, POLICY, 100.0, 0) == 5
    assert budget.allows(HedgePolicy(max_share=0.06, max_spend=0.0), 100.0)


def test_within_a_minute_the_hedges_are_remembered() -> None:
    budget = requests(100, 0)
    assert hedges(budget, POLICY, 100.0, 0) == 5
    assert hedges(budget, POLICY, 159.0, 0) == 0


def test_after_a_minute_the_hedges_are_forgotten() -> None:
    budget = requests(100, 0)
    assert hedges(budget, POLICY, 100.0, 0) == 5
    for _ in range(40):
        budget.request(160.3, 0)
    assert hedges(budget, POLICY, 160.3, 0) == 2


def test_after_a_minute_the_requests_are_forgotten() -> None:
    assert hedges(requests(100, 0), POLICY, 160.1, 0) == 0


STEPS = st.lists(st.tuples(st.floats(0, 20), st.integers(0, 50), st.integers(0, 9)), max_size=40)


@given(STEPS, st.floats(0.01, 0.3), st.floats(0.01, 0.3))
def test_no_minute_that_ends_with_a_hedge_has_more_than_its_shares(
    steps: list[tuple[float, int, int]], max_share: float, max_spend: float
) -> None:
    budget, now_s = HedgeBudget(), 1000.0
    policy = HedgePolicy(max_share=max_share, max_spend=max_spend)
    asked: list[tuple[float, int]] = []
    hedged: list[tuple[float, int]] = []
    for pause_s, arriving, wanted in steps:
        now_s += pause_s
        for _ in range(arriving):
            budget.request(now_s, 100)
            asked.append((now_s, 100))
        for _ in range(wanted):
            if not budget.allows(policy, now_s):
                break
            budget.hedge(now_s, 100)
            hedged.append((now_s, 100))
            recent = [nanos for at_s, nanos in asked if at_s > now_s - 60]
            extra = [nanos for at_s, nanos in hedged if at_s > now_s - 60]
            assert len(extra) <= max_share * len(recent) + 1e-6
            assert sum(extra) <= max_spend * sum(recent) + 1e-3
