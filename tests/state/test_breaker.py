from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llmproxyd.state.breaker import (
    MAX_PAUSE_S,
    PAUSE_S,
    RAMP_S,
    TRIAL_RETRY_S,
    WINDOW_CALLS,
    BreakerSwitch,
    Refusal,
)
from llmproxyd.state.health import Outcome
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.plan import Breaker

GOOD = Outcome(True, None, 0.0, 0.0)
LEFT = Outcome(False, None, None, 0.0)
EVEN = 0.5
"""A jitter that leaves a cooldown as it is."""


def bad(kind: FailureKind = FailureKind.OVERLOADED, total_s: float = 0.0) -> Outcome:
    return Outcome(False, Failure(kind, kind.value), None, total_s)


def busy(retry_after_s: float | None = None, total_s: float = 0.0) -> Outcome:
    failure = Failure(FailureKind.RATE_LIMITED, "busy", retry_after_s=retry_after_s)
    return Outcome(False, failure, None, total_s)


def good(total_s: float) -> Outcome:
    return Outcome(True, None, 0.0, total_s)


def switch(unhealthy_after: int = 3, recover_after_s: float = 300.0, jitter: float = EVEN) -> BreakerSwitch:
    return BreakerSwitch(unhealthy_after, recover_after_s, jitter=lambda: jitter)


def call(breaker: BreakerSwitch, outcome: Outcome, now_s: float) -> Breaker | None:
    """One call that takes no time; what people are told at its end."""
    breaker.started(now_s)
    return breaker.ended(outcome, now_s)


def opened(kind: FailureKind = FailureKind.OVERLOADED, at_s: float = 100.0, **given: float) -> BreakerSwitch:
    breaker = switch(**given)  # type: ignore[arg-type]
    for _ in range(3):
        call(breaker, bad(kind), at_s)
    return breaker


def state(breaker: BreakerSwitch, now_s: float) -> Breaker:
    return breaker.reading(now_s)[0]


def left(breaker: BreakerSwitch, now_s: float) -> tuple[Breaker, float] | None:
    """Who refuses and for how long, to the microsecond."""
    refused = breaker.refusal(now_s)
    return None if refused is None else (refused.breaker, round(refused.retry_after_s, 6))


class TestOpening:
    def test_a_new_one_is_closed_and_refuses_nobody(self) -> None:
        assert switch().reading(0.0) == (Breaker.CLOSED, 0.0, 1.0)
        assert switch().refusal(0.0) is None
        assert switch().changes_s(0.0) == inf

    def test_it_opens_after_so_many_failures_in_a_row(self) -> None:
        breaker = switch()
        assert [call(breaker, bad(), 100.0 + n) for n in range(3)] == [None, None, Breaker.OPEN]
        assert breaker.reading(102.0) == (Breaker.OPEN, 103.0, 0.0)
        assert breaker.refusal(102.25) == Refusal(Breaker.OPEN, 0.75)
        assert breaker.cause is FailureKind.OVERLOADED

    @pytest.mark.parametrize("answer", [GOOD, bad(FailureKind.TOO_LARGE)])
    def test_any_answer_begins_the_row_anew(self, answer: Outcome) -> None:
        breaker = switch()
        for outcome in (bad(), bad(), answer, bad(), bad()):
            call(breaker, outcome, 100.0)
        assert state(breaker, 100.0) is Breaker.CLOSED

    @pytest.mark.parametrize(
        "outcome", [LEFT, bad(FailureKind.PROVIDER_DENIED), bad(FailureKind.MODEL_UNAVAILABLE)]
    )
    def test_what_says_nothing_of_health_neither_counts_nor_forgives(self, outcome: Outcome) -> None:
        breaker = switch()
        for _ in range(9):
            call(breaker, outcome, 100.0)
        assert breaker.consecutive_failures == 0
        for one in (bad(), bad(), outcome, bad()):
            call(breaker, one, 100.0)
        assert state(breaker, 100.0) is Breaker.OPEN

    def test_it_opens_when_half_of_twenty_calls_within_ten_seconds_failed(self) -> None:
        breaker = switch()
        told = [call(breaker, (bad(), GOOD)[n % 2], 100.0 + n / 4) for n in range(WINDOW_CALLS + 1)]
        assert told == [None] * WINDOW_CALLS + [Breaker.OPEN]

    def test_half_of_twenty_calls_in_a_minute_is_no_reason(self) -> None:
        breaker = switch()
        assert not any(call(breaker, (bad(), GOOD)[n % 2], 100.0 + 3.0 * n) for n in range(60))

    def test_a_third_of_many_calls_is_no_reason(self) -> None:
        breaker = switch()
        assert not any(call(breaker, (bad(), GOOD, GOOD)[n % 3], 100.0 + n / 20) for n in range(300))


