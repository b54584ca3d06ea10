"""How many attempts all exchanges together may add to their first ones: failures must not multiply the load.

A provider in trouble gets at most a fifth more calls than without trouble. Small loads get a fixed number, ten a second
as in Finagle's retry budget, or a burst that meets a provider's end could not be answered by another.
"""

from __future__ import annotations

from typing import Final

from llmproxyd.state.rolling import RollingSum

SPAN_S: Final = 10
REQUESTS_PER_EXTRA: Final = 5
FREE_EXTRAS: Final = 100


class RetryBudget:
    """Whenever an extra attempt begins as allowed here, the 10 s that end with it hold at most a fifth as many extras
    as requests, or 100 if that is more. Times are monotonic seconds."""

    __slots__ = ("_extras", "_requests")

    def __init__(self) -> None:
        self._requests = RollingSum(SPAN_S, at_least=False)
        self._extras = RollingSum(SPAN_S, at_least=True)

    def request(self, now_s: float) -> None:
        """An exchange began: its first attempt is free."""
        self._requests.add(now_s)

    def extra(self, now_s: float) -> None:
        """An attempt beyond the first began: a retry, a fallback or a hedge."""
        self._extras.add(now_s)

    def extra_from_s(self, now_s: float) -> float:
        """When one more may begin: ``now_s``, or later, if requests go on coming as they do. Ask again then."""
        allowed = max(FREE_EXTRAS, self._requests.total(now_s) // REQUESTS_PER_EXTRA)
        return self._extras.falls_to_s(allowed - 1, now_s)
