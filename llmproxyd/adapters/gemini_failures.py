"""What a call refused by Google means.

Google's errors are put into the common form, with the most telling code first, and judged like everybody's. Three things
are Google's own: the body may be wrapped in an array, an invalid key is a 400, and a spent day of quota names itself only
in the details.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from llmproxyd import jsontext
from llmproxyd.adapters import failures
from llmproxyd.adapters.scrub import scrub_secrets
from llmproxyd.values.contracts import Headers
from llmproxyd.values.failure import Failure
from llmproxyd.values.failure import FailureKind as Kind

_READ_BYTES = 256 * 1024
_DAILY = re.compile(r"per_?(?:day|month)", re.IGNORECASE)
_SIGNATURE = re.compile(r"(?:invalid|corrupted|missing)\b.{0,40}\bthought[ _]?signature", re.IGNORECASE)

_DENIED_REASONS = frozenset(
    {"api_key_invalid", "api_key_expired", "api_key_service_blocked", "service_disabled"}
)


def parse_failure(status: int, headers: Headers, body: bytes) -> Failure:
    """Say what a refused call means. body: ``{"error": {…}}``, also in an array of one; may be HTML, or empty."""
    error = _find_error(body)
    if error is None:
        return failures.parse_failure(status, headers, body)
    common = jsontext.encode({"error": _common(error)})
    return _refined(failures.parse_failure(status, headers, common), error)


def failure_of_error(error: Any) -> Failure:
    """Say what an ``error`` means that came inside a 200."""
    if not isinstance(error, dict):
        return failures.failure_of_error(error)
    return _refined(failures.failure_of_error(_common(error)), error)


def blocked_prompt(feedback: Mapping[str, Any]) -> Failure:
    """A 200 without candidates: the prompt was refused. feedback: ``promptFeedback``."""
    reason = feedback.get("blockReason")
    shown = reason if isinstance(reason, str) and re.fullmatch(r"[A-Z_]{1,64}", reason) else "OTHER"
    told = feedback.get("blockReasonMessage")
    return Failure(
        Kind.CONTENT_REFUSED,
        f"The provider's content filter refused the request ({shown}).",
        said=scrub_secrets(told) if isinstance(told, str) else shown,
        code=shown.lower(),
    )


def _find_error(body: bytes) -> dict[str, Any] | None:
    try:
        document = jsontext.decode(body[:_READ_BYTES])
    except jsontext.JSONError:
        return None
    if isinstance(document, list):
        document = next((item for item in document if isinstance(item, dict) and item.get("error")), None)
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, dict) else None


def _common(error: Mapping[str, Any]) -> dict[str, Any]:
    """The reason in the details says most, then the status; the code only repeats the HTTP status."""
    reasons = [reason.lower() for reason in _texts(error, "reason")]
    status = error.get("status")
    telling = next((reason for reason in reasons if reason in _DENIED_REASONS), status)
    metadata = {"error_type": telling} if isinstance(telling, str) else {}
    return {**error, "metadata": metadata}


def _refined(failure: Failure, error: Mapping[str, Any]) -> Failure:
    if failure.kind is Kind.RATE_LIMITED and any(_DAILY.search(quota) for quota in _texts(error, "quotaId")):
        # The hint beside it counts seconds, but the quota comes back with the next day.
        return replace(failure, retryable=False, retry_after_s=None)
    if failure.code in _DENIED_REASONS or (
        failure.kind is Kind.BAD_REQUEST and failure.code == "failed_precondition"
    ):
        return _denied(failure)
    if failure.kind is Kind.BAD_REQUEST and _SIGNATURE.search(str(error.get("message"))):
        # The history was signed by another model; whoever does not read signatures can go on with it.
        return replace(failure, kind=Kind.UNSUPPORTED)
    return failure


def _denied(failure: Failure) -> Failure:
    """A region, a bill or a key: nothing the client could change."""
    message = "The provider refused the proxy's credentials or permissions; its operator can see why."
    return replace(failure, kind=Kind.PROVIDER_DENIED, message=message)


def _texts(error: Mapping[str, Any], name: str) -> Iterator[str]:
    """Every text called ``name`` in the details, and in the violations that these list."""
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, dict):
            continue
        violations = detail.get("violations")
        for holder in (detail, *(violations if isinstance(violations, list) else ())):
            value = holder.get(name) if isinstance(holder, dict) else None
            if isinstance(value, str):
                yield value
