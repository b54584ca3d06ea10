from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.state.health import (
    FALL,
    IDLE_HALF_LIFE_S,
    PENALTY_HALF_LIFE_S,
    PENALTY_S,
    RISE,
    Health,
    Outcome,
    average,
)
from llmproxyd.values.failure import CONSEQUENCES, Failure, FailureKind, Fault
from llmproxyd.values.plan import Gauge


def good(first_content_s: float | None = 0.2, total_s: float = 1.0) -> Outcome:
    return Outcome(True, None, first_content_s, total_s)


def bad(kind: FailureKind = FailureKind.OVERLOADED) -> Outcome:
    return Outcome(False, Failure(kind, kind.value), None, 0.01)


LEFT = Outcome(False, None, None, 0.3)


def after(*outcomes: Outcome, at_s: float = 100.0) -> Health:
    health = Health()
    for outcome in outcomes:
        health.started()
        health.ended(outcome, at_s)
    return health


class TestCounters:
    def test_calls_in_flight_are_those_that_began_and_did_not_end(self) -> None:
        health = Health()
        health.started()
        health.started()
        health.ended(good(), 1.0)
        assert (health.in_flight, health.requests, health.gauge().in_flight) == (1, 2, 1)

    def test_successes_and_failures_are_counted_apart_with_their_times(self) -> None:
        health = after(good())
        health.started()
        health.ended(bad(), 200.0)
        assert (health.successes, health.failures) == (1, 1)
        assert (health.last_success_s, health.last_failure_s) == (100.0, 200.0)
        assert health.last_failure == Failure(FailureKind.OVERLOADED, "overloaded")

    @pytest.mark.parametrize(
        "kind", sorted(k for k, c in CONSEQUENCES.items() if c.fault is not Fault.PROVIDER)
    )
    def test_what_is_not_the_providers_fault_is_not_held_against_it(self, kind: FailureKind) -> None:
        health = after(bad(kind))
        assert (health.failures, health.consecutive_failures, health.last_failure) == (0, 0, None)
        assert health.gauge(100.0) == Gauge(0, None, 0)

    def test_a_client_that_left_says_nothing_about_the_provider(self) -> None:
        health = after(LEFT)
        assert (health.in_flight, health.requests, health.successes, health.failures) == (0, 1, 0, 0)

    @pytest.mark.parametrize(
        ("kind", "in_a_row"),
        [
            (FailureKind.OVERLOADED, 2),
            (FailureKind.TIMEOUT, 2),
            (FailureKind.RATE_LIMITED, 0),  # busy is not unwell
            (FailureKind.PROVIDER_DENIED, 0),
        ],
    )
    def test_only_failures_of_health_count_in_a_row(self, kind: FailureKind, in_a_row: int) -> None:
        assert after(bad(kind), bad(kind)).consecutive_failures == in_a_row

    @pytest.mark.parametrize("answer", [good(), bad(FailureKind.TOO_LARGE)])
    def test_any_answer_ends_the_row(self, answer: Outcome) -> None:
        assert after(bad(), bad(), answer).consecutive_failures == 0


class TestLatency:
    def test_is_unknown_before_the_first_answer(self) -> None:
        assert Health().gauge() == Gauge(0, None, 0)

    def test_of_one_answer_is_that_answers(self) -> None:
        assert after(good(0.3)).gauge(100.0) == Gauge(0, 0.3, 1)

    def test_rises_faster_than_it_falls(self) -> None:
        assert average(1.0, 2.0) == 1.0 + RISE
        assert average(1.0, 0.0) == 1.0 - FALL

    def test_falls_by_half_in_about_three_samples(self) -> None:
        health = after(good(1.0), good(0.0), good(0.0), good(0.0))
        assert health.latency_s == pytest.approx(0.5, abs=0.02)

    def test_of_whole_answers_only_is_their_total_time(self) -> None:
        assert after(good(None, 2.0)).gauge(100.0).latency_s == 2.0

    def test_is_forgotten_by_half_while_nobody_calls(self) -> None:
        health = after(good(0.8))
        assert health.gauge(100.0 + IDLE_HALF_LIFE_S).latency_s == pytest.approx(0.4)
        assert health.latency_s == 0.8

    def test_what_was_forgotten_does_not_come_back_with_the_next_answer(self) -> None:
        health = after(good(8.0))
        later_s = 100.0 + 10 * IDLE_HALF_LIFE_S
        health.started()
        health.ended(good(0.2), later_s)
        assert health.gauge(later_s).latency_s == pytest.approx(0.2, abs=0.1)

    def test_survives_a_clock_that_is_set_back(self) -> None:
        assert after(good(0.8)).gauge(5.0).latency_s == 0.8


class TestPenalty:
    def test_a_deployment_that_fails_at_once_does_not_look_quick(self) -> None:
        assert after(bad()).gauge(100.0).latency_s == PENALTY_S
        assert after(good(0.2), bad()).gauge(100.0).latency_s == pytest.approx(0.2 + PENALTY_S)

    def test_it_fades(self) -> None:
        health = after(bad())
        assert health.gauge(100.0 + 3 * PENALTY_HALF_LIFE_S).latency_s == pytest.approx(PENALTY_S / 8)

    def test_it_ends_with_the_next_success(self) -> None:
        assert after(bad(), good(0.2)).gauge(100.0).latency_s == 0.2


def test_a_gauge_is_built_once_while_nothing_changes() -> None:
    health = after(good())
    gauge = health.gauge(100.0)
    assert health.gauge(100.5) is gauge
    assert health.gauge(102.0) is not gauge
    health.started()
    assert health.gauge(102.0) == Gauge(1, health.gauge(102.0).latency_s, 1)


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
    latency_s = health.gauge(100.0).latency_s
    assert (latency_s is None) == (health.successes + health.failures == 0)
    if latency_s is not None:
        assert 0.1 <= latency_s <= 9.0 + PENALTY_S
