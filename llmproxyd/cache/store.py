"""Kept answers on disk: one thread writes in batches, one reads, and the event loop waits for neither longer than it may.

Everything here is best effort: a queue that is full, a disk that fails or does not answer cost a hit, never a request.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from llmproxyd.cache.entry import Cached, format_entry, parse_entry
from llmproxyd.cache.file import Bounds, CacheFile, CacheReader, Row, is_damage
from llmproxyd.logs import get_logger

FILE: Final = "cache.sqlite"
QUEUE_BYTES: Final = 32 << 20
READ_TIMEOUT_S: Final = 0.5
CLOSE_TIMEOUT_S: Final = 5.0
_GATHER_S: Final = 0.02
_MAX_NOTES: Final = 4096
_MAX_READS: Final = 64
_ENTRY_BYTES: Final = 512

_log = get_logger("cache")


class _Put(NamedTuple):
    cached: Cached
    expires_s: float
    used_s: float

    @property
    def cost_bytes(self) -> int:
        return len(self.cached.body) + _ENTRY_BYTES


class _Work(msgspec.Struct):
    """What the writer does next. ``clear`` first, ``max_bytes`` (None: as before) after that; ``done`` at the end."""

    puts: dict[bytes, _Put] = msgspec.field(default_factory=dict)
    used: dict[bytes, float] = msgspec.field(default_factory=dict)
    forgotten: set[bytes] = msgspec.field(default_factory=set)
    clear: bool = False
    max_bytes: int | None = None
    done: list[Future[None]] = msgspec.field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.puts or self.used or self.forgotten or self.clear or self.max_bytes or self.done)


class CacheStore:
    """``wall``: Unix seconds. Threads start with the first entry."""

    def __init__(self, path: Path, *, max_bytes: int, stale_s: float, wall: Callable[[], float]) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._wall = wall
        self._file = CacheFile(path, max_bytes=max_bytes, stale_s=stale_s)
        self._reader = CacheReader(path)
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="cache-reader")
        self._writer: threading.Thread | None = None
        self._changed = threading.Condition()
        self._next = _Work()
        self._queued_bytes = 0
        self._closing = False
        self._reads = 0
        self._there = path.exists()
        self.fault: str | None = None
        self.lost = 0

    @property
    def evicted(self) -> int:
        return self._file.evicted

    # --- for the event loop ---------------------------------------------------------------------------------------

    def put(self, key: bytes, cached: Cached, expires_s: float, used_s: float) -> bool:
        """Whether it will be written. An older one of its key is replaced."""
        put = _Put(cached, expires_s, used_s)
        with self._changed:
            before = self._next.puts.get(key)
            more = put.cost_bytes - (before.cost_bytes if before else 0)
            if self._closing or self._queued_bytes + more > QUEUE_BYTES:
                self.lost += 1
                return False
            self._queued_bytes += more
            self._next.puts[key] = put
            self._next.forgotten.discard(key)
            self._wake()
        return True

    def touch(self, key: bytes, used_s: float) -> None:
        with self._changed:
            if not self._closing and len(self._next.used) < _MAX_NOTES:
                self._next.used[key] = used_s
                self._wake()

    def forget(self, key: bytes) -> None:
        with self._changed:
            self._unqueue(key)
            if self._there and not self._closing and len(self._next.forgotten) < _MAX_NOTES:
                self._next.forgotten.add(key)
                self._wake()

    def clear(self) -> None:
        """Forget everything, what is still to be written included."""
        with self._changed:
            self._next.puts.clear()
            self._queued_bytes = 0
            if self._there and not self._closing:
                self._next.clear = True
                self._wake()

    def resize(self, max_bytes: int) -> None:
        with self._changed:
            if max_bytes != self._max_bytes and not self._closing:
                self._max_bytes = self._next.max_bytes = max_bytes
                self._wake()

    async def read(self, key: bytes) -> tuple[float, Cached] | None:
        """When it expires (Unix seconds) and the answer; None if there is none, or it does not come in time."""
        with self._changed:
            put = self._next.puts.get(key)
            if put is not None:
                return put.expires_s, put.cached
            if not self._there or self._closing or self._reads >= _MAX_READS:
                return None
            self._reads += 1
        reading = self._readers.submit(self._read, key)
        reading.add_done_callback(self._has_read)
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                return await asyncio.wrap_future(reading)
        except TimeoutError:
            return None

    async def flush(self) -> None:
        """Returns once everything up to now is written, or was given up."""
        done: Future[None] = Future()
        with self._changed:
            if self._closing or not (self._next or self._writer):
                return
            self._next.done.append(done)
            self._wake()
        await asyncio.wrap_future(done)

    async def close(self) -> None:
        """Write what is left, for CLOSE_TIMEOUT_S at most."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._writer is not None:
            await asyncio.to_thread(self._writer.join, CLOSE_TIMEOUT_S)
        self._readers.submit(self._reader.close)
        self._readers.shutdown(wait=False)

    def _wake(self) -> None:
        if self._writer is None:
            self._writer = threading.Thread(target=self._run, name="cache-writer", daemon=True)
            self._writer.start()
        self._changed.notify_all()

    def _unqueue(self, key: bytes) -> None:
        put = self._next.puts.pop(key, None)
        if put is not None:
            self._queued_bytes -= put.cost_bytes

    # --- the reading thread -----------------------------------------------------------------------------------------

    def _read(self, key: bytes) -> tuple[float, Cached] | None:
        try:
            found = self._reader.read(key)
        except sqlite3.Error as error:
            self._reader.close()
            if is_damage(error):
                self.clear()
            return None
        if found is None:
            return None
        expires_s, value = found
        cached = parse_entry(key, value)
        if cached is None:
            self.forget(key)
            return None
        return expires_s, cached

    def _has_read(self, reading: Future[tuple[float, Cached] | None]) -> None:
        with self._changed:
            self._reads -= 1

    # --- the writing thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (work := self._take()) is not None:
            self._do(work)
            for done in work.done:
                done.set_result(None)
        self._file.close()

    def _take(self) -> _Work | None:
        """The next batch; None when there is nothing left and no more will come."""
        with self._changed:
            while not self._next:
                if self._closing:
                    return None
                self._changed.wait()
            if not (self._closing or self._next.done):
                # One commit for whatever else is about to come.
                self._changed.wait_for(lambda: self._closing or bool(self._next.done), _GATHER_S)
            work, self._next = self._next, _Work()
            self._split(work)
            return work

    def _split(self, work: _Work) -> None:
        """Leave what is too much for one transaction for the next, and whoever waits for it."""
        room, taken = Bounds.of(self._max_bytes).batch_bytes, 0
        for put in work.puts.values():
            if taken and room < put.cost_bytes:
                break
            room -= put.cost_bytes
            taken += 1
        rest = list(islice(work.puts, taken, None))
        self._next.puts = {key: work.puts.pop(key) for key in rest}
        if rest:
            self._next.done, work.done = work.done, []
        self._queued_bytes = sum(put.cost_bytes for put in self._next.puts.values())

    def _do(self, work: _Work) -> None:
        try:
            self._write(work)
        except (sqlite3.Error, OSError) as error:
            self.lost += len(work.puts)
            self._tell(error)
            self._recover(error)
        else:
            self._there = self._there or bool(work.puts)
            if self.fault is not None:
                self.fault = None
                _log.info("cache.recovered")

    def _write(self, work: _Work) -> None:
        if work.clear:
            self._file.clear()
        if work.max_bytes is not None:
            self._file.resize(work.max_bytes, self._wall())
        if work.forgotten:
            self._file.forget(list(work.forgotten))
        largest = Bounds.of(self._max_bytes).value_bytes
        rows = [
            Row(key, put.used_s, put.expires_s, format_entry(key, put.cached))
            for key, put in work.puts.items()
        ]
        fitting = [row for row in rows if len(row.value) <= largest]
        self.lost += len(rows) - len(fitting)
        if fitting or work.used:
            self._file.write(fitting, [(used_s, key) for key, used_s in work.used.items()], self._wall())

    def _tell(self, error: Exception) -> None:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        if reason != self.fault:
            self.fault = reason
            help_ = "answers are kept in memory only until this is mended; nothing else is affected"
            _log.warning("cache.not_written", reason=reason, help=help_)

    def _recover(self, error: Exception) -> None:
        """A damaged file is worth nothing; after any other fault the connection is made anew."""
        try:
            if is_damage(error):
                self._file.clear()
            else:
                self._file.close()
        except (sqlite3.Error, OSError) as another:
            self._tell(another)
