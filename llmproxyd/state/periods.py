"""The windows budgets are counted in: hours, days, weeks and months by the clock on the wall of a time zone.

A day may have 23 or 25 hours, and begins where its date does, even where midnight is skipped. An hour that a clock shows
twice is two windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from math import floor
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from llmproxyd.values.budget import Per

_HOUR_S: Final = 3600


class Window(msgspec.Struct, frozen=True):
    """[from_s, to_s), Unix seconds."""

    from_s: float
    to_s: float


class Period:
    """One kind of window in one zone. It remembers the last window it was asked for, since mostly that is the next."""

    __slots__ = ("_find", "_last", "_zone")

    def __init__(self, per: Per, zone: str) -> None:
        """Raises zoneinfo's errors for a zone the machine does not have: the configuration is checked before."""
        self._zone = ZoneInfo(zone)
        self._find = _FINDERS[per]
        self._last = Window(0.0, 0.0)

    def window(self, now_s: float) -> Window:
        """The window that holds ``now_s``, Unix seconds."""
        last = self._last
        if last.from_s <= now_s < last.to_s:
            return last
        # Windows begin at whole seconds; a datetime would round the last half microsecond of a day up into the next.
        found = self._last = self._find(floor(now_s), self._zone)
        return found


def _hour(now_s: int, zone: ZoneInfo) -> Window:
    offset = datetime.fromtimestamp(now_s, zone).utcoffset()
    assert offset is not None, "a zone has an offset at any time"
    # Counted from the offset, not from the face of the clock: that shows the hour before a change back twice.
    from_s = float(now_s - (now_s + int(offset.total_seconds())) % _HOUR_S)
    return Window(from_s, from_s + _HOUR_S)


def _day(now_s: int, zone: ZoneInfo) -> Window:
    today = datetime.fromtimestamp(now_s, zone).date()
    return _between(today, today + timedelta(days=1), zone)


def _week(now_s: int, zone: ZoneInfo) -> Window:
    today = datetime.fromtimestamp(now_s, zone).date()
    monday = today - timedelta(days=today.weekday())
    return _between(monday, monday + timedelta(days=7), zone)


def _month(now_s: int, zone: ZoneInfo) -> Window:
    first = datetime.fromtimestamp(now_s, zone).date().replace(day=1)
    return _between(first, (first + timedelta(days=31)).replace(day=1), zone)


def _between(first: date, after: date, zone: ZoneInfo) -> Window:
    return Window(_begin(first, zone), _begin(after, zone))


def _begin(day: date, zone: ZoneInfo) -> float:
    """When a date begins. A midnight that is skipped counts as the moment of the change; of two, the first."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


_FINDERS: Final[Mapping[Per, Callable[[int, ZoneInfo], Window]]] = {
    Per.HOUR: _hour,
    Per.DAY: _day,
    Per.WEEK: _week,
    Per.MONTH: _month,
}
