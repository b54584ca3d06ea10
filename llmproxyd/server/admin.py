"""What the admin interface says, as JSON-able documents made from values. Pure: who may ask is decided at the door."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from llmproxyd.config.report import format_json
from llmproxyd.in_force import InForce, ReloadVerdict

VERSION = 1
REFERENCE_CODES = frozenset({"LP201", "LP202", "LP203", "LP207", "LP208", "LP303", "LP601"})
"""Problems that say: something is named here that is not there."""


def rfc3339(unix_s: float | None) -> str | None:
    """Unix seconds -> UTC with milliseconds; None stays None."""
    if unix_s is None:
        return None
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def config_status(in_force: InForce, *, watch_mode: str) -> dict[str, Any]:
    """Which generation serves, whether the files on disk are accepted, and what was tried lately.

    ``rejected`` is null, or the verdict on the files that are refused at this moment. ``history``: newest first.
    """
    current, rejected = in_force.current, in_force.rejected
    return {
        "version": VERSION,
        "generation": current.number,
        "hash": current.hash,
        "since": rfc3339(current.since_s),
        "conditions": _conditions(current.number, rejected),
        "last": reload_result(in_force.last),
        "rejected": reload_result(rejected) if rejected else None,
        "history": [_summary(verdict) for verdict in reversed(in_force.history)],
        "watch_mode": watch_mode,
        "watch_why": in_force.watch_why,
    }


def _conditions(generation: int, rejected: ReloadVerdict | None) -> list[dict[str, Any]]:
    codes = {problem.code for problem in rejected.problems} if rejected else set()
    missing = sorted(codes & REFERENCE_CODES)
    kept = "PreviousKept" if rejected else "InForce"
    return [
        _condition("Accepted", not rejected, "Rejected" if rejected else "Valid", generation),
        _condition("ResolvedRefs", not missing, missing[0] if missing else "AllResolved", generation),
        _condition("Programmed", not rejected, kept, generation),
    ]


def _condition(name: str, holds: bool, reason: str, generation: int) -> dict[str, Any]:
    return {"type": name, "status": holds, "reason": reason, "observed_generation": generation}


def reload_result(verdict: ReloadVerdict) -> dict[str, Any]:
    """A verdict with its problems, which are written as ``check --format json`` writes them."""
    report = json.loads(format_json(verdict.problems))
    return {**_summary(verdict), "problems": report["problems"], "summary": report["summary"]}


def _summary(verdict: ReloadVerdict) -> dict[str, Any]:
    return {
        "version": VERSION,
        "result": verdict.result,
        "generation": verdict.generation,
        "token": verdict.token,
        "trigger": verdict.trigger,
        "duration_s": round(verdict.duration_s, 6),
        "at": rfc3339(verdict.at_s),
    }
