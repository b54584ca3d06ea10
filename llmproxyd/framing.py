"""Bytes <-> server-sent events and JSON lines: incremental, indifferent to where the bytes are cut.

Follows the WHATWG server-sent events grammar: lines end in LF, CRLF or CR and in nothing else, several ``data``
lines are joined by LF, the space after the colon is optional, a line that starts with a colon is a comment.
What a frame means is the dialect's business.
"""

from __future__ import annotations

import re
from typing import TypeAlias

MAX_FRAME_BYTES = 16 * 1024 * 1024
"""No honest provider sends a frame as long as this; images in tool results come to a few megabytes."""

Frame: TypeAlias = tuple[bytes, bytes, bytes]
"""(event, data, raw). ``raw`` is every byte of the frame with its terminator: all raws joined are the input.

``data`` is empty for frames that say nothing (comments, blank lines). A tuple, since thousands are made a second.
"""

_LINE_END = re.compile(rb"\r\n|\n|\r")
# A CR at the very end may be half of a CRLF: it counts only once the next byte is known.
_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?=[^\n]))")
_SEAM = 3  # how much of a blank line (CR LF CR LF) can lie before a cut
_BOM = b"\xef\xbb\xbf"


class FrameTooLong(ValueError):  # noqa: N818 - a verdict on what came in
    """A frame or line outgrew its bound. The message is fit for an operator."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"a single frame of the stream is longer than {max_bytes} bytes")


def format_data(data: bytes) -> bytes:
    """One server-sent event without a name. ``data`` must be a single line, as compact JSON is."""
    return b"data: " + data + b"\n\n"


class SSESplitter:
    """Server-sent events out of a byte stream. Raises FrameTooLong instead of buffering without end."""

    __slots__ = ("_max_bytes", "_parts", "_seam", "_size", "_started")

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max_bytes = max_frame_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._seam = b""
        self._started = False

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes; return the frames they complete."""
        if not self._parts and data.endswith(b"\n\n") and data.startswith(b"data: "):
            # Nearly every read is exactly one frame of one line.
            if data.count(b"\n") == 2 and b"\r" not in data:
                self._started = True
                return [(b"", data[6:-2], data)]
        elif self._parts:
            # Only the seam and the new bytes are searched, so that a frame in many reads costs linear time.
            if _BLANK_LINE.search(self._seam + data) is None:
                self._keep(data)
                return []
            data = b"".join((*self._parts, data))
            self._forget()
        if b"\r" in data:
            blocks, rest = _split_blocks(data)
            frames = [self._parse(block, raw) for block, raw in blocks]
        else:
            *plain, rest = data.split(b"\n\n")
            frames = [self._parse(block, block + b"\n\n") for block in plain]
        if rest:
            self._keep(rest)
        return frames

    def close(self) -> list[Frame]:
        """The bytes have ended: an event that lacks its blank line counts all the same."""
        rest = b"".join(self._parts)
        self._forget()
        return [self._parse(rest, rest)] if rest else []

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._max_bytes:
            raise FrameTooLong(self._max_bytes)
        self._parts.append(data)
        self._seam = data[-_SEAM:] if len(data) >= _SEAM else (self._seam + data)[-_SEAM:]

    def _forget(self) -> None:
        self._parts.clear()
        self._size = 0
        self._seam = b""

    def _parse(self, block: bytes, raw: bytes) -> Frame:
        if block.startswith(b"data: ") and b"\n" not in block and b"\r" not in block:
            self._started = True
            return b"", block[6:], raw
        if not self._started:
            self._started = True
            block = block.removeprefix(_BOM)
        event, data = _parse_lines(block)
        return event, data, raw


def _split_blocks(data: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """-> ([(block, raw)], what is left), for streams that use CR."""
    found: list[tuple[bytes, bytes]] = []
    start = 0
    for end in _BLANK_LINE.finditer(data):
        found.append((data[start : end.start()], data[start : end.end()]))
        start = end.end()
    return found, data[start:]


def _parse_lines(block: bytes) -> tuple[bytes, bytes]:
    event = b""
    values: list[bytes] = []
    for line in _LINE_END.split(block):
        name, _, value = line.partition(b":")
        if name == b"data":
            values.append(value.removeprefix(b" "))
        elif name == b"event":
            event = value.removeprefix(b" ")
    return event, b"\n".join(values)


class LineSplitter:
    """Lines (of JSON) out of a byte stream: without their ends, blank ones left out. Raises FrameTooLong."""

    __slots__ = ("_max_bytes", "_parts", "_size")

    def __init__(self, max_line_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max_bytes = max_line_bytes
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes; return the lines they complete."""
        first, *others = data.split(b"\n")
        if not others:
            self._keep(first)
            return []
        lines = [b"".join((*self._parts, first)), *others[:-1]]
        self._parts.clear()
        self._size = 0
        self._keep(others[-1])
        return [line for line in map(bytes.strip, lines) if line]

    def close(self) -> list[bytes]:
        """The bytes have ended: a last line without its end counts all the same."""
        rest = b"".join(self._parts).strip()
        self._parts.clear()
        self._size = 0
        return [rest] if rest else []

    def _keep(self, data: bytes) -> None:
        if not data:
            return
        self._size += len(data)
        if self._size > self._max_bytes:
            raise FrameTooLong(self._max_bytes)
        self._parts.append(data)
