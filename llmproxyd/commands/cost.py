"""``llmproxyd cost``: what was spent and saved, what the month will come to, and what might be cheaper.

Reads the ledger in the state directory, with or without a running daemon, and the files for what others would have cost.
"""

from __future__ import annotations

from argparse import ArgumentTypeError, Namespace
from typing import Any, Final

from llmproxyd.commands.console import CannotGoOn, Command, Console
from llmproxyd.commands.cost_text import format_cost
from llmproxyd.commands.files import load_files
from llmproxyd.commands.ledger import open_ledger
from llmproxyd.commands.moments import add_window_arguments, window_of
from llmproxyd.exits import Exit
from llmproxyd.ledger import reports
from llmproxyd.ledger.compare import compare
from llmproxyd.ledger.store import LedgerReader
from llmproxyd.server import cost_report

DEFAULT_COMPARED: Final = 10_000
"""A second or two: every attempt is priced at every deployment."""


def count(text: str) -> int:
    """A number that is not negative. Raises ArgumentTypeError."""
    number = text.replace("_", "")
    if not (number.isascii() and number.isdigit()) or len(number) > 9:
        raise ArgumentTypeError(f"expected a whole number, found {text!r}")
    return int(number)


def _add_arguments(parser: Any) -> None:
    add = parser.add_argument
    names = ", ".join(reports.DIMENSIONS)
    add("--by", choices=reports.DIMENSIONS, default="model", metavar="WHAT", help=f"{names}; model")
    add_window_arguments(parser)
    add("--top", type=count, default=5, metavar="N", help="how many of the dearest requests to show; 5")
    add(
        "--compare",
        type=count,
        default=DEFAULT_COMPARED,
        metavar="N",
        help=f"price the newest N attempts elsewhere, 0 for none; {DEFAULT_COMPARED}",
    )


def _run(arguments: Namespace, console: Console) -> int:
    with open_ledger(console) as reader:
        document = _document(arguments, console, reader)
    if console.json:
        console.say_json(document)
    else:
        console.say(format_cost(document))
    return Exit.OK


def _document(arguments: Namespace, console: Console, reader: LedgerReader) -> dict[str, Any]:
    now_s = console.wall()
    window = window_of(arguments, now_s)
    rows = reports.sums_by(reader, arguments.by, window, arguments.zone)
    total = reports.in_all(reader, window)
    document = cost_report.spending(arguments.by, arguments.zone.key, window, rows, total)
    document["projection"] = cost_report.projection(reports.project(reader, now_s, arguments.zone))
    document["top"] = cost_report.top(reports.top_requests(reader, window, arguments.top))
    return document | _comparison(arguments, console, reader, window)


def _comparison(
    arguments: Namespace, console: Console, reader: LedgerReader, window: reports.Window
) -> dict[str, Any]:
    """Savings and recommendations; without valid files there are no prices to compare with, and the rest still holds."""
    nothing: dict[str, Any] = {"savings": None, "recommendations": []}
    if not arguments.compare:
        return nothing
    try:
        loaded = load_files(console, console.config_dir())
    except CannotGoOn as reason:
        console.complain(f"llmproxyd: no savings without the configuration: {reason}")
        return nothing
    if loaded.snapshot is None:
        console.complain("llmproxyd: no savings while the files have errors; `llmproxyd check` tells them")
        return nothing
    entries = reports.spent(reader, window, arguments.compare)
    return cost_report.comparison(compare(entries, loaded.snapshot))


COMMAND = Command(
    summary=(
        "Show what was spent and saved, what the month will come to, dear requests and cheaper places.\n"
        "More: cost export, cost reconcile, cost estimate, cost price (llmproxyd cost export -h)."
    ),
    examples="""\
Examples:
  llmproxyd cost
  llmproxyd cost --by tenant --since 2026-10 --until 2026-11
  llmproxyd cost --by hour-of-week --since 28d --zone Europe/Berlin
  llmproxyd cost --by task --json""",
    add_arguments=_add_arguments,
    run=_run,
)
