"""Who else may answer when everybody behind a name has failed: another model that can do the same, or a cheaper one.

Decided by the code that decides everything, over all deployments, so that clearance, rules, capabilities and windows hold
as they did before. Somebody who named one deployment gets that one or nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from math import inf

from msgspec.structs import replace

from llmproxyd.routing.compile import Option, Routes, Shortlist
from llmproxyd.routing.decide import decide_among
from llmproxyd.routing.requirement import blended_usd
from llmproxyd.routing.telling import may_pass
from llmproxyd.values.failure import ALWAYS_FALL_BACK, Failure, FailureKind
from llmproxyd.values.plan import Candidate, Plan, Question, Readings
from llmproxyd.values.snapshot import Degrade, Deployment, FallbackPolicy, TargetKind

_Suits = Callable[[Deployment, Plan], bool]


def further(
    plan: Plan, question: Question, routes: Routes, readings: Readings, failure: Failure
) -> tuple[Candidate, ...]:
    """Candidates to append to a plan that was given up with ``failure``, in the order to try them; mostly none.

    model_unavailable: who is known to have the same capabilities for at most ``max_price_ratio`` times the price.
    too_large: one of these, with a larger window. Any other failure that may pass by itself: who is cheaper, if
    ``degrade`` says so. Prices are those of the first candidate, who was wanted most; unknown ones suit nobody.
    ``plan.fallback.attempts`` goes on to bound all attempts of the exchange.
    """
    suits = _suitable(plan, failure.kind)
    if suits is None:
        return ()
    known = {c.deployment.name for c in plan.candidates}
    others = [
        option
        for option in routes.everybody.fields[question.operation].options
        if option.name not in known and not option.is_mock and suits(option.deployment, plan)
    ]
    if not others:
        return ()
    return decide_among(_narrowed(others, question, routes), question, routes, readings).candidates


def endings(plan: Plan) -> tuple[FailureKind, ...]:
    """One kind of failure for each that ``further`` tells apart at the end of this plan; after all others nobody is
    added, or the same."""
    told_apart: dict[_Suits, FailureKind] = {}
    for kind in FailureKind:
        suits = _suitable(plan, kind)
        if suits is not None:
            told_apart.setdefault(suits, kind)
    return tuple(told_apart.values())


def standing(deployment: Deployment) -> tuple[object, ...]:
    """All that ``further`` asks of whoever somebody else stands in for, but the name: of those alike, one tells for all."""
    return deployment.capabilities, blended_usd(deployment), deployment.context_window


def _narrowed(options: Sequence[Option], question: Question, routes: Routes) -> Shortlist:
    field = routes.everybody.fields[question.operation]
    return replace(
        routes.everybody, fields={question.operation: replace(field, options=tuple(options), unable=())}
    )


def _suitable(plan: Plan, kind: FailureKind) -> _Suits | None:
    """What another deployment must be; None where nobody else may answer."""
    policy = plan.fallback
    if plan.failure is not None or not plan.candidates or policy.attempts <= 1:
        return None
    if plan.target is None or plan.target.kind is TargetKind.EXPLICIT:
        return None
    if kind not in policy.on and kind not in ALWAYS_FALL_BACK:
        return None
    if kind in _SUBSTITUTES:
        return _SUBSTITUTES[kind] if policy.across_models else None
    return _is_cheaper if may_pass(kind) and _degrades(policy) else None


def _degrades(policy: FallbackPolicy) -> bool:
    """Whether a smaller model comes before the error in the operator's order."""
    return Degrade.SMALLER_MODEL in takewhile(lambda resort: resort is not Degrade.ERROR, policy.degrade)


def _can_do_the_same(deployment: Deployment, plan: Plan) -> bool:
    wanted = plan.candidates[0].deployment
    if wanted.capabilities is not None and not wanted.capabilities <= (
        deployment.capabilities or frozenset()
    ):
        return False
    return _price(deployment) <= _price_wanted(plan) * plan.fallback.max_price_ratio


def _has_a_larger_window(deployment: Deployment, plan: Plan) -> bool:
    tried = [c.deployment.context_window for c in plan.candidates]
    largest = max((window for window in tried if window is not None), default=0)
    return (deployment.context_window or 0) > largest and _can_do_the_same(deployment, plan)


def _is_cheaper(deployment: Deployment, plan: Plan) -> bool:
    return _price(deployment) < _price_wanted(plan)


def _price(deployment: Deployment) -> float:
    price = blended_usd(deployment)
    return inf if price is None else price


def _price_wanted(plan: Plan) -> float:
    """Unknown counts as nothing, so that only what is free is known to cost no more."""
    return blended_usd(plan.candidates[0].deployment) or 0.0


_SUBSTITUTES: Mapping[FailureKind, _Suits] = {
    FailureKind.MODEL_UNAVAILABLE: _can_do_the_same,
    FailureKind.TOO_LARGE: _has_a_larger_window,
}
