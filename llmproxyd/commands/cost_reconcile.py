"""``llmproxyd cost reconcile``: a provider's usage export beside the ledger, by day and model."""

from __future__ import annotations

from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from llmproxyd.commands.bills import BadBill, Bill, Charge, parse_bill, same_model
from llmproxyd.commands.console import CannotGoOn, Command, Console, format_table
from llmproxyd.commands.cost_text import usd_cell
from llmproxyd.commands.ledger import open_ledger
from llmproxyd.config.terminal import visible
from llmproxyd.config.units import parse_share
from llmproxyd.exits import Exit
from llmproxyd.ledger.reports import Billed, Window, billed, providers_seen
from llmproxyd.ledger.store import LedgerReader
from llmproxyd.server.cost_report import money

MAX_BILL_BYTES: Final = 256 * 1024 * 1024
DEFAULT_TOLERANCE: Final = 0.01
_MEASURES: Final = ("input_tokens", "output_tokens", "cost_nanos")


class Line(msgspec.Struct, frozen=True):
    """A day and model on both sides. ``off``: the measures that differ by more than is tolerated."""

    day: str
    model: str
    theirs: Charge
    ours: Charge
    unpriced: int
    off: tuple[str, ...]


def _tolerance(text: str) -> float:
    try:
        return parse_share(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ArgumentTypeError(f"expected a day such as 2026-11-01, found {text!r}") from None


def _add_arguments(parser: Any) -> None:
    add = parser.add_argument
    add("file", metavar="FILE", help="the export, CSV or JSON Lines; - reads standard input")
    add("--provider", metavar="P", help="whose bill it is, as providers.yaml calls it")
    add(
        "--tolerance",
        type=_tolerance,
        default=DEFAULT_TOLERANCE,
        metavar="SHARE",
        help="what is no difference; 1%%",
    )
    add("--since", type=_day, metavar="DAY", help="leave out what was before that day (UTC)")
    add("--until", type=_day, metavar="DAY", help="leave out that day and what came after")
    add("--all", action="store_true", help="show what agrees as well")


def _run(arguments: Namespace, console: Console) -> int:
    try:
        bill = parse_bill(_read(arguments.file, console))
    except BadBill as reason:
        raise CannotGoOn(Exit.USAGE, f"{visible(arguments.file)}: {reason}") from None
    with open_ledger(console) as reader:
        provider = _provider(arguments.provider, bill, reader)
        lines = list(reconcile(bill, _ours(bill, provider, arguments, reader), arguments))
    different = [line for line in lines if line.off]
    if console.json:
        console.say_json(_document(provider, bill, lines, arguments))
    else:
        console.say(_format(provider, bill, lines if arguments.all else different, lines))
    return Exit.DIFFERENT if different else Exit.OK


def _provider(name: str | None, bill: Bill, reader: LedgerReader) -> str:
    seen = providers_seen(reader)
    wanted = name or bill.shape.provider
    if wanted is None or wanted not in seen:
        told = ", ".join(seen) or "none"
        what = (
            f"the ledger has nothing of `{visible(wanted)}`"
            if wanted
            else "this bill does not say whose it is"
        )
        raise CannotGoOn(Exit.USAGE, f"{what}; say --provider P. The ledger knows: {visible(told)}")
    return wanted


def _ours(
    bill: Bill, provider: str, arguments: Namespace, reader: LedgerReader
) -> Mapping[tuple[str, str], Billed]:
    """The ledger's side, by day and by the one id of the model."""
    days = sorted(day for day, _ in bill.charges if _is_asked_for(day, arguments))
    if not days:
        return {}
    end = date.fromisoformat(days[-1]) + timedelta(days=1)
    window = Window(_midnight_s(days[0]), _midnight_s(end.isoformat()))
    found: dict[tuple[str, str], Billed] = {}
    for row in billed(reader, provider, window):
        key = (row.day, same_model(row.upstream or row.model, bill.shape.provider or provider))
        known = found.get(key)
        found[key] = row if known is None else _joined(known, row)
    return found


def _midnight_s(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()


def _is_asked_for(day: str, arguments: Namespace) -> bool:
    return (arguments.since or day) <= day and (arguments.until is None or day < arguments.until)


def _joined(one: Billed, other: Billed) -> Billed:
    return Billed(
        one.day,
        one.model,
        one.upstream,
        one.input_tokens + other.input_tokens,
        one.output_tokens + other.output_tokens,
        one.cost_nanos + other.cost_nanos,
        one.unpriced + other.unpriced,
    )


def reconcile(bill: Bill, ours: Mapping[tuple[str, str], Billed], arguments: Namespace) -> Iterator[Line]:
    """Both sides by day and model, in that order; what one side lacks is nothing there."""
    wanted = {key for key in (*bill.charges, *ours) if _is_asked_for(key[0], arguments)}
    known = next(iter(bill.charges.values()))
    blank = [None if getattr(known, name) is None else 0 for name in _MEASURES]
    for key in sorted(wanted):
        theirs = bill.charges.get(key) or Charge(*key, *blank)
        row = ours.get(key) or Billed(*key, key[1], 0, 0, 0, 0)
        own = Charge(*key, row.input_tokens, row.output_tokens, row.cost_nanos)
        slack = bill.lines.get(key, 0) * bill.unit_nanos // 2
        off = tuple(name for name in _MEASURES if _differs(theirs, own, name, arguments.tolerance, slack))
        yield Line(*key, theirs, own, row.unpriced, off)


def _differs(theirs: Charge, ours: Charge, name: str, tolerance: float, slack_nanos: int) -> bool:
    """Amounts on a bill are rounded: each line of it may be off by half of its last decimal."""
    said, counted = getattr(theirs, name), getattr(ours, name)
    if said is None:
        return False
    allowed = tolerance * abs(said) + (slack_nanos if name == "cost_nanos" else 0)
    return bool(abs(said - counted) > allowed)


# --- telling ----------------------------------------------------------------------------------------------------


def _document(provider: str, bill: Bill, lines: Iterable[Line], arguments: Namespace) -> dict[str, Any]:
    rows = [_row(line) for line in lines]
    return {
        "version": 1,
        "provider": provider,
        "read_as": bill.shape.name,
        "tolerance": arguments.tolerance,
        "agrees": not any(row["off"] for row in rows),
        "rows": rows,
    }


def _row(line: Line) -> dict[str, Any]:
    return {
        "day": line.day,
        "model": line.model,
        "bill": _side(line.theirs),
        "ledger": _side(line.ours),
        "unpriced": line.unpriced,
        "off": list(line.off),
    }


def _side(charge: Charge) -> dict[str, Any]:
    tokens = {"input_tokens": charge.input_tokens, "output_tokens": charge.output_tokens}
    return tokens | money("cost", charge.cost_nanos)


def _format(provider: str, bill: Bill, shown: Iterable[Line], lines: list[Line]) -> str:
    different = sum(1 for line in lines if line.off)
    head = f"{provider}, read as {bill.shape.name}: {len(lines)} days and models, {different} differ"
    rows = [_cells(line) for line in shown]
    unpriced = sum(line.unpriced for line in lines)
    parts = [head]
    if rows:
        header = ("day", "model", "", "in: bill", "ledger", "out: bill", "ledger", "USD: bill", "ledger")
        parts.append(format_table(header, rows, right=range(3, len(header))))
    if unpriced:
        parts.append(f"{unpriced} attempts in the ledger have no known cost and are missing in its amounts.")
    return "\n".join(parts)


def _cells(line: Line) -> list[str]:
    cells = [line.day, line.model, "differs" if line.off else "agrees"]
    for name in _MEASURES:
        for side in (line.theirs, line.ours):
            value = getattr(side, name)
            cells.append("-" if value is None else usd_cell(value) if name == "cost_nanos" else f"{value:,}")
    return cells


def _read(file: str, console: Console) -> str:
    try:
        if file == "-":
            text = console.stdin.read(MAX_BILL_BYTES + 1)
        else:
            with Path(file).open(encoding="utf-8", newline="") as source:
                text = source.read(MAX_BILL_BYTES + 1)
    except OSError as error:
        raise CannotGoOn(Exit.MISSING, f"cannot read {visible(file)}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise CannotGoOn(Exit.USAGE, f"{visible(file)} is not UTF-8 text") from None
    if len(text) > MAX_BILL_BYTES:
        raise CannotGoOn(
            Exit.USAGE, f"{visible(file)} is too long: at most {MAX_BILL_BYTES >> 20} MiB are read"
        )
    return text


COMMAND = Command(
    summary=(
        "Compare a provider's usage export with the ledger, by day (UTC) and model: 0 agrees, 2 differs.\n"
        "Known are the exports of OpenAI's and Anthropic's consoles, and a plain table as CSV or JSON Lines\n"
        "with date, model and some of input_tokens, output_tokens, cost_usd."
    ),
    examples="""\
Examples:
  llmproxyd cost reconcile completions_usage.csv
  llmproxyd cost reconcile claude_cost.csv --tolerance 0.5% --all
  llmproxyd cost reconcile bill.jsonl --provider openrouter""",
    add_arguments=_add_arguments,
    run=_run,
)
