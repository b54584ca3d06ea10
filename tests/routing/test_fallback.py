from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.routing.fallback import anybody_left, next_step
from llmproxyd.values.failure import ALWAYS_FALL_BACK, CONSEQUENCES, FALLBACK_KINDS, Failure, FailureKind
from llmproxyd.values.plan import Allowance, Attempt, Candidate, GiveUp, Plan, Start, Step, Wait
from llmproxyd.values.snapshot import DEFAULT_FALLBACK_ON, Deployment, FallbackPolicy, HedgePolicy
from tests.routing.build import deployment, provider
from tests.support.records import replace

A, B, C = (deployment(f"{name}/m") for name in "abc")
POLICY = FallbackPolicy(
    on=DEFAULT_FALLBACK_ON, attempts=4, deadline_s=60.0, retry_max=1, retry_base_s=0.2, retry_cap_s=5.0
)


def plan_of(*deployments: Deployment, seed: int = 1, **policy: Any) -> Plan:
    return Plan(
        target=None,
        candidates=tuple(Candidate(d) for d in deployments),
        dropped=(),
        fallback=replace(POLICY, **policy),
        label="internal",
        label_rank=1,
        seed=seed,
    )


def failed(kind: FailureKind | str, candidate: int = 0, ended_s: float = 1.0, **more: Any) -> Attempt:
    failure = Failure(FailureKind(kind), f"{kind} at {candidate}", **more)
    return Attempt(candidate, ended_s - 0.5, ended_s, failure)


def refused(kind: str, candidate: int = 0, ended_s: float = 1.0, **more: Any) -> Attempt:
    """Not called at all."""
    return replace(failed(kind, candidate, ended_s, **more), started_s=ended_s, sent=False)


def breaker_open(candidate: int = 0, ended_s: float = 1.0) -> Attempt:
    return refused("saturated", candidate, ended_s, code="breaker_open", retry_after_s=20.0)


def in_line(candidate: int, wait_s: float | None) -> Attempt:
    return refused("saturated", candidate, code="queue", retry_after_s=wait_s)


def cooling(candidate: int, left_s: float, ended_s: float = 1.0) -> Attempt:
    return refused("rate_limited", candidate, ended_s, retry_after_s=left_s)


def step(
    plan: Plan,
    *attempts: Attempt,
    now_s: float = 1.0,
    admitted_s: float = 0.0,
    extra_from_s: float = -inf,
    hedge_from_s: float = inf,
) -> Step:
    return next_step(plan, attempts, now_s, admitted_s, Allowance(extra_from_s, hedge_from_s))


def given_up(reached: Step) -> Failure:
    assert isinstance(reached, GiveUp)
    return reached.failure


class TestFirst:
    def test_the_first_candidate_is_started(self) -> None:
        assert step(plan_of(A, B)) == Start(0)

    def test_a_plan_that_failed_is_given_up_with_its_failure(self) -> None:
        failure = Failure(FailureKind.PRIVACY_NO_ROUTE, "nobody")
        assert given_up(step(replace(plan_of(), failure=failure))) == failure

    def test_a_running_attempt_is_waited_for_until_the_deadline(self) -> None:
        assert step(plan_of(A, B), Attempt(0, 0.5), admitted_s=0.25) == Wait(60.25)

    def test_after_a_success_there_is_nothing_to_do(self) -> None:
        assert step(plan_of(A, B), Attempt(0, 0.5, 0.9)) == Wait(None)


