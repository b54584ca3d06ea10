"""Is there room at a provider: its calls at a time, requests per minute and tokens per minute, and when there will be.

Requests are paced by aiolimiter: a minute's worth may go at once, then they go evenly. Tokens have a bucket that may be
overdrawn, since only the answer tells what a call used. Who gets the room is decided elsewhere.
"""

from __future__ import annotations

from math import inf
from typing import Final

from aiolimiter import AsyncLimiter

from llmproxyd.values.snapshot import Limits

MINUTE_S: Final = 60.0

ASSUMED_HOLDING_S: Final = 1.0
"""How long a call takes as long as none has ended."""

_SAMPLE_WEIGHT: Final = 0.1

# A provider that claims an absurd usage closes its line for so long, not for ever.
_LONGEST_DEBT_MINUTES: Final = 10

_BISECTIONS: Final = 24


class Bucket:
    """``capacity`` tokens at most, refilled evenly within a minute. Times are monotonic seconds."""

    __slots__ = ("_filled_s", "_level", "capacity")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._level = float(capacity)
        self._filled_s = -inf

    def level(self, now_s: float) -> float:
        """What is there; negative while a debt is paid off."""
        if now_s > self._filled_s:
            refilled = (now_s - self._filled_s) * self.capacity / MINUTE_S
            self._level = min(self.capacity, self._level + refilled)
            self._filled_s = now_s
        return self._level

    def ready_in_s(self, tokens: int, now_s: float, *, ahead: float = 0.0) -> float:
        """How long until ``tokens`` may be taken, after ``ahead`` others; 0: now. More than the bucket holds may be
        taken when it is full."""
        missing = ahead + min(tokens, self.capacity) - self.level(now_s)
        return max(0.0, missing * MINUTE_S / self.capacity)

    def take(self, tokens: int, now_s: float) -> None:
        """Take ``tokens``, negative to give back; what is not there becomes debt."""
        level = self.level(now_s) - tokens
        self._level = min(self.capacity, max(level, -_LONGEST_DEBT_MINUTES * self.capacity))

    def resize(self, capacity: int, now_s: float) -> None:
        """The share that was used stays used, and so does a debt: changing the size to and fro refills nothing."""
        self._level = self.level(now_s) * capacity / self.capacity
        self.capacity = capacity


