"""What an exchange came to: told to the registry at once, and to everybody else as one record at its end.

The record is what the log line, the metrics and later the ledger are made from. It holds no content.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec

from llmproxyd.state.registry import Outcome, Registry
from llmproxyd.values.cost import Usage
from llmproxyd.values.failure import Failure
from llmproxyd.values.request import Request
from llmproxyd.values.snapshot import Deployment


class Ending(StrEnum):
    SERVED = "served"
    FAILED = "failed"  # the client got an error
    CUT = "cut"  # the answer had begun and broke off
    CANCELLED = "cancelled"  # the client left


class AttemptRecord(msgspec.Struct, frozen=True):
    """One attempt, as the log tells it. Seconds are monotonic differences.

    ``sent`` False: it was refused before a byte left. ``hedge``: begun while another attempt still ran. ``waited_s``:
    in line for the provider.
    """

    deployment: str
    lane: str
    duration_s: float
    failure: Failure | None
    sent: bool = True
    hedge: bool = False
    waited_s: float = 0.0


class ExchangeRecord(msgspec.Struct):
    """One exchange. Seconds are differences; ``overhead_s`` is the time up to the commit that was ours, not the
    provider's. ``cost_nanos`` None: unknown. ``project``, ``user`` and ``task``: what the caller said of itself; like
    ``tenant`` and ``key_id`` empty: nobody in particular. ``disputed``: why the usage told is not believed.
    ``waited_s``: in lines for providers, all attempts together. ``continued``: how often another deployment took up a
    stream that had broken off. ``cache``: what it did, as the client is told."""

    request_id: str
    generation: int
    request: Request | None = None
    surface: str = ""
    ending: Ending = Ending.FAILED
    status: int = 0
    deployment: Deployment | None = None
    label: str = ""
    attempts: list[AttemptRecord] = msgspec.field(default_factory=list)
    failure: Failure | None = None
    usage: Usage | None = None
    cost_nanos: int | None = None
    first_content_s: float | None = None
    total_s: float = 0.0
    overhead_s: float = 0.0
    bytes_out: int = 0
    project: str = ""
    user: str = ""
    task: str = ""
    tenant: str = ""
    key_id: str = ""
    disputed: str | None = None
    waited_s: float = 0.0
    continued: int = 0
    cache: str = "off"

    @property
    def sent(self) -> int:
        """How many attempts, of those that are over, really went out."""
        return sum(attempt.sent for attempt in self.attempts)


class Account:
    """Hands every attempt to the registry and every finished exchange to ``sinks``."""

    def __init__(
        self,
        registry: Registry,
        *,
        sinks: tuple[Callable[[ExchangeRecord], None], ...] = (),
    ) -> None:
        self._registry = registry
        self._sinks = sinks

    def begin(self, deployment: Deployment, now_s: float) -> None:
        """An attempt is about to be sent."""
        self._registry.started(deployment, now_s)

    def settle(self, deployment: Deployment, outcome: Outcome, now_s: float) -> None:
        """An attempt is over; once for each ``begin``."""
        self._registry.ended(deployment, outcome, now_s)

    def close(self, record: ExchangeRecord) -> None:
        for sink in self._sinks:
            sink(record)
