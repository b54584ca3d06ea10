"""What a caller's key says of everything it sends: whose it is, and how well it must be kept. Before routing is asked.

What a client says of itself is a claim; where its key says otherwise, the request is refused rather than mended, because
one of the two is a mistake. Labels only rise, but for whoever may lower them, says so, and is written down for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec.structs import replace

from llmproxyd.exchange.account import ExchangeRecord
from llmproxyd.logs import get_logger
from llmproxyd.server.auth import Caller
from llmproxyd.server.question import read_claim
from llmproxyd.values.failure import ExchangeFailed, Failure, FailureKind
from llmproxyd.values.plan import Plan, Question
from llmproxyd.values.snapshot import Privacy, Tenant, VirtualKey

_LOWER: Final = "lower-label"
_audit = get_logger("audit")


def bind(question: Question, caller: Caller, headers: Mapping[str, str], privacy: Privacy) -> Question:
    """``question`` as the caller's tenant and key have it. Raises BadRequest for a header that cannot be understood, and
    ExchangeFailed (`forbidden`): ``claim_conflict``, or ``not_permitted`` for who may not lower labels."""
    lowered = read_claim(headers, _LOWER)
    tenant, key = caller.tenant, caller.key
    if lowered is None and tenant is None:
        return question
    changes: dict[str, Any] = {}
    if lowered is not None:
        if key is None or not key.may_lower:
            raise ExchangeFailed(_NOT_PERMITTED)
        changes["lowered"] = lowered
    if key is not None:
        changes |= _spoken_for(question, key)
    labels = tuple(_labels(tenant, key, privacy))
    if labels:
        changes["bound"] = labels
    return replace(question, **changes) if changes else question


def tell_lowered(record: ExchangeRecord, plan: Plan) -> None:
    """Who lowers a label answers for it."""
    _audit.warning(
        "label_lowered",
        request_id=record.request_id,
        tenant=record.tenant,
        key=record.key_id,
        label=plan.label,
        lowered_from=plan.lowered_from,
        sources=list(plan.label_sources),
    )


def _spoken_for(question: Question, key: VirtualKey) -> dict[str, str]:
    """The claims that the key makes itself, where the client has not made the same."""
    found = {}
    for name, bound in (("project", key.project), ("user", key.user)):
        claimed: str | None = getattr(question, name)
        if bound is None or claimed == bound:
            continue
        if claimed is not None:
            raise ExchangeFailed(_conflict(name))
        found[name] = bound
    return found


def _labels(tenant: Tenant | None, key: VirtualKey | None, privacy: Privacy) -> Iterator[tuple[int, str]]:
    """The ranks that all of the caller's requests have at least, and who says so."""
    if tenant is not None and tenant.label is not None:
        yield privacy.labels.index(tenant.label), f"tenant {tenant.name}"
    if key is not None and key.label is not None:
        yield privacy.labels.index(key.label), f"key {key.id}"


def _conflict(name: str) -> Failure:
    """Without the value that the key has: who shows a key does not have to know it."""
    header = f"x-llmproxyd-{name}"
    message = f"This key speaks for another {name} than the header {header} says. Leave the header out."
    return Failure(FailureKind.FORBIDDEN, message, code="claim_conflict", param=header)


_NOT_PERMITTED: Final = Failure(
    FailureKind.FORBIDDEN,
    "The header x-llmproxyd-lower-label needs a key that may lower labels; ask the operator of this proxy for one.",
    code="not_permitted",
    param="x-llmproxyd-lower-label",
)