class TestTheNextCandidate:
    @pytest.mark.parametrize("kind", sorted(DEFAULT_FALLBACK_ON))
    def test_comes_at_once_after_every_kind_the_policy_names(self, kind: FailureKind) -> None:
        assert step(plan_of(A, B), failed(kind)) == Start(1)

    def test_comes_at_once_even_if_the_first_said_when_to_come_back(self) -> None:
        assert step(plan_of(A, B), failed("rate_limited", retry_after_s=0.0)) == Start(1)

    @pytest.mark.parametrize("kind", sorted(set(FailureKind) - DEFAULT_FALLBACK_ON - ALWAYS_FALL_BACK))
    def test_does_not_come_after_a_kind_the_policy_does_not_name(self, kind: FailureKind) -> None:
        assert given_up(step(plan_of(A, B), failed(kind))).kind is kind

    @pytest.mark.parametrize("kind", sorted(k for k, c in CONSEQUENCES.items() if not c.fallback))
    def test_does_not_come_after_a_kind_the_table_forbids_whatever_the_policy_names(
        self, kind: FailureKind
    ) -> None:
        plan = plan_of(A, B, on=frozenset(FailureKind))
        assert given_up(step(plan, failed(kind))).kind is kind

    def test_does_not_come_when_fallback_is_off(self) -> None:
        plan = plan_of(A, B, on=frozenset(), attempts=1)
        assert given_up(step(plan, failed("overloaded"))).kind is FailureKind.OVERLOADED

    def test_does_not_come_when_all_attempts_are_used_up(self) -> None:
        attempts = [failed("overloaded", place) for place in (0, 1)]
        assert given_up(step(plan_of(A, B, C, attempts=2), *attempts)).kind is FailureKind.OVERLOADED

    def test_does_not_come_after_the_deadline(self) -> None:
        reached = step(plan_of(A, B), failed("overloaded"), now_s=60.0)
        assert given_up(reached).kind is FailureKind.OVERLOADED


@pytest.mark.parametrize("kind", sorted(ALWAYS_FALL_BACK))
class TestNothingWasSent:
    def test_the_next_candidate_needs_nobodys_permission(self, kind: FailureKind) -> None:
        assert step(plan_of(A, B, on=frozenset(), attempts=1), failed(kind)) == Start(1)

    def test_and_it_costs_no_attempt(self, kind: FailureKind) -> None:
        attempts = [failed(kind, 0), failed("overloaded", 1)]
        assert step(plan_of(A, B, C, attempts=2), *attempts) == Start(2)

    def test_the_same_one_is_not_tried_again(self, kind: FailureKind) -> None:
        assert given_up(step(plan_of(A), failed(kind), now_s=50.0)).kind is kind

    def test_what_another_one_answered_still_ends_it(self, kind: FailureKind) -> None:
        attempts = [failed(kind, 0), failed("content_refused", 1)]
        assert given_up(step(plan_of(A, B, C), *attempts)).kind is FailureKind.CONTENT_REFUSED


class TestNobodyWasCalled:
    @pytest.mark.parametrize("kind", ["rate_limited", "provider_denied", "saturated", "unsupported"])
    def test_the_next_candidate_needs_nobodys_permission_and_it_costs_no_attempt(self, kind: str) -> None:
        plan = plan_of(A, B, C, on=frozenset(), attempts=1)
        assert step(plan, refused(kind), extra_from_s=inf) == Start(1)
        assert step(plan, refused(kind), refused(kind, 1), extra_from_s=inf) == Start(2)

    def test_the_shortest_line_is_entered_first(self) -> None:
        attempts = [breaker_open(0), in_line(1, 3.0), in_line(2, 2.0)]
        assert step(plan_of(A, B, C), *attempts) == Start(2, queue=True)

    def test_a_line_of_unknown_length_is_entered_last_and_each_only_once(self) -> None:
        attempts = [in_line(0, None), in_line(1, 3.0)]
        assert step(plan_of(A, B), *attempts) == Start(1, queue=True)
        assert step(plan_of(A, B), *attempts, in_line(1, 4.0)) == Start(0, queue=True)
        told = given_up(step(plan_of(A, B), *attempts, in_line(1, 4.0), in_line(0, 9.0)))
        assert told.kind is FailureKind.SATURATED

    def test_without_a_line_breakers_are_overridden_in_the_plans_order_once_each(self) -> None:
        attempts = [cooling(0, 2.0), breaker_open(1), breaker_open(2)]
        plan = plan_of(A, B, C)
        assert step(plan, *attempts) == Start(1, force=True)
        attempts += [failed("unreachable", 1)]
        assert step(plan, *attempts) == Start(2, force=True)
        attempts += [breaker_open(2)]
        assert step(plan, *attempts) == Wait(3.0)

    def test_one_called_despite_its_breaker_is_not_called_again(self) -> None:
        told = given_up(step(plan_of(A), breaker_open(), failed("overloaded"), now_s=50.0))
        assert told.kind is FailureKind.OVERLOADED

    def test_a_retry_that_its_own_breaker_stops_is_made_all_the_same_where_nobody_is_left(self) -> None:
        attempts = [failed("overloaded"), breaker_open(0, 1.2)]
        assert step(plan_of(A), *attempts, now_s=1.2) == Start(0, force=True)
        attempts += [failed("overloaded", ended_s=1.5)]
        assert isinstance(step(plan_of(A, retry_max=5), *attempts, now_s=9.0), GiveUp)

    def test_where_all_are_cooling_a_short_pause_is_waited_for_exactly(self) -> None:
        attempts = [cooling(0, 4.0), cooling(1, 3.0)]
        assert step(plan_of(A, B), *attempts) == Wait(4.0)
        assert step(plan_of(A, B), *attempts, now_s=3.999) == Wait(4.0)
        assert step(plan_of(A, B), *attempts, now_s=4.0) == Start(1)

    def test_where_all_are_cooling_for_long_the_client_is_told_the_least_that_is_left(self) -> None:
        told = given_up(step(plan_of(A, B), cooling(0, 40.0), cooling(1, 30.0), now_s=2.0))
        assert (told.kind, told.client_status, told.retry_after_s) == (FailureKind.RATE_LIMITED, 429, 29.0)

    def test_a_pause_beyond_the_deadline_is_not_waited_for(self) -> None:
        assert isinstance(step(plan_of(A, deadline_s=3.0), cooling(0, 2.5)), GiveUp)

    def test_a_pause_that_grows_meanwhile_is_waited_for_no_second_time(self) -> None:
        attempts = [cooling(0, 1.0), cooling(0, 1.0, 2.0)]
        assert given_up(step(plan_of(A), *attempts, now_s=2.0)).kind is FailureKind.RATE_LIMITED

    def test_what_somebody_answered_is_told_rather_than_that_others_were_not_asked(self) -> None:
        attempts = [in_line(0, 1.0), in_line(0, 1.0), failed("timeout", 1)]
        assert given_up(step(plan_of(A, B), *attempts)).kind is FailureKind.TIMEOUT

    def test_a_retry_goes_before_a_line_that_takes_longer_and_after_one_that_does_not(self) -> None:
        plan = plan_of(A, B)
        slow, quick = in_line(1, 30.0), in_line(1, 0.0)
        assert step(plan, failed("overloaded"), slow, now_s=1.2) == Start(0)
        assert step(plan, failed("overloaded"), quick, now_s=1.2) == Start(1, queue=True)


