"""Small worlds for the model of the fence, and the walk through all that can happen in one.

What a deployment may see is worked out here once more, from the world alone, so that a fault in the decision cannot hide
behind itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import prod
from typing import Any

from llmproxyd.routing.across import further
from llmproxyd.routing.compile import Routes, compile_routes
from llmproxyd.routing.decide import decide
from llmproxyd.routing.fallback import BREAKER_CODE, next_step
from llmproxyd.values.clearance import require
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.plan import (
    Allowance,
    Attempt,
    Breaker,
    Candidate,
    Gauge,
    GiveUp,
    Plan,
    Question,
    Readings,
    Start,
)
from llmproxyd.values.privacy import NOTHING_FOUND, Finding, Found, Scan
from llmproxyd.values.snapshot import (
    DEFAULT_FALLBACK_ON,
    Degrade,
    DetectRule,
    FallbackPolicy,
    HedgePolicy,
    OneOf,
    Privacy,
    Rule,
    Snapshot,
    Stage,
    TargetKind,
    Zone,
)
from tests.routing.build import deployment, privacy, provider, snapshot, target, usd
from tests.support.records import replace

FENCE = Privacy(default_label=1, detect=(DetectRule(("email",), 2), DetectRule(("iban",), 3)))
LABELS = (None, *FENCE.labels)
HR = OneOf("project", ("hr",))
RULES: dict[str, tuple[Rule, ...]] = {
    "none": (),
    "label": (privacy("label", when=HR, label=3),),
    "mask": (privacy("mask", mask=("email",)),),
    "weak": (
        Rule("weak", Stage.COST, HR, prefer=("b/m",)),
        privacy("again", when=HR, label=2, mask=("email", "iban")),
    ),
}
FINDINGS = ((), ("email",), ("email", "iban"))
NAMES = ("auto", "careful", "m", "b/m")
_POLICY = FallbackPolicy(on=DEFAULT_FALLBACK_ON, retry_base_s=0.0, retry_cap_s=0.0)
POLICIES: dict[str, FallbackPolicy] = {
    "usual": _POLICY,
    "off": FallbackPolicy(on=frozenset(), attempts=1, retry_max=0),
    "hedge": replace(_POLICY, hedge=HedgePolicy(after_s=0.0)),
    "smaller": replace(_POLICY, degrade=(Degrade.SMALLER_MODEL, Degrade.ERROR), across_models=False),
    "long": replace(_POLICY, attempts=4, retry_max=0),
}
ENDINGS: Sequence[tuple[FailureKind, bool, str | None]] = (
    (FailureKind.OVERLOADED, True, None),
    (FailureKind.MODEL_UNAVAILABLE, True, None),
    (FailureKind.BAD_ANSWER, True, None),  # also how an answer ends that is taken up by the next one
    (FailureKind.SATURATED, False, BREAKER_CODE),
    (FailureKind.UNSUPPORTED, False, None),
)
"""(kind, sent, code)"""


@dataclass(frozen=True, slots=True)
class World:
    clearances: tuple[int, int, int]
    rules: str
    policy: str
    label: str | None
    project: str | None
    found: tuple[str, ...]
    name: str
    down: tuple[bool, bool, bool]


AXES: tuple[Sequence[Any], ...] = (
    tuple(product((1, 3), (0, 1, 2, 3), (1, 2))),
    tuple(RULES),
    tuple(POLICIES),
    LABELS,
    (None, "hr"),
    FINDINGS,
    NAMES,
    ((False, False, False), (True, False, False), (True, True, False), (True, True, True)),
)
HOW_MANY = prod(map(len, AXES))


def nth_world(number: int) -> World:
    """Every combination has its number, from 0 to HOW_MANY - 1."""
    chosen = []
    for axis in AXES:
        number, place = divmod(number, len(axis))
        chosen.append(axis[place])
    return World(*chosen)


@cache
def snapshot_of(clearances: tuple[int, int, int], rules: str, policy: str) -> Snapshot:
    zones = (Zone.LOCAL, Zone.EXTERNAL, Zone.PRIVATE)
    a, b, c = (
        deployment(
            f"{name}/{model}",
            provider(name, zone, clearance=clearance),
            price=usd(price),
            capabilities=frozenset(),
        )
        for name, model, zone, clearance, price in zip(
            "abc", "mmn", zones, clearances, (3.0, 2.0, 1.0), strict=True
        )
    )
    return snapshot(
        a, b, c,
        targets=(target("careful", TargetKind.LIST, a, b),),
        rules=RULES[rules],
        privacy=FENCE,
        fallback=POLICIES[policy],
    )  # fmt: skip


@cache
def routes_of(clearances: tuple[int, int, int], rules: str, policy: str) -> Routes:
    return compile_routes(snapshot_of(clearances, rules, policy))


def question_of(world: World) -> Question:
    found = tuple(Found("messages[0]", Finding(kind, 0, 1, kind)) for kind in world.found)
    return Question(
        world.name, label=world.label, project=world.project, scan=Scan(found) if found else NOTHING_FOUND
    )


def readings_of(world: World, given: Snapshot) -> Readings:
    down = [d.key for d, is_down in zip(given.deployments, world.down, strict=True) if is_down]
    gauges = {key: Gauge(breaker=Breaker.OPEN, ready_s=1e9) for key in down}
    return Readings(gauges, all_well=not down)


def seen_rank(world: World, candidate: Candidate) -> int:
    """The label of what this candidate is shown, worked out anew."""
    ranks = {"email": 2, "iban": 3}
    left = [ranks[kind] for kind in world.found if kind not in candidate.masked]
    raised = [r.label for r in RULES[world.rules] if r.label is not None and world.project == "hr"]
    claimed = -1 if world.label is None else FENCE.labels.index(world.label)
    return max(FENCE.default_label, claimed, *left, *raised, 0)


def check(world: World, candidate: Candidate) -> None:
    """The invariant of every attempt. Raises AssertionError, or NotCleared."""
    allowed = candidate.deployment.provider.clearance
    rank = seen_rank(world, candidate)
    assert rank <= allowed, (
        f"{candidate.deployment.name} is cleared to {allowed} and was to see {rank} in {world}"
    )
    require(candidate.clearance, candidate.deployment)
    assert candidate.clearance is not None
    assert candidate.clearance.label_rank == rank, (
        f"cleared for {candidate.clearance.label_rank}, not {rank}: {world}"
    )


def walk(world: World, depth: int = 4) -> int:
    """All that can happen in a world, up to ``depth`` attempts; every attempt is checked. -> states gone through."""
    routes = routes_of(world.clearances, world.rules, world.policy)
    question = question_of(world)
    readings = readings_of(world, routes.snapshot)
    plan = decide(question, routes, readings)
    for candidate in plan.candidates:
        check(world, candidate)

    def extend(plan: Plan, failure: Failure) -> tuple[Candidate, ...]:
        return further(plan, question, routes, readings, failure)

    return 1 + _walk(world, plan, (), extend, depth, extended=False)


def _walk(
    world: World,
    plan: Plan,
    attempts: tuple[Attempt, ...],
    extend: Callable[[Plan, Failure], tuple[Candidate, ...]],
    depth: int,
    *,
    extended: bool,
) -> int:
    step = next_step(plan, attempts, 0.0, 0.0, Allowance(hedge_from_s=0.0))
    if isinstance(step, GiveUp):
        more = () if extended else extend(plan, step.failure)
        if not more:
            return 1
        plan = replace(plan, candidates=(*plan.candidates, *more))
        return 1 + _walk(world, plan, attempts, extend, depth, extended=True)
    if not isinstance(step, Start):
        return 1
    check(world, plan.candidates[step.candidate])
    if not depth:
        return 1
    begun = Attempt(step.candidate, 0.0, hedge=step.hedge)
    states = 1
    for kind, sent, code in ENDINGS:
        ended = replace(begun, ended_s=0.0, failure=Failure(kind, "", code=code), sent=sent)
        states += _walk(world, plan, (*attempts, ended), extend, depth - 1, extended=extended)
    if plan.fallback.hedge is not None and not step.hedge:
        states += _walk(world, plan, (*attempts, begun), extend, depth - 1, extended=extended)
    return states
