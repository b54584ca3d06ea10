"""Opening the ledger for a command: read only, with or without a running daemon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llmproxyd.commands.console import CannotGoOn, Console
from llmproxyd.exits import Exit
from llmproxyd.ledger.store import FILE_NAME, LedgerReader, LedgerUnreadable


@contextmanager
def open_ledger(console: Console) -> Iterator[LedgerReader]:
    """The ledger in the state directory. What cannot be read ends the command: 66 where there is none, else 1."""
    state_dir = console.settings().state_dir
    try:
        yield LedgerReader(state_dir)
    except LedgerUnreadable as reason:
        if (state_dir / FILE_NAME).exists():
            raise CannotGoOn(Exit.ERRORS, str(reason)) from None
        raise CannotGoOn(
            Exit.MISSING, f"{reason}; name the daemon's state directory with --state-dir DIR"
        ) from None