class TestTheRetryBudget:
    def test_another_attempt_waits_until_it_is_allowed(self) -> None:
        attempt = failed("overloaded")
        assert step(plan_of(A, B), attempt, extra_from_s=4.0) == Wait(4.0)
        assert step(plan_of(A, B), attempt, now_s=4.0, extra_from_s=4.0) == Start(1)

    def test_it_does_not_wait_for_longer_than_its_patience(self) -> None:
        attempt = failed("overloaded")
        assert step(plan_of(A, B), attempt, extra_from_s=6.0) == Wait(6.0)
        assert given_up(step(plan_of(A, B), attempt, extra_from_s=6.001)).message == "overloaded at 0"

    def test_patience_counts_from_when_the_attempt_was_wanted(self) -> None:
        assert isinstance(step(plan_of(A, B), failed("overloaded"), now_s=5.0, extra_from_s=6.5), GiveUp)

    def test_it_does_not_wait_beyond_the_deadline(self) -> None:
        reached = step(plan_of(A, B, deadline_s=3.0), failed("overloaded"), extra_from_s=3.5)
        assert isinstance(reached, GiveUp)

    def test_a_retry_waits_for_its_backoff_and_for_the_budget(self) -> None:
        attempt = failed("rate_limited", retry_after_s=2.0)
        assert step(plan_of(A), attempt, extra_from_s=2.5) == Wait(3.0)
        assert step(plan_of(A), attempt, extra_from_s=4.5) == Wait(4.5)

    def test_the_first_call_needs_none(self) -> None:
        assert step(plan_of(A), extra_from_s=inf) == Start(0)
        assert step(plan_of(A), breaker_open(), extra_from_s=inf) == Start(0, force=True)


class TestAnybodyLeft:
    def test_somebody_who_was_not_asked_yet(self) -> None:
        assert anybody_left(plan_of(A, B), [Attempt(0, 0.5)])
        assert not anybody_left(plan_of(A, B), [failed("overloaded"), Attempt(1, 1.0)])

    def test_nobody_where_no_attempt_is_left_or_a_timeout_ends_it(self) -> None:
        assert not anybody_left(plan_of(A, B, attempts=1), [Attempt(0, 0.5)])
        on = frozenset({FailureKind.OVERLOADED})
        assert not anybody_left(plan_of(A, B, on=on), [Attempt(0, 0.5)])


