"""The SQLite file that answers are kept in: bounded in bytes, and worth nothing but time if it is lost.

So a file that is damaged, or of another form, is replaced by an empty one. ``max_bytes`` bounds all of it: SQLite itself
refuses to let the database grow beyond its part, and the write-ahead log has the rest to itself.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from llmproxyd.cache.entry import MAX_BODY_BYTES

FORM: Final = 1
LOCK_WAIT_S: Final = 1.0
MIN_BYTES: Final = 1 << 20
_PAGE_BYTES: Final = 4096
_SIDE_SHARE: Final = 4
_MAX_SIDE_BYTES: Final = 64 << 20
_BATCHES_IN_LOG: Final = 4
_LOOKED_AT: Final = 256
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_SCHEMA: Final = """
CREATE TABLE entries (
  key BLOB PRIMARY KEY, used_s INTEGER NOT NULL, expires_s REAL NOT NULL, value BLOB NOT NULL
) STRICT;
CREATE INDEX entries_used ON entries (used_s);
CREATE INDEX entries_expires ON entries (expires_s);
"""


class Row(NamedTuple):
    """``used_s``, ``expires_s``: Unix seconds."""

    key: bytes
    used_s: float
    expires_s: float
    value: bytes


class Bounds(NamedTuple):
    """Parts of what the file may take: the database itself, one transaction, one value."""

    database_bytes: int
    log_bytes: int
    batch_bytes: int

    @classmethod
    def of(cls, max_bytes: int) -> Bounds:
        side = min(max(max_bytes, MIN_BYTES) // _SIDE_SHARE, _MAX_SIDE_BYTES)
        return cls(max(max_bytes, MIN_BYTES) - side, side, side // (2 * _BATCHES_IN_LOG))

    @property
    def value_bytes(self) -> int:
        return min(self.batch_bytes, MAX_BODY_BYTES)


def is_damage(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DAMAGED


class CacheFile:
    """A connection that writes, for one thread. Every method may raise sqlite3.Error or OSError.

    stale_s: how long an entry that has expired is still of use.
    """

    def __init__(self, path: Path, *, max_bytes: int, stale_s: float) -> None:
        self._path = path
        self._bounds = Bounds.of(max_bytes)
        self._stale_s = stale_s
        self._database: sqlite3.Connection | None = None
        self.evicted = 0

    @property
    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = _connect(self._path, self._bounds)
        return self._database

    def write(self, rows: Sequence[Row], used: Sequence[tuple[float, bytes]], wall_s: float) -> None:
        """All of it or nothing. ``used``: when which entry was last asked for."""
        try:
            self._write(rows, used, wall_s, spare=1)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            # What was made room for was spread over many pages: more of it has to go.
            self._write(rows, used, wall_s, spare=4)
        self._trim_log()

    def _write(
        self, rows: Sequence[Row], used: Sequence[tuple[float, bytes]], wall_s: float, *, spare: int
    ) -> None:
        with _transaction(self._open) as database:
            database.executemany("DELETE FROM entries WHERE key = ?", [(row.key,) for row in rows])
            self._make_room(sum(_pages(len(row.value)) for row in rows) * spare, wall_s)
            database.executemany("INSERT INTO entries VALUES (?, ?, ?, ?)", [_plain(row) for row in rows])
            database.executemany(
                "UPDATE entries SET used_s = ? WHERE key = ?", [(int(s), k) for s, k in used]
            )

    def forget(self, keys: Sequence[bytes]) -> None:
        with _transaction(self._open) as database:
            database.executemany("DELETE FROM entries WHERE key = ?", [(key,) for key in keys])

    def clear(self) -> None:
        """Start anew with an empty file."""
        self.close()
        for side in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                self._path.with_name(self._path.name + side).unlink()

    def resize(self, max_bytes: int, wall_s: float) -> None:
        """Adopt another bound; what does not fit goes, and the file shrinks."""
        self._bounds = Bounds.of(max_bytes)
        if self._database is None and not self._path.exists():
            return
        with _transaction(self._open):
            self._make_room(1, wall_s)
        self._give_back()
        _bound(self._open, self._bounds)

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _make_room(self, pages: int, wall_s: float) -> None:
        """Room for so many pages more: what is of no use first, then what was used least recently."""
        limit = self._bounds.database_bytes // _PAGE_BYTES
        reserve = max(16, limit // 50)
        while (over := self._used_pages() + pages + reserve - limit) > 0:
            if not self._drop_expired(wall_s) and not self._drop_oldest(over):
                return

    def _give_back(self) -> None:
        """Free pages to the system, in steps that the log has room for."""
        step = max(64, self._bounds.log_bytes // _SIDE_SHARE // _PAGE_BYTES)
        free, before = self._free_pages(), -1
        while free and free != before:
            # As a script: a statement without columns would be stepped once, for one page.
            self._open.executescript(f"PRAGMA incremental_vacuum({step})")
            self._open.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            free, before = self._free_pages(), free

    def _free_pages(self) -> int:
        [free] = self._open.execute("PRAGMA freelist_count").fetchone()
        return int(free)

    def _used_pages(self) -> int:
        [count] = self._open.execute("PRAGMA page_count").fetchone()
        return int(count) - self._free_pages()

    def _drop_expired(self, wall_s: float) -> int:
        useless = "SELECT rowid FROM entries WHERE expires_s <= ? ORDER BY expires_s LIMIT ?"
        gone = self._open.execute(
            f"DELETE FROM entries WHERE rowid IN ({useless})",  # noqa: S608 - a constant
            (wall_s - self._stale_s, _LOOKED_AT),
        ).rowcount
        self.evicted += gone
        return gone

    def _drop_oldest(self, pages: int) -> int:
        """At least so many pages' worth, as far as one look goes."""
        rows = self._open.execute(
            "SELECT rowid, length(value) FROM entries ORDER BY used_s, rowid LIMIT ?", (_LOOKED_AT,)
        ).fetchall()
        chosen: list[tuple[int]] = []
        bytes_left = pages * _PAGE_BYTES
        for rowid, length in rows:
            if bytes_left <= 0:
                break
            chosen.append((rowid,))
            bytes_left -= length
        self._open.executemany("DELETE FROM entries WHERE rowid = ?", chosen)
        self.evicted += len(chosen)
        return len(chosen)

    def _trim_log(self) -> None:
        """SQLite reuses the log from its start once it is copied, but never shortens it by itself in time."""
        try:
            size = os.stat(f"{self._path}-wal").st_size
        except FileNotFoundError:
            return
        if size > self._bounds.log_bytes // 2:
            self._open.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


