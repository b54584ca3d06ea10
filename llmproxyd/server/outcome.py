"""What the attempts of an exchange amount to: who stood in for whom, what was tried again, how hedges ended. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from llmproxyd.exchange.account import AttemptRecord, Ending, ExchangeRecord
from llmproxyd.values.failure import FailureKind


class Failover(msgspec.Struct, frozen=True):
    """``origin`` failed, ``to`` answered; both are names of deployments. ``failure``: of the first that failed."""

    origin: str
    to: str
    failure: FailureKind


def find_failover(record: ExchangeRecord) -> Failover | None:
    """An exchange that was answered although another deployment, which was really called, had failed.

    One that answered at the second try is a retry, one that was passed over because it is known to be ill is neither.
    """
    answered = record.deployment
    if answered is None or record.ending is Ending.FAILED or len(record.attempts) < 2:
        return None
    for attempt in record.attempts:
        if attempt.sent and attempt.failure is not None and attempt.deployment != answered.name:
            return Failover(attempt.deployment, answered.name, attempt.failure.kind)
    return None


def find_retries(record: ExchangeRecord) -> Iterator[AttemptRecord]:
    """Attempts with a deployment that had been called in this exchange before."""
    called: set[str] = set()
    for attempt in record.attempts:
        if not attempt.sent:
            continue
        if attempt.deployment in called:
            yield attempt
        called.add(attempt.deployment)


def judge_hedge(attempt: AttemptRecord, record: ExchangeRecord) -> str:
    """``won``: its answer was the client's; ``failed``; ``lost``: the other was first, or the client had left."""
    if attempt.failure is not None:
        return "failed"
    answered = record.deployment
    return "won" if answered is not None and answered.name == attempt.deployment else "lost"
