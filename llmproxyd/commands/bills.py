"""What a provider says it counted and charged: its usage export, read into one row for each day and model. Pure.

Known are the exports of OpenAI's and Anthropic's consoles, told apart by their columns, and a plain table, as CSV or JSON
Lines: ``date, model, input_tokens, output_tokens, cost_usd``, of which the last three may be missing.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Final, TypeAlias

import msgspec

from llmproxyd.config.catalogue import plain_id
from llmproxyd.values.cost import NANOS_PER_USD

_DAY: Final = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[T ].*)?")
_MAX_DECIMALS: Final = 9
_MAX_FIELD_CHARS: Final = 1 << 20

Line: TypeAlias = Mapping[str, str]


class BadBill(Exception):  # noqa: N818 - told to whoever gave the file
    """The file cannot be read as a bill; says which line and what was expected."""


class Shape(msgspec.Struct, frozen=True):
    """An export that is known. ``signs``: columns that only it has; ``inputs`` and ``outputs`` are added up."""

    name: str
    provider: str | None
    signs: frozenset[str]
    day: str
    model: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    cost: str | None = None
    model_of: Callable[[str], str] = str.strip


class Charge(msgspec.Struct, frozen=True):
    """A day (UTC) and model on a bill. None: the bill does not say."""

    day: str
    model: str
    input_tokens: int | None
    output_tokens: int | None
    cost_nanos: int | None


class Bill(msgspec.Struct, frozen=True):
    """``charges`` by day and model. ``unit_nanos``: the last decimal its amounts are written with, so that each of
    ``lines[day, model]`` lines may be off by half of it."""

    shape: Shape
    charges: Mapping[tuple[str, str], Charge]
    lines: Mapping[tuple[str, str], int]
    unit_nanos: int


def _before_comma(text: str) -> str:
    """``gpt-5.6-luna, input`` -> the model."""
    return text.partition(",")[0].strip()


_ANTHROPIC_INPUTS: Final = (
    "usage_input_tokens_no_cache",
    "usage_input_tokens_cache_write_5m",
    "usage_input_tokens_cache_write_1h",
    "usage_input_tokens_cache_read",
)
SHAPES: Final = (
    Shape(
        "Anthropic's usage",
        "anthropic",
        frozenset({"usage_date_utc", "model_version", "usage_output_tokens"}),
        "usage_date_utc",
        "model_version",
        _ANTHROPIC_INPUTS,
        ("usage_output_tokens",),
    ),
    Shape(
        "Anthropic's cost",
        "anthropic",
        frozenset({"usage_date_utc", "model", "cost_usd"}),
        "usage_date_utc",
        "model",
        cost="cost_usd",
    ),
    Shape(
        "OpenAI's usage",
        "openai",
        frozenset({"start_time_iso", "model", "input_tokens", "output_tokens"}),
        "start_time_iso",
        "model",
        ("input_tokens",),
        ("output_tokens",),
    ),
    Shape(
        "OpenAI's cost",
        "openai",
        frozenset({"start_time_iso", "amount_value", "line_item"}),
        "start_time_iso",
        "line_item",
        cost="amount_value",
        model_of=_before_comma,
    ),
    Shape(
        "a plain table",
        None,
        frozenset({"date", "model"}),
        "date",
        "model",
        ("input_tokens",),
        ("output_tokens",),
        "cost_usd",
    ),
)


def parse_bill(text: str) -> Bill:
    """The bill in a file's text. Raises BadBill."""
    lines = list(_lines(text.removeprefix("\ufeff")))
    if not lines:
        raise BadBill("there is nothing in it")
    columns = set(lines[0][1])
    shape = next((one for one in SHAPES if one.signs <= columns), None)
    if shape is None:
        raise BadBill(
            "its columns are those of no export that is known; a plain table has date, model, and some of "
            f"input_tokens, output_tokens, cost_usd. Found: {', '.join(sorted(columns))[:300]}"
        )
    return _Reader(shape, columns).read(lines)


