"""A decision as a document: what `llmproxyd explain --json` shows of a Plan. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from llmproxyd.routing.privacy import found_source, unread_source
from llmproxyd.values.plan import Candidate, Plan, Question, Verdict
from llmproxyd.values.privacy import Scan
from llmproxyd.values.request import Overrides
from llmproxyd.values.snapshot import FallbackPolicy, Privacy, Stage, Target

VERSION = 1


def explain_plan(question: Question, plan: Plan, privacy: Privacy) -> dict[str, Any]:
    """How a name was resolved, which label counts, and what became of every deployment in question.

    ``{"version", "model", "target", "label", "fenced", "rules", "overrides", "candidates", "dropped", "fallback",
    "failure"}``; candidates stand in the order they would be tried. Holds nothing of the request's content: of what was
    found in it only the kind and the place.
    """
    return {
        "version": VERSION,
        "model": question.model,
        "target": _target(plan.target) if plan.target else None,
        "label": _label(question.scan, plan, privacy),
        "fenced": [
            _fenced(candidate, plan.label, privacy) for candidate in plan.dropped if _is_fenced(candidate)
        ],
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


# --- the label --------------------------------------------------------------------------------------------------


def _label(scan: Scan, plan: Plan, privacy: Privacy) -> dict[str, Any]:
    """``sources``: who raised it. ``found`` and ``unread``: what stands where, the label it gives, and which of the
    sources it is; none, where another label is as high."""
    return {
        "name": plan.label,
        "sources": list(plan.label_sources),
        "found": _found(scan, plan.label_sources, privacy),
        "unread": _unread(scan, plan.label_sources, privacy) if privacy.detect else [],
        "failed": scan.failed,
    }


def _found(scan: Scan, sources: Collection[str], privacy: Privacy) -> list[dict[str, Any]]:
    return [
        {
            "kind": each.finding.kind,
            "place": each.place,
            "start": each.finding.start,
            "end": each.finding.end,
            "detector": each.finding.detector,
            "label": _name(privacy, privacy.rank_of_kind(each.finding.kind)),
            "source": _among(sources, found_source(each.finding.kind)),
        }
        for each in scan.found
    ]


def _unread(scan: Scan, sources: Collection[str], privacy: Privacy) -> list[dict[str, Any]]:
    """What has no place was text that was packed too deeply, or for which there was no time."""
    placed = [(each.place, each.kind) for each in scan.unread]
    elsewhere = [(None, kind) for kind in sorted(scan.unscanned - {kind for _, kind in placed})]
    return [
        {
            "kind": kind,
            "place": place,
            "label": _name(privacy, privacy.rank_of_unscanned(kind)),
            "source": _among(sources, unread_source(kind)),
        }
        for place, kind in (*placed, *elsewhere)
    ]


def _among(sources: Collection[str], source: str) -> str | None:
    return source if source in sources else None


def _name(privacy: Privacy, rank: int | None) -> str | None:
    return None if rank is None or rank < 0 else privacy.labels[rank]


def _is_fenced(candidate: Candidate) -> bool:
    """Whether the label kept it out, and no rule: that is the one verdict of this stage without a rule's name."""
    return any(v.dropped and v.stage is Stage.PRIVACY and not v.rule for v in candidate.verdicts)


def _fenced(candidate: Candidate, label: str, privacy: Privacy) -> dict[str, Any]:
    deployment = candidate.deployment
    clearance = _name(privacy, deployment.provider.clearance)
    return {"deployment": deployment.name, "clearance": clearance, "label": label}


# --- the rest ---------------------------------------------------------------------------------------------------


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
