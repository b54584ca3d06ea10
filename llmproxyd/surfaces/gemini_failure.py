"""A failure as Google's clients know it: ``{"error": {"code", "message", "status", "details"}}``.

``details`` holds what google.rpc has types for: the reason, the field at fault, when to come back, the request's id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmproxyd import jsontext
from llmproxyd.values.failure import Failure
from llmproxyd.values.failure import FailureKind as Kind

_STATUSES: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_TYPE = "type.googleapis.com/google.rpc."
_DOMAIN = "llmproxyd"


def format_failure(failure: Failure, request_id: str) -> bytes:
    """The body of an error answer."""
    return jsontext.encode(error_document(failure, request_id))


def error_document(failure: Failure, request_id: str = "") -> dict[str, Any]:
    status = failure.client_status
    message = failure.message
    if failure.kind is Kind.INTERNAL and request_id:
        message += f" Please mention the request id {request_id} when you report this."
    return {
        "error": {
            "code": status,
            "message": message,
            "status": _STATUSES[status],
            "details": _details(failure, request_id),
        }
    }


def _details(failure: Failure, request_id: str) -> list[dict[str, Any]]:
    details: list[dict[str, Any]] = [
        {"@type": f"{_TYPE}ErrorInfo", "reason": failure.kind.value.upper(), "domain": _DOMAIN}
    ]
    if failure.param is not None:
        violation = {"field": failure.param, "description": failure.message}
        details.append({"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]})
    if failure.retry_after_s is not None:
        details.append(
            {
                "@type": f"{_TYPE}RetryInfo",
                "retryDelay": f"{failure.retry_after_s:.3f}".rstrip("0").rstrip(".") + "s",
            }
        )
    if request_id:
        details.append({"@type": f"{_TYPE}RequestInfo", "requestId": request_id})
    return details