class TestHedging:
    HEDGED: ClassVar[dict[str, Any]] = {"hedge": HedgePolicy()}
    RUNNING = Attempt(0, 0.5)

    def test_a_second_candidate_is_begun_when_the_first_has_been_silent_for_too_long(self) -> None:
        plan = plan_of(A, B, **self.HEDGED)
        assert step(plan, self.RUNNING, hedge_from_s=1.5) == Wait(1.5)
        assert step(plan, self.RUNNING, now_s=1.5, hedge_from_s=1.5) == Start(1, hedge=True)

    def test_it_waits_for_the_retry_budget_too(self) -> None:
        plan = plan_of(A, B, **self.HEDGED)
        assert step(plan, self.RUNNING, hedge_from_s=0.9, extra_from_s=2.0) == Wait(2.0)
        assert step(plan, self.RUNNING, hedge_from_s=0.9, extra_from_s=inf) == Wait(60.0)

    @pytest.mark.parametrize(
        "policy", [{"hedge": None}, {"attempts": 1}, {"on": frozenset()}], ids=["off", "one attempt", "none"]
    )
    def test_it_is_not_begun_where_the_policy_has_no_room_for_it(self, policy: dict[str, Any]) -> None:
        plan = plan_of(A, B, **(self.HEDGED | policy))
        assert step(plan, self.RUNNING, hedge_from_s=0.0) == Wait(60.0)

    def test_no_third_runs_beside_two(self) -> None:
        plan = plan_of(A, B, C, **self.HEDGED)
        assert step(plan, self.RUNNING, Attempt(1, 0.9, hedge=True), hedge_from_s=0.0) == Wait(60.0)

    def test_one_attempt_is_hedged_once(self) -> None:
        plan = plan_of(A, B, C, **self.HEDGED)
        lost = replace(failed("overloaded", 1), hedge=True)
        assert step(plan, self.RUNNING, lost, hedge_from_s=0.0) == Wait(60.0)

    def test_a_hedge_is_not_hedged_when_the_first_has_failed(self) -> None:
        plan = plan_of(A, B, C, **self.HEDGED)
        attempts = [failed("overloaded"), Attempt(1, 0.9, hedge=True)]
        assert step(plan, *attempts, hedge_from_s=0.0) == Wait(60.0)

    def test_the_next_one_after_a_failure_may_be_hedged_again(self) -> None:
        plan = plan_of(A, B, C, **self.HEDGED)
        assert step(plan, failed("overloaded"), Attempt(1, 1.0), hedge_from_s=1.0) == Start(2, hedge=True)

    def test_whoever_could_not_be_called_is_passed_over(self) -> None:
        plan = plan_of(A, B, C, **self.HEDGED)
        held_back = replace(breaker_open(1), hedge=True)
        assert step(plan, self.RUNNING, held_back, hedge_from_s=0.0) == Start(2, hedge=True)

    def test_a_failure_beside_a_running_attempt_starts_nobody(self) -> None:
        attempts = [failed("overloaded"), Attempt(1, 0.9, hedge=True)]
        assert step(plan_of(A, B, C, **self.HEDGED), *attempts) == Wait(60.0)

    def test_a_failure_the_caller_must_mend_ends_the_other_attempt_too(self) -> None:
        attempts = [failed("content_refused"), Attempt(1, 0.9, hedge=True)]
        assert given_up(step(plan_of(A, B), *attempts)).kind is FailureKind.CONTENT_REFUSED

    def test_another_final_failure_lets_the_running_one_try(self) -> None:
        plan = plan_of(A, B, C, on=frozenset({FailureKind.TIMEOUT}), **self.HEDGED)
        attempts = [failed("overloaded"), Attempt(1, 0.9, hedge=True)]
        assert step(plan, *attempts, hedge_from_s=0.0) == Wait(60.0)
        ended = [attempts[0], replace(failed("timeout", 1), hedge=True)]
        assert given_up(step(plan, *ended)).kind is FailureKind.OVERLOADED


