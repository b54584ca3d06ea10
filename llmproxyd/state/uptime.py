"""How much of the last minutes, hour and day somebody was up: counts in three rings of buckets, of fixed size.

What is counted is one call, or one probe where nothing is called. Only the newest bucket is touched by a call; it is
poured into all rings when its ten seconds are over.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple

_FINEST_S = 10.0


class Shares(NamedTuple):
    """0..1 of what was counted within the last 5 minutes, hour and day; None: nothing was."""

    minutes_5: float | None
    hour_1: float | None
    hours_24: float | None


UNKNOWN = Shares(None, None, None)


class Uptime:
    """Two counters and three rings, about 3 KiB. Times are monotonic seconds."""

    __slots__ = ("_bad", "_end_s", "_good", "_rings")

    def __init__(self) -> None:
        self._good = 0
        self._bad = 0
        self._end_s = float("-inf")
        self._rings = (_Ring(_FINEST_S, 30), _Ring(60.0, 60), _Ring(900.0, 96))

    def count(self, up: bool, now_s: float) -> None:
        """One call or probe: it went well, or the provider failed."""
        if now_s >= self._end_s:
            self._pour()
            self._end_s = (now_s // _FINEST_S + 1) * _FINEST_S
        if up:
            self._good += 1
        else:
            self._bad += 1

    def _pour(self) -> None:
        if self._good or self._bad:
            for ring in self._rings:
                ring.add(self._end_s - _FINEST_S, self._good, self._bad)
            self._good = self._bad = 0

    def shares(self, now_s: float) -> Shares:
        """What is known at ``now_s``. A bucket counts until its beginning is older than the window."""
        self._pour()
        minutes, hour, day = (ring.share(now_s) for ring in self._rings)
        return Shares(minutes, hour, day)


class _Ring:
    """``size`` buckets of ``width_s`` each. A bucket remembers which slice of time it holds, so none is ever cleared."""

    __slots__ = ("_bad", "_good", "_slices", "_width_s")

    def __init__(self, width_s: float, size: int) -> None:
        self._width_s = width_s
        self._slices = array("q", [-1]) * size
        self._good = array("L", [0]) * size
        self._bad = array("L", [0]) * size

    def add(self, at_s: float, good: int, bad: int) -> None:
        number = int(at_s // self._width_s)
        place = number % len(self._slices)
        if self._slices[place] != number:
            self._slices[place], self._good[place], self._bad[place] = number, 0, 0
        self._good[place] += good
        self._bad[place] += bad

    def share(self, now_s: float) -> float | None:
        newest = int(now_s // self._width_s)
        oldest = newest - len(self._slices)
        good = bad = 0
        for place, number in enumerate(self._slices):
            if number > oldest and number >= 0:
                good += self._good[place]
                bad += self._bad[place]
        return good / (good + bad) if good + bad else None
