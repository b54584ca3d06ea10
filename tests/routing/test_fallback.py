from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmproxyd.routing.fallback import next_step
from llmproxyd.values.failure import ALWAYS_FALL_BACK, CONSEQUENCES, FALLBACK_KINDS, Failure, FailureKind
from llmproxyd.values.plan import Attempt, Candidate, GiveUp, Plan, Start, Step, Wait
from llmproxyd.values.snapshot import DEFAULT_FALLBACK_ON, Deployment, FallbackPolicy
from tests.routing.build import deployment, provider

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


def step(plan: Plan, *attempts: Attempt, now_s: float = 1.0, admitted_s: float = 0.0) -> Step:
    return next_step(plan, attempts, now_s, admitted_s)


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
        attempt = failed("rate_limited", retry_after_s=7.25)
        assert step(plan_of(A), attempt) == Wait(8.25)
        assert step(plan_of(A), attempt, now_s=8.249) == Wait(8.25)
        assert step(plan_of(A), attempt, now_s=8.25) == Start(0)

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


# --- whatever fails, whenever, these hold -------------------------------------------------------------------------

failures = st.builds(
    Failure,
    kind=st.sampled_from(sorted(FALLBACK_KINDS | ALWAYS_FALL_BACK | {FailureKind.BAD_REQUEST})),
    message=st.just("failed"),
    retry_after_s=st.none() | st.floats(-1, 100),
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
)


@settings(max_examples=300, deadline=None)
@given(
    chosen=st.lists(deployments, min_size=1, max_size=4),
    policy=policies,
    outcomes=st.lists(st.tuples(failures, st.floats(0, 30)), min_size=10, max_size=10),
    admitted_s=st.floats(0, 1e6),
    seed=st.integers(0, 9),
)
def test_every_exchange_ends_within_its_bounds(
    chosen: list[Deployment],
    policy: FallbackPolicy,
    outcomes: list[tuple[Failure, float]],
    admitted_s: float,
    seed: int,
) -> None:
    plan = replace(plan_of(*chosen, seed=seed), fallback=policy)
    deadline_s = admitted_s + policy.deadline_s
    attempts: list[Attempt] = []
    now_s = admitted_s
    for _ in range(40):
        reached = next_step(plan, attempts, now_s, admitted_s)
        assert reached == next_step(plan, attempts, now_s, admitted_s)
        match reached:
            case Start(candidate):
                assert 0 <= candidate < len(plan.candidates)
                assert now_s < deadline_s
                called = [a for a in attempts if a.failure and a.failure.kind not in ALWAYS_FALL_BACK]
                assert len(called) < policy.attempts
                own = [a for a in attempts if a.candidate == candidate]
                assert len(own) <= policy.retry_max
                failure, lasted_s = outcomes[len(attempts)]
                running = Attempt(candidate, now_s)
                assert next_step(plan, [*attempts, running], now_s, admitted_s) == Wait(deadline_s)
                now_s += lasted_s
                attempts.append(Attempt(candidate, running.started_s, now_s, failure))
            case Wait(until_s):
                assert until_s is not None
                assert now_s < until_s < deadline_s
                now_s = until_s
            case GiveUp(failure):
                assert any(a.failure is not None and a.failure.kind is failure.kind for a in attempts)
                return
    pytest.fail("it never ended")