class TestTooLarge:
    SMALL, SAME, LARGE, UNKNOWN = (
        deployment("a/small", context_window=8_000),
        deployment("b/same", context_window=8_000),
        deployment("c/large", context_window=32_000),
        deployment("d/unknown"),
    )

    def test_only_a_larger_window_is_tried(self) -> None:
        assert step(plan_of(self.SMALL, self.SAME, self.LARGE), failed("too_large")) == Start(2)

    def test_an_unknown_window_may_be_larger(self) -> None:
        assert step(plan_of(self.SMALL, self.SAME, self.UNKNOWN), failed("too_large")) == Start(2)

    def test_after_an_unknown_window_any_other_may_be_larger(self) -> None:
        assert step(plan_of(self.UNKNOWN, self.SMALL), failed("too_large")) == Start(1)

    def test_without_a_larger_window_the_client_is_told(self) -> None:
        reached = step(plan_of(self.SMALL, self.SAME), failed("too_large"))
        assert given_up(reached).kind is FailureKind.TOO_LARGE

    def test_a_smaller_one_is_not_even_tried_again(self) -> None:
        attempts = [failed("overloaded", 0), failed("too_large", 1)]
        reached = step(plan_of(self.SMALL, self.LARGE), *attempts, now_s=50.0)
        assert isinstance(reached, GiveUp)


class TestProviderDenied:
    def test_sister_deployments_of_the_same_provider_are_skipped(self) -> None:
        account = provider("a")
        plan = plan_of(deployment("a/one", account), deployment("a/two", account), B)
        assert step(plan, failed("provider_denied")) == Start(2)

    def test_the_providers_other_key_is_tried_at_once(self) -> None:
        denied = replace(failed("provider_denied"), another_key=True)
        assert step(plan_of(A, B), denied) == Start(0)
        assert step(plan_of(A, B, on=frozenset({FailureKind.TIMEOUT})), denied) == Start(0)

    def test_its_keys_are_tried_within_the_attempts_and_the_budget(self) -> None:
        denied = replace(failed("provider_denied"), another_key=True)
        assert isinstance(step(plan_of(A, attempts=2), denied, denied), GiveUp)
        assert step(plan_of(A), denied, extra_from_s=2.0) == Wait(2.0)

    def test_after_its_last_key_sister_deployments_are_skipped(self) -> None:
        account = provider("a")
        plan = plan_of(deployment("a/one", account), deployment("a/two", account), B)
        attempts = [replace(failed("provider_denied"), another_key=True), failed("provider_denied")]
        assert step(plan, *attempts) == Start(2)

    def test_a_missing_model_skips_only_itself(self) -> None:
        account = provider("a")
        plan = plan_of(deployment("a/one", account), deployment("a/two", account))
        assert step(plan, failed("model_unavailable")) == Start(1)

    @pytest.mark.parametrize("kind", ["provider_denied", "model_unavailable"])
    def test_the_same_deployment_is_not_tried_again(self, kind: str) -> None:
        assert given_up(step(plan_of(A), failed(kind))).kind == kind


