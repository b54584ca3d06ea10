"""The SQLite file that jobs are kept in: opened, checked, and brought to the form this version reads.

A file that is damaged is moved aside, never deleted; one that a newer version made is left alone.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from llmproxyd.logs import get_logger

VERSION = 2
LOCK_WAIT_S = 1.0
_PAGE_BYTES = 4096
_WAL_KEPT_BYTES = 16 << 20
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

# Small columns first: what stands behind a long blob is found only by walking through it.
_SCHEMA = """
CREATE TABLE jobs (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, owner TEXT NOT NULL, state TEXT NOT NULL, rank INTEGER NOT NULL,
  starts INTEGER NOT NULL DEFAULT 0, created_s REAL NOT NULL, completed_s REAL, bytes INTEGER NOT NULL,
  stream INTEGER NOT NULL, key TEXT, digest BLOB NOT NULL, inherited TEXT, previous TEXT,
  key_id TEXT NOT NULL DEFAULT '', status INTEGER, content_type TEXT, target TEXT NOT NULL, headers TEXT NOT NULL, result_headers TEXT, body BLOB NOT NULL, result BLOB
) STRICT;
CREATE INDEX jobs_waiting ON jobs (rank, created_s, bytes) WHERE state = 'queued';
CREATE INDEX jobs_over ON jobs (completed_s, bytes) WHERE completed_s IS NOT NULL;
CREATE UNIQUE INDEX jobs_key ON jobs (owner, key) WHERE key IS NOT NULL;
"""

_WITH_KEY_ID = "ALTER TABLE jobs ADD COLUMN key_id TEXT NOT NULL DEFAULT '';"

_log = get_logger("jobs")


class StoreError(Exception):
    """Jobs cannot be read or written now; the text says why, without a path."""


def is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DAMAGED


def open_file(path: Path, *, max_bytes: int, wall_s: float) -> sqlite3.Connection:
    """The connection, to be used by this thread alone. max_bytes: what the file may grow to. Raises StoreError."""
    try:
        try:
            return _open(path, max_bytes)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            _move_aside(path, wall_s, str(error))
            return _open(path, max_bytes)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(describe(error)) from error


def describe(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _open(path: Path, max_bytes: int) -> sqlite3.Connection:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite gives its side files the mode of the first one.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    os.chmod(path, 0o600)
    database = sqlite3.connect(path, isolation_level=None, timeout=LOCK_WAIT_S)
    try:
        _prepare(database, max_bytes)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, max_bytes: int) -> None:
    # Two daemons with one state directory would do each other's jobs: the second is told that the file is locked.
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    database.execute("PRAGMA journal_mode = WAL")
    # What was deleted is gone from the file, not only from its index.
    database.execute("PRAGMA secure_delete = ON")
    # A 202 is a promise. NORMAL would keep it after a kill, but not after a power cut; an accepted job costs a call to
    # a provider, beside which one flush is nothing.
    database.execute("PRAGMA synchronous = FULL")
    database.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
    database.execute(f"PRAGMA max_page_count = {max(1, max_bytes // _PAGE_BYTES)}")
    [told] = database.execute("PRAGMA quick_check(1)").fetchone()
    if told != "ok":
        damaged = sqlite3.DatabaseError(told)
        damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damaged
    _migrate(database)


def _migrate(database: sqlite3.Connection) -> None:
    [version] = database.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise StoreError(f"the file was made by a newer version (form {version}, this one reads {VERSION})")
    if version == 0:
        database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
    elif version == 1:
        database.executescript(f"BEGIN IMMEDIATE; {_WITH_KEY_ID} PRAGMA user_version = {VERSION}; COMMIT;")


def _move_aside(path: Path, wall_s: float, reason: str) -> None:
    stamp = datetime.fromtimestamp(wall_s, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    path.rename(aside)
    for side in ("-wal", "-shm"):
        # They belong to the damaged file; beside a new one they would damage that too.
        with suppress(FileNotFoundError):
            path.with_name(path.name + side).rename(aside.with_name(aside.name + side))
    _log.error(
        "jobs.corrupt",
        file=str(aside),
        reason=reason,
        help="requests that were accepted to be answered later are lost; `sqlite3 FILE .recover` may read some",
    )
