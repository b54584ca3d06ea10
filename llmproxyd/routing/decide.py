"""What comes first: folds the stages over the candidates and sorts once. Question + routes + readings -> Plan.

Pure. All drops come before all ranks, so that bands and turns are counted over those who can really be chosen.
Every step does only what some rule, or some limit that could matter, asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from msgspec.structs import replace

from llmproxyd.routing import cost, performance
from llmproxyd.routing.availability import rank_by_availability, rank_by_reliability
from llmproxyd.routing.compile import CompiledRule, Field, Option, Routes, Shortlist
from llmproxyd.routing.match import Facts
from llmproxyd.routing.privacy import (
    DEFAULT_SOURCES,
    Mask,
    apply_bound,
    apply_findings,
    apply_label_rules,
    build_mask,
    claim_label,
    default_facts,
    drop_uncleared,
    fenced_off,
    lower,
    mark_masked,
    no_route,
)
from llmproxyd.values.clearance import grant
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.plan import Candidate, Plan, Question, Readings, Verdict
from llmproxyd.values.request import NO_OVERRIDES, Operation, Overrides
from llmproxyd.values.snapshot import FallbackPolicy, TargetKind

WINDOW_TOLERANCE = 1.25
"""The token estimate may be this far above the truth: a request is dropped as too long only beyond it. One that is let
through wrongly is refused by the provider and falls back; one that is dropped wrongly is lost."""

_RANKERS = {**cost.RANKERS, **performance.RANKERS}
_DRAWN = Verdict(None, "", "drawn by its share of the name's weights")
_FOLLOWS = Verdict(None, "", "follows by its weight")
_MOCK_STEPS_BACK = Verdict(None, "", "mock: stands in only while no other provider is usable", dropped=True)
_REASONS_SHOWN = 4
_NAMES_SEARCHED = 200
_NAME_SHOWN_CHARS = 80


def decide(question: Question, routes: Routes, readings: Readings) -> Plan:
    """Who will be asked, in which order, and why; or why nobody can.

    Returns a Plan with ``candidates``, or with ``failure``: not_found, bad_request, rejected, privacy_no_route,
    limit_reached or no_candidate. Raises nothing for whatever a client may send.
    """
    shortlist = routes.shortlists.get(question.model)
    if shortlist is None:
        facts = default_facts(question, routes)
        return _refused(_unknown_name(question.model, routes), facts, routes, None)
    return decide_among(shortlist, question, routes, readings)


def decide_among(shortlist: Shortlist, question: Question, routes: Routes, readings: Readings) -> Plan:
    """The same for given competitors, whatever name was asked for. Every rule, gate and clearance applies."""
    facts = default_facts(question, routes)
    failure = claim_label(facts, routes)
    if failure is not None:
        return _refused(failure, facts, routes, shortlist)

    field = shortlist.fields[question.operation]
    dropped = list(field.unable)
    options = _able(field, question, readings, dropped)
    matched, sources = _match_rules(facts, routes)
    for rule in matched:
        if rule.reject is not None:
            return _refused(_rejection(rule), facts, routes, shortlist, sources, matched, dropped)

    overrides = _overrides(matched)
    mask = build_mask(facts, matched, routes)
    if options:
        options = drop_uncleared(options, facts, routes, dropped, mask)
        options = _pass_gates(options, matched, question, dropped, explicit=shortlist.explicit)
    bounded = question.purse is not None or question.max_cost_nanos is not None
    if options and (routes.rules_on_cost or bounded):
        options, failure = cost.drop_unaffordable(options, matched, question, overrides, dropped)
    if not options:
        failure = failure or _nothing_left(question, shortlist, dropped, facts, sources)
        return _refused(failure, facts, routes, shortlist, sources, matched, dropped)
    fallback, continues = _fallback(matched, routes), False
    if routes.rules_on_overlap:
        fallback, continues = _hedged(fallback, matched), _continues(matched)
    return Plan(
        target=shortlist.target,
        candidates=_with_leave(
            mark_masked(_ranked(options, matched, shortlist, question, readings), facts, mask), facts, mask
        ),
        dropped=tuple(dropped),
        fallback=fallback,
        label=facts.label,
        label_rank=facts.label_rank,
        label_sources=sources,
        overrides=overrides,
        rules=tuple([rule.name for rule in matched]),
        seed=question.seed,
        continues=continues,
        lowered_from=facts.lowered_from,
    )


# --- who is able ------------------------------------------------------------------------------------------------


def _able(field: Field, question: Question, readings: Readings, dropped: list[Candidate]) -> Sequence[Option]:
    """Those who can serve this very request; the common case is settled for all at once, without a loop."""
    fits = field.smallest_window is None or 0 < question.bytes_in <= field.smallest_window
    output = question.max_output_tokens
    answers = output is None or field.smallest_output is None or output <= field.smallest_output
    mock = field.has_mock and readings.other_than_mock
    if fits and answers and not mock and question.needs <= field.needs_met:
        return field.options
    able = []
    for option in field.options:
        verdict = _unable(option, question, mock=mock)
        if verdict is None:
            able.append(option)
        else:
            dropped.append(Candidate(option.deployment, (verdict,)))
    return able


def _unable(option: Option, question: Question, *, mock: bool) -> Verdict | None:
    if mock and option.is_mock:
        return _MOCK_STEPS_BACK
    if option.capabilities is not None and not question.needs <= option.capabilities:
        lacking = ", ".join(sorted(question.needs - option.capabilities))
        return Verdict(None, "", f"{option.name}: cannot do {lacking}", dropped=True)
    limit, output = option.max_output_tokens, question.max_output_tokens
    if limit is not None and output is not None and output > limit:
        return Verdict(
            None, "", f"{option.name}: answers have at most {limit} tokens, {output} wanted", dropped=True
        )
    window = option.context_window
    if window is None or 0 < question.bytes_in <= window or question.operation is Operation.COUNT_TOKENS:
        return None
    tokens = question.prompt.tokens_in
    if tokens <= window * WINDOW_TOLERANCE:
        return None
    reason = f"{option.name}: its context window has {window} tokens, the request about {tokens}"
    return Verdict(None, "", reason, dropped=True)


# --- rules ------------------------------------------------------------------------------------------------------


def _match_rules(facts: Facts, routes: Routes) -> tuple[list[CompiledRule], tuple[str, ...]]:
    """The rules that apply, in order, and who raised the label. Rules that raise it come first, then whoever lowers it; all
    others are judged by the label they leave behind."""
    found = apply_findings(facts, routes)
    if facts.question.bound:
        found = (*apply_bound(facts, routes), *found)
    if not routes.label_rules and facts.question.label is None:
        found = (*found, *lower(facts, routes))
        matched = [r for r in routes.rules if r.applies is None or r.applies(facts)]
        return matched, (*DEFAULT_SOURCES, *found)
    raising, sources = apply_label_rules(facts, routes, found)
    sources = (*sources, *lower(facts, routes))
    matched = [
        r
        for r in routes.rules
        if (r in raising if r.label is not None else r.applies is None or r.applies(facts))
    ]
    return matched, sources


def _pass_gates(
    options: Sequence[Option],
    matched: Sequence[CompiledRule],
    question: Question,
    dropped: list[Candidate],
    *,
    explicit: bool,
) -> Sequence[Option]:
    """Those whom no `require` or `exclude` of any stage turns away. Rules come in stage order, so the first verdict is
    the one of the earliest stage."""
    for rule in matched:
        for gate in rule.gates:
            passing = gate.passing(question.task, explicit=explicit)
            kept = [o for o in options if o.index in passing]
            if len(kept) < len(options):
                dropped += [
                    Candidate(o.deployment, (gate.verdict,)) for o in options if o.index not in passing
                ]
                options = kept
    return options


def _overrides(matched: Sequence[CompiledRule]) -> Overrides:
    """The first matching rule that names a key sets it."""
    sets = [rule.set for rule in matched if rule.set is not None]
    if len(sets) < 2:
        return sets[0] if sets else NO_OVERRIDES

    return Overrides(
        temperature=next((s.temperature for s in sets if s.temperature is not None), None),
        top_p=next((s.top_p for s in sets if s.top_p is not None), None),
        max_tokens=next((s.max_tokens for s in sets if s.max_tokens is not None), None),
        effort=next((s.effort for s in sets if s.effort is not None), None),
        seed=next((s.seed for s in sets if s.seed is not None), None),
    )


def _fallback(matched: Sequence[CompiledRule], routes: Routes) -> FallbackPolicy:
    """The first matching rule's policy, unless one of the privacy stage turned fallback off: that is final."""
    first: FallbackPolicy | None = None
    for rule in matched:
        if rule.fallback is None:
            continue
        if rule.fallback_final:
            return rule.fallback
        first = first or rule.fallback
    return first or routes.snapshot.fallback


