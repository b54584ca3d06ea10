"""Stage 1: where may this request go. The label, who may see it, and what to say when nobody may.

No rule of a later stage can weaken what is decided here. A label only rises: the default is the floor; a caller's claim,
what its tenant and key are bound to, what was found in the request and the rules raise it. Only a caller who may do so can
have it lowered after all that, and never below what tenant and key are bound to.

Who may not see the request for what was found in it may still see a copy without that, where rules say so. The copy has a
label of its own: the highest of all that masking does not take away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from llmproxyd.routing.compile import CompiledRule, Option, Routes
from llmproxyd.routing.match import Facts
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.plan import Candidate, Question, Verdict
from llmproxyd.values.privacy import NOTHING_FOUND, Scan, covers_any
from llmproxyd.values.request import Operation
from llmproxyd.values.snapshot import Privacy, Stage

LABEL_HEADER = "x-llmproxyd-label"
LOWER_HEADER = "x-llmproxyd-lower-label"
DEFAULT_SOURCES = ("default",)
FOUND = " found"
"""How the source of a label ends that was found in the request itself."""

LOWERED = "lowered by the caller"
"""The last source of a label that was lowered."""

_REASONS_SHOWN = 3


def default_facts(question: Question, routes: Routes) -> Facts:
    """The facts of a request nobody has labelled yet."""
    privacy = routes.snapshot.privacy
    return Facts(question, privacy.default_label, privacy.labels[privacy.default_label])


def claim_label(facts: Facts, routes: Routes) -> Failure | None:
    """Let the caller's own label raise the default. A label nobody knows is refused: it may mean `do not send this`."""
    claim, lowered = facts.question.label, facts.question.lowered
    if lowered is not None and lowered not in routes.label_ranks:
        return _unknown_label(LOWER_HEADER, routes)
    if claim is None:
        return None
    rank = routes.label_ranks.get(claim)
    if rank is None:
        return _unknown_label(LABEL_HEADER, routes)
    _raise(facts, rank, routes)
    return None


def _unknown_label(header: str, routes: Routes) -> Failure:
    known = ", ".join(routes.snapshot.privacy.labels)
    message = f"The header {header} names no known label. Known labels, low to high: {known}."
    return Failure(FailureKind.BAD_REQUEST, message, code="unknown_label", param=header)


def apply_bound(facts: Facts, routes: Routes) -> tuple[str, ...]:
    """Let what the caller's tenant and key are bound to raise the label. -> who raised it."""
    sources = []
    for rank, source in facts.question.bound:
        if rank > facts.label_rank:
            sources.append(source)
            _raise(facts, rank, routes)
    return tuple(sources)


def lower(facts: Facts, routes: Routes) -> tuple[str, ...]:
    """Let a caller who may do so have the last word on the label. -> who lowered it; nobody where it is that low anyway."""
    lowered = facts.question.lowered
    if lowered is None:
        return ()
    rank = max(routes.label_ranks[lowered], _bound_rank(facts.question))
    if rank >= facts.label_rank:
        return ()
    facts.lowered_from = facts.label
    facts.label_rank, facts.label = rank, routes.snapshot.privacy.labels[rank]
    return (LOWERED,)


def apply_findings(facts: Facts, routes: Routes) -> tuple[str, ...]:
    """Let what was found in the request, and what nobody could read of it, raise the label. -> who raised it."""
    scan = facts.question.scan
    if scan is NOTHING_FOUND:
        return ()
    before, sources = facts.label_rank, []
    for rank, source in _ranks_found(scan, routes.snapshot.privacy):
        if rank > before:
            sources.append(source)
            _raise(facts, rank, routes)
    return tuple(sources)


def _ranks_found(scan: Scan, privacy: Privacy, masked: Collection[str] = ()) -> Iterator[tuple[int, str]]:
    """Each finding that ``masked`` does not cover, with the rank that it gives."""
    if scan.failed is not None:
        yield len(privacy.labels) - 1, "a detector that failed"
    for kind in sorted(scan.kinds):
        rank = privacy.rank_of_kind(kind)
        if rank is not None and not covers_any(masked, kind):
            yield rank, found_source(kind)
    if privacy.detect:
        for kind in sorted(scan.unscanned):
            yield privacy.rank_of_unscanned(kind), unread_source(kind)