def same_model(name: str, provider: str) -> str:
    """One id for all spellings of a model: ``Claude Haiku 4.5`` and ``claude-haiku-4-5-20251001`` are the same."""
    return plain_id(re.sub(r"\s+", "-", name.strip()), provider).casefold()


def _lines(text: str) -> Iterator[tuple[int, Line]]:
    """(number, columns) of every line that is not empty."""
    if text.lstrip().startswith("{"):
        yield from _json_lines(text)
        return
    csv.field_size_limit(_MAX_FIELD_CHARS)
    reader = csv.DictReader(io.StringIO(text), restval="", strict=True)
    try:
        for row in reader:
            if None in row:
                raise BadBill(f"line {reader.line_num}: it has more fields than the first line has names")
            yield reader.line_num, {name.strip(): value for name, value in row.items()}
    except csv.Error as error:
        raise BadBill(f"line {reader.line_num}: no CSV: {error}") from None


def _json_lines(text: str) -> Iterator[tuple[int, Line]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_float=str, parse_int=str)
        except (ValueError, RecursionError) as error:
            raise BadBill(f"line {number}: no JSON: {error}") from None
        if not isinstance(row, dict):
            raise BadBill(f"line {number}: expected a JSON object")
        yield number, {name: "" if value is None else str(value) for name, value in row.items()}


class _Reader:
    """Adds up the lines of one bill."""

    def __init__(self, shape: Shape, columns: set[str]) -> None:
        self._shape = shape
        self._inputs = [name for name in shape.inputs if name in columns]
        self._outputs = [name for name in shape.outputs if name in columns]
        self._cost = shape.cost if shape.cost in columns else None
        self._charges: dict[tuple[str, str], Charge] = {}
        self._lines: dict[tuple[str, str], int] = {}
        self._decimals = 0

    def read(self, lines: Iterable[tuple[int, Line]]) -> Bill:
        for number, line in lines:
            try:
                self._add(line)
            except ValueError as error:
                raise BadBill(f"line {number}: {error}") from None
        if not self._charges:
            raise BadBill("nothing is charged in it")
        return Bill(self._shape, self._charges, self._lines, NANOS_PER_USD // 10**self._decimals)

    def _add(self, line: Line) -> None:
        shape = self._shape
        tokens_in = sum(_tokens(line[name]) for name in self._inputs) if self._inputs else None
        tokens_out = sum(_tokens(line[name]) for name in self._outputs) if self._outputs else None
        cost = None if self._cost is None else self._nanos(line[self._cost], line)
        model = same_model(shape.model_of(line[shape.model]), shape.provider or "")
        if not model and not any((tokens_in, tokens_out, cost)):
            return  # an hour in which nothing was asked
        if not model:
            raise ValueError("no model is named: group by model when exporting")
        key = (_day(line[shape.day]), model)
        known = self._charges.get(key, Charge(*key, None, None, None))
        self._charges[key] = Charge(
            *key,
            _plus(known.input_tokens, tokens_in),
            _plus(known.output_tokens, tokens_out),
            _plus(known.cost_nanos, cost),
        )
        self._lines[key] = self._lines.get(key, 0) + 1

    def _nanos(self, text: str, line: Line) -> int:
        currency = line.get("amount_currency", "usd") or "usd"
        if currency.casefold() != "usd":
            raise ValueError(f"the amount is in {currency}, not in USD")
        amount = _number(text.strip().removeprefix("$") or "0")
        exponent = amount.as_tuple().exponent
        assert isinstance(exponent, int)
        self._decimals = min(_MAX_DECIMALS, max(self._decimals, -exponent))
        return int((amount * NANOS_PER_USD).to_integral_value(ROUND_HALF_UP))


def _day(text: str) -> str:
    found = _DAY.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"expected a day such as 2026-11-01, found {text!r}")
    return found[1]


def _tokens(text: str) -> int:
    number = _number(text.strip().replace(",", "") or "0")
    if number != number.to_integral_value():
        raise ValueError(f"expected whole tokens, found {text!r}")
    return int(number)


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"expected a number, found {text!r}") from None
    if not number.is_finite() or abs(number) > 10**15:
        raise ValueError(f"{text!r} is no amount")
    return number


def _plus(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other
