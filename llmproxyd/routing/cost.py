"""Stage 2: what would it cost. Who is too dear, or cannot be paid for; and the ranks that come of the expected price.

A rule's `max_cost` and ranks go by an estimate, in floating-point USD; budgets, and what the caller itself allows, by the
most it can cost, in integers. What is billed is counted elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import TypeAlias

from llmproxyd.routing.bound import at_most, extent_asked
from llmproxyd.routing.compile import CompiledRule, Option
from llmproxyd.values.budget import Objection
from llmproxyd.values.cost import FEMTOS_PER_NANO, usd_text
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.plan import Candidate, Question, Readings, Verdict
from llmproxyd.values.request import Operation, Overrides
from llmproxyd.values.snapshot import RankBy, Stage

Column: TypeAlias = tuple[list[float], list[Verdict]]
"""One rank for each candidate, and what to say of it; in the candidates' order."""
Ranker: TypeAlias = Callable[
    [CompiledRule, Sequence[Option], Question, Readings, Sequence[Sequence[float]]], Column
]
"""(rule, candidates, question, readings, the columns so far) -> the next column"""

EXPECTED_OUTPUT_TOKENS = 500
"""What an answer is taken to be long, and the most that a client's own limit counts for: limits are mostly set high as
a safety net, so they say how long an answer may be, not how long it will be."""

MAX_COST_HEADER = "x-llmproxyd-max-cost"
TOO_DEAR = "max_cost"
"""Code of the failure when nobody is cheap enough."""

_REASONS_SHOWN = 4
_WORDLESS = frozenset({Operation.EMBEDDING, Operation.COUNT_TOKENS})
# A price that is exactly `within` above the cheapest belongs to its band, whatever binary fractions make of it.
_ROUNDING = 1 + 1e-9


def expected_usd(option: Option, question: Question) -> float | None:
    """USD this request would cost there: estimated input, expected output, times ``n``. None: price unknown."""
    if option.input_usd is None or option.output_usd is None:
        return None
    # A free deployment costs nothing whatever the length, so nobody need count.
    cost_in = option.input_usd and option.input_usd * question.prompt.tokens_in
    return cost_in + option.output_usd * expected_output_tokens(question)


def expected_output_tokens(question: Question) -> int:
    """How many tokens the answer is expected to have, over all choices."""
    if question.operation in _WORDLESS:
        return 0
    limit = question.max_output_tokens
    each = EXPECTED_OUTPUT_TOKENS if limit is None else min(limit, EXPECTED_OUTPUT_TOKENS)
    return each * (question.n or 1)


# --- who is too dear --------------------------------------------------------------------------------------------


def drop_unaffordable(
    options: Sequence[Option],
    matched: Sequence[CompiledRule],
    question: Question,
    overrides: Overrides,
    dropped: list[Candidate],
) -> tuple[Sequence[Option], Failure | None]:
    """Those whom neither a matching `max_cost`, the caller's own bound nor a budget turns away; the others go to
    ``dropped``.

    With nobody left the Failure is LIMIT_REACHED: ``max_cost``, or the code of the budgets' objection.
    """
    kept, objections = _within_max_cost(options, matched, question, dropped)
    if kept and question.max_cost_nanos is not None:
        kept, more = _within_callers_bound(kept, question, question.max_cost_nanos, overrides, dropped)
        objections = [*objections, *more]
    if kept and question.purse is not None:
        kept, more = _within_budgets(kept, question, overrides, dropped)
        objections = [*objections, *more]
    return kept, (None if kept or not objections else _nobody_affordable(objections))


def _within_max_cost(
    options: Sequence[Option], matched: Sequence[CompiledRule], question: Question, dropped: list[Candidate]
) -> tuple[Sequence[Option], list[Objection]]:
    """The lowest `max_cost` of the matching rules counts."""
    capped = [(rule.max_cost_usd, rule) for rule in matched if rule.max_cost_usd is not None]
    if not capped or question.operation is Operation.COUNT_TOKENS:
        return options, []
    cap, rule = min(capped, key=lambda pair: pair[0])
    kept: list[Option] = []
    objections: list[Objection] = []
    for option in options:
        usd = expected_usd(option, question)
        if usd is not None and usd <= cap * _ROUNDING:
            kept.append(option)
            continue
        price = "its price is unknown" if usd is None else f"expected price {usd:.6f} USD"
        reason = f"{option.name}: {price}, and rule `{rule.name}` allows {cap:g} USD"
        objections.append(Objection(reason, TOO_DEAR))
        dropped.append(Candidate(option.deployment, (Verdict(rule.stage, rule.name, reason, dropped=True),)))
    return kept, objections


