"""The journal: intents and settlements as lines of a file that is only appended to, one write each.

It holds what SQLite does not have yet, and is what a killed process leaves behind. A line is

    length (6 hex digits) space CRC-32 (8 hex digits) space kind space JSON newline

with length and checksum over kind, space and JSON. So the end of a line that was only half written shows, a flipped
bit shows and costs at most the line it is in, and a person can read the rest. The file is a row of numbered segments;
a new one begins with the intents that are still open, and the older ones go when SQLite safely has all they hold.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar
from zlib import crc32

import msgspec

from llmproxyd.ledger.disk import Disk
from llmproxyd.values.cost import Usage
from llmproxyd.values.ledger import Intent, LedgerUnavailable, Settlement

FORM: Final = 1
MAX_SEGMENT_BYTES: Final = 64 << 20
MAX_TEXT_CHARS: Final = 256
MAX_TOKENS: Final = 10**12
MAX_NANOS: Final = 10**16
_HEAD_BYTES: Final = 16
_LONG_BYTES: Final = 4096
_SEGMENT: Final = re.compile(r"ledger\.journal-(\d{8,})")


class Head(msgspec.Struct, frozen=True):
    """The first line of a segment: which form its lines have."""

    form: int


class Damage(msgspec.Struct, frozen=True):
    """Bytes of a segment that are no line of ours. ``torn``: it is only the end that is missing."""

    at_byte: int
    size_bytes: int
    torn: bool


Record: TypeAlias = Head | Intent | Settlement
_RecordT = TypeVar("_RecordT", bound=Intent | Settlement)

_KINDS: Final[dict[type, bytes]] = {Head: b"h ", Intent: b"i ", Settlement: b"s "}
_counts_of: Final = attrgetter(
    *(name for name in Usage.__struct_fields__ if name.endswith("_tokens")), "web_searches"
)
_encode = msgspec.json.Encoder().encode
_DECODERS: Final[dict[bytes, msgspec.json.Decoder[Any]]] = {
    kind: msgspec.json.Decoder(type_) for type_, kind in _KINDS.items()
}


# --- lines ------------------------------------------------------------------------------------------------------


def format_record(record: Record) -> bytes:
    """The line of a record. Raises UnicodeEncodeError for text that UTF-8 cannot hold."""
    return _frame(_KINDS[type(record)] + _encode(record))


def fitted(record: _RecordT) -> tuple[_RecordT, bytes]:
    """``record`` as the ledger can keep it, and its line.

    Nearly all records stay as they are. Text that is no Unicode, holds a NUL or is endless, and numbers that no bill
    can hold, come from clients and providers; they are mended rather than refused, because the call is made anyway.
    """
    try:
        line = format_record(record)
        if len(line) <= _LONG_BYTES and b"\\u0000" not in line and _is_payable(record):
            return record, line
    except UnicodeEncodeError:
        pass
    record = _mended(record)
    return record, format_record(record)


def parse_records(data: bytes) -> Iterator[Record | Damage]:
    """All that can be read in a segment's bytes, in order, and where something cannot."""
    at = 0
    while at < len(data):
        body, end = _body(data, at)
        if body is not None and end <= len(data):
            yield _record(body, at, end)
            if data[end - 1] != 0x0A:
                yield Damage(end - 1, 1, torn=False)
            at = end
            continue
        newline = data.find(b"\n", at)
        end = len(data) if newline < 0 else newline + 1
        yield Damage(at, end - at, torn=newline < 0)
        at = end


def _frame(body: bytes) -> bytes:
    return b"%06x %08x %b\n" % (len(body), crc32(body), body)


def _body(data: bytes, at: int) -> tuple[bytes | None, int]:
    """The body of the line at ``at``, None if there is none, and where the line ends."""
    try:
        size = int(data[at : at + 6], 16)
    except ValueError:
        return None, at
    end = at + _HEAD_BYTES + size
    body = data[at + _HEAD_BYTES : end]
    # Compared as written: a flipped bit may turn a into A, which is the same number.
    return (body if _frame(body)[:-1] == data[at:end] else None), end + 1


def _record(body: bytes, at: int, end: int) -> Record | Damage:
    decoder = _DECODERS.get(body[:2])
    if decoder is None:
        return Damage(at, end - at, torn=False)
    try:
        record: Record = decoder.decode(body[2:])
    except msgspec.DecodeError:
        return Damage(at, end - at, torn=False)
    return record


# --- what a record may hold -------------------------------------------------------------------------------------


def _is_payable(record: Intent | Settlement) -> bool:
    if isinstance(record, Intent):
        return _is_money(record.reserved_nanos)
    return (
        _is_money(record.cost_nanos)
        and _is_money(record.saved_nanos)
        and _is_countable(record.usage)
        and _is_countable(record.estimate)
    )


