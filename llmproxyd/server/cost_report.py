"""Spending and budgets as documents: what ``llmproxyd cost --json`` and the admin interface tell. Pure.

Money stands twice: ``..._nanos`` to reckon with, and ``..._usd`` as exact decimal text to read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from msgspec.structs import asdict

from llmproxyd.ledger.compare import Alternative, Comparison
from llmproxyd.ledger.export import usd
from llmproxyd.ledger.reports import Projection, Row, Sums, TopRequest, Window
from llmproxyd.server.admin import rfc3339
from llmproxyd.values.budget import BudgetReport

VERSION: Final = 1


def spending(by: str, zone: str, window: Window, rows: Iterable[Row], total: Sums) -> dict[str, Any]:
    """What was spent, by whatever was asked for. ``since`` and ``until`` are the whole hours that were added up."""
    since_s, until_s = window.hours
    return {
        "version": VERSION,
        "by": by,
        "zone": zone,
        "since": rfc3339(since_s),
        "until": rfc3339(until_s),
        "rows": [{"name": row.name, **_sums(row.sums)} for row in rows],
        "total": _sums(total),
    }


def _sums(sums: Sums) -> dict[str, Any]:
    return {
        "attempts": sums.attempts,
        "input_tokens": sums.input_tokens,
        "output_tokens": sums.output_tokens,
        **money("cost", sums.cost_nanos),
        **money("saved", sums.saved_nanos),
        "unpriced": sums.unpriced,
    }


def money(name: str, nanos: int | None) -> dict[str, Any]:
    """``{"NAME_nanos": 1500000, "NAME_usd": "0.0015"}``; null where it is not known."""
    return {f"{name}_nanos": nanos, f"{name}_usd": usd(nanos)}


def projection(found: Projection) -> dict[str, Any]:
    """What the month will come to; ``expected_...`` and the pace are null where there is nothing to go by."""
    return {
        "month": found.month,
        **money("spent", found.spent_nanos),
        "pace_since": rfc3339(found.rate_from_s),
        **money("pace_per_day", found.rate_nanos_per_day),
        **money("expected", found.expected_nanos),
    }


def top(requests: Iterable[TopRequest]) -> list[dict[str, Any]]:
    """The dearest requests, dearest first."""
    return [_top_request(request) for request in requests]


def _top_request(request: TopRequest) -> dict[str, Any]:
    told = {name: value for name, value in asdict(request).items() if name not in ("at_s", "cost_nanos")}
    return {"at": rfc3339(request.at_s), **told, **money("cost", request.cost_nanos)}


def comparison(found: Comparison) -> dict[str, Any]:
    """Savings against two habits, and what might be cheaper, with the rule that would make it so."""
    savings = found.savings
    return {
        "savings": {
            "attempts": savings.attempts,
            "compared": savings.compared,
            **money("spent", savings.spent_nanos),
            **money("dearest", savings.dearest_nanos),
            **money("first", savings.first_nanos),
            **money("saved_against_dearest", savings.dearest_nanos - savings.spent_nanos),
            **money("saved_against_first", savings.first_nanos - savings.spent_nanos),
        },
        "recommendations": [_recommendation(one) for one in found.alternatives],
    }


def _recommendation(one: Alternative) -> dict[str, Any]:
    return {
        "task": one.task,
        "deployment": one.deployment,
        "attempts": one.attempts,
        **money("spent", one.spent_nanos),
        **money("saved", one.saved_nanos),
        "same_model": one.same_model,
        "as_good": one.quality,
        "rule": rule_for(one),
    }


def rule_for(one: Alternative) -> dict[str, Any]:
    """The line of ``pipeline.cost`` that prefers the cheaper deployment for this task."""
    name = f"{one.task or 'no task'} to {one.deployment}"
    return {"name": name, "when": {"task": one.task or "absent"}, "prefer": [one.deployment]}


def budgets(reports: Iterable[BudgetReport], *, live: bool) -> dict[str, Any]:
    """Every balance, least left first. ``live`` False: from the ledger alone, so nothing is known of what still runs."""
    return {"version": VERSION, "live": live, "budgets": [_budget(report) for report in reports]}


def _budget(report: BudgetReport) -> dict[str, Any]:
    budget = report.budget
    return {
        "name": budget.name,
        "scope": str(budget.scope),
        "for": budget.only or report.name or None,
        "shared": report.shared,
        "per": str(budget.per),
        "zone": budget.zone,
        "then": str(budget.then),
        **money("amount", budget.nanos),
        "amount_tokens": budget.tokens,
        **money("spent", report.spent_nanos),
        "spent_tokens": report.spent_tokens,
        **money("held", report.held_nanos),
        "held_tokens": report.held_tokens,
        "left": round(report.left, 6),
        "refused": report.refused,
        "from": rfc3339(report.from_s),
        "to": rfc3339(report.to_s),
    }
