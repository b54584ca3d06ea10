"""The ledger as the rest of the program knows it: ``begin`` before an attempt is sent, ``settle`` when it is over.

Both are one write to the journal, in microseconds, and are safe from then on even if the process is killed; SQLite has
the entry some ten milliseconds later. A power cut may take the last second. When nothing can be written, ``begin``
refuses or keeps a bounded number of lines in memory, as configured, and the ledger says so until it can again.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Literal, TypeAlias

from llmproxyd.ledger.disk import Disk
from llmproxyd.ledger.journal import FORM, Head, Journal, fitted, format_record
from llmproxyd.ledger.recovery import lock, recover
from llmproxyd.ledger.store import LedgerReader
from llmproxyd.ledger.writer import CHECK_AFTER_S, RETRY_S, SYNC_S, Writer
from llmproxyd.logs import get_logger
from llmproxyd.values.ledger import Entry, Intent, LedgerHealth, LedgerUnavailable, Settlement, Total, orphan
from llmproxyd.values.snapshot import Provider

Policy: TypeAlias = Literal["refuse", "memory"]

KEEP_DAYS: Final = 400
MAX_HELD_BYTES: Final = 8 << 20
MAX_UNBOOKED: Final = 10_000
ROTATE_BYTES: Final = 8 << 20
ROTATE_S: Final = 3600.0
MAX_OPEN_S: Final = 86_400.0
_STALE_S: Final = 60.0
_DAY_S: Final = 86_400.0
_PROBE: Final = format_record(Head(FORM))
_log = get_logger("ledger")


class Ledger:
    """Made by ``open``. ``begin`` and ``settle`` may be called from any thread; usually it is the event loop's."""

    def __init__(
        self,
        state_dir: Path,
        disk: Disk,
        lock_fd: int,
        journal: Journal,
        *,
        wall: Callable[[], float],
        policy: Policy,
        alarm: Callable[[LedgerHealth], None] | None,
    ) -> None:
        self._state_dir, self._disk, self._lock_fd, self._journal = state_dir, disk, lock_fd, journal
        self._wall, self._policy, self._alarm = wall, policy, alarm
        self._writer: Writer  # set by open: it needs a ledger to work for
        self._lock = threading.Lock()
        self._open: dict[str, tuple[Intent, bytes]] = {}
        self._why_held = ""
        self._settled = 0
        self._closed = False
        self._rotated_s, self._rotated_bytes = time.monotonic(), journal.size_bytes
        self._synced_s = self._swept_s = self._rotated_s
        self._synced_bytes = journal.size_bytes
        self._health_lock = threading.Lock()
        self._troubles: dict[str, str] = {}
        self._reader = LedgerReader(state_dir)

    @classmethod
    def open(
        cls,
        state_dir: Path,
        *,
        wall: Callable[[], float],
        policy: Policy = "refuse",
        alarm: Callable[[LedgerHealth], None] | None = None,
        keep_days: int = KEEP_DAYS,
        disk: Disk | None = None,
        retry_s: float = RETRY_S,
        check_after_s: float = CHECK_AFTER_S,
    ) -> Ledger:
        """Recover what the last process left and be ready. Raises LedgerUnavailable with words for the operator.

        ``wall``: Unix seconds. ``alarm`` is called with each change of health, from any thread. Entries are kept for
        ``keep_days``, at least one; their sums per hour for ever. ``retry_s``: how soon what failed is tried again.
        ``check_after_s``: when, after a stop that was none, the whole file is read.
        """
        disk = disk or Disk()
        lock_fd = lock(state_dir)
        try:
            left = recover(state_dir, disk, wall())
        except (sqlite3.Error, OSError) as error:
            os.close(lock_fd)
            raise LedgerUnavailable(f"the ledger in {state_dir} cannot be opened: {error}") from error
        except BaseException:
            os.close(lock_fd)
            raise
        ledger = cls(state_dir, disk, lock_fd, left.journal, wall=wall, policy=policy, alarm=alarm)
        keep_s = max(1, keep_days) * _DAY_S
        ledger._writer = Writer(
            state_dir,
            disk,
            left.store,
            ledger,
            wall=wall,
            keep_s=keep_s,
            forgettable_seq=left.last_seq,
            check=not left.clean,
            check_after_s=check_after_s,
            retry_s=retry_s,
        )
        ledger._writer.start()
        return ledger

    def begin(self, intent: Intent) -> None:
        """Book that an attempt is about to be sent; when this returns, it outlives the process.

        Raises LedgerUnavailable: then it must not be sent. Raises ValueError for an id that is still open.
        """
        intent, line = fitted(intent)
        trouble = None
        try:
            with self._lock:
                self._check_room(intent)
                trouble = self._append(line)
                if trouble is not None:
                    self._keep_or_refuse(line, trouble)
                self._open[intent.id] = intent, line
        finally:
            if trouble is not None:
                self._note("journal", trouble)

    def settle(self, settlement: Settlement) -> None:
        """Book how an attempt ended, once for each ``begin``. Never fails: what cannot be written is kept until it can."""
        settlement, line = fitted(settlement)
        trouble = None
        with self._lock:
            known = None if self._closed else self._open.pop(settlement.id, None)
            if known is not None:
                trouble = self._append(line)
                if trouble is not None:
                    self._journal.hold(line)
                self._settled += 1
                self._writer.put(Entry(known[0], settlement))
        if known is None:
            _log.error(
                "ledger.unknown", id=settlement.id, help="settled twice, after a day, or after the end"
            )
        if trouble is not None:
            self._note("journal", trouble)

    def describe(self, providers: Iterable[Provider]) -> None:
        """Show these providers in the SQL views from now on; call it after each reload. Returns at once."""
        self._writer.describe(tuple(providers))

    def healthy(self) -> tuple[bool, str]:
        """Whether all can be written, and if not, why and what to do."""
        health = self._health()
        return health.ok, health.reason

    def totals(self, scopes: Iterable[str], since_s: float) -> dict[tuple[str, str], Total]:
        """(scope, name) -> sums since then, as SQLite has them: see LedgerReader.totals. For budgets at the start."""
        return self._reader.totals(scopes, since_s)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until everything settled so far is in SQLite; whether it is. Blocks: not for the event loop."""
        return self._writer.flush(timeout_s)

    async def close(self, timeout_s: float = 5.0) -> bool:
        """Write what is left and let go of the files; whether all of it is in SQLite. If not, the next start does it."""
        return await asyncio.to_thread(self.stop, timeout_s)

    def stop(self, timeout_s: float = 5.0) -> bool:
        """``close`` for a thread that may block."""
        with self._lock:
            if self._closed:
                return True
            self._closed = True
        done = self._writer.close(timeout_s)
        if not done:
            _log.warning("ledger.unfinished", help="the journal has the rest; the next start books it")
        if not self._writer.is_alive():
            self._journal.close()
            os.close(self._lock_fd)
        return done

    # --- for begin and settle, under the lock -----------------------------------------------------------------

    def _check_room(self, intent: Intent) -> None:
        if self._closed:
            raise LedgerUnavailable("the ledger is closed: the daemon is stopping")
        if intent.id in self._open:
            raise ValueError(f"attempt {intent.id} has begun already")
        if self._settled - self._writer.booked >= MAX_UNBOOKED:
            raise LedgerUnavailable(f"cost accounting is too far behind: {self._health().reason}")

    def _append(self, line: bytes) -> str | None:
        """None, or why it could not be written."""
        if self._journal.held_bytes:
            return self._why_held  # the thread tries again; here each try would copy all that is held
        try:
            self._journal.append(line)
        except OSError as error:
            self._why_held = _explain(error)
            return self._why_held
        return None

    def _keep_or_refuse(self, line: bytes, trouble: str) -> None:
        if self._policy == "refuse":
            raise LedgerUnavailable(f"cost accounting is not possible now: {trouble}")
        if self._journal.held_bytes + len(line) > MAX_HELD_BYTES:
            raise LedgerUnavailable(
                f"cost accounting is not possible now, and memory for it is full: {trouble}"
            )
        self._journal.hold(line)

    # --- for the writer's thread ------------------------------------------------------------------------------

    def tend_journal(self) -> bool:
        now_s = time.monotonic()
        if now_s - self._swept_s >= _STALE_S:
            self._swept_s = now_s
            self._settle_stale()
        in_trouble = "journal" in self._troubles
        if in_trouble or (
            now_s - self._synced_s >= SYNC_S and self._journal.size_bytes != self._synced_bytes
        ):
            self._synced_s = now_s
            self._mend_and_sync(in_trouble)
        grown_bytes = self._journal.size_bytes - self._rotated_bytes
        due = grown_bytes > 0 and now_s - self._rotated_s >= ROTATE_S
        return due or grown_bytes >= ROTATE_BYTES or self._journal.has_older

    def rotate_journal(self) -> bool:
        try:
            with self._lock:
                if not self._journal.has_older:
                    self._journal.rotate([line for _, line in self._open.values()])
        except OSError as error:
            self._note("journal", _explain(error))
            return False
        self._rotated_s = time.monotonic()
        self._rotated_bytes = self._synced_bytes = self._journal.size_bytes
        return True

    def drop_older_segments(self) -> bool:
        try:
            self._journal.drop_older()
        except OSError as error:
            self._note("journal", _explain(error))
            return False
        return True

    def store_trouble(self, reason: str | None) -> None:
        if reason is not None or "store" in self._troubles:
            self._note("store", reason)

    def _mend_and_sync(self, in_trouble: bool) -> None:
        """Only who has written and synced may say that all is well again."""
        try:
            if in_trouble:
                with self._lock:
                    self._journal.append(_PROBE)
            size_bytes = self._journal.size_bytes
            self._journal.sync()
        except OSError as error:
            self._note("journal", _explain(error))
            return
        self._synced_bytes = size_bytes
        if in_trouble:
            self._note("journal", None)

    def _settle_stale(self) -> None:
        """Whoever began these has forgotten them; they must not pile up."""
        wall_s = self._wall()
        with self._lock:
            stale = [intent for intent, _ in self._open.values() if wall_s - intent.at_s > MAX_OPEN_S]
        for intent in stale:
            _log.error(
                "ledger.stale",
                id=intent.id,
                help="begun a day ago and never settled: report this, it is a bug",
            )
            self.settle(orphan(intent, wall_s))

    # --- health -----------------------------------------------------------------------------------------------

    def _note(self, part: str, reason: str | None) -> None:
        with self._health_lock:
            before = self._health()
            if reason is None:
                self._troubles.pop(part, None)
            else:
                self._troubles[part] = reason
            after = self._health()
        if after == before:
            return
        if after.ok:
            _log.warning("ledger.well", help="entries are written again")
        else:
            _log.error("ledger.unwell", reason=after.reason, policy=self._policy)
        if self._alarm is not None:
            self._alarm(after)

    def _health(self) -> LedgerHealth:
        troubles = tuple(self._troubles.values())
        return LedgerHealth(not troubles, "; ".join(dict.fromkeys(troubles)))


def _explain(error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{reason}: free some space where the state directory is"
    return f"{reason}: look after the disk that holds the state directory"
