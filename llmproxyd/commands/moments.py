"""``--since``, ``--until`` and ``--zone`` of the commands that report: which time is meant."""

from __future__ import annotations

from argparse import ArgumentTypeError, Namespace
from typing import Any
from zoneinfo import ZoneInfo

from llmproxyd.commands.console import CannotGoOn
from llmproxyd.exits import Exit
from llmproxyd.ledger.reports import Window
from llmproxyd.ledger.windows import UTC_ZONE, read_window, read_zone


def _zone(text: str) -> ZoneInfo:
    try:
        return read_zone(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def add_window_arguments(parser: Any) -> None:
    add = parser.add_argument
    add(
        "--since",
        metavar="TIME",
        help="from then on: 2026-11-01, 2026-11, or 7d for seven days ago; this month",
    )
    add("--until", metavar="TIME", help="up to then; now")
    add("--zone", type=_zone, default=UTC_ZONE, metavar="ZONE", help="whose days and hours; UTC")


def window_of(arguments: Namespace, now_s: float) -> Window:
    """The window that was asked for. Raises CannotGoOn (64)."""
    try:
        return read_window(arguments.since, arguments.until, arguments.zone, now_s)
    except ValueError as error:
        raise CannotGoOn(Exit.USAGE, str(error)) from None
