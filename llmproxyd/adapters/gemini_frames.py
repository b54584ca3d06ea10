"""The pieces of a Gemini stream: server-sent events, or the objects of one JSON array, told apart by the first byte.

A whole answer is a stream of one object, with or without an array around it.
"""

from __future__ import annotations

import re

from llmproxyd.framing import MAX_FRAME_BYTES, Frame, FrameTooLong, SSESplitter

_MARKS = re.compile(rb'["{}]')
_STRING_MARKS = re.compile(rb'["\\]')


class GeminiSplitter:
    """Raises FrameTooLong instead of buffering without end."""

    __slots__ = ("_blank", "_splitter", "in_array")

    def __init__(self) -> None:
        self.in_array = False
        self._blank = b""
        self._splitter: SSESplitter | ObjectSplitter | None = None

    def feed(self, data: bytes) -> list[Frame]:
        if self._splitter is None:
            data = self._blank + data
            first = data.lstrip()[:1]
            self.in_array = first == b"["
            if not first:
                self._blank = data[-1:]  # blanks before the first byte say nothing
                return []
            self._splitter = ObjectSplitter() if first in b"[{" else SSESplitter()
        return self._splitter.feed(data)

    def close(self) -> list[Frame]:
        return [] if self._splitter is None else self._splitter.close()


class ObjectSplitter:
    """The outermost JSON objects of a byte stream. All raws joined are the input; what stands between two objects
    belongs to the later one."""

    __slots__ = ("_buffer", "_depth", "_in_string", "_max_bytes", "_position", "_start")

    def __init__(self, max_object_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max_bytes = max_object_bytes
        self._buffer = bytearray()
        self._position = 0
        self._start = 0
        self._depth = 0
        self._in_string = False

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes; return the objects they complete."""
        self._buffer += data
        frames: list[Frame] = []
        while (end := self._find_end()) is not None:
            raw = bytes(self._buffer[:end])
            frames.append((b"", raw[self._start :], raw))
            del self._buffer[:end]
            self._position = 0
        if len(self._buffer) > self._max_bytes:
            raise FrameTooLong(self._max_bytes)
        return frames

    def close(self) -> list[Frame]:
        """The bytes have ended. An object that has not is given as it is; its reader will see that it is cut."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        if not rest:
            return []
        return [(b"", rest[self._start :] if self._depth else b"", rest)]

    def _find_end(self) -> int | None:
        """Where the object in hand ends; None if it has not ended yet."""
        while True:
            mark = (_STRING_MARKS if self._in_string else _MARKS).search(self._buffer, self._position)
            if mark is None:
                self._position = len(self._buffer)
                return None
            at, sign = mark.start(), mark[0]
            if sign == b"\\":
                if at + 1 == len(self._buffer):
                    self._position = at
                    return None
                self._position = at + 2
                continue
            self._position = at + 1
            if sign == b'"':
                self._in_string = not self._in_string
            elif sign == b"{":
                self._start = at if self._depth == 0 else self._start
                self._depth += 1
            elif self._depth > 0:
                self._depth -= 1
                if self._depth == 0:
                    return at + 1
