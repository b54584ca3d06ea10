"""What happens before the first entry: the file is opened or replaced, and the journal's entries are booked.

Afterwards every intent in the journal has one entry. Those that were never settled are booked as orphaned, at the most
they can have cost. Nothing here reads the whole file, so that a million entries do not delay a start.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from llmproxyd.ledger.disk import Disk
from llmproxyd.ledger.journal import Damage, Head, Journal, check_form, parse_records, segments
from llmproxyd.ledger.store import FILE_NAME, Store, is_damage
from llmproxyd.logs import get_logger
from llmproxyd.values.ledger import Entry, Intent, LedgerUnavailable, Settlement, orphan

BATCH: Final = 500
_log = get_logger("ledger")


class Replayed(msgspec.Struct):
    """What a journal held. ``booked``: entries SQLite did not have; ``orphaned`` of them never settled. ``damaged``:
    pieces that could not be read; ``torn_bytes``: the half-written ends."""

    booked: int = 0
    orphaned: int = 0
    damaged: int = 0
    torn_bytes: int = 0


class Recovered(msgspec.Struct, frozen=True):
    """``store`` has all that the old journal held; ``journal`` is new. ``clean``: the last stop was an orderly one."""

    store: Store
    journal: Journal
    clean: bool
    last_seq: int


def lock(state_dir: Path) -> int:
    """A lock that ends with the process: two daemons would each book what the other has under way.

    Returns its descriptor. Raises LedgerUnavailable.
    """
    fd = -1
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(state_dir / "ledger.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if fd >= 0:
            os.close(fd)
        if isinstance(error, BlockingIOError):
            raise LedgerUnavailable(
                f"another llmproxyd uses {state_dir}: stop it, or give this one its own --state-dir"
            ) from None
        raise LedgerUnavailable(f"the ledger in {state_dir} cannot be opened: {error.strerror}") from error
    return fd


def recover(state_dir: Path, disk: Disk, wall_s: float) -> Recovered:
    """Open what the last process left and bring it in order. Raises sqlite3.Error, OSError, LedgerUnavailable."""
    store = open_store(state_dir, disk, wall_s)
    try:
        try:
            return _begin_with(state_dir, disk, store, wall_s)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            store.close()
            move_aside(state_dir / FILE_NAME, disk, wall_s, str(error))
        store = open_store(state_dir, disk, wall_s)
        return _begin_with(state_dir, disk, store, wall_s)
    except BaseException:
        with suppress(sqlite3.Error):  # what went wrong first is what is told
            store.close()
        raise


def _begin_with(state_dir: Path, disk: Disk, store: Store, wall_s: float) -> Recovered:
    clean = store.was_closed_cleanly()
    tell(replay(segments(state_dir), disk, store, orphaned_s=wall_s))
    last_seq = store.last_seq()
    journal = Journal(state_dir, disk)
    try:
        store.make_durable()
        journal.drop_older()
    except BaseException:
        journal.close()
        raise
    return Recovered(store, journal, clean, last_seq)


def open_store(directory: Path, disk: Disk, wall_s: float) -> Store:
    """The ledger's file; a new one if the old is damaged, which is moved aside and told.

    Raises sqlite3.Error, OSError, LedgerUnavailable.
    """
    path = directory / FILE_NAME
    try:
        return Store(path, disk)
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        move_aside(path, disk, wall_s, str(error))
        return Store(path, disk)


def move_aside(path: Path, disk: Disk, wall_s: float, reason: str) -> None:
    """Give a damaged file another name, and say so. Nobody may have it open to write. Raises OSError."""
    stamp = datetime.fromtimestamp(wall_s, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    disk.rename(path, aside)
    for side in ("-wal", "-shm"):
        # They belong to the damaged file; beside a new one they would damage that too.
        with suppress(FileNotFoundError):
            disk.rename(path.with_name(path.name + side), aside.with_name(aside.name + side))
    _log.error(
        "ledger.corrupt",
        file=str(aside),
        reason=reason,
        help="a new ledger begins with what the journal has; `sqlite3 FILE .recover` may read older entries. "
        "Budgets do not know what was spent before",
    )


def replay(paths: Iterable[Path], disk: Disk, store: Store, *, orphaned_s: float | None) -> Replayed:
    """Book all that the journal's segments hold and SQLite does not.

    ``orphaned_s``: the time (Unix seconds) to settle what was never settled; None: it is still under way, leave it.
    Raises OSError, sqlite3.Error, LedgerUnavailable. May be repeated: what is booked is not booked again.
    """
    told = Replayed()
    waiting: dict[str, Intent] = {}
    ready: list[Entry] = []
    for record in _records(paths, disk, told):
        if isinstance(record, Intent):
            waiting[record.id] = record
            continue
        known = waiting.pop(record.id) if record.id in waiting else _unknown(record)
        ready.append(Entry(known, record))
        if len(ready) >= BATCH:
            told.booked += store.add(ready)
            ready.clear()
    told.booked += store.add(ready) if ready else 0
    if orphaned_s is not None:
        _book_orphans(list(waiting.values()), store, orphaned_s, told)
    return told


def tell(told: Replayed) -> None:
    """Log what a replay came to, if it came to anything."""
    if told.damaged:
        _log.error(
            "ledger.journal_damaged",
            pieces=told.damaged,
            help="entries in those places may be missing or orphaned: check the disk, then compare with the bill",
        )
    if told.torn_bytes:
        _log.warning(
            "ledger.journal_torn", bytes=told.torn_bytes, help="nothing was sent for this half entry"
        )
    if told.booked or told.orphaned:
        _log.info("ledger.recovered", entries=told.booked, orphaned=told.orphaned)


def _records(paths: Iterable[Path], disk: Disk, told: Replayed) -> Iterator[Intent | Settlement]:
    for path in paths:
        for record in parse_records(disk.read(path)):
            if isinstance(record, Damage):
                told.damaged += not record.torn
                told.torn_bytes += record.size_bytes if record.torn else 0
            elif isinstance(record, Head):
                check_form(record, path)
            else:
                yield record


def _book_orphans(intents: list[Intent], store: Store, at_s: float, told: Replayed) -> None:
    for first in range(0, len(intents), BATCH):
        orphans = [Entry(one, orphan(one, at_s)) for one in intents[first : first + BATCH]]
        # Some may be booked: their settlement could not be written to the journal, but SQLite had room.
        orphaned = store.add(orphans)
        told.orphaned += orphaned
        told.booked += orphaned


def _unknown(settlement: Settlement) -> Intent:
    """For a settlement whose intent was damaged: the money was spent, whoever asked."""
    request_id = settlement.id.rpartition(".")[0] or settlement.id
    return Intent(settlement.id, request_id, settlement.at_s, provider="", model="")
