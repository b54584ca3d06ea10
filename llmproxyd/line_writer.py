"""Lines in, bytes out on one descriptor, by one thread: whoever writes a line never waits for the reader of the log.

The buffer is bounded. When the other end is slower than we are, new lines are dropped and counted; the count is
written as a line of its own as soon as there is room. Standard library only.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

MAX_LINES = 10_000
MAX_BYTES = 8 * 1024 * 1024
GATHER_S = 0.05


class LineWriter:
    """Owns a duplicate of ``fd``, so that a closed and reused descriptor never receives our lines.

    A batch is written ``gather_s`` after its first line, or at once if a line is urgent. ``format_loss`` makes the
    line that tells how many were dropped. A descriptor that cannot be opened is replaced by /dev/null.
    """

    def __init__(
        self,
        fd: int,
        *,
        format_loss: Callable[[int], bytes],
        max_lines: int = MAX_LINES,
        max_bytes: int = MAX_BYTES,
        gather_s: float = GATHER_S,
    ) -> None:
        self._fd = _own(fd)
        self._format_loss = format_loss
        self._max_lines, self._max_bytes, self._gather_s = max_lines, max_bytes, gather_s
        self._changed = threading.Condition()
        self._lines: list[bytes] = []
        self._size_bytes = 0
        self._untold = 0  # dropped, and not yet said so in the log
        self._accepted = self._finished = 0
        self._urgent = self._closing = False
        self.lost = 0
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def write(self, line: bytes, *, urgent: bool = False) -> None:
        """Take one line, newline included. Never blocks on the descriptor; drops the line if the buffer is full."""
        with self._changed:
            full = len(self._lines) >= self._max_lines or self._size_bytes + len(line) > self._max_bytes
            if full or self._closing:
                self._untold += 1
                self.lost += 1
                return
            self._lines.append(line)
            self._size_bytes += len(line)
            self._accepted += 1
            if urgent or len(self._lines) == 1:
                self._urgent = self._urgent or urgent
                self._changed.notify_all()

    def flush(self, timeout_s: float = 2.0) -> bool:
        """Wait until all lines taken so far have left, or for ``timeout_s``. Whether they have."""
        with self._changed:
            goal = self._accepted
            self._urgent = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._finished >= goal, timeout_s)

    def close(self, timeout_s: float = 2.0) -> bool:
        """Write what is left, end the thread, close our descriptor. False if the other end did not take it in time."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while batch := self._next_batch():
            lines, told = batch
            data = b"".join(lines) + (self._format_loss(told) if told else b"")
            written = _write_all(self._fd, data)
            with self._changed:
                self._finished += len(lines)
                self.lost += 0 if written else len(lines)
                self._changed.notify_all()
        os.close(self._fd)

    def _next_batch(self) -> tuple[list[bytes], int] | None:
        """The lines to write next and the number dropped since; None when closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._closing)
            self._changed.wait_for(lambda: self._urgent or self._closing, self._gather_s)
            if not self._lines and not self._untold:
                return None
            batch = self._lines, self._untold
            self._lines, self._size_bytes, self._untold, self._urgent = [], 0, 0, False
            return batch


def _own(fd: int) -> int:
    try:
        return os.dup(fd)
    except OSError:  # started with the descriptor closed: there is nobody to tell
        return os.open(os.devnull, os.O_WRONLY)


def _write_all(fd: int, data: bytes) -> bool:
    """Write everything, however long it takes; False if the descriptor is broken."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:  # a terminal or pipe that somebody else has made non-blocking
            select.select([], [fd], [], 1.0)
        except OSError:
            return False
    return True