class Room:
    """What is left of one provider's limits, and who holds it. Used within one running event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.in_use = 0
        self._held = [0, 0, 0]
        self._entered_sum_s = 0.0
        self._holding_s: float | None = None
        requests, tokens = limits.requests_per_minute, limits.tokens_per_minute
        self._requests = None if requests is None else AsyncLimiter(requests, MINUTE_S)
        self._tokens = None if tokens is None else Bucket(tokens)

    def fits(self, tokens: int, now_s: float) -> bool:
        """One with so many tokens may enter now."""
        concurrency = self.limits.concurrency
        if concurrency is not None and self.in_use >= concurrency:
            return False
        if self._requests is not None and not self._requests.has_capacity():
            return False
        return self._tokens is None or self._tokens.ready_in_s(tokens, now_s) <= 0

    def lacks_s(self, tokens: int, now_s: float) -> float:
        """In how many seconds time alone makes room where it does not fit now; inf: somebody has to leave first."""
        concurrency = self.limits.concurrency
        if concurrency is not None and self.in_use >= concurrency:
            return inf
        wait_s = 0.0
        if self._requests is not None:
            wait_s = _ready_in_s(self._requests, 1.0)
        if self._tokens is not None:
            wait_s = max(wait_s, self._tokens.ready_in_s(tokens, now_s))
        return wait_s

    def enter(self, tokens: int, rank: int, now_s: float) -> None:
        """Take the room; it was found to fit, and nothing was awaited since."""
        self.in_use += 1
        self._held[rank] += 1
        self._entered_sum_s += now_s
        if self._requests is not None:
            _charge(self._requests, 1.0)
        if self._tokens is not None:
            self._tokens.take(tokens, now_s)

    def leave(self, rank: int, entered_s: float) -> None:
        self.in_use -= 1
        self._held[rank] -= 1
        # Starting from nothing again now and then keeps rounding errors from adding up.
        self._entered_sum_s = self._entered_sum_s - entered_s if self.in_use else 0.0

    def correct(self, tokens: int, now_s: float) -> None:
        """A call used so many tokens more than it was charged for; negative: fewer."""
        if self._tokens is not None and tokens:
            self._tokens.take(tokens, now_s)

    def observe(self, held_s: float) -> None:
        """A call held its place for so long."""
        known = self._holding_s
        self._holding_s = held_s if known is None else known + (held_s - known) * _SAMPLE_WEIGHT

    def expected_wait_s(self, ahead: float, cost: float, tokens: int, rank: int, now_s: float) -> float:
        """How long one with so many tokens waits behind ``ahead`` others who take ``cost`` tokens together."""
        wait_s = self._places_in_s(ahead + 1, rank, now_s)
        if self._requests is not None:
            wait_s = max(wait_s, _ready_in_s(self._requests, ahead + 1))
        if self._tokens is not None:
            wait_s = max(wait_s, self._tokens.ready_in_s(tokens, now_s, ahead=cost))
        return wait_s

    def adopt(self, limits: Limits, now_s: float) -> None:
        """New numbers from now on: what is held stays held, the share that was used stays used."""
        self.limits = limits
        requests, tokens = limits.requests_per_minute, limits.tokens_per_minute
        if requests is None:
            self._requests = None
        elif self._requests is None or self._requests.max_rate != requests:
            self._requests = _resized(self._requests, requests)
        if tokens is None:
            self._tokens = None
        elif self._tokens is None:
            self._tokens = Bucket(tokens)
        elif self._tokens.capacity != tokens:
            self._tokens.resize(tokens, now_s)

    def _places_in_s(self, wanted: float, rank: int, now_s: float) -> float:
        concurrency = self.limits.concurrency
        if concurrency is None:
            return 0.0
        missing = wanted - (concurrency - self.in_use)
        if missing <= 0:
            return 0.0
        # Higher classes go on coming: the places they hold now are those they will take again. One is left for us.
        above = min(concurrency, sum(self._held[:rank]))
        share = 1 - above / (concurrency + 1)
        return missing * self._expected_holding_s(now_s) / (concurrency * share)

    def _expected_holding_s(self, now_s: float) -> float:
        """Calls that do not end count too: they take at least as long as they have taken so far."""
        holding_s = ASSUMED_HOLDING_S if self._holding_s is None else self._holding_s
        if not self.in_use:
            return holding_s
        return max(holding_s, now_s - self._entered_sum_s / self.in_use)


def _charge(limiter: AsyncLimiter, amount: float) -> None:
    """Take ``amount``, for which there is capacity: then ``acquire`` ends without having waited for anything."""
    acquiring = limiter.acquire(amount)
    try:
        acquiring.send(None)
    except StopIteration:
        return
    acquiring.close()
    raise AssertionError("the limiter had capacity a moment ago")


def _free(limiter: AsyncLimiter, most: float) -> float:
    """How much of ``most`` has capacity now, from below. The limiter does not tell its level, only whether it suffices."""
    if limiter.has_capacity(most):
        return most
    low, high = 0.0, most
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if limiter.has_capacity(middle):
            low = middle
        else:
            high = middle
    return low


def _ready_in_s(limiter: AsyncLimiter, amount: float) -> float:
    """In how many seconds ``amount`` requests will have had capacity; 0: now."""
    missing = amount - _free(limiter, min(amount, limiter.max_rate))
    return missing * limiter.time_period / limiter.max_rate


def _resized(old: AsyncLimiter | None, requests: int) -> AsyncLimiter:
    """A limiter for another rate, as full as the old one by share: changing the rate to and fro refills nothing."""
    new = AsyncLimiter(requests, MINUTE_S)
    if old is not None:
        used_share = 1 - _free(old, old.max_rate) / old.max_rate
        _charge(new, used_share * requests)
    return new
