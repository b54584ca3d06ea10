from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.state.retry_budget import FREE_EXTRAS, RetryBudget

STEPS = st.lists(
    st.tuples(st.floats(0, 3), st.integers(0, 60), st.integers(0, 40)),
    max_size=40,
)
"""Pause, requests that come then, extra attempts that are wanted then."""


@given(STEPS, st.floats(0, 1e6))
def test_in_every_ten_seconds_that_end_with_an_extra_attempt_the_bound_holds(
    steps: list[tuple[float, int, int]], now_s: float
) -> None:
    budget = RetryBudget()
    requests: list[float] = []
    extras: list[float] = []
    for pause_s, arriving, wanted in steps:
        now_s += pause_s
        for _ in range(arriving):
            budget.request(now_s)
            requests.append(now_s)
        for _ in range(wanted):
            if budget.extra_from_s(now_s) > now_s:
                break
            budget.extra(now_s)
            extras.append(now_s)
            within = sum(at_s > now_s - 10 for at_s in requests)
            assert sum(at_s > now_s - 10 for at_s in extras) <= max(FREE_EXTRAS, 0.2 * within)


def grant(budget: RetryBudget, now_s: float, most: int = 1000) -> int:
    granted = 0
    while granted < most and budget.extra_from_s(now_s) <= now_s:
        budget.extra(now_s)
        granted += 1
    return granted


def test_a_quiet_daemon_may_add_some_attempts_in_ten_seconds() -> None:
    budget = RetryBudget()
    budget.request(100.0)
    assert grant(budget, 100.0) == FREE_EXTRAS
    assert grant(budget, 109.9) == 0
    assert grant(budget, 110.2) == FREE_EXTRAS


def test_a_busy_one_may_add_a_fifth_of_its_requests() -> None:
    budget = RetryBudget()
    for number in range(1000):
        budget.request(100 + number / 200)
    assert grant(budget, 105.0) == 200


def test_what_is_in_doubt_at_the_edge_of_the_ten_seconds_does_not_help() -> None:
    budget = RetryBudget()
    for _ in range(1000):
        budget.request(100.05)
    assert grant(budget, 110.09) == FREE_EXTRAS

    budget = RetryBudget()
    assert grant(budget, 100.05) == FREE_EXTRAS
    assert grant(budget, 110.02) == 0


def test_the_time_it_names_is_the_time_at_which_one_more_may_begin() -> None:
    budget = RetryBudget()
    half = FREE_EXTRAS // 2
    grant(budget, 100.0, half)
    grant(budget, 103.0, half)
    from_s = budget.extra_from_s(104.0)
    assert 110.0 <= from_s <= 110.2
    assert grant(budget, from_s - 0.05) == 0
    assert grant(budget, from_s) == half


def test_when_all_fail_the_steady_rate_of_attempts_is_one_and_a_fifth_of_the_requests() -> None:
    budget, granted = RetryBudget(), 0
    for number in range(60_000):
        now_s = 100 + number / 1000
        budget.request(now_s)
        granted += grant(budget, now_s, 2)
    assert 0.18 * 60_000 <= granted <= 0.2 * 60_000 + FREE_EXTRAS
