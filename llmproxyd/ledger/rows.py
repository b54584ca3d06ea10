"""Entries -> rows of the two tables: one for each attempt, and what each scope and hour grows by."""

from __future__ import annotations

from collections.abc import Iterable
from operator import add, attrgetter
from typing import Any, Final, TypeAlias

import msgspec

from llmproxyd.values.cost import Usage
from llmproxyd.values.ledger import SCOPE_FIELDS, SCOPES, Entry, Settlement, Total

HOUR_S: Final = 3600
NOTHING: Final = Usage()
Sums: TypeAlias = dict[tuple[str, int, str], list[int]]
"""(scope, start of the hour, name) -> attempts, input tokens, output tokens, cost, saved, unpriced."""

_encode = msgspec.json.Encoder().encode
_decode_usage = msgspec.json.Decoder(Usage).decode
_told_before: Final = attrgetter(
    "provider", "model", "upstream", "deployment", "operation", "surface", "stream", "tenant", "project", "user",
    "key_id", "task", "label", "generation", "hedge", "reserved_nanos", "price_version",
)  # fmt: skip
_counts_of: Final = attrgetter(
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens",
    "reasoning_tokens",
)  # fmt: skip
_names_of: Final = attrgetter(*SCOPE_FIELDS.values())


def entry_row(entry: Entry) -> tuple[Any, ...]:
    """The columns of ``entries`` from ``id`` on, in the table's order."""
    intent, settled = entry.intent, entry.settlement
    told = settled.counted
    counted = told or NOTHING
    return (
        intent.id,
        intent.request_id,
        _micro(intent.at_s),
        _micro(settled.at_s),
        *_told_before(intent),
        settled.outcome,
        settled.failure,
        settled.disputed,
        int(_is_estimated(settled, told)),
        *_counts_of(counted),
        settled.cost_nanos,
        settled.saved_nanos,
        None if settled.first_content_s is None else _micro(settled.first_content_s),
        None if settled.total_s is None else _micro(settled.total_s),
        _usage_text(settled.usage),
        _usage_text(settled.estimate),
    )


def _is_estimated(settled: Settlement, counted: Usage | None) -> bool:
    """Whether tokens and cost rest on our estimate, not on the provider's word."""
    if settled.outcome == "orphaned":
        return True
    return counted is not None and (counted.estimated or counted is settled.estimate)


def parse_usage(text: str | None) -> Usage | None:
    """What the columns ``usage`` and ``estimate`` hold: the fields that differ from their defaults, as JSON."""
    return None if text is None else _decode_usage(text)


def hour_of(at_s: float) -> int:
    """The start of the hour, in UTC, that ``at_s`` falls into."""
    return int(at_s // HOUR_S) * HOUR_S


def sums_of(entries: Iterable[Entry]) -> Sums:
    """What ``hours`` grows by."""
    # Most of a batch is alike in all its names, and is added up before the scopes are told apart.
    alike: dict[tuple[Any, ...], list[int]] = {}
    for entry in entries:
        intent, settled = entry.intent, entry.settlement
        counted, cost = settled.counted or NOTHING, settled.cost_nanos
        grown = alike.setdefault((hour_of(_micro(intent.at_s)), *_names_of(intent)), [0] * 6)
        grown[0] += 1
        grown[1] += counted.input_tokens
        grown[2] += counted.output_tokens
        grown[3] += cost or 0
        grown[4] += settled.saved_nanos
        grown[5] += cost is None
    sums: Sums = {}
    for (hour_s, *names), grown in alike.items():
        for scope, name in zip(SCOPES, ("", *names), strict=True):
            known = sums.get((scope, hour_s, name))
            sums[scope, hour_s, name] = grown if known is None else list(map(add, known, grown))
    return sums


def add_part(totals: dict[tuple[str, str], Total], row: tuple[Any, ...]) -> None:
    """Add one entry, as PART_OF_AN_HOUR gives it, to all scopes in ``totals``."""
    *names, tokens, cost = row
    for scope, name in zip(SCOPES, ("", *names), strict=True):
        known = totals.get((scope, name), Total())
        totals[scope, name] = Total(
            known.attempts + 1,
            known.tokens + tokens,
            known.cost_nanos + (cost or 0),
            known.unpriced + (cost is None),
        )


def _micro(seconds: float) -> float:
    return round(seconds, 6)


def _usage_text(usage: Usage | None) -> str | None:
    return None if usage is None else _encode(usage).decode()
