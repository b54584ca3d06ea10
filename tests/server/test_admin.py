"""What the admin interface says: the state of the configuration, verdicts, providers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd.config.codes import CODES
from llmproxyd.config.report import format_json
from llmproxyd.in_force import InForce
from llmproxyd.server.admin import REFERENCE_CODES, config_status, reload_result, rfc3339
from tests.server.values import (
    BAD_KEY,
    BAD_NAME,
    deployment,
    in_force,
    provider,
    snapshot,
    verdict,
)

FAST = deployment(provider("openai"), "fast")


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


def test_everything_told_is_strict_json() -> None:
    status = status_of(in_force(snapshot(FAST), verdict("rejected", 1, BAD_NAME)))
    assert json.loads(json.dumps(status, allow_nan=False)) == status


def test_moments_are_utc_and_may_be_absent() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(None) is None
