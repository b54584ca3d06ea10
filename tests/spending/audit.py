"""The ledger, read as an auditor would: entry by entry against the bills of those who served, and sum against sum.

A request says who it is in its ``x-llmproxyd-task`` header, which the ledger keeps, and in its text, which the provider
sees: that is what joins the two.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, TypeVar

from tests.spending.served import CACHED_NANOS, INPUT_NANOS, OUTPUT_NANOS, Bill

LEFT = ("cancelled", "lost")
"""Outcomes of attempts that somebody of ours ended."""

_COLUMNS = (
    "id, task, project, provider, outcome, failure, estimated, input_tokens, output_tokens, cache_read_tokens, "
    "cost_nanos, saved_nanos, reserved_nanos, at_s, hedge"
)


class Row(NamedTuple):
    """An entry."""

    id: str
    task: str
    project: str
    provider: str
    outcome: str
    failure: str | None
    estimated: int
    input: int
    output: int
    cached: int
    cost_nanos: int | None
    saved_nanos: int
    reserved_nanos: int | None
    at_s: float
    hedge: int

    @property
    def unsent(self) -> bool:
        """Given up before a byte of it went out: whatever was given up later has at least its prompt."""
        by_us = self.outcome in LEFT or (self.outcome, self.failure) == ("failed", "timeout")
        return by_us and not (self.input or self.output or self.cost_nanos)

    @property
    def priced_nanos(self) -> int:
        """What its tokens come to by the price list."""
        fresh = self.input - self.cached
        return fresh * INPUT_NANOS + self.cached * CACHED_NANOS + self.output * OUTPUT_NANOS


class Sums(NamedTuple):
    """Of all hours."""

    attempts: int
    input: int
    output: int
    cost_nanos: int
    saved_nanos: int


class Pair(NamedTuple):
    """An attempt in both books."""

    row: Row
    bill: Bill


def rows_of(state_dir: Path) -> list[Row]:
    """All entries that are in SQLite, in the order in which they were booked."""
    with closing(_open(state_dir)) as database:
        return [Row(*row) for row in database.execute(f"SELECT {_COLUMNS} FROM entries ORDER BY seq")]


def sums_of(state_dir: Path, scope: str = "overall", name: str = "") -> Sums:
    """What budgets and reports go by."""
    with closing(_open(state_dir)) as database:
        row = database.execute(
            "SELECT sum(attempts), sum(input_tokens), sum(output_tokens), sum(cost_nanos), sum(saved_nanos) "
            "FROM hours WHERE scope = ? AND name = ?",
            (scope, name),
        ).fetchone()
    return Sums(*(value or 0 for value in row))


def _open(state_dir: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{(state_dir / 'ledger.db').as_uri()}?mode=ro", uri=True, timeout=5.0)


def paired(rows: Iterable[Row], bills: Iterable[Bill]) -> tuple[list[Pair], list[Row], list[Bill]]:
    """(attempts in both books, entries nobody has a bill for, bills without an entry). Kept answers are no attempts.

    Several attempts of one request at one provider go by their order. What was not sent can have no bill.
    """
    rows = [row for row in rows if row.outcome != "cached"]
    booked = _grouped(((row.task, row.provider), row) for row in rows if not row.unsent)
    billed = _grouped(((bill.task, bill.provider), bill) for bill in bills)
    pairs: list[Pair] = []
    unbilled = [row for row in rows if row.unsent]
    unbooked: list[Bill] = []
    for key in booked.keys() | billed.keys():
        ours = sorted(booked[key], key=lambda row: row.at_s)
        theirs = sorted(billed[key], key=lambda bill: bill.seen.at_s)
        pairs += [Pair(row, bill) for row, bill in zip(ours, theirs, strict=False)]
        unbilled += ours[len(theirs) :]
        unbooked += theirs[len(ours) :]
    return pairs, unbilled, unbooked


KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


def _grouped(items: Iterable[tuple[KeyT, ValueT]]) -> defaultdict[KeyT, list[ValueT]]:
    groups: defaultdict[KeyT, list[ValueT]] = defaultdict(list)
    for key, value in items:
        groups[key].append(value)
    return groups


def differences(pairs: Iterable[Pair]) -> Iterator[str]:
    """What an entry has otherwise than its bill, where the provider told what it counted, or refused."""
    for row, bill in pairs:
        if row.estimated:
            continue
        told = bill.told
        expected = (0, 0, 0, 0) if told is None else (told.prompt, told.completion, told.cached, told.nanos)
        found = (row.input, row.output, row.cached, row.cost_nanos)
        if found != expected:
            yield f"{row.id} ({row.task} at {row.provider}, {row.outcome}): booked {found}, served {expected}"


def misjudged(pairs: Iterable[Pair]) -> list[str]:
    """Estimates where the provider's word was there, or where nothing was served; the provider's word where there was none.

    What was told to somebody who had just left may not have been heard.
    """
    return [
        f"{row.id} ({row.task} at {row.provider}, {row.outcome}): estimated={row.estimated}, bill {bill}"
        for row, bill in pairs
        if bool(row.estimated) != (bill.told is None and not bill.refused)
        and not (row.estimated and row.outcome in LEFT)
    ]


def total(rows: Sequence[Row]) -> Sums:
    """As ``sums_of`` should say."""
    return Sums(
        len(rows),
        sum(row.input for row in rows),
        sum(row.output for row in rows),
        sum(row.cost_nanos or 0 for row in rows),
        sum(row.saved_nanos for row in rows),
    )
