"""Stage 2: what would it cost. The expected price of this request, and the ranks that come of it.

An estimate for ordering, in floating-point USD. What is billed is counted in integers elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import TypeAlias

from llmproxyd.routing.compile import CompiledRule, Option
from llmproxyd.values.plan import Question, Readings, Verdict
from llmproxyd.values.request import Operation
from llmproxyd.values.snapshot import RankBy

Column: TypeAlias = tuple[list[float], list[Verdict]]
"""One rank for each candidate, and what to say of it; in the candidates' order."""
Ranker: TypeAlias = Callable[
    [CompiledRule, Sequence[Option], Question, Readings, Sequence[Sequence[float]]], Column
]
"""(rule, candidates, question, readings, the columns so far) -> the next column"""

EXPECTED_OUTPUT_TOKENS = 500
"""What an answer is taken to be long, and the most that a client's own limit counts for: limits are mostly set high as
a safety net, so they say how long an answer may be, not how long it will be."""

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