def waits_of(breaker: BreakerSwitch, outcome: Outcome, trials: int) -> list[float]:
    """The cooldowns, each trial of which comes as soon as it may and ends in ``outcome``."""
    now_s, waits = 100.0, []
    for _ in range(trials):
        ready_s = breaker.reading(now_s)[1]
        waits.append(ready_s - now_s)
        now_s = ready_s
        call(breaker, outcome, now_s)
    return waits


class TestCooldown:
    def test_where_a_trial_costs_a_long_silence_it_grows_with_each_that_fails(self) -> None:
        silent = bad(FailureKind.TIMEOUT)
        assert waits_of(opened(FailureKind.TIMEOUT), silent, 5) == pytest.approx(
            [1.0, 1.5, 1.5**2, 1.5**3, 1.5**4]
        )

    def test_else_it_is_a_twentieth_of_the_time_it_has_been_down(self) -> None:
        """So that it is back within seconds after a minute, and within half a minute after ten."""
        waits = waits_of(opened(), bad(), 120)
        assert waits[:5] == pytest.approx([1.0] * 5)
        down_s = 0.0
        for wait_s in waits:
            assert wait_s == pytest.approx(max(1.0, 0.05 * down_s))
            down_s += wait_s

    @pytest.mark.parametrize(("jitter", "wait_s"), [(0.0, 0.8), (0.5, 1.0), (0.999999, 1.2)])
    def test_it_is_spread_by_a_fifth_to_either_side(self, jitter: float, wait_s: float) -> None:
        assert opened(jitter=jitter).reading(100.0)[1] - 100.0 == pytest.approx(wait_s, abs=1e-4)

    @given(st.integers(0, 200), st.floats(0, 0.999), st.floats(1.0, 600.0))
    def test_it_never_exceeds_what_the_operator_allows(
        self, trials: int, jitter: float, recover_after_s: float
    ) -> None:
        breaker = opened(jitter=jitter, recover_after_s=recover_after_s)
        now_s = 100.0
        for _ in range(trials):
            ready_s = breaker.reading(now_s)[1]
            assert ready_s - now_s <= recover_after_s + 1e-6
            now_s = ready_s
            call(breaker, bad(), now_s)

    def test_after_a_long_time_down_it_is_a_twentieth_of_that(self) -> None:
        breaker = opened(recover_after_s=3600.0)
        call(breaker, bad(), 4100.0)
        assert breaker.reading(4100.0)[1] - 4100.0 == pytest.approx(200.0)

    def test_a_shorter_limit_is_adopted_while_it_is_open(self) -> None:
        breaker = opened()
        call(breaker, bad(), 100_000.0)
        breaker.recover_after_s = 10.0
        assert breaker.reading(100_000.0)[1] == 100_010.0

    def test_calls_from_before_it_opened_say_nothing_any_more(self) -> None:
        breaker = switch()
        for _ in range(8):
            breaker.started(90.0)
        for _ in range(3):
            breaker.ended(bad(total_s=10.0), 100.0)
        before = breaker.reading(100.5)
        breaker.ended(bad(total_s=10.5), 100.5)
        breaker.ended(good(10.5), 100.5)
        assert breaker.reading(100.5) == before


