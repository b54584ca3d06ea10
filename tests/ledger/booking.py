"""A ledger's file with given entries in it, without a daemon."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from llmproxyd.ledger.disk import Disk
from llmproxyd.ledger.store import FILE_NAME, LedgerReader, Store
from llmproxyd.values.ledger import Entry
from tests.ledger.build import intent, settlement

_SETTLED = frozenset({"usage", "cost_nanos", "saved_nanos", "outcome", "disputed", "estimate", "failure"})


def entry(number: int, **changes: Any) -> Entry:
    """Entry ``number``; each field goes to the intent or to the settlement, wherever it belongs."""
    settled = {name: value for name, value in changes.items() if name in _SETTLED}
    intended = {name: value for name, value in changes.items() if name not in _SETTLED}
    begun = intent(number, **intended)
    return Entry(begun, settlement(number, id=begun.id, at_s=begun.at_s + 1, **settled))


def book(state_dir: Path, entries: Iterable[Entry]) -> LedgerReader:
    """Put ``entries`` into the ledger of ``state_dir``."""
    state_dir.mkdir(parents=True, exist_ok=True)
    with closing(Store(state_dir / FILE_NAME, Disk())) as store:
        store.add(list(entries))
    return LedgerReader(state_dir)
