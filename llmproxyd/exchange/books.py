"""Money around every attempt: room in the budgets and an entry in the ledger before it is sent, both settled after it.

What an attempt cost is what its provider said it used, at the price in force; where it said nothing we estimate and say
so, and where what it said cannot be true our own count stands in its place and the reason beside it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol

import msgspec

from llmproxyd.exchange.account import ExchangeRecord
from llmproxyd.exchange.attempt import RunningAttempt
from llmproxyd.exchange.dispute import Estimate, Judged, judge
from llmproxyd.routing.bound import price_in_force
from llmproxyd.state.budgets import Budgets, Later, Reservation
from llmproxyd.values.budget import Bound, Who
from llmproxyd.values.cost import Usage, cost_of
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.ledger import Intent, LedgerUnavailable, Outcome, Settlement
from llmproxyd.values.request import Operation
from llmproxyd.values.snapshot import Deployment

_RETRY_AFTER_S = 5.0

_UNSERVED = frozenset(
    {
        FailureKind.UNREACHABLE,
        FailureKind.RATE_LIMITED,
        FailureKind.OVERLOADED,
        FailureKind.PROVIDER_DENIED,
        FailureKind.MODEL_UNAVAILABLE,
        FailureKind.TOO_LARGE,
        FailureKind.BAD_REQUEST,
        FailureKind.CONTENT_REFUSED,
        FailureKind.NOT_FOUND,
        FailureKind.UNSUPPORTED,
    }
)
"""A provider that refused a call has served nothing, and charges nothing. After a silence, or an answer that broke off,
nobody knows: then it is estimated, unless not a byte of the request had gone out."""


class LedgerLike(Protocol):
    def begin(self, intent: Intent) -> None:
        """Raises LedgerUnavailable."""
        ...

    def settle(self, settlement: Settlement) -> None: ...


class Booking(msgspec.Struct, frozen=True):
    """An attempt that is in the books. ``id``: of its entry."""

    id: str
    reservation: Reservation | None


class Counted(msgspec.Struct, frozen=True, gc=False):
    """What an attempt came to. ``usage`` None: nothing was served. ``cost_nanos`` None: unknown."""

    usage: Usage | None
    cost_nanos: int | None
    disputed: str | None = None
    estimate: Usage | None = None


class Books:
    """``ledger`` None: nothing is kept (tests of other things). ``wall``: Unix seconds."""

    def __init__(self, budgets: Budgets, ledger: LedgerLike | None, *, wall: Callable[[], float]) -> None:
        self._budgets = budgets
        self.ledger = ledger
        self._wall = wall

    def open(
        self,
        record: ExchangeRecord,
        deployment: Deployment,
        bound: Callable[[Deployment, float], Bound],
        *,
        number: int,
        hedge: bool,
        patience_s: float,
    ) -> Booking | Failure | Later:
        """Before an attempt is sent. ``bound``: the most it can come to, by deployment and time. ``number`` counts the
        attempts of its exchange. Failure: it may not be sent; Later: not yet."""
        wall_s = self._wall()
        most = bound(deployment, wall_s)
        reservation: Reservation | None = None
        if self._budgets.active:
            who = Who(record.tenant, record.project, record.user, record.key_id)
            reserved = self._budgets.reserve(
                who, deployment, most.nanos, most.tokens, wall_s, patience_s=patience_s
            )
            if not isinstance(reserved, Reservation):
                return reserved
            reservation = reserved
        booking = Booking(f"{record.request_id}.{number}", reservation)
        if self.ledger is not None:
            try:
                intent = _intent(
                    booking.id,
                    record,
                    wall_s,
                    provider=deployment.provider.name,
                    model=deployment.model,
                    reserved_nanos=most.nanos,
                    upstream=deployment.upstream,
                    deployment=deployment.key,
                    price_version="" if deployment.prices is None else deployment.prices.version,
                    hedge=hedge,
                )
                self.ledger.begin(intent)
            except LedgerUnavailable as unavailable:
                if reservation is not None:
                    reservation.release()
                return _cannot_book(unavailable)
        return booking

    def settle(
        self,
        booking: Booking,
        running: RunningAttempt,
        counted: Counted,
        outcome: Outcome,
        failure: Failure | None,
        total_s: float,
    ) -> None:
        """Once for each booking, however the attempt ended."""
        usage = counted.usage
        if booking.reservation is not None:
            tokens = 0 if usage is None else usage.input_tokens + usage.output_tokens
            booking.reservation.settle(counted.cost_nanos, tokens)
        if self.ledger is None:
            return
        first_s = None if running.first_content_s is None else running.first_content_s - running.started_s
        self.ledger.settle(
            Settlement(
                id=booking.id,
                at_s=self._wall(),
                outcome=outcome,
                failure=None if failure is None else failure.kind.value,
                usage=usage,
                cost_nanos=counted.cost_nanos,
                disputed=counted.disputed,
                estimate=counted.estimate,
                first_content_s=first_s,
                total_s=total_s,
            )
        )

    def keep(
        self, record: ExchangeRecord, deployment: str, usage: Usage | None, saved_nanos: int | None
    ) -> None:
        """An answer was given again, or shared: nobody was asked, nothing is owed. ``saved_nanos``: what it would have
        cost. ``deployment``: who once gave it."""
        if self.ledger is None:
            return
        wall_s = self._wall()
        provider, _, model = deployment.partition("/")
        entry_id = f"{record.request_id}.cached"
        intent = _intent(entry_id, record, wall_s, provider=provider, model=model, reserved_nanos=0)
        settled = Settlement(
            entry_id, wall_s, "cached", usage=usage, cost_nanos=0, saved_nanos=saved_nanos or 0
        )
        # A ledger that cannot write says so itself, and is asked before money is spent; this costs none.
        with contextlib.suppress(LedgerUnavailable):
            self.ledger.begin(intent)
            self.ledger.settle(settled)

    def count(
        self, running: RunningAttempt, failure: Failure | None, tokens_in: Callable[[Deployment], int]
    ) -> Counted:
        """What the attempt came to. ``tokens_in``: our own count of the prompt, asked only where it is needed."""
        told, operation = running.usage, running.operation
        if operation is Operation.COUNT_TOKENS:
            return Counted(None, 0)
        refused = failure is not None and failure.kind in _UNSERVED
        if told is None and (refused or not running.sent):
            return Counted(None, 0)
        judged = _judge(running, told, tokens_in)
        disputed_by = judged.usage if judged.disputed is not None else None
        return Counted(judged.usage, self._price(running.deployment, judged), judged.disputed, disputed_by)

    def _price(self, deployment: Deployment, judged: Judged) -> int | None:
        usage = judged.usage
        if not deployment.provider.cost_tracking:
            return None
        if usage.cost_nanos is not None and judged.disputed is None:
            return max(0, usage.cost_nanos)
        price = price_in_force(deployment, self._wall())
        return None if price is None else cost_of(usage, price)


def _judge(running: RunningAttempt, told: Usage | None, tokens_in: Callable[[Deployment], int]) -> Judged:
    if running.operation is Operation.EMBEDDING and told is not None and told.input_tokens > 0:
        return Judged(told, told=told, estimated=told.estimated)  # nothing is generated, and that is no lie
    return judge(
        told, lambda: Estimate(tokens_in(running.deployment), running.estimate_output(), running.bytes_read)
    )


def _intent(
    entry_id: str,
    record: ExchangeRecord,
    wall_s: float,
    *,
    provider: str,
    model: str,
    reserved_nanos: int | None,
    upstream: str = "",
    deployment: str = "",
    price_version: str = "",
    hedge: bool = False,
) -> Intent:
    request = record.request
    assert request is not None, "an attempt has a request"
    # Not all by name: with more than fifteen names a call costs Python eight times as much.
    return Intent(
        entry_id,
        record.request_id,
        wall_s,
        provider,
        model,
        upstream,
        deployment,
        request.operation.value,
        record.surface,
        request.stream,
        tenant=record.tenant,
        project=record.project,
        user=record.user,
        key_id=record.key_id,
        task=record.task,
        label=record.label,
        generation=record.generation,
        reserved_nanos=reserved_nanos,
        price_version=price_version,
        hedge=hedge,
    )


def _cannot_book(unavailable: LedgerUnavailable) -> Failure:
    return Failure(
        FailureKind.SATURATED,
        f"What this would cost cannot be booked at the moment, so it was not sent: {unavailable}",
        code="ledger_unavailable",
        retry_after_s=_RETRY_AFTER_S,
    )
