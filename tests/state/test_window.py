from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.state.window import Taken, Windows
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.snapshot import Limits


def take(windows: Windows, limits: Limits, now_s: float, tokens: int = 0, owner: str = "acme") -> Taken:
    taken = windows.take(owner, limits, tokens, now_s)
    assert isinstance(taken, Taken), taken
    return taken


def refused(windows: Windows, limits: Limits, now_s: float, tokens: int = 0, owner: str = "acme") -> Failure:
    failure = windows.take(owner, limits, tokens, now_s)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.LIMIT_REACHED
    return failure


class TestRequests:
    LIMITS = Limits(requests_per_minute=3)

    def test_a_minutes_worth_passes_at_once_and_then_nothing(self) -> None:
        windows = Windows()
        for _ in range(3):
            take(windows, self.LIMITS, 100.0)
        failure = refused(windows, self.LIMITS, 110.0)
        assert failure.code == "requests_per_minute"
        assert failure.message == "Your limit of 3 requests per minute is reached; try again in 51 s."
        assert failure.retry_after_s == pytest.approx(50.1)

    def test_it_passes_when_it_was_told_to_come_back(self) -> None:
        windows = Windows()
        for at_s in (100.0, 101.0, 102.0):
            take(windows, self.LIMITS, at_s)
        retry_after_s = refused(windows, self.LIMITS, 130.0).retry_after_s
        assert retry_after_s is not None
        refused(windows, self.LIMITS, 130.0 + retry_after_s - 0.05)
        take(windows, self.LIMITS, 130.0 + retry_after_s)

    def test_a_refused_request_costs_nothing(self) -> None:
        windows = Windows()
        for _ in range(3):
            take(windows, self.LIMITS, 100.0)
        for tenth in range(500):
            refused(windows, self.LIMITS, 101 + tenth / 10)
        take(windows, self.LIMITS, 160.2)

    def test_owners_do_not_count_for_each_other(self) -> None:
        windows = Windows()
        for _ in range(3):
            take(windows, self.LIMITS, 100.0)
        take(windows, self.LIMITS, 100.0, owner="zeta")

    @given(st.lists(st.floats(0, 30), max_size=60), st.integers(1, 5))
    def test_no_minute_holds_more_than_the_limit(self, pauses_s: list[float], bound: int) -> None:
        windows, now_s, passed = Windows(), 1e5, []
        for pause_s in pauses_s:
            now_s += pause_s
            if isinstance(windows.take("acme", Limits(requests_per_minute=bound), 0, now_s), Taken):
                passed.append(now_s)
        for at_s in passed:
            assert sum(at_s - 60 < other_s <= at_s for other_s in passed) <= bound


class TestTokens:
    LIMITS = Limits(tokens_per_minute=100)

    def test_the_estimate_counts_until_the_answer_tells(self) -> None:
        windows = Windows()
        first = take(windows, self.LIMITS, 100.0, 80)
        assert refused(windows, self.LIMITS, 101.0, 30).code == "tokens_per_minute"
        first.leave(50, 102.0)
        take(windows, self.LIMITS, 102.0, 30)

    def test_what_was_used_beyond_the_estimate_counts_from_when_it_is_known(self) -> None:
        windows = Windows()
        take(windows, self.LIMITS, 100.0, 10).leave(90, 130.0)
        assert refused(windows, self.LIMITS, 131.0, 20).retry_after_s == pytest.approx(29.1)
        take(windows, self.LIMITS, 161.2, 20)
        refused(windows, self.LIMITS, 161.2, 90)
        take(windows, self.LIMITS, 190.2, 80)

    def test_an_unknown_usage_leaves_the_estimate(self) -> None:
        windows = Windows()
        take(windows, self.LIMITS, 100.0, 80).leave(None, 101.0)
        refused(windows, self.LIMITS, 102.0, 30)

    def test_a_request_larger_than_the_limit_passes_when_nothing_else_was_used(self) -> None:
        windows = Windows()
        take(windows, self.LIMITS, 100.0, 5)
        refused(windows, self.LIMITS, 101.0, 500)
        take(windows, self.LIMITS, 160.2, 500)
        refused(windows, self.LIMITS, 161.0, 1)

    def test_an_estimate_that_has_left_the_minute_is_not_given_back(self) -> None:
        windows = Windows()
        long = take(windows, self.LIMITS, 100.0, 90)
        take(windows, self.LIMITS, 170.0, 90)
        long.leave(0, 175.0)
        refused(windows, self.LIMITS, 175.0, 20)


class TestConcurrency:
    LIMITS = Limits(concurrency=2)

    def test_one_leaves_and_the_next_may_come(self) -> None:
        windows = Windows()
        first = take(windows, self.LIMITS, 100.0)
        take(windows, self.LIMITS, 100.0)
        failure = refused(windows, self.LIMITS, 100.0)
        assert (failure.code, failure.retry_after_s) == ("concurrency", 1.0)
        first.leave(None, 101.0)
        take(windows, self.LIMITS, 101.0)

    def test_to_leave_twice_frees_one_place(self) -> None:
        windows = Windows()
        first = take(windows, self.LIMITS, 100.0)
        take(windows, self.LIMITS, 100.0)
        first.leave(None, 101.0)
        first.leave(None, 101.0)
        take(windows, self.LIMITS, 101.0)
        refused(windows, self.LIMITS, 101.0)


class TestChangedLimits:
    def test_a_limit_judges_what_was_taken_before_it_changed(self) -> None:
        windows = Windows()
        for _ in range(5):
            take(windows, Limits(requests_per_minute=10), 100.0)
        refused(windows, Limits(requests_per_minute=5), 101.0)
        take(windows, Limits(requests_per_minute=6), 101.0)

    def test_a_limit_of_another_kind_knows_the_same_past(self) -> None:
        windows = Windows()
        take(windows, Limits(requests_per_minute=10), 100.0, 90)
        refused(windows, Limits(tokens_per_minute=100), 101.0, 20)

    def test_who_has_no_limits_is_not_counted(self) -> None:
        windows = Windows()
        for _ in range(100):
            take(windows, Limits(), 100.0).leave(5, 100.0)
        take(windows, Limits(requests_per_minute=1), 100.0)


def test_owners_who_are_idle_are_forgotten_and_the_others_are_not() -> None:
    windows = Windows()
    limits = Limits(requests_per_minute=1)
    for number in range(5000):
        take(windows, limits, 100.0 + number, owner=f"owner {number}").leave(None, 100.0 + number)
    assert len(windows._accounts) <= 512
    refused(windows, limits, 5099.0, owner="owner 4999")