class CacheReader:
    """A connection that reads, for one thread. ``read`` may raise sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None
        self._inode: int | None = None

    def read(self, key: bytes) -> tuple[float, bytes] | None:
        """When it expires (Unix seconds), and its value; None if there is none."""
        try:
            inode = self._path.stat().st_ino
        except FileNotFoundError:
            return None
        if inode != self._inode:  # the writer began anew
            self.close()
        if self._database is None:
            self._database = sqlite3.connect(self._path, timeout=LOCK_WAIT_S, isolation_level=None)
            self._database.execute("PRAGMA query_only = 1")
            self._inode = inode
        found: tuple[float, bytes] | None = self._database.execute(
            "SELECT expires_s, value FROM entries WHERE key = ?", (key,)
        ).fetchone()
        return found

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


class _transaction:  # noqa: N801 - used like a function
    """BEGIN IMMEDIATE to COMMIT; ROLLBACK where something was raised."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> sqlite3.Connection:
        self._database.execute("BEGIN IMMEDIATE")
        return self._database

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._database.execute("COMMIT")
        elif self._database.in_transaction:
            self._database.execute("ROLLBACK")


def _connect(path: Path, bounds: Bounds) -> sqlite3.Connection:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite gives its side files the mode of the first one.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)
    database = sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None, check_same_thread=False)
    try:
        _prepare(database, bounds)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, bounds: Bounds) -> None:
    # Only an empty file takes this; it lets the file shrink when the operator gives it less.
    database.execute("PRAGMA auto_vacuum = INCREMENTAL")
    database.execute("PRAGMA journal_mode = WAL")
    # A power cut may take the last answers along, never the file's order.
    database.execute("PRAGMA synchronous = NORMAL")
    [form] = database.execute("PRAGMA user_version").fetchone()
    if form not in (0, FORM):
        other = sqlite3.DatabaseError(f"the file has form {form}, this version reads {FORM}")
        other.sqlite_errorcode = sqlite3.SQLITE_NOTADB
        raise other
    if form == 0:
        database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {FORM}; COMMIT;")
    _bound(database, bounds)


def _bound(database: sqlite3.Connection, bounds: Bounds) -> None:
    log_pages = max(8, bounds.log_bytes // _BATCHES_IN_LOG // _PAGE_BYTES)
    database.execute(f"PRAGMA max_page_count = {bounds.database_bytes // _PAGE_BYTES}")
    database.execute(f"PRAGMA wal_autocheckpoint = {log_pages}")
    database.execute(f"PRAGMA journal_size_limit = {bounds.log_bytes // 2}")


def _pages(size_bytes: int) -> int:
    return size_bytes // (_PAGE_BYTES - 4) + 2


def _plain(row: Row) -> tuple[bytes, int, float, bytes]:
    return row.key, int(row.used_s), row.expires_s, row.value
