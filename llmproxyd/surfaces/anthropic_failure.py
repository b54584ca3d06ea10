"""A failure as Anthropic's clients know it: ``{"type": "error", "error": {"type", "message"}, "request_id"}``.

The type goes by the status, as theirs does; ours of the finer kinds stand in ``error.details.error_code``. Clients of
this dialect shorten a conversation that is too long by themselves, but only if the message begins as Anthropic's does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmproxyd import jsontext
from llmproxyd.values.failure import Failure
from llmproxyd.values.failure import FailureKind as Kind

TOO_LONG = "prompt is too long"

_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_OWN_TYPES: Mapping[Kind, str] = {
    # Nothing is overloaded: to try again would not help.
    Kind.NO_CANDIDATE: "api_error",
    Kind.PRIVACY_NO_ROUTE: "api_error",
}
_CODED = frozenset(
    {
        Kind.REJECTED,
        Kind.LIMIT_REACHED,
        Kind.SATURATED,
        Kind.NO_CANDIDATE,
        Kind.PRIVACY_NO_ROUTE,
        Kind.UNSUPPORTED,
    }
)


def format_failure(failure: Failure, request_id: str) -> bytes:
    """The body of an error answer, and the data of a stream's ``error`` event."""
    document: dict[str, Any] = {"type": "error", "error": error_object(failure)}
    return jsontext.encode(document | ({"request_id": request_id} if request_id else {}))


def error_object(failure: Failure) -> dict[str, Any]:
    kind = _OWN_TYPES.get(failure.kind) or _TYPES.get(failure.client_status, "api_error")
    error: dict[str, Any] = {"type": kind, "message": _message(failure)}
    if failure.kind in _CODED:
        error["details"] = {"error_code": failure.code or failure.kind.value}
    return error


def _message(failure: Failure) -> str:
    if failure.kind is Kind.TOO_LARGE and failure.client_status == 400 and TOO_LONG not in failure.message:
        return f"{TOO_LONG}: {failure.message}"
    if failure.kind is Kind.BAD_REQUEST and failure.param and failure.param not in failure.message:
        return f"{failure.param}: {failure.message}"
    return failure.message
