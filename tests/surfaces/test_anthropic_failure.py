from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types.shared.error_response import ErrorResponse

from llmproxyd.surfaces.anthropic_failure import format_failure
from llmproxyd.values.failure import Failure, FailureKind


def shown(failure: Failure, request_id: str = "r-1") -> dict[str, Any]:
    document: dict[str, Any] = json.loads(format_failure(failure, request_id))
    return document


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (FailureKind.BAD_REQUEST, "invalid_request_error"),
        (FailureKind.UNAUTHENTICATED, "authentication_error"),
        (FailureKind.FORBIDDEN, "permission_error"),
        (FailureKind.REJECTED, "permission_error"),
        (FailureKind.NOT_FOUND, "not_found_error"),
        (FailureKind.MODEL_UNAVAILABLE, "not_found_error"),
        (FailureKind.LIMIT_REACHED, "rate_limit_error"),
        (FailureKind.RATE_LIMITED, "rate_limit_error"),
        (FailureKind.SATURATED, "overloaded_error"),
        (FailureKind.OVERLOADED, "overloaded_error"),
        (FailureKind.NO_CANDIDATE, "api_error"),
        (FailureKind.PRIVACY_NO_ROUTE, "api_error"),
        (FailureKind.INTERNAL, "api_error"),
        (FailureKind.UNSUPPORTED, "invalid_request_error"),
        (FailureKind.TOO_LARGE, "invalid_request_error"),
        (FailureKind.CONTENT_REFUSED, "invalid_request_error"),
        (FailureKind.TIMEOUT, "timeout_error"),
        (FailureKind.UNREACHABLE, "api_error"),
        (FailureKind.PROVIDER_DENIED, "api_error"),
        (FailureKind.BAD_ANSWER, "api_error"),
    ],
)
def test_every_kind_has_its_type_and_the_official_client_reads_it(kind: FailureKind, name: str) -> None:
    document = shown(Failure(kind, "Something."))
    assert (document["type"], document["error"]["type"], document["request_id"]) == ("error", name, "r-1")
    ErrorResponse.model_validate(document)


def test_the_table_covers_every_kind() -> None:
    assert all(shown(Failure(kind, "m"))["error"]["type"].endswith("_error") for kind in FailureKind)


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (413, "request_too_large"),
        (409, "conflict_error"),
        (408, "timeout_error"),
        (422, "invalid_request_error"),
    ],
)
def test_a_providers_own_status_about_the_request_is_kept(status: int, name: str) -> None:
    assert shown(Failure(FailureKind.BAD_REQUEST, "m", status=status))["error"]["type"] == name


def test_a_529_is_overloaded() -> None:
    assert shown(Failure(FailureKind.OVERLOADED, "m", status=529))["error"]["type"] == "overloaded_error"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "Maximum context length is 8192 tokens.",
            "prompt is too long: Maximum context length is 8192 tokens.",
        ),
        ("prompt is too long: 9 tokens > 8 maximum", "prompt is too long: 9 tokens > 8 maximum"),
    ],
)
def test_a_conversation_that_is_too_long_is_said_in_words_that_make_clients_shorten_it(
    message: str, expected: str
) -> None:
    assert shown(Failure(FailureKind.TOO_LARGE, message))["error"]["message"] == expected


def test_the_field_is_named_where_the_message_does_not() -> None:
    assert (
        shown(Failure(FailureKind.BAD_REQUEST, "No.", param="tools[0].type"))["error"]["message"]
        == "tools[0].type: No."
    )
    assert shown(Failure(FailureKind.BAD_REQUEST, "n is 1", param="n"))["error"]["message"] == "n is 1"


def test_our_finer_kinds_stand_in_the_details() -> None:
    assert shown(Failure(FailureKind.PRIVACY_NO_ROUTE, "m"))["error"]["details"] == {
        "error_code": "privacy_no_route"
    }
    assert "details" not in shown(Failure(FailureKind.OVERLOADED, "m"))["error"]


def test_without_a_request_id_there_is_none() -> None:
    assert "request_id" not in shown(Failure(FailureKind.INTERNAL, "m"), "")
