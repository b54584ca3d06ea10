"""One file of the configuration replaced by another text, so that nobody ever reads half of it.

A symbolic link stays, its target is replaced; owner and mode stay as they were. One command at a time changes files of a
directory, and a file that somebody else has changed meanwhile is left alone.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from llmproxyd.config.files import SourceFile

LOCK_TIMEOUT_S: Final = 10.0
_LOOK_EVERY_S: Final = 0.02


class CannotRewrite(Exception):  # noqa: N818 - told to the operator
    """The file was not replaced; says why and what to do."""


@contextmanager
def edit_lock(config_dir: Path, *, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Keep other commands from changing files of this directory. Raises CannotRewrite, OSError."""
    fd = os.open(config_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(fd, config_dir, time.monotonic() + timeout_s)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, config_dir: Path, until_s: float) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until_s:
                raise CannotRewrite(
                    f"another command is changing the files in {config_dir}: try again when it is done"
                ) from None
            time.sleep(_LOOK_EVERY_S)
        else:
            return


def replace_file(source: SourceFile, data: bytes) -> None:
    """Put ``data`` in place of what was read as ``source``. Raises CannotRewrite, and OSError of the disk."""
    target = Path(os.path.realpath(source.path))
    status = target.stat()
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            _keep_owner(file.fileno(), status)
            os.fchmod(file.fileno(), source.mode)
            os.fsync(file.fileno())
        if target.read_bytes() != source.data:
            raise CannotRewrite(f"{source.path} was changed by somebody else just now: run the command again")
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    _sync_directory(target.parent)


def _keep_owner(fd: int, status: os.stat_result) -> None:
    """Whoever may not give files away makes them his own; that the daemon can still read it is what counts."""
    made = os.fstat(fd)
    if (made.st_uid, made.st_gid) != (status.st_uid, status.st_gid):
        with suppress(PermissionError):
            os.fchown(fd, status.st_uid, status.st_gid)


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