class TestHalfOpen:
    def test_one_call_at_a_time_may_try(self) -> None:
        breaker = opened()
        assert breaker.refusal(101.0) is None
        assert breaker.started(101.0) is Breaker.HALF_OPEN
        assert breaker.refusal(101.0) == Refusal(Breaker.HALF_OPEN, TRIAL_RETRY_S)
        assert breaker.reading(101.0) == (Breaker.HALF_OPEN, 0.0, 0.0)

    def test_a_good_trial_begins_the_recovery(self) -> None:
        breaker = opened()
        breaker.started(101.0)
        assert breaker.ended(good(2.0), 103.0) is Breaker.CLOSED
        assert breaker.reading(103.0)[:2] == (Breaker.RECOVERING, 0.0)
        assert breaker.refusal(103.0) is None

    def test_a_trial_whose_client_left_leaves_its_place_to_the_next(self) -> None:
        breaker = opened()
        breaker.started(101.0)
        breaker.ended(LEFT, 101.5)
        assert breaker.refusal(101.5) is None

    def test_an_older_call_that_ends_meanwhile_does_not_end_the_trial(self) -> None:
        breaker = switch()
        breaker.started(90.0)
        for _ in range(3):
            call(breaker, bad(), 100.0)
        breaker.started(101.0)
        breaker.ended(good(12.0), 102.0)
        assert breaker.refusal(102.0) is not None
        breaker.ended(good(2.0), 103.0)
        assert state(breaker, 103.0) is Breaker.RECOVERING

    def test_a_forced_call_that_succeeds_proves_as_much_as_a_trial(self) -> None:
        breaker = opened()
        assert call(breaker, GOOD, 100.5) is Breaker.CLOSED

    def test_a_forced_call_that_fails_changes_nothing(self) -> None:
        breaker = opened()
        before = breaker.reading(100.5)
        assert call(breaker, bad(), 100.5) is None
        assert breaker.reading(100.5) == before

    def test_a_pause_that_a_trial_is_asked_for_is_kept(self) -> None:
        breaker = opened()
        assert call(breaker, busy(5.0), 101.0) is Breaker.COOLING
        assert breaker.reading(101.0) == (Breaker.COOLING, 106.0, 0.0)
        assert call(breaker, GOOD, 106.0) is Breaker.CLOSED
        assert state(breaker, 106.0) is Breaker.RECOVERING


class TestRecovering:
    def recovering(self) -> BreakerSwitch:
        breaker = opened()
        call(breaker, GOOD, 101.0)
        return breaker

    @pytest.mark.parametrize(("after_s", "share"), [(0.0, 0.1), (5.0, 0.55), (9.0, 0.91)])
    def test_the_share_grows_steadily(self, after_s: float, share: float) -> None:
        assert self.recovering().reading(101.0 + after_s)[2] == pytest.approx(share)

    def test_after_ten_seconds_it_is_closed(self) -> None:
        breaker = self.recovering()
        assert breaker.changes_s(105.0) == 111.0
        assert state(breaker, 101.0 + RAMP_S) is Breaker.CLOSED

    def test_a_failure_opens_it_at_once(self) -> None:
        breaker = self.recovering()
        assert call(breaker, bad(), 102.0) is Breaker.OPEN
        assert breaker.reading(102.0)[1] == 103.0

    def test_a_failure_of_a_call_from_before_does_not(self) -> None:
        breaker = opened()
        breaker.started(100.5)
        call(breaker, GOOD, 101.0)
        breaker.ended(bad(total_s=1.5), 102.0)
        assert state(breaker, 102.0) is Breaker.RECOVERING

    def test_after_the_ramp_it_takes_as_many_failures_as_ever(self) -> None:
        breaker = self.recovering()
        assert [call(breaker, bad(), 120.0) for _ in range(3)] == [None, None, Breaker.OPEN]
        assert breaker.reading(120.0)[1] == 121.0


