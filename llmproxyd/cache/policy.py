"""What may be kept, for whom and how long: the rules of ``cache`` over one request, its plan and its client's wish.

The first rule that matches decides; none: not kept. A pipeline rule that says ``cache: off`` is above them all. Only an
answer that ended well, by somebody who was asked for, is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from llmproxyd.cache.canonical import NotCacheable
from llmproxyd.cache.headers import Wish
from llmproxyd.cache.key import Who, cache_key, scope_of
from llmproxyd.routing.match import Facts, Test, compile_condition
from llmproxyd.values.answer import Finish
from llmproxyd.values.plan import Plan, Question
from llmproxyd.values.request import Operation, Request
from llmproxyd.values.snapshot import CacheScope, Snapshot, Zone


class CompiledRule(msgspec.Struct, frozen=True, eq=False):
    """``ttl_s`` None: not kept."""

    name: str
    applies: Test
    ttl_s: float | None


class CacheRules(msgspec.Struct, frozen=True, eq=False):
    """One generation's. ``off_rules``: names of the pipeline rules that forbid it. ``kept_on_disk``: the highest rank of
    a label whose answers may be written to a file."""

    scope: CacheScope
    rules: tuple[CompiledRule, ...]
    off_rules: frozenset[str]
    kept_on_disk: int


class CacheUse(msgspec.Struct, frozen=True):
    """What the cache does for one request.

    ``key`` None: nothing, ``reason`` says why. ``ttl_s``: how long the answer is kept. ``read``: a kept one will do if
    it is at most ``max_age_s`` old; ``write``: the new one is kept, on disk too if ``persist``. ``only``: nobody is to
    be asked. ``rule``: who decided.
    """

    key: bytes | None = None
    reason: str = ""
    rule: str = ""
    form: str = ""
    ttl_s: float = 0.0
    read: bool = False
    write: bool = False
    only: bool = False
    max_age_s: float = 0.0
    persist: bool = False

    @property
    def flight_key(self) -> bytes | None:
        """Requests with the same one may share a call that is under way; None: this one goes alone.

        The form is part of it: pieces of a stream are no use to whoever wants the whole.
        """
        if self.key is None or not (self.read and self.write) or self.only:
            return None
        return self.key + self.form.encode()


def compile_cache(snapshot: Snapshot) -> CacheRules:
    """Snapshot -> CacheRules. Opens nothing."""
    policy = snapshot.cache
    return CacheRules(
        scope=policy.scope,
        rules=tuple(
            CompiledRule(rule.name, compile_condition(rule.when), rule.ttl_s) for rule in policy.rules
        ),
        off_rules=frozenset(rule.name for rule in snapshot.rules if rule.cache_off),
        kept_on_disk=snapshot.privacy.clearance[Zone.EXTERNAL],
    )


def plan_cache(
    rules: CacheRules,
    *,
    request: Request,
    question: Question,
    plan: Plan,
    wish: Wish,
    who: Who,
    form: str,
    secret: bytes,
) -> CacheUse:
    """What the cache does for a request that was decided. Pure; raises nothing.

    ``form``: see ``replay.form_of``. ``plan`` without a failure.
    """
    rule, reason = _rule_for(rules, question, plan)
    if rule is None or rule.ttl_s is None:
        return CacheUse(reason=reason, only=wish.only)
    if not (wish.read or wish.write):
        return CacheUse(reason="the client does not want it")
    scope = scope_of(rules.scope, who)
    if scope is None:
        return CacheUse(reason="the cache is kept by user, and the request names none", only=wish.only)
    try:
        key = cache_key(secret, request, plan, scope, form)
    except NotCacheable as verdict:
        return CacheUse(reason=str(verdict), rule=rule.name, only=wish.only)
    return CacheUse(
        key=key,
        rule=rule.name,
        form=form,
        ttl_s=rule.ttl_s,
        read=wish.read,
        write=wish.write,
        only=wish.only,
        # The rule in force counts, not the one an older answer was kept under.
        max_age_s=rule.ttl_s if wish.max_age_s is None else min(rule.ttl_s, wish.max_age_s),
        persist=plan.label_rank <= rules.kept_on_disk,
    )


def _rule_for(rules: CacheRules, question: Question, plan: Plan) -> tuple[CompiledRule | None, str]:
    """The rule that decides, and why nothing is kept where it says so."""
    if not rules.rules:
        return None, "no rule of `cache` says that anything is kept"
    forbidding = next((name for name in plan.rules if name in rules.off_rules), None)
    if forbidding is not None:
        return None, f"rule `{forbidding}` forbids it"
    facts = Facts(question, plan.label_rank, plan.label)
    for rule in rules.rules:
        if rule.applies(facts):
            return rule, f"rule `{rule.name}` of `cache` says off"
    return None, "no rule of `cache` matches"


# --- answers ----------------------------------------------------------------------------------------------------

_GOOD_ENDS: Final = frozenset({Finish.STOP, Finish.STOP_SEQUENCE, Finish.TOOL_CALLS})


def may_keep(request: Request, plan: Plan, deployment: str, finishes: Iterable[Finish | None]) -> bool:
    """Whether a complete answer is fit to be given again.

    deployment: who answered. One that was not asked for (another model, in need) is good for this once. finishes: why
    each choice ended; a filter's or a refusal's end is not kept, one at a limit only where the client set that limit.
    """
    if not any(candidate.deployment.name == deployment for candidate in plan.candidates):
        return False
    if request.operation is Operation.EMBEDDING:
        return True
    ends = set(finishes)
    limited = request.max_output_tokens is not None or plan.overrides.max_tokens is not None
    good = _GOOD_ENDS | {Finish.LENGTH} if limited else _GOOD_ENDS
    return bool(ends) and ends <= good
