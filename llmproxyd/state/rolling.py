"""A sum over the last seconds, in slots of a tenth of a second: its size does not grow with the rate."""

from __future__ import annotations

from typing import Final

SLOTS_PER_S: Final = 10


class RollingSum:
    """What was added within the last ``span_s`` seconds. Times are monotonic seconds; one that goes back counts as now.

    Slots cannot be cut, so one edge is off by up to a slot. ``at_least``: what is up to 0.1 s older counts too, and a
    bound kept on the sum holds in every span that ends now. Otherwise the last slot is left out: whatever is counted
    is certainly within the span.
    """

    __slots__ = ("_size", "_slots", "_tick", "_total")

    def __init__(self, span_s: int, *, at_least: bool) -> None:
        self._size = span_s * SLOTS_PER_S + at_least
        self._slots = [0] * self._size
        self._tick = 0
        self._total = 0

    def add(self, now_s: float, amount: int = 1) -> None:
        tick = int(now_s * SLOTS_PER_S)
        if tick > self._tick:
            self._advance(tick)
        self._slots[self._tick % self._size] += amount
        self._total += amount

    def take_back(self, added_s: float, amount: int, now_s: float) -> None:
        """Undo part of what was added at ``added_s``; what has left the span since then is left alone."""
        self._advance(int(now_s * SLOTS_PER_S))
        tick = min(int(added_s * SLOTS_PER_S), self._tick)
        if tick <= self._tick - self._size:
            return
        place = tick % self._size
        amount = min(amount, self._slots[place])
        self._slots[place] -= amount
        self._total -= amount

    def total(self, now_s: float) -> int:
        tick = int(now_s * SLOTS_PER_S)
        if tick > self._tick:
            self._advance(tick)
        return self._total

    def falls_to_s(self, target: int, now_s: float) -> float:
        """When the sum will be ``target`` or less if nothing is added: ``now_s`` if it is already."""
        left = self.total(now_s)
        if left <= target:
            return now_s
        for tick in range(self._tick + 1, self._tick + self._size + 1):
            left -= self._slots[tick % self._size]
            if left <= target:
                return tick / SLOTS_PER_S
        return (self._tick + self._size) / SLOTS_PER_S

    def _advance(self, tick: int) -> None:
        """Empty the slots between the last tick and ``tick``: they belong to it and those before it now."""
        gone = tick - self._tick
        if gone <= 0:
            return
        self._tick = tick
        if gone >= self._size or not self._total:
            if self._total:
                self._slots = [0] * self._size
                self._total = 0
            return
        for old in range(tick - gone + 1, tick + 1):
            place = old % self._size
            self._total -= self._slots[place]
            self._slots[place] = 0
