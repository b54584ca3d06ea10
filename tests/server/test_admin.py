"""What the admin interface says: the state of the configuration, verdicts, providers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd.config.codes import CODES
from llmproxyd.config.report import format_json
from llmproxyd.in_force import InForce
from llmproxyd.server.admin import REFERENCE_CODES, config_status, providers_status, reload_result, rfc3339
from llmproxyd.state.registry import Outcome, Registry
from llmproxyd.values.failure import Failure, FailureKind
from tests.server.values import (
    AT_S,
    BAD_KEY,
    BAD_NAME,
    CANARY,
    deployment,
    in_force,
    provider,
    snapshot,
    verdict,
)

OPENAI = provider("openai")
FAST = deployment(OPENAI, "fast")


def status_of(force: InForce) -> dict[str, Any]:
    return config_status(force, watch_mode="polling")


def conditions(document: dict[str, object]) -> dict[str, tuple[bool, str]]:
    listed = document["conditions"]
    assert isinstance(listed, list)
    assert all(entry["observed_generation"] == document["generation"] for entry in listed)
    return {entry["type"]: (entry["status"], entry["reason"]) for entry in listed}


def test_a_good_configuration_fulfils_every_condition() -> None:
    status = status_of(in_force(snapshot(FAST)))
    assert conditions(status) == {
        "Accepted": (True, "Valid"),
        "ResolvedRefs": (True, "AllResolved"),
        "Programmed": (True, "InForce"),
    }
    assert (status["generation"], status["hash"], status["since"]) == (
        1,
        "abc123",
        "2026-01-01T00:00:00.250Z",
    )
    assert (status["rejected"], status["watch_mode"]) == (None, "polling")


def test_a_rejected_file_is_told_with_its_problems_while_the_old_generation_serves() -> None:
    refused = verdict("rejected", 3, BAD_NAME)
    status = status_of(in_force(snapshot(FAST), verdict("applied", 3), refused, number=3))
    assert conditions(status) == {
        "Accepted": (False, "Rejected"),
        "ResolvedRefs": (False, "LP201"),
        "Programmed": (False, "PreviousKept"),
    }
    assert status["generation"] == 3
    assert status["rejected"] == status["last"] == reload_result(refused)


def test_a_fault_that_is_no_missing_name_leaves_references_alone() -> None:
    status = status_of(in_force(snapshot(FAST), verdict("rejected", 1, BAD_KEY)))
    assert conditions(status)["ResolvedRefs"] == (True, "AllResolved")


def test_a_good_save_after_a_bad_one_clears_the_rejection() -> None:
    status = status_of(in_force(snapshot(FAST), verdict("rejected", 1, BAD_KEY), verdict("applied", 2)))
    assert status["rejected"] is None
    assert [entry["result"] for entry in status["history"]] == ["applied", "rejected"]


def test_a_verdict_carries_its_problems_as_the_check_writes_them() -> None:
    document = reload_result(verdict("rejected", 2, BAD_NAME, BAD_KEY))
    report = json.loads(format_json((BAD_NAME, BAD_KEY)))
    assert (document["problems"], document["summary"]) == (report["problems"], report["summary"])
    assert {
        name: document[name] for name in ("version", "result", "generation", "token", "trigger", "at")
    } == {
        "version": 1,
        "result": "rejected",
        "generation": 2,
        "token": "t2",
        "trigger": "watch",
        "at": "2026-01-01T00:00:00.250Z",
    }
    assert document["duration_s"] == pytest.approx(0.0312)


def test_the_codes_for_missing_names_exist() -> None:
    assert set(CODES) >= REFERENCE_CODES


def test_providers_are_told_with_state_figures_and_reason() -> None:
    bare = provider("anthropic", configured=False, reason="set ANTHROPIC_API_KEY", secret=None)
    off = provider("xai", enabled=False)
    current = snapshot(FAST, more=(bare, off))
    registry = Registry()
    registry.reconcile(current)
    registry.started(FAST)
    registry.ended(FAST, Outcome(True, None, 0.2, 1.5), AT_S)
    registry.started(FAST)
    broken = Failure(FailureKind.UNREACHABLE, "cannot be reached", detail="connection refused")
    registry.ended(FAST, Outcome(False, broken, None, 0.1), AT_S + 1)
    told = providers_status(registry.report(current), current)
    by_name = {entry["name"]: entry for entry in told["providers"]}
    assert list(by_name) == ["openai", "anthropic", "xai"]
    assert by_name["openai"]["state"] == "failing"
    assert "connection refused" in by_name["openai"]["reason"]
    assert (by_name["openai"]["requests"], by_name["openai"]["success_rate"]) == (2, 0.5)
    assert by_name["openai"]["last_success"] == "2026-01-01T00:00:00.250Z"
    assert by_name["openai"]["last_failure"] == "2026-01-01T00:00:01.250Z"
    assert by_name["openai"]["models"] == ["fast"]
    assert (by_name["anthropic"]["state"], by_name["anthropic"]["reason"]) == (
        "not configured",
        "set ANTHROPIC_API_KEY",
    )
    assert by_name["xai"]["state"] == "disabled"
    assert told["available"] == []


def test_providers_that_answer_are_listed_as_available() -> None:
    current = snapshot(FAST)
    registry = Registry()
    registry.reconcile(current)
    registry.probed(OPENAI, ok=True, detail="", wall_s=AT_S, models=None)
    assert providers_status(registry.report(current), current)["available"] == ["openai"]


def test_everything_told_is_strict_json_without_a_secret() -> None:
    current = snapshot(FAST)
    registry = Registry()
    registry.reconcile(current)
    status = status_of(in_force(current, verdict("rejected", 1, BAD_NAME)))
    text = json.dumps([status, providers_status(registry.report(current), current)], allow_nan=False)
    assert CANARY not in text


def test_moments_are_utc_and_may_be_absent() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(None) is None
