"""The operating system as the ledger sees it: one small object, so that every write of it can be made to fail."""

from __future__ import annotations

import ctypes
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

LOCK_WAIT_S = 1.0

# os.write lets other threads run meanwhile, and then has to wait for whoever does: for some microseconds of writing to
# the page cache the event loop waited up to half a millisecond for the thread that fills SQLite. A disk that hangs
# stops the loop either way.
_write = ctypes.PyDLL(None).write
_write.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
_write.restype = ctypes.c_ssize_t


class Disk:
    """Files and databases. Every method may raise OSError, ``connect`` sqlite3.Error. Modes are 0600."""

    def create(self, path: Path) -> int:
        """A new file that is only ever appended to -> its descriptor."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return os.open(path, flags, 0o600)

    def write(self, fd: int, data: bytes) -> int:
        written: int = _write(fd, data, len(data))
        return written if written >= 0 else os.write(fd, data)  # which says what is wrong

    def truncate(self, fd: int, size_bytes: int) -> None:
        os.ftruncate(fd, size_bytes)

    def sync(self, fd: int) -> None:
        os.fdatasync(fd)

    def sync_directory(self, path: Path) -> None:
        """Make the names in ``path`` outlive a power cut."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def close(self, fd: int) -> None:
        os.close(fd)

    def read(self, path: Path) -> bytes:
        return path.read_bytes()

    def rename(self, path: Path, to: Path) -> None:
        path.rename(to)

    def unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def connect(self, path: Path) -> sqlite3.Connection:
        """A connection in autocommit mode that any one thread at a time may use."""
        # SQLite gives its side files the mode of the first one. A file that is there is not opened: closing it again
        # would end the locks that readers in this process hold on it.
        with suppress(FileExistsError):
            os.close(Disk.create(self, path))
        os.chmod(path, 0o600)
        return sqlite3.connect(path, isolation_level=None, timeout=LOCK_WAIT_S, check_same_thread=False)
