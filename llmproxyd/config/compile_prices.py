"""genai-prices -> the table that ships: ``python -m llmproxyd.config.compile_prices OUT [--day YYYY-MM-DD]``.

Runs in a process of its own, because only here are that package and what it needs imported; a running daemon reads the
table alone. genai-prices itself says which price holds at a moment and in a tier: it is asked at every moment at which
one of its conditions changes. What it counts and a chat has not (hours of audio, pages, characters) is named in the
table, not priced.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec

from llmproxyd.config.prices_table import FORMAT
from llmproxyd.values.cost import NANOS_PER_USD

_EPOCH: Final = date(1970, 1, 1)

_RATES: Final = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached_input",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "output_audio_mtok": "output_audio",
    "cache_audio_read_mtok": "cached_audio",
    "input_image_mtok": "input_image",
    "output_image_mtok": "output_image",
    "output_reasoning_mtok": "reasoning",
}
"""Their unit -> our component, in USD per million tokens."""
_EACH: Final = {"requests_kcount": "per_request_nanos", "web_searches_kcount": "per_search_nanos"}
"""The same, in USD per thousand."""
_CONTEXTS: Final[Mapping[str, tuple[Mapping[str, str], ...]]] = {
    "batch": ({"processing": "batch"},),
    "flex": ({"service_tier": "flex"},),
    "priority": ({"service_tier": "priority"},),
    "fast": ({"service_tier": "fast"}, {"speed": "fast"}),
}

Amount = Callable[[Any], Decimal]
"""What one of their prices, tiered or not, amounts to."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m llmproxyd.config.compile_prices", description=__doc__)
    parser.add_argument("out", metavar="OUT", type=Path, help="the file to write; replaced in one step")
    parser.add_argument("--day", type=date.fromisoformat, default=datetime.now(UTC).date())
    arguments = parser.parse_args(argv)
    try:
        from genai_prices.data import providers
    except ImportError as error:
        sys.stderr.write(f"compile_prices: genai-prices cannot be imported: {error}\n")
        return 1
    _replace(arguments.out, compile_table(providers, version("genai-prices"), arguments.day))
    return 0


def compile_table(providers: Any, package_version: str, day: date) -> bytes:
    """The whole file: a line that says what it is and where each provider's line stands, then those lines.

    ``day`` is today: the table's own date is that of its newest price that has begun by then.
    """
    rows = {provider.id: msgspec.json.encode(_provider_row(provider)) for provider in providers}
    places, at = {}, 0
    for provider in providers:
        size = len(rows[provider.id])
        places[provider.id] = _place_row(provider, at, size)
        at += size + 1
    begun = [start for provider in providers for start in _starts_of(provider.models) if start <= day]
    head = {
        "format": FORMAT,
        "source": "genai-prices",
        "version": package_version,
        "date": max(begun).isoformat(),
        "compiled": day.isoformat(),
        "providers": places,
    }
    return b"\n".join([msgspec.json.encode(head), *rows.values(), b""])


def _place_row(provider: Any, at: int, size: int) -> dict[str, Any]:
    row: dict[str, Any] = {"at": at, "size": size, "url": provider.api_pattern}
    if provider.provider_match is not None:
        row["names"] = _clause(provider.provider_match)
    if provider.fallback_model_providers:
        row["others"] = list(provider.fallback_model_providers)
    return row


def _provider_row(provider: Any) -> dict[str, Any]:
    """``equal``: spelling -> number of the model, ``else``: [number, condition] for what is no plain spelling. The
    lowest number that matches is meant."""
    equal: dict[str, int] = {}
    others: list[tuple[int, Any]] = []
    for number, model in enumerate(provider.models):
        for clause in _alternatives(model.match):
            written = _clause(clause)
            if written[0] == "=":
                equal.setdefault(written[1], number)
            else:
                others.append((number, written))
    for number, model in enumerate(provider.models):
        # Some conditions want more than the model's own id, which is what people read in the list.
        equal.setdefault(model.id.lower(), number)
    return {"equal": equal, "else": others, "models": [_model_row(model) for model in provider.models]}


def _model_row(model: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"id": model.id, "prices": [_dated(model, start) for start in _segments(model)]}
    uncounted = sorted({unit for prices in _all_prices(model) for unit in _units(prices)} - {*_RATES, *_EACH})
    if uncounted:
        row["uncounted"] = uncounted
    return row


# --- time -------------------------------------------------------------------------------------------------------


def _starts_of(models: Any) -> Iterator[date]:
    for model in models:
        for condition in _conditions(model):
            start = getattr(condition, "start_date", None)
            if start is not None:
                yield start


def _segments(model: Any) -> list[date]:
    return sorted({_EPOCH, *_starts_of([model])})


def _conditions(model: Any) -> Iterator[Any]:
    dated = model.prices if isinstance(model.prices, list) else []
    for row in (*dated, *(model.price_variants or ())):
        if row.constraint is not None:
            yield row.constraint


