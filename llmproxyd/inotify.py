"""The kernel's own word on directories (Linux): what happened to which name, and whether a writer still has it open.

watchfiles says that something changed, never whether the one who changes it has finished. Only the kernel knows
that: a file that was written in place is complete when IN_CLOSE_WRITE comes. This module reads it through ctypes,
without blocking; what a change means is decided in watch.py.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

MODIFY = 0x2
ATTRIB = 0x4
CLOSE_WRITE = 0x8
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATE = 0x100
DELETE = 0x200
DELETE_SELF = 0x400
MOVE_SELF = 0x800
OVERFLOW = 0x4000
IGNORED = 0x8000
ONLYDIR = 0x1000000

# Opening and reading are left out: our own looks must not wake us.
_MASK = (
    MODIFY
    | ATTRIB
    | CLOSE_WRITE
    | MOVED_FROM
    | MOVED_TO
    | CREATE
    | DELETE
    | DELETE_SELF
    | MOVE_SELF
    | ONLYDIR
)
_SELF = DELETE_SELF | MOVE_SELF | IGNORED
_COMPLETE = CLOSE_WRITE | MOVED_TO | MOVED_FROM | DELETE
_HEADER = struct.Struct("iIII")
_READ_BYTES = 65536
_READS_PER_DRAIN = 64
_OPEN_MAX = 10_000

Names: TypeAlias = Mapping[str, frozenset[str] | None]
"""Directory -> the names in it that matter; None: all of them."""


class Event(msgspec.Struct, frozen=True):
    """``wd`` names the directory, ``name`` the entry in it; empty where the directory itself is meant."""

    wd: int
    mask: int
    name: str


class Inotify:
    """One inotify instance.

    Raises OSError when made: EMFILE (instances or files used up); NotImplementedError where there is no such thing.
    """

    def __init__(self) -> None:
        self._libc = _libc()
        self._fd = _checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1")

    def fileno(self) -> int:
        return self._fd

    def add(self, directory: str) -> int:
        """Watch a directory; its number, the same one if it was watched already.

        Raises OSError: ENOSPC (watches used up), ENOENT, EACCES, ENOTDIR.
        """
        return _checked(self._libc.inotify_add_watch(self._fd, os.fsencode(directory), _MASK), directory)

    def remove(self, wd: int) -> None:
        """Stop watching; a watch the kernel has dropped by itself is no error."""
        self._libc.inotify_rm_watch(self._fd, wd)

    def read(self) -> list[Event]:
        """Everything that is queued now, at most some ten thousand events; never blocks."""
        events: list[Event] = []
        for _ in range(_READS_PER_DRAIN):
            try:
                data = os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                break
            events += _parse_events(data)
        return events

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class _Watched(msgspec.Struct, frozen=True):
    directory: str
    names: frozenset[str] | None

    def matters(self, name: str) -> bool:
        return self.names is None or name in self.names


class Ears:
    """What was heard: which names are open for writing, and whether something was torn since a moment.

    ``tears`` grows whenever a name that matters is written in place, or events were lost: what was read meanwhile may
    be half a file. ``vouched``: since ``doubt()`` was called last, a name that matters was closed, moved or removed,
    and nothing happened that makes the kernel's account incomplete.
    Events are read on the loop; ``watch`` may run in a thread.
    """

    def __init__(self, source: Inotify, on_event: Callable[[], None]) -> None:
        self._source = source
        self._on_event = on_event
        self._watched: dict[int, _Watched] = {}
        self._open: set[tuple[int, str]] = set()
        self._moved_in = False
        self.tears = 0
        self.vouched = False

    def fileno(self) -> int:
        return self._source.fileno()

    def close(self) -> None:
        self._source.close()

    def doubt(self) -> None:
        self.vouched = self._moved_in = False

    def watch(self, names: Names) -> bool:
        """Watch exactly these directories, as far as they exist; True if one of them was not watched before.

        Raises OSError when the kernel has no watch left (ENOSPC, ENOMEM).
        """
        wanted: dict[int, _Watched] = {}
        for directory, matter in names.items():
            try:
                wd = self._source.add(directory)
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                continue  # whoever looks at the file behind it meets the same, and says so
            wanted[wd] = _joined(wanted.get(wd), _Watched(directory, matter))
        fresh = wanted.keys() - self._watched.keys()
        stale = self._watched.keys() - wanted.keys()
        self._watched = wanted
        for wd in stale:
            self._source.remove(wd)
        if fresh and not self._moved_in:
            # A file in it may have been opened before we listened. What was moved into place was finished before.
            self.doubt()
        return bool(fresh)

    def listen(self) -> None:
        """Take in what is queued. Calls ``on_event`` once if a name that matters was touched."""
        touched = [self._hear(event) for event in self._source.read()]
        if any(touched):
            self._on_event()

    def open_files(self) -> tuple[str, ...]:
        """Paths that matter, written in place and not closed yet."""
        watched = self._watched
        paths = (
            f"{watched[wd].directory}/{name}"
            for wd, name in self._open
            if wd in watched and watched[wd].matters(name)
        )
        return tuple(sorted(paths))

    def _hear(self, event: Event) -> bool:
        if event.mask & OVERFLOW or len(self._open) > _OPEN_MAX:
            self._open.clear()
            self.tears += 1
            self.doubt()
            return True
        watched = self._watched.get(event.wd)
        if event.mask & IGNORED:
            self._open = {entry for entry in self._open if entry[0] != event.wd}
        # Kept for every name and directory: one that is being added in the other thread has no entry yet.
        if event.mask & MODIFY:
            self._open.add((event.wd, event.name))
        elif event.mask & _COMPLETE:
            self._open.discard((event.wd, event.name))
        if watched is None or not (event.mask & _SELF or watched.matters(event.name)):
            return False
        self.tears += bool(event.mask & MODIFY)
        if event.mask & _COMPLETE:
            self.vouched = True
            self._moved_in = self._moved_in or bool(event.mask & MOVED_TO)
        elif event.mask & CREATE:
            self.doubt()  # whoever made it has perhaps not begun to write
        return True


def _joined(one: _Watched | None, other: _Watched) -> _Watched:
    """Two names of one directory are one watch."""
    if one is None:
        return other
    both = None if one.names is None or other.names is None else one.names | other.names
    return _Watched(other.directory, both)


def _parse_events(data: bytes) -> Iterable[Event]:
    at = 0
    while at < len(data):
        wd, mask, _, length = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        yield Event(wd, mask, os.fsdecode(data[at : at + length].rstrip(b"\0")))
        at += length


def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "inotify_init1"):
        raise NotImplementedError("this system has no inotify")
    return libc


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
    return result
