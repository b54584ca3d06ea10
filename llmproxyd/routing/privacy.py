"""Stage 1: where may this request go. The label, who may see it, and what to say when nobody may.

No rule of a later stage can weaken what is decided here. A label only rises: the default is the floor, a caller's
claim and the rules raise it.
"""

from __future__ import annotations

from collections.abc import Sequence

from llmproxyd.routing.compile import CompiledRule, Option, Routes
from llmproxyd.routing.match import Facts
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.plan import Candidate, Question, Verdict
from llmproxyd.values.snapshot import Stage

LABEL_HEADER = "x-llmproxyd-label"
DEFAULT_SOURCES = ("default",)

_REASONS_SHOWN = 3


def default_facts(question: Question, routes: Routes) -> Facts:
    """The facts of a request nobody has labelled yet."""
    privacy = routes.snapshot.privacy
    return Facts(question, privacy.default_label, privacy.labels[privacy.default_label])


def claim_label(facts: Facts, routes: Routes) -> Failure | None:
    """Let the caller's own label raise the default. A label nobody knows is refused: it may mean `do not send this`."""
    claim = facts.question.label
    if claim is None:
        return None
    rank = routes.label_ranks.get(claim)
    if rank is None:
        known = ", ".join(routes.snapshot.privacy.labels)
        message = f"The header {LABEL_HEADER} names no known label. Known labels, low to high: {known}."
        return Failure(FailureKind.BAD_REQUEST, message, code="unknown_label", param=LABEL_HEADER)
    _raise(facts, rank, routes)
    return None


def apply_label_rules(facts: Facts, routes: Routes) -> tuple[frozenset[CompiledRule], tuple[str, ...]]:
    """Raise the label by every matching rule that has one, top to bottom; each sees the label as it stands there.

    Returns the rules that matched, and who raised the label.
    """
    sources = list(DEFAULT_SOURCES)
    if facts.label_rank > routes.snapshot.privacy.default_label:
        sources.append("header")
    matched = []
    for rule in routes.label_rules:
        if rule.applies is None or rule.applies(facts):
            matched.append(rule)
            if rule.label is not None and rule.label > facts.label_rank:
                _raise(facts, rule.label, routes)
                sources.append(rule.source)
    return frozenset(matched), tuple(sources)


def _raise(facts: Facts, rank: int, routes: Routes) -> None:
    if rank > facts.label_rank:
        facts.label_rank, facts.label = rank, routes.snapshot.privacy.labels[rank]


def drop_uncleared(
    options: Sequence[Option], facts: Facts, routes: Routes, dropped: list[Candidate]
) -> list[Option]:
    """Those who may see the label; the others go to ``dropped``."""
    rank = facts.label_rank
    cleared = [o for o in options if o.clearance >= rank]
    if len(cleared) < len(options):
        labels = routes.snapshot.privacy.labels
        for option in options:
            if option.clearance < rank:
                reason = _clearance_reason(option, labels, facts.label)
                verdict = Verdict(Stage.PRIVACY, "", reason, dropped=True)
                dropped.append(Candidate(option.deployment, (verdict,)))
    return cleared


def _clearance_reason(option: Option, labels: Sequence[str], label: str) -> str:
    provider = option.deployment.provider.name
    if option.clearance < 0:
        return f"{provider} has no clearance at all, and the request is `{label}`"
    return f"{provider} is cleared up to `{labels[option.clearance]}`, and the request is `{label}`"


def fenced_off(dropped: Sequence[Candidate]) -> bool:
    """Whether the fence kept somebody out who could have served the request."""
    return any(v.dropped and v.stage is Stage.PRIVACY for c in dropped for v in c.verdicts)


def no_route(dropped: Sequence[Candidate], label: str, sources: Sequence[str]) -> Failure:
    """The failure for a request that nobody left may see. It names the rule, or the clearance and the label."""
    reasons = dict.fromkeys(
        v.reason for c in dropped for v in c.verdicts if v.dropped and v.stage is Stage.PRIVACY
    )
    shown = "; ".join(list(reasons)[:_REASONS_SHOWN])
    more = f"; and {len(reasons) - _REASONS_SHOWN} more" if len(reasons) > _REASONS_SHOWN else ""
    message = (
        f"No provider may see this request (label `{label}`, set by {', '.join(sources)}): {shown}{more}."
    )
    return Failure(FailureKind.PRIVACY_NO_ROUTE, message)
