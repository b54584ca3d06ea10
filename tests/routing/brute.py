"""Small configurations made at random, and everything that can happen under them, tried out one by one.

Knows nothing of how the proof goes: requests are made of real texts and numbers, providers are taken away by a purse that
objects, and every failure is walked through with ``next_step`` and ``further``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product
from random import Random
from typing import Any

from llmproxyd.config.expressions import compile_pattern
from llmproxyd.routing.across import further
from llmproxyd.routing.compile import Routes, compile_routes
from llmproxyd.routing.decide import decide
from llmproxyd.routing.fallback import next_step
from llmproxyd.routing.match import Facts, compile_condition
from llmproxyd.values.budget import Bound, Objection
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.plan import (
    Attempt,
    Candidate,
    GiveUp,
    KnownPrompt,
    Plan,
    Question,
    Readings,
    Start,
    Wait,
)
from llmproxyd.values.privacy import NOTHING_FOUND, Finding, Found, Scan, covers_any
from llmproxyd.values.request import Operation
from llmproxyd.values.snapshot import (
    DEFAULT_FALLBACK_ON,
    Absent,
    AllOf,
    AnyOf,
    Assertion,
    Condition,
    Degrade,
    Deployment,
    DetectRule,
    FallbackPolicy,
    HasAll,
    Holds,
    Matches,
    Not,
    OneOf,
    Privacy,
    Provider,
    Range,
    Requirement,
    Rule,
    Snapshot,
    Stage,
    Target,
    TargetKind,
    Tenant,
    VirtualKey,
    Zone,
)
from tests.routing.build import deployment, provider, usd
from tests.routing.build import snapshot as made_of
from tests.support.records import replace

LABELS = Privacy().labels
PROJECTS = (None, "hr", "it", "ads")
TEXTS = ("", "salary", "patient", "patient salary")
KINDS = ("email", "payment_card")
TOKENS = (0, 100, 101)
_UNSENT = (FailureKind.UNSUPPORTED, FailureKind.SATURATED)
_ENDINGS = (
    *_UNSENT,
    FailureKind.MODEL_UNAVAILABLE,
    FailureKind.TOO_LARGE,
    FailureKind.OVERLOADED,
    FailureKind.CONTENT_REFUSED,
)


# --- configurations ---------------------------------------------------------------------------------------------


def random_snapshot(random: Random) -> Snapshot:
    """Two or three deployments, up to four rules, one assertion."""
    zones = [random.choice(list(Zone)) for _ in range(random.choice((2, 2, 3)))]
    deployments = [_deployment(random, number, zone) for number, zone in enumerate(zones)]
    names = [_target(random, deployments)]
    rules = [_rule(random, number, deployments) for number in range(random.choice((0, 1, 2, 2, 3)))]
    detect = [DetectRule((kind,), random.choice((2, 3))) for kind in KINDS if random.random() < 0.4]
    key = VirtualKey("0" * 64, may_lower=random.random() < 0.2)
    return made_of(
        *deployments,
        targets=names,
        rules=rules,
        privacy=Privacy(detect=tuple(detect), default_label=random.choice((0, 1))),
        fallback=_policy(random),
        assertions=(_assertion(random, deployments),),
        tenants={"acme": Tenant("acme", (key,))},
    )


def _deployment(random: Random, number: int, zone: Zone) -> Deployment:
    clearance = random.choice((0, 1, 2, 3))
    by: Provider = provider(f"p{number}", zone, clearance=clearance)
    return deployment(
        f"p{number}/{random.choice('mn')}",
        by,
        price=usd(random.choice((1.0, 2.0, 9.0))),
        context_window=random.choice((None, 1000, 4000)),
        capabilities=random.choice((None, frozenset())),
        operations=random.choice(
            (frozenset({Operation.CHAT}), frozenset({Operation.CHAT, Operation.EMBEDDING}))
        ),
    )


def _target(random: Random, deployments: Sequence[Deployment]) -> Target:
    some = random.sample(list(deployments), random.randint(1, len(deployments)))
    kind = random.choice((TargetKind.SET, TargetKind.LIST, TargetKind.WEIGHTS))
    weights = tuple(random.choice((0.0, 1.0)) for _ in some) if kind is TargetKind.WEIGHTS else ()
    return Target("named", kind, tuple(some), weights)


def _policy(random: Random) -> FallbackPolicy:
    return FallbackPolicy(
        on=random.choice((DEFAULT_FALLBACK_ON, frozenset({FailureKind.OVERLOADED}), frozenset())),
        attempts=random.choice((1, 2, 3)),
        across_models=random.random() < 0.6,
        degrade=random.choice(((Degrade.ERROR,), (Degrade.SMALLER_MODEL, Degrade.ERROR))),
        max_price_ratio=random.choice((1.0, 3.0)),
    )


def _rule(random: Random, number: int, deployments: Sequence[Deployment]) -> Rule:
    what: dict[str, Any] = random.choice(
        (
            {"require": _requirement(random, deployments)},
            {"require": _requirement(random, deployments)},
            {"exclude": _requirement(random, deployments)},
            {"exclude": _requirement(random, deployments)},
            {"label": random.choice((1, 2, 3))},
            {"reject": "no"},
            {"fallback_off": True},
            {"fallback": _policy(random)},
            {"prefer": (deployments[0].name,)},
            {"mask": (random.choice(KINDS),)},
            {"mask": KINDS},
        )
    )
    when = _condition(random, 2) if random.random() < 0.85 else None
    return Rule(f"r{number}", Stage.PRIVACY, when, **what)


def _requirement(random: Random, deployments: Sequence[Deployment]) -> Requirement:
    one = random.choice(deployments)
    return random.choice(
        (
            Requirement(zones=(one.provider.zone,)),
            Requirement(providers=(one.provider.name,)),
            Requirement(models=(one.name,)),
        )
    )


def _condition(random: Random, depth: int) -> Condition:
    if depth and random.random() < 0.35:
        parts = tuple(_condition(random, depth - 1) for _ in range(2))
        return random.choice((Not(parts[0]), AllOf(parts), AnyOf(parts)))
    return random.choice(_ATOMS)(random)


def _text(random: Random) -> Condition:
    pattern = random.choice(("salary", "patient"))
    return Matches("prompt", pattern, compile_pattern(pattern))


_ATOMS: Sequence[Callable[[Random], Condition]] = (
    lambda random: OneOf("project", (random.choice(("hr", "it")),)),
    lambda random: Absent("project"),
    lambda random: OneOf("model", (random.choice(("named", "auto", "p0/m", "m")),)),
    lambda random: OneOf("operation", (random.choice(("chat", "embedding")),)),
    lambda random: HasAll((random.choice(("files", "code")),)),
    lambda random: Holds((random.choice(KINDS),)),
    lambda random: Range("label", gte=float(random.choice((1, 2, 3)))),
    lambda random: Range("label", lt=float(random.choice((1, 2, 3)))),
    lambda random: Range("tokens_in", gt=100.0),
    lambda random: Range("tokens_in", lte=99.0),
    lambda random: OneOf("stream", (True,)),
    _text,
)


def _assertion(random: Random, deployments: Sequence[Deployment]) -> Assertion:
    when: Condition = random.choice(
        (
            OneOf("project", ("hr",)),
            Holds((random.choice(KINDS),)),
            Range("label", gte=float(random.choice((1, 2, 3)))),
            OneOf("model", ("named",)),
            AllOf((OneOf("project", ("it",)), Holds(KINDS))),
        )
    )
    if random.random() < 0.5:
        return Assertion(when, zones=(random.choice(list(Zone)),))
    return Assertion(when, providers=(random.choice(deployments).provider.name,))


# --- what can happen --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Broke:
    """A purse that objects to these."""

    out: frozenset[str]
    left: float | None = None

    def objection(self, deployment: Deployment, bound: Bound) -> Objection | None:
        return Objection("spent", "spent") if deployment.name in self.out else None


def questions(given: Snapshot) -> Iterator[Question]:
    """Every request, as far as some condition could care."""
    read = repr([rule.when for rule in given.rules] + [a.when for a in given.assertions])
    names = [*compile_routes(given).shortlists]
    may_lower = any(key.may_lower for tenant in given.tenants.values() for key in tenant.keys)
    for project, has, text, kinds, tokens, label, stream, lowered in product(
        PROJECTS if "'project'" in read else (None,),
        _subsets(("files", "code")) if "HasAll" in read else (frozenset(),),
        TEXTS if "Matches" in read else ("",),
        _subsets(KINDS) if "Holds" in read or given.privacy.detect else (frozenset(),),
        TOKENS if "'tokens_in'" in read else (0,),
        (None, *LABELS) if "'label'" in read else (None,),
        (False, True) if "'stream'" in read else (False,),
        (None, *LABELS) if may_lower else (None,),
    ):
        question = Question(
            "",
            project=project,
            prompt=KnownPrompt(text, tokens, has),
            scan=Scan(tuple(Found("", Finding(kind, 0, 0, "")) for kind in kinds))
            if kinds
            else NOTHING_FOUND,
            label=label,
            stream=stream,
            lowered=lowered,
            max_output_tokens=1,
        )
        for name, operation in product(names, (Operation.CHAT, Operation.EMBEDDING)):
            yield replace(question, model=name, operation=operation)


@cache
def _subsets(of: tuple[str, ...]) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(some) for n in range(len(of) + 1) for some in combinations(of, n))


def breaks(given: Snapshot) -> tuple[Question, str] | None:
    """A request that breaks the only assertion, and whom it reaches; None: none does."""
    routes, (assertion,) = compile_routes(given), given.assertions
    holds = compile_condition(assertion.when)
    memo: dict[object, frozenset[str]] = {}
    meant = {d.name: d for d in given.deployments if _meant(assertion, d)}
    for question in questions(given) if meant else ():
        plan = decide(question, routes, Readings())
        broken = {name for name, each in meant.items() if holds(_seen(question, plan, each, routes))}
        for reached in _reached(question, routes, memo) if broken else ():
            if reached & broken:
                return question, min(reached & broken)
    return None


def _seen(question: Question, plan: Plan, deployment: Deployment, routes: Routes) -> Facts:
    """What the deployment would see: the request, or what masking leaves of it, with the label that is left."""
    privacy = routes.snapshot.privacy
    if deployment.provider.clearance >= plan.label_rank:
        return Facts(question, plan.label_rank, plan.label)
    rules = [rule for rule in routes.snapshot.rules if rule.name in plan.rules]
    masked = [kind for rule in rules for kind in rule.mask]
    left = tuple(f for f in question.scan.found if not covers_any(masked, f.finding.kind))
    ranks = [privacy.default_label, privacy.rank(question.label or "") or 0]
    ranks += [rule.label for rule in rules if rule.label is not None]
    ranks += [rank for f in left if (rank := privacy.rank_of_kind(f.finding.kind)) is not None]
    return Facts(replace(question, scan=Scan(left)), max(ranks), privacy.labels[max(ranks)])


def _meant(assertion: Assertion, deployment: Deployment) -> bool:
    zones, providers = assertion.zones, assertion.providers
    return (not zones or deployment.provider.zone in zones) and (
        not providers or deployment.provider.name in providers
    )


def _reached(
    question: Question, routes: Routes, memo: dict[object, frozenset[str]]
) -> Iterator[frozenset[str]]:
    """Whoever may be asked, for each set of deployments that are out of reach."""
    names = tuple(d.name for d in routes.snapshot.deployments)
    for out in _subsets(names)[:-1]:
        asked = replace(question, purse=Broke(out))
        plan = decide(asked, routes, Readings())
        if plan.candidates:
            yield walked(plan, asked, routes, memo)


def walked(
    plan: Plan, question: Question, routes: Routes, memo: dict[object, frozenset[str]]
) -> frozenset[str]:
    more = {kind: further(plan, question, routes, Readings(), Failure(kind, "")) for kind in _ENDINGS}
    added = tuple((kind, tuple(c.deployment.name for c in found)) for kind, found in more.items())
    key = (tuple(c.deployment.name for c in plan.candidates), id(plan.fallback), plan.fallback, added)
    if key not in memo:
        reached: set[str] = set()
        _walk(plan, [], more, reached, extended=False)
        memo[key] = frozenset(reached)
    return memo[key]


def _walk(
    plan: Plan,
    attempts: list[Attempt],
    more: Mapping[FailureKind, tuple[Candidate, ...]],
    reached: set[str],
    *,
    extended: bool,
) -> None:
    """Every way in which attempts can end, one after the other."""
    now_s = 0.0 if not attempts else (attempts[-1].ended_s or 0.0)
    step = next_step(plan, attempts, now_s, 0.0)
    while isinstance(step, Wait) and step.until_s is not None:
        now_s = step.until_s
        step = next_step(plan, attempts, now_s, 0.0)
    if isinstance(step, GiveUp) and not extended:
        extra = more.get(step.failure.kind, ())
        longer = replace(plan, candidates=(*plan.candidates, *extra))
        if extra:
            _walk(longer, attempts, more, reached, extended=True)
    if not isinstance(step, Start):
        return
    reached.add(plan.candidates[step.candidate].deployment.name)
    for kind in _ENDINGS:
        ended = Attempt(step.candidate, now_s, now_s, Failure(kind, ""), sent=kind not in _UNSENT)
        _walk(plan, [*attempts, ended], more, reached, extended=extended)
