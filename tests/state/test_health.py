from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.state.health import (
    FALL,
    GOOD_RECORD,
    IDLE_HALF_LIFE_S,
    PENALTY_HALF_LIFE_S,
    PENALTY_S,
    RECORD_HALF_LIFE_S,
    RISE,
    Health,
    Outcome,
    average,
)
from llmproxyd.values.failure import CONSEQUENCES, Failure, FailureKind, Fault


def good(first_content_s: float | None = 0.2, total_s: float = 1.0) -> Outcome:
    return Outcome(True, None, first_content_s, total_s)


def bad(kind: FailureKind = FailureKind.OVERLOADED) -> Outcome:
    return Outcome(False, Failure(kind, kind.value), None, 0.01)


LEFT = Outcome(False, None, None, 0.3)


def after(*outcomes: Outcome, at_s: float = 100.0) -> Health:
    health = Health()
    for outcome in outcomes:
        health.started(at_s)
        health.ended(outcome, at_s)
    return health


class TestCounters:
    def test_calls_in_flight_are_those_that_began_and_did_not_end(self) -> None:
        health = Health()
        health.started(0.5)
        health.started(0.6)
        health.ended(good(), 1.0)
        assert (health.in_flight, health.requests, health.last_call_s) == (1, 2, 1.0)

    def test_successes_and_failures_are_counted_apart_with_their_times(self) -> None:
        health = after(good())
        health.started(199.0)
        health.ended(bad(), 200.0)
        assert (health.successes, health.failures) == (1, 1)
        assert (health.last_success_s, health.last_failure_s) == (100.0, 200.0)
        assert health.last_failure == Failure(FailureKind.OVERLOADED, "overloaded")

    def test_failures_are_counted_by_cause(self) -> None:
        health = after(bad(), bad(FailureKind.RATE_LIMITED), bad())
        assert health.causes == {FailureKind.OVERLOADED: 2, FailureKind.RATE_LIMITED: 1}

    @pytest.mark.parametrize(
        "kind", sorted(k for k, c in CONSEQUENCES.items() if c.fault is not Fault.PROVIDER)
    )
    def test_what_is_not_the_providers_fault_is_not_held_against_it(self, kind: FailureKind) -> None:
        health = after(bad(kind))
        assert (health.failures, health.last_failure, health.expected_s(100.0)) == (0, None, None)
        assert health.success_rate(100.0) == 1.0

    def test_a_client_that_left_says_nothing_about_the_provider(self) -> None:
        health = after(LEFT)
        assert (health.in_flight, health.requests, health.successes, health.failures) == (0, 1, 0, 0)


class TestSuccessRate:
    def test_is_one_without_history(self) -> None:
        assert Health().success_rate(5.0) == 1.0

    def test_comes_close_to_what_happens_in_the_long_run(self) -> None:
        outcomes = [bad() if n % 4 == 0 else good() for n in range(400)]
        assert after(*outcomes).success_rate(100.0) == pytest.approx(0.75, abs=0.05)

    def test_three_failures_do_not_spoil_a_good_record(self) -> None:
        assert after(bad(), bad(), bad()).success_rate(100.0) > GOOD_RECORD
        assert after(*[bad()] * 5).success_rate(100.0) < GOOD_RECORD

    def test_a_bad_record_fades_while_nobody_calls(self) -> None:
        health = after(*[bad()] * 200)
        assert health.success_rate(100.0) < 0.01
        assert health.success_rate(100.0 + RECORD_HALF_LIFE_S) == pytest.approx(0.5, abs=0.01)

    def test_who_asks_for_a_pause_keeps_its_record(self) -> None:
        assert after(*[bad(FailureKind.RATE_LIMITED)] * 50).success_rate(100.0) == 1.0


class TestLatency:
    def test_is_unknown_before_the_first_answer(self) -> None:
        assert Health().expected_s(0.0) is None

    def test_of_one_answer_is_that_answers(self) -> None:
        assert after(good(0.3)).expected_s(100.0) == 0.3

    def test_rises_faster_than_it_falls(self) -> None:
        assert average(1.0, 2.0) == 1.0 + RISE
        assert average(1.0, 0.0) == 1.0 - FALL

    def test_falls_by_half_in_about_three_samples(self) -> None:
        health = after(good(1.0), good(0.0), good(0.0), good(0.0))
        assert health.latency_s == pytest.approx(0.5, abs=0.02)

    def test_of_whole_answers_only_is_their_total_time(self) -> None:
        assert after(good(None, 2.0)).expected_s(100.0) == 2.0

    def test_is_forgotten_by_half_while_nobody_calls(self) -> None:
        health = after(good(0.8))
        assert health.expected_s(100.0 + IDLE_HALF_LIFE_S) == pytest.approx(0.4)
        assert health.latency_s == 0.8

    def test_what_was_forgotten_does_not_come_back_with_the_next_answer(self) -> None:
        health = after(good(8.0))
        later_s = 100.0 + 10 * IDLE_HALF_LIFE_S
        health.started(later_s)
        health.ended(good(0.2), later_s)
        assert health.expected_s(later_s) == pytest.approx(0.2, abs=0.1)


class TestPenalty:
    def test_a_deployment_that_fails_at_once_does_not_look_quick(self) -> None:
        assert after(bad()).expected_s(100.0) == PENALTY_S
        assert after(good(0.2), bad()).expected_s(100.0) == pytest.approx(0.2 + PENALTY_S)

    def test_it_fades(self) -> None:
        health = after(bad())
        assert health.expected_s(100.0 + 3 * PENALTY_HALF_LIFE_S) == pytest.approx(PENALTY_S / 8)

    def test_it_ends_with_the_next_success(self) -> None:
        assert after(bad(), good(0.2)).expected_s(100.0) == 0.2


@given(
    st.lists(
        st.sampled_from([good(0.1), good(9.0), good(None, 3.0), bad(), bad(FailureKind.TOO_LARGE), LEFT])
    )
)
def test_whatever_happens_the_figures_stay_within_what_was_seen(outcomes: list[Outcome]) -> None:
    health = after(*outcomes)
    assert health.in_flight == 0
    assert health.requests == len(outcomes)
    assert health.successes == sum(o.ok for o in outcomes)
    assert 0.0 <= health.success_rate(100.0) <= 1.0
    latency_s = health.expected_s(100.0)
    assert (latency_s is None) == (health.successes + health.failures == 0)
    if latency_s is not None:
        assert 0.1 <= latency_s <= 9.0 + PENALTY_S
