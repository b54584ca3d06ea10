"""What the ledger keeps: one entry per attempt, as an intent before it is sent and a settlement when it is over.

An entry holds no content, only who asked, who was asked, how much was counted and what it cost. Fields at their default
are not written to the journal.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import msgspec

from llmproxyd.values.cost import Usage

Outcome: TypeAlias = Literal["ok", "failed", "cut", "cancelled", "lost", "orphaned", "cached"]
"""How an attempt ended. ``cut``: in the middle of its answer. ``cancelled``: the client left. ``lost``: another attempt
won the hedge. ``orphaned``: the process died before the settlement. ``cached``: nobody was asked."""

SCOPE_FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "tenant": "tenant",
        "project": "project",
        "user": "user",
        "key": "key_id",
        "provider": "provider",
        "model": "model",
        "task": "task",
    }
)
"""What sums are kept for, and the field of an intent that names it. ``overall`` has no field and the name ``""``."""

SCOPES: Final = ("overall", *SCOPE_FIELDS)


class LedgerUnavailable(Exception):  # noqa: N818 - a state the caller answers with 503, not a bug
    """Nothing can be booked now, so nothing may be sent. The text says why; where a request is refused it names no path."""


class Intent(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """An attempt that is about to be sent. ``id``: request id, a dot and the attempt's number; never used again.

    ``at_s``: Unix seconds; the hour it falls into is the one that is charged. ``deployment``: the key of its state.
    ``reserved_nanos``: the most it can cost, which is what an orphan is booked with; None: the price is unknown.
    Empty text: nobody in particular, or not said.
    """

    id: str
    request_id: str
    at_s: float
    provider: str
    model: str
    upstream: str = ""
    deployment: str = ""
    operation: str = ""
    surface: str = ""
    stream: bool = False
    tenant: str = ""
    project: str = ""
    user: str = ""
    key_id: str = ""
    task: str = ""
    label: str = ""
    generation: int = 0
    reserved_nanos: int | None = None
    price_version: str = ""
    hedge: bool = False


class Settlement(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """How the attempt ``id`` ended, at ``at_s`` (Unix seconds).

    ``usage``: what the provider counted, or we did. ``cost_nanos`` None: unknown. ``saved_nanos``: what a cached answer
    would have cost. ``disputed``: why the provider's count is not believed; ``estimate`` is then ours beside it.
    ``first_content_s`` and ``total_s`` are seconds since the attempt began.
    """

    id: str
    at_s: float
    outcome: Outcome
    failure: str | None = None
    usage: Usage | None = None
    cost_nanos: int | None = None
    saved_nanos: int = 0
    disputed: str | None = None
    estimate: Usage | None = None
    first_content_s: float | None = None
    total_s: float | None = None

    @property
    def counted(self) -> Usage | None:
        """The tokens that count in sums and token limits: ours where the provider's are disputed."""
        if self.disputed is not None and self.estimate is not None:
            return self.estimate
        return self.usage or self.estimate


class Entry(msgspec.Struct, frozen=True, gc=False):
    intent: Intent
    settlement: Settlement


class Total(msgspec.Struct, frozen=True):
    """Sums over entries. ``unpriced``: how many of the ``attempts`` have no known cost and are missing in it."""

    attempts: int = 0
    tokens: int = 0
    cost_nanos: int = 0
    unpriced: int = 0


class LedgerHealth(msgspec.Struct, frozen=True):
    """Whether entries can be written; ``reason`` says what is wrong and what to do, empty when all is well."""

    ok: bool
    reason: str = ""


def orphan(intent: Intent, at_s: float) -> Settlement:
    """The settlement of an attempt nobody settled: the provider may have served it all, so it costs the most it can."""
    return Settlement(intent.id, at_s, "orphaned", cost_nanos=intent.reserved_nanos)
