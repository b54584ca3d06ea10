"""The SQLite file: opened and brought to form, filled in batches by one thread, read by any number of others.

Readers get connections of their own that cannot write. The file may be read with the ``sqlite3`` program at any time.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any, Final, LiteralString

import msgspec

from llmproxyd.ledger import schema
from llmproxyd.ledger.disk import Disk
from llmproxyd.ledger.rows import HOUR_S, add_part, entry_row, hour_of, sums_of
from llmproxyd.logs import get_logger
from llmproxyd.values.ledger import SCOPES, Entry, LedgerUnavailable, Total
from llmproxyd.values.snapshot import Provider

FILE_NAME: Final = "ledger.db"
QUERY_TIMEOUT_S: Final = 60.0
_log = get_logger("ledger")
_STEPS_BETWEEN_LOOKS: Final = 10_000
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_UNBOOKABLE: Final = (sqlite3.IntegrityError, sqlite3.DataError, ValueError, OverflowError, TypeError)
_encode = msgspec.json.Encoder().encode


class LedgerUnreadable(Exception):  # noqa: N818 - told to whoever asked, never a bug
    """A question to the ledger cannot be answered; the text says why and what to do."""


def is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DAMAGED


class Store:
    """The one connection that writes. One thread at a time; methods raise sqlite3.Error and leave no half batch."""

    def __init__(self, path: Path, disk: Disk) -> None:
        """Open or make the file. Raises sqlite3.Error, OSError, LedgerUnavailable for one of a newer version."""
        self._database = disk.connect(path)
        try:
            self._prepare()
        except BaseException:
            self._database.close()
            raise

    def add(self, entries: Sequence[Entry]) -> int:
        """Book what is not booked yet, in one transaction; how many entries that were.

        An entry that no table can hold is told in the log and left out, or it would keep all others waiting.
        """
        try:
            return self._add(entries)
        except _UNBOOKABLE as error:
            if len(entries) > 1:
                return sum(self.add([entry]) for entry in entries)
            _log.error(
                "ledger.unbookable",
                entry=repr(entries[0]),
                reason=str(error),
                help="report this: it is a bug",
            )
            return 0

    def _add(self, entries: Sequence[Entry]) -> int:
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        try:
            if self._insert(schema.INSERT_ENTRIES, [entry_row(entry) for entry in entries]) == len(entries):
                self._insert(schema.ADD_HOURS, [(*key, *sums) for key, sums in sums_of(entries).items()])
                database.execute("COMMIT")
                return len(entries)
        except BaseException:
            self._undo()
            raise
        # Some are booked already, as after a restart that reads the journal again: their sums must not grow twice.
        self._undo()
        fresh = self._unknown(entries)
        return self._add(fresh) if fresh else 0

    def _insert(self, statements: Mapping[int, LiteralString], rows: Sequence[Sequence[Any]]) -> int:
        """How many rows were changed or are new."""
        done = changed = 0
        for count, statement in statements.items():
            while len(rows) - done >= count:
                changed += self._fill(statement, rows[done : done + count])
                done += count
        return changed

    def _fill(self, statement: LiteralString, rows: Iterable[Sequence[Any]]) -> int:
        return self._database.execute(statement, tuple(chain.from_iterable(rows))).rowcount

    def _unknown(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those that are not booked yet, each once; of two with the same id the first."""
        ids = _encode([entry.intent.id for entry in entries]).decode()
        known = {row[0] for row in self._database.execute(schema.KNOWN_IDS, (ids,))}
        fresh = [entry for entry in entries if entry.intent.id not in known]
        return list({entry.intent.id: entry for entry in reversed(fresh)}.values())[::-1]

    def describe(self, providers: Iterable[Provider], wall_s: float) -> None:
        """Put what the operator wrote beside the entries. Providers that are gone stay, as disabled."""
        known, credentials = [], []
        for one in providers:
            enabled = int(one.enabled)
            known.append((one.name, one.preset, one.base_url, enabled, one.priority, wall_s))
            credentials += [
                (one.name, one.auth.value, int(key.name.startswith("env:"))) for key in one.credentials
            ]
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        try:
            database.execute(schema.DISABLE_PROVIDERS)
            database.execute(schema.FORGET_CREDENTIALS)
            database.execute(schema.PUT_PROVIDERS, (_encode(known).decode(),))
            database.execute(schema.PUT_CREDENTIALS, (_encode(credentials).decode(),))
            database.execute("COMMIT")
        except BaseException:
            self._undo()
            raise

    def make_durable(self, *, clean: bool = False) -> None:
        """Make everything that is committed outlive a power cut, and note whether this is an orderly end."""
        database = self._database
        database.execute("PRAGMA synchronous = FULL")
        try:
            database.execute(schema.MARK, (int(clean),))
        finally:
            database.execute("PRAGMA synchronous = NORMAL")

    def was_closed_cleanly(self) -> bool:
        [clean] = self._database.execute("SELECT clean FROM state").fetchone()
        return bool(clean)

    def last_seq(self) -> int:
        """The number of the newest entry; 0 without one."""
        [last] = self._database.execute("SELECT coalesce(max(seq), 0) FROM entries").fetchone()
        return int(last)

    def forget(self, before_s: float, up_to_seq: int) -> int:
        """Delete some of the entries older than ``before_s`` (Unix seconds); how many. Sums stay."""
        return self._database.execute(schema.FORGET_ENTRIES, (before_s, up_to_seq)).rowcount

    def shrink(self) -> bool:
        """Give some free pages back to the file system; whether there are more."""
        self._database.execute("PRAGMA incremental_vacuum(256)").fetchall()
        [free] = self._database.execute("PRAGMA freelist_count").fetchone()
        return bool(free)

    def checkpoint(self) -> None:
        """Move the write-ahead log into the file, as far as no reader is in the way."""
        self._database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        self._database.close()

    def _prepare(self) -> None:
        database = self._database
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        database.execute("PRAGMA journal_mode = WAL").fetchall()
        # The journal holds what a power cut may take; it is dropped only after `make_durable`.
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA journal_size_limit = 16777216").fetchall()
        database.execute("PRAGMA cache_size = -2048")
        [version] = database.execute("PRAGMA user_version").fetchone()
        if version > schema.VERSION:
            raise LedgerUnavailable(
                f"{FILE_NAME} was made by a newer version (form {version}, this one reads {schema.VERSION}): "
                "start that version, or give this one another state directory"
            )
        if version == 0:
            database.executescript(schema.CREATE)

    def _undo(self) -> None:
        if self._database.in_transaction:  # some errors roll back by themselves
            self._database.execute("ROLLBACK")


