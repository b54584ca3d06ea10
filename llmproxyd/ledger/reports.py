"""What was spent, on what, and what the month will come to: questions to the ledger, with or without a daemon.

Sums come from the ledger's hours, which outlive its entries; so a window runs from hour to hour. Single requests come from
the entries, as long as they are kept.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from math import ceil
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from llmproxyd.ledger.rows import HOUR_S, hour_of, parse_usage
from llmproxyd.ledger.store import LedgerReader
from llmproxyd.values.cost import Usage
from llmproxyd.values.ledger import SCOPE_FIELDS

MAX_ROWS: Final = 1000
OTHERS: Final = "(others)"
RATE_DAYS: Final = 7
"""The projection goes by whole weeks, because few bills are the same on a Sunday as on a Monday."""

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY_S: Final = 86_400

_BY_NAME: Final = """
SELECT name, sum(attempts), sum(input_tokens), sum(output_tokens), sum(cost_nanos), sum(saved_nanos), sum(unpriced)
FROM hours WHERE scope = ? AND hour_s >= ? AND hour_s < ?
GROUP BY name ORDER BY sum(cost_nanos) DESC, sum(attempts) DESC, name LIMIT ?
"""
_BY_HOUR: Final = """
SELECT hour_s, attempts, input_tokens, output_tokens, cost_nanos, saved_nanos, unpriced
FROM hours WHERE scope = 'overall' AND hour_s >= ? AND hour_s < ? ORDER BY hour_s
"""
_IN_ALL: Final = """
SELECT coalesce(sum(attempts), 0), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0),
       coalesce(sum(cost_nanos), 0), coalesce(sum(saved_nanos), 0), coalesce(sum(unpriced), 0)
FROM hours WHERE scope = 'overall' AND hour_s >= ? AND hour_s < ?
"""
_FIRST_HOUR: Final = "SELECT min(hour_s) FROM hours WHERE scope = 'overall'"
# The one max() makes all that is not summed up come from the dearest attempt of each request.
_TOP: Final = """
SELECT request_id, at_s, sum(cost_nanos) AS cost_nanos, max(cost_nanos), count(*) AS attempts, provider, model, tenant,
       project, user, task, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens
FROM entries WHERE at_s >= ? AND at_s < ? GROUP BY request_id HAVING sum(cost_nanos) > 0
ORDER BY sum(cost_nanos) DESC, request_id LIMIT ?
"""
# The newest first, page by page behind the last row of the page before: no long transaction, bounded memory.
_ANSWERED: Final = """
SELECT seq, at_s, provider, model, operation, task, label, outcome, cost_nanos, disputed, usage, estimate
FROM entries WHERE (at_s, seq) < (?, ?) AND at_s >= ? ORDER BY at_s DESC, seq DESC LIMIT 1000
"""
_BILLED: Final = """
SELECT date(at_s, 'unixepoch') AS day, model, upstream, sum(input_tokens) AS input_tokens,
       sum(output_tokens) AS output_tokens, sum(cost_nanos) AS cost_nanos, sum(cost_nanos IS NULL) AS unpriced
