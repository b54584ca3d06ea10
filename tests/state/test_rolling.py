from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.state.rolling import RollingSum

STEPS = st.lists(st.tuples(st.floats(0, 4), st.integers(0, 5)), max_size=60)


@given(STEPS, st.floats(0, 1e6))
def test_the_sum_is_between_the_span_and_a_slot_more_or_less(
    steps: list[tuple[float, int]], start_s: float
) -> None:
    most, least = RollingSum(3, at_least=True), RollingSum(3, at_least=False)
    now_s, added = start_s, []
    for step_s, amount in steps:
        now_s += step_s
        most.add(now_s, amount)
        least.add(now_s, amount)
        added.append((now_s, amount))
        exactly = sum(a for at_s, a in added if at_s > now_s - 3)
        assert sum(a for at_s, a in added if at_s > now_s - 2.899) <= least.total(now_s) <= exactly
        assert exactly <= most.total(now_s) <= sum(a for at_s, a in added if at_s > now_s - 3.101)


@given(STEPS, st.integers(0, 20))
def test_it_falls_when_it_says_and_not_a_slot_before(steps: list[tuple[float, int]], target: int) -> None:
    rolling, now_s = RollingSum(3, at_least=True), 50.0
    for step_s, amount in steps:
        now_s += step_s
        rolling.add(now_s, amount)
    falls_s = rolling.falls_to_s(target, now_s)
    assert now_s <= falls_s <= now_s + 3.2
    if falls_s == now_s:
        assert rolling.total(now_s) <= target
        return
    assert rolling.total(falls_s - 0.05) > target
    assert rolling.total(falls_s) <= target


def test_what_is_taken_back_leaves_the_slot_it_was_added_to() -> None:
    rolling = RollingSum(3, at_least=True)
    rolling.add(10.0, 7)
    rolling.add(12.0, 5)
    rolling.take_back(10.0, 4, 12.5)
    assert rolling.total(12.5) == 8
    assert rolling.total(13.2) == 5


def test_what_has_left_the_span_cannot_be_taken_back() -> None:
    rolling = RollingSum(3, at_least=True)
    rolling.add(10.0, 7)
    for tenth in range(31):  # every slot is in use
        rolling.add(10.45 + tenth / 10, 7)
    rolling.take_back(10.0, 7, 13.45)
    assert rolling.total(13.45) == 31 * 7


@pytest.mark.parametrize("gap_s", [3.2, 100.0, 1e6])
def test_after_a_long_pause_nothing_is_left(gap_s: float) -> None:
    rolling = RollingSum(3, at_least=True)
    for tenth in range(40):
        rolling.add(10 + tenth / 10)
    assert rolling.total(14 + gap_s) == 0


def test_a_clock_that_goes_back_counts_as_now() -> None:
    rolling = RollingSum(3, at_least=True)
    rolling.add(10.0)
    rolling.add(9.0)
    assert rolling.total(8.0) == 2
