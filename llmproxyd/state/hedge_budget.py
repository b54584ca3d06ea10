"""How many hedges, and for how much money, all exchanges together may begin: each policy's shares over a minute."""

from __future__ import annotations

from typing import Final

from llmproxyd.state.rolling import RollingSum
from llmproxyd.values.snapshot import HedgePolicy

SPAN_S: Final = 60

# A share of 0.29 of 100 is 28.999…96 in floating point, and meant is 29.
_ROUNDING: Final = 1e-9


class HedgeBudget:
    """Counts requests and hedges of the last minute, and what they cost in nanos. Times are monotonic seconds."""

    __slots__ = ("_hedge_nanos", "_hedges", "_request_nanos", "_requests")

    def __init__(self) -> None:
        self._requests = RollingSum(SPAN_S, at_least=False)
        self._request_nanos = RollingSum(SPAN_S, at_least=False)
        self._hedges = RollingSum(SPAN_S, at_least=True)
        self._hedge_nanos = RollingSum(SPAN_S, at_least=True)

    def request(self, now_s: float, nanos: int) -> None:
        """A request began, or was settled: ``nanos`` is what it costs without hedges."""
        self._requests.add(now_s)
        if nanos:
            self._request_nanos.add(now_s, nanos)

    def hedge(self, now_s: float, nanos: int) -> None:
        """A hedge began that costs ``nanos`` at most."""
        self._hedges.add(now_s)
        if nanos:
            self._hedge_nanos.add(now_s, nanos)

    def paid(self, now_s: float, nanos: int, *, hedge: bool) -> None:
        """What an attempt, counted when it began, came to."""
        if nanos:
            (self._hedge_nanos if hedge else self._request_nanos).add(now_s, nanos)

    def allows(self, policy: HedgePolicy, now_s: float) -> bool:
        """Whether one more hedge stays within both shares. What it will cost is taken from the hedges before it, or from
        the requests while there is none."""
        requests, hedges = self._requests.total(now_s), self._hedges.total(now_s)
        if hedges + 1 > policy.max_share * requests + _ROUNDING:
            return False
        request_nanos, hedge_nanos = self._request_nanos.total(now_s), self._hedge_nanos.total(now_s)
        one_more = hedge_nanos / hedges if hedges else request_nanos / requests
        return hedge_nanos + one_more <= policy.max_spend * request_nanos * (1 + _ROUNDING)
