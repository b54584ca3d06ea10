"""What is said of a budget that has no room: to routing, so that it finds somebody else, and to the client.

Amounts are the operator's business: a client learns which budget it is, and what helps.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Final

from llmproxyd.state.fund import Balance
from llmproxyd.values.budget import Bound, Budget, Objection, Then
from llmproxyd.values.failure import Failure, FailureKind

EXCEEDED: Final = "budget_exceeded"
PRICE_UNKNOWN: Final = "price_unknown"
MAX_RETRY_AFTER_S: Final = 86_400.0
"""Nobody is told to come back later than this, though the window may be longer: amounts are raised by people."""


def object_to(balance: Balance, bound: Bound, now_s: float) -> Objection | None:
    """A caller's budget that rejects or queues says so when it is asked for room; here it only sorts out who can never
    have any. All others are told now, so that somebody cheaper, or another provider, can answer."""
    budget = balance.budget
    if bound.nanos is None and budget.nanos is not None:
        return Objection(f"its price is unknown, so budget `{budget.name}` cannot pay for it", PRICE_UNKNOWN)
    if budget.then is Then.QUEUE or not (balance.fund.about_the_answerer or budget.then is Then.DOWNGRADE):
        return None
    retry_after_s = _retry_after_s(balance, bound.nanos, bound.tokens, now_s)
    if not balance.fits(bound.nanos, bound.tokens):
        return Objection(f"budget `{budget.name}` has less left than this may cost", EXCEEDED, retry_after_s)
    if _is_above_ceiling(balance, bound):
        return Objection(
            f"budget `{budget.name}` is short, and this is above its ceiling", EXCEEDED, retry_after_s
        )
    return None


def _is_above_ceiling(balance: Balance, bound: Bound) -> bool:
    budget = balance.budget
    if budget.ceiling is None or balance.share < budget.ceiling_from:
        return False
    return bound.rate is None or bound.rate > budget.ceiling


def refusal(full: Sequence[Balance], nanos: int | None, tokens: int, now_s: float) -> Failure:
    """For the client: which budget, and what helps. Amounts are the operator's, so they stand in the detail."""
    money = [balance.budget for balance in full if balance.budget.nanos is not None]
    if nanos is None and money:
        message = f"The price of this model is unknown, so the budget `{money[0].name}` cannot pay for it."
        return Failure(FailureKind.LIMIT_REACHED, message, code=PRICE_UNKNOWN, retryable=False)
    others = all(b.fund.about_the_answerer or b.budget.then is Then.DOWNGRADE for b in full)
    waits = [_retry_after_s(balance, nanos, tokens, now_s) for balance in full]
    longest_s = None if None in waits else max(wait_s for wait_s in waits if wait_s is not None)
    return Failure(
        FailureKind.SATURATED if others else FailureKind.LIMIT_REACHED,
        _message(full[0].budget, longest_s),
        detail="; ".join(_detail(balance, nanos, tokens) for balance in full),
        code=EXCEEDED,
        retry_after_s=longest_s,
        retryable=False,
    )


def _retry_after_s(balance: Balance, nanos: int | None, tokens: int, now_s: float) -> float | None:
    """Seconds until the window turns, a day at most; None where even an empty window has no room."""
    if not balance.could_fit(nanos, tokens):
        return None
    return min(MAX_RETRY_AFTER_S, max(0.0, balance.window.to_s - now_s))


def _message(budget: Budget, retry_after_s: float | None) -> str:
    head = f"The budget `{budget.name}` (per {budget.per})"
    if retry_after_s is None:
        return f"{head} is smaller than what this request may cost; a lower limit on output tokens makes it cost less."
    hint = "a lower limit on output tokens needs less"
    return f"{head} has too little left for this request; try again in {max(1, ceil(retry_after_s))} s, or {hint}."


def _detail(balance: Balance, nanos: int | None, tokens: int) -> str:
    budget, of = balance.budget, f" of {balance.name}" if balance.name else ""
    parts = []
    if budget.nanos is not None:
        parts.append(
            f"nano-dollars: {budget.nanos} in all, {balance.spent_nanos} spent, {balance.held_nanos} reserved, "
            f"{nanos} wanted"
        )
    if budget.tokens is not None:
        parts.append(
            f"tokens: {budget.tokens} in all, {balance.spent_tokens} spent, {balance.held_tokens} reserved, "
            f"{tokens} wanted"
        )
    return f"budget {budget.name}{of}: {', '.join(parts)}"
