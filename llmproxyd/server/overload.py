"""When to say no at once, so that those who got a yes are served well.

A daemon that takes on more than it can do is late for everybody. Two signs say that it does: its event loop comes late
to its own appointments, and too many exchanges are in hand. The least urgent are turned away first, with a time to come
back; what has been admitted is never touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.request import Priority

BEAT_S = 0.05
MAX_IN_FLIGHT = 4_000

# Who is turned away from which lag on; it takes half of that to be let in again, or the doors would flap.
_LAG_LIMIT_S: tuple[tuple[Priority, float], ...] = (
    (Priority.BATCH, 0.1),
    (Priority.NORMAL, 0.25),
    (Priority.INTERACTIVE, 1.0),
)
_CALM_AGAIN = 0.5
# Of the places in hand, how many each may fill.
_SHARE: Mapping[Priority, float] = {
    Priority.BATCH: 0.6,
    Priority.NORMAL: 0.9,
    Priority.INTERACTIVE: 1.0,
}
_RANK: Mapping[Priority, int] = {priority: rank for rank, (priority, _) in enumerate(_LAG_LIMIT_S)}
# Weight of the newest beat: a single late one (a file read, a collection) is no overload, three in a row are.
_NEWEST = 0.3
_SHORTEST_S, _LONGEST_S = 1.0, 5.0


class Overload:
    """``in_flight``: exchanges in hand, counted by whoever runs them with ``began`` and ``ended``. ``lag_s``: how late the
    loop is, smoothed. ``shed``: how many were turned away so far, by priority. ``clock``: monotonic seconds, the loop's.
    """

    def __init__(self, clock: Callable[[], float], *, max_in_flight: int = MAX_IN_FLIGHT) -> None:
        self._clock = clock
        self._max_in_flight = max_in_flight
        self._places = {priority: int(max_in_flight * share) for priority, share in _SHARE.items()}
        self._crowded = min(self._places.values())
        self._level = 0  # so many of the priorities, from the least urgent on, are turned away for lag
        self._due_s: float | None = None
        self._beat: asyncio.TimerHandle | None = None
        self.in_flight = 0
        self.lag_s = 0.0
        self.shed: dict[Priority, int] = dict.fromkeys(Priority, 0)

    # --- per request ----------------------------------------------------------------------------------------

    def refusal(self, priority: Priority, now_s: float) -> Failure | None:
        """None: come in. Else why not, and when to come again (1 to 5 seconds)."""
        if self._due_s is not None and now_s > self._due_s + _LAG_LIMIT_S[-1][1]:
            # Long overdue, and still behind others in the loop's line: that it is late need not wait for it.
            self._observe(now_s - self._due_s)
            self._due_s = now_s
        if not self._level and self.in_flight < self._crowded:
            return None
        if self._level > _RANK[priority]:
            return self._turn_away(priority, "it answers too slowly as it is")
        if self.in_flight >= self._places[priority]:
            return self._turn_away(priority, f"{self.in_flight} requests are in hand")
        return None

    def began(self) -> None:
        self.in_flight += 1

    def ended(self) -> None:
        self.in_flight -= 1

    @property
    def pressure(self) -> float:
        """0 idle, 1 as much as can be borne, more beyond that."""
        return max(self.in_flight / self._max_in_flight, self.lag_s / _LAG_LIMIT_S[-1][1])

    def _turn_away(self, priority: Priority, why: str) -> Failure:
        self.shed[priority] += 1
        pressure = min(1.0, self.pressure)
        return Failure(
            FailureKind.SATURATED,
            f"llmproxyd is overloaded ({why}): requests of priority {priority.value} must wait.",
            detail=f"in flight {self.in_flight}, loop lag {self.lag_s * 1000:.0f} ms",
            code="overloaded",
            retry_after_s=_SHORTEST_S + (_LONGEST_S - _SHORTEST_S) * pressure,
        )

    # --- the beat -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to measure the running loop, until ``stop``."""
        self._schedule(asyncio.get_running_loop())

    def stop(self) -> None:
        if self._beat is not None:
            self._beat.cancel()
        self._beat = self._due_s = None

    def beat(self, now_s: float) -> None:
        """The loop has come to the appointment it had."""
        if self._due_s is not None:
            self._observe(max(0.0, now_s - self._due_s))
        self._due_s = now_s + BEAT_S

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self.beat(self._clock())
        self._beat = loop.call_later(BEAT_S, self._schedule, loop)

    def _observe(self, late_s: float) -> None:
        self.lag_s += _NEWEST * (late_s - self.lag_s)
        level = self._level
        while level < len(_LAG_LIMIT_S) and self.lag_s > _LAG_LIMIT_S[level][1]:
            level += 1
        while level and self.lag_s < _LAG_LIMIT_S[level - 1][1] * _CALM_AGAIN:
            level -= 1
        self._level = level
