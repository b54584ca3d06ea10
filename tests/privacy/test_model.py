"""The decision as a model: in every small world, whatever fails, no attempt shows a deployment what it may not see."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from llmproxyd.routing.across import further
from llmproxyd.routing.decide import decide
from llmproxyd.routing.fallback import next_step
from llmproxyd.values.failure import Failure
from llmproxyd.values.plan import Allowance, Attempt, GiveUp, Plan, Start
from tests.privacy.small_world import (
    ENDINGS,
    HOW_MANY,
    World,
    check,
    nth_world,
    question_of,
    readings_of,
    routes_of,
    walk,
)
from tests.support.records import replace

_STEP = 7919
"""A prime that divides no count of worlds: every part of them is met early, and each once."""


def explore(enough: int) -> tuple[int, int]:
    """States of as many worlds as it takes. -> (states, worlds)"""
    states = worlds = 0
    while states < enough and worlds < HOW_MANY:
        states += walk(nth_world(worlds * _STEP % HOW_MANY))
        worlds += 1
    return states, worlds


def test_no_attempt_breaks_the_fence_in_thirty_thousand_states() -> None:
    states, worlds = explore(30_000)
    assert states >= 30_000
    assert worlds > 300


@pytest.mark.proof
@pytest.mark.timeout(3000)
def test_no_attempt_breaks_the_fence_in_any_small_world() -> None:
    states = sum(walk(nth_world(number)) for number in range(HOW_MANY))
    assert states >= 1_000_000


def test_the_walk_reaches_fallbacks_hedges_and_other_models() -> None:
    """A walk that never went further than its first attempt would prove nothing."""
    open_world = World((3, 3, 3), "none", "usual", None, None, (), "m", (False, False, False))
    assert walk(open_world) > 100
    assert walk(replace(open_world, policy="hedge")) > walk(open_world)
    assert walk(replace(open_world, policy="off")) < walk(open_world)
    assert walk(replace(open_world, name="b/m")) < walk(open_world)


class Fence(RuleBasedStateMachine):
    """Requests come, attempts end in any order, deployments go down, and the files change while a request is under way."""

    @initialize(number=st.integers(0, HOW_MANY - 1))
    def load(self, number: int) -> None:
        self.world = nth_world(number)
        self.plan: Plan | None = None
        self.extended = False

    @rule(number=st.integers(0, HOW_MANY - 1))
    def reload(self, number: int) -> None:
        """A request keeps what it was admitted with, so only what comes after it sees this."""
        if self.plan is None:
            self.world = nth_world(number)

    @precondition(lambda self: self.plan is None)
    @rule()
    def ask(self) -> None:
        world = self.asked = self.world
        self.routes = routes_of(world.clearances, world.rules, world.policy)
        self.readings = readings_of(world, self.routes.snapshot)
        self.plan = decide(question_of(world), self.routes, self.readings)
        self.attempts: list[Attempt] = []
        self.extended = False

    @precondition(lambda self: self.plan is not None)
    @rule(patient=st.booleans())
    def step(self, patient: bool) -> None:
        assert self.plan is not None
        allowance = Allowance() if patient else Allowance(hedge_from_s=0.0)
        step = next_step(self.plan, self.attempts, 0.0, 0.0, allowance)
        if isinstance(step, Start):
            check(self.asked, self.plan.candidates[step.candidate])
            self.attempts.append(Attempt(step.candidate, 0.0, hedge=step.hedge))
        elif isinstance(step, GiveUp):
            self.give_up(step.failure)

    def give_up(self, failure: Failure) -> None:
        assert self.plan is not None
        more = (
            ()
            if self.extended
            else further(self.plan, question_of(self.asked), self.routes, self.readings, failure)
        )
        self.extended = True
        self.plan = replace(self.plan, candidates=(*self.plan.candidates, *more)) if more else None

    @precondition(lambda self: self.plan is not None and any(a.ended_s is None for a in self.attempts))
    @rule(how=st.sampled_from(ENDINGS), last=st.booleans())
    def end(self, how: tuple[object, bool, str | None], last: bool) -> None:
        running = [place for place, a in enumerate(self.attempts) if a.ended_s is None]
        place = running[-1 if last else 0]
        kind, sent, code = how
        failure = Failure(kind, "", code=code)  # type: ignore[arg-type]
        self.attempts[place] = replace(self.attempts[place], ended_s=0.0, failure=failure, sent=sent)


Fence.TestCase.settings = settings(stateful_step_count=30)
TestFence = Fence.TestCase