def _is_money(nanos: int | None) -> bool:
    return nanos is None or -MAX_NANOS <= nanos <= MAX_NANOS


def _is_countable(usage: Usage | None) -> bool:
    if usage is None:
        return True
    counts: tuple[int, ...] = _counts_of(usage)
    return max(counts) <= MAX_TOKENS and min(counts) >= -MAX_TOKENS


def _mended(record: _RecordT) -> _RecordT:
    return type(record)(**{name: _mend(getattr(record, name)) for name in record.__struct_fields__})


def _mend(value: Any) -> Any:
    match value:
        case bool() | None | float():
            return value
        case str():
            text = value[:MAX_TEXT_CHARS].encode("utf-8", "replace").decode()
            return text.replace("\0", "�")
        case int():
            return max(-MAX_NANOS, min(value, MAX_NANOS))
        case Usage():
            return Usage(**{name: _mend_count(getattr(value, name)) for name in value.__struct_fields__})
        case _:
            raise TypeError(f"a record cannot hold {type(value).__name__}")


def _mend_count(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_mend_count(one) for one in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return max(-MAX_TOKENS, min(value, MAX_TOKENS))
    return _mend(value)


# --- the file ---------------------------------------------------------------------------------------------------


def segments(directory: Path) -> list[Path]:
    """The journal's files in ``directory``, oldest first."""
    found = {int(match[1]): path for path in directory.iterdir() if (match := _SEGMENT.fullmatch(path.name))}
    return [found[number] for number in sorted(found)]


class Journal:
    """The segment that is written to. Not safe to share between threads: its owner holds a lock.

    What could not be written may be held in memory; it goes out before anything else does.
    """

    def __init__(self, directory: Path, disk: Disk) -> None:
        """Begin a new segment behind those that are there. Raises OSError."""
        self._directory = directory
        self._disk = disk
        self._older = segments(directory)
        number = int(self._older[-1].name.rpartition("-")[2]) if self._older else 0
        self._number = number
        self._fd = -1
        self._path = directory
        self._held: list[bytes] = []
        self.held_bytes = 0
        self.size_bytes = 0
        self._torn = False
        self._begin(b"")

    @property
    def has_older(self) -> bool:
        return bool(self._older)

    def append(self, line: bytes) -> None:
        """One write for ``line`` and all that is held. Raises OSError; then none of it is in the file."""
        data = b"".join((*self._held, line)) if self._held else line
        if self.size_bytes + len(data) > MAX_SEGMENT_BYTES:
            raise OSError(errno.EFBIG, "the journal has reached its bound")
        if self._torn:
            self._disk.truncate(self._fd, self.size_bytes)
        self._torn = True
        try:
            _write_whole(self._disk, self._fd, data)
        except OSError:
            self._disk.truncate(self._fd, self.size_bytes)
            self._torn = False
            raise
        self._torn = False
        self.size_bytes += len(data)
        if self._held:
            self._held.clear()
            self.held_bytes = 0

    def hold(self, line: bytes) -> None:
        """Keep ``line`` in memory until the file can be written again. The bound is the caller's."""
        self._held.append(line)
        self.held_bytes += len(line)

    def rotate(self, carried: Sequence[bytes]) -> None:
        """Go on in a new segment that begins with ``carried``. Raises OSError; then the old one goes on."""
        old_fd, old_path = self._fd, self._path
        self._begin(b"".join((*self._held, *carried)))
        self._held.clear()
        self.held_bytes = 0
        self._older.append(old_path)
        self._disk.close(old_fd)

    def drop_older(self) -> None:
        """Remove the segments before this one. Raises OSError."""
        while self._older:
            self._disk.unlink(self._older[0])
            del self._older[0]

    def sync(self) -> None:
        """Make all lines outlive a power cut. Raises OSError."""
        self._disk.sync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            self._disk.close(self._fd)
            self._fd = -1

    def _begin(self, data: bytes) -> None:
        data = format_record(Head(FORM)) + data
        path = self._directory / f"ledger.journal-{self._number + 1:08d}"
        fd = self._disk.create(path)
        try:
            _write_whole(self._disk, fd, data)
            self._disk.sync_directory(self._directory)
        except BaseException:
            self._disk.close(fd)
            os.unlink(path)
            raise
        self._number += 1
        self._fd, self._path, self.size_bytes, self._torn = fd, path, len(data), False


def _write_whole(disk: Disk, fd: int, data: bytes) -> None:
    # In one write or not at all: the file system is full if it takes less.
    if disk.write(fd, data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def check_form(head: Head, path: Path) -> None:
    """Raises LedgerUnavailable for a segment that a newer version wrote."""
    if head.form > FORM:
        raise LedgerUnavailable(
            f"{path.name} was written by a newer version (form {head.form}, this one reads {FORM}): "
            "start that version once to finish it"
        )