class LedgerReader:
    """Questions to the ledger, from any thread, with or without a daemon. Each has a connection and an end in time."""

    def __init__(self, state_dir: Path, *, timeout_s: float = QUERY_TIMEOUT_S) -> None:
        self._path = state_dir / FILE_NAME
        self._timeout_s = timeout_s

    def query(self, sql: LiteralString, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """The rows ``sql`` selects; fields by number or name. Raises LedgerUnreadable."""
        try:
            with closing(self._connect()) as database:
                return database.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise LedgerUnreadable(self._explain(error)) from error

    def totals(self, scopes: Iterable[str], since_s: float) -> dict[tuple[str, str], Total]:
        """(scope, name) -> sums of what began at ``since_s`` (Unix seconds) or later. Raises LedgerUnreadable.

        Whole hours come from their sums; only a window that begins within one reads entries, those of that hour.
        """
        wanted = frozenset(scopes)
        if not wanted <= set(SCOPES):
            raise ValueError(f"no such scope: {', '.join(sorted(wanted - set(SCOPES)))}")
        first_whole_s = hour_of(since_s) + (HOUR_S if since_s % HOUR_S else 0)
        rows = self.query(schema.TOTALS, (json.dumps(sorted(wanted)), first_whole_s))
        totals = {(scope, name): Total(*sums) for scope, name, *sums in rows}
        if first_whole_s > since_s:
            for row in self.query(schema.PART_OF_AN_HOUR, (since_s, first_whole_s)):
                add_part(totals, tuple(row))
        return {key: total for key, total in totals.items() if key[0] in wanted}

    def find_damage(self, timeout_s: float) -> str | None:
        """What SQLite's quick check finds; None: nothing, or not within the time. Raises LedgerUnreadable."""
        try:
            with closing(self._connect(timeout_s)) as database:
                [told] = database.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.Error as error:
            if is_damage(error):
                return str(error)
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                return None
            raise LedgerUnreadable(self._explain(error)) from error
        return None if told == "ok" else str(told)

    def _connect(self, timeout_s: float | None = None) -> sqlite3.Connection:
        if not self._path.exists():
            raise LedgerUnreadable(f"there is no {self._path} yet: the daemon makes it when it starts")
        database = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)
        database.row_factory = sqlite3.Row
        ends_s = time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        database.set_progress_handler(lambda: time.monotonic() > ends_s, _STEPS_BETWEEN_LOOKS)
        return database

    def _explain(self, error: sqlite3.Error) -> str:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            return f"the question took longer than {self._timeout_s:g} s: ask for a shorter time"
        return f"{self._path} cannot be read: {error}"