FROM entries WHERE provider = ? AND at_s >= ? AND at_s < ? AND outcome <> 'cached'
GROUP BY date(at_s, 'unixepoch'), model, upstream
"""
_PROVIDERS: Final = "SELECT DISTINCT name FROM hours WHERE scope = 'provider' ORDER BY name LIMIT 1000"


class Window(msgspec.Struct, frozen=True):
    """From ``since_s`` up to, and without, ``until_s``: Unix seconds."""

    since_s: float
    until_s: float

    @property
    def hours(self) -> tuple[int, int]:
        """The whole hours that it touches."""
        return hour_of(self.since_s), ceil(self.until_s / HOUR_S) * HOUR_S


class Sums(msgspec.Struct, frozen=True):
    """What some attempts came to. ``cost_nanos`` leaves out the ``unpriced`` attempts, whose cost is unknown;
    ``saved_nanos`` is what answers from the cache would have cost."""

    attempts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nanos: int = 0
    saved_nanos: int = 0
    unpriced: int = 0

    def plus(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, name) + getattr(other, name) for name in self.__struct_fields__))

    def minus(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, name) - getattr(other, name) for name in self.__struct_fields__))


class Row(msgspec.Struct, frozen=True):
    """One line of a report. ``name`` empty: nobody in particular, or not said."""

    name: str
    sums: Sums


class Projection(msgspec.Struct, frozen=True):
    """What the month will come to: what was ``spent_nanos`` so far, and the rest of it at the pace of the days that
    ``rate_from_s`` begins (Unix seconds). None: the ledger is empty."""

    month: str
    spent_nanos: int
    rate_from_s: float
    rate_nanos_per_day: int | None
    expected_nanos: int | None


class TopRequest(msgspec.Struct, frozen=True):
    """One request: its money, tokens and attempts together; the rest is that of its dearest attempt."""

    request_id: str
    at_s: float
    cost_nanos: int
    attempts: int
    provider: str
    model: str
    tenant: str
    project: str
    user: str
    task: str
    input_tokens: int
    output_tokens: int


class Spent(msgspec.Struct, frozen=True):
    """One attempt, as far as it matters for what others would have cost. ``usage`` None: nothing was counted."""

    at_s: float
    provider: str
    model: str
    operation: str
    task: str
    label: str
    outcome: str
    cost_nanos: int | None
    usage: Usage | None


class Billed(msgspec.Struct, frozen=True):
    """What the ledger has for one model on one day (UTC, ISO date) at one provider."""

    day: str
    model: str
    upstream: str
    input_tokens: int
    output_tokens: int
    cost_nanos: int
    unpriced: int


# --- sums -------------------------------------------------------------------------------------------------------


def in_all(reader: LedgerReader, window: Window) -> Sums:
    """Everything in the hours of ``window``. Raises LedgerUnreadable."""
    [row] = reader.query(_IN_ALL, window.hours)
    return Sums(*row)


def sums_by(reader: LedgerReader, by: str, window: Window, zone: ZoneInfo) -> tuple[Row, ...]:
    """One row for each name of the dimension ``by``, dearest first; for each ``day`` or ``hour-of-week`` of the zone's
    calendar, in its order. What comes behind MAX_ROWS names is one row. Raises LedgerUnreadable."""
    if by in CALENDAR:
        return _by_calendar(reader, CALENDAR[by], window, zone)
    rows = reader.query(_BY_NAME, (by, *window.hours, MAX_ROWS + 1))
    found = [Row(name, Sums(*sums)) for name, *sums in rows]
    if len(found) <= MAX_ROWS:
        return tuple(found)
    kept = found[:MAX_ROWS]
    return (*kept, Row(OTHERS, in_all(reader, window).minus(add(row.sums for row in kept))))


def add(sums: Iterable[Sums]) -> Sums:
    total = Sums()
    for one in sums:
        total = total.plus(one)
    return total


def _day_of(local: datetime) -> tuple[int, str]:
    return local.toordinal(), local.date().isoformat()


def _hour_of_week(local: datetime) -> tuple[int, str]:
    return local.weekday() * 24 + local.hour, f"{_DAYS[local.weekday()]} {local.hour:02d}"


CALENDAR: Final[dict[str, Callable[[datetime], tuple[int, str]]]] = {
    "day": _day_of,
    "hour-of-week": _hour_of_week,
}
"""Dimension -> (order, name) of an hour that begins at this local time."""
DIMENSIONS: Final = (*SCOPE_FIELDS, *CALENDAR)


def _by_calendar(
    reader: LedgerReader, name_of: Callable[[datetime], tuple[int, str]], window: Window, zone: ZoneInfo
) -> tuple[Row, ...]:
    found: dict[tuple[int, str], Sums] = {}
    for hour_s, *sums in reader.query(_BY_HOUR, window.hours):
        key = name_of(datetime.fromtimestamp(hour_s, zone))
        found[key] = found.get(key, Sums()).plus(Sums(*sums))
    return tuple(Row(name, sums) for (_, name), sums in sorted(found.items()))


# --- the month --------------------------------------------------------------------------------------------------


def month_of(now_s: float, zone: ZoneInfo) -> Window:
    """The calendar month that ``now_s`` is in, in the zone."""
    local = datetime.fromtimestamp(now_s, zone)
    first = datetime(local.year, local.month, 1, tzinfo=zone)
    later = first.replace(tzinfo=None) + timedelta(days=32)
    following = datetime(later.year, later.month, 1, tzinfo=zone)
    return Window(first.timestamp(), following.timestamp())


def project(reader: LedgerReader, now_s: float, zone: ZoneInfo) -> Projection:
    """What the running month will come to by its end. Raises LedgerUnreadable.

    spent so far + pace x days left, where the pace is the mean of the last RATE_DAYS days; of a ledger that is younger, of
    the time since its first entry, at least a day.
    """
    month = month_of(now_s, zone)
    spent = in_all(reader, Window(month.since_s, now_s)).cost_nanos
    name = datetime.fromtimestamp(month.since_s, zone).strftime("%Y-%m")
    [row] = reader.query(_FIRST_HOUR)
    if row[0] is None:
        return Projection(name, spent, now_s, None, None)
    from_s = float(hour_of(min(max(row[0], now_s - RATE_DAYS * _DAY_S), now_s - _DAY_S)))
    lately = in_all(reader, Window(from_s, now_s)).cost_nanos
    covered_s = max(1, round(now_s - from_s))
    left_s = max(0, round(month.until_s - now_s))
    return Projection(name, spent, from_s, lately * _DAY_S // covered_s, spent + lately * left_s // covered_s)


# --- single requests --------------------------------------------------------------------------------------------


def top_requests(reader: LedgerReader, window: Window, limit: int) -> tuple[TopRequest, ...]:
    """The dearest requests that began in ``window``, all their attempts together. Raises LedgerUnreadable."""
    rows = reader.query(_TOP, (window.since_s, window.until_s, limit))
    return tuple(TopRequest(**{name: row[name] for name in TopRequest.__struct_fields__}) for row in rows)


def spent(reader: LedgerReader, window: Window, limit: int) -> Iterator[Spent]:
    """The attempts that began in ``window``, newest first, at most ``limit``. Raises LedgerUnreadable."""
    after: tuple[float, int] = (window.until_s, -1)
    while limit > 0 and (page := reader.query(_ANSWERED, (*after, window.since_s))):
        for row in page[:limit]:
            yield _spent(row)
        limit -= len(page)
        after = page[-1]["at_s"], page[-1]["seq"]


def _spent(row: sqlite3.Row) -> Spent:
    usage, estimate = parse_usage(row["usage"]), parse_usage(row["estimate"])
    believed = estimate if row["disputed"] is not None and estimate is not None else usage or estimate
    names = ("at_s", "provider", "model", "operation", "task", "label", "outcome", "cost_nanos")
    known: dict[str, Any] = {name: row[name] for name in names}
    return Spent(**known, usage=believed)


# --- bills ------------------------------------------------------------------------------------------------------


def billed(reader: LedgerReader, provider: str, window: Window) -> tuple[Billed, ...]:
    """By day and model, what ``provider`` was asked for in ``window``. Raises LedgerUnreadable."""
    rows = reader.query(_BILLED, (provider, window.since_s, window.until_s))
    return tuple(Billed(**{**dict(row), "cost_nanos": row["cost_nanos"] or 0}) for row in rows)


def providers_seen(reader: LedgerReader) -> tuple[str, ...]:
    """Every provider that has entries. Raises LedgerUnreadable."""
    return tuple(row[0] for row in reader.query(_PROVIDERS))
