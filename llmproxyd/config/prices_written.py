"""The prices an operator writes -> PriceList: one, or a list of them with the day each begins.

What a step or a tier leaves out is as in the price it belongs to. The schema has settled the shape before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from itertools import pairwise
from typing import Any, Final

from llmproxyd.config.places import Path
from llmproxyd.config.units import parse_count, parse_usd_nanos
from llmproxyd.values.cost import Dated, Price, PriceList, Step

RATES: Final = (
    "input",
    "output",
    "cached_input",
    "cache_write",
    "cache_write_1h",
    "input_audio",
    "output_audio",
    "cached_audio",
    "input_image",
    "output_image",
    "reasoning",
)
"""USD per million tokens, under the name they have in Price."""
_EACH: Final = {"per_request": "per_request_nanos", "per_search": "per_search_nanos"}
"""USD each."""

Written = Mapping[str, Any] | Sequence[Mapping[str, Any]]


def parse_written(written: Written) -> PriceList:
    """A price or a dated list -> PriceList. Call ``find_faults`` before; raises ValueError for what that tells."""
    rows = [written] if isinstance(written, Mapping) else written
    return PriceList(tuple(Dated(_parse_price(row), _begin_s(row)) for row in rows), "operator")


def find_faults(written: Written) -> Iterator[tuple[Path, str]]:
    """What the schema cannot see: amounts too fine or too large, days that are none, an order that is none. Each with
    its path below ``price``."""
    if isinstance(written, Mapping):
        yield from _faults(written)
        return
    for index, row in enumerate(written):
        yield from (((index, *path), text) for path, text in _faults(row))
        if index and "from" not in row:
            yield (index,), "only the first price of a list may be without `from`"
    begins = [(index, row["from"]) for index, row in enumerate(written) if "from" in row]
    for (_, before), (index, after) in pairwise(begins):
        if str(after) <= str(before):
            yield (index, "from"), f"a list of prices rises by day, and {after} does not follow {before}"


def _faults(row: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    yield from _faults_of_amounts(row)
    try:
        _begin_s(row)
    except ValueError:
        yield ("from",), f"`{row['from']}` is not a day of the calendar"
    yield from _faults_of_steps(row.get("steps", ()), ("steps",))
    for tier, one in row.get("tiers", {}).items():
        yield from ((("tiers", tier, *path), text) for path, text in _faults_of_amounts(one))
        yield from _faults_of_steps(one.get("steps", ()), ("tiers", tier, "steps"))


def _faults_of_steps(steps: Sequence[Mapping[str, Any]], at: Path) -> Iterator[tuple[Path, str]]:
    before = -1
    for index, step in enumerate(steps):
        yield from (((*at, index, *path), text) for path, text in _faults_of_amounts(step))
        try:
            above = parse_count(step["above"])
        except ValueError as error:
            yield (*at, index, "above"), str(error)
            continue
        if above <= before:
            yield (*at, index, "above"), "steps rise: each begins above the one before it"
        before = above


def _faults_of_amounts(row: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    for name in (*RATES, *_EACH):
        if name not in row:
            continue
        try:
            parse_usd_nanos(row[name])
        except ValueError as error:
            yield (name,), str(error)


def _parse_price(row: Mapping[str, Any]) -> Price:
    standard = replace(Price(0), **_amounts(row))
    tiers = {
        tier: _with_steps(replace(standard, **_amounts(one)), one)
        for tier, one in row.get("tiers", {}).items()
    }
    return replace(_with_steps(standard, row), tiers=tiers)


def _with_steps(price: Price, row: Mapping[str, Any]) -> Price:
    steps = (Step(parse_count(s["above"]), replace(price, **_amounts(s))) for s in row.get("steps", ()))
    return replace(price, steps=tuple(steps))


def _amounts(row: Mapping[str, Any]) -> dict[str, Any]:
    rates = {name: parse_usd_nanos(row[name]) for name in RATES if name in row}
    return rates | {field: parse_usd_nanos(row[name]) for name, field in _EACH.items() if name in row}


def _begin_s(row: Mapping[str, Any]) -> float:
    """Unix seconds of the day's beginning (UTC)."""
    if "from" not in row:
        return 0.0
    return datetime.combine(date.fromisoformat(str(row["from"])), time(), UTC).timestamp()
