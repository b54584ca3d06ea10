"""Providers as the admin interface tells them: state, figures, breakers, keys, lines. Pure; never shows a secret."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec.structs import asdict

from llmproxyd.server.admin import rfc3339
from llmproxyd.server.metrics import Line
from llmproxyd.state.report import CredentialReport, DeploymentReport, ProviderReport
from llmproxyd.state.uptime import Shares
from llmproxyd.values.snapshot import Limits, Snapshot

VERSION: Final = 1

_NO_LIMITS = Limits()


def providers_status(
    reports: Iterable[ProviderReport], snapshot: Snapshot, lines: Iterable[Line] = ()
) -> dict[str, Any]:
    """Every provider with its state, figures and deployments, the names of those that answer, and the default one.

    Times are RFC 3339, UTC; null is: never, or not known. Shares are 0..1, durations seconds.
    """
    reports = tuple(reports)
    line_of = {line.provider: line for line in lines}
    return {
        "version": VERSION,
        "default_provider": snapshot.default_provider,
        "providers": [
            _provider(report) | _room(report.name, snapshot, line_of.get(report.name)) for report in reports
        ],
        "available": [report.name for report in reports if report.state == "available"],
    }


def _provider(report: ProviderReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "preset": report.preset,
        "zone": report.zone,
        "state": report.state,
        "reason": report.reason,
        "requests": report.requests,
        "successes": report.successes,
        "failures": report.failures,
        "success_rate": report.success_rate,
        "mean_response_s": report.mean_response_s,
        "mean_first_content_s": report.mean_first_content_s,
        "last_checked": rfc3339(report.last_checked_s),
        "last_success": rfc3339(report.last_success_s),
        "last_failure": rfc3339(report.last_failure_s),
        "uptime": _uptime(report.uptime),
        "in_flight": report.in_flight,
        "models": list(report.models),
        "credentials": [_credential(credential) for credential in report.credentials],
        "deployments": [_deployment(deployment) for deployment in report.deployments],
    }


def _room(name: str, snapshot: Snapshot, line: Line | None) -> dict[str, Any]:
    """Limits as they are written, and who waits for them; ``waiting`` is null for a provider without a line."""
    provider = snapshot.providers.get(name)
    limits = _NO_LIMITS if provider is None else provider.limits
    return {
        "limits": {key: value for key, value in asdict(limits).items() if value is not None},
        "waiting": None if line is None else {str(rank): count for rank, count in line.waiting.items()},
    }


def _deployment(report: DeploymentReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "model": report.model,
        "breaker": report.breaker,
        "cause": report.cause,
        "help": report.help,
        "ready_in_s": round(report.ready_in_s, 3),
        "share": round(report.share, 3),
        "in_flight": report.in_flight,
        "requests": report.requests,
        "successes": report.successes,
        "failures": report.failures,
        "failures_by_kind": dict(report.causes),
        "consecutive_failures": report.consecutive_failures,
        "success_rate": report.success_rate,
        "mean_first_content_s": report.mean_first_content_s,
        "mean_total_s": report.mean_total_s,
        "last_checked": rfc3339(report.last_checked_s),
        "last_success": rfc3339(report.last_success_s),
        "last_failure": rfc3339(report.last_failure_s),
        "uptime": _uptime(report.uptime),
        "timers": [msgspec.to_builtins(learnt) for learnt in report.learnt],
    }


def _credential(report: CredentialReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "state": report.state,
        "until": rfc3339(report.until),
        "help": report.help,
    }


def _uptime(shares: Shares) -> dict[str, float | None]:
    return {"5m": shares.minutes_5, "1h": shares.hour_1, "24h": shares.hours_24}
