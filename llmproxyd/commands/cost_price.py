"""``llmproxyd cost price``: what a provider charges for a usage it sent, component by component. Asks nobody.

Money in JSON is text in exact decimals: a binary fraction would not be what stands on the bill.
"""

from __future__ import annotations

import json
from argparse import ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import asdict, replace

from llmproxyd import jsontext
from llmproxyd.adapters.raw_usage import read_usage
from llmproxyd.commands.console import CannotGoOn, Command, Console, format_table
from llmproxyd.config.presets import PRESETS
from llmproxyd.config.prices import known_price, prices_version, seller_named, table, table_note
from llmproxyd.config.prices_table import Listing, TableError
from llmproxyd.config.suggest import closest
from llmproxyd.config.terminal import visible
from llmproxyd.exits import Exit
from llmproxyd.values.cost import (
    FEMTOS_PER_NANO,
    FREE,
    TIERS,
    Components,
    Dated,
    Price,
    PriceList,
    Usage,
    components,
    usd_text,
)

MAX_INPUT_BYTES: Final = 256 * 1024 * 1024
_LOCAL: Final = frozenset({"ollama", "lmstudio", "localai", "lightllm", "vllm", "llamacpp", "tgi", "mock"})
_COUNTED: Final = frozenset({"web_search", "request"})
"""Charged by the piece; everything else by the million tokens."""
_TOKENS_PER_RATE: Final = 1_000_000

EXAMPLES: Final = """\
Examples:
  llmproxyd cost price --provider anthropic --model claude-opus-5-5 answer.json
  llmproxyd cost price --provider openai --model gpt-5.6-luna --tier batch --json results.jsonl
  llmproxyd cost price --provider gemini --model gemini-3.8-flash --at 2026-12-01 - < usage.json"""


class _NotPriced(Exception):  # noqa: N818 - an outcome of one document, told and passed over
    """Why one document has no price; fit for people."""


class _Asked(msgspec.Struct, frozen=True):
    """Who is asked what: ``at_s`` in Unix seconds; ``tier`` overrides what the usage says."""

    provider: str
    model: str
    at_s: float
    tier: str | None


class _Document(msgspec.Struct, frozen=True):
    """One document of the input. What came on one line is answered on one."""

    place: str
    text: str
    one_line: bool


