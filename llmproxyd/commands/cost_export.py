"""``llmproxyd cost export``: every entry of the ledger as CSV or JSON Lines, for a spreadsheet or a bill."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from llmproxyd.commands.console import Command, Console
from llmproxyd.commands.ledger import open_ledger
from llmproxyd.commands.moments import add_window_arguments, window_of
from llmproxyd.exits import Exit
from llmproxyd.ledger.export import Format, export


def _add_arguments(parser: Any) -> None:
    parser.add_argument(
        "--format", choices=("csv", "jsonl"), help="csv; with --json: jsonl, one entry a line"
    )
    add_window_arguments(parser)


def _run(arguments: Namespace, console: Console) -> int:
    window = window_of(arguments, console.wall())
    form: Format = arguments.format or ("jsonl" if console.json else "csv")
    with open_ledger(console) as reader:
        count = export(reader, form, console.stdout, since_s=window.since_s, until_s=window.until_s)
    console.complain(f"{count:,} {'entry' if count == 1 else 'entries'}")
    return Exit.OK


COMMAND = Command(
    summary="Write every entry of the ledger, one for each attempt, oldest first; the running month by default.",
    examples="""\
Examples:
  llmproxyd cost export > month.csv
  llmproxyd cost export --since 2026-10 --until 2026-11 --format jsonl > october.jsonl""",
    add_arguments=_add_arguments,
    run=_run,
)