class TestTheSameOneAgain:
    @pytest.mark.parametrize("kind", sorted(k for k in DEFAULT_FALLBACK_ON if CONSEQUENCES[k].retry))
    def test_comes_only_when_no_candidate_is_left(self, kind: FailureKind) -> None:
        assert step(plan_of(A, B), failed(kind)) == Start(1)
        reached = step(plan_of(A), failed(kind))
        assert isinstance(reached, Wait)
        assert reached.until_s is not None
        assert 1.0 <= reached.until_s <= 1.2

    @pytest.mark.parametrize("kind", sorted(k for k in DEFAULT_FALLBACK_ON if not CONSEQUENCES[k].retry))
    def test_does_not_come_where_the_table_forbids_it(self, kind: FailureKind) -> None:
        assert given_up(step(plan_of(A), failed(kind))).kind is kind

    def test_does_not_come_when_the_failure_itself_forbids_it(self) -> None:
        assert isinstance(step(plan_of(A), failed("rate_limited", retryable=False)), GiveUp)

    def test_starts_when_the_wait_is_over(self) -> None:
        assert step(plan_of(A), failed("overloaded"), now_s=1.2) == Start(0)

    def test_waits_exactly_as_long_as_the_provider_asked(self) -> None:
        attempt = failed("rate_limited", retry_after_s=4.25)
        assert step(plan_of(A), attempt) == Wait(5.25)
        assert step(plan_of(A), attempt, now_s=5.249) == Wait(5.25)
        assert step(plan_of(A), attempt, now_s=5.25) == Start(0)

    def test_is_not_waited_for_longer_than_the_cap(self) -> None:
        told = given_up(step(plan_of(A), failed("rate_limited", retry_after_s=5.25), now_s=1.25))
        assert (told.kind, told.retry_after_s) == (FailureKind.RATE_LIMITED, 5.0)

    def test_is_given_up_if_the_provider_asks_for_more_than_is_left(self) -> None:
        reached = step(plan_of(A, deadline_s=5.0), failed("rate_limited", retry_after_s=4.0))
        assert given_up(reached).retry_after_s == 4.0

    def test_comes_no_more_often_than_the_policy_allows(self) -> None:
        plan = plan_of(A, retry_max=2, attempts=9)
        attempts = [failed("overloaded")]
        assert step(plan, *attempts, now_s=50.0) == Start(0)
        attempts += [failed("overloaded")]
        assert step(plan, *attempts, now_s=50.0) == Start(0)
        attempts += [failed("overloaded")]
        assert isinstance(step(plan, *attempts, now_s=50.0), GiveUp)

    @pytest.mark.parametrize(("own", "policy", "expected"), [(0, 3, GiveUp), (5, 0, GiveUp), (1, 1, Start)])
    def test_comes_no_more_often_than_the_provider_allows(
        self, own: int, policy: int, expected: type[Step]
    ) -> None:
        plan = plan_of(deployment("a/m", provider("a", max_retries=own)), retry_max=policy)
        assert isinstance(step(plan, failed("overloaded"), now_s=50.0), expected)

    def test_counts_among_all_attempts(self) -> None:
        plan = plan_of(A, attempts=2, retry_max=5)
        assert isinstance(step(plan, failed("overloaded"), failed("overloaded"), now_s=50.0), GiveUp)

    def test_is_the_one_that_may_come_back_first(self) -> None:
        attempts = [
            failed("rate_limited", 0, retry_after_s=9.0),
            failed("rate_limited", 1, retry_after_s=3.0),
        ]
        assert step(plan_of(A, B), *attempts) == Wait(4.0)
        assert step(plan_of(A, B), *attempts, now_s=4.0) == Start(1)

    def test_is_spread_over_the_whole_backoff_and_repeatable_by_seed(self) -> None:
        waits = []
        for seed in range(200):
            reached = step(plan_of(A, seed=seed), failed("overloaded"))
            assert reached == step(plan_of(A, seed=seed), failed("overloaded"))
            assert isinstance(reached, Wait)
            assert reached.until_s is not None
            waits.append(reached.until_s - 1.0)
        assert 0.0 <= min(waits) < 0.02
        assert 0.18 < max(waits) <= 0.2

    def test_backs_off_twice_as_far_each_time_up_to_the_cap(self) -> None:
        def longest_wait(retries: int) -> float:
            attempts = [failed("overloaded")] * (retries + 1)
            waits = []
            for seed in range(100):
                plan = plan_of(A, seed=seed, retry_max=9, attempts=20, retry_base_s=1.0, retry_cap_s=5.0)
                reached = step(plan, *attempts)
                assert isinstance(reached, Wait)
                assert reached.until_s is not None
                waits.append(reached.until_s - 1.0)
            return max(waits)

        assert [round(longest_wait(n)) for n in range(5)] == [1, 2, 4, 5, 5]