def found_source(kind: str) -> str:
    """Who raised a label that a finding of this kind raised."""
    return kind + FOUND


def unread_source(kind: str) -> str:
    """Who raised a label that something of this kind raised which nobody could read."""
    return f"{kind} not scanned"


def apply_label_rules(
    facts: Facts, routes: Routes, found: Sequence[str] = ()
) -> tuple[frozenset[CompiledRule], tuple[str, ...]]:
    """Raise the label by every matching rule that has one, top to bottom; each sees the label as it stands there.

    ``found``: what has raised it already. Returns the rules that matched, and who raised the label.
    """
    sources = list(DEFAULT_SOURCES)
    if _claimed_rank(facts.question, routes) > routes.snapshot.privacy.default_label:
        sources.append("header")
    sources += found
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


def _claimed_rank(question: Question, routes: Routes) -> int:
    """The rank of the caller's own label, which is one that exists; -1 without one."""
    return -1 if question.label is None else routes.label_ranks[question.label]


def _bound_rank(question: Question) -> int:
    """The highest rank that the caller's tenant and key are bound to; -1 without one."""
    return max((rank for rank, _ in question.bound), default=-1)


# --- the masked copy --------------------------------------------------------------------------------------------


class Mask(msgspec.Struct, frozen=True):
    """What may be taken out of the request, and ``rank``, the label's, of the copy that is left. ``rule``: who says so."""

    kinds: frozenset[str]
    rank: int
    rule: str


def build_mask(facts: Facts, matched: Sequence[CompiledRule], routes: Routes) -> Mask | None:
    """The mask of the rules that match; None if there is none, or if it would not lower the label.

    Only conversations are masked: a vector of a masked text would be near to nothing it ought to be near to.
    """
    question = facts.question
    masking = [rule for rule in matched if rule.mask]
    if not masking or question.scan is NOTHING_FOUND or question.operation is Operation.EMBEDDING:
        return None
    kinds = frozenset().union(*(rule.mask for rule in masking))
    privacy = routes.snapshot.privacy
    rank = max(
        privacy.default_label,
        _claimed_rank(question, routes),
        _bound_rank(question),
        *(rule.label for rule in matched if rule.label is not None),
        *(rank for rank, _ in _ranks_found(question.scan, privacy, kinds)),
    )
    return Mask(kinds, rank, masking[0].name) if rank < facts.label_rank else None


def mark_masked(candidates: Sequence[Candidate], facts: Facts, mask: Mask | None) -> tuple[Candidate, ...]:
    """The candidates, with what is taken out of the request for those who may not see all of it."""
    if mask is None:
        return tuple(candidates)
    verdict = Verdict(Stage.PRIVACY, mask.rule, f"sees it without {', '.join(sorted(mask.kinds))}")
    return tuple(
        replace(each, verdicts=(verdict, *each.verdicts), masked=mask.kinds)
        if each.deployment.provider.clearance < facts.label_rank
        else each
        for each in candidates
    )


# --- the fence --------------------------------------------------------------------------------------------------


def drop_uncleared(
    options: Sequence[Option],
    facts: Facts,
    routes: Routes,
    dropped: list[Candidate],
    mask: Mask | None = None,
) -> list[Option]:
    """Those who may see the label, or that of the masked copy; the others go to ``dropped``."""
    rank = facts.label_rank if mask is None else mask.rank
    cleared = [o for o in options if o.clearance >= rank]
    if len(cleared) < len(options):
        labels = routes.snapshot.privacy.labels
        masked = "" if mask is None else f", masked `{labels[mask.rank]}`"
        for option in options:
            if option.clearance < rank:
                reason = _clearance_reason(option, labels, facts.label) + masked
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
