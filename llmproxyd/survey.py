"""What the watched files look like at one moment, and which directory entries decide that.

A path leads through symbolic links and directories that can each be swapped. ``trace`` finds every entry whose change
may change what the path means; ``survey`` reads what is there now. Two surveys that are equal mean that nothing
changed. May block on a slow file system: call it in a thread.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

import msgspec

HASHED_BYTES = 8 * 1024 * 1024
FRAGMENTS_MAX = 1_000
_LINKS_MAX = 40  # what Linux allows on one path

Places: TypeAlias = Mapping[str, frozenset[str] | None]
"""Directory -> the names in it that matter; None: all of them."""


class Stamp(msgspec.Struct, frozen=True):
    """One path as it was seen. ``error`` is an errno, 0 if it could be read; ``digest`` of the first 8 MiB."""

    error: int
    device: int = 0
    inode: int = 0
    mode: int = 0
    size: int = 0
    mtime_ns: int = 0
    digest: bytes = b""

    @property
    def missing(self) -> bool:
        return self.error in (errno.ENOENT, errno.ENOTDIR)

    @property
    def empty(self) -> bool:
        return not self.error and self.size == 0


class Survey(msgspec.Struct, frozen=True):
    """``stamps`` by path. A ``.d`` directory among the watched paths stands for the fragments in it, each with its
    stamp; of any other directory only counts which one it is."""

    stamps: Mapping[str, Stamp]

    def changed_since(self, before: Survey) -> tuple[str, ...]:
        """Paths whose stamps differ, or that only one of the two knows; sorted."""
        known = self.stamps.keys() | before.stamps.keys()
        return tuple(sorted(p for p in known if self.stamps.get(p) != before.stamps.get(p)))


def survey(paths: Iterable[str]) -> Survey:
    """Read what is at these absolute paths. Raises nothing: what cannot be read is a stamp that says why."""
    stamps: dict[str, Stamp] = {}
    for path in paths:
        fragments = _fragments(path)
        if fragments is None:
            stamps[path] = _stamp(path)
        else:
            stamps.update((fragment, _stamp(fragment)) for fragment in fragments)
    return Survey(stamps)


def places(paths: Iterable[str]) -> Places:
    """The directories to watch for these absolute paths, and the names in them that matter."""
    found: dict[str, set[str]] = {}
    whole: dict[str, None] = {}
    for path in paths:
        fragments = _fragments(path)
        if fragments is not None:
            whole[os.path.realpath(path)] = None
        for each in (path, *(fragments or ())):
            for directory, name in trace(each):
                found.setdefault(directory, set()).add(name)
    return {directory: frozenset(names) for directory, names in found.items()} | whole


def trace(path: str) -> tuple[tuple[str, str], ...]:
    """The entries (directory, name) on the way to what an absolute path means: its symbolic links, the file itself and
    the directory that holds it. Ends where something is missing. Directories are physical paths."""
    entries: list[tuple[str, str]] = []
    here = "/"
    todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    links = 0
    above: tuple[str, str] | None = None
    while todo:
        name = todo.pop()
        if name == "..":
            here, above = os.path.dirname(here), None
            continue
        target = _link(os.path.join(here, name))
        if target is not None and links < _LINKS_MAX:
            links += 1
            entries.append((here, name))
            here = "/" if target.startswith("/") else here
            todo += [part for part in reversed(target.split("/")) if part not in ("", ".")]
            continue
        if not todo or not os.path.isdir(os.path.join(here, name)):
            entries += [above, (here, name)] if above else [(here, name)]
            break
        above = (here, name)
        here = os.path.join(here, name)
    return tuple(dict.fromkeys(entries))


def bind_mounted(path: str | Path, mountinfo: str | Path = "/proc/self/mountinfo") -> bool:
    """Whether this one file is a mount of its own, as containers do with single files.

    Such a file keeps showing the old content when it is replaced outside by a rename, so saves may go unseen.
    False where there is no such table.
    """
    try:
        table = Path(mountinfo).read_bytes()
    except OSError:
        return False
    wanted = os.fsencode(os.path.realpath(path))
    points = (fields[4] for line in table.splitlines() if len(fields := line.split(b" ")) > 4)
    return wanted in map(_unescape, points) and os.path.isfile(path)


def _unescape(point: bytes) -> bytes:
    """The kernel writes blanks, tabs, newlines and backslashes as three octal digits."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), point)


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _fragments(path: str) -> list[str] | None:
    """Paths of the YAML files in a ``.d`` directory, in name order; None if the path is no such readable directory."""
    if not path.endswith(".d"):
        return None
    try:
        with os.scandir(path) as entries:
            names = sorted(e.name for e in entries if e.name.endswith((".yaml", ".yml")) and e.name[0] != ".")
    except OSError:
        return None
    return [os.path.join(path, name) for name in names[:FRAGMENTS_MAX]]


def _stamp(path: str) -> Stamp:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        return _unreadable(path, error.errno or errno.EIO)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return _unreadable(path, errno.EINVAL)
        digest = _digest(fd)
    except OSError as error:
        return _unreadable(path, error.errno or errno.EIO)
    finally:
        os.close(fd)
    return Stamp(0, status.st_dev, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, digest)


def _unreadable(path: str, code: int) -> Stamp:
    """What can still be told of a file that cannot be read, so that a change of its rights is a change."""
    try:
        status = os.stat(path)
    except OSError:
        return Stamp(code)
    if stat.S_ISDIR(status.st_mode):  # what foreign files come and go in it is of no interest
        return Stamp(code, status.st_dev, status.st_ino, status.st_mode)
    return Stamp(code, status.st_dev, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns)


def _digest(fd: int) -> bytes:
    digest = hashlib.sha256()
    left = HASHED_BYTES
    while left and (piece := os.read(fd, min(left, 1 << 20))):
        digest.update(piece)
        left -= len(piece)
    return digest.digest()
