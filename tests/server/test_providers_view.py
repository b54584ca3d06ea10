"""What the admin interface says of providers: states, figures, breakers, keys, lines; and never a secret."""

from __future__ import annotations

import json
from typing import Any

from llmproxyd.exchange.line import LineReport
from llmproxyd.server.providers_view import providers_status
from llmproxyd.state.registry import Outcome, Registry
from llmproxyd.state.report import CredentialReport
from llmproxyd.state.uptime import Shares
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import Priority
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import Credential, Limits
from tests.server.values import (
    AT_S,
    CANARY,
    deployment,
    deployment_report,
    provider,
    provider_report,
    snapshot,
)

OPENAI = provider("openai")
FAST = deployment(OPENAI, "fast")
NONE_WAIT = dict.fromkeys(Priority, 0)


def told_of(registry: Registry, *deployments: Any, more: Any = (), now_s: float = 0.0) -> dict[str, Any]:
    current = snapshot(*deployments, more=more)
    return providers_status(registry.report(current, now_s, AT_S + now_s), current)


def registry_of(*deployments: Any) -> Registry:
    registry = Registry()
    registry.reconcile(snapshot(*deployments), 0.0)
    return registry


def test_providers_are_told_with_state_figures_and_reason() -> None:
    bare = provider("anthropic", configured=False, reason="set ANTHROPIC_API_KEY", secret=None)
    off = provider("xai", enabled=False)
    registry = registry_of(FAST)
    registry.started(FAST, 0.0)
    registry.ended(FAST, Outcome(True, None, 0.2, 1.5), 0.0)
    registry.started(FAST, 0.5)
    broken = Failure(FailureKind.UNREACHABLE, "cannot be reached", detail="connection refused")
    registry.ended(FAST, Outcome(False, broken, None, 0.1), 1.0)
    told = told_of(registry, FAST, more=(bare, off), now_s=1.0)
    by_name = {entry["name"]: entry for entry in told["providers"]}
    assert list(by_name) == ["openai", "anthropic", "xai"]
    assert by_name["openai"]["state"] == "failing"
    assert "connection refused" in by_name["openai"]["reason"]
    assert (by_name["openai"]["requests"], by_name["openai"]["success_rate"]) == (2, 0.5)
    assert by_name["openai"]["last_success"] == "2026-01-01T00:00:00.250Z"
    assert by_name["openai"]["last_failure"] == "2026-01-01T00:00:01.250Z"
    assert by_name["openai"]["models"] == ["fast"]
    [fast] = by_name["openai"]["deployments"]
    assert (fast["name"], fast["breaker"], fast["consecutive_failures"]) == ("openai/fast", "closed", 1)
    assert fast["failures_by_kind"] == {"unreachable": 1}
    assert (by_name["anthropic"]["state"], by_name["anthropic"]["reason"]) == (
        "not configured",
        "set ANTHROPIC_API_KEY",
    )
    assert by_name["xai"]["state"] == "disabled"
    assert told["available"] == []


def test_a_deployment_that_is_not_called_says_why_and_when_it_will_be() -> None:
    registry = registry_of(FAST)
    for number in range(3):
        registry.started(FAST, float(number))
        busy = Failure(FailureKind.OVERLOADED, "busy", status=503)
        registry.ended(FAST, Outcome(False, busy, None, 0.1), float(number))
    [openai] = told_of(registry, FAST, now_s=2.0)["providers"]
    [fast] = openai["deployments"]
    assert (openai["state"], fast["breaker"], fast["cause"]) == ("failing", "open", "overloaded")
    assert 0 < fast["ready_in_s"] <= 300
    assert fast["help"]


def test_uptime_is_told_by_window() -> None:
    report = provider_report("openai", uptime=Shares(1.0, 0.5, None))
    [openai] = providers_status((report,), snapshot(FAST))["providers"]
    assert openai["uptime"] == {"5m": 1.0, "1h": 0.5, "24h": None}


def test_limits_are_told_and_who_waits_for_them() -> None:
    limited = provider("openai", limits=Limits(requests_per_minute=60, concurrency=8))
    current = snapshot(deployment(limited, "fast"), more=(provider("free"),))
    line = LineReport("openai", NONE_WAIT | {Priority.BATCH: 3}, NONE_WAIT, 8, 8)
    reports = (provider_report("openai"), provider_report("free"))
    openai, free = providers_status(reports, current, (line,))["providers"]
    assert openai["limits"] == {"requests_per_minute": 60, "concurrency": 8}
    assert openai["waiting"] == {"interactive": 0, "normal": 0, "batch": 3}
    assert (free["limits"], free["waiting"]) == ({}, None)


def test_keys_are_told_by_name_with_the_remedy() -> None:
    key = CredentialReport("${env:OPENAI_API_KEY}", "quarantined", AT_S, "renew it")
    [openai] = providers_status((provider_report("openai", credentials=(key,)),), snapshot(FAST))["providers"]
    assert openai["credentials"] == [
        {
            "name": "${env:OPENAI_API_KEY}",
            "state": "quarantined",
            "until": "2026-01-01T00:00:00.250Z",
            "help": "renew it",
        }
    ]


def test_providers_that_answer_are_listed_as_available() -> None:
    registry = registry_of(FAST)
    registry.probed(OPENAI, ok=True, alive=True, detail="", now_s=0.0, models=None)
    assert told_of(registry, FAST)["available"] == ["openai"]


def test_everything_told_is_strict_json_without_a_secret() -> None:
    keys = (Credential(Secret(CANARY), "first"), Credential(Secret(CANARY + "2"), "second", "2020-01-01"))
    fast = deployment(provider("openai", credentials=keys), "fast")
    registry = registry_of(fast)
    for number in range(40):
        registry.started(fast, float(number))
        registry.ended(fast, Outcome(True, None, 0.2, 1.5, stream=True), float(number))
    told = told_of(registry, fast, now_s=40.0)
    text = json.dumps(told, allow_nan=False)
    assert CANARY not in text
    assert told["providers"][0]["deployments"][0]["timers"], "there is enough history for timers"


def test_a_deployment_without_history_has_no_figures() -> None:
    report = provider_report("openai", deployments=(deployment_report("openai/fast"),))
    [openai] = providers_status((report,), snapshot(FAST))["providers"]
    [fast] = openai["deployments"]
    unknown = {name for name, value in fast.items() if value is None}
    assert unknown == {
        "success_rate",
        "mean_first_content_s",
        "mean_total_s",
        "last_checked",
        "last_success",
        "last_failure",
    }