def _hedged(policy: FallbackPolicy, matched: Sequence[CompiledRule]) -> FallbackPolicy:
    """The policy with the first matching rule's word on hedging, unless the privacy stage turned it off: that is final."""
    speaking = [rule for rule in matched if rule.hedge is not None or rule.hedge_off]
    if not speaking:
        return policy
    final = any(rule.hedge_final for rule in speaking)
    return replace(policy, hedge=None if final else speaking[0].hedge)


def _continues(matched: Sequence[CompiledRule]) -> bool:
    """The first matching rule's word, unless the privacy stage said no: that is final. Nobody's word: no."""
    speaking = [rule for rule in matched if rule.continues is not None]
    if not speaking or any(rule.continues_final for rule in speaking):
        return False
    return speaking[0].continues is True


# --- leave to send ----------------------------------------------------------------------------------------------


def _with_leave(candidates: Sequence[Candidate], facts: Facts, mask: Mask | None) -> tuple[Candidate, ...]:
    """The candidates, each with leave to be sent the request, or the masked copy where that is what it sees."""
    whole, copy = facts.label_rank, facts.label_rank if mask is None else mask.rank
    return tuple(
        [
            Candidate(
                each.deployment,
                each.verdicts,
                each.rank,
                each.masked,
                grant(each.deployment, copy if each.masked else whole),
            )
            for each in candidates
        ]
    )


