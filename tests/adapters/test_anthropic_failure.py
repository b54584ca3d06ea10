from __future__ import annotations

import json
from typing import Any

import pytest

from llmproxyd.adapters.anthropic_failure import parse_failure
from llmproxyd.values.failure import FailureKind
from tests import wire


def error(kind: str, message: str = "m", **details: Any) -> bytes:
    inner: dict[str, Any] = {"type": kind, "message": message}
    if details:
        inner["details"] = details
    return json.dumps({"type": "error", "error": inner, "request_id": "req_1"}).encode()


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, "invalid_request_error", FailureKind.BAD_REQUEST),
        (401, "authentication_error", FailureKind.PROVIDER_DENIED),
        (402, "billing_error", FailureKind.RATE_LIMITED),
        (403, "permission_error", FailureKind.PROVIDER_DENIED),
        (404, "not_found_error", FailureKind.MODEL_UNAVAILABLE),
        (408, "timeout_error", FailureKind.TIMEOUT),
        (409, "conflict_error", FailureKind.OVERLOADED),
        (413, "request_too_large", FailureKind.TOO_LARGE),
        (429, "rate_limit_error", FailureKind.RATE_LIMITED),
        (500, "api_error", FailureKind.OVERLOADED),
        (503, "api_error", FailureKind.OVERLOADED),
        (504, "timeout_error", FailureKind.TIMEOUT),
        (529, "overloaded_error", FailureKind.OVERLOADED),
    ],
)
def test_every_status_has_its_meaning(status: int, kind: str, expected: FailureKind) -> None:
    failure = parse_failure(status, {"retry-after": "3"}, error(kind))
    assert (failure.kind, failure.status) == (expected, status)


def test_the_wait_is_taken_from_the_header() -> None:
    failure = parse_failure(429, {"retry-after": "12"}, error("rate_limit_error"))
    assert (failure.retry_after_s, failure.retryable) == (12, True)


def test_a_429_that_names_no_time_is_a_spending_cap() -> None:
    assert not parse_failure(429, {}, error("rate_limit_error")).retryable


@pytest.mark.parametrize(
    "code", ["enforced_spend_limit_reached", "contract_spend_limit_reached", "ramp_limit_exceeded"]
)
@pytest.mark.parametrize("status", [400, 403, 429])
def test_spent_money_is_not_tried_again_whatever_the_status(status: int, code: str) -> None:
    failure = parse_failure(status, {"retry-after": "1"}, error("invalid_request_error", error_code=code))
    assert (failure.kind, failure.retryable, failure.code, failure.status) == (
        FailureKind.RATE_LIMITED,
        False,
        code,
        status,
    )


@pytest.mark.parametrize(
    "message",
    [
        "Your credit balance is too low to access the API.",
        "You have reached your specified API usage limits. You will regain access on 2026-12-01.",
    ],
)
def test_spent_money_is_known_by_its_words_where_there_is_no_code(message: str) -> None:
    failure = parse_failure(400, {}, error("invalid_request_error", message))
    assert (failure.kind, failure.retryable) == (FailureKind.RATE_LIMITED, False)


@pytest.mark.parametrize(
    "body",
    [
        wire.whole("anthropic-messages", "error_400_context"),
        error(
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
        ),
    ],
)
def test_a_conversation_that_is_too_long_is_known_by_its_words(body: bytes) -> None:
    failure = parse_failure(400, {}, body)
    assert failure.kind is FailureKind.TOO_LARGE
    assert "too long" in failure.message or "context limit" in failure.message


@pytest.mark.parametrize(
    "body", [b"", b"<html>Bad gateway</html>", b"[]", b'{"error":{"details":[]}}', b'{"error":7}']
)
def test_what_a_proxy_in_between_says_is_judged_by_status(body: bytes) -> None:
    assert parse_failure(502, {}, body).kind is FailureKind.OVERLOADED


def test_pitfall_47_a_key_does_not_reach_the_client_or_the_log() -> None:
    failure = parse_failure(
        400, {}, error("invalid_request_error", "bad key sk-ant-api03-abcdefgh at https://a.test/v1")
    )
    for secret in ("sk-ant-api03-abcdefgh", "a.test"):
        assert secret not in failure.message
    assert "sk-ant-api03-abcdefgh" not in failure.said