class TestCooling:
    def test_lasts_exactly_as_long_as_was_asked(self) -> None:
        breaker = switch()
        assert call(breaker, busy(2.5), 100.0) is Breaker.COOLING
        assert left(breaker, 102.499) == (Breaker.COOLING, 0.001)
        assert breaker.refusal(102.5) is None

    def test_is_no_ill_health(self) -> None:
        breaker = switch()
        call(breaker, bad(), 100.0)
        for n in range(50):
            call(breaker, busy(0.01), 100.0 + n / 10)
        assert (breaker.consecutive_failures, breaker.down_s) == (1, None)

    @pytest.mark.parametrize(("first", "second", "until_s"), [(5.0, 60.0, 161.0), (60.0, 5.0, 160.0)])
    def test_the_longer_window_wins(self, first: float, second: float, until_s: float) -> None:
        breaker = switch()
        call(breaker, busy(first), 100.0)
        call(breaker, busy(second), 101.0)
        assert breaker.reading(101.0)[1] == until_s

    def test_a_success_afterwards_closes_it_at_once(self) -> None:
        breaker = switch()
        call(breaker, busy(1.0), 100.0)
        assert breaker.started(101.0) is None
        assert breaker.refusal(101.0) is not None
        assert breaker.ended(GOOD, 101.0) is None
        assert breaker.reading(101.0) == (Breaker.CLOSED, 0.0, 1.0)

    def test_a_success_within_the_window_does_not_end_it(self) -> None:
        breaker = switch()
        breaker.started(99.0)
        call(breaker, busy(5.0), 100.0)
        breaker.ended(good(3.0), 102.0)
        assert breaker.refusal(104.9) is not None

    @pytest.mark.parametrize("asked_s", [None, 0.0, -3.0])
    @pytest.mark.parametrize(("jitter", "longest"), [(0.0, 1.0), (0.999, 2.0)])
    def test_without_a_window_pauses_double_while_it_stays_busy(
        self, jitter: float, longest: float, asked_s: float | None
    ) -> None:
        breaker, now_s, pauses = switch(jitter=jitter), 100.0, []
        for _ in range(8):
            call(breaker, busy(asked_s), now_s)
            pauses.append(breaker.reading(now_s)[1] - now_s)
            now_s += pauses[-1]
        expected = [min(MAX_PAUSE_S, PAUSE_S * longest * 2**n) for n in range(8)]
        assert pauses == pytest.approx(expected, rel=1e-3)

    def test_many_calls_that_were_under_way_lengthen_it_once(self) -> None:
        breaker = switch(jitter=0.0)
        for _ in range(50):
            breaker.started(99.9)
        for _ in range(50):
            breaker.ended(busy(total_s=0.1), 100.0)
        assert breaker.reading(100.0)[1] == 101.5

    def test_a_trial_that_fails_otherwise_opens_it(self) -> None:
        breaker = switch()
        call(breaker, busy(1.0), 100.0)
        assert call(breaker, bad(), 101.0) is Breaker.OPEN
        assert breaker.reading(101.0)[1] == 102.0

    def test_a_pause_asked_for_while_it_is_open_binds_forced_calls_too(self) -> None:
        breaker = opened()
        call(breaker, busy(0.5), 100.25)
        assert breaker.reading(100.3) == (Breaker.COOLING, 101.0, 0.0)
        assert state(breaker, 100.75) is Breaker.OPEN


class TestProbes:
    def test_idle_ones_are_ejected_by_failing_probes(self) -> None:
        breaker = switch()
        assert [breaker.probed(False, 30.0 * n) for n in range(3)] == [None, None, Breaker.OPEN]
        assert breaker.cause is FailureKind.UNREACHABLE

    def test_a_passing_probe_begins_the_row_of_an_idle_one_anew(self) -> None:
        breaker = switch()
        for alive in (False, False, True, False, False):
            breaker.probed(alive, 30.0)
        assert state(breaker, 30.0) is Breaker.CLOSED

    def test_where_something_is_called_calls_say_more(self) -> None:
        breaker = switch()
        for n in range(9):
            call(breaker, GOOD, 30.0 * n)
            breaker.probed(False, 30.0 * n + 1)
        assert breaker.consecutive_failures == 0

    @pytest.mark.parametrize("kind", [FailureKind.UNREACHABLE, FailureKind.TIMEOUT])
    def test_a_passed_probe_ends_the_wait_for_somebody_who_was_away(self, kind: FailureKind) -> None:
        breaker = opened(kind)
        breaker.probed(True, 100.2)
        assert breaker.refusal(100.2) is None

    def test_a_passed_probe_is_no_proof_against_other_causes(self) -> None:
        breaker = opened(FailureKind.BAD_ANSWER)
        breaker.probed(True, 100.2)
        assert left(breaker, 100.2) == (Breaker.OPEN, 0.8)

    def test_a_failed_probe_keeps_it_open_until_one_passes(self) -> None:
        breaker = opened()
        breaker.probed(False, 100.5)
        assert state(breaker, 150.0) is Breaker.OPEN
        breaker.probed(True, 150.0)
        assert state(breaker, 150.0) is Breaker.HALF_OPEN

    def test_but_not_for_longer_than_the_operator_allows(self) -> None:
        breaker = opened()
        for n in range(100):
            breaker.probed(False, 100.0 + 3 * n)
        assert breaker.refusal(399.9) is not None
        assert breaker.refusal(400.0) is None

    def test_a_probe_that_was_wrong_once_is_not_believed_again(self) -> None:
        breaker = opened(FailureKind.TIMEOUT)
        breaker.probed(True, 100.2)
        call(breaker, bad(FailureKind.TIMEOUT), 100.2)
        breaker.probed(True, 100.3)
        assert left(breaker, 100.3) == (Breaker.OPEN, 1.4)

    def test_a_probe_says_nothing_while_a_trial_runs(self) -> None:
        breaker = opened()
        breaker.started(101.0)
        breaker.probed(False, 101.5)
        breaker.ended(LEFT, 102.0)
        assert breaker.refusal(102.0) is None