# --- ranks ------------------------------------------------------------------------------------------------------


def _ranked(
    options: Sequence[Option],
    matched: Sequence[CompiledRule],
    shortlist: Shortlist,
    question: Question,
    readings: Readings,
) -> tuple[Candidate, ...]:
    """The candidates in the order they will be tried. One alone needs no rank, unless there is something to say."""
    all_well = readings.all_well
    if len(options) == 1 and all_well:
        return (Candidate(options[0].deployment),)
    columns: list[Sequence[float]] = []
    said: list[Sequence[Verdict]] = []
    if not all_well:
        available, verdicts = rank_by_availability(options, question, readings)
        columns.append(available)
        said.append(verdicts)
    # While no attempt can be spared, who fails often is asked late, even against the operator's own order.
    if readings.short_of_attempts:
        _add_reliability(options, readings, columns, said)
    if shortlist.shares:
        places = performance.order_by_shares(options, shortlist.shares, question)
        columns.append(places)
        said.append([_FOLLOWS if place else _DRAWN for place in places])
    elif shortlist.order:
        columns.append([shortlist.order[o.index] for o in options])
    for rule in matched:
        if rule.positions:
            columns.append([rule.positions[o.index] for o in options])
            said.append([rule.preferred[o.index] for o in options])
        if rule.rank_by is not None:
            ranks, verdicts = _RANKERS[rule.rank_by](rule, options, question, readings, columns)
            columns.append(ranks)
            said.append(verdicts)
    if not all_well and not _in_operators_order(shortlist):
        _add_reliability(options, readings, columns, said)
    ranked: list[tuple[tuple[float | str, ...], int]] = [
        ((*(column[i] for column in columns), *option.tie), i) for i, option in enumerate(options)
    ]
    ranked.sort()
    return tuple(
        [
            Candidate(options[i].deployment, tuple([verdicts[i] for verdicts in said]), rank)
            for rank, i in ranked
        ]
    )


def _in_operators_order(shortlist: Shortlist) -> bool:
    return bool(shortlist.shares) or shortlist.target.kind is TargetKind.LIST


def _add_reliability(
    options: Sequence[Option],
    readings: Readings,
    columns: list[Sequence[float]],
    said: list[Sequence[Verdict]],
) -> None:
    reliable = rank_by_reliability(options, readings)
    if reliable is not None:
        columns.append(reliable[0])
        said.append(reliable[1])


# --- when there is no way ---------------------------------------------------------------------------------------


def _refused(
    failure: Failure,
    facts: Facts,
    routes: Routes,
    shortlist: Shortlist | None,
    sources: tuple[str, ...] = DEFAULT_SOURCES,
    matched: Sequence[CompiledRule] = (),
    dropped: Sequence[Candidate] = (),
) -> Plan:
    return Plan(
        target=shortlist.target if shortlist else None,
        candidates=(),
        dropped=tuple(dropped),
        fallback=routes.snapshot.fallback,
        label=facts.label,
        label_rank=facts.label_rank,
        label_sources=sources,
        rules=tuple([rule.name for rule in matched]),
        failure=failure,
        seed=facts.question.seed,
        lowered_from=facts.lowered_from,
    )


def _rejection(rule: CompiledRule) -> Failure:
    return Failure(FailureKind.REJECTED, f"{rule.reject} (rule `{rule.name}`)", code="rejected")


def _unknown_name(model: str, routes: Routes) -> Failure:
    shown = "".join(c if c.isprintable() else "?" for c in model[:_NAME_SHOWN_CHARS])
    # Anybody can ask for this work, so both sides are bounded; a slip of the pen hardly changes a name's length.
    names = sorted(routes.listed, key=lambda name: abs(len(name) - len(shown)))[:_NAMES_SEARCHED]
    close = get_close_matches(shown, names, n=3)
    hint = f" Did you mean {' or '.join(f'`{name}`' for name in close)}?" if close else ""
    message = f"The model `{shown}` does not exist here.{hint} GET /v1/models lists all names."
    return Failure(FailureKind.NOT_FOUND, message, code="model_not_found", param="model")


def _nothing_left(
    question: Question,
    shortlist: Shortlist,
    dropped: Sequence[Candidate],
    facts: Facts,
    sources: Sequence[str],
) -> Failure:
    if fenced_off(dropped):
        return no_route(dropped, facts.label, sources)
    reasons = list(dict.fromkeys(v.reason for c in dropped for v in c.verdicts if v.dropped))
    name = shortlist.target.name
    if not reasons:
        message = f"Nothing stands behind `{name}` yet: no server that could offer it has been found."
        return Failure(FailureKind.NO_CANDIDATE, message)
    configured = any(c.deployment.provider.enabled and c.deployment.provider.configured for c in dropped)
    head = "No deployment can serve this request for" if configured else "No provider is configured for"
    more = f"; and {len(reasons) - _REASONS_SHOWN} more" if len(reasons) > _REASONS_SHOWN else ""
    message = f"{head} `{name}`: {'; '.join(reasons[:_REASONS_SHOWN])}{more}."
    return Failure(FailureKind.NO_CANDIDATE, message)
