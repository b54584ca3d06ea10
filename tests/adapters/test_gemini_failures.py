from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd.adapters.gemini_failures import failure_of_error, parse_failure
from llmproxyd.values.failure import Failure
from llmproxyd.values.failure import FailureKind as Kind
from tests import wire

RPC = "type.googleapis.com/google.rpc."


def refused(
    code: int, status: str, message: str = "m", details: Any = None, *, wrapped: bool = False
) -> Failure:
    error = {"code": code, "message": message, "status": status}
    document: Any = {"error": error if details is None else error | {"details": details}}
    return parse_failure(code, {}, json.dumps([document] if wrapped else document).encode())


def quota(quota_id: str) -> list[dict[str, Any]]:
    return [
        {"@type": RPC + "QuotaFailure", "violations": [{"quotaMetric": "x", "quotaId": quota_id}]},
        {"@type": RPC + "RetryInfo", "retryDelay": "37s"},
    ]


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        (400, "INVALID_ARGUMENT", Kind.BAD_REQUEST),
        (400, "FAILED_PRECONDITION", Kind.PROVIDER_DENIED),
        (401, "UNAUTHENTICATED", Kind.PROVIDER_DENIED),
        (402, "FAILED_PRECONDITION", Kind.RATE_LIMITED),
        (403, "PERMISSION_DENIED", Kind.PROVIDER_DENIED),
        (404, "NOT_FOUND", Kind.MODEL_UNAVAILABLE),
        (429, "RESOURCE_EXHAUSTED", Kind.RATE_LIMITED),
        (499, "CANCELLED", Kind.OVERLOADED),
        (500, "INTERNAL", Kind.OVERLOADED),
        (503, "UNAVAILABLE", Kind.OVERLOADED),
        (504, "DEADLINE_EXCEEDED", Kind.TIMEOUT),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_every_status_has_its_kind_in_an_array_or_not(
    code: int, status: str, kind: Kind, wrapped: bool
) -> None:
    failure = refused(code, status, wrapped=wrapped)
    assert failure.kind is kind
    assert failure.status == code
    assert failure.code == status.lower()


def test_an_invalid_key_is_ours_though_it_is_a_400() -> None:
    failure = parse_failure(400, {}, wire.whole("gemini-generate", "error_400_key"))
    assert failure.kind is Kind.PROVIDER_DENIED
    assert failure.code == "api_key_invalid"
    assert "API key" not in failure.message


def test_a_key_that_may_not_use_the_service_is_ours_too() -> None:
    details = [{"@type": RPC + "ErrorInfo", "reason": "API_KEY_SERVICE_BLOCKED"}]
    assert refused(400, "INVALID_ARGUMENT", details=details).kind is Kind.PROVIDER_DENIED


def test_the_hint_when_to_come_back_is_in_the_details() -> None:
    failure = parse_failure(429, {}, wire.whole("gemini-generate", "error_429"))
    assert (failure.kind, failure.retry_after_s, failure.retryable) == (Kind.RATE_LIMITED, 37.0, True)


def test_a_spent_day_of_quota_is_not_tried_again_in_seconds() -> None:
    failure = refused(
        429, "RESOURCE_EXHAUSTED", details=quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier")
    )
    assert (failure.kind, failure.retry_after_s, failure.retryable) == (Kind.RATE_LIMITED, None, False)
    minute = refused(429, "RESOURCE_EXHAUSTED", details=quota("GenerateRequestsPerMinutePerProject"))
    assert (minute.retry_after_s, minute.retryable) == (37.0, True)


def test_an_open_bill_is_not_tried_again() -> None:
    assert refused(402, "FAILED_PRECONDITION").retryable is False


@pytest.mark.parametrize("code", [400, 500])
def test_a_prompt_that_is_too_long_is_told_by_its_words(code: int) -> None:
    message = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
    assert refused(code, "INVALID_ARGUMENT", message).kind is Kind.TOO_LARGE


@pytest.mark.parametrize(
    "message",
    [
        "Invalid thought signature.",
        "Corrupted thought signature.",
        "Function call f is missing a thought_signature",
    ],
)
def test_pitfall_24_a_signature_of_another_model_lets_others_try(message: str) -> None:
    failure = refused(400, "INVALID_ARGUMENT", message)
    assert failure.kind is Kind.UNSUPPORTED
    assert failure.consequence.fallback


@pytest.mark.parametrize(
    "body", [b"", b"<html>Bad Gateway</html>", b"null", b'{"error": "text"}', b"[]", b"[1]"]
)
def test_what_cannot_be_read_is_judged_by_its_status(body: bytes) -> None:
    assert parse_failure(503, {}, body).kind is Kind.OVERLOADED
    assert parse_failure(404, {}, body).kind is Kind.MODEL_UNAVAILABLE


@pytest.mark.parametrize("details", [7, [7], [{"violations": 7}], [{"violations": [7]}], [{"reason": 7}]])
def test_details_of_any_form_are_survived(details: Any) -> None:
    assert refused(429, "RESOURCE_EXHAUSTED", details=details).kind is Kind.RATE_LIMITED


def test_pitfall_47_no_key_and_no_host_reaches_the_client() -> None:
    message = "Bad call to https://generativelanguage.example.com/v1?key=AIzaSyD-secret: contents is empty"
    failure = refused(400, "INVALID_ARGUMENT", message)
    assert "AIza" not in failure.message + failure.said
    assert "example.com" not in failure.message


def test_an_error_within_a_stream_is_judged_alike() -> None:
    assert failure_of_error({"code": 429, "details": quota("PerDay")}).retryable is False
    assert failure_of_error({"code": 503, "status": "UNAVAILABLE"}).kind is Kind.OVERLOADED
    assert failure_of_error({"status": "RESOURCE_EXHAUSTED"}).kind is Kind.RATE_LIMITED
    assert failure_of_error("what").kind is Kind.BAD_ANSWER
