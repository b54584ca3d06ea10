"""What a call refused by Cohere means, and a generation that broke off.

Cohere's errors are a bare ``{"id", "message"}``: the status decides, as for everybody. Its own are 498, which is a bad
key, and the limit of a trial key, which is for a month.
"""

from __future__ import annotations

import re

from msgspec.structs import replace

from llmproxyd.adapters import failures
from llmproxyd.values.contracts import Headers
from llmproxyd.values.failure import Failure
from llmproxyd.values.failure import FailureKind as Kind

_INVALID_TOKEN = 498
_MONTHLY = re.compile(r"\b(?:calls?|requests?)\s*(?:/|per|a)\s*(?:month|day)\b", re.IGNORECASE)


def parse_failure(status: int, headers: Headers, body: bytes) -> Failure:
    """Say what a refused call means. body: ``{"message"}``; may be HTML from a proxy, or empty. Raises nothing."""
    failure = failures.parse_failure(401 if status == _INVALID_TOKEN else status, headers, body)
    if failure.kind is Kind.RATE_LIMITED and failure.retry_after_s is None and _MONTHLY.search(failure.said):
        failure = replace(failure, retryable=False)
    return replace(failure, status=status)


def failure_of_text(message: str) -> Failure:
    """Say what an error means that came inside a 200."""
    return failures.failure_of_error({"message": message})


def broken_generation(reason: str) -> Failure:
    """``finish_reason`` ERROR or TIMEOUT: what came before it is no whole answer."""
    failure = failures.bad_answer("the generation ended with an error", reason)
    if reason != "TIMEOUT":
        return failure
    return replace(failure, kind=Kind.TIMEOUT, message="The provider took too long.")
