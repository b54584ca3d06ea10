"""The one thread that writes to SQLite, and tidies up when there is nothing to write.

Entries wait at most `GATHER_S` for company, then go in as one transaction. If SQLite does not take them they are tried
again until it does; the journal has them meanwhile. A file that turns out to be damaged is moved aside and begun anew.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import msgspec

from llmproxyd.ledger.disk import Disk
from llmproxyd.ledger.journal import segments
from llmproxyd.ledger.recovery import move_aside, open_store, replay, tell
from llmproxyd.ledger.store import FILE_NAME, LedgerReader, LedgerUnreadable, Store, is_damage
from llmproxyd.logs import get_logger
from llmproxyd.values.ledger import Entry, LedgerUnavailable
from llmproxyd.values.snapshot import Provider

GATHER_S: Final = 0.01
BATCH: Final = 500
RETRY_S: Final = 0.25
SYNC_S: Final = 1.0
CHECKPOINT_S: Final = 5.0
TIDY_S: Final = 0.25
CHECK_AFTER_S: Final = 10.0
CHECK_TIMEOUT_S: Final = 60.0
_log = get_logger("ledger")


class Owner(Protocol):
    """What the thread asks of the ledger it works for. All may be called from the thread."""

    def tend_journal(self) -> bool:
        """Write what is held, settle what is stale, sync. Whether the journal should go on in a new segment."""
        ...

    def rotate_journal(self) -> bool:
        """Go on in a new segment, unless an older one still waits to be dropped; whether there is an older one now."""
        ...

    def drop_older_segments(self) -> bool:
        """SQLite safely has what they hold; whether they are gone."""
        ...

    def store_trouble(self, reason: str | None) -> None: ...


class _Flush(msgspec.Struct):
    done: threading.Event = msgspec.field(default_factory=threading.Event)


class _Describe(msgspec.Struct, frozen=True):
    providers: tuple[Provider, ...]


class Writer:
    """Owns ``store`` from ``start`` on. ``keep_s``: how long entries are kept; sums are kept for ever."""

    def __init__(
        self,
        directory: Path,
        disk: Disk,
        store: Store,
        owner: Owner,
        *,
        wall: Callable[[], float],
        keep_s: float,
        forgettable_seq: int,
        check: bool,
        check_after_s: float,
        retry_s: float,
    ) -> None:
        self._directory, self._disk, self._owner = directory, disk, owner
        self._store: Store | None = store
        self._wall, self._keep_s, self._retry_s = wall, keep_s, retry_s
        self._check_after_s = check_after_s
        self._queue: queue.SimpleQueue[Entry | _Flush | _Describe | None] = queue.SimpleQueue()
        self._batch: list[Entry] = []
        self._flushes: list[_Flush] = []
        self._described: _Describe | None = None
        self._undescribed = False
        self._damage: str | None = None
        self._closing = threading.Event()
        self._forgettable_seq = forgettable_seq
        self._checkpoint_due_s = 0.0
        self._untidy = True
        self._tidy_due_s = 0.0
        self.booked = 0
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._checker = (
            threading.Thread(target=self._check, name="ledger-check", daemon=True) if check else None
        )

    def start(self) -> None:
        self._thread.start()
        if self._checker is not None:
            self._checker.start()

    def put(self, entry: Entry) -> None:
        """Book ``entry`` soon. Never blocks."""
        self._queue.put(entry)

    def describe(self, providers: tuple[Provider, ...]) -> None:
        self._queue.put(_Describe(providers))

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was put before is in SQLite; whether it is."""
        mark = _Flush()
        self._queue.put(mark)
        return mark.done.wait(timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Write what is left and end the thread; whether everything is in SQLite. Call it from one thread, once."""
        self._closing.set()
        self._queue.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive() and not self._batch

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    # --- the thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._gather(self._retry_s)
                self._store_batch()
                self._tend()
            self._drain()
            self._store_batch()
            self._end()
        except (
            Exception
        ) as error:  # a bug of ours; without a thread nothing would be booked, and nobody would know
            _log.exception("ledger.writer_ended")
            self._owner.store_trouble(f"the ledger's writer has ended: {error!r}; restart the daemon")
            raise

    def _gather(self, timeout_s: float) -> None:
        """Wait for something to write, and a little longer for more."""
        try:
            self._take(self._queue.get(timeout=timeout_s))
        except queue.Empty:
            return
        self._closing.wait(GATHER_S)
        while len(self._batch) < BATCH and self._take_waiting():
            pass

    def _drain(self) -> None:
        while self._take_waiting():
            pass

    def _take_waiting(self) -> bool:
        try:
            self._take(self._queue.get_nowait())
        except queue.Empty:
            return False
        return True

    def _take(self, item: Entry | _Flush | _Describe | None) -> None:
        match item:
            case Entry():
                self._batch.append(item)
            case _Flush():
                self._flushes.append(item)
            case _Describe():
                self._described, self._undescribed = item, True
            case None:
                pass

    def _store_batch(self) -> None:
        """Into SQLite with all that was taken, however often that must be tried; once more only while closing."""
        while self._batch or self._undescribed or self._flushes:
            if self._try_store():
                for mark in self._flushes:
                    mark.done.set()
                self._flushes.clear()
                return
            if self._closing.is_set():
                return
            self._owner.tend_journal()
            self._closing.wait(self._retry_s)

    def _try_store(self) -> bool:
        try:
            store = self._open()
            if self._batch:
                self._book(store)
            if self._undescribed and self._described is not None:
                store.describe(self._described.providers, self._wall())
                self._undescribed = False
        except (sqlite3.Error, OSError, LedgerUnavailable) as error:
            self._fail(error)
            return False
        self._owner.store_trouble(None)
        return True

    def _book(self, store: Store) -> None:
        fresh = store.add(self._batch)
        if fresh != len(self._batch):
            _log.warning("ledger.booked_before", entries=len(self._batch) - fresh)
        self.booked += len(self._batch)
        self._batch = []
        self._untidy = True

    def _open(self) -> Store:
        if self._damage is not None:
            self._begin_anew(self._damage)
        if self._store is None:
            self._store = open_store(self._directory, self._disk, self._wall())
        return self._store

    def _fail(self, error: Exception) -> None:
        """A connection that failed is not trusted again."""
        if isinstance(error, sqlite3.Error) and is_damage(error):
            self._damage = str(error)
        self._owner.store_trouble(
            f"SQLite does not take entries: {error}; free some space where the state directory is, "
            "or see what ails its disk"
        )
        self._close_store()

    def _close_store(self) -> None:
        store, self._store = self._store, None
        if store is None:
            return
        try:
            store.close()
        except sqlite3.Error as error:
            _log.warning("ledger.close_failed", reason=str(error))

    def _begin_anew(self, reason: str) -> None:
        self._close_store()
        path = self._directory / FILE_NAME
        if path.exists():
            move_aside(path, self._disk, self._wall(), reason)
        self._damage = None
        self._store = Store(path, self._disk)
        tell(replay(segments(self._directory), self._disk, self._store, orphaned_s=None))
        self._forgettable_seq = 0
        self._undescribed = self._described is not None

    # --- when there is time -----------------------------------------------------------------------------------

    def _tend(self) -> None:
        try:
            if self._owner.tend_journal():
                self._change_segment()
            if not self._batch and self._queue.empty():
                self._tidy()
        except (sqlite3.Error, OSError, LedgerUnavailable) as error:
            self._fail(error)

    def _change_segment(self) -> None:
        """A new segment; when SQLite safely has what was settled before, the old ones go."""
        if not self._owner.rotate_journal():
            return
        self._drain()
        self._store_batch()
        if self._batch:
            return
        store = self._open()
        last_seq = store.last_seq()
        store.make_durable()
        if self._owner.drop_older_segments():
            # What the journal still holds must stay: a restart would book it again.
            self._forgettable_seq = last_seq
            self._untidy = True

    def _tidy(self) -> None:
        """One small step: forget what is too old, give back room, move the write-ahead log."""
        if self._damage is not None:
            self._open()
        now_s = time.monotonic()
        if now_s < self._tidy_due_s or (not self._untidy and now_s < self._checkpoint_due_s):
            return
        store = self._open()
        forgotten = store.forget(self._wall() - self._keep_s, self._forgettable_seq)
        more = store.shrink()
        self._untidy = bool(forgotten) or more
        self._tidy_due_s = now_s if self._untidy else now_s + TIDY_S
        if now_s >= self._checkpoint_due_s:
            store.checkpoint()
            self._checkpoint_due_s = now_s + CHECKPOINT_S
        self._owner.store_trouble(None)

    def _end(self) -> None:
        """Leave nothing to recover: the file is whole, and the journal repeats nothing that is in it."""
        if self._batch:
            return
        try:
            store = self._open()
            if self._owner.rotate_journal():
                store.make_durable(clean=True)
                self._owner.drop_older_segments()
        except (sqlite3.Error, OSError, LedgerUnavailable) as error:
            self._fail(error)
            return
        self._close_store()

    def _check(self) -> None:
        """Read the whole file once beside the work, after a stop that was none.

        Not beside the start: of a million entries that takes seconds, and the clients wait for the start.
        """
        if self._closing.wait(self._check_after_s):
            return
        try:
            reason = LedgerReader(self._directory).find_damage(CHECK_TIMEOUT_S)
        except LedgerUnreadable as error:
            _log.warning("ledger.unchecked", reason=str(error))
            return
        if reason is not None:
            self._damage = reason
