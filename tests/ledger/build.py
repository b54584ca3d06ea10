"""Entries for tests, and a disk that fails when it is told to."""

from __future__ import annotations

import errno
import sqlite3
import threading
from pathlib import Path
from typing import Any

from llmproxyd.ledger.disk import Disk
from llmproxyd.ledger.ledger import Ledger
from llmproxyd.values.cost import Usage
from llmproxyd.values.ledger import Intent, LedgerHealth, Settlement

NOON_S = 1_767_182_400.0  # 2025-12-31 12:00 UTC


def wall() -> float:
    return NOON_S


def intent(number: int = 0, **changes: Any) -> Intent:
    known: dict[str, Any] = {
        "id": f"req_{number}.1",
        "request_id": f"req_{number}",
        "at_s": NOON_S + number,
        "provider": "openai",
        "model": "large",
        "upstream": "large-2026",
        "deployment": "openai|https://api.example|large-2026",
        "operation": "chat",
        "surface": "openai-chat",
        "tenant": "acme",
        "project": "website",
        "user": "alice",
        "key_id": "key_1",
        "task": "documentation",
        "label": "internal",
        "generation": 3,
        "reserved_nanos": 5_000_000,
        "price_version": "operator",
    }
    return Intent(**known | changes)


def settlement(number: int = 0, **changes: Any) -> Settlement:
    known: dict[str, Any] = {
        "id": f"req_{number}.1",
        "at_s": NOON_S + number + 1,
        "outcome": "ok",
        "usage": Usage(1_000, 100, cache_read_tokens=400),
        "cost_nanos": 1_500_000,
        "first_content_s": 0.25,
        "total_s": 1.0,
    }
    return Settlement(**known | changes)


def book(ledger: Ledger, *numbers: int) -> None:
    for number in numbers:
        ledger.begin(intent(number))
        ledger.settle(settlement(number))


def select(state_dir: Path, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """As a person with the sqlite3 program would read."""
    database = sqlite3.connect(f"file:{state_dir / 'ledger.db'}?mode=ro", uri=True)
    try:
        return database.execute(sql, parameters).fetchall()
    finally:
        database.close()


class Alarms:
    """Takes every change of health."""

    def __init__(self) -> None:
        self.heard: list[LedgerHealth] = []
        self._changed = threading.Condition()

    def __call__(self, health: LedgerHealth) -> None:
        with self._changed:
            self.heard.append(health)
            self._changed.notify_all()

    def wait_for(self, ok: bool, timeout_s: float = 10.0) -> LedgerHealth:
        with self._changed:
            assert self._changed.wait_for(lambda: bool(self.heard) and self.heard[-1].ok is ok, timeout_s)
            return self.heard[-1]


class FailingDisk(Disk):
    """Counts operations, SQL statements among them, and fails from number ``fail_at`` on until it is mended.

    A failing write still writes half, as a full disk does. ``only``: fail these kinds alone.
    """

    def __init__(self, fail_at: int | None = None, only: tuple[str, ...] = ()) -> None:
        self.fail_at = fail_at
        self.only = only
        self.count = 0
        self.failed = 0
        self._lock = threading.Lock()

    def mend(self) -> None:
        self.fail_at = None

    def fails(self, kind: str) -> bool:
        with self._lock:
            if self.only and kind not in self.only:
                return False
            self.count += 1
            failing = self.fail_at is not None and self.count >= self.fail_at
            self.failed += failing
            return failing

    def check(self, kind: str) -> None:
        if self.fails(kind):
            raise OSError(errno.ENOSPC, "No space left on device")

    def create(self, path: Path) -> int:
        self.check("create")
        return super().create(path)

    def write(self, fd: int, data: bytes) -> int:
        if self.fails("write"):
            return super().write(fd, data[: len(data) // 2])
        return super().write(fd, data)

    def truncate(self, fd: int, size_bytes: int) -> None:
        self.check("truncate")
        super().truncate(fd, size_bytes)

    def sync(self, fd: int) -> None:
        self.check("sync")
        super().sync(fd)

    def sync_directory(self, path: Path) -> None:
        self.check("sync")
        super().sync_directory(path)

    def rename(self, path: Path, to: Path) -> None:
        self.check("rename")
        super().rename(path, to)

    def unlink(self, path: Path) -> None:
        self.check("unlink")
        super().unlink(path)

    def connect(self, path: Path) -> sqlite3.Connection:
        self.check("connect")
        super().connect(path).close()
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=_Connection)
        database.disk = self
        return database


class _Connection(sqlite3.Connection):
    disk: FailingDisk | None = None

    def execute(self, *args: Any) -> sqlite3.Cursor:
        # What undoes half a batch needs no space.
        if self.disk is not None and args[0] != "ROLLBACK" and self.disk.fails("sql"):
            raise sqlite3.OperationalError("database or disk is full")
        return super().execute(*args)