def _dated(model: Any, start: date) -> dict[str, Any]:
    """What holds from a day on: the price at its first minute, and what differs later in the day."""
    minutes = sorted({0, *_turns(model)})
    prices = [_price_at(model, start, minute) for minute in minutes]
    row: dict[str, Any] = {"price": prices[0]}
    if start != _EPOCH:
        row["from"] = int(datetime.combine(start, time(), UTC).timestamp())
    ends = [*minutes[1:], 24 * 60]
    daily = [
        [begin, end, price]
        for begin, end, price in zip(minutes, ends, prices, strict=True)
        if price != prices[0]
    ]
    return row | ({"daily": daily} if daily else {})


def _turns(model: Any) -> Iterator[int]:
    """Minutes of the day (UTC) at which a price begins or ends."""
    for condition in _conditions(model):
        for name in ("start_time", "end_time"):
            moment = getattr(condition, name, None)
            if moment is None:
                continue
            if moment.tzinfo is not None:
                moment = datetime.combine(date(2000, 1, 2), moment).astimezone(UTC).time()
            if moment.second or moment.microsecond:
                raise ValueError(f"{model.id}: a price turns within a minute")
            yield moment.hour * 60 + moment.minute


# --- prices -----------------------------------------------------------------------------------------------------


def _price_at(model: Any, day: date, minute: int) -> dict[str, Any] | None:
    moment = datetime.combine(day, time(), UTC) + timedelta(minutes=minute)
    price = _price_row(model.get_prices(moment))
    if price is None:
        return None
    tiers = {}
    for tier, contexts in _CONTEXTS.items():
        served = [_price_row(model.get_prices(moment, context)) for context in contexts]
        special = next((row for row in served if row != price), None)
        if special is not None:
            tiers[tier] = special
    return price | ({"tiers": tiers} if tiers else {})


def _price_row(prices: Any) -> dict[str, Any] | None:
    """None: nothing in it is paid by the token, or what is written is not."""
    row: dict[str, Any] = {**_rates(prices, _base)}
    if "input" not in row and "output" not in row:
        return None
    row.setdefault("input", 0)
    borders = sorted(
        {tier.start for value in _units(prices).values() for tier in getattr(value, "tiers", ())}
    )
    if borders:
        row["steps"] = [[border, _step(prices, border)] for border in borders]
    return row


def _step(prices: Any, border: int) -> dict[str, int]:
    row = _rates(prices, lambda value: _above(value, border))
    row.setdefault("input", 0)
    return row


def _rates(prices: Any, amount: Amount) -> dict[str, int]:
    row = {}
    for unit, value in _units(prices).items():
        if unit in _RATES:
            row[_RATES[unit]] = _nanos(amount(value))
        elif unit in _EACH:
            row[_EACH[unit]] = _nanos(amount(value) / 1000)
    return row


def _base(value: Any) -> Decimal:
    return Decimal(getattr(value, "base", value))


def _above(value: Any, border: int) -> Decimal:
    """The amount just above a border. Their tiers stand in rising order."""
    amounts = [tier.price for tier in getattr(value, "tiers", ()) if tier.start <= border]
    return Decimal(amounts[-1]) if amounts else _base(value)


def _units(prices: Any) -> dict[str, Any]:
    return {unit: value for unit, value in vars(prices).items() if value is not None}


def _all_prices(model: Any) -> Iterator[Any]:
    if isinstance(model.prices, list):
        yield from (row.prices for row in model.prices)
    else:
        yield model.prices


def _nanos(usd: Decimal) -> int:
    """Some of their amounts are binary fractions written out (0.18000000000000002); a nano-dollar per million tokens is
    finer than any price that was ever meant."""
    return int((usd * NANOS_PER_USD).to_integral_value(ROUND_HALF_UP))


# --- which model is meant ---------------------------------------------------------------------------------------

_KINDS: Final = {
    "equals": "=",
    "starts_with": "^",
    "ends_with": "$",
    "contains": "*",
    "regex": "~",
    "or_": "|",
    "and_": "&",
}


def _alternatives(clause: Any) -> Iterator[Any]:
    inner = getattr(clause, "or_", None)
    if inner is None:
        yield clause
    else:
        for one in inner:
            yield from _alternatives(one)


def _clause(clause: Any) -> list[Any]:
    """One of their conditions as ``[kind, argument]``."""
    for name, kind in _KINDS.items():
        argument = getattr(clause, name, None)
        if argument is None:
            continue
        if isinstance(argument, str):
            return [kind, argument if kind == "~" else argument.lower()]
        return [kind, [_clause(one) for one in argument]]
    raise ValueError(f"a condition of an unknown kind: {clause!r}")


def _replace(out: Path, data: bytes) -> None:
    """All or nothing: a reader sees the old file or the new one."""
    handle, temporary = tempfile.mkstemp(dir=out.parent, prefix=out.name, suffix=".new")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, out)
    except BaseException:
        os.unlink(temporary)
        raise


if __name__ == "__main__":
    sys.exit(main())