class TestWhatTheClientIsTold:
    def end(self, *attempts: Attempt, now_s: float = 1.0) -> Failure:
        plan = plan_of(A, B, C, attempts=len(attempts))
        return given_up(step(plan, *attempts, now_s=now_s))

    def test_all_rate_limited_gives_the_shortest_wait(self) -> None:
        told = self.end(
            failed("rate_limited", 0, retry_after_s=30.0), failed("rate_limited", 1, retry_after_s=12.0)
        )
        assert (told.kind, told.retry_after_s) == (FailureKind.RATE_LIMITED, 12.0)

    def test_a_wait_that_has_begun_is_told_as_what_is_left_of_it(self) -> None:
        told = self.end(
            failed("rate_limited", 0, 1.0, retry_after_s=12.0), failed("rate_limited", 1, 6.0), now_s=6.0
        )
        assert told.retry_after_s == 7.0

    def test_rate_limited_without_any_hint_is_told_as_it_was(self) -> None:
        told = self.end(failed("rate_limited", 0), failed("rate_limited", 1))
        assert (told.message, told.retry_after_s) == ("rate_limited at 0", None)

    @pytest.mark.parametrize(
        ("kinds", "told"),
        [
            (("overloaded", "timeout"), "overloaded at 0"),
            (("provider_denied", "rate_limited"), "rate_limited at 1"),
            (("model_unavailable", "too_large"), "too_large at 1"),
            (("too_large", "overloaded"), "overloaded at 1"),
            (("provider_denied", "model_unavailable"), "provider_denied at 0"),
            (("unreachable", "provider_denied", "bad_answer"), "unreachable at 0"),
        ],
    )
    def test_what_may_pass_goes_before_what_the_caller_and_what_only_the_operator_can_mend(
        self, kinds: tuple[str, ...], told: str
    ) -> None:
        assert self.end(*(failed(kind, place) for place, kind in enumerate(kinds))).message == told

    def test_of_one_candidate_the_last_failure_counts(self) -> None:
        assert self.end(failed("overloaded", 0), failed("unreachable", 0)).kind is FailureKind.UNREACHABLE

    def test_an_attempt_that_outlives_the_deadline_is_a_timeout(self) -> None:
        told = given_up(step(plan_of(A), Attempt(0, 0.5), now_s=60.0))
        assert (told.kind, told.code) == (FailureKind.TIMEOUT, "deadline_exceeded")
        assert told.message == "No provider answered within 60 s."

    def test_the_deadline_tells_what_failed_before_it(self) -> None:
        told = given_up(step(plan_of(A, B), failed("overloaded"), Attempt(1, 1.0), now_s=60.0))
        assert told.kind is FailureKind.OVERLOADED

    def test_a_failure_that_ends_it_is_told_whatever_failed_before(self) -> None:
        told = given_up(step(plan_of(A, B), failed("overloaded", 0), failed("bad_request", 1)))
        assert told.kind is FailureKind.BAD_REQUEST


# --- a walk to the end, for the invariants ------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What becomes of one attempt (``failure`` None: it succeeds), and what is allowed from then on."""

    failure: Failure | None
    lasts_s: float
    sent: bool
    another_key: bool
    extra_in_s: float
    hedge_in_s: float


class Walk:
    """Plays one exchange: deals the outcomes in turn, and checks every step against what was promised."""

    def __init__(self, plan: Plan, dealt: list[Outcome], admitted_s: float) -> None:
        self.plan = plan
        self.dealt = dealt
        self.admitted_s = self.now_s = admitted_s
        self.deadline_s = admitted_s + plan.fallback.deadline_s
        self.attempts: list[Attempt] = []
        self.fates: list[Attempt] = []
        self.allowance = Allowance()

    def to_its_end(self) -> None:
        for _ in range(200):
            reached = self.step()
            assert reached == self.step()
            match reached:
                case Start():
                    self.check_start(reached)
                    self.start(reached)
                case Wait(until_s):
                    if any(a.ended_s is not None and a.failure is None for a in self.attempts):
                        assert until_s is None
                        return
                    assert until_s is not None
                    assert self.now_s < until_s <= self.deadline_s
                    self.advance(until_s)
                case GiveUp(failure):
                    self.check_giving_up(failure)
                    return
        pytest.fail("it never ended")

    def step(self) -> Step:
        return next_step(self.plan, self.attempts, self.now_s, self.admitted_s, self.allowance)

    def start(self, start: Start) -> None:
        outcome = self.dealt[len(self.attempts) % len(self.dealt)]
        running = Attempt(start.candidate, self.now_s, sent=outcome.sent, hedge=start.hedge)
        if not outcome.sent:
            failure = outcome.failure or Failure(FailureKind.SATURATED, "full")
            fate = replace(running, ended_s=self.now_s, failure=failure)
        else:
            ended_s = self.now_s + outcome.lasts_s
            denied = outcome.failure is not None and outcome.failure.kind is FailureKind.PROVIDER_DENIED
            fate = replace(
                running,
                ended_s=ended_s,
                failure=outcome.failure,
                another_key=outcome.another_key and denied,
            )
        self.attempts.append(running if outcome.sent else fate)
        self.fates.append(fate)
        self.allowance = Allowance(self.now_s + outcome.extra_in_s, self.now_s + outcome.hedge_in_s)

    def advance(self, until_s: float) -> None:
        """To the next end of an attempt, or to ``until_s``."""
        running = [n for n, a in enumerate(self.attempts) if a.ended_s is None]
        first = min(running, key=lambda n: self.fates[n].ended_s or 0.0, default=None)
        ended_s = inf if first is None else self.fates[first].ended_s or 0.0
        if first is not None and ended_s <= until_s:
            self.attempts[first] = self.fates[first]
        self.now_s = max(self.now_s, min(ended_s, until_s))

    def check_start(self, start: Start) -> None:
        sent = [a for a in self.attempts if was_sent(a)]
        running = [a for a in self.attempts if a.ended_s is None]
        assert 0 <= start.candidate < len(self.plan.candidates)
        assert self.now_s < self.deadline_s
        assert len(sent) < self.plan.fallback.attempts
        assert not sent or self.allowance.extra_from_s <= self.now_s
        for attempt in self.attempts:
            if attempt.candidate == start.candidate:
                assert self.now_s >= pause_over_s(attempt)
        if start.hedge:
            assert self.plan.fallback.hedge is not None
            assert len(running) == 1
            assert self.allowance.hedge_from_s <= self.now_s
        else:
            assert not running

    def check_giving_up(self, failure: Failure) -> None:
        kinds = {a.failure.kind for a in self.attempts if a.failure is not None}
        outlived = self.now_s >= self.deadline_s
        assert failure.kind in kinds or (outlived and failure.code == "deadline_exceeded")
        assert self.now_s <= self.deadline_s or not any(a.ended_s is None for a in self.attempts)


