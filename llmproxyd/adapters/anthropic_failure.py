"""What a refused call means where Anthropic says it in its own way; the rest is as with everybody.

Its own are: spent money under a 400 or 429, codes in ``error.details``, and ``api_error`` for a fault inside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from llmproxyd import jsontext
from llmproxyd.adapters import failures
from llmproxyd.values.contracts import Headers
from llmproxyd.values.failure import Failure, FailureKind

_SPENT_CODES = frozenset(
    {
        "enforced_spend_limit_reached", "contract_spend_limit_reached", "linked_organization_spend_limit_reached",
        "linked_organization_billing_unavailable", "ramp_limit_exceeded",
    }
)  # fmt: skip
_SPENT = re.compile(r"credit balance|usage limits?\b|spend(?:ing)? limit", re.IGNORECASE)
_PAYMENT_REQUIRED = 402
_READ_BYTES = 256 * 1024


def parse_failure(status: int, headers: Headers, body: bytes) -> Failure:
    """Say what a refused call means.

    body: ``{"type": "error", "error": {"type", "message", "details"?}}``; may be anything from a proxy in between.
    Raises nothing. A spent budget is not retryable, nor is a 429 that names no time: it is a spending cap.
    """
    failure = failures.parse_failure(status, headers, body)
    code = _find_code(body)
    spent = code in _SPENT_CODES or (
        failure.kind is FailureKind.BAD_REQUEST and bool(_SPENT.search(failure.said))
    )
    if spent:
        failure = replace(failures.parse_failure(_PAYMENT_REQUIRED, headers, body), status=status)
    if status == 429 and failure.retry_after_s is None:
        failure = replace(failure, retryable=False)
    return replace(failure, code=code) if code else failure


def failure_of_error(error: Any) -> Failure:
    """Say what an ``error`` means that came inside a 200: in a stream, or instead of an answer."""
    if isinstance(error, Mapping) and error.get("type") == "api_error":
        # Inside a stream there is no status that would tell.
        return replace(failures.failure_of_error({**error, "type": "server_error"}), code="api_error")
    return failures.failure_of_error(error)


def _find_code(body: bytes) -> str | None:
    try:
        document = jsontext.decode(body[:_READ_BYTES])
    except jsontext.JSONError:
        return None
    error = document.get("error") if isinstance(document, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    code = details.get("error_code") if isinstance(details, dict) else None
    return code if isinstance(code, str) and code else None
