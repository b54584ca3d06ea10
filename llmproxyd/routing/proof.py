"""Nothing reaches whom it must not: shown for every request that the rules can tell apart, before the rules are in force.

Who is asked is decided by the code that serves requests, once for each world (``worlds``), each name, and each way a
fallback can go: anybody in a plan may be asked first or alone, since all others may be down, full or dropped for their
price; and whoever ``further`` adds after that may be asked as well. What cannot be gone through in time is said to be
undecided, never to hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import takewhile
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from llmproxyd.routing.across import endings, further, standing
from llmproxyd.routing.compile import Routes, Shortlist, compile_routes
from llmproxyd.routing.decide import decide_among
from llmproxyd.routing.match import Facts, compile_condition
from llmproxyd.routing.worlds import (
    Axis,
    Fact,
    World,
    atoms,
    axes,
    count,
    describe,
    flagged,
    question_of,
    reads,
    signed,
    worlds,
)
from llmproxyd.values.clearance import NotCleared
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.plan import Candidate, Plan, Question, Readings
from llmproxyd.values.privacy import Scan, covers_any
from llmproxyd.values.request import Operation
from llmproxyd.values.snapshot import (
    AllOf,
    Assertion,
    Condition,
    Deployment,
    Holds,
    Rule,
    Snapshot,
    TargetKind,
)

MOST_WORLDS = 1 << 18
_ALL_UP = Readings()
_NAMES_TRIED = 8
_LABEL: Fact = ("label", "")
_LOWERED: Fact = ("lowered", "")
_MODEL: Fact = ("model", "")


class Hole(msgspec.Struct, frozen=True):
    """A request that gets where it must not. ``assertion`` None: past the fence itself. ``request``: what is said of it,
    beside its label; ``path``: what happens to it, one step each, to ``deployment``."""

    assertion: Assertion | None
    deployment: str
    label: str
    request: tuple[str, ...]
    path: tuple[str, ...]


class Undecided(msgspec.Struct, frozen=True):
    """There are too many kinds of requests (``worlds``) to go through for this assertion."""

    assertion: Assertion
    worlds: int


def prove(snapshot: Snapshot) -> tuple[Hole | Undecided, ...]:
    """What is wrong: nothing, if the fence holds and so does every assertion. One hole for each is enough.

    Bounded by MOST_WORLDS for each assertion. Opens nothing and raises nothing for what an operator may write.
    """
    routes = compile_routes(_reduced(snapshot))
    fence = _hole_in_fence(routes)
    found = [_judge(assertion, routes) for assertion in snapshot.assertions]
    return tuple(each for each in (fence, *found) if each is not None)


# --- what matters -----------------------------------------------------------------------------------------------


def _reduced(snapshot: Snapshot) -> Snapshot:
    """The same with what decides who may be asked, and nothing of what only puts them in order."""
    return replace(snapshot, rules=tuple(_bare(rule) for rule in snapshot.rules if _matters(rule)))


def _matters(rule: Rule) -> bool:
    said = (rule.require, rule.exclude, rule.label, rule.reject, rule.fallback, rule.max_cost_nanos)
    return rule.fallback_off or bool(rule.mask) or any(each is not None for each in said)


def _bare(rule: Rule) -> Rule:
    when = None if rule.when is None else flagged(rule.when)
    return replace(rule, when=when, prefer=(), rank_by=None, within=None, weights={}, set=None, hedge=None)


# --- ways -------------------------------------------------------------------------------------------------------


class _Way(msgspec.Struct, frozen=True):
    """How a request gets to ``deployment``: through ``plan``; or after it, when ``alone`` of it has failed with ``last``."""

    plan: Plan
    deployment: Deployment
    alone: Candidate | None = None
    last: FailureKind | None = None


_Wanted: TypeAlias = Callable[[Candidate, Plan], bool]


def _way(shortlist: Shortlist, question: Question, routes: Routes, wanted: _Wanted) -> _Way | None:
    """The shortest way to somebody wanted; None: there is none."""
    plan = decide_among(shortlist, question, routes, _ALL_UP)
    for candidate in plan.candidates:
        if wanted(candidate, plan):
            return _Way(plan, candidate.deployment)
    # Those in the plan are no news; so of candidates that are replaced alike, one is enough.
    for alone in {standing(c.deployment): c for c in reversed(plan.candidates)}.values():
        rest = replace(plan, candidates=(alone,))
        for last in endings(rest):
            for candidate in further(rest, question, routes, _ALL_UP, Failure(last, "")):
                if wanted(candidate, plan):
                    return _Way(plan, candidate.deployment, alone, last)
    return None


def _told(assertion: Assertion | None, way: _Way, world: World, question: Question) -> Hole:
    asked = [f"model: {question.model}"] if question.model else []
    if question.operation is not Operation.CHAT:
        asked.append(f"operation: {question.operation.value}")
    return Hole(
        assertion,
        way.deployment.name,
        way.plan.label,
        (*asked, *describe(world)),
        tuple(_steps(way)),
    )


def _steps(way: _Way) -> Iterator[str]:
    yield from (f"rule {name}" for name in way.plan.rules)
    if way.alone is not None and way.last is not None:
        yield f"{way.alone.deployment.name} fails with {way.last.value}"
    else:
        others = (c.deployment.name for c in way.plan.candidates)
        yield from (f"{name} down" for name in takewhile(lambda name: name != way.deployment.name, others))
    yield way.deployment.name


# --- the fence --------------------------------------------------------------------------------------------------


def _hole_in_fence(routes: Routes) -> Hole | None:
    """Whether some label gets past it, by any name. Who raised the label does not matter to it, so conditions do not."""
    for label in routes.snapshot.privacy.labels:
        world: World = {("label", ""): label}
        for operation in Operation:
            question = question_of(world, operation=operation)
            for shortlist in (routes.everybody, *_few(routes)):
                asked = replace(question, model=shortlist.target.name)
                try:
                    way = _way(shortlist, asked, routes, _is_short)
                except NotCleared as bug:
                    return Hole(None, bug.deployment, label, tuple(describe(world)), (str(bug),))
                if way is not None:
                    return _told(None, way, world, asked)
    return None


def _few(routes: Routes) -> list[Shortlist]:
    """Some names of each kind, since the kind is all that deciding asks of a name; they stand for some of everybody."""
    by_kind: dict[TargetKind, list[Shortlist]] = {}
    for shortlist in routes.shortlists.values():
        alike = by_kind.setdefault(shortlist.target.kind, [])
        if len(alike) < _NAMES_TRIED:
            alike.append(shortlist)
    return [shortlist for alike in by_kind.values() for shortlist in alike]


def _is_short(candidate: Candidate, plan: Plan) -> bool:
    return not candidate.masked and candidate.deployment.provider.clearance < plan.label_rank


# --- assertions -------------------------------------------------------------------------------------------------


def _judge(assertion: Assertion, routes: Routes) -> Hole | Undecided | None:
    goal = frozenset(d.name for d in routes.snapshot.deployments if _is_meant(d, assertion))
    if not goal:
        return None
    case = _Case.of(assertion, goal, routes)
    if case.size > MOST_WORLDS:
        return Undecided(assertion, case.size)
    for world in worlds(case.axes):
        found = case.way(world)
        if found is not None:
            return case.simplest(world, *found)
    return None


def _is_meant(deployment: Deployment, assertion: Assertion) -> bool:
    provider = deployment.provider
    return (not assertion.zones or provider.zone in assertion.zones) and (
        not assertion.providers or provider.name in assertion.providers
    )


class _Case(msgspec.Struct, frozen=True):
    """One assertion, with all that a request can differ in. ``names``: those that conditions tell apart, each with all
    that behave alike. ``everybody`` is judged as if named by the client, which escapes the most."""

    assertion: Assertion
    goal: frozenset[str]
    routes: Routes
    holds: Callable[[Facts], bool]
    by_label: bool
    axes: tuple[Axis, ...]
    names: Mapping[str, tuple[str, ...]]
    operations: tuple[Operation, ...]
    everybody: Shortlist

    @classmethod
    def of(cls, assertion: Assertion, goal: frozenset[str], routes: Routes) -> _Case:
        when = flagged(assertion.when)
        conditions = [rule.when for rule in routes.snapshot.rules if rule.when is not None]
        read = list(atoms((when, *conditions)))
        return cls(
            assertion,
            goal,
            routes,
            compile_condition(when),
            any(reads(atom, _LABEL) for atom in atoms((when,))),
            tuple(_all_axes(when, routes)),
            _told_apart(read, routes),
            tuple(op for op in Operation if any(o.name in goal for o in routes.everybody.fields[op].options)),
            replace(routes.everybody, explicit=True),
        )

    @property
    def size(self) -> int:
        return count(self.axes) * len(self.names) * len(self.operations)

    def way(self, world: World) -> tuple[_Way, Question] | None:
        """How a request of this world breaks the assertion; None: it does not."""
        for name, alike in self.names.items():
            for operation in self.operations:
                question = question_of(world, name, operation)
                if self._may_break(question):
                    for each in alike:
                        found = self._broken(replace(question, model=each))
                        if found is not None:
                            return found
        return None

    def simplest(self, world: World, way: _Way, question: Question) -> Hole:
        """The hole in words, with nothing said of the request that does not matter."""
        for axis in self.axes:
            simpler = {**world, axis.fact: axis.values[0]}
            found = self.way(simpler) if simpler != world else None
            if found is not None:
                world, (way, question) = simpler, found
        return _told(self.assertion, way, world, question)

    def _may_break(self, question: Question) -> bool:
        """Whether anybody meant would be asked if everybody could be: only then is it worth to look at each name."""
        if not self.by_label and not self.holds(Facts(question, 0, "")):
            return False
        plan = decide_among(self.everybody, question, self.routes, _ALL_UP)
        return any(self._is_hit(question, candidate) for candidate in plan.candidates)

    def _is_hit(self, question: Question, candidate: Candidate) -> bool:
        """Whether the assertion is broken by what this candidate would see: of a masked copy, what is left."""
        if candidate.deployment.name not in self.goal:
            return False
        assert candidate.clearance is not None, "it was not dropped"
        rank = candidate.clearance.label_rank
        seen = (
            replace(question, scan=_without(question.scan, candidate.masked))
            if candidate.masked
            else question
        )
        return self.holds(Facts(seen, rank, self.routes.snapshot.privacy.labels[rank]))

    def _broken(self, question: Question) -> tuple[_Way, Question] | None:
        shortlist = self.routes.shortlists[question.model]
        way = _way(
            shortlist, question, self.routes, lambda candidate, plan: self._is_hit(question, candidate)
        )
        return None if way is None else (way, question)


def _without(scan: Scan, masked: frozenset[str]) -> Scan:
    return replace(scan, found=tuple(f for f in scan.found if not covers_any(masked, f.finding.kind)))


# --- what a request can differ in -------------------------------------------------------------------------------


def _all_axes(when: Condition, routes: Routes) -> Iterator[Axis]:
    """Those in which more than the least has to be tried."""
    rules = [rule for rule in routes.snapshot.rules if rule.when is not None]
    read = [atom for condition in (when, *(r.when for r in rules if r.when)) for atom in atoms((condition,))]
    by_label = any(reads(atom, _LABEL) for atom in read)
    tasks = {task for rule in routes.rules for gate in rule.gates for task in gate.by_task}
    found = [Holds(row.kinds) for row in routes.snapshot.privacy.detect]
    found += [Holds(rule.mask) for rule in routes.snapshot.rules if rule.mask]
    own_kinds = [pattern.kind for pattern in routes.snapshot.privacy.patterns]
    for axis in axes((*read, *found), tasks=tasks, own_kinds=own_kinds):
        only_narrows = partial(_only_narrows, axis, by_label=by_label)
        asked = any(reads(atom, axis.fact) for atom in atoms((when,)))
        asked = asked or (by_label and axis.fact[0] == "data")
        if asked or (tasks and axis.fact == ("task", "")) or not all(map(only_narrows, rules)):
            yield axis
    if by_label:
        yield Axis(_LABEL, (None, *routes.snapshot.privacy.labels))
    if any(key.may_lower for tenant in routes.snapshot.tenants.values() for key in tenant.keys):
        yield Axis(_LOWERED, (None, *routes.snapshot.privacy.labels))


def _only_narrows(axis: Axis, rule: Rule, *, by_label: bool) -> bool:
    """Whether the least value of this fact lets a request reach all that it reaches with any other, as to this rule: it
    makes the rule apply less, and the rule does nothing but turn somebody away."""
    widens = bool(rule.mask or rule.fallback) or (by_label and rule.label is not None)
    least = Facts(question_of({axis.fact: axis.values[0]}), 0, "")
    read = [(atom, positive) for atom, positive in signed(rule.when or AllOf(())) if reads(atom, axis.fact)]
    return not read or not (
        widens or any(not positive or compile_condition(atom)(least) for atom, positive in read)
    )


def _told_apart(read: Iterable[Condition], routes: Routes) -> dict[str, tuple[str, ...]]:
    """Names by what conditions say of them; of those that stand for the same deployments one is enough."""
    tests = [compile_condition(atom) for atom in dict.fromkeys(read) if reads(atom, _MODEL)]
    groups: dict[tuple[bool, ...], dict[tuple[object, ...], str]] = {}
    for name, shortlist in routes.shortlists.items():
        facts = Facts(question_of({}, name), 0, "")
        meaning = (shortlist.explicit, *(field.options for field in shortlist.fields.values()))
        groups.setdefault(tuple(test(facts) for test in tests), {}).setdefault(meaning, name)
    alike = [tuple(names.values()) for names in groups.values()]
    return {names[0]: names for names in alike}