def was_sent(attempt: Attempt) -> bool:
    return attempt.sent and not (attempt.failure and attempt.failure.kind in ALWAYS_FALL_BACK)


def pause_over_s(attempt: Attempt) -> float:
    """When the provider may be asked again by its own word. A line or a breaker of ours is no such word."""
    failure, ended_s = attempt.failure, attempt.ended_s
    asked = failure is not None and failure.kind in (FailureKind.RATE_LIMITED, FailureKind.OVERLOADED)
    if not asked or failure is None or ended_s is None:
        return -inf
    return ended_s + (failure.retry_after_s or 0.0)


# --- whatever fails, whenever, these hold -------------------------------------------------------------------------

failures = st.builds(
    Failure,
    kind=st.sampled_from(sorted(FALLBACK_KINDS | ALWAYS_FALL_BACK | {FailureKind.BAD_REQUEST})),
    message=st.just("failed"),
    code=st.none() | st.sampled_from(["queue", "breaker_open", "credentials_quarantined"]),
    retry_after_s=st.none() | st.floats(-1, 100) | st.floats(0, 4),
    retryable=st.booleans(),
)
deployments = st.builds(
    lambda name, window, retries: deployment(
        name, provider(name[0], max_retries=retries), context_window=window
    ),
    name=st.sampled_from(["a/1", "a/2", "b/1", "c/1", "c/2"]),
    window=st.none() | st.sampled_from([1_000, 8_000]),
    retries=st.none() | st.integers(0, 3),
)
policies = st.builds(
    FallbackPolicy,
    on=st.frozensets(st.sampled_from(sorted(FALLBACK_KINDS))) | st.just(FALLBACK_KINDS),
    attempts=st.integers(1, 6),
    deadline_s=st.floats(0.01, 60),
    retry_max=st.integers(0, 4),
    retry_base_s=st.floats(0, 1),
    retry_cap_s=st.floats(0, 5),
    hedge=st.none() | st.just(HedgePolicy()),
)
outcomes = st.builds(
    Outcome,
    failure=st.none() | failures | failures | failures,
    lasts_s=st.floats(0, 3) | st.floats(0, 80),
    sent=st.booleans() | st.just(True),
    another_key=st.booleans(),
    extra_in_s=st.sampled_from([-inf, -inf, 0.0, 0.5, 4.0, 6.0, inf]),
    hedge_in_s=st.sampled_from([inf, 0.0, 0.5]),
)


@given(
    chosen=st.lists(deployments, min_size=1, max_size=4, unique_by=lambda d: d.name),
    policy=policies,
    dealt=st.lists(outcomes, min_size=1, max_size=12),
    admitted_s=st.floats(0, 1e6),
    seed=st.integers(0, 9),
)
def test_every_exchange_ends_within_its_bounds(
    chosen: list[Deployment],
    policy: FallbackPolicy,
    dealt: list[Outcome],
    admitted_s: float,
    seed: int,
) -> None:
    plan = replace(plan_of(*chosen, seed=seed), fallback=policy)
    Walk(plan, dealt, admitted_s).to_its_end()
