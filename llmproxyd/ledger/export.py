"""Entries as CSV or JSON Lines, for a spreadsheet or a bill. Reads page by page, so that nothing waits and nothing grows."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, Literal, TextIO, TypeAlias

from llmproxyd.ledger.store import LedgerReader
from llmproxyd.values.cost import NANOS_PER_USD

Format: TypeAlias = Literal["csv", "jsonl"]

# Pages go on behind the last row of the one before: no transaction is held open, which would make the log grow.
_PAGE: Final = """
SELECT at_s, seq, id, request_id, settled_s, provider, model, upstream, operation, surface, stream, tenant, project,
       user, key_id, task, label, generation, hedge, outcome, failure, disputed, estimated, input_tokens, output_tokens,
       cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost_nanos, saved_nanos,
       reserved_nanos, price_version, first_content_s, total_s, usage, estimate
FROM entries WHERE (at_s, seq) > (?, ?) AND at_s < ? ORDER BY at_s, seq LIMIT 250
"""
_FLAGS: Final = ("stream", "hedge", "estimated")
_JSON: Final = ("usage", "estimate")
_TIMES: Final = {"at_s": "at", "settled_s": "settled_at"}
_LEFT_OUT: Final = frozenset({"seq"})
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_END_OF_TIME_S: Final = 1e12


def export(
    reader: LedgerReader, form: Format, out: TextIO, *, since_s: float = 0.0, until_s: float | None = None
) -> int:
    """Write every entry that began in [since_s, until_s) (Unix seconds), oldest first; how many. None: to the end.

    Times are ISO 8601 in UTC; ``cost_usd`` is exact, empty or null where the cost is unknown. In CSV a text that a
    spreadsheet would run as a formula gets a ``'`` before it; JSON Lines hold everything as it is.
    Raises LedgerUnreadable, OSError of ``out``.
    """
    write = _WRITERS[form](out)
    count = 0
    for row in _rows(reader, since_s, _END_OF_TIME_S if until_s is None else until_s):
        write(_record(row))
        count += 1
    return count


def usd(nanos: int | None) -> str | None:
    """Nano-dollars as exact decimal dollars: 1_500_000 -> "0.0015"."""
    if nanos is None:
        return None
    text = f"{Decimal(nanos) / NANOS_PER_USD:.9f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def _rows(reader: LedgerReader, since_s: float, until_s: float) -> Iterator[sqlite3.Row]:
    after: tuple[float, int] = (since_s, -1)
    while page := reader.query(_PAGE, (*after, until_s)):
        yield from page
        after = page[-1]["at_s"], page[-1]["seq"]


def _record(row: sqlite3.Row) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for name in row.keys():  # noqa: SIM118 - a Row iterates over its values
        value = row[name]
        if name in _TIMES:
            record[_TIMES[name]] = _iso(value)
        elif name in _FLAGS:
            record[name] = bool(value)
        elif name == "cost_nanos":
            record["cost_usd"], record[name] = usd(value), value
        elif name not in _LEFT_OUT:
            record[name] = value
    return record


def _iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _jsonl(out: TextIO) -> Callable[[dict[str, Any]], None]:
    def write(record: dict[str, Any]) -> None:
        parsed = {name: None if record[name] is None else json.loads(record[name]) for name in _JSON}
        out.write(json.dumps(record | parsed, ensure_ascii=False, separators=(",", ":")) + "\n")

    return write


def _csv(out: TextIO) -> Callable[[dict[str, Any]], None]:
    writer = csv.writer(out, lineterminator="\n")
    written = False

    def write(record: dict[str, Any]) -> None:
        nonlocal written
        if not written:
            writer.writerow(record)
            written = True
        writer.writerow([_cell(value) for value in record.values()])

    return write


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value


_WRITERS: Final[dict[Format, Callable[[TextIO], Callable[[dict[str, Any]], None]]]] = {
    "csv": _csv,
    "jsonl": _jsonl,
}
