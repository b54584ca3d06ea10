"""The closed set of failures and the one table that says what each permits.

Nobody else decides whether something may be retried: the table below does, and `fallback.on` narrows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class FailureKind(StrEnum):
    # ours, or the caller's
    BAD_REQUEST = "bad_request"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    REJECTED = "rejected"
    LIMIT_REACHED = "limit_reached"
    SATURATED = "saturated"
    NO_CANDIDATE = "no_candidate"
    PRIVACY_NO_ROUTE = "privacy_no_route"
    UNSUPPORTED = "unsupported"
    INTERNAL = "internal"
    # the provider's
    TOO_LARGE = "too_large"
    CONTENT_REFUSED = "content_refused"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    PROVIDER_DENIED = "provider_denied"
    MODEL_UNAVAILABLE = "model_unavailable"
    BAD_ANSWER = "bad_answer"


class Fault(StrEnum):
    """Whose doing it is."""

    CALLER = "caller"
    OURS = "ours"
    PROVIDER = "provider"


class Consequence(msgspec.Struct, frozen=True):
    """``status``: what the client gets. ``fallback``: another deployment may be tried (if the operator's ``fallback.on``
    names the kind). ``retry``: the same one may be tried again. ``unhealthy``: counts against the deployment."""

    fault: Fault
    status: int
    fallback: bool
    retry: bool
    unhealthy: bool


CONSEQUENCES: Mapping[FailureKind, Consequence] = {
    #                                            fault            status fallback retry unhealthy
    FailureKind.BAD_REQUEST: Consequence(Fault.CALLER, 400, False, False, False),
    FailureKind.UNAUTHENTICATED: Consequence(Fault.CALLER, 401, False, False, False),
    FailureKind.FORBIDDEN: Consequence(Fault.CALLER, 403, False, False, False),
    FailureKind.NOT_FOUND: Consequence(Fault.CALLER, 404, False, False, False),
    FailureKind.REJECTED: Consequence(Fault.CALLER, 403, False, False, False),
    FailureKind.LIMIT_REACHED: Consequence(Fault.CALLER, 429, False, False, False),
    FailureKind.SATURATED: Consequence(Fault.OURS, 503, True, False, False),
    FailureKind.NO_CANDIDATE: Consequence(Fault.OURS, 503, False, False, False),
    FailureKind.PRIVACY_NO_ROUTE: Consequence(Fault.OURS, 503, False, False, False),
    FailureKind.UNSUPPORTED: Consequence(Fault.CALLER, 400, True, False, False),
    FailureKind.INTERNAL: Consequence(Fault.OURS, 500, False, False, False),
    FailureKind.TOO_LARGE: Consequence(Fault.CALLER, 400, True, False, False),
    FailureKind.CONTENT_REFUSED: Consequence(Fault.CALLER, 400, True, False, False),
    FailureKind.RATE_LIMITED: Consequence(Fault.PROVIDER, 429, True, True, False),
    FailureKind.OVERLOADED: Consequence(Fault.PROVIDER, 503, True, True, True),
    FailureKind.TIMEOUT: Consequence(Fault.PROVIDER, 504, True, False, True),
    FailureKind.UNREACHABLE: Consequence(Fault.PROVIDER, 502, True, True, True),
    FailureKind.PROVIDER_DENIED: Consequence(Fault.PROVIDER, 502, True, False, False),
    FailureKind.MODEL_UNAVAILABLE: Consequence(Fault.PROVIDER, 404, True, False, False),
    FailureKind.BAD_ANSWER: Consequence(Fault.PROVIDER, 502, True, True, True),
}

ALWAYS_FALL_BACK: frozenset[FailureKind] = frozenset({FailureKind.UNSUPPORTED, FailureKind.SATURATED})
"""Nothing was sent, so nobody has to allow the next one: the deployment's dialect cannot carry the request, or it is full."""

FALLBACK_KINDS: frozenset[FailureKind] = (
    frozenset(k for k, c in CONSEQUENCES.items() if c.fallback) - ALWAYS_FALL_BACK
)
"""What `fallback.on` may name. `content_refused` is among them, but never by default."""


_QUOTING = frozenset(
    {
        FailureKind.BAD_REQUEST, FailureKind.NOT_FOUND, FailureKind.UNSUPPORTED, FailureKind.TOO_LARGE,
        FailureKind.CONTENT_REFUSED,
    }
)  # fmt: skip
"""Our own messages about these say what is wrong with a request in its own words."""


class Failure(msgspec.Struct, frozen=True):
    """Something that did not work, as a value.

    ``message`` goes to the client: it holds no secret, no host name of a provider, no content of the request.
    ``detail`` goes to the operator's log: our own words, nothing of a request. ``said``: what the provider wrote, which may
    quote the request: for what is decided by it, and shown only where there was no request (`exchange.quotes`).
    ``status``: the provider's own status, None if there was none.
    ``code`` and ``param`` as the provider or we name them. ``retry_after_s``: when to come back, if known.
    ``retryable`` False forbids a retry of the same deployment even where the table allows it (a spent quota).
    """

    kind: FailureKind
    message: str
    detail: str = ""
    said: str = ""
    status: int | None = None
    code: str | None = None
    param: str | None = None
    retry_after_s: float | None = None
    retryable: bool = True

    @property
    def consequence(self) -> Consequence:
        return CONSEQUENCES[self.kind]

    @property
    def told(self) -> str:
        """What anybody but the client may read: nothing of a request. A message may hold some, whoever wrote it."""
        if self.detail:
            return self.detail
        if self.status is not None or self.said:
            return "no words" if self.status is None else f"status {self.status}"
        if self.kind in _QUOTING:
            return f"code {self.code}" if self.code else "left out, since it may quote the request"
        return self.message

    @property
    def client_status(self) -> int:
        """The HTTP status for the client. A provider's own 4xx about the request is kept; all else is the table's."""
        if self.kind is FailureKind.BAD_REQUEST and self.status in (408, 409, 413, 415, 422):
            return self.status
        return self.consequence.status


class ExchangeFailed(Exception):  # noqa: N818 - it is an outcome, not an error
    """A whole exchange failed: raised once by the exchange, caught once by the door."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.kind.value)
        self.failure = failure
