"""A decision as a document: what `llmproxyd explain --json` and the admin interface show of a Plan. Pure."""

from __future__ import annotations

import math
from typing import Any

from llmproxyd.values.plan import Candidate, Plan, Question, Verdict
from llmproxyd.values.request import Overrides
from llmproxyd.values.snapshot import FallbackPolicy, Target

VERSION = 1


def explain_plan(question: Question, plan: Plan) -> dict[str, Any]:
    """How a name was resolved, which label counts, and what became of every deployment in question.

    ``{"version", "model", "target", "label", "rules", "overrides", "candidates", "dropped", "fallback", "failure"}``;
    candidates stand in the order they would be tried. Holds nothing of the request's content.
    """
    return {
        "version": VERSION,
        "model": question.model,
        "target": _target(plan.target) if plan.target else None,
        "label": {"name": plan.label, "sources": list(plan.label_sources)},
        "rules": list(plan.rules),
        "overrides": _overrides(plan.overrides),
        "candidates": [_candidate(candidate) for candidate in plan.candidates],
        "dropped": [_candidate(candidate) for candidate in plan.dropped],
        "fallback": _fallback(plan.fallback),
        "failure": None
        if plan.failure is None
        else {
            "kind": plan.failure.kind.value,
            "message": plan.failure.message,
            "status": plan.failure.client_status,
        },
    }


def _target(target: Target) -> dict[str, Any]:
    return {
        "name": target.name,
        "kind": target.kind.value,
        "deployments": [deployment.name for deployment in target.deployments],
        "weights": list(target.weights),
        "place": str(target.place) if target.place.file else None,
    }


def _candidate(candidate: Candidate) -> dict[str, Any]:
    deployment = candidate.deployment
    return {
        "deployment": deployment.name,
        "provider": deployment.provider.name,
        "model": deployment.model,
        "upstream": deployment.upstream,
        "zone": deployment.provider.zone.value,
        "rank": [_rank(part) for part in candidate.rank],
        "verdicts": [_verdict(verdict) for verdict in candidate.verdicts],
    }


def _rank(part: float | str) -> float | str:
    """JSON knows no infinity; it stands for what sorts behind every known value."""
    return "last" if isinstance(part, float) and not math.isfinite(part) else part


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "stage": verdict.stage.value if verdict.stage else None,
        "rule": verdict.rule,
        "reason": verdict.reason,
        "dropped": verdict.dropped,
    }


def _overrides(overrides: Overrides) -> dict[str, Any]:
    values = {
        name: getattr(overrides, name) for name in ("temperature", "top_p", "max_tokens", "effort", "seed")
    }
    return {name: value for name, value in values.items() if value is not None}


def _fallback(policy: FallbackPolicy) -> dict[str, Any]:
    return {
        "on": sorted(kind.value for kind in policy.on),
        "attempts": policy.attempts,
        "deadline_s": policy.deadline_s,
        "retry_max": policy.retry_max,
        "retry_base_s": policy.retry_base_s,
        "retry_cap_s": policy.retry_cap_s,
    }