def test_an_illness_is_told_when_it_begins_when_it_is_first_tried_and_when_it_is_over() -> None:
    breaker, now_s = opened(), 100.0
    told = []
    for outcome in (bad(), bad(), bad(FailureKind.TIMEOUT), GOOD):
        now_s = breaker.reading(now_s)[1]
        told += [breaker.started(now_s), breaker.ended(outcome, now_s)]
    assert [one for one in told if one] == [Breaker.HALF_OPEN, Breaker.OPEN, Breaker.CLOSED]


def test_a_run_of_pauses_is_told_once() -> None:
    breaker = switch()
    assert [call(breaker, busy(1.0), 100.0 + n) for n in range(4)] == [Breaker.COOLING, None, None, None]


class Events(RuleBasedStateMachine):
    """Any order of events at increasing times; calls know exactly how long they took."""

    @initialize(jitter=st.floats(0, 0.999), unhealthy_after=st.integers(1, 4))
    def begin(self, jitter: float, unhealthy_after: int) -> None:
        self.breaker = BreakerSwitch(unhealthy_after, 60.0, jitter=lambda: jitter)
        self.twin = BreakerSwitch(unhealthy_after, 60.0, jitter=lambda: jitter)
        self.now_s = 1000.0
        self.running: list[float] = []
        self.trial_s: float | None = None
        self.asked_until_s = -inf

    @rule(by_s=st.sampled_from([0.06, 0.4, 1.0, 3.0, 11.0, 70.0]))
    def time_passes(self, by_s: float) -> None:
        self.now_s += by_s

    @rule(force=st.booleans())
    def call(self, force: bool) -> None:
        refused = self.breaker.refusal(self.now_s)
        if refused is not None and (refused.breaker is Breaker.COOLING or not force):
            return
        half_open = state(self.breaker, self.now_s) is Breaker.HALF_OPEN
        if half_open and refused is None:
            assert self.trial_s is None, "two trials at a time"
            self.trial_s = self.now_s
        self.both("started", self.now_s)
        self.running.append(self.now_s)
        self.now_s += 0.06  # so that no two calls begin together

    @precondition(lambda self: self.running)
    @rule(
        which=st.integers(0, 50),
        ending=st.sampled_from(
            [GOOD, LEFT, bad(), bad(FailureKind.TIMEOUT), bad(FailureKind.TOO_LARGE), busy()]
            + [busy(s) for s in (0.5, 7.0, 100.0)]
        ),
    )
    def end(self, which: int, ending: Outcome) -> None:
        began_s = self.running.pop(which % len(self.running))
        outcome = Outcome(ending.ok, ending.failure, None, self.now_s - began_s)
        if ending.failure is not None and ending.failure.retry_after_s:
            self.asked_until_s = max(self.asked_until_s, self.now_s + ending.failure.retry_after_s)
        self.both("ended", outcome, self.now_s)
        if began_s == self.trial_s or not self.breaker.tripped:
            self.trial_s = None

    @rule(alive=st.booleans())
    def probe(self, alive: bool) -> None:
        self.both("probed", alive, self.now_s)

    def both(self, event: str, *arguments: object) -> None:
        assert getattr(self.breaker, event)(*arguments) == getattr(self.twin, event)(*arguments)

    @invariant()
    def no_window_ends_early(self) -> None:
        # To the millisecond: whatever came in between, nobody passes before the longest window is over.
        for at_s in (self.now_s, self.asked_until_s - 0.001):
            if self.now_s <= at_s < self.asked_until_s:
                refused = self.breaker.refusal(at_s)
                assert refused is not None
                assert refused.breaker is Breaker.COOLING
                assert refused.retry_after_s >= self.asked_until_s - at_s - 1e-9

    @invariant()
    def what_it_says_holds_together(self) -> None:
        breaker, ready_s, share = self.breaker.reading(self.now_s)
        assert 0.0 <= share <= 1.0
        assert (self.breaker.refusal(self.now_s) is None) == (share > 0.0)
        assert (breaker in (Breaker.OPEN, Breaker.COOLING)) == (ready_s > self.now_s)
        assert self.breaker.changes_s(self.now_s) > self.now_s
        assert self.breaker.refusal(self.now_s + 60.0 + 100.0) is None or self.trial_s is not None

    @invariant()
    def the_same_events_give_the_same_state(self) -> None:
        assert self.breaker.reading(self.now_s) == self.twin.reading(self.now_s)


TestAnyOrderOfEvents = Events.TestCase
