"""A failure as OpenAI's clients know it: ``{"error": {"message", "type", "param", "code"}}``.

Type and code go by the kind of failure, so that a client can tell what to do without reading the message. Of the
caller's own mistakes the finer code is kept, where there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmproxyd import jsontext
from llmproxyd.values.failure import Failure, Fault
from llmproxyd.values.failure import FailureKind as Kind

_WORDS: Mapping[Kind, tuple[str, str | None]] = {
    #                       type                     code
    Kind.BAD_REQUEST: ("invalid_request_error", None),
    Kind.UNAUTHENTICATED: ("authentication_error", "invalid_api_key"),
    Kind.FORBIDDEN: ("permission_error", "forbidden"),
    Kind.NOT_FOUND: ("invalid_request_error", "model_not_found"),
    Kind.REJECTED: ("permission_error", "rejected"),
    Kind.LIMIT_REACHED: ("rate_limit_error", "rate_limit_exceeded"),
    Kind.SATURATED: ("server_error", "saturated"),
    Kind.NO_CANDIDATE: ("server_error", "no_candidate"),
    Kind.PRIVACY_NO_ROUTE: ("server_error", "privacy_no_route"),
    Kind.UNSUPPORTED: ("invalid_request_error", "unsupported"),
    Kind.INTERNAL: ("server_error", "internal_error"),
    Kind.TOO_LARGE: ("invalid_request_error", "context_length_exceeded"),
    Kind.CONTENT_REFUSED: ("invalid_request_error", "content_filter"),
    Kind.RATE_LIMITED: ("rate_limit_error", "rate_limit_exceeded"),
    Kind.OVERLOADED: ("server_error", "server_is_overloaded"),
    Kind.TIMEOUT: ("server_error", "timeout"),
    Kind.UNREACHABLE: ("server_error", "provider_unreachable"),
    Kind.PROVIDER_DENIED: ("server_error", "provider_denied"),
    Kind.MODEL_UNAVAILABLE: ("invalid_request_error", "model_not_found"),
    Kind.BAD_ANSWER: ("server_error", "bad_answer"),
}


def format_failure(failure: Failure, request_id: str) -> bytes:
    """The body of an error answer. The request id is put in where our operator will be asked about it."""
    error = error_object(failure)
    if failure.kind is Kind.INTERNAL and request_id:
        error["message"] += f" Please mention the request id {request_id} when you report this."
    return jsontext.encode({"error": error})


def error_object(failure: Failure) -> dict[str, Any]:
    kind, code = _WORDS[failure.kind]
    if failure.consequence.fault is Fault.CALLER and failure.kind not in (
        Kind.TOO_LARGE,
        Kind.CONTENT_REFUSED,
    ):
        code = failure.code or code
    return {"message": failure.message, "type": kind, "param": failure.param, "code": code}
