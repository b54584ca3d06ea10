"""One log line for each exchange: who answered, how long it took, what it cost. Never a word of what was said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from llmproxyd import logs
from llmproxyd.exchange.account import AttemptRecord, Ending, ExchangeRecord

_GATHER_S = 0.05


class ExchangeLog:
    """A sink of ``Account``. What is to be told is taken down at once, the lines are made in batches on the loop."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._rows: list[tuple[str, float, dict[str, Any]]] = []

    def __call__(self, record: ExchangeRecord) -> None:
        if not self._rows:
            asyncio.get_running_loop().call_later(_GATHER_S, self.flush)
        self._rows.append((_level(record), self._wall(), _fields(record)))

    def flush(self) -> None:
        rows, self._rows = self._rows, []
        logs.write_rows(rows)


def _level(record: ExchangeRecord) -> str:
    """Failures of providers are warnings; what the caller did wrong is merely noted."""
    if record.ending in (Ending.SERVED, Ending.CANCELLED):
        return "info"
    return "warning" if record.status >= 500 or record.ending is Ending.CUT else "info"


def _fields(record: ExchangeRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "event": "exchange",
        "request_id": record.request_id,
        "generation": record.generation,
        "surface": record.surface,
        "ending": record.ending.value,
        "status": record.status,
        "total_ms": _ms(record.total_s),
    }
    if record.request is not None:
        fields["model"] = record.request.model
        fields["operation"] = record.request.operation.value
        fields["stream"] = record.request.stream
        fields["bytes_in"] = len(record.request.body)
    if record.deployment is not None:
        fields["deployment"] = record.deployment.name
        fields["first_content_ms"] = _ms(record.first_content_s or 0.0)
        fields["overhead_ms"] = _ms(record.overhead_s)
        fields["bytes_out"] = record.bytes_out
    if record.cache != "off":
        fields["cache"] = record.cache
    if record.label:
        fields["label"] = record.label
    fields.update(_rare(record))
    if record.usage is not None:
        fields["input_tokens"] = record.usage.input_tokens
        fields["output_tokens"] = record.usage.output_tokens
    if record.cost_nanos is not None:
        fields["cost_nanos"] = record.cost_nanos
    if record.failure is not None:
        fields["failure"] = record.failure.kind.value
        fields["failure_detail"] = record.failure.told
    if len(record.attempts) > 1 or record.failure is not None or record.waited_s:
        fields["attempts"] = [_attempt(attempt) for attempt in record.attempts]
    fields["logger"] = "exchange"
    return fields


def _rare(record: ExchangeRecord) -> dict[str, Any]:
    """What most exchanges have nothing to say about."""
    told: dict[str, Any] = {}
    for name in ("tenant", "project", "user", "task"):
        if value := getattr(record, name):
            told[name] = value
    if record.waited_s:
        told["queued_ms"] = _ms(record.waited_s)
    if record.continued:
        told["continued"] = record.continued
    if record.disputed is not None:
        told["usage_disputed"] = record.disputed
    return told


def _attempt(attempt: AttemptRecord) -> dict[str, Any]:
    told: dict[str, Any] = {"deployment": attempt.deployment, "ms": _ms(attempt.duration_s)}
    if not attempt.sent:
        told["sent"] = False
    if attempt.hedge:
        told["hedge"] = True
    if attempt.waited_s:
        told["queued_ms"] = _ms(attempt.waited_s)
    if attempt.failure is not None:
        told["failure"] = attempt.failure.kind.value
        told["detail"] = attempt.failure.told
    return told


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