def _within_callers_bound(
    options: Sequence[Option],
    question: Question,
    max_nanos: int,
    overrides: Overrides,
    dropped: list[Candidate],
) -> tuple[Sequence[Option], list[Objection]]:
    extent = extent_asked(question, overrides)
    allowed = f"and {MAX_COST_HEADER} allows {_usd(max_nanos)} USD"
    kept: list[Option] = []
    objections: list[Objection] = []
    for option in options:
        nanos = at_most(extent, option.deployment, question.now_s).nanos
        if nanos is not None and nanos <= max_nanos:
            kept.append(option)
            continue
        price = "its price is unknown" if nanos is None else f"it can cost {_usd(nanos)} USD"
        objection = Objection(f"{option.name}: {price}, {allowed}", TOO_DEAR)
        objections.append(objection)
        dropped.append(_dropped(option, objection))
    return kept, objections


def _within_budgets(
    options: Sequence[Option], question: Question, overrides: Overrides, dropped: list[Candidate]
) -> tuple[Sequence[Option], list[Objection]]:
    assert question.purse is not None, "the caller has looked"
    extent = extent_asked(question, overrides)
    kept: list[Option] = []
    objections: list[Objection] = []
    for option in options:
        bound = at_most(extent, option.deployment, question.now_s)
        found = question.purse.objection(option.deployment, bound)
        if found is None:
            kept.append(option)
            continue
        found = Objection(f"{option.name}: {found.reason}", found.code, found.retry_after_s)
        objections.append(found)
        dropped.append(_dropped(option, found))
    return kept, objections


def _usd(nanos: int) -> str:
    return usd_text(nanos * FEMTOS_PER_NANO)


def _dropped(option: Option, objection: Objection) -> Candidate:
    return Candidate(option.deployment, (Verdict(Stage.COST, "", objection.reason, dropped=True),))


def _nobody_affordable(objections: Sequence[Objection]) -> Failure:
    """The one that passes first decides the code and when to come back."""
    soonest = min(objections, key=lambda o: inf if o.retry_after_s is None else o.retry_after_s)
    reasons = list(dict.fromkeys(o.reason for o in objections))
    more = f"; and {len(reasons) - _REASONS_SHOWN} more" if len(reasons) > _REASONS_SHOWN else ""
    return Failure(
        FailureKind.LIMIT_REACHED,
        f"Nobody may be paid for this request: {'; '.join(reasons[:_REASONS_SHOWN])}{more}.",
        code=soonest.code,
        retry_after_s=soonest.retry_after_s,
        retryable=False,
    )


# --- ranks ------------------------------------------------------------------------------------------------------


def rank_by_price(
    rule: CompiledRule,
    options: Sequence[Option],
    question: Question,
    readings: Readings,
    columns: Sequence[Sequence[float]],
) -> Column:
    """Cheapest first, unknown prices last; with ``within`` those of one band rank alike."""
    prices = [inf if (usd := expected_usd(o, question)) is None else usd for o in options]
    stage, name = rule.stage, rule.name
    verdicts = [
        Verdict(stage, name, "price unknown" if p == inf else f"expected price {p:.6f} USD") for p in prices
    ]
    return (prices if rule.within is None else bands(prices, rule.within)), verdicts


def bands(prices: Sequence[float], within: float) -> list[float]:
    """Numbers of bands, 0 first: a band runs from its cheapest price up to (1 + within) times it."""
    band_of: dict[float, float] = {}
    band, ceiling = -1.0, -inf
    for price in sorted(prices):
        if price > ceiling:
            band, ceiling = band + 1, price * (1 + within) * _ROUNDING
        band_of[price] = band
    return [band_of[p] for p in prices]


RANKERS: Mapping[RankBy, Ranker] = {RankBy.PRICE: rank_by_price}
