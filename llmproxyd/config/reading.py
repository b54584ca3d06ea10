"""Bytes of a regular file: bounded, and without waiting for anybody."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_regular(path: Path, limit_bytes: int) -> tuple[bytes, os.stat_result]:
    """At most ``limit_bytes`` of the file, and what the system said of it when it was opened.

    Raises OSError, also for what is no regular file; ValueError for a path that cannot be one.
    """
    # Not blocking: a pipe without a writer would stop us for good before we could see that it is one.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        with open(descriptor, "rb", closefd=False) as stream:
            return stream.read(limit_bytes), status
    finally:
        os.close(descriptor)
