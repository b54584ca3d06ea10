from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.state.health import Outcome
from llmproxyd.state.timing import ENOUGH, KEPT, MAX_KINDS, UNKNOWN, Recent, Timers, Timing
from llmproxyd.values.failure import Failure, FailureKind


def streamed(first_s: float, gap_s: float | None = None, **kind: object) -> Outcome:
    return Outcome(True, None, first_s, 9.0, stream=True, longest_gap_s=gap_s, **kind)  # type: ignore[arg-type]


def whole(total_s: float) -> Outcome:
    return Outcome(True, None, None, total_s)


def learnt(*outcomes: Outcome) -> Timing:
    timing = Timing()
    for outcome in outcomes:
        timing.learn(outcome)
    return timing


class TestTimers:
    def test_nothing_is_said_without_enough_history(self) -> None:
        timing = learnt(*[streamed(0.5, 1.0)] * (ENOUGH - 1))
        assert timing.timers(True, None, 0) == UNKNOWN
        timing.learn(streamed(0.5))
        assert timing.timers(True, None, 0) == Timers(first_content_s=1.0, hedge_after_s=0.5)

    def test_the_limit_for_the_first_content_is_twice_the_slowest_but_one(self) -> None:
        timing = learnt(streamed(9.0), streamed(2.0), *[streamed(0.5)] * ENOUGH)
        assert timing.timers(True, None, 0).first_content_s == 4.0

    def test_a_single_hiccup_moves_no_limit(self) -> None:
        timing = learnt(*[streamed(0.5, 1.0), whole(3.0)] * ENOUGH, streamed(9.0, 9.0), whole(99.0))
        assert timing.timers(True, None, 0) == Timers(1.0, None, 4.0, 0.5)
        assert timing.timers(False, None, 0).total_s == 6.0

    def test_a_hedge_begins_when_most_have_begun(self) -> None:
        timing = learnt(*[streamed(n / 100) for n in range(1, 101)])
        assert timing.timers(True, None, 0).hedge_after_s == 0.95

    def test_whole_answers_are_timed_as_a_whole(self) -> None:
        timing = learnt(*[whole(3.0)] * ENOUGH)
        assert timing.timers(False, None, 0) == Timers(total_s=6.0, hedge_after_s=3.0)
        assert timing.timers(True, None, 0) == UNKNOWN

    def test_a_stall_is_four_times_the_longest_gap(self) -> None:
        assert learnt(*[streamed(0.5, 2.0)] * ENOUGH).timers(True, None, 0).stall_s == 8.0

    def test_quick_ones_are_not_held_to_their_quickness(self) -> None:
        assert learnt(*[streamed(0.001, 0.001)] * ENOUGH).timers(True, None, 0) == Timers(
            0.2, None, 3.0, 0.05
        )
        assert learnt(*[whole(0.001)] * ENOUGH).timers(False, None, 0).total_s == 1.0

    def test_failures_and_those_who_left_teach_nothing(self) -> None:
        failed = Outcome(False, Failure(FailureKind.TIMEOUT, "late"), None, 60.0, stream=True)
        left = Outcome(False, None, None, 60.0, stream=True)
        timing = learnt(*[streamed(0.5)] * ENOUGH, *[failed, left] * KEPT)
        assert timing.timers(True, None, 0).first_content_s == 1.0

    def test_trials_that_go_on_failing_double_the_limits_and_nothing_else(self) -> None:
        """Every eighth does: each is somebody's request, who waits as long."""
        timing = learnt(*[streamed(0.5, 1.0)] * ENOUGH, *[whole(3.0)] * ENOUGH)
        assert timing.timers(True, None, 0, failed_trials=7) == Timers(1.0, None, 4.0, 0.5)
        assert timing.timers(True, None, 0, failed_trials=24) == Timers(8.0, None, 4.0, 0.5)
        assert timing.timers(False, None, 0, failed_trials=8).total_s == 12.0

    def test_the_same_object_is_given_until_something_is_learnt(self) -> None:
        timing = learnt(*[streamed(0.5)] * ENOUGH)
        assert timing.timers(True, None, 0) is timing.timers(True, None, 0)
        timing.learn(streamed(3.0))
        timing.learn(streamed(3.0))
        assert timing.timers(True, None, 0).first_content_s == 6.0


class TestKinds:
    def test_effort_and_size_are_learnt_apart(self) -> None:
        slow = [streamed(20.0, effort="high", bytes_in=100_000)] * ENOUGH
        timing = learnt(*[streamed(0.5)] * ENOUGH, *slow)
        assert timing.timers(True, "high", 100_000).first_content_s == 40.0
        assert timing.timers(True, None, 0).first_content_s == 1.0
        assert timing.timers(True, "high", 0) == UNKNOWN

    @pytest.mark.parametrize(
        ("one", "other", "same"), [(4096, 16383, True), (16383, 16384, False), (0, 1, False)]
    )
    def test_sizes_are_told_apart_by_powers_of_four(self, one: int, other: int, same: bool) -> None:
        timing = learnt(*[streamed(0.5, bytes_in=one)] * ENOUGH)
        assert (timing.timers(True, None, other) != UNKNOWN) == same

    def test_they_are_told_to_people_with_their_bounds(self) -> None:
        (kind,) = learnt(*[streamed(0.5, effort="low", bytes_in=5000)] * ENOUGH, whole(1.0)).learnt()
        assert (kind.stream, kind.effort, kind.below_bytes, kind.samples) == (True, "low", 16384, ENOUGH)

    def test_words_of_clients_do_not_fill_the_memory(self) -> None:
        timing = learnt(*[streamed(0.5)] * ENOUGH)
        for n in range(10 * MAX_KINDS):
            timing.learn(streamed(0.5, effort="x" * 100_000 + str(n)))
            timing.learn(streamed(0.5, effort=str(n)))
        assert len(timing._kinds) <= MAX_KINDS
        assert all(effort is None or len(effort) <= 32 for _, effort, _ in timing._kinds)

    def test_a_common_kind_outlives_rare_ones(self) -> None:
        timing = Timing()
        for n in range(20 * MAX_KINDS):
            timing.learn(streamed(0.5))
            timing.learn(streamed(0.5, effort=str(n)))
        assert timing.timers(True, None, 0) != UNKNOWN


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=3 * KEPT), st.floats(0.01, 1.0))
def test_the_recent_numbers_are_the_last_ones_in_order(numbers: list[float], share: float) -> None:
    recent = Recent()
    for number in numbers:
        recent.add(number)
    last = sorted(numbers[-KEPT:])
    assert len(recent) == len(last)
    assert recent.largest_but_one == last[-2]
    assert recent.percentile(share) == last[max(0, ceil(share * len(last)) - 1)]