def add_price_parser(subparsers: Any) -> None:
    """Add ``price`` to the sub-commands of ``cost``; its namespace carries ``run``: (arguments, console) -> status."""
    parser = subparsers.add_parser(
        "price",
        help="price usage objects or whole answers as a provider sends them",
        description="Price usage objects or whole answers as a provider sends them, offline: one JSON document, or one a line.\n"
        "Exit status 1 when one of them cannot be priced.\n\n" + EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_price_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document for each one read")
    parser.set_defaults(run=run_price)


def add_price_arguments(parser: Any) -> None:
    """The arguments alone, for a parser that exists."""
    add = parser.add_argument
    add("file", metavar="FILE", help="JSON or JSON Lines; - reads standard input")
    add("--provider", required=True, metavar="P", help="a preset (openai, gemini) or a name of genai-prices")
    add("--model", required=True, metavar="M", help="the model, as the provider calls it")
    add("--at", type=_moment, metavar="DATE", help="when it was used, ISO 8601; UTC without an offset; now")
    add("--tier", choices=TIERS, help="how it was served, where the usage does not say it")


def run_price(arguments: Namespace, console: Console) -> int:
    """Price every document of the input. Returns 1 when one of them could not be priced."""
    at_s = console.wall() if arguments.at is None else arguments.at
    asked = _Asked(arguments.provider, arguments.model, at_s, arguments.tier)
    try:
        listing, price = _find_price(asked)
    except (_NotPriced, TableError) as reason:
        raise CannotGoOn(Exit.ERRORS, str(reason)) from None
    if table_note() is not None:
        console.complain(f"llmproxyd: warning: {table_note()}")
    as_json = console.json or arguments.json
    status = Exit.OK
    for document in _documents(arguments.file, console):
        try:
            row = _price_row(asked, listing, price, _usage_in(document.text, asked, listing.provider))
        except _NotPriced as reason:
            console.complain(f"llmproxyd: {visible(document.place)}: {reason}")
            row, status = {"error": str(reason)}, Exit.ERRORS
        if as_json:
            console.say(json.dumps(row, indent=None if document.one_line else 2))
        elif "error" not in row:
            console.say(_format_row(row))
    return status


# --- what it costs ----------------------------------------------------------------------------------------------


def _find_price(asked: _Asked) -> tuple[Listing, Price | None]:
    """The model's listing, and its price at that moment; None where only the provider itself can say what it charged."""
    preset = PRESETS.get(asked.provider)
    if preset is not None and preset.name in _LOCAL:
        return Listing(preset.name, asked.model, PriceList((Dated(FREE),), "free")), FREE
    listing = known_price(asked.provider, asked.model)
    if listing is None:
        raise _NotPriced(_unknown(asked))
    if listing.prices is None:
        how = (
            f"is sold by {_words(listing.uncounted)}, not by the token"
            if listing.uncounted
            else "has no price there"
        )
        raise _NotPriced(f"model `{visible(asked.model)}` {how} ({prices_version()})")
    return listing, listing.prices.at(asked.at_s)


def _unknown(asked: _Asked) -> str:
    model, seller = visible(asked.model), seller_named(asked.provider)
    if seller is None:
        names = sorted({*PRESETS, *table().providers})
        near = closest(asked.provider, names)
        meant = f"did you mean `{near}`?" if near else f"known are: {', '.join(names)}"
        return f"the price of provider `{visible(asked.provider)}` is unknown; {meant}"
    near = closest(asked.model, table().models(seller))
    meant = f"; did you mean `{visible(near)}`?" if near else "."
    return (
        f"the price of model `{model}` at provider `{visible(asked.provider)}` is unknown ({prices_version()}){meant} "
        "A price of your own goes into providers.yaml, as `price:` of the model."
    )


def _usage_in(text: str, asked: _Asked, seller: str) -> Usage:
    try:
        document = jsontext.decode(text)
    except jsontext.JSONError as error:
        raise _NotPriced(f"this is not JSON: {error}") from None
    usage = read_usage(document, seller)
    if usage is None:
        raise _NotPriced("there are no token counts in it: give a usage object, or an answer that has one")
    return usage if asked.tier is None else replace(usage, tier=asked.tier)


def _price_row(asked: _Asked, listing: Listing, price: Price | None, usage: Usage) -> dict[str, Any]:
    if price is None and usage.cost_nanos is None:
        raise _NotPriced(f"nobody knows what model `{visible(asked.model)}` cost at that moment")
    found = Components(()) if price is None else components(usage, price)
    row: dict[str, Any] = {
        "provider": listing.provider,
        "model": listing.model,
        "price": "" if listing.prices is None else listing.prices.version,
        "at": datetime.fromtimestamp(asked.at_s, UTC).isoformat(timespec="seconds"),
        "tier": found.tier,
        "above_tokens": found.above_tokens or None,
        "usage": {name: value for name, value in asdict(usage).items() if value},
        "components": _component_rows(found),
    }
    if usage.cost_nanos is None:
        return row | {"charged_by": "price", "total_usd": usd_text(found.femtos), "total_nanos": found.nanos}
    # What the provider itself says it charged is what stands on its bill; our reckoning stands beside it.
    charged = usage.cost_nanos * FEMTOS_PER_NANO
    return row | {
        "components": {"charged": {"usd": usd_text(charged)}},
        "by_price": {"components": row["components"], "total_usd": usd_text(found.femtos)},
        "charged_by": "provider",
        "total_usd": usd_text(charged),
        "total_nanos": usage.cost_nanos,
    }


def _component_rows(found: Components) -> dict[str, dict[str, Any]]:
    rows = {}
    for line in found.lines:
        if line.kind in _COUNTED:
            how = {"count": line.amount, "usd_each": usd_text(line.rate)}
        else:
            how = {"tokens": line.amount, "usd_per_million": usd_text(line.rate * _TOKENS_PER_RATE)}
        rows[line.kind] = how | {"usd": usd_text(line.femtos)}
    return rows


def _format_row(row: dict[str, Any]) -> str:
    """One answer as a table: every component, then their sum."""
    cells = [
        (
            kind.replace("_", " "),
            str(part.get("tokens", part.get("count", ""))),
            part.get("usd_per_million", part.get("usd_each", "")),
            part["usd"],
        )
        for kind, part in row["components"].items()
    ]
    how = "".join(
        [
            f", tier {row['tier']}" if row["tier"] else "",
            f", above {row['above_tokens']} tokens" if row["above_tokens"] else "",
        ]
    )
    head = f"{row['provider']}/{row['model']} at {row['at']}: {row['price']}{how}"
    header = ("component", "amount", "USD per million", "USD")
    return "\n".join(
        [visible(head), format_table(header, [*cells, ("total", "", "", row["total_usd"])], right=(1, 2, 3))]
    )


def _words(units: tuple[str, ...]) -> str:
    return ", ".join(unit.rpartition("_")[0].replace("_", " ") for unit in units)


# --- input ------------------------------------------------------------------------------------------------------


def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ArgumentTypeError(
            f"expected a day or a moment such as 2026-12-01 or 2026-12-01T09:30Z, found {text!r}"
        ) from None


def _documents(file: str, console: Console) -> Iterator[_Document]:
    """The whole input if it is one document, else its lines."""
    text = _read(file, console)
    if not text.strip():
        raise CannotGoOn(Exit.ERRORS, f"{visible(file)} is empty: there is nothing to price")
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if len(lines) == 1 or not _stands_alone(lines[0][1]):
        yield _Document(file, text, one_line=len(lines) == 1)
        return
    for number, line in lines:
        yield _Document(f"{file}:{number}", line, one_line=True)


def _stands_alone(line: str) -> bool:
    """Whether a line is a document of its own, so that the file is one of lines."""
    try:
        return isinstance(jsontext.decode(line), dict)
    except jsontext.JSONError:
        return False


def _read(file: str, console: Console) -> str:
    try:
        if file == "-":
            text = console.stdin.read(MAX_INPUT_BYTES + 1)
        else:
            with Path(file).open(encoding="utf-8") as source:
                text = source.read(MAX_INPUT_BYTES + 1)
    except OSError as error:
        raise CannotGoOn(Exit.MISSING, f"cannot read {visible(file)}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise CannotGoOn(Exit.ERRORS, f"{visible(file)} is not UTF-8 text") from None
    if len(text) > MAX_INPUT_BYTES:
        raise CannotGoOn(
            Exit.ERRORS, f"{visible(file)} is too long: price it in parts of {MAX_INPUT_BYTES >> 20} MiB"
        )
    return text


COMMAND: Final = Command(
    summary=(
        "Price usage objects or whole answers as a provider sends them: one JSON document, or one a line.\n"
        "Asks nobody. Exit status 1 when one of them cannot be priced."
    ),
    examples=EXAMPLES,
    add_arguments=add_price_arguments,
    run=run_price,
)
